//! Asks: what only the owner may let happen, other than a payment.
//!
//! A tool that needs the owner's word calls [`need`]. The first call writes an ask and fails with
//! the command that answers it; after a yes the same call goes through once.
//!
//! Invariants: the word comes from the owner's command alone, since a model may speak for the person
//! in front of its client; it holds for one tool with all its arguments, and for what the owner was
//! told; it lasts [`ANSWER_SECONDS`], and lets one call through, over all processes of the store.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    access::Access,
    error::{Code, Error},
    ids::AskId,
    marketplaces::Marketplace,
    owner::Owner,
    recovery::{NextAction, NextCall},
    spend::{approvals::APPROVAL_SECONDS, random},
    store::{Store, StoreError},
    text::clean,
};

/// How long an answer holds, in seconds.
pub const ANSWER_SECONDS: i64 = APPROVAL_SECONDS;
/// How long a question waits for its answer, in seconds.
pub const OPEN_SECONDS: i64 = 24 * 60 * 60;
/// How many questions may wait for the owner at a time.
pub const OPEN_MAX: usize = 20;
/// The longest description that is kept, in characters.
const DESCRIBED_CHARS_MAX: usize = 16_000;

/// A question to the owner, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which.
    pub id: AskId,
    /// Whose call it was.
    pub principal: String,
    /// The tool that asked.
    pub tool: String,
    /// What the tool would do. It may quote a marketplace: it is for people, not for models.
    pub described: String,
    /// When it was asked first, in Unix seconds.
    pub at: i64,
    /// The answer.
    pub granted: Option<bool>,
    /// When the question, or the answer to it, is over, in Unix seconds.
    pub expires_at: i64,
    /// When the yes was used, in Unix seconds.
    pub used_at: Option<i64>,
}

/// The owner's yes to one call, which is used by having it.
#[derive(Debug)]
pub struct Granted {
    id: AskId,
    store: Store,
}

impl Granted {
    /// The ask that was agreed to: a name for what is done by it, once.
    #[must_use]
    pub const fn id(&self) -> &AskId {
        &self.id
    }

    /// Gives the yes back where `done` is a failure after which nothing can have happened: then the
    /// same call may try again, as long as the answer holds.
    ///
    /// # Errors
    ///
    /// Those of `done`.
    pub async fn kept<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &done
            && error.repeat_safe
        {
            let id = self.id.clone();
            let given_back = self.store.transact(move |db| {
                db.execute("UPDATE asks SET used_at = NULL WHERE id = ?1", params![id.as_str()])?;
                Ok(())
            });
            // The owner is asked once more, which harms nobody.
            if let Err(error) = given_back.await {
                tracing::warn!(%error, "an answer of the owner was not given back");
            }
        }
        done
    }
}

/// What there is for a call.
enum Found {
    /// The owner has not answered.
    Open(AskId),
    Denied(AskId),
    /// The owner agreed; it is used now.
    Granted(AskId),
    /// Too many questions wait already.
    Full,
}

/// The owner's yes to this call of `tool`, which is used by it. `arguments` are all that the tool
/// was given, `described` says to the owner what it would do, in our words; what a marketplace says
/// of it is quoted there.
///
/// # Errors
///
/// [`Code::ApprovalRequired`] where the owner has not answered, with their command;
/// [`Code::ApprovalDenied`]; [`Code::Conflict`] where too much waits for them; where the store fails.
/// Nothing was sent in any of these cases.
pub async fn need(
    access: &Access,
    owner: &Owner,
    tool: &'static str,
    arguments: Value,
    described: String,
) -> Result<Granted, Error> {
    // Answers end by the sandbox's clock, which may have been set.
    access.refresh_clock().await?;
    let (store, now) = (access.store(), access.clock().now());
    let (who, digest) = (owner.principal.clone(), digest(tool, &arguments, &described));
    let described = clean(&described, DESCRIBED_CHARS_MAX);
    let found = store.transact(move |db| look(db, &who, tool, &digest, &described, now)).await?;
    let same = || NextCall::new(tool, arguments.clone(), "goes through once the owner has agreed");
    let at = |error: Error| match tool.split('_').next().and_then(Marketplace::named) {
        Some(marketplace) => error.at(marketplace),
        None => error,
    };
    match found {
        Found::Granted(id) => Ok(Granted { id, store: store.clone() }),
        Found::Open(id) => {
            let page = owner.address_of("asks", id.as_str());
            let page = page.map_or_else(String::new, |address| format!(", or at {address}"));
            let message = format!(
                "the owner has to agree to {tool} first: `haggle approve {id}` in their terminal, or \
                 `haggle deny {id}`{page}; nothing was sent"
            );
            let error = Error::new(Code::ApprovalRequired, message).next(same());
            Err(at(error).recovery(|r| {
                let summary = "Give the owner the command; once they ran it, the same call goes \
                               through, within 15 minutes.";
                r.set(NextAction::AskOwner, false, summary);
            }))
        }
        Found::Denied(id) => {
            let message = format!("the owner said no to {tool} ({id}); nothing was sent");
            Err(at(Error::new(Code::ApprovalDenied, message)))
        }
        Found::Full => {
            let message =
                format!("{OPEN_MAX} questions wait for the owner already; none was added");
            let status = NextCall::new("market_status", Value::Object(serde_json::Map::new()), "");
            let status = NextCall { why: "lists them with their commands".to_owned(), ..status };
            Err(at(Error::new(Code::Conflict, message)).next(status).recovery(|r| {
                r.set(NextAction::AskOwner, false, "The owner answers what waits first.");
            }))
        }
    }
}

