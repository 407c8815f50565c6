//! CROO: its key, its error body, how it writes values. Source: protocols/croo.md.
//!
//! What the source only assumes is read here and in the module of the operation, nowhere else.

pub mod deliveries;
pub mod events;
pub mod negotiations;
pub mod objects;
pub mod offers;
pub mod orders;
pub mod payment;
pub mod services;
pub mod shape;
pub mod steps;
pub mod storage;
pub mod store;
pub mod stream;

use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use self::{
    negotiations::{GetNegotiation, Negotiation},
    orders::{GetOrder, Order},
};
pub use super::lenient::{id, instant, list, text, word};
use super::{
    Marketplace,
    http::{Api, Refusal},
    may_be_reached,
};
use crate::{
    error::{Code, Error},
    ids::{NegotiationId, OrderId},
};

/// The API below a CROO host. A base that ends in it already is taken as well.
const API_PATH: &str = "/backend/v1";
/// The header of the account's key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-sdk-key");

/// CROO for one agent: the one that the key is of.
#[derive(Clone, Debug)]
pub struct Croo {
    /// Its API.
    pub api: Api,
}

impl Croo {
    /// CROO at this host; `key` is the agent's SDK key.
    ///
    /// # Errors
    ///
    /// [`Code::EgressBlocked`] where the host is neither HTTPS nor on this machine.
    pub fn new(
        http: reqwest::Client,
        root: &str,
        key: Option<SecretString>,
    ) -> Result<Self, Error> {
        let root = root.trim_end_matches('/');
        let root = root.strip_suffix(API_PATH).unwrap_or(root);
        let base = Url::parse(&format!("{root}{API_PATH}")).ok().filter(may_be_reached);
        let base = base.ok_or_else(|| {
            let message = "CROO's URL has to be an https URL, or http on this machine";
            Error::new(Code::EgressBlocked, message).at(Marketplace::Croo)
        })?;
        let marketplace = Marketplace::Croo;
        let keys = key.map(|key| (KEY_HEADER, key)).into_iter().collect();
        Ok(Self { api: Api { marketplace, base, keys, refusal, http } })
    }

    /// As itself, where there is a key.
    ///
    /// # Errors
    ///
    /// [`Code::NotRegistered`].
    pub fn registered(self) -> Result<Self, Error> {
        if self.api.key().is_some() { Ok(self) } else { Err(self.api.not_registered()) }
    }

    /// Reads an order.
    ///
    /// # Errors
    ///
    /// As sending an operation; [`Code::UpstreamMalformed`] where another order comes back.
    pub async fn order(&self, order_id: &OrderId) -> Result<Order, Error> {
        let order = self.api.send(&GetOrder { order_id }).await?.order;
        if order.order_id == *order_id {
            return Ok(order);
        }
        Err(another(order_id.as_str(), "order"))
    }

    /// Reads a negotiation.
    ///
    /// # Errors
    ///
    /// As [`Self::order`].
    pub async fn negotiation(&self, negotiation_id: &NegotiationId) -> Result<Negotiation, Error> {
        let negotiation = self.api.send(&GetNegotiation { negotiation_id }).await?.negotiation;
        if negotiation.negotiation_id == *negotiation_id {
            return Ok(negotiation);
        }
        Err(another(negotiation_id.as_str(), "negotiation"))
    }
}

fn another(id: &str, what: &str) -> Error {
    let message = format!("CROO answered for {id} with another {what}");
    Error::new(Code::UpstreamMalformed, message).at(Marketplace::Croo)
}

/// The query of a list: one page of one role's rows (§4.4). The server refuses a list without a
/// role, and either list has its own words for them.
#[derive(Clone, Debug, Serialize)]
struct PageQuery {
    /// From 1.
    page: u64,
    /// At most 50.
    page_size: u64,
    /// [`Role::in_negotiations`] or [`Role::in_orders`].
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
}

/// Which side of an order an agent is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders and pays. CROO calls it `requester` in negotiations and `buyer` in orders (§4.4).
    Buyer,
    /// It is ordered from and delivers.
    Provider,
}

/// Reads `{"code", "reason", "message", "metadata"}`, which may be nested under `detail` (§9).
#[must_use]
pub fn refusal(body: &[u8]) -> Refusal {
    let Ok(body) = super::http::read_json::<Value>(body) else { return Refusal::default() };
    let error = body.get("detail").filter(|detail| detail.is_object()).unwrap_or(&body);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let reason = text("reason").filter(|reason| !reason.is_empty());
    Refusal {
        class: reason.as_deref().and_then(class),
        code: reason,
        message: text("message"),
        recovery: None,
    }
}

/// What a reason means (§9). `None`: the HTTP status tells.
fn class(reason: &str) -> Option<Code> {
    match reason {
        "SDK_KEY_INVALID" | "SDK_KEY_MISSING" | "AUTH_FAIL" | "NOT_LOGIN" => {
            Some(Code::Unauthorized)
        }
        "INVALID_PARAMETERS" | "CODEC" => Some(Code::UpstreamRejected),
        "INVALID_STATUS" | "INVALID_AGENT_STATUS" => Some(Code::WrongState),
        "FORBIDDEN" => Some(Code::NotAllowed),
        "NONCE_ERROR" => Some(Code::Conflict),
        _ if reason.ends_with("_NOT_FOUND") => Some(Code::NotFound),
        _ if reason.contains("INSUFFICIENT") || reason.contains("PIMLICO") => {
            Some(Code::InsufficientFunds)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_reasons_as_the_page_does() {
        #[rustfmt::skip]
        let rows = [
            (r#"{"code":404,"reason":"ORDER_NOT_FOUND","message":"x"}"#,  Some(Code::NotFound)),
            (r#"{"detail":{"reason":"SDK_KEY_INVALID"}}"#,                Some(Code::Unauthorized)),
            (r#"{"reason":"PIMLICO_ERROR"}"#,                             Some(Code::InsufficientFunds)),
            (r#"{"reason":"INVALID_STATUS"}"#,                            Some(Code::WrongState)),
            (r#"{"detail":"x"}"#,                                         None),
            (r#"{"reason":""}"#,                                          None),
            ("<html>",                                                    None),
        ];
        for (body, expected) in rows {
            assert_eq!(refusal(body.as_bytes()).class, expected, "{body}");
        }
    }

    #[test]
    fn takes_a_base_with_or_without_the_api_s_path() {
        let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        for root in ["https://h", "https://h/", "https://h/backend/v1", "https://h/backend/v1/"] {
            let croo = Croo::new(http.clone(), root, None).unwrap();
            assert_eq!(croo.api.base.as_str(), "https://h/backend/v1", "{root}");
        }
        assert!(Croo::new(http, "http://elsewhere.example", None).is_err());
    }
}
