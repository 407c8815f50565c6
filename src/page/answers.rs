//! The owner's answers, as their forms bring them.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    MOUNTED_AT, Page, Shared, asks as ask_pages, forms::Form, forms::Posted, problems::Problem,
};
use super::{purchase as purchase_pages, shell};
use crate::{
    asks,
    error::{Code, Error},
    ids::{AskId, PurchaseId},
    journal,
    money::Usdc,
    spend::{
        approvals::{self, GRANT_DAYS_MAX},
        policy::DAY_SECONDS,
        word::{Word, owner_answers_shown},
    },
};

/// An answer to a purchase. It holds for the purchase as it was shown.
pub(super) async fn purchase(page: Shared, id: Path<String>, posted: Posted) -> Response {
    let Ok(id) = id.parse::<PurchaseId>() else {
        return Problem::no_such_page().into_response();
    };
    let now = shell::now(&page).await;
    let word = match word(&posted.form, now) {
        Ok(word) => word,
        Err(problem) => return problem.into_response(),
    };
    let envelope = posted.form.get("envelope").to_owned();
    let answered = owner_answers_shown(page.app.store(), &id, envelope, word, now).await;
    let conflict = StatusCode::CONFLICT;
    match answered {
        Ok(purchase) => to(&format!("/purchases/{}", purchase.id)),
        Err(error) if error.is(Code::Conflict) => {
            let notice = "This purchase has changed since you looked at it, so your answer was not taken. \
                          Nothing was approved and no money moved. This is how it stands now.";
            purchase_pages::shown(&page, &posted.signed, &id, conflict, Some(notice)).await
        }
        Err(error) if error.is(Code::WrongState) => match already(&page, &id).await {
            Ok(notice) => {
                purchase_pages::shown(&page, &posted.signed, &id, conflict, Some(&notice)).await
            }
            Err(error) => Problem::of(&error).into_response(),
        },
        Err(error) => Problem::of(&error).into_response(),
    }
}

/// What became of a purchase that was answered before.
async fn already(page: &Page, id: &PurchaseId) -> Result<String, Error> {
    let id = id.clone();
    let read = page.app.store().with(move |db| {
        let purchase = journal::present(db, &id)?;
        let given = approvals::given(db, &id)?;
        Ok(purchase_pages::already(&purchase, given.as_ref()))
    });
    read.await
}

/// The answer that a form holds.
fn word(form: &Form, now: i64) -> Result<Word, Problem> {
    match form.get("answer") {
        "approve" => Ok(Word::Approve),
        "deny" => Ok(Word::Deny),
        "approve_seller" => {
            let up_to: Usdc = form.get("up_to_usd").trim().parse().map_err(|error| {
                Problem::wrong_entry(&format!("The sum in USD {error}, such as 2.50."))
            })?;
            let days: Option<u16> = form.get("days").trim().parse().ok();
            let days =
                days.filter(|days| (1..=GRANT_DAYS_MAX).contains(days)).ok_or_else(|| {
                    let what = format!("The number of days must be from 1 to {GRANT_DAYS_MAX}.");
                    Problem::wrong_entry(&what)
                })?;
            Ok(Word::ApproveSeller { up_to, until: now + i64::from(days) * DAY_SECONDS })
        }
        _ => Err(Problem::no_form()),
    }
}

/// An answer to a question about something else.
pub(super) async fn ask(page: Shared, id: Path<String>, posted: Posted) -> Response {
    let Ok(id) = id.parse::<AskId>() else { return Problem::no_such_page().into_response() };
    let granted = match posted.form.get("answer") {
        "approve" => true,
        "deny" => false,
        _ => return Problem::no_form().into_response(),
    };
    let now = shell::now(&page).await;
    match asks::answer(page.app.store(), &id, granted, now).await {
        Ok(ask) => to(&format!("/asks/{}", ask.id)),
        Err(error) if error.is(Code::WrongState) => {
            let notice = format!("{error}. Your answer changed nothing.");
            let conflict = StatusCode::CONFLICT;
            ask_pages::shown(&page, &posted.signed, &id, conflict, Some(&notice)).await
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

/// Shows the outcome: loading that again sends nothing again.
fn to(path: &str) -> Response {
    Redirect::to(&format!("{MOUNTED_AT}{path}")).into_response()
}
