//! A table of requests with the status of each, over both transports.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use haggle::config::http::HttpSettings;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{OWNER_KEY, Site, client, crowds::gauge, initialize, session, token};
use crate::world::Make;

/// A site with one client and small limits.
async fn site(http: HttpSettings) -> Site {
    let digest = Some(haggle::credential::CredentialDigest::of(OWNER_KEY));
    let http = HttpSettings {
        allowed_hosts: vec!["haggle.example.com".to_owned()],
        allowed_origins: vec!["https://app.example.com".to_owned()],
        owner_key_sha256: digest,
        ..http
    };
    Site::open(vec![client("ann")], http).await
}

type Row<'a> = (&'a str, Method, &'a str, Vec<(&'a str, String)>, u16);

#[tokio::test]
async fn who_may_call_and_from_where() {
    let site = site(HttpSettings::default()).await;
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let (own, other) = (bearer(&token("ann")), bearer(&token("bob")));
    let host = |host: &str| ("host", host.to_owned());
    let origin = |origin: &str| ("origin", origin.to_owned());
    let owner = bearer(OWNER_KEY);
    let mut rows: Vec<Row<'_>> = vec![
        ("health", Method::GET, "/healthz", vec![], 200),
        ("health by any name", Method::GET, "/healthz", vec![host("10.0.0.1")], 200),
        ("readiness", Method::GET, "/readyz", vec![], 200),
        ("metrics without a token", Method::GET, "/metrics", vec![], 401),
        ("metrics", Method::GET, "/metrics", vec![own.clone()], 200),
        ("nothing there", Method::GET, "/nothing", vec![own.clone()], 404),
        ("the page asks to sign in", Method::GET, "/owner", vec![], 303),
        ("the page by another name", Method::GET, "/owner", vec![host("haggle.example.com")], 403),
        ("the page with a client's token", Method::GET, "/owner/purchases", vec![own.clone()], 303),
        ("the webhooks' place is for posts", Method::GET, "/webhooks/paegents", vec![], 405),
        ("a webhook without a signature", Method::POST, "/webhooks/paegents", vec![], 401),
    ];
    // Both transports, by the request that opens a session.
    for (method, path) in [(Method::POST, "/mcp"), (Method::GET, "/sse")] {
        let mut row = |what, headers, status| {
            rows.push((what, method.clone(), path, headers, status));
        };
        row("no token", vec![], 401);
        row("another's token", vec![other.clone()], 401);
        row("the owner's key", vec![owner.clone()], 401);
        row("another scheme", vec![("authorization", format!("Basic {}", token("ann")))], 401);
        row("its digest", vec![bearer(&"0".repeat(64))], 401);
        row("its token", vec![own.clone()], 200);
        row("another name", vec![own.clone(), host("evil.example.com")], 403);
        row("another name without a token", vec![host("evil.example.com")], 403);
        row("a configured name", vec![own.clone(), host("haggle.example.com")], 200);
        row("a page of another origin", vec![own.clone(), origin("https://evil.example.com")], 403);
        row("an opaque origin", vec![own.clone(), origin("null")], 403);
        row("a configured page", vec![own.clone(), origin("https://app.example.com")], 200);
        row("a page of this machine", vec![own.clone(), origin("http://localhost:3000")], 200);
        row("the token in the address", vec![("x", token("ann"))], 401);
    }
    for (what, method, path, headers, status) in rows {
        let mut request = site.request(method.clone(), path);
        if method == Method::POST && path == "/mcp" {
            let accept = "application/json, text/event-stream";
            request = request.header("accept", accept).json(&initialize());
        }
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        if what == "the token in the address" {
            request = request.query(&[("access_token", token("ann")), ("token", token("ann"))]);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}: {what}");
        if status == 401 && path != "/webhooks/paegents" {
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer "), "{what}: {challenge}");
            let has_token = headers.iter().any(|(_, value)| value.starts_with("Bearer"));
            assert_eq!(challenge.contains("invalid_token"), has_token, "{what}: {challenge}");
        }
    }
}

/// A browser asks first: it lets pages of the configured origin call, and no other.
#[tokio::test]
async fn pages_of_configured_origins_may_call() {
    let site = site(HttpSettings::default()).await;
    let allowed = |answer: &reqwest::Response| {
        let header = answer.headers().get("access-control-allow-origin");
        header.map(|origin| origin.to_str().unwrap().to_owned())
    };
    let page = "https://app.example.com";
    let rows = [
        (page, 200, Some(page.to_owned())),
        ("http://localhost:3000", 200, None),
        ("https://evil.example.com", 403, None),
    ];
    for (origin, status, expected) in rows {
        for path in ["/mcp", "/sse", "/messages?sessionId=x"] {
            let asked = site
                .request(Method::OPTIONS, path)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,mcp-session-id");
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path} from {origin}");
            assert_eq!(allowed(&answer), expected, "{path} from {origin}");
        }
    }
    let called = site.modern(Some("ann"), "tools/list", &json!({})).header("origin", page);
    let answer = called.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), allowed(&answer)), (200, Some(page.to_owned())));
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("mcp-session-id"), "{exposed}");
    // The owner's page is nobody else's to read.
    let asked = site.request(Method::GET, "/owner/sign-in").header("origin", page);
    assert_eq!(allowed(&asked.send().await.unwrap()), None);
}

