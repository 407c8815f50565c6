//! Sellers: who answers a call, and how each behaviour of the catalog goes.

use std::time::Duration;

use serde_json::{Value, json, value::RawValue};

use crate::sandbox::{
    crochet::{catalog, endpoints, listings::Listing, relays::Relay},
    workers,
    world::World,
};

/// How long the slow seller takes. It really does, at any pace.
const SLOW: Duration = Duration::from_secs(3);

/// What came of asking a seller.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its JSON.
    Served(Box<RawValue>),
    /// Its own 4xx: status and body.
    Refused(u16, String),
    /// No usable answer.
    Failed(&'static str),
}

/// Asks the seller of the listing.
pub(crate) async fn serve(
    world: &World,
    listing: &Listing,
    relay: &Relay,
    input: &Value,
    body: &[u8],
) -> Outcome {
    match listing.behaviour.as_str() {
        "manual" => forwarded(world, listing, relay, body).await,
        "fails_after_payment" => Outcome::Failed("the seller's endpoint answered 500"),
        "hostile_text" => worked(Ok(catalog::hostile_answer())),
        "slow" => {
            tokio::time::sleep(SLOW).await;
            worked(workers::work(&listing.worker, input))
        }
        _ => worked(workers::work(&listing.worker, input)),
    }
}

fn worked(result: Result<Value, Value>) -> Outcome {
    match result {
        Ok(answer) => match serde_json::value::to_raw_value(&answer) {
            Ok(answer) => Outcome::Served(answer),
            Err(_) => Outcome::Failed("the seller's answer is no JSON"),
        },
        Err(refusal) => Outcome::Refused(422, refusal.to_string()),
    }
}

async fn forwarded(world: &World, listing: &Listing, relay: &Relay, body: &[u8]) -> Outcome {
    let answer = match endpoints::forward(world, listing, &relay.id, body.to_vec(), false).await {
        Ok(answer) => answer,
        Err(reason) => return Outcome::Failed(reason),
    };
    let Some(text) = String::from_utf8(answer.body).ok().filter(|text| is_json(text)) else {
        return Outcome::Failed("the seller's answer is no JSON");
    };
    match answer.status {
        200..300 => match RawValue::from_string(text) {
            Ok(answer) => Outcome::Served(answer),
            Err(_) => Outcome::Failed("the seller's answer is no JSON"),
        },
        400..500 => Outcome::Refused(answer.status, text),
        _ => Outcome::Failed("the seller's endpoint failed"),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// What the seller that looks first says to this input, before any payment.
pub(crate) fn refusal(input: &Value) -> Option<Value> {
    if input.get("certified") == Some(&Value::Bool(true)) {
        return None;
    }
    Some(json!({
        "error": "unsupported_document",
        "detail": "this seller checks certified translations only",
        "field": "certified",
    }))
}
