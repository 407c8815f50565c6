//! Crochet's seller tools: the sandbox forwards signed requests to an endpoint of this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use serde_json::{Value, json};

use crate::world::World;

/// A request as the seller's server received it.
type Received = Arc<Mutex<Vec<(BTreeMap<String, String>, String)>>>;

/// A seller's server, its URL and what it received.
async fn endpoint() -> (String, Received) {
    let received = Received::default();
    let into = received.clone();
    let hook = async move |headers: HeaderMap, body: Bytes| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = headers.iter().map(|(n, v)| (n.to_string(), text(v.as_bytes()))).collect();
        into.lock().unwrap().push((headers, text(&body)));
        "{\"done\":true}"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(hook));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

fn listing(url: &str) -> Value {
    json!({ "name": "Unit conversion", "description": "Converts units.", "price_usd": "0.0150",
        "private_endpoint_url": url, "category": "utilities" })
}

fn holds_no_secret(value: &Value) {
    assert!(!value.to_string().contains("crs_"), "{value}");
}

async fn posted(world: &World, path: &str) -> Vec<Value> {
    let requests = world.requests().await;
    let ends = |entry: &Value| {
        entry["path"].as_str().is_some_and(|p| p.ends_with(path)) && entry["method"] != "GET"
    };
    requests.into_iter().filter(ends).collect()
}

#[tokio::test]
async fn a_seller_lists_tests_and_verifies() {
    let world = World::start().await;
    let (url, received) = endpoint().await;
    let created = world.call("crochet_create_listing", listing(&url)).await.unwrap();
    holds_no_secret(&created);
    let id = json!({ "listing_id": created["listing_id"] });
    assert_eq!(created["status"], "active");
    assert_eq!(
        created["next"][0],
        json!({ "tool": "crochet_test_endpoint", "arguments": id,
        "why": created["next"][0]["why"] })
    );
    let sent = posted(&world, "/listings").await[0]["body"].as_str().unwrap().to_owned();
    assert!(sent.contains("\"pricing_amount\":0.015,"), "{sent}");

    let tested = world.call("crochet_test_endpoint", id.clone()).await.unwrap();
    assert_eq!(tested["details_untrusted"]["ok"], true, "{tested}");
    let (headers, body) = received.lock().unwrap()[0].clone();
    let request = json!({ "listing_id": created["listing_id"], "headers": headers, "body": body });
    let verified = world.call("crochet_verify_request", request.clone()).await.unwrap();
    assert_eq!(verified["valid"], true, "{verified}");
    holds_no_secret(&verified);

    // By its slug, too; a listing without a secret here is named.
    let found = world
        .call(
            "crochet_update_listing",
            json!({ "listing_id": id["listing_id"],
        "name": "Unit conversion" }),
        )
        .await
        .unwrap();
    let mut by_slug = request.clone();
    by_slug["listing_id"] = found["details_untrusted"]["slug"].clone();
    assert_eq!(world.call("crochet_verify_request", by_slug).await.unwrap()["valid"], true);
    let mut unknown = request.clone();
    unknown["listing_id"] = json!("nowhere");
    let unknown = world.call("crochet_verify_request", unknown).await.unwrap_err();
    assert_eq!(unknown["code"], "not_found");

    let mut other = request.clone();
    other["body"] = json!(body.replace("true", "false"));
    let refused = world.call("crochet_verify_request", other).await.unwrap();
    assert_eq!(refused["valid"], false);
    assert_eq!(refused["next"][0]["tool"], "crochet_test_endpoint");

    let mut calibrating = request.clone();
    calibrating["calibrate"] = json!(true);
    let found = world.call("crochet_verify_request", calibrating).await.unwrap();
    let mut pinned = request.clone();
    pinned["scheme"] = found["scheme"].clone();
    assert_eq!(world.call("crochet_verify_request", pinned).await.unwrap()["valid"], true);
    let mut weak = request.clone();
    weak["scheme"] = json!(found["scheme"].as_str().unwrap().replace("{timestamp}.", ""));
    let refused = world.call("crochet_verify_request", weak).await.unwrap_err();
    assert_eq!(refused["field"], "scheme");

    // Five minutes later it is a replay.
    world.advance(301).await;
    let stale = world.call("crochet_verify_request", request).await.unwrap();
    assert_eq!(stale["valid"], false);
    assert!(stale["reason"].as_str().unwrap().contains("more than 300"), "{stale}");
}

#[tokio::test]
async fn a_rotated_secret_takes_the_place_of_the_old_one() {
    let world = World::start().await;
    let (url, received) = endpoint().await;
    let created = world.call("crochet_create_listing", listing(&url)).await.unwrap();
    let id = json!({ "listing_id": created["listing_id"] });
    world.call("crochet_test_endpoint", id.clone()).await.unwrap();
    let rotated = world.call("crochet_rotate_secret", id.clone()).await.unwrap();
    holds_no_secret(&rotated);
    assert_eq!(rotated["next"][0]["tool"], "crochet_test_endpoint");
    world.call("crochet_test_endpoint", id).await.unwrap();
    for (which, valid) in [(0, false), (1, true)] {
        let (headers, body) = received.lock().unwrap()[which].clone();
        let request =
            json!({ "listing_id": created["listing_id"], "headers": headers, "body": body });
        let verified = world.call("crochet_verify_request", request).await.unwrap();
        assert_eq!(verified["valid"], valid, "{which}");
    }
}

