//! The owner's stop: all spending of one store ends with it, and may begin again after it.

use rusqlite::Connection;

use super::approvals;
use crate::{
    error::Error,
    ids::PurchaseId,
    journal,
    store::{self, Store, StoreError},
};

/// The reason that stands for the owner's own stop.
pub const BY_OWNER: &str = "owner";

/// What stops the spending of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Why, each by its name; empty where nothing does.
    pub reasons: Vec<String>,
    /// How many lines the journal lacks that it had.
    pub missing_lines: i64,
}

impl Found {
    /// Whether something stops it.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        !self.reasons.is_empty() || self.missing_lines > 0
    }

    /// Whether at most the owner's own stop is in force: nothing was found to be wrong.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        self.missing_lines == 0 && self.reasons.iter().all(|reason| reason == BY_OWNER)
    }
}

/// What stops the spending now.
///
/// # Errors
///
/// Where the store fails.
pub fn found(db: &Connection) -> Result<Found, StoreError> {
    Ok(Found { reasons: approvals::frozen(db)?, missing_lines: store::missing_lines(db)? })
}

/// Stops all spending of this store, in every process. Gives the purchases that are open: what was
/// sent for them before cannot be called back.
///
/// # Errors
///
/// Where the store fails.
pub async fn stop(store: &Store, now: i64) -> Result<Vec<PurchaseId>, Error> {
    let stopped = store.transact(move |db| {
        approvals::freeze(db, BY_OWNER, now)?;
        journal::open_ids(db)
    });
    stopped.await
}

/// Allows spending again where only the owner has stopped it; `accept` takes what was found wrong for
/// right, too. Gives what was found, and whether spending is allowed now.
///
/// # Errors
///
/// Where the store fails.
pub async fn allow(store: &Store, accept: bool) -> Result<(Found, bool), Error> {
    let allowed = store.transact(move |db| {
        let found = found(db)?;
        let allowed = accept || found.is_harmless();
        if allowed {
            approvals::unfreeze(db)?;
        }
        Ok((found, allowed))
    });
    allowed.await
}
