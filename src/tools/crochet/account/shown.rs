//! What of Crochet's objects is shown: cleaned, without what could be a secret; and the errors' hints
//! that every tool of an account shares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    error::{Code, Error},
    marketplaces::crochet::history::Rows,
    recovery::NextCall,
    text::{TEXT_CHARS_MAX, clean_json},
};

/// The most further members that a call may send.
const EXTRA_MEMBERS_MAX: usize = 8;
/// Their bytes, as JSON.
const EXTRA_BYTES_MAX: usize = 2048;
/// How many rows a page has at the most.
const LIMIT_MAX: u64 = 50;
/// How deep secrets are looked for; beyond it nothing is shown.
const DEPTH_MAX: usize = 16;

/// A page of rows that are shown as they came.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RowsView {
    /// The rows, in Crochet's words.
    pub rows_untrusted: Vec<Map<String, Value>>,
    /// The next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<u64>,
}

impl From<Rows> for RowsView {
    fn from(rows: Rows) -> Self {
        let next_page = rows.next_page();
        Self { rows_untrusted: rows.rows.into_iter().map(object).collect(), next_page }
    }
}

/// An object of Crochet's as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DetailsView {
    /// In Crochet's words.
    pub details_untrusted: Map<String, Value>,
}

impl DetailsView {
    /// The object, cleaned; what is none is its only member.
    pub(crate) fn of(value: Value) -> Self {
        let details = match value {
            Value::Object(members) => members,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        Self { details_untrusted: object(details) }
    }
}

/// A page of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageArgs {
    /// From 1.
    #[serde(default)]
    pub page: Option<u64>,
    /// 1 to 50, default 10.
    #[serde(default)]
    pub limit: Option<u64>,
}

impl PageArgs {
    /// The page's number and its rows.
    pub(crate) fn checked(&self) -> Result<(u64, u64), Error> {
        let limit = self.limit.unwrap_or(10);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", "must be 1 to 50", "10"));
        }
        let page = self.page.unwrap_or(1);
        if !(1..=10_000).contains(&page) {
            return Err(Error::argument("page", "must be 1 to 10000", "1"));
        }
        Ok((page, limit))
    }
}

/// Members cleaned, without what is null, long or could be a secret.
pub(crate) fn object(members: Map<String, Value>) -> Map<String, Value> {
    match clean_json(public(Value::Object(members), 0), TEXT_CHARS_MAX) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn public(value: Value, depth: usize) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) if depth == DEPTH_MAX => Value::Null,
        Value::Array(items) => items.into_iter().map(|i| public(i, depth + 1)).collect(),
        Value::Object(members) => {
            let shown = members.into_iter().filter(|(name, value)| match value {
                Value::Null => false,
                Value::Bool(_) | Value::Number(_) => true,
                Value::String(_) | Value::Array(_) | Value::Object(_) => !is_secret(name),
            });
            Value::Object(shown.map(|(name, value)| (name, public(value, depth + 1))).collect())
        }
        Value::String(text) if holds_key(&text) => Value::String("(a key)".to_owned()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

/// Whether a member of this name could be a secret.
fn is_secret(name: &str) -> bool {
    let bare: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let ends = [
        "secret",
        "apikey",
        "rawkey",
        "privatekey",
        "password",
        "token",
        "authorization",
        "authorizationheader",
        "privateendpointurl",
        "mnemonic",
        "seed",
    ];
    ends.iter().any(|end| bare.ends_with(end))
}

/// Whether a text holds a whole key of Crochet's, and not only the prefix that names it.
fn holds_key(text: &str) -> bool {
    text.match_indices("am_k_").any(|(at, start)| {
        let rest = text.get(at + start.len()..).unwrap_or_default();
        rest.bytes().take_while(u8::is_ascii_alphanumeric).count() > 16
    })
}

/// Members beyond those of the tool, for a recovery that asks for them.
pub(crate) type Extra = Option<Map<String, Value>>;

/// The further members of a call. What proves who we are, or could be a secret or somebody's
/// address, is not taken from a model; nor is what the tool has an argument for.
///
/// # Errors
///
/// [`Code::InvalidArgument`].
pub(crate) fn checked_extra(extra: Extra, ours: &[&str]) -> Result<Map<String, Value>, Error> {
    let refused = |problem: &str| Err(Error::argument("extra", problem, "{\"role\":\"provider\"}"));
    let extra = extra.unwrap_or_default();
    if extra.len() > EXTRA_MEMBERS_MAX {
        return refused("must have at most 8 members");
    }
    if Value::Object(extra.clone()).to_string().len() > EXTRA_BYTES_MAX {
        return refused("must have at most 2048 bytes");
    }
    let barred = ["address", "signature", "nonce", "url", "wallet", "payee", "payout"];
    let is_barred = |name: &str| {
        let lower = name.to_ascii_lowercase();
        ours.contains(&name) || is_secret(name) || barred.iter().any(|part| lower.contains(part))
    };
    if extra.keys().any(|name| is_barred(name)) {
        return refused("must not hold addresses, keys, signatures, nor what has its own argument");
    }
    Ok(extra)
}

/// A text that has to be there, within its bound; its ends are trimmed.
///
/// # Errors
///
/// [`Code::InvalidArgument`].
pub(crate) fn checked_text<'a>(
    field: &str,
    text: &'a str,
    chars_max: usize,
    example: &str,
) -> Result<&'a str, Error> {
    let text = text.trim();
    let hidden = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.is_empty() || text.chars().count() > chars_max || text.chars().any(hidden) {
        let problem = format!("must have 1 to {chars_max} plain characters");
        return Err(Error::argument(field, problem, example));
    }
    Ok(text)
}

