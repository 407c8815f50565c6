//! Paegents' direct purchases: price and fee in two signatures, each for the same chain, each used at
//! the most once, and over by the chain's word.

use std::time::{Duration, Instant};

use haggle::sandbox::ItemInfo;
use serde_json::{Value, json};

use crate::{
    paegents_pay::{name_payee, sent},
    world::{Make, World},
};

/// How long both signatures hold, and what is waited after them, and a second more.
const OPEN_SECONDS: i64 = 600 + 61;

/// The first service that behaves so.
fn service(world: &World, behaviour: &str) -> ItemInfo {
    let services = world.sandbox.info().paegents.services;
    services.into_iter().find(|service| service.behaviour == behaviour).unwrap()
}

/// The wallet of whoever sells a service, as any agreement with them shows it.
async fn wallet_of(world: &World, service: &ItemInfo) -> String {
    let buyer = world.sandbox.info().paegents.buyer;
    let body = json!({ "seller_agent_id": service.owner_id, "quantity": 1, "unit": "x",
        "price_per_unit_cents": 100, "settlement_model": "bilateral_escrow",
        "payment_method": { "rail": "stablecoin" }, "buyer_wallet_address": buyer.wallet });
    let made = world.paegents("POST", "/usage-agreements/", Some(body)).await;
    made["seller_wallet_address"].as_str().unwrap().to_owned()
}

/// The arguments that buy from a seller who behaves so, paid to the owner's payee `maker`.
pub(crate) async fn purchase(world: &World, behaviour: &str) -> Value {
    let service = service(world, behaviour);
    name_payee(world, "maker", &wallet_of(world, &service).await).await;
    json!({ "payee": "maker", "seller_agent_id": service.owner_id, "amount_usd": "2.50",
        "description": "A logo, 2 colours", "service_id": service.id, "max_total_usd": "2.60" })
}

/// The newest agreement's answer by the seller in a process of its own.
async fn seller_says(world: &World, id: &Value, word: &str) -> reqwest::StatusCode {
    let info = world.sandbox.info().paegents;
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let url = format!("{}/usage-agreements/{}/{word}", info.api_url, id.as_str().unwrap());
    http.put(url).bearer_auth(&info.seller.api_key).send().await.unwrap().status()
}

