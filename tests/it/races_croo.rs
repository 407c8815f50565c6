//! CROO orders under many callers and processes: each is paid once, one after the other, whatever
//! is killed on the way.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use haggle::marketplaces::croo::stream::Times;
use serde_json::{Value, json};

use crate::world::{Make, World};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_calls_over_two_processes_pay_an_order_once() {
    let one = World::start().await;
    let two = one.beside().await;
    let order = one.order("auto").await;
    let calls = (0..32).map(|i| if i % 2 == 0 { &one } else { &two });
    let answers = join_all(calls.map(|world| world.pay(&order))).await;
    for answer in &answers {
        let done = answer.as_ref().unwrap_or_else(|error| panic!("{error}"));
        assert!(!done["result_untrusted"].is_null(), "{done}");
    }
    assert_eq!(one.sent("POST", "/pay").await, 1);
    assert_eq!(one.charges().await.len(), 1);
    assert_eq!(one.journal().await.len(), 1);
    one.audit().await;
}

/// The platform refuses two payments of one wallet at once: they are made one after the other, so
/// that it has nothing to refuse.
#[tokio::test(flavor = "multi_thread")]
async fn eight_orders_of_one_wallet_are_paid_one_after_the_other() {
    let one = World::start().await;
    let two = one.beside().await;
    let id = one.item("auto").id;
    let asked = (0..8).map(|i| {
        let args = json!({ "service_id": id, "requirements": format!("text number {i}.") });
        let world = if i % 2 == 0 { &one } else { &two };
        world.order_by(args)
    });
    let orders = join_all(asked).await;
    let paid = orders.iter().enumerate().map(|(i, order)| {
        let world = if i % 2 == 0 { &two } else { &one };
        world.pay(order)
    });
    for answer in join_all(paid).await {
        let done = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(!done["result_untrusted"].is_null(), "{done}");
    }
    // None was refused: each payment was sent once.
    assert_eq!(one.sent("POST", "/pay").await, 8);
    let charged: BTreeSet<String> = one.charges().await.into_iter().map(|c| c.0).collect();
    let meant: BTreeSet<String> =
        orders.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(charged, meant);
    assert_eq!(one.charges().await.len(), 8);
    one.audit().await;
}

/// The same asked for by many at once is one negotiation.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_requests_for_the_same_offer_are_one_negotiation() {
    let one = World::start().await;
    let two = one.beside().await;
    let args = one.negotiation_of("auto");
    let calls = (0..16).map(|i| if i % 2 == 0 { &one } else { &two });
    let calls = calls.map(|world| world.call("croo_negotiate_order", args.clone()));
    let ids: BTreeSet<String> = join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap()["negotiation_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(one.sent("POST", "/orders/negotiate").await, 1);
}

/// An earlier payment of the wallet is unknown: nothing else is paid from it until that is over.
#[tokio::test]
async fn nothing_is_paid_beside_a_payment_that_is_unknown() {
    let world = World::start().await;
    let first = world.order("auto").await;
    let second = world.order("slow").await;
    world.fault("croo", "/orders/*/pay", 0, json!("drop_before")).await;
    world.call("croo_pay_order", World::payment_of(&first)).await.unwrap_err();
    let error = world.call("croo_pay_order", World::payment_of(&second)).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("conflict"), &json!("no")),
        "{error}"
    );
    assert_eq!(world.sent("POST", "/pay").await, 1);
    // Following that ends with what the earlier one bought; then the other is paid as well.
    world.finish(Err(error)).await.unwrap();
    world.pay(&first).await.unwrap();
    world.pay(&second).await.unwrap();
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

/// Another program with the same key pays the order while we are about to: it is read once more
/// right before the payment, so that ours is not sent.
#[tokio::test]
async fn an_order_that_somebody_pays_meanwhile_is_not_paid_again() {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.fault("croo", "/orders/*-*", 1, json!({ "delay_ms": 5_000 })).await;
    let info = world.sandbox.info().croo;
    let id = order["order_id"].as_str().unwrap();
    let url = format!("{}/backend/v1/orders/{id}/pay", info.api_url);
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let theirs = async {
        world.fired().await;
        let request = http.post(url).header("x-sdk-key", &info.requester.sdk_key).body("{}");
        assert!(request.send().await.unwrap().status().is_success());
    };
    let args = World::payment_of(&order);
    let (ours, ()) = tokio::join!(world.call_raw("croo_pay_order", args), theirs);
    let ours = ours.structured_content.unwrap();
    assert_eq!(ours["error"]["code"], "wrong_state", "{ours}");
    assert_eq!(world.sent("POST", "/pay").await, 1);
    assert_eq!(world.charges().await.len(), 1);
}

/// Killed anywhere on the way: whoever goes on from the order afterwards pays it once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_paid_once() {
    let run = |after_ms: u64| async move {
        let world = World::start().await;
        let order = world.order("auto").await;
        let call = world.call_raw("croo_pay_order", World::payment_of(&order));
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), call).await;
        let world = world.kill().await;
        let done = world.pay(&order).await.unwrap_or_else(|e| panic!("after {after_ms} ms: {e}"));
        assert!(!done["result_untrusted"].is_null(), "after {after_ms} ms: {done}");
        assert_eq!(world.charges().await.len(), 1, "after {after_ms} ms");
        world.audit().await;
    };
    for batch in 0..3_u64 {
        let times = (0..10_u64).map(|i| run(5 + (batch * 10 + i) * 25));
        for ran in join_all(times.map(tokio::spawn)).await {
            ran.unwrap();
        }
    }
}

/// CROO lets a key have one connection for events: the processes of one store share it.
#[tokio::test]
async fn two_processes_of_one_store_have_one_socket() {
    let make = Make { times: Some(Times::default()), ..Make::default() };
    let one = World::start_with(make).await;
    let connections = async |world: &World| {
        let requests = world.requests().await;
        requests.iter().filter(|request| request["marketplace"] == "socket").count()
    };
    one.app.listen();
    for _ in 0..1_200 {
        if connections(&one).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let two = one.beside().await;
    two.app.listen();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(connections(&two).await, 1, "both have a connection");
    }
    let status = two.call("market_status", json!({})).await.unwrap();
    assert!(status["frozen"].is_null(), "{status}");
}

/// Killed while asking for an offer: asking again makes no second negotiation of what was begun.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_negotiated_once() {
    let run = |after_ms: u64| async move {
        let world = World::start().await;
        let args = world.negotiation_of("auto");
        let call = world.call_raw("croo_negotiate_order", args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), call).await;
        let world = world.kill().await;
        world.call("croo_negotiate_order", args).await.unwrap();
        let key = world.sandbox.info().croo.requester.sdk_key;
        let path = "/orders/negotiate?role=requester&page=1&page_size=50";
        let made: Value = world.truth(&key, path).await;
        assert_eq!(made["negotiations"].as_array().map_or(0, Vec::len), 1, "after {after_ms} ms");
    };
    let times = (0..12_u64).map(|i| run(3 + i * 9));
    for ran in join_all(times.map(tokio::spawn)).await {
        ran.unwrap();
    }
}
