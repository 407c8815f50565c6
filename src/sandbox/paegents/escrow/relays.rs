//! Sponsored actions: a party signs, the platform sends the transaction and pays for the gas.
//!
//! The same request again has the same answer, whatever has become of it meanwhile; after a failed
//! transaction it is sent anew, because the nonce was not used.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes};
use axum::{
    Extension, body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    chain::{
        CHAIN_ID, ESCROW,
        escrow::deposits::{self, Held},
        sender::{self, Sending},
        signed, unsigned,
    },
    faults::{Altered, Fails},
    paegents::{
        agents::authenticate,
        agreements::{self, Agreement, Role},
        answers::{Answer, ApiError, ok, read},
        escrow::{
            actions::{Action, Intent},
            held_of, role_word,
        },
        gas_wallet,
        steps::step_ms,
    },
    world::World,
};

/// How far ahead a deadline may lie, in seconds.
pub(crate) const DEADLINE_WINDOW_S: u64 = 3_600;
/// How long a relayed transaction takes at real pace, in milliseconds.
pub(crate) const RELAY_MS: i64 = 10_000;

#[derive(Debug, Deserialize)]
struct Body {
    signer_wallet_address: Address,
    nonce: u64,
    deadline: u64,
    signature: Bytes,
}

/// A transaction that was sent for a party.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    id: String,
    /// The agreement's identifier.
    pub(crate) agreement: String,
    /// The word of its action.
    pub(crate) action: String,
    signer: String,
    nonce: u64,
    deadline: u64,
    signature: String,
    /// Its hash.
    pub(crate) tx_hash: String,
    /// `submitted`, `confirmed` or `failed`.
    pub(crate) status: String,
}

const COLUMNS: &str = "id, agreement, action, signer, nonce, deadline, signature, tx_hash, status";

fn row(row: &Row<'_>) -> rusqlite::Result<Relay> {
    Ok(Relay {
        id: row.get(0)?,
        agreement: row.get(1)?,
        action: row.get(2)?,
        signer: row.get(3)?,
        nonce: unsigned(row.get(4)?),
        deadline: unsigned(row.get(5)?),
        signature: row.get(6)?,
        tx_hash: row.get(7)?,
        status: row.get(8)?,
    })
}

/// The relays that are under way.
pub(crate) fn under_way(db: &Connection) -> rusqlite::Result<Vec<Relay>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_relays WHERE status = 'submitted' ORDER BY seq"
    ))?
    .query_map([], row)?
    .collect()
}

/// Writes what became of a relay.
pub(crate) fn conclude(db: &Connection, relay: &Relay, status: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE paegents_relays SET status = ?2 WHERE tx_hash = ?1")?
        .execute([&relay.tx_hash, status])?;
    Ok(())
}

/// The nonce that a signer's next intent has to have: what is under way counts.
pub(crate) fn next_nonce(db: &Connection, held: &Held, signer: Address) -> rusqlite::Result<u64> {
    let waiting: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM paegents_relays
             WHERE number = ?1 AND signer = ?2 AND status = 'submitted'",
        )?
        .query_row(params![signed(held.id), signer.to_string()], |row| row.get(0))?;
    Ok(deposits::nonce(db, held.id, signer)?.saturating_add(unsigned(waiting)))
}

/// The relay that the same request began, unless it failed.
fn same(db: &Connection, intent: &Intent<'_>) -> rusqlite::Result<Option<Relay>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_relays
         WHERE number = ?1 AND action = ?2 AND signer = ?3 AND nonce = ?4 AND deadline = ?5
             AND signature = ?6 AND status <> 'failed'"
    ))?
    .query_row(
        params![
            signed(intent.number),
            intent.action.as_str(),
            intent.signer.to_string(),
            signed(intent.nonce),
            signed(intent.deadline),
            intent.signature.to_string(),
        ],
        row,
    )
    .optional()
}

