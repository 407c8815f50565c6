//! Paegents' escrow ended: closed, claimed, withdrawn, each once, by either way.

use serde_json::{Value, json};

use crate::{paegents_escrow::accepted, world::World};

const DAY_SECONDS: i64 = 86_400;

/// A funded agreement of this many units.
pub(crate) async fn funded(world: &World, behaviour: &str, quantity: u64) -> String {
    let id = accepted(world, behaviour, quantity).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    id
}

/// What the ledger has of this agreement, by kind.
pub(crate) async fn entries(world: &World, id: &str, kind: &str) -> Vec<String> {
    let ledger = world.admin("GET", "/ledger", None).await;
    let own = |entry: &&Value| entry["parent"] == id && entry["kind"] == kind;
    let amount = |entry: &Value| entry["amount_usd"].as_str().unwrap().to_owned();
    ledger["entries"].as_array().unwrap().iter().filter(own).map(amount).collect()
}

#[tokio::test]
async fn what_was_not_used_comes_back_after_the_challenge_window() {
    let world = World::start().await;
    let id = funded(&world, "auto", 100).await;
    let own = json!({ "agreement_id": id });
    let early = world.call("paegents_withdraw_remainder", own.clone()).await.unwrap();
    assert_eq!(early["state"], "waiting", "{early}");
    assert_eq!(early["next"][0]["tool"], "paegents_close_escrow", "{early}");
    let closed = world.call("paegents_close_escrow", own.clone()).await.unwrap();
    assert_eq!((&closed["state"], &closed["way"]), (&json!("done"), &json!("sponsored")));
    assert!(closed["challenge_window_expires_at"].is_string(), "{closed}");
    let again = world.call("paegents_close_escrow", own.clone()).await.unwrap();
    assert_eq!(again["state"], "done", "{again}");
    let waits = world.call("paegents_withdraw_remainder", own.clone()).await.unwrap();
    assert_eq!(waits["state"], "waiting", "{waits}");
    world.advance(DAY_SECONDS + 60).await;
    let back = world.call("paegents_withdraw_remainder", own).await.unwrap();
    assert_eq!(back["state"], "done", "{back}");
    assert_eq!(back["received_usd"], "2", "{back}");
    assert_eq!(entries(&world, &id, "refund").await, ["2"]);
}

#[tokio::test]
async fn a_wallet_with_gas_closes_and_withdraws_by_itself() {
    let world = World::start().await;
    let seller = world.seller().await;
    let id = accepted_by(&world, &seller, 10).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    let direct = json!({ "agreement_id": id, "way": "direct" });
    let closed = world.call("paegents_close_escrow", direct.clone()).await.unwrap();
    assert_eq!((&closed["state"], &closed["way"]), (&json!("done"), &json!("direct")), "{closed}");
    assert!(closed["tx_hash"].is_string(), "{closed}");
    world.advance(DAY_SECONDS + 60).await;
    let back = world.call("paegents_withdraw_remainder", direct).await.unwrap();
    assert_eq!(back["state"], "done", "{back}");
    assert_eq!(entries(&world, &id, "refund").await.len(), 1);
    // The wallet's next payment is not taken for a stranger's.
    let status = world.call("market_status", json!({})).await.unwrap();
    assert!(status["frozen"].is_null(), "{status}");
}

/// An agreement of 10 units of this seller that is paid, 4 of them used.
pub(crate) async fn partly_used(world: &World, seller: &World) -> String {
    let id = accepted_by(world, seller, 10).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    let key = world.sandbox.info().paegents.seller.api_key;
    let used = json!({ "units_used": 4, "completed": false });
    let path = format!("/usage-agreements/{id}/record-usage");
    seller.paegents_as(&key, "POST", &path, Some(used)).await;
    id
}

/// An agreement with the seller's own process, which accepts it past its tools.
pub(crate) async fn accepted_by(world: &World, seller: &World, quantity: u64) -> String {
    let info = world.sandbox.info().paegents;
    let is_manual = |s: &&haggle::sandbox::ItemInfo| s.behaviour == "manual";
    let service = info.services.iter().find(is_manual).unwrap();
    let price: haggle::money::Usdc = service.price_usd.parse().unwrap();
    let body = json!({
        "seller_agent_id": service.owner_id, "quantity": quantity, "unit": "api_calls",
        "price_per_unit_cents": price.micros() / 10_000, "settlement_model": "bilateral_escrow",
        "payment_method": { "rail": "stablecoin" }, "expires_in_seconds": 86_400,
        "activation_version": "v2", "buyer_wallet_address": info.buyer.wallet,
        "service_id": service.id,
    });
    let made = world.paegents("POST", "/usage-agreements/", Some(body)).await;
    let id = made["agreement_id"].as_str().unwrap().to_owned();
    let accept = format!("/usage-agreements/{id}/accept");
    seller.paegents_as(&info.seller.api_key, "PUT", &accept, None).await;
    id
}

