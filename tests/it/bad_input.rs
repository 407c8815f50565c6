//! Arguments that cannot be used: whatever they are, the answer names the argument and shows one that
//! can, nothing is sent, and the server goes on. Driven by the schemas, so that a new tool is covered.

use haggle::cli::tools::listed;
use serde_json::{Map, Value, json};

use crate::world::World;

/// More than any text may have.
const TOO_LONG: usize = 1_200_000;

fn bad_ids() -> Vec<Value> {
    let mut ids: Vec<Value> = [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a/../b",
        "..%2fpay",
        "%2e%2e",
        "%2e%2e%2f",
        "a/b",
        "a\\b",
        "a?b=c",
        "a#b",
        "a b",
        "a\r\nX-Evil: 1",
        "a\n",
        "a\0b",
        "é",
        "lst\u{202e}",
        "ａ",
        "a;b",
        "a'b",
        "{id}",
        "a\u{200b}",
        "*",
        "a,b",
        "@",
        "~root",
        "$(id)",
        "\u{e0041}",
    ]
    .iter()
    .map(|id| json!(id))
    .collect();
    ids.extend([json!("a".repeat(10_000)), json!(7), json!(true), json!(["a"]), json!({ "a": 1 })]);
    ids
}

fn bad_amounts() -> Vec<Value> {
    let power = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let mut amounts: Vec<Value> = [
        "",
        " ",
        "-1",
        "-0",
        "+1",
        "1e3",
        "1E3",
        "NaN",
        "inf",
        "Infinity",
        "1.0000001",
        "1.",
        ".5",
        "1,5",
        "1 000",
        "1_000",
        "0x10",
        "１",
        "٣",
        "1.5 USD",
        "$1",
        "1\n",
        "1\0",
        "--1",
        "1.2.3",
        "18446744073709551616",
        power,
        "01e1",
        "1/2",
    ]
    .iter()
    .map(|amount| json!(amount))
    .collect();
    amounts.extend([json!(1), json!(1.5), json!(-1), json!(true), json!(["1"]), json!({})]);
    amounts.push(json!("9".repeat(10_000)));
    amounts
}

/// A value that the schema takes, for what is not being tested.
fn good(name: &str, schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    // Words that are each described stand as alternatives.
    if let Some(first) = schema["oneOf"][0].get("const") {
        return first.clone();
    }
    match (name, schema["type"].as_str()) {
        ("max_total_usd", _) => json!("2"),
        (name, _) if name.ends_with("_usd") => json!("0.5"),
        ("supplier", _) => json!("supplier.example"),
        ("reason", _) => json!("The answers have been empty since noon."),
        (name, _) if name.ends_with("email") => json!("ada@company.example"),
        ("private_endpoint_url" | "url", _) => json!("http://127.0.0.1:9/hook"),
        (_, Some("integer")) => json!(3),
        (_, Some("boolean")) => json!(true),
        (_, Some("array")) => json!([]),
        (_, Some("object")) => json!({}),
        _ => json!("abc"),
    }
}

/// Values of another type, or beyond what any argument of this type may be.
fn bad_values(name: &str, schema: &Value) -> Vec<Value> {
    let id = name.ends_with("_id");
    match (name, schema["type"].as_str()) {
        _ if id => bad_ids(),
        (name, _) if name.ends_with("_usd") => bad_amounts(),
        (_, Some("integer")) => {
            let mut values = vec![json!("1"), json!(1.5), json!(-1), json!(true), json!([1])];
            values.push(json!(18_446_744_073_709_551_615_u64));
            if name != "cursor" {
                values.push(json!(1_000_000_000));
            }
            if !["cursor", "wait_seconds"].contains(&name) {
                values.push(json!(0));
            }
            values
        }
        (_, Some("boolean")) => vec![json!("true"), json!(1), json!([]), json!({})],
        (_, Some("array")) => vec![json!("a"), json!(1), json!({}), json!([{}])],
        (_, Some("object")) => vec![json!("a"), json!(1), json!([])],
        (_, Some("string")) => {
            vec![json!(17), json!(true), json!(["a"]), json!({}), json!("a".repeat(TOO_LONG))]
        }
        // Any JSON; only its size is bounded.
        (_, None) => vec![json!("a".repeat(TOO_LONG))],
        (_, Some(other)) => panic!("{name} is of the type {other}"),
    }
}

fn shown(args: &Value) -> String {
    args.to_string().chars().take(200).collect()
}

/// Calls, and holds the answer against what is promised of a bad argument.
async fn is_refused(world: &World, tool: &str, args: Value, field: &str) {
    let text = shown(&args);
    let error = match world.call(tool, args).await {
        Err(error) => error,
        Ok(done) => panic!("{tool} took {field} of {text}: {done}"),
    };
    assert_eq!(error["code"], "invalid_argument", "{tool} {field} {text}: {error}");
    let named = error["field"].as_str().unwrap_or_default();
    let inside = |end: &str| named.strip_prefix(field).is_some_and(|rest| rest.starts_with(end));
    assert!(named == field || inside(".") || inside("["), "{tool} {text}: {error}");
    assert!(error["example"].as_str().is_some_and(|e| !e.is_empty()), "{tool} {field}: {error}");
    assert_eq!(error["money_moved"], "no", "{tool} {field}: {error}");
    assert_eq!(error["repeat_safe"], true, "{tool} {field}: {error}");
    assert_eq!(error["recovery"]["next_action"], "fix_arguments", "{tool} {field}: {error}");
    assert!(error.to_string().len() < 3_000, "{tool} {field}: the argument is echoed");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(field), "{tool} {field}: {message}");
    assert!(!message.chars().any(char::is_control), "{tool} {field}: {message:?}");
}

