//! Crochet: its credential, its envelope, its error body. Source: protocols/crochet.md.
//!
//! What the source only assumes is read here and in the module of the operation, nowhere else.

pub mod accounts;
pub mod call;
mod caps;
pub mod gateway;
pub mod history;
pub mod listings;
pub mod proof_of_work;
pub mod requirement;
pub mod reviews;
pub mod seller;

use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use url::Url;

use super::{
    Marketplace,
    http::{Api, Refusal},
    may_be_reached,
};
use crate::{
    error::{Code, Error},
    money::Usdc,
};

/// Crochet for one account.
#[derive(Clone, Debug)]
pub struct Crochet {
    /// Its API.
    pub api: Api,
}

impl Crochet {
    /// Crochet at this API root; `authorization` is the header's whole value.
    ///
    /// # Errors
    ///
    /// [`Code::EgressBlocked`] where the root is neither HTTPS nor on this machine.
    pub fn new(
        http: reqwest::Client,
        root: &str,
        authorization: Option<SecretString>,
    ) -> Result<Self, Error> {
        let base = Url::parse(root).ok().filter(may_be_reached).ok_or_else(|| {
            let message = "Crochet's API root has to be an https URL, or http on this machine";
            Error::new(Code::EgressBlocked, message).at(Marketplace::Crochet)
        })?;
        let marketplace = Marketplace::Crochet;
        let keys = authorization.map(|key| (AUTHORIZATION, key)).into_iter().collect();
        Ok(Self { api: Api { marketplace, base, keys, refusal, http } })
    }
}

/// An answer, out of its envelope where it has one: `data` of an object that has `success`.
#[derive(Debug)]
pub struct Enveloped<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Enveloped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        #[derive(Deserialize)]
        struct Envelope<'a> {
            success: Option<bool>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // What is no object has no envelope.
        let envelope = serde_json::from_str::<Envelope<'_>>(raw.get()).ok();
        let inner = match envelope {
            Some(Envelope { success: Some(true), data: Some(data) }) => data.get(),
            Some(Envelope { success: Some(false), .. }) => {
                return Err(D::Error::custom("a success that says `success: false`"));
            }
            _ => raw.get(),
        };
        serde_json::from_str(inner).map(Self).map_err(D::Error::custom)
    }
}

/// A page of a list, with its pagination.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The page's number, from 1.
    pub page: u64,
    /// How many pages there are, where it says so.
    pub pages: Option<u64>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Page<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Pagination {
            page: Option<u64>,
            total_pages: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default)]
            pagination: Pagination,
        }
        // Not an untagged enum: that would read the prices through floats.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let Enveloped(rows) = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let Pagination { page, total_pages } = serde_json::from_str::<Envelope>(raw.get())
            .map(|envelope| envelope.pagination)
            .unwrap_or_default();
        Ok(Self { rows, page: page.unwrap_or(1), pages: total_pages })
    }
}

/// A price as JSON gives it: a number or a text, read from its literal and never as a float. `None`
/// where it is no amount of dollars with at most six places: one such listing spoils no page.
///
/// # Errors
///
/// Where there is no JSON value.
pub fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usdc>, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(raw.and_then(|raw| raw.get().trim_matches('"').parse().ok()))
}

/// Reads `{"success": false, "error": {"code", "message", "recovery"?}}`.
#[must_use]
pub fn refusal(body: &[u8]) -> Refusal {
    let Ok(body) = super::http::read_json::<Value>(body) else { return Refusal::default() };
    let error = body.get("error").unwrap_or(&body);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    Refusal {
        code: text("code"),
        message: text("message").or_else(|| error.as_str().map(ToOwned::to_owned)),
        class: None,
        recovery: error.get("recovery").or_else(|| body.get("recovery")).cloned(),
    }
}
