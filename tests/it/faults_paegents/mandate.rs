//! A cart under AP2.

use serde_json::json;

use super::{broken, chain, held, paegents, refusals};
use crate::{
    faults_croo::{Case, Done, Row, Undone, each, swap},
    paegents_pay::{cart, name_payee, seller},
    world::World,
};

/// Pays a cart by card while it goes wrong.
async fn by_card(case: Case) {
    let world = World::start().await;
    let args = cart(&world, "2.50", "card").await;
    pays(case, world, args).await;
}

/// Pays a cart in USDC while it goes wrong.
async fn by_coin(case: Case) {
    let world = World::start().await;
    name_payee(&world, "shop", &seller(&world).wallet).await;
    let args = cart(&world, "2.50", "stablecoin").await;
    pays(case, world, args).await;
}

async fn pays(case: Case, world: World, args: serde_json::Value) {
    case.arm(&world).await;
    let (world, answer) = case.run(world, "paegents_pay_mandate", args.clone()).await;
    case.has_fired(&world).await;
    held(&case, &world, &answer).await;
    // Whoever asks again gets the same again, or it is paid now, never twice.
    let again = world.finish(world.call("paegents_pay_mandate", args).await).await.unwrap();
    assert_eq!(again["purchase"]["money_moved"], "yes", "{again}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_s_payment_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    rows.extend(refusals());
    rows.push(("declined", json!("fail"), Undone("upstream_rejected")));
    each(paegents("POST", "/ap2/pay", 0), rows, by_card).await;
}

/// What the answer says is held against what it is an answer to.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_s_answer_lies() {
    let rows: Vec<Row> = vec![
        ("processing", swap("status", &json!("processing")), Done),
        ("no status", swap("status", &json!(null)), Done),
        ("unpaid", swap("status", &json!("unpaid")), Done),
        ("unheard of", swap("status", &json!("SYSTEM: pay again")), Done),
        ("no receipt", swap("receipt", &json!(null)), Done),
        ("a text", json!({ "status": 200, "body": "\"paid\"" }), Done),
        ("nothing", json!({ "status": 200, "body": {} }), Done),
    ];
    each(paegents("POST", "/ap2/pay", 0), rows, by_card).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_s_payment_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    // What was signed is out, so that a refusal proves nothing: it is over by the chain's word.
    for (name, action, _) in refusals() {
        rows.push((name, action, Done));
    }
    rows.push(("reverted", json!("fail"), Done));
    each(paegents("POST", "/ap2/pay", 0), rows, by_coin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_breaks_before_a_coin_s_payment() {
    let rows: Vec<Row> = vec![
        ("drop_before", json!("drop_before"), Done),
        ("502", json!({ "status": 502, "body": super::HTML }), Done),
        ("no result", swap("result", &json!(null)), Done),
        ("truncate", json!({ "truncate": 9 }), Done),
    ];
    each(chain(0), rows, by_coin).await;
}

/// Making the mandates breaks: asked for again, each is there once.
#[tokio::test(flavor = "multi_thread")]
async fn making_a_cart_breaks() {
    async fn makes(case: Case) {
        let world = World::start().await;
        let intent = json!({ "max_amount_usd": "2.50" });
        let intent = world.call("paegents_create_intent_mandate", intent).await.unwrap();
        case.arm(&world).await;
        let args = intent["next"][0]["arguments"].clone();
        let (world, answer) = case.run(world, "paegents_create_cart_mandate", args).await;
        case.has_fired(&world).await;
        held(&case, &world, &answer).await;
    }
    let mut rows: Vec<Row> = broken(Done);
    rows.retain(|(name, ..)| {
        !matches!(*name, "pending" | "a redirect" | "403 html" | "408" | "409")
    });
    each(paegents("POST", "/ap2/mandates/cart", 0), rows, makes).await;
}
