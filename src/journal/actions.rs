//! What brings money home, or prepares it, written down before it is sent: a close, a claim, a
//! withdrawal, an exact allowance. They need no approval and no budget.
//!
//! Invariant: of one agreement at most one action of a kind is open, over all processes.

use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::StoreError;

words! {
    /// What is done. The words are those of the wire.
    Kind {
        /// The challenge window begins.
        Close = "initiate_close",
        /// The seller takes what was earned.
        Claim = "seller_claim",
        /// The buyer takes what was not used.
        Withdraw = "buyer_withdraw",
        /// The escrow may take exactly so much.
        Approve = "approve",
    }
}

words! {
    /// Who sends it.
    Mode {
        /// The platform sends what the wallet signed.
        Sponsored = "sponsored",
        /// The wallet sends a transaction.
        Own = "own",
    }
}

words! {
    /// Where it stands.
    Stage {
        /// Signed, perhaps sent.
        Submitted = "submitted",
        /// Carried out.
        Done = "done",
        /// Not carried out, and never will be.
        Failed = "failed",
    }
}

/// One action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its identifier.
    pub id: String,
    /// Who asked for it.
    pub principal: String,
    /// Of which agreement.
    pub agreement_id: String,
    /// What.
    pub kind: Kind,
    /// How.
    pub mode: Mode,
    /// On which chain.
    pub chain_id: u64,
    /// The wallet.
    pub account: String,
    /// Its nonce, of a transaction of its own.
    pub account_nonce: Option<u64>,
    /// What it is made from, but no signature.
    pub details: Value,
    /// Where it stands.
    pub stage: Stage,
    /// The transaction, where it is known.
    pub tx_hash: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

const COLUMNS: &str = "id, principal, agreement_id, action, mode, chain_id, account, account_nonce,
    details, state, tx_hash, failure";

fn read(row: &Row<'_>) -> Result<Action, rusqlite::Error> {
    let corrupt = |what: &str| {
        let text = format!("{what} of an action cannot be read");
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, text.into())
    };
    let text = |at: &str| row.get::<_, String>(at);
    let (kind, mode, stage) = (text("action")?, text("mode")?, text("state")?);
    let nonce: Option<i64> = row.get("account_nonce")?;
    let chain: i64 = row.get("chain_id")?;
    Ok(Action {
        id: text("id")?,
        principal: text("principal")?,
        agreement_id: text("agreement_id")?,
        kind: Kind::named(&kind).ok_or_else(|| corrupt("action"))?,
        mode: Mode::named(&mode).ok_or_else(|| corrupt("mode"))?,
        chain_id: u64::try_from(chain).map_err(|_| corrupt("chain_id"))?,
        account: text("account")?,
        account_nonce: nonce.map(u64::try_from).transpose().map_err(|_| corrupt("nonce"))?,
        details: serde_json::from_str(&text("details")?).map_err(|_| corrupt("details"))?,
        stage: Stage::named(&stage).ok_or_else(|| corrupt("state"))?,
        tx_hash: row.get("tx_hash")?,
        failure: row.get("failure")?,
    })
}

/// Writes a new one down.
///
/// # Errors
///
/// Where the store fails, or one of this kind is open.
pub fn begin(db: &Connection, action: &Action, now: i64) -> Result<(), StoreError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    db.execute(
        "INSERT INTO actions (id, principal, agreement_id, action, mode, chain_id, account,
         account_nonce, details, state, tx_hash, at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)",
        params![
            action.id,
            action.principal,
            action.agreement_id,
            action.kind.name(),
            action.mode.name(),
            number(action.chain_id),
            action.account,
            action.account_nonce.map(number),
            action.details.to_string(),
            action.stage.name(),
            action.tx_hash,
            now,
        ],
    )?;
    Ok(())
}

/// The newest of an agreement's actions of a kind.
///
/// # Errors
///
/// Where the store fails.
pub fn latest(
    db: &Connection,
    principal: &str,
    agreement_id: &str,
    kind: Kind,
) -> Result<Option<Action>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM actions WHERE principal = ?1 AND agreement_id = ?2 AND action = ?3
         ORDER BY rowid DESC LIMIT 1"
    );
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.query_row([principal, agreement_id, kind.name()], read).optional()?)
}

/// Whether a transaction of this account is open that is no purchase's.
///
/// # Errors
///
/// Where the store fails.
pub fn open_on_account(
    db: &Connection,
    chain_id: u64,
    account: &str,
) -> Result<Vec<Action>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM actions WHERE chain_id = ?1 AND account = ?2 AND mode = 'own'
         AND ended_at IS NULL ORDER BY rowid"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let chain = i64::try_from(chain_id).unwrap_or(0);
    let rows = statement.query_map(params![chain, account], read)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Writes down where it stands now.
///
/// # Errors
///
/// Where the store fails.
pub fn record(db: &Connection, action: &Action, now: i64) -> Result<(), StoreError> {
    let ended = (action.stage != Stage::Submitted).then_some(now);
    db.execute(
        "UPDATE actions SET state = ?2, tx_hash = ?3, failure = ?4, updated_at = ?5, ended_at = ?6
         WHERE id = ?1",
        params![action.id, action.stage.name(), action.tx_hash, action.failure, now, ended],
    )?;
    Ok(())
}
