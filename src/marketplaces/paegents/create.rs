//! Proposing an agreement. Source: protocols/paegents.md §3.4, §6.1.
//!
//! Nothing is signed and nothing moves: the buyer pays once the seller has said yes. The proposal
//! carries a name of ours, under which the platform carries it out once and by which it is found
//! again where its answer was lost.

use alloy_primitives::Address;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::agreements::Agreement;
use crate::{
    ids::{AgentId, ServiceId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::list_of,
    },
};

/// How many agreements are read, where one is looked for.
pub const LISTED: u64 = 100;

/// Proposes an agreement: `POST /usage-agreements/`, the slash included (§1).
#[derive(Clone, Debug, Serialize)]
pub struct CreateAgreement<'a> {
    /// Who sells.
    pub seller_agent_id: &'a AgentId,
    /// How many units.
    pub quantity: u64,
    /// What one is.
    pub unit: &'a str,
    /// What one costs, in cents.
    pub price_per_unit_cents: u64,
    /// `bilateral_escrow`.
    pub settlement_model: &'static str,
    /// The rail.
    pub payment_method: Value,
    /// How long the seller may think about it.
    pub expires_in_seconds: u64,
    /// `v2`: the buyer pays after the seller's yes.
    pub activation_version: &'static str,
    /// The wallet that will pay.
    pub buyer_wallet_address: String,
    /// The service of the catalog.
    pub service_id: &'a ServiceId,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_description: Option<&'a str>,
    /// What is in the cart: free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cart_items: Option<&'a [Map<String, Value>]>,
    /// Where goods go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<&'a Shipping>,
    /// Our name for it, which is its idempotency key as well.
    pub client_proposal_id: String,
}

impl<'a> CreateAgreement<'a> {
    /// A proposal of so many units at the catalog's price, without a name yet.
    #[must_use]
    pub fn new(
        (seller_agent_id, service_id): (&'a AgentId, &'a ServiceId),
        (quantity, unit, price_per_unit_cents): (u64, &'a str, u64),
        buyer: Address,
        expires_in_seconds: u64,
    ) -> Self {
        Self {
            seller_agent_id,
            quantity,
            unit,
            price_per_unit_cents,
            settlement_model: "bilateral_escrow",
            payment_method: json!({ "rail": "stablecoin" }),
            expires_in_seconds,
            activation_version: "v2",
            buyer_wallet_address: buyer.to_checksum(None),
            service_id,
            service_description: None,
            cart_items: None,
            shipping_address: None,
            client_proposal_id: String::new(),
        }
    }
}

impl Operation for CreateAgreement<'_> {
    const NAME: &'static str = "paegents.create_usage_agreement";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Agreement;

    fn path(&self) -> String {
        "/usage-agreements/".to_owned()
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.client_proposal_id.clone())
    }
}

/// Where goods go (§6.1). What is left out goes over the wire as `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Shipping {
    /// Who receives it.
    pub recipient_name: String,
    /// Street and number.
    pub street1: String,
    /// More of it.
    #[serde(default)]
    pub street2: Option<String>,
    /// City.
    pub city: String,
    /// State or region.
    pub state: String,
    /// Postal code.
    pub postal_code: String,
    /// Two capital letters.
    pub country: String,
    /// Telephone.
    #[serde(default)]
    pub phone: Option<String>,
}

impl Shipping {
    /// Its members by name; what is left out has none.
    #[must_use]
    pub fn members(&self) -> [(&'static str, Option<&str>); 8] {
        [
            ("recipient_name", Some(&self.recipient_name)),
            ("street1", Some(&self.street1)),
            ("street2", self.street2.as_deref()),
            ("city", Some(&self.city)),
            ("state", Some(&self.state)),
            ("postal_code", Some(&self.postal_code)),
            ("country", Some(&self.country)),
            ("phone", self.phone.as_deref()),
        ]
    }
}

/// The agreements that an agent pays for: `GET /usage-agreements/agents/{agent}/agreements`.
#[derive(Debug, Serialize)]
pub struct ListBought<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    limit: u64,
    role: &'static str,
}

impl<'a> ListBought<'a> {
    /// Those of this agent.
    #[must_use]
    pub const fn of(agent_id: &'a AgentId) -> Self {
        Self { agent_id, limit: LISTED, role: "buyer" }
    }
}

impl Operation for ListBought<'_> {
    const NAME: &'static str = "paegents.list_usage_agreements";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Bought;

    fn path(&self) -> String {
        format!("/usage-agreements/agents/{}/agreements", self.agent_id)
    }
}

/// A bare list of agreements, or an object that holds it (§14.10). What cannot be read as an
/// agreement is passed over: it is none that we made.
#[derive(Debug)]
pub struct Bought(pub Vec<Agreement>);

impl<'de> Deserialize<'de> for Bought {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = list_of(Value::deserialize(deserializer)?);
        Ok(Self(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()))
    }
}
