//! What a client can read and be told of without calling a tool.
//!
//! Invariant: an update is announced after what it is about was stored, whichever process stored it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CacheScope, ListResourcesResult, ReadResourceResponse, ReadResourceResult, Resource,
        ResourceContents, ResourceUpdatedNotificationParam, SubscriptionFilter,
    },
    service::{Peer, SubscriptionContext},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{LIST_TTL_MS, Server};
use crate::{
    app::App,
    events::{self, Changes, LOCAL},
    tools::market::events::EventView,
};

/// The inbox.
const INBOX: &str = "haggle://inbox";
/// How many events the inbox shows.
const INBOX_EVENTS: u32 = 50;

/// A resource that there is.
struct Entry {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
}

const ALL: &[Entry] = &[Entry {
    uri: INBOX,
    name: "inbox",
    title: "Inbox",
    description: "What happened to your purchases, orders and negotiations: the last 50 events, the \
                  oldest first, and the cursor for market_wait_events.",
}];

/// The resources.
pub(super) fn list(modern: bool) -> ListResourcesResult {
    let resources = ALL.iter().map(|entry| {
        Resource::new(entry.uri, entry.name)
            .with_title(entry.title)
            .with_description(entry.description)
            .with_mime_type("application/json")
    });
    let mut result = ListResourcesResult::with_all_items(resources.collect());
    if modern {
        result.ttl_ms = Some(LIST_TTL_MS);
        result.cache_scope = Some(CacheScope::Public);
    }
    result
}

/// What of the wanted notifications there is.
pub(super) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let wanted = requested.resource_subscriptions.iter().flatten();
    let known = wanted.filter(|uri| is_known(uri)).cloned().collect();
    let mut accepted = SubscriptionFilter::new();
    accepted.resource_subscriptions = Some(known);
    accepted
}

fn is_known(uri: &str) -> bool {
    ALL.iter().any(|entry| entry.uri == uri)
}

fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))
}

/// The subscriptions of one session by `resources/subscribe`: what each ends with.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<HashMap<String, CancellationToken>>);

impl Drop for Subscriptions {
    fn drop(&mut self) {
        let subscriptions = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        subscriptions.values().for_each(CancellationToken::cancel);
    }
}

impl Server {
    /// Reads a resource.
    pub(super) async fn resource(
        &self,
        uri: &str,
        modern: bool,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let content = match uri {
            INBOX => self.inbox().await?,
            _ => return Err(not_found(uri)),
        };
        let content = ResourceContents::text(content.to_string(), uri);
        let mut result = ReadResourceResult::new(vec![content.with_mime_type("application/json")]);
        if modern {
            result = result.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        }
        Ok(result.into())
    }

    async fn inbox(&self) -> Result<Value, ErrorData> {
        let app = self.app();
        let found = app.store().with(|db| events::recent(db, LOCAL, INBOX_EVENTS)).await;
        let found = found.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let cursor = found.last().map_or(0, |event| event.seq);
        let events: Vec<EventView> = found.into_iter().map(EventView::from).collect();
        let mode = app.settings().mode.name();
        Ok(json!({ "events": events, "cursor": cursor, "mode": mode }))
    }

    /// Tells a subscription of 2026-07-28 of updates until it is cancelled or the program ends.
    pub(super) async fn announce(
        &self,
        subscription: SubscriptionContext,
    ) -> Result<(), ErrorData> {
        let wanted = subscription.accepted().resource_subscriptions.iter().flatten();
        if !wanted.into_iter().any(|uri| uri == INBOX) {
            subscription.cancelled().await;
            return Ok(());
        }
        self.app().listen();
        let mut updates = Updates::begin(self.app()).await;
        loop {
            tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.app().stopping().cancelled() => return Ok(()),
                () = updates.next(self.app()) => {}
            }
            if subscription.sink().notify_resource_updated(INBOX).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Tells a client of an earlier revision of updates, until it unsubscribes or is gone.
    pub(super) async fn subscribe_to(
        &self,
        uri: &str,
        peer: Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !is_known(uri) {
            return Err(not_found(uri));
        }
        self.app().listen();
        let mut updates = Updates::begin(self.app()).await;
        let ends = CancellationToken::new();
        if let Some(earlier) = self.subscriptions().insert(uri.to_owned(), ends.clone()) {
            earlier.cancel();
        }
        let (app, uri) = (self.app().clone(), uri.to_owned());
        // Does not hold the server itself, so that the session's end is the subscription's.
        app.tasks().clone().spawn(async move {
            loop {
                tokio::select! {
                    () = ends.cancelled() => return,
                    () = app.stopping().cancelled() => return,
                    () = updates.next(&app) => {}
                }
                let update = ResourceUpdatedNotificationParam::new(uri.clone());
                if peer.notify_resource_updated(update).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Ends what [`Self::subscribe_to`] began.
    pub(super) fn unsubscribe_from(&self, uri: &str) -> Result<(), ErrorData> {
        if !is_known(uri) {
            return Err(not_found(uri));
        }
        if let Some(subscription) = self.subscriptions().remove(uri) {
            subscription.cancel();
        }
        Ok(())
    }

    fn subscriptions(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.subscriptions.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The updates of the inbox: one for whatever was stored since the last.
struct Updates {
    changes: Changes,
    seen: Option<i64>,
}

impl Updates {
    /// From this moment on.
    async fn begin(app: &App) -> Self {
        let changes = Changes::of(app.store());
        Self { changes, seen: last(app).await }
    }

    /// Waits for the next. A store that cannot be read is looked into again later.
    async fn next(&mut self, app: &App) {
        loop {
            self.changes.next().await;
            let now = last(app).await;
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

async fn last(app: &App) -> Option<i64> {
    app.store().with(|db| events::last(db, LOCAL)).await.ok()
}
