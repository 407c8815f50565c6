//! A USDC transfer as an EIP-1559 transaction: checked, signed, and recognised on the chain.
//!
//! - Its fields are stored in the journal, the signature never: the same fields and key give the
//!   same bytes again (RFC 6979), so signing anew after a crash is no second payment.
//! - Chain and token are compared with the pins; the payee must be able to spend what it gets.
//! - It never carries ether and never calls anything but `transfer`.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall as _, SolEvent as _, sol};
use serde::{Deserialize, Serialize};

use super::{
    SignError, Wallet, pins,
    transaction::{self, Offer, SignedTransaction},
};
use crate::{chain::Receipt, money::Usdc};

sol! {
    function transfer(address to, uint256 value) returns (bool);
}

/// The token's event, whose name is that of our own type.
mod event {
    alloy_sol_types::sol! {
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

/// What is paid to whom, and all else that the transaction's bytes depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The token contract; must be the chain's pinned USDC.
    pub usdc: Address,
    /// The payee.
    pub to: Address,
    /// How much.
    pub amount: Usdc,
    /// The account nonce reserved for this payment.
    pub nonce: u64,
    /// The most that a unit of gas may cost, in wei; at most [`crate::chain::FEE_WEI_MAX`].
    pub max_fee_per_gas: u128,
    /// The part of it for the block's proposer, in wei.
    pub max_priority_fee_per_gas: u128,
    /// The most gas it may use; at most [`crate::chain::GAS_LIMIT_MAX`].
    pub gas_limit: u64,
}

/// Why a transfer was not signed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Chain and token are not a pinned pair.
    #[error("{usdc} is not the pinned USDC contract of chain {chain_id}")]
    NotPinned {
        /// The chain.
        chain_id: u64,
        /// The contract.
        usdc: Address,
    },
    /// The payee is nobody to pay.
    #[error("{to} cannot be paid: {reason}")]
    Payee {
        /// The payee.
        to: Address,
        /// Why not.
        reason: &'static str,
    },
    /// There is nothing to pay.
    #[error("the amount is zero")]
    ZeroAmount,
    /// Fee or gas is beyond reason, or contradicts itself.
    #[error("the transaction's fees are refused: {reason}")]
    Fees {
        /// Why.
        reason: &'static str,
    },
    /// The wallet cannot sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Whether a receipt shows that so much of a token went from one address to another, beside whatever
/// else its transaction did.
#[must_use]
pub fn moved_usdc(
    usdc: Address,
    receipt: &Receipt,
    from: Address,
    to: Address,
    amount: Usdc,
) -> bool {
    let expected = event::Transfer { from, to, value: U256::from(amount.micros()) };
    let expected = expected.encode_log_data();
    let is_it = |log: &crate::chain::Log| {
        log.address == usdc && log.topics == expected.topics() && log.data == expected.data
    };
    receipt.succeeded && receipt.logs.iter().any(is_it)
}

impl Transfer {
    /// The call that moves the money, for an estimate of its gas.
    #[must_use]
    pub fn call_data(&self) -> Bytes {
        let value = U256::from(self.amount.micros());
        transferCall { to: self.to, value }.abi_encode().into()
    }

    /// Checks and signs. For `spend` alone, by [`Wallet::sign_transfer`].
    pub(crate) fn sign(&self, wallet: &Wallet) -> Result<SignedTransaction, TransferError> {
        self.check(wallet.evm_own()?)?;
        Ok(transaction::sign(wallet, self.chain_id, self.usdc, self.call_data(), &self.offer())?)
    }

    /// Whether the receipt shows that this transfer was made by `from`: it succeeded, and of all
    /// that it moved in this token, exactly one transfer is there, ours.
    ///
    /// The caller has compared the receipt's transaction hash with the one it sent.
    #[must_use]
    pub fn expected_log(&self, from: Address, receipt: &Receipt) -> bool {
        let expected =
            event::Transfer { from, to: self.to, value: U256::from(self.amount.micros()) };
        transaction::is_only_event(receipt, self.usdc, &expected)
    }

    /// Whether it could be signed by `wallet`, but for its nonce.
    pub(crate) fn check_fields(&self, wallet: &Wallet) -> Result<(), TransferError> {
        self.check(wallet.evm_own()?)
    }

    fn check(&self, own: Address) -> Result<(), TransferError> {
        let payee = |reason| Err(TransferError::Payee { to: self.to, reason });
        if pins::chain(self.chain_id).is_none_or(|chain| chain.usdc != self.usdc) {
            return Err(TransferError::NotPinned { chain_id: self.chain_id, usdc: self.usdc });
        }
        if self.amount == Usdc::ZERO {
            return Err(TransferError::ZeroAmount);
        }
        if self.to == Address::ZERO {
            return payee("it is the zero address");
        }
        if self.to == own {
            return payee("it is our own address");
        }
        if self.to == self.usdc {
            return payee("it is the token contract");
        }
        self.offer().check().map_err(|reason| TransferError::Fees { reason })
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

#[cfg(test)]
mod tests;
