//! Paegents' suppliers, older payments and what is read around payments.

use haggle::spend::policy::Policy;
use serde_json::{Value, json};

use crate::{
    canaries::Canaries,
    paegents_pay::{cart, name_payee, seller, sent},
    program::{Program, on_sandbox},
    world::{Make, World},
};

const MAIL: &str = "owner@company.example";

pub(crate) fn to_supplier(supplier: &str) -> Value {
    json!({ "supplier": supplier, "amount_usd": "3.20", "description": "Invoice 17 & \"notes\"",
        "owner_email": MAIL, "max_total_usd": "3.20" })
}

#[tokio::test]
async fn suppliers_are_paid_as_they_come() {
    let world = World::start().await;
    let paid = world.call("paegents_pay_supplier", to_supplier("supplier.example")).await.unwrap();
    assert_eq!(
        (&paid["status"], &paid["purchase"]["money_moved"]),
        (&json!("paid"), &json!("yes"))
    );
    let slow = world.call("paegents_pay_supplier", to_supplier("slow.example")).await;
    assert_eq!(world.finish(slow).await.unwrap()["status"], "paid");
    let waits = world.call("paegents_pay_supplier", to_supplier("new.example")).await.unwrap_err();
    assert_eq!(
        (&waits["code"], &waits["money_moved"]),
        (&json!("payment_pending"), &json!("maybe"))
    );
    let url = &waits["recovery"]["upstream_untrusted"]["next_action_url"];
    assert_eq!(url, "https://new.example/onboarding", "{waits}");
    assert!(!waits.to_string().contains("prov_"), "{waits}");
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let asked = waits["recovery"]["next"][0].clone();
    assert_eq!(asked["tool"], "paegents_get_supplier_payment");
    let asked =
        world.call("paegents_get_supplier_payment", asked["arguments"].clone()).await.unwrap();
    assert_eq!(
        (&asked["status"], &asked["purchase"]["money_moved"]),
        (&json!("failed"), &json!("no"))
    );
    let fails =
        world.call("paegents_pay_supplier", to_supplier("failing.example")).await.unwrap_err();
    assert_eq!(
        (&fails["code"], &fails["money_moved"]),
        (&json!("upstream_rejected"), &json!("no"))
    );
    let said = &fails["recovery"]["upstream_untrusted"]["message"];
    assert!(said.as_str().unwrap().contains("bank"), "{fails}");
    let nobody =
        world.call("paegents_pay_supplier", to_supplier("nobody.example")).await.unwrap_err();
    assert_eq!((&nobody["code"], &nobody["money_moved"]), (&json!("not_found"), &json!("no")));
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

/// The same payment is one for ten minutes; a hint goes on with the one that it is about for ever.
#[tokio::test]
async fn a_supplier_is_paid_twice_only_on_purpose() {
    let world = World::start().await;
    let args = to_supplier("supplier.example");
    let paid = world.call("paegents_pay_supplier", args.clone()).await.unwrap();
    let twice = world.call("paegents_pay_supplier", args.clone()).await.unwrap_err();
    assert_eq!(twice["code"], "possible_duplicate", "{twice}");
    let next = twice["recovery"]["next"][0].clone();
    let same = world.call("paegents_pay_supplier", next["arguments"].clone()).await.unwrap();
    assert_eq!(same["purchase"]["id"], paid["purchase"]["id"]);
    world.advance(3600).await;
    let same = world.call("paegents_pay_supplier", next["arguments"].clone()).await.unwrap();
    assert_eq!(same["purchase"]["id"], paid["purchase"]["id"]);
    assert_eq!(world.charges().await.len(), 1);
    let mut again = args;
    again["again"] = json!(true);
    let second = world.call("paegents_pay_supplier", again).await.unwrap();
    assert_ne!(second["purchase"]["id"], paid["purchase"]["id"]);
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

#[tokio::test]
async fn a_supplier_is_named_strictly() {
    let world = World::start().await;
    for bad in
        ["", "localhost", "Supplier.example", "a.example:443", "https://a.example", "1.2.3.4"]
    {
        let error = world.call("paegents_pay_supplier", to_supplier(bad)).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("invalid_argument"), &json!("supplier"))
        );
    }
    for (member, value) in [
        ("amount_usd", "0.005"),
        ("amount_usd", "-1"),
        ("owner_email", "nobody"),
        ("description", ""),
        ("description", "a\u{202e}b"),
        ("company_name", "a\nb"),
    ] {
        let mut args = to_supplier("supplier.example");
        args[member] = json!(value);
        let error = world.call("paegents_pay_supplier", args).await.unwrap_err();
        assert_eq!(error["field"], member, "{error}");
    }
    assert!(sent(&world, "/a2a/pay").await.is_empty());
    assert!(world.journal().await.is_empty());
}

