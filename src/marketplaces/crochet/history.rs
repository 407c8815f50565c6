//! What happened: gateway calls and the ledger. Source: protocols/crochet.md §9.
//!
//! The rows' names are not published, so rows are passed on as they came. What is needed of them is
//! looked for in the ways that are known, here and nowhere else.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::Error,
    ids::RelayId,
    marketplaces::http::{Api, Effect, Operation},
};

/// The pages that are looked through for one call.
const PAGES_MAX: u64 = 5;
/// The rows that a page has at the most.
const PAGE_ROWS_MAX: u64 = 100;
/// How deep a relay identifier is looked for in a row.
const DEPTH_MAX: usize = 3;
/// States that say that the payment is settled.
const SETTLED: &[&str] = &[
    "settled",
    "paid",
    "executing",
    "forwarding",
    "forwarded",
    "delivered",
    "served",
    "completed",
    "complete",
    "success",
    "succeeded",
    "fulfilled",
    "confirmed",
];
/// States that say that it is not, or not yet, or not any more.
const UNSETTLED: &[&str] = &[
    "payment_required",
    "payment_due",
    "required",
    "awaiting_payment",
    "unpaid",
    "quoted",
    "created",
    "pending",
    "settlement_pending",
    "waiting",
    "depositing",
    "submitted",
    "processing",
    "delayed",
    "expired",
    "cancelled",
    "canceled",
    "refund",
    "refunded",
];

/// The gateway calls of the account, as buyer and as seller: `GET /gateway-requests`.
#[derive(Debug, Serialize)]
pub struct ListGatewayRequests {
    /// The page, from 1.
    pub page: u64,
    /// How many a page, 1 to 100.
    pub limit: u64,
}

impl Operation for ListGatewayRequests {
    const NAME: &'static str = "crochet.list_gateway_requests";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Rows;

    fn path(&self) -> String {
        "/gateway-requests".to_owned()
    }
}

/// The ledger of the account: `GET /ledger`.
#[derive(Debug, Serialize)]
pub struct ListLedger {
    /// The page, from 1.
    pub page: u64,
    /// How many a page, 1 to 100.
    pub limit: u64,
}

impl Operation for ListLedger {
    const NAME: &'static str = "crochet.list_ledger";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Rows;

    fn path(&self) -> String {
        "/ledger".to_owned()
    }
}

/// Finds the call that a relay identifier paid for, among the account's latest 500.
///
/// # Errors
///
/// As [`Api::send`].
pub async fn find_relay(api: &Api, relay_id: &RelayId) -> Result<Option<Row>, Error> {
    for page in 1..=PAGES_MAX {
        let found = api.send(&ListGatewayRequests { page, limit: PAGE_ROWS_MAX }).await?;
        let is_last = found.rows.is_empty() || found.pages.is_some_and(|pages| page >= pages);
        let row = found.rows.into_iter().find(|row| names_relay(row, relay_id.as_str(), 1));
        if let Some(fields) = row {
            return Ok(Some(Row::from(fields)));
        }
        if is_last {
            break;
        }
    }
    Ok(None)
}

/// One call through the gateway.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its state, in Crochet's word and lower case.
    pub status: Option<String>,
    /// All of it, as it came.
    pub fields: Map<String, Value>,
}

impl From<Map<String, Value>> for Row {
    fn from(fields: Map<String, Value>) -> Self {
        let status = ["status", "state", "payment_status"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_str())
            .map(str::to_ascii_lowercase);
        Self { status, fields }
    }
}

impl Row {
    /// Whether it shows that the payment is settled, be the call served or not. What says neither
    /// is not settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        if SETTLED.contains(&status) {
            return true;
        }
        if UNSETTLED.contains(&status) {
            return false;
        }
        // Failed, or a word that is not known: the rest of the row decides.
        let holds = |name: &str| self.fields.get(name).is_some_and(|value| !value.is_null());
        let says = |name: &str| {
            let word = self.fields.get(name).and_then(Value::as_str);
            word.is_some_and(|word| SETTLED.contains(&word.to_ascii_lowercase().as_str()))
        };
        holds("settled_at")
            || holds("paid_at")
            || holds("response_status")
            || says("payment_status")
            || says("settlement_status")
    }
}

/// Whether a row has a member that is this relay identifier, however it is spelt.
fn names_relay(row: &Map<String, Value>, relay_id: &str, depth: usize) -> bool {
    row.iter().any(|(name, value)| match value {
        Value::String(text) => text == relay_id && bare(name) == "relayrequestid",
        Value::Object(inner) => depth < DEPTH_MAX && names_relay(inner, relay_id, depth + 1),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    })
}

