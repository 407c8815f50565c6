//! The metered proxy: `/metered-proxy/{agreement_id}/…`.
//!
//! A call is let in by one transaction, the seller is asked outside of it, and what it costs is
//! written by another before the answer leaves. A nonce is worth one call, whatever became of it.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use crate::sandbox::{
    chain::{signed, unsigned},
    paegents::{
        agents::{Agent, authenticate_bearer},
        agreements::{self, Agreement, Role},
        answers::{Answer, ApiError, header as header_text, ok},
        evidence,
        lifecycle::{self, Draw},
        services::{self, Service},
        upstreams::{self, Answered, Asked, Outcome},
    },
    world::World,
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_calls (
    agreement TEXT NOT NULL, nonce TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    units INTEGER NOT NULL DEFAULT 0, url TEXT NOT NULL, status INTEGER, kind TEXT, body BLOB,
    PRIMARY KEY (agreement, nonce));
CREATE INDEX paegents_cached ON paegents_calls (agreement, url, at);
";

/// How long the answer to a GET is given again for nothing, in milliseconds.
const CACHE_MS: i64 = 5_000;
/// The longest nonce.
const NONCE_CHARS_MAX: usize = 128;
/// The header that says how many units a call cost.
const UNITS: HeaderName = HeaderName::from_static("x-usage-units");

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/metered-proxy/{id}/status", get(status))
        .route("/metered-proxy/{id}/", calls())
        .route("/metered-proxy/{id}/{*path}", calls())
}

/// The five methods.
fn calls() -> MethodRouter<Arc<World>> {
    get(call).post(call).put(call).patch(call).delete(call)
}

/// `GET /metered-proxy/{agreement_id}/status`
async fn status(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let (agreement, _) = world.transact(|db, _| {
        let agent = authenticate_bearer(db, &headers)?;
        agreements::as_party(db, &agent, &id)
    })?;
    ok(json!({
        "agreement_id": agreement.id,
        "units_used": agreement.units_used,
        "units_total": agreement.quantity,
        "units_remaining": agreement.quantity.saturating_sub(agreement.units_used),
        "status": agreement.status,
        "escrow_status": agreement.escrow_status,
        "unit": agreement.unit,
        "price_per_unit_cents": agreement.price_per_unit_cents,
    }))
}

/// A call as it came.
#[derive(Debug)]
pub(crate) struct Call {
    /// The agreement that pays for it.
    pub(crate) agreement: String,
    /// What makes it one call, however often it is sent.
    pub(crate) nonce: String,
    /// What the seller is asked.
    pub(crate) asked: Asked,
}

/// `{method} /metered-proxy/{agreement_id}/{path}`
async fn call(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = world.transact(|db, _| authenticate_bearer(db, &headers))?;
    let nonce = header_text(&headers, "x-request-nonce")
        .filter(|nonce| nonce.len() <= NONCE_CHARS_MAX)
        .ok_or_else(|| ApiError::bad_request("X-Request-Nonce header is required"))?
        .to_owned();
    // The path as it was sent, not decoded: `/metered-proxy`, the agreement, the rest.
    let mut parts = uri.path().splitn(4, '/').skip(2);
    let agreement = parts.next().unwrap_or_default().to_owned();
    let path = format!("/{}", parts.next().unwrap_or_default());
    let query = uri.query().map(str::to_owned);
    let asked = Asked { method, path, query, headers, body };
    pass(&world, &agent, Call { agreement, nonce, asked }).await
}

/// Ends the calls that the end of the process cut off: nobody was charged for them.
pub(crate) fn resume(db: &Connection) -> rusqlite::Result<()> {
    db.execute("UPDATE paegents_calls SET state = 'failed' WHERE state = 'asking'", [])?;
    Ok(())
}

/// What happens with a call.
enum Step {
    /// This is the answer, for nothing.
    Cached(Response),
    /// The seller is asked.
    Ask(Box<Agreement>, Option<Box<Service>>),
}

/// Lets a call of the agent through.
pub(crate) async fn pass(world: &World, agent: &Agent, call: Call) -> Answer {
    let step = world.transact(|db, now| admit(db, now, (agent, &call)))?;
    let (agreement, service) = match step {
        Step::Cached(response) => return Ok(response),
        Step::Ask(agreement, service) => (agreement, service),
    };
    let outcome = upstreams::ask(world, &agreement, service.as_deref(), &call.asked).await;
    match outcome {
        Outcome::Answered(answered) => {
            let units = world.transact(|db, now| book(db, world, now, (&call, &answered)))?;
            Ok(shown(&answered, units))
        }
        Outcome::Nothing(status, detail) => {
            world.transact(|db, _| finish(db, &call, ("failed", 0, None)))?;
            Err(ApiError::new(status, detail))
        }
    }
}

