//! Buying through the gateway, every behaviour.

use serde_json::{Value, json};

use super::World;

#[tokio::test]
async fn a_paid_call_is_served_once() {
    let world = World::start().await;
    let item = world.listing("auto");
    let due = world.call(&item, &[("Idempotency-Key", "k1")]).await;
    assert_eq!(due.code(), (402, "PAYMENT_REQUIRED"));
    let payment = due.payment();
    assert_eq!(payment["amount"], "50000");
    assert_eq!(payment["amount_usd"], "0.05");
    assert_eq!(payment["currency"], "USDC");
    assert_eq!(payment["chain_id"], 84_532);
    assert_eq!(payment["token_address"], "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
    let relay = due.relay();

    // Unpaid: the same requirement again, with or without the relay id.
    assert_eq!(world.retry(&item, &relay).await, due);
    assert_eq!(world.call(&item, &[("Idempotency-Key", "k1")]).await, due);

    world.pay(&due).await;
    assert_eq!(world.retry(&item, &relay).await.status, 402, "not mined");
    world.pass(300);
    let pending = world.retry(&item, &relay).await;
    assert_eq!(pending.status, 202);
    assert_eq!(pending.json["data"]["status"], "pending");
    assert_eq!(pending.json["data"]["retryable"], true);
    assert_eq!(pending.json["data"]["retry_after_seconds"], 1);
    assert_eq!(pending.json["data"]["relay_request_id"], relay);
    assert!(world.truth("payout").await.is_empty());
    world.pass(300);
    let served = world.retry(&item, &relay).await;
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(served.json["data"]["words"], 12);
    assert_eq!(served.json["gateway_request"]["relay_request_id"], relay);
    assert_eq!(world.retry(&item, &relay).await, served);
    assert_eq!(world.call(&item, &[("Idempotency-Key", "k1")]).await, served);

    let buyer = &world.info.crochet.buyer;
    let charges = world.truth("charge").await;
    assert_eq!(charges.len(), 1);
    assert_eq!(charges[0]["reference"], relay);
    assert_eq!(charges[0]["marketplace"], "crochet");
    assert_eq!(charges[0]["payer"], buyer.wallet);
    assert_eq!(charges[0]["amount_usd"], "0.05");
    let (fee, payout) = (world.truth("fee").await, world.truth("payout").await);
    assert_eq!((fee.len(), payout.len()), (1, 1));
    assert_eq!(fee[0]["parent"], relay);
    assert_eq!(fee[0]["amount_usd"], "0.001");
    assert_eq!(payout[0]["amount_usd"], "0.049");
    assert_eq!(payout[0]["payee"], charges[0]["payee"]);
    assert_eq!(world.usdc_of(&buyer.wallet).await, 999_950_000);
    let seller = charges[0]["payee"].as_str().unwrap();
    assert_eq!(world.usdc_of(seller).await, 49_000);

    let history = world.get("/gateway-requests?limit=5", &buyer.api_key).await;
    assert_eq!(history["pagination"]["total"], 1);
    assert_eq!(history["data"][0]["relay_request_id"], relay);
    assert_eq!(history["data"][0]["status"], "delivered");
    assert_eq!(history["data"][0]["amount_usd"], "0.05");
    let ledger = world.get("/ledger", &buyer.api_key).await;
    assert_eq!(ledger["pagination"]["total"], 1);
    assert_eq!(ledger["data"][0]["type"], "gateway_payment");
    assert_eq!(ledger["data"][0]["relay_request_id"], relay);
}

#[tokio::test]
async fn two_transfers_are_two_charges() {
    let world = World::start().await;
    let item = world.listing("auto");
    let due = world.call(&item, &[]).await;
    world.pay(&due).await;
    world.pay(&due).await;
    world.pass(600);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 200);
    let charges = world.truth("charge").await;
    assert_eq!(charges.len(), 2);
    assert!(charges.iter().all(|charge| charge["reference"] == due.relay()));
    assert!(charges[0]["seq"].as_i64() < charges[1]["seq"].as_i64());
    assert_eq!(world.truth("payout").await.len(), 1);
}

#[tokio::test]
async fn other_transfers_are_no_charges() {
    let world = World::start().await;
    world.pay_micros("0x000000000000000000000000000000000000dEaD", 7).await;
    world.pass(300);
    let transfers = world.truth("transfer").await;
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0]["amount_usd"], "0.000007");
    assert!(world.truth("charge").await.is_empty());
}