#[tokio::test]
async fn what_is_no_message_is_answered() {
    let site = site(HttpSettings { body_bytes_max: 4096, ..HttpSettings::default() }).await;
    let nested = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(5000) }).to_string();
    let twice = r#"{"jsonrpc":"2.0","id":7,"id":7,"method":"ping"}"#.to_owned();
    let rows = [
        ("no JSON", "{".to_owned(), 400, Some(-32700)),
        ("deeply nested", nested, 400, Some(-32700)),
        ("a member twice", twice, 400, Some(-32600)),
        ("no message", "{}".to_owned(), 400, Some(-32600)),
        ("nothing", String::new(), 400, Some(-32700)),
        ("too large", large, 413, None),
    ];
    let (stream, address) = legacy(&site).await;
    for path in ["/mcp", &address] {
        for (what, body, status, code) in &rows {
            let request = site
                .request(Method::POST, path)
                .bearer_auth(token("ann"))
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body(body.clone());
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), *status, "{path}: {what}");
            let text = answer.text().await.unwrap();
            if let Some(code) = code {
                let error: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(error["error"]["code"], *code, "{path}: {what}: {text}");
            }
        }
        let request = site.request(Method::POST, path).bearer_auth(token("ann"));
        let answer = request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "text/plain")
            .body("{}");
        assert_eq!(answer.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    drop(stream);
}

/// Opens a stream of the older transport: it, and where messages go to.
pub(super) async fn legacy(site: &Site) -> (reqwest::Response, String) {
    let mut stream =
        site.request(Method::GET, "/sse").bearer_auth(token("ann")).send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let mut text = String::new();
    while !text.contains("\n\n") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    let address = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
    assert!(address.starts_with("/messages?sessionId="), "{text}");
    (stream, address)
}

