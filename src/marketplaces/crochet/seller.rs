//! Selling: listings and their private endpoints. Source: protocols/crochet.md §8.
//!
//! Invariants: a price goes out as the literal that it was given as; a signing secret is a
//! [`SecretString`] from the moment it is read; a private endpoint's address is checked before it
//! is sent and is in no error.

pub mod verify;

use std::net::IpAddr;

use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, value::RawValue};
use url::{Host, Url};

use super::{Enveloped, accounts::keys::Answered};
use crate::{
    egress,
    ids::ListingId,
    marketplaces::http::{Effect, Operation},
    money::Usdc,
};

/// The longest address of an endpoint, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Creates a listing: `POST /listings`.
#[derive(Debug, Serialize)]
pub struct CreateListing<'a> {
    /// The solution of the listing challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pow_nonce: Option<String>,
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub description: &'a str,
    /// `api`.
    pub delivery_type: &'static str,
    /// `none`.
    pub auth_method: &'static str,
    /// `json`.
    pub formats: [&'static str; 1],
    /// What buyers send.
    pub connection_instructions: &'a str,
    /// `free` or `per_call`.
    pub pricing_model: &'static str,
    /// The price a call, in dollars, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing_amount: Option<Box<RawValue>>,
    /// `USD`.
    pub pricing_currency: &'static str,
    /// Where Crochet forwards calls to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_endpoint_url: Option<&'a str>,
    /// `active` or `draft`.
    pub status: &'static str,
    /// A category's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<&'a str>,
    /// What names the challenge.
    #[serde(flatten)]
    pub echo: Map<String, Value>,
}

impl Operation for CreateListing<'_> {
    const NAME: &'static str = "crochet.create_listing";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Created>;

    fn path(&self) -> String {
        "/listings".to_owned()
    }
}

/// Changes a listing: `PATCH /listings/{id}`. What is `None` stays.
#[derive(Debug, Serialize)]
pub struct UpdateListing<'a> {
    /// Which.
    #[serde(skip)]
    pub listing_id: &'a ListingId,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// What buyers send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_instructions: Option<&'a str>,
    /// `free` or `per_call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing_model: Option<&'static str>,
    /// The price a call, in dollars, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing_amount: Option<Box<RawValue>>,
    /// Where Crochet forwards calls to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_endpoint_url: Option<&'a str>,
    /// `active` or `draft`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// A category's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<&'a str>,
}

impl Operation for UpdateListing<'_> {
    const NAME: &'static str = "crochet.update_listing";
    const METHOD: Method = Method::PATCH;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        format!("/listings/{}", self.listing_id)
    }
}

macro_rules! of_a_listing {
    ($($(#[doc = $doc:literal])+ $type:ident = $name:literal, $method:ident, $effect:ident, $body:literal,
        $end:literal, $output:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Serialize)]
        pub struct $type<'a> {
            /// Which.
            #[serde(skip)]
            pub listing_id: &'a ListingId,
        }

        impl Operation for $type<'_> {
            const NAME: &'static str = $name;
            const METHOD: Method = Method::$method;
            const EFFECT: Effect = Effect::$effect;
            const BODY: bool = $body;
            type Output = $output;

            fn path(&self) -> String {
                format!(concat!("/listings/{}", $end), self.listing_id)
            }
        }
    )+};
}

of_a_listing! {
    /// Deletes a draft, suspends an active listing: `DELETE /listings/{id}`.
    DeleteListing = "crochet.delete_listing", DELETE, Write, false, "", Answered;
    /// What may be known of the endpoint: `GET /listings/{id}/endpoint`.
    GetEndpoint = "crochet.get_endpoint", GET, Read, false, "/endpoint", Enveloped<Map<String, Value>>;
    /// Makes Crochet send a signed request to it: `POST /listings/{id}/endpoint/test`.
    TestEndpoint = "crochet.test_endpoint", POST, Write, true, "/endpoint/test", Enveloped<Value>;
    /// Issues another signing secret: `POST /listings/{id}/endpoint/rotate-secret`.
    RotateSecret = "crochet.rotate_secret", POST, Write, true, "/endpoint/rotate-secret", Enveloped<Rotated>;
}

