//! One JSON-RPC question and its answer.
//!
//! Time, size and depth of an answer are bounded; its id must be the question's.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use reqwest::{Client, Response};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use super::error::{ChainError, Unavailable, clean};

/// Seconds for one question and its whole answer.
pub const RPC_SECONDS_MAX: u64 = 15;
/// Bytes in the largest answer.
pub const RPC_ANSWER_BYTES_MAX: usize = 2_000_000;
/// Characters from which a part of the URL counts as a secret that must not be shown.
const SECRET_CHARACTERS_MIN: usize = 6;

/// A node and the client that speaks to it.
pub(super) struct Node {
    client: Client,
    url: Url,
    host: String,
    /// Parts of the URL that may be keys.
    secrets: Vec<String>,
    questions: AtomicU64,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Node {
    pub(super) fn new(client: Client, url: &str) -> Result<Self, ChainError> {
        let url = Url::parse(url).map_err(|_| ChainError::Url)?;
        let host = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => host.to_owned(),
            _ => return Err(ChainError::Url),
        };
        let secrets = secrets(&url);
        Ok(Self { client, url, host, secrets, questions: AtomicU64::new(1) })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn malformed(&self, method: &'static str) -> ChainError {
        ChainError::Malformed { host: self.host.clone(), method }
    }

    /// A question whose answer is a number.
    pub(super) async fn quantity<T: FromHex>(
        &self,
        method: &'static str,
        parameters: Value,
    ) -> Result<T, ChainError> {
        let answer: Value = self.ask(method, parameters).await?;
        read_quantity(&answer).ok_or_else(|| self.malformed(method))
    }

    /// Asks, and reads the answer as a `T`.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: Value,
    ) -> Result<T, ChainError> {
        let id = self.questions.fetch_add(1, Ordering::Relaxed);
        let question =
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        let response = self
            .client
            .post(self.url.clone())
            .timeout(Duration::from_secs(RPC_SECONDS_MAX))
            .json(&question)
            .send()
            .await
            .map_err(|error| self.unavailable(how(&error)))?;
        let status = response.status();
        if status.is_redirection() || response.url() != &self.url {
            return Err(self.unavailable(Unavailable::Redirect));
        }
        if status.is_server_error() {
            return Err(self.unavailable(Unavailable::Status(status.as_u16())));
        }
        let body = self.read(response).await?;
        match serde_json::from_slice(&body) {
            Ok(answer) => self.open(method, id, answer),
            Err(_) if status.is_success() => Err(self.malformed(method)),
            Err(_) => Err(self.unavailable(Unavailable::Status(status.as_u16()))),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ChainError> {
        let mut body = Vec::new();
        while let Some(part) =
            response.chunk().await.map_err(|error| self.unavailable(how(&error)))?
        {
            if body.len().saturating_add(part.len()) > RPC_ANSWER_BYTES_MAX {
                return Err(self.unavailable(Unavailable::TooLarge));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// Takes the result out of an answer. A missing result is malformed; `null` is one.
    fn open<T: DeserializeOwned>(
        &self,
        method: &'static str,
        id: u64,
        answer: Value,
    ) -> Result<T, ChainError> {
        let Value::Object(mut answer) = answer else { return Err(self.malformed(method)) };
        if let Some(fault) = answer.remove("error").filter(|fault| !fault.is_null()) {
            let fault: Fault = serde_json::from_value(fault).map_err(|_| self.malformed(method))?;
            let message = clean(&fault.message, &self.secrets);
            return Err(ChainError::Rpc { code: fault.code, message });
        }
        if answer.get("id").and_then(Value::as_u64) != Some(id) {
            return Err(self.malformed(method));
        }
        let result = answer.remove("result").ok_or_else(|| self.malformed(method))?;
        serde_json::from_value(result).map_err(|_| self.malformed(method))
    }

    fn unavailable(&self, reason: Unavailable) -> ChainError {
        ChainError::Unavailable { host: self.host.clone(), reason }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("host", &self.host).finish_non_exhaustive()
    }
}

/// How a request failed. The error itself is dropped, since it shows the URL.
fn how(error: &reqwest::Error) -> Unavailable {
    if error.is_connect() {
        Unavailable::Connect
    } else if error.is_timeout() {
        Unavailable::Timeout
    } else {
        Unavailable::Transport
    }
}

/// The parts of a URL that may be keys: name, password, path, query.
fn secrets(url: &Url) -> Vec<String> {
    let path = url.path().split('/');
    let query = url.query().unwrap_or_default().split(['&', '=']);
    let user = [url.username(), url.password().unwrap_or_default()];
    path.chain(query)
        .chain(user)
        .filter(|part| part.len() >= SECRET_CHARACTERS_MIN)
        .map(str::to_owned)
        .collect()
}

/// A number that JSON-RPC writes as hex.
pub(super) trait FromHex: Sized {
    /// Reads digits without `0x`.
    fn from_hex(digits: &str) -> Option<Self>;
}

impl FromHex for u64 {
    fn from_hex(digits: &str) -> Option<Self> {
        Self::from_str_radix(digits, 16).ok()
    }
}

impl FromHex for u128 {
    fn from_hex(digits: &str) -> Option<Self> {
        Self::from_str_radix(digits, 16).ok()
    }
}

impl FromHex for alloy_primitives::U256 {
    fn from_hex(digits: &str) -> Option<Self> {
        Self::from_str_radix(digits, 16).ok()
    }
}

/// Reads `0x…`: at least one digit, nothing else.
pub(super) fn read_quantity<T: FromHex>(value: &Value) -> Option<T> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| T::from_hex(digits)).flatten()
}
