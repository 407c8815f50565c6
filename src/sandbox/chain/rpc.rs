//! JSON-RPC 2.0, single and batch: `POST /chain`.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::{Revert, SolError};
use axum::{
    Json, body,
    extract::State,
    response::IntoResponse,
    routing::{MethodRouter, post},
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{
    chain::{
        self, BASE_FEE_WEI, CHAIN_ID, ESCROW, TIP_WEI, USDC, account, block_number, logs,
        token::{Effects, Failure},
        transactions, unsigned, views,
    },
    world::World,
};

/// The most calls in one batch.
const BATCH_MAX: usize = 100;
/// The most blocks of one fee history.
const HISTORY_MAX: u64 = 1_024;

/// An error of the protocol.
#[derive(Debug)]
pub(crate) struct RpcError {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    /// The node's refusal.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self { code: -32_000, message: message.into(), data: None }
    }

    /// Parameters that cannot be read.
    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self { code: -32_602, message: message.into(), data: None }
    }

    fn reverted(reason: &str) -> Self {
        if reason.is_empty() {
            let message = "execution reverted".to_owned();
            return Self { code: 3, message, data: Some(json!("0x")) };
        }
        let data = Bytes::from(Revert::from(reason).abi_encode());
        let message = format!("execution reverted: {reason}");
        Self { code: 3, message, data: Some(json!(data)) }
    }
}

impl From<rusqlite::Error> for RpcError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's store failed");
        Self { code: -32_603, message: "internal error".to_owned(), data: None }
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Revert(reason) => Self::reverted(reason),
            Failure::Sqlite(error) => error.into(),
        }
    }
}

/// The route.
pub(crate) fn route() -> MethodRouter<Arc<World>> {
    post(handle)
}

async fn handle(State(world): State<Arc<World>>, body: body::Bytes) -> axum::response::Response {
    let answer = match serde_json::from_slice::<Value>(&body) {
        Err(_) => failed(&Value::Null, -32_700, "parse error"),
        Ok(Value::Array(calls)) if calls.is_empty() || calls.len() > BATCH_MAX => {
            failed(&Value::Null, -32_600, "invalid request: an empty or too large batch")
        }
        Ok(Value::Array(calls)) => calls.iter().filter_map(|call| answer(&world, call)).collect(),
        Ok(call) => match answer(&world, &call) {
            Some(answer) => answer,
            None => return axum::http::StatusCode::NO_CONTENT.into_response(),
        },
    };
    Json(answer).into_response()
}

/// The method names that a body calls, for faults.
pub(crate) fn methods(body: &[u8]) -> Vec<String> {
    let name = |call: &Value| call.get("method").and_then(Value::as_str).map(str::to_owned);
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(calls)) => calls.iter().filter_map(name).collect(),
        Ok(call) => name(&call).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

fn failed(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// The answer to one call; a notification has none.
fn answer(world: &World, call: &Value) -> Option<Value> {
    let Some(method) = call
        .get("method")
        .and_then(Value::as_str)
        .filter(|_| call.get("jsonrpc").and_then(Value::as_str) == Some("2.0"))
    else {
        return Some(failed(&Value::Null, -32_600, "invalid request"));
    };
    let id = call.get("id");
    let none = Vec::new();
    let params = match call.get("params") {
        None => &none,
        Some(Value::Array(params)) => params,
        Some(_) => return Some(failed(id?, -32_602, "params must be an array")),
    };
    let result = world.transact(|db, now| Call { world, db, now, params }.run(method));
    let id = id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(RpcError { code, message, data }) => {
            let mut answer = failed(id, code, &message);
            if let (Some(data), Some(error)) = (data, answer.get_mut("error")) {
                *error = json!({ "code": code, "message": message, "data": data });
            }
            answer
        }
    })
}

/// One call being answered.
struct Call<'a> {
    world: &'a World,
    db: &'a Connection,
    now: i64,
    params: &'a [Value],
}

