//! Each fault does what it says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::World;

async fn health(world: &World) -> Result<u16, reqwest::Error> {
    let response = world.http.get(world.url("/health")).send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

#[tokio::test]
async fn drop_before_does_nothing_and_breaks_the_line() {
    let world = World::start().await;
    health(&world).await.unwrap();
    let item = world.listing("free");
    world
        .fault(json!({ "marketplace": "crochet", "method": "POST", "path": "/gateway/*",
            "action": "drop_before" }))
        .await;
    assert_eq!(health(&world).await.unwrap(), 200, "another path");
    let error = world.send(world.calling(&item, &[])).await.unwrap_err();
    assert!(!error.is_status() && !error.is_timeout() && !error.is_decode(), "{error:?}");
    let key = world.info.crochet.buyer.api_key.clone();
    let history = world.get("/gateway-requests", &key).await;
    assert_eq!(history["pagination"]["total"], 0);
    assert_eq!(world.call(&item, &[]).await.status, 200, "it fires once");
    // What was dropped is recorded, headers and all.
    let all = world.admin("GET", "/requests", Value::Null).await.json;
    let calls: Vec<&Value> = all["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["path"].as_str().unwrap().starts_with("/gateway/"))
        .collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["headers"]["authorization"], format!("Bearer {key}"));
}

#[tokio::test]
async fn drop_after_does_everything_and_breaks_the_line() {
    let world = World::start().await;
    let item = world.listing("free");
    world
        .fault(json!({ "marketplace": "crochet", "path": "/gateway/*", "action": "drop_after" }))
        .await;
    assert!(world.send(world.calling(&item, &[])).await.is_err());
    let history = world.get("/gateway-requests", &world.info.crochet.buyer.api_key).await;
    assert_eq!(history["pagination"]["total"], 1);

    // The chain's faults go by the name of the JSON-RPC method.
    world
        .fault(json!({ "marketplace": "chain", "path": "eth_sendRaw*", "action": "drop_after" }))
        .await;
    let wallet = &world.info.crochet.buyer.wallet;
    world.rpc("eth_chainId", json!([])).await.unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction",
        "params": [world.transfer(0, wallet, 1)] });
    let sent = world.http.post(&world.info.chain.rpc_url).json(&body);
    assert!(world.send(sent).await.is_err());
    let count = world.rpc("eth_getTransactionCount", json!([wallet, "pending"])).await;
    assert_eq!(count, Ok(json!("0x1")));
}

#[tokio::test]
async fn skip_and_times_count() {
    let world = World::start().await;
    let id = world
        .fault(json!({ "marketplace": "crochet", "path": "/health", "skip": 1, "times": 2,
            "action": { "status": 503, "headers": { "Retry-After": "7" }, "body": { "a": 1 } } }))
        .await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(health(&world).await.unwrap());
    }
    assert_eq!(seen, [200, 503, 503, 200]);
    let faults = world.admin("GET", "/faults", Value::Null).await.json;
    assert_eq!(faults["faults"][0]["id"], id);
    assert_eq!(faults["faults"][0]["fired"], 2);
    assert_eq!(faults["faults"][0]["times_left"], 0);
    assert_eq!(world.admin("DELETE", "/faults", Value::Null).await.json["removed"], 1);
    assert_eq!(world.admin("DELETE", &format!("/faults/{id}"), Value::Null).await.status, 404);
}

#[tokio::test]
async fn answers_can_be_anything() {
    let world = World::start().await;
    world
        .fault(json!({ "marketplace": "crochet", "action":
            { "status": 418, "headers": { "X-A": "b" }, "body_base64": "/wA=" } }))
        .await;
    let response = world.http.get(world.url("/health")).send().await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-a"], "b");
    assert_eq!(response.bytes().await.unwrap().as_ref(), [0xff, 0]);
}

