//! Evidence of what was used: a chain of proofs, one for each call, and receipts that add up.
//!
//! The pages name the members and not how they are made, so the formulas are the sandbox's own:
//! `request_hash` = keccak256(method ‖ " " ‖ path ‖ "\n" ‖ body), `response_hash` =
//! keccak256(body), `chain_hash` = keccak256(the `chain_hash` before, or 32 zero bytes ‖
//! `request_hash` ‖ `response_hash`), signed as an EIP-191 message of 32 bytes. A receipt is a
//! `UsageReceipt` (EIP-712, domain `MeteringEscrowV2`); its nonce counts from 1. The receipt signer
//! of the activation package signs both.

use std::sync::Arc;

use alloy_primitives::{B256, U256, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolStruct;
use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::sandbox::{
    chain::{
        escrow::{calls::UsageReceipt, deposits, domain_v2},
        signed, unsigned,
    },
    clock::rfc3339,
    keys::Wallet,
    paegents::{
        agents::authenticate,
        agreements::{self, Agreement},
        answers::{Answer, ApiError, find, number, ok},
    },
    world::World,
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_proofs (
    agreement TEXT NOT NULL, call_index INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    request_hash TEXT NOT NULL, response_hash TEXT NOT NULL, chain_hash TEXT NOT NULL,
    signature TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (agreement, call_index));
CREATE TABLE paegents_usage_receipts (
    agreement TEXT NOT NULL, nonce INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    units INTEGER NOT NULL, price INTEGER NOT NULL, signature TEXT NOT NULL,
    signer TEXT NOT NULL, proof_hash TEXT, created_at INTEGER NOT NULL,
    PRIMARY KEY (agreement, nonce));
";

/// The most items of a page.
const LIMIT_MAX: i64 = 200;

/// The wallet that signs proofs and receipts.
pub(crate) fn signer(world: &World) -> Wallet {
    world.seed.wallet("paegents/receipt-signer")
}

/// The digest of a request.
pub(crate) fn request_hash(method: &str, path: &str, body: &[u8]) -> B256 {
    keccak256([method.as_bytes(), b" ", path.as_bytes(), b"\n", body].concat())
}

/// The digest of an answer's body.
pub(crate) fn response_hash(body: &[u8]) -> B256 {
    keccak256(body)
}

fn key(world: &World) -> rusqlite::Result<PrivateKeySigner> {
    let refused = || rusqlite::Error::ToSqlConversionFailure("no key".into());
    signer(world).private_key.parse().map_err(|_| refused())
}

fn unsigned_text(_: alloy_signer::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure("no signature".into())
}

/// Appends the proof of a call and the receipt after it; `units_used` counts the call already.
pub(crate) fn append(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: &Agreement,
    (request_hash, response_hash): (B256, B256),
) -> rusqlite::Result<()> {
    let last: Option<(i64, String)> = db
        .prepare_cached(
            "SELECT call_index, chain_hash FROM paegents_proofs WHERE agreement = ?1
             ORDER BY call_index DESC LIMIT 1",
        )?
        .query_row([&agreement.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (index, before) = last.unwrap_or_default();
    let before: B256 = before.parse().unwrap_or_default();
    let chain_hash =
        keccak256([before.as_slice(), request_hash.as_slice(), response_hash.as_slice()].concat());
    let signature = key(world)?.sign_message_sync(chain_hash.as_slice()).map_err(unsigned_text)?;
    db.prepare_cached(
        "INSERT INTO paegents_proofs
             (agreement, call_index, id, request_hash, response_hash, chain_hash, signature,
              created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        agreement.id,
        index + 1,
        format!("proof_{}", world.fresh_uuid(db, "paegents/proof")?),
        request_hash.to_string(),
        response_hash.to_string(),
        chain_hash.to_string(),
        signature.to_string(),
        now,
    ])?;
    receipt(db, world, now, agreement, Some(chain_hash))
}

/// Appends a receipt of all units so far, and lets the contract know; nothing before the escrow is
/// funded.
pub(crate) fn receipt(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: &Agreement,
    proof_hash: Option<B256>,
) -> rusqlite::Result<()> {
    let held = match agreement.onchain_agreement_id {
        Some(number) => deposits::find(db, number)?,
        None => None,
    };
    let Some(held) = held else { return Ok(()) };
    let units = agreement.units_used.min(held.quantity);
    let nonce = count(db, &agreement.id)? + 1;
    let terms = UsageReceipt {
        agreementKey: held.key,
        cumulativeUnits: U256::from(units),
        pricePerUnit: U256::from(held.price.micros()),
        nonce: U256::from(unsigned(nonce)),
    };
    let digest = terms.eip712_signing_hash(&domain_v2());
    let signature = key(world)?.sign_hash_sync(&digest).map_err(unsigned_text)?;
    db.prepare_cached(
        "INSERT INTO paegents_usage_receipts
             (agreement, nonce, id, units, price, signature, signer, proof_hash, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        agreement.id,
        nonce,
        format!("receipt_{}", world.fresh_uuid(db, "paegents/receipt")?),
        signed(units),
        signed(held.price.micros()),
        signature.to_string(),
        signer(world).address.to_string(),
        proof_hash.map(|hash| hash.to_string()),
        now,
    ])?;
    deposits::count(db, held.key, units)
}

fn count(db: &Connection, agreement: &str) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM paegents_usage_receipts WHERE agreement = ?1")?
        .query_row([agreement], |row| row.get(0))
}

/// Whether anything was used.
pub(crate) fn has_receipts(db: &Connection, agreement: &str) -> rusqlite::Result<bool> {
    Ok(count(db, agreement)? > 0)
}

/// `GET /usage-agreements/{g}/call-proofs`
pub(crate) async fn call_proofs(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    list(&world, &headers, (&id, &query), ("paegents_proofs", "call_index"), |row| {
        Ok(json!({
            "proof_id": row.get::<_, String>("id")?,
            "agreement_id": row.get::<_, String>("agreement")?,
            "call_index": row.get::<_, i64>("call_index")?,
            "request_hash": row.get::<_, String>("request_hash")?,
            "response_hash": row.get::<_, String>("response_hash")?,
            "chain_hash": row.get::<_, String>("chain_hash")?,
            "signature": row.get::<_, String>("signature")?,
            "created_at": rfc3339(row.get("created_at")?),
        }))
    })
}

/// `GET /usage-agreements/{g}/cumulative-receipts`
pub(crate) async fn cumulative_receipts(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    list(&world, &headers, (&id, &query), ("paegents_usage_receipts", "nonce"), |row| {
        Ok(json!({
            "receipt_id": row.get::<_, String>("id")?,
            "agreement_id": row.get::<_, String>("agreement")?,
            "cumulative_units": row.get::<_, i64>("units")?,
            "price_per_unit_atomic": row.get::<_, i64>("price")?,
            "nonce": row.get::<_, i64>("nonce")?,
            "signature": row.get::<_, String>("signature")?,
            "signer": row.get::<_, String>("signer")?,
            "proof_hash": row.get::<_, Option<String>>("proof_hash")?,
            "created_at": rfc3339(row.get("created_at")?),
        }))
    })
}

/// A page of a table, by its column that counts; the cursor is the count of the last item.
fn list(
    world: &World,
    headers: &HeaderMap,
    (id, query): (&str, &[(String, String)]),
    (table, column): (&str, &str),
    view: impl Fn(&Row<'_>) -> rusqlite::Result<Value>,
) -> Answer {
    let limit = number(query, "limit", 50, (1, LIMIT_MAX))?;
    let is_ascending = match find(query, "direction") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => {
            return Err(ApiError::invalid_query("direction", "Input should be 'asc' or 'desc'"));
        }
    };
    let after = number(query, "cursor", if is_ascending { 0 } else { i64::MAX }, (0, i64::MAX))?;
    let (sign, order) = if is_ascending { (">", "ASC") } else { ("<", "DESC") };
    let sql = format!(
        "SELECT * FROM {table} WHERE agreement = ?1 AND {column} {sign} ?2
         ORDER BY {column} {order} LIMIT ?3"
    );
    let found: Vec<(i64, Value)> = world.transact(|db, _| {
        let agent = authenticate(db, headers)?;
        agreements::as_party(db, &agent, id)?;
        let mut statement = db.prepare_cached(&sql)?;
        // One more than asked for shows whether there are more.
        let rows = statement
            .query_map(params![id, after, limit + 1], |row| Ok((row.get(column)?, view(row)?)))?;
        Ok::<_, ApiError>(rows.collect::<rusqlite::Result<_>>()?)
    })?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > limit;
    let page: Vec<_> = found.into_iter().take(limit).collect();
    let cursor = page.last().filter(|_| has_more).map(|(count, _)| count.to_string());
    let items: Vec<Value> = page.into_iter().map(|(_, item)| item).collect();
    ok(json!({ "items": items, "cursor": cursor, "has_more": has_more }))
}
