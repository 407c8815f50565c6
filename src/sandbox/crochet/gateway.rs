//! The gateway: `POST /gateway/{listingId}`.
//!
//! A call is decided in one transaction ([`Step`]), the seller is asked outside of it, and the
//! answer is stored before it is given. A relay's seller is asked once, however often the request
//! is repeated.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use rusqlite::Connection;
use serde_json::{Value, json, value::RawValue};

use crate::{
    money::Usdc,
    sandbox::{
        crochet::{
            accounts::authenticate,
            answers::{Answer, ApiError, Recovery},
            listings::{self, Listing},
            relays::{self, Currency, Order, Relay},
            sellers::{self, Outcome},
        },
        faults::RaisePrice,
        keys::sha256_hex,
        world::World,
    },
};

/// The largest body that is forwarded, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The longest idempotency key.
const KEY_CHARS_MAX: usize = 255;

/// A call as it came.
struct Call {
    buyer: String,
    listing: Listing,
    input: Value,
    body: Bytes,
    body_sha256: String,
    idempotency_key: Option<String>,
    currency: Option<Currency>,
    relay: Option<String>,
    price: Usdc,
}

/// What happens with a call.
enum Step {
    /// This is the answer.
    Answer(Response),
    /// The seller is asked, under this relay.
    Run(Box<Relay>),
}

/// `POST /gateway/{listingId}`
pub(crate) async fn call(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    raise: Option<Extension<RaisePrice>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let call = read(&world, &id, &headers, body, raise.map(|Extension(raise)| raise))?;
    if call.relay.is_none()
        && call.listing.behaviour == "rejects"
        && let Some(refusal) = sellers::refusal(&call.input)
    {
        return Ok(json_response(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()));
    }
    let step = world.transact(|db, now| decide(&world, db, now, &call))?;
    match step {
        Step::Answer(response) => Ok(response),
        Step::Run(relay) => run(&world, &call, &relay).await,
    }
}

/// A fresh 402 for a call that was paid already: what the fault `pay_again` does.
pub(crate) fn charge_again(
    world: &World,
    id: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut call = read(world, id, headers, body, None)?;
    call.idempotency_key = None;
    world.transact(|db, now| {
        let relay = relays::mint(db, world, now, &call.order())?;
        Ok(relays::requirement(&relay, &call.listing).into_response())
    })
}

fn read(
    world: &World,
    id: &str,
    headers: &HeaderMap,
    body: Bytes,
    raise: Option<RaisePrice>,
) -> Result<Call, ApiError> {
    let buyer = authenticate(world, headers)?.id;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let listing = world
        .transact(|db, _| listings::by_id(db, id))?
        .filter(|listing| listing.status == "active")
        .ok_or_else(|| ApiError::not_found("listing"))?;
    let is_json = text(header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("application/json"));
    if !is_json {
        let message = "the gateway takes application/json only";
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            message,
        ));
    }
    if body.len() > BODY_BYTES_MAX {
        let message = format!("the body has more than {BODY_BYTES_MAX} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message));
    }
    let input =
        serde_json::from_slice(&body).map_err(|_| ApiError::invalid("body", "must be JSON"))?;
    let idempotency_key = text("idempotency-key").filter(|key| !key.is_empty());
    if idempotency_key.is_some_and(|key| key.len() > KEY_CHARS_MAX) {
        return Err(ApiError::invalid("Idempotency-Key", "is too long"));
    }
    let currency = match text("x-crochet-origin-currency") {
        None => None,
        Some(name) => Some(Currency::parse(name).ok_or_else(|| {
            let message = format!("{name} is not taken; USDC and SOL are");
            ApiError::new(StatusCode::BAD_REQUEST, "UNSUPPORTED_ORIGIN_CURRENCY", message)
        })?),
    };
    Ok(Call {
        buyer,
        price: asked(&listing, raise),
        listing,
        input,
        body_sha256: sha256_hex(&body),
        body,
        idempotency_key: idempotency_key.map(str::to_owned),
        currency,
        relay: text("x-crochet-relay-request-id").map(str::to_ascii_lowercase),
    })
}

