//! Paegents' requests around an escrow that change nothing, and the one for new permits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Known, hold, know, path_fits, read_fixtures};
use crate::{paegents_evidence::hurried, paegents_settle::accepted_by, world::World};

/// The fixtures that this scenario meets.
const OWN: [&str; 9] = [
    "get_activation_package",
    "get_call_proofs",
    "get_claim_instructions",
    "get_cumulative_receipts",
    "get_deposit_params",
    "get_escrow_status",
    "get_initiate_close_calldata",
    "get_settlement_action_options",
    "refresh_permit",
];

#[tokio::test]
async fn what_is_read_of_an_escrow_is_asked_as_the_page_says() {
    let mut known = Known::new();
    let world = World::start_with(hurried()).await;
    let seller = world.seller().await;
    let info = world.sandbox.info().paegents;
    know(&mut known, "api_key", info.buyer.api_key.as_str());
    know(&mut known, "buyer_wallet", info.buyer.wallet.as_str());
    let id = accepted_by(&world, &seller, 10).await;
    know(&mut known, "agreement_id", id.as_str());
    let own = json!({ "agreement_id": id });
    for tool in ["paegents_get_activation_package", "paegents_get_deposit_params"] {
        world.call(tool, own.clone()).await.unwrap();
    }
    world.fault("paegents", "*/activate-escrow", 0, json!("drop_before")).await;
    let pays = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", pays).await.unwrap_err();
    world.advance(700).await;
    world.call("paegents_refresh_permit", own.clone()).await.unwrap();
    for units in 1..=3 {
        let used = json!({ "units_used": units, "completed": false });
        let record = format!("/usage-agreements/{id}/record-usage");
        seller.paegents_as(&info.seller.api_key, "POST", &record, Some(used)).await;
    }
    know(&mut known, "action", "initiate_close");
    know(&mut known, "action", "buyer_withdraw");
    for action in ["close", "withdraw"] {
        let args = json!({ "agreement_id": id, "action": action });
        world.call("paegents_get_settlement_options", args).await.unwrap();
    }
    for tool in [
        "paegents_get_escrow_status",
        "paegents_get_close_calldata",
        "paegents_get_claim_instructions",
        "paegents_list_call_proofs",
        "paegents_list_receipts",
    ] {
        world.call(tool, own.clone()).await.unwrap();
    }
    let page = json!({ "agreement_id": id, "limit": 2 });
    let first = world.call("paegents_list_receipts", page).await.unwrap();
    world.call("paegents_list_receipts", first["next"][0]["arguments"].clone()).await.unwrap();

    let mut fixtures: BTreeMap<String, Value> = read_fixtures("paegents");
    fixtures.retain(|name, _| OWN.contains(&name.as_str()));
    let mut requests = world.requests().await;
    requests.retain(|request| {
        let path = request["path"].as_str().unwrap();
        let by = request["headers"]["user-agent"].as_str().unwrap_or_default();
        by.starts_with("haggle/")
            && fixtures.values().any(|fixture| {
                fixture["method"] == request["method"]
                    && path_fits(fixture["path"].as_str().unwrap(), path, &known)
            })
    });
    for request in requests.iter().filter(|request| request["method"] == "POST") {
        let key = request["headers"]["idempotency-key"].as_str().unwrap();
        assert!(key.starts_with(&format!("refresh:{id}:")), "a key of its own: {key}");
        know(&mut known, "refresh_key", key);
    }
    let met = hold(&fixtures, &requests, &known);
    assert_eq!(met, OWN.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
}
