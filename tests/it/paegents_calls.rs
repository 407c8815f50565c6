//! Metered calls: each draws once at the most, whatever breaks; what is said of the units is what the
//! sandbox's ledger says.

mod breaks;

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use haggle::{
    ids::AgreementId,
    journal::draws::{self, Draw, DrawState},
};
use serde_json::{Value, json};

use crate::{paegents_escrow::accepted, world::World};

/// An agreement whose service can be called.
pub(crate) async fn active(world: &World, behaviour: &str, quantity: u64) -> String {
    let id = accepted(world, behaviour, quantity).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    let paid = world.finish(world.call("paegents_activate_escrow", args).await).await.unwrap();
    assert_eq!(paid["status"], "active", "{paid}");
    id
}

/// A call that works.
fn text_call(id: &str, text: &str) -> Value {
    json!({ "agreement_id": id, "method": "POST", "path": "/text-statistics",
        "json": { "text": text } })
}

async fn call(world: &World, args: Value) -> Result<Value, Value> {
    world.call("paegents_call_service", args).await
}

/// What the sandbox's ledger has drawn: the calls' nonces.
async fn drawn(world: &World, id: &str) -> Vec<String> {
    let ledger = world.admin("GET", "/ledger", None).await;
    let entries = ledger["entries"].as_array().unwrap().clone();
    let own = entries.into_iter().filter(|e| e["kind"] == "draw" && e["parent"] == id);
    own.map(|entry| entry["reference"].as_str().unwrap().to_owned()).collect()
}

async fn journal(world: &World, id: &str) -> Vec<Draw> {
    let id: AgreementId = id.parse().unwrap();
    world.app.store().with(move |db| draws::all(db, Some(&id))).await.unwrap()
}

/// The journal says what the ledger says: the same draws under the same names.
async fn audit(world: &World, id: &str) {
    let ledger: BTreeSet<String> = drawn(world, id).await.into_iter().collect();
    let own = journal(world, id).await.into_iter().filter(|draw| draw.units != Some(0));
    let own: BTreeSet<String> = own.filter(|d| d.state != DrawState::Void).map(|d| d.id).collect();
    assert_eq!(own, ledger, "the journal, and the ledger");
}

/// How many requests reached the proxy, the count's own aside.
async fn sent(world: &World) -> usize {
    let is_call = |request: &&Value| {
        let path = request["path"].as_str().unwrap();
        request["marketplace"] == "paegents"
            && path.starts_with("/metered-proxy/")
            && !path.ends_with("/status")
    };
    world.requests().await.iter().filter(is_call).count()
}

#[tokio::test]
async fn a_call_draws_a_unit_and_says_what_is_left() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    let done = call(&world, text_call(&id, "one two")).await.unwrap();
    assert_eq!(done["http_status"], 200, "{done}");
    assert!(done["result_untrusted"].is_object(), "{done}");
    assert_eq!((&done["units_drawn"], &done["units_left"]), (&json!(1), &json!(99)), "{done}");
    assert_eq!((&done["spent_usd"], &done["left_usd"]), (&json!("0.02"), &json!("1.98")));
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    assert_eq!(done["next"][0]["tool"], "paegents_close_escrow");
    let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!((&used["units_used"], &used["spent_usd"]), (&json!(1), &json!("0.02")), "{used}");
    assert_eq!(used["last_call"]["outcome"], "answered", "{used}");
    audit(&world, &id).await;
}

#[tokio::test]
async fn the_same_call_within_ten_minutes_draws_once() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    let first = call(&world, text_call(&id, "one two")).await.unwrap();
    let again = call(&world, text_call(&id, "one two")).await.unwrap();
    assert_eq!(again["repeated"], true, "{again}");
    assert_eq!(again["result_untrusted"], first["result_untrusted"]);
    assert_eq!((&again["units_drawn"], &again["units_left"]), (&json!(0), &json!(99)));
    assert_eq!(drawn(&world, &id).await.len(), 1);
    // Another value makes another call.
    let other = call(&world, text_call(&id, "one two three")).await.unwrap();
    assert_eq!(other["units_drawn"], 1, "{other}");
    // What is wanted on purpose, and what was long ago, is made.
    let hinted = again["next"][0]["arguments"].clone();
    assert_eq!(hinted["again"], true);
    assert_eq!(call(&world, hinted).await.unwrap()["units_drawn"], 1);
    world.advance(599).await;
    assert_eq!(call(&world, text_call(&id, "one two")).await.unwrap()["repeated"], true);
    world.advance(2).await;
    assert_eq!(call(&world, text_call(&id, "one two")).await.unwrap()["units_drawn"], 1);
    assert_eq!(drawn(&world, &id).await.len(), 4);
    audit(&world, &id).await;
}

