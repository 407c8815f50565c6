//! The truth: what was charged, paid out and moved, whatever anybody was told.
//!
//! Tests audit the client against it. Entries are only ever added.

use rusqlite::{Connection, params};
use serde::Serialize;

use crate::{money::Usdc, sandbox::clock::rfc3339};

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A buyer's money arrived for a purchase.
    Charge,
    /// A buyer's money went into an escrow.
    Deposit,
    /// A seller earned a part of a deposit; the money itself moves later.
    Draw,
    /// The marketplace kept its share.
    Fee,
    /// The seller received the rest.
    Payout,
    /// The buyer received the price back.
    Refund,
    /// Tokens moved for no purchase.
    Transfer,
}

impl Kind {
    /// Its word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Deposit => "deposit",
            Self::Draw => "draw",
            Self::Fee => "fee",
            Self::Payout => "payout",
            Self::Refund => "refund",
            Self::Transfer => "transfer",
        }
    }
}

/// An entry to add.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry<'a> {
    /// Whose: `croo`, `crochet`, `paegents` or `chain`.
    pub(crate) marketplace: &'a str,
    /// What it says.
    pub(crate) kind: Kind,
    /// The order id, the relay id, the agreement id, or the hash of a transaction.
    pub(crate) reference: &'a str,
    /// The charge or deposit that a fee, a draw or a payout belongs to.
    pub(crate) parent: Option<&'a str>,
    /// Who paid.
    pub(crate) payer: &'a str,
    /// Who received.
    pub(crate) payee: &'a str,
    /// How much.
    pub(crate) amount: Usdc,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// An entry as `GET /admin/ledger` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    seq: i64,
    marketplace: String,
    kind: String,
    reference: String,
    parent: Option<String>,
    payer: String,
    payee: String,
    amount_usd: Usdc,
    at: String,
}

/// Adds an entry.
pub(crate) fn append(db: &Connection, entry: &NewEntry<'_>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO ledger (marketplace, kind, reference, parent, payer, payee, micros, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        entry.marketplace,
        entry.kind.as_str(),
        entry.reference,
        entry.parent,
        entry.payer,
        entry.payee,
        i64::try_from(entry.amount.micros()).unwrap_or(i64::MAX),
        entry.at_ms,
    ])?;
    Ok(())
}

/// All entries, oldest first.
pub(crate) fn entries(db: &Connection) -> rusqlite::Result<Vec<Entry>> {
    db.prepare_cached(
        "SELECT seq, marketplace, kind, reference, parent, payer, payee, micros, at
         FROM ledger ORDER BY seq",
    )?
    .query_map([], |row| {
        Ok(Entry {
            seq: row.get(0)?,
            marketplace: row.get(1)?,
            kind: row.get(2)?,
            reference: row.get(3)?,
            parent: row.get(4)?,
            payer: row.get(5)?,
            payee: row.get(6)?,
            amount_usd: micros(row.get(7)?),
            at: rfc3339(row.get(8)?),
        })
    })?
    .collect()
}

/// An amount as the tables hold it.
pub(crate) fn micros(column: i64) -> Usdc {
    Usdc::from_micros(u64::try_from(column).unwrap_or_default())
}
