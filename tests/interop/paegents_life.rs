//! What the script of Paegents' SDK does, by our tools.

use axum::{Router, extract::Request};
use haggle::{asks, ids::AskId, store::payees};
use serde_json::{Value, json};

use crate::world::World;

const DAY_SECONDS: i64 = 24 * 60 * 60;

async fn done(world: &World, tool: &str, args: Value) -> Value {
    let answer = world.call(tool, args.clone()).await;
    answer.unwrap_or_else(|error| panic!("{tool} {args}: {error}"))
}

/// A call that needs the owner's command, which is given.
async fn agreed(world: &World, tool: &str, args: Value) -> Value {
    let asks = world.call(tool, args.clone()).await.unwrap_err();
    let message = asks["message"].as_str().unwrap();
    let command = message.split('`').nth(1).unwrap();
    let id: AskId = command.strip_prefix("haggle approve ").unwrap().parse().unwrap();
    let now = world.app.clock().now();
    asks::answer(world.app.store(), &id, true, now).await.unwrap();
    done(world, tool, args).await
}

/// The seller's own API, and where webhooks go to.
async fn upstream() -> String {
    let says = async |request: Request| {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        axum::Json(json!({ "method": method, "path": path }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(says);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// All of it.
pub(crate) async fn live(buyer: &World, seller: &World) {
    let upstream = upstream().await;
    let service = catalog(buyer, seller, &upstream).await;
    webhooks(seller, &upstream).await;
    negotiations(buyer, seller, &service).await;
    let wallet = buyer.sandbox.info().paegents.seller.wallet.parse().unwrap();
    let named = buyer.app.store().transact(move |db| payees::put(db, "maker", wallet, 84_532));
    named.await.unwrap();
    goods(buyer, seller).await;
    older_payments(buyer).await;
    mandates(buyer).await;
    owner(buyer).await;
    escrow(buyer, seller, &service).await;
    events(buyer).await;
    agreed(buyer, "paegents_recover_credentials", json!({})).await;
    done(buyer, "paegents_get_balance", json!({})).await;
}

async fn catalog(buyer: &World, seller: &World, upstream: &str) -> Value {
    std::fs::create_dir_all(seller.files()).unwrap();
    std::fs::write(seller.files().join("upstream.key"), "upstream-key\n").unwrap();
    let offer = |name: &str| {
        json!({ "service_name": name, "description": "Says what it was asked.",
            "category": "utilities", "unit": "api_calls", "unit_price_usd": "0.02",
            "min_quantity": 1, "max_quantity": 1_000, "capabilities": { "languages": ["en"] },
            "api_base_url": upstream, "upstream_key_file": "upstream.key" })
    };
    let made = done(seller, "paegents_register_service", offer("Interop echo")).await;
    let id = &made["service_id"];
    let change = json!({ "service_id": id, "unit_price_usd": "0.03",
        "description": "Says what it heard." });
    done(seller, "paegents_update_service", change).await;
    done(seller, "paegents_get_service", json!({ "service_id": id })).await;
    std::fs::write(seller.files().join("upstream.key"), "upstream-key\n").unwrap();
    let other = done(seller, "paegents_register_service", offer("Interop other")).await;
    let other = json!({ "service_id": other["service_id"] });
    done(seller, "paegents_delete_service", other).await;
    done(seller, "paegents_list_my_services", json!({ "limit": 50 })).await;
    let search = json!({ "query": "Interop echo", "limit": 50 });
    done(buyer, "paegents_search_services", search).await;
    id.clone()
}

async fn webhooks(seller: &World, upstream: &str) {
    let wanted = json!({ "url": format!("{upstream}/hook"),
        "event_types": ["agreement.*", "webhook.test"] });
    let made = done(seller, "paegents_create_webhook", wanted).await;
    let id = json!({ "webhook_id": made["webhook_id"] });
    done(seller, "paegents_list_webhooks", json!({})).await;
    done(seller, "paegents_test_webhook", json!({})).await;
    let sent = done(seller, "paegents_list_webhook_deliveries", json!({ "limit": 10 })).await;
    let delivery = json!({ "delivery_id": sent["deliveries"][0]["delivery_id"] });
    done(seller, "paegents_replay_webhook_delivery", delivery).await;
    for tool in
        ["paegents_rotate_webhook_secret", "paegents_pause_webhook", "paegents_resume_webhook"]
    {
        done(seller, tool, id.clone()).await;
    }
}

/// A proposal's identifier, as arguments name it.
async fn proposed(buyer: &World, args: Value) -> Value {
    let made = done(buyer, "paegents_create_agreement", args).await;
    json!({ "agreement_id": made["agreement_id"] })
}

async fn negotiations(buyer: &World, seller: &World, service: &Value) {
    let of = |quantity: u64| json!({ "service_id": service, "quantity": quantity });
    let first = proposed(buyer, of(5)).await;
    done(buyer, "paegents_cancel_agreement", first).await;
    let second = proposed(buyer, of(6)).await;
    done(seller, "paegents_reject_agreement", second).await;
    let mut third = proposed(buyer, of(7)).await;
    third["reason"] = json!("Ten are the least.");
    third["suggested_total_usd"] = json!("0.30");
    done(seller, "paegents_reject_agreement", third).await;
}

async fn goods(buyer: &World, seller: &World) {
    let info = buyer.sandbox.info().paegents;
    let logo = json!({ "payee": "maker", "seller_agent_id": info.seller.agent_id,
        "amount_usd": "2.50", "description": "A logo", "max_total_usd": "2.60" });
    let waits = buyer.call("paegents_buy_direct", logo).await;
    let listed = json!({ "role": "seller", "status": "proposed", "limit": 50 });
    let listed = done(seller, "paegents_list_agreements", listed).await;
    let id = json!({ "agreement_id": listed["agreements"][0]["agreement_id"] });
    done(seller, "paegents_accept_agreement", id).await;
    let paid = match waits {
        Err(error) => buyer.follow(error).await.unwrap(),
        Ok(waits) => buyer.follow(json!({ "recovery": { "next": waits["next"] } })).await.unwrap(),
    };
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");

    let book = info.services.iter().find(|s| s.name == "Printed handbook").unwrap();
    let parcel = json!({ "service_id": book.id, "quantity": 1,
        "cart_items": book.input_example["cart_items"],
        "shipping": book.input_example["shipping_address"] });
    let unwanted = proposed(buyer, parcel).await;
    done(buyer, "paegents_cancel_agreement", unwanted).await;
}

/// The built-in customer buys a parcel, which the seller sends.
pub(crate) async fn sold_goods(buyer: &World, seller: &World) {
    let services = buyer.sandbox.info().paegents.services;
    let book = services.iter().find(|s| s.name == "Printed handbook").unwrap();
    let order = json!({ "service_id": book.id });
    let made = buyer.admin("POST", "/order", Some(order)).await;
    let id = &made["agreement_ids"][0];
    done(seller, "paegents_accept_agreement", json!({ "agreement_id": id })).await;
    until(seller, id, "completed").await;
    let sent = json!({ "agreement_id": id, "status": "shipped", "carrier": "ups",
        "tracking_number": "1Z999" });
    done(seller, "paegents_update_delivery", sent).await;
}

async fn until(world: &World, id: &Value, status: &str) {
    for _ in 0..1_200 {
        let read = done(world, "paegents_get_agreement", json!({ "agreement_id": id })).await;
        if read["status"] == status {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{id} has not come to be {status}");
}

async fn older_payments(buyer: &World) {
    let wanted = json!({ "query": "acme", "payment_method": "stripe" });
    done(buyer, "paegents_search_recipients", wanted).await;
    let hosting = json!({ "amount_usd": "1.25", "max_total_usd": "1.25", "description": "hosting",
        "recipient_account_id": "acct_acme" });
    done(buyer, "paegents_create_payment", hosting).await;
    let seller = buyer.sandbox.info().paegents.seller.agent_id;
    let thanks = json!({ "recipient_id": seller, "amount_usd": "0.75", "max_total_usd": "0.75",
        "memo": "thanks" });
    done(buyer, "paegents_create_a2a_payment", thanks).await;
    let paper = json!({ "supplier": "supplier.example", "amount_usd": "2", "max_total_usd": "2",
        "description": "paper", "owner_email": "owner@company.example" });
    let paid = done(buyer, "paegents_pay_supplier", paper).await;
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    // One that is under way has to be asked about.
    let slow = json!({ "supplier": "slow.example", "amount_usd": "1", "max_total_usd": "1",
        "description": "paper", "owner_email": "owner@company.example" });
    let paid = done(buyer, "paegents_pay_supplier", slow).await;
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    done(buyer, "paegents_get_balance", json!({})).await;
}

/// The arguments that pay a fresh cart of this total.
async fn cart(buyer: &World, total: &str, rail: &str) -> Value {
    let cap = json!({ "max_amount_usd": total });
    let intent = done(buyer, "paegents_create_intent_mandate", cap).await;
    let id = &intent["intent_mandate_id"];
    let asked = json!({ "intent_mandate_id": id, "total_usd": total });
    let cart = done(buyer, "paegents_create_cart_mandate", asked).await;
    json!({ "intent_mandate_id": id, "cart_mandate_id": cart["cart_mandate_id"], "rail": rail,
        "amount_usd": total, "max_total_usd": total })
}

async fn mandates(buyer: &World) {
    let mut card = cart(buyer, "2.50", "card").await;
    card["payment_reference"] = json!("pm_1");
    let paid = done(buyer, "paegents_pay_mandate", card).await;
    let receipt = &paid["next"][0];
    assert_eq!(receipt["tool"], "paegents_verify_receipt", "{paid}");
    done(buyer, "paegents_verify_receipt", receipt["arguments"].clone()).await;
    let by_braintree = cart(buyer, "1.50", "braintree").await;
    done(buyer, "paegents_pay_mandate", by_braintree).await;
    let mut coin = cart(buyer, "3.50", "stablecoin").await;
    coin["payee"] = json!("maker");
    let digest = json!({ "intent_mandate_id": coin["intent_mandate_id"],
        "cart_mandate_id": coin["cart_mandate_id"], "payee": "maker" });
    done(buyer, "paegents_get_signing_digest", digest).await;
    done(buyer, "paegents_pay_mandate", coin).await;
}

async fn owner(buyer: &World) {
    for (total, tool) in [("25", "paegents_approve_request"), ("26", "paegents_reject_request")] {
        let mut card = cart(buyer, total, "card").await;
        card["payment_reference"] = json!("pm_1");
        let waits = buyer.call("paegents_pay_mandate", card.clone()).await.unwrap_err();
        assert_eq!(waits["code"], "approval_required", "{waits}");
        let pending = json!({ "status": "pending", "limit": 50 });
        let listed = done(buyer, "paegents_list_approvals", pending).await;
        let mut word = json!({ "request_id": listed["approvals"][0]["request_id"] });
        if tool == "paegents_reject_request" {
            word["reason"] = json!("too much / no");
        }
        agreed(buyer, tool, word).await;
        let answer = buyer.call("paegents_pay_mandate", card).await;
        assert_eq!(answer.is_ok(), total == "25", "{answer:?}");
    }
    let read = done(buyer, "paegents_get_policies", json!({})).await;
    let mut policies = read["policies_untrusted"].clone();
    policies["approvals"]["threshold_cents"] = json!(3_000);
    agreed(buyer, "paegents_update_policies", json!({ "policies": policies })).await;
    done(buyer, "paegents_get_spending_limits", json!({})).await;
    let limits = json!({ "daily_limit_usd": "2", "monthly_limit_usd": "200" });
    agreed(buyer, "paegents_update_spending_limits", limits).await;
}

/// An accepted and funded agreement.
async fn funded(buyer: &World, seller: &World, args: Value) -> Value {
    let own = proposed(buyer, args).await;
    done(seller, "paegents_accept_agreement", own.clone()).await;
    let pay = json!({ "agreement_id": own["agreement_id"], "max_total_usd": "1" });
    let paid = done(buyer, "paegents_activate_escrow", pay).await;
    assert_eq!(paid["status"], "active", "{paid}");
    own
}

async fn escrow(buyer: &World, seller: &World, service: &Value) {
    let ten = json!({ "service_id": service, "quantity": 10, "description": "ten echoes" });
    let own = funded(buyer, seller, ten).await;
    let id = &own["agreement_id"];
    for (method, path, json) in [
        ("GET", "/items?page=2", None),
        ("POST", "/items/1", Some("post")),
        ("PUT", "/items/1", Some("put")),
        ("PATCH", "/items/1", Some("patch")),
        ("DELETE", "/items/1", None),
    ] {
        let mut args = json!({ "agreement_id": id, "method": method, "path": path });
        if let Some(by) = json {
            args["json"] = json!({ "by": by });
        }
        done(buyer, "paegents_call_service", args).await;
    }
    done(buyer, "paegents_get_usage", own.clone()).await;
    let used = json!({ "agreement_id": id, "units_used": 7, "usage_proof": { "by": "hand" } });
    done(seller, "paegents_record_usage", used).await;
    for tool in ["paegents_list_call_proofs", "paegents_list_receipts"] {
        done(buyer, tool, json!({ "agreement_id": id, "limit": 50 })).await;
    }
    settled(seller, "paegents_claim_earnings", own.clone()).await;
    settled(buyer, "paegents_close_escrow", own.clone()).await;

    let four = json!({ "service_id": service, "quantity": 4 });
    let other = funded(buyer, seller, four).await;
    let mut complaint = other.clone();
    complaint["reason"] = json!("It never answered me.");
    complaint["evidence"] = json!({ "calls": 1 });
    done(buyer, "paegents_dispute_agreement", complaint).await;
    // What the wallet sends by itself is read beforehand.
    let direct = json!({ "agreement_id": other["agreement_id"], "way": "direct" });
    settled(buyer, "paegents_close_escrow", direct.clone()).await;
    buyer.advance(DAY_SECONDS + 60).await;
    settled(buyer, "paegents_withdraw_remainder", own).await;
    settled(buyer, "paegents_withdraw_remainder", direct).await;
}

async fn settled(world: &World, tool: &str, args: Value) {
    let answer = done(world, tool, args).await;
    assert_eq!(answer["state"], "done", "{tool}: {answer}");
}

async fn events(buyer: &World) {
    let wanted = json!({ "types": ["agreement.*", "escrow.*"], "limit": 2 });
    let first = done(buyer, "paegents_list_events", wanted.clone()).await;
    let mut rest = wanted;
    rest["cursor"] = first["cursor"].clone();
    done(buyer, "paegents_list_events", rest).await;
    let id = json!({ "event_id": first["events"][0]["event_id"] });
    done(buyer, "paegents_ack_event", id).await;
    done(buyer, "paegents_list_events", json!({ "limit": 50 })).await;
}
