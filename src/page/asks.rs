//! A question to the owner that is about no purchase. What it says never changes under its identifier, so
//! an answer is bound to what was shown by that alone.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};

use super::{
    MOUNTED_AT, Page, Shared,
    forms::Signed,
    problems::Problem,
    shell::{self, Standing, full, token},
    words::{code, fact, moment},
};
use crate::{
    asks::{self, Ask},
    error::{Code, Error},
    ids::AskId,
    text::clean,
};

/// The most characters of a description that are shown: as many as are kept.
const DESCRIBED_CHARS_MAX: usize = 16_000;

/// The page of a question.
pub(super) async fn show(page: Shared, signed: Signed, id: Path<String>) -> Response {
    let Ok(id) = id.parse::<AskId>() else { return Problem::no_such_page().into_response() };
    shown(&page, &signed, &id, StatusCode::OK, None).await
}

/// The page of a question as it is now, with a notice where there is something to say first.
pub(super) async fn shown(
    page: &Page,
    signed: &Signed,
    id: &AskId,
    status: StatusCode,
    notice: Option<&str>,
) -> Response {
    let (now, wanted) = (shell::now(page).await, id.clone());
    let read = page.app.store().with(move |db| {
        let standing = Standing::read(db, now)?;
        let Some(ask) = asks::find(db, &wanted)? else {
            let message = format!("there is no question {wanted} in this store");
            return Err(Error::new(Code::NotFound, message).into());
        };
        Ok((standing, ask))
    });
    match read.await {
        Ok((standing, ask)) => {
            let title = format!("{}: {}", title(&ask, now), ask.id);
            let content = content(signed, &ask, now, notice);
            (status, full(page, signed, &standing, None, &title, &content)).into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

/// How a question stands, in a few words.
fn title(ask: &Ask, now: i64) -> &'static str {
    let over = ask.expires_at <= now;
    match (ask.granted, ask.used_at) {
        (_, Some(_)) => "Agreed and done",
        (None, None) if over => "Never answered, and over",
        (None, None) => "Do you agree?",
        (Some(true), None) if over => "Agreed, never used, and over",
        (Some(true), None) => "Agreed, not done yet",
        (Some(false), None) => "Denied",
    }
}

fn content(signed: &Signed, ask: &Ask, now: i64, notice: Option<&str>) -> Markup {
    let over = ask.expires_at <= now;
    html! {
        h1 id={ "ask-" (ask.id) } { (title(ask, now)) }
        @if let Some(notice) = notice {
            p.notice role="alert" { (notice) }
        }
        section.card aria-label="The question" {
            @match (ask.granted, ask.used_at) {
                (Some(true), None) if !over => {
                    p.now {
                        strong { "Agreed until " (moment(ask.expires_at)) ". Nothing is done yet." }
                        " Tell the agent to go on: it calls " (code(&ask.tool)) " again as before. That goes \
                         through once. Until then you can take it back."
                    }
                }
                (Some(false), None) => {
                    p.now { strong { "Denied." } " It is refused until " (moment(ask.expires_at)) "; nothing was done." }
                }
                (_, Some(used)) => { p.now { "You agreed, and it was done at " (moment(used)) "." } }
                (None | Some(true), None) => {}
            }
            (facts(ask))
            @if !over && ask.used_at.is_none() && ask.granted != Some(false) {
                (buttons(ask, signed))
            }
        }
    }
}

/// What would be done, and who wants it.
pub(super) fn facts(ask: &Ask) -> Markup {
    html! {
        pre.theirs-block { bdi { (clean(ask.described.trim_end(), DESCRIBED_CHARS_MAX)) } }
        dl.facts {
            (fact("Tool", &code(&ask.tool)))
            (fact("Asked by", &html! { (code(&ask.principal)) ", " (moment(ask.at)) }))
            (fact("Open until", &moment(ask.expires_at)))
        }
    }
}

/// The buttons. What was agreed to and is not done yet can be taken back.
pub(super) fn buttons(ask: &Ask, signed: &Signed) -> Markup {
    html! {
        form.answer method="post" action={ (MOUNTED_AT) "/asks/" (ask.id) "/answer" } {
            (token(signed))
            @if ask.granted.is_none() {
                button name="answer" value="approve" aria-describedby={ "ask-" (ask.id) } { "Agree, once" }
                button.plain name="answer" value="deny" aria-describedby={ "ask-" (ask.id) } { "Deny" }
            } @else {
                button.plain name="answer" value="deny" aria-describedby={ "ask-" (ask.id) } { "Take it back" }
            }
        }
    }
}