/// Decides about a call, and takes its nonce.
fn admit(db: &Connection, now: i64, (agent, call): (&Agent, &Call)) -> Result<Step, ApiError> {
    let agreement = agreements::as_role(db, agent, &call.agreement, Role::Buyer)?;
    if is_used(db, call)? {
        return Err(ApiError::conflict("Request nonce was already used (replay)"));
    }
    if agreement.status != "active" {
        let detail = format!("Agreement is not active: it is {}", agreement.status);
        return Err(ApiError::conflict(detail));
    }
    if let Some(response) = cached(db, now, call)? {
        enter(db, now, call, "cached")?;
        return Ok(Step::Cached(response));
    }
    let under_way: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM paegents_calls WHERE agreement = ?1 AND state = 'asking'",
        )?
        .query_row([&call.agreement], |row| row.get(0))?;
    if agreement.units_used.saturating_add(unsigned(under_way)) >= agreement.quantity {
        return Err(ApiError::new(StatusCode::PAYMENT_REQUIRED, "agreement exhausted"));
    }
    let service = match &agreement.service {
        Some(id) => services::find(db, id)?.map(Box::new),
        None => None,
    };
    enter(db, now, call, "asking")?;
    Ok(Step::Ask(Box::new(agreement), service))
}

fn is_used(db: &Connection, call: &Call) -> rusqlite::Result<bool> {
    let found: Option<i64> = db
        .prepare_cached("SELECT at FROM paegents_calls WHERE agreement = ?1 AND nonce = ?2")?
        .query_row([&call.agreement, &call.nonce], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

fn enter(db: &Connection, now: i64, call: &Call, state: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_calls (agreement, nonce, at, state, url) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![call.agreement, call.nonce, now, state, call.asked.url()])?;
    Ok(())
}

/// Closes a call: state, units, and the answer that may be given again.
fn finish(
    db: &Connection,
    call: &Call,
    (state, units, kept): (&str, u64, Option<&Answered>),
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE paegents_calls SET state = ?3, units = ?4, status = ?5, kind = ?6, body = ?7
         WHERE agreement = ?1 AND nonce = ?2",
    )?
    .execute(params![
        call.agreement,
        call.nonce,
        state,
        signed(units),
        kept.map(|answer| answer.status.as_u16()),
        kept.map(|answer| &answer.kind),
        kept.map(|answer| answer.body.as_ref()),
    ])?;
    Ok(())
}

/// What the same GET was answered a moment ago.
fn cached(db: &Connection, now: i64, call: &Call) -> rusqlite::Result<Option<Response>> {
    if call.asked.method != Method::GET {
        return Ok(None);
    }
    let found: Option<(u16, String, Vec<u8>)> = db
        .prepare_cached(
            "SELECT status, kind, body FROM paegents_calls
             WHERE agreement = ?1 AND url = ?2 AND body IS NOT NULL AND at > ?3
             ORDER BY at DESC LIMIT 1",
        )?
        .query_row(params![call.agreement, call.asked.url(), now - CACHE_MS], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(found.map(|(status, kind, body)| {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        shown(&Answered { status, kind, body: Bytes::from(body), units: None }, 0)
    }))
}

/// Draws what an answered call costs; answers the units.
fn book(
    db: &Connection,
    world: &World,
    now: i64,
    (call, answered): (&Call, &Answered),
) -> Result<u64, ApiError> {
    let found = agreements::find(db, &call.agreement)?;
    let Some(mut agreement) = found.filter(|found| found.status == "active") else {
        finish(db, call, ("late", 0, None))?;
        return Ok(0);
    };
    let left = agreement.quantity.saturating_sub(agreement.units_used);
    let units = answered.units.unwrap_or(1).min(left);
    lifecycle::draw(db, now, &mut agreement, &Draw { units, reference: &call.nonce })?;
    agreements::save(db, &agreement)?;
    let asked = &call.asked;
    let request = evidence::request_hash(asked.method.as_str(), &asked.url(), &asked.body);
    let response = evidence::response_hash(&answered.body);
    evidence::append(db, world, now, &agreement, (request, response))?;
    let is_kept = call.asked.method == Method::GET && answered.status.is_success();
    finish(db, call, ("charged", units, is_kept.then_some(answered)))?;
    Ok(units)
}

/// The seller's answer, and what it cost.
fn shown(answered: &Answered, units: u64) -> Response {
    let mut response = (answered.status, answered.body.clone()).into_response();
    if let Ok(kind) = HeaderValue::from_str(&answered.kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(UNITS, HeaderValue::from(units));
    response
}
