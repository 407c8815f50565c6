//! The sandbox's clock: the caller's time source plus an offset, never stepping back.
//!
//! Every delay and deadline of the sandbox is a comparison with this clock, so advancing it lets
//! them all pass at once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;

/// Where the time comes from: milliseconds since 1970.
pub type TimeSource = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock.
pub(crate) struct Clock {
    source: TimeSource,
    offset_ms: AtomicI64,
    latest_ms: AtomicI64,
}

impl Clock {
    /// A clock that runs `offset_ms` ahead of `source`.
    pub(crate) fn new(source: TimeSource, offset_ms: i64) -> Self {
        Self { source, offset_ms: AtomicI64::new(offset_ms), latest_ms: AtomicI64::new(0) }
    }

    /// Milliseconds since 1970, at least what was told before.
    pub(crate) fn now_ms(&self) -> i64 {
        let now = (self.source)().saturating_add(self.offset_ms.load(Ordering::SeqCst));
        self.latest_ms.fetch_max(now, Ordering::SeqCst).max(now)
    }

    /// How far ahead of its source it runs, in milliseconds.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::SeqCst)
    }

    /// Lets time pass; returns the new offset.
    pub(crate) fn advance(&self, by_ms: i64) -> i64 {
        self.offset_ms.fetch_add(by_ms, Ordering::SeqCst).saturating_add(by_ms)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("offset_ms", &self.offset_ms).finish_non_exhaustive()
    }
}

/// The instant as RFC 3339 text.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MIN).to_string()
}

/// The instant as an HTTP date.
pub(crate) fn http_date(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MIN);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_ahead_and_never_back() {
        let source = Arc::new(AtomicI64::new(5_000));
        let read = Arc::clone(&source);
        let clock = Clock::new(Arc::new(move || read.load(Ordering::SeqCst)), 100);
        assert_eq!(clock.now_ms(), 5_100);
        assert_eq!(clock.advance(900), 1_000);
        assert_eq!(clock.now_ms(), 6_000);
        source.store(1_000, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 6_000);
    }

    #[test]
    fn writes_instants() {
        assert_eq!(rfc3339(1_700_000_000_300), "2023-11-14T22:13:20.3Z");
        assert_eq!(http_date(1_700_000_000_300), "Tue, 14 Nov 2023 22:13:20 GMT");
    }
}
