//! Ordering on CROO: from the search to the delivery, whoever sells; and asking for an offer once.

use futures::future::join_all;
use haggle::sandbox::ItemInfo;
use serde_json::{Value, json};

use crate::world::{Make, World};

/// The first service with this behaviour whose name begins so.
pub(crate) fn service(world: &World, behaviour: &str, name: &str) -> ItemInfo {
    let services = world.sandbox.info().croo.services;
    let is_it = |item: &&ItemInfo| item.behaviour == behaviour && item.name.starts_with(name);
    services.iter().find(is_it).unwrap_or_else(|| panic!("no {behaviour} {name}")).clone()
}

/// The arguments that ask this service for an offer.
pub(crate) fn asking(item: &ItemInfo) -> Value {
    json!({ "service_id": item.id, "requirements": item.input_example })
}

/// An order for this service that can be paid.
pub(crate) async fn ordered(world: &World, item: &ItemInfo) -> Value {
    let made = world.call("croo_negotiate_order", asking(item)).await.unwrap();
    let wait = json!({ "negotiation_id": made["negotiation_id"], "wait_seconds": 20 });
    let order = world.call("croo_get_order", wait).await.unwrap();
    assert_eq!(order["status"], "created", "{order}");
    order
}

/// The arguments that pay an order at what it costs.
pub(crate) fn paying(order: &Value) -> Value {
    json!({ "order_id": order["order_id"], "max_total_usd": order["cost"]["total_usd"] })
}

