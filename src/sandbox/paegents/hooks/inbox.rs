//! An agent's inbox: what it was told and has not acknowledged yet.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        agents,
        answers::{Answer, ApiError, find, number, ok},
        hooks::is_wanted,
    },
    world::World,
};

/// Nobody acknowledged it.
const PENDING: &str = "pending";
/// The agent acknowledged it.
const ACKNOWLEDGED: &str = "acknowledged";

/// An event as the agent sees it, with its place in the order of events.
struct Event {
    seq: i64,
    id: String,
    kind: String,
    agreement: String,
    payload: Value,
    status: String,
    attempts: i64,
    created_at: i64,
}

const COLUMNS: &str = "seq, id, kind, agreement, payload, status, attempts, created_at";

impl Event {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let payload: String = row.get(4)?;
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            kind: row.get(2)?,
            agreement: row.get(3)?,
            payload: serde_json::from_str(&payload).unwrap_or_default(),
            status: row.get(5)?,
            attempts: row.get(6)?,
            created_at: row.get(7)?,
        })
    }

    fn view(&self) -> Value {
        json!({
            "event_id": self.id,
            "type": self.kind,
            "payload": self.payload,
            "status": self.status,
            "attempt_count": self.attempts,
            "created_at": rfc3339(self.created_at),
        })
    }
}

/// Where a list begins: after an event, or after a time in milliseconds.
#[derive(Clone, Copy)]
enum After {
    Event(i64),
    Time(i64),
}

impl After {
    /// The page does not say what `after` is: an event's identifier and a time are both taken.
    fn read(db: &Connection, agent: &str, text: &str) -> Result<Self, ApiError> {
        let seq: Option<i64> = db
            .prepare_cached("SELECT seq FROM paegents_events WHERE agent = ?1 AND id = ?2")?
            .query_row([agent, text], |row| row.get(0))
            .optional()?;
        let seconds = || text.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(1_000));
        let time = || text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
        match seq {
            Some(seq) => Ok(Self::Event(seq)),
            None => seconds().or_else(time).map(Self::Time).ok_or_else(|| {
                ApiError::invalid_query("after", "Input should be an event id or a time")
            }),
        }
    }
}

/// `GET /agents/{agent}/events`: a bare array, the oldest first.
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let limit = usize::try_from(number(&query, "limit", 50, (1, 200))?).unwrap_or_default();
        let after =
            find(&query, "after").map(|text| After::read(db, &agent.id, text)).transpose()?;
        let (seq, time) = match after {
            None => (0, i64::MIN),
            Some(After::Event(seq)) => (seq, i64::MIN),
            Some(After::Time(time)) => (0, time),
        };
        let types: Vec<&str> = find(&query, "types")
            .into_iter()
            .flat_map(|types| types.split(','))
            .map(str::trim)
            .filter(|kind| !kind.is_empty())
            .collect();
        let mut statement = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM paegents_events
             WHERE agent = ?1 AND seq > ?2 AND created_at > ?3 AND status = '{PENDING}'
             ORDER BY seq"
        ))?;
        let mut found = Vec::new();
        for event in statement.query_map(params![agent.id, seq, time], Event::read)? {
            let event = event?;
            if is_wanted(types.iter().copied(), &event.kind) {
                found.push(event.view());
            }
            if found.len() == limit {
                break;
            }
        }
        Ok::<_, ApiError>(Value::from(found))
    })?)
}

/// `POST /agents/{agent}/events/{id}/ack`: harmless when repeated.
pub(crate) async fn acknowledge(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let count = db
            .prepare_cached("UPDATE paegents_events SET status = ?3 WHERE agent = ?1 AND id = ?2")?
            .execute([agent.id.as_str(), &id, ACKNOWLEDGED])?;
        if count == 0 {
            return Err(ApiError::not_found("Event"));
        }
        Ok(json!({ "event_id": id, "status": ACKNOWLEDGED }))
    })?)
}

/// Everything that the agent was ever told, the oldest first, as the admin shows it.
pub(crate) fn truth(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Value>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_events WHERE agent = ?1 ORDER BY seq"
    ))?
    .query_map([agent], Event::read)?
    .map(|event| {
        let event = event?;
        let mut view = event.view();
        if let Some(members) = view.as_object_mut() {
            members.insert("seq".to_owned(), json!(event.seq));
            members.insert("agreement_id".to_owned(), json!(event.agreement));
            members.insert("at".to_owned(), json!(rfc3339(event.created_at)));
        }
        Ok(view)
    })
    .collect()
}
