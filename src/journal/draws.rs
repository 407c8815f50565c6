//! Draws: calls that use up what an escrow holds, each written down before it is sent.
//!
//! Invariants: an agreement has at most one open draw; what ended stays as it ended. Every function
//! runs in its caller's transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{ids::AgreementId, store::StoreError};

/// Where a draw stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawState {
    /// On disk as about to be sent, perhaps sent.
    Sent,
    /// No answer came; nobody knows yet whether it drew.
    Lost,
    /// The answer is here; what it drew is not known yet.
    Answered,
    /// The answer is here, and what it drew is known.
    Done,
    /// It drew, and its answer is lost.
    Undelivered,
    /// It drew nothing, and never will.
    Void,
}

impl DrawState {
    const ALL: [Self; 6] =
        [Self::Sent, Self::Lost, Self::Answered, Self::Done, Self::Undelivered, Self::Void];

    /// Its name in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Lost => "lost",
            Self::Answered => "answered",
            Self::Done => "done",
            Self::Undelivered => "undelivered",
            Self::Void => "void",
        }
    }

    /// Whether something about it is still to be found out.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Lost | Self::Answered)
    }
}

/// A call, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The nonce that goes with it, which is its name in the marketplace's ledger.
    pub id: String,
    /// Who asked for it.
    pub principal: String,
    /// What it draws on.
    pub agreement_id: AgreementId,
    /// The HTTP method.
    pub method: String,
    /// The path, without its first slash.
    pub path: String,
    /// The SHA-256 of the body, hex.
    pub body_digest: String,
    /// What was sent, for as long as it is kept.
    pub body: Option<Vec<u8>>,
    /// What came, for as long as it is kept.
    pub answer: Option<Vec<u8>>,
    /// What the agreement had used before it.
    pub units_before: u64,
    /// What it drew, once that is known.
    pub units: Option<u64>,
    /// Where it stands.
    pub state: DrawState,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// When it was written down, in Unix seconds.
    pub at: i64,
    /// When it was noticed that no answer would come.
    pub lost_at: Option<i64>,
    /// When nothing was left to find out.
    pub ended_at: Option<i64>,
}

impl Draw {
    /// Whether another is the same call.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |draw: &Self| (draw.agreement_id.clone(), draw.method.clone(), draw.path.clone());
        of(self) == of(other) && self.body_digest == other.body_digest
    }
}

const COLUMNS: &str = "id, principal, agreement_id, method, path, body_digest, body, answer,
    units_before, units, state, status, at, lost_at, ended_at";

fn corrupt(what: &str, value: &str) -> rusqlite::Error {
    let problem = format!("{what} {value:?}").into();
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, problem)
}

fn unsigned(units: i64) -> Result<u64, rusqlite::Error> {
    u64::try_from(units).map_err(|_| corrupt("units", &units.to_string()))
}

fn read(row: &Row<'_>) -> Result<Draw, rusqlite::Error> {
    let (agreement, state): (String, String) = (row.get("agreement_id")?, row.get("state")?);
    let named = DrawState::ALL.into_iter().find(|known| known.name() == state);
    Ok(Draw {
        id: row.get("id")?,
        principal: row.get("principal")?,
        agreement_id: agreement.parse().map_err(|_| corrupt("agreement", &agreement))?,
        method: row.get("method")?,
        path: row.get("path")?,
        body_digest: row.get("body_digest")?,
        body: row.get("body")?,
        answer: row.get("answer")?,
        units_before: unsigned(row.get("units_before")?)?,
        units: row.get::<_, Option<i64>>("units")?.map(unsigned).transpose()?,
        state: named.ok_or_else(|| corrupt("state", &state))?,
        status: row.get("status")?,
        at: row.get("at")?,
        lost_at: row.get("lost_at")?,
        ended_at: row.get("ended_at")?,
    })
}

fn one(
    db: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Draw>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM draws WHERE {condition}");
    Ok(db.prepare_cached(&sql)?.query_row(parameters, read).optional()?)
}

/// Writes a new draw down, and forgets what the agreement's earlier ones sent and received before
/// `kept_since`.
///
/// # Errors
///
/// Where the store fails, or the agreement has an open draw.
pub fn open(db: &Connection, draw: &Draw, kept_since: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE draws SET body = NULL, answer = NULL WHERE agreement_id = ?1 AND ended_at < ?2",
    )?
    .execute(params![draw.agreement_id.as_str(), kept_since])?;
    db.prepare_cached(&format!(
        "INSERT INTO draws ({COLUMNS}) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8, NULL, ?9, NULL, ?10, NULL, NULL)"
    ))?
    .execute(params![
        draw.id,
        draw.principal,
        draw.agreement_id.as_str(),
        draw.method,
        draw.path,
        draw.body_digest,
        draw.body,
        i64::try_from(draw.units_before).unwrap_or(i64::MAX),
        draw.state.name(),
        draw.at,
    ])?;
    Ok(())
}

