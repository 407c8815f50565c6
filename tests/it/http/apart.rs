//! Clients that never meet: purchases, sessions, sealed questions, inboxes, limits.

use haggle::{
    config::http::HttpSettings,
    events::{self, Event},
    journal,
    money::Usdc,
    principal,
    profile::Profile,
    spend::policy::{Limits, Policy},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Site, client, initialize, session, token};
use crate::{
    paegents_owner::{question, says},
    world::{Make, World},
};

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
        assert_eq!(completed(&site, name, "purchase_id").await.len(), seen, "{name}");
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
    let negotiation = negotiated["negotiation_id"].clone();
    let about = json!({ "order_id": order, "negotiation_id": negotiation });
    assert_eq!(heard(&site, "order_created", &order, about.clone()).await, ["ann", "bob"]);
    let pay = World::payment_of(&negotiated);
    let paid = site.call("ann", "croo_pay_order", pay.clone()).await;
    assert!(paid.is_ok() || paid.as_ref().unwrap_err()["money_moved"] != "no", "{paid:?}");
    for (tool, args) in [
        ("croo_get_order", json!({ "order_id": order })),
        ("croo_get_delivery", json!({ "order_id": order })),
        ("croo_get_order", json!({ "negotiation_id": negotiation })),
        ("croo_get_negotiation", json!({ "negotiation_id": negotiation })),
        ("croo_pay_order", pay),
    ] {
        let error = site.call("bob", tool, args).await.unwrap_err();
        assert_eq!(error["code"], "not_found", "{tool}: {error}");
        assert_eq!(error["money_moved"], "no");
    }
    assert_eq!(heard(&site, "order_paid", &order, about).await, ["ann"]);
    for (name, seen) in [("ann", true), ("bob", false)] {
        let listed = site.call(name, "croo_list_orders", json!({ "role": "buyer" })).await;
        assert_eq!(listed.unwrap().to_string().contains(order.as_str()), seen, "{name}");
        let listed = site.call(name, "croo_list_negotiations", json!({ "role": "buyer" })).await;
        let id = negotiation.as_str().unwrap();
        assert_eq!(listed.unwrap().to_string().contains(id), seen, "{name}");
        // Nor what was heard of it when it was nobody's.
        let read = site.ask(name, "resources/read", json!({ "uri": "haggle://inbox" })).await;
        assert_eq!(read.to_string().contains(order.as_str()), seen, "{name}: {read}");
        assert_eq!(completed(&site, name, "order_id").await, [order.as_str()][..usize::from(seen)]);
    }
}

/// An event about an order comes in: who may read it, by their names.
async fn heard(site: &Site, kind: &str, order: &str, payload: Value) -> Vec<&'static str> {
    let event = Event {
        seq: 0,
        principal: principal::EVERYONE.to_owned(),
        source: "croo".to_owned(),
        dedup: kind.to_owned(),
        kind: kind.to_owned(),
        subject: order.to_owned(),
        payload,
        at: 0,
    };
    let (store, key) = (site.world.app.store(), format!("croo:order:{order}"));
    let heard = store.with(move |db| {
        let (is_new, _) = journal::hear(db, &event, &key)?;
        assert!(is_new);
        let is_told = |name: &&str| {
            let told = events::after(db, name, 0, 100).unwrap();
            told.iter().any(|told| told.kind == event.kind)
        };
        Ok(["ann", "bob"].into_iter().filter(is_told).collect())
    });
    heard.await.unwrap()
}

/// What an argument of the prompt `resolve` is completed to.
async fn completed(site: &Site, name: &str, argument: &str) -> Vec<String> {
    let typed = json!({ "ref": { "type": "ref/prompt", "name": "resolve" },
        "argument": { "name": argument, "value": "" } });
    let completed = site.ask(name, "completion/complete", typed).await;
    serde_json::from_value(completed["result"]["completion"]["values"].clone()).unwrap()
}

