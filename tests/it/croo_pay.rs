//! Paying a CROO order: once, at most what was allowed, to whom it should go, whatever is lost.

use futures::future::join_all;
use haggle::{
    journal::State,
    spend::{
        policy::Policy,
        word::{Word, owner_answers},
    },
};
use serde_json::{Value, json};

use crate::{
    croo::{asking, at_croo, fault, ordered, paying, sent, service},
    world::{Make, Person, World},
};

/// How long after the request an order that stands unpaid is believed, and a second more.
const HORIZON_SECONDS: i64 = 121;

/// A world with an order for the first service that behaves so.
async fn world_and_order(behaviour: &str, name: &str) -> (World, Value) {
    let world = World::start().await;
    let order = ordered(&world, &service(&world, behaviour, name)).await;
    (world, order)
}

/// Where CROO has an order.
fn at(order: &Value) -> String {
    format!("/orders/{}", order["order_id"].as_str().unwrap())
}

/// What CROO says of an order.
async fn at_sandbox(world: &World, order: &Value) -> Value {
    let key = world.sandbox.info().croo.requester.sdk_key;
    at_croo(world, &key, "GET", &at(order), None).await.1["order"].clone()
}

async fn check(world: &World, purchase: &Value) -> Value {
    let id = json!({ "purchase_id": purchase["purchase_id"] });
    world.call("market_check_purchase", id).await.unwrap()["purchase"].clone()
}

/// An order is one purchase, however often and by however many it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_once() {
    let (world, order) = world_and_order("auto", "Text").await;
    let beside = world.beside().await;
    let twins = (0..6).map(|n| {
        let world = if n % 2 == 0 { &world } else { &beside };
        world.call("croo_pay_order", paying(&order))
    });
    let paid: Vec<_> = join_all(twins).await.into_iter().map(Result::unwrap).collect();
    let id = &paid[0]["purchase"]["id"];
    assert!(paid.iter().all(|paid| paid["purchase"]["id"] == *id), "{paid:?}");
    assert_eq!(paid[0]["purchase"]["amount_usd"], order["cost"]["total_usd"]);
    assert_eq!(paid[0]["order_id"], order["order_id"]);
    assert_eq!(paid[0]["next"][0]["tool"], "croo_get_delivery");
    let wait = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    let done = world.call("croo_get_delivery", wait).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    // Finished, under another maximum, after a restart, and where CROO cannot be read.
    let world = world.restart().await;
    fault(&world, "GET", &at(&order), json!({ "status": 503 })).await;
    let mut args = paying(&order);
    args["max_total_usd"] = json!("0");
    let again = world.call("croo_pay_order", args).await.unwrap();
    assert_eq!(again["purchase"]["id"], *id);
    assert!(again["order_id"].is_null(), "{again}");
    assert_eq!(again["next"][0]["tool"], "croo_get_delivery");
    assert_eq!(sent(&world, "POST", "/pay").await, 1);
    world.audit().await;
}

/// A call that read the journal before another one paid goes on with that payment.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_overtaken_goes_on_with_the_other_s_payment() {
    let (world, order) = world_and_order("auto", "Text").await;
    fault(&world, "GET", &at(&order), json!({ "delay_ms": 5_000 })).await;
    let second = async {
        world.fired().await;
        world.call("croo_pay_order", paying(&order)).await
    };
    let (slow, fast) = tokio::join!(world.call("croo_pay_order", paying(&order)), second);
    let (slow, fast) = (slow.unwrap(), fast.unwrap());
    assert_eq!(slow["purchase"]["id"], fast["purchase"]["id"]);
    assert_eq!(sent(&world, "POST", "/pay").await, 1);
    world.audit().await;
}

