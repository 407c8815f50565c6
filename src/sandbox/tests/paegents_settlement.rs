//! How an escrow ends: close, claim and withdraw, by signature and by own transaction.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_sol_types::SolCall;
use serde_json::{Value, json};

use super::{
    Reply, World,
    paegents_escrow::{
        DEPOSIT, FEE, STEP_MS, active, agreement, ask, buyer, now_s, read, seller, sign, signer,
    },
};
use crate::sandbox::{
    AgentInfo,
    chain::{
        ESCROW,
        escrow::{
            calls::{
                BuyerWithdrawIntent, CloseIntent, MeteringEscrow as Contract, SellerClaimIntent,
            },
            domain,
        },
    },
};

/// The challenge window.
const WINDOW_MS: i64 = 86_400_000;

async fn options(world: &World, agent: &AgentInfo, id: &str, action: &str) -> Value {
    let path = format!(
        "/usage-agreements/{id}/settlement-action-options?action={action}\
         &signer_wallet_address={}",
        agent.wallet
    );
    read(world, agent, &path).await
}

async fn status(world: &World, id: &str) -> Value {
    read(world, &buyer(world), &format!("/usage-agreements/{id}/escrow-status")).await
}

async fn record(world: &World, id: &str, units: u64) {
    let path = format!("/usage-agreements/{id}/record-usage");
    let body = json!({ "units_used": units, "completed": false });
    let reply = ask(world, &seller(world), ("POST", &path), &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The body of a sponsored action, signed by the agent.
fn intent(agent: &AgentInfo, action: &str, number: u64, (nonce, deadline): (u64, u64)) -> Value {
    let key = signer(agent);
    let agreement = U256::from(number);
    let (n, d) = (U256::from(nonce), U256::from(deadline));
    let signature = match action {
        "initiate-close" => {
            let terms = CloseIntent { agreementId: agreement, nonce: n, deadline: d };
            sign(&key, &terms, &domain())
        }
        "seller-claim" => {
            let terms = SellerClaimIntent { agreementId: agreement, nonce: n, deadline: d };
            sign(&key, &terms, &domain())
        }
        _ => {
            let terms = BuyerWithdrawIntent { agreementId: agreement, nonce: n, deadline: d };
            sign(&key, &terms, &domain())
        }
    };
    json!({ "signer_wallet_address": agent.wallet, "nonce": nonce, "deadline": deadline,
        "signature": signature })
}

async fn sponsor(world: &World, agent: &AgentInfo, id: &str, action: &str, body: &Value) -> Reply {
    let path = format!("/usage-agreements/{id}/sponsored-actions/{action}");
    ask(world, agent, ("POST", &path), body).await
}

/// A transaction of the agent's own; answers its receipt's status after a step.
async fn send(world: &World, agent: &AgentInfo, input: Vec<u8>) -> Value {
    let count = json!([agent.wallet, "pending"]);
    let nonce = world.rpc("eth_getTransactionCount", count).await.unwrap();
    let tx = TxEip1559 {
        chain_id: 84_532,
        nonce: u64::from_str_radix(&nonce.as_str().unwrap()[2..], 16).unwrap(),
        gas_limit: 200_000,
        max_fee_per_gas: 10_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(ESCROW),
        value: U256::ZERO,
        input: Bytes::from(input),
        ..TxEip1559::default()
    };
    let signature = signer(agent).sign_hash_sync(&tx.signature_hash()).unwrap();
    let bytes = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
    let raw = json!([format!("0x{}", hex::encode(bytes))]);
    let hash = world.rpc("eth_sendRawTransaction", raw).await.unwrap();
    world.pass(STEP_MS);
    world.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap()["status"].clone()
}

/// The transaction of an instruction, sent by the agent as it stands.
async fn follow(world: &World, agent: &AgentInfo, instruction: &Value) -> Value {
    let transaction = &instruction["transaction"];
    assert_eq!(transaction["to"], ESCROW.to_string());
    assert_eq!(transaction["value"], "0");
    let data: Bytes = transaction["data"].as_str().unwrap().parse().unwrap();
    send(world, agent, data.to_vec()).await
}

fn micros(entries: &[Value]) -> u64 {
    let usdc = |entry: &Value| entry["amount_usd"].as_str().unwrap().parse().unwrap();
    entries
        .iter()
        .map(|entry| {
            let usdc: crate::money::Usdc = usdc(entry);
            usdc.micros()
        })
        .sum()
}

/// The kinds of an agent's events about escrows.
fn events(world: &World, agent: &AgentInfo) -> Vec<String> {
    world
        .inside()
        .store
        .transact(|db| {
            db.prepare("SELECT kind FROM paegents_events WHERE agent = ?1 ORDER BY seq")?
                .query_map([&agent.agent_id], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        })
        .unwrap()
}

/// A seller with 30 units is offered its claim, with all that signing it takes.
async fn is_offered(world: &World, seller: &AgentInfo, id: &str) {
    let offer = options(world, seller, id, "seller_claim").await;
    #[rustfmt::skip]
    let members = [
        ("onchain_agreement_id", json!(1)), ("current_nonce", json!(0)),
        ("signer_role", json!("seller")), ("claimable_atomic", json!(600_000)),
        ("chain_id", json!(84_532)), ("sponsored_available", json!(true)),
        ("direct_available", json!(true)), ("recommended_mode", json!("sponsored")),
        ("deadline_window_seconds", json!(3_600)), ("suggested_deadline", json!(now_s() + 600)),
        ("direct_function", json!("sellerClaim(uint256)")),
    ];
    for (name, value) in members {
        assert_eq!(offer[name], value, "{name}");
    }
}

/// The buyer is told of each step of an escrow that came to its end.
fn hears_of_the_end(world: &World, buyer: &AgentInfo) {
    let told = events(world, buyer);
    for kind in [
        "agreement.active",
        "escrow.fee_collected",
        "escrow.receipt_submitted",
        "escrow.close_initiated",
        "escrow.close_finalized",
        "escrow.claim_completed",
        "escrow.withdraw_completed",
    ] {
        assert!(told.iter().any(|told| told == kind), "{kind}: {told:?}");
    }
}

#[tokio::test]
async fn an_escrow_ends_by_signatures() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let (buyer, seller) = (buyer(&world), seller(&world));
    record(&world, &id, 30).await;
    is_offered(&world, &seller, &id).await;
    let deadline = now_s() + 600;
    let claim = intent(&seller, "seller-claim", 1, (0, deadline));
    let reply = sponsor(&world, &seller, &id, "seller-claim", &claim).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json["relay_status"], "submitted");
    assert_eq!(world.usdc_of(&seller.wallet).await, 0);
    world.pass(STEP_MS);
    assert_eq!(world.usdc_of(&seller.wallet).await, 600_000, "earned units, while it is active");
    let again = sponsor(&world, &seller, &id, "seller-claim", &claim).await;
    assert_eq!(again.json["relay_status"], "confirmed");
    assert_eq!(again.json["tx_hash"], reply.json["tx_hash"]);

    record(&world, &id, 70).await;
    let close = intent(&buyer, "initiate-close", 1, (0, deadline));
    let reply = sponsor(&world, &buyer, &id, "initiate-close", &close).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    world.pass(STEP_MS);
    let closing = status(&world, &id).await;
    assert_eq!(closing["settlement_status"], "closing");
    assert_eq!(closing["seller_claimable_atomic"], 0);
    assert_eq!(closing["buyer_withdrawable_atomic"], 0);
    assert_eq!(closing["aggregate_earned_atomic"], 1_400_000);
    assert_eq!(agreement(&world, &id).await["status"], "completed");
    for (agent, action, word) in [
        (&seller, "seller_claim", "challenge_window_open"),
        (&buyer, "buyer_withdraw", "not_finalized"),
        (&buyer, "initiate_close", "already_closed"),
        (&buyer, "seller_claim", "wrong_role"),
    ] {
        let offer = options(&world, agent, &id, action).await;
        assert_eq!(offer["availability_reason"], word, "{action}");
        assert_eq!(offer["recommended_mode"], "unavailable", "{action}");
    }

    world.pass(WINDOW_MS);
    let last = status(&world, &id).await;
    assert_eq!(last["settlement_status"], "finalized");
    assert_eq!(last["seller_claimable_atomic"], 800_000);
    assert_eq!(last["buyer_withdrawable_atomic"], 600_000);
    let deadline = now_s() + 86_400 + 600;
    let claim = intent(&seller, "seller-claim", 1, (1, deadline));
    assert_eq!(sponsor(&world, &seller, &id, "seller-claim", &claim).await.status, 200);
    let withdraw = intent(&buyer, "buyer-withdraw", 1, (1, deadline));
    assert_eq!(sponsor(&world, &buyer, &id, "buyer-withdraw", &withdraw).await.status, 200);
    world.pass(STEP_MS);
    assert_eq!(status(&world, &id).await["settlement_status"], "settled");
    assert_eq!(world.usdc_of(&seller.wallet).await, 1_400_000);
    assert_eq!(world.usdc_of(&ESCROW.to_string()).await, 0);
    assert_eq!(world.usdc_of(&buyer.wallet).await, 1_000_000_000 - FEE - 1_400_000);
    let (payouts, refunds) = (world.truth("payout").await, world.truth("refund").await);
    assert_eq!(micros(&payouts) + micros(&refunds), DEPOSIT);
    assert_eq!(payouts[1]["reference"], format!("{id}:payout:2"));
    assert_eq!(refunds[0]["parent"], id.as_str());
    assert!(world.truth("transfer").await.is_empty());
    hears_of_the_end(&world, &buyer);
}

#[tokio::test]
async fn an_escrow_ends_by_own_transactions() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let (buyer, seller) = (buyer(&world), seller(&world));
    record(&world, &id, 25).await;
    let path = |what: &str| format!("/usage-agreements/{id}/{what}");
    let none = read(&world, &buyer, &path("claim-instructions")).await;
    assert_eq!(none["transaction"], Value::Null);
    assert_eq!(none["closed"], false);
    let close = read(&world, &seller, &path("initiate-close-calldata")).await;
    assert_eq!(close["function"], "initiateClose(uint256)");
    assert!(close["transaction"]["data"].as_str().unwrap().starts_with("0xc9b2e522"));
    assert_eq!(follow(&world, &seller, &close).await, "0x1");
    assert_eq!(status(&world, &id).await["settlement_status"], "closing");
    world.pass(WINDOW_MS);
    let claim = read(&world, &seller, &path("claim-instructions")).await;
    assert_eq!(claim["claimable_atomic"], 500_000);
    assert_eq!(claim["closed"], true);
    assert_eq!(claim["chain_id"], 84_532);
    assert!(claim["transaction"]["data"].as_str().unwrap().starts_with("0x379607f5"));
    assert_eq!(follow(&world, &seller, &claim).await, "0x1");
    assert_eq!(follow(&world, &seller, &claim).await, "0x0", "nothing is left");
    let withdraw = read(&world, &buyer, &path("claim-instructions")).await;
    assert!(withdraw["transaction"]["data"].as_str().unwrap().starts_with("0x2e1a7d4d"));
    assert_eq!(follow(&world, &buyer, &withdraw).await, "0x1");
    assert_eq!(status(&world, &id).await["settlement_status"], "settled");
    let (payouts, refunds) = (world.truth("payout").await, world.truth("refund").await);
    assert_eq!((micros(&payouts), micros(&refunds)), (500_000, 1_500_000));
    assert_eq!(world.usdc_of(&seller.wallet).await, 500_000);
}

