//! Whether a forwarded request is Crochet's. Source: protocols/crochet.md §8.3.
//!
//! The signed text is not published, so it is a [`Scheme`]: the proposed one by default, another one
//! after [`calibrate`] has found it by a genuine request. Invariants: the body is always part of what
//! is signed; the timestamp or the request's identifier is, too; digests are compared in constant
//! time; nothing here shows a secret.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine, engine::general_purpose};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// How far a timestamp may be off, in seconds.
pub const SKEW_SECONDS_MAX: i64 = 300;
/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 200;
/// Timestamps from here on are in milliseconds: as seconds it would be the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;
/// The templates that [`calibrate`] tries.
const TEMPLATES: &[&str] = &[
    "{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "{timestamp}\n{body}",
    "{timestamp}.{body_sha256}",
    "{timestamp}.{request_id}.{body}",
    "{request_id}.{timestamp}.{body}",
    "{timestamp}.{method}.{path}.{body}",
    "{timestamp}.{method}.{path}.{body_sha256}",
    "{timestamp}\n{method}\n{path}\n{body}",
    "{timestamp}\n{method}\n{path}\n{body_sha256}",
    "{method}\n{path}\n{timestamp}\n{body_sha256}",
    "{request_id}.{body}",
];
/// The headers that it tries.
const TIMESTAMP_HEADERS: &[&str] = &["x-crochet-timestamp", "x-timestamp"];
const REQUEST_ID_HEADERS: &[&str] =
    &["x-crochet-request-id", "x-request-id", "x-crochet-relay-request-id"];

/// How a digest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is; for the secret alone.
    Text,
    /// Hexadecimal, either case.
    Hex,
    /// Base64, of either alphabet, with or without padding.
    Base64,
}

impl Encoding {
    const ALL: [Self; 3] = [Self::Text, Self::Hex, Self::Base64];

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Text => Some(text.as_bytes().to_vec()),
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => {
                let plain = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
                general_purpose::STANDARD_NO_PAD.decode(plain).ok()
            }
        }
    }
}

/// How a request is signed.
///
/// As text: `{timestamp}.{body}|hex|text|x-crochet-signature|x-crochet-timestamp|x-crochet-request-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// What is signed: text with `{timestamp}` `{method}` `{path}` `{body}` `{body_sha256}`
    /// `{request_id}`.
    template: String,
    /// How the digest is written.
    digest: Encoding,
    /// How the secret is to be read.
    secret: Encoding,
    signature_header: String,
    timestamp_header: String,
    request_id_header: String,
}

impl Default for Scheme {
    fn default() -> Self {
        Self {
            template: "{timestamp}.{body}".to_owned(),
            digest: Encoding::Hex,
            secret: Encoding::Text,
            signature_header: "x-crochet-signature".to_owned(),
            timestamp_header: "x-crochet-timestamp".to_owned(),
            request_id_header: "x-crochet-request-id".to_owned(),
        }
    }
}

/// Why a text is no scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// It has not six parts, or one of them is none that is known.
    #[error("must be a `scheme` that calibrating returned")]
    Unreadable,
    /// The signature would hold for every body.
    #[error("must have {{body}} or {{body_sha256}} in its template")]
    NoBody,
    /// A request could be sent again for ever, and be taken for a new one.
    #[error("must have {{timestamp}} or {{request_id}} in its template, against replay")]
    Replayable,
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let mut parts = text.rsplitn(6, '|');
        let mut part = || parts.next().ok_or(SchemeError::Unreadable);
        let (request_id, timestamp, signature) = (part()?, part()?, part()?);
        let (secret, digest, template) = (part()?, part()?, part()?);
        let header = |name: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let is_one = (1..=64).contains(&name.len()) && name.bytes().all(fits);
            is_one.then(|| name.to_ascii_lowercase()).ok_or(SchemeError::Unreadable)
        };
        let scheme = Self {
            template: template.replace("\\n", "\n"),
            digest: Encoding::named(digest)
                .filter(|encoding| *encoding != Encoding::Text)
                .ok_or(SchemeError::Unreadable)?,
            secret: Encoding::named(secret).ok_or(SchemeError::Unreadable)?,
            signature_header: header(signature)?,
            timestamp_header: header(timestamp)?,
            request_id_header: header(request_id)?,
        };
        scheme.check().map(|()| scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let template = self.template.replace('\n', "\\n");
        let (digest, secret) = (self.digest.name(), self.secret.name());
        let headers = [&self.signature_header, &self.timestamp_header, &self.request_id_header];
        let [signature, timestamp, request_id] = headers;
        write!(f, "{template}|{digest}|{secret}|{signature}|{timestamp}|{request_id}")
    }
}

