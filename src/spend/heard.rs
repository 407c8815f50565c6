//! What marketplaces tell of purchases. It never pays: it is kept, and asked about.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Spending;
use crate::{
    error::Error,
    events::{self, Event},
    ids::PurchaseId,
    journal,
};

impl Spending {
    /// Keeps what is new of these events, each with the key of what it is about, and has the
    /// unfinished purchases asked about that they are about. Gives how many were new.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn keep_told(
        self: &Arc<Self>,
        told: Vec<(Event, String)>,
        stopping: &CancellationToken,
    ) -> Result<usize, Error> {
        // Most of a list is known: only what is not takes the store's one place for writers.
        let fresh = self.store.with(move |db| {
            let mut fresh = Vec::new();
            for (event, key) in told {
                if !events::is_stored(db, &event)? {
                    fresh.push((event, key));
                }
            }
            Ok(fresh)
        });
        let fresh = fresh.await?;
        if fresh.is_empty() {
            return Ok(0);
        }
        let stored = self.store.transact(move |db| {
            let (mut count, mut open) = (0, Vec::new());
            for (event, key) in &fresh {
                let (is_fresh, purchase) = journal::hear(db, event, key)?;
                count += usize::from(is_fresh);
                if let Some(purchase) = purchase
                    && !open.iter().any(|(id, _)| *id == purchase.id)
                {
                    open.push((purchase.id, purchase.principal));
                }
            }
            Ok((count, open))
        });
        let (count, open) = stored.await?;
        for (id, principal) in open {
            self.ask_about(id, principal, stopping.clone());
        }
        Ok(count)
    }

    /// Has the marketplace asked what became of a purchase; nothing is paid.
    fn ask_about(self: &Arc<Self>, id: PurchaseId, principal: String, stopping: CancellationToken) {
        let spending = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                asked = spending.check(&id, &principal) => if let Err(error) = asked {
                    tracing::debug!(%error, purchase = %id, "an event's purchase was asked about");
                }
            }
        });
    }
}
