//! Activating an agreement: what is known of it goes to the gate, which pays its escrow once.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::ActivateEscrowArgs;
use crate::{
    app::App,
    error::{Code, Error},
    journal::{Purchase, Rail},
    marketplaces::{
        Marketplace,
        paegents::{
            agreements::Role, allowance::funding_mode, escrow::natural_key, offer::Offer, steps,
        },
    },
    owner::{Outcome, Owner},
    spend::{PlanRequest, Repeat, is_begun},
    text::{NAME_CHARS_MAX, clean},
    tools::{
        Reply,
        market::purchases::{PurchaseView, next_of},
        paegents::{
            reading::{agreement as read_agreement, purchase_of},
            shown::AgreementView,
        },
    },
};

/// An escrow that was paid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ActivateView {
    /// The agreement after it; absent where it cannot be read just now.
    #[serde(flatten)]
    pub agreement: Option<AgreementView>,
    /// The payment.
    pub purchase: PurchaseView,
}

/// Pays an escrow, or goes on with its payment wherever that stands.
///
/// # Errors
///
/// Whatever stops it, with whether money moved.
pub(super) async fn activate(
    app: &App,
    owner: &Owner,
    args: &ActivateEscrowArgs,
) -> Result<Outcome<Reply<ActivateView>>, Error> {
    let paying = async {
        match begun(app, owner, args).await? {
            Some(begun) => resumed(app, owner, &begun).await,
            None => match fresh(app, args).await {
                Ok(request) => app.spending().pay(owner, request).await,
                // Another call may have begun to pay it since the journal was read.
                Err(error) => match begun(app, owner, args).await? {
                    Some(begun) => resumed(app, owner, &begun).await,
                    None => Err(error),
                },
            },
        }
    };
    match Box::pin(paying).await? {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(app, args, &purchase).await)),
    }
}

/// The escrow's payment, where that is under way or over.
async fn begun(
    app: &App,
    owner: &Owner,
    args: &ActivateEscrowArgs,
) -> Result<Option<Purchase>, Error> {
    let known = purchase_of(app, owner, &natural_key(&args.agreement_id)).await?;
    Ok(known.filter(|purchase| is_begun(purchase.state)))
}

/// What was begun goes on from the journal, also where Paegents cannot be read.
async fn resumed(app: &App, owner: &Owner, begun: &Purchase) -> Result<Outcome<Purchase>, Error> {
    // A sandbox that is gone is told by what follows, with what is known of the money.
    let _ = app.refresh_clock().await;
    app.spending().resume(owner, &begun.id).await
}

/// What is to be paid, where it may be.
async fn fresh(app: &App, args: &ActivateEscrowArgs) -> Result<PlanRequest, Error> {
    app.refresh_clock().await?;
    let paegents = app.paegents().await?;
    let offer = Offer::read(app, &paegents, &args.agreement_id).await?;
    if offer.asked.total > args.max_total_usd {
        return Err(too_dear(&offer, args));
    }
    let agreement = &offer.agreement;
    let seller = agreement.seller_agent_id.as_ref().ok_or_else(|| {
        let message = format!("the agreement {} does not say who is paid", args.agreement_id);
        Error::new(Code::UpstreamMalformed, message)
            .at(Marketplace::Paegents)
            .field("seller_agent_id", None)
    })?;
    let by_allowance = args.allowance.unwrap_or(false);
    let chain = app.chain().await?;
    // Said before the owner is asked, where it cannot be paid in this way.
    funding_mode(&chain, &offer, by_allowance).await?;
    let (body, body_digest) = offer.body(by_allowance);
    Ok(PlanRequest {
        marketplace: Marketplace::Paegents,
        rail: Rail::PaegentsEscrow,
        natural_key: natural_key(&args.agreement_id),
        repeat: Repeat::Never,
        seller_id: seller.to_string(),
        seller_name: String::new(),
        item_id: args.agreement_id.to_string(),
        item_name: clean(&agreement.service_description, NAME_CHARS_MAX),
        body_digest,
        body,
        route: String::new(),
        origin: paegents.api.base.to_string(),
        asset: "USDC".to_owned(),
        chain_id: chain.pins().chain_id,
        price: offer.asked.total,
        max_total: args.max_total_usd,
        fund: None,
    })
}

fn too_dear(offer: &Offer, args: &ActivateEscrowArgs) -> Error {
    let fee = offer.asked.fee.map_or_else(Default::default, |(fee, _)| fee);
    let total = offer.asked.total;
    let message = format!(
        "the escrow of the agreement {} costs {total} USD (deposit {}, fee {fee}), and at most {} \
         were allowed",
        args.agreement_id, offer.asked.deposit, args.max_total_usd
    );
    let again = json!({ "agreement_id": args.agreement_id, "max_total_usd": total });
    Error::new(Code::AboveMaxTotal, message)
        .at(Marketplace::Paegents)
        .field("max_total_usd", Some(&total.to_string()))
        .next(crate::recovery::NextCall::new(
            "paegents_activate_escrow",
            again,
            "pays it, if it is worth that",
        ))
}

/// The agreement after the payment, read again.
async fn shown(app: &App, args: &ActivateEscrowArgs, purchase: &Purchase) -> Reply<ActivateView> {
    let read = async { read_agreement(&app.paegents().await?, &args.agreement_id).await };
    let read = read.await.ok();
    let next = match &read {
        Some(agreement) => steps::of_agreement(agreement, Some(Role::Buyer)),
        None => next_of(purchase).into_iter().collect(),
    };
    let agreement = read.map(|agreement| AgreementView::of(&agreement, Some(Role::Buyer)));
    Reply { view: ActivateView { agreement, purchase: PurchaseView::from(purchase) }, next }
}
