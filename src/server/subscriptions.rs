//! What a client is told of without asking: that a resource has changed.
//!
//! Invariant: an update is announced after what it is about was stored, whichever process stored it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer,
    model::{ResourceUpdatedNotificationParam, SubscriptionFilter},
    service::{Peer, SubscriptionContext},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    resources::{INBOX, POLICY, PURCHASES, known, not_found, purchase_uri},
};
use crate::{
    app::App,
    events::{self, Changes, Event},
};

/// How many resources a session may follow.
const FOLLOWED_MAX: usize = 64;
/// How many events are read at a time.
const PAGE: u32 = 100;

/// What of the wanted notifications there is.
pub(super) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let wanted = requested.resource_subscriptions.iter().flatten();
    let known = wanted.filter(|uri| known(uri).is_some()).take(FOLLOWED_MAX).cloned().collect();
    let mut accepted = SubscriptionFilter::new();
    accepted.resource_subscriptions = Some(known);
    accepted
}

/// The subscriptions of one session by `resources/subscribe`, which end with it.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    followed: Mutex<Followed>,
    ends: CancellationToken,
}

#[derive(Debug, Default)]
struct Followed {
    uris: BTreeSet<String>,
    is_told: bool,
}

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}

impl Server {
    /// Tells a subscription of 2026-07-28 of updates until it is cancelled or the program ends.
    pub(super) async fn announce(
        &self,
        subscription: SubscriptionContext,
    ) -> Result<(), ErrorData> {
        let wanted: BTreeSet<String> =
            subscription.accepted().resource_subscriptions.iter().flatten().cloned().collect();
        if wanted.is_empty() {
            tokio::select! {
                () = subscription.cancelled() => {}
                () = self.app().stopping().cancelled() => {}
            }
            return Ok(());
        }
        self.app().listen();
        let mut updates = Updates::begin(self.app(), &self.principal().name).await;
        loop {
            let changed = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.app().stopping().cancelled() => return Ok(()),
                changed = updates.next(self.app()) => changed,
            };
            for uri in changed.intersection(&wanted) {
                if subscription.sink().notify_resource_updated(uri.as_str()).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Tells a client of an earlier revision of updates, until it unsubscribes or is gone.
    pub(super) async fn subscribe_to(
        &self,
        uri: &str,
        peer: Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        if known(uri).is_none() {
            return Err(not_found(uri));
        }
        self.app().listen();
        let updates = Updates::begin(self.app(), &self.principal().name).await;
        let mut followed = self.subscriptions.lock();
        if followed.uris.len() >= FOLLOWED_MAX && !followed.uris.contains(uri) {
            let message = format!("a session follows at most {FOLLOWED_MAX} resources");
            return Err(ErrorData::invalid_params(message, Some(json!({ "uri": uri }))));
        }
        followed.uris.insert(uri.to_owned());
        if !std::mem::replace(&mut followed.is_told, true) {
            self.app().tasks().spawn(tell(
                self.app().clone(),
                Arc::downgrade(&self.subscriptions),
                self.subscriptions.ends.clone(),
                updates,
                peer,
            ));
        }
        Ok(())
    }

    /// Ends what [`Self::subscribe_to`] began.
    pub(super) fn unsubscribe_from(&self, uri: &str) -> Result<(), ErrorData> {
        if known(uri).is_none() {
            return Err(not_found(uri));
        }
        self.subscriptions.lock().uris.remove(uri);
        Ok(())
    }
}

/// Tells a session of updates. Does not hold its subscriptions, so that they end with the session.
async fn tell(
    app: Arc<App>,
    session: std::sync::Weak<Subscriptions>,
    ends: CancellationToken,
    mut updates: Updates,
    peer: Peer<RoleServer>,
) {
    loop {
        let changed = tokio::select! {
            () = ends.cancelled() => return,
            () = app.stopping().cancelled() => return,
            changed = updates.next(&app) => changed,
        };
        let Some(session) = session.upgrade() else { return };
        let told: Vec<String> = changed.intersection(&session.lock().uris).cloned().collect();
        drop(session);
        for uri in told {
            let update = ResourceUpdatedNotificationParam::new(uri);
            if peer.notify_resource_updated(update).await.is_err() {
                return;
            }
        }
    }
}

/// The updates for one principal, by what was stored since the last.
struct Updates {
    changes: Changes,
    principal: String,
    seen: Option<i64>,
}

impl Updates {
    /// From this moment on.
    async fn begin(app: &App, principal: &str) -> Self {
        let (changes, principal) = (Changes::of(app.store()), principal.to_owned());
        let who = principal.clone();
        let seen = app.store().with(move |db| events::last(db, &who)).await.ok();
        Self { changes, principal, seen }
    }

    /// Waits for the next: the addresses of what has changed. A store that cannot be read is looked
    /// into again later.
    async fn next(&mut self, app: &App) -> BTreeSet<String> {
        loop {
            self.changes.next().await;
            let (who, seen) = (self.principal.clone(), self.seen);
            let found = app.store().with(move |db| match seen {
                Some(seen) => Ok((events::after(db, &who, seen, PAGE)?, seen)),
                None => Ok((Vec::new(), events::last(db, &who)?)),
            });
            let Ok((found, last)) = found.await else { continue };
            self.seen = Some(found.last().map_or(last, |event| event.seq));
            if !found.is_empty() {
                return changed(&found);
            }
        }
    }
}

/// The addresses of what these events have changed.
fn changed(events: &[Event]) -> BTreeSet<String> {
    let mut changed = BTreeSet::from([INBOX.to_owned()]);
    for event in events.iter().filter(|event| event.kind == "purchase_changed") {
        changed.extend([PURCHASES.to_owned(), POLICY.to_owned(), purchase_uri(&event.subject)]);
    }
    changed
}
