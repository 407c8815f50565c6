//! Accounts: proving a wallet, registering, recovering, the profile. Source: protocols/crochet.md
//! §5, §13.
//!
//! Invariants: a key that Crochet issues is a [`SecretString`] from the moment it is read; what of
//! an answer is only a key's prefix is never taken for the key.

pub mod challenges;
pub mod keys;
pub mod wallets;

use std::fmt;

use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::Enveloped;
use crate::{
    error::{Code, Error},
    marketplaces::http::{Effect, Operation},
};

/// The longest value of `Authorization` that is kept, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 512;
/// The shortest: a scheme and a few characters.
const AUTHORIZATION_BYTES_MIN: usize = 12;

/// Registers a wallet: `POST /register`.
#[derive(Debug, Serialize)]
pub struct Register {
    /// The wallet, with its proof.
    #[serde(flatten)]
    pub proof: Proof,
    /// The name that others see.
    pub display_name: String,
    /// Further members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Operation for Register {
    const NAME: &'static str = "crochet.register";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const AUTHENTICATED: bool = false;
    type Output = Enveloped<Issued>;

    fn path(&self) -> String {
        "/register".to_owned()
    }
}

/// Issues a new key to a registered wallet: `POST /auth/recover`.
#[derive(Debug, Serialize)]
pub struct Recover {
    /// The wallet, with its proof.
    #[serde(flatten)]
    pub proof: Proof,
}

impl Operation for Recover {
    const NAME: &'static str = "crochet.recover_account";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const AUTHENTICATED: bool = false;
    type Output = Enveloped<Issued>;

    fn path(&self) -> String {
        "/auth/recover".to_owned()
    }
}

/// Who the key belongs to: `GET /me`.
#[derive(Debug, Serialize)]
pub struct Me {}

impl Operation for Me {
    const NAME: &'static str = "crochet.get_profile";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        "/me".to_owned()
    }
}

/// A wallet that has signed a challenge, and the work that the challenge asked for.
#[derive(Clone, Serialize)]
pub struct Proof {
    /// The wallet's address.
    pub wallet_address: String,
    /// Its signature of the challenge's message.
    pub signature: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// The work's solution, where the challenge asked for work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pow_nonce: Option<String>,
}

/// A signature that was not used yet is worth an account.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("wallet_address", &self.wallet_address)
            .finish_non_exhaustive()
    }
}

/// A key that was issued. It is in no other answer.
#[derive(Debug)]
pub struct Issued {
    /// The value of `Authorization`.
    pub authorization: SecretString,
    /// The key's identifier, where it is one.
    pub key_id: Option<String>,
}

impl<'de> Deserialize<'de> for Issued {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        // What serde would say of a wrong member could hold the key.
        Self::read(&data).ok_or_else(|| D::Error::custom("there is no key in it"))
    }
}

impl Issued {
    /// The header's value verbatim where it is given, else made of the key.
    fn read(data: &Value) -> Option<Self> {
        let places = [Some(data), data.get("api_key")];
        let text = |name: &str| {
            places.iter().flatten().find_map(|place| place.get(name)?.as_str().map(str::to_owned))
        };
        let key = || ["api_key", "key", "raw_key"].iter().find_map(|name| text(name));
        let authorization = text("authorization_header")
            .or_else(|| key().map(|key| format!("Bearer {key}")))
            .filter(|value| is_header_value(value))?;
        let key_id = ["api_key_id", "key_id"].iter().find_map(|name| text(name));
        let key_id = key_id.or_else(|| text("id"));
        Some(Self { authorization: authorization.into(), key_id })
    }
}

/// Whether a text can be the value of `Authorization`: two visible words.
fn is_header_value(text: &str) -> bool {
    (AUTHORIZATION_BYTES_MIN..=AUTHORIZATION_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && text.split(' ').filter(|word| !word.is_empty()).count() == 2
}

/// What a refusal is about. Crochet's codes are open strings, so its words are read, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The wallet belongs to an account already.
    WalletExists,
    /// The work's solution.
    Work,
    /// How the address is written.
    Address,
    /// The signature.
    Signature,
}

impl Complaint {
    /// What a refusal of a proof is about, where that is known.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        let status = error.http_status.filter(|status| (400..500).contains(status))?;
        if [404, 429].contains(&status) {
            return None;
        }
        let words = words_of(error);
        let any = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        if status == 409 || (any(&["already"]) && any(&["exist", "regist", "belong"])) {
            return Some(Self::WalletExists);
        }
        if any(&["pow_nonce", "proof_of_work", "proof of work", "proof-of-work", "invalid_pow"]) {
            return Some(Self::Work);
        }
        if any(&["signature"]) {
            return Some(Self::Signature);
        }
        any(&["address", "checksum"]).then_some(Self::Address)
    }
}

