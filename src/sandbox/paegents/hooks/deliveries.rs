//! Deliveries: each sending of an event to a subscription, and what came of it.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        agents,
        answers::{Answer, ApiError, find, number, ok},
        hooks::{
            NewEvent, body,
            subscriptions::{self, Subscription},
        },
        pay::mandates::fresh_id,
        steps::step_ms,
    },
    world::World,
};

/// After how many steps a failed delivery is tried again, once for each.
const RETRY_STEPS: [i64; 3] = [1, 5, 25];
/// How long such a step is in real life, in milliseconds.
const STEP_MS: i64 = 10_000;
/// The type of a test event.
const TEST: &str = "webhook.test";

/// A delivery as it is listed.
struct Delivery {
    id: String,
    subscription: String,
    event: String,
    kind: String,
    body: String,
    status: String,
    attempts: i64,
    response_code: Option<i64>,
    error: Option<String>,
    next_at: Option<i64>,
    replay_of: Option<String>,
    created_at: i64,
    delivered_at: Option<i64>,
}

const COLUMNS: &str = "id, subscription, event, kind, body, status, attempts, response_code, \
                       error, next_at, replay_of, created_at, delivered_at";

impl Delivery {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            subscription: row.get(1)?,
            event: row.get(2)?,
            kind: row.get(3)?,
            body: row.get(4)?,
            status: row.get(5)?,
            attempts: row.get(6)?,
            response_code: row.get(7)?,
            error: row.get(8)?,
            next_at: row.get(9)?,
            replay_of: row.get(10)?,
            created_at: row.get(11)?,
            delivered_at: row.get(12)?,
        })
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "subscription_id": self.subscription,
            "event_id": self.event,
            "event_type": self.kind,
            "status": self.status,
            "attempt_count": self.attempts,
            "response_code": self.response_code,
            "error": self.error,
            "next_attempt_at": self.next_at.map(rfc3339),
            "replay_of": self.replay_of,
            "created_at": rfc3339(self.created_at),
            "delivered_at": self.delivered_at.map(rfc3339),
        })
    }
}

/// Queues a delivery of an event (identifier, type, body); answers its identifier.
///
/// What would leave this machine is noted and never sent.
pub(crate) fn queue(
    db: &Connection,
    world: &World,
    now: i64,
    (subscription, replay_of): (&Subscription, Option<&str>),
    (event, kind, body): (&str, &str, &str),
) -> rusqlite::Result<String> {
    let id = fresh_id(db, world, "whd")?;
    let is_sent = subscription.is_reachable();
    let status = if is_sent { "pending" } else { "blocked" };
    let error = (!is_sent).then_some("the sandbox sends to plain HTTP on loopback only");
    db.prepare_cached(
        "INSERT INTO paegents_deliveries (id, agent, subscription, event, kind, body, status,
             error, next_at, replay_of, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        id,
        subscription.agent,
        subscription.id,
        event,
        kind,
        body,
        status,
        error,
        is_sent.then_some(now),
        replay_of,
        now,
    ])?;
    world.courier.wake();
    Ok(id)
}

/// A delivery that is to be sent now.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// Its identifier.
    pub(crate) id: String,
    /// Where to.
    pub(crate) subscription: Subscription,
    /// What.
    pub(crate) body: String,
}

/// Takes what is due at `now` to send it, the oldest first. What is taken is not due again.
pub(crate) fn take_due(db: &Connection, now: i64) -> rusqlite::Result<Vec<Due>> {
    let rows: Vec<(String, String, String, String)> = db
        .prepare_cached(
            "SELECT d.id, d.agent, d.subscription, d.body FROM paegents_deliveries d
             JOIN paegents_subscriptions s ON s.id = d.subscription AND s.status = 'active'
             WHERE d.status = 'pending' AND d.next_at <= ?1 ORDER BY d.seq",
        )?
        .query_map([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut due = Vec::new();
    for (id, agent, subscription, body) in rows {
        let Some(subscription) = subscriptions::find(db, &agent, &subscription)? else { continue };
        db.prepare_cached(
            "UPDATE paegents_deliveries SET status = 'sending', next_at = NULL WHERE id = ?1",
        )?
        .execute([&id])?;
        due.push(Due { id, subscription, body });
    }
    Ok(due)
}

/// Makes due again, at `now`, what was being sent when the sandbox stopped.
pub(crate) fn resume(db: &Connection, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE paegents_deliveries SET status = 'pending', next_at = ?1 WHERE status = 'sending'",
        [now],
    )?;
    Ok(())
}

/// Gives up what waits for a subscription that is gone.
pub(crate) fn abandon(db: &Connection, subscription: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE paegents_deliveries SET status = 'failed', next_at = NULL,
             error = 'the subscription was deleted'
         WHERE subscription = ?1 AND status IN ('pending', 'sending')",
    )?
    .execute([subscription])?;
    Ok(())
}

