//! Identifiers that a principal has come across: in its purchases, and in its inbox.

use rusqlite::{Connection, params};

use super::StoreError;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Purchases.
    Purchase,
    /// What was bought: listings and services.
    Item,
    /// CROO's orders.
    Order,
    /// Paegents' agreements.
    Agreement,
}

/// Of a principal ?1, what begins with ?2, at most ?3, the last first.
const PURCHASES: &str = "SELECT id FROM purchases
    WHERE principal = ?1 AND substr(id, 1, length(?2)) = ?2 ORDER BY rowid DESC LIMIT ?3";
const ITEMS: &str = "SELECT item_id FROM purchases
    WHERE principal = ?1 AND substr(item_id, 1, length(?2)) = ?2
    GROUP BY item_id ORDER BY max(rowid) DESC LIMIT ?3";
const ORDERS: &str = "SELECT id FROM (
      SELECT json_extract(payload, '$.order_id') AS id, at FROM inbox WHERE principal IN (?1, '')
      UNION ALL
      SELECT substr(natural_key, 12), created_at FROM purchases
      WHERE principal = ?1 AND substr(natural_key, 1, 11) = 'croo:order:')
    WHERE substr(id, 1, length(?2)) = ?2 GROUP BY id ORDER BY max(at) DESC LIMIT ?3";
const AGREEMENTS: &str = "SELECT id FROM (
      SELECT json_extract(payload, '$.agreement_id') AS id, at FROM inbox WHERE principal IN (?1, '')
      UNION ALL
      SELECT substr(natural_key, 17), created_at FROM purchases
      WHERE principal = ?1 AND substr(natural_key, 1, 16) = 'paegents:escrow:')
    WHERE substr(id, 1, length(?2)) = ?2 GROUP BY id ORDER BY max(at) DESC LIMIT ?3";

/// Identifiers that begin like this, those of the last ones first.
///
/// # Errors
///
/// Where the store fails.
pub fn beginning_with(
    db: &Connection,
    principal: &str,
    seen: Seen,
    start: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let sql = match seen {
        Seen::Purchase => PURCHASES,
        Seen::Item => ITEMS,
        Seen::Order => ORDERS,
        Seen::Agreement => AGREEMENTS,
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(sql)?;
    let found = statement.query_map(params![principal, start, limit], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
