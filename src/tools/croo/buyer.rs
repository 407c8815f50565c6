//! Ordering on CROO: read a service, negotiate, pay, receive.

pub mod delivery;
pub mod negotiate;
pub mod pay;
pub mod service;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use delivery::DeliveryView;
use negotiate::NegotiatedView;
use pay::PayView;
use service::ServiceView;

use crate::{
    error::Error,
    ids::{OrderId, ServiceId},
    money::Usdc,
    owner::{Outcome, Owner},
    server::Server,
    tools::{Args, Reply, input, output},
};

/// Arguments of `croo_get_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetServiceArgs {
    /// From a search.
    pub service_id: ServiceId,
}

/// Arguments of `croo_negotiate_order`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NegotiateOrderArgs {
    /// From a search.
    pub service_id: ServiceId,
    /// Your input: text, or JSON of the service's fields.
    pub requirements: Value,
    /// Free text.
    #[serde(default)]
    pub metadata: Option<String>,
    /// Fund part, where the service wants one.
    #[serde(default)]
    pub fund_usd: Option<Usdc>,
    /// Ask a second time for the same.
    #[serde(default)]
    pub again: Option<bool>,
}

/// Arguments of `croo_pay_order`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PayOrderArgs {
    /// The order.
    pub order_id: OrderId,
    /// Most to pay, gas, fees and fund included.
    pub max_total_usd: Usdc,
}

/// Arguments of `croo_get_delivery`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetDeliveryArgs {
    /// The order.
    pub order_id: OrderId,
    /// Default 0, at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

#[tool_router(router = croo_buyer_tools, vis = "pub(crate)")]
impl Server {
    /// One CROO service: price, seller, what input it wants.
    #[tool(
        name = "croo_get_service",
        input_schema = input::<GetServiceArgs>(),
        output_schema = output::<ServiceView>(),
        annotations(
            title = "Get a CROO service",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_get_service(
        &self,
        Args(args): Args<GetServiceArgs>,
    ) -> Result<Reply<ServiceView>, Error> {
        service::look(self.app(), &args.service_id).await
    }

    /// Asks a CROO service for an offer; pays nothing. If the seller accepts, an order comes of it.
    #[tool(
        name = "croo_negotiate_order",
        input_schema = input::<NegotiateOrderArgs>(),
        output_schema = output::<NegotiatedView>(),
        annotations(
            title = "Negotiate a CROO order",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_negotiate_order(
        &self,
        Args(args): Args<NegotiateOrderArgs>,
    ) -> Result<Reply<NegotiatedView>, Error> {
        negotiate::negotiate(self.app(), args).await
    }

    /// Pays an accepted CROO order into escrow, once; the escrow is refunded if nothing is
    /// delivered.
    #[tool(
        name = "croo_pay_order",
        input_schema = input::<PayOrderArgs>(),
        output_schema = output::<PayView>(),
        annotations(
            title = "Pay a CROO order",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_pay_order(
        &self,
        Args(args): Args<PayOrderArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<PayView>>, Error> {
        pay::pay(self.app(), &owner, &args).await
    }

    /// The result of a paid CROO order; can wait for it.
    #[tool(
        name = "croo_get_delivery",
        input_schema = input::<GetDeliveryArgs>(),
        output_schema = output::<DeliveryView>(),
        annotations(
            title = "Get a CROO delivery",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_get_delivery(
        &self,
        Args(args): Args<GetDeliveryArgs>,
        owner: Owner,
    ) -> Result<Reply<DeliveryView>, Error> {
        delivery::deliver(self.app(), &owner, &args).await
    }
}
