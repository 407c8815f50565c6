//! The catalog: sellers keep their services in it, buyers search it.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::IntoResponse,
    routing::{get, post},
};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    faults::{Altered, RaisePrice},
    paegents::{
        agents::authenticate,
        answers::{Answer, ApiError, number, ok, read},
        services::{self, Service},
    },
    world::World,
};

/// The most services a list shows at once.
const LIMIT_MAX: i64 = 500;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// The longest description, in bytes.
const TEXT_BYTES_MAX: usize = 10_000;
/// The dearest unit, in cents.
const CENTS_MAX: u64 = 100_000_000;
/// The most units of an agreement.
pub(crate) const QUANTITY_MAX: u64 = 1_000_000_000;

/// The routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/agents/services", get(list).post(register))
        .route("/agents/services/{id}", get(show).put(update).delete(remove))
        .route("/catalog/search", post(search))
}

#[derive(Deserialize)]
struct Registration {
    service_name: String,
    description: String,
    category: String,
    price_model: String,
    base_price_cents: u64,
    unit: String,
    #[serde(default = "one")]
    min_quantity: u64,
    max_quantity: Option<u64>,
    capabilities: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
    api_base_url: Option<String>,
    api_key: Option<String>,
    api_auth_header: Option<String>,
}

fn one() -> u64 {
    1
}

/// Refuses what no service may have.
fn check(service: &Service) -> Result<(), ApiError> {
    let wrong = |field, message: &str| Err(ApiError::invalid(field, message));
    for (field, text, most) in [
        ("service_name", &service.name, NAME_BYTES_MAX),
        ("description", &service.description, TEXT_BYTES_MAX),
        ("category", &service.category, NAME_BYTES_MAX),
        ("unit", &service.unit, NAME_BYTES_MAX),
    ] {
        if text.is_empty() || text.len() > most {
            return wrong(field, &format!("must have 1 to {most} bytes"));
        }
    }
    if !["per_unit", "subscription", "tiered"].contains(&service.price_model.as_str()) {
        return wrong("price_model", "must be per_unit, subscription or tiered");
    }
    if service.base_price_cents > CENTS_MAX {
        return wrong("base_price_cents", &format!("must be at most {CENTS_MAX}"));
    }
    if !(1..=QUANTITY_MAX).contains(&service.min_quantity) {
        return wrong("min_quantity", &format!("must be from 1 to {QUANTITY_MAX}"));
    }
    if service.max_quantity.is_some_and(|most| most < service.min_quantity) {
        return wrong("max_quantity", "must be at least min_quantity");
    }
    let is_url = |text: &str| {
        url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
    };
    if !service.api_base_url.as_deref().is_none_or(is_url) {
        return wrong("api_base_url", "must be an HTTP URL");
    }
    if axum::http::HeaderName::try_from(service.api_auth_header.as_str()).is_err() {
        return wrong("api_auth_header", "must be the name of a header");
    }
    Ok(())
}

/// `POST /agents/services`
async fn register(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Answer {
    let service = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let body: Registration = read(&body)?;
        let id = hex::encode(world.fresh(db, "paegents/service")?);
        let service = Service {
            id: format!("svc_{}", id.get(..16).unwrap_or_default()),
            agent: agent.id,
            name: body.service_name,
            description: body.description,
            category: body.category,
            price_model: body.price_model,
            base_price_cents: body.base_price_cents,
            unit: body.unit,
            min_quantity: body.min_quantity,
            max_quantity: body.max_quantity,
            capabilities: body.capabilities.map(Value::Object),
            metadata: body.metadata.map(Value::Object),
            api_base_url: body.api_base_url,
            api_key: body.api_key,
            api_auth_header: body.api_auth_header.unwrap_or_else(|| "X-API-Key".to_owned()),
            is_active: true,
            created_at: now,
            updated_at: now,
            behaviour: "manual".to_owned(),
            input_example: Value::Null,
        };
        check(&service)?;
        services::save(db, &service)?;
        Ok::<_, ApiError>(service)
    })?;
    ok(service.details())
}

/// What can be changed: what is absent or null stays.
#[derive(Deserialize)]
struct Changes {
    service_name: Option<String>,
    description: Option<String>,
    base_price_cents: Option<u64>,
    min_quantity: Option<u64>,
    max_quantity: Option<u64>,
    capabilities: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
    api_base_url: Option<String>,
    api_key: Option<String>,
    api_auth_header: Option<String>,
}

/// A service that the caller sells.
fn own(db: &Connection, headers: &HeaderMap, id: &str) -> Result<Service, ApiError> {
    let agent = authenticate(db, headers)?;
    let service = services::find(db, id)?
        .filter(|service| service.is_active)
        .ok_or_else(|| ApiError::not_found("Service"))?;
    if service.agent == agent.id {
        Ok(service)
    } else {
        Err(ApiError::forbidden("The service belongs to another agent"))
    }
}

