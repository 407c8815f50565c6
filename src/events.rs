//! The inbox: what happened, stored first and read with a cursor, at least once.
//!
//! An event never triggers a payment.

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::Value;

use crate::store::StoreError;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Its place in the inbox: the cursor.
    pub seq: i64,
    /// Who may read it.
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

/// The events after `cursor`, the oldest first.
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
    let mut statement = db.prepare_cached(
        "SELECT seq, principal, source, dedup, kind, subject, payload, at FROM inbox
         WHERE principal = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let events = statement
        .query_map(params![principal, cursor, limit], |row| {
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
        })?
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
        "SELECT coalesce(max(seq), 0) FROM inbox WHERE principal = ?1",
        params![principal],
        |row| row.get(0),
    )?)
}
