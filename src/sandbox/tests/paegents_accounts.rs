//! Credentials found again, and invitations.

use alloy_signer::SignerSync;
use serde_json::{Value, json};

use super::{Reply, World};

impl World {
    async fn challenge(&self, wallet: &str) -> Value {
        let path = format!("/wallet/recovery-challenge?wallet_address={wallet}");
        let reply = self.paegents(("GET", &path), "", Value::Null, &[]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json
    }

    /// What the buyer's wallet sends back.
    fn proof(&self, challenge: &Value) -> Value {
        let message = challenge["message"].as_str().unwrap();
        let signature = self.buyer().sign_message_sync(message.as_bytes()).unwrap();
        json!({
            "wallet_address": self.info.paegents.buyer.wallet.to_lowercase(),
            "nonce": challenge["nonce"], "issued_at": challenge["issued_at"],
            "signature": format!("0x{}", hex::encode(signature.as_bytes())),
        })
    }

    async fn recover(&self, proof: Value) -> Reply {
        self.paegents(("POST", "/wallet/recover"), "", proof, &[]).await
    }
}

#[tokio::test]
async fn a_wallet_recovers_its_agent() {
    let world = World::start().await;
    let buyer = world.info.paegents.buyer.clone();
    let wallet = buyer.wallet.to_lowercase();
    let [first, second] = [world.challenge(&wallet).await, world.challenge(&wallet).await];
    let message = first["message"].as_str().unwrap();
    assert!(message.contains(&wallet) && message.contains(first["nonce"].as_str().unwrap()));
    assert_ne!(first["nonce"], second["nonce"]);
    let found = world.recover(world.proof(&first)).await.json;
    assert_eq!(found["agent_id"], buyer.agent_id, "{found}");
    assert_eq!(found["keys_revoked"], 1);
    let key = found["api_key"].as_str().unwrap();
    assert!(key.starts_with(found["key_prefix"].as_str().unwrap()));
    let events = world.mine("events");
    let ask = |key: String| {
        let events = events.clone();
        async {
            let key = key;
            let events = events;
            world.paegents(("GET", &events), &key, Value::Null, &[]).await.status
        }
    };
    assert_eq!(ask(buyer.api_key.clone()).await, 401, "the old key is revoked");
    assert_eq!(ask(key.to_owned()).await, 200);
    assert_eq!(world.recover(world.proof(&first)).await.status, 400, "used once");
    let again = world.recover(world.proof(&second)).await.json;
    assert_eq!(ask(key.to_owned()).await, 401, "the second recovery revokes the first key");
    assert_eq!(ask(again["api_key"].as_str().unwrap().to_owned()).await, 200);
    let info = world.admin("GET", "/info", Value::Null).await.json;
    assert_eq!(info["paegents"]["buyer"]["api_key"], again["api_key"]);
}

#[tokio::test]
async fn a_recovery_is_checked() {
    let world = World::start().await;
    let wallet = world.info.paegents.buyer.wallet.to_lowercase();
    let challenge = world.challenge(&wallet).await;
    world.pass(600_000);
    assert_eq!(world.recover(world.proof(&challenge)).await.status, 400, "ten minutes are over");
    let seller = world.info.paegents.seller.wallet.to_lowercase();
    let rows = [
        ("issued_at", json!("2026-01-01T00:00:00Z"), 400),
        ("wallet_address", json!(seller), 400),
        ("nonce", json!("00"), 400),
        ("signature", json!("0x00"), 401),
        ("wallet_address", json!("me"), 422),
    ];
    for (field, value, status) in rows {
        let challenge = world.challenge(&wallet).await;
        let mut proof = world.proof(&challenge);
        proof[field] = value;
        assert_eq!(world.recover(proof).await.status, status, "{field}");
    }
    // Another wallet's signature, and a challenge that a wrong one has used up.
    let challenge = world.challenge(&seller).await;
    let mut proof = world.proof(&challenge);
    proof["wallet_address"] = json!(seller);
    assert_eq!(world.recover(proof.clone()).await.status, 401);
    assert_eq!(world.recover(proof).await.detail().0, 400);
    let path =
        "/wallet/recovery-challenge?wallet_address=0x00000000000000000000000000000000000000aa";
    assert_eq!(world.paegents(("GET", path), "", Value::Null, &[]).await.status, 404);
    let path = "/wallet/recovery-challenge";
    assert_eq!(world.paegents(("GET", path), "", Value::Null, &[]).await.status, 422);
    assert_eq!(world.buys("GET", &world.mine("events"), Value::Null).await.status, 200);
}

#[tokio::test]
async fn invitations_have_their_limits() {
    let world = World::start().await;
    let invite =
        || world.buys("POST", "/invites", json!({ "email": "A@Example.com", "comment": "x" }));
    let first = invite().await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.json["email"], "a@example.com");
    assert_eq!(invite().await.status, 429, "half an hour apart");
    world.pass(1_799_999);
    assert_eq!(invite().await.status, 429);
    world.pass(1);
    let second = invite().await.json;
    assert_eq!((&second["sent_count"], &second["token"]), (&json!(2), &first.json["token"]));
    world.pass(1_800_000);
    assert_eq!(invite().await.status, 201);
    world.pass(1_800_000);
    assert_eq!(invite().await.status, 409, "three in all");
    let list = world.buys("GET", "/invites", Value::Null).await.json;
    assert_eq!(list["invites"].as_array().unwrap().len(), 1);
    assert_eq!(world.sells("GET", "/invites", Value::Null).await.json["invites"], json!([]));
    for email in ["", "a", "a@b", "a b@c.d", "a@b@c.d"] {
        let body = json!({ "email": email });
        assert_eq!(world.buys("POST", "/invites", body).await.status, 422, "{email}");
    }

    let path = format!("/invites/{}", first.json["token"].as_str().unwrap());
    let shown = world.paegents(("GET", &path), "", Value::Null, &[]).await.json;
    assert_eq!(shown["status"], "pending", "{shown}");
    let accept = format!("{path}/accept");
    assert_eq!(world.buys("POST", &accept, Value::Null).await.status, 401, "an owner only");
    assert_eq!(world.owns("POST", &accept, Value::Null).await.json["status"], "accepted");
    assert_eq!(world.owns("POST", &accept, Value::Null).await.status, 200, "the same owner");
    assert_eq!(invite().await.status, 409, "already accepted");
    let other = json!({ "email": "b@example.com" });
    let other = world.buys("POST", "/invites", other).await.json;
    world.pass(1_209_600_000);
    let accept = format!("/invites/{}/accept", other["token"].as_str().unwrap());
    assert_eq!(world.owns("POST", &accept, Value::Null).await.status, 410, "after two weeks");
    assert_eq!(world.paegents(("GET", "/invites/none"), "", Value::Null, &[]).await.status, 404);
}
