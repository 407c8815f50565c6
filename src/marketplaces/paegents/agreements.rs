//! Usage agreements: so many units of a service, at a price each. Source: protocols/paegents.md
//! §3.4, §6.1.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MICROS_PER_CENT, Paegents};
use crate::{
    error::{Code, Error},
    ids::{AgentId, AgreementId, ServiceId},
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
        lenient::{id, maybe_number, number, text},
    },
    money::Usdc,
};

/// Which side of an agreement an agent is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It pays, and calls.
    Buyer,
    /// It serves, and is paid.
    Seller,
}

impl Role {
    /// The word of lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Seller => "seller",
        }
    }
}

/// Reads one: `GET /usage-agreements/{id}`.
#[derive(Debug, Serialize)]
pub struct GetAgreement<'a> {
    /// Which.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetAgreement<'_> {
    const NAME: &'static str = "paegents.get_usage_agreement";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Agreement;

    fn path(&self) -> String {
        format!("/usage-agreements/{}", self.agreement_id)
    }
}

impl Paegents {
    /// Reads an agreement, and holds it against its identifier.
    ///
    /// # Errors
    ///
    /// As sending an operation; [`Code::UpstreamMalformed`] where another agreement comes back.
    pub async fn agreement(&self, agreement_id: &AgreementId) -> Result<Agreement, Error> {
        let found = self.api.send(&GetAgreement { agreement_id }).await?;
        if found.agreement_id == *agreement_id {
            return Ok(found);
        }
        let message = format!("Paegents answered for {agreement_id} with another agreement");
        Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents))
    }
}

/// An agreement, as Paegents sends it. Amounts are cents, or USDC in micro-units where the name
/// says atomic.
#[derive(Clone, Debug, Deserialize)]
pub struct Agreement {
    /// Its identifier.
    pub agreement_id: AgreementId,
    /// Who pays.
    #[serde(default, deserialize_with = "id")]
    pub buyer_agent_id: Option<AgentId>,
    /// Who is paid.
    #[serde(default, deserialize_with = "id")]
    pub seller_agent_id: Option<AgentId>,
    /// The service of the catalog, where it is said.
    #[serde(default, deserialize_with = "id")]
    pub service_id: Option<ServiceId>,
    /// The buyer's own name for it, where it is said.
    #[serde(default, deserialize_with = "text")]
    pub client_proposal_id: String,
    /// How many units.
    #[serde(default, deserialize_with = "number")]
    pub quantity: u64,
    /// What one is, such as `api_calls`.
    #[serde(default, deserialize_with = "text")]
    pub unit: String,
    /// What one costs, in cents.
    #[serde(default, deserialize_with = "number")]
    pub price_per_unit_cents: u64,
    /// What all cost, in cents.
    #[serde(default, deserialize_with = "number")]
    pub total_cents: u64,
    /// `proposed`, `accepted`, `active`, or another word.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// When it lapses.
    #[serde(default, deserialize_with = "text")]
    pub expires_at: String,
    /// When it was made.
    #[serde(default, deserialize_with = "text")]
    pub created_at: String,
    /// What is bought, in the words of whoever proposed it.
    #[serde(default, deserialize_with = "text")]
    pub service_description: String,
    /// How many units were used.
    #[serde(default, deserialize_with = "number")]
    pub units_used: u64,
    /// `bilateral_escrow` or `direct_payment`.
    #[serde(default, deserialize_with = "text")]
    pub settlement_model: String,
    /// The wallet that pays.
    #[serde(default, deserialize_with = "text")]
    pub buyer_wallet_address: String,
    /// The wallet that is paid.
    #[serde(default, deserialize_with = "text")]
    pub seller_wallet_address: String,
    /// Where the escrow stands.
    #[serde(default, deserialize_with = "text")]
    pub escrow_status: String,
    /// The escrow's number in the contract.
    #[serde(default, deserialize_with = "maybe_number")]
    pub onchain_agreement_id: Option<u64>,
    /// The escrow's key in the contract, 32 bytes in hex.
    #[serde(default, deserialize_with = "text")]
    pub onchain_agreement_key: String,
    /// `v1` or `v2`.
    #[serde(default, deserialize_with = "text")]
    pub activation_version: String,
    /// `ready`, `submitting`, `confirmed`, or another word.
    #[serde(default, deserialize_with = "text")]
    pub activation_status: String,
    /// The transaction that funded the escrow.
    #[serde(default, deserialize_with = "text")]
    pub activation_tx_hash: String,
    /// Where the settlement stands.
    #[serde(default, deserialize_with = "text")]
    pub settlement_status: String,
    /// Whether the platform's fee was paid.
    #[serde(default, deserialize_with = "text")]
    pub infra_fee_status: String,
    /// Until when a close can be disputed.
    #[serde(default, deserialize_with = "text")]
    pub challenge_window_expires_at: String,
    /// What the units cost, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub service_amount_atomic: Option<u64>,
    /// The platform's fee, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub infra_fee_amount_atomic: Option<u64>,
    /// What the seller has earned, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_earned_atomic: Option<u64>,
    /// What the seller has claimed, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_claimed_atomic: Option<u64>,
    /// What the buyer has withdrawn, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub aggregate_withdrawn_atomic: Option<u64>,
    /// Free JSON: delivery, shipping, cart items, suggestions.
    #[serde(default)]
    pub metadata: Value,
}

/// Whether an agreement is escrowed, where its model says nothing else.
const BILATERAL: &str = "bilateral_escrow";

impl Agreement {
    /// Our side of it.
    #[must_use]
    pub fn role_of(&self, agent: &AgentId) -> Option<Role> {
        let is = |side: Option<&AgentId>| side == Some(agent);
        if is(self.buyer_agent_id.as_ref()) {
            Some(Role::Buyer)
        } else if is(self.seller_agent_id.as_ref()) {
            Some(Role::Seller)
        } else {
            None
        }
    }

    /// What one unit costs.
    ///
    /// # Errors
    ///
    /// [`Code::UpstreamMalformed`] where it does not fit.
    pub fn unit_price(&self) -> Result<Usdc, Error> {
        cents(self.price_per_unit_cents).ok_or_else(|| self.unreadable("price_per_unit_cents"))
    }

    /// What all units cost: the escrow's deposit.
    ///
    /// # Errors
    ///
    /// As [`Self::unit_price`].
    pub fn deposit(&self) -> Result<Usdc, Error> {
        self.worth(self.quantity)
    }

    /// What so many units cost.
    ///
    /// # Errors
    ///
    /// As [`Self::unit_price`].
    pub fn worth(&self, units: u64) -> Result<Usdc, Error> {
        let price = self.unit_price()?.micros();
        let micros = price.checked_mul(units).filter(|micros| i64::try_from(*micros).is_ok());
        micros.map(Usdc::from_micros).ok_or_else(|| self.unreadable("quantity"))
    }

    /// Whether the units are paid out of an escrow.
    #[must_use]
    pub fn is_escrowed(&self) -> bool {
        matches!(self.settlement_model.as_str(), "" | BILATERAL)
    }

    fn unreadable(&self, field: &str) -> Error {
        let message = format!(
            "the member {field} of the agreement {} is more than can be paid",
            self.agreement_id
        );
        Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents).field(field, None)
    }
}

/// Cents as dollars; `None` where they do not fit.
#[must_use]
pub fn cents(cents: u64) -> Option<Usdc> {
    let micros = cents.checked_mul(MICROS_PER_CENT)?;
    i64::try_from(micros).ok().map(|_| Usdc::from_micros(micros))
}
