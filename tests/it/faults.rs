//! What goes wrong on the way: one charge at the most, no wrong `no`, and whoever follows the hints
//! ends with what they bought wherever that can be had.

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::world::World;

/// Worlds that run at once: they mostly wait.
const WORLDS: usize = 10;

/// How a scenario ends for a caller who only follows hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// With the seller's answer.
    Delivered,
    /// With this code, and nothing was paid.
    Unpaid(&'static str),
    /// With this code, and it was paid once.
    Paid(&'static str),
}
use Ends::{Delivered, Paid, Unpaid};

type Row = (&'static str, Value, Ends);

/// Runs each row in a world of its own, with and without a restart after the first answer.
async fn each(marketplace: &'static str, path: &'static str, skip: u32, rows: Vec<Row>) {
    let rows = rows.into_iter().flat_map(|row| [(row.clone(), false), (row, true)]);
    let broken: Vec<String> = stream::iter(rows)
        .map(|((name, action, ends), restart)| {
            let row = format!("{path} +{skip} {name}{}", if restart { ", restarted" } else { "" });
            let run = tokio::spawn(scenario(marketplace, path, skip, action, ends, restart));
            async move { run.await.err().map(|broken| format!("{row}: {broken}")) }
        })
        .buffer_unordered(WORLDS)
        .filter_map(|broken| async { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

async fn scenario(
    marketplace: &'static str,
    path: &'static str,
    skip: u32,
    action: Value,
    ends: Ends,
    restart: bool,
) {
    let name = format!("{path} +{skip} {action} {restart}");
    let mut world = World::start().await;
    world.fault(marketplace, path, skip, action).await;
    let args = world.purchase_of("auto");
    let mut answer = world.call("crochet_call_listing", args.clone()).await;
    if restart {
        world = world.restart().await;
    }
    if let Err(error) = answer {
        answer = world.follow(error).await;
    }
    let charges = world.charges().await;
    let fired = world.admin("GET", "/faults", None).await["faults"][0]["fired"].clone();
    assert_eq!(fired, 1, "{name}: the fault has not fired");
    match (ends, &answer) {
        (Delivered, Ok(done)) => {
            assert!(!done["result_untrusted"].is_null(), "{name}: {done}");
            assert_eq!(charges.len(), 1, "{name}: {done}");
            world.audit().await;
            // And whoever asks again gets the same again.
            let id = json!({ "purchase_id": done["purchase"]["id"] });
            let again = world.call("crochet_resume_call", id).await.unwrap();
            assert_eq!(again["result_untrusted"], done["result_untrusted"], "{name}");
        }
        (Unpaid(code), Err(error)) => {
            assert_eq!(error["code"], code, "{name}: {error}");
            assert_eq!(error["money_moved"], "no", "{name}: {error}");
            assert!(charges.is_empty(), "{name}: {error}");
        }
        (Paid(code), Err(error)) => {
            assert_eq!(error["code"], code, "{name}: {error}");
            assert_eq!(error["money_moved"], "yes", "{name}: {error}");
            assert_eq!(charges.len(), 1, "{name}: {error}");
            world.audit().await;
        }
        (ends, answer) => panic!("{name} should end {ends:?}, ended {answer:?}"),
    }
    // The same call again is a duplicate, the same failure or a first payment, never a second one.
    let _ = world.buy(args).await;
    assert!(world.charges().await.len() <= 1, "{name}: paid twice");
}

/// Answers that break on the way, wherever they break.
fn broken(delivered: Ends) -> Vec<Row> {
    let html = "<html><body>Bad gateway</body></html>";
    let status = |status: u16| json!({ "status": status, "body": html });
    vec![
        ("drop_before", json!("drop_before"), delivered),
        ("drop_after", json!("drop_after"), delivered),
        ("delay", json!({ "delay_ms": 600 }), delivered),
        ("500", status(500), delivered),
        ("502 html", status(502), delivered),
        ("503", json!({ "status": 503, "headers": { "retry-after": "1" } }), delivered),
        ("429", json!({ "status": 429, "headers": { "retry-after": "999999999" } }), delivered),
        ("403 html", status(403), delivered),
        ("400 html", status(400), delivered),
        ("200 html", status(200), delivered),
        ("200 empty", json!({ "status": 200 }), delivered),
        ("truncate", json!({ "truncate": 11 }), delivered),
    ]
}

fn refusal(code: &str, retryable: bool) -> Value {
    json!({ "success": false, "error": { "code": code, "message": "no",
        "recovery": { "retryable": retryable, "next_action": "pay_again", "summary": "pay again" } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_breaks() {
    let mut rows = broken(Delivered);
    rows.extend([
        ("401", json!({ "status": 401 }), Delivered),
        ("pending", json!("pending"), Delivered),
        (
            "redirect",
            json!({ "status": 307, "headers": { "location": "/x" } }),
            Unpaid("egress_blocked"),
        ),
        (
            "refused",
            json!({ "status": 400, "body": refusal("NO", true) }),
            Unpaid("upstream_rejected"),
        ),
        (
            "forbidden",
            json!({ "status": 403, "body": refusal("NO", false) }),
            Unpaid("not_allowed"),
        ),
        ("skewed", json!({ "skew_s": 3600 }), Unpaid("clock_untrusted")),
        ("a higher price", json!({ "raise_price": "1.5" }), Delivered),
    ]);
    each("crochet", "/gateway/*", 0, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_are_not_those_that_were_agreed() {
    let swap = |name: &str, value: Value| json!({ "swap_terms": { name: value } });
    let usdc = "0x0000000000000000000000000000000000000bad";
    let past = "2001-01-01T00:00:00Z";
    let wrong_checksum = "0x036CbD53842c5426634e7929541eC2318f3dCF7E";
    #[rustfmt::skip]
    let rows = vec![
        ("amount up",       swap("amount", json!("1000000000")),           Unpaid("terms_mismatch")),
        ("amount down",     swap("amount", json!("1")),                    Unpaid("terms_mismatch")),
        ("amount negative", swap("amount", json!("-50000")),               Delivered),
        ("amount 2^64",     swap("amount", json!("18446744073709551666")), Delivered),
        ("dollars up",      swap("amount_usd", json!("4")),                Unpaid("terms_mismatch")),
        ("chain",           swap("chain_id", json!(8453)),                 Unpaid("chain_mismatch")),
        ("currency",        swap("currency", json!("DAI")),                Unpaid("policy_denied")),
        ("token",           swap("token_address", json!(usdc)),            Unpaid("terms_mismatch")),
        ("no address",      swap("deposit_address", json!("")),            Unpaid("payee_not_allowed")),
        ("zero address",    swap("deposit_address", json!("0x0000000000000000000000000000000000000000")), Unpaid("payee_not_allowed")),
        ("checksum",        swap("deposit_address", json!(wrong_checksum)), Unpaid("payee_not_allowed")),
        ("the token pays",  swap("deposit_address", json!("0x036CbD53842c5426634e7929541eC2318f3dCF7e")), Unpaid("payee_not_allowed")),
        ("relay with path", swap("relay_request_id", json!("../x")),       Delivered),
        ("over already",    swap("expires_at", json!(past)),               Delivered),
    ];
    each("crochet", "/gateway/*", 0, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_after_the_payment_breaks() {
    let mut rows = broken(Delivered);
    let own = json!({ "error": "invalid_input", "field": "text" });
    rows.extend([
        ("401", json!({ "status": 401 }), Delivered),
        ("pending", json!("pending"), Delivered),
        ("charge_then_fail", json!("charge_then_fail"), Delivered),
        ("pay_again", json!("pay_again"), Delivered),
        ("skewed", json!({ "skew_s": -3600 }), Delivered),
        ("a redirect", json!({ "status": 307, "headers": { "location": "/x" } }), Delivered),
        ("retryable", json!({ "status": 400, "body": refusal("LATER", true) }), Delivered),
        (
            "final",
            json!({ "status": 502, "body": refusal("NO", false) }),
            Paid("paid_not_delivered"),
        ),
        ("the seller's no", json!({ "status": 422, "body": own }), Paid("paid_not_delivered")),
    ]);
    each("crochet", "/gateway/*", 1, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_is_sent_into_the_dark() {
    let mut rows = broken(Delivered);
    let no = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "nonce too low" } });
    let odd =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "try later" } });
    rows.push(("nonce too low, it says", json!({ "status": 200, "body": no }), Delivered));
    rows.push(("refused, it says", json!({ "status": 200, "body": odd }), Delivered));
    rows.push((
        "another hash",
        json!({ "swap_terms": { "result": format!("0x{}", "11".repeat(32)) } }),
        Delivered,
    ));
    each("chain", "eth_sendRawTransaction", 0, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_is_wrong_or_missing() {
    let mut rows = broken(Delivered);
    rows.push(("reverted, it says", json!({ "swap_terms": { "status": "0x0" } }), Delivered));
    rows.push((
        "of another",
        json!({ "swap_terms": { "transactionHash": format!("0x{}", "11".repeat(32)) } }),
        Delivered,
    ));
    rows.push(("without logs", json!({ "swap_terms": { "logs": [] } }), Delivered));
    each("chain", "eth_getTransactionReceipt", 0, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listing_cannot_be_read() {
    let mut rows = broken(Delivered);
    rows.retain(|row| !row.0.starts_with("40"));
    rows.push(("404", json!({ "status": 404 }), Unpaid("not_found")));
    rows.push(("403", json!({ "status": 403 }), Unpaid("not_allowed")));
    each("crochet", "/listings/*", 0, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_cannot_be_read_before_the_payment() {
    for method in ["eth_call", "eth_getBalance", "eth_feeHistory", "eth_estimateGas"] {
        let row = |name, action| (name, action, Delivered);
        let rows = vec![
            row("drop_before", json!("drop_before")),
            row("502", json!({ "status": 502, "body": "<html>" })),
            row("nonsense", json!({ "swap_terms": { "result": "0xzz" } })),
        ];
        each("chain", method, 0, rows).await;
    }
    let other = json!({ "swap_terms": { "result": "0x1" } });
    each("chain", "eth_chainId", 0, vec![("another chain", other, Unpaid("chain_mismatch"))]).await;
}

/// The node forgets, for a while, a transaction that was mined: a node that lags behind another is no
/// proof that nothing was paid.
#[tokio::test]
async fn a_node_that_lags_is_no_proof_that_nothing_was_paid() {
    let world = World::start().await;
    let nothing = json!({ "swap_terms": { "result": null } });
    for method in ["eth_getTransactionReceipt", "eth_getTransactionByHash"] {
        world
            .admin(
                "POST",
                "/faults",
                Some(json!({ "marketplace": "chain", "path": method,
            "times": 12, "action": nothing })),
            )
            .await;
    }
    let done = world.buy(world.purchase_of("auto")).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The second demand names another receiver. It is not paid.
#[tokio::test]
async fn a_second_demand_is_never_paid() {
    let world = World::start().await;
    world.fault("crochet", "/gateway/*", 1, json!("pay_again")).await;
    let thief = "0x000000000000000000000000000000000000bEEF";
    world.fault("crochet", "/gateway/*", 1, json!({ "swap_payee": thief })).await;
    let done = world.buy(world.purchase_of("auto")).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    let sent = world.requests().await;
    let sent =
        sent.iter().filter(|r| r["body"].as_str().is_some_and(|b| b.contains("eth_sendRaw")));
    assert_eq!(sent.count(), 1);
}

/// The relay id of the first answer is used for the payment and for everything after it, under the
/// same key and with the same bytes.
#[tokio::test]
async fn one_key_one_relay_one_body() {
    let mut world = World::start().await;
    for (skip, action) in
        [(0, json!("drop_after")), (1, json!("pending")), (1, json!("drop_after"))]
    {
        world.fault("crochet", "/gateway/*", skip, action).await;
    }
    let mut answer = world.call("crochet_call_listing", world.purchase_of("auto")).await;
    for _ in 0..6 {
        let Err(error) = answer else { break };
        world = world.restart().await;
        let next = error["recovery"]["next"][0].clone();
        answer = world.call(next["tool"].as_str().unwrap(), next["arguments"].clone()).await;
    }
    let done = answer.unwrap();
    let purchase = world.purchase(&done).await;
    let requests = world.requests().await;
    let calls: Vec<&Value> = requests
        .iter()
        .filter(|r| r["path"].as_str().is_some_and(|p| p.starts_with("/gateway/")))
        .collect();
    assert!(calls.len() >= 4, "{}", calls.len());
    for call in &calls {
        assert_eq!(call["body"].as_str().unwrap().as_bytes(), purchase.body);
        assert_eq!(call["headers"]["idempotency-key"], purchase.idempotency_key);
        let relay = &call["headers"]["x-crochet-relay-request-id"];
        assert!(relay.is_null() || *relay == purchase.reference.clone().unwrap(), "{relay}");
    }
    // What comes after the payment names it.
    let sent = |r: &&Value| r["body"].as_str().is_some_and(|b| b.contains("eth_sendRaw"));
    let paid_at = requests.iter().find(sent).unwrap()["seq"].as_i64();
    let after: Vec<_> = calls.iter().filter(|call| call["seq"].as_i64() > paid_at).collect();
    assert!(!after.is_empty());
    assert!(after.iter().all(|call| call["headers"]["x-crochet-relay-request-id"].is_string()));
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
