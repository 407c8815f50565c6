//! Paegents' Python SDK, unchanged, against `haggle sandbox`: what each of its methods gives, and what
//! the sandbox's ledger and chain have in the end.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use haggle::money::Usdc;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use crate::paegents_requests;

/// What each method that speaks HTTP gives, as the script tells it.
#[rustfmt::skip]
const GAVE: &[(&str, &str)] = &[
    ("accept_usage_agreement", r#"{"status":"accepted","activation":"ready"}"#),
    ("ack_agent_event", r#"{"gone":true}"#),
    ("activate_escrow", r#"{"before":"submitting","after":"confirmed"}"#),
    ("ap2_pay", r#"{"status":["completed"],"rails":["card","braintree","stablecoin"]}"#),
    ("approve_approval", r#"{"status":"completed"}"#),
    ("cancel_usage_agreement", r#"{"status":"cancelled"}"#),
    ("check_a2a_status", r#"{"before":"processing","after":"paid"}"#),
    ("check_balance", r#"{"spent":500}"#),
    ("create_a2a_payment", r#"{"status":"completed"}"#),
    ("create_ap2_cart_mandate", r#"{"status":"active","total":2600}"#),
    ("create_ap2_intent_mandate", r#"{"status":"active","most":2600}"#),
    ("create_payment", r#"{"status":"succeeded","amount":125}"#),
    ("create_usage_agreement", r#"{"status":"proposed","cents":30}"#),
    ("create_webhook", r#"{"status":"active"}"#),
    ("delete", r#"{"verb":"DELETE","path":"/items/1"}"#),
    ("delete_service", "{}"),
    ("dispute_usage_agreement", r#"{"status":"disputed"}"#),
    ("get", r#"{"verb":"GET","path":"/items?page=2"}"#),
    ("get_activation_package", r#"{"deposit":300000,"fee":100000,"quantity":10}"#),
    ("get_agent_policies", r#"{"threshold":2000}"#),
    ("get_ap2_signing_digest", r#"{"amount":3500000,"chain":84532}"#),
    ("get_call_proofs", r#"{"calls":[1,2,3,4,5],"more":false}"#),
    (
        "get_claim_instructions",
        r#"{"function":"buyerWithdraw(uint256)","amount":90000,"closed":true}"#,
    ),
    ("get_cumulative_receipts", r#"{"units":[1,2,3,4,5,7]}"#),
    ("get_deposit_params", r#"{"amount":240000,"chain":84532}"#),
    ("get_escrow_status", r#"{"earned":210000,"left":90000}"#),
    ("get_initiate_close_calldata", r#"{"function":"initiateClose(uint256)","value":"0"}"#),
    ("get_service", r#"{"price":3,"description":"Says what it heard.","masked":true}"#),
    ("get_settlement_action_options", r#"{"mode":"sponsored","chain":84532}"#),
    ("get_spending_limits_owner", r#"{"daily":10000,"monthly":100000}"#),
    ("get_usage_agreement", r#"{"status":"proposed","quantity":10}"#),
    ("get_usage_status", r#"{"used":5,"left":5,"status":"active"}"#),
    ("list_agent_events", r#"{"types":["agreement.proposed","agreement.cancelled"]}"#),
    ("list_approvals", r#"{"ids":[true]}"#),
    ("list_my_services", r#"{"first":true,"second":false}"#),
    ("list_usage_agreements", r#"{"ids":[true]}"#),
    ("list_webhook_deliveries", r#"{"types":["webhook.test"]}"#),
    ("list_webhooks", r#"{"members":["webhooks"]}"#),
    ("patch", r#"{"verb":"PATCH","body":{"by":"patch"}}"#),
    ("pause_webhook", r#"{"status":"paused"}"#),
    ("pay_supplier", r#"{"status":"paid","txn_id":"agt_txn_interop"}"#),
    ("post", r#"{"verb":"POST","body":{"by":"post"}}"#),
    ("put", r#"{"verb":"PUT","body":{"by":"put"}}"#),
    ("record_usage", r#"{"used":7}"#),
    ("recover_credentials", r#"{"revoked":1,"works":true}"#),
    ("refresh_permit", r#"{"status":"active","deposit":240000}"#),
    ("register_service", r#"{"price":2,"active":true,"header":"X-API-Key"}"#),
    ("reject_approval", r#"{"status":"rejected","reason":"too much / no"}"#),
    ("reject_usage_agreement", r#"{"status":"rejected"}"#),
    ("reject_usage_agreement_with_suggestions", r#"{"status":"rejected"}"#),
    ("replay_webhook_delivery", r#"{"same":true}"#),
    ("resume_webhook", r#"{"status":"active"}"#),
    ("rotate_webhook_secret", r#"{"fresh":true}"#),
    ("search_recipients", r#"{"found":1,"account":"acct_acme"}"#),
    ("search_services", r#"{"total":1,"price":3}"#),
    ("send_test_webhook", "{}"),
    (
        "submit_sponsored_buyer_withdraw",
        r#"{"role":"buyer","action":"buyer_withdraw","sponsored":true}"#,
    ),
    (
        "submit_sponsored_initiate_close",
        r#"{"role":"buyer","action":"initiate_close","sponsored":true}"#,
    ),
    (
        "submit_sponsored_seller_claim",
        r#"{"role":"seller","action":"seller_claim","sponsored":true}"#,
    ),
    ("update_agent_policies", r#"{"threshold":3000}"#),
    ("update_delivery", r#"{"status":"shipped","carrier":"ups","seen":["shipped"]}"#),
    ("update_service", r#"{"price":3}"#),
    ("update_spending_limits_owner", r#"{"daily":200,"monthly":20000}"#),
    ("verify_receipt", r#"{"valid":true}"#),
];

/// The SDK's own fault: it reads the clock as if the machine stood in UTC, so that elsewhere it takes
/// every genuine webhook for an old one. A forged one is refused everywhere.
const ONLY_IN_UTC: &str = r#"{"UTC":true,"Asia/Tokyo":"Signature timestamp outside tolerance",
    "America/New_York":"Signature timestamp outside tolerance","forged":"Signature mismatch"}"#;

/// What the ledger of the sandbox has in the end, by kind, as far as it is no draw.
const LEDGER: [(&str, &[&str]); 5] = [
    ("charge", &["0.75", "1", "1.25", "1.50", "2", "2.50", "2.50", "3.50", "4.50", "25"]),
    ("deposit", &["0.12", "0.24", "0.30"]),
    ("fee", &["0.10", "0.10", "0.10", "0.10", "0.10"]),
    ("payout", &["0.21"]),
    ("refund", &["0.09"]),
];

/// `haggle sandbox`, and what it said when it was ready.
struct Served {
    info: Value,
    // Killed with this.
    _process: Child,
}

impl Served {
    async fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_haggle"))
            .arg("sandbox")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        Self { info: serde_json::from_str(&line).unwrap(), _process: process }
    }

    async fn admin(&self, path: &str) -> Vec<Value> {
        let url = format!("{}{path}", self.info["admin_url"].as_str().unwrap());
        let answer: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        answer["entries"].as_array().unwrap().clone()
    }

    /// What a wallet has on the chain, in micro-units.
    async fn balance(&self, wallet: &str) -> u64 {
        let chain = &self.info["chain"];
        let data = format!("0x70a08231{:0>64}", wallet.trim_start_matches("0x").to_lowercase());
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call",
            "params": [{ "to": chain["usdc"], "data": data }, "latest"] });
        let node = chain["rpc_url"].as_str().unwrap();
        let answer: Value =
            http().post(node).json(&call).send().await.unwrap().json().await.unwrap();
        let result = answer["result"].as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(result, 16).unwrap()
    }
}

fn http() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}

/// Runs the script; gives a line for each method.
async fn run(served: &Served) -> BTreeMap<String, Value> {
    let place =
        |parts: &[&str]| -> PathBuf { [env!("CARGO_MANIFEST_DIR")].iter().chain(parts).collect() };
    let mut child = Command::new(place(&["target", "interop", "python", "bin", "python"]))
        .arg(place(&["tests", "interop", "paegents_sdk.py"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it is not installed: run scripts/install-interop");
    let info = served.info.to_string();
    child.stdin.take().unwrap().write_all(info.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let told = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["method"].as_str().unwrap().to_owned(), line["gave"].clone())
    });
    told.collect()
}

fn amount(entry: &Value) -> Usdc {
    entry["amount_usd"].as_str().unwrap().parse().unwrap()
}

/// The ledger has what was done and nothing else; the chain has what the ledger says.
async fn audit(served: &Served) {
    let ledger = served.admin("/ledger").await;
    let of = |kind: &str| {
        let mut found: Vec<_> =
            ledger.iter().filter(|entry| entry["kind"] == kind).map(amount).collect();
        found.sort();
        found.into_iter().map(|usd| usd.to_string()).collect::<Vec<_>>()
    };
    for (kind, expected) in LEDGER {
        assert_eq!(of(kind), expected, "{kind}");
    }
    let draws = ledger.iter().filter(|entry| entry["kind"] == "draw").map(amount);
    assert_eq!(draws.map(Usdc::micros).sum::<u64>(), 210_000, "what the seller was paid");

    let buyer = served.info["paegents"]["buyer"]["wallet"].as_str().unwrap();
    let is_buyer = |entry: &Value, side: &str| {
        entry[side].as_str().is_some_and(|wallet| wallet.eq_ignore_ascii_case(buyer))
    };
    // A draw is paid out of a deposit that was paid before.
    let moved = ledger.iter().filter(|entry| entry["kind"] != "draw");
    let (mut paid, mut received) = (0, 0);
    for entry in moved {
        paid += if is_buyer(entry, "payer") { amount(entry).micros() } else { 0 };
        received += if is_buyer(entry, "payee") { amount(entry).micros() } else { 0 };
    }
    assert_eq!(served.balance(buyer).await, 1_000_000_000 - paid + received, "the buyer's wallet");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_of_paegents_runs_unchanged_and_our_tools_send_what_it_sends() {
    let served = Served::start().await;
    let mut gave = run(&served).await;
    let webhooks: Value = serde_json::from_str(ONLY_IN_UTC).unwrap();
    assert_eq!(gave.remove("verify_webhook_signature"), Some(webhooks));
    assert_eq!(gave.len(), 57 + 6 + 1, "methods of the agent, of the metered client, the recovery");
    let expected = GAVE.iter().map(|(method, values)| {
        ((*method).to_owned(), serde_json::from_str::<Value>(values).unwrap())
    });
    let expected: BTreeMap<_, _> = expected.collect();
    for (method, values) in &gave {
        assert_eq!(Some(values), expected.get(method), "{method}");
    }
    assert_eq!(gave.len(), expected.len());
    audit(&served).await;
    let requests = served.admin("/requests?after=0").await;
    paegents_requests::compare(&requests, &served.info).await;
}
