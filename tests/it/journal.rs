//! What the journal keeps: every state survives a restart, and what is wrong with the store stops
//! the money and nothing else.

use std::{fs, path::Path, time::Duration};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use haggle::{journal::State, money::Usdc, spend::policy::Policy, store::leases::Lease};
use serde_json::{Value, json};

use crate::world::{Make, World};

fn usd(text: &str) -> Usdc {
    text.parse().unwrap()
}

fn with(policy: Policy) -> Make {
    Make { policy, ..Make::default() }
}

/// Every transaction that was sent, as it was sent.
async fn sent(world: &World) -> Vec<Value> {
    let requests = world.requests().await;
    let bodies = requests.iter().filter_map(|request| request["body"].as_str());
    bodies
        .filter(|body| body.contains("eth_sendRawTransaction"))
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["params"].clone())
        .collect()
}

async fn ends_paid_once(world: &World, answer: Value) {
    let done = world.follow(answer).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

fn resume(answer: &Value) -> Value {
    json!({ "recovery": { "next": [{ "tool": "crochet_resume_call",
        "arguments": { "purchase_id": answer["purchase_id"] } }] } })
}

/// The only purchase's state.
async fn state(world: &World) -> State {
    world.journal().await[0].state
}

#[tokio::test]
async fn planned_goes_on_after_a_restart() {
    let world = World::start().await;
    world.freeze(true).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(state(&world).await, State::Planned);
    let world = world.restart().await;
    world.freeze(false).await;
    ends_paid_once(&world, resume(&error)).await;
}

#[tokio::test]
async fn approved_goes_on_after_a_restart() {
    let world = World::start().await;
    world.fault("chain", "eth_call", 0, json!("drop_before")).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(state(&world).await, State::Approved);
    let world = world.restart().await;
    ends_paid_once(&world, error).await;
}

/// Reserved and never sent: the budget and the nonce are given back.
#[tokio::test]
async fn reserved_is_released_after_a_restart() {
    let policy = Policy { day_max_usd: usd("0.05"), ..Policy::sandbox() };
    let world = World::start_with(with(policy)).await;
    world.fault("chain", "eth_call", 0, json!("drop_before")).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    let buyer = world.sandbox.info().crochet.buyer.wallet;
    let world = world
        .restart_after(|path| {
            let db = rusqlite::Connection::open(path).unwrap();
            let reserve =
                "UPDATE purchases SET state = 'reserved', amount = 50000, reference = '0xab',
                instrument = '{}', account = ?1, account_nonce = 0, reserved_at = created_at";
            db.execute(reserve, [&buyer]).unwrap();
            db.execute("INSERT INTO accounts VALUES (84532, ?1, 1)", [&buyer]).unwrap();
        })
        .await;
    world.call("market_list_purchases", json!({})).await.unwrap();
    world.until(|purchase| purchase.state == State::Failed).await;
    let done = world.follow(resume(&error)).await.unwrap();
    let paid = world.purchase(&done).await;
    assert_eq!(paid.account_nonce, Some(0), "the nonce was given back");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// Killed when the journal says `submitted` and the node has seen nothing: the same transaction is
/// sent, byte for byte.
#[tokio::test]
async fn submitted_sends_the_same_transaction_after_a_kill() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!({ "delay_ms": 60000 })).await;
    let args = world.purchase_of("auto");
    let under_way = async {
        world.until(|purchase| purchase.state == State::Submitted).await;
        world.fired().await;
    };
    tokio::select! {
        answer = world.call_raw("crochet_call_listing", args.clone()) => {
            panic!("it was over before it was killed: {answer:?}")
        }
        () = under_way => {}
    }
    assert_eq!(state(&world).await, State::Submitted);
    let world = world.kill().await;
    let done = world.buy(args).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    let sent = sent(&world).await;
    assert!(sent.len() >= 2, "it was sent {} times", sent.len());
    assert!(sent.iter().all(|raw| *raw == sent[0]), "another transaction was sent");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test]
async fn unknown_sends_the_same_transaction_after_a_restart() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!("drop_before")).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["code"], "payment_unknown");
    assert_eq!(state(&world).await, State::Unknown);
    let world = world.restart().await;
    ends_paid_once(&world, error).await;
    let sent = sent(&world).await;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}

