//! The wallets of a profile: what each may do, linking and updating them with proofs.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        accounts::{Agent, authenticate},
        answers::{Answer, ApiError, Recovery, created, ok, read},
        proofs::{self, WalletAddress},
    },
    world::World,
};

/// What a wallet can be for.
pub(crate) const CAPABILITIES: [&str; 4] = ["auth", "recovery", "payment", "payout"];

/// A wallet as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wallet {
    id: String,
    /// Whose.
    #[serde(skip)]
    pub(crate) agent: String,
    /// Where.
    #[serde(rename = "wallet_address")]
    pub(crate) address: String,
    chain: String,
    capabilities: Vec<String>,
    is_default: bool,
    status: String,
    created_at: String,
}

impl Wallet {
    /// Whether it is active and may do this.
    pub(crate) fn may(&self, capability: &str) -> bool {
        self.status == "active" && self.capabilities.iter().any(|known| known == capability)
    }
}

const COLUMNS: &str = "id, agent, address, chain, capabilities, is_default, status, created_at";

fn row(row: &Row<'_>) -> rusqlite::Result<Wallet> {
    let capabilities: String = row.get(4)?;
    Ok(Wallet {
        id: row.get(0)?,
        agent: row.get(1)?,
        address: row.get(2)?,
        chain: row.get(3)?,
        capabilities: capabilities.split_whitespace().map(str::to_owned).collect(),
        is_default: row.get(5)?,
        status: row.get(6)?,
        created_at: rfc3339(row.get(7)?),
    })
}

/// Stores a wallet; answers its identifier.
pub(crate) fn insert(
    db: &Connection,
    world: &World,
    agent: &str,
    address: &WalletAddress,
    capabilities: &[&str],
    is_default: bool,
    now: i64,
) -> rusqlite::Result<String> {
    let id = world.fresh_uuid(db, "crochet/wallet")?;
    db.execute(
        "INSERT INTO crochet_wallets
             (id, agent, address, chain, capabilities, is_default, status, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'active', ?7)",
        params![
            id,
            agent,
            address.text(),
            address.chain(),
            capabilities.join(" "),
            is_default,
            now
        ],
    )?;
    Ok(id)
}

/// The wallets of a profile.
pub(crate) fn of_agent(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Wallet>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM crochet_wallets WHERE agent = ?1 ORDER BY created_at, rowid"
    ))?
    .query_map([agent], row)?
    .collect()
}

/// The wallet with this address.
pub(crate) fn by_address(db: &Connection, address: &str) -> rusqlite::Result<Option<Wallet>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM crochet_wallets WHERE address = ?1"))?
        .query_row([address], row)
        .optional()
}

/// The profile that a wallet belongs to.
pub(crate) fn owner(db: &Connection, address: &WalletAddress) -> rusqlite::Result<Option<String>> {
    Ok(by_address(db, &address.text())?.map(|wallet| wallet.agent))
}

/// Where an agent is paid: its first active EVM wallet for payouts.
pub(crate) fn payout_address(db: &Connection, agent: &str) -> rusqlite::Result<String> {
    let wallets = of_agent(db, agent)?;
    let evm = || wallets.iter().filter(|wallet| wallet.chain == "evm");
    let found = evm().find(|wallet| wallet.may("payout")).or_else(|| evm().next());
    Ok(found.or(wallets.first()).map(|wallet| wallet.address.clone()).unwrap_or_default())
}

/// `GET /me/wallets`
pub(crate) async fn list(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, _| of_agent(db, &agent.id))?)
}

/// `GET /me/wallets/{id}`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let wallets = world.transact(|db, _| of_agent(db, &agent.id))?;
    ok(wallets.into_iter().find(|w| w.id == id).ok_or_else(|| ApiError::not_found("wallet"))?)
}

#[derive(Deserialize)]
struct LinkBody {
    wallet_address: String,
    chain: Option<String>,
    nonce: String,
    signature: String,
    existing_wallet_address: String,
    existing_nonce: String,
    existing_signature: String,
    pow_nonce: Option<String>,
    capabilities: Option<Vec<String>>,
}

/// `POST /me/wallets`
pub(crate) async fn link(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: LinkBody = read(&body)?;
    let wallet = WalletAddress::parse("wallet_address", &body.wallet_address)?;
    if body.chain.as_deref().is_some_and(|chain| chain != wallet.chain()) {
        return Err(ApiError::invalid("chain", format!("the address is on {}", wallet.chain())));
    }
    let capabilities = capabilities(body.capabilities.as_deref())?
        .unwrap_or_else(|| vec!["payment".to_owned(), "payout".to_owned()]);
    let purposes = ["link_wallet"];
    let existing = Proof {
        address: &body.existing_wallet_address,
        nonce: &body.existing_nonce,
        signature: &body.existing_signature,
    };
    existing.check(&world, &agent, &purposes)?;
    let challenge = proofs::take(&world, &body.nonce, &purposes, &wallet.text())?;
    challenge.check_signature(&wallet, &body.signature)?;
    if let Some(candidate) = &body.pow_nonce {
        challenge.check_work(candidate)?;
    }
    created(world.transact(|db, now| {
        if owner(db, &wallet)?.is_some() {
            let message = "the wallet already belongs to a profile";
            return Err(ApiError::new(StatusCode::CONFLICT, "WALLET_ALREADY_LINKED", message));
        }
        let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
        insert(db, &world, &agent.id, &wallet, &names, false, now)?;
        by_address(db, &wallet.text())?.ok_or_else(|| ApiError::not_found("wallet"))
    })?)
}

