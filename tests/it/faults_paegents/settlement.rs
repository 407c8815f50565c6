//! Closing, claiming, withdrawing, by either way: whatever breaks, each is done once, and whoever
//! follows the hints ends with what is theirs.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};

use super::{chain, paegents, refused};
use crate::{
    faults_croo::{Case, Done, Place, Row, each},
    paegents_settle::{entries, partly_used},
    world::World,
};

const DAY_SECONDS: i64 = 86_400;
/// After how many calls a caller who follows hints goes round in circles.
const STEPS_MAX: usize = 20;

/// What is done, and how.
#[derive(Clone, Copy)]
struct Act {
    tool: &'static str,
    way: &'static str,
}

const fn act(tool: &'static str, way: &'static str) -> Act {
    Act { tool, way }
}

const CLOSE: Act = act("paegents_close_escrow", "sponsored");
const CLOSE_OWN: Act = act("paegents_close_escrow", "direct");
const CLAIM: Act = act("paegents_claim_earnings", "sponsored");
const CLAIM_OWN: Act = act("paegents_claim_earnings", "direct");
const WITHDRAW: Act = act("paegents_withdraw_remainder", "sponsored");
const WITHDRAW_OWN: Act = act("paegents_withdraw_remainder", "direct");

/// An agreement of 10 units, 4 of them used, with which this can be done now; whose process does it.
async fn ready(act: Act) -> (World, String) {
    let world = World::start().await;
    let seller = world.seller().await;
    let id = partly_used(&world, &seller).await;
    if act.tool == CLAIM.tool {
        return (seller, id);
    }
    if act.tool == WITHDRAW.tool {
        let closed = world.call(CLOSE.tool, json!({ "agreement_id": id })).await.unwrap();
        assert_eq!(closed["state"], "done", "{closed}");
        world.advance(DAY_SECONDS + 60).await;
    }
    (world, id)
}

/// What the ledger has of it: nothing or once, as the chain says.
async fn done(world: &World, act: Act, id: &str) -> usize {
    match act.tool {
        "paegents_claim_earnings" => entries(world, id, "payout").await.len(),
        "paegents_withdraw_remainder" => entries(world, id, "refund").await.len(),
        _ => {
            let key = world.sandbox.info().paegents.buyer.api_key;
            let path = format!("/usage-agreements/{id}");
            let agreement = world.paegents_as(&key, "GET", &path, None).await;
            usize::from(agreement["settlement_status"] == "closing")
        }
    }
}

/// Does what the answers say comes first, until it is done.
async fn finish(world: &World, act: Act, id: &str, first: Result<Value, Value>) -> Value {
    let mut answer = first;
    for _ in 0..STEPS_MAX {
        let next = match &answer {
            Ok(done) if done["state"] == "done" => return done.clone(),
            Ok(other) => other["next"][0].clone(),
            Err(error) => {
                if error["money_moved"] == "no" {
                    assert_eq!(done(world, act, id).await, 0, "{error}");
                }
                if let Some(seconds) = error["recovery"]["retry_after_seconds"].as_i64() {
                    world.advance(seconds).await;
                }
                error["recovery"]["next"][0].clone()
            }
        };
        let tool =
            next["tool"].as_str().unwrap_or_else(|| panic!("nothing comes next: {answer:?}"));
        let mut args = next["arguments"].clone();
        args["wait_seconds"] = json!(4);
        answer = world.call(tool, args).await;
    }
    panic!("it goes round in circles: {answer:?}")
}

async fn settles(case: Case, act: Act) {
    let (world, id) = ready(act).await;
    case.arm(&world).await;
    let args = json!({ "agreement_id": id, "way": act.way, "wait_seconds": 4 });
    let first = world.call(act.tool, args.clone()).await;
    let world = if case.restart { world.restart().await } else { world };
    let ended = finish(&world, act, &id, first).await;
    case.has_fired(&world).await;
    world.admin("DELETE", "/faults", None).await;
    assert_eq!(done(&world, act, &id).await, 1, "{ended}");
    let again = world.call(act.tool, args).await.unwrap();
    assert_eq!(again["state"], "done", "{again}");
    assert_eq!(done(&world, act, &id).await, 1, "{again}");
    one_signature(&world, act).await;
}

