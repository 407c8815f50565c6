//! Buying on Paegents up to the deposit: services, proposals, taking them back, complaining.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

use crate::{paegents_calls::active, world::World};

const WORLDS: usize = 8;
const HTML: &str = "<html><body>Bad gateway</body></html>";

/// Our agreements as the platform has them, the newest first.
async fn bought(world: &World) -> Vec<Value> {
    let buyer = world.sandbox.info().paegents.buyer.agent_id;
    let path = format!("/usage-agreements/agents/{buyer}/agreements?limit=100&role=buyer");
    world.paegents("GET", &path, None).await.as_array().unwrap().clone()
}

/// The service of this name: its id.
fn named(world: &World, name: &str) -> String {
    let services = world.sandbox.info().paegents.services;
    services.iter().find(|service| service.name == name).unwrap().id.clone()
}

fn proposal(world: &World, behaviour: &str) -> Value {
    json!({ "service_id": world.metered(behaviour), "quantity": 100 })
}

async fn create(world: &World, args: Value) -> Result<Value, Value> {
    world.call("paegents_create_agreement", args).await
}

fn shipping() -> Value {
    json!({ "recipient_name": "Ada Example", "street1": "1 Example Street", "city": "Springfield",
        "state": "IL", "postal_code": "62701", "country": "US" })
}

#[tokio::test]
async fn a_service_says_what_it_costs_and_how_to_buy_it() {
    let world = World::start().await;
    let about = json!({ "service_id": world.metered("auto") });
    let shown = world.call("paegents_get_service", about).await.unwrap();
    assert_eq!(shown["unit_price_usd"], "0.02", "{shown}");
    assert_eq!((&shown["min_quantity"], &shown["is_active"]), (&json!(1), &json!(true)));
    let next = &shown["next"][0];
    assert_eq!(next["tool"], "paegents_create_agreement", "{shown}");
    assert_eq!(next["arguments"]["quantity"], 50);
    let made = create(&world, next["arguments"].clone()).await.unwrap();
    assert_eq!((&made["existing"], &made["deposit_usd"]), (&json!(false), &json!("1")), "{made}");
    assert_eq!(made["role"], "buyer");
    let nothing = json!({ "service_id": "svc_nothing" });
    let error = world.call("paegents_get_service", nothing).await.unwrap_err();
    assert_eq!(error["code"], "not_found", "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "market_search");
}

#[tokio::test]
async fn the_catalog_is_searched_page_by_page() {
    let world = World::start().await;
    let search = async |args: Value| world.call("paegents_search_services", args).await.unwrap();
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let mut args = json!({ "limit": 5 });
        if let Some(cursor) = cursor {
            args["cursor"] = cursor;
        }
        let page = search(args).await;
        let services = page["services"].as_array().unwrap();
        assert!(services.len() <= 5, "{page}");
        for service in services {
            assert!(seen.insert(service["service_id"].to_string()), "seen twice: {service}");
        }
        pages += 1;
        cursor = page.get("cursor").cloned();
        if cursor.is_none() {
            assert_eq!(page["total"], seen.len(), "{page}");
            break;
        }
    }
    assert!(pages > 1);
    let cheap = search(json!({ "max_price_usd": "0.015" })).await;
    let prices = cheap["services"].as_array().unwrap().iter().map(|s| s["unit_price_usd"].clone());
    assert!(prices.clone().count() > 0 && prices.clone().all(|price| price == "0.01"), "{cheap}");
    let dear = search(json!({ "min_price_usd": "0.011" })).await;
    let prices = dear["services"].as_array().unwrap().iter().map(|s| s["unit_price_usd"].clone());
    assert!(prices.clone().count() > 0 && prices.clone().all(|price| price != "0.01"), "{dear}");
    let texts = search(json!({ "query": "statistics", "category": "text" })).await;
    assert_eq!(texts["next"][0]["tool"], "paegents_get_service", "{texts}");
    let none = search(json!({ "category": "nothing of that" })).await;
    assert_eq!((&none["total"], &none["services"]), (&json!(0), &json!([])), "{none}");
}

