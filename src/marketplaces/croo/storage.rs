//! The storage behind a presigned link: where a file may be sent to and taken from.
//!
//! Invariants: no key and no header of CROO's goes there; no redirect is followed; the host is looked
//! up once, every address it has must be a stranger's, and the connection goes to one of these; the
//! link's query and the storage's own words are in no log and no error. In the sandbox the storage is
//! on this machine, and nothing else is reached.

use std::{
    future::ready,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, future::BoxFuture};
use reqwest::{
    Body, Response, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio_util::{bytes::Bytes, io::ReaderStream};
use url::{Host, Url};

use crate::{
    egress,
    error::{Code, Error},
    files::{FILE_BYTES_MAX, Opened, Staged},
    marketplaces::Marketplace,
};

/// How long sending or taking a file may take.
pub const STORAGE_TIMEOUT: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest link, in bytes.
const URL_BYTES_MAX: usize = 8192;
/// The longest content type that is passed on, in bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 100;

/// Where storages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On this machine, with or without TLS: the sandbox.
    Loopback,
    /// On the public network, with TLS.
    Public,
}

/// A presigned link that passed every rule but the look-up of its host.
#[derive(Debug)]
pub struct Link {
    url: Url,
    reach: Reach,
}

/// Why a link is not followed.
fn blocked(why: &str) -> Error {
    let message = format!("CROO names a place for files that {why}; nothing was sent there");
    Error::new(Code::EgressBlocked, message).at(Marketplace::Croo)
}

impl Link {
    /// Reads a link that CROO gave.
    ///
    /// # Errors
    ///
    /// [`Code::EgressBlocked`], without the link: its query is a credential.
    pub fn read(text: &str, reach: Reach) -> Result<Self, Error> {
        if text.len() > URL_BYTES_MAX {
            return Err(blocked("has more than 8192 bytes"));
        }
        let mut url = Url::parse(text).map_err(|_| blocked("is no URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(blocked("carries credentials"));
        }
        match (url.scheme(), reach) {
            ("https", _) | ("http", Reach::Loopback) => {}
            _ => return Err(blocked("is not reached by https")),
        }
        let address = match url.host() {
            None => return Err(blocked("has no host")),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        if !address.is_none_or(|address| reach.includes(address)) {
            return Err(reach.refusal());
        }
        url.set_fragment(None);
        Ok(Self { url, reach })
    }

    /// The link itself, for whoever is to follow it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Looks the host up, once, and gives a client that connects to what was found.
    async fn client(&self, names: &dyn Names) -> Result<reqwest::Client, Error> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let found: Vec<SocketAddr> = match self.url.host() {
            None => return Err(blocked("has no host")),
            Some(Host::Ipv4(address)) => vec![(address, port).into()],
            Some(Host::Ipv6(address)) => vec![(address, port).into()],
            Some(Host::Domain(name)) => names.look_up(name.to_owned(), port).await?,
        };
        if found.is_empty() {
            return Err(unreachable());
        }
        // One private address among public ones is a trap.
        if !found.iter().all(|address| self.reach.includes(address.ip())) {
            return Err(self.reach.refusal());
        }
        // The provider is the process's; a second installation is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .gzip(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(STORAGE_TIMEOUT)
            .user_agent(concat!("haggle/", env!("CARGO_PKG_VERSION")))
            // Whatever name is asked for, these are the addresses.
            .dns_resolver(Arc::new(Pinned(found)));
        // Without TLS the system's certificates need not be read.
        let builder =
            if self.url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        builder.build().map_err(|_| {
            let message = "TLS cannot be set up on this machine; nothing was sent";
            Error::new(Code::TlsFailed, message)
        })
    }
}

impl Reach {
    fn includes(self, address: IpAddr) -> bool {
        match self {
            Self::Loopback => egress::is_loopback(address),
            Self::Public => egress::is_public(address),
        }
    }

    fn refusal(self) -> Error {
        blocked(match self {
            Self::Loopback => "is not on this machine, where the sandbox is",
            Self::Public => "is not on the public network",
        })
    }
}

/// Looks names up.
pub trait Names: Send + Sync {
    /// Every address of this host.
    fn look_up(&self, host: String, port: u16) -> BoxFuture<'_, Result<Vec<SocketAddr>, Error>>;
}

/// The operating system's names.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn look_up(&self, host: String, port: u16) -> BoxFuture<'_, Result<Vec<SocketAddr>, Error>> {
        Box::pin(async move {
            let asked = tokio::net::lookup_host((host, port));
            match tokio::time::timeout(CONNECT_TIMEOUT, asked).await {
                Ok(Ok(found)) => Ok(found.collect()),
                Ok(Err(_)) | Err(_) => Err(unreachable()),
            }
        })
    }
}

