//! MCP over standard input and output, with the built binary: every revision, and what is no message.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use haggle::{
    app::App,
    clock::wall_ms,
    sandbox::{Options, Sandbox},
    server::{RESULT_BYTES_MAX, Server},
};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, ServiceExt,
    handler::server::router::tool::ToolRoute,
    model::{CallToolRequestParams, CallToolResult, Tool},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{
    program::{Program, command, on_sandbox},
    world::{Era, Make, Person, lifecycle, settings},
};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const NEWEST_LEGACY: &str = "2025-11-25";

async fn sandbox() -> Sandbox {
    Sandbox::start(Options::new(Arc::new(wall_ms))).await.unwrap()
}

/// A URL at which nothing listens.
async fn closed_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/admin", listener.local_addr().unwrap())
}

/// Searches, looks, calls what is free and what is paid, reads the journal: what a buyer does.
async fn shops(mode: ClientLifecycleMode) {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let child = TokioChildProcess::new(on_sandbox(&sandbox, folder.path())).unwrap();
    let client = Person::default().serve_with_lifecycle(child, mode).await.unwrap();
    let call = async |tool: &str, args: Value| {
        let params = CallToolRequestParams::new(tool.to_owned())
            .with_arguments(args.as_object().unwrap().clone());
        let result = client.call_tool(params).await.unwrap();
        let body = result.structured_content.unwrap();
        assert_ne!(result.is_error, Some(true), "{tool}: {body}");
        body
    };
    let wanted = json!({ "query": "text statistics", "marketplace": "crochet" });
    let found = call("market_search", wanted).await;
    let offer = &found["offers"][0];
    assert_eq!(offer["marketplace"], "crochet", "{found}");
    let listing = call("crochet_get_listing", json!({ "listing_id": offer["id"] })).await;
    let next = &listing["next"][0];
    let mut args = next["arguments"].clone();
    args["body"] = listing["input_example_untrusted"].clone();
    let paid = call(next["tool"].as_str().unwrap(), args).await;
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
    let free = call(
        "crochet_call_listing",
        json!({ "listing_id": "word-count",
        "body": { "text": "to be or not" }, "max_total_usd": "0" }),
    )
    .await;
    assert!(free["purchase"].is_null(), "{free}");
    let journal = call("market_list_purchases", json!({})).await;
    assert_eq!(journal["purchases"][0]["id"], paid["purchase"]["id"]);
    assert_eq!(journal["purchases"].as_array().unwrap().len(), 1);
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_client_of_the_legacy_era_shops() {
    shops(lifecycle(Era::Initialize)).await;
}

#[tokio::test]
async fn a_client_of_the_modern_era_shops() {
    shops(lifecycle(Era::Modern)).await;
}

#[tokio::test]
async fn every_legacy_revision_is_spoken() {
    let sandbox = sandbox().await;
    for revision in REVISIONS {
        let folder = tempfile::tempdir().unwrap();
        let (mut program, answer) =
            Program::ready(on_sandbox(&sandbox, folder.path()), revision).await;
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "haggle");
        let list = program.ask("tools/list", json!({})).await;
        assert!(list["result"]["tools"].as_array().unwrap().len() >= 8, "{revision}");
        assert!(list["result"].get("ttlMs").is_none(), "{revision}");
        assert!(list["result"].get("cacheScope").is_none(), "{revision}");
        let status = program.call("market_status", json!({})).await.unwrap();
        assert_eq!(status["mode"], "sandbox");
        let ended = program.end().await;
        assert!(ended.status.success(), "{revision}: {ended:?}");
    }
}

/// Modern requests need no handshake; their lists say how long they hold.
#[tokio::test]
async fn a_modern_request_stands_alone() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(on_sandbox(&sandbox, folder.path()));
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" } });
    let found = program.ask("server/discover", json!({ "_meta": meta })).await;
    assert!(found["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{found}");
    let list = program.ask("tools/list", json!({ "_meta": meta })).await["result"].clone();
    assert_eq!(list["cacheScope"], "public", "{list}");
    assert!(list["ttlMs"].as_u64().unwrap() > 0);
    let params = json!({ "name": "market_status", "arguments": {}, "_meta": meta });
    let status = program.ask("tools/call", params).await["result"].clone();
    assert_eq!(status["structuredContent"]["mode"], "sandbox", "{status}");
    assert!(program.end().await.status.success());
}

