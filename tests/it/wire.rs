//! Every operation's bytes, as the sandbox records them, against fixtures from the vendor's page; and
//! the list of operations against the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use haggle::tools::PLACES;
use serde_json::{Map, Value, json};

use crate::world::{Make, World};

/// A wallet that the sandbox has never seen; its keys are of nobody.
const NEW_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
/// What the buyer sends: what a second serialisation could change.
const BODY: &str = r#"{"text":"zażółć \"gęślą\" ✓\n","n":[1,2.5,null],"a":{"z":1,"b":2}}"#;

/// Values that fixtures name, such as `listing_id`.
type Known = BTreeMap<&'static str, BTreeSet<String>>;

fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect()
}

fn read_fixtures(folder: &Path) -> BTreeMap<String, Value> {
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

/// Whether a text is what a pattern says; `{name}` stands for one of the values known by it.
fn fits(pattern: &str, text: &str, known: &Known) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return pattern == text };
    let Some((name, after)) = rest.split_once('}') else { return pattern == text };
    let Some(value) = text.strip_prefix(before).and_then(|t| t.strip_suffix(after)) else {
        return false;
    };
    let is_hex =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match name {
        "any" => !value.is_empty(),
        "digits" => !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()),
        "signature" => {
            let evm = value.strip_prefix("0x").is_some_and(|hex| hex.len() == 130 && is_hex(hex));
            evm || bs58::decode(value).into_vec().is_ok_and(|bytes| bytes.len() == 64)
        }
        name => known.get(name).is_some_and(|values| values.contains(value)),
    }
}

fn path_fits(pattern: &str, path: &str, known: &Known) -> bool {
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(p, s)| fits(p, s, known))
}

fn value_fits(pattern: &Value, value: &Value, known: &Known) -> bool {
    match (pattern, value) {
        (Value::String(pattern), Value::String(text)) => fits(pattern, text, known),
        (Value::Object(pattern), Value::Object(members)) => {
            let bare = |name: &String| name.trim_end_matches('?').to_owned();
            let named: BTreeSet<String> = pattern.keys().map(bare).collect();
            members.keys().all(|name| named.contains(name))
                && pattern.iter().all(|(name, pattern)| match members.get(&bare(name)) {
                    Some(value) => value_fits(pattern, value, known),
                    None => name.ends_with('?'),
                })
        }
        (Value::Array(pattern), Value::Array(items)) => {
            pattern.len() == items.len()
                && pattern.iter().zip(items).all(|(p, v)| value_fits(p, v, known))
        }
        (pattern, value) => pattern == value,
    }
}

/// What of a request differs from its fixture.
fn differences(fixture: &Value, request: &Value, known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let query: Map<String, Value> = url::form_urlencoded::parse(text("query").as_bytes())
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect();
    if !value_fits(&fixture["query"], &Value::Object(query), known) {
        wrong.push(format!("the query is {}", text("query")));
    }
    for (name, pattern) in fixture["headers"].as_object().unwrap() {
        let value = request["headers"].get(name).and_then(Value::as_str);
        let right = match pattern.as_str() {
            Some(pattern) => value.is_some_and(|value| fits(pattern, value, known)),
            None => value.is_none(),
        };
        if !right {
            wrong.push(format!("{name} is {value:?}"));
        }
    }
    let body = text("body");
    let right = match &fixture["body"] {
        Value::Null => body.is_empty() && request["headers"].get("content-type").is_none(),
        Value::String(bytes) => known[bytes.trim_matches(['{', '}'])].contains(body),
        pattern => serde_json::from_str::<Value>(body)
            .is_ok_and(|value| value_fits(pattern, &value, known)),
    };
    if !right {
        wrong.push(format!("the body is {body}"));
    }
    wrong
}

/// Holds requests against fixtures; gives the names of those that were met.
fn hold(fixtures: &BTreeMap<String, Value>, requests: &[Value], known: &Known) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    for request in requests.iter().filter(|request| request["marketplace"] == "crochet") {
        let (method, path) = (&request["method"], request["path"].as_str().unwrap());
        let same = |(_, fixture): &(&String, &Value)| {
            fixture["method"] == *method
                && path_fits(fixture["path"].as_str().unwrap(), path, known)
        };
        let candidates: Vec<_> = fixtures.iter().filter(same).collect();
        assert!(!candidates.is_empty(), "{method} {path} has no fixture");
        let fit = candidates.iter().find(|(_, f)| differences(f, request, known).is_empty());
        let Some((name, _)) = fit else {
            let wrong: Vec<_> =
                candidates.iter().map(|(n, f)| (n, differences(f, request, known))).collect();
            panic!("{method} {path} is as in no fixture: {wrong:#?}");
        };
        met.insert((*name).clone());
    }
    met
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn know(known: &mut Known, name: &'static str, value: impl Into<String>) {
    known.entry(name).or_default().insert(value.into());
}

