//! Mandates that were asked for: the key of each, so that a second request within a while is the same
//! one, and what a cart costs, so that nobody has to be believed about it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use crate::money::Usdc;

/// Which kind of mandate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What may be spent.
    Intent,
    /// What is to be bought.
    Cart,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Cart => "cart",
        }
    }
}

/// A mandate that is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The key it goes under.
    pub key: String,
    /// Who asks.
    pub principal: String,
    /// Which kind.
    pub kind: Kind,
    /// Of what is asked for.
    pub digest: String,
    /// The intent's maximum, or the cart's total.
    pub amount: Usdc,
    /// The intent that a cart belongs to.
    pub intent_id: Option<String>,
}

/// A cart that was made from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// Its total.
    pub total: Usdc,
    /// The intent that it belongs to.
    pub intent_id: Option<String>,
}

/// The key under which this is asked for: that of the same request at `since` or later, else the new
/// one, which is on disk when the transaction is.
///
/// # Errors
///
/// Where the store fails.
pub fn begin(db: &Connection, asked: &Asked, since: i64, now: i64) -> Result<String, StoreError> {
    let earlier: Option<String> = db
        .query_row(
            "SELECT key FROM mandates WHERE principal = ?1 AND kind = ?2 AND digest = ?3 AND at >= ?4
             ORDER BY at DESC LIMIT 1",
            params![asked.principal, asked.kind.word(), asked.digest, since],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(key) = earlier {
        return Ok(key);
    }
    db.execute(
        "INSERT INTO mandates (key, principal, kind, digest, amount, intent_id, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            asked.key,
            asked.principal,
            asked.kind.word(),
            asked.digest,
            i64::try_from(asked.amount.micros()).unwrap_or(i64::MAX),
            asked.intent_id,
            now,
        ],
    )?;
    Ok(asked.key.clone())
}

/// Keeps the marketplace's name for what was asked for under a key.
///
/// # Errors
///
/// Where the store fails.
pub fn made(db: &Connection, key: &str, id: &str) -> Result<(), StoreError> {
    db.execute("UPDATE mandates SET id = ?2 WHERE key = ?1", params![key, id])?;
    Ok(())
}

/// The cart of this name, where it was made by this principal from here. Where one name stands for
/// several, the dearest counts.
///
/// # Errors
///
/// Where the store fails.
pub fn cart(db: &Connection, principal: &str, id: &str) -> Result<Option<Cart>, StoreError> {
    let read = |row: &Row<'_>| {
        let micros: i64 = row.get(0)?;
        let total = Usdc::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        Ok(Cart { total, intent_id: row.get(1)? })
    };
    let found = db
        .query_row(
            "SELECT amount, intent_id FROM mandates
             WHERE principal = ?1 AND kind = 'cart' AND id = ?2 ORDER BY amount DESC LIMIT 1",
            params![principal, id],
            read,
        )
        .optional()?;
    Ok(found)
}
