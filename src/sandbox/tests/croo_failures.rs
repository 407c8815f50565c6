//! CROO when it goes wrong: deadlines, refusals, steps that fail, and faults on the way.

use alloy_primitives::Address;
use serde_json::{Value, json};

use super::{World, croo_orders::STEP_MS};
use crate::{
    money::Usdc,
    sandbox::{
        Pace,
        chain::bundler::{Operation, bundle},
    },
};

fn fail(method: &str, path: &str) -> Value {
    json!({ "marketplace": "croo", "method": method, "path": path, "action": "fail" })
}

#[tokio::test]
async fn a_negotiation_lapses() {
    let world = World::start().await;
    let negotiation = world.negotiate(&world.service("manual")).await;
    let path = format!("/orders/negotiate/{negotiation}");
    world.pass(600_000 - 1);
    let status = |json: Value| json["negotiation"]["status"].as_str().unwrap().to_owned();
    assert_eq!(status(world.buyer_asks("GET", &path, Value::Null).await.json), "pending");
    world.pass(1);
    assert_eq!(status(world.buyer_asks("GET", &path, Value::Null).await.json), "expired");
    let late = world.provider_asks("POST", &format!("{path}/accept"), json!({})).await;
    assert_eq!(late.reason(), (400, "INVALID_STATUS"));
    let told = format!("/events?agent_id={}", world.info.croo.requester.agent_id);
    let told = world.admin("GET", &told, Value::Null).await.json;
    assert_eq!(told["events"][0]["type"], "order_negotiation_expired");
}

#[tokio::test]
async fn an_order_that_nobody_pays_lapses() {
    let world = World::start().await;
    let id = world.accepted().await;
    world.pass(1_800_000 - 1);
    assert_eq!(world.status(&id).await, "created");
    world.pass(1);
    assert_eq!(world.status(&id).await, "expired");
    assert_eq!(world.pay_order(&id).await.reason(), (400, "INVALID_STATUS"));
    assert!(world.truth("refund").await.is_empty());
    assert_eq!(world.funds().await, 1_000_000_000);
}

#[tokio::test]
async fn who_may_reject_what() {
    let world = World::start().await;
    // Before the payment, either side.
    for by_buyer in [true, false] {
        let id = world.accepted().await;
        let (path, body) = (format!("/orders/{id}/reject"), json!({ "reason": "changed" }));
        let asked = if by_buyer {
            world.buyer_asks("POST", &path, body).await
        } else {
            world.provider_asks("POST", &path, body).await
        };
        assert_eq!(asked.status, 200);
        assert_eq!(world.status(&id).await, "rejecting");
        assert_eq!(world.pay_order(&id).await.reason(), (400, "INVALID_STATUS"));
        world.pass(STEP_MS);
        let order = world.order(&id).await;
        assert_eq!(order["status"], "rejected");
        assert_eq!(order["rejectReason"], "changed");
        assert!(order["rejectTxHash"].is_string());
    }
    assert!(world.truth("refund").await.is_empty());
    // After it, the provider alone.
    let id = world.accepted().await;
    world.paid(&id).await;
    let path = format!("/orders/{id}/reject");
    let reply = world.buyer_asks("POST", &path, json!({ "reason": "x" })).await;
    assert_eq!(reply.reason(), (400, "INVALID_STATUS"));
    let reply = world.provider_asks("POST", &path, json!({ "reason": "" })).await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.funds().await, 1_000_000_000 - 1_510_000);
    world.pass(STEP_MS);
    assert_eq!(world.status(&id).await, "rejected");
    assert_eq!(world.funds().await, 1_000_000_000 - 10_000);
    let told = format!("/events?agent_id={}", world.info.croo.requester.agent_id);
    let told = world.admin("GET", &told, Value::Null).await.json;
    let rejected = told["events"].as_array().unwrap().iter();
    let rejected = rejected.filter(|event| event["type"] == "order_rejected").count();
    assert_eq!(rejected, 3);
}

#[tokio::test]
async fn a_wallet_pays_one_order_at_a_time_with_what_it_has() {
    let world = World::start().await;
    let (first, second) = (world.accepted().await, world.accepted().await);
    assert_eq!(world.pay_order(&first).await.status, 200);
    assert_eq!(world.pay_order(&second).await.reason(), (400, "NONCE_ERROR"));
    assert_eq!(world.status(&second).await, "created");
    assert_eq!(world.truth("charge").await.len(), 1);
    world.pass(STEP_MS);
    let short = json!({ "address": world.info.croo.requester.wallet, "usdc": "1.509999" });
    world.admin("POST", "/balance", short).await;
    assert_eq!(world.pay_order(&second).await.reason(), (400, "PIMLICO_ERROR"));
    assert_eq!(world.funds().await, 1_509_999);
    let enough = json!({ "address": world.info.croo.requester.wallet, "usdc": "1.51" });
    world.admin("POST", "/balance", enough).await;
    assert_eq!(world.pay_order(&second).await.status, 200);
    assert_eq!(world.funds().await, 0);
}

