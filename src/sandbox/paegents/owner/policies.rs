//! The policy of an agent: which rails it may use, how much it may spend, when its owner is asked.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value, json};

use crate::sandbox::{
    paegents::{
        agents,
        answers::{Answer, ApiError, ok, read},
    },
    world::World,
};

/// A policy: free JSON, of which the platform knows three members.
#[derive(Clone, Debug)]
pub(crate) struct Policy(Value);

/// What every agent begins with.
fn original() -> Value {
    json!({
        "approvals": { "threshold_cents": 2_000 },
        "rails": { "allowed": ["card", "stablecoin", "braintree"] },
        "spending": { "daily_limit_cents": 10_000 },
    })
}

/// The agent's policy.
pub(crate) fn find(db: &Connection, agent: &str) -> rusqlite::Result<Policy> {
    let kept: Option<String> = db
        .prepare_cached("SELECT policy FROM paegents_policies WHERE agent = ?1")?
        .query_row([agent], |row| row.get(0))
        .optional()?;
    Ok(Policy(kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(original)))
}

impl Policy {
    /// As it is sent.
    pub(crate) fn json(&self) -> &Value {
        &self.0
    }

    /// The most cents that nobody is asked about.
    pub(crate) fn threshold_cents(&self) -> Option<u64> {
        self.0.pointer("/approvals/threshold_cents").and_then(Value::as_u64)
    }

    /// The most cents that may be spent in a day.
    pub(crate) fn daily_limit_cents(&self) -> Option<u64> {
        self.0.pointer("/spending/daily_limit_cents").and_then(Value::as_u64)
    }

    /// Whether the agent may pay by this rail.
    pub(crate) fn allows_rail(&self, rail: &str) -> bool {
        let allowed = self.0.pointer("/rails/allowed").and_then(Value::as_array);
        allowed.is_none_or(|all| all.iter().any(|one| one.as_str() == Some(rail)))
    }

    /// Reads a policy; a known member must have its type.
    fn parse(policy: Map<String, Value>) -> Result<Self, ApiError> {
        let policy = Value::from(policy);
        for (pointer, field) in [
            ("/approvals/threshold_cents", "approvals.threshold_cents"),
            ("/spending/daily_limit_cents", "spending.daily_limit_cents"),
        ] {
            if policy.pointer(pointer).is_some_and(|value| value.as_u64().is_none()) {
                return Err(ApiError::invalid(field, "Input should be a whole number of cents"));
            }
        }
        let is_list =
            |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        if policy.pointer("/rails/allowed").is_some_and(|allowed| !is_list(allowed)) {
            return Err(ApiError::invalid("rails.allowed", "Input should be a list of names"));
        }
        Ok(Self(policy))
    }
}

/// `GET /agents/{agent}/policies`: the agent may read what it is held to.
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &id)?;
        Ok::<_, ApiError>(find(db, &agent.id)?.0)
    })?)
}

/// `PUT /agents/{agent}/policies`
pub(crate) async fn update(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::owner(db, &headers, &id)?;
        let Policy(policy) = Policy::parse(read(&body)?)?;
        db.prepare_cached(
            "INSERT INTO paegents_policies (agent, policy) VALUES (?1, ?2)
             ON CONFLICT (agent) DO UPDATE SET policy = excluded.policy",
        )?
        .execute([&agent.id, &policy.to_string()])?;
        Ok::<_, ApiError>(policy)
    })?)
}
