//! Paegents' webhooks: subscriptions and their secrets, and what is taken for Paegents'.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use haggle::clock::wall_ms;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    program::{Program, command},
    world::World,
};

/// Webhooks as a server received them: headers and body.
type Received = Arc<Mutex<Vec<(BTreeMap<String, String>, String)>>>;

/// A server for webhooks, its URL and what it received.
async fn receiver() -> (String, Received) {
    let received = Received::default();
    let into = received.clone();
    let hook = async move |headers: HeaderMap, body: Bytes| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = headers.iter().map(|(n, v)| (n.to_string(), text(v.as_bytes()))).collect();
        into.lock().unwrap().push((headers, text(&body)));
        "{}"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(hook));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

/// The next webhook after so many.
async fn after(received: &Received, count: usize) -> Value {
    let begun = Instant::now();
    loop {
        if let Some((headers, body)) = received.lock().unwrap().get(count) {
            return json!({ "headers": headers, "body": body });
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no webhook came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

async fn verified(world: &World, webhook: &Value) -> Value {
    let answer = done(world, "paegents_verify_webhook", webhook.clone()).await;
    holds_no_secret(&answer);
    answer
}

fn holds_no_secret(answer: &Value) {
    assert!(!answer.to_string().contains("whsec_"), "{answer}");
}

fn signed(secret: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

async fn inbox(world: &World) -> Vec<Value> {
    let all = json!({ "cursor": 0, "wait_seconds": 0, "limit": 100 });
    let heard = done(world, "market_wait_events", all).await;
    let events = heard["events"].as_array().unwrap().clone();
    events.into_iter().filter(|e| e["details"]["marketplace"] == "paegents").collect()
}

#[tokio::test]
async fn a_webhook_is_made_tried_and_verified() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    let address = format!("{url}?token=canary");
    let args = json!({ "url": address, "event_types": ["agreement.*", "webhook.test"] });
    let made = done(&world, "paegents_create_webhook", args.clone()).await;
    holds_no_secret(&made);
    assert_eq!(made["status"], "active");
    assert_eq!(made["url_untrusted"], url.as_str(), "without its query");
    let id = made["webhook_id"].as_str().unwrap();
    assert_eq!(made["signing_secret"], format!("stored as paegents.webhook.{id}"));
    assert_eq!(made["next"][0]["tool"], "paegents_test_webhook");
    // The same once more is the same one.
    let again = done(&world, "paegents_create_webhook", args).await;
    assert_eq!(again["webhook_id"], made["webhook_id"]);

    let tested = done(&world, "paegents_test_webhook", json!({})).await;
    let test = after(&received, 0).await;
    let verdict = verified(&world, &test).await;
    assert_eq!((&verdict["valid"], &verdict["repeated"]), (&json!(true), &json!(false)));
    assert_eq!(verdict["event"]["kind"], "webhook.test", "{verdict}");
    assert_eq!(verdict["event"]["event_id"], tested["event_id"]);
    let repeated = verified(&world, &test).await;
    assert_eq!((&repeated["valid"], &repeated["repeated"]), (&json!(true), &json!(true)));

    let sent = done(&world, "paegents_list_webhook_deliveries", json!({})).await;
    let delivery = &sent["deliveries"][0];
    assert_eq!(delivery["event_type_untrusted"], "webhook.test", "{sent}");
    let id = json!({ "delivery_id": delivery["delivery_id"] });
    done(&world, "paegents_replay_webhook_delivery", id).await;
    let replayed = verified(&world, &after(&received, 1).await).await;
    assert_eq!(replayed["repeated"], true, "{replayed}");
    let failed = json!({ "status": "failed" });
    let none = done(&world, "paegents_list_webhook_deliveries", failed).await;
    assert_eq!(none["deliveries"], json!([]));
}

/// What is verified is in the inbox as what the list tells: once.
#[tokio::test]
async fn a_webhook_brings_its_event_into_the_inbox() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    done(&world, "paegents_create_webhook", json!({ "url": url })).await;
    crate::paegents_escrow::accepted(&world, "auto", 10).await;
    let webhook = after(&received, 0).await;
    assert_eq!(inbox(&world).await.len(), 0, "nothing is taken before it is verified");
    let mut forged = webhook.clone();
    forged["body"] = json!(webhook["body"].as_str().unwrap().replace("proposed", "accepted"));
    verified(&world, &forged).await;
    assert_eq!(inbox(&world).await.len(), 0);
    let verdict = verified(&world, &webhook).await;
    verified(&world, &webhook).await;
    let heard = inbox(&world).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["kind"], verdict["event"]["kind"]);
    assert_eq!(verdict["next"][0]["tool"], "paegents_get_agreement", "{verdict}");
    // The list tells the same event: acknowledging it adds nothing.
    let id = json!({ "event_id": verdict["event"]["event_id"] });
    let acked = done(&world, "paegents_ack_event", id).await;
    assert_eq!(acked["is_in_inbox"], true);
    assert_eq!(inbox(&world).await.len(), 1);
}

#[tokio::test]
async fn a_webhook_that_is_not_genuine_changes_nothing() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    let made = done(&world, "paegents_create_webhook", json!({ "url": url })).await;
    done(&world, "paegents_test_webhook", json!({})).await;
    let genuine = after(&received, 0).await;
    let (headers, body) = (genuine["headers"].clone(), genuine["body"].as_str().unwrap());
    let with_header = |value: Option<&str>| {
        let mut webhook = genuine.clone();
        let members = webhook["headers"].as_object_mut().unwrap();
        members.remove("paegents-signature");
        if let Some(value) = value {
            members.insert("Paegents-Signature".to_owned(), json!(value));
        }
        webhook
    };
    let with_body = |body: String| json!({ "headers": headers, "body": body });
    let header = headers["paegents-signature"].as_str().unwrap();
    let again: Value = serde_json::from_str(body).unwrap();
    let flipped = header.replace("v1=", "v1=0").chars().take(header.len()).collect::<String>();
    #[rustfmt::skip]
    let rows = [
        ("no header",             with_header(None),                                    "no Paegents-Signature"),
        ("no signature",          with_header(Some("t=1")),                             "cannot be read"),
        ("a signature of others", with_header(Some(&flipped)),                          "byte for byte"),
        ("serialised again",      with_body(serde_json::to_string_pretty(&again).unwrap()), "byte for byte"),
        ("one byte more",         with_body(format!("{body} ")),                        "byte for byte"),
        ("nothing",               with_body(String::new()),                             "byte for byte"),
    ];
    for (row, webhook, reason) in rows {
        let verdict = verified(&world, &webhook).await;
        assert_eq!(verdict["valid"], false, "{row}");
        assert!(verdict["reason"].as_str().unwrap().contains(reason), "{row}: {verdict}");
        assert!(verdict.get("event").is_none() && verdict.get("repeated").is_none(), "{row}");
    }
    let mut of_others = genuine.clone();
    of_others["webhook_id"] = made["webhook_id"].clone();
    assert_eq!(verified(&world, &of_others).await["valid"], true);
    // Five minutes are the most.
    world.advance(295).await;
    assert_eq!(verified(&world, &genuine).await["valid"], true);
    world.advance(10).await;
    let stale = verified(&world, &genuine).await;
    assert_eq!(stale["valid"], false);
    assert!(stale["reason"].as_str().unwrap().contains("more than 300"), "{stale}");
}