/// A request to CROO by another program that has this key.
pub(crate) async fn at_croo(
    world: &World,
    key: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("{}/backend/v1{path}", world.sandbox.info().croo.api_url);
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let mut request = http.request(method.parse().unwrap(), url).header("x-sdk-key", key);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// As [`at_croo`], by the agent who owns the `manual` services.
pub(crate) async fn by_provider(world: &World, path: &str, body: Value) -> Value {
    let key = world.sandbox.info().croo.provider.sdk_key;
    let (status, answer) = at_croo(world, &key, "POST", path, Some(body)).await;
    assert!(status < 400, "{path}: {answer}");
    answer
}

/// How many requests of this method, whose path ends so, reached CROO.
pub(crate) async fn sent(world: &World, method: &str, end: &str) -> usize {
    let is_one = |request: &&Value| {
        request["marketplace"] == "croo"
            && request["method"] == method
            && request["path"].as_str().unwrap().ends_with(end)
    };
    world.requests().await.iter().filter(is_one).count()
}

/// How many negotiations CROO has of the requester.
async fn negotiations(world: &World) -> usize {
    let key = world.sandbox.info().croo.requester.sdk_key;
    let path = "/orders/negotiate?role=requester&page_size=50";
    let (_, list) = at_croo(world, &key, "GET", path, None).await;
    list["negotiations"].as_array().map_or(0, Vec::len)
}

/// Arms a fault for one method and path of CROO.
pub(crate) async fn fault(world: &World, method: &str, path: &str, action: Value) {
    let fault = json!({ "marketplace": "croo", "method": method, "path": path, "times": 1,
        "action": action });
    world.admin("POST", "/faults", Some(fault)).await;
}

/// Every seller, by someone who makes the call that is hinted first, until a result is there or
/// nothing but another seller is left.
#[tokio::test(flavor = "multi_thread")]
async fn every_seller_ends_as_it_should() {
    #[rustfmt::skip]
    let rows = [
        // how the seller behaves  its service   ends with                      charges
        ("auto",                   "Text",       Ok(()),                        1),
        ("auto",                   "Unit",       Ok(()),                        1),
        ("auto",                   "SHA",        Ok(()),                        1),
        ("auto",                   "JSON",       Ok(()),                        1),
        ("slow",                   "",           Ok(()),                        1),
        ("hostile_text",           "",           Ok(()),                        1),
        ("price_rises",            "",           Ok(()),                        1),
        ("rejects",                "",           Err("rejected"),               0),
        ("fails_after_payment",    "",           Err("paid_not_delivered"),     1),
        ("never_delivers",         "",           Err("wrong_state"),            1),
        ("manual",                 "Expert",     Err("pending"),                0),
    ];
    let runs = rows.map(|(behaviour, name, ends, charges)| {
        tokio::spawn(async move {
            let world = World::start().await;
            let item = service(&world, behaviour, name);
            let answer = hinted(&world, asking(&item)).await;
            let found = match &answer {
                Ok(done) if !done["result_untrusted"].is_null() => Ok(()),
                Ok(stuck) => Err(stuck["negotiation"]["status"].as_str().unwrap()),
                Err(error) => Err(error["code"].as_str().unwrap()),
            };
            assert_eq!(found, ends, "{behaviour} {name}: {answer:?}");
            assert_eq!(world.charges().await.len(), charges, "{behaviour} {name}");
            world.audit().await;
        })
    });
    for run in join_all(runs).await {
        run.unwrap();
    }
}

/// Follows the first hint as long as it leads on with the same order, a dozen times at most; waits
/// are cut short.
async fn hinted(world: &World, args: Value) -> Result<Value, Value> {
    let mut call = ("croo_negotiate_order".to_owned(), args);
    let mut last = Ok(Value::Null);
    for _ in 0..12 {
        if call.1["wait_seconds"].is_number() {
            call.1["wait_seconds"] = json!(4);
        }
        last = world.call(&call.0, call.1.clone()).await;
        let next = match &last {
            Ok(done) => done["next"].get(0).cloned(),
            Err(error) => error["recovery"]["next"].get(0).cloned(),
        };
        let Some(next) = next else { break };
        let again = (next["tool"].as_str().unwrap().to_owned(), next["arguments"].clone());
        // Another seller, or waiting for what did not come.
        let over =
            !again.0.starts_with("croo_") || (again.0 == call.0 && call.1 == wait_of(&again.1));
        if over || last.as_ref().is_ok_and(|done| !done["result_untrusted"].is_null()) {
            break;
        }
        call = again;
    }
    last
}

fn wait_of(arguments: &Value) -> Value {
    let mut arguments = arguments.clone();
    if arguments["wait_seconds"].is_number() {
        arguments["wait_seconds"] = json!(4);
    }
    arguments
}

/// From a search to the result, without an identifier of one's own.
#[tokio::test]
async fn a_search_leads_to_a_result() {
    let world = World::start().await;
    let query = json!({ "query": "text statistics", "marketplace": "croo" });
    let found = world.call("market_search", query).await.unwrap();
    assert!(found["offers"].as_array().unwrap().iter().all(|o| o["marketplace"] == "croo"));
    let done = world.follow(json!({ "recovery": { "next": found["next"] } })).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(done["content_hash"], "verified");
    assert_eq!(world.charges().await.len(), 1);
}

#[tokio::test]
async fn a_service_says_what_it_wants() {
    let world = World::start().await;
    let unit = service(&world, "auto", "Unit");
    let about = json!({ "service_id": unit.id });
    let shown = world.call("croo_get_service", about.clone()).await.unwrap();
    assert_eq!(shown["price_usd"], "0.10");
    assert_eq!(shown["sla_minutes"], 5);
    assert_eq!(shown["provider_agent_id"], unit.owner_id);
    assert_eq!(shown["requirement_type"], "schema");
    assert_eq!(shown["wants_fund"], false);
    let names: Vec<_> =
        shown["fields"].as_array().unwrap().iter().map(|f| f["name_untrusted"].clone()).collect();
    assert_eq!(names, ["value", "from", "to"]);
    assert_eq!(shown["fields"][0]["type"], "string");
    assert_eq!(shown["fields"][0]["required"], true);
    let call = &shown["next"][0];
    assert_eq!(call["tool"], "croo_negotiate_order");
    assert_eq!(call["arguments"]["requirements"], json!({ "value": "…", "from": "…", "to": "…" }));
    // The agent's page fails: less is said.
    fault(&world, "GET", "/public/agents/*", json!({ "status": 503 })).await;
    let less = world.call("croo_get_service", about).await.unwrap();
    assert_eq!(less["price_usd"], "0.10");
    assert!(less["agent_completed_orders"].is_null(), "{less}");
    let fund = service(&world, "auto", "Fund");
    let shown = world.call("croo_get_service", json!({ "service_id": fund.id })).await.unwrap();
    assert_eq!(shown["wants_fund"], true);
    assert!(shown["next"][0]["arguments"]["fund_usd"].is_string());
    let gone = world.call("croo_get_service", json!({ "service_id": "nobody" })).await.unwrap_err();
    assert_eq!(gone["code"], "not_found");
    assert_eq!(gone["recovery"]["next"][0]["tool"], "market_search");
}

/// What does not fit a service is refused with its field, and a shape that fits; nothing is sent.
#[tokio::test]
async fn an_input_that_does_not_fit_is_not_sent() {
    let world = World::start().await;
    let unit = service(&world, "auto", "Unit");
    let fits = json!({ "value": "1", "from": "mi", "to": "km" });
    #[rustfmt::skip]
    let rows = [
        (json!({ "value": "1", "from": "mi" }),                          "requirements.to"),
        (json!({ "value": 1, "from": "mi", "to": "km" }),                "requirements.value"),
        (json!({ "value": "1", "from": "mi", "to": "km", "x": 1 }),      "requirements.x"),
        (json!("26.2 mi to km"),                                         "requirements"),
        (json!(["26.2", "mi", "km"]),                                    "requirements"),
        (json!(7),                                                       "requirements"),
        (Value::Null,                                                    "requirements"),
        (json!({ "value": "9".repeat(70_000), "from": "a", "to": "b" }), "requirements"),
    ];
    for (requirements, field) in rows {
        let args = json!({ "service_id": unit.id, "requirements": requirements });
        let error = world.call("croo_negotiate_order", args).await.unwrap_err();
        assert_eq!(error["code"], "invalid_argument", "{field}: {error}");
        assert_eq!(error["field"], field);
        assert!(error["example"].is_string());
        if !requirements.to_string().contains("999") {
            let next = &error["recovery"]["next"][0];
            assert_eq!(next["tool"], "croo_negotiate_order");
            assert_eq!(next["arguments"]["requirements"].as_object().unwrap().len(), 3);
        }
    }
    assert_eq!(sent(&world, "POST", "/orders/negotiate").await, 0);
    // Text that is an object, and an object, are the same.
    let text = json!({ "service_id": unit.id, "requirements": fits.to_string() });
    let made = world.call("croo_negotiate_order", text).await.unwrap();
    assert_eq!(made["requirements_untrusted"], fits);
    let same = json!({ "service_id": unit.id, "requirements": fits });
    let same = world.call("croo_negotiate_order", same).await.unwrap();
    assert_eq!(
        (&same["existing"], &same["negotiation_id"]),
        (&json!(true), &made["negotiation_id"])
    );
    assert_eq!(negotiations(&world).await, 1);
}

/// The same is asked for once within ten minutes, unless it is wanted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_negotiation_is_made_once() {
    let world = World::start().await;
    let item = service(&world, "manual", "Expert");
    let ask = async |more: Value| {
        let mut args = asking(&item);
        for (name, value) in more.as_object().unwrap() {
            args[name] = value.clone();
        }
        world.call("croo_negotiate_order", args).await.unwrap()
    };
    let at_once = join_all((0..8).map(|_| ask(json!({})))).await;
    let first = at_once[0]["negotiation_id"].clone();
    assert!(at_once.iter().all(|made| made["negotiation_id"] == first), "{at_once:?}");
    assert_eq!(at_once.iter().filter(|made| made["existing"] == false).count(), 1);
    assert_eq!(negotiations(&world).await, 1);
    let found = ask(json!({})).await;
    assert_eq!(found["next"][0]["tool"], "croo_get_order");
    assert_eq!(found["next"][1]["arguments"]["again"], true);

    for different in [json!({ "requirements": "another" }), json!({ "metadata": "m" })] {
        assert_eq!(ask(different).await["existing"], false);
    }
    let second = ask(json!({ "again": true })).await;
    assert_eq!(second["existing"], false);
    assert_eq!(negotiations(&world).await, 4);
    // Rejected or long ago is no longer the same.
    for id in [&first, &second["negotiation_id"]] {
        let path = format!("/orders/negotiate/{}/reject", id.as_str().unwrap());
        by_provider(&world, &path, json!({ "reason": "no" })).await;
    }
    let third = ask(json!({})).await;
    assert_eq!(third["existing"], false);
    world.advance(601).await;
    assert_eq!(ask(json!({})).await["existing"], false);
}

