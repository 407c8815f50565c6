//! The operating system's keyring: one service name, text secrets by account.
//!
//! Each call runs on a thread of its own and is given up after [`KEYRING_SECONDS_MAX`], since a
//! keyring without a person in front of it may wait for one for ever.

use std::{sync::mpsc, thread, time::Duration};

use keyring::{Entry, Error};
use secrecy::{ExposeSecret as _, SecretString};

/// The service name of every entry of ours.
pub const SERVICE: &str = "haggle";
/// Seconds that a keyring may take to answer.
pub const KEYRING_SECONDS_MAX: u64 = 10;

/// Why the keyring gave or took nothing.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyringError {
    /// There is no keyring in this session, or it is locked, or it does not answer.
    #[error("the keyring of the operating system is not available: {reason}")]
    Unavailable {
        /// In our words.
        reason: &'static str,
    },
    /// The keyring has no such entry.
    #[error("the keyring has no such entry")]
    Absent,
    /// There is an entry, but not a text of ours.
    #[error("the keyring's entry is not readable, or there are several")]
    Unreadable,
}

/// The secret of an account.
///
/// # Errors
///
/// [`KeyringError::Absent`] where the keyring works and has none; the others as they say.
pub fn get(account: &str) -> Result<SecretString, KeyringError> {
    ask(account, |entry| entry.get_password().map(SecretString::from))
}

/// Keeps a secret, in place of an earlier one of that account.
///
/// # Errors
///
/// [`KeyringError::Unavailable`] or [`KeyringError::Unreadable`].
pub fn set(account: &str, secret: &SecretString) -> Result<(), KeyringError> {
    let secret = secret.clone();
    ask(account, move |entry| entry.set_password(secret.expose_secret()))
}

/// Forgets a secret.
///
/// # Errors
///
/// [`KeyringError::Absent`] where there is none; the others as they say.
pub fn delete(account: &str) -> Result<(), KeyringError> {
    ask(account, Entry::delete_credential)
}

fn ask<T: Send + 'static>(
    account: &str,
    question: impl FnOnce(&Entry) -> keyring::Result<T> + Send + 'static,
) -> Result<T, KeyringError> {
    let account = account.to_owned();
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let answer = Entry::new(SERVICE, &account).and_then(|entry| question(&entry));
        // Nobody listens any more after the time limit.
        drop(sender.send(answer.map_err(|error| meaning(&error))));
    };
    thread::Builder::new()
        .name("keyring".into())
        .spawn(work)
        .map_err(|_| KeyringError::Unavailable { reason: "no thread to ask it from" })?;
    receiver
        .recv_timeout(Duration::from_secs(KEYRING_SECONDS_MAX))
        .unwrap_or(Err(KeyringError::Unavailable { reason: "it did not answer within 10 s" }))
}

/// What an error of the keyring's means. Its text is dropped: it may quote what is stored.
fn meaning(error: &Error) -> KeyringError {
    match error {
        Error::NoEntry => KeyringError::Absent,
        Error::NoDefaultStore => KeyringError::Unavailable { reason: "none runs in this session" },
        Error::NoStorageAccess(_) => KeyringError::Unavailable { reason: "it is locked" },
        Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::Ambiguous(_) => {
            KeyringError::Unreadable
        }
        _ => KeyringError::Unavailable { reason: "it failed" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_an_error_means_and_nothing_of_what_is_stored() {
        #[rustfmt::skip]
        let rows = [
            // what it shows    the keyring's                              ours
            ("no entry",        Error::NoEntry,                            "no such entry"),
            ("no keyring",      Error::NoDefaultStore,                     "none runs"),
            ("locked",          Error::NoStorageAccess("no".into()),       "locked"),
            ("bytes",           Error::BadEncoding(b"sekret".to_vec()),    "not readable"),
            ("broken",          Error::PlatformFailure("sekret".into()),   "it failed"),
        ];
        for (row, theirs, ours) in rows {
            let shown = meaning(&theirs).to_string();
            assert!(shown.contains(ours) && !shown.contains("sekret"), "{row}: {shown}");
        }
    }

    /// By hand, in a session without a keyring: `cargo test -- --ignored without_a_keyring`.
    #[test]
    #[ignore = "would touch a real keyring where there is one"]
    fn without_a_keyring_the_answer_is_quick() {
        let begun = std::time::Instant::now();
        let answer = get("no-such-account");
        assert!(matches!(answer, Err(KeyringError::Unavailable { .. })), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}
