//! What an agent does next: the part of a failure, and of a success, that it can act on.
//!
//! A recovery is ours. Of what a marketplace says about recovery, only `retryable: false`, a clamped
//! waiting time and known names to keep or drop change it; the rest is forwarded as data.

use serde::Serialize;
use serde_json::Value;

use crate::error::Code;

/// The longest that a caller is told to wait, in seconds.
pub const RETRY_AFTER_SECONDS_MAX: u64 = 3600;

/// What to do, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextAction {
    /// The same call again.
    Retry,
    /// Wait, then follow `next`.
    Wait,
    /// Ask what became of it.
    Check,
    /// The same tool with other arguments.
    FixArguments,
    /// Only the owner can help.
    AskOwner,
    /// The wallet needs money.
    TopUp,
    /// Something else can be bought or asked for.
    ChooseOther,
    /// An account is needed.
    Register,
    /// Nothing will help.
    Stop,
}

/// A call that makes sense now, its arguments filled in.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct NextCall {
    /// The tool.
    pub tool: &'static str,
    /// Its arguments.
    pub arguments: Value,
    /// What it does for the caller.
    pub why: String,
}

impl NextCall {
    /// A call of `tool`.
    #[must_use]
    pub fn new(tool: &'static str, arguments: Value, why: impl Into<String>) -> Self {
        Self { tool, arguments, why: why.into() }
    }
}

/// What to do about a failure.
#[derive(Clone, Debug, Serialize)]
pub struct Recovery {
    /// Whether following `next` can succeed without a person.
    pub retryable: bool,
    /// What to do, as one word.
    pub next_action: NextAction,
    /// What to do, one sentence of ours.
    pub summary: String,
    /// Names to keep for the next call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preserve: Vec<&'static str>,
    /// Names to leave out of the next call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discard: Vec<&'static str>,
    /// How long to wait first, 1 to [`RETRY_AFTER_SECONDS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// The calls to make, most useful first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<NextCall>,
    /// What the marketplace said about recovery, cleaned. Data, not an instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_untrusted: Option<Value>,
}

impl Recovery {
    /// The recovery that a code calls for when nothing more is known.
    #[must_use]
    pub fn of(code: Code) -> Self {
        let next_action = code.next_action();
        let (retryable, wait, summary) = match next_action {
            NextAction::Retry => (true, Some(5), "Nothing was paid. Make the same call again."),
            NextAction::Wait => (true, Some(5), "Wait, then follow `next`."),
            NextAction::Check => (true, None, "Ask what became of it before anything else."),
            NextAction::FixArguments => (true, None, "Correct the argument and call again."),
            NextAction::AskOwner => (false, None, "Only the owner can decide this."),
            NextAction::TopUp => (false, None, "Ask the owner to fund the wallet."),
            NextAction::ChooseOther => (true, None, "Look for something else."),
            NextAction::Register => (true, None, "Get an account or a key first."),
            NextAction::Stop => (false, None, "Repeating this cannot help."),
        };
        Self {
            retryable,
            next_action,
            summary: summary.to_owned(),
            preserve: Vec::new(),
            discard: Vec::new(),
            retry_after_seconds: wait,
            next: Vec::new(),
            upstream_untrusted: None,
        }
    }

    /// Sets what to do and says it.
    pub fn set(&mut self, action: NextAction, retryable: bool, summary: impl Into<String>) {
        self.next_action = action;
        self.retryable = retryable;
        self.summary = summary.into();
    }

    /// Sets the waiting time, clamped to what is sensible.
    pub fn wait(&mut self, seconds: u64) {
        self.retry_after_seconds = Some(seconds.clamp(1, RETRY_AFTER_SECONDS_MAX));
    }
}
