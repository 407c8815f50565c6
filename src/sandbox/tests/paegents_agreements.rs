//! Paegents' agreements: proposing them, and what both sides make of them.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use super::{Reply, START_MS, World};
use crate::sandbox::ItemInfo;

/// A step of the platform, or of a built-in agent.
pub(super) const STEP_MS: i64 = 300;
/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

impl Reply {
    /// The status, and the detail of Paegents' error body; of a list, where it points to.
    pub(super) fn detail(&self) -> (u16, String) {
        let detail = &self.json["detail"];
        let text = match detail[0]["loc"].as_array() {
            Some(loc) => loc.last().unwrap().as_str().unwrap_or("none").to_owned(),
            None => detail.as_str().unwrap_or("none").to_owned(),
        };
        (self.status.as_u16(), text)
    }
}

/// Headers by name.
pub(super) fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    };
    all.iter().map(parse).collect()
}

impl World {
    /// A request to Paegents with both headers of a key, if there is one, and others.
    pub(super) async fn paegents(
        &self,
        (method, path): (&str, &str),
        key: &str,
        body: Value,
        others: &[(&str, &str)],
    ) -> Reply {
        let url = format!("{}{path}", self.info.paegents.api_url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if !key.is_empty() {
            request = request.bearer_auth(key).header("X-API-Key", key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        self.send(request.headers(headers(others))).await.unwrap()
    }

    /// What Paegents' buyer asks.
    pub(super) async fn buys(&self, method: &str, path: &str, body: Value) -> Reply {
        self.paegents((method, path), &self.info.paegents.buyer.api_key, body, &[]).await
    }

    /// What Paegents' seller asks.
    pub(super) async fn sells(&self, method: &str, path: &str, body: Value) -> Reply {
        self.paegents((method, path), &self.info.paegents.seller.api_key, body, &[]).await
    }

    /// The first service on Paegents that behaves so.
    pub(super) fn offer(&self, behaviour: &str) -> ItemInfo {
        let mut all = self.info.paegents.services.iter();
        all.find(|item| item.behaviour == behaviour).unwrap().clone()
    }

    /// The service on Paegents that has this name.
    pub(super) fn offered(&self, name: &str) -> ItemInfo {
        self.info.paegents.services.iter().find(|item| item.name == name).unwrap().clone()
    }

    /// A proposal for 100 units of a service at its price, as the official SDK sends it.
    pub(super) async fn proposal(&self, item: &ItemInfo) -> Value {
        let service = self.buys("GET", &format!("/agents/services/{}", item.id), Value::Null).await;
        json!({
            "seller_agent_id": item.owner_id,
            "quantity": 100,
            "unit": service.json["unit"],
            "price_per_unit_cents": service.json["base_price_cents"],
            "settlement_model": "bilateral_escrow",
            "payment_method": { "rail": "stablecoin" },
            "expires_in_seconds": 86_400,
            "activation_version": "v2",
            "buyer_wallet_address": self.info.paegents.buyer.wallet,
            "service_id": item.id,
        })
    }

    /// Proposes; answers the agreement.
    pub(super) async fn proposed(&self, item: &ItemInfo) -> Value {
        let reply = self.buys("POST", "/usage-agreements/", self.proposal(item).await).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json["status"], "proposed");
        reply.json
    }

    /// The agreement as it stands.
    pub(super) async fn agreement(&self, id: &Value) -> Value {
        let path = format!("/usage-agreements/{}", id.as_str().unwrap());
        let reply = self.buys("GET", &path, Value::Null).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json
    }

    /// The types of the events that an agent was told about an agreement.
    pub(super) fn told_of(&self, agent: &str, agreement: &Value) -> Vec<String> {
        let wanted = (agent.to_owned(), agreement.as_str().unwrap().to_owned());
        let world = self.inside();
        world
            .transact(|db, _| {
                db.prepare(
                    "SELECT kind FROM paegents_events WHERE agent = ?1
                     AND json_extract(payload, '$.agreement_id') = ?2 ORDER BY seq",
                )?
                .query_map([wanted.0, wanted.1], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
            })
            .unwrap()
    }
}

/// The path of a call about an agreement.
pub(super) fn about(id: &Value, call: &str) -> String {
    format!("/usage-agreements/{}/{call}", id.as_str().unwrap())
}

#[tokio::test]
async fn an_agreement_is_proposed_once() {
    let world = World::start().await;
    let (item, key) = (world.offer("manual"), world.info.paegents.buyer.api_key.clone());
    let mut body = world.proposal(&item).await;
    body["metadata"] = json!({ "project": "tides" });
    body["cart_items"] = json!([{ "name": "memo", "quantity": 100 }]);
    let create = ("POST", "/usage-agreements/");
    let keyed = [("Idempotency-Key", "agree:1")];
    let first = world.paegents(create, &key, body.clone(), &keyed).await;
    assert_eq!(first.status, 200, "{first:?}");
    let made = first.json.clone();
    assert_eq!(made["buyer_agent_id"], world.info.paegents.buyer.agent_id);
    assert_eq!(made["seller_wallet_address"], world.info.paegents.seller.wallet);
    assert_eq!(made["total_cents"], 200);
    assert_eq!(made["service_amount_atomic"], 2_000_000);
    assert_eq!(made["infra_fee_amount_atomic"], 100_000);
    assert_eq!(made["infra_fee_status"], "pending");
    assert_eq!(made["activation_status"], "none");
    assert_eq!(made["metadata"]["project"], "tides");
    assert_eq!(made["metadata"]["cart_items"][0]["name"], "memo");

    world.pass(1_000);
    assert_eq!(world.paegents(create, &key, body.clone(), &keyed).await, first);
    let mut other = body.clone();
    other["quantity"] = json!(101);
    let other = world.paegents(create, &key, other, &keyed).await;
    assert_eq!(other.status, 409, "{other:?}");
    let mut named = body.clone();
    named["client_proposal_id"] = json!("tides-1");
    let named_first = world.buys("POST", "/usage-agreements/", named.clone()).await;
    assert_ne!(named_first.json["agreement_id"], made["agreement_id"]);
    assert_eq!(world.buys("POST", "/usage-agreements/", named).await, named_first);
    let unkeyed = world.buys("POST", "/usage-agreements/", body).await;
    assert_ne!(unkeyed.json["agreement_id"], made["agreement_id"]);

    let seller = &world.info.paegents.seller.agent_id;
    assert_eq!(world.told_of(seller, &made["agreement_id"]), ["agreement.proposed"]);
    let redirect = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = format!("{}/usage-agreements", world.info.paegents.api_url);
    let redirected = redirect.post(url).bearer_auth(&key).json(&json!({})).send().await.unwrap();
    assert_eq!(redirected.status(), 307);
    assert_eq!(redirected.headers()["location"], "/paegents/usage-agreements/");
}

#[tokio::test]
async fn refuses_what_no_agreement_may_have() {
    let world = World::start().await;
    let body = world.proposal(&world.offer("manual")).await;
    let minimum = world.offer("route_minimum").id;
    let goods = world.offered("Printed handbook").id;
    let address = json!({ "recipient_name": "A", "street1": "1", "city": "B", "state": "C",
        "postal_code": "9", "country": "usa" });
    #[rustfmt::skip]
    let rows = [
        // member                 value                       status  detail
        ("seller_agent_id",       json!("agt_nobody"),        404, "Seller agent not found"),
        ("seller_agent_id",       json!(7),                   422, "seller_agent_id"),
        ("service_id",            json!("svc_nothing"),       404, "Service not found"),
        ("service_id",            json!(minimum),             404, "Service not found"),
        ("service_id",            json!(goods),               422, "quantity"),
        ("quantity",              json!(0),                   422, "quantity"),
        ("quantity",              json!(-1),                  422, "none"),
        ("quantity",              json!(1_001),               422, "quantity"),
        ("quantity",              Value::Null,                422, "none"),
        ("price_per_unit_cents",  json!(0),                   422, "price_per_unit_cents"),
        ("unit",                  json!(""),                  422, "unit"),
        ("settlement_model",      json!("barter"),            422, "settlement_model"),
        ("activation_version",    json!("v3"),                422, "activation_version"),
        ("payment_method",        json!({ "rail": "card" }),  422, "payment_method"),
        ("expires_in_seconds",    json!(1),                   422, "expires_in_seconds"),
        ("buyer_wallet_address",  json!(""),                  422, "buyer_wallet_address"),
        ("buyer_wallet_address",  json!("0x12"),              422, "buyer_wallet_address"),
        ("shipping_address",      json!({}),                  422, "shipping_address"),
        ("shipping_address",      address,                    422, "shipping_address"),
    ];
    for (member, value, status, detail) in rows {
        let mut body = body.clone();
        body[member] = value.clone();
        let reply = world.buys("POST", "/usage-agreements/", body).await;
        let found = reply.detail();
        assert_eq!(found.0, status, "{member} {value}: {reply:?}");
        assert!(detail == "none" || found.1 == detail, "{member} {value}: {reply:?}");
    }
    let mut missing = body.clone();
    missing.as_object_mut().unwrap().remove("buyer_wallet_address");
    let reply = world.buys("POST", "/usage-agreements/", missing).await;
    assert_eq!(reply.detail(), (422, "buyer_wallet_address".to_owned()));
    assert_eq!(reply.json["detail"][0]["type"], "missing");
    let own = world.sells("POST", "/usage-agreements/", body.clone()).await;
    assert_eq!(own.status, 400);
    for key in ["", "sk_wrong"] {
        let reply = world.paegents(("POST", "/usage-agreements/"), key, body.clone(), &[]).await;
        assert_eq!(reply.detail(), (401, "Invalid API key".to_owned()), "{key}");
    }
    let path = "/usage-agreements/agr_1";
    let mixed = [("X-API-Key", world.info.paegents.seller.api_key.as_str())];
    let url = format!("{}{path}", world.info.paegents.api_url);
    let request = world.http.get(url).bearer_auth(&world.info.paegents.buyer.api_key);
    let reply = world.send(request.headers(headers(&mixed))).await.unwrap();
    assert_eq!(reply.status, 401, "two agents' keys");
}

#[tokio::test]
async fn built_in_sellers_answer_as_they_behave() {
    let world = World::start().await;
    let auto = world.proposed(&world.offer("auto")).await;
    let slow = world.proposed(&world.offer("slow")).await;
    let free = world.proposed(&world.offer("free")).await;
    assert_eq!(free["infra_fee_status"], "waived");
    assert_eq!(free["infra_fee_amount_atomic"], 0);
    let rejects = world.offer("rejects");
    let refused = world.proposed(&rejects).await;
    let mut cheap = world.proposal(&world.offer("auto")).await;
    cheap["price_per_unit_cents"] = json!(1);
    let cheap = world.buys("POST", "/usage-agreements/", cheap).await.json;
    world.pass(STEP_MS);
    let auto = world.agreement(&auto["agreement_id"]).await;
    assert_eq!(
        (&auto["status"], &auto["activation_status"]),
        (&json!("accepted"), &json!("ready"))
    );
    let refused = world.agreement(&refused["agreement_id"]).await;
    assert_eq!(refused["status"], "rejected");
    assert_eq!(refused["metadata"]["suggested_total_cents"], 300);
    let cheap = world.agreement(&cheap["agreement_id"]).await;
    assert_eq!(cheap["status"], "rejected");
    assert_eq!(cheap["metadata"]["suggested_total_cents"], 200);

    // What the seller suggests is what it takes.
    let mut again = world.proposal(&rejects).await;
    again["cart_items"] = refused["metadata"]["suggested_cart_items"].clone();
    let again = world.buys("POST", "/usage-agreements/", again).await.json;
    world.pass(STEP_MS);
    assert_eq!(world.agreement(&again["agreement_id"]).await["status"], "accepted");
    assert_eq!(world.agreement(&slow["agreement_id"]).await["status"], "proposed");
    world.pass(8 * STEP_MS);
    assert_eq!(world.agreement(&slow["agreement_id"]).await["status"], "accepted");

    let minimum = world.offer("route_minimum");
    let mut few = world.proposal(&minimum).await;
    few["quantity"] = json!(49);
    let few = world.buys("POST", "/usage-agreements/", few).await;
    assert_eq!(few.detail(), (422, "quantity".to_owned()));
    world.proposed(&minimum).await;
}

#[tokio::test]
async fn a_seller_answers_by_hand() {
    let world = World::start().await;
    let item = world.offer("manual");
    let made = world.proposed(&item).await;
    let id = &made["agreement_id"];
    world.pass(10 * STEP_MS);
    assert_eq!(world.agreement(id).await["status"], "proposed", "it waits for its owner");
    let not_seller = world.buys("PUT", &about(id, "accept"), Value::Null).await;
    assert_eq!(not_seller.status, 403);
    let key = format!("accept:{}", id.as_str().unwrap());
    let keyed = [("Idempotency-Key", key.as_str())];
    let seller = world.info.paegents.seller.api_key.clone();
    let path = about(id, "accept");
    let accepted = world.paegents(("PUT", &path), &seller, Value::Null, &keyed).await;
    assert_eq!(accepted.json["status"], "accepted", "{accepted:?}");
    let again = world.paegents(("PUT", &path), &seller, Value::Null, &keyed).await;
    assert_eq!(again.json["status"], "accepted");
    assert_eq!(world.sells("PUT", &path, Value::Null).await.status, 409);
    let cancelled = world.buys("POST", &about(id, "cancel"), Value::Null).await;
    assert_eq!(cancelled.status, 409, "only what is proposed can be cancelled");

    let second = world.proposed(&item).await;
    let body = json!({ "reason": "too much", "suggested_cart_items": [{ "name": "less" }],
        "suggested_total_cents": 50 });
    let path = about(&second["agreement_id"], "reject");
    assert_eq!(world.buys("PUT", &path, body.clone()).await.status, 403);
    let rejected = world.sells("PUT", &path, body).await.json;
    assert_eq!(rejected["status"], "rejected");
    assert_eq!(rejected["metadata"]["rejection_reason"], "too much");
    assert_eq!(rejected["metadata"]["suggested_cart_items"][0]["name"], "less");
    assert_eq!(rejected["metadata"]["suggested_total_cents"], 50);
    let path = about(&second["agreement_id"], "accept");
    assert_eq!(world.sells("PUT", &path, Value::Null).await.status, 409);

    let third = world.proposed(&item).await;
    let path = about(&third["agreement_id"], "cancel");
    assert_eq!(world.sells("POST", &path, Value::Null).await.status, 403);
    assert_eq!(world.buys("POST", &path, Value::Null).await.json["status"], "cancelled");
    assert_eq!(world.buys("POST", &path, Value::Null).await.status, 409);
    let told = world.told_of(&world.info.paegents.buyer.agent_id, &third["agreement_id"]);
    assert_eq!(told, ["agreement.proposed", "agreement.cancelled"]);

    let stranger = crate::sandbox::paegents::agents::known_key(world.inside(), "texts");
    let path = about(id, "accept");
    let hidden = world.paegents(("PUT", &path), &stranger, Value::Null, &[]).await;
    assert_eq!(hidden.detail(), (404, "Agreement not found".to_owned()));
}

#[tokio::test]
async fn a_buyer_complains_with_a_reason() {
    let world = World::start().await;
    let made = world.proposed(&world.offer("auto")).await;
    let path = about(&made["agreement_id"], "dispute");
    let body = json!({ "reason": "nothing came", "evidence": { "calls": 3 } });
    assert_eq!(world.buys("POST", &path, body.clone()).await.status, 409, "nobody accepted it");
    world.pass(STEP_MS);
    let short = world.buys("POST", &path, json!({ "reason": "too short" })).await;
    assert_eq!(short.detail(), (422, "reason".to_owned()));
    let blank = world.buys("POST", &path, json!({ "reason": "short         " })).await;
    assert_eq!(blank.status, 422);
    let disputed = world.buys("POST", &path, body).await.json;
    assert_eq!(disputed["status"], "disputed");
    assert_eq!(disputed["metadata"]["dispute"]["reason"], "nothing came");
    assert_eq!(disputed["metadata"]["dispute"]["evidence"]["calls"], 3);
}

#[tokio::test]
async fn what_nobody_carries_further_lapses() {
    let world = World::start().await;
    let proposed = world.proposed(&world.offer("manual")).await;
    let accepted = world.proposed(&world.offer("auto")).await;
    assert_eq!(START_MS % 1_000, 0, "the next line counts on it");
    assert_eq!(proposed["expires_at"], crate::sandbox::clock::rfc3339(START_MS + DAY_MS));
    world.pass(DAY_MS - 1);
    assert_eq!(world.agreement(&proposed["agreement_id"]).await["status"], "proposed");
    world.pass(1);
    assert_eq!(world.agreement(&proposed["agreement_id"]).await["status"], "expired");
    assert_eq!(world.agreement(&accepted["agreement_id"]).await["status"], "expired");
    let path = about(&proposed["agreement_id"], "accept");
    assert_eq!(world.sells("PUT", &path, Value::Null).await.status, 409);
}

#[tokio::test]
async fn lists_agreements_newest_first() {
    let world = World::start().await;
    let buyer = world.info.paegents.buyer.agent_id.clone();
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(world.proposed(&world.offer("manual")).await["agreement_id"].clone());
    }
    world.buys("POST", &about(&made[1], "cancel"), Value::Null).await;
    let ids = |reply: Reply| -> Vec<Value> {
        let all = reply.json.as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
        all.into_iter().map(|agreement| agreement["agreement_id"].clone()).collect()
    };
    let path = format!("/usage-agreements/agents/{buyer}/agreements");
    let list = |query: &str| {
        let path = format!("{path}?{query}");
        let world = &world;
        async move { world.buys("GET", &path, Value::Null).await }
    };
    let newest = [made[2].clone(), made[1].clone(), made[0].clone()];
    assert_eq!(ids(list("").await), newest);
    assert_eq!(ids(list("limit=100&role=buyer").await), newest);
    assert_eq!(ids(list("limit=1").await), newest[..1]);
    assert_eq!(ids(list("status=cancelled").await), [made[1].clone()]);
    assert!(ids(list("role=seller").await).is_empty());
    assert_eq!(list("role=judge").await.status, 422);
    assert_eq!(list("limit=0").await.status, 422);
    let seller = format!("/usage-agreements/agents/{}/agreements?role=seller", {
        &world.info.paegents.seller.agent_id
    });
    assert_eq!(ids(world.sells("GET", &seller, Value::Null).await).len(), 3);
    assert_eq!(world.buys("GET", &seller, Value::Null).await.status, 403);
}
