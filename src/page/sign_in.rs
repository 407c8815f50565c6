//! Signing in with the owner's key, and out again.

use std::time::Instant;

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    MOUNTED_AT, Page, Shared,
    forms::{Entering, Posted, back, session_of},
    problems::Problem,
    shell,
};

/// Where a person wanted to go.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    to: String,
}

/// The form that asks for the owner's key.
pub(super) async fn show(page: Shared, headers: HeaderMap, wanted: Query<Wanted>) -> Response {
    let to = back(&wanted.to);
    if session_of(&headers, &page).is_some() {
        return Redirect::to(to).into_response();
    }
    Html(form(&page, to, None).into_string()).into_response()
}

fn form(page: &Page, to: &str, wrong: Option<&str>) -> Markup {
    let content = html! {
        section.card.narrow {
            h1 { "Sign in" }
            @if let Some(wrong) = wrong {
                p.notice role="alert" #wrong { (wrong) }
            }
            form method="post" action={ (MOUNTED_AT) "/sign-in" } {
                input type="hidden" name="to" value=(to);
                label for="key" { "Owner's key" }
                input #key name="key" type="password" autocomplete="current-password" required
                    autofocus spellcheck="false" aria-describedby=(if wrong.is_some() { "wrong hint" } else { "hint" });
                p.hint #hint {
                    code { "haggle config owner-key" }
                    " in your terminal makes one. No agent and no client has it; never paste it into a chat."
                }
                button type="submit" { "Sign in" }
            }
            @if to != MOUNTED_AT {
                p.hint {
                    "You came here by a link. If you are signed in with this browser already, "
                    a href=(to) { "go on" } "."
                }
            }
        }
    };
    shell::bare(page, "Sign in", &content)
}

/// Takes the owner's key, and begins a session where it is right.
pub(super) async fn enter(page: Shared, headers: HeaderMap, entering: Entering) -> Response {
    let Entering(given) = entering;
    let (to, now) = (back(given.get("to")), Instant::now());
    if !page.key.0.matches(given.get("key").trim()) {
        tracing::warn!("somebody gave a wrong key on the owner's page");
        let shown = form(&page, to, Some("That is not the owner's key. Nothing was changed."));
        return (StatusCode::FORBIDDEN, Html(shown.into_string())).into_response();
    }
    let Ok(value) = page.sessions.begin(now) else {
        return Problem::no_randomness().into_response();
    };
    with_cookie(&page, &headers, &value, "", to)
}

/// Ends the session.
pub(super) async fn leave(page: Shared, headers: HeaderMap, _posted: Posted) -> Response {
    if let Some(value) = session_of(&headers, &page) {
        page.sessions.end(&value);
    }
    with_cookie(&page, &headers, "", "; Max-Age=0", &format!("{MOUNTED_AT}/sign-in"))
}

/// Sends the browser to `to`, with the session's cookie. Without an age it ends with the browser.
fn with_cookie(page: &Page, headers: &HeaderMap, value: &str, age: &str, to: &str) -> Response {
    // A proxy that ends TLS says so; over loopback there is none.
    let by_tls = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if by_tls { "; Secure" } else { "" };
    let cookie = format!(
        "{}={value}; Path={MOUNTED_AT}; HttpOnly; SameSite=Strict{age}{secure}",
        page.cookie
    );
    let mut response = Redirect::to(to).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