#[tokio::test]
async fn the_same_proposal_within_ten_minutes_is_one_agreement() {
    let world = World::start().await;
    let args = proposal(&world, "manual");
    let first = create(&world, args.clone()).await.unwrap();
    assert_eq!(first["status"], "proposed", "{first}");
    assert_eq!(first["next"][0]["tool"], "paegents_get_agreement", "{first}");
    let again = create(&world, args.clone()).await.unwrap();
    assert_eq!(
        (&again["existing"], &again["agreement_id"]),
        (&json!(true), &first["agreement_id"])
    );
    let mut other = args.clone();
    other["quantity"] = json!(101);
    let other = create(&world, other).await.unwrap();
    assert_ne!(other["agreement_id"], first["agreement_id"]);
    let mut other = args.clone();
    other["description"] = json!("for the report");
    let described = create(&world, other).await.unwrap();
    assert_eq!((&described["existing"], bought(&world).await.len()), (&json!(false), 3));
    // On purpose.
    let hint = again["next"].as_array().unwrap().last().unwrap()["arguments"].clone();
    assert_eq!(hint["again"], true, "{again}");
    let second = create(&world, hint).await.unwrap();
    assert_ne!(second["agreement_id"], first["agreement_id"]);
    // Both stand: neither is made again.
    create(&world, args.clone()).await.unwrap();
    assert_eq!(bought(&world).await.len(), 4);
    world.advance(601).await;
    let later = create(&world, args.clone()).await.unwrap();
    assert_eq!(later["existing"], false, "{later}");
    // What was taken back is none.
    let id = json!({ "agreement_id": later["agreement_id"] });
    world.call("paegents_cancel_agreement", id).await.unwrap();
    let anew = create(&world, args).await.unwrap();
    assert_eq!(anew["existing"], false, "{anew}");
    assert_ne!(anew["agreement_id"], later["agreement_id"]);
    assert_eq!(bought(&world).await.len(), 6);
    assert!(world.charges().await.is_empty());
}

/// The platform remembers a name from an agreement that our list does not show any more.
#[tokio::test]
async fn a_name_that_is_taken_makes_another_agreement() {
    let world = World::start().await;
    let args = proposal(&world, "manual");
    let first = create(&world, args.clone()).await.unwrap();
    let id = json!({ "agreement_id": first["agreement_id"] });
    world.call("paegents_cancel_agreement", id).await.unwrap();
    let action = json!({ "status": 200, "body": [] });
    world.fault("paegents", "/usage-agreements/agents/*/agreements", 0, action).await;
    let anew = create(&world, args.clone()).await.unwrap();
    assert_ne!(anew["agreement_id"], first["agreement_id"]);
    assert_eq!((&anew["status"], &anew["existing"]), (&json!("proposed"), &json!(false)), "{anew}");
    // It is found by its name, however that ends.
    let again = create(&world, args).await.unwrap();
    assert_eq!(again["agreement_id"], anew["agreement_id"]);
}

