//! What owners decide: policies, limits, approvals.
//!
//! An owner is known by a token, never by an agent's key, so an agent cannot approve itself.
//! Source: the protocol page on Paegents, 3.1 and 3.6.

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

pub(super) mod approvals;
pub(super) mod limits;
pub(super) mod policies;

use crate::sandbox::world::World;

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_policies (agent TEXT PRIMARY KEY, policy TEXT NOT NULL);
CREATE TABLE paegents_limits (
    agent TEXT PRIMARY KEY, daily INTEGER NOT NULL, monthly INTEGER NOT NULL);
CREATE TABLE paegents_approvals (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    intent TEXT NOT NULL, cart TEXT NOT NULL, cents INTEGER NOT NULL, currency TEXT NOT NULL,
    rail TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, created_at INTEGER NOT NULL,
    decided_at INTEGER);
CREATE INDEX paegents_asked ON paegents_approvals (agent, seq);
";

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/spending/limits", get(limits::show).put(limits::update))
        .route("/agents/{agent}/policies", get(policies::show).put(policies::update))
        .route("/agents/{agent}/approvals", get(approvals::list))
        .route("/agents/{agent}/approvals/{id}/approve", post(approvals::approve))
        .route("/agents/{agent}/approvals/{id}/reject", post(approvals::reject))
}
