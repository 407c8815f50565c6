//! Money: what paying an order takes from a wallet, and where it goes in the end.
//!
//! The price waits in the vault, the rest leaves at once. Everything is a mined transaction of the
//! chain, and an entry of the ledger whose reference or parent is the order.

use alloy_primitives::{Address, address};
use axum::http::StatusCode;
use rusqlite::{Connection, OptionalExtension};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            self,
            bundler::{Mined, Operation, bundle},
        },
        croo::{
            answers::ApiError,
            orders::{Fate, Order},
        },
        ledger::{self, Kind, NewEntry},
        world::World,
    },
};

/// What holds the price until it is settled. Source: the protocol page, 12.3.
pub(crate) const VAULT: Address = address!("33ECdcC8dD32330ec5a62AB1986F25ED5B5D170d");
/// What the sponsored gas of a payment costs.
pub(crate) const GAS: Usdc = Usdc::from_micros(10_000);
/// The platform's share of the price, in tenths of a percent.
const FEE_PER_MILLE: u64 = 25;

/// Where the platform's own share goes.
fn treasury(world: &World) -> Address {
    world.seed.address("croo/treasury")
}

/// Who is paid for the gas.
fn sponsor(world: &World) -> Address {
    world.seed.address("croo/gas-sponsor")
}

/// What paying the order takes from the wallet, in USDC.
pub(crate) fn total(order: &Order) -> Usdc {
    [GAS, order.fee, order.fund_usdc()]
        .into_iter()
        .fold(order.price, |sum, part| sum.checked_add(part).unwrap_or(Usdc::from_micros(u64::MAX)))
}

fn refuse(reason: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, reason, message)
}

/// Refuses a payment while another one of the same wallet is under way.
pub(crate) fn check_nonce(db: &Connection, order: &Order) -> Result<(), ApiError> {
    let wallet = order.requester_wallet.to_string();
    let under_way: Option<String> = db
        .prepare_cached(
            "SELECT id FROM croo_orders WHERE status = 'paying' AND requester_wallet = ?1",
        )?
        .query_row([&wallet], |row| row.get(0))
        .optional()?;
    let message = "AA25 invalid account nonce: another payment of this wallet is under way";
    under_way.map_or(Ok(()), |id| Err(refuse("NONCE_ERROR", message).with("orderId", id)))
}

/// Refuses a payment that the wallet has no money for.
pub(crate) fn check_balance(db: &Connection, order: &Order) -> Result<(), ApiError> {
    let (account, needed) = (chain::account(db, order.requester_wallet)?, total(order).micros());
    if account.usdc < needed {
        let held = account.usdc;
        let message =
            format!("the paymaster refused: {needed} base units are needed, {held} are there");
        return Err(refuse("PIMLICO_ERROR", message));
    }
    if account.wei < order.fund_wei() {
        return Err(refuse("PIMLICO_ERROR", "the paymaster refused: too little ether"));
    }
    Ok(())
}

/// Takes the money, unless the transaction is to fail; answers the hash.
pub(crate) fn lock(
    db: &Connection,
    world: &World,
    at: i64,
    order: &Order,
    fate: Fate,
) -> rusqlite::Result<Mined> {
    let fund_address: Address = order.fund_address.parse().unwrap_or_default();
    let moves = [
        (VAULT, order.price),
        (sponsor(world), GAS),
        (treasury(world), order.fee),
        (fund_address, order.fund_usdc()),
    ];
    let is_doomed = fate == Fate::Fails;
    let operation = Operation { account: order.requester_wallet, moves: &moves, is_doomed };
    let mined = bundle(db, world, at, &operation)?;
    if !mined.is_done {
        return Ok(mined);
    }
    chain::shift_wei(db, order.requester_wallet, fund_address, order.fund_wei())?;
    let wallet = order.requester_wallet;
    enter(db, at, order, Kind::Charge, (wallet, VAULT, total(order)))?;
    if order.fee > Usdc::ZERO {
        enter(db, at, order, Kind::Fee, (wallet, treasury(world), order.fee))?;
    }
    Ok(mined)
}

/// A transaction of an account that moves nothing: an order put on the chain, a delivery.
pub(crate) fn note(
    db: &Connection,
    world: &World,
    at: i64,
    account: Address,
    fate: Fate,
) -> rusqlite::Result<String> {
    let is_doomed = fate == Fate::Fails;
    Ok(bundle(db, world, at, &Operation { account, moves: &[], is_doomed })?.hash)
}

/// The vault pays the provider, less the platform's fee; answers the hash.
pub(crate) fn clear(
    db: &Connection,
    world: &World,
    at: i64,
    order: &Order,
) -> rusqlite::Result<String> {
    let fee = Usdc::from_micros(order.price.micros() * FEE_PER_MILLE / 1_000);
    let rest = order.price.saturating_sub(fee);
    let moves = [(treasury(world), fee), (order.provider_wallet, rest)];
    let mined =
        bundle(db, world, at, &Operation { account: VAULT, moves: &moves, is_doomed: false })?;
    for (kind, (to, amount)) in [Kind::Fee, Kind::Payout].into_iter().zip(moves) {
        enter(db, at, order, kind, (VAULT, to, amount))?;
    }
    Ok(mined.hash)
}

/// The vault gives the price back, and nothing else; answers the hash.
pub(crate) fn refund(
    db: &Connection,
    world: &World,
    at: i64,
    order: &Order,
) -> rusqlite::Result<String> {
    let moves = [(order.requester_wallet, order.price)];
    let mined =
        bundle(db, world, at, &Operation { account: VAULT, moves: &moves, is_doomed: false })?;
    enter(db, at, order, Kind::Refund, (VAULT, order.requester_wallet, order.price))?;
    Ok(mined.hash)
}

/// Adds an entry: a charge is the order's own, everything else has the order as its parent.
fn enter(
    db: &Connection,
    at_ms: i64,
    order: &Order,
    kind: Kind,
    (from, to, amount): (Address, Address, Usdc),
) -> rusqlite::Result<()> {
    let is_charge = kind == Kind::Charge;
    let part = format!("{}:{}", order.id, kind.as_str());
    ledger::append(
        db,
        &NewEntry {
            marketplace: "croo",
            kind,
            reference: if is_charge { &order.id } else { &part },
            parent: (!is_charge).then_some(order.id.as_str()),
            payer: &from.to_string(),
            payee: &to.to_string(),
            amount,
            at_ms,
        },
    )
}
