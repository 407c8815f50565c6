//! Answering a negotiation: accept or reject.

use std::sync::Arc;

use alloy_primitives::Address;
use serde_json::json;

use super::{
    AcceptNegotiationArgs, AcceptedView, RejectNegotiationArgs, check_provider, in_turn, is_open,
    undone,
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::NegotiationId,
    marketplaces::{
        Marketplace,
        croo::{
            Croo, Role,
            negotiations::{AcceptNegotiation, Negotiation, RejectNegotiation},
            orders::Order,
            steps, word,
        },
    },
    recovery::{NextAction, NextCall},
    store::payees::{self, Payee},
    tools::{
        Reply,
        crochet::account::shown::checked_text,
        croo::{
            reading::order_of,
            shown::{NegotiationView, OrderView},
        },
    },
};

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 1000;
/// How many pages of orders are looked through for that of a negotiation.
const PAGES_MAX: u64 = 5;
/// How many of the owner's names are told.
const NAMES_MAX: usize = 10;

/// Accepts, unless it is accepted already.
pub(super) async fn accept(
    app: &Arc<App>,
    args: AcceptNegotiationArgs,
) -> Result<Reply<AcceptedView>, Error> {
    let payee = match &args.payee {
        Some(name) => Some(named(app, name, &args.negotiation_id).await?),
        None => None,
    };
    let usdc = app.chain().await?.pins().usdc;
    let (croo, _turn) = in_turn(app).await?;
    let id = &args.negotiation_id;
    let negotiation = read(app, &croo, id).await?;
    match negotiation.status.as_str() {
        "accepted" => return Ok(accepted(&croo, negotiation, None, usdc).await),
        "pending" => {}
        _ => return Err(not_now(&negotiation)),
    }
    let provider_fund_address = fund_address(app, &negotiation, payee).await?;
    let request = AcceptNegotiation { negotiation_id: id, provider_fund_address };
    let error = match croo.api.send(&request).await {
        Ok(done) if done.negotiation.negotiation_id == *id => {
            return Ok(accepted(&croo, done.negotiation, Some(done.order), usdc).await);
        }
        Ok(_) => another_written(id),
        Err(error) => error,
    };
    let now = settle(&croo, id, error.clone()).await?;
    match now.status.as_str() {
        "accepted" => Ok(accepted(&croo, now, None, usdc).await),
        "pending" => Err(undone(&error, "the negotiation")),
        _ => Err(not_now(&now)),
    }
}

/// Rejects, unless it is rejected already.
pub(super) async fn reject(
    app: &Arc<App>,
    args: RejectNegotiationArgs,
) -> Result<Reply<NegotiationView>, Error> {
    let example = "\"The text is too long; 2,000 words at most.\"";
    let reason = checked_text("reason", &args.reason, REASON_CHARS_MAX, example)?;
    let (croo, _turn) = in_turn(app).await?;
    let id = &args.negotiation_id;
    let mut negotiation = read(app, &croo, id).await?;
    match negotiation.status.as_str() {
        "rejected" => return Ok(rejected(&negotiation)),
        "pending" => {}
        _ => return Err(not_now(&negotiation)),
    }
    let sent = croo.api.send(&RejectNegotiation { negotiation_id: id, reason }).await;
    let Err(error) = sent else {
        "rejected".clone_into(&mut negotiation.status);
        reason.clone_into(&mut negotiation.reject_reason);
        return Ok(rejected(&negotiation));
    };
    let now = settle(&croo, id, error.clone()).await?;
    match now.status.as_str() {
        "rejected" => Ok(rejected(&now)),
        "pending" => Err(undone(&error, "the negotiation")),
        _ => Err(not_now(&now)),
    }
}

async fn read(app: &App, croo: &Croo, id: &NegotiationId) -> Result<Negotiation, Error> {
    let found = croo.negotiation(id).await?;
    let sides = (found.requester_agent_id.as_ref(), found.provider_agent_id.as_ref());
    check_provider(app, croo, sides).await?;
    Ok(found)
}

/// The negotiation after a write that failed.
async fn settle(croo: &Croo, id: &NegotiationId, error: Error) -> Result<Negotiation, Error> {
    if !is_open(&error) {
        return Err(error);
    }
    croo.negotiation(id).await.map_err(|_| {
        let why = "shows whether it was carried out; send nothing before";
        error.next(NextCall::new("croo_get_negotiation", json!({ "negotiation_id": id }), why))
    })
}

/// What came back is about another negotiation: this one may have been answered.
fn another_written(id: &NegotiationId) -> Error {
    let message = format!("CROO answered for {id} with another negotiation");
    let mut error = Error::new(Code::UpstreamMalformed, message).at(Marketplace::Croo);
    error.not_repeat_safe();
    error
}