#[tokio::test]
async fn the_contract_obeys_the_right_party_at_the_right_time() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let (buyer, seller) = (buyer(&world), seller(&world));
    record(&world, &id, 10).await;
    let one = U256::from(1);
    let other = |selector: [u8; 4]| [&selector[..], &one.to_be_bytes::<32>()].concat();
    let claim = Contract::sellerClaimCall { agreementId: one }.abi_encode();
    let withdraw = Contract::buyerWithdrawCall { agreementId: one }.abi_encode();
    let close = Contract::initiateCloseCall { agreementId: one }.abi_encode();
    let settle = Contract::settleCall { agreementId: one }.abi_encode();
    let unknown = Contract::sellerClaimCall { agreementId: U256::from(2) }.abi_encode();
    assert_eq!(claim[..4], [0x12, 0x24, 0xef, 0xde]);
    assert_eq!(withdraw[..4], [0xb0, 0x3f, 0xd8, 0x5a]);
    assert_eq!(close[..4], [0xe8, 0xa3, 0xac, 0x5a]);
    #[rustfmt::skip]
    let early = [
        ("the buyer claims",         &buyer,  claim.clone(),                        "0x0"),
        ("the seller withdraws",     &seller, withdraw.clone(),                     "0x0"),
        ("the buyer is too early",   &buyer,  withdraw.clone(),                     "0x0"),
        ("a party settles",          &seller, settle.clone(),                       "0x0"),
        ("an unknown agreement",     &seller, unknown,                              "0x0"),
        ("an unknown function",      &seller, other([1, 2, 3, 4]),                  "0x0"),
        ("the seller claims",        &seller, claim.clone(),                        "0x1"),
        ("and again",                &seller, other([0x37, 0x96, 0x07, 0xf5]),      "0x0"),
    ];
    #[rustfmt::skip]
    let late = [
        ("the buyer closes",         &buyer,  close.clone(),                        "0x1"),
        ("and again",                &buyer,  other([0xc9, 0xb2, 0xe5, 0x22]),      "0x0"),
        ("a claim in the window",    &seller, claim.clone(),                        "0x0"),
        ("a withdrawal in it",       &buyer,  other([0x2e, 0x1a, 0x7d, 0x4d]),      "0x0"),
    ];
    for (row, agent, input, expected) in early {
        assert_eq!(send(&world, agent, input).await, expected, "{row}");
    }
    record(&world, &id, 20).await;
    for (row, agent, input, expected) in late {
        assert_eq!(send(&world, agent, input).await, expected, "{row}");
    }
    world.pass(WINDOW_MS);
    assert_eq!(send(&world, &seller, settle).await, "0x0", "a party does not settle");
    assert_eq!(send(&world, &buyer, withdraw).await, "0x1");
    assert_eq!(world.usdc_of(&seller.wallet).await, 200_000);
    assert_eq!(world.usdc_of(&ESCROW.to_string()).await, 200_000, "the seller's rest");
    let view = Contract::agreementsCall { agreementId: one }.abi_encode();
    let call = json!([{ "to": ESCROW, "data": format!("0x{}", hex::encode(view)) }]);
    let words = world.rpc("eth_call", call).await.unwrap();
    assert_eq!(words.as_str().unwrap().len(), 2 + 7 * 64);
    let stranger: Address = "0x00000000000000000000000000000000000000AA".parse().unwrap();
    let call =
        json!([{ "from": stranger, "to": ESCROW, "data": format!("0x{}", hex::encode(claim)) }]);
    for method in ["eth_call", "eth_estimateGas"] {
        let error = world.rpc(method, call.clone()).await.unwrap_err();
        assert!(error["message"].as_str().unwrap().contains("not the seller"), "{error}");
    }
}

