//! CROO's events: whatever the socket does, the inbox is what happened, once; one process holds the
//! socket, and a key that is used elsewhere is told of and stops spending.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use haggle::{
    clock::wall_ms,
    events,
    journal::State,
    marketplaces::{
        croo::stream::{Condition, Times},
        socket,
    },
    principal::LOCAL,
    sandbox::{Options, Sandbox},
    spend::{Patience, approvals},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    canaries::{Canaries, files},
    program::{Program, command},
    world::{Make, World},
};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// Times in which a lot happens within seconds.
pub(crate) fn hurried() -> Times {
    Times {
        socket: socket::Times {
            ping: Duration::from_millis(200),
            silence: Duration::from_secs(5),
            delay: Duration::from_millis(5),
            delay_max: Duration::from_millis(100),
            settle: Duration::from_millis(600),
            ..socket::Times::default()
        },
        reconcile: Duration::from_secs(1),
        reconcile_gap: Duration::from_millis(200),
        lease: Duration::from_millis(300),
        probe: Duration::from_millis(500),
        ghost: Duration::from_secs(2),
    }
}

async fn sandbox() -> Arc<Sandbox> {
    Arc::new(Sandbox::start(Options::new(Arc::new(wall_ms))).await.unwrap())
}

/// The process of the agent who sells what is answered by hand.
async fn provider_on(sandbox: &Arc<Sandbox>, times: Times) -> World {
    let croo_key = Some(sandbox.info().croo.provider.sdk_key);
    World::start_on(sandbox.clone(), Make { croo_key, times: Some(times), ..Make::default() }).await
}

async fn provider(times: Times) -> World {
    provider_on(&sandbox().await, times).await
}

/// A service with this behaviour: its id, and an input that it takes.
fn service(sandbox: &Sandbox, behaviour: &str) -> (String, Value) {
    let services = sandbox.info().croo.services;
    let found = services.into_iter().find(|service| service.behaviour == behaviour).unwrap();
    (found.id, found.input_example)
}