/// Waits until the sandbox's ledger has an entry of this kind.
async fn enters(world: &World, kind: &str) {
    let begun = Instant::now();
    loop {
        let ledger = world.admin("GET", "/ledger", None).await;
        if ledger["entries"].as_array().unwrap().iter().any(|entry| entry["kind"] == kind) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no {kind}: {ledger}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The agreement of the newest purchase.
async fn agreement(world: &World) -> Value {
    world.journal().await.last().unwrap().instrument.as_ref().unwrap()["agreement_id"].clone()
}

pub(crate) async fn signatures(world: &World) -> u64 {
    world.app.wallet().await.unwrap().signatures()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_purchase_is_paid_once_with_its_fee() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    let beside = world.beside().await;
    let (one, two) = tokio::join!(
        world.call("paegents_buy_direct", args.clone()),
        beside.call("paegents_buy_direct", args.clone()),
    );
    let (one, two) = (world.finish(one).await.unwrap(), beside.finish(two).await.unwrap());
    assert_eq!(one["purchase"]["id"], two["purchase"]["id"]);
    assert_eq!(one["purchase"]["delivery"], "delivered", "{one}");
    assert_eq!(one["purchase"]["amount_usd"], "2.60", "{one}");
    assert_eq!(one["result_untrusted"]["status"], "completed", "{one}");
    let world = world.restart().await;
    let twice = world.call("paegents_buy_direct", args).await.unwrap_err();
    assert_eq!(twice["code"], "possible_duplicate", "{twice}");
    let next = twice["recovery"]["next"][0]["arguments"].clone();
    let same = world.call("paegents_buy_direct", next).await.unwrap();
    assert_eq!(same["purchase"]["id"], one["purchase"]["id"]);
    let bodies = sent(&world, "/usage-agreements/").await;
    assert_eq!(bodies.len(), 2, "one of them is the test's own");
    world.audit().await;
    // What the journal keeps signs nothing by itself.
    let journal = world.journal().await[0].instrument.as_ref().unwrap().to_string();
    let body: Value = serde_json::from_str(bodies[1]["body"].as_str().unwrap()).unwrap();
    let permit = body["buyer_infra_fee_permit_signature"].as_str().unwrap();
    assert!(permit.len() == 132 && !journal.contains(permit));
}

/// Fee and payment are signed for one chain, the one in use; otherwise nothing is signed.
#[tokio::test]
async fn f20_fee_and_payment_are_for_one_chain() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    let before = signatures(&world).await;
    for (member, value) in [
        ("chain_id", json!(8453)),
        ("network", json!("base")),
        ("usdc_address", json!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")),
    ] {
        let swap = json!({ "swap_terms": { member: value } });
        world.fault("paegents", "/payment-requirements", 0, swap).await;
        let error = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
        assert_eq!((&error["code"], &error["field"]), (&json!("chain_mismatch"), &json!(member)));
        assert_eq!(error["money_moved"], "no");
    }
    assert_eq!(signatures(&world).await, before);
    let done = world.call("paegents_buy_direct", args).await;
    assert_eq!(world.finish(done).await.unwrap()["purchase"]["money_moved"], "yes");
    // Both signatures name the chain that is used.
    let instrument = world.journal().await.last().unwrap().instrument.clone().unwrap();
    assert_eq!(instrument["authorization"]["chain_id"], instrument["permit"]["chain_id"]);
    world.audit().await;
}

/// What the platform asks beside the price is within what was allowed, and goes to one who can take it.
#[tokio::test]
async fn a_fee_above_what_was_allowed_is_not_signed() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    let before = signatures(&world).await;
    for (terms, code) in [
        (json!({ "infra_fee_amount_atomic": 100_001 }), "price_changed"),
        (json!({ "infra_fee_amount_atomic": u64::MAX }), "upstream_malformed"),
        (json!({ "infra_fee_amount_atomic": "1e3" }), "upstream_malformed"),
        (
            json!({ "gas_wallet_address": "0x0000000000000000000000000000000000000000" }),
            "upstream_malformed",
        ),
        (json!({ "gas_wallet_address": "everyone" }), "upstream_malformed"),
        (
            json!({ "gas_wallet_address": world.sandbox.info().paegents.buyer.wallet }),
            "signing_refused",
        ),
        (json!({ "gas_wallet_address": world.sandbox.info().chain.usdc }), "signing_refused"),
    ] {
        let swap = json!({ "swap_terms": terms });
        world.fault("paegents", "/payment-requirements", 0, swap).await;
        let error = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
        assert_eq!(error["code"], code, "{terms}: {error}");
        assert_eq!(error["money_moved"], "no", "{terms}");
    }
    assert_eq!(signatures(&world).await, before);
    assert_eq!(sent(&world, "/usage-agreements/").await.len(), 1, "the test's own");
    let mut short = args;
    short["max_total_usd"] = json!("2.599999");
    let error = world.call("paegents_buy_direct", short.clone()).await.unwrap_err();
    assert_eq!((&error["code"], &error["example"]), (&json!("above_max_total"), &json!("2.60")));
    short["payee"] = json!("nobody");
    short["max_total_usd"] = json!("3");
    let error = world.call("paegents_buy_direct", short).await.unwrap_err();
    assert_eq!(error["code"], "payee_not_allowed", "{error}");
    assert!(world.charges().await.is_empty());
}

/// A seller who does not accept in time finds both signatures over, and the same can be bought anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_is_not_accepted_in_time_is_over() {
    let make = Make {
        patience: haggle::spend::Patience {
            follow: Duration::from_millis(800),
            unknown: Duration::from_millis(400),
        },
        ..Make::default()
    };
    let world = World::start_with(make).await;
    let args = purchase(&world, "manual").await;
    let waits = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    assert_eq!(
        (&waits["code"], &waits["money_moved"]),
        (&json!("payment_pending"), &json!("maybe"))
    );
    let id = agreement(&world).await;
    // Nothing else of the wallet's permits is signed meanwhile.
    let mut other = args.clone();
    other["description"] = json!("Another logo");
    let busy = world.call("paegents_buy_direct", other).await.unwrap_err();
    assert_eq!((&busy["code"], &busy["money_moved"]), (&json!("conflict"), &json!("no")), "{busy}");
    // Rejected is not over: whoever has the signatures could still use them.
    assert!(seller_says(&world, &id, "reject").await.is_success());
    let check = json!({ "purchase_id": waits["purchase_id"] });
    let checked = world.call("market_check_purchase", check.clone()).await.unwrap();
    assert_eq!(checked["purchase"]["money_moved"], "maybe", "{checked}");
    let told = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    let left = told["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!((500..=OPEN_SECONDS).contains(&left), "{told}");
    world.advance(OPEN_SECONDS).await;
    let over = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    assert_eq!((&over["code"], &over["money_moved"]), (&json!("expired"), &json!("no")), "{over}");
    assert_eq!(over["recovery"]["next"][0]["tool"], "paegents_buy_direct");
    assert!(over["recovery"]["next"][0]["arguments"].get("purchase_id").is_none(), "{over}");
    assert!(world.charges().await.is_empty());
    // The nonce of the permit was not used, so the next one signs with the same.
    let again = world.call("paegents_buy_direct", over["recovery"]["next"][0]["arguments"].clone());
    assert_eq!(again.await.unwrap_err()["code"], "payment_pending");
    let second = agreement(&world).await;
    assert_ne!(second, id);
    assert!(seller_says(&world, &second, "accept").await.is_success());
    enters(&world, "charge").await;
    let bought = world.call("paegents_buy_direct", args).await;
    let bought = world.finish(bought).await.unwrap();
    assert_eq!(bought["purchase"]["delivery"], "delivered", "{bought}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The fee was taken and the price never came: that is told, with what was paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_fee_without_its_purchase_is_told() {
    let make = Make {
        patience: haggle::spend::Patience {
            follow: Duration::from_millis(800),
            unknown: Duration::from_millis(400),
        },
        ..Make::default()
    };
    let world = World::start_with(make).await;
    let args = purchase(&world, "manual").await;
    world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    world.fault("paegents", "/usage-agreements/*/accept", 0, json!("fail")).await;
    let id = agreement(&world).await;
    assert!(seller_says(&world, &id, "accept").await.is_success());
    enters(&world, "fee").await;
    let open = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    assert_eq!(open["money_moved"], "maybe", "{open}");
    world.advance(OPEN_SECONDS).await;
    let check = json!({ "purchase_id": open["purchase_id"] });
    world.call_raw("market_check_purchase", check).await;
    let told = world.call_raw("paegents_buy_direct", args.clone()).await;
    let told = told.structured_content.unwrap()["error"].clone();
    assert_eq!(
        (&told["code"], &told["money_moved"]),
        (&json!("paid_not_delivered"), &json!("yes"))
    );
    let purchase = world.journal().await[0].clone();
    assert_eq!(purchase.amount.unwrap().to_string(), "0.10");
    assert!(world.charges().await.is_empty());
}

/// A lost answer is found in the list of agreements, and nothing is proposed twice.
#[tokio::test]
async fn a_lost_proposal_is_found_in_the_list() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    world.fault("paegents", "/usage-agreements/", 0, json!("drop_after")).await;
    let done = world.call("paegents_buy_direct", args).await;
    let done = world.finish(done).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(sent(&world, "/usage-agreements/").await.len(), 2, "one is the test's own");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// A seller's wallet that is not the owner's payee takes nothing.
#[tokio::test]
async fn a_payee_that_is_not_the_seller_is_refused_and_over_in_time() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    name_payee(&world, "maker", &world.sandbox.info().paegents.seller.wallet).await;
    let error = world.call("paegents_buy_direct", args.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("payment_unknown"), &json!("maybe"))
    );
    world.advance(OPEN_SECONDS).await;
    let over = world.call("paegents_buy_direct", args).await.unwrap_err();
    assert_eq!((&over["code"], &over["money_moved"]), (&json!("expired"), &json!("no")), "{over}");
    assert!(world.charges().await.is_empty());
}

/// The owner stops spending while the last thing is read before it is sent: nothing leaves.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_stops_at_the_last_moment_is_not_sent() {
    let world = World::start().await;
    let args = purchase(&world, "auto").await;
    let before = sent(&world, "/usage-agreements/").await.len();
    // The balance; then the permit's nonce, right before the line that says "about to be sent".
    world.fault("chain", "eth_call", 1, json!({ "delay_ms": 6_000 })).await;
    let stops = async {
        world.fired().await;
        world.freeze(true).await;
    };
    let (answer, ()) = tokio::join!(world.call("paegents_buy_direct", args.clone()), stops);
    let error = answer.map(|done| panic!("{done}")).unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("frozen"), &json!("no")));
    assert_eq!(sent(&world, "/usage-agreements/").await.len(), before);
    world.freeze(false).await;
    let done = world.finish(world.call("paegents_buy_direct", args).await).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    world.audit().await;
}
