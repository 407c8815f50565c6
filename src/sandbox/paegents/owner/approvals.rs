//! Payments that wait for their owner's word.

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
        answers::{Answer, ApiError, find as parameter, number, ok},
        hooks::{self, NewEvent},
        pay::mandates::fresh_id,
    },
    world::World,
};

/// Nobody answered yet.
const PENDING: &str = "pending";
/// The owner said yes.
pub(crate) const APPROVED: &str = "approved";
/// The owner said no.
pub(crate) const REJECTED: &str = "rejected";
/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 500;

/// A payment that the owner is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRequest<'a> {
    /// The agent who wants to pay.
    pub(crate) agent: &'a str,
    /// The intent mandate.
    pub(crate) intent: &'a str,
    /// The cart mandate.
    pub(crate) cart: &'a str,
    /// How much, in cents.
    pub(crate) cents: u64,
    /// In which currency.
    pub(crate) currency: &'a str,
    /// By which rail.
    pub(crate) rail: &'a str,
}

/// A request for approval.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    id: String,
    agent: String,
    intent: String,
    cart: String,
    cents: i64,
    currency: String,
    rail: String,
    /// What has become of it.
    pub(crate) status: String,
    /// Why the owner said no.
    pub(crate) reason: Option<String>,
    created_at: i64,
    decided_at: Option<i64>,
}

const COLUMNS: &str = "id, agent, intent, cart, cents, currency, rail, status, reason, created_at, \
                       decided_at";

impl Approval {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            agent: row.get(1)?,
            intent: row.get(2)?,
            cart: row.get(3)?,
            cents: row.get(4)?,
            currency: row.get(5)?,
            rail: row.get(6)?,
            status: row.get(7)?,
            reason: row.get(8)?,
            created_at: row.get(9)?,
            decided_at: row.get(10)?,
        })
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "agent_id": self.agent,
            "status": self.status,
            "kind": "ap2_payment",
            "intent_mandate_id": self.intent,
            "cart_mandate_id": self.cart,
            "amount_cents": self.cents,
            "currency": self.currency,
            "rail": self.rail,
            "reason": self.reason,
            "created_at": rfc3339(self.created_at),
            "decided_at": self.decided_at.map(rfc3339),
        })
    }

    fn tell(&self, db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
        let kind = match self.status.as_str() {
            APPROVED => "approval.approved",
            REJECTED => "approval.rejected",
            _ => "approval.requested",
        };
        let mut payload = self.view();
        if let Some(members) = payload.as_object_mut() {
            members.insert("request_id".to_owned(), json!(self.id));
        }
        hooks::emit(db, world, now, &NewEvent { kind, agent: &self.agent, agreement: "", payload })
    }
}

/// Asks the owner; answers the identifier of the request.
pub(crate) fn request(
    db: &Connection,
    world: &World,
    now: i64,
    request: &NewRequest<'_>,
) -> rusqlite::Result<String> {
    let approval = Approval {
        id: fresh_id(db, world, "appr")?,
        agent: request.agent.to_owned(),
        intent: request.intent.to_owned(),
        cart: request.cart.to_owned(),
        cents: i64::try_from(request.cents).unwrap_or(i64::MAX),
        currency: request.currency.to_owned(),
        rail: request.rail.to_owned(),
        status: PENDING.to_owned(),
        reason: None,
        created_at: now,
        decided_at: None,
    };
    db.prepare_cached(
        "INSERT INTO paegents_approvals
             (id, agent, intent, cart, cents, currency, rail, status, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        approval.id,
        approval.agent,
        approval.intent,
        approval.cart,
        approval.cents,
        approval.currency,
        approval.rail,
        approval.status,
        now,
    ])?;
    approval.tell(db, world, now)?;
    Ok(approval.id)
}

/// Reads a request of the agent.
pub(crate) fn find(db: &Connection, agent: &str, id: &str) -> Result<Approval, ApiError> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_approvals WHERE agent = ?1 AND id = ?2"
    ))?
    .query_row([agent, id], Approval::read)
    .optional()?
    .ok_or_else(|| ApiError::not_found("Approval request"))
}

/// `GET /agents/{agent}/approvals`: the newest first.
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::owner(db, &headers, &agent)?;
        let limit = number(&query, "limit", 50, (1, 200))?;
        let found: Vec<Approval> = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM paegents_approvals
                 WHERE agent = ?1 AND (?2 IS NULL OR status = ?2) ORDER BY seq DESC LIMIT ?3"
            ))?
            .query_map(params![agent.id, parameter(&query, "status"), limit], Approval::read)?
            .collect::<rusqlite::Result<_>>()?;
        let approvals: Vec<Value> = found.iter().map(Approval::view).collect();
        Ok::<_, ApiError>(json!({ "approvals": approvals }))
    })?)
}

/// Keeps the owner's answer. The same answer twice is one; another one is too late.
fn decide(
    db: &Connection,
    world: &World,
    now: i64,
    (agent, id): (&str, &str),
    (status, reason): (&str, Option<String>),
) -> Result<Value, ApiError> {
    let mut approval = find(db, agent, id)?;
    if approval.status == status {
        return Ok(approval.view());
    }
    if approval.status != PENDING {
        return Err(ApiError::conflict(format!("The request is already {}", approval.status)));
    }
    status.clone_into(&mut approval.status);
    approval.reason = reason;
    approval.decided_at = Some(now);
    db.prepare_cached(
        "UPDATE paegents_approvals SET status = ?2, reason = ?3, decided_at = ?4 WHERE id = ?1",
    )?
    .execute(params![approval.id, approval.status, approval.reason, now])?;
    approval.tell(db, world, now)?;
    Ok(approval.view())
}

/// `POST /agents/{agent}/approvals/{id}/approve`
pub(crate) async fn approve(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::owner(db, &headers, &agent)?;
        decide(db, &world, now, (&agent.id, &id), (APPROVED, None))
    })?)
}

/// `POST /agents/{agent}/approvals/{id}/reject`: the reason stands in the query.
pub(crate) async fn reject(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::owner(db, &headers, &agent)?;
        let reason = parameter(&query, "reason");
        let reason = reason.map(|text| text.chars().take(REASON_CHARS_MAX).collect());
        decide(db, &world, now, (&agent.id, &id), (REJECTED, reason))
    })?)
}
