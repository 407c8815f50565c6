//! How a settlement is asked for and shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::Usdc;

/// How an action is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ModeWord {
    /// Signed here, sent by the platform.
    Sponsored,
    /// A transaction of the wallet.
    Direct,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SettleState {
    /// It shows.
    Done,
    /// It was handed in and does not show yet.
    Submitted,
    /// It cannot be done before the challenge window is over.
    Waiting,
    /// There is nothing to take.
    NothingLeft,
}

/// What an action led to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SettleView {
    /// Of which agreement.
    pub agreement_id: String,
    /// What became of it.
    pub state: SettleState,
    /// How it was sent, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<ModeWord>,
    /// Received in all from this agreement, as the platform counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_usd: Option<Usdc>,
    /// What can still be taken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_usd: Option<Usdc>,
    /// The transaction, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<String>,
    /// Where the settlement stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settlement_status: Option<String>,
    /// Until when a close can be disputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_window_expires_at: Option<String>,
}