impl Call<'_> {
    fn run(&self, method: &str) -> Result<Value, RpcError> {
        let (db, now) = (self.db, self.now);
        match method {
            "eth_chainId" => Ok(hex(CHAIN_ID)),
            "net_version" => Ok(json!(CHAIN_ID.to_string())),
            "web3_clientVersion" => Ok(json!("haggle-sandbox")),
            "eth_blockNumber" => Ok(hex(unsigned(block_number(db, now)?))),
            "eth_gasPrice" => Ok(hex(BASE_FEE_WEI + TIP_WEI)),
            "eth_maxPriorityFeePerGas" => Ok(hex(TIP_WEI)),
            "eth_feeHistory" => self.fee_history(),
            "eth_getBalance" => Ok(hex(account(db, self.address(0)?)?.wei)),
            "eth_getCode" => {
                let address = self.address(0)?;
                Ok(json!(if [USDC, ESCROW].contains(&address) { "0x60806040" } else { "0x" }))
            }
            "eth_getTransactionCount" => {
                let address = self.address(0)?;
                let pending = self.params.get(1).and_then(Value::as_str) == Some("pending");
                Ok(hex(if pending {
                    transactions::next_nonce(db, address)?
                } else {
                    account(db, address)?.nonce
                }))
            }
            "eth_call" => Ok(json!(Bytes::from(self.simulate()?.output))),
            "eth_estimateGas" => {
                self.simulate()?;
                let request = self.request()?;
                Ok(hex(transactions::gas_needed(request.to, request.input.is_empty())))
            }
            "eth_sendRawTransaction" => {
                let raw: Bytes = self.parse(0, "the raw transaction")?;
                let mining_ms = self.world.mining_ms();
                transactions::submit(db, now, mining_ms, &raw).map(Value::from)
            }
            "eth_getTransactionReceipt" => Ok(views::receipt(db, self.hash()?)?),
            "eth_getTransactionByHash" => Ok(views::transaction(db, self.hash()?)?),
            "eth_getBlockByNumber" => Ok(views::block(db, self.block()?, now)?),
            "eth_getLogs" => {
                let filter = self.params.first().filter(|filter| filter.is_object());
                let filter = filter.ok_or_else(|| RpcError::params("a filter is missing"))?;
                logs::find(db, filter, block_number(db, now)?)
            }
            _ => Err(RpcError {
                code: -32_601,
                message: format!("the method {method} does not exist/is not available"),
                data: None,
            }),
        }
    }

    fn text(&self, position: usize, what: &str) -> Result<&str, RpcError> {
        self.params
            .get(position)
            .and_then(Value::as_str)
            .ok_or_else(|| RpcError::params(format!("missing value for required argument: {what}")))
    }

    fn parse<T: std::str::FromStr>(&self, position: usize, what: &str) -> Result<T, RpcError> {
        let text = self.text(position, what)?;
        text.parse().map_err(|_| RpcError::params(format!("{what} cannot be read")))
    }

    fn address(&self, position: usize) -> Result<Address, RpcError> {
        self.parse(position, "the address")
    }

    fn hash(&self) -> Result<&str, RpcError> {
        let _: alloy_primitives::B256 = self.parse(0, "the transaction hash")?;
        self.text(0, "the transaction hash")
    }

    fn block(&self) -> Result<i64, RpcError> {
        let text = self.text(0, "the block number")?;
        let number = match text {
            "latest" | "pending" | "safe" | "finalized" => block_number(self.db, self.now)?,
            "earliest" => chain::FIRST_BLOCK,
            text => text
                .strip_prefix("0x")
                .and_then(|hex| i64::from_str_radix(hex, 16).ok())
                .ok_or_else(|| RpcError::params("the block number cannot be read"))?,
        };
        Ok(number)
    }

    fn request(&self) -> Result<Request, RpcError> {
        let call = self
            .params
            .first()
            .filter(|call| call.is_object())
            .ok_or_else(|| RpcError::params("missing value for required argument: the call"))?;
        let input = member::<Bytes>(call, "input")?.or(member(call, "data")?);
        Ok(Request {
            from: member(call, "from")?.unwrap_or_default(),
            to: member(call, "to")?,
            value: member(call, "value")?.unwrap_or_default(),
            input: input.unwrap_or_default(),
        })
    }

    /// Runs a call and takes its effects back.
    fn simulate(&self) -> Result<Effects, RpcError> {
        let request = self.request()?;
        let kind = request.to.map_or(TxKind::Create, TxKind::Call);
        self.db.execute_batch("SAVEPOINT simulation")?;
        let outcome = transactions::execute(
            self.db,
            request.from,
            kind,
            request.value,
            &request.input,
            unsigned(self.now / 1_000),
        );
        self.db.execute_batch("ROLLBACK TO simulation; RELEASE simulation")?;
        Ok(outcome?)
    }

    fn fee_history(&self) -> Result<Value, RpcError> {
        let count = match self.params.first() {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => {
                text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        let count = count.ok_or_else(|| RpcError::params("the block count cannot be read"))?;
        let count = count.clamp(1, HISTORY_MAX);
        let percentiles = self.params.get(2).and_then(Value::as_array).map_or(0, Vec::len);
        let newest = unsigned(block_number(self.db, self.now)?);
        let rewards = vec![vec![hex(TIP_WEI); percentiles]; usize::try_from(count).unwrap_or(1)];
        let fees = vec![hex(BASE_FEE_WEI); usize::try_from(count).unwrap_or(1) + 1];
        let ratios = vec![json!(0); usize::try_from(count).unwrap_or(1)];
        let mut history = json!({
            "oldestBlock": hex(newest.saturating_sub(count - 1)),
            "baseFeePerGas": fees,
            "gasUsedRatio": ratios,
        });
        if let (true, Some(history)) = (percentiles > 0, history.as_object_mut()) {
            history.insert("reward".to_owned(), json!(rewards));
        }
        Ok(history)
    }
}

/// The call object of `eth_call` and `eth_estimateGas`.
struct Request {
    from: Address,
    to: Option<Address>,
    value: U256,
    input: Bytes,
}

fn member<T: std::str::FromStr>(call: &Value, name: &str) -> Result<Option<T>, RpcError> {
    match call.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| RpcError::params(format!("{name} cannot be read"))),
    }
}

fn hex(number: impl std::fmt::LowerHex) -> Value {
    Value::from(format!("{number:#x}"))
}
