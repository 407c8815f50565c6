//! Funding an escrow from an allowance: exactly the deposit, once, whatever becomes of its
//! transaction.

use std::time::Duration;

use haggle::journal::actions::{self, Kind, Stage};
use serde_json::{Value, json};

use crate::{
    paegents_escrow::{accepted, allowance},
    paegents_settle::funded,
    world::World,
};

const TOOL: &str = "paegents_activate_escrow";
/// The deposit of 100 units of the service that is used here, in micro-units.
const DEPOSIT: u64 = 2_000_000;

fn args(id: &str) -> Value {
    json!({ "agreement_id": id, "max_total_usd": "3", "allowance": true })
}

/// What the wallet has allowed the escrow contract, by the transactions that reached the node.
async fn approved(world: &World) -> Vec<u64> {
    let requests = world.requests().await;
    let mut raw: Vec<String> = Vec::new();
    for request in &requests {
        let body: Value =
            serde_json::from_str(request["body"].as_str().unwrap_or_default()).unwrap_or_default();
        if body["method"] == "eth_sendRawTransaction" {
            raw.push(body["params"][0].as_str().unwrap().to_owned());
        }
    }
    raw.sort();
    raw.dedup();
    // `approve(address,uint256)`: the selector, the spender, the amount.
    let amount = |raw: &String| {
        let at = raw.find("095ea7b3").unwrap_or_else(|| panic!("no approval: {raw}"));
        u64::from_str_radix(&raw[at + 8 + 64 + 48..at + 8 + 128], 16).unwrap()
    };
    raw.iter().map(amount).collect()
}

/// Gives the escrow contract an allowance past the server under test.
async fn allow(world: &World, micros: u64) {
    use haggle::spend::actions::OwnCall;
    use haggle::wallet::call::{Act, Approved, CallBounds};
    let info = world.sandbox.info().chain;
    let amount = haggle::money::Usdc::from_micros(micros);
    let escrow = info.escrow.parse().unwrap();
    let call = OwnCall {
        principal: "local",
        agreement_id: "agr_before",
        kind: Kind::Approve,
        act: Act::Approve { token: info.usdc.parse().unwrap(), spender: escrow, amount },
        bounds: CallBounds {
            chain_id: info.chain_id,
            escrow,
            approved: Approved::Allowance(amount),
        },
    };
    world.app.spending().send_own(&world.app, call).await.unwrap();
    for _ in 0..1_200 {
        if allowance(world).await == micros {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the allowance was not given");
}

async fn stage(world: &World, id: &str) -> Option<Stage> {
    let id = id.to_owned();
    let latest = move |db: &mut _| actions::latest(db, "local", &id, Kind::Approve);
    world.app.store().with(latest).await.unwrap().map(|action| action.stage)
}

/// The escrow is paid once, and nothing more can be taken.
async fn paid(world: &World, done: &Value) {
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    assert_eq!(done["purchase"]["amount_usd"], "2.10", "{done}");
    assert_eq!(world.charges().await.len(), 1);
    assert_eq!(allowance(world).await, 0);
    world.audit().await;
}

/// Nothing else of the request shows that it was funded so.
async fn funding(world: &World) -> Value {
    let requests = world.requests().await;
    let is_it = |r: &&Value| r["path"].as_str().unwrap().ends_with("/activate-escrow");
    let body = requests.iter().find(is_it).unwrap()["body"].as_str().unwrap().to_owned();
    serde_json::from_str::<Value>(&body).unwrap()["funding_authorization"].clone()
}

#[tokio::test]
async fn without_an_allowance_exactly_the_deposit_is_allowed_first() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let done = world.call(TOOL, args(&id)).await.unwrap();
    paid(&world, &done).await;
    assert_eq!(approved(&world).await, [DEPOSIT]);
    let funding = funding(&world).await;
    assert_eq!(
        (&funding["mode"], &funding["amount"]),
        (&json!("prior_allowance"), &json!(DEPOSIT))
    );
    assert_eq!((&funding["deadline"], &funding["permit_data"]), (&json!(0), &Value::Null));
    // What the owner agrees to says so.
    let body: Value = serde_json::from_slice(&world.journal().await[0].body).unwrap();
    let escrow = world.sandbox.info().chain.escrow;
    let described = body["described"].as_str().unwrap();
    assert!(described.contains("allowance") && described.contains(&escrow), "{described}");
}

#[tokio::test]
async fn an_allowance_that_is_too_small_is_made_exactly_large_enough() {
    for before in [1, DEPOSIT - 1] {
        let world = World::start().await;
        allow(&world, before).await;
        let id = accepted(&world, "auto", 100).await;
        let done = world.call(TOOL, args(&id)).await.unwrap();
        paid(&world, &done).await;
        let mut expected = vec![before, DEPOSIT];
        expected.sort_unstable();
        let mut given = approved(&world).await;
        given.sort_unstable();
        assert_eq!(given, expected);
    }
}

#[tokio::test]
async fn an_allowance_that_is_enough_is_used_as_it_is() {
    let world = World::start().await;
    allow(&world, DEPOSIT).await;
    let id = accepted(&world, "auto", 100).await;
    let done = world.call(TOOL, args(&id)).await.unwrap();
    paid(&world, &done).await;
    assert_eq!(approved(&world).await, [DEPOSIT], "one that was given before");
}

/// Where the platform takes nothing else, it is said what is missing; nothing is allowed unasked.
#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_allowed() {
    let world = World::start().await;
    allow(&world, 1_500_000).await;
    let id = accepted(&world, "auto", 100).await;
    let only = json!({ "marketplace": "paegents", "path": "*/activation-package", "times": 20,
        "action": { "swap_terms": { "mode_options": ["prior_allowance"] } } });
    world.admin("POST", "/faults", Some(only)).await;
    let unasked = json!({ "agreement_id": id, "max_total_usd": "3" });
    let error = world.call(TOOL, unasked).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("wrong_state"), &json!("no")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("1.50 USD") && message.contains("2 USD"), "{message}");
    let summary = error["recovery"]["summary"].as_str().unwrap();
    assert!(summary.contains("exactly 2 USD"), "{summary}");
    assert_eq!(approved(&world).await, [1_500_000]);
    assert!(world.journal().await.is_empty(), "the owner is asked about nothing");
    let next = &error["recovery"]["next"][0]["arguments"];
    assert_eq!(next["allowance"], true, "{error}");
    let done = world.next_of(&error).await.unwrap();
    paid(&world, &done).await;
}

