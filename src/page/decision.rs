//! A purchase that waits for the owner: all that they should know, and the buttons.

use maud::{Markup, html};
use rusqlite::Connection;

use super::{
    MOUNTED_AT,
    forms::Signed,
    shell::token,
    words::{code, count, fact, input, item, moment, seller, usd},
};
use crate::{
    journal::{
        Purchase,
        history::{self, SellerHistory},
    },
    money::Usdc,
    spend::{
        approvals::GRANT_DAYS_MAX,
        outlook::{Outlook, outlook},
        policy::{Policies, Verdict},
    },
    store::StoreError,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
};

/// What the owner decides on.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) purchase: Purchase,
    seller: SellerHistory,
    outlook: Outlook,
}

impl Decision {
    /// With what journal and policy say of it at `now`.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub(super) fn read(
        db: &Connection,
        policies: &Policies,
        purchase: Purchase,
        now: i64,
    ) -> Result<Self, StoreError> {
        let seller = history::of_seller(db, &purchase)?;
        let outlook = outlook(db, policies, &purchase, now)?;
        Ok(Self { purchase, seller, outlook })
    }

    /// All of it, below a heading that others point to by `decision-ID`.
    pub(super) fn facts(&self) -> Markup {
        let Self { purchase, seller: history, outlook } = self;
        html! {
            @if let Err(refused) = &outlook.verdict {
                p.notice {
                    strong { "Your limits refuse it, even if you agree: " }
                    (clean(&refused.to_string(), TEXT_CHARS_MAX)) "."
                }
            }
            dl.facts {
                (fact("You pay", &pays(purchase)))
                (fact("To", &seller(purchase)))
                (fact("For", &item(purchase)))
                (fact("On", &html! { (purchase.marketplace) ", in " (clean(&purchase.asset, NAME_CHARS_MAX)) }))
                (fact("Input", &input(&purchase.body)))
                (fact("Asked by", &html! { (code(&purchase.principal)) ", " (moment(purchase.created_at)) }))
                (fact("This seller", &past(history)))
                (fact("You are asked because", &html! { (self.reasons()) }))
                (fact("Your limits", &self.limits()))
            }
        }
    }

    /// Why the policy does not decide alone.
    fn reasons(&self) -> String {
        let (purchase, policy, mut why) = (&self.purchase, &self.outlook.budget.policy, Vec::new());
        if purchase.max_total > policy.ask_above_usd {
            why.push(format!("it costs more than {} USD", policy.ask_above_usd));
        }
        if policy.first_purchase_asks && !self.outlook.known_seller {
            why.push("this seller was never paid before".to_owned());
        }
        if purchase.fund.is_some() {
            why.push("part of it goes straight to an address that the seller chose".to_owned());
        }
        if why.is_empty() {
            return "your limits asked for it when it was planned".to_owned();
        }
        why.join("; ")
    }

    fn limits(&self) -> Markup {
        let Outlook { budget, granted, verdict, .. } = &self.outlook;
        let (policy, left_today) = (&budget.policy, budget.left_today());
        let after = left_today.saturating_sub(self.purchase.max_total);
        html! {
            (usd(left_today)) " of " (usd(policy.day_max_usd)) " are left for 24 hours"
            @if verdict.is_ok() { ", " (usd(after)) " after this" }
            "; one purchase may cost " (usd(policy.purchase_max_usd))
            @if let Some(own) = budget.own_left {
                "; " (code(&self.purchase.principal)) " has " (usd(own)) " left of its own 24 hours"
            }
            @if *granted > Usdc::ZERO { "; your standing grant for this seller covers " (usd(granted)) }
            @if matches!(verdict, Ok(Verdict::Allow)) { "; by now they allow this purchase without asking" }
            "."
        }
    }

    /// The buttons, bound to what is shown.
    pub(super) fn buttons(&self, signed: &Signed) -> Markup {
        let purchase = &self.purchase;
        let (id, action) = (&purchase.id, format!("{MOUNTED_AT}/purchases/{}/answer", purchase.id));
        let bound = html! {
            (token(signed))
            input type="hidden" name="envelope" value=(purchase.envelope());
        };
        html! {
            form.answer method="post" action=(action) {
                (bound)
                button name="answer" value="approve" aria-describedby={ "decision-" (id) } {
                    "Approve up to " (purchase.max_total) " USD"
                }
                button.plain name="answer" value="deny" aria-describedby={ "decision-" (id) } { "Deny" }
            }
            details.grant {
                summary { "Approve, and trust this seller for a while" }
                form method="post" action=(action) {
                    (bound)
                    p.hint {
                        "Then this seller is paid without asking you, up to the sum below in all. Your limits \
                         for one purchase and for a day stay."
                    }
                    div.fields {
                        div {
                            label for={ "up-to-" (id) } { "At most, in USD in all" }
                            input id={ "up-to-" (id) } name="up_to_usd" inputmode="decimal" required
                                autocomplete="off" pattern="[0-9]+([.][0-9]{1,6})?" title="A sum such as 2.50";
                        }
                        div {
                            label for={ "days-" (id) } { "For how many days" }
                            input id={ "days-" (id) } name="days" type="number" min="1"
                                max=(GRANT_DAYS_MAX) value="30" required;
                        }
                    }
                    button name="answer" value="approve_seller" { "Approve and trust this seller" }
                }
            }
        }
    }
}

/// The most that it may cost, and what of it is not held back by anything.
fn pays(purchase: &Purchase) -> Markup {
    html! {
        strong { "up to " (usd(purchase.max_total)) } ", all fees included; listed for " (usd(purchase.price)) "."
        @if let Some(fund) = &purchase.fund {
            br;
            strong { (usd(fund.amount)) " of it go straight to the address " }
            (code(&fund.payee))
            ", which the seller chose. Nothing holds that part back."
        }
    }
}

/// What the journal shows of a seller.
fn past(seller: &SellerHistory) -> Markup {
    let Some(first) = seller.first_at else {
        return html! { "Nothing was bought here before." };
    };
    html! {
        (count(seller.purchases, "other purchase", "other purchases")) " since " (moment(first)) ": "
        (seller.settled) " paid (" (usd(seller.paid)) " in all), " (seller.failed) " not paid, "
        (seller.not_delivered) " paid and not delivered."
    }
}
