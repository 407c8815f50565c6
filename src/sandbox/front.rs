//! What every request passes first: it is recorded, meets its fault, and is dated.
//!
//! Requests to a marketplace or the chain are recorded and may meet a fault; requests to the admin
//! are only checked for where they come from.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::stream;
use rusqlite::params;
use serde_json::{Map, Value, json};

use crate::sandbox::{
    chain::rpc,
    clock::http_date,
    crochet, croo,
    faults::{self, Action, Altered, Fails, Fired, Target},
    line::Line,
    paegents::{self, failures},
    world::World,
};

/// The largest request that is read, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of a body is recorded, in bytes.
const RECORDED_BYTES_MAX: usize = 64 * 1024;
/// How long the first part of a truncated answer has to get out.
const FLUSH: Duration = Duration::from_millis(50);
/// The names under which answers of CROO give the addresses that money goes to.
const CROO_PAYEES: [&str; 2] = ["providerFundAddress", "providerWalletAddress"];
/// The names under which other answers give the address to pay to.
const PAYEES: [&str; 6] =
    ["deposit_address", "depositAddress", "pay_to", "payTo", "payee", "recipient"];

/// Records a request, lets its fault happen, dates the answer.
pub(crate) async fn pass(
    State(world): State<Arc<World>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let Some((marketplace, path)) = belongs(&path) else {
        if path.starts_with("/admin") && !is_local(request.headers()) {
            return refuse(StatusCode::FORBIDDEN, "the admin answers to loopback hosts only");
        }
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off");
    };
    let calls = if marketplace == "chain" { rpc::methods(&body) } else { Vec::new() };
    let method = parts.method.to_string();
    let target = Target { marketplace, method: &method, path, calls: &calls, is_event: false };
    let fault = record(&world, &target, &parts, &body).and_then(|()| faults::take(&world, &target));
    let passage = Passage { world: Arc::clone(&world), marketplace, line, parts, body, next };
    let path = path.to_owned();
    // In a task of its own: what was received is carried out, even if the client goes away.
    let work = tokio::spawn(async move {
        match fault {
            Ok(Some(fired)) => passage.with(fired, &path).await,
            Ok(None) => (passage.run().await, 0),
            Err(error) => {
                tracing::error!(%error, "the sandbox's store failed");
                (refuse(StatusCode::INTERNAL_SERVER_ERROR, "the sandbox's store failed"), 0)
            }
        }
    });
    let (mut response, skew_s) = work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler of the sandbox failed");
        (refuse(StatusCode::INTERNAL_SERVER_ERROR, "a handler of the sandbox failed"), 0)
    });
    let date = http_date(world.clock.now_ms().saturating_add(skew_s.saturating_mul(1_000)));
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().entry(header::DATE).or_insert(date);
    }
    response
}

/// The marketplace that a path belongs to, and the path from its base.
fn belongs(path: &str) -> Option<(&'static str, &str)> {
    if path == croo::socket::PATH {
        return Some(("socket", path));
    }
    let bases = [
        ("croo", croo::BASE),
        ("crochet", crochet::BASE),
        ("paegents", paegents::BASE),
        ("storage", croo::storage::BASE),
        ("chain", "/chain"),
    ];
    bases.into_iter().find_map(|(name, base)| {
        let rest = path.strip_prefix(base)?;
        match rest {
            "" => Some((name, "/")),
            _ => rest.starts_with('/').then_some((name, rest)),
        }
    })
}

/// Whether the request was made to a loopback host, and by no web page from elsewhere.
fn is_local(headers: &HeaderMap) -> bool {
    let host_of =
        |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_loopback = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let origin = headers.get(header::ORIGIN).is_none_or(|_| {
        host_of(header::ORIGIN)
            .and_then(|origin| origin.strip_prefix("http://"))
            .is_some_and(is_loopback)
    });
    host_of(header::HOST).is_some_and(is_loopback) && origin
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn record(world: &World, target: &Target<'_>, parts: &Parts, body: &Bytes) -> rusqlite::Result<()> {
    let mut headers = Map::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let text = match headers.get(name.as_str()).and_then(Value::as_str) {
            Some(first) => format!("{first}, {value}"),
            None => value.into_owned(),
        };
        headers.insert(name.to_string(), text.into());
    }
    let at = world.clock.now_ms();
    world.store.transact(|db| {
        db.prepare_cached(
            "INSERT INTO requests (at, marketplace, method, path, query, headers, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            at,
            target.marketplace,
            target.method,
            target.path,
            parts.uri.query().unwrap_or_default(),
            Value::from(headers).to_string(),
            String::from_utf8_lossy(body.get(..RECORDED_BYTES_MAX).unwrap_or(body)),
        ])?;
        Ok(())
    })
}

/// A request on its way to its handler.
struct Passage {
    world: Arc<World>,
    marketplace: &'static str,
    line: Line,
    parts: Parts,
    body: Bytes,
    next: Next,
}

impl Passage {
    /// Carries the request out.
    async fn run(self) -> Response {
        self.next.run(Request::from_parts(self.parts, Body::from(self.body))).await
    }

