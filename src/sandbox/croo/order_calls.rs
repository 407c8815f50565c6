//! The calls on orders: read, pay, deliver, reject.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    croo::{
        agents::authenticate,
        answers::{Answer, ApiError, ok, read},
        deliveries::{self, Deliverable},
        lists::{ORDER_STATUSES, Wanted},
        negotiations::reason,
        orders::{self, Fate, Order},
        steps, vault,
    },
    faults::{Altered, Fails, RaisePrice},
    world::World,
};

/// The longest deliverable, in bytes.
const DELIVERABLE_BYTES_MAX: usize = 1024 * 1024;

/// Marks the answer, where a fault did its work.
fn marked(response: Answer, is_altered: bool) -> Answer {
    let mut response = response?;
    if is_altered {
        response.extensions_mut().insert(Altered);
    }
    Ok(response)
}

/// `GET /orders/{orderId}`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    raise: Option<Extension<RaisePrice>>,
    headers: HeaderMap,
) -> Answer {
    let (order, is_raised) = world.transact(|db, now| {
        let mut order = orders::of(db, &id, &authenticate(db, &headers)?)?;
        let raise = raise
            .filter(|_| ["creating", "created"].contains(&order.status.as_str()))
            .map(|Extension(raise)| raise);
        if let Some(raise) = raise {
            order.price = crate::money::Usdc::from_micros(raise.apply(order.price.micros()));
            order.updated_at = now;
            order.save(db)?;
        }
        Ok::<_, ApiError>((order, raise.is_some()))
    })?;
    marked(ok(json!({ "order": order.view() })), is_raised)
}

/// `GET /orders`
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let found = world.transact(|db, _| {
        let agent = authenticate(db, &headers)?;
        let roles = [("buyer", "requester"), ("provider", "provider")];
        let message = "role must be 'buyer' or 'provider'";
        let wanted = Wanted::read(&query, roles, message, &ORDER_STATUSES)?;
        let (condition, values) = wanted.condition(&agent.id);
        Ok::<_, ApiError>(orders::select(db, &condition, &wanted.limit(), &values)?)
    })?;
    let views: Vec<_> = found.iter().map(Order::view).collect();
    // An empty list is absent, as everything that is empty.
    ok(if views.is_empty() { json!({}) } else { json!({ "orders": views }) })
}

/// `POST /orders/{orderId}/pay`
pub(crate) async fn pay(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fate = Fate::from(fails);
    let (order, hash) = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let order = orders::of(db, &id, &agent)?;
        read::<Value>(&body)?;
        if order.requester != agent.id {
            return Err(ApiError::forbidden("only the requester pays an order"));
        }
        if !["created", "pay_failed"].contains(&order.status.as_str()) {
            return Err(ApiError::status("order", &order.status));
        }
        vault::check_nonce(db, &order)?;
        vault::check_balance(db, &order)?;
        Ok(steps::pay(db, &world, now, order, fate)?)
    })?;
    marked(ok(json!({ "order": order.view(), "txHash": hash })), fate == Fate::Fails)
}

/// A payment that is taken for later and then not made: what the fault `pending` does.
pub(crate) fn pending(world: &World, path: &str, headers: &HeaderMap) -> Answer {
    let id = path.strip_prefix("/orders/").and_then(|rest| rest.strip_suffix("/pay"));
    let mut response = match id {
        None => ok(json!({}))?,
        Some(id) => {
            let order = world.transact(|db, _| orders::of(db, id, &authenticate(db, headers)?))?;
            ok(json!({ "order": order.view() }))?
        }
    };
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[derive(Deserialize)]
struct DeliverBody {
    #[serde(rename = "deliverableType")]
    kind: Option<String>,
    #[serde(rename = "deliverableText")]
    text: Option<String>,
    #[serde(rename = "deliverableSchema")]
    schema: Option<String>,
}

impl DeliverBody {
    fn deliverable(self) -> Result<Deliverable, ApiError> {
        let kind = self.kind.unwrap_or_default();
        let (name, content) = match kind.as_str() {
            "text" => ("deliverableText", self.text),
            "schema" => ("deliverableSchema", self.schema),
            _ => {
                let message = "deliverableType must be text or schema";
                return Err(ApiError::parameters("deliverableType", message));
            }
        };
        let content = content.unwrap_or_default();
        if content.is_empty() {
            return Err(ApiError::parameters(name, format!("{name} is required")));
        }
        if content.len() > DELIVERABLE_BYTES_MAX {
            return Err(ApiError::parameters(name, format!("{name} is too long")));
        }
        if kind == "text" {
            return Ok(Deliverable::Text(content));
        }
        if serde_json::from_str::<Value>(&content).is_err() {
            return Err(ApiError::parameters(name, format!("{name} must be JSON, as text")));
        }
        Ok(Deliverable::Schema(content))
    }
}

/// `POST /orders/{orderId}/deliver`
pub(crate) async fn deliver(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let fate = Fate::from(fails);
    let (order, delivery, hash) = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let order = orders::of(db, &id, &agent)?;
        if order.provider != agent.id {
            return Err(ApiError::forbidden("only the provider delivers an order"));
        }
        let deliverable = read::<DeliverBody>(&body)?.deliverable()?;
        if !["paid", "deliver_failed"].contains(&order.status.as_str()) {
            return Err(ApiError::status("order", &order.status));
        }
        Ok(steps::deliver(db, &world, now, order, (deliverable, fate))?)
    })?;
    let body = json!({ "order": order.view(), "delivery": delivery.view(), "txHash": hash });
    marked(ok(body), fate == Fate::Fails)
}

/// `POST /orders/{orderId}/reject`: either side before the payment, the provider after it.
pub(crate) async fn reject(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let order = orders::of(db, &id, &agent)?;
        let reason = reason(&body)?;
        let can = match order.status.as_str() {
            "created" | "pay_failed" => true,
            "paid" | "deliver_failed" => order.provider == agent.id,
            _ => false,
        };
        if !can {
            return Err(ApiError::status("order", &order.status));
        }
        Ok(steps::reject(db, &world, now, order, &reason)?)
    })?;
    ok(json!({}))
}

/// `GET /orders/{orderId}/delivery`
pub(crate) async fn delivery(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let delivery = world.transact(|db, _| {
        let order = orders::of(db, &id, &authenticate(db, &headers)?)?;
        let is_there = ["delivering", "evaluating", "completed"].contains(&order.status.as_str());
        let found = if is_there { deliveries::find(db, &id)? } else { None };
        found.ok_or_else(|| ApiError::not_found("DELIVERY_NOT_FOUND", &id))
    })?;
    ok(json!({ "delivery": delivery.view() }))
}