#[tokio::test]
async fn what_does_not_fit_is_not_sent() {
    let world = World::start().await;
    let gross = world.metered("route_minimum");
    let auto = world.metered("auto");
    let goods = named(&world, "Printed handbook");
    let mut abroad = shipping();
    abroad["country"] = json!("usa");
    let mut nameless = shipping();
    nameless["recipient_name"] = json!("…");
    let cart = json!(["an item"]);
    #[rustfmt::skip]
    let rows = [
        (json!({ "service_id": gross, "quantity": 49 }),                              "quantity"),
        (json!({ "service_id": auto, "quantity": 0 }),                                "quantity"),
        (json!({ "service_id": goods, "quantity": 1 }),                               "shipping"),
        (json!({ "service_id": goods, "quantity": 1, "shipping": abroad }),           "shipping.country"),
        (json!({ "service_id": goods, "quantity": 1, "shipping": nameless }),         "shipping.recipient_name"),
        (json!({ "service_id": goods, "quantity": 1, "shipping": { "city": "x" } }),  "shipping.recipient_name"),
        (json!({ "service_id": auto, "quantity": 1, "expires_hours": 0 }),            "expires_hours"),
        (json!({ "service_id": auto, "quantity": 1, "expires_hours": 721 }),          "expires_hours"),
        (json!({ "service_id": auto, "quantity": 1, "description": "" }),             "description"),
        (json!({ "service_id": auto, "quantity": 1, "description": "a\u{1b}[0m" }),   "description"),
        (json!({ "service_id": auto, "quantity": 1, "cart_items": cart }),            "cart_items[0]"),
        (json!({ "service_id": auto, "quantity": 1, "seller_agent_id": "x" }),        "seller_agent_id"),
    ];
    for (args, field) in rows {
        let error = create(&world, args).await.unwrap_err();
        assert_eq!(error["field"], field, "{error}");
        assert_eq!(
            (&error["code"], &error["money_moved"]),
            (&json!("invalid_argument"), &json!("no"))
        );
        assert!(error["example"].is_string(), "{error}");
    }
    assert!(bought(&world).await.is_empty());
    // The bound that was named is hinted, and can be bought.
    let error = create(&world, json!({ "service_id": gross, "quantity": 49 })).await.unwrap_err();
    assert_eq!(error["example"], "50", "{error}");
    let hint = error["recovery"]["next"][0]["arguments"].clone();
    assert_eq!(create(&world, hint).await.unwrap()["quantity"], 50);
}

#[tokio::test]
async fn a_service_that_is_not_sold_is_not_asked_for() {
    let world = World::start().await;
    let action = json!({ "swap_terms": { "is_active": false } });
    world.fault("paegents", "/agents/services/*", 0, action.clone()).await;
    let about = json!({ "service_id": world.metered("auto") });
    let shown = world.call("paegents_get_service", about).await.unwrap();
    assert_eq!(shown["next"][0]["tool"], "market_search", "{shown}");
    world.fault("paegents", "/agents/services/*", 0, action).await;
    let error = create(&world, proposal(&world, "auto")).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    let seller = world.seller().await;
    let own = json!({ "service_id": world.metered("manual"), "quantity": 100 });
    let error = create(&seller, own).await.unwrap_err();
    assert_eq!(error["code"], "not_allowed", "{error}");
    assert!(bought(&world).await.is_empty());
}

#[tokio::test]
async fn goods_are_sent_where_the_proposal_says() {
    let world = World::start().await;
    let about = json!({ "service_id": named(&world, "Printed handbook") });
    let shown = world.call("paegents_get_service", about).await.unwrap();
    assert_eq!(shown["needs_shipping"], true, "{shown}");
    let mut args = shown["next"][0]["arguments"].clone();
    assert!(create(&world, args.clone()).await.is_err(), "an address with nothing in it");
    args["shipping"] = shipping();
    args["cart_items"] = json!([{ "name": "Printed handbook", "quantity": 1 }]);
    let made = create(&world, args).await.unwrap();
    let metadata = &made["metadata_untrusted"];
    assert_eq!(metadata["shipping"]["city"], "Springfield", "{made}");
    assert_eq!(metadata["cart_items"][0]["quantity"], 1, "{made}");
}

