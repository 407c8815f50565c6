//! What every payload is held against before it is signed, and how a refusal is told.
//!
//! A refusal names the member that is wrong and both values, so that the journal and the owner can
//! say which of the marketplace's terms was not the approved one. Nothing is signed after one.

use std::ops::RangeInclusive;

use alloy_primitives::{Address, U256};

use super::pins::{self, Chain};
use crate::money::Usdc;

/// How long from now a permit or an escrow action may stay valid, in seconds. Source:
/// `paegents.md` §10.2.
pub const DEADLINE_SECONDS: RangeInclusive<u64> = 60..=3600;
/// How long from now an EIP-3009 authorization may stay valid, in seconds: the range that
/// `x402.md` §5 proposes for `maxTimeoutSeconds`.
pub const AUTHORIZATION_SECONDS: RangeInclusive<u64> = 10..=3600;

/// A payload was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is not signed: {reason}")]
pub struct Refused {
    /// The member that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A chain that has no pins.
    #[error("chain {chain_id} is not one of ours")]
    Chain {
        /// The chain (EIP-155).
        chain_id: u64,
    },
    /// Not the address that it must be.
    #[error("it is {found}, and must be {expected}")]
    Address {
        /// What is there.
        found: Address,
        /// What was pinned or approved.
        expected: Address,
    },
    /// Nobody's address.
    #[error("it is the zero address")]
    ZeroAddress,
    /// A payment to ourselves.
    #[error("it is our own address")]
    OwnAddress,
    /// A payment to the token contract, from where nobody gets it back.
    #[error("it is the token contract")]
    TokenContract,
    /// No address is pinned, and none is configured.
    #[error("none is pinned on {chain}, and the owner has configured none")]
    NotPinned {
        /// The chain's name.
        chain: &'static str,
    },
    /// Nothing.
    #[error("it is zero")]
    Zero,
    /// Not the number that it must be. Amounts are in micro-units.
    #[error("it is {found}, and must be {expected}")]
    Number {
        /// What is there.
        found: U256,
        /// What was approved, or follows from the other members.
        expected: U256,
    },
    /// More than was approved. Amounts are in micro-units.
    #[error("it is {found}, more than {most}")]
    TooMuch {
        /// What is there.
        found: U256,
        /// The most that was approved.
        most: U256,
    },
    /// Outside the seconds that are allowed.
    #[error("it is {seconds} s, and must be {least} to {most} s")]
    Seconds {
        /// How long, or how far from now; negative where it is past.
        seconds: i128,
        /// The fewest.
        least: u64,
        /// The most.
        most: u64,
    },
    /// It cannot be read, or is of a kind that we do not sign.
    #[error("{why}")]
    Form {
        /// What is wrong.
        why: &'static str,
    },
}

/// The pins of `chain_id`, which must be the chain that is in use.
pub(super) fn chain(chain_id: u64, in_use: u64) -> Result<&'static Chain, Refused> {
    let reason = Reason::Chain { chain_id };
    let chain = pins::chain(chain_id).ok_or(Refused { field: "chain_id", reason })?;
    same("chain_id", U256::from(chain_id), U256::from(in_use))?;
    Ok(chain)
}

/// That two addresses are one.
pub(super) fn address(
    field: &'static str,
    found: Address,
    expected: Address,
) -> Result<(), Refused> {
    if found == expected {
        return Ok(());
    }
    Err(Refused { field, reason: Reason::Address { found, expected } })
}

/// That `found` is the resolved escrow, and that no pin contradicts it.
pub(super) fn escrow(
    field: &'static str,
    chain: &Chain,
    found: Address,
    resolved: Address,
) -> Result<(), Refused> {
    let resolved = pins::escrow(chain, Some(resolved))?;
    address(field, found, resolved)
}

/// That an address can be paid.
pub(super) fn payee(
    field: &'static str,
    chain: &Chain,
    own: Address,
    to: Address,
) -> Result<(), Refused> {
    let reason = match to {
        Address::ZERO => Reason::ZeroAddress,
        to if to == own => Reason::OwnAddress,
        to if to == chain.usdc => Reason::TokenContract,
        _ => return Ok(()),
    };
    Err(Refused { field, reason })
}

/// That an amount in micro-units is more than nothing and at most `most`.
pub(super) fn amount(field: &'static str, found: U256, most: Usdc) -> Result<(), Refused> {
    let most = U256::from(most.micros());
    let reason = match found {
        U256::ZERO => Reason::Zero,
        found if found > most => Reason::TooMuch { found, most },
        _ => return Ok(()),
    };
    Err(Refused { field, reason })
}

/// That two numbers are one.
pub(super) fn same(field: &'static str, found: U256, expected: U256) -> Result<(), Refused> {
    if found == expected {
        return Ok(());
    }
    Err(Refused { field, reason: Reason::Number { found, expected } })
}

/// That a number is more than nothing and the one that it must be.
pub(super) fn number(field: &'static str, found: U256, expected: U256) -> Result<(), Refused> {
    if found.is_zero() {
        return Err(Refused { field, reason: Reason::Zero });
    }
    same(field, found, expected)
}

/// That a duration is within `allowed`.
pub(super) fn seconds(
    field: &'static str,
    found: u64,
    allowed: &RangeInclusive<u64>,
) -> Result<(), Refused> {
    from(field, found, 0, allowed)
}

/// That an instant is so far from `now`, both in Unix seconds, as `allowed` says.
pub(super) fn from(
    field: &'static str,
    at: u64,
    now: u64,
    allowed: &RangeInclusive<u64>,
) -> Result<(), Refused> {
    let seconds = i128::from(at) - i128::from(now);
    if u64::try_from(seconds).is_ok_and(|seconds| allowed.contains(&seconds)) {
        return Ok(());
    }
    let (least, most) = (*allowed.start(), *allowed.end());
    Err(Refused { field, reason: Reason::Seconds { seconds, least, most } })
}
