//! The public store: services, agents, search and tags, which anybody may read.
//!
//! What a service asks for is shown with its agent alone, as on the real one. Everything is on
//! Base; the other chain has nothing. Source: the protocol page, 12.1.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        clock::rfc3339,
        croo::{
            agents::{self, Agent},
            answers::{Answer, ApiError, find, ok},
            lists::Page,
            record::{self, Record},
            services::{self, Service},
        },
        world::World,
    },
};

/// The skills that agents name: slug and name.
const TAGS: [(&str, &str); 4] =
    [("text", "Text"), ("data", "Data"), ("security", "Security"), ("research", "Research")];

/// The parameters of a request.
pub(crate) type Parameters = Query<Vec<(String, String)>>;

/// What a list of the store is narrowed by.
struct Narrowing {
    search: String,
    tags: Vec<String>,
    min_price: Option<u64>,
    max_price: Option<u64>,
    is_base: bool,
    page: Page,
}

impl Narrowing {
    fn read(query: &[(String, String)], search: &str) -> Result<Self, ApiError> {
        let price = |name: &str| match find(query, name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                ApiError::parameters(name, format!("{name} must be whole base units"))
            }),
        };
        let tags = find(query, "tags").unwrap_or_default();
        Ok(Self {
            search: find(query, search).unwrap_or_default().to_lowercase(),
            tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            min_price: price("min_price")?,
            max_price: price("max_price")?,
            is_base: is_base(query),
            page: Page::read(query)?,
        })
    }

    fn is_named(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| text.to_lowercase().contains(&self.search))
    }

    fn is_priced(&self, price: Usdc) -> bool {
        let micros = price.micros();
        self.min_price.is_none_or(|min| micros >= min)
            && self.max_price.is_none_or(|max| micros <= max)
    }

    fn has(&self, service: &Service) -> bool {
        self.is_base
            && self.is_named(&[&service.name, &service.description])
            && self.is_priced(service.price)
    }
}

/// Whether the list is of Base, which is the chain where none is named.
pub(crate) fn is_base(query: &[(String, String)]) -> bool {
    find(query, "chain").is_none_or(|chain| chain == "base")
}

/// A page of items under a name, and how many there are.
pub(crate) fn listed(name: &str, page: Page, items: Vec<Value>) -> Answer {
    let total = items.len().to_string();
    let mut body = Map::new();
    body.insert(name.to_owned(), Value::Array(page.of(items)));
    body.insert("total".to_owned(), json!(total));
    ok(Value::Object(body))
}

/// `GET /public/services`
pub(crate) async fn list_services(
    State(world): State<Arc<World>>,
    Query(query): Parameters,
) -> Answer {
    let narrowing = Narrowing::read(&query, "search")?;
    let items = world.transact(|db, now| {
        let found = services::all(db)?.into_iter().filter(|service| narrowing.has(service));
        let items = found.map(|service| item(db, now, &service).map(Value::Object));
        items.collect::<rusqlite::Result<Vec<_>>>()
    });
    listed("items", narrowing.page, items.map_err(ApiError::from)?)
}

/// A service as lists show it.
pub(crate) fn item(
    db: &Connection,
    now: i64,
    service: &Service,
) -> rusqlite::Result<Map<String, Value>> {
    let mut members = service.members(record::orders_7d(db, now, &service.id)?);
    let agent = agents::present(db, &service.agent)?;
    members.insert("agentName".to_owned(), json!(agent.name));
    members.insert("agentAvatar".to_owned(), json!(avatar(&agent)));
    Ok(members)
}

/// `GET /public/services/{serviceId}`
pub(crate) async fn show_service(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
) -> Answer {
    let (service, name) = world.transact(|db, now| {
        let service = services::find(db, &id)?
            .ok_or_else(|| ApiError::not_found("SERVICE_NOT_FOUND", &id))?;
        let orders_7d = record::orders_7d(db, now, &service.id)?;
        let name = agents::present(db, &service.agent)?.name;
        Ok::<_, ApiError>((service.members(orders_7d), name))
    })?;
    ok(json!({ "service": service, "agentName": name }))
}

/// `GET /public/agents`
pub(crate) async fn list_agents(
    State(world): State<Arc<World>>,
    Query(query): Parameters,
) -> Answer {
    let narrowing = Narrowing::read(&query, "search")?;
    let sort = find(&query, "sort").unwrap_or_default().to_owned();
    let agents = world.transact(|db, _| {
        let mut found = sellers(db)?;
        found.retain(|(agent, _, cheapest)| {
            let has_tag = |tag: &String| agent.tags.contains(tag);
            narrowing.is_base
                && narrowing.is_named(&[&agent.name, &agent.description])
                && (narrowing.tags.is_empty() || narrowing.tags.iter().any(has_tag))
                && narrowing.is_priced(*cheapest)
        });
        match sort.as_str() {
            "price" => found.sort_by_key(|(_, _, cheapest)| *cheapest),
            "newest" => found.reverse(),
            _ => found.sort_by_key(|(_, record, _)| std::cmp::Reverse(record.completed)),
        }
        let views = found.iter().map(|(agent, record, cheapest)| {
            Value::Object(summary(&world, agent, record, *cheapest))
        });
        Ok::<_, ApiError>(views.collect::<Vec<_>>())
    })?;
    listed("agents", narrowing.page, agents)
}

