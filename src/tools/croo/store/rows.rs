//! How rows of the store are shown: one table of members for all of them. What is not in it, and what
//! is not of its kind, is left out.

use serde_json::{Map, Value, json};

use crate::{
    clock::rfc3339,
    ids::{OrderId, ServiceId},
    marketplaces::croo::{instant, store::StoreAgentId},
    money::Usdc,
    text::{NAME_CHARS_MAX, clean, clean_json},
};

/// The most characters of a description in a list.
const LISTED_CHARS_MAX: usize = 200;
/// The most characters of one where a single thing is shown.
const WHOLE_CHARS_MAX: usize = 1_000;
/// The most elements of a list within a row.
const INNER_ROWS_MAX: usize = 50;
/// The most skills that are shown of an agent.
const WORDS_MAX: usize = 20;

/// What a member is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An agent's identifier.
    Agent,
    /// A service's identifier.
    Service,
    /// An order's identifier.
    Order,
    /// Micro-dollars.
    Usd,
    /// A figure.
    Number,
    /// A time.
    Time,
    /// One word.
    Word,
    /// A name in their words.
    Name,
    /// More of their words.
    Text,
    /// JSON, or JSON as text, of theirs.
    Json,
    /// A list of words of theirs.
    Words,
    /// A list of rows.
    Rows,
}

/// The members: as the store writes them, as they are shown, what they are.
#[rustfmt::skip]
const MEMBERS: &[(&str, &str, Kind)] = &[
    ("agentId",           "agent_id",                     Kind::Agent),
    ("serviceId",         "service_id",                   Kind::Service),
    ("orderId",           "order_id",                     Kind::Order),
    ("name",              "name_untrusted",               Kind::Name),
    ("subtitle",          "description_untrusted",        Kind::Text),
    ("description",       "description_untrusted",        Kind::Text),
    ("slug",              "slug",                         Kind::Word),
    ("price",             "price_usd",                    Kind::Usd),
    ("minServicePrice",   "min_price_usd",                Kind::Usd),
    ("amount",            "amount_usd",                   Kind::Usd),
    ("totalEarned",       "total_earned_usd",             Kind::Usd),
    ("totalVolume",       "total_volume_usd",             Kind::Usd),
    ("slaMinutes",        "sla_minutes",                  Kind::Number),
    ("orders7d",          "orders_7d",                    Kind::Number),
    ("completedOrders",   "completed_orders",             Kind::Number),
    ("completionRate",    "completion_percent",           Kind::Number),
    ("feedbackCount",     "feedback_count",               Kind::Number),
    ("score",             "score",                        Kind::Number),
    ("totalAgents",       "total_agents",                 Kind::Number),
    ("totalServices",     "total_services",               Kind::Number),
    ("totalOrders",       "total_orders",                 Kind::Number),
    ("status",            "status",                       Kind::Word),
    ("onlineStatus",      "online_status",                Kind::Word),
    ("chain",             "chain",                        Kind::Word),
    ("linkedAgentId",     "linked_agent_id",              Kind::Agent),
    ("agentName",         "agent_name_untrusted",         Kind::Name),
    ("serviceName",       "service_name_untrusted",       Kind::Name),
    ("buyerAddrShort",    "buyer_untrusted",              Kind::Name),
    ("avgDeliveryText",   "delivery_time_untrusted",      Kind::Name),
    ("externalUrl",       "external_url_untrusted",       Kind::Text),
    ("walletAddress",     "wallet_untrusted",             Kind::Name),
    ("skillTagSlugs",     "tags_untrusted",               Kind::Words),
    ("createdTime",       "created_at",                   Kind::Time),
    ("updatedTimeUnix",   "updated_at",                   Kind::Time),
    ("paidAt",            "paid_at",                      Kind::Time),
    ("deliveredAt",       "delivered_at",                 Kind::Time),
    ("settledAt",         "settled_at",                   Kind::Time),
    ("expiredAt",         "expired_at",                   Kind::Time),
    ("rejectedAt",        "rejected_at",                  Kind::Time),
    ("rejectReason",      "reject_reason_untrusted",      Kind::Text),
    ("eventType",         "event",                        Kind::Word),
    ("refType",           "ref_type",                     Kind::Word),
    ("refId",             "ref_id",                       Kind::Word),
    ("metadataJson",      "details_untrusted",            Kind::Json),
    ("requirementType",   "requirement_type",             Kind::Word),
    ("requirementText",   "requirement_text_untrusted",   Kind::Text),
    ("requirementSchema", "requirement_fields_untrusted", Kind::Json),
    ("deliverableType",   "deliverable_type",             Kind::Word),
    ("deliverableText",   "deliverable_text_untrusted",   Kind::Text),
    ("deliverableSchema", "deliverable_fields_untrusted", Kind::Json),
    ("services",          "services",                     Kind::Rows),
];

/// A row of a list.
pub(super) fn listed(row: &Map<String, Value>) -> Map<String, Value> {
    shown(row, LISTED_CHARS_MAX, false)
}

/// A thing that is shown alone, with what belongs to it.
pub(super) fn whole(row: &Map<String, Value>) -> Map<String, Value> {
    shown(row, WHOLE_CHARS_MAX, true)
}