/// Buys on every route, and reads.
async fn buys(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let body: Value = serde_json::from_str(BODY).unwrap();
    know(known, "body", body.to_string());
    done("market_search", json!({ "query": "text & \"words\"" })).await;
    done(
        "crochet_search_listings",
        json!({ "query": "text", "category": "text",
        "sort": "price_low", "page": 1, "limit": 5 }),
    )
    .await;
    for name in ["Word count", "Text statistics", "Micro digest"] {
        let listings = &world.sandbox.info().crochet.listings;
        let listing = listings.iter().find(|listing| listing.name == name).unwrap();
        know(known, "listing_id", listing.id.as_str());
        done("crochet_get_listing", json!({ "listing_id": listing.id })).await;
        let price = &listing.price_usd;
        let args = json!({ "listing_id": listing.id, "body": body, "max_total_usd": price });
        let called = world.call("crochet_call_listing", args).await;
        // No wallet of ours can pay in SOL; what was asked for is what counts here.
        if let Err(error) = called {
            assert_eq!(error["code"], "awaiting_external_payment", "{name}: {error}");
            know(known, "relay", text(&error["payment"]["relay_request_id"]));
        }
    }
    for (reference, _) in world.charges().await {
        know(known, "relay", reference);
    }
    let (listing_id, _, _) = world.listing("auto");
    let profile = done("crochet_get_profile", json!({})).await;
    know(known, "agent_id", text(&profile["agent_id"]));
    done("crochet_list_wallets", json!({})).await;
    done("crochet_list_gateway_requests", json!({ "limit": 7 })).await;
    done("crochet_list_ledger", json!({ "limit": 7 })).await;
    done("crochet_list_categories", json!({})).await;
    done("crochet_get_score", json!({ "agent_id": profile["agent_id"] })).await;
    done(
        "crochet_review_listing",
        json!({ "listing_id": listing_id, "accuracy_rating": 5,
        "reliability_rating": 4, "value_rating": 3, "title": "Exact",
        "comment": "It counts \"right\"." }),
    )
    .await;
    done("crochet_list_api_keys", json!({})).await;
    let key = done("crochet_create_api_key", json!({ "name": "ci" })).await;
    know(known, "api_key_id", text(&key["api_key_id"]));
    done("crochet_revoke_api_key", json!({ "api_key_id": key["api_key_id"] })).await;
}

/// Lists something, looks after its endpoint, takes it off.
async fn sells(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let endpoint = "http://127.0.0.1:9/hook";
    know(known, "endpoint", endpoint);
    let created = done(
        "crochet_create_listing",
        json!({ "name": "Echo",
        "description": "Says it again.", "price_usd": "0.010", "category": "utilities",
        "private_endpoint_url": endpoint }),
    )
    .await;
    let id = text(&created["listing_id"]);
    know(known, "listing_id", id.as_str());
    let mine = json!({ "listing_id": id });
    done(
        "crochet_update_listing",
        json!({ "listing_id": id,
        "description": "Says it once more." }),
    )
    .await;
    done("crochet_set_endpoint", json!({ "listing_id": id, "private_endpoint_url": endpoint }))
        .await;
    for tool in [
        "crochet_get_endpoint",
        "crochet_test_endpoint",
        "crochet_rotate_secret",
        "crochet_delete_listing",
    ] {
        done(tool, mine.clone()).await;
    }
}

/// Registers, links a second wallet, changes it, gets a new key.
async fn joins(world: &World, known: &mut Known) {
    let done = async |tool: &str, args: Value| {
        world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    let wallet = world.app.wallet().await.unwrap();
    know(known, "address", wallet.evm_address().unwrap().to_checksum(None));
    know(known, "address", wallet.solana_address().unwrap());
    done("crochet_register", json!({ "display_name": "Newcomer" })).await;
    done("crochet_link_wallet", json!({ "chain": "solana", "capabilities": ["payment"] })).await;
    let wallets = done("crochet_list_wallets", json!({})).await;
    let rows = wallets["rows_untrusted"].as_array().unwrap();
    let linked = rows.iter().find(|row| row["is_default"] != true).unwrap();
    know(known, "wallet_id", text(&linked["id"]));
    done(
        "crochet_update_wallet",
        json!({ "wallet_id": linked["id"],
        "capabilities": ["payment", "payout"] }),
    )
    .await;
    done("crochet_recover_account", json!({})).await;
}

/// The keys that the requests carry: one a line of requests, and each of the right form.
fn know_keys(requests: &[Value], known: &mut Known) {
    for request in requests {
        let headers = &request["headers"];
        if let Some(key) = headers["authorization"].as_str() {
            let key = key.strip_prefix("Bearer ").unwrap_or_else(|| panic!("no bearer: {key}"));
            assert!(key.starts_with("am_k_"), "{key}");
            know(known, "api_key", key);
        }
        if let Some(key) = headers["idempotency-key"].as_str() {
            assert!(key.len() >= 16, "{key}");
            know(known, "key", key);
        }
    }
}

#[tokio::test]
async fn requests_are_those_of_the_page() {
    let fixtures_of = read_fixtures(&fixtures().join("crochet"));
    let (mut known, mut met, mut all) = (Known::new(), BTreeSet::new(), Vec::new());
    let trader = World::start().await;
    buys(&trader, &mut known).await;
    sells(&trader, &mut known).await;
    let newcomer = World::start_with(Make {
        private_key: Some(NEW_KEY.to_owned()),
        solana_key: Some(bs58::encode([9_u8; 32]).into_string()),
        ..Make::default()
    })
    .await;
    joins(&newcomer, &mut known).await;
    for world in [trader, newcomer] {
        let requests = world.requests().await;
        know_keys(&requests, &mut known);
        met.extend(hold(&fixtures_of, &requests, &known));
        all.extend(requests);
    }
    let names: BTreeSet<String> = fixtures_of.keys().cloned().collect();
    assert_eq!(met, names, "a fixture was not met");
    operations_are_made(&all);
}

/// Each operation of the list that has a tool was really asked for.
fn operations_are_made(requests: &[Value]) {
    for operation in operations().iter().filter(|operation| !operation.tool.is_empty()) {
        let made = requests.iter().any(|request| {
            let path = request["path"].as_str().unwrap();
            let (ours, theirs): (Vec<_>, Vec<_>) =
                (operation.path.split('/').collect(), path.split('/').collect());
            request["marketplace"] == "crochet"
                && request["method"] == operation.method.as_str()
                && ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(o, t)| o == t || *o == "{id}")
        });
        assert!(made, "{} was not asked for", operation.name);
    }
}

