//! What was bought, the newest first, and what was spent by day.

use axum::{
    extract::Query,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    MOUNTED_AT, Shared,
    chart::{self, DAYS},
    forms::Signed,
    problems::Problem,
    shell::{self, Part, Standing, full},
    words::{code, cost, head, moment, moved, state, theirs},
};
use crate::{
    ids::PurchaseId,
    journal::{
        self, Filter, Purchase,
        history::{self, DaySum},
    },
    spend::policy::DAY_SECONDS,
};

/// How many purchases a page has.
const ROWS: u32 = 25;
/// The most characters of a name in the table.
const CELL_CHARS_MAX: usize = 60;

/// Which page of them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Before {
    /// Older than this one; a name that is no identifier is none.
    #[serde(default)]
    before: String,
}

/// The page of the purchases.
pub(super) async fn show(page: Shared, signed: Signed, query: Query<Before>) -> Response {
    let now = shell::now(&page).await;
    let before: Option<PurchaseId> = query.before.parse().ok();
    let filter = Filter { before: before.clone(), limit: ROWS + 1, ..Filter::default() };
    let read = page.app.store().with(move |db| {
        let days = history::by_day(db, now - (DAYS - 1) * DAY_SECONDS)?;
        Ok((Standing::read(db, now)?, journal::list(db, &filter)?, days))
    });
    match read.await {
        Ok((standing, purchases, days)) => {
            let content = content(&purchases, before.is_some(), &days, now);
            let part = Some(Part::Purchases);
            full(&page, &signed, &standing, part, "Purchases", &content).into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

fn content(found: &[Purchase], later: bool, days: &[DaySum], now: i64) -> Markup {
    let most = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let shown = found.get(..most).unwrap_or(found);
    let older = shown.last().filter(|_| found.len() > shown.len());
    html! {
        h1 { "Purchases" }
        @if !later { (chart::card(days, now)) }
        section.card aria-labelledby="list" {
            h2 #list { @if later { "Earlier purchases" } @else { "The newest first" } }
            @if shown.is_empty() {
                p { "There are none." }
            } @else {
                (table(shown))
            }
            @if later || older.is_some() {
                nav.pages aria-label="Pages of purchases" {
                    @if later { a.button.plain href={ (MOUNTED_AT) "/purchases" } { "Newest" } }
                    @if let Some(last) = older {
                        a.button.plain href={ (MOUNTED_AT) "/purchases?before=" (last.id) } { "Older" }
                    }
                }
            }
        }
    }
}

fn table(purchases: &[Purchase]) -> Markup {
    html! {
        table role="table" {
            (head(&["What", "State", "Money moved", "Seller", "Where", "Principal", "When"], "Amount"))
            tbody role="rowgroup" {
                @for purchase in purchases {
                    tr role="row" {
                        td role="cell" data-label="What" {
                            a href={ (MOUNTED_AT) "/purchases/" (purchase.id) } {
                                (theirs(&purchase.item_name, CELL_CHARS_MAX))
                            }
                        }
                        td role="cell" data-label="State" { (state(purchase)) }
                        td role="cell" data-label="Money moved" { (moved(purchase)) }
                        td role="cell" data-label="Seller" { (theirs(&purchase.seller_name, CELL_CHARS_MAX)) }
                        td role="cell" data-label="Where" { (purchase.marketplace) }
                        td role="cell" data-label="Principal" { (code(&purchase.principal)) }
                        td role="cell" data-label="When" { (moment(purchase.created_at)) }
                        td.number role="cell" data-label="Amount" { (cost(purchase)) }
                    }
                }
            }
        }
    }
}