/// What ended while an asker waited for it keeps its answer, and nothing is asked.
#[tokio::test]
async fn what_ends_while_it_is_waited_for_keeps_its_answer() {
    let world = World::start().await;
    let done = world.buy(world.purchase_of("auto")).await.unwrap();
    let whole = world.purchase(&done).await;
    let id = whole.id.clone();
    let delivery = |word: &'static str| {
        let (id, answer) = (id.clone(), whole.answer.clone());
        world.app.store().transact(move |db| {
            db.execute(
                "UPDATE purchases SET delivery = ?2, answer = ?3 WHERE id = ?1",
                rusqlite::params![id.as_str(), word, answer],
            )?;
            Ok(())
        })
    };
    delivery("pending").await.unwrap();
    let name = format!("purchase:{id}");
    let held = Lease::take(world.app.store(), &name, "another").await.unwrap().unwrap();
    let before = world.requests().await.len();
    let ask = world.call("market_check_purchase", json!({ "purchase_id": id }));
    let ends = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        delivery("delivered").await.unwrap();
        drop(held);
    };
    let (asked, ()) = tokio::join!(ask, ends);
    assert_eq!(asked.unwrap()["purchase"]["delivery"], "delivered");
    assert_eq!(world.purchase(&done).await.answer, whole.answer);
    let after = world.requests().await;
    let about = after[before..].iter().filter(|request| request["marketplace"] == "crochet");
    assert_eq!(about.count(), 0, "{after:?}");
}

/// Nothing is paid twice and nothing else is paid while the wallet's last payment is unknown.
#[tokio::test]
async fn another_purchase_waits_for_the_unknown_one() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!("drop_before")).await;
    let first = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    let second = world.call("crochet_call_listing", world.purchase_of("slow")).await.unwrap_err();
    assert_eq!(second["code"], "conflict", "{second}");
    world.follow(first).await.unwrap();
    world.buy(world.purchase_of("slow")).await.unwrap();
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

#[tokio::test]
async fn what_is_paid_is_collected_after_a_restart() {
    let world = World::start().await;
    world.fault("crochet", "/gateway/*", 1, json!("drop_after")).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["money_moved"], "yes");
    assert_eq!(state(&world).await, State::Settled);
    let world = world.restart().await;
    ends_paid_once(&world, error).await;
}

#[tokio::test]
async fn a_payment_from_elsewhere_is_waited_for_and_counted() {
    let world = World::start().await;
    let error = world.buy(world.purchase_of("route_minimum")).await.unwrap_err();
    assert_eq!(error["code"], "awaiting_external_payment", "{error}");
    let relay = error["payment"]["relay_request_id"].clone();
    let left = async |world: &World| {
        world.call("market_status", json!({})).await.unwrap()["budget"]["left_today_usd"].clone()
    };
    assert_eq!(left(&world).await, "49.99", "it counts while it is open");
    let world = world.restart().await;
    let id = json!({ "purchase_id": error["purchase_id"] });
    let again = world.call("crochet_resume_call", id.clone()).await.unwrap_err();
    assert_eq!(again["code"], "awaiting_external_payment", "{again}");
    assert_eq!(again["payment"]["relay_request_id"], relay, "one payment, one relay request");
    world.admin("POST", "/pay", Some(json!({ "relay_request_id": relay }))).await;
    let world = world.restart().await;
    let done = world.call("crochet_resume_call", id).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(left(&world).await, "49.99");
    world.audit().await;
}

/// Its time is over and nobody paid: only a person can know, so it stays `maybe`.
#[tokio::test]
async fn a_payment_from_elsewhere_that_nobody_made_is_the_owner_s_to_end() {
    let world = World::start().await;
    let error = world.buy(world.purchase_of("route_minimum")).await.unwrap_err();
    world.advance(3600).await;
    let id = json!({ "purchase_id": error["purchase_id"] });
    let over = world.call("crochet_resume_call", id.clone()).await.unwrap_err();
    assert_eq!(over["money_moved"], "maybe", "{over}");
    assert_eq!(over["recovery"]["next_action"], "ask_owner", "{over}");
    let purchase = world.purchase(&error).await;
    let now = world.app.clock().now();
    haggle::spend::owner_says(world.app.store(), &purchase.id, false, now).await.unwrap();
    let ended = world.call("crochet_resume_call", id).await.unwrap_err();
    assert_eq!(ended["money_moved"], "no");
    let status = world.call("market_status", json!({})).await.unwrap();
    assert_eq!(status["budget"]["left_today_usd"], "50", "its budget is given back");
    assert!(world.charges().await.is_empty());
}

