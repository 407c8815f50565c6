//! Lost credentials: whoever holds an agent's wallet gets another key for it, and the old ones end.
//! Source: protocols/paegents.md §3.8, §10.6.

use std::fmt;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    ids::AgentId,
    marketplaces::http::{Effect, Operation},
};

/// The length of a key that is kept, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 8..=512;

/// Asks for a text to sign: `GET /wallet/recovery-challenge`, without a key.
#[derive(Debug, Serialize)]
pub struct GetRecoveryChallenge<'a> {
    /// The wallet's address, in lower case.
    pub wallet_address: &'a str,
}

impl Operation for GetRecoveryChallenge<'_> {
    const NAME: &'static str = "paegents.get_recovery_challenge";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = RecoveryChallenge;

    fn path(&self) -> String {
        "/wallet/recovery-challenge".to_owned()
    }
}

/// A text to sign; its nonce and its time go back unchanged, whatever they are.
#[derive(Clone, Debug, Deserialize)]
pub struct RecoveryChallenge {
    /// The text.
    pub message: String,
    /// What names it.
    pub nonce: Value,
    /// When it was made.
    #[serde(default)]
    pub issued_at: Value,
}

/// Ends the agent's keys and issues another: `POST /wallet/recover`, without a key.
#[derive(Serialize)]
pub struct RecoverCredentials<'a> {
    /// The wallet's address, in lower case.
    pub wallet_address: &'a str,
    /// The challenge's.
    pub nonce: &'a Value,
    /// The challenge's.
    pub issued_at: &'a Value,
    /// The wallet's signature of the text.
    pub signature: &'a str,
}

/// A signature that was not used yet is worth an agent.
impl fmt::Debug for RecoverCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoverCredentials")
            .field("wallet_address", &self.wallet_address)
            .finish_non_exhaustive()
    }
}

impl Operation for RecoverCredentials<'_> {
    const NAME: &'static str = "paegents.recover_wallet";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const AUTHENTICATED: bool = false;
    type Output = Recovered;

    fn path(&self) -> String {
        "/wallet/recover".to_owned()
    }
}

/// A key that was issued. It is in no other answer, so nothing but what it needs is insisted on.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The agent that it is of.
    pub agent_id: AgentId,
    /// The key.
    pub api_key: SecretString,
    /// How many keys have ended, where it says so.
    pub keys_revoked: Option<u64>,
    /// The wallet that it was issued to, where it says so.
    pub wallet_address: Option<String>,
}

impl<'de> Deserialize<'de> for Recovered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        // What serde would say of a wrong member could hold the key.
        Self::read(&data).ok_or_else(|| D::Error::custom("there is no key in it"))
    }
}

impl Recovered {
    fn read(data: &Value) -> Option<Self> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::trim);
        let key = text("api_key").filter(|key| is_key(key))?;
        Some(Self {
            agent_id: text("agent_id")?.parse().ok()?,
            api_key: key.to_owned().into(),
            keys_revoked: data.get("keys_revoked").and_then(Value::as_u64),
            wallet_address: text("wallet_address").map(ToOwned::to_owned),
        })
    }

    /// Agent and key as the store keeps them: one secret, since either is useless with another's.
    #[must_use]
    pub fn kept(&self) -> SecretString {
        format!("{} {}", self.agent_id, self.api_key.expose_secret()).into()
    }
}

/// Whether a text can be a key: one visible word.
fn is_key(text: &str) -> bool {
    KEY_BYTES.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_read_whatever_else_is_wrong() {
        let good = json!({ "agent_id": "agt_1", "api_key": "sk_0123456789", "keys_revoked": 2,
            "wallet_address": "0xf39f" });
        #[rustfmt::skip]
        let rows = [
            // what it shows              member             value                   read
            ("as documented",             "message",         json!("kept"),          true),
            ("a count that is none",      "keys_revoked",    json!("many"),          true),
            ("a wallet that is none",     "wallet_address",  json!(7),               true),
            ("no agent",                  "agent_id",        json!(null),            false),
            ("an agent that is a path",   "agent_id",        json!("../x"),          false),
            ("no key",                    "api_key",         json!(null),            false),
            ("two words",                 "api_key",         json!("sk_1 sk_23456"), false),
            ("a line",                    "api_key",         json!("sk_1\r\nX: 12"), false),
            ("nearly nothing",            "api_key",         json!("sk_1"),          false),
        ];
        for (row, member, value, read) in rows {
            let mut data = good.clone();
            data[member] = value;
            let found = serde_json::from_value::<Recovered>(data);
            assert_eq!(found.is_ok(), read, "{row}");
            if let Ok(found) = found {
                assert_eq!(found.kept().expose_secret(), "agt_1 sk_0123456789", "{row}");
                assert!(!format!("{found:?}").contains("sk_0123456789"), "{row}");
            }
        }
    }
}
