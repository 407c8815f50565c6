//! The admin: the truth, the requests, faults, the clock, balances. Loopback only.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use rusqlite::Connection;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        chain,
        clock::rfc3339,
        crochet::{self, answers::ApiError},
        croo::{
            self,
            built_in::{self, NoOrder},
        },
        faults, info, ledger,
        paegents::{
            self, agents, customers,
            hooks::{self, NewEvent, inbox},
        },
        store,
        world::World,
    },
};

/// The most milliseconds the clock is advanced at once: ten years.
const ADVANCE_MS_MAX: i64 = 315_360_000_000;

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/info", get(show_info))
        .route("/ledger", get(show_ledger))
        .route("/requests", get(requests))
        .route("/events", get(events))
        .route("/faults", get(all_faults).post(arm).delete(disarm_all))
        .route("/faults/{id}", delete(disarm))
        .route("/clock", get(clock).post(advance))
        .route("/balance", post(balance))
        .route("/pay", post(pay))
        .route("/order", post(order))
        .route("/paegents/event", post(event))
}

/// A request that cannot be carried out.
enum Refused {
    Invalid(String),
    NotFound,
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Invalid(message) => (StatusCode::BAD_REQUEST, message),
            Self::NotFound => (StatusCode::NOT_FOUND, "no such thing".to_owned()),
            Self::Store(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}

type Answer = Result<Json<Value>, Refused>;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Refused::Invalid(format!("{}: {}", error.path(), error.inner())))
}

async fn show_info(State(world): State<Arc<World>>) -> Answer {
    Ok(Json(json!(info(&world)?)))
}

async fn show_ledger(State(world): State<Arc<World>>) -> Answer {
    let entries = world.transact(|db, _| ledger::entries(db))?;
    Ok(Json(json!({ "entries": entries })))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: i64,
}

async fn requests(State(world): State<Arc<World>>, Query(query): Query<After>) -> Answer {
    let entries = world.store.transact(|db| recorded(db, query.after))?;
    Ok(Json(json!({ "entries": entries })))
}

fn recorded(db: &Connection, after: i64) -> rusqlite::Result<Vec<Value>> {
    db.prepare_cached(
        "SELECT seq, marketplace, method, path, query, headers, body, at FROM requests
         WHERE seq > ?1 ORDER BY seq",
    )?
    .query_map([after], |row| {
        let headers: String = row.get(5)?;
        Ok(json!({
            "seq": row.get::<_, i64>(0)?,
            "marketplace": row.get::<_, String>(1)?,
            "method": row.get::<_, String>(2)?,
            "path": row.get::<_, String>(3)?,
            "query": row.get::<_, String>(4)?,
            "headers": serde_json::from_str::<Value>(&headers).unwrap_or_default(),
            "body": row.get::<_, String>(6)?,
            "at": rfc3339(row.get(7)?),
        }))
    })?
    .collect()
}

#[derive(Deserialize)]
struct ToldTo {
    #[serde(default)]
    agent_id: String,
}

