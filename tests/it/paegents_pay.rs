//! Paegents' mandates: a cart is paid once, for at most what was allowed, to whom it should go, whatever
//! is lost.

use futures::future::join_all;
use haggle::{
    journal::State,
    sandbox::AgentInfo,
    spend::{policy::Policy, word::owner_says},
    store::payees,
};
use serde_json::{Value, json};

use crate::world::{Make, World};

/// How long after a lost answer it is asked again, and a second more.
const HORIZON_SECONDS: i64 = 121;
/// How long an authorization holds, and what is waited after it, and a second more.
const AUTHORIZED_SECONDS: i64 = 3600 + 61;
const HOURS: i64 = 3600;

/// A policy that leaves room for what Paegents asks its own owner about.
pub(crate) fn generous() -> Make {
    let usd = |text: &str| text.parse().unwrap();
    let policy = Policy {
        ask_above_usd: usd("200"),
        purchase_max_usd: usd("200"),
        day_max_usd: usd("1000"),
        ..Policy::sandbox()
    };
    Make { policy, ..Make::default() }
}

/// The arguments that pay a fresh cart of this total.
pub(crate) async fn cart(world: &World, total: &str, rail: &str) -> Value {
    let intent = json!({ "max_amount_usd": total });
    let intent = world.call("paegents_create_intent_mandate", intent).await.unwrap();
    let id = &intent["intent_mandate_id"];
    let asked = json!({ "intent_mandate_id": id, "total_usd": total });
    let cart = world.call("paegents_create_cart_mandate", asked).await.unwrap();
    let mut args = json!({ "intent_mandate_id": id, "cart_mandate_id": cart["cart_mandate_id"],
        "rail": rail, "amount_usd": total, "max_total_usd": total });
    if rail == "stablecoin" {
        args["payee"] = json!("shop");
    }
    args
}

/// Gives one of the owner's names to an address.
pub(crate) async fn name_payee(world: &World, name: &'static str, address: &str) {
    let address = address.parse().unwrap();
    let put = move |db: &_| payees::put(db, name, address, 84_532);
    world.app.store().transact(move |db| put(db)).await.unwrap();
}

pub(crate) fn seller(world: &World) -> AgentInfo {
    world.sandbox.info().paegents.seller
}

/// The requests that ended so, in order.
pub(crate) async fn sent(world: &World, end: &str) -> Vec<Value> {
    let requests = world.requests().await;
    let is_it = |request: &Value| {
        request["marketplace"] == "paegents" && request["path"].as_str().unwrap().ends_with(end)
    };
    requests.into_iter().filter(is_it).collect()
}

/// What the platform's owner says to the newest request for approval.
async fn decide(world: &World, word: &str) -> String {
    let info = world.sandbox.info().paegents;
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let at = format!("{}/agents/{}/approvals", info.api_url, info.buyer.agent_id);
    let list = http.get(&at).bearer_auth(&info.owner_jwt).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let id = list["approvals"][0]["id"].as_str().unwrap().to_owned();
    let said = http.post(format!("{at}/{id}/{word}")).bearer_auth(&info.owner_jwt).send().await;
    assert!(said.unwrap().status().is_success());
    id
}

