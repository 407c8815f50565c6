//! Transactions, receipts and blocks as JSON-RPC shows them.

use alloy_consensus::Transaction as _;
use alloy_primitives::{keccak256, logs_bloom};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::sandbox::chain::{
    self, BASE_FEE_WEI, BLOCK_MS, CHAIN_ID, FIRST_BLOCK, logs,
    transactions::{decode, effective_price},
    unsigned,
};

struct Found {
    raw: Vec<u8>,
    block: Option<i64>,
    status: Option<i64>,
    gas_used: Option<i64>,
}

fn find(db: &Connection, hash: &str) -> rusqlite::Result<Option<Found>> {
    db.prepare_cached(
        "SELECT raw, block, status, gas_used FROM chain_transactions WHERE hash = ?1",
    )?
    .query_row([hash.to_lowercase()], |row| {
        Ok(Found {
            raw: row.get(0)?,
            block: row.get(1)?,
            status: row.get(2)?,
            gas_used: row.get(3)?,
        })
    })
    .optional()
}

/// `eth_getTransactionReceipt`: null until the transaction is mined.
pub(crate) fn receipt(db: &Connection, hash: &str) -> rusqlite::Result<Value> {
    let Some(found) = find(db, hash)? else { return Ok(Value::Null) };
    let (Some(block), Ok(transaction)) = (found.block, decode(&found.raw)) else {
        return Ok(Value::Null);
    };
    let placed = logs::of_transaction(db, &transaction.hash)?;
    let gas_used = format!("{:#x}", unsigned(found.gas_used.unwrap_or_default()));
    Ok(json!({
        "transactionHash": transaction.hash,
        "transactionIndex": "0x0",
        "blockHash": block_hash(block),
        "blockNumber": format!("{:#x}", unsigned(block)),
        "from": transaction.sender.to_string().to_lowercase(),
        "to": transaction.tx.to().map(|to| to.to_string().to_lowercase()),
        "cumulativeGasUsed": gas_used,
        "gasUsed": gas_used,
        "contractAddress": null,
        "logs": placed.iter().map(logs::show).collect::<Vec<_>>(),
        "logsBloom": logs_bloom(placed.iter().map(|placed| &placed.log)),
        "type": "0x2",
        "effectiveGasPrice": format!("{:#x}", effective_price(&transaction.tx)),
        "status": format!("{:#x}", unsigned(found.status.unwrap_or_default())),
    }))
}

/// `eth_getTransactionByHash`: null where it is not known.
pub(crate) fn transaction(db: &Connection, hash: &str) -> rusqlite::Result<Value> {
    let Some(found) = find(db, hash)? else { return Ok(Value::Null) };
    let Ok(transaction) = decode(&found.raw) else { return Ok(Value::Null) };
    let tx = &transaction.tx;
    let (parity, r, s) = transaction.signature;
    let parity = format!("{:#x}", u8::from(parity));
    Ok(json!({
        "hash": transaction.hash,
        "type": "0x2",
        "chainId": format!("{CHAIN_ID:#x}"),
        "nonce": format!("{:#x}", tx.nonce),
        "from": transaction.sender.to_string().to_lowercase(),
        "to": tx.to().map(|to| to.to_string().to_lowercase()),
        "value": format!("{:#x}", tx.value),
        "input": tx.input,
        "gas": format!("{:#x}", tx.gas_limit),
        "gasPrice": format!("{:#x}", effective_price(tx)),
        "maxFeePerGas": format!("{:#x}", tx.max_fee_per_gas),
        "maxPriorityFeePerGas": format!("{:#x}", tx.max_priority_fee_per_gas),
        "accessList": [],
        "blockHash": found.block.map(block_hash),
        "blockNumber": found.block.map(|block| format!("{:#x}", unsigned(block))),
        "transactionIndex": found.block.map(|_| "0x0"),
        "v": parity,
        "yParity": parity,
        "r": format!("{r:#x}"),
        "s": format!("{s:#x}"),
    }))
}

/// `eth_getBlockByNumber`: null for a block to come.
pub(crate) fn block(db: &Connection, number: i64, now: i64) -> rusqlite::Result<Value> {
    if number < FIRST_BLOCK || number > chain::block_number(db, now)? {
        return Ok(Value::Null);
    }
    let mined: Option<(String, i64)> = db
        .prepare_cached("SELECT hash, mine_at FROM chain_transactions WHERE block = ?1")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let guess = chain::genesis(db)?.saturating_add((number - FIRST_BLOCK) * BLOCK_MS).min(now);
    let at = mined.as_ref().map_or(guess, |(_, at)| *at);
    let hashes: Vec<&String> = mined.iter().map(|(hash, _)| hash).collect();
    Ok(json!({
        "number": format!("{:#x}", unsigned(number)),
        "hash": block_hash(number),
        "parentHash": block_hash(number - 1),
        "timestamp": format!("{:#x}", unsigned(at / 1_000)),
        "baseFeePerGas": format!("{BASE_FEE_WEI:#x}"),
        "gasLimit": "0x3938700",
        "gasUsed": "0x0",
        "miner": "0x4200000000000000000000000000000000000011",
        "extraData": "0x",
        "transactions": hashes,
    }))
}

/// The hash that the block of this number has.
pub(crate) fn block_hash(number: i64) -> String {
    keccak256(format!("haggle-sandbox/block/{number}")).to_string()
}
