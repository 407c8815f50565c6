//! API keys: stored as digests, shown once.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        accounts::authenticate,
        answers::{Answer, ApiError, created, ok, read, required},
    },
    keys::sha256_hex,
    world::World,
};

/// The key made of these bytes.
pub(crate) fn from_bytes(bytes: &[u8; 32]) -> String {
    format!("am_k_{}", hex::encode(bytes.first_chunk::<24>().copied().unwrap_or_default()))
}

/// Stores a key; answers its identifier.
pub(crate) fn insert(
    db: &Connection,
    world: &World,
    agent: &str,
    name: &str,
    key: &str,
    now: i64,
) -> rusqlite::Result<String> {
    let id = world.fresh_uuid(db, "crochet/api-key")?;
    db.execute(
        "INSERT INTO crochet_api_keys (id, agent, name, prefix, hash, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, agent, name, prefix(key), sha256_hex(key.as_bytes()), now],
    )?;
    Ok(id)
}

fn prefix(key: &str) -> &str {
    key.get(..11).unwrap_or_default()
}

/// Makes a new key, shown in the answer and never again.
pub(crate) fn issue(
    db: &Connection,
    world: &World,
    agent: &str,
    name: &str,
    now: i64,
) -> rusqlite::Result<Value> {
    let key = from_bytes(&world.fresh(db, "crochet/issued-key")?);
    let id = insert(db, world, agent, name, &key, now)?;
    Ok(json!({
        "api_key": key,
        "authorization_header": format!("Bearer {key}"),
        "api_key_id": id,
        "api_key_prefix": prefix(&key),
    }))
}

/// The agent that a valid key belongs to.
pub(crate) fn owner(db: &Connection, key: &str, now: i64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached(
        "UPDATE crochet_api_keys SET last_used_at = ?2 WHERE hash = ?1 AND is_revoked = 0
         RETURNING agent",
    )?
    .query_row(params![sha256_hex(key.as_bytes()), now], |row| row.get(0))
    .optional()
}

/// `GET /api-keys`
pub(crate) async fn list(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let keys: Vec<Value> = world.transact(|db, _| {
        db.prepare_cached(
            "SELECT id, name, prefix, created_at, last_used_at, is_revoked FROM crochet_api_keys
             WHERE agent = ?1 ORDER BY created_at, id",
        )?
        .query_map([&agent.id], |row| {
            let is_revoked: bool = row.get(5)?;
            Ok(json!({
                "id": row.get::<_, String>(0)?,
                "name": row.get::<_, String>(1)?,
                "key_prefix": row.get::<_, String>(2)?,
                "created_at": rfc3339(row.get(3)?),
                "last_used_at": row.get::<_, Option<i64>>(4)?.map(rfc3339),
                "status": if is_revoked { "revoked" } else { "active" },
            }))
        })?
        .collect::<rusqlite::Result<_>>()
    })?;
    ok(keys)
}

#[derive(Deserialize)]
struct CreateBody {
    name: Option<String>,
}

/// `POST /api-keys`
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: CreateBody = read(&body)?;
    let name = required("name", body.name.as_deref().unwrap_or("unnamed"), 80)?;
    created(world.transact(|db, now| {
        let mut data = issue(db, &world, &agent.id, &name, now)?;
        if let Some(data) = data.as_object_mut() {
            data.insert("id".to_owned(), data.get("api_key_id").cloned().unwrap_or_default());
            data.insert("name".to_owned(), json!(name));
        }
        Ok::<_, ApiError>(data)
    })?)
}

/// `DELETE /api-keys/{id}`
pub(crate) async fn revoke(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let changed = world.transact(|db, _| {
        db.execute(
            "UPDATE crochet_api_keys SET is_revoked = 1 WHERE id = ?1 AND agent = ?2",
            params![id, agent.id],
        )
    })?;
    if changed == 0 {
        return Err(ApiError::not_found("API key"));
    }
    ok(json!({ "id": id, "status": "revoked" }))
}
