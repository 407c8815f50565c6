//! What a seller does with an agreement. Source: protocols/paegents.md §3.4, §7, §12.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    agreements::{Agreement, GetAgreement, Role},
    read_rows,
};
use crate::{
    ids::{AgentId, AgreementId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::word,
    },
};

/// Lists agreements of an agent: `GET /usage-agreements/agents/{agent}/agreements`.
#[derive(Debug, Serialize)]
pub struct ListAgreements<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
    /// How many at the most.
    pub limit: u64,
    /// Only those in this status.
    pub status: Option<&'a str>,
    /// Only those where the agent is on this side.
    pub role: Option<&'static str>,
}

impl<'a> ListAgreements<'a> {
    /// The newest ones of an agent, on one side or both.
    #[must_use]
    pub fn of(agent_id: &'a AgentId, role: Option<Role>, limit: u64) -> Self {
        Self { agent_id, limit, status: None, role: role.map(Role::word) }
    }

    /// Only those in this status.
    #[must_use]
    pub fn in_status(mut self, status: Option<&'a str>) -> Self {
        self.status = status;
        self
    }
}

impl Operation for ListAgreements<'_> {
    const NAME: &'static str = "paegents.list_usage_agreements";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Agreements;

    fn path(&self) -> String {
        format!("/usage-agreements/agents/{}/agreements", self.agent_id)
    }
}

/// Agreements of a list, those that can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub struct Agreements(pub Vec<Agreement>);

impl From<Value> for Agreements {
    fn from(answer: Value) -> Self {
        Self(read_rows(answer))
    }
}

/// Accepts a proposal: `PUT /usage-agreements/{id}/accept`. What comes of it is read afterwards.
#[derive(Debug, Serialize)]
pub struct AcceptAgreement<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for AcceptAgreement<'_> {
    const NAME: &'static str = "paegents.accept_usage_agreement";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        of(self.agreement_id, "accept")
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(format!("accept:{}", self.agreement_id))
    }
}

/// Rejects a proposal without a word: `PUT /usage-agreements/{id}/reject`.
#[derive(Debug, Serialize)]
pub struct RejectAgreement<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for RejectAgreement<'_> {
    const NAME: &'static str = "paegents.reject_usage_agreement";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        of(self.agreement_id, "reject")
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(reject_key(self.agreement_id))
    }
}

/// Rejects a proposal and says why, or what would be accepted: the same route.
#[derive(Debug, Serialize)]
pub struct SuggestInstead<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The items that would be accepted: free JSON.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub suggested_cart_items: &'a [Map<String, Value>],
    /// The total that would be accepted, in cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_total_cents: Option<u64>,
}

impl Operation for SuggestInstead<'_> {
    const NAME: &'static str = "paegents.reject_usage_agreement_with_suggestions";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        of(self.agreement_id, "reject")
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(reject_key(self.agreement_id))
    }
}

fn reject_key(agreement_id: &AgreementId) -> String {
    format!("reject:{agreement_id}")
}

/// Says how many units were used so far: `POST /usage-agreements/{id}/record-usage`.
#[derive(Debug, Serialize)]
pub struct RecordUsage<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// All units so far, not the new ones.
    pub units_used: u64,
    /// Whether that was all.
    pub completed: bool,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_proof: Option<&'a Map<String, Value>>,
    /// A name for all this: the key of the request.
    #[serde(skip)]
    pub digest: &'a str,
}

impl Operation for RecordUsage<'_> {
    const NAME: &'static str = "paegents.record_usage";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        of(self.agreement_id, "record-usage")
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(format!("usage:{}:{}", self.agreement_id, self.digest))
    }
}

/// Says where a parcel is: `PATCH /usage-agreements/{id}/delivery`.
#[derive(Debug, Serialize)]
pub struct UpdateDelivery<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// Where it is now.
    pub status: Parcel,
    /// `ups`, `fedex`, `usps`, `dhl` or `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<&'static str>,
    /// The carrier's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<&'a str>,
    /// Where it can be followed; made of the number for the carriers that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_url: Option<&'a str>,
    /// When it is to arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_delivery: Option<&'a str>,
    /// For the buyer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<&'a str>,
    /// How many updates there were before: a parcel can be in one place twice.
    #[serde(skip)]
    pub updates_before: usize,
}

impl Operation for UpdateDelivery<'_> {
    const NAME: &'static str = "paegents.update_delivery";
    const METHOD: Method = Method::PATCH;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        of(self.agreement_id, "delivery")
    }

    fn idempotency_key(&self) -> Option<String> {
        let (id, status) = (self.agreement_id, self.status.word());
        Some(format!("delivery:{id}:{}:{status}", self.updates_before))
    }
}

