//! New permits for an activation whose own are over: the same payment, once, or nothing at all.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    paegents_escrow::accepted,
    paegents_evidence::hurried,
    world::{Make, World},
};

/// Past the permits' deadline and what is waited for after it, in seconds.
const OVER_SECONDS: i64 = 700;

/// An activation that never arrived, of an agreement of 100 units: its identifier, and what was said.
async fn lost(world: &World) -> (String, Value) {
    let id = accepted(world, "auto", 100).await;
    world.fault("paegents", "*/activate-escrow", 0, json!("drop_before")).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "3" });
    let error = world.call("paegents_activate_escrow", args).await.unwrap_err();
    assert_eq!(error["money_moved"], "maybe", "{error}");
    (id, error)
}

async fn refresh(world: &World, id: &str) -> Result<Value, Value> {
    world.call("paegents_refresh_permit", json!({ "agreement_id": id })).await
}

/// The bodies that were sent to this path's end.
async fn sent(world: &World, end: &str) -> Vec<Value> {
    let requests = world.requests().await;
    let own = requests.iter().filter(|r| r["path"].as_str().unwrap().ends_with(end));
    own.map(|r| serde_json::from_str(r["body"].as_str().unwrap()).unwrap()).collect()
}

async fn deposits(world: &World) -> usize {
    let ledger = world.admin("GET", "/ledger", None).await;
    ledger["entries"].as_array().unwrap().iter().filter(|e| e["kind"] == "deposit").count()
}

#[tokio::test]
async fn permits_that_are_over_are_signed_anew_for_the_same_payment() {
    let world = World::start_with(hurried()).await;
    let (id, error) = lost(&world).await;
    world.advance(OVER_SECONDS).await;
    let done = refresh(&world, &id).await.unwrap();
    assert_eq!(done["status"], "active", "{done}");
    assert_eq!(done["purchase"]["id"], error["purchase_id"], "the same purchase: {done}");
    assert_eq!(done["purchase"]["amount_usd"], "2.10", "{done}");
    assert_eq!(deposits(&world).await, 1);
    let fresh = sent(&world, "/refresh-permit").await;
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    let activations = sent(&world, "/activate-escrow").await;
    let [first, second] = activations.as_slice() else { panic!("{activations:?}") };
    assert_eq!(first["buyer_intent"], second["buyer_intent"], "what is agreed stays");
    let permit = |body: &Value| body["funding_authorization"]["permit_data"].clone();
    assert_ne!(permit(first), permit(second));
    assert_eq!(permit(second), fresh[0]["buyer_permit_signature"]);
    let fee = "buyer_infra_fee_permit_signature";
    assert_eq!(second[fee], fresh[0][fee]);
    // Another instrument is another request: a key stands for one body.
    let requests = world.requests().await;
    let keys: BTreeSet<_> = requests
        .iter()
        .filter(|request| request["path"].as_str().unwrap().ends_with("/activate-escrow"))
        .map(|request| request["headers"]["idempotency-key"].to_string())
        .collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    // It is paid now: nothing is signed again.
    let signed = world.app.wallet().await.unwrap().signatures();
    let error = refresh(&world, &id).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("yes")));
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed);
    world.audit().await;
}

#[tokio::test]
async fn permits_that_hold_are_not_signed_beside_others() {
    let world = World::start_with(hurried()).await;
    let (id, _) = lost(&world).await;
    let signed = world.app.wallet().await.unwrap().signatures();
    for _ in 0..2 {
        let error = refresh(&world, &id).await.unwrap_err();
        assert_eq!(error["code"], "wrong_state", "{error}");
        assert_eq!(error["money_moved"], "maybe", "{error}");
        assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_activate_escrow", "{error}");
        world.advance(OVER_SECONDS / 3).await;
    }
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed, "nothing was signed");
    assert!(sent(&world, "/refresh-permit").await.is_empty());
    // The hint goes on with the same instrument while it holds.
    let error = refresh(&world, &id).await.unwrap_err();
    let done = world.next_of(&error).await.unwrap();
    assert_eq!(done["status"], "active", "{done}");
    assert_eq!(deposits(&world).await, 1);
}

#[tokio::test]
async fn where_nothing_was_begun_there_is_nothing_to_refresh() {
    let world = World::start_with(hurried()).await;
    let id = accepted(&world, "auto", 100).await;
    let error = refresh(&world, &id).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_activate_escrow", "{error}");
    let error = refresh(&world, "agr_nothing").await.unwrap_err();
    assert_eq!(error["code"], "not_found", "{error}");
    // What has ended is paid anew, with the owner's word for it.
    let (id, error) = lost(&world).await;
    world.advance(OVER_SECONDS).await;
    let purchase = json!({ "purchase_id": error["purchase_id"] });
    let ended = world.call("market_check_purchase", purchase).await.unwrap();
    assert_eq!(ended["purchase"]["state"], "failed", "{ended}");
    let error = refresh(&world, &id).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_activate_escrow", "{error}");
    world.next_of(&error).await.unwrap();
    assert_eq!(deposits(&world).await, 1);
    world.audit().await;
}

