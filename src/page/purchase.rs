//! One purchase: what it is, how it stands, what the owner can do. A client that asks its person by a
//! link leads here.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use rusqlite::Connection;

use super::{
    Page, Shared,
    decision::Decision,
    forms::Signed,
    problems::Problem,
    shell::{self, Part, Standing, full},
    words::{capital, code, cost, fact, input, item, moment, moved, seller, sentence, state, usd},
};
use crate::{
    clock::rfc3339,
    error::{Code, Error},
    ids::PurchaseId,
    journal::{self, Delivery, EventLine, Purchase, State},
    spend::{
        approvals::{self, Given},
        resume_tool,
    },
    store::StoreError,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
};

/// All that is shown of a purchase.
struct Seen {
    standing: Standing,
    decision: Decision,
    given: Option<Given>,
    events: Vec<EventLine>,
}

/// The page of a purchase.
pub(super) async fn show(page: Shared, signed: Signed, id: Path<String>) -> Response {
    let Ok(id) = id.parse::<PurchaseId>() else {
        return Problem::no_such_page().into_response();
    };
    shown(&page, &signed, &id, StatusCode::OK, None).await
}

/// The page of a purchase as it is now, with a notice where there is something to say first.
pub(super) async fn shown(
    page: &Page,
    signed: &Signed,
    id: &PurchaseId,
    status: StatusCode,
    notice: Option<&str>,
) -> Response {
    let (now, policies) = (shell::now(page).await, page.app.spending().policies().clone());
    let wanted = id.clone();
    let read = page.app.store().with(move |db| {
        let standing = Standing::read(db, now)?;
        let Some(purchase) = journal::find(db, &wanted, None)? else {
            let message = format!("there is no purchase {wanted} in this store");
            return Err(Error::new(Code::NotFound, message).into());
        };
        see(db, standing, Decision::read(db, &policies, purchase, now)?)
    });
    match read.await {
        Ok(seen) => {
            let purchase = &seen.decision.purchase;
            let title = format!("{}: {}", capital(state(purchase)), purchase.id);
            let content = content(signed, &seen, now, notice);
            let part = Some(Part::Purchases).filter(|_| purchase.state != State::AwaitingApproval);
            (status, full(page, signed, &seen.standing, part, &title, &content)).into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

fn see(db: &Connection, standing: Standing, decision: Decision) -> Result<Seen, StoreError> {
    let id = &decision.purchase.id;
    let (given, events) = (approvals::given(db, id)?, journal::events_of(db, id)?);
    Ok(Seen { standing, decision, given, events })
}

fn content(signed: &Signed, seen: &Seen, now: i64, notice: Option<&str>) -> Markup {
    let purchase = &seen.decision.purchase;
    let waits = purchase.state == State::AwaitingApproval;
    html! {
        h1 id={ "decision-" (purchase.id) } {
            @if waits { "Up to " (purchase.max_total) " USD: do you agree?" }
            @else { (capital(state(purchase))) }
        }
        @if let Some(notice) = notice {
            p.notice role="alert" { (notice) }
        }
        section.card aria-label="The purchase" {
            @if waits {
                (seen.decision.facts())
                (seen.decision.buttons(signed))
            } @else {
                p.now { (what_now(purchase, seen.given.as_ref(), now)) }
                (facts(purchase))
            }
        }
        section.card {
            h2 { "What happened" }
            ol.events {
                @for line in &seen.events {
                    li {
                        (moment(line.at)) " — " (clean(&line.note, TEXT_CHARS_MAX))
                    }
                }
            }
            p.hint { "Purchase " (code(&purchase.id)) }
        }
    }
}

/// How a purchase stands, and what the owner or their agent does next.
fn what_now(purchase: &Purchase, given: Option<&Given>, now: i64) -> Markup {
    let (id, tool) = (&purchase.id, resume_tool(purchase));
    html! {
        @match purchase.state {
            State::AwaitingApproval | State::Planned => { "Nothing is paid." }
            State::Approved => {
                @if let Some(given) = given.filter(|it| it.granted && it.expires_at > now) {
                    strong { "Approved until " (moment(given.expires_at)) ". Nothing is paid yet." }
                    " Tell the agent to go on: it calls " (code(tool)) " for this purchase."
                } @else {
                    strong { "It was approved, but the approval is over. Nothing is paid." }
                    " If the agent goes on, you are asked again."
                }
            }
            State::Reserved | State::Submitted => {
                "The payment is on its way. It cannot be called back from here."
            }
            State::AwaitingExternal => {
                "It has to be paid from another wallet: " (code(format!("haggle purchases show {id}")))
                " says what to send where."
            }
            State::Unknown => {
                strong { "Nobody knows yet whether it was paid; it counts as spent." }
                " " (code(format!("haggle purchases resolve {id}"))) " asks the marketplace. It is not paid again."
            }
            State::Settled => {
                @match purchase.delivery {
                    Delivery::Delivered => { "What was bought is in the journal." }
                    Delivery::Failed => { "The seller failed for good. The money cannot be called back from here." }
                    Delivery::None | Delivery::Pending => {
                        "The agent asks for it again with " (code(tool)) "; that pays nothing."
                    }
                }
            }
            State::Failed => {
                strong { "It never will be paid." }
                @if let Some(why) = &purchase.failure { " " (clean(&reason(why), TEXT_CHARS_MAX)) }
            }
        }
    }
}

/// Why a purchase failed, from `code: sentence`.
fn reason(failure: &str) -> String {
    sentence(failure.split_once(": ").map_or(failure, |(_, why)| why))
}

/// What a purchase is that does not wait.
fn facts(purchase: &Purchase) -> Markup {
    html! {
        dl.facts {
            (fact("Costs", &html! { (cost(purchase)) "; listed for " (usd(purchase.price)) }))
            (fact("Money moved", &html! { (moved(purchase)) }))
            (fact("To", &seller(purchase)))
            (fact("For", &item(purchase)))
            (fact("On", &html! { (purchase.marketplace) ", in " (clean(&purchase.asset, NAME_CHARS_MAX)) }))
            @if let Some(fund) = &purchase.fund {
                (fact("Handed over", &html! {
                    (usd(fund.amount)) " of it to " (code(&fund.payee)) ", which the seller chose"
                }))
            }
            (fact("Input", &input(&purchase.body)))
            (fact("Asked by", &html! { (code(&purchase.principal)) ", " (moment(purchase.created_at)) }))
            @if let Some(reference) = &purchase.reference {
                (fact("Reference", &code(reference)))
            }
            @if let Some(answer) = &purchase.answer {
                (fact("Delivered", &html! {
                    (answer.len()) " bytes: " (code(format!("haggle purchases show {} --answer", purchase.id)))
                }))
            }
        }
    }
}

/// What an answer that came too late is told: what happened already.
pub(super) fn already(purchase: &Purchase, given: Option<&Given>) -> String {
    let answered = given.map_or_else(String::new, |given| {
        let word = if given.granted { "approved" } else { "denied" };
        format!(" It was {word} at {}, by the {}.", rfc3339(given.at), given.by)
    });
    format!(
        "This purchase does not wait for an answer any more: {}.{answered} Your answer changed nothing.",
        state(purchase)
    )
}
