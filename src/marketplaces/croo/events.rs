//! What CROO tells: its socket's address and messages, and what a negotiation's or an order's state
//! says has happened. Source: protocols/croo.md §8.
//!
//! Invariant: however an event is learned, by the socket, again by the socket or from a list, it has
//! one name, so the inbox holds it once.

pub mod reconcile;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    Role, instant,
    negotiations::Negotiation,
    orders::Order,
    steps::{is_final, is_paid},
    word,
};
use crate::{
    error::{Code, Error},
    events::Event,
    ids::{AgentId, NegotiationId, OrderId, ServiceId},
    marketplaces::{Marketplace, may_be_reached},
    principal::EVERYONE,
    text::{TEXT_CHARS_MAX, clean},
};

/// A negotiation for one of our services.
pub const NEGOTIATION_CREATED: &str = "order_negotiation_created";
const NEGOTIATION_REJECTED: &str = "order_negotiation_rejected";
const NEGOTIATION_EXPIRED: &str = "order_negotiation_expired";
const ORDER_CREATED: &str = "order_created";
const ORDER_PAID: &str = "order_paid";
const ORDER_COMPLETED: &str = "order_completed";
const ORDER_REJECTED: &str = "order_rejected";
const ORDER_EXPIRED: &str = "order_expired";

/// Where the socket is: `ws_url` with its path and query replaced (§8.1). It holds the key.
///
/// # Errors
///
/// [`Code::EgressBlocked`] where it is neither encrypted nor on this machine.
pub fn address(ws_url: &str, key: &SecretString) -> Result<SecretString, Error> {
    let refused = || {
        let message = "CROO's event URL has to be a wss URL, or ws on this machine";
        Error::new(Code::EgressBlocked, message).at(Marketplace::Croo)
    };
    let mut url = Url::parse(ws_url).ok().filter(may_be_reached).ok_or_else(refused)?;
    let scheme = if matches!(url.scheme(), "wss" | "https") { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| refused())?;
    url.set_path("/ws");
    url.set_fragment(None);
    url.query_pairs_mut().clear().append_pair("key", key.expose_secret());
    Ok(String::from(url).into())
}

/// Something that CROO tells, or that a state implies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its type: a word of §8.4, or one that is not known yet.
    pub kind: String,
    /// The negotiation.
    pub negotiation_id: Option<NegotiationId>,
    /// The order.
    pub order_id: Option<OrderId>,
    /// Who buys.
    pub requester: Option<AgentId>,
    /// Who sells.
    pub provider: Option<AgentId>,
    /// The service.
    pub service_id: Option<ServiceId>,
    /// A word.
    pub status: String,
    /// Why, in the words of who did it; not cleaned.
    pub reason: String,
    /// When, in Unix seconds, where it is known.
    pub at: Option<i64>,
    /// What tells two events of a type that is not known apart.
    digest: String,
}

/// What the marketplace's lists say has happened.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The agent that the lists are of, where they hold anything.
    pub own: Option<AgentId>,
    /// The events, the oldest first as far as their times are known.
    pub told: Vec<Told>,
}

