//! Paegents: its keys, its error body, how it writes values. Source: protocols/paegents.md.
//!
//! What the source only assumes is read here and in the module of the operation, nowhere else.

pub mod agreements;
pub mod allowance;
pub mod carts;
pub mod catalog;
pub mod create;
pub mod direct;
pub mod ending;
pub mod escrow;
pub mod events;
pub mod evidence;
pub mod fee;
pub mod feed;
pub mod invites;
pub mod mandates;
pub mod metered;
pub mod offer;
pub mod owner;
pub mod package;
pub mod payments;
mod proposal;
pub mod recovery;
pub mod selling;
mod sending;
pub mod services;
pub mod settlement;
pub mod status;
pub mod steps;
pub mod suppliers;
pub mod webhooks;

use reqwest::header::{AUTHORIZATION, HeaderName};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{
    Marketplace,
    http::{Api, Refusal},
    lenient::list_of,
    may_be_reached,
};
use crate::{
    error::{Code, Error},
    ids::AgentId,
    recovery::NextAction,
};

/// The second header of the agent's key (§1).
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// Micro-dollars in a cent.
pub const MICROS_PER_CENT: u64 = 10_000;

/// Paegents for one agent.
#[derive(Clone, Debug)]
pub struct Paegents {
    /// Its API, with the agent's key in both headers.
    pub api: Api,
    /// The agent that the key is of.
    agent: Option<AgentId>,
    /// The token of the agent's owner.
    owner: Option<SecretString>,
}

impl Paegents {
    /// Paegents at this API root.
    ///
    /// # Errors
    ///
    /// [`Code::EgressBlocked`] where the root is neither HTTPS nor on this machine.
    pub fn new(
        http: reqwest::Client,
        root: &str,
        agent: Option<(AgentId, SecretString)>,
        owner: Option<SecretString>,
    ) -> Result<Self, Error> {
        let base = Url::parse(root.trim_end_matches('/')).ok().filter(may_be_reached);
        let base = base.ok_or_else(|| {
            let message = "Paegents' API root has to be an https URL, or http on this machine";
            Error::new(Code::EgressBlocked, message).at(Marketplace::Paegents)
        })?;
        let (agent, key) = agent.unzip();
        let keys =
            key.into_iter().flat_map(|key| [(AUTHORIZATION, bearer(&key)), (KEY_HEADER, key)]);
        let api =
            Api { marketplace: Marketplace::Paegents, base, keys: keys.collect(), refusal, http };
        Ok(Self { api, agent, owner })
    }

    /// The agent that the key is of.
    ///
    /// # Errors
    ///
    /// [`Code::NotRegistered`] where there is no key.
    pub fn agent(&self) -> Result<&AgentId, Error> {
        self.agent.as_ref().ok_or_else(|| self.api.not_registered())
    }

    /// The API with the owner's token in place of the agent's; the second header stays (§1).
    ///
    /// # Errors
    ///
    /// [`Code::NotRegistered`] where there is no token.
    pub fn as_owner(&self) -> Result<Api, Error> {
        let token = self.owner.as_ref().ok_or_else(|| {
            let message = "there is no token of the agent's owner: they set OWNER_JWT for the \
                           profile `owner`";
            Error::new(Code::NotRegistered, message).at(Marketplace::Paegents).recovery(|r| {
                r.set(NextAction::AskOwner, false, "Only the owner has this token.");
            })
        })?;
        let mut api = self.api.clone();
        api.keys.retain(|(name, _)| *name != AUTHORIZATION);
        api.keys.insert(0, (AUTHORIZATION, bearer(token)));
        Ok(api)
    }

    /// The API of the metered proxy, which takes one header of the two (§9).
    #[must_use]
    pub fn metered(&self) -> Api {
        let mut api = self.api.clone();
        api.keys.retain(|(name, _)| *name == AUTHORIZATION);
        api
    }
}

fn bearer(key: &SecretString) -> SecretString {
    format!("Bearer {}", key.expose_secret()).into()
}