/// An allowance that somebody uses up right before it is needed is not given again unasked.
#[tokio::test]
async fn an_allowance_that_is_gone_is_not_given_unasked() {
    let world = World::start().await;
    allow(&world, DEPOSIT).await;
    let id = accepted(&world, "auto", 100).await;
    let only = json!({ "marketplace": "paegents", "path": "*/activation-package", "times": 20,
        "action": { "swap_terms": { "mode_options": ["prior_allowance"] } } });
    world.admin("POST", "/faults", Some(only)).await;
    // Allowance; balance, allowance, nonce; and the allowance once more before it is relied on.
    let none = json!({ "swap_terms": { "result": format!("0x{}", "00".repeat(32)) } });
    world.fault("chain", "eth_call", 4, none).await;
    let unasked = json!({ "agreement_id": id, "max_total_usd": "3" });
    let error = world.call(TOOL, unasked.clone()).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("wrong_state"), &json!("no")),
        "{error}"
    );
    assert_eq!(approved(&world).await, [DEPOSIT], "the one from before");
    // It was there after all.
    let done = world.call(TOOL, unasked).await.unwrap();
    paid(&world, &done).await;
}

/// The node loses it, or hides it: the same bytes go out again, and it is allowed once.
#[tokio::test]
async fn a_lost_allowance_is_sent_again_the_same() {
    for action in [json!("drop_before"), json!("drop_after")] {
        let world = World::start().await;
        let id = accepted(&world, "auto", 100).await;
        world.fault("chain", "eth_sendRawTransaction", 0, action).await;
        let done = world.call(TOOL, args(&id)).await.unwrap();
        paid(&world, &done).await;
        assert_eq!(approved(&world).await, [DEPOSIT]);
    }
}

/// While it is in no block, nothing is paid and nothing else is allowed; afterwards it goes on.
#[tokio::test]
async fn an_allowance_that_is_stuck_holds_the_payment_back() {
    let world = World::start().await;
    let other = funded(&world, "auto", 50).await;
    let id = accepted(&world, "auto", 100).await;
    let none = json!({ "marketplace": "chain", "path": "eth_getTransactionReceipt", "times": 500,
        "action": { "swap_terms": { "result": null } } });
    world.admin("POST", "/faults", Some(none)).await;
    let error = world.call(TOOL, args(&id)).await.unwrap_err();
    assert_eq!((&error["code"], &error["money_moved"]), (&json!("payment_pending"), &json!("no")));
    assert_eq!(error["recovery"]["next"][0]["tool"], TOOL, "{error}");
    assert_eq!(stage(&world, &id).await, Some(Stage::Submitted));
    // Nor is anything else sent from the wallet: its counts are given out one by one.
    let close = json!({ "agreement_id": other, "way": "direct" });
    let busy = world.call("paegents_close_escrow", close).await.unwrap_err();
    assert_eq!((&busy["code"], &busy["money_moved"]), (&json!("conflict"), &json!("no")), "{busy}");
    assert_eq!(world.charges().await.len(), 1);
    let world = world.restart().await;
    world.admin("DELETE", "/faults", None).await;
    let done = world.finish(Err(error)).await.unwrap();
    assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    assert_eq!((world.charges().await.len(), allowance(&world).await), (2, 0));
    world.audit().await;
    assert_eq!(approved(&world).await, [DEPOSIT], "it was allowed once");
    assert_eq!(stage(&world, &id).await, Some(Stage::Done));
}

