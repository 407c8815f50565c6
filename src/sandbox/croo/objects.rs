//! Files: what a seller hands over that is too large for a delivery, in a storage with presigned
//! addresses.
//!
//! An agent asks for an address, and sends the bytes there without its key; the object's key goes
//! into the delivery. Whoever has that key and an SDK key is given an address to read from.
//! Addresses hold for 30 minutes of the sandbox's clock. The storage answers in XML, as S3 does.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::json;

use crate::sandbox::{
    croo::{
        agents::authenticate,
        answers::{Answer, ApiError, ok, read},
        storage,
    },
    keys::Seed,
    store,
    world::World,
};

/// The table. `bytes` is null until they are sent.
pub(crate) const TABLES: &str = "
CREATE TABLE croo_objects (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, file_name TEXT NOT NULL,
    content_type TEXT NOT NULL, bytes BLOB, created_at INTEGER NOT NULL, stored_at INTEGER);
";

/// The most characters of a file name that an object's key keeps.
const NAME_CHARS_MAX: usize = 100;
/// The most characters of a file name or a content type that is asked for.
const TEXT_CHARS_MAX: usize = 255;
/// Where objects go, by the number of `object_prefix`; 0 stands for what nobody chose.
const PREFIXES: [&str; 3] = [DELIVERIES, DELIVERIES, "images"];
/// Where deliveries go.
const DELIVERIES: &str = "deliveries";

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// What it was declared as.
    pub(crate) content_type: String,
    /// Its bytes, once they were sent.
    pub(crate) bytes: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct UploadBody {
    #[serde(default)]
    file_name: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    object_prefix: usize,
}

/// `POST /objects/upload-url`
pub(crate) async fn upload_url(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = world.transact(|db, _| authenticate(db, &headers))?;
    let body: UploadBody = read(&body)?;
    let is_usable = |text: &str| !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX;
    if !is_usable(&body.file_name) {
        return Err(ApiError::parameters("file_name", "file_name must have 1 to 255 characters"));
    }
    // It comes back as a header.
    if !is_usable(&body.content_type) || HeaderValue::from_str(&body.content_type).is_err() {
        return Err(ApiError::parameters("content_type", "content_type is not valid"));
    }
    let prefix = PREFIXES.get(body.object_prefix).ok_or_else(|| {
        ApiError::parameters("object_prefix", "object_prefix must be from 0 to 2")
    })?;
    let (key, url) = world.transact(|db, now| {
        let key = fresh_key(db, prefix, &body.file_name)?;
        insert(db, now, &key, &agent.id, &body.file_name, &body.content_type)?;
        let url = storage::presigned(&world, "PUT", &key, now);
        Ok::<_, ApiError>((key, url))
    })?;
    let expires_in = storage::VALID_S.to_string();
    ok(json!({ "uploadUrl": url, "objectKey": key, "expiresIn": expires_in }))
}

#[derive(Deserialize)]
struct DownloadBody {
    #[serde(default)]
    object_key: String,
}

/// `POST /objects/download-url`
pub(crate) async fn download_url(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    world.transact(|db, _| authenticate(db, &headers))?;
    let body: DownloadBody = read(&body)?;
    if body.object_key.is_empty() {
        return Err(ApiError::parameters("object_key", "object_key is required"));
    }
    let url = world.transact(|db, now| {
        find(db, &body.object_key)?
            .filter(|object| object.bytes.is_some())
            .ok_or_else(|| ApiError::not_found("OBJECT_NOT_FOUND", &body.object_key))?;
        Ok::<_, ApiError>(storage::presigned(&world, "GET", &body.object_key, now))
    })?;
    ok(json!({ "downloadUrl": url, "expiresIn": storage::VALID_S }))
}

/// Reads an object.
pub(crate) fn find(db: &Connection, key: &str) -> rusqlite::Result<Option<Object>> {
    db.prepare_cached("SELECT content_type, bytes FROM croo_objects WHERE key = ?1")?
        .query_row([key], |row| Ok(Object { content_type: row.get(0)?, bytes: row.get(1)? }))
        .optional()
}

/// Gives an object its bytes, instead of those that it had.
pub(crate) fn fill(db: &Connection, now: i64, key: &str, bytes: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE croo_objects SET bytes = ?2, stored_at = ?3 WHERE key = ?1")?
        .execute(params![key, bytes, now])?;
    Ok(())
}

fn insert(
    db: &Connection,
    now: i64,
    key: &str,
    owner: &str,
    file_name: &str,
    content_type: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO croo_objects (key, owner, file_name, content_type, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![key, owner, file_name, content_type, now])?;
    Ok(())
}

/// Keeps a file of a built-in seller; answers the object's key.
pub(crate) fn put(
    db: &Connection,
    now: i64,
    owner: &str,
    file_name: &str,
    content_type: &str,
    bytes: &[u8],
) -> rusqlite::Result<String> {
    let key = fresh_key(db, DELIVERIES, file_name)?;
    insert(db, now, &key, owner, file_name, content_type)?;
    fill(db, now, &key, bytes)?;
    Ok(key)
}

/// A key that nobody guesses, ending in the file's name.
fn fresh_key(db: &Connection, prefix: &str, file_name: &str) -> rusqlite::Result<String> {
    let serial = store::next_serial(db)?;
    let part = seed(db)?.uuid(&format!("croo/object/{serial}"));
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || ".-_".contains(*letter);
    let name: String = file_name
        .chars()
        .map(|letter| if is_kept(&letter) { letter } else { '_' })
        .take(NAME_CHARS_MAX)
        .collect();
    // A last part of dots alone would lead elsewhere.
    let name = if name.chars().all(|letter| letter == '.') { "file" } else { &name };
    Ok(format!("{prefix}/{part}/{name}"))
}

/// The seed of this world, as its store keeps it.
fn seed(db: &Connection) -> rusqlite::Result<Seed> {
    Ok(Seed(store::meta(db, "seed")?.and_then(|text| text.parse().ok()).unwrap_or(0)))
}
