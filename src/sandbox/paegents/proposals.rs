//! Proposals: how an agreement begins.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    paegents::{
        BASE, agents,
        agents::{Agent, authenticate},
        agreements::{self, Agreement, Signed},
        answers::{Answer, ApiError, header as header_text, ok, read},
        built_in,
        catalog::QUANTITY_MAX,
        direct,
        idempotency::{self, Keyed},
        services::{self, MICROS_PER_CENT, Service},
        steps::{self, Part},
    },
    world::World,
};

/// The shortest and the longest life of a proposal, in seconds: a minute, and 30 days.
const LIFE_SECONDS: (u64, u64) = (60, 2_592_000);
/// The highest total, in cents: ten million dollars.
const TOTAL_CENTS_MAX: u64 = 1_000_000_000;
/// The task that lets an agreement lapse.
pub(crate) const LAPSE: &str = "lapse";

/// What a buyer proposes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Proposal {
    /// The agent who sells.
    pub(crate) seller_agent_id: String,
    /// How many units.
    pub(crate) quantity: u64,
    /// What is counted.
    pub(crate) unit: String,
    /// What a unit is to cost, in cents.
    pub(crate) price_per_unit_cents: u64,
    /// The buyer's wallet.
    pub(crate) buyer_wallet_address: String,
    /// `bilateral_escrow` or `direct_payment`.
    #[serde(default = "bilateral")]
    pub(crate) settlement_model: String,
    /// The rail, and for a direct purchase the payment header.
    #[serde(default = "stablecoin")]
    pub(crate) payment_method: Map<String, Value>,
    /// How long it is open, in seconds.
    #[serde(default = "day")]
    pub(crate) expires_in_seconds: u64,
    /// `v1` or `v2`.
    #[serde(default = "newest")]
    pub(crate) activation_version: String,
    /// What the buyer signed.
    #[serde(flatten)]
    pub(crate) signed: Signed,
    /// The service, if it is one of the catalog.
    pub(crate) service_id: Option<String>,
    /// What it is about, in the buyer's words.
    pub(crate) service_description: Option<String>,
    /// What is in the cart.
    pub(crate) cart_items: Option<Vec<Value>>,
    /// Where goods go.
    pub(crate) shipping_address: Option<Map<String, Value>>,
    /// Whatever else the buyer keeps with it.
    pub(crate) metadata: Option<Map<String, Value>>,
    /// The buyer's own name for it.
    pub(crate) client_proposal_id: Option<String>,
}

fn bilateral() -> String {
    "bilateral_escrow".to_owned()
}

fn stablecoin() -> Map<String, Value> {
    [("rail".to_owned(), json!("stablecoin"))].into_iter().collect()
}

fn day() -> u64 {
    86_400
}

fn newest() -> String {
    "v2".to_owned()
}

/// `POST /usage-agreements/`
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agreement = world.transact(|db, now| {
        let buyer = authenticate(db, &headers)?;
        let proposal: Proposal = read(&body)?;
        let named = proposal.client_proposal_id.clone();
        let key = header_text(&headers, "idempotency-key").or(named.as_deref());
        let keyed = Keyed { agent: &buyer.id, operation: "create_agreement", key, body: &body };
        if let Some(first) = idempotency::look(db, &keyed)? {
            let first = agreements::find(db, &first)?;
            return first.ok_or_else(|| ApiError::not_found("Agreement"));
        }
        let agreement = propose(db, &world, now, (&buyer, proposal))?;
        idempotency::keep(db, &keyed, &agreement.id)?;
        Ok::<_, ApiError>(agreement)
    })?;
    ok(agreement.view())
}