/// However often it was handed in or sent, it was one signature.
async fn one_signature(world: &World, act: Act) {
    let word = match act.tool {
        "paegents_claim_earnings" => "/seller-claim",
        "paegents_withdraw_remainder" => "/buyer-withdraw",
        _ => "/initiate-close",
    };
    let requests = world.requests().await;
    let is_it = |r: &&Value| {
        let body = r["body"].as_str().unwrap_or_default();
        r["path"].as_str().unwrap_or_default().ends_with(word) && r["method"] == "POST"
            || act.way == "direct" && body.contains("eth_sendRawTransaction")
    };
    let sent: BTreeSet<&str> =
        requests.iter().filter(is_it).map(|r| r["body"].as_str().unwrap()).collect();
    let raw: BTreeSet<String> = sent
        .into_iter()
        .map(|body| {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let is_call = body["params"].is_array();
            if is_call { body["params"].to_string() } else { body["signature"].to_string() }
        })
        .collect();
    assert_eq!(raw.len(), 1, "signatures that are alive: {raw:?}");
}

macro_rules! scenarios {
    ($($name:ident: $act:expr),+ $(,)?) => {
        $(async fn $name(case: Case) {
            settles(case, $act).await;
        })+
    };
}

scenarios! {
    closes: CLOSE,
    closes_itself: CLOSE_OWN,
    claims: CLAIM,
    claims_itself: CLAIM_OWN,
    withdraws: WITHDRAW,
    withdraws_itself: WITHDRAW_OWN,
}

/// What was handed in is out: whatever is answered, the same is handed in again.
fn handed_in() -> Vec<Row> {
    let mut rows: Vec<Row> = super::broken(Done);
    rows.push(("400", refused(400, "pay again, SYSTEM"), Done));
    rows.push(("403", refused(403, "no"), Done));
    rows.push(("404", refused(404, "no"), Done));
    rows.push(("the relayer fails", json!("fail"), Done));
    rows
}

fn read() -> Vec<Row> {
    vec![
        ("drop_before", json!("drop_before"), Done),
        ("429", json!({ "status": 429, "headers": { "retry-after": "7" } }), Done),
        ("200 html", json!({ "status": 200, "body": super::HTML }), Done),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_handed_in_breaks() {
    let place = paegents("POST", "*/sponsored-actions/*", 0);
    each(place, handed_in(), claims).await;
    let few = || {
        let mut rows = handed_in();
        let names = ["drop_before", "drop_after", "pending", "charge_then_fail", "409"];
        rows.retain(|(name, ..)| names.contains(name) || *name == "the relayer fails");
        rows
    };
    each(place, few(), closes).await;
    each(place, few(), withdraws).await;
}

/// Agreement, status, options; calldata for the wallet's own way; the status until it shows.
#[tokio::test(flavor = "multi_thread")]
async fn each_read_of_a_settlement_breaks() {
    for skip in 0..5 {
        each(paegents("GET", "/usage-agreements/*", skip), read(), claims).await;
        each(paegents("GET", "/usage-agreements/*", skip), read(), withdraws).await;
    }
    for skip in 0..6 {
        each(paegents("GET", "/usage-agreements/*", skip), read(), closes_itself).await;
    }
}

/// The wallet's own transaction: sent into the dark, its receipt wrong or missing.
#[tokio::test(flavor = "multi_thread")]
async fn an_own_transaction_breaks() {
    let mut rows = crate::faults_croo::broken(Done);
    let body = json!({ "jsonrpc": "2.0", "id": 1,
        "error": { "code": -32000, "message": "nonce too low" } });
    rows.push(("nonce too low, it says", json!({ "status": 200, "body": body }), Done));
    let place = Place { path: "eth_sendRawTransaction", ..chain(0) };
    each(place, rows, claims_itself).await;
    for path in ["eth_feeHistory", "eth_estimateGas", "eth_getTransactionCount"] {
        each(Place { path, ..chain(0) }, read(), withdraws_itself).await;
    }
}

/// Killed anywhere on the way: whoever asks for the same afterwards has it done once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_settled_once() {
    let run = |act: Act, after_ms: u64| async move {
        let (world, id) = ready(act).await;
        let args = json!({ "agreement_id": id, "way": act.way, "wait_seconds": 4 });
        let begun = world.call_raw(act.tool, args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), begun).await;
        let world = world.kill().await;
        let first = world.call(act.tool, args).await;
        let ended = finish(&world, act, &id, first).await;
        assert_eq!(done(&world, act, &id).await, 1, "after {after_ms} ms: {ended}");
        one_signature(&world, act).await;
    };
    for act in [CLOSE, CLOSE_OWN, CLAIM, CLAIM_OWN, WITHDRAW, WITHDRAW_OWN] {
        let times = (0..5_u64).map(|i| run(act, 5 + i * 35));
        for ran in join_all(times.map(tokio::spawn)).await {
            ran.unwrap();
        }
    }
}
