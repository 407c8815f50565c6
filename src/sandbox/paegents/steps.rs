//! What happens by the clock: each part plans its steps here and carries them out itself.
//!
//! A step is planned when its cause happens and carried out at its own time, whenever somebody
//! looks. The steps of all parts run in the order of their times. A step that no longer fits the
//! state of its subject does nothing.

use rusqlite::{Connection, OptionalExtension, params};

use crate::sandbox::{
    Pace,
    paegents::{escrow, lifecycle, pay},
    world::World,
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, part TEXT NOT NULL,
    task TEXT NOT NULL, subject TEXT NOT NULL);
CREATE INDEX paegents_due ON paegents_steps (at, seq);
";

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Agreements, and what built-in agents do about them.
    Agreements,
    /// Activation and settlement.
    Escrow,
    /// Payments outside of agreements.
    Pay,
}

impl Part {
    const ALL: [Self; 3] = [Self::Agreements, Self::Escrow, Self::Pay];

    fn as_str(self) -> &'static str {
        match self {
            Self::Agreements => "agreements",
            Self::Escrow => "escrow",
            Self::Pay => "pay",
        }
    }
}

/// How long a step takes in milliseconds: 300 at fast pace, otherwise `real_ms`.
pub(crate) fn step_ms(world: &World, real_ms: i64) -> i64 {
    match world.pace {
        Pace::Fast => 300,
        Pace::Real => real_ms,
    }
}

/// Plans a step at `at`; `task` and `subject` are the part's own words.
pub(crate) fn plan(
    db: &Connection,
    at: i64,
    part: Part,
    (task, subject): (&str, &str),
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_steps (at, part, task, subject) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![at, part.as_str(), task, subject])?;
    Ok(())
}

/// Carries out what is due at `now`, in the order of its time.
///
/// First the platform reads what others did on the chain, because steps follow from that.
pub(crate) fn settle(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    escrow::watch(db, world)?;
    loop {
        let due: Option<(i64, i64, String, String, String)> = db
            .prepare_cached(
                "SELECT seq, at, part, task, subject FROM paegents_steps WHERE at <= ?1
                 ORDER BY at, seq LIMIT 1",
            )?
            .query_row([now], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let Some((seq, at, part, task, subject)) = due else { return Ok(()) };
        db.prepare_cached("DELETE FROM paegents_steps WHERE seq = ?1")?.execute([seq])?;
        let step = (task.as_str(), subject.as_str());
        match Part::ALL.into_iter().find(|known| known.as_str() == part) {
            Some(Part::Agreements) => lifecycle::carry_out(db, world, at, step)?,
            Some(Part::Escrow) => escrow::carry_out(db, world, at, step)?,
            Some(Part::Pay) => pay::carry_out(db, world, at, step)?,
            None => {}
        }
    }
}
