//! Selling on CROO: accept, reject, deliver.
//!
//! Invariants: what a key does to its negotiations and orders, it does one after the other; a lost
//! answer is settled by reading, never by sending again; what is done already is a success. The
//! address that a fund goes to is the owner's, by its name.

mod answer;
mod deliver;

use std::sync::Arc;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shown::{NegotiationView, OrderView};
use crate::{
    app::App,
    error::{Code, Error},
    ids::{AgentId, NegotiationId, OrderId, PurchaseId},
    marketplaces::{
        Marketplace,
        croo::{Croo, Role, events::digest},
    },
    recovery::NextAction,
    server::Server,
    spend::random,
    store::leases::Lease,
    tools::{Args, Reply, crochet::account::keep::to_the_end, input, output},
};

/// Arguments of `croo_accept_negotiation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptNegotiationArgs {
    /// Pending, of your service.
    pub negotiation_id: NegotiationId,
    /// Only with a fund: the owner's name of the address it goes to.
    #[serde(default)]
    pub payee: Option<String>,
}

/// Arguments of `croo_reject_negotiation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectNegotiationArgs {
    /// Pending, of your service.
    pub negotiation_id: NegotiationId,
    /// For the buyer: what you would accept.
    pub reason: String,
}

/// Arguments of `croo_deliver_order`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverOrderArgs {
    /// Paid, of your service.
    pub order_id: OrderId,
    /// Text or JSON, as the service promises.
    pub result: Value,
}

/// A negotiation that was accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptedView {
    /// The order that came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderView>,
    /// The negotiation, as long as its order is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negotiation: Option<NegotiationView>,
}

/// An order that was delivered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeliveredView {
    /// The order.
    #[serde(flatten)]
    pub order: OrderView,
    /// Where it had been delivered before: whether that was this result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_this_result: Option<bool>,
}

#[tool_router(router = croo_provider_tools, vis = "pub(crate)")]
impl Server {
    /// Accept a buyer's CROO negotiation: an order is made. Deliver once it is paid, not before.
    #[tool(
        name = "croo_accept_negotiation",
        input_schema = input::<AcceptNegotiationArgs>(),
        output_schema = output::<AcceptedView>(),
        annotations(
            title = "Accept a CROO negotiation",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_accept_negotiation(
        &self,
        Args(args): Args<AcceptNegotiationArgs>,
    ) -> Result<Reply<AcceptedView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { answer::accept(&app, args).await }).await
    }

    /// Decline a buyer's CROO negotiation.
    #[tool(
        name = "croo_reject_negotiation",
        input_schema = input::<RejectNegotiationArgs>(),
        output_schema = output::<NegotiationView>(),
        annotations(
            title = "Reject a CROO negotiation",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_reject_negotiation(
        &self,
        Args(args): Args<RejectNegotiationArgs>,
    ) -> Result<Reply<NegotiationView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { answer::reject(&app, args).await }).await
    }

    /// Deliver a paid CROO order: the price is released to you. Cannot be taken back.
    #[tool(
        name = "croo_deliver_order",
        input_schema = input::<DeliverOrderArgs>(),
        output_schema = output::<DeliveredView>(),
        annotations(
            title = "Deliver a CROO order",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_deliver_order(
        &self,
        Args(args): Args<DeliverOrderArgs>,
    ) -> Result<Reply<DeliveredView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { deliver::deliver(&app, args).await }).await
    }
}

/// The turn of a key: the platform refuses what one agent does at the same time (§11).
async fn turn(app: &App, croo: &Croo) -> Result<Lease, Error> {
    let key = croo.api.key().map_or("", |key| key.expose_secret());
    let name = format!("croo-key:{}", digest(key.as_bytes()));
    let holder = PurchaseId::from_random(random()?).to_string();
    Lease::wait(app.store(), &name, &holder).await?.ok_or_else(|| {
        let message = "this CROO key is busy with another negotiation or order; nothing was sent";
        Error::new(Code::Conflict, message).at(Marketplace::Croo).recovery(|recovery| {
            recovery.set(NextAction::Retry, true, "Make the same call again.");
            recovery.wait(5);
        })
    })
}

/// CROO, and the right to change something there.
async fn in_turn(app: &Arc<App>) -> Result<(Croo, Lease), Error> {
    let croo = app.croo().await?.registered()?;
    let lease = turn(app, &croo).await?;
    Ok((croo, lease))
}

/// Refuses where this agent is the buyer. Where it is not known who it is, CROO decides.
async fn check_provider(
    app: &App,
    croo: &Croo,
    (requester, provider): (Option<&AgentId>, Option<&AgentId>),
) -> Result<(), Error> {
    let own = app.croo_agent(croo).await?;
    match Role::of(own.as_ref(), requester, provider) {
        Some(Role::Provider) | None => Ok(()),
        Some(Role::Buyer) => {
            let message = "you are the buyer here, and only the provider does this";
            Err(Error::new(Code::NotAllowed, message).at(Marketplace::Croo))
        }
    }
}

/// Whether a failed write has to be looked after: it may have been carried out, or had been before.
fn is_open(error: &Error) -> bool {
    !error.repeat_safe || matches!(error.code, Code::WrongState | Code::Conflict)
}

/// A write that was not carried out, as reading showed. The same call reads first, so that making it
/// again is harmless.
fn undone(error: &Error, what: &str) -> Error {
    let message = format!("{error}; {what} stands as it was");
    Error::new(error.code, message)
        .at(Marketplace::Croo)
        .upstream(error.http_status, error.upstream_code.clone())
        .recovery(|recovery| {
            let summary = "It was not carried out. Make the same call again; it reads first.";
            recovery.set(NextAction::Retry, true, summary);
            recovery.wait(error.recovery.retry_after_seconds.unwrap_or(5));
        })
}
