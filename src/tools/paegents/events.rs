//! Paegents' events: the list that it keeps, and what its webhooks bring. What is subscribed to is in
//! [`webhooks`].
//!
//! Invariant: an event is in our inbox before it is acknowledged.

mod secrets;
mod verify;
pub mod webhooks;

pub use verify::{Received, receive};

use std::collections::BTreeMap;

use jiff::Timestamp;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settled::harmless;
use crate::{
    app::App,
    clock::rfc3339,
    error::{Code, Error},
    events,
    ids::{EventId, WebhookId},
    marketplaces::paegents::{
        Paegents,
        events::{AckEvent, ListEvents, Told},
    },
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, input, output},
};

/// The most rows of a page, and how many there are unless said otherwise.
const LIMIT_MAX: u64 = 50;
const LIMIT: u64 = 20;
/// The most types that are asked for at once.
const TYPES_MAX: usize = 20;
/// The longest name of a type, in bytes.
const TYPE_BYTES_MAX: usize = 64;
/// How many pages of the list are looked through for an event.
const PAGES_MAX: usize = 20;

/// Arguments of `paegents_list_events`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEventsArgs {
    /// Only these, such as `escrow.close_initiated`.
    #[serde(default)]
    pub types: Option<Vec<String>>,
    /// From the last page, or RFC 3339.
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Arguments of `paegents_ack_event`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AckEventArgs {
    /// From the list.
    pub event_id: EventId,
}

/// Arguments of `paegents_verify_webhook`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyWebhookArgs {
    /// As received.
    pub headers: BTreeMap<String, String>,
    /// Raw, byte for byte.
    pub body: String,
    /// Only its secrets; else all.
    #[serde(default)]
    pub webhook_id: Option<WebhookId>,
}

/// Something that happened at Paegents.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ToldView {
    /// Which.
    pub event_id: String,
    /// What kind.
    pub kind: String,
    /// To which agreement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement_id: Option<String>,
    /// What it says.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details_untrusted: Value,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl From<&Told> for ToldView {
    fn from(told: &Told) -> Self {
        Self {
            event_id: told.event_id.to_string(),
            kind: told.kind().to_owned(),
            agreement_id: told.agreement_id().map(|id| id.to_string()),
            details_untrusted: told.details(),
            at: told.at.map(rfc3339),
        }
    }
}

/// What was not acknowledged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ToldListView {
    /// The events, the oldest first.
    pub events: Vec<ToldView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An event that was acknowledged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AckView {
    /// Which.
    pub event_id: String,
    /// Whether it is in the inbox that `market_wait_events` reads.
    pub is_in_inbox: bool,
}

/// Whether a webhook is Paegents'.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifiedView {
    /// Process it only if true; else answer 401.
    pub valid: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it tells, where it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<ToldView>,
    /// Whether this event was verified before: do not process it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<bool>,
}

