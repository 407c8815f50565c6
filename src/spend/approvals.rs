//! The owner's answers: one for one purchase, for a while, used once; and standing grants.

use rusqlite::{Connection, OptionalExtension, params};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ids::PurchaseId, journal::Purchase, marketplaces::Marketplace, money::Usdc, store::StoreError,
};

/// How long an answer holds, in seconds.
pub const APPROVAL_SECONDS: i64 = 15 * 60;
/// The longest that a standing grant holds, in days.
pub const GRANT_DAYS_MAX: u16 = 365;
/// Who answers where nobody has to be asked.
pub(super) const BY_POLICY: &str = "policy";

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None, or none that still holds for this purchase as it is.
    None,
    /// Yes.
    Granted,
    /// No.
    Denied,
}

/// Keeps the owner's answer to a purchase, in place of an earlier one.
///
/// # Errors
///
/// Where the store fails.
pub fn answer(
    db: &Connection,
    purchase: &Purchase,
    granted: bool,
    by: &str,
    now: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO approvals (purchase_id, envelope, granted, granted_by, at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (purchase_id) DO UPDATE SET envelope = ?2, granted = ?3, granted_by = ?4,
         at = ?5, expires_at = ?6, used_at = NULL",
        params![
            purchase.id.as_str(),
            purchase.envelope(),
            granted,
            by,
            now,
            now + APPROVAL_SECONDS
        ],
    )?;
    Ok(())
}

/// The owner's answer that holds for a purchase as it is now. What the policy allowed is judged
/// anew, since grants and budgets are used up.
///
/// # Errors
///
/// Where the store fails.
pub fn standing(db: &Connection, purchase: &Purchase, now: i64) -> Result<Answer, StoreError> {
    let granted: Option<bool> = db
        .query_row(
            "SELECT granted FROM approvals WHERE purchase_id = ?1 AND envelope = ?2
             AND used_at IS NULL AND expires_at > ?3 AND granted_by != ?4",
            params![purchase.id.as_str(), purchase.envelope(), now, BY_POLICY],
            |row| row.get(0),
        )
        .optional()?;
    Ok(match granted {
        None => Answer::None,
        Some(true) => Answer::Granted,
        Some(false) => Answer::Denied,
    })
}

/// The answer that a purchase was given, for a person to read: whether it still holds for the
/// purchase is asked of [`standing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Yes or no.
    pub granted: bool,
    /// Who answered: `owner`, `client` or `policy`.
    pub by: String,
    /// When, in Unix seconds.
    pub at: i64,
    /// Until when it holds, in Unix seconds.
    pub expires_at: i64,
    /// When a yes was used, in Unix seconds.
    pub used_at: Option<i64>,
}

/// The last answer that a purchase was given.
///
/// # Errors
///
/// Where the store fails.
pub fn given(db: &Connection, id: &PurchaseId) -> Result<Option<Given>, StoreError> {
    let sql = "SELECT granted, granted_by, at, expires_at, used_at FROM approvals
               WHERE purchase_id = ?1";
    let given = db.query_row(sql, [id.as_str()], |row| {
        Ok(Given {
            granted: row.get(0)?,
            by: row.get(1)?,
            at: row.get(2)?,
            expires_at: row.get(3)?,
            used_at: row.get(4)?,
        })
    });
    Ok(given.optional()?)
}

/// Whether a purchase was allowed by the policy, without the owner.
///
/// # Errors
///
/// Where the store fails.
pub fn is_by_policy(db: &Connection, id: &PurchaseId) -> Result<bool, StoreError> {
    Ok(db.query_row(
        "SELECT EXISTS (SELECT 1 FROM approvals WHERE purchase_id = ?1 AND granted_by = ?2)",
        params![id.as_str(), BY_POLICY],
        |row| row.get(0),
    )?)
}

