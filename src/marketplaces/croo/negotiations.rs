//! Negotiations: what comes before an order. Source: protocols/croo.md §3, §4.1 to §4.4, §5.

use alloy_primitives::Address;
use reqwest::Method;
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};

use super::{Croo, PageQuery, Role, id, list, orders::Order, text};
use crate::{
    error::Error,
    ids::{AgentId, NegotiationId, ServiceId},
    marketplaces::http::{Effect, Operation},
};

/// An address with its checksum, as the SDKs' callers write it.
#[expect(clippy::ref_option, reason = "serde gives a reference to the member")]
fn checksummed<S: Serializer>(address: &Option<Address>, serializer: S) -> Result<S::Ok, S::Error> {
    address.map(|address| address.to_checksum(None)).serialize(serializer)
}

/// Asks a service for an offer: `POST /orders/negotiate`. Sent twice it makes two negotiations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NegotiateOrder<'a> {
    /// Which service.
    pub service_id: &'a ServiceId,
    /// The buyer's input: a text, or JSON as text.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub requirements: &'a str,
    /// Free text.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The fund part in base units, for fund-transfer services alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund_amount: Option<String>,
    /// The token of the fund part.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "checksummed")]
    pub fund_token: Option<Address>,
}

impl Operation for NegotiateOrder<'_> {
    const NAME: &'static str = "croo.negotiate_order";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Negotiated;

    fn path(&self) -> String {
        "/orders/negotiate".to_owned()
    }
}

/// The answer that holds one negotiation.
#[derive(Debug, Deserialize)]
pub struct Negotiated {
    /// It.
    pub negotiation: Negotiation,
}

/// Accepts one as its provider: `POST /orders/negotiate/{id}/accept`. An order is made on chain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptNegotiation<'a> {
    /// Which.
    #[serde(skip)]
    pub negotiation_id: &'a NegotiationId,
    /// Where the buyer's fund part goes: for fund-transfer services, and for no other.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "checksummed")]
    pub provider_fund_address: Option<Address>,
}

impl Operation for AcceptNegotiation<'_> {
    const NAME: &'static str = "croo.accept_negotiation";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Accepted;

    fn path(&self) -> String {
        format!("/orders/negotiate/{}/accept", self.negotiation_id)
    }
}

/// What accepting gave.
#[derive(Debug, Deserialize)]
pub struct Accepted {
    /// The negotiation.
    pub negotiation: Negotiation,
    /// The order, usually still `creating`.
    pub order: Order,
}

/// Rejects one as its provider: `POST /orders/negotiate/{id}/reject`.
#[derive(Debug, Serialize)]
pub struct RejectNegotiation<'a> {
    /// Which.
    #[serde(skip)]
    pub negotiation_id: &'a NegotiationId,
    /// Why, in the provider's words.
    pub reason: &'a str,
}

impl Operation for RejectNegotiation<'_> {
    const NAME: &'static str = "croo.reject_negotiation";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = IgnoredAny;

    fn path(&self) -> String {
        format!("/orders/negotiate/{}/reject", self.negotiation_id)
    }
}

/// Reads one: `GET /orders/negotiate/{id}`.
#[derive(Debug, Serialize)]
pub struct GetNegotiation<'a> {
    /// Which.
    #[serde(skip)]
    pub negotiation_id: &'a NegotiationId,
}

impl Operation for GetNegotiation<'_> {
    const NAME: &'static str = "croo.get_negotiation";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Negotiated;

    fn path(&self) -> String {
        format!("/orders/negotiate/{}", self.negotiation_id)
    }
}

/// Lists those of one role: `GET /orders/negotiate`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ListNegotiations(PageQuery);

impl ListNegotiations {
    /// A page of this role's, in whatever status they are.
    #[must_use]
    pub const fn of(role: Role, page: u64, page_size: u64) -> Self {
        Self(PageQuery { page, page_size, role: role.in_negotiations(), status: None })
    }

    /// Only those in this status, where one is given.
    #[must_use]
    pub fn in_status(mut self, status: Option<String>) -> Self {
        self.0.status = status;
        self
    }
}

impl Operation for ListNegotiations {
    const NAME: &'static str = "croo.list_negotiations";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Negotiations;

    fn path(&self) -> String {
        "/orders/negotiate".to_owned()
    }
}

/// A page of negotiations.
#[derive(Debug, Deserialize)]
pub struct Negotiations {
    /// They.
    #[serde(default, deserialize_with = "list")]
    pub negotiations: Vec<Negotiation>,
}

impl Role {
    /// The word of negotiations.
    #[must_use]
    pub const fn in_negotiations(self) -> &'static str {
        match self {
            Self::Buyer => "requester",
            Self::Provider => "provider",
        }
    }
}

impl Croo {
    /// The agent that the key is of. No operation tells; the lists of either role do, since they
    /// hold the agent's own alone.
    ///
    /// # Errors
    ///
    /// As sending an operation.
    pub async fn own_agent(&self) -> Result<Option<AgentId>, Error> {
        for role in [Role::Buyer, Role::Provider] {
            let newest = ListNegotiations::of(role, 1, 1);
            let found = self.api.send(&newest).await?.negotiations.into_iter().next();
            let agent = found.and_then(|negotiation| match role {
                Role::Buyer => negotiation.requester_agent_id,
                Role::Provider => negotiation.provider_agent_id,
            });
            if agent.is_some() {
                return Ok(agent);
            }
        }
        Ok(None)
    }
}

impl Role {
    /// The role of `own` among these two agents; `None` where it is neither.
    #[must_use]
    pub fn of(
        own: Option<&AgentId>,
        requester: Option<&AgentId>,
        provider: Option<&AgentId>,
    ) -> Option<Self> {
        let own = own?;
        if requester == Some(own) {
            return Some(Self::Buyer);
        }
        (provider == Some(own)).then_some(Self::Provider)
    }
}

/// A negotiation, as CROO sends it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Negotiation {
    /// Its identifier.
    pub negotiation_id: NegotiationId,
    /// The service.
    #[serde(default, deserialize_with = "id")]
    pub service_id: Option<ServiceId>,
    /// Who asks.
    #[serde(default, deserialize_with = "id")]
    pub requester_agent_id: Option<AgentId>,
    /// Who is asked.
    #[serde(default, deserialize_with = "id")]
    pub provider_agent_id: Option<AgentId>,
    /// The buyer's input.
    #[serde(default, deserialize_with = "text")]
    pub requirements: String,
    /// `pending`, `accepted`, `rejected`, `expired`, or a word that is not known yet.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// Why it was rejected, in the provider's words.
    #[serde(default, deserialize_with = "text")]
    pub reject_reason: String,
    /// The buyer's free text.
    #[serde(default, deserialize_with = "text")]
    pub metadata: String,
    /// When it lapses.
    #[serde(default, deserialize_with = "text")]
    pub expires_at: String,
    /// When it was made.
    #[serde(default, deserialize_with = "text")]
    pub created_time: String,
    /// The fund part, in base units.
    #[serde(default, deserialize_with = "text")]
    pub fund_amount: String,
    /// Its token.
    #[serde(default, deserialize_with = "text")]
    pub fund_token: String,
    /// Where it goes.
    #[serde(default, deserialize_with = "text")]
    pub provider_fund_address: String,
}
