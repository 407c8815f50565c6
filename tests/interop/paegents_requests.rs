//! The requests of Paegents' SDK beside those of our tools for the same operations: the same but for what
//! stands in the tables here.

use std::collections::BTreeSet;

use haggle::spend::policy::Policy;
use serde_json::{Map, Value, json};

use crate::{
    paegents_life,
    world::{Make, World},
};

/// Members that are another one each time: what is signed, what it is signed for, names that are made up.
const FRESH: [&str; 18] = [
    "agreement_key",
    "buyer_infra_fee_permit_deadline",
    "buyer_infra_fee_permit_signature",
    "buyer_signature",
    "client_proposal_id",
    "deadline",
    "expiry",
    "issued_at",
    "nonce",
    "payment_header",
    "permit_data",
    "platform_agreement_id_hash",
    "salt",
    "secret",
    "service_hash",
    "signature",
    "terms_hash",
    "txn_id",
];

/// What the SDK can send and our tools do not, by a part of its line, and why.
const NOT_OURS: [(&str, &str); 4] = [
    ("/refresh-permit ", "what the way before the activation package signs"),
    (r#""activation_version":"v1""#, "the way before the activation package"),
    (r#""rail":"stablecoin"},"price_per_unit_cents":450"#, "a direct purchase has no address"),
    (
        r#"/approvals ["limit=50"] authorization=Bearer {buyer_key}"#,
        "it has to be refused: no owner asks",
    ),
];

/// A difference: why there is one, and what takes it out.
type Difference = (&'static str, fn(&mut Shape));

/// Where we send something else on purpose, with what takes the difference out of both sides. Each has to
/// take one out.
const ON_PURPOSE: [Difference; 5] = [
    ("what has no body is of no kind", |shape| {
        if shape.body.is_null() {
            shape.kind = None;
        }
    }),
    ("no key goes where none is asked for", |shape| {
        if shape.path == "/catalog/search" {
            (shape.authorization, shape.api_key) = (None, None);
        }
    }),
    ("an offer to pay directly lasts as long as its signatures", |shape| {
        if shape.body["settlement_model"] == "direct_payment" {
            shape.body["expires_in_seconds"] = json!("…");
        }
    }),
    ("the purchase is found again by its name, which the platform keeps there", |shape| {
        if shape.body["metadata"]["client_reference"].is_string()
            && let Some(body) = shape.body.as_object_mut()
        {
            body.remove("metadata");
        }
    }),
    ("an address is the same in either spelling", |shape| {
        let token = shape.body.pointer_mut("/buyer_intent/token");
        if let Some(Value::String(token)) = token {
            token.make_ascii_lowercase();
        }
    }),
];

/// Where we send an idempotency key and the SDK none: what was lost on the way can be sent again
/// without being done again.
const KEYED: [&str; 14] = [
    "PATCH /usage-agreements/{agr}/delivery",
    "POST /agents/{buyer}/approvals/{appr}/approve",
    "POST /agents/{buyer}/approvals/{appr}/reject",
    "POST /ap2/mandates/cart",
    "POST /ap2/mandates/intent",
    "POST /usage-agreements/{agr}/activate-escrow",
    "POST /usage-agreements/{agr}/cancel",
    "POST /usage-agreements/{agr}/dispute",
    "POST /usage-agreements/{agr}/record-usage",
    "POST /usage-agreements/{agr}/sponsored-actions/buyer-withdraw",
    "POST /usage-agreements/{agr}/sponsored-actions/initiate-close",
    "POST /usage-agreements/{agr}/sponsored-actions/seller-claim",
    "PUT /agents/{buyer}/policies",
    "PUT /spending/limits",
];

/// What matters of a request.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    method: String,
    path: String,
    query: BTreeSet<String>,
    authorization: Option<String>,
    api_key: Option<String>,
    kind: Option<String>,
    /// Whether it has a nonce against replays.
    nonce: bool,
    /// Whether it has an idempotency key.
    key: bool,
    body: Value,
}

impl Shape {
    fn of(request: &Value, names: &Names) -> Self {
        let header = |name: &str| request["headers"][name].as_str();
        // The scheme stays: `Bearer {buyer_key}`.
        let key = |name: &str| {
            let words = header(name)?.split(' ').map(|word| names.plain(word));
            Some(words.collect::<Vec<_>>().join(" "))
        };
        let path: Vec<_> =
            request["path"].as_str().unwrap().split('/').map(|part| names.plain(part)).collect();
        let query = request["query"].as_str().unwrap().as_bytes();
        let body = request["body"].as_str().unwrap();
        Self {
            method: text(&request["method"]),
            path: path.join("/"),
            query: url::form_urlencoded::parse(query)
                .map(|(name, value)| format!("{name}={}", names.plain(&value)))
                .collect(),
            authorization: key("authorization"),
            api_key: key("x-api-key"),
            kind: header("content-type").map(str::to_owned),
            nonce: header("x-request-nonce").is_some(),
            key: header("idempotency-key").is_some(),
            body: match body {
                "" => Value::Null,
                body => names.plain_json(&serde_json::from_str(body).unwrap()),
            },
        }
    }

    /// In one line, without its key.
    fn line(&self) -> String {
        let Self { method, path, query, nonce, body, .. } = self;
        let query: Vec<_> = query.iter().collect();
        let [authorization, api_key, kind] = [&self.authorization, &self.api_key, &self.kind]
            .map(|header| header.as_deref().unwrap_or("-"));
        format!(
            "{method} {path} {query:?} authorization={authorization} x-api-key={api_key} \
             type={kind} nonce={nonce} {body}"
        )
    }
}

/// Who a key is of, and which side an agent or a wallet is.
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn of(info: &Value) -> Self {
        let paegents = &info["paegents"];
        let mut names = vec![(text(&paegents["owner_jwt"]), "{owner_jwt}")];
        for (side, id, key, wallet) in [
            ("buyer", "{buyer}", "{buyer_key}", "{buyer_wallet}"),
            ("seller", "{seller}", "{seller_key}", "{seller_wallet}"),
        ] {
            let agent = &paegents[side];
            for (member, name) in [("agent_id", id), ("api_key", key), ("wallet", wallet)] {
                names.push((text(&agent[member]).to_lowercase(), name));
            }
        }
        Self(names)
    }

    /// A text without what one world gives and another does not.
    fn plain(&self, text: &str) -> String {
        let lower = text.to_lowercase();
        if let Some((_, name)) = self.0.iter().find(|(value, _)| lower == value.to_lowercase()) {
            return (*name).to_owned();
        }
        if let Some((start, rest)) = text.split_once("://127.0.0.1:") {
            let path = rest.split_once('/').map(|(_, path)| path).unwrap_or_default();
            return format!("{start}://127.0.0.1/{path}");
        }
        match text.rsplit_once('_') {
            Some((kind, digits))
                if digits.len() >= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                format!("{{{kind}}}")
            }
            _ => text.to_owned(),
        }
    }

    fn plain_json(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| {
                    let is_fresh = FRESH.contains(&name.as_str()) && !value.is_null();
                    let value = if is_fresh { json!("…") } else { self.plain_json(value) };
                    (name.clone(), value)
                };
                members.iter().map(member).collect::<Map<_, _>>().into()
            }
            Value::Array(items) => items.iter().map(|item| self.plain_json(item)).collect(),
            Value::String(text) => json!(self.plain(text)),
            // The SDK's amounts of a limit are floats.
            Value::Number(number) if number.is_f64() => {
                let whole = number.to_string();
                whole.strip_suffix(".0").map_or(value.clone(), |n| json!(n.parse::<u64>().unwrap()))
            }
            other => other.clone(),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The requests at Paegents without what differs on purpose; which differences were taken out.
fn shapes(requests: &[Value], info: &Value) -> (Vec<Shape>, BTreeSet<&'static str>) {
    let names = Names::of(info);
    let (mut shapes, mut taken) = (Vec::new(), BTreeSet::new());
    for request in requests.iter().filter(|request| request["marketplace"] == "paegents") {
        let mut shape = Shape::of(request, &names);
        for (why, take_out) in ON_PURPOSE {
            let before = shape.clone();
            take_out(&mut shape);
            if shape != before {
                taken.insert(why);
            }
        }
        shapes.push(shape);
    }
    (shapes, taken)
}

/// The trade of the script, through our tools.
async fn ours() -> (Vec<Value>, Value) {
    let usd = |text: &str| text.parse().unwrap();
    let policy = Policy {
        ask_above_usd: usd("200"),
        purchase_max_usd: usd("200"),
        day_max_usd: usd("1000"),
        ..Policy::sandbox()
    };
    let buyer = World::start_with(Make { policy, ..Make::default() }).await;
    let seller = buyer.seller().await;
    paegents_life::live(&buyer, &seller).await;
    buyer.audit().await;
    // What the built-in customer pays is not in the journal.
    paegents_life::sold_goods(&buyer, &seller).await;
    (buyer.requests().await, serde_json::to_value(buyer.sandbox.info()).unwrap())
}

/// Holds the requests of the SDK's run against ours.
pub(crate) async fn compare(theirs: &[Value], info: &Value) {
    let (requests, our_info) = ours().await;
    let (theirs, mut taken) = shapes(theirs, info);
    let (ours, also_taken) = shapes(&requests, &our_info);
    taken.extend(also_taken);
    for (why, _) in ON_PURPOSE {
        assert!(taken.contains(why), "there is no such difference: {why}");
    }
    same_requests(&theirs, &ours);
    keys(&theirs, &ours);
}

fn same_requests(theirs: &[Shape], ours: &[Shape]) {
    let lines = |shapes: &[Shape]| shapes.iter().map(Shape::line).collect::<BTreeSet<_>>();
    let (theirs, ours) = (lines(theirs), lines(ours));
    let (known, missing): (Vec<_>, Vec<_>) = theirs
        .difference(&ours)
        .partition(|line| NOT_OURS.iter().any(|(part, _)| line.contains(part)));
    assert!(missing.is_empty(), "the SDK sends, and we do not:\n{missing:#?}\nof {ours:#?}");
    for (part, why) in NOT_OURS {
        assert!(known.iter().any(|line| line.contains(part)), "{part} is sent, too: {why}");
    }
    let more: Vec<_> = ours.difference(&theirs).filter(|line| !line.starts_with("GET ")).collect();
    assert!(more.is_empty(), "we send, and the SDK does not:\n{more:#?}\nof {theirs:#?}");
}

/// Where the SDK has an idempotency key, so have we; where we have more of them, it is on purpose.
fn keys(theirs: &[Shape], ours: &[Shape]) {
    let keyed = |shapes: &[Shape]| {
        let keyed = shapes.iter().filter(|shape| shape.key);
        keyed.map(|shape| format!("{} {}", shape.method, shape.path)).collect::<BTreeSet<_>>()
    };
    let (theirs, more) = (keyed(theirs), keyed(ours));
    let more: Vec<_> = more.difference(&theirs).map(String::as_str).collect();
    assert_eq!(more, KEYED, "where we have a key and the SDK has none");
    let without = ours.iter().filter(|shape| !shape.key);
    let lost: Vec<_> = without
        .filter(|shape| theirs.contains(&format!("{} {}", shape.method, shape.path)))
        .collect();
    assert!(lost.is_empty(), "the SDK has a key there: {lost:?}");
}
