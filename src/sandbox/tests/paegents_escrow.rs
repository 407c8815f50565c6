//! Paegents' escrow: what a buyer signs, and what moves when all is well.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolStruct};
use serde_json::{Value, json};

use super::{Reply, START_MS, World};
use crate::sandbox::{
    AgentInfo,
    chain::{
        ESCROW,
        calls::{Permit, Usdc},
        escrow::{
            calls::{BuyerActivationIntent, Deposit},
            domain, domain_v2,
        },
        token,
    },
};

/// How long a step takes at fast pace.
pub(super) const STEP_MS: i64 = 300;
/// The deposit of the tests' agreement: 100 units of two cents.
pub(super) const DEPOSIT: u64 = 2_000_000;
/// The fee on it.
pub(super) const FEE: u64 = 100_000;
/// What the buyer begins with.
pub(super) const FUNDS: u64 = 1_000_000_000;

/// A request to Paegents as an agent.
pub(super) async fn ask(
    world: &World,
    agent: &AgentInfo,
    (method, path): (&str, &str),
    body: &Value,
) -> Reply {
    let url = format!("{}{path}", world.info.paegents.api_url);
    let mut request = world
        .http
        .request(method.parse().unwrap(), url)
        .bearer_auth(&agent.api_key)
        .header("X-API-Key", &agent.api_key);
    if !body.is_null() {
        request = request.json(body);
    }
    world.send(request).await.unwrap()
}

pub(super) async fn read(world: &World, agent: &AgentInfo, path: &str) -> Value {
    let reply = ask(world, agent, ("GET", path), &Value::Null).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json
}

pub(super) fn buyer(world: &World) -> AgentInfo {
    world.info.paegents.buyer.clone()
}

pub(super) fn seller(world: &World) -> AgentInfo {
    world.info.paegents.seller.clone()
}

pub(super) fn signer(agent: &AgentInfo) -> PrivateKeySigner {
    agent.wallet_private_key.parse().unwrap()
}

/// Signs terms in a domain: 65 bytes as hex.
pub(super) fn sign(
    key: &PrivateKeySigner,
    terms: &impl SolStruct,
    domain: &alloy_sol_types::Eip712Domain,
) -> String {
    key.sign_hash_sync(&terms.eip712_signing_hash(domain)).unwrap().to_string()
}

pub(super) fn permit(
    key: &PrivateKeySigner,
    spender: Address,
    (value, nonce): (u64, u64),
) -> String {
    permit_until(key, spender, (value, nonce), now_s() + 600)
}

pub(super) fn permit_until(
    key: &PrivateKeySigner,
    spender: Address,
    (value, nonce): (u64, u64),
    deadline: u64,
) -> String {
    let terms = Permit {
        owner: key.address(),
        spender,
        value: U256::from(value),
        nonce: U256::from(nonce),
        deadline: U256::from(deadline),
    };
    sign(key, &terms, &token::domain())
}

pub(super) fn now_s() -> u64 {
    u64::try_from(START_MS / 1_000).unwrap()
}

/// The tests' proposal for a service of this behaviour.
pub(super) fn proposal(world: &World, behaviour: &str) -> Value {
    let service = world.info.paegents.services.iter().find(|item| item.behaviour == behaviour);
    let service = service.unwrap();
    json!({
        "seller_agent_id": service.owner_id,
        "service_id": service.id,
        "quantity": 100,
        "unit": "api_calls",
        "price_per_unit_cents": 2,
        "settlement_model": "bilateral_escrow",
        "payment_method": { "rail": "stablecoin" },
        "expires_in_seconds": 86_400,
        "activation_version": "v2",
        "buyer_wallet_address": buyer(world).wallet,
    })
}

/// Proposes, and waits until it is accepted; answers the agreement's identifier.
pub(super) async fn accepted(world: &World, behaviour: &str) -> String {
    let proposal = proposal(world, behaviour);
    let id = propose(world, &proposal).await;
    if behaviour == "manual" {
        let accept = format!("/usage-agreements/{id}/accept");
        let reply = ask(world, &seller(world), ("PUT", &accept), &Value::Null).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    } else {
        world.pass(STEP_MS);
    }
    let agreement = agreement(world, &id).await;
    assert_eq!(agreement["status"], "accepted");
    assert_eq!(agreement["activation_status"], "ready");
    id
}

