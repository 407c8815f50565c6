//! CROO's orders: both sides of a purchase, every behaviour, and where the money goes.

use alloy_primitives::keccak256;
use serde_json::{Value, json};

use super::{Reply, World};
use crate::sandbox::{ItemInfo, croo::BASE};

/// A step of the chain, or of a built-in agent.
pub(super) const STEP_MS: i64 = 300;
/// What the requester begins with, in base units.
const FUNDS: u64 = 1_000_000_000;

impl Reply {
    /// The status, and the reason of CROO's error body.
    pub(super) fn reason(&self) -> (u16, &str) {
        (self.status.as_u16(), self.json["reason"].as_str().unwrap_or("none"))
    }
}

/// The requirements that an item's example stands for.
pub(super) fn requirements(item: &ItemInfo) -> String {
    match &item.input_example {
        Value::String(text) => text.clone(),
        example => example.to_string(),
    }
}

impl World {
    pub(super) fn croo_url(&self, path: &str) -> String {
        let origin = self.info.croo.api_url.strip_suffix("/croo").unwrap();
        format!("{origin}{BASE}{path}")
    }

    /// A request to CROO, with a key if there is one.
    pub(super) async fn croo(&self, method: &str, path: &str, key: &str, body: Value) -> Reply {
        let mut request = self.http.request(method.parse().unwrap(), self.croo_url(path));
        if !key.is_empty() {
            request = request.header("X-SDK-Key", key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        self.send(request).await.unwrap()
    }

    pub(super) async fn buyer_asks(&self, method: &str, path: &str, body: Value) -> Reply {
        self.croo(method, path, &self.info.croo.requester.sdk_key, body).await
    }

    pub(super) async fn provider_asks(&self, method: &str, path: &str, body: Value) -> Reply {
        self.croo(method, path, &self.info.croo.provider.sdk_key, body).await
    }

    pub(super) fn service(&self, behaviour: &str) -> ItemInfo {
        let mut all = self.info.croo.services.iter();
        all.find(|item| item.behaviour == behaviour).unwrap().clone()
    }

    /// Negotiates with the item's example; answers the negotiation.
    pub(super) async fn negotiate(&self, item: &ItemInfo) -> String {
        let body = json!({ "serviceId": item.id, "requirements": requirements(item) });
        let reply = self.buyer_asks("POST", "/orders/negotiate", body).await;
        assert_eq!(reply.json["negotiation"]["status"], "pending", "{reply:?}");
        reply.json["negotiation"]["negotiationId"].as_str().unwrap().to_owned()
    }

    /// The order of a negotiation, as the buyer's list shows it.
    pub(super) async fn order_of(&self, negotiation: &str) -> Value {
        let list = self.buyer_asks("GET", "/orders?role=buyer&page_size=50", Value::Null).await;
        let orders = list.json["orders"].as_array().cloned().unwrap_or_default();
        let mut orders = orders.into_iter();
        orders.find(|order| order["negotiationId"] == negotiation).unwrap_or_default()
    }

    /// Leads an order of a built-in seller to `created`; answers its id.
    pub(super) async fn created(&self, item: &ItemInfo) -> String {
        let negotiation = self.negotiate(item).await;
        self.pass(2 * STEP_MS);
        let order = self.order_of(&negotiation).await;
        assert_eq!(order["status"], "created", "{}", item.name);
        order["orderId"].as_str().unwrap().to_owned()
    }

    /// Leads an order of the provider to `created`; answers its id.
    pub(super) async fn accepted(&self) -> String {
        let negotiation = self.negotiate(&self.service("manual")).await;
        let path = format!("/orders/negotiate/{negotiation}/accept");
        let reply = self.provider_asks("POST", &path, json!({})).await;
        self.pass(STEP_MS);
        reply.json["order"]["orderId"].as_str().unwrap().to_owned()
    }

    pub(super) async fn order(&self, id: &str) -> Value {
        let reply = self.buyer_asks("GET", &format!("/orders/{id}"), Value::Null).await;
        reply.json["order"].clone()
    }

    pub(super) async fn status(&self, id: &str) -> String {
        self.order(id).await["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) async fn pay_order(&self, id: &str) -> Reply {
        self.buyer_asks("POST", &format!("/orders/{id}/pay"), json!({})).await
    }

    /// Pays, and waits until it is confirmed.
    pub(super) async fn paid(&self, id: &str) {
        let reply = self.pay_order(id).await;
        assert_eq!(reply.json["order"]["status"], "paying", "{reply:?}");
        self.pass(STEP_MS);
        assert_eq!(self.status(id).await, "paid");
    }

    pub(super) async fn deliver_text(&self, id: &str, text: &str) -> Reply {
        let body = json!({ "deliverableType": "text", "deliverableText": text });
        self.provider_asks("POST", &format!("/orders/{id}/deliver"), body).await
    }

    /// The requester's USDC.
    pub(super) async fn funds(&self) -> u64 {
        self.usdc_of(&self.info.croo.requester.wallet).await
    }

    /// The sum of the entries of one kind that belong to an order, in micro-units.
    pub(super) async fn booked(&self, kind: &str, order: &str) -> u64 {
        let entries = self.truth(kind).await;
        let of = |entry: &&Value| entry["reference"] == order || entry["parent"] == order;
        let amounts = entries.iter().filter(of).map(|entry| {
            let amount: crate::money::Usdc = entry["amount_usd"].as_str().unwrap().parse().unwrap();
            amount.micros()
        });
        amounts.sum()
    }

    /// The transfers of USDC in a transaction: the last four digits of both sides, the amount.
    async fn transfers(&self, hash: &Value) -> Vec<(String, String, u64)> {
        let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let logs = receipt["logs"].as_array().unwrap().iter();
        let side = |log: &Value, at: usize| log["topics"][at].as_str().unwrap()[26..].to_owned();
        logs.map(|log| {
            let amount = u64::from_str_radix(&log["data"].as_str().unwrap()[2..], 16).unwrap();
            (side(log, 1), side(log, 2), amount)
        })
        .collect()
    }
}

fn digits(address: &Value) -> String {
    address.as_str().unwrap()[2..].to_lowercase()
}

#[tokio::test]
async fn a_purchase_goes_from_negotiation_to_settlement() {
    let world = World::start().await;
    let item = world.service("auto");
    let negotiation = world.negotiate(&item).await;
    assert_eq!(world.order_of(&negotiation).await, Value::Null, "nobody has looked yet");
    world.pass(STEP_MS);
    let order = world.order_of(&negotiation).await;
    assert_eq!(order["status"], "creating");
    assert_eq!(order.get("createTxHash"), None, "what is empty is absent");
    let id = order["orderId"].as_str().unwrap().to_owned();
    assert_eq!(world.pay_order(&id).await.reason(), (400, "INVALID_STATUS"));
    world.pass(STEP_MS);
    let order = world.order(&id).await;
    assert_eq!(order["status"], "created");
    assert_eq!(order["price"], "50000");
    assert_eq!(order["amount"], "50000");
    assert_eq!(order["gasAmount"], "10000.00000000");
    assert_eq!(order["paymentToken"], world.info.chain.usdc);
    assert_eq!(order["requesterWalletAddress"], world.info.croo.requester.wallet);
    assert_eq!(order["requirements"], requirements(&item));
    assert_eq!(order["deliveryWindow"], 300);

    let paid = world.pay_order(&id).await;
    assert_eq!(paid.json["order"]["status"], "paying");
    let hash = &paid.json["txHash"];
    assert_eq!(*hash, paid.json["order"]["payTxHash"]);
    assert_eq!(world.funds().await, FUNDS - 60_000, "the price and the gas, at once");
    let moved = world.transfers(hash).await;
    let payer = digits(&order["requesterWalletAddress"]);
    assert_eq!(moved.len(), 2);
    assert!(moved.iter().all(|(from, _, _)| *from == payer));
    assert_eq!(moved[0].1, "33ecdcc8dd32330ec5a62ab1986f25ed5b5d170d");
    assert_eq!((moved[0].2, moved[1].2), (50_000, 10_000));
    assert_eq!(world.pay_order(&id).await.reason(), (400, "INVALID_STATUS"), "paid once");

    for status in ["paid", "delivering", "evaluating", "completed"] {
        world.pass(STEP_MS);
        assert_eq!(world.status(&id).await, status);
    }
    let order = world.order(&id).await;
    let sold = world.transfers(&order["clearTxHash"]).await;
    assert_eq!(sold.iter().map(|(_, _, amount)| *amount).collect::<Vec<_>>(), [1_250, 48_750]);
    assert_eq!(sold[1].1, digits(&order["providerWalletAddress"]));
    let delivery = world.buyer_asks("GET", &format!("/orders/{id}/delivery"), Value::Null).await;
    let delivery = &delivery.json["delivery"];
    let text = delivery["deliverableText"].as_str().unwrap();
    assert!(text.contains("words: 12"), "{text}");
    assert_eq!(delivery["deliverableSchema"], "[]");
    assert_eq!(delivery["contentHash"], keccak256(text).to_string());
    assert_eq!(delivery["status"], "accepted");

    let charges = world.truth("charge").await;
    assert_eq!(charges.len(), 1);
    assert_eq!(charges[0]["marketplace"], "croo");
    assert_eq!(charges[0]["reference"], id);
    assert_eq!(charges[0]["payer"], world.info.croo.requester.wallet);
    assert_eq!(charges[0]["amount_usd"], "0.06");
    let parts = world.booked("fee", &id).await + world.booked("payout", &id).await;
    assert_eq!(world.booked("charge", &id).await, parts + 10_000);
    assert!(world.truth("transfer").await.is_empty());
}

#[tokio::test]
async fn a_provider_sells_by_hand() {
    let world = World::start().await;
    let item = world.service("manual");
    assert_eq!(item.owner_id, world.info.croo.provider.agent_id);
    let ordered = json!({ "service_id": item.id, "count": 2, "requirements": "Why?" });
    let ordered = world.admin("POST", "/order", ordered).await.json;
    assert_eq!(ordered["negotiation_ids"].as_array().unwrap().len(), 2);
    assert_eq!(ordered["negotiation_ids"][0], ordered["negotiation_id"]);
    world.pass(10 * STEP_MS);
    let pending = "/orders/negotiate?role=provider&status=pending";
    let pending = world.provider_asks("GET", pending, Value::Null).await.json;
    assert_eq!(pending["negotiations"].as_array().unwrap().len(), 2, "it waits for its owner");
    assert_eq!(pending["negotiations"][0]["requirements"], "Why?");

    let mut orders = Vec::new();
    for id in ordered["negotiation_ids"].as_array().unwrap() {
        let path = format!("/orders/negotiate/{}/accept", id.as_str().unwrap());
        let reply = world.provider_asks("POST", &path, json!({})).await;
        assert_eq!(reply.json["negotiation"]["status"], "accepted");
        assert_eq!(reply.json["order"]["status"], "creating");
        orders.push(reply.json["order"]["orderId"].as_str().unwrap().to_owned());
        let again = world.provider_asks("POST", &path, json!({})).await;
        assert_eq!(again.reason(), (400, "INVALID_STATUS"));
    }
    // Created, then the built-in buyer pays both, then both are confirmed.
    world.pass(3 * STEP_MS);
    let show = |id: String| async move { format!("/orders/{id}") };
    let (first, second) = (orders[0].clone(), orders[1].clone());
    let got = world.provider_asks("GET", &show(first.clone()).await, Value::Null).await;
    assert_eq!(got.json["order"]["status"], "paid");
    assert_eq!(world.deliver_text(&first, "").await.reason(), (400, "INVALID_PARAMETERS"));
    let delivered = world.deliver_text(&first, "Because.").await;
    assert_eq!(delivered.json["order"]["status"], "delivering");
    assert_eq!(delivered.json["delivery"]["status"], "submitted");
    assert!(delivered.json["txHash"].as_str().unwrap().starts_with("0x"));
    assert_eq!(world.deliver_text(&first, "Again.").await.reason(), (400, "INVALID_STATUS"));
    let reject = format!("/orders/{second}/reject");
    let done = world.provider_asks("POST", &reject, json!({ "reason": "no time" })).await;
    assert_eq!((done.status.as_u16(), done.json), (200, json!({})));
    world.pass(2 * STEP_MS);
    let end = |got: Reply| got.json["order"]["status"].as_str().unwrap().to_owned();
    let got = world.provider_asks("GET", &show(first.clone()).await, Value::Null).await;
    assert_eq!(end(got), "completed");
    let got = world.provider_asks("GET", &show(second.clone()).await, Value::Null).await;
    assert_eq!(got.json["order"]["rejectReason"], "no time");
    assert_eq!(end(got), "rejected");
    assert_eq!(world.usdc_of(&world.info.croo.provider.wallet).await, 1_462_500);
    assert_eq!(world.booked("payout", &first).await, 1_462_500);
    assert_eq!(world.booked("refund", &second).await, 1_500_000);
    assert_eq!(world.booked("payout", &second).await, 0);

    let own = json!({ "service_id": world.service("auto").id });
    assert_eq!(world.admin("POST", "/order", own).await.status, 400);
    let none = json!({ "service_id": "none" });
    assert_eq!(world.admin("POST", "/order", none).await.status, 404);
    let many = json!({ "service_id": item.id, "count": 1_001 });
    assert_eq!(world.admin("POST", "/order", many).await.status, 400);
}

#[tokio::test]
async fn a_schema_is_delivered_by_a_provider() {
    let world = World::start().await;
    let mut manual = world.info.croo.services.iter().filter(|item| item.behaviour == "manual");
    let item = manual.nth(1).unwrap().clone();
    assert!(item.input_example.is_object());
    let negotiation = world.negotiate(&item).await;
    let path = format!("/orders/negotiate/{negotiation}/accept");
    let accepted = world.provider_asks("POST", &path, json!({})).await;
    let id = accepted.json["order"]["orderId"].as_str().unwrap().to_owned();
    world.pass(STEP_MS);
    world.paid(&id).await;
    let path = format!("/orders/{id}/deliver");
    let send = |body: Value| world.provider_asks("POST", &path, body);
    for (wrong, reason) in [
        (json!({ "deliverableType": "url", "deliverableUrl": "x" }), "INVALID_PARAMETERS"),
        (json!({ "deliverableType": "schema", "deliverableText": "x" }), "INVALID_PARAMETERS"),
        (json!({ "deliverableType": "schema", "deliverableSchema": "{" }), "INVALID_PARAMETERS"),
        (json!({ "deliverableType": "schema", "deliverableSchema": {} }), "CODEC"),
    ] {
        assert_eq!(send(wrong).await.reason(), (400, reason));
    }
    let schema = r#"{"verdict":"change"}"#;
    let body = json!({ "deliverableType": "schema", "deliverableText": "",
        "deliverableSchema": schema });
    let delivered = send(body).await;
    assert_eq!(delivered.json["delivery"]["deliverableSchema"], schema);
    assert_eq!(delivered.json["delivery"].get("deliverableText"), None);
    world.pass(2 * STEP_MS);
    assert_eq!(world.status(&id).await, "completed");
}

#[tokio::test]
async fn every_useful_service_delivers_what_it_promises() {
    let world = World::start().await;
    let useful = world.info.croo.services.iter().filter(|item| item.behaviour == "auto");
    let items: Vec<ItemInfo> = useful.cloned().collect();
    let (fund, plain) = items.split_last().unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for item in plain {
        let id = world.created(item).await;
        world.paid(&id).await;
        world.pass(3 * STEP_MS);
        assert_eq!(world.status(&id).await, "completed", "{}", item.name);
        let path = format!("/orders/{id}/delivery");
        let delivery = world.buyer_asks("GET", &path, Value::Null).await.json["delivery"].clone();
        kinds.insert(delivery["deliverableType"].as_str().unwrap().to_owned());
        let schema: Value =
            serde_json::from_str(delivery["deliverableSchema"].as_str().unwrap()).unwrap();
        if let Some(key) = schema.get("object_key") {
            kinds.insert("file".to_owned());
            let body = json!({ "object_key": key });
            let link = world.buyer_asks("POST", "/objects/download-url", body).await;
            let link = link.json["downloadUrl"].as_str().unwrap().to_owned();
            let report = world.send(world.http.get(link)).await.unwrap();
            assert_eq!(report.json["rows"], 2, "{report:?}");
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["file", "schema", "text"]);

    // The last one takes a fund, which goes to an address that the seller names.
    let before = world.funds().await;
    let body = |amount: &str, token: &str| {
        json!({ "serviceId": fund.id, "requirements": "x", "fundAmount": amount,
            "fundToken": token })
    };
    let usdc = world.info.chain.usdc.clone();
    for (amount, token) in [("", ""), ("0", usdc.as_str()), ("1.5", &usdc), ("7", "0x1")] {
        let reply = world.buyer_asks("POST", "/orders/negotiate", body(amount, token)).await;
        assert_eq!(reply.reason(), (400, "INVALID_PARAMETERS"), "{amount} {token}");
    }
    let reply = world.buyer_asks("POST", "/orders/negotiate", body("250000", &usdc)).await;
    let negotiation = reply.json["negotiation"]["negotiationId"].as_str().unwrap().to_owned();
    world.pass(2 * STEP_MS);
    let order = world.order_of(&negotiation).await;
    assert_eq!((&order["feeAmount"], &order["fundAmount"]), (&json!("20000"), &json!("250000")));
    let id = order["orderId"].as_str().unwrap().to_owned();
    let hash = world.pay_order(&id).await.json["txHash"].clone();
    assert_eq!(world.funds().await, before - 480_000, "price, gas, fee and fund");
    let moved = world.transfers(&hash).await;
    assert_eq!(
        moved.last().unwrap(),
        &(digits(&order["requesterWalletAddress"]), digits(&order["providerFundAddress"]), 250_000)
    );
    world.pass(4 * STEP_MS);
    assert_eq!(world.status(&id).await, "completed");
    let parts = world.booked("fee", &id).await + world.booked("payout", &id).await;
    assert_eq!(world.booked("charge", &id).await, parts + 10_000 + 250_000);
}

#[tokio::test]
async fn each_behaviour_is_as_named() {
    let world = World::start().await;

    let slow = world.created(&world.service("slow")).await;
    world.paid(&slow).await;
    world.pass(10 * STEP_MS - 1);
    assert_eq!(world.status(&slow).await, "paid");
    world.pass(1);
    assert_eq!(world.status(&slow).await, "delivering");

    let rejects = world.service("rejects");
    let negotiation = world.negotiate(&rejects).await;
    world.pass(STEP_MS);
    let path = format!("/orders/negotiate/{negotiation}");
    let told = world.buyer_asks("GET", &path, Value::Null).await.json["negotiation"].clone();
    assert_eq!(told["status"], "rejected");
    let reason = told["rejectReason"].as_str().unwrap();
    assert!(reason.contains("\"certified\": true"), "{reason}");
    // Who does what the reason says is served.
    let mut better = rejects.clone();
    better.input_example = json!({ "text": "Bonjour.", "certified": true });
    world.created(&better).await;

    let rises = world.service("price_rises");
    assert_eq!(rises.price_usd, "0.20");
    let id = world.created(&rises).await;
    assert_eq!(world.order(&id).await["price"], "300000");

    let hostile = world.created(&world.service("hostile_text")).await;
    world.paid(&hostile).await;
    world.pass(3 * STEP_MS);
    let path = format!("/orders/{hostile}/delivery");
    let delivery = world.buyer_asks("GET", &path, Value::Null).await.json["delivery"].clone();
    let text = delivery["deliverableText"].as_str().unwrap();
    assert!(text.contains("IGNORE ALL PREVIOUS") && text.contains('\u{1b}'));

    let fails = world.created(&world.service("fails_after_payment")).await;
    let before = world.funds().await;
    world.paid(&fails).await;
    world.pass(STEP_MS);
    assert_eq!(world.status(&fails).await, "rejecting");
    world.pass(STEP_MS);
    let order = world.order(&fails).await;
    assert_eq!(order["status"], "rejected");
    assert!(!order["rejectReason"].as_str().unwrap().is_empty());
    assert_eq!(world.transfers(&order["rejectTxHash"]).await[0].2, 300_000);
    assert_eq!(world.funds().await, before - 10_000, "the gas is gone");

    // What a worker cannot work on is declined with the reason.
    let mut conversion = world.info.croo.services[1].clone();
    conversion.input_example = json!({ "value": "1", "from": "mi", "to": "kg" });
    let negotiation = world.negotiate(&conversion).await;
    world.pass(STEP_MS);
    let path = format!("/orders/negotiate/{negotiation}");
    let told = world.buyer_asks("GET", &path, Value::Null).await.json["negotiation"].clone();
    assert!(told["rejectReason"].as_str().unwrap().starts_with("to measures mass"), "{told}");
}

#[tokio::test]
async fn what_is_never_delivered_is_given_back() {
    let world = World::start().await;
    let id = world.created(&world.service("never_delivers")).await;
    world.paid(&id).await;
    world.pass(5 * 60_000 - 1);
    assert_eq!(world.status(&id).await, "paid");
    assert_eq!(world.funds().await, FUNDS - 2_010_000);
    world.pass(1);
    assert_eq!(world.status(&id).await, "expired");
    assert_eq!(world.funds().await, FUNDS - 10_000);
    assert_eq!(world.booked("refund", &id).await, 2_000_000);
    assert_eq!(world.booked("payout", &id).await, 0);
    assert!(world.order(&id).await["expiredAt"].is_string());
}

#[tokio::test]
async fn a_long_pause_lets_everything_happen_in_order() {
    let world = World::start().await;
    let ordered = json!({ "service_id": world.service("manual").id });
    let ordered = world.admin("POST", "/order", ordered).await.json;
    let path = format!("/orders/negotiate/{}/accept", ordered["negotiation_id"].as_str().unwrap());
    let order = world.provider_asks("POST", &path, json!({})).await.json["order"].clone();
    let id = order["orderId"].as_str().unwrap().to_owned();
    // Created, paid by the built-in buyer, and expired half an hour after the payment.
    world.admin("POST", "/clock", json!({ "advance_s": 86_400 })).await;
    let path = format!("/orders/{id}");
    let order = world.provider_asks("GET", &path, Value::Null).await.json["order"].clone();
    assert_eq!(order["status"], "expired");
    let at = |name: &str| order[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("createdAt").duration_since(at("createdTime")).as_millis(), 300);
    assert_eq!(at("paidAt").duration_since(at("createdAt")).as_millis(), 600);
    assert_eq!(at("slaDeadline").duration_since(at("paidAt")).as_mins(), 30);
    assert_eq!(order["expiredAt"], order["slaDeadline"]);
    let told = format!("/events?agent_id={}", world.provider());
    let told = world.admin("GET", &told, Value::Null).await.json;
    let kinds: Vec<&str> =
        told["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["order_negotiation_created", "order_created", "order_paid", "order_expired"]
    );
}