/// A signature by a wallet that the profile already has.
struct Proof<'a> {
    address: &'a str,
    nonce: &'a str,
    signature: &'a str,
}

impl Proof<'_> {
    fn check(&self, world: &World, agent: &Agent, purposes: &[&str]) -> Result<(), ApiError> {
        let wallet = WalletAddress::parse("existing_wallet_address", self.address)?;
        let known = world.transact(|db, _| by_address(db, &wallet.text()))?;
        if !known.is_some_and(|known| known.agent == agent.id && known.may("auth")) {
            let message = "the proof must come from an active wallet of this profile with auth";
            return Err(ApiError::forbidden(message));
        }
        let challenge = proofs::take(world, self.nonce, purposes, &wallet.text())?;
        challenge.check_signature(&wallet, self.signature)
    }
}

fn capabilities(names: Option<&[String]>) -> Result<Option<Vec<String>>, ApiError> {
    let Some(names) = names else { return Ok(None) };
    if names.iter().all(|name| CAPABILITIES.contains(&name.as_str())) {
        return Ok(Some(names.to_vec()));
    }
    let message = format!("each must be one of {}", CAPABILITIES.join(", "));
    Err(ApiError::invalid("capabilities", message))
}

#[derive(Deserialize)]
struct UpdateBody {
    wallet_id: Option<String>,
    wallet_address: Option<String>,
    existing_wallet_address: Option<String>,
    #[serde(alias = "existing_nonce")]
    nonce: String,
    #[serde(alias = "existing_signature")]
    signature: String,
    capabilities: Option<Vec<String>>,
    status: Option<String>,
    is_default: Option<bool>,
}

/// `PATCH /me/wallets`
pub(crate) async fn update(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    change(&world, &headers, &body, None)
}

/// `PATCH /me/wallets/{id}`
pub(crate) async fn update_one(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    change(&world, &headers, &body, Some(id))
}

fn change(world: &World, headers: &HeaderMap, body: &[u8], id: Option<String>) -> Answer {
    let agent = authenticate(world, headers)?;
    let body: UpdateBody = read(body)?;
    let capabilities = capabilities(body.capabilities.as_deref())?;
    let statuses = ["active", "inactive"];
    if body.status.as_deref().is_some_and(|status| !statuses.contains(&status)) {
        return Err(ApiError::invalid("status", "must be active or inactive"));
    }
    let id = id.or(body.wallet_id);
    let address = body.wallet_address.as_deref();
    let mut wallet = world
        .transact(|db, _| of_agent(db, &agent.id))?
        .into_iter()
        .find(|wallet| match &id {
            Some(id) => wallet.id == *id,
            None => address.is_some_and(|text| wallet.address.eq_ignore_ascii_case(text)),
        })
        .ok_or_else(|| ApiError::not_found("wallet"))?;
    let proof = Proof {
        address: body.existing_wallet_address.as_deref().or(address).unwrap_or(&wallet.address),
        nonce: &body.nonce,
        signature: &body.signature,
    };
    proof.check(world, &agent, &["update_wallet", "link_wallet"])?;
    wallet.capabilities = capabilities.unwrap_or(wallet.capabilities);
    wallet.status = body.status.unwrap_or(wallet.status);
    wallet.is_default = body.is_default.unwrap_or(wallet.is_default);
    ok(world.transact(|db, _| save(db, &agent, wallet))?)
}

fn save(db: &Connection, agent: &Agent, wallet: Wallet) -> Result<Wallet, ApiError> {
    if wallet.is_default {
        db.execute("UPDATE crochet_wallets SET is_default = 0 WHERE agent = ?1", [&agent.id])?;
    }
    db.execute(
        "UPDATE crochet_wallets SET capabilities = ?2, status = ?3, is_default = ?4 WHERE id = ?1",
        params![wallet.id, wallet.capabilities.join(" "), wallet.status, wallet.is_default],
    )?;
    if !of_agent(db, &agent.id)?.iter().any(|wallet| wallet.may("recovery")) {
        let message = "the profile must keep at least one active recovery wallet";
        return Err(ApiError::new(StatusCode::CONFLICT, "LAST_RECOVERY_WALLET", message).recovery(
            Recovery::new(
                false,
                "add_recovery_wallet",
                "Give another wallet the recovery capability first.",
            ),
        ));
    }
    Ok(wallet)
}
