//! Selling: creating, changing and removing listings.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use url::{Host, Url};

use crate::{
    money::Usdc,
    sandbox::{
        crochet::{
            accounts::authenticate,
            answers::{Answer, ApiError, created, ok, read, required},
            endpoints,
            listings::{self, CATEGORIES, Listing, view},
            proofs,
        },
        world::World,
    },
};

/// `POST /listings/challenge`
pub(crate) async fn challenge(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, now| proofs::issue_work(db, &world, now, &agent.id))?)
}

#[derive(Deserialize)]
struct CreateBody {
    pow_nonce: String,
    name: String,
    description: String,
    delivery_type: String,
    auth_method: String,
    formats: Vec<String>,
    connection_instructions: String,
    pricing_model: String,
    pricing_amount: Option<Box<RawValue>>,
    pricing_currency: String,
    private_endpoint_url: Option<String>,
    status: Option<String>,
    category: Option<String>,
    category_id: Option<String>,
}

/// `POST /listings`
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: CreateBody = read(&body)?;
    let mut listing = checked(&body)?;
    let solved = proofs::solved_work(&world, &agent.id, &body.pow_nonce)?;
    proofs::take(&world, &solved, &["create_listing"], &agent.id)?;
    created(world.transact(|db, now| {
        listing.id = world.fresh_uuid(db, "crochet/listing")?;
        listing.slug = slug(&listing.name, &listing.id);
        listing.owner.clone_from(&agent.id);
        listing.secret = endpoints::new_secret(db, &world)?;
        (listing.created_at, listing.updated_at) = (now, now);
        listings::save(db, &listing)?;
        let mut endpoint = endpoints::safe(&listing);
        if let Some(endpoint) = endpoint.as_object_mut() {
            endpoint.insert("signing_secret".to_owned(), json!(listing.secret));
        }
        let mut data = json!(view(db, &world, listing)?);
        if let Some(data) = data.as_object_mut() {
            data.insert("gateway_endpoint".to_owned(), endpoint);
        }
        Ok::<_, ApiError>(data)
    })?)
}

/// Checks everything but the proof of work.
fn checked(body: &CreateBody) -> Result<Listing, ApiError> {
    fixed("delivery_type", &body.delivery_type, &["api"])?;
    fixed("auth_method", &body.auth_method, &["none"])?;
    fixed("pricing_currency", &body.pricing_currency, &["USD"])?;
    fixed("pricing_model", &body.pricing_model, &["free", "per_call"])?;
    let status = body.status.as_deref().unwrap_or("active");
    fixed("status", status, &["active", "draft"])?;
    if !body.formats.iter().any(|format| format == "json") {
        return Err(ApiError::invalid("formats", "must contain json"));
    }
    let per_call = body.pricing_model == "per_call";
    let (price_literal, price) = match (&body.pricing_amount, per_call) {
        (Some(amount), true) => read_price(amount)?,
        (None, true) => return Err(ApiError::invalid("pricing_amount", "is required")),
        (_, false) => (Some("0".to_owned()), Usdc::ZERO),
    };
    let endpoint_url = body.private_endpoint_url.as_deref().map(check_url).transpose()?;
    if per_call && endpoint_url.is_none() {
        return Err(ApiError::invalid("private_endpoint_url", "is required for per_call"));
    }
    let category = body.category.as_deref().or(body.category_id.as_deref()).unwrap_or("other");
    Ok(Listing {
        id: String::new(),
        slug: String::new(),
        owner: String::new(),
        name: required("name", &body.name, 120)?,
        description: required("description", &body.description, 4_000)?,
        category: check_category(category)?,
        pricing_model: body.pricing_model.clone(),
        price_literal,
        price,
        status: status.to_owned(),
        behaviour: "manual".to_owned(),
        worker: "none".to_owned(),
        input_example: String::new(),
        connection_instructions: required(
            "connection_instructions",
            &body.connection_instructions,
            4_000,
        )?,
        formats: json!(body.formats).to_string(),
        endpoint_url,
        endpoint_auth: None,
        secret: String::new(),
        secret_version: 1,
        created_at: 0,
        updated_at: 0,
    })
}

fn fixed(field: &str, value: &str, known: &[&str]) -> Result<(), ApiError> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(ApiError::invalid(field, format!("must be one of {}", known.join(", "))))
}

fn check_category(text: &str) -> Result<String, ApiError> {
    let slug = text.strip_prefix("cat-").unwrap_or(text).to_lowercase();
    let known: Vec<&str> = CATEGORIES.iter().map(|(slug, _)| *slug).collect();
    fixed("category", &slug, &known)?;
    Ok(slug)
}