#[tokio::test]
async fn initialize_touches_neither_network_nor_store() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("not").join("there");
    let mut command = command(&data_dir);
    command.env("HOME", folder.path()).arg(format!("--sandbox={}", closed_url().await));
    let mut program = Program::start(command);
    let answer = program.initialize(NEWEST_LEGACY).await;
    assert_eq!(answer["result"]["protocolVersion"], NEWEST_LEGACY);
    program.notify("notifications/initialized").await;
    assert!(program.ask("tools/list", json!({})).await["result"]["tools"].is_array());
    assert!(!folder.path().join("not").exists());
    // What needs the sandbox says that it is not there, and that nothing was paid.
    let error = program.call("market_search", json!({})).await.unwrap_err();
    assert_eq!(error["code"], "upstream_unavailable", "{error}");
    assert_eq!(error["money_moved"], "no");
    assert!(program.end().await.status.success());
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 0, "something was created");
}

/// The error that a line which is no message gets, and that the next one is read.
#[tokio::test]
async fn what_is_no_message_is_answered_and_the_next_one_is_read() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(on_sandbox(&sandbox, folder.path()));
    // Before anything else: nobody is there to hear it, and nothing breaks.
    program.notify("notifications/initialized").await;
    program.send("").await;
    program.send("   \t").await;
    program.send("not json at all").await;
    let refused = program.next().await;
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32700), &Value::Null));
    let _ = program.initialize(NEWEST_LEGACY).await;
    program.notify("notifications/initialized").await;
    let nested = "[".repeat(200) + &"]".repeat(200);
    let deep = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"ping","params":{{"a":{nested}}}}}"#);
    let long = format!(r#"{{"jsonrpc":"2.0","id":9,"a":"{}"}}"#, "a".repeat(5 * 1024 * 1024));
    let twice = r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#;
    let inside =
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","name":"b"}}"#;
    let array = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    #[rustfmt::skip]
    let rows: Vec<(&str, &[u8], i64, Value)> = vec![
        // what it shows            line                                 code     id
        ("garbage",                 b"{nope",                            -32700,  Value::Null),
        ("half a message",          b"{\"jsonrpc\":\"2.0\",\"id\":4",    -32700,  Value::Null),
        ("no UTF-8",                b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\"}", -32700, Value::Null),
        ("two values",              b"{} {}",                            -32700,  Value::Null),
        ("NaN",                     b"{\"id\":NaN}",                     -32700,  Value::Null),
        ("a member twice",          twice.as_bytes(),                    -32600,  json!(7)),
        ("an argument twice",       inside.as_bytes(),                   -32600,  json!("x")),
        ("200 deep",                deep.as_bytes(),                     -32700,  json!(9)),
        ("5 MB",                    long.as_bytes(),                     -32600,  Value::Null),
        ("a batch",                 array.as_bytes(),                    -32600,  Value::Null),
        ("a number",                b"17",                               -32600,  Value::Null),
        ("an object of its own",    b"{\"hello\":\"world\",\"id\":5}",   -32600,  json!(5)),
    ];
    for (row, line, code, id) in rows {
        program.send(line).await;
        let refused = program.next().await;
        assert_eq!(refused["error"]["code"], code, "{row}: {refused}");
        assert_eq!(refused["id"], id, "{row}: {refused}");
        assert!(refused.to_string().len() < 1_000, "{row} is echoed");
        assert_eq!(program.ask("ping", json!({})).await["result"], json!({}), "after {row}");
    }
    for empty in ["", " ", "\r"] {
        program.send(empty).await;
    }
    assert!(program.silent_for(Duration::from_millis(200)).await, "an empty line is no message");
    let ended = program.end().await;
    assert!(ended.status.success() && !ended.stderr.contains("panicked"), "{ended:?}");
}

#[tokio::test]
async fn what_is_not_offered_is_refused_by_the_protocol() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let (mut program, _) = Program::ready(on_sandbox(&sandbox, folder.path()), NEWEST_LEGACY).await;
    #[rustfmt::skip]
    let rows = [
        // what it shows           tool                      the message names
        ("no such tool",           "market_teleport",        "no such tool"),
        ("of another profile",     "crochet_create_listing", "`sell`"),
        ("of another, account",    "crochet_register",       "`account`"),
        ("no name",                "",                       "no such tool"),
        ("a name that is a trick", "market_search\u{202e}",  "no such tool"),
    ];
    for (row, tool, words) in rows {
        let answer = program.ask("tools/call", json!({ "name": tool, "arguments": {} })).await;
        assert_eq!(answer["error"]["code"], -32602, "{row}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{row}: {answer}");
    }
    let answer = program.ask("no/such/method", json!({})).await;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    assert!(program.end().await.status.success());
}