#[tokio::test]
async fn anybody_may_relay_what_a_party_signed_once() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let (buyer, seller) = (buyer(&world), seller(&world));
    record(&world, &id, 10).await;
    let until = now_s() + 600;
    let relayed = |by: &AgentInfo, nonce: u64, deadline: u64| {
        let signed = intent(by, "seller-claim", 1, (nonce, deadline));
        Contract::sellerClaimWithSigCall {
            agreementId: U256::from(1),
            nonce: U256::from(nonce),
            deadline: U256::from(deadline),
            signature: signed["signature"].as_str().unwrap().parse().unwrap(),
        }
        .abi_encode()
    };
    #[rustfmt::skip]
    let rows = [
        ("signed by the buyer", relayed(&buyer, 0, until),          "0x0"),
        ("a nonce ahead",       relayed(&seller, 1, until),         "0x0"),
        ("too late",            relayed(&seller, 0, now_s() - 1),   "0x0"),
        ("as it should be",     relayed(&seller, 0, until),         "0x1"),
    ];
    for (row, input, expected) in rows {
        assert_eq!(send(&world, &buyer, input).await, expected, "{row}");
    }
    record(&world, &id, 20).await;
    assert_eq!(send(&world, &buyer, relayed(&seller, 0, until)).await, "0x0", "used");
    assert_eq!(world.usdc_of(&seller.wallet).await, 200_000);
    assert_eq!(world.truth("payout").await.len(), 1);
}

