//! AP2 mandates: what an agent may be charged, and what it wants to buy.
//!
//! An intent holds a policy; a cart belongs to one intent and fits its policy when it is made and
//! again when it is paid. Source: the protocol page on Paegents, 5.1 and 5.2.

use std::sync::Arc;

use alloy_primitives::{Address, keccak256};
use axum::{body::Bytes, extract::State, http::HeaderMap};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    chain::CHAIN_ID,
    clock::rfc3339,
    keys::sha256_hex,
    paegents::{
        agents::{self, Agent},
        answers::{Answer, ApiError, header, ok, read},
        idempotency::{self, Keyed},
        pay::charges::{denied, usdc},
    },
    world::World,
};

/// The most cents that a cart may ask for: ten million dollars.
const CENTS_MAX: u64 = 1_000_000_000;

/// An intent mandate.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    /// Its identifier.
    pub(crate) id: String,
    agent: String,
    policy: Value,
    constraints: Value,
    metadata: Value,
    hash: String,
    expires_at: Option<i64>,
}

/// A cart mandate.
#[derive(Clone, Debug)]
pub(crate) struct Cart {
    /// Its identifier.
    pub(crate) id: String,
    intent: String,
    asked: Value,
    /// What it asks for, in cents.
    pub(crate) cents: u64,
    /// The code of its currency, in lower case.
    pub(crate) currency: String,
    metadata: Value,
    hash: String,
    /// Whether it was paid at least once.
    pub(crate) is_paid: bool,
}

