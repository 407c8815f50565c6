//! Activation: the buyer hands in what it signed, the platform relays it, the escrow is funded.
//!
//! The answer comes before anything was done. Everything is checked when the relayer's turn comes;
//! the deposit and the fee are taken together, or neither is. The same request again is the same
//! activation; after a failure it is another attempt.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use axum::{
    Extension, Json, body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::sandbox::{
    chain::{
        self, ESCROW,
        escrow::calls::{AgreementTerms, BuyerActivationIntent, MeteringEscrow as Contract},
        escrow::deposits,
        sender::{self, Sending, Sent},
    },
    faults::{Altered, Fails, RaisePrice},
    ledger::Kind,
    paegents::{
        agents::authenticate,
        agreements::{self, Agreement, Role},
        answers::{Answer, ApiError, ok, read},
        direct,
        escrow::{
            enter,
            package::{self, Package, WINDOW_S},
        },
        gas_wallet,
        hooks::{self, NewEvent},
        proposals,
        steps::{self, Part, step_ms},
    },
    world::World,
};

/// The step that relays an activation.
pub(crate) const ACTIVATE: &str = "activate";
/// The step that relays an activation which is to fail.
pub(crate) const FAIL_ACTIVATION: &str = "fail_activation";
/// The step that funds an agreement by the signatures of version 1.
pub(crate) const FUND: &str = "fund";
/// How long the relayer takes at real pace, in milliseconds.
const ACTIVATION_MS: i64 = 20_000;

/// What the buyer says it signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Intent {
    agreement_key: B256,
    platform_agreement_id_hash: B256,
    buyer: Address,
    seller: Address,
    token: Address,
    quantity: u64,
    price_per_unit: u64,
    deposit_amount: u64,
    challenge_window_seconds: u64,
    service_hash: B256,
    terms_hash: B256,
    expiry: u64,
    nonce: u64,
    salt: B256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    PriorAllowance,
    Erc2612Permit,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Funding {
    mode: Mode,
    amount: u64,
    deadline: Option<u64>,
    permit_data: Option<Bytes>,
}

/// The request.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Activation {
    buyer_intent: Intent,
    buyer_signature: Bytes,
    funding_authorization: Funding,
    buyer_infra_fee_permit_signature: Option<Bytes>,
    buyer_infra_fee_permit_deadline: Option<u64>,
}

impl Activation {
    /// Refuses what cannot be an activation, whatever the agreement.
    fn check(&self) -> Result<(), ApiError> {
        let is_signature = |bytes: &Bytes| bytes.len() == 65;
        let wrong = |field| Err(ApiError::invalid(field, "must be a signature of 65 bytes"));
        if !is_signature(&self.buyer_signature) {
            return wrong("buyer_signature");
        }
        let permit = self.funding_authorization.permit_data.as_ref();
        match self.funding_authorization.mode {
            Mode::Erc2612Permit if !permit.is_some_and(is_signature) => {
                return wrong("permit_data");
            }
            Mode::Erc2612Permit if self.funding_authorization.deadline.is_none() => {
                return Err(ApiError::invalid("deadline", "Field required"));
            }
            Mode::PriorAllowance if permit.is_some() => {
                let message = "must be null with prior_allowance";
                return Err(ApiError::invalid("permit_data", message));
            }
            Mode::Erc2612Permit | Mode::PriorAllowance => {}
        }
        match (&self.buyer_infra_fee_permit_signature, self.buyer_infra_fee_permit_deadline) {
            (None, None) => Ok(()),
            (Some(signature), Some(_)) if is_signature(signature) => Ok(()),
            (Some(_), None) => {
                Err(ApiError::invalid("buyer_infra_fee_permit_deadline", "Field required"))
            }
            _ => wrong("buyer_infra_fee_permit_signature"),
        }
    }

    /// The intent as the contract reads it.
    fn terms(&self) -> BuyerActivationIntent {
        let intent = &self.buyer_intent;
        BuyerActivationIntent {
            agreementKey: intent.agreement_key,
            platformAgreementIdHash: intent.platform_agreement_id_hash,
            buyer: intent.buyer,
            seller: intent.seller,
            token: intent.token,
            quantity: U256::from(intent.quantity),
            pricePerUnit: U256::from(intent.price_per_unit),
            depositAmount: U256::from(intent.deposit_amount),
            challengeWindowSeconds: U256::from(intent.challenge_window_seconds),
            serviceHash: intent.service_hash,
            termsHash: intent.terms_hash,
            expiry: U256::from(intent.expiry),
            nonce: U256::from(intent.nonce),
            salt: intent.salt,
        }
    }
}

