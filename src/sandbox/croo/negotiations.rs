//! Negotiations: what a requester asks for, until the provider accepts or rejects it.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    chain::USDC,
    clock::rfc3339,
    croo::{
        agents::{self, Agent, authenticate},
        answers::{Answer, ApiError, ok, read, shown},
        events::{self, NewEvent},
        lists::{NEGOTIATION_STATUSES, Wanted},
        orders::{self, Fate},
        services::{self, Service},
        steps::{self, Task},
    },
    faults::{Altered, Fails, RaisePrice},
    world::World,
};

/// How long a negotiation waits for its provider, in milliseconds.
const LIFE_MS: i64 = 600_000;
/// The longest requirements and metadata, in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 4 * 1024;

/// A negotiation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Negotiation {
    /// Its identifier, a UUID.
    pub(crate) id: String,
    /// What is wanted.
    pub(crate) service: String,
    /// The agent who buys.
    pub(crate) requester: String,
    /// The agent who sells.
    pub(crate) provider: String,
    /// The requester's input.
    pub(crate) requirements: String,
    metadata: String,
    /// `pending`, `accepted`, `rejected`, `expired`.
    pub(crate) status: String,
    reject_reason: String,
    /// Base units of the fund, or empty.
    pub(crate) fund_amount: String,
    /// The fund's token, or empty.
    pub(crate) fund_token: String,
    /// Where the provider wants the fund, or empty.
    pub(crate) fund_address: String,
    expires_at: i64,
    created_at: i64,
    updated_at: i64,
}

const COLUMNS: &str = "id, service, requester, provider, requirements, metadata, status, \
     reject_reason, fund_amount, fund_token, fund_address, expires_at, created_at, updated_at";

fn row(row: &Row<'_>) -> rusqlite::Result<Negotiation> {
    Ok(Negotiation {
        id: row.get(0)?,
        service: row.get(1)?,
        requester: row.get(2)?,
        provider: row.get(3)?,
        requirements: row.get(4)?,
        metadata: row.get(5)?,
        status: row.get(6)?,
        reject_reason: row.get(7)?,
        fund_amount: row.get(8)?,
        fund_token: row.get(9)?,
        fund_address: row.get(10)?,
        expires_at: row.get(11)?,
        created_at: row.get(12)?,
        updated_at: row.get(13)?,
    })
}

/// Reads a negotiation.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Negotiation>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_negotiations WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// The negotiation, if the agent takes part in it.
fn of(db: &Connection, id: &str, agent: &Agent) -> Result<Negotiation, ApiError> {
    find(db, id)?
        .filter(|found| found.requester == agent.id || found.provider == agent.id)
        .ok_or_else(|| ApiError::not_found("NEGOTIATION_NOT_FOUND", id))
}

impl Negotiation {
    /// As it is shown: what is empty is absent.
    pub(crate) fn view(&self) -> Map<String, Value> {
        shown([
            ("negotiationId", self.id.clone()),
            ("serviceId", self.service.clone()),
            ("requesterAgentId", self.requester.clone()),
            ("providerAgentId", self.provider.clone()),
            ("requirements", self.requirements.clone()),
            ("status", self.status.clone()),
            ("rejectReason", self.reject_reason.clone()),
            ("metadata", self.metadata.clone()),
            ("expiresAt", rfc3339(self.expires_at)),
            ("createdTime", rfc3339(self.created_at)),
            ("updatedTime", rfc3339(self.updated_at)),
            ("fundAmount", self.fund_amount.clone()),
            ("fundToken", self.fund_token.clone()),
            ("providerFundAddress", self.fund_address.clone()),
        ])
    }

    fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "UPDATE croo_negotiations SET status = ?2, reject_reason = ?3, fund_address = ?4,
                 updated_at = ?5 WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            self.status,
            self.reject_reason,
            self.fund_address,
            self.updated_at
        ])?;
        Ok(())
    }

    fn tell(&self, db: &Connection, at: i64, kind: &str, to: &str) -> rusqlite::Result<()> {
        events::emit(
            db,
            at,
            &NewEvent {
                kind,
                negotiation_id: &self.id,
                order_id: "",
                requester: &self.requester,
                provider: &self.provider,
                service_id: &self.service,
                status: &self.status,
                reason: &self.reject_reason,
                to: &[to],
            },
        )
    }
}

/// What is asked for when a negotiation is begun.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// The agent who buys.
    pub(crate) requester: &'a str,
    /// What is wanted.
    pub(crate) service: &'a Service,
    /// The input.
    pub(crate) requirements: &'a str,
    /// Free text.
    pub(crate) metadata: &'a str,
    /// Base units and token, or empty texts.
    pub(crate) fund: (&'a str, &'a str),
}