/// What only reads is sent each time; the platform keeps its answer for a moment and charges once.
#[tokio::test]
async fn a_get_is_sent_each_time() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "method": "GET", "path": "units" });
    assert_eq!(call(&world, args.clone()).await.unwrap()["units_drawn"], 1);
    let cached = call(&world, args.clone()).await.unwrap();
    assert_eq!((&cached["units_drawn"], &cached["repeated"]), (&json!(0), &Value::Null));
    world.advance(6).await;
    assert_eq!(call(&world, args).await.unwrap()["units_drawn"], 1);
    assert_eq!((sent(&world).await, drawn(&world, &id).await.len()), (3, 2));
    audit(&world, &id).await;
}

/// A lost call is read until the horizon; nothing is drawn before that, by any call.
#[tokio::test]
async fn a_lost_call_holds_the_next_one_back_until_it_is_certain() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    world.fault("paegents", "/metered-proxy/*/text-statistics", 0, json!("drop_before")).await;
    let lost = call(&world, text_call(&id, "one")).await.unwrap_err();
    assert_eq!(
        (&lost["code"], &lost["money_moved"]),
        (&json!("payment_unknown"), &json!("maybe")),
        "{lost}"
    );
    let told = lost["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!((100..=120).contains(&told), "{lost}");
    let next = lost["recovery"]["next"].as_array().unwrap();
    assert_eq!(next[0]["tool"], "paegents_get_usage");
    assert_eq!(next[1]["arguments"]["json"], json!({ "text": "one" }));
    let usage = json!({ "agreement_id": id });
    for text in ["one", "another"] {
        let held = call(&world, text_call(&id, text)).await.unwrap_err();
        assert_eq!(held["code"], "payment_unknown", "{held}");
        let used = world.call("paegents_get_usage", usage.clone()).await.unwrap();
        assert_eq!(used["last_call"]["outcome"], "unknown", "{used}");
    }
    assert_eq!(sent(&world).await, 1);
    world.advance(told / 2).await;
    let held = call(&world, text_call(&id, "another")).await.unwrap_err();
    let left = held["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!(left < told, "{held}");
    assert_eq!(sent(&world).await, 1);
    world.advance(left).await;
    let used = world.call("paegents_get_usage", usage).await.unwrap();
    assert_eq!(used["last_call"]["outcome"], "nothing_drawn", "{used}");
    assert_eq!(used["next"][0]["tool"], "paegents_call_service", "{used}");
    assert_eq!(call(&world, text_call(&id, "another")).await.unwrap()["units_drawn"], 1);
    audit(&world, &id).await;
}

/// The count cannot be read after the call: the answer is given, and what it drew is found out later.
#[tokio::test]
async fn an_answer_is_given_where_the_count_is_silent() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    let fault = json!({ "marketplace": "paegents", "method": "GET", "times": 3, "skip": 1,
        "path": "/metered-proxy/*/status", "action": "drop_before" });
    world.admin("POST", "/faults", Some(fault)).await;
    let done = call(&world, text_call(&id, "one two")).await.unwrap();
    assert!(done["result_untrusted"].is_object(), "{done}");
    assert!(done["units_drawn"].is_null() && done["units_left"].is_null(), "{done}");
    assert_eq!(done["next"][0]["tool"], "paegents_get_usage", "{done}");
    let world = world.restart().await;
    let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(used["last_call"]["outcome"], "answered", "{used}");
    assert_eq!(used["last_call"]["units_drawn"], 1, "{used}");
    let again = call(&world, text_call(&id, "one two")).await.unwrap();
    assert_eq!(again["repeated"], true, "{again}");
    assert_eq!(again["result_untrusted"], done["result_untrusted"]);
    audit(&world, &id).await;
}

