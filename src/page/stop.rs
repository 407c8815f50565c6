//! The stop switch, for the store of this server. What was found to be wrong is not accepted here: that
//! takes the owner's terminal.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    MOUNTED_AT, Page, Shared,
    forms::{Posted, Signed},
    problems::Problem,
    shell::{self, Part, Standing, full, so_many, token},
    words::code,
};
use crate::{
    config::Mode,
    ids::PurchaseId,
    journal,
    spend::{
        KEY_ELSEWHERE,
        stops::{self, Found},
    },
};

/// The page of the switch.
pub(super) async fn show(page: Shared, signed: Signed) -> Response {
    shown(&page, &signed, StatusCode::OK, None).await
}

async fn shown(page: &Page, signed: &Signed, status: StatusCode, notice: Option<&str>) -> Response {
    let now = shell::now(page).await;
    let read =
        page.app.store().with(move |db| Ok((Standing::read(db, now)?, journal::open_ids(db)?)));
    match read.await {
        Ok((standing, open)) => {
            let stopped = standing.found.is_stopped();
            let title = if stopped { "Spending is stopped" } else { "Spending is allowed" };
            let content = content(page, signed, &standing.found, &open, title, notice);
            let part = Some(Part::Stop);
            (status, full(page, signed, &standing, part, title, &content)).into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

/// Turns the switch.
pub(super) async fn change(page: Shared, posted: Posted) -> Response {
    let now = shell::now(&page).await;
    let store = page.app.store();
    let done = match posted.form.get("answer") {
        "stop" => stops::stop(store, now).await.map(|_| true),
        "allow" => stops::allow(store, false).await.map(|(_, allowed)| allowed),
        _ => return Problem::no_form().into_response(),
    };
    match done {
        Ok(true) => Redirect::to(&format!("{MOUNTED_AT}/stop")).into_response(),
        Ok(false) => {
            let notice = "Spending stays stopped: something was found to be wrong, and this page does not \
                          accept that for you. Nothing was changed.";
            shown(&page, &posted.signed, StatusCode::CONFLICT, Some(notice)).await
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

fn content(
    page: &Page,
    signed: &Signed,
    found: &Found,
    open: &[PurchaseId],
    title: &str,
    notice: Option<&str>,
) -> Markup {
    html! {
        h1 { (title) }
        @if let Some(notice) = notice {
            p.notice role="alert" { (notice) }
        }
        section.card aria-label="The switch" {
            @if !found.is_stopped() {
                p { "Agents may spend within your limits." }
                p { "The switch stops everything that can spend, for every agent of this store, at once. What was \
                     sent before cannot be called back, and is still asked about." }
                (switch(signed, "stop", "Stop all spending"))
            } @else if found.is_harmless() {
                p { strong { "You have stopped all spending." } " Nothing is paid until you allow it again." }
                (switch(signed, "allow", "Allow spending again"))
            } @else {
                (wrong(page, found))
            }
            @if !open.is_empty() {
                h2 { (so_many(open.len(), "purchase is", "purchases are")) " open" }
                p { "Something may have been sent for these. They are followed to their end, stopped or not." }
                ul.plain-list {
                    @for id in open { li { a href={ (MOUNTED_AT) "/purchases/" (id) } { (code(id)) } } }
                }
            }
            p.hint {
                "This switch is for the store that this server works on. "
                (code("haggle freeze")) " in your terminal stops every store of the machine at once."
            }
        }
    }
}

fn switch(signed: &Signed, answer: &str, words: &str) -> Markup {
    let class = if answer == "stop" { "danger" } else { "" };
    html! {
        form.answer method="post" action={ (MOUNTED_AT) "/stop" } {
            (token(signed))
            button class=(class) name="answer" value=(answer) { (words) }
        }
    }
}

/// What was found wrong, and the command that takes it for right.
fn wrong(page: &Page, found: &Found) -> Markup {
    let has = |name: &str| found.reasons.iter().any(|reason| reason == name);
    let marketplace = page.app.settings().marketplaces.first().map_or("croo", |first| first.name());
    let command = match page.app.settings().mode {
        Mode::Live => format!("haggle unfreeze --marketplaces {marketplace}"),
        Mode::Sandbox { url: Some(_) } => "haggle unfreeze --sandbox=URL".to_owned(),
        Mode::Sandbox { url: None } => "haggle unfreeze --sandbox".to_owned(),
    };
    let known = ["instance_conflict", KEY_ELSEWHERE, crate::store::STALE, stops::BY_OWNER];
    html! {
        p { strong { "Spending was stopped because something is wrong." } }
        ul {
            @if has("instance_conflict") {
                li { "There were payments from the wallet that this store did not make. If they were not yours, \
                      move the money to a new wallet." }
            }
            @if has(KEY_ELSEWHERE) {
                li { "Another program uses the same CROO key, and what it spends is not counted here. End it first, \
                      or give it a key of its own." }
            }
            @if has(crate::store::STALE) || found.missing_lines > 0 {
                li { "The journal lacks lines that it had: an old copy was put back. What they spent no longer \
                      counts, and a purchase in them can be made twice." }
            }
            @if has(stops::BY_OWNER) { li { "You have stopped it as well." } }
            @for reason in found.reasons.iter().filter(|reason| !known.contains(&reason.as_str())) {
                li { (code(reason)) }
            }
        }
        p {
            "This page cannot accept that. When you have looked into it, run " (code(command))
            " in your terminal."
        }
    }
}