pub(super) async fn propose(world: &World, proposal: &Value) -> String {
    let reply = ask(world, &buyer(world), ("POST", "/usage-agreements/"), proposal).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json["agreement_id"].as_str().unwrap().to_owned()
}

pub(super) async fn agreement(world: &World, id: &str) -> Value {
    read(world, &buyer(world), &format!("/usage-agreements/{id}")).await
}

pub(super) async fn package(world: &World, id: &str) -> Value {
    read(world, &buyer(world), &format!("/usage-agreements/{id}/activation-package")).await
}

fn number(value: &Value) -> U256 {
    U256::from(value.as_u64().unwrap())
}

fn word<T: std::str::FromStr>(value: &Value) -> T
where
    T::Err: std::fmt::Debug,
{
    value.as_str().unwrap().parse().unwrap()
}

/// The intent that a body names, as the contract hashes it.
fn intent(body: &Value) -> BuyerActivationIntent {
    let of = |name: &str| body["buyer_intent"][name].clone();
    BuyerActivationIntent {
        agreementKey: word(&of("agreement_key")),
        platformAgreementIdHash: word(&of("platform_agreement_id_hash")),
        buyer: word(&of("buyer")),
        seller: word(&of("seller")),
        token: word(&of("token")),
        quantity: number(&of("quantity")),
        pricePerUnit: number(&of("price_per_unit")),
        depositAmount: number(&of("deposit_amount")),
        challengeWindowSeconds: number(&of("challenge_window_seconds")),
        serviceHash: word(&of("service_hash")),
        termsHash: word(&of("terms_hash")),
        expiry: number(&of("expiry")),
        nonce: number(&of("nonce")),
        salt: word(&of("salt")),
    }
}

/// Signs the intent of a body anew.
pub(super) fn resign(body: &mut Value, key: &PrivateKeySigner) {
    body["buyer_signature"] = json!(sign(key, &intent(body), &domain_v2()));
}

/// What a buyer sends for a package, with permits from `nonce` on.
pub(super) fn activation(world: &World, package: &Value, nonce: u64) -> Value {
    let key = signer(&buyer(world));
    let terms = &package["terms"];
    let deposit = terms["deposit_amount_atomic"].as_u64().unwrap();
    let mut body = json!({
        "buyer_intent": {
            "agreement_key": package["agreement_key"],
            "platform_agreement_id_hash": package["platform_agreement_id_hash"],
            "buyer": terms["buyer"],
            "seller": terms["seller"],
            "token": terms["token"],
            "quantity": terms["quantity"],
            "price_per_unit": terms["price_per_unit_atomic"],
            "deposit_amount": deposit,
            "challenge_window_seconds": terms["challenge_window_seconds"],
            "service_hash": terms["service_hash"],
            "terms_hash": terms["terms_hash"],
            "expiry": terms["expiry"],
            "nonce": package["nonces"]["buyer_activation_nonce"],
            "salt": terms["salt"],
        },
        "funding_authorization": {
            "mode": "erc2612_permit",
            "amount": deposit,
            "deadline": now_s() + 600,
            "permit_data": permit(&key, ESCROW, (deposit, nonce)),
        },
    });
    resign(&mut body, &key);
    let fee = package["infra_fee"]["amount_atomic"].as_u64().unwrap();
    if fee > 0 {
        add_fee(&mut body, &key, (gas(world), fee, nonce + 1));
    }
    body
}

pub(super) fn add_fee(
    body: &mut Value,
    key: &PrivateKeySigner,
    (spender, fee, nonce): (Address, u64, u64),
) {
    body["buyer_infra_fee_permit_signature"] = json!(permit(key, spender, (fee, nonce)));
    body["buyer_infra_fee_permit_deadline"] = json!(now_s() + 600);
}

pub(super) fn gas(world: &World) -> Address {
    world.info.chain.gas_wallet.wallet.parse().unwrap()
}

pub(super) async fn hand_in(world: &World, id: &str, body: &Value) -> Reply {
    let path = format!("/usage-agreements/{id}/activate-escrow");
    ask(world, &buyer(world), ("POST", &path), body).await
}

