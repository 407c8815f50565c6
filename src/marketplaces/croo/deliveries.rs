//! Deliveries: what was ordered. Source: protocols/croo.md §4.5, §5.

use alloy_primitives::keccak256;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{orders::Order, text};
use crate::{
    ids::OrderId,
    marketplaces::http::{Effect, Operation},
};

/// Delivers a paid order as its provider: `POST /orders/{id}/deliver`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliverOrder<'a> {
    /// Which.
    #[serde(skip)]
    pub order_id: &'a OrderId,
    /// `text` or `schema`.
    pub deliverable_type: &'static str,
    /// The result, for `text`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub deliverable_text: &'a str,
    /// The result as JSON text, for `schema`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub deliverable_schema: &'a str,
}

impl Operation for DeliverOrder<'_> {
    const NAME: &'static str = "croo.deliver_order";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Delivered;

    fn path(&self) -> String {
        format!("/orders/{}/deliver", self.order_id)
    }
}

/// What delivering gave.
#[derive(Debug, Deserialize)]
pub struct Delivered {
    /// The order, usually still `delivering`.
    pub order: Order,
    /// The delivery.
    pub delivery: Delivery,
}

/// Reads what was delivered: `GET /orders/{id}/delivery`.
#[derive(Debug, Serialize)]
pub struct GetDelivery<'a> {
    /// Of which order.
    #[serde(skip)]
    pub order_id: &'a OrderId,
}

impl Operation for GetDelivery<'_> {
    const NAME: &'static str = "croo.get_delivery";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Got;

    fn path(&self) -> String {
        format!("/orders/{}/delivery", self.order_id)
    }
}

/// The answer that holds one delivery.
#[derive(Debug, Deserialize)]
pub struct Got {
    /// It.
    pub delivery: Delivery,
}

/// A delivery, as CROO sends it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its identifier.
    #[serde(default, deserialize_with = "text")]
    pub delivery_id: String,
    /// `text` or `schema`.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_type: String,
    /// The result as JSON text; a text result may have `[]` here.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_schema: String,
    /// The result as text; empty where it is structured.
    #[serde(default, deserialize_with = "text")]
    pub deliverable_text: String,
    /// The digest of it.
    #[serde(default, deserialize_with = "text")]
    pub content_hash: String,
    /// `submitted`, `accepted`, `rejected`.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// When it was handed in.
    #[serde(default, deserialize_with = "text")]
    pub submitted_at: String,
}

impl Delivery {
    /// The result: whichever of the two members is filled (§4.5).
    #[must_use]
    pub fn content(&self) -> &str {
        let schema = self.deliverable_schema.trim();
        let is_filled = !schema.is_empty() && schema != "[]" && schema != "{}";
        if self.deliverable_text.is_empty() || (self.deliverable_type == "schema" && is_filled) {
            &self.deliverable_schema
        } else {
            &self.deliverable_text
        }
    }

    /// Whether the digest is that of the result; `None` where there is none. Which bytes it is of is
    /// assumed (§15.3), so a difference is told and refuses nothing.
    #[must_use]
    pub fn is_intact(&self) -> Option<bool> {
        let said = self.content_hash.trim_start_matches("0x");
        let own = alloy_primitives::hex::encode(keccak256(self.content().as_bytes()));
        (!said.is_empty()).then(|| said.eq_ignore_ascii_case(&own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_result_wherever_it_is() {
        #[rustfmt::skip]
        let rows = [
            // type      text     schema          content
            ("text",     "hello", "[]",           "hello"),
            ("text",     "hello", "",             "hello"),
            ("schema",   "",      r#"{"a":1}"#,   r#"{"a":1}"#),
            ("schema",   "note",  r#"{"a":1}"#,   r#"{"a":1}"#),
            ("schema",   "note",  "[]",           "note"),
            ("",         "",      r#"{"a":1}"#,   r#"{"a":1}"#),
        ];
        for (kind, text, schema, content) in rows {
            let delivery: Delivery = serde_json::from_value(serde_json::json!({
                "deliverableType": kind, "deliverableText": text, "deliverableSchema": schema,
            }))
            .unwrap();
            assert_eq!(delivery.content(), content, "{kind} {text} {schema}");
        }
    }

    #[test]
    fn compares_the_digest_where_there_is_one() {
        let of = |hash: &str| {
            let json = serde_json::json!({ "deliverableText": "abc", "contentHash": hash });
            serde_json::from_value::<Delivery>(json).unwrap().is_intact()
        };
        let digest = "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";
        assert_eq!(of(digest), Some(true));
        assert_eq!(of(&format!("0x{}", digest.to_uppercase())), Some(true));
        assert_eq!(of("00"), Some(false));
        assert_eq!(of(""), None);
    }
}
