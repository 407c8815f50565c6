//! Secrets in the store: sealed by the vault, named, never shown.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

/// Keeps a sealed secret under `name`, in place of an earlier one.
///
/// # Errors
///
/// Where the store fails.
pub fn put(db: &Connection, name: &str, sealed: &[u8], now: i64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO secrets (name, sealed, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET sealed = ?2, at = ?3",
        params![name, sealed, now],
    )?;
    Ok(())
}

/// The sealed secret of this name.
///
/// # Errors
///
/// Where the store fails.
pub fn get(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(db
        .query_row("SELECT sealed FROM secrets WHERE name = ?1", params![name], |row| row.get(0))
        .optional()?)
}

/// The names and times of all secrets.
///
/// # Errors
///
/// Where the store fails.
pub fn names(db: &Connection) -> Result<Vec<(String, i64)>, StoreError> {
    let mut rows = db.prepare("SELECT name, at FROM secrets ORDER BY name")?;
    let names =
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// Removes a secret; `false` where there was none.
///
/// # Errors
///
/// Where the store fails.
pub fn remove(db: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(db.execute("DELETE FROM secrets WHERE name = ?1", params![name])? == 1)
}
