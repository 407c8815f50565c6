//! What clients see of the tools: names, hints, schemas, their cost; and that results fit them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use haggle::{
    cli::tools::{listed, schema_files, tokens, write_schemas},
    profile::Profile,
    tools::{self, Kind, PLACES, Place},
};
use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::world::{Era, Make, World};

const TOOL_TOKENS_MAX: usize = 250;
const AVERAGE_TOKENS_MAX: usize = 125;
const BUYER_TOKENS_MAX: usize = 3_500;
const DESCRIPTION_CHARS_MAX: usize = 400;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tool-schemas"].iter().collect()
}

fn place(name: &str) -> &'static Place {
    PLACES.iter().find(|place| place.name == name).unwrap_or_else(|| panic!("{name} has no place"))
}

#[test]
fn every_tool_has_a_place_and_every_place_a_tool() {
    let names: Vec<String> =
        tools::names(&tools::router()).iter().map(ToString::to_string).collect();
    let mut places: Vec<String> = PLACES.iter().map(|place| place.name.to_owned()).collect();
    places.sort();
    assert_eq!(names, places);
    places.dedup();
    assert_eq!(places.len(), PLACES.len(), "a place stands twice");
    for place in PLACES {
        assert!(!place.profiles.is_empty(), "{} is in no profile", place.name);
    }
}

#[test]
fn names_titles_and_hints_are_whole() {
    for tool in listed() {
        let (name, kind) = (&*tool.name, place(&tool.name).kind);
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        assert!(name.len() <= 48 && name.bytes().all(fits), "{name}");
        assert!(
            ["market_", "croo_", "crochet_", "paegents_"]
                .iter()
                .any(|start| name.starts_with(start)),
            "{name}"
        );
        let hints = tool.annotations.as_ref().unwrap_or_else(|| panic!("{name} has no hints"));
        assert!(hints.title.as_ref().is_some_and(|title| !title.is_empty()), "{name}: title");
        let (read_only, destructive) = (hints.read_only_hint, hints.destructive_hint);
        assert_eq!(read_only, Some(kind == Kind::Read), "{name}: read_only_hint");
        assert!(destructive.is_some(), "{name}: destructive_hint");
        assert!(hints.idempotent_hint.is_some(), "{name}: idempotent_hint");
        assert!(hints.open_world_hint.is_some(), "{name}: open_world_hint");
        match kind {
            Kind::Read => assert_eq!(destructive, Some(false), "{name}"),
            Kind::Spend => assert_eq!(destructive, Some(true), "{name}"),
            Kind::Write => {}
        }
        let description = tool.description.as_deref().unwrap_or_default();
        assert!((10..=DESCRIPTION_CHARS_MAX).contains(&description.chars().count()), "{name}");
        assert!(!description.contains('\n') && !description.contains("  "), "{name}");
    }
}

/// Every keyword schema of a schema: itself, its properties, items, alternatives.
fn subschemas<'a>(schema: &'a Value, at: String, found: &mut Vec<(String, &'a Value)>) {
    if let Some(members) = schema.as_object() {
        for (name, member) in members {
            match (name.as_str(), member) {
                ("properties" | "$defs", Value::Object(inner)) => {
                    for (property, schema) in inner {
                        subschemas(schema, format!("{at}/{property}"), found);
                    }
                }
                ("items" | "not", _) | ("additionalProperties", Value::Object(_)) => {
                    subschemas(member, format!("{at}/{name}"), found);
                }
                ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => {
                    for (index, schema) in all.iter().enumerate() {
                        subschemas(schema, format!("{at}/{name}/{index}"), found);
                    }
                }
                _ => {}
            }
        }
    }
    found.push((at, schema));
}

fn all_subschemas(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    subschemas(schema, String::new(), &mut found);
    found
}