#[tokio::test]
async fn f1_an_id_with_a_path_never_reaches_the_network() {
    let world = World::start().await;
    let tools = [
        ("croo_get_service", "service_id"),
        ("croo_negotiate_order", "service_id"),
        ("croo_get_negotiation", "negotiation_id"),
        ("croo_get_order", "order_id"),
        ("croo_get_order", "negotiation_id"),
        ("croo_pay_order", "order_id"),
        ("croo_reject_order", "order_id"),
        ("croo_get_delivery", "order_id"),
    ];
    let ids = ["abc/../OTHER/pay#", "../x", "a/b", "a?b=c", "a#b", "a%2fb", "a b", "", "a\r\nx: y"];
    for (tool, name) in tools {
        for id in ids {
            let mut args = match tool {
                "croo_negotiate_order" => json!({ "requirements": "x" }),
                "croo_pay_order" => json!({ "max_total_usd": "1" }),
                "croo_reject_order" => json!({ "reason": "x" }),
                _ => json!({}),
            };
            args[name] = json!(id);
            let error = world.call(tool, args).await.unwrap_err();
            assert_eq!(error["code"], "invalid_argument", "{tool} {id}: {error}");
            assert_eq!(error["field"], name, "{tool} {id}");
            assert_eq!(error["money_moved"], "no");
        }
    }
    // The lists are read by whoever keeps the inbox.
    let lists = ["/orders", "/orders/negotiate"];
    let others: Vec<_> = world
        .requests()
        .await
        .into_iter()
        .filter(|request| request["marketplace"] == "croo")
        .filter(|request| !lists.contains(&request["path"].as_str().unwrap()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(sent(&world, "POST", "").await, 0);
}

/// The answer of `pay` is lost: the order tells what became of it, and `pay` is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn f5_a_lost_pay_is_settled_by_reading() {
    #[rustfmt::skip]
    let rows = [
        // what happens                          was it carried out
        (json!("drop_after"),                    true),
        (json!("charge_then_fail"),              true),
        (json!({ "truncate": 30 }),              true),
        (json!("drop_before"),                   false),
        (json!({ "status": 502 }),               false),
        (json!({ "status": 200, "body": "?" }),  false),
        (json!("pending"),                       false),
    ];
    let runs = rows.map(|(action, done)| tokio::spawn(lost(action, done)));
    for run in join_all(runs).await {
        run.unwrap();
    }
}

async fn lost(action: Value, done: bool) {
    let (world, order) = world_and_order("auto", "Text").await;
    fault(&world, "POST", "/orders/*/pay", action.clone()).await;
    let answer = world.call("croo_pay_order", paying(&order)).await;
    if done {
        assert_eq!(answer.unwrap()["purchase"]["money_moved"], "yes", "{action}");
    } else {
        let error = answer.unwrap_err();
        let unsure = ["payment_unknown", "payment_pending"];
        assert!(unsure.contains(&error["code"].as_str().unwrap()), "{action}: {error}");
        assert_eq!(error["money_moved"], "maybe");
        assert_eq!(error["recovery"]["next"][0]["tool"], "market_check_purchase");
        // It may still be on its way: neither asking nor paying sends it again, nor a rejection.
        let asked = check(&world, &error).await;
        assert_ne!(asked["state"], "failed", "{action}");
        world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(sent(&world, "POST", "/pay").await, 1, "{action}");
        let reject = json!({ "order_id": order["order_id"], "reason": "no" });
        let refused = world.call("croo_reject_order", reject).await.unwrap_err();
        assert_eq!(
            (&refused["code"], &refused["money_moved"]),
            (&json!("wrong_state"), &json!("maybe"))
        );
        // After the horizon an order that stands unpaid was not paid, and can be.
        world.advance(HORIZON_SECONDS).await;
        assert_eq!(check(&world, &error).await["state"], "failed", "{action}");
        let paid = world.call("croo_pay_order", paying(&order)).await.unwrap();
        assert_eq!(paid["purchase"]["money_moved"], "yes");
        assert_eq!(sent(&world, "POST", "/pay").await, 2);
    }
    assert_eq!(world.charges().await.len(), 1, "{action}");
    world.audit().await;
}

/// A process that dies with the payment under way: the next one asks, and pays nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_one_payment() {
    let (world, order) = world_and_order("auto", "Text").await;
    fault(&world, "POST", "/orders/*/pay", json!({ "delay_ms": 1500 })).await;
    let args = paying(&order);
    let paying_now = world.call_raw("croo_pay_order", args.clone());
    let submitted = world.until(|purchase| purchase.state == State::Submitted);
    tokio::select! { _ = paying_now => panic!("it was delayed"), () = submitted => {} }
    for _ in 0..3_000 {
        if sent(&world, "POST", "/pay").await == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let world = world.kill().await;
    for _ in 0..3_000 {
        if !world.charges().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let paid = world.call("croo_pay_order", args).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes");
    assert_eq!(sent(&world, "POST", "/pay").await, 1);
    world.audit().await;
}

/// A node that fails is told apart from an empty wallet, and a price that is none is not paid.
#[tokio::test]
async fn f6_a_node_s_failure_is_no_empty_wallet() {
    let (world, order) = world_and_order("auto", "Text").await;
    let rpc_error =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "x" } });
    let empty = json!({ "jsonrpc": "2.0", "id": 1, "result": "0x" });
    for action in [
        json!({ "status": 500 }),
        json!("drop_before"),
        json!({ "status": 200, "body": rpc_error }),
        json!({ "status": 200, "body": empty }),
    ] {
        world.fault("chain", "eth_call", 0, action.clone()).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(error["code"], "chain_unavailable", "{action}: {error}");
        assert_eq!(error["money_moved"], "no");
        world.admin("DELETE", "/faults", None).await;
    }
    let usdc = json!("0x0000000000000000000000000000000000000001");
    #[rustfmt::skip]
    let rows = [
        (json!({ "price": "" }),            "upstream_malformed"),
        (json!({ "price": null }),          "upstream_malformed"),
        (json!({ "price": "-1" }),          "upstream_malformed"),
        (json!({ "price": "1.5" }),         "upstream_malformed"),
        (json!({ "price": "0x10" }),        "upstream_malformed"),
        (json!({ "price": "1e3" }),         "upstream_malformed"),
        (json!({ "gasAmount": "-1.0" }),    "upstream_malformed"),
        (json!({ "paymentToken": usdc }),   "terms_mismatch"),
        (json!({ "paymentToken": "" }),     "terms_mismatch"),
        (json!({ "providerAgentId": "" }),  "upstream_malformed"),
        (json!({ "orderId": "another" }),   "upstream_malformed"),
    ];
    for (terms, code) in rows {
        fault(&world, "GET", &at(&order), json!({ "swap_terms": terms })).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(error["code"], code, "{terms}: {error}");
        assert_eq!(error["money_moved"], "no");
        world.admin("DELETE", "/faults", None).await;
    }
    world.balance(&json!({ "usdc": "0.01" })).await;
    let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
    assert_eq!(error["code"], "insufficient_funds", "{error}");
    assert_eq!(error["recovery"]["next_action"], "top_up");
    assert_eq!(sent(&world, "POST", "/pay").await, 0);
    world.balance(&json!({ "usdc": "5" })).await;
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    world.audit().await;
}

