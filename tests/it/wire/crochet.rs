//! Crochet's requests.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Known, hold, know, operations_are_made, read_fixtures, text};
use crate::world::{Make, World};

/// A wallet that the sandbox has never seen; its keys are of nobody.
const NEW_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
/// What the buyer sends: what a second serialisation could change.
const BODY: &str = r#"{"text":"zażółć \"gęślą\" ✓\n","n":[1,2.5,null],"a":{"z":1,"b":2}}"#;

/// Buys on every route, and reads.
async fn buys(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let body: Value = serde_json::from_str(BODY).unwrap();
    know(known, "body", body.to_string());
    done("market_search", json!({ "query": "text & \"words\"", "marketplace": "crochet" })).await;
    done(
        "crochet_search_listings",
        json!({ "query": "text", "category": "text",
        "sort": "price_low", "page": 1, "limit": 5 }),
    )
    .await;
    for name in ["Word count", "Text statistics", "Micro digest"] {
        let listings = &world.sandbox.info().crochet.listings;
        let listing = listings.iter().find(|listing| listing.name == name).unwrap();
        know(known, "listing_id", listing.id.as_str());
        done("crochet_get_listing", json!({ "listing_id": listing.id })).await;
        let price = &listing.price_usd;
        let args = json!({ "listing_id": listing.id, "body": body, "max_total_usd": price });
        let called = world.call("crochet_call_listing", args).await;
        // No wallet of ours can pay in SOL; what was asked for is what counts here.
        if let Err(error) = called {
            assert_eq!(error["code"], "awaiting_external_payment", "{name}: {error}");
            know(known, "relay", text(&error["payment"]["relay_request_id"]));
        }
    }
    for (reference, _) in world.charges().await {
        know(known, "relay", reference);
    }
    let (listing_id, _, _) = world.listing("auto");
    let profile = done("crochet_get_profile", json!({})).await;
    know(known, "agent_id", text(&profile["agent_id"]));
    done("crochet_list_wallets", json!({})).await;
    done("crochet_list_gateway_requests", json!({ "limit": 7 })).await;
    done("crochet_list_ledger", json!({ "limit": 7 })).await;
    done("crochet_list_categories", json!({})).await;
    done("crochet_get_score", json!({ "agent_id": profile["agent_id"] })).await;
    done(
        "crochet_review_listing",
        json!({ "listing_id": listing_id, "accuracy_rating": 5,
        "reliability_rating": 4, "value_rating": 3, "title": "Exact",
        "comment": "It counts \"right\"." }),
    )
    .await;
    done("crochet_list_api_keys", json!({})).await;
    let key = done("crochet_create_api_key", json!({ "name": "ci" })).await;
    know(known, "api_key_id", text(&key["api_key_id"]));
    done("crochet_revoke_api_key", json!({ "api_key_id": key["api_key_id"] })).await;
}

/// Lists something, looks after its endpoint, takes it off.
async fn sells(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let endpoint = "http://127.0.0.1:9/hook";
    know(known, "endpoint", endpoint);
    let created = done(
        "crochet_create_listing",
        json!({ "name": "Echo",
        "description": "Says it again.", "price_usd": "0.010", "category": "utilities",
        "private_endpoint_url": endpoint }),
    )
    .await;
    let id = text(&created["listing_id"]);
    know(known, "listing_id", id.as_str());
    let mine = json!({ "listing_id": id });
    done(
        "crochet_update_listing",
        json!({ "listing_id": id,
        "description": "Says it once more." }),
    )
    .await;
    done("crochet_set_endpoint", json!({ "listing_id": id, "private_endpoint_url": endpoint }))
        .await;
    for tool in [
        "crochet_get_endpoint",
        "crochet_test_endpoint",
        "crochet_rotate_secret",
        "crochet_delete_listing",
    ] {
        done(tool, mine.clone()).await;
    }
}

