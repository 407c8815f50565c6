//! The chain, through one JSON-RPC node.
//!
//! - An error is never read as a number: a balance is either what the node said or an error.
//! - Nothing is asked before the node has shown that it is on the expected chain.
//! - A transaction that was sent is `Lost` unless the node plainly answered; its hash is ours,
//!   computed from its bytes, not the node's.
//! - The node's URL may hold a key: only its host is ever shown.

mod error;
mod rpc;
#[cfg(test)]
mod tests;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall as _, sol};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use self::{error::refusal, rpc::Node};
pub use self::{
    error::{ChainError, SendError, Unavailable},
    rpc::{RPC_ANSWER_BYTES_MAX, RPC_SECONDS_MAX},
};
use crate::{money::Usdc, wallet::pins};

/// The most that a unit of gas may cost, in wei: 20 gwei, a thousand times what Base asks.
pub const FEE_WEI_MAX: u128 = 20_000_000_000;
/// The most of it for the block's proposer, in wei: 2 gwei.
pub const PRIORITY_FEE_WEI_MAX: u128 = 2_000_000_000;
/// The most gas that a transaction of ours may use; a USDC transfer takes about 60 000.
pub const GAS_LIMIT_MAX: u64 = 500_000;
/// Blocks whose fees are looked at.
const FEE_BLOCKS: u64 = 10;

sol! {
    function balanceOf(address account) returns (uint256);
    function nonces(address owner) returns (uint256);
    function allowance(address owner, address spender) returns (uint256);
    function authorizationState(address authorizer, bytes32 nonce) returns (bool);
}

/// A pinned chain, read and written through one node.
#[derive(Debug)]
pub struct Chain {
    node: Node,
    pins: &'static pins::Chain,
    checked: OnceCell<()>,
}

/// What a transaction should offer for gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The most that a unit of gas may cost.
    pub max_fee_per_gas: u128,
    /// The part of it for the block's proposer.
    pub max_priority_fee_per_gas: u128,
}

/// What became of a transaction that is in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction's hash: the one that was asked for.
    pub transaction: B256,
    /// The number of its block.
    pub block: u64,
    /// Whether it was carried out; a transaction that reverted still used its nonce.
    pub succeeded: bool,
    /// What contracts said while it ran.
    pub logs: Vec<Log>,
}

/// One thing that a contract said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// The event and its indexed fields.
    pub topics: Vec<B256>,
    /// Its other fields.
    pub data: Bytes,
}

impl Chain {
    /// A chain behind the node at `url`.
    ///
    /// `client` must not follow redirects; an answer that came over one is refused in any case.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotPinned`] for a chain that is not in [`pins`], [`ChainError::Url`] where the
    /// URL is none of HTTP.
    pub fn new(client: reqwest::Client, url: &str, chain_id: u64) -> Result<Self, ChainError> {
        let pins = pins::chain(chain_id).ok_or(ChainError::NotPinned { chain_id })?;
        Ok(Self { node: Node::new(client, url)?, pins, checked: OnceCell::new() })
    }

