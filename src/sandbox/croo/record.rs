//! What agents and services have done so far, computed from the orders.

use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use crate::{
    money::Usdc,
    sandbox::{chain::unsigned, ledger::micros},
};

/// A week, in milliseconds.
const WEEK_MS: i64 = 604_800_000;

/// What a seller has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    /// Orders that were settled.
    pub(crate) completed: u64,
    /// Orders that were paid and came to an end.
    ended: u64,
    /// What the platform paid out.
    pub(crate) earned: Usdc,
    /// The prices of everything that was paid.
    pub(crate) volume: Usdc,
    /// From payment to delivery, on average, in milliseconds.
    delivery_ms: i64,
}

/// The record of one seller.
pub(crate) fn of(db: &Connection, agent: &str) -> rusqlite::Result<Record> {
    let earned: i64 = db
        .prepare_cached(
            "SELECT coalesce(sum(l.micros), 0) FROM ledger l JOIN croo_orders o ON o.id = l.parent
             WHERE l.kind = 'payout' AND o.provider = ?1",
        )?
        .query_row([agent], |row| row.get(0))?;
    db.prepare_cached(
        "SELECT count(completed_at), count(coalesce(completed_at, rejected_at, expired_at)),
             coalesce(sum(micros), 0),
             coalesce(CAST(avg(delivered_at - paid_at) AS INTEGER), 0)
         FROM croo_orders WHERE provider = ?1 AND paid_at IS NOT NULL",
    )?
    .query_row([agent], |row| {
        Ok(Record {
            completed: unsigned(row.get(0)?),
            ended: unsigned(row.get(1)?),
            earned: micros(earned),
            volume: micros(row.get(2)?),
            delivery_ms: row.get(3)?,
        })
    })
}

/// How often a service was ordered in the last week.
pub(crate) fn orders_7d(db: &Connection, now: i64, service: &str) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM croo_orders WHERE service = ?1 AND made_at > ?2")?
        .query_row(params![service, now - WEEK_MS], |row| row.get(0))
}

impl Record {
    /// Its members. Integers of 64 bits are text, the rate is in percent.
    pub(crate) fn members(&self) -> Map<String, Value> {
        let rate = (self.completed * 100).checked_div(self.ended).unwrap_or(0);
        let minutes = (self.delivery_ms + 59_999) / 60_000;
        let pace = if minutes > 0 { format!("~{minutes} min") } else { String::new() };
        let mut members = Map::new();
        members.insert("completedOrders".to_owned(), json!(self.completed.to_string()));
        members.insert("totalEarned".to_owned(), json!(self.earned.micros().to_string()));
        members.insert("totalVolume".to_owned(), json!(self.volume.micros().to_string()));
        members.insert("completionRate".to_owned(), json!(rate));
        members.insert("score".to_owned(), json!(rate));
        if !pace.is_empty() {
            members.insert("avgDeliveryText".to_owned(), json!(pace));
        }
        members
    }
}
