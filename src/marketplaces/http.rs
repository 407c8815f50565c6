//! One request to one marketplace: authentication, limits, and what a failure means.
//!
//! Invariants: no redirect is followed; no answer is read beyond its bound, counted after
//! decompression; nothing here repeats a request.

use std::{sync::OnceLock, time::Duration};

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use super::Marketplace;
use crate::{
    error::{Code, Error},
    recovery::{NextAction, NextCall},
    text::{TEXT_CHARS_MAX, clean_json},
};

/// The most of an ordinary answer that is read.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long an ordinary request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS_MAX: usize = 16;
/// The header of a key under which a request is carried out once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest code of a marketplace.
const CODE_BYTES_MAX: usize = 64;

/// The connection pool of the whole process, built when it is first used: loading the certificates
/// is most of a cold start.
#[derive(Debug, Default)]
pub struct Http(OnceLock<reqwest::Client>);

impl Http {
    /// The client.
    ///
    /// # Errors
    ///
    /// [`Code::TlsFailed`] where the system's certificates cannot be read.
    pub fn client(&self) -> Result<&reqwest::Client, Error> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        // The provider is the process's; a second installation is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .gzip(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .user_agent(concat!("haggle/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                tracing::error!(%error, "TLS cannot be set up");
                Error::new(
                    Code::TlsFailed,
                    "TLS cannot be set up on this machine; nothing was sent",
                )
            })?;
        Ok(self.0.get_or_init(|| client))
    }
}

/// What an operation can change, and so what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it can be sent again.
    Read,
    /// Something at the marketplace.
    Write,
}

/// One operation of a marketplace's API: the request, with the type of its answer.
///
/// Serialised it is the query of a `GET` and the JSON body of anything else.
pub trait Operation: Serialize + Sync {
    /// The name in logs and errors, such as `crochet.get_listing`.
    const NAME: &'static str;
    /// The HTTP method.
    const METHOD: Method;
    /// What sending it can change.
    const EFFECT: Effect;
    /// Whether it carries the account's key.
    const AUTHENTICATED: bool = true;
    /// Whether a request other than `GET` has a body.
    const BODY: bool = true;
    /// The answer.
    type Output: DeserializeOwned;

    /// The path below the API's root, arguments filled in. Every part is a checked identifier.
    fn path(&self) -> String;

    /// The key under which the marketplace carries it out once, where it knows such keys.
    fn idempotency_key(&self) -> Option<String> {
        None
    }

    /// A header that this operation has beside those of every other.
    fn own_header(&self) -> Option<(HeaderName, String)> {
        None
    }
}

/// A request with its body as it goes over the wire.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The operation's name.
    pub name: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The path below the API's root, with its query.
    pub path: &'a str,
    /// Whether it carries the account's key.
    pub authenticated: bool,
    /// Further headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The JSON body.
    pub body: Option<Vec<u8>>,
    /// How long it may take.
    pub timeout: Duration,
    /// The most of the answer that is read.
    pub answer_bytes_max: usize,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Vec<u8>,
}

