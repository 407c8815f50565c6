//! The storage behind CROO's files: presigned addresses under `/storage`, errors in XML.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;

use crate::sandbox::{croo::objects, keys::sha256_hex, world::World};

/// Where it is mounted.
pub(crate) const BASE: &str = "/storage";
/// How long an address holds, in seconds: 30 minutes.
pub(crate) const VALID_S: i64 = 1_800;
/// The largest object, in bytes.
const OBJECT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The routes, relative to [`BASE`].
pub(crate) fn router() -> Router<Arc<World>> {
    // What every request passes first bounds the body; the storage's own bound is below that.
    Router::new().route("/{*key}", get(fetch).put(keep)).layer(DefaultBodyLimit::disable())
}

/// An address at which `method` may be used on the object, for [`VALID_S`] from `now`.
pub(crate) fn presigned(world: &World, method: &str, key: &str, now: i64) -> String {
    let expires = now.saturating_add(999) / 1_000 + VALID_S;
    let token = token(world, method, key, expires);
    format!("{}{BASE}/{key}?token={token}&expires={expires}", world.origin)
}

fn token(world: &World, method: &str, key: &str, expires: i64) -> String {
    hex::encode(world.seed.bytes(&format!("croo/storage/{method}/{expires}/{key}")))
}

/// Why the storage refuses.
#[derive(Debug)]
enum Refused {
    Denied(&'static str),
    WrongType,
    TooLarge,
    NoSuchKey,
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Denied(message) => (StatusCode::FORBIDDEN, "AccessDenied", message),
            Self::WrongType => (
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                "The content type is not the one that was signed.",
            ),
            Self::TooLarge => (
                StatusCode::BAD_REQUEST,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            ),
            Self::NoSuchKey => {
                (StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
            }
            Self::Store(error) => {
                tracing::error!(%error, "the sandbox's store failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "We encountered an error.")
            }
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
    }
}

/// The query of a presigned address.
#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    token: String,
    #[serde(default)]
    expires: String,
}

impl Signed {
    /// Whether this address allows `method` on the object at `now`.
    fn check(&self, world: &World, method: &str, key: &str, now: i64) -> Result<(), Refused> {
        let expires: i64 = self
            .expires
            .parse()
            .map_err(|_| Refused::Denied("Invalid date (should be seconds)."))?;
        if self.token != token(world, method, key, expires) {
            return Err(Refused::Denied("Access Denied"));
        }
        if now > expires.saturating_mul(1_000) {
            return Err(Refused::Denied("Request has expired"));
        }
        Ok(())
    }
}

/// `PUT /storage/{key}`
async fn keep(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    world.transact(|db, now| {
        signed.check(&world, "PUT", &key, now)?;
        let object = objects::find(db, &key)?.ok_or(Refused::NoSuchKey)?;
        if content_type != Some(object.content_type.as_bytes()) {
            return Err(Refused::WrongType);
        }
        if body.len() > OBJECT_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        objects::fill(db, now, &key, &body)?;
        Ok(())
    })?;
    Ok([(header::ETAG, tag(&body))].into_response())
}

/// `GET /storage/{key}`
async fn fetch(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Query(signed): Query<Signed>,
) -> Result<Response, Refused> {
    let (content_type, bytes) = world.transact(|db, now| {
        signed.check(&world, "GET", &key, now)?;
        let object = objects::find(db, &key)?.ok_or(Refused::NoSuchKey)?;
        Ok::<_, Refused>((object.content_type, object.bytes.ok_or(Refused::NoSuchKey)?))
    })?;
    let tag = tag(&bytes);
    Ok(([(header::CONTENT_TYPE, content_type), (header::ETAG, tag)], bytes).into_response())
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", sha256_hex(bytes))
}
