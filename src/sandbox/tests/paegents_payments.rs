//! Payments to suppliers, the older calls, limits, and what a payment requires.

use serde_json::{Value, json};

use super::World;

/// A step of the platform.
const STEP_MS: i64 = 300;

impl World {
    fn supplied(&self, supplier: &str, txn: &str, cents: u64) -> Value {
        let buyer = &self.info.paegents.buyer;
        json!({
            "msg": "PayRequest", "version": "1.0", "txn_id": txn, "supplier": supplier,
            "amount": cents, "currency": "usd", "description": "paper", "api_key": buyer.api_key,
            "agent_owner_email": "owner@example.com", "agent_id": buyer.agent_id,
        })
    }

    async fn standing(&self, txn: &str) -> Value {
        let body = json!({ "msg": "StatusQuery", "txn_id": txn });
        let reply = self.buys("POST", "/a2a/status", body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json
    }
}

#[tokio::test]
async fn a_supplier_is_paid_once_for_each_transaction() {
    let world = World::start().await;
    let pay = |body: Value| async { world.buys("POST", "/a2a/pay", body).await };
    let first = pay(world.supplied("Supplier.example", "t1", 250)).await;
    assert_eq!(first.json["status"], "paid", "{first:?}");
    assert_eq!(first.json["msg"], "PayResponse");
    assert_eq!(pay(world.supplied("supplier.example", "t1", 250)).await, first);
    assert_eq!(pay(world.supplied("supplier.example", "t1", 251)).await.status, 409);
    let charges = world.truth("charge").await;
    assert_eq!(charges.len(), 1);
    assert_eq!(
        (&charges[0]["reference"], &charges[0]["amount_usd"]),
        (&json!("t1"), &json!("2.50"))
    );
    assert_eq!(charges[0]["payee"], "supplier.example");

    let slow = pay(world.supplied("slow.example", "t2", 100)).await;
    assert_eq!(slow.json["status"], "processing");
    world.pass(STEP_MS - 1);
    assert_eq!(world.standing("t2").await["status"], "processing");
    assert_eq!(world.truth("charge").await.len(), 1);
    world.pass(1);
    let paid = world.standing("t2").await;
    assert_eq!((&paid["status"], &paid["msg"]), (&json!("paid"), &json!("StatusResponse")));
    assert_eq!(paid["events"].as_array().unwrap().len(), 2);
    assert_eq!(pay(world.supplied("slow.example", "t2", 100)).await.json["status"], "paid");

    let new = pay(world.supplied("new.example", "t3", 100)).await.json;
    assert_eq!(new["status"], "supplier_onboarding");
    assert_eq!(new["next_action_url"], "https://new.example/onboarding");
    assert!(new["provisional_key"].as_str().unwrap().starts_with("prov_"));
    world.pass(STEP_MS);
    assert_eq!(world.standing("t3").await["status"], "failed");
    let failing = pay(world.supplied("failing.example", "t4", 100)).await.json;
    assert_eq!(failing["status"], "failed");
    assert!(failing["error"].is_string());
    assert_eq!(pay(world.supplied("nobody.example", "t5", 100)).await.status, 404);

    let doomed = json!({ "marketplace": "paegents", "path": "/a2a/pay", "action": "fail" });
    world.fault(doomed).await;
    assert_eq!(pay(world.supplied("slow.example", "t6", 100)).await.json["status"], "processing");
    world.pass(STEP_MS);
    assert_eq!(world.standing("t6").await["status"], "failed");
    assert_eq!(world.truth("charge").await.len(), 2);
    let told = world.told().await;
    let [done, failed] = ["payment.completed", "payment.failed"];
    assert_eq!(told, [done, done, failed, failed, failed]);
}

#[tokio::test]
async fn an_order_of_a_supplier_is_checked() {
    let world = World::start().await;
    #[rustfmt::skip]
    let rows = [
        ("api_key",           json!("sk_other"),     401),
        ("agent_id",          json!("agt_other"),    403),
        ("msg",               json!("StatusQuery"),  422),
        ("amount",            json!(0),              422),
        ("amount",            json!(-5),             422),
        ("amount",            json!("100"),          422),
        ("txn_id",            json!("a/b"),          422),
        ("txn_id",            json!(""),             422),
        ("agent_owner_email", json!("nobody"),       422),
        ("amount",            json!(10_001),         403),
    ];
    for (field, value, status) in rows {
        let mut body = world.supplied("supplier.example", "t1", 100);
        body[field] = value.clone();
        let reply = world.buys("POST", "/a2a/pay", body).await;
        assert_eq!(reply.status, status, "{field} {value}: {reply:?}");
    }
    let unknown = json!({ "msg": "StatusQuery", "txn_id": "t1" });
    assert_eq!(world.buys("POST", "/a2a/status", unknown).await.status, 404);
    assert_eq!(
        world.buys("POST", "/a2a/pay", world.supplied("supplier.example", "t1", 1)).await.status,
        200
    );
    let foreign = json!({ "msg": "StatusQuery", "txn_id": "t1" });
    assert_eq!(world.sells("POST", "/a2a/status", foreign).await.status, 404);
    assert_eq!(world.truth("charge").await.len(), 1);
}

#[tokio::test]
async fn the_older_calls_pay_every_time() {
    let world = World::start().await;
    let agent = world.info.paegents.buyer.agent_id.clone();
    let pay = |method: &str| {
        let body = json!({ "agent_id": agent, "amount": 1_000, "currency": "usd",
            "description": null, "payment_method": method, "recipient_account_id": "acct_acme" });
        world.buys("POST", "/mcp/payments", body)
    };
    let stripe = pay("stripe").await.json;
    let intent = &stripe["payment_intent"];
    assert_eq!(intent["status"], "succeeded", "{stripe}");
    assert!(intent["client_secret"].as_str().unwrap().starts_with(intent["id"].as_str().unwrap()));
    assert_eq!(stripe["receipt"]["amount"], 1_000);
    let braintree = pay("braintree").await.json;
    assert_eq!(braintree["payment"]["state"], "settled", "{braintree}");
    assert_eq!(braintree.get("payment_intent"), None);
    assert_eq!(pay("cash").await.detail(), (422, "payment_method".to_owned()));
    let again = pay("stripe").await.json;
    assert_ne!(again["payment_intent"]["id"], intent["id"]);
    let seller = world.info.paegents.seller.agent_id.clone();
    let body = json!({ "agent_id": agent, "recipient_id": seller, "amount": 500,
        "currency": "usd", "memo": null });
    let sent = world.buys("POST", "/a2a/payment", body.clone()).await.json;
    assert_eq!(sent["status"], "completed", "{sent}");
    assert_eq!(world.sells("POST", "/a2a/payment", body).await.status, 403, "another's agent_id");
    let lost = json!({ "agent_id": agent, "recipient_id": "agt_none", "amount": 500 });
    assert_eq!(world.buys("POST", "/a2a/payment", lost).await.status, 404);
    let charges = world.truth("charge").await;
    let payees: Vec<_> = charges.iter().map(|entry| entry["payee"].as_str().unwrap()).collect();
    assert_eq!(payees, ["acct_acme", "acct_acme", "acct_acme", &seller]);
    assert_eq!(charges[0]["reference"], intent["id"]);
    assert_eq!(charges[3]["reference"], sent["payment_id"]);

    let balance = world.buys("GET", &format!("/mcp/balance/{agent}"), Value::Null).await.json;
    assert_eq!(balance["daily_spent"], 3_500, "{balance}");
    assert_eq!(balance["daily_remaining"], 6_500);
    assert_eq!(balance["monthly_remaining"], 96_500);
    let foreign = world.sells("GET", &format!("/mcp/balance/{agent}"), Value::Null).await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn the_owner_sets_limits() {
    let world = World::start().await;
    let shown = world.owns("GET", "/spending/limits", Value::Null).await.json;
    assert_eq!((&shown["daily_limit"], &shown["monthly_limit"]), (&json!(10_000), &json!(100_000)));
    assert_eq!(world.buys("GET", "/spending/limits", Value::Null).await.status, 401);
    let body = json!({ "daily_limit": 200.0, "monthly_limit": 300 });
    assert_eq!(world.buys("PUT", "/spending/limits", body.clone()).await.status, 401);
    assert_eq!(world.owns("PUT", "/spending/limits", body).await.json["daily_limit"], 200);
    for wrong in [json!(-1), json!(1.5), json!("9")] {
        let body = json!({ "daily_limit": wrong, "monthly_limit": 1 });
        assert_eq!(world.owns("PUT", "/spending/limits", body).await.status, 422);
    }
    let pay = |txn: &str, cents| {
        world.buys("POST", "/a2a/pay", world.supplied("supplier.example", txn, cents))
    };
    assert_eq!(pay("t1", 200).await.status, 200);
    let (status, detail) = pay("t2", 1).await.detail();
    assert!(status == 403 && detail.contains("the owner's daily limit of 200"), "{detail}");
    world.pass(86_400_000);
    assert_eq!(pay("t2", 100).await.status, 200);
    let (_, detail) = pay("t3", 1).await.detail();
    assert!(detail.contains("monthly limit of 300"), "{detail}");
    // The agent may read its policy, its owner alone may change it.
    let path = world.mine("policies");
    let policy = world.buys("GET", &path, Value::Null).await.json;
    assert_eq!(policy["approvals"]["threshold_cents"], 2_000);
    assert_eq!(world.buys("PUT", &path, policy.clone()).await.status, 401);
    assert_eq!(world.owns("PUT", &path, policy).await.status, 200);
    for wrong in [
        json!({ "rails": { "allowed": "card" } }),
        json!({ "approvals": { "threshold_cents": -1 } }),
        json!([]),
    ] {
        assert_eq!(world.owns("PUT", &path, wrong).await.status, 422);
    }
    let foreign = format!("/agents/{}/policies", world.info.paegents.seller.agent_id);
    assert_eq!(world.owns("GET", &foreign, Value::Null).await.status, 403);
    assert_eq!(world.owns("PUT", &foreign, json!({})).await.status, 403);
}

#[tokio::test]
async fn recipients_and_requirements_are_found() {
    let world = World::start().await;
    let search = |query: &str| {
        let path = format!("/mcp/search-recipients?{query}");
        async {
            let path = path;
            world.buys("POST", &path, Value::Null).await
        }
    };
    let found = search("query=acme+paper&payment_method=all").await.json;
    assert_eq!((&found["query"], &found["total_found"]), (&json!("acme paper"), &json!(1)));
    assert_eq!(found["results"][0]["account_id"], "acct_paper");
    assert_eq!(search("query=acme&payment_method=stripe").await.json["total_found"], 1);
    assert_eq!(search("query=zzz").await.json["results"], json!([]));
    assert_eq!(search("payment_method=all").await.status, 422);
    let stranger = ("POST", "/mcp/search-recipients?query=a");
    assert_eq!(world.paegents(stranger, "sk_nobody", Value::Null, &[]).await.status, 401);

    let requires = |query: &str| {
        let path = format!("/payment-requirements?{query}");
        async {
            let path = path;
            world.buys("GET", &path, Value::Null).await
        }
    };
    let due = requires("amount_cents=2500&rail=stablecoin").await.json;
    assert_eq!(due["infra_fee_amount_atomic"], 503_000, "{due}");
    assert_eq!(due["service_amount_atomic"], 25_000_000);
    assert_eq!(due["gas_wallet_address"], json!(world.info.chain.gas_wallet.wallet));
    assert_eq!(due["chain_id"], 84_532);
    assert_eq!(requires("rail=stablecoin").await.status, 422);
    assert_eq!(requires("amount_cents=0").await.status, 422);
    assert_eq!(requires("amount_cents=1&rail=gold").await.status, 422);
    let health = world.paegents(("GET", "/health"), "", Value::Null, &[]).await;
    assert_eq!(health.json["status"], "ok");
}
