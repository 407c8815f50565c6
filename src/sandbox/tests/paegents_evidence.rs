//! Evidence of use: proofs that chain, receipts that add up, both signed.

use alloy_primitives::{Address, B256, Signature, U256, eip191_hash_message, keccak256};
use alloy_sol_types::SolStruct;
use serde_json::{Value, json};

use super::{
    World,
    paegents_escrow::{active, agreement, ask, buyer, read, seller},
};
use crate::sandbox::{
    chain::escrow::{calls::UsageReceipt, domain_v2},
    paegents::evidence,
};

fn word<T: std::str::FromStr>(value: &Value) -> T
where
    T::Err: std::fmt::Debug,
{
    value.as_str().unwrap().parse().unwrap()
}

async fn call(world: &World, id: &str, nonce: &str, body: &Value) -> Vec<u8> {
    let url = format!("{}/metered-proxy/{id}/text-statistics", world.info.paegents.api_url);
    let key = &world.info.paegents.buyer.api_key;
    let request = world.http.post(url).bearer_auth(key).header("X-Request-Nonce", nonce).json(body);
    request.send().await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn proofs_chain_and_receipts_add_up() {
    let world = World::start().await;
    let id = active(&world, "auto").await;
    let mut answers = Vec::new();
    for nonce in ["a", "b", "c"] {
        let body = json!({ "text": format!("One two {nonce}.") });
        answers.push((body.to_string(), call(&world, &id, nonce, &body).await));
    }
    let signer = evidence::signer(world.inside()).address;
    let path = format!("/usage-agreements/{id}/call-proofs?direction=asc");
    let proofs = read(&world, &buyer(&world), &path).await;
    let proofs = proofs["items"].as_array().unwrap();
    assert_eq!(proofs.len(), 3);
    let mut before = B256::ZERO;
    for ((index, proof), (request, answer)) in (1..).zip(proofs).zip(&answers) {
        assert_eq!(proof["call_index"], index);
        assert_eq!(proof["agreement_id"], id.as_str());
        let request = keccak256(format!("POST /text-statistics\n{request}"));
        assert_eq!(word::<B256>(&proof["request_hash"]), request);
        assert_eq!(word::<B256>(&proof["response_hash"]), keccak256(answer));
        let response = keccak256(answer);
        before = keccak256([before.as_slice(), request.as_slice(), response.as_slice()].concat());
        assert_eq!(word::<B256>(&proof["chain_hash"]), before);
        let signature: Signature = word(&proof["signature"]);
        let digest = eip191_hash_message(before);
        assert_eq!(signature.recover_address_from_prehash(&digest).unwrap(), signer);
    }
    let agreement = agreement(&world, &id).await;
    let path = format!("/usage-agreements/{id}/cumulative-receipts?direction=asc");
    let receipts = read(&world, &buyer(&world), &path).await;
    for (nonce, receipt) in (1_u64..).zip(receipts["items"].as_array().unwrap()) {
        assert_eq!(receipt["nonce"], nonce);
        assert_eq!(receipt["cumulative_units"], nonce);
        assert_eq!(receipt["price_per_unit_atomic"], 20_000);
        assert_eq!(word::<Address>(&receipt["signer"]), signer);
        let terms = UsageReceipt {
            agreementKey: word(&agreement["onchain_agreement_key"]),
            cumulativeUnits: U256::from(nonce),
            pricePerUnit: U256::from(20_000),
            nonce: U256::from(nonce),
        };
        let signature: Signature = word(&receipt["signature"]);
        let digest = terms.eip712_signing_hash(&domain_v2());
        assert_eq!(signature.recover_address_from_prehash(&digest).unwrap(), signer);
    }
    assert_eq!(receipts["items"][2]["proof_hash"], proofs[2]["chain_hash"]);
}

#[tokio::test]
async fn evidence_comes_in_pages() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    for units in 1..=5 {
        let path = format!("/usage-agreements/{id}/record-usage");
        let body = json!({ "units_used": units, "completed": false });
        assert_eq!(ask(&world, &seller(&world), ("POST", &path), &body).await.status, 200);
    }
    for (direction, expected) in [("asc", vec![1, 2, 3, 4, 5]), ("desc", vec![5, 4, 3, 2, 1])] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!(
                "/usage-agreements/{id}/cumulative-receipts?limit=2&direction={direction}{cursor}"
            );
            let page = read(&world, &seller(&world), &path).await;
            let items = page["items"].as_array().unwrap();
            found.extend(items.iter().map(|item| item["cumulative_units"].as_u64().unwrap()));
            pages += 1;
            if page["has_more"] == false {
                assert_eq!(page["cursor"], Value::Null);
                break;
            }
            cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
        }
        assert_eq!((found, pages), (expected, 3), "{direction}");
    }
    let none = read(&world, &buyer(&world), &format!("/usage-agreements/{id}/call-proofs")).await;
    assert_eq!(none, json!({ "items": [], "cursor": null, "has_more": false }));
    for query in ["limit=0", "limit=x", "direction=up", "cursor=x"] {
        let path = format!("/usage-agreements/{id}/call-proofs?{query}");
        let reply = ask(&world, &buyer(&world), ("GET", &path), &Value::Null).await;
        assert_eq!(reply.status, 422, "{query}");
    }
}
