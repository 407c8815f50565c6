//! Accounts, wallets and keys.

use alloy_primitives::B256;
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use super::{Reply, World, solve};

fn wallet(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap()
}

async fn challenge(world: &World, address: &str, purpose: &str) -> Value {
    let mut body = json!({ "wallet_address": address });
    if !purpose.is_empty() {
        body["purpose"] = json!(purpose);
    }
    let reply = world.ask("POST", "/auth/challenge", "", body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json["data"].clone()
}

fn sign(wallet: &PrivateKeySigner, challenge: &Value) -> String {
    let message = challenge["message"].as_str().unwrap();
    format!("0x{}", hex::encode(wallet.sign_message_sync(message.as_bytes()).unwrap().as_bytes()))
}

fn answer(wallet: &PrivateKeySigner, challenge: &Value) -> Value {
    json!({
        "wallet_address": wallet.address().to_string(),
        "signature": sign(wallet, challenge),
        "nonce": challenge["nonce"],
        "pow_nonce": solve(&challenge["pow"]),
        "display_name": "Tester",
    })
}

async fn register(world: &World, body: Value) -> Reply {
    world.ask("POST", "/register", "", body).await
}

#[tokio::test]
async fn a_wallet_registers_and_recovers() {
    let world = World::start().await;
    let wallet = wallet(3);
    let address = wallet.address().to_string();
    let given = challenge(&world, &address, "").await;
    assert_eq!(given["pow"]["difficulty"], 3);
    assert!(given["message"].as_str().unwrap().contains(&address));
    let registered = register(&world, answer(&wallet, &given)).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    let key = registered.json["data"]["api_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("am_k_"));
    assert_eq!(registered.json["data"]["authorization_header"], format!("Bearer {key}"));
    let me = world.get("/me", &key).await["data"].clone();
    assert_eq!(me["id"], registered.json["data"]["agent_id"]);
    assert_eq!(me["wallets"][0]["wallet_address"], address);
    assert!(!me.to_string().contains(&key));

    let again = challenge(&world, &address, "register").await;
    let conflict = register(&world, answer(&wallet, &again)).await;
    assert_eq!(conflict.code(), (409, "WALLET_ALREADY_REGISTERED"));
    assert_eq!(conflict.json["error"]["recovery"]["next_action"], "recover_account");

    let given = challenge(&world, &address.to_lowercase(), "recover").await;
    let recovered = world.ask("POST", "/auth/recover", "", answer(&wallet, &given)).await;
    assert_eq!(recovered.status, 200, "{recovered:?}");
    let fresh = recovered.json["data"]["api_key"].as_str().unwrap();
    assert_ne!(fresh, key);
    assert_eq!(world.get("/me", fresh).await["data"]["id"], me["id"]);
    let keys = world.get("/api-keys", fresh).await["data"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2);
    let path = format!("/api-keys/{}", keys[0]["id"].as_str().unwrap());
    assert_eq!(world.ask("DELETE", &path, fresh, Value::Null).await.status, 200);
    assert_eq!(world.ask("GET", "/me", &key, Value::Null).await.code(), (401, "UNAUTHORIZED"));
}

#[tokio::test]
async fn proofs_are_checked() {
    let world = World::start().await;
    let wallet = wallet(4);
    let address = wallet.address().to_string();

    let given = challenge(&world, &address, "").await;
    let mut forged = answer(&wallet, &given);
    forged["signature"] = json!(sign(&super::accounts::wallet(5), &given));
    assert_eq!(register(&world, forged).await.code(), (401, "INVALID_SIGNATURE"));
    // The attempt used the challenge up.
    let reused = register(&world, answer(&wallet, &given)).await;
    assert_eq!(reused.code(), (400, "CHALLENGE_USED"));
    let discard = &reused.json["error"]["recovery"]["discard"];
    assert_eq!(*discard, json!(["nonce", "signature", "pow_nonce"]));

    let given = challenge(&world, &address, "").await;
    let mut lazy = answer(&wallet, &given);
    lazy["pow_nonce"] = json!(format!("x{}", lazy["pow_nonce"].as_str().unwrap()));
    assert_eq!(register(&world, lazy).await.code(), (400, "INVALID_PROOF_OF_WORK"));

    let given = challenge(&world, &address, "").await;
    world.pass(300_000);
    let late = register(&world, answer(&wallet, &given)).await;
    assert_eq!(late.code(), (400, "CHALLENGE_EXPIRED"));

    let given = challenge(&world, &address, "recover").await;
    let scoped = register(&world, answer(&wallet, &given)).await;
    assert_eq!(scoped.code(), (400, "CHALLENGE_PURPOSE_MISMATCH"));

    let given = challenge(&world, &super::accounts::wallet(6).address().to_string(), "").await;
    let other = register(&world, answer(&wallet, &given)).await;
    assert_eq!(other.code(), (400, "CHALLENGE_WALLET_MISMATCH"));

    let given = challenge(&world, &address, "").await;
    let mut nameless = answer(&wallet, &given);
    nameless.as_object_mut().unwrap().remove("display_name");
    let invalid = register(&world, nameless).await;
    assert_eq!(invalid.code(), (400, "VALIDATION_ERROR"));
    assert!(invalid.json["error"]["message"].as_str().unwrap().contains("display_name"));
    // It was not looked at, so the challenge still holds.
    assert_eq!(register(&world, answer(&wallet, &given)).await.status, 201);

    let unknown = json!({ "wallet_address": address, "purpose": "login" });
    let unknown = world.ask("POST", "/auth/challenge", "", unknown).await;
    assert!(unknown.json["error"]["message"].as_str().unwrap().contains("link_wallet"));
}

#[tokio::test]
async fn solana_wallets_register_too() {
    let world = World::start().await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let address = bs58::encode(key.verifying_key().as_bytes()).into_string();
    let mut body = json!({ "wallet_address": address, "display_name": "Sol" });
    for (signed, expected) in [("not the message", 401), ("", 201)] {
        let given = challenge(&world, &address, "").await;
        let message = if signed.is_empty() { given["message"].as_str().unwrap() } else { signed };
        let signature = key.sign(message.as_bytes());
        body["signature"] = json!(bs58::encode(signature.to_bytes()).into_string());
        body["nonce"] = given["nonce"].clone();
        body["pow_nonce"] = json!(solve(&given["pow"]));
        assert_eq!(register(&world, body.clone()).await.status, expected);
    }
}

#[tokio::test]
async fn wallets_are_linked_and_one_can_always_recover() {
    let world = World::start().await;
    let (first, key) = (world.buyer(), world.info.crochet.buyer.api_key.clone());
    let second = wallet(7);
    let link = |new: Value, old: Value, signer: &PrivateKeySigner| {
        json!({
            "wallet_address": second.address().to_string(), "chain": "evm",
            "nonce": new["nonce"], "signature": sign(&second, &new),
            "existing_wallet_address": first.address().to_string(),
            "existing_nonce": old["nonce"], "existing_signature": sign(signer, &old),
            "capabilities": ["auth", "payment"],
        })
    };
    let proofs = || async {
        let new = challenge(&world, &second.address().to_string(), "link_wallet").await;
        (new, challenge(&world, &first.address().to_string(), "link_wallet").await)
    };
    let (new, old) = proofs().await;
    let forged = world.ask("POST", "/me/wallets", &key, link(new, old, &second)).await;
    assert_eq!(forged.code(), (401, "INVALID_SIGNATURE"));
    let (new, old) = proofs().await;
    let linked = world.ask("POST", "/me/wallets", &key, link(new, old, &first)).await;
    assert_eq!(linked.status, 201, "{linked:?}");
    let (new, old) = proofs().await;
    let twice = world.ask("POST", "/me/wallets", &key, link(new, old, &first)).await;
    assert_eq!(twice.code(), (409, "WALLET_ALREADY_LINKED"));

    let wallets = world.get("/me/wallets", &key).await["data"].clone();
    let ids = [0, 1].map(|n| wallets[n]["id"].as_str().unwrap().to_owned());
    let update = |proof: Value, capabilities: Value| {
        json!({ "nonce": proof["nonce"], "signature": sign(&first, &proof),
            "existing_wallet_address": first.address().to_string(), "capabilities": capabilities })
    };
    let own = || challenge(&world, wallets[0]["wallet_address"].as_str().unwrap(), "update_wallet");
    let body = update(own().await, json!(["auth"]));
    let last = world.ask("PATCH", &format!("/me/wallets/{}", ids[0]), &key, body.clone()).await;
    assert_eq!(last.code(), (409, "LAST_RECOVERY_WALLET"));
    let reused = world.ask("PATCH", &format!("/me/wallets/{}", ids[0]), &key, body).await;
    assert_eq!(reused.code(), (400, "CHALLENGE_USED"));
    let mut body = update(own().await, json!(["auth", "recovery"]));
    body["wallet_id"] = json!(ids[1]);
    assert_eq!(world.ask("PATCH", "/me/wallets", &key, body).await.status, 200);
    let body = update(own().await, json!(["auth"]));
    let path = format!("/me/wallets/{}", ids[0]);
    assert_eq!(world.ask("PATCH", &path, &key, body).await.status, 200);
    let shown = world.get(&path, &key).await;
    assert_eq!(shown["data"]["capabilities"], json!(["auth"]));
}

#[tokio::test]
async fn real_pace_limits_rates_and_asks_for_more_work() {
    let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(super::START_MS));
    let mut options = super::options(&time);
    options.pace = crate::sandbox::Pace::Real;
    let world = World::with(options, time).await;
    let address = wallet(8).address().to_string();
    assert_eq!(challenge(&world, &address, "").await["pow"]["difficulty"], 5);
    for _ in 0..9 {
        challenge(&world, &address, "").await;
    }
    let body = json!({ "wallet_address": address });
    let limited = world.ask("POST", "/auth/challenge", "", body.clone()).await;
    assert_eq!(limited.code(), (429, "RATE_LIMITED"));
    let wait = limited.json["error"]["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!((1..=300).contains(&wait));
    world.pass(wait * 1_000);
    assert_eq!(world.ask("POST", "/auth/challenge", "", body).await.status, 200);
}