/// Registers, links a second wallet, changes it, gets a new key.
async fn joins(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let wallet = world.app.wallet().await.unwrap();
    know(known, "address", wallet.evm_address().unwrap().to_checksum(None));
    know(known, "address", wallet.solana_address().unwrap());
    done("crochet_register", json!({ "display_name": "Newcomer" })).await;
    done("crochet_link_wallet", json!({ "chain": "solana", "capabilities": ["payment"] })).await;
    let wallets = done("crochet_list_wallets", json!({})).await;
    let rows = wallets["rows_untrusted"].as_array().unwrap();
    let linked = rows.iter().find(|row| row["is_default"] != true).unwrap();
    know(known, "wallet_id", text(&linked["id"]));
    done(
        "crochet_update_wallet",
        json!({ "wallet_id": linked["id"],
        "capabilities": ["payment", "payout"] }),
    )
    .await;
    done("crochet_recover_account", json!({})).await;
}

/// The keys that the requests carry: one a line of requests, and each of the right form.
fn know_keys(requests: &[Value], known: &mut Known) {
    for request in requests {
        let headers = &request["headers"];
        if let Some(key) = headers["authorization"].as_str() {
            let key = key.strip_prefix("Bearer ").unwrap_or_else(|| panic!("no bearer: {key}"));
            assert!(key.starts_with("am_k_"), "{key}");
            know(known, "api_key", key);
        }
        if let Some(key) = headers["idempotency-key"].as_str() {
            assert!(key.len() >= 16, "{key}");
            know(known, "key", key);
        }
    }
}

#[tokio::test]
async fn requests_are_those_of_the_page() {
    let fixtures_of = read_fixtures("crochet");
    let (mut known, mut met, mut all) = (Known::new(), BTreeSet::new(), Vec::new());
    let trader = World::start().await;
    buys(&trader, &mut known).await;
    sells(&trader, &mut known).await;
    let newcomer = World::start_with(Make {
        private_key: Some(NEW_KEY.to_owned()),
        solana_key: Some(bs58::encode([9_u8; 32]).into_string()),
        ..Make::default()
    })
    .await;
    joins(&newcomer, &mut known).await;
    for world in [trader, newcomer] {
        let mut requests = world.requests().await;
        requests.retain(|request| request["marketplace"] == "crochet");
        know_keys(&requests, &mut known);
        met.extend(hold(&fixtures_of, &requests, &known));
        all.extend(requests);
    }
    let names: BTreeSet<String> = fixtures_of.keys().cloned().collect();
    assert_eq!(met, names, "a fixture was not met");
    operations_are_made("crochet", &all);
}

/// A call, its retry with the payment, and the other route: the same bytes, the right keys.
#[tokio::test]
async fn a_paid_call_is_repeated_byte_for_byte() {
    let world = World::start().await;
    let body: Value = serde_json::from_str(BODY).unwrap();
    for behaviour in ["auto", "route_minimum"] {
        let (listing_id, price, _) = world.listing(behaviour);
        let args = json!({ "listing_id": listing_id, "body": body, "max_total_usd": price });
        let _ = world.call("crochet_call_listing", args).await;
    }
    let requests = world.requests().await;
    let to = |behaviour: &str| {
        let path = format!("/gateway/{}", world.listing(behaviour).0);
        requests.iter().filter(move |request| request["path"] == path.as_str()).collect::<Vec<_>>()
    };
    let paid = to("auto");
    let relay = |request: &Value| request["headers"].get("x-crochet-relay-request-id").cloned();
    assert!(paid.len() >= 2 && relay(paid[0]).is_none(), "{paid:?}");
    for retry in &paid[1..] {
        assert_eq!(relay(retry).unwrap(), world.charges().await[0].0.as_str());
        assert_eq!(retry["body"], paid[0]["body"]);
        for header in ["idempotency-key", "x-crochet-origin-currency", "content-type"] {
            assert_eq!(retry["headers"][header], paid[0]["headers"][header], "{header}");
        }
    }
    let routed = to("route_minimum");
    let currency = |request: &Value| request["headers"]["x-crochet-origin-currency"].clone();
    assert_eq!(routed.len(), 3, "{routed:?}");
    assert!(relay(routed[1]).is_none() && relay(routed[2]).is_some());
    assert_eq!((currency(routed[0]), currency(routed[1])), (json!("USDC"), json!("SOL")));
    assert!(routed.iter().all(|request| request["body"] == routed[0]["body"]));
    let key = |request: &Value| request["headers"]["idempotency-key"].clone();
    assert_ne!(key(routed[0]), key(routed[1]));
    assert_eq!(key(routed[1]), key(routed[2]));
    assert_eq!(world.charges().await.len(), 1);
}
