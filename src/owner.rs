//! The owner behind a call, and how to ask them. How each protocol version asks is known here alone.
//!
//! Invariants: an answer that cannot be read is a no; a sealed question is answered once, by the
//! caller it was put to, for the purchase it names; that a person was sent to the owner's page is no
//! answer: that is given there.

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
/// What comes back with the call of who was sent to the owner's page. It says nothing that is believed.
const SENT: &str = "page";
/// How long the news of progress waits for a caller who does not read.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a waiting caller hears of it.
const TELL_EVERY: Duration = Duration::from_secs(1);
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
    page: Option<String>,
    peer: Peer<RoleServer>,
    progress: Option<ProgressToken>,
}

/// How this caller can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asks {
    /// By a result that requires input (2026-07-28), and not by a request to the client (before).
    by_result: bool,
    /// The client shows forms.
    forms: bool,
    /// The client sends people to addresses.
    addresses: bool,
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
    /// The person was sent to the owner's page, where they answer.
    SentToPage,
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
    ///
    /// `page` is where the owner's page is, where this program serves one.
    pub fn of_call<S>(
        principal: &str,
        page: Option<String>,
        call: &mut ToolCallContext<'_, S>,
    ) -> Self {
        let request = &call.request_context;
        let elicits = request.client_capabilities().and_then(|it| it.elicitation);
        let asks = Asks {
            by_result: request
                .protocol_version()
                .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28),
            forms: elicits.as_ref().is_some_and(|it| it.form.is_some() || it.url.is_none()),
            addresses: elicits.as_ref().is_some_and(|it| it.url.is_some()),
        };
        Self {
            principal: principal.to_owned(),
            cancelled: request.ct.clone(),
            progress: request.meta.get_progress_token(),
            peer: request.peer.clone(),
            state: call.request_state.take(),
            answers: call.input_responses.take(),
            asks,
            page,
        }
    }

    /// Whether this caller can be asked by a form.
    #[must_use]
    pub const fn can_ask(&self) -> bool {
        self.asks.forms
    }

    /// Whether this caller can be sent to the owner's page. One who was is not sent again.
    #[must_use]
    pub fn can_be_sent(&self) -> bool {
        self.asks.addresses && self.page.is_some() && !self.was_sent()
    }

    /// Whether this call comes again after its caller was sent to the owner's page.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.state.as_deref() == Some(SENT)
    }

    /// The address on the owner's page of something that waits for their word, where there is one.
    #[must_use]
    pub fn address_of(&self, kind: &str, id: &str) -> Option<String> {
        self.page.as_ref().map(|page| format!("{page}/{kind}/{id}"))
    }

    /// How long a person is waited for who was sent to the owner's page.
    #[must_use]
    pub const fn word_timeout(&self) -> Duration {
        if self.has_progress() { ANSWER_TIMEOUT } else { Duration::from_secs(WAIT_SECONDS_MAX) }
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

    /// Tells the caller how far it is, if they want to hear it. Who does not read is not waited for.
    pub async fn tell(&self, step: u32, of: u32, message: &str) {
        if let Some(token) = self.progress.clone() {
            let progress = ProgressNotificationParam::new(token, f64::from(step))
                .with_total(f64::from(of))
                .with_message(message.to_owned());
            let told = self.peer.notify_progress(progress);
            let _ = tokio::time::timeout(TELL_TIMEOUT, told).await;
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
        if !self.asks.forms {
            return Ok(Asked::CannotAsk);
        }
        if self.asks.by_result {
            let requested_schema = ElicitationSchema::from_type::<Approve>()
                .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            let form = ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: question,
                requested_schema,
            };
            return Ok(later(form, sealed));
        }
        let asked = self.peer.elicit_with_timeout::<Approve>(question, Some(ANSWER_TIMEOUT));
        tokio::select! {
            // Nobody has answered.
            () = self.cancelled.cancelled() => Ok(Asked::CannotAsk),
            answer = asked => Ok(match answer {
                Ok(Some(Approve { approve: true })) => Asked::Yes,
                Ok(_) | Err(ElicitationError::UserDeclined | ElicitationError::UserCancelled) => {
                    Asked::No
                }
                Err(error) => {
                    tracing::warn!(%error, "the client could not ask");
                    Asked::CannotAsk
                }
            }),
        }
    }

    /// Sends the person to where a purchase is on the owner's page. What they answer, they answer
    /// there.
    pub async fn send_to_page(&self, question: String, id: &str) -> Asked {
        let Some(url) = self.address_of("purchases", id) else { return Asked::CannotAsk };
        if self.asks.by_result {
            let address = ElicitRequestParams::UrlElicitationParams {
                meta: None,
                message: question,
                url,
                // Removed by that revision.
                elicitation_id: String::new(),
            };
            return later(address, SENT.to_owned());
        }
        let Ok(url) = url.parse::<url::Url>() else { return Asked::CannotAsk };
        let asked = self.peer.elicit_url_with_timeout(question, url, id, Some(ANSWER_TIMEOUT));
        tokio::select! {
            () = self.cancelled.cancelled() => Asked::CannotAsk,
            answer = asked => match answer {
                Ok(ElicitationAction::Accept) => Asked::SentToPage,
                Ok(_) => Asked::CannotAsk,
                Err(error) => {
                    tracing::warn!(%error, "the client could not send anybody to the page");
                    Asked::CannotAsk
                }
            },
        }
    }

    /// Waits for something, and tells the caller every second how long it has taken.
    pub async fn telling<T>(&self, what: &str, most: Duration, work: impl Future<Output = T>) -> T {
        let begun = tokio::time::Instant::now();
        let mut ticks = tokio::time::interval_at(begun + TELL_EVERY, TELL_EVERY);
        let mut work = std::pin::pin!(work);
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    let elapsed = begun.elapsed();
                    self.tell(seconds(elapsed), seconds(most.max(elapsed)), what).await;
                }
            }
        }
    }
}

/// A question that goes out as the call's result.
fn later(question: ElicitRequestParams, sealed: String) -> Asked {
    let mut requests = InputRequests::new();
    requests.insert(QUESTION.into(), InputRequest::Elicitation(ElicitRequest::new(question)));
    Asked::Later(Box::new(InputRequiredResult::new(Some(requests), Some(sealed))))
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
