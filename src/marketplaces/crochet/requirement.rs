//! What a 402 of the gateway asks for. Source: protocols/crochet.md §7.4; the body is not published,
//! so all of it is a reading, kept here.

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::{
    clock::rfc3339,
    error::{Code, Error},
    ids::RelayId,
    marketplaces::{Marketplace, http::read_json},
    money::Usdc,
};

/// How long a requirement lasts that does not say so, in seconds.
const LIFE_SECONDS: i64 = 300;
const RELAY_HEADER: &str = "x-crochet-relay-request-id";
const RELAY_PLACES: &[&str] = &[
    "/data",
    "/data/payment",
    "/data/payment_requirements",
    "/data/requirements",
    "/error/details",
    "/error/details/payment",
    "/error",
    "",
];
const OBJECTS: &[&str] =
    &["payment", "payment_requirements", "payment_requirement", "requirements", "accepts"];

/// A requirement, read.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// What the payment is called at Crochet.
    pub relay_request_id: RelayId,
    /// The amount in the smallest unit, as written.
    pub amount: Option<String>,
    /// The amount in dollars.
    pub amount_usd: Option<Usdc>,
    /// The symbol of what is paid in, upper case.
    pub currency: Option<String>,
    /// The chain, by number or name.
    pub chain: Option<String>,
    /// The token's contract.
    pub token: Option<String>,
    /// Where to send it.
    pub destination: Option<String>,
    /// Until when, in Unix seconds.
    pub expires_at: i64,
    /// Whether it says that it is x402.
    pub x402: bool,
}

/// Reads a 402.
///
/// # Errors
///
/// [`Code::UpstreamMalformed`] where there is no payment to be named, or more than one.
pub fn read(body: &[u8], headers: &HeaderMap, now: i64) -> Result<Requirement, Error> {
    let not_understood = |why: &str| {
        let message = format!("Crochet asks for a payment that is not understood: {why}");
        Error::new(Code::UpstreamMalformed, message)
            .at(Marketplace::Crochet)
            .upstream(Some(402), None)
    };
    let body: Value = read_json(body).map_err(|_| not_understood("the body is no JSON"))?;
    let x402 = body.get("x402Version").is_some() || headers.contains_key("payment-required");
    let relay_request_id = relay_of(&body, headers).map_err(|why| {
        not_understood(if x402 { "it is an x402 demand without a relay request id" } else { why })
    })?;
    let object = requirement_of(&body);
    let text = |names: &[&str]| names.iter().find_map(|name| plain(object.get(*name)?));
    Ok(Requirement {
        relay_request_id,
        amount: text(&["amount", "amount_atomic", "value"]),
        amount_usd: text(&["amount_usd", "amount_formatted"])
            .and_then(|amount| amount.trim_start_matches('$').parse().ok()),
        currency: text(&["currency", "origin_currency", "symbol"]).map(|c| c.to_uppercase()),
        chain: text(&["chain_id", "origin_chain_id", "chain"]).map(|c| c.to_lowercase()),
        token: text(&["token_address", "token", "asset"]).filter(|t| t.starts_with("0x")),
        destination: text(&["deposit_address", "depositAddress", "pay_to", "to"]),
        expires_at: expiry(object, now),
        x402,
    })
}

impl Requirement {
    /// The dollars that it asks for in USDC: the amount in micro-units, or as written with a point.
    /// Where it is said twice, both have to agree.
    ///
    /// # Errors
    ///
    /// [`Code::TermsMismatch`] where they do not, or where there is no amount.
    pub fn usdc(&self) -> Result<Usdc, Error> {
        let mismatch = |what: String| {
            Error::new(Code::TermsMismatch, what).at(Marketplace::Crochet).field("amount", None)
        };
        let written = match self.amount.as_deref() {
            None => None,
            Some(amount) if amount.contains('.') => amount.parse().ok(),
            Some(amount) => amount.parse().ok().map(Usdc::from_micros),
        };
        match (written, self.amount_usd) {
            (Some(amount), Some(shown)) if amount != shown => Err(mismatch(format!(
                "Crochet asks for {amount} USDC and shows {shown} USD for the same payment"
            ))),
            (Some(amount), _) | (None, Some(amount)) => Ok(amount),
            (None, None) => Err(mismatch("Crochet asks for a payment without an amount".into())),
        }
    }

