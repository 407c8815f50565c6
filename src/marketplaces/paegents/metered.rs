//! Calling a service through the metered proxy. Source: protocols/paegents.md §9.
//!
//! Each request carries a nonce of its own, which the proxy takes once: it protects from replays, and
//! makes no repetition harmless. So a call is sent once, and what it drew is read from the status.

use std::{fmt, time::Duration};

use reqwest::{Method, header::HeaderName};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Paegents, agreements::cents};
use crate::{
    error::Error,
    ids::AgreementId,
    marketplaces::{
        http::{ANSWER_BYTES_MAX, Answer, Effect, Exchange, Lost, Operation},
        lenient::{maybe_number, number, text},
    },
    money::Usdc,
};

/// The name of a call in logs and errors.
pub const CALL: &str = "paegents.metered_call";
/// How long a call may take: the seller works in it.
pub const CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// The longest path with its query, in bytes.
pub const PATH_BYTES_MAX: usize = 500;
/// The largest body of a call, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The header of a call's nonce.
const NONCE: HeaderName = HeaderName::from_static("x-request-nonce");
/// The proxy's own route, which no seller can have.
const RESERVED: &str = "status";

/// How a service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum CallMethod {
    /// Reads; an answer is kept for 5 s by the proxy and charged once.
    Get,
    /// Makes.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl CallMethod {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The one of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];
        all.into_iter().find(|method| method.word() == word)
    }

    fn http(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// Where a service is called: a path below the seller's root that leads nowhere else, with its
/// query, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPath(String);

impl CallPath {
    /// Reads a path, with or without its first slash.
    ///
    /// # Errors
    ///
    /// What is wrong with it, to follow the argument's name.
    pub fn read(method: CallMethod, text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err("must have 1 to 500 bytes");
        }
        let rest = text.strip_prefix('/').unwrap_or(text);
        if !text.bytes().all(is_written) || text.matches('?').count() > 1 {
            return Err("must be a path with at most one `?`, what is special percent-encoded");
        }
        if !has_whole_escapes(text) {
            return Err("must have two hexadecimal digits after each `%`");
        }
        let path = rest.split('?').next().unwrap_or_default();
        let lower = path.to_ascii_lowercase();
        let escapes = ["%2e", "%2f", "%5c", "%25", "%3f", "%23", "%7f"];
        let is_control = |part: &str| part.starts_with('0') || part.starts_with('1');
        if escapes.iter().any(|escape| lower.contains(escape))
            || lower.split('%').skip(1).any(is_control)
        {
            return Err("must not hide dots, slashes or control characters behind `%`");
        }
        // A host, too, can begin with two slashes; one at the end is the seller's own.
        let is_plain = |part: &str| !matches!(part, "." | "..");
        let inner = path.strip_suffix('/').unwrap_or(path);
        let is_bare = path.is_empty();
        if !path.split('/').all(is_plain) || (!is_bare && inner.split('/').any(str::is_empty)) {
            return Err("must have no empty part and no `.` or `..` in it");
        }
        if method == CallMethod::Get && inner.eq_ignore_ascii_case(RESERVED) {
            return Err("cannot be `status`, which is the platform's own");
        }
        Ok(Self(rest.to_owned()))
    }

    /// It, without its first slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// What may stand in a path or a query. Source: RFC 3986, the characters of `pchar`, `/` and `?`.
fn is_written(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&b)
}

/// Whether each `%` begins an escape.
fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        let mut is_hex = || digits.next().is_some_and(|b| b.is_ascii_hexdigit());
        is_hex() && is_hex()
    })
}

/// One call.
#[derive(Debug)]
pub struct MeteredCall<'a> {
    /// The agreement that it draws on.
    pub agreement_id: &'a AgreementId,
    /// How.
    pub method: CallMethod,
    /// Where.
    pub path: &'a CallPath,
    /// Its nonce: a UUID.
    pub nonce: &'a str,
    /// Its JSON.
    pub body: Option<&'a [u8]>,
}

impl MeteredCall<'_> {
    /// Sends it, once.
    ///
    /// # Errors
    ///
    /// The outer one where nothing could be sent by this agent; the inner one where no whole answer
    /// came.
    pub async fn send(&self, paegents: &Paegents) -> Result<Result<Answer, Lost>, Error> {
        let path = format!("/metered-proxy/{}/{}", self.agreement_id, self.path.as_str());
        let exchange = Exchange {
            name: CALL,
            method: self.method.http(),
            path: &path,
            authenticated: true,
            headers: vec![(NONCE, self.nonce.to_owned())],
            body: self.body.map(<[u8]>::to_vec),
            timeout: CALL_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        paegents.metered().exchange(exchange).await
    }
}

/// Reads how far an agreement is used up: `GET /metered-proxy/{id}/status`.
#[derive(Debug, Serialize)]
pub struct GetUsage<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// A nonce of its own: the proxy has one header more than the other routes, here too (§9).
    #[serde(skip)]
    pub nonce: &'a str,
}

