//! The agents that the sandbox acts for: sellers who answer and deliver, a buyer who orders.
//!
//! They do nothing that another agent could not do through the API, one step after its cause.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{
    crochet::catalog::{HOSTILE_HINT, hostile_answer},
    croo::{
        agents,
        answers::ApiError,
        deliveries::Deliverable,
        negotiations::{self, Negotiation, Opening},
        objects,
        orders::{Fate, Order},
        services::{self, Service},
        steps::{self, Task},
        vault,
    },
    workers,
    world::World,
};

/// How many steps the slow seller takes to deliver.
const SLOW_STEPS: i64 = 10;
/// What the built-in seller that looks first tells a requester to do.
const CERTIFIED_ONLY: &str = "only certified translations are checked here: negotiate again with \
     \"certified\": true in the requirements";
/// What the built-in seller that cannot deliver says.
const MACHINE_DOWN: &str = "the seller's machine is down; the price is given back";

/// Whether this is the built-in buyer.
pub(crate) fn is_buyer(world: &World, agent: &str) -> bool {
    agents::known_id(world, agents::BUYER) == agent
}

/// A built-in seller accepts a negotiation, or declines it.
pub(crate) fn answer(db: &Connection, world: &World, at: i64, id: &str) -> rusqlite::Result<()> {
    let found = negotiations::find(db, id)?.filter(|found| found.status == "pending");
    let Some(negotiation) = found else { return Ok(()) };
    let service = services::present(db, &negotiation.service)?;
    if let Some(reason) = objection(&service, &negotiation) {
        return negotiations::decline(db, at, negotiation, &reason);
    }
    let address = if service.needs_fund {
        world.seed.wallet("croo/fund").address.to_string()
    } else {
        String::new()
    };
    let terms = (address.as_str(), None, Fate::Succeeds);
    negotiations::accept(db, world, at, negotiation, terms).map(|_| ())
}

/// Why the seller would not take this on.
fn objection(service: &Service, negotiation: &Negotiation) -> Option<String> {
    let input = Service::input(&negotiation.requirements);
    if service.behaviour == "rejects" && input.get("certified") != Some(&Value::Bool(true)) {
        return Some(CERTIFIED_ONLY.to_owned());
    }
    if ["none", "hostile", "fund_receipt"].contains(&service.worker.as_str()) {
        return None;
    }
    let refusal = workers::work(&service.worker, &input).err()?;
    let word = |name: &str| refusal.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(format!(
        "{} {}: correct the requirements and negotiate again",
        word("field"),
        word("detail")
    ))
}

/// Plans what the built-in seller does about a paid order.
pub(crate) fn plan_action(
    db: &Connection,
    world: &World,
    at: i64,
    order: &Order,
) -> rusqlite::Result<()> {
    if !agents::present(db, &order.provider)?.is_built_in {
        return Ok(());
    }
    let steps = match services::present(db, &order.service)?.behaviour.as_str() {
        "never_delivers" => return Ok(()),
        "slow" => SLOW_STEPS,
        _ => 1,
    };
    steps::plan(db, at + steps * steps::agent_ms(world), Task::SellerActs, &order.id)
}

/// The built-in seller delivers, or gives up.
pub(crate) fn act(db: &Connection, world: &World, at: i64, order: Order) -> rusqlite::Result<()> {
    let service = services::present(db, &order.service)?;
    if service.behaviour == "fails_after_payment" {
        return steps::reject(db, world, at, order, MACHINE_DOWN);
    }
    let deliverable = work(db, at, &service, &order)?;
    steps::deliver(db, world, at, order, (deliverable, Fate::Succeeds)).map(|_| ())
}

/// What is delivered.
fn work(
    db: &Connection,
    at: i64,
    service: &Service,
    order: &Order,
) -> rusqlite::Result<Deliverable> {
    let result = match service.worker.as_str() {
        "hostile" => return Ok(Deliverable::Text(hostile_text())),
        "fund_receipt" => json!({
            "received": order.fund_amount,
            "token": order.fund_token,
            "address": order.fund_address,
        }),
        worker => {
            // What it cannot work on was declined before.
            let input = Service::input(&order.requirements);
            workers::work(worker, &input).unwrap_or_else(|refusal| refusal)
        }
    };
    if service.worker == "csv_summary" {
        let name = "csv-report.json";
        let report = format!("{result:#}\n");
        let kind = "application/json";
        let key = objects::put(db, at, &order.provider, name, kind, report.as_bytes())?;
        let delivered = json!({ "object_key": key, "file_name": name });
        return Ok(Deliverable::Schema(delivered.to_string()));
    }
    match service.deliverable_type.as_str() {
        "schema" => Ok(Deliverable::Schema(result.to_string())),
        _ => Ok(Deliverable::Text(lines(&result))),
    }
}

/// The members of a result, a line each.
fn lines(result: &Value) -> String {
    let members = result.as_object().into_iter().flatten();
    let lines = members.map(|(name, value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        value => format!("{name}: {value}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words that want to be obeyed, with everything that must not reach a terminal.
fn hostile_text() -> String {
    let answer = hostile_answer();
    let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let parts = ["translation", "instructions", "markdown", "terminal"].map(member);
    format!("{}\n{HOSTILE_HINT}", parts.join("\n"))
}

/// The built-in buyer pays, where it can; its payments do not wait for each other.
pub(crate) fn pay(db: &Connection, world: &World, at: i64, order: Order) -> rusqlite::Result<()> {
    match vault::check_balance(db, &order) {
        Ok(()) => steps::pay(db, world, at, order, Fate::Succeeds).map(|_| ()),
        // It stays unpaid until it expires.
        Err(_) => Ok(()),
    }
}

/// Why the built-in buyer does not order.
#[derive(Debug)]
pub(crate) enum NoOrder {
    /// There is no such service.
    NoService,
    /// The service, or what is asked of it, does not go.
    Unfit(String),
    /// The sandbox's own trouble.
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for NoOrder {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

/// The built-in buyer negotiates `count` times; answers the negotiations.
pub(crate) fn order(
    db: &Connection,
    world: &World,
    at: i64,
    (service_id, requirements, count): (&str, Option<&str>, u32),
) -> Result<Vec<String>, NoOrder> {
    let service = services::find(db, service_id)?.ok_or(NoOrder::NoService)?;
    if agents::present(db, &service.agent)?.is_built_in {
        return Err(NoOrder::Unfit("the service is sold by the sandbox itself".to_owned()));
    }
    let requirements = requirements.map_or_else(|| service.example(), str::to_owned);
    let unfit = |error: ApiError| NoOrder::Unfit(error.message().to_owned());
    service.check(&requirements).map_err(unfit)?;
    let requester = agents::known_id(world, agents::BUYER);
    let opening = Opening {
        requester: &requester,
        service: &service,
        requirements: &requirements,
        metadata: "",
        fund: ("", ""),
    };
    (0..count).map(|_| Ok(negotiations::open(db, world, at, &opening)?.id)).collect()
}
