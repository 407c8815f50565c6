//! Transactions: taken into the pool, mined when due, remembered.
//!
//! Only type 2 (EIP-1559) is taken. A sender's transactions run in the order of their nonces; one
//! that comes too early waits until the gap is closed.

use alloy_consensus::{Transaction as _, TxEip1559, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, TxKind, U256};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sandbox::chain::{
    self, Account, BASE_FEE_WEI, CHAIN_ID, ESCROW, Transfer, USDC, account, escrow, logs,
    put_account,
    rpc::RpcError,
    signed,
    token::{self, Effects, Failure},
    unsigned,
};

/// What moving ether costs.
const PLAIN_GAS: u64 = 21_000;
/// What a call of the token costs.
const TOKEN_GAS: u64 = 65_000;
/// The longest raw transaction that is taken, in bytes.
const RAW_BYTES_MAX: usize = 128 * 1024;

/// A transaction that was read and whose signer was recovered.
#[derive(Debug)]
pub(crate) struct Signed {
    /// What it does.
    pub(crate) tx: TxEip1559,
    /// Its hash.
    pub(crate) hash: String,
    /// Who signed it.
    pub(crate) sender: Address,
    /// The signature: parity, r, s.
    pub(crate) signature: (bool, U256, U256),
}

/// Reads a raw transaction.
pub(crate) fn decode(raw: &[u8]) -> Result<Signed, RpcError> {
    if raw.len() > RAW_BYTES_MAX {
        return Err(RpcError::server("oversized data"));
    }
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest)
        .map_err(|_| RpcError::server("rlp: the transaction cannot be decoded"))?;
    if !rest.is_empty() {
        return Err(RpcError::server("rlp: input contains more than one value"));
    }
    let hash = envelope.tx_hash().to_string();
    let sender = envelope
        .recover_signer()
        .map_err(|_| RpcError::server("invalid transaction v, r, s values"))?;
    let TxEnvelope::Eip1559(signed) = envelope else {
        return Err(RpcError::server("transaction type not supported"));
    };
    let signature = signed.signature();
    let signature = (signature.v(), signature.r(), signature.s());
    Ok(Signed { tx: signed.strip_signature(), hash, sender, signature })
}

