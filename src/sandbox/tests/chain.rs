//! The chain behind JSON-RPC.

use alloy_primitives::{Address, B256, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolStruct};
use serde_json::{Value, json};

use super::World;
use crate::sandbox::chain::{
    calls::{Permit, TransferWithAuthorization, Usdc},
    token::domain,
};

const STRANGER: &str = "0x00000000000000000000000000000000000000Aa";

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_transfer_is_mined_when_it_is_due() {
    let world = World::start().await;
    let raw = world.transfer(0, STRANGER, 2_500_000);
    let before = world.rpc("eth_blockNumber", json!([])).await.unwrap();
    let hash = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
    let again = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap_err();
    assert_eq!(message(&again), "already known");
    assert_eq!(again["code"], -32_000);
    let wallet = &world.info.crochet.buyer.wallet;
    let counts = ["latest", "pending"].map(|tag| json!([wallet, tag]));
    let [latest, pending] = counts.map(|count| world.rpc("eth_getTransactionCount", count));
    assert_eq!((latest.await.unwrap(), pending.await.unwrap()), (json!("0x0"), json!("0x1")));
    assert_eq!(world.rpc("eth_getTransactionReceipt", json!([hash])).await, Ok(Value::Null));
    let waiting = world.rpc("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!(waiting["blockNumber"], Value::Null);
    world.pass(299);
    assert_eq!(world.rpc("eth_getTransactionReceipt", json!([hash])).await, Ok(Value::Null));

    world.pass(1);
    let receipt = world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["from"], wallet.to_lowercase());
    let log = &receipt["logs"][0];
    let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    assert_eq!(log["topics"][0], transfer);
    assert_eq!(
        log["topics"][2],
        "0x00000000000000000000000000000000000000000000000000000000000000aa"
    );
    assert_eq!(
        log["data"].as_str().unwrap().trim_start_matches("0x0"),
        format!("{:0>63}", "2625a0")
    );
    assert_eq!(log["transactionHash"], hash);
    assert!(receipt["blockNumber"].as_str() > before.as_str());
    let spent = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap_err();
    assert_eq!(message(&spent), "nonce too low: next nonce 1, tx nonce 0");
    assert_eq!(world.usdc_of(STRANGER).await, 2_500_000);

    // Ether went for gas: 65,000 at base fee and tip.
    let wei = world.rpc("eth_getBalance", json!([wallet, "latest"])).await.unwrap();
    let wei: U256 = wei.as_str().unwrap().parse().unwrap();
    assert_eq!(wei, U256::from(10_u64.pow(18) - 65_000 * 2_000_000));

    let filter = |topics: Value| {
        json!([{ "fromBlock": before, "toBlock": "latest", "address": world.info.chain.usdc,
            "topics": topics }])
    };
    let found = world.rpc("eth_getLogs", filter(json!([transfer, null, log["topics"][2]]))).await;
    assert_eq!(found.unwrap().as_array().unwrap().len(), 1);
    let none = world.rpc("eth_getLogs", filter(json!([transfer, log["topics"][2]]))).await;
    assert_eq!(none, Ok(json!([])));
    let old = json!([{ "fromBlock": "0x0", "toBlock": "0x1" }]);
    assert_eq!(world.rpc("eth_getLogs", old).await, Ok(json!([])));

    let mined = u64::from_str_radix(&receipt["blockNumber"].as_str().unwrap()[2..], 16).unwrap();
    world.pass(20_000);
    let now = world.rpc("eth_blockNumber", json!([])).await.unwrap();
    let now = u64::from_str_radix(&now.as_str().unwrap()[2..], 16).unwrap();
    assert_eq!(now, mined + 10);
    let block = world.rpc("eth_getBlockByNumber", json!([receipt["blockNumber"], false])).await;
    assert_eq!(block.unwrap()["transactions"], json!([hash]));
}

/// A change to a transaction.
type Change = fn(&mut alloy_consensus::TxEip1559);