/// Begins a negotiation; a built-in seller looks at it one step later.
pub(crate) fn open(
    db: &Connection,
    world: &World,
    at: i64,
    opening: &Opening<'_>,
) -> rusqlite::Result<Negotiation> {
    let negotiation = Negotiation {
        id: world.fresh_uuid(db, "croo/negotiation")?,
        service: opening.service.id.clone(),
        requester: opening.requester.to_owned(),
        provider: opening.service.agent.clone(),
        requirements: opening.requirements.to_owned(),
        metadata: opening.metadata.to_owned(),
        status: "pending".to_owned(),
        fund_amount: opening.fund.0.to_owned(),
        fund_token: opening.fund.1.to_owned(),
        expires_at: at + LIFE_MS,
        created_at: at,
        updated_at: at,
        ..Negotiation::default()
    };
    let new = &negotiation;
    db.prepare_cached(&format!(
        "INSERT INTO croo_negotiations ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', ?8, ?9, '', ?10, ?11, ?11)"
    ))?
    .execute(params![
        new.id,
        new.service,
        new.requester,
        new.provider,
        new.requirements,
        new.metadata,
        new.status,
        new.fund_amount,
        new.fund_token,
        new.expires_at,
        at,
    ])?;
    steps::plan(db, new.expires_at, Task::LapseNegotiation, &new.id)?;
    if agents::present(db, &new.provider)?.is_built_in {
        steps::plan(db, at + steps::agent_ms(world), Task::SellerAnswers, &new.id)?;
    }
    new.tell(db, at, "order_negotiation_created", &new.provider)?;
    Ok(negotiation)
}

/// The provider agrees; the platform begins to put the order on the chain.
pub(crate) fn accept(
    db: &Connection,
    world: &World,
    at: i64,
    mut negotiation: Negotiation,
    (fund_address, raise, fate): (&str, Option<RaisePrice>, Fate),
) -> rusqlite::Result<(Negotiation, orders::Order)> {
    "accepted".clone_into(&mut negotiation.status);
    fund_address.clone_into(&mut negotiation.fund_address);
    negotiation.updated_at = at;
    negotiation.save(db)?;
    let order = orders::create(db, world, at, &negotiation, raise, fate)?;
    Ok((negotiation, order))
}

/// The provider declines.
pub(crate) fn decline(
    db: &Connection,
    at: i64,
    mut negotiation: Negotiation,
    reason: &str,
) -> rusqlite::Result<()> {
    "rejected".clone_into(&mut negotiation.status);
    reason.clone_into(&mut negotiation.reject_reason);
    negotiation.updated_at = at;
    negotiation.save(db)?;
    negotiation.tell(db, at, "order_negotiation_rejected", &negotiation.requester)
}

/// Nobody answered in time.
pub(crate) fn lapse(db: &Connection, at: i64, id: &str) -> rusqlite::Result<()> {
    let Some(mut negotiation) = find(db, id)?.filter(|found| found.status == "pending") else {
        return Ok(());
    };
    "expired".clone_into(&mut negotiation.status);
    negotiation.updated_at = at;
    negotiation.save(db)?;
    negotiation.tell(db, at, "order_negotiation_expired", &negotiation.requester)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NegotiateBody {
    service_id: Option<String>,
    requirements: Option<String>,
    metadata: Option<String>,
    requester_agent_id: Option<String>,
    fund_amount: Option<String>,
    fund_token: Option<String>,
}

/// `POST /orders/negotiate`
pub(crate) async fn negotiate(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let negotiation = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let body: NegotiateBody = read(&body)?;
        let text = |member: &Option<String>| member.clone().unwrap_or_default();
        let service_id = text(&body.service_id);
        if service_id.is_empty() {
            return Err(ApiError::parameters("serviceId", "serviceId is required"));
        }
        let service = services::find(db, &service_id)?
            .ok_or_else(|| ApiError::not_found("SERVICE_NOT_FOUND", &service_id))?;
        let (requirements, metadata) = (text(&body.requirements), text(&body.metadata));
        for (name, text) in [("requirements", &requirements), ("metadata", &metadata)] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(ApiError::parameters(name, format!("{name} is too long")));
            }
        }
        let requester = text(&body.requester_agent_id);
        if !requester.is_empty() && requester != agent.id {
            return Err(ApiError::forbidden("requesterAgentId is not the agent of this key"));
        }
        if service.agent == agent.id {
            return Err(ApiError::parameters("serviceId", "the service is your own"));
        }
        service.check(&requirements)?;
        let (amount, token) = (text(&body.fund_amount), text(&body.fund_token));
        check_fund(&service, &amount, &token)?;
        let opening = Opening {
            requester: &agent.id,
            service: &service,
            requirements: &requirements,
            metadata: &metadata,
            fund: (&amount, &token),
        };
        Ok(open(db, &world, now, &opening)?)
    })?;
    ok(json!({ "negotiation": negotiation.view() }))
}