/// Notes what came of an attempt: a status code, or why there is none. A failure is tried again
/// while there are retries left.
pub(crate) fn conclude(
    db: &Connection,
    world: &World,
    now: i64,
    id: &str,
    outcome: Result<u16, &str>,
) -> rusqlite::Result<()> {
    let found: Option<(String, i64)> = db
        .prepare_cached(
            "SELECT event, attempts FROM paegents_deliveries WHERE id = ?1 AND status = 'sending'",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((event, attempts)) = found else { return Ok(()) };
    let is_delivered = outcome.is_ok_and(|code| (200..300).contains(&code));
    let retry = usize::try_from(attempts).ok().and_then(|index| RETRY_STEPS.get(index));
    let next_at = retry.filter(|_| !is_delivered).map(|n| now + n * step_ms(world, STEP_MS));
    let status = match (is_delivered, next_at) {
        (true, _) => "delivered",
        (false, Some(_)) => "pending",
        (false, None) => "failed",
    };
    db.prepare_cached(
        "UPDATE paegents_deliveries SET status = ?2, attempts = ?3, response_code = ?4, error = ?5,
             next_at = ?6, delivered_at = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id,
        status,
        attempts + 1,
        outcome.ok(),
        outcome.err(),
        next_at,
        is_delivered.then_some(now),
    ])?;
    db.prepare_cached("UPDATE paegents_events SET attempts = attempts + 1 WHERE id = ?1")?
        .execute([event])?;
    Ok(())
}

/// `GET /agents/{agent}/webhooks/deliveries`: the newest first.
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let limit = number(&query, "limit", 50, (1, 200))?;
        let found: Vec<Delivery> = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM paegents_deliveries
                 WHERE agent = ?1 AND (?2 IS NULL OR status = ?2) ORDER BY seq DESC LIMIT ?3"
            ))?
            .query_map(params![agent.id, find(&query, "status"), limit], Delivery::read)?
            .collect::<rusqlite::Result<_>>()?;
        let views: Vec<Value> = found.iter().map(Delivery::view).collect();
        Ok::<_, ApiError>(json!({ "deliveries": views }))
    })?)
}

/// `POST /agents/{agent}/webhooks/deliveries/{id}/replay`: the same body, in a new delivery.
pub(crate) async fn replay(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let delivery: Delivery = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM paegents_deliveries WHERE agent = ?1 AND id = ?2"
            ))?
            .query_row([&agent.id, &id], Delivery::read)
            .optional()?
            .ok_or_else(|| ApiError::not_found("Delivery"))?;
        let subscription = subscriptions::find(db, &agent.id, &delivery.subscription)?
            .ok_or_else(|| ApiError::conflict("The subscription of this delivery was deleted"))?;
        let told = (delivery.event.as_str(), delivery.kind.as_str(), delivery.body.as_str());
        let made = queue(db, &world, now, (&subscription, Some(&delivery.id)), told)?;
        let made: Delivery = db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM paegents_deliveries WHERE id = ?1"))?
            .query_row([&made], Delivery::read)?;
        Ok::<_, ApiError>(made.view())
    })?)
}

/// `POST /agents/{agent}/webhooks/test`: an event for every active subscription, in no inbox.
pub(crate) async fn test(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let to = subscriptions::active(db, &agent.id)?;
        if to.is_empty() {
            return Err(ApiError::not_found("Active webhook subscription"));
        }
        let event = fresh_id(db, &world, "evt")?;
        let payload = json!({ "message": "A test of your webhook." });
        let new = NewEvent { kind: TEST, agent: &agent.id, agreement: "", payload };
        let text = body(&event, &new, &new.payload, now);
        let mut made = Vec::new();
        for subscription in &to {
            let told = (event.as_str(), TEST, text.as_str());
            made.push(queue(db, &world, now, (subscription, None), told)?);
        }
        Ok(json!({ "status": "queued", "event_id": event, "deliveries": made }))
    })?)
}
