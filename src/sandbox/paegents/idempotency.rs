//! Idempotency keys: the same key with the same body is the same request.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::sandbox::{keys::sha256_hex, paegents::answers::ApiError};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_keys (
    agent TEXT NOT NULL, operation TEXT NOT NULL, key TEXT NOT NULL, body_sha256 TEXT NOT NULL,
    subject TEXT NOT NULL, PRIMARY KEY (agent, operation, key));
";

/// A request under a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed<'a> {
    /// The identifier of the agent who sent it.
    pub(crate) agent: &'a str,
    /// What it asks for; keys of different operations are apart.
    pub(crate) operation: &'a str,
    /// Its `Idempotency-Key`, if it has one.
    pub(crate) key: Option<&'a str>,
    /// Its body.
    pub(crate) body: &'a [u8],
}

impl Keyed<'_> {
    /// The digest of the body: of what it says, not of how it is written.
    fn digest(&self) -> String {
        match serde_json::from_slice::<Value>(self.body) {
            Ok(value) => sha256_hex(value.to_string().as_bytes()),
            Err(_) => sha256_hex(self.body),
        }
    }
}

/// What the request made when it came first.
///
/// # Errors
///
/// 409 where the key came with another body before.
pub(crate) fn look(db: &Connection, keyed: &Keyed<'_>) -> Result<Option<String>, ApiError> {
    let Some(key) = keyed.key else { return Ok(None) };
    let before: Option<(String, String)> = db
        .prepare_cached(
            "SELECT body_sha256, subject FROM paegents_keys
             WHERE agent = ?1 AND operation = ?2 AND key = ?3",
        )?
        .query_row(params![keyed.agent, keyed.operation, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match before {
        Some((digest, _)) if digest != keyed.digest() => {
            Err(ApiError::conflict("Idempotency-Key was already used with a different request"))
        }
        before => Ok(before.map(|(_, subject)| subject)),
    }
}

/// Remembers what the request made: an identifier, or the text of the answer.
pub(crate) fn keep(db: &Connection, keyed: &Keyed<'_>, subject: &str) -> rusqlite::Result<()> {
    let Some(key) = keyed.key else { return Ok(()) };
    db.prepare_cached(
        "INSERT INTO paegents_keys (agent, operation, key, body_sha256, subject)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![keyed.agent, keyed.operation, key, keyed.digest(), subject])?;
    Ok(())
}
