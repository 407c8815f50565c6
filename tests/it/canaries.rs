//! Secrets: what is searched for is found nowhere but where it belongs. The built binary trades live, at
//! a sandbox that stands for the real marketplace, and logs everything it would ever log.

mod paegents;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use base64::Engine as _;
use haggle::{
    clock::wall_ms,
    sandbox::{Options, Sandbox},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::program::{Ended, Program, command};

const SIGNING_SECRET: &str = "crs_CanarySigningSecret0123456789abcdef";
const PASSPHRASE: &str = "Canary passphrase: räksmörgås 98765";
const CONFIG: &str = r#"
[policy]
ask_above_usd = "5"
first_purchase_asks = false
"#;

/// Every way in which a secret could be written down.
fn spellings(secret: &str) -> Vec<String> {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let bare = secret.trim_start_matches("0x");
    let percent = secret.bytes().fold(String::new(), |text, b| format!("{text}%{b:02X}"));
    let listed: Vec<String> = secret.bytes().map(|b| b.to_string()).collect();
    let escaped = json!(secret).to_string().trim_matches('"').to_owned();
    let mut all = vec![
        secret.to_owned(),
        bare.to_owned(),
        bare.to_uppercase(),
        escaped,
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        percent.to_lowercase(),
        percent,
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        listed.join(", "),
        listed.join(","),
    ];
    if let Ok(bytes) = hex::decode(bare) {
        let listed: Vec<String> = bytes.iter().map(ToString::to_string).collect();
        all.extend([STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes), listed.join(", ")]);
        all.push(bs58::encode(&bytes).into_string());
    }
    all
}