/// `GET /usage-agreements/{g}/activation-package`
pub(crate) async fn show_package(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    raise: Option<Extension<RaisePrice>>,
    headers: HeaderMap,
) -> Answer {
    let is_raised = raise.is_some();
    let view = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let mut agreement = activatable(agreements::as_role(db, &agent, &id, Role::Buyer)?)?;
        let mut package = package::of(db, &world, now, &agreement)?;
        if let Some(Extension(raise)) = raise {
            package.raise(raise);
            package::save(db, &agreement.id, &package)?;
        }
        price(&mut agreement, &package);
        agreements::save(db, &agreement)?;
        Ok::<_, ApiError>(package.view(db, &world, &agreement)?)
    })?;
    let mut response = ok(view)?;
    if is_raised {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// What the package asks becomes what the agreement shows.
fn price(agreement: &mut Agreement, package: &Package) {
    agreement.price_per_unit_atomic = package.price;
    agreement.service_amount_atomic = package.deposit;
    agreement.infra_fee_amount_atomic = package.fee;
}

/// The agreement, if it waits for its activation.
fn activatable(agreement: Agreement) -> Result<Agreement, ApiError> {
    if !agreement.has_escrow() {
        return Err(ApiError::conflict("A direct_payment agreement has no escrow to activate"));
    }
    if agreement.status != "accepted" {
        let detail = format!("Agreement is {}, not accepted", agreement.status);
        return Err(ApiError::conflict(detail));
    }
    Ok(agreement)
}

/// `POST /usage-agreements/{g}/activate-escrow`
pub(crate) async fn activate(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: body::Bytes,
) -> Answer {
    let is_doomed = fails.is_some();
    let (agreement, is_new) = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let agreement = agreements::as_role(db, &agent, &id, Role::Buyer)?;
        let activation: Activation = read(&body)?;
        activation.check()?;
        let record = json!(activation).to_string();
        submit(db, &world, now, (agreement, &record), is_doomed)
    })?;
    let mut response = (StatusCode::ACCEPTED, Json(agreement.view())).into_response();
    if is_doomed && is_new {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// Takes an activation on; answers the agreement, and whether the relayer has something to do.
fn submit(
    db: &Connection,
    world: &World,
    now: i64,
    (mut agreement, record): (Agreement, &str),
    is_doomed: bool,
) -> Result<(Agreement, bool), ApiError> {
    let before: Option<String> = db
        .prepare_cached("SELECT record FROM paegents_activations WHERE agreement = ?1")?
        .query_row([&agreement.id], |row| row.get(0))
        .optional()?;
    let is_same = before.as_deref() == Some(record);
    match agreement.activation_status.as_str() {
        "submitting" | "confirmed" if is_same => return Ok((agreement, false)),
        "submitting" => return Err(ApiError::conflict("Activation is already in progress")),
        "confirmed" => return Err(ApiError::conflict("Escrow is already active")),
        _ => {}
    }
    agreement = activatable(agreement)?;
    db.prepare_cached(
        "INSERT INTO paegents_activations (agreement, record) VALUES (?1, ?2)
         ON CONFLICT (agreement) DO UPDATE SET record = excluded.record, error = NULL",
    )?
    .execute([&agreement.id, record])?;
    "submitting".clone_into(&mut agreement.activation_status);
    "pending".clone_into(&mut agreement.escrow_status);
    agreement.updated_at = now;
    agreements::save(db, &agreement)?;
    let task = if is_doomed { FAIL_ACTIVATION } else { ACTIVATE };
    let at = now + step_ms(world, ACTIVATION_MS);
    steps::plan(db, at, Part::Escrow, (task, &agreement.id))?;
    Ok((agreement, true))
}

/// Hands an activation in for a built-in buyer, as the API would take it.
pub(crate) fn submit_for(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: Agreement,
    body: &[u8],
) -> Result<Agreement, ApiError> {
    let activation: Activation = read(body)?;
    activation.check()?;
    let record = json!(activation).to_string();
    submit(db, world, now, (agreement, &record), false).map(|(agreement, _)| agreement)
}

/// Why the last activation failed.
pub(crate) fn last_error(db: &Connection, agreement: &str) -> rusqlite::Result<Option<String>> {
    let error: Option<Option<String>> = db
        .prepare_cached("SELECT error FROM paegents_activations WHERE agreement = ?1")?
        .query_row([agreement], |row| row.get(0))
        .optional()?;
    Ok(error.flatten())
}

/// Why an activation fails.
enum Failed {
    /// In words.
    Because(String),
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

fn because<T>(reason: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Because(reason.into()))
}

/// The relayer's turn: the escrow is funded and the fee collected, or nothing happens.
pub(crate) fn relay(
    db: &Connection,
    world: &World,
    at: i64,
    mut agreement: Agreement,
    is_doomed: bool,
) -> rusqlite::Result<()> {
    if agreement.status != "accepted" || agreement.activation_status != "submitting" {
        return Ok(());
    }
    let record: Option<String> = db
        .prepare_cached("SELECT record FROM paegents_activations WHERE agreement = ?1")?
        .query_row([&agreement.id], |row| row.get(0))
        .optional()?;
    let known = record.and_then(|record| serde_json::from_str::<Activation>(&record).ok());
    let Some(activation) = known else { return Ok(()) };
    let package = package::of(db, world, at, &agreement)?;
    let relay = Relay { db, world, at };
    let outcome = relay.whole(&mut agreement, |relay, agreement| {
        if is_doomed {
            return because("the relayer's transaction failed");
        }
        relay.check(&activation, &package)?;
        let signature = activation.buyer_infra_fee_permit_signature.as_ref();
        agreement.signed.buyer_infra_fee_permit_signature = signature.map(Bytes::to_string);
        agreement.signed.buyer_infra_fee_permit_deadline =
            activation.buyer_infra_fee_permit_deadline;
        let funding = &activation.funding_authorization;
        let call = Contract::createAndFundBuyerAuthorizedCall {
            intent: activation.terms(),
            signature: activation.buyer_signature.clone(),
            permitDeadline: U256::from(funding.deadline.unwrap_or_default()),
            permitSignature: funding.permit_data.clone().unwrap_or_default(),
        };
        relay.fund(agreement, &package, call.abi_encode())
    });
    match outcome {
        Ok(()) => relay.activated(agreement),
        Err(Failed::Store(error)) => Err(error),
        Err(Failed::Because(reason)) => relay.failed(agreement, &reason),
    }
}

/// The way of version 1: the signatures that stand in the agreement fund it, where they are valid.
///
/// Where they are not, nothing happens, and the agreement waits for an activation of version 2.
pub(crate) fn fund(
    db: &Connection,
    world: &World,
    at: i64,
    mut agreement: Agreement,
) -> rusqlite::Result<()> {
    if agreement.status != "accepted" || agreement.activation_status != "ready" {
        return Ok(());
    }
    let package = package::of(db, world, at, &agreement)?;
    let relay = Relay { db, world, at };
    price(&mut agreement, &package);
    let outcome = relay.whole(&mut agreement, |relay, agreement| {
        relay.can_pay(&package)?;
        let bytes = |text: &Option<String>| -> Bytes {
            text.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let signed = &agreement.signed;
        let call = Contract::depositForCall {
            agreementId: U256::from(package.number.unwrap_or_default()),
            terms: AgreementTerms {
                agreementKey: package.key,
                buyer: package.buyer,
                seller: package.seller,
                quantity: U256::from(package.quantity),
                pricePerUnit: U256::from(package.price),
                challengeWindowSeconds: U256::from(WINDOW_S),
            },
            deadline: U256::from(signed.buyer_deposit_auth_deadline.unwrap_or_default()),
            signature: bytes(&signed.buyer_deposit_auth_signature),
            permitDeadline: U256::from(signed.buyer_permit_deadline.unwrap_or_default()),
            permitSignature: bytes(&signed.buyer_permit_signature),
        };
        relay.fund(agreement, &package, call.abi_encode())
    });
    match outcome {
        Ok(()) => relay.activated(agreement),
        Err(Failed::Store(error)) => Err(error),
        Err(Failed::Because(reason)) => relay.tell_failed(&agreement, &reason),
    }
}

/// Plans to fund an accepted agreement by signatures of version 1, where it has them.
pub(crate) fn plan_fund(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    let signed = &agreement.signed;
    if signed.buyer_permit_signature.is_none() || signed.buyer_deposit_auth_signature.is_none() {
        return Ok(());
    }
    let at = at + step_ms(world, ACTIVATION_MS);
    steps::plan(db, at, Part::Escrow, (FUND, &agreement.id))
}

/// The relayer at work.
struct Relay<'a> {
    db: &'a Connection,
    world: &'a World,
    at: i64,
}

impl Relay<'_> {
    /// Does all of the work or nothing; where it fails, the agreement is as it was.
    fn whole(
        &self,
        agreement: &mut Agreement,
        work: impl FnOnce(&Self, &mut Agreement) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let before = agreement.clone();
        self.db.execute_batch("SAVEPOINT activation")?;
        let outcome = work(self, agreement);
        if outcome.is_ok() {
            self.db.execute_batch("RELEASE activation")?;
        } else {
            *agreement = before;
            self.db.execute_batch("ROLLBACK TO activation; RELEASE activation")?;
        }
        outcome
    }

    /// What was handed in must be what was asked for.
    fn check(&self, activation: &Activation, package: &Package) -> Result<(), Failed> {
        let (given, asked) = (activation.terms(), package.intent(self.db)?);
        #[rustfmt::skip]
        let rows = [
            ("agreement_key", given.agreementKey == asked.agreementKey),
            ("platform_agreement_id_hash",
                given.platformAgreementIdHash == asked.platformAgreementIdHash),
            ("buyer", given.buyer == asked.buyer),
            ("seller", given.seller == asked.seller),
            ("token", given.token == asked.token),
            ("quantity", given.quantity == asked.quantity),
            ("price_per_unit", given.pricePerUnit == asked.pricePerUnit),
            ("deposit_amount", given.depositAmount == asked.depositAmount),
            ("challenge_window_seconds",
                given.challengeWindowSeconds == asked.challengeWindowSeconds),
            ("service_hash", given.serviceHash == asked.serviceHash),
            ("terms_hash", given.termsHash == asked.termsHash),
            ("expiry", given.expiry == asked.expiry),
            ("nonce", given.nonce == asked.nonce),
            ("salt", given.salt == asked.salt),
        ];
        if let Some((field, _)) = rows.into_iter().find(|(_, is_same)| !is_same) {
            return because(format!("buyer_intent.{field} is not the package's"));
        }
        if activation.funding_authorization.amount != package.deposit {
            return because("funding_authorization.amount is not the deposit");
        }
        let has_permit = activation.buyer_infra_fee_permit_signature.is_some();
        if package.fee > 0 && !has_permit {
            return because("the permit for the platform's fee is missing");
        }
        self.can_pay(package)
    }

    /// There must be enough USDC, and gas to relay it.
    fn can_pay(&self, package: &Package) -> Result<(), Failed> {
        let needed = package.deposit.saturating_add(package.fee);
        if chain::account(self.db, package.buyer)?.usdc < needed {
            return because("the buyer's USDC does not suffice for the deposit and the fee");
        }
        if !sender::has_gas(self.db, gas_wallet(self.world).address)? {
            return because("the gas wallet is empty");
        }
        Ok(())
    }

    /// Funds the escrow by a call of the contract, and collects the fee.
    fn fund(
        &self,
        agreement: &mut Agreement,
        package: &Package,
        input: Vec<u8>,
    ) -> Result<(), Failed> {
        let from = gas_wallet(self.world);
        let sending = Sending { from: &from, to: ESCROW, input, is_doomed: false };
        let Sent { hash, reverted, .. } = sender::send(self.db, self.at, &sending)?;
        if let Some(reason) = reverted {
            return because(reason);
        }
        let Some(held) = deposits::by_key(self.db, package.key)? else {
            return because("the deposit did not arrive");
        };
        let number = Package { number: Some(held.id), ..package.clone() };
        package::save(self.db, &agreement.id, &number)?;
        agreement.activation_tx_hash = Some(hash);
        agreement.onchain_agreement_id = Some(held.id);
        agreement.onchain_agreement_key = Some(held.key.to_string());
        let sides = (held.buyer, ESCROW);
        enter(self.db, self.at, (Kind::Deposit, &agreement.id, None), sides, held.deposit)?;
        if package.fee > 0 {
            let collected = direct::collect_fee(self.db, self.world, self.at, agreement)?;
            if let Err(error) = collected {
                return because(error.message());
            }
        }
        Ok(())
    }

    fn activated(&self, mut agreement: Agreement) -> rusqlite::Result<()> {
        "active".clone_into(&mut agreement.status);
        "confirmed".clone_into(&mut agreement.activation_status);
        "funded".clone_into(&mut agreement.escrow_status);
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)?;
        if agreement.infra_fee_status == "paid" {
            agreements::tell(self.db, self.world, self.at, "escrow.fee_collected", &agreement)?;
        }
        agreements::tell(self.db, self.world, self.at, "agreement.active", &agreement)
    }

    fn failed(&self, mut agreement: Agreement, reason: &str) -> rusqlite::Result<()> {
        "failed".clone_into(&mut agreement.activation_status);
        "none".clone_into(&mut agreement.escrow_status);
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)?;
        self.db
            .prepare_cached("UPDATE paegents_activations SET error = ?2 WHERE agreement = ?1")?
            .execute(params![agreement.id, reason])?;
        // While it was under way it could not lapse.
        let lapse = (proposals::LAPSE, agreement.id.as_str());
        steps::plan(self.db, self.at.max(agreement.expires_at), Part::Agreements, lapse)?;
        self.tell_failed(&agreement, reason)
    }

    fn tell_failed(&self, agreement: &Agreement, reason: &str) -> rusqlite::Result<()> {
        let is_fee = reason.starts_with("Platform fee");
        let payload = json!({
            "agreement_id": agreement.id,
            "stage": "activation",
            "activation_status": agreement.activation_status,
            "reason": reason,
        });
        let event = NewEvent {
            kind: if is_fee { "escrow.fee_failed" } else { "payment.failed" },
            agent: &agreement.buyer,
            agreement: &agreement.id,
            payload,
        };
        hooks::emit(self.db, self.world, self.at, &event)
    }
}