/// Has the built-in buyer ask for so many orders of the provider; gives their negotiations.
async fn ordered(world: &World, count: usize) -> Vec<String> {
    let (service_id, _) = service(&world.sandbox, "manual");
    let order = json!({ "service_id": service_id, "count": count });
    let made = world.admin("POST", "/order", Some(order)).await;
    let ids = made["negotiation_ids"].as_array().unwrap();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Calls CROO as another program of this agent would.
async fn croo(sandbox: &Sandbox, key: &str, method: &str, path: &str, body: &Value) -> Value {
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let url = format!("{}/backend/v1{path}", sandbox.info().croo.api_url);
    let request = http.request(method.parse().unwrap(), url).header("X-SDK-Key", key).json(body);
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn accept(world: &World, negotiation: &str) {
    let key = world.sandbox.info().croo.provider.sdk_key;
    let path = format!("/orders/negotiate/{negotiation}/accept");
    croo(&world.sandbox, &key, "POST", &path, &json!({})).await;
}

/// What the sandbox told, or would have told, an agent: type and subject.
async fn truth(world: &World, agent: &str) -> BTreeSet<(String, String)> {
    let told = world.admin("GET", &format!("/events?agent_id={agent}"), None).await;
    let events = told["events"].as_array().unwrap().iter().map(|event| {
        let kind = event["type"].as_str().unwrap().to_owned();
        let of = if kind.contains("negotiation") { "negotiation_id" } else { "order_id" };
        (kind, event[of].as_str().unwrap().to_owned())
    });
    events.collect()
}

/// What the inbox holds of CROO, with its duplicates.
async fn inbox(world: &World) -> Vec<(String, String)> {
    let events = world.app.store().with(|db| events::after(db, LOCAL, 0, 100_000)).await.unwrap();
    let events = events.into_iter().filter(|event| event.source == "croo");
    events.map(|event| (event.kind, event.subject)).collect()
}

/// The inbox is the truth, and nothing is in it twice.
async fn agrees(world: &World, agent: &str) -> Result<(), String> {
    let (found, told) = (inbox(world).await, truth(world, agent).await);
    let set: BTreeSet<_> = found.iter().cloned().collect();
    if set.len() != found.len() {
        return Err(format!("{} events are there twice", found.len() - set.len()));
    }
    let (missing, extra) = (told.difference(&set).count(), set.difference(&told).count());
    let some = set.symmetric_difference(&told).next();
    if some.is_none() { Ok(()) } else { Err(format!("{missing} missing, {extra} extra: {some:?}")) }
}

async fn comes_to_agree(world: &World, agent: &str) {
    let begun = Instant::now();
    while let Err(why) = agrees(world, agent).await {
        assert!(begun.elapsed() < LONG, "{why}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn comes_to_stand(world: &World, condition: Condition) {
    let begun = Instant::now();
    while world.app.stream().condition() != condition {
        let now = world.app.stream().condition();
        assert!(begun.elapsed() < LONG, "it is {now:?}, never {condition:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Begins the stream, as a caller does.
async fn begin(world: &World) {
    // What went wrong before it answers is told in the answer; the tests look at how it stands.
    let _ = world.call("market_wait_events", json!({ "wait_seconds": 0 })).await;
}

/// How many handshakes there were, answered or not.
async fn handshakes(world: &World) -> usize {
    let requests = world.requests().await;
    requests.iter().filter(|request| request["marketplace"] == "socket").count()
}

async fn break_socket(world: &World, how: &str, skip: u64, times: u64) {
    let fault = json!({ "marketplace": "socket", "skip": skip, "times": times,
        "action": { "socket": how } });
    world.admin("POST", "/faults", Some(fault)).await;
}

/// How many events wait for a fault that has not struck yet.
async fn faults_left(world: &World) -> i64 {
    let faults = world.admin("GET", "/faults", None).await;
    let left = faults["faults"].as_array().unwrap().iter();
    left.map(|fault| fault["times_left"].as_i64().unwrap()).sum()
}

async fn frozen(world: &World) -> Vec<String> {
    world.app.store().with(|db| approvals::frozen(db)).await.unwrap()
}

/// 1,000 events under 200 broken connections, and others told twice, late or never.
#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_is_the_truth_whatever_the_socket_does() {
    let world = provider(hurried()).await;
    let own = world.sandbox.info().croo.provider.agent_id;
    let mut random = 0x9e37_79b9_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        (random >> 33) % below
    };
    for _ in 0..200 {
        break_socket(&world, "kill", draw(900), 1).await;
    }
    for how in ["duplicate", "reorder", "drop"] {
        for _ in 0..20 {
            break_socket(&world, how, draw(900), 3).await;
        }
    }
    begin(&world).await;
    let mut made = 0;
    while made < 700 || faults_left(&world).await > 0 {
        assert!(made < 10_000, "{} faults have not struck", faults_left(&world).await);
        let negotiations = ordered(&world, 50).await;
        made += negotiations.len();
        for negotiation in negotiations.iter().take(10) {
            accept(&world, negotiation).await;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // What was not accepted expires, and what was is never delivered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.advance(3 * 24 * 3600).await;
    comes_to_agree(&world, &own).await;
    let told = truth(&world, &own).await;
    assert!(told.len() >= 1_000, "only {} events", told.len());
    let kinds: BTreeSet<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    for kind in ["order_negotiation_created", "order_created", "order_paid", "order_expired"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    assert!(handshakes(&world).await > 200);
}

/// What happened while nobody was there, for both sides, without a socket at all.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_gets_its_backlog() {
    let sandbox = sandbox().await;
    let info = sandbox.info().croo;
    let seller = provider_on(&sandbox, hurried()).await;
    for negotiation in ordered(&seller, 60).await.iter().take(3) {
        accept(&seller, negotiation).await;
    }
    for behaviour in ["auto", "rejects", "manual"] {
        let (service_id, input) = service(&sandbox, behaviour);
        let wanted = json!({ "serviceId": service_id, "requirements": input.to_string() });
        croo(&sandbox, &info.requester.sdk_key, "POST", "/orders/negotiate", &wanted).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    seller.advance(3 * 24 * 3600).await;
    let refuse = json!({ "marketplace": "socket", "path": "/ws", "times": 100_000,
        "action": { "status": 503 } });
    seller.admin("POST", "/faults", Some(refuse)).await;
    let make = Make { times: Some(hurried()), ..Make::default() };
    let buyer = World::start_on(sandbox.clone(), make).await;
    for (world, own) in [(&seller, &info.provider.agent_id), (&buyer, &info.requester.agent_id)] {
        begin(world).await;
        comes_to_agree(world, own).await;
        let error = world.call("market_wait_events", json!({ "wait_seconds": 1 })).await;
        assert_eq!(error.unwrap_err()["code"], "events_degraded");
    }
    let of_buyer: BTreeSet<_> = inbox(&buyer).await.into_iter().map(|(kind, _)| kind).collect();
    for kind in ["order_negotiation_rejected", "order_negotiation_expired", "order_created"] {
        assert!(of_buyer.contains(kind), "{of_buyer:?}");
    }
    assert_eq!(inbox(&seller).await.len(), truth(&seller, &info.provider.agent_id).await.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_stream_comes_back_after_an_abnormal_close() {
    // The lists are not read again, so that what is heard is heard at the socket.
    let times = Times { reconcile_gap: LONG, ..hurried() };
    let world = provider(times).await;
    begin(&world).await;
    comes_to_stand(&world, Condition::Connected).await;
    for how in ["kill", "stall"] {
        let before = handshakes(&world).await;
        break_socket(&world, how, 0, 1).await;
        let first = ordered(&world, 1).await;
        let begun = Instant::now();
        while handshakes(&world).await == before {
            assert!(begun.elapsed() < LONG, "{how}: nobody connects again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        comes_to_stand(&world, Condition::Connected).await;
        let second = ordered(&world, 1).await;
        let told = |ids: &[String]| ("order_negotiation_created".to_owned(), ids[0].clone());
        while !inbox(&world).await.contains(&told(&second)) {
            assert!(begun.elapsed() < LONG, "{how}: it is deaf");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(inbox(&world).await.contains(&told(&first)), "{how}");
    }
}

/// An event wakes a caller at once, and says what to read.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_wakes_a_caller_and_names_the_read_that_confirms_it() {
    let world = Arc::new(provider(hurried()).await);
    begin(&world).await;
    comes_to_stand(&world, Condition::Connected).await;
    let waiting = world.clone();
    let wait = tokio::spawn(async move {
        waiting.call("market_wait_events", json!({ "wait_seconds": 120 })).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let negotiation = ordered(&world, 1).await.remove(0);
    let heard = tokio::time::timeout(LONG, wait).await.unwrap().unwrap();
    let event = &heard["events"][0];
    assert_eq!(event["kind"], "order_negotiation_created", "{heard}");
    assert_eq!(event["subject"], negotiation.as_str());
    assert_eq!(event["details"]["role"], "provider");
    assert_eq!(event["details"]["status"], "pending");
    let about = json!({ "negotiation_id": negotiation });
    assert_eq!(heard["next"][0]["tool"], "croo_get_negotiation", "{heard}");
    assert_eq!(heard["next"][0]["arguments"], about);
    assert_eq!(heard["next"][1]["tool"], "market_wait_events");
    assert_eq!(heard["next"][1]["arguments"]["cursor"], heard["cursor"]);
    let again = json!({ "cursor": heard["cursor"], "wait_seconds": 0 });
    let quiet = world.call("market_wait_events", again).await.unwrap();
    assert_eq!(quiet["events"], json!([]));
}

/// Nothing is asked of CROO before somebody wants to hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_begins_with_the_first_call_that_needs_it() {
    let of_croo = async |world: &World| {
        let requests = world.requests().await;
        let of = |request: &&Value| {
            ["socket", "croo"].contains(&request["marketplace"].as_str().unwrap())
        };
        requests.iter().filter(of).count()
    };
    let world = World::start_with(Make { times: Some(hurried()), ..Make::default() }).await;
    world.call("market_list_purchases", json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(of_croo(&world).await, 0);
    assert_eq!(world.app.stream().condition(), Condition::Off);
    begin(&world).await;
    comes_to_stand(&world, Condition::Connected).await;
    assert_eq!(handshakes(&world).await, 1);
}

/// A key that is not valid is asked for once and not again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_told_and_not_tried_again() {
    let make = Make {
        croo_key: Some("croo_sk_of_nobody".to_owned()),
        times: Some(hurried()),
        ..Make::default()
    };
    let world = World::start_with(make).await;
    begin(&world).await;
    comes_to_stand(&world, Condition::Refused).await;
    let error = world.call("market_wait_events", json!({ "wait_seconds": 1 })).await.unwrap_err();
    assert_eq!(error["code"], "unauthorized", "{error}");
    assert_eq!(error["marketplace"], "croo");
    assert_eq!(handshakes(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_a_second_holder_is_told() {
    let sandbox = sandbox().await;
    let make = Make { times: Some(hurried()), ..Make::default() };
    let first = World::start_on(sandbox.clone(), make.clone()).await;
    begin(&first).await;
    comes_to_stand(&first, Condition::Connected).await;
    tokio::time::sleep(hurried().socket.settle).await;
    // The same key under another store, as on another machine.
    let second = World::start_on(sandbox.clone(), make).await;
    let heard = json!({ "cursor": 0, "wait_seconds": 30 });
    let heard = second.call("market_wait_events", heard).await.unwrap();
    assert_eq!(heard["events"][0]["kind"], "instance_conflict", "{heard}");
    assert!(heard["events"][0]["details"]["note"].as_str().unwrap().contains("haggle unfreeze"));
    comes_to_stand(&second, Condition::Conflict).await;
    assert_eq!(frozen(&second).await, ["croo_key_elsewhere"]);
    let error = second.call("crochet_call_listing", second.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["code"], "instance_conflict", "{error}");
    let silent = json!({ "cursor": heard["cursor"].as_i64().unwrap() + 50, "wait_seconds": 1 });
    let error = second.call("market_wait_events", silent).await.unwrap_err();
    assert_eq!(error["code"], "instance_conflict", "{error}");

    // The owner's word holds, although the other program goes on and is looked for.
    second.freeze(false).await;
    let before = handshakes(&second).await;
    while handshakes(&second).await < before + 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(frozen(&second).await, [""; 0]);
    second.call("crochet_call_listing", second.purchase_of("auto")).await.unwrap();
    // A new process of this store meets the same conflict, and it is no new one.
    let second = second.restart().await;
    begin(&second).await;
    comes_to_stand(&second, Condition::Conflict).await;
    tokio::time::sleep(hurried().probe).await;
    let conflicts = async |world: &World, kind: &str| {
        inbox(world).await.iter().filter(|(found, _)| found == kind).count()
    };
    assert_eq!(conflicts(&second, "instance_conflict").await, 1);
    assert_eq!(frozen(&second).await, [""; 0]);
    // The first has noticed nothing, and once it is gone the second is heard again.
    assert_eq!(first.app.stream().condition(), Condition::Connected);
    assert_eq!((conflicts(&first, "instance_conflict").await, frozen(&first).await.len()), (0, 0));
    drop(first);
    comes_to_stand(&second, Condition::Connected).await;
    let begun = Instant::now();
    while conflicts(&second, "instance_conflict_over").await == 0 {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A server that is told to go by the marketplace does not come back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_closed_with_1008_does_not_fight() {
    let times = Times { probe: 10 * LONG, ..hurried() };
    let world = provider(times).await;
    begin(&world).await;
    comes_to_stand(&world, Condition::Connected).await;
    tokio::time::sleep(hurried().socket.settle * 2).await;
    break_socket(&world, "1008", 0, 1).await;
    ordered(&world, 1).await;
    comes_to_stand(&world, Condition::Conflict).await;
    let before = handshakes(&world).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handshakes(&world).await, before);
    // What happens is learned from the lists all the same.
    let own = world.sandbox.info().croo.provider.agent_id;
    let begun = Instant::now();
    while !truth(&world, &own).await.is_subset(&inbox(&world).await.into_iter().collect()) {
        assert!(begun.elapsed() < LONG, "it waits for the socket");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What happens to an order has its purchase asked about, and is never a reason to pay.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_its_purchase_asked_about() {
    let patience =
        Patience { follow: Duration::from_millis(500), unknown: Duration::from_millis(300) };
    let world =
        World::start_with(Make { patience, times: Some(hurried()), ..Make::default() }).await;
    begin(&world).await;
    let (service_id, input) = service(&world.sandbox, "manual");
    let asked = json!({ "service_id": service_id, "requirements": input });
    let asked = world.call("croo_negotiate_order", asked).await.unwrap();
    let negotiation = asked["negotiation_id"].as_str().unwrap();
    accept(&world, negotiation).await;
    let order = json!({ "negotiation_id": negotiation, "wait_seconds": 30 });
    let order = world.call("croo_get_order", order).await.unwrap();
    let order = order["order_id"].as_str().unwrap();
    world.fault("croo", "/orders/*/pay", 0, json!("drop_after")).await;
    let mute = json!({ "marketplace": "croo", "method": "GET", "path": format!("/orders/{order}"),
        "skip": 2, "times": 10_000, "action": { "status": 503 } });
    world.admin("POST", "/faults", Some(mute)).await;
    let pay = json!({ "order_id": order, "max_total_usd": "5" });
    let error = world.call("croo_pay_order", pay).await.unwrap_err();
    assert_eq!(error["money_moved"], "maybe", "{error}");
    world.until(|purchase| purchase.state == State::Unknown).await;
    world.admin("DELETE", "/faults", None).await;
    let key = world.sandbox.info().croo.provider.sdk_key;
    let result = json!({ "deliverableType": "text", "deliverableText": "Done." });
    croo(&world.sandbox, &key, "POST", &format!("/orders/{order}/deliver"), &result).await;
    let begun = Instant::now();
    while world.journal().await[0].state != State::Settled {
        assert!(begun.elapsed() < LONG, "nobody asked: {:?}", world.journal().await[0]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let requests = world.requests().await;
    let paid = requests.iter().filter(|r| r["path"].as_str().unwrap().ends_with("/pay")).count();
    assert_eq!(paid, 1);
    world.audit().await;
}

/// The built binary, live, at a sandbox that stands for the marketplace.
fn live(sandbox: &Sandbox, folder: &std::path::Path, key: &str) -> Command {
    let info = sandbox.info();
    let mut command = command(folder);
    command
        .env("CROO_API_URL", &info.croo.api_url)
        .env("CROO_WS_URL", &info.croo.ws_url)
        .env("CROO_SDK_KEY", key)
        .env("BASE_RPC_URL", &info.chain.rpc_url)
        .env("HAGGLE_CHAIN_ID", info.chain.chain_id.to_string())
        .args(["--log", "trace"])
        .arg("serve")
        .args(["--profile", "buy,sell"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_holds_the_socket_and_another_takes_it_over() {
    let sandbox = sandbox().await;
    let info = sandbox.info().croo;
    // Only to ask the sandbox.
    let admin = World::start_on(sandbox.clone(), Make::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let key = &info.provider.sdk_key;
    let heard = async |program: &mut Program, cursor: i64| {
        let wait = json!({ "cursor": cursor, "wait_seconds": 30 });
        let heard = program.call("market_wait_events", wait).await.unwrap();
        let last = heard["events"].as_array().unwrap().last().unwrap().clone();
        (last["subject"].as_str().unwrap().to_owned(), heard["cursor"].as_i64().unwrap())
    };
    let mut first = Program::ready(live(&sandbox, folder.path(), key), "2025-11-25").await.0;
    let begun = Instant::now();
    while handshakes(&admin).await == 0 {
        assert!(begun.elapsed() < LONG, "live, the stream begins by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut second = Program::ready(live(&sandbox, folder.path(), key), "2025-11-25").await.0;
    let negotiation = ordered(&admin, 1).await.remove(0);
    let (subject, cursor) = heard(&mut first, 0).await;
    assert_eq!(subject, negotiation);
    assert_eq!(heard(&mut second, 0).await, (subject, cursor), "both see what one has heard");
    assert_eq!(handshakes(&admin).await, 1, "one socket");
    first.signal("KILL").await;
    let killed = Instant::now();
    while handshakes(&admin).await == 1 {
        assert!(killed.elapsed() < LONG, "nobody takes over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let negotiation = ordered(&admin, 1).await.remove(0);
    assert_eq!(heard(&mut second, cursor).await.0, negotiation);
    assert!(second.end().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_the_key_is_in_no_log() {
    let sandbox = sandbox().await;
    let admin = World::start_on(sandbox.clone(), Make::default()).await;
    let key = sandbox.info().croo.provider.sdk_key;
    let canaries = Canaries::new(&[("the SDK key", &key)]);
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::ready(live(&sandbox, folder.path(), &key), "2025-11-25").await.0;
    break_socket(&admin, "kill", 0, 1).await;
    let refuse = json!({ "marketplace": "socket", "path": "/ws", "skip": 1,
        "action": { "status": 503 } });
    admin.admin("POST", "/faults", Some(refuse)).await;
    ordered(&admin, 1).await;
    let wait = json!({ "cursor": 0, "wait_seconds": 30 });
    let heard = program.call("market_wait_events", wait).await.unwrap();
    assert_eq!(heard["events"][0]["kind"], "order_negotiation_created", "{heard}");
    let begun = Instant::now();
    while handshakes(&admin).await < 3 {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    break_socket(&admin, "1008", 0, 1).await;
    ordered(&admin, 1).await;
    let begun = Instant::now();
    loop {
        let wait = json!({ "cursor": 0, "wait_seconds": 0 });
        let heard = program.call("market_wait_events", wait).await.unwrap();
        if heard.to_string().contains("instance_conflict") {
            break;
        }
        assert!(begun.elapsed() < LONG, "{heard}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = program.end().await;
    let what = ["the connection broke off", "it cannot be reached", "another program is connected"];
    for what in what {
        assert!(ended.stderr.contains(what), "{what} was not logged: {}", ended.stderr);
    }
    canaries.are_not_in("standard error", ended.stderr.as_bytes());
    for line in &ended.written {
        canaries.are_not_in("standard output", line.as_bytes());
    }
    let mut written = Vec::new();
    files(folder.path(), &mut written);
    assert!(!written.is_empty());
    for path in written {
        canaries.are_not_in(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
}
