//! What a marketplace hands over to be signed is changed, one member at a time and two at a time:
//! each is refused by its name, nothing is signed, and nothing is paid.

use serde_json::{Map, Value, json};

use crate::{
    paegents_direct::{purchase, signatures},
    paegents_escrow::accepted,
    paegents_settle::{funded, partly_used},
    world::World,
};

const OTHER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const ZERO: &str = "0x0000000000000000000000000000000000000000";
const DAY_SECONDS: i64 = 86_400;

/// A member of an answer, the value that it must not have, and the path of the answer.
#[derive(Clone, Debug)]
struct Change {
    path: &'static str,
    name: &'static str,
    value: Value,
}

fn of(path: &'static str, rows: Vec<(&'static str, Value)>) -> Vec<Change> {
    rows.into_iter().map(|(name, value)| Change { path, name, value }).collect()
}

/// Every two of them that are not the same member.
fn pairs(all: &[Change]) -> Vec<Vec<Change>> {
    let two = |(at, first): (usize, &Change)| {
        let later = all.iter().skip(at + 1).filter(|other| other.name != first.name);
        later.map(|other| vec![first.clone(), other.clone()]).collect::<Vec<_>>()
    };
    all.iter().enumerate().flat_map(two).collect()
}

/// Arms the changes on all answers after `skip` of each.
async fn arm(world: &World, changes: &[Change], skip: u32) {
    world.admin("DELETE", "/faults", None).await;
    let mut paths: Vec<&str> = changes.iter().map(|change| change.path).collect();
    paths.dedup();
    for path in paths {
        let own = changes.iter().filter(|change| change.path == path);
        let terms: Map<String, Value> =
            own.map(|change| (change.name.to_owned(), change.value.clone())).collect();
        let fault = json!({ "marketplace": "paegents", "path": path, "skip": skip, "times": 100,
            "action": { "swap_terms": terms } });
        world.admin("POST", "/faults", Some(fault)).await;
    }
}

/// Calls with these changes: refused, by the name of one of them, with nothing signed.
async fn refused(world: &World, changes: &[Change], skip: u32, (tool, args): (&str, &Value)) {
    arm(world, changes, skip).await;
    let before = signatures(world).await;
    let error = world.call(tool, args.clone()).await;
    let error = error.map(|done| panic!("{changes:?} passed: {done}")).unwrap_err();
    let codes = ["terms_mismatch", "signing_refused", "chain_mismatch"];
    assert!(codes.iter().any(|code| error["code"] == *code), "{changes:?}: {error}");
    assert_eq!(error["money_moved"], "no", "{changes:?}: {error}");
    let field = error["field"].as_str().unwrap_or_default();
    let named = |change: &Change| field.rsplit('.').next() == Some(change.name);
    assert!(changes.iter().any(named), "{changes:?} is not named: {error}");
    assert_eq!(signatures(world).await, before, "{changes:?} was signed");
}

/// What can be known of an activation: each member, with a value that it must not have.
fn known(world: &World, id: &str) -> Vec<Change> {
    let now = world.app.clock().now();
    let none = format!("0x{}", "00".repeat(32));
    let package = of(
        "*/activation-package",
        vec![
            ("activation_version", json!("v1")),
            ("agreement_id", json!(format!("{id}x"))),
            ("platform_agreement_id_hash", json!(none)),
            ("agreement_key", json!(none)),
            ("buyer", json!(OTHER)),
            ("seller", json!(OTHER)),
            ("token", json!(OTHER)),
            ("receipt_signer", json!(ZERO)),
            ("quantity", json!(101)),
            ("price_per_unit_atomic", json!(20_001)),
            ("deposit_amount_atomic", json!(2_000_001)),
            ("challenge_window_seconds", json!(0)),
            ("expiry", json!(now + 40 * DAY_SECONDS)),
            ("service_hash", json!(none)),
            ("terms_hash", json!(none)),
            ("salt", json!(none)),
            ("mode_options", json!(["by word"])),
            ("token_address", json!(OTHER)),
            ("spender", json!(OTHER)),
            ("amount_atomic", json!(500_001)),
        ],
    );
    let params = of(
        "*/deposit-params",
        vec![
            ("chain_id", json!(8453)),
            ("usdc_address", json!(OTHER)),
            ("escrow_contract_address", json!(OTHER)),
        ],
    );
    package.into_iter().chain(params).collect()
}

