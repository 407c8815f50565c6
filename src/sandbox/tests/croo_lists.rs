//! CROO's errors, lists and public store.

use serde_json::{Value, json};

use super::{World, croo_orders::STEP_MS};

#[tokio::test]
async fn errors_have_their_shape_and_reason() {
    let world = World::start().await;
    let none = world.croo("GET", "/orders/x", "", Value::Null).await;
    assert_eq!(none.reason(), (401, "SDK_KEY_MISSING"));
    let wrong = world.croo("GET", "/orders/x", "croo_sk_wrong", Value::Null).await;
    assert_eq!(wrong.reason(), (401, "SDK_KEY_INVALID"));
    assert_eq!(wrong.json["code"], 401);
    assert!(wrong.json["message"].is_string() && wrong.json["metadata"].is_object());

    // What belongs to others is not there.
    let (item, key) = (world.service("manual"), &world.info.croo.requester.sdk_key);
    let id = world.created(&world.service("auto")).await;
    let order = world.order(&id).await;
    let negotiation = order["negotiationId"].as_str().unwrap();
    #[rustfmt::skip]
    let rows = [
        ("GET",  format!("/orders/{id}"),                           "ORDER_NOT_FOUND"),
        ("POST", format!("/orders/{id}/pay"),                       "ORDER_NOT_FOUND"),
        ("POST", format!("/orders/{id}/deliver"),                   "ORDER_NOT_FOUND"),
        ("POST", format!("/orders/{id}/reject"),                    "ORDER_NOT_FOUND"),
        ("GET",  format!("/orders/{id}/delivery"),                  "ORDER_NOT_FOUND"),
        ("GET",  format!("/orders/negotiate/{negotiation}"),        "NEGOTIATION_NOT_FOUND"),
        ("POST", format!("/orders/negotiate/{negotiation}/accept"), "NEGOTIATION_NOT_FOUND"),
        ("POST", format!("/orders/negotiate/{negotiation}/reject"), "NEGOTIATION_NOT_FOUND"),
        ("GET",  "/nowhere".to_owned(),                             "ROUTE_NOT_FOUND"),
    ];
    for (method, path, reason) in rows {
        let reply = world.provider_asks(method, &path, json!({})).await;
        assert_eq!(reply.reason(), (404, reason), "{method} {path}");
    }
    let delivery = world.buyer_asks("GET", &format!("/orders/{id}/delivery"), Value::Null).await;
    assert_eq!(delivery.reason(), (404, "DELIVERY_NOT_FOUND"));

    // The other role may not.
    let mine = world.accepted().await;
    let pay = world.provider_asks("POST", &format!("/orders/{mine}/pay"), json!({})).await;
    assert_eq!(pay.reason(), (403, "FORBIDDEN"));
    let deliver = world.buyer_asks("POST", &format!("/orders/{mine}/deliver"), json!({})).await;
    assert_eq!(deliver.reason(), (403, "FORBIDDEN"));
    let pending = world.negotiate(&item).await;
    let accept = format!("/orders/negotiate/{pending}/accept");
    assert_eq!(world.buyer_asks("POST", &accept, json!({})).await.reason(), (403, "FORBIDDEN"));

    let post = |text: &'static str| {
        let request = world.http.post(world.croo_url("/orders/negotiate"));
        world.send(request.header("X-SDK-Key", key).body(text))
    };
    assert_eq!(post("{").await.unwrap().reason(), (400, "CODEC"));
    let structured = r#"{"serviceId":"x","requirements":{"text":"y"}}"#;
    assert_eq!(post(structured).await.unwrap().reason(), (400, "CODEC"));
    assert_eq!(post("{}").await.unwrap().reason(), (400, "INVALID_PARAMETERS"));
    assert_eq!(post(r#"{"serviceId":"x"}"#).await.unwrap().reason(), (404, "SERVICE_NOT_FOUND"));
}

#[tokio::test]
async fn a_negotiation_is_checked() {
    let world = World::start().await;
    let text = world.service("auto").id;
    let schema = world.info.croo.services[1].id.clone();
    let own = world.service("manual").id;
    let usdc = world.info.chain.usdc.clone();
    let stranger = json!({ "serviceId": text, "requesterAgentId": world.provider() });
    let stranger = world.buyer_asks("POST", "/orders/negotiate", stranger).await;
    assert_eq!(stranger.reason(), (403, "FORBIDDEN"));
    let itself = json!({ "serviceId": own, "requirements": "x" });
    let itself = world.provider_asks("POST", "/orders/negotiate", itself).await;
    assert_eq!(itself.reason(), (400, "INVALID_PARAMETERS"));
    for wrong in [
        json!({ "serviceId": schema, "requirements": "26.2 mi in km" }),
        json!({ "serviceId": schema, "requirements": r#"{"value":"1","from":"mi"}"# }),
        json!({ "serviceId": text, "requirements": "x", "fundAmount": "1", "fundToken": usdc }),
    ] {
        let reply = world.buyer_asks("POST", "/orders/negotiate", wrong.clone()).await;
        assert_eq!(reply.reason(), (400, "INVALID_PARAMETERS"), "{wrong}");
    }
    let extra = json!({ "serviceId": schema,
        "requirements": r#"{"value":"1","from":"mi","to":"km","colour":"red"}"# });
    let extra = world.buyer_asks("POST", "/orders/negotiate", extra).await;
    assert_eq!(extra.json["message"], "unsupported requirement field: colour");
    // Empty members are as good as none, as the official clients send them.
    let whole = json!({ "serviceId": text, "requirements": "x", "metadata": "note",
        "requesterAgentId": "", "fundAmount": "", "fundToken": "" });
    let whole = world.buyer_asks("POST", "/orders/negotiate", whole).await;
    assert_eq!(whole.json["negotiation"]["metadata"], "note");
    assert_eq!(whole.json["negotiation"].get("fundAmount"), None);

    // A fund address goes with a service that takes a fund.
    let pending = world.negotiate(&world.service("manual")).await;
    let path = format!("/orders/negotiate/{pending}/accept");
    let body = json!({ "providerFundAddress": world.info.croo.provider.wallet });
    let reply = world.provider_asks("POST", &path, body).await;
    assert_eq!(reply.reason(), (400, "INVALID_PARAMETERS"));
    let body = json!({ "providerFundAddress": "" });
    assert_eq!(world.provider_asks("POST", &path, body).await.status, 200);
}

#[tokio::test]
async fn lists_want_their_role() {
    let world = World::start().await;
    for (path, message) in [
        ("/orders", "role must be 'buyer' or 'provider'"),
        ("/orders?role=requester", "role must be 'buyer' or 'provider'"),
        ("/orders/negotiate", "role must be requester or provider"),
        ("/orders/negotiate?role=buyer", "role must be requester or provider"),
    ] {
        let reply = world.buyer_asks("GET", path, Value::Null).await;
        assert_eq!(reply.reason(), (400, "INVALID_PARAMETERS"), "{path}");
        assert_eq!(reply.json["message"], message, "{path}");
    }
    let empty = world.buyer_asks("GET", "/orders?role=buyer", Value::Null).await;
    assert_eq!((empty.status.as_u16(), empty.json), (200, json!({})));

    let (auto, manual) = (world.service("auto"), world.service("manual"));
    let mut all = Vec::new();
    for item in [&auto, &auto, &manual] {
        all.push(world.negotiate(item).await);
    }
    world.pass(STEP_MS);
    let ids = |json: &Value, list: &str, name: &str| -> Vec<String> {
        let rows = json[list].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
    };
    let negotiations = async |query: &str| {
        let path = format!("/orders/negotiate?role=requester{query}");
        let reply = world.buyer_asks("GET", &path, Value::Null).await;
        ids(&reply.json, "negotiations", "negotiationId")
    };
    let newest: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(negotiations("").await, newest);
    assert_eq!(negotiations("&page=2&page_size=2").await, newest[2..]);
    assert_eq!(negotiations("&status=pending").await, all[2..]);
    assert_eq!(negotiations(&format!("&agent_id={}", world.provider())).await, all[2..]);
    assert!(negotiations("&agent_id=nobody").await.is_empty());
    let reply = world.buyer_asks("GET", "/orders?role=provider", Value::Null).await;
    assert_eq!(reply.json, json!({}), "the buyer sells nothing");
    let reply = world.buyer_asks("GET", "/orders?role=buyer&status=creating", Value::Null).await;
    let mut of = ids(&reply.json, "orders", "negotiationId");
    of.reverse();
    assert_eq!(of, all[..2]);
    for wrong in ["&status=open", "&page=-1", "&page_size=many"] {
        let path = format!("/orders?role=buyer{wrong}");
        let reply = world.buyer_asks("GET", &path, Value::Null).await;
        assert_eq!(reply.reason(), (400, "INVALID_PARAMETERS"), "{wrong}");
    }
}

#[tokio::test]
async fn the_store_tells_what_is_there() {
    let world = World::start().await;
    let read = async |path: &str| {
        let reply = world.croo("GET", &format!("/public{path}"), "", Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json
    };
    let all = read("/services?page_size=50").await;
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), world.info.croo.services.len());
    assert_eq!(all["total"], items.len().to_string());
    assert_eq!(items[0]["price"], "50000");
    assert_eq!(items[0].get("requirementType"), None, "the agent shows it");
    assert_eq!(read("/services?page=2&page_size=3").await["items"].as_array().unwrap().len(), 3);
    let found = read("/services?search=CSV&max_price=300000&min_price=200000").await;
    assert_eq!(found["total"], "1");
    assert_eq!(read("/services?search=CSV&max_price=200000").await["total"], "0");
    assert_eq!(read("/services?chain=bsc").await["total"], "0");
    let last = items.last().unwrap();
    let config: Value = serde_json::from_str(last["feeConfig"].as_str().unwrap()).unwrap();
    assert_eq!(config["fund_transfer_required"], true);

    let service = &world.info.croo.services[1];
    let shown = read(&format!("/services/{}", service.id)).await;
    assert_eq!(shown["service"]["name"], service.name);
    assert_eq!(shown["service"].get("requirementSchema"), None, "the agent shows it");
    assert_eq!(shown["agentName"], "Croo Data Works");
    let agent = read(&format!("/agents/{}", service.owner_id)).await["agent"].clone();
    assert_eq!(agent["onlineStatus"], "online");
    let mut services = agent["services"].as_array().unwrap().iter();
    let detail = services.find(|found| found["serviceId"] == service.id).unwrap();
    let fields: Value =
        serde_json::from_str(detail["requirementSchema"].as_str().unwrap()).unwrap();
    assert_eq!(fields[0]["name"], "value");
    assert_eq!(fields[0]["required"], true);
    let provider = read(&format!("/agents/{}", world.provider())).await["agent"].clone();
    assert_eq!(provider["onlineStatus"], "offline");
    assert_eq!(provider["walletAddress"], world.info.croo.provider.wallet);

    assert_eq!(read("/agents?tags=research").await["total"], "2");
    let hits = read("/search?q=digest").await;
    assert_eq!(hits["services"][0]["name"], "SHA-256 digest");
    assert_eq!(read("/tags").await["tags"][0]["slug"], "text");
    for (path, reason) in [
        ("/public/services/none", "SERVICE_NOT_FOUND"),
        ("/public/agents/none", "AGENT_NOT_FOUND"),
        ("/public/agents/none/activity", "AGENT_NOT_FOUND"),
    ] {
        assert_eq!(world.croo("GET", path, "", Value::Null).await.reason(), (404, reason));
    }
}

#[tokio::test]
async fn the_store_counts_what_happened() {
    let world = World::start().await;
    let read = async |path: &str| {
        let reply = world.croo("GET", &format!("/public{path}"), "", Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json
    };
    let item = world.service("auto");
    let id = world.created(&item).await;
    world.paid(&id).await;
    world.pass(3 * STEP_MS);
    let fails = world.created(&world.service("fails_after_payment")).await;
    world.paid(&fails).await;
    world.pass(2 * STEP_MS);

    let stats = read("/platform-stats").await;
    assert_eq!((&stats["totalOrders"], &stats["totalVolume"]), (&json!("2"), &json!("350000")));
    let board = read("/leaderboard?dimension=orders&limit=1").await;
    let first = &board["entries"][0];
    assert_eq!(first["agentId"], item.owner_id);
    assert_eq!((&first["completedOrders"], &first["totalEarned"]), (&json!("1"), &json!("48750")));
    assert_eq!(first.get("chain"), None);
    let trending = read("/trending-agents").await;
    assert_eq!(trending["agents"][0]["totalVolume"], "300000");
    assert_eq!(trending["agents"][0]["completionRate"], 0);
    assert_eq!(trending["agents"][1]["completionRate"], 100);
    let popular = read("/popular-services?limit=2").await;
    assert_eq!(popular["items"][0]["serviceId"], item.id);
    assert_eq!(popular["items"][0]["orders7d"], "1");

    let activity = read(&format!("/agents/{}/activity", item.owner_id)).await;
    let only = &activity["items"][0];
    assert_eq!((&activity["total"], &only["orderId"]), (&json!("1"), &json!(id)));
    assert_eq!((&only["status"], &only["amount"]), (&json!("completed"), &json!("50000")));
    assert!(only["settledAt"].is_string() && only.get("rejectReason").is_none());
    let other = world.service("fails_after_payment").owner_id;
    let activity = read(&format!("/agents/{other}/activity?status=rejected")).await;
    let only = &activity["items"][0];
    assert_eq!(only["refundTxHash"], only["rejectTxHash"]);
    assert!(only["refundTxHash"].is_string());

    let feed = read("/live-feed").await;
    let kinds: Vec<&str> = feed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["eventType"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "order_rejected",
            "order_paid",
            "order_created",
            "order_completed",
            "order_paid",
            "order_created"
        ]
    );
    assert_eq!(feed["items"][0]["refId"], fails);
}