/// What was found, for every name.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let found: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(ready(Ok(found)))
    }
}

/// A file that was sent.
#[derive(Debug)]
pub struct Sent {
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256, in hex.
    pub sha256: String,
}

/// Sends a file to where a link leads: `PUT`, with the content type that the link was made for.
///
/// As many bytes are sent as the file had when it was opened, however it changes meanwhile.
///
/// # Errors
///
/// [`Code::EgressBlocked`], [`Code::LinkExpired`] where the storage does not take the link any more,
/// [`Code::UpstreamUnavailable`], [`Code::UpstreamRejected`]; [`Code::InvalidArgument`] where the
/// file shrank. Until CROO is told of it nothing refers to the file, so that sending it again is
/// harmless.
pub async fn put(
    link: &Link,
    names: &dyn Names,
    opened: Opened,
    content_type: &str,
) -> Result<Sent, Error> {
    let client = link.client(names).await?;
    let declared = opened.bytes;
    let content_type = HeaderValue::from_str(content_type)
        .map_err(|_| Error::argument("content_type", "cannot be sent", "\"text/csv\""))?;
    let (body, hashed) = Hashing::of(opened);
    let request = client
        .put(link.url.clone())
        .header(CONTENT_TYPE, content_type)
        .header(CONTENT_LENGTH, declared)
        .body(Body::wrap_stream(body));
    let answer = request.send().await;
    let (bytes, sha256) = hashed.finish();
    match answer {
        Ok(answer) if answer.status().is_success() && bytes == declared => {
            Ok(Sent { bytes, sha256 })
        }
        Ok(answer) if !answer.status().is_success() => Err(refused(&answer)),
        // The connection is given up when the file turns out to be shorter than was said.
        _ if hashed.was_cut() => {
            let problem = "changed while it was sent; send it again, with a name";
            Err(Error::argument("file_name", problem, "\"report.csv\""))
        }
        Ok(_) => Err(unreachable()),
        Err(error) => Err(lost(&error)),
    }
}

/// A file that was taken.
#[derive(Debug)]
pub struct Taken {
    /// The file, not named yet.
    pub staged: Staged,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256, in hex.
    pub sha256: String,
    /// What the storage says it is, where that is a content type.
    pub content_type: Option<String>,
}

/// Takes a file from where a link leads: `GET`, into `staged`, at most [`FILE_BYTES_MAX`].
///
/// # Errors
///
/// As [`put`]; [`Code::UpstreamTooLarge`]; [`Code::Internal`] where the folder cannot be written.
pub async fn get(link: &Link, names: &dyn Names, mut staged: Staged) -> Result<Taken, Error> {
    let request = link.client(names).await?.get(link.url.clone());
    let sent = request.header(ACCEPT_ENCODING, "identity").send().await;
    let mut answer = sent.map_err(|error| lost(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(refused(&answer));
    }
    if answer.content_length().is_some_and(|length| length > FILE_BYTES_MAX) {
        return Err(too_large());
    }
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.filter(|text| is_content_type(text)).map(ToOwned::to_owned);
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(chunk) = answer.chunk().await.map_err(|error| lost(&error))? {
        bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if bytes > FILE_BYTES_MAX {
            return Err(too_large());
        }
        hash.update(&chunk);
        let written = tokio::task::spawn_blocking(move || {
            staged.write(&chunk).map(|()| staged).map_err(|error| unwritable(&error))
        });
        staged = written.await.map_err(|_| Error::new(Code::Internal, "writing broke off"))??;
    }
    Ok(Taken { staged, bytes, sha256: hex::encode(hash.finalize()), content_type })
}

/// The owner's folder failed.
#[must_use]
pub fn unwritable(error: &crate::files::FilesError) -> Error {
    tracing::error!(%error, "the owner's folder failed");
    let message = format!("a file cannot be written: {error}");
    Error::new(Code::StoreUnavailable, message)
}

/// Whether a text names a content type, with or without parameters.
#[must_use]
pub fn is_content_type(text: &str) -> bool {
    let token = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    let mut parts = text.split(';').map(str::trim);
    let is_type = |kind: &str| {
        kind.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
    };
    text.len() <= CONTENT_TYPE_BYTES_MAX
        && parts.next().is_some_and(is_type)
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| token(name) && token(value))
        })
}

