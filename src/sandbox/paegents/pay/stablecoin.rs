//! A payment in USDC: an x402 header of version 1, carried out on the chain by the platform.
//!
//! The header is checked as a facilitator checks it, then the platform's wallet sends the transfer
//! that the payer authorized. Source: the page on x402, 3.2 and 6.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use rusqlite::Connection;

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            USDC,
            calls::Usdc as Abi,
            sender::{self, Sending},
        },
        paegents::{direct, gas_wallet},
        world::World,
    },
};

/// The least time that an authorization must still be good for, in seconds.
const VALID_SECONDS_MIN: u64 = 6;

/// USDC that moved.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    /// Who paid.
    pub(crate) payer: Address,
    /// The hash of the transaction.
    pub(crate) transaction: String,
}

/// Why nothing moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The header is no authorization for this payment: the code of x402.
    Unfit(&'static str),
    /// The token contract refused: its words.
    Reverted(&'static str),
}

/// Carries out the payment of exactly `amount` to `payee`, unless it is to fail.
pub(crate) fn settle(
    db: &Connection,
    world: &World,
    now: i64,
    (header, (to, amount), is_doomed): (&str, (Address, Usdc), bool),
) -> rusqlite::Result<Result<Moved, Failed>> {
    let authorized = match check(header, (to, amount), now / 1_000) {
        Ok(authorized) => authorized,
        Err(code) => return Ok(Err(Failed::Unfit(code))),
    };
    let payer = authorized.from;
    let input = authorized.abi_encode();
    let sending = Sending { from: &gas_wallet(world), to: USDC, input, is_doomed };
    let sent = sender::send(db, now, &sending)?;
    Ok(match sent.reverted {
        None => Ok(Moved { payer, transaction: sent.hash }),
        Some(reason) => Err(Failed::Reverted(reason)),
    })
}

/// The call that the header authorizes, or the code of what is wrong with it.
fn check(
    header: &str,
    (payee, amount): (Address, Usdc),
    now: i64,
) -> Result<Abi::transferWithAuthorization_1Call, &'static str> {
    let call = direct::decode(header)?;
    if call.to != payee {
        return Err("invalid_exact_evm_payload_recipient_mismatch");
    }
    if call.value != U256::from(amount.micros()) {
        return Err("invalid_exact_evm_payload_authorization_value_mismatch");
    }
    let now = u64::try_from(now).unwrap_or_default();
    if call.validBefore < U256::from(now.saturating_add(VALID_SECONDS_MIN)) {
        return Err("invalid_exact_evm_payload_authorization_valid_before");
    }
    if call.validAfter > U256::from(now) {
        return Err("invalid_exact_evm_payload_authorization_valid_after");
    }
    Ok(call)
}