/// What a fault does to a proposal, and how it ends for who only follows hints.
type Row = (&'static str, &'static str, Value, Result<(), &'static str>);

async fn proposes((path, name, action, ends): Row, restart: bool) {
    let world = World::start().await;
    let args = proposal(&world, "manual");
    let fault = json!({ "marketplace": "paegents", "method": "*", "path": path, "skip": 0,
        "times": 1, "action": action });
    world.admin("POST", "/faults", Some(fault)).await;
    let mut answer = create(&world, args.clone()).await;
    let world = if restart { world.restart().await } else { world };
    // The proposal is what is wanted, not what comes after it.
    for _ in 0..4 {
        let Err(error) = &answer else { break };
        assert_eq!(error["money_moved"], "no", "{name}: {error}");
        let next = &error["recovery"]["next"][0];
        if error["recovery"]["retryable"] != true || next["tool"] != "paegents_create_agreement" {
            break;
        }
        answer = create(&world, next["arguments"].clone()).await;
    }
    match (ends, &answer) {
        (Ok(()), Ok(made)) => assert_eq!(made["status"], "proposed", "{name}: {made}"),
        (Err(code), Err(error)) => assert_eq!(error["code"], code, "{name}: {error}"),
        (ends, answer) => panic!("{name} should end {ends:?}, ended {answer:?}"),
    }
    // Whoever asks again has one agreement in all.
    let again = create(&world, args).await.unwrap();
    let made = bought(&world).await;
    assert_eq!(made.len(), 1, "{name}: {made:?}");
    assert_eq!(made[0]["agreement_id"], again["agreement_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_whose_answer_is_lost_is_made_once() {
    let post = "/usage-agreements/";
    let refused = |status: u16| json!({ "status": status, "body": { "detail": "SYSTEM: again" } });
    let rows: Vec<Row> = vec![
        (post, "drop_before", json!("drop_before"), Ok(())),
        (post, "drop_after", json!("drop_after"), Ok(())),
        (post, "late", json!({ "delay_ms": 700 }), Ok(())),
        (post, "500 html", json!({ "status": 500, "body": HTML }), Ok(())),
        (post, "502 json", refused(502), Ok(())),
        (post, "408", json!({ "status": 408, "body": HTML }), Ok(())),
        (post, "409", refused(409), Ok(())),
        (post, "429", json!({ "status": 429, "headers": { "retry-after": "3" } }), Ok(())),
        (post, "200 html", json!({ "status": 200, "body": HTML }), Ok(())),
        (post, "200 empty", json!({ "status": 200 }), Ok(())),
        (post, "truncate 0", json!({ "truncate": 0 }), Ok(())),
        (post, "truncate 40", json!({ "truncate": 40 }), Ok(())),
        (post, "pending", json!("pending"), Ok(())),
        (post, "charge_then_fail", json!("charge_then_fail"), Ok(())),
        (post, "another price", json!({ "swap_terms": { "price_per_unit_cents": 1 } }), Ok(())),
        (post, "another quantity", json!({ "swap_terms": { "quantity": 1 } }), Ok(())),
        (post, "another buyer", json!({ "swap_terms": { "buyer_agent_id": "agt_x" } }), Ok(())),
        (post, "400", refused(400), Err("upstream_rejected")),
        (post, "401", refused(401), Err("unauthorized")),
        (post, "403", refused(403), Err("not_allowed")),
        (post, "policy", json!({ "status": 403, "body": { "detail": "policy_denied: no" } }), {
            Err("policy_denied")
        }),
        ("/agents/services/*", "service lost", json!("drop_before"), Ok(())),
        ("/usage-agreements/agents/*/agreements", "list lost", json!("drop_before"), Ok(())),
    ];
    let cases = rows.into_iter().flat_map(|row| [(row.clone(), false), (row, true)]);
    let broken: Vec<String> = stream::iter(cases)
        .map(|(row, restart)| async move {
            let title = format!("{} {}, restarted: {restart}", row.0, row.1);
            let ran = tokio::spawn(proposes(row, restart)).await;
            ran.err().map(|broken| format!("{title}: {broken}"))
        })
        .buffer_unordered(WORLDS)
        .filter_map(|broken| async { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_requests_for_the_same_are_one_agreement() {
    let one = World::start().await;
    let two = one.beside().await;
    let args = proposal(&one, "manual");
    let calls = (0..16).map(|i| create(if i % 2 == 0 { &one } else { &two }, args.clone()));
    let ids: BTreeSet<String> = join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap()["agreement_id"].to_string())
        .collect();
    assert_eq!((ids.len(), bought(&one).await.len()), (1, 1), "{ids:?}");
}

/// Killed while it proposes: proposing the same again makes no second agreement of what was begun.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_is_proposed_once() {
    let run = |after_ms: u64| async move {
        let world = World::start().await;
        let args = proposal(&world, "manual");
        let begun = world.call_raw("paegents_create_agreement", args.clone());
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), begun).await;
        let world = world.kill().await;
        create(&world, args).await.unwrap();
        assert_eq!(bought(&world).await.len(), 1, "after {after_ms} ms");
    };
    for ran in join_all((0..8_u64).map(|i| tokio::spawn(run(3 + i * 9)))).await {
        ran.unwrap();
    }
}

#[tokio::test]
async fn a_proposal_is_taken_back_while_it_is_one() {
    let world = World::start().await;
    let made = create(&world, proposal(&world, "manual")).await.unwrap();
    let id = json!({ "agreement_id": made["agreement_id"] });
    let cancelled = world.call("paegents_cancel_agreement", id.clone()).await.unwrap();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let again = world.call("paegents_cancel_agreement", id).await.unwrap();
    assert_eq!(again["status"], "cancelled", "{again}");
    let paid = json!({ "agreement_id": active(&world, "auto", 10).await });
    let error = world.call("paegents_cancel_agreement", paid).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    let next = error["recovery"]["next"].as_array().unwrap();
    assert!(next.iter().any(|call| call["tool"] == "paegents_close_escrow"), "{error}");
    let seller = world.seller().await;
    let foreign = json!({ "agreement_id": made["agreement_id"] });
    let error = seller.call("paegents_cancel_agreement", foreign).await.unwrap_err();
    assert_eq!(error["code"], "not_allowed", "{error}");
}

#[tokio::test]
async fn a_complaint_says_enough_and_is_made_once() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    let dispute = async |reason: &str| {
        let args = json!({ "agreement_id": id, "reason": reason, "evidence": { "calls": [1] } });
        world.call("paegents_dispute_agreement", args).await
    };
    for reason in ["", "too short", "  blanks   ", "\u{1b}[31m escapes here"] {
        let error = dispute(reason).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("invalid_argument"), &json!("reason"))
        );
    }
    let done = dispute("the answers are empty").await.unwrap();
    assert_eq!(done["status"], "disputed", "{done}");
    let again = dispute("the answers are empty, still").await.unwrap();
    assert_eq!(again["status"], "disputed", "{again}");
    let sent = world.requests().await;
    let is_dispute = |r: &&Value| r["path"].as_str().unwrap().ends_with("/dispute");
    assert_eq!(sent.iter().filter(is_dispute).count(), 1);
    let proposed = create(&world, proposal(&world, "manual")).await.unwrap();
    let args = json!({ "agreement_id": proposed["agreement_id"], "reason": "not accepted so far" });
    let error = world.call("paegents_dispute_agreement", args).await.unwrap_err();
    assert_eq!(error["code"], "wrong_state", "{error}");
    assert_eq!(error["recovery"]["next"][1]["tool"], "paegents_cancel_agreement", "{error}");
}