/// An identifier that was never given before.
pub(crate) fn fresh_id(db: &Connection, world: &World, prefix: &str) -> rusqlite::Result<String> {
    let digest = hex::encode(world.fresh(db, &format!("paegents/{prefix}"))?);
    Ok(format!("{prefix}_{}", digest.get(..24).unwrap_or_default()))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn intent(db: &Connection, agent: &Agent, id: &str) -> Result<Intent, ApiError> {
    db.prepare_cached(
        "SELECT id, agent, policy, constraints, metadata, hash, expires_at FROM paegents_intents
         WHERE id = ?1 AND agent = ?2",
    )?
    .query_row([id, &agent.id], |row| {
        let [policy, constraints, metadata]: [String; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
        Ok(Intent {
            id: row.get(0)?,
            agent: row.get(1)?,
            policy: json_of(&policy),
            constraints: json_of(&constraints),
            metadata: json_of(&metadata),
            hash: row.get(5)?,
            expires_at: row.get(6)?,
        })
    })
    .optional()?
    .ok_or_else(|| ApiError::not_found("Intent mandate"))
}

fn cart(db: &Connection, id: &str) -> Result<Option<Cart>, ApiError> {
    let found = db
        .prepare_cached(
            "SELECT id, intent, cart, cents, currency, metadata, hash, is_paid FROM paegents_carts
             WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let [cart, metadata]: [String; 2] = [row.get(2)?, row.get(5)?];
            let cents: i64 = row.get(3)?;
            Ok(Cart {
                id: row.get(0)?,
                intent: row.get(1)?,
                asked: json_of(&cart),
                cents: u64::try_from(cents).unwrap_or_default(),
                currency: row.get(4)?,
                metadata: json_of(&metadata),
                hash: row.get(6)?,
                is_paid: row.get(7)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// The agent's intent and the cart that belongs to it.
pub(crate) fn pair(
    db: &Connection,
    agent: &Agent,
    (intent_id, cart_id): (&str, &str),
) -> Result<(Intent, Cart), ApiError> {
    let intent = intent(db, agent, intent_id)?;
    let cart = cart(db, cart_id)?.ok_or_else(|| ApiError::not_found("Cart mandate"))?;
    if cart.intent != intent.id {
        return Err(ApiError::bad_request("The cart mandate belongs to another intent mandate"));
    }
    Ok((intent, cart))
}

/// Notes that a cart was paid.
pub(crate) fn set_paid(db: &Connection, cart: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE paegents_carts SET is_paid = 1 WHERE id = ?1")?.execute([cart])?;
    Ok(())
}

impl Intent {
    /// Refuses, at `now`, what the intent's policy does not allow.
    pub(crate) fn check(&self, now: i64, cents: u64, currency: &str) -> Result<(), ApiError> {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(denied("the intent mandate has expired"));
        }
        let most = self.policy.pointer("/max_amount/value").and_then(Value::as_u64);
        if let Some(most) = most.filter(|most| cents > *most) {
            return Err(denied(&format!(
                "{cents} cents are above the intent mandate's maximum of {most}"
            )));
        }
        let allowed = self.policy.get("currency").and_then(Value::as_str).unwrap_or(currency);
        if !allowed.eq_ignore_ascii_case(currency) {
            return Err(denied(&format!("the intent mandate is for {allowed}, not {currency}")));
        }
        Ok(())
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "status": "active",
            "policy": self.policy,
            "constraints": self.constraints,
            "subject": { "agent_id": self.agent },
            "hash": self.hash,
            "metadata": self.metadata,
            "expires_at": self.expires_at.map(rfc3339),
        })
    }
}

impl Cart {
    fn view(&self) -> Value {
        let status = if self.is_paid { "paid" } else { "active" };
        json!({
            "id": self.id,
            "status": status,
            "cart": self.asked,
            "links": { "intent_mandate_id": self.intent },
            "hash": self.hash,
            "metadata": self.metadata,
        })
    }
}

#[derive(Deserialize)]
struct IntentBody {
    agent_id: Option<String>,
    policy: Map<String, Value>,
    constraints: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
    expires_at: Option<String>,
}

/// An instant as Python's `isoformat` writes it; without an offset it is UTC.
fn instant(text: &str) -> Option<i64> {
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    at.map(Timestamp::as_millisecond)
}

/// `POST /ap2/mandates/intent`
pub(crate) async fn intend(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: IntentBody = read(&body)?;
        if asked.agent_id.is_some_and(|id| id != agent.id) {
            return Err(ApiError::forbidden("agent_id is not the agent of this API key"));
        }
        let most = asked.policy.get("max_amount").and_then(|most| most.get("value"));
        if most.is_some_and(|most| most.as_u64().is_none_or(|most| most == 0)) {
            let message = "Input should be a whole number of cents above 0";
            return Err(ApiError::invalid("policy.max_amount.value", message));
        }
        let expires_at = asked
            .expires_at
            .map(|text| {
                let wrong = || ApiError::invalid("expires_at", "Input should be an ISO time");
                instant(&text).ok_or_else(wrong)
            })
            .transpose()?;
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::invalid("expires_at", "Input should be in the future"));
        }
        let keyed = keyed(&headers, &agent, "ap2.intent", &body);
        if let Some(id) = idempotency::look(db, &keyed)? {
            return Ok(json!({ "intent_mandate": intent(db, &agent, &id)?.view() }));
        }
        let policy = Value::from(asked.policy);
        let made = Intent {
            id: fresh_id(db, &world, "im")?,
            hash: sha256_hex(json!([agent.id, policy, expires_at]).to_string().as_bytes()),
            agent: agent.id.clone(),
            policy,
            constraints: Value::from(asked.constraints.unwrap_or_default()),
            metadata: Value::from(asked.metadata.unwrap_or_default()),
            expires_at,
        };
        db.prepare_cached(
            "INSERT INTO paegents_intents
                 (id, agent, policy, constraints, metadata, hash, expires_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            made.id,
            made.agent,
            made.policy.to_string(),
            made.constraints.to_string(),
            made.metadata.to_string(),
            made.hash,
            made.expires_at,
            now,
        ])?;
        idempotency::keep(db, &keyed, &made.id)?;
        Ok(json!({ "intent_mandate": made.view() }))
    })?)
}

#[derive(Deserialize)]
struct CartBody {
    intent_mandate_id: String,
    cart: Map<String, Value>,
    metadata: Option<Map<String, Value>>,
}

