//! The journal's rows: reading and writing purchases. Every function runs in its caller's
//! transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::{Delivery, Fund, Purchase, Rail, State};
use crate::{
    events::{self, Event},
    ids::PurchaseId,
    marketplaces::Marketplace,
    money::Usdc,
    principal::EVERYONE,
    store::StoreError,
};

const COLUMNS: &str = "id, principal, marketplace, rail, natural_key, reference, seller_id,
    seller_name, item_id, item_name, body, body_digest, idempotency_key, route, origin, asset,
    chain_id, max_total, price, amount, state, delivery, instrument, account, account_nonce,
    answer, answer_status, failure, created_at, updated_at, reserved_at, finished_at, fund, fund_payee";

/// A change of a purchase, with what it was for.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EventLine {
    /// Its place in the whole journal.
    pub seq: i64,
    /// When, in Unix seconds.
    pub at: i64,
    /// Where the payment stood after it.
    pub state: String,
    /// Where the delivery stood after it.
    pub delivery: String,
    /// What happened.
    pub note: String,
}

/// Which purchases to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose; of everyone where it is left out.
    pub principal: Option<String>,
    /// In which state.
    pub state: Option<State>,
    /// Older than this one.
    pub before: Option<PurchaseId>,
    /// How many at the most.
    pub limit: u32,
}

fn corrupt(what: &str, value: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        rusqlite::types::Type::Text,
        format!("{what} {value:?}").into(),
    )
}

