//! What the relayer refuses: each member of an activation, altered, and nothing moves.

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};

use super::{
    World,
    paegents_escrow::{
        DEPOSIT, FEE, FUNDS, STEP_MS, accepted, activation, add_fee, agreement, ask, buyer, gas,
        hand_in, now_s, package, permit, permit_until, read, resign, seller, signer, usdc,
    },
};
use crate::sandbox::chain::ESCROW;

/// What an activation is changed by, and the word that its failure names.
type Row = (&'static str, Box<dyn Fn(&mut Value, &World)>, &'static str);

fn signed_rows() -> Vec<Row> {
    let stranger = || json!("0x00000000000000000000000000000000000000AA");
    let other = || json!(B256::repeat_byte(9));
    #[rustfmt::skip]
    let fields = [
        ("agreement_key", other()), ("platform_agreement_id_hash", other()),
        ("seller", stranger()), ("token", stranger()), ("quantity", json!(99)),
        ("price_per_unit", json!(19_999)), ("deposit_amount", json!(1_999_999)),
        ("challenge_window_seconds", json!(86_399)), ("service_hash", other()),
        ("terms_hash", other()), ("expiry", json!(now_s() + 86_399)), ("nonce", json!(1)),
        ("salt", other()), ("buyer", stranger()),
    ];
    let row = |(name, value): (&'static str, Value)| -> Row {
        let change = move |body: &mut Value, world: &World| {
            body["buyer_intent"][name] = value.clone();
            resign(body, &signer(&buyer(world)));
        };
        (name, Box::new(change), name)
    };
    fields.into_iter().map(row).collect()
}

fn row(name: &'static str, change: fn(&mut Value, &World), word: &'static str) -> Row {
    (name, Box::new(change), word)
}

fn fund(body: &mut Value, key: &PrivateKeySigner, spender: Address, terms: (u64, u64)) {
    body["funding_authorization"]["permit_data"] = json!(permit(key, spender, terms));
}

fn other_rows() -> Vec<Row> {
    let mut rows = vec![
        row("signed by another", |body, world| resign(body, &signer(&seller(world))), "signature"),
        row("not signed anew", |body, _| body["buyer_signature"] = json!(garbage()), "signature"),
        row(
            "another amount",
            |body, _| body["funding_authorization"]["amount"] = json!(1),
            "amount",
        ),
        row(
            "a permit's nonce",
            |body, world| {
                fund(body, &signer(&buyer(world)), ESCROW, (DEPOSIT, 1));
            },
            "signature",
        ),
        row(
            "a permit for another",
            |body, world| {
                fund(body, &signer(&buyer(world)), gas(world), (DEPOSIT, 0));
            },
            "signature",
        ),
        row(
            "a permit for less",
            |body, world| {
                fund(body, &signer(&buyer(world)), ESCROW, (DEPOSIT - 1, 0));
            },
            "signature",
        ),
        row(
            "a permit by another",
            |body, world| {
                fund(body, &signer(&seller(world)), ESCROW, (DEPOSIT, 0));
            },
            "signature",
        ),
        row(
            "a permit that is over",
            |body, world| {
                let key = signer(&buyer(world));
                let late = permit_until(&key, ESCROW, (DEPOSIT, 0), now_s() - 1);
                body["funding_authorization"]["permit_data"] = json!(late);
                body["funding_authorization"]["deadline"] = json!(now_s() - 1);
            },
            "expired",
        ),
        row(
            "a deadline that was not signed",
            |body, _| {
                body["funding_authorization"]["deadline"] = json!(now_s() + 601);
            },
            "signature",
        ),
        row(
            "no allowance",
            |body, _| {
                body["funding_authorization"] = json!({ "mode": "prior_allowance", "amount": DEPOSIT,
                "deadline": 0, "permit_data": null });
            },
            "allowance",
        ),
    ];
    rows.extend(rows_of_the_fee());
    rows
}

fn rows_of_the_fee() -> Vec<Row> {
    vec![
        row(
            "no permit for the fee",
            |body, _| {
                let members = body.as_object_mut().unwrap();
                members.remove("buyer_infra_fee_permit_signature");
                members.remove("buyer_infra_fee_permit_deadline");
            },
            "fee",
        ),
        row(
            "the fee's nonce",
            |body, world| {
                add_fee(body, &signer(&buyer(world)), (gas(world), FEE, 0));
            },
            "fee",
        ),
        row(
            "a lower fee",
            |body, world| {
                add_fee(body, &signer(&buyer(world)), (gas(world), FEE - 1, 1));
            },
            "fee",
        ),
        row(
            "a fee for another",
            |body, world| {
                add_fee(body, &signer(&buyer(world)), (ESCROW, FEE, 1));
            },
            "fee",
        ),
        row(
            "a fee's deadline",
            |body, _| {
                body["buyer_infra_fee_permit_deadline"] = json!(now_s() + 601);
            },
            "fee",
        ),
    ]
}

/// Sixty-five bytes that nobody signed.
fn garbage() -> String {
    format!("0x{}1b", "11".repeat(64))
}

