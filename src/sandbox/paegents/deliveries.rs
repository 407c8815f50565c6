//! Deliveries of physical goods: where the parcel is, as the seller says.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        agents::authenticate,
        agreements::{self, Role},
        answers::{Answer, ApiError, ok, read},
    },
    world::World,
};

/// From where to where. Source: the protocol page, 7.
const TRANSITIONS: [(&str, &[&str]); 6] = [
    ("pending", &["shipped"]),
    ("shipped", &["in_transit", "exception"]),
    ("in_transit", &["out_for_delivery", "delivered", "exception"]),
    ("out_for_delivery", &["delivered", "exception"]),
    ("exception", &["in_transit", "out_for_delivery", "delivered"]),
    ("delivered", &[]),
];

/// Who carries parcels, and where they are tracked: the number comes at the end.
const CARRIERS: [(&str, Option<&str>); 5] = [
    ("ups", Some("https://www.ups.com/track?tracknum=")),
    ("fedex", Some("https://www.fedex.com/fedextrack/?trknbr=")),
    ("usps", Some("https://tools.usps.com/go/TrackConfirmAction?tLabels=")),
    ("dhl", Some("https://www.dhl.com/en/express/tracking.html?AWB=")),
    ("other", None),
];

#[derive(Deserialize)]
struct Update {
    status: String,
    carrier: Option<String>,
    tracking_number: Option<String>,
    tracking_url: Option<String>,
    estimated_delivery: Option<String>,
    notes: Option<String>,
}

/// `PATCH /usage-agreements/{agreement_id}/delivery`
pub(crate) async fn update(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let delivery = world.transact(|db, now| {
        let agent = authenticate(db, &headers)?;
        let mut agreement = agreements::as_role(db, &agent, &id, Role::Seller)?;
        let update: Update = read(&body)?;
        if !["accepted", "active", "completed"].contains(&agreement.status.as_str()) {
            let status = &agreement.status;
            return Err(ApiError::conflict(format!("Nothing is delivered: it is {status}")));
        }
        let before = agreement.metadata.get("delivery").and_then(Value::as_object).cloned();
        let delivery = moved(before.unwrap_or_default(), update, now)?;
        agreement.metadata.insert("delivery".to_owned(), Value::Object(delivery.clone()));
        agreement.updated_at = now;
        agreements::save(db, &agreement)?;
        agreements::tell(db, &world, now, "agreement.delivery_updated", &agreement)?;
        Ok(delivery)
    })?;
    let status = delivery.get("status").cloned();
    ok(json!({ "agreement_id": id, "status": status, "delivery": delivery }))
}

/// The delivery after an update.
fn moved(
    mut delivery: Map<String, Value>,
    update: Update,
    now: i64,
) -> Result<Map<String, Value>, ApiError> {
    let from = delivery.get("status").and_then(Value::as_str).unwrap_or("pending").to_owned();
    let to = update.status;
    if !TRANSITIONS.iter().any(|(known, _)| *known == to) {
        return Err(ApiError::invalid("status", format!("{to} is no delivery status")));
    }
    let next = TRANSITIONS.iter().find(|(known, _)| *known == from).map(|(_, next)| *next);
    if !next.unwrap_or_default().contains(&to.as_str()) {
        let detail = format!("Invalid delivery status transition: {from} -> {to}");
        return Err(ApiError::conflict(detail));
    }
    let kept = |name: &str| delivery.get(name).and_then(Value::as_str).map(str::to_owned);
    let carrier = update.carrier.or_else(|| kept("carrier"));
    let tracking_number = update.tracking_number.or_else(|| kept("tracking_number"));
    let known = CARRIERS.iter().find(|(name, _)| carrier.as_deref() == Some(*name));
    if carrier.is_some() && known.is_none() {
        let message = "must be ups, fedex, usps, dhl or other";
        return Err(ApiError::invalid("carrier", message));
    }
    let base = known.and_then(|(_, base)| *base);
    let made = base.zip(tracking_number.as_deref()).map(|(base, number)| tracked(base, number));
    let tracking_url = update.tracking_url.or(made).or_else(|| kept("tracking_url"));
    let at = rfc3339(now);
    let mut history =
        delivery.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    history.push(json!({ "status": to, "timestamp": at }));
    let members = [
        ("carrier", carrier),
        ("tracking_number", tracking_number),
        ("tracking_url", tracking_url),
        ("estimated_delivery", update.estimated_delivery),
        ("notes", update.notes),
        ("shipped_at", (to == "shipped").then(|| at.clone())),
        ("delivered_at", (to == "delivered").then(|| at.clone())),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            delivery.insert(name.to_owned(), json!(value));
        }
    }
    delivery.insert("status".to_owned(), json!(to));
    delivery.insert("history".to_owned(), Value::Array(history));
    Ok(delivery)
}

/// The page that tracks a parcel.
fn tracked(base: &str, number: &str) -> String {
    let number: String = url::form_urlencoded::byte_serialize(number.as_bytes()).collect();
    format!("{base}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_as_the_table_says() {
        let all = TRANSITIONS.map(|(status, _)| status);
        for (from, allowed) in TRANSITIONS {
            for to in all {
                let delivery = json!({ "status": from }).as_object().cloned().unwrap();
                let body = json!({ "status": to });
                let update = serde_json::from_value(body).unwrap();
                assert_eq!(
                    moved(delivery, update, 0).is_ok(),
                    allowed.contains(&to),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn makes_a_tracking_url_for_known_carriers() {
        let update = |body: Value| moved(Map::new(), serde_json::from_value(body).unwrap(), 0);
        let shipped = json!({ "status": "shipped", "carrier": "ups", "tracking_number": "1Z 9/8" });
        let url = "https://www.ups.com/track?tracknum=1Z+9%2F8";
        assert_eq!(update(shipped).unwrap()["tracking_url"], url);
        let other = json!({ "status": "shipped", "carrier": "other", "tracking_number": "7" });
        assert_eq!(update(other).unwrap().get("tracking_url"), None);
        assert!(update(json!({ "status": "shipped", "carrier": "owl" })).is_err());
        assert!(update(json!({ "status": "lost" })).is_err());
    }
}
