//! The sandbox's state: one `SQLite` database, in memory or in a file.
//!
//! One connection behind one lock; what happens inside [`Store::transact`] happens whole or not at
//! all. Amounts that may exceed 63 bits (wei, allowances) are decimal text.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, params};

/// The version of the tables; a store of another version is refused.
const VERSION: i64 = 3;

/// The tables of the frame.
const FRAME: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, marketplace TEXT NOT NULL,
    method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL, headers TEXT NOT NULL,
    body TEXT NOT NULL);
CREATE TABLE faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, skip_left INTEGER NOT NULL,
    times_left INTEGER NOT NULL, fired INTEGER NOT NULL DEFAULT 0);
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, marketplace TEXT NOT NULL, kind TEXT NOT NULL,
    reference TEXT NOT NULL, parent TEXT, payer TEXT NOT NULL, payee TEXT NOT NULL,
    micros INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE INDEX ledger_reference ON ledger (reference);
";

/// Why the sandbox's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by another version of this program.
    #[error(
        "the sandbox's store has version {found}, this program uses version {VERSION}: delete \
         {} to begin a fresh world",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: i64,
    },
    /// `SQLite` refused.
    #[error("the sandbox's store cannot be used")]
    Sqlite(#[from] rusqlite::Error),
}

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens `path`, or a database in memory; creates the tables where there are none.
    pub(crate) fn open(path: Option<&Path>, tables: &[&str]) -> Result<Self, StoreError> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(128);
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => {
                let all = std::iter::once(FRAME).chain(tables.iter().copied());
                let sql: String = all.collect();
                connection.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {sql} PRAGMA user_version = {VERSION}; COMMIT;"
                ))?;
            }
            VERSION => {}
            found => {
                let path = path.unwrap_or(Path::new(":memory:")).to_owned();
                return Err(StoreError::Version { path, found });
            }
        }
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Runs `work` in a transaction, which its error rolls back.
    pub(crate) fn transact<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Reads a setting of the world.
pub(crate) fn meta(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Writes a setting of the world.
pub(crate) fn set_meta(db: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

/// A number that was never given before in this world, from 1.
pub(crate) fn next_serial(db: &Connection) -> rusqlite::Result<i64> {
    let last: i64 = meta(db, "serial")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    set_meta(db, "serial", &(last + 1).to_string())?;
    Ok(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world.db");
        Store::open(Some(&path), &[]).unwrap();
        Store::open(Some(&path), &[]).unwrap();
        let older = Connection::open(&path).unwrap();
        older.pragma_update(None, "user_version", VERSION - 1).unwrap();
        let error = Store::open(Some(&path), &[]).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
