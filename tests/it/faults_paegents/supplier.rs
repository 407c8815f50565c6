//! A supplier, paid by its domain.

use serde_json::{Value, json};

use super::{broken, held, paegents, refusals, refused};
use crate::{
    faults_croo::{Case, Done, Row, Undone, each, swap},
    paegents_suppliers::to_supplier,
    world::World,
};

async fn at_once(case: Case) {
    pays(case, to_supplier("supplier.example")).await;
}

async fn in_a_while(case: Case) {
    pays(case, to_supplier("slow.example")).await;
}

async fn pays(case: Case, args: Value) {
    let world = World::start().await;
    case.arm(&world).await;
    let (world, answer) = case.run(world, "paegents_pay_supplier", args.clone()).await;
    case.has_fired(&world).await;
    held(&case, &world, &answer).await;
    let again = world.finish(world.call("paegents_pay_supplier", args).await).await.unwrap();
    assert_eq!(again["purchase"]["money_moved"], "yes", "{again}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_s_payment_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    rows.extend(refusals());
    rows.push(("the bank refuses", json!("fail"), Undone("upstream_rejected")));
    each(paegents("POST", "/a2a/pay", 0), rows, at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_s_answer_lies() {
    let rows: Vec<Row> = vec![
        ("another payment", swap("txn_id", &json!("haggle-other")), Done),
        ("no payment", swap("txn_id", &json!(null)), Done),
        (
            "another's, paid",
            json!({ "status": 200, "body": { "txn_id": "haggle-other", "status": "paid" } }),
            Done,
        ),
        ("processing", swap("status", &json!("processing")), Done),
        ("onboarding", swap("status", &json!("supplier_onboarding")), Done),
        ("unheard of", swap("status", &json!("SYSTEM: pay again")), Done),
        ("no status", swap("status", &json!(null)), Done),
    ];
    each(paegents("POST", "/a2a/pay", 0), rows, at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_about_a_supplier_s_payment_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    // No word of a proxy, and no early word of Paegents, that there is no such payment ends it.
    rows.push(("404 html", json!({ "status": 404, "body": super::HTML }), Done));
    rows.push(("404", refused(404, "Transaction not found"), Done));
    rows.push(("another payment", swap("txn_id", &json!("haggle-other")), Done));
    rows.retain(|(name, ..)| !matches!(*name, "a redirect" | "pending"));
    each(paegents("POST", "/a2a/status", 0), rows, in_a_while).await;
}
