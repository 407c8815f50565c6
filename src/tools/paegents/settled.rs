//! What becomes of a write whose answer was lost, or that was refused for the state it met.

use crate::{
    error::{Code, Error},
    marketplaces::Marketplace,
    recovery::NextAction,
};

/// Whether a failed write has to be looked after: it may have been carried out, or had been before.
pub(super) fn is_open(error: &Error) -> bool {
    !error.repeat_safe || matches!(error.code, Code::WrongState | Code::Conflict)
}

/// A write that was not carried out, as reading showed. The same call reads first, so that making it
/// again is harmless.
pub(super) fn undone(error: &Error, what: &str) -> Error {
    again(error, format!("{error}; {what} stands as it was"))
}

/// A write that may have been carried out, and is harmless when it is made again.
pub(super) fn harmless(error: &Error) -> Error {
    if error.repeat_safe { error.clone() } else { again(error, error.to_string()) }
}

fn again(error: &Error, message: String) -> Error {
    Error::new(error.code, message)
        .at(Marketplace::Paegents)
        .upstream(error.http_status, error.upstream_code.clone())
        .recovery(|recovery| {
            recovery.set(NextAction::Retry, true, "Make the same call again; it is harmless.");
            recovery.wait(error.recovery.retry_after_seconds.unwrap_or(5));
            recovery.upstream_untrusted.clone_from(&error.recovery.upstream_untrusted);
        })
}
