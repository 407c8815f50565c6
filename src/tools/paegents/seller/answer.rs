//! Answering a proposal: accept or reject.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{RejectAgreementArgs, cents_of};
use crate::{
    app::App,
    error::{Code, Error},
    ids::AgreementId,
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            Paegents,
            agreements::{Agreement, Role},
            selling::{AcceptAgreement, RejectAgreement, SuggestInstead},
            status::{is_given_up, is_proposed},
            steps,
        },
    },
    recovery::NextCall,
    tools::{
        Reply,
        crochet::account::shown::checked_text,
        paegents::{
            free::check_items,
            reading::{agreement as read, agreement_as, with_next},
            settled::{is_open, undone},
            shown::AgreementView,
        },
    },
};

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// Accepts, unless it is accepted already.
pub(super) async fn accept(
    app: &Arc<App>,
    id: &AgreementId,
) -> Result<Reply<AgreementView>, Error> {
    let paegents = app.paegents().await?;
    let mut found = agreement_as(&paegents, id, Role::Seller).await?;
    if is_accepted(&found) {
        return Ok(shown(&found));
    }
    if !is_proposed(&found.status) {
        return Err(not_now(&found));
    }
    match paegents.api.send(&AcceptAgreement { agreement_id: id }).await {
        Ok(_) => {
            // That it was accepted stays true where it cannot be read now.
            "accepted".clone_into(&mut found.status);
            let now = read(&paegents, id).await.unwrap_or(found);
            Ok(shown(&now))
        }
        Err(error) => {
            let now = settle(&paegents, &found, error.clone()).await?;
            if is_accepted(&now) { Ok(shown(&now)) } else { Err(not_done(&error, &now)) }
        }
    }
}

/// Rejects, unless it is rejected already.
pub(super) async fn reject(
    app: &Arc<App>,
    args: RejectAgreementArgs,
) -> Result<Reply<AgreementView>, Error> {
    let asked = Asked::try_from(&args)?;
    let paegents = app.paegents().await?;
    let id = &args.agreement_id;
    let mut found = agreement_as(&paegents, id, Role::Seller).await?;
    if found.status == "rejected" {
        return Ok(shown(&found));
    }
    if !is_proposed(&found.status) {
        return Err(not_now(&found));
    }
    match asked.send(&paegents, id).await {
        Ok(()) => {
            "rejected".clone_into(&mut found.status);
            let now = read(&paegents, id).await.unwrap_or(found);
            Ok(shown(&now))
        }
        Err(error) => {
            let now = settle(&paegents, &found, error.clone()).await?;
            if now.status == "rejected" { Ok(shown(&now)) } else { Err(not_done(&error, &now)) }
        }
    }
}

/// What is said with a rejection, checked.
struct Asked<'a> {
    reason: Option<&'a str>,
    items: &'a [Map<String, Value>],
    total_cents: Option<u64>,
}

impl<'a> TryFrom<&'a RejectAgreementArgs> for Asked<'a> {
    type Error = Error;

    fn try_from(args: &'a RejectAgreementArgs) -> Result<Self, Error> {
        let example = "\"At most 500 calls a day.\"";
        let reason = args.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text, REASON_CHARS_MAX, example))
            .transpose()?;
        let items = args.suggested_items.as_deref().unwrap_or_default();
        check_items("suggested_items", items)?;
        let total = args.suggested_total_usd;
        let total_cents = total.map(|usd| cents_of("suggested_total_usd", usd)).transpose()?;
        Ok(Self { reason, items, total_cents })
    }
}

impl Asked<'_> {
    async fn send(&self, paegents: &Paegents, id: &AgreementId) -> Result<(), Error> {
        if self.reason.is_none() && self.items.is_empty() && self.total_cents.is_none() {
            return paegents.api.send(&RejectAgreement { agreement_id: id }).await.map(drop);
        }
        let suggest = SuggestInstead {
            agreement_id: id,
            reason: self.reason,
            suggested_cart_items: self.items,
            suggested_total_cents: self.total_cents,
        };
        paegents.api.send(&suggest).await.map(drop)
    }
}

/// The agreement after an answer that failed; `before` is what was read before it.
async fn settle(paegents: &Paegents, before: &Agreement, error: Error) -> Result<Agreement, Error> {
    let id = &before.agreement_id;
    if !is_open(&error) {
        return Err(with_next(error, steps::of_agreement(before, Some(Role::Seller))));
    }
    read(paegents, id).await.map_err(|_| {
        let why = "shows whether it was carried out; send nothing before";
        error.next(NextCall::new("paegents_get_agreement", json!({ "agreement_id": id }), why))
    })
}

fn is_accepted(agreement: &Agreement) -> bool {
    let status = agreement.status.as_str();
    !is_proposed(status) && !is_given_up(status)
}

fn not_done(error: &Error, now: &Agreement) -> Error {
    if is_proposed(&now.status) { undone(error, "the agreement") } else { not_now(now) }
}

fn not_now(agreement: &Agreement) -> Error {
    let message = format!(
        "the agreement {} is {}, and only a proposed one can be answered",
        agreement.agreement_id,
        word(&agreement.status)
    );
    let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
    match steps::of_agreement(agreement, Some(Role::Seller)) {
        calls if calls.is_empty() => error.next(NextCall::new(
            "paegents_list_agreements",
            json!({ "role": "seller", "status": "proposed" }),
            "shows what else is asked of you",
        )),
        calls => with_next(error, calls),
    }
}

fn shown(agreement: &Agreement) -> Reply<AgreementView> {
    let role = Some(Role::Seller);
    let next = steps::of_agreement(agreement, role);
    Reply { view: AgreementView::of(agreement, role), next }
}