#[tokio::test]
async fn a_listing_is_changed_and_taken_off() {
    let world = World::start().await;
    let (url, _) = endpoint().await;
    let mut draft = listing(&url);
    draft["draft"] = json!(true);
    let created = world.call("crochet_create_listing", draft).await.unwrap();
    assert_eq!(created["status"], "draft");
    let id = created["listing_id"].clone();
    let update = json!({ "listing_id": id, "price_usd": "0.02", "status": "active" });
    let updated = world.call("crochet_update_listing", update).await.unwrap();
    assert_eq!(updated["details_untrusted"]["status"], "active");
    let set = json!({ "listing_id": id, "private_endpoint_url": url });
    let set = world.call("crochet_set_endpoint", set).await.unwrap();
    let endpoint = world.call("crochet_get_endpoint", json!({ "listing_id": id })).await.unwrap();
    for shown in [&updated, &set, &endpoint] {
        holds_no_secret(shown);
        assert!(!shown.to_string().contains(&url), "{shown}");
    }
    world.call("crochet_delete_listing", json!({ "listing_id": id })).await.unwrap();
    let gone = world.call("crochet_test_endpoint", json!({ "listing_id": "nowhere" })).await;
    assert_eq!(gone.unwrap_err()["code"], "not_found");
    let (theirs, ..) = world.listing("auto");
    let update = json!({ "listing_id": theirs, "free": true });
    let refused = world.call("crochet_update_listing", update).await.unwrap_err();
    assert_eq!(refused["code"], "not_allowed");
}

#[tokio::test]
async fn what_is_wrong_here_is_not_sent() {
    let world = World::start().await;
    let with = |field: &str, value: Value| {
        let mut args = listing("https://seller.example/hook");
        args[field] = value;
        args
    };
    #[rustfmt::skip]
    let rows = [
        ("private_endpoint_url", with("private_endpoint_url", json!("http://seller.example/hook"))),
        ("private_endpoint_url", with("private_endpoint_url", json!("https://u:p@seller.example/"))),
        ("private_endpoint_url", with("private_endpoint_url", json!("https://10.0.0.1/"))),
        ("private_endpoint_url", with("private_endpoint_url", Value::Null)),
        ("price_usd",            with("price_usd", json!("0"))),
        ("price_usd",            with("price_usd", json!("0.0000001"))),
        ("price_usd",            with("price_usd", json!("-1"))),
        ("name",                 with("name", json!(""))),
        ("description",          with("description", json!("x".repeat(4001)))),
    ];
    for (field, args) in rows {
        let refused = world.call("crochet_create_listing", args).await.unwrap_err();
        assert_eq!(refused["code"], "invalid_argument", "{field}: {refused}");
        assert_eq!(refused["field"], field, "{refused}");
        assert!(!refused.to_string().contains("u:p@"), "{refused}");
    }
    let unknown =
        world.call("crochet_create_listing", with("secret", json!("x"))).await.unwrap_err();
    assert_eq!(unknown["code"], "invalid_argument");
    let nothing = json!({ "listing_id": "lst" });
    let refused = world.call("crochet_update_listing", nothing).await.unwrap_err();
    assert_eq!(refused["code"], "invalid_argument");
    assert!(posted(&world, "").await.is_empty());
}

#[tokio::test]
async fn a_lost_creation_is_looked_for_before_it_is_repeated() {
    let world = World::start().await;
    let (url, _) = endpoint().await;
    world.fault("crochet", "*/listings", 0, json!("drop_after")).await;
    let lost = world.call("crochet_create_listing", listing(&url)).await.unwrap_err();
    assert_eq!(lost["repeat_safe"], false, "{lost}");
    let next = lost["recovery"]["next"][0].clone();
    let found =
        world.call(next["tool"].as_str().unwrap(), next["arguments"].clone()).await.unwrap();
    let id = found["listings"][0]["listing_id"].clone();
    let rotated = world.call("crochet_rotate_secret", json!({ "listing_id": id })).await.unwrap();
    assert_eq!(rotated["listing_id"], id);
    assert_eq!(posted(&world, "/listings").await.len(), 1);
}

#[tokio::test]
async fn a_lost_rotation_is_repeated() {
    let world = World::start().await;
    let (url, received) = endpoint().await;
    let created = world.call("crochet_create_listing", listing(&url)).await.unwrap();
    let id = json!({ "listing_id": created["listing_id"] });
    world.fault("crochet", "*/rotate-secret", 0, json!("drop_after")).await;
    let lost = world.call("crochet_rotate_secret", id.clone()).await.unwrap_err();
    assert_eq!(lost["recovery"]["next"][0]["tool"], "crochet_rotate_secret");
    world.call("crochet_rotate_secret", id.clone()).await.unwrap();
    world.call("crochet_test_endpoint", id).await.unwrap();
    let (headers, body) = received.lock().unwrap()[0].clone();
    let request = json!({ "listing_id": created["listing_id"], "headers": headers, "body": body });
    assert_eq!(world.call("crochet_verify_request", request).await.unwrap()["valid"], true);
}
