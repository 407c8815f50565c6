//! What waits for the owner: purchases, and questions about other things, of every principal.

use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::{
    MOUNTED_AT, Page, Shared, asks,
    decision::Decision,
    forms::Signed,
    problems::Problem,
    shell::{self, Part, Standing, full, so_many},
    words::usd,
};
use crate::{
    asks::{self as questions, Ask},
    journal::{self, Filter, State},
    money::Usdc,
    spend::policy::DAY_SECONDS,
    text::{NAME_CHARS_MAX, clean},
};

/// How many purchases are shown to be answered at a time.
const SHOWN_MAX: u32 = 50;

/// What waits.
struct Waits {
    standing: Standing,
    purchases: Vec<Decision>,
    asked: Vec<Ask>,
    left_today: Usdc,
}

/// The page of all that waits.
pub(super) async fn show(page: Shared, signed: Signed) -> Response {
    let (now, policies) = (shell::now(&page).await, page.app.spending().policies().clone());
    let read = page.app.store().with(move |db| {
        let state = Some(State::AwaitingApproval);
        let filter = Filter { state, limit: SHOWN_MAX, ..Filter::default() };
        let waiting = journal::list(db, &filter)?.into_iter();
        let purchases = waiting.map(|purchase| Decision::read(db, &policies, purchase, now));
        let spent = journal::spent_since(db, now - DAY_SECONDS)?;
        Ok(Waits {
            standing: Standing::read(db, now)?,
            purchases: purchases.collect::<Result<_, _>>()?,
            asked: questions::open(db, None, now)?,
            left_today: policies.owner.day_max_usd.saturating_sub(spent),
        })
    });
    match read.await {
        Ok(waits) => {
            let content = content(&page, &signed, &waits);
            let part = Some(Part::Waiting);
            full(&page, &signed, &waits.standing, part, "What waits for you", &content)
                .into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

fn content(page: &Page, signed: &Signed, waits: &Waits) -> Markup {
    let policy = &page.app.settings().policy;
    let number = waits.purchases.len().saturating_add(waits.asked.len());
    html! {
        h1 { "What waits for you" }
        p.lead {
            @if number == 0 {
                "Nothing waits for your answer. "
            } @else {
                (so_many(number, "answer is", "answers are")) " waited for, the newest first. "
            }
            (usd(waits.left_today)) " of " (usd(policy.day_max_usd)) " may still be spent within 24 hours."
        }
        @for decision in &waits.purchases {
            @let id = &decision.purchase.id;
            article.card aria-labelledby={ "decision-" (id) } {
                h2 id={ "decision-" (id) } {
                    a href={ (MOUNTED_AT) "/purchases/" (id) } {
                        "Up to " (decision.purchase.max_total) " USD on " (decision.purchase.marketplace)
                    }
                }
                (decision.facts())
                (decision.buttons(signed))
            }
        }
        @for ask in &waits.asked {
            article.card aria-labelledby={ "ask-" (ask.id) } {
                h2 id={ "ask-" (ask.id) } {
                    a href={ (MOUNTED_AT) "/asks/" (ask.id) } { "A question of "  (clean(&ask.tool, NAME_CHARS_MAX)) }
                }
                (asks::facts(ask))
                (asks::buttons(ask, signed))
            }
        }
    }
}
