//! The owner's page: what waits for their word, what was spent, what is left, and the stop switch, in a
//! browser.
//!
//! Plain HTML made here, without a script and without anything from elsewhere. It works on the store as
//! the owner's commands do, by the same functions.
//!
//! Invariants:
//!
//! - Nothing is shown and nothing is done without a session, which begins with the owner's key and with
//!   no token of a client.
//! - Only a POST changes anything, and only where the session, the session's form token and the headers
//!   that a browser adds all say that it comes from this page.
//! - An answer holds for what was shown: the form names the envelope, and what has changed since is
//!   shown anew.
//! - What a marketplace wrote is cleaned, bounded, escaped and marked as theirs.
//! - Every answer carries the same security headers, errors as well.

mod answers;
mod asks;
mod chart;
mod decision;
mod finish;
mod forms;
mod ledger;
mod limits;
mod problems;
mod purchase;
mod sessions;
mod shell;
mod sign_in;
mod stop;
mod waiting;
mod words;

use std::sync::Arc;

use axum::{
    Router, middleware,
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use sha2::{Digest as _, Sha256};

use crate::{app::App, credential::CredentialDigest};
use problems::Problem;
use sessions::Sessions;

/// Where the page is mounted. Every link and the cookie's path begin with it.
pub const MOUNTED_AT: &str = "/owner";

/// What the owner's key is known by: its SHA-256. The key itself is nowhere kept, and no client's token
/// is taken for it.
#[derive(Clone, Copy, Debug)]
pub struct OwnerKey(CredentialDigest);

impl From<CredentialDigest> for OwnerKey {
    fn from(digest: CredentialDigest) -> Self {
        Self(digest)
    }
}

/// What every handler works on.
#[derive(Debug)]
struct Page {
    app: Arc<App>,
    key: OwnerKey,
    sessions: Sessions,
    /// The cookie's name. It differs by store, since a browser sends the cookies of one host to all its
    /// ports.
    cookie: String,
}

type Shared = axum::extract::State<Arc<Page>>;

/// The owner's page at its place.
pub fn mounted(app: Arc<App>, key: OwnerKey) -> Router {
    let with_slash = get(async || Redirect::permanent(MOUNTED_AT));
    Router::new()
        .route(&format!("{MOUNTED_AT}/"), with_slash)
        .layer(middleware::map_response(finish::guarded))
        .nest(MOUNTED_AT, router(app, key))
}

/// The routes of the owner's page, to be nested at `/owner`.
pub fn router(app: Arc<App>, key: OwnerKey) -> Router {
    let store = Sha256::digest(app.store().path().as_os_str().as_encoded_bytes());
    let cookie = format!("haggle_owner_{}", hex::encode(store.get(..4).unwrap_or_default()));
    let page = Arc::new(Page { app, key, sessions: Sessions::default(), cookie });
    Router::new()
        .route("/", get(waiting::show))
        .route("/purchases", get(ledger::show))
        .route("/purchases/{id}", get(purchase::show))
        .route("/purchases/{id}/answer", post(answers::purchase))
        .route("/asks/{id}", get(asks::show))
        .route("/asks/{id}/answer", post(answers::ask))
        .route("/limits", get(limits::show))
        .route("/stop", get(stop::show).post(stop::change))
        .route("/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/style.css", get(shell::style))
        .fallback(async || Problem::no_such_page().into_response())
        .method_not_allowed_fallback(async || Problem::wrong_method().into_response())
        .layer(middleware::map_response_with_state(page.clone(), finish::every))
        .with_state(page)
}
