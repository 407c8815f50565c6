//! Listings: their row, how they are shown, browsing.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter, types::Value as Sql};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    money::Usdc,
    sandbox::{
        clock::rfc3339,
        crochet::{
            BASE,
            accounts::{self, authenticate},
            answers::{Answer, ApiError, Page, find, ok},
            reviews,
        },
        ledger::micros,
        world::World,
    },
};

/// A listing.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// Its identifier, a UUID.
    pub(crate) id: String,
    /// Its other identifier.
    pub(crate) slug: String,
    /// The seller's agent.
    pub(crate) owner: String,
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: String,
    /// The slug of its category.
    pub(crate) category: String,
    /// `free` or `per_call`.
    pub(crate) pricing_model: String,
    /// The price as it was written.
    pub(crate) price_literal: Option<String>,
    /// The price per call.
    pub(crate) price: Usdc,
    /// `active`, `draft` or `suspended`.
    pub(crate) status: String,
    /// How it behaves; the words of the contract.
    pub(crate) behaviour: String,
    /// What work a built-in seller does.
    pub(crate) worker: String,
    /// A body that works, as JSON.
    pub(crate) input_example: String,
    /// Text for buyers.
    pub(crate) connection_instructions: String,
    /// JSON array.
    pub(crate) formats: String,
    /// Where calls are forwarded to.
    pub(crate) endpoint_url: Option<String>,
    /// How the seller wants to be authenticated to.
    pub(crate) endpoint_auth: Option<String>,
    /// Signs forwarded requests.
    pub(crate) secret: String,
    /// Counts rotations, from 1.
    pub(crate) secret_version: i64,
    /// When it was made, in milliseconds.
    pub(crate) created_at: i64,
    /// When it was changed.
    pub(crate) updated_at: i64,
}

const COLUMNS: &str = "id, slug, owner, name, description, category, pricing_model, price, micros, \
     status, behaviour, worker, input_example, connection_instructions, formats, endpoint_url, \
     endpoint_auth, secret, secret_version, created_at, updated_at";

fn row(row: &Row<'_>) -> rusqlite::Result<Listing> {
    Ok(Listing {
        id: row.get(0)?,
        slug: row.get(1)?,
        owner: row.get(2)?,
        name: row.get(3)?,
        description: row.get(4)?,
        category: row.get(5)?,
        pricing_model: row.get(6)?,
        price_literal: row.get(7)?,
        price: micros(row.get(8)?),
        status: row.get(9)?,
        behaviour: row.get(10)?,
        worker: row.get(11)?,
        input_example: row.get(12)?,
        connection_instructions: row.get(13)?,
        formats: row.get(14)?,
        endpoint_url: row.get(15)?,
        endpoint_auth: row.get(16)?,
        secret: row.get(17)?,
        secret_version: row.get(18)?,
        created_at: row.get(19)?,
        updated_at: row.get(20)?,
    })
}

/// Writes a listing, new or changed.
pub(crate) fn save(db: &Connection, listing: &Listing) -> rusqlite::Result<()> {
    let l = listing.clone();
    let micros = i64::try_from(l.price.micros()).unwrap_or(i64::MAX);
    db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO crochet_listings ({COLUMNS}) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
          ?20, ?21)"
    ))?
    .execute(rusqlite::params![
        l.id,
        l.slug,
        l.owner,
        l.name,
        l.description,
        l.category,
        l.pricing_model,
        l.price_literal,
        micros,
        l.status,
        l.behaviour,
        l.worker,
        l.input_example,
        l.connection_instructions,
        l.formats,
        l.endpoint_url,
        l.endpoint_auth,
        l.secret,
        l.secret_version,
        l.created_at,
        l.updated_at,
    ])?;
    Ok(())
}

/// The listing with this identifier or slug.
pub(crate) fn by_id(db: &Connection, id: &str) -> rusqlite::Result<Option<Listing>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM crochet_listings WHERE id = ?1 OR slug = ?1"
    ))?
    .query_row([id], row)
    .optional()
}

/// The listing, for its owner alone.
pub(crate) fn owned(db: &Connection, id: &str, agent: &str) -> Result<Listing, ApiError> {
    let listing = by_id(db, id)?.ok_or_else(|| ApiError::not_found("listing"))?;
    if listing.owner != agent {
        return Err(ApiError::forbidden("only the listing's owner may do this"));
    }
    Ok(listing)
}

/// The listings that the world began with.
pub(crate) fn seeded(db: &Connection) -> rusqlite::Result<Vec<Listing>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM crochet_listings WHERE input_example <> ''
         ORDER BY created_at DESC, slug"
    ))?
    .query_map([], row)?
    .collect()
}

/// A listing as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct ListingView {
    id: String,
    name: String,
    slug: String,
    description: String,
    pricing_model: String,
    pricing_amount: Option<Box<RawValue>>,
    pricing_currency: &'static str,
    preferred_currency: &'static str,
    delivery_type: &'static str,
    auth_method: &'static str,
    formats: Value,
    connection_instructions: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_per_call: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_example: Option<Value>,
    provider: Value,
    category: Value,
    created_at: String,
    updated_at: String,
}

