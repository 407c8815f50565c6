//! How much an owner's agent may spend, whatever its policy says.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, http::HeaderMap};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Number, Value, json};

use crate::sandbox::{
    paegents::{
        agents,
        answers::{Answer, ApiError, ok, read},
    },
    world::World,
};

/// What an owner allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In any 24 hours, in cents.
    pub(crate) daily: u64,
    /// In any 30 days, in cents.
    pub(crate) monthly: u64,
}

/// What is allowed where the owner said nothing: 100 and 1,000 dollars.
const ORIGINAL: Limits = Limits { daily: 10_000, monthly: 100_000 };

/// The limits of an agent.
pub(crate) fn find(db: &Connection, agent: &str) -> rusqlite::Result<Limits> {
    let kept: Option<(i64, i64)> = db
        .prepare_cached("SELECT daily, monthly FROM paegents_limits WHERE agent = ?1")?
        .query_row([agent], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let unsigned = |cents: i64| u64::try_from(cents).unwrap_or_default();
    Ok(kept.map_or(ORIGINAL, |(daily, monthly)| Limits {
        daily: unsigned(daily),
        monthly: unsigned(monthly),
    }))
}

fn view(agent: &str, limits: Limits) -> Value {
    json!({ "agent_id": agent, "daily_limit": limits.daily, "monthly_limit": limits.monthly })
}

/// `GET /spending/limits`: the owner's token says whose.
pub(crate) async fn show(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::owned(db, &headers)?;
        Ok::<_, ApiError>(view(&agent.id, find(db, &agent.id)?))
    })?)
}

#[derive(Deserialize)]
struct UpdateBody {
    daily_limit: Number,
    monthly_limit: Number,
}

/// A number of cents: the SDK's type is a float, so `500.0` is as good as `500`.
fn cents(field: &str, number: &Number) -> Result<i64, ApiError> {
    let wrong = || ApiError::invalid(field, "Input should be a whole number of cents, at least 0");
    let text = number.to_string();
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    whole.parse().ok().filter(|cents| *cents >= 0).ok_or_else(wrong)
}

/// `PUT /spending/limits`
pub(crate) async fn update(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::owned(db, &headers)?;
        let asked: UpdateBody = read(&body)?;
        let daily = cents("daily_limit", &asked.daily_limit)?;
        let monthly = cents("monthly_limit", &asked.monthly_limit)?;
        db.prepare_cached(
            "INSERT INTO paegents_limits (agent, daily, monthly) VALUES (?1, ?2, ?3)
             ON CONFLICT (agent) DO UPDATE SET daily = excluded.daily, monthly = excluded.monthly",
        )?
        .execute(params![agent.id, daily, monthly])?;
        Ok::<_, ApiError>(view(&agent.id, find(db, &agent.id)?))
    })?)
}