/// Changes the endpoint: `PUT /listings/{id}/endpoint`.
#[derive(Debug, Serialize)]
pub struct SetEndpoint<'a> {
    /// Which.
    #[serde(skip)]
    pub listing_id: &'a ListingId,
    /// Where Crochet forwards calls to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_endpoint_url: Option<&'a str>,
    /// Further members.
    #[serde(flatten)]
    pub extra: &'a Map<String, Value>,
}

impl Operation for SetEndpoint<'_> {
    const NAME: &'static str = "crochet.set_endpoint";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        format!("/listings/{}/endpoint", self.listing_id)
    }
}

/// A listing that was created. Its secret is in no other answer.
#[derive(Debug)]
pub struct Created {
    /// Its identifier.
    pub listing_id: ListingId,
    /// `active`, `draft` or another.
    pub status: Option<String>,
    /// What Crochet signs its requests with.
    pub signing_secret: Option<SecretString>,
}

impl<'de> Deserialize<'de> for Created {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        let listing = data.get("listing").unwrap_or(&data);
        let text = |name: &str| listing.get(name).and_then(Value::as_str).map(str::to_owned);
        // What serde would say of a wrong member could hold the secret.
        let id = text("id").or_else(|| text("listing_id")).and_then(|id| id.try_into().ok());
        Ok(Self {
            listing_id: id.ok_or_else(|| D::Error::custom("there is no identifier in it"))?,
            status: text("status"),
            signing_secret: secret_in(&data).or_else(|| secret_in(listing)),
        })
    }
}

/// An endpoint whose secret was changed. The secret is in no other answer.
#[derive(Debug)]
pub struct Rotated {
    /// What Crochet signs its requests with from now on.
    pub signing_secret: SecretString,
    /// The listing, by its identifier.
    pub listing_id: Option<ListingId>,
}

impl<'de> Deserialize<'de> for Rotated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        let id = data.get("listing_id").and_then(Value::as_str);
        Ok(Self {
            signing_secret: secret_in(&data)
                .ok_or_else(|| D::Error::custom("there is no signing secret in it"))?,
            listing_id: id.and_then(|id| id.parse().ok()),
        })
    }
}

fn secret_in(data: &Value) -> Option<SecretString> {
    let places = [data.get("gateway_endpoint"), data.get("endpoint"), Some(data)];
    let named = |place: &Value| {
        ["signing_secret", "secret"]
            .iter()
            .find_map(|name| place.get(*name)?.as_str().map(str::to_owned))
    };
    places.into_iter().flatten().find_map(named).filter(|text| !text.is_empty()).map(Into::into)
}

/// An amount of dollars as a JSON number, exactly.
///
/// # Errors
///
/// Never, for an amount: its digits are a number.
pub fn amount(price: Usdc) -> Result<Box<RawValue>, serde_json::Error> {
    let text = price.to_string();
    let text = match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').to_owned(),
        None => text,
    };
    RawValue::from_string(text)
}

