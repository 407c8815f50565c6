//! The seller's own server behind the metered proxy: where it is, and the key that it wants to see.

use std::io::Read as _;

use reqwest::header::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use zeroize::Zeroizing;

use super::RegisterServiceArgs;
use crate::{
    app::App,
    config::Mode,
    error::{Code, Error},
    files::{FileName, FilesError, Folder},
    marketplaces::crochet::seller::check_endpoint_url,
};

/// The header that carries the key, unless the seller names another one.
const HEADER: &str = "X-API-Key";
/// The longest key, in bytes.
const KEY_BYTES_MAX: u64 = 4096;
/// The longest name of a header, in bytes.
const HEADER_BYTES_MAX: usize = 64;
/// Headers that belong to the request itself.
const HEADERS_BARRED: &[&str] =
    &["host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade"];
/// By so much of its beginning a key is known.
const START_CHARS: usize = 16;
const URL_EXAMPLE: &str = "\"https://seller.example/v1\"";
const FILE_EXAMPLE: &str = "\"upstream.key\"";

/// What stands behind a service.
pub(super) struct Upstream {
    pub(super) base_url: Option<String>,
    pub(super) key: Option<SecretString>,
    pub(super) header: String,
}

impl Default for Upstream {
    fn default() -> Self {
        Self { base_url: None, key: None, header: HEADER.to_owned() }
    }
}

impl Upstream {
    /// Reads what the arguments name.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`], without the key; nothing was sent.
    pub(super) async fn read(app: &App, args: &RegisterServiceArgs) -> Result<Self, Error> {
        let loopback = matches!(app.settings().mode, Mode::Sandbox { .. });
        let base_url = args.api_base_url.clone();
        if let Some(url) = &base_url {
            check_base_url(url, loopback)
                .map_err(|problem| Error::argument("api_base_url", problem, URL_EXAMPLE))?;
        }
        let header = args.upstream_header.clone().unwrap_or_else(|| HEADER.to_owned());
        if !is_header(&header) {
            let problem = "must be the name of a header that a key goes in";
            return Err(Error::argument("upstream_header", problem, "\"X-API-Key\""));
        }
        let Some(file) = &args.upstream_key_file else {
            return Ok(Self { base_url, key: None, header });
        };
        let name: FileName = file.parse().map_err(|error: FilesError| unfit(&error))?;
        if base_url.is_none() {
            let problem = "must be given with `upstream_key_file`";
            return Err(Error::argument("api_base_url", problem, URL_EXAMPLE));
        }
        let folder = app.settings().files_dir.clone();
        let read = tokio::task::spawn_blocking(move || key(&folder, &name));
        let key = read.await.map_err(|_| Error::new(Code::Internal, "a file was not read"))??;
        Ok(Self { base_url, key: Some(key), header })
    }
}

/// The key that a file holds: its text without the line end.
fn key(folder: &std::path::Path, name: &FileName) -> Result<SecretString, Error> {
    let opened = Folder::open(folder).and_then(|folder| folder.read(name));
    let opened = opened.map_err(|error| unfit(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    let read = opened.file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| unfit(&error.into()))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let fits = |b: u8| b.is_ascii_graphic() || b == b' ';
    let is_key = u64::try_from(text.len()).is_ok_and(|len| (1..=KEY_BYTES_MAX).contains(&len))
        && text.bytes().all(fits);
    if is_key {
        return Ok(SecretString::from(text));
    }
    let problem = "must name a file with one line of plain text, the key";
    Err(Error::argument("upstream_key_file", problem, FILE_EXAMPLE))
}

fn unfit(error: &FilesError) -> Error {
    match error {
        FilesError::Io(error) => {
            tracing::error!(%error, "the owner's folder cannot be used");
            let message = "the owner's folder cannot be used; nothing was sent";
            Error::new(Code::StoreUnavailable, message)
        }
        FilesError::Name
        | FilesError::Absent
        | FilesError::Unsuitable
        | FilesError::TooLarge(_)
        | FilesError::Taken => Error::argument("upstream_key_file", error, FILE_EXAMPLE),
    }
}

/// A root that paths are appended to: what a public endpoint is, without a query.
fn check_base_url(text: &str, loopback: bool) -> Result<(), &'static str> {
    check_endpoint_url(text, loopback)?;
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query and no fragment: paths are appended to it");
    }
    Ok(())
}