/// Uses the yes that holds for a purchase; `false` where there is none. It can be used once.
///
/// # Errors
///
/// Where the store fails.
pub fn spend(db: &Connection, purchase: &Purchase, now: i64) -> Result<bool, StoreError> {
    let used = db.execute(
        "UPDATE approvals SET used_at = ?3 WHERE purchase_id = ?1 AND envelope = ?2 AND granted
         AND used_at IS NULL AND expires_at > ?3",
        params![purchase.id.as_str(), purchase.envelope(), now],
    )?;
    Ok(used == 1)
}

/// Notes a question that goes out, under a nonce that comes back with the answer.
///
/// # Errors
///
/// Where the store fails.
pub fn put_question(db: &Connection, nonce: &str, id: &PurchaseId) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO questions (nonce, purchase_id) VALUES (?1, ?2)",
        params![nonce, id.as_str()],
    )?;
    Ok(())
}

/// Whether this nonce is of an unanswered question about this purchase; it is answered by asking.
///
/// # Errors
///
/// Where the store fails.
pub fn take_question(
    db: &Connection,
    nonce: &str,
    id: &PurchaseId,
    now: i64,
) -> Result<bool, StoreError> {
    let taken = db.execute(
        "UPDATE questions SET answered_at = ?3 WHERE nonce = ?1 AND purchase_id = ?2
         AND answered_at IS NULL",
        params![nonce, id.as_str(), now],
    )?;
    Ok(taken == 1)
}

/// A standing grant: what this seller may be paid without asking.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Grant {
    /// Where.
    pub marketplace: String,
    /// To whom.
    pub seller_id: String,
    /// How much in all, in dollars.
    pub up_to_usd: Usdc,
    /// What is left of it.
    pub left_usd: Usdc,
    /// When it ends, in Unix seconds.
    pub expires_at: i64,
}

/// Gives or renews a standing grant.
///
/// # Errors
///
/// Where the store fails.
pub fn grant(
    db: &Connection,
    marketplace: Marketplace,
    seller_id: &str,
    up_to: Usdc,
    now: i64,
    expires_at: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO grants (marketplace, seller_id, up_to, since, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (marketplace, seller_id) DO UPDATE SET up_to = ?3, since = ?4, expires_at = ?5",
        params![
            marketplace.name(),
            seller_id,
            i64::try_from(up_to.micros()).unwrap_or(0),
            now,
            expires_at
        ],
    )?;
    Ok(())
}

/// The grants that hold now, with what is left of each.
///
/// # Errors
///
/// Where the store fails.
pub fn grants(db: &Connection, now: i64) -> Result<Vec<Grant>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT g.marketplace, g.seller_id, g.up_to, g.expires_at,
           (SELECT coalesce(sum(p.amount), 0) FROM purchases p
            WHERE p.marketplace = g.marketplace AND p.seller_id = g.seller_id
            AND p.reserved_at >= g.since AND p.state != 'failed')
         FROM grants g WHERE g.expires_at > ?1 ORDER BY g.marketplace, g.seller_id",
    )?;
    let usd = |micros: i64| Usdc::from_micros(u64::try_from(micros).unwrap_or(0));
    let grants = statement
        .query_map(params![now], |row| {
            let (up_to, spent) = (usd(row.get(2)?), usd(row.get(4)?));
            Ok(Grant {
                marketplace: row.get(0)?,
                seller_id: row.get(1)?,
                up_to_usd: up_to,
                left_usd: up_to.saturating_sub(spent),
                expires_at: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(grants)
}

/// Stops all spending, for a reason.
///
/// # Errors
///
/// Where the store fails.
pub fn freeze(db: &Connection, reason: &str, now: i64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO freezes (reason, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![reason, now],
    )?;
    Ok(())
}

/// Allows spending again, and takes chain and journal as they are: the owner has looked.
///
/// # Errors
///
/// Where the store fails.
pub fn unfreeze(db: &Connection) -> Result<(), StoreError> {
    db.execute("DELETE FROM freezes", [])?;
    db.execute("DELETE FROM accounts", [])?;
    crate::store::accept_present(db)
}

/// Why spending is stopped, where it is.
///
/// # Errors
///
/// Where the store fails.
pub fn frozen(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached("SELECT reason FROM freezes ORDER BY at, reason")?;
    let reasons = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(reasons)
}