/// `PUT /agents/services/{service_id}`
async fn update(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let service = world.transact(|db, now| {
        let mut service = own(db, &headers, &id)?;
        let body: Changes = read(&body)?;
        service.name = body.service_name.unwrap_or(service.name);
        service.description = body.description.unwrap_or(service.description);
        service.base_price_cents = body.base_price_cents.unwrap_or(service.base_price_cents);
        service.min_quantity = body.min_quantity.unwrap_or(service.min_quantity);
        service.max_quantity = body.max_quantity.or(service.max_quantity);
        service.capabilities = body.capabilities.map(Value::Object).or(service.capabilities);
        service.metadata = body.metadata.map(Value::Object).or(service.metadata);
        service.api_base_url = body.api_base_url.or(service.api_base_url);
        service.api_key = body.api_key.or(service.api_key);
        service.api_auth_header = body.api_auth_header.unwrap_or(service.api_auth_header);
        service.updated_at = now;
        check(&service)?;
        services::save(db, &service)?;
        Ok::<_, ApiError>(service)
    })?;
    ok(service.details())
}

/// `DELETE /agents/services/{service_id}`: it stays readable, but nobody can buy it any more.
async fn remove(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    world.transact(|db, now| {
        let mut service = own(db, &headers, &id)?;
        service.is_active = false;
        service.updated_at = now;
        Ok::<_, ApiError>(services::save(db, &service)?)
    })?;
    ok(json!({ "service_id": id, "is_active": false, "message": "Service deactivated" }))
}

/// `GET /agents/services/{service_id}`
async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    raise: Option<Extension<RaisePrice>>,
    headers: HeaderMap,
) -> Answer {
    let mut service = world.transact(|db, _| {
        authenticate(db, &headers)?;
        services::find(db, &id)?.ok_or_else(|| ApiError::not_found("Service"))
    })?;
    let Some(Extension(raise)) = raise else { return ok(service.details()) };
    service.base_price_cents = raise.apply(service.base_price_cents);
    let mut response = ok(service.details())?.into_response();
    response.extensions_mut().insert(Altered);
    Ok(response)
}

/// `GET /agents/services`
async fn list(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let body = world.transact(|db, _| {
        let agent = authenticate(db, &headers)?;
        let limit = number(&query, "limit", 100, (1, LIMIT_MAX))?;
        let offset = number(&query, "offset", 0, (0, i64::MAX))?;
        let all = services::on_sale(db, Some(&agent.id))?;
        let page = Page::of(&all, limit, offset);
        Ok::<_, ApiError>(page.members("services"))
    })?;
    ok(body)
}

#[derive(Deserialize)]
struct Search {
    query: Option<String>,
    category: Option<String>,
    min_price: Option<u64>,
    max_price: Option<u64>,
    #[serde(default = "fifty")]
    limit: i64,
    #[serde(default)]
    offset: i64,
}

fn fifty() -> i64 {
    50
}

impl Search {
    /// Whether the service has all words, and everything else that is asked for.
    fn finds(&self, service: &Service) -> bool {
        let text = format!("{} {} {}", service.name, service.description, service.category);
        let text = text.to_lowercase();
        let words = self.query.as_deref().unwrap_or_default().to_lowercase();
        let category = self.category.as_deref();
        let price = service.base_price_cents;
        words.split_whitespace().all(|word| text.contains(word))
            && category.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&service.category))
            && self.min_price.is_none_or(|least| least <= price)
            && self.max_price.is_none_or(|most| price <= most)
    }
}

/// `POST /catalog/search`: open to everybody.
async fn search(
    State(world): State<Arc<World>>,
    raise: Option<Extension<RaisePrice>>,
    body: Bytes,
) -> Answer {
    let search: Search = read(&body)?;
    if !(1..=LIMIT_MAX).contains(&search.limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {LIMIT_MAX}")));
    }
    if search.offset < 0 {
        return Err(ApiError::invalid("offset", "must not be negative"));
    }
    let mut found = world.transact(|db, _| services::on_sale(db, None))?;
    found.retain(|service| search.finds(service));
    if let Some(Extension(raise)) = raise {
        for service in &mut found {
            service.base_price_cents = raise.apply(service.base_price_cents);
        }
    }
    let mut answer = Page::of(&found, search.limit, search.offset).members("results");
    if let Some(members) = answer.as_object_mut() {
        members.insert("query".to_owned(), json!(search.query.unwrap_or_default()));
    }
    let mut response = ok(answer)?.into_response();
    if raise.is_some() && !found.is_empty() {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// A part of a list.
struct Page {
    views: Vec<Value>,
    total: usize,
    next: Option<usize>,
}

impl Page {
    /// At most `limit` services from `offset` on.
    fn of(all: &[Service], limit: i64, offset: i64) -> Self {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        let to = from.saturating_add(usize::try_from(limit).unwrap_or(0)).min(all.len());
        let views = all.get(from..to).unwrap_or_default().iter().map(Service::view).collect();
        Self { views, total: all.len(), next: (to < all.len()).then_some(to) }
    }

    fn members(self, name: &str) -> Value {
        json!({
            name: self.views,
            "total": self.total,
            "has_more": self.next.is_some(),
            "next_offset": self.next,
        })
    }
}
