//! Many clients, clients that vanish, clients that do not read, and the end.

use std::time::{Duration, Instant};

use futures::future::join_all;
use haggle::{config::http::HttpSettings, journal::State};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Site, client, session, token};

const SESSIONS: usize = 1000;
const CALLERS: usize = 256;
/// What a thousand idle sessions may take, in bytes: a hundred kilobytes each.
const MEMORY_MAX: u64 = 100 * 1024 * 1024;
/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

pub(super) fn gauge(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    let value = line.unwrap_or_else(|| panic!("no {name} in {metrics}")).rsplit(' ').next();
    value.unwrap().parse().unwrap()
}

/// A thousand idle sessions beside 256 callers at once: memory is bounded and reported, every caller
/// has an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_and_256_callers() {
    let site = Site::open(vec![client("ann")], HttpSettings::default()).await;
    let before = gauge(&site.metrics("ann").await, "haggle_process_resident_memory_bytes");
    for _ in 0..SESSIONS / 50 {
        let opened = join_all((0..50).map(|_| site.initialize(Some("ann")))).await;
        assert!(opened.iter().all(|answer| !session(answer).is_empty()));
    }
    let metrics = site.metrics("ann").await;
    assert_eq!(gauge(&metrics, "haggle_http_sessions"), u64::try_from(SESSIONS).unwrap());
    let after = gauge(&metrics, "haggle_process_resident_memory_bytes");
    // Other tests of this process take some as well.
    assert!(after.saturating_sub(before) < 4 * MEMORY_MAX, "{before} became {after}");
    let calls = (0..CALLERS).map(|_| site.call("ann", "market_search", json!({ "query": "text" })));
    for answer in join_all(calls).await {
        let found = answer.unwrap();
        assert_eq!(found["mode"], "sandbox", "{found}");
    }
    assert_eq!(gauge(&site.metrics("ann").await, "haggle_http_in_flight"), 0);
}

/// A client that goes away in the middle of a payment loses the answer, and nothing else.
#[tokio::test]
async fn who_vanishes_in_the_middle_of_a_payment_loses_nothing() {
    let site = Site::open(vec![client("ann")], HttpSettings::default()).await;
    let args = site.world.purchase_of("auto");
    let params = json!({ "name": "crochet_call_listing", "arguments": args });
    // It goes when the transaction may have left, and has not been answered.
    let slow = json!({ "delay_ms": 3_000 });
    site.world.fault("chain", "eth_sendRawTransaction", 0, slow).await;
    let submitted = site.world.until(|p| matches!(p.state, State::Submitted | State::Settled));
    tokio::select! {
        answer = site.modern(Some("ann"), "tools/call", &params).send() => {
            panic!("it was over before the client went: {answer:?}")
        }
        () = submitted => {}
    }
    site.world.until(|purchase| purchase.state == State::Settled).await;
    assert_eq!(site.world.charges().await.len(), 1);
    // The same call again is the same purchase.
    let done = site.call("ann", "crochet_call_listing", args).await;
    let id = match &done {
        Ok(done) => done["purchase"]["id"].clone(),
        Err(error) => error["purchase_id"].clone(),
    };
    let about = json!({ "purchase_id": id });
    let resumed = site.call("ann", "crochet_resume_call", about).await.unwrap();
    assert_eq!(resumed["purchase"]["delivery"], "delivered", "{resumed}");
    assert_eq!(site.world.charges().await.len(), 1);
    site.world.audit().await;
}

