//! Paegents' requests: of a seller, its webhooks and its events.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};

use super::{Known, hold, know, read_fixtures, text};
use crate::{
    paegents_sell::{comes_to, proposed},
    world::World,
};

/// The fixtures of these requests; the others belong to other parts.
const OWN: &[&str] = &[
    "accept_usage_agreement",
    "ack_agent_event",
    "create_webhook",
    "delete_service",
    "delete_webhook",
    "get_service",
    "get_usage_agreement",
    "list_agent_events",
    "list_agent_events_of_types",
    "list_my_services",
    "list_usage_agreements",
    "list_usage_agreements_by_role",
    "list_webhook_deliveries",
    "list_webhook_deliveries_by_status",
    "list_webhooks",
    "pause_webhook",
    "record_usage",
    "record_usage_completed",
    "register_service",
    "register_service_plain",
    "reject_usage_agreement",
    "reject_usage_agreement_with_suggestions",
    "replay_webhook_delivery",
    "resume_webhook",
    "rotate_webhook_secret",
    "send_test_webhook",
    "update_delivery",
    "update_delivery_status",
    "update_service",
];

const UPSTREAM_URL: &str = "http://127.0.0.1:9/v1";
const UPSTREAM_KEY: &str = "Bearer upstream-\"quoted\"";
/// Where webhooks go: nobody is there.
const HOOK_URL: &str = "http://127.0.0.1:9/hook?a=1&b=\"2\"";

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

/// Offers services, changes one, takes it off.
async fn offers(seller: &World, known: &mut Known) {
    fs::create_dir_all(seller.files()).unwrap();
    fs::write(seller.files().join("upstream.key"), format!("{UPSTREAM_KEY}\n")).unwrap();
    know(known, "upstream_url", UPSTREAM_URL);
    know(known, "upstream_key", UPSTREAM_KEY);
    for name in ["Price list \"new\"", "Newsletter"] {
        know(known, "service_name", name);
    }
    let whole = json!({ "service_name": "Price list \"new\"", "description": "What it costs.",
        "category": "data", "unit": "api_calls", "unit_price_usd": "0.25", "min_quantity": 2,
        "max_quantity": 1_000, "capabilities": { "languages": ["en", "pl"] },
        "api_base_url": UPSTREAM_URL, "upstream_key_file": "upstream.key", "upstream_header": "Authorization" });
    let made = done(seller, "paegents_register_service", whole).await;
    know(known, "service_id", text(&made["service_id"]));
    let plain = json!({ "service_name": "Newsletter", "description": "Once a month.",
        "category": "data", "unit": "months", "unit_price_usd": "1",
        "price_model": "subscription" });
    done(seller, "paegents_register_service", plain).await;
    let change = json!({ "service_id": made["service_id"], "description": "What it costs today.",
        "unit_price_usd": "0.3", "max_quantity": 500, "metadata": { "version": "1" } });
    done(seller, "paegents_update_service", change).await;
    done(seller, "paegents_list_my_services", json!({ "limit": 5 })).await;
    let id = json!({ "service_id": made["service_id"] });
    done(seller, "paegents_delete_service", id).await;
}

/// Answers proposals, records usage, sends goods.
async fn sells(seller: &World, known: &mut Known) {
    let mut ids = proposed(seller, "Expert memo", 3).await;
    ids.extend(proposed(seller, "Printed handbook", 1).await);
    for id in &ids {
        know(known, "agreement_id", id.as_str());
    }
    know(known, "agreement_role", "seller");
    know(known, "agreement_status", "proposed");
    done(seller, "paegents_list_agreements", json!({})).await;
    let asked = json!({ "role": "seller", "status": "proposed", "limit": 7 });
    done(seller, "paegents_list_agreements", asked).await;
    for id in [&ids[0], &ids[3]] {
        done(seller, "paegents_accept_agreement", json!({ "agreement_id": id })).await;
    }
    done(seller, "paegents_reject_agreement", json!({ "agreement_id": ids[1] })).await;
    know(known, "reason", "At most \"five\" memos");
    let instead = json!({ "agreement_id": ids[2], "reason": "At most \"five\" memos",
        "suggested_items": [{ "name": "Memo", "quantity": 5 }], "suggested_total_usd": "12.50" });
    done(seller, "paegents_reject_agreement", instead).await;

    comes_to(seller, &ids[0], "active").await;
    let usage = json!({ "agreement_id": ids[0], "units_used": 3,
        "usage_proof": { "log": "three memos" } });
    done(seller, "paegents_record_usage", usage).await;
    let last = json!({ "agreement_id": ids[0], "units_used": 4, "completed": true });
    done(seller, "paegents_record_usage", last).await;

    comes_to(seller, &ids[3], "completed").await;
    let shipped = json!({ "agreement_id": ids[3], "status": "shipped", "carrier": "ups",
        "tracking_number": "1Z999AA10123456784", "estimated_delivery": "2026-12-24",
        "notes": "To be \"signed\"" });
    done(seller, "paegents_update_delivery", shipped).await;
    let moving = json!({ "agreement_id": ids[3], "status": "in_transit" });
    done(seller, "paegents_update_delivery", moving).await;
}

