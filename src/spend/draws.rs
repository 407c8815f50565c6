//! The gate for draws: metered calls that use up an escrow which was approved and paid. They need no
//! approval and no budget of their own, and they are journaled like payments.
//!
//! Invariants:
//!
//! 1. A call leaves only with its line on disk, is sent once, and carries the line's id as its nonce.
//! 2. An agreement has one open draw; the next call waits until it is known what the last one drew.
//! 3. What a call drew is what the platform's count says, never what the answer says. A count that
//!    has not moved proves only after [`HORIZON_SECONDS`] that a lost call drew nothing.

mod refusals;

use std::time::Duration;

use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use super::{random, reserve::stopped};
use crate::{
    access::Access,
    error::{Code, Error, MoneyMoved},
    ids::{AgreementId, PurchaseId},
    journal::draws::{self, Draw, DrawState},
    marketplaces::{
        Marketplace,
        http::{Answer, Effect, Lost},
        paegents::{
            Paegents,
            metered::{CALL, CallMethod, CallPath, GetUsage, MeteredCall, Usage},
        },
    },
    store::leases::Lease,
};

pub use refusals::{call_of, same_call};

/// How long after its answer was lost a call that the count does not show is believed to have drawn
/// nothing: as long as a request may take.
pub const HORIZON_SECONDS: i64 = 120;
/// How long after its end a call that changes something counts as the same one.
const SAME_SECONDS: i64 = 600;
/// When the count is read after a call: a request whose answer was lost may still be under way.
const LOOKS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// A call that somebody wants made.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// Who.
    pub principal: String,
    /// What it draws on.
    pub agreement_id: AgreementId,
    /// How the service is called.
    pub method: CallMethod,
    /// Where.
    pub path: CallPath,
    /// With what JSON.
    pub body: Option<Vec<u8>>,
    /// Whether the same call is wanted once more.
    pub again: bool,
    /// Whether it may go beyond the owner's soft stop.
    pub beyond_soft_stop: bool,
}

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// It.
    pub draw: Draw,
    /// How far the agreement is used up; `None` where that cannot be read just now.
    pub usage: Option<Usage>,
    /// Whether this is an earlier call's answer: nothing was sent now.
    pub repeated: bool,
}

/// Makes a call, or gives the answer of the same one that was made a moment ago.
///
/// # Errors
///
/// Whatever stops it, with what is known of the units: [`Code::PaymentUnknown`] where a call's
/// answer is lost and the count does not tell yet, [`Code::PaidNotDelivered`] where it drew and its
/// answer is lost for good, [`Code::WrongState`] where the agreement cannot be drawn on or the soft
/// stop is reached, [`Code::Frozen`] while the owner has stopped spending.
pub async fn make(access: &Access, request: &CallRequest) -> Result<Drawn, Error> {
    let paegents = access.paegents().await?;
    paegents.agent()?;
    let Some(_turn) = turn(access, &request.agreement_id, true).await? else {
        return Err(refusals::busy(request));
    };
    let (usage, earlier) = look(access, &paegents, &request.agreement_id).await?;
    let wanted = line(request, usage.units_used, access.clock().now())?;
    if let Some(earlier) = earlier {
        let is_same = earlier.is_same(&wanted);
        let is_repetition = is_same && !request.again;
        match earlier.state {
            DrawState::Lost | DrawState::Sent => {
                return Err(refusals::unknown(&earlier, request, is_same, access.clock().now()));
            }
            DrawState::Undelivered if is_repetition => {
                return Err(refusals::undelivered(&earlier, Some(&usage)));
            }
            DrawState::Undelivered | DrawState::Answered | DrawState::Done | DrawState::Void => {}
        }
    }
    if let Some(recent) = repeated(access, request, &wanted).await? {
        return match recent.state {
            DrawState::Done => Ok(Drawn { draw: recent, usage: Some(usage), repeated: true }),
            _ => Err(refusals::undelivered(&recent, Some(&usage))),
        };
    }
    drawable(access, &paegents, request, &usage).await?;
    let kept_since = wanted.at - SAME_SECONDS;
    let opened = wanted.clone();
    let written = access.store().transact(move |db| {
        stopped(db)?;
        draws::open(db, &opened, kept_since)
    });
    written.await.map_err(|error| error.at(Marketplace::Paegents))?;
    let call = MeteredCall {
        agreement_id: &request.agreement_id,
        method: request.method,
        path: &request.path,
        nonce: &wanted.id,
        body: request.body.as_deref(),
    };
    let sent = call.send(&paegents).await;
    Made { access, paegents: &paegents, request, draw: wanted }.conclude(sent).await
}

