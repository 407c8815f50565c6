//! The chain: Base Sepolia as far as a buyer of USDC sees it, behind `POST /chain`.
//!
//! Balances, transactions and logs live in the sandbox's store. A transaction is mined when the
//! clock says so, alone in its block; blocks also pass with time, so confirmations can be counted.

use alloy_primitives::{Address, U256, address};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) mod bundler;
pub(super) mod calls;
pub(super) mod escrow;
pub(super) mod logs;
pub(super) mod rpc;
pub(super) mod sender;
pub(super) mod token;
pub(super) mod transactions;
pub(super) mod views;

pub(super) use transactions::mine;

use crate::{
    money::Usdc,
    sandbox::{store, world::World},
};

/// Base Sepolia.
pub(crate) const CHAIN_ID: u64 = 84_532;
/// USDC there.
pub(crate) const USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
/// Paegents' escrow there.
pub(crate) const ESCROW: Address = address!("cA98356B65951b621C32B840F0266847C6043B45");
/// The base fee of every block, in wei.
pub(crate) const BASE_FEE_WEI: u128 = 1_000_000;
/// The tip that is suggested, in wei.
pub(crate) const TIP_WEI: u128 = 1_000_000;
/// Time from block to block, in milliseconds.
const BLOCK_MS: i64 = 2_000;
/// The number of the first block.
const FIRST_BLOCK: i64 = 20_000_000;

/// The chain's tables.
pub(crate) const TABLES: &str = "
CREATE TABLE chain_accounts (
    address TEXT PRIMARY KEY, wei TEXT NOT NULL DEFAULT '0', nonce INTEGER NOT NULL DEFAULT 0,
    usdc INTEGER NOT NULL DEFAULT 0, permit_nonce INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chain_allowances (
    owner TEXT NOT NULL, spender TEXT NOT NULL, amount TEXT NOT NULL,
    PRIMARY KEY (owner, spender));
CREATE TABLE chain_authorizations (
    authorizer TEXT NOT NULL, nonce TEXT NOT NULL, PRIMARY KEY (authorizer, nonce));
CREATE TABLE chain_transactions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL UNIQUE, sender TEXT NOT NULL,
    nonce INTEGER NOT NULL, raw BLOB NOT NULL, mine_at INTEGER, block INTEGER, status INTEGER,
    gas_used INTEGER);
CREATE INDEX chain_due ON chain_transactions (mine_at) WHERE block IS NULL;
CREATE INDEX chain_blocks ON chain_transactions (block);
CREATE INDEX chain_nonces ON chain_transactions (sender, nonce);
CREATE TABLE chain_logs (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL, tx_hash TEXT NOT NULL,
    address TEXT NOT NULL, topics TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (block, log_index));
";

/// What the buyer begins with, in micro-units: 1,000 USDC.
const BUYER_USDC: u64 = 1_000_000_000;
/// One ether, in wei.
const ETHER: u64 = 1_000_000_000_000_000_000;

/// Funds the known wallets of a new world.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    store::set_meta(db, "genesis_ms", &now.to_string())?;
    let ether = U256::from(ETHER);
    for (wallet, wei, usdc) in [
        (world.buyer(), ether, BUYER_USDC),
        (world.seller(), ether, 0),
        (world.gas_wallet(), ether * U256::from(100), 0),
    ] {
        put_account(db, wallet.address, &Account { wei, usdc, ..Account::default() })?;
    }
    escrow::found(db, world.gas_wallet().address)
}

/// USDC that moved in a mined transaction.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// From whom.
    pub(crate) from: Address,
    /// To whom.
    pub(crate) to: Address,
    /// How much.
    pub(crate) amount: Usdc,
    /// The hash of the transaction.
    pub(crate) transaction: String,
    /// When it was mined, in milliseconds.
    pub(crate) at_ms: i64,
}

/// What the chain knows of an address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Ether, in wei.
    pub(crate) wei: U256,
    /// The nonce of its next transaction.
    pub(crate) nonce: u64,
    /// USDC, in micro-units.
    pub(crate) usdc: u64,
    /// The nonce of its next permit.
    pub(crate) permit_nonce: u64,
}

/// Reads an account; one that was never used is empty.
pub(crate) fn account(db: &Connection, address: Address) -> rusqlite::Result<Account> {
    let found = db
        .prepare_cached(
            "SELECT wei, nonce, usdc, permit_nonce FROM chain_accounts WHERE address = ?1",
        )?
        .query_row([address.to_string()], |row| {
            let wei: String = row.get(0)?;
            Ok(Account {
                wei: wei.parse().unwrap_or_default(),
                nonce: unsigned(row.get(1)?),
                usdc: unsigned(row.get(2)?),
                permit_nonce: unsigned(row.get(3)?),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Writes an account.
pub(crate) fn put_account(
    db: &Connection,
    address: Address,
    account: &Account,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO chain_accounts (address, wei, nonce, usdc, permit_nonce)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (address) DO UPDATE SET wei = excluded.wei, nonce = excluded.nonce,
             usdc = excluded.usdc, permit_nonce = excluded.permit_nonce",
    )?
    .execute(params![
        address.to_string(),
        account.wei.to_string(),
        signed(account.nonce),
        signed(account.usdc),
        signed(account.permit_nonce),
    ])?;
    Ok(())
}

/// Moves USDC without a transaction or a log: what a marketplace's payment provider does inside.
pub(crate) fn shift(
    db: &Connection,
    from: Address,
    to: Address,
    amount: Usdc,
) -> rusqlite::Result<()> {
    let mut payer = account(db, from)?;
    let moved = payer.usdc.min(amount.micros());
    payer.usdc -= moved;
    put_account(db, from, &payer)?;
    let mut receiver = account(db, to)?;
    receiver.usdc = receiver.usdc.saturating_add(moved);
    put_account(db, to, &receiver)
}

/// Moves ether without a transaction; answers whether there was enough.
pub(crate) fn shift_wei(
    db: &Connection,
    from: Address,
    to: Address,
    wei: U256,
) -> rusqlite::Result<bool> {
    let mut payer = account(db, from)?;
    let Some(left) = payer.wei.checked_sub(wei) else { return Ok(false) };
    payer.wei = left;
    put_account(db, from, &payer)?;
    let mut receiver = account(db, to)?;
    receiver.wei = receiver.wei.saturating_add(wei);
    put_account(db, to, &receiver)?;
    Ok(true)
}

/// The number of the newest block at `now`.
pub(crate) fn block_number(db: &Connection, now: i64) -> rusqlite::Result<i64> {
    let mined: i64 = db
        .prepare_cached("SELECT count(*) FROM chain_transactions WHERE block IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    Ok(FIRST_BLOCK + mined + (now - genesis(db)?).max(0) / BLOCK_MS)
}

/// The number of the block that is made next, at `at`: above all that were made.
///
/// What a marketplace does late carries its due time, so a block may be older than the one before.
pub(crate) fn next_block(db: &Connection, at: i64) -> rusqlite::Result<i64> {
    let last: Option<i64> = db
        .prepare_cached("SELECT max(block) FROM chain_transactions")?
        .query_row([], |row| row.get(0))?;
    Ok(block_number(db, at)?.max(last.unwrap_or(0)) + 1)
}

/// When the world began, in milliseconds.
fn genesis(db: &Connection) -> rusqlite::Result<i64> {
    Ok(store::meta(db, "genesis_ms")?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A column that cannot be negative.
pub(crate) fn unsigned(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// A number for a column.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
