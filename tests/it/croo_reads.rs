//! What is read at CROO: lists, orders, waits and deliveries; giving up; and the search of all
//! marketplaces.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    croo::{asking, by_provider, fault, ordered, paying, sent, service},
    world::World,
};

/// A negotiation with the agent who answers by hand.
async fn negotiated(world: &World) -> String {
    let item = service(world, "manual", "Expert");
    let mut args = asking(&item);
    args["again"] = json!(true);
    let made = world.call("croo_negotiate_order", args).await.unwrap();
    made["negotiation_id"].as_str().unwrap().to_owned()
}

async fn accept(world: &World, negotiation_id: &str) {
    by_provider(world, &format!("/orders/negotiate/{negotiation_id}/accept"), json!({})).await;
}

/// A role is needed, in either vocabulary; pages and statuses are checked here.
#[tokio::test]
async fn lists_are_of_one_role_and_paged() {
    let world = World::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(negotiated(&world).await);
    }
    for id in &made[..3] {
        accept(&world, id).await;
    }
    let wait = json!({ "negotiation_id": made[2], "wait_seconds": 20 });
    world.call("croo_get_order", wait).await.unwrap();

    for role in ["buyer", "requester"] {
        let all = json!({ "role": role });
        let listed = world.call("croo_list_negotiations", all.clone()).await.unwrap();
        assert_eq!(listed["negotiations"].as_array().unwrap().len(), 5, "{role}");
        assert!(listed["cursor"].is_null());
        let listed = world.call("croo_list_orders", all).await.unwrap();
        assert_eq!(listed["orders"].as_array().unwrap().len(), 3, "{role}");
        assert_eq!(listed["next"][0]["tool"], "croo_pay_order");
    }
    let provider = json!({ "role": "provider" });
    for tool in ["croo_list_negotiations", "croo_list_orders"] {
        let none = world.call(tool, provider.clone()).await.unwrap();
        assert!(none.to_string().contains(":[]"), "{none}");
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    for size in [2, 2, 1] {
        let mut page = json!({ "role": "buyer", "limit": 2 });
        if !cursor.is_null() {
            page["cursor"] = cursor;
        }
        let listed = world.call("croo_list_negotiations", page).await.unwrap();
        let rows = listed["negotiations"].as_array().unwrap();
        assert_eq!(rows.len(), size);
        seen.extend(rows.iter().map(|row| row["negotiation_id"].as_str().unwrap().to_owned()));
        cursor = listed["cursor"].clone();
    }
    assert!(cursor.is_null());
    made.reverse();
    assert_eq!(seen, made, "the newest first, each once");
    let pending = json!({ "role": "buyer", "status": "pending" });
    let listed = world.call("croo_list_negotiations", pending).await.unwrap();
    assert_eq!(listed["negotiations"].as_array().unwrap().len(), 2);
    // A word that this program does not know is the server's to judge.
    let odd = json!({ "role": "buyer", "status": "dreaming" });
    let refused = world.call("croo_list_orders", odd).await.unwrap_err();
    assert_eq!(refused["upstream_code"], "INVALID_PARAMETERS", "{refused}");
}

/// What cannot be asked for is not asked for.
#[tokio::test]
async fn what_cannot_be_listed_or_waited_for_is_refused_here() {
    let world = World::start().await;
    for (tool, args, field) in [
        ("croo_list_orders", json!({}), "role"),
        ("croo_list_orders", json!({ "role": "seller" }), "role"),
        ("croo_list_orders", json!({ "role": "buyer", "status": "Paid" }), "status"),
        ("croo_list_orders", json!({ "role": "buyer", "status": "" }), "status"),
        ("croo_list_orders", json!({ "role": "buyer", "limit": 51 }), "limit"),
        ("croo_list_negotiations", json!({ "role": "buyer", "limit": 0 }), "limit"),
        ("croo_list_negotiations", json!({ "role": "buyer", "cursor": "0" }), "cursor"),
        ("croo_list_negotiations", json!({ "role": "buyer", "cursor": "x" }), "cursor"),
        ("croo_get_order", json!({}), "order_id"),
        ("croo_get_order", json!({ "order_id": "a", "negotiation_id": "b" }), "order_id"),
        ("croo_get_order", json!({ "order_id": "a", "wait_seconds": 601 }), "wait_seconds"),
        (
            "croo_get_negotiation",
            json!({ "negotiation_id": "a", "wait_seconds": 601 }),
            "wait_seconds",
        ),
        ("croo_get_delivery", json!({ "order_id": "a", "wait_seconds": 601 }), "wait_seconds"),
        ("croo_reject_order", json!({ "order_id": "a", "reason": " " }), "reason"),
        ("croo_reject_order", json!({ "order_id": "a", "reason": "a\u{7}b" }), "reason"),
        ("croo_reject_order", json!({ "order_id": "a", "reason": "x".repeat(501) }), "reason"),
    ] {
        let error = world.call(tool, args.clone()).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("invalid_argument"), &json!(field)),
            "{args}"
        );
    }
    // The lists are read by whoever keeps the inbox; of these no more is read.
    for end in ["/a", "/b", "/delivery", "/reject"] {
        assert_eq!(sent(&world, "GET", end).await + sent(&world, "POST", end).await, 0, "{end}");
    }
}

