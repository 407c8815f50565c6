//! Time: this machine's, or in sandbox mode the sandbox's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A clock that can be set against this machine's.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_s: Arc<AtomicI64>,
}

impl Clock {
    /// Unix seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        wall_ms() / 1000 + self.offset_s.load(Ordering::Relaxed)
    }

    /// Sets how far it is ahead of this machine's clock: the sandbox's can be advanced.
    pub fn set_offset(&self, seconds: i64) {
        self.offset_s.store(seconds, Ordering::Relaxed);
    }
}

/// This machine's time in Unix milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
pub fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// An instant as RFC 3339 in UTC, for people and models.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}
