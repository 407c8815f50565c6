//! Rate limits, at real pace only: 60 reads and 20 writes a minute, 10 authentications in five.
//!
//! Source: the earlier revision of Crochet's documentation.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::sandbox::{
    Pace,
    crochet::answers::{ApiError, Recovery},
    keys::sha256_hex,
    store,
    world::World,
};

/// Lets a request pass or answers 429.
pub(crate) async fn limit(
    State(world): State<Arc<World>>,
    request: Request,
    next: Next,
) -> Response {
    if world.pace == Pace::Real
        && let Err(error) = count(&world, &request)
    {
        return error.into_response();
    }
    next.run(request).await
}

fn count(world: &World, request: &Request) -> Result<(), ApiError> {
    let path = request.uri().path();
    let (class, most, window_s) = if path.starts_with("/auth/") || path == "/register" {
        ("auth", 10, 300)
    } else if request.method() == Method::GET {
        ("read", 60, 60)
    } else {
        ("write", 20, 60)
    };
    let caller = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
    let key = format!("rate/{class}/{}", sha256_hex(caller));
    world.transact(|db, now| {
        // The window's number and the requests in it.
        let window = now / 1_000 / window_s;
        let value = store::meta(db, &key)?.unwrap_or_default();
        let (last, used) = value.split_once(' ').unwrap_or_default();
        let used: u32 = if last == window.to_string() { used.parse().unwrap_or(0) } else { 0 };
        if used >= most {
            let left = (window + 1) * window_s - now / 1_000;
            let left = u32::try_from(left).unwrap_or(1).max(1);
            let message = format!("more than {most} {class} requests in {window_s} seconds");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
                .recovery(Recovery::new(true, "wait", "Wait and repeat.").after(left)));
        }
        Ok(store::set_meta(db, &key, &format!("{window} {}", used + 1))?)
    })
}
