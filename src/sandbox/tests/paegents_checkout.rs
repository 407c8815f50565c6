//! AP2: mandates, and carts that are paid at most once for each key.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Reply, START_MS, World};

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Somebody to be paid.
const MERCHANT: &str = "0x00000000000000000000000000000000000000Aa";

impl World {
    /// An intent for at most so many cents, and a cart of another number of them.
    pub(super) async fn cart(&self, most: u64, cents: u64) -> (String, String) {
        let policy = json!({ "max_amount": { "value": most }, "currency": "usd" });
        let intent = self.buys("POST", "/ap2/mandates/intent", json!({ "policy": policy })).await;
        assert_eq!(intent.status, 200, "{intent:?}");
        let intent = intent.json["intent_mandate"]["id"].as_str().unwrap().to_owned();
        let cart = json!({ "intent_mandate_id": intent,
            "cart": { "total": cents, "currency": "usd", "items": ["memo"] } });
        let cart = self.buys("POST", "/ap2/mandates/cart", cart).await;
        assert_eq!(cart.status, 200, "{cart:?}");
        (intent, cart.json["cart_mandate"]["id"].as_str().unwrap().to_owned())
    }

    /// Pays by a method, under a key if there is one.
    pub(super) async fn check_out(
        &self,
        (intent, cart): (&str, &str),
        method: Value,
        key: &str,
    ) -> Reply {
        let body = json!({ "intent_mandate_id": intent, "cart_mandate_id": cart,
            "payment_method": method });
        let keyed = [("Idempotency-Key", key)];
        let others = if key.is_empty() { &[][..] } else { &keyed[..] };
        let api_key = &self.info.paegents.buyer.api_key;
        self.paegents(("POST", "/ap2/pay"), api_key, body, others).await
    }

    /// What an owner asks.
    pub(super) async fn owns(&self, method: &str, path: &str, body: Value) -> Reply {
        let token = format!("Bearer {}", self.info.paegents.owner_jwt);
        let key = &self.info.paegents.buyer.api_key;
        self.paegents((method, path), key, body, &[("Authorization", &token)]).await
    }

    /// The path of something of the buyer's.
    pub(super) fn mine(&self, rest: &str) -> String {
        format!("/agents/{}/{rest}", self.info.paegents.buyer.agent_id)
    }