/// What the 402 asks for.
fn asked(listing: &Listing, raise: Option<RaisePrice>) -> Usdc {
    if listing.pricing_model == "free" {
        return Usdc::ZERO;
    }
    let price = listing.price.micros();
    let price = if listing.behaviour == "price_rises" { price * 3 / 2 } else { price };
    Usdc::from_micros(raise.map_or(price, |raise| raise.apply(price)))
}

impl Call {
    fn order(&self) -> Order<'_> {
        Order {
            buyer: &self.buyer,
            listing: &self.listing,
            body_sha256: &self.body_sha256,
            idempotency_key: self.idempotency_key.as_deref(),
            currency: self.currency.unwrap_or(Currency::Usdc),
            price: self.price,
        }
    }
}

fn decide(world: &World, db: &Connection, now: i64, call: &Call) -> Result<Step, ApiError> {
    let is_free = call.listing.pricing_model == "free";
    if let (Some(id), false) = (&call.relay, is_free) {
        let relay = relays::find(db, id)?;
        return proceed(db, now, call, check(call, relay)?);
    }
    if let Some(key) = &call.idempotency_key
        && let Some(relay) = relays::by_key(db, &call.buyer, key)?
    {
        let same = relay.listing == call.listing.id
            && relay.body_sha256 == call.body_sha256
            && call.currency.is_none_or(|currency| currency.as_str() == relay.currency);
        if !same {
            return Err(reused());
        }
        if !relay.has_lapsed(now) {
            return proceed(db, now, call, relay);
        }
    }
    if call.listing.behaviour == "route_minimum" && call.currency != Some(Currency::Sol) {
        return Err(below_minimum(call));
    }
    let relay = relays::mint(db, world, now, &call.order())?;
    if is_free {
        return Ok(Step::Run(Box::new(relay)));
    }
    proceed(db, now, call, relay)
}

/// A relay pays for the request it was made for, and for no other.
fn check(call: &Call, relay: Option<Relay>) -> Result<Relay, ApiError> {
    let refused = |status, code, message: &str| {
        Err(ApiError::new(status, code, message).recovery(
            Recovery::new(
                false,
                "fix_request",
                "A relay request id pays for the exact request it was issued for. Repeat that \
                 request, or drop the id to start a new one.",
            )
            .discard(&["relay_request_id"]),
        ))
    };
    let Some(relay) = relay else {
        let message = "no such relay request";
        return refused(StatusCode::NOT_FOUND, "RELAY_REQUEST_NOT_FOUND", message);
    };
    let mismatch = |message: &str| refused(StatusCode::CONFLICT, "RELAY_REQUEST_MISMATCH", message);
    if relay.buyer != call.buyer {
        let message = "the relay request belongs to another buyer";
        return refused(StatusCode::FORBIDDEN, "RELAY_REQUEST_FORBIDDEN", message);
    }
    if relay.listing != call.listing.id {
        return mismatch("the relay request is for another listing");
    }
    if relay.body_sha256 != call.body_sha256 {
        return mismatch("the body differs from the one the relay request was issued for");
    }
    let key = call.idempotency_key.as_ref();
    if key.is_some_and(|key| relay.idempotency_key.as_ref().is_some_and(|bound| bound != key)) {
        return mismatch("the idempotency key differs from the one of the relay request");
    }
    Ok(relay)
}

fn proceed(db: &Connection, now: i64, call: &Call, relay: Relay) -> Result<Step, ApiError> {
    if let Some((status, body)) = relay.answer {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(Step::Answer(json_response(status, body)));
    }
    match relay.state.as_str() {
        "payment_required" if relay.has_lapsed(now) => Err(expired(&relay)),
        "payment_required" => {
            Ok(Step::Answer(relays::requirement(&relay, &call.listing).into_response()))
        }
        "settled" if call.listing.behaviour != "never_delivers" => {
            relays::set_state(db, &relay.id, "executing", now)?;
            Ok(Step::Run(Box::new(relay)))
        }
        _ => Ok(Step::Answer(pending(Some(&relay.id)))),
    }
}