#[tokio::test]
async fn a_step_on_the_chain_fails_on_demand() {
    let world = World::start().await;
    // The order does not get onto the chain.
    world.fault(fail("POST", "/orders/negotiate/*/accept")).await;
    let dead = world.accepted().await;
    assert_eq!(world.status(&dead).await, "create_failed");
    assert_eq!(world.pay_order(&dead).await.reason(), (400, "INVALID_STATUS"));

    // A payment fails: nothing was taken, and it can be made again.
    let id = world.accepted().await;
    world.fault(fail("POST", "/orders/*/pay")).await;
    let paid = world.pay_order(&id).await;
    assert_eq!(paid.json["order"]["status"], "paying");
    let receipt = json!([paid.json["txHash"]]);
    let receipt = world.rpc("eth_getTransactionReceipt", receipt).await.unwrap();
    assert_eq!((&receipt["status"], &receipt["logs"]), (&json!("0x0"), &json!([])));
    world.pass(STEP_MS);
    let order = world.order(&id).await;
    assert_eq!((&order["status"], order.get("payTxHash")), (&json!("pay_failed"), None));
    assert_eq!(world.funds().await, 1_000_000_000);
    assert!(world.truth("charge").await.is_empty());
    world.paid(&id).await;
    assert_eq!(world.truth("charge").await.len(), 1);

    // A delivery fails, and can be made again.
    world.fault(fail("POST", "/orders/*/deliver")).await;
    assert_eq!(world.deliver_text(&id, "memo").await.json["order"]["status"], "delivering");
    world.pass(STEP_MS);
    assert_eq!(world.status(&id).await, "deliver_failed");
    let delivery = format!("/orders/{id}/delivery");
    let gone = world.buyer_asks("GET", &delivery, Value::Null).await;
    assert_eq!(gone.reason(), (404, "DELIVERY_NOT_FOUND"));
    world.deliver_text(&id, "memo, again").await;
    world.pass(2 * STEP_MS);
    let delivery = world.buyer_asks("GET", &delivery, Value::Null).await;
    assert_eq!(delivery.json["delivery"]["deliverableText"], "memo, again");
    assert_eq!(world.status(&id).await, "completed");

    // What failed lapses too.
    let id = world.accepted().await;
    world.fault(fail("POST", "/orders/*/pay")).await;
    world.pay_order(&id).await;
    world.pass(1_800_000);
    assert_eq!(world.status(&id).await, "expired");
    let id = world.accepted().await;
    world.paid(&id).await;
    world.fault(fail("POST", "/orders/*/deliver")).await;
    world.deliver_text(&id, "memo").await;
    let before = world.funds().await;
    world.pass(1_800_000);
    assert_eq!(world.status(&id).await, "expired");
    assert_eq!(world.funds().await, before + 1_500_000);
}

#[tokio::test]
async fn a_fault_that_found_nothing_waits() {
    let world = World::start().await;
    world.fault(fail("*", "/orders/*")).await;
    let id = world.accepted().await;
    assert_eq!(world.status(&id).await, "create_failed", "a read before it did not use it up");
    world
        .fault(json!({ "marketplace": "croo", "path": "/orders/*",
            "action": { "raise_price": "2" } }))
        .await;
    assert_eq!(world.status(&id).await, "create_failed");
    let id = world.accepted().await;
    assert_eq!(world.order(&id).await["price"], "3000000");
    assert_eq!(world.order(&id).await["price"], "3000000", "once, and for good");
}

#[tokio::test]
async fn terms_change_on_demand() {
    let world = World::start().await;
    let id = world.accepted().await;
    let arm = |path: &str, action: Value| {
        json!({ "marketplace": "croo", "method": "GET",
        "path": path, "action": action })
    };
    world.fault(arm("/orders/*", json!({ "raise_price": "1.5" }))).await;
    assert_eq!(world.order(&id).await["price"], "2250000");
    assert_eq!(world.order(&id).await["price"], "2250000");
    let thief = "0x00000000000000000000000000000000000000bB";
    world.fault(arm("/orders/*", json!({ "swap_payee": thief }))).await;
    assert_eq!(world.order(&id).await["providerWalletAddress"], thief);
    world.fault(arm("/orders/*", json!({ "swap_terms": { "paymentToken": thief } }))).await;
    assert_eq!(world.order(&id).await["paymentToken"], thief);
    world.paid(&id).await;
    assert_eq!(world.booked("charge", &id).await, 2_260_000);
    world.fault(arm("/orders/*", json!({ "raise_price": "1.5" }))).await;
    assert_eq!(world.order(&id).await["price"], "2250000", "too late");
}