    /// The types of all events of the buyer.
    pub(super) async fn told(&self) -> Vec<String> {
        let path = format!("/events?agent_id={}", self.info.paegents.buyer.agent_id);
        let events = self.admin("GET", &path, Value::Null).await.json["events"].clone();
        let all = events.as_array().unwrap().clone();
        all.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}

fn card() -> Value {
    json!({ "rail": "card", "provider": "stripe", "payment_reference": "pm_1" })
}

#[tokio::test]
async fn a_cart_is_paid_once_for_each_key() {
    let world = World::start().await;
    let (intent, cart) = world.cart(5_000, 1_500).await;
    let ids = (intent.as_str(), cart.as_str());
    let paid = world.check_out(ids, card(), "k1").await;
    assert_eq!(paid.status, 200, "{paid:?}");
    assert_eq!(paid.json["status"], "completed");
    assert_eq!(paid.json["rail"], "card");
    assert_eq!(paid.json["processor"], "stripe");
    assert_eq!(paid.json["onchain_txid"], Value::Null);
    assert_eq!(world.check_out(ids, card(), "k1").await, paid, "the same again");
    let other = json!({ "rail": "card", "provider": "adyen" });
    assert_eq!(world.check_out(ids, other, "k1").await.status, 409, "another body");
    assert_eq!(world.check_out(ids, card(), "k2").await.status, 409, "a second key");
    let charges = world.truth("charge").await;
    assert_eq!(charges.len(), 1);
    assert_eq!(charges[0]["reference"], cart);
    assert_eq!(charges[0]["amount_usd"], "15");
    assert_eq!(charges[0]["payer"], format!("card:{}", world.info.paegents.buyer.agent_id));
    assert_eq!(charges[0]["payee"], "merchant");
    // Without a key it is as careless as a platform may be.
    assert_eq!(world.check_out(ids, card(), "").await.status, 200);
    assert_eq!(world.check_out(ids, card(), "").await.status, 200);
    assert_eq!(world.truth("charge").await.len(), 3);
    // After a day the key is forgotten, but the cart is still paid.
    world.pass(DAY_MS + 1);
    assert_eq!(world.check_out(ids, card(), "k1").await.status, 409);
    assert_eq!(world.told().await, ["payment.completed"; 3]);

    let receipt = paid.json["receipt"]["receipt_id"].as_str().unwrap();
    let verified = world.buys("GET", &format!("/receipts/verify/{receipt}"), Value::Null).await;
    assert_eq!(verified.json["valid"], true, "{verified:?}");
    assert_eq!(verified.json["receipt"]["amount"], 1_500);
    let unknown = world.buys("GET", "/receipts/verify/rcpt_1", Value::Null).await;
    assert_eq!(unknown.detail(), (404, "Receipt not found".to_owned()));
}

#[tokio::test]
async fn mandates_bind() {
    let world = World::start().await;
    let (intent, cart) = world.cart(5_000, 1_500).await;
    let (stranger, _) = world.cart(5_000, 1_500).await;
    let make = |body: Value| async { world.buys("POST", "/ap2/mandates/cart", body).await };
    let above = json!({ "intent_mandate_id": intent, "cart": { "total": 5_001 } });
    let (status, detail) = make(above).await.detail();
    assert!(status == 403 && detail.starts_with("policy_denied: "), "{status} {detail}");
    let euros = json!({ "intent_mandate_id": intent, "cart": { "total": 1, "currency": "eur" } });
    assert!(make(euros).await.detail().1.starts_with("policy_denied: "));
    for total in [json!(0), json!(-1), json!(1.5), json!("15"), Value::Null] {
        let body = json!({ "intent_mandate_id": intent, "cart": { "total": total } });
        assert_eq!(make(body).await.detail(), (422, "cart.total".to_owned()));
    }
    let lost = json!({ "intent_mandate_id": "im_1", "cart": { "total": 1 } });
    assert_eq!(make(lost).await.status, 404);
    let foreign = world.check_out((&stranger, &cart), card(), "k").await;
    assert_eq!(foreign.status, 400, "a cart of another intent: {foreign:?}");

    let promise = |body: Value| async { world.buys("POST", "/ap2/mandates/intent", body).await };
    let soon = json!({ "policy": {}, "expires_at": "2026-09-21T14:13:25" });
    assert_eq!(START_MS, 1_790_000_000_000, "five seconds before that");
    let short = promise(soon).await.json["intent_mandate"].clone();
    assert_eq!(short["subject"]["agent_id"], json!(world.info.paegents.buyer.agent_id));
    let body = json!({ "intent_mandate_id": short["id"], "cart": { "total": 100 } });
    let late = make(body.clone()).await.json["cart_mandate"]["id"].clone();
    world.pass(5_000);
    assert_eq!(make(body).await.status, 403);
    let ids = (short["id"].as_str().unwrap(), late.as_str().unwrap());
    assert_eq!(world.check_out(ids, card(), "k").await.status, 403, "the intent has expired");
    let past = json!({ "policy": {}, "expires_at": "2020-01-01T00:00:00Z" });
    assert_eq!(promise(past).await.status, 422);
    let other = json!({ "agent_id": world.info.paegents.seller.agent_id, "policy": {} });
    assert_eq!(promise(other).await.status, 403);

    let digest = |wallet: &str| {
        let body = json!({ "intent_mandate_id": intent, "cart_mandate_id": cart,
            "destination_wallet": wallet });
        world.buys("POST", "/ap2/signing-digest", body)
    };
    let first = digest(MERCHANT).await.json;
    assert_eq!(first["digest"].as_str().unwrap().len(), 66, "{first}");
    assert_eq!(first["digest"], digest(&MERCHANT.to_lowercase()).await.json["digest"]);
    let other = digest(&world.info.paegents.seller.wallet).await.json;
    assert_ne!(first["digest"], other["digest"]);
    assert_eq!(digest("nobody").await.status, 422);
    // The seller sees none of it.
    let body = json!({ "intent_mandate_id": intent, "cart_mandate_id": cart,
        "payment_method": card() });
    assert_eq!(world.sells("POST", "/ap2/pay", body).await.status, 404);
    assert!(world.truth("charge").await.is_empty());
}

#[tokio::test]
async fn a_mandate_is_made_once_for_each_key() {
    let world = World::start().await;
    let key = &world.info.paegents.buyer.api_key;
    let keyed = [("Idempotency-Key", "m1")];
    let body = json!({ "policy": { "max_amount": { "value": 10 } } });
    let path = ("POST", "/ap2/mandates/intent");
    let first = world.paegents(path, key, body.clone(), &keyed).await;
    assert_eq!(world.paegents(path, key, body.clone(), &keyed).await, first);
    assert_ne!(world.paegents(path, key, body, &[]).await, first);
    let other = world.paegents(path, key, json!({ "policy": {} }), &keyed).await;
    assert_eq!(other.status, 409);
}

#[tokio::test]
async fn a_stablecoin_payment_moves_exactly_the_total() {
    let world = World::start().await;
    let (intent, cart) = world.cart(5_000, 1_500).await;
    let ids = (intent.as_str(), cart.as_str());
    let method = |header: &Value, to: &str| {
        json!({ "rail": "stablecoin", "provider": "coinbase", "wallet_address": to,
            "payment_header": STANDARD.encode(header.to_string()),
            "extra": { "network": "base-sepolia" } })
    };
    let good = world.header(MERCHANT, 15_000_000, 1);
    let changed = |pointer: &str, value: Value| {
        let mut header = good.clone();
        *header.pointer_mut(pointer).unwrap() = value;
        header
    };
    let signature = good["payload"]["signature"].as_str().unwrap();
    let rows = [
        ("version", changed("/x402Version", json!(2)), 400),
        ("scheme", changed("/scheme", json!("upto")), 400),
        ("network", changed("/network", json!("base")), 400),
        ("less", world.header(MERCHANT, 14_999_999, 1), 400),
        ("more", world.header(MERCHANT, 15_000_001, 1), 400),
        ("another payee", world.header(&world.info.paegents.seller.wallet, 15_000_000, 1), 400),
        ("too late", changed("/payload/authorization/validBefore", json!("1790000005")), 400),
        ("too early", changed("/payload/authorization/validAfter", json!("1790000001")), 400),
        (
            "signature",
            changed("/payload/signature", json!(format!("{}00", &signature[..130]))),
            402,
        ),
        ("nonce", changed("/payload/authorization/nonce", json!(format!("0x{:064}", 7))), 402),
    ];
    for (row, header, status) in rows {
        let reply = world.check_out(ids, method(&header, MERCHANT), row).await;
        assert_eq!(reply.status, status, "{row}: {reply:?}");
    }
    let bare = json!({ "rail": "stablecoin", "wallet_address": MERCHANT });
    assert_eq!(world.check_out(ids, bare, "bare").await.status, 422);
    assert_eq!(world.usdc_of(MERCHANT).await, 0);
    assert!(world.truth("charge").await.is_empty());

    let paid = world.check_out(ids, method(&good, MERCHANT), "k").await;
    assert_eq!(paid.status, 200, "{paid:?}");
    assert_eq!(world.check_out(ids, method(&good, MERCHANT), "k").await, paid);
    assert_eq!(world.usdc_of(MERCHANT).await, 15_000_000);
    let hash = paid.json["onchain_txid"].clone();
    let receipt = world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 2, "used, and moved");
    let charges = world.truth("charge").await;
    assert_eq!(charges[0]["payer"], json!(world.info.paegents.buyer.wallet));
    assert_eq!(charges[0]["payee"].as_str().unwrap().to_lowercase(), MERCHANT.to_lowercase());
    // The authorization is used up: without a key it fails, and nothing moves.
    assert_eq!(world.check_out(ids, method(&good, MERCHANT), "").await.status, 402);
    assert_eq!(world.truth("charge").await.len(), 1);
    let (_, second) = world.cart(5_000, 1_500).await;
    assert_ne!(second, cart);
    assert_eq!(world.told().await.last().unwrap(), "payment.failed");
}

