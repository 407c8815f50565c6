//! CROO's events, on their way into the inbox: one process a key holds the socket, the lists fill what
//! the socket failed to tell. Source: protocols/croo.md §8, §6.3.
//!
//! Invariants: an event is stored before anyone hears of it, once however often it is told; it never
//! makes a payment, at most a question about one; a key that another program listens with is not
//! fought for: spending stops, once an episode, until the owner has looked.

mod ears;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use ears::Ears;

use super::{
    events::{Told, digest, reconcile},
    payment::natural_key,
};
pub use crate::events::Condition;
use crate::{
    access::Access,
    error::{Code, Error},
    events::{self, Event},
    ids::{AgentId, PurchaseId},
    marketplaces::{
        Marketplace,
        socket::{self, End},
    },
    principal::EVERYONE,
    spend::{KEY_ELSEWHERE, Spending, approvals, random},
    store::leases::Lease,
};

/// Another program is connected with our key.
const CONFLICT: &str = "instance_conflict";
/// It is no more.
const CONFLICT_OVER: &str = "instance_conflict_over";
/// After this long, in seconds, a conflict that a new process meets is a new one.
const EPISODE_SECONDS_MAX: i64 = 24 * 60 * 60;

/// How long the stream waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// At the socket.
    pub socket: socket::Times,
    /// Between two readings of the lists.
    pub reconcile: Duration,
    /// After a reading of the lists, whatever asks for the next.
    pub reconcile_gap: Duration,
    /// Between two looks whether the process that holds the socket is gone.
    pub lease: Duration,
    /// Between two looks whether the program that listens with our key is gone.
    pub probe: Duration,
    /// As long as the marketplace may take a connection of ours that broke for a living one.
    pub ghost: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            socket: socket::Times::default(),
            reconcile: Duration::from_mins(1),
            reconcile_gap: Duration::from_secs(2),
            lease: Duration::from_secs(3),
            probe: Duration::from_mins(5),
            ghost: Duration::from_secs(90),
        }
    }
}

/// How it stands, and since when it has not been open.
#[derive(Clone, Copy, Debug)]
struct Standing {
    condition: Condition,
    down_since: Option<Instant>,
}

/// The stream of one process.
#[derive(Debug)]
pub struct Stream {
    access: Arc<Access>,
    spending: Arc<Spending>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    times: Times,
    instance: Result<String, Error>,
    is_begun: AtomicBool,
    standing: Mutex<Standing>,
}

/// What there is to be done.
enum Turn {
    /// Nothing: there is no key.
    Nothing,
    /// To wait: another process holds the socket.
    Wait,
    /// To listen, as long as the lease is held.
    Listen(Lease, String),
}

impl Stream {
    /// A stream that is not begun. Touches neither network nor store.
    #[must_use]
    pub fn new(
        access: Arc<Access>,
        spending: Arc<Spending>,
        tasks: TaskTracker,
        stopping: CancellationToken,
        times: Times,
    ) -> Arc<Self> {
        let standing = Mutex::new(Standing { condition: Condition::Off, down_since: None });
        let instance = random().map(|bytes| PurchaseId::from_random(bytes).to_string());
        let is_begun = AtomicBool::new(false);
        Arc::new(Self { access, spending, tasks, stopping, times, instance, is_begun, standing })
    }

    /// Begins to listen, where CROO is in use and it has not begun.
    pub fn begin(self: &Arc<Self>) {
        let in_use = self.access.settings().marketplaces.contains(&Marketplace::Croo);
        if !in_use || self.stopping.is_cancelled() || self.is_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        self.stands(Condition::Connecting);
        let stream = self.clone();
        self.tasks.spawn(async move { Box::pin(stream.run()).await });
    }

