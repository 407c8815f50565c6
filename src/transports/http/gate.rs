//! Who may call over HTTP: the names and origins that a request may have, and its token.
//!
//! Invariants: a web page of another origin reaches nothing, whatever name it is reached by; a token
//! is read from the `Authorization` header alone, and no handler sees it.

use std::{net::IpAddr, time::Duration};

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts,
        uri::Authority,
    },
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

use crate::page::MOUNTED_AT;

/// The headers that a page may send.
const ASKED: [&str; 8] = [
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
];
/// The headers that a page may read.
const TOLD: [&str; 3] = ["mcp-session-id", "retry-after", "www-authenticate"];
/// What browsers say of who makes a request: a page of this site, or of another.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// And what for: to show it as a page, or as a part of one.
const SEC_FETCH_MODE: &str = "sec-fetch-mode";
/// How long a browser keeps what it was told.
const CORS_KEPT: Duration = Duration::from_hours(1);

/// The names and origins that are accepted, besides those of this machine.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    hosts: Vec<Authority>,
    origins: Vec<url::Origin>,
}

/// What is wrong with a list of names or origins.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A host is none.
    #[error("http.allowed_hosts: `{0}` is not a host name, with or without a port")]
    Host(String),
    /// An origin is none.
    #[error("http.allowed_origins: `{0}` is not an origin, such as https://app.example.com")]
    Origin(String),
}

impl Gate {
    /// The gate with these names and origins.
    ///
    /// # Errors
    ///
    /// [`GateError`].
    pub(super) fn new(hosts: &[String], origins: &[String]) -> Result<Self, GateError> {
        let host = |text: &String| {
            let bare = !text.contains(['/', '@', '*']);
            text.parse::<Authority>().ok().filter(|_| bare).ok_or(GateError::Host(text.clone()))
        };
        let origin = |text: &String| {
            let url = Url::parse(text).ok().filter(|url| url.origin().is_tuple());
            let bare = url.filter(|url| url.path() == "/" && url.query().is_none());
            bare.map(|url| url.origin()).ok_or(GateError::Origin(text.clone()))
        };
        Ok(Self {
            hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
            origins: origins.iter().map(origin).collect::<Result<_, _>>()?,
        })
    }

    /// Refuses a request that came under another name, or from a web page of another origin.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), Refused> {
        if !name_of(parts).is_some_and(|host| self.knows(&host)) {
            return Err(Refused::Host);
        }
        let mut origins = parts.headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            // A picture or a script of a page has no origin, but the browser says that it is from
            // elsewhere.
            (None, _) if is_of_another_site(parts) && !follows_a_link_to_the_page(parts) => {
                Err(Refused::Origin)
            }
            (None, _) => Ok(()),
            (Some(origin), None) if self.trusts(origin) => Ok(()),
            _ => Err(Refused::Origin),
        }
    }

    /// What browsers are told that ask whether a page may call: yes to the configured origins alone.
    /// A page of this machine is not refused, and not let in either: anybody may have put it there.
    pub(super) fn cors(&self) -> CorsLayer {
        let origins = self.origins.clone();
        let is_configured = move |origin: &HeaderValue, _: &Parts| {
            let url = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
            url.is_some_and(|url| origins.contains(&url.origin()))
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(is_configured))
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(ASKED.map(HeaderName::from_static))
            .expose_headers(TOLD.map(HeaderName::from_static))
            .max_age(CORS_KEPT)
    }

    fn knows(&self, host: &Authority) -> bool {
        let same = |known: &Authority| {
            known.host().eq_ignore_ascii_case(host.host())
                && known.port_u16().is_none_or(|port| host.port_u16() == Some(port))
        };
        is_own_name(host.host()) || self.hosts.iter().any(same)
    }

    fn trusts(&self, origin: &HeaderValue) -> bool {
        let Some(url) = origin.to_str().ok().and_then(|text| Url::parse(text).ok()) else {
            return false;
        };
        let of_this_machine =
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(is_own_name);
        of_this_machine || self.origins.contains(&url.origin())
    }
}

/// The name that a request came under.
fn name_of(parts: &Parts) -> Option<Authority> {
    parts.uri.authority().cloned().or_else(|| {
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let only = hosts.next().filter(|_| hosts.next().is_none());
        only.and_then(|host| host.to_str().ok()?.parse().ok())
    })
}

