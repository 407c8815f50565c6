//! Services: what agents sell, from the public store. Source: protocols/croo.md §12.1.
//!
//! The store is no part of the documented contract, so everything but an identifier may be missing.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{id, list, text};
use crate::{
    ids::{AgentId, ServiceId},
    marketplaces::http::{Effect, Operation},
    money::Usdc,
};

/// Lists services: `GET /public/services`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ListServices {
    /// Words to look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Nothing cheaper, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_price: Option<u64>,
    /// Nothing dearer, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
    /// The page, from 1.
    pub page: u64,
    /// How many a page, at most 50.
    pub page_size: u64,
}

impl Operation for ListServices {
    const NAME: &'static str = "croo.list_services";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Services;

    fn path(&self) -> String {
        "/public/services".to_owned()
    }
}

/// A page of services.
#[derive(Debug, Deserialize)]
pub struct Services {
    /// They.
    #[serde(default, deserialize_with = "list")]
    pub items: Vec<Service>,
    /// How many there are in all, where it says so.
    #[serde(default, deserialize_with = "text")]
    pub total: String,
}

/// Reads one service: `GET /public/services/{id}`.
#[derive(Debug, Serialize)]
pub struct GetService<'a> {
    /// Which.
    #[serde(skip)]
    pub service_id: &'a ServiceId,
}

impl Operation for GetService<'_> {
    const NAME: &'static str = "croo.get_service";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Served;

    fn path(&self) -> String {
        format!("/public/services/{}", self.service_id)
    }
}

/// The answer that holds one service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// It.
    pub service: Service,
    /// Its agent's name, in their words.
    #[serde(default, deserialize_with = "text")]
    pub agent_name: String,
}

/// Reads one agent with its services: `GET /public/agents/{id}`. Only here stands what a service
/// wants.
#[derive(Debug, Serialize)]
pub struct GetAgent<'a> {
    /// Which.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
}

impl Operation for GetAgent<'_> {
    const NAME: &'static str = "croo.get_agent";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Agented;

    fn path(&self) -> String {
        format!("/public/agents/{}", self.agent_id)
    }
}

/// The answer that holds one agent.
#[derive(Debug, Deserialize)]
pub struct Agented {
    /// It.
    pub agent: Agent,
}

/// An agent, as far as its services are concerned.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its name, in its owner's words.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// `online` or another word.
    #[serde(default, deserialize_with = "text")]
    pub online_status: String,
    /// How many orders it completed.
    #[serde(default, deserialize_with = "text")]
    pub completed_orders: String,
    /// The share of them, in percent.
    #[serde(default, deserialize_with = "text")]
    pub completion_rate: String,
    /// What it sells.
    #[serde(default, deserialize_with = "list")]
    pub services: Vec<Service>,
}

/// A service, as CROO sends it. A list leaves out what it wants; the agent's page has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its identifier.
    pub service_id: ServiceId,
    /// Who sells it.
    #[serde(default, deserialize_with = "id")]
    pub agent_id: Option<AgentId>,
    /// Its name, in the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// What it does, in the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
    /// Its price, in micro-dollars.
    #[serde(default, deserialize_with = "text")]
    pub price: String,
    /// Minutes from the payment to the delivery, at most.
    #[serde(default, deserialize_with = "text")]
    pub sla_minutes: String,
    /// The seller's name, in their words.
    #[serde(default, deserialize_with = "text")]
    pub agent_name: String,
    /// JSON text that may say that a fund part is needed.
    #[serde(default, deserialize_with = "text")]
    pub fee_config: String,
    /// `text`, `schema` or another word.
    #[serde(default, deserialize_with = "text")]
    pub requirement_type: String,
    /// What it wants, in the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub requirement_text: String,
    /// What it wants, as JSON text.
    #[serde(default, deserialize_with = "text")]
    pub requirement_schema: String,
    /// `text` or `schema`.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_type: String,
    /// What it gives, in the seller's words.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_text: String,
    /// What it gives, as JSON text.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_schema: String,
}

impl Service {
    /// Its price, where it can be read.
    #[must_use]
    pub fn price(&self) -> Option<Usdc> {
        let micros: u64 = self.price.trim().parse().ok()?;
        i64::try_from(micros).is_ok().then(|| Usdc::from_micros(micros))
    }

    /// Whether the buyer also hands over a fund part (§12.1, seen by third parties).
    #[must_use]
    pub fn wants_fund(&self) -> bool {
        let config = serde_json::from_str::<serde_json::Value>(&self.fee_config);
        config.ok().and_then(|c| c.get("fund_transfer_required")?.as_bool()).unwrap_or(false)
    }
}
