//! A caller on CROO that knows nothing and makes the call that it is told to make, from a search or a
//! service on: it ends as the seller lets it, and is never charged twice.

use futures::future::join_all;
use haggle::spend::policy::Policy;
use serde_json::{Value, json};

use crate::world::{Make, World};

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// With the delivery.
    Delivered,
    /// With an offer of something else, and nothing paid.
    Elsewhere,
    /// With this code, paid, and given back.
    Refunded(&'static str),
}
use Ends::{Delivered, Elsewhere, Refunded};

/// Follows the hints from a service on.
async fn from_service(world: &World, service_id: &str) -> Result<Value, Value> {
    let service = world.call("croo_get_service", json!({ "service_id": service_id })).await;
    world.finish(service).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_seller_ends_as_it_should() {
    #[rustfmt::skip]
    let rows = [
        // how the seller behaves  ends                             charges  refunds
        ("auto",                   Delivered,                       1,       0),
        ("slow",                   Delivered,                       1,       0),
        ("price_rises",            Delivered,                       1,       0),
        ("hostile_text",           Delivered,                       1,       0),
        ("rejects",                Elsewhere,                       0,       0),
        ("manual",                 Elsewhere,                       0,       0),
        ("fails_after_payment",    Refunded("paid_not_delivered"),  1,       1),
        ("never_delivers",         Refunded("paid_not_delivered"),  1,       1),
    ];
    let runs = rows.map(|(behaviour, ends, charges, refunds)| {
        tokio::spawn(ending(behaviour, ends, (charges, refunds)))
    });
    for run in join_all(runs).await {
        run.unwrap();
    }
}

async fn ending(behaviour: &'static str, ends: Ends, (charges, refunds): (usize, usize)) {
    let world = World::start().await;
    let item = world.item(behaviour);
    let answer = from_service(&world, &item.id).await;
    match (ends, &answer) {
        (Delivered, Ok(done)) => {
            assert!(!done["result_untrusted"].is_null(), "{behaviour}: {done}");
        }
        (Elsewhere, Ok(done)) => assert!(done["purchase"].is_null(), "{behaviour}: {done}"),
        (Elsewhere, Err(error)) => assert_eq!(error["money_moved"], "no", "{behaviour}: {error}"),
        (Refunded(code), Err(error)) => {
            assert_eq!(error["code"], code, "{behaviour}: {error}");
            assert_eq!(error["money_moved"], "yes", "{behaviour}: {error}");
        }
        (ends, answer) => panic!("{behaviour} should end {ends:?}, ended {answer:?}"),
    }
    let key = world.sandbox.info().croo.requester.sdk_key;
    let path = "/orders/negotiate?role=requester&page=1&page_size=50";
    let made = world.truth(&key, path).await;
    let own = made["negotiations"].as_array().into_iter().flatten();
    let own = own.filter(|negotiation| negotiation["serviceId"] == item.id.as_str()).count();
    assert!(own >= 1, "{behaviour} was never asked");
    let orders = world.orders().await;
    let of_service: Vec<_> = orders.iter().filter(|o| o["serviceId"] == item.id.as_str()).collect();
    for order in &of_service {
        let again = world
            .call(
                "croo_pay_order",
                json!({ "order_id": order["orderId"],
            "max_total_usd": "5" }),
            )
            .await;
        assert!(again.is_err() || ends == Delivered, "{behaviour}: {again:?}");
    }
    let paid = world.charges().await;
    let of_paid = paid.iter().filter(|c| of_service.iter().any(|o| o["orderId"] == c.0.as_str()));
    assert_eq!(of_paid.count(), charges, "{behaviour}");
    assert_eq!(world.entries("refund").await, refunds, "{behaviour}");
    world.audit().await;
}

/// From a search to the delivery, without an identifier of its own.
#[tokio::test]
async fn a_search_leads_to_a_delivery() {
    let world = World::start().await;
    let args = json!({ "query": "statistics", "marketplace": "croo" });
    let found = world.call("market_search", args).await;
    let done = world.finish(found).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// A file is what was bought: the hints lead to it.
#[tokio::test]
async fn a_delivered_file_is_fetched_by_the_hints() {
    let world = World::start().await;
    let id = world.service("auto", "CSV report");
    let delivered = from_service(&world, &id).await.unwrap();
    let next = &delivered["next"][0];
    assert_eq!(next["tool"], "croo_download_file", "{delivered}");
    let saved = world.call("croo_download_file", next["arguments"].clone()).await.unwrap();
    let file = std::fs::read(saved["path"].as_str().unwrap()).unwrap();
    assert!(serde_json::from_slice::<Value>(&file).unwrap().is_object(), "{saved}");
}

/// A fund part that the owner has not allowed goes nowhere.
#[tokio::test]
async fn a_fund_part_is_asked_of_the_owner_before_anything_is_sent() {
    let policy = Policy { fund_max_usd: "0.2".parse().unwrap(), ..Policy::sandbox() };
    let world = World::start_with(Make { policy, ..Make::default() }).await;
    let id = world.service("auto", "Fund forwarding");
    let args = json!({ "service_id": id, "requirements": "For the pool.", "fund_usd": "0.25" });
    let error = world.call("croo_negotiate_order", args).await.unwrap_err();
    assert_eq!(error["code"], "policy_denied", "{error}");
    assert_eq!(error["money_moved"], "no");
    assert_eq!(error["field"], "fund_usd");
    assert_eq!(world.sent("POST", "/orders/negotiate").await, 0);
    assert!(world.charges().await.is_empty());
}

/// A wallet without money is told before anything is sent, and goes on once it is funded.
#[tokio::test]
async fn a_wallet_without_money_goes_on_once_it_is_funded() {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.balance(&json!({ "usdc": "0.01" })).await;
    let error = world.pay(&order).await.unwrap_err();
    assert_eq!(error["code"], "insufficient_funds", "{error}");
    assert_eq!(error["recovery"]["next_action"], "top_up", "{error}");
    assert_eq!(world.sent("POST", "/pay").await, 0);
    world.balance(&json!({ "usdc": "5" })).await;
    let done = world.finish(Ok(json!({ "next": error["recovery"]["next"] }))).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