/// The owner's word on the newest purchase.
async fn owner_word(world: &World, paid: bool) {
    let id = world.journal().await.last().unwrap().id.clone();
    let now = world.app.clock().now();
    owner_says(world.app.store(), &id, paid, now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_paid_once() {
    let world = World::start().await;
    let beside = world.beside().await;
    let args = cart(&world, "2.50", "card").await;
    let twins = (0..6).map(|n| {
        let world = if n % 2 == 0 { &world } else { &beside };
        world.call("paegents_pay_mandate", args.clone())
    });
    let paid: Vec<_> = join_all(twins).await.into_iter().map(Result::unwrap).collect();
    let id = &paid[0]["purchase"]["id"];
    assert!(paid.iter().all(|paid| paid["purchase"]["id"] == *id), "{paid:?}");
    assert_eq!(paid[0]["charged_usd"], "2.50", "{}", paid[0]);
    assert!(paid[0].get("amount_differs").is_none(), "{}", paid[0]);
    assert_eq!(paid[0]["purchase"]["delivery"], "delivered");
    let world = world.restart().await;
    let again = world.call("paegents_pay_mandate", args).await.unwrap();
    assert_eq!(again["purchase"]["id"], *id);
    assert_eq!(sent(&world, "/ap2/pay").await.len(), 1);
    assert_eq!(again["next"][0]["tool"], "paegents_verify_receipt", "{again}");
    let receipt = world.call("paegents_verify_receipt", again["next"][0]["arguments"].clone());
    assert_eq!(receipt.await.unwrap()["valid"], true);
    world.audit().await;
}

/// Asked twice is one; a second one is made on purpose.
#[tokio::test]
async fn a_mandate_is_made_once() {
    let world = World::start().await;
    let intent = json!({ "max_amount_usd": "5", "expires_at": "2099-01-01T00:00:00Z",
        "constraints": { "merchant": "acme" } });
    let made = |args: Value| async {
        let made = world.call("paegents_create_intent_mandate", args).await.unwrap();
        made["intent_mandate_id"].as_str().unwrap().to_owned()
    };
    let first = made(intent.clone()).await;
    assert_eq!(made(intent.clone()).await, first);
    let mut second = intent.clone();
    second["again"] = json!(true);
    let second = made(second).await;
    assert_ne!(second, first);
    assert_eq!(made(intent.clone()).await, second, "the same is now the newest one");
    world.advance(601).await;
    assert_ne!(made(intent).await, second);
    // A lost answer says what it is, and the same call finds what was made.
    world.fault("paegents", "/ap2/mandates/cart", 0, json!("drop_after")).await;
    let cart =
        json!({ "intent_mandate_id": first, "total_usd": "1.25", "items": [{ "name": "x" }] });
    let lost = world.call("paegents_create_cart_mandate", cart.clone()).await.unwrap_err();
    assert_eq!(lost["money_moved"], "no", "{lost}");
    assert_eq!(lost["recovery"]["next"][0]["tool"], "paegents_create_cart_mandate", "{lost}");
    let found = world.call("paegents_create_cart_mandate", cart).await.unwrap();
    let keys = sent(&world, "/ap2/mandates/cart").await;
    assert_eq!(keys[0]["headers"]["idempotency-key"], keys[1]["headers"]["idempotency-key"]);
    assert_eq!(found["next"][0]["tool"], "paegents_pay_mandate");
    world.call("paegents_pay_mandate", found["next"][0]["arguments"].clone()).await.unwrap();
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_not_sent() {
    let world = World::start().await;
    let good = cart(&world, "2.50", "card").await;
    let other =
        world.call("paegents_create_intent_mandate", json!({ "max_amount_usd": "9" })).await;
    let other = other.unwrap()["intent_mandate_id"].clone();
    let before = world.requests().await.len();
    #[rustfmt::skip]
    let rows = [
        // what it shows           member               value                 code                field
        ("another amount",         "amount_usd",        json!("2.49"),        "invalid_argument", "amount_usd"),
        ("a fraction of a cent",   "amount_usd",        json!("2.505"),       "invalid_argument", "amount_usd"),
        ("nothing",                "amount_usd",        json!("0"),           "invalid_argument", "amount_usd"),
        ("less than it costs",     "max_total_usd",     json!("2.49"),        "above_max_total",  "max_total_usd"),
        ("a cart from elsewhere",  "cart_mandate_id",   json!("cm_other"),    "not_found",        "cart_mandate_id"),
        ("another intent",         "intent_mandate_id", other,                "invalid_argument", "intent_mandate_id"),
        ("a payee for a card",     "payee",             json!("shop"),        "invalid_argument", "payee"),
        ("no payee for a coin",    "rail",              json!("stablecoin"),  "invalid_argument", "payee"),
        ("another rail",           "rail",              json!("cash"),        "invalid_argument", "rail"),
        ("an address",             "payee_address",     json!("0x1"),         "invalid_argument", "payee_address"),
    ];
    for (row, member, value, code, field) in rows {
        let mut args = good.clone();
        args[member] = value;
        let error = world.call("paegents_pay_mandate", args).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!(code), &json!(field)),
            "{row}: {error}"
        );
        assert_eq!(error["money_moved"], "no", "{row}");
    }
    let mut coin = good;
    coin["rail"] = json!("stablecoin");
    coin["payee"] = json!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    let error = world.call("paegents_pay_mandate", coin).await.unwrap_err();
    assert_eq!(error["code"], "payee_not_allowed", "{error}");
    assert_eq!(sent(&world, "/ap2/pay").await.len(), 0);
    assert!(world.journal().await.is_empty());
    assert!(world.requests().await.len() <= before + 2, "only the chain was asked for its name");
}

/// A coin goes to the owner's payee, by an authorization that the journal can make again.
#[tokio::test]
async fn a_cart_is_paid_in_usdc_to_the_owner_s_payee() {
    let world = World::start().await;
    name_payee(&world, "shop", &seller(&world).wallet).await;
    let args = cart(&world, "2.50", "stablecoin").await;
    let paid = world.call("paegents_pay_mandate", args.clone()).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    let ledger = world.admin("GET", "/ledger", None).await;
    let charge = ledger["entries"].as_array().unwrap().iter().find(|e| e["kind"] == "charge");
    let same = |a: &Value, b: &str| a.as_str().unwrap().eq_ignore_ascii_case(b);
    assert!(same(&charge.unwrap()["payee"], &seller(&world).wallet), "{ledger}");
    // The journal has no signature.
    let journal = world.journal().await;
    let text = journal[0].instrument.as_ref().unwrap().to_string();
    assert!(text.contains("<payment_header>") && !text.contains("signature"), "{text}");
    world.call("paegents_pay_mandate", args).await.unwrap();
    assert_eq!(sent(&world, "/ap2/pay").await.len(), 1);
    world.audit().await;
    // Too little is told before anything is signed.
    let args = cart(&world, "3", "stablecoin").await;
    world.balance(&json!({ "usdc": "2.99" })).await;
    let signed = world.app.wallet().await.unwrap().signatures();
    let error = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!(error["code"], "insufficient_funds", "{error}");
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed);
    world.balance(&json!({ "usdc": "3" })).await;
    world.call("paegents_pay_mandate", args).await.unwrap();
    world.audit().await;
}

