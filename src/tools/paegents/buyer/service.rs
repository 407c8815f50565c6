//! Reading a service: what a unit costs and how many are sold.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    error::{Code, Error},
    ids::ServiceId,
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            Paegents,
            services::{GetService, Service},
        },
    },
    money::Usdc,
    recovery::NextCall,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, clean_json},
    tools::{Reply, paegents::shown::theirs},
};

/// A hinted quantity costs about this much, where the service sells so few.
const HINTED_USD: Usdc = Usdc::from_micros(1_000_000);
/// The most units that are hinted, where the service sells so few.
const HINTED_UNITS_MAX: u64 = 100;

/// A service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceView {
    /// For `paegents_create_agreement`.
    pub service_id: String,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller_agent_id: Option<String>,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub description_untrusted: String,
    /// In the seller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category_untrusted: Option<String>,
    /// `per_unit`, `subscription`, `tiered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_model: Option<String>,
    /// Of one unit; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// What one unit is.
    pub unit_untrusted: String,
    /// The fewest units that are sold.
    pub min_quantity: u64,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantity: Option<u64>,
    /// Whether it can be bought.
    pub is_active: bool,
    /// Whether a proposal has to say where goods go.
    pub needs_shipping: bool,
    /// What it can do: paths, inputs.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub capabilities_untrusted: Value,
    /// More of it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub metadata_untrusted: Value,
}

impl From<&Service> for ServiceView {
    fn from(service: &Service) -> Self {
        let kind = &service.price_model;
        Self {
            service_id: service.service_id.to_string(),
            seller_agent_id: service.agent_id.as_ref().map(ToString::to_string),
            name_untrusted: clean(&service.service_name, NAME_CHARS_MAX),
            description_untrusted: clean(&service.description, 4 * TEXT_CHARS_MAX),
            category_untrusted: theirs(&service.category),
            price_model: (!kind.is_empty()).then(|| word(kind).to_owned()),
            unit_price_usd: service.unit_price(),
            unit_untrusted: clean(&service.unit, NAME_CHARS_MAX),
            min_quantity: least(service),
            max_quantity: service.max_quantity,
            is_active: service.is_active,
            needs_shipping: needs_shipping(service),
            capabilities_untrusted: free(&service.capabilities),
            metadata_untrusted: free(&service.metadata),
        }
    }
}

/// Free JSON, unless it says nothing.
fn free(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.is_empty() => Value::Null,
        value => clean_json(value.clone(), TEXT_CHARS_MAX),
    }
}

/// The fewest units that are sold.
pub(super) fn least(service: &Service) -> u64 {
    service.min_quantity.unwrap_or(1).max(1)
}

/// Whether the service sends goods, as its free JSON says.
pub(super) fn needs_shipping(service: &Service) -> bool {
    let says = |value: &Value| value.get("requires_shipping") == Some(&Value::Bool(true));
    says(&service.metadata) || says(&service.capabilities)
}

/// Reads a service.
///
/// # Errors
///
/// Where it cannot be read.
pub(super) async fn look(app: &App, service_id: &ServiceId) -> Result<Reply<ServiceView>, Error> {
    let service = service(&app.paegents().await?, service_id).await?;
    let reply = Reply::new(ServiceView::from(&service));
    Ok(match proposal(&service) {
        Some(call) => reply.next(call),
        None => reply.next(others()),
    })
}

/// Reads a service.
///
/// # Errors
///
/// As sending an operation; [`Code::UpstreamMalformed`] where another service comes back.
pub(super) async fn service(paegents: &Paegents, service_id: &ServiceId) -> Result<Service, Error> {
    let found = paegents.api.send(&GetService { service_id }).await.map_err(gone)?;
    if found.service_id == *service_id {
        return Ok(found);
    }
    let message = format!("Paegents answered for {service_id} with another service");
    Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents))
}

/// The call that proposes a sensible number of units.
fn proposal(service: &Service) -> Option<NextCall> {
    if !service.is_active {
        return None;
    }
    let mut arguments = json!({
        "service_id": service.service_id, "quantity": sensible(service)?,
    });
    let mut why = "proposes to buy so many units; pays nothing yet".to_owned();
    if let (true, Some(members)) = (needs_shipping(service), arguments.as_object_mut()) {
        members.insert("shipping".to_owned(), example_address());
        why.push_str("; put the address in `shipping`");
    }
    Some(NextCall::new("paegents_create_agreement", arguments, why))
}

/// An address with nothing in it yet.
pub(super) fn example_address() -> Value {
    json!({ "recipient_name": "…", "street1": "…", "city": "…", "state": "…",
        "postal_code": "…", "country": "US" })
}

/// As many units as cost about a dollar, within the service's bounds.
fn sensible(service: &Service) -> Option<u64> {
    let price = service.unit_price()?.micros();
    let affordable = HINTED_USD.micros().checked_div(price).unwrap_or(HINTED_UNITS_MAX);
    let most = service.max_quantity.unwrap_or(u64::MAX);
    Some(affordable.min(HINTED_UNITS_MAX).min(most).max(least(service)))
}

/// A service that is not there: others are.
fn gone(error: Error) -> Error {
    if error.is(Code::NotFound) { error.next(others()) } else { error }
}

/// Looks for something else.
pub(super) fn others() -> NextCall {
    NextCall::new("market_search", json!({}), "looks for something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_a_quantity_that_can_be_bought() {
        let service = |cents: u64, least: Option<u64>, most: Option<u64>| {
            let said = json!({ "service_id": "s", "base_price_cents": cents,
                "min_quantity": least, "max_quantity": most });
            serde_json::from_value::<Service>(said).unwrap()
        };
        #[rustfmt::skip]
        let rows = [
            ("two cents",         service(2, None, None),           50),
            ("a cent",            service(1, None, None),           100),
            ("free",              service(0, None, None),           100),
            ("dear",              service(450, None, None),         1),
            ("sold by the gross", service(2, Some(144), None),      144),
            ("sold by the piece", service(2, None, Some(1)),        1),
            ("a bound of none",   service(2, Some(0), None),        50),
        ];
        for (row, service, quantity) in rows {
            assert_eq!(sensible(&service), Some(quantity), "{row}");
        }
    }
}