/// A refusal's code, its words and the action that it names, in lower case.
fn words_of(error: &Error) -> String {
    let theirs = error.recovery.upstream_untrusted.as_ref();
    let text = |name: &str| theirs.and_then(|t| t.get(name)).and_then(Value::as_str);
    let parts = [error.upstream_code.as_deref(), text("message"), text("next_action")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

/// An answer that lacks what it is for. What it answered may have been carried out.
#[must_use]
pub fn malformed(name: &'static str, what: &str) -> Error {
    Error::new(Code::UpstreamMalformed, format!("Crochet's answer to {name} {what}"))
        .at(crate::marketplaces::Marketplace::Crochet)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    /// A refusal as `Api::refused` makes it.
    pub(super) fn refusal(status: u16, code: &str, message: &str) -> Error {
        let said = crate::marketplaces::http::Refusal {
            code: None,
            class: None,
            message: Some(message.to_owned()),
            recovery: None,
        };
        Error::new(Code::UpstreamRejected, "refused")
            .upstream(Some(status), Some(code.to_owned()))
            .recovery(|recovery| recovery.hear(said))
    }

    #[test]
    fn takes_a_key_and_never_its_prefix() {
        let long = format!("Bearer {}", "a".repeat(AUTHORIZATION_BYTES_MAX));
        #[rustfmt::skip]
        let rows = [
            // what it shows      answer                                                    header
            ("verbatim",          json!({ "api_key": "am_k_1234567", "authorization_header": "Token am_k_7654321" }), Some("Token am_k_7654321")),
            ("made of the key",   json!({ "api_key": "am_k_1234567" }),                     Some("Bearer am_k_1234567")),
            ("another name",      json!({ "key": "am_k_1234567", "id": "key_1" }),          Some("Bearer am_k_1234567")),
            ("nested",            json!({ "api_key": { "key": "am_k_1234567" } }),          Some("Bearer am_k_1234567")),
            ("only a prefix",     json!({ "api_key_prefix": "am_k_1234567", "key_prefix": "am_k_1234567" }), None),
            ("a line break",      json!({ "api_key": "am_k_1234\r\nX: y" }),                None),
            ("three words",       json!({ "api_key": "am_k_1234 567" }),                    None),
            ("empty",             json!({ "api_key": "" }),                                 None),
            ("too long",          json!({ "authorization_header": long }),                  None),
        ];
        for (row, answer, header) in rows {
            let read = serde_json::from_value::<Issued>(answer);
            if let Err(error) = &read {
                assert!(!error.to_string().contains("am_k_"), "{row}");
            }
            let issued = read.ok();
            assert_eq!(issued.as_ref().map(|i| i.authorization.expose_secret()), header, "{row}");
            assert!(!format!("{issued:?}").contains("am_k_"), "{row}");
        }
    }

    #[test]
    fn knows_what_a_refusal_is_about() {
        use Complaint::{Address, Signature, WalletExists, Work};
        #[rustfmt::skip]
        let rows = [
            // what it shows          status  code                       message                            about
            ("a conflict",            409, "ANY",                     "",                                   Some(WalletExists)),
            ("in words",              400, "WALLET_ALREADY_REGISTERED", "",                                 Some(WalletExists)),
            ("work, by code",         400, "INVALID_PROOF_OF_WORK",   "",                                   Some(Work)),
            ("work, by member",       422, "VALIDATION_ERROR",        "pow_nonce: is wrong",                Some(Work)),
            ("the address",           400, "VALIDATION_ERROR",        "wallet_address: bad checksum",       Some(Address)),
            ("the signature",         401, "INVALID_SIGNATURE",       "the address did not sign",           Some(Signature)),
            ("something else",        400, "CHALLENGE_EXPIRED",       "older than 300 seconds",             None),
            ("not found",             404, "NOT_FOUND",               "no such wallet address",             None),
            ("too many",              429, "RATE_LIMITED",            "signature tries",                    None),
            ("a server's failure",    500, "INVALID_PROOF_OF_WORK",   "",                                   None),
        ];
        for (row, status, code, message, about) in rows {
            assert_eq!(Complaint::of(&refusal(status, code, message)), about, "{row}");
        }
    }
}