/// A payee that means another address by the time it is paid is not paid.
#[tokio::test]
async fn a_payee_that_changed_since_the_approval_is_not_paid() {
    let make = Make { policy: Policy::default(), ..Make::default() };
    let world = World::start_with(make).await;
    name_payee(&world, "shop", &seller(&world).wallet).await;
    let args = cart(&world, "2.50", "stablecoin").await;
    let asked = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!(asked["code"], "approval_required", "{asked}");
    assert!(asked["message"].as_str().unwrap().contains(&seller(&world).wallet), "{asked}");
    let id = world.journal().await[0].id.clone();
    let now = world.app.clock().now();
    let word = haggle::spend::word::Word::Approve;
    haggle::spend::word::owner_answers(world.app.store(), &id, word, now).await.unwrap();
    name_payee(&world, "shop", &world.sandbox.info().chain.gas_wallet.wallet).await;
    let signed = world.app.wallet().await.unwrap().signatures();
    let error = world.call("paegents_pay_mandate", args).await.unwrap_err();
    // Another body is another purchase: it has to be approved anew.
    assert_eq!(error["code"], "approval_required", "{error}");
    assert_ne!(error["purchase_id"], asked["purchase_id"]);
    assert_eq!(world.app.wallet().await.unwrap().signatures(), signed);
    assert_eq!(sent(&world, "/ap2/pay").await.len(), 0);
}