/// F10: the reference client signs an activation to any contract, over any deposit, for ever.
#[tokio::test]
async fn f10_an_activation_that_was_changed_is_not_signed() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    let call = ("paegents_activate_escrow", &args);
    let all = known(&world, &id);
    let mut more = vec![
        of("*/activation-package", vec![("seller", json!(ZERO))]),
        of("*/activation-package", vec![("quantity", json!(99))]),
        of("*/activation-package", vec![("price_per_unit_atomic", json!(u64::MAX))]),
        of("*/activation-package", vec![("deposit_amount_atomic", json!(1))]),
        of("*/activation-package", vec![("challenge_window_seconds", json!(u64::MAX))]),
        of("*/activation-package", vec![("expiry", json!(1))]),
        of("*/activation-package", vec![("expiry", json!(u64::MAX))]),
        of("*/activation-package", vec![("spender", json!(ZERO))]),
        of("*/activation-package", vec![("amount_atomic", json!(u64::MAX))]),
    ];
    more.extend(all.iter().map(|change| vec![change.clone()]));
    more.extend(pairs(&all));
    for changes in more {
        refused(&world, &changes, 0, call).await;
    }
    assert!(world.charges().await.is_empty());
    // The collector of the fee is nobody's pin: where both answers name it, they have to agree.
    let gas = of("*/deposit-params", vec![("gas_wallet_address", json!(OTHER))]);
    arm(&world, &gas, 0).await;
    let error = world.call(call.0, args.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("signing_refused"), &json!("infra_fee.spender"))
    );
    world.admin("DELETE", "/faults", None).await;
    let paid = world.call(call.0, args).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    world.audit().await;
}

/// What has no formula, and all that was approved, stays as it was when it was approved.
#[tokio::test]
async fn what_was_approved_is_what_is_signed() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    let call = ("paegents_activate_escrow", &args);
    let other = format!("0x{}", "99".repeat(32));
    let opaque = of(
        "*/activation-package",
        vec![
            ("platform_agreement_id_hash", json!(other)),
            ("agreement_key", json!(other)),
            ("receipt_signer", json!(OTHER)),
            ("service_hash", json!(other)),
            ("terms_hash", json!(other)),
            ("salt", json!(other)),
            ("buyer_activation_nonce", json!(1)),
        ],
    );
    let bound = of(
        "*/activation-package",
        vec![
            ("challenge_window_seconds", json!(86_401)),
            ("amount_atomic", json!(100_001)),
            ("amount_atomic", json!(99_999)),
            ("mode_options", json!(["prior_allowance"])),
        ],
    );
    let all = known(&world, &id);
    let alone = opaque.iter().chain(&bound).chain(&all).map(|change| vec![change.clone()]);
    for changes in alone.chain(pairs(&opaque)).collect::<Vec<_>>() {
        refused(&world, &changes, 1, call).await;
    }
    assert!(world.charges().await.is_empty());
    world.admin("DELETE", "/faults", None).await;
    let paid = world.call(call.0, args).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    world.audit().await;
}

/// What a direct purchase takes beside its price.
#[tokio::test]
async fn a_direct_purchase_that_was_changed_is_not_signed() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    let own = world.sandbox.info().paegents.buyer.wallet;
    let all = of(
        "/payment-requirements",
        vec![
            ("chain_id", json!(8453)),
            ("network", json!("base")),
            ("usdc_address", json!(OTHER)),
            ("gas_wallet_address", json!(own)),
        ],
    );
    let alone = all.iter().map(|change| vec![change.clone()]);
    for changes in alone.chain(pairs(&all)).collect::<Vec<_>>() {
        refused_plainly(&world, &changes, &args).await;
    }
    let fee = of("/payment-requirements", vec![("infra_fee_amount_atomic", json!(100_001))]);
    arm(&world, &fee, 0).await;
    let before = signatures(&world).await;
    let error = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("price_changed"), &json!("max_total_usd"))
    );
    for change in &all {
        refused_plainly(&world, &[fee[0].clone(), change.clone()], &args).await;
    }
    assert_eq!(signatures(&world).await, before);
    assert!(world.charges().await.is_empty());
}