/// The agents who sell, with what they have done and their lowest price.
pub(crate) fn sellers(db: &Connection) -> rusqlite::Result<Vec<(Agent, Record, Usdc)>> {
    let mut found = Vec::new();
    for agent in agents::all(db)? {
        let prices = services::of_agent(db, &agent.id)?.into_iter().map(|service| service.price);
        if let Some(cheapest) = prices.min() {
            let record = record::of(db, &agent.id)?;
            found.push((agent, record, cheapest));
        }
    }
    Ok(found)
}

fn avatar(agent: &Agent) -> String {
    format!("https://avatars.invalid/{}.png", agent.id)
}

/// An agent as lists show it.
pub(crate) fn summary(
    world: &World,
    agent: &Agent,
    record: &Record,
    cheapest: Usdc,
) -> Map<String, Value> {
    let is_online = agent.is_built_in || world.sockets.is_open(&agent.id);
    let mut members = record.members();
    for (name, value) in [
        ("agentId", json!(agent.id)),
        ("name", json!(agent.name)),
        ("description", json!(agent.description)),
        ("avatar", json!(avatar(agent))),
        ("status", json!("active")),
        ("createdTime", json!(rfc3339(agent.created_at))),
        ("minServicePrice", json!(cheapest.micros().to_string())),
        ("onlineStatus", json!(if is_online { "online" } else { "offline" })),
        ("skillTagSlugs", json!(agent.tags)),
        ("chain", json!("base")),
        ("chains", json!(["base"])),
        ("feedbackCount", json!("0")),
    ] {
        members.insert(name.to_owned(), value);
    }
    members
}

/// `GET /public/agents/{agentId}`
pub(crate) async fn show_agent(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Query(query): Parameters,
) -> Answer {
    let agent = world.transact(|db, now| {
        let gone = || ApiError::not_found("AGENT_NOT_FOUND", &id);
        let agent = agents::find(db, &id)?.filter(|_| is_base(&query)).ok_or_else(gone)?;
        let services = services::of_agent(db, &id)?;
        let cheapest = services.iter().map(|service| service.price).min().unwrap_or_default();
        let mut members = summary(&world, &agent, &record::of(db, &id)?, cheapest);
        let details = services
            .iter()
            .map(|service| Ok(service.details(record::orders_7d(db, now, &service.id)?)))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        members.insert("walletAddress".to_owned(), json!(agent.wallet.to_string()));
        members.insert("services".to_owned(), json!(details));
        Ok::<_, ApiError>(members)
    })?;
    ok(json!({ "agent": agent }))
}

/// `GET /public/search`
pub(crate) async fn search(State(world): State<Arc<World>>, Query(query): Parameters) -> Answer {
    let narrowing = Narrowing::read(&query, "q")?;
    let (agents, services) = world.transact(|db, _| {
        let sellers = sellers(db)?;
        let agents: Vec<Value> = sellers
            .iter()
            .filter(|(agent, _, _)| {
                narrowing.is_base && narrowing.is_named(&[&agent.name, &agent.description])
            })
            .map(|(agent, _, cheapest)| {
                json!({ "agentId": agent.id, "name": agent.name, "subtitle": agent.description,
                    "minServicePrice": cheapest.micros().to_string(), "avatar": avatar(agent),
                    "chain": "base" })
            })
            .collect();
        let mut services = Vec::new();
        for service in services::all(db)?.into_iter().filter(|service| narrowing.has(service)) {
            let agent = agents::present(db, &service.agent)?;
            services.push(json!({ "serviceId": service.id, "name": service.name,
                "subtitle": service.description, "agentId": service.agent,
                "price": service.price.micros().to_string(), "slaMinutes": service.sla_minutes,
                "agentName": agent.name, "agentAvatar": avatar(&agent), "chain": "base" }));
        }
        Ok::<_, ApiError>((agents, services))
    })?;
    let total = (agents.len() + services.len()).to_string();
    let page = narrowing.page;
    ok(json!({ "agents": page.of(agents), "services": page.of(services), "total": total }))
}

/// `GET /public/tags`
pub(crate) async fn tags() -> Answer {
    let tags = (1..).zip(TAGS).map(|(order, (slug, name)): (u32, _)| {
        json!({ "id": order.to_string(), "slug": slug, "name": name, "parentId": "0",
            "sortOrder": order })
    });
    ok(json!({ "tags": tags.collect::<Vec<_>>() }))
}
