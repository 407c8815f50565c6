//! A page of evidence, with one thing wrong at a time: it is found where it is, and nothing else is.

use alloy_primitives::{B256, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use serde_json::json;

use super::*;

const ESCROW: &str = "0xcA98356B65951b621C32B840F0266847C6043B45";
const PRICE: u64 = 20_000;

sol! {
    struct UsageReceipt {
        bytes32 agreementKey;
        uint256 cumulativeUnits;
        uint256 pricePerUnit;
        uint256 nonce;
    }
}

fn signer(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap()
}

fn known() -> Known {
    Known {
        agreement_id: "agr_1".parse().unwrap(),
        receipt_signer: Some(signer(1).address()),
        seller: Some(signer(2).address()),
        chain_id: 84_532,
        escrow: Some(ESCROW.parse().unwrap()),
        agreement_key: Some(B256::repeat_byte(9)),
        price_per_unit: Some(PRICE),
        quantity: 10,
    }
}

/// Proofs as the page describes them, made with other code than what checks them.
fn proofs(count: u64, by: &PrivateKeySigner) -> Vec<Proof> {
    let mut before = [0_u8; 32];
    let one = |index: u64| {
        let bytes = index.to_be_bytes();
        let (request, response) = (keccak256(bytes), keccak256([bytes, bytes].concat()));
        let link = keccak256([before, request.0, response.0].concat());
        before = link.0;
        let signature = by.sign_message_sync(&link.0).unwrap();
        let item = json!({ "agreement_id": "agr_1", "call_index": index, "request_hash": request,
            "response_hash": response, "chain_hash": link, "signature": signature.to_string(),
            "created_at": "2026-11-22T09:00:00Z" });
        serde_json::from_value(item).unwrap()
    };
    (1..=count).map(one).collect()
}

fn receipt(nonce: u64, units: u64, price: u64, by: &PrivateKeySigner) -> Receipt {
    let domain = Eip712Domain::new(
        Some("MeteringEscrowV2".into()),
        Some("1".into()),
        Some(alloy_primitives::U256::from(84_532)),
        Some(ESCROW.parse().unwrap()),
        None,
    );
    let number = alloy_primitives::U256::from::<u64>;
    let message = UsageReceipt {
        agreementKey: B256::repeat_byte(9),
        cumulativeUnits: number(units),
        pricePerUnit: number(price),
        nonce: number(nonce),
    };
    let signature = by.sign_hash_sync(&message.eip712_signing_hash(&domain)).unwrap();
    let item = json!({ "agreement_id": "agr_1", "cumulative_units": units, "nonce": nonce,
        "price_per_unit_atomic": price, "signature": signature.to_string(),
        "signer": by.address().to_string() });
    serde_json::from_value(item).unwrap()
}

fn receipts() -> Vec<Receipt> {
    let by = signer(1);
    vec![receipt(1, 2, PRICE, &by), receipt(2, 2, PRICE, &by), receipt(3, 10, PRICE, &by)]
}

fn bad(finding: &Finding) -> Option<u64> {
    finding.first_bad.as_ref().map(|(at, _)| *at)
}

/// What it shows, what is done to a page, where its sequence breaks and where its signatures do.
type Row<T> = (&'static str, fn(&mut Vec<T>), Option<u64>, Option<u64>);

#[test]
fn a_chain_breaks_where_it_is_broken() {
    #[rustfmt::skip]
    let rows: [Row<Proof>; 13] = [
        // what it shows              what is done                                              chain    signatures
        ("as it was made",            |_| (),                                                   None,    None),
        ("upper case, no prefix",     |p| p[1].chain_hash = p[1].chain_hash[2..].to_uppercase(), None,   None),
        ("another request",           |p| p[1].request_hash = B256::ZERO.to_string(),           Some(2), None),
        ("another answer",            |p| p[2].response_hash = B256::ZERO.to_string(),          Some(3), None),
        ("another link",              |p| p[1].chain_hash = B256::ZERO.to_string(),             Some(2), Some(2)),
        ("no hash",                   |p| p[1].request_hash = "0x12".to_owned(),                Some(2), None),
        ("a call is missing",         |p| { p.remove(1); },                                     Some(3), None),
        ("the first is missing",      |p| { p.remove(0); },                                     Some(2), None),
        ("two are swapped",           |p| p.swap(0, 1),                                         Some(2), None),
        ("one stands twice",          |p| { let one = p[1].clone(); p.insert(1, one); },        Some(2), None),
        ("another agreement's",       |p| p[2].agreement_id = "agr_2".to_owned(),               Some(3), None),
        ("a swapped signature",       |p| p[2].signature = p[1].signature.clone(),              None,    Some(3)),
        ("one that cannot be read",   |p| p[1] = Proof::default(),                              Some(2), Some(2)),
    ];
    for (row, change, chain, signatures) in rows {
        let mut page = proofs(4, &signer(1));
        change(&mut page);
        let verdict = check_proofs(&page, None, &known());
        let found = (bad(&verdict.sequence), bad(&verdict.signatures));
        assert_eq!(found, (chain, signatures), "{row}: {verdict:?}");
    }
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let all = proofs(4, &signer(1));
    let first = check_proofs(&all[..2], None, &known());
    let second = check_proofs(&all[2..], first.place, &known());
    assert_eq!(second.place, check_proofs(&all, None, &known()).place);
    assert!(second.sequence.holds() && second.signatures.holds());
    let (index, link) = first.place.unwrap();
    for place in [None, Some((index, B256::ZERO)), Some((index + 1, link)), Some((u64::MAX, link))]
    {
        assert_eq!(bad(&check_proofs(&all[2..], place, &known()).sequence), Some(3), "{place:?}");
    }
    assert_eq!(check_proofs(&[], first.place, &known()).place, first.place);
}

#[test]
fn who_may_sign_is_the_receipt_signer_or_the_seller() {
    #[rustfmt::skip]
    let rows = [
        // what it shows           who signs  the receipt signer is known   holds  why not
        ("the receipt signer",     1,         true,                         true,  ""),
        ("the seller",             2,         true,                         true,  ""),
        ("a stranger",             3,         true,                         false, "by neither"),
        ("nobody knows",           1,         false,                        false, "not known here"),
        ("but the seller is",      2,         false,                        true,  ""),
    ];
    for (row, by, is_known, holds, why) in rows {
        let receipt_signer = known().receipt_signer.filter(|_| is_known);
        let known = Known { receipt_signer, ..known() };
        let verdict = check_proofs(&proofs(2, &signer(by)), None, &known);
        assert_eq!(verdict.signer, Some(signer(by).address()), "{row}");
        assert_eq!(verdict.signatures.holds(), holds, "{row}");
        let said = verdict.signatures.first_bad.map(|(_, why)| why).unwrap_or_default();
        assert!(said.contains(why), "{row}: {said}");
        assert!(verdict.sequence.holds(), "{row}");
    }
}

#[test]
fn receipts_add_up_at_the_price_that_was_agreed() {
    #[rustfmt::skip]
    let rows: [Row<Receipt>; 13] = [
        // what it shows             what is done                                           totals   signatures
        ("as they were made",        |_| (),                                                None,    None),
        ("fewer than before",        |r| r[1] = receipt(2, 1, PRICE, &signer(1)),           Some(2), None),
        ("more than there are",      |r| r[2] = receipt(3, 11, PRICE, &signer(1)),          Some(3), None),
        ("a dearer unit",            |r| r[1] = receipt(2, 2, PRICE + 1, &signer(1)),       Some(2), None),
        ("a price not signed",       |r| r[1].price_per_unit_atomic = Some(PRICE + 1),      Some(2), Some(2)),
        ("units not signed",         |r| r[1].cumulative_units = Some(3),                   None,    Some(2)),
        ("one is missing",           |r| { r.remove(1); },                                  Some(3), None),
        ("the first are missing",    |r| { r.drain(..2); },                                 Some(3), None),
        ("another agreement's",      |r| r[0].agreement_id = "agr_2".to_owned(),            Some(1), None),
        ("a stranger's",             |r| r[2] = receipt(3, 10, PRICE, &signer(3)),          None,    Some(3)),
        ("said to be another's",     |r| r[0].signer = signer(2).address().to_string(),     None,    Some(1)),
        ("no signature",             |r| r[0].signature = String::new(),                    None,    Some(1)),
        ("one that cannot be read",  |r| r[1] = Receipt::default(),                         Some(2), Some(2)),
    ];
    for (row, change, totals, signatures) in rows {
        let mut page = receipts();
        change(&mut page);
        let verdict = check_receipts(&page, None, &known());
        let found = (bad(&verdict.sequence), bad(&verdict.signatures));
        assert_eq!(found, (totals, signatures), "{row}: {verdict:?}");
    }
    let page = receipts();
    let first = check_receipts(&page[..2], None, &known());
    assert_eq!(first.place, Some((2, 2)));
    assert_eq!(check_receipts(&page[2..], first.place, &known()).place, Some((3, 10)));
    let without = [
        Known { agreement_key: None, ..known() },
        Known { escrow: None, ..known() },
        Known { chain_id: 8_453, ..known() },
        Known { agreement_key: Some(B256::ZERO), ..known() },
    ];
    for known in without {
        let verdict = check_receipts(&receipts(), None, &known);
        assert_eq!((bad(&verdict.sequence), bad(&verdict.signatures)), (None, Some(1)));
    }
}

#[test]
fn a_page_is_read_whatever_its_items_are() {
    let read = |page: Value| serde_json::from_value::<Page<Proof>>(page).unwrap();
    let items = json!([{ "call_index": "7" }, { "call_index": -1 }, 5, null, { "signature": {} }]);
    let page = read(json!({ "items": items, "cursor": "c", "has_more": true }));
    let indices: Vec<_> = page.items.iter().map(|proof| proof.call_index).collect();
    assert_eq!(indices, [Some(7), None, None, None, None]);
    assert_eq!(page.cursor.as_deref(), Some("c"));
    assert_eq!(read(json!({ "items": [], "cursor": "c", "has_more": false })).cursor, None);
    assert_eq!(read(json!({ "items": [], "cursor": null, "has_more": true })).cursor, None);
    assert!(serde_json::from_value::<Page<Proof>>(json!({ "has_more": false })).is_err());
}