/// A long input of a buyer does not fill a list.
#[tokio::test]
async fn a_list_shows_the_beginning_of_a_long_input() {
    let world = World::start().await;
    let item = service(&world, "manual", "Expert");
    let long = json!({ "service_id": item.id, "requirements": "x".repeat(50_000) });
    world.call("croo_negotiate_order", long).await.unwrap();
    let listed = world.call("croo_list_negotiations", json!({ "role": "buyer" })).await.unwrap();
    assert!(listed.to_string().len() < 1_500, "{}", listed.to_string().len());
}

/// A wait ends when there is something to do: by the order or by the negotiation, accepted or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_there_is_something_to_do() {
    let world = World::start().await;
    let id = negotiated(&world).await;
    let wait = |seconds: u64| json!({ "negotiation_id": id, "wait_seconds": seconds });
    let started = Instant::now();
    let early = world.call("croo_get_order", wait(0)).await.unwrap();
    assert_eq!(early["negotiation"]["status"], "pending", "{early}");
    assert!(early["order_id"].is_null());
    assert_eq!(early["next"][0]["tool"], "croo_get_order");
    let early = world.call("croo_get_negotiation", wait(1)).await.unwrap();
    assert_eq!(early["status"], "pending");
    assert!(started.elapsed() >= Duration::from_secs(1), "it waits");
    // One question fails on the way: it is asked again.
    world.fault("croo", "/orders/negotiate/*", 1, json!({ "status": 503 })).await;
    let meanwhile = async {
        world.fired().await;
        accept(&world, &id).await;
    };
    let (order, answered, ()) = tokio::join!(
        world.call("croo_get_order", wait(20)),
        world.call("croo_get_negotiation", wait(20)),
        meanwhile
    );
    let (order, answered) = (order.unwrap(), answered.unwrap());
    assert_eq!(answered["status"], "accepted");
    assert_eq!(answered["next"][0]["tool"], "croo_get_order");
    assert_eq!(order["status"], "created", "not while it is creating: {order}");
    assert_eq!(order["role"], "buyer");
    assert_eq!(order["next"][0]["tool"], "croo_pay_order");
    assert_eq!(order["next"][0]["arguments"], paying(&order));

    let id = negotiated(&world).await;
    let reject = format!("/orders/negotiate/{id}/reject");
    by_provider(&world, &reject, json!({ "reason": "too \u{1b}[31mlong" })).await;
    let wait = json!({ "negotiation_id": id, "wait_seconds": 20 });
    let started = Instant::now();
    let found = world.call("croo_get_order", wait).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "it does not wait for what never comes");
    assert_eq!(found["negotiation"]["status"], "rejected");
    assert_eq!(found["negotiation"]["reject_reason_untrusted"], "too long");
    assert_eq!(found["next"][0]["tool"], "market_search");

    let id = negotiated(&world).await;
    world.advance(700).await;
    let wait = json!({ "negotiation_id": id, "wait_seconds": 20 });
    let found = world.call("croo_get_order", wait).await.unwrap();
    assert_eq!(found["negotiation"]["status"], "expired");
}