#[tokio::test]
async fn read_only_offers_and_carries_out_nothing_else() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let mut command = on_sandbox(&sandbox, folder.path());
    command.args([
        "serve",
        "--read-only",
        "--profile",
        "buy,sell,browse,pay,settle,account,events,legacy",
    ]);
    let (mut program, _) = Program::ready(command, NEWEST_LEGACY).await;
    let list = program.ask("tools/list", json!({})).await;
    let tools = list["result"]["tools"].as_array().unwrap();
    assert!(tools.len() > 10);
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
    }
    let writes = haggle::tools::PLACES.iter().filter(|p| p.kind != haggle::tools::Kind::Read);
    // The owner's profile goes with `market` alone.
    for place in writes.filter(|p| p.profiles != [haggle::profile::Profile::Owner]) {
        let params = json!({ "name": place.name, "arguments": {} });
        let answer = program.ask("tools/call", params).await;
        assert_eq!(answer["error"]["code"], -32602, "{}: {answer}", place.name);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("read-only"), "{}: {message}", place.name);
    }
    // What a result proposes can be called here.
    let found = program.call("market_search", json!({ "query": "text" })).await.unwrap();
    for next in found["next"].as_array().unwrap_or(&Vec::new()) {
        assert!(tools.iter().any(|tool| tool["name"] == next["tool"]), "{next}");
    }
    assert!(program.end().await.status.success());
}