/// How far an agreement is used up, and its last draw. What became of an open one is found out as
/// far as it can be.
///
/// # Errors
///
/// As sending an operation; where the store fails.
pub async fn usage(
    access: &Access,
    agreement_id: &AgreementId,
) -> Result<(Usage, Option<Draw>), Error> {
    let paegents = access.paegents().await?;
    paegents.agent()?;
    // A call that is under way is not judged: its own task does that.
    let turn = turn(access, agreement_id, false).await?;
    let usage = match &turn {
        Some(_) => look(access, &paegents, agreement_id).await?.0,
        None => read(&paegents, agreement_id).await?,
    };
    let id = agreement_id.clone();
    let last = access.store().with(move |db| draws::last_of(db, &id)).await?;
    Ok((usage, last))
}

/// From when on it is certain whether a lost call drew.
#[must_use]
pub fn certain_at(draw: &Draw) -> i64 {
    draw.lost_at.unwrap_or(draw.at).saturating_add(HORIZON_SECONDS)
}

/// The right to draw on an agreement, among all processes of the store.
async fn turn(
    access: &Access,
    agreement_id: &AgreementId,
    waits: bool,
) -> Result<Option<Lease>, Error> {
    let (name, holder) =
        (format!("draw:{agreement_id}"), PurchaseId::from_random(random()?).to_string());
    let taken = if waits {
        Lease::wait(access.store(), &name, &holder).await
    } else {
        Lease::take(access.store(), &name, &holder).await
    };
    // Where the store fails, an earlier call may have drawn.
    taken.map_err(|error| error.at_least(MoneyMoved::Maybe))
}

/// The platform's count.
async fn read(paegents: &Paegents, agreement_id: &AgreementId) -> Result<Usage, Error> {
    let nonce = uuid(random()?);
    let usage = paegents.metered().send(&GetUsage { agreement_id, nonce: &nonce }).await;
    let usage = usage.map_err(refusals::not_there)?;
    if usage.agreement_id == *agreement_id {
        return Ok(usage);
    }
    let message = format!("Paegents answered for {agreement_id} with another agreement");
    Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents))
}

/// The count, and the draw that was open, as the count settles it. Only who has the turn may ask.
async fn look(
    access: &Access,
    paegents: &Paegents,
    agreement_id: &AgreementId,
) -> Result<(Usage, Option<Draw>), Error> {
    let id = agreement_id.clone();
    let open = access.store().with(move |db| draws::open_of(db, &id)).await;
    let open = open.map_err(|error| error.at_least(MoneyMoved::Maybe))?;
    let usage = read(paegents, agreement_id).await;
    let Some(open) = open else { return Ok((usage?, None)) };
    let usage = usage.map_err(|error| error.at_least(MoneyMoved::Maybe))?;
    let settled = settled(open, &usage, access.clock().now());
    keep(access, &settled).await?;
    Ok((usage, Some(settled)))
}

