//! Paegents' requests around payments: mandates, suppliers, direct purchases, the older ones.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Known, hold, know, read_fixtures, text};
use crate::{
    paegents_direct::purchase,
    paegents_pay::{name_payee, seller},
    paegents_suppliers::{to_agent, to_business, to_supplier},
    world::World,
};

/// What these requests go to; an agreement that is asked about belongs to another part.
const PATHS: [&str; 5] = ["/ap2/", "/a2a/", "/mcp/", "/payment-requirements", "/receipts/"];

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

fn know_cart(known: &mut Known, cart: &Value) {
    know(known, "intent_mandate_id", text(&cart["intent_mandate_id"]));
    know(known, "cart_mandate_id", text(&cart["cart_mandate_id"]));
}

/// Makes mandates, and pays carts by every rail.
async fn pays_carts(world: &World, known: &mut Known) {
    let whole = json!({ "max_amount_usd": "25", "expires_at": "2099-01-31T00:00:00Z",
        "constraints": { "merchant": "\"acme\" & co" } });
    let intent = done(world, "paegents_create_intent_mandate", whole).await;
    let intent = &intent["intent_mandate_id"];
    know(known, "intent_mandate_id", text(intent));
    done(world, "paegents_create_intent_mandate", json!({ "max_amount_usd": "25" })).await;
    let items = json!({ "intent_mandate_id": intent, "total_usd": "2.50",
        "items": [{ "name": "Logo \"two\"" }] });
    let with_items = done(world, "paegents_create_cart_mandate", items).await;
    know_cart(known, &with_items);
    let digest = json!({ "intent_mandate_id": intent, "payee": "shop",
        "cart_mandate_id": with_items["cart_mandate_id"] });
    done(world, "paegents_get_signing_digest", digest).await;
    let plain = json!({ "intent_mandate_id": intent, "total_usd": "2.50" });
    for (rail, more) in [
        ("card", json!({ "payment_reference": "pm_1" })),
        ("braintree", json!({})),
        ("stablecoin", json!({ "payee": "shop" })),
    ] {
        let mut fresh = plain.clone();
        fresh["again"] = json!(true);
        let made = done(world, "paegents_create_cart_mandate", fresh).await;
        know_cart(known, &made);
        let mut args = made["next"][0]["arguments"].clone();
        args["rail"] = json!(rail);
        for (name, value) in more.as_object().unwrap() {
            args[name] = value.clone();
        }
        let paid = done(world, "paegents_pay_mandate", args).await;
        know(known, "receipt_id", text(&paid["receipt_id"]));
        done(world, "paegents_verify_receipt", json!({ "receipt_id": paid["receipt_id"] })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_page() {
    let world = World::start().await;
    let mut known = Known::new();
    let info = world.sandbox.info().paegents;
    know(&mut known, "api_key", info.buyer.api_key.as_str());
    know(&mut known, "agent_id", info.buyer.agent_id.as_str());
    know(&mut known, "wallet", info.buyer.wallet.to_lowercase());
    know(&mut known, "payee", seller(&world).wallet.to_lowercase());
    know(&mut known, "payee", seller(&world).wallet);
    know(&mut known, "seller_agent_id", seller(&world).agent_id);
    name_payee(&world, "shop", &seller(&world).wallet).await;
    pays_carts(&world, &mut known).await;
    let mut company = to_supplier("supplier.example");
    company["company_name"] = json!("Company \"Ltd\"");
    for args in [company, to_supplier("slow.example")] {
        let paid = world.call("paegents_pay_supplier", args).await;
        let paid = world.finish(paid).await.unwrap();
        know(&mut known, "txn_id", text(&paid["txn_id"]));
    }
    let search = json!({ "query": "acme & \"co\"" });
    done(&world, "paegents_search_recipients", search).await;
    done(&world, "paegents_get_balance", json!({})).await;
    done(&world, "paegents_get_payment_requirements", json!({ "amount_usd": "2.50" })).await;
    done(&world, "paegents_create_payment", to_business()).await;
    let named = json!({ "amount_usd": "1.75", "payment_method": "braintree", "max_total_usd": "2",
        "recipient_business_name": "Acme \"Paper\"" });
    done(&world, "paegents_create_payment", named).await;
    done(&world, "paegents_create_a2a_payment", to_agent(&world)).await;
    let direct = purchase(&world, "auto").await;
    know(&mut known, "service_id", text(&direct["service_id"]));
    know(&mut known, "seller_agent_id", text(&direct["seller_agent_id"]));
    let bought = world.call("paegents_buy_direct", direct).await;
    world.finish(bought).await.unwrap();

    let mut requests = world.requests().await;
    requests.retain(|request| {
        let (path, body) = (request["path"].as_str().unwrap(), request["body"].as_str());
        let is_direct = path == "/usage-agreements/"
            && body.is_some_and(|body| body.contains("direct_payment"));
        let is_ours = is_direct || PATHS.iter().any(|start| path.starts_with(start));
        request["marketplace"] == "paegents" && is_ours
    });
    let mut fixtures = read_fixtures("paegents");
    fixtures.retain(|name, fixture| {
        let path = fixture["path"].as_str().unwrap();
        let is_direct = name == "create_usage_agreement_direct";
        is_direct || PATHS.iter().any(|start| path.starts_with(start))
    });
    let met = hold(&fixtures, &requests, &known);
    let names: BTreeSet<String> = fixtures.keys().cloned().collect();
    assert_eq!(met, names, "a fixture was not met");
    // The key goes into its two headers, into the one body that takes it, and nowhere else.
    for mut request in requests.into_iter().filter(|request| request["path"] != "/a2a/pay") {
        let headers = request["headers"].as_object_mut().unwrap();
        for name in ["authorization", "x-api-key"] {
            headers.remove(name);
        }
        assert!(!request.to_string().contains(&info.buyer.api_key), "{request}");
    }
    world.audit().await;
}
