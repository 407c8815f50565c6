//! Leases: one process at a time does what only one may do.
//!
//! A lease is held by wall-clock time of this machine, since all processes of a store share it; it is
//! renewed while it is held and taken over when its holder is gone.

use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};
use crate::{clock::wall_ms, error::Error};

/// How long a lease lasts without being renewed.
pub const LEASE_MS: i64 = 10_000;
const LEASE: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long a lease that another holds is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const WAIT_POLL: Duration = Duration::from_millis(50);

/// A lease that is held until it is dropped.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    name: String,
    holder: String,
    renewal: tokio::task::JoinHandle<()>,
    lost: CancellationToken,
}

impl Lease {
    /// As [`Self::take`], after waiting for it; `None` where another keeps it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn wait(store: &Store, name: &str, holder: &str) -> Result<Option<Self>, Error> {
        let waited = tokio::time::timeout(WAIT_TIMEOUT, async {
            loop {
                if let Some(lease) = Self::take(store, name, holder).await? {
                    return Ok(lease);
                }
                tokio::time::sleep(WAIT_POLL).await;
            }
        });
        match waited.await {
            Ok(lease) => lease.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Takes the lease `name` for `holder`, or gives `None` where another holds it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn take(store: &Store, name: &str, holder: &str) -> Result<Option<Self>, Error> {
        let (key, who) = (name.to_owned(), holder.to_owned());
        if !store.with(move |db| claim(db, &key, &who, wall_ms())).await? {
            return Ok(None);
        }
        let (renewed, key, who) = (store.clone(), name.to_owned(), holder.to_owned());
        let lost = CancellationToken::new();
        let gone = lost.clone();
        let renewal = tokio::spawn(async move {
            let mut held = Instant::now();
            while !gone.is_cancelled() {
                tokio::time::sleep(RENEW_EVERY).await;
                let (key, who) = (key.clone(), who.clone());
                match renewed.with(move |db| claim(db, &key, &who, wall_ms())).await {
                    Ok(true) => held = Instant::now(),
                    // Slept through: another has taken it over.
                    Ok(false) => gone.cancel(),
                    Err(_) if held.elapsed() > LEASE => gone.cancel(),
                    Err(_) => {}
                }
            }
        });
        Ok(Some(Self {
            store: store.clone(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            renewal,
            lost,
        }))
    }

    /// Fires when it is held no more, although it was not given back: another took it over, or it
    /// could not be renewed in time.
    #[must_use]
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        let released = self.store.with_blocking(|db| {
            db.execute(
                "DELETE FROM leases WHERE name = ?1 AND holder = ?2",
                params![self.name, self.holder],
            )?;
            Ok(())
        });
        if let Err(error) = released {
            tracing::warn!(%error, "a lease was not given back; it ends by itself");
        }
    }
}

fn claim(db: &Connection, name: &str, holder: &str, now_ms: i64) -> Result<bool, StoreError> {
    let taken = db.execute(
        "INSERT INTO leases (name, holder, expires_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET holder = ?2, expires_ms = ?3
         WHERE leases.holder = ?2 OR leases.expires_ms < ?4",
        params![name, holder, now_ms + LEASE_MS, now_ms],
    )?;
    Ok(taken == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_until_it_is_gone() {
        let store = Store::at(tempfile::tempdir().unwrap().path().join("s.db"));
        store
            .with_blocking(|db| {
                assert!(claim(db, "x", "a", 0)?);
                assert!(claim(db, "x", "a", 1)?, "it is renewed");
                assert!(!claim(db, "x", "b", LEASE_MS)?, "it is held");
                assert!(claim(db, "x", "b", LEASE_MS + 2)?, "its holder is gone");
                assert!(!claim(db, "x", "a", LEASE_MS + 3)?);
                Ok(())
            })
            .unwrap();
    }
}
