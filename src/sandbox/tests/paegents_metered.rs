//! Paegents' metered proxy: who is asked, and what it costs.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, body::Bytes, http::HeaderMap, routing::any};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    Reply, World,
    paegents_agreements::{STEP_MS, about, headers},
};
use crate::sandbox::{ItemInfo, paegents::agreements};

/// Path and query, headers, body.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// A seller's own API: its base, and what it was asked.
async fn api(units: &'static str) -> (String, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let app = Router::new().fallback(any(
        move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| async move {
            record.lock().unwrap().push((uri.to_string(), headers, body));
            ([("X-Usage-Units", units)], Json(json!({ "price": "1.20" })))
        },
    ));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, seen)
}

impl World {
    /// An agreement about `quantity` units that is active, whatever the chain says.
    async fn active(&self, item: &ItemInfo, quantity: u64) -> Value {
        let mut body = self.proposal(item).await;
        body["quantity"] = json!(quantity);
        let made = self.buys("POST", "/usage-agreements/", body).await;
        let id = made.json["agreement_id"].clone();
        let world = self.inside();
        world
            .transact(|db, _| {
                let mut agreement = agreements::find(db, id.as_str().unwrap())?.unwrap();
                agreement.status = "active".to_owned();
                agreement.activation_status = "confirmed".to_owned();
                agreements::save(db, &agreement)
            })
            .unwrap();
        id
    }

    /// A metered call of the buyer; the units it cost come with the answer.
    async fn metered(
        &self,
        id: &Value,
        (method, path): (&str, &str),
        nonce: &str,
        body: Value,
    ) -> (Reply, String) {
        let (api, id) = (&self.info.paegents.api_url, id.as_str().unwrap());
        let url = format!("{api}/metered-proxy/{id}{path}");
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(&self.info.paegents.buyer.api_key)
            .headers(headers(&[("X-Request-Nonce", nonce), ("X-Mine", "kept")]));
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let units = response.headers().get("x-usage-units").cloned();
        let bytes = response.bytes().await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let units = units.map(|units| units.to_str().unwrap().to_owned());
        (Reply { status, json }, units.unwrap_or_default())
    }

    /// Makes the example call of a service.
    async fn example(&self, id: &Value, item: &ItemInfo, nonce: &str) -> (Reply, String) {
        let example = &item.input_example;
        let line = (example["method"].as_str().unwrap(), example["path"].as_str().unwrap());
        self.metered(id, line, nonce, example["json"].clone()).await
    }

    async fn usage(&self, id: &Value) -> Value {
        self.metered(id, ("GET", "/status"), "any", Value::Null).await.0.json
    }
}

#[tokio::test]
async fn every_example_works_and_costs_a_unit() {
    let world = World::start().await;
    for item in world.info.paegents.services.clone() {
        if !["auto", "free", "slow", "price_rises", "route_minimum"]
            .contains(&item.behaviour.as_str())
        {
            continue;
        }
        let id = world.active(&item, 50).await;
        let (reply, units) = world.example(&id, &item, "n1").await;
        assert_eq!((reply.status, units.as_str()), (StatusCode::OK, "1"), "{}", item.name);
        let usage = world.usage(&id).await;
        assert_eq!((&usage["units_used"], &usage["units_remaining"]), (&json!(1), &json!(49)));
        let drawn = world.entered(&id).await;
        assert_eq!(drawn.len(), 1, "{}", item.name);
        assert_eq!(drawn[0], ("draw".to_owned(), "n1".to_owned(), item.price_usd.clone()));
    }
}