/// While a secret is replaced both sign, and both are known.
#[tokio::test]
async fn a_rotated_secret_overlaps_with_the_one_before() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    let made = done(&world, "paegents_create_webhook", json!({ "url": url })).await;
    done(&world, "paegents_test_webhook", json!({})).await;
    let before = after(&received, 0).await;
    let id = json!({ "webhook_id": made["webhook_id"] });
    let rotated = done(&world, "paegents_rotate_webhook_secret", id.clone()).await;
    holds_no_secret(&rotated);
    assert_eq!(rotated["signing_secret"], made["signing_secret"]);
    done(&world, "paegents_test_webhook", json!({})).await;
    let both = after(&received, 1).await;
    let header = both["headers"]["paegents-signature"].as_str().unwrap();
    assert_eq!(header.matches("v1=").count(), 2, "{header}");
    for webhook in [&before, &both] {
        assert_eq!(verified(&world, webhook).await["valid"], true, "{webhook}");
    }
    // Each of the two digests is enough, the new one and the old.
    let parts: Vec<&str> = header.split(',').map(str::trim).collect();
    for kept in [1, 2] {
        let mut one = both.clone();
        one["headers"]["paegents-signature"] = json!(format!("{},{}", parts[0], parts[kept]));
        assert_eq!(verified(&world, &one).await["valid"], true, "{kept}");
    }
    world.advance(700).await;
    done(&world, "paegents_test_webhook", json!({})).await;
    let alone = after(&received, 2).await;
    let header = alone["headers"]["paegents-signature"].as_str().unwrap();
    assert_eq!(header.matches("v1=").count(), 1, "{header}");
    assert_eq!(verified(&world, &alone).await["valid"], true);
}

