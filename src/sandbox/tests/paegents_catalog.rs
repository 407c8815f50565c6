//! Paegents' catalog: what sellers keep in it, what buyers find.

use serde_json::{Value, json};

use super::World;
use crate::sandbox::paegents::agents;

fn registration() -> Value {
    json!({
        "service_name": "Tide tables", "description": "Tides of any port.", "category": "data",
        "price_model": "per_unit", "base_price_cents": 7, "unit": "api_calls", "min_quantity": 5,
        "max_quantity": 500, "capabilities": { "ports": ["any"] },
        "api_base_url": "http://127.0.0.1:9/v1", "api_key": "upstream-secret-0123",
        "api_auth_header": "X-Tide-Key",
    })
}

#[tokio::test]
async fn has_something_of_every_behaviour() {
    let world = World::start().await;
    let behaviours = [
        "auto",
        "manual",
        "slow",
        "rejects",
        "never_delivers",
        "fails_after_payment",
        "price_rises",
        "route_minimum",
        "hostile_text",
        "free",
    ];
    let seller = agents::known_id(world.inside(), agents::SELLER);
    for behaviour in behaviours {
        let item = world.offer(behaviour);
        assert_eq!(item.owner_id == seller, behaviour == "manual", "{behaviour}");
        let shown = world.buys("GET", &format!("/agents/services/{}", item.id), Value::Null).await;
        assert_eq!(shown.json["service_name"], json!(item.name), "{behaviour}");
        assert_ne!(item.input_example, Value::Null, "{behaviour}");
    }
    assert_eq!(world.offer("auto").price_usd, "0.02");
    let info = &world.info.paegents;
    assert_eq!(info.buyer.wallet, world.info.crochet.buyer.wallet);
    assert_eq!(info.seller.wallet, world.info.crochet.seller.wallet);
    assert_eq!(info.owner_jwt.split('.').count(), 3);
    assert!(info.buyer.api_key.starts_with("sk_") && info.buyer.agent_id.starts_with("agt_"));
}

#[tokio::test]
async fn a_seller_keeps_its_services() {
    let world = World::start().await;
    let made = world.sells("POST", "/agents/services", registration()).await;
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("/agents/services/{}", made.json["service_id"].as_str().unwrap());
    let shown = world.buys("GET", &path, Value::Null).await;
    assert_eq!(shown.json["api_key_masked"], "****0123");
    assert_eq!(shown.json["api_auth_header"], "X-Tide-Key");
    for reply in [&made, &shown] {
        assert!(!reply.json.to_string().contains("upstream-secret"), "{reply:?}");
    }
    let other = world.buys("PUT", &path, json!({ "description": "mine" })).await;
    assert_eq!(other.status, 403);
    world.pass(1_000);
    let change = json!({ "base_price_cents": 0, "description": "Tides.", "max_quantity": null });
    let changed = world.sells("PUT", &path, change).await.json;
    assert_eq!(changed["base_price_cents"], 0);
    assert_eq!(changed["max_quantity"], 500);
    assert_eq!(changed["service_name"], "Tide tables");
    assert_ne!(changed["updated_at"], changed["created_at"]);

    let mine = world.sells("GET", "/agents/services?limit=2&offset=2", Value::Null).await.json;
    assert_eq!(mine["total"], 4);
    assert_eq!(mine["services"].as_array().unwrap().len(), 2);
    assert_eq!(mine["services"][1]["service_id"], made.json["service_id"]);
    assert_eq!((&mine["has_more"], &mine["next_offset"]), (&json!(false), &Value::Null));
    let query = json!({ "query": "TIDES", "limit": 50, "offset": 0 });
    let found = world.buys("POST", "/catalog/search", query.clone()).await.json;
    assert_eq!(found["total"], 1);
    assert!(!found.to_string().contains("api_base_url"), "{found}");
    assert_eq!(world.buys("DELETE", &path, Value::Null).await.status, 403);
    let gone = world.sells("DELETE", &path, Value::Null).await;
    assert_eq!((gone.status.as_u16(), &gone.json["is_active"]), (200, &json!(false)));
    assert_eq!(world.buys("POST", "/catalog/search", query).await.json["total"], 0);
    assert_eq!(world.buys("GET", &path, Value::Null).await.json["is_active"], false);
    assert_eq!(world.sells("DELETE", &path, Value::Null).await.status, 404);
}

#[tokio::test]
async fn refuses_what_no_service_may_have() {
    let world = World::start().await;
    #[rustfmt::skip]
    let rows = [
        ("service_name",     json!("")),
        ("description",      json!("")),
        ("price_model",      json!("auction")),
        ("base_price_cents", json!(-1)),
        ("base_price_cents", json!(1_000_000_000)),
        ("min_quantity",     json!(0)),
        ("max_quantity",     json!(4)),
        ("capabilities",     json!(["x"])),
        ("api_base_url",     json!("ftp://127.0.0.1")),
        ("api_auth_header",  json!("no header")),
    ];
    for (member, value) in rows {
        let mut body = registration();
        body[member] = value.clone();
        let reply = world.sells("POST", "/agents/services", body).await;
        assert_eq!(reply.detail(), (422, member.to_owned()), "{value}");
    }
    let mut body = registration();
    body.as_object_mut().unwrap().remove("unit");
    let reply = world.sells("POST", "/agents/services", body).await;
    assert_eq!(reply.detail(), (422, "unit".to_owned()));
    assert_eq!(reply.json["detail"][0]["msg"], "Field required");
    let url = format!("{}/agents/services", world.info.paegents.api_url);
    let request = world.http.post(url).bearer_auth(&world.info.paegents.seller.api_key);
    let reply = world.send(request.body("{\"a\":")).await.unwrap();
    assert_eq!(reply.json["detail"][0]["type"], "json_invalid");
    let lost = world.sells("GET", "/no/such/path", Value::Null).await;
    assert_eq!(lost.detail(), (404, "Not Found".to_owned()));
    let wrong = world.sells("PATCH", "/agents/services", Value::Null).await;
    assert_eq!(wrong.detail(), (405, "Method Not Allowed".to_owned()));
}

#[tokio::test]
async fn a_search_is_open_and_paged() {
    let world = World::start().await;
    let search = |body: Value| {
        let world = &world;
        async move { world.paegents(("POST", "/catalog/search"), "", body, &[]).await.json }
    };
    let all = search(json!({})).await;
    let total = all["total"].as_u64().unwrap();
    assert_eq!(total, world.info.paegents.services.len() as u64);
    assert_eq!(all["has_more"], false);
    let mut seen = Vec::new();
    let mut offset = json!(0);
    while !offset.is_null() {
        let page = search(json!({ "limit": 7, "offset": offset })).await;
        seen.extend(page["results"].as_array().unwrap().clone());
        assert_eq!(page["has_more"], json!(!page["next_offset"].is_null()));
        offset = page["next_offset"].clone();
    }
    assert_eq!(json!(seen), all["results"]);
    let security = search(json!({ "category": "security", "max_price": 1 })).await;
    assert_eq!(security["total"], 3);
    let dear = search(json!({ "min_price": 6 })).await;
    assert_eq!(dear["results"][0]["service_name"], "Printed handbook");
    assert_eq!(dear["total"], 1);
    assert_eq!(search(json!({ "query": "digest bulk" })).await["total"], 1);
    let wrong = world.buys("POST", "/catalog/search", json!({ "limit": 0 })).await;
    assert_eq!(wrong.detail(), (422, "limit".to_owned()));
}