/// Whether an address is one of this machine itself. IPv4 on a socket of IPv6 is written in its own way.
pub(super) fn is_near(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a name, without a port, is one of this machine itself: `localhost`, or such an address.
fn is_own_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || bare.unwrap_or(host).parse().is_ok_and(is_near)
}

/// Whether a request came under this machine's own name.
pub(super) fn is_of_this_machine(parts: &Parts) -> bool {
    name_of(parts).is_some_and(|host| is_own_name(host.host()))
}

/// Whether a browser says that a page of another site is behind the request.
fn is_of_another_site(parts: &Parts) -> bool {
    parts.headers.get_all(SEC_FETCH_SITE).iter().any(|site| site == "cross-site")
}

/// Whether a person goes to the owner's page, which they may do by a link from anywhere: it asks who
/// they are, and its forms see to themselves.
fn follows_a_link_to_the_page(parts: &Parts) -> bool {
    let below = parts.uri.path().strip_prefix(MOUNTED_AT);
    let is_page = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let navigates = parts.headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
    is_page && navigates && parts.method == Method::GET
}

/// The token of a request, which is taken out of it.
pub(super) fn take_token(headers: &mut HeaderMap) -> Option<String> {
    let value = headers.remove(header::AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It came under another name.
    Host,
    /// It came from a web page of another origin.
    Origin,
    /// It came from elsewhere for what is served to this machine alone.
    NotHere,
    /// It has no token.
    NoToken,
    /// Its token is nobody's.
    BadToken,
    /// Its client made too many in a minute; how many seconds until the next.
    Rate(u64),
    /// Its client waits for too many answers.
    InFlight,
    /// Its client has too many sessions.
    Sessions,
    /// Its body is larger than this many bytes.
    Body(usize),
    /// Its body is said to be something else than JSON.
    NotJson,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let plain = |status: StatusCode, words: &str| (status, words.to_owned()).into_response();
        let later = |words: &str, seconds: u64| {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, words);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        };
        let challenge = |words: &str, challenge: &'static str| {
            let mut response = plain(StatusCode::UNAUTHORIZED, words);
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        };
        match self {
            Self::Host => plain(
                StatusCode::FORBIDDEN,
                "this server is not reached under that name; its owner can add it to \
                 http.allowed_hosts",
            ),
            Self::Origin => plain(
                StatusCode::FORBIDDEN,
                "pages of that origin may not call; the owner can add it to http.allowed_origins",
            ),
            Self::NotHere => plain(
                StatusCode::FORBIDDEN,
                "this is served to its own machine alone, as localhost",
            ),
            Self::NoToken => challenge(
                "a token is required: `Authorization: Bearer …`; its owner makes one with \
                 `haggle config add-client`",
                "Bearer realm=\"haggle\"",
            ),
            Self::BadToken => challenge(
                "that token is not one of this server",
                "Bearer realm=\"haggle\", error=\"invalid_token\"",
            ),
            Self::Rate(seconds) => later("too many requests in a minute", seconds),
            Self::InFlight => later("too many requests are being answered", 1),
            Self::Sessions => later("too many sessions are open", 60),
            Self::NotJson => {
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json")
            }
            Self::Body(most) => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body has more than {most} bytes"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request = headers
            .iter()
            .fold(Request::get("/mcp"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    /// What it shows, the headers, what becomes of it.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<(), Refused>);

    #[test]
    fn names_and_origins() {
        let hosts = ["haggle.example.com".to_owned(), "h.example.com:8443".to_owned()];
        let gate = Gate::new(&hosts, &["https://app.example.com".to_owned()]).unwrap();
        #[rustfmt::skip]
        let rows: &[Row<'_>] = &[
            ("this machine",         &[("host", "127.0.0.1:8765")],                              Ok(())),
            ("by name",              &[("host", "LOCALHOST")],                                   Ok(())),
            ("IPv6",                 &[("host", "[::1]:1")],                                     Ok(())),
            ("configured",           &[("host", "haggle.example.com")],                          Ok(())),
            ("with any port",        &[("host", "haggle.example.com:99")],                       Ok(())),
            ("its own port",         &[("host", "h.example.com:8443")],                          Ok(())),
            ("another port",         &[("host", "h.example.com")],                               Err(Refused::Host)),
            ("another name",         &[("host", "evil.example.com")],                            Err(Refused::Host)),
            ("one that ends alike",  &[("host", "127.0.0.1.evil.example.com")],                  Err(Refused::Host)),
            ("none",                 &[],                                                        Err(Refused::Host)),
            ("two",                  &[("host", "localhost"), ("host", "localhost")],            Err(Refused::Host)),
            ("no name",              &[("host", "a b")],                                         Err(Refused::Host)),
            ("another own address",  &[("host", "127.0.0.2:8765")],                              Ok(())),
            ("IPv4 as IPv6",         &[("host", "[::ffff:127.0.0.1]:1")],                        Ok(())),
            ("another machine",      &[("host", "192.0.2.1")],                                   Err(Refused::Host)),
            ("any address",          &[("host", "0.0.0.0")],                                     Err(Refused::Host)),
            ("no whole address",     &[("host", "127.1")],                                       Err(Refused::Host)),
            ("a local page",         &[("host", "localhost"), ("origin", "http://localhost:1")], Ok(())),
            ("by number",            &[("host", "localhost"), ("origin", "http://127.0.0.1")],   Ok(())),
            ("a configured page",    &[("host", "localhost"), ("origin", "https://app.example.com")], Ok(())),
            ("without encryption",   &[("host", "localhost"), ("origin", "http://app.example.com")],  Err(Refused::Origin)),
            ("another scheme",       &[("host", "localhost"), ("origin", "ftp://localhost")],    Err(Refused::Origin)),
            ("another page",         &[("host", "localhost"), ("origin", "https://evil.example.com")], Err(Refused::Origin)),
            ("one that begins alike", &[("host", "localhost"), ("origin", "http://localhost.evil.example.com")], Err(Refused::Origin)),
            ("an opaque one",        &[("host", "localhost"), ("origin", "null")],               Err(Refused::Origin)),
            ("two",                  &[("host", "localhost"), ("origin", "http://localhost"), ("origin", "null")], Err(Refused::Origin)),
            ("a page at its address", &[("host", "localhost"), ("origin", "http://127.0.0.2:1")], Ok(())),
            ("a picture",            &[("host", "localhost"), ("sec-fetch-site", "cross-site")], Err(Refused::Origin)),
            ("one of this site",     &[("host", "localhost"), ("sec-fetch-site", "same-site")],  Ok(())),
            ("typed in",             &[("host", "localhost"), ("sec-fetch-site", "none")],       Ok(())),
            ("said twice",           &[("host", "localhost"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Err(Refused::Origin)),
            ("a window",             &[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Err(Refused::Origin)),
            ("a configured one",     &[("host", "localhost"), ("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")], Ok(())),
        ];
        for (row, headers, expected) in rows {
            assert_eq!(gate.check(&parts(headers)), *expected, "{row}");
        }
        for bad in ["", "a b", "http://x", "x/y", "*.x", "u@h"] {
            assert!(Gate::new(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
        for bad in ["", "null", "app.example.com", "https://x/y", "file:///x", "*"] {
            assert!(Gate::new(&[], &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    /// A person may come to the owner's page by a link; nothing else is got from there by one.
    #[test]
    fn a_link_leads_to_the_page_alone() {
        let gate = Gate::new(&[], &[]).unwrap();
        #[rustfmt::skip]
        let rows = [
            ("GET",  "/owner",               "navigate", Ok(())),
            ("GET",  "/owner/purchases/p?x", "navigate", Ok(())),
            ("GET",  "/owner",               "no-cors",  Err(Refused::Origin)),
            ("POST", "/owner/stop",          "navigate", Err(Refused::Origin)),
            ("GET",  "/owners",              "navigate", Err(Refused::Origin)),
            ("GET",  "/mcp",                 "navigate", Err(Refused::Origin)),
            ("GET",  "/sse",                 "navigate", Err(Refused::Origin)),
        ];
        for (method, path, mode, expected) in rows {
            let mut parts = parts(&[
                ("host", "localhost"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
            ]);
            (parts.method, parts.uri) = (method.parse().unwrap(), path.parse().unwrap());
            assert_eq!(gate.check(&parts), expected, "{method} {path} {mode}");
        }
    }

    #[test]
    fn tokens_are_taken_out() {
        #[rustfmt::skip]
        let rows = [
            ("Bearer t0k", Some("t0k")), ("bearer  t0k ", Some("t0k")), ("Basic t0k", None),
            ("Bearer ", None), ("Bearer", None), ("t0k", None), ("", None),
        ];
        for (value, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(take_token(&mut headers).as_deref(), expected, "{value}");
            assert!(headers.is_empty(), "{value} stays");
        }
    }
}
