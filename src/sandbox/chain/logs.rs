//! Logs: written when a transaction is mined, read by filter and by receipt.

use alloy_primitives::{Address, B256, Bytes, Log, LogData};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use crate::sandbox::chain::{rpc::RpcError, unsigned, views::block_hash};

/// The most blocks one filter may cover.
const BLOCKS_MAX: i64 = 100_000;

/// A log and where it stands.
#[derive(Debug)]
pub(crate) struct Placed {
    block: i64,
    index: i64,
    transaction: String,
    /// The log.
    pub(crate) log: Log,
}

/// Writes the logs of a transaction.
pub(crate) fn write(
    db: &Connection,
    block: i64,
    transaction: &str,
    logs: &[Log],
) -> rusqlite::Result<()> {
    for (index, log) in (0_i64..).zip(logs) {
        let topics: Vec<String> = log.topics().iter().map(B256::to_string).collect();
        db.prepare_cached(
            "INSERT INTO chain_logs (block, log_index, tx_hash, address, topics, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            block,
            index,
            transaction,
            log.address.to_string(),
            topics.join(","),
            log.data.data.as_ref(),
        ])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Placed> {
    let (address, topics): (String, String) = (row.get(3)?, row.get(4)?);
    let data: Vec<u8> = row.get(5)?;
    let topics = topics.split(',').filter_map(|topic| topic.parse().ok()).collect();
    let log = Log {
        address: address.parse().unwrap_or_default(),
        data: LogData::new_unchecked(topics, Bytes::from(data)),
    };
    Ok(Placed { block: row.get(0)?, index: row.get(1)?, transaction: row.get(2)?, log })
}

/// The logs of one transaction.
pub(crate) fn of_transaction(db: &Connection, hash: &str) -> rusqlite::Result<Vec<Placed>> {
    db.prepare_cached(
        "SELECT block, log_index, tx_hash, address, topics, data FROM chain_logs
         WHERE tx_hash = ?1 ORDER BY log_index",
    )?
    .query_map([hash], read)?
    .collect()
}

/// The logs of a contract in the blocks after this one, each with its time in milliseconds.
pub(crate) fn after(
    db: &Connection,
    contract: Address,
    block: i64,
) -> rusqlite::Result<Vec<(i64, LogData)>> {
    db.prepare_cached(
        "SELECT l.block, l.log_index, l.tx_hash, l.address, l.topics, l.data, t.mine_at
         FROM chain_logs l JOIN chain_transactions t ON t.hash = l.tx_hash
         WHERE l.block > ?1 AND l.address = ?2 ORDER BY l.block, l.log_index",
    )?
    .query_map(params![block, contract.to_string()], |row| Ok((row.get(6)?, read(row)?.log.data)))?
    .collect()
}

/// A log as JSON-RPC shows it.
pub(crate) fn show(placed: &Placed) -> Value {
    json!({
        "address": placed.log.address.to_string().to_lowercase(),
        "topics": placed.log.topics(),
        "data": placed.log.data.data,
        "blockNumber": format!("{:#x}", unsigned(placed.block)),
        "blockHash": block_hash(placed.block),
        "transactionHash": placed.transaction,
        "transactionIndex": "0x0",
        "logIndex": format!("{:#x}", unsigned(placed.index)),
        "removed": false,
    })
}

/// `eth_getLogs`.
pub(crate) fn find(db: &Connection, filter: &Value, latest: i64) -> Result<Value, RpcError> {
    let bound = |name: &str| block_bound(filter.get(name), latest);
    let (from, to) = (bound("fromBlock")?, bound("toBlock")?);
    if from > to {
        return Err(RpcError::params("invalid block range"));
    }
    if to - from > BLOCKS_MAX {
        return Err(RpcError::params(format!("the range has more than {BLOCKS_MAX} blocks")));
    }
    let hash = filter.get("blockHash").and_then(Value::as_str);
    let addresses: Option<Vec<Address>> = one_or_many(filter.get("address"), "address")?;
    let topics: Vec<Option<Vec<B256>>> = match filter.get("topics") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(topics)) => topics
            .iter()
            .map(|topic| one_or_many(Some(topic), "topics"))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(RpcError::params("topics must be an array")),
    };
    let mut statement = db.prepare_cached(
        "SELECT block, log_index, tx_hash, address, topics, data FROM chain_logs
         WHERE ?3 OR block BETWEEN ?1 AND ?2 ORDER BY block, log_index",
    )?;
    let found = statement
        .query_map(params![from, to, hash.is_some()], read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let fits = |placed: &&Placed| {
        let address = addresses.as_ref().is_none_or(|all| all.contains(&placed.log.address));
        let block = hash.is_none_or(|hash| block_hash(placed.block).eq_ignore_ascii_case(hash));
        let topics = (0..).zip(&topics).all(|(position, wanted): (usize, _)| {
            let topic = placed.log.topics().get(position);
            match wanted {
                None => topic.is_some(),
                Some(any) => topic.is_some_and(|topic| any.contains(topic)),
            }
        });
        address && block && topics
    };
    Ok(found.iter().filter(fits).map(show).collect())
}

/// A member that is absent, one value, or several of which any will do.
fn one_or_many<T: std::str::FromStr>(
    value: Option<&Value>,
    name: &str,
) -> Result<Option<Vec<T>>, RpcError> {
    let wrong = || RpcError::params(format!("{name} cannot be read"));
    let one = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) if values.is_empty() => Ok(None),
        Some(Value::Array(values)) => values.iter().map(one).collect::<Result<_, _>>().map(Some),
        Some(value) => Ok(Some(vec![one(value)?])),
    }
}

fn block_bound(value: Option<&Value>, latest: i64) -> Result<i64, RpcError> {
    match value.map(Value::as_str) {
        None | Some(Some("latest" | "pending" | "safe" | "finalized")) => Ok(latest),
        Some(Some("earliest")) => Ok(latest.saturating_sub(BLOCKS_MAX)),
        Some(Some(text)) => text
            .strip_prefix("0x")
            .and_then(|hex| i64::from_str_radix(hex, 16).ok())
            .ok_or_else(|| RpcError::params("a block number cannot be read")),
        Some(None) if value.is_some_and(Value::is_null) => Ok(latest),
        Some(None) => Err(RpcError::params("a block number must be text")),
    }
}