fn usdc(micros: i64) -> Usdc {
    Usdc::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Amounts are at most 63 bits by [`Usdc`]'s own rule.
fn micros(amount: Usdc) -> i64 {
    i64::try_from(amount.micros()).unwrap_or(i64::MAX)
}

fn word<T>(row: &Row<'_>, at: &str, named: fn(&str) -> Option<T>) -> Result<T, rusqlite::Error> {
    let text: String = row.get(at)?;
    named(&text).ok_or_else(|| corrupt(at, &text))
}

fn read(row: &Row<'_>) -> Result<Purchase, rusqlite::Error> {
    let id: String = row.get("id")?;
    let instrument: Option<String> = row.get("instrument")?;
    let instrument = instrument
        .map(|text| serde_json::from_str::<Value>(&text).map_err(|_| corrupt("instrument", &id)))
        .transpose()?;
    let unsigned = |at: &str, value: Option<i64>| {
        value.map(|v| u64::try_from(v).map_err(|_| corrupt(at, &v.to_string()))).transpose()
    };
    Ok(Purchase {
        id: id.parse().map_err(|_| corrupt("id", &id))?,
        principal: row.get("principal")?,
        marketplace: word(row, "marketplace", Marketplace::named)?,
        rail: word(row, "rail", Rail::named)?,
        natural_key: row.get("natural_key")?,
        reference: row.get("reference")?,
        seller_id: row.get("seller_id")?,
        seller_name: row.get("seller_name")?,
        item_id: row.get("item_id")?,
        item_name: row.get("item_name")?,
        body: row.get("body")?,
        body_digest: row.get("body_digest")?,
        idempotency_key: row.get("idempotency_key")?,
        route: row.get("route")?,
        origin: row.get("origin")?,
        asset: row.get("asset")?,
        chain_id: unsigned("chain_id", row.get("chain_id")?)?.unwrap_or(0),
        max_total: usdc(row.get("max_total")?),
        price: usdc(row.get("price")?),
        amount: row.get::<_, Option<i64>>("amount")?.map(usdc),
        state: word(row, "state", State::named)?,
        delivery: word(row, "delivery", Delivery::named)?,
        instrument,
        account: row.get("account")?,
        account_nonce: unsigned("account_nonce", row.get("account_nonce")?)?,
        answer: row.get("answer")?,
        answer_status: row.get::<_, Option<u16>>("answer_status")?,
        failure: row.get("failure")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        reserved_at: row.get("reserved_at")?,
        finished_at: row.get("finished_at")?,
        fund: fund(row)?,
    })
}

/// Both columns, or neither.
fn fund(row: &Row<'_>) -> Result<Option<Fund>, rusqlite::Error> {
    let (amount, payee): (Option<i64>, Option<String>) = (row.get("fund")?, row.get("fund_payee")?);
    Ok(amount.zip(payee).map(|(amount, payee)| Fund { amount: usdc(amount), payee }))
}

fn one(
    db: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Purchase>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM purchases WHERE {condition}");
    Ok(db.prepare_cached(&sql)?.query_row(parameters, read).optional()?)
}

fn many(
    db: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Purchase>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM purchases WHERE {condition}");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(parameters, read)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// The purchase with this identifier. A principal sees only its own.
///
/// # Errors
///
/// Where the store fails.
pub fn find(
    db: &Connection,
    id: &PurchaseId,
    principal: Option<&str>,
) -> Result<Option<Purchase>, StoreError> {
    let found = one(db, "id = ?1", params![id.as_str()])?;
    Ok(found.filter(|purchase| principal.is_none_or(|who| purchase.principal == who)))
}

/// The purchase with this identifier, which is known to be there.
///
/// # Errors
///
/// Where the store fails, or has no such purchase.
pub fn present(db: &Connection, id: &PurchaseId) -> Result<Purchase, StoreError> {
    find(db, id, None)?.ok_or_else(|| StoreError::Corrupt(format!("no purchase {id}")))
}

/// The unfinished purchase of this key.
///
/// # Errors
///
/// Where the store fails.
pub fn open_by_key(
    db: &Connection,
    principal: &str,
    key: &str,
) -> Result<Option<Purchase>, StoreError> {
    one(db, "principal = ?1 AND natural_key = ?2 AND finished_at IS NULL", params![principal, key])
}

/// Who has begun to pay for what is known by this key, where somebody has: it is theirs.
///
/// # Errors
///
/// Where the store fails.
pub fn begun_by(db: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT principal FROM purchases WHERE (natural_key = ?1 OR other_key = ?1)
               AND state IN
               ('reserved', 'submitted', 'awaiting_external', 'unknown', 'settled')
               ORDER BY rowid LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?)
}

/// Stores an event of a marketplace about what has this key, for whom it concerns: who has begun to
/// pay for it, or everyone. Gives whether it is new, and the unfinished purchase that it is about.
///
/// # Errors
///
/// Where the store fails.
pub fn hear(
    db: &Connection,
    event: &Event,
    key: &str,
) -> Result<(bool, Option<Purchase>), StoreError> {
    let concerned = begun_by(db, key)?.unwrap_or_else(|| EVERYONE.to_owned());
    if !events::put(db, &Event { principal: concerned, ..event.clone() })? {
        return Ok((false, None));
    }
    let open = "(natural_key = ?1 OR other_key = ?1) AND finished_at IS NULL
                ORDER BY rowid DESC LIMIT 1";
    Ok((true, one(db, open, params![key])?))
}

/// The last purchase of this key on which money moved and which was finished at `since` or later.
///
/// # Errors
///
/// Where the store fails.
pub fn recent_by_key(
    db: &Connection,
    principal: &str,
    key: &str,
    since: i64,
) -> Result<Option<Purchase>, StoreError> {
    one(
        db,
        "principal = ?1 AND natural_key = ?2 AND finished_at >= ?3 AND state = 'settled'
         ORDER BY finished_at DESC, id LIMIT 1",
        params![principal, key, since],
    )
}

/// Purchases, the newest first.
///
/// # Errors
///
/// Where the store fails.
pub fn list(db: &Connection, filter: &Filter) -> Result<Vec<Purchase>, StoreError> {
    many(
        db,
        "(?1 IS NULL OR principal = ?1) AND (?2 IS NULL OR state = ?2)
         AND (?3 IS NULL OR rowid < (SELECT rowid FROM purchases WHERE id = ?3))
         ORDER BY rowid DESC LIMIT ?4",
        params![
            filter.principal,
            filter.state.map(State::name),
            filter.before.as_ref().map(PurchaseId::as_str),
            filter.limit,
        ],
    )
}

/// All purchases, the oldest first, for an export.
///
/// # Errors
///
/// Where the store fails.
pub fn export(db: &Connection) -> Result<Vec<Purchase>, StoreError> {
    many(db, "1 ORDER BY rowid", [])
}

/// The purchases for which something may have been sent and which are not finished.
///
/// # Errors
///
/// Where the store fails.
pub fn open_ids(db: &Connection) -> Result<Vec<PurchaseId>, StoreError> {
    let open = many(
        db,
        "finished_at IS NULL AND state IN
         ('reserved', 'submitted', 'unknown', 'awaiting_external', 'settled') ORDER BY rowid",
        [],
    )?;
    Ok(open.into_iter().map(|purchase| purchase.id).collect())
}

/// The purchases that this account pays for and that are not known to be paid or dead.
///
/// # Errors
///
/// Where the store fails.
pub fn active_on_account(
    db: &Connection,
    chain_id: u64,
    account: &str,
) -> Result<Vec<Purchase>, StoreError> {
    many(
        db,
        "chain_id = ?1 AND account = ?2 AND state IN ('reserved', 'submitted', 'unknown')
         ORDER BY rowid",
        params![i64::try_from(chain_id).unwrap_or(0), account],
    )
}

/// How many payments of this account there were: those that are settled, and those that are begun
/// and not known to be dead, which are these and more.
///
/// # Errors
///
/// Where the store fails.
pub fn paid_on_account(
    db: &Connection,
    chain_id: u64,
    account: &str,
) -> Result<(u64, u64), StoreError> {
    let (settled, begun): (i64, i64) = db.query_row(
        "SELECT count(*) FILTER (WHERE state = 'settled'), count(*) FROM purchases
         WHERE chain_id = ?1 AND account = ?2 AND state != 'failed'",
        params![i64::try_from(chain_id).unwrap_or(0), account],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((u64::try_from(settled).unwrap_or(0), u64::try_from(begun).unwrap_or(0)))
}

/// What was spent, or may have been, at `since` or later, over all principals.
///
/// # Errors
///
/// Where the store fails.
pub fn spent_since(db: &Connection, since: i64) -> Result<Usdc, StoreError> {
    let sum: i64 = db.query_row(
        "SELECT coalesce(sum(amount), 0) FROM purchases
         WHERE reserved_at >= ?1 AND state != 'failed'",
        params![since],
        |row| row.get(0),
    )?;
    Ok(usdc(sum))
}

/// As [`spent_since`], by one principal.
///
/// # Errors
///
/// Where the store fails.
pub fn spent_by(db: &Connection, principal: &str, since: i64) -> Result<Usdc, StoreError> {
    let sum: i64 = db.query_row(
        "SELECT coalesce(sum(amount), 0) FROM purchases
         WHERE principal = ?1 AND reserved_at >= ?2 AND state != 'failed'",
        params![principal, since],
        |row| row.get(0),
    )?;
    Ok(usdc(sum))
}

/// The changes of one purchase, the oldest first.
///
/// # Errors
///
/// Where the store fails.
pub fn events_of(db: &Connection, id: &PurchaseId) -> Result<Vec<EventLine>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT seq, at, state, delivery, note FROM purchase_events
         WHERE purchase_id = ?1 ORDER BY seq",
    )?;
    let lines = statement
        .query_map(params![id.as_str()], |row| {
            Ok(EventLine {
                seq: row.get(0)?,
                at: row.get(1)?,
                state: row.get(2)?,
                delivery: row.get(3)?,
                note: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(lines)
}

/// Writes a new purchase down.
///
/// # Errors
///
/// Where the store fails, or where the key has an unfinished purchase already.
pub fn plan(db: &Connection, purchase: &Purchase) -> Result<(), StoreError> {
    db.prepare_cached(&format!(
        "INSERT INTO purchases ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
         ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29,
         ?30, ?31, ?32, ?33, ?34)"
    ))?
    .execute(params![
        purchase.id.as_str(),
        purchase.principal,
        purchase.marketplace.name(),
        purchase.rail.name(),
        purchase.natural_key,
        purchase.reference,
        purchase.seller_id,
        purchase.seller_name,
        purchase.item_id,
        purchase.item_name,
        purchase.body,
        purchase.body_digest,
        purchase.idempotency_key,
        purchase.route,
        purchase.origin,
        purchase.asset,
        i64::try_from(purchase.chain_id).unwrap_or(0),
        micros(purchase.max_total),
        micros(purchase.price),
        purchase.amount.map(micros),
        purchase.state.name(),
        purchase.delivery.name(),
        Option::<String>::None,
        purchase.account,
        Option::<i64>::None,
        Option::<Vec<u8>>::None,
        Option::<u16>::None,
        purchase.failure,
        purchase.created_at,
        purchase.updated_at,
        purchase.reserved_at,
        purchase.finished_at,
        purchase.fund.as_ref().map(|fund| micros(fund.amount)),
        purchase.fund.as_ref().map(|fund| &fund.payee),
    ])?;
    event(db, purchase, "planned")
}

/// Changes a purchase: reads it, lets `change` change it, checks that the new state may follow, and
/// writes it with an event. Gives the purchase as it is then.
///
/// # Errors
///
/// Where the store fails, the purchase is not there, or the change is none that may follow.
pub fn record(
    db: &Connection,
    id: &PurchaseId,
    now: i64,
    note: &str,
    change: impl FnOnce(&mut Purchase) -> Result<(), StoreError>,
) -> Result<Purchase, StoreError> {
    let before = present(db, id)?;
    let mut after = before.clone();
    change(&mut after)?;
    if after.state != before.state && !before.state.may_become(after.state) {
        return Err(StoreError::Corrupt(format!(
            "purchase {id} going from {} to {}",
            before.state.name(),
            after.state.name()
        )));
    }
    after.updated_at = now;
    after.finished_at = after.is_over().then(|| before.finished_at.unwrap_or(now));
    let instrument = after.instrument.as_ref().map(Value::to_string);
    let nonce = after.account_nonce.and_then(|nonce| i64::try_from(nonce).ok());
    db.prepare_cached(
        "UPDATE purchases SET reference = ?2, idempotency_key = ?3, route = ?4, asset = ?5,
         chain_id = ?6, amount = ?7, state = ?8, delivery = ?9, instrument = ?10, account = ?11,
         account_nonce = ?12, answer = ?13, answer_status = ?14, failure = ?15, updated_at = ?16,
         reserved_at = ?17, finished_at = ?18 WHERE id = ?1",
    )?
    .execute(params![
        id.as_str(),
        after.reference,
        after.idempotency_key,
        after.route,
        after.asset,
        i64::try_from(after.chain_id).unwrap_or(0),
        after.amount.map(micros),
        after.state.name(),
        after.delivery.name(),
        instrument,
        after.account,
        nonce,
        after.answer,
        after.answer_status,
        after.failure,
        after.updated_at,
        after.reserved_at,
        after.finished_at,
    ])?;
    event(db, &after, note)?;
    Ok(after)
}

/// The event of a change, in the journal and in the inbox of its principal.
fn event(db: &Connection, purchase: &Purchase, note: &str) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO purchase_events (purchase_id, at, state, delivery, note)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        purchase.id.as_str(),
        purchase.updated_at,
        purchase.state.name(),
        purchase.delivery.name(),
        note,
    ])?;
    let seq = db.last_insert_rowid();
    let payload = serde_json::json!({
        "state": purchase.state, "delivery": purchase.delivery,
        "money_moved": purchase.money_moved(), "amount_usd": purchase.amount, "note": note,
    });
    events::put(
        db,
        &Event {
            seq: 0,
            principal: purchase.principal.clone(),
            source: "haggle".to_owned(),
            dedup: seq.to_string(),
            kind: "purchase_changed".to_owned(),
            subject: purchase.id.to_string(),
            payload,
            at: purchase.updated_at,
        },
    )
    .map(drop)
}