impl Told {
    /// Reads a message: one JSON object, or one under `data`. `None` where it is none, or lacks the
    /// identifier of what it is about.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        let whole: Value = serde_json::from_slice(message).ok()?;
        let event = whole.get("data").filter(|data| !data.is_null()).unwrap_or(&whole);
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let told = text("type");
        let kind = match told.strip_prefix("negotiation_") {
            Some(rest) => format!("order_negotiation_{rest}"),
            None => told.to_owned(),
        };
        let told = Self {
            kind: word(&kind).to_owned(),
            negotiation_id: text("negotiation_id").parse().ok(),
            order_id: text("order_id").parse().ok(),
            requester: text("requester_agent_id").parse().ok(),
            provider: text("provider_agent_id").parse().ok(),
            service_id: text("service_id").parse().ok(),
            status: text("status").to_owned(),
            reason: text("reason").to_owned(),
            at: None,
            digest: digest(event.to_string().as_bytes()),
        };
        (event.is_object() && !told.subject().is_empty()).then_some(told)
    }

    /// What the state of a negotiation says has happened, as far as this role is told of it.
    #[must_use]
    pub fn of_negotiation(negotiation: &Negotiation, role: Role) -> Option<Self> {
        // Whatever became of it, it was created: its provider was to be told.
        let (kind, at) = match (role, negotiation.status.as_str()) {
            (Role::Provider, _) => (NEGOTIATION_CREATED, negotiation.created_time.as_str()),
            (Role::Buyer, "rejected") => (NEGOTIATION_REJECTED, ""),
            (Role::Buyer, "expired") => (NEGOTIATION_EXPIRED, negotiation.expires_at.as_str()),
            (Role::Buyer, _) => return None,
        };
        Some(Self {
            kind: kind.to_owned(),
            negotiation_id: Some(negotiation.negotiation_id.clone()),
            order_id: None,
            requester: negotiation.requester_agent_id.clone(),
            provider: negotiation.provider_agent_id.clone(),
            service_id: negotiation.service_id.clone(),
            status: negotiation.status.clone(),
            reason: negotiation.reject_reason.clone(),
            at: instant(at),
            digest: String::new(),
        })
    }

    /// What the state of an order says has happened, as far as this role is told of it.
    #[must_use]
    pub fn of_order(order: &Order, role: Role) -> Vec<Self> {
        let status = order.status.as_str();
        let is_payable = matches!(status, "created" | "paying" | "pay_failed" | "rejecting");
        let stands = is_payable
            || is_paid(status)
            || (is_final(status) && status != "create_failed")
            || (!order.created_at.is_empty() && !matches!(status, "creating" | "create_failed"));
        let was_paid = !order.paid_at.is_empty() || is_paid(status);
        let happened = [
            (ORDER_CREATED, stands, &order.created_at),
            (ORDER_PAID, was_paid && role == Role::Provider, &order.paid_at),
            (ORDER_COMPLETED, status == "completed" && role == Role::Buyer, &order.delivered_at),
            (ORDER_REJECTED, status == "rejected", &order.rejected_at),
            (ORDER_EXPIRED, status == "expired", &order.expired_at),
        ];
        let happened = happened.into_iter().filter(|(_, has, _)| *has);
        let told = happened.map(|(kind, _, at)| Self {
            kind: kind.to_owned(),
            negotiation_id: order.negotiation_id.clone(),
            order_id: Some(order.order_id.clone()),
            requester: order.requester_agent_id.clone(),
            provider: order.provider_agent_id.clone(),
            service_id: order.service_id.clone(),
            status: order.status.clone(),
            reason: order.reject_reason.clone(),
            at: instant(at),
            digest: String::new(),
        });
        told.collect()
    }

    /// Whether its type is one of §8.4: what of it happens once to a subject.
    fn is_known(&self) -> bool {
        self.is_of_negotiation()
            || matches!(
                self.kind.as_str(),
                ORDER_CREATED | ORDER_PAID | ORDER_COMPLETED | ORDER_REJECTED | ORDER_EXPIRED
            )
    }

    fn is_of_negotiation(&self) -> bool {
        matches!(
            self.kind.as_str(),
            NEGOTIATION_CREATED | NEGOTIATION_REJECTED | NEGOTIATION_EXPIRED
        )
    }

    /// What it is about; empty where it lacks the identifier that its type is named by.
    #[must_use]
    pub fn subject(&self) -> &str {
        let negotiation = self.negotiation_id.as_ref().map_or("", NegotiationId::as_str);
        let order = self.order_id.as_ref().map_or("", OrderId::as_str);
        if self.is_of_negotiation() {
            negotiation
        } else if self.is_known() || !order.is_empty() {
            order
        } else if negotiation.is_empty() {
            "unknown"
        } else {
            negotiation
        }
    }

    /// What makes it the same event when it comes again. Of a type that is not known nobody can say
    /// how often it happens: there only the same message is the same event.
    fn name(&self) -> String {
        if self.is_known() {
            format!("{}:{}", self.kind, self.subject())
        } else {
            format!("{}:{}:{}", self.kind, self.subject(), self.digest)
        }
    }

    /// Whether it names its two sides, and `own` is neither.
    #[must_use]
    pub fn is_of_others(&self, own: &AgentId) -> bool {
        let other = |side: &Option<AgentId>| side.as_ref().is_some_and(|agent| agent != own);
        other(&self.requester) && other(&self.provider)
    }

    /// The side that we are on: the one that is told of such a thing, else that of `own`.
    #[must_use]
    pub fn role(&self, own: Option<&AgentId>) -> Option<Role> {
        match self.kind.as_str() {
            NEGOTIATION_CREATED | ORDER_PAID => Some(Role::Provider),
            NEGOTIATION_REJECTED | NEGOTIATION_EXPIRED | ORDER_COMPLETED => Some(Role::Buyer),
            _ => Role::of(own, self.requester.as_ref(), self.provider.as_ref()),
        }
    }

    /// It, for the inbox. `now` is the present in Unix seconds.
    #[must_use]
    pub fn event(&self, own: Option<&AgentId>, now: i64) -> Event {
        let mut payload = Map::new();
        payload.insert("marketplace".to_owned(), json!(Marketplace::Croo));
        let role = self.role(own).map(Role::in_orders);
        let members = [
            ("negotiation_id", self.negotiation_id.as_ref().map(NegotiationId::as_str)),
            ("order_id", self.order_id.as_ref().map(OrderId::as_str)),
            ("service_id", self.service_id.as_ref().map(ServiceId::as_str)),
            ("requester_agent_id", self.requester.as_ref().map(AgentId::as_str)),
            ("provider_agent_id", self.provider.as_ref().map(AgentId::as_str)),
            ("status", (!self.status.is_empty()).then(|| word(&self.status))),
            ("role", role),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                payload.insert(name.to_owned(), json!(value));
            }
        }
        if !self.reason.is_empty() {
            let reason = clean(&self.reason, TEXT_CHARS_MAX);
            payload.insert("reason_untrusted".to_owned(), json!(reason));
        }
        Event {
            seq: 0,
            principal: EVERYONE.to_owned(),
            source: Marketplace::Croo.name().to_owned(),
            dedup: self.name(),
            kind: self.kind.clone(),
            subject: self.subject().to_owned(),
            payload: Value::Object(payload),
            at: self.at.map_or(now, |at| at.min(now)),
        }
    }
}

/// A name for bytes that does not show them.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(bytes));
    digest.get(..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
