//! How agreements are shown: our words and figures, theirs cleaned and marked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::rfc3339,
    marketplaces::{
        lenient::{instant, word},
        paegents::agreements::{Agreement, Role},
    },
    money::Usdc,
    text::{TEXT_CHARS_MAX, clean, clean_json},
};

/// The most characters of an agreement's free JSON that are shown.
const METADATA_CHARS_MAX: usize = 4_000;

/// Which side of it is yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RoleWord {
    /// You pay.
    Buyer,
    /// You serve.
    Seller,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Buyer => Self::Buyer,
            RoleWord::Seller => Self::Seller,
        }
    }
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Buyer => Self::Buyer,
            Role::Seller => Self::Seller,
        }
    }
}

/// An agreement.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgreementView {
    /// Its identifier.
    pub agreement_id: String,
    /// proposed, accepted (payable), active (callable), or another.
    pub status: String,
    /// Your side, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleWord>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_agent_id: Option<String>,
    /// Who is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller_agent_id: Option<String>,
    /// How many units.
    pub quantity: u64,
    /// How many of them were used.
    pub units_used: u64,
    /// What one unit is.
    pub unit_untrusted: String,
    /// For one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// For all: the deposit, without the platform's fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposit_usd: Option<Usdc>,
    /// How it is paid.
    pub settlement_model: String,
    /// Where the escrow's activation stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_status: Option<String>,
    /// Where the escrow stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow_status: Option<String>,
    /// Where the settlement stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settlement_status: Option<String>,
    /// Until when a close can be disputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_window_expires_at: Option<String>,
    /// What is bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_untrusted: Option<String>,
    /// Delivery, shipping, suggestions.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub metadata_untrusted: Value,
    /// When it lapses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl AgreementView {
    /// Of this agreement, seen from this side.
    #[must_use]
    pub fn of(agreement: &Agreement, role: Option<Role>) -> Self {
        let metadata = &agreement.metadata;
        let is_empty = metadata.as_object().is_some_and(serde_json::Map::is_empty);
        let metadata = if is_empty { Value::Null } else { metadata.clone() };
        Self {
            agreement_id: agreement.agreement_id.to_string(),
            status: word(&agreement.status).to_owned(),
            role: role.map(RoleWord::from),
            buyer_agent_id: agreement.buyer_agent_id.as_ref().map(ToString::to_string),
            seller_agent_id: agreement.seller_agent_id.as_ref().map(ToString::to_string),
            quantity: agreement.quantity,
            units_used: agreement.units_used,
            unit_untrusted: clean(&agreement.unit, 64),
            unit_price_usd: agreement.unit_price().ok(),
            deposit_usd: agreement.deposit().ok(),
            settlement_model: word(&agreement.settlement_model).to_owned(),
            activation_status: said(&agreement.activation_status),
            escrow_status: said(&agreement.escrow_status),
            settlement_status: said(&agreement.settlement_status),
            challenge_window_expires_at: shown_time(&agreement.challenge_window_expires_at),
            description_untrusted: theirs(&agreement.service_description),
            metadata_untrusted: clean_json(metadata, METADATA_CHARS_MAX),
            expires_at: shown_time(&agreement.expires_at),
        }
    }

    /// As a list shows it: without the free JSON.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.metadata_untrusted = Value::Null;
        self
    }
}

/// A word of theirs that may be missing.
#[must_use]
pub fn said(status: &str) -> Option<String> {
    (!matches!(status, "" | "none")).then(|| word(status).to_owned())
}

/// A text of theirs that may be empty.
#[must_use]
pub fn theirs(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| clean(text, TEXT_CHARS_MAX))
}

/// A time of theirs, where it can be read.
#[must_use]
pub fn shown_time(text: &str) -> Option<String> {
    instant(text).map(rfc3339)
}
