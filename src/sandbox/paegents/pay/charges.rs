//! What was charged without an escrow: the truth about it, and what an agent may still spend.
//!
//! Everything that a rail charges passes [`Charge::enter`], so the sums that limits look at and the
//! ledger cannot differ.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        ledger::{self, Kind, NewEntry},
        paegents::{
            answers::ApiError,
            owner::{limits, policies::Policy},
            services::MICROS_PER_CENT,
        },
    },
};

/// How far back a day's spending goes, in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// How far back a month's spending goes: 30 days, in milliseconds.
const MONTH_MS: i64 = 30 * DAY_MS;

/// An amount of cents as money.
pub(crate) fn usdc(cents: u64) -> Usdc {
    Usdc::from_micros(cents.saturating_mul(MICROS_PER_CENT))
}

/// Who pays where a card is charged.
pub(crate) fn card(agent: &str) -> String {
    format!("card:{agent}")
}

/// A charge to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge<'a> {
    /// The agent who spends.
    pub(crate) agent: &'a str,
    /// What it is for: a cart mandate, a transaction of a supplier, a payment.
    pub(crate) reference: &'a str,
    /// Who paid, as the ledger names it.
    pub(crate) payer: &'a str,
    /// Who received.
    pub(crate) payee: &'a str,
    /// How much, in cents.
    pub(crate) cents: u64,
}

impl Charge<'_> {
    /// Enters the charge, at `at`, into the ledger and into what the agent has spent.
    pub(crate) fn enter(&self, db: &Connection, at: i64) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO paegents_charges (agent, reference, cents, at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            self.agent,
            self.reference,
            i64::try_from(self.cents).unwrap_or(i64::MAX),
            at
        ])?;
        ledger::append(
            db,
            &NewEntry {
                marketplace: "paegents",
                kind: Kind::Charge,
                reference: self.reference,
                parent: None,
                payer: self.payer,
                payee: self.payee,
                amount: usdc(self.cents),
                at_ms: at,
            },
        )
    }
}

/// What the agent spent in the last `span_ms` before `now`, in cents.
fn spent(db: &Connection, agent: &str, now: i64, span_ms: i64) -> rusqlite::Result<u64> {
    let sum: i64 = db
        .prepare_cached(
            "SELECT coalesce(sum(cents), 0) FROM paegents_charges WHERE agent = ?1 AND at > ?2",
        )?
        .query_row(params![agent, now.saturating_sub(span_ms)], |row| row.get(0))?;
    Ok(u64::try_from(sum).unwrap_or_default())
}

/// Refuses what the agent's policy or its owner's limits do not leave room for.
pub(crate) fn check(
    db: &Connection,
    now: i64,
    agent: &str,
    policy: &Policy,
    cents: u64,
) -> Result<(), ApiError> {
    let limits = limits::find(db, agent)?;
    let day = spent(db, agent, now, DAY_MS)?;
    let month = spent(db, agent, now, MONTH_MS)?;
    let rows = [
        ("the policy's daily limit", policy.daily_limit_cents(), day),
        ("the owner's daily limit", Some(limits.daily), day),
        ("the owner's monthly limit", Some(limits.monthly), month),
    ];
    for (name, limit, spent) in rows {
        let Some(limit) = limit else { continue };
        if spent.saturating_add(cents) > limit {
            return Err(denied(&format!(
                "{cents} cents are above {name} of {limit} ({spent} spent)"
            )));
        }
    }
    Ok(())
}

/// The refusal by a policy: the SDK knows it by its first word.
pub(crate) fn denied(reason: &str) -> ApiError {
    ApiError::forbidden(format!("policy_denied: {reason}"))
}

/// What the agent has and had, as `GET /mcp/balance/{agent}` shows it, in cents.
pub(crate) fn balance(db: &Connection, now: i64, agent: &str) -> rusqlite::Result<Value> {
    let limits = limits::find(db, agent)?;
    let day = spent(db, agent, now, DAY_MS)?;
    let month = spent(db, agent, now, MONTH_MS)?;
    Ok(json!({
        "agent_id": agent,
        "daily_limit": limits.daily,
        "monthly_limit": limits.monthly,
        "daily_spent": day,
        "monthly_spent": month,
        "daily_remaining": limits.daily.saturating_sub(day),
        "monthly_remaining": limits.monthly.saturating_sub(month),
    }))
}
