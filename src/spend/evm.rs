//! A USDC transfer as the instrument of a payment: reserved by its account nonce, signed from the
//! fields of the journal, told by its hash.
//!
//! Invariants: one nonce a purchase; the same fields give the same transaction, so sending it twice
//! moves the money once; it is dead only when its nonce is used by another transaction, or when it
//! was carried out and reverted.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};

use super::Fate;
use crate::{
    chain::{Chain, SendError},
    error::{Code, Error},
    journal::Purchase,
    money::Usdc,
    wallet::{
        Wallet,
        transfer::{Transfer, TransferError},
    },
};

/// The wallet on its chain.
#[derive(Clone, Debug)]
pub struct Evm {
    /// The chain.
    pub chain: Arc<Chain>,
    /// The wallet that pays.
    pub wallet: Arc<Wallet>,
}

/// A transfer that can be made: its fields but the nonce, the account, and the nonce that the chain
/// expects.
#[derive(Debug)]
pub struct Ready {
    /// The fields, for [`Evm::seal`].
    pub transfer: Value,
    /// The account.
    pub account: String,
    /// The chain's next nonce.
    pub nonce: u64,
}

impl Evm {
    /// Checks that `amount` can be paid to `to` and gathers what the transaction needs. Sends
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Code::InsufficientFunds`] with both figures, [`Code::PayeeNotAllowed`],
    /// [`Code::ChainUnavailable`], [`Code::ChainMismatch`].
    pub async fn ready(&self, to: Address, amount: Usdc) -> Result<Ready, Error> {
        let from = self.wallet.evm_address().ok_or_else(no_wallet)?;
        let pins = self.chain.pins();
        let mut transfer = Transfer {
            chain_id: pins.chain_id,
            usdc: pins.usdc,
            to,
            amount,
            nonce: 0,
            max_fee_per_gas: 0,
            max_priority_fee_per_gas: 0,
            gas_limit: 0,
        };
        // Refused before anything is asked, where a payee or a pin is wrong.
        transfer.check_fields(&self.wallet).map_err(|e| transfer_error(&e))?;
        let balance = self.chain.usdc_balance(from).await?;
        if balance < amount {
            let message = format!("the wallet {from} has {balance} USDC, and {amount} are needed");
            return Err(Error::new(Code::InsufficientFunds, message));
        }
        let fees = self.chain.fees().await?;
        let gas = self.chain.estimate_gas(from, pins.usdc, transfer.call_data()).await;
        let gas = gas?;
        transfer.max_fee_per_gas = fees.max_fee_per_gas;
        transfer.max_priority_fee_per_gas = fees.max_priority_fee_per_gas;
        // A fifth more than now: the state may change before it is mined.
        transfer.gas_limit = gas.saturating_add(gas / 5).min(crate::chain::GAS_LIMIT_MAX);
        let needed = U256::from(transfer.gas_limit) * U256::from(transfer.max_fee_per_gas);
        let wei = self.chain.eth_balance(from).await?;
        if wei < needed {
            let message =
                format!("the wallet {from} has {wei} wei for the network's fee of up to {needed}");
            return Err(Error::new(Code::InsufficientFunds, message));
        }
        let nonce = self.chain.nonce_pending(from).await?;
        // Refused here rather than after the reservation, where the fees are wrong.
        transfer.check_fields(&self.wallet).map_err(|e| transfer_error(&e))?;
        let mut fields = json!(transfer);
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("nonce");
        }
        Ok(Ready { transfer: fields, account: from.to_checksum(None), nonce })
    }

    /// The journal's instrument with the hash of its transaction.
    ///
    /// # Errors
    ///
    /// Where it cannot be signed; nothing was sent.
    pub fn seal(&self, purchase: &Purchase) -> Result<Value, Error> {
        let transfer = transfer_of(purchase)?;
        let signed = self.wallet.sign_transfer(&transfer).map_err(|e| transfer_error(&e))?;
        let mut instrument = purchase.instrument.clone().unwrap_or_default();
        if let Some(members) = instrument.as_object_mut() {
            members.insert("tx_hash".to_owned(), json!(signed.hash));
        }
        Ok(instrument)
    }

    /// Sends the transaction of the journal, the same bytes each time.
    pub async fn send(&self, purchase: &Purchase) -> Fate {
        let signed = transfer_of(purchase).and_then(|transfer| {
            self.wallet.sign_transfer(&transfer).map_err(|e| transfer_error(&e))
        });
        let signed = match signed {
            Ok(signed) if Some(signed.hash) == hash_of(purchase) => signed,
            // It was written down as another one: this wallet is not the one that began it.
            Ok(_) => return Fate::Unknown("the wallet has changed since it was sent".to_owned()),
            Err(error) => return Fate::Unknown(error.to_string()),
        };
        match self.chain.send_raw(&signed.raw).await {
            // A nonce that is used may be used by this very transaction, sent earlier: asking tells.
            Ok(_) | Err(SendError::NonceUsed) => Fate::Pending,
            Err(error) => {
                tracing::warn!(purchase = %purchase.id, %error, "a transaction's answer is missing");
                Fate::Unknown(error.to_string())
            }
        }
    }

    /// Asks what became of the transaction.
    ///
    /// # Errors
    ///
    /// Where the node does not answer.
    pub async fn look_up(&self, purchase: &Purchase) -> Result<Fate, Error> {
        let (Some(hash), Some(nonce)) = (hash_of(purchase), purchase.account_nonce) else {
            return Ok(Fate::Unknown("the journal has no transaction for it".to_owned()));
        };
        let from: Address = purchase
            .account
            .as_deref()
            .and_then(|account| account.parse().ok())
            .ok_or_else(|| Error::new(Code::Internal, "the journal's account is no address"))?;
        // In this order: were the nonce read last, a transaction mined in between would look dead.
        let used = self.chain.nonce_latest(from).await?;
        let receipt = self.chain.receipt(hash).await?;
        if let Some(receipt) = receipt {
            let transfer = transfer_of(purchase)?;
            if transfer.expected_log(from, &receipt) {
                return Ok(Fate::Paid);
            }
            if !receipt.succeeded {
                return Ok(Fate::Dead(
                    Code::UpstreamRejected,
                    format!("the transaction {hash} was reverted"),
                ));
            }
            return Ok(Fate::Unknown(format!("the transaction {hash} did something else")));
        }
        let known = self.chain.knows(hash).await?;
        if used > nonce && !known {
            return Ok(Fate::Dead(
                Code::UpstreamRejected,
                format!("the nonce {nonce} paid for something else"),
            ));
        }
        Ok(if known {
            Fate::Pending
        } else {
            Fate::Unknown("the chain's node has not seen the transaction".to_owned())
        })
    }
}

fn hash_of(purchase: &Purchase) -> Option<B256> {
    purchase.instrument.as_ref()?.get("tx_hash")?.as_str()?.parse().ok()
}

fn transfer_of(purchase: &Purchase) -> Result<Transfer, Error> {
    let broken = || Error::new(Code::Internal, "the journal's instrument is not a transfer");
    let fields = purchase.instrument.as_ref().and_then(|i| i.get("transfer")).cloned();
    let mut fields = fields.ok_or_else(broken)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("nonce".to_owned(), json!(purchase.account_nonce));
    }
    serde_json::from_value(fields).map_err(|_| broken())
}

fn no_wallet() -> Error {
    Error::new(Code::InsufficientFunds, "there is no EVM wallet: `haggle keys generate` makes one")
}

fn transfer_error(error: &TransferError) -> Error {
    let code = match error {
        TransferError::NotPinned { .. } => Code::ChainMismatch,
        TransferError::Payee { .. } => Code::PayeeNotAllowed,
        TransferError::ZeroAmount => Code::TermsMismatch,
        TransferError::Fees { .. } => Code::ChainUnavailable,
        TransferError::Sign(_) => Code::InsufficientFunds,
    };
    Error::new(code, error.to_string())
}
