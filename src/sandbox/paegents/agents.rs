//! Agents: who an API key or an owner's token belongs to, and the agents that every world has.

use alloy_primitives::{Address, U256};
use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use crate::sandbox::{
    chain::{self, Account},
    keys::Wallet,
    paegents::answers::{ApiError, header},
    world::World,
};

/// The agent with the buyer's wallet.
pub(crate) const BUYER: &str = "buyer";
/// The agent who owns the `manual` services.
pub(crate) const SELLER: &str = "seller";
/// The built-in buyer.
pub(crate) const CUSTOMER: &str = "customer";
/// The built-in seller of work on texts.
pub(crate) const TEXTS: &str = "texts";
/// The built-in seller of work on data.
pub(crate) const DATA: &str = "data";
/// The built-in seller of every temper.
pub(crate) const DIFFICULT: &str = "difficult";

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_agents (
    id TEXT PRIMARY KEY, api_key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, wallet TEXT NOT NULL,
    is_built_in INTEGER NOT NULL, owner_jwt TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL);
";

/// What the built-in buyer begins with, in micro-units: 100,000 USDC.
const CUSTOMER_USDC: u64 = 100_000_000_000;

/// Label, name, and whether the sandbox acts for it.
const KNOWN: [(&str, &str, bool); 6] = [
    (BUYER, "Sandbox Buyer", false),
    (SELLER, "Sandbox Seller", false),
    (CUSTOMER, "Sandbox Customer", true),
    (TEXTS, "Paegents Text Works", true),
    (DATA, "Paegents Data Works", true),
    (DIFFICULT, "Paegents Difficult Sellers", true),
];

/// An agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its identifier, `agt_` and hex digits.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// The address of its wallet.
    pub(crate) wallet: Address,
    /// Its API key, `sk_` and hex digits.
    pub(crate) api_key: String,
    /// Whether the sandbox acts for it.
    pub(crate) is_built_in: bool,
}

const COLUMNS: &str = "id, name, wallet, api_key, is_built_in";

fn row(row: &Row<'_>) -> rusqlite::Result<Agent> {
    let wallet: String = row.get(2)?;
    Ok(Agent {
        id: row.get(0)?,
        name: row.get(1)?,
        wallet: wallet.parse().unwrap_or_default(),
        api_key: row.get(3)?,
        is_built_in: row.get(4)?,
    })
}

fn derived(world: &World, prefix: &str, what: &str, label: &str, digits: usize) -> String {
    let digest = hex::encode(world.seed.bytes(&format!("paegents/{what}/{label}")));
    format!("{prefix}{}", digest.get(..digits).unwrap_or_default())
}

/// The identifier of a known agent.
pub(crate) fn known_id(world: &World, label: &str) -> String {
    derived(world, "agt_", "agent", label, 16)
}

/// The API key that a known agent begins with.
pub(crate) fn known_key(world: &World, label: &str) -> String {
    derived(world, "sk_", "api-key", label, 40)
}

/// The token of a known agent's owner: it looks like a JWT, and nobody reads what is in it.
pub(crate) fn known_jwt(world: &World, label: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let subject = derived(world, "owner_", "owner", label, 12);
    format!(
        "{}.{}.{}",
        part(json!({ "alg": "HS256", "typ": "JWT" })),
        part(json!({ "sub": subject, "aud": "sandbox" })),
        URL_SAFE_NO_PAD.encode(world.seed.bytes(&format!("paegents/jwt/{label}")))
    )
}

/// The wallet of a known agent.
pub(crate) fn known_wallet(world: &World, label: &str) -> Wallet {
    match label {
        BUYER => world.buyer(),
        SELLER => world.seller(),
        _ => world.seed.wallet(&format!("paegents/{label}")),
    }
}