fn not_now(negotiation: &Negotiation) -> Error {
    let status = word(&negotiation.status);
    let message = format!(
        "the negotiation {} is {status}, and only a pending one can be answered",
        negotiation.negotiation_id
    );
    let error = Error::new(Code::WrongState, message).at(Marketplace::Croo);
    match steps::of_negotiation(negotiation, Some(Role::Provider)) {
        calls if calls.is_empty() => error.next(NextCall::new(
            "croo_list_negotiations",
            json!({ "role": "provider", "status": "pending" }),
            "shows what else is asked of you",
        )),
        calls => calls.into_iter().fold(error, Error::next),
    }
}

/// It is accepted: with its order, where that can be found.
async fn accepted(
    croo: &Croo,
    negotiation: Negotiation,
    order: Option<Order>,
    usdc: Address,
) -> Reply<AcceptedView> {
    let id = &negotiation.negotiation_id;
    let role = Some(Role::Provider);
    let is_its = |order: &Order| order.negotiation_id.as_ref().is_none_or(|of| of == id);
    let order = match order.filter(is_its) {
        // That it was accepted stays true where the list cannot be read.
        None => order_of(croo, id, &[Role::Provider], PAGES_MAX).await.ok().flatten(),
        found => found,
    };
    let Some(mut order) = order else {
        let view = NegotiationView::of(&negotiation, role);
        let next = steps::of_negotiation(&negotiation, role);
        return Reply { view: AcceptedView { order: None, negotiation: Some(view) }, next };
    };
    if order.requirements.is_empty() {
        order.requirements.clone_from(&negotiation.requirements);
    }
    let view = OrderView::of(&order, role, usdc);
    let next = steps::of_order(&order, role, None);
    Reply { view: AcceptedView { order: Some(view), negotiation: None }, next }
}

fn rejected(negotiation: &Negotiation) -> Reply<NegotiationView> {
    let view = NegotiationView::of(negotiation, Some(Role::Provider));
    let why = "shows what else is asked of you";
    let arguments = json!({ "role": "provider", "status": "pending" });
    Reply::new(view).next(NextCall::new("croo_list_negotiations", arguments, why))
}

/// The address that the owner gave this name on the chain in use. Nothing is asked of CROO for it.
async fn named(app: &App, name: &str, id: &NegotiationId) -> Result<Address, Error> {
    let usable = usable(app).await?;
    let known = usable.iter().find(|known| known.name == name);
    match known.map(|known| known.address.parse::<Address>()) {
        Some(Ok(address)) if address != Address::ZERO => Ok(address),
        Some(_) => Err(Error::new(Code::StoreUnavailable, "the payee's address cannot be read")),
        None if usable.is_empty() => {
            let message = "`payee` is none of the owner's names, of which there are none; leave it \
                           out unless the negotiation has a fund";
            let error = Error::new(Code::InvalidArgument, message).field("payee", Some("null"));
            Err(error.next(without_payee(id)))
        }
        None => Err(one_of(&usable)),
    }
}

/// The owner's names of addresses on the chain in use.
async fn usable(app: &App) -> Result<Vec<Payee>, Error> {
    let known = app.store().with(|db| payees::all(db)).await?;
    let chain_id = app.venue().await?.chain_id;
    let fits = |known: &Payee| u64::try_from(known.chain_id) == Ok(chain_id);
    Ok(known.into_iter().filter(fits).collect())
}

/// Where the buyer's fund goes: an address of the owner's; for a negotiation with a fund, and for
/// no other.
async fn fund_address(
    app: &App,
    negotiation: &Negotiation,
    payee: Option<Address>,
) -> Result<Option<Address>, Error> {
    let has_fund = !matches!(negotiation.fund_amount.trim(), "" | "0");
    match (has_fund, payee) {
        (false, None) => Ok(None),
        (true, Some(address)) => Ok(Some(address)),
        (false, Some(_)) => {
            let message = "`payee` must be left out: this negotiation has no fund";
            let error = Error::new(Code::InvalidArgument, message).field("payee", Some("null"));
            Err(error.next(without_payee(&negotiation.negotiation_id)))
        }
        (true, None) => {
            let usable = usable(app).await?;
            if !usable.is_empty() {
                return Err(one_of(&usable));
            }
            let chain_id = app.venue().await?.chain_id;
            let message = format!(
                "a buyer's fund goes to an address of the owner's, and none has a name on chain \
                 {chain_id}; the owner runs: haggle payees add NAME ADDRESS --chain {chain_id}"
            );
            let error = Error::new(Code::InvalidArgument, message).field("payee", None);
            Err(error.recovery(|recovery| {
                let summary = "Only the owner can name an address.";
                recovery.set(NextAction::AskOwner, false, summary);
            }))
        }
    }
}

fn without_payee(id: &NegotiationId) -> NextCall {
    NextCall::new("croo_accept_negotiation", json!({ "negotiation_id": id }), "accepts it")
}

fn one_of(usable: &[Payee]) -> Error {
    let names: Vec<&str> = usable.iter().take(NAMES_MAX).map(|known| known.name.as_str()).collect();
    let example = names.first().map(|name| format!("\"{name}\"")).unwrap_or_default();
    let problem = format!("must be one of the owner's names: {}", names.join(", "));
    Error::argument("payee", problem, &example)
}
