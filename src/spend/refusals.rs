//! What is said when a payment stops: what happened, whether money moved, what to do.

use serde_json::json;

use super::{
    check_call,
    rails::{call_again, described},
    resume_call,
};
use crate::{
    error::{Code, Error, MoneyMoved},
    journal::{Purchase, Rail, State},
    money::Usdc,
    recovery::{NextAction, NextCall},
    text::{TEXT_CHARS_MAX, clean},
};

pub(super) fn duplicate(earlier: &Purchase, now: i64) -> Error {
    let ago = now - earlier.finished_at.unwrap_or(now);
    let message = format!(
        "the same call to {} was paid and finished {ago} s ago as {}; nothing was paid now",
        earlier.item_id, earlier.id
    );
    Error::new(Code::PossibleDuplicate, message)
        .at(earlier.marketplace)
        .purchase(&earlier.id)
        .next(resume_call(earlier, "gives the earlier call's result again, without paying"))
        .recovery(|r| {
            "Take the earlier result, or call with `again: true` to buy once more."
                .clone_into(&mut r.summary);
        })
}

pub(super) fn price_changed(purchase: &Purchase, asked: Usdc) -> Error {
    let message = format!(
        "{} asks {asked} USD now; it is listed for {} USD and at most {} USD were allowed",
        purchase.item_id, purchase.price, purchase.max_total
    );
    let why = format!("buys it for up to {asked} USD, if it is worth that");
    let call = call_again(purchase, asked, why);
    Error::new(Code::PriceChanged, message)
        .at(purchase.marketplace)
        .field("max_total_usd", Some(&asked.to_string()))
        .next(call)
}

/// The same call with a lower maximum.
pub(super) fn lower(purchase: &Purchase, limit: Usdc) -> NextCall {
    NextCall::new(
        "market_search",
        json!({ "max_price_usd": limit.min(purchase.max_total) }),
        "looks for something within the owner's limits",
    )
}

pub(super) fn question(purchase: &Purchase) -> String {
    let at_most = if purchase.max_total == purchase.price {
        format!("{} USD", purchase.price)
    } else {
        format!("up to {} USD (listed for {} USD)", purchase.max_total, purchase.price)
    };
    let fund = purchase.fund.as_ref().map_or_else(String::new, |fund| {
        format!(
            " Of it {} USD go straight to the address {}, which the seller chose and which nothing \
             holds back.",
            fund.amount, fund.payee
        )
    });
    format!(
        "Pay {at_most}, fees included, on {} to the seller {} for {}?{fund} Purchase {}.",
        purchase.marketplace,
        purchase.seller_id,
        described(purchase),
        purchase.id,
    )
}

/// `page` is where on their page the owner can answer, too.
pub(super) fn approval_required(purchase: &Purchase, page: Option<&str>) -> Error {
    let id = &purchase.id;
    let page = page.map_or_else(String::new, |address| format!(", or at {address}"));
    let fund = purchase.fund.as_ref().map_or_else(String::new, |fund| {
        format!(", {} USD of it straight to the address {}", fund.amount, fund.payee)
    });
    let message = format!(
        "the owner has to agree to up to {} USD for {} from the seller {}{fund}: `haggle approve \
         {id}` in their terminal, or `haggle deny {id}`{page}",
        purchase.max_total,
        described(purchase).trim(),
        purchase.seller_id
    );
    Error::new(Code::ApprovalRequired, message)
        .at(purchase.marketplace)
        .purchase(id)
        .next(resume_call(purchase, "pays it once the owner has agreed"))
}

pub(super) fn denied(purchase: &Purchase) -> Error {
    Error::new(Code::ApprovalDenied, format!("the owner said no to {}", purchase.id))
        .at(purchase.marketplace)
        .purchase(&purchase.id)
}

pub(super) fn awaiting_external(purchase: &Purchase) -> Error {
    let amount = purchase.amount.unwrap_or(purchase.max_total);
    let message = format!(
        "{} has to be paid from another wallet ({amount} USD in {}): `haggle purchases show {}` says \
         what to send where",
        purchase.item_id, purchase.asset, purchase.id
    );
    Error::new(Code::AwaitingExternalPayment, message)
        .at(purchase.marketplace)
        .purchase(&purchase.id)
        .money(MoneyMoved::Maybe)
        .payment(purchase.instrument.clone().unwrap_or_default())
        .next(resume_call(purchase, "goes on once it has been paid"))
}

