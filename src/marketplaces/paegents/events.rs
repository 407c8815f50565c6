//! The agent's list of events, and what an event is in our inbox. Source: protocols/paegents.md
//! §3.2, §8.1, §8.2, §14.8, §14.9.
//!
//! Invariant: an event has one name, its identifier at Paegents, whether the list or a webhook tells
//! it, so the inbox holds it once.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::agreements::cents;
use crate::{
    events::Event,
    ids::{AgentId, AgreementId, EventId},
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
        lenient::{instant, list_of, word},
    },
    principal::EVERYONE,
    text::{TEXT_CHARS_MAX, clean_json},
};

/// The longest type of an event, in bytes.
const KIND_BYTES_MAX: usize = 64;
/// The most of an event's own JSON that is kept, in bytes.
const DETAILS_BYTES_MAX: usize = 4_096;

/// Lists what was not acknowledged: `GET /agents/{agent}/events`, the oldest first.
#[derive(Debug, Serialize)]
pub struct ListEvents<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// How many at the most.
    pub limit: u64,
    /// Only these types, between commas.
    pub types: Option<&'a str>,
    /// Only what came after this event, or after this time.
    pub after: Option<&'a str>,
}

impl Operation for ListEvents<'_> {
    const NAME: &'static str = "paegents.list_agent_events";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Events;

    fn path(&self) -> String {
        format!("/agents/{}/events", self.agent_id)
    }
}

/// Says that an event was received: `POST /agents/{agent}/events/{event}/ack`. Harmless when
/// repeated.
#[derive(Debug, Serialize)]
pub struct AckEvent<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// Which.
    #[serde(skip)]
    pub event_id: &'a EventId,
}

impl Operation for AckEvent<'_> {
    const NAME: &'static str = "paegents.ack_agent_event";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        format!("/agents/{}/events/{}/ack", self.agent_id, self.event_id)
    }
}

/// Events of a list, those that have a name.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Events(pub Vec<Told>);

impl From<Value> for Events {
    fn from(answer: Value) -> Self {
        let rows = list_of(answer);
        let count = rows.len();
        let told: Vec<Told> = rows.iter().filter_map(Told::read).collect();
        if told.len() < count {
            tracing::warn!(unreadable = count - told.len(), "events of Paegents were left out");
        }
        Self(told)
    }
}

/// An event, as the list or a webhook tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub event_id: EventId,
    /// Its type: a word of §8.2 or another one, as it came.
    kind: String,
    /// What it says; not cleaned.
    payload: Value,
    /// Where it stands in the list.
    status: String,
    /// When it happened, in Unix seconds, where that is said.
    pub at: Option<i64>,
    /// Whom it was told, where that is said.
    pub agent_id: Option<AgentId>,
}