/// `POST /ap2/mandates/cart`
pub(crate) async fn fill_cart(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: CartBody = read(&body)?;
        let intent = intent(db, &agent, &asked.intent_mandate_id)?;
        let cents = asked
            .cart
            .get("total")
            .and_then(Value::as_u64)
            .filter(|cents| (1..=CENTS_MAX).contains(cents))
            .ok_or_else(|| {
                let message = format!("Input should be a whole number from 1 to {CENTS_MAX}");
                ApiError::invalid("cart.total", message)
            })?;
        let currency = asked.cart.get("currency").and_then(Value::as_str).unwrap_or("usd");
        let currency = currency.to_ascii_lowercase();
        let keyed = keyed(&headers, &agent, "ap2.cart", &body);
        if let Some(found) = idempotency::look(db, &keyed)?
            && let Some(found) = cart(db, &found)?
        {
            return Ok::<_, ApiError>(json!({ "cart_mandate": found.view() }));
        }
        intent.check(now, cents, &currency)?;
        let goods = Value::from(asked.cart);
        let made = Cart {
            id: fresh_id(db, &world, "cm")?,
            hash: sha256_hex(json!([intent.id, goods]).to_string().as_bytes()),
            intent: intent.id,
            asked: goods,
            cents,
            currency,
            metadata: Value::from(asked.metadata.unwrap_or_default()),
            is_paid: false,
        };
        db.prepare_cached(
            "INSERT INTO paegents_carts
                 (id, intent, cart, cents, currency, metadata, hash, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            made.id,
            made.intent,
            made.asked.to_string(),
            i64::try_from(made.cents).unwrap_or(i64::MAX),
            made.currency,
            made.metadata.to_string(),
            made.hash,
            now,
        ])?;
        idempotency::keep(db, &keyed, &made.id)?;
        Ok(json!({ "cart_mandate": made.view() }))
    })?)
}

fn keyed<'a>(
    headers: &'a HeaderMap,
    agent: &'a Agent,
    operation: &'a str,
    body: &'a [u8],
) -> Keyed<'a> {
    Keyed { agent: &agent.id, operation, key: header(headers, "idempotency-key"), body }
}

#[derive(Deserialize)]
struct DigestBody {
    intent_mandate_id: String,
    cart_mandate_id: String,
    destination_wallet: String,
}

/// `POST /ap2/signing-digest`: what binds both mandates, the amount and the wallet.
///
/// No source says how the platform makes it. Here it is the Keccak-256 of the lines that the answer
/// names.
pub(crate) async fn signing_digest(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: DigestBody = read(&body)?;
        let wallet: Address = asked
            .destination_wallet
            .parse()
            .map_err(|_| ApiError::invalid("destination_wallet", "Input should be an address"))?;
        let ids = (asked.intent_mandate_id.as_str(), asked.cart_mandate_id.as_str());
        let (intent, cart) = pair(db, &agent, ids)?;
        intent.check(now, cart.cents, &cart.currency)?;
        let amount_atomic = usdc(cart.cents).micros();
        let lines = [
            "Paegents AP2 payment".to_owned(),
            intent.id.clone(),
            cart.id.clone(),
            wallet.to_string().to_ascii_lowercase(),
            amount_atomic.to_string(),
            CHAIN_ID.to_string(),
        ];
        Ok::<_, ApiError>(json!({
            "digest": keccak256(lines.join("\n")).to_string(),
            "intent_mandate_id": intent.id,
            "cart_mandate_id": cart.id,
            "destination_wallet": wallet.to_string(),
            "amount_atomic": amount_atomic,
            "chain_id": CHAIN_ID,
        }))
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_instants_as_python_writes_them() {
        #[rustfmt::skip]
        let rows = [
            ("with an offset",  "2026-01-02T03:04:05+00:00", Some(1_767_323_045_000)),
            ("in UTC",          "2026-01-02T03:04:05Z",      Some(1_767_323_045_000)),
            ("of another zone", "2026-01-02T04:04:05+01:00", Some(1_767_323_045_000)),
            ("naive",           "2026-01-02T03:04:05",       Some(1_767_323_045_000)),
            ("with a fraction", "2026-01-02T03:04:05.5",     Some(1_767_323_045_500)),
            ("a day",           "tomorrow",                  None),
        ];
        for (row, text, expected) in rows {
            assert_eq!(instant(text), expected, "{row}");
        }
    }
}