#[tokio::test]
async fn a_payment_is_made_or_not_whatever_the_answer() {
    let world = World::start().await;
    let id = world.accepted().await;
    let arm = |action: Value| {
        json!({ "marketplace": "croo", "method": "POST",
        "path": "/orders/*/pay", "action": action })
    };
    world.fault(arm(json!("pending"))).await;
    let pending = world.pay_order(&id).await;
    assert_eq!(pending.status, 202);
    assert_eq!(pending.json["order"]["status"], "created");
    assert_eq!(world.status(&id).await, "created");
    assert!(world.truth("charge").await.is_empty());

    world.fault(arm(json!("charge_then_fail"))).await;
    assert_eq!(world.pay_order(&id).await.reason(), (502, "UPSTREAM_ERROR"));
    assert_eq!(world.status(&id).await, "paying");
    assert_eq!(world.truth("charge").await.len(), 1);

    let id = world.accepted().await;
    world.fault(arm(json!("drop_after"))).await;
    let url = world.croo_url(&format!("/orders/{id}/pay"));
    let key = &world.info.croo.requester.sdk_key;
    let lost = || world.http.post(&url).header("X-SDK-Key", key).json(&json!({}));
    assert!(world.send(lost()).await.is_err());
    assert_eq!(world.status(&id).await, "paying");
    let id = world.accepted().await;
    world.fault(arm(json!("drop_before"))).await;
    let url = world.croo_url(&format!("/orders/{id}/pay"));
    let lost = world.http.post(&url).header("X-SDK-Key", key).json(&json!({}));
    assert!(world.send(lost).await.is_err());
    assert_eq!(world.status(&id).await, "created");
}

#[tokio::test]
async fn orders_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(super::START_MS));
    let mut options = super::options(&time);
    options.store = Some(folder.path().join("world.db"));
    let mut world = World::with(options.clone(), std::sync::Arc::clone(&time)).await;
    let id = world.created(&world.service("auto")).await;
    assert_eq!(world.pay_order(&id).await.status, 200);
    world.sandbox.take().unwrap().shutdown().await;
    let world = World::with(options, time).await;
    world.pass(4 * STEP_MS);
    assert_eq!(world.status(&id).await, "completed");
    assert_eq!(world.truth("charge").await.len(), 1);
}

#[tokio::test]
async fn what_fails_after_its_deadline_lapses_at_once() {
    let world = World::start().await;
    let id = world.accepted().await;
    world.pass(1_800_000 - 100);
    world.fault(fail("POST", "/orders/*/pay")).await;
    world.pay_order(&id).await;
    world.pass(200);
    assert_eq!(world.status(&id).await, "paying", "the deadline does not end a payment");
    world.pass(100);
    assert_eq!(world.status(&id).await, "expired");

    let id = world.accepted().await;
    world.paid(&id).await;
    world.pass(1_800_000 - 100);
    world.fault(fail("POST", "/orders/*/deliver")).await;
    world.deliver_text(&id, "memo").await;
    world.pass(200);
    assert_eq!(world.status(&id).await, "delivering");
    world.pass(100);
    assert_eq!(world.status(&id).await, "expired");
    assert_eq!(world.booked("refund", &id).await, 1_500_000);
}

#[tokio::test]
async fn late_steps_have_blocks_of_their_own() {
    let world = World::start().await;
    let (payer, receiver) = (world.buyer().address(), Address::repeat_byte(7));
    let moves = [(receiver, Usdc::from_micros(1))];
    let operation = Operation { account: payer, moves: &moves, is_doomed: false };
    let mut last = 0;
    // The first is ten seconds younger than those that follow.
    for age_ms in [0].into_iter().chain([10_000; 8]) {
        let inside = world.inside();
        let at = super::START_MS + 10_000 - age_ms;
        let mined = inside.transact(|db, _| bundle(db, inside, at, &operation)).unwrap();
        let receipt = json!([mined.hash]);
        let receipt = world.rpc("eth_getTransactionReceipt", receipt).await.unwrap();
        let block = receipt["blockNumber"].as_str().unwrap().strip_prefix("0x").unwrap();
        let block = u64::from_str_radix(block, 16).unwrap();
        assert!(block > last, "{block} after {last}");
        last = block;
    }
    assert_eq!(world.usdc_of(&receiver.to_string()).await, 9);
}

#[tokio::test]
async fn steps_take_the_observed_times_at_real_pace() {
    let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(super::START_MS));
    let mut options = super::options(&time);
    options.pace = Pace::Real;
    let world = World::with(options, time).await;
    let negotiation = world.negotiate(&world.service("auto")).await;
    world.pass(1_500);
    let id = world.order_of(&negotiation).await["orderId"].as_str().unwrap().to_owned();
    for (status, ms) in [
        ("creating", 30_000),
        ("created", 0),
        ("paying", 8_000),
        ("paid", 1_500),
        ("delivering", 33_000),
        ("evaluating", 33_000),
        ("completed", 0),
    ] {
        if status == "paying" {
            world.pay_order(&id).await;
        }
        assert_eq!(world.status(&id).await, status);
        world.pass((ms - 1).max(0));
        assert_eq!(world.status(&id).await, status);
        world.pass(ms.min(1));
    }
}
