//! Who asks, and whether a form comes from this page: checked before anything is done.

use std::{collections::HashMap, sync::Arc, time::Instant};

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse as _, Redirect, Response},
};
use subtle::ConstantTimeEq as _;

use super::{MOUNTED_AT, Page, problems::Problem, sessions::form_token};

/// The largest form that is read, in bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// The longest path that a person is sent back to after signing in, in bytes.
const PATH_BYTES_MAX: usize = 200;
/// The member of a form that holds the session's token.
pub(super) const TOKEN: &str = "form_token";

/// Somebody who is signed in. Others are sent to sign in first, and then back to what they wanted.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    /// The token for the forms that they are shown.
    pub(super) form_token: String,
}

impl FromRequestParts<Arc<Page>> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, page: &Arc<Page>) -> Result<Self, Response> {
        match session_of(&parts.headers, page) {
            Some(value) => Ok(Self { form_token: form_token(&value) }),
            None if matches!(parts.method, Method::GET | Method::HEAD) => {
                // The router has taken the place where it is mounted off the path.
                let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let wanted = format!("{MOUNTED_AT}{}{query}", parts.uri.path());
                Err(Redirect::to(&sign_in_for(&wanted)).into_response())
            }
            None => Err(Problem::signed_out().into_response()),
        }
    }
}

/// The members of a form that somebody who is signed in has sent from this page.
#[derive(Debug)]
pub(super) struct Posted {
    /// Who.
    pub(super) signed: Signed,
    /// The members, without the token.
    pub(super) form: Form,
}

impl FromRequest<Arc<Page>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, page: &Arc<Page>) -> Result<Self, Response> {
        if !is_from_here(request.headers()) {
            return Err(Problem::forged().into_response());
        }
        let Some(value) = session_of(request.headers(), page) else {
            return Err(Problem::signed_out().into_response());
        };
        let mut form = Form::read(request).await?;
        let signed = Signed { form_token: form_token(&value) };
        let given = form.take(TOKEN);
        if !bool::from(given.as_bytes().ct_eq(signed.form_token.as_bytes())) {
            return Err(Problem::forged().into_response());
        }
        Ok(Self { signed, form })
    }
}

/// The members of a form that came from this page or from no page at all: for signing in, where there
/// is no session yet.
#[derive(Debug)]
pub(super) struct Entering(pub(super) Form);

impl FromRequest<Arc<Page>> for Entering {
    type Rejection = Response;

    async fn from_request(request: Request, _page: &Arc<Page>) -> Result<Self, Response> {
        if !is_from_here(request.headers()) {
            return Err(Problem::forged().into_response());
        }
        Form::read(request).await.map(Self)
    }
}

/// What a form holds, each member once.
#[derive(Debug)]
pub(super) struct Form(HashMap<String, String>);

impl Form {
    async fn read(request: Request) -> Result<Self, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_form = kind.is_some_and(|kind| {
            let essence = kind.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        if !is_form {
            return Err(Problem::no_form().into_response());
        }
        let Ok(body) = to_bytes(request.into_body(), FORM_BYTES_MAX).await else {
            return Err(Problem::too_large().into_response());
        };
        let mut members = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(&body) {
            if members.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Problem::no_form().into_response());
            }
        }
        Ok(Self(members))
    }

    /// A member; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn take(&mut self, name: &str) -> String {
        self.0.remove(name).unwrap_or_default()
    }
}

/// What the cookie of an open session holds.
pub(super) fn session_of(headers: &HeaderMap, page: &Page) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| *name == page.cookie);
    let now = Instant::now();
    values.find(|(_, value)| page.sessions.is_open(value, now)).map(|(_, value)| value.to_owned())
}

/// Whether what a browser says of where a request comes from is this page. What is no browser says
/// nothing, and has the session and its token to show.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    match text("origin") {
        None => true,
        Some(origin) => {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let own = text("host").unwrap_or_default();
            host.is_some_and(|host| !own.is_empty() && host.eq_ignore_ascii_case(own))
        }
    }
}