/// How an answer was lost.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No connection: nothing left this machine.
    #[error("no connection")]
    NotSent(#[source] reqwest::Error),
    /// The connection could not be made secure: nothing left this machine.
    #[error("TLS failed")]
    Tls(#[source] reqwest::Error),
    /// The connection broke, or took too long.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
    /// The server failed somewhere between receiving the request and answering it.
    #[error("the answer was HTTP {0}")]
    Server(StatusCode),
    /// A success came whose body is not the one documented.
    #[error("the answer could not be read")]
    Unreadable(#[source] serde_json::Error),
    /// The answer is longer than is read.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}

/// What a marketplace said when it refused, read from its own error body.
#[derive(Debug, Default)]
pub struct Refusal {
    /// Its code.
    pub code: Option<String>,
    /// Its words.
    pub message: Option<String>,
    /// What its code means, where the marketplace's page says so; otherwise the status tells.
    pub class: Option<Code>,
    /// Its hint about recovery.
    pub recovery: Option<Value>,
}

impl Refusal {
    /// Its code, where it is one word and no prose: it stands in our own sentences.
    #[must_use]
    pub fn known_code(&self) -> Option<String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let is_word =
            |code: &&String| (1..=CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(fits);
        self.code.as_ref().filter(is_word).cloned()
    }
}

/// A marketplace's HTTP API for one account.
#[derive(Clone, Debug)]
pub struct Api {
    /// Whose it is.
    pub marketplace: Marketplace,
    /// The API's root, without a slash at its end.
    pub base: Url,
    /// The headers that carry the account's key, with their whole values; none without an account.
    pub keys: Vec<(HeaderName, SecretString)>,
    /// Reads the marketplace's error body.
    pub refusal: fn(&[u8]) -> Refusal,
    /// The pool.
    pub http: reqwest::Client,
}

impl Api {
    /// The account's key: the first header's whole value.
    #[must_use]
    pub fn key(&self) -> Option<&SecretString> {
        self.keys.first().map(|(_, key)| key)
    }

    /// Sends one operation and reads its answer. Never repeats a request.
    ///
    /// # Errors
    ///
    /// As [`Self::refused`] where the marketplace said no, as [`Self::lost`] where no readable
    /// answer came, [`Code::NotRegistered`] where a key is needed and there is none.
    pub async fn send<O: Operation>(&self, operation: &O) -> Result<O::Output, Error> {
        let mut path = operation.path();
        let mut body = None;
        if O::METHOD == Method::GET {
            let query = serde_urlencoded_of(operation)?;
            if !query.is_empty() {
                path = format!("{path}?{query}");
            }
        } else if O::BODY {
            body = Some(serde_json::to_vec(operation).map_err(|_| unsendable(O::NAME))?);
        }
        let exchange = Exchange {
            name: O::NAME,
            method: O::METHOD,
            path: &path,
            authenticated: O::AUTHENTICATED,
            headers: operation
                .idempotency_key()
                .map(|key| (IDEMPOTENCY_KEY, key))
                .into_iter()
                .chain(operation.own_header())
                .collect(),
            body,
            timeout: REQUEST_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answer =
            self.exchange(exchange).await?.map_err(|l| self.lost(O::NAME, O::EFFECT, &l))?;
        if answer.status.is_success() {
            // A deletion may be answered with nothing.
            let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
            read_json(body).map_err(|e| self.lost(O::NAME, O::EFFECT, &Lost::Unreadable(e)))
        } else if answer.status.is_server_error() {
            let said = (self.refusal)(&answer.body);
            Err(self
                .lost(O::NAME, O::EFFECT, &Lost::Server(answer.status))
                .upstream(Some(answer.status.as_u16()), said.known_code())
                .recovery(|recovery| recovery.hear(said)))
        } else {
            Err(self.refused(O::NAME, &answer))
        }
    }

    /// Sends one request as it is and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// The outer one where nothing could be sent by this account; the inner one where no whole
    /// answer came.
    pub async fn exchange(&self, request: Exchange<'_>) -> Result<Result<Answer, Lost>, Error> {
        let url = format!("{}{}", self.base.as_str().trim_end_matches('/'), request.path);
        let mut builder = self.http.request(request.method, url).timeout(request.timeout);
        if request.authenticated {
            if self.keys.is_empty() {
                return Err(self.not_registered());
            }
            for (name, key) in &self.keys {
                let mut value = HeaderValue::from_str(key.expose_secret())
                    .map_err(|_| unsendable(request.name).at(self.marketplace))?;
                value.set_sensitive(true);
                builder = builder.header(name, value);
            }
        }
        for (name, value) in request.headers {
            let value = HeaderValue::from_str(&value).map_err(|_| unsendable(request.name))?;
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }
        let started = std::time::Instant::now();
        let answer = read_whole(builder, request.answer_bytes_max).await;
        let status = answer.as_ref().ok().map(|a| a.status.as_u16());
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(operation = request.name, status, elapsed_ms, "exchanged");
        Ok(answer)
    }

    /// There is no key for an operation that needs one.
    #[must_use]
    pub fn not_registered(&self) -> Error {
        let marketplace = self.marketplace;
        match marketplace {
            Marketplace::Croo => {
                let message = "there is no CROO key: the owner makes an agent in CROO's dashboard \
                               and sets CROO_SDK_KEY";
                Error::new(Code::NotRegistered, message).at(marketplace).recovery(|r| {
                    r.set(NextAction::AskOwner, false, "Only the owner can get a CROO key.");
                })
            }
            Marketplace::Paegents => {
                let message = "there is no Paegents key: the owner makes an agent in Paegents' \
                               dashboard and sets PAEGENTS_AGENT_ID and PAEGENTS_API_KEY; an agent \
                               that has lost its key gets one by paegents_recover_credentials";
                Error::new(Code::NotRegistered, message).at(marketplace).next(NextCall::new(
                    "paegents_recover_credentials",
                    json!({}),
                    "gets a new key for the agent of this wallet; its old ones end",
                ))
            }
            Marketplace::Crochet => {
                let message = "there is no Crochet account yet; crochet_register makes one \
                               (profile `account`)";
                let why = "makes an account for the wallet; its key is stored, not shown";
                Error::new(Code::NotRegistered, message).at(marketplace).next(NextCall::new(
                    "crochet_register",
                    json!({}),
                    why,
                ))
            }
        }
    }

    /// What a lost answer means: the one place that decides it. No money moves by an operation that
    /// is sent from here; payments are decided in `spend`.
    #[must_use]
    pub fn lost(&self, name: &'static str, effect: Effect, lost: &Lost) -> Error {
        let marketplace = self.marketplace;
        tracing::warn!(operation = name, error = %Chain(lost), "no readable answer");
        let (code, what) = match lost {
            Lost::Tls(_) => {
                (Code::TlsFailed, "offers no valid certificate; nothing was sent".into())
            }
            Lost::NotSent(_) => {
                (Code::UpstreamUnavailable, "cannot be reached; nothing was sent".into())
            }
            Lost::TooLong(max) => {
                (Code::UpstreamTooLarge, format!("answered with more than {max} bytes"))
            }
            Lost::Unreadable(_) => {
                (Code::UpstreamMalformed, "answered with something that is not its JSON".into())
            }
            Lost::Server(status) => {
                (Code::UpstreamUnavailable, format!("answered with HTTP {}", status.as_u16()))
            }
            Lost::Connection(_) => {
                (Code::UpstreamUnavailable, "did not answer, or not in time".into())
            }
        };
        let error = Error::new(code, format!("{marketplace} {what} ({name})")).at(marketplace);
        let sent = !matches!(lost, Lost::NotSent(_) | Lost::Tls(_));
        if effect == Effect::Write && sent {
            return error.uncertain_write();
        }
        error
    }

    /// What an answer with a status from 300 to 499 means.
    #[must_use]
    pub fn refused(&self, name: &'static str, answer: &Answer) -> Error {
        let marketplace = self.marketplace;
        let status = answer.status.as_u16();
        let said = (self.refusal)(&answer.body);
        let upstream_code = said.known_code();
        let by_status = match status {
            300..=399 => Code::EgressBlocked,
            401 => Code::Unauthorized,
            403 => Code::NotAllowed,
            404 => Code::NotFound,
            409 => Code::Conflict,
            410 => Code::Expired,
            429 => Code::RateLimited,
            _ => Code::UpstreamRejected,
        };
        let code = said.class.filter(|_| status >= 400).unwrap_or(by_status);
        let named = upstream_code.as_ref().map(|c| format!(" {c}")).unwrap_or_default();
        let message = match code {
            Code::EgressBlocked => {
                format!(
                    "{marketplace} redirects {name} (HTTP {status}); redirects are not followed"
                )
            }
            _ => format!("{marketplace} refused {name}: HTTP {status}{named}"),
        };
        let retry_after = header_seconds(&answer.headers);
        Error::new(code, message).at(marketplace).upstream(Some(status), upstream_code).recovery(
            |recovery| {
                if let Some(seconds) = retry_after {
                    recovery.wait(seconds);
                }
                if (code, marketplace) == (Code::Unauthorized, Marketplace::Croo) {
                    // No tool gets a key of CROO's: it is made in its dashboard.
                    let summary = "CROO does not take the key; the owner checks CROO_SDK_KEY.";
                    recovery.set(NextAction::AskOwner, false, summary);
                }
                if (code, marketplace) == (Code::Unauthorized, Marketplace::Paegents) {
                    let why = "gets a new key for the agent of this wallet; its old ones end";
                    recovery.next.push(NextCall::new(
                        "paegents_recover_credentials",
                        json!({}),
                        why,
                    ));
                }
                recovery.hear(said);
            },
        )
    }
}

impl Error {
    /// With the warning that a write may have been carried out although no answer came.
    #[must_use]
    pub fn uncertain_write(self) -> Self {
        let mut error = self.recovery(|r| {
            r.set(
                NextAction::Check,
                true,
                "It may have been carried out. Read the present state before doing it again.",
            );
        });
        error.not_repeat_safe();
        error
    }
}

impl crate::recovery::Recovery {
    /// Takes over what a marketplace's hint may change, and forwards the rest as data.
    pub fn hear(&mut self, said: Refusal) {
        let known_code = said.known_code();
        let mut theirs = match said.recovery {
            Some(Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        if theirs.get("retryable") == Some(&Value::Bool(false))
            && self.next_action == NextAction::Retry
        {
            self.set(NextAction::Stop, false, "The marketplace says that repeating cannot help.");
        }
        if let Some(seconds) = theirs.get("retry_after_seconds").and_then(Value::as_u64) {
            self.wait(seconds);
        }
        if let Some(message) = said.message {
            theirs.entry("message").or_insert(Value::String(message));
        }
        if let (None, Some(prose)) = (known_code, said.code) {
            theirs.entry("code").or_insert(Value::String(prose));
        }
        if !theirs.is_empty() {
            self.upstream_untrusted = Some(clean_json(Value::Object(theirs), TEXT_CHARS_MAX));
        }
    }
}

/// An error with its sources, in one line. A `reqwest` error's URL is left out: it may hold a query.
struct Chain<'a>(&'a Lost);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            match error.downcast_ref::<reqwest::Error>() {
                Some(_) => {}
                None => write!(f, ": {error}")?,
            }
            source = error.source();
        }
        Ok(())
    }
}

fn header_seconds(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn unsendable(name: &'static str) -> Error {
    Error::new(Code::InvalidArgument, format!("{name} has a value that cannot be sent"))
}

/// Reads JSON strictly: a byte order mark is passed over, a repeated member is refused.
///
/// # Errors
///
/// Where it is no JSON, nests too deep, repeats a member, or has another shape.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    crate::json::check(body)?;
    serde_json::from_slice(body)
}

/// The query of a request: its members that are numbers, texts or flags, percent-encoded.
fn serde_urlencoded_of<O: Operation>(operation: &O) -> Result<String, Error> {
    let value = serde_json::to_value(operation).map_err(|_| unsendable(O::NAME))?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Value::Object(members) = value {
        for (name, value) in &members {
            match value {
                Value::Null | Value::Array(_) | Value::Object(_) => {}
                Value::String(text) => {
                    query.append_pair(name, text);
                }
                Value::Bool(_) | Value::Number(_) => {
                    query.append_pair(name, &value.to_string());
                }
            }
        }
    }
    Ok(query.finish())
}

async fn read_whole(request: reqwest::RequestBuilder, max: usize) -> Result<Answer, Lost> {
    let mut answer = request.send().await.map_err(classify)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Lost::Connection)? {
        if body.len() + chunk.len() > max {
            return Err(Lost::TooLong(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

/// Whether an error is of TLS. An [`std::io::Error`] hides what it wraps from `source`, and wraps
/// another one where TLS fails while connecting.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<rustls::Error>()
        || error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(|wrapped| is_tls(wrapped))
}

fn classify(error: reqwest::Error) -> Lost {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if is_tls(inner) {
            return Lost::Tls(error);
        }
        source = inner.source();
    }
    if error.is_connect() { Lost::NotSent(error) } else { Lost::Connection(error) }
}