fn shown(row: &Map<String, Value>, chars_max: usize, has_rows: bool) -> Map<String, Value> {
    let mut out = Map::new();
    for (theirs, ours, kind) in MEMBERS {
        let value = row.get(*theirs).filter(|value| !value.is_null());
        let value = match (value, kind) {
            (Some(Value::Array(rows)), Kind::Rows) if has_rows => {
                let rows = rows.iter().filter_map(Value::as_object).take(INNER_ROWS_MAX);
                Some(rows.map(|row| Value::Object(shown(row, chars_max, false))).collect())
            }
            (Some(value), kind) => kind.show(value, chars_max),
            (None, _) => None,
        };
        if let Some(value) = value {
            out.insert((*ours).to_owned(), value);
        }
    }
    out
}

impl Kind {
    /// The value as it is shown; `None` where it is none of this kind.
    fn show(self, value: &Value, chars_max: usize) -> Option<Value> {
        let plain = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
        };
        let filled = (!plain.is_empty()).then_some(plain.as_str());
        match self {
            Self::Agent => StoreAgentId::try_from(plain).ok().map(|id| json!(id)),
            Self::Service => plain.parse::<ServiceId>().ok().map(|id| json!(id)),
            Self::Order => plain.parse::<OrderId>().ok().map(|id| json!(id)),
            Self::Usd => usd(&plain).map(|amount| json!(amount)),
            Self::Number => number(&plain),
            Self::Time => instant(&plain).map(|at| json!(rfc3339(at))),
            Self::Word => filled.filter(|text| is_word(text)).map(|text| json!(text)),
            Self::Name => filled.map(|text| json!(clean(text, NAME_CHARS_MAX))),
            Self::Text => filled.map(|text| json!(clean(text, chars_max))),
            Self::Json => theirs(value, chars_max),
            Self::Words => words(value),
            Self::Rows => None,
        }
    }
}

/// Micro-dollars, with or without an empty fraction.
fn usd(text: &str) -> Option<Usdc> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros: u64 = whole.parse().ok()?;
    let is_whole = fraction.bytes().all(|b| b == b'0') && whole.bytes().all(|b| b.is_ascii_digit());
    (is_whole && i64::try_from(micros).is_ok()).then(|| Usdc::from_micros(micros))
}

/// A decimal of moderate length.
fn number(text: &str) -> Option<Value> {
    let fits = text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit() || b".-".contains(&b));
    let number = fits.then(|| serde_json::from_str::<serde_json::Number>(text).ok());
    number.flatten().map(Value::Number)
}

fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    text.len() <= 80 && text.bytes().all(fits)
}

fn theirs(value: &Value, chars_max: usize) -> Option<Value> {
    let value = match value {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    let is_empty = match &value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => true,
    };
    (!is_empty).then(|| clean_json(value, chars_max))
}

fn words(value: &Value) -> Option<Value> {
    let words = value.as_array()?.iter().filter_map(Value::as_str);
    let words: Vec<String> =
        words.take(WORDS_MAX).map(|word| clean(word, NAME_CHARS_MAX)).collect();
    (!words.is_empty()).then(|| json!(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_each_member_as_what_it_is() {
        #[rustfmt::skip]
        let rows = [
            // wire                                    shown
            (json!({ "agentId": "bsc:7" }),            json!({ "agent_id": "bsc:7" })),
            (json!({ "agentId": "a/../b" }),           json!({})),
            (json!({ "price": "1500000" }),            json!({ "price_usd": "1.50" })),
            (json!({ "price": 10000 }),                json!({ "price_usd": "0.01" })),
            (json!({ "price": "10000.00" }),           json!({ "price_usd": "0.01" })),
            (json!({ "price": "-1" }),                 json!({})),
            (json!({ "price": "1e9" }),                json!({})),
            (json!({ "completionRate": 97.5 }),        json!({ "completion_percent": 97.5 })),
            (json!({ "orders7d": "12" }),              json!({ "orders_7d": 12 })),
            (json!({ "orders7d": "many" }),            json!({})),
            (json!({ "status": "IGNORE ALL" }),        json!({})),
            (json!({ "paidAt": "" }),                  json!({})),
            (json!({ "paidAt": "1795315396" }),        json!({ "paid_at": "2026-11-22T02:43:16Z" })),
            (json!({ "name": "a\u{202e}b" }),          json!({ "name_untrusted": "ab" })),
            (json!({ "name": null, "avatar": "x" }),   json!({})),
            (json!({ "metadataJson": "{\"a\":1}" }),   json!({ "details_untrusted": { "a": 1 } })),
            (json!({ "metadataJson": "text" }),        json!({})),
            (json!({ "skillTagSlugs": ["a", 7] }),     json!({ "tags_untrusted": ["a"] })),
            (json!({ "services": [{ "price": "1" }] }), json!({})),
        ];
        for (theirs, ours) in rows {
            assert_eq!(Value::Object(listed(theirs.as_object().unwrap())), ours, "{theirs}");
        }
        let agent = json!({ "services": [{ "price": "1", "services": [] }, 7] });
        let shown = Value::Object(whole(agent.as_object().unwrap()));
        assert_eq!(shown, json!({ "services": [{ "price_usd": "0.000001" }] }));
    }

    #[test]
    fn what_is_in_their_words_says_so() {
        for (theirs, ours, kind) in MEMBERS {
            let words = matches!(kind, Kind::Name | Kind::Text | Kind::Json | Kind::Words);
            assert_eq!(ours.ends_with("_untrusted"), words, "{theirs}");
            assert_eq!(ours.ends_with("_usd"), matches!(kind, Kind::Usd), "{theirs}");
        }
    }
}