impl Scheme {
    fn has(&self, part: &str) -> bool {
        self.template.contains(part)
    }

    fn check(&self) -> Result<(), SchemeError> {
        if self.template.len() > TEMPLATE_BYTES_MAX {
            return Err(SchemeError::Unreadable);
        }
        if !self.has("{body}") && !self.has("{body_sha256}") {
            return Err(SchemeError::NoBody);
        }
        if !self.has("{timestamp}") && !self.has("{request_id}") {
            return Err(SchemeError::Replayable);
        }
        Ok(())
    }

    /// Whether only a store of request identifiers keeps a request from being repeated.
    #[must_use]
    pub fn needs_request_store(&self) -> bool {
        !self.has("{timestamp}")
    }
}

/// A request as it reached the seller's server.
#[derive(Clone, Debug)]
pub struct Forwarded<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path with the query.
    pub path: &'a str,
    /// Its headers, names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    /// Its body, byte for byte.
    pub body: &'a [u8],
}

/// Why a request is not Crochet's, or not a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no signature.
    #[error("it has no signature header")]
    NoSignature,
    /// The signature is no digest.
    #[error("its signature is no SHA-256 digest in the scheme's encoding")]
    UnreadableSignature,
    /// It has no timestamp.
    #[error("it has no timestamp header that can be read")]
    NoTimestamp,
    /// It has no identifier, which the scheme needs.
    #[error("it has no request identifier header")]
    NoRequestId,
    /// It is too old, or from the future.
    #[error("its timestamp is {off_s} seconds off, more than 300")]
    Stale {
        /// How far it is off, either way.
        off_s: u64,
    },
    /// The secret cannot be read in the scheme's encoding.
    #[error("the signing secret does not fit the scheme")]
    UnreadableSecret,
    /// The digest is another.
    #[error("its signature is not made with this listing's secret over this body")]
    Mismatch,
}

/// Checks a request. `now` is in Unix seconds.
///
/// Who takes the same request once only has to remember its identifier; with a timestamp in the
/// template for [`SKEW_SECONDS_MAX`] twice, without one for ever.
///
/// # Errors
///
/// The first reason why not.
pub fn verify(
    request: &Forwarded<'_>,
    scheme: &Scheme,
    secret: &SecretString,
    now: i64,
) -> Result<(), Invalid> {
    let signature = request.header(&scheme.signature_header).ok_or(Invalid::NoSignature)?;
    let timestamp = request.header(&scheme.timestamp_header);
    if scheme.has("{timestamp}") {
        let at = timestamp.and_then(seconds).ok_or(Invalid::NoTimestamp)?;
        let off_s = now.abs_diff(at);
        if off_s > SKEW_SECONDS_MAX.unsigned_abs() {
            return Err(Invalid::Stale { off_s });
        }
    }
    matches(request, scheme, secret, signature)
}

/// Finds how a genuine request was signed, by trying what is usual; none where nothing fits. The
/// timestamp's age does not count.
#[must_use]
pub fn calibrate(request: &Forwarded<'_>, secret: &SecretString) -> Option<Scheme> {
    let signature_headers = request.headers.keys().filter(|name| name.contains("signature"));
    for signature_header in signature_headers {
        let Some(signature) = request.header(signature_header) else { continue };
        for scheme in candidates(signature_header) {
            if matches(request, &scheme, secret, signature).is_ok() {
                return Some(scheme);
            }
        }
    }
    None
}