/// It runs out of gas and gives nothing: that is said, nothing was paid, and the next call makes
/// another one.
#[tokio::test]
async fn an_allowance_that_is_reverted_ends_the_payment() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let little = json!({ "swap_terms": { "result": "0x5208" } });
    world.fault("chain", "eth_estimateGas", 0, little).await;
    let error = world.call(TOOL, args(&id)).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("upstream_rejected"), &json!("no"))
    );
    assert!(error["message"].as_str().unwrap().contains("reverted"), "{error}");
    assert_eq!(stage(&world, &id).await, Some(Stage::Failed));
    assert_eq!((allowance(&world).await, world.charges().await.len()), (0, 0));
    let done = world.call(TOOL, args(&id)).await.unwrap();
    paid(&world, &done).await;
    assert_eq!(approved(&world).await, [DEPOSIT, DEPOSIT], "the first one gave nothing");
}

/// The node's word that it was reverted is wrong: what the token says decides.
#[tokio::test]
async fn an_allowance_that_is_said_to_be_reverted_is_looked_at() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let reverted = json!({ "swap_terms": { "status": "0x0" } });
    world.fault("chain", "eth_getTransactionReceipt", 0, reverted).await;
    let done = world.call(TOOL, args(&id)).await.unwrap();
    paid(&world, &done).await;
    assert_eq!(approved(&world).await, [DEPOSIT]);
}

/// Killed between the allowance and the activation: it is allowed once, and paid once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_allowance_and_activation_it_goes_on() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let slow = json!({ "delay_ms": 5_000 });
    world.fault("paegents", "*/activate-escrow", 0, slow).await;
    let begun = world.call_raw(TOOL, args(&id));
    let watched = async {
        while allowance(&world).await != DEPOSIT {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = begun => panic!("it was over before it was killed"),
        () = watched => {}
    }
    let world = world.kill().await;
    world.admin("DELETE", "/faults", None).await;
    let done = world.finish(world.call(TOOL, args(&id)).await).await.unwrap();
    paid(&world, &done).await;
    assert_eq!(approved(&world).await, [DEPOSIT]);
}

/// A wallet without the network's coin allows nothing, and says so.
#[tokio::test]
async fn without_gas_nothing_is_allowed() {
    let world = World::start().await;
    let id = accepted(&world, "auto", 100).await;
    let wallet = world.sandbox.info().paegents.buyer.wallet;
    let empty = json!({ "address": wallet, "wei": "1" });
    world.admin("POST", "/balance", Some(empty)).await;
    let error = world.call(TOOL, args(&id)).await.unwrap_err();
    assert_eq!(
        (&error["code"], &error["money_moved"]),
        (&json!("insufficient_funds"), &json!("no"))
    );
    assert!(approved(&world).await.is_empty());
    // By a permit it takes none.
    let by_permit = json!({ "agreement_id": id, "max_total_usd": "3" });
    let done = world.call(TOOL, by_permit).await.unwrap();
    paid(&world, &done).await;
}

/// Two agreements from allowances at once: the contract's one allowance serves them in turn.
#[tokio::test(flavor = "multi_thread")]
async fn two_allowances_at_once_do_not_overwrite_each_other() {
    let world = World::start().await;
    let beside = world.beside().await;
    let (first, second) = (accepted(&world, "auto", 100).await, accepted(&world, "auto", 50).await);
    let (one, two) = tokio::join!(world.call(TOOL, args(&first)), beside.call(TOOL, args(&second)));
    let (one, two) = (world.finish(one).await.unwrap(), beside.finish(two).await.unwrap());
    for done in [&one, &two] {
        assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
    }
    assert_eq!(world.charges().await.len(), 2);
    assert_eq!(allowance(&world).await, 0);
    world.audit().await;
}

/// Another payment of the wallet ends while one is read: the nonce has moved on, and that is no
/// change of the terms.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_another_payment_moved_on_is_no_change() {
    let world = World::start().await;
    let beside = world.beside().await;
    let (first, second) = (accepted(&world, "auto", 100).await, accepted(&world, "auto", 50).await);
    // What is read last of the second waits until the first is paid.
    let last = format!("/usage-agreements/{second}/deposit-params");
    world.fault("paegents", &last, 0, json!({ "delay_ms": 8_000 })).await;
    let slow = beside.call(TOOL, args(&second));
    let paid = async {
        world.fired().await;
        world.call(TOOL, args(&first)).await.unwrap();
    };
    let (two, ()) = tokio::join!(slow, paid);
    assert_eq!(two.unwrap()["purchase"]["money_moved"], "yes");
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}