/// A lost answer is settled by the list, and never by a second negotiation.
#[tokio::test(flavor = "multi_thread")]
async fn a_negotiation_whose_answer_is_lost_is_made_once() {
    for (action, is_made) in [
        (json!("drop_after"), true),
        (json!({ "truncate": 20 }), true),
        (json!("drop_before"), false),
        (json!({ "status": 502 }), false),
    ] {
        for again in [false, true] {
            let world = World::start().await;
            let item = service(&world, "manual", "Expert");
            let mut args = asking(&item);
            let mut before = 0;
            if again {
                world.call("croo_negotiate_order", args.clone()).await.unwrap();
                args["again"] = json!(true);
                before = 1;
            }
            fault(&world, "POST", "/orders/negotiate", action.clone()).await;
            let answer = world.call("croo_negotiate_order", args).await;
            let made = if is_made {
                answer.unwrap()
            } else {
                let error = answer.unwrap_err();
                assert_eq!(error["money_moved"], "no");
                assert_eq!(error["repeat_safe"], false, "{error}");
                let next = &error["recovery"]["next"][0];
                assert_eq!(next["tool"], "croo_negotiate_order");
                assert!(next["arguments"]["again"].is_null());
                world.call("croo_negotiate_order", next["arguments"].clone()).await.unwrap()
            };
            assert_eq!(made["status"], "pending", "{made}");
            let all = negotiations(&world).await;
            let expected = if is_made { before + 1 } else { 1 };
            assert_eq!(all, expected, "{action} again: {again}");
        }
    }
}