#[tokio::test]
async fn requests_a_minute_are_limited() {
    let http = HttpSettings { requests_per_minute_max: 5, ..HttpSettings::default() };
    let site = site(http).await;
    let (mut let_in, mut refused, begun) = (0, 0, Instant::now());
    for _ in 0..100 {
        let answer = site.modern(Some("ann"), "tools/list", &json!({})).send().await.unwrap();
        if answer.status() == StatusCode::OK {
            let_in += u64::from(refused == 0);
            continue;
        }
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        refused += 1;
        if refused == 3 {
            break;
        }
    }
    assert!(refused > 0, "it takes in whatever it is asked");
    // There is room for another one every twelve seconds.
    let most = 5 + begun.elapsed().as_secs().div_ceil(12);
    assert!((5..=most).contains(&let_in), "{let_in} were let in");
    assert_eq!(site.request(Method::GET, "/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn sessions_are_limited_over_both_transports() {
    let site = site(HttpSettings { sessions_max: 2, ..HttpSettings::default() }).await;
    let first = session(&site.initialize(Some("ann")).await);
    let (stream, address) = legacy(&site).await;
    assert_eq!(site.initialize(Some("ann")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let more = site.request(Method::GET, "/sse").bearer_auth(token("ann"));
    assert_eq!(more.send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    // What needs no session goes on.
    let answer = site.modern(Some("ann"), "tools/list", &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let ended = site
        .request(Method::DELETE, "/mcp")
        .bearer_auth(token("ann"))
        .header("mcp-session-id", &first)
        .send()
        .await
        .unwrap();
    assert!(ended.status().is_success(), "{ended:?}");
    session(&site.initialize(Some("ann")).await);
    // A stream that is not read any more is a session that has ended.
    drop(stream);
    let gone = async {
        loop {
            let post = site.request(Method::POST, &address).bearer_auth(token("ann"));
            if post.json(&initialize()).send().await.unwrap().status() == StatusCode::NOT_FOUND {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    gone.await;
    drop(legacy(&site).await);
}

/// However many are asked for at once, no more sessions are opened than a client may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn sessions_that_are_asked_for_at_once_are_limited() {
    for with_older in [false, true] {
        let http = HttpSettings { sessions_max: 2, ..HttpSettings::default() };
        let make = Make { clients: vec![client("ann")], http, ..Make::default() };
        // Each takes a while to open, so that the others come meanwhile.
        let site = Site::altered(make, |service| {
            let tenant = &mut service.tenants[0];
            let inner = tenant.handler.clone();
            tenant.handler = Arc::new(move || {
                std::thread::sleep(Duration::from_millis(100));
                inner()
            });
        });
        let site = site.await;
        let opened = (0..40).map(|number| {
            let older = site.request(Method::GET, "/sse").bearer_auth(token("ann"));
            let newer = site.initialize(Some("ann"));
            async move {
                if with_older && number % 2 == 0 {
                    older.send().await.unwrap()
                } else {
                    newer.await
                }
            }
        });
        // The streams are kept: one that is dropped makes room.
        let opened = join_all(opened).await;
        let with = |status| opened.iter().filter(|answer| answer.status() == status).count();
        assert_eq!(with(StatusCode::OK), 2, "with older ones: {with_older}");
        assert_eq!(with(StatusCode::TOO_MANY_REQUESTS), 38, "with older ones: {with_older}");
        assert_eq!(gauge(&site.metrics("ann").await, "haggle_http_sessions"), 2);
    }
}

/// A session that is not used ends, and its name is nothing any more.
#[tokio::test]
async fn a_session_that_is_idle_ends() {
    let site = site(HttpSettings { session_idle_seconds: 1, ..HttpSettings::default() }).await;
    let own = session(&site.initialize(Some("ann")).await);
    let begun = Instant::now();
    // Whoever asked by its name would be using it.
    while gauge(&site.metrics("ann").await, "haggle_http_sessions") > 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    let request = site.in_session(Method::POST, "ann", &own);
    assert_eq!(request.json(&ping).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

/// Who has no token is not listened to for long: what is larger than a webhook may be is refused
/// before anything else is done with it.
#[tokio::test]
async fn a_webhook_has_a_largest_size() {
    let site = site(HttpSettings::default()).await;
    let most = 1024 * 1024;
    for (bytes, status) in
        [(most, StatusCode::UNAUTHORIZED), (most + 1, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let request = site.request(Method::POST, "/webhooks/paegents").body("x".repeat(bytes));
        assert_eq!(request.send().await.unwrap().status(), status, "{bytes} bytes");
    }
}

/// Paegents' webhooks, sent by the sandbox as it sends them, are in the inbox once.
#[tokio::test]
async fn webhooks_are_received() {
    let site = Site::with(Make { clients: vec![client("ann")], ..Make::default() }).await;
    let url = format!("{}/webhooks/paegents", site.base);
    let world = &site.world;
    world.call("paegents_create_webhook", json!({ "url": url })).await.unwrap();
    crate::paegents_escrow::accepted(world, "auto", 10).await;
    let told = async || {
        let events = world.app.store().with(|db| haggle::events::after(db, "ann", 0, 100)).await;
        let events = events.unwrap();
        events.into_iter().filter(|event| event.source == "paegents").collect::<Vec<_>>()
    };
    while told().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = world.call("paegents_list_webhook_deliveries", json!({})).await.unwrap();
    let delivery = json!({ "delivery_id": sent["deliveries"][0]["delivery_id"] });
    world.call("paegents_replay_webhook_delivery", delivery).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told_now = told().await;
    let kinds: std::collections::BTreeSet<_> = told_now.iter().map(|event| &event.kind).collect();
    assert_eq!(told_now.len(), kinds.len(), "a repetition is told again: {told_now:?}");
    // Nobody else is believed.
    for header in [None, Some("t=1,v1=00"), Some("nonsense")] {
        let mut request = site.request(Method::POST, "/webhooks/paegents").body("{}");
        if let Some(header) = header {
            request = request.header("paegents-signature", header);
        }
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{header:?}");
    }
}

/// A picture in a page of another site is refused before it counts as a request of anybody, and a link
/// leads to the owner's page all the same.
#[tokio::test]
async fn pages_of_other_sites_use_nothing_up() {
    let http = HttpSettings {
        requests_per_minute_max: 5,
        owner_key_sha256: Some(haggle::credential::CredentialDigest::of(OWNER_KEY)),
        ..HttpSettings::default()
    };
    let site = Site::open(Vec::new(), http).await;
    let from_elsewhere = async |path: &str, mode: &str| {
        let asked = site
            .request(Method::GET, path)
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", mode);
        asked.send().await.unwrap().status().as_u16()
    };
    for number in 0..10 {
        assert_eq!(from_elsewhere(&format!("/mcp?{number}"), "no-cors").await, 403);
        assert_eq!(from_elsewhere(&format!("/sse?{number}"), "navigate").await, 403);
    }
    let answer = site.modern(None, "tools/list", &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(from_elsewhere("/owner/purchases", "navigate").await, 303);
    assert_eq!(from_elsewhere("/owner/sign-in?to=/owner/purchases", "navigate").await, 200);
    assert_eq!(from_elsewhere("/owner/sign-in", "no-cors").await, 403);
}
