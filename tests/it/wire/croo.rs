//! CROO's requests: to its API, its storage and its event socket.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use haggle::{
    marketplaces::croo::stream::Times, sandbox::CrooAgentInfo, spend::policy::Policy, store::payees,
};
use serde_json::{Value, json};

use super::{Known, hold, know, operations_are_made, read_fixtures, text};
use crate::world::{Make, World};

/// What the buyer sends: what a second serialisation could change.
const INPUT: &str = "zażółć \"gęślą\" ✓\n</tool> & 1,50 €";
/// What is handed in.
const REPORT: &[u8] = b"item,price\r\n\"ap,ple\",1.20\n";
/// Who takes part; what is not sent to one of these is not CROO's.
const PLACES: [&str; 3] = ["croo", "storage", "socket"];

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

/// Asks for an offer, and notes what goes over the wire with it.
async fn negotiated(world: &World, known: &mut Known, name: &str, mut args: Value) -> Value {
    let services = &world.sandbox.info().croo.services;
    let service = services.iter().find(|service| service.name == name).unwrap();
    let is_fund = args.get("fund_usd").is_some();
    know(known, if is_fund { "fund_service_id" } else { "service_id" }, service.id.as_str());
    know(known, "service_id", service.id.as_str());
    know(known, "agent_id", service.owner_id.as_str());
    let requirements = match &args["requirements"] {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    know(known, "requirements", requirements);
    args["service_id"] = json!(service.id);
    let negotiation = done(world, "croo_negotiate_order", args).await;
    let id = &negotiation["negotiation_id"];
    know(known, if is_fund { "fund_negotiation_id" } else { "negotiation_id" }, text(id));
    know(known, "negotiation_id", text(id));
    id.clone()
}

/// The order of a negotiation, once there is something to do about it.
async fn ripe(world: &World, known: &mut Known, negotiation: &Value) -> Value {
    let args = json!({ "negotiation_id": negotiation, "wait_seconds": 20 });
    let order = done(world, "croo_get_order", args).await;
    know(known, "order_id", text(&order["order_id"]));
    order
}

async fn pays(world: &World, order: &Value) {
    let most = &order["cost"]["total_usd"];
    let args = json!({ "order_id": order["order_id"], "max_total_usd": most });
    done(world, "croo_pay_order", args).await;
}

/// Looks around, and buys from built-in sellers.
async fn buys(world: &World, known: &mut Known) {
    let words = "text & \"words\"";
    done(world, "market_search", json!({ "query": words, "marketplace": "croo" })).await;
    let args = json!({ "query": "text", "min_price_usd": "0.01", "max_price_usd": "2", "limit": 5,
        "cursor": "2" });
    done(world, "croo_search_services", args).await;
    let text_args = json!({ "requirements": INPUT });
    let negotiation = negotiated(world, known, "Text statistics", text_args).await;
    let service = world.service("auto", "Text statistics");
    done(world, "croo_get_service", json!({ "service_id": service })).await;
    done(world, "croo_get_negotiation", json!({ "negotiation_id": negotiation })).await;
    done(world, "croo_list_negotiations", json!({ "role": "buyer" })).await;
    let order = ripe(world, known, &negotiation).await;
    pays(world, &order).await;
    let delivery = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    done(world, "croo_get_delivery", delivery).await;
    let completed = json!({ "role": "buyer", "status": "completed", "limit": 7 });
    done(world, "croo_list_orders", completed).await;
    // One that is given up before it is paid.
    let table = json!({ "requirements": { "csv": "a,b\n1,2\n" } });
    let negotiation = negotiated(world, known, "CSV report", table).await;
    let order = ripe(world, known, &negotiation).await;
    know(known, "reason", "no longer \"needed\"");
    let give_up = json!({ "order_id": order["order_id"], "reason": "no longer \"needed\"" });
    done(world, "croo_reject_order", give_up).await;
}

async fn browses(world: &World) {
    let agent = &world.sandbox.info().croo.services[0].owner_id;
    let page = |view: &str| json!({ "view": view, "chain": "base", "limit": 5 });
    let mut agents = page("agents");
    for (name, value) in [
        ("query", "data"),
        ("tags", "data,text"),
        ("min_price_usd", "0.01"),
        ("max_price_usd", "2"),
        ("sort", "price"),
    ] {
        agents[name] = json!(value);
    }
    let mut activity = page("activity");
    activity["agent_id"] = json!(agent);
    let mut search = page("search");
    search["query"] = json!("text & \"words\"");
    for args in [
        agents,
        activity,
        search,
        page("trending"),
        page("popular"),
        page("feed"),
        json!({ "view": "agent", "agent_id": agent }),
        json!({ "view": "leaderboard", "dimension": "earned", "limit": 5 }),
        json!({ "view": "tags" }),
        json!({ "view": "stats" }),
    ] {
        done(world, "croo_browse_store", args).await;
    }
}

/// Waits until the provider's order is paid.
async fn is_paid(world: &World, order: &Value) {
    let args = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    assert_eq!(done(world, "croo_get_order", args).await["status"], "paid");
}

/// Accepts, rejects and delivers what the buyer asks for, one of them as a file.
async fn sells(buyer: &World, seller: &World, known: &mut Known) {
    let memo = negotiated(buyer, known, "Expert memo", json!({ "requirements": INPUT })).await;
    let list = json!({ "role": "provider", "status": "pending", "limit": 7 });
    done(seller, "croo_list_negotiations", list).await;
    done(seller, "croo_accept_negotiation", json!({ "negotiation_id": memo })).await;
    let order = ripe(buyer, known, &memo).await;
    pays(buyer, &order).await;
    is_paid(seller, &order).await;
    know(known, "result", INPUT);
    let result = json!({ "order_id": order["order_id"], "result": INPUT });
    done(seller, "croo_deliver_order", result).await;

    let clause = json!({ "clause": "None.", "strict": true });
    let asked = json!({ "requirements": clause });
    let review = negotiated(buyer, known, "Contract review", asked).await;
    done(seller, "croo_accept_negotiation", json!({ "negotiation_id": review })).await;
    let order = ripe(buyer, known, &review).await;
    pays(buyer, &order).await;
    is_paid(seller, &order).await;
    let verdict = json!({ "verdict": "keep", "reasons": ["clear", "\"fair\""] });
    know(known, "structured_result", verdict.to_string());
    let result = json!({ "order_id": order["order_id"], "result": verdict });
    done(seller, "croo_deliver_order", result).await;

    let again = json!({ "requirements": "Something else?" });
    let unwanted = negotiated(buyer, known, "Expert memo", again).await;
    know(known, "reason", "not \"today\"");
    let reject = json!({ "negotiation_id": unwanted, "reason": "not \"today\"" });
    done(seller, "croo_reject_negotiation", reject).await;
}

/// An order with a fund part, which goes to an address that the seller's owner has named.
async fn funds(buyer: &World, seller: &World, known: &mut Known) {
    let address = "0x00000000000000000000000000000000000A11cE";
    let chain_id = i64::try_from(buyer.sandbox.info().chain.chain_id).unwrap();
    let store = seller.app.store();
    let parsed = address.parse().unwrap();
    store.transact(move |db| payees::put(db, "till", parsed, chain_id)).await.unwrap();
    know(known, "fund_address", address.to_lowercase());
    know(known, "fund_address", address);
    know(known, "usdc", buyer.sandbox.info().chain.usdc.to_lowercase());
    know(known, "usdc", buyer.sandbox.info().chain.usdc);
    know(known, "metadata", "for \"May\"");
    let asked = json!({ "requirements": INPUT, "metadata": "for \"May\"", "fund_usd": "0.25" });
    let errand = negotiated(buyer, known, "Treasury errand", asked).await;
    let accept = json!({ "negotiation_id": errand, "payee": "till" });
    done(seller, "croo_accept_negotiation", accept).await;
    let order = ripe(buyer, known, &errand).await;
    assert_eq!(order["cost"]["fund_usd"], "0.25", "{order}");
}

async fn hands_over_a_file(buyer: &World, seller: &World, known: &mut Known) {
    fs::create_dir_all(seller.files()).unwrap();
    fs::write(seller.files().join("report.csv"), REPORT).unwrap();
    know(known, "file", String::from_utf8(REPORT.to_vec()).unwrap());
    let stored = done(seller, "croo_upload_file", json!({ "file_name": "report.csv" })).await;
    know(known, "object_key", text(&stored["object_key"]));
    let key = json!({ "object_key": stored["object_key"] });
    done(buyer, "croo_get_download_url", key.clone()).await;
    let saved = done(buyer, "croo_download_file", key).await;
    assert_eq!(saved["sha256"], stored["sha256"]);
}

/// Waits until both have a connection for events.
async fn listen(world: &World) {
    let since = Instant::now();
    loop {
        let requests = world.requests().await;
        if requests.iter().filter(|request| request["marketplace"] == "socket").count() >= 2 {
            return;
        }
        assert!(since.elapsed() < Duration::from_mins(1), "nobody listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The question before a payment: the balance of the wallet that pays, in the token of the order.
fn balances_are_asked(world: &World, requests: &[Value]) {
    let info = world.sandbox.info();
    let wallet = info.croo.requester.wallet.to_lowercase();
    let data = format!("0x70a08231{:0>64}", wallet.trim_start_matches("0x"));
    let asked = requests.iter().filter(|request| request["marketplace"] == "chain");
    let asked = asked.filter_map(|request| {
        serde_json::from_str::<Value>(request["body"].as_str().unwrap_or_default()).ok()
    });
    let asks = |question: &Value| {
        let params = &question["params"];
        let to = params[0]["to"].as_str().unwrap_or_default();
        question["method"] == "eth_call"
            && params[0]["data"] == data.as_str()
            && to.eq_ignore_ascii_case(&info.chain.usdc)
            && params[1] == "latest"
    };
    assert!(asked.filter(asks).count() >= 3, "no balance was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_page() {
    let mut known = Known::new();
    let policy = Policy { fund_max_usd: "1".parse().unwrap(), ..Policy::sandbox() };
    let times = Some(Times::default());
    let buyer = World::start_with(Make { policy, times, ..Make::default() }).await;
    let seller = buyer.provider().await;
    buys(&buyer, &mut known).await;
    browses(&buyer).await;
    sells(&buyer, &seller, &mut known).await;
    funds(&buyer, &seller, &mut known).await;
    hands_over_a_file(&buyer, &seller, &mut known).await;
    listen(&buyer).await;
    for word in ["requester", "provider"] {
        know(&mut known, "negotiation_role", word);
    }
    for word in ["buyer", "provider"] {
        know(&mut known, "order_role", word);
    }
    for CrooAgentInfo { agent_id, sdk_key, .. } in
        [buyer.sandbox.info().croo.requester, buyer.sandbox.info().croo.provider]
    {
        know(&mut known, "sdk_key", sdk_key);
        know(&mut known, "agent_id", agent_id);
    }
    for order in buyer.charges().await {
        know(&mut known, "order_id", order.0);
    }
    let mut requests = buyer.requests().await;
    balances_are_asked(&buyer, &requests);
    requests.retain(|request| PLACES.iter().any(|place| request["marketplace"] == *place));
    let fixtures = read_fixtures("croo");
    let met = hold(&fixtures, &requests, &known);
    let names: BTreeSet<String> = fixtures.keys().cloned().collect();
    assert_eq!(met, names, "a fixture was not met");
    operations_are_made("croo", &requests);
    // The key goes to the API in one header and to the socket in its query, and nowhere else.
    for mut request in requests {
        let key = request["headers"].as_object_mut().unwrap().remove("x-sdk-key");
        assert!(key.is_none() || request["marketplace"] == "croo", "{request}");
        if request["marketplace"] == "socket" {
            request["query"] = Value::Null;
        }
        assert!(!request.to_string().contains("croo_sk_"), "{request}");
    }
}
