//! The calls about agreements that both sides make.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::IntoResponse,
    routing::{any, get, patch, post, put},
};
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sandbox::{
    faults::{Altered, Fails},
    paegents::{
        agents::{Agent, authenticate},
        agreements::{self, Agreement, Role},
        answers::{Answer, ApiError, find, header, number, ok, read},
        deliveries,
        idempotency::{self, Keyed},
        lifecycle::{self, Refusal},
        proposals,
    },
    world::World,
};

/// The most agreements a list shows at once.
const LIMIT_MAX: i64 = 500;
/// The fewest characters of a complaint.
const REASON_CHARS_MIN: usize = 10;

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/usage-agreements", any(proposals::slash))
        .route("/usage-agreements/", post(proposals::create))
        .route("/usage-agreements/{id}", get(show))
        .route("/usage-agreements/agents/{agent}/agreements", get(list))
        .route("/usage-agreements/{id}/accept", put(accept))
        .route("/usage-agreements/{id}/reject", put(reject))
        .route("/usage-agreements/{id}/cancel", post(cancel))
        .route("/usage-agreements/{id}/dispute", post(dispute))
        .route("/usage-agreements/{id}/record-usage", post(record_usage))
        .route("/usage-agreements/{id}/delivery", patch(deliveries::update))
}

/// `GET /usage-agreements/{agreement_id}`
async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let (found, _) = world.transact(|db, _| {
        let agent = authenticate(db, &headers)?;
        agreements::as_party(db, &agent, &id)
    })?;
    ok(found.view())
}

/// `GET /usage-agreements/agents/{agent_id}/agreements`: newest first, a bare array.
async fn list(
    State(world): State<Arc<World>>,
    Path(wanted): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let views = world.transact(|db, _| {
        let agent = authenticate(db, &headers)?;
        if agent.id != wanted {
            return Err(ApiError::forbidden("Not authorized for this agent"));
        }
        let limit = number(&query, "limit", 100, (1, LIMIT_MAX))?;
        let role = find(&query, "role").unwrap_or_default();
        if !["", "buyer", "seller"].contains(&role) {
            return Err(ApiError::invalid_query("role", "must be buyer or seller"));
        }
        let status = find(&query, "status").unwrap_or_default();
        let found = listed(db, &agent, (role, status, limit))?;
        Ok(found.iter().map(Agreement::view).collect::<Value>())
    })?;
    ok(views)
}

fn listed(
    db: &Connection,
    agent: &Agent,
    (role, status, limit): (&str, &str, i64),
) -> rusqlite::Result<Vec<Agreement>> {
    db.prepare_cached(
        "SELECT record FROM paegents_agreements
         WHERE ((?2 <> 'seller' AND buyer = ?1) OR (?2 <> 'buyer' AND seller = ?1))
             AND (?3 = '' OR status = ?3)
         ORDER BY seq DESC LIMIT ?4",
    )?
    .query_map(params![agent.id, role, status, limit], |row| {
        agreements::parse(&row.get::<_, String>(0)?)
    })?
    .collect()
}

/// The agreement that a repeated request was about, as it stands now.
fn repeated(db: &Connection, keyed: &Keyed<'_>) -> Result<Option<Agreement>, ApiError> {
    match idempotency::look(db, keyed)? {
        Some(id) => Ok(agreements::find(db, &id)?),
        None => Ok(None),
    }
}