/// Paegents' own owner is asked: the purchase waits, and goes out again as it was.
#[tokio::test]
async fn a_cart_that_the_platform_s_owner_approves_is_paid_by_the_same_request() {
    for rail in ["card", "stablecoin"] {
        let world = World::start_with(generous()).await;
        name_payee(&world, "shop", &seller(&world).wallet).await;
        let args = cart(&world, "25", rail).await;
        let waits = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
        assert_eq!(waits["code"], "approval_required", "{waits}");
        assert_eq!(waits["money_moved"], "maybe", "{waits}");
        assert_eq!(waits["recovery"]["next_action"], "ask_owner");
        let next = waits["recovery"]["next"][0].clone();
        assert_eq!(next["tool"], "paegents_pay_mandate", "{waits}");
        // Asked too early, also by another process: the same request, no second one.
        let world = world.restart().await;
        for _ in 0..2 {
            let again = world.call("paegents_pay_mandate", next["arguments"].clone()).await;
            assert_eq!(again.unwrap_err()["code"], "approval_required");
        }
        let check = json!({ "purchase_id": waits["purchase_id"] });
        let checked = world.call("market_check_purchase", check).await.unwrap();
        assert_eq!(checked["purchase"]["money_moved"], "maybe");
        let request = decide(&world, "approve").await;
        assert!(waits["message"].as_str().unwrap().contains(&request), "{waits}");
        let paid = world.call("paegents_pay_mandate", next["arguments"].clone()).await.unwrap();
        assert_eq!(paid["purchase"]["id"], waits["purchase_id"]);
        assert_eq!(paid["purchase"]["money_moved"], "yes");
        let out = sent(&world, "/ap2/pay").await;
        assert_eq!(out.len(), 4);
        assert!(out.iter().all(|one| one["body"] == out[0]["body"]), "byte for byte");
        let key = |one: &Value| one["headers"]["idempotency-key"].clone();
        assert!(out.iter().all(|one| key(one) == key(&out[0])));
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

#[tokio::test]
async fn a_cart_that_the_platform_s_owner_rejects_is_dead() {
    let world = World::start_with(generous()).await;
    let args = cart(&world, "25", "card").await;
    world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    decide(&world, "reject?reason=no").await;
    let error = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("policy_denied"), &json!("no")));
    assert_eq!(error["http_status"], 403);
    let said = error["recovery"]["upstream_untrusted"]["message"].as_str().unwrap();
    assert!(said.contains("rejected"), "{error}");
    assert!(!error["message"].as_str().unwrap().contains("rejected request"), "{error}");
    assert_eq!(world.journal().await[0].state, State::Failed);
    assert!(world.charges().await.is_empty());
    // It is asked about anew, under another key.
    let anew = world.call("paegents_pay_mandate", args).await.unwrap_err();
    assert_eq!(anew["code"], "approval_required", "{anew}");
    let out = sent(&world, "/ap2/pay").await;
    assert_ne!(out[0]["headers"]["idempotency-key"], out[2]["headers"]["idempotency-key"]);
}