/// What changes between the plan and the payment is not paid.
#[tokio::test]
async fn terms_that_change_after_the_plan_are_refused() {
    #[rustfmt::skip]
    let rows = [
        (json!({ "price": "9000000" }),               "price_changed"),
        (json!({ "providerAgentId": "someone-else" }), "terms_mismatch"),
        (json!({ "requirements": "something else" }), "terms_mismatch"),
        (json!({ "requesterWalletAddress": "0x" }),   "terms_mismatch"),
        (json!({ "status": "expired" }),              "wrong_state"),
    ];
    let (world, order) = world_and_order("auto", "Text").await;
    for (terms, code) in rows {
        let second = json!({ "marketplace": "croo", "method": "GET", "path": at(&order), "skip": 1,
            "times": 1, "action": { "swap_terms": terms } });
        world.admin("POST", "/faults", Some(second)).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(error["code"], code, "{terms}: {error}");
        assert_eq!(error["money_moved"], "no");
    }
    assert_eq!(sent(&world, "POST", "/pay").await, 0);
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    world.audit().await;
}

/// The fund part goes to an address that the provider chose: never above the owner's limit, never
/// without the owner's word, never to another address than they saw.
#[tokio::test]
async fn f7_the_fund_address_is_the_provider_s_and_needs_the_owner() {
    let world = World::start().await;
    let item = service(&world, "auto", "Fund");
    let mut args = asking(&item);
    let missing = world.call("croo_negotiate_order", args.clone()).await.unwrap_err();
    assert_eq!(
        (&missing["code"], &missing["field"]),
        (&json!("invalid_argument"), &json!("fund_usd"))
    );
    args["fund_usd"] = json!("5.000001");
    let above = world.call("croo_negotiate_order", args.clone()).await.unwrap_err();
    assert_eq!(above["code"], "policy_denied", "{above}");
    let mut plain = asking(&service(&world, "auto", "Text"));
    plain["fund_usd"] = json!("1");
    let extra = world.call("croo_negotiate_order", plain).await.unwrap_err();
    assert_eq!(extra["field"], "fund_usd");
    assert_eq!(sent(&world, "POST", "/orders/negotiate").await, 0);

    args["fund_usd"] = json!("1");
    let made = world.call("croo_negotiate_order", args).await.unwrap();
    assert_eq!(made["fund_usd"], "1");
    let wait = json!({ "negotiation_id": made["negotiation_id"], "wait_seconds": 20 });
    let order = world.call("croo_get_order", wait).await.unwrap();
    let address = order["fund_address_untrusted"].as_str().unwrap().to_owned();
    assert_eq!(order["cost"]["fund_usd"], "1");
    assert_eq!(order["cost"]["total_usd"], "1.23", "price, gas, fee and fund: {order}");

    let asks = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
    assert_eq!(asks["code"], "approval_required", "{asks}");
    assert!(asks["message"].as_str().unwrap().contains(&address));
    approve(&world, &asks).await;
    // Another address than the owner saw, with both of its readings; then at the second alone.
    for skip in [0, 1] {
        let other = json!({ "providerFundAddress": "0x000000000000000000000000000000000000dEaD" });
        let swap = json!({ "marketplace": "croo", "method": "GET", "path": at(&order),
            "skip": skip, "times": 2, "action": { "swap_terms": other } });
        world.admin("POST", "/faults", Some(swap)).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert!(
            ["terms_mismatch", "approval_required"].contains(&error["code"].as_str().unwrap()),
            "{error}"
        );
        assert_eq!(error["money_moved"], "no");
        world.admin("DELETE", "/faults", None).await;
    }
    assert_eq!(sent(&world, "POST", "/pay").await, 0);
    let asks = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
    approve(&world, &asks).await;
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    assert_eq!(world.charges().await[0].1, "1.23");
    world.audit().await;
}