/// Takes a raw transaction into the pool; answers its hash.
pub(crate) fn submit(
    db: &Connection,
    now: i64,
    mining_ms: i64,
    raw: &[u8],
) -> Result<String, RpcError> {
    let Signed { tx, hash, sender, .. } = decode(raw)?;
    let known: Option<Option<i64>> = db
        .prepare_cached("SELECT block FROM chain_transactions WHERE hash = ?1")?
        .query_row([&hash], |row| row.get(0))
        .optional()?;
    if known == Some(None) {
        return Err(RpcError::server("already known"));
    }
    let state = account(db, sender)?;
    check(&tx, &state)?;
    let next = next_nonce(db, sender)?;
    let replaced = replace(db, sender, &tx)?;
    let mine_at = (tx.nonce <= next).then_some(now + mining_ms);
    db.prepare_cached(
        "INSERT INTO chain_transactions (hash, sender, nonce, raw, mine_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![hash, sender.to_string(), signed(tx.nonce), raw, mine_at])?;
    if let Some(at) = mine_at {
        if replaced {
            delay(db, sender, tx.nonce, at)?;
        } else {
            schedule(db, sender, tx.nonce, at)?;
        }
    }
    Ok(hash)
}

/// What a node checks before it takes a transaction.
fn check(tx: &TxEip1559, state: &Account) -> Result<(), RpcError> {
    if tx.chain_id != CHAIN_ID {
        let message = format!("invalid chain id for signer: have {} want {CHAIN_ID}", tx.chain_id);
        return Err(RpcError::server(message));
    }
    if tx.nonce < state.nonce {
        let message = format!("nonce too low: next nonce {}, tx nonce {}", state.nonce, tx.nonce);
        return Err(RpcError::server(message));
    }
    if tx.max_priority_fee_per_gas > tx.max_fee_per_gas {
        return Err(RpcError::server("max priority fee per gas higher than max fee per gas"));
    }
    if tx.max_fee_per_gas < BASE_FEE_WEI {
        let message = format!(
            "max fee per gas less than block base fee: maxFeePerGas: {}, baseFee: {BASE_FEE_WEI}",
            tx.max_fee_per_gas
        );
        return Err(RpcError::server(message));
    }
    if tx.gas_limit < PLAIN_GAS {
        let message =
            format!("intrinsic gas too low: gas {}, minimum needed {PLAIN_GAS}", tx.gas_limit);
        return Err(RpcError::server(message));
    }
    let cost = cost_max(tx);
    if state.wei < cost {
        let message = format!(
            "insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot {}",
            state.wei,
            cost.saturating_sub(state.wei)
        );
        return Err(RpcError::server(message));
    }
    Ok(())
}

fn cost_max(tx: &TxEip1559) -> U256 {
    U256::from(tx.gas_limit).saturating_mul(U256::from(tx.max_fee_per_gas)).saturating_add(tx.value)
}

/// Takes a waiting transaction of the same nonce out, where the new one pays a tenth more.
fn replace(db: &Connection, sender: Address, tx: &TxEip1559) -> Result<bool, RpcError> {
    let waiting: Option<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT seq, raw FROM chain_transactions
             WHERE sender = ?1 AND nonce = ?2 AND block IS NULL",
        )?
        .query_row(params![sender.to_string(), signed(tx.nonce)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((seq, raw)) = waiting else { return Ok(false) };
    let old = decode(&raw)?.tx;
    let enough = |new: u128, old: u128| new >= old.saturating_add(old.div_ceil(10));
    if !enough(tx.max_fee_per_gas, old.max_fee_per_gas)
        || !enough(tx.max_priority_fee_per_gas, old.max_priority_fee_per_gas)
    {
        return Err(RpcError::server("replacement transaction underpriced"));
    }
    db.execute("DELETE FROM chain_transactions WHERE seq = ?1", [seq])?;
    Ok(true)
}

/// The nonce after the sender's mined and waiting transactions, without gaps.
pub(crate) fn next_nonce(db: &Connection, sender: Address) -> rusqlite::Result<u64> {
    let mined = account(db, sender)?.nonce;
    let waiting: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM chain_transactions
             WHERE sender = ?1 AND block IS NULL AND mine_at IS NOT NULL",
        )?
        .query_row([sender.to_string()], |row| row.get(0))?;
    Ok(mined + unsigned(waiting))
}

/// Gives the transactions that waited for `nonce` their time.
fn schedule(db: &Connection, sender: Address, nonce: u64, at: i64) -> rusqlite::Result<()> {
    let mut next = nonce + 1;
    while db
        .prepare_cached(
            "UPDATE chain_transactions SET mine_at = ?3
             WHERE sender = ?1 AND nonce = ?2 AND block IS NULL AND mine_at IS NULL",
        )?
        .execute(params![sender.to_string(), signed(next), at])?
        > 0
    {
        next += 1;
    }
    Ok(())
}

/// Keeps the transactions behind `nonce` behind it.
fn delay(db: &Connection, sender: Address, nonce: u64, at: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE chain_transactions SET mine_at = max(mine_at, ?3)
         WHERE sender = ?1 AND nonce > ?2 AND block IS NULL AND mine_at IS NOT NULL",
    )?
    .execute(params![sender.to_string(), signed(nonce), at])?;
    Ok(())
}

