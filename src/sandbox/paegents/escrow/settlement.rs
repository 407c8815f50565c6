//! What the parties are told about settlement: where it stands, what they can do, how.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::sandbox::{
    chain::{
        self, CHAIN_ID, ESCROW,
        escrow::deposits::{self, Held, Phase},
        sender, unsigned,
    },
    clock::rfc3339,
    paegents::{
        agents::authenticate,
        agreements::{self, Agreement, Role},
        answers::{Answer, ApiError, find, ok},
        escrow::{
            actions::Action,
            activation, held_of,
            relays::{self, DEADLINE_WINDOW_S},
            role_word,
        },
        gas_address,
    },
    world::World,
};

/// How far ahead the deadline lies that is suggested, in seconds.
const SUGGESTED_S: u64 = 600;

/// `GET /usage-agreements/{g}/escrow-status`
pub(crate) async fn status(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let view = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let (agreement, _) = agreements::as_party(db, &agent, &id)?;
        let number = agreement.onchain_agreement_id;
        let held = number.map(|number| deposits::find(db, number)).transpose()?.flatten();
        let error = activation::last_error(db, &agreement.id)?;
        Ok::<_, ApiError>(status_view(&agreement, held.as_ref(), error.as_deref(), now))
    })?;
    ok(view)
}

fn status_view(agreement: &Agreement, held: Option<&Held>, error: Option<&str>, now: i64) -> Value {
    let now_s = unsigned(now / 1_000);
    let onchain = held.map(|held| {
        json!({
            "agreement_key": held.key,
            "state": phase_word(held.phase(now_s)),
            "buyer": held.buyer.to_string(),
            "seller": held.seller.to_string(),
            "deposit_amount_atomic": held.deposit.micros(),
            "price_per_unit_atomic": held.price.micros(),
            "quantity": held.quantity,
            "cumulative_units": held.units,
            "balance_atomic": held.left().micros(),
        })
    });
    json!({
        "agreement_id": agreement.id,
        "escrow_status": agreement.escrow_status,
        "settlement_model": agreement.settlement_model,
        "status": agreement.status,
        "settlement_status": agreement.settlement_status,
        "activation_status": agreement.activation_status,
        "activation_tx_hash": agreement.activation_tx_hash,
        "activation_error": error,
        // The SDK has it as text here and in agreements, and as a number everywhere else.
        "onchain_agreement_id": agreement.onchain_agreement_id.map(|number| number.to_string()),
        "infra_fee_status": agreement.infra_fee_status,
        "onchain": onchain,
        "service_amount_atomic": agreement.service_amount_atomic,
        "aggregate_earned_atomic": agreement.aggregate_earned_atomic,
        "aggregate_claimed_atomic": agreement.aggregate_claimed_atomic,
        "aggregate_withdrawn_atomic": agreement.aggregate_withdrawn_atomic,
        "seller_claimable_atomic": held.map_or(0, |held| held.claimable(now_s).micros()),
        "buyer_withdrawable_atomic": held.map_or(0, |held| held.withdrawable(now_s).micros()),
        "challenge_window_expires_at": agreement.challenge_window_expires_at.map(rfc3339),
        "buyer_wallet_address": agreement.buyer_wallet.to_string(),
        "seller_wallet_address": agreement.seller_wallet.to_string(),
        "chain_id": CHAIN_ID,
    })
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Active => "active",
        Phase::Closing => "closing",
        Phase::Finalized => "finalized",
    }
}

/// What a party can do. Balances have more than 64 bits, which a JSON value here has not.
#[derive(Debug, Serialize)]
struct Options {
    agreement_id: String,
    onchain_agreement_id: u64,
    action: &'static str,
    signer_wallet_address: String,
    signer_role: &'static str,
    current_nonce: u64,
    claimable_atomic: u64,
    settlement_status: String,
    chain_id: u64,
    escrow_contract_address: String,
    gas_wallet_address: String,
    gas_wallet_eth_balance_wei: u128,
    signer_eth_balance_wei: u128,
    signer_has_gas: bool,
    direct_available: bool,
    sponsored_available: bool,
    availability_reason: &'static str,
    sponsored_block_reason: Option<&'static str>,
    recommended_mode: &'static str,
    recommendation_reason: &'static str,
    deadline_window_seconds: u64,
    suggested_deadline: u64,
    direct_function: &'static str,
}

