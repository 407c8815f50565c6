//! Paegents' direct purchases and deliveries: the fee, the price, the parcel.

use alloy_primitives::{Address, B256, U256};
use alloy_signer::SignerSync;
use alloy_sol_types::SolStruct;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    START_MS, World,
    paegents_agreements::{STEP_MS, about},
};
use crate::sandbox::chain::{
    calls::{Permit, TransferWithAuthorization},
    token,
};

/// When everything that is signed here lapses, in seconds.
const DEADLINE: u64 = START_MS as u64 / 1_000 + 600;
/// The fee of a total of 450 cents, in micro-units.
const FEE: u64 = 100_000;

impl World {
    fn signed<T: SolStruct>(&self, terms: &T) -> String {
        let digest = terms.eip712_signing_hash(&token::domain());
        let signature = self.buyer().sign_hash_sync(&digest).unwrap();
        format!("0x{}", hex::encode(signature.as_bytes()))
    }

    /// A permit of the buyer for the platform's wallet.
    fn fee_permit(&self, value: u64, nonce: u64, deadline: u64) -> String {
        self.signed(&Permit {
            owner: self.buyer().address(),
            spender: self.info.chain.gas_wallet.wallet.parse().unwrap(),
            value: U256::from(value),
            nonce: U256::from(nonce),
            deadline: U256::from(deadline),
        })
    }

    /// The JSON of a payment header.
    pub(super) fn header(&self, to: &str, micros: u64, nonce: u8) -> Value {
        let authorization = TransferWithAuthorization {
            from: self.buyer().address(),
            to: to.parse::<Address>().unwrap(),
            value: U256::from(micros),
            validAfter: U256::from(START_MS / 1_000 - 60),
            validBefore: U256::from(DEADLINE),
            nonce: B256::repeat_byte(nonce),
        };
        json!({
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            "payload": { "signature": self.signed(&authorization), "authorization": {
                "from": self.buyer().address().to_string(), "to": to,
                "value": micros.to_string(), "validAfter": (START_MS / 1_000 - 60).to_string(),
                "validBefore": DEADLINE.to_string(),
                "nonce": B256::repeat_byte(nonce).to_string(),
            } },
        })
    }

    /// A proposal to buy one printed handbook directly, with the `nonce`th permit.
    async fn purchase(&self, nonce: u8) -> Value {
        let item = self.offered("Printed handbook");
        let mut body = self.proposal(&item).await;
        let header = self.header(&self.info.paegents.seller.wallet, 4_500_000, nonce);
        body["quantity"] = json!(1);
        body["settlement_model"] = json!("direct_payment");
        body["payment_method"]["payment_header"] = json!(STANDARD.encode(header.to_string()));
        body["buyer_infra_fee_permit_signature"] =
            json!(self.fee_permit(FEE, u64::from(nonce), DEADLINE));
        body["buyer_infra_fee_permit_deadline"] = json!(DEADLINE);
        body["cart_items"] = item.input_example["cart_items"].clone();
        body["shipping_address"] = item.input_example["shipping_address"].clone();
        body
    }

    async fn buy_directly(&self, nonce: u8) -> Value {
        let reply = self.buys("POST", "/usage-agreements/", self.purchase(nonce).await).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json
    }

    /// What the truth has of an agreement: kind, reference, amount.
    pub(super) async fn entered(&self, agreement: &Value) -> Vec<(String, String, String)> {
        let id = agreement.as_str().unwrap();
        let all = self.admin("GET", "/ledger", Value::Null).await.json;
        let all = all["entries"].as_array().unwrap().clone();
        let of = all.into_iter().filter(|entry| {
            entry["marketplace"] == "paegents"
                && (entry["reference"] == id || entry["parent"] == id)
        });
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        of.map(|entry| {
            (text(&entry, "kind"), text(&entry, "reference"), text(&entry, "amount_usd"))
        })
        .collect()
    }
}

