//! The API keys of a profile. Source: protocols/crochet.md §3, the endpoints outside the table.

use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Issued;
use crate::{
    ids::ApiKeyId,
    marketplaces::{
        crochet::{Enveloped, history::Rows},
        http::{Effect, Operation},
    },
};

/// The shortest prefix by which a key is recognised: `am_k_` alone begins every one.
const PREFIX_BYTES_MIN: usize = 8;

/// The keys, without the keys themselves: `GET /api-keys`.
#[derive(Debug, Serialize)]
pub struct ListApiKeys {}

impl Operation for ListApiKeys {
    const NAME: &'static str = "crochet.list_api_keys";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Rows;

    fn path(&self) -> String {
        "/api-keys".to_owned()
    }
}

/// Makes a further key: `POST /api-keys`.
#[derive(Debug, Serialize)]
pub struct CreateApiKey {
    /// What it is called.
    pub name: String,
}

impl Operation for CreateApiKey {
    const NAME: &'static str = "crochet.create_api_key";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Issued>;

    fn path(&self) -> String {
        "/api-keys".to_owned()
    }
}

/// Ends a key: `DELETE /api-keys/{id}`.
#[derive(Debug, Serialize)]
pub struct RevokeApiKey<'a> {
    /// Which.
    #[serde(skip)]
    pub key_id: &'a ApiKeyId,
}

impl Operation for RevokeApiKey<'_> {
    const NAME: &'static str = "crochet.revoke_api_key";
    const METHOD: Method = Method::DELETE;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Answered;

    fn path(&self) -> String {
        format!("/api-keys/{}", self.key_id)
    }
}

/// An answer of which only the status counts; a body that says `success: false` is none.
#[derive(Debug)]
pub struct Answered;

impl<'de> serde::Deserialize<'de> for Answered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let body = Value::deserialize(deserializer)?;
        if body.get("success") == Some(&Value::Bool(false)) {
            return Err(D::Error::custom("a success that says `success: false`"));
        }
        Ok(Self)
    }
}

/// Whether this row of the keys is the key in an `Authorization` header.
#[must_use]
pub fn is_key_in_use(row: &Map<String, Value>, authorization: &str) -> bool {
    let key = authorization.rsplit(' ').next().unwrap_or_default();
    let prefix =
        ["key_prefix", "api_key_prefix", "prefix"].iter().find_map(|n| row.get(*n)?.as_str());
    let prefix = prefix.map(|prefix| prefix.trim_end_matches(['.', '…', '*']));
    prefix.is_some_and(|prefix| prefix.len() >= PREFIX_BYTES_MIN && key.starts_with(prefix))
}

/// The identifier of a row.
#[must_use]
pub fn id_of(row: &Map<String, Value>) -> Option<&str> {
    ["id", "api_key_id", "key_id"].iter().find_map(|name| row.get(*name)?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recognises_the_key_in_use_by_its_prefix() {
        #[rustfmt::skip]
        let rows = [
            // what it shows       row                                     in use
            ("its prefix",         json!({ "key_prefix": "am_k_12345" }),  true),
            ("with dots",          json!({ "prefix": "am_k_1234..." }),    true),
            ("another key's",      json!({ "key_prefix": "am_k_99999" }),  false),
            ("every key's",        json!({ "key_prefix": "am_k_" }),       false),
            ("one short",          json!({ "key_prefix": "am_k_12" }),     false),
            ("long enough",        json!({ "key_prefix": "am_k_123" }),    true),
            ("none",               json!({}),                              false),
        ];
        for (row, fields, in_use) in rows {
            let fields = fields.as_object().unwrap();
            assert_eq!(is_key_in_use(fields, "Bearer am_k_123456789"), in_use, "{row}");
        }
    }
}
