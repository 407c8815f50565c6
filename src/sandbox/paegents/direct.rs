//! Direct purchases: the fee by permit, then the whole price by one signed transfer.
//!
//! Both are transactions of the platform's wallet on the sandbox's chain. Source: the protocol
//! pages, Paegents 6.2 and 11, x402 3.2 and 8.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use axum::http::StatusCode;
use base64::{Engine, alphabet, engine};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            USDC,
            calls::Usdc as Token,
            sender::{Sending, Sent, send},
        },
        ledger::Kind,
        paegents::{
            self,
            agreements::{self, Agreement},
            answers::ApiError,
            escrow::{enter, package},
            gas_address,
            pay::receipts,
            services::MICROS_PER_CENT,
            steps::{self, Part, step_ms},
        },
        world::World,
    },
};

/// The task that makes the transfer.
pub(crate) const TRANSFER: &str = "transfer";
/// The task that makes a transfer that is to fail.
pub(crate) const FAIL_TRANSFER: &str = "fail_transfer";
/// How long a relayed transfer takes, in milliseconds.
const RELAY_MS: i64 = 10_000;

/// The platform's fee for a total in cents, in micro-units.
pub(crate) fn fee(total_cents: u64) -> u64 {
    package::fee_on(total_cents.saturating_mul(MICROS_PER_CENT))
}

/// A payment header of x402, version 1.
#[derive(Debug, Deserialize)]
struct Header {
    #[serde(rename = "x402Version")]
    version: u64,
    scheme: String,
    network: String,
    payload: Payload,
}

#[derive(Debug, Deserialize)]
struct Payload {
    signature: Bytes,
    authorization: Authorization,
}

/// What the buyer authorized.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    from: Address,
    to: Address,
    value: Number,
    valid_after: Number,
    valid_before: Number,
    nonce: B256,
}

/// A whole number, as text or as a JSON number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

impl Number {
    fn read(&self) -> Option<U256> {
        match self {
            Self::Text(text) => U256::from_str_radix(text, 10).ok(),
            Self::Plain(number) => Some(U256::from(*number)),
        }
    }
}

/// The base64 of x402: with padding or without.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// Reads a payment header: what it authorizes, as the call of the token that carries it out.
pub(crate) fn decode(text: &str) -> Result<Token::transferWithAuthorization_1Call, &'static str> {
    let bytes = BASE64.decode(text).map_err(|_| "invalid payment header: no base64")?;
    let header: Header =
        serde_json::from_slice(&bytes).map_err(|_| "invalid payment header: unknown members")?;
    if header.version != 1 {
        return Err("invalid_x402_version");
    }
    if header.scheme != "exact" {
        return Err("unsupported_scheme");
    }
    if header.network != "base-sepolia" {
        return Err("invalid_network");
    }
    let Payload { signature, authorization } = header.payload;
    let number = |number: &Number| number.read().ok_or("invalid_payload");
    Ok(Token::transferWithAuthorization_1Call {
        from: authorization.from,
        to: authorization.to,
        value: number(&authorization.value)?,
        validAfter: number(&authorization.valid_after)?,
        validBefore: number(&authorization.valid_before)?,
        nonce: authorization.nonce,
        signature,
    })
}

/// The payment of the agreement: decoded, and compared with what was agreed.
fn payment(agreement: &Agreement) -> Result<Token::transferWithAuthorization_1Call, &'static str> {
    let header = agreement.payment_method.get("payment_header").and_then(Value::as_str);
    let call = decode(header.ok_or("payment_header is required for direct_payment")?)?;
    if call.from != agreement.buyer_wallet {
        return Err("the payer is not buyer_wallet_address");
    }
    if call.to != agreement.seller_wallet {
        return Err("invalid_exact_evm_payload_recipient_mismatch");
    }
    if call.value != U256::from(agreement.service_amount_atomic) {
        return Err("invalid_exact_evm_payload_authorization_value_mismatch");
    }
    Ok(call)
}

/// Refuses a direct purchase that could never be paid.
pub(crate) fn check(agreement: &Agreement) -> Result<(), ApiError> {
    payment(agreement).map_err(|reason| ApiError::invalid("payment_method", reason))?;
    let signed = &agreement.signed;
    if signed.buyer_infra_fee_permit_signature.is_none() {
        let message = "is required for direct_payment";
        return Err(ApiError::invalid("buyer_infra_fee_permit_signature", message));
    }
    if signed.buyer_infra_fee_permit_deadline.is_none() {
        let message = "is required for direct_payment";
        return Err(ApiError::invalid("buyer_infra_fee_permit_deadline", message));
    }
    Ok(())
}

/// A call of the token by the platform's wallet.
fn call_token(
    db: &Connection,
    world: &World,
    at: i64,
    (input, is_doomed): (Vec<u8>, bool),
) -> rusqlite::Result<Sent> {
    let from = paegents::gas_wallet(world);
    send(db, at, &Sending { from: &from, to: USDC, input, is_doomed })
}