impl Operation for GetUsage<'_> {
    const NAME: &'static str = "paegents.get_usage_status";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Usage;

    fn path(&self) -> String {
        format!("/metered-proxy/{}/status", self.agreement_id)
    }

    fn own_header(&self) -> Option<(HeaderName, String)> {
        Some((NONCE, self.nonce.to_owned()))
    }
}

/// How far an agreement is used up.
#[derive(Clone, Debug, Deserialize)]
pub struct Usage {
    /// Which.
    pub agreement_id: AgreementId,
    /// How many units were used. Without it nothing can be told.
    #[serde(deserialize_with = "counted")]
    pub units_used: u64,
    /// How many there are.
    #[serde(default, deserialize_with = "number")]
    pub units_total: u64,
    /// How many are left.
    #[serde(default, deserialize_with = "maybe_number")]
    pub units_remaining: Option<u64>,
    /// The agreement's status.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// Where its escrow stands.
    #[serde(default, deserialize_with = "text")]
    pub escrow_status: String,
    /// What one unit is.
    #[serde(default, deserialize_with = "text")]
    pub unit: String,
    /// What one costs, in cents.
    #[serde(default, deserialize_with = "number")]
    pub price_per_unit_cents: u64,
}

/// A number that has to be there.
fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    maybe_number(deserializer)?.ok_or_else(|| serde::de::Error::custom("is missing"))
}

impl Usage {
    /// How many units are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        let counted = self.units_total.saturating_sub(self.units_used);
        self.units_remaining.map_or(counted, |said| said.min(counted))
    }

    /// Whether nothing is left. What is not said denies nothing.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        let is_said = self.units_total > 0 || self.units_remaining.is_some();
        is_said && self.left() == 0
    }

    /// What so many units cost; `None` where that does not fit.
    #[must_use]
    pub fn worth(&self, units: u64) -> Option<Usdc> {
        cents(self.price_per_unit_cents.checked_mul(units)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that lead elsewhere, or that a header or a proxy could read in two ways.
    const BAD: [&str; 42] = [
        "",
        "..",
        "/..",
        "/a/../b",
        "/a/./b",
        "./a",
        "/a/..",
        "//host",
        "//host/x",
        "/a//b",
        "///",
        "a//",
        "/a?b?c",
        "/a#b",
        "/a b",
        "/a\n",
        "/a\r\nX: y",
        "/a\0",
        "/a\\b",
        "\\\\h",
        "http://host/x",
        "/%2e%2e/x",
        "/%2E./x",
        "/a%2fb",
        "/a%5Cb",
        "/a%00",
        "/a%0d%0a",
        "/a%252e",
        "/a%",
        "/a%2",
        "/a%zz",
        "/é",
        "/a\u{202e}b",
        "/a\"b",
        "/a<b",
        "/a{b}",
        "/a|b",
        "/a^b",
        "/a`b",
        "/a%3fb",
        "/a%23b",
        "/a%7f",
    ];

    #[test]
    fn a_path_leads_nowhere_else() {
        let long = "a".repeat(PATH_BYTES_MAX);
        let good = [
            "/",
            "/text-statistics",
            "text-statistics",
            "/v1/a/b",
            "/a/",
            "/a?x=1&y=%20z",
            "?x=1",
            "/a.b/..c/d..",
            "/a%20b",
            "/status/1",
            "/a?next=/../x",
            &long,
            "/%C3%A9",
        ];
        for text in good {
            let read = CallPath::read(CallMethod::Get, text);
            assert_eq!(read.as_ref().map(CallPath::as_str), Ok(text.trim_start_matches('/')));
        }
        let longer = "a".repeat(PATH_BYTES_MAX + 1);
        for text in BAD.into_iter().chain([longer.as_str()]) {
            assert!(CallPath::read(CallMethod::Get, text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_platform_s_own_path_is_not_called() {
        for text in ["status", "/status", "/status/", "/STATUS", "/status?x=1"] {
            assert!(CallPath::read(CallMethod::Get, text).is_err(), "{text}");
            assert!(CallPath::read(CallMethod::Post, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_left_is_never_more_than_was_bought() {
        let usage = |used: u64, total: u64, said: Option<u64>| {
            let said = serde_json::json!({ "agreement_id": "a", "units_used": used,
                "units_total": total, "units_remaining": said, "price_per_unit_cents": "2" });
            serde_json::from_value::<Usage>(said).unwrap()
        };
        #[rustfmt::skip]
        let rows = [
            (usage(0, 100, None),      100),
            (usage(40, 100, Some(60)), 60),
            (usage(40, 100, Some(10)), 10),
            (usage(40, 100, Some(99)), 60),
            (usage(101, 100, None),    0),
        ];
        for (usage, left) in rows {
            assert_eq!(usage.left(), left);
        }
        assert_eq!(usage(0, 1, None).worth(3).unwrap().to_string(), "0.06");
        assert!(usage(0, 1, None).worth(u64::MAX).is_none());
        for used in [serde_json::json!({}), serde_json::json!({ "units_used": null })] {
            let mut without = serde_json::json!({ "agreement_id": "a", "units_total": 1 });
            without.as_object_mut().unwrap().extend(used.as_object().unwrap().clone());
            assert!(serde_json::from_value::<Usage>(without).is_err());
        }
    }
}
