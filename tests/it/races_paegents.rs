//! Paegents' escrows under many callers and processes: each is funded once, one after the other.

use std::collections::BTreeSet;

use futures::future::join_all;
use haggle::{money::Usdc, spend::policy::Policy};
use serde_json::{Value, json};

use crate::{
    paegents_escrow::{accepted, allowance},
    paegents_settle::funded,
    world::{Make, World},
};

const TOOL: &str = "paegents_activate_escrow";

fn usd(text: &str) -> Usdc {
    text.parse().unwrap()
}

fn activation(id: &str) -> Value {
    json!({ "agreement_id": id, "max_total_usd": "2.10" })
}

/// The bodies that activated something.
async fn activations(world: &World) -> Vec<String> {
    let requests = world.requests().await;
    let is_it = |r: &&Value| r["path"].as_str().unwrap().ends_with("/activate-escrow");
    requests.iter().filter(is_it).map(|r| r["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_activate_one_agreement_once() {
    let one = World::start().await;
    let two = one.beside().await;
    let id = accepted(&one, "auto", 100).await;
    let calls = (0..16).map(|i| if i % 2 == 0 { &one } else { &two });
    let calls =
        calls.map(|world| async { world.finish(world.call(TOOL, activation(&id)).await).await });
    for answer in join_all(calls).await {
        let done = answer.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    }
    assert_eq!(activations(&one).await.len(), 1);
    assert_eq!((one.charges().await.len(), one.journal().await.len()), (1, 1));
    assert_eq!(allowance(&one).await, 0);
    one.audit().await;
}

/// A wallet's permits count on: each of several activations is signed with the count that holds when
/// it is its turn, and none is refused for another's.
#[tokio::test(flavor = "multi_thread")]
async fn several_agreements_of_one_wallet_are_funded_one_after_the_other() {
    let one = World::start().await;
    let two = one.beside().await;
    let ids = join_all((0..6).map(|_| accepted(&one, "auto", 100))).await;
    let paid = ids.iter().enumerate().map(|(i, id)| {
        let world = if i % 2 == 0 { &one } else { &two };
        async move { world.finish(world.call(TOOL, activation(id)).await).await }
    });
    for answer in join_all(paid).await {
        let done = answer.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    }
    // None had to be handed in a second time.
    assert_eq!(activations(&one).await.len(), 6);
    assert_eq!(one.charges().await.len(), 6);
    one.audit().await;
}

/// Six escrows want what is left of the day, which is enough for two.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_s_last_budget_is_never_exceeded_by_escrows() {
    let policy = Policy { day_max_usd: usd("6.29"), ..Policy::sandbox() };
    let one = World::start_with(Make { policy, ..Make::default() }).await;
    let two = one.beside().await;
    let ids = join_all((0..6).map(|_| accepted(&one, "auto", 100))).await;
    let paid = ids.iter().enumerate().map(|(i, id)| {
        let world = if i % 2 == 0 { &one } else { &two };
        async move { world.finish(world.call(TOOL, activation(id)).await).await }
    });
    let answers = join_all(paid).await;
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error["code"], "policy_denied", "{error}");
        assert_eq!(error["money_moved"], "no", "{error}");
    }
    assert_eq!(one.charges().await.len(), 2, "as many as the budget has room for");
    assert_eq!(activations(&one).await.len(), 2);
    one.audit().await;
}

/// An activation is unknown: nothing else is paid by the wallet's permits until that is over.
#[tokio::test]
async fn nothing_is_signed_beside_an_activation_that_is_unknown() {
    let world = World::start().await;
    let (first, second) = (accepted(&world, "auto", 100).await, accepted(&world, "auto", 50).await);
    world.fault("paegents", "*/activate-escrow", 0, json!("drop_before")).await;
    let lost = world.call(TOOL, activation(&first)).await.unwrap_err();
    assert_eq!((&lost["code"], &lost["money_moved"]), (&json!("payment_unknown"), &json!("maybe")));
    let signed = world.app.wallet().await.unwrap().signatures();
    let error = world.call(TOOL, activation(&second)).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("conflict"), &json!("no")));
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed);
    world.finish(Err(error)).await.unwrap();
    for id in [&first, &second] {
        let done = world.finish(world.call(TOOL, activation(id)).await).await.unwrap();
        assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    }
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

/// Eight want the same escrow closed, by either way: one signature is made.
#[tokio::test(flavor = "multi_thread")]
async fn eight_calls_over_two_processes_close_an_escrow_once() {
    for (way, path, member) in
        [("sponsored", "/initiate-close", "signature"), ("direct", "/none", "params")]
    {
        let one = World::start().await;
        let two = one.beside().await;
        let id = funded(&one, "auto", 50).await;
        let before = one.requests().await.len();
        let own = json!({ "agreement_id": id, "way": way });
        let calls = (0..8).map(|i| if i % 2 == 0 { &one } else { &two });
        let calls = calls.map(|world| world.call("paegents_close_escrow", own.clone()));
        for answer in join_all(calls).await {
            let done = answer.unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(done["state"], "done", "{way}: {done}");
        }
        let requests = one.requests().await;
        let body = |request: &Value| -> Option<String> {
            let body = request["body"].as_str()?;
            let is_it = body.contains("eth_sendRawTransaction")
                || request["method"] == "POST" && request["path"].as_str()?.ends_with(path);
            let body: Value = serde_json::from_str(body).ok()?;
            is_it.then(|| body[member].to_string())
        };
        let made: BTreeSet<String> = requests.iter().skip(before).filter_map(body).collect();
        assert_eq!(made.len(), 1, "{way}: {made:?}");
    }
}

/// While what is to be signed is fetched, another call replaces the purchase: only that one is paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_was_replaced_meanwhile_is_not_paid() {
    let one = World::start().await;
    let two = one.beside().await;
    let id = accepted(&one, "auto", 100).await;
    one.fault("paegents", "*/activation-package", 1, json!({ "delay_ms": 8_000 })).await;
    let later = async {
        one.fired().await;
        let other = json!({ "agreement_id": id, "max_total_usd": "2.50" });
        two.finish(two.call(TOOL, other).await).await
    };
    let (first, second) = tokio::join!(one.call(TOOL, activation(&id)), later);
    let error = first.map(|done| panic!("{done}")).unwrap_err();
    assert_eq!(error["code"], "cancelled", "{error}");
    let done = second.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    assert_eq!((one.charges().await.len(), one.journal().await.len()), (1, 2));
    assert_eq!(activations(&one).await.len(), 1);
    one.audit().await;
}
