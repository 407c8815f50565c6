//! What went wrong, as a page for a person: what happened, whether money moved, what to do.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::{MOUNTED_AT, Page, shell, words::sentence};
use crate::{
    error::{Code, Error, MoneyMoved},
    text::{TEXT_CHARS_MAX, clean},
};

/// What went wrong.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    happened: String,
    money: &'static str,
    to_do: String,
}

/// What this page does moves no money by itself: an agent's call pays.
const NOTHING_MOVED: &str = "No money moved, and nothing was changed.";

impl Problem {
    fn new(status: StatusCode, title: &'static str, happened: &str, to_do: &str) -> Self {
        Self {
            status,
            title,
            happened: happened.to_owned(),
            money: NOTHING_MOVED,
            to_do: to_do.to_owned(),
        }
    }

    pub(super) fn no_such_page() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is no such page",
            "The address leads nowhere.",
            "Begin with what waits for you.",
        )
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "That is not done by a link",
            "This address takes the form of a page and nothing else.",
            "Open the page and use its buttons.",
        )
    }

    pub(super) fn signed_out() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "You are not signed in",
            "The form came without a session, or the session is over: it lasts 12 hours, and one hour \
             without use.",
            "Sign in, look at it again, then answer.",
        )
    }

    pub(super) fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "That form was not from this page",
            "Your browser says that another page sent it, or it lacks the mark of your session. \
             Somebody may have tried to answer for you.",
            "If it was you: open the page again and use its buttons.",
        )
    }

    pub(super) fn no_form() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The form cannot be read",
            "It is no form, or it says something twice.",
            "Open the page again and use its buttons.",
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The form is too large",
            "No form of this page is that large.",
            "Open the page again and use its buttons.",
        )
    }

    pub(super) fn no_randomness() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "No session can begin",
            "The operating system gives no random bytes.",
            "Try again in a moment.",
        )
    }

    /// A member of a form that cannot be used: `what` says which and why.
    pub(super) fn wrong_entry(what: &str) -> Self {
        let to_do = "Go back, correct it, and send it again.";
        Self::new(StatusCode::BAD_REQUEST, "Something in the form cannot be used", what, to_do)
    }

    /// A failure of what the page is made from. `money` is what is known of the purchase it was about.
    pub(super) fn of(error: &Error) -> Self {
        let (status, title, to_do) = match error.code {
            Code::NotFound => (
                StatusCode::NOT_FOUND,
                "It is not here",
                "Look among the purchases. If your agent's server works on another store, sign in at \
                 that server's page.",
            ),
            Code::WrongState => (
                StatusCode::CONFLICT,
                "It does not wait for an answer any more",
                "Look at how it stands now.",
            ),
            Code::StoreUnavailable | Code::StoreStale => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The journal cannot be read or written",
                "Run `haggle doctor`: it says what is wrong with the store. Until it is mended nothing \
                 is approved and nothing is paid.",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something failed",
                "Run `haggle doctor`, then try again.",
            ),
        };
        let mut problem = Self::new(status, title, &sentence(&error.message), to_do);
        problem.money = match error.money_moved {
            MoneyMoved::No => "No money moved by this, and nothing was approved.",
            MoneyMoved::Yes => "It was paid.",
            MoneyMoved::Maybe => "It is not known whether money moved. Do not pay it again.",
        };
        problem
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

/// Not a page yet: what every page says of the mode is not known here. [`super::finish`] makes it one.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    /// The page that says it.
    pub(super) fn shown(&self, page: &Page) -> Markup {
        let content = html! {
            section.card.problem aria-labelledby="what" {
                h1 #what { (self.title) }
                p { (clean(&self.happened, TEXT_CHARS_MAX)) }
                p { strong { (self.money) } }
                p { (self.to_do) }
                p { a.button href=(MOUNTED_AT) { "Go to what waits for you" } }
            }
        };
        shell::bare(page, self.title, &content)
    }
}
