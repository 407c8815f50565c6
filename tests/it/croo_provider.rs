//! Selling on CROO: negotiations answered, orders delivered, each once, whatever gets lost.

use std::time::Duration;

use haggle::store::payees;
use serde_json::{Value, json};

use crate::world::World;

const MEMO: &str = "Expert memo";
const REVIEW: &str = "Contract review";

/// A provider's world, and a negotiation that the built-in buyer began.
async fn asked(service: &str) -> (World, World, Value) {
    let requester = World::start().await;
    let world = requester.provider().await;
    let id = ask(&world, service).await;
    (requester, world, id)
}

async fn ask(world: &World, service: &str) -> Value {
    let service_id = world.service("manual", service);
    let made = world.admin("POST", "/order", Some(json!({ "service_id": service_id }))).await;
    made["negotiation_id"].clone()
}

/// What the sandbox has, read with the provider's key and no tool.
async fn truth(world: &World, path: &str) -> Value {
    let croo = world.sandbox.info().croo;
    let url = format!("{}/backend/v1{path}", croo.api_url);
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let answer = http.get(url).header("x-sdk-key", croo.provider.sdk_key).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn status(world: &World, path: &str) -> String {
    let found = truth(world, path).await;
    let object = found.get("order").or_else(|| found.get("negotiation"));
    object.unwrap_or_else(|| panic!("{path}: {found}"))["status"].as_str().unwrap().to_owned()
}

/// How often this was sent to CROO.
async fn sent(world: &World, end: &str) -> usize {
    let requests = world.requests().await;
    let is_it = |r: &&Value| {
        r["marketplace"] == "croo"
            && r["method"] == "POST"
            && r["path"].as_str().unwrap().ends_with(end)
    };
    requests.iter().filter(is_it).count()
}

/// Accepts, and waits until the built-in buyer has paid.
async fn paid(world: &World, negotiation: &Value) -> Value {
    let accept = json!({ "negotiation_id": negotiation });
    let accepted = world.call("croo_accept_negotiation", accept).await.unwrap();
    let order = accepted["order"]["order_id"].clone();
    until(world, &order, "paid").await;
    order
}

async fn until(world: &World, order: &Value, wanted: &str) {
    let path = format!("/orders/{}", order.as_str().unwrap());
    for _ in 0..1_200 {
        if status(world, &path).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the order is {}, not {wanted}", status(world, &path).await);
}

#[tokio::test]
async fn a_provider_accepts_delivers_and_is_paid() {
    let (_requester, world, negotiation) = asked(MEMO).await;
    let accept = json!({ "negotiation_id": negotiation });
    let accepted = world.call("croo_accept_negotiation", accept.clone()).await.unwrap();
    let order = accepted["order"]["order_id"].clone();
    assert_eq!(accepted["order"]["role"], "provider", "{accepted}");
    assert_eq!(accepted["order"]["negotiation_id"], negotiation);
    assert!(accepted["order"]["requirements_untrusted"].is_string(), "{accepted}");
    // Once more it finds the same order, and sends nothing.
    let again = world.call("croo_accept_negotiation", accept).await.unwrap();
    assert_eq!(again["order"]["order_id"], order);
    assert_eq!(sent(&world, "/accept").await, 1);

    let early = json!({ "order_id": order, "result": "A memo." });
    let refused = world.call("croo_deliver_order", early.clone()).await.unwrap_err();
    assert_eq!(refused["code"], "wrong_state", "{refused}");
    assert_eq!(refused["recovery"]["next"][0]["tool"], "croo_get_order", "{refused}");
    until(&world, &order, "paid").await;
    let delivered = world.call("croo_deliver_order", early.clone()).await.unwrap();
    assert_eq!(delivered["order_id"], order);
    assert_eq!(delivered["status"], "delivering");
    assert_eq!(delivered.get("is_this_result"), None);
    until(&world, &order, "completed").await;
    let again = world.call("croo_deliver_order", early).await.unwrap();
    assert_eq!((&again["status"], &again["is_this_result"]), (&json!("completed"), &json!(true)));
    let other = json!({ "order_id": order, "result": "Another memo." });
    let again = world.call("croo_deliver_order", other).await.unwrap();
    assert_eq!(again["is_this_result"], false, "{again}");
    assert_eq!(sent(&world, "/deliver").await, 1);
    let delivery = truth(&world, &format!("/orders/{}/delivery", order.as_str().unwrap())).await;
    assert_eq!(delivery["delivery"]["deliverableType"], "text");
    assert_eq!(delivery["delivery"]["deliverableText"], "A memo.");
}

#[tokio::test]
async fn a_rejected_negotiation_stays_rejected() {
    let (requester, world, negotiation) = asked(MEMO).await;
    let empty = json!({ "negotiation_id": negotiation, "reason": " " });
    let refused = world.call("croo_reject_negotiation", empty).await.unwrap_err();
    assert_eq!(
        (&refused["code"], &refused["field"]),
        (&json!("invalid_argument"), &json!("reason"))
    );
    let reject = json!({ "negotiation_id": negotiation, "reason": "Too long." });
    // The buyer's key cannot.
    let stranger = requester.call("croo_reject_negotiation", reject.clone()).await.unwrap_err();
    assert_eq!(stranger["code"], "not_found", "{stranger}");
    for _ in 0..2 {
        let rejected = world.call("croo_reject_negotiation", reject.clone()).await.unwrap();
        assert_eq!(rejected["status"], "rejected");
        assert_eq!(rejected["reject_reason_untrusted"], "Too long.");
    }
    assert_eq!(sent(&world, "/reject").await, 1);
    let accept = json!({ "negotiation_id": negotiation });
    let late = world.call("croo_accept_negotiation", accept).await.unwrap_err();
    assert_eq!(late["code"], "wrong_state", "{late}");
    assert!(late["message"].as_str().unwrap().contains("is rejected"), "{late}");
    assert_eq!(late["recovery"]["next"][0]["tool"], "croo_list_negotiations", "{late}");
    assert_eq!(sent(&world, "/accept").await, 0);
}

/// The requester negotiates for a service, past the tools.
async fn negotiated(world: &World, service: &str, more: Value) -> Value {
    let mut body =
        json!({ "serviceId": world.service("manual", service), "requirements": "What now?" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let croo = world.sandbox.info().croo;
    let url = format!("{}/backend/v1/orders/negotiate", croo.api_url);
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let key = croo.requester.sdk_key;
    let made = http.post(url).header("x-sdk-key", key).json(&body).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    made["negotiation"]["negotiationId"].clone()
}

#[tokio::test]
async fn a_buyer_is_no_provider() {
    let world = World::start().await;
    let negotiation = negotiated(&world, MEMO, json!({})).await;
    let accept = json!({ "negotiation_id": negotiation });
    let refused = world.call("croo_accept_negotiation", accept).await.unwrap_err();
    assert_eq!(refused["code"], "not_allowed", "{refused}");
    assert_eq!(sent(&world, "/accept").await, 0);
}

#[tokio::test]
async fn a_result_that_does_not_fit_is_not_delivered() {
    let (_requester, world, negotiation) = asked(REVIEW).await;
    let order = paid(&world, &negotiation).await;
    #[rustfmt::skip]
    let rows = [
        (json!({ "reasons": [] }),               "result.verdict"),
        (json!({ "verdict": 1 }),                "result.verdict"),
        (json!({ "verdict": "x", "grade": 1 }),  "result.grade"),
        (json!("keep it"),                       "result"),
        (json!(null),                            "result"),
        (json!(""),                              "result"),
        (json!("a".repeat(300 * 1024)),          "result"),
    ];
    for (result, field) in rows {
        let deliver = json!({ "order_id": order, "result": result });
        let refused = world.call("croo_deliver_order", deliver).await.unwrap_err();
        assert_eq!(refused["code"], "invalid_argument", "{refused}");
        assert_eq!(refused["field"], field, "{refused}");
    }
    assert_eq!(sent(&world, "/deliver").await, 0);
    let wrong = json!({ "order_id": order, "result": {} });
    let refused = world.call("croo_deliver_order", wrong).await.unwrap_err();
    let hinted = &refused["recovery"]["next"][0];
    assert_eq!(hinted["tool"], "croo_deliver_order");
    let delivered = world.call("croo_deliver_order", hinted["arguments"].clone()).await.unwrap();
    assert_eq!(delivered["status"], "delivering", "the hint fits: {delivered}");
    let delivery = truth(&world, &format!("/orders/{}/delivery", order.as_str().unwrap())).await;
    assert_eq!(delivery["delivery"]["deliverableType"], "schema");
}

/// The faults of a write: what is lost, and whether it was carried out nevertheless.
fn faults() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("drop_before", json!("drop_before"), false),
        ("drop_after", json!("drop_after"), true),
        ("502", json!({ "status": 502, "body": "<html>Bad gateway</html>" }), false),
        ("502 after it was done", json!("charge_then_fail"), true),
        ("delay", json!({ "delay_ms": 400 }), true),
        ("truncate", json!({ "truncate": 10 }), true),
        ("no JSON", json!({ "status": 200, "body": "done" }), false),
        (
            "nonce",
            json!({ "status": 400, "body": { "code": 400, "reason": "NONCE_ERROR" } }),
            false,
        ),
        ("429", json!({ "status": 429, "headers": { "retry-after": "1" } }), false),
    ]
}

#[tokio::test]
async fn a_lost_acceptance_is_settled_by_reading() {
    let requester = World::start().await;
    let world = requester.provider().await;
    for (row, action, is_done) in faults() {
        let negotiation = ask(&world, MEMO).await;
        let before = sent(&world, "/accept").await;
        world.fault("croo", "*/accept", 0, action).await;
        let accept = json!({ "negotiation_id": negotiation });
        let first = world.call("croo_accept_negotiation", accept).await;
        assert_eq!(first.is_ok(), is_done, "{row}: {first:?}");
        let path = format!("/orders/negotiate/{}", negotiation.as_str().unwrap());
        let expected = if is_done { "accepted" } else { "pending" };
        assert_eq!(status(&world, &path).await, expected, "{row}");
        let done = match first {
            Ok(done) => done,
            Err(error) => {
                assert_eq!(error["money_moved"], "no", "{row}");
                assert_eq!(
                    error["recovery"]["next"][0]["tool"], "croo_accept_negotiation",
                    "{row}"
                );
                let next = error["recovery"]["next"][0]["arguments"].clone();
                world.call("croo_accept_negotiation", next).await.unwrap()
            }
        };
        assert_eq!(done["order"]["negotiation_id"], negotiation, "{row}: {done}");
        assert_eq!(status(&world, &path).await, "accepted", "{row}");
        let most = if is_done { 1 } else { 2 };
        assert_eq!(sent(&world, "/accept").await - before, most, "{row}");
    }
}

#[tokio::test]
async fn a_lost_rejection_is_settled_by_reading() {
    let requester = World::start().await;
    let world = requester.provider().await;
    for (row, action, is_done) in faults() {
        // The body of a rejection is ignored: an answer that was cut off is no loss there.
        let negotiation = ask(&world, MEMO).await;
        world.fault("croo", "*/reject", 0, action).await;
        let reject = json!({ "negotiation_id": negotiation, "reason": "Not today." });
        let first = world.call("croo_reject_negotiation", reject.clone()).await;
        assert_eq!(first.is_ok(), is_done, "{row}: {first:?}");
        if let Err(error) = first {
            assert_eq!(error["recovery"]["next"][0]["arguments"], reject, "{row}: {error}");
            world.call("croo_reject_negotiation", reject).await.unwrap();
        }
        let path = format!("/orders/negotiate/{}", negotiation.as_str().unwrap());
        assert_eq!(status(&world, &path).await, "rejected", "{row}");
    }
}

#[tokio::test]
async fn a_lost_delivery_is_settled_by_reading() {
    let requester = World::start().await;
    let world = requester.provider().await;
    for (row, action, is_done) in faults() {
        let negotiation = ask(&world, REVIEW).await;
        let order = paid(&world, &negotiation).await;
        let before = sent(&world, "/deliver").await;
        world.fault("croo", "*/deliver", 0, action).await;
        let deliver = json!({ "order_id": order, "result": { "verdict": "keep" } });
        let first = world.call("croo_deliver_order", deliver.clone()).await;
        assert_eq!(first.is_ok(), is_done, "{row}: {first:?}");
        let path = format!("/orders/{}", order.as_str().unwrap());
        let done = match first {
            Ok(done) => done,
            Err(error) => {
                assert_eq!(status(&world, &path).await, "paid", "{row}");
                assert_eq!(error["money_moved"], "no", "{row}");
                assert_eq!(error["recovery"]["next"][0]["arguments"], deliver, "{row}: {error}");
                world.call("croo_deliver_order", deliver).await.unwrap()
            }
        };
        assert_ne!(done["is_this_result"], false, "{row}: {done}");
        until(&world, &order, "completed").await;
        let most = if is_done { 1 } else { 2 };
        assert_eq!(sent(&world, "/deliver").await - before, most, "{row}");
        let delivery = truth(&world, &format!("{path}/delivery")).await;
        assert_eq!(delivery["delivery"]["deliverableSchema"], r#"{"verdict":"keep"}"#, "{row}");
    }
    let payouts = world.admin("GET", "/ledger", None).await;
    let payouts = payouts["entries"].as_array().unwrap().clone();
    let paid_out = payouts.iter().filter(|entry| entry["kind"] == "payout").count();
    assert_eq!(paid_out, faults().len(), "each order is paid out once");
}

#[tokio::test]
async fn a_large_result_is_not_repeated_in_a_hint() {
    let (_requester, world, negotiation) = asked(MEMO).await;
    let order = paid(&world, &negotiation).await;
    world.fault("croo", "*/deliver", 0, json!("drop_before")).await;
    let deliver = json!({ "order_id": order, "result": "word ".repeat(2000) });
    let lost = world.call("croo_deliver_order", deliver.clone()).await.unwrap_err();
    assert_eq!(lost["recovery"]["next"][0]["tool"], "croo_get_order", "{lost}");
    assert!(lost.to_string().len() < 2000);
    world.call("croo_deliver_order", deliver).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_afterwards_is_said() {
    let (_requester, world, negotiation) = asked(MEMO).await;
    world.fault("croo", "*/accept", 0, json!("drop_after")).await;
    // The first read is before the acceptance.
    world.fault("croo", "/orders/negotiate/*", 1, json!("drop_before")).await;
    let accept = json!({ "negotiation_id": negotiation });
    let lost = world.call("croo_accept_negotiation", accept).await.unwrap_err();
    assert_eq!(lost["repeat_safe"], false, "{lost}");
    let next = &lost["recovery"]["next"][0];
    assert_eq!(next["tool"], "croo_get_negotiation", "{lost}");
    assert_eq!(next["arguments"], json!({ "negotiation_id": negotiation }));
}

#[tokio::test]
async fn a_delivery_that_failed_on_chain_is_made_again() {
    let (_requester, world, negotiation) = asked(MEMO).await;
    let order = paid(&world, &negotiation).await;
    world.fault("croo", "*/deliver", 0, json!("fail")).await;
    let deliver = json!({ "order_id": order, "result": "A memo." });
    world.call("croo_deliver_order", deliver.clone()).await.unwrap();
    until(&world, &order, "deliver_failed").await;
    world.call("croo_deliver_order", deliver).await.unwrap();
    until(&world, &order, "completed").await;
}

#[tokio::test]
async fn one_key_does_one_thing_at_a_time() {
    let requester = World::start().await;
    let world = requester.provider().await;
    let beside = world.beside().await;
    let (first, second, third) =
        (ask(&world, MEMO).await, ask(&world, MEMO).await, ask(&world, MEMO).await);
    let order = paid(&world, &first).await;
    // Each is held up: had they overlapped, the second would be there before the first is done.
    let slow = json!({ "marketplace": "croo", "method": "POST", "path": "/orders/*", "times": 3,
        "action": { "delay_ms": 300 } });
    world.admin("POST", "/faults", Some(slow)).await;
    let started = std::time::Instant::now();
    let (delivered, accepted, also) = tokio::join!(
        world.call("croo_deliver_order", json!({ "order_id": order, "result": "A memo." })),
        world.call("croo_accept_negotiation", json!({ "negotiation_id": second })),
        beside.call("croo_accept_negotiation", json!({ "negotiation_id": third })),
    );
    assert!(delivered.is_ok() && accepted.is_ok() && also.is_ok(), "{accepted:?} {also:?}");
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

async fn payee(world: &World, name: &str, address: &str, chain_id: i64) {
    let (name, address) = (name.to_owned(), address.parse().unwrap());
    let put = move |db: &rusqlite::Transaction<'_>| payees::put(db, &name, address, chain_id);
    world.app.store().transact(put).await.unwrap();
}

#[tokio::test]
async fn f7_a_fund_goes_to_an_address_of_the_owner_s_alone() {
    let (_requester, world, plain) = asked(MEMO).await;
    let usdc = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
    let fund = json!({ "fundAmount": "5000000", "fundToken": usdc });
    let negotiation = negotiated(&world, "Treasury errand", fund).await;
    let accept = |negotiation: &Value, payee: Option<&str>| {
        let mut args = json!({ "negotiation_id": negotiation });
        if let Some(payee) = payee {
            args["payee"] = json!(payee);
        }
        args
    };
    let refused = async |payee| {
        let args = accept(&negotiation, payee);
        let refused = world.call("croo_accept_negotiation", args).await.unwrap_err();
        assert_eq!(refused["code"], "invalid_argument", "{payee:?}: {refused}");
        assert_eq!(refused["field"], "payee", "{payee:?}: {refused}");
        refused
    };
    let (mine, elsewhere) = (
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    );
    // The owner has to have named an address, on this chain.
    payee(&world, "base-only", elsewhere, 8453).await;
    for given in ["base-only", "treasury", mine, "", "a/b"] {
        let error = refused(Some(given)).await;
        assert_eq!(error["recovery"]["next"][0]["arguments"], accept(&negotiation, None));
    }
    let error = refused(None).await;
    assert_eq!(error["recovery"]["next_action"], "ask_owner", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("haggle payees add") && message.contains("84532"), "{message}");

    payee(&world, "treasury", mine, 84532).await;
    for given in [None, Some("base-only"), Some(mine), Some("Treasury")] {
        assert_eq!(refused(given).await["example"], "\"treasury\"");
    }
    // Without a fund it is refused, and the hint leaves it out.
    let needless = accept(&plain, Some("treasury"));
    let error = world.call("croo_accept_negotiation", needless).await.unwrap_err();
    assert_eq!(error["field"], "payee", "{error}");
    assert_eq!(error["recovery"]["next"][0]["arguments"], accept(&plain, None));
    assert_eq!(sent(&world, "/accept").await, 0);

    let args = accept(&negotiation, Some("treasury"));
    let accepted = world.call("croo_accept_negotiation", args).await.unwrap();
    let path = format!("/orders/{}", accepted["order"]["order_id"].as_str().unwrap());
    assert_eq!(truth(&world, &path).await["order"]["providerFundAddress"], mine);
}