impl UpdateDelivery<'_> {
    /// Whether a delivery is as this would make it.
    #[must_use]
    pub fn is_done(&self, delivery: &Delivery) -> bool {
        let members = [
            ("carrier", self.carrier),
            ("tracking_number", self.tracking_number),
            ("tracking_url", self.tracking_url),
            ("estimated_delivery", self.estimated_delivery),
            ("notes", self.notes),
        ];
        let is = |name: &str, value: &str| {
            delivery.members.get(name).and_then(Value::as_str) == Some(value)
        };
        delivery.status() == self.status.word()
            && members.into_iter().all(|(name, value)| value.is_none_or(|value| is(name, value)))
    }
}

fn of(agreement_id: &AgreementId, action: &str) -> String {
    format!("{}/{action}", GetAgreement { agreement_id }.path())
}

/// Where a parcel is (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Parcel {
    /// With the seller.
    Pending,
    /// Handed to the carrier.
    Shipped,
    /// On its way.
    InTransit,
    /// In the last van.
    OutForDelivery,
    /// With the buyer: final.
    Delivered,
    /// Something went wrong.
    Exception,
}

impl Parcel {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Shipped,
        Self::InTransit,
        Self::OutForDelivery,
        Self::Delivered,
        Self::Exception,
    ];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Shipped => "shipped",
            Self::InTransit => "in_transit",
            Self::OutForDelivery => "out_for_delivery",
            Self::Delivered => "delivered",
            Self::Exception => "exception",
        }
    }

    /// The one of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parcel| parcel.word() == word)
    }

    /// Where it can be next.
    #[must_use]
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Shipped],
            Self::Shipped => &[Self::InTransit, Self::Exception],
            Self::InTransit => &[Self::OutForDelivery, Self::Delivered, Self::Exception],
            Self::OutForDelivery => &[Self::Delivered, Self::Exception],
            Self::Exception => &[Self::InTransit, Self::OutForDelivery, Self::Delivered],
            Self::Delivered => &[],
        }
    }
}

/// What is known of an agreement's delivery: `metadata.delivery`.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// As it came; not cleaned.
    pub members: Map<String, Value>,
}

impl Delivery {
    /// That of an agreement; empty where nothing was said.
    #[must_use]
    pub fn of(agreement: &Agreement) -> Self {
        let members = agreement.metadata.get("delivery").and_then(Value::as_object).cloned();
        Self { members: members.unwrap_or_default() }
    }

    /// Its status, `pending` where none was said; a word.
    #[must_use]
    pub fn status(&self) -> &str {
        self.members.get("status").and_then(Value::as_str).map_or("pending", word)
    }

    /// How many updates there were.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.members.get("history").and_then(Value::as_array).map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of §7, written down a second time.
    #[test]
    fn a_parcel_goes_where_the_page_lets_it() {
        #[rustfmt::skip]
        let rows = [
            ("pending",          &["shipped"][..]),
            ("shipped",          &["in_transit", "exception"][..]),
            ("in_transit",       &["out_for_delivery", "delivered", "exception"][..]),
            ("out_for_delivery", &["delivered", "exception"][..]),
            ("exception",        &["in_transit", "out_for_delivery", "delivered"][..]),
            ("delivered",        &[][..]),
        ];
        assert_eq!(rows.len(), Parcel::ALL.len());
        for (from, to) in rows {
            let next = Parcel::named(from).unwrap().next().iter().map(|parcel| parcel.word());
            assert_eq!(next.collect::<Vec<_>>(), to, "{from}");
        }
        for parcel in Parcel::ALL {
            let sent = serde_json::to_value(parcel).unwrap();
            assert_eq!(sent, parcel.word(), "it is sent as it is called");
        }
    }

    #[test]
    fn keys_are_those_of_the_page() {
        let id = "agr_1".parse().unwrap();
        let key = |operation: Option<String>| operation.unwrap();
        assert_eq!(key(AcceptAgreement { agreement_id: &id }.idempotency_key()), "accept:agr_1");
        assert_eq!(key(RejectAgreement { agreement_id: &id }.idempotency_key()), "reject:agr_1");
        let suggested = SuggestInstead {
            agreement_id: &id,
            reason: Some("no"),
            suggested_cart_items: &[],
            suggested_total_cents: None,
        };
        assert_eq!(key(suggested.idempotency_key()), "reject:agr_1");
    }
}
