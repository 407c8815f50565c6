//! Transactions that a platform sends for the accounts it drives (ERC-4337): one bundler signs
//! them, so the nonces of those accounts stay where they are.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, Bytes, TxKind, U256, address};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use rusqlite::{Connection, params};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            self, BASE_FEE_WEI, CHAIN_ID, TIP_WEI, logs, signed,
            token::{self, Failure},
        },
        world::World,
    },
};

/// The entry point of version 0.7, which every bundle is sent to.
const ENTRY_POINT: Address = address!("0000000071727De22E5E9d8BAf0edAc6f37da032");
/// The selector of its `handleOps`.
const HANDLE_OPS: [u8; 4] = [0x76, 0x5e, 0x82, 0x7f];
/// What a bundle costs, in gas.
const BUNDLE_GAS: u64 = 250_000;

/// What an account does in one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    /// The account.
    pub(crate) account: Address,
    /// The USDC that it sends, in order; nothing is sent where one amount is nothing.
    pub(crate) moves: &'a [(Address, Usdc)],
    /// Whether it is to fail, whatever the account holds.
    pub(crate) is_doomed: bool,
}

/// A mined transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mined {
    /// Its hash.
    pub(crate) hash: String,
    /// Whether everything moved; otherwise nothing did.
    pub(crate) is_done: bool,
}

/// Mines a transaction of its own for the operation, at `at`.
pub(crate) fn bundle(
    db: &Connection,
    world: &World,
    at: i64,
    operation: &Operation<'_>,
) -> rusqlite::Result<Mined> {
    let Operation { account, moves, is_doomed } = *operation;
    let needed = moves.iter().fold(0_u64, |sum, (_, amount)| sum.saturating_add(amount.micros()));
    let is_done = !is_doomed && chain::account(db, account)?.usdc >= needed;
    let mut written = Vec::new();
    for (to, amount) in moves.iter().filter(|(_, amount)| is_done && *amount > Usdc::ZERO) {
        match token::transfer(db, account, *to, U256::from(amount.micros())) {
            Ok(effects) => written.extend(effects.logs),
            // The sum was looked at above, and nobody sends to the zero address here.
            Err(Failure::Revert(_)) => return Err(rusqlite::Error::StatementChangedRows(0)),
            Err(Failure::Sqlite(error)) => return Err(error),
        }
    }
    let wallet = world.seed.wallet("bundler");
    let mut bundler = chain::account(db, wallet.address)?;
    let (hash, raw) = sign(&wallet.private_key, bundler.nonce, account)?;
    let block = chain::next_block(db, at)?;
    db.prepare_cached(
        "INSERT INTO chain_transactions
             (hash, sender, nonce, raw, mine_at, block, status, gas_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        hash,
        wallet.address.to_string(),
        signed(bundler.nonce),
        raw,
        at,
        block,
        is_done,
        signed(BUNDLE_GAS),
    ])?;
    logs::write(db, block, &hash, &written)?;
    bundler.nonce += 1;
    chain::put_account(db, wallet.address, &bundler)?;
    Ok(Mined { hash, is_done })
}

/// The bundle: its hash and its bytes.
fn sign(key: &str, nonce: u64, account: Address) -> rusqlite::Result<(String, Vec<u8>)> {
    let input = [HANDLE_OPS.as_slice(), account.into_word().as_slice()].concat();
    let tx = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: BUNDLE_GAS,
        max_fee_per_gas: BASE_FEE_WEI + TIP_WEI,
        max_priority_fee_per_gas: TIP_WEI,
        to: TxKind::Call(ENTRY_POINT),
        value: U256::ZERO,
        access_list: alloy_eips::eip2930::AccessList::default(),
        input: Bytes::from(input),
    };
    let refused = |error| rusqlite::Error::ToSqlConversionFailure(error);
    let signer: PrivateKeySigner = key.parse().map_err(|_| refused("no key".into()))?;
    let signature =
        signer.sign_hash_sync(&tx.signature_hash()).map_err(|_| refused("no signature".into()))?;
    let envelope = TxEnvelope::from(tx.into_signed(signature));
    Ok((envelope.tx_hash().to_string(), envelope.encoded_2718()))
}
