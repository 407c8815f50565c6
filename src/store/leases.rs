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
    renewal: tokio::task::JoinHandle<()>,
    lost: CancellationToken,
    _claim: Claim,
}

/// A line of the table of leases, which goes when this is dropped.
#[derive(Debug)]
struct Claim {
    store: Store,
    name: String,
    holder: String,
}

impl Lease {
    /// As [`Self::take`], after waiting for it; `None` where another keeps it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn wait(store: &Store, name: &str, holder: &str) -> Result<Option<Self>, Error> {
        let started = Instant::now();
        loop {
            let taken = Self::take(store, name, holder).await?;
            if taken.is_some() || started.elapsed() >= WAIT_TIMEOUT {
                return Ok(taken);
            }
            tokio::time::sleep(WAIT_POLL).await;
        }
    }

    /// Takes the lease `name` for `holder`, or gives `None` where another holds it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn take(store: &Store, name: &str, holder: &str) -> Result<Option<Self>, Error> {
        let (held, key, who) = (store.clone(), name.to_owned(), holder.to_owned());
        // Made where it is written: should nobody wait for it any more, it is given back.
        let claimed = store.with(move |db| {
            let is_taken = claim(db, &key, &who, wall_ms())?;
            Ok(is_taken.then(|| Claim { store: held, name: key, holder: who }))
        });
        let Some(claim) = claimed.await? else { return Ok(None) };
        let (renewed, key, who) = (store.clone(), name.to_owned(), holder.to_owned());
        let lost = CancellationToken::new();
        let gone = lost.clone();
        let renewal = tokio::spawn(async move {
            let mut held = Instant::now();
            while !gone.is_cancelled() {
                tokio::time::sleep(RENEW_EVERY).await;
                let (key, who) = (key.clone(), who.clone());
                match renewed.with(move |db| renew(db, &key, &who, wall_ms())).await {
                    Ok(true) => held = Instant::now(),
                    // Slept through: another has taken it over.
                    Ok(false) => gone.cancel(),
                    Err(_) if held.elapsed() > LEASE => gone.cancel(),
                    Err(_) => {}
                }
            }
        });
        Ok(Some(Self { renewal, lost, _claim: claim }))
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
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
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

/// Holds a lease for longer. One that was given back stays so: a renewal may come after the end.
fn renew(db: &Connection, name: &str, holder: &str, now_ms: i64) -> Result<bool, StoreError> {
    let renewed = db.execute(
        "UPDATE leases SET expires_ms = ?3 WHERE name = ?1 AND holder = ?2",
        params![name, holder, now_ms + LEASE_MS],
    )?;
    Ok(renewed == 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_holder_at_a_time_until_it_is_gone() {
        let store = Store::at(tempfile::tempdir().unwrap().path().join("s.db"));
        store
            .with_blocking(|db| {
                assert!(claim(db, "x", "a", 0)?);
                assert!(renew(db, "x", "a", 1)?);
                assert!(!renew(db, "x", "b", 1)?, "it is another's");
                assert!(!claim(db, "x", "b", LEASE_MS)?, "it is held");
                assert!(!claim(db, "x", "b", LEASE_MS + 1)?, "it was renewed");
                assert!(claim(db, "x", "b", LEASE_MS + 2)?, "its holder is gone");
                assert!(!claim(db, "x", "a", LEASE_MS + 3)?);
                Ok(())
            })
            .unwrap();
    }

    /// Who gives up while it is taken leaves nothing behind that nobody holds.
    #[tokio::test]
    async fn what_nobody_waits_for_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("s.db"));
        store.with(|_| Ok(())).await.unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = store.clone();
        let busy = std::thread::spawn(move || {
            busy.with_blocking(|_| {
                let _ = released.recv();
                Ok(())
            })
        });
        let mut taking = Box::pin(Lease::take(&store, "x", "a"));
        assert!(futures::poll!(&mut taking).is_pending());
        drop(taking);
        release.send(()).unwrap();
        busy.join().unwrap().unwrap();
        // It is taken nevertheless, and given back.
        while Arc::strong_count(&store.0) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(Lease::take(&store, "x", "b").await.unwrap().is_some());
    }
}
