//! Paegents' events, on their way into the inbox: one process an agent reads the list, again and
//! again. Source: protocols/paegents.md §3.2, §8.1.
//!
//! Invariants: an event is acknowledged after it was stored, so a crash in between tells it again,
//! and the inbox holds it once; it never makes a payment, at most a question about one; a server that
//! only reads acknowledges nothing.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Paegents,
    escrow::natural_key,
    events::{AckEvent, ListEvents, Told},
};
use crate::{
    access::Access,
    error::{Code, Error},
    events::Condition,
    ids::{AgentId, PurchaseId},
    marketplaces::Marketplace,
    spend::{Spending, random},
    store::leases::Lease,
};

/// The events of a page.
const PAGE_ROWS: usize = 50;
/// The pages that are read in one go: 5,000 events.
const PAGES_MAX: usize = 100;
/// After so many failures in a row, acknowledging is left to the next reading.
const FAILURES_MAX: usize = 3;
/// How long a caller waits for a reading before looking into the inbox.
const FRESHEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Two readings that callers ask for are at least this far apart.
const GAP: Duration = Duration::from_secs(1);
/// So many readings in a row have to fail before it is called a failure.
const MISSED_MAX: u32 = 4;

/// How long the feed waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two readings of the list.
    pub every: Duration,
    /// Between two looks whether the process that reads it is gone.
    pub lease: Duration,
}

/// How it stands, and since when the list could not be read.
#[derive(Clone, Copy, Debug)]
struct Standing {
    condition: Condition,
    down_since: Option<Instant>,
}

/// The feed of one process.
#[derive(Debug)]
pub struct Feed {
    access: Arc<Access>,
    spending: Arc<Spending>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    times: Times,
    instance: Result<String, Error>,
    is_begun: AtomicBool,
    standing: Mutex<Standing>,
    /// When the list was last read; whoever reads it holds this.
    last_read: tokio::sync::Mutex<Option<Instant>>,
}

impl Feed {
    /// A feed that is not begun. Touches neither network nor store.
    #[must_use]
    pub fn new(
        access: Arc<Access>,
        spending: Arc<Spending>,
        tasks: TaskTracker,
        stopping: CancellationToken,
        times: Times,
    ) -> Arc<Self> {
        Arc::new(Self {
            access,
            spending,
            tasks,
            stopping,
            times,
            instance: random().map(|bytes| PurchaseId::from_random(bytes).to_string()),
            is_begun: AtomicBool::new(false),
            standing: Mutex::new(Standing { condition: Condition::Off, down_since: None }),
            last_read: tokio::sync::Mutex::new(None),
        })
    }

