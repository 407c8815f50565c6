//! The inbox, as a tool.

use std::time::Duration;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::purchases::bounded;
use crate::{
    clock::rfc3339,
    error::{Code, Error},
    events::{self, Changes, Event},
    marketplaces::Marketplace,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, input, output},
};

const WAIT_SECONDS: u64 = 45;
/// For how many events the call that confirms them is given.
const CONFIRMED: usize = 3;

/// Arguments of `market_wait_events`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitEventsArgs {
    /// From the last result; left out: only what is new.
    #[serde(default)]
    pub cursor: Option<i64>,
    /// Default 45, at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
    /// 1 to 100, default 20.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventsView {
    /// The events, the oldest first; empty where nothing happened in time.
    pub events: Vec<EventView>,
    /// For the next call.
    pub cursor: i64,
}

/// Something that happened.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventView {
    /// Its place.
    pub cursor: i64,
    /// What kind.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// The rest.
    pub details: Value,
    /// When.
    pub at: String,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            cursor: event.seq,
            kind: event.kind,
            subject: event.subject,
            details: event.payload,
            at: rfc3339(event.at),
        }
    }
}

#[tool_router(router = market_event_tools, vis = "pub(crate)")]
impl Server {
    /// Wait for something to happen to your purchases, orders, negotiations and agreements. Returns
    /// events and the cursor for the next call; empty when the time is over.
    #[tool(
        name = "market_wait_events",
        input_schema = input::<WaitEventsArgs>(),
        output_schema = output::<EventsView>(),
        annotations(
            title = "Wait for events",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn market_wait_events(
        &self,
        Args(args): Args<WaitEventsArgs>,
        owner: Owner,
    ) -> Result<Reply<EventsView>, Error> {
        let limit = bounded(args.limit)?;
        let wait = owner.wait_seconds(args.wait_seconds, WAIT_SECONDS)?;
        let (store, who) = (self.app().store(), owner.principal.clone());
        let cursor = match args.cursor {
            Some(cursor) if cursor >= 0 => cursor,
            Some(_) => return Err(Error::argument("cursor", "must not be negative", "0")),
            None => store.with(move |db| events::last(db, &who)).await?,
        };
        self.app().feed().freshen().await;
        let wait = Duration::from_secs(wait);
        let heard = self.heard(&owner, cursor, limit, wait);
        let found = owner.telling("waiting for events", wait, heard).await?;
        let again = |cursor: i64| {
            let why = "waits for what happens after these";
            NextCall::new("market_wait_events", json!({ "cursor": cursor }), why)
        };
        if found.is_empty()
            && let Some(trouble) = self.trouble()
        {
            return Err(self.unheard(trouble).next(again(cursor)));
        }
        let cursor = found.last().map_or(cursor, |event| event.seq);
        let mut next = self.confirming(&found);
        next.push(again(cursor));
        let events = found.into_iter().map(EventView::from).collect();
        Ok(Reply { view: EventsView { events, cursor }, next })
    }
}

impl Server {
    /// The events after `cursor`, as soon as there are any; none when the time is over.
    async fn heard(
        &self,
        owner: &Owner,
        cursor: i64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Event>, Error> {
        let store = self.app().store();
        let mut changes = Changes::of(store);
        let until = Instant::now() + wait;
        loop {
            let who = owner.principal.clone();
            let found = store.with(move |db| events::after(db, &who, cursor, limit)).await?;
            if !found.is_empty() || Instant::now() >= until {
                return Ok(found);
            }
            tokio::select! {
                () = changes.next() => {}
                () = tokio::time::sleep_until(until) => {}
                () = owner.cancelled.cancelled() => return Ok(found),
                () = self.app().stopping().cancelled() => return Ok(found),
            }
        }
    }

    /// Why nothing may be heard from a marketplace.
    fn trouble(&self) -> Option<Error> {
        self.app().stream().trouble().or_else(|| self.app().feed().trouble())
    }

    /// Why nothing was heard, with what can be read instead.
    fn unheard(&self, trouble: Error) -> Error {
        if trouble.code != Code::EventsDegraded {
            return trouble;
        }
        let why = "reads what is not told";
        if trouble.marketplace == Some(Marketplace::Paegents) {
            return trouble.next(NextCall::new("paegents_list_agreements", json!({}), why));
        }
        let sides = [("croo_pay_order", "buyer"), ("croo_deliver_order", "provider")];
        let sides = sides.into_iter().filter(|(tool, _)| self.offers(tool));
        sides.fold(trouble, |trouble, (_, role)| {
            trouble.next(NextCall::new("croo_list_orders", json!({ "role": role }), why))
        })
    }

    /// The calls that confirm the last events, each subject once, the most recent first.
    fn confirming(&self, events: &[Event]) -> Vec<NextCall> {
        let mut calls: Vec<NextCall> = Vec::new();
        for event in events.iter().rev() {
            if let Some(call) = self.confirms(event)
                && !calls.contains(&call)
            {
                calls.push(call);
            }
            if calls.len() == CONFIRMED {
                break;
            }
        }
        calls
    }

    /// The read that confirms an event.
    fn confirms(&self, event: &Event) -> Option<NextCall> {
        let id = |name: &str| event.payload.get(name).and_then(Value::as_str);
        let why = "confirms it, and gives the calls that make sense now";
        if event.kind == "purchase_changed" {
            let about = json!({ "purchase_id": event.subject });
            return Some(NextCall::new("market_check_purchase", about, why));
        }
        if let Some(order) = id("order_id") {
            return Some(NextCall::new("croo_get_order", json!({ "order_id": order }), why));
        }
        if let Some(negotiation) = id("negotiation_id") {
            let about = json!({ "negotiation_id": negotiation });
            if self.offers("croo_get_negotiation") {
                return Some(NextCall::new("croo_get_negotiation", about, why));
            }
            let role = if id("role") == Some("provider") { "provider" } else { "requester" };
            return Some(NextCall::new("croo_list_negotiations", json!({ "role": role }), why));
        }
        if let Some(agreement) = id("agreement_id") {
            let about = json!({ "agreement_id": agreement });
            return Some(NextCall::new("paegents_get_agreement", about, why));
        }
        let is_conflict = event.kind.starts_with(Code::InstanceConflict.name());
        is_conflict.then(|| {
            NextCall::new("market_status", json!({}), "shows whether spending is stopped, and why")
        })
    }
}