/// `POST /usage-agreements/{g}/sponsored-actions/{action}`
pub(crate) async fn sponsor(
    State(world): State<Arc<World>>,
    Path((id, action)): Path<(String, String)>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: body::Bytes,
) -> Answer {
    let is_doomed = fails.is_some();
    let (view, is_new) = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let (agreement, role) = agreements::as_party(db, &agent, &id)?;
        let action = Action::in_path(&action).ok_or_else(|| ApiError::not_found("Action"))?;
        let body: Body = read(&body)?;
        let held = held_of(db, &agreement)?;
        let own = if role == Role::Buyer { held.buyer } else { held.seller };
        if body.signer_wallet_address != own {
            return Err(ApiError::forbidden("signer_wallet_address is not your wallet"));
        }
        let intent = Intent {
            action,
            number: held.id,
            signer: own,
            nonce: body.nonce,
            deadline: body.deadline,
            signature: &body.signature,
        };
        let before = same(db, &intent)?;
        let is_new = before.is_none();
        let relay = match before {
            Some(relay) => relay,
            None => send(db, &world, now, (&agreement, &held, role), &intent, is_doomed)?,
        };
        let now_s = unsigned(now / 1_000);
        let claimable = action.amount(&held, now_s);
        let view = json!({
            "agreement_id": agreement.id,
            "onchain_agreement_id": held.id,
            "action": action.as_str(),
            "relay_status": relay.status,
            "relay_audit_id": relay.id,
            "signer_wallet_address": relay.signer,
            "signer_role": role_word(role),
            "nonce": relay.nonce,
            "deadline": relay.deadline,
            "tx_hash": relay.tx_hash,
            "chain_id": CHAIN_ID,
            "settlement_status": agreement.settlement_status,
            "claimable_atomic": claimable.micros(),
            "sponsored": true,
        });
        Ok::<(Value, bool), ApiError>((view, is_new))
    })?;
    let mut response = ok(view)?;
    if is_doomed && is_new {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// Checks an intent and sends it.
fn send(
    db: &Connection,
    world: &World,
    now: i64,
    (agreement, held, role): (&Agreement, &Held, Role),
    intent: &Intent<'_>,
    is_doomed: bool,
) -> Result<Relay, ApiError> {
    let now_s = unsigned(now / 1_000);
    let expected = next_nonce(db, held, intent.signer)?;
    if intent.nonce < expected {
        return Err(ApiError::conflict(format!("Nonce {} was already used", intent.nonce)));
    }
    if intent.nonce > expected {
        return Err(ApiError::conflict(format!("Invalid nonce: expected {expected}")));
    }
    if intent.deadline <= now_s {
        return Err(ApiError::bad_request("The deadline has passed"));
    }
    if intent.deadline > now_s.saturating_add(DEADLINE_WINDOW_S) {
        let detail = format!("The deadline is more than {DEADLINE_WINDOW_S} seconds ahead");
        return Err(ApiError::bad_request(detail));
    }
    if !intent.is_signed() {
        return Err(ApiError::bad_request("Invalid signature"));
    }
    if let Some(obstacle) = intent.action.obstacle(held, role, now_s) {
        let detail = format!("{} is not available: {obstacle}", intent.action.as_str());
        return Err(ApiError::conflict(detail));
    }
    let from = gas_wallet(world);
    if !sender::has_gas(db, from.address)? {
        let detail = "Sponsored relay is not available: gas_wallet_empty";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let sending = Sending { from: &from, to: ESCROW, input: intent.call(), is_doomed };
    let tx_hash = sender::queue(db, now + step_ms(world, RELAY_MS), &sending)?;
    let relay = Relay {
        id: format!("relay_{}", world.fresh_uuid(db, "paegents/relay")?),
        agreement: agreement.id.clone(),
        action: intent.action.as_str().to_owned(),
        signer: intent.signer.to_string(),
        nonce: intent.nonce,
        deadline: intent.deadline,
        signature: intent.signature.to_string(),
        tx_hash,
        status: "submitted".to_owned(),
    };
    insert(db, held.id, &relay)?;
    Ok(relay)
}

fn insert(db: &Connection, number: u64, relay: &Relay) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_relays
             (id, agreement, action, signer, nonce, deadline, signature, tx_hash, status, number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        relay.id,
        relay.agreement,
        relay.action,
        relay.signer,
        signed(relay.nonce),
        signed(relay.deadline),
        relay.signature,
        relay.tx_hash,
        relay.status,
        signed(number),
    ])?;
    Ok(())
}
