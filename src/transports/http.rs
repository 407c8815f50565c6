//! MCP over HTTP: streamable at `/mcp`, the older transport at `/sse` and `/messages`, and what
//! watches a server: `/healthz`, `/readyz`, `/metrics`.
//!
//! Invariants: nobody calls from another machine without a token; every route but `/healthz` and
//! `/readyz` refuses foreign names and origins; a client's token goes no further than here; at the
//! end, calls that are under way have [`DRAIN_TIMEOUT`] to be answered.

mod gate;
mod legacy;
mod listen;
mod ready;
mod tenant;
mod webhooks;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use futures::future::BoxFuture;
use rmcp::ServerHandler;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use gate::GateError;
pub use tenant::Tenant;

use self::{
    gate::{Gate, Refused},
    listen::Bounds,
    ready::Ready,
    tenant::Served,
};
use super::{after_start, told_to_end};
use crate::{
    app::{App, DRAIN_TIMEOUT},
    config::http::HttpSettings,
    metrics::{self, Metrics},
    page::{self, OwnerKey},
    server::Server,
};

/// How long streams have to end after the calls have.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest body that is read beside MCP, in bytes.
const BESIDE_BYTES_MAX: usize = 1024 * 1024;

/// What is served.
pub struct Service<H> {
    /// Who may call. Either one without a token, or any number that each have one.
    pub tenants: Vec<Tenant<H>>,
    /// Names, origins and limits.
    pub settings: HttpSettings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether calls can be answered now.
    pub ready: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    /// What else is served, behind the same names and origins.
    pub beside: Router,
}

impl<H> std::fmt::Debug for Service<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("tenants", &self.tenants).finish_non_exhaustive()
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A list of names or origins has something else in it.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Other machines could call without a token.
    #[error(
        "{0} can be reached from other machines, and no client has a token: use 127.0.0.1, or make \
         one with `haggle config add-client NAME`"
    )]
    Open(SocketAddr),
    /// It cannot listen there.
    #[error("{0} cannot be listened on: {1}")]
    Address(SocketAddr, io::Error),
}

/// The parts that requests are answered from.
struct Parts<H: ServerHandler> {
    tenants: Vec<Arc<Served<H>>>,
    gate: Gate,
    metrics: Arc<Metrics>,
    ready: Ready,
    stopping: CancellationToken,
}

type Shared<H> = State<Arc<Parts<H>>>;

/// A server that listens.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    answering: TaskTracker,
    stopping: CancellationToken,
    ended: CancellationToken,
}

/// Listens for the clients of `service`. It stops when `stopping` fires.
///
/// # Errors
///
/// [`HttpError`].
pub async fn listen<H: ServerHandler>(
    address: SocketAddr,
    service: Service<H>,
    stopping: CancellationToken,
) -> Result<Listening, HttpError> {
    let Service { tenants, settings, metrics, ready, beside } = service;
    let is_open = tenants.iter().any(|tenant| tenant.token.is_none());
    if is_open && !gate::is_near(address.ip()) {
        return Err(HttpError::Open(address));
    }
    let gate = Gate::new(&settings.allowed_hosts, &settings.allowed_origins)?;
    let cors = gate.cors();
    let listener =
        TcpListener::bind(address).await.map_err(|error| HttpError::Address(address, error))?;
    let address = listener.local_addr().map_err(|error| HttpError::Address(address, error))?;
    let (ended, answering) = (CancellationToken::new(), TaskTracker::new());
    let served = |tenant| {
        Arc::new(Served::new(tenant, &settings, metrics.clone(), answering.clone(), &ended))
    };
    let parts = Arc::new(Parts {
        tenants: tenants.into_iter().map(served).collect(),
        gate,
        metrics: metrics.clone(),
        ready: Ready::by(ready),
        stopping: stopping.clone(),
    });
    let router = Router::new()
        .route("/mcp", any(mcp))
        .route("/sse", get(sse))
        .route("/messages", post(messages))
        .layer(cors)
        .route("/metrics", get(counted))
        .with_state(parts.clone())
        .merge(beside)
        .layer(middleware::from_fn_with_state(parts.clone(), guard))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(is_ready).with_state(parts.clone()))
        .layer(middleware::from_fn_with_state(parts, count));
    let bounds = Bounds::of(settings.connections_max);
    Ok(Listening { address, listener, router, bounds, metrics, answering, stopping, ended })
}

