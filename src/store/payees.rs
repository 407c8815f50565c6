//! The owner's names for addresses: what a tool may be told to pay besides a marketplace's sellers.

use alloy_primitives::Address;
use rusqlite::{Connection, params};

use super::StoreError;

/// What a name has to be.
pub const NAME_RULE: &str = "must have 1 to 64 letters, digits, - and _";
/// Bytes of the longest name.
const NAME_BYTES_MAX: usize = 64;

/// Whether this can be the owner's name for somebody.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// An address under the owner's name for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Payee {
    /// The owner's name.
    pub name: String,
    /// The address, checksummed.
    pub address: String,
    /// The chain on which it is meant.
    pub chain_id: i64,
}

/// Adds or replaces a payee.
///
/// # Errors
///
/// Where the store fails.
pub fn put(db: &Connection, name: &str, address: Address, chain_id: i64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO payees (name, address, chain_id) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET address = ?2, chain_id = ?3",
        params![name, address.to_checksum(None), chain_id],
    )?;
    Ok(())
}

/// All payees, by name.
///
/// # Errors
///
/// Where the store fails.
pub fn all(db: &Connection) -> Result<Vec<Payee>, StoreError> {
    let mut rows = db.prepare("SELECT name, address, chain_id FROM payees ORDER BY name")?;
    let payees = rows
        .query_map([], |row| {
            Ok(Payee { name: row.get(0)?, address: row.get(1)?, chain_id: row.get(2)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(payees)
}

/// Removes a payee; `false` where there was none.
///
/// # Errors
///
/// Where the store fails.
pub fn remove(db: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(db.execute("DELETE FROM payees WHERE name = ?1", params![name])? == 1)
}