/// What the owner agreed to long ago is asked again, as a new purchase.
#[tokio::test]
async fn an_old_approval_is_not_used_again() {
    let world = World::start_with(hurried()).await;
    let (id, _) = lost(&world).await;
    world.advance(3_700).await;
    let signed = world.app.wallet().await.unwrap().signatures();
    let error = refresh(&world, &id).await.unwrap_err();
    assert_eq!(error["money_moved"], "no", "{error}");
    assert_eq!(error["recovery"]["next"][0]["tool"], "paegents_activate_escrow", "{error}");
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed, "nothing was signed");
    assert!(world.charges().await.is_empty());
}

#[tokio::test]
async fn changed_terms_are_not_signed_by_a_refresh() {
    let evil = "0x000000000000000000000000000000000000dEaD";
    let hash = format!("0x{}", "07".repeat(32));
    let world = World::start_with(hurried()).await;
    let (id, _) = lost(&world).await;
    world.advance(OVER_SECONDS).await;
    let signed = world.app.wallet().await.unwrap().signatures();
    for terms in [
        json!({ "spender": evil }),
        json!({ "seller": evil }),
        json!({ "deposit_amount_atomic": 2_000_001 }),
        json!({ "amount_atomic": 100_001 }),
        json!({ "terms_hash": hash }),
        json!({ "receipt_signer": evil }),
    ] {
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", "*/activation-package", 0, swap).await;
        let error = refresh(&world, &id).await.unwrap_err();
        let code = error["code"].as_str().unwrap();
        assert!(["terms_mismatch", "signing_refused"].contains(&code), "{terms}: {error}");
        assert!(error["field"].is_string(), "{terms}: {error}");
    }
    world.freeze(true).await;
    let frozen = refresh(&world, &id).await.unwrap_err();
    assert_eq!(frozen["code"], "frozen", "{frozen}");
    world.freeze(false).await;
    assert!(sent(&world, "/refresh-permit").await.is_empty());
    assert!(world.app.wallet().await.unwrap().signatures() <= signed + 3, "made and not sent");
    refresh(&world, &id).await.unwrap();
    assert_eq!(deposits(&world).await, 1);
}

/// Whatever breaks on the way: one deposit, and the hints end in it.
#[tokio::test]
async fn a_refresh_that_breaks_pays_once() {
    for path in ["*/refresh-permit", "*/activate-escrow"] {
        for action in [
            json!("drop_before"),
            json!("drop_after"),
            json!("charge_then_fail"),
            json!({ "status": 503, "headers": {}, "body": {} }),
            json!({ "status": 404, "headers": {}, "body": { "detail": "Not found" } }),
            json!({ "truncate": 10 }),
        ] {
            let world = World::start_with(hurried()).await;
            let (id, _) = lost(&world).await;
            world.advance(OVER_SECONDS).await;
            world.fault("paegents", path, 0, action.clone()).await;
            let first = refresh(&world, &id).await;
            let world = world.kill().await;
            let done = match first {
                Ok(done) => done,
                Err(error) => {
                    assert_ne!(error["money_moved"], "no", "{path} {action}: {error}");
                    world.follow(error).await.unwrap()
                }
            };
            assert_eq!(done["purchase"]["money_moved"], "yes", "{path} {action}: {done}");
            assert_eq!(deposits(&world).await, 1, "{path} {action}");
            let permits: BTreeSet<String> = sent(&world, "/refresh-permit")
                .await
                .iter()
                .map(|body| body["buyer_permit_signature"].to_string())
                .collect();
            assert_eq!(permits.len(), 1, "{path} {action}: one permit is alive");
            world.audit().await;
        }
    }
}

/// Two ask at once, in one process and in two: one signs.
#[tokio::test]
async fn a_refresh_that_is_asked_for_twice_pays_once() {
    let world = World::start_with(Make { ..hurried() }).await;
    let (id, _) = lost(&world).await;
    world.advance(OVER_SECONDS).await;
    let beside = world.beside().await;
    let (one, two, three) =
        tokio::join!(refresh(&world, &id), refresh(&world, &id), refresh(&beside, &id));
    let paid = [&one, &two, &three].iter().filter(|answer| answer.is_ok()).count();
    assert!(paid >= 1, "{one:?} {two:?} {three:?}");
    assert_eq!(deposits(&world).await, 1);
    let permits: BTreeSet<String> =
        sent(&world, "/refresh-permit").await.iter().map(ToString::to_string).collect();
    assert_eq!(permits.len(), 1);
}