/// Where somebody signs in who wanted to see `wanted`.
pub(super) fn sign_in_for(wanted: &str) -> String {
    match back(wanted) {
        MOUNTED_AT => format!("{MOUNTED_AT}/sign-in"),
        path => {
            let to: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
            format!("{MOUNTED_AT}/sign-in?to={to}")
        }
    }
}

/// Where a person goes after signing in: a path below this page, or its beginning where `wanted` is
/// anything else.
pub(super) fn back(wanted: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'?' | b'=');
    let below = wanted.strip_prefix(MOUNTED_AT).is_some_and(|rest| rest.starts_with(['/', '?']));
    let fits = below
        && wanted.len() <= PATH_BYTES_MAX
        && wanted.bytes().all(plain)
        && !wanted.contains("//");
    // The place itself, with or without a slash at its end.
    if fits && wanted.len() > MOUNTED_AT.len() + 1 { wanted } else { MOUNTED_AT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_back_to_this_page_only() {
        #[rustfmt::skip]
        let rows = [
            // what it shows        wanted                              leads to
            ("a purchase",          "/owner/purchases/pur_1",           "/owner/purchases/pur_1"),
            ("a later page",        "/owner/purchases?before=pur_1",    "/owner/purchases?before=pur_1"),
            ("the beginning",       "/owner",                           "/owner"),
            ("with a slash",        "/owner/",                          "/owner"),
            ("nothing",             "",                                 "/owner"),
            ("another server",      "https://evil.example/owner/x",     "/owner"),
            ("without a scheme",    "//evil.example/owner/x",           "/owner"),
            ("further down",        "/owner//evil.example",             "/owner"),
            ("by a backslash",      "/owner/\\evil.example",            "/owner"),
            ("up again",            "/owner/../mcp",                    "/owner"),
            ("an encoded way up",   "/owner/%2e%2e/mcp",                "/owner"),
            ("another beginning",   "/owners/x",                        "/owner"),
            ("a script",            "javascript:alert(1)",              "/owner"),
            ("a header",            "/owner/x\r\nset-cookie:a",         "/owner"),
        ];
        for (row, wanted, leads_to) in rows {
            assert_eq!(back(wanted), leads_to, "{row}");
        }
        let long = format!("/owner/{}", "x".repeat(PATH_BYTES_MAX));
        assert_eq!(back(&long), "/owner");
    }

    #[test]
    fn knows_its_own_forms_by_what_the_browser_says() {
        #[rustfmt::skip]
        let rows = [
            // what it shows          origin                          site                 from here
            ("no browser",            None,                           None,                true),
            ("this page",             Some("http://127.0.0.1:80"),    Some("same-origin"), true),
            ("this page, by TLS",     Some("https://127.0.0.1:80"),   Some("same-origin"), true),
            ("an older browser",      Some("http://127.0.0.1:80"),    None,                true),
            ("a frame without rights", Some("null"),                  Some("cross-site"),  false),
            ("of nowhere",            Some("null"),                   Some("same-origin"), false),
            ("another port",          Some("http://127.0.0.1:81"),    None,                false),
            ("another name",          Some("http://localhost:80"),    None,                false),
            ("another scheme",        Some("ftp://127.0.0.1:80"),     None,                false),
            ("no scheme",             Some("127.0.0.1:80"),           None,                false),
            ("another site",          None,                           Some("cross-site"),  false),
            ("the same site",         None,                           Some("same-site"),   false),
            ("typed in",              None,                           Some("none"),        false),
            ("both must hold",        Some("http://127.0.0.1:80"),    Some("cross-site"),  false),
        ];
        for (row, origin, site, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("host", "127.0.0.1:80".parse().unwrap());
            let said = [("origin", origin), ("sec-fetch-site", site)];
            for (name, value) in said {
                value.map(|value| headers.insert(name, value.parse().unwrap()));
            }
            assert_eq!(is_from_here(&headers), expected, "{row}");
        }
    }
}
