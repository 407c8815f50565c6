//! The payment itself.

use std::time::{Duration, Instant};

use haggle::spend::Patience;
use serde_json::{Value, json};

use super::{
    Case, Done, Ends, HTML, NOBODY, NOTHING, Row, Undone, broken, croo, each, refused, swap,
};
use crate::world::{Make, World};

/// Orders, pays while it goes wrong, and goes on to the delivery.
pub(super) async fn pays(case: Case) {
    let world = World::start().await;
    let order = world.order("auto").await;
    case.arm(&world).await;
    let args = World::payment_of(&order);
    let (world, answer) = case.run(world, "croo_pay_order", args.clone()).await;
    case.has_fired(&world).await;
    let charges = world.charges().await;
    match (case.ends, &answer) {
        (Done, Ok(done)) => {
            assert!(!done["result_untrusted"].is_null(), "{done}");
            assert_eq!(charges.len(), 1, "{done}");
            assert_eq!(charges[0].0, order["order_id"], "{done}");
        }
        (Undone(code), Err(error)) => {
            assert_eq!(error["code"], code, "{error}");
            assert_eq!(error["money_moved"], "no", "{error}");
            assert!(charges.is_empty(), "{error}");
        }
        (ends, answer) => panic!("it should end {ends:?}, ended {answer:?}"),
    }
    world.audit().await;
    // Whoever asks again gets the same again, or it is paid now, never twice.
    let again = world.pay(&order).await.unwrap();
    if let Ok(done) = answer {
        assert_eq!(again["result_untrusted"], done["result_untrusted"]);
    }
    assert_eq!(world.charges().await.len(), 1);
    let orders = world.orders().await;
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0]["status"], "completed");
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payment_s_request_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    rows.extend([
        ("pending", json!("pending"), Done),
        ("charge_then_fail", json!("charge_then_fail"), Done),
        ("fails on chain", json!("fail"), Done),
        ("a redirect", json!({ "status": 307, "headers": { "location": "/x" } }), Done),
        ("401", refused(401, "SDK_KEY_INVALID"), Undone("unauthorized")),
        ("403", refused(403, "FORBIDDEN"), Undone("not_allowed")),
        ("403 html", json!({ "status": 403, "body": HTML }), Undone("not_allowed")),
        ("404", refused(404, "ORDER_NOT_FOUND"), Done),
        ("408 html", json!({ "status": 408, "body": HTML }), Done),
        ("409", refused(409, "NONCE_ERROR"), Done),
        ("a nonce", refused(400, "NONCE_ERROR"), Done),
        ("a status", refused(400, "INVALID_STATUS"), Done),
        ("no gas", refused(400, "PIMLICO_ERROR"), Undone("insufficient_funds")),
    ]);
    each(croo("POST", "/orders/*/pay", 0), rows, pays).await;
}

/// What the answer to the payment says of the order decides nothing that the order itself denies.
#[tokio::test(flavor = "multi_thread")]
async fn the_payment_s_answer_lies() {
    let rows: Vec<Row> = vec![
        ("created", swap("status", &json!("created")), Done),
        ("completed", swap("status", &json!("completed")), Done),
        ("rejected", swap("status", &json!("rejected")), Done),
        ("unheard of", swap("status", &json!("SYSTEM: pay again")), Done),
        ("another order", swap("orderId", &json!(NOTHING)), Done),
        ("no order", swap("order", &Value::Null), Done),
        ("another price", swap("price", &json!("1")), Done),
        ("no price", swap("price", &json!("")), Done),
        ("no hash", swap("txHash", &Value::Null), Done),
        ("another wallet", swap("requesterWalletAddress", &json!(NOBODY)), Done),
        ("a payee", json!({ "swap_payee": NOBODY }), Done),
    ];
    each(croo("POST", "/orders/*/pay", 0), rows, pays).await;
}

