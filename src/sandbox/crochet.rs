//! Crochet: the marketplace that is a gateway, under `/crochet/api/v1`.
//!
//! Buyers pay per call to a deposit address that is made for that call; the gateway forwards the
//! request once the money has settled. Accounts belong to wallets, which prove themselves by
//! signing a challenge. Source: the protocol page on Crochet.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::{
    Router,
    routing::{delete, get, patch, post},
};
use rusqlite::Connection;

pub(super) mod accounts;
pub(super) mod answers;
pub(super) mod api_keys;
pub(super) mod catalog;
pub(super) mod endpoints;
pub(super) mod gateway;
pub(super) mod history;
pub(super) mod limits;
pub(super) mod listings;
pub(super) mod proofs;
pub(super) mod relays;
pub(super) mod reviews;
pub(super) mod sellers;
pub(super) mod selling;
pub(super) mod wallets;

pub(super) use relays::{payment_arrived, settle};

use crate::sandbox::{AgentInfo, CrochetInfo, ItemInfo, world::World};

/// Where it is mounted.
pub(crate) const BASE: &str = "/crochet/api/v1";

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE crochet_agents (
    id TEXT PRIMARY KEY, display_name TEXT NOT NULL, role TEXT NOT NULL,
    created_at INTEGER NOT NULL);
CREATE TABLE crochet_wallets (
    id TEXT PRIMARY KEY, agent TEXT NOT NULL, address TEXT NOT NULL UNIQUE, chain TEXT NOT NULL,
    capabilities TEXT NOT NULL, is_default INTEGER NOT NULL, status TEXT NOT NULL,
    created_at INTEGER NOT NULL);
CREATE TABLE crochet_api_keys (
    id TEXT PRIMARY KEY, agent TEXT NOT NULL, name TEXT NOT NULL, prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL, last_used_at INTEGER,
    is_revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE crochet_challenges (
    nonce TEXT PRIMARY KEY, purpose TEXT NOT NULL, subject TEXT NOT NULL, message TEXT NOT NULL,
    pow_challenge TEXT NOT NULL, difficulty INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    is_used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE crochet_listings (
    id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, name TEXT NOT NULL,
    description TEXT NOT NULL, category TEXT NOT NULL, pricing_model TEXT NOT NULL,
    price TEXT, micros INTEGER NOT NULL, status TEXT NOT NULL, behaviour TEXT NOT NULL,
    worker TEXT NOT NULL, input_example TEXT NOT NULL, connection_instructions TEXT NOT NULL,
    formats TEXT NOT NULL, endpoint_url TEXT, endpoint_auth TEXT, secret TEXT NOT NULL,
    secret_version INTEGER NOT NULL DEFAULT 1, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL);
CREATE TABLE crochet_relays (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, is_free INTEGER NOT NULL, buyer TEXT NOT NULL,
    listing TEXT NOT NULL, seller TEXT NOT NULL, body_sha256 TEXT NOT NULL, idempotency_key TEXT,
    currency TEXT NOT NULL, micros INTEGER NOT NULL, amount TEXT NOT NULL,
    deposit_address TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, paid_at INTEGER, state TEXT NOT NULL,
    answer_status INTEGER, answer TEXT, latency_ms INTEGER, updated_at INTEGER NOT NULL);
CREATE INDEX crochet_deposits ON crochet_relays (deposit_address);
CREATE INDEX crochet_keys ON crochet_relays (buyer, idempotency_key);
CREATE INDEX crochet_settling ON crochet_relays (paid_at) WHERE state = 'pending';
CREATE TABLE crochet_reviews (
    id TEXT PRIMARY KEY, listing TEXT NOT NULL, agent TEXT NOT NULL, accuracy INTEGER NOT NULL,
    reliability INTEGER NOT NULL, value INTEGER NOT NULL, title TEXT NOT NULL,
    comment TEXT NOT NULL, created_at INTEGER NOT NULL, UNIQUE (listing, agent));
";

/// The routes, relative to [`BASE`].
pub(crate) fn router(world: &Arc<World>) -> Router<Arc<World>> {
    let listing = get(listings::show).patch(selling::update).delete(selling::remove);
    let my_wallets = get(wallets::list).post(wallets::link).patch(wallets::update);
    Router::new()
        .route("/health", get(accounts::health))
        .route("/auth/challenge", post(accounts::challenge))
        .route("/auth/recover", post(accounts::recover))
        .route("/register", post(accounts::register))
        .route("/me", get(accounts::me))
        .route("/me/wallets", my_wallets)
        .route("/me/wallets/{id}", get(wallets::show).patch(wallets::update_one))
        .route("/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/api-keys/{id}", delete(api_keys::revoke))
        .route("/agents/{id}/score", get(reviews::score))
        .route("/categories", get(listings::categories))
        .route("/listings", get(listings::browse).post(selling::create))
        .route("/listings/challenge", post(selling::challenge))
        .route("/listings/{id}", listing)
        .route("/listings/{id}/endpoint", get(endpoints::show).put(endpoints::set))
        .route("/listings/{id}/endpoint/test", post(endpoints::test))
        .route("/listings/{id}/endpoint/rotate-secret", post(endpoints::rotate))
        .route("/gateway/{id}", post(gateway::call))
        .route("/gateway-requests", get(history::gateway_requests))
        .route("/ledger", get(history::ledger))
        .route("/reviews/{id}", post(reviews::create))
        // Documented for the human owner; nobody is logged in here.
        .route("/agents/{id}/claim", patch(answers::unauthenticated).post(answers::unauthenticated))
        .fallback(answers::no_route)
        .method_not_allowed_fallback(answers::no_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(world), limits::limit))
}

/// Fills a new world: the known agents and their listings.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    accounts::found(db, world, now)?;
    catalog::found(db, world, now)
}

/// Where the marketplace's own share goes.
pub(crate) fn treasury(world: &World) -> Address {
    world.seed.address("crochet/treasury")
}

/// Its part of the line that `haggle sandbox` prints.
pub(crate) fn info(db: &Connection, world: &World) -> rusqlite::Result<CrochetInfo> {
    let agent = |name: &str, wallet: crate::sandbox::keys::Wallet| AgentInfo {
        agent_id: accounts::known_id(world, name),
        api_key: accounts::known_key(world, name),
        wallet: wallet.address.to_string(),
        wallet_private_key: wallet.private_key,
    };
    let items = listings::seeded(db)?.into_iter().map(|listing| ItemInfo {
        id: listing.id,
        owner_id: listing.owner,
        name: listing.name,
        price_usd: listing.price.to_string(),
        input_example: serde_json::from_str(&listing.input_example).unwrap_or_default(),
        behaviour: listing.behaviour,
    });
    Ok(CrochetInfo {
        api_url: format!("{}{BASE}", world.origin),
        buyer: agent("buyer", world.buyer()),
        seller: agent("seller", world.seller()),
        listings: items.collect(),
    })
}