/// A webhook from its beginning to its end.
async fn subscribes(seller: &World, known: &mut Known) {
    know(known, "hook_url", HOOK_URL);
    know(known, "event_type", "escrow.close_initiated");
    let types = json!(["agreement.*", "escrow.close_initiated"]);
    let create = json!({ "url": HOOK_URL, "event_types": types });
    let made = done(seller, "paegents_create_webhook", create).await;
    let id = json!({ "webhook_id": made["webhook_id"] });
    know(known, "webhook_id", text(&made["webhook_id"]));
    done(seller, "paegents_test_webhook", json!({})).await;
    let sent = loop {
        let sent = done(seller, "paegents_list_webhook_deliveries", json!({})).await;
        if sent["deliveries"].get(0).is_some() {
            break sent;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let delivery = &sent["deliveries"][0]["delivery_id"];
    know(known, "delivery_id", text(delivery));
    let again = json!({ "delivery_id": delivery });
    done(seller, "paegents_replay_webhook_delivery", again).await;
    let delivered = json!({ "status": "delivered", "limit": 3 });
    done(seller, "paegents_list_webhook_deliveries", delivered).await;
    for tool in [
        "paegents_rotate_webhook_secret",
        "paegents_pause_webhook",
        "paegents_resume_webhook",
        "paegents_delete_webhook",
    ] {
        done(seller, tool, id.clone()).await;
    }
    done(seller, "paegents_list_webhooks", json!({})).await;
}

async fn hears(seller: &World, known: &mut Known) {
    let listed = done(seller, "paegents_list_events", json!({ "limit": 50 })).await;
    for event in listed["events"].as_array().unwrap() {
        know(known, "event_id", text(&event["event_id"]));
    }
    let first = &listed["events"][0]["event_id"];
    let some = json!({ "types": ["agreement.*", "escrow.close_initiated"], "cursor": first });
    done(seller, "paegents_list_events", some).await;
    done(seller, "paegents_ack_event", json!({ "event_id": first })).await;
}

/// The secret of a webhook goes out once, with it; it is whatever the body has.
fn learn_secret(requests: &[Value], known: &mut Known) {
    let made = requests.iter().find(|request| {
        request["method"] == "POST" && request["path"].as_str().unwrap().ends_with("/webhooks")
    });
    let body: Value = serde_json::from_str(made.unwrap()["body"].as_str().unwrap()).unwrap();
    let secret = text(&body["secret"]);
    assert!(secret.len() > 60 && secret.starts_with("whsec_"), "{secret}");
    know(known, "hook_secret", secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_page() {
    let mut known = Known::new();
    let seller = World::start().await.seller().await;
    let info = seller.sandbox.info().paegents;
    know(&mut known, "agent_id", info.seller.agent_id.as_str());
    know(&mut known, "api_key", info.seller.api_key.as_str());
    offers(&seller, &mut known).await;
    sells(&seller, &mut known).await;
    subscribes(&seller, &mut known).await;
    hears(&seller, &mut known).await;
    let mut requests = seller.requests().await;
    requests.retain(|request| request["marketplace"] == "paegents");
    learn_secret(&requests, &mut known);
    let mut fixtures = read_fixtures("paegents");
    fixtures.retain(|name, _| OWN.contains(&name.as_str()));
    let met = hold(&fixtures, &requests, &known);
    let names: BTreeSet<String> = OWN.iter().map(ToString::to_string).collect();
    assert_eq!(met, names, "a fixture was not met");
    // The key goes into its two headers and nowhere else.
    for mut request in requests {
        let headers = request["headers"].as_object_mut().unwrap();
        for name in ["authorization", "x-api-key"] {
            headers.remove(name);
        }
        assert!(!request.to_string().contains(&info.seller.api_key), "{request}");
    }
}