/// How a listing is shown.
pub(crate) fn view(
    db: &Connection,
    world: &World,
    listing: Listing,
) -> rusqlite::Result<ListingView> {
    let per_call = listing.pricing_model == "per_call";
    let provider = accounts::find(db, &listing.owner)?;
    let is_verified = reviews::score_of(db, &listing.owner)? >= 800;
    let price =
        || listing.price_literal.as_ref().and_then(|text| RawValue::from_string(text.clone()).ok());
    Ok(ListingView {
        gateway_url: per_call.then(|| format!("{}{BASE}/gateway/{}", world.origin, listing.id)),
        price_per_call: price().filter(|_| per_call),
        pricing_amount: price(),
        pricing_currency: "USD",
        preferred_currency: "USDC",
        delivery_type: "api",
        auth_method: "none",
        formats: serde_json::from_str(&listing.formats).unwrap_or_default(),
        input_example: serde_json::from_str(&listing.input_example).ok(),
        provider: json!({
            "id": listing.owner,
            "display_name": provider.map(|agent| agent.display_name),
            "avatar_url": null,
            "account_type": "agent",
            "is_verified": is_verified,
        }),
        category: category(&listing.category),
        created_at: rfc3339(listing.created_at),
        updated_at: rfc3339(listing.updated_at),
        id: listing.id,
        name: listing.name,
        slug: listing.slug,
        description: listing.description,
        pricing_model: listing.pricing_model,
        connection_instructions: listing.connection_instructions,
        status: listing.status,
    })
}

/// The categories: slug and name.
pub(crate) const CATEGORIES: [(&str, &str); 6] = [
    ("text", "Text"),
    ("data", "Data"),
    ("security", "Security"),
    ("utilities", "Utilities"),
    ("research", "Research"),
    ("other", "Other"),
];

fn category(slug: &str) -> Value {
    let name = CATEGORIES.iter().find(|(known, _)| *known == slug).map(|(_, name)| name);
    json!({ "id": format!("cat-{slug}"), "name": name, "slug": slug })
}

/// `GET /categories`
pub(crate) async fn categories(State(world): State<Arc<World>>) -> Answer {
    ok(world.transact(|db, _| {
        CATEGORIES
            .iter()
            .map(|(slug, name)| {
                let count: i64 = db
                    .prepare_cached(
                        "SELECT count(*) FROM crochet_listings
                         WHERE category = ?1 AND status = 'active'",
                    )?
                    .query_row([slug], |row| row.get(0))?;
                Ok(json!({
                    "id": format!("cat-{slug}"),
                    "name": name,
                    "slug": slug,
                    "listing_count": count,
                }))
            })
            .collect::<Result<Vec<_>, ApiError>>()
    })?)
}

/// `GET /listings`
pub(crate) async fn browse(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let page = Page::from_query(&query)?;
    let order = match find(&query, "sort").unwrap_or("newest") {
        "newest" => "created_at DESC, rowid",
        "popular" => {
            "(SELECT count(*) FROM crochet_relays WHERE listing = crochet_listings.id) DESC, rowid"
        }
        "price_low" => "micros, rowid",
        "price_high" => "micros DESC, rowid",
        _ => {
            let message = "must be one of newest, popular, price_low, price_high";
            return Err(ApiError::invalid("sort", message));
        }
    };
    let mut conditions = vec!["status = 'active'".to_owned()];
    let mut values: Vec<Sql> = Vec::new();
    // Every word must be somewhere.
    for word in find(&query, "q").unwrap_or_default().split_whitespace().take(16) {
        values.push(word.to_lowercase().into());
        let n = values.len();
        conditions.push(format!(
            "instr(lower(name || ' ' || description || ' ' || slug || ' ' || category), ?{n}) > 0"
        ));
    }
    if let Some(slug) = find(&query, "category") {
        values.push(slug.strip_prefix("cat-").unwrap_or(slug).to_owned().into());
        conditions.push(format!("category = ?{}", values.len()));
    }
    if let Some(model) = find(&query, "pricing_model") {
        if !["free", "per_call"].contains(&model) {
            return Err(ApiError::invalid("pricing_model", "must be free or per_call"));
        }
        values.push(model.to_owned().into());
        conditions.push(format!("pricing_model = ?{}", values.len()));
    }
    let condition = conditions.join(" AND ");
    let (rows, total) = world.transact(|db, _| {
        let total: u32 = db.query_row(
            &format!("SELECT count(*) FROM crochet_listings WHERE {condition}"),
            params_from_iter(&values),
            |row| row.get(0),
        )?;
        let sql = format!(
            "SELECT {COLUMNS} FROM crochet_listings WHERE {condition} ORDER BY {order}
             LIMIT {} OFFSET {}",
            page.limit,
            page.offset()
        );
        let found = db
            .prepare(&sql)?
            .query_map(params_from_iter(&values), row)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let views = found.into_iter().map(|listing| view(db, &world, listing));
        Ok::<_, ApiError>((views.collect::<rusqlite::Result<Vec<_>>>()?, total))
    })?;
    page.answer(rows, total)
}

/// `GET /listings/{id}`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&world, &headers).ok();
    ok(world.transact(|db, _| {
        let listing = by_id(db, &id)?.ok_or_else(|| ApiError::not_found("listing"))?;
        if listing.status != "active" && caller.is_none_or(|caller| caller.id != listing.owner) {
            return Err(ApiError::not_found("listing"));
        }
        Ok(view(db, &world, listing)?)
    })?)
}
