//! A listing's private endpoint: safe metadata, changing it, testing it, its signing secret.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        accounts::authenticate,
        answers::{Answer, ApiError, ok, read},
        listings::{self, Listing},
        selling::{check_url, is_loopback},
    },
    world::World,
};

/// How long a seller may take.
const SELLER_TIMEOUT: Duration = Duration::from_secs(30);

/// A signing secret that was never given before.
pub(crate) fn new_secret(db: &Connection, world: &World) -> rusqlite::Result<String> {
    Ok(format!("crs_{}", hex::encode(world.fresh(db, "crochet/signing-secret")?)))
}

/// What may be shown of an endpoint: neither its address nor its secret.
pub(crate) fn safe(listing: &Listing) -> Value {
    json!({
        "listing_id": listing.id,
        "configured": listing.endpoint_url.is_some(),
        "signature_header": "X-Crochet-Signature",
        "timestamp_header": "X-Crochet-Timestamp",
        "signature_scheme": "hmac-sha256",
        "upstream_auth_type": listing.endpoint_auth.as_deref().unwrap_or("none"),
        "signing_secret_version": listing.secret_version,
        "updated_at": rfc3339(listing.updated_at),
    })
}

/// `GET /listings/{id}/endpoint`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, _| Ok::<_, ApiError>(safe(&listings::owned(db, &id, &agent.id)?)))?)
}

#[derive(Deserialize)]
struct SetBody {
    private_endpoint_url: Option<String>,
    upstream_auth_type: Option<String>,
}

/// `PUT /listings/{id}/endpoint`
pub(crate) async fn set(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: SetBody = read(&body)?;
    let url = body.private_endpoint_url.as_deref().map(check_url).transpose()?;
    ok(world.transact(|db, now| {
        let mut listing = listings::owned(db, &id, &agent.id)?;
        if url.is_none() && body.upstream_auth_type.is_none() {
            return Err(ApiError::invalid("private_endpoint_url", "is required"));
        }
        listing.endpoint_url = url.or(listing.endpoint_url);
        listing.endpoint_auth = body.upstream_auth_type.or(listing.endpoint_auth);
        listing.updated_at = now;
        listings::save(db, &listing)?;
        Ok(safe(&listing))
    })?)
}

/// `POST /listings/{id}/endpoint/rotate-secret`
pub(crate) async fn rotate(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, now| {
        let mut listing = listings::owned(db, &id, &agent.id)?;
        listing.secret = new_secret(db, &world)?;
        listing.secret_version += 1;
        listing.updated_at = now;
        listings::save(db, &listing)?;
        let mut data = safe(&listing);
        if let Some(data) = data.as_object_mut() {
            data.insert("signing_secret".to_owned(), json!(listing.secret));
        }
        Ok::<_, ApiError>(data)
    })?)
}

/// `POST /listings/{id}/endpoint/test`
pub(crate) async fn test(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let (listing, request_id, now) = world.transact(|db, now| {
        let listing = listings::owned(db, &id, &agent.id)?;
        Ok::<_, ApiError>((listing, world.fresh_uuid(db, "crochet/test")?, now))
    })?;
    let body = json!({ "test": true, "listing_id": listing.id }).to_string();
    let outcome = forward(&world, &listing, &request_id, body.into_bytes(), true).await;
    let latency_ms = world.clock.now_ms() - now;
    let (status, detail) = match outcome {
        Ok(answer) => (Some(answer.status), "the endpoint answered".to_owned()),
        Err(reason) => (None, reason.to_owned()),
    };
    ok(json!({
        "ok": status.is_some_and(|status| (200..300).contains(&status)),
        "status_code": status,
        "latency_ms": latency_ms,
        "request_id": request_id,
        "detail": detail,
    }))
}

/// What a seller's endpoint answered.
#[derive(Debug)]
pub(crate) struct SellerAnswer {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Sends a signed request to the seller's endpoint, if that is on this machine.
///
/// The signature is HMAC-SHA-256, keyed with the text of the secret, of the timestamp in seconds,
/// a dot and the body.
pub(crate) async fn forward(
    world: &World,
    listing: &Listing,
    request_id: &str,
    body: Vec<u8>,
    is_test: bool,
) -> Result<SellerAnswer, &'static str> {
    let url = listing.endpoint_url.as_deref().ok_or("no endpoint is configured")?;
    let url = Url::parse(url).map_err(|_| "the endpoint is no URL")?;
    if url.scheme() != "http" || !is_loopback(&url) {
        return Err("the sandbox reaches plain HTTP on loopback only");
    }
    let timestamp = (world.clock.now_ms() / 1_000).to_string();
    let mut request = world
        .http
        .post(url)
        .timeout(SELLER_TIMEOUT)
        .header("Content-Type", "application/json")
        .header("X-Crochet-Signature", sign(&listing.secret, &timestamp, &body))
        .header("X-Crochet-Timestamp", timestamp)
        .header("X-Crochet-Request-Id", request_id)
        .header("X-Crochet-Listing-Id", &listing.id);
    if is_test {
        request = request.header("X-Crochet-Test", "true");
    }
    let answer = request.body(body).send().await.map_err(|_| "the endpoint did not answer")?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.map_err(|_| "the endpoint's answer broke off")?;
    Ok(SellerAnswer { status, body: body.to_vec() })
}

/// The value of `X-Crochet-Signature`.
pub(crate) fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_timestamp_and_body() {
        // `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test`
        let signature = sign("whsec_test", "1700000000", br#"{"a":1}"#);
        assert_eq!(
            signature,
            "sha256=38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789"
        );
    }
}