#[tokio::test]
async fn a_sponsored_action_is_checked() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let (buyer, seller) = (buyer(&world), seller(&world));
    record(&world, &id, 10).await;
    let until = now_s() + 600;
    let good = intent(&seller, "seller-claim", 1, (0, until));
    let change = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let (another, late) = (intent(&seller, "seller-claim", 2, (0, until)), now_s() - 1);
    #[rustfmt::skip]
    let rows = [
        ("a nonce ahead",          intent(&seller, "seller-claim", 1, (1, until)),          409),
        ("too late",               intent(&seller, "seller-claim", 1, (0, late)),           400),
        ("too far ahead",          intent(&seller, "seller-claim", 1, (0, now_s() + 3_601)), 400),
        ("another agreement",      another,                                                 400),
        ("another action",         intent(&seller, "initiate-close", 1, (0, until)),        400),
        ("another deadline",       change("deadline", json!(until + 1)),                    400),
        ("another's signature",    change("signature", intent(&buyer, "seller-claim", 1, (0, until))["signature"].clone()), 400),
        ("no signature",           change("signature", json!("0x")),                        400),
        ("another's wallet",       change("signer_wallet_address", json!(buyer.wallet)),    403),
        ("no wallet",              change("signer_wallet_address", json!("me")),            422),
        ("no nonce",               change("nonce", Value::Null),                            422),
    ];
    for (row, body, expected) in rows {
        let reply = sponsor(&world, &seller, &id, "seller-claim", &body).await;
        assert_eq!(reply.status, expected, "{row}: {reply:?}");
    }
    let wrong = intent(&buyer, "seller-claim", 1, (0, until));
    assert_eq!(sponsor(&world, &buyer, &id, "seller-claim", &wrong).await.status, 409);
    let path = sponsor(&world, &seller, &id, "seller-dance", &good).await;
    assert_eq!(path.status, 404);
    assert_eq!(world.usdc_of(&seller.wallet).await, 0);

    let first = sponsor(&world, &seller, &id, "seller-claim", &good).await;
    assert_eq!(first.status, 200);
    let same = sponsor(&world, &seller, &id, "seller-claim", &good).await;
    assert_eq!(same.json, first.json, "the same request has the same answer");
    let used = intent(&seller, "initiate-close", 1, (0, until));
    assert_eq!(sponsor(&world, &seller, &id, "initiate-close", &used).await.status, 409);
    assert_eq!(options(&world, &seller, &id, "initiate_close").await["current_nonce"], 1);
    world.pass(STEP_MS);
    assert_eq!(sponsor(&world, &seller, &id, "initiate-close", &used).await.status, 409);
    assert_eq!(world.usdc_of(&seller.wallet).await, 200_000);
    assert_eq!(world.truth("payout").await.len(), 1);
}

