//! CROO: the marketplace of negotiated orders, under `/croo/backend/v1`.
//!
//! A requester negotiates for a service, the provider accepts, the platform puts an order on the
//! chain, the requester pays it into a vault, the provider delivers. Every step on the chain takes
//! its time on the sandbox's clock. Source: the protocol page on CROO.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rusqlite::Connection;

pub(super) mod agents;
pub(super) mod answers;
pub(super) mod built_in;
pub(super) mod catalog;
pub(super) mod deliveries;
pub(super) mod events;
pub(super) mod figures;
pub(super) mod lists;
pub(super) mod negotiations;
pub(super) mod objects;
pub(super) mod order_calls;
pub(super) mod orders;
pub(super) mod public;
pub(super) mod record;
pub(super) mod services;
pub(super) mod socket;
pub(super) mod steps;
pub(super) mod storage;
pub(super) mod vault;

pub(super) use order_calls::pending;
pub(super) use steps::settle;

use crate::sandbox::{CrooAgentInfo, CrooInfo, ItemInfo, croo::answers::ApiError, world::World};

/// Where it is mounted. A client's base URL ends before `/backend`.
pub(crate) const BASE: &str = "/croo/backend/v1";
/// What a client's base URL is, from the origin.
const CLIENT_BASE: &str = "/croo";

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE croo_agents (
    id TEXT PRIMARY KEY, sdk_key TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    description TEXT NOT NULL, tags TEXT NOT NULL, wallet TEXT NOT NULL,
    is_built_in INTEGER NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE croo_services (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    name TEXT NOT NULL, description TEXT NOT NULL, micros INTEGER NOT NULL,
    sla_minutes INTEGER NOT NULL, requirement_type TEXT NOT NULL, requirement_text TEXT NOT NULL,
    requirement_schema TEXT NOT NULL, deliverable_type TEXT NOT NULL,
    deliverable_text TEXT NOT NULL, deliverable_schema TEXT NOT NULL, needs_fund INTEGER NOT NULL,
    fee_micros INTEGER NOT NULL, behaviour TEXT NOT NULL, worker TEXT NOT NULL,
    input_example TEXT NOT NULL);
CREATE TABLE croo_negotiations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, service TEXT NOT NULL,
    requester TEXT NOT NULL, provider TEXT NOT NULL, requirements TEXT NOT NULL,
    metadata TEXT NOT NULL, status TEXT NOT NULL, reject_reason TEXT NOT NULL,
    fund_amount TEXT NOT NULL, fund_token TEXT NOT NULL, fund_address TEXT NOT NULL,
    expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE INDEX croo_asked ON croo_negotiations (requester);
CREATE INDEX croo_answering ON croo_negotiations (provider);
CREATE TABLE croo_orders (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, negotiation TEXT NOT NULL,
    chain_order INTEGER, service TEXT NOT NULL, requester TEXT NOT NULL, provider TEXT NOT NULL,
    requester_wallet TEXT NOT NULL, provider_wallet TEXT NOT NULL, micros INTEGER NOT NULL,
    fee_micros INTEGER NOT NULL, fund_amount TEXT NOT NULL, fund_token TEXT NOT NULL,
    fund_address TEXT NOT NULL, requirements TEXT NOT NULL, sla_minutes INTEGER NOT NULL,
    status TEXT NOT NULL, reject_reason TEXT NOT NULL DEFAULT '',
    is_funded INTEGER NOT NULL DEFAULT 0, create_tx TEXT NOT NULL DEFAULT '',
    pay_tx TEXT NOT NULL DEFAULT '', deliver_tx TEXT NOT NULL DEFAULT '',
    reject_tx TEXT NOT NULL DEFAULT '', clear_tx TEXT NOT NULL DEFAULT '',
    refund_tx TEXT NOT NULL DEFAULT '', pay_deadline INTEGER, sla_deadline INTEGER,
    made_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, created_at INTEGER, paid_at INTEGER,
    delivered_at INTEGER, completed_at INTEGER, rejected_at INTEGER, expired_at INTEGER);
CREATE INDEX croo_bought ON croo_orders (requester);
CREATE INDEX croo_sold ON croo_orders (provider);
CREATE INDEX croo_paying ON croo_orders (requester_wallet) WHERE status = 'paying';
CREATE TABLE croo_deliveries (
    order_id TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, provider TEXT NOT NULL,
    kind TEXT NOT NULL, content TEXT NOT NULL, status TEXT NOT NULL,
    submitted_at INTEGER NOT NULL, verified_at INTEGER, updated_at INTEGER NOT NULL);
CREATE TABLE croo_steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, task TEXT NOT NULL,
    subject TEXT NOT NULL);