/// An agreement whose escrow is funded; answers its identifier.
pub(super) async fn active(world: &World, behaviour: &str) -> String {
    let id = accepted(world, behaviour).await;
    let body = activation(world, &package(world, &id).await, 0);
    let reply = hand_in(world, &id, &body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    world.pass(STEP_MS);
    assert_eq!(agreement(world, &id).await["status"], "active");
    id
}

/// The USDC of buyer, contract and platform.
pub(super) async fn usdc(world: &World) -> (u64, u64, u64) {
    let gas = world.info.chain.gas_wallet.wallet.clone();
    let (escrow, buyer) = (ESCROW.to_string(), buyer(world).wallet);
    (world.usdc_of(&buyer).await, world.usdc_of(&escrow).await, world.usdc_of(&gas).await)
}

#[tokio::test]
async fn a_package_is_made_once_and_for_the_buyer() {
    let world = World::start().await;
    let id = propose(&world, &proposal(&world, "manual")).await;
    let path = format!("/usage-agreements/{id}/activation-package");
    let early = ask(&world, &buyer(&world), ("GET", &path), &Value::Null).await;
    assert_eq!(early.status, 409);
    let accept = format!("/usage-agreements/{id}/accept");
    ask(&world, &seller(&world), ("PUT", &accept), &Value::Null).await;
    let first = package(&world, &id).await;
    assert_eq!(first["terms"]["buyer"], buyer(&world).wallet);
    assert_eq!(first["terms"]["seller"], seller(&world).wallet);
    assert_eq!(first["terms"]["deposit_amount_atomic"], DEPOSIT);
    assert_eq!(first["terms"]["challenge_window_seconds"], 86_400);
    assert_eq!(first["terms"]["expiry"], now_s() + 86_400);
    assert_eq!(first["funding"]["spender"], ESCROW.to_string());
    assert_eq!(first["infra_fee"]["amount_atomic"], FEE);
    assert_eq!(first["infra_fee"]["spender"], gas(&world).to_string());
    assert_eq!(first["nonces"]["buyer_activation_nonce"], 0);
    world.pass(60_000);
    assert_eq!(package(&world, &id).await, first);
    let other = ask(&world, &seller(&world), ("GET", &path), &Value::Null).await;
    assert_eq!(other.status, 403);
}

#[tokio::test]
async fn an_activation_takes_deposit_and_fee() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let body = activation(&world, &package(&world, &id).await, 0);
    let reply = hand_in(&world, &id, &body).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json["activation_status"], "submitting");
    assert_eq!(usdc(&world).await, (FUNDS, 0, 0), "nothing is taken before the relayer's turn");
    let other = activation(&world, &package(&world, &id).await, 7);
    assert_eq!(hand_in(&world, &id, &other).await.status, 409);
    let again = hand_in(&world, &id, &body).await;
    assert_eq!((again.status.as_u16(), &again.json), (202, &reply.json));
    world.pass(STEP_MS);

    let agreement = agreement(&world, &id).await;
    #[rustfmt::skip]
    let members = [
        ("status", json!("active")), ("activation_status", json!("confirmed")),
        ("escrow_status", json!("funded")), ("infra_fee_status", json!("paid")),
        ("service_amount_atomic", json!(DEPOSIT)), ("infra_fee_amount_atomic", json!(FEE)),
        ("onchain_agreement_id", json!("1")), ("aggregate_earned_atomic", json!(0)),
    ];
    for (name, value) in members {
        assert_eq!(agreement[name], value, "{name}");
    }
    assert_eq!(agreement["onchain_agreement_key"], body["buyer_intent"]["agreement_key"]);
    assert_eq!(usdc(&world).await, (FUNDS - DEPOSIT - FEE, DEPOSIT, FEE));
    let hash = json!([agreement["activation_tx_hash"]]);
    let receipt = world.rpc("eth_getTransactionReceipt", hash).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    let logs = receipt["logs"].as_array().unwrap();
    let moved = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    assert!(logs.iter().any(|log| log["topics"][0] == moved), "a real transfer: {logs:?}");
    let deposits = world.truth("deposit").await;
    assert_eq!(deposits.len(), 1);
    assert_eq!(deposits[0]["reference"], id.as_str());
    assert_eq!(deposits[0]["payee"], ESCROW.to_string());
    assert_eq!(deposits[0]["amount_usd"], "2");
    let fees = world.truth("fee").await;
    assert_eq!(fees.len(), 1);
    assert_eq!(fees[0]["reference"], format!("{id}:fee"));
    assert_eq!(fees[0]["parent"], id.as_str());
    assert_eq!(fees[0]["amount_usd"], "0.10");

    assert_eq!(hand_in(&world, &id, &body).await.json["activation_status"], "confirmed");
    assert_eq!(hand_in(&world, &id, &other).await.status, 409);
    world.pass(STEP_MS);
    assert_eq!(world.truth("deposit").await.len(), 1, "the same request is the same activation");
    let second = accepted(&world, "manual").await;
    let second = package(&world, &second).await;
    assert_eq!(second["nonces"]["buyer_activation_nonce"], 1);
}

