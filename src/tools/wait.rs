//! Waiting for something at a marketplace to change: asked again and again, since events may be missed.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    app::App,
    error::{Code, Error},
    owner::Owner,
};

/// The pause before the second question; each further one is half as long again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A caller who waits.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    app: &'a App,
    owner: &'a Owner,
    since: Instant,
    length: Duration,
    pause: Duration,
    /// The last second that the caller was told of.
    told: u64,
}

impl<'a> Wait<'a> {
    /// Begins to wait for `seconds`, by default not at all.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`] where that is too long for this caller.
    pub(crate) fn begin(
        app: &'a App,
        owner: &'a Owner,
        seconds: Option<u64>,
    ) -> Result<Self, Error> {
        let seconds = owner.wait_seconds(seconds, 0)?;
        let (since, length) = (Instant::now(), Duration::from_secs(seconds));
        Ok(Self { app, owner, since, length, pause: PAUSE_MIN, told: 0 })
    }

    /// Pauses, then says whether to ask again; `false` at once where the time is over, the caller
    /// has gone or the program ends.
    pub(crate) async fn again(&mut self, what: &str) -> bool {
        let (left, stopping) =
            (self.length.saturating_sub(self.since.elapsed()), self.app.stopping());
        if left.is_zero() || self.owner.cancelled.is_cancelled() || stopping.is_cancelled() {
            return false;
        }
        let elapsed = self.since.elapsed().as_secs();
        if elapsed > self.told {
            self.told = elapsed;
            let seconds = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            self.owner.tell(seconds(elapsed), seconds(self.length.as_secs()), what).await;
        }
        tokio::select! {
            () = self.owner.cancelled.cancelled() => return false,
            () = stopping.cancelled() => return false,
            () = tokio::time::sleep(self.pause.min(left)) => {}
        }
        self.pause = (self.pause * 3 / 2).min(PAUSE_MAX);
        true
    }

    /// As [`Self::again`], after a question that failed: what may pass is asked again.
    pub(crate) async fn again_after(&mut self, error: &Error, what: &str) -> bool {
        let passes = matches!(error.code, Code::UpstreamUnavailable | Code::RateLimited);
        passes && self.again(what).await
    }
}