/// What an answer means that is no success. Its own words stay out of it.
fn refused(answer: &Response) -> Error {
    let status = answer.status();
    let number = status.as_u16();
    let (code, message) = match number {
        300..=399 => (
            Code::EgressBlocked,
            format!("the storage redirects (HTTP {number}); redirects are not followed"),
        ),
        // What a storage says to a link that is over, or signed for something else.
        401 | 403 | 410 => (
            Code::LinkExpired,
            format!("the storage does not take CROO's link any more: HTTP {number}"),
        ),
        404 => (Code::NotFound, "the storage has no such file".to_owned()),
        413 => (Code::UpstreamRejected, "the storage does not take a file of this size".to_owned()),
        200..=299 | 408 | 425 | 429 | 500.. => {
            (Code::UpstreamUnavailable, format!("the storage answered with HTTP {number}"))
        }
        _ => (Code::UpstreamRejected, format!("the storage refused: HTTP {number}")),
    };
    Error::new(code, message).at(Marketplace::Croo).upstream(Some(number), None)
}

fn too_large() -> Error {
    let message = format!("the file has more than {FILE_BYTES_MAX} bytes; nothing was kept");
    Error::new(Code::UpstreamTooLarge, message).at(Marketplace::Croo)
}

fn unreachable() -> Error {
    let message = "CROO's storage cannot be reached";
    Error::new(Code::UpstreamUnavailable, message).at(Marketplace::Croo)
}

/// The connection failed. What `reqwest` says holds the link, so it is said in other words.
fn lost(error: &reqwest::Error) -> Error {
    tracing::warn!(timeout = error.is_timeout(), connect = error.is_connect(), "no storage");
    let message = if error.is_connect() {
        "CROO's storage cannot be reached"
    } else if error.is_timeout() {
        "CROO's storage did not answer in time"
    } else {
        "the connection to CROO's storage broke"
    };
    Error::new(Code::UpstreamUnavailable, message).at(Marketplace::Croo)
}

/// The bytes of a file on their way out, counted and hashed.
struct Hashing {
    file: ReaderStream<tokio::io::Take<tokio::fs::File>>,
    declared: u64,
    so_far: Arc<std::sync::Mutex<SoFar>>,
}

/// What has gone out.
#[derive(Debug, Default)]
struct SoFar {
    hash: Sha256,
    bytes: u64,
    is_over: bool,
}

/// What went out, for whoever waits for the answer.
struct Hashed {
    declared: u64,
    so_far: Arc<std::sync::Mutex<SoFar>>,
}

impl Hashing {
    fn of(opened: Opened) -> (Self, Hashed) {
        let declared = opened.bytes;
        let so_far = Arc::new(std::sync::Mutex::new(SoFar::default()));
        let file = tokio::fs::File::from_std(opened.file).take(declared);
        let hashed = Hashed { declared, so_far: so_far.clone() };
        (Self { file: ReaderStream::new(file), declared, so_far }, hashed)
    }
}

impl Stream for Hashing {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.file).poll_next(context));
        let declared = self.declared;
        let mut so_far = self.so_far.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &next {
            Some(Ok(chunk)) => {
                so_far.hash.update(chunk);
                so_far.bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            }
            Some(Err(_)) => so_far.is_over = true,
            None => {
                so_far.is_over = true;
                if so_far.bytes < declared {
                    let short = std::io::Error::other("the file became shorter");
                    return Poll::Ready(Some(Err(short)));
                }
            }
        }
        Poll::Ready(next)
    }
}

impl Hashed {
    /// How many bytes went out, and their digest in hex.
    fn finish(&self) -> (u64, String) {
        let mut so_far = self.so_far.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hash = std::mem::take(&mut so_far.hash);
        (so_far.bytes, hex::encode(hash.finalize()))
    }

    /// Whether the file ended before it should have.
    fn was_cut(&self) -> bool {
        let so_far = self.so_far.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        so_far.is_over && so_far.bytes < self.declared
    }
}

#[cfg(test)]
mod tests;
