//! Webhooks: where an agent's events are sent to, and what was sent. Source: protocols/paegents.md
//! §3.2, §3.9, §8.
//!
//! Invariant: a signing secret is a [`SecretString`] from the moment it is read.

pub mod signature;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::signature::{Refused, SKEW_SECONDS_MAX, verify};
use crate::{
    ids::{AgentId, WebhookDeliveryId, WebhookId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::{list_of, word},
    },
};

/// The longest secret that is kept, in bytes.
const SECRET_BYTES_MAX: usize = 512;

/// Lists the subscriptions: `GET /agents/{agent}/webhooks`.
#[derive(Debug, Serialize)]
pub struct ListWebhooks<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
}

impl Operation for ListWebhooks<'_> {
    const NAME: &'static str = "paegents.list_webhooks";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Webhooks;

    fn path(&self) -> String {
        root(self.agent_id)
    }
}

/// Makes a subscription: `POST /agents/{agent}/webhooks`.
#[derive(Debug, Serialize)]
pub struct CreateWebhook<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// Where events are sent to.
    pub url: &'a str,
    /// What they are signed with.
    #[serde(serialize_with = "exposed")]
    pub secret: &'a SecretString,
    /// Which events; all where there are none. `payment.*` stands for a family.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub event_types: &'a [String],
}

fn exposed<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose_secret().serialize(serializer)
}

impl Operation for CreateWebhook<'_> {
    const NAME: &'static str = "paegents.create_webhook";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Issued;

    fn path(&self) -> String {
        root(self.agent_id)
    }
}

macro_rules! of_a_webhook {
    ($($(#[doc = $doc:literal])+ $name:ident = $operation:literal, $method:ident, $end:literal, $output:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Serialize)]
        pub struct $name<'a> {
            /// Whose.
            #[serde(skip)]
            pub agent_id: &'a AgentId,
            /// Which.
            #[serde(skip)]
            pub webhook_id: &'a WebhookId,
        }

        impl Operation for $name<'_> {
            const NAME: &'static str = concat!("paegents.", $operation);
            const METHOD: Method = Method::$method;
            const EFFECT: Effect = Effect::Write;
            const BODY: bool = false;
            type Output = $output;

            fn path(&self) -> String {
                format!("{}/{}{}", root(self.agent_id), self.webhook_id, $end)
            }
        }
    )+};
}

of_a_webhook! {
    /// Gets another secret: `POST /agents/{agent}/webhooks/{webhook}/rotate`.
    RotateSecret = "rotate_webhook_secret", POST, "/rotate", Issued;
    /// Stops the deliveries: `POST /agents/{agent}/webhooks/{webhook}/pause`.
    PauseWebhook = "pause_webhook", POST, "/pause", Value;
    /// Goes on with them: `POST /agents/{agent}/webhooks/{webhook}/resume`.
    ResumeWebhook = "resume_webhook", POST, "/resume", Value;
    /// Ends the subscription: `DELETE /agents/{agent}/webhooks/{webhook}`.
    DeleteWebhook = "delete_webhook", DELETE, "", Value;
}

/// Has a test event sent to every subscription: `POST /agents/{agent}/webhooks/test`.
#[derive(Debug, Serialize)]
pub struct SendTest<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
}

impl Operation for SendTest<'_> {
    const NAME: &'static str = "paegents.send_test_webhook";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        format!("{}/test", root(self.agent_id))
    }
}

/// Lists what was sent: `GET /agents/{agent}/webhooks/deliveries`.
#[derive(Debug, Serialize)]
pub struct ListDeliveries<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// How many at the most.
    pub limit: u64,
    /// Only those in this status.
    pub status: Option<&'a str>,
}

impl Operation for ListDeliveries<'_> {
    const NAME: &'static str = "paegents.list_webhook_deliveries";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Deliveries;

    fn path(&self) -> String {
        format!("{}/deliveries", root(self.agent_id))
    }
}

/// Sends a delivery once more: `POST /agents/{agent}/webhooks/deliveries/{delivery}/replay`.
#[derive(Debug, Serialize)]
pub struct ReplayDelivery<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// Which.
    #[serde(skip)]
    pub delivery_id: &'a WebhookDeliveryId,
}

impl Operation for ReplayDelivery<'_> {
    const NAME: &'static str = "paegents.replay_webhook_delivery";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        format!("{}/deliveries/{}/replay", root(self.agent_id), self.delivery_id)
    }
}

fn root(agent_id: &AgentId) -> String {
    format!("/agents/{agent_id}/webhooks")
}

/// The first of these members that is a text, or a number written down.
fn said(object: &Value, names: &[&str]) -> String {
    let text = |name: &&str| match object.get(*name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    names.iter().find_map(text).unwrap_or_default()
}

/// The object that an answer is about: the answer, or its only or named member.
fn inner<'a>(answer: &'a Value, names: &[&str]) -> &'a Value {
    names.iter().find_map(|name| answer.get(*name).filter(|v| v.is_object())).unwrap_or(answer)
}

/// A subscription. What the page calls "object" is read in as many ways as are likely (§14.10).
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its identifier.
    pub webhook_id: WebhookId,
    /// Where events are sent to; not cleaned.
    pub url: String,
    /// Which events; all where there are none; not cleaned.
    pub event_types: Vec<String>,
    /// `active`, `paused`, or another word.
    pub status: String,
}

/// Its members' names, where a subscription stands in an answer.
const WEBHOOK: [&str; 3] = ["webhook", "subscription", "data"];

