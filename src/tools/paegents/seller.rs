//! Selling on Paegents: what is done with an agreement here, the catalog in [`services`].
//!
//! Invariants: what can be checked here is refused before anything is sent; a lost answer is settled
//! by reading, never by sending again; what is done already is a success.

mod answer;
mod delivery;
pub mod services;
mod usage;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::shown::AgreementView;
use crate::{
    error::Error,
    ids::AgreementId,
    marketplaces::paegents::{catalog::whole_cents, selling::Parcel},
    money::Usdc,
    server::Server,
    tools::{Args, Reply, crochet::account::keep::to_the_end, input, output},
};

/// Arguments of `paegents_accept_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptAgreementArgs {
    /// Proposed to you.
    pub agreement_id: AgreementId,
}

/// Arguments of `paegents_reject_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectAgreementArgs {
    /// Proposed to you.
    pub agreement_id: AgreementId,
    /// For the buyer.
    #[serde(default)]
    pub reason: Option<String>,
    /// The total you would accept.
    #[serde(default)]
    pub suggested_total_usd: Option<Usdc>,
    /// The cart items you would accept.
    #[serde(default)]
    pub suggested_items: Option<Vec<Map<String, Value>>>,
}

/// Arguments of `paegents_record_usage`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordUsageArgs {
    /// Active, you are its seller.
    pub agreement_id: AgreementId,
    /// All so far, not only the new ones.
    pub units_used: u64,
    /// True: that was all.
    #[serde(default)]
    pub completed: bool,
    /// Free JSON.
    #[serde(default)]
    pub usage_proof: Option<Map<String, Value>>,
}

/// Where a parcel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ParcelWord {
    /// Handed to the carrier.
    Shipped,
    /// On its way.
    InTransit,
    /// In the last van.
    OutForDelivery,
    /// With the buyer.
    Delivered,
    /// Something went wrong.
    Exception,
}

impl From<ParcelWord> for Parcel {
    fn from(word: ParcelWord) -> Self {
        match word {
            ParcelWord::Shipped => Self::Shipped,
            ParcelWord::InTransit => Self::InTransit,
            ParcelWord::OutForDelivery => Self::OutForDelivery,
            ParcelWord::Delivered => Self::Delivered,
            ParcelWord::Exception => Self::Exception,
        }
    }
}

/// Who carries parcels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Carrier {
    /// UPS.
    Ups,
    /// `FedEx`.
    Fedex,
    /// The United States' mail.
    Usps,
    /// DHL.
    Dhl,
    /// Somebody else.
    Other,
}

/// Arguments of `paegents_update_delivery`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDeliveryArgs {
    /// Of goods, you are its seller.
    pub agreement_id: AgreementId,
    /// Where the parcel is now.
    pub status: ParcelWord,
    /// Who carries it.
    #[serde(default)]
    pub carrier: Option<Carrier>,
    /// Of the carrier.
    #[serde(default)]
    pub tracking_number: Option<String>,
    /// Only for `other`.
    #[serde(default)]
    pub tracking_url: Option<String>,
    /// Date or RFC 3339.
    #[serde(default)]
    pub estimated_delivery: Option<String>,
    /// For the buyer.
    #[serde(default)]
    pub notes: Option<String>,
}

/// A delivery that was updated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeliveryView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Where the parcel is.
    pub status: String,
    /// What the buyer sees.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub delivery_untrusted: Value,
}

#[tool_router(router = paegents_seller_tools, vis = "pub(crate)")]
impl Server {
    /// Accept a Paegents agreement that a buyer proposed to you. Serve it once it is active, not
    /// before.
    #[tool(
        name = "paegents_accept_agreement",
        input_schema = input::<AcceptAgreementArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Accept a Paegents agreement",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_accept_agreement(
        &self,
        Args(args): Args<AcceptAgreementArgs>,
    ) -> Result<Reply<AgreementView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { answer::accept(&app, &args.agreement_id).await }).await
    }

    /// Decline a Paegents agreement that a buyer proposed to you; can say what you would accept.
    #[tool(
        name = "paegents_reject_agreement",
        input_schema = input::<RejectAgreementArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Reject a Paegents agreement",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_reject_agreement(
        &self,
        Args(args): Args<RejectAgreementArgs>,
    ) -> Result<Reply<AgreementView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { answer::reject(&app, args).await }).await
    }

    /// Report how many units of your Paegents service the buyer has used. Not for metered calls,
    /// which Paegents counts itself.
    #[tool(
        name = "paegents_record_usage",
        input_schema = input::<RecordUsageArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Record Paegents usage",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_record_usage(
        &self,
        Args(args): Args<RecordUsageArgs>,
    ) -> Result<Reply<AgreementView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { usage::record(&app, args).await }).await
    }

    /// Tell the buyer where a parcel is: shipped, then `in_transit`, then `out_for_delivery`, delivered.
    #[tool(
        name = "paegents_update_delivery",
        input_schema = input::<UpdateDeliveryArgs>(),
        output_schema = output::<DeliveryView>(),
        annotations(
            title = "Update a Paegents delivery",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_update_delivery(
        &self,
        Args(args): Args<UpdateDeliveryArgs>,
    ) -> Result<Reply<DeliveryView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { delivery::update(&app, args).await }).await
    }
}

/// An amount as the whole cents that Paegents counts in.
fn cents_of(field: &str, amount: Usdc) -> Result<u64, Error> {
    let example = "\"1.50\"";
    whole_cents(amount).ok_or_else(|| Error::argument(field, "must be whole cents", example))
}
