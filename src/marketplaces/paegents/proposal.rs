//! The proposal of a direct purchase: its body, and how it is found again when its answer was lost.
//! Source: protocols/paegents.md §3.4, §6.1, §6.2.

use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Paegents,
    agreements::{Agreement, Role},
    direct::{DirectArguments, Fields},
    fee::whole_cents,
    sending::broken,
};
use crate::{
    error::Error,
    ids::{AgentId, ServiceId},
    journal::Purchase,
    marketplaces::http::{Effect, Operation},
};

/// How many of the newest agreements are looked through for one whose name was lost.
const LOOKED_THROUGH: u64 = 100;
/// The member of an agreement's metadata that names the purchase it came from.
const OWN_NAME: &str = "client_reference";

/// `POST /usage-agreements/`, member for member, for a purchase without an escrow.
#[derive(Serialize)]
pub(super) struct Proposal<'a> {
    seller_agent_id: &'a AgentId,
    quantity: u64,
    unit: &'static str,
    price_per_unit_cents: u64,
    settlement_model: &'static str,
    payment_method: Value,
    expires_in_seconds: u64,
    activation_version: &'static str,
    buyer_wallet_address: alloy_primitives::Address,
    buyer_infra_fee_permit_signature: String,
    buyer_infra_fee_permit_deadline: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<&'a ServiceId>,
    service_description: &'a str,
    metadata: Value,
    client_proposal_id: &'a str,
    #[serde(skip)]
    purchase: &'a Purchase,
}

impl<'a> Proposal<'a> {
    /// What a purchase proposes, before it is signed.
    ///
    /// # Errors
    ///
    /// Where its amount is not in whole cents.
    pub(super) fn new(
        purchase: &'a Purchase,
        arguments: &'a DirectArguments,
        fields: &Fields,
    ) -> Result<Self, Error> {
        Ok(Self {
            seller_agent_id: &arguments.seller_agent_id,
            quantity: 1,
            unit: "purchase",
            price_per_unit_cents: whole_cents("amount_usd", arguments.amount_usd)?,
            settlement_model: "direct_payment",
            payment_method: Value::Null,
            expires_in_seconds: fields.open_seconds,
            activation_version: "v2",
            buyer_wallet_address: fields.authorization.from,
            buyer_infra_fee_permit_signature: String::new(),
            buyer_infra_fee_permit_deadline: fields.permit.deadline,
            service_id: arguments.service_id.as_ref(),
            service_description: &arguments.description,
            metadata: json!({ OWN_NAME: purchase.idempotency_key }),
            client_proposal_id: &purchase.idempotency_key,
            purchase,
        })
    }

    /// The body with both signatures: the same signatures give the same bytes.
    ///
    /// # Errors
    ///
    /// Never for a proposal that was made by [`Self::new`].
    pub(super) fn signed_by(mut self, header: &str, permit: &str) -> Result<Vec<u8>, Error> {
        self.payment_method = json!({ "rail": "stablecoin", "payment_header": header });
        permit.clone_into(&mut self.buyer_infra_fee_permit_signature);
        serde_json::to_vec(&self).map_err(|_| broken(self.purchase))
    }
}

/// The newest agreements of ours: `GET /usage-agreements/agents/{agent}/agreements`.
#[derive(Debug, Serialize)]
struct NewestAgreements<'a> {
    #[serde(skip)]
    agent_id: &'a AgentId,
    limit: u64,
    role: &'static str,
}

impl Operation for NewestAgreements<'_> {
    const NAME: &'static str = "paegents.list_usage_agreements";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Vec<Agreement>;

    fn path(&self) -> String {
        format!("/usage-agreements/agents/{}/agreements", self.agent_id)
    }
}

/// The agreement that a purchase's proposal has made, where there is one.
///
/// # Errors
///
/// As sending an operation.
pub(super) async fn find(
    paegents: &Paegents,
    purchase: &Purchase,
) -> Result<Option<Agreement>, Error> {
    let role = Role::Buyer.word();
    let list = NewestAgreements { agent_id: paegents.agent()?, limit: LOOKED_THROUGH, role };
    let found = paegents.api.send(&list).await?;
    let own = Some(purchase.idempotency_key.as_str());
    let is_it = |found: &Agreement| found.metadata.get(OWN_NAME).and_then(Value::as_str) == own;
    Ok(found.into_iter().find(is_it))
}
