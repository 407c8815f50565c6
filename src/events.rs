//! The inbox: what happened, stored first and read with a cursor, at least once.
//!
//! An event never triggers a payment.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    principal::EVERYONE,
    store::{Store, StoreError},
};

/// How often is looked for what other processes have stored.
const POLL: Duration = Duration::from_secs(1);
const COLUMNS: &str = "seq, principal, source, dedup, kind, subject, payload, at";

/// Tells when it is time to look into the inbox again: at once after this process has stored
/// something, after a while for what others store.
#[derive(Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Those of this store, from this moment on: what is looked for after this is not missed.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self(store.commits())
    }

    /// Waits until it is time to look. Nothing is lost where it is cancelled.
    pub async fn next(&mut self) {
        tokio::select! {
            Ok(()) = self.0.changed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// How a marketplace's events are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Condition {
    /// It was not begun, or there is no key.
    Off,
    /// It is on its way, again and again.
    Connecting,
    /// What happens is heard of.
    Connected,
    /// Another process of this store listens.
    Elsewhere,
    /// Another program holds the stream.
    Conflict,
    /// The marketplace does not accept the key.
    Refused,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Its place in the inbox: the cursor.
    pub seq: i64,
    /// Who may read it: a principal, or everyone.
    pub principal: String,
    /// Where it comes from.
    pub source: String,
    /// What makes it the same event when it comes again.
    pub dedup: String,
    /// What kind of thing happened.
    pub kind: String,
    /// To what: an identifier.
    pub subject: String,
    /// The rest.
    pub payload: Value,
    /// When, in Unix seconds.
    pub at: i64,
}

/// Stores an event; `false` where it was there already.
///
/// # Errors
///
/// Where the store fails.
pub fn put(db: &Connection, event: &Event) -> Result<bool, StoreError> {
    let stored = db
        .prepare_cached(
            "INSERT INTO inbox (principal, source, dedup, kind, subject, payload, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (source, dedup) DO NOTHING",
        )?
        .execute(params![
            event.principal,
            event.source,
            event.dedup,
            event.kind,
            event.subject,
            event.payload.to_string(),
            event.at,
        ])?;
    Ok(stored == 1)
}

/// The events after `cursor` that this principal may read, the oldest first.
///
/// # Errors
///
/// Where the store fails.
pub fn after(
    db: &Connection,
    principal: &str,
    cursor: i64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM inbox WHERE principal IN (?1, ?4) AND seq > ?2 ORDER BY seq LIMIT ?3"
    ))?;
    let events = statement
        .query_map(params![principal, cursor, limit, EVERYONE], row)?
        .collect::<Result<_, _>>()?;
    Ok(events)
}

/// The last event's place: where a caller starts who wants to hear only what is new.
///
/// # Errors
///
/// Where the store fails.
pub fn last(db: &Connection, principal: &str) -> Result<i64, StoreError> {
    Ok(db.query_row(
        "SELECT coalesce(max(seq), 0) FROM inbox WHERE principal IN (?1, ?2)",
        params![principal, EVERYONE],
        |row| row.get(0),
    )?)
}

/// The last events, the oldest first.
///
/// # Errors
///
/// Where the store fails.
pub fn recent(db: &Connection, principal: &str, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM inbox WHERE principal IN (?1, ?3) ORDER BY seq DESC LIMIT ?2"
    ))?;
    let mut events: Vec<Event> =
        statement.query_map(params![principal, limit, EVERYONE], row)?.collect::<Result<_, _>>()?;
    events.reverse();
    Ok(events)
}

/// Whether an event is stored.
///
/// # Errors
///
/// Where the store fails.
pub fn is_stored(db: &Connection, event: &Event) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM inbox WHERE source = ?1 AND dedup = ?2)")?
        .query_row(params![event.source, event.dedup], |row| row.get(0))?)
}

/// The last event about a subject.
///
/// # Errors
///
/// Where the store fails.
pub fn last_about(
    db: &Connection,
    source: &str,
    subject: &str,
) -> Result<Option<Event>, StoreError> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM inbox WHERE source = ?1 AND subject = ?2
             ORDER BY seq DESC LIMIT 1"
        ))?
        .query_row([source, subject], row)
        .optional()?)
}

fn row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let payload: String = row.get(6)?;
    Ok(Event {
        seq: row.get(0)?,
        principal: row.get(1)?,
        source: row.get(2)?,
        dedup: row.get(3)?,
        kind: row.get(4)?,
        subject: row.get(5)?,
        payload: serde_json::from_str(&payload).unwrap_or(Value::Null),
        at: row.get(7)?,
    })
}