/// `GET /usage-agreements/{g}/settlement-action-options`
pub(crate) async fn options(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let options = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let (agreement, caller) = agreements::as_party(db, &agent, &id)?;
        let message = "Input should be 'initiate_close', 'seller_claim' or 'buyer_withdraw'";
        let action = find(&query, "action")
            .and_then(Action::named)
            .ok_or_else(|| ApiError::invalid_query("action", message))?;
        let held = held_of(db, &agreement)?;
        let (signer, role) = signer_of(&held, caller, find(&query, "signer_wallet_address"))?;
        let now_s = unsigned(now / 1_000);
        let gas = gas_address(&world);
        let obstacle = action.obstacle(&held, role, now_s);
        let can_relay = sender::has_gas(db, gas)?;
        let has_gas = sender::has_gas(db, signer)?;
        let (mode, reason) = match obstacle {
            Some(obstacle) => ("unavailable", obstacle),
            None if can_relay => ("sponsored", "relayer_available"),
            None if has_gas => ("direct", "gas_wallet_empty"),
            None => ("unavailable", "nobody_has_gas"),
        };
        Ok::<_, ApiError>(Options {
            agreement_id: agreement.id,
            onchain_agreement_id: held.id,
            action: action.as_str(),
            signer_wallet_address: signer.to_string(),
            signer_role: role_word(role),
            current_nonce: relays::next_nonce(db, &held, signer)?,
            claimable_atomic: action.amount(&held, now_s).micros(),
            settlement_status: agreement.settlement_status,
            chain_id: CHAIN_ID,
            escrow_contract_address: ESCROW.to_string(),
            gas_wallet_address: gas.to_string(),
            gas_wallet_eth_balance_wei: wei(chain::account(db, gas)?.wei),
            signer_eth_balance_wei: wei(chain::account(db, signer)?.wei),
            signer_has_gas: has_gas,
            direct_available: obstacle.is_none() && has_gas,
            sponsored_available: obstacle.is_none() && can_relay,
            availability_reason: obstacle.unwrap_or("available"),
            sponsored_block_reason: obstacle.or((!can_relay).then_some("gas_wallet_empty")),
            recommended_mode: mode,
            recommendation_reason: reason,
            deadline_window_seconds: DEADLINE_WINDOW_S,
            suggested_deadline: now_s.saturating_add(SUGGESTED_S),
            direct_function: action.function(),
        })
    })?;
    let text = serde_json::to_string(&options).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

fn wei(balance: U256) -> u128 {
    u128::try_from(balance).unwrap_or(u128::MAX)
}

/// Who is to sign, and its side; the caller where nobody is named.
fn signer_of(held: &Held, caller: Role, named: Option<&str>) -> Result<(Address, Role), ApiError> {
    let Some(named) = named else {
        return Ok(match caller {
            Role::Buyer => (held.buyer, Role::Buyer),
            Role::Seller => (held.seller, Role::Seller),
        });
    };
    let field = "signer_wallet_address";
    let signer: Address =
        named.parse().map_err(|_| ApiError::invalid_query(field, "must be an EVM address"))?;
    [(held.buyer, Role::Buyer), (held.seller, Role::Seller)]
        .into_iter()
        .find(|(wallet, _)| *wallet == signer)
        .ok_or_else(|| ApiError::forbidden("signer_wallet_address is no party's wallet"))
}

/// `GET /usage-agreements/{g}/claim-instructions`
pub(crate) async fn claim_instructions(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let view = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let (agreement, role) = agreements::as_party(db, &agent, &id)?;
        let held = held_of(db, &agreement)?;
        let action = match role {
            Role::Buyer => Action::BuyerWithdraw,
            Role::Seller => Action::SellerClaim,
        };
        let now_s = unsigned(now / 1_000);
        let mut view = instructions(&agreement, &held, (action, role), now_s);
        if let Some(members) = view.as_object_mut() {
            let claimable = action.amount(&held, now_s).micros();
            members.insert("claimable_atomic".to_owned(), json!(claimable));
            let is_closed = held.phase(now_s) == Phase::Finalized;
            members.insert("closed".to_owned(), json!(is_closed));
        }
        Ok::<_, ApiError>(view)
    })?;
    ok(view)
}

/// `GET /usage-agreements/{g}/initiate-close-calldata`
pub(crate) async fn close_calldata(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let view = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let (agreement, role) = agreements::as_party(db, &agent, &id)?;
        let held = held_of(db, &agreement)?;
        let action = (Action::InitiateClose, role);
        Ok::<_, ApiError>(instructions(&agreement, &held, action, unsigned(now / 1_000)))
    })?;
    ok(view)
}

/// The call that a party makes itself; without a transaction where it would be reverted.
fn instructions(
    agreement: &Agreement,
    held: &Held,
    (action, role): (Action, Role),
    now_s: u64,
) -> Value {
    let transaction = action.obstacle(held, role, now_s).is_none().then(
        || json!({ "to": ESCROW.to_string(), "data": action.calldata(held.id), "value": "0" }),
    );
    json!({
        "agreement_id": agreement.id,
        "onchain_agreement_id": held.id,
        "function": action.function(),
        "transaction": transaction,
        "chain_id": CHAIN_ID,
    })
}
