//! The sandbox as its clients meet it: a real one on loopback, plain HTTP.
//!
//! Time stands still unless a test advances the sandbox's clock.

mod accounts;
mod chain;
mod croo_events;
mod croo_failures;
mod croo_lists;
mod croo_objects;
mod croo_orders;
mod faults;
mod gateway;
mod paegents_accounts;
mod paegents_activation;
mod paegents_agreements;
mod paegents_catalog;
mod paegents_checkout;
mod paegents_direct;
mod paegents_escrow;
mod paegents_evidence;
mod paegents_hooks;
mod paegents_metered;
mod paegents_payments;
mod paegents_settlement;
mod selling;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Info, Options, Sandbox, chain::calls::Usdc, keys::sha256_hex};

/// When the tests begin.
const START_MS: i64 = 1_790_000_000_000;

/// A running sandbox and a client.
struct World {
    sandbox: Option<Sandbox>,
    info: Info,
    http: reqwest::Client,
    time: Arc<AtomicI64>,
}

/// An answer: status and JSON.
#[derive(Debug, Clone, PartialEq)]
struct Reply {
    status: StatusCode,
    json: Value,
}

impl Reply {
    fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.json["error"]["code"].as_str().unwrap_or("none"))
    }

    fn relay(&self) -> String {
        let id = &self.json["error"]["details"]["relay_request_id"];
        id.as_str().unwrap_or_else(|| panic!("no relay in {self:?}")).to_owned()
    }

    fn payment(&self) -> Value {
        self.json["error"]["details"]["payment"].clone()
    }
}

fn options(time: &Arc<AtomicI64>) -> Options {
    let time = Arc::clone(time);
    Options::new(Arc::new(move || time.load(Ordering::SeqCst)))
}

impl World {
    async fn start() -> Self {
        let time = Arc::new(AtomicI64::new(START_MS));
        let options = options(&time);
        Self::with(options, time).await
    }

