//! The public store's figures: totals, rankings, what happened lately.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    croo::{
        agents,
        answers::{Answer, ApiError, find, ok, shown},
        lists::{ORDER_STATUSES, Page},
        orders::{self, Order},
        public::{self, Parameters, is_base, listed},
        record, services,
    },
    world::World,
};

/// Rows of a ranking, where nobody says.
const LIMIT: usize = 10;
/// The most rows of a ranking.
const LIMIT_MAX: usize = 50;
/// What a ranking shows of an agent.
const RANKED: [&str; 7] =
    ["agentId", "name", "avatar", "totalEarned", "totalVolume", "completedOrders", "createdTime"];
/// How many orders the feed looks back over.
const FEED_ORDERS: &str = "LIMIT 1000";

fn limit(query: &[(String, String)]) -> Result<usize, ApiError> {
    match find(query, "limit") {
        None => Ok(LIMIT),
        Some(text) => text
            .parse()
            .map(|limit: usize| limit.clamp(1, LIMIT_MAX))
            .map_err(|_| ApiError::parameters("limit", "limit must be a number")),
    }
}

/// `GET /public/platform-stats`
pub(crate) async fn platform(State(world): State<Arc<World>>) -> Answer {
    let stats = world.transact(|db, now| {
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok::<_, ApiError>(json!({
            "totalAgents": count("SELECT count(*) FROM croo_agents")?.to_string(),
            "totalServices": count("SELECT count(*) FROM croo_services")?.to_string(),
            "totalOrders": count("SELECT count(*) FROM croo_orders")?.to_string(),
            "totalVolume": count(
                "SELECT coalesce(sum(micros), 0) FROM croo_orders WHERE paid_at IS NOT NULL"
            )?
            .to_string(),
            "updatedTimeUnix": (now / 1_000).to_string(),
        }))
    })?;
    ok(stats)
}

/// `GET /public/trending-agents`: by what was paid to them.
pub(crate) async fn trending(State(world): State<Arc<World>>, Query(query): Parameters) -> Answer {
    let limit = limit(&query)?;
    let agents = world.transact(|db, _| {
        let mut found = public::sellers(db)?;
        found.retain(|_| is_base(&query));
        found.sort_by_key(|(_, record, _)| std::cmp::Reverse(record.volume));
        let views = found.iter().take(limit).map(|(agent, record, cheapest)| {
            Value::Object(public::summary(&world, agent, record, *cheapest))
        });
        Ok::<_, ApiError>(views.collect::<Vec<_>>())
    })?;
    ok(json!({ "agents": agents }))
}

/// `GET /public/popular-services`: by the orders of the last week.
pub(crate) async fn popular(State(world): State<Arc<World>>, Query(query): Parameters) -> Answer {
    let limit = limit(&query)?;
    let items = world.transact(|db, now| {
        let mut found = Vec::new();
        for service in services::all(db)?.into_iter().filter(|_| is_base(&query)) {
            found.push((record::orders_7d(db, now, &service.id)?, service));
        }
        found.sort_by_key(|(orders, _)| std::cmp::Reverse(*orders));
        let items = found.iter().take(limit).map(|(_, service)| public::item(db, now, service));
        Ok::<_, ApiError>(items.collect::<rusqlite::Result<Vec<_>>>()?)
    })?;
    ok(json!({ "items": items }))
}

/// `GET /public/leaderboard`
pub(crate) async fn leaderboard(
    State(world): State<Arc<World>>,
    Query(query): Parameters,
) -> Answer {
    let limit = limit(&query)?;
    let dimension = find(&query, "dimension").unwrap_or_default().to_owned();
    let entries = world.transact(|db, _| {
        let mut found = public::sellers(db)?;
        found.sort_by_key(|(_, record, _)| {
            std::cmp::Reverse(match dimension.as_str() {
                "orders" | "completedOrders" => record.completed,
                "volume" | "totalVolume" => record.volume.micros(),
                _ => record.earned.micros(),
            })
        });
        let entries = found.iter().take(limit).map(|(agent, record, cheapest)| {
            let mut members = public::summary(&world, agent, record, *cheapest);
            members.retain(|name, _| RANKED.contains(&name.as_str()));
            members
        });
        Ok::<_, ApiError>(entries.collect::<Vec<_>>())
    })?;
    ok(json!({ "entries": entries }))
}