#[tokio::test]
async fn nothing_moves_where_anything_differs() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let package = package(&world, &id).await;
    let good = activation(&world, &package, 0);
    for (row, change, word) in signed_rows().into_iter().chain(other_rows()) {
        let mut body = good.clone();
        change(&mut body, &world);
        assert_ne!(body, good, "{row}");
        let reply = hand_in(&world, &id, &body).await;
        assert_eq!(reply.status, 202, "{row}: {reply:?}");
        world.pass(STEP_MS);
        let agreement = agreement(&world, &id).await;
        assert_eq!(agreement["activation_status"], "failed", "{row}");
        assert_eq!(agreement["status"], "accepted", "{row}");
        assert_eq!(agreement["infra_fee_status"], "pending", "{row}");
        let path = format!("/usage-agreements/{id}/escrow-status");
        let status = read(&world, &buyer(&world), &path).await;
        let error = status["activation_error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{row}: {error}");
        assert_eq!(usdc(&world).await, (FUNDS, 0, 0), "{row}");
        // The package, and with it the nonces of the contract and the token, are as they were.
        let path = format!("/usage-agreements/{id}/activation-package");
        assert_eq!(read(&world, &buyer(&world), &path).await, package, "{row}");
    }
    assert!(world.truth("deposit").await.is_empty());
    assert!(world.truth("fee").await.is_empty());
    assert_eq!(hand_in(&world, &id, &good).await.status, 202);
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &id).await["status"], "active");
}

#[tokio::test]
async fn what_is_no_activation_is_refused_at_once() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let good = activation(&world, &package(&world, &id).await, 0);
    #[rustfmt::skip]
    let rows = [
        ("/buyer_signature",                    json!("0x1234")),
        ("/buyer_signature",                    json!("signed")),
        ("/buyer_intent/quantity",              json!(-1)),
        ("/buyer_intent/salt",                  json!("0x55")),
        ("/buyer_intent/buyer",                 json!("me")),
        ("/funding_authorization/mode",         json!("cash")),
        ("/funding_authorization/permit_data",  json!("0x00")),
        ("/funding_authorization/permit_data",  Value::Null),
        ("/buyer_infra_fee_permit_signature",   json!("0x00")),
        ("/buyer_infra_fee_permit_deadline",    Value::Null),
    ];
    for (pointer, value) in rows {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value.clone();
        let reply = hand_in(&world, &id, &body).await;
        assert_eq!(reply.status, 422, "{pointer} {value}: {reply:?}");
        assert!(reply.json["detail"][0]["loc"].is_array(), "{reply:?}");
    }
    assert_eq!(agreement(&world, &id).await["activation_status"], "ready");
    let path = format!("/usage-agreements/{id}/activate-escrow");
    let other = ask(&world, &seller(&world), ("POST", &path), &good).await;
    assert_eq!(other.status, 403);
}

#[tokio::test]
async fn too_little_money_or_gas_fails_and_can_be_mended() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let body = activation(&world, &package(&world, &id).await, 0);
    let (wallet, gas) = (buyer(&world).wallet, gas(&world).to_string());
    let rows = [
        (json!({ "address": wallet, "usdc": "2.099999" }), "USDC"),
        (json!({ "address": wallet, "usdc": "2.1" }), ""),
    ];
    let poor = json!({ "address": gas, "wei": "0" });
    world.admin("POST", "/balance", poor).await;
    assert_eq!(hand_in(&world, &id, &body).await.status, 202);
    world.pass(STEP_MS);
    let path = format!("/usage-agreements/{id}/escrow-status");
    let status = read(&world, &buyer(&world), &path).await;
    assert!(status["activation_error"].as_str().unwrap().contains("gas"), "{status}");
    world.admin("POST", "/balance", json!({ "address": gas, "wei": "1000000000000000000" })).await;
    for (balance, word) in rows {
        world.admin("POST", "/balance", balance).await;
        assert_eq!(hand_in(&world, &id, &body).await.status, 202, "the same again is an attempt");
        world.pass(STEP_MS);
        let status = read(&world, &buyer(&world), &path).await;
        let error = status["activation_error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(word), "{error}");
        assert_eq!(status["activation_status"] == "confirmed", word.is_empty(), "{error}");
    }
    assert_eq!(usdc(&world).await, (0, DEPOSIT, FEE));
}

#[tokio::test]
async fn a_relayer_can_fail() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let body = activation(&world, &package(&world, &id).await, 0);
    world
        .fault(json!({ "marketplace": "paegents", "path": "*/activate-escrow", "action": "fail" }))
        .await;
    assert_eq!(hand_in(&world, &id, &body).await.status, 202);
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &id).await["activation_status"], "failed");
    assert_eq!(usdc(&world).await, (FUNDS, 0, 0));
    let faults = world.admin("GET", "/faults", Value::Null).await.json;
    assert_eq!(faults["faults"][0]["fired"], 1);
    assert_eq!(hand_in(&world, &id, &body).await.json["activation_status"], "submitting");
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &id).await["activation_status"], "confirmed");
}