#[tokio::test]
async fn no_bad_argument_leaves_this_process() {
    let world = World::start().await;
    let before = world.requests().await.len();
    let mut tried = 0;
    for tool in listed() {
        let schema = Value::Object((*tool.input_schema).clone());
        let properties = schema["properties"].as_object().unwrap();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let base: Map<String, Value> = required
            .iter()
            .map(|name| ((*name).to_owned(), good(name, &properties[*name])))
            .collect();
        let with = |name: &str, value: Value| {
            let mut args = base.clone();
            args.insert(name.to_owned(), value);
            Value::Object(args)
        };
        for (name, described) in properties {
            for value in bad_values(name, described) {
                is_refused(&world, &tool.name, with(name, value), name).await;
                tried += 1;
            }
            if described["enum"].is_array() {
                is_refused(&world, &tool.name, with(name, json!("bitcoin")), name).await;
            }
        }
        for name in &required {
            let mut args = base.clone();
            args.remove(*name);
            is_refused(&world, &tool.name, Value::Object(args), name).await;
        }
        let unknown = ["surprise", "private_key", "idempotency_key", "payee"];
        for unknown in unknown.into_iter().filter(|name| !properties.contains_key(*name)) {
            is_refused(&world, &tool.name, with(unknown, json!("x")), unknown).await;
        }
    }
    assert!(tried > 300, "only {tried}");
    assert_eq!(world.requests().await.len(), before, "something was sent");
    assert!(world.charges().await.is_empty());
    world.call("market_status", json!({})).await.unwrap();
}

/// Names that only look like an argument's, and cleaned names in the message.
#[tokio::test]
async fn what_an_unknown_argument_is_called_is_shown_cleaned() {
    let world = World::start().await;
    let hostile = "x\u{202e}\u{1b}[31m\u{200b}y";
    let error = world.call("market_status", json!({ hostile: 1 })).await.unwrap_err();
    assert_eq!(error["code"], "invalid_argument");
    assert_eq!(error["field"], "xy", "{error}");
    let long = world.call("market_status", json!({ "k".repeat(50_000): 1 })).await.unwrap_err();
    assert!(long.to_string().len() < 3_000);
    let recased = json!({ "Listing_Id": "a" });
    let error = world.call("crochet_get_listing", recased).await.unwrap_err();
    assert_eq!(error["field"], "Listing_Id", "{error}");
    // An example in the message can be used as it is.
    let example: Value = serde_json::from_str(error["example"].as_str().unwrap()).unwrap();
    assert!(example["listing_id"].is_string(), "{error}");
}

/// What is checked in code and not by type, where it is not a matter of size.
#[tokio::test]
async fn words_and_bounds_are_checked() {
    let world = World::start().await;
    let before = world.requests().await.len();
    let id = "text-statistics";
    #[rustfmt::skip]
    let rows = [
        // tool                       arguments                                                   field
        ("market_search",             json!({ "limit": 51 }),                                     "limit"),
        ("market_search",             json!({ "cursor": "x" }),                                   "cursor"),
        ("market_search",             json!({ "cursor": "-1" }),                                  "cursor"),
        ("market_search",             json!({ "query": "a".repeat(501) }),                        "query"),
        ("market_list_purchases",     json!({ "limit": 101 }),                                    "limit"),
        ("market_list_purchases",     json!({ "state": "paid" }),                                 "state"),
        ("market_list_purchases",     json!({ "cursor": "../x" }),                                "cursor"),
        ("market_wait_events",        json!({ "cursor": -1 }),                                    "cursor"),
        ("market_wait_events",        json!({ "wait_seconds": 601 }),                             "wait_seconds"),
        ("crochet_search_listings",   json!({ "sort": "cheapest" }),                              "sort"),
        ("crochet_search_listings",   json!({ "page": 10_001 }),                                  "page"),
        ("crochet_search_listings",   json!({ "category": "../x" }),                              "category"),
        ("crochet_call_listing",      json!({ "listing_id": id, "max_total_usd": "1",
                                              "body": {}, "origin_currency": "S OL" }),                       "origin_currency"),
        ("crochet_call_listing",      json!({ "listing_id": id, "max_total_usd": "1",
                                              "body": {}, "origin_currency": "SOL\r\nX: y" }),                "origin_currency"),
        ("crochet_call_listing",      json!({ "listing_id": id, "max_total_usd": "1",
                                              "body": "a".repeat(256 * 1024) }),                  "body"),
        ("crochet_link_wallet",       json!({ "chain": "evm", "capabilities": ["steal"] }),       "capabilities"),
        ("crochet_link_wallet",       json!({ "chain": "evm",
                                              "extra": { "wallet_address": "0x0" } }),            "extra"),
        ("crochet_register",          json!({ "display_name": "\u{7}" }),                         "display_name"),
        ("crochet_create_api_key",    json!({ "name": "" }),                                      "name"),
        ("crochet_set_endpoint",      json!({ "listing_id": id,
                                              "private_endpoint_url": "http://10.0.0.1/" }),      "private_endpoint_url"),
        ("crochet_set_endpoint",      json!({ "listing_id": id,
                                              "private_endpoint_url": "https://a:b@c.example/" }), "private_endpoint_url"),
    ];
    for (tool, args, field) in rows {
        is_refused(&world, tool, args, field).await;
    }
    assert_eq!(world.requests().await.len(), before, "something was sent");
}