/// `/usage-agreements` without its slash: the framework redirects to the path with it.
pub(crate) async fn slash(uri: Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{BASE}/usage-agreements/{query}");
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

/// Makes an agreement of a proposal, if it can be one.
pub(crate) fn propose(
    db: &Connection,
    world: &World,
    now: i64,
    (buyer, proposal): (&Agent, Proposal),
) -> Result<Agreement, ApiError> {
    let seller = agents::find(db, &proposal.seller_agent_id)?
        .ok_or_else(|| ApiError::not_found("Seller agent"))?;
    if seller.id == buyer.id {
        return Err(ApiError::bad_request("Buyer and seller cannot be the same agent"));
    }
    let service = service_of(db, &proposal)?;
    check(&proposal, service.as_ref())?;
    let total_cents = proposal
        .quantity
        .checked_mul(proposal.price_per_unit_cents)
        .filter(|total| *total <= TOTAL_CENTS_MAX)
        .ok_or_else(|| ApiError::invalid("quantity", "the total is too high"))?;
    let buyer_wallet = proposal
        .buyer_wallet_address
        .parse::<Address>()
        .ok()
        .filter(|wallet| *wallet != Address::ZERO)
        .ok_or_else(|| ApiError::invalid("buyer_wallet_address", "must be an EVM address"))?;
    let id = hex::encode(world.fresh(db, "paegents/agreement")?);
    let mut agreement = Agreement {
        id: format!("agr_{}", id.get(..24).unwrap_or_default()),
        buyer: buyer.id.clone(),
        seller: seller.id.clone(),
        behaviour: service.as_ref().map_or("manual", |service| &service.behaviour).to_owned(),
        service: proposal.service_id,
        quantity: proposal.quantity,
        unit: proposal.unit,
        price_per_unit_cents: proposal.price_per_unit_cents,
        price_per_unit_atomic: proposal.price_per_unit_cents.saturating_mul(MICROS_PER_CENT),
        total_cents,
        status: "proposed".to_owned(),
        expires_at: now + i64::try_from(proposal.expires_in_seconds * 1_000).unwrap_or(i64::MAX),
        created_at: now,
        updated_at: now,
        payment_method: Value::Object(proposal.payment_method),
        service_description: proposal.service_description,
        client_proposal_id: proposal.client_proposal_id,
        metadata: metadata(proposal.metadata, proposal.cart_items, proposal.shipping_address),
        settlement_model: proposal.settlement_model,
        buyer_wallet,
        seller_wallet: seller.wallet,
        escrow_status: "none".to_owned(),
        service_amount_atomic: total_cents.saturating_mul(MICROS_PER_CENT),
        pricing_version: "2025-01".to_owned(),
        settlement_status: "none".to_owned(),
        activation_version: proposal.activation_version,
        activation_status: "none".to_owned(),
        signed: proposal.signed,
        ..Agreement::default()
    };
    price(&mut agreement);
    if !agreement.has_escrow() {
        direct::check(&agreement)?;
    }
    agreements::save(db, &agreement)?;
    let lapse = (LAPSE, agreement.id.as_str());
    steps::plan(db, agreement.expires_at, Part::Agreements, lapse)?;
    agreements::tell(db, world, now, "agreement.proposed", &agreement)?;
    if seller.is_built_in {
        built_in::plan_answer(db, world, now, &agreement)?;
    }
    Ok(agreement)
}

/// What the platform takes for it.
fn price(agreement: &mut Agreement) {
    let is_waived = agreement.has_escrow() && agreement.behaviour == "free";
    let (status, fee) =
        if is_waived { ("waived", 0) } else { ("pending", direct::fee(agreement.total_cents)) };
    status.clone_into(&mut agreement.infra_fee_status);
    agreement.infra_fee_amount_atomic = fee;
}

fn service_of(db: &Connection, proposal: &Proposal) -> Result<Option<Service>, ApiError> {
    let Some(id) = &proposal.service_id else { return Ok(None) };
    services::find(db, id)?
        .filter(|service| service.is_active && service.agent == proposal.seller_agent_id)
        .map(Some)
        .ok_or_else(|| ApiError::not_found("Service"))
}

/// Refuses what no agreement may have.
fn check(proposal: &Proposal, service: Option<&Service>) -> Result<(), ApiError> {
    let wrong = |field, message: String| Err(ApiError::invalid(field, message));
    let (least, most) = service.map_or((1, QUANTITY_MAX), |service| {
        (service.min_quantity, service.max_quantity.unwrap_or(QUANTITY_MAX))
    });
    if !(least..=most).contains(&proposal.quantity) {
        return wrong("quantity", format!("must be from {least} to {most}"));
    }
    if proposal.price_per_unit_cents == 0 {
        return wrong("price_per_unit_cents", "must be positive".to_owned());
    }
    if proposal.unit.is_empty() {
        return wrong("unit", "must not be empty".to_owned());
    }
    if !["bilateral_escrow", "direct_payment"].contains(&proposal.settlement_model.as_str()) {
        let message = "must be bilateral_escrow or direct_payment";
        return wrong("settlement_model", message.to_owned());
    }
    if !["v1", "v2"].contains(&proposal.activation_version.as_str()) {
        return wrong("activation_version", "must be v1 or v2".to_owned());
    }
    if proposal.payment_method.get("rail").and_then(Value::as_str) != Some("stablecoin") {
        return wrong("payment_method", "the rail must be stablecoin".to_owned());
    }
    let (shortest, longest) = LIFE_SECONDS;
    if !(shortest..=longest).contains(&proposal.expires_in_seconds) {
        return wrong("expires_in_seconds", format!("must be from {shortest} to {longest}"));
    }
    match &proposal.shipping_address {
        Some(address) => check_address(address),
        None if service.is_some_and(requires_shipping) => {
            wrong("shipping_address", "is required for physical goods".to_owned())
        }
        None => Ok(()),
    }
}

/// Whether the service sends things by post.
fn requires_shipping(service: &Service) -> bool {
    let metadata = service.metadata.as_ref();
    metadata.and_then(|members| members.get("requires_shipping")) == Some(&Value::Bool(true))
}

fn check_address(address: &Map<String, Value>) -> Result<(), ApiError> {
    let text = |name| address.get(name).and_then(Value::as_str).unwrap_or_default();
    for name in ["recipient_name", "street1", "city", "state", "postal_code", "country"] {
        if text(name).is_empty() {
            let message = format!("{name} is required");
            return Err(ApiError::invalid("shipping_address", message));
        }
    }
    let country = text("country");
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(ApiError::invalid("shipping_address", "country must be two capital letters"));
    }
    Ok(())
}

/// The buyer's members, the cart and the address, as sellers find them.
fn metadata(
    members: Option<Map<String, Value>>,
    cart_items: Option<Vec<Value>>,
    shipping_address: Option<Map<String, Value>>,
) -> Map<String, Value> {
    let mut metadata = members.unwrap_or_default();
    if let Some(items) = cart_items {
        metadata.insert("cart_items".to_owned(), Value::Array(items));
    }
    if let Some(address) = shipping_address {
        metadata.insert("shipping".to_owned(), Value::Object(address));
        metadata.insert("delivery".to_owned(), json!({ "status": "pending", "history": [] }));
    }
    metadata
}