/// The reference client leaves the key out: then each try is a charge. Here there is one key a
/// purchase, and a lost answer is asked about by the same bytes, once.
#[tokio::test]
async fn f16_a_lost_cart_is_asked_about_once_under_its_key() {
    let world = World::start().await;
    let args = cart(&world, "2.50", "card").await;
    world.fault("paegents", "/ap2/pay", 0, json!("drop_after")).await;
    let lost = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!((&lost["code"], &lost["money_moved"]), (&json!("payment_unknown"), &json!("maybe")));
    let told = lost["recovery"]["retry_after_seconds"].as_i64().unwrap();
    assert!((60..=125).contains(&told), "{lost}");
    let world = world.restart().await;
    for _ in 0..2 {
        let error = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
        assert_eq!(error["code"], "payment_unknown");
        assert_eq!(sent(&world, "/ap2/pay").await.len(), 1, "asked too early");
    }
    world.advance(HORIZON_SECONDS).await;
    let paid = world.call("paegents_pay_mandate", args).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    let out = sent(&world, "/ap2/pay").await;
    assert_eq!(out.len(), 2);
    assert_eq!(out[0]["body"], out[1]["body"], "byte for byte");
    assert_eq!(out[0]["headers"]["idempotency-key"], out[1]["headers"]["idempotency-key"]);
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// The question's answer is lost as well, or it comes too late: only the owner can tell.
#[tokio::test]
async fn a_cart_that_nobody_can_tell_about_ends_by_the_owner_s_word() {
    for (first, second, late, paid) in [
        ("drop_before", "drop_before", HORIZON_SECONDS, false),
        ("drop_before", "drop_after", HORIZON_SECONDS, true),
        ("drop_after", "drop_before", HORIZON_SECONDS, true),
        ("drop_after", "", 20 * HOURS + 1, true),
        ("drop_before", "", 20 * HOURS + 1, false),
    ] {
        let world = World::start().await;
        let args = cart(&world, "2.50", "card").await;
        world.fault("paegents", "/ap2/pay", 0, json!(first)).await;
        world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
        if !second.is_empty() {
            world.fault("paegents", "/ap2/pay", 0, json!(second)).await;
        }
        world.advance(late).await;
        for _ in 0..2 {
            let error = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
            assert_eq!(error["code"], "payment_unknown", "{first} {second}: {error}");
            assert_eq!(error["recovery"]["next_action"], "ask_owner", "{first} {second}: {error}");
            assert_eq!(error["recovery"]["retryable"], false);
            let summary = error["recovery"]["summary"].as_str().unwrap();
            assert!(summary.contains("haggle purchases resolve"), "{error}");
            world.advance(HORIZON_SECONDS).await;
        }
        let expected = 1 + usize::from(!second.is_empty());
        assert_eq!(sent(&world, "/ap2/pay").await.len(), expected, "{first} {second}");
        assert_eq!(world.charges().await.len(), usize::from(paid));
        owner_word(&world, paid).await;
        if paid {
            let done = world.call("paegents_pay_mandate", args).await.unwrap();
            assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
        } else {
            let error = world.call("paegents_pay_mandate", args.clone()).await;
            assert_eq!(error.unwrap()["purchase"]["money_moved"], "yes", "a new purchase");
        }
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

/// What is paid in USDC is known by the chain.
#[tokio::test]
async fn a_lost_payment_in_usdc_is_found_on_the_chain() {
    for (fault, paid) in [("drop_after", true), ("drop_before", false)] {
        let world = World::start().await;
        name_payee(&world, "shop", &seller(&world).wallet).await;
        let args = cart(&world, "2.50", "stablecoin").await;
        world.fault("paegents", "/ap2/pay", 0, json!(fault)).await;
        let first = world.call("paegents_pay_mandate", args.clone()).await;
        if paid {
            // Found without another request.
            assert_eq!(first.unwrap()["purchase"]["money_moved"], "yes");
            assert_eq!(sent(&world, "/ap2/pay").await.len(), 1);
        } else {
            assert_eq!(first.unwrap_err()["code"], "payment_unknown");
            world.advance(AUTHORIZED_SECONDS).await;
            let check = json!({ "purchase_id": world.journal().await[0].id });
            let over = world.call("market_check_purchase", check).await.unwrap();
            assert_eq!(over["purchase"]["state"], "failed", "{over}");
            assert!(over["failure"].as_str().unwrap().starts_with("expired: "), "{over}");
            world.call("paegents_pay_mandate", args).await.unwrap();
        }
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

/// A refusal proves nothing about a signature that is out.
#[tokio::test]
async fn a_refused_payment_in_usdc_is_dead_when_its_authorization_is_over() {
    let world = World::start().await;
    name_payee(&world, "shop", &seller(&world).wallet).await;
    let args = cart(&world, "2.50", "stablecoin").await;
    let refusal = json!({ "status": 400, "body": { "detail": "no" } });
    world.fault("paegents", "/ap2/pay", 0, refusal).await;
    let error = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("payment_unknown"), &json!("maybe"))
    );
    world.advance(AUTHORIZED_SECONDS).await;
    let over = world.call("paegents_pay_mandate", args.clone()).await.unwrap_err();
    assert_eq!((&over["code"], &over["money_moved"]), (&json!("expired"), &json!("no")), "{over}");
    assert_eq!(over["recovery"]["next"][0]["tool"], "paegents_pay_mandate");
    world.finish(Err(over)).await.unwrap();
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
