//! Accounts: credentials that are lost and found again, and invitations to the platform.
//!
//! Source: the protocol page on Paegents, 3.8, 3.9 and 10.6.

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

pub(super) mod invites;
pub(super) mod recovery;

use crate::sandbox::world::World;

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_challenges (
    nonce TEXT PRIMARY KEY, wallet TEXT NOT NULL, message TEXT NOT NULL, issued_at TEXT NOT NULL,
    expires_at INTEGER NOT NULL, is_used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE paegents_invites (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL, email TEXT NOT NULL, comment TEXT NOT NULL, sent INTEGER NOT NULL,
    sent_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, accepted_by TEXT,
    created_at INTEGER NOT NULL, UNIQUE (agent, email));
";

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/wallet/recovery-challenge", get(recovery::challenge))
        .route("/wallet/recover", post(recovery::recover))
        .route("/invites", get(invites::list).post(invites::create))
        .route("/invites/{token}", get(invites::show))
        .route("/invites/{token}/accept", post(invites::accept))
}
