//! Transactions that a platform sends from a wallet of its own: signed, mined at once or when they
//! are due, logged.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use rusqlite::{Connection, OptionalExtension, params};

use crate::sandbox::{
    chain::{
        self, BASE_FEE_WEI, CHAIN_ID, TIP_WEI, logs, signed,
        token::{Effects, Failure},
        transactions, unsigned,
    },
    keys::Wallet,
};

/// What a call of a contract may cost, in gas.
const GAS_LIMIT: u64 = 300_000;
/// Enough gas to be mined, and too little to do anything.
const DOOMED_GAS_LIMIT: u64 = 21_000;

/// A call that a platform makes.
#[derive(Clone, Debug)]
pub(crate) struct Sending<'a> {
    /// Who sends it and pays for the gas.
    pub(crate) from: &'a Wallet,
    /// The contract.
    pub(crate) to: Address,
    /// The encoded call.
    pub(crate) input: Vec<u8>,
    /// Whether it is to revert, whatever it does.
    pub(crate) is_doomed: bool,
}

/// A mined transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Its hash.
    pub(crate) hash: String,
    /// Why it was reverted; none where it was carried out.
    pub(crate) reverted: Option<&'static str>,
}

/// Mines a transaction of its own for the call, at `at` in milliseconds.
pub(crate) fn send(db: &Connection, at: i64, sending: &Sending<'_>) -> rusqlite::Result<Sent> {
    let sender = sending.from.address;
    let mut account = chain::account(db, sender)?;
    let tx = transaction(sending, transactions::next_nonce(db, sender)?, GAS_LIMIT);
    let gas_used = transactions::gas_needed(Some(sending.to), sending.input.is_empty());
    // What waits to be mined counts when it is mined.
    account.nonce += 1;
    let cost = U256::from(gas_used) * U256::from(transactions::effective_price(&tx));
    account.wei = account.wei.saturating_sub(cost);
    chain::put_account(db, sender, &account)?;
    let outcome = if sending.is_doomed {
        Err(Failure::Revert("execution reverted"))
    } else {
        let (kind, now_s) = (TxKind::Call(sending.to), unsigned(at / 1_000));
        transactions::execute(db, sender, kind, U256::ZERO, &sending.input, now_s)
    };
    let (effects, reverted) = match outcome {
        Ok(effects) => (effects, None),
        Err(Failure::Revert(reason)) => (Effects::default(), Some(reason)),
        Err(Failure::Sqlite(error)) => return Err(error),
    };
    let nonce = tx.nonce;
    let (hash, raw) = sign(&sending.from.private_key, tx)?;
    let block = chain::next_block(db, at)?;
    db.prepare_cached(
        "INSERT INTO chain_transactions
             (hash, sender, nonce, raw, mine_at, block, status, gas_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        hash,
        sender.to_string(),
        signed(nonce),
        raw,
        at,
        block,
        reverted.is_none(),
        signed(gas_used),
    ])?;
    logs::write(db, block, &hash, &effects.logs)?;
    Ok(Sent { hash, reverted })
}

/// Whether a wallet can pay for a call.
pub(crate) fn has_gas(db: &Connection, wallet: Address) -> rusqlite::Result<bool> {
    let cost = U256::from(GAS_LIMIT) * U256::from(BASE_FEE_WEI + TIP_WEI);
    Ok(chain::account(db, wallet)?.wei >= cost)
}

/// Sends a transaction that is mined at `at`, in milliseconds; answers its hash.
///
/// A doomed one runs out of gas then.
pub(crate) fn queue(db: &Connection, at: i64, sending: &Sending<'_>) -> rusqlite::Result<String> {
    let (sender, gas_limit) = (sending.from.address, GAS_LIMIT);
    let gas_limit = if sending.is_doomed { DOOMED_GAS_LIMIT } else { gas_limit };
    let nonce = transactions::next_nonce(db, sender)?;
    let tx = transaction(sending, nonce, gas_limit);
    let (hash, raw) = sign(&sending.from.private_key, tx)?;
    db.prepare_cached(
        "INSERT INTO chain_transactions (hash, sender, nonce, raw, mine_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![hash, sender.to_string(), signed(nonce), raw, at])?;
    Ok(hash)
}

/// Whether a transaction did what it should; none while it waits.
///
/// One that was dropped, because its sender's ether went elsewhere, did nothing.
pub(crate) fn outcome(db: &Connection, hash: &str) -> rusqlite::Result<Option<bool>> {
    let found: Option<(Option<i64>, Option<i64>)> = db
        .prepare_cached("SELECT block, status FROM chain_transactions WHERE hash = ?1")?
        .query_row([hash], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((None, _)) => None,
        Some((Some(_), status)) => Some(status == Some(1)),
        None => Some(false),
    })
}

fn transaction(sending: &Sending<'_>, nonce: u64, gas_limit: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: BASE_FEE_WEI + TIP_WEI,
        max_priority_fee_per_gas: TIP_WEI,
        to: TxKind::Call(sending.to),
        value: U256::ZERO,
        access_list: alloy_eips::eip2930::AccessList::default(),
        input: Bytes::from(sending.input.clone()),
    }
}

/// The transaction's hash and its bytes.
fn sign(key: &str, tx: TxEip1559) -> rusqlite::Result<(String, Vec<u8>)> {
    let refused = |error| rusqlite::Error::ToSqlConversionFailure(error);
    let signer: PrivateKeySigner = key.parse().map_err(|_| refused("no key".into()))?;
    let signature =
        signer.sign_hash_sync(&tx.signature_hash()).map_err(|_| refused("no signature".into()))?;
    let envelope = TxEnvelope::from(tx.into_signed(signature));
    Ok((envelope.tx_hash().to_string(), envelope.encoded_2718()))
}
