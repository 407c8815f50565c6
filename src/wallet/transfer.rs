//! A USDC transfer as an EIP-1559 transaction: checked, signed, and recognised on the chain.
//!
//! - Its fields are stored in the journal, the signature never: the same fields and key give the
//!   same bytes again (RFC 6979), so signing anew after a crash is no second payment.
//! - Chain and token are compared with the pins; the payee must be able to spend what it gets.
//! - It never carries ether and never calls anything but `transfer`.

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync as _;
use alloy_sol_types::{SolCall as _, SolEvent as _, sol};
use serde::{Deserialize, Serialize};

use super::{KeyKind, SignError, Wallet, pins};
use crate::{
    chain::{FEE_WEI_MAX, GAS_LIMIT_MAX, Receipt},
    money::Usdc,
};

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
    /// The most that a unit of gas may cost, in wei; at most [`FEE_WEI_MAX`].
    pub max_fee_per_gas: u128,
    /// The part of it for the block's proposer, in wei.
    pub max_priority_fee_per_gas: u128,
    /// The most gas it may use; at most [`GAS_LIMIT_MAX`].
    pub gas_limit: u64,
}

/// A transfer ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransfer {
    /// The bytes for `eth_sendRawTransaction`.
    pub raw: Vec<u8>,
    /// The transaction's hash, known before it is sent.
    pub hash: B256,
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

impl Transfer {
    /// The call that moves the money, for an estimate of its gas.
    #[must_use]
    pub fn call_data(&self) -> Bytes {
        let value = U256::from(self.amount.micros());
        transferCall { to: self.to, value }.abi_encode().into()
    }

    /// Checks and signs. For `spend` alone, by [`Wallet::sign_transfer`].
    pub(crate) fn sign(&self, wallet: &Wallet) -> Result<SignedTransfer, TransferError> {
        let signer = wallet.evm_signer()?;
        self.check(signer.address())?;
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            to: TxKind::Call(self.usdc),
            value: U256::ZERO,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: self.call_data(),
        };
        let signature = signer
            .sign_hash_sync(&transaction.signature_hash())
            .map_err(|_| SignError::Failed { kind: KeyKind::Evm })?;
        let complete = transaction.into_signed(signature);
        Ok(SignedTransfer { hash: *complete.hash(), raw: complete.encoded_2718() })
    }

    /// Whether the receipt shows that this transfer was made by `from`: it succeeded, and of all
    /// that it moved in this token, exactly one transfer is there, ours.
    ///
    /// The caller has compared the receipt's transaction hash with the one it sent.
    #[must_use]
    pub fn expected_log(&self, from: Address, receipt: &Receipt) -> bool {
        let expected =
            event::Transfer { from, to: self.to, value: U256::from(self.amount.micros()) };
        let mut moved = receipt
            .logs
            .iter()
            .filter(|log| log.address == self.usdc)
            .filter(|log| log.topics.first() == Some(&event::Transfer::SIGNATURE_HASH));
        let (only, more) = (moved.next(), moved.next());
        receipt.succeeded
            && more.is_none()
            && only.is_some_and(|log| {
                let expected = expected.encode_log_data();
                log.topics == expected.topics() && log.data == expected.data
            })
    }

    /// Whether it could be signed by `wallet`, but for its nonce.
    pub(crate) fn check_fields(&self, wallet: &Wallet) -> Result<(), TransferError> {
        self.check(wallet.evm_signer()?.address())
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
        if self.max_priority_fee_per_gas > self.max_fee_per_gas {
            return Err(TransferError::Fees { reason: "the priority fee is above the whole fee" });
        }
        if self.max_fee_per_gas > FEE_WEI_MAX {
            return Err(TransferError::Fees { reason: "a unit of gas costs more than 20 gwei" });
        }
        if self.gas_limit > GAS_LIMIT_MAX {
            return Err(TransferError::Fees { reason: "the gas limit is above 500000" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