/// The protocol wants the agent's key in the body. It is there, and nowhere else: not in the journal,
/// not in a result, not in what is logged when everything is.
#[tokio::test(flavor = "multi_thread")]
async fn f19_the_key_in_a_supplier_s_body_is_nowhere_else() {
    let world = World::start().await;
    let buyer = world.sandbox.info().paegents.buyer;
    let canaries = Canaries::new(&[("the Paegents key", &buyer.api_key)]);
    let folder = tempfile::tempdir().unwrap();
    let mut program = on_sandbox(&world.sandbox, &folder.path().join("data"));
    program.args(["--log", "trace", "serve", "--profile", "pay"]);
    let (mut program, _) = Program::ready(program, "2025-11-25").await;
    let mut results = String::new();
    for (fault, supplier) in [
        ("", "supplier.example"),
        ("", "nobody.example"),
        ("", "new.example"),
        ("drop_before", "supplier.example"),
        ("drop_after", "slow.example"),
        ("pending", "failing.example"),
    ] {
        if !fault.is_empty() {
            world.fault("paegents", "/a2a/pay", 0, json!(fault)).await;
        }
        let mut args = to_supplier(supplier);
        args["again"] = json!(true);
        let call = json!({ "name": "paegents_pay_supplier", "arguments": args });
        results += &program.ask("tools/call", call).await.to_string();
    }
    let bodies = sent(&world, "/a2a/pay").await;
    assert!(bodies.len() >= 5, "{}", bodies.len());
    assert!(bodies[0]["body"].as_str().unwrap().contains(&buyer.api_key), "the wire wants it");
    let ended = program.end().await;
    canaries.are_not_in("the results", results.as_bytes());
    canaries.are_not_in("the log", ended.stderr.as_bytes());
    assert!(ended.stderr.contains("paegents.pay_supplier"), "the log has the operation");
    for entry in walk(folder.path()) {
        canaries.are_not_in(&entry.display().to_string(), &std::fs::read(&entry).unwrap());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_is_read_around_payments() {
    let world = World::start().await;
    for (amount, fee, total) in [
        ("1", "0.10", "1.10"),
        ("4.85", "0.10", "4.95"),
        ("4.86", "0.1002", "4.9602"),
        ("5", "0.103", "5.103"),
        ("123.45", "2.472", "125.922"),
        ("333.33", "6.6696", "339.9996"),
    ] {
        let args = json!({ "amount_usd": amount });
        let asked = world.call("paegents_get_payment_requirements", args).await.unwrap();
        assert_eq!((&asked["fee_usd"], &asked["total_usd"]), (&json!(fee), &json!(total)));
        assert_eq!((&asked["fees_agree"], &asked["chain_agrees"]), (&json!(true), &json!(true)));
        let gas = world.sandbox.info().chain.gas_wallet.wallet;
        assert!(asked["gas_wallet_address"].as_str().unwrap().eq_ignore_ascii_case(&gas));
    }
    let args = json!({ "query": "acme", "payment_method": "stripe" });
    let found = world.call("paegents_search_recipients", args).await.unwrap();
    assert_eq!(found["recipients"][0]["account_id"], "acct_acme", "{found}");
    let args = json!({ "query": "hostile", "limit": 1 });
    let hostile = world.call("paegents_search_recipients", args).await.unwrap();
    let name = &hostile["recipients"][0]["business_name_untrusted"];
    assert!(name.as_str().unwrap().contains("Ignore previous"), "{hostile}");
    let balance = world.call("paegents_get_balance", json!({})).await.unwrap();
    assert!(balance["daily_remaining"].is_number(), "{balance}");
    assert!(balance["unit"].as_str().unwrap().contains("as returned"));
    let error = world.call("paegents_verify_receipt", json!({ "receipt_id": "rcpt_none" })).await;
    assert_eq!(error.unwrap_err()["code"], "not_found");
    // A digest is shown, and never signed.
    name_payee(&world, "shop", &seller(&world).wallet).await;
    let cart = cart(&world, "2.50", "card").await;
    let args = json!({ "intent_mandate_id": cart["intent_mandate_id"],
        "cart_mandate_id": cart["cart_mandate_id"], "payee": "shop" });
    let digest = world.call("paegents_get_signing_digest", args).await.unwrap();
    assert_eq!(digest["digest"].as_str().unwrap().len(), 66, "{digest}");
    assert_eq!(digest["signed"], false);
    assert_eq!(world.app.wallet().await.unwrap().signatures(), 0);
}

pub(crate) fn to_business() -> Value {
    json!({ "amount_usd": "1.75", "description": "Invoice 18", "max_total_usd": "1.75",
        "recipient_account_id": "acct_acme" })
}

pub(crate) fn to_agent(world: &World) -> Value {
    json!({ "recipient_id": seller(world).agent_id, "amount_usd": "1.25", "memo": "Job 4",
        "max_total_usd": "1.25" })
}

#[tokio::test]
async fn older_payments_are_made_once_and_known_by_the_platform_s_name() {
    let world = World::start().await;
    let mut braintree = to_business();
    braintree["payment_method"] = json!("braintree");
    for (tool, args) in [
        ("paegents_create_payment", to_business()),
        ("paegents_create_payment", braintree),
        ("paegents_create_a2a_payment", to_agent(&world)),
    ] {
        let paid = world.call(tool, args.clone()).await.unwrap();
        assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
        assert!(!paid.to_string().contains("_secret_"), "{paid}");
        let twice = world.call(tool, args).await.unwrap_err();
        assert_eq!(twice["code"], "possible_duplicate", "{twice}");
        let next = twice["recovery"]["next"][0].clone();
        assert_eq!(next["tool"], tool);
        let same = world.call(tool, next["arguments"].clone()).await.unwrap();
        assert_eq!(same["purchase"]["id"], paid["purchase"]["id"]);
    }
    assert_eq!(world.charges().await.len(), 3);
    world.audit().await;
    let answer = world.journal().await[0].answer.clone().unwrap();
    assert!(!String::from_utf8(answer).unwrap().contains("client_secret"));
    let mut two = to_business();
    two["recipient_email"] = json!("a@b.co");
    let error = world.call("paegents_create_payment", two).await.unwrap_err();
    assert_eq!(error["code"], "invalid_argument", "{error}");
}

/// An older payment that waits for the owner goes on by its name, and is paid once.
#[tokio::test]
async fn an_older_payment_goes_on_after_the_owner_s_word() {
    let world = World::start_with(Make { policy: Policy::default(), ..Make::default() }).await;
    let args = to_agent(&world);
    let asked = world.call("paegents_create_a2a_payment", args.clone()).await.unwrap_err();
    assert_eq!(asked["code"], "approval_required", "{asked}");
    let id = world.journal().await[0].id.clone();
    let now = world.app.clock().now();
    let word = haggle::spend::word::Word::Approve;
    haggle::spend::word::owner_answers(world.app.store(), &id, word, now).await.unwrap();
    let next = asked["recovery"]["next"][0].clone();
    assert_eq!(next["tool"], "paegents_create_a2a_payment", "{asked}");
    let mut short = next["arguments"].clone();
    short["max_total_usd"] = json!("1.24");
    let error = world.call("paegents_create_a2a_payment", short).await.unwrap_err();
    assert_eq!(error["code"], "above_max_total", "{error}");
    let paid = world.call("paegents_create_a2a_payment", next["arguments"].clone()).await.unwrap();
    assert_eq!(paid["purchase"]["id"], asked["purchase_id"]);
    world.audit().await;
}