#[tokio::test]
async fn too_little_stays_unpaid() {
    let world = World::start().await;
    let item = world.listing("auto");
    let due = world.call(&item, &[]).await;
    let to = due.payment()["deposit_address"].as_str().unwrap().to_owned();
    world.pay_micros(&to, 20_000).await;
    world.pass(2_000);
    let still = world.retry(&item, &due.relay()).await;
    assert_eq!(still.code(), (402, "PAYMENT_REQUIRED"));
    assert_eq!(still.relay(), due.relay());
    let received = &still.json["error"]["details"]["received"];
    assert_eq!(
        *received,
        json!({ "amount": "20000", "amount_usd": "0.02", "missing_usd": "0.03" })
    );
    // What has received something stays open.
    world.pass(600_000);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 402);
    world.pay_micros(&to, 30_000).await;
    world.pass(600);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 200);
    assert_eq!(world.truth("charge").await.len(), 2);
}

#[tokio::test]
async fn a_relay_pays_for_its_own_request_only() {
    let world = World::start().await;
    let item = world.listing("auto");
    let relay = world.settled(&item).await;
    let headers = [("X-Crochet-Relay-Request-Id", relay.as_str())];

    let unknown = world.retry(&item, "0x00").await;
    assert_eq!(unknown.code(), (404, "RELAY_REQUEST_NOT_FOUND"));
    let other = world.retry(&world.listing("manual"), &relay).await;
    assert_eq!(other.code(), (409, "RELAY_REQUEST_MISMATCH"));
    let mut body = item.clone();
    body.input_example = json!({ "text": "something else" });
    assert_eq!(world.call(&body, &headers).await.code(), (409, "RELAY_REQUEST_MISMATCH"));
    let seller = world.info.crochet.seller.api_key.clone();
    let request = world.calling(&item, &headers);
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {seller}").parse().unwrap());
    let stolen = client.execute(request).await.unwrap();
    assert_eq!(stolen.status(), 403);
    assert_eq!(world.retry(&item, &relay).await.status, 200);
}