#[tokio::test]
async fn a_direct_purchase_pays_the_fee_and_the_price_once() {
    let world = World::start().await;
    let made = world.buy_directly(0).await;
    let id = made["agreement_id"].clone();
    assert_eq!(made["infra_fee_amount_atomic"], FEE);
    assert_eq!(made["payment_method"], json!({ "rail": "stablecoin" }), "no instrument is shown");
    assert_eq!(made["metadata"]["shipping"]["city"], "Springfield");
    assert!(world.entered(&id).await.is_empty());
    let accepted = world.sells("PUT", &about(&id, "accept"), Value::Null).await;
    assert_eq!(accepted.json["status"], "accepted", "{accepted:?}");
    assert_eq!(accepted.json["infra_fee_status"], "paid");
    let gas = world.info.chain.gas_wallet.wallet.clone();
    assert_eq!(world.usdc_of(&gas).await, FEE, "the fee comes first");
    let seller = world.info.paegents.seller.wallet.clone();
    assert_eq!(world.usdc_of(&seller).await, 0);
    world.pass(STEP_MS);
    let paid = world.agreement(&id).await;
    assert_eq!(paid["status"], "completed");
    assert_eq!(paid["released_cents"], 450);
    assert_eq!(world.usdc_of(&seller).await, 4_500_000);
    assert_eq!(world.usdc_of(&world.info.paegents.buyer.wallet).await, 1_000_000_000 - 4_600_000);
    let hash = &paid["metadata"]["payment"]["tx_hash"];
    let receipt = world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["from"], gas.to_lowercase());
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 2);
    let text = id.as_str().unwrap().to_owned();
    let row = |kind: &str, reference: String, amount: &str| {
        (kind.to_owned(), reference, amount.to_owned())
    };
    let expected = [row("fee", format!("{text}:fee"), "0.10"), row("charge", text.clone(), "4.50")];
    assert_eq!(world.entered(&id).await, expected);
    assert!(world.truth("transfer").await.is_empty());
    let told = world.told_of(&world.info.paegents.buyer.agent_id, &id);
    let steps =
        ["agreement.proposed", "agreement.accepted", "payment.completed", "agreement.completed"];
    assert_eq!(told, steps);
}

#[tokio::test]
async fn a_fee_that_cannot_be_collected_fails_the_acceptance() {
    let world = World::start().await;
    // The second permit before the first: its nonce is not the token's.
    let early = world.buy_directly(1).await["agreement_id"].clone();
    let refused = world.sells("PUT", &about(&early, "accept"), Value::Null).await;
    assert_eq!(refused.status, 402, "{refused:?}");
    let early_now = world.agreement(&early).await;
    assert_eq!(early_now["status"], "proposed");
    assert_eq!(early_now["infra_fee_status"], "failed");
    let told = world.told_of(&world.info.paegents.buyer.agent_id, &early);
    assert_eq!(told, ["agreement.proposed", "payment.failed"]);
    assert!(world.entered(&early).await.is_empty());

    let first = world.buy_directly(0).await["agreement_id"].clone();
    world.sells("PUT", &about(&first, "accept"), Value::Null).await;
    let again = world.sells("PUT", &about(&early, "accept"), Value::Null).await;
    assert_eq!(again.json["status"], "accepted", "now its turn has come: {again:?}");
    world.pass(STEP_MS);
    assert_eq!(world.agreement(&early).await["status"], "completed");

    let late = world.buy_directly(2).await["agreement_id"].clone();
    world.pass(601_000);
    let refused = world.sells("PUT", &about(&late, "accept"), Value::Null).await;
    assert!(refused.detail().1.contains("permit is expired"), "{refused:?}");
}

#[tokio::test]
async fn a_transfer_that_fails_leaves_the_price_with_the_buyer() {
    let world = World::start().await;
    let id = world.buy_directly(0).await["agreement_id"].clone();
    world
        .fault(json!({ "marketplace": "paegents", "path": "/usage-agreements/*/accept",
            "action": "fail" }))
        .await;
    let accepted = world.sells("PUT", &about(&id, "accept"), Value::Null).await;
    assert_eq!(accepted.json["status"], "accepted");
    world.pass(STEP_MS);
    let unpaid = world.agreement(&id).await;
    assert_eq!(unpaid["status"], "accepted");
    assert_eq!(unpaid["metadata"]["payment_error"]["code"], "transfer_failed");
    let left = 1_000_000_000 - FEE;
    assert_eq!(world.usdc_of(&world.info.paegents.buyer.wallet).await, left, "but the fee is gone");
    assert_eq!(world.entered(&id).await.len(), 1);
    let told = world.told_of(&world.info.paegents.seller.agent_id, &id);
    assert_eq!(told.last().unwrap(), "payment.failed");
}

