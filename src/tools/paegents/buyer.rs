//! Buying on Paegents: read a service, agree on units of it, call it, end the agreement.

pub mod activate;
pub mod call;
pub mod create;
pub mod end;
pub mod service;
pub mod usage;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use activate::ActivateView;
use call::CallView;
use create::CreatedView;
use service::ServiceView;
use usage::UsageView;

use super::shown::AgreementView;
use crate::{
    error::Error,
    ids::{AgreementId, ServiceId},
    marketplaces::paegents::{create::Shipping, metered::CallMethod},
    money::Usdc,
    owner::{Outcome, Owner},
    server::Server,
    tools::{Args, Reply, input, output},
};

/// Arguments of `paegents_get_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetServiceArgs {
    /// From a search.
    pub service_id: ServiceId,
}

/// Arguments of `paegents_create_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgreementArgs {
    /// From a search.
    pub service_id: ServiceId,
    /// Units.
    pub quantity: u64,
    /// What for.
    #[serde(default)]
    pub description: Option<String>,
    /// Objects.
    #[serde(default)]
    #[schemars(with = "Option<Vec<serde_json::Map<String, Value>>>")]
    pub cart_items: Option<Vec<Map<String, Value>>>,
    /// For goods: `recipient_name`, `street1`, `street2`?, `city`, `state`, `postal_code`,
    /// `country` (US), `phone`?.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub shipping: Option<Shipping>,
    /// Default 24.
    #[serde(default)]
    pub expires_hours: Option<u64>,
    /// Ask a second time for the same.
    #[serde(default)]
    pub again: Option<bool>,
}

/// Arguments of `paegents_activate_escrow`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateEscrowArgs {
    /// An accepted one.
    pub agreement_id: AgreementId,
    /// Most to pay: deposit and platform fee.
    pub max_total_usd: Usdc,
    /// Fund by an on-chain allowance instead of a permit.
    #[serde(default)]
    pub allowance: Option<bool>,
}

/// Arguments of `paegents_call_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallServiceArgs {
    /// An active one.
    pub agreement_id: AgreementId,
    /// How.
    pub method: CallMethod,
    /// The service's path and query.
    pub path: String,
    /// The body.
    #[serde(default)]
    pub json: Option<Value>,
    /// Call again what was just called.
    #[serde(default)]
    pub again: Option<bool>,
    /// Use up the last units, too.
    #[serde(default)]
    pub beyond_soft_stop: Option<bool>,
}

/// Arguments of `paegents_get_usage` and `paegents_cancel_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgreementArgs {
    /// Which.
    pub agreement_id: AgreementId,
}

/// Arguments of `paegents_dispute_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisputeAgreementArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// 10 characters or more.
    pub reason: String,
    /// Any JSON.
    #[serde(default)]
    pub evidence: Option<Value>,
}

#[tool_router(router = paegents_buyer_tools, vis = "pub(crate)")]
impl Server {
    /// One Paegents service: price of a unit, how many are sold, seller, what it can do.
    #[tool(
        name = "paegents_get_service",
        input_schema = input::<GetServiceArgs>(),
        output_schema = output::<ServiceView>(),
        annotations(
            title = "Get a Paegents service",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_service(
        &self,
        Args(args): Args<GetServiceArgs>,
    ) -> Result<Reply<ServiceView>, Error> {
        service::look(self.app(), &args.service_id).await
    }

    /// Proposes to buy units of a Paegents service at its price; pays nothing. Once the seller has
    /// accepted, the escrow is activated.
    #[tool(
        name = "paegents_create_agreement",
        input_schema = input::<CreateAgreementArgs>(),
        output_schema = output::<CreatedView>(),
        annotations(
            title = "Propose a Paegents agreement",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_agreement(
        &self,
        Args(args): Args<CreateAgreementArgs>,
    ) -> Result<Reply<CreatedView>, Error> {
        create::create(self.app(), args).await
    }

    /// Pays the deposit of an accepted agreement into its escrow, once; then it can be called.
    #[tool(
        name = "paegents_activate_escrow",
        input_schema = input::<ActivateEscrowArgs>(),
        output_schema = output::<ActivateView>(),
        annotations(
            title = "Pay a Paegents escrow",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_activate_escrow(
        &self,
        Args(args): Args<ActivateEscrowArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<ActivateView>>, Error> {
        Box::pin(activate::activate(self.app(), &owner, &args)).await
    }

    /// Calls the service of an active agreement; its units are drawn from the deposit. Returns the
    /// seller's answer and what is left. The same call within 10 minutes draws nothing, unless GET.
    #[tool(
        name = "paegents_call_service",
        input_schema = input::<CallServiceArgs>(),
        output_schema = output::<CallView>(),
        annotations(
            title = "Call a Paegents service",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_call_service(
        &self,
        Args(args): Args<CallServiceArgs>,
        owner: Owner,
    ) -> Result<Reply<CallView>, Error> {
        call::call(self.app(), &owner, args).await
    }

    /// How many units of an agreement are used and left, and what became of its last call.
    #[tool(
        name = "paegents_get_usage",
        input_schema = input::<AgreementArgs>(),
        output_schema = output::<UsageView>(),
        annotations(
            title = "Get a Paegents agreement's usage",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_usage(
        &self,
        Args(args): Args<AgreementArgs>,
    ) -> Result<Reply<UsageView>, Error> {
        usage::read(self.app(), &args.agreement_id).await
    }

    /// Takes back a proposal that the seller has not answered. One that is paid is closed instead.
    #[tool(
        name = "paegents_cancel_agreement",
        input_schema = input::<AgreementArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Cancel a Paegents proposal",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_cancel_agreement(
        &self,
        Args(args): Args<AgreementArgs>,
    ) -> Result<Reply<AgreementView>, Error> {
        end::cancel(self.app(), &args.agreement_id).await
    }

    /// Complains to the platform about an accepted agreement.
    #[tool(
        name = "paegents_dispute_agreement",
        input_schema = input::<DisputeAgreementArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Dispute a Paegents agreement",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_dispute_agreement(
        &self,
        Args(args): Args<DisputeAgreementArgs>,
    ) -> Result<Reply<AgreementView>, Error> {
        end::dispute(self.app(), &args).await
    }
}
