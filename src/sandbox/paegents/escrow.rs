//! Escrow: activation, settlement, and the evidence of what was used.
//!
//! The contract itself is the chain's. Here is what the platform does about it: it tells the buyer
//! what to sign, relays what was signed, and follows the contract's logs.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
    routing::{get, post},
};
use rusqlite::Connection;
use serde_json::{Value, json};

pub(super) mod actions;
pub(super) mod activation;
pub(super) mod package;
pub(super) mod relays;
pub(super) mod settlement;
pub(super) mod watch;

pub(super) use watch::watch;

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            CHAIN_ID, ESCROW, USDC,
            escrow::deposits::{self, Held},
        },
        ledger::{self, Kind, NewEntry},
        paegents::{
            agents::authenticate,
            agreements::{self, Agreement, Role, Signed},
            answers::{Answer, ApiError, ok, read},
            evidence, gas_address,
        },
        world::World,
    },
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_packages (
    agreement TEXT PRIMARY KEY, number INTEGER UNIQUE, record TEXT NOT NULL);
CREATE TABLE paegents_activations (
    agreement TEXT PRIMARY KEY, record TEXT NOT NULL, error TEXT);
CREATE TABLE paegents_relays (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agreement TEXT NOT NULL,
    number INTEGER NOT NULL, action TEXT NOT NULL, signer TEXT NOT NULL, nonce INTEGER NOT NULL,
    deadline INTEGER NOT NULL, signature TEXT NOT NULL, tx_hash TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL);
CREATE INDEX paegents_relayed ON paegents_relays (number);
CREATE INDEX paegents_relaying ON paegents_relays (status) WHERE status = 'submitted';
";

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    let path = |rest: &str| format!("/usage-agreements/{{id}}/{rest}");
    Router::new()
        .route(&path("activation-package"), get(activation::show_package))
        .route(&path("activate-escrow"), post(activation::activate))
        .route(&path("deposit-params"), get(deposit_params))
        .route(&path("refresh-permit"), post(refresh_permit))
        .route(&path("escrow-status"), get(settlement::status))
        .route(&path("settlement-action-options"), get(settlement::options))
        .route(&path("sponsored-actions/{action}"), post(relays::sponsor))
        .route(&path("claim-instructions"), get(settlement::claim_instructions))
        .route(&path("initiate-close-calldata"), get(settlement::close_calldata))
        .route(&path("call-proofs"), get(evidence::call_proofs))
        .route(&path("cumulative-receipts"), get(evidence::cumulative_receipts))
}

/// Carries out a step: task and subject.
pub(crate) fn carry_out(
    db: &Connection,
    world: &World,
    at: i64,
    (task, subject): (&str, &str),
) -> rusqlite::Result<()> {
    let Some(agreement) = agreements::find(db, subject)? else { return Ok(()) };
    match task {
        activation::ACTIVATE => activation::relay(db, world, at, agreement, false),
        activation::FAIL_ACTIVATION => activation::relay(db, world, at, agreement, true),
        activation::FUND => activation::fund(db, world, at, agreement),
        watch::FINALIZE => watch::finalize(db, world, at, agreement),
        watch::SETTLE => watch::pay_both(db, world, at, &agreement),
        _ => Ok(()),
    }
}

/// The seller accepted a `bilateral_escrow` agreement: it can be activated. The caller saves it.
pub(crate) fn accepted(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &mut Agreement,
) -> rusqlite::Result<()> {
    "ready".clone_into(&mut agreement.activation_status);
    activation::plan_fund(db, world, at, agreement)
}

/// The seller recorded usage of an active `bilateral_escrow` agreement, or completed it. The caller
/// saves it.
pub(crate) fn used(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &mut Agreement,
    is_completed: bool,
) -> rusqlite::Result<()> {
    evidence::receipt(db, world, at, agreement, None)?;
    earned(db, agreement)?;
    if is_completed { watch::close_for_seller(db, world, at, agreement) } else { Ok(()) }
}

/// What the seller earned is what the contract says. The caller saves the agreement.
fn earned(db: &Connection, agreement: &mut Agreement) -> rusqlite::Result<()> {
    let number = agreement.onchain_agreement_id.unwrap_or_default();
    if let Some(held) = deposits::find(db, number)? {
        agreement.aggregate_earned_atomic = held.earned().micros();
    }
    Ok(())
}

/// The deposit of an agreement.
///
/// # Errors
///
/// 409 where it was never funded.
pub(crate) fn held_of(db: &Connection, agreement: &Agreement) -> Result<Held, ApiError> {
    let number = agreement.onchain_agreement_id;
    let held = number.map(|number| deposits::find(db, number)).transpose()?.flatten();
    held.ok_or_else(|| ApiError::conflict("The escrow of this agreement is not funded"))
}