impl Listening {
    /// Where.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until it is stopped; then those that are under way.
    pub async fn serve(self) {
        let ending =
            listen::accept(self.listener, self.router, self.bounds, self.metrics, &self.stopping)
                .await;
        let ending = tokio::spawn(ending.shutdown());
        self.answering.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.answering.wait()).await.is_err() {
            tracing::warn!("some calls were not answered in time; their payments go on");
        }
        self.ended.cancel();
        let _ = tokio::time::timeout(STREAMS_TIMEOUT, ending).await;
    }
}

/// Serves the clients of the settings until the program is told to end. `announce` is told the
/// address.
///
/// # Errors
///
/// [`HttpError`].
pub async fn serve(
    app: Arc<App>,
    address: SocketAddr,
    announce: impl FnOnce(SocketAddr),
) -> Result<(), HttpError> {
    let mut told = std::pin::pin!(told_to_end());
    // Heard from the first moment on, and not only once it listens.
    let listening = tokio::select! {
        biased;
        () = &mut told => return Ok(()),
        listening = listen(address, service(&app), app.stopping().clone()) => listening?,
    };
    let address = listening.address();
    if app.settings().http.owner_key_sha256.is_some() && gate::is_near(address.ip()) {
        app.serve_page_at(format!("http://{address}{}", page::MOUNTED_AT));
    }
    announce(address);
    app.tasks().spawn(after_start(app.clone()));
    let mut serving = tokio::spawn(listening.serve());
    tokio::select! {
        () = &mut told => app.stopping().cancel(),
        _ = &mut serving => {}
    }
    let _ = serving.await;
    app.shut_down().await;
    Ok(())
}

/// The product's own: each client of the settings, or the owner's where there is none.
#[must_use]
pub fn service(app: &Arc<App>) -> Service<Server> {
    let mut principals = app.settings().clients.clone();
    if principals.is_empty() {
        principals.push(app.settings().local());
    }
    let tenants = principals.into_iter().map(|principal| {
        let token = principal.token;
        let server = Server::of(app.clone(), principal);
        Tenant { token, handler: Arc::new(move || server.another_session()) }
    });
    let looked = app.clone();
    Service {
        tenants: tenants.collect(),
        settings: app.settings().http.clone(),
        metrics: app.metrics().clone(),
        ready: Arc::new(move || {
            let app = looked.clone();
            Box::pin(async move { app.store().with(|_| Ok(())).await.is_ok() })
        }),
        beside: beside(app),
    }
}

/// What is served beside MCP: Paegents' webhooks, and the owner's page where there is a key for it.
fn beside(app: &Arc<App>) -> Router {
    let mut beside = webhooks::router(app.clone());
    if let Some(key) = app.settings().http.owner_key_sha256 {
        let page = page::mounted(app.clone(), OwnerKey::from(key));
        beside = beside.merge(page.layer(middleware::from_fn(only_here)));
    }
    beside.layer(middleware::from_fn(bounded))
}

/// Reads the body of a request before anything else is done with it, within bounds of size and time:
/// nobody who has no token keeps anything waiting.
async fn bounded(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match listen::whole(body, BESIDE_BYTES_MAX, listen::BODY_TIMEOUT).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(refused) => refused,
    }
}

/// Refuses who is on another machine, or came by another name than this machine's: the page is the
/// owner's own.
async fn only_here(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_near = peer.is_some_and(|ConnectInfo(peer)| gate::is_near(peer.ip()));
    let (head, body) = request.into_parts();
    if !is_near || !gate::is_of_this_machine(&head) {
        return Refused::NotHere.into_response();
    }
    next.run(Request::from_parts(head, body)).await
}

