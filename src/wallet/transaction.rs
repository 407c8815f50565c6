//! Own transactions: EIP-1559 calls of a pinned contract, their gas, and what they are known by.
//!
//! What is called, and that it may be, is read by [`super::transfer`] and [`super::call`]. No
//! transaction of ours carries ether.

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolEvent;

use super::{SignError, Wallet};
use crate::chain::{FEE_WEI_MAX, GAS_LIMIT_MAX, Receipt};

/// The account's nonce and what the transaction may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// The account nonce reserved for it.
    pub(super) nonce: u64,
    /// The most that a unit of gas may cost, in wei.
    pub(super) max_fee_per_gas: u128,
    /// The part of it for the block's proposer, in wei.
    pub(super) max_priority_fee_per_gas: u128,
    /// The most gas it may use.
    pub(super) gas_limit: u64,
}

/// A transaction ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// The bytes for `eth_sendRawTransaction`.
    pub raw: Vec<u8>,
    /// The transaction's hash, known before it is sent.
    pub hash: B256,
}

impl Offer {
    /// Whether it is within reason, or else what is wrong.
    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.max_priority_fee_per_gas > self.max_fee_per_gas {
            return Err("the priority fee is above the whole fee");
        }
        if self.max_fee_per_gas > FEE_WEI_MAX {
            return Err("a unit of gas costs more than 20 gwei");
        }
        if self.gas_limit > GAS_LIMIT_MAX {
            return Err("the gas limit is above 500000");
        }
        Ok(())
    }
}

/// Signs a call that was read, without ether.
pub(super) fn sign(
    wallet: &Wallet,
    chain_id: u64,
    to: Address,
    input: Bytes,
    offer: &Offer,
) -> Result<SignedTransaction, SignError> {
    let transaction = TxEip1559 {
        chain_id,
        nonce: offer.nonce,
        gas_limit: offer.gas_limit,
        max_fee_per_gas: offer.max_fee_per_gas,
        max_priority_fee_per_gas: offer.max_priority_fee_per_gas,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: alloy_eips::eip2930::AccessList::default(),
        input,
    };
    let signature = wallet.sign_hash(transaction.signature_hash())?;
    let complete = transaction.into_signed(signature);
    Ok(SignedTransaction { hash: *complete.hash(), raw: complete.encoded_2718() })
}

/// Whether the receipt's transaction succeeded, and of all events of this kind that `contract`
/// said in it, exactly one is there: `expected`.
pub(super) fn is_only_event<E: SolEvent>(
    receipt: &Receipt,
    contract: Address,
    expected: &E,
) -> bool {
    let mut said = receipt
        .logs
        .iter()
        .filter(|log| log.address == contract)
        .filter(|log| log.topics.first() == Some(&E::SIGNATURE_HASH));
    let (only, more) = (said.next(), said.next());
    receipt.succeeded
        && more.is_none()
        && only.is_some_and(|log| {
            let expected = expected.encode_log_data();
            log.topics == expected.topics() && log.data == expected.data
        })
}
