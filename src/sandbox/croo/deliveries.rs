//! Deliveries: what a provider hands over for an order.

use alloy_primitives::keccak256;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use crate::sandbox::{clock::rfc3339, croo::answers::shown, world::World};

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deliverable {
    /// Words.
    Text(String),
    /// JSON, as text.
    Schema(String),
}

/// A delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    id: String,
    order: String,
    provider: String,
    deliverable: Deliverable,
    status: String,
    submitted_at: i64,
    verified_at: Option<i64>,
    updated_at: i64,
}

impl Delivery {
    /// As it is shown. A text comes with an empty array of fields, as the real one shows it.
    pub(crate) fn view(&self) -> Map<String, Value> {
        let (kind, text, schema) = match &self.deliverable {
            Deliverable::Text(text) => ("text", text.as_str(), "[]"),
            Deliverable::Schema(schema) => ("schema", "", schema.as_str()),
        };
        let populated = if text.is_empty() { schema } else { text };
        shown([
            ("deliveryId", self.id.clone()),
            ("orderId", self.order.clone()),
            ("providerAgentId", self.provider.clone()),
            ("deliverableType", kind.to_owned()),
            ("deliverableSchema", schema.to_owned()),
            ("deliverableText", text.to_owned()),
            ("contentHash", keccak256(populated).to_string()),
            ("status", self.status.clone()),
            ("submittedAt", rfc3339(self.submitted_at)),
            ("verifiedAt", self.verified_at.map(rfc3339).unwrap_or_default()),
            ("createdTime", rfc3339(self.submitted_at)),
            ("updatedTime", rfc3339(self.updated_at)),
        ])
    }
}

/// Keeps a delivery; one that the chain refused is replaced.
pub(crate) fn submit(
    db: &Connection,
    world: &World,
    at: i64,
    (order, provider): (&str, &str),
    deliverable: Deliverable,
) -> rusqlite::Result<Delivery> {
    let delivery = Delivery {
        id: world.fresh_uuid(db, "croo/delivery")?,
        order: order.to_owned(),
        provider: provider.to_owned(),
        deliverable,
        status: "submitted".to_owned(),
        submitted_at: at,
        verified_at: None,
        updated_at: at,
    };
    let (kind, content) = match &delivery.deliverable {
        Deliverable::Text(text) => ("text", text),
        Deliverable::Schema(schema) => ("schema", schema),
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO croo_deliveries
             (order_id, id, provider, kind, content, status, submitted_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .execute(params![order, delivery.id, provider, kind, content, delivery.status, at])?;
    Ok(delivery)
}

/// The delivery of an order.
pub(crate) fn find(db: &Connection, order: &str) -> rusqlite::Result<Option<Delivery>> {
    db.prepare_cached(
        "SELECT id, provider, kind, content, status, submitted_at, verified_at, updated_at
         FROM croo_deliveries WHERE order_id = ?1",
    )?
    .query_row([order], |row| {
        let (kind, content): (String, String) = (row.get(2)?, row.get(3)?);
        Ok(Delivery {
            id: row.get(0)?,
            order: order.to_owned(),
            provider: row.get(1)?,
            deliverable: match kind.as_str() {
                "text" => Deliverable::Text(content),
                _ => Deliverable::Schema(content),
            },
            status: row.get(4)?,
            submitted_at: row.get(5)?,
            verified_at: row.get(6)?,
            updated_at: row.get(7)?,
        })
    })
    .optional()
}

/// The delivery was verified, or the chain refused it.
pub(crate) fn conclude(
    db: &Connection,
    order: &str,
    status: &str,
    at: i64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE croo_deliveries SET status = ?2, updated_at = ?3,
             verified_at = CASE WHEN ?2 = 'accepted' THEN ?3 END WHERE order_id = ?1",
    )?
    .execute(params![order, status, at])?;
    Ok(())
}
