//! A Paegents that lies, sends elsewhere, or says nothing.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Upstream, http, live, live_with, said};

/// The public key of every local test chain.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const WALLET: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const ATTACKER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const BASE_USDC: &str = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

/// Everything that is asked before an activation, in one answer: agreement, package, parameters.
fn activation() -> Value {
    let hash = |byte: &str| format!("0x{}", byte.repeat(32));
    json!({
        "agreement_id": "agr_1", "buyer_agent_id": "agt_0123456789", "seller_agent_id": "agt_2",
        "quantity": 100, "unit": "api_calls", "price_per_unit_cents": 2, "total_cents": 200,
        "status": "accepted", "activation_status": "ready", "expires_at": "2099-01-01T00:00:00Z",
        "settlement_model": "bilateral_escrow", "activation_version": "v2",
        "platform_agreement_id_hash": hash("22"), "agreement_key": hash("11"),
        "terms": {
            "buyer": WALLET, "seller": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "token": BASE_USDC, "receipt_signer": ATTACKER, "quantity": 100,
            "price_per_unit_atomic": 20_000, "deposit_amount_atomic": 2_000_000,
            "challenge_window_seconds": 86_400, "expiry": haggle::clock::wall_ms() / 1_000 + 86_400,
            "service_hash": hash("33"), "terms_hash": hash("44"), "salt": hash("55"),
        },
        "nonces": { "buyer_activation_nonce": 0 },
        "funding": {
            "mode_options": ["erc2612_permit"], "token_address": BASE_USDC, "spender": ATTACKER,
        },
        "chain_id": 8453, "usdc_address": BASE_USDC, "escrow_contract_address": ATTACKER,
    })
}

/// F9: the reference client has no escrow for Base, and takes an empty pin for "any contract". Here
/// an empty pin refuses, until the owner configures the contract that they know.
#[tokio::test]
async fn f9_an_escrow_that_nobody_pinned_is_not_signed_for() {
    let upstream = Upstream::start(http("200 OK", "", activation().to_string())).await;
    let own = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    for (configured, code, field) in [
        (None, "signing_refused", "escrow"),
        // What is asked for is another contract than the owner's.
        (Some(own), "signing_refused", "funding.spender"),
        (Some(BASE_USDC), "signing_refused", "escrow"),
    ] {
        let (client, _folder) = live_with(&upstream.url, |settings| {
            settings.chain.chain_id = Some(8453);
            settings.wallet.private_key = Some(KEY.to_owned().into());
            settings.paegents.escrow = configured.map(|address| address.parse().unwrap());
        })
        .await;
        let args = json!({ "agreement_id": "agr_1", "max_total_usd": "5" });
        let args = args.as_object().unwrap().clone();
        let params = CallToolRequestParams::new("paegents_activate_escrow").with_arguments(args);
        let answer = client.call_tool(params).await.unwrap().structured_content.unwrap();
        let error = &answer["error"];
        assert_eq!((&error["code"], &error["field"]), (&json!(code), &json!(field)), "{answer}");
        assert_eq!(error["money_moved"], "no");
    }
}

/// F14: the reference client follows redirects, and takes the agent's key with it to another host.
#[tokio::test]
async fn f14_no_redirect_takes_the_key_elsewhere() {
    let target = Upstream::start(http("200 OK", "", "{}")).await;
    for status in [301, 302, 303, 307, 308] {
        for (tool, args) in [
            ("paegents_get_service", json!({ "service_id": "svc_1" })),
            ("paegents_get_agreement", json!({ "agreement_id": "agr_1" })),
            ("paegents_create_intent_mandate", json!({ "max_amount_usd": "5" })),
            ("paegents_cancel_agreement", json!({ "agreement_id": "agr_1" })),
            (
                "paegents_call_service",
                json!({ "agreement_id": "agr_1", "method": "GET", "path": "/units" }),
            ),
            ("paegents_list_events", json!({})),
        ] {
            let location = format!("location: {}/agents/services/svc_1\r\n", target.url);
            let answer = http(&format!("{status} Moved"), &location, "");
            let error = said(tool, args, answer).await.unwrap_err();
            assert_eq!(error["code"], "egress_blocked", "{status} {tool}: {error}");
            assert!(!error.to_string().contains(&target.url), "{error}");
        }
    }
    assert_eq!(target.connections(), 0);
}

/// F15: the reference client waits for ever. Here each request has an end, and nothing else waits.
#[tokio::test(flavor = "multi_thread")]
async fn f15_a_platform_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    let (client, _folder) = live(&url).await;
    let call = |tool: &'static str, args: Value| {
        let params =
            CallToolRequestParams::new(tool).with_arguments(args.as_object().unwrap().clone());
        let client = &client;
        async move {
            let started = Instant::now();
            let answer = client.call_tool(params).await.unwrap().structured_content.unwrap();
            (answer["error"].clone(), started.elapsed())
        }
    };
    let agreement = json!({ "agreement_id": "agr_1" });
    let waiting = join_all(vec![
        call("paegents_get_service", json!({ "service_id": "svc_1" })),
        call("paegents_get_agreement", agreement.clone()),
        call("paegents_get_usage", agreement.clone()),
        call("paegents_cancel_agreement", agreement),
        call("paegents_create_intent_mandate", json!({ "max_amount_usd": "5" })),
    ]);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (error, took) = call("market_list_purchases", json!({})).await;
        assert!(error.is_null() && took < Duration::from_secs(20), "{took:?}: {error}");
    };
    let (answers, ()) = tokio::join!(waiting, meanwhile);
    for (error, took) in answers {
        assert_eq!(error["code"], "upstream_unavailable", "{error}");
        assert_eq!(error["money_moved"], "no", "{error}");
        assert!((25..90).contains(&took.as_secs()), "{took:?}: {error}");
    }
    silent.abort();
}
