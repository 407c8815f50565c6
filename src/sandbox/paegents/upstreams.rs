//! Sellers behind the metered proxy: built-in ones work here, the others have an API of their own.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, header},
};
use serde_json::{Value, json};
use url::Url;

use crate::sandbox::{
    Pace,
    crochet::{catalog::hostile_answer, selling::is_loopback},
    paegents::{agreements::Agreement, services::Service},
    workers,
    world::World,
};

/// How long a seller's API may take.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the seller that never answers is waited for at fast pace.
const IMPATIENCE: Duration = Duration::from_millis(300);
/// The largest answer that is passed on, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the caller says to the proxy, and not to the seller.
const PROXY_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "x-api-key",
    "x-request-nonce",
    "accept-encoding",
];
/// What a built-in seller does at a path.
const WORK: [(&str, &str); 5] = [
    ("/text-statistics", "text_statistics"),
    ("/csv-summary", "csv_summary"),
    ("/schema-check", "schema_check"),
    ("/sha256", "sha256"),
    ("/unit-conversion", "unit_conversion"),
];

/// What a seller is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// One of five methods.
    pub(crate) method: Method,
    /// The path on the seller's side, as it was sent.
    pub(crate) path: String,
    /// The query, as it was sent.
    pub(crate) query: Option<String>,
    /// The caller's headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

impl Asked {
    /// Path and query.
    pub(crate) fn url(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// A seller's answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its content type.
    pub(crate) kind: String,
    /// Its body.
    pub(crate) body: Bytes,
    /// How many units the seller counts, if it says so.
    pub(crate) units: Option<u64>,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The seller answered, whatever it said.
    Answered(Answered),
    /// It did not; the proxy says why.
    Nothing(StatusCode, &'static str),
}

impl Outcome {
    fn json(status: StatusCode, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self::Answered(Answered { status, kind: "application/json".to_owned(), body, units: None })
    }
}

/// Asks the seller of the agreement.
pub(crate) async fn ask(
    world: &World,
    agreement: &Agreement,
    service: Option<&Service>,
    asked: &Asked,
) -> Outcome {
    match agreement.behaviour.as_str() {
        "manual" => forward(world, service, asked).await,
        "never_delivers" => {
            let patience = if world.pace == Pace::Fast { IMPATIENCE } else { UPSTREAM_TIMEOUT };
            tokio::time::sleep(patience).await;
            Outcome::Nothing(StatusCode::GATEWAY_TIMEOUT, "Upstream service timed out")
        }
        "fails_after_payment" => {
            let body = json!({ "error": "the seller's machine is down" });
            Outcome::json(StatusCode::BAD_GATEWAY, &body)
        }
        "hostile_text" => Outcome::json(StatusCode::OK, &hostile_answer()),
        _ => work(asked),
    }
}

/// What a built-in seller answers.
fn work(asked: &Asked) -> Outcome {
    if asked.path == "/units" {
        return match asked.method {
            Method::GET => Outcome::json(StatusCode::OK, &workers::units()),
            _ => Outcome::json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "use GET" })),
        };
    }
    let Some((_, worker)) = WORK.into_iter().find(|(path, _)| *path == asked.path) else {
        let paths = WORK.map(|(path, _)| path);
        let body = json!({ "error": "no such path", "paths": paths });
        return Outcome::json(StatusCode::NOT_FOUND, &body);
    };
    if asked.method != Method::POST {
        return Outcome::json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "use POST" }));
    }
    let Ok(input) = serde_json::from_slice::<Value>(&asked.body) else {
        return Outcome::json(StatusCode::BAD_REQUEST, &json!({ "error": "the body is no JSON" }));
    };
    match workers::work(worker, &input) {
        Ok(answer) => Outcome::json(StatusCode::OK, &answer),
        Err(refusal) => Outcome::json(StatusCode::UNPROCESSABLE_ENTITY, &refusal),
    }
}

/// Where a call goes: the seller's base with the path behind it, on loopback only.
fn target(service: Option<&Service>, asked: &Asked) -> Result<Url, (StatusCode, &'static str)> {
    let base = service.and_then(|service| service.api_base_url.as_deref());
    let base = base.ok_or((StatusCode::BAD_REQUEST, "Service has no upstream API configured"))?;
    let url = format!("{}{}", base.trim_end_matches('/'), asked.url());
    let parsed = Url::parse(&url).ok().filter(|url| url.scheme() == "http" && is_loopback(url));
    // A path cannot lead away from the base.
    let inside = parsed.filter(|url| {
        Url::parse(base).is_ok_and(|base| {
            base.host() == url.host() && base.port_or_known_default() == url.port_or_known_default()
        })
    });
    inside.ok_or((StatusCode::BAD_GATEWAY, "the sandbox reaches plain HTTP on loopback only"))
}

/// Passes a call on to the seller's own API, with the seller's secret.
async fn forward(world: &World, service: Option<&Service>, asked: &Asked) -> Outcome {
    let url = match target(service, asked) {
        Ok(url) => url,
        Err((status, detail)) => return Outcome::Nothing(status, detail),
    };
    let mut headers = asked.headers.clone();
    for name in PROXY_HEADERS {
        headers.remove(name);
    }
    let mut request = world
        .http
        .request(asked.method.clone(), url)
        .timeout(UPSTREAM_TIMEOUT)
        .headers(headers)
        .body(asked.body.clone());
    if let Some(service) = service
        && let Some(secret) = &service.api_key
    {
        request = request.header(&service.api_auth_header, secret);
    }
    let failed = |error: &reqwest::Error| {
        if error.is_timeout() {
            Outcome::Nothing(StatusCode::GATEWAY_TIMEOUT, "Upstream service timed out")
        } else {
            Outcome::Nothing(StatusCode::BAD_GATEWAY, "Upstream service did not answer")
        }
    };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return failed(&error),
    };
    let text = |name: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let (status, kind) = (answer.status(), text(header::CONTENT_TYPE.as_str()));
    let units = text("x-usage-units").and_then(|units| units.trim().parse().ok());
    match answer.bytes().await {
        Ok(body) if body.len() <= ANSWER_BYTES_MAX => Outcome::Answered(Answered {
            status,
            kind: kind.unwrap_or_else(|| "application/octet-stream".to_owned()),
            body,
            units,
        }),
        Ok(_) => Outcome::Nothing(StatusCode::BAD_GATEWAY, "Upstream answer is too large"),
        Err(error) => failed(&error),
    }
}