/// Collects the platform's fee by the buyer's permit; the caller saves the agreement.
///
/// # Errors
///
/// 402 with the contract's words where it cannot be collected. What was mined until then stays.
pub(crate) fn collect_fee(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &mut Agreement,
) -> rusqlite::Result<Result<(), ApiError>> {
    if ["paid", "waived"].contains(&agreement.infra_fee_status.as_str()) {
        return Ok(Ok(()));
    }
    let (owner, spender) = (agreement.buyer_wallet, gas_address(world));
    let value = U256::from(agreement.infra_fee_amount_atomic);
    let signature = agreement.signed.buyer_infra_fee_permit_signature.as_deref();
    let signature: Bytes = signature.and_then(|text| text.parse().ok()).unwrap_or_default();
    let deadline = agreement.signed.buyer_infra_fee_permit_deadline.unwrap_or_default();
    let permit =
        Token::permit_1Call { owner, spender, value, deadline: U256::from(deadline), signature };
    let take = Token::transferFromCall { from: owner, to: spender, value };
    for input in [permit.abi_encode(), take.abi_encode()] {
        if let Some(reason) = call_token(db, world, at, (input, false))?.reverted {
            "failed".clone_into(&mut agreement.infra_fee_status);
            let detail = format!("Platform fee collection failed: {reason}");
            return Ok(Err(ApiError::new(StatusCode::PAYMENT_REQUIRED, detail)));
        }
    }
    "paid".clone_into(&mut agreement.infra_fee_status);
    let reference = format!("{}:fee", agreement.id);
    let amount = Usdc::from_micros(agreement.infra_fee_amount_atomic);
    let sides = (owner, spender);
    enter(db, at, (Kind::Fee, &reference, Some(&agreement.id)), sides, amount)?;
    Ok(Ok(()))
}

/// Plans the transfer of an accepted direct purchase.
pub(crate) fn plan_transfer(
    db: &Connection,
    world: &World,
    at: i64,
    (agreement, fails): (&Agreement, bool),
) -> rusqlite::Result<()> {
    let task = if fails { FAIL_TRANSFER } else { TRANSFER };
    let step = (task, agreement.id.as_str());
    steps::plan(db, at + step_ms(world, RELAY_MS), Part::Agreements, step)
}

/// Makes the transfer: the purchase is completed, or stays accepted and unpaid.
pub(crate) fn transfer(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, fails): (Agreement, bool),
) -> rusqlite::Result<()> {
    let outcome = match payment(&agreement) {
        Ok(call) => {
            let sent = call_token(db, world, at, (call.abi_encode(), fails))?;
            sent.reverted.map_or(Ok(sent.hash), Err)
        }
        Err(reason) => Err(reason),
    };
    agreement.updated_at = at;
    match outcome {
        Ok(hash) => paid(db, world, at, (agreement, &hash)),
        Err(reason) => {
            let error = json!({ "code": "transfer_failed", "message": reason });
            agreement.metadata.insert("payment_error".to_owned(), error);
            agreements::save(db, &agreement)?;
            agreements::tell(db, world, at, "payment.failed", &agreement)
        }
    }
}

fn paid(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, hash): (Agreement, &str),
) -> rusqlite::Result<()> {
    "completed".clone_into(&mut agreement.status);
    agreement.escrow_payment_id = Some(hash.to_owned());
    agreement.released_cents = agreement.total_cents;
    agreement.units_used = agreement.quantity;
    let receipt = |agent: &str| {
        let particulars = (agreement.id.as_str(), agreement.total_cents, "usd");
        let made = receipts::make(db, world, at, agent, particulars)?;
        Ok::<_, rusqlite::Error>(made.get("receipt_id").and_then(Value::as_str).map(str::to_owned))
    };
    let (buyer, seller) = (receipt(&agreement.buyer)?, receipt(&agreement.seller)?);
    (agreement.buyer_receipt_id, agreement.seller_receipt_id) = (buyer, seller);
    let payment = json!({ "tx_hash": hash, "amount_atomic": agreement.service_amount_atomic });
    agreement.metadata.insert("payment".to_owned(), payment);
    agreements::save(db, &agreement)?;
    let amount = Usdc::from_micros(agreement.service_amount_atomic);
    let sides = (agreement.buyer_wallet, agreement.seller_wallet);
    enter(db, at, (Kind::Charge, &agreement.id, None), sides, amount)?;
    agreements::tell(db, world, at, "payment.completed", &agreement)?;
    agreements::tell(db, world, at, "agreement.completed", &agreement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_fee_of_the_protocol() {
        #[rustfmt::skip]
        let rows = [
            // cents   atomic
            (0,        100_000),
            (100,      100_000),
            (485,      100_000),
            (486,      100_200),
            (500,      103_000),
            (1_000,    203_000),
            (2_500,    503_000),
            (10_000,   2_003_000),
            (12_345,   2_472_000),
            (33_333,   6_669_600),
        ];
        for (cents, expected) in rows {
            assert_eq!(fee(cents), expected, "{cents}");
        }
    }
}