fn is_header(name: &str) -> bool {
    name.len() <= HEADER_BYTES_MAX
        && HeaderName::try_from(name).is_ok()
        && !HEADERS_BARRED.iter().any(|barred| barred.eq_ignore_ascii_case(name))
}

/// A failure without what the marketplace said, where that holds the key: a server that refuses a
/// body may say back what was in it.
pub(super) fn without(upstream: &Upstream, error: Error) -> Error {
    let Some(key) = &upstream.key else { return error };
    // What it said may be cut: the beginning of the key is enough to know it by.
    let start: String = key.expose_secret().chars().take(START_CHARS).collect();
    let escaped = serde_json::to_string(&start).unwrap_or_default();
    let said = error.recovery.upstream_untrusted.as_ref().map(ToString::to_string);
    let is_told = said.is_some_and(|said| said.contains(escaped.trim_matches('"')));
    if !is_told && !error.upstream_code.as_ref().is_some_and(|code| code.contains(&start)) {
        return error;
    }
    let status = error.http_status;
    let bare = Error::new(error.code, "Paegents refused paegents.register_service")
        .at(crate::marketplaces::Marketplace::Paegents)
        .upstream(status, None);
    if error.repeat_safe { bare } else { bare.uncertain_write() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_roots_that_paths_can_be_appended_to() {
        #[rustfmt::skip]
        let rows = [
            // url                             live   sandbox
            ("https://seller.example/v1",      true,  true),
            ("https://seller.example:8443",    true,  true),
            ("http://seller.example",          false, false),
            ("http://127.0.0.1:9/v1",          false, true),
            ("https://10.0.0.1/v1",            false, false),
            ("https://a:b@seller.example",     false, false),
            ("https://seller.example/?a=b",    false, false),
            ("https://seller.example/#a",      false, false),
            ("seller.example",                 false, false),
        ];
        for (url, live, sandbox) in rows {
            assert_eq!(check_base_url(url, false).is_ok(), live, "{url}");
            assert_eq!(check_base_url(url, true).is_ok(), sandbox, "{url}");
        }
    }

    #[test]
    fn takes_headers_that_a_key_can_go_in() {
        for good in ["X-API-Key", "Authorization", "x_key"] {
            assert!(is_header(good), "{good}");
        }
        for bad in ["", "Host", "content-length", "X Key", "X-Key:", "X\r\nY", &"a".repeat(65)] {
            assert!(!is_header(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_line_of_a_plain_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        #[rustfmt::skip]
        let rows = [
            ("one line",       b"sk_upstream_1\n".to_vec(),     Some("sk_upstream_1")),
            ("with a scheme",  b"Bearer abc".to_vec(),          Some("Bearer abc")),
            ("the longest",    vec![b'a'; 4096],                Some("a")),
            ("too long",       vec![b'a'; 4097],                None),
            ("nothing",        b" \n".to_vec(),                 None),
            ("two lines",      b"a\nb".to_vec(),                None),
            ("no text",        vec![0xff, 0xfe],                None),
            ("not plain",      "schlüssel".as_bytes().to_vec(), None),
        ];
        for (at, (row, bytes, expected)) in rows.into_iter().enumerate() {
            let name = format!("key-{at}");
            std::fs::write(path.join(&name), bytes).unwrap();
            let read = key(path, &name.parse().unwrap());
            match expected {
                Some(start) => {
                    assert!(read.unwrap().expose_secret().starts_with(start), "{row}");
                }
                None => assert_eq!(read.unwrap_err().field.as_deref(), Some("upstream_key_file")),
            }
        }
        let absent = key(path, &"nothing".parse().unwrap()).unwrap_err();
        assert!(absent.is(Code::InvalidArgument) && absent.message.contains("names no file"));
    }

    #[test]
    fn an_error_that_says_the_key_back_is_cut() {
        let upstream = Upstream {
            base_url: None,
            key: Some("sk_\"canary\"".to_owned().into()),
            header: HEADER.to_owned(),
        };
        let told = |text: &str| {
            let said = serde_json::json!({ "message": text });
            Error::new(Code::UpstreamRejected, "Paegents refused it")
                .recovery(|recovery| recovery.upstream_untrusted = Some(said))
        };
        let cut = without(&upstream, told("input was sk_\"canary\", too short"));
        assert!(!cut.to_json().to_string().contains("canary"), "{:?}", cut.to_json());
        let kept = without(&upstream, told("the name is taken"));
        assert!(kept.to_json().to_string().contains("taken"));
    }
}
