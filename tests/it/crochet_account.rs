//! Crochet's account tools against the sandbox, which recovers every signature's address.

use serde_json::{Value, json};

use crate::world::{Make, World};

/// A wallet that the sandbox has never seen; its keys are of nobody.
const NEW_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

async fn newcomer() -> World {
    let solana_key = bs58::encode([7_u8; 32]).into_string();
    let make = Make {
        private_key: Some(NEW_KEY.to_owned()),
        solana_key: Some(solana_key),
        ..Make::default()
    };
    World::start_with(make).await
}

/// The paths that were asked for, with their methods.
async fn asked(world: &World, path: &str) -> Vec<Value> {
    let requests = world.requests().await;
    let ends = |entry: &Value| entry["path"].as_str().is_some_and(|p| p.ends_with(path));
    requests.into_iter().filter(ends).collect()
}

fn holds_no_key(value: &Value) {
    let text = value.to_string();
    for (at, _) in text.match_indices("am_k_") {
        let rest = &text[at + 5..];
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        assert!(run < 16, "a key is shown: {text}");
    }
}

#[tokio::test]
async fn a_newcomer_registers_and_trades() {
    let world = newcomer().await;
    let none = world.call("crochet_get_profile", json!({})).await.unwrap_err();
    assert_eq!(none["code"], "not_registered");
    assert_eq!(none["recovery"]["next"][0]["tool"], "crochet_register");

    let account =
        world.call("crochet_register", json!({ "display_name": "Newcomer" })).await.unwrap();
    holds_no_key(&account);
    assert_eq!(account["recovered"], false);
    assert_eq!(account["api_key"], "stored as crochet.authorization");
    assert_eq!(account["profile_untrusted"]["display_name"], "Newcomer");
    assert_eq!(account["next"][0]["tool"], "market_search");

    let profile = world.call("crochet_get_profile", json!({})).await.unwrap();
    assert_eq!(profile["agent_id"], account["agent_id"]);
    let wallets = world.call("crochet_list_wallets", json!({})).await.unwrap();
    assert_eq!(wallets["rows_untrusted"].as_array().unwrap().len(), 1);
    let requests = world.call("crochet_list_gateway_requests", json!({})).await.unwrap();
    assert_eq!(requests["rows_untrusted"], json!([]));

    // The key outlives the process.
    let world = world.restart().await;
    let profile = world.call("crochet_get_profile", json!({})).await.unwrap();
    assert_eq!(profile["agent_id"], account["agent_id"]);
}

#[tokio::test]
async fn who_has_a_key_registers_only_when_told_again_and_is_recovered() {
    let world = World::start().await;
    let conflict = world.call("crochet_register", json!({})).await.unwrap_err();
    assert_eq!(conflict["code"], "conflict");
    assert!(asked(&world, "/register").await.is_empty());
    let profile = world.follow(conflict).await.unwrap();

    let account = world.call("crochet_register", json!({ "again": true })).await.unwrap();
    holds_no_key(&account);
    assert_eq!(account["recovered"], true);
    assert!(profile["agent_id"].is_null() || profile["agent_id"] == account["agent_id"]);
    let shown = world.call("crochet_get_profile", json!({})).await.unwrap();
    assert_eq!(shown["agent_id"], account["agent_id"]);
}

#[tokio::test]
async fn a_lost_registration_is_recovered() {
    for fault in [json!("drop_after"), json!({ "truncate": 40 })] {
        let world = newcomer().await;
        world.fault("crochet", "*/register", 0, fault.clone()).await;
        let lost = world.call("crochet_register", json!({})).await.unwrap_err();
        assert_eq!(lost["repeat_safe"], false, "{lost}");
        assert_eq!(lost["money_moved"], "no");
        assert_eq!(lost["recovery"]["next"][0]["tool"], "crochet_recover_account");
        let call = &lost["recovery"]["next"][0];
        let account =
            world.call("crochet_recover_account", call["arguments"].clone()).await.unwrap();
        assert_eq!(account["recovered"], true, "{fault}");
        assert_eq!(asked(&world, "/register").await.len(), 1);
    }
}

#[tokio::test]
async fn an_unknown_wallet_is_sent_from_recovery_to_registration() {
    let world = newcomer().await;
    let unknown = world.call("crochet_recover_account", json!({})).await.unwrap_err();
    assert_eq!(unknown["code"], "not_found");
    let call = unknown["recovery"]["next"][0].clone();
    assert_eq!(call["tool"], "crochet_register");
    let account = world.call("crochet_register", call["arguments"].clone()).await.unwrap();
    assert_eq!(account["recovered"], false);
}

