//! Every operation's bytes, as the sandbox records them, against fixtures from the vendors' pages; and
//! the list of operations against the code. Each marketplace has a scenario that asks for everything.

mod crochet;
mod croo;
mod paegents;
mod paegents_buyer;
mod paegents_escrow;
mod paegents_owner;
mod paegents_pay;
mod paegents_settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use haggle::tools::PLACES;
use serde_json::{Map, Value, json};

/// Values that fixtures name, such as `listing_id`.
type Known = BTreeMap<&'static str, BTreeSet<String>>;

fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect()
}

/// The fixtures of a marketplace, by the names of their files.
fn read_fixtures(marketplace: &str) -> BTreeMap<String, Value> {
    let folder = fixtures().join(marketplace);
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
        (Value::String(pattern), Value::Number(_)) => pattern == "{number}",
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
    for request in requests {
        let (method, path) = (&request["method"], request["path"].as_str().unwrap());
        let same = |(_, fixture): &(&String, &Value)| {
            // Storage and socket are other hosts than the API.
            let host = fixture.get("at").unwrap_or(&json!("")).clone();
            (host == "" || host == request["marketplace"])
                && fixture["method"] == *method
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

/// Each operation of a marketplace's list that has a tool was really asked for.
fn operations_are_made(marketplace: &str, requests: &[Value]) {
    let own = operations().into_iter().filter(|operation| operation.marketplace == marketplace);
    for operation in own.filter(|operation| !operation.tool.is_empty()) {
        // What goes to another host than the API is written as the name of its address.
        let host = match operation.path.as_str() {
            "{upload_url}" | "{download_url}" => "storage",
            "{ws_url}" => "socket",
            _ => marketplace,
        };
        let made = requests.iter().any(|request| {
            let path = request["path"].as_str().unwrap();
            let (ours, theirs): (Vec<_>, Vec<_>) =
                (operation.path.split('/').collect(), path.split('/').collect());
            let is_there = host != marketplace
                || ours.len() == theirs.len()
                    && ours.iter().zip(&theirs).all(|(o, t)| o == t || *o == "{id}");
            request["marketplace"] == host
                && request["method"] == operation.method.as_str()
                && is_there
        });
        assert!(made, "{} was not asked for", operation.name);
    }
}

/// A row of `operations.csv`.
struct Operation {
    marketplace: String,
    name: String,
    method: String,
    path: String,
    tool: String,
    reason: String,
}

fn operations() -> Vec<Operation> {
    let text = fs::read_to_string(fixtures().join("operations.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("marketplace,operation,method,path,tool,reason"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.splitn(6, ',').collect();
            let cell = |at: usize| cells[at].to_owned();
            Operation {
                marketplace: cell(0),
                name: cell(1),
                method: cell(2),
                path: cell(3),
                tool: cell(4),
                reason: cell(5),
            }
        })
        .collect()
}

#[test]
fn every_operation_has_a_tool_or_a_reason() {
    /// These make no operation of their own: they go on with another's, are another form of it, or
    /// work offline.
    const LOCAL: &[&str] = &[
        "crochet_resume_call",
        "crochet_verify_request",
        "paegents_buy_direct",
        "paegents_verify_webhook",
    ];
    #[rustfmt::skip]
    let rows = [
        // whose      how many
        ("crochet",   30), // 20 operations of its §3, one inbound, nine further ones
        ("croo",      47), // 16 of its §3, the two requests to storage, 12 reads of §12.1, 17 of §12.2
        ("paegents",  72), // 57 calls of its §3 and six metered ones, two to recover, seven of §3.9
    ];
    let operations = operations();
    assert_eq!(operations.len(), rows.iter().map(|(_, number)| number).sum::<usize>());
    for (marketplace, number) in rows {
        let fixtures = read_fixtures(marketplace);
        let own = operations.iter().filter(|operation| operation.marketplace == marketplace);
        assert_eq!(own.clone().count(), number, "{marketplace}");
        for Operation { name, method, tool, reason, .. } in own {
            assert_ne!(tool.is_empty(), reason.is_empty(), "{name}: a tool or a reason");
            if !tool.is_empty() {
                assert!(PLACES.iter().any(|place| place.name == tool), "{name}: {tool}");
                let fixture = fixtures.get(name).unwrap_or_else(|| panic!("{name} has no fixture"));
                assert_eq!(fixture["method"], method.as_str(), "{name}");
            }
        }
    }
    let tools: BTreeSet<&str> = operations.iter().map(|operation| &*operation.tool).collect();
    for place in PLACES.iter().filter(|place| !place.name.starts_with("market_")) {
        let local = LOCAL.contains(&place.name);
        assert_ne!(tools.contains(place.name), local, "{} is in no operation", place.name);
    }
}