#[tokio::test]
async fn an_allowance_will_do_for_the_deposit() {
    let world = World::start().await;
    let id = accepted(&world, "manual").await;
    let approve = Usdc::approveCall { spender: ESCROW, value: U256::from(DEPOSIT) };
    let usdc_contract = world.info.chain.usdc.parse().unwrap();
    let raw = world.raw(0, usdc_contract, approve.abi_encode(), |_| ());
    world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
    let mut body = activation(&world, &package(&world, &id).await, 0);
    body["funding_authorization"] = json!({ "mode": "prior_allowance", "amount": DEPOSIT,
        "deadline": 0, "permit_data": null });
    // The fee's permit is the first one then.
    add_fee(&mut body, &signer(&buyer(&world)), (gas(&world), FEE, 0));
    assert_eq!(hand_in(&world, &id, &body).await.status, 202);
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &id).await["status"], "active");
    assert_eq!(usdc(&world).await, (FUNDS - DEPOSIT - FEE, DEPOSIT, FEE));
}

#[tokio::test]
async fn a_package_can_ask_for_more_or_for_no_fee() {
    let world = World::start().await;
    let dear = package(&world, &accepted(&world, "price_rises").await).await;
    assert_eq!(dear["terms"]["price_per_unit_atomic"], 30_000);
    assert_eq!(dear["terms"]["deposit_amount_atomic"], 3_000_000);
    let free = accepted(&world, "free").await;
    let waived = package(&world, &free).await;
    assert_eq!(waived["infra_fee"]["amount_atomic"], 0);
    assert_eq!(waived["infra_fee"]["waived"], true);
    assert_eq!(waived["infra_fee"]["status"], "waived");
    let body = activation(&world, &waived, 0);
    assert!(body.get("buyer_infra_fee_permit_signature").is_none());
    hand_in(&world, &free, &body).await;
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &free).await["infra_fee_status"], "waived");
    assert!(world.truth("fee").await.is_empty());

    let id = accepted(&world, "manual").await;
    let raise = json!({ "marketplace": "paegents", "path": "*/activation-package",
        "action": { "raise_price": "1.5" } });
    world.fault(raise).await;
    let raised = package(&world, &id).await;
    assert_eq!(raised["terms"]["deposit_amount_atomic"], 3_000_000);
    assert_eq!(raised["infra_fee"]["amount_atomic"], 150_000);
    let body = activation(&world, &package(&world, &id).await, 1);
    hand_in(&world, &id, &body).await;
    world.pass(STEP_MS);
    assert_eq!(agreement(&world, &id).await["status"], "active", "who signs it pays it");
    assert_eq!(world.truth("deposit").await[1]["amount_usd"], "3");
}