#[tool_router(router = paegents_event_tools, vis = "pub(crate)")]
impl Server {
    /// Events that Paegents keeps until they are acknowledged. `market_wait_events` has all of them,
    /// and acknowledges by itself.
    #[tool(
        name = "paegents_list_events",
        input_schema = input::<ListEventsArgs>(),
        output_schema = output::<ToldListView>(),
        annotations(
            title = "List Paegents events",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_events(
        &self,
        Args(args): Args<ListEventsArgs>,
    ) -> Result<Reply<ToldListView>, Error> {
        let limit = limit(args.limit)?;
        let types = args.types.as_deref().map(|types| event_types("types", types)).transpose()?;
        let types = types.map(|types| types.join(",")).filter(|types| !types.is_empty());
        let after = args.cursor.as_deref().map(place).transpose()?;
        let paegents = self.app().paegents().await?;
        let agent_id = paegents.agent()?;
        let list = ListEvents { agent_id, limit, types: types.as_deref(), after };
        let found = paegents.api.send(&list).await?.0;
        let is_full = u64::try_from(found.len()).unwrap_or(u64::MAX) >= limit;
        let cursor = found.last().filter(|_| is_full).map(|told| told.event_id.to_string());
        let next = found.first().map(|told| {
            let about = json!({ "event_id": told.event_id });
            let why = "puts it into the inbox, and takes it off the list";
            NextCall::new("paegents_ack_event", about, why)
        });
        let view = ToldListView { events: found.iter().map(ToldView::from).collect(), cursor };
        Ok(Reply { view, next: next.into_iter().collect() })
    }

    /// Acknowledge an event of `paegents_list_events`; it stays in the inbox of `market_wait_events`.
    #[tool(
        name = "paegents_ack_event",
        input_schema = input::<AckEventArgs>(),
        output_schema = output::<AckView>(),
        annotations(
            title = "Acknowledge a Paegents event",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_ack_event(
        &self,
        Args(args): Args<AckEventArgs>,
    ) -> Result<Reply<AckView>, Error> {
        let (app, event_id) = (self.app(), &args.event_id);
        let paegents = app.paegents().await?;
        let agent_id = paegents.agent()?;
        let is_in_inbox = keep(app, &paegents, event_id).await?;
        let sent = paegents.api.send(&AckEvent { agent_id, event_id }).await;
        sent.map_err(|error| {
            let why = "shows the events that are not acknowledged";
            let list = NextCall::new("paegents_list_events", json!({}), why);
            if error.is(Code::NotFound) { error.next(list) } else { harmless(&error) }
        })?;
        Ok(Reply::new(AckView { event_id: event_id.to_string(), is_in_inbox }))
    }

    /// Check that a webhook your server received is from Paegents: right signature, at most 300 s
    /// old, not seen before. Works offline.
    #[tool(
        name = "paegents_verify_webhook",
        input_schema = input::<VerifyWebhookArgs>(),
        output_schema = output::<VerifiedView>(),
        annotations(
            title = "Verify a Paegents webhook",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn paegents_verify_webhook(
        &self,
        Args(args): Args<VerifyWebhookArgs>,
    ) -> Result<Reply<VerifiedView>, Error> {
        verify::verify(self.app(), &args).await
    }
}

/// Puts an event into the inbox before it is acknowledged; whether it is there.
async fn keep(app: &App, paegents: &Paegents, event_id: &EventId) -> Result<bool, Error> {
    let wanted = Told::read(&json!({ "event_id": event_id }));
    let Some(wanted) = wanted.map(|told| told.event(0)) else { return Ok(false) };
    if app.store().with(move |db| events::is_stored(db, &wanted)).await? {
        return Ok(true);
    }
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let agent_id = paegents.agent()?;
        let ask = ListEvents { agent_id, limit: LIMIT_MAX, types: None, after: after.as_deref() };
        let page = paegents.api.send(&ask).await?.0;
        if let Some(found) = page.iter().find(|told| told.event_id == *event_id) {
            app.feed().keep(std::slice::from_ref(found)).await?;
            return Ok(true);
        }
        let is_last = u64::try_from(page.len()).unwrap_or(u64::MAX) < LIMIT_MAX;
        match page.last() {
            Some(oldest) if !is_last => after = Some(oldest.event_id.to_string()),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// How many rows a page has.
fn limit(asked: Option<u64>) -> Result<u64, Error> {
    let limit = asked.unwrap_or(LIMIT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::argument("limit", "must be 1 to 50", "20"))
}

/// Names of types, a family of them ending in `*`.
fn event_types<'a>(field: &str, types: &'a [String]) -> Result<&'a [String], Error> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._*".contains(&b);
    let is_type =
        |kind: &String| (1..=TYPE_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(fits);
    if types.len() <= TYPES_MAX && types.iter().all(is_type) {
        return Ok(types);
    }
    let problem = format!("must be at most {TYPES_MAX} types of events");
    Err(Error::argument(field, problem, "[\"agreement.*\"]"))
}

/// Where a page begins: after an event, or after a time.
fn place(text: &str) -> Result<&str, Error> {
    if text.parse::<EventId>().is_ok() || text.parse::<Timestamp>().is_ok() {
        return Ok(text);
    }
    let problem = "must be from the last page, or a time of RFC 3339";
    Err(Error::argument("cursor", problem, "\"2026-12-01T00:00:00Z\""))
}