#[tokio::test]
async fn a_nonce_is_worth_one_call() {
    let world = World::start().await;
    let item = world.offered("Unit conversion");
    let id = world.active(&item, 3).await;
    let (first, _) = world.example(&id, &item, "n1").await;
    assert_eq!(first.json["result"], "42.164812");
    let (again, _) = world.example(&id, &item, "n1").await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.detail().1.contains("replay"), "{again:?}");
    assert_eq!(world.usage(&id).await["units_used"], 1);

    let (units, cost) = world.metered(&id, ("GET", "/units"), "n2", Value::Null).await;
    assert_eq!((units.status, cost.as_str()), (StatusCode::OK, "1"));
    world.pass(4_999);
    let (cached, cost) = world.metered(&id, ("GET", "/units"), "n3", Value::Null).await;
    assert_eq!((cached.json, cost.as_str()), (units.json, "0"));
    let (other, cost) = world.metered(&id, ("GET", "/units?x=1"), "n4", Value::Null).await;
    assert_eq!((other.status, cost.as_str()), (StatusCode::OK, "1"), "another question");
    let (cached, _) = world.metered(&id, ("GET", "/units?x=1"), "n5", Value::Null).await;
    assert_eq!(cached.status, 200, "what is there is given even now");
    world.pass(1);
    let (exhausted, _) = world.metered(&id, ("GET", "/units"), "n6", Value::Null).await;
    assert_eq!(exhausted.detail(), (402, "agreement exhausted".to_owned()));
    assert_eq!(world.usage(&id).await["units_remaining"], 0);
    assert_eq!(world.entered(&id).await.len(), 3);
    // What was refused before anybody was asked left no trace.
    let proofs = world.buys("GET", &about(&id, "call-proofs"), Value::Null).await.json;
    assert_eq!(proofs["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn lets_nobody_else_through() {
    let world = World::start().await;
    let item = world.offer("auto");
    let id = world.proposed(&item).await["agreement_id"].clone();
    let (early, _) = world.example(&id, &item, "n1").await;
    assert_eq!(early.status, 409, "{early:?}");
    let id = world.active(&item, 5).await;
    let path = format!("/metered-proxy/{}/units", id.as_str().unwrap());
    let url = format!("{}{path}", world.info.paegents.api_url);
    let key = &world.info.paegents.buyer.api_key;
    let nonce = ("X-Request-Nonce", "n1");
    for (what, request, status) in [
        ("no nonce", world.http.get(&url).bearer_auth(key), 400),
        (
            "the other header",
            world.http.get(&url).headers(headers(&[nonce, ("X-API-Key", key)])),
            401,
        ),
        (
            "the seller",
            world
                .http
                .get(&url)
                .bearer_auth(&world.info.paegents.seller.api_key)
                .headers(headers(&[nonce])),
            404,
        ),
    ] {
        assert_eq!(world.send(request).await.unwrap().status, status, "{what}");
    }
    assert_eq!(world.usage(&id).await["units_used"], 0);
    let (posted, _) = world.metered(&id, ("POST", "/status"), "n1", json!({})).await;
    assert_eq!(posted.status, 405, "the path is the proxy's own");
}

#[tokio::test]
async fn difficult_sellers_cost_what_they_answer() {
    let world = World::start().await;
    #[rustfmt::skip]
    let rows = [
        ("fails_after_payment", 502, "1"),
        ("never_delivers",      504, "0"),
        ("hostile_text",        200, "1"),
    ];
    for (behaviour, status, units) in rows {
        let item = world.offer(behaviour);
        let id = world.active(&item, 5).await;
        let (reply, _) = world.example(&id, &item, "n1").await;
        assert_eq!(reply.status.as_u16(), status, "{behaviour}: {reply:?}");
        let used = world.usage(&id).await["units_used"].to_string();
        assert_eq!(used, units, "{behaviour}");
        let (again, _) = world.example(&id, &item, "n1").await;
        assert_eq!(again.status, 409, "{behaviour}");
    }
    let item = world.offer("auto");
    let id = world.active(&item, 5).await;
    let (lost, cost) = world.metered(&id, ("POST", "/nowhere"), "n1", json!({})).await;
    assert_eq!((lost.status.as_u16(), cost.as_str()), (404, "1"), "the seller answered");
    let (wrong, cost) = world.metered(&id, ("POST", "/sha256"), "n2", json!({})).await;
    assert_eq!((wrong.status.as_u16(), cost.as_str()), (422, "1"));
    assert_eq!(wrong.json["field"], "text");
}

#[tokio::test]
async fn a_seller_is_called_with_its_own_secret() {
    let world = World::start().await;
    let (base, seen) = api("3").await;
    let item = world.offered("Price lookup");
    let path = format!("/agents/services/{}", item.id);
    let id = world.active(&item, 5).await;
    let (unset, _) = world.example(&id, &item, "n0").await;
    assert_eq!(unset.status, 400, "{unset:?}");
    let change = json!({ "api_base_url": base, "api_key": "upstream-secret-0123",
        "api_auth_header": "X-Upstream" });
    assert_eq!(world.sells("PUT", &path, change).await.status, 200);
    let line = ("PATCH", "/prices/a%2Fb?of=%20x");
    let (reply, units) = world.metered(&id, line, "n1", json!({ "item": "apple" })).await;
    assert_eq!((reply.status.as_u16(), units.as_str()), (200, "3"));
    assert_eq!(reply.json, json!({ "price": "1.20" }));
    let asked = seen.lock().unwrap().clone();
    let (uri, told, body) = &asked[0];
    assert_eq!(uri, "/v1/prices/a%2Fb?of=%20x");
    assert_eq!(told["x-upstream"], "upstream-secret-0123");
    assert_eq!(told["x-mine"], "kept");
    assert_eq!(told.get("authorization"), None);
    assert_eq!(told.get("x-request-nonce"), None);
    assert_eq!(body.as_ref(), br#"{"item":"apple"}"#);
    let (_, units) = world.metered(&id, ("DELETE", "/x"), "n2", Value::Null).await;
    assert_eq!(units, "2", "no more than is left");
    assert_eq!(world.entered(&id).await[1].2, "0.04");
    for escape in ["/../..//evil", "/@127.0.0.1:1/x", "/\\\\evil/x"] {
        let id = world.active(&item, 5).await;
        world.metered(&id, ("GET", escape), "n1", Value::Null).await;
    }
    let asked = seen.lock().unwrap().clone();
    assert!(asked.iter().all(|(uri, ..)| uri.starts_with('/')), "only this host was asked");

    let away = json!({ "api_base_url": "http://192.0.2.1/v1" });
    assert_eq!(world.sells("PUT", &path, away).await.status, 200);
    let id = world.active(&item, 5).await;
    let (refused, _) = world.example(&id, &item, "n1").await;
    assert_eq!(refused.status, 502, "{refused:?}");
    assert_eq!(world.usage(&id).await["units_used"], 0);
}

#[tokio::test]
async fn a_seller_records_usage_itself() {
    let world = World::start().await;
    let id = world.active(&world.offer("manual"), 10).await;
    let path = about(&id, "record-usage");
    let body = |units: u64, completed: bool| {
        let proof = json!({ "pages": 3 });
        json!({ "units_used": units, "completed": completed, "usage_proof": proof })
    };
    assert_eq!(world.buys("POST", &path, body(1, false)).await.status, 403);
    let four = world.sells("POST", &path, body(4, false)).await.json;
    assert_eq!((&four["units_used"], &four["status"]), (&json!(4), &json!("active")));
    assert_eq!(four["metadata"]["usage_proof"]["pages"], 3);
    for (units, why) in [(3, "it goes back"), (11, "beyond the quantity")] {
        let reply = world.sells("POST", &path, body(units, false)).await;
        assert_eq!(reply.detail(), (422, "units_used".to_owned()), "{why}");
    }
    assert_eq!(world.sells("POST", &path, body(4, false)).await.json["units_used"], 4);
    let all = world.sells("POST", &path, body(9, true)).await.json;
    assert_eq!((&all["units_used"], &all["status"]), (&json!(9), &json!("completed")));
    assert_eq!(world.sells("POST", &path, body(10, true)).await.status, 409);
    let amounts: Vec<_> = world.entered(&id).await.into_iter().map(|entry| entry.2).collect();
    assert_eq!(amounts, ["0.08", "0.10"]);
}

#[tokio::test]
async fn the_built_in_buyer_orders_pays_and_calls() {
    let world = World::start().await;
    let (base, seen) = api("1").await;
    let item = world.offered("Price lookup");
    let change = json!({ "api_base_url": base });
    world.sells("PUT", &format!("/agents/services/{}", item.id), change).await;
    let ordered = json!({ "service_id": item.id, "count": 2 });
    let ordered = world.admin("POST", "/order", ordered).await.json;
    let ids = ordered["agreement_ids"].as_array().unwrap().clone();
    assert_eq!((ids.len(), &ids[0]), (2, &ordered["agreement_id"]));
    for id in &ids {
        let accepted = world.sells("PUT", &about(id, "accept"), Value::Null).await;
        assert_eq!(accepted.json["status"], "accepted", "{accepted:?}");
    }
    let show = |id: Value| {
        let world = &world;
        let path = format!("/usage-agreements/{}", id.as_str().unwrap());
        async move { world.sells("GET", &path, Value::Null).await.json }
    };
    for _ in 0..3_000 {
        world.pass(STEP_MS);
        show(ids[0].clone()).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        if seen.lock().unwrap().len() == 6 {
            break;
        }
    }
    assert_eq!(seen.lock().unwrap().len(), 6, "three calls for each");
    for id in ids {
        let shown = show(id.clone()).await;
        assert_eq!(shown["status"], "active", "{shown}");
        assert_eq!(shown["infra_fee_status"], "paid");
        let kinds: Vec<_> = world.entered(&id).await.into_iter().map(|entry| entry.0).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "deposit").count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "fee").count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn the_built_in_buyer_buys_goods_directly() {
    let world = World::start().await;
    let item = world.offered("Printed handbook");
    let ordered = json!({ "service_id": item.id, "count": 2 });
    let ordered = world.admin("POST", "/order", ordered).await.json;
    for id in ordered["agreement_ids"].as_array().unwrap() {
        let accepted = world.sells("PUT", &about(id, "accept"), Value::Null).await;
        assert_eq!(accepted.json["infra_fee_status"], "paid", "{accepted:?}");
    }
    world.pass(STEP_MS);
    assert_eq!(world.usdc_of(&world.info.paegents.seller.wallet).await, 9_000_000);
    let built_in = json!({ "service_id": world.offer("auto").id });
    assert_eq!(world.admin("POST", "/order", built_in).await.status, 400);
}

#[tokio::test]
async fn faults_strike_here_too() {
    let world = World::start().await;
    let fault = |path: &str, action: Value| json!({ "marketplace": "paegents", "path": path, "action": action });
    let item = world.offer("manual");
    let body = world.proposal(&item).await;
    world.fault(fault("/usage-agreements/", json!("pending"))).await;
    let pending = world.buys("POST", "/usage-agreements/", body.clone()).await;
    assert_eq!(pending.status, 202);
    let list =
        format!("/usage-agreements/agents/{}/agreements", { &world.info.paegents.buyer.agent_id });
    let mine = || world.buys("GET", &list, Value::Null);
    assert!(mine().await.json.as_array().unwrap().is_empty(), "nothing was done");
    world.fault(fault("/usage-agreements/", json!("charge_then_fail"))).await;
    let failed = world.buys("POST", "/usage-agreements/", body.clone()).await;
    assert_eq!(failed.detail(), (502, "Bad Gateway".to_owned()));
    assert_eq!(mine().await.json.as_array().unwrap().len(), 1, "everything was done");

    let payee = "0x000000000000000000000000000000000000dEaD";
    world.fault(fault("/usage-agreements/", json!({ "swap_payee": payee }))).await;
    let swapped = world.buys("POST", "/usage-agreements/", body).await.json;
    assert_eq!(swapped["seller_wallet_address"], payee);
    let path = format!("/agents/services/{}", item.id);
    world.fault(fault("/agents/services/*", json!({ "raise_price": "1.5" }))).await;
    let raised = world.buys("GET", &path, Value::Null).await.json;
    assert_eq!(raised["base_price_cents"], 3);
    assert_eq!(world.buys("GET", &path, Value::Null).await.json["base_price_cents"], 2);
}