#[tokio::test]
async fn a_strange_challenge_is_not_signed() {
    let strangers = [
        "I authorise 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC to spend all I have",
        "0x8c4eaa4d2fb6a82699c3e57850fa47af0888549a93a0004205a97ad271e4d6df",
        "Sign in at https://evil.example with nonce and all that",
    ];
    for message in strangers {
        let world = newcomer().await;
        let swap = json!({ "swap_terms": { "message": message } });
        world.fault("crochet", "*/auth/challenge", 0, swap).await;
        let refused = world.call("crochet_register", json!({})).await.unwrap_err();
        assert_eq!(refused["code"], "signing_refused", "{message}: {refused}");
        assert!(!refused["message"].as_str().unwrap().contains(message));
        assert!(asked(&world, "/register").await.is_empty());
    }
}

#[tokio::test]
async fn refused_work_is_done_once_more_and_then_no_more() {
    let world = newcomer().await;
    let body =
        json!({ "success": false, "error": { "code": "INVALID_PROOF_OF_WORK", "message": "no" } });
    world.fault("crochet", "*/register", 0, json!({ "status": 400, "body": body })).await;
    world.fault("crochet", "*/register", 0, json!({ "status": 400, "body": body })).await;
    let failed = world.call("crochet_register", json!({})).await.unwrap_err();
    assert_eq!(failed["code"], "proof_of_work_failed", "{failed}");
    assert_eq!(asked(&world, "/register").await.len(), 2);
    assert_eq!(asked(&world, "/auth/challenge").await.len(), 2);
}

#[tokio::test]
async fn work_beyond_reach_is_not_begun() {
    let world = newcomer().await;
    let swap = json!({ "swap_terms": { "difficulty": 200 } });
    world.fault("crochet", "*/auth/challenge", 0, swap).await;
    let failed = world.call("crochet_register", json!({})).await.unwrap_err();
    assert_eq!(failed["code"], "proof_of_work_failed", "{failed}");
}

#[tokio::test]
async fn an_address_is_written_small_where_crochet_wants_it() {
    let world = newcomer().await;
    let error =
        json!({ "code": "VALIDATION_ERROR", "message": "wallet_address: lower case please" });
    let body = json!({ "success": false, "error": error });
    world.fault("crochet", "*/auth/challenge", 0, json!({ "status": 400, "body": body })).await;
    world.call("crochet_register", json!({})).await.unwrap();
    let sent: Vec<String> = asked(&world, "/auth/challenge")
        .await
        .iter()
        .map(|entry| serde_json::from_str::<Value>(entry["body"].as_str().unwrap()).unwrap())
        .map(|body| body["wallet_address"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0], sent[1]);
    assert_eq!(sent[0].to_lowercase(), sent[1]);
}

#[tokio::test]
async fn both_wallets_prove_a_link_and_one_an_update() {
    let world = newcomer().await;
    world.call("crochet_register", json!({})).await.unwrap();
    let link = json!({ "chain": "solana", "capabilities": ["payment"] });
    let linked = world.call("crochet_link_wallet", link.clone()).await.unwrap();
    let wallet_id = linked["details_untrusted"]["id"].clone();
    assert_eq!(linked["details_untrusted"]["chain"], "solana");
    let twice = world.call("crochet_link_wallet", link).await.unwrap_err();
    assert_eq!(twice["code"], "conflict");
    let wallets = world.follow(twice).await.unwrap();
    assert_eq!(wallets["rows_untrusted"].as_array().unwrap().len(), 2);

    let update = json!({ "wallet_id": wallet_id, "capabilities": ["payment", "payout"] });
    let updated = world.call("crochet_update_wallet", update).await.unwrap();
    assert_eq!(updated["details_untrusted"]["capabilities"], json!(["payment", "payout"]));
    let sent = asked(&world, wallet_id.as_str().unwrap()).await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["method"], "PATCH");

    // The other route, where the first is not there.
    let path = format!("*/me/wallets/{}", wallet_id.as_str().unwrap());
    world.fault("crochet", &path, 0, json!({ "status": 405, "body": {} })).await;
    let update = json!({ "wallet_id": wallet_id, "is_default": true });
    let updated = world.call("crochet_update_wallet", update).await.unwrap();
    assert_eq!(updated["details_untrusted"]["is_default"], true);

    let first = wallets["rows_untrusted"][0]["id"].clone();
    let last = json!({ "wallet_id": first, "capabilities": ["auth"] });
    let kept = world.call("crochet_update_wallet", last).await.unwrap_err();
    assert_eq!(kept["upstream_code"], "LAST_RECOVERY_WALLET");
}

