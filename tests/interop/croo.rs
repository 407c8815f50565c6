//! CROO's Python and Node SDKs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use haggle::{
    clock::wall_ms,
    marketplaces::croo::stream::Times,
    sandbox::{Options, Sandbox},
    spend::word::{Word, owner_answers},
    store::payees,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::world::{Make, World};

/// What an SDK's run gave: what it printed, and every request of it that reached the sandbox.
struct Run {
    printed: Value,
    requests: Vec<Value>,
}

fn in_project(parts: &[&str]) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR")].iter().chain(parts).collect()
}

/// Runs a script with the sandbox's announcement on its standard input.
async fn run(program: PathBuf, script: &str) -> Run {
    let sandbox = Sandbox::start(Options::new(Arc::new(wall_ms))).await.unwrap();
    let mut child = tokio::process::Command::new(program)
        .arg(in_project(&["tests", "interop", script]))
        .env("NODE_PATH", in_project(&["target", "interop", "node_modules"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it is not installed: run scripts/install-interop");
    let info = serde_json::to_vec(&sandbox.info()).unwrap();
    child.stdin.take().unwrap().write_all(&info).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    let printed = serde_json::from_slice(&output.stdout).unwrap();
    Run { printed, requests: requests_of(&sandbox).await }
}

async fn requests_of(sandbox: &Sandbox) -> Vec<Value> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let url = format!("{}/requests?after=0", sandbox.admin_url());
    let answer: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    answer["entries"].as_array().unwrap().clone()
}

async fn python() -> Run {
    run(in_project(&["target", "interop", "python", "bin", "python"]), "croo_sdk.py").await
}

async fn node() -> Run {
    run("node".into(), "croo_sdk.cjs").await
}

/// Whether a part of a path or of a body is an identifier that one world gives and another does not.
fn is_identifier(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn without_identifiers(text: &str) -> String {
    let part = |part: &str| if is_identifier(part) { "{id}".to_owned() } else { part.to_owned() };
    text.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A body without identifiers and without empty members, which are the same as missing ones.
fn body_of(request: &Value) -> String {
    fn plain(value: Value) -> Value {
        match value {
            Value::Object(members) => members
                .into_iter()
                .filter(|(_, member)| member != "")
                .map(|(name, member)| (name, plain(member)))
                .collect(),
            // A caller's JSON goes as text, in whatever spelling the caller has.
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(inner @ Value::Object(_)) => plain(inner),
                _ => json!(without_identifiers(&text)),
            },
            other => other,
        }
    }
    let text = request["body"].as_str().unwrap();
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |body| plain(body).to_string())
}

/// What matters of a request, in one line: method, path, query, who signs it, what kind of body it
/// says it has, the body.
fn line_of(request: &Value, keys: &BTreeMap<String, &str>) -> String {
    let text = |name: &str| request[name].as_str().unwrap();
    let header = |name: &str| request["headers"][name].as_str();
    let is_storage = text("marketplace") == "storage";
    let query: BTreeSet<_> = url::form_urlencoded::parse(text("query").as_bytes())
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| match keys.get(&*value) {
            Some(agent) => format!("{name}={agent}"),
            // A presigned link is the storage's own.
            None if is_storage => name.into_owned(),
            None => format!("{name}={value}"),
        })
        .collect();
    let key = header("x-sdk-key").map(|key| keys.get(key).copied().unwrap_or("a stranger"));
    let kind = header("content-type").map(|kind| kind.split(';').next().unwrap_or_default());
    let path = if is_storage { "…".to_owned() } else { without_identifiers(text("path")) };
    format!(
        "{} {} {path} {query:?} key={key:?} authorization={:?} type={kind:?} {}",
        text("marketplace"),
        text("method"),
        header("authorization"),
        body_of(request),
    )
}

/// The distinct requests at CROO, its storage and its event socket.
fn lines(requests: &[Value], info: &Value) -> BTreeSet<String> {
    let agents = ["requester", "provider"];
    let key = |agent: &&'static str| {
        (info["croo"][*agent]["sdk_key"].as_str().unwrap().to_owned(), *agent)
    };
    let keys: BTreeMap<String, &str> = agents.iter().map(key).collect();
    let at_croo = |request: &&Value| {
        ["croo", "storage", "socket"].contains(&request["marketplace"].as_str().unwrap())
    };
    requests.iter().filter(at_croo).map(|request| line_of(request, &keys)).collect()
}