pub(crate) struct Canaries(BTreeMap<&'static str, Vec<String>>);

impl Canaries {
    pub(crate) fn new(secrets: &[(&'static str, &str)]) -> Self {
        Self(secrets.iter().map(|(name, secret)| (*name, spellings(secret))).collect())
    }

    /// Which of them is in these bytes.
    fn found(&self, bytes: &[u8]) -> Option<(&'static str, &str)> {
        let holds =
            |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        self.0.iter().find_map(|(name, spellings)| {
            spellings.iter().find(|s| holds(s)).map(|s| (*name, s.as_str()))
        })
    }

    pub(crate) fn are_not_in(&self, place: &str, bytes: &[u8]) {
        let found = self.found(bytes);
        assert!(found.is_none(), "{place} holds {found:?}");
        // What was issued meanwhile: a key or a secret of the marketplace, whole.
        let text = String::from_utf8_lossy(bytes);
        for start in ["am_k_", "crs_", "sk_"] {
            // A question's identifier ends in the same letters.
            let within = |at: usize| text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
            for (at, _) in text.match_indices(start).filter(|(at, _)| !within(*at)) {
                let rest = text[at + start.len()..].bytes();
                let run = rest.take_while(u8::is_ascii_alphanumeric).count();
                assert!(run < 16, "{place} holds a whole {start}: {}", &text[at..at + 12]);
            }
        }
    }
}

struct Trader {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    canaries: Canaries,
}

impl Trader {
    async fn new() -> Self {
        let sandbox = Sandbox::start(Options::new(Arc::new(wall_ms))).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let info = sandbox.info();
        let buyer = &info.crochet.buyer;
        let canaries = Canaries::new(&[
            ("the SDK key", &info.croo.requester.sdk_key),
            ("the wallet's key", &buyer.wallet_private_key),
            ("the API key", &buyer.api_key),
            ("the signing secret", SIGNING_SECRET),
            ("the passphrase", PASSPHRASE),
            ("Paegents' key", &info.paegents.buyer.api_key),
            ("the owner's token", &info.paegents.owner_jwt),
        ]);
        fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, PASSPHRASE).unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        Self { sandbox, folder, canaries }
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self) -> Command {
        let info = self.sandbox.info();
        let mut command = command(&self.data_dir());
        command
            .env("CROO_API_URL", &info.croo.api_url)
            .env("CROO_WS_URL", &info.croo.ws_url)
            .env("CROO_SDK_KEY", &info.croo.requester.sdk_key)
            .env("CROCHET_API_URL", &info.crochet.api_url)
            .env("CROCHET_API_KEY", &info.crochet.buyer.api_key)
            .env("CROCHET_SIGNING_SECRET", SIGNING_SECRET)
            .env("PAEGENTS_API_URL", &info.paegents.api_url)
            .env("PAEGENTS_AGENT_ID", &info.paegents.buyer.agent_id)
            .env("PAEGENTS_API_KEY", &info.paegents.buyer.api_key)
            .env("OWNER_JWT", &info.paegents.owner_jwt)
            .env("AGENT_PRIVATE_KEY", &info.crochet.buyer.wallet_private_key)
            .env("BASE_RPC_URL", &info.chain.rpc_url)
            .env("HAGGLE_CHAIN_ID", info.chain.chain_id.to_string())
            .env("HAGGLE_PASSPHRASE_FILE", self.folder.path().join("passphrase"))
            .arg("--config")
            .arg(self.folder.path().join("config.toml"))
            .args(["--log", "trace"]);
        command
    }

    async fn serve(&self) -> Program {
        let mut command = self.command();
        command.args(["serve", "--profile", "buy,sell,browse,account"]);
        Program::ready(command, "2025-11-25").await.0
    }
}

/// Whether a secret pasted by the model comes back: it may not.
fn pasted(sandbox: &Sandbox) -> Vec<(&'static str, Value)> {
    let key = &sandbox.info().crochet.buyer.wallet_private_key;
    let sdk_key = &sandbox.info().croo.requester.sdk_key;
    vec![
        ("croo_get_order", json!({ "order_id": format!("{sdk_key}/") })),
        ("croo_list_orders", json!({ "role": sdk_key })),
        ("croo_pay_order", json!({ "order_id": "a", "max_total_usd": sdk_key })),
        ("croo_upload_file", json!({ "file_name": format!("../{sdk_key}") })),
        ("crochet_call_listing", json!({ "listing_id": key, "body": {}, "max_total_usd": key })),
        ("crochet_get_listing", json!({ "listing_id": format!("{key}{key}") })),
        ("market_search", json!({ "limit": key })),
        ("market_status", json!({ "private_key": key })),
        ("market_list_purchases", json!({ "state": key })),
        ("crochet_register", json!({ "chain": key })),
        ("paegents_get_invite", json!({ "token": format!("{key}{key}") })),
        ("paegents_create_invite", json!({ "email": "a@b", "comment": key })),
    ]
}

/// An order on CROO from the offer to the delivery, and what fails on the way.
async fn orders(trader: &Trader, program: &mut Program) -> Vec<Value> {
    let mut results = Vec::new();
    let services = trader.sandbox.info().croo.services;
    let item = services.iter().find(|item| item.name == "CSV report").unwrap();
    let asked = json!({ "service_id": item.id, "requirements": item.input_example });
    let negotiation = program.call("croo_negotiate_order", asked).await.unwrap();
    let ripe = json!({ "negotiation_id": negotiation["negotiation_id"], "wait_seconds": 30 });
    let order = program.call("croo_get_order", ripe).await.unwrap();
    let of_order = json!({ "order_id": order["order_id"], "wait_seconds": 30 });
    let pay = json!({ "order_id": order["order_id"], "max_total_usd": order["cost"]["total_usd"] });
    results.push(program.call("croo_pay_order", pay).await.unwrap());
    let delivery = program.call("croo_get_delivery", of_order).await.unwrap();
    let file = delivery["next"][0]["arguments"].clone();
    results.extend([negotiation, order, delivery]);
    for (tool, args) in [
        ("croo_download_file", file),
        ("croo_get_delivery", json!({ "order_id": "no-such-order" })),
        ("croo_get_service", json!({ "service_id": item.id })),
        ("croo_list_negotiations", json!({ "role": "buyer" })),
        ("croo_browse_store", json!({ "view": "stats" })),
        ("market_wait_events", json!({ "cursor": 0, "wait_seconds": 0 })),
        ("market_status", json!({})),
    ] {
        results.push(program.call(tool, args).await.unwrap_or_else(|error| error));
    }
    results
}

/// What a trader does, with failures of every kind; the results are looked at on the way.
async fn trades(trader: &Trader) -> (Ended, Vec<Value>) {
    let mut program = trader.serve().await;
    let mut results = Vec::new();
    let missing = json!({ "listing_id": "no-such-listing" });
    let buy =
        |slug: &str| json!({ "listing_id": slug, "body": { "text": "abc" }, "max_total_usd": "1" });
    let endpoint = json!({ "name": "Echo", "description": "Says it again.", "price_usd": "0.01",
        "private_endpoint_url": "https://seller.example/hook" });
    let verify = json!({ "listing_id": "lst_1", "headers": { "X-Crochet-Signature": "00",
        "X-Crochet-Timestamp": "1" }, "body": "{}" });
    let mut calls = vec![
        ("market_search", json!({ "query": "text" })),
        ("market_status", json!({})),
        ("crochet_get_profile", json!({})),
        ("crochet_list_wallets", json!({})),
        ("crochet_list_api_keys", json!({})),
        ("crochet_call_listing", buy("text-statistics")),
        ("crochet_call_listing", buy("text-statistics")),
        ("crochet_call_listing", buy("fragile-summary")),
        ("crochet_call_listing", buy("translation-check")),
        ("crochet_call_listing", buy("micro-digest")),
        ("crochet_get_listing", missing),
        ("crochet_register", json!({})),
        ("crochet_create_api_key", json!({ "name": "ci" })),
        ("crochet_create_listing", endpoint),
        ("crochet_verify_request", verify),
        ("market_list_purchases", json!({})),
        ("crochet_list_gateway_requests", json!({})),
        ("crochet_list_ledger", json!({})),
        ("paegents_list_invites", json!({})),
        ("paegents_create_invite", json!({ "email": "ada@company.example" })),
        ("paegents_recover_credentials", json!({})),
    ];
    calls.extend(pasted(&trader.sandbox));
    let mut succeeded = 0;
    for (tool, args) in calls {
        let answer = program.call(tool, args).await;
        succeeded += usize::from(answer.is_ok());
        results.push(answer.unwrap_or_else(|error| error));
    }
    results.extend(orders(trader, &mut program).await);
    assert!(succeeded >= 11, "only {succeeded} succeeded: {results:#?}");
    let mine = results.iter().find(|result| result["signing_secret"].is_string()).unwrap();
    let id = json!({ "listing_id": mine["listing_id"] });
    let rotated = program.call("crochet_rotate_secret", id).await.unwrap();
    results.push(rotated);
    (program.end().await, results)
}

pub(crate) fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let trader = Trader::new().await;
    let (ended, results) = trades(&trader).await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("exchanged"), "nothing was logged: {}", ended.stderr);
    trader.canaries.are_not_in("standard error", ended.stderr.as_bytes());
    for line in &ended.written {
        trader.canaries.are_not_in("standard output", line.as_bytes());
    }
    for result in &results {
        trader.canaries.are_not_in("a result", result.to_string().as_bytes());
    }
    let mut written = Vec::new();
    files(&trader.data_dir(), &mut written);
    assert!(written.iter().any(|path| path.ends_with("live.db")), "{written:?}");
    for path in written {
        trader.canaries.are_not_in(&path.display().to_string(), &fs::read(&path).unwrap());
    }
    // The API key went to its own host, and there in one header only.
    let url = format!("{}/requests?after=0", trader.sandbox.admin_url());
    let text = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let requests: Value = serde_json::from_str(&text).unwrap();
    let (mut carried, mut ordered, mut listened) = (0, 0, 0);
    for request in requests["entries"].as_array().unwrap() {
        let mut request = request.clone();
        let headers = request["headers"].as_object_mut().unwrap();
        let (bearer, sdk_key) = (headers.remove("authorization"), headers.remove("x-sdk-key"));
        // Paegents' goes to its own host in two; the owner's token to none, with these profiles.
        let paegents_key = headers.remove("x-api-key");
        if let Some(key) = paegents_key {
            assert_eq!(request["marketplace"], "paegents", "{request}");
            let both = format!("\"Bearer {}\"", key.as_str().unwrap());
            assert_eq!(bearer.unwrap().to_string(), both);
        } else if let Some(key) = bearer {
            assert_eq!(request["marketplace"], "crochet", "{request}");
            carried += usize::from(trader.canaries.found(key.to_string().as_bytes()).is_some());
        }
        // CROO's goes to its own host in one header, and to its socket in the query.
        if let Some(key) = sdk_key {
            assert_eq!(request["marketplace"], "croo", "{request}");
            ordered += usize::from(trader.canaries.found(key.to_string().as_bytes()).is_some());
        }
        if request["marketplace"] == "socket" {
            let query = request["query"].take().to_string();
            listened += usize::from(trader.canaries.found(query.as_bytes()).is_some());
        }
        trader.canaries.are_not_in("a request", request.to_string().as_bytes());
    }
    assert!(carried > 5 && ordered > 5 && listened > 0, "{carried} {ordered} {listened}");
}