#[tokio::test]
async fn a_declined_card_charges_nothing() {
    let world = World::start().await;
    let (intent, cart) = world.cart(5_000, 1_500).await;
    let ids = (intent.as_str(), cart.as_str());
    let declined = json!({ "rail": "card", "payment_reference": "pm_card_declined" });
    assert_eq!(world.check_out(ids, declined, "k1").await.status, 402);
    let fail = json!({ "marketplace": "paegents", "path": "/ap2/pay", "action": "fail" });
    world.fault(fail).await;
    assert_eq!(world.check_out(ids, card(), "k2").await.status, 402);
    assert!(world.truth("charge").await.is_empty());
    assert_eq!(world.told().await, ["payment.failed"; 2]);
    let lost = json!({ "marketplace": "paegents", "path": "/ap2/pay", "action": "drop_after" });
    world.fault(lost).await;
    let body = json!({ "intent_mandate_id": intent, "cart_mandate_id": cart,
        "payment_method": card() });
    let url = format!("{}/ap2/pay", world.info.paegents.api_url);
    let key = &world.info.paegents.buyer.api_key;
    let request = world.http.post(url).bearer_auth(key).header("Idempotency-Key", "k2");
    assert!(world.send(request.json(&body)).await.is_err());
    assert_eq!(world.check_out(ids, card(), "k2").await.status, 200, "the replay tells");
    assert_eq!(world.truth("charge").await.len(), 1);
}