#[tokio::test]
async fn a_seller_claims_what_was_earned_and_nothing_twice() {
    let world = World::start().await;
    let seller = world.seller().await;
    let id = accepted_by(&world, &seller, 10).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    let own = json!({ "agreement_id": id });
    let nothing = seller.call("paegents_claim_earnings", own.clone()).await.unwrap();
    assert_eq!(nothing["state"], "nothing_left", "{nothing}");
    let key = world.sandbox.info().paegents.seller.api_key;
    let used = json!({ "units_used": 4, "completed": false });
    let record = format!("/usage-agreements/{id}/record-usage");
    seller.paegents_as(&key, "POST", &record, Some(used)).await;
    let claimed = seller.call("paegents_claim_earnings", own.clone()).await.unwrap();
    assert_eq!(claimed["state"], "done", "{claimed}");
    let again = seller.call("paegents_claim_earnings", own.clone()).await.unwrap();
    assert_eq!(again["received_usd"], claimed["received_usd"], "{again}");
    assert_eq!(entries(&world, &id, "payout").await.len(), 1);
    // The other side's action is not this side's to do.
    let error = world.call("paegents_claim_earnings", own).await.unwrap_err();
    assert_eq!(error["code"], "not_allowed", "{error}");
}

/// Whatever breaks on the way of a signature that was handed in: one close, told right.
#[tokio::test]
async fn a_lost_answer_closes_once() {
    for action in [
        json!("drop_before"),
        json!("drop_after"),
        json!("charge_then_fail"),
        json!({ "status": 503, "headers": {}, "body": {} }),
        json!({ "truncate": 10 }),
    ] {
        let world = World::start().await;
        let id = funded(&world, "auto", 50).await;
        world.fault("paegents", "*/sponsored-actions/*", 0, action.clone()).await;
        let own = json!({ "agreement_id": id });
        let first = world.call("paegents_close_escrow", own.clone()).await;
        if let Err(error) = &first {
            assert_ne!(error["money_moved"], "no", "{action}: {error}");
            assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_close_escrow");
        }
        let world = world.restart().await;
        let second = world.call("paegents_close_escrow", own).await.unwrap();
        assert_eq!(second["state"], "done", "{action}: {second}");
        let requests = world.admin("GET", "/requests", None).await;
        let sent = requests["entries"].as_array().unwrap().iter();
        let path = |r: &&Value| r["path"].as_str().unwrap().ends_with("/initiate-close");
        let signatures: std::collections::BTreeSet<_> =
            sent.filter(path).map(|r| r["body"].as_str().unwrap().to_owned()).collect();
        assert_eq!(signatures.len(), 1, "{action}: one signature is alive");
    }
}

/// F12: calldata is read for what it does, not for what its selector looks like.
#[tokio::test]
async fn f12_calldata_of_another_contract_or_function_is_not_signed() {
    let evil = "0x000000000000000000000000000000000000dEaD";
    for terms in [
        json!({ "to": evil }),
        json!({ "data": "0x2e1a7d4d" }),
        json!({ "data": "0xa9059cbb0000000000000000000000000000000000000000000000000000000000000001" }),
        json!({ "value": "1" }),
        json!({ "function": "buyerWithdraw" }),
        json!({ "chain_id": 8453 }),
    ] {
        let world = World::start().await;
        let id = funded(&world, "auto", 50).await;
        let signed = world.app.wallet().await.unwrap().signatures();
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", "*/initiate-close-calldata", 0, swap).await;
        let args = json!({ "agreement_id": id, "way": "direct" });
        let error = world.call("paegents_close_escrow", args).await.unwrap_err();
        assert_eq!(error["code"], "signing_refused", "{terms}: {error}");
        assert!(error["field"].is_string(), "{terms}: {error}");
        assert_eq!(world.app.wallet().await.unwrap().signatures(), signed, "{terms}");
    }
}

#[tokio::test]
async fn options_that_differ_from_what_is_known_are_not_signed() {
    let evil = "0x000000000000000000000000000000000000dEaD";
    for (terms, field) in [
        (json!({ "escrow_contract_address": evil }), "escrow_contract_address"),
        (json!({ "signer_wallet_address": evil }), "signer_wallet_address"),
        (json!({ "onchain_agreement_id": 4_000_000 }), "onchain_agreement_id"),
        (json!({ "chain_id": 8453 }), "chain_id"),
        (json!({ "suggested_deadline": 1 }), "suggested_deadline"),
    ] {
        let world = World::start().await;
        let id = funded(&world, "auto", 50).await;
        let signed = world.app.wallet().await.unwrap().signatures();
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", "*/settlement-action-options", 0, swap).await;
        let args = json!({ "agreement_id": id });
        let error = world.call("paegents_close_escrow", args).await.unwrap_err();
        assert_eq!(error["field"], field, "{error}");
        assert_eq!(error["money_moved"], "no", "{error}");
        assert_eq!(world.app.wallet().await.unwrap().signatures(), signed, "{terms}");
    }
}