    /// Whether it is to be paid in USDC on this chain, by number or by name.
    #[must_use]
    pub fn is_usdc_on(&self, chain_id: u64) -> bool {
        self.currency.as_deref().is_none_or(|currency| currency == "USDC")
            && self.chain_is(chain_id)
    }

    /// Whether its chain is this one; a requirement that names none is on the one in use.
    #[must_use]
    pub fn chain_is(&self, chain_id: u64) -> bool {
        let Some(chain) = self.chain.as_deref() else { return true };
        let names: &[&str] = match chain_id {
            8453 => &["base", "eip155:8453"],
            84532 => &["base-sepolia", "base_sepolia", "eip155:84532"],
            _ => &[],
        };
        chain == chain_id.to_string() || names.contains(&chain)
    }

    /// What a person needs to pay it from elsewhere.
    #[must_use]
    pub fn for_payer(&self) -> Value {
        serde_json::json!({
            "relay_request_id": self.relay_request_id,
            "currency": self.currency,
            "chain": self.chain,
            "amount_atomic": self.amount,
            "amount_usd": self.amount_usd,
            "deposit_address": self.destination,
            "expires_at": self.expires_at,
            "expires": rfc3339(self.expires_at),
        })
    }
}

/// A text or a number, as text; numbers by their literal.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn relay_of(body: &Value, headers: &HeaderMap) -> Result<RelayId, &'static str> {
    let named = RELAY_PLACES.iter().find_map(|place| {
        let object = body.pointer(place)?;
        plain(object.get("relay_request_id").or_else(|| object.get("relayRequestId"))?)
    });
    let named =
        named.or_else(|| Some(headers.get(RELAY_HEADER)?.to_str().ok()?.to_owned())).map_or_else(
            || {
                let mut found = Vec::new();
                search(body, &mut found);
                found.sort();
                found.dedup();
                let only = found.pop();
                if found.is_empty() {
                    only.ok_or("it names no relay request")
                } else {
                    Err("it names several relay requests")
                }
            },
            Ok,
        )?;
    named.parse().map_err(|_| "its relay request id has characters that an identifier has not")
}

/// Every value of a key that is spelt like the relay request's.
fn search(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let bare: String =
                    name.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>();
                if bare.eq_ignore_ascii_case("relayrequestid") {
                    found.extend(plain(member));
                }
                search(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| search(item, found)),
        _ => {}
    }
}

/// The object that holds the requirement.
fn requirement_of(body: &Value) -> &Value {
    let places = ["/data", "/error/details", "/error", ""];
    let named = places.iter().filter_map(|place| body.pointer(place)).find_map(|object| {
        OBJECTS.iter().find_map(|name| {
            let found = object.get(*name)?;
            let found = found.get(0).unwrap_or(found);
            found.is_object().then_some(found)
        })
    });
    named.or_else(|| body.get("data")).unwrap_or(body)
}

