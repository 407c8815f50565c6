//! What the policy would say to a purchase that waits: for the owner who decides on it.

use rusqlite::Connection;

use super::{
    budget::Budget,
    policy::{Policies, Verdict},
    reserve::request,
};
use crate::{error::Error, journal::Purchase, money::Usdc, store::StoreError};

/// What the owner should know of their limits before they answer.
#[derive(Debug)]
pub struct Outlook {
    /// What the purchase's principal may still spend.
    pub budget: Budget,
    /// Whether this seller was paid before.
    pub known_seller: bool,
    /// What a standing grant still covers with this seller, in dollars.
    pub granted: Usdc,
    /// What the policy says now; an error where it would refuse even after a yes.
    pub verdict: Result<Verdict, Error>,
}

/// How a purchase stands with the policy at this moment. Nothing is written.
///
/// # Errors
///
/// Where the store fails.
pub fn outlook(
    db: &Connection,
    policies: &Policies,
    purchase: &Purchase,
    now: i64,
) -> Result<Outlook, StoreError> {
    let budget = Budget::read(db, policies, &purchase.principal, now)?;
    let request = request(db, purchase, purchase.max_total, &budget, now)?;
    Ok(Outlook {
        known_seller: request.known_seller,
        granted: request.granted,
        verdict: budget.policy.judge(&request),
        budget,
    })
}
