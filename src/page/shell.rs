//! What is around the content of every page: mode, navigation, what is the case just now, the time.

use axum::{
    http::header,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rusqlite::Connection;

use super::{
    MOUNTED_AT, Page,
    forms::{Signed, TOKEN},
    words::{count, moment},
};
use crate::{
    asks,
    config::Mode,
    journal::{State, history},
    spend::stops::{self, Found},
    store::StoreError,
};

/// The page's look.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

/// A part of the page that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Waiting,
    Purchases,
    Limits,
    Stop,
}

impl Part {
    const ALL: [Self; 4] = [Self::Waiting, Self::Purchases, Self::Limits, Self::Stop];

    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Purchases => "Purchases",
            Self::Limits => "Limits",
            Self::Stop => "Stop",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Waiting => "",
            Self::Purchases => "/purchases",
            Self::Limits => "/limits",
            Self::Stop => "/stop",
        }
    }
}

/// What every page of somebody who is signed in says.
#[derive(Debug)]
pub(super) struct Standing {
    now: i64,
    pub(super) found: Found,
    waiting: u64,
}

impl Standing {
    /// How things stand at `now`, in Unix seconds.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub(super) fn read(db: &Connection, now: i64) -> Result<Self, StoreError> {
        let asked = u64::try_from(asks::open(db, None, now)?.len()).unwrap_or(u64::MAX);
        let waiting = history::count_in(db, State::AwaitingApproval)?.saturating_add(asked);
        Ok(Self { now, found: stops::found(db)?, waiting })
    }
}

/// The store's time, in Unix seconds: the sandbox's where it can be asked.
pub(super) async fn now(page: &Page) -> i64 {
    page.app.follow_clock().await;
    page.app.clock().now()
}

/// A page for somebody who is signed in. `part` is the one that they are in, where it is one of the
/// navigation's.
pub(super) fn full(
    page: &Page,
    signed: &Signed,
    standing: &Standing,
    part: Option<Part>,
    title: &str,
    content: &Markup,
) -> Html<String> {
    let navigation = html! {
        form method="post" action={ (MOUNTED_AT) "/sign-out" } {
            (token(signed))
            button.quiet type="submit" { "Sign out" }
        }
        nav aria-label="Parts of this page" {
            ul {
                @for of in Part::ALL {
                    li {
                        a href={ (MOUNTED_AT) (of.path()) } aria-current=[(part == Some(of)).then_some("page")] {
                            (of.name())
                            @if of == Part::Waiting && standing.waiting > 0 {
                                " " span.badge { (standing.waiting) span.unseen { " to answer" } }
                            }
                        }
                    }
                }
            }
        }
    };
    let stopped = html! {
        @if standing.found.is_stopped() {
            p.banner.stopped {
                strong { "Spending is stopped." }
                " Nothing is paid, whatever you approve. "
                a href={ (MOUNTED_AT) "/stop" } { "See why" }
            }
        }
    };
    let notes = html! {
        p {
            "It is " (moment(standing.now))
            @if matches!(page.app.settings().mode, Mode::Sandbox { .. }) { " by the sandbox's clock" }
            ". This page shows how things stood then; load it again to see what is new."
        }
        p { "What stands in “quotes with a dotted line” was written by a marketplace or a seller. It is not checked." }
    };
    document(page, title, &navigation, &stopped, content, &notes)
}

/// A page for anybody: it shows nothing of the journal.
pub(super) fn bare(page: &Page, title: &str, content: &Markup) -> Markup {
    let nothing = html! {};
    PreEscaped(document(page, title, &nothing, &nothing, content, &nothing).0)
}

fn document(
    page: &Page,
    title: &str,
    navigation: &Markup,
    stopped: &Markup,
    content: &Markup,
    notes: &Markup,
) -> Html<String> {
    let live = page.app.settings().mode == Mode::Live;
    let mode = if live { "Live" } else { "Sandbox" };
    let shown = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Without this, the header's `no-referrer` would hide from us that a form is ours: browsers
                // send `Origin: null` with it. Nothing goes to another origin by this either.
                meta name="referrer" content="same-origin";
                title { (title) " · haggle, " (mode) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (MOUNTED_AT) "/style.css" };
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    div.bar {
                        p.brand { a href=(MOUNTED_AT) { "haggle" } " " span { "the owner's page" } }
                        (navigation)
                    }
                    @if live {
                        p.mode.live { strong { "Live." } " This is real money." }
                    } @else {
                        p.mode.sandbox { strong { "Sandbox." } " This is play money; nothing here is real." }
                    }
                }
                (stopped)
                main #content tabindex="-1" { (content) }
                footer { (notes) }
            }
        }
    };
    Html(shown.into_string())
}

/// The mark of the session that every form carries.
pub(super) fn token(signed: &Signed) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(signed.form_token); }
}

/// What to say where something is missing, or how many there are.
pub(super) fn so_many(number: usize, one: &str, more: &str) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), one, more)
}
