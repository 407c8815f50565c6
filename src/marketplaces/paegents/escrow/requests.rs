//! What is sent to fund an escrow. Source: protocols/paegents.md §3.5, §6.4.

use alloy_primitives::B256;
use reqwest::Method;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    ids::AgreementId,
    marketplaces::http::{Effect, Operation},
    wallet::eip712::ActivationIntent,
};

/// Hands the signatures in: `POST /usage-agreements/{id}/activate-escrow`.
#[derive(Debug, Serialize)]
pub(super) struct ActivateEscrow<'a> {
    #[serde(skip)]
    pub(super) agreement_id: &'a AgreementId,
    /// What is signed, as a digest: other signatures are another request.
    #[serde(skip)]
    pub(super) digest: B256,
    pub(super) buyer_intent: &'a ActivationIntent,
    pub(super) buyer_signature: String,
    pub(super) funding_authorization: FundingAuthorization,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_infra_fee_permit_signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_infra_fee_permit_deadline: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct FundingAuthorization {
    pub(super) mode: FundingMode,
    pub(super) amount: u64,
    pub(super) deadline: u64,
    pub(super) permit_data: Option<String>,
}

impl Operation for ActivateEscrow<'_> {
    const NAME: &'static str = "paegents.activate_escrow";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    // The agreement is read again: what is believed of it is what the chain says.
    type Output = IgnoredAny;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/activate-escrow", self.agreement_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        let digest = hex::encode(self.digest.get(..8).unwrap_or_default());
        Some(format!("activate:{}:{digest}", self.agreement_id))
    }
}

/// Puts new permits in the place of those that are over: `POST /usage-agreements/{id}/refresh-permit`.
#[derive(Debug, Serialize)]
pub(super) struct RefreshPermit<'a> {
    #[serde(skip)]
    pub(super) agreement_id: &'a AgreementId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_permit_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_permit_deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_infra_fee_permit_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buyer_infra_fee_permit_deadline: Option<u64>,
}

impl Operation for RefreshPermit<'_> {
    const NAME: &'static str = "paegents.refresh_permit";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = IgnoredAny;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/refresh-permit", self.agreement_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        let until = self.buyer_permit_deadline.or(self.buyer_infra_fee_permit_deadline);
        Some(format!("refresh:{}:{}", self.agreement_id, until.unwrap_or_default()))
    }
}

/// How the deposit is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FundingMode {
    /// By a signature of this wallet.
    #[serde(rename = "erc2612_permit")]
    Permit,
    /// From an allowance that the wallet has given before.
    #[serde(rename = "prior_allowance")]
    Allowance,
}