/// The order of a negotiation is found behind a page of others, from either side.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_found_by_its_negotiation_from_either_side() {
    let world = World::start().await;
    let id = negotiated(&world).await;
    accept(&world, &id).await;
    let by_negotiation = json!({ "negotiation_id": id, "wait_seconds": 20 });
    let order = world.call("croo_get_order", by_negotiation.clone()).await.unwrap();
    let provider = world.provider().await;
    let mut now = by_negotiation;
    now["wait_seconds"] = json!(0);
    let theirs = provider.call("croo_get_order", now.clone()).await.unwrap();
    assert_eq!(theirs["order_id"], order["order_id"]);
    assert_eq!(theirs["role"], "provider");
    assert_eq!(theirs["next"][0]["tool"], "croo_get_order", "{theirs}");
    for _ in 0..51 {
        let id = negotiated(&world).await;
        accept(&world, &id).await;
    }
    let found = world.call("croo_get_order", now).await.unwrap();
    assert_eq!(found["order_id"], order["order_id"]);
}

/// Before the payment an order can be given up, and after it not by its buyer.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_given_up_before_it_is_paid() {
    let world = World::start().await;
    let item = service(&world, "slow", "");
    #[rustfmt::skip]
    let rows = [
        (None,                          true),
        (Some(json!("drop_after")),     true),
        (Some(json!("drop_before")),    false),
        (Some(json!({ "status": 502 })), false),
    ];
    for (action, is_done) in rows {
        let mut args = asking(&item);
        args["again"] = json!(true);
        let made = world.call("croo_negotiate_order", args).await.unwrap();
        let wait = json!({ "negotiation_id": made["negotiation_id"], "wait_seconds": 20 });
        let order = world.call("croo_get_order", wait).await.unwrap();
        if let Some(action) = action {
            fault(&world, "POST", "/orders/*/reject", action).await;
        }
        let reject = json!({ "order_id": order["order_id"], "reason": "no longer needed" });
        let answer = world.call("croo_reject_order", reject.clone()).await;
        if !is_done {
            let error = answer.unwrap_err();
            assert_eq!(error["repeat_safe"], false, "{error}");
            assert_eq!(
                error["recovery"]["next"][0]["tool"], "croo_pay_order",
                "it stands: {error}"
            );
        }
        // Done, or done now; and done again is done.
        for _ in 0..2 {
            let done = world.call("croo_reject_order", reject.clone()).await.unwrap();
            assert!(["rejecting", "rejected"].contains(&done["status"].as_str().unwrap()));
        }
        let error = world.call("croo_pay_order", paying(&order)).await.unwrap_err();
        assert_eq!(error["code"], "wrong_state");
    }
    let order = ordered(&world, &service(&world, "auto", "SHA")).await;
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    let before = sent(&world, "POST", "/reject").await;
    let reject = json!({ "order_id": order["order_id"], "reason": "no" });
    let error = world.call("croo_reject_order", reject).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "croo_get_delivery");
    assert_eq!(sent(&world, "POST", "/reject").await, before);
}

/// What is delivered comes as what it is, with what its digest says and the file that it names.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_shown_as_what_it_is() {
    let world = World::start().await;
    let order = ordered(&world, &service(&world, "auto", "CSV")).await;
    let about = json!({ "order_id": order["order_id"] });
    let unpaid = world.call("croo_get_delivery", about.clone()).await.unwrap_err();
    assert_eq!(unpaid["code"], "wrong_state");
    assert_eq!(unpaid["recovery"]["next"][0]["arguments"], paying(&order));
    world.call("croo_pay_order", paying(&order)).await.unwrap();
    let early = world.call("croo_get_delivery", about.clone()).await.unwrap_err();
    assert_eq!((&early["code"], &early["money_moved"]), (&json!("wrong_state"), &json!("yes")));
    assert_eq!(early["recovery"]["next"][0]["tool"], "croo_get_delivery");
    let wait = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    let done = world.call("croo_get_delivery", wait).await.unwrap();
    let key = &done["result_untrusted"]["object_key"];
    assert_eq!(done["deliverable_type"], "schema");
    assert_eq!(done["content_hash"], "verified");
    assert_eq!(done["next"][0]["tool"], "croo_download_file");
    assert_eq!(done["next"][0]["arguments"]["object_key"], *key);
    assert_eq!(done["purchase"]["delivery"], "delivered");

    for (hash, said) in [("0x00", "differs"), ("", "unverified")] {
        let swap = json!({ "swap_terms": { "contentHash": hash } });
        fault(&world, "GET", "/orders/*/delivery", swap).await;
        let done = world.call("croo_get_delivery", about.clone()).await.unwrap();
        assert_eq!(done["content_hash"], said);
    }
    let long = json!({ "swap_terms": { "deliverableSchema": "x".repeat(150_000) } });
    fault(&world, "GET", "/orders/*/delivery", long).await;
    let done = world.call("croo_get_delivery", about.clone()).await.unwrap();
    let text = done["result_untrusted"].as_str().unwrap();
    assert_eq!(text.chars().count(), 100_001, "cut, and marked as cut");
    // The journal keeps it, whatever becomes of CROO.
    fault(&world, "GET", "/orders/*", json!({ "status": 404 })).await;
    let kept = world.call("croo_get_delivery", about).await.unwrap();
    assert_eq!(kept["result_untrusted"]["object_key"], *key);
    assert_eq!(kept["content_hash"], "unverified");
}