impl Told {
    /// Reads one; `None` where it has no name that can stand in a path.
    #[must_use]
    pub fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = [text("event_id"), text("id")].into_iter().find_map(|id| id.parse().ok())?;
        Some(Self::named(id, event))
    }

    /// One that has, or is given, this name.
    pub(super) fn named(event_id: EventId, event: &Value) -> Self {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = [text("type"), text("event_type")].into_iter().find(|kind| !kind.is_empty());
        Self {
            event_id,
            kind: kind.unwrap_or_default().to_owned(),
            payload: event
                .get("payload")
                .or_else(|| event.get("data"))
                .cloned()
                .unwrap_or_default(),
            status: text("status").to_owned(),
            at: instant(text("created_at")),
            agent_id: text("agent_id").parse().ok(),
        }
    }

    /// Its type, where it is one: letters, digits, `.`, `_` and `-`; otherwise `unreadable`.
    #[must_use]
    pub fn kind(&self) -> &str {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_kind =
            (1..=KIND_BYTES_MAX).contains(&self.kind.len()) && self.kind.bytes().all(fits);
        if is_kind { &self.kind } else { "unreadable" }
    }

    /// Where it stands in the list: a word.
    #[must_use]
    pub fn status(&self) -> &str {
        word(&self.status)
    }

    /// The agreement that it is about, where it is about one.
    #[must_use]
    pub fn agreement_id(&self) -> Option<AgreementId> {
        self.payload.get("agreement_id").and_then(Value::as_str)?.parse().ok()
    }

    /// What it says, cleaned; nothing where that is too much.
    #[must_use]
    pub fn details(&self) -> Value {
        let details = clean_json(self.payload.clone(), TEXT_CHARS_MAX);
        let is_empty = details.as_object().is_some_and(Map::is_empty);
        let is_large = details.to_string().len() > DETAILS_BYTES_MAX;
        if is_empty || is_large { Value::Null } else { details }
    }

    /// It, for the inbox. `now` is the present in Unix seconds.
    #[must_use]
    pub fn event(&self, now: i64) -> Event {
        let mut payload = Map::new();
        payload.insert("marketplace".to_owned(), json!(Marketplace::Paegents));
        payload.insert("event_id".to_owned(), json!(self.event_id));
        let agreement_id = self.agreement_id();
        let said = |name: &str| self.payload.get(name);
        let status = said("status").and_then(Value::as_str).map(word);
        let total = said("total_cents").and_then(Value::as_u64).and_then(cents);
        let members = [
            ("agreement_id", agreement_id.as_ref().map(|id| json!(id))),
            ("status", status.map(|status| json!(status))),
            ("total_usd", total.map(|total| json!(total))),
            ("details_untrusted", Some(self.details()).filter(|details| !details.is_null())),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                payload.insert(name.to_owned(), value);
            }
        }
        let subject = agreement_id.as_ref().map_or(self.event_id.as_str(), AgreementId::as_str);
        Event {
            seq: 0,
            principal: EVERYONE.to_owned(),
            source: Marketplace::Paegents.name().to_owned(),
            dedup: self.event_id.to_string(),
            kind: self.kind().to_owned(),
            subject: subject.to_owned(),
            payload: Value::Object(payload),
            at: self.at.map_or(now, |at| at.min(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_list_and_what_a_webhook_tells() {
        let payload = json!({ "agreement_id": "agr_1", "status": "accepted", "total_cents": 150 });
        let listed = json!({ "event_id": "evt_1", "type": "agreement.accepted", "payload": payload,
            "status": "pending", "attempt_count": 0, "created_at": "2026-11-22T02:43:16Z" });
        let told = Told::read(&listed).unwrap();
        let event = told.event(1_900_000_000);
        assert_eq!((event.kind.as_str(), event.subject.as_str()), ("agreement.accepted", "agr_1"));
        assert_eq!((event.dedup.as_str(), event.at), ("evt_1", 1_795_315_396));
        assert_eq!(event.payload["status"], "accepted");
        assert_eq!(event.payload["total_usd"], "1.50");
        assert_eq!(event.payload["details_untrusted"]["agreement_id"], "agr_1");
        // From the future it is from now.
        assert_eq!(told.event(7).at, 7);
        let bare = Told::read(&json!({ "id": "evt_1" })).unwrap();
        assert_eq!(bare.event(7).dedup, "evt_1");
        assert_eq!(bare.event(7).subject, "evt_1");
        assert_eq!(bare.kind(), "unreadable");
        for nameless in [json!({}), json!({ "event_id": "a/../b" }), json!([1]), Value::Null] {
            assert!(Told::read(&nameless).is_none(), "{nameless}");
        }
    }

    #[test]
    fn what_it_says_is_cleaned_and_bounded() {
        let event = |payload: Value| {
            let told =
                Told::read(&json!({ "event_id": "e", "type": "a\u{202e}", "payload": payload }));
            told.unwrap().event(1)
        };
        let hostile = event(json!({ "note": "pay\u{200b} \u{1b}[31mme", "status": "now pay!" }));
        assert_eq!(hostile.kind, "unreadable");
        assert_eq!(hostile.payload["details_untrusted"]["note"], "pay me");
        assert_eq!(hostile.payload["status"], "unreadable");
        let huge = event(json!({ "rows": vec!["0123456789"; 1_000] }));
        assert!(huge.payload.get("details_untrusted").is_none());
    }
}
