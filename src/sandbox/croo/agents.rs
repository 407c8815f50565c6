//! Agents: who an SDK key belongs to, and the agents that every world has.

use alloy_primitives::{Address, U256};
use axum::http::{HeaderMap, StatusCode};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sandbox::{
    chain::{self, Account},
    croo::answers::ApiError,
    keys::Wallet,
    world::World,
};

/// The agent with the buyer's wallet.
pub(crate) const REQUESTER: &str = "requester";
/// The agent who owns the `manual` services.
pub(crate) const PROVIDER: &str = "provider";
/// The built-in buyer.
pub(crate) const BUYER: &str = "buyer";

/// What the built-in buyer begins with, in micro-units: 100,000 USDC.
const BUYER_USDC: u64 = 100_000_000_000;

/// An agent that every world has.
struct Known {
    label: &'static str,
    name: &'static str,
    description: &'static str,
    tags: &'static str,
    is_built_in: bool,
}

const KNOWN: [Known; 6] = [
    Known {
        label: REQUESTER,
        name: "Sandbox Requester",
        description: "Buys from other agents.",
        tags: "",
        is_built_in: false,
    },
    Known {
        label: PROVIDER,
        name: "Sandbox Provider",
        description: "Sells what its owner answers by hand.",
        tags: "research",
        is_built_in: false,
    },
    Known {
        label: BUYER,
        name: "Sandbox Customer",
        description: "Orders from whoever is there.",
        tags: "",
        is_built_in: true,
    },
    Known {
        label: "texts",
        name: "Croo Text Works",
        description: "Counts, measures and summarises texts.",
        tags: "text",
        is_built_in: true,
    },
    Known {
        label: "data",
        name: "Croo Data Works",
        description: "Summarises tables, checks documents, digests and converts.",
        tags: "data,security",
        is_built_in: true,
    },
    Known {
        label: "difficult",
        name: "Croo Difficult Sellers",
        description: "Sellers of every temper.",
        tags: "text,research",
        is_built_in: true,
    },
];

/// An agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its identifier, a UUID.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) description: String,
    /// The slugs of its skills.
    pub(crate) tags: Vec<String>,
    /// The address of its wallet.
    pub(crate) wallet: Address,
    /// Whether the sandbox acts for it.
    pub(crate) is_built_in: bool,
    /// When it was made, in milliseconds.
    pub(crate) created_at: i64,
}

const COLUMNS: &str = "id, name, description, tags, wallet, is_built_in, created_at";

fn row(row: &Row<'_>) -> rusqlite::Result<Agent> {
    let (tags, wallet): (String, String) = (row.get(3)?, row.get(4)?);
    Ok(Agent {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        wallet: wallet.parse().unwrap_or_default(),
        is_built_in: row.get(5)?,
        created_at: row.get(6)?,
    })
}

/// The identifier of a known agent.
pub(crate) fn known_id(world: &World, label: &str) -> String {
    world.seed.uuid(&format!("croo/agent/{label}"))
}

/// The SDK key of a known agent.
pub(crate) fn known_key(world: &World, label: &str) -> String {
    let digest = hex::encode(world.seed.bytes(&format!("croo/sdk-key/{label}")));
    format!("croo_sk_{}", digest.get(..40).unwrap_or_default())
}

/// The wallet of a known agent.
pub(crate) fn known_wallet(world: &World, label: &str) -> Wallet {
    match label {
        REQUESTER => world.buyer(),
        PROVIDER => world.seller(),
        _ => world.seed.wallet(&format!("croo/{label}")),
    }
}

/// Registers the known agents in a new world.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    for known in KNOWN {
        let label = known.label;
        db.execute(
            "INSERT INTO croo_agents
                 (id, sdk_key, name, description, tags, wallet, is_built_in, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                known_id(world, label),
                known_key(world, label),
                known.name,
                known.description,
                known.tags,
                known_wallet(world, label).address.to_string(),
                known.is_built_in,
                now,
            ],
        )?;
    }
    let buyer = Account { usdc: BUYER_USDC, wei: U256::ZERO, ..Account::default() };
    chain::put_account(db, known_wallet(world, BUYER).address, &buyer)
}

/// Reads an agent.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Agent>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_agents WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// All agents, in the order they were made.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Agent>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_agents ORDER BY rowid"))?
        .query_map([], row)?
        .collect()
}

/// The agent with this identifier, which some row refers to.
pub(crate) fn present(db: &Connection, id: &str) -> rusqlite::Result<Agent> {
    find(db, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Whose key this is.
pub(crate) fn by_key(db: &Connection, sdk_key: &str) -> rusqlite::Result<Option<Agent>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_agents WHERE sdk_key = ?1"))?
        .query_row([sdk_key], row)
        .optional()
}

/// Whose key the request carries.
pub(crate) fn authenticate(db: &Connection, headers: &HeaderMap) -> Result<Agent, ApiError> {
    of_key(db, headers.get("x-sdk-key").map(|value| value.to_str().unwrap_or_default()))
}

/// Whose key this is; the refusal if it is nobody's.
pub(crate) fn of_key(db: &Connection, key: Option<&str>) -> Result<Agent, ApiError> {
    let refuse = |reason, message| ApiError::new(StatusCode::UNAUTHORIZED, reason, message);
    match key {
        None | Some("") => Err(refuse("SDK_KEY_MISSING", "the SDK key is missing")),
        Some(key) => {
            by_key(db, key)?.ok_or_else(|| refuse("SDK_KEY_INVALID", "the SDK key is not valid"))
        }
    }
}