#[tokio::test]
async fn a_relay_can_fail_and_be_sent_anew() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let buyer = buyer(&world);
    world
        .fault(json!({ "marketplace": "paegents", "path": "*/initiate-close", "action": "fail" }))
        .await;
    let close = intent(&buyer, "initiate-close", 1, (0, now_s() + 600));
    let reply = sponsor(&world, &buyer, &id, "initiate-close", &close).await;
    assert_eq!(reply.json["relay_status"], "submitted");
    world.pass(STEP_MS);
    let hash = json!([reply.json["tx_hash"]]);
    let receipt = world.rpc("eth_getTransactionReceipt", hash).await.unwrap();
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(status(&world, &id).await["settlement_status"], "none");
    assert!(events(&world, &buyer).contains(&"escrow.settlement_failed".to_owned()));
    assert_eq!(options(&world, &buyer, &id, "initiate_close").await["current_nonce"], 0);
    let again = sponsor(&world, &buyer, &id, "initiate-close", &close).await;
    assert_ne!(again.json["tx_hash"], reply.json["tx_hash"]);
    world.pass(STEP_MS);
    assert_eq!(status(&world, &id).await["settlement_status"], "closing");
}

#[tokio::test]
async fn without_gas_only_the_own_transaction_is_left() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let buyer = buyer(&world);
    let gas = world.info.chain.gas_wallet.wallet.clone();
    let rich = options(&world, &buyer, &id, "initiate_close").await;
    assert!(rich["gas_wallet_eth_balance_wei"].as_f64().unwrap() > 9e19, "{rich}");
    world.admin("POST", "/balance", json!({ "address": gas, "wei": "0" })).await;
    let poor = options(&world, &buyer, &id, "initiate_close").await;
    assert_eq!(poor["sponsored_available"], false);
    assert_eq!(poor["sponsored_block_reason"], "gas_wallet_empty");
    assert_eq!(poor["recommended_mode"], "direct");
    let close = intent(&buyer, "initiate-close", 1, (0, now_s() + 600));
    assert_eq!(sponsor(&world, &buyer, &id, "initiate-close", &close).await.status, 503);
    world.admin("POST", "/balance", json!({ "address": buyer.wallet, "wei": "0" })).await;
    let none = options(&world, &buyer, &id, "initiate_close").await;
    assert_eq!(none["recommended_mode"], "unavailable");
    assert_eq!(none["direct_available"], false);
}