#[tokio::test]
async fn a_node_refuses_what_cannot_run() {
    let world = World::start().await;
    let usdc: Address = world.info.chain.usdc.parse().unwrap();
    let ether = U256::from(10_u64.pow(18));
    let dear: Change = |tx| tx.value = U256::from(10_u64.pow(18));
    let cheap: Change = |tx| (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (9, 1);
    let short = format!(
        "insufficient funds for gas * price + value: balance {ether}, tx cost {}, overshot {}",
        ether + U256::from(1_000_000_000_000_u64),
        1_000_000_000_000_u64
    );
    let cap = "max fee per gas less than block base fee: maxFeePerGas: 9, baseFee: 1000000";
    let tip = "max priority fee per gas higher than max fee per gas";
    let chain = "invalid chain id for signer: have 8453 want 84532";
    let gas = "intrinsic gas too low: gas 20999, minimum needed 21000";
    let rows: [(Change, &str); 5] = [
        (|tx| tx.chain_id = 8_453, chain),
        (|tx| tx.max_fee_per_gas = 999_999, tip),
        (cheap, cap),
        (|tx| tx.gas_limit = 20_999, gas),
        (dear, &short),
    ];
    for (change, expected) in rows {
        let raw = world.raw(0, usdc, Vec::new(), change);
        let error = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap_err();
        assert_eq!(message(&error), expected);
    }
    let broken = world.rpc("eth_sendRawTransaction", json!(["0x02ff"])).await.unwrap_err();
    assert!(message(&broken).starts_with("rlp"));
    let mut raw = world.transfer(0, STRANGER, 1);
    raw.push_str("00");
    let trailing = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap_err();
    assert!(message(&trailing).starts_with("rlp"));
}

#[tokio::test]
async fn early_nonces_wait_and_dearer_ones_replace() {
    let world = World::start().await;
    let second = world.transfer(1, STRANGER, 2);
    let second = world.rpc("eth_sendRawTransaction", json!([second])).await.unwrap();
    world.pass(1_000);
    assert_eq!(world.rpc("eth_getTransactionReceipt", json!([second])).await, Ok(Value::Null));
    let cheap = world.transfer(0, STRANGER, 5);
    let cheap = world.rpc("eth_sendRawTransaction", json!([cheap])).await.unwrap();
    let same_price = world.transfer(0, STRANGER, 6);
    let error = world.rpc("eth_sendRawTransaction", json!([same_price])).await.unwrap_err();
    assert_eq!(message(&error), "replacement transaction underpriced");
    world.pass(200);
    let call = Usdc::transferCall { to: STRANGER.parse().unwrap(), value: U256::from(1) };
    let usdc = world.info.chain.usdc.parse().unwrap();
    let dear = world.raw(0, usdc, call.abi_encode(), |tx| {
        tx.max_fee_per_gas = 11_000_000;
        tx.max_priority_fee_per_gas = 1_100_000;
    });
    world.rpc("eth_sendRawTransaction", json!([dear])).await.unwrap();
    // The second one must stay behind the first, though it was due before.
    world.pass(100);
    assert_eq!(world.usdc_of(STRANGER).await, 0);
    world.pass(200);
    assert_eq!(world.usdc_of(STRANGER).await, 3);
    assert_eq!(world.rpc("eth_getTransactionByHash", json!([cheap])).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_transfer_beyond_the_balance_fails_on_chain() {
    let world = World::start().await;
    let hash = world.pay_micros(STRANGER, 1_000_000_001).await;
    world.pass(300);
    let receipt = world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["logs"], json!([]));
    assert_eq!(world.usdc_of(STRANGER).await, 0);
    assert!(world.truth("transfer").await.is_empty());
    let wallet = &world.info.crochet.buyer.wallet;
    let call =
        Usdc::transferCall { to: STRANGER.parse().unwrap(), value: U256::from(1_000_000_001_u64) };
    let data = format!("0x{}", hex::encode(call.abi_encode()));
    let request = json!([{ "from": wallet, "to": world.info.chain.usdc, "data": data }]);
    for method in ["eth_estimateGas", "eth_call"] {
        let error = world.rpc(method, request.clone()).await.unwrap_err();
        assert_eq!(error["code"], 3);
        assert!(message(&error).contains("exceeds balance"), "{error}");
        assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"));
    }
}

#[tokio::test]
async fn ether_moves() {
    let world = World::start().await;
    let raw = world.raw(0, STRANGER.parse().unwrap(), Vec::new(), |tx| tx.value = U256::from(7));
    world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
    world.pass(300);
    assert_eq!(world.rpc("eth_getBalance", json!([STRANGER])).await, Ok(json!("0x7")));
}

fn split(signer: &PrivateKeySigner, terms: &impl SolStruct) -> (u8, B256, B256) {
    let signature = signer.sign_hash_sync(&terms.eip712_signing_hash(&domain())).unwrap();
    (27 + u8::from(signature.v()), signature.r().into(), signature.s().into())
}

async fn run(world: &World, nonce: u64, input: Vec<u8>) -> Value {
    let raw = world.raw(nonce, world.info.chain.usdc.parse().unwrap(), input, |_| ());
    let hash = world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
    world.pass(300);
    world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap()["status"].clone()
}

async fn view(world: &World, input: Vec<u8>) -> String {
    let data = format!("0x{}", hex::encode(input));
    let request = json!([{ "to": world.info.chain.usdc, "data": data }, "latest"]);
    world.rpc("eth_call", request).await.unwrap().as_str().unwrap()[2..].to_owned()
}

#[tokio::test]
async fn an_authorization_is_used_once_and_by_its_signer() {
    let world = World::start().await;
    let holder = world.buyer();
    let now = super::START_MS / 1_000;
    let terms = TransferWithAuthorization {
        from: holder.address(),
        to: STRANGER.parse().unwrap(),
        value: U256::from(10),
        validAfter: U256::ZERO,
        validBefore: U256::from(now + 60),
        nonce: B256::repeat_byte(7),
    };
    let call = |terms: &TransferWithAuthorization, (v, r, s)| {
        Usdc::transferWithAuthorization_0Call {
            from: terms.from,
            to: terms.to,
            value: terms.value,
            validAfter: terms.validAfter,
            validBefore: terms.validBefore,
            nonce: terms.nonce,
            v,
            r,
            s,
        }
        .abi_encode()
    };
    let good = split(&holder, &terms);
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
    let early = TransferWithAuthorization { validAfter: U256::from(now + 50), ..terms.clone() };
    let late = TransferWithAuthorization { validBefore: U256::from(now), ..terms.clone() };
    let more = TransferWithAuthorization { value: U256::from(11), ..terms.clone() };
    let state = Usdc::authorizationStateCall { authorizer: terms.from, nonce: terms.nonce };
    #[rustfmt::skip]
    let rows = [
        ("another signer",  call(&terms, split(&stranger, &terms)), "0x0"),
        ("too early",       call(&early, split(&holder, &early)),   "0x0"),
        ("too late",        call(&late, split(&holder, &late)),     "0x0"),
        ("another amount",  call(&more, good),                      "0x0"),
        ("v of 0 or 1",     call(&terms, (good.0 - 27, good.1, good.2)), "0x0"),
        ("as signed",       call(&terms, good),                     "0x1"),
        ("again",           call(&terms, good),                     "0x0"),
    ];
    assert!(view(&world, state.abi_encode()).await.ends_with('0'));
    for (nonce, (row, input, status)) in (0..).zip(rows) {
        assert_eq!(run(&world, nonce, input).await, status, "{row}");
    }
    assert!(view(&world, state.abi_encode()).await.ends_with('1'));
    assert_eq!(world.usdc_of(STRANGER).await, 10);
}

#[tokio::test]
async fn a_permit_allows_what_it_says() {
    let world = World::start().await;
    let holder = world.buyer();
    let spender: Address = world.buyer().address();
    let permit = Permit {
        owner: holder.address(),
        spender,
        value: U256::from(50),
        nonce: U256::ZERO,
        deadline: U256::from(super::START_MS / 1_000 + 60),
    };
    let call = |(v, r, s)| {
        let Permit { owner, spender, value, deadline, .. } = permit.clone();
        Usdc::permit_0Call { owner, spender, value, deadline, v, r, s }.abi_encode()
    };
    let good = split(&holder, &permit);
    let wrong_nonce = split(&holder, &Permit { nonce: U256::from(1), ..permit.clone() });
    assert_eq!(run(&world, 0, call(wrong_nonce)).await, "0x0");
    assert_eq!(run(&world, 1, call(good)).await, "0x1");
    assert_eq!(run(&world, 2, call(good)).await, "0x0", "the nonce is used");
    let nonces = Usdc::noncesCall { owner: permit.owner };
    assert!(view(&world, nonces.abi_encode()).await.ends_with('1'));
    let from = |value: u64| {
        let to = STRANGER.parse().unwrap();
        Usdc::transferFromCall { from: permit.owner, to, value: U256::from(value) }.abi_encode()
    };
    assert_eq!(run(&world, 3, from(51)).await, "0x0");
    assert_eq!(run(&world, 4, from(20)).await, "0x1");
    let allowance = Usdc::allowanceCall { owner: permit.owner, spender };
    assert!(view(&world, allowance.abi_encode()).await.ends_with("1e"));
}

#[tokio::test]
async fn the_token_names_itself() {
    let world = World::start().await;
    // What the contract on Base Sepolia answers.
    let separator = view(&world, Usdc::DOMAIN_SEPARATORCall {}.abi_encode()).await;
    assert_eq!(separator, "71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818");
    assert!(view(&world, Usdc::decimalsCall {}.abi_encode()).await.ends_with("06"));
    let name = view(&world, Usdc::nameCall {}.abi_encode()).await;
    assert!(name.contains(&hex::encode("USDC")), "{name}");
    let unknown = json!([{ "to": world.info.chain.usdc, "data": "0xdeadbeef" }]);
    let error = world.rpc("eth_call", unknown).await.unwrap_err();
    assert_eq!((error["code"].as_i64(), message(&error)), (Some(3), "execution reverted"));
    let elsewhere = json!([{ "to": STRANGER, "data": "0xdeadbeef" }]);
    assert_eq!(world.rpc("eth_call", elsewhere).await, Ok(json!("0x")));
}

#[tokio::test]
async fn speaks_json_rpc() {
    let world = World::start().await;
    assert_eq!(world.rpc("eth_chainId", json!([])).await, Ok(json!("0x14a34")));
    let unknown = world.rpc("eth_mine", json!([])).await.unwrap_err();
    assert_eq!(unknown["code"], -32_601);
    let params = world.rpc("eth_getBalance", json!(["0x1"])).await.unwrap_err();
    assert_eq!(params["code"], -32_602);
    let history = json!(["0x2", "latest", [50.0]]);
    let history = world.rpc("eth_feeHistory", history).await.unwrap();
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"], json!([["0xf4240"], ["0xf4240"]]));
    let post = |body: &str| world.http.post(&world.info.chain.rpc_url).body(body.to_owned());
    let broken = world.send(post("{")).await.unwrap();
    assert_eq!(broken.json["error"]["code"], -32_700);
    let invalid = world.send(post(r#"{"id":1}"#)).await.unwrap();
    assert_eq!(invalid.json["error"]["code"], -32_600);
    let batch = r#"[{"jsonrpc":"2.0","id":"a","method":"eth_chainId"},
        {"jsonrpc":"2.0","method":"eth_chainId"},
        {"jsonrpc":"2.0","id":2,"method":"nope","params":[]}]"#;
    let batch = world.send(post(batch)).await.unwrap().json;
    assert_eq!(batch.as_array().unwrap().len(), 2);
    assert_eq!(batch[0]["id"], "a");
    assert_eq!(batch[1]["error"]["code"], -32_601);
}

#[tokio::test]
async fn balances_can_be_set() {
    let world = World::start().await;
    let body = json!({ "address": STRANGER, "usdc": "12.5", "wei": "9" });
    assert_eq!(world.admin("POST", "/balance", body).await.status, 200);
    assert_eq!(world.usdc_of(STRANGER).await, 12_500_000);
    assert_eq!(world.rpc("eth_getBalance", json!([STRANGER])).await, Ok(json!("0x9")));
    let wrong = world.admin("POST", "/balance", json!({ "address": "x" })).await;
    assert_eq!(wrong.status, 400);
}
