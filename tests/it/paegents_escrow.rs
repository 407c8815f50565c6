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
    for _ in 0..600 {
        let now = world.paegents("GET", &format!("/usage-agreements/{id}"), None).await;
        if now["status"] == "accepted" {
            return id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{id} was not accepted");
}

/// How much the escrow contract may take from the wallet, in micro-units.
pub(crate) async fn allowance(world: &World) -> u64 {
    let chain = world.app.chain().await.unwrap();
    let wallet = world.app.wallet().await.unwrap().evm_address().unwrap();
    let escrow = world.sandbox.info().chain.escrow.parse().unwrap();
    u64::try_from(chain.allowance(wallet, escrow).await.unwrap()).unwrap()
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

/// The bodies that activated something, in order.
async fn activations(world: &World) -> Vec<Value> {
    let requests = world.requests().await;
    let is_it = |r: &&Value| r["path"].as_str().unwrap().ends_with("/activate-escrow");
    let body = |r: &Value| serde_json::from_str(r["body"].as_str().unwrap()).unwrap();
    requests.iter().filter(is_it).map(body).collect()
}

/// F11: the reference client hashes the texts of its own example, and cannot. Here a hash is 32 bytes
/// however it is written: it is signed as these, and sent in one form.
#[tokio::test]
async fn f11_a_hash_is_signed_as_its_bytes_however_it_is_written() {
    let world = World::start().await;
    for write in [
        |hash: &str| hash.trim_start_matches("0x").to_owned(),
        |hash: &str| format!("0x{}", hash.trim_start_matches("0x").to_uppercase()),
    ] {
        let id = accepted(&world, "auto", 100).await;
        let path = format!("/usage-agreements/{id}/activation-package");
        let package = world.paegents("GET", &path, None).await;
        let names = ["service_hash", "terms_hash", "salt"];
        let mut hashes: Vec<(&str, &Value)> =
            names.iter().map(|name| (*name, &package["terms"][name])).collect();
        for name in ["agreement_key", "platform_agreement_id_hash"] {
            hashes.push((name, &package[name]));
        }
        let written: serde_json::Map<String, Value> = hashes
            .iter()
            .map(|(name, hash)| ((*name).to_owned(), json!(write(hash.as_str().unwrap()))))
            .collect();
        for skip in [0, 1] {
            let swap = json!({ "swap_terms": written });
            world.fault("paegents", "*/activation-package", skip, swap).await;
        }
        let args = json!({ "agreement_id": id, "max_total_usd": "3" });
        // The contract of the sandbox recovers the signer from the bytes.
        let paid = world.call("paegents_activate_escrow", args).await.unwrap();
        assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
        let sent = activations(&world).await.pop().unwrap();
        for (name, hash) in hashes {
            assert_eq!(&sent["buyer_intent"][name], hash, "{name}");
        }
        world.admin("DELETE", "/faults", None).await;
    }
}

/// F21: the reference's example reads the permit's nonce from an environment variable, which is stale
/// after its first use. Here the chain is asked each time, while no other permit is open.
#[tokio::test]
async fn f21_each_permit_has_the_chain_s_nonce() {
    let world = World::start().await;
    let mut nonces = Vec::new();
    for step in 0..2 {
        let id = accepted(&world, "auto", 100).await;
        let args = json!({ "agreement_id": id, "max_total_usd": "3" });
        let paid = world.call("paegents_activate_escrow", args).await.unwrap();
        assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
        let signed = world.purchase(&paid).await.instrument.unwrap();
        nonces.push(signed["permit"]["nonce"].clone());
        nonces.push(signed["fee_permit"]["nonce"].clone());
        if step == 0 {
            // Another kind of purchase uses a permit of the wallet in between.
            let args = crate::paegents_direct::purchase(&world, "auto").await;
            let bought = world.call("paegents_buy_direct", args).await;
            let bought = world.finish(bought).await.unwrap();
            let signed = world.purchase(&bought).await.instrument.unwrap();
            nonces.push(signed["permit"]["nonce"].clone());
        }
    }
    let nonces: Vec<String> =
        nonces.iter().map(|nonce| nonce.to_string().replace('"', "")).collect();
    assert_eq!(nonces, ["0", "1", "2", "3", "4"]);
    world.audit().await;
    let all = haggle::config::env::Variable::ALL;
    assert!(all.iter().all(|variable| !variable.name().contains("NONCE")), "read from elsewhere");
}

/// What the platform says once the signatures are out, and what the node says of the wallet's permits:
/// neither alone is a payment, and no transaction but the one that funds this escrow is.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_side_says_alone_is_no_payment() {
    for (name, terms, is_moved) in [
        ("active", json!({ "status": "active", "activation_status": "confirmed" }), false),
        ("the hash of another escrow", json!({ "activation_tx_hash": "first" }), false),
        ("the hash of a smaller one", json!({ "activation_tx_hash": "first" }), true),
        (
            "another agreement",
            json!({ "agreement_id": "agr_x", "status": "active", "activation_status": "confirmed" }),
            true,
        ),
        ("nothing", json!({ "activation_status": "submitting" }), true),
    ] {
        let world = World::start().await;
        // An escrow that is funded: as large as the next one, or smaller.
        let quantity = if is_moved { 50 } else { 100 };
        let first = accepted(&world, "auto", quantity).await;
        let args = json!({ "agreement_id": first, "max_total_usd": "3" });
        world.call("paegents_activate_escrow", args).await.unwrap();
        let before = world.paegents("GET", &format!("/usage-agreements/{first}"), None).await;
        let mut lie = terms.clone();
        if lie["activation_tx_hash"] == "first" {
            lie["activation_tx_hash"] = before["activation_tx_hash"].clone();
            assert!(lie["activation_tx_hash"].is_string(), "{before}");
        }
        let id = accepted(&world, "auto", 100).await;
        let args = json!({ "agreement_id": id, "max_total_usd": "3" });
        world.fault("paegents", "*/activate-escrow", 0, json!("drop_before")).await;
        let lie = json!({ "marketplace": "paegents", "method": "GET", "path": "/usage-agreements/*",
            "skip": 6, "times": 200, "action": { "swap_terms": lie } });
        world.admin("POST", "/faults", Some(lie)).await;
        if is_moved {
            let nonce = format!("0x{:064x}", 9);
            let lie = json!({ "marketplace": "chain", "path": "eth_call", "skip": 2, "times": 200,
                "action": { "swap_terms": { "result": nonce } } });
            world.admin("POST", "/faults", Some(lie)).await;
        }
        let error = world.call("paegents_activate_escrow", args.clone()).await;
        let error = error.map(|done| panic!("{name}: {done}")).unwrap_err();
        assert_eq!(error["money_moved"], "maybe", "{name}: {error}");
        let check = json!({ "purchase_id": error["purchase_id"] });
        let checked = world.call("market_check_purchase", check).await;
        if let Ok(checked) = checked {
            assert_eq!(checked["purchase"]["money_moved"], "maybe", "{name}: {checked}");
        }
        assert_eq!(world.charges().await.len(), 1, "{name}");
        world.admin("DELETE", "/faults", None).await;
        let done = world.finish(Err(error)).await.unwrap();
        assert_eq!(done["purchase"]["money_moved"], "yes", "{name}: {done}");
        assert_eq!(world.charges().await.len(), 2, "{name}");
        world.audit().await;
    }
}

/// What another wallet began is not signed by this one; nothing of it is handed in.
#[tokio::test]
async fn another_wallet_does_not_go_on_with_it() {
    let mut world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "3" });
    world.fault("paegents", "*/activate-escrow", 0, json!("drop_before")).await;
    world.call("paegents_activate_escrow", args.clone()).await.unwrap_err();
    let own = world.make.private_key.clone();
    world.make.private_key = Some(world.sandbox.info().paegents.seller.wallet_private_key);
    let mut world = world.restart().await;
    for _ in 0..2 {
        let error = world.call("paegents_activate_escrow", args.clone()).await.unwrap_err();
        assert_eq!(error["money_moved"], "maybe", "{error}");
    }
    assert_eq!(activations(&world).await.len(), 1);
    world.make.private_key = own;
    let world = world.restart().await;
    let done = world.finish(world.call("paegents_activate_escrow", args).await).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// An empty wallet is told before anything is signed.