    /// Meets a fault; answers the response and by how many seconds its date is off.
    async fn with(mut self, fired: Fired, path: &str) -> (Response, i64) {
        let line = self.line.clone();
        match &fired.action {
            Action::DropBefore => {
                line.cut();
                (Response::default(), 0)
            }
            Action::DropAfter => {
                self.run().await;
                line.cut();
                (Response::default(), 0)
            }
            Action::DelayMs(delay) => {
                tokio::time::sleep(Duration::from_millis(*delay)).await;
                (self.run().await, 0)
            }
            Action::Status(status, headers, body) => {
                let mut response = (*status, body.clone()).into_response();
                response.headers_mut().remove(header::CONTENT_TYPE);
                response.headers_mut().extend(headers.clone());
                (response, 0)
            }
            Action::Truncate(bytes) => (truncate(self.run().await, *bytes, line).await, 0),
            Action::Pending if self.marketplace == "croo" => {
                let answer = croo::pending(&self.world, path, &self.parts.headers);
                (answer.into_response(), 0)
            }
            Action::Pending if self.marketplace == "paegents" => {
                match failures::pending(&self.parts.method, path) {
                    Some(answer) => (answer, 0),
                    None => (self.altered(&fired, path).await, 0),
                }
            }
            Action::Pending => {
                let relay = self.parts.headers.get("x-crochet-relay-request-id");
                let relay = relay.and_then(|value| value.to_str().ok());
                (crochet::gateway::pending(relay), 0)
            }
            Action::SkewS(skew_s) => (self.run().await, *skew_s),
            Action::RaisePrice(raise) => {
                self.parts.extensions.insert(*raise);
                (self.altered(&fired, path).await, 0)
            }
            Action::Fail => {
                self.parts.extensions.insert(Fails);
                (self.altered(&fired, path).await, 0)
            }
            Action::ChargeThenFail
            | Action::PayAgain
            | Action::SwapPayee(_)
            | Action::SwapTerms(_)
            | Action::Socket(_) => (self.altered(&fired, path).await, 0),
        }
    }

    /// Carries the request out and alters its answer, or puts the fault back.
    async fn altered(self, fired: &Fired, path: &str) -> Response {
        let (world, headers, body) =
            (Arc::clone(&self.world), self.parts.headers.clone(), self.body.clone());
        let marketplace = self.marketplace;
        let (is_croo, is_paegents) = (marketplace == "croo", marketplace == "paegents");
        let response = self.run().await;
        let status = response.status();
        let is_done = response.extensions().get::<Altered>().is_some();
        let altered = match &fired.action {
            Action::RaisePrice(_) if status == StatusCode::PAYMENT_REQUIRED => return response,
            Action::RaisePrice(_) | Action::Fail if is_done => return response,
            Action::ChargeThenFail if status == StatusCode::OK && is_croo => Some(croo::failed()),
            Action::ChargeThenFail if status.is_success() && is_paegents => {
                Some(failures::failed())
            }
            Action::ChargeThenFail if status == StatusCode::OK => Some(failed()),
            Action::PayAgain if status.is_success() => {
                let id = path.strip_prefix("/gateway/");
                let has_paid = headers.contains_key("x-crochet-relay-request-id");
                id.filter(|_| has_paid)
                    .and_then(|id| crochet::gateway::charge_again(&world, id, &headers, body).ok())
            }
            Action::SwapPayee(payee)
                if is_croo || is_paegents || status == StatusCode::PAYMENT_REQUIRED =>
            {
                let payee = Value::from(payee.as_str());
                let names = match marketplace {
                    "croo" => &CROO_PAYEES[..],
                    "paegents" => &failures::PAYEES[..],
                    _ => &PAYEES[..],
                };
                let terms = names.iter().map(|name| ((*name).to_owned(), payee.clone()));
                return swapped(&world, fired, response, &terms.collect()).await;
            }
            Action::SwapTerms(terms) => {
                return swapped(&world, fired, response, terms).await;
            }
            _ => None,
        };
        altered.unwrap_or_else(|| {
            put_back(&world, fired);
            response
        })
    }
}

fn put_back(world: &World, fired: &Fired) {
    if let Err(error) = faults::put_back(world, fired) {
        tracing::error!(%error, "the sandbox's store failed");
    }
}

/// The 502 of `charge_then_fail`.
fn failed() -> Response {
    let body = json!({ "success": false, "error": {
        "code": "UPSTREAM_ERROR",
        "message": "the gateway lost the seller's answer",
    }});
    (StatusCode::BAD_GATEWAY, Json(body)).into_response()
}

/// The answer with the named members replaced, wherever they are.
async fn swapped(
    world: &World,
    fired: &Fired,
    response: Response,
    terms: &Map<String, Value>,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if replace(&mut json, terms) == 0 {
        put_back(world, fired);
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json.to_string()))
}

/// Replaces members by name; answers how many.
fn replace(value: &mut Value, terms: &Map<String, Value>) -> usize {
    match value {
        Value::Object(members) => {
            let mut count = 0;
            for (name, member) in members.iter_mut() {
                match terms.get(name) {
                    Some(term) => {
                        *member = term.clone();
                        count += 1;
                    }
                    None => count += replace(member, terms),
                }
            }
            count
        }
        Value::Array(items) => items.iter_mut().map(|item| replace(item, terms)).sum(),
        _ => 0,
    }
}

/// Declares the whole answer, sends its first `bytes` bytes, cuts the line.
async fn truncate(response: Response, bytes: usize, line: Line) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if bytes >= body.len() {
        return Response::from_parts(parts, Body::from(body));
    }
    let start = body.slice(..bytes);
    let stream = stream::unfold(Some((start, line)), |state| async {
        let (start, line) = state?;
        if start.is_empty() {
            tokio::time::sleep(FLUSH).await;
            line.cut();
            return Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), None));
        }
        Some((Ok(start), Some((Bytes::new(), line))))
    });
    Response::from_parts(parts, Body::from_stream(stream))
}