/// The provider's services: text, schema, fund.
fn own(info: &Value, number: usize) -> Value {
    let services = info["croo"]["services"].as_array().unwrap().iter();
    let provider = &info["croo"]["provider"]["agent_id"];
    services.filter(|s| s["owner_id"] == *provider).nth(number).unwrap().clone()
}

/// The trade of the scripts, through our tools.
async fn ours() -> (Vec<Value>, Value) {
    // With the event stream, as a server has it.
    let make = Make { times: Some(Times::default()), ..Make::default() };
    let requester = World::start_with(make).await;
    let provider = requester.provider().await;
    let info = serde_json::to_value(requester.sandbox.info()).unwrap();
    let wait = json!({ "wait_seconds": 0 });
    for world in [&requester, &provider] {
        world.call("market_wait_events", wait.clone()).await.unwrap();
    }

    let first = own(&info, 0);
    let asked = json!({ "service_id": first["id"], "requirements": first["input_example"],
        "metadata": "for the test" });
    let id = requester.call("croo_negotiate_order", asked).await.unwrap()["negotiation_id"].clone();
    // Read before it is accepted, since the SDK's script does.
    provider.call("croo_get_negotiation", json!({ "negotiation_id": id })).await.unwrap();
    let pending = json!({ "role": "provider", "status": "pending" });
    provider.call("croo_list_negotiations", pending).await.unwrap();
    requester.call("croo_list_negotiations", json!({ "role": "buyer" })).await.unwrap();
    let order = accepted(&requester, &provider, &id, None).await;
    requester.call("croo_list_orders", json!({ "role": "buyer" })).await.unwrap();
    let created = json!({ "role": "provider", "status": "created" });
    provider.call("croo_list_orders", created).await.unwrap();
    paid(&requester, &order).await;

    std::fs::create_dir_all(&provider.app.settings().files_dir).unwrap();
    let file = provider.app.settings().files_dir.join("result.csv");
    std::fs::write(file, "a,b\n1,2\n").unwrap();
    let stored = provider.call("croo_upload_file", json!({ "file_name": "result.csv" })).await;
    let key = stored.unwrap()["object_key"].clone();
    requester.call("croo_download_file", json!({ "object_key": key })).await.unwrap();

    delivered(&requester, &provider, &order, json!("42 words")).await;

    refused_and_funded(&requester, &provider, &info).await;
    let requests = requester.requests().await;
    requester.audit().await;
    (requests, info)
}

/// A rejected negotiation, a rejected order, a structured delivery, and an order with a fund part.
async fn refused_and_funded(requester: &World, provider: &World, info: &Value) {
    let second = own(info, 1);
    let asked = json!({ "service_id": second["id"], "requirements": second["input_example"] });
    let asked_again = json!({ "service_id": second["id"], "again": true,
        "requirements": second["input_example"] });
    let id = requester.call("croo_negotiate_order", asked).await.unwrap()["negotiation_id"].clone();
    let no = json!({ "negotiation_id": id, "reason": "ask again tomorrow" });
    provider.call("croo_reject_negotiation", no).await.unwrap();
    requester.call("croo_get_negotiation", json!({ "negotiation_id": id })).await.unwrap();

    let third = requester.call("croo_negotiate_order", asked_again.clone()).await.unwrap();
    let order = accepted(requester, provider, &third["negotiation_id"], None).await;
    let no = json!({ "order_id": order, "reason": "not needed any more" });
    requester.call("croo_reject_order", no).await.unwrap();

    let fourth = requester.call("croo_negotiate_order", asked_again).await.unwrap();
    let order = accepted(requester, provider, &fourth["negotiation_id"], None).await;
    paid(requester, &order).await;
    delivered(requester, provider, &order, json!({ "verdict": "change", "reasons": [] })).await;

    let errand = own(info, 2);
    let asked = json!({ "service_id": errand["id"], "requirements": errand["input_example"],
        "fund_usd": "1" });
    let fifth = requester.call("croo_negotiate_order", asked).await.unwrap();
    let address = info["croo"]["provider"]["wallet"].as_str().unwrap().parse().unwrap();
    let chain = info["chain"]["chain_id"].as_i64().unwrap();
    let keep = provider.app.store().transact(move |db| payees::put(db, "errands", address, chain));
    keep.await.unwrap();
    let order = accepted(requester, provider, &fifth["negotiation_id"], Some("errands")).await;
    let total = cost(requester, &order).await;
    let pay = json!({ "order_id": order, "max_total_usd": total });
    let asks = requester.call("croo_pay_order", pay.clone()).await.unwrap_err();
    assert_eq!(asks["code"], "approval_required", "{asks}");
    let id = asks["purchase_id"].as_str().unwrap().parse().unwrap();
    let now = requester.app.clock().now();
    owner_answers(requester.app.store(), &id, Word::Approve, now).await.unwrap();
    requester.call("croo_pay_order", pay).await.unwrap();
    let no = json!({ "order_id": order, "reason": "cannot be done" });
    provider.call("croo_reject_order", no).await.unwrap();
}