/// `GET /public/agents/{agentId}/activity`
pub(crate) async fn activity(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Query(query): Parameters,
) -> Answer {
    let page = Page::read(&query)?;
    let status = find(&query, "status").map(str::to_owned);
    if let Some(status) = status.as_deref().filter(|status| !ORDER_STATUSES.contains(status)) {
        return Err(ApiError::parameters("status", format!("{status} is no status")));
    }
    let items = world.transact(|db, _| {
        if agents::find(db, &id)?.is_none() {
            return Err(ApiError::not_found("AGENT_NOT_FOUND", &id));
        }
        let condition = "provider = ?1 AND (?2 IS NULL OR status = ?2)";
        let mut found = orders::select(db, condition, "", &[Some(id.clone()), status.clone()])?;
        found.retain(|_| is_base(&query));
        let items = found.iter().map(|order| activity_item(db, order));
        Ok(items.collect::<rusqlite::Result<Vec<_>>>()?)
    })?;
    listed("items", page, items)
}

fn activity_item(db: &Connection, order: &Order) -> rusqlite::Result<Value> {
    let when = |at: Option<i64>| at.map(rfc3339).unwrap_or_default();
    let wallet = order.requester_wallet.to_string();
    let part = |from: usize, to: usize| wallet.get(from..to).unwrap_or_default();
    let reject = order.hashes.reject.clone();
    let refund = if order.is_funded && !reject.is_empty() { &reject } else { &order.hashes.refund };
    Ok(Value::Object(shown([
        ("orderId", order.id.clone()),
        ("buyerAddrShort", format!("{}...{}", part(0, 6), part(38, 42))),
        ("serviceName", services::present(db, &order.service)?.name),
        ("amount", order.price.micros().to_string()),
        ("status", order.status.clone()),
        ("paidAt", when(order.paid_at)),
        ("deliveredAt", when(order.delivered_at)),
        ("settledAt", when(order.completed_at)),
        ("expiredAt", when(order.expired_at)),
        ("rejectedAt", when(order.rejected_at)),
        ("rejectReason", order.reject_reason.clone()),
        ("createTxHash", order.hashes.create.clone()),
        ("payTxHash", order.hashes.pay.clone()),
        ("deliverTxHash", order.hashes.deliver.clone()),
        ("clearTxHash", order.hashes.clear.clone()),
        ("refundTxHash", refund.clone()),
        ("rejectTxHash", order.hashes.reject.clone()),
    ])))
}

/// `GET /public/live-feed`: what became of orders, newest first.
pub(crate) async fn feed(State(world): State<Arc<World>>, Query(query): Parameters) -> Answer {
    let page = Page::read(&query)?;
    let items = world.transact(|db, _| {
        let mut items = Vec::new();
        for order in orders::select(db, "1", FEED_ORDERS, &[])? {
            if is_base(&query) {
                items.extend(happenings(db, &order)?);
            }
        }
        items.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Ok::<_, ApiError>(items.into_iter().map(|(_, item)| item).collect())
    })?;
    listed("items", page, items)
}

/// The steps of an order that everybody may see.
fn happenings(db: &Connection, order: &Order) -> rusqlite::Result<Vec<(i64, Value)>> {
    let agent = agents::present(db, &order.provider)?.name;
    let service = services::present(db, &order.service)?.name;
    let steps = [
        ("order_created", order.created_at),
        ("order_paid", order.paid_at),
        ("order_completed", order.completed_at),
        ("order_rejected", order.rejected_at),
        ("order_expired", order.expired_at),
    ];
    let metadata = json!({ "price": order.price.micros().to_string() }).to_string();
    let items = steps.into_iter().filter_map(|(kind, at)| {
        let at = at?;
        let item = json!({ "id": format!("{}:{kind}", order.id), "eventType": kind,
            "refType": "order", "refId": order.id, "metadataJson": metadata,
            "createdTime": rfc3339(at), "agentName": agent, "serviceName": service,
            "chain": "base" });
        Some((at, item))
    });
    Ok(items.collect())
}
