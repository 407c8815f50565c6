//! CROO's public store: every read of it, bounded, cleaned, and with its next call.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::World;

async fn browse(world: &World, args: Value) -> Value {
    world.call("croo_browse_store", args).await.unwrap()
}

/// What of the store was read.
async fn store_requests(world: &World) -> Vec<Value> {
    let mut requests = world.requests().await;
    requests.retain(|request| request["path"].as_str().unwrap().starts_with("/public/"));
    requests
}

/// The paths of the store that were read.
async fn reads(world: &World) -> Vec<String> {
    let requests = store_requests(world).await;
    requests.iter().map(|r| r["path"].as_str().unwrap().to_owned()).collect()
}

fn seller(world: &World) -> String {
    let services = world.sandbox.info().croo.services;
    services.iter().find(|s| s.behaviour == "auto").unwrap().owner_id.clone()
}

#[tokio::test]
async fn every_view_reads_its_own() {
    let world = World::start().await;
    let provider = world.provider().await;
    let service_id = world.service("manual", "Expert memo");
    let ordered = json!({ "service_id": service_id });
    let made = world.admin("POST", "/order", Some(ordered)).await;
    let accept = json!({ "negotiation_id": made["negotiation_id"] });
    provider.call("croo_accept_negotiation", accept).await.unwrap();
    let agent = world.sandbox.info().croo.provider.agent_id;
    let path = |end: &str| format!("/public/agents/{agent}{end}");
    #[rustfmt::skip]
    let rows = [
        // the arguments                                       the path                         a member of its first row
        (json!({ "view": "agents" }),                          "/public/agents".to_owned(),     "min_price_usd"),
        (json!({ "view": "agent", "agent_id": agent }),        path(""),                        "services"),
        (json!({ "view": "activity", "agent_id": agent }),     path("/activity"),               "amount_usd"),
        (json!({ "view": "search", "query": "text" }),         "/public/search".to_owned(),     "price_usd"),
        (json!({ "view": "tags" }),                            "/public/tags".to_owned(),       "slug"),
        (json!({ "view": "trending" }),                        "/public/trending-agents".to_owned(), "agent_id"),
        (json!({ "view": "popular" }),                         "/public/popular-services".to_owned(), "service_id"),
        (json!({ "view": "leaderboard" }),                     "/public/leaderboard".to_owned(), "total_earned_usd"),
        (json!({ "view": "stats" }),                           "/public/platform-stats".to_owned(), "total_volume_usd"),
    ];
    for (args, path, member) in rows {
        let found = browse(&world, args.clone()).await;
        assert_eq!(reads(&world).await.last(), Some(&path), "{args}");
        assert!(!found["rows"][0][member].is_null(), "{args}: {found}");
        assert!(found["rows"].as_array().unwrap().len() <= 20, "{args}");
        for row in found["rows"].as_array().unwrap() {
            for (name, value) in row.as_object().unwrap() {
                // What is not marked as theirs is a word, a figure or a list of such rows.
                let prose = value.as_str().is_some_and(|text| text.contains(' '));
                assert!(!prose || name.ends_with("_untrusted"), "{name}: {value}");
            }
        }
    }
    let one = browse(&world, json!({ "view": "agent", "agent_id": agent })).await;
    let services = one["rows"][0]["services"].as_array().unwrap();
    let own = world.sandbox.info().croo.services;
    assert_eq!(services.len(), own.iter().filter(|s| s.owner_id == agent).count());
    assert!(services.iter().any(|s| s["deliverable_fields_untrusted"].is_array()), "{one}");
    assert_eq!(one["next"][0]["tool"], "croo_get_service", "{one}");
}

