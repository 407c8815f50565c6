//! What a principal may still spend: the one place that sums it up.

use rusqlite::Connection;

use super::policy::{DAY_SECONDS, Policies, Policy};
use crate::{journal, money::Usdc, store::StoreError};

/// How a principal stands with the limits at a moment.
#[derive(Debug)]
pub struct Budget {
    /// The policy that holds for it.
    pub policy: Policy,
    /// What was spent in 24 hours, or may have been, over all principals.
    pub spent: Usdc,
    /// Its own limit for 24 hours, where it has one.
    pub own_day: Option<Usdc>,
    /// What is left of that.
    pub own_left: Option<Usdc>,
}

impl Budget {
    /// That of a principal at `now`, in Unix seconds.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub fn read(
        db: &Connection,
        policies: &Policies,
        principal: &str,
        now: i64,
    ) -> Result<Self, StoreError> {
        let (policy, own_day) = policies.of(principal);
        let since = now - DAY_SECONDS;
        let own_left = match own_day {
            Some(own) => Some(own.saturating_sub(journal::spent_by(db, principal, since)?)),
            None => None,
        };
        Ok(Self { policy, spent: journal::spent_since(db, since)?, own_day, own_left })
    }

    /// What is left of the owner's limit for 24 hours.
    #[must_use]
    pub fn left_today(&self) -> Usdc {
        self.policy.day_max_usd.saturating_sub(self.spent)
    }

    /// The most that the principal may spend in 24 hours: whichever limit is the lower one.
    #[must_use]
    pub fn day_max(&self) -> Usdc {
        self.own_day.map_or(self.policy.day_max_usd, |own| own.min(self.policy.day_max_usd))
    }

    /// What the principal may still spend: whichever limit is the nearer one.
    #[must_use]
    pub fn left(&self) -> Usdc {
        self.own_left.map_or(self.left_today(), |own| own.min(self.left_today()))
    }
}