/// Where the owner allows no fund part, none is asked for; a client that can ask shows the address.
#[tokio::test]
async fn a_fund_part_is_the_owner_s_to_allow() {
    let none = Policy { fund_max_usd: "0".parse().unwrap(), ..Policy::sandbox() };
    let world = World::start_with(Make { policy: none, ..Make::default() }).await;
    let mut args = asking(&service(&world, "auto", "Fund"));
    args["fund_usd"] = json!("0.01");
    let denied = world.call("croo_negotiate_order", args.clone()).await.unwrap_err();
    assert_eq!(denied["code"], "policy_denied");
    assert_eq!(sent(&world, "POST", "/orders/negotiate").await, 0);

    let person = Person { answer: Some(true), ..Person::default() };
    let world = World::start_with(Make { person: person.clone(), ..Make::default() }).await;
    let made = world.call("croo_negotiate_order", args).await.unwrap();
    let wait = json!({ "negotiation_id": made["negotiation_id"], "wait_seconds": 20 });
    let order = world.call("croo_get_order", wait).await.unwrap();
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    let asked = person.asked.lock().unwrap().clone();
    let address = order["fund_address_untrusted"].as_str().unwrap();
    assert!(asked.len() == 1 && asked[0].contains(address), "{asked:?}");
}

async fn approve(world: &World, asks: &Value) {
    let id = asks["purchase_id"].as_str().unwrap().parse().unwrap();
    let now = world.app.clock().now();
    owner_answers(world.app.store(), &id, Word::Approve, now).await.unwrap();
}

/// More than it was listed for, and more than is allowed, are told apart, with every part.
#[tokio::test]
async fn a_price_above_the_maximum_is_told_in_parts() {
    let (world, order) = world_and_order("price_rises", "").await;
    let mut args = paying(&order);
    args["max_total_usd"] = json!("0.21");
    let risen = world.call("croo_pay_order", args).await.unwrap_err();
    assert_eq!(risen["code"], "price_changed", "{risen}");
    assert_eq!((&risen["field"], &risen["example"]), (&json!("max_total_usd"), &json!("0.31")));
    let message = risen["message"].as_str().unwrap();
    for part in ["price 0.30, listed for 0.20", "gas 0.01", "fee 0", "fund 0", "at most 0.21"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let next = &risen["recovery"]["next"][0];
    assert_eq!(next["arguments"], paying(&order));
    let (world, order) = world_and_order("auto", "Text").await;
    let mut args = paying(&order);
    args["max_total_usd"] = json!("0.059999");
    let above = world.call("croo_pay_order", args).await.unwrap_err();
    assert_eq!((&above["code"], &above["example"]), (&json!("above_max_total"), &json!("0.06")));
    assert!(world.charges().await.is_empty());
}

/// What CROO refuses, or the chain takes back, can be paid anew; the hints say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_came_to_nothing_is_made_anew() {
    let refusal = |reason: &str| json!({ "status": 400, "body": { "reason": reason } });
    for (action, code) in [
        (json!("fail"), "upstream_rejected"),
        (refusal("NONCE_ERROR"), "upstream_rejected"),
        (refusal("PIMLICO_ERROR"), "insufficient_funds"),
    ] {
        let (world, order) = world_and_order("auto", "Text").await;
        fault(&world, "POST", "/orders/*/pay", action.clone()).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["money_moved"]),
            (&json!(code), &json!("no")),
            "{error}"
        );
        let paid = world.call("croo_pay_order", paying(&order)).await.unwrap();
        assert_eq!(paid["purchase"]["money_moved"], "yes", "{action}");
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

