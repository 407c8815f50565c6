//! How negotiations and orders are shown: our words and figures, theirs cleaned and marked.

use alloy_primitives::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::rfc3339,
    error::Error,
    marketplaces::croo::{Role, instant, negotiations::Negotiation, orders::Order, word},
    money::Usdc,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, clean_json},
};

/// The most characters of a buyer's input that are shown.
const INPUT_CHARS_MAX: usize = 8_000;
/// The most characters of it in a list.
const LISTED_CHARS_MAX: usize = 200;

/// Which side of it is yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RoleWord {
    /// You order.
    #[serde(alias = "requester")]
    Buyer,
    /// You deliver.
    Provider,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Buyer => Self::Buyer,
            RoleWord::Provider => Self::Provider,
        }
    }
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Buyer => Self::Buyer,
            Role::Provider => Self::Provider,
        }
    }
}

/// A negotiation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NegotiationView {
    /// Its identifier.
    pub negotiation_id: String,
    /// `pending`, `accepted`, `rejected`, `expired`.
    pub status: String,
    /// Your side, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleWord>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_agent_id: Option<String>,
    /// Who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_agent_id: Option<String>,
    /// The buyer's input.
    pub requirements_untrusted: Value,
    /// The provider's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_reason_untrusted: Option<String>,
    /// What the buyer would hand over beside the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund_usd: Option<Usdc>,
    /// When it lapses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl NegotiationView {
    /// Of this negotiation, seen from this side.
    #[must_use]
    pub fn of(negotiation: &Negotiation, role: Option<Role>) -> Self {
        let fund = negotiation.fund_amount.trim().parse().ok().filter(|micros| *micros > 0);
        Self {
            negotiation_id: negotiation.negotiation_id.to_string(),
            status: word(&negotiation.status).to_owned(),
            role: role.map(RoleWord::from),
            service_id: negotiation.service_id.as_ref().map(ToString::to_string),
            buyer_agent_id: negotiation.requester_agent_id.as_ref().map(ToString::to_string),
            provider_agent_id: negotiation.provider_agent_id.as_ref().map(ToString::to_string),
            requirements_untrusted: input_of(&negotiation.requirements),
            reject_reason_untrusted: theirs(&negotiation.reject_reason),
            fund_usd: fund.map(Usdc::from_micros),
            expires_at: shown_time(&negotiation.expires_at),
            created_at: shown_time(&negotiation.created_time),
        }
    }

    /// As a list shows it: long input is cut.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.requirements_untrusted = listed(self.requirements_untrusted);
        self
    }
}

/// An order.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderView {
    /// Its identifier.
    pub order_id: String,
    /// As CROO has it, e.g. creating, created (payable), paid, completed.
    pub status: String,
    /// Your side, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleWord>,
    /// What it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negotiation_id: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_agent_id: Option<String>,
    /// Who is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_agent_id: Option<String>,
    /// What paying costs, part by part; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostView>,
    /// Where the fund part goes: the provider chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund_address_untrusted: Option<String>,
    /// The buyer's input.
    pub requirements_untrusted: Value,
    /// Why it was rejected, in the words of who did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_reason_untrusted: Option<String>,
    /// Until when it can be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pay_deadline: Option<String>,
    /// Until when it has to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_deadline: Option<String>,
}

/// What paying an order costs, in dollars.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CostView {
    /// Into escrow.
    pub price_usd: Usdc,
    /// On top, of a fund order.
    pub fee_usd: Usdc,
    /// The platform's gas.
    pub gas_usd: Usdc,
    /// Straight to the provider's address.
    pub fund_usd: Usdc,
    /// All of it: for `max_total_usd`.
    pub total_usd: Usdc,
}

impl OrderView {
    /// Of this order, seen from this side; `usdc` is the token of the chain in use.
    #[must_use]
    pub fn of(order: &Order, role: Option<Role>, usdc: Address) -> Self {
        Self {
            order_id: order.order_id.to_string(),
            status: word(&order.status).to_owned(),
            role: role.map(RoleWord::from),
            negotiation_id: order.negotiation_id.as_ref().map(ToString::to_string),
            service_id: order.service_id.as_ref().map(ToString::to_string),
            buyer_agent_id: order.requester_agent_id.as_ref().map(ToString::to_string),
            provider_agent_id: order.provider_agent_id.as_ref().map(ToString::to_string),
            cost: cost_of(order, usdc).ok(),
            fund_address_untrusted: theirs(&order.provider_fund_address),
            requirements_untrusted: input_of(&order.requirements),
            reject_reason_untrusted: theirs(&order.reject_reason),
            pay_deadline: shown_time(&order.pay_deadline),
            delivery_deadline: shown_time(&order.sla_deadline),
        }
    }

    /// As a list shows it: long input is cut.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.requirements_untrusted = listed(self.requirements_untrusted);
        self
    }
}

fn cost_of(order: &Order, usdc: Address) -> Result<CostView, Error> {
    let cost = order.cost(usdc)?;
    Ok(CostView {
        price_usd: cost.price,
        fee_usd: cost.fee,
        gas_usd: cost.gas,
        fund_usd: cost.fund,
        total_usd: cost.total,
    })
}

/// A text of theirs: JSON as JSON, anything else as it is.
#[must_use]
pub fn input_of(text: &str) -> Value {
    let json = serde_json::from_str::<Value>(text).ok().filter(|v| v.is_object() || v.is_array());
    match json {
        Some(json) => clean_json(json, INPUT_CHARS_MAX),
        None => Value::String(clean(text, INPUT_CHARS_MAX)),
    }
}

/// A buyer's input as a list shows it: whole where it is short, else its beginning.
fn listed(input: Value) -> Value {
    let text = match &input {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    if text.chars().count() <= LISTED_CHARS_MAX {
        return input;
    }
    Value::String(clean(&text, LISTED_CHARS_MAX))
}

/// A text of theirs that may be empty.
#[must_use]
pub fn theirs(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| clean(text, TEXT_CHARS_MAX))
}

/// A name of theirs that may be empty.
#[must_use]
pub fn name_of(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| clean(text, NAME_CHARS_MAX))
}

/// A time of theirs, where it can be read.
#[must_use]
pub fn shown_time(text: &str) -> Option<String> {
    instant(text).map(rfc3339)
}