/// Writes down what became of an open draw. One that has ended stays as it is.
///
/// # Errors
///
/// Where the store fails.
pub fn record(db: &Connection, draw: &Draw) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE draws SET answer = ?2, units = ?3, state = ?4, status = ?5, lost_at = ?6,
         ended_at = ?7 WHERE id = ?1 AND ended_at IS NULL",
    )?
    .execute(params![
        draw.id,
        draw.answer,
        draw.units.and_then(|units| i64::try_from(units).ok()),
        draw.state.name(),
        draw.status,
        draw.lost_at,
        draw.ended_at,
    ])?;
    Ok(())
}

/// The open draw of an agreement.
///
/// # Errors
///
/// Where the store fails.
pub fn open_of(db: &Connection, agreement: &AgreementId) -> Result<Option<Draw>, StoreError> {
    one(db, "agreement_id = ?1 AND ended_at IS NULL", params![agreement.as_str()])
}

/// The last draw of an agreement, open or not.
///
/// # Errors
///
/// Where the store fails.
pub fn last_of(db: &Connection, agreement: &AgreementId) -> Result<Option<Draw>, StoreError> {
    one(db, "agreement_id = ?1 ORDER BY at DESC, rowid DESC LIMIT 1", params![agreement.as_str()])
}

/// The last draw of the same call by the same principal that ended at `since` or later and drew, or
/// was answered.
///
/// # Errors
///
/// Where the store fails.
pub fn recent(db: &Connection, like: &Draw, since: i64) -> Result<Option<Draw>, StoreError> {
    one(
        db,
        "agreement_id = ?1 AND principal = ?2 AND method = ?3 AND path = ?4 AND body_digest = ?5
         AND ended_at >= ?6 AND state IN ('done', 'undelivered')
         ORDER BY ended_at DESC, rowid DESC LIMIT 1",
        params![
            like.agreement_id.as_str(),
            like.principal,
            like.method,
            like.path,
            like.body_digest,
            since
        ],
    )
}

/// All draws, the oldest first; of one agreement or of all.
///
/// # Errors
///
/// Where the store fails.
pub fn all(db: &Connection, of: Option<&AgreementId>) -> Result<Vec<Draw>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM draws WHERE ?1 IS NULL OR agreement_id = ?1 ORDER BY at, rowid"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![of.map(AgreementId::as_str)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn draw(id: &str, path: &str) -> Draw {
        Draw {
            id: id.to_owned(),
            principal: "local".to_owned(),
            agreement_id: "agr_1".parse().unwrap(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            body_digest: "d".to_owned(),
            body: Some(b"{}".to_vec()),
            answer: None,
            units_before: 3,
            units: None,
            state: DrawState::Sent,
            status: None,
            at: 100,
            lost_at: None,
            ended_at: None,
        }
    }

    fn ended(draw: &Draw, state: DrawState, at: i64) -> Draw {
        Draw {
            state,
            units: Some(1),
            ended_at: Some(at),
            answer: Some(b"1".to_vec()),
            ..draw.clone()
        }
    }

    #[test]
    fn an_agreement_has_one_open_draw_and_what_ended_stays() {
        let store = Store::at(tempfile::tempdir().unwrap().path().join("s.db"));
        let checked = store.with_blocking(|db| {
            let (first, second) = (draw("a", "x"), draw("b", "x"));
            open(db, &first, 0)?;
            assert!(open(db, &second, 0).is_err(), "two are open");
            assert_eq!(open_of(db, &first.agreement_id)?.unwrap(), first);
            assert!(recent(db, &second, 0)?.is_none(), "nothing has ended");
            let done = ended(&first, DrawState::Done, 110);
            record(db, &done)?;
            record(db, &ended(&first, DrawState::Void, 120))?;
            assert_eq!(last_of(db, &first.agreement_id)?.unwrap(), done);
            assert!(open_of(db, &first.agreement_id)?.is_none());
            assert_eq!(recent(db, &second, 110)?.unwrap(), done);
            assert!(recent(db, &second, 111)?.is_none(), "too long ago");
            assert!(recent(db, &draw("c", "y"), 0)?.is_none(), "another call");
            // The next one forgets what came of it, where that is old.
            open(db, &second, 110)?;
            assert!(recent(db, &second, 0)?.unwrap().answer.is_some());
            record(db, &ended(&second, DrawState::Void, 130))?;
            assert_eq!(recent(db, &second, 0)?.unwrap().id, "a", "what drew nothing is nothing");
            open(db, &draw("c", "x"), 111)?;
            let kept = recent(db, &second, 0)?.unwrap();
            assert_eq!((kept.answer, kept.body, kept.units), (None, None, Some(1)));
            assert_eq!(all(db, Some(&first.agreement_id))?.len(), 3);
            Ok(())
        });
        checked.unwrap();
    }

    #[test]
    fn every_state_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = DrawState::ALL.map(DrawState::name).into();
        assert_eq!(names.len(), DrawState::ALL.len());
    }
}
