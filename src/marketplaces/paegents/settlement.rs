//! Ending an escrow: its status, what a party can do, and how. Source: protocols/paegents.md §3.5,
//! §6.6 to §6.9, §10.4.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::AgreementId,
    journal::actions::Kind,
    marketplaces::{
        http::{Effect, Operation},
        lenient::{maybe_number, number, text},
    },
    wallet::eip712::Settlement,
};

impl Kind {
    /// The settlement that it is; `None` for an allowance.
    #[must_use]
    pub const fn settlement(self) -> Option<Settlement> {
        match self {
            Self::Close => Some(Settlement::Close),
            Self::Claim => Some(Settlement::Claim),
            Self::Withdraw => Some(Settlement::Withdraw),
            Self::Approve => None,
        }
    }

    /// The word in the path of a sponsored action (§3.5); the others have underscores.
    const fn path_word(self) -> &'static str {
        match self {
            Self::Close => "initiate-close",
            Self::Claim => "seller-claim",
            Self::Withdraw => "buyer-withdraw",
            Self::Approve => "approve",
        }
    }
}

/// Where an escrow stands: `GET /usage-agreements/{id}/escrow-status`.
#[derive(Debug, Serialize)]
pub struct GetEscrowStatus<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetEscrowStatus<'_> {
    const NAME: &'static str = "paegents.get_escrow_status";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = EscrowStatus;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/escrow-status", self.agreement_id)
    }
}

/// Where an escrow stands. Amounts are micro-units.
#[derive(Clone, Debug, Deserialize)]
pub struct EscrowStatus {
    /// Of which agreement.
    pub agreement_id: AgreementId,
    /// A word of the platform.
    #[serde(default, deserialize_with = "text")]
    pub escrow_status: String,
    /// The agreement's own status.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// `closing`, `finalized`, `settled`, or another word.
    #[serde(default, deserialize_with = "text")]
    pub settlement_status: String,
    /// Where its activation stands (not in every version, §13.15).
    #[serde(default, deserialize_with = "text")]
    pub activation_status: String,
    /// The transaction that funded it.
    #[serde(default, deserialize_with = "text")]
    pub activation_tx_hash: String,
    /// Whether the platform's fee was paid.
    #[serde(default, deserialize_with = "text")]
    pub infra_fee_status: String,
    /// The escrow's number in the contract.
    #[serde(default, deserialize_with = "maybe_number")]
    pub onchain_agreement_id: Option<u64>,
    /// What was deposited for units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub service_amount_atomic: Option<u64>,
    /// What the seller has earned.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_earned_atomic: Option<u64>,
    /// What the seller has claimed.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_claimed_atomic: Option<u64>,
    /// What the buyer has withdrawn.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_withdrawn_atomic: Option<u64>,
    /// What the seller can claim now.
    #[serde(default, deserialize_with = "maybe_number")]
    pub seller_claimable_atomic: Option<u64>,
    /// What the buyer can withdraw now.
    #[serde(default, deserialize_with = "maybe_number")]
    pub buyer_withdrawable_atomic: Option<u64>,
    /// Until when a close can be disputed.
    #[serde(default, deserialize_with = "text")]
    pub challenge_window_expires_at: String,
    /// The chain.
    #[serde(default, deserialize_with = "maybe_number")]
    pub chain_id: Option<u64>,
}

/// What a party can do, and how: `GET /usage-agreements/{id}/settlement-action-options`.
#[derive(Debug, Serialize)]
pub struct GetOptions<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// `initiate_close`, `seller_claim` or `buyer_withdraw`.
    pub action: &'static str,
    /// Who would sign.
    pub signer_wallet_address: &'a str,
}

impl Operation for GetOptions<'_> {
    const NAME: &'static str = "paegents.get_settlement_action_options";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Options;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/settlement-action-options", self.agreement_id)
    }
}