/// As [`refused`]; the wallet of the buyer itself is told by the signer, which knows no answer.
async fn refused_plainly(world: &World, changes: &[Change], args: &Value) {
    arm(world, changes, 0).await;
    let before = signatures(world).await;
    let error = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    let codes = ["signing_refused", "chain_mismatch", "price_changed"];
    assert!(codes.iter().any(|code| error["code"] == *code), "{changes:?}: {error}");
    assert_eq!(error["money_moved"], "no", "{changes:?}: {error}");
    assert_eq!(signatures(world).await, before, "{changes:?} was signed");
}

/// The calldata that a wallet would send itself, of each settlement.
fn calldata(path: &'static str, function: &'static str) -> Vec<Change> {
    let transfer = format!("0xa9059cbb{}", "00".repeat(31) + "01");
    of(
        path,
        vec![
            ("to", json!(OTHER)),
            ("data", json!(transfer)),
            ("value", json!("1")),
            ("function", json!(function)),
            ("chain_id", json!(8453)),
            ("transaction", json!(null)),
        ],
    )
}

/// F12: the reference client lets calldata of any contract pass, where its selector is on a list.
#[tokio::test]
async fn f12_calldata_that_was_changed_is_not_signed() {
    let world = World::start().await;
    let seller = world.seller().await;
    let id = partly_used(&world, &seller).await;
    let own = json!({ "agreement_id": id, "way": "direct" });
    let close = ("paegents_close_escrow", &own);
    let claim = ("paegents_claim_earnings", &own);
    let withdraw = ("paegents_withdraw_remainder", &own);
    changed(&world, &calldata("*/initiate-close-calldata", "sellerClaim"), close).await;
    another_number(&world, "initiate-close-calldata", &id, close).await;
    changed(&seller, &calldata("*/claim-instructions", "buyerWithdraw"), claim).await;
    world.admin("DELETE", "/faults", None).await;
    let closed = world.call("paegents_close_escrow", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(closed["state"], "done", "{closed}");
    world.advance(DAY_SECONDS + 60).await;
    changed(&world, &calldata("*/claim-instructions", "sellerClaim"), withdraw).await;
    another_number(&world, "claim-instructions", &id, withdraw).await;
}

/// The right function of the right contract, for another agreement.
async fn another_number(world: &World, word: &str, id: &str, call: (&str, &Value)) {
    world.admin("DELETE", "/faults", None).await;
    let real = world.paegents("GET", &format!("/usage-agreements/{id}/{word}"), None).await;
    let data = real["transaction"]["data"].as_str().unwrap();
    let other = format!("{}77", &data[..data.len() - 2]);
    assert_ne!(data, other);
    let path = if word == "claim-instructions" {
        "*/claim-instructions"
    } else {
        "*/initiate-close-calldata"
    };
    refused(world, &of(path, vec![("data", json!(other))]), 0, call).await;
}

async fn changed(world: &World, all: &[Change], call: (&str, &Value)) {
    let alone = all.iter().map(|change| vec![change.clone()]);
    for changes in alone.chain(pairs(all)).collect::<Vec<_>>() {
        refused(world, &changes, 0, call).await;
    }
}

/// What is signed for the platform to send: the options' word against what is known.
#[tokio::test]
async fn settlement_options_that_were_changed_are_not_signed() {
    let world = World::start().await;
    let id = funded(&world, "auto", 50).await;
    let args = json!({ "agreement_id": id });
    let all = of(
        "*/settlement-action-options",
        vec![
            ("agreement_id", json!(format!("{id}x"))),
            ("chain_id", json!(8453)),
            ("signer_wallet_address", json!(OTHER)),
            ("escrow_contract_address", json!(OTHER)),
            ("onchain_agreement_id", json!(4_000_000)),
            ("suggested_deadline", json!(1)),
        ],
    );
    changed(&world, &all, ("paegents_close_escrow", &args)).await;
    world.admin("DELETE", "/faults", None).await;
    let closed = world.call("paegents_close_escrow", args).await.unwrap();
    assert_eq!(closed["state"], "done", "{closed}");
}
