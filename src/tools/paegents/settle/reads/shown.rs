//! How the package, the status, the options and the calldata are shown: figures and addresses that
//! could be read, and what was compared with what.

use alloy_primitives::Address;
use schemars::JsonSchema;
use serde::Serialize;

use super::ActionWord;
use crate::{
    clock::rfc3339,
    ids::AgreementId,
    marketplaces::{
        lenient::word,
        paegents::{
            offer::Seen,
            package::DepositParams,
            settlement::{EscrowStatus, Instructions, Options},
        },
        payable_address,
    },
    money::Usdc,
    tools::paegents::{
        settle::shown::ModeWord,
        shown::{said, shown_time},
    },
    wallet::call::{Act, Selector},
};

/// The most ways of funding that are shown.
const MODES_MAX: usize = 8;
/// What the options are compared with.
const OPTIONS_CHECKED: [&str; 5] = [
    "agreement_id",
    "chain_id",
    "signer_wallet_address",
    "escrow_contract_address",
    "onchain_agreement_id",
];
/// What calldata is compared with: §10.4.
const CALLDATA_CHECKED: [&str; 6] =
    ["function", "to is the escrow contract", "selector", "argument", "value is 0", "chain_id"];

/// A check.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedView {
    /// The member.
    pub field: String,
    /// Whether it is as it must be.
    pub holds: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl CheckedView {
    fn of(field: &str, holds: bool, problem: &str) -> Self {
        let problem = (!holds).then(|| problem.to_owned());
        Self { field: field.to_owned(), holds, problem }
    }
}

/// What an activation would sign.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PackageView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Whether it would be signed as it is.
    pub all_hold: bool,
    /// Each check, in the order of an activation.
    pub checks: Vec<CheckedView>,
    /// Into the escrow.
    pub deposit_usd: Usdc,
    /// The platform's, where all checks hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_usd: Option<Usdc>,
    /// Both, where all checks hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_usd: Option<Usdc>,
    /// Who is paid.
    pub seller_wallet: String,
    /// Who signs the receipts of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_signer: Option<String>,
    /// The contract that an activation would fund: the pinned or configured one.
    pub escrow_contract: String,
    /// How long a close can be disputed.
    pub challenge_window_seconds: u64,
    /// Until when it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How the deposit can be drawn.
    pub funding_modes: Vec<String>,
}

impl PackageView {
    pub(super) fn of(seen: &Seen) -> Self {
        let (package, terms) = (&seen.package, &seen.package.terms);
        let expected = seen.expected();
        let checks = package.rules(&expected);
        let asked = package.check(&expected).ok();
        let modes = package.funding.mode_options.iter().take(MODES_MAX);
        Self {
            agreement_id: seen.agreement.agreement_id.to_string(),
            all_hold: asked.is_some(),
            checks: checks
                .iter()
                .map(|rule| CheckedView::of(rule.field, rule.holds, &rule.problem))
                .collect(),
            deposit_usd: Usdc::from_micros(terms.deposit_amount_atomic),
            fee_usd: asked.map(|asked| asked.fee.map_or(Usdc::ZERO, |(fee, _)| fee)),
            total_usd: asked.map(|asked| asked.total),
            seller_wallet: terms.seller.to_checksum(None),
            receipt_signer: terms.receipt_signer.map(|signer| signer.to_checksum(None)),
            escrow_contract: seen.escrow.to_checksum(None),
            challenge_window_seconds: terms.challenge_window_seconds,
            expires_at: i64::try_from(terms.expiry).ok().map(rfc3339),
            funding_modes: modes.map(|mode| word(mode).to_owned()).collect(),
        }
    }
}

/// Where an escrow stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EscrowStatusView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Whether the settlement is where it was to be: see `until`.
    pub reached: bool,
    /// The agreement's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The escrow's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow_status: Option<String>,
    /// The settlement's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settlement_status: Option<String>,
    /// The activation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_status: Option<String>,
    /// The platform fee's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_status: Option<String>,
    /// Deposited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposit_usd: Option<Usdc>,
    /// Earned by the seller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earned_usd: Option<Usdc>,
    /// Claimed by the seller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_usd: Option<Usdc>,
    /// Withdrawn by the buyer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn_usd: Option<Usdc>,
    /// What the seller can claim now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimable_usd: Option<Usdc>,
    /// What the buyer can withdraw now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawable_usd: Option<Usdc>,
    /// Until when a close can be disputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_window_expires_at: Option<String>,
    /// Its number in the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onchain_agreement_id: Option<u64>,
    /// The chain, as the platform says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// The transaction that funded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_tx_hash: Option<String>,
}

impl EscrowStatusView {
    pub(super) fn of(status: &EscrowStatus, reached: bool) -> Self {
        let usd = |atomic: Option<u64>| atomic.map(Usdc::from_micros);
        let hash = status.activation_tx_hash.trim().parse::<alloy_primitives::B256>();
        Self {
            agreement_id: status.agreement_id.to_string(),
            reached,
            status: said(&status.status),
            escrow_status: said(&status.escrow_status),
            settlement_status: said(&status.settlement_status),
            activation_status: said(&status.activation_status),
            fee_status: said(&status.infra_fee_status),
            deposit_usd: usd(status.service_amount_atomic),
            earned_usd: usd(status.aggregate_earned_atomic),
            claimed_usd: usd(status.aggregate_claimed_atomic),
            withdrawn_usd: usd(status.aggregate_withdrawn_atomic),
            claimable_usd: usd(status.seller_claimable_atomic),
            withdrawable_usd: usd(status.buyer_withdrawable_atomic),
            challenge_window_expires_at: shown_time(&status.challenge_window_expires_at),
            onchain_agreement_id: status.onchain_agreement_id,
            chain_id: status.chain_id,
            activation_tx_hash: hash.ok().map(|hash| hash.to_string()),
        }
    }
}