/// `PUT /usage-agreements/{agreement_id}/accept`
async fn accept(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
) -> Answer {
    // What failed on the chain is kept: only the answer is an error.
    let outcome = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Seller)?;
        let key = header(&headers, "idempotency-key");
        let keyed = Keyed { agent: &agent.id, operation: "accept_agreement", key, body: b"" };
        if let Some(before) = repeated(db, &keyed)? {
            return Ok(Ok(before));
        }
        let outcome = lifecycle::accept(db, &world, now, (agreement, fails.is_some()))?;
        if outcome.is_ok() {
            idempotency::keep(db, &keyed, &id)?;
        }
        Ok::<_, ApiError>(outcome)
    })?;
    let agreement = outcome?;
    let is_altered = fails.is_some() && !agreement.has_escrow();
    let mut response = ok(agreement.view())?.into_response();
    if is_altered {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

#[derive(Deserialize)]
struct Rejection {
    reason: Option<String>,
    suggested_cart_items: Option<Vec<Value>>,
    suggested_total_cents: Option<u64>,
}

/// `PUT /usage-agreements/{agreement_id}/reject`
async fn reject(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Seller)?;
        let key = header(&headers, "idempotency-key");
        let keyed = Keyed { agent: &agent.id, operation: "reject_agreement", key, body: &body };
        if let Some(before) = repeated(db, &keyed)? {
            return Ok(before);
        }
        let body: Rejection = read(&body)?;
        let refusal = Refusal {
            reason: body.reason,
            cart_items: body.suggested_cart_items,
            total_cents: body.suggested_total_cents,
        };
        let agreement = lifecycle::reject(db, &world, now, (agreement, refusal))?;
        idempotency::keep(db, &keyed, &id)?;
        Ok::<_, ApiError>(agreement)
    })?;
    ok(agreement.view())
}

/// `POST /usage-agreements/{agreement_id}/cancel`
async fn cancel(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Buyer)?;
        let key = header(&headers, "idempotency-key");
        let keyed = Keyed { agent: &agent.id, operation: "cancel_agreement", key, body: b"" };
        if let Some(before) = repeated(db, &keyed)? {
            return Ok(before);
        }
        let agreement = lifecycle::cancel(db, &world, now, agreement)?;
        idempotency::keep(db, &keyed, &id)?;
        Ok::<_, ApiError>(agreement)
    })?;
    ok(agreement.view())
}

#[derive(Deserialize)]
struct Complaint {
    reason: String,
    evidence: Option<Value>,
}

/// `POST /usage-agreements/{agreement_id}/dispute`
async fn dispute(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Buyer)?;
        let key = header(&headers, "idempotency-key");
        let keyed = Keyed { agent: &agent.id, operation: "dispute_agreement", key, body: &body };
        if let Some(before) = repeated(db, &keyed)? {
            return Ok(before);
        }
        let Complaint { reason, evidence } = read(&body)?;
        if reason.trim().chars().count() < REASON_CHARS_MIN {
            let message = format!("must have at least {REASON_CHARS_MIN} characters");
            return Err(ApiError::invalid("reason", message));
        }
        let agreement = lifecycle::dispute(db, &world, now, (agreement, reason, evidence))?;
        idempotency::keep(db, &keyed, &id)?;
        Ok(agreement)
    })?;
    ok(agreement.view())
}

#[derive(Deserialize)]
struct Usage {
    units_used: u64,
    #[serde(default)]
    completed: bool,
    #[serde(rename = "usage_proof")]
    proof: Option<Map<String, Value>>,
}

/// `POST /usage-agreements/{agreement_id}/record-usage`: the units are all so far, not new ones.
async fn record_usage(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let mut agreement = agreements::as_role(db, &agent, &id, Role::Seller)?;
        let key = header(&headers, "idempotency-key");
        let keyed = Keyed { agent: &agent.id, operation: "record_usage", key, body: &body };
        if let Some(before) = repeated(db, &keyed)? {
            return Ok(before);
        }
        let usage: Usage = read(&body)?;
        if let Some(proof) = usage.proof {
            agreement.metadata.insert("usage_proof".to_owned(), Value::Object(proof));
        }
        let used = (agreement, usage.units_used, usage.completed);
        let agreement = lifecycle::record_usage(db, &world, now, used)?;
        idempotency::keep(db, &keyed, &id)?;
        Ok::<_, ApiError>(agreement)
    })?;
    ok(agreement.view())
}
