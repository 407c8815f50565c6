//! Every member of a package that can be known is changed, alone and in pairs: nothing passes.

use super::*;

const WALLET: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SELLER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const OTHER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const ESCROW: &str = "0xcA98356B65951b621C32B840F0266847C6043B45";
const GAS: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
const NOW: i64 = 1_900_000_000;

fn hash(byte: u8) -> String {
    format!("0x{}", hex::encode([byte; 32]))
}

/// What is read before an activation, as one document.
fn read() -> Value {
    json!({
        "agreement": {
            "agreement_id": "agr_1", "buyer_agent_id": "agt_b", "seller_agent_id": "agt_s",
            "quantity": 100, "unit": "api_calls", "price_per_unit_cents": 2, "total_cents": 200,
            "status": "accepted", "seller_wallet_address": SELLER,
        },
        "params": {
            "chain_id": 84532, "usdc_address": USDC, "escrow_contract_address": ESCROW,
            "gas_wallet_address": GAS,
        },
        "package": {
            "activation_version": "v2", "agreement_id": "agr_1",
            "platform_agreement_id_hash": hash(0x22), "agreement_key": hash(0x11),
            "terms": {
                "buyer": WALLET, "seller": SELLER, "token": USDC, "receipt_signer": OTHER,
                "quantity": 100, "price_per_unit_atomic": 20_000,
                "deposit_amount_atomic": 2_000_000, "challenge_window_seconds": 86_400,
                "expiry": NOW + 86_400, "service_hash": hash(0x33), "terms_hash": hash(0x44),
                "salt": hash(0x55),
            },
            "nonces": { "buyer_activation_nonce": 0 },
            "funding": {
                "mode_options": ["erc2612_permit"], "token_address": USDC, "spender": ESCROW,
            },
            "infra_fee": {
                "amount_atomic": 100_000, "waived": false, "status": "pending", "spender": GAS,
                "token_address": USDC,
            },
        },
    })
}

fn checked(read: &Value) -> Result<(ActivationPackage, Asked), Error> {
    let unreadable =
        |error: serde_json::Error| Error::new(Code::UpstreamMalformed, error.to_string());
    let agreement = serde_json::from_value(read["agreement"].clone()).map_err(unreadable)?;
    let params = serde_json::from_value(read["params"].clone()).map_err(unreadable)?;
    let package: ActivationPackage =
        serde_json::from_value(read["package"].clone()).map_err(unreadable)?;
    let asked = package.check(&Expected {
        agreement: &agreement,
        params: &params,
        wallet: WALLET.parse().unwrap(),
        escrow: ESCROW.parse().unwrap(),
        usdc: USDC.parse().unwrap(),
        chain_id: 84_532,
        now: NOW,
    })?;
    Ok((package, asked))
}

/// Each member that can be known, with values that it must not have.
fn mutations() -> Vec<(&'static str, Value)> {
    let zero = "0x0000000000000000000000000000000000000000";
    let (max, none) = (u64::MAX, hash(0));
    #[rustfmt::skip]
    let rows: Vec<(&'static str, Vec<Value>)> = vec![
        ("/package/activation_version",               vec![json!("v1"), json!("v3")]),
        ("/package/agreement_id",                     vec![json!("agr_2")]),
        ("/package/platform_agreement_id_hash",       vec![json!(none), json!("0x22"), json!("")]),
        ("/package/agreement_key",                    vec![json!(none), json!(7)]),
        ("/package/terms/buyer",                      vec![json!(OTHER), json!(SELLER), json!(zero)]),
        ("/package/terms/seller",                     vec![json!(OTHER), json!(WALLET), json!(zero)]),
        ("/package/terms/token",                      vec![json!(OTHER), json!(zero), json!(ESCROW)]),
        ("/package/terms/receipt_signer",             vec![json!(zero)]),
        ("/package/terms/quantity",                   vec![json!(99), json!(101), json!(0), json!(max), json!(-1), json!(1.5)]),
        ("/package/terms/price_per_unit_atomic",      vec![json!(20_001), json!(2), json!(0), json!(max)]),
        ("/package/terms/deposit_amount_atomic",      vec![json!(2_000_001), json!(1_999_999), json!(0), json!(max), json!("1e30")]),
        ("/package/terms/challenge_window_seconds",   vec![json!(0), json!(3_599), json!(604_801), json!(max)]),
        ("/package/terms/expiry",                     vec![json!(NOW), json!(0), json!(NOW + 2_592_001), json!(max)]),
        ("/package/terms/service_hash",               vec![json!(none)]),
        ("/package/terms/terms_hash",                 vec![json!(none)]),
        ("/package/terms/salt",                       vec![json!(none)]),
        ("/package/funding/token_address",            vec![json!(OTHER), json!(zero)]),
        ("/package/funding/spender",                  vec![json!(OTHER), json!(zero), json!(GAS)]),
        ("/package/infra_fee/amount_atomic",          vec![json!(0), json!(500_001), json!(max)]),
        ("/package/infra_fee/spender",                vec![json!(OTHER), json!(zero), json!(WALLET), json!(ESCROW), json!(null)]),
        ("/package/infra_fee/token_address",          vec![json!(OTHER), json!(zero)]),
        ("/params/chain_id",                          vec![json!(8453), json!(1), json!(0)]),
        ("/params/usdc_address",                      vec![json!(OTHER), json!("0x1")]),
        ("/params/escrow_contract_address",           vec![json!(OTHER), json!(zero)]),
        ("/params/gas_wallet_address",                vec![json!(OTHER)]),
        ("/agreement/quantity",                       vec![json!(99), json!(0)]),
        ("/agreement/price_per_unit_cents",           vec![json!(3), json!(0), json!(max)]),
        ("/agreement/seller_wallet_address",          vec![json!(OTHER), json!("0x1")]),
        ("/agreement/agreement_id",                   vec![json!("agr_2")]),
    ];
    let each = |(path, values): (&'static str, Vec<Value>)| {
        values.into_iter().map(move |value| (path, value))
    };
    rows.into_iter().flat_map(each).collect()
}