/// What a party can do, and how.
#[derive(Clone, Debug, Deserialize)]
pub struct Options {
    /// Of which agreement.
    pub agreement_id: AgreementId,
    /// The escrow's number in the contract.
    #[serde(deserialize_with = "number")]
    pub onchain_agreement_id: u64,
    /// The contract's count of the signer's actions.
    #[serde(deserialize_with = "number")]
    pub current_nonce: u64,
    /// The chain.
    #[serde(deserialize_with = "number")]
    pub chain_id: u64,
    /// Who would sign.
    #[serde(default, deserialize_with = "text")]
    pub signer_wallet_address: String,
    /// The escrow contract.
    #[serde(default, deserialize_with = "text")]
    pub escrow_contract_address: String,
    /// What can be taken now, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub claimable_atomic: Option<u64>,
    /// Whether the wallet could send it itself.
    #[serde(default)]
    pub direct_available: bool,
    /// Whether the platform would send it.
    #[serde(default)]
    pub sponsored_available: bool,
    /// Why neither.
    #[serde(default, deserialize_with = "text")]
    pub availability_reason: String,
    /// Why the platform would not send it.
    #[serde(default, deserialize_with = "text")]
    pub sponsored_block_reason: String,
    /// `sponsored`, `direct`, `unavailable`; another word counts as the last.
    #[serde(default, deserialize_with = "text")]
    pub recommended_mode: String,
    /// Why.
    #[serde(default, deserialize_with = "text")]
    pub recommendation_reason: String,
    /// The deadline that the platform would like, in Unix seconds.
    #[serde(default, deserialize_with = "number")]
    pub suggested_deadline: u64,
    /// Where the settlement stands.
    #[serde(default, deserialize_with = "text")]
    pub settlement_status: String,
}

/// Hands a signature in, which the platform sends: `POST …/sponsored-actions/{action}`.
#[derive(Debug, Serialize)]
pub struct SponsorAction<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// Which.
    #[serde(skip)]
    pub kind: Kind,
    /// Who signed.
    pub signer_wallet_address: String,
    /// The contract's count.
    pub nonce: u64,
    /// Until when it can be used, in Unix seconds.
    pub deadline: u64,
    /// 65 bytes, hex.
    pub signature: String,
}

impl Operation for SponsorAction<'_> {
    const NAME: &'static str = "paegents.submit_sponsored_action";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Sponsored;

    fn path(&self) -> String {
        let word = self.kind.path_word();
        format!("/usage-agreements/{}/sponsored-actions/{word}", self.agreement_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(format!("{}:{}:{}", self.kind.path_word(), self.agreement_id, self.nonce))
    }
}

/// What the platform does with a signature.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sponsored {
    /// A word of the platform.
    #[serde(default, deserialize_with = "text")]
    pub relay_status: String,
    /// The transaction, once it is sent.
    #[serde(default, deserialize_with = "text")]
    pub tx_hash: String,
}

/// The calldata of a claim or a withdrawal: `GET …/claim-instructions`.
#[derive(Debug, Serialize)]
pub struct GetClaimInstructions<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetClaimInstructions<'_> {
    const NAME: &'static str = "paegents.get_claim_instructions";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Instructions;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/claim-instructions", self.agreement_id)
    }
}

/// The calldata of a close: `GET …/initiate-close-calldata`.
#[derive(Debug, Serialize)]
pub struct GetCloseCalldata<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetCloseCalldata<'_> {
    const NAME: &'static str = "paegents.get_initiate_close_calldata";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Instructions;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/initiate-close-calldata", self.agreement_id)
    }
}

/// What a wallet would send by itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Instructions {
    /// The escrow's number in the contract.
    #[serde(default, deserialize_with = "maybe_number")]
    pub onchain_agreement_id: Option<u64>,
    /// The function's name.
    #[serde(default, deserialize_with = "text")]
    pub function: String,
    /// What can be taken, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub claimable_atomic: Option<u64>,
    /// The call.
    #[serde(default)]
    pub transaction: Option<Transaction>,
    /// The chain.
    #[serde(default, deserialize_with = "maybe_number")]
    pub chain_id: Option<u64>,
    /// Whether the escrow is closed.
    #[serde(default)]
    pub closed: Value,
}

/// A call that a wallet would send.
#[derive(Clone, Debug, Deserialize)]
pub struct Transaction {
    /// The contract.
    #[serde(default, deserialize_with = "text")]
    pub to: String,
    /// The function and its argument, hex.
    #[serde(default, deserialize_with = "text")]
    pub data: String,
    /// Ether, in wei.
    #[serde(default = "nothing", deserialize_with = "text")]
    pub value: String,
}

fn nothing() -> String {
    "0".to_owned()
}