/// Nor is the agreement of a purchase without an escrow, which has no key of its own.
#[tokio::test]
async fn another_s_direct_purchase_is_not_found() {
    let mut clients = vec![client("ann"), client("bob")];
    for client in &mut clients {
        client.profiles.extend([Profile::Pay, Profile::Sell]);
    }
    let site = Site::open(clients, HttpSettings::default()).await;
    let args = crate::paegents_direct::purchase(&site.world, "auto").await;
    let bought = site.call("ann", "paegents_buy_direct", args).await;
    let journal = site.world.journal().await;
    let id = &journal[0].instrument.as_ref().unwrap()["agreement_id"];
    assert!(id.is_string(), "{bought:?}");
    for (name, seen) in [("ann", true), ("bob", false)] {
        let read = site.call(name, "paegents_get_agreement", json!({ "agreement_id": id })).await;
        let code = read.err().map(|error| error["code"].clone());
        assert_eq!(code, (!seen).then(|| json!("not_found")), "{name}");
        let listed = site.call(name, "paegents_list_agreements", json!({})).await.unwrap();
        assert_eq!(listed.to_string().contains(id.as_str().unwrap()), seen, "{name}: {listed}");
    }
    let dispute = json!({ "agreement_id": id, "reason": "not as described" });
    let error = site.call("bob", "paegents_dispute_agreement", dispute).await.unwrap_err();
    assert_eq!(error["code"], "not_found", "{error}");
}

#[tokio::test]
async fn another_s_session_is_not_found() {
    let site = Site::open(vec![client("ann"), client("bob")], HttpSettings::default()).await;
    let own = session(&site.initialize(Some("ann")).await);
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    for (name, status) in [("ann", StatusCode::OK), ("bob", StatusCode::NOT_FOUND)] {
        let request = site.in_session(Method::POST, name, &own);
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

/// What the owner lets one do, another asks for itself.
#[tokio::test]
async fn another_s_yes_is_none() {
    const TOOL: &str = "paegents_recover_credentials";
    let mut clients = vec![client("ann"), client("bob")];
    for client in &mut clients {
        client.profiles.push(Profile::Account);
    }
    let site = Site::open(clients, HttpSettings::default()).await;
    let refused = site.call("ann", TOOL, json!({})).await.unwrap_err();
    says(&site.world, &question(&refused), true).await;
    let error = site.call("bob", TOOL, json!({})).await.unwrap_err();
    assert_eq!(error["code"], "approval_required", "{error}");
    assert_ne!(question(&error), question(&refused));
    site.call("ann", TOOL, json!({})).await.unwrap();
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

/// The owner's day is everybody's: what one has spent, another cannot. A client's own day is its own.
#[tokio::test]
async fn the_owner_s_day_is_shared() {
    let (_, price, _) = World::start().await.listing("auto");
    let price = usd(&price);
    let mut clients = vec![client("ann"), client("bob"), client("cat")];
    clients[1].limits = Limits { purchase_max: None, day_max: Some(price) };
    let twice = Usdc::from_micros(2 * price.micros());
    let policy = Policy { day_max_usd: twice, ..Policy::sandbox() };
    let site = Site::with(Make { policy, clients, ..Make::default() }).await;
    let left = async |name: &str| {
        let status = site.call(name, "market_status", json!({})).await.unwrap();
        usd(status["budget"]["left_today_usd"].as_str().unwrap())
    };
    let args = site.world.purchase_of("auto");
    site.call("ann", "crochet_call_listing", args.clone()).await.unwrap();
    assert_eq!((left("ann").await, left("bob").await), (price, price));
    site.call("bob", "crochet_call_listing", args.clone()).await.unwrap();
    assert_eq!(left("cat").await, Usdc::ZERO);
    let error = site.call("cat", "crochet_call_listing", args).await.unwrap_err();
    assert_eq!(error["code"], "policy_denied", "{error}");
    assert_eq!(site.world.charges().await.len(), 2);
}

/// Where it cannot be seen whose something is, nothing is said of its money.
#[tokio::test]
async fn without_the_store_nobody_knows_whose_it_is() {
    let site = Site::open(vec![client("ann"), client("bob")], HttpSettings::default()).await;
    let order = site.world.order("auto").await;
    let pay = World::payment_of(&order);
    let store = site.world.app.store();
    store.with(|db| Ok(db.execute_batch("ALTER TABLE purchases RENAME TO gone")?)).await.unwrap();
    let error = site.call("bob", "croo_pay_order", pay).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("store_unavailable"), &json!("maybe")),
        "{error}"
    );
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