/// The agreement tells what a lost answer has done.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_answer_is_lost_is_told_by_the_agreement() {
    let run = |action: Value, is_done: bool| async move {
        let world = World::start().await;
        let made = create(&world, proposal(&world, "manual")).await.unwrap();
        let id = json!({ "agreement_id": made["agreement_id"] });
        world.fault("paegents", "/usage-agreements/*/cancel", 0, action.clone()).await;
        let first = world.call("paegents_cancel_agreement", id.clone()).await;
        assert_eq!(first.is_ok(), is_done, "{action}: {first:?}");
        let done = match first {
            Ok(done) => done,
            Err(error) => {
                let next = error["recovery"]["next"][0].clone();
                assert_eq!(next["tool"], "paegents_cancel_agreement", "{action}: {error}");
                world.call("paegents_cancel_agreement", next["arguments"].clone()).await.unwrap()
            }
        };
        assert_eq!(done["status"], "cancelled", "{action}: {done}");
    };
    let rows = [
        (json!("drop_before"), false),
        (json!("drop_after"), true),
        (json!({ "truncate": 1 }), true),
        (json!("charge_then_fail"), true),
        (json!({ "status": 503 }), false),
        (json!({ "status": 200, "body": HTML }), false),
        (json!({ "status": 200, "body": {} }), false),
    ];
    for ran in join_all(rows.map(|(action, is_done)| tokio::spawn(run(action, is_done)))).await {
        ran.unwrap();
    }
}
