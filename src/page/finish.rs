//! What every answer of the page passes last: a problem becomes a page, and the headers are added.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};

use super::{Page, Shared, problems::Problem};

const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // For browsers that know no `frame-ancestors`.
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// The answer as it goes out.
pub(super) async fn every(page: Shared, response: Response) -> Response {
    guarded(as_page(&page, response)).await
}

/// The answer with the headers.
pub(super) async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn as_page(page: &Arc<Page>, mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let shown = Html(problem.shown(page).into_string());
    // With the status and the headers that it has.
    let mut full = shown.into_response();
    *full.status_mut() = response.status();
    full.headers_mut().extend(std::mem::take(response.headers_mut()));
    full
}
