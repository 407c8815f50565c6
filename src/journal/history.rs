//! What the journal shows of the past: of one seller, of a month, of each principal.

use rusqlite::{Connection, params};

use super::{Purchase, State};
use crate::{marketplaces::Marketplace, money::Usdc, store::StoreError};

/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What the journal knows of a seller, without the purchase that it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SellerHistory {
    /// Purchases that were made or tried, in whatever state.
    pub purchases: u64,
    /// Those that were paid.
    pub settled: u64,
    /// Those that were never paid.
    pub failed: u64,
    /// Those that were paid and that the seller failed to deliver.
    pub not_delivered: u64,
    /// What was paid in all, in dollars.
    pub paid: Usdc,
    /// When the first was planned, in Unix seconds.
    pub first_at: Option<i64>,
}

/// What was spent at one marketplace on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaySum {
    /// The day's first second in UTC, in Unix seconds.
    pub day: i64,
    /// Where.
    pub marketplace: Marketplace,
    /// How much, in dollars.
    pub spent: Usdc,
}

/// What was spent for one principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalSum {
    /// For whom.
    pub principal: String,
    /// How much, in dollars.
    pub spent: Usdc,
    /// In how many purchases.
    pub purchases: u64,
}

fn usdc(micros: i64) -> Usdc {
    Usdc::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What is known of the seller of `purchase` from all other purchases.
///
/// # Errors
///
/// Where the store fails.
pub fn of_seller(db: &Connection, purchase: &Purchase) -> Result<SellerHistory, StoreError> {
    let history = db.query_row(
        "SELECT count(*), coalesce(sum(state = 'settled'), 0), coalesce(sum(state = 'failed'), 0),
           coalesce(sum(state = 'settled' AND delivery = 'failed'), 0),
           coalesce(sum(iif(state = 'settled', amount, 0)), 0), min(created_at)
         FROM purchases WHERE marketplace = ?1 AND seller_id = ?2 AND id != ?3",
        params![purchase.marketplace.name(), purchase.seller_id, purchase.id.as_str()],
        |row| {
            Ok(SellerHistory {
                purchases: count(row.get(0)?),
                settled: count(row.get(1)?),
                failed: count(row.get(2)?),
                not_delivered: count(row.get(3)?),
                paid: usdc(row.get(4)?),
                first_at: row.get(5)?,
            })
        },
    )?;
    Ok(history)
}

/// The first second of the UTC day that `at` is in, both in Unix seconds.
#[must_use]
pub const fn day_of(at: i64) -> i64 {
    at - at.rem_euclid(DAY_SECONDS)
}

/// What was spent, or may have been, by UTC day and marketplace, from the day that `since` is in.
///
/// # Errors
///
/// Where the store fails.
pub fn by_day(db: &Connection, since: i64) -> Result<Vec<DaySum>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT reserved_at - reserved_at % 86400 AS day, marketplace, sum(amount) FROM purchases
         WHERE reserved_at >= ?1 AND state != 'failed' AND amount > 0
         GROUP BY day, marketplace ORDER BY day, marketplace",
    )?;
    let rows = statement.query_map([day_of(since)], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    let mut days = Vec::new();
    for row in rows {
        let (day, name, micros) = row?;
        let marketplace = Marketplace::named(&name)
            .ok_or_else(|| StoreError::Corrupt(format!("the marketplace {name:?}")))?;
        days.push(DaySum { day, marketplace, spent: usdc(micros) });
    }
    Ok(days)
}

/// What was spent, or may have been, at `since` or later, by principal.
///
/// # Errors
///
/// Where the store fails.
pub fn by_principal(db: &Connection, since: i64) -> Result<Vec<PrincipalSum>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT principal, coalesce(sum(amount), 0), count(*) FROM purchases
         WHERE reserved_at >= ?1 AND state != 'failed' GROUP BY principal ORDER BY principal",
    )?;
    let rows = statement.query_map([since], |row| {
        Ok(PrincipalSum {
            principal: row.get(0)?,
            spent: usdc(row.get(1)?),
            purchases: count(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many purchases are in this state, over all principals.
///
/// # Errors
///
/// Where the store fails.
pub fn count_in(db: &Connection, state: State) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM purchases WHERE state = ?1";
    Ok(count(db.query_row(sql, [state.name()], |row| row.get(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight() {
        for (at, day) in [(0, 0), (86_399, 0), (86_400, 86_400), (86_401, 86_400), (-1, -86_400)] {
            assert_eq!(day_of(at), day);
        }
    }
}