#[tokio::test]
async fn a_built_in_seller_is_settled_by_the_platform() {
    let world = World::start().await;
    let id = active(&world, "auto").await;
    let buyer = buyer(&world);
    for nonce in ["a", "b", "c"] {
        let url = format!("{}/metered-proxy/{id}/text-statistics", world.info.paegents.api_url);
        let call = world
            .http
            .post(url)
            .bearer_auth(&buyer.api_key)
            .header("X-Request-Nonce", nonce)
            .json(&json!({ "text": "One two." }));
        assert_eq!(world.send(call).await.unwrap().status, 200);
    }
    let close = intent(&buyer, "initiate-close", 1, (0, now_s() + 600));
    assert_eq!(sponsor(&world, &buyer, &id, "initiate-close", &close).await.status, 200);
    world.pass(STEP_MS + WINDOW_MS - 2_000);
    assert_eq!(status(&world, &id).await["settlement_status"], "closing");
    world.pass(2_000 + STEP_MS);
    let last = status(&world, &id).await;
    assert_eq!(last["settlement_status"], "settled");
    assert_eq!(last["aggregate_claimed_atomic"], 60_000);
    assert_eq!(last["aggregate_withdrawn_atomic"], DEPOSIT - 60_000);
    let draws = world.truth("draw").await;
    assert_eq!(micros(&draws), micros(&world.truth("payout").await));
    assert_eq!(micros(&world.truth("refund").await), DEPOSIT - 60_000);
}

#[tokio::test]
async fn a_completed_agreement_closes() {
    let world = World::start().await;
    let id = active(&world, "manual").await;
    let path = format!("/usage-agreements/{id}/record-usage");
    let body = json!({ "units_used": 100, "completed": true });
    let reply = ask(&world, &seller(&world), ("POST", &path), &body).await;
    assert_eq!(reply.json["status"], "completed", "{reply:?}");
    world.pass(STEP_MS);
    assert_eq!(status(&world, &id).await["settlement_status"], "closing");
    world.pass(WINDOW_MS);
    assert_eq!(status(&world, &id).await["seller_claimable_atomic"], DEPOSIT);
}