/// Text of a seller, wherever it comes from, stays where it is marked and is cleaned.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_stays_where_it_is_marked() {
    let world = World::start().await;
    let item = service(&world, "hostile_text", "");
    let looked = world.call("croo_get_service", json!({ "service_id": item.id })).await.unwrap();
    let found = world.call("market_search", json!({ "limit": 50 })).await.unwrap();
    let order = ordered(&world, &item).await;
    let paid = world.call("croo_pay_order", paying(&order)).await.unwrap();
    let wait = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    let done = world.call("croo_get_delivery", wait).await.unwrap();
    let listed = world.call("market_list_purchases", json!({})).await.unwrap();
    for answer in [looked, found, order, paid, done, listed] {
        crate::hints::walk(&answer, false, "");
    }
    assert_eq!(world.charges().await.len(), 1);
}

/// Both marketplaces are searched at once, and either stands in for the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_asks_all_marketplaces_and_survives_one() {
    let world = World::start().await;
    let of = |found: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let offers = found["offers"].as_array().unwrap().iter();
        offers.map(|offer| (text(&offer["marketplace"]), text(&offer["id"]))).collect()
    };
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut args = json!({ "limit": 10 });
        if !cursor.is_null() {
            args["cursor"] = cursor;
        }
        let found = world.call("market_search", args).await.unwrap();
        let offers = of(&found);
        assert!(offers.len() <= 10 && found["problems"].is_null(), "{found}");
        if pages == 0 {
            assert_eq!((&*offers[0].0, &*offers[1].0), ("croo", "crochet"), "in turn");
            let tools = [&found["next"][0]["tool"], &found["next"][1]["tool"]];
            assert_eq!(tools, ["croo_get_service", "crochet_get_listing"]);
            assert_eq!(found["cursor"], "2");
        }
        seen.extend(offers);
        cursor = found["cursor"].clone();
        pages += 1;
        if cursor.is_null() {
            break;
        }
    }
    let info = world.sandbox.info();
    // What is not for sale just now is in the sandbox's line, and in no catalog.
    let everything = json!({ "limit": 100, "offset": 0 });
    let catalog = world.paegents("POST", "/catalog/search", Some(everything)).await;
    let in_catalog = catalog["results"].as_array().unwrap().len();
    let all = info.croo.services.len() + info.crochet.listings.len() + in_catalog;
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "every offer, once");

    let cheap = world.call("market_search", json!({ "max_price_usd": "0.05", "limit": 50 })).await;
    for offer in cheap.unwrap()["offers"].as_array().unwrap() {
        let price: haggle::money::Usdc = offer["price_usd"].as_str().unwrap().parse().unwrap();
        assert!(price <= "0.05".parse().unwrap(), "{offer}");
    }
    let last = world.requests().await;
    assert!(last.iter().any(|r| r["query"].as_str().unwrap().contains("max_price=50000")));
    for (down, up) in [("croo", "crochet"), ("crochet", "croo")] {
        world.fault(down, "*", 0, json!({ "status": 503 })).await;
        let found = world.call("market_search", json!({})).await.unwrap();
        let places: Vec<String> = of(&found).into_iter().map(|offer| offer.0).collect();
        assert!(places.iter().any(|place| place == up), "{found}");
        assert!(places.iter().all(|place| place != down), "{found}");
        assert_eq!(found["problems"][0]["marketplace"], down);
        assert_eq!(found["problems"][0]["code"], "upstream_unavailable");
        let one = json!({ "marketplace": up });
        let found = world.call("market_search", one).await.unwrap();
        assert!(of(&found).iter().all(|offer| offer.0 == up));
    }
    for down in ["croo", "crochet", "paegents"] {
        world.fault(down, "*", 0, json!({ "status": 429 })).await;
    }
    let error = world.call("market_search", json!({})).await.unwrap_err();
    assert_eq!(error["code"], "rate_limited");
}
