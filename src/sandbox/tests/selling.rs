//! Listings, their endpoints, forwarded calls, reviews.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, body::Bytes, http::HeaderMap, routing::post};
use serde_json::{Value, json};

use super::{World, solve};
use crate::sandbox::{ItemInfo, crochet::endpoints::sign};

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A seller's own server: its address, and what it was asked.
async fn seller(status: u16) -> (String, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let app = Router::new().route(
        "/work",
        post(move |headers: HeaderMap, body: Bytes| async move {
            record.lock().unwrap().push((headers, body));
            (axum::http::StatusCode::from_u16(status).unwrap(), Json(json!({ "memo": "yes" })))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/work", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

fn body(pow_nonce: &str, url: &str) -> Value {
    json!({
        "pow_nonce": pow_nonce, "name": "My memo", "description": "A memo.",
        "delivery_type": "api", "auth_method": "none", "formats": ["json"],
        "connection_instructions": "POST JSON", "pricing_model": "per_call",
        "pricing_amount": 0.1, "pricing_currency": "USD", "private_endpoint_url": url,
        "category": "research",
    })
}

async fn work(world: &World, key: &str) -> String {
    let reply = world.ask("POST", "/listings/challenge", key, json!({})).await;
    solve(&reply.json["data"]["pow"])
}

#[tokio::test]
async fn a_seller_lists_is_called_and_paid() {
    let world = World::start().await;
    let key = world.info.crochet.seller.api_key.clone();
    let (url, seen) = seller(200).await;
    let nonce = work(&world, &key).await;
    let created = world.ask("POST", "/listings", &key, body(&nonce, &url)).await;
    assert_eq!(created.status, 201, "{created:?}");
    let data = &created.json["data"];
    let secret = data["gateway_endpoint"]["signing_secret"].as_str().unwrap().to_owned();
    let id = data["id"].as_str().unwrap().to_owned();
    let again = world.ask("POST", "/listings", &key, body(&nonce, &url)).await;
    assert_eq!(again.code(), (400, "CHALLENGE_NOT_FOUND"));

    let shown = world.get(&format!("/listings/{id}"), "").await.to_string();
    assert!(shown.contains(r#""pricing_amount":0.1"#), "{shown}");
    assert!(!shown.contains(&url) && !shown.contains(&secret));
    let endpoint = world.get(&format!("/listings/{id}/endpoint"), &key).await.to_string();
    assert!(!endpoint.contains(&url) && !endpoint.contains(&secret));

    let item = ItemInfo {
        id: id.clone(),
        owner_id: String::new(),
        name: String::new(),
        price_usd: String::new(),
        input_example: json!({ "q": 1.10 }),
        behaviour: String::new(),
    };
    let relay = world.settled(&item).await;
    let served = world.retry(&item, &relay).await;
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(served.json["data"], json!({ "memo": "yes" }));
    assert_eq!(world.retry(&item, &relay).await, served);
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "asked once");
    let (headers, sent) = &asked[0];
    let timestamp = headers["x-crochet-timestamp"].to_str().unwrap();
    assert_eq!(headers["x-crochet-signature"], sign(&secret, timestamp, sent));
    assert_eq!(headers["x-crochet-request-id"], relay);
    assert_eq!(headers.get("authorization"), None);
    assert_eq!(sent.as_ref(), item.input_example.to_string().as_bytes());

    let wallet = &world.info.crochet.seller.wallet;
    assert_eq!(world.truth("charge").await[0]["payee"], *wallet);
    assert_eq!(world.usdc_of(wallet).await, 98_000);
    let ledger = world.get("/ledger", &key).await;
    let types: Vec<&str> =
        ledger["data"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["seller_credit", "marketplace_fee", "gateway_payment"]);

    let review = json!({ "accuracy_rating": 5, "reliability_rating": 4, "value_rating": 3,
        "title": "Good", "comment": "It worked." });
    let buyer = &world.info.crochet.buyer.api_key;
    let path = format!("/reviews/{id}");
    assert_eq!(world.ask("POST", &path, &key, review.clone()).await.status, 403);
    assert_eq!(world.ask("POST", &path, buyer, review.clone()).await.status, 201);
    assert_eq!(world.ask("POST", &path, buyer, review).await.code(), (409, "REVIEW_EXISTS"));
    let score = format!("/agents/{}/score", world.info.crochet.seller.agent_id);
    assert_eq!(world.get(&score, "").await["data"]["score"], 570);
}

#[tokio::test]
async fn endpoints_are_tested_and_secrets_rotated() {
    let world = World::start().await;
    let key = world.info.crochet.seller.api_key.clone();
    let manual = world.listing("manual");
    let path = |rest: &str| format!("/listings/{}/endpoint{rest}", manual.id);
    let none = world.ask("POST", &path("/test"), &key, json!({})).await;
    assert_eq!(none.json["data"]["ok"], false);
    let (url, seen) = seller(200).await;
    let set = json!({ "private_endpoint_url": url });
    assert_eq!(world.ask("PUT", &path(""), &key, set).await.status, 200);
    let rotated = world.ask("POST", &path("/rotate-secret"), &key, json!({})).await;
    let secret = rotated.json["data"]["signing_secret"].as_str().unwrap();
    let tested = world.ask("POST", &path("/test"), &key, json!({})).await;
    assert_eq!(tested.json["data"]["ok"], true, "{tested:?}");
    let (headers, body) = seen.lock().unwrap()[0].clone();
    let timestamp = headers["x-crochet-timestamp"].to_str().unwrap();
    assert_eq!(headers["x-crochet-signature"], sign(secret, timestamp, &body));
    let stranger = &world.info.crochet.buyer.api_key;
    for (method, rest) in [("GET", ""), ("PUT", ""), ("POST", "/test"), ("POST", "/rotate-secret")]
    {
        let reply = world.ask(method, &path(rest), stranger, json!({})).await;
        assert_eq!(reply.code(), (403, "FORBIDDEN"), "{method} {rest}");
    }
    // A failing endpoint after payment, and a seller who refuses.
    for (status, expected) in [(500, 502), (422, 422)] {
        let (url, _) = seller(status).await;
        let set = json!({ "private_endpoint_url": url });
        world.ask("PUT", &path(""), &key, set).await;
        let relay = world.settled(&manual).await;
        assert_eq!(world.retry(&manual, &relay).await.status, expected);
    }
}

#[tokio::test]
async fn listings_are_checked() {
    let world = World::start().await;
    let key = world.info.crochet.seller.api_key.clone();
    let (url, nonce) = ("http://127.0.0.1:9/x", work(&world, &key).await);
    #[rustfmt::skip]
    let rows = [
        ("name",                 json!(" ")),
        ("pricing_amount",       json!(0)),
        ("pricing_amount",       json!("0.1")),
        ("pricing_amount",       json!(0.000_000_1)),
        ("pricing_amount",       json!(-1)),
        ("pricing_model",        json!("monthly")),
        ("private_endpoint_url", json!("http://example.com/")),
        ("private_endpoint_url", json!("https://u:p@example.com/")),
        ("private_endpoint_url", Value::Null),
        ("formats",              json!(["xml"])),
        ("category",             json!("weapons")),
    ];
    for (field, value) in rows {
        let mut wrong = body(&nonce, url);
        wrong[field] = value.clone();
        let reply = world.ask("POST", "/listings", &key, wrong).await;
        assert_eq!(reply.code(), (400, "VALIDATION_ERROR"), "{field} {value}");
        assert_eq!(reply.json["error"]["details"]["field"], field, "{value}");
    }
    let wrong = world.ask("POST", "/listings", &key, body("nonsense", url)).await;
    assert_eq!(wrong.code(), (400, "INVALID_PROOF_OF_WORK"));
    let mut draft = body(&nonce, url);
    draft["status"] = json!("draft");
    let draft = world.ask("POST", "/listings", &key, draft).await.json["data"]["id"].clone();
    let path = format!("/listings/{}", draft.as_str().unwrap());
    assert_eq!(world.ask("GET", &path, "", Value::Null).await.status, 404);
    assert_eq!(world.ask("GET", &path, &key, Value::Null).await.status, 200);
    let stranger = &world.info.crochet.buyer.api_key;
    assert_eq!(world.ask("DELETE", &path, stranger, Value::Null).await.status, 403);
    let change = json!({ "status": "active", "pricing_amount": 1.250 });
    assert_eq!(world.ask("PATCH", &path, stranger, change.clone()).await.status, 403);
    let changed = world.ask("PATCH", &path, &key, change).await;
    assert_eq!(changed.json["data"]["status"], "active");
    let removed = world.ask("DELETE", &path, &key, Value::Null).await;
    assert_eq!(removed.json["data"]["status"], "suspended");
    assert_eq!(world.ask("GET", &path, "", Value::Null).await.status, 404);
}

#[tokio::test]
async fn listings_are_found() {
    let world = World::start().await;
    let all = world.get("/listings?limit=5&page=2", "").await;
    assert_eq!(all["pagination"], json!({ "page": 2, "limit": 5, "total": 14, "totalPages": 3 }));
    assert_eq!(all["data"].as_array().unwrap().len(), 5);
    let found = world.get("/listings?q=csv%20table", "").await;
    assert_eq!(found["pagination"]["total"], 1);
    assert_eq!(found["data"][0]["slug"], "csv-summary");
    assert_eq!(found["data"][0]["category"]["slug"], "data");
    let free = world.get("/listings?pricing_model=free", "").await;
    assert_eq!(free["pagination"]["total"], 2);
    assert_eq!(free["data"][0].get("gateway_url"), None);
    let cheap = world.get("/listings?sort=price_high&pricing_model=per_call&limit=1", "").await;
    assert_eq!(cheap["data"][0]["slug"], "overnight-research");
    let url = cheap["data"][0]["gateway_url"].as_str().unwrap();
    assert!(url.starts_with(&world.info.crochet.api_url));
    for query in ["sort=best", "page=0", "limit=x", "pricing_model=monthly"] {
        let reply = world.ask("GET", &format!("/listings?{query}"), "", Value::Null).await;
        assert_eq!(reply.code(), (400, "VALIDATION_ERROR"), "{query}");
    }
    assert_eq!(world.get("/listings/csv-summary", "").await["data"]["name"], "CSV summary");
    assert_eq!(world.get("/categories", "").await["data"].as_array().unwrap().len(), 6);
    let lost = world.ask("GET", "/nowhere", "", Value::Null).await;
    assert_eq!(lost.code(), (404, "NOT_FOUND"));
    let method = world.ask("DELETE", "/listings", "", Value::Null).await;
    assert_eq!(method.code(), (405, "METHOD_NOT_ALLOWED"));
}