/// An order that is not ours to pay, or cannot be paid, says what can be done with it.
#[tokio::test]
async fn what_cannot_be_paid_is_said() {
    let (world, order) = world_and_order("auto", "Text").await;
    #[rustfmt::skip]
    let rows = [
        ("creating",  "croo_get_order"),
        ("paid",      "croo_get_delivery"),
        ("completed", "croo_get_delivery"),
        ("rejected",  "market_search"),
        ("whatever",  "croo_get_order"),
    ];
    for (status, tool) in rows {
        let swap = json!({ "swap_terms": { "status": status } });
        fault(&world, "GET", &at(&order), swap).await;
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(error["code"], "wrong_state", "{status}: {error}");
        assert_eq!(error["recovery"]["next"][0]["tool"], tool, "{status}");
    }
    let stranger = json!({ "order_id": "ord-1", "max_total_usd": "1" });
    let error = world.call("croo_pay_order", stranger).await.unwrap_err();
    assert_eq!(error["code"], "not_found");
    assert_eq!(error["recovery"]["next"][0]["tool"], "croo_list_orders");
    // As its seller.
    let order = ordered_from_provider(&world).await;
    let provider = world.provider().await;
    let error = provider.call("croo_pay_order", paying(&order)).await.unwrap_err();
    assert_eq!(error["code"], "not_allowed", "{error}");
    assert!(world.charges().await.is_empty());
}

/// An order of the requester for a service of the agent who answers by hand.
async fn ordered_from_provider(world: &World) -> Value {
    let item = service(world, "manual", "Expert");
    let made = world.call("croo_negotiate_order", asking(&item)).await.unwrap();
    let id = made["negotiation_id"].as_str().unwrap();
    let path = format!("/orders/negotiate/{id}/accept");
    crate::croo::by_provider(world, &path, json!({})).await;
    let wait = json!({ "negotiation_id": id, "wait_seconds": 20 });
    world.call("croo_get_order", wait).await.unwrap()
}

/// What was paid is collected by asking, once it is there; what is refunded is told.
#[tokio::test(flavor = "multi_thread")]
async fn asking_collects_what_was_delivered_meanwhile() {
    let (world, order) = world_and_order("slow", "").await;
    let paid = world.call("croo_pay_order", paying(&order)).await.unwrap();
    assert_eq!(paid["purchase"]["delivery"], "pending");
    let about = json!({ "purchase_id": paid["purchase"]["id"] });
    let early = world.call("market_check_purchase", about.clone()).await.unwrap();
    assert_eq!(early["purchase"]["delivery"], "pending");
    assert_eq!(early["next"][0]["tool"], "croo_get_delivery");
    let status = world.call("market_status", json!({})).await.unwrap();
    assert_eq!(status["open_purchases"][0]["id"], paid["purchase"]["id"]);
    assert!(status["marketplaces"].as_array().unwrap().iter().all(|m| m["registered"] == true));
    while at_sandbox(&world, &order).await["status"] != "completed" {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let late = world.call("market_check_purchase", about).await.unwrap();
    assert_eq!(late["purchase"]["delivery"], "delivered");
    assert_eq!(late["next"][0]["tool"], "croo_get_delivery");
    assert!(world.journal().await[0].answer.is_some());

    let (world, order) = world_and_order("never_delivers", "").await;
    let paid = world.call("croo_pay_order", paying(&order)).await.unwrap();
    world.advance(3_600).await;
    let about = json!({ "purchase_id": paid["purchase"]["id"] });
    let expired = world.call("market_check_purchase", about).await.unwrap();
    assert_eq!(expired["purchase"]["delivery"], "failed", "{expired}");
    assert_eq!(expired["purchase"]["money_moved"], "yes");
    let error = world
        .call("croo_get_delivery", json!({ "order_id": order["order_id"] }))
        .await
        .unwrap_err();
    assert_eq!(error["code"], "paid_not_delivered", "{error}");
    assert!(error["message"].as_str().unwrap().contains("gives the price back"), "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "market_search");
    let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
    assert_eq!(error["code"], "paid_not_delivered");
    assert_eq!(sent(&world, "POST", "/pay").await, 1);
    world.audit().await;
}