pub(super) fn not_settled(purchase: &Purchase) -> Error {
    let (code, what) = match purchase.state {
        State::Unknown => (Code::PaymentUnknown, "it is not known whether it was paid"),
        _ => (Code::PaymentPending, "the payment is on its way"),
    };
    let id = &purchase.id;
    Error::new(code, format!("{what}: {} USD for {id}", purchase.amount.unwrap_or_default()))
        .at(purchase.marketplace)
        .purchase(id)
        .next(check_call(id))
        .next(resume_call(purchase, "goes on with the same payment; never makes a second one"))
}

pub(super) fn not_delivered_yet(purchase: &Purchase, error: Option<&Error>) -> Error {
    let why = error.map(|e| format!(" ({e})")).unwrap_or_default();
    let message = format!(
        "{} was paid with {} USD and is not delivered yet{why}",
        purchase.item_id,
        purchase.amount.unwrap_or_default()
    );
    Error::new(Code::PaymentPending, message)
        .at(purchase.marketplace)
        .purchase(&purchase.id)
        .money(purchase.money_moved())
        .next(resume_call(purchase, "asks for the delivery again; pays nothing"))
}

/// Why a purchase failed, from what the journal keeps: `code: sentence`.
pub(super) fn why_it_failed(purchase: &Purchase) -> Error {
    let failure = purchase.failure.as_deref().unwrap_or("internal: no reason was kept");
    let (name, why) = failure.split_once(": ").unwrap_or(("internal", failure));
    let known = Code::ALL.iter().copied().find(|code| code.name() == name);
    let code = known.unwrap_or(Code::UpstreamRejected);
    let (id, item) = (&purchase.id, &purchase.item_id);
    let message = match code {
        Code::PaidNotDelivered => format!(
            "{item} was paid with {} USD and not delivered: {why}",
            purchase.amount.unwrap_or_default()
        ),
        _ => format!("{id} was not paid: {why}"),
    };
    let error = Error::new(code, message)
        .at(purchase.marketplace)
        .purchase(id)
        .money(purchase.money_moved());
    let error = said(error, purchase);
    if let Some(call) = anew(purchase) {
        return error.next(call).recovery(|r| {
            r.set(NextAction::Retry, true, "Nothing was paid. The same can be bought anew.");
        });
    }
    if code != Code::PaidNotDelivered {
        return error;
    }
    if purchase.rail == Rail::CrooOrder {
        let other = NextCall::new("market_search", json!({}), "looks for another seller");
        return error.next(other).recovery(|r| {
            r.set(
                NextAction::ChooseOther,
                true,
                "CROO gives the escrow back; gas and a fund part are spent. Choose another seller.",
            );
        });
    }
    error.next(check_call(id)).recovery(|r| {
        r.set(
            NextAction::Stop,
            false,
            "The money cannot be called back. Do not pay again for the same; choose another seller.",
        );
    })
}

/// The call that makes a purchase anew, where nothing is wrong with what was asked for: the payment
/// came to nothing on its way.
#[must_use]
pub fn anew(purchase: &Purchase) -> Option<NextCall> {
    let name = purchase.failure.as_deref()?.split_once(": ")?.0;
    let lapsed = [Code::Cancelled, Code::Expired, Code::UpstreamUnavailable];
    let dead = name == Code::UpstreamRejected.name() && purchase.account.is_some();
    let lapsed = lapsed.iter().any(|code| code.name() == name);
    let is_anew = purchase.state == State::Failed && (lapsed || dead);
    is_anew.then(|| call_again(purchase, purchase.max_total, "makes the same purchase anew"))
}

/// With the marketplace's own words, where it refused the payment.
fn said(error: Error, purchase: &Purchase) -> Error {
    let (State::Failed, Some(status), Some(body)) =
        (purchase.state, purchase.answer_status, &purchase.answer)
    else {
        return error;
    };
    let words = clean(&String::from_utf8_lossy(body), TEXT_CHARS_MAX);
    error.upstream(Some(status), None).recovery(|recovery| {
        recovery.upstream_untrusted = Some(json!({ "message": words }));
    })
}

/// Asking what became of a purchase failed; nothing was sent by it.
pub(super) fn unanswered(purchase: &Purchase, error: Error) -> Error {
    error
        .purchase(&purchase.id)
        .at_least(purchase.money_moved())
        .next(check_call(&purchase.id))
        .next(resume_call(purchase, "goes on with the same payment; never makes a second one"))
}
