//! The owner's limits, and what is left of them.

use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::{
    MOUNTED_AT, Shared,
    forms::Signed,
    problems::Problem,
    shell::{self, Part, Standing, full},
    words::{code, fact, head, moment, usd},
};
use crate::{
    journal::{
        self,
        history::{self, PrincipalSum},
    },
    marketplaces::Marketplace,
    money::Usdc,
    principal::Principal,
    spend::{
        approvals::{self, Grant},
        policy::{DAY_SECONDS, Limits, Policy},
    },
    text::{NAME_CHARS_MAX, clean},
};

/// The page of the limits.
pub(super) async fn show(page: Shared, signed: Signed) -> Response {
    let now = shell::now(&page).await;
    let read = page.app.store().with(move |db| {
        Ok((
            Standing::read(db, now)?,
            journal::spent_since(db, now - DAY_SECONDS)?,
            history::by_principal(db, now - DAY_SECONDS)?,
            approvals::grants(db, now)?,
        ))
    });
    match read.await {
        Ok((standing, spent, principals, grants)) => {
            let policy = &page.app.settings().policy;
            let content = html! {
                h1 { "What may still be spent" }
                (budget(policy, spent))
                (by_principal(&shares(&page.app.settings().clients, &principals)))
                (standing_grants(&grants))
                (rules(policy))
            };
            full(&page, &signed, &standing, Some(Part::Limits), "Limits", &content).into_response()
        }
        Err(error) => Problem::of(&error).into_response(),
    }
}

fn budget(policy: &Policy, spent: Usdc) -> Markup {
    let left = policy.day_max_usd.saturating_sub(spent);
    html! {
        section.card aria-labelledby="day" {
            h2 #day { "24 hours" }
            p.figure { (usd(left)) " left" }
            meter min="0" max=(policy.day_max_usd.micros()) value=(left.micros()) aria-label="Left of 24 hours" {
                (left) " of " (policy.day_max_usd) " USD"
            }
            p {
                (usd(spent)) " of " (usd(policy.day_max_usd)) " were spent, or may have been, in the last 24 hours, \
                 over all agents that share this store. One purchase may cost " (usd(policy.purchase_max_usd)) "."
            }
        }
    }
}

/// What one client spent, beside what it may spend by itself.
struct Share<'a> {
    name: &'a str,
    sum: Option<&'a PrincipalSum>,
    limits: Limits,
}

/// Every client of the settings, and whoever else has spent something.
fn shares<'a>(clients: &'a [Principal], sums: &'a [PrincipalSum]) -> Vec<Share<'a>> {
    let of = |name: &str| sums.iter().find(|sum| sum.principal == name);
    let known = clients.iter().map(|client| Share {
        name: &client.name,
        sum: of(&client.name),
        limits: client.limits,
    });
    let is_other = |sum: &&PrincipalSum| !clients.iter().any(|it| it.name == sum.principal);
    let others = sums.iter().filter(is_other).map(|sum| Share {
        name: &sum.principal,
        sum: Some(sum),
        limits: Limits::default(),
    });
    known.chain(others).collect()
}

fn by_principal(shares: &[Share<'_>]) -> Markup {
    html! {
        section.card aria-labelledby="who" {
            h2 #who { "Who spent it" }
            @if shares.is_empty() {
                p { "Nobody spent anything in the last 24 hours." }
            } @else {
                table role="table" {
                    (head(
                        &["Principal", "Purchases", "Own limit for one", "Own limit for 24 hours"],
                        "Spent in 24 hours",
                    ))
                    tbody role="rowgroup" {
                        @for share in shares { (row(share)) }
                    }
                }
            }
        }
    }
}

fn row(share: &Share<'_>) -> Markup {
    let Share { name, sum, limits } = share;
    let spent = sum.map_or(Usdc::ZERO, |sum| sum.spent);
    html! {
        tr role="row" {
            td role="cell" data-label="Principal" { (code(name)) }
            td role="cell" data-label="Purchases" { (sum.map_or(0, |sum| sum.purchases)) }
            td role="cell" data-label="Own limit for one" {
                @match limits.purchase_max { Some(most) => (usd(most)), None => "none", }
            }
            td role="cell" data-label="Own limit for 24 hours" {
                @match limits.day_max {
                    Some(most) => { (usd(most)) ", " (usd(most.saturating_sub(spent))) " left" }
                    None => "none",
                }
            }
            td.number role="cell" data-label="Spent in 24 hours" { (usd(spent)) }
        }
    }
}

fn standing_grants(grants: &[Grant]) -> Markup {
    html! {
        section.card aria-labelledby="grants" {
            h2 #grants { "Sellers that you trust for a while" }
            @if grants.is_empty() {
                p { "None: you are asked about every seller that your rules ask about." }
            } @else {
                table role="table" {
                    (head(&["Seller", "Marketplace", "Until"], "Left"))
                    tbody role="rowgroup" {
                        @for grant in grants {
                            tr role="row" {
                                td role="cell" data-label="Seller" { (code(&grant.seller_id)) }
                                td role="cell" data-label="Marketplace" { (place(&grant.marketplace)) }
                                td role="cell" data-label="Until" { (moment(grant.expires_at)) }
                                td.number role="cell" data-label="Left" {
                                    (usd(grant.left_usd)) " of " (usd(grant.up_to_usd))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A marketplace by its name in the store.
fn place(name: &str) -> String {
    let known = Marketplace::named(name).map(|known| known.to_string());
    known.unwrap_or_else(|| clean(name, NAME_CHARS_MAX))
}

fn rules(policy: &Policy) -> Markup {
    let sellers = |list: &[String]| {
        html! {
            @for (at, seller) in list.iter().enumerate() {
                @if at > 0 { ", " }
                (code(seller))
            }
        }
    };
    let first = if policy.first_purchase_asks { "you are asked" } else { "you are not asked" };
    html! {
        section.card aria-labelledby="rules" {
            h2 #rules { "Your rules" }
            dl.facts {
                (fact("One purchase", &html! { "at most " (usd(policy.purchase_max_usd)) }))
                (fact("You are asked", &html! { "about what costs more than " (usd(policy.ask_above_usd)) }))
                (fact("First purchase", &html! { (first) " when a seller was never paid before" }))
                (fact("Here or by command", &html! {
                    "what costs more than " (usd(policy.client_approval_max_usd))
                    ": your word in the agent's own program is not enough for it"
                }))
                (fact("Chosen addresses", &html! {
                    "at most " (usd(policy.fund_max_usd)) " straight to an address that a seller chose"
                }))
                @if !policy.sellers_allow.is_empty() { (fact("Only these sellers", &sellers(&policy.sellers_allow))) }
                @if !policy.sellers_deny.is_empty() { (fact("Never these sellers", &sellers(&policy.sellers_deny))) }
                @for (asset, most) in &policy.other_assets {
                    (fact(&clean(asset, NAME_CHARS_MAX), &html! {
                        "at most " (clean(most, NAME_CHARS_MAX)) " in one purchase"
                    }))
                }
            }
            p.hint {
                "The rules stand in the configuration file (" (code("haggle config show")) "); this page changes none. "
                a href={ (MOUNTED_AT) "/purchases" } { "What was bought" } "."
            }
        }
    }
}
