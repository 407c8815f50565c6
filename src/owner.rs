//! The owner behind a call, and how to ask them. How each protocol version asks is known here alone.
//!
//! Invariants: an answer that cannot be read is a no; a sealed question is answered once, by the
//! caller it was put to, for the purchase it names.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    handler::server::tool::{IntoCallToolResult, ToolCallContext},
    model::{
        CallToolResponse, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationSchema, InputRequest, InputRequests, InputRequiredResult, InputResponses,
        ProgressNotificationParam, ProgressToken, ProtocolVersion,
    },
    service::{ElicitationError, Peer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How long a person is waited for, where the protocol keeps the call open.
pub const ANSWER_TIMEOUT: Duration = Duration::from_mins(4);
const QUESTION: &str = "approve";
/// The longest that a tool waits for something to happen, in seconds.
const WAIT_SECONDS_MAX: u64 = 50;
/// As long for a caller who hears of progress, in seconds.
const WAIT_SECONDS_MAX_WITH_PROGRESS: u64 = 600;

/// Who calls, whether they can be asked, and what they answered.
#[derive(Debug)]
pub struct Owner {
    /// The name of the caller's principal.
    pub principal: String,
    /// Fires when the caller no longer waits.
    pub cancelled: CancellationToken,
    /// The sealed question that comes back with an answer.
    pub state: Option<String>,
    answers: Option<InputResponses>,
    asks: Asks,
    peer: Peer<RoleServer>,
    progress: Option<ProgressToken>,
}

/// How this caller can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// By a result that requires input (2026-07-28).
    ByResult,
    /// By a request to the client (before).
    ByRequest,
    /// Not at all.
    Never,
}

/// What asking led to.
#[derive(Debug)]
pub enum Asked {
    /// The owner said yes.
    Yes,
    /// The owner said no, or nothing that can be read as a yes.
    No,
    /// The question goes out as the call's result; the call comes again with the answer.
    Later(Box<InputRequiredResult>),
    /// This client cannot ask.
    CannotAsk,
}

/// The form that the owner fills in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Approve {
    /// Pay this.
    pub approve: bool,
}
rmcp::elicit_safe!(Approve);

impl Owner {
    /// The owner behind this call of a principal.
    pub fn of_call<S>(principal: &str, call: &mut ToolCallContext<'_, S>) -> Self {
        let request = &call.request_context;
        let modern = request.protocol_version().is_some_and(|v| v >= ProtocolVersion::V_2026_07_28);
        let form = request
            .client_capabilities()
            .and_then(|capabilities| capabilities.elicitation)
            .is_some_and(|elicitation| elicitation.form.is_some() || elicitation.url.is_none());
        let asks = match (form, modern) {
            (false, _) => Asks::Never,
            (true, true) => Asks::ByResult,
            (true, false) => Asks::ByRequest,
        };
        Self {
            principal: principal.to_owned(),
            cancelled: request.ct.clone(),
            progress: request.meta.get_progress_token(),
            peer: request.peer.clone(),
            state: call.request_state.take(),
            answers: call.input_responses.take(),
            asks,
        }
    }

    /// Whether this caller can be asked at all.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.asks != Asks::Never
    }

    /// Whether the caller wants to hear of progress, and so waits longer.
    #[must_use]
    pub const fn has_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// How many seconds this caller may be kept waiting: those asked for, else `default`.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`](crate::error::Code::InvalidArgument) where that is too long.
    pub fn wait_seconds(&self, asked: Option<u64>, default: u64) -> Result<u64, Error> {
        let most =
            if self.has_progress() { WAIT_SECONDS_MAX_WITH_PROGRESS } else { WAIT_SECONDS_MAX };
        let seconds = asked.unwrap_or(default);
        if seconds > most {
            return Err(Error::argument("wait_seconds", format!("must be 0 to {most}"), "45"));
        }
        Ok(seconds)
    }

    /// Tells the caller how far it is, if they want to hear it.
    pub async fn tell(&self, step: u32, of: u32, message: &str) {
        if let Some(token) = self.progress.clone() {
            let progress = ProgressNotificationParam::new(token, f64::from(step))
                .with_total(f64::from(of))
                .with_message(message.to_owned());
            let _ = self.peer.notify_progress(progress).await;
        }
    }

    /// Whether the answer that came with this call is a yes.
    #[must_use]
    pub fn said_yes(&self) -> bool {
        let answer = self.answers.as_ref().and_then(|answers| answers.get(QUESTION).cloned());
        let answer = answer.and_then(|value| serde_json::to_value(value).ok());
        answer.and_then(|value| serde_json::from_value::<ElicitResult>(value).ok()).is_some_and(
            |result| {
                result.action == ElicitationAction::Accept
                    && result
                        .content
                        .as_ref()
                        .and_then(|content| content.get("approve"))
                        .and_then(serde_json::Value::as_bool)
                        == Some(true)
            },
        )
    }

    /// Puts a question to the owner. `sealed` comes back with the answer where it is given later.
    ///
    /// # Errors
    ///
    /// Where the form cannot be built, which is a fault of this program.
    pub async fn ask(&self, question: String, sealed: String) -> Result<Asked, ErrorData> {
        match self.asks {
            Asks::Never => Ok(Asked::CannotAsk),
            Asks::ByResult => {
                let requested_schema = ElicitationSchema::from_type::<Approve>()
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
                let form = ElicitRequestParams::FormElicitationParams {
                    meta: None,
                    message: question,
                    requested_schema,
                };
                let mut requests = InputRequests::new();
                requests
                    .insert(QUESTION.into(), InputRequest::Elicitation(ElicitRequest::new(form)));
                Ok(Asked::Later(Box::new(InputRequiredResult::new(Some(requests), Some(sealed)))))
            }
            Asks::ByRequest => {
                let asked =
                    self.peer.elicit_with_timeout::<Approve>(question, Some(ANSWER_TIMEOUT));
                tokio::select! {
                    () = self.cancelled.cancelled() => Ok(Asked::No),
                    answer = asked => Ok(match answer {
                        Ok(Some(Approve { approve: true })) => Asked::Yes,
                        Ok(_)
                        | Err(ElicitationError::UserDeclined | ElicitationError::UserCancelled) => {
                            Asked::No
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the client could not ask");
                            Asked::CannotAsk
                        }
                    }),
                }
            }
        }
    }
}

/// A tool that may have to ask: done, or the question.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// The owner has to answer first.
    Ask(Box<InputRequiredResult>),
}

impl<T: IntoCallToolResult> IntoCallToolResult for Outcome<T> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Done(value) => value.into_call_tool_result(),
            Self::Ask(question) => Ok((*question).into()),
        }
    }
}
