//! A direct purchase.

use serde_json::json;

use super::{broken, chain, held, paegents, refusals};
use crate::{
    faults_croo::{Case, Done, Row, Undone, each, swap},
    paegents_direct::purchase,
    world::World,
};

async fn buys(case: Case) {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    case.arm(&world).await;
    let (world, answer) = case.run(world, "paegents_buy_direct", args.clone()).await;
    case.has_fired(&world).await;
    held(&case, &world, &answer).await;
    let again = world.finish(world.call("paegents_buy_direct", args).await).await.unwrap();
    assert_eq!(again["purchase"]["money_moved"], "yes", "{again}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proposal_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    // What was signed is out: it is over by the chain's word, and then it is bought anew.
    for (name, action, _) in refusals() {
        rows.push((name, action, Done));
    }
    each(paegents("POST", "/usage-agreements/", 0), rows, buys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proposal_s_answer_lies() {
    let rows: Vec<Row> = vec![
        ("completed", swap("status", &json!("completed")), Done),
        ("rejected", swap("status", &json!("rejected")), Done),
        ("no agreement", swap("agreement_id", &json!(null)), Done),
        ("no identifier", swap("agreement_id", &json!("../x")), Done),
        ("nothing", json!({ "status": 200, "body": {} }), Done),
    ];
    each(paegents("POST", "/usage-agreements/", 0), rows, buys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_what_it_takes_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    rows.retain(|(name, ..)| {
        !matches!(*name, "a redirect" | "403 html" | "408" | "409" | "pending" | "charge_then_fail")
    });
    rows.push(("no wallet", swap("gas_wallet_address", &json!(null)), Done));
    rows.push(("another chain", swap("chain_id", &json!(8453)), Undone("chain_mismatch")));
    each(paegents("GET", "/payment-requirements", 0), rows, buys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_breaks() {
    for skip in [0, 1, 2] {
        let rows: Vec<Row> = vec![
            ("drop_before", json!("drop_before"), Done),
            ("502", json!({ "status": 502, "body": super::HTML }), Done),
            ("no result", swap("result", &json!(null)), Done),
        ];
        each(chain(skip), rows, buys).await;
    }
}