/// Reads `{"detail": …}`, where the detail is a text, a list of what does not fit, or an object
/// (§2). A denial by the platform's policy is found wherever it stands in the body.
#[must_use]
pub fn refusal(body: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(body);
    let denied = text.to_ascii_lowercase().contains("policy_denied");
    let class = denied.then_some(Code::PolicyDenied);
    let code = denied.then(|| "policy_denied".to_owned());
    let Ok(body) = super::http::read_json::<Value>(body) else {
        return Refusal { code, class, ..Refusal::default() };
    };
    let detail = body.get("detail").or_else(|| body.get("error")).unwrap_or(&body);
    let said = |name: &str| detail.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let message = match detail {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(misfits(items)),
        _ => said("message"),
    };
    Refusal { code: code.or_else(|| said("code")), message, class, recovery: None }
}

/// The rows of a list, which is the answer or a member of it (§14.10), that can be read; one that
/// cannot hides no other.
fn read_rows<T: DeserializeOwned>(answer: Value) -> Vec<T> {
    let rows = list_of(answer);
    let count = rows.len();
    let read: Vec<T> =
        rows.into_iter().filter_map(|row| serde_json::from_value(row).ok()).collect();
    if read.len() < count {
        tracing::warn!(unreadable = count - read.len(), "rows of a Paegents list were left out");
    }
    read
}

/// What does not fit, one after the other: `body.quantity: must be at least 1`.
fn misfits(items: &[Value]) -> String {
    let line = |item: &Value| {
        let place = item.get("loc").and_then(Value::as_array).map(|parts| {
            let parts = parts.iter().map(|part| match part {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            parts.collect::<Vec<_>>().join(".")
        });
        let what = item.get("msg").and_then(Value::as_str).unwrap_or_default();
        format!("{}: {what}", place.unwrap_or_default())
    };
    items.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_a_denial_is_found_wherever_it_stands() {
        #[rustfmt::skip]
        let rows = [
            (r#"{"detail":"policy_denied: above the limit"}"#,       Some(Code::PolicyDenied)),
            (r#"{"error":"POLICY_DENIED"}"#,                         Some(Code::PolicyDenied)),
            (r#"{"detail":{"code":"policy_denied","limit":1}}"#,     Some(Code::PolicyDenied)),
            ("Policy_Denied by the proxy",                           Some(Code::PolicyDenied)),
            (r#"{"detail":"Not found"}"#,                            None),
            ("",                                                     None),
        ];
        for (body, expected) in rows {
            assert_eq!(refusal(body.as_bytes()).class, expected, "{body}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_in_one_line() {
        let body = br#"{"detail":[{"loc":["body","quantity"],"msg":"too small"},{"msg":"x"}]}"#;
        assert_eq!(refusal(body).message.unwrap(), "body.quantity: too small; : x");
    }

    #[test]
    fn each_call_carries_its_keys_and_no_others() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let agent = Some(("agt".parse().unwrap(), "sk_1".to_owned().into()));
        let made = |agent, owner| Paegents::new(http.clone(), "https://h/api/", agent, owner);
        let shown = |api: &Api| {
            let keys = api.keys.iter();
            keys.map(|(name, key)| format!("{name}: {}", key.expose_secret())).collect::<Vec<_>>()
        };
        let paegents = made(agent, Some("jwt".to_owned().into())).unwrap();
        assert_eq!(paegents.api.base.as_str(), "https://h/api");
        assert_eq!(shown(&paegents.api), ["authorization: Bearer sk_1", "x-api-key: sk_1"]);
        assert_eq!(
            shown(&paegents.as_owner().unwrap()),
            ["authorization: Bearer jwt", "x-api-key: sk_1"]
        );
        assert_eq!(shown(&paegents.metered()), ["authorization: Bearer sk_1"]);
        let nobody = made(None, None).unwrap();
        assert!(nobody.agent().unwrap_err().is(Code::NotRegistered));
        assert!(nobody.as_owner().unwrap_err().is(Code::NotRegistered));
        assert!(Paegents::new(http.clone(), "http://elsewhere.example", None, None).is_err());
    }
}