#[tokio::test]
async fn signatures_of_version_1_fund_on_acceptance() {
    for is_valid in [true, false] {
        let world = World::start().await;
        let key = signer(&buyer(&world));
        let until = now_s() + 600;
        let mut proposal = proposal(&world, "manual");
        proposal["buyer_permit_signature"] = json!(permit(&key, ESCROW, (DEPOSIT, 0)));
        proposal["buyer_permit_deadline"] = json!(until);
        let id = propose(&world, &proposal).await;
        let path = format!("/usage-agreements/{id}/deposit-params");
        let params = read(&world, &buyer(&world), &path).await;
        assert_eq!(params["chain_id"], 84_532);
        assert_eq!(params["service_amount_atomic"], DEPOSIT);
        assert_eq!(params["infra_fee_amount_atomic"], FEE);
        assert_eq!(params["gas_wallet_address"], gas(&world).to_string());
        let number = params["onchain_agreement_id"].as_u64().unwrap();
        let signed = if is_valid { number } else { number + 1 };
        let deposit = Deposit { agreementId: U256::from(signed), deadline: U256::from(until) };
        let refresh = json!({
            "buyer_deposit_auth_signature": sign(&key, &deposit, &domain()),
            "buyer_deposit_auth_deadline": until,
            "buyer_infra_fee_permit_signature": permit(&key, gas(&world), (FEE, 1)),
            "buyer_infra_fee_permit_deadline": until,
        });
        let path = format!("/usage-agreements/{id}/refresh-permit");
        let nothing = ask(&world, &buyer(&world), ("POST", &path), &json!({})).await;
        assert_eq!(nothing.status, 422);
        let other = ask(&world, &seller(&world), ("POST", &path), &refresh).await;
        assert_eq!(other.status, 403);
        let reply = ask(&world, &buyer(&world), ("POST", &path), &refresh).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let accept = format!("/usage-agreements/{id}/accept");
        ask(&world, &seller(&world), ("PUT", &accept), &Value::Null).await;
        world.pass(STEP_MS);
        let agreement = agreement(&world, &id).await;
        if is_valid {
            assert_eq!(agreement["status"], "active");
            assert_eq!(agreement["onchain_agreement_id"], number.to_string());
            assert_eq!(usdc(&world).await, (FUNDS - DEPOSIT - FEE, DEPOSIT, FEE));
        } else {
            assert_eq!(agreement["activation_status"], "ready");
            assert_eq!(usdc(&world).await, (FUNDS, 0, 0));
        }
    }
}

/// The digests of the protocol page's vectors, 15, with the escrow of Base Sepolia.
#[test]
fn hashes_what_the_page_hashes() {
    let hex = |bytes: B256| hex::encode(bytes);
    let page = "c5810810ae42085f5332619eacda381ac49fe9ec39812a3e70c18f74bb7387ef";
    assert_eq!(hex(domain().separator()), page);
    let page = "51265006833ea6ff448340a1c6fd2f3961db8c3396f775ebd5cda55b9d9fd3fc";
    assert_eq!(hex(domain_v2().separator()), page);
    let deposit = Deposit { agreementId: U256::from(7), deadline: U256::from(1_900_000_000_u64) };
    let page = "8af5656b05f57ba39ffcbab910bc819c26c056ed3a482498b9d58c6de2b42c75";
    assert_eq!(hex(deposit.eip712_signing_hash(&domain())), page);
    let key: PrivateKeySigner =
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".parse().unwrap();
    let intent = BuyerActivationIntent {
        agreementKey: B256::repeat_byte(0x11),
        platformAgreementIdHash: B256::repeat_byte(0x22),
        buyer: key.address(),
        seller: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
        token: crate::sandbox::chain::USDC,
        quantity: U256::from(1_000),
        pricePerUnit: U256::from(100_000),
        depositAmount: U256::from(100_000_000),
        challengeWindowSeconds: U256::from(86_400),
        serviceHash: B256::repeat_byte(0x33),
        termsHash: B256::repeat_byte(0x44),
        expiry: U256::from(1_900_000_000_u64),
        nonce: U256::ZERO,
        salt: B256::repeat_byte(0x55),
    };
    let page = "0bedc9c52e806c57fe985ae5b4a273be2edf352e3bbb423da42262c4cf15d476";
    assert_eq!(hex(intent.eip712_hash_struct()), page);
    let page = "85f39cbbe63fc7973cbc62e771dbd43bd3ff8249c2dd1ec8a9f4c374ae8a5950";
    assert_eq!(hex(intent.eip712_signing_hash(&domain_v2())), page);
    let page = "0x1c97b52a2d1954fde949ce2f713ec93ac47da756a8d4e924939ab09e945fe8960351bb11a0e8c94\
                c1996721d0218e989848f3a4b1e204d4483190b3638263b761c";
    assert_eq!(sign(&key, &intent, &domain_v2()), page);
    let bytes: Bytes = page.parse().unwrap();
    assert_eq!(bytes.len(), 65);
}