/// Whether Crochet may be given this address for an endpoint: HTTPS without credentials, and no
/// host of this machine or a private network, by its name. With `loopback`, which the sandbox has,
/// this machine is allowed, and plain HTTP to it. Names are not looked up.
///
/// # Errors
///
/// What is wrong, as the end of a sentence.
pub fn check_endpoint_url(text: &str, loopback: bool) -> Result<(), &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("has more than 2048 bytes");
    }
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry credentials");
    }
    let of_address = |address| (egress::is_loopback(address), !egress::is_public(address));
    let (is_loopback, is_private) = match url.host() {
        None => return Err("has no host"),
        Some(Host::Ipv4(address)) => of_address(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => of_address(IpAddr::V6(address)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            let private = [".local", ".internal", ".home.arpa", ".lan"];
            (local, local || !name.contains('.') || private.iter().any(|end| name.ends_with(end)))
        }
    };
    match (url.scheme(), is_loopback) {
        (_, true) if !loopback => Err("must not lead to this machine"),
        (_, false) if is_private => Err("must not lead to a private network"),
        ("https", _) | ("http", true) => Ok(()),
        _ => Err("must be an https URL"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_price_goes_out_as_its_literal() {
        #[rustfmt::skip]
        let rows = [
            ("0.01", "0.01"), ("0.50", "0.5"), ("1", "1"), ("10", "10"), ("100.10", "100.1"),
            ("0.000001", "0.000001"), ("0.1", "0.1"), ("9223372036854.775807", "9223372036854.775807"),
        ];
        for (price, literal) in rows {
            let update = UpdateListing {
                listing_id: &"lst".parse().unwrap(),
                name: None,
                description: None,
                connection_instructions: None,
                pricing_model: None,
                pricing_amount: Some(amount(price.parse().unwrap()).unwrap()),
                private_endpoint_url: None,
                status: None,
                category: None,
            };
            let body = serde_json::to_string(&update).unwrap();
            assert_eq!(body, format!("{{\"pricing_amount\":{literal}}}"));
        }
    }

    #[test]
    fn takes_endpoints_that_lead_to_a_public_host() {
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        #[rustfmt::skip]
        let rows = [
            // address                           live   sandbox
            ("https://seller.example/hook",      true,  true),
            ("https://8.8.8.8/hook",             true,  true),
            ("https://[2606:4700::1]/hook",      true,  true),
            ("http://seller.example/hook",       false, false),
            ("http://127.0.0.1:9000/hook",       false, true),
            ("https://127.0.0.1/hook",           false, true),
            ("http://localhost:9000/hook",       false, true),
            ("http://[::1]:9000/hook",           false, true),
            ("http://[::ffff:127.0.0.1]/hook",   false, true),
            ("https://a.localhost/hook",         false, true),
            ("https://2130706433/hook",          false, true),
            ("https://10.0.0.1/hook",            false, false),
            ("https://172.16.0.1/hook",          false, false),
            ("https://172.32.0.1/hook",          true,  true),
            ("https://192.168.1.1/hook",         false, false),
            ("https://169.254.169.254/latest",   false, false),
            ("https://100.64.0.1/hook",          false, false),
            ("https://100.128.0.1/hook",         true,  true),
            ("https://0.0.0.0/hook",             false, false),
            ("https://[fd00::1]/hook",           false, false),
            ("https://[fe80::1]/hook",           false, false),
            ("https://[::ffff:10.0.0.1]/hook",   false, false),
            ("https://router/hook",              false, false),
            ("https://db.internal/hook",         false, false),
            ("https://user@seller.example/hook", false, false),
            ("https://u:p@seller.example/hook",  false, false),
            ("ftp://seller.example/hook",        false, false),
            ("seller.example/hook",              false, false),
            (long.as_str(),                      false, false),
        ];
        for (url, live, sandbox) in rows {
            assert_eq!(check_endpoint_url(url, false).is_ok(), live, "live {url}");
            assert_eq!(check_endpoint_url(url, true).is_ok(), sandbox, "sandbox {url}");
        }
    }

    #[test]
    fn reads_a_secret_wherever_it_is_and_shows_it_nowhere() {
        let endpoint = json!({ "signing_secret": "crs_1", "signing_secret_version": 1 });
        #[rustfmt::skip]
        let rows = [
            // what it shows      answer                                                                secret
            ("in the endpoint",   json!({ "id": "a", "gateway_endpoint": endpoint }),                   Some(Some("crs_1"))),
            ("beside a listing",  json!({ "listing": { "id": "a" }, "gateway_endpoint": endpoint }),    Some(Some("crs_1"))),
            ("inside a listing",  json!({ "listing": { "id": "a", "gateway_endpoint": endpoint } }),    Some(Some("crs_1"))),
            ("on its own",        json!({ "id": "a", "signing_secret": "crs_1" }),                      Some(Some("crs_1"))),
            ("none",              json!({ "id": "a" }),                                                 Some(None)),
            ("no identifier",     json!({ "gateway_endpoint": endpoint }),                              None),
            ("a bad identifier",  json!({ "id": "../a", "gateway_endpoint": endpoint }),                None),
        ];
        for (row, answer, secret) in rows {
            let read = serde_json::from_value::<Created>(answer);
            assert!(!format!("{read:?}").contains("crs_1"), "{row}");
            let read = read.ok().map(|created| created.signing_secret);
            let shown =
                read.as_ref().map(|secret| secret.as_ref().map(ExposeSecret::expose_secret));
            assert_eq!(shown, secret, "{row}");
        }
    }
}
