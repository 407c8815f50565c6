//! Lost credentials: whoever holds an agent's wallet gets a new API key for it.
//!
//! Several challenges may be open at once; each is good for one recovery, and each recovery revokes
//! the key before it. Source: the protocol page on Paegents, 3.8 and 10.6.

use std::sync::Arc;

use alloy_primitives::{Address, Signature};
use axum::{
    body::Bytes,
    extract::{Query, State},
};
use rusqlite::{OptionalExtension, params};
use serde::Deserialize;
use serde_json::json;

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        agents,
        answers::{Answer, ApiError, find, ok, read},
        pay::mandates::fresh_id,
    },
    world::World,
};

/// How long a challenge is good for, in milliseconds.
const LIFE_MS: i64 = 600_000;

fn address(text: &str) -> Option<Address> {
    // As the SDK sends it: in lower case, so there is no checksum to look at.
    text.to_ascii_lowercase().parse().ok()
}

/// `GET /wallet/recovery-challenge`
pub(crate) async fn challenge(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let wallet = find(&query, "wallet_address")
        .ok_or_else(|| ApiError::invalid_query("wallet_address", "Field required"))?;
    let wallet = address(wallet)
        .ok_or_else(|| ApiError::invalid_query("wallet_address", "Input should be an address"))?;
    ok(world.transact(|db, now| {
        agents::by_wallet(db, wallet)?
            .ok_or_else(|| ApiError::not_found("Agent with this wallet"))?;
        let nonce = hex::encode(world.fresh(db, "paegents/recovery")?);
        let nonce = nonce.get(..32).unwrap_or_default();
        let issued_at = rfc3339(now);
        let shown = wallet.to_string().to_ascii_lowercase();
        let message = format!(
            "Paegents credential recovery\n\nWallet: {shown}\nNonce: {nonce}\n\
             Issued at: {issued_at}\n\n\
             Signing this message issues a new API key and revokes the old ones. It moves no money."
        );
        db.prepare_cached(
            "INSERT INTO paegents_challenges (nonce, wallet, message, issued_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![nonce, wallet.to_string(), message, issued_at, now + LIFE_MS])?;
        Ok::<_, ApiError>(json!({ "message": message, "nonce": nonce, "issued_at": issued_at }))
    })?)
}

#[derive(Deserialize)]
struct RecoverBody {
    wallet_address: String,
    nonce: String,
    issued_at: String,
    signature: String,
}

/// A challenge as it was issued.
struct Challenge {
    wallet: String,
    message: String,
    issued_at: String,
    expires_at: i64,
    is_used: bool,
}

/// Uses up the challenge. In a transaction of its own: a wrong signature must not bring it back.
fn take(world: &World, nonce: &str) -> Result<(Challenge, i64), ApiError> {
    let (found, now) = world.transact(|db, now| {
        let found = db
            .prepare_cached(
                "SELECT wallet, message, issued_at, expires_at, is_used FROM paegents_challenges
                 WHERE nonce = ?1",
            )?
            .query_row([nonce], |row| {
                Ok(Challenge {
                    wallet: row.get(0)?,
                    message: row.get(1)?,
                    issued_at: row.get(2)?,
                    expires_at: row.get(3)?,
                    is_used: row.get(4)?,
                })
            })
            .optional()?;
        db.execute("UPDATE paegents_challenges SET is_used = 1 WHERE nonce = ?1", [nonce])?;
        Ok::<_, ApiError>((found, now))
    })?;
    let found = found.ok_or_else(|| ApiError::bad_request("Unknown recovery challenge"))?;
    Ok((found, now))
}

/// `POST /wallet/recover`
pub(crate) async fn recover(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let asked: RecoverBody = read(&body)?;
    let wallet = address(&asked.wallet_address)
        .ok_or_else(|| ApiError::invalid("wallet_address", "Input should be an address"))?;
    let (challenge, now) = take(&world, &asked.nonce)?;
    if challenge.is_used {
        return Err(ApiError::bad_request("The recovery challenge was already used"));
    }
    if challenge.expires_at <= now {
        return Err(ApiError::bad_request("The recovery challenge has expired"));
    }
    if challenge.wallet != wallet.to_string() || challenge.issued_at != asked.issued_at {
        return Err(ApiError::bad_request("The recovery challenge is another one"));
    }
    let signer = asked
        .signature
        .parse::<Signature>()
        .ok()
        .and_then(|signature| signature.recover_address_from_msg(&challenge.message).ok());
    if signer != Some(wallet) {
        return Err(ApiError::unauthorized("Invalid signature"));
    }
    ok(world.transact(|db, _| {
        let agent = agents::by_wallet(db, wallet)?
            .ok_or_else(|| ApiError::not_found("Agent with this wallet"))?;
        let digest = hex::encode(world.fresh(db, "paegents/api-key")?);
        let api_key = format!("sk_{}", digest.get(..40).unwrap_or_default());
        agents::set_key(db, &agent.id, &api_key)?;
        Ok::<_, ApiError>(json!({
            "agent_id": agent.id,
            "api_key": api_key,
            "api_key_id": fresh_id(db, &world, "key")?,
            "key_prefix": api_key.get(..10).unwrap_or_default(),
            "wallet_address": wallet.to_string().to_ascii_lowercase(),
            // An agent has one key at a time.
            "keys_revoked": 1,
            "message": "Credentials recovered. Store the new API key now: it is shown once.",
        }))
    })?)
}
