//! Own transactions beside transfers: an allowance for the escrow, and the three settlement calls.
//!
//! - Calldata of a marketplace is read, never signed: [`check_calldata`] gives the act that it
//!   stands for, and the bytes of the transaction are built from that.
//! - An allowance is for the resolved escrow and for exactly the approved amount.
//! - Like a transfer's, the fields are kept and the signature is not.
//!
//! Source: `paegents.md` §10.4. `[assumed]` that the escrow's functions have one of two selectors:
//! that of the documented name, or that of the SDK's list.

#[cfg(test)]
mod tests;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use serde::{Deserialize, Serialize};

use super::{
    SignError, Wallet, checks,
    checks::{Reason, Refused},
    eip712::{EscrowBounds, Settlement},
    numbers,
    pins::Chain,
    transaction::{self, Offer, SignedTransaction},
};
use crate::{chain::Receipt, money::Usdc};

sol! {
    function approve(address spender, uint256 value) returns (bool);
    function sellerClaim(uint256 agreementId);
    function buyerWithdraw(uint256 agreementId);
    function initiateClose(uint256 agreementId);
    function claim(uint256 agreementId);
    function withdraw(uint256 agreementId);
}

/// The token's event.
mod event {
    alloy_sol_types::sol! {
        event Approval(address indexed owner, address indexed spender, uint256 value);
    }
}

/// What the SDK's list has for `initiateClose(uint256)`; no known name gives it.
const SDK_CLOSE: [u8; 4] = [0xc9, 0xb2, 0xe5, 0x22];
/// Bytes of a selector.
const SELECTOR_BYTES: usize = 4;
/// Bytes of the calldata of a function that takes one number.
const CALLDATA_BYTES: usize = SELECTOR_BYTES + 32;

/// Which of a settlement function's two selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// That of the documented name, such as `sellerClaim(uint256)`.
    Documented,
    /// That of the SDK's list, such as `claim(uint256)`.
    Sdk,
}

impl Settlement {
    /// The settlement whose documented function this is, with or without its parameters.
    #[must_use]
    pub fn of_function(function: &str) -> Option<Self> {
        match function.strip_suffix("(uint256)").unwrap_or(function) {
            "initiateClose" => Some(Self::Close),
            "sellerClaim" => Some(Self::Claim),
            "buyerWithdraw" => Some(Self::Withdraw),
            _ => None,
        }
    }

    /// The four bytes that call it.
    #[must_use]
    pub const fn selector(self, which: Selector) -> [u8; SELECTOR_BYTES] {
        match (self, which) {
            (Self::Close, Selector::Documented) => initiateCloseCall::SELECTOR,
            (Self::Close, Selector::Sdk) => SDK_CLOSE,
            (Self::Claim, Selector::Documented) => sellerClaimCall::SELECTOR,
            (Self::Claim, Selector::Sdk) => claimCall::SELECTOR,
            (Self::Withdraw, Selector::Documented) => buyerWithdrawCall::SELECTOR,
            (Self::Withdraw, Selector::Sdk) => withdrawCall::SELECTOR,
        }
    }
}

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// `approve` on USDC: the escrow may take exactly this much; nothing takes an allowance back.
    Approve {
        /// The token contract; must be the chain's pinned USDC.
        token: Address,
        /// The escrow contract.
        spender: Address,
        /// Exactly how much.
        amount: Usdc,
    },
    /// A settlement function of the escrow.
    Settle {
        /// The escrow contract.
        escrow: Address,
        /// Which.
        settlement: Settlement,
        /// By which selector.
        selector: Selector,
        /// The agreement's number in the contract.
        #[serde(with = "numbers")]
        agreement_id: U256,
    },
}

/// An act, and all else that the transaction's bytes depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// What it does.
    pub act: Act,
    /// The account nonce reserved for it.
    pub nonce: u64,
    /// The most that a unit of gas may cost, in wei; at most [`crate::chain::FEE_WEI_MAX`].
    pub max_fee_per_gas: u128,
    /// The part of it for the block's proposer, in wei.
    pub max_priority_fee_per_gas: u128,
    /// The most gas it may use; at most [`crate::chain::GAS_LIMIT_MAX`].
    pub gas_limit: u64,
}

/// What a call is held against.
#[derive(Clone, Debug)]
pub struct CallBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The escrow that [`super::pins::escrow`] gave.
    pub escrow: Address,
    /// What was approved.
    pub approved: Approved,
}

/// The one act that was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// An allowance of exactly this much; zero takes it back.
    Allowance(Usdc),
    /// A settlement of the agreement with this number in the contract.
    Settlement(Settlement, U256),
}

/// What a marketplace proposes to send, as it wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Calldata<'a> {
    /// The contract.
    pub to: &'a str,
    /// The function and its argument, as hex.
    pub data: &'a str,
    /// How much ether, in wei: decimal, or hex with `0x`.
    pub value: &'a str,
    /// The chain (EIP-155).
    pub chain_id: u64,
}

