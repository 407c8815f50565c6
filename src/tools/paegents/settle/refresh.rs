//! New permits for an activation whose own are over: the same payment goes on, in the gate.

use crate::{
    app::App,
    error::{Code, Error, MoneyMoved},
    marketplaces::{
        Marketplace,
        paegents::{agreements::Role, escrow::natural_key, steps},
    },
    owner::Owner,
    spend::anew,
    tools::{
        Reply,
        market::purchases::{PurchaseView, next_of},
        paegents::{
            buyer::activate::ActivateView,
            reading::{agreement as read_agreement, agreement_as, purchase_of, with_next},
            settle::reads::ReadArgs,
            shown::AgreementView,
        },
    },
};

/// Signs new permits and hands them in, where those of the activation are over.
///
/// # Errors
///
/// [`Code::WrongState`] where there is nothing to refresh; otherwise as an activation.
pub(super) async fn refresh(
    app: &App,
    owner: &Owner,
    args: &ReadArgs,
) -> Result<Reply<ActivateView>, Error> {
    app.refresh_clock().await?;
    let id = &args.agreement_id;
    let Some(known) = purchase_of(app, owner, &natural_key(id)).await? else {
        let paegents = app.paegents().await?;
        let agreement = agreement_as(&paegents, id, Role::Buyer).await?;
        let message =
            format!("no activation of the agreement {id} was begun here: nothing to refresh");
        let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
        return Err(with_next(error, steps::of_agreement(&agreement, Some(Role::Buyer))));
    };
    let renewed = Box::pin(app.spending().renew(owner, &known.id)).await;
    let purchase = renewed.map_err(|error| {
        // What came to nothing is paid anew, with the owner's word for it.
        let is_over = error.is(Code::WrongState) && error.money_moved == MoneyMoved::No;
        let call = anew(&known).or_else(|| next_of(&known)).filter(|_| is_over);
        call.into_iter().fold(error, Error::next)
    })?;
    let read = async { read_agreement(&app.paegents().await?, id).await };
    let read = read.await.ok();
    let next = match &read {
        Some(agreement) => steps::of_agreement(agreement, Some(Role::Buyer)),
        None => next_of(&purchase).into_iter().collect(),
    };
    let agreement = read.map(|agreement| AgreementView::of(&agreement, Some(Role::Buyer)));
    Ok(Reply { view: ActivateView { agreement, purchase: PurchaseView::from(&purchase) }, next })
}