#[tokio::test]
async fn truncated_answers_break_off() {
    let world = World::start().await;
    world
        .fault(json!({ "marketplace": "crochet", "times": 2, "action": { "truncate": 10 } }))
        .await;
    let mut response = world.http.get(world.url("/categories")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.content_length().unwrap() > 100);
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(first.as_ref(), br#"{"success""#);
    assert!(response.chunk().await.is_err());
    assert!(health(&world).await.is_err());
    assert_eq!(health(&world).await.unwrap(), 200);
}

#[tokio::test]
async fn delays_and_skews() {
    let world = World::start().await;
    world.fault(json!({ "marketplace": "crochet", "action": { "delay_ms": 250 } })).await;
    let begun = Instant::now();
    assert_eq!(health(&world).await.unwrap(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    let date = || async {
        let response = world.http.get(world.url("/health")).send().await.unwrap();
        response.headers()["date"].to_str().unwrap().to_owned()
    };
    assert_eq!(date().await, "Mon, 21 Sep 2026 14:13:20 GMT");
    world.fault(json!({ "marketplace": "crochet", "action": { "skew_s": -3600 } })).await;
    assert_eq!(date().await, "Mon, 21 Sep 2026 13:13:20 GMT");
}

#[tokio::test]
async fn a_client_that_goes_away_is_served_all_the_same() {
    let world = World::start().await;
    world.fault(json!({ "marketplace": "crochet", "action": { "delay_ms": 2_000 } })).await;
    let item = world.listing("free");
    let hasty = world.calling(&item, &[]).timeout(Duration::from_secs(1));
    assert!(world.send(hasty).await.unwrap_err().is_timeout());
    let begun = Instant::now();
    let served = loop {
        let history = world.get("/gateway-requests", &world.info.crochet.buyer.api_key).await;
        let total = history["pagination"]["total"].clone();
        if total != 0 || begun.elapsed() > Duration::from_mins(1) {
            break total;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(served, 1);
}

#[tokio::test]
async fn pending_pay_again_and_charge_then_fail() {
    let world = World::start().await;
    let item = world.listing("auto");
    let relay = world.settled(&item).await;
    let arm =
        |action: &str| json!({ "marketplace": "crochet", "path": "/gateway/*", "action": action });

    world.fault(arm("pending")).await;
    let pending = world.retry(&item, &relay).await;
    assert_eq!(pending.status, 202);
    assert_eq!(pending.json["data"]["relay_request_id"], relay);

    world.fault(arm("pay_again")).await;
    let again = world.retry(&item, &relay).await;
    assert_eq!(again.code(), (402, "PAYMENT_REQUIRED"));
    assert_ne!(again.relay(), relay);
    assert_eq!(world.retry(&item, &relay).await.status, 200);

    // It waits for a call that is served; a 402 is none.
    let due = world.call(&item, &[]).await;
    world.fault(arm("charge_then_fail")).await;
    assert_eq!(world.retry(&item, &due.relay()).await.status, 402);
    world.pay(&due).await;
    world.pass(600);
    let failed = world.retry(&item, &due.relay()).await;
    assert_eq!(failed.code(), (502, "UPSTREAM_ERROR"));
    assert_eq!(world.truth("charge").await.len(), 2);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 200);
}

#[tokio::test]
async fn instruments_can_be_tampered_with() {
    let world = World::start().await;
    let item = world.listing("auto");
    let arm =
        |action: Value| json!({ "marketplace": "crochet", "path": "/gateway/*", "action": action });
    world.fault(arm(json!({ "raise_price": "1.5" }))).await;
    let raised = world.call(&item, &[]).await;
    assert_eq!(raised.payment()["amount"], "75000");
    // The raised price is what must be paid.
    let to = raised.payment()["deposit_address"].as_str().unwrap().to_owned();
    world.pay_micros(&to, 50_000).await;
    world.pass(600);
    assert_eq!(world.retry(&item, &raised.relay()).await.status, 402);

    let thief = "0x00000000000000000000000000000000000000bB";
    world.fault(arm(json!({ "swap_payee": thief }))).await;
    let swapped = world.call(&item, &[]).await;
    assert_eq!(swapped.payment()["deposit_address"], thief);
    world.pay(&swapped).await;
    world.pass(600);
    assert_eq!(world.retry(&item, &swapped.relay()).await.status, 402);
    assert_eq!(
        world.truth("transfer").await[0]["payee"],
        "0x00000000000000000000000000000000000000bb"
            .parse::<alloy_primitives::Address>()
            .unwrap()
            .to_string()
    );

    world.fault(arm(json!({ "swap_terms": { "token_address": thief, "chain_id": 1 } }))).await;
    assert_eq!(world.call(&world.listing("free"), &[]).await.status, 200, "nothing to swap");
    let swapped = world.call(&item, &[]).await.payment();
    assert_eq!((&swapped["token_address"], &swapped["chain_id"]), (&json!(thief), &json!(1)));
}

#[tokio::test]
async fn wrong_faults_are_refused_by_field() {
    let world = World::start().await;
    let wrong = json!({ "marketplace": "crochet", "action": "explode" });
    let reply = world.admin("POST", "/faults", wrong).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json["error"], "action: explode is not known");
    let socket = json!({ "marketplace": "socket", "action": { "socket": "kill" } });
    assert_eq!(world.admin("POST", "/faults", socket).await.status, 200);
}