fn set(read: &mut Value, path: &str, value: &Value) {
    *read.pointer_mut(path).unwrap() = value.clone();
}

#[test]
fn f10_a_package_is_signed_as_it_was_agreed_and_not_otherwise() {
    let (_, asked) = checked(&read()).unwrap();
    let (deposit, fee) = (Usdc::from_micros(2_000_000), Usdc::from_micros(100_000));
    assert_eq!(asked.deposit, deposit);
    assert_eq!(asked.fee, Some((fee, GAS.parse().unwrap())));
    assert_eq!(asked.total, Usdc::from_micros(2_100_000));
    let codes =
        [Code::TermsMismatch, Code::SigningRefused, Code::ChainMismatch, Code::UpstreamMalformed];
    for (path, value) in mutations() {
        let mut one = read();
        set(&mut one, path, &value);
        let error = checked(&one).expect_err(&format!("{path} = {value}"));
        assert!(codes.contains(&error.code), "{path} = {value}: {error}");
        assert!(
            error.field.is_some() || error.is(Code::UpstreamMalformed),
            "{path} = {value} names no field: {error}"
        );
    }
}

#[test]
fn two_changes_do_not_hide_each_other() {
    let all = mutations();
    for (at, (first, value)) in all.iter().enumerate() {
        for (second, other) in all.iter().skip(at + 1).filter(|(path, _)| path != first) {
            // An agreement that says the same as the package is another agreement, not an attack.
            if first.starts_with("/agreement") || second.starts_with("/agreement") {
                continue;
            }
            // Nothing pins the platform's own wallet: the owner is told it, and it is bound.
            if second == &"/params/gas_wallet_address" && value == other {
                continue;
            }
            let mut both = read();
            set(&mut both, first, value);
            set(&mut both, second, other);
            assert!(checked(&both).is_err(), "{first} = {value}, {second} = {other}");
        }
    }
}

/// What has no formula is held against what was seen first, member by member.
#[test]
fn what_cannot_be_known_is_bound_as_it_was_first_seen() {
    let bound = checked(&read()).unwrap().0.bound();
    let kept = |path: &str, value: Value| {
        let mut later = read();
        set(&mut later, &format!("/package/{path}"), &value);
        let later: ActivationPackage = serde_json::from_value(later["package"].clone()).unwrap();
        first_difference(&bound, &later.bound())
    };
    for path in [
        "platform_agreement_id_hash",
        "agreement_key",
        "terms/service_hash",
        "terms/terms_hash",
        "terms/salt",
    ] {
        assert_eq!(kept(path, json!(hash(0x99))), Some(path.replace('/', ".")), "{path}");
    }
    assert_eq!(kept("terms/receipt_signer", json!(GAS)).as_deref(), Some("terms.receipt_signer"));
    assert_eq!(kept("terms/expiry", json!(NOW + 90_000)).as_deref(), Some("terms.expiry"));
    // These change by themselves.
    assert_eq!(kept("nonces/buyer_activation_nonce", json!(1)), None);
    assert_eq!(kept("infra_fee/status", json!("collecting")), None);
}

#[test]
fn a_fee_that_is_waived_or_paid_is_not_collected() {
    for (path, value) in
        [("/package/infra_fee/waived", json!(true)), ("/package/infra_fee/status", json!("paid"))]
    {
        let mut one = read();
        set(&mut one, path, &value);
        let (_, asked) = checked(&one).unwrap();
        assert_eq!((asked.fee, asked.total), (None, asked.deposit), "{path}");
    }
    let mut without = read();
    without["package"].as_object_mut().unwrap().remove("infra_fee");
    assert_eq!(checked(&without).unwrap().1.fee, None);
}

#[test]
fn a_platform_without_the_first_version_s_parameters_is_taken_by_the_pins() {
    let mut without = read();
    without["params"] = json!({});
    without["package"]["funding"].as_object_mut().unwrap().remove("spender");
    assert!(checked(&without).is_ok());
}
