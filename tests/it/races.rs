//! Many at once, and callers that go away: one purchase is paid once, and its outcome is not lost.

use std::time::Duration;

use futures::future::join_all;
use haggle::{money::Usdc, spend::policy::Policy};
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest};
use serde_json::{Value, json};

use crate::world::{Make, World};

fn usd(text: &str) -> Usdc {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_identical_calls_are_one_purchase() {
    let world = World::start().await;
    let args = world.purchase_of("auto");
    let answers = join_all((0..64).map(|_| world.buy(args.clone()))).await;
    let ids: Vec<&Value> =
        answers.iter().map(|answer| &answer.as_ref().unwrap()["purchase"]["id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.charges().await.len(), 1);
    assert_eq!(world.journal().await.len(), 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_race_for_one_purchase_and_pay_once() {
    let one = World::start().await;
    let two = one.beside().await;
    let args = one.purchase_of("auto");
    let calls = (0..8).map(|i| if i % 2 == 0 { &one } else { &two });
    let answers = join_all(calls.map(|world| world.buy(args.clone()))).await;
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap()["purchase"]["delivery"], "delivered");
    }
    assert_eq!(one.charges().await.len(), 1);
    // One of them did the work: the other waited for it.
    let requests = one.requests().await;
    let gateway = |r: &&serde_json::Value| {
        let path = r["path"].as_str().unwrap_or_default();
        path.starts_with("/gateway/") && r["headers"]["x-crochet-relay-request-id"].is_null()
    };
    assert_eq!(requests.iter().filter(gateway).count(), 1);
    one.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn different_purchases_of_one_wallet_are_all_paid_each_with_its_nonce() {
    let one = World::start().await;
    let two = one.beside().await;
    let (listing_id, price, _) = one.listing("auto");
    let args = |text: usize| {
        json!({ "listing_id": listing_id, "body": { "text": format!("text {text}") },
            "max_total_usd": price })
    };
    let answers =
        join_all((0..8).map(|i| if i % 2 == 0 { one.buy(args(i)) } else { two.buy(args(i)) }))
            .await;
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap()["purchase"]["delivery"], "delivered", "{answer:?}");
    }
    assert_eq!(one.charges().await.len(), 8);
    let mut nonces: Vec<_> = one.journal().await.iter().map(|p| p.account_nonce.unwrap()).collect();
    nonces.sort_unstable();
    assert_eq!(nonces, (0..8).collect::<Vec<u64>>());
    one.audit().await;
}

/// Ten purchases want what is left of the day, which is enough for three.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_s_budget_is_never_exceeded_by_racers() {
    let policy = Policy { day_max_usd: usd("0.17"), ..Policy::sandbox() };
    let one = World::start_with(Make { policy, ..Make::default() }).await;
    let two = one.beside().await;
    let (listing_id, _, _) = one.listing("auto");
    let args = |text: usize| {
        json!({ "listing_id": listing_id, "body": { "text": format!("text {text}") },
            "max_total_usd": "0.05" })
    };
    let answers =
        join_all((0..10).map(|i| if i % 2 == 0 { one.buy(args(i)) } else { two.buy(args(i)) }))
            .await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    for error in refused {
        assert_eq!(error["code"], "policy_denied", "{error}");
    }
    assert_eq!(one.charges().await.len(), 3, "as many as the budget has room for");
    one.audit().await;
}

/// How long the gateway keeps a call waiting that is given up.
const SLOW: Duration = Duration::from_secs(5);

/// What a caller sees of a purchase whose call was given up while the gateway had its request after
/// the first `skip`.
async fn given_up(skip: u32) -> World {
    let world = World::start().await;
    let slow = json!({ "delay_ms": SLOW.as_millis() });
    world.fault("crochet", "/gateway/*", skip, slow).await;
    let Value::Object(args) = world.purchase_of("auto") else { panic!("an object") };
    let params = CallToolRequestParams::new("crochet_call_listing").with_arguments(args);
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    let handle = world
        .client()
        .send_cancellable_request(request, rmcp::service::PeerRequestOptions::no_options())
        .await
        .unwrap();
    world.until(|_| true).await;
    world.fired().await;
    handle.cancel(None).await.unwrap();
    world
}

#[tokio::test]
async fn a_call_that_is_given_up_before_anything_was_sent_pays_nothing() {
    let world = given_up(0).await;
    // Were it not given up, it would be paid once the gateway has answered.
    tokio::time::sleep(SLOW + Duration::from_secs(2)).await;
    assert!(world.charges().await.is_empty());
    let journal = world.journal().await;
    assert_eq!(journal[0].money_moved(), haggle::error::MoneyMoved::No, "{:?}", journal[0].state);
    // The same call later is made as if it were the first.
    let done = world.buy(world.purchase_of("auto")).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_after_it_was_sent_is_paid_and_answered_later() {
    let world = given_up(1).await;
    assert_eq!(world.journal().await.len(), 1);
    let done = world.buy(world.purchase_of("auto")).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The first of two callers gives up; the other still gets what both asked for.
#[tokio::test]
async fn a_caller_that_gives_up_takes_nothing_from_another() {
    let world = World::start().await;
    world.fault("crochet", "/gateway/*", 0, json!({ "delay_ms": SLOW.as_millis() })).await;
    let Value::Object(args) = world.purchase_of("auto") else { panic!("an object") };
    let params = CallToolRequestParams::new("crochet_call_listing").with_arguments(args);
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    let first = world
        .client()
        .send_cancellable_request(request, rmcp::service::PeerRequestOptions::no_options())
        .await
        .unwrap();
    world.fired().await;
    let second = world.buy(world.purchase_of("auto"));
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.cancel(None).await.unwrap();
    };
    let (done, ()) = tokio::join!(second, cancel);
    assert_eq!(done.unwrap()["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
}

/// The client closes its end in the middle of it; the next process has the outcome.
#[tokio::test]
async fn a_client_that_goes_away_finds_its_outcome_later() {
    let world = World::start().await;
    world.fault("crochet", "/gateway/*", 1, json!({ "delay_ms": SLOW.as_millis() })).await;
    let args = world.purchase_of("auto");
    tokio::select! {
        _ = world.call_raw("crochet_call_listing", args.clone()) => {
            panic!("it was over before the client went")
        }
        () = world.fired() => {}
    }
    let world = world.restart().await;
    let done = world.buy(args).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// Killed anywhere on the way: the same call afterwards leads to one charge and the answer.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_paid_once() {
    let run = |after_ms: u64| async move {
        let world = World::start().await;
        let args = world.purchase_of("auto");
        let call = world.call_raw("crochet_call_listing", args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), call).await;
        let world = world.kill().await;
        let done = world.buy(args).await.unwrap_or_else(|e| panic!("after {after_ms} ms: {e}"));
        assert_eq!(done["purchase"]["delivery"], "delivered", "after {after_ms} ms");
        assert_eq!(world.charges().await.len(), 1, "after {after_ms} ms");
        world.audit().await;
    };
    for batch in 0..3_u64 {
        let times = (0..10_u64).map(|i| run(15 + (batch * 10 + i) * 45));
        let ran = join_all(times.map(tokio::spawn)).await;
        for ran in ran {
            ran.unwrap();
        }
    }
}