/// Where the count cannot be read before the call, nothing is sent.
#[tokio::test]
async fn without_a_count_nothing_is_sent() {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    for body in [json!({ "units_total": 100 }), json!({ "agreement_id": "other", "units_used": 0 })]
    {
        let action = json!({ "status": 200, "body": body });
        world.fault("paegents", "/metered-proxy/*/status", 0, action).await;
        let error = call(&world, text_call(&id, "one")).await.unwrap_err();
        assert_eq!(error["code"], "upstream_malformed", "{error}");
        assert_eq!(error["money_moved"], "no", "{error}");
    }
    assert_eq!(sent(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_calls_over_two_processes_draw_one_after_the_other() {
    let one = World::start().await;
    let two = one.beside().await;
    let id = active(&one, "auto", 100).await;
    let made = (0..32).map(|i| {
        let world = if i % 2 == 0 { &one } else { &two };
        // Half of them are the same call. Who has waited for the others for too long asks again.
        let args = text_call(&id, &format!("text {}", i / 2));
        async move { world.finish(call(world, args).await).await }
    });
    for answer in join_all(made).await {
        let done = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(done["result_untrusted"].is_object(), "{done}");
    }
    assert_eq!((sent(&one).await, drawn(&one, &id).await.len()), (16, 16));
    let used = two.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!((&used["units_used"], &used["units_left"]), (&json!(16), &json!(84)), "{used}");
    audit(&one, &id).await;
}

/// Killed anywhere on the way: whoever makes the same call afterwards draws once in all.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_a_call_draws_once() {
    let run = |after_ms: u64| async move {
        let world = World::start().await;
        let id = active(&world, "auto", 100).await;
        let args = text_call(&id, "one two");
        let path = "/metered-proxy/*/text-statistics";
        world.fault("paegents", path, 0, json!({ "delay_ms": 60 })).await;
        let begun = world.call_raw("paegents_call_service", args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), begun).await;
        let world = world.kill().await;
        let answer = world.finish(call(&world, args).await).await;
        match &answer {
            Ok(done) if done["last_call"].is_object() => {
                assert_eq!(done["last_call"]["outcome"], "answer_lost", "{after_ms} ms: {done}");
            }
            Ok(done) => assert!(done["result_untrusted"].is_object(), "{after_ms} ms: {done}"),
            Err(error) => assert_eq!(error["code"], "paid_not_delivered", "{after_ms} ms: {error}"),
        }
        assert_eq!(drawn(&world, &id).await.len(), 1, "after {after_ms} ms: {answer:?}");
        audit(&world, &id).await;
    };
    let times = (0..8_u64).map(|i| run(3 + i * 15));
    for ran in join_all(times.map(tokio::spawn)).await {
        ran.unwrap();
    }
}

#[tokio::test]
async fn the_soft_stop_keeps_the_last_units_back_until_the_caller_insists() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    for i in 0..9 {
        let done = call(&world, text_call(&id, &format!("text {i}"))).await.unwrap();
        assert_eq!(done["units_left"], 9 - i, "{done}");
    }
    let error = call(&world, text_call(&id, "last")).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    assert_eq!(error["field"], "beyond_soft_stop", "{error}");
    let next = error["recovery"]["next"].as_array().unwrap();
    assert_eq!(next[1]["tool"], "paegents_close_escrow", "{error}");
    assert_eq!(sent(&world).await, 9);
    let last = call(&world, next[0]["arguments"].clone()).await.unwrap();
    assert_eq!((&last["units_drawn"], &last["left_usd"]), (&json!(1), &json!("0")), "{last}");
    let mut beyond = text_call(&id, "one more");
    beyond["beyond_soft_stop"] = json!(true);
    let error = call(&world, beyond).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    let next = error["recovery"]["next"].as_array().unwrap();
    assert_eq!(next[0]["tool"], "paegents_close_escrow", "{error}");
    assert_eq!(next[1]["arguments"]["quantity"], 10, "{error}");
    assert_eq!(sent(&world).await, 10);
    audit(&world, &id).await;
}

#[tokio::test]
async fn no_path_leads_elsewhere() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    let before = world.requests().await.len();
    let long = "a".repeat(501);
    let paths = [
        "",
        "..",
        "/../x",
        "/a/../../agents",
        "//host/x",
        "/a//b",
        "/a?b?c",
        "/a#b",
        "/a b",
        "/a\r\nX-Request-Nonce: 1",
        "/a\u{0}",
        "/a\\..\\b",
        "http://127.0.0.1:1/x",
        "/%2e%2e/status",
        "/%2E%2E%2Fstatus",
        "/a%00",
        "/a%0d%0a",
        "/a%",
        "/é",
        "/status",
        "status/",
        "status?x=1",
        &long,
    ];
    for path in paths {
        let args = json!({ "agreement_id": id, "method": "GET", "path": path });
        let error = call(&world, args).await.unwrap_err();
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_argument"), &json!("path")));
        assert!(error["example"].is_string() && error["money_moved"] == "no", "{error}");
    }
    let get_with_body =
        json!({ "agreement_id": id, "method": "GET", "path": "/units", "json": {} });
    let large = json!({ "agreement_id": id, "method": "POST", "path": "/sha256",
        "json": { "text": "a".repeat(256 * 1024) } });
    for (args, field) in [(get_with_body, "json"), (large, "json")] {
        let error = call(&world, args).await.unwrap_err();
        assert_eq!(error["field"], field, "{error}");
    }
    for other in ["HEAD", "get", "CONNECT"] {
        let args = json!({ "agreement_id": id, "method": other, "path": "/units" });
        assert_eq!(call(&world, args).await.unwrap_err()["field"], "method");
    }
    assert_eq!(world.requests().await.len(), before, "something was sent");
}

