//! The older payments: one request, whatever comes of it.

use haggle::spend::word::owner_says;
use serde_json::{Value, json};

use super::{broken, paegents, refusals};
use crate::{
    faults_croo::{Case, Done, Ends, Row, Undone, each},
    paegents_suppliers::{to_agent, to_business},
    world::World,
};

async fn to_a_business(case: Case) {
    let world = World::start().await;
    Box::pin(pays(case, world, "paegents_create_payment", to_business())).await;
}

async fn to_an_agent(case: Case) {
    let world = World::start().await;
    let args = to_agent(&world);
    Box::pin(pays(case, world, "paegents_create_a2a_payment", args)).await;
}

/// `Undone("payment_unknown")` stands for what only the owner can tell.
async fn pays(case: Case, world: World, tool: &str, args: Value) {
    case.arm(&world).await;
    let (world, answer) = case.run(world, tool, args.clone()).await;
    case.has_fired(&world).await;
    match (case.ends, answer) {
        (Ends::Undone("payment_unknown"), Err(error)) => {
            assert_eq!(error["code"], "payment_unknown", "{error}");
            assert_eq!(error["money_moved"], "maybe", "{error}");
            assert_eq!(error["recovery"]["next_action"], "ask_owner", "{error}");
            // However long and often it is asked for: it goes out no second time.
            world.advance(7_200).await;
            let again = world.call(tool, args.clone()).await.unwrap_err();
            assert_eq!(again["purchase_id"], error["purchase_id"], "{again}");
            let purchase = world.purchase(&error).await;
            let is_paid = !world.charges().await.is_empty();
            let now = world.app.clock().now();
            owner_says(world.app.store(), &purchase.id, is_paid, now).await.unwrap();
            let mut named = args;
            named["purchase_id"] = json!(purchase.id);
            let told = world.call_raw(tool, named).await;
            assert_eq!(told.is_error == Some(true), !is_paid);
        }
        (Ends::Undone(code), Err(error)) => {
            assert_eq!((&error["code"], &error["money_moved"]), (&json!(code), &json!("no")));
            assert!(world.charges().await.is_empty(), "{error}");
        }
        (Ends::Done, Ok(done)) => assert_eq!(done["purchase"]["money_moved"], "yes"),
        (ends, answer) => panic!("it should end {ends:?}, ended {answer:?}"),
    }
    let path = case.place.path.trim_start_matches('*');
    let requests = world.requests().await;
    let sent = requests.iter().filter(|request| request["path"] == path).count();
    assert_eq!(sent, 1, "it was sent again");
    assert!(world.charges().await.len() <= 1);
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = broken(Undone("payment_unknown"));
    for (name, _, ends) in &mut rows {
        if matches!(*name, "late" | "skewed") {
            *ends = Done;
        }
    }
    rows.extend(refusals());
    // It was refused, so that it may go out anew.
    rows.retain(|(name, ..)| *name != "429 json");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_payment_to_a_business_breaks() {
    each(paegents("POST", "/mcp/payments", 0), rows(), to_a_business).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_payment_to_an_agent_breaks() {
    each(paegents("POST", "/a2a/payment", 0), rows(), to_an_agent).await;
}