#[test]
fn input_schemas_are_strict_described_and_plain() {
    for tool in listed() {
        let name = &tool.name;
        let schema = Value::Object((*tool.input_schema).clone());
        assert_eq!(schema["type"], "object", "{name}");
        assert_eq!(schema["additionalProperties"], json!(false), "{name} is not strict");
        for keyword in ["anyOf", "oneOf", "allOf", "$schema", "title", "$ref", "$defs"] {
            assert!(schema.get(keyword).is_none(), "{name} has `{keyword}` at its root");
        }
        for (property, described) in schema["properties"].as_object().unwrap() {
            let text = described["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name}: {property} is not described");
            let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(property.chars().all(snake), "{name}: {property}");
        }
        for (at, inner) in all_subschemas(&schema) {
            assert!(!inner.is_boolean(), "{name}{at} is a boolean schema");
            assert!(inner.get("$schema").is_none() && inner.get("$ref").is_none(), "{name}{at}");
        }
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn output_schemas_admit_every_result() {
    for tool in listed() {
        let name = &tool.name;
        let schema = tool.output_schema.as_ref().unwrap_or_else(|| panic!("{name} has none"));
        let schema = Value::Object((**schema).clone());
        assert_eq!(schema["type"], "object", "{name}");
        for keyword in ["required", "anyOf", "oneOf", "allOf", "$schema", "additionalProperties"] {
            assert!(schema.get(keyword).is_none(), "{name} has `{keyword}` at its root");
        }
        assert!(schema["properties"].get("error").is_some(), "{name} does not admit `error`");
        for (at, inner) in all_subschemas(&schema) {
            assert!(!inner.is_boolean(), "{name}{at} is a boolean schema");
        }
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        let admits = jsonschema::validator_for(&schema).unwrap();
        assert!(admits.is_valid(&json!({ "error": { "code": "internal" }, "mode": "live" })));
    }
}

#[test]
fn tools_cost_what_they_may() {
    let costs: Vec<(String, usize)> =
        listed().iter().map(|tool| (tool.name.to_string(), tokens(tool))).collect();
    let total: usize = costs.iter().map(|(_, tokens)| tokens).sum();
    for (name, tokens) in &costs {
        assert!(*tokens < TOOL_TOKENS_MAX, "{name} costs {tokens} tokens");
    }
    let average = total / costs.len();
    assert!(average <= AVERAGE_TOKENS_MAX, "{average} tokens a tool: {costs:?}");
    let bought = tools::in_use(&[Profile::Buy], haggle::marketplaces::Marketplace::ALL, false);
    let buyer: usize =
        costs.iter().filter(|(name, _)| bought.contains_key(name.as_str())).map(|(_, t)| t).sum();
    assert!(buyer <= BUYER_TOKENS_MAX, "market and buy cost {buyer} tokens");
    eprintln!("tokens: {average} a tool, {buyer} for market and buy, {total} for all");
}

/// The committed files are what `tools/list` sends, and nothing else is there. Run with
/// `UPDATE_TOOL_SCHEMAS=1` to write them anew.
#[tokio::test]
async fn committed_schemas_are_what_is_sent() {
    if std::env::var_os("UPDATE_TOOL_SCHEMAS").is_some() {
        write_schemas(&folder()).unwrap();
    }
    let world = World::start().await;
    let sent: BTreeMap<String, Value> = world
        .client()
        .list_all_tools()
        .await
        .unwrap()
        .into_iter()
        .map(|tool| (tool.name.to_string(), serde_json::to_value(tool).unwrap()))
        .collect();
    let committed: BTreeMap<String, Value> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        })
        .collect();
    let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
    let hint = "UPDATE_TOOL_SCHEMAS=1 cargo test --test it committed_schemas";
    assert_eq!(names(&sent), names(&committed), "run {hint}");
    for (name, tool) in &sent {
        assert_eq!(tool, &committed[name], "{name}: run {hint}");
    }
    for (name, text) in schema_files() {
        assert_eq!(fs::read_to_string(folder().join(&name)).unwrap(), text, "{name}: run {hint}");
    }
}