/// What is kept for who does not read counts as in flight, until it is read or they are gone.
#[tokio::test]
async fn what_is_not_read_is_bounded() {
    let http = HttpSettings { in_flight_max: 10, ..HttpSettings::default() };
    let site = Site::open(vec![client("ann"), client("bob")], http).await;
    let (stream, address) = super::gate::legacy(&site).await;
    let post = |body: Value| {
        let request = site.request(Method::POST, &address).bearer_auth(token("ann"));
        async move { request.json(&body).send().await.unwrap().status() }
    };
    assert_eq!(post(super::initialize()).await, StatusCode::ACCEPTED);
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(post(ready).await, StatusCode::ACCEPTED);
    // The socket takes some of it in, and then no more.
    let mut refused = 0;
    for id in 2..2_000 {
        let list = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
        refused += usize::from(post(list).await == StatusCode::TOO_MANY_REQUESTS);
        if refused == 20 {
            break;
        }
    }
    assert_eq!(refused, 20, "it takes in whatever it is asked");
    let other = site.modern(Some("bob"), "tools/list", &json!({})).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    drop(stream);
    loop {
        let own = site.modern(Some("ann"), "tools/list", &json!({})).send().await.unwrap();
        if own.status() == StatusCode::OK {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Streams that nobody reads keep nobody else waiting.
#[tokio::test]
async fn who_does_not_read_keeps_nobody_waiting() {
    let site = Site::open(vec![client("ann")], HttpSettings::default()).await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        let (stream, address) = super::gate::legacy(&site).await;
        for id in 0..40 {
            let list = json!({ "jsonrpc": "2.0", "id": id, "method": "initialize",
                "params": super::initialize()["params"] });
            let post = site.request(Method::POST, &address).bearer_auth(token("ann")).json(&list);
            let sent = tokio::time::timeout(Duration::from_millis(200), post.send()).await;
            if !matches!(sent, Ok(Ok(answer)) if answer.status() == StatusCode::ACCEPTED) {
                break;
            }
        }
        unread.push(stream);
    }
    let bought = site.call("ann", "crochet_call_listing", site.world.purchase_of("auto")).await;
    assert_eq!(bought.unwrap()["purchase"]["delivery"], "delivered");
}

/// No more requests of a client are answered at a time than are allowed.
#[tokio::test]
async fn requests_in_flight_are_limited() {
    let http = HttpSettings { in_flight_max: 3, ..HttpSettings::default() };
    let site = Site::open(vec![client("ann"), client("bob")], http).await;
    let wait = json!({ "name": "market_wait_events", "arguments": { "wait_seconds": 10 } });
    let waits = (0..6).map(|_| site.modern(Some("ann"), "tools/call", &wait).send());
    let answers = join_all(waits);
    let other = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        site.modern(Some("bob"), "tools/list", &json!({})).send().await.unwrap().status()
    };
    let (answers, other) = tokio::join!(answers, other);
    assert_eq!(other, StatusCode::OK, "another client waits for this one's");
    let mut statuses: Vec<u16> = Vec::new();
    for answer in answers {
        statuses.push(answer.unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
}

/// At the end, who waits is answered, and nothing new is begun.
#[tokio::test]
async fn the_end_lets_answers_out() {
    let mut site = Site::open(vec![client("ann")], HttpSettings::default()).await;
    let idle = session(&site.initialize(Some("ann")).await);
    assert!(!idle.is_empty());
    let wait = json!({ "name": "market_wait_events", "arguments": { "wait_seconds": 40 } });
    let waiting = tokio::spawn(site.modern(Some("ann"), "tools/call", &wait).send());
    let begun = Instant::now();
    while gauge(&site.metrics("ann").await, "haggle_http_in_flight") == 0 {
        assert!(begun.elapsed() < LONG, "nobody waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the program does when it is told to end.
    site.world.app.stopping().cancel();
    site.stop().await;
    let answer: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["events"], json!([]), "{answer}");
    let again = site.request(Method::GET, "/healthz").send().await;
    assert!(again.is_err(), "it still listens: {again:?}");
}

/// At the end, streams end as well that have no end of their own.
#[tokio::test]
async fn the_end_ends_streams() {
    let mut site = Site::open(vec![client("ann")], HttpSettings::default()).await;
    let (older, _) = super::gate::legacy(&site).await;
    let own = session(&site.initialize(Some("ann")).await);
    let of_session = |method: Method| site.in_session(method, "ann", &own);
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let begun = of_session(Method::POST).json(&ready).send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let newer = of_session(Method::GET).send().await.unwrap();
    assert_eq!(newer.status(), StatusCode::OK);
    site.stop().await;
    for (path, mut stream) in [("/sse", older), ("/mcp", newer)] {
        let ends = async { while stream.chunk().await.unwrap().is_some() {} };
        assert!(tokio::time::timeout(LONG, ends).await.is_ok(), "{path} goes on");
    }
}
