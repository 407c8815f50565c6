//! Paegents: services, usage agreements, escrow and payments, under `/paegents`.
//!
//! A buyer proposes an agreement, the seller accepts, the buyer funds an escrow on the chain and
//! then calls the seller through the metered proxy; or it pays directly. What takes time happens by
//! the sandbox's clock. Source: the protocol page on Paegents.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::{Router, middleware};
use rusqlite::Connection;

pub(super) mod accounts;
pub(super) mod agents;
pub(super) mod agreement_calls;
pub(super) mod agreements;
pub(super) mod answers;
pub(super) mod built_in;
pub(super) mod catalog;
pub(super) mod customers;
pub(super) mod deliveries;
pub(super) mod direct;
pub(super) mod escrow;
pub(super) mod evidence;
pub(super) mod failures;
pub(super) mod hooks;
pub(super) mod idempotency;
pub(super) mod items;
pub(super) mod lifecycle;
pub(super) mod metered;
pub(super) mod owner;
pub(super) mod pay;
pub(super) mod proposals;
pub(super) mod services;
pub(super) mod steps;
pub(super) mod upstreams;

pub(super) use steps::settle;

use crate::sandbox::{AgentInfo, ItemInfo, PaegentsInfo, keys::Wallet, world::World};

/// Where it is mounted, and where a client's base URL ends.
pub(crate) const BASE: &str = "/paegents";

/// The tables of all its parts.
pub(crate) const TABLES: [&str; 13] = [
    agents::TABLES,
    agreements::TABLES,
    services::TABLES,
    idempotency::TABLES,
    steps::TABLES,
    customers::TABLES,
    metered::TABLES,
    escrow::TABLES,
    evidence::TABLES,
    pay::TABLES,
    owner::TABLES,
    hooks::TABLES,
    accounts::TABLES,
];

/// The routes, relative to [`BASE`].
pub(crate) fn router(world: &Arc<World>) -> Router<Arc<World>> {
    Router::new()
        .merge(agreement_calls::router())
        .merge(catalog::router())
        .merge(metered::router())
        .merge(escrow::router())
        .merge(pay::router())
        .merge(owner::router())
        .merge(hooks::router())
        .merge(accounts::router())
        .fallback(answers::no_route)
        .method_not_allowed_fallback(answers::no_method)
        .layer(middleware::from_fn_with_state(Arc::clone(world), customers::after))
}

/// Fills a new world: the known agents and their services.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    agents::found(db, world, now)?;
    items::found(db, world, now)
}

/// The platform's wallet: it collects the fees and pays for the gas.
pub(crate) fn gas_wallet(world: &World) -> Wallet {
    world.gas_wallet()
}

/// The address of the platform's wallet.
pub(crate) fn gas_address(world: &World) -> Address {
    gas_wallet(world).address
}

/// Its part of the line that `haggle sandbox` prints.
pub(crate) fn info(db: &Connection, world: &World) -> rusqlite::Result<PaegentsInfo> {
    let agent = |label: &str| -> rusqlite::Result<AgentInfo> {
        let wallet = agents::known_wallet(world, label);
        // The key may have been replaced since the world began.
        let agent = agents::present(db, &agents::known_id(world, label))?;
        Ok(AgentInfo {
            agent_id: agent.id,
            api_key: agent.api_key,
            wallet: wallet.address.to_string(),
            wallet_private_key: wallet.private_key,
        })
    };
    Ok(PaegentsInfo {
        api_url: format!("{}{BASE}", world.origin),
        rpc_url: format!("{}/chain", world.origin),
        buyer: agent(agents::BUYER)?,
        seller: agent(agents::SELLER)?,
        owner_jwt: agents::known_jwt(world, agents::BUYER),
        webhook_secret: hooks::known_secret(world),
        services: items::known(db, world)?.into_iter().map(item).collect(),
    })
}

fn item(service: services::Service) -> ItemInfo {
    ItemInfo {
        price_usd: service.price().to_string(),
        id: service.id,
        owner_id: service.agent,
        name: service.name,
        input_example: service.input_example,
        behaviour: service.behaviour,
    }
}
