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

use std::fmt;

use jiff::Timestamp;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    Marketplace,
    http::{Api, Refusal},
    may_be_reached,
};
use crate::error::{Code, Error};

/// The API below a CROO host. A base that ends in it already is taken as well.
const API_PATH: &str = "/backend/v1";
/// The header of the account's key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-sdk-key");
/// Unix seconds beyond which a number is taken for milliseconds: the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;

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
        Ok(Self { api: Api { marketplace, base, key_header: KEY_HEADER, key, refusal, http } })
    }

    /// As itself, where there is a key.
    ///
    /// # Errors
    ///
    /// [`Code::NotRegistered`].
    pub fn registered(self) -> Result<Self, Error> {
        if self.api.key.is_some() { Ok(self) } else { Err(self.api.not_registered()) }
    }
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

/// A member that is a text, and that a protobuf server may write as a number, as `null` or not at
/// all (§2).
///
/// # Errors
///
/// Where it is an object, a list or a flag.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }
        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_f64<E>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// An identifier that may be missing, or be none that can stand in a path.
///
/// # Errors
///
/// As [`text`].
pub fn id<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
{
    Ok(text(deserializer)?.parse().ok())
}

/// A list that may be missing or `null`: then it is empty (§4.4).
///
/// # Errors
///
/// Where it is something else, or an element is.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// A time as CROO writes it, in Unix seconds: RFC 3339, or a number of seconds or milliseconds
/// (§15.1, assumed). `None` where it is empty or something else.
#[must_use]
pub fn instant(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(0) => None,
        Ok(seconds) if seconds < SECONDS_MAX => Some(seconds),
        Ok(milliseconds) => Some(milliseconds / 1000),
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
    }
}

/// A status that is one word, so that it can stand in our own sentences; otherwise `unreadable`.
#[must_use]
pub fn word(status: &str) -> &str {
    let is_word = (1..=32).contains(&status.len())
        && status.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_word { status } else { "unreadable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_time_however_it_is_written() {
        #[rustfmt::skip]
        let rows = [
            ("2026-11-22T02:43:16Z",      Some(1_795_315_396)),
            ("2026-11-22T02:43:16.5Z",    Some(1_795_315_396)),
            ("2026-11-22T03:43:16+01:00", Some(1_795_315_396)),
            ("1795315396",                Some(1_795_315_396)),
            ("1795315396000",             Some(1_795_315_396)),
            ("0",                         None),
            ("",                          None),
            ("soon",                      None),
        ];
        for (text, expected) in rows {
            assert_eq!(instant(text), expected, "{text}");
        }
    }

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