/// Mines what is due at `now`, in the order of its time; answers the USDC that moved.
pub(crate) fn mine(db: &Connection, now: i64) -> rusqlite::Result<Vec<Transfer>> {
    let mut moved = Vec::new();
    loop {
        let due: Option<(i64, Vec<u8>, i64)> = db
            .prepare_cached(
                "SELECT seq, raw, mine_at FROM chain_transactions
                 WHERE block IS NULL AND mine_at <= ?1 ORDER BY mine_at, nonce, seq LIMIT 1",
            )?
            .query_row([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((seq, raw, at)) = due else { return Ok(moved) };
        let Ok(transaction) = decode(&raw) else {
            db.execute("DELETE FROM chain_transactions WHERE seq = ?1", [seq])?;
            continue;
        };
        moved.extend(include(db, seq, &transaction, at)?);
    }
}

/// Puts one transaction into a block of its own.
fn include(
    db: &Connection,
    seq: i64,
    transaction: &Signed,
    at: i64,
) -> rusqlite::Result<Option<Transfer>> {
    let Signed { tx, hash, sender, .. } = transaction;
    let mut payer = account(db, *sender)?;
    if payer.wei < cost_max(tx) {
        // The ether went elsewhere meanwhile: dropped, and what follows waits for its nonce.
        db.execute("DELETE FROM chain_transactions WHERE seq = ?1", [seq])?;
        db.prepare_cached(
            "UPDATE chain_transactions SET mine_at = NULL WHERE sender = ?1 AND block IS NULL",
        )?
        .execute([sender.to_string()])?;
        return Ok(None);
    }
    let needed = gas_needed(tx.to(), tx.input.is_empty());
    let gas_used = needed.min(tx.gas_limit);
    payer.wei -= U256::from(gas_used) * U256::from(effective_price(tx));
    // A platform may have sent from this wallet meanwhile.
    payer.nonce = payer.nonce.max(tx.nonce + 1);
    put_account(db, *sender, &payer)?;
    let outcome = if gas_used < needed {
        Err(Failure::Revert("out of gas"))
    } else {
        execute(db, *sender, tx.kind(), tx.value, &tx.input, unsigned(at / 1_000))
    };
    let block = chain::next_block(db, at)?;
    let (status, effects) = match outcome {
        Ok(effects) => (1, effects),
        Err(Failure::Revert(_)) => (0, Effects::default()),
        Err(Failure::Sqlite(error)) => return Err(error),
    };
    db.prepare_cached(
        "UPDATE chain_transactions SET block = ?2, status = ?3, gas_used = ?4, mine_at = ?5
         WHERE seq = ?1",
    )?
    .execute(params![seq, block, status, signed(gas_used), at])?;
    logs::write(db, block, hash, &effects.logs)?;
    Ok(effects.moved.map(|(from, to, amount)| Transfer {
        from,
        to,
        amount,
        transaction: hash.clone(),
        at_ms: at,
    }))
}

/// Carries out a call or a plain payment of ether.
pub(crate) fn execute(
    db: &Connection,
    sender: Address,
    kind: TxKind,
    value: U256,
    input: &[u8],
    now_s: u64,
) -> Result<Effects, Failure> {
    let TxKind::Call(to) = kind else {
        return Err(Failure::Revert("contracts cannot be created here"));
    };
    if [USDC, ESCROW].contains(&to) {
        if !value.is_zero() {
            return Err(Failure::Revert(""));
        }
        let contract = if to == USDC { token::call } else { escrow::call };
        return contract(db, sender, input, now_s);
    }
    if !chain::shift_wei(db, sender, to, value)? {
        return Err(Failure::Revert("insufficient balance for transfer"));
    }
    Ok(Effects::default())
}

/// The gas that a transaction to `to` takes.
pub(crate) fn gas_needed(to: Option<Address>, plain: bool) -> u64 {
    if to == Some(USDC) || to == Some(ESCROW) || !plain { TOKEN_GAS } else { PLAIN_GAS }
}

/// The price of its gas, in wei.
pub(crate) fn effective_price(tx: &TxEip1559) -> u128 {
    tx.max_fee_per_gas.min(BASE_FEE_WEI.saturating_add(tx.max_priority_fee_per_gas))
}