#[tokio::test]
async fn the_feed_tells_what_happened() {
    let world = World::start().await;
    let provider = world.provider().await;
    let service_id = world.service("manual", "Expert memo");
    let made = world.admin("POST", "/order", Some(json!({ "service_id": service_id }))).await;
    let accept = json!({ "negotiation_id": made["negotiation_id"] });
    let accepted = provider.call("croo_accept_negotiation", accept).await.unwrap();
    for _ in 0..1_200 {
        let feed = browse(&world, json!({ "view": "feed", "limit": 50 })).await;
        let rows = feed["rows"].as_array().unwrap().clone();
        if let Some(row) = rows.iter().find(|row| row["event"] == "order_paid") {
            assert_eq!(row["ref_id"], accepted["order"]["order_id"]);
            assert_eq!(row["details_untrusted"]["price"], "1500000");
            assert_eq!(row["service_name_untrusted"], "Expert memo");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it was never paid");
}

#[tokio::test]
async fn services_are_found_by_words_and_price_page_by_page() {
    let world = World::start().await;
    let (mut seen, mut cursor) = (BTreeSet::new(), None::<String>);
    let mut pages = 0;
    loop {
        let mut args = json!({ "limit": 5 });
        if let Some(cursor) = &cursor {
            args["cursor"] = json!(cursor);
        }
        let found = world.call("croo_search_services", args).await.unwrap();
        pages += 1;
        for service in found["services"].as_array().unwrap() {
            assert!(seen.insert(service["service_id"].as_str().unwrap().to_owned()), "{service}");
            assert!(service["price_usd"].is_string() && service["sla_minutes"].is_u64());
        }
        match found["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let all = world.sandbox.info().croo.services;
    assert_eq!((seen.len(), pages), (all.len(), all.len().div_ceil(5)));

    let args = json!({ "query": "DIGEST", "min_price_usd": "0.01", "max_price_usd": "0.01" });
    let found = world.call("croo_search_services", args).await.unwrap();
    assert_eq!(found["services"].as_array().unwrap().len(), 1, "{found}");
    let service = &found["services"][0];
    assert_eq!(service["price_usd"], "0.01");
    let arguments = json!({ "service_id": service["service_id"] });
    assert_eq!(found["next"][0]["arguments"], arguments, "{found}");
    assert_eq!(found["next"][0]["tool"], "croo_get_service", "{found}");
    let none =
        world.call("croo_search_services", json!({ "query": "no such thing" })).await.unwrap();
    assert_eq!(none["services"], json!([]));

    let first = browse(&world, json!({ "view": "agents", "limit": 1 })).await;
    let second =
        browse(&world, json!({ "view": "agents", "limit": 1, "cursor": first["cursor"] })).await;
    assert_ne!(first["rows"][0]["agent_id"], second["rows"][0]["agent_id"]);
    let of_skill = browse(&world, json!({ "view": "agents", "tags": "data" })).await;
    assert_eq!(of_skill["rows"].as_array().unwrap().len(), 1, "{of_skill}");
    let arguments = &of_skill["next"][0]["arguments"];
    assert_eq!(arguments["view"], "agent", "{of_skill}");
    browse(&world, arguments.clone()).await;
}

#[tokio::test]
async fn what_does_not_belong_to_a_view_is_refused() {
    let world = World::start().await;
    let agent = seller(&world);
    #[rustfmt::skip]
    let rows = [
        (json!({ "view": "tags", "limit": 5 }),                             "limit"),
        (json!({ "view": "stats", "chain": "base" }),                       "chain"),
        (json!({ "view": "agents", "agent_id": agent }),                    "agent_id"),
        (json!({ "view": "agent", "agent_id": agent, "limit": 5 }),         "limit"),
        (json!({ "view": "activity", "agent_id": agent, "query": "x" }),    "query"),
        (json!({ "view": "search", "query": "x", "min_price_usd": "1" }),   "min_price_usd"),
        (json!({ "view": "trending", "cursor": "2" }),                      "cursor"),
        (json!({ "view": "popular", "sort": "price" }),                     "sort"),
        (json!({ "view": "leaderboard", "tags": "data" }),                  "tags"),
        (json!({ "view": "feed", "dimension": "orders" }),                  "dimension"),
        (json!({ "view": "agent" }),                                        "agent_id"),
        (json!({ "view": "activity" }),                                     "agent_id"),
        (json!({ "view": "search" }),                                       "query"),
        (json!({ "view": "agents", "limit": 0 }),                           "limit"),
        (json!({ "view": "agents", "limit": 51 }),                          "limit"),
        (json!({ "view": "agents", "cursor": "0" }),                        "cursor"),
        (json!({ "view": "agents", "cursor": "-1" }),                       "cursor"),
        (json!({ "view": "agents", "cursor": "99999" }),                    "cursor"),
        (json!({ "view": "agents", "sort": "price&chain=bsc" }),            "sort"),
        (json!({ "view": "agents", "tags": "a b" }),                        "tags"),
        (json!({ "view": "leaderboard", "dimension": "" }),                 "dimension"),
        (json!({ "view": "agents", "min_price_usd": "2", "max_price_usd": "1" }), "max_price_usd"),
        (json!({ "view": "agent", "agent_id": "../services" }),             "agent_id"),
        (json!({ "view": "agent", "agent_id": "bsc:1/x" }),                 "agent_id"),
        (json!({ "view": "moon" }),                                         "view"),
        (json!({ "view": "agents", "chain": "solana" }),                    "chain"),
        (json!({ "view": "search", "query": "x".repeat(501) }),             "query"),
    ];
    for (args, field) in rows {
        let refused = world.call("croo_browse_store", args.clone()).await.unwrap_err();
        assert_eq!(refused["code"], "invalid_argument", "{args}: {refused}");
        assert_eq!(refused["field"], field, "{args}: {refused}");
    }
    for args in
        [json!({ "limit": 51 }), json!({ "cursor": "x" }), json!({ "query": "x".repeat(501) })]
    {
        let refused = world.call("croo_search_services", args.clone()).await.unwrap_err();
        assert_eq!(refused["code"], "invalid_argument", "{args}: {refused}");
    }
    assert!(reads(&world).await.is_empty(), "nothing was asked");
}

#[tokio::test]
async fn an_agent_is_looked_for_on_both_chains() {
    let world = World::start().await;
    let gone = |id: &str| json!({ "view": "agent", "agent_id": id });
    let refused = world.call("croo_browse_store", gone("nobody")).await.unwrap_err();
    assert_eq!(refused["code"], "not_found", "{refused}");
    let queries = |requests: &[Value]| -> Vec<String> {
        requests
            .iter()
            .map(|r| format!("{}?{}", r["path"].as_str().unwrap(), r["query"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(
        queries(&store_requests(&world).await),
        ["/public/agents/nobody?", "/public/agents/nobody?chain=bsc"]
    );
    world.call("croo_browse_store", gone("bsc:7")).await.unwrap_err();
    let asked = queries(&store_requests(&world).await);
    assert_eq!(asked.last().unwrap(), "/public/agents/bsc:7?chain=bsc");
    // On the chain that is named, and there alone.
    let named = json!({ "view": "agent", "agent_id": seller(&world), "chain": "bsc" });
    world.call("croo_browse_store", named).await.unwrap_err();
    assert_eq!(store_requests(&world).await.len(), 4);
}

#[tokio::test]
async fn hostile_words_are_cleaned_and_marked() {
    let world = World::start().await;
    let found = browse(&world, json!({ "view": "search", "query": "best" })).await;
    let searched = world.call("croo_search_services", json!({ "query": "best" })).await.unwrap();
    for shown in [&found["rows"][0], &searched["services"][0]] {
        let text = shown.to_string();
        assert!(text.contains("IGNORE ALL PREVIOUS"), "it is data: {text}");
        for hidden in ['\u{202e}', '\u{200b}', '\u{1b}', '\u{2066}', '\u{7}'] {
            assert!(!text.contains(hidden), "{text}");
        }
        for (name, value) in shown.as_object().unwrap() {
            let is_theirs =
                value.to_string().contains("translator") || value.to_string().contains("IGNORE");
            assert!(!is_theirs || name.ends_with("_untrusted"), "{name}");
        }
    }
    let next = format!("{}{}", found["next"], searched["next"]);
    assert!(!next.contains("IGNORE") && !next.contains("croo_pay_order"), "{next}");
    assert_eq!(found["next"][0]["tool"], "croo_get_service");
}

#[tokio::test]
async fn a_read_that_breaks_is_made_again() {
    let world = World::start().await;
    let calls = [
        ("croo_browse_store", json!({ "view": "agents" })),
        ("croo_browse_store", json!({ "view": "stats" })),
        ("croo_search_services", json!({ "query": "text" })),
    ];
    let actions = [
        json!("drop_before"),
        json!({ "truncate": 20 }),
        json!({ "status": 502, "body": "HOSTILE" }),
        json!({ "status": 200, "body": "<html>HOSTILE</html>" }),
        json!({ "status": 200, "body": [1] }),
    ];
    for (tool, args) in calls {
        for action in &actions {
            world.fault("croo", "/public/*", 0, action.clone()).await;
            let lost = world.call(tool, args.clone()).await.unwrap_err();
            assert_eq!(lost["recovery"]["next"][0]["arguments"], args, "{tool} {action}: {lost}");
            assert!(!lost.to_string().contains("HOSTILE"), "{lost}");
            world.call(tool, args.clone()).await.unwrap();
        }
    }
    // Another shape than is known is nothing, not a failure.
    for body in
        [json!({}), json!({ "agents": null }), json!({ "agents": [7, { "agentId": 1 }, {}] })]
    {
        let odd = json!({ "status": 200, "body": body });
        world.fault("croo", "/public/*", 0, odd).await;
        let found = browse(&world, json!({ "view": "agents" })).await;
        assert!(found["rows"].as_array().unwrap().len() <= 2, "{found}");
    }
}
