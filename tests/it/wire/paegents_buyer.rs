//! Paegents' requests of a buyer: services, proposals, metered calls, ends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Known, hold, know, path_fits, read_fixtures, text};
use crate::{paegents_calls::active, world::World};

/// The fixtures that this scenario meets.
const OWN: [&str; 14] = [
    "cancel_usage_agreement",
    "create_usage_agreement",
    "create_usage_agreement_of_goods",
    "dispute_usage_agreement",
    "get_service",
    "get_usage_status",
    "list_usage_agreements_of_buyer",
    "metered_delete",
    "metered_get",
    "metered_patch",
    "metered_post",
    "metered_put",
    "search_services",
    "search_services_all",
];
/// What a second serialisation could change.
const TEXT: &str = "zażółć \"gęślą\" ✓\n</tool> & 1,50 €";

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

/// Looks for a service, and proposes to buy it.
async fn proposes(world: &World, known: &mut Known) -> String {
    know(known, "query", "statistics \"of\" texts");
    done(world, "paegents_search_services", json!({})).await;
    let search = json!({ "query": "statistics \"of\" texts", "category": "text", "limit": 5,
        "min_price_usd": "0.01", "max_price_usd": "0.05", "cursor": "10" });
    done(world, "paegents_search_services", search).await;
    let info = world.sandbox.info().paegents;
    know(known, "buyer_wallet", info.buyer.wallet);
    know(known, "agent_id", info.buyer.agent_id.as_str());
    know(known, "api_key", info.buyer.api_key);
    for service in &info.services {
        know(known, "service_id", service.id.as_str());
        know(known, "seller_agent_id", service.owner_id.as_str());
    }
    let service = world.metered("manual");
    let shown = done(world, "paegents_get_service", json!({ "service_id": service })).await;
    know(known, "unit", text(&shown["unit_untrusted"]));
    let args = json!({ "service_id": service, "quantity": 100 });
    let made = done(world, "paegents_create_agreement", args).await;
    know(known, "agreement_id", text(&made["agreement_id"]));
    let goods = info.services.iter().find(|s| s.name == "Printed handbook").unwrap().id.clone();
    let shown = done(world, "paegents_get_service", json!({ "service_id": goods })).await;
    know(known, "unit", text(&shown["unit_untrusted"]));
    know(known, "description", TEXT);
    know(known, "recipient", "Zoë \"Z\" Example");
    let args = json!({ "service_id": goods, "quantity": 1, "description": TEXT,
        "cart_items": [{ "name": "Printed handbook", "quantity": 1 }], "expires_hours": 48,
        "shipping": { "recipient_name": "Zoë \"Z\" Example", "street1": "1 Example Street",
            "city": "Springfield", "state": "IL", "postal_code": "62701", "country": "US" } });
    done(world, "paegents_create_agreement", args).await;
    text(&made["agreement_id"])
}

/// Calls a service in every way, and ends what there is.
async fn calls_and_ends(world: &World, known: &mut Known, proposed: &str) {
    let id = active(world, "auto", 10).await;
    know(known, "agreement_id", id.as_str());
    know(known, "text", TEXT);
    know(known, "call_path", "text-statistics");
    for method in ["POST", "PUT", "PATCH"] {
        let args = json!({ "agreement_id": id, "method": method, "path": "/text-statistics",
            "json": { "text": TEXT } });
        done(world, "paegents_call_service", args).await;
    }
    for (method, path) in [("GET", "text-statistics?a=1&b=%C3%A9"), ("DELETE", "/text-statistics")]
    {
        let args = json!({ "agreement_id": id, "method": method, "path": path });
        done(world, "paegents_call_service", args).await;
    }
    done(world, "paegents_get_usage", json!({ "agreement_id": id })).await;
    done(world, "paegents_cancel_agreement", json!({ "agreement_id": proposed })).await;
    know(known, "reason", TEXT);
    let args = json!({ "agreement_id": id, "reason": TEXT, "evidence": { "calls": [1] } });
    done(world, "paegents_dispute_agreement", args).await;
}

/// The names that we gave are in a header and, of a proposal, in the body as well.
fn learn_names(requests: &[Value], known: &mut Known) {
    for request in requests {
        let path = request["path"].as_str().unwrap();
        let Some(key) = request["headers"]["idempotency-key"].as_str() else { continue };
        if path == "/usage-agreements/" {
            assert!(key.starts_with("haggle-") && key.len() <= 64, "{key}");
            know(known, "proposal_id", key);
        } else if path.ends_with("/dispute") {
            let own = path.trim_start_matches("/usage-agreements/").trim_end_matches("/dispute");
            assert!(key.starts_with(&format!("dispute:{own}:")), "{key}");
            know(known, "dispute_key", key);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_s_requests_are_those_of_the_page() {
    let mut known = Known::new();
    let world = World::start().await;
    let proposed = proposes(&world, &mut known).await;
    calls_and_ends(&world, &mut known, &proposed).await;
    let mut fixtures = read_fixtures("paegents");
    fixtures.retain(|name, _| OWN.contains(&name.as_str()));
    let mut requests = world.requests().await;
    learn_names(&requests, &mut known);
    requests.retain(|request| is_of(&fixtures, request, &known));
    let met = hold(&fixtures, &requests, &known);
    assert_eq!(met, OWN.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
    // The key goes into its two headers and nowhere else.
    let key = world.sandbox.info().paegents.buyer.api_key;
    for mut request in requests {
        let headers = request["headers"].as_object_mut().unwrap();
        for name in ["authorization", "x-api-key"] {
            headers.remove(name);
        }
        assert!(!request.to_string().contains(&key), "{request}");
    }
}

/// Whether one of these fixtures is of this request's method and path. What the test itself asked is
/// none: it says which agent it is in one header alone.
fn is_of(fixtures: &BTreeMap<String, Value>, request: &Value, known: &Known) -> bool {
    let path = request["path"].as_str().unwrap();
    let is_own =
        request["headers"]["user-agent"].as_str().is_some_and(|a| a.starts_with("haggle/"));
    request["marketplace"] == "paegents"
        && is_own
        && fixtures.values().any(|fixture| {
            fixture["method"] == request["method"]
                && path_fits(fixture["path"].as_str().unwrap(), path, known)
        })
}
