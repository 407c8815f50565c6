//! Receipts: signed when a payment is made, kept, and shown to whoever asks for one.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    keys::sha256_hex,
    paegents::{
        BASE, agents,
        answers::{Answer, ApiError, ok},
        hooks::signature,
    },
    world::World,
};

/// Makes a receipt over `cents` for a payment of the agent, and keeps it.
pub(crate) fn make(
    db: &Connection,
    world: &World,
    now: i64,
    agent: &str,
    (reference, cents, currency): (&str, u64, &str),
) -> rusqlite::Result<Value> {
    let digest = hex::encode(world.fresh(db, "paegents/receipt")?);
    let id = format!("rcpt_{}", digest.get(..24).unwrap_or_default());
    let timestamp = rfc3339(now);
    let amount = cents.to_string();
    let parts = [id.as_str(), agent, reference, amount.as_str(), currency, timestamp.as_str()];
    let signature = sign(world, &parts);
    let receipt = json!({
        "receipt_id": id,
        "agent_id": agent,
        "amount": cents,
        "currency": currency,
        "timestamp": timestamp,
        "reference": reference,
        "signature": signature,
        "verification_url": format!("{}{BASE}/receipts/verify/{id}", world.origin),
    });
    db.prepare_cached("INSERT INTO paegents_payment_receipts (id, receipt) VALUES (?1, ?2)")?
        .execute(params![id, receipt.to_string()])?;
    Ok(receipt)
}

/// The platform's signature: HMAC-SHA-256 of the parts, one to a line.
fn sign(world: &World, parts: &[&str]) -> String {
    let secret = sha256_hex(&world.seed.bytes("paegents/receipts"));
    signature::hmac_hex(secret.as_bytes(), parts.join("\n").as_bytes())
}

fn text<'a>(receipt: &'a Value, name: &str) -> &'a str {
    receipt.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `GET /receipts/verify/{id}`
pub(crate) async fn verify(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        agents::authenticate(db, &headers)?;
        let kept: Option<String> = db
            .prepare_cached("SELECT receipt FROM paegents_payment_receipts WHERE id = ?1")?
            .query_row([&id], |row| row.get(0))
            .optional()?;
        let receipt: Value = kept
            .and_then(|kept| serde_json::from_str(&kept).ok())
            .ok_or_else(|| ApiError::not_found("Receipt"))?;
        let cents = receipt.get("amount").and_then(Value::as_u64).unwrap_or_default();
        let parts = [
            text(&receipt, "receipt_id"),
            text(&receipt, "agent_id"),
            text(&receipt, "reference"),
            &cents.to_string(),
            text(&receipt, "currency"),
            text(&receipt, "timestamp"),
        ];
        let is_valid = sign(&world, &parts) == text(&receipt, "signature");
        Ok::<_, ApiError>(json!({ "valid": is_valid, "receipt": receipt }))
    })?)
}
