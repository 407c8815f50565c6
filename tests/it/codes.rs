//! Every code of the error contract is reached through a tool.

mod croo;

use std::{collections::BTreeSet, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use haggle::{
    error::Code, marketplaces::croo::stream::Times, server::Server, spend::policy::Policy,
};
use rmcp::{
    ClientServiceExt, ErrorData, ServiceExt,
    handler::server::{
        router::tool::{ToolRoute, ToolRouter},
        tool::ToolCallContext,
    },
    model::{CallToolRequestParams, CallToolResponse, CallToolResult, Tool},
};
use serde_json::{Value, json};

use crate::world::{Era, Make, Person, World, lifecycle};

type Reached = BoxFuture<'static, Value>;

/// Buys from a seller who behaves like this while this goes wrong, without following any hint.
fn buying(
    behaviour: &'static str,
    fault: Option<(&'static str, &'static str, u32, Value)>,
) -> Reached {
    with(Make::default(), behaviour, fault)
}

fn with(
    make: Make,
    behaviour: &'static str,
    fault: Option<(&'static str, &'static str, u32, Value)>,
) -> Reached {
    async move {
        let world = World::start_with(make).await;
        if let Some((marketplace, path, skip, action)) = fault {
            world.fault(marketplace, path, skip, action).await;
        }
        world.call("crochet_call_listing", world.purchase_of(behaviour)).await.unwrap_err()
    }
    .boxed()
}

fn listing(action: Value) -> Reached {
    buying("auto", Some(("crochet", "/listings/*", 0, action)))
}

fn gateway(skip: u32, action: Value) -> Reached {
    buying("auto", Some(("crochet", "/gateway/*", skip, action)))
}

fn terms(name: &str, value: &Value) -> Reached {
    gateway(0, json!({ "swap_terms": { name: value } }))
}

/// Registers an account of a fresh key.
fn registering(fault: Value) -> Reached {
    let make = Make { private_key: Some(format!("0x{}", "42".repeat(32))), ..Make::default() };
    async move {
        let world = World::start_with(make).await;
        world.fault("crochet", "*challenge*", 0, fault).await;
        let name = json!({ "display_name": "Tester" });
        world.call("crochet_register", name).await.unwrap_err()
    }
    .boxed()
}

fn after(behaviour: &'static str, more: fn(World, Value) -> Reached) -> Reached {
    async move {
        let world = World::start().await;
        let args = world.purchase_of(behaviour);
        world.call("crochet_call_listing", args.clone()).await.unwrap();
        more(world, args).await
    }
    .boxed()
}

fn asking(answer: Option<bool>) -> Make {
    let person = Person { answer, ..Person::default() };
    Make { policy: Policy::default(), person, ..Make::default() }
}

#[rustfmt::skip]
fn every() -> Vec<(Code, Reached)> {
    use Code::*;
    let status = |status: u16| json!({ "status": status });
    let past = json!("2001-01-01T00:00:00Z");
    let own_key = Make { private_key: Some(format!("0x{}", "41".repeat(32))), ..Make::default() };
    let large = json!({ "status": 200, "body": vec!["x".repeat(50_000); 8] });
    let denied = Make {
        policy: Policy { day_max_usd: "0.01".parse().unwrap(), ..Policy::sandbox() },
        ..Make::default()
    };
    vec![
        (InvalidArgument,         invalid().boxed()),
        (NotFound,                listing(status(404))),
        (NotAllowed,              listing(status(403))),
        (NotRegistered,           with(own_key, "auto", None)),
        (Unauthorized,            listing(status(401))),
        (WrongState,              listing(json!({ "swap_terms": { "status": "paused" } }))),
        (Conflict,                conflict().boxed()),
        (RateLimited,             listing(status(429))),
        (Expired,                 terms("expires_at", &past)),
        (UpstreamRejected,        buying("rejects", None)),
        (UpstreamUnavailable,     listing(status(503))),
        (UpstreamMalformed,       listing(status(200))),
        (UpstreamTooLarge,        buying("free", Some(("crochet", "/gateway/*", 0, large)))),
        (EgressBlocked,           listing(status(307))),
        (TlsFailed,               tls_failed().boxed()),
        (InsufficientFunds,       unfunded().boxed()),
        (ChainUnavailable,        buying("auto", Some(("chain", "eth_call", 0, status(500))))),
        (ChainMismatch,           terms("chain_id", &json!(8453))),
        (TermsMismatch,           terms("amount", &json!("1"))),
        (PriceChanged,            buying("price_rises", None)),
        (AboveMaxTotal,           above().boxed()),
        (PayeeNotAllowed,         terms("deposit_address", &json!("nobody"))),
        (PolicyDenied,            with(denied, "auto", None)),
        (ApprovalRequired,        with(asking(None), "auto", None)),
        (ApprovalDenied,          with(asking(Some(false)), "auto", None)),
        (SigningRefused,          registering(json!({ "swap_terms": { "message": "I pay everything" } }))),
        (PossibleDuplicate,       after("auto", |world, args| async move {
            world.call("crochet_call_listing", args).await.unwrap_err()
        }.boxed())),
        (PaymentPending,          gateway(1, status(503))),
        (PaymentUnknown,          buying("auto", Some(("chain", "eth_sendRawTransaction", 0, json!("drop_before"))))),
        (PaidNotDelivered,        buying("fails_after_payment", None)),
        (AwaitingExternalPayment, buying("route_minimum", None)),
        (ProofOfWorkFailed,       registering(json!({ "swap_terms": { "difficulty": 60 } }))),
        (EventsDegraded,          unheard().boxed()),
        (InstanceConflict,        frozen_for("instance_conflict").boxed()),
        (StoreUnavailable,        spoiled(|db| db.pragma_update(None, "user_version", 99)).boxed()),
        (StoreStale,              spoiled(|db| {
            db.execute_batch("DELETE FROM purchase_events WHERE seq > 2; UPDATE sqlite_sequence SET seq = 2 \
                              WHERE name = 'purchase_events'")
        }).boxed()),
        (ClockUntrusted,          gateway(0, json!({ "skew_s": 90 }))),
        (Frozen,                  frozen_for("owner").boxed()),
        (Cancelled,               replaced().boxed()),
        (Internal,                panicking().boxed()),
    ]
}

async fn invalid() -> Value {
    let world = World::start().await;
    world.call("crochet_call_listing", json!({ "listing_id": "../x" })).await.unwrap_err()
}

async fn conflict() -> Value {
    let world = World::start().await;
    world.fault("chain", "eth_sendRawTransaction", 0, json!("drop_before")).await;
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    world.call("crochet_call_listing", world.purchase_of("slow")).await.unwrap_err()
}

/// A port that speaks no TLS.
async fn tls_failed() -> Value {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 16 * 1024];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let world = World::start_with(Make { live: Some(url), ..Make::default() }).await;
    let there = json!({ "marketplace": "crochet" });
    let error = world.call("market_search", there).await.unwrap_err();
    assert_eq!(error["money_moved"], "no");
    error
}