/// The word for a side.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Buyer => "buyer",
        Role::Seller => "seller",
    }
}

/// Adds an entry to the ledger: its kind, its reference, the agreement it belongs to.
pub(crate) fn enter(
    db: &Connection,
    at_ms: i64,
    (kind, reference, parent): (Kind, &str, Option<&str>),
    (from, to): (Address, Address),
    amount: Usdc,
) -> rusqlite::Result<()> {
    let (from, to) = (from.to_string(), to.to_string());
    let entry = NewEntry {
        marketplace: "paegents",
        kind,
        reference,
        parent,
        payer: &from,
        payee: &to,
        amount,
        at_ms,
    };
    ledger::append(db, &entry)
}

/// `GET /usage-agreements/{g}/deposit-params`
async fn deposit_params(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let view = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Buyer)?;
        if !agreement.has_escrow() {
            return Err(ApiError::conflict("A direct_payment agreement has no escrow to fund"));
        }
        let number = number_of(db, &world, now, &agreement)?;
        Ok::<Value, ApiError>(json!({
            "agreement_id": agreement.id,
            "chain_id": CHAIN_ID,
            "usdc_address": USDC.to_string(),
            "escrow_contract_address": ESCROW.to_string(),
            "service_amount_atomic": agreement.service_amount_atomic,
            "onchain_agreement_id": number,
            "infra_fee_amount_atomic": agreement.infra_fee_amount_atomic,
            "per_call_fee_amount_atomic": agreement.per_call_fee_amount_atomic,
            "gas_wallet_address": gas_address(&world).to_string(),
            "buyer_wallet_address": agreement.buyer_wallet.to_string(),
            "pricing_version": agreement.pricing_version,
        }))
    })?;
    ok(view)
}

/// The agreement's number on the chain. One that is to be funded by the signatures of version 1 has
/// it before it is funded, because the buyer signs it.
fn number_of(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: &Agreement,
) -> rusqlite::Result<Option<u64>> {
    let is_open = ["proposed", "accepted"].contains(&agreement.status.as_str());
    let has_permit = agreement.signed.buyer_permit_signature.is_some();
    if agreement.onchain_agreement_id.is_some() || !is_open || !has_permit {
        return Ok(agreement.onchain_agreement_id);
    }
    let mut package = package::of(db, world, now, agreement)?;
    if package.number.is_none() {
        package.number = Some(deposits::reserve(db)?);
        package::save(db, &agreement.id, &package)?;
    }
    Ok(package.number)
}

/// `POST /usage-agreements/{g}/refresh-permit`
async fn refresh_permit(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let mut agreement = agreements::as_role(db, &agent, &id, Role::Buyer)?;
        let fresh: Signed = read(&body)?;
        if !replace(&mut agreement.signed, fresh) {
            let message = "at least one signature update is required";
            return Err(ApiError::invalid("buyer_permit_signature", message));
        }
        let is_waiting = agreement.status == "proposed"
            || agreement.status == "accepted" && agreement.activation_status != "submitting";
        if !is_waiting {
            let detail = format!("Agreement is {}: nothing is to be signed", agreement.status);
            return Err(ApiError::conflict(detail));
        }
        agreement.updated_at = now;
        agreements::save(db, &agreement)?;
        if agreement.status == "accepted" && agreement.has_escrow() {
            activation::plan_fund(db, &world, now, &agreement)?;
        }
        Ok::<_, ApiError>(agreement)
    })?;
    ok(agreement.view())
}

/// Puts what is there in the place of what was there; answers whether there was anything.
fn replace(signed: &mut Signed, fresh: Signed) -> bool {
    let mut count = 0;
    let mut text = |old: &mut Option<String>, new: Option<String>| {
        count += u8::from(new.is_some());
        *old = new.or_else(|| old.take());
    };
    text(&mut signed.buyer_permit_signature, fresh.buyer_permit_signature);
    text(&mut signed.buyer_deposit_auth_signature, fresh.buyer_deposit_auth_signature);
    text(&mut signed.buyer_infra_fee_permit_signature, fresh.buyer_infra_fee_permit_signature);
    let mut number = |old: &mut Option<u64>, new: Option<u64>| {
        count += u8::from(new.is_some());
        *old = new.or(*old);
    };
    number(&mut signed.buyer_permit_deadline, fresh.buyer_permit_deadline);
    number(&mut signed.buyer_deposit_auth_deadline, fresh.buyer_deposit_auth_deadline);
    number(&mut signed.buyer_infra_fee_permit_deadline, fresh.buyer_infra_fee_permit_deadline);
    count > 0
}