/// What tells one question from another: the tool, its arguments and what the owner is told.
fn digest(tool: &str, arguments: &Value, described: &str) -> String {
    let mut hash = Sha256::new();
    for part in [tool, &arguments.to_string(), described] {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

fn look(
    db: &Connection,
    who: &str,
    tool: &str,
    digest: &str,
    described: &str,
    now: i64,
) -> Result<Found, StoreError> {
    let live: Option<(String, Option<bool>)> = db
        .query_row(
            "SELECT id, granted FROM asks WHERE principal = ?1 AND digest = ?2
             AND used_at IS NULL AND expires_at > ?3 ORDER BY rowid DESC LIMIT 1",
            params![who, digest, now],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if let Some((id, granted)) = live {
        let id = read_id(&id)?;
        return Ok(match granted {
            None => Found::Open(id),
            Some(false) => Found::Denied(id),
            Some(true) => {
                let sql = "UPDATE asks SET used_at = ?2 WHERE id = ?1";
                db.execute(sql, params![id.as_str(), now])?;
                Found::Granted(id)
            }
        });
    }
    if open(db, Some(who), now)?.len() >= OPEN_MAX {
        return Ok(Found::Full);
    }
    let id = AskId::from_random(random()?);
    db.execute(
        "INSERT INTO asks (id, principal, tool, digest, described, at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id.as_str(), who, tool, digest, described, now, now + OPEN_SECONDS],
    )?;
    Ok(Found::Open(id))
}

/// Keeps the owner's answer. A yes that was not used can still be taken back.
///
/// # Errors
///
/// [`Code::NotFound`]; [`Code::WrongState`] where it waits for no answer; where the store fails.
pub async fn answer(store: &Store, id: &AskId, granted: bool, now: i64) -> Result<Ask, Error> {
    let id = id.clone();
    store.transact(move |db| keep_answer(db, &id, granted, now)).await
}

fn keep_answer(db: &Connection, id: &AskId, granted: bool, now: i64) -> Result<Ask, StoreError> {
    let missing = || Error::new(Code::NotFound, format!("there is no question {id}"));
    let ask = find(db, id)?.ok_or_else(missing)?;
    let over = ask.expires_at <= now;
    let state = match (ask.granted, ask.used_at) {
        (_, Some(_)) => "was agreed to and is done",
        (None, None) if !over => "",
        (Some(true), None) if !over && !granted => "",
        (Some(true), None) if !over => "is agreed to already",
        (Some(false), None) => "was denied",
        (_, None) => "is over; the agent asks again by the same call",
    };
    if !state.is_empty() {
        let message = format!("{id} {state}: it does not wait for the owner's word");
        return Err(Error::new(Code::WrongState, message).into());
    }
    db.execute(
        "UPDATE asks SET granted = ?2, expires_at = ?3 WHERE id = ?1",
        params![id.as_str(), granted, now + ANSWER_SECONDS],
    )?;
    Ok(find(db, id)?.ok_or_else(missing)?)
}

/// A question.
///
/// # Errors
///
/// Where the store fails.
pub fn find(db: &Connection, id: &AskId) -> Result<Option<Ask>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM asks WHERE id = ?1");
    db.query_row(&sql, params![id.as_str()], read).optional()?.transpose()
}

/// The questions that wait for an answer, of one caller or of all, oldest first.
///
/// # Errors
///
/// Where the store fails.
pub fn open(db: &Connection, who: Option<&str>, now: i64) -> Result<Vec<Ask>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM asks WHERE granted IS NULL AND expires_at > ?1
         AND (?2 IS NULL OR principal = ?2) ORDER BY rowid"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![now, who], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().collect()
}

const COLUMNS: &str = "id, tool, described, at, granted, expires_at, used_at, principal";

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Ask, StoreError>> {
    let id: String = row.get(0)?;
    let id = match read_id(&id) {
        Ok(id) => id,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(Ask {
        id,
        tool: row.get(1)?,
        described: row.get(2)?,
        at: row.get(3)?,
        granted: row.get(4)?,
        expires_at: row.get(5)?,
        used_at: row.get(6)?,
        principal: row.get(7)?,
    }))
}

fn read_id(id: &str) -> Result<AskId, StoreError> {
    id.parse().map_err(|_| StoreError::Corrupt("an ask without an identifier".to_owned()))
}

#[cfg(test)]
mod tests;
