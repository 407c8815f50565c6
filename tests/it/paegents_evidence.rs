//! What is read of Paegents' escrow: evidence, status, options, calldata, package. Each is checked
//! here, what is wrong is said, and nothing is signed by reading.

use std::time::Duration;

use haggle::spend::Patience;
use serde_json::{Value, json};

use crate::{
    paegents_calls::active,
    paegents_escrow::accepted,
    paegents_settle::accepted_by,
    world::{Make, World},
};

const EVIL: &str = "0x000000000000000000000000000000000000dEaD";
const DAY_SECONDS: i64 = 86_400;

/// Does not stay long with a payment whose answer was lost.
pub(crate) fn hurried() -> Make {
    let patience =
        Patience { follow: Duration::from_millis(2500), unknown: Duration::from_millis(400) };
    Make { patience, ..Make::default() }
}

/// An agreement with so many calls made.
async fn called(world: &World, calls: usize) -> String {
    let id = active(world, "auto", 100).await;
    for number in 0..calls {
        let args = json!({ "agreement_id": id, "method": "POST", "path": "/text-statistics",
            "json": { "text": format!("call {number}") } });
        world.call("paegents_call_service", args).await.unwrap();
    }
    id
}

async fn signatures(world: &World) -> u64 {
    world.app.wallet().await.unwrap().signatures()
}

#[tokio::test]
async fn the_evidence_of_calls_is_recomputed_page_by_page() {
    let world = World::start().await;
    let id = called(&world, 3).await;
    let package = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(package["units_used"], 3, "{package}");
    let own = json!({ "agreement_id": id });
    let proofs = world.call("paegents_list_call_proofs", own.clone()).await.unwrap();
    assert_eq!(proofs["verified"], true, "{proofs}");
    assert_eq!(proofs["signer_is"], "receipt_signer", "{proofs}");
    assert_eq!(proofs["proofs"].as_array().unwrap().len(), 3, "{proofs}");
    assert_eq!((&proofs["units_used"], &proofs["cursor"]), (&json!(3), &Value::Null), "{proofs}");
    let receipts = world.call("paegents_list_receipts", own).await.unwrap();
    assert_eq!(receipts["verified"], true, "{receipts}");
    assert_eq!(receipts["units_receipted"], 3, "{receipts}");
    assert_eq!(receipts["receipted_usd"], "0.06", "{receipts}");
    for (tool, list) in
        [("paegents_list_call_proofs", "proofs"), ("paegents_list_receipts", "receipts")]
    {
        let page = json!({ "agreement_id": id, "limit": 2 });
        let first = world.call(tool, page).await.unwrap();
        assert_eq!(first[list].as_array().unwrap().len(), 2, "{first}");
        assert_eq!(first["next"][0]["tool"], tool, "{first}");
        let second = world.call(tool, first["next"][0]["arguments"].clone()).await.unwrap();
        assert_eq!(second[list].as_array().unwrap().len(), 1, "{second}");
        assert_eq!((&first["verified"], &second["verified"]), (&json!(true), &json!(true)));
        assert_eq!(second["cursor"], Value::Null, "{second}");
    }
    // A page does not follow from another place than where the last one ended.
    let zero = format!("2~2~0x{}", "00".repeat(32));
    let page = json!({ "agreement_id": id, "cursor": zero });
    let page = world.call("paegents_list_call_proofs", page).await.unwrap();
    assert_eq!((&page["verified"], &page["chain"]["first_bad"]), (&json!(false), &json!(3)));
    for cursor in ["", "2", "2~2", "2~2~x", "a b~2~1", "2~-1~1", "2~2~1~1", "\u{202e}~2~1"] {
        for tool in ["paegents_list_call_proofs", "paegents_list_receipts"] {
            let page = json!({ "agreement_id": id, "cursor": cursor });
            let error = world.call(tool, page).await.unwrap_err();
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!("invalid_argument"), &json!("cursor"))
            );
        }
    }
}

/// Evidence that was tampered with, as the platform answers it.
async fn with(world: &World, id: &str, list: &str, change: impl FnOnce(&mut Value)) -> Value {
    let path = format!("/usage-agreements/{id}/{list}?direction=asc");
    let mut page = world.paegents("GET", &path, None).await;
    change(&mut page["items"]);
    let answer = json!({ "status": 200, "body": page });
    world.fault("paegents", &format!("*/{list}"), 0, answer).await;
    let tool = match list {
        "call-proofs" => "paegents_list_call_proofs",
        _ => "paegents_list_receipts",
    };
    world.call(tool, json!({ "agreement_id": id })).await.unwrap()
}

