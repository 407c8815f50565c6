//! Where Paegents sends its webhooks: `/webhooks/paegents`. Source: protocols/paegents.md §8.
//!
//! Invariants: nothing is believed without a signature over the bytes as they came; an event is in the
//! inbox before the sender hears that it was taken, and the same one again changes nothing.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    app::App,
    tools::paegents::events::{Received, receive},
};

/// The route of the receiver.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new().route("/webhooks/paegents", post(paegents)).with_state(app)
}

async fn paegents(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let headers = headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    match receive(&app, None, headers, &body).await {
        Ok(Received::Genuine { is_new: true, .. }) => "taken".into_response(),
        Ok(Received::Genuine { is_new: false, .. }) => "known already".into_response(),
        // What is wrong with it is for our own logs: a forger learns nothing.
        Ok(Received::Refused(refused)) => {
            tracing::warn!(%refused, "a webhook was refused");
            StatusCode::UNAUTHORIZED.into_response()
        }
        Ok(Received::NothingKnown) => {
            tracing::warn!("a webhook came, and no secret is known to check it with");
            StatusCode::UNAUTHORIZED.into_response()
        }
        // Tried again by its sender.
        Err(error) => {
            tracing::warn!(%error, "a webhook could not be kept");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
