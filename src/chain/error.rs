//! What can go wrong with a node, and what it means for a payment.

use alloy_primitives::B256;

use crate::error::{Code, Error};

/// Characters of a node's own message that are kept.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// Why the chain gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The node did not answer. It may later.
    #[error("the chain's node {host} gave no answer: {reason}")]
    Unavailable {
        /// The node.
        host: String,
        /// How it failed.
        reason: Unavailable,
    },
    /// The node is on another chain.
    #[error("the node is on chain {got}, not {expected}")]
    WrongChain {
        /// Ours.
        expected: u64,
        /// The node's.
        got: u64,
    },
    /// The node answered something that is no answer.
    #[error("the chain's node {host} gave no readable answer to {method}")]
    Malformed {
        /// The node.
        host: String,
        /// The question.
        method: &'static str,
    },
    /// The node refused the question.
    #[error("the chain's node refused: {message} ({code})")]
    Rpc {
        /// JSON-RPC's.
        code: i64,
        /// The node's words, cleaned and shortened.
        message: String,
    },
    /// Gas costs more than we pay.
    #[error("gas costs {asked} wei a unit, more than 20 gwei")]
    FeesTooHigh {
        /// In wei.
        asked: u128,
    },
    /// The chain is not one of ours.
    #[error("chain {chain_id} is not one this program pays on")]
    NotPinned {
        /// Its number.
        chain_id: u64,
    },
    /// The configured URL is none.
    #[error("the configured node is no http or https URL")]
    Url,
}

/// How a node failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No connection: nothing was sent.
    #[error("no connection to it")]
    Connect,
    /// Not within the time limit.
    #[error("not within 15 s")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke")]
    Transport,
    /// An HTTP status without an answer of JSON-RPC.
    #[error("HTTP status {0}")]
    Status(u16),
    /// It redirects.
    #[error("it redirects, which is not followed")]
    Redirect,
    /// The answer is larger than 2 MB.
    #[error("its answer is larger than 2 MB")]
    TooLarge,
}

/// Why a transaction was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The node refused it plainly: by this sending it is not carried out.
    #[error("the chain's node refused the transaction: {message} ({code})")]
    Refused {
        /// JSON-RPC's.
        code: i64,
        /// The node's words, cleaned and shortened.
        message: String,
    },
    /// Its account nonce is used: by another transaction, or by this one, sent earlier. Its
    /// receipt tells.
    #[error("the transaction's account nonce is used already")]
    NonceUsed,
    /// It left and nothing readable came back: it may or may not be carried out.
    #[error("it is not known whether the chain's node took the transaction")]
    Lost(#[source] ChainError),
    /// It never left.
    #[error("the transaction was not sent")]
    NeverSent(#[source] ChainError),
}

/// What a node's error to a sent transaction means.
///
/// Nodes share no codes, so it goes by their words; source: go-ethereum `core/txpool/errors.go`,
/// Reth, Nethermind and Erigon. An error of the node's own, such as a timeout behind it, says
/// nothing about the transaction.
pub(super) fn refusal(code: i64, message: String, hash: B256) -> Result<B256, SendError> {
    const KNOWN: [&str; 4] =
        ["already known", "alreadyknown", "known transaction", "already in mempool"];
    const NONCE_USED: [&str; 3] = ["nonce too low", "oldnonce", "nonce is too low"];
    const OWN_FAULT: [&str; 7] =
        ["timeout", "timed out", "internal", "unavailable", "try again", "rate limit", "too many"];
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&KNOWN) || lower.contains("already imported") {
        return Ok(hash);
    }
    if says(&NONCE_USED) {
        return Err(SendError::NonceUsed);
    }
    // -32603: internal error.
    if code == -32603 || says(&OWN_FAULT) {
        return Err(SendError::Lost(ChainError::Rpc { code, message }));
    }
    Err(SendError::Refused { code, message })
}

/// A node's words, fit to be shown: printable ASCII, short, and without the secrets of its URL,
/// which some nodes repeat.
pub(super) fn clean(message: &str, secrets: &[String]) -> String {
    let mut message: String =
        message.chars().map(|c| if matches!(c, ' '..='~') { c } else { ' ' }).collect();
    for secret in secrets {
        message = message.replace(secret.as_str(), "[removed]");
    }
    message.chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

/// What a node's failure means for the caller. Nothing was sent by what failed.
impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        let code = match error {
            ChainError::WrongChain { .. } | ChainError::NotPinned { .. } => Code::ChainMismatch,
            ChainError::Unavailable { .. }
            | ChainError::Malformed { .. }
            | ChainError::Rpc { .. }
            | ChainError::FeesTooHigh { .. }
            | ChainError::Url => Code::ChainUnavailable,
        };
        Self::new(code, error.to_string())
    }
}