async fn accepted(
    requester: &World,
    provider: &World,
    negotiation: &Value,
    payee: Option<&str>,
) -> Value {
    let mut args = json!({ "negotiation_id": negotiation });
    if let Some(payee) = payee {
        args["payee"] = json!(payee);
    }
    provider.call("croo_accept_negotiation", args).await.unwrap();
    let wait = json!({ "negotiation_id": negotiation, "wait_seconds": 20 });
    let order = requester.call("croo_get_order", wait).await.unwrap();
    assert_eq!(order["status"], "created", "{order}");
    order["order_id"].clone()
}

async fn cost(requester: &World, order: &Value) -> Value {
    let read = requester.call("croo_get_order", json!({ "order_id": order })).await.unwrap();
    read["cost"]["total_usd"].clone()
}

async fn paid(requester: &World, order: &Value) {
    let total = cost(requester, order).await;
    let pay = json!({ "order_id": order, "max_total_usd": total });
    let paid = requester.call("croo_pay_order", pay).await.unwrap();
    assert_eq!(paid["purchase"]["money_moved"], "yes", "{paid}");
}

async fn delivered(requester: &World, provider: &World, order: &Value, result: Value) {
    let deliver = json!({ "order_id": order, "result": result });
    provider.call("croo_deliver_order", deliver).await.unwrap();
    let wait = json!({ "order_id": order, "wait_seconds": 20 });
    let delivery = requester.call("croo_get_delivery", wait).await.unwrap();
    assert_eq!(delivery["result_untrusted"], result, "{delivery}");
}

fn is_write(line: &str) -> bool {
    !line.contains(" GET ")
}

/// What the scripts send besides the trade: what has to be refused.
fn is_probe(line: &str) -> bool {
    let without_role = line.starts_with("croo GET /orders {\"page=1\", \"page_size=20\"}");
    let wrong_role =
        line.contains("/orders/negotiate {\"page=1\", \"page_size=20\", \"role=buyer\"}");
    line.contains("a stranger") || without_role || wrong_role
}

fn compare(name: &str, run: &Run, own: &BTreeSet<String>, info: &Value) {
    let theirs = lines(&run.requests, info);
    let missing: Vec<_> =
        theirs.iter().filter(|line| !is_probe(line) && !own.contains(*line)).collect();
    assert!(missing.is_empty(), "{name} sends, and we do not:\n{missing:#?}\nof ours:\n{own:#?}");
    let more: Vec<_> =
        own.iter().filter(|line| is_write(line)).filter(|line| !theirs.contains(*line)).collect();
    assert!(more.is_empty(), "we send, and {name} does not:\n{more:#?}");
}

/// What each side has to be told of the trade.
fn told(run: &Run) {
    let count = |side: &str| {
        let mut counts = BTreeMap::<String, usize>::new();
        for kind in run.printed["events"][side].as_array().unwrap() {
            *counts.entry(kind.as_str().unwrap().to_owned()).or_default() += 1;
        }
        json!(counts)
    };
    assert_eq!(
        count("requester"),
        json!({ "order_created": 4, "order_completed": 2, "order_negotiation_rejected": 1,
            "order_rejected": 2 })
    );
    assert_eq!(
        count("provider"),
        json!({ "order_negotiation_created": 5, "order_created": 4, "order_paid": 3,
            "order_rejected": 2 })
    );
    let reasons = [
        "ORDER_NOT_FOUND",
        "SDK_KEY_INVALID",
        "INVALID_PARAMETERS",
        "INVALID_PARAMETERS",
        "INVALID_STATUS",
    ];
    assert_eq!(run.printed["reasons"], json!(reasons));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_trade_in_the_sandbox_and_our_tools_send_what_they_send() {
    let (python, node, (requests, info)) = tokio::join!(python(), node(), ours());
    let own = lines(&requests, &info);
    for (name, run) in [("Python", &python), ("Node", &node)] {
        told(run);
        compare(name, run, &own, &info);
    }
}