/// What it shows, what is done to a page, where its sequence breaks and where its signatures do.
type Row = (&'static str, fn(&mut Value), Option<u64>, Option<u64>);

#[tokio::test]
async fn tampered_proofs_are_reported_and_never_an_error() {
    let world = World::start().await;
    let id = called(&world, 3).await;
    #[rustfmt::skip]
    let rows: [Row; 7] = [
        // what it shows              what is done                                             chain     signatures
        ("a broken link",             |i| i[1]["chain_hash"] = i[0]["chain_hash"].clone(),     Some(2),  Some(2)),
        ("another request",           |i| i[1]["request_hash"] = i[0]["request_hash"].clone(), Some(2),  None),
        ("a swapped signature",       |i| i[2]["signature"] = i[0]["signature"].clone(),       None,     Some(3)),
        ("a missing call",            |i| { i.as_array_mut().unwrap().remove(1); },            Some(3),  None),
        ("no first call",             |i| { i.as_array_mut().unwrap().remove(0); },            Some(2),  None),
        ("no member that can be read", |i| i[0] = json!({ "call_index": {}, "signature": 7 }), Some(1),  Some(1)),
        ("hostile words",             |i| i[2]["chain_hash"] = json!("IGNORE \u{202e}SYSTEM"), Some(3),  Some(3)),
    ];
    for (row, change, chain, signed) in rows {
        let answer = with(&world, &id, "call-proofs", change).await;
        assert_eq!(answer["verified"], false, "{row}: {answer}");
        assert_eq!(answer["chain"]["first_bad"].as_u64(), chain, "{row}: {answer}");
        assert_eq!(answer["signatures"]["first_bad"].as_u64(), signed, "{row}: {answer}");
        assert_eq!(answer["chain"]["holds"], chain.is_none(), "{row}: {answer}");
        let reason = if chain.is_some() { &answer["chain"] } else { &answer["signatures"] };
        assert!(reason["why"].is_string(), "{row}: {answer}");
        crate::hints::walk(&answer, false, "");
    }
}

#[tokio::test]
async fn tampered_receipts_are_reported_and_never_an_error() {
    let world = World::start().await;
    let id = called(&world, 3).await;
    #[rustfmt::skip]
    let rows: [Row; 6] = [
        // what it shows            what is done                                           totals    signatures
        ("another price",           |i| i[1]["price_per_unit_atomic"] = json!(20_001),     Some(2),  Some(2)),
        ("more units",              |i| i[2]["cumulative_units"] = json!(5),               None,     Some(3)),
        ("fewer than before",       |i| i[2]["cumulative_units"] = json!(1),               Some(3),  Some(3)),
        ("a swapped signature",     |i| i[1]["signature"] = i[0]["signature"].clone(),     None,     Some(2)),
        ("another signer",          |i| i[0]["signer"] = json!(EVIL),                      None,     Some(1)),
        ("a missing receipt",       |i| { i.as_array_mut().unwrap().remove(1); },          Some(3),  None),
    ];
    for (row, change, totals, signed) in rows {
        let answer = with(&world, &id, "cumulative-receipts", change).await;
        assert_eq!(answer["verified"], false, "{row}: {answer}");
        assert_eq!(answer["totals"]["first_bad"].as_u64(), totals, "{row}: {answer}");
        assert_eq!(answer["signatures"]["first_bad"].as_u64(), signed, "{row}: {answer}");
    }
}

/// What was activated from here is what counts, whatever the platform says of it later.
#[tokio::test]
async fn the_terms_that_were_signed_are_those_that_count() {
    let world = World::start().await;
    let id = called(&world, 1).await;
    let own = json!({ "agreement_id": id });
    let key = format!("0x{}", "07".repeat(32));
    for terms in [
        json!({ "onchain_agreement_key": key }),
        json!({ "price_per_unit_cents": 3, "quantity": 1 }),
        json!({ "seller_wallet_address": EVIL }),
    ] {
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", &format!("/usage-agreements/{id}"), 0, swap).await;
        let receipts = world.call("paegents_list_receipts", own.clone()).await.unwrap();
        assert_eq!(receipts["verified"], true, "{terms}: {receipts}");
    }
    // A seller has not seen the terms: who should sign is not known there, and it says so.
    let seller = world.seller().await;
    let id = accepted_by(&world, &seller, 10).await;
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    let used = json!({ "units_used": 4, "completed": false });
    let record = format!("/usage-agreements/{id}/record-usage");
    let key = world.sandbox.info().paegents.seller.api_key;
    seller.paegents_as(&key, "POST", &record, Some(used)).await;
    let receipts =
        seller.call("paegents_list_receipts", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(receipts["totals"]["holds"], true, "{receipts}");
    assert_eq!(receipts["verified"], false, "{receipts}");
    assert_eq!(receipts["signer_is"], "unknown", "{receipts}");
    let why = receipts["signatures"]["why"].as_str().unwrap();
    assert!(why.contains("not known here"), "{receipts}");
}

#[tokio::test]
async fn a_package_is_shown_with_each_of_its_checks() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let own = json!({ "agreement_id": id });
    let signed = signatures(&world).await;
    let package = world.call("paegents_get_activation_package", own.clone()).await.unwrap();
    assert_eq!(package["all_hold"], true, "{package}");
    assert_eq!((&package["total_usd"], &package["fee_usd"]), (&json!("2.10"), &json!("0.10")));
    assert!(package["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true));
    assert_eq!(package["next"][0]["tool"], "paegents_activate_escrow", "{package}");
    #[rustfmt::skip]
    let rows = [
        (json!({ "spender": EVIL }),                     vec!["funding.spender"]),
        (json!({ "deposit_amount_atomic": 2_000_001 }),  vec!["terms.deposit_amount_atomic"]),
        (json!({ "seller": EVIL }),                      vec!["terms.seller"]),
        (json!({ "challenge_window_seconds": 60 }),      vec!["terms.challenge_window_seconds"]),
        (json!({ "quantity": 99, "token": EVIL }),       vec!["terms.token", "terms.quantity", "terms.deposit_amount_atomic"]),
        (json!({ "amount_atomic": 900_000 }),            vec!["infra_fee.amount_atomic"]),
    ];
    for (terms, fields) in rows {
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", "*/activation-package", 0, swap).await;
        let package = world.call("paegents_get_activation_package", own.clone()).await.unwrap();
        assert_eq!(package["all_hold"], false, "{package}");
        assert!(package["total_usd"].is_null() && package["next"].is_null(), "{package}");
        let failed = package["checks"].as_array().unwrap().iter().filter(|c| c["holds"] == false);
        let failed: Vec<_> = failed.map(|check| check["field"].as_str().unwrap()).collect();
        assert!(fields.iter().all(|field| failed.contains(field)), "{terms}: {failed:?}");
    }
    assert_eq!(signatures(&world).await, signed, "reading signs nothing");
    let seller = world.seller().await;
    let id = accepted_by(&world, &seller, 10).await;
    for tool in ["paegents_get_activation_package", "paegents_get_deposit_params"] {
        let error = seller.call(tool, json!({ "agreement_id": id })).await.unwrap_err();
        assert_eq!(error["code"], "not_allowed", "{error}");
    }
}

#[tokio::test]
async fn deposit_parameters_are_compared_with_what_is_known() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let own = json!({ "agreement_id": id });
    let params = world.call("paegents_get_deposit_params", own.clone()).await.unwrap();
    assert_eq!((&params["all_hold"], &params["chain_id"]), (&json!(true), &json!(84_532)));
    assert_eq!(params["next"][0]["tool"], "paegents_activate_escrow", "{params}");
    for (name, value) in [
        ("chain_id", json!(8453)),
        ("usdc_address", json!(EVIL)),
        ("escrow_contract_address", json!(EVIL)),
        ("buyer_wallet_address", json!(EVIL)),
        ("service_amount_atomic", json!(7)),
        ("agreement_id", json!("agr_other")),
    ] {
        let swap = json!({ "swap_terms": { name: value } });
        world.fault("paegents", "*/deposit-params", 0, swap).await;
        let params = world.call("paegents_get_deposit_params", own.clone()).await.unwrap();
        assert_eq!(params["all_hold"], false, "{name}: {params}");
        let checks = params["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| check["holds"] == false).collect();
        assert_eq!(failed.len(), 1, "{name}: {params}");
        assert_eq!(failed[0]["field"], name, "{params}");
    }
}

#[tokio::test]
async fn a_settlement_is_waited_for() {
    let world = World::start().await;
    let id = active(&world, "auto", 10).await;
    let own = json!({ "agreement_id": id });
    let now = world.call("paegents_get_escrow_status", own.clone()).await.unwrap();
    assert_eq!((&now["reached"], &now["escrow_status"]), (&json!(false), &json!("funded")));
    assert_eq!(now["deposit_usd"], "0.20", "{now}");
    assert_eq!(now["next"][0]["tool"], "paegents_get_usage", "{now}");
    world.call("paegents_close_escrow", own.clone()).await.unwrap();
    let waits = json!({ "agreement_id": id, "until": "settled", "wait_seconds": 1 });
    let closing = world.call("paegents_get_escrow_status", waits).await.unwrap();
    assert_eq!(
        (&closing["reached"], &closing["settlement_status"]),
        (&json!(false), &json!("closing"))
    );
    assert_eq!(closing["next"][0]["tool"], "paegents_withdraw_remainder", "{closing}");
    let waits = json!({ "agreement_id": id, "until": "settled", "wait_seconds": 20 });
    // What fails on the way is asked again.
    world.fault("paegents", "*/escrow-status", 1, json!({ "status": 503 })).await;
    let (settled, ()) = tokio::join!(world.call("paegents_get_escrow_status", waits), async {
        world.fired().await;
        world.advance(DAY_SECONDS + 60).await;
    });
    let settled = settled.unwrap();
    assert_eq!(settled["reached"], true, "{settled}");
    assert_eq!(settled["settlement_status"], "settled", "{settled}");
    assert_eq!(settled["withdrawn_usd"], "0.20", "{settled}");
    let either = world.call("paegents_get_escrow_status", own.clone()).await.unwrap();
    assert_eq!(either["reached"], true, "{either}");
    let word = json!({ "swap_terms": { "settlement_status": "finalized" } });
    for (until, reached) in [("finalized", true), ("settled", false)] {
        world.fault("paegents", "*/escrow-status", 0, word.clone()).await;
        let args = json!({ "agreement_id": id, "until": until });
        let status = world.call("paegents_get_escrow_status", args).await.unwrap();
        assert_eq!(status["reached"], reached, "{until}: {status}");
    }
    let other = json!({ "swap_terms": { "agreement_id": "agr_other" } });
    world.fault("paegents", "*/escrow-status", 0, other).await;
    let error = world.call("paegents_get_escrow_status", own).await.unwrap_err();
    assert_eq!(error["code"], "upstream_malformed", "{error}");
}

#[tokio::test]
async fn options_and_calldata_are_those_of_the_side_and_the_state() {
    let world = World::start().await;
    let seller = world.seller().await;
    let id = accepted_by(&world, &seller, 10).await;
    let own = json!({ "agreement_id": id });
    let ask = |action: &str| json!({ "agreement_id": id, "action": action });
    let early = world.call("paegents_get_settlement_options", ask("close")).await.unwrap_err();
    assert_eq!(early["code"], "wrong_state", "{early}");
    let args = json!({ "agreement_id": id, "max_total_usd": "5" });
    world.call("paegents_activate_escrow", args).await.unwrap();
    let signed = signatures(&world).await;
    let close = world.call("paegents_get_settlement_options", ask("close")).await.unwrap();
    assert_eq!((&close["available"], &close["recommended"]), (&json!(true), &json!("sponsored")));
    assert_eq!(close["next"][0]["tool"], "paegents_close_escrow", "{close}");
    let other = world.call("paegents_get_settlement_options", ask("claim")).await.unwrap_err();
    assert_eq!(other["code"], "not_allowed", "{other}");
    let back = world.call("paegents_get_settlement_options", ask("withdraw")).await.unwrap();
    assert_eq!(back["available"], false, "{back}");
    assert!(back["reason"].is_string(), "{back}");
    let tools: Vec<_> =
        back["next"].as_array().unwrap().iter().map(|n| n["tool"].as_str().unwrap()).collect();
    assert!(!tools.contains(&"paegents_withdraw_remainder"), "{back}");
    let call = world.call("paegents_get_close_calldata", own.clone()).await.unwrap();
    assert_eq!((&call["available"], &call["action"]), (&json!(true), &json!("close")), "{call}");
    assert_eq!(call["to"], world.sandbox.info().chain.escrow, "{call}");
    assert_eq!(call["data"].as_str().unwrap().len(), 2 + 2 * 36, "{call}");
    assert_eq!(call["checked"].as_array().unwrap().len(), 6, "{call}");
    let nothing = world.call("paegents_get_claim_instructions", own.clone()).await.unwrap();
    assert_eq!((&nothing["available"], &nothing["action"]), (&json!(false), &json!("withdraw")));
    assert!(nothing["data"].is_null() && nothing["checked"] == json!([]), "{nothing}");
    let used = json!({ "units_used": 4, "completed": false });
    let record = format!("/usage-agreements/{id}/record-usage");
    let key = world.sandbox.info().paegents.seller.api_key;
    seller.paegents_as(&key, "POST", &record, Some(used)).await;
    let claim = seller.call("paegents_get_claim_instructions", own).await.unwrap();
    assert_eq!((&claim["available"], &claim["action"]), (&json!(true), &json!("claim")), "{claim}");
    assert_eq!(claim["next"][0]["tool"], "paegents_claim_earnings", "{claim}");
    assert_eq!(signatures(&world).await, signed, "reading signs nothing");
}

/// F12, by the tools that only show it.
#[tokio::test]
async fn f12_calldata_of_another_contract_or_function_is_not_shown() {
    let world = World::start().await;
    let id = active(&world, "auto", 50).await;
    let own = json!({ "agreement_id": id });
    let signed = signatures(&world).await;
    let transfer = "0xa9059cbb0000000000000000000000000000000000000000000000000000000000000001";
    let refused = |tool: &'static str, path: &'static str, terms: Value| {
        let (world, own) = (&world, own.clone());
        async move {
            world.fault("paegents", path, 0, json!({ "swap_terms": terms })).await;
            let error = world.call(tool, own).await.unwrap_err();
            assert_eq!(error["code"], "signing_refused", "{terms}: {error}");
            assert!(error["field"].is_string(), "{terms}: {error}");
            assert_eq!(error["money_moved"], "no", "{terms}: {error}");
        }
    };
    let rows = |other: &str| {
        vec![
            json!({ "to": EVIL }),
            json!({ "data": transfer }),
            json!({ "data": "0x2e1a7d4d" }),
            json!({ "value": "1" }),
            json!({ "function": other }),
            json!({ "chain_id": 8453 }),
            json!({ "onchain_agreement_id": 4_000_000 }),
        ]
    };
    for terms in rows("buyerWithdraw") {
        refused("paegents_get_close_calldata", "*/initiate-close-calldata", terms).await;
    }
    world.call("paegents_close_escrow", own.clone()).await.unwrap();
    // A call for the remainder is offered once the window is over; these answers offer it now.
    let call = world.call("paegents_get_close_calldata", own.clone()).await.unwrap();
    assert_eq!(call["available"], false, "{call}");
    for terms in rows("sellerClaim") {
        let path = format!("/usage-agreements/{id}/claim-instructions");
        let mut answer = world.paegents("GET", &path, None).await;
        let argument = format!("{:064x}", answer["onchain_agreement_id"].as_u64().unwrap());
        let data = format!("0xb03fd85a{argument}");
        let escrow = world.sandbox.info().chain.escrow;
        answer["transaction"] = json!({ "to": escrow, "data": data, "value": "0" });
        let good = json!({ "status": 200, "body": answer });
        world.fault("paegents", "*/claim-instructions", 0, good).await;
        let call = world.call("paegents_get_claim_instructions", own.clone()).await.unwrap();
        assert_eq!(call["available"], true, "{call}");
        for (name, value) in terms.as_object().unwrap() {
            match name.as_str() {
                "to" | "data" | "value" => answer["transaction"][name] = value.clone(),
                _ => answer[name] = value.clone(),
            }
        }
        let bad = json!({ "status": 200, "body": answer });
        world.fault("paegents", "*/claim-instructions", 0, bad).await;
        let error = world.call("paegents_get_claim_instructions", own.clone()).await.unwrap_err();
        assert_eq!(error["code"], "signing_refused", "{terms}: {error}");
    }
    let wallet = world.app.wallet().await.unwrap();
    assert_eq!(wallet.signatures(), signed + 1, "the close alone was signed");
}