#[tokio::test]
async fn it_ends_when_it_is_left_or_told_to() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let program = || on_sandbox(&sandbox, folder.path());

    // Its input closes before anything was said, and after something was.
    let ended = Program::start(program()).end().await;
    assert!(ended.status.success() && ended.written.is_empty(), "{ended:?}");
    let (ready, _) = Program::ready(program(), NEWEST_LEGACY).await;
    assert!(ready.end().await.status.success());

    // It is told to end, before and after a session was opened.
    let (told, _) = Program::ready(program(), NEWEST_LEGACY).await;
    told.signal("TERM").await;
    let ended = told.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let mut early = Program::start(program());
    early.send("nothing").await;
    let _ = early.next().await;
    early.signal("TERM").await;
    let ended = early.ended().await;
    assert_eq!(ended.status.code(), Some(0), "before a session: {ended:?}");

    // Nobody reads any more what it writes.
    let (left, _) = Program::ready(program(), NEWEST_LEGACY).await;
    let (mut child, mut stdin, stderr) = left.close_output();
    for id in 0..3 {
        let ping = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string() + "\n";
        let _ = stdin.write_all(ping.as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    let status = status.expect("it goes on without a reader").unwrap();
    let stderr = stderr.await.unwrap();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A tool that fails in a way nobody thought of, and one that says too much: both are answered.
#[tokio::test]
async fn a_broken_tool_is_answered() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let app = App::new(settings(&sandbox, folder.path().join("data"), &Make::default()));
    let schema = || haggle::tools::input::<haggle::tools::market::NoArgs>();
    let panics = ToolRoute::new_dyn(Tool::new("test_panic", "Panics.", schema()), |_| {
        async { panic!("on purpose: \u{1b}[31m am_k_secret") }.boxed()
    });
    let says = ToolRoute::new_dyn(Tool::new("test_flood", "Says much.", schema()), |_| {
        let flood = json!({ "text": "a".repeat(RESULT_BYTES_MAX), "next": [],
            "purchase": { "id": "pur_1", "money_moved": "yes" } });
        async { Ok(CallToolResult::structured(flood).into()) }.boxed()
    });
    let fails = ToolRoute::new_dyn(Tool::new("test_loud", "Fails loudly.", schema()), |_| {
        let flood = json!({ "error": { "code": "paid_not_delivered", "purchase_id": "pur_2",
            "money_moved": "yes", "message": "a".repeat(RESULT_BYTES_MAX) } });
        async { Ok(CallToolResult::structured_error(flood).into()) }.boxed()
    });
    let router = haggle::tools::router().with_route(panics).with_route(says).with_route(fails);
    let server = Server::with_router(app, router);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { server.serve(theirs).await.unwrap().waiting().await });
    let client = Person::default().serve_with_lifecycle(ours, lifecycle(Era::Modern)).await;
    let client = client.unwrap();
    #[rustfmt::skip]
    let rows = [
        // the tool       code                   moved   words
        ("test_panic",    "internal",            "no",   "failed unexpectedly"),
        ("test_flood",    "upstream_too_large",  "yes",  "bytes"),
        ("test_loud",     "upstream_too_large",  "yes",  "bytes"),
    ];
    for (tool, code, moved, words) in rows {
        let result = client.call_tool(CallToolRequestParams::new(tool)).await.unwrap();
        assert_eq!(result.is_error, Some(true), "{tool}");
        let body = result.structured_content.unwrap();
        assert_eq!(body["error"]["code"], code, "{tool}: {body}");
        assert_eq!(body["error"]["money_moved"], moved, "{tool}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains(words), "{tool}: {body}");
        assert!(!body.to_string().contains("am_k_secret"), "{tool}: {body}");
        assert_eq!(body["mode"], "sandbox");
    }
    let status = client.call_tool(CallToolRequestParams::new("market_status")).await.unwrap();
    assert_ne!(status.is_error, Some(true));
}

/// A purchase is under way when the input closes: it is finished, and nothing but protocol is said.
#[tokio::test]
async fn a_payment_outlives_the_input() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    let (mut program, _) = Program::ready(on_sandbox(&sandbox, folder.path()), NEWEST_LEGACY).await;
    let args = json!({ "listing_id": "text-statistics", "body": { "text": "a" },
        "max_total_usd": "1" });
    let call = json!({ "jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": { "name": "crochet_call_listing", "arguments": args } });
    program.send(call.to_string()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(program.end().await.status.success());
    let (mut again, _) = Program::ready(on_sandbox(&sandbox, folder.path()), NEWEST_LEGACY).await;
    let journal = again.call("market_list_purchases", json!({})).await.unwrap();
    for purchase in journal["purchases"].as_array().unwrap() {
        let id = purchase["id"].clone();
        let checked = again.call("market_check_purchase", json!({ "purchase_id": id })).await;
        let moved = checked.unwrap()["purchase"]["money_moved"].clone();
        assert!(moved == "yes" || moved == "no", "{moved}");
    }
    assert!(again.end().await.status.success());
}

async fn patiently(program: &mut Program, tool: &str, args: Value) -> Value {
    let begun = Instant::now();
    loop {
        match program.call(tool, args.clone()).await {
            Ok(done) => return done,
            Err(error) => {
                assert_eq!(error["recovery"]["retryable"], true, "{error}");
                assert_eq!(error["money_moved"], "no", "{error}");
                assert!(begun.elapsed() < Duration::from_mins(1), "{error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn shared(data_dir: &Path) -> tokio::process::Command {
    let mut command = command(data_dir);
    command.args(["serve", "--profile", "buy,account"]);
    command
}

/// Two processes of one data directory trade in one world; the one that serves it is killed, the
/// other takes over, and finds the same account and the same purchases.
#[tokio::test]
async fn the_shared_sandbox_outlives_the_process_that_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, _) = Program::ready(shared(folder.path()), NEWEST_LEGACY).await;
    let bought = first
        .call(
            "crochet_call_listing",
            json!({ "listing_id": "sha256-digest",
            "body": { "text": "abc" }, "max_total_usd": "0.01" }),
        )
        .await
        .unwrap();
    let account = first.call("crochet_get_profile", json!({})).await.unwrap();
    let (mut second, _) = Program::ready(shared(folder.path()), NEWEST_LEGACY).await;
    let beside = second.call("market_list_purchases", json!({})).await.unwrap();
    assert_eq!(beside["purchases"][0]["id"], bought["purchase"]["id"]);
    let same = second.call("crochet_get_profile", json!({})).await.unwrap();
    assert_eq!(same["agent_id"], account["agent_id"]);

    first.signal("KILL").await;
    assert!(!first.ended().await.status.success());
    let after = patiently(&mut second, "crochet_get_profile", json!({})).await;
    assert_eq!(after["agent_id"], account["agent_id"]);
    let calls = patiently(&mut second, "crochet_list_gateway_requests", json!({})).await;
    assert_eq!(calls["rows_untrusted"].as_array().unwrap().len(), 1, "{calls}");
    let again = json!({ "listing_id": "sha256-digest", "body": { "text": "abc" },
        "max_total_usd": "0.01" });
    let twin = second.call("crochet_call_listing", again).await.unwrap_err();
    assert_eq!(twin["code"], "possible_duplicate", "{twin}");
    let ended = second.end().await;
    assert!(ended.status.success() && !ended.stderr.contains("panicked"), "{ended:?}");
}