impl Webhook {
    /// Reads one; `None` where it has no identifier.
    #[must_use]
    pub fn read(object: &Value) -> Option<Self> {
        let types = object.get("event_types").or_else(|| object.get("events"));
        let types = types.and_then(Value::as_array).into_iter().flatten();
        let is = |name: &str| object.get(name).and_then(Value::as_bool);
        let status = match said(object, &["status", "state"]) {
            none if none.is_empty() => match (is("paused").or(is("is_paused")), is("is_active")) {
                (Some(true), _) | (_, Some(false)) => "paused".to_owned(),
                _ => "active".to_owned(),
            },
            status => word(&status).to_owned(),
        };
        Some(Self {
            webhook_id: said(object, &["id", "webhook_id", "subscription_id"]).parse().ok()?,
            url: said(object, &["url"]),
            event_types: types.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            status,
        })
    }

    /// Whether nothing is sent to it until it is resumed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.status.as_str(), "paused" | "inactive" | "disabled")
    }
}

/// The subscriptions of an agent.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Webhooks(pub Vec<Webhook>);

impl From<Value> for Webhooks {
    fn from(answer: Value) -> Self {
        Self(list_of(answer).iter().filter_map(Webhook::read).collect())
    }
}

/// What comes back where a secret may be issued.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Issued {
    /// The subscription, where it can be read.
    pub webhook: Option<Webhook>,
    /// The secret, where there is one.
    pub secret: Option<SecretString>,
}

impl From<Value> for Issued {
    fn from(answer: Value) -> Self {
        let object = inner(&answer, &WEBHOOK);
        let names = ["secret", "new_secret", "webhook_secret", "signing_secret"];
        let secret = [object, &answer].map(|place| said(place, &names));
        let usable = |secret: &String| (1..=SECRET_BYTES_MAX).contains(&secret.len());
        Self {
            webhook: Webhook::read(object),
            secret: secret.into_iter().find(usable).map(SecretString::from),
        }
    }
}

/// Something that was sent, or is to be sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its identifier.
    pub delivery_id: WebhookDeliveryId,
    /// To which subscription.
    pub webhook_id: Option<WebhookId>,
    /// Of which event; not cleaned.
    pub event_id: String,
    /// Of which type; not cleaned.
    pub event_type: String,
    /// `pending`, `delivered`, `failed`, or another word.
    pub status: String,
    /// How often it was tried.
    pub attempts: Option<u64>,
    /// What the receiver answered with the last time.
    pub response_code: Option<u64>,
    /// Why it failed; not cleaned.
    pub error: String,
    /// When it was made.
    pub created_at: String,
}

impl Delivery {
    /// Reads one; `None` where it has no identifier.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        let object = inner(answer, &["delivery", "data"]);
        let number = |names: &[&str]| said(object, names).parse().ok();
        Some(Self {
            delivery_id: said(object, &["id", "delivery_id"]).parse().ok()?,
            webhook_id: said(object, &["subscription_id", "webhook_id"]).parse().ok(),
            event_id: said(object, &["event_id"]),
            event_type: said(object, &["event_type", "type"]),
            status: word(&said(object, &["status", "state"])).to_owned(),
            attempts: number(&["attempt_count", "attempts"]),
            response_code: number(&["response_code", "response_status", "status_code"]),
            error: said(object, &["error", "last_error"]),
            created_at: said(object, &["created_at"]),
        })
    }
}

/// Deliveries of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Deliveries(pub Vec<Delivery>);

impl From<Value> for Deliveries {
    fn from(answer: Value) -> Self {
        Self(list_of(answer).iter().filter_map(Delivery::read).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_a_subscription_however_it_is_written() {
        #[rustfmt::skip]
        let rows = [
            // what it shows   answer                                                                secret
            ("flat",           json!({ "id": "wh_1", "url": "u", "secret": "s" }),                   Some("s")),
            ("nested",         json!({ "webhook": { "id": "wh_1" }, "secret": "s" }),                Some("s")),
            ("both nested",    json!({ "subscription": { "webhook_id": "wh_1", "secret": "s" } }),   Some("s")),
            ("a new one",      json!({ "id": "wh_1", "new_secret": "s" }),                           Some("s")),
            ("none",           json!({ "id": "wh_1", "secret": null }),                              None),
            ("an empty one",   json!({ "id": "wh_1", "secret": "" }),                                None),
        ];
        for (row, answer, secret) in rows {
            let issued = Issued::from(answer);
            assert_eq!(issued.webhook.unwrap().webhook_id.as_str(), "wh_1", "{row}");
            let found = issued.secret.as_ref().map(secrecy::ExposeSecret::expose_secret);
            assert_eq!(found, secret, "{row}");
        }
    }

    #[test]
    fn knows_which_subscriptions_are_paused() {
        #[rustfmt::skip]
        let rows = [
            (json!({ "id": "w" }),                        false),
            (json!({ "id": "w", "status": "active" }),    false),
            (json!({ "id": "w", "status": "paused" }),    true),
            (json!({ "id": "w", "is_active": true }),     false),
            (json!({ "id": "w", "is_active": false }),    true),
            (json!({ "id": "w", "paused": true }),        true),
        ];
        for (object, paused) in rows {
            assert_eq!(Webhook::read(&object).unwrap().is_paused(), paused, "{object}");
        }
        assert!(Webhook::read(&json!({ "id": "a/b" })).is_none());
    }
}
