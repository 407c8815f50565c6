//! Who is signed in.
//!
//! A session is 32 random bytes in a cookie; what is kept of it is a hash. The token that its forms
//! carry is derived from it, so it is kept nowhere. Both are gone when the program ends.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

/// How long a session lasts.
const SESSION_MAX: Duration = Duration::from_hours(12);
/// How long it lasts without a request.
const IDLE_MAX: Duration = Duration::from_hours(1);
/// How many there are at a time; the one that was used longest ago makes room.
const SESSIONS_MAX: usize = 16;

/// The sessions of a page.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// By the SHA-256 of what the cookie holds.
    open: Mutex<HashMap<[u8; 32], Times>>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    begun: Instant,
    used: Instant,
}

impl Times {
    fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) < SESSION_MAX
            && now.saturating_duration_since(self.used) < IDLE_MAX
    }
}

impl Sessions {
    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Times>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session and gives what its cookie holds.
    ///
    /// # Errors
    ///
    /// Where the operating system has no random bytes.
    pub(super) fn begin(&self, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let value = hex::encode(bytes);
        let mut open = self.open();
        open.retain(|_, times| times.is_live(now));
        if open.len() >= SESSIONS_MAX {
            let idle = open.iter().min_by_key(|(_, times)| times.used).map(|(hash, _)| *hash);
            idle.and_then(|hash| open.remove(&hash));
        }
        open.insert(hash(&value), Times { begun: now, used: now });
        Ok(value)
    }

    /// Whether a cookie holds a session that lasts; it is used by that.
    pub(super) fn is_open(&self, value: &str, now: Instant) -> bool {
        let (hash, mut open) = (hash(value), self.open());
        match open.get_mut(&hash) {
            Some(times) if times.is_live(now) => {
                times.used = now;
                true
            }
            Some(_) => {
                open.remove(&hash);
                false
            }
            None => false,
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, value: &str) {
        self.open().remove(&hash(value));
    }
}

fn hash(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// The token that the forms of a session carry. Whoever has no cookie cannot make it.
pub(super) fn form_token(value: &str) -> String {
    hex::encode(Sha256::new().chain_update("the owner's forms\n").chain_update(value).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_ends_when_it_is_old_or_idle_or_left() {
        #[rustfmt::skip]
        let rows = [
            // what it shows            used after, in minutes      at the end
            ("used in time",            vec![59, 118, 177],         true),
            ("idle for an hour",        vec![60],                   false),
            ("idle later",              vec![30, 91],               false),
            ("never idle, but old",     (1..=14).map(|n| n * 52).collect(), false),
            ("nearly old",              (1..=13).map(|n| n * 55).collect(), true),
        ];
        for (row, minutes, open) in rows {
            let (sessions, start) = (Sessions::default(), Instant::now());
            let value = sessions.begin(start).unwrap();
            let mut last = false;
            for minute in minutes {
                last = sessions.is_open(&value, start + minute * 60 * SECOND);
            }
            assert_eq!(last, open, "{row}");
        }
        let (sessions, start) = (Sessions::default(), Instant::now());
        let value = sessions.begin(start).unwrap();
        sessions.end(&value);
        assert!(!sessions.is_open(&value, start));
        assert!(!sessions.is_open("", start));
    }

    #[test]
    fn what_is_kept_opens_nothing() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let value = sessions.begin(now).unwrap();
        let kept = format!("{sessions:?}");
        assert!(!kept.contains(&value) && !kept.contains(&form_token(&value)));
        assert_eq!(value.len(), 64);
        assert_ne!(form_token(&value), form_token(&sessions.begin(now).unwrap()));
        assert_eq!(form_token(&value).len(), 64);
    }

    #[test]
    fn there_is_room_for_a_new_session() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let begin = |n: usize| sessions.begin(start + u32::try_from(n).unwrap() * SECOND).unwrap();
        let all: Vec<String> = (0..=SESSIONS_MAX).map(begin).collect();
        let now = start + 60 * SECOND;
        assert!(!sessions.is_open(&all[0], now));
        assert!(all[1..].iter().all(|value| sessions.is_open(value, now)));
    }
}
