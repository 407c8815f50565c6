//! Paegents' inbox and its webhooks.

use std::{
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{START_MS, World, options};
use crate::sandbox::paegents::hooks::signature::hmac_hex;

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver that answers with these statuses in turn, and with the last one from then on.
async fn receiver(statuses: &'static [u16]) -> (String, Seen) {
    listening(TcpListener::bind("127.0.0.1:0").await.unwrap(), statuses)
}

/// As [`receiver`], at a port that is taken already.
fn listening(listener: TcpListener, statuses: &'static [u16]) -> (String, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let app = Router::new().route(
        "/hook",
        post(move |headers: HeaderMap, body: Bytes| async move {
            let mut all = record.lock().unwrap();
            let status = statuses[all.len().min(statuses.len() - 1)];
            all.push((headers, body));
            axum::http::StatusCode::from_u16(status).unwrap()
        }),
    );
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

/// Waits until the receiver saw so many deliveries.
async fn arrived(seen: &Seen, count: usize) -> Vec<(HeaderMap, Bytes)> {
    for _ in 0..2_400 {
        if seen.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    seen.lock().unwrap().clone()
}

/// The digests of a delivery's signature, which is made at `at_s`.
fn digests(headers: &HeaderMap, at_s: i64) -> Vec<String> {
    let value = headers["Paegents-Signature"].to_str().unwrap();
    let mut parts = value.split(", ");
    assert_eq!(parts.next().unwrap(), format!("t={at_s}"));
    parts.map(|part| part.strip_prefix("v1=").unwrap().to_owned()).collect()
}

fn digest(secret: &str, at_s: i64, body: &[u8]) -> String {
    let message = [format!("{at_s}.").as_bytes(), body].concat();
    hmac_hex(secret.as_bytes(), &message)
}

impl World {
    async fn happens(&self, kind: &str) -> String {
        let body = json!({ "agent_id": self.info.paegents.buyer.agent_id, "type": kind,
            "payload": { "n": 1 } });
        let reply = self.admin("POST", "/paegents/event", body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json["event_id"].as_str().unwrap().to_owned()
    }

    async fn subscribe(&self, body: Value) -> Value {
        let reply = self.buys("POST", &self.mine("webhooks"), body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json
    }

    /// The deliveries, the newest first.
    async fn sendings(&self) -> Vec<Value> {
        let path = self.mine("webhooks/deliveries");
        let reply = self.buys("GET", &path, Value::Null).await;
        reply.json["deliveries"].as_array().unwrap().clone()
    }

    /// The newest delivery, once it has this status.
    async fn sent(&self, status: &str) -> Value {
        for _ in 0..2_400 {
            if let Some(first) = self.sendings().await.into_iter().next()
                && first["status"] == status
            {
                return first;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no delivery is {status}: {:?}", self.sendings().await);
    }

    async fn hooked(&self, call: &str) -> super::Reply {
        self.buys("POST", &self.mine(&format!("webhooks/{call}")), Value::Null).await
    }
}

#[tokio::test]
async fn an_inbox_holds_what_is_not_acknowledged() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for kind in ["payment.completed", "agreement.accepted", "payment.failed"] {
        ids.push(world.happens(kind).await);
        world.pass(1_000);
    }
    let list = |query: &str| {
        let path = world.mine(&format!("events{query}"));
        async {
            let path = path;
            let reply = world.buys("GET", &path, Value::Null).await;
            let all = reply.json.as_array().unwrap().clone();
            all.iter().map(|e| e["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(list("").await, ids);
    assert_eq!(list("?limit=2").await, ids[..2]);
    assert_eq!(list("?types=payment.*").await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(list("?types=agreement.accepted%2Cpayment.failed").await, ids[1..]);
    assert_eq!(list(&format!("?after={}", ids[0])).await, ids[1..]);
    assert_eq!(list(&format!("?after={}", START_MS / 1_000)).await, ids[1..]);
    assert_eq!(list("?after=2026-09-21T14:13:21Z").await, ids[2..]);
    assert_eq!(world.buys("GET", &world.mine("events?after=x"), Value::Null).await.status, 422);

    let event = world.buys("GET", &world.mine("events?limit=1"), Value::Null).await.json[0].clone();
    assert_eq!(event["type"], "payment.completed");
    assert_eq!(event["payload"], json!({ "n": 1 }));
    assert_eq!((&event["status"], &event["attempt_count"]), (&json!("pending"), &json!(0)));
    let acknowledge = world.mine(&format!("events/{}/ack", ids[0]));
    for _ in 0..2 {
        let reply = world.buys("POST", &acknowledge, Value::Null).await;
        assert_eq!(reply.json, json!({ "event_id": ids[0], "status": "acknowledged" }));
    }
    assert_eq!(list("").await, ids[1..]);
    assert_eq!(list(&format!("?after={}", ids[0])).await, ids[1..], "still a place in the order");
    assert_eq!(world.buys("POST", &world.mine("events/evt_0/ack"), Value::Null).await.status, 404);
    assert_eq!(world.sells("GET", &world.mine("events"), Value::Null).await.status, 403);
    let nobody = json!({ "agent_id": "agt_none", "type": "a.b" });
    assert_eq!(world.admin("POST", "/paegents/event", nobody).await.status, 404);
    assert_eq!(world.told().await.len(), 3, "the admin sees all");
}

#[tokio::test]
async fn a_webhook_carries_what_is_wanted_and_signs_it() {
    let world = World::start().await;
    let (url, seen) = receiver(&[200]).await;
    let made = world.subscribe(json!({ "url": url, "event_types": ["payment.*"] })).await;
    assert_eq!(made["secret"], json!(world.info.paegents.webhook_secret));
    assert_eq!(made["status"], "active");
    let listed = world.buys("GET", &world.mine("webhooks"), Value::Null).await.json;
    assert_eq!(listed["webhooks"][0]["id"], made["id"]);
    assert_eq!(listed["webhooks"][0].get("secret"), None, "shown once");
    world.happens("agreement.accepted").await;
    let id = world.happens("payment.completed").await;
    let (headers, body) = arrived(&seen, 1).await[0].clone();
    let at_s = START_MS / 1_000;
    let secret = &world.info.paegents.webhook_secret;
    assert_eq!(digests(&headers, at_s), [digest(secret, at_s, &body)]);
    assert_eq!(headers["content-type"], "application/json");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["event_id"], &told["type"]), (&json!(id), &json!("payment.completed")));
    assert_eq!(told["payload"], json!({ "n": 1 }));
    let delivery = world.sent("delivered").await;
    assert_eq!((&delivery["response_code"], &delivery["attempt_count"]), (&json!(200), &json!(1)));
    assert_eq!(world.sendings().await.len(), 1);
    let path = world.mine("events?types=payment.completed");
    let event = world.buys("GET", &path, Value::Null).await.json[0].clone();
    assert_eq!(event["attempt_count"], 1);

    // What happens by the clock is told without anybody looking.
    let order = json!({
        "msg": "PayRequest", "version": "1.0", "txn_id": "t1", "supplier": "slow.example",
        "amount": 1, "api_key": world.info.paegents.buyer.api_key,
        "agent_owner_email": "o@example.com", "agent_id": world.info.paegents.buyer.agent_id,
    });
    assert_eq!(world.buys("POST", "/a2a/pay", order).await.json["status"], "processing");
    world.pass(300);
    let (_, body) = arrived(&seen, 2).await[1].clone();
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["payload"]["txn_id"], "t1");
}

#[tokio::test]
async fn secrets_rotate_with_an_overlap() {
    let world = World::start().await;
    let (url, seen) = receiver(&[200]).await;
    let made = world.subscribe(json!({ "url": url, "secret": "mine" })).await;
    let id = made["id"].as_str().unwrap();
    let rotated = world.hooked(&format!("{id}/rotate")).await.json;
    let fresh = rotated["secret"].as_str().unwrap();
    assert!(fresh.starts_with("whsec_") && fresh != world.info.paegents.webhook_secret);
    world.happens("a.b").await;
    let at_s = START_MS / 1_000;
    let (headers, body) = arrived(&seen, 1).await[0].clone();
    let both = [digest(fresh, at_s, &body), digest("mine", at_s, &body)];
    assert_eq!(digests(&headers, at_s), both);
    world.pass(600_000);
    world.happens("a.b").await;
    let (headers, body) = arrived(&seen, 2).await[1].clone();
    assert_eq!(digests(&headers, at_s + 600), [digest(fresh, at_s + 600, &body)]);
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_and_can_be_replayed() {
    let world = World::start().await;
    let (url, seen) = receiver(&[500, 404, 503, 500, 200]).await;
    world.subscribe(json!({ "url": url })).await;
    world.happens("a.b").await;
    let mut waited = Vec::new();
    for (attempt, steps) in [(1, 1), (2, 5), (3, 25)] {
        arrived(&seen, attempt).await;
        let waiting = world.sent("pending").await;
        assert_eq!(waiting["attempt_count"], attempt);
        waited.push(waiting["response_code"].clone());
        world.pass(300 * steps - 1);
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(seen.lock().unwrap().len(), attempt, "not before its time");
        world.pass(1);
    }
    assert_eq!(waited, [500, 404, 503]);
    let failed = world.sent("failed").await;
    assert_eq!((&failed["attempt_count"], &failed["next_attempt_at"]), (&json!(4), &Value::Null));
    let replay = format!("deliveries/{}/replay", failed["id"].as_str().unwrap());
    assert_eq!(world.hooked(&replay).await.json["replay_of"], failed["id"]);
    let replayed = world.sent("delivered").await;
    assert_eq!(replayed["event_id"], failed["event_id"]);
    let all = seen.lock().unwrap().clone();
    assert!(all.iter().all(|(_, body)| *body == all[0].1), "the same bytes each time");
    assert_eq!(world.hooked("deliveries/whd_0/replay").await.status, 404);
    let path = world.mine("webhooks/deliveries?status=failed");
    let only = world.buys("GET", &path, Value::Null).await.json;
    assert_eq!(only["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_leaves_the_machine() {
    let world = World::start().await;
    for url in ["http://198.51.100.7/hook", "https://example.com/hook", "https://127.0.0.1/hook"] {
        let made = world.subscribe(json!({ "url": url })).await;
        assert_eq!(world.hooked("test").await.status, 200);
        let first = world.sendings().await[0].clone();
        assert_eq!((&first["status"], &first["attempt_count"]), (&json!("blocked"), &json!(0)));
        let path = world.mine(&format!("webhooks/{}", made["id"].as_str().unwrap()));
        assert_eq!(world.buys("DELETE", &path, Value::Null).await.json["status"], "deleted");
    }
    let long = "x".repeat(2_048);
    let bodies = [
        json!({ "url": "ftp://127.0.0.1/" }),
        json!({ "url": "nowhere" }),
        json!({ "url": "http://u:p@127.0.0.1/" }),
        json!({ "url": format!("http://127.0.0.1/{long}") }),
        json!({ "url": "http://127.0.0.1/", "event_types": ["a b"] }),
        json!({ "url": "http://127.0.0.1/", "event_types": "a" }),
    ];
    for body in bodies {
        let reply = world.buys("POST", &world.mine("webhooks"), body.clone()).await;
        assert_eq!(reply.status, 422, "{body}");
    }
}

#[tokio::test]
async fn a_subscription_is_paused_tested_and_deleted() {
    let world = World::start().await;
    assert_eq!(world.hooked("test").await.status, 404, "nobody listens");
    let (url, seen) = receiver(&[200]).await;
    let made = world.subscribe(json!({ "url": url })).await;
    let id = made["id"].as_str().unwrap();
    let tested = world.hooked("test").await.json;
    assert_eq!(tested["deliveries"].as_array().unwrap().len(), 1);
    let (_, body) = arrived(&seen, 1).await[0].clone();
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["type"], &told["event_id"]), (&json!("webhook.test"), &tested["event_id"]));
    assert_eq!(world.buys("GET", &world.mine("events"), Value::Null).await.json, json!([]));

    assert_eq!(world.hooked(&format!("{id}/pause")).await.json["status"], "paused");
    world.happens("a.b").await;
    assert_eq!(world.sendings().await.len(), 1, "nothing is queued while it is paused");
    assert_eq!(world.hooked(&format!("{id}/resume")).await.json["status"], "active");
    world.happens("a.c").await;
    arrived(&seen, 2).await;
    // The owner's token does as well as the agent's key; a stranger's key does not.
    assert_eq!(world.owns("GET", &world.mine("webhooks"), Value::Null).await.status, 200);
    let path = world.mine(&format!("webhooks/{id}"));
    assert_eq!(world.sells("DELETE", &path, Value::Null).await.status, 403);
    let sellers = format!("/agents/{}/webhooks", world.info.paegents.seller.agent_id);
    let fresh = world.sells("POST", &sellers, json!({ "url": url })).await.json;
    assert_ne!(fresh["secret"], json!(world.info.paegents.webhook_secret), "a secret of its own");
    assert_eq!(world.owns("DELETE", &path, Value::Null).await.status, 200);
    assert_eq!(world.owns("DELETE", &path, Value::Null).await.status, 404);
    world.happens("a.d").await;
    let newest = world.sent("delivered").await;
    let replay = format!("deliveries/{}/replay", newest["id"].as_str().unwrap());
    assert_eq!(world.hooked(&replay).await.status, 409, "its subscription is gone");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_slow_receiver_holds_nothing_up() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/hook", listener.local_addr().unwrap());
    world.subscribe(json!({ "url": silent })).await;
    let (url, seen) = receiver(&[200]).await;
    world.subscribe(json!({ "url": url })).await;
    for _ in 0..3 {
        world.happens("a.b").await;
    }
    assert_eq!(arrived(&seen, 3).await.len(), 3, "the other one is not held up");
    assert_eq!(world.sendings().await.len(), 6);
}

#[tokio::test]
async fn a_delivery_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(START_MS));
    let mut options = options(&time);
    options.store = Some(folder.path().join("world.db"));
    let mut world = World::with(options.clone(), Arc::clone(&time)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    world.subscribe(json!({ "url": format!("http://{address}/hook") })).await;
    world.happens("a.b").await;
    world.sent("sending").await;
    world.sandbox.take().unwrap().shutdown().await;
    // Whoever waited at the port is gone, and somebody who answers is there.
    drop(listener);
    let (_, seen) = listening(TcpListener::bind(address).await.unwrap(), &[200]);
    let world = World::with(options, time).await;
    assert_eq!(arrived(&seen, 1).await.len(), 1);
    assert_eq!(world.sent("delivered").await["attempt_count"], 1);
}