/// A call, its retry with the payment, and the other route: the same bytes, the right keys.
#[tokio::test]
async fn a_paid_call_is_repeated_byte_for_byte() {
    let world = World::start().await;
    let body: Value = serde_json::from_str(BODY).unwrap();
    for behaviour in ["auto", "route_minimum"] {
        let (listing_id, price, _) = world.listing(behaviour);
        let args = json!({ "listing_id": listing_id, "body": body, "max_total_usd": price });
        let _ = world.call("crochet_call_listing", args).await;
    }
    let requests = world.requests().await;
    let to = |behaviour: &str| {
        let path = format!("/gateway/{}", world.listing(behaviour).0);
        requests.iter().filter(move |request| request["path"] == path.as_str()).collect::<Vec<_>>()
    };
    let paid = to("auto");
    let relay = |request: &Value| request["headers"].get("x-crochet-relay-request-id").cloned();
    assert!(paid.len() >= 2 && relay(paid[0]).is_none(), "{paid:?}");
    for retry in &paid[1..] {
        assert_eq!(relay(retry).unwrap(), world.charges().await[0].0.as_str());
        assert_eq!(retry["body"], paid[0]["body"]);
        for header in ["idempotency-key", "x-crochet-origin-currency", "content-type"] {
            assert_eq!(retry["headers"][header], paid[0]["headers"][header], "{header}");
        }
    }
    let routed = to("route_minimum");
    let currency = |request: &Value| request["headers"]["x-crochet-origin-currency"].clone();
    assert_eq!(routed.len(), 3, "{routed:?}");
    assert!(relay(routed[1]).is_none() && relay(routed[2]).is_some());
    assert_eq!((currency(routed[0]), currency(routed[1])), (json!("USDC"), json!("SOL")));
    assert!(routed.iter().all(|request| request["body"] == routed[0]["body"]));
    let key = |request: &Value| request["headers"]["idempotency-key"].clone();
    assert_ne!(key(routed[0]), key(routed[1]));
    assert_eq!(key(routed[1]), key(routed[2]));
    assert_eq!(world.charges().await.len(), 1);
}

/// A row of `operations.csv`.
struct Operation {
    name: String,
    method: String,
    path: String,
    tool: String,
    reason: String,
}

fn operations() -> Vec<Operation> {
    let text = fs::read_to_string(fixtures().join("operations.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("operation,method,path,tool,reason"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.splitn(5, ',').collect();
            let cell = |at: usize| cells[at].to_owned();
            Operation {
                name: cell(0),
                method: cell(1),
                path: cell(2),
                tool: cell(3),
                reason: cell(4),
            }
        })
        .collect()
}

#[test]
fn every_operation_has_a_tool_or_a_reason() {
    /// These make no operation of their own: they go on with another's, or work offline.
    const LOCAL: &[&str] = &["crochet_resume_call", "crochet_verify_request"];
    let (operations, fixtures) = (operations(), read_fixtures(&fixtures().join("crochet")));
    assert_eq!(operations.len(), 30, "§3 has 20 operations, one inbound, and nine further ones");
    for operation in &operations {
        let Operation { name, tool, reason, .. } = operation;
        assert_ne!(tool.is_empty(), reason.is_empty(), "{name}: a tool or a reason");
        if !tool.is_empty() {
            assert!(PLACES.iter().any(|place| place.name == tool), "{name}: {tool}");
            let fixture = fixtures.get(name).unwrap_or_else(|| panic!("{name} has no fixture"));
            assert_eq!(fixture["method"], operation.method.as_str(), "{name}");
        }
    }
    let tools: BTreeSet<&str> = operations.iter().map(|operation| &*operation.tool).collect();
    for place in PLACES.iter().filter(|place| place.name.starts_with("crochet_")) {
        let local = LOCAL.contains(&place.name);
        assert_ne!(tools.contains(place.name), local, "{} is in no operation", place.name);
    }
}