/// Registers the known agents in a new world.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    for (label, name, is_built_in) in KNOWN {
        db.execute(
            "INSERT INTO paegents_agents
                 (id, api_key, name, wallet, is_built_in, owner_jwt, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                known_id(world, label),
                known_key(world, label),
                name,
                known_wallet(world, label).address.to_string(),
                is_built_in,
                known_jwt(world, label),
                now,
            ],
        )?;
    }
    let funds = Account { usdc: CUSTOMER_USDC, wei: U256::ZERO, ..Account::default() };
    chain::put_account(db, known_wallet(world, CUSTOMER).address, &funds)
}

/// The agent whose `column` has this value. The column is one of this file's.
fn by(db: &Connection, column: &str, value: &str) -> rusqlite::Result<Option<Agent>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM paegents_agents WHERE {column} = ?1"))?
        .query_row([value], row)
        .optional()
}

/// Reads an agent.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Agent>> {
    by(db, "id", id)
}

/// The agent with this identifier, which some row refers to.
pub(crate) fn present(db: &Connection, id: &str) -> rusqlite::Result<Agent> {
    find(db, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// The agent with this wallet.
pub(crate) fn by_wallet(db: &Connection, wallet: Address) -> rusqlite::Result<Option<Agent>> {
    by(db, "wallet", &wallet.to_string())
}

/// Gives an agent another API key; the one before is worth nothing from now on.
pub(crate) fn set_key(db: &Connection, id: &str, api_key: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE paegents_agents SET api_key = ?2 WHERE id = ?1")?
        .execute([id, api_key])?;
    Ok(())
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = header(headers, "authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether a token is an owner's and no key.
fn is_jwt(token: &str) -> bool {
    token.split('.').count() == 3
}

/// Whose API key the request carries. Of two keys both must be the same agent's.
pub(crate) fn authenticate(db: &Connection, headers: &HeaderMap) -> Result<Agent, ApiError> {
    let refused = || ApiError::unauthorized("Invalid API key");
    let keys = [header(headers, "x-api-key"), bearer(headers).filter(|token| !is_jwt(token))];
    let mut found: Option<Agent> = None;
    for key in keys.into_iter().flatten() {
        let agent = by(db, "api_key", key)?.ok_or_else(refused)?;
        if found.is_some_and(|before| before.id != agent.id) {
            return Err(refused());
        }
        found = Some(agent);
    }
    found.ok_or_else(refused)
}

/// Whose API key the `Authorization` header alone carries, as the metered proxy takes it.
pub(crate) fn authenticate_bearer(db: &Connection, headers: &HeaderMap) -> Result<Agent, ApiError> {
    let refused = || ApiError::unauthorized("Invalid API key");
    by(db, "api_key", bearer(headers).ok_or_else(refused)?)?.ok_or_else(refused)
}

/// The agent whose owner's token the request carries.
pub(crate) fn owned(db: &Connection, headers: &HeaderMap) -> Result<Agent, ApiError> {
    let refused = || ApiError::unauthorized("Invalid or expired token");
    let token = bearer(headers).filter(|token| is_jwt(token)).ok_or_else(refused)?;
    by(db, "owner_jwt", token)?.ok_or_else(refused)
}

/// The agent with this identifier, if the request carries its owner's token.
pub(crate) fn owner(db: &Connection, headers: &HeaderMap, id: &str) -> Result<Agent, ApiError> {
    the_one(owned(db, headers)?, id)
}

/// The agent with this identifier, if the request carries its key or its owner's token.
pub(crate) fn agent_or_owner(
    db: &Connection,
    headers: &HeaderMap,
    id: &str,
) -> Result<Agent, ApiError> {
    let has_jwt = bearer(headers).is_some_and(is_jwt);
    the_one(if has_jwt { owned(db, headers)? } else { authenticate(db, headers)? }, id)
}

/// The agent, if it is the one that the path names.
fn the_one(agent: Agent, id: &str) -> Result<Agent, ApiError> {
    if agent.id == id {
        Ok(agent)
    } else {
        Err(ApiError::forbidden("These credentials are not for this agent"))
    }
}