/// The owner's stop holds for calls, too; what became of one is still found out.
#[tokio::test]
async fn nothing_is_drawn_while_the_owner_has_stopped() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    world.fault("paegents", "/metered-proxy/*/text-statistics", 0, json!("drop_before")).await;
    let lost = call(&world, text_call(&id, "one")).await.unwrap_err();
    world.freeze(true).await;
    world.advance(lost["recovery"]["retry_after_seconds"].as_i64().unwrap()).await;
    let error = call(&world, text_call(&id, "one")).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("frozen"), &json!("no")),
        "{error}"
    );
    let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(used["last_call"]["outcome"], "nothing_drawn", "{used}");
    assert_eq!(sent(&world).await, 1);
    world.freeze(false).await;
    assert_eq!(call(&world, text_call(&id, "one")).await.unwrap()["units_drawn"], 1);
}

/// What a seller answers after it was paid is shown as it is, whatever its status.
#[tokio::test]
async fn a_seller_s_failure_is_its_answer() {
    let world = World::start().await;
    let id = active(&world, "fails_after_payment", 10).await;
    let done = call(&world, text_call(&id, "one")).await.unwrap();
    assert_eq!((&done["http_status"], &done["units_drawn"]), (&json!(502), &json!(1)), "{done}");
    assert!(done["result_untrusted"]["error"].is_string(), "{done}");
    let id = active(&world, "auto", 10).await;
    let wrong = json!({ "agreement_id": id, "method": "POST", "path": "/nowhere", "json": {} });
    let done = call(&world, wrong).await.unwrap();
    assert_eq!((&done["http_status"], &done["units_drawn"]), (&json!(404), &json!(1)), "{done}");
    audit(&world, &id).await;
}

/// A seller that never answers draws nothing: that is certain after the horizon.
#[tokio::test]
async fn a_seller_that_never_answers_is_not_paid() {
    let world = World::start().await;
    let id = active(&world, "never_delivers", 10).await;
    let error = call(&world, text_call(&id, "one")).await.unwrap_err();
    assert_eq!(error["code"], "payment_unknown", "{error}");
    assert_eq!(error["http_status"], 504, "{error}");
    world.advance(error["recovery"]["retry_after_seconds"].as_i64().unwrap()).await;
    let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!((&used["units_used"], &used["last_call"]["units_drawn"]), (&json!(0), &json!(0)));
    assert!(drawn(&world, &id).await.is_empty());
}

#[tokio::test]
async fn hostile_answers_are_data() {
    let world = World::start().await;
    let id = active(&world, "hostile_text", 10).await;
    let done = call(&world, text_call(&id, "one")).await.unwrap();
    let shown = done.to_string();
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    assert_eq!(done["units_drawn"], 1, "{done}");
}

#[tokio::test]
async fn what_is_not_active_is_not_called() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 10).await;
    let error = call(&world, text_call(&id, "one")).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_activate_escrow", "{error}");
    let nothing = call(&world, text_call("agr_nothing", "one")).await.unwrap_err();
    assert_eq!(nothing["code"], "not_found", "{nothing}");
    assert_eq!(sent(&world).await, 0);
    // The agreement is closed between the count and the call.
    let id = active(&world, "auto", 10).await;
    let body = json!({ "agreement_id": id, "units_used": 0, "units_total": 10,
        "units_remaining": 10, "status": "active", "price_per_unit_cents": 2 });
    world.call("paegents_close_escrow", json!({ "agreement_id": id })).await.unwrap();
    let action = json!({ "status": 200, "body": body });
    world.fault("paegents", "/metered-proxy/*/status", 0, action).await;
    let error = call(&world, text_call(&id, "one")).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    assert_eq!(sent(&world).await, 1);
    assert!(drawn(&world, &id).await.is_empty());
}

/// The nonce is the journal's name of the call, and goes with no other key than the agent's.
#[tokio::test]
async fn each_call_has_a_nonce_of_its_own() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    for text in ["one", "two"] {
        call(&world, text_call(&id, text)).await.unwrap();
    }
    let requests = world.requests().await;
    let is_call = |r: &&Value| r["path"].as_str().unwrap().ends_with("/text-statistics");
    let nonce = |r: &Value| r["headers"]["x-request-nonce"].as_str().unwrap().to_owned();
    let nonces: Vec<String> = requests.iter().filter(is_call).map(nonce).collect();
    let lines: Vec<String> = journal(&world, &id).await.into_iter().map(|d| d.id).collect();
    assert_eq!(nonces, lines);
    assert_ne!(nonces[0], nonces[1]);
    for request in requests.iter().filter(is_call) {
        assert!(request["headers"]["x-api-key"].is_null(), "{request}");
        assert!(request["headers"]["idempotency-key"].is_null(), "{request}");
    }
}