/// What the owner's commands print, on both streams.
#[tokio::test]
async fn no_command_prints_a_secret() {
    let trader = Trader::new().await;
    let _ = trades(&trader).await;
    for args in [
        vec!["config", "show"],
        vec!["doctor"],
        vec!["doctor", "--json"],
        vec!["purchases", "list"],
        vec!["purchases", "export", "--format", "json"],
        vec!["purchases", "export", "--format", "csv"],
        vec!["keys", "list"],
        vec!["tools"],
        vec!["serve", "--nonsense"],
    ] {
        let output = trader.command().args(&args).output().await.unwrap();
        trader.canaries.are_not_in(&args.join(" "), &output.stdout);
        trader.canaries.are_not_in(&args.join(" "), &output.stderr);
        let words = [output.stdout, output.stderr].concat();
        assert!(!words.is_empty(), "{args:?} says nothing");
    }
}

/// The search itself: each spelling is seen.
#[test]
fn the_search_sees_every_spelling() {
    let key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let canaries = Canaries::new(&[("key", key), ("passphrase", PASSPHRASE)]);
    for secret in [key, PASSPHRASE] {
        for spelling in spellings(secret) {
            let text = format!("before {spelling} after");
            assert!(canaries.found(text.as_bytes()).is_some(), "{spelling}");
        }
    }
    assert!(canaries.found(b"nothing of the kind").is_none());
}
