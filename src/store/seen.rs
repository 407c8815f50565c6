//! Identifiers that a principal has come across: in its purchases, and in its inbox.

use rusqlite::{Connection, Row, ToSql, params};

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
/// As above, of what a member of an event at ?4 names, or a purchase whose key begins with ?5.
const TRADES: &str = "SELECT id FROM (
      SELECT json_extract(payload, ?4) AS id, at FROM inbox WHERE principal IN (?1, '')
      UNION ALL
      SELECT substr(natural_key, length(?5) + 1), created_at FROM purchases
      WHERE principal = ?1 AND substr(natural_key, 1, length(?5)) = ?5)
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
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let id = |row: &Row<'_>| row.get(0);
    let own = params![principal, start, limit];
    let found = |sql, params: &[&dyn ToSql]| -> Result<Vec<String>, StoreError> {
        Ok(db.prepare_cached(sql)?.query_map(params, id)?.collect::<Result<_, _>>()?)
    };
    let traded = |member, key| found(TRADES, params![principal, start, limit, member, key]);
    match seen {
        Seen::Purchase => found(PURCHASES, own),
        Seen::Item => found(ITEMS, own),
        Seen::Order => traded("$.order_id", "croo:order:"),
        Seen::Agreement => traded("$.agreement_id", "paegents:escrow:"),
    }
}