    /// The chain's pins.
    #[must_use]
    pub const fn pins(&self) -> &'static pins::Chain {
        self.pins
    }

    /// The node's host, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        self.node.host()
    }

    /// Asks the node for its chain and compares it with the expected one.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongChain`], or that the node did not answer.
    pub async fn chain_id(&self) -> Result<u64, ChainError> {
        let got = self.node.quantity("eth_chainId", json!([])).await?;
        let expected = self.pins.chain_id;
        if got == expected { Ok(got) } else { Err(ChainError::WrongChain { expected, got }) }
    }

    /// The USDC of an address, in the latest block.
    ///
    /// # Errors
    ///
    /// [`ChainError`]; a balance that cannot be read is not zero.
    pub async fn usdc_balance(&self, address: Address) -> Result<Usdc, ChainError> {
        let data = balanceOfCall { account: address }.abi_encode();
        let balance = self.usdc_word(data).await?;
        let micros = u64::try_from(balance).ok();
        micros.map(Usdc::from_micros).ok_or_else(|| self.node.malformed("eth_call"))
    }

    /// The nonce of the next permit that an address signs, in the latest block (EIP-2612).
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn permit_nonce(&self, owner: Address) -> Result<u64, ChainError> {
        let nonce = self.usdc_word(noncesCall { owner }.abi_encode()).await?;
        u64::try_from(nonce).map_err(|_| self.node.malformed("eth_call"))
    }

    /// How much USDC of `owner` may be taken by `spender`, in the latest block, in micro-units.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn allowance(&self, owner: Address, spender: Address) -> Result<U256, ChainError> {
        self.usdc_word(allowanceCall { owner, spender }.abi_encode()).await
    }

    /// Whether a transfer authorization was used or cancelled, in the latest block (EIP-3009).
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn authorization_used(
        &self,
        authorizer: Address,
        nonce: B256,
    ) -> Result<bool, ChainError> {
        let state = authorizationStateCall { authorizer, nonce }.abi_encode();
        match u8::try_from(self.usdc_word(state).await?) {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            _ => Err(self.node.malformed("eth_call")),
        }
    }

    /// The time of the latest block, in Unix seconds: the time that contracts see.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn time(&self) -> Result<i64, ChainError> {
        self.checked().await?;
        let block: Value = self.node.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        let time = block.get("timestamp").and_then(rpc::read_quantity::<u64>);
        time.and_then(|time| i64::try_from(time).ok())
            .ok_or_else(|| self.node.malformed("eth_getBlockByNumber"))
    }

    /// One word that the token answers.
    async fn usdc_word(&self, data: Vec<u8>) -> Result<U256, ChainError> {
        let answer = self.call(self.pins.usdc, data.into()).await?;
        let word = <[u8; 32]>::try_from(answer.as_ref()).map(U256::from_be_bytes);
        word.map_err(|_| self.node.malformed("eth_call"))
    }

    /// The ether of an address in wei, in the latest block.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn eth_balance(&self, address: Address) -> Result<U256, ChainError> {
        self.checked().await?;
        self.node.quantity("eth_getBalance", json!([address, "latest"])).await
    }

    /// The next account nonce by what is in blocks.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn nonce_latest(&self, address: Address) -> Result<u64, ChainError> {
        self.checked().await?;
        self.node.quantity("eth_getTransactionCount", json!([address, "latest"])).await
    }

    /// The next account nonce, counting what waits for a block at this node.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn nonce_pending(&self, address: Address) -> Result<u64, ChainError> {
        self.checked().await?;
        self.node.quantity("eth_getTransactionCount", json!([address, "pending"])).await
    }

    /// The number of the latest block.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.checked().await?;
        self.node.quantity("eth_blockNumber", json!([])).await
    }

    /// What a contract answers to a call, in the latest block.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn call(&self, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        self.checked().await?;
        let parameters = json!([{ "to": to, "data": data }, "latest"]);
        self.node.ask("eth_call", parameters).await
    }

    /// The gas that a call would use. A refusal by the contract is a [`ChainError::Rpc`].
    ///
    /// # Errors
    ///
    /// [`ChainError`]; more than [`GAS_LIMIT_MAX`] is malformed.
    pub async fn estimate_gas(
        &self,
        from: Address,
        to: Address,
        data: Bytes,
    ) -> Result<u64, ChainError> {
        self.checked().await?;
        let parameters = json!([{ "from": from, "to": to, "data": data }]);
        let gas = self.node.quantity("eth_estimateGas", parameters).await?;
        if (21_000..=GAS_LIMIT_MAX).contains(&gas) {
            Ok(gas)
        } else {
            Err(self.node.malformed("eth_estimateGas"))
        }
    }

    /// What to offer for gas: the median priority fee of recent blocks, and twice the base fee.
    ///
    /// A node without `eth_feeHistory` is asked for its gas price.
    ///
    /// # Errors
    ///
    /// [`ChainError::FeesTooHigh`] where the base fee alone is above [`FEE_WEI_MAX`].
    pub async fn fees(&self) -> Result<Fees, ChainError> {
        self.checked().await?;
        let parameters = json!([format!("{FEE_BLOCKS:#x}"), "latest", [50]]);
        let (base, priority) = match self.node.ask("eth_feeHistory", parameters).await {
            Ok(history) => {
                read_fees(&history).ok_or_else(|| self.node.malformed("eth_feeHistory"))?
            }
            // Unknown method.
            Err(ChainError::Rpc { code: -32601, .. }) => {
                (self.node.quantity("eth_gasPrice", json!([])).await?, 0)
            }
            Err(error) => return Err(error),
        };
        let priority = priority.min(PRIORITY_FEE_WEI_MAX);
        let least = base.saturating_add(priority);
        if least > FEE_WEI_MAX {
            return Err(ChainError::FeesTooHigh { asked: least });
        }
        let max_fee_per_gas = base.saturating_mul(2).saturating_add(priority).min(FEE_WEI_MAX);
        Ok(Fees { max_fee_per_gas, max_priority_fee_per_gas: priority })
    }

    /// Sends a signed transaction and returns its hash. A transaction that the node knows already
    /// is as good as one it accepts, so the same bytes may be sent again.
    ///
    /// # Errors
    ///
    /// [`SendError`]; after [`SendError::Lost`] it may or may not be carried out.
    pub async fn send_raw(&self, raw: &[u8]) -> Result<B256, SendError> {
        self.checked().await.map_err(SendError::NeverSent)?;
        let hash = keccak256(raw);
        let parameters = json!([format!("0x{}", hex::encode(raw))]);
        match self.node.ask::<B256>("eth_sendRawTransaction", parameters).await {
            Ok(answer) if answer == hash => Ok(hash),
            Ok(_) => Err(SendError::Lost(self.node.malformed("eth_sendRawTransaction"))),
            Err(ChainError::Rpc { code, message }) => refusal(code, message, hash),
            Err(error @ ChainError::Unavailable { reason: Unavailable::Connect, .. }) => {
                Err(SendError::NeverSent(error))
            }
            Err(error) => Err(SendError::Lost(error)),
        }
    }

    /// What became of a transaction, or `None` while it is in no block that this node knows.
    ///
    /// # Errors
    ///
    /// [`ChainError`]; a receipt of another transaction is malformed.
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        self.checked().await?;
        let answer: Value = self.node.ask("eth_getTransactionReceipt", json!([hash])).await?;
        if answer.is_null() {
            return Ok(None);
        }
        read_receipt(&answer)
            .filter(|receipt| receipt.transaction == hash)
            .map(Some)
            .ok_or_else(|| self.node.malformed("eth_getTransactionReceipt"))
    }

    /// Whether the node has this transaction, in a block or waiting for one.
    ///
    /// # Errors
    ///
    /// [`ChainError`].
    pub async fn knows(&self, hash: B256) -> Result<bool, ChainError> {
        self.checked().await?;
        let answer: Value = self.node.ask("eth_getTransactionByHash", json!([hash])).await?;
        Ok(!answer.is_null())
    }

    /// Asks once per process whether the node is on the expected chain.
    async fn checked(&self) -> Result<(), ChainError> {
        self.checked.get_or_try_init(|| async { self.chain_id().await.map(drop) }).await.copied()
    }
}

/// The next block's base fee and the median of the recent priority fees.
fn read_fees(history: &Value) -> Option<(u128, u128)> {
    let base = rpc::read_quantity(history.get("baseFeePerGas")?.as_array()?.last()?)?;
    let mut priorities = Vec::new();
    for block in history.get("reward").and_then(Value::as_array).into_iter().flatten() {
        priorities.push(rpc::read_quantity::<u128>(block.get(0)?)?);
    }
    priorities.sort_unstable();
    Some((base, priorities.get(priorities.len() / 2).copied().unwrap_or(0)))
}

fn read_receipt(answer: &Value) -> Option<Receipt> {
    let succeeded = match rpc::read_quantity::<u64>(answer.get("status")?)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Receipt {
        transaction: B256::deserialize(answer.get("transactionHash")?).ok()?,
        block: rpc::read_quantity(answer.get("blockNumber")?)?,
        succeeded,
        logs: Vec::deserialize(answer.get("logs")?).ok()?,
    })
}
