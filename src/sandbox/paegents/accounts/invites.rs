//! Invitations: three to a recipient, half an hour apart, good for two weeks.
//!
//! No mail leaves the sandbox; the token is in the answer. Source: the protocol page, 3.9.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        BASE, agents,
        answers::{Answer, ApiError, ok, read},
        pay::mandates::fresh_id,
    },
    world::World,
};

/// How often a recipient may be written to.
const SENDINGS_MAX: i64 = 3;
/// The time between two of them, in milliseconds.
const BETWEEN_MS: i64 = 1_800_000;
/// How long a token is good for, in milliseconds: 14 days.
const LIFE_MS: i64 = 1_209_600_000;
/// The longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 500;
/// The longest address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// An invitation.
#[derive(Clone, Debug)]
struct Invite {
    id: String,
    token: String,
    agent: String,
    email: String,
    comment: String,
    sent: i64,
    sent_at: i64,
    expires_at: i64,
    accepted_by: Option<String>,
    created_at: i64,
}

const COLUMNS: &str = "id, token, agent, email, comment, sent, sent_at, expires_at, accepted_by, \
                       created_at";

impl Invite {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            token: row.get(1)?,
            agent: row.get(2)?,
            email: row.get(3)?,
            comment: row.get(4)?,
            sent: row.get(5)?,
            sent_at: row.get(6)?,
            expires_at: row.get(7)?,
            accepted_by: row.get(8)?,
            created_at: row.get(9)?,
        })
    }

    fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO paegents_invites (id, token, agent, email, comment, sent, sent_at,
                 expires_at, accepted_by, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (id) DO UPDATE SET comment = excluded.comment, sent = excluded.sent,
                 sent_at = excluded.sent_at, expires_at = excluded.expires_at,
                 accepted_by = excluded.accepted_by",
        )?
        .execute(params![
            self.id,
            self.token,
            self.agent,
            self.email,
            self.comment,
            self.sent,
            self.sent_at,
            self.expires_at,
            self.accepted_by,
            self.created_at,
        ])?;
        Ok(())
    }

    fn status(&self, now: i64) -> &'static str {
        match self.accepted_by {
            Some(_) => "accepted",
            None if self.expires_at <= now => "expired",
            None => "pending",
        }
    }

    fn view(&self, db: &Connection, world: &World, now: i64) -> rusqlite::Result<Value> {
        Ok(json!({
            "id": self.id,
            "token": self.token,
            "invite_url": format!("{}{BASE}/invites/{}", world.origin, self.token),
            "inviter_agent_id": self.agent,
            "inviter_name": agents::present(db, &self.agent)?.name,
            "email": self.email,
            "comment": self.comment,
            "status": self.status(now),
            "sent_count": self.sent,
            "last_sent_at": rfc3339(self.sent_at),
            "expires_at": rfc3339(self.expires_at),
            "created_at": rfc3339(self.created_at),
        }))
    }
}

fn by_token(db: &Connection, token: &str) -> Result<Invite, ApiError> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM paegents_invites WHERE token = ?1"))?
        .query_row([token], Invite::read)
        .optional()?
        .ok_or_else(|| ApiError::not_found("Invite"))
}

#[derive(Deserialize)]
struct CreateBody {
    email: String,
    #[serde(default)]
    comment: Option<String>,
}

/// What comes of a request to invite.
enum Outcome {
    Sent(Value),
    /// So many seconds too early.
    TooSoon(i64),
}

fn is_email(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    text.len() <= EMAIL_BYTES_MAX
        && text.split_once('@').is_some_and(|(name, host)| {
            is_word(name) && is_word(host) && !host.contains('@') && host.contains('.')
        })
}

/// `POST /invites`: the first letter to a recipient, or another one.
pub(crate) async fn create(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let outcome = world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: CreateBody = read(&body)?;
        let email = asked.email.trim().to_ascii_lowercase();
        if !is_email(&email) {
            return Err(ApiError::invalid("email", "Input should be an email address"));
        }
        let comment = asked.comment.unwrap_or_default();
        if comment.chars().count() > COMMENT_CHARS_MAX {
            return Err(ApiError::invalid("comment", "Input is too long"));
        }
        let before: Option<Invite> = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM paegents_invites WHERE agent = ?1 AND email = ?2"
            ))?
            .query_row([&agent.id, &email], Invite::read)
            .optional()?;
        let mut invite = match before {
            Some(before) => before,
            None => Invite {
                id: fresh_id(db, &world, "inv")?,
                token: hex::encode(world.fresh(db, "paegents/invite")?),
                agent: agent.id,
                email,
                comment: String::new(),
                sent: 0,
                sent_at: now - BETWEEN_MS,
                expires_at: now,
                accepted_by: None,
                created_at: now,
            },
        };
        if invite.accepted_by.is_some() {
            return Err(ApiError::conflict("The invite is already accepted"));
        }
        if invite.sent >= SENDINGS_MAX {
            let detail = format!("A recipient is invited at most {SENDINGS_MAX} times");
            return Err(ApiError::conflict(detail));
        }
        let wait_ms = invite.sent_at + BETWEEN_MS - now;
        if wait_ms > 0 {
            return Ok(Outcome::TooSoon((wait_ms + 999) / 1_000));
        }
        invite.sent += 1;
        invite.sent_at = now;
        invite.expires_at = now + LIFE_MS;
        invite.comment = comment;
        invite.save(db)?;
        Ok(Outcome::Sent(invite.view(db, &world, now)?))
    })?;
    match outcome {
        Outcome::Sent(view) => Ok((StatusCode::CREATED, Json(view)).into_response()),
        Outcome::TooSoon(seconds) => {
            let detail = format!("The recipient was invited before; try again in {seconds} s");
            let mut response = ApiError::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            Ok(response)
        }
    }
}

/// `GET /invites`: the newest first.
pub(crate) async fn list(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let found: Vec<Invite> = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM paegents_invites WHERE agent = ?1 ORDER BY seq DESC"
            ))?
            .query_map([agent.id], Invite::read)?
            .collect::<rusqlite::Result<_>>()?;
        let views: Vec<Value> = found
            .iter()
            .map(|invite| invite.view(db, &world, now))
            .collect::<rusqlite::Result<_>>()?;
        Ok::<_, ApiError>(json!({ "invites": views }))
    })?)
}

/// `GET /invites/{token}`: whoever has the token may look.
pub(crate) async fn show(State(world): State<Arc<World>>, Path(token): Path<String>) -> Answer {
    ok(world.transact(|db, now| Ok::<_, ApiError>(by_token(db, &token)?.view(db, &world, now)?))?)
}

/// `POST /invites/{token}/accept`: by an owner, once.
pub(crate) async fn accept(
    State(world): State<Arc<World>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::owned(db, &headers)?;
        let mut invite = by_token(db, &token)?;
        match invite.status(now) {
            "expired" => {
                return Err(ApiError::new(StatusCode::GONE, "The invite has expired"));
            }
            "accepted" if invite.accepted_by.as_ref() != Some(&agent.id) => {
                return Err(ApiError::conflict("The invite is already accepted"));
            }
            _ => {}
        }
        invite.accepted_by = Some(agent.id.clone());
        invite.save(db)?;
        let mut view = invite.view(db, &world, now)?;
        if let Some(members) = view.as_object_mut() {
            members.insert("accepted_by_agent_id".to_owned(), json!(agent.id));
        }
        Ok(view)
    })?)
}