#[tokio::test]
async fn a_policy_decides() {
    let world = World::start().await;
    let policy = json!({ "rails": { "allowed": ["stablecoin"] } });
    assert_eq!(world.owns("PUT", &world.mine("policies"), policy.clone()).await.json, policy);
    let (intent, cart) = world.cart(50_000, 3_000).await;
    let ids = (intent.as_str(), cart.as_str());
    let (status, detail) = world.check_out(ids, card(), "k").await.detail();
    assert_eq!((status, detail.as_str()), (403, "policy_denied: the rail card is not allowed"));
    let policy = json!({ "spending": { "daily_limit_cents": 4_000 } });
    world.owns("PUT", &world.mine("policies"), policy).await;
    assert_eq!(world.check_out(ids, card(), "k").await.status, 200, "a refusal is not kept");
    let (intent, second) = world.cart(50_000, 1_001).await;
    let ids = (intent.as_str(), second.as_str());
    let (status, detail) = world.check_out(ids, card(), "k2").await.detail();
    assert!(status == 403 && detail.contains("daily limit of 4000"), "{detail}");
    world.pass(DAY_MS);
    assert_eq!(world.check_out(ids, card(), "k2").await.status, 200, "a day later");
}

#[tokio::test]
async fn what_is_dear_waits_for_the_owner() {
    let world = World::start().await;
    let (intent, cart) = world.cart(50_000, 2_001).await;
    let ids = (intent.as_str(), cart.as_str());
    let asked = world.check_out(ids, card(), "k").await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.json["approval_required"], true);
    assert_eq!(asked.json["policy"]["approvals"]["threshold_cents"], 2_000);
    assert_eq!(world.check_out(ids, card(), "k").await, asked, "asked once");
    let id = asked.json["request_id"].as_str().unwrap();
    let list = world.owns("GET", &world.mine("approvals?status=pending"), Value::Null).await.json;
    assert_eq!(list["approvals"].as_array().unwrap().len(), 1);
    assert_eq!(list["approvals"][0]["id"], id);
    assert_eq!(list["approvals"][0]["amount_cents"], 2_001);
    // Neither the agent nor another owner can say yes.
    let approve = world.mine(&format!("approvals/{id}/approve"));
    assert_eq!(world.buys("POST", &approve, Value::Null).await.status, 401);
    let stranger = super::super::paegents::agents::known_jwt(world.inside(), "seller");
    let stranger = format!("Bearer {stranger}");
    let foreign = [("Authorization", stranger.as_str())];
    let reply = world.paegents(("POST", &approve), "", Value::Null, &foreign).await;
    assert_eq!(reply.status, 403);
    assert!(world.truth("charge").await.is_empty());

    assert_eq!(world.owns("POST", &approve, Value::Null).await.json["status"], "approved");
    assert_eq!(world.owns("POST", &approve, Value::Null).await.status, 200, "yes is yes");
    let reject = world.mine(&format!("approvals/{id}/reject?reason=too%20much"));
    assert_eq!(world.owns("POST", &reject, Value::Null).await.status, 409, "too late");
    let other = json!({ "rail": "braintree", "provider": "braintree" });
    assert_eq!(world.check_out(ids, other, "k").await.status, 409, "another body");
    let again = world.check_out(ids, card(), "k2").await;
    assert_eq!(again.json["approval_required"], true, "another attempt: {again:?}");
    let paid = world.check_out(ids, card(), "k").await;
    assert_eq!(paid.json["status"], "completed", "{paid:?}");
    assert_eq!(world.check_out(ids, card(), "k").await, paid);
    assert_eq!(world.truth("charge").await.len(), 1);

    let second = again.json["request_id"].as_str().unwrap();
    let reject = world.mine(&format!("approvals/{second}/reject?reason=too%20much%20/%20no"));
    let rejected = world.owns("POST", &reject, Value::Null).await;
    assert_eq!(rejected.json["reason"], "too much / no");
    let told = world.told().await;
    let expected = [
        "approval.requested",
        "approval.approved",
        "approval.requested",
        "payment.completed",
        "approval.rejected",
    ];
    assert_eq!(told, expected);
    // Without a key the same body is the same attempt, until it is paid.
    let (intent, cart) = world.cart(50_000, 2_500).await;
    let ids = (intent.as_str(), cart.as_str());
    let asked = world.check_out(ids, card(), "").await;
    assert_eq!(world.check_out(ids, card(), "").await, asked);
    let id = asked.json["request_id"].as_str().unwrap();
    let reject = world.mine(&format!("approvals/{id}/reject"));
    assert_eq!(world.owns("POST", &reject, Value::Null).await.status, 200);
    let (status, detail) = world.check_out(ids, card(), "").await.detail();
    assert!(status == 403 && detail.starts_with("policy_denied: the owner rejected"), "{detail}");
    assert_eq!(world.truth("charge").await.len(), 1);
}
