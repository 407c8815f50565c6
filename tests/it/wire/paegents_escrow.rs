//! Paegents' requests around an escrow: its activation, and what ends it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Known, hold, know, read_fixtures};
use crate::{paegents_settle::accepted_by, world::World};

/// The fixtures that this scenario meets.
const OWN: [&str; 4] = [
    "activate_escrow",
    "submit_sponsored_buyer_withdraw",
    "submit_sponsored_initiate_close",
    "submit_sponsored_seller_claim",
];

#[tokio::test]
async fn an_escrow_s_requests_are_those_of_the_page() {
    let mut known = Known::new();
    let world = World::start().await;
    let seller = world.seller().await;
    let info = world.sandbox.info();
    for agent in [&info.paegents.buyer, &info.paegents.seller] {
        know(&mut known, "api_key", agent.api_key.as_str());
    }
    know(&mut known, "buyer_wallet", info.paegents.buyer.wallet.to_lowercase());
    know(&mut known, "buyer_wallet", info.paegents.buyer.wallet.as_str());
    know(&mut known, "seller_wallet", info.paegents.seller.wallet.to_lowercase());
    know(&mut known, "seller_wallet", info.paegents.seller.wallet.as_str());
    know(&mut known, "usdc", info.chain.usdc.to_lowercase());
    know(&mut known, "usdc", info.chain.usdc.as_str());
    let id = accepted_by(&world, &seller, 10).await;
    know(&mut known, "agreement_id", id.as_str());
    let own = json!({ "agreement_id": id });
    let pays = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", pays).await.unwrap();
    let used = json!({ "units_used": 4, "completed": false });
    let record = format!("/usage-agreements/{id}/record-usage");
    seller.paegents_as(&info.paegents.seller.api_key, "POST", &record, Some(used)).await;
    seller.call("paegents_claim_earnings", own.clone()).await.unwrap();
    world.call("paegents_close_escrow", own.clone()).await.unwrap();
    world.advance(86_460).await;
    world.call("paegents_withdraw_remainder", own).await.unwrap();

    let mut requests = world.requests().await;
    let is_own = |request: &Value| {
        let path = request["path"].as_str().unwrap();
        request["method"] == "POST"
            && (path.ends_with("/activate-escrow") || path.contains("/sponsored-actions/"))
    };
    requests.retain(is_own);
    for request in &requests {
        let key = request["headers"]["idempotency-key"].as_str().unwrap();
        assert!(key.contains(&id), "a key of its own: {key}");
        know(&mut known, "action_key", key);
    }
    let mut fixtures: BTreeMap<String, Value> = read_fixtures("paegents");
    fixtures.retain(|name, _| OWN.contains(&name.as_str()));
    let met = hold(&fixtures, &requests, &known);
    assert_eq!(met.len(), OWN.len(), "met {met:?}");
}
