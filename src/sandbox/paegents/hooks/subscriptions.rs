//! Webhook subscriptions: where an agent's events are sent, which ones, and with which secret.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::sandbox::{
    clock::rfc3339,
    crochet::selling::is_loopback,
    paegents::{
        agents::{self, Agent},
        answers::{Answer, ApiError, ok, read},
        hooks::{deliveries, is_wanted, known_secret},
        pay::mandates::fresh_id,
    },
    world::World,
};

/// How long the secret before a rotation still signs, in milliseconds.
const OLD_SECRET_MS: i64 = 600_000;
/// The most subscriptions of an agent.
const COUNT_MAX: usize = 50;
/// The longest address, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 256;

const ACTIVE: &str = "active";
const PAUSED: &str = "paused";

/// A subscription.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Its identifier.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) agent: String,
    /// Where events are sent.
    pub(crate) url: String,
    event_types: Vec<String>,
    secret: String,
    old_secret: Option<String>,
    old_until: i64,
    status: String,
    created_at: i64,
}

const COLUMNS: &str = "id, agent, url, event_types, secret, old_secret, old_until, status, \
                       created_at";

impl Subscription {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let event_types: String = row.get(3)?;
        Ok(Self {
            id: row.get(0)?,
            agent: row.get(1)?,
            url: row.get(2)?,
            event_types: serde_json::from_str(&event_types).unwrap_or_default(),
            secret: row.get(4)?,
            old_secret: row.get(5)?,
            old_until: row.get(6)?,
            status: row.get(7)?,
            created_at: row.get(8)?,
        })
    }

    fn insert(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO paegents_subscriptions
                 (id, agent, url, event_types, secret, status, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            self.id,
            self.agent,
            self.url,
            json!(self.event_types).to_string(),
            self.secret,
            self.status,
            self.created_at,
        ])?;
        Ok(())
    }

    /// The secrets that sign at `now`, the newest first.
    pub(crate) fn secrets(&self, now: i64) -> Vec<&str> {
        let old = self.old_secret.as_deref().filter(|_| now < self.old_until);
        std::iter::once(self.secret.as_str()).chain(old).collect()
    }

    /// Whether the sandbox may send anything there.
    pub(crate) fn is_reachable(&self) -> bool {
        Url::parse(&self.url).is_ok_and(|url| url.scheme() == "http" && is_loopback(&url))
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "agent_id": self.agent,
            "url": self.url,
            "event_types": self.event_types,
            "status": self.status,
            "created_at": rfc3339(self.created_at),
        })
    }

    /// With the secret, which is shown this once.
    fn view_with_secret(&self) -> Value {
        let mut view = self.view();
        if let Some(members) = view.as_object_mut() {
            members.insert("secret".to_owned(), json!(self.secret));
        }
        view
    }
}

fn of_agent(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Subscription>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_subscriptions WHERE agent = ?1 ORDER BY seq"
    ))?
    .query_map([agent], Subscription::read)?
    .collect()
}

/// The agent's subscription with this identifier.
pub(crate) fn find(
    db: &Connection,
    agent: &str,
    id: &str,
) -> rusqlite::Result<Option<Subscription>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM paegents_subscriptions WHERE agent = ?1 AND id = ?2"
    ))?
    .query_row([agent, id], Subscription::read)
    .optional()
}

/// The agent's active subscriptions.
pub(crate) fn active(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Subscription>> {
    let all = of_agent(db, agent)?;
    Ok(all.into_iter().filter(|subscription| subscription.status == ACTIVE).collect())
}

/// The agent's active subscriptions that want events of this type.
pub(crate) fn wanting(
    db: &Connection,
    agent: &str,
    kind: &str,
) -> rusqlite::Result<Vec<Subscription>> {
    let wants = |subscription: &Subscription| {
        is_wanted(subscription.event_types.iter().map(String::as_str), kind)
    };
    Ok(active(db, agent)?.into_iter().filter(wants).collect())
}

/// Whether anybody has an active subscription.
pub(crate) fn is_any_active(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached(&format!(
        "SELECT EXISTS (SELECT 1 FROM paegents_subscriptions WHERE status = '{ACTIVE}')"
    ))?
    .query_row([], |row| row.get(0))
}

fn present(db: &Connection, agent: &Agent, id: &str) -> Result<Subscription, ApiError> {
    find(db, &agent.id, id)?.ok_or_else(|| ApiError::not_found("Webhook subscription"))
}

fn fresh_secret(db: &Connection, world: &World) -> rusqlite::Result<String> {
    let digest = hex::encode(world.fresh(db, "paegents/webhook-secret")?);
    Ok(format!("whsec_{}", digest.get(..32).unwrap_or_default()))
}

/// `GET /agents/{agent}/webhooks`
pub(crate) async fn list(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let all = of_agent(db, &agent.id)?;
        let views: Vec<Value> = all.iter().map(Subscription::view).collect();
        Ok::<_, ApiError>(json!({ "webhooks": views }))
    })?)
}