fn candidates(signature_header: &str) -> impl Iterator<Item = Scheme> {
    let named = |names: &'static [&str]| names.iter().map(|name| (*name).to_owned());
    let headers = named(TIMESTAMP_HEADERS).flat_map(move |timestamp| {
        named(REQUEST_ID_HEADERS).map(move |id| (timestamp.clone(), id))
    });
    headers.flat_map(move |(timestamp_header, request_id_header)| {
        let base = Scheme {
            signature_header: signature_header.to_owned(),
            timestamp_header,
            request_id_header,
            ..Scheme::default()
        };
        TEMPLATES.iter().flat_map(move |template| {
            let base = Scheme { template: (*template).to_owned(), ..base.clone() };
            [Encoding::Hex, Encoding::Base64].into_iter().flat_map(move |digest| {
                let base = base.clone();
                Encoding::ALL.map(move |secret| Scheme { digest, secret, ..base.clone() })
            })
        })
    })
}

fn matches(
    request: &Forwarded<'_>,
    scheme: &Scheme,
    secret: &SecretString,
    signature: &str,
) -> Result<(), Invalid> {
    let message = request.signed(scheme)?;
    let key = secret.expose_secret();
    // A prefix such as `whsec_` is part of the text, but not of an encoding.
    let key = scheme.secret.decode(key).or_else(|| scheme.secret.decode(key.rsplit('_').next()?));
    let key = key.ok_or(Invalid::UnreadableSecret)?;
    let given = given_digests(signature, scheme.digest);
    if given.is_empty() {
        return Err(Invalid::UnreadableSignature);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| Invalid::UnreadableSecret)?;
    mac.update(&message);
    let digest = mac.finalize().into_bytes();
    if given.iter().any(|given| bool::from(given.as_slice().ct_eq(digest.as_slice()))) {
        Ok(())
    } else {
        Err(Invalid::Mismatch)
    }
}

/// The digests in a header: one, with or without `sha256=` or `v1=`, or several between commas.
fn given_digests(signature: &str, encoding: Encoding) -> Vec<Vec<u8>> {
    let digest = |part: &str| {
        let part = part.trim();
        let bare = ["sha256=", "v1="].iter().find_map(|prefix| part.strip_prefix(prefix));
        encoding.decode(bare.unwrap_or(part)).filter(|bytes| bytes.len() == 32)
    };
    signature.split(',').take(4).filter_map(digest).collect()
}

/// A timestamp's Unix seconds: seconds, milliseconds, or RFC 3339.
fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(number) if number >= MILLIS_FROM => Some(number / 1000),
        Ok(number) => (number > 0).then_some(number),
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
    }
}

impl Forwarded<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The text that is signed. What stands in a header is put in as it is, once.
    fn signed(&self, scheme: &Scheme) -> Result<Vec<u8>, Invalid> {
        let mut message = Vec::new();
        let mut rest = scheme.template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            message.extend_from_slice(before.as_bytes());
            let Some((name, after)) = after.split_once('}') else {
                rest = after;
                break;
            };
            match name {
                "timestamp" => message.extend_from_slice(
                    self.header(&scheme.timestamp_header).ok_or(Invalid::NoTimestamp)?.as_bytes(),
                ),
                "request_id" => message.extend_from_slice(
                    self.header(&scheme.request_id_header).ok_or(Invalid::NoRequestId)?.as_bytes(),
                ),
                "method" => message.extend_from_slice(self.method.as_bytes()),
                "path" => message.extend_from_slice(self.path.as_bytes()),
                "body" => message.extend_from_slice(self.body),
                "body_sha256" => {
                    message.extend_from_slice(hex::encode(Sha256::digest(self.body)).as_bytes());
                }
                other => message.extend_from_slice(format!("{{{other}}}").as_bytes()),
            }
            rest = after;
        }
        message.extend_from_slice(rest.as_bytes());
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
