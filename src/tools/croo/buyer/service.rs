//! How a service is shown, with the call that asks for it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    error::{Code, Error},
    ids::ServiceId,
    marketplaces::croo::{
        offers::Offer,
        shape::{Field, Shape},
        word,
    },
    money::Usdc,
    recovery::NextCall,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
    tools::{
        Reply,
        croo::shown::{name_of, theirs},
    },
};

/// A service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceView {
    /// For `croo_negotiate_order`.
    pub service_id: String,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub description_untrusted: String,
    /// Dollars, without gas; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<Usdc>,
    /// Minutes from the payment to the delivery, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla_minutes: Option<u64>,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_agent_id: Option<String>,
    /// In their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_name_untrusted: Option<String>,
    /// Whether they are connected just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_online: Option<bool>,
    /// How many orders they completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_completed_orders: Option<u64>,
    /// `text` or `schema`; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirement_type: Option<String>,
    /// What it wants, in the seller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements_untrusted: Option<String>,
    /// The fields of its input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldView>,
    /// An input of that shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
    /// `text` or `schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliverable_type: Option<String>,
    /// What it gives, in the seller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliverable_untrusted: Option<String>,
    /// Whether it also takes a fund part, which goes to an address of the seller's choice.
    pub wants_fund: bool,
}

/// A field of a service's input.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FieldView {
    /// Its name, the seller's word.
    pub name_untrusted: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it has to be there.
    pub required: bool,
    /// What it is, in the seller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_untrusted: Option<String>,
}

impl From<&Field> for FieldView {
    fn from(field: &Field) -> Self {
        Self {
            name_untrusted: clean(&field.name, NAME_CHARS_MAX),
            kind: word(&field.kind).to_owned(),
            required: field.required,
            description_untrusted: theirs(&field.description),
        }
    }
}

impl From<&Offer> for ServiceView {
    fn from(offer: &Offer) -> Self {
        let (service, agent) = (&offer.service, offer.agent.as_ref());
        let shape = service.requirements();
        let kind = |text: &str| (!text.is_empty()).then(|| word(text).to_owned());
        let status = agent.map(|agent| agent.online_status.as_str()).filter(|s| !s.is_empty());
        let agent_name = agent.map(|agent| &agent.name).filter(|name| !name.is_empty());
        Self {
            service_id: service.service_id.to_string(),
            name_untrusted: clean(&service.name, NAME_CHARS_MAX),
            description_untrusted: clean(&service.description, 4 * TEXT_CHARS_MAX),
            price_usd: service.price(),
            sla_minutes: service.sla_minutes.trim().parse().ok(),
            provider_agent_id: service.agent_id.as_ref().map(ToString::to_string),
            agent_name_untrusted: name_of(agent_name.unwrap_or(&offer.agent_name)),
            agent_online: status.map(|status| status == "online"),
            agent_completed_orders: agent.and_then(|a| a.completed_orders.trim().parse().ok()),
            requirement_type: kind(&service.requirement_type),
            requirements_untrusted: theirs(&service.requirement_text),
            fields: shape.iter().flat_map(Shape::fields).map(FieldView::from).collect(),
            example: shape.map(|shape| shape.example()),
            deliverable_type: kind(&service.deliverable_type),
            deliverable_untrusted: theirs(&service.deliverable_text),
            wants_fund: service.wants_fund(),
        }
    }
}

/// Reads a service and what it wants.
///
/// # Errors
///
/// Where the service cannot be read.
pub(super) async fn look(app: &App, service_id: &ServiceId) -> Result<Reply<ServiceView>, Error> {
    let croo = app.croo().await?;
    let offer = croo.offer(service_id).await.map_err(gone)?;
    let why = if offer.service.wants_fund() {
        "asks for an offer, which costs nothing; put your input in `requirements` and the sum to \
         hand over in `fund_usd`"
    } else {
        "asks for an offer, which costs nothing; put your input in `requirements`"
    };
    let call = negotiation_of(&offer, why);
    Ok(Reply::new(ServiceView::from(&offer)).next(call))
}

/// The call that asks for an offer, with an input of the right shape.
pub(super) fn negotiation_of(offer: &Offer, why: impl Into<String>) -> NextCall {
    let service = &offer.service;
    let mut arguments =
        json!({ "service_id": service.service_id, "requirements": service.example() });
    if let (true, Some(members)) = (service.wants_fund(), arguments.as_object_mut()) {
        members.insert("fund_usd".to_owned(), json!("0.01"));
    }
    NextCall::new("croo_negotiate_order", arguments, why)
}

/// A service that is not there: others are.
pub(super) fn gone(error: Error) -> Error {
    if !error.is(Code::NotFound) {
        return error;
    }
    error.next(NextCall::new("market_search", json!({}), "looks for something else"))
}