/// The same list in the same order, however often, in both eras.
#[tokio::test]
async fn the_list_is_the_same_each_time() {
    let modern = World::start().await;
    let legacy = World::start_with(Make { era: Era::Initialize, ..Make::default() }).await;
    let text = |tools: Vec<Tool>| serde_json::to_string(&tools).unwrap();
    let first = text(modern.client().list_all_tools().await.unwrap());
    assert_eq!(first, text(modern.client().list_all_tools().await.unwrap()));
    assert_eq!(first, text(legacy.client().list_all_tools().await.unwrap()));
    let _ = modern.call("market_search", json!({ "query": "translator" })).await.unwrap();
    assert_eq!(first, text(modern.client().list_all_tools().await.unwrap()));
}

/// The tools of a world, with their output schemas compiled.
pub(crate) async fn validators(world: &World) -> BTreeMap<String, jsonschema::Validator> {
    let tools = world.client().list_all_tools().await.unwrap();
    let compiled = |tool: &Tool| {
        let schema = Value::Object((**tool.output_schema.as_ref().unwrap()).clone());
        jsonschema::validator_for(&schema).unwrap()
    };
    tools.iter().map(|tool| (tool.name.to_string(), compiled(tool))).collect()
}

/// Successes and failures of each kind fit the schema that was announced for them.
#[tokio::test]
async fn results_fit_the_output_schema() {
    let world = World::start().await;
    let validators = validators(&world).await;
    let (listing, _, _) = world.listing("auto");
    let (manual, _, _) = world.listing("manual");
    let failing = world.purchase_of("fails_after_payment");
    let dear = json!({ "listing_id": listing, "max_total_usd": "0.000001" });
    #[rustfmt::skip]
    let calls = [
        // what is called                 with                                              succeeds
        ("market_search",                 json!({ "query": "text" }),                       true),
        ("market_status",                 json!({}),                                        true),
        ("crochet_get_listing",           json!({ "listing_id": listing }),                 true),
        ("crochet_get_listing",           json!({ "listing_id": "nothing-of-this-name" }),  false),
        ("crochet_call_listing",          world.purchase_of("free"),                        true),
        ("crochet_call_listing",          world.purchase_of("auto"),                        true),
        ("crochet_call_listing",          dear,                                             false),
        ("crochet_call_listing",          failing,                                          false),
        ("crochet_resume_call",           json!({ "purchase_id": "pur_nothing" }),          false),
        ("market_list_purchases",         json!({}),                                        true),
        ("market_wait_events",            json!({ "cursor": 0, "wait_seconds": 0 }),        true),
        ("crochet_search_listings",       json!({}),                                        true),
        ("crochet_list_categories",       json!({}),                                        true),
        ("crochet_get_profile",           json!({}),                                        true),
        ("crochet_list_wallets",          json!({}),                                        true),
        ("crochet_list_api_keys",         json!({}),                                        true),
        ("crochet_list_gateway_requests", json!({}),                                        true),
        ("crochet_list_ledger",           json!({}),                                        true),
        ("crochet_get_endpoint",          json!({ "listing_id": manual }),                  false),
        ("crochet_delete_listing",        json!({ "listing_id": manual }),                  false),
    ];
    for (tool, args, succeeds) in calls {
        let result = world.call_raw(tool, args.clone()).await;
        let body = result.structured_content.unwrap();
        assert_eq!(result.is_error != Some(true), succeeds, "{tool} {args}: {body}");
        let errors: Vec<String> =
            validators[tool].iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{tool} {args}: {errors:?} in {body}");
        assert_eq!(body["mode"], "sandbox", "{tool}");
        assert_eq!(body.get("error").is_some(), !succeeds, "{tool}");
    }
    // Every member that a success has is announced.
    let found = world.call("market_search", json!({ "query": "text" })).await.unwrap();
    let tool = listed().into_iter().find(|tool| tool.name == "market_search").unwrap();
    let schema = tool.output_schema.unwrap();
    let announced = schema["properties"].as_object().unwrap().clone();
    let members: &Map<String, Value> = found.as_object().unwrap();
    for member in members.keys().filter(|member| *member != "next") {
        assert!(announced.contains_key(member), "market_search: {member} is not announced");
    }
}
