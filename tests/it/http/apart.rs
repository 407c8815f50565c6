//! Clients that never meet: purchases, sessions, sealed questions, inboxes, limits.

use haggle::{
    config::http::HttpSettings,
    money::Usdc,
    spend::policy::{Limits, Policy},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Site, client, initialize, session, token};
use crate::world::{Make, World};

fn usd(text: &str) -> Usdc {
    text.parse().unwrap()
}

#[tokio::test]
async fn another_s_purchase_is_not_found() {
    let site = Site::open(vec![client("ann"), client("bob")], HttpSettings::default()).await;
    let args = site.world.purchase_of("auto");
    let bought = site.call("ann", "crochet_call_listing", args.clone()).await.unwrap();
    let id = bought["purchase"]["id"].as_str().unwrap().to_owned();
    let about = json!({ "purchase_id": id });
    assert!(site.call("ann", "market_check_purchase", about.clone()).await.is_ok());
    for tool in ["market_check_purchase", "crochet_resume_call"] {
        let error = site.call("bob", tool, about.clone()).await.unwrap_err();
        assert_eq!(error["code"], "not_found", "{tool}: {error}");
    }
    let uri = json!({ "uri": format!("haggle://purchase/{id}") });
    assert!(site.ask("ann", "resources/read", uri.clone()).await["result"].is_object());
    let unread = site.ask("bob", "resources/read", uri).await;
    assert_eq!(unread["error"]["message"], "there is no such resource", "{unread}");
    for (name, seen) in [("ann", 1), ("bob", 0)] {
        let listed = site.call(name, "market_list_purchases", json!({})).await.unwrap();
        assert_eq!(listed["purchases"].as_array().unwrap().len(), seen, "{name}: {listed}");
        for (uri, member) in [("haggle://purchases", "purchases"), ("haggle://inbox", "events")] {
            let read = site.ask(name, "resources/read", json!({ "uri": uri })).await;
            let text = read["result"]["contents"][0]["text"].as_str().unwrap();
            let text: Value = serde_json::from_str(text).unwrap();
            assert_eq!(text[member].as_array().unwrap().is_empty(), seen == 0, "{name}: {text}");
        }
        let typed = json!({ "ref": { "type": "ref/prompt", "name": "resolve" },
            "argument": { "name": "purchase_id", "value": "pur_" } });
        let completed = site.ask(name, "completion/complete", typed).await;
        let values = completed["result"]["completion"]["values"].as_array().unwrap();
        assert_eq!(values.len(), seen, "{name}: {completed}");
    }
    // The same call by another client is another purchase.
    let again = site.call("bob", "crochet_call_listing", args).await.unwrap();
    assert_ne!(again["purchase"]["id"], id.as_str());
    assert_eq!(site.world.charges().await.len(), 2);
    site.world.audit().await;
    // What a client shows us, no marketplace is shown.
    let sent = serde_json::to_string(&site.world.requests().await).unwrap();
    assert!(!sent.contains(&token("ann")) && !sent.contains("haggle_client_"), "a token left");
}

/// An order that one has paid is another's neither to read nor to pay.
#[tokio::test]
async fn another_s_order_is_not_found() {
    let site = Site::open(vec![client("ann"), client("bob")], HttpSettings::default()).await;
    let negotiated = site.world.order("auto").await;
    let order = negotiated["order_id"].as_str().unwrap().to_owned();
    let both = site.call("bob", "croo_get_order", json!({ "order_id": order })).await;
    assert!(both.is_ok(), "before it is paid it is nobody's: {both:?}");
    let pay = World::payment_of(&negotiated);
    let paid = site.call("ann", "croo_pay_order", pay.clone()).await;
    assert!(paid.is_ok() || paid.as_ref().unwrap_err()["money_moved"] != "no", "{paid:?}");
    for (tool, args) in [
        ("croo_get_order", json!({ "order_id": order })),
        ("croo_get_delivery", json!({ "order_id": order })),
        ("croo_pay_order", pay),
    ] {
        let error = site.call("bob", tool, args).await.unwrap_err();
        assert_eq!(error["code"], "not_found", "{tool}: {error}");
        assert_eq!(error["money_moved"], "no");
    }
    for (name, seen) in [("ann", true), ("bob", false)] {
        let listed = site.call(name, "croo_list_orders", json!({ "role": "buyer" })).await;
        assert_eq!(listed.unwrap().to_string().contains(order.as_str()), seen, "{name}");
    }
}