/// The answer with the new secret is lost: the old one stays, the next rotation is kept.
#[tokio::test]
async fn a_lost_rotation_is_made_again() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    let made = done(&world, "paegents_create_webhook", json!({ "url": url })).await;
    let id = json!({ "webhook_id": made["webhook_id"] });
    world.fault("paegents", "/agents/*/webhooks/*/rotate", 0, json!("drop_after")).await;
    let error = world.call("paegents_rotate_webhook_secret", id.clone()).await.unwrap_err();
    assert_eq!(error["repeat_safe"], false, "{error}");
    let next = &error["recovery"]["next"][0];
    assert_eq!(
        (&next["tool"], &next["arguments"]),
        (&json!("paegents_rotate_webhook_secret"), &id)
    );
    done(&world, "paegents_test_webhook", json!({})).await;
    // The new secret is known to nobody here; the old one signs beside it.
    assert_eq!(verified(&world, &after(&received, 0).await).await["valid"], true);
    world.next_of(&error).await.unwrap();
    world.advance(700).await;
    done(&world, "paegents_test_webhook", json!({})).await;
    assert_eq!(verified(&world, &after(&received, 1).await).await["valid"], true);
}

/// The answer with the identifier is lost: the secret is not, and nothing is made twice.
#[tokio::test]
async fn a_lost_creation_loses_no_secret() {
    let world = World::start().await;
    let (url, received) = receiver().await;
    world.fault("paegents", "/agents/*/webhooks", 1, json!("drop_after")).await;
    let args = json!({ "url": url });
    let error = world.call("paegents_create_webhook", args.clone()).await.unwrap_err();
    assert_eq!(error["repeat_safe"], false, "{error}");
    done(&world, "paegents_test_webhook", json!({})).await;
    assert_eq!(verified(&world, &after(&received, 0).await).await["valid"], true);
    let world = world.restart().await;
    let listed = world.call("paegents_list_webhooks", json!({})).await.unwrap();
    assert_eq!(listed["webhooks"].as_array().unwrap().len(), 1, "{listed}");
    assert!(listed["webhooks"][0]["signing_secret"].is_string(), "{listed}");
    let again = done(&world, "paegents_create_webhook", args).await;
    assert_eq!(again["webhook_id"], listed["webhooks"][0]["webhook_id"]);
    done(&world, "paegents_test_webhook", json!({})).await;
    let mut webhook = after(&received, 1).await;
    webhook["webhook_id"] = again["webhook_id"].clone();
    assert_eq!(verified(&world, &webhook).await["valid"], true);
}

/// Asked for by two processes at once, it is made once, and its secret is known to both.
#[tokio::test(flavor = "multi_thread")]
async fn two_who_want_the_same_webhook_get_one() {
    let world = World::start().await;
    let beside = world.beside().await;
    let (url, received) = receiver().await;
    let args = json!({ "url": url });
    let (one, other) = tokio::join!(
        done(&world, "paegents_create_webhook", args.clone()),
        done(&beside, "paegents_create_webhook", args.clone())
    );
    assert_eq!(one["webhook_id"], other["webhook_id"]);
    done(&world, "paegents_test_webhook", json!({})).await;
    let webhook = after(&received, 0).await;
    for world in [&world, &beside] {
        assert_eq!(verified(world, &webhook).await["valid"], true);
    }
    let id = json!({ "webhook_id": one["webhook_id"] });
    let (one, other) = tokio::join!(
        done(&world, "paegents_rotate_webhook_secret", id.clone()),
        done(&beside, "paegents_rotate_webhook_secret", id.clone())
    );
    assert_eq!(one, other);
    world.advance(700).await;
    done(&world, "paegents_test_webhook", json!({})).await;
    assert_eq!(verified(&world, &after(&received, 1).await).await["valid"], true);
}

