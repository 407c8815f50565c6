//! Taking a proposal back, and complaining about an agreement. Source: protocols/paegents.md §3.4.

use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::{
    ids::AgreementId,
    marketplaces::http::{Effect, Operation},
};

/// The fewest characters of a complaint (§3.4).
pub const REASON_CHARS_MIN: usize = 10;

/// Takes a proposal back: `POST /usage-agreements/{id}/cancel`, only while it is `proposed`.
#[derive(Debug, Serialize)]
pub struct CancelAgreement<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for CancelAgreement<'_> {
    const NAME: &'static str = "paegents.cancel_usage_agreement";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    // What it answers is not documented: the agreement itself tells.
    type Output = Value;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/cancel", self.agreement_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(format!("cancel:{}", self.agreement_id))
    }
}

/// Complains about an agreement: `POST /usage-agreements/{id}/dispute`.
#[derive(Debug, Serialize)]
pub struct DisputeAgreement<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// Why, at least [`REASON_CHARS_MIN`] characters.
    pub reason: &'a str,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<&'a Value>,
    /// A digest of reason and evidence: another complaint is another request.
    #[serde(skip)]
    pub digest: String,
}

impl Operation for DisputeAgreement<'_> {
    const NAME: &'static str = "paegents.dispute_usage_agreement";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/dispute", self.agreement_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(format!("dispute:{}:{}", self.agreement_id, self.digest))
    }
}
