//! What CROO tells its agents, kept once for each agent who is told.
//!
//! An event is part of the transaction that brings it about, so nothing is told that did not
//! happen. The sockets read from here; `GET /admin/events` shows all of it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use crate::sandbox::{clock::rfc3339, keys::sha256_hex};

/// The table: a row for each event and agent who is told.
pub(crate) const TABLES: &str = "
CREATE TABLE croo_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, kind TEXT NOT NULL,
    negotiation_id TEXT NOT NULL, order_id TEXT NOT NULL, requester TEXT NOT NULL,
    provider TEXT NOT NULL, service_id TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    at INTEGER NOT NULL);
CREATE INDEX croo_events_agent ON croo_events (agent, seq);
";

/// The columns that [`Event`] is read from.
const COLUMNS: &str = "seq, kind, negotiation_id, order_id, requester, provider, service_id, \
                       status, reason, at";

/// An event to be told. What does not apply is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEvent<'a> {
    /// Its type, as on the wire.
    pub(crate) kind: &'a str,
    /// The negotiation.
    pub(crate) negotiation_id: &'a str,
    /// The order.
    pub(crate) order_id: &'a str,
    /// The agent who buys.
    pub(crate) requester: &'a str,
    /// The agent who sells.
    pub(crate) provider: &'a str,
    /// What is sold.
    pub(crate) service_id: &'a str,
    /// What the negotiation or the order has become.
    pub(crate) status: &'a str,
    /// Why, where somebody gave a reason.
    pub(crate) reason: &'a str,
    /// The agents who are told, each once.
    pub(crate) to: &'a [&'a str],
}

/// An event as one agent is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its place in the order of events.
    pub(crate) seq: i64,
    /// Its type, as on the wire.
    pub(crate) kind: String,
    negotiation_id: String,
    order_id: String,
    requester: String,
    provider: String,
    service_id: String,
    status: String,
    reason: String,
    at_ms: i64,
}

impl Event {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            kind: row.get(1)?,
            negotiation_id: row.get(2)?,
            order_id: row.get(3)?,
            requester: row.get(4)?,
            provider: row.get(5)?,
            service_id: row.get(6)?,
            status: row.get(7)?,
            reason: row.get(8)?,
            at_ms: row.get(9)?,
        })
    }

    fn fields(&self) -> [(&'static str, &str); 8] {
        [
            ("type", &self.kind),
            ("negotiation_id", &self.negotiation_id),
            ("order_id", &self.order_id),
            ("requester_agent_id", &self.requester),
            ("provider_agent_id", &self.provider),
            ("service_id", &self.service_id),
            ("status", &self.status),
            ("reason", &self.reason),
        ]
    }

    /// The event as it goes over a socket: what is empty is absent.
    pub(crate) fn wire(&self) -> Value {
        let fields = self.fields().into_iter().filter(|(_, text)| !text.is_empty());
        let mut members: Map<String, Value> =
            fields.map(|(name, text)| (name.to_owned(), Value::from(text))).collect();
        let digest = sha256_hex(format!("croo/event/{}", self.seq).as_bytes());
        let id = digest.get(..24).unwrap_or_default();
        members.insert("id".to_owned(), Value::from(format!("evt_{id}")));
        members.insert("timestamp".to_owned(), Value::from(rfc3339(self.at_ms)));
        Value::from(members)
    }

    /// The event as the admin shows it: every member is there.
    fn truth(&self) -> Value {
        let fields = self.fields().into_iter();
        let mut members: Map<String, Value> =
            fields.map(|(name, text)| (name.to_owned(), Value::from(text))).collect();
        members.insert("seq".to_owned(), json!(self.seq));
        members.insert("at".to_owned(), json!(rfc3339(self.at_ms)));
        Value::from(members)
    }
}

/// Tells an event to its agents, from the transaction that brings it about.
pub(crate) fn emit(db: &Connection, now: i64, event: &NewEvent<'_>) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO croo_events (agent, kind, negotiation_id, order_id, requester, provider,
             service_id, status, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (index, agent) in event.to.iter().enumerate() {
        // An agent who buys from itself is both sides, and is told once.
        if event.to.iter().take(index).any(|earlier| earlier == agent) {
            continue;
        }
        insert.execute(params![
            agent,
            event.kind,
            event.negotiation_id,
            event.order_id,
            event.requester,
            event.provider,
            event.service_id,
            event.status,
            event.reason,
            now,
        ])?;
    }
    Ok(())
}

/// The agent's events after `seq`, oldest first, at most `limit`.
pub(crate) fn after(
    db: &Connection,
    agent: &str,
    seq: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM croo_events WHERE agent = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
    ))?
    .query_map(params![agent, seq, i64::try_from(limit).unwrap_or(i64::MAX)], Event::read)?
    .collect()
}

/// The place after which the agent's last `count` events come; 0 if there are no more than those.
pub(crate) fn place_before_last(
    db: &Connection,
    agent: &str,
    count: usize,
) -> rusqlite::Result<i64> {
    let seq = db
        .prepare_cached(
            "SELECT seq FROM croo_events WHERE agent = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2",
        )?
        .query_row(params![agent, i64::try_from(count).unwrap_or(i64::MAX)], |row| row.get(0))
        .optional()?;
    Ok(seq.unwrap_or(0))
}

/// Everything that the agent was ever told, once each, oldest first.
pub(crate) fn truth(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Value>> {
    Ok(after(db, agent, 0, usize::MAX)?.iter().map(Event::truth).collect())
}