/// A fund is named for a service that takes one, and for no other.
fn check_fund(service: &Service, amount: &str, token: &str) -> Result<(), ApiError> {
    if !service.needs_fund {
        return match (amount, token) {
            ("", "") => Ok(()),
            _ => Err(ApiError::parameters("fundAmount", "the service takes no fund")),
        };
    }
    let is_amount = !amount.is_empty() && amount.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = U256::from_str_radix(amount, 10).unwrap_or_default();
    // More than this no sum of the sandbox can hold.
    if !is_amount || parsed.is_zero() || parsed > U256::from(i64::MAX) {
        return Err(ApiError::parameters("fundAmount", "fundAmount must be positive base units"));
    }
    match token.parse::<Address>() {
        Ok(token) if token == USDC || token == Address::ZERO => Ok(()),
        _ => Err(ApiError::parameters("fundToken", "fundToken must be USDC or the zero address")),
    }
}

/// `GET /orders/negotiate/{negotiationId}`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let found = world.transact(|db, _| of(db, &id, &authenticate(db, &headers)?))?;
    ok(json!({ "negotiation": found.view() }))
}

/// `GET /orders/negotiate`
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let found = world.transact(|db, _| {
        let agent = authenticate(db, &headers)?;
        let roles = [("requester", "requester"), ("provider", "provider")];
        let message = "role must be requester or provider";
        let wanted = Wanted::read(&query, roles, message, &NEGOTIATION_STATUSES)?;
        let (condition, values) = wanted.condition(&agent.id);
        let sql = format!(
            "SELECT {COLUMNS} FROM croo_negotiations WHERE {condition} ORDER BY seq DESC {}",
            wanted.limit()
        );
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), row)?;
        Ok::<_, ApiError>(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    })?;
    let views: Vec<_> = found.iter().map(Negotiation::view).collect();
    // An empty list is absent, as everything that is empty.
    ok(if views.is_empty() { json!({}) } else { json!({ "negotiations": views }) })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AcceptBody {
    provider_fund_address: Option<String>,
}

/// `POST /orders/negotiate/{negotiationId}/accept`
pub(crate) async fn accept_call(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    raise: Option<Extension<RaisePrice>>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (raise, fate) = (raise.map(|Extension(raise)| raise), Fate::from(fails));
    let (negotiation, order) = world.transact(|db, now| {
        let negotiation = answered(db, &id, &headers)?;
        let body: AcceptBody = read(&body)?;
        let service = services::present(db, &negotiation.service)?;
        let address = fund_address(&service, &body.provider_fund_address.unwrap_or_default())?;
        Ok::<_, ApiError>(accept(db, &world, now, negotiation, (&address, raise, fate))?)
    })?;
    let mut response: Response =
        ok(json!({ "negotiation": negotiation.view(), "order": order.view() }))?.into_response();
    if raise.is_some() || fate == Fate::Fails {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// A pending negotiation of which the caller is the provider.
fn answered(db: &Connection, id: &str, headers: &HeaderMap) -> Result<Negotiation, ApiError> {
    let agent = authenticate(db, headers)?;
    let negotiation = of(db, id, &agent)?;
    if negotiation.provider != agent.id {
        return Err(ApiError::forbidden("only the provider answers a negotiation"));
    }
    if negotiation.status != "pending" {
        return Err(ApiError::status("negotiation", &negotiation.status));
    }
    Ok(negotiation)
}

/// An address is named for a service with a fund, and for no other.
fn fund_address(service: &Service, text: &str) -> Result<String, ApiError> {
    let wrong = |message| Err(ApiError::parameters("providerFundAddress", message));
    match (service.needs_fund, text) {
        (false, "") => Ok(String::new()),
        (false, _) => wrong("the service takes no fund: accept without an address"),
        (true, "") => wrong("the service takes a fund: providerFundAddress is required"),
        (true, text) => match text.parse::<Address>() {
            Ok(address) if address != Address::ZERO => Ok(address.to_string()),
            _ => wrong("providerFundAddress is no EVM address"),
        },
    }
}

/// The body of both rejections.
#[derive(Deserialize)]
struct RejectBody {
    reason: Option<String>,
}

/// Reads a reason.
pub(crate) fn reason(body: &[u8]) -> Result<String, ApiError> {
    let body: RejectBody = read(body)?;
    let reason = body.reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        return Err(ApiError::parameters("reason", "reason is too long"));
    }
    Ok(reason)
}

/// `POST /orders/negotiate/{negotiationId}/reject`
pub(crate) async fn reject_call(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    world.transact(|db, now| {
        let negotiation = answered(db, &id, &headers)?;
        let reason = reason(&body)?;
        Ok::<_, ApiError>(decline(db, now, negotiation, &reason)?)
    })?;
    ok(json!({}))
}