/// What the count says of a draw of which nobody works any more.
fn settled(mut draw: Draw, usage: &Usage, now: i64) -> Draw {
    let drawn = usage.units_used.saturating_sub(draw.units_before);
    match draw.state {
        DrawState::Answered => end(draw, DrawState::Done, drawn, now),
        DrawState::Sent | DrawState::Lost if drawn > 0 => {
            end(draw, DrawState::Undelivered, drawn, now)
        }
        // Its process is gone: the platform may still work on it.
        DrawState::Sent => {
            draw.state = DrawState::Lost;
            draw.lost_at = Some(now);
            draw
        }
        DrawState::Lost if now >= certain_at(&draw) => end(draw, DrawState::Void, 0, now),
        DrawState::Lost | DrawState::Done | DrawState::Undelivered | DrawState::Void => draw,
    }
}

fn end(mut draw: Draw, state: DrawState, units: u64, now: i64) -> Draw {
    draw.state = state;
    draw.units = Some(units);
    draw.ended_at = Some(now);
    draw
}

/// Writes down where a draw stands.
async fn keep(access: &Access, draw: &Draw) -> Result<(), Error> {
    let line = draw.clone();
    let kept = access.store().transact(move |db| draws::record(db, &line)).await;
    kept.map_err(|error| error.at_least(MoneyMoved::Maybe))
}

/// The same call where that was made a moment ago; none for what only reads.
async fn repeated(
    access: &Access,
    request: &CallRequest,
    wanted: &Draw,
) -> Result<Option<Draw>, Error> {
    if request.again || request.method == CallMethod::Get {
        return Ok(None);
    }
    let (like, since) = (wanted.clone(), wanted.at - SAME_SECONDS);
    let found = access.store().with(move |db| draws::recent(db, &like, since)).await;
    found.map_err(|error| error.at_least(MoneyMoved::Maybe))
}

/// Refuses where there is nothing to draw on, or only what the owner keeps back.
async fn drawable(
    access: &Access,
    paegents: &Paegents,
    request: &CallRequest,
    usage: &Usage,
) -> Result<(), Error> {
    if let Some(refused) = refusals::undrawable(paegents, usage).await {
        return Err(refused);
    }
    let percent = access.settings().paegents.soft_stop_percent;
    if !request.beyond_soft_stop && is_stopped(usage.units_used, usage.units_total, percent) {
        return Err(refusals::soft_stop(request, usage, percent));
    }
    Ok(())
}

/// Whether one unit more would be beyond the soft stop. The first unit never is.
fn is_stopped(used: u64, total: u64, percent: u8) -> bool {
    let after = u128::from(used) + 1;
    used > 0 && total > 0 && after * 100 > u128::from(total) * u128::from(percent)
}

/// A new line of the journal.
fn line(request: &CallRequest, units_before: u64, now: i64) -> Result<Draw, Error> {
    Ok(Draw {
        id: uuid(random()?),
        principal: request.principal.clone(),
        agreement_id: request.agreement_id.clone(),
        method: request.method.word().to_owned(),
        path: request.path.as_str().to_owned(),
        body_digest: hex::encode(Sha256::digest(request.body.as_deref().unwrap_or_default())),
        body: request.body.clone(),
        answer: None,
        units_before,
        units: None,
        state: DrawState::Sent,
        status: None,
        at: now,
        lost_at: None,
        ended_at: None,
    })
}

/// A random UUID. Source: RFC 9562 §5.4.
fn uuid(mut bytes: [u8; 16]) -> String {
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A call that has left, or could not.
struct Made<'a> {
    access: &'a Access,
    paegents: &'a Paegents,
    request: &'a CallRequest,
    draw: Draw,
}

/// What an answer says of the call by its status alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It was carried out.
    Done,
    /// Somebody refused it.
    Refused,
    /// Nothing: it may still be carried out.
    Nothing,
}

/// What a status says. One that a gateway in between may give says nothing about the platform, and
/// a collision may be one with this very request; what was only taken on may still be counted.
fn says(status: u16) -> Says {
    match status {
        202 | 408 | 409 | 425 | 499 | 500.. => Says::Nothing,
        200..=299 => Says::Done,
        _ => Says::Refused,
    }
}

