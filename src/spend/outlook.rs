//! What the policy would say to a purchase that waits: for the owner who decides on it.

use rusqlite::Connection;

use super::{
    policy::{Policies, Policy, Verdict},
    reserve::request,
};
use crate::{error::Error, journal::Purchase, money::Usdc, store::StoreError};

/// What the owner should know of their limits before they answer.
#[derive(Debug)]
pub struct Outlook {
    /// The policy that holds for the purchase's principal.
    pub policy: Policy,
    /// What is left of the owner's limit for 24 hours, in dollars.
    pub left_today: Usdc,
    /// What is left of the principal's own day, in dollars, where it has a limit of its own.
    pub own_left: Option<Usdc>,
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
    let (policy, own_day) = policies.of(&purchase.principal);
    let request = request(db, purchase, purchase.max_total, own_day, now)?;
    Ok(Outlook {
        left_today: policy.day_max_usd.saturating_sub(request.spent),
        own_left: request.own_left,
        known_seller: request.known_seller,
        granted: request.granted,
        verdict: policy.judge(&request),
        policy,
    })
}