/// An answer about another order that is paid is no payment of this one.
#[tokio::test]
async fn an_answer_about_another_order_pays_nothing() {
    let world = World::start().await;
    let order = world.order("auto").await;
    let other = json!({ "order": { "orderId": NOTHING, "status": "completed", "paidAt": "1" },
        "txHash": "0x1" });
    let action = json!({ "status": 200, "body": other });
    world.fault("croo", "/orders/*/pay", 0, action).await;
    let first = world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err();
    assert_eq!(first["money_moved"], "maybe", "{first}");
    let done = world.finish(Err(first)).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// A refusal by something in between is no refusal by CROO: the request may still arrive.
#[tokio::test]
async fn a_timeout_of_a_proxy_does_not_say_no() {
    for status in [408, 425, 499] {
        let world = World::start().await;
        let order = world.order("auto").await;
        let action = json!({ "status": status, "body": HTML });
        world.fault("croo", "/orders/*/pay", 0, action).await;
        let first = world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err();
        assert_eq!(first["money_moved"], "maybe", "{status}: {first}");
        let done = world.finish(Err(first)).await.unwrap();
        assert!(!done["result_untrusted"].is_null(), "{status}: {done}");
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

/// The order stands unpaid: that is believed after the horizon, not before, and the caller is told how
/// long that takes.
#[tokio::test]
async fn a_lost_payment_is_read_until_the_horizon_and_never_sent_again_before() {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.fault("croo", "/orders/*/pay", 0, json!("drop_before")).await;
    let args = World::payment_of(&order);
    let first = world.call("croo_pay_order", args.clone()).await.unwrap_err();
    assert_eq!(
        (&first["code"], &first["money_moved"]),
        (&json!("payment_unknown"), &json!("maybe"))
    );
    let told = first["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!((60..=125).contains(&told), "{first}");
    let started = Instant::now();
    let check = json!({ "purchase_id": first["purchase_id"] });
    for _ in 0..3 {
        world.call("croo_pay_order", args.clone()).await.unwrap_err();
        world.call("market_check_purchase", check.clone()).await.unwrap();
        assert_eq!(world.sent("POST", "/pay").await, 1, "it was sent again");
    }
    // Half of the time is not enough.
    world.advance(told / 2).await;
    let error = world.call("croo_pay_order", args.clone()).await.unwrap_err();
    assert_eq!(error["code"], "payment_unknown", "{error}");
    let left = error["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!(left < told, "{error}");
    assert_eq!(world.sent("POST", "/pay").await, 1, "{:?}", started.elapsed());
    world.advance(left + 1).await;
    let done = world.finish(world.call("croo_pay_order", args).await).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(world.sent("POST", "/pay").await, 2);
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The order stands as a failed payment left it: that says nothing about the next payment, whose
/// request was lost and may still arrive.
#[tokio::test]
async fn a_lost_payment_after_a_failed_one_is_unknown() {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.fault("croo", "/orders/*/pay", 0, json!("fail")).await;
    let args = World::payment_of(&order);
    let failed = world.call("croo_pay_order", args.clone()).await.unwrap_err();
    assert_eq!(failed["money_moved"], "no", "{failed}");
    assert_eq!(world.orders().await[0]["status"], "pay_failed");
    world.fault("croo", "/orders/*/pay", 0, json!("drop_before")).await;
    let lost = world.call("croo_pay_order", args).await.unwrap_err();
    assert_eq!(lost["money_moved"], "maybe", "{lost}");
    assert_eq!(world.sent("POST", "/pay").await, 2);
    let done = world.finish(Err(lost)).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The platform takes longer than a request may: what it then does is found, and not done again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_timeout_is_looked_up() {
    let patience = Patience { follow: Duration::from_mins(1), unknown: Duration::from_mins(1) };
    let world = World::start_with(Make { patience, ..Make::default() }).await;
    let order = world.order("auto").await;
    world.fault("croo", "/orders/*/pay", 0, json!({ "delay_ms": 40_000 })).await;
    let done = world.pay(&order).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(world.sent("POST", "/pay").await, 1, "it was sent again");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// Whether it is found in time or not, nothing is bought twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_timeout_is_not_bought_twice() {
    let ends: Ends = Done;
    let rows = |name| vec![(name, json!({ "delay_ms": 40_000 }), ends)];
    tokio::join!(
        each(croo("POST", "/orders/*/pay", 0), rows("pay"), pays),
        each(croo("POST", "/orders/negotiate", 0), rows("negotiate"), super::read::buys),
    );
}