/// Reads a price from its literal: a positive number with at most six places.
fn read_price(amount: &RawValue) -> Result<(Option<String>, Usdc), ApiError> {
    let price: Usdc = amount
        .get()
        .parse()
        .map_err(|error| ApiError::invalid("pricing_amount", format!("as a number {error}")))?;
    if price == Usdc::ZERO {
        return Err(ApiError::invalid("pricing_amount", "must be more than zero"));
    }
    Ok((Some(amount.get().to_owned()), price))
}

/// A private endpoint must be HTTPS, or plain HTTP on this machine.
pub(crate) fn check_url(text: &str) -> Result<String, ApiError> {
    let wrong = |message: &str| ApiError::invalid("private_endpoint_url", message);
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not carry credentials"));
    }
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if is_loopback(&url) => Ok(text.to_owned()),
        _ => Err(wrong("must be HTTPS, or HTTP on loopback")),
    }
}

/// Whether the URL leads to this machine, without asking any name server.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn slug(name: &str, id: &str) -> String {
    let words: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' })
        .collect();
    let words: Vec<&str> = words.split_whitespace().take(8).collect();
    format!("{}-{}", words.join("-"), id.get(..8).unwrap_or_default())
}

#[derive(Deserialize)]
struct UpdateBody {
    name: Option<String>,
    description: Option<String>,
    connection_instructions: Option<String>,
    formats: Option<Vec<String>>,
    pricing_model: Option<String>,
    pricing_amount: Option<Box<RawValue>>,
    private_endpoint_url: Option<String>,
    status: Option<String>,
    #[serde(alias = "category_id")]
    category: Option<String>,
}

/// `PATCH /listings/{id}`
pub(crate) async fn update(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    let body: UpdateBody = read(&body)?;
    ok(world.transact(|db, now| {
        let mut listing = listings::owned(db, &id, &agent.id)?;
        apply(&mut listing, &body)?;
        listing.updated_at = now;
        listings::save(db, &listing)?;
        Ok::<_, ApiError>(view(db, &world, listing)?)
    })?)
}

fn apply(listing: &mut Listing, body: &UpdateBody) -> Result<(), ApiError> {
    if let Some(name) = &body.name {
        listing.name = required("name", name, 120)?;
    }
    if let Some(text) = &body.description {
        listing.description = required("description", text, 4_000)?;
    }
    if let Some(text) = &body.connection_instructions {
        listing.connection_instructions = required("connection_instructions", text, 4_000)?;
    }
    if let Some(formats) = &body.formats {
        listing.formats = json!(formats).to_string();
    }
    if let Some(category) = &body.category {
        listing.category = check_category(category)?;
    }
    if let Some(status) = &body.status {
        fixed("status", status, &["active", "draft", "suspended"])?;
        listing.status.clone_from(status);
    }
    if let Some(url) = &body.private_endpoint_url {
        listing.endpoint_url = Some(check_url(url)?);
    }
    if let Some(model) = &body.pricing_model {
        fixed("pricing_model", model, &["free", "per_call"])?;
        listing.pricing_model.clone_from(model);
    }
    if let Some(amount) = &body.pricing_amount {
        (listing.price_literal, listing.price) = read_price(amount)?;
    }
    if listing.pricing_model == "free" {
        (listing.price_literal, listing.price) = (Some("0".to_owned()), Usdc::ZERO);
    } else if listing.price == Usdc::ZERO {
        return Err(ApiError::invalid("pricing_amount", "is required for per_call"));
    } else if listing.endpoint_url.is_none() && listing.worker == "none" {
        return Err(ApiError::invalid("private_endpoint_url", "is required for per_call"));
    }
    Ok(())
}

/// `DELETE /listings/{id}`
pub(crate) async fn remove(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let agent = authenticate(&world, &headers)?;
    ok(world.transact(|db, now| {
        let mut listing = listings::owned(db, &id, &agent.id)?;
        if listing.status == "draft" {
            db.execute("DELETE FROM crochet_listings WHERE id = ?1", [&listing.id])?;
            return Ok::<Value, ApiError>(json!({ "id": listing.id, "status": "deleted" }));
        }
        "suspended".clone_into(&mut listing.status);
        listing.updated_at = now;
        listings::save(db, &listing)?;
        Ok(json!({ "id": listing.id, "status": "suspended" }))
    })?)
}
