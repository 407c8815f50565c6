//! Paegents' list of events: whatever fails, the inbox is what happened, once, and nothing is
//! acknowledged that is not in it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use haggle::{
    events::{self, Condition},
    principal::LOCAL,
};
use serde_json::{Value, json};

use crate::{
    croo_events::hurried,
    program::{Program, on_sandbox},
    world::{Make, World},
};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

async fn listening() -> World {
    World::start_with(Make { times: Some(hurried()), ..Make::default() }).await
}

fn agent(world: &World) -> String {
    world.sandbox.info().paegents.buyer.agent_id
}

/// Has something happen to the agent; gives the event's name.
async fn happens(world: &World, kind: &str, payload: Value) -> String {
    let event = json!({ "agent_id": agent(world), "type": kind, "payload": payload });
    let made = world.admin("POST", "/paegents/event", Some(event)).await;
    made["event_id"].as_str().unwrap().to_owned()
}

/// What the sandbox has told the agent: names, and whether each was acknowledged.
async fn truth(world: &World) -> Vec<(String, bool)> {
    let told = world.admin("GET", &format!("/events?agent_id={}", agent(world)), None).await;
    let event = |event: &Value| {
        let acked = event["status"] == "acknowledged";
        (event["event_id"].as_str().unwrap().to_owned(), acked)
    };
    told["events"].as_array().unwrap().iter().map(event).collect()
}

/// The names of Paegents' events in the inbox.
async fn inbox(world: &World) -> Vec<String> {
    let events = world.app.store().with(|db| events::after(db, LOCAL, 0, 100_000)).await.unwrap();
    let events = events.into_iter().filter(|event| event.source == "paegents");
    events.map(|event| event.dedup).collect()
}