async fn events(State(world): State<Arc<World>>, Query(query): Query<ToldTo>) -> Answer {
    if query.agent_id.is_empty() {
        return Err(Refused::Invalid("agent_id: is required".to_owned()));
    }
    let events = world.transact(|db, _| {
        let mut events = croo::events::truth(db, &query.agent_id)?;
        events.extend(inbox::truth(db, &query.agent_id)?);
        Ok::<_, rusqlite::Error>(events)
    })?;
    Ok(Json(json!({ "events": events })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    agent_id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    payload: Map<String, Value>,
}

async fn event(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: Event = read(&body)?;
    let event_id = world.transact(|db, now| {
        agents::find(db, &body.agent_id)?.ok_or(Refused::NotFound)?;
        let payload = Value::from(body.payload);
        let event = NewEvent { kind: &body.kind, agent: &body.agent_id, agreement: "", payload };
        Ok::<_, Refused>(hooks::tell(db, &world, now, &event)?)
    })?;
    Ok(Json(json!({ "event_id": event_id })))
}

async fn all_faults(State(world): State<Arc<World>>) -> Answer {
    let faults = world.store.transact(faults::all)?;
    Ok(Json(json!({ "faults": faults })))
}

async fn arm(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let spec: Value = read(&body)?;
    let id = world.store.transact(|db| faults::arm(db, &spec))?.map_err(Refused::Invalid)?;
    Ok(Json(json!({ "id": id })))
}

async fn disarm_all(State(world): State<Arc<World>>) -> Answer {
    let count = world.store.transact(|db| faults::disarm(db, None))?;
    Ok(Json(json!({ "removed": count })))
}

async fn disarm(State(world): State<Arc<World>>, Path(id): Path<i64>) -> Answer {
    let count = world.store.transact(|db| faults::disarm(db, Some(id)))?;
    if count == 0 { Err(Refused::NotFound) } else { Ok(Json(json!({ "removed": count }))) }
}

fn told(world: &World) -> Value {
    let now = world.clock.now_ms();
    json!({
        "now": now / 1_000,
        "now_ms": now,
        "offset_s": world.clock.offset_ms() / 1_000,
        "offset_ms": world.clock.offset_ms(),
    })
}

async fn clock(State(world): State<Arc<World>>) -> Answer {
    Ok(Json(told(&world)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(default)]
    advance_s: i64,
    #[serde(default)]
    advance_ms: i64,
}

async fn advance(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: Advance = read(&body)?;
    let by_ms = body.advance_s.saturating_mul(1_000).saturating_add(body.advance_ms);
    if !(0..=ADVANCE_MS_MAX).contains(&by_ms) {
        return Err(Refused::Invalid("advance_s: must be from 0 to ten years".to_owned()));
    }
    let offset_ms = world.clock.advance(by_ms);
    world.store.transact(|db| store::set_meta(db, "offset_ms", &offset_ms.to_string()))?;
    Ok(Json(told(&world)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Balance {
    address: String,
    usdc: Option<Usdc>,
    wei: Option<String>,
}

async fn balance(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: Balance = read(&body)?;
    let address: Address = body
        .address
        .parse()
        .map_err(|_| Refused::Invalid("address: is no EVM address".to_owned()))?;
    let wei: Option<U256> = body
        .wei
        .map(|text| U256::from_str_radix(&text, 10))
        .transpose()
        .map_err(|_| Refused::Invalid("wei: must be a whole number as text".to_owned()))?;
    let account = world.transact(|db, _| {
        let mut account = chain::account(db, address)?;
        account.usdc = body.usdc.map_or(account.usdc, Usdc::micros);
        account.wei = wei.unwrap_or(account.wei);
        chain::put_account(db, address, &account)?;
        Ok::<_, rusqlite::Error>(account)
    })?;
    Ok(Json(json!({
        "address": address.to_string(),
        "usdc": Usdc::from_micros(account.usdc),
        "wei": account.wei.to_string(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    relay_request_id: String,
}

async fn pay(State(world): State<Arc<World>>, body: Bytes) -> Response {
    let body: Pay = match read(&body) {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    let id = body.relay_request_id.to_ascii_lowercase();
    let paid: Result<(), ApiError> =
        world.transact(|db, now| crochet::relays::pay_externally(db, &id, now));
    match paid {
        Ok(()) => Json(json!({ "relay_request_id": id, "paid": true })).into_response(),
        Err(error) => error.into_response(),
    }
}

/// The most orders that the built-in buyer makes at once.
const ORDERS_MAX: u32 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrders {
    service_id: String,
    count: Option<u32>,
    requirements: Option<String>,
}

async fn order(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: NewOrders = read(&body)?;
    let offered = world.transact(|db, _| paegents::services::find(db, &body.service_id))?;
    let count = body.count.unwrap_or(1);
    if !(1..=ORDERS_MAX).contains(&count) {
        return Err(Refused::Invalid(format!("count: must be from 1 to {ORDERS_MAX}")));
    }
    if let Some(service) = offered {
        if body.requirements.is_some() {
            return Err(Refused::Invalid("requirements: Paegents has none".to_owned()));
        }
        let made = world.transact(|db, now| customers::order(db, &world, now, (&service, count)));
        let ids =
            made.map_err(|error| Refused::Invalid(format!("service_id: {}", error.message())))?;
        return Ok(Json(json!({ "agreement_id": ids.first(), "agreement_ids": ids })));
    }
    let wanted = (body.service_id.as_str(), body.requirements.as_deref(), count);
    let made = world.transact(|db, now| built_in::order(db, &world, now, wanted));
    let ids = made.map_err(|refused| match refused {
        NoOrder::NoService => Refused::NotFound,
        NoOrder::Unfit(reason) => Refused::Invalid(format!("service_id: {reason}")),
        NoOrder::Store(error) => Refused::Store(error),
    })?;
    Ok(Json(json!({ "negotiation_id": ids.first(), "negotiation_ids": ids })))
}