/// What CROO refuses for its input leads to what the service says of it.
#[tokio::test]
async fn what_the_store_does_not_know_is_left_to_croo() {
    let world = World::start().await;
    let unit = service(&world, "auto", "Unit");
    // Nothing of the public store: nothing is checked here.
    let nothing = json!({ "status": 404, "body": "no such page" });
    fault(&world, "GET", "/public/services/*", nothing.clone()).await;
    let args = json!({ "service_id": unit.id, "requirements": "26.2 mi" });
    let error = world.call("croo_negotiate_order", args).await.unwrap_err();
    assert_eq!(error["code"], "upstream_rejected", "{error}");
    assert_eq!(error["upstream_code"], "INVALID_PARAMETERS");
    assert_eq!(error["recovery"]["next"][0]["tool"], "croo_get_service");
    fault(&world, "GET", "/public/services/*", nothing).await;
    world.call("croo_negotiate_order", asking(&unit)).await.unwrap();
    let unknown = json!({ "service_id": "nobody", "requirements": "x" });
    let error = world.call("croo_negotiate_order", unknown).await.unwrap_err();
    assert_eq!(error["code"], "not_found");
    assert_eq!(sent(&world, "POST", "/orders/negotiate").await, 2);
}

/// Without a key nothing but the public store is read.
#[tokio::test]
async fn without_a_good_key_nothing_is_ordered() {
    let key = Some("croo_sk_nobody".to_owned());
    let world = World::start_with(Make { croo_key: key, ..Make::default() }).await;
    let item = service(&world, "auto", "Text");
    world.call("croo_get_service", json!({ "service_id": item.id })).await.unwrap();
    let error = world.call("croo_negotiate_order", asking(&item)).await.unwrap_err();
    assert_eq!(error["code"], "unauthorized", "{error}");
    assert_eq!(negotiations(&world).await, 0);
}
