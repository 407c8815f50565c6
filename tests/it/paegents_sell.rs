//! Selling on Paegents: the catalog, and what a seller does with the agreements that buyers propose.

use std::fs;

use serde_json::{Value, json};

use crate::{
    canaries::{Canaries, files},
    world::World,
};

/// What the seller's own server wants to see.
const UPSTREAM_KEY: &str = "Bearer canary-upstream-0123456789abcdef";

/// The process of the agent who sells what is answered by hand.
async fn seller() -> World {
    World::start().await.seller().await
}

/// A service that is answered by hand, by its name: its id.
fn manual(world: &World, name: &str) -> String {
    let services = world.sandbox.info().paegents.services;
    services.into_iter().find(|service| service.name == name).unwrap().id
}

/// Has the built-in buyer propose so many agreements on a service.
pub(crate) async fn proposed(world: &World, service: &str, count: usize) -> Vec<String> {
    let order = json!({ "service_id": manual(world, service), "count": count });
    let made = world.admin("POST", "/order", Some(order)).await;
    let ids = made["agreement_ids"].as_array().unwrap();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

/// Waits until an agreement has this status.
pub(crate) async fn comes_to(world: &World, id: &str, status: &str) {
    for _ in 0..1_200 {
        let now = done(world, "paegents_get_agreement", json!({ "agreement_id": id })).await;
        if now["status"] == status {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{id} has not come to be {status}");
}

/// An agreement on memos that is active.
async fn active(world: &World) -> String {
    let id = proposed(world, "Expert memo", 1).await.remove(0);
    done(world, "paegents_accept_agreement", json!({ "agreement_id": id })).await;
    comes_to(world, &id, "active").await;
    id
}

/// An agreement on goods that is paid.
async fn sold_goods(world: &World) -> String {
    let id = proposed(world, "Printed handbook", 1).await.remove(0);
    done(world, "paegents_accept_agreement", json!({ "agreement_id": id })).await;
    comes_to(world, &id, "completed").await;
    id
}

/// How many requests other than reads reached a path of Paegents.
async fn writes(world: &World, end: &str) -> usize {
    let is = |request: &&Value| {
        request["marketplace"] == "paegents"
            && request["method"] != "GET"
            && request["path"].as_str().unwrap().ends_with(end)
    };
    world.requests().await.iter().filter(is).count()
}

fn service() -> Value {
    json!({ "service_name": "Unit conversion", "description": "Converts units.",
        "category": "data", "unit": "api_calls", "unit_price_usd": "0.25" })
}

#[tokio::test]
async fn a_service_is_offered_changed_and_taken_off() {
    let world = seller().await;
    fs::create_dir_all(world.files()).unwrap();
    fs::write(world.files().join("upstream.key"), format!("{UPSTREAM_KEY}\n")).unwrap();
    let mut args = service();
    for (name, value) in [
        ("api_base_url", json!("http://127.0.0.1:9/v1")),
        ("upstream_key_file", json!("upstream.key")),
        ("upstream_header", json!("Authorization")),
        ("min_quantity", json!(10)),
        ("max_quantity", json!(1_000)),
        ("capabilities", json!({ "languages": ["en"] })),
    ] {
        args[name] = value;
    }
    let made = done(&world, "paegents_register_service", args).await;
    assert_eq!(made["unit_price_usd"], "0.25", "{made}");
    assert_eq!(made["is_metered"], true, "{made}");
    assert_eq!(made["next"][0]["tool"], "paegents_list_agreements");
    let id = json!({ "service_id": made["service_id"] });
    let sent = world.requests().await;
    let sent = sent.iter().find(|r| r["path"] == "/agents/services").unwrap();
    let body: Value = serde_json::from_str(sent["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["api_key"], UPSTREAM_KEY);
    assert_eq!(body["base_price_cents"], 25);

    let mut change = id.clone();
    change["unit_price_usd"] = json!("0.30");
    let changed = done(&world, "paegents_update_service", change).await;
    assert_eq!(changed["service"]["unit_price_usd"], "0.30", "{changed}");
    assert_eq!(changed["service"]["max_quantity"], 1_000, "what is left out stays");
    let listed = done(&world, "paegents_list_my_services", json!({ "limit": 50 })).await;
    let is_it = |s: &&Value| s["service_id"] == made["service_id"];
    let of_list = listed["services"].as_array().unwrap().iter().find(is_it).unwrap().clone();
    assert_eq!(of_list["min_quantity"], 10);

    for _ in 0..2 {
        let gone = done(&world, "paegents_delete_service", id.clone()).await;
        assert_eq!(gone["is_active"], false, "{gone}");
    }
    let listed_now = done(&world, "paegents_list_my_services", json!({ "limit": 50 })).await;
    assert!(!listed_now["services"].as_array().unwrap().iter().any(|s| is_it(&s)));
    let canaries = Canaries::new(&[("the upstream key", UPSTREAM_KEY)]);
    for answer in [&made, &changed, &listed, &of_list] {
        canaries.are_not_in("an answer", answer.to_string().as_bytes());
    }
    let mut written = Vec::new();
    files(&world.app.settings().data_dir, &mut written);
    for path in written.iter().filter(|path| !path.ends_with("upstream.key")) {
        canaries.are_not_in(&path.display().to_string(), &fs::read(path).unwrap());
    }
}

#[tokio::test]
async fn a_page_of_services_leads_to_the_next() {
    let world = seller().await;
    let all = done(&world, "paegents_list_my_services", json!({ "limit": 50 })).await;
    let ids = |page: &Value| -> Vec<String> {
        let services = page["services"].as_array().unwrap().iter();
        services.map(|s| s["service_id"].as_str().unwrap().to_owned()).collect()
    };
    let (mut found, mut cursor) = (Vec::new(), Value::Null);
    for _ in 0..10 {
        let mut args = json!({ "limit": 2 });
        if !cursor.is_null() {
            args["cursor"] = cursor;
        }
        let page = done(&world, "paegents_list_my_services", args).await;
        found.extend(ids(&page));
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(found, ids(&all));
    assert!(found.len() > 2);
}

/// What could be checked here never reaches Paegents.
#[tokio::test]
async fn an_unfit_offer_is_refused_and_nothing_is_sent() {
    let world = seller().await;
    fs::create_dir_all(world.files()).unwrap();
    fs::write(world.files().join("two-lines.key"), "a\nb").unwrap();
    let before = world.requests().await.len();
    #[rustfmt::skip]
    let rows = [
        // argument             value                                       named
        ("unit_price_usd",      json!("0.005"),                             "unit_price_usd"),
        ("min_quantity",        json!(0),                                   "min_quantity"),
        ("max_quantity",        json!(1_000_000_000_u64),                   "max_quantity"),
        ("service_name",        json!(" "),                                 "service_name"),
        ("description",         json!("a\u{7}b"),                           "description"),
        ("category",            json!("c".repeat(65)),                      "category"),
        ("capabilities",        json!({ "a": "x".repeat(17_000) }),         "capabilities"),
        ("api_base_url",        json!("http://seller.example/v1"),          "api_base_url"),
        ("api_base_url",        json!("https://10.1.2.3/v1"),               "api_base_url"),
        ("api_base_url",        json!("https://seller.example/?key=1"),     "api_base_url"),
        ("upstream_key_file",   json!("upstream.key"),                      "api_base_url"),
        ("upstream_key_file",   json!("../upstream.key"),                   "upstream_key_file"),
        ("upstream_header",     json!("Host"),                              "upstream_header"),
        ("price_model",         json!("free"),                              "price_model"),
        ("api_key",             json!("sk_of_mine"),                        "api_key"),
    ];
    for (name, value, named) in rows {
        let mut args = service();
        args[name] = value.clone();
        let error = world.call("paegents_register_service", args).await.unwrap_err();
        assert_eq!(error["code"], "invalid_argument", "{name} {value}: {error}");
        assert_eq!(error["field"], named, "{name} {value}: {error}");
    }
    for file in ["nothing.key", "two-lines.key"] {
        let mut args = service();
        args["api_base_url"] = json!("https://seller.example/v1");
        args["upstream_key_file"] = json!(file);
        let error = world.call("paegents_register_service", args).await.unwrap_err();
        assert_eq!(error["field"], "upstream_key_file", "{file}: {error}");
    }
    let crossed = json!({ "service_id": "svc_1", "min_quantity": 5, "max_quantity": 4 });
    for (args, named) in
        [(crossed, "max_quantity"), (json!({ "service_id": "svc_1" }), "service_name")]
    {
        let error = world.call("paegents_update_service", args).await.unwrap_err();
        assert_eq!(error["field"], named, "{error}");
    }
    assert_eq!(world.requests().await.len(), before, "something was sent");
}

/// The first of two answers is lost; the second call finds what was done, or does it.
#[tokio::test]
async fn a_lost_answer_is_settled_by_reading() {
    for (row, fault) in [
        ("done, and the answer lost", json!("drop_after")),
        ("done, and the answer cut", json!({ "truncate": 10 })),
        ("nothing done", json!("drop_before")),
        ("nothing done, and said so", json!({ "status": 503 })),
    ] {
        let world = seller().await;
        let ids = proposed(&world, "Expert memo", 2).await;
        let (used, goods) = (active(&world).await, sold_goods(&world).await);
        let made = done(&world, "paegents_register_service", service()).await;
        let offer = &made["service_id"];
        let usage = json!({ "agreement_id": used, "units_used": 3, "usage_proof": { "a": 1 } });
        let parcel = json!({ "agreement_id": goods, "status": "shipped", "carrier": "ups",
            "tracking_number": "1Z9" });
        let reject = json!({ "agreement_id": ids[1], "reason": "Too much." });
        let change = json!({ "service_id": offer, "description": "Another one." });
        #[rustfmt::skip]
        let rows = [
            // tool                         arguments                             path             then
            ("paegents_accept_agreement",   json!({ "agreement_id": ids[0] }),    "/accept",       "status"),
            ("paegents_reject_agreement",   reject,                               "/reject",       "status"),
            ("paegents_record_usage",       usage,                                "/record-usage", "units_used"),
            ("paegents_update_delivery",    parcel,                               "/delivery",     "status"),
            ("paegents_update_service",     change,                               "",              "service"),
            ("paegents_delete_service",     json!({ "service_id": offer }),       "",              "is_active"),
        ];
        for (tool, args, end, member) in rows {
            let path = match end {
                "" => format!("/agents/services/{}", offer.as_str().unwrap()),
                end => format!("/usage-agreements/{}{end}", args["agreement_id"].as_str().unwrap()),
            };
            let method = if tool.ends_with("update_service") {
                "PUT"
            } else if end.is_empty() {
                "DELETE"
            } else {
                "*"
            };
            let armed = json!({ "marketplace": "paegents", "method": method, "path": path,
                "times": 1, "action": fault });
            world.admin("POST", "/faults", Some(armed)).await;
            let first = world.call(tool, args.clone()).await;
            let answer = match (row.starts_with("done"), first) {
                (true, first) => first.unwrap_or_else(|e| panic!("{row}: {tool}: {e}")),
                (false, first) => {
                    let error = first.unwrap_err();
                    assert_eq!(error["money_moved"], "no", "{row}: {tool}: {error}");
                    assert_eq!(error["recovery"]["next"][0]["tool"], tool, "{row}: {error}");
                    world.next_of(&error).await.unwrap_or_else(|e| panic!("{row}: {tool}: {e}"))
                }
            };
            assert!(!answer[member].is_null(), "{row}: {tool}: {answer}");
            // It was carried out once, and doing it again changes nothing.
            let sent = writes(&world, &path).await;
            let again = done(&world, tool, args).await;
            assert_eq!(again[member], answer[member], "{row}: {tool}");
            let repeats =
                usize::from(["paegents_update_service", "paegents_record_usage"].contains(&tool));
            let deletes = usize::from(tool == "paegents_delete_service");
            assert!(writes(&world, &path).await <= sent + repeats + deletes, "{row}: {tool}");
        }
    }
}

/// A registration has no read that tells it from another one: the list is named.
#[tokio::test]
async fn a_lost_registration_is_looked_for() {
    let world = seller().await;
    world.fault("paegents", "/agents/services", 0, json!("drop_after")).await;
    let error = world.call("paegents_register_service", service()).await.unwrap_err();
    assert_eq!(error["repeat_safe"], false, "{error}");
    assert_eq!(error["recovery"]["next_action"], "check");
    let found = world.next_of(&error).await.unwrap();
    let named = |s: &Value| s["name_untrusted"] == "Unit conversion";
    assert_eq!(found["services"].as_array().unwrap().iter().filter(|s| named(s)).count(), 1);
}

#[tokio::test]
async fn an_agreement_is_answered_once() {
    let world = seller().await;
    let ids = proposed(&world, "Expert memo", 3).await;
    let asked = json!({ "role": "seller", "status": "proposed" });
    let listed = done(&world, "paegents_list_agreements", asked.clone()).await;
    assert_eq!(listed["agreements"].as_array().unwrap().len(), 3, "{listed}");
    assert_eq!(listed["agreements"][0]["role"], "seller");
    assert_eq!(listed["next"][0]["tool"], "paegents_accept_agreement", "{listed}");

    let first = json!({ "agreement_id": ids[0] });
    for _ in 0..2 {
        let accepted = done(&world, "paegents_accept_agreement", first.clone()).await;
        assert_ne!(accepted["status"], "proposed", "{accepted}");
    }
    assert_eq!(writes(&world, &format!("/{}/accept", ids[0])).await, 1);
    let error = world.call("paegents_reject_agreement", first).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");

    let second = json!({ "agreement_id": ids[1], "reason": "Five are enough.",
        "suggested_total_usd": "0.10", "suggested_items": [{ "name": "Memo", "quantity": 5 }] });
    let rejected = done(&world, "paegents_reject_agreement", second.clone()).await;
    assert_eq!(rejected["status"], "rejected", "{rejected}");
    assert_eq!(rejected["metadata_untrusted"]["suggested_total_cents"], 10, "{rejected}");
    done(&world, "paegents_reject_agreement", second).await;
    assert_eq!(writes(&world, &format!("/{}/reject", ids[1])).await, 1);
    let error = world
        .call("paegents_accept_agreement", json!({ "agreement_id": ids[1] }))
        .await
        .unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_list_agreements", "{error}");

    let fraction = json!({ "agreement_id": ids[2], "suggested_total_usd": "0.001" });
    let error = world.call("paegents_reject_agreement", fraction).await.unwrap_err();
    assert_eq!(error["field"], "suggested_total_usd", "{error}");
    // What lapsed cannot be answered any more.
    world.advance(2 * 24 * 3600).await;
    let third = json!({ "agreement_id": ids[2] });
    for tool in ["paegents_accept_agreement", "paegents_reject_agreement"] {
        let error = world.call(tool, third.clone()).await.unwrap_err();
        assert_eq!(error["code"], "wrong_state", "{tool}: {error}");
    }
    assert_eq!(writes(&world, &format!("/{}/accept", ids[2])).await, 0);
    assert_eq!(writes(&world, &format!("/{}/reject", ids[2])).await, 0);
}

/// Only the seller sells.
#[tokio::test]
async fn the_other_side_is_refused_before_anything_is_sent() {
    let world = World::start().await;
    let id = crate::paegents_escrow::accepted(&world, "auto", 10).await;
    let before = writes(&world, "").await;
    for (tool, more) in [
        ("paegents_accept_agreement", json!({})),
        ("paegents_reject_agreement", json!({})),
        ("paegents_record_usage", json!({ "units_used": 1 })),
        ("paegents_update_delivery", json!({ "status": "shipped" })),
    ] {
        let mut args = more;
        args["agreement_id"] = json!(id);
        let error = world.call(tool, args).await.unwrap_err();
        assert_eq!(error["code"], "not_allowed", "{tool}: {error}");
    }
    assert_eq!(writes(&world, "").await, before);
}

#[tokio::test]
async fn usage_only_grows_and_never_beyond_what_was_agreed() {
    let world = seller().await;
    let id = active(&world).await;
    let usage = |units: u64| json!({ "agreement_id": id, "units_used": units });
    let recorded = done(&world, "paegents_record_usage", usage(3)).await;
    assert_eq!(recorded["units_used"], 3, "{recorded}");
    let sent = writes(&world, "/record-usage").await;
    for (units, least) in [(2, "at least 3"), (11, "at most 10")] {
        let error = world.call("paegents_record_usage", usage(units)).await.unwrap_err();
        assert_eq!(error["code"], "invalid_argument", "{error}");
        assert_eq!(error["field"], "units_used");
        assert!(error["message"].as_str().unwrap().contains(least), "{error}");
    }
    done(&world, "paegents_record_usage", usage(3)).await;
    assert_eq!(writes(&world, "/record-usage").await, sent, "nothing of that was sent");
    let mut last = usage(4);
    last["completed"] = json!(true);
    let completed = done(&world, "paegents_record_usage", last.clone()).await;
    assert_eq!(completed["status"], "completed", "{completed}");
    done(&world, "paegents_record_usage", last).await;
    let error = world.call("paegents_record_usage", usage(5)).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    let waiting = proposed(&world, "Expert memo", 1).await.remove(0);
    let early = json!({ "agreement_id": waiting, "units_used": 1 });
    let error = world.call("paegents_record_usage", early).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_accept_agreement", "{error}");
}

#[tokio::test]
async fn a_parcel_is_followed_to_its_buyer() {
    let world = seller().await;
    let id = sold_goods(&world).await;
    let now = done(&world, "paegents_get_agreement", json!({ "agreement_id": id })).await;
    assert_eq!(now["next"][0]["tool"], "paegents_update_delivery", "{now}");
    assert_eq!(now["next"][0]["arguments"]["status"], "shipped", "{now}");
    let moved = |status: &str| json!({ "agreement_id": id, "status": status });
    let error = world.call("paegents_update_delivery", moved("delivered")).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert_eq!(error["recovery"]["next"][0]["arguments"], moved("shipped"), "{error}");
    assert_eq!(writes(&world, "/delivery").await, 0);

    let mut shipped = moved("shipped");
    shipped["carrier"] = json!("ups");
    shipped["tracking_number"] = json!("1Z999AA10123456784");
    shipped["estimated_delivery"] = json!("2026-12-24");
    let told = done(&world, "paegents_update_delivery", shipped.clone()).await;
    let url = told["delivery_untrusted"]["tracking_url"].as_str().unwrap();
    assert!(url.starts_with("https://www.ups.com/"), "{told}");
    assert_eq!(told["next"][0]["arguments"]["status"], "in_transit");
    let sent = writes(&world, "/delivery").await;
    done(&world, "paegents_update_delivery", shipped.clone()).await;
    assert_eq!(writes(&world, "/delivery").await, sent, "it stood already");
    shipped["notes"] = json!("Another note.");
    let error = world.call("paegents_update_delivery", shipped).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    // One place twice: each time it is told.
    for status in ["exception", "in_transit", "exception", "in_transit", "delivered"] {
        let told = done(&world, "paegents_update_delivery", moved(status)).await;
        assert_eq!(told["status"], status, "{told}");
    }
    let history = done(&world, "paegents_get_agreement", json!({ "agreement_id": id })).await;
    let history = &history["metadata_untrusted"]["delivery"]["history"];
    assert_eq!(history.as_array().unwrap().len(), 6, "{history}");
    let error = world.call("paegents_update_delivery", moved("exception")).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert!(error["message"].as_str().unwrap().contains("final"), "{error}");

    let waiting = proposed(&world, "Printed handbook", 1).await.remove(0);
    let early = json!({ "agreement_id": waiting, "status": "shipped" });
    let error = world.call("paegents_update_delivery", early).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "nothing is sent before it is accepted: {error}");
    #[rustfmt::skip]
    let rows = [
        ("tracking_number",    json!("1\u{7}")),
        ("tracking_url",       json!("http://carrier.example/7")),
        ("tracking_url",       json!("https://127.0.0.1/7")),
        ("tracking_url",       json!("javascript:alert(1)")),
        ("estimated_delivery", json!("soon")),
        ("notes",              json!("n".repeat(1_001))),
        ("carrier",            json!("owl")),
        ("status",             json!("pending")),
    ];
    let before = world.requests().await.len();
    for (name, value) in rows {
        let mut args = moved("shipped");
        args[name] = value.clone();
        let error = world.call("paegents_update_delivery", args).await.unwrap_err();
        assert_eq!(error["field"], name, "{value}: {error}");
    }
    assert_eq!(world.requests().await.len(), before);
}