#[tokio::test]
async fn a_webhook_is_paused_resumed_and_deleted_whatever_is_lost() {
    for fault in [None, Some(json!("drop_after")), Some(json!("drop_before"))] {
        let world = World::start().await;
        let (url, _) = receiver().await;
        let made = done(&world, "paegents_create_webhook", json!({ "url": url })).await;
        let id = made["webhook_id"].as_str().unwrap();
        let args = json!({ "webhook_id": id });
        #[rustfmt::skip]
        let rows = [
            // tool                       path                                         method    then
            ("paegents_pause_webhook",  format!("/agents/*/webhooks/{id}/pause"),  "POST",   "paused"),
            ("paegents_resume_webhook", format!("/agents/*/webhooks/{id}/resume"), "POST",   "active"),
            ("paegents_delete_webhook", format!("/agents/*/webhooks/{id}"),        "DELETE", "deleted"),
        ];
        for (tool, path, method, status) in rows {
            if let Some(action) = &fault {
                let armed = json!({ "marketplace": "paegents", "method": method, "path": path,
                    "times": 1, "action": action });
                world.admin("POST", "/faults", Some(armed)).await;
            }
            let answer = match world.call(tool, args.clone()).await {
                Ok(answer) => answer,
                Err(error) => world.follow(error).await.unwrap(),
            };
            assert_eq!(answer["status"], status, "{fault:?}: {tool}");
            let listed = done(&world, "paegents_list_webhooks", json!({})).await;
            let now = listed["webhooks"].get(0).map_or(&json!("deleted"), |w| &w["status"]).clone();
            assert_eq!(now, status, "{fault:?}: {tool}: {listed}");
        }
        let error = world.call("paegents_rotate_webhook_secret", args).await.unwrap_err();
        assert_eq!(error["code"], "not_found", "{error}");
        assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_list_webhooks");
        let error = world.call("paegents_test_webhook", json!({})).await.unwrap_err();
        assert_eq!(error["code"], "not_found", "nothing is active: {error}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused() {
    let world = World::start().await;
    let before = world.requests().await.len();
    #[rustfmt::skip]
    let rows = [
        ("url",         json!({ "url": "http://agent.example/hook" })),
        ("url",         json!({ "url": "https://10.0.0.1/hook" })),
        ("url",         json!({ "url": "https://169.254.169.254/latest" })),
        ("url",         json!({ "url": "https://user:pass@agent.example/" })),
        ("url",         json!({ "url": "https://intranet/hook" })),
        ("url",         json!({ "url": "ftp://agent.example/" })),
        ("url",         json!({ "url": format!("https://agent.example/{}", "a".repeat(2_048)) })),
        ("event_types", json!({ "url": "https://agent.example/", "event_types": ["a b"] })),
        ("event_types", json!({ "url": "https://agent.example/", "event_types": [""] })),
        ("secret",      json!({ "url": "https://agent.example/", "secret": "whsec_mine" })),
    ];
    for (field, args) in rows {
        let error = world.call("paegents_create_webhook", args.clone()).await.unwrap_err();
        assert_eq!(error["code"], "invalid_argument", "{args}: {error}");
        assert_eq!(error["field"], field, "{args}: {error}");
    }
    let nothing = json!({ "headers": {}, "body": "x".repeat(1024 * 1024 + 1) });
    let error = world.call("paegents_verify_webhook", nothing).await.unwrap_err();
    assert_eq!(error["field"], "body");
    assert_eq!(world.requests().await.len(), before, "something was sent");
}

/// In each of 25 zones a genuine webhook is taken, and one that is as old as the zone is off is not.
#[tokio::test(flavor = "multi_thread")]
async fn f13_a_webhook_is_judged_alike_in_every_time_zone() {
    const SECRET: &str = "whsec_of_the_owner";
    let mut zones = Vec::new();
    for hours in -12_i64..=12 {
        // A zone whose clock is so many hours ahead of UTC; the sign of POSIX is the other one.
        let zone = format!("<{hours:+03}>{:+}", -hours);
        zones.push(tokio::spawn(async move {
            let folder = tempfile::tempdir().unwrap();
            let mut command = command(&folder.path().join("data"));
            command.env("TZ", &zone).env("PAEGENTS_WEBHOOK_SECRET", SECRET);
            command.env("PAEGENTS_AGENT_ID", "agt_1").env("PAEGENTS_API_KEY", "sk_1");
            command.env("PAEGENTS_API_URL", "http://127.0.0.1:9");
            command.args(["serve", "--profile", "events"]);
            let (mut program, _) = Program::ready(command, "2025-11-25").await;
            for (off_s, valid) in
                [(0, true), (290, true), (hours * 3_600, hours == 0), (-hours * 3_600, hours == 0)]
            {
                let at = wall_ms() / 1_000 - off_s;
                let body = format!("{{\"event_id\":\"evt_{}\"}}", off_s.unsigned_abs());
                let header = format!("t={at},v1={}", signed(SECRET, at, &body));
                let webhook = json!({ "headers": { "Paegents-Signature": header }, "body": body });
                let verdict = program.call("paegents_verify_webhook", webhook).await.unwrap();
                assert_eq!(verdict["valid"], valid, "{zone}, {off_s} s: {verdict}");
            }
            program.end().await;
        }));
    }
    for zone in zones {
        zone.await.unwrap();
    }
}