    async fn with(options: Options, time: Arc<AtomicI64>) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { info: sandbox.info(), sandbox: Some(sandbox), http, time }
    }

    /// Lets the sandbox's time pass.
    fn pass(&self, ms: i64) {
        self.time.fetch_add(ms, Ordering::SeqCst);
    }

    /// The world from inside.
    fn inside(&self) -> &Arc<super::World> {
        &self.sandbox.as_ref().unwrap().world
    }

    /// CROO's provider.
    fn provider(&self) -> &str {
        &self.info.croo.provider.agent_id
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.info.crochet.api_url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        Ok(Reply { status, json: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// A request to Crochet, with a key if there is one.
    async fn ask(&self, method: &str, path: &str, key: &str, body: Value) -> Reply {
        let method: Method = method.parse().unwrap();
        let mut request = self.http.request(method, self.url(path));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        self.send(request).await.unwrap()
    }

    async fn get(&self, path: &str, key: &str) -> Value {
        let reply = self.ask("GET", path, key, Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Reply {
        let url = format!("{}{path}", self.info.admin_url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        self.send(request).await.unwrap()
    }

    async fn fault(&self, spec: Value) -> i64 {
        let reply = self.admin("POST", "/faults", spec).await;
        reply.json["id"].as_i64().unwrap_or_else(|| panic!("{reply:?}"))
    }

    /// The entries of the truth of one kind: reference, payer, payee, amount.
    async fn truth(&self, kind: &str) -> Vec<Value> {
        let reply = self.admin("GET", "/ledger", Value::Null).await;
        let entries = reply.json["entries"].as_array().unwrap().clone();
        entries.into_iter().filter(|entry| entry["kind"] == kind).collect()
    }

    /// A JSON-RPC call: its result, or its error.
    async fn rpc(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.http.post(&self.info.chain.rpc_url).json(&body);
        let json = self.send(request).await.unwrap().json;
        match json.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(json["result"].clone()),
        }
    }

    /// A raw transaction of the buyer.
    fn raw(
        &self,
        nonce: u64,
        to: Address,
        input: Vec<u8>,
        change: impl Fn(&mut TxEip1559),
    ) -> String {
        let mut tx = TxEip1559 {
            chain_id: 84_532,
            nonce,
            gas_limit: 100_000,
            max_fee_per_gas: 10_000_000,
            max_priority_fee_per_gas: 1_000_000,
            to: TxKind::Call(to),
            value: U256::ZERO,
            input: Bytes::from(input),
            ..TxEip1559::default()
        };
        change(&mut tx);
        let signature = self.buyer().sign_hash_sync(&tx.signature_hash()).unwrap();
        let bytes = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
        format!("0x{}", hex::encode(bytes))
    }

    fn buyer(&self) -> PrivateKeySigner {
        self.info.crochet.buyer.wallet_private_key.parse().unwrap()
    }

    /// A raw transfer of USDC by the buyer.
    fn transfer(&self, nonce: u64, to: &str, micros: u64) -> String {
        let call = Usdc::transferCall { to: to.parse().unwrap(), value: U256::from(micros) };
        self.raw(nonce, self.info.chain.usdc.parse().unwrap(), call.abi_encode(), |_| ())
    }

    /// Sends the amount of a 402 to its address; answers the hash.
    async fn pay(&self, due: &Reply) -> String {
        let payment = due.payment();
        let amount: u64 = payment["amount"].as_str().unwrap().parse().unwrap();
        self.pay_micros(payment["deposit_address"].as_str().unwrap(), amount).await
    }

    async fn pay_micros(&self, to: &str, micros: u64) -> String {
        let wallet = &self.info.crochet.buyer.wallet;
        let nonce = self.rpc("eth_getTransactionCount", json!([wallet, "pending"])).await.unwrap();
        let nonce = u64::from_str_radix(&nonce.as_str().unwrap()[2..], 16).unwrap();
        let raw = self.transfer(nonce, to, micros);
        let hash = self.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
        hash.as_str().unwrap().to_owned()
    }

    /// The buyer's USDC, in micro-units.
    async fn usdc_of(&self, address: &str) -> u64 {
        let call = Usdc::balanceOfCall { account: address.parse().unwrap() };
        let data = format!("0x{}", hex::encode(call.abi_encode()));
        let request = json!([{ "to": self.info.chain.usdc, "data": data }, "latest"]);
        let word = self.rpc("eth_call", request).await.unwrap();
        u64::from_str_radix(&word.as_str().unwrap()[2..], 16).unwrap()
    }

    fn listing(&self, behaviour: &str) -> super::ItemInfo {
        let mut all = self.info.crochet.listings.iter();
        all.find(|item| item.behaviour == behaviour).unwrap().clone()
    }

    /// A gateway call by the buyer with headers, for a listing's example input.
    async fn call(&self, item: &super::ItemInfo, headers: &[(&str, &str)]) -> Reply {
        self.send(self.calling(item, headers)).await.unwrap()
    }

    fn calling(&self, item: &super::ItemInfo, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .post(self.url(&format!("/gateway/{}", item.id)))
            .bearer_auth(&self.info.crochet.buyer.api_key)
            .json(&item.input_example);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    /// Calls, pays, waits until it is settled; answers the relay id.
    async fn settled(&self, item: &super::ItemInfo) -> String {
        let due = self.call(item, &[]).await;
        assert_eq!(due.code(), (402, "PAYMENT_REQUIRED"));
        self.pay(&due).await;
        self.pass(600);
        due.relay()
    }

    /// Repeats a call with its relay id.
    async fn retry(&self, item: &super::ItemInfo, relay: &str) -> Reply {
        self.call(item, &[("X-Crochet-Relay-Request-Id", relay)]).await
    }
}

/// Solves a proof of work.
fn solve(pow: &Value) -> String {
    let (challenge, zeros) =
        (pow["challenge"].as_str().unwrap(), pow["difficulty"].as_u64().unwrap());
    let prefix = "0".repeat(usize::try_from(zeros).unwrap());
    (0..10_000_000_u64)
        .map(|nonce| nonce.to_string())
        .find(|nonce| sha256_hex(format!("{challenge}{nonce}").as_bytes()).starts_with(&prefix))
        .unwrap()
}

#[tokio::test]
async fn refuses_to_listen_to_the_world() {
    let time = Arc::new(AtomicI64::new(START_MS));
    let mut options = options(&time);
    options.listen = "0.0.0.0:0".parse().unwrap();
    let error = Sandbox::start(options).await.unwrap_err();
    assert!(matches!(error, super::SandboxError::NotLoopback(_)));
}

#[tokio::test]
async fn stops_when_dropped() {
    let mut world = World::start().await;
    assert_eq!(world.ask("GET", "/health", "", Value::Null).await.status, 200);
    drop(world.sandbox.take());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.http.get(world.url("/health")).send().await.is_err());
}

#[tokio::test]
async fn survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(START_MS));
    let mut options = options(&time);
    options.store = Some(folder.path().join("world.db"));
    options.seed = 5;
    let mut world = World::with(options.clone(), Arc::clone(&time)).await;
    let item = world.listing("auto");
    let due = world.call(&item, &[]).await;
    world.pay(&due).await;
    world.admin("POST", "/clock", json!({ "advance_s": 60 })).await;
    let key = world.info.crochet.buyer.api_key.clone();
    let second = world.ask("POST", "/api-keys", &key, json!({ "name": "b" })).await;
    let second = second.json["data"]["api_key"].as_str().unwrap().to_owned();
    world.sandbox.take().unwrap().shutdown().await;

    // Another seed does not matter: the store keeps its own.
    options.seed = 6;
    let world = World::with(options, time).await;
    assert_eq!(world.info.crochet.buyer.api_key, key);
    let clock = world.admin("GET", "/clock", Value::Null).await.json;
    assert_eq!(clock["offset_s"], 60);
    assert_eq!(clock["now"], START_MS / 1_000 + 60);
    assert_eq!(world.get("/me", &second).await["data"]["display_name"], "Sandbox Buyer");
    let served = world.retry(&item, &due.relay()).await;
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(world.truth("charge").await.len(), 1);
}

#[tokio::test]
async fn admin_answers_loopback_hosts_only() {
    let world = World::start().await;
    let url = format!("{}/ledger", world.info.admin_url);
    for (host, status) in
        [("evil.example", 403), ("localhost:1", 200), ("127.0.0.1.evil.example", 403)]
    {
        let reply = world.send(world.http.get(&url).header("Host", host)).await.unwrap();
        assert_eq!(reply.status, status, "{host}");
    }
    let reply = world.http.get(&url).header("Origin", "https://evil.example");
    assert_eq!(world.send(reply).await.unwrap().status, 403);
}

#[tokio::test]
async fn tells_about_itself() {
    let world = World::start().await;
    let told = world.admin("GET", "/info", Value::Null).await.json;
    assert_eq!(serde_json::from_value::<Info>(told.clone()).unwrap(), world.info);
    assert_eq!(told["admin_url"], world.sandbox.as_ref().unwrap().admin_url());
    let listings = &world.info.crochet.listings;
    let behaviours = [
        "auto",
        "manual",
        "slow",
        "rejects",
        "never_delivers",
        "fails_after_payment",
        "price_rises",
        "route_minimum",
        "hostile_text",
        "free",
    ];
    for behaviour in behaviours {
        assert!(listings.iter().any(|item| item.behaviour == behaviour), "{behaviour}");
    }
    let manual = world.listing("manual");
    assert_eq!(manual.owner_id, world.info.crochet.seller.agent_id);
    assert_eq!(world.usdc_of(&world.info.crochet.buyer.wallet).await, 1_000_000_000);
}

#[tokio::test]
async fn every_example_works() {
    let world = World::start().await;
    for item in world.info.crochet.listings.clone() {
        if item.behaviour == "auto" {
            let relay = world.settled(&item).await;
            assert_eq!(world.retry(&item, &relay).await.status, 200, "{}", item.name);
        } else if item.behaviour == "free" {
            assert_eq!(world.call(&item, &[]).await.status, 200, "{}", item.name);
        }
    }
}

#[tokio::test]
async fn records_requests() {
    let world = World::start().await;
    world.ask("POST", "/auth/challenge?x=1", "", json!({ "wallet_address": "no" })).await;
    world.rpc("eth_chainId", json!([])).await.unwrap();
    let all = world.admin("GET", "/requests?after=0", Value::Null).await.json;
    let first = &all["entries"][0];
    assert_eq!(first["marketplace"], "crochet");
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], "/auth/challenge");
    assert_eq!(first["query"], "x=1");
    assert_eq!(first["headers"]["content-type"], "application/json");
    assert_eq!(first["body"], r#"{"wallet_address":"no"}"#);
    assert_eq!(all["entries"][1]["marketplace"], "chain");
    let later = world.admin("GET", "/requests?after=1", Value::Null).await.json;
    assert_eq!(later["entries"].as_array().unwrap().len(), 1);
}
