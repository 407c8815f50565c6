//! Accounts: challenge, registration, recovery, the profile; and who a key belongs to.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        answers::{Answer, ApiError, Recovery, created, ok, read, required},
        api_keys, proofs,
        proofs::{PURPOSES, WalletAddress},
        reviews, wallets,
    },
    world::World,
};

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its identifier.
    pub(crate) id: String,
    /// Its name.
    pub(crate) display_name: String,
    role: String,
    created_at: i64,
}

/// The agents that every world has, with the labels their wallets are derived from.
const KNOWN: [(&str, &str); 3] =
    [("buyer", "Sandbox Buyer"), ("seller", "Sandbox Seller"), ("works", "Crochet Sandbox Works")];

/// The identifier of a known agent.
pub(crate) fn known_id(world: &World, name: &str) -> String {
    world.seed.uuid(&format!("crochet/agent/{name}"))
}

/// The API key of a known agent.
pub(crate) fn known_key(world: &World, name: &str) -> String {
    api_keys::from_bytes(&world.seed.bytes(&format!("crochet/agent-key/{name}")))
}

/// Registers the known agents in a new world.
pub(crate) fn found(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    for (name, display_name) in KNOWN {
        let id = known_id(world, name);
        insert(db, &id, display_name, "both", now)?;
        api_keys::insert(db, world, &id, "default", &known_key(world, name), now)?;
        let address = WalletAddress::Evm(world.seed.wallet(name).address);
        wallets::insert(db, world, &id, &address, &wallets::CAPABILITIES, true, now)?;
    }
    Ok(())
}

fn insert(
    db: &Connection,
    id: &str,
    display_name: &str,
    role: &str,
    now: i64,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO crochet_agents (id, display_name, role, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![id, display_name, role, now],
    )?;
    Ok(())
}

/// Reads an account.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Agent>> {
    db.prepare_cached(
        "SELECT id, display_name, role, created_at FROM crochet_agents WHERE id = ?1",
    )?
    .query_row([id], |row| {
        Ok(Agent {
            id: row.get(0)?,
            display_name: row.get(1)?,
            role: row.get(2)?,
            created_at: row.get(3)?,
        })
    })
    .optional()
}

/// Whose key the request carries.
pub(crate) fn authenticate(world: &World, headers: &HeaderMap) -> Result<Agent, ApiError> {
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(ApiError::unauthorized)?;
    world.transact(|db, now| {
        let id = api_keys::owner(db, key, now)?.ok_or_else(ApiError::unauthorized)?;
        find(db, &id)?.ok_or_else(ApiError::unauthorized)
    })
}

/// `GET /health`
pub(crate) async fn health(State(world): State<Arc<World>>) -> Answer {
    ok(json!({ "status": "ok", "service": "crochet", "time": rfc3339(world.clock.now_ms()) }))
}

#[derive(Deserialize)]
struct ChallengeBody {
    wallet_address: String,
    purpose: Option<String>,
}

/// `POST /auth/challenge`
pub(crate) async fn challenge(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: ChallengeBody = read(&body)?;
    let wallet = WalletAddress::parse("wallet_address", &body.wallet_address)?;
    let purpose = body.purpose.as_deref().unwrap_or("register");
    if !PURPOSES.contains(&purpose) {
        let message = format!("must be one of {}", PURPOSES.join(", "));
        return Err(ApiError::invalid("purpose", message));
    }
    ok(world.transact(|db, now| proofs::issue(db, &world, now, purpose, &wallet))?)
}

#[derive(Deserialize)]
struct RegisterBody {
    wallet_address: String,
    signature: String,
    nonce: String,
    pow_nonce: String,
    display_name: String,
    role: Option<String>,
}

/// `POST /register`
pub(crate) async fn register(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: RegisterBody = read(&body)?;
    let wallet = WalletAddress::parse("wallet_address", &body.wallet_address)?;
    let display_name = required("display_name", &body.display_name, 80)?;
    let role = body.role.as_deref().unwrap_or("both");
    if !["buyer", "provider", "both"].contains(&role) {
        return Err(ApiError::invalid("role", "must be one of buyer, provider, both"));
    }
    let challenge = proofs::take(&world, &body.nonce, &["register"], &wallet.text())?;
    challenge.check_work(&body.pow_nonce)?;
    challenge.check_signature(&wallet, &body.signature)?;
    let data = world.transact(|db, now| {
        if wallets::owner(db, &wallet)?.is_some() {
            let message = "the wallet already belongs to a profile";
            let recovery = Recovery::new(
                false,
                "recover_account",
                "Recover the account: request a challenge with purpose recover, then POST \
                 /auth/recover.",
            );
            return Err(ApiError::new(StatusCode::CONFLICT, "WALLET_ALREADY_REGISTERED", message)
                .recovery(recovery.preserve(&["wallet_address"]).discard(&[
                    "nonce",
                    "signature",
                    "pow_nonce",
                ])));
        }
        let id = world.fresh_uuid(db, "crochet/agent")?;
        insert(db, &id, &display_name, role, now)?;
        wallets::insert(db, &world, &id, &wallet, &wallets::CAPABILITIES, true, now)?;
        let mut data = api_keys::issue(db, &world, &id, "default", now)?;
        if let Some(data) = data.as_object_mut() {
            data.insert("agent_id".to_owned(), json!(id));
            data.insert("display_name".to_owned(), json!(display_name));
            data.insert("wallet_address".to_owned(), json!(wallet.text()));
            data.insert("account_type".to_owned(), json!("agent"));
        }
        Ok(data)
    })?;
    created(data)
}

#[derive(Deserialize)]
struct RecoverBody {
    wallet_address: String,
    signature: String,
    nonce: String,
    pow_nonce: String,
}

/// `POST /auth/recover`
pub(crate) async fn recover(State(world): State<Arc<World>>, body: Bytes) -> Answer {
    let body: RecoverBody = read(&body)?;
    let wallet = WalletAddress::parse("wallet_address", &body.wallet_address)?;
    let challenge = proofs::take(&world, &body.nonce, &["recover"], &wallet.text())?;
    challenge.check_work(&body.pow_nonce)?;
    challenge.check_signature(&wallet, &body.signature)?;
    let data = world.transact(|db, now| {
        let found = wallets::by_address(db, &wallet.text())?.ok_or_else(|| {
            ApiError::not_found("a profile with this wallet").recovery(
                Recovery::new(false, "register", "The wallet is new: register it.")
                    .preserve(&["wallet_address"])
                    .discard(&["nonce", "signature", "pow_nonce"]),
            )
        })?;
        if !found.may("recovery") {
            return Err(ApiError::forbidden("the wallet has no recovery capability"));
        }
        let mut data = api_keys::issue(db, &world, &found.agent, "recovered", now)?;
        if let Some(data) = data.as_object_mut() {
            data.insert("agent_id".to_owned(), json!(found.agent));
            data.insert("wallet_address".to_owned(), json!(wallet.text()));
        }
        Ok(data)
    })?;
    ok(data)
}

/// `GET /me`
pub(crate) async fn me(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, _| profile(db, &agent))?)
}

fn profile(db: &Connection, agent: &Agent) -> rusqlite::Result<Value> {
    let score = reviews::score_of(db, &agent.id)?;
    Ok(json!({
        "id": agent.id,
        "display_name": agent.display_name,
        "account_type": "agent",
        "role": agent.role,
        "is_verified": score >= 800,
        "score": score,
        "wallets": wallets::of_agent(db, &agent.id)?,
        "created_at": rfc3339(agent.created_at),
    }))
}