CREATE INDEX croo_due ON croo_steps (at, seq);
";

/// The routes, relative to [`BASE`].
pub(crate) fn router(_world: &Arc<World>) -> Router<Arc<World>> {
    Router::new()
        .route("/orders/negotiate", get(negotiations::list).post(negotiations::negotiate))
        .route("/orders/negotiate/{id}", get(negotiations::show))
        .route("/orders/negotiate/{id}/accept", post(negotiations::accept_call))
        .route("/orders/negotiate/{id}/reject", post(negotiations::reject_call))
        .route("/orders", get(order_calls::list))
        .route("/orders/{id}", get(order_calls::show))
        .route("/orders/{id}/pay", post(order_calls::pay))
        .route("/orders/{id}/deliver", post(order_calls::deliver))
        .route("/orders/{id}/reject", post(order_calls::reject))
        .route("/orders/{id}/delivery", get(order_calls::delivery))
        .route("/objects/upload-url", post(objects::upload_url))
        .route("/objects/download-url", post(objects::download_url))
        .nest("/public", store())
        .fallback(answers::no_route)
        .method_not_allowed_fallback(answers::no_method)
}

/// The public store's routes.
fn store() -> Router<Arc<World>> {
    Router::new()
        .route("/services", get(public::list_services))
        .route("/services/{id}", get(public::show_service))
        .route("/agents", get(public::list_agents))
        .route("/agents/{id}", get(public::show_agent))
        .route("/agents/{id}/activity", get(figures::activity))
        .route("/search", get(public::search))
        .route("/tags", get(public::tags))
        .route("/platform-stats", get(figures::platform))
        .route("/trending-agents", get(figures::trending))
        .route("/popular-services", get(figures::popular))
        .route("/leaderboard", get(figures::leaderboard))
        .route("/live-feed", get(figures::feed))
}

/// Fills a new world: the known agents and their services.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    agents::found(db, world, now)?;
    catalog::found(db, world)
}

/// The 502 of the fault `charge_then_fail`: everything was done, but the answer is lost.
pub(crate) fn failed() -> Response {
    let status = axum::http::StatusCode::BAD_GATEWAY;
    ApiError::new(status, "UPSTREAM_ERROR", "the chain's answer was lost").into_response()
}

/// Its part of the line that `haggle sandbox` prints.
pub(crate) fn info(db: &Connection, world: &World) -> rusqlite::Result<CrooInfo> {
    let agent = |name: &str| {
        let wallet = agents::known_wallet(world, name);
        CrooAgentInfo {
            agent_id: agents::known_id(world, name),
            sdk_key: agents::known_key(world, name),
            wallet: wallet.address.to_string(),
            wallet_private_key: wallet.private_key,
        }
    };
    let items = services::all(db)?.into_iter().map(|service| ItemInfo {
        id: service.id,
        owner_id: service.agent,
        name: service.name,
        price_usd: service.price.to_string(),
        input_example: serde_json::from_str(&service.input_example).unwrap_or_default(),
        behaviour: service.behaviour,
    });
    let host = world.origin.strip_prefix("http://").unwrap_or(&world.origin);
    Ok(CrooInfo {
        api_url: format!("{}{CLIENT_BASE}", world.origin),
        ws_url: format!("ws://{host}/ws"),
        rpc_url: format!("{}/chain", world.origin),
        requester: agent(agents::REQUESTER),
        provider: agent(agents::PROVIDER),
        services: items.collect(),
    })
}