#[derive(Deserialize)]
struct CreateBody {
    url: String,
    secret: Option<String>,
    event_types: Option<Vec<String>>,
}

fn check(asked: &CreateBody) -> Result<(), ApiError> {
    let is_url = Url::parse(&asked.url).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme()) && url.has_host() && url.username().is_empty()
    });
    if !is_url || asked.url.len() > URL_BYTES_MAX {
        return Err(ApiError::invalid("url", "Input should be a valid URL"));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._*".contains(c);
    let mut types = asked.event_types.iter().flatten();
    if types.any(|kind| kind.is_empty() || kind.len() > 64 || !kind.chars().all(fits)) {
        return Err(ApiError::invalid("event_types", "Input should be names of event types"));
    }
    if asked.secret.as_ref().is_some_and(|secret| secret.len() > SECRET_BYTES_MAX) {
        return Err(ApiError::invalid("secret", "Input is too long"));
    }
    Ok(())
}

/// `POST /agents/{agent}/webhooks`
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let made = world.transact(|db, now| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let asked: CreateBody = read(&body)?;
        check(&asked)?;
        if of_agent(db, &agent.id)?.len() >= COUNT_MAX {
            return Err(ApiError::conflict(format!("An agent has at most {COUNT_MAX} webhooks")));
        }
        let is_buyer = agent.id == agents::known_id(&world, agents::BUYER);
        let secret = match asked.secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => secret,
            None if is_buyer => known_secret(&world),
            None => fresh_secret(db, &world)?,
        };
        let made = Subscription {
            id: fresh_id(db, &world, "wh")?,
            agent: agent.id,
            url: asked.url,
            event_types: asked.event_types.unwrap_or_default(),
            secret,
            old_secret: None,
            old_until: 0,
            status: ACTIVE.to_owned(),
            created_at: now,
        };
        made.insert(db)?;
        Ok(made)
    })?;
    world.courier.wake();
    Ok((StatusCode::CREATED, Json(made.view_with_secret())).into_response())
}

/// `POST /agents/{agent}/webhooks/{id}/rotate`
pub(crate) async fn rotate(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let mut subscription = present(db, &agent, &id)?;
        let until = now + OLD_SECRET_MS;
        let secret = fresh_secret(db, &world)?;
        db.prepare_cached(
            "UPDATE paegents_subscriptions SET secret = ?2, old_secret = ?3, old_until = ?4
             WHERE id = ?1",
        )?
        .execute(params![subscription.id, secret, subscription.secret, until])?;
        subscription.secret = secret;
        let mut view = subscription.view_with_secret();
        if let Some(members) = view.as_object_mut() {
            members.insert("previous_secret_expires_at".to_owned(), json!(rfc3339(until)));
        }
        Ok::<_, ApiError>(view)
    })?)
}

fn turn(
    world: &World,
    (agent, id): (&str, &str),
    headers: &HeaderMap,
    status: &str,
) -> Result<Value, ApiError> {
    let view = world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, headers, agent)?;
        let mut subscription = present(db, &agent, id)?;
        db.prepare_cached("UPDATE paegents_subscriptions SET status = ?2 WHERE id = ?1")?
            .execute([subscription.id.as_str(), status])?;
        status.clone_into(&mut subscription.status);
        Ok::<_, ApiError>(subscription.view())
    })?;
    world.courier.wake();
    Ok(view)
}

/// `POST /agents/{agent}/webhooks/{id}/pause`: nothing is queued, and what waits goes on waiting.
pub(crate) async fn pause(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(turn(&world, (&agent, &id), &headers, PAUSED)?)
}

/// `POST /agents/{agent}/webhooks/{id}/resume`
pub(crate) async fn resume(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(turn(&world, (&agent, &id), &headers, ACTIVE)?)
}

/// `DELETE /agents/{agent}/webhooks/{id}`
pub(crate) async fn remove(
    State(world): State<Arc<World>>,
    Path((agent, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::agent_or_owner(db, &headers, &agent)?;
        let subscription = present(db, &agent, &id)?;
        db.prepare_cached("DELETE FROM paegents_subscriptions WHERE id = ?1")?
            .execute([&subscription.id])?;
        deliveries::abandon(db, &subscription.id)?;
        Ok::<_, ApiError>(json!({ "id": subscription.id, "status": "deleted" }))
    })?)
}