/// A failure, with the call that gets an account or a key where that is what is missing.
pub(crate) fn with_account_hint(error: Error) -> Error {
    let (tool, why) = match error.code {
        Code::NotRegistered => ("crochet_register", "registers this wallet and stores the key"),
        Code::Unauthorized => ("crochet_recover_account", "gets a new key for this wallet"),
        _ => return error,
    };
    error.next(NextCall::new(tool, json!({}), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret_wherever_it_is() {
        let key = format!("am_k_{}", "a1".repeat(12));
        let value = json!({
            "signing_secret": "crs_1", "signing_secret_version": 2, "has_api_key": true,
            "api_key": key, "authorization_header": "Bearer x", "key_prefix": "am_k_123456",
            "note": format!("your key is {key}"), "empty": null,
            "deep": [{ "clientSecret": "s", "privateEndpointUrl": "https://x", "name": "n\u{200b}" }],
        });
        let shown = DetailsView::of(value).details_untrusted;
        assert_eq!(
            Value::Object(shown),
            json!({
                "signing_secret_version": 2, "has_api_key": true, "key_prefix": "am_k_123456",
                "note": "(a key)", "deep": [{ "name": "n" }],
            })
        );
    }

    #[test]
    fn takes_extra_members_that_harm_nobody() {
        let many: Map<_, _> =
            (0..=EXTRA_MEMBERS_MAX).map(|n| (format!("m{n}"), json!(1))).collect();
        #[rustfmt::skip]
        let rows = [
            // what it shows      extra                                     taken
            ("none",              json!({}),                                true),
            ("a role",            json!({ "role": "provider" }),            true),
            ("one that is ours",  json!({ "display_name": "x" }),           false),
            ("an address",        json!({ "payout_address": "0x" }),        false),
            ("a proof",           json!({ "existing_signature": "0x" }),    false),
            ("a key",             json!({ "apiKey": "x" }),                 false),
            ("too many",          Value::Object(many),                      false),
            ("too long",          json!({ "a": "x".repeat(2048) }),         false),
        ];
        for (row, extra, taken) in rows {
            let extra = extra.as_object().cloned();
            assert_eq!(checked_extra(extra, &["display_name"]).is_ok(), taken, "{row}");
        }
    }

    #[test]
    fn pages_have_bounds() {
        for (limit, page, good) in [
            (1, 1, true),
            (50, 10_000, true),
            (0, 1, false),
            (51, 1, false),
            (1, 0, false),
            (1, 10_001, false),
        ] {
            let args = PageArgs { page: Some(page), limit: Some(limit) };
            assert_eq!(args.checked().is_ok(), good, "{limit} {page}");
        }
    }
}
