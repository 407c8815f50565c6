//! Buying on Crochet: promises of the paid call.

use std::time::Duration;

use haggle::{journal::Delivery, spend::Patience};
use serde_json::json;

use crate::world::{Make, World};

/// One call, one charge, the seller's answer; and what the journal says is what the sandbox says.
#[tokio::test]
async fn a_listing_is_called_paid_and_answered() {
    let world = World::start().await;
    let done = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    assert!(!done["result_untrusted"].is_null(), "{done}");
    assert_eq!(done["purchase"]["state"], "settled");
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(done["purchase"]["money_moved"], "yes");
    assert_eq!(done["mode"], "sandbox");
    let charges = world.charges().await;
    assert_eq!(charges.len(), 1);
    assert_eq!(charges[0].1, done["purchase"]["amount_usd"]);
}

#[tokio::test]
async fn a_free_listing_costs_nothing() {
    let world = World::start().await;
    let done = world.call("crochet_call_listing", world.purchase_of("free")).await.unwrap();
    assert!(!done["result_untrusted"].is_null());
    assert!(done["purchase"].is_null());
    assert!(world.charges().await.is_empty());
}

/// The transaction never reaches the chain; whoever follows the hints still gets what they bought,
/// and pays once.
#[tokio::test]
async fn a_payment_that_was_lost_is_made_once() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!("drop_before")).await;
    let lost = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(lost["code"], "payment_unknown", "{lost}");
    assert_eq!(lost["money_moved"], "maybe");
    let done = world.follow(lost).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes");
    assert_eq!(world.charges().await.len(), 1);
}

/// What was paid and not delivered yet is collected by asking; a seller who cannot deliver yet changes
/// nothing.
#[tokio::test]
async fn asking_collects_what_was_paid_for() {
    let patience =
        Patience { follow: Duration::from_millis(600), unknown: Duration::from_millis(500) };
    let world = World::start_with(Make { patience, ..Make::default() }).await;
    let failing = json!({ "marketplace": "crochet", "path": "/gateway/*", "skip": 1, "times": 99,
        "action": { "status": 503 } });
    world.admin("POST", "/faults", Some(failing)).await;
    let late = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!((&late["code"], &late["money_moved"]), (&json!("payment_pending"), &json!("yes")));
    let about = json!({ "purchase_id": late["purchase_id"] });
    let error = world.call("market_check_purchase", about.clone()).await.unwrap_err();
    assert_eq!(error["money_moved"], "yes", "{error}");
    assert_eq!(world.journal().await[0].delivery, Delivery::Pending);
    world.admin("DELETE", "/faults", None).await;
    // The seller is called now, and takes a moment.
    let mut done = world.call("market_check_purchase", about.clone()).await.unwrap();
    for _ in 0..600 {
        if done["purchase"]["delivery"] == "delivered" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        done = world.call("market_check_purchase", about.clone()).await.unwrap();
    }
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(done["next"][0]["tool"], "crochet_resume_call");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