/// When it ends: an instant, Unix seconds, or seconds from now.
fn expiry(object: &Value, now: i64) -> i64 {
    let at = object.get("expires_at").and_then(|at| match at {
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
        // Milliseconds have three digits more.
        Value::Number(n) => n.as_i64().map(|n| if n > 100_000_000_000 { n / 1000 } else { n }),
        _ => None,
    });
    let inside = object.get("expires_in").and_then(Value::as_i64).map(|s| now.saturating_add(s));
    at.or(inside).unwrap_or(now.saturating_add(LIFE_SECONDS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_value(body: &Value) -> Result<Requirement, Error> {
        read(body.to_string().as_bytes(), &HeaderMap::new(), 1000)
    }

    #[test]
    fn finds_the_relay_request_wherever_it_may_be() {
        #[rustfmt::skip]
        let rows = [
            // what it shows        body                                                          relay
            ("data",                json!({"data":{"relay_request_id":"r1"}}),                    Some("r1")),
            ("camel case",          json!({"data":{"relayRequestId":"r1"}}),                      Some("r1")),
            ("payment",             json!({"data":{"payment":{"relay_request_id":"r2"}}}),        Some("r2")),
            ("error details",       json!({"error":{"details":{"relay_request_id":"r3"}}}),       Some("r3")),
            ("top level",           json!({"relay_request_id":"r4"}),                             Some("r4")),
            ("somewhere",           json!({"x":[{"relay-request_ID":"r5"}]}),                     Some("r5")),
            ("twice the same",      json!({"x":{"relayrequestid":"r5"},"y":{"relayrequestid":"r5"}}), Some("r5")),
            ("two different",       json!({"x":{"relayrequestid":"r5"},"y":{"relayrequestid":"r6"}}), None),
            ("none",                json!({"data":{"amount":"1"}}),                               None),
            ("with a path in it",   json!({"relay_request_id":"../r"}),                           None),
            ("with a line break",   json!({"relay_request_id":"r\r\nX: y"}),                      None),
        ];
        for (row, body, relay) in rows {
            let read = read_value(&body).ok().map(|r| r.relay_request_id.to_string());
            assert_eq!(read.as_deref(), relay, "{row}");
        }
    }

    #[test]
    fn reads_amounts_without_guessing() {
        #[rustfmt::skip]
        let rows = [
            // what it shows         payment                                        dollars
            ("micro-units",          json!({"amount":"10000"}),                     Some("0.01")),
            ("a number",             json!({"amount":10000}),                       Some("0.01")),
            ("with a point",         json!({"amount":"0.01"}),                      Some("0.01")),
            ("both, agreeing",       json!({"amount":"10000","amount_usd":"0.01"}), Some("0.01")),
            ("both, not agreeing",   json!({"amount":"10000","amount_usd":"1"}),    None),
            ("shown alone",          json!({"amount_usd":"$0.01"}),                 Some("0.01")),
            ("negative",             json!({"amount":"-1"}),                        None),
            ("2^64",                 json!({"amount":"18446744073709551616"}),      None),
            ("exponent",             json!({"amount":"1e3"}),                       None),
            ("none",                 json!({}),                                     None),
        ];
        for (row, mut payment, dollars) in rows {
            payment["relay_request_id"] = json!("r");
            let requirement = read_value(&json!({ "data": { "payment": payment } })).unwrap();
            let read = requirement.usdc().ok().map(|usd| usd.to_string());
            assert_eq!(read.as_deref(), dollars, "{row}");
        }
    }

    #[test]
    fn knows_the_chain_and_the_end() {
        let read = |payment: Value| {
            let mut payment = payment;
            payment["relay_request_id"] = json!("r");
            read_value(&json!({ "data": { "payment": payment } })).unwrap()
        };
        assert!(read(json!({"chain_id":84532,"currency":"usdc"})).is_usdc_on(84532));
        assert!(read(json!({"chain":"base-sepolia"})).is_usdc_on(84532));
        assert!(!read(json!({"chain":"base"})).is_usdc_on(84532));
        assert!(!read(json!({"chain":"solana","currency":"SOL"})).is_usdc_on(84532));
        assert_eq!(read(json!({"expires_in":60})).expires_at, 1060);
        assert_eq!(read(json!({"expires_at":"1970-01-01T00:20:00Z"})).expires_at, 1200);
        assert_eq!(read(json!({"expires_at":1_900_000_000_000_i64})).expires_at, 1_900_000_000);
        assert_eq!(read(json!({})).expires_at, 1300);
    }
}