/// The 202.
pub(crate) fn pending(relay: Option<&str>) -> Response {
    let body = json!({ "success": true, "data": {
        "status": "pending",
        "retryable": true,
        "retry_after_seconds": 1,
        "relay_request_id": relay,
    }});
    let mut response = json_response(StatusCode::ACCEPTED, body.to_string());
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(1));
    response
}

/// Asks the seller and stores what comes of it.
async fn run(world: &World, call: &Call, relay: &Relay) -> Answer {
    let begun = world.clock.now_ms();
    let outcome = sellers::serve(world, &call.listing, relay, &call.input, &call.body).await;
    let latency_ms = world.clock.now_ms() - begun;
    let (state, status, body) = match outcome {
        Outcome::Served(answer) => {
            ("delivered", StatusCode::OK, delivered(call, relay, &answer, latency_ms))
        }
        Outcome::Refused(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            ("rejected", status, body)
        }
        Outcome::Failed(reason) => {
            let error = failed(call, relay, reason);
            ("failed", error.status, error.body().to_string())
        }
    };
    world.transact(|db, now| {
        let answer = (state, status.as_u16(), body.as_str());
        relays::finish(db, &relay.id, answer, latency_ms, now)
    })?;
    Ok(json_response(status, body))
}

fn delivered(call: &Call, relay: &Relay, answer: &RawValue, latency_ms: i64) -> String {
    let is_free = call.listing.pricing_model == "free";
    let record = json!({
        "relay_request_id": (!is_free).then_some(&relay.id),
        "listing_id": call.listing.id,
        "seller_id": call.listing.owner,
        "status": "delivered",
        "latency_ms": latency_ms,
    });
    // The seller's JSON goes out byte for byte.
    format!(r#"{{"success":true,"data":{},"gateway_request":{record}}}"#, answer.get())
}

fn failed(call: &Call, relay: &Relay, reason: &str) -> ApiError {
    if call.listing.pricing_model == "free" {
        return ApiError::new(StatusCode::BAD_GATEWAY, "SELLER_FAILED", reason)
            .recovery(Recovery::new(true, "retry", "Nothing was paid. Try again later.").after(5));
    }
    let message = format!("the payment settled, but the seller failed: {reason}");
    ApiError::new(StatusCode::BAD_GATEWAY, "SELLER_FAILED_AFTER_PAYMENT", message)
        .recovery(
            Recovery::new(
                false,
                "contact_seller",
                "The money cannot be pulled back on this path. Do not pay again; take it up with \
                 the seller under the relay request id.",
            )
            .preserve(&["relay_request_id"]),
        )
        .details(json!({ "relay_request_id": relay.id, "listing_id": call.listing.id }))
}

fn expired(relay: &Relay) -> ApiError {
    let message = "the payment requirement lapsed before it was paid";
    ApiError::new(StatusCode::GONE, "RELAY_REQUEST_EXPIRED", message)
        .recovery(
            Recovery::new(
                true,
                "start_again",
                "Nothing arrived for it. Send the request again without the relay request id and \
                 with a new idempotency key.",
            )
            .discard(&["relay_request_id", "idempotency_key"]),
        )
        .details(json!({ "relay_request_id": relay.id }))
}

fn reused() -> ApiError {
    let message = "the idempotency key was used for another request";
    ApiError::new(StatusCode::CONFLICT, "IDEMPOTENCY_KEY_REUSED", message).recovery(
        Recovery::new(true, "new_idempotency_key", "Use a new key for a new request or route.")
            .discard(&["idempotency_key"]),
    )
}

fn below_minimum(call: &Call) -> ApiError {
    let message = format!("{} USD is below the minimum of the EVM route", call.price);
    ApiError::new(StatusCode::BAD_REQUEST, "PAYMENT_ROUTE_MINIMUM_NOT_MET", message)
        .recovery(
            Recovery::new(
                true,
                "switch_route",
                "Start again with X-Crochet-Origin-Currency: SOL and a new idempotency key.",
            )
            .preserve(&["request_body"])
            .discard(&["idempotency_key", "relay_request_id"]),
        )
        .details(json!({ "route": "USDC", "suggested_origin_currency": "SOL" }))
}

fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
