//! Reviews by those who bought, and the score that follows from deliveries and reviews.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::json;

use crate::sandbox::{
    clock::rfc3339,
    crochet::{
        accounts::{self, authenticate},
        answers::{Answer, ApiError, created, ok, read, required},
        listings,
    },
    world::World,
};

#[derive(Deserialize)]
struct ReviewBody {
    accuracy_rating: u8,
    reliability_rating: u8,
    value_rating: u8,
    title: String,
    comment: String,
}

/// `POST /reviews/{listingId}`
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: ReviewBody = read(&body)?;
    let ratings = [
        ("accuracy_rating", body.accuracy_rating),
        ("reliability_rating", body.reliability_rating),
        ("value_rating", body.value_rating),
    ];
    if let Some((field, _)) = ratings.iter().find(|(_, rating)| !(1..=5).contains(rating)) {
        return Err(ApiError::invalid(field, "must be from 1 to 5"));
    }
    let title = required("title", &body.title, 120)?;
    let comment = required("comment", &body.comment, 4_000)?;
    created(world.transact(|db, now| {
        let listing = listings::by_id(db, &id)?.ok_or_else(|| ApiError::not_found("listing"))?;
        let bought: i64 = db.query_row(
            "SELECT count(*) FROM crochet_relays
             WHERE buyer = ?1 AND listing = ?2 AND answer_status IS NOT NULL",
            params![agent.id, listing.id],
            |row| row.get(0),
        )?;
        if bought == 0 {
            return Err(ApiError::forbidden("only who called the listing may review it"));
        }
        let review = world.fresh_uuid(db, "crochet/review")?;
        let added = db.execute(
            "INSERT OR IGNORE INTO crochet_reviews VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                review,
                listing.id,
                agent.id,
                body.accuracy_rating,
                body.reliability_rating,
                body.value_rating,
                title,
                comment,
                now
            ],
        )?;
        if added == 0 {
            let message = "you reviewed this listing before";
            return Err(ApiError::new(StatusCode::CONFLICT, "REVIEW_EXISTS", message));
        }
        Ok(json!({
            "id": review,
            "listing_id": listing.id,
            "accuracy_rating": body.accuracy_rating,
            "reliability_rating": body.reliability_rating,
            "value_rating": body.value_rating,
            "title": title,
            "comment": comment,
            "created_at": rfc3339(now),
        }))
    })?)
}

/// `GET /agents/{id}/score`
pub(crate) async fn score(State(world): State<Arc<World>>, Path(id): Path<String>) -> Answer {
    ok(world.transact(|db, _| {
        accounts::find(db, &id)?.ok_or_else(|| ApiError::not_found("agent"))?;
        let score = score_of(db, &id)?;
        let tier = match score {
            ..400 => "low",
            400..700 => "moderate",
            700..800 => "trusted",
            800..900 => "elite",
            _ => "exceptional",
        };
        Ok::<_, ApiError>(json!({
            "agent_id": id,
            "score": score,
            "tier": tier,
            "is_verified": score >= 800,
        }))
    })?)
}

/// 500, and 10 for each delivery, less 25 for each failure, and 20 for each star from three.
pub(crate) fn score_of(db: &Connection, agent: &str) -> rusqlite::Result<i64> {
    let (delivered, failed): (i64, i64) = db
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'delivered'),
                 count(*) FILTER (WHERE state = 'failed')
             FROM crochet_relays WHERE seller = ?1",
        )?
        .query_row([agent], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let stars: i64 = db
        .prepare_cached(
            "SELECT coalesce(sum(accuracy + reliability + value - 9), 0) FROM crochet_reviews v
             JOIN crochet_listings l ON l.id = v.listing WHERE l.owner = ?1",
        )?
        .query_row([agent], |row| row.get(0))?;
    Ok((500 + 10 * delivered - 25 * failed + 20 * stars).clamp(0, 1_000))
}
