//! Of which marketplaces the live store holds a credential: asked before the mode is known, so
//! nothing is created, migrated or written.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{access::secret_names, marketplaces::Marketplace, store::StoreError};

/// The marketplaces of which the store at `path` has one; none where there is no store.
///
/// # Errors
///
/// Where there is a store that cannot be read: then the mode cannot be told.
pub fn kept_credentials(path: &Path) -> Result<Vec<Marketplace>, StoreError> {
    if !path.try_exists()? {
        return Ok(Vec::new());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let begun: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'secrets')",
        [],
        |row| row.get(0),
    )?;
    if !begun {
        return Ok(Vec::new());
    }
    let mut kept = Vec::new();
    for (name, marketplace) in [
        (secret_names::CROCHET_KEY, Marketplace::Crochet),
        (secret_names::PAEGENTS_KEY, Marketplace::Paegents),
    ] {
        let sql = "SELECT EXISTS (SELECT 1 FROM secrets WHERE name = ?1)";
        if connection.query_row(sql, [name], |row| row.get(0))? {
            kept.push(marketplace);
        }
    }
    Ok(kept)
}
