//! How webhooks and their deliveries are shown: never with a secret, an address never with what may
//! hold one.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::{
    clock::rfc3339,
    ids::{EventId, WebhookDeliveryId},
    marketplaces::{
        lenient::{instant, word},
        paegents::webhooks::{Delivery, Webhook},
    },
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
    tools::paegents::shown::theirs,
};

/// The most types that are shown.
const TYPES_MAX: usize = 50;

/// A webhook.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookView {
    /// For the other tools.
    pub webhook_id: String,
    /// Where events are sent to, without a query.
    pub url_untrusted: String,
    /// Which events; empty: all.
    pub event_types_untrusted: Vec<String>,
    /// active or paused.
    pub status: String,
    /// Where it is stored; it is not shown. Absent: it is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

impl WebhookView {
    pub(super) fn of(webhook: &Webhook, signing_secret: Option<String>) -> Self {
        let types = webhook.event_types.iter().take(TYPES_MAX);
        Self {
            webhook_id: webhook.webhook_id.to_string(),
            url_untrusted: without_query(&webhook.url),
            event_types_untrusted: types.map(|kind| clean(kind, NAME_CHARS_MAX)).collect(),
            status: webhook.status.clone(),
            signing_secret,
        }
    }
}

/// An address without its query and what stands before its host.
fn without_query(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let origin = url.origin().ascii_serialization();
            clean(&format!("{origin}{}", url.path()), TEXT_CHARS_MAX)
        }
        Err(_) => String::new(),
    }
}

/// Webhooks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhooksView {
    /// They.
    pub webhooks: Vec<WebhookView>,
}

/// A secret that was changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RotatedView {
    /// Of which webhook.
    pub webhook_id: String,
    /// Where it is stored; it is not shown.
    pub signing_secret: String,
}

/// A webhook that was changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateView {
    /// Which.
    pub webhook_id: String,
    /// active, paused or deleted.
    pub status: String,
}

/// A test that was begun.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestView {
    /// What was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

impl TestView {
    pub(super) fn of(answer: &Value) -> Self {
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let id = text("event_id").and_then(|id| id.parse::<EventId>().ok());
        Self {
            event_id: id.map(|id| id.to_string()),
            status: text("status").map(|status| word(status).to_owned()),
        }
    }
}

/// Something that was sent, or is to be sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// Which.
    pub delivery_id: String,
    /// To which webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// Of which event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id_untrusted: Option<String>,
    /// Of which type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type_untrusted: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How often it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// The HTTP status of your server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_code: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_untrusted: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl DeliveryView {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self {
            delivery_id: delivery.delivery_id.to_string(),
            webhook_id: delivery.webhook_id.as_ref().map(ToString::to_string),
            event_id_untrusted: theirs(&delivery.event_id),
            event_type_untrusted: theirs(&delivery.event_type),
            status: Some(delivery.status.clone()),
            attempts: delivery.attempts,
            response_code: delivery.response_code,
            error_untrusted: theirs(&delivery.error),
            created_at: instant(&delivery.created_at).map(rfc3339),
        }
    }

    /// One of which only the name is known.
    pub(super) fn bare(delivery_id: &WebhookDeliveryId) -> Self {
        Self {
            delivery_id: delivery_id.to_string(),
            webhook_id: None,
            event_id_untrusted: None,
            event_type_untrusted: None,
            status: None,
            attempts: None,
            response_code: None,
            error_untrusted: None,
            created_at: None,
        }
    }
}

/// What was sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeliveriesView {
    /// The deliveries, the newest first.
    pub deliveries: Vec<DeliveryView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_a_secret() {
        for (url, shown) in [
            ("https://seller.example/hook?token=abc#x", "https://seller.example/hook"),
            ("https://user:pass@seller.example:8443/", "https://seller.example:8443/"),
            ("nowhere", ""),
        ] {
            assert_eq!(without_query(url), shown);
        }
    }
}
