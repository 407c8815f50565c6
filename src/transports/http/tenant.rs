//! A client of the HTTP server, with sessions and limits of its own: what one does is not heard of by
//! another, and a session's name is unknown to all but its own client.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use http_body_util::BodyExt as _;
use rmcp::{
    RoleServer, ServerHandler,
    model::{ClientRequest, GetExtensions as _},
    service::RxJsonRpcMessage,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    gate::Refused,
    legacy::Legacy,
    listen::{BODY_TIMEOUT, whole},
};
use crate::{
    answering::Answering, config::http::HttpSettings, credential::CredentialDigest,
    metrics::Metrics, transports::message,
};

/// The header that names a session of an earlier revision.
const SESSION_HEADER: &str = "mcp-session-id";

/// Who may call, and what serves them.
pub struct Tenant<H> {
    /// What their token has to match; `None`: none is asked for.
    pub token: Option<CredentialDigest>,
    /// Makes the handler of a new session.
    pub handler: Arc<dyn Fn() -> H + Send + Sync>,
}

impl<H> fmt::Debug for Tenant<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// A client that is served.
pub(super) struct Served<H: ServerHandler> {
    token: Option<CredentialDigest>,
    streamable: StreamableHttpService<H, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    legacy: Legacy<H>,
    /// One session is opened at a time, so that they are counted.
    opening: Mutex<()>,
    rate: DefaultDirectRateLimiter,
    in_flight: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    answering: TaskTracker,
    body_bytes_max: usize,
    sessions_max: usize,
}

impl<H: ServerHandler> Served<H> {
    /// A client with sessions that end when `ended` fires.
    pub(super) fn new(
        tenant: Tenant<H>,
        settings: &HttpSettings,
        metrics: Arc<Metrics>,
        answering: TaskTracker,
        ended: &CancellationToken,
    ) -> Self {
        let Tenant { token, handler } = tenant;
        // Who is let in was decided before, for all routes alike.
        let config = StreamableHttpServerConfig::default()
            .with_json_response(true)
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(settings.body_bytes_max)
            .with_cancellation_token(ended.child_token());
        let mut sessions = LocalSessionManager::default();
        let idle = Duration::from_secs(settings.session_idle_seconds);
        sessions.session_config.keep_alive = Some(idle);
        let (sessions, make) = (Arc::new(sessions), handler.clone());
        let per_minute = NonZeroU32::new(settings.requests_per_minute_max);
        Self {
            token,
            streamable: StreamableHttpService::new(move || Ok(make()), sessions.clone(), config),
            sessions,
            legacy: Legacy::new(handler, ended.clone()),
            opening: Mutex::new(()),
            rate: RateLimiter::direct(Quota::per_minute(per_minute.unwrap_or(NonZeroU32::MIN))),
            in_flight: Arc::new(Semaphore::new(settings.in_flight_max)),
            metrics,
            answering,
            body_bytes_max: settings.body_bytes_max,
            sessions_max: settings.sessions_max,
        }
    }

    /// Whether this is the client of a request without a token, or with this one.
    pub(super) fn is(&self, token: Option<&str>) -> bool {
        match (&self.token, token) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(digest), Some(token)) => digest.matches(token),
        }
    }

    /// How many sessions it has.
    pub(super) async fn sessions(&self) -> usize {
        self.sessions.sessions.read().await.len() + self.legacy.sessions()
    }

    /// Counts a request, where there is room for one more.
    pub(super) fn admit(&self) -> Result<(), Refused> {
        self.rate.check().map_err(|until| {
            let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
            Refused::Rate(wait.as_secs() + 1)
        })
    }

    /// Counts a request as being answered, where there may be one more. It is waited for at the end.
    fn begin(&self) -> Result<Answering, Refused> {
        let permit = self.in_flight.clone().try_acquire_owned().map_err(|_| Refused::InFlight)?;
        let (waited_for, counted) = (self.answering.token(), self.metrics.in_flight());
        Ok(Answering::holding((permit, waited_for, counted)))
    }

    /// Answers a request to `/mcp`.
    pub(super) async fn mcp(&self, request: Request<Body>) -> Response {
        if request.method() != Method::POST {
            // A stream of events has no end of its own.
            return self.streamable.handle(request).await.map(Body::new);
        }
        let answering = match self.begin() {
            Ok(answering) => answering,
            Err(refused) => return refused.into_response(),
        };
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(answering.clone());
        let (bytes, message) = match self.read(&parts.headers, body).await {
            Ok(read) => read,
            Err(refused) => return refused,
        };
        let _opening = if opens_session(&parts.headers, &message) {
            match self.room().await {
                Ok(opening) => Some(opening),
                Err(refused) => return refused.into_response(),
            }
        } else {
            None
        };
        let request = Request::from_parts(parts, Body::from(bytes));
        let response = self.streamable.handle(request).await;
        held(response.map(Body::new), answering)
    }

    /// Opens a session of the revision of 2024-11-05: its stream.
    pub(super) async fn open_legacy(&self) -> Response {
        match self.room().await {
            Ok(_opening) => self.legacy.open(),
            Err(refused) => refused.into_response(),
        }
    }

    /// Room for one more session, for as long as what is returned is held: they are opened one at a
    /// time.
    async fn room(&self) -> Result<MutexGuard<'_, ()>, Refused> {
        let opening = self.opening.lock().await;
        let has_room = self.sessions().await < self.sessions_max;
        has_room.then_some(opening).ok_or(Refused::Sessions)
    }

    /// Takes a message for such a session.
    pub(super) async fn post_legacy(&self, session: &str, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        let mut message = match self.read(&parts.headers, body).await {
            Ok((_, message)) => message,
            Err(refused) => return refused,
        };
        let mut counted = None;
        // What asks for nothing is answered nothing that could be waited for.
        if let RxJsonRpcMessage::<RoleServer>::Request(asked) = &mut message {
            let answering = match self.begin() {
                Ok(answering) => answering,
                Err(refused) => return refused.into_response(),
            };
            parts.extensions.insert(answering.clone());
            asked.request.extensions_mut().insert(parts);
            counted = Some(answering);
        }
        self.legacy.accept(session, message, counted).await
    }

    /// The message that a request brings, and its bytes; or the answer to what is none.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, RxJsonRpcMessage<RoleServer>), Response> {
        if !is_json(headers) {
            return Err(Refused::NotJson.into_response());
        }
        let bytes = whole(body, self.body_bytes_max, BODY_TIMEOUT).await?;
        let message = message::read(&bytes).map_err(|refusal| bad_request(&refusal))?;
        Ok((bytes, message))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// What is no message, or none that can be taken, answered by an error of JSON-RPC.
pub(super) fn bad_request(refusal: &serde_json::Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, kind, refusal.to_string()).into_response()
}

/// Whether a message opens a session: `initialize`, and none is named.
fn opens_session(headers: &HeaderMap, message: &RxJsonRpcMessage<RoleServer>) -> bool {
    let initializes = matches!(message, RxJsonRpcMessage::<RoleServer>::Request(request)
        if matches!(request.request, ClientRequest::InitializeRequest(_)));
    initializes && !headers.contains_key(SESSION_HEADER)
}

/// Keeps a request counted until its answer has left: one that is whole already is as good as gone.
fn held(response: Response, held: Answering) -> Response {
    if http_body::Body::size_hint(response.body()).exact().is_some() {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &held;
            frame
        }))
    })
}
