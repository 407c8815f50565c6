//! Events: an inbox for each agent, and webhooks that carry the same events to an address.
//!
//! An event is part of the transaction that brings it about, so nothing is told that did not
//! happen. Source: the protocol page on Paegents, 3.2 and 8.

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post},
};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

pub(in crate::sandbox) mod courier;
pub(super) mod deliveries;
pub(in crate::sandbox) mod inbox;
pub(in crate::sandbox) mod signature;
pub(super) mod subscriptions;

use crate::sandbox::{clock::rfc3339, paegents::pay::mandates::fresh_id, world::World};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    kind TEXT NOT NULL, agreement TEXT NOT NULL, payload TEXT NOT NULL, status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL);
CREATE INDEX paegents_inbox ON paegents_events (agent, seq);
CREATE TABLE paegents_subscriptions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    url TEXT NOT NULL, event_types TEXT NOT NULL, secret TEXT NOT NULL, old_secret TEXT,
    old_until INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE INDEX paegents_subscribed ON paegents_subscriptions (agent, seq);
CREATE TABLE paegents_deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    subscription TEXT NOT NULL, event TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    status TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, response_code INTEGER,
    error TEXT, next_at INTEGER, replay_of TEXT, created_at INTEGER NOT NULL,
    delivered_at INTEGER);
CREATE INDEX paegents_told ON paegents_deliveries (agent, seq);
CREATE INDEX paegents_to_tell ON paegents_deliveries (next_at) WHERE status = 'pending';
";

/// An event that happens now.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent<'a> {
    /// Its type, such as `agreement.accepted`.
    pub(crate) kind: &'a str,
    /// The identifier of the agent who is told.
    pub(crate) agent: &'a str,
    /// The agreement it is about, or empty.
    pub(crate) agreement: &'a str,
    /// What is told.
    pub(crate) payload: Value,
}

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/agents/{agent}/events", get(inbox::list))
        .route("/agents/{agent}/events/{id}/ack", post(inbox::acknowledge))
        .route("/agents/{agent}/webhooks", get(subscriptions::list).post(subscriptions::create))
        .route("/agents/{agent}/webhooks/test", post(deliveries::test))
        .route("/agents/{agent}/webhooks/deliveries", get(deliveries::list))
        .route("/agents/{agent}/webhooks/deliveries/{id}/replay", post(deliveries::replay))
        .route("/agents/{agent}/webhooks/{id}", delete(subscriptions::remove))
        .route("/agents/{agent}/webhooks/{id}/rotate", post(subscriptions::rotate))
        .route("/agents/{agent}/webhooks/{id}/pause", post(subscriptions::pause))
        .route("/agents/{agent}/webhooks/{id}/resume", post(subscriptions::resume))
}

/// The secret that the line of `haggle sandbox` names: it signs what the buyer is told where its
/// subscription came without a secret of its own.
pub(crate) fn known_secret(world: &World) -> String {
    let digest = hex::encode(world.seed.bytes("paegents/webhook-secret"));
    format!("whsec_{}", digest.get(..32).unwrap_or_default())
}

/// Puts an event into an agent's inbox, and queues it for the agent's webhooks.
pub(crate) fn emit(
    db: &Connection,
    world: &World,
    now: i64,
    event: &NewEvent<'_>,
) -> rusqlite::Result<()> {
    tell(db, world, now, event).map(|_| ())
}

/// As [`emit`]; answers the event's identifier.
pub(crate) fn tell(
    db: &Connection,
    world: &World,
    now: i64,
    event: &NewEvent<'_>,
) -> rusqlite::Result<String> {
    let id = fresh_id(db, world, "evt")?;
    let mut payload = event.payload.clone();
    if let Some(members) = payload.as_object_mut()
        && !event.agreement.is_empty()
    {
        members.entry("agreement_id").or_insert_with(|| json!(event.agreement));
    }
    db.prepare_cached(
        "INSERT INTO paegents_events (id, agent, kind, agreement, payload, status, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6)",
    )?
    .execute(params![
        id,
        event.agent,
        event.kind,
        event.agreement,
        payload.to_string(),
        now
    ])?;
    let to = subscriptions::wanting(db, event.agent, event.kind)?;
    let body = body(&id, event, &payload, now);
    for subscription in &to {
        let told = (id.as_str(), event.kind, body.as_str());
        deliveries::queue(db, world, now, (subscription, None), told)?;
    }
    Ok(id)
}

/// The body of a delivery: the event as the inbox shows it, and whose it is.
fn body(id: &str, event: &NewEvent<'_>, payload: &Value, now: i64) -> String {
    json!({
        "event_id": id,
        "type": event.kind,
        "agent_id": event.agent,
        "payload": payload,
        "created_at": rfc3339(now),
    })
    .to_string()
}

/// Whether `kind` is one of the types, of which none are all. A type that ends in `*` stands for
/// every type that begins as it does.
fn is_wanted<'a>(types: impl IntoIterator<Item = &'a str>, kind: &str) -> bool {
    let mut types = types.into_iter().peekable();
    types.peek().is_none()
        || types.any(|wanted| match wanted.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => wanted == kind,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_events_are_wanted() {
        #[rustfmt::skip]
        let rows = [
            ("all, unsaid",     &[][..],                        "agreement.accepted", true),
            ("all, said",       &["*"][..],                     "agreement.accepted", true),
            ("by name",         &["agreement.accepted"][..],    "agreement.accepted", true),
            ("another name",    &["agreement.rejected"][..],    "agreement.accepted", false),
            ("by family",       &["payment.*", "agreement.*"][..], "agreement.accepted", true),
            ("another family",  &["payment.*"][..],             "agreement.accepted", false),
            ("no mere prefix",  &["agree.*"][..],               "agreement.accepted", false),
        ];
        for (row, types, kind, expected) in rows {
            assert_eq!(is_wanted(types.iter().copied(), kind), expected, "{row}");
        }
    }
}