async fn unfunded() -> Value {
    let world = World::start().await;
    world.balance(&json!({ "usdc": "0" })).await;
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err()
}

async fn above() -> Value {
    let world = World::start().await;
    let mut args = world.purchase_of("auto");
    args["max_total_usd"] = json!("0.01");
    world.call("crochet_call_listing", args).await.unwrap_err()
}

async fn frozen_for(reason: &'static str) -> Value {
    let world = World::start().await;
    let store = world.app.store();
    let frozen = store.transact(move |db| haggle::spend::approvals::freeze(db, reason, 0));
    frozen.await.unwrap();
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err()
}

/// A stream of events that does not come up.
async fn unheard() -> Value {
    let times = Times { reconcile: Duration::from_millis(100), ..Times::default() };
    let world = World::start_with(Make { times: Some(times), ..Make::default() }).await;
    let fault = json!({ "marketplace": "socket", "path": "/ws", "times": 1000,
        "action": { "status": 503 } });
    world.admin("POST", "/faults", Some(fault)).await;
    world.call("market_wait_events", json!({ "wait_seconds": 1 })).await.unwrap_err()
}

/// The store as something else has left it.
async fn spoiled(spoil: fn(&rusqlite::Connection) -> rusqlite::Result<()>) -> Value {
    let world = World::start().await;
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    let world = world
        .restart_after(|path| spoil(&rusqlite::Connection::open(path).unwrap()).unwrap())
        .await;
    world.call("crochet_call_listing", world.purchase_of("slow")).await.unwrap_err()
}

/// A purchase that a later one took the place of.
async fn replaced() -> Value {
    let world = World::start_with(asking(None)).await;
    let mut args = world.purchase_of("auto");
    let first = world.call("crochet_call_listing", args.clone()).await.unwrap_err();
    args["max_total_usd"] = json!("2");
    world.call("crochet_call_listing", args).await.unwrap_err();
    let id = json!({ "purchase_id": first["purchase_id"] });
    world.call("crochet_resume_call", id).await.unwrap_err()
}

fn breaks(_: ToolCallContext<'_, Server>) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>> {
    async { panic!("on purpose") }.boxed()
}

/// A tool of ours that breaks.
async fn panicking() -> Value {
    let world = World::start().await;
    let tool = Tool::new("market_break", "Breaks.", haggle::tools::input::<Value>());
    let router = ToolRouter::new().with_route(ToolRoute::new_dyn(tool, breaks));
    let server = Server::with_router(world.app.clone(), router);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { server.serve(theirs).await.unwrap().waiting().await });
    let client = Person::default().serve_with_lifecycle(ours, lifecycle(Era::Initialize)).await;
    let client = client.unwrap();
    let result: CallToolResult =
        client.call_tool(CallToolRequestParams::new("market_break")).await.unwrap();
    result.structured_content.unwrap()["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_reached_through_a_tool() {
    let mut reached = BTreeSet::new();
    let cases = every()
        .into_iter()
        .chain(croo::every())
        .map(|(code, case)| tokio::spawn(async move { (code, case.await) }));
    for case in join_all(cases).await {
        let (code, error) = case.unwrap();
        assert_eq!(error["code"], code.name(), "{error}");
        for name in ["message", "money_moved", "repeat_safe", "recovery"] {
            assert!(!error[name].is_null(), "{} says no {name}: {error}", code.name());
        }
        let recovery = &error["recovery"];
        let stuck = recovery["retryable"] == true && recovery["next"].is_null();
        let told = ["fix_arguments", "choose_other", "register"];
        assert!(
            !stuck || told.iter().any(|action| recovery["next_action"] == *action),
            "{} says to go on, and not how: {error}",
            code.name()
        );
        reached.insert(code.name());
    }
    let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    let missing: Vec<_> = all.difference(&reached).copied().collect();
    assert!(missing.is_empty(), "no tool reaches {missing:?}");
}