/// A member's name without case, `_` and `-`.
fn bare(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Rows of a list whose members are not published.
#[derive(Debug)]
pub struct Rows {
    /// The rows, as they came.
    pub rows: Vec<Map<String, Value>>,
    /// The page's number, from 1.
    pub page: u64,
    /// How many pages there are, where it says so.
    pub pages: Option<u64>,
}

impl Rows {
    /// The number of the next page, where there is one.
    #[must_use]
    pub fn next_page(&self) -> Option<u64> {
        self.pages.filter(|pages| self.page < *pages).map(|_| self.page + 1)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut body = Value::deserialize(deserializer)?;
        if body.get("success") == Some(&Value::Bool(false)) {
            return Err(D::Error::custom("a success that says `success: false`"));
        }
        let pagination = body.get("pagination").or_else(|| body.pointer("/data/pagination"));
        let number = |name: &str| pagination.and_then(|p| p.get(name)).and_then(Value::as_u64);
        let counted = || Some(number("total")?.div_ceil(number("limit").filter(|l| *l > 0)?));
        let page = number("page").unwrap_or(1);
        let pages = number("totalPages").or_else(|| number("total_pages")).or_else(counted);
        let data = match body.get_mut("data") {
            Some(data) => data.take(),
            None => body,
        };
        let rows = list_in(data).ok_or_else(|| D::Error::custom("there is no list in it"))?;
        Ok(Self { rows: rows.into_iter().map(object).collect(), page, pages })
    }
}

/// The list itself, or the only list among an object's members.
fn list_in(data: Value) -> Option<Vec<Value>> {
    match data {
        Value::Array(rows) => Some(rows),
        Value::Object(members) => {
            let mut lists = members.into_iter().filter_map(|(_, value)| match value {
                Value::Array(rows) => Some(rows),
                _ => None,
            });
            let only = lists.next();
            if lists.next().is_some() { None } else { only }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn object(row: Value) -> Map<String, Value> {
    match row {
        Value::Object(members) => members,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_lists_wherever_they_are() {
        #[rustfmt::skip]
        let rows = [
            // what it shows       body                                                     rows, next page
            ("enveloped",          json!({ "success": true, "data": [{ "a": 1 }],
                                       "pagination": { "page": 2, "totalPages": 3 } }),     Some((1, Some(3)))),
            ("the last page",      json!({ "success": true, "data": [{}],
                                       "pagination": { "page": 3, "totalPages": 3 } }),     Some((1, None))),
            ("counted",            json!({ "data": [{}, {}],
                                       "pagination": { "page": 1, "limit": 2, "total": 3 } }), Some((2, Some(2)))),
            ("counted by nothing", json!({ "data": [{}],
                                       "pagination": { "limit": 0, "total": 3 } }),         Some((1, None))),
            ("bare",               json!([{}, {}]),                                         Some((2, None))),
            ("one list inside",    json!({ "success": true, "data": { "wallets": [{}] } }), Some((1, None))),
            ("paged inside",       json!({ "data": { "items": [], "pagination":
                                       { "page": 1, "total_pages": 2 } } }),                Some((0, Some(2)))),
            ("two lists inside",   json!({ "data": { "a": [], "b": [] } }),                 None),
            ("no list",            json!({ "success": true, "data": { "a": 1 } }),          None),
            ("a refusal",          json!({ "success": false, "data": [] }),                 None),
        ];
        for (row, body, expected) in rows {
            let read = serde_json::from_value::<Rows>(body).ok();
            assert_eq!(read.map(|r| (r.rows.len(), r.next_page())), expected, "{row}");
        }
    }

    #[test]
    fn a_row_shows_whether_it_is_settled() {
        #[rustfmt::skip]
        let rows = [
            // what it shows             row                                                settled
            ("settled",                  json!({ "status": "SETTLED" }),                    true),
            ("delivered",                json!({ "state": "delivered" }),                   true),
            ("pending, though received", json!({ "status": "pending", "paid_at": "2026" }), false),
            ("due",                      json!({ "status": "payment_required" }),           false),
            ("refunded",                 json!({ "status": "refunded", "paid_at": "2026" }), false),
            ("failed after payment",     json!({ "status": "failed", "paid_at": "2026" }),  true),
            ("failed before payment",    json!({ "status": "failed", "paid_at": null }),    false),
            ("another word, answered",   json!({ "status": "odd", "response_status": 500 }), true),
            ("nothing said",             json!({}),                                         false),
        ];
        for (row, fields, settled) in rows {
            assert_eq!(Row::from(object(fields)).is_settled(), settled, "{row}");
        }
    }

    #[test]
    fn finds_a_relay_identifier_however_it_is_spelt() {
        #[rustfmt::skip]
        let rows = [
            ("snake",      json!({ "relay_request_id": "0xab" }),                 true),
            ("camel",      json!({ "relayRequestId": "0xab" }),                   true),
            ("nested",     json!({ "payment": { "relay-request-id": "0xab" } }),  true),
            ("another",    json!({ "relay_request_id": "0xabc" }),                false),
            ("elsewhere",  json!({ "id": "0xab" }),                               false),
            ("too deep",   json!({ "a": { "b": { "c": { "relay_request_id": "0xab" } } } }), false),
        ];
        for (row, fields, found) in rows {
            assert_eq!(names_relay(&object(fields), "0xab", 1), found, "{row}");
        }
    }
}