impl Made<'_> {
    /// Finds out what the call drew, and writes it down.
    async fn conclude(mut self, sent: Result<Result<Answer, Lost>, Error>) -> Result<Drawn, Error> {
        let answer = match sent {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(lost @ (Lost::NotSent(_) | Lost::Tls(_)))) => {
                self.end(DrawState::Void, 0).await?;
                let error = self.paegents.api.lost(CALL, Effect::Read, &lost);
                return Err(error.next(same_call(self.request, "makes the call")));
            }
            Ok(Err(lost)) => {
                let error = self.paegents.api.lost(CALL, Effect::Read, &lost);
                tracing::debug!(operation = CALL, %error, "the count decides");
                None
            }
            Err(error) => {
                self.end(DrawState::Void, 0).await?;
                return Err(error);
            }
        };
        let said = answer.as_ref().map_or(Says::Nothing, |answer| says(answer.status.as_u16()));
        if let Some(answer) = &answer {
            self.draw.status = Some(answer.status.as_u16());
            self.draw.answer = Some(answer.body.clone());
        }
        if said == Says::Done {
            // On disk before anything else can fail: it is what was paid for.
            self.draw.state = DrawState::Answered;
            keep(self.access, &self.draw).await?;
        }
        let usage = self.counted(said).await;
        let drawn = usage.as_ref().map(|usage| self.drawn(usage));
        // A collision with an agreement that has ended is none with another request of this call.
        let is_over = usage.as_ref().is_some_and(|usage| !refusals::is_drawable(usage));
        let is_collision = answer.as_ref().is_some_and(|a| a.status == StatusCode::CONFLICT);
        let said = if is_over && is_collision { Says::Refused } else { said };
        match (said, drawn, answer) {
            (Says::Done, None, _) => Ok(Drawn { draw: self.draw, usage: None, repeated: false }),
            (Says::Done, Some(units), _) | (_, Some(units @ 1..), Some(_)) => {
                self.end(DrawState::Done, units).await?;
                Ok(Drawn { draw: self.draw, usage, repeated: false })
            }
            (_, Some(units @ 1..), None) => {
                self.end(DrawState::Undelivered, units).await?;
                Err(refusals::undelivered(&self.draw, usage.as_ref()))
            }
            (Says::Refused, Some(_), Some(answer)) => {
                self.end(DrawState::Void, 0).await?;
                Err(refusals::refused(self.paegents, self.request, &answer, usage.as_ref()).await)
            }
            (_, _, answer) => {
                // The clock may have been set while the call was under way.
                let _ = self.access.refresh_clock().await;
                let now = self.access.clock().now();
                self.draw.state = DrawState::Lost;
                self.draw.lost_at = Some(now);
                self.draw.answer = None;
                keep(self.access, &self.draw).await?;
                let error = refusals::unknown(&self.draw, self.request, true, now);
                Err(refusals::heard(error, self.paegents, answer.as_ref()))
            }
        }
    }

    fn drawn(&self, usage: &Usage) -> u64 {
        usage.units_used.saturating_sub(self.draw.units_before)
    }

    /// The count after the call: the first that can be read where the answer decides, else the first
    /// that has moved, else the last one.
    async fn counted(&self, said: Says) -> Option<Usage> {
        let mut last = None;
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            match read(self.paegents, &self.draw.agreement_id).await {
                Ok(usage) if said != Says::Nothing || self.drawn(&usage) > 0 => return Some(usage),
                Ok(usage) => last = Some(usage),
                Err(error) => tracing::debug!(operation = CALL, %error, "the count is unknown"),
            }
        }
        last
    }

    async fn end(&mut self, state: DrawState, units: u64) -> Result<(), Error> {
        self.draw = end(self.draw.clone(), state, units, self.access.clock().now());
        keep(self.access, &self.draw).await
    }
}

#[cfg(test)]
mod tests;