#[tokio::test]
async fn refuses_headers_that_pay_something_else() {
    let world = World::start().await;
    let (seller, other) = (&world.info.paegents.seller.wallet, &world.info.chain.gas_wallet.wallet);
    let good = world.header(seller, 4_500_000, 0);
    let with = |name: &str, value: Value| {
        let mut header = good.clone();
        *header.pointer_mut(name).unwrap() = value;
        header
    };
    let rows = [
        ("another payee", world.header(other, 4_500_000, 0)),
        ("less", world.header(seller, 4_499_999, 0)),
        ("more", world.header(seller, 4_500_001, 0)),
        ("another chain", with("/network", json!("base"))),
        ("another scheme", with("/scheme", json!("upto"))),
        ("another version", with("/x402Version", json!(2))),
        ("another payer", with("/payload/authorization/from", json!(other))),
        ("no number", with("/payload/authorization/value", json!("0x10"))),
    ];
    for (what, header) in rows {
        let mut body = world.purchase(0).await;
        body["payment_method"]["payment_header"] = json!(STANDARD.encode(header.to_string()));
        let reply = world.buys("POST", "/usage-agreements/", body).await;
        assert_eq!(reply.detail(), (422, "payment_method".to_owned()), "{what}: {reply:?}");
    }
    for member in ["buyer_infra_fee_permit_signature", "buyer_infra_fee_permit_deadline"] {
        let mut body = world.purchase(0).await;
        body[member] = Value::Null;
        let reply = world.buys("POST", "/usage-agreements/", body).await;
        assert_eq!(reply.detail(), (422, member.to_owned()));
    }
    let mut body = world.purchase(0).await;
    body["payment_method"] = json!({ "rail": "stablecoin", "payment_header": "no base64!" });
    assert_eq!(world.buys("POST", "/usage-agreements/", body).await.status, 422);
}

#[tokio::test]
async fn a_parcel_goes_as_the_table_says() {
    let world = World::start().await;
    let made = world.buy_directly(0).await;
    let path = about(&made["agreement_id"], "delivery");
    let shipped = json!({ "status": "shipped", "carrier": "fedex", "tracking_number": "77",
        "estimated_delivery": "2026-12-01" });
    assert_eq!(world.sells("PATCH", &path, shipped.clone()).await.status, 409, "not accepted");
    world.sells("PUT", &about(&made["agreement_id"], "accept"), Value::Null).await;
    assert_eq!(world.buys("PATCH", &path, shipped.clone()).await.status, 403);
    let sent = world.sells("PATCH", &path, shipped).await.json;
    assert_eq!(sent["status"], "shipped");
    assert_eq!(sent["delivery"]["tracking_url"], "https://www.fedex.com/fedextrack/?trknbr=77");
    let jumped = world.sells("PATCH", &path, json!({ "status": "delivered" })).await;
    assert_eq!(jumped.status, 409, "{jumped:?}");
    for status in ["in_transit", "exception", "delivered"] {
        world.pass(1_000);
        let moved = world.sells("PATCH", &path, json!({ "status": status })).await;
        assert_eq!(moved.json["delivery"]["status"], status, "{moved:?}");
    }
    let delivery = &world.agreement(&made["agreement_id"]).await["metadata"]["delivery"];
    assert_eq!(delivery["carrier"], "fedex");
    assert_eq!(delivery["history"].as_array().unwrap().len(), 4);
    assert!(delivery["delivered_at"].is_string() && delivery["shipped_at"].is_string());
    let back = world.sells("PATCH", &path, json!({ "status": "in_transit" })).await;
    assert_eq!(back.status, 409, "what is delivered stays");
}