#[tokio::test]
async fn a_wallet_without_a_key_asks_the_owner() {
    let world = World::start().await;
    let refused =
        world.call("crochet_link_wallet", json!({ "chain": "solana" })).await.unwrap_err();
    assert_eq!(refused["code"], "signing_refused");
    assert_eq!(refused["recovery"]["next_action"], "ask_owner");
}

#[tokio::test]
async fn keys_are_made_used_and_ended_without_being_shown() {
    let world = newcomer().await;
    world.call("crochet_register", json!({})).await.unwrap();
    let keys = world.call("crochet_list_api_keys", json!({})).await.unwrap();
    holds_no_key(&keys);
    let first = keys["rows_untrusted"][0]["id"].clone();
    let in_use = world.call("crochet_revoke_api_key", json!({ "api_key_id": first })).await;
    assert_eq!(in_use.unwrap_err()["code"], "conflict");

    let spare = world.call("crochet_create_api_key", json!({ "name": "spare" })).await.unwrap();
    holds_no_key(&spare);
    assert_eq!(spare["in_use"], false);
    let used = json!({ "name": "mine", "use_it": true });
    let used = world.call("crochet_create_api_key", used).await.unwrap();
    assert_eq!(used["in_use"], true);
    for ended in [first, spare["api_key_id"].clone()] {
        let ended = world.call("crochet_revoke_api_key", json!({ "api_key_id": ended })).await;
        assert_eq!(ended.unwrap()["status"], "revoked");
    }
    world.call("crochet_get_profile", json!({})).await.unwrap();
    let keys = world.call("crochet_list_api_keys", json!({})).await.unwrap();
    assert_eq!(keys["rows_untrusted"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_refused_key_is_recovered_once() {
    let world = World::start().await;
    let body = json!({ "success": false, "error": { "code": "UNAUTHORIZED", "message": "no" } });
    world.fault("crochet", "*/me", 0, json!({ "status": 401, "body": body })).await;
    let refused = world.call("crochet_get_profile", json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "unauthorized");
    let next = refused["recovery"]["next"][0].clone();
    assert_eq!(next["tool"], "crochet_recover_account");
    world.call("crochet_recover_account", next["arguments"].clone()).await.unwrap();
    world.call("crochet_get_profile", json!({})).await.unwrap();
}

#[tokio::test]
async fn a_buyer_reviews_what_was_called_and_sees_the_history() {
    let world = World::start().await;
    let mut call = world.purchase_of("free");
    call["max_total_usd"] = json!("0");
    world.call("crochet_call_listing", call.clone()).await.unwrap();
    let review = |rating: u64| {
        json!({ "listing_id": call["listing_id"], "accuracy_rating": rating,
            "reliability_rating": 5, "value_rating": 1, "title": "Good", "comment": "Did it." })
    };
    for rating in [0, 6] {
        let refused = world.call("crochet_review_listing", review(rating)).await.unwrap_err();
        assert_eq!(refused["field"], "accuracy_rating");
    }
    world.call("crochet_review_listing", review(5)).await.unwrap();
    let twice = world.call("crochet_review_listing", review(5)).await.unwrap_err();
    assert_eq!(twice["code"], "conflict");
    let rows = world.call("crochet_list_gateway_requests", json!({ "limit": 1 })).await.unwrap();
    assert_eq!(rows["rows_untrusted"][0]["listing_id"], call["listing_id"]);
    world.call("crochet_list_ledger", json!({})).await.unwrap();
}

#[tokio::test]
async fn the_catalogue_has_categories_and_scores() {
    let world = World::start().await;
    let categories = world.call("crochet_list_categories", json!({})).await.unwrap();
    let slug = categories["rows_untrusted"][0]["slug"].clone();
    let found = world.call("crochet_search_listings", json!({ "category": slug })).await.unwrap();
    let seller = found["listings"][0]["seller_id"].clone();
    let score = world.call("crochet_get_score", json!({ "agent_id": seller })).await.unwrap();
    assert_eq!(score["score"], 500);
    assert_eq!(score["tier"], "moderate");
}
