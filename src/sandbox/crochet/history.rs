//! What happened: one row for each gateway call, and the entries of the ledger.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::HeaderMap,
};
use rusqlite::{params, types::ToSql};
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        accounts::authenticate,
        answers::{Answer, ApiError, Page, find},
    },
    ledger::micros,
    world::World,
};

/// `GET /gateway-requests`
pub(crate) async fn gateway_requests(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let page = Page::from_query(&query)?;
    let relay = find(&query, "relay_request_id");
    let (rows, total) = world.transact(|db, now| {
        let condition = "(r.buyer = ?1 OR r.seller = ?1) AND (?2 IS NULL OR r.id = ?2)";
        let total: u32 = db.query_row(
            &format!("SELECT count(*) FROM crochet_relays r WHERE {condition}"),
            params![agent.id, relay],
            |row| row.get(0),
        )?;
        let sql = format!(
            "SELECT r.id, r.is_free, r.buyer, r.listing, r.seller, r.state, r.currency, r.micros,
                 r.amount, r.deposit_address, r.received, r.created_at, r.expires_at, r.paid_at,
                 r.updated_at, r.answer_status, length(CAST(r.answer AS BLOB)), r.latency_ms,
                 r.idempotency_key
             FROM crochet_relays r WHERE {condition} ORDER BY r.seq DESC
             LIMIT {} OFFSET {}",
            page.limit,
            page.offset()
        );
        let values: [&dyn ToSql; 2] = [&agent.id, &relay];
        let rows = db
            .prepare_cached(&sql)?
            .query_map(values, |row| {
                let (id, is_free): (String, bool) = (row.get(0)?, row.get(1)?);
                let (state, expires_at): (String, i64) = (row.get(5)?, row.get(12)?);
                let expired = state == "payment_required" && expires_at <= now;
                let role = if row.get::<_, String>(2)? == agent.id { "buyer" } else { "seller" };
                Ok(json!({
                    "id": format!("gwr_{}", id.get(2..18).unwrap_or_default()),
                    "relay_request_id": (!is_free).then_some(&id),
                    "role": role,
                    "buyer_id": row.get::<_, String>(2)?,
                    "listing_id": row.get::<_, String>(3)?,
                    "seller_id": row.get::<_, String>(4)?,
                    "status": if expired { "expired" } else { state.as_str() },
                    "currency": row.get::<_, String>(6)?,
                    "amount_usd": micros(row.get(7)?),
                    "amount": row.get::<_, String>(8)?,
                    "deposit_address": (!is_free).then_some(row.get::<_, String>(9)?),
                    "received_usd": micros(row.get(10)?),
                    "idempotency_key": row.get::<_, Option<String>>(18)?,
                    "created_at": rfc3339(row.get(11)?),
                    "expires_at": (!is_free).then_some(rfc3339(expires_at)),
                    "paid_at": row.get::<_, Option<i64>>(13)?.map(rfc3339),
                    "updated_at": rfc3339(row.get(14)?),
                    "response_status": row.get::<_, Option<i64>>(15)?,
                    "response_bytes": row.get::<_, Option<i64>>(16)?,
                    "latency_ms": row.get::<_, Option<i64>>(17)?,
                }))
            })?
            .collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok::<_, ApiError>((rows, total))
    })?;
    page.answer(rows, total)
}

/// `GET /ledger`
pub(crate) async fn ledger(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let page = Page::from_query(&query)?;
    let (rows, total) = world.transact(|db, _| {
        // A charge refers to its relay itself, a fee and a payout through their parent. The
        // seller's own entries are not the buyer's business.
        let from = "FROM ledger l JOIN crochet_relays r ON r.id = coalesce(l.parent, l.reference)
             WHERE l.marketplace = 'crochet'
               AND (r.seller = ?1 OR (r.buyer = ?1 AND l.kind = 'charge'))";
        let total: u32 =
            db.query_row(&format!("SELECT count(*) {from}"), [&agent.id], |row| row.get(0))?;
        let sql = format!(
            "SELECT l.seq, l.kind, r.id, r.listing, r.buyer, r.seller, r.currency, l.micros, l.at,
                 r.state {from} ORDER BY l.seq DESC LIMIT {} OFFSET {}",
            page.limit,
            page.offset()
        );
        let rows = db
            .prepare_cached(&sql)?
            .query_map([&agent.id], |row| {
                let kind: String = row.get(1)?;
                let is_buyer = row.get::<_, String>(4)? == agent.id;
                Ok(json!({
                    "id": format!("led_{}", row.get::<_, i64>(0)?),
                    "type": match kind.as_str() {
                        "charge" => "gateway_payment",
                        "fee" => "marketplace_fee",
                        "payout" => "seller_credit",
                        _ => "adjustment",
                    },
                    "direction": if is_buyer && kind == "charge" { "debit" } else { "credit" },
                    "relay_request_id": row.get::<_, String>(2)?,
                    "listing_id": row.get::<_, String>(3)?,
                    "buyer_id": row.get::<_, String>(4)?,
                    "seller_id": row.get::<_, String>(5)?,
                    "currency": row.get::<_, String>(6)?,
                    "amount_usd": micros(row.get(7)?),
                    "status": row.get::<_, String>(9)?,
                    "created_at": rfc3339(row.get(8)?),
                }))
            })?
            .collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok::<_, ApiError>((rows, total))
    })?;
    page.answer(rows, total)
}
