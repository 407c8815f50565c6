//! The catalog: what sellers offer, at a price a unit. Source: protocols/paegents.md §3.3, §4.3.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreements::cents;
use crate::{
    ids::{AgentId, ServiceId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::{id, list, maybe_number, number, text},
    },
    money::Usdc,
};

/// Reads one: `GET /agents/services/{id}`.
#[derive(Debug, Serialize)]
pub struct GetService<'a> {
    /// Which.
    #[serde(skip)]
    pub service_id: &'a ServiceId,
}

impl Operation for GetService<'_> {
    const NAME: &'static str = "paegents.get_service";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Service;

    fn path(&self) -> String {
        format!("/agents/services/{}", self.service_id)
    }
}

/// Looks through all: `POST /catalog/search`. Prices are cents.
#[derive(Clone, Debug, Serialize)]
pub struct SearchCatalog {
    /// How many at the most.
    pub limit: u64,
    /// After how many.
    pub offset: u64,
    /// Words to look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Only of this category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Nothing cheaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_price: Option<u64>,
    /// Nothing dearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
}

impl Operation for SearchCatalog {
    const NAME: &'static str = "paegents.search_services";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    // A key is sent where there is one; none is needed (§3.3).
    const AUTHENTICATED: bool = false;
    type Output = Catalog;

    fn path(&self) -> String {
        "/catalog/search".to_owned()
    }
}

/// A page of the catalog.
#[derive(Debug, Default, Deserialize)]
pub struct Catalog {
    /// How many there are.
    #[serde(default, deserialize_with = "number")]
    pub total: u64,
    /// Those of this page.
    #[serde(default, deserialize_with = "list")]
    pub results: Vec<Service>,
    /// Whether there is another page.
    #[serde(default)]
    pub has_more: bool,
    /// Where it begins.
    #[serde(default, deserialize_with = "maybe_number")]
    pub next_offset: Option<u64>,
}

/// A service, as Paegents sends it. It never holds the seller's upstream secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// Its identifier.
    pub service_id: ServiceId,
    /// Who sells it.
    #[serde(default, deserialize_with = "id")]
    pub agent_id: Option<AgentId>,
    /// In the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub service_name: String,
    /// In the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
    /// In the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub category: String,
    /// `per_unit`, `subscription` or `tiered`.
    #[serde(default, deserialize_with = "text")]
    pub price_model: String,
    /// What one unit costs, in cents.
    #[serde(default, deserialize_with = "maybe_number")]
    pub base_price_cents: Option<u64>,
    /// What one unit is.
    #[serde(default, deserialize_with = "text")]
    pub unit: String,
    /// The least that is sold at once.
    #[serde(default, deserialize_with = "maybe_number")]
    pub min_quantity: Option<u64>,
    /// The most.
    #[serde(default, deserialize_with = "maybe_number")]
    pub max_quantity: Option<u64>,
    /// Free JSON.
    #[serde(default)]
    pub capabilities: Value,
    /// Free JSON.
    #[serde(default)]
    pub metadata: Value,
    /// Whether it can be bought.
    #[serde(default = "yes")]
    pub is_active: bool,
    /// The seller's own address behind the metered proxy; shown to its owner.
    #[serde(default, deserialize_with = "text")]
    pub api_base_url: String,
    /// The seller's upstream secret with most of it hidden; shown to its owner.
    #[serde(default, deserialize_with = "text")]
    pub api_key_masked: String,
    /// The header that the secret goes into.
    #[serde(default, deserialize_with = "text")]
    pub api_auth_header: String,
}

const fn yes() -> bool {
    true
}

impl Service {
    /// What one unit costs; `None` where it is not said or does not fit.
    #[must_use]
    pub fn unit_price(&self) -> Option<Usdc> {
        self.base_price_cents.and_then(cents)
    }
}