/// Whether and how a settlement can be sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OptionsView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Which settlement.
    pub action: ActionWord,
    /// Whether it can be done now, in either way.
    pub available: bool,
    /// The way that the platform recommends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<ModeWord>,
    /// Whether the platform would send it.
    pub sponsored: bool,
    /// Whether the wallet could.
    pub direct: bool,
    /// Why, or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the platform would not send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsored_block_reason: Option<String>,
    /// What can be taken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeable_usd: Option<Usdc>,
    /// The contract's count of the signer's actions.
    pub nonce: u64,
    /// The deadline that the platform would like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_deadline: Option<String>,
    /// Where the settlement stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settlement_status: Option<String>,
    /// What was compared with what is known, and is the same.
    pub checked: Vec<String>,
}

impl OptionsView {
    pub(super) fn of(options: &Options, action: ActionWord) -> Self {
        let deadline = i64::try_from(options.suggested_deadline).ok().filter(|at| *at > 0);
        Self {
            agreement_id: options.agreement_id.to_string(),
            action,
            available: options.sponsored_available || options.direct_available,
            recommended: match options.recommended_mode.as_str() {
                "sponsored" => Some(ModeWord::Sponsored),
                "direct" => Some(ModeWord::Direct),
                // A word that is not known counts as unavailable (§14.7, assumed).
                _ => None,
            },
            sponsored: options.sponsored_available,
            direct: options.direct_available,
            reason: said(&options.availability_reason),
            sponsored_block_reason: said(&options.sponsored_block_reason),
            takeable_usd: options.claimable_atomic.map(Usdc::from_micros),
            nonce: options.current_nonce,
            suggested_deadline: deadline.map(rfc3339),
            settlement_status: said(&options.settlement_status),
            checked: OPTIONS_CHECKED.map(ToOwned::to_owned).to_vec(),
        }
    }
}

/// A transaction that a wallet would send.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CalldataView {
    /// Of which agreement.
    pub agreement_id: String,
    /// What it does.
    pub action: ActionWord,
    /// Whether there is one: it is offered once it would succeed.
    pub available: bool,
    /// The contract: the escrow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Function and argument, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Ether to send along, in wei.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The chain.
    pub chain_id: u64,
    /// documented or sdk: whose selector of this function it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// What can be taken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeable_usd: Option<Usdc>,
    /// Whether the escrow is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// What was checked, and holds; empty where there is none.
    pub checked: Vec<String>,
}

impl CalldataView {
    pub(super) fn of(
        id: &AgreementId,
        action: ActionWord,
        instructions: &Instructions,
        act: Option<&Act>,
        chain_id: u64,
    ) -> Self {
        let selector = act.and_then(|act| match act {
            Act::Settle { selector: Selector::Documented, .. } => Some("documented".to_owned()),
            Act::Settle { selector: Selector::Sdk, .. } => Some("sdk".to_owned()),
            Act::Approve { .. } => None,
        });
        let checked = CALLDATA_CHECKED.map(ToOwned::to_owned).to_vec();
        Self {
            agreement_id: id.to_string(),
            action,
            available: act.is_some(),
            to: act.map(|act| act.contract().to_checksum(None)),
            data: act.map(|act| act.call_data().to_string()),
            value: act.map(|_| "0".to_owned()),
            chain_id,
            selector,
            takeable_usd: instructions.claimable_atomic.map(Usdc::from_micros),
            closed: instructions.closed.as_bool(),
            checked: act.map(|_| checked).unwrap_or_default(),
        }
    }
}

/// The first version's deposit parameters.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DepositParamsView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Whether every check holds.
    pub all_hold: bool,
    /// Each check.
    pub checks: Vec<CheckedView>,
    /// The chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usdc_address: Option<String>,
    /// The escrow contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow_contract_address: Option<String>,
    /// Who collects the fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas_wallet_address: Option<String>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_wallet_address: Option<String>,
    /// What the units cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposit_usd: Option<Usdc>,
    /// The platform's fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_usd: Option<Usdc>,
    /// The fee of each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_fee_usd: Option<Usdc>,
    /// Its number in the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onchain_agreement_id: Option<u64>,
    /// Of the prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing_version: Option<String>,
}

impl DepositParamsView {
    pub(super) fn of(
        id: &AgreementId,
        params: &DepositParams,
        checks: [(&'static str, bool, &'static str); 6],
    ) -> Self {
        let usd = |atomic: Option<u64>| atomic.map(Usdc::from_micros);
        let address = |text: &str| payable_address(text).map(|a: Address| a.to_checksum(None));
        Self {
            agreement_id: id.to_string(),
            all_hold: checks.iter().all(|(_, holds, _)| *holds),
            checks: checks
                .iter()
                .map(|(field, holds, problem)| CheckedView::of(field, *holds, problem))
                .collect(),
            chain_id: params.chain_id,
            usdc_address: address(&params.usdc_address),
            escrow_contract_address: address(&params.escrow_contract_address),
            gas_wallet_address: address(&params.gas_wallet_address),
            buyer_wallet_address: address(&params.buyer_wallet_address),
            deposit_usd: usd(params.service_amount_atomic),
            fee_usd: usd(params.infra_fee_amount_atomic),
            call_fee_usd: usd(params.per_call_fee_amount_atomic),
            onchain_agreement_id: params.onchain_agreement_id,
            pricing_version: said(&params.pricing_version),
        }
    }
}