/// All that happened is in the inbox once and is acknowledged; at no time is something acknowledged
/// that is not in the inbox.
async fn comes_to_agree(world: &World) {
    let begun = Instant::now();
    loop {
        let acked: BTreeSet<String> =
            truth(world).await.into_iter().filter(|(_, acked)| *acked).map(|(id, _)| id).collect();
        let found = inbox(world).await;
        let held: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(held.len(), found.len(), "something is there twice");
        assert!(acked.is_subset(&held), "acknowledged before it was stored: {acked:?}");
        let told: BTreeSet<String> = truth(world).await.into_iter().map(|(id, _)| id).collect();
        if told == held && told == acked {
            return;
        }
        let (told, held, acked) = (told.len(), held.len(), acked.len());
        assert!(begun.elapsed() < LONG, "{told} told, {held} held, {acked} acknowledged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn comes_to_stand(world: &World, condition: Condition) {
    let begun = Instant::now();
    while world.app.feed().condition() != condition {
        let now = world.app.feed().condition();
        assert!(begun.elapsed() < LONG, "it is {now:?}, never {condition:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait(world: &World, args: Value) -> Value {
    world.call("market_wait_events", args).await.unwrap()
}

/// How many requests of a method reached a path of Paegents that ends so.
async fn asked(world: &World, method: &str, end: &str) -> usize {
    let is = |request: &&Value| {
        request["marketplace"] == "paegents"
            && request["method"] == method
            && request["path"].as_str().unwrap().ends_with(end)
    };
    world.requests().await.iter().filter(is).count()
}

async fn arm(world: &World, method: &str, path: &str, times: u32, action: Value) {
    let fault = json!({ "marketplace": "paegents", "method": method, "path": path, "times": times,
        "action": action });
    world.admin("POST", "/faults", Some(fault)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_comes_into_the_inbox_and_is_acknowledged() {
    let world = listening().await;
    let id = crate::paegents_escrow::accepted(&world, "auto", 10).await;
    let heard = wait(&world, json!({ "cursor": 0, "wait_seconds": 20 })).await;
    let event = &heard["events"][0];
    assert_eq!(event["kind"], "agreement.proposed", "{heard}");
    assert_eq!(event["subject"], id.as_str());
    assert_eq!(event["details"]["status"], "proposed");
    assert_eq!(event["details"]["total_usd"], "0.20");
    let about = json!({ "agreement_id": id });
    assert_eq!(heard["next"][0]["tool"], "paegents_get_agreement", "{heard}");
    assert_eq!(heard["next"][0]["arguments"], about);
    comes_to_agree(&world).await;
    assert_eq!(world.app.feed().condition(), Condition::Connected);
    let status = world.call("market_status", json!({})).await.unwrap();
    let of = |m: &&Value| m["marketplace"] == "paegents";
    let shown = status["marketplaces"].as_array().unwrap().iter().find(of).unwrap();
    assert_eq!(shown["events"], "connected", "{status}");
    // Nothing of it is left on the list.
    let left = world.call("paegents_list_events", json!({})).await.unwrap();
    assert_eq!(left["events"], json!([]), "{left}");
}

/// A caller who waits hears of what happens meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_wakes_a_caller() {
    let world = Arc::new(listening().await);
    wait(&world, json!({ "wait_seconds": 0 })).await;
    let waiting = world.clone();
    let caller = tokio::spawn(async move { wait(&waiting, json!({ "wait_seconds": 120 })).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let id = happens(&world, "escrow.close_initiated", json!({ "note": "pay\u{202e} me" })).await;
    let heard = tokio::time::timeout(LONG, caller).await.unwrap().unwrap();
    assert_eq!(heard["events"][0]["kind"], "escrow.close_initiated", "{heard}");
    assert_eq!(heard["events"][0]["details"]["event_id"], id.as_str());
    assert_eq!(heard["events"][0]["details"]["details_untrusted"]["note"], "pay me");
}

/// Killed after it was stored and before it was acknowledged: told again, and there once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_acknowledging_it_hears_again_and_keeps_it_once() {
    let world = listening().await;
    arm(&world, "POST", "/agents/*/events/*/ack", 1_000, json!("drop_before")).await;
    for number in 0..5 {
        happens(&world, "payment.settled", json!({ "number": number })).await;
    }
    wait(&world, json!({ "cursor": 0, "wait_seconds": 20 })).await;
    assert_eq!(inbox(&world).await.len(), 5);
    assert!(truth(&world).await.iter().all(|(_, acked)| !acked), "it could not be acknowledged");
    let world = world.kill().await;
    world.admin("DELETE", "/faults", None).await;
    wait(&world, json!({ "wait_seconds": 0 })).await;
    comes_to_agree(&world).await;
    assert_eq!(inbox(&world).await.len(), 5);
}

/// Answers are lost in every way there is, on the list and on each acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_whatever_answer_is() {
    let world = listening().await;
    let actions = [
        json!("drop_before"),
        json!("drop_after"),
        json!({ "truncate": 20 }),
        json!({ "status": 503 }),
        json!({ "status": 429, "headers": { "Retry-After": "1" } }),
    ];
    for (number, action) in actions.iter().cycle().take(20).enumerate() {
        arm(&world, "GET", "/agents/*/events", 1, action.clone()).await;
        arm(&world, "POST", "/agents/*/events/*/ack", 1, action.clone()).await;
        happens(&world, "payment.settled", json!({ "number": number })).await;
        world.call("market_wait_events", json!({ "wait_seconds": 0 })).await.ok();
    }
    comes_to_agree(&world).await;
    assert_eq!(inbox(&world).await.len(), 20);
}

/// More than a page, and at its head some that cannot be acknowledged: all the others are heard of.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_acknowledged_hides_nothing() {
    let world = listening().await;
    let mut stuck = Vec::new();
    for number in 0..60 {
        stuck.push(happens(&world, "payment.settled", json!({ "number": number })).await);
    }
    for id in &stuck {
        let path = format!("/agents/*/events/{id}/ack");
        arm(&world, "POST", &path, 1_000_000, json!({ "status": 500 })).await;
    }
    for number in 60..180 {
        happens(&world, "payment.settled", json!({ "number": number })).await;
    }
    let begun = Instant::now();
    wait(&world, json!({ "wait_seconds": 0 })).await;
    while inbox(&world).await.len() < 180 {
        assert!(begun.elapsed() < LONG, "{} of 180", inbox(&world).await.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.admin("DELETE", "/faults", None).await;
    comes_to_agree(&world).await;
}

/// One process reads, and another goes on when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_reads_and_the_next_takes_over() {
    let first = listening().await;
    wait(&first, json!({ "wait_seconds": 0 })).await;
    comes_to_stand(&first, Condition::Connected).await;
    let second = first.beside().await;
    wait(&second, json!({ "wait_seconds": 0 })).await;
    comes_to_stand(&second, Condition::Elsewhere).await;
    happens(&first, "payment.settled", json!({})).await;
    comes_to_agree(&second).await;
    drop(first.kill().await);
    comes_to_stand(&second, Condition::Connected).await;
    happens(&second, "payment.settled", json!({})).await;
    comes_to_agree(&second).await;
    assert_eq!(inbox(&second).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_read_is_told_of() {
    let world = listening().await;
    arm(&world, "GET", "/agents/*/events", 1_000_000, json!({ "status": 503 })).await;
    wait(&world, json!({ "wait_seconds": 0 })).await;
    let begun = Instant::now();
    let error = loop {
        match world.call("market_wait_events", json!({ "wait_seconds": 1 })).await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < LONG, "nobody says that nothing is heard"),
        }
    };
    assert_eq!(error["code"], "events_degraded", "{error}");
    assert_eq!(error["marketplace"], "paegents");
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_list_agreements");
    world.admin("DELETE", "/faults", None).await;
    comes_to_stand(&world, Condition::Connected).await;
    wait(&world, json!({ "wait_seconds": 0 })).await;
}

/// A key that is not valid is not asked for again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_told_of() {
    let agent = Some(("agt_of_nobody".to_owned(), "sk_of_nobody".to_owned()));
    let make = Make { paegents_agent: agent, times: Some(hurried()), ..Make::default() };
    let world = World::start_with(make).await;
    let error = world.call("market_wait_events", json!({ "wait_seconds": 1 })).await.unwrap_err();
    assert_eq!(error["code"], "unauthorized", "{error}");
    assert_eq!(error["marketplace"], "paegents", "{error}");
    comes_to_stand(&world, Condition::Refused).await;
    let before = asked(&world, "GET", "/events").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked(&world, "GET", "/events").await, before);
}

/// Nothing is read before somebody wants to hear of it, nor where nobody listens.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_begins_with_the_first_call_that_needs_it() {
    let world = listening().await;
    world.call("market_list_purchases", json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(asked(&world, "GET", "/events").await, 0);
    assert_eq!(world.app.feed().condition(), Condition::Off);
    world.call("paegents_list_agreements", json!({})).await.unwrap();
    comes_to_stand(&world, Condition::Connected).await;
    let deaf = World::start().await;
    wait(&deaf, json!({ "wait_seconds": 0 })).await;
    assert_eq!(asked(&deaf, "GET", "/events").await, 0);
}

/// By hand: what is acknowledged is in the inbox first.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_acknowledged_by_hand_is_kept_first() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(happens(&world, "payment.settled", json!({ "number": number })).await);
    }
    let id = happens(&world, "escrow.fee_failed", json!({ "agreement_id": "agr_1" })).await;
    let args = json!({ "types": ["escrow.*"], "limit": 5 });
    let listed = world.call("paegents_list_events", args).await.unwrap();
    assert_eq!(listed["events"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["events"][0]["event_id"], id.as_str());
    assert_eq!(listed["next"][0]["tool"], "paegents_ack_event");
    assert_eq!(inbox(&world).await, Vec::<String>::new(), "listing keeps nothing");
    let page = json!({ "limit": 50 });
    let first = world.call("paegents_list_events", page).await.unwrap();
    let rest = json!({ "limit": 50, "cursor": first["cursor"] });
    let rest = world.call("paegents_list_events", rest).await.unwrap();
    assert_eq!(rest["events"].as_array().unwrap().len(), 11, "{rest}");

    arm(&world, "POST", "/agents/*/events/*/ack", 1, json!("drop_after")).await;
    let error = world.call("paegents_ack_event", json!({ "event_id": id })).await.unwrap_err();
    assert_eq!(inbox(&world).await, std::slice::from_ref(&id), "kept before it was acknowledged");
    assert_eq!(error["repeat_safe"], true, "{error}");
    let acked = world.follow(error).await.unwrap();
    assert_eq!(acked["is_in_inbox"], true, "{acked}");
    assert!(truth(&world).await.contains(&(id.clone(), true)));
    assert_eq!(inbox(&world).await, [id]);
    let error = world.call("paegents_ack_event", json!({ "event_id": "evt_none" })).await;
    assert_eq!(error.unwrap_err()["code"], "not_found");
}

/// A server that only reads takes nothing off the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_acknowledges_nothing() {
    let world = World::start().await;
    for number in 0..60 {
        happens(&world, "payment.settled", json!({ "number": number })).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = on_sandbox(&world.sandbox, &folder.path().join("data"));
    command.args(["serve", "--read-only"]);
    let (mut program, _) = Program::ready(command, "2025-11-25").await;
    let args = json!({ "cursor": 0, "wait_seconds": 10, "limit": 100 });
    let answer = program.call("market_wait_events", args).await.unwrap();
    assert_eq!(answer["events"].as_array().unwrap().len(), 60, "{answer}");
    program.end().await;
    assert!(truth(&world).await.iter().all(|(_, acked)| !acked));
    assert_eq!(asked(&world, "POST", "/ack").await, 0);
}
