//! Payments outside of agreements: mandates, suppliers, the older calls, receipts.
//!
//! Nothing here waits in an escrow: what is charged is charged. Source: the protocol page on
//! Paegents, 3.1, 4 and 5.

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use rusqlite::Connection;

pub(super) mod charges;
pub(super) mod checkout;
pub(super) mod mandates;
pub(super) mod older;
pub(super) mod rails;
pub(super) mod receipts;
pub(super) mod recipients;
pub(super) mod requirements;
pub(super) mod stablecoin;
pub(super) mod suppliers;

use crate::sandbox::world::World;

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_charges (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, reference TEXT NOT NULL,
    cents INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE INDEX paegents_charged ON paegents_charges (agent, at);
CREATE TABLE paegents_payment_receipts (id TEXT PRIMARY KEY, receipt TEXT NOT NULL);
CREATE TABLE paegents_intents (
    id TEXT PRIMARY KEY, agent TEXT NOT NULL, policy TEXT NOT NULL, constraints TEXT NOT NULL,
    metadata TEXT NOT NULL, hash TEXT NOT NULL, expires_at INTEGER, created_at INTEGER NOT NULL);
CREATE TABLE paegents_carts (
    id TEXT PRIMARY KEY, intent TEXT NOT NULL, cart TEXT NOT NULL, cents INTEGER NOT NULL,
    currency TEXT NOT NULL, metadata TEXT NOT NULL, hash TEXT NOT NULL,
    is_paid INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL);
CREATE TABLE paegents_checkouts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, cart TEXT NOT NULL, key TEXT,
    body_sha256 TEXT NOT NULL, approval TEXT, answer TEXT, at INTEGER NOT NULL);
CREATE INDEX paegents_checkout_keys ON paegents_checkouts (agent, key);
CREATE TABLE paegents_supplier_payments (
    agent TEXT NOT NULL, txn TEXT NOT NULL, supplier TEXT NOT NULL, body_sha256 TEXT NOT NULL,
    cents INTEGER NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, is_doomed INTEGER NOT NULL,
    events TEXT NOT NULL, PRIMARY KEY (agent, txn));
";

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/health", get(requirements::health))
        .route("/payment-requirements", get(requirements::show))
        .route("/mcp/payments", post(older::pay))
        .route("/mcp/search-recipients", post(recipients::search))
        .route("/mcp/balance/{agent}", get(older::balance))
        .route("/receipts/verify/{id}", get(receipts::verify))
        .route("/a2a/payment", post(older::pay_agent))
        .route("/a2a/pay", post(suppliers::pay))
        .route("/a2a/status", post(suppliers::status))
        .route("/ap2/mandates/intent", post(mandates::intend))
        .route("/ap2/mandates/cart", post(mandates::fill_cart))
        .route("/ap2/signing-digest", post(mandates::signing_digest))
        .route("/ap2/pay", post(checkout::pay))
}

/// Carries out a step: task and subject.
pub(crate) fn carry_out(
    db: &Connection,
    world: &World,
    at: i64,
    (task, subject): (&str, &str),
) -> rusqlite::Result<()> {
    match task {
        suppliers::STEP => suppliers::proceed(db, world, at, subject),
        _ => Ok(()),
    }
}