/// Reads a marketplace's calldata: whether it is `settlement` of the agreement in `bounds` and
/// nothing else. Gives the act, which says by which selector.
///
/// # Errors
///
/// [`Refused`] with the first member that is wrong: `chain_id`, `to`, `value`, `data`.
pub fn check_calldata(
    settlement: Settlement,
    calldata: &Calldata<'_>,
    bounds: &EscrowBounds,
) -> Result<Act, Refused> {
    let chain = checks::chain(calldata.chain_id, bounds.chain_id)?;
    let unread = |field, why| Refused { field, reason: Reason::Form { why } };
    let to: Address = calldata.to.parse().map_err(|_| unread("to", "it is no address"))?;
    checks::escrow("to", chain, to, bounds.escrow)?;
    let value = wei(calldata.value).ok_or_else(|| unread("value", "it is no whole number"))?;
    checks::same("value", value, U256::ZERO)?;
    let digits = calldata.data.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("0x"));
    let digits = digits.and_then(|_| calldata.data.get(2..)).unwrap_or(calldata.data);
    let mut bytes = [0_u8; CALLDATA_BYTES];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| unread("data", "it is not a selector and one number of 32 bytes"))?;
    let (called, argument) = bytes.split_at(SELECTOR_BYTES);
    let selector = [Selector::Documented, Selector::Sdk]
        .into_iter()
        .find(|which| settlement.selector(*which) == called)
        .ok_or_else(|| unread("data", "it calls another function"))?;
    let agreement_id = U256::from_be_slice(argument);
    checks::same("data", agreement_id, bounds.agreement_id)?;
    Ok(Act::Settle { escrow: to, settlement, selector, agreement_id })
}

fn wei(text: &str) -> Option<U256> {
    match text.strip_prefix("0x") {
        Some("") => None,
        Some(digits) => U256::from_str_radix(digits, 16).ok(),
        None => numbers::decimal(text),
    }
}

impl Act {
    /// The contract that it calls.
    #[must_use]
    pub const fn contract(&self) -> Address {
        match self {
            Self::Approve { token, .. } => *token,
            Self::Settle { escrow, .. } => *escrow,
        }
    }

    /// The calldata, for an estimate of its gas and for the transaction.
    #[must_use]
    pub fn call_data(&self) -> Bytes {
        match self {
            Self::Approve { spender, amount, .. } => {
                let value = U256::from(amount.micros());
                approveCall { spender: *spender, value }.abi_encode().into()
            }
            Self::Settle { settlement, selector, agreement_id, .. } => {
                let mut bytes = settlement.selector(*selector).to_vec();
                bytes.extend(agreement_id.to_be_bytes::<32>());
                bytes.into()
            }
        }
    }

    fn check(&self, chain: &Chain, bounds: &CallBounds) -> Result<(), Refused> {
        match (self, bounds.approved) {
            (Self::Approve { token, spender, amount }, Approved::Allowance(approved)) => {
                checks::address("token", *token, chain.usdc)?;
                checks::escrow("spender", chain, *spender, bounds.escrow)?;
                let (found, expected) = (amount.micros(), approved.micros());
                checks::same("amount", U256::from(found), U256::from(expected))
            }
            (
                Self::Settle { escrow, settlement, agreement_id, .. },
                Approved::Settlement(approved, agreement),
            ) if *settlement == approved => {
                checks::escrow("escrow", chain, *escrow, bounds.escrow)?;
                checks::same("agreement_id", *agreement_id, agreement)
            }
            (Self::Approve { .. } | Self::Settle { .. }, _) => {
                let reason = Reason::Form { why: "it is not what was approved" };
                Err(Refused { field: "act", reason })
            }
        }
    }
}

impl Call {
    /// Whether the receipt shows that `from` has done this. `None` where only the agreement can
    /// tell: the escrow's events are not published, so a settlement that succeeded may have
    /// settled nothing.
    ///
    /// The caller has compared the receipt's transaction hash with the one it sent.
    #[must_use]
    pub fn is_done(&self, from: Address, receipt: &Receipt) -> Option<bool> {
        match &self.act {
            Act::Approve { token, spender, amount } => {
                let value = U256::from(amount.micros());
                let expected = event::Approval { owner: from, spender: *spender, value };
                Some(transaction::is_only_event(receipt, *token, &expected))
            }
            Act::Settle { .. } => (!receipt.succeeded).then_some(false),
        }
    }

    fn check(&self, bounds: &CallBounds) -> Result<(), Refused> {
        let chain = checks::chain(self.chain_id, bounds.chain_id)?;
        self.act.check(chain, bounds)?;
        let refused = |why| Refused { field: "gas", reason: Reason::Form { why } };
        self.offer().check().map_err(refused)
    }

    const fn offer(&self) -> Offer {
        Offer {
            nonce: self.nonce,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            gas_limit: self.gas_limit,
        }
    }
}

impl Wallet {
    /// Signs a call whose fields stand in the journal. For `spend` alone.
    ///
    /// # Errors
    ///
    /// [`SignError::Field`] where a field breaks a bound; [`SignError::NoKey`]. Nothing is signed.
    pub(crate) fn sign_call(
        &self,
        call: &Call,
        bounds: &CallBounds,
    ) -> Result<SignedTransaction, SignError> {
        call.check(bounds)?;
        let (to, input) = (call.act.contract(), call.act.call_data());
        transaction::sign(self, call.chain_id, to, input, &call.offer())
    }
}
