//! Paegents' escrow: agreed, checked, paid once through the gate.

use serde_json::{Value, json};

use crate::world::World;

/// An accepted agreement on this many units of a service that accepts by itself.
pub(crate) async fn accepted(world: &World, behaviour: &str, quantity: u64) -> String {
    let info = world.sandbox.info().paegents;
    let service = info.services.iter().find(|s| s.behaviour == behaviour).unwrap();
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
    for _ in 0..50 {
        let now = world.paegents("GET", &format!("/usage-agreements/{id}"), None).await;
        if now["status"] == "accepted" {
            return id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{id} was not accepted");
}

fn entries(ledger: &Value, kind: &str) -> Vec<(String, String)> {
    let of_kind = |entry: &&Value| entry["marketplace"] == "paegents" && entry["kind"] == kind;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = |entry: &Value| (text(&entry["reference"]), text(&entry["amount_usd"]));
    ledger["entries"].as_array().unwrap().iter().filter(of_kind).map(shown).collect()
}

#[tokio::test]
async fn an_escrow_is_funded_once_and_can_be_called() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "3" });
    let paid = world.call("paegents_activate_escrow", args.clone()).await.unwrap();
    assert_eq!(paid["status"], "active", "{paid}");
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    let again = world.call("paegents_activate_escrow", args).await.unwrap();
    assert_eq!(again["purchase"]["id"], paid["purchase"]["id"]);
    let ledger = world.admin("GET", "/ledger", None).await;
    assert_eq!(entries(&ledger, "deposit"), [(id.clone(), "2".to_owned())]);
    assert_eq!(entries(&ledger, "fee"), [(format!("{id}:fee"), "0.10".to_owned())]);
    assert_eq!(paid["purchase"]["amount_usd"], "2.10");
}

#[tokio::test]
async fn what_costs_more_than_allowed_is_not_signed() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "2.09" });
    let error = world.call("paegents_activate_escrow", args).await.unwrap_err();
    assert_eq!(error["code"], "above_max_total", "{error}");
    assert_eq!(error["example"], "2.10");
    assert_eq!(error["money_moved"], "no");
}
