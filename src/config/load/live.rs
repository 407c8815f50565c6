//! Whether the live store holds a credential of a marketplace: asked before the mode is known, so
//! nothing is created, migrated or written.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{access::secret_names, store::StoreError};

/// Whether the store at `path` has one; `false` where there is no store.
///
/// # Errors
///
/// Where there is a store that cannot be read: then the mode cannot be told.
pub fn has_credential(path: &Path) -> Result<bool, StoreError> {
    if !path.try_exists()? {
        return Ok(false);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let begun: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'secrets')",
        [],
        |row| row.get(0),
    )?;
    if !begun {
        return Ok(false);
    }
    Ok(connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM secrets WHERE name = ?1)",
        [secret_names::CROCHET_KEY],
        |row| row.get(0),
    )?)
}