#[tokio::test]
async fn another_s_session_is_not_found() {
    let site = Site::open(vec![client("ann"), client("bob")], HttpSettings::default()).await;
    let own = session(&site.initialize(Some("ann")).await);
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    for (name, status) in [("ann", StatusCode::OK), ("bob", StatusCode::NOT_FOUND)] {
        let request = site
            .request(Method::POST, "/mcp")
            .bearer_auth(token(name))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &own)
            .header("mcp-protocol-version", "2025-11-25");
        assert_eq!(request.json(&ping).send().await.unwrap().status(), status, "{name}");
    }
    let (_stream, address) = super::gate::legacy(&site).await;
    for (name, status) in [("bob", StatusCode::NOT_FOUND), ("ann", StatusCode::ACCEPTED)] {
        let request = site.request(Method::POST, &address).bearer_auth(token(name));
        assert_eq!(request.json(&initialize()).send().await.unwrap().status(), status, "{name}");
    }
}

/// A question that was put to one is not answered by another, nor twice.
#[tokio::test]
async fn another_s_sealed_question_is_none() {
    let make = Make {
        policy: Policy::default(),
        clients: vec![client("ann"), client("bob")],
        ..Make::default()
    };
    let site = Site::with(make).await;
    let params =
        json!({ "name": "crochet_call_listing", "arguments": site.world.purchase_of("auto") });
    let asked = site.ask("ann", "tools/call", params.clone()).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let mut answered = params.clone();
    answered["requestState"] = asked["result"]["requestState"].clone();
    answered["inputResponses"] =
        json!({ "approve": { "action": "accept", "content": { "approve": true } } });
    let stolen = site.ask("bob", "tools/call", answered.clone()).await;
    assert_eq!(stolen["result"]["resultType"], "input_required", "bob is asked himself: {stolen}");
    assert_ne!(stolen["result"]["requestState"], answered["requestState"]);
    assert_eq!(site.world.charges().await.len(), 0, "bob's yes to ann's question");
    let paid = site.ask("ann", "tools/call", answered.clone()).await;
    assert_eq!(paid["result"]["structuredContent"]["purchase"]["state"], "settled", "{paid}");
    // Of a purchase by its name, a question is as little another's.
    let id = paid["result"]["structuredContent"]["purchase"]["id"].clone();
    answered["name"] = json!("crochet_resume_call");
    answered["arguments"] = json!({ "purchase_id": id });
    let stolen = site.ask("bob", "tools/call", answered).await;
    let error = &stolen["result"]["structuredContent"]["error"];
    assert_eq!(error["code"], "not_found", "{stolen}");
    assert_eq!(site.world.charges().await.len(), 1);
}

/// Each client has its own limits, within the owner's day.
#[tokio::test]
async fn limits_are_a_client_s_own() {
    let (_, price, _) = World::start().await.listing("auto");
    let price = usd(&price);
    let kept = |purchase_max, day_max| Limits { purchase_max, day_max };
    let mut clients = vec![client("ann"), client("bob"), client("cat")];
    let less = Usdc::from_micros(price.micros() - 1);
    clients[0].limits = kept(Some(less), None);
    clients[1].limits = kept(None, Some(price));
    let site = Site::open(clients, HttpSettings::default()).await;
    let args = site.world.purchase_of("auto");
    let error = site.call("ann", "crochet_call_listing", args.clone()).await.unwrap_err();
    assert_eq!(error["code"], "policy_denied", "{error}");
    let status = site.call("ann", "market_status", json!({})).await.unwrap();
    assert_eq!(status["budget"]["purchase_max_usd"], less.to_string());

    let left = |status: Value| usd(status["budget"]["left_today_usd"].as_str().unwrap());
    assert_eq!(left(site.call("bob", "market_status", json!({})).await.unwrap()), price);
    site.call("bob", "crochet_call_listing", args.clone()).await.unwrap();
    assert_eq!(left(site.call("bob", "market_status", json!({})).await.unwrap()), Usdc::ZERO);
    let mut again = args.clone();
    again["again"] = json!(true);
    let error = site.call("bob", "crochet_call_listing", again.clone()).await.unwrap_err();
    assert_eq!(error["code"], "policy_denied", "{error}");
    assert!(error["message"].as_str().unwrap().contains("this client"), "{error}");
    site.call("cat", "crochet_call_listing", again).await.unwrap();
    assert_eq!(site.world.charges().await.len(), 2);
}

/// What each is offered is its own, too.
#[tokio::test]
async fn profiles_are_a_client_s_own() {
    let mut clients = vec![client("ann"), client("bob")];
    clients[1].read_only = true;
    let site = Site::open(clients, HttpSettings::default()).await;
    for (name, offered) in [("ann", true), ("bob", false)] {
        let listed = site.ask(name, "tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        let is_offered = |tool: &str| tools.iter().any(|listed| listed["name"] == tool);
        assert_eq!(is_offered("crochet_call_listing"), offered, "{name}");
        assert!(is_offered("market_search"), "{name}");
    }
    let params = json!({ "name": "crochet_call_listing", "arguments": {} });
    let refused = site.modern(Some("bob"), "tools/call", &params).send().await.unwrap();
    assert!(refused.text().await.unwrap().contains("this server is read-only"));
}