#[tokio::test]
async fn a_wallet_that_has_too_little_signs_nothing() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let wallet = world.sandbox.info().paegents.buyer.wallet;
    let poor = json!({ "address": wallet, "usdc": "2.09" });
    world.admin("POST", "/balance", Some(poor)).await;
    let before = world.app.wallet().await.unwrap().signatures();
    let args = json!({ "agreement_id": id, "max_total_usd": "3" });
    let error = world.call("paegents_activate_escrow", args.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("insufficient_funds"), &json!("no"))
    );
    assert_eq!(world.app.wallet().await.unwrap().signatures(), before);
    let enough = json!({ "address": wallet, "usdc": "2.10" });
    world.admin("POST", "/balance", Some(enough)).await;
    let done = world.call("paegents_activate_escrow", args).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    world.audit().await;
}

/// What cannot be paid from here is told before anything is signed, with what is known of the money.
#[tokio::test]
async fn what_is_paid_already_or_not_ours_is_not_signed() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "3" });
    let before = world.app.wallet().await.unwrap().signatures();
    let (funded, active) = (json!("confirmed"), json!("active"));
    for (terms, code, moved) in [
        (json!({ "status": active, "activation_status": funded }), "wrong_state", "yes"),
        (json!({ "activation_status": "submitting" }), "wrong_state", "maybe"),
        (json!({ "status": "rejected" }), "wrong_state", "no"),
        (json!({ "buyer_agent_id": "agt_other" }), "not_allowed", "no"),
        (json!({ "agreement_id": "agr_other" }), "upstream_malformed", "no"),
    ] {
        let action = json!({ "swap_terms": terms });
        world.fault("paegents", &format!("/usage-agreements/{id}"), 0, action).await;
        let error = world.call("paegents_activate_escrow", args.clone()).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["money_moved"]),
            (&json!(code), &json!(moved)),
            "{terms}"
        );
    }
    assert_eq!(world.app.wallet().await.unwrap().signatures(), before);
    assert!(world.journal().await.is_empty() && world.charges().await.is_empty());
}
