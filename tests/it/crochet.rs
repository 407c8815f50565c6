//! Buying on Crochet: promises of the paid call.

use serde_json::json;

use crate::world::World;

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
