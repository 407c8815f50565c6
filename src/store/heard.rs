//! What webhooks have told, so that the same event again is known as a repetition.

use rusqlite::{Connection, params};

use super::StoreError;

/// How long an event is remembered, in seconds: a month, longer than any delivery is tried again.
const KEPT_SECONDS: i64 = 30 * 24 * 60 * 60;

/// Remembers an event; `false` where it was heard before.
///
/// # Errors
///
/// Where the store fails.
pub fn is_new(db: &Connection, event_id: &str, now: i64) -> Result<bool, StoreError> {
    db.execute("DELETE FROM heard WHERE at < ?1", params![now.saturating_sub(KEPT_SECONDS)])?;
    let added = db.execute(
        "INSERT INTO heard (event_id, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![event_id, now],
    )?;
    Ok(added == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn an_event_is_new_once_a_month() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("s.db"));
        let is_new = |id: &'static str, now| store.with_blocking(|db| is_new(db, id, now)).unwrap();
        assert!(is_new("evt_1", 1_000));
        assert!(!is_new("evt_1", 1_001));
        assert!(is_new("evt_2", 1_001));
        assert!(!is_new("evt_1", 1_000 + KEPT_SECONDS));
        assert!(is_new("evt_1", 1_001 + KEPT_SECONDS));
    }
}