/// A 202 or a refusal says nothing about a payment from elsewhere that nobody has seen.
#[tokio::test]
async fn a_payment_from_elsewhere_is_not_believed_without_a_delivery() {
    let missing = json!({ "success": false, "error": { "code": "RELAY_REQUEST_NOT_FOUND",
        "message": "no", "recovery": { "retryable": false } } });
    for action in
        [json!("pending"), json!({ "status": 404, "body": missing }), json!({ "status": 502 })]
    {
        let world = World::start().await;
        let error = world.buy(world.purchase_of("route_minimum")).await.unwrap_err();
        world.fault("crochet", "/gateway/*", 0, action.clone()).await;
        let id = json!({ "purchase_id": error["purchase_id"] });
        let again = world.call("crochet_resume_call", id).await.unwrap_err();
        assert_eq!(again["money_moved"], "maybe", "{action}: {again}");
        assert!(world.charges().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_a_dollar_stays_under_the_owner_s_cap() {
    for cap in [None, Some("0.000000001")] {
        let caps = cap.map(|cap| ("SOL".to_owned(), cap.to_owned()));
        let policy = Policy { other_assets: caps.into_iter().collect(), ..Policy::sandbox() };
        let world = World::start_with(with(policy)).await;
        let error = world.buy(world.purchase_of("route_minimum")).await.unwrap_err();
        assert_eq!(error["code"], "policy_denied", "{cap:?}: {error}");
        assert_eq!(error["money_moved"], "no");
    }
}

#[tokio::test]
async fn the_same_within_ten_minutes_is_a_duplicate() {
    let world = World::start().await;
    let args = world.purchase_of("auto");
    let first = world.call("crochet_call_listing", args.clone()).await.unwrap();
    world.advance(590).await;
    let twice = world.call("crochet_call_listing", args.clone()).await.unwrap_err();
    assert_eq!(twice["code"], "possible_duplicate");
    assert_eq!(twice["purchase_id"], first["purchase"]["id"]);
    let again = world.follow(twice).await.unwrap();
    assert_eq!(again["purchase"]["id"], first["purchase"]["id"]);
    assert_eq!(world.charges().await.len(), 1);
    let mut more = args.clone();
    more["again"] = json!(true);
    world.call("crochet_call_listing", more).await.unwrap();
    assert_eq!(world.charges().await.len(), 2, "`again` buys again");
    world.advance(620).await;
    world.call("crochet_call_listing", args).await.unwrap();
    assert_eq!(world.charges().await.len(), 3, "after ten minutes it is a new purchase");
    world.audit().await;
}

#[tokio::test]
async fn the_day_slides() {
    let policy = Policy { day_max_usd: usd("0.05"), ..Policy::sandbox() };
    let mut world = World::start_with(with(policy)).await;
    let mut args = world.purchase_of("auto");
    world.buy(args.clone()).await.unwrap();
    for (seconds, allowed) in [(86_400 - 60, false), (120, true)] {
        world.advance(seconds).await;
        args["body"] = json!({ "text": format!("{seconds}") });
        world = world.restart().await;
        let answer = world.buy(args.clone()).await;
        if allowed {
            assert!(answer.is_ok(), "{answer:?}");
        } else {
            assert_eq!(answer.unwrap_err()["code"], "policy_denied", "{seconds}");
        }
    }
    assert_eq!(world.charges().await.len(), 2);
}

fn side_files(path: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let path = path.as_os_str().to_owned();
    ["-wal", "-shm"].into_iter().map(move |end| {
        let mut path = path.clone();
        path.push(end);
        path.into()
    })
}

fn put(path: &Path, bytes: &[u8]) {
    for side in side_files(path) {
        fs::remove_file(side).ok();
    }
    fs::write(path, bytes).unwrap();
}

/// A way to spoil the store's file, with its name.
type Breaks<'a> = (&'a str, &'a dyn Fn(&Path));

#[tokio::test]
async fn a_store_that_cannot_be_used_pays_nothing() {
    let garbage = |path: &Path| put(path, &[7; 8192]);
    let newer = |path: &Path| {
        let db = rusqlite::Connection::open(path).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
    };
    let folder = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    let cases: [Breaks<'_>; 3] = [("garbage", &garbage), ("newer", &newer), ("a folder", &folder)];
    for (case, spoil) in cases {
        let world = World::start().await;
        let first = world.buy(world.purchase_of("auto")).await.unwrap();
        let world = world.restart_after(spoil).await;
        let error = world.call_raw("crochet_call_listing", world.purchase_of("slow")).await;
        let error = error.structured_content.unwrap()["error"].clone();
        assert_eq!(error["code"], "store_unavailable", "{case}: {error}");
        assert_eq!(error["money_moved"], "no", "{case}");
        // What cannot be read may have been paid.
        let id = json!({ "purchase_id": first["purchase"]["id"] });
        for tool in ["crochet_resume_call", "market_check_purchase"] {
            let error = world.call_raw(tool, id.clone()).await.structured_content.unwrap();
            assert_eq!(error["error"]["code"], "store_unavailable", "{case}: {error}");
            assert_eq!(error["error"]["money_moved"], "maybe", "{case}: {error}");
        }
        assert_eq!(world.charges().await.len(), 1, "{case}");
    }
}

/// The store breaks while the transaction is on its way: that is a `maybe`.
#[tokio::test]
async fn a_store_that_breaks_after_the_sending_is_no_reason_to_say_no() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!({ "delay_ms": 5_000 })).await;
    let args = world.purchase_of("auto");
    let rename = |from: &str, to: &str| {
        let db = rusqlite::Connection::open(world.app.store().path()).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    let breaks = async {
        world.until(|purchase| purchase.state == State::Submitted).await;
        rename("purchases", "hidden");
    };
    let (answer, ()) = tokio::join!(world.call_raw("crochet_call_listing", args.clone()), breaks);
    let error = answer.structured_content.unwrap()["error"].clone();
    assert_eq!(error["code"], "store_unavailable", "{error}");
    assert_eq!(error["money_moved"], "maybe", "{error}");
    rename("hidden", "purchases");
    let done = world.buy(args).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test]
async fn an_old_copy_of_the_store_stops_the_money_until_the_owner_has_looked() {
    let world = World::start().await;
    let mut old = Vec::new();
    world.buy(world.purchase_of("auto")).await.unwrap();
    let world = world.restart_after(|path| old = fs::read(path).unwrap()).await;
    let second = world.buy(world.purchase_of("slow")).await.unwrap();
    let world = world.restart_after(|path| put(path, &old)).await;
    let args = world.purchase_of("slow");
    let error = world.call("crochet_call_listing", args.clone()).await.unwrap_err();
    assert_eq!(error["code"], "store_stale", "{error}");
    assert_eq!(world.charges().await.len(), 2, "the purchase that was forgotten is not made again");
    let status = world.call("market_status", json!({})).await.unwrap();
    assert!(status["budget"].is_object());
    let id = json!({ "purchase_id": second["purchase"]["id"] });
    assert_eq!(world.call("crochet_resume_call", id).await.unwrap_err()["code"], "not_found");
    let world = world.restart().await;
    // Neither a restart nor new lines in the place of those that are missing heal it.
    for n in 0..12 {
        let mut other = args.clone();
        other["body"] = json!({ "text": format!("text {n}") });
        let error = world.call("crochet_call_listing", other).await.unwrap_err();
        assert_eq!(error["code"], "store_stale", "{n}: {error}");
    }
    world.freeze(false).await;
    world.buy(args).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_runs_backwards_pays_nothing() {
    let world = World::start().await;
    world.buy(world.purchase_of("auto")).await.unwrap();
    let world = world
        .restart_after(|path| {
            let db = rusqlite::Connection::open(path).unwrap();
            db.execute("UPDATE purchase_events SET at = at + 3600", []).unwrap();
        })
        .await;
    let error = world.buy(world.purchase_of("slow")).await.unwrap_err();
    assert_eq!(error["code"], "clock_untrusted", "{error}");
    assert_eq!(world.charges().await.len(), 1);
}

/// A payment of the same wallet that this store knows nothing of.
async fn pay_from_elsewhere(world: &World) {
    let info = world.sandbox.info();
    let key: PrivateKeySigner = info.crochet.buyer.wallet_private_key.parse().unwrap();
    let count = world.rpc("eth_getTransactionCount", json!([key.address(), "latest"])).await;
    let nonce = count.as_str().unwrap().trim_start_matches("0x");
    let tx = TxEip1559 {
        chain_id: info.chain.chain_id,
        nonce: u64::from_str_radix(nonce, 16).unwrap(),
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(Address::repeat_byte(7)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
    let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
    let raw = alloy_primitives::hex::encode_prefixed(raw);
    assert!(world.rpc("eth_sendRawTransaction", json!([raw])).await.is_string());
}

#[tokio::test]
async fn someone_else_who_pays_from_the_wallet_stops_everything() {
    let world = World::start().await;
    world.buy(world.purchase_of("auto")).await.unwrap();
    pay_from_elsewhere(&world).await;
    let error = world.buy(world.purchase_of("slow")).await.unwrap_err();
    assert_eq!(error["code"], "instance_conflict", "{error}");
    assert_eq!(error["money_moved"], "no");
    let world = world.restart().await;
    let error = world.buy(world.purchase_of("hostile_text")).await.unwrap_err();
    assert_eq!(error["code"], "instance_conflict", "it outlives the process");
    assert_eq!(world.charges().await.len(), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.freeze(false).await;
    world.buy(world.purchase_of("slow")).await.unwrap();
    assert_eq!(world.charges().await.len(), 2);
    world.audit().await;
}

/// The wallet's nonce is used by someone else between our signature and its arrival: our payment is
/// dead, said so, and can be made anew.
#[tokio::test]
async fn a_payment_whose_nonce_is_taken_is_dead_and_says_so() {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!("drop_before")).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["code"], "payment_unknown");
    pay_from_elsewhere(&world).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let resume = json!({ "purchase_id": error["purchase_id"] });
    let dead = world.call("crochet_resume_call", resume).await.unwrap_err();
    assert_eq!(dead["code"], "upstream_rejected", "{dead}");
    assert_eq!(dead["money_moved"], "no");
    let done = world.follow(dead).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