    /// Begins to read, where Paegents is in use and it has not begun.
    pub fn begin(self: &Arc<Self>) {
        let in_use = self.access.settings().marketplaces.contains(&Marketplace::Paegents);
        if !in_use || self.stopping.is_cancelled() || self.is_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        self.stands(Condition::Connecting);
        let feed = self.clone();
        self.tasks.spawn(async move {
            let end = Box::pin(feed.run()).await;
            feed.stands(end);
            // A key may come, or another one: the next call begins anew.
            feed.is_begun.store(false, Ordering::Relaxed);
        });
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
                "Paegents does not accept the agent's key, so no event is heard of".to_owned(),
            ),
            Condition::Connecting => {
                let down = down_since.map(|since| since.elapsed()).unwrap_or_default();
                if down <= self.times.every * MISSED_MAX {
                    return None;
                }
                let seconds = down.as_secs();
                let message = format!("Paegents' list of events could not be read for {seconds} s");
                (Code::EventsDegraded, message)
            }
            Condition::Off | Condition::Connected | Condition::Elsewhere | Condition::Conflict => {
                return None;
            }
        };
        Some(Error::new(code, message).at(Marketplace::Paegents))
    }

    /// Reads once for a caller who wants to hear what is new. A failure shows in the condition.
    pub async fn freshen(&self) {
        if self.is_begun.load(Ordering::Relaxed) {
            let read = tokio::time::timeout(FRESHEN_TIMEOUT, self.read_again());
            if let Ok(Err(error)) = read.await {
                tracing::debug!(%error, "Paegents' events could not be read for a caller");
            }
        }
    }

    /// Stores these, for a caller who is about to acknowledge one of them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn keep(&self, told: &[Told]) -> Result<usize, Error> {
        let now = self.access.clock().now();
        let told = told.iter().map(|told| {
            let event = told.event(now);
            // What is about no agreement has the key of none.
            let key = event.subject.parse().map(|id| natural_key(&id)).unwrap_or_default();
            (event, key)
        });
        self.spending.keep_told(told.collect(), &self.stopping).await
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

    /// Reads whenever it is due, as long as there is a key that is accepted. Gives how it stands then.
    async fn run(&self) -> Condition {
        loop {
            let lease = match self.turn().await {
                Ok(None) => return Condition::Off,
                Ok(Some(Some(lease))) => Some(lease),
                Ok(Some(None)) => {
                    self.stands(Condition::Elsewhere);
                    None
                }
                Err(error) => {
                    tracing::debug!(%error, "Paegents' events cannot be read");
                    self.stands(Condition::Connecting);
                    // In sandbox mode the process that served the sandbox may be gone.
                    self.access.forget_venue();
                    None
                }
            };
            if let Some(lease) = lease {
                if self.condition() == Condition::Elsewhere {
                    self.stands(Condition::Connecting);
                }
                self.read_while(&lease).await;
            }
            let is_refused = self.condition() == Condition::Refused;
            if is_refused || self.stopping.is_cancelled() {
                return self.condition();
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(self.times.lease) => {}
            }
        }
    }

    /// The lease of the agent in use; the outer `None` where there is no agent.
    async fn turn(&self) -> Result<Option<Option<Lease>>, Error> {
        let paegents = self.access.paegents().await?;
        let Ok(agent) = paegents.agent() else { return Ok(None) };
        let name = format!("paegents:feed:{agent}");
        Lease::take(self.access.store(), &name, &self.instance.clone()?).await.map(Some)
    }

    async fn read_while(&self, lease: &Lease) {
        loop {
            let read = tokio::select! {
                () = self.stopping.cancelled() => return,
                () = lease.lost().cancelled() => return,
                read = self.read() => read,
            };
            match read {
                Ok(_) => {}
                Err(error) if error.is(Code::Unauthorized) => {
                    tracing::warn!("Paegents refused the agent's key");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "Paegents' events could not be read");
                    self.access.forget_venue();
                }
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = lease.lost().cancelled() => return,
                () = tokio::time::sleep(self.times.every) => {}
            }
        }
    }

    /// As [`Self::read`], unless somebody just has.
    async fn read_again(&self) -> Result<usize, Error> {
        let mut last = self.last_read.lock().await;
        if last.is_some_and(|last| last.elapsed() < GAP.min(self.times.every)) {
            return Ok(0);
        }
        let read = self.learned(self.drain().await);
        *last = Some(Instant::now());
        read
    }

    /// Reads the list to its end, stores what is new, then acknowledges it. Gives how many were new.
    async fn read(&self) -> Result<usize, Error> {
        let mut last = self.last_read.lock().await;
        let read = self.learned(self.drain().await);
        *last = Some(Instant::now());
        read
    }

    /// What a reading says of how it stands.
    fn learned(&self, read: Result<usize, Error>) -> Result<usize, Error> {
        match &read {
            Ok(_) if self.condition() == Condition::Elsewhere => {}
            Ok(_) => self.stands(Condition::Connected),
            Err(error) if error.is(Code::Unauthorized) => self.stands(Condition::Refused),
            Err(_) => self.stands(Condition::Connecting),
        }
        read
    }

    async fn drain(&self) -> Result<usize, Error> {
        let paegents = self.access.paegents().await?;
        let Ok(agent) = paegents.agent() else { return Ok(0) };
        // Times of the sandbox's clock are compared with what it says now.
        let _ = self.access.refresh_clock().await;
        let (mut seen, mut after, mut fresh) = (HashSet::new(), None, 0);
        for _ in 0..PAGES_MAX {
            let list = ListEvents {
                agent_id: agent,
                limit: u64::try_from(PAGE_ROWS).unwrap_or(1),
                types: None,
                after: after.as_deref(),
            };
            let page = paegents.api.send(&list).await?.0;
            let is_last = page.len() < PAGE_ROWS;
            let end = page.last().map(|told| told.event_id.to_string());
            let unseen: Vec<Told> =
                page.into_iter().filter(|told| seen.insert(told.event_id.clone())).collect();
            fresh += self.keep(&unseen).await?;
            let all_gone = self.acknowledge(&paegents, agent, &unseen).await;
            if is_last {
                break;
            }
            // What could not be acknowledged still stands at the beginning.
            after = if all_gone && !unseen.is_empty() { None } else { end };
        }
        Ok(fresh)
    }

    /// Acknowledges what was stored; whether all of it is gone from the list.
    async fn acknowledge(&self, paegents: &Paegents, agent_id: &AgentId, told: &[Told]) -> bool {
        if self.access.settings().read_only {
            return told.is_empty();
        }
        let (mut all_gone, mut failures) = (true, 0);
        for told in told {
            match paegents.api.send(&AckEvent { agent_id, event_id: &told.event_id }).await {
                Err(error) if !error.is(Code::NotFound) => {
                    tracing::debug!(%error, "an event could not be acknowledged");
                    (all_gone, failures) = (false, failures + 1);
                }
                Ok(_) | Err(_) => failures = 0,
            }
            if failures == FAILURES_MAX {
                return false;
            }
        }
        all_gone
    }
}