impl<H: ServerHandler> Parts<H> {
    /// The client of a request, whose token is taken out of it.
    fn client(&self, request: &mut Request) -> Result<&Arc<Served<H>>, Refused> {
        let token = gate::take_token(request.headers_mut());
        // Every digest is compared, so that the time does not tell how many there are before it.
        let mut found = None;
        for tenant in &self.tenants {
            if tenant.is(token.as_deref()) {
                found = Some(tenant);
            }
        }
        let refused = if token.is_some() { Refused::BadToken } else { Refused::NoToken };
        let client = found.ok_or(refused)?;
        client.admit()?;
        Ok(client)
    }
}

async fn mcp<H: ServerHandler>(State(parts): Shared<H>, mut request: Request) -> Response {
    match parts.client(&mut request) {
        Ok(client) => client.mcp(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn sse<H: ServerHandler>(State(parts): Shared<H>, mut request: Request) -> Response {
    match parts.client(&mut request) {
        Ok(client) => client.open_legacy().await,
        Err(refused) => refused.into_response(),
    }
}

/// The query of `/messages`.
#[derive(Debug, Deserialize)]
struct MessageQuery {
    #[serde(rename = "sessionId")]
    session_id: String,
}

async fn messages<H: ServerHandler>(
    State(parts): Shared<H>,
    Query(query): Query<MessageQuery>,
    mut request: Request,
) -> Response {
    match parts.client(&mut request) {
        Ok(client) => client.post_legacy(&query.session_id, request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn counted<H: ServerHandler>(State(parts): Shared<H>, mut request: Request) -> Response {
    if let Err(refused) = parts.client(&mut request) {
        return refused.into_response();
    }
    let mut sessions = 0;
    for tenant in &parts.tenants {
        sessions += tenant.sessions().await;
    }
    parts.metrics.sessions(sessions);
    match parts.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn is_ready<H: ServerHandler>(State(parts): Shared<H>) -> Response {
    if !parts.stopping.is_cancelled() && parts.ready.is().await {
        return "ready".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response()
}

/// Refuses foreign names and origins.
async fn guard<H: ServerHandler>(
    State(parts): Shared<H>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refused) = parts.gate.check(&head) {
        return refused.into_response();
    }
    next.run(Request::from_parts(head, body)).await
}

/// The routes that are counted by themselves.
const ROUTES: [&str; 8] =
    ["/mcp", "/sse", "/messages", "/metrics", "/healthz", "/readyz", "/owner", "/webhooks"];

/// Counts what was answered.
async fn count<H: ServerHandler>(
    State(parts): Shared<H>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let route = ROUTES.into_iter().find(|route| path.starts_with(route)).unwrap_or("other");
    let response = next.run(request).await;
    parts.metrics.answered(route, response.status().as_u16());
    response
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    /// The page is for who is at this machine and calls it by its own name.
    #[tokio::test]
    async fn the_page_is_served_here_alone() {
        let page = Router::new().route("/", get(|| async {})).layer(middleware::from_fn(only_here));
        let rows = [
            (Some("127.0.0.1"), "localhost:8765", 200),
            (Some("127.0.0.2"), "127.0.0.2:8765", 200),
            (Some("::1"), "[::1]:8765", 200),
            (Some("::ffff:127.0.0.1"), "127.0.0.1:8765", 200),
            (Some("192.0.2.1"), "localhost:8765", 403),
            (Some("::ffff:192.0.2.1"), "localhost:8765", 403),
            (Some("127.0.0.1"), "haggle.example.com", 403),
            (Some("127.0.0.1"), "192.0.2.1:8765", 403),
            (None, "localhost:8765", 403),
        ];
        for (peer, host, status) in rows {
            let mut request =
                Request::get("/").header(header::HOST, host).body(Body::empty()).unwrap();
            if let Some(peer) = peer {
                let peer = SocketAddr::new(peer.parse().unwrap(), 1);
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            let answer = page.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{peer:?} {host}");
        }
    }
}
