//! A seller's own services: offered, changed, taken off. Source: protocols/paegents.md §3.3, §4.3.
//!
//! Invariant: the seller's upstream secret goes out in one request and is in nothing else.

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{
    MICROS_PER_CENT, read_rows,
    services::{GetService, Service},
};
use crate::{
    ids::ServiceId,
    marketplaces::http::{Effect, Operation},
    money::Usdc,
};

/// Offers a service: `POST /agents/services`. Prices are cents.
#[derive(Debug, Serialize)]
pub struct RegisterService<'a> {
    /// Its name.
    pub service_name: &'a str,
    /// What buyers get.
    pub description: &'a str,
    /// One of the catalog's categories, or a new one.
    pub category: &'a str,
    /// `per_unit`, `subscription` or `tiered`.
    pub price_model: &'static str,
    /// What one unit costs, in cents.
    pub base_price_cents: u64,
    /// What one unit is.
    pub unit: &'a str,
    /// The least that is sold at once.
    pub min_quantity: u64,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantity: Option<u64>,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<&'a Map<String, Value>>,
    /// Where metered calls are forwarded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_base_url: Option<&'a str>,
    /// What the seller's own server wants to see; sent this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Exposed<'a>>,
    /// In which header: always sent.
    pub api_auth_header: &'a str,
}

/// A secret on its way to the marketplace: the one place where it is written out.
#[derive(Clone, Copy, Debug)]
pub struct Exposed<'a>(pub &'a SecretString);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose_secret().serialize(serializer)
    }
}

impl Operation for RegisterService<'_> {
    const NAME: &'static str = "paegents.register_service";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Service;

    fn path(&self) -> String {
        "/agents/services".to_owned()
    }
}

/// Changes a service: `PUT /agents/services/{id}`. What is `None` stays.
#[derive(Debug, Serialize)]
pub struct UpdateService<'a> {
    /// Which.
    #[serde(skip)]
    pub service_id: &'a ServiceId,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<&'a str>,
    /// What buyers get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// What one unit costs, in cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_price_cents: Option<u64>,
    /// The least that is sold at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quantity: Option<u64>,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantity: Option<u64>,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<&'a Map<String, Value>>,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<&'a Map<String, Value>>,
}

impl Operation for UpdateService<'_> {
    const NAME: &'static str = "paegents.update_service";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    // What comes back is not described: the service is read.
    type Output = Value;

    fn path(&self) -> String {
        GetService { service_id: self.service_id }.path()
    }
}

impl UpdateService<'_> {
    /// Whether nothing would be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        serde_json::to_value(self).is_ok_and(|body| body == Value::Object(Map::new()))
    }

    /// Whether a service is as this would make it.
    #[must_use]
    pub fn is_done(&self, service: &Service) -> bool {
        let json = |value: Option<&Map<String, Value>>, now: &Value| {
            value.is_none_or(|value| now.as_object() == Some(value))
        };
        self.service_name.is_none_or(|name| name == service.service_name)
            && self.description.is_none_or(|text| text == service.description)
            && self.base_price_cents.is_none_or(|cents| Some(cents) == service.base_price_cents)
            && self.min_quantity.is_none_or(|least| Some(least) == service.min_quantity)
            && self.max_quantity.is_none_or(|most| Some(most) == service.max_quantity)
            && json(self.capabilities, &service.capabilities)
            && json(self.metadata, &service.metadata)
    }
}

/// Takes a service off: `DELETE /agents/services/{id}`. It stays readable.
#[derive(Debug, Serialize)]
pub struct DeleteService<'a> {
    /// Which.
    #[serde(skip)]
    pub service_id: &'a ServiceId,
}

impl Operation for DeleteService<'_> {
    const NAME: &'static str = "paegents.delete_service";
    const METHOD: Method = Method::DELETE;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        GetService { service_id: self.service_id }.path()
    }
}

/// Lists the agent's own services: `GET /agents/services`.
#[derive(Debug, Serialize)]
pub struct ListMyServices {
    /// How many at the most.
    pub limit: u64,
    /// After how many.
    pub offset: u64,
}

impl Operation for ListMyServices {
    const NAME: &'static str = "paegents.list_my_services";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Offered;

    fn path(&self) -> String {
        "/agents/services".to_owned()
    }
}

/// Services of a list, those that can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Offered(pub Vec<Service>);

impl From<Value> for Offered {
    fn from(answer: Value) -> Self {
        Self(read_rows(answer))
    }
}

/// An amount as whole cents; `None` where it has a fraction of one.
#[must_use]
pub fn whole_cents(amount: Usdc) -> Option<u64> {
    let micros = amount.micros();
    micros.is_multiple_of(MICROS_PER_CENT).then_some(micros / MICROS_PER_CENT)
}