#[tokio::test]
async fn keys_are_bound_to_a_request() {
    let world = World::start().await;
    let item = world.listing("auto");
    let first = world.call(&item, &[("Idempotency-Key", "k")]).await;
    let mut other = item.clone();
    other.input_example = json!({ "text": "other" });
    let reused = world.call(&other, &[("Idempotency-Key", "k")]).await;
    assert_eq!(reused.code(), (409, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(reused.json["error"]["recovery"]["discard"], json!(["idempotency_key"]));
    let route = [("Idempotency-Key", "k"), ("X-Crochet-Origin-Currency", "SOL")];
    assert_eq!(world.call(&item, &route).await.code(), (409, "IDEMPOTENCY_KEY_REUSED"));
    assert_ne!(world.call(&item, &[]).await.relay(), first.relay());
    assert_ne!(world.call(&item, &[("Idempotency-Key", "l")]).await.relay(), first.relay());

    // A requirement that lapsed is replaced under the same key, and dead under its relay id.
    world.pass(600_000);
    assert_eq!(world.retry(&item, &first.relay()).await.code(), (410, "RELAY_REQUEST_EXPIRED"));
    let fresh = world.call(&item, &[("Idempotency-Key", "k")]).await;
    assert_eq!(fresh.code(), (402, "PAYMENT_REQUIRED"));
    assert_ne!(fresh.relay(), first.relay());
}

#[tokio::test]
async fn free_listings_answer_at_once() {
    let world = World::start().await;
    let item = world.listing("free");
    let served = world.call(&item, &[]).await;
    assert_eq!(served.status, 200);
    assert_eq!(served.json["success"], true);
    assert_eq!(served.json["data"]["result"], "42.164812");
    assert!(world.truth("charge").await.is_empty());
    let history = world.get("/gateway-requests", &world.info.crochet.buyer.api_key).await;
    assert_eq!(history["data"][0]["status"], "delivered");
    assert_eq!(history["data"][0]["relay_request_id"], Value::Null);
}

#[tokio::test]
async fn sol_is_paid_elsewhere() {
    let world = World::start().await;
    let item = world.listing("route_minimum");
    let refused = world.call(&item, &[]).await;
    assert_eq!(refused.code(), (400, "PAYMENT_ROUTE_MINIMUM_NOT_MET"));
    let discard = &refused.json["error"]["recovery"]["discard"];
    assert!(discard.as_array().unwrap().contains(&json!("idempotency_key")));
    let due = world.call(&item, &[("X-Crochet-Origin-Currency", "SOL")]).await;
    let payment = due.payment();
    assert_eq!(payment["currency"], "SOL");
    assert_eq!(payment["chain"], "solana");
    assert_eq!(payment["amount"], "66667");
    assert_eq!(payment.get("token_address"), None);
    let address = bs58::decode(payment["deposit_address"].as_str().unwrap()).into_vec().unwrap();
    assert_eq!(address.len(), 32);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 402);
    let pay = json!({ "relay_request_id": due.relay() });
    assert_eq!(world.admin("POST", "/pay", pay).await.status, 200);
    assert_eq!(world.retry(&item, &due.relay()).await.status, 202);
    world.admin("POST", "/clock", json!({ "advance_s": 1 })).await;
    assert_eq!(world.retry(&item, &due.relay()).await.status, 200);
    let charges = world.truth("charge").await;
    assert_eq!(charges[0]["payer"], "external");
    assert_eq!(charges[0]["amount_usd"], "0.01");
    let unknown = json!({ "relay_request_id": "0x1" });
    assert_eq!(world.admin("POST", "/pay", unknown).await.status, 404);
}

#[tokio::test]
async fn each_behaviour_is_as_named() {
    let world = World::start().await;

    let never = world.listing("never_delivers");
    let relay = world.settled(&never).await;
    world.pass(86_400_000);
    assert_eq!(world.retry(&never, &relay).await.status, 202);
    assert_eq!(world.truth("payout").await.len(), 1);

    let fails = world.listing("fails_after_payment");
    let relay = world.settled(&fails).await;
    let failed = world.retry(&fails, &relay).await;
    assert_eq!(failed.code(), (502, "SELLER_FAILED_AFTER_PAYMENT"));
    assert_eq!(failed.relay(), relay);
    assert_eq!(failed.json["error"]["recovery"]["retryable"], false);
    assert_eq!(world.retry(&fails, &relay).await, failed);

    let rises = world.listing("price_rises");
    assert_eq!(rises.price_usd, "0.20");
    assert_eq!(world.call(&rises, &[]).await.payment()["amount"], "300000");

    let rejects = world.listing("rejects");
    let refused = world.call(&rejects, &[]).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json["error"], "unsupported_document");
    assert_eq!(refused.json.get("success"), None);

    let manual = world.listing("manual");
    let relay = world.settled(&manual).await;
    let failed = world.retry(&manual, &relay).await;
    assert_eq!(failed.code(), (502, "SELLER_FAILED_AFTER_PAYMENT"), "no endpoint");

    let hostile = world.listing("hostile_text");
    let due = world.call(&hostile, &[]).await;
    let summary = due.json["error"]["recovery"]["summary"].as_str().unwrap();
    assert!(summary.contains("dEaD") && summary.contains('\u{202e}'));
    world.pay(&due).await;
    world.pass(600);
    let served = world.retry(&hostile, &due.relay()).await;
    assert_eq!(served.status, 200);
    assert!(served.json.to_string().contains("IGNORE ALL PREVIOUS"));
}

#[tokio::test]
async fn a_slow_seller_is_asked_once() {
    let world = World::start().await;
    let slow = world.listing("slow");
    let relay = world.settled(&slow).await;
    let begun = std::time::Instant::now();
    let (first, second) = tokio::join!(world.retry(&slow, &relay), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.retry(&slow, &relay).await
    });
    assert!(begun.elapsed().as_secs() >= 3);
    assert_eq!(first.status, 200);
    assert_eq!(second.status, 202);
    assert_eq!(world.retry(&slow, &relay).await, first);
}

#[tokio::test]
async fn refuses_what_is_no_call() {
    let world = World::start().await;
    let item = world.listing("auto");
    let url = world.url(&format!("/gateway/{}", item.id));
    let key = &world.info.crochet.buyer.api_key;
    let bare = || world.http.post(&url).json(&json!({}));
    assert_eq!(world.send(bare()).await.unwrap().code(), (401, "UNAUTHORIZED"));
    let wrong = world.send(bare().bearer_auth("am_k_0")).await.unwrap();
    assert_eq!(wrong.code(), (401, "UNAUTHORIZED"));
    let text = world.http.post(&url).bearer_auth(key).body("{}");
    assert_eq!(world.send(text).await.unwrap().code(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let broken =
        world.http.post(&url).bearer_auth(key).body("{").header("content-type", "application/json");
    assert_eq!(world.send(broken).await.unwrap().code(), (400, "VALIDATION_ERROR"));
    let route = world.call(&item, &[("X-Crochet-Origin-Currency", "DOGE")]).await;
    assert_eq!(route.code(), (400, "UNSUPPORTED_ORIGIN_CURRENCY"));
    let gone = world.ask("POST", "/gateway/none", key, json!({})).await;
    assert_eq!(gone.code(), (404, "NOT_FOUND"));
}
