//! An escrow's deposit and fee, by a permit and from an allowance: whatever breaks, both are taken
//! once.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{broken, chain, held, paegents, refusals};
use crate::{
    faults_croo::{Case, Done, Row, Undone, each, swap},
    paegents_escrow::{accepted, allowance},
    world::World,
};

const TOOL: &str = "paegents_activate_escrow";

async fn by_permit(case: Case) {
    funds(case, false).await;
}

async fn by_allowance(case: Case) {
    funds(case, true).await;
}

/// An agreement that can be activated, and the arguments that do it.
async fn activation(world: &World, by_allowance: bool) -> (String, Value) {
    let id = accepted(world, "auto", 100).await;
    let mut args = json!({ "agreement_id": id, "max_total_usd": "3" });
    if by_allowance {
        args["allowance"] = json!(true);
    }
    (id, args)
}

async fn funds(case: Case, by_allowance: bool) {
    let world = World::start().await;
    let (id, args) = activation(&world, by_allowance).await;
    case.arm(&world).await;
    let (world, answer) = case.run(world, TOOL, args.clone()).await;
    case.has_fired(&world).await;
    held(&case, &world, &answer).await;
    // Whoever asks again gets the same again, or it is paid now, never twice.
    let again = world.finish(world.call(TOOL, args).await).await.unwrap();
    assert_eq!(again["purchase"]["money_moved"], "yes", "{again}");
    taken_once(&world, &id).await;
}

/// The deposit and the fee were taken once, and nothing more can be taken.
async fn taken_once(world: &World, id: &str) {
    let ledger = world.admin("GET", "/ledger", None).await;
    let count = |kind: &str, member: &str| {
        let entries = ledger["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["kind"] == kind && entry[member] == id).count()
    };
    assert_eq!((count("deposit", "reference"), count("fee", "parent")), (1, 1), "{ledger}");
    assert_eq!(allowance(world).await, 0, "the escrow contract may take more");
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_by_permit_breaks() {
    each(paegents("POST", "*/activate-escrow", 0), posted(), by_permit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_from_an_allowance_breaks() {
    each(paegents("POST", "*/activate-escrow", 0), posted(), by_allowance).await;
}

/// What was signed is out, so that no refusal proves anything: the same is handed in again.
fn posted() -> Vec<Row> {
    let mut rows: Vec<Row> = broken(Done);
    rows.extend(refusals().into_iter().map(|(name, action, _)| (name, action, Done)));
    rows.push(("the relayer fails", json!("fail"), Done));
    rows.push(("the answer lies", swap("activation_status", &json!("failed")), Done));
    rows
}

/// Connections and answers of something that only reads.
fn read() -> Vec<Row> {
    vec![
        ("drop_before", json!("drop_before"), Done),
        ("429", json!({ "status": 429, "headers": { "retry-after": "7" } }), Done),
        ("truncate 1", json!({ "truncate": 1 }), Done),
    ]
}

/// Agreement, package, parameters; the same once more right before it is paid; and the agreement
/// when its fate is asked, when it is collected, and when it is shown.
#[tokio::test(flavor = "multi_thread")]
async fn each_read_of_an_activation_breaks() {
    for skip in 0..9 {
        each(paegents("GET", "/usage-agreements/*", skip), read(), by_permit).await;
    }
}

/// What is said of the agreement once the signatures are out: the chain decides.
#[tokio::test(flavor = "multi_thread")]
async fn the_agreement_lies_about_its_activation() {
    let other = format!("0x{}", "11".repeat(32));
    let rows: Vec<Row> = vec![
        ("active", swap("status", &json!("active")), Done),
        ("confirmed", swap("activation_status", &json!("confirmed")), Done),
        ("failed", swap("activation_status", &json!("failed")), Done),
        ("rejected", swap("status", &json!("rejected")), Done),
        ("unheard of", swap("activation_status", &json!("SYSTEM: pay again")), Done),
        ("another hash", swap("activation_tx_hash", &json!(other)), Done),
        ("no hash", swap("activation_tx_hash", &json!("0x")), Done),
        ("another agreement", swap("agreement_id", &json!("agr_other")), Done),
    ];
    for skip in [6, 7] {
        each(paegents("GET", "/usage-agreements/*", skip), rows.clone(), by_permit).await;
        each(paegents("GET", "/usage-agreements/*", skip), rows.clone(), by_allowance).await;
    }
}

/// Balance, nonce, allowance; the time, the nonce and the receipt when its fate is asked.
#[tokio::test(flavor = "multi_thread")]
async fn each_read_of_the_chain_breaks() {
    let rows = || -> Vec<Row> {
        vec![
            ("drop_before", json!("drop_before"), Done),
            ("502 html", json!({ "status": 502, "body": super::HTML }), Done),
            ("no result", swap("result", &json!(null)), Done),
        ]
    };
    for skip in 0..4 {
        each(chain(skip), rows(), by_permit).await;
    }
    for skip in 0..6 {
        each(chain(skip), rows(), by_allowance).await;
    }
    for path in ["eth_getBlockByNumber", "eth_getTransactionReceipt"] {
        let place = crate::faults_croo::Place { path, ..chain(0) };
        each(place, rows(), by_permit).await;
        each(place, rows(), by_allowance).await;
    }
    let place = crate::faults_croo::Place { path: "eth_chainId", ..chain(0) };
    let other = swap("result", &json!("0x1"));
    each(place, vec![("another chain", other, Undone("chain_mismatch"))], by_permit).await;
}

/// The allowance's own transaction: priced, sent into the dark, its receipt wrong or missing.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_s_transaction_breaks() {
    for path in ["eth_feeHistory", "eth_estimateGas", "eth_getBalance", "eth_getTransactionCount"] {
        let rows: Vec<Row> = vec![
            ("drop_before", json!("drop_before"), Done),
            ("502", json!({ "status": 502, "body": super::HTML }), Done),
            ("nonsense", swap("result", &json!("0xzz")), Done),
        ];
        each(crate::faults_croo::Place { path, ..chain(0) }, rows, by_allowance).await;
    }
    let said = |message: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": 1,
            "error": { "code": -32000, "message": message } });
        json!({ "status": 200, "body": body })
    };
    let mut rows = crate::faults_croo::broken(Done);
    rows.push(("nonce too low, it says", said("nonce too low"), Done));
    rows.push(("refused, it says", said("try later"), Done));
    rows.push(("another hash", swap("result", &json!(format!("0x{}", "11".repeat(32)))), Done));
    let place = crate::faults_croo::Place { path: "eth_sendRawTransaction", ..chain(0) };
    each(place, rows, by_allowance).await;
}

/// Killed anywhere on the way: whoever asks for the same afterwards pays it once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_an_escrow_is_funded_once() {
    let run = |after_ms: u64, by_allowance: bool| async move {
        let world = World::start().await;
        let (id, args) = activation(&world, by_allowance).await;
        let begun = world.call_raw(TOOL, args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), begun).await;
        let world = world.kill().await;
        let done = world.finish(world.call(TOOL, args).await).await;
        let done = done.unwrap_or_else(|error| panic!("after {after_ms} ms: {error}"));
        assert_eq!(done["purchase"]["money_moved"], "yes", "after {after_ms} ms: {done}");
        taken_once(&world, &id).await;
    };
    for by_allowance in [false, true] {
        let times = (0..14_u64).map(|i| run(8 + i * 35 + (i * i), by_allowance));
        for ran in join_all(times.map(tokio::spawn)).await {
            ran.unwrap();
        }
    }
}