    /// How it stands.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.standing().condition
    }

    /// Why nothing may be heard at this moment, although things happen. `None`: nothing is wrong, or
    /// not for long.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        let Standing { condition, down_since } = self.standing();
        let (code, message) = match condition {
            Condition::Refused => (
                Code::Unauthorized,
                "CROO does not accept the SDK key, so no event is heard of".to_owned(),
            ),
            Condition::Conflict => (
                Code::InstanceConflict,
                "another program is connected with this CROO key and hears its events; the owner \
                 ends it, or gives each program a key of its own"
                    .to_owned(),
            ),
            Condition::Connecting => {
                let down = down_since.map(|since| since.elapsed()).unwrap_or_default();
                if down <= self.times.reconcile {
                    return None;
                }
                let seconds = down.as_secs();
                let message = format!("CROO's event stream has been down for {seconds} s");
                (Code::EventsDegraded, message)
            }
            Condition::Off | Condition::Connected | Condition::Elsewhere => return None,
        };
        Some(Error::new(code, message).at(Marketplace::Croo))
    }

    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stands(&self, condition: Condition) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_up = matches!(condition, Condition::Connected | Condition::Elsewhere);
        standing.down_since =
            if is_up { None } else { standing.down_since.or(Some(Instant::now())) };
        standing.condition = condition;
    }

    async fn run(&self) {
        loop {
            let turn = tokio::select! {
                () = self.stopping.cancelled() => return,
                turn = self.turn() => turn,
            };
            match turn {
                Ok(Turn::Nothing) => return self.stands(Condition::Off),
                Ok(Turn::Wait) => self.stands(Condition::Elsewhere),
                Ok(Turn::Listen(lease, key)) => {
                    self.stands(Condition::Connecting);
                    if let End::Refused(status) = Box::pin(self.hold(&lease, key)).await {
                        tracing::warn!(status, "CROO refused the event stream's key");
                        return self.stands(Condition::Refused);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the event stream cannot begin");
                    self.access.forget_venue();
                }
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(self.times.lease) => {}
            }
        }
    }

    async fn turn(&self) -> Result<Turn, Error> {
        let Some(key) = self.access.croo().await?.api.key().cloned() else {
            return Ok(Turn::Nothing);
        };
        let key = digest(key.expose_secret().as_bytes());
        let name = format!("croo-events:{key}");
        let lease = Lease::take(self.access.store(), &name, &self.instance.clone()?).await?;
        Ok(lease.map_or(Turn::Wait, |lease| Turn::Listen(lease, key)))
    }

    /// Listens while the lease is held. `key` is the digest of ours.
    async fn hold(&self, lease: &Lease, key: String) -> End {
        let (stop, due) = (self.stopping.child_token(), Notify::new());
        let lost = async {
            lease.lost().cancelled().await;
            stop.cancel();
            std::future::pending().await
        };
        let mut ears = Ears::new(self, &due, key);
        tokio::select! {
            end = self.hear(&mut ears, &stop) => end,
            end = self.keep_reconciled(&due) => end,
            end = lost => end,
        }
    }

    async fn hear(&self, ears: &mut Ears<'_>, stop: &CancellationToken) -> End {
        loop {
            let end = socket::listen(ears, &self.times.socket, stop).await;
            let End::Policy(accepted) = end else { return end };
            let pause = if !accepted && ears.may_have_left_a_ghost(self.times.ghost) {
                // The marketplace may not have noticed yet that our own last connection broke.
                self.times.socket.delay_max / 4
            } else {
                self.stands(Condition::Conflict);
                ears.conflict().await;
                self.times.probe
            };
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads the lists whenever it is due, and at intervals. Does not return.
    async fn keep_reconciled(&self, due: &Notify) -> End {
        let mut failed = false;
        loop {
            tokio::select! {
                () = due.notified() => {}
                () = tokio::time::sleep(self.times.reconcile) => {}
            }
            match self.reconcile().await {
                Ok(_) => failed = false,
                Err(error) if !failed => {
                    failed = true;
                    tracing::warn!(%error, "CROO's lists could not be read for events");
                }
                Err(error) => tracing::debug!(%error, "CROO's lists could not be read again"),
            }
            tokio::time::sleep(self.times.reconcile_gap).await;
        }
    }

    /// Reads the lists once, and stores what the socket has not told. Gives how many that were.
    async fn reconcile(&self) -> Result<usize, Error> {
        // Times of the sandbox's clock are compared with what it says now.
        let _ = self.access.refresh_clock().await;
        let croo = self.access.croo().await?;
        let backlog = reconcile::backlog(&croo).await?;
        self.keep(&backlog.told, backlog.own.as_ref()).await
    }

    /// Stores what is new of these, and has purchases that they are about asked about. Gives how many
    /// were new.
    async fn keep(&self, told: &[Told], own: Option<&AgentId>) -> Result<usize, Error> {
        let now = self.access.clock().now();
        let told = told.iter().map(|told| {
            let event = told.event(own, now);
            // What is about no order has the key of none.
            let key = event.subject.parse().map(|id| natural_key(&id)).unwrap_or_default();
            (event, key)
        });
        self.spending.keep_told(told.collect(), &self.stopping).await
    }

    /// Tells of a conflict and stops spending, unless it is known of already.
    async fn tell_of_conflict(&self, key: &str) -> Result<(), Error> {
        let (now, event) = (self.access.clock().now(), self.conflict_event(key, CONFLICT)?);
        let told = self.access.store().transact(move |db| {
            let last = events::last_about(db, &event.source, &event.subject)?;
            let known = last.is_some_and(|last| {
                last.kind == CONFLICT && now.saturating_sub(last.at) < EPISODE_SECONDS_MAX
            });
            if !known {
                events::put(db, &event)?;
                approvals::freeze(db, KEY_ELSEWHERE, now)?;
            }
            Ok(!known)
        });
        if told.await? {
            tracing::warn!("another program is connected with this CROO key; spending is stopped");
        }
        Ok(())
    }

    /// Tells of a conflict's end, where there was one. Spending stays stopped: the owner looks.
    async fn tell_of_its_end(&self, key: &str) -> Result<(), Error> {
        let event = self.conflict_event(key, CONFLICT_OVER)?;
        let (source, subject) = (event.source.clone(), event.subject.clone());
        let store = self.access.store();
        let last = store.with(move |db| events::last_about(db, &source, &subject)).await?;
        if last.is_none_or(|last| last.kind != CONFLICT) {
            return Ok(());
        }
        store.transact(move |db| events::put(db, &event).map(drop)).await
    }

    fn conflict_event(&self, key: &str, kind: &str) -> Result<Event, Error> {
        let note = if kind == CONFLICT {
            "another program is connected with this CROO key, so spending is stopped. The owner ends \
             that program, or gives each program a key of its own, then confirms with `haggle \
             unfreeze`"
        } else {
            "no other program is connected with this CROO key any more"
        };
        Ok(Event {
            seq: 0,
            principal: EVERYONE.to_owned(),
            source: Marketplace::Croo.name().to_owned(),
            dedup: format!("{kind}:{key}:{}", hex::encode(random()?)),
            kind: kind.to_owned(),
            subject: format!("event_stream:{key}"),
            payload: json!({ "marketplace": Marketplace::Croo, "note": note }),
            at: self.access.clock().now(),
        })
    }
}
