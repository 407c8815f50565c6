//! Paying an order: what is known of it goes to the gate, which pays it once.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::PayOrderArgs;
use crate::{
    app::App,
    error::{Code, Error, MoneyMoved},
    journal::{Purchase, Rail},
    marketplaces::{
        Marketplace,
        croo::{
            Croo, Role,
            orders::{Cost, Order},
            payment::{body, fund, natural_key},
            services::{GetService, Served},
            steps, word,
        },
    },
    money::Usdc,
    owner::{Outcome, Owner},
    recovery::NextCall,
    spend::{PlanRequest, Repeat, is_begun},
    text::{NAME_CHARS_MAX, clean},
    tools::{
        Reply,
        croo::{
            reading::{order as read_order, purchase_of},
            shown::OrderView,
        },
        market::purchases::{PurchaseView, next_of},
    },
};

/// An order that was paid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PayView {
    /// The order after it; absent where it cannot be read just now.
    #[serde(flatten)]
    pub order: Option<OrderView>,
    /// The payment.
    pub purchase: PurchaseView,
}

/// Pays an order, or goes on with its payment wherever that stands.
///
/// # Errors
///
/// Whatever stops it, with whether money moved.
pub(super) async fn pay(
    app: &App,
    owner: &Owner,
    args: &PayOrderArgs,
) -> Result<Outcome<Reply<PayView>>, Error> {
    let outcome = match begun(app, owner, args).await? {
        Some(begun) => resumed(app, owner, &begun).await?,
        None => match fresh(app, args).await {
            Ok(request) => app.spending().pay(owner, request).await?,
            // Another call may have begun to pay it since the journal was read.
            Err(error) => match begun(app, owner, args).await? {
                Some(begun) => resumed(app, owner, &begun).await?,
                None => return Err(error),
            },
        },
    };
    match outcome {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(app, args, &purchase).await)),
    }
}

/// The order's payment, where that is under way or over.
async fn begun(app: &App, owner: &Owner, args: &PayOrderArgs) -> Result<Option<Purchase>, Error> {
    let known = purchase_of(app, owner, &args.order_id).await?;
    Ok(known.filter(|purchase| is_begun(purchase.state)))
}

/// What was begun goes on from the journal, also where CROO cannot be read.
async fn resumed(app: &App, owner: &Owner, begun: &Purchase) -> Result<Outcome<Purchase>, Error> {
    // A sandbox that is gone is told by what follows, with what is known of the money.
    let _ = app.refresh_clock().await;
    app.spending().resume(owner, &begun.id).await
}

async fn fresh(app: &App, args: &PayOrderArgs) -> Result<PlanRequest, Error> {
    app.refresh_clock().await?;
    planned(app, args).await
}

/// The order after the payment, read again, since what `pay` answered may lack members.
async fn shown(app: &App, args: &PayOrderArgs, purchase: &Purchase) -> Reply<PayView> {
    let read = async {
        let croo = app.croo().await?;
        let usdc = app.chain().await?.pins().usdc;
        Ok::<_, Error>((read_order(&croo, &args.order_id).await?, usdc))
    };
    let read = read.await.ok();
    let next = match &read {
        Some((order, _)) => steps::of_order(order, Some(Role::Buyer), None),
        None => next_of(purchase).into_iter().collect(),
    };
    let order = read.map(|(order, usdc)| OrderView::of(&order, Some(Role::Buyer), usdc));
    Reply { view: PayView { order, purchase: PurchaseView::from(purchase) }, next }
}

/// What is to be paid, where it may be.
async fn planned(app: &App, args: &PayOrderArgs) -> Result<PlanRequest, Error> {
    let croo = app.croo().await?.registered()?;
    let order = read_order(&croo, &args.order_id).await?;
    let own = app.croo_agent(&croo).await?;
    let (requester, provider) = (&order.requester_agent_id, &order.provider_agent_id);
    let role = Role::of(own.as_ref(), requester.as_ref(), provider.as_ref());
    if own.is_some() && requester.is_some() && role != Some(Role::Buyer) {
        let message = format!("the order {} is not yours to pay", order.order_id);
        let calls = steps::of_order(&order, role, None);
        return Err(with_next(Error::new(Code::NotAllowed, message).at(Marketplace::Croo), calls));
    }
    payable(&order)?;
    let chain = app.chain().await?;
    let cost = order.cost(chain.pins().usdc)?;
    let fund = fund(&order, &cost)?;
    let served = service_of(&croo, &order).await;
    if cost.total > args.max_total_usd {
        return Err(too_dear(&order, &cost, served.as_ref(), args.max_total_usd));
    }
    let seller = provider.as_ref().ok_or_else(|| {
        let message = format!("the order {} does not say who is paid", order.order_id);
        Error::new(Code::UpstreamMalformed, message)
            .at(Marketplace::Croo)
            .field("providerAgentId", None)
    })?;
    let body = body(&order);
    let named = |text: Option<&String>| clean(text.map_or("", String::as_str), NAME_CHARS_MAX);
    Ok(PlanRequest {
        marketplace: Marketplace::Croo,
        rail: Rail::CrooOrder,
        natural_key: natural_key(&order.order_id),
        repeat: Repeat::Never,
        seller_id: seller.to_string(),
        seller_name: named(served.as_ref().map(|served| &served.agent_name)),
        item_id: order.order_id.to_string(),
        item_name: named(served.as_ref().map(|served| &served.service.name)),
        body_digest: hex::encode(Sha256::digest(&body)),
        body,
        route: String::new(),
        origin: croo.api.base.to_string(),
        asset: "USDC".to_owned(),
        chain_id: chain.pins().chain_id,
        price: cost.total,
        max_total: args.max_total_usd,
        fund,
    })
}

fn payable(order: &Order) -> Result<(), Error> {
    let status = order.status.as_str();
    if matches!(status, "created" | "pay_failed") {
        return Ok(());
    }
    let message = match status {
        "creating" => format!("the order {} is not on the chain yet", order.order_id),
        _ => format!("the order {} is {}: there is nothing to pay", order.order_id, word(status)),
    };
    // It was not paid from here, but whoever else has the key may have paid it.
    let moved = if steps::is_paid(status) || !order.paid_at.is_empty() {
        MoneyMoved::Yes
    } else if steps::is_final(status) || status == "creating" {
        MoneyMoved::No
    } else {
        MoneyMoved::Maybe
    };
    let error = Error::new(Code::WrongState, message).at(Marketplace::Croo).money(moved);
    Err(with_next(error, steps::of_order(order, Some(Role::Buyer), None)))
}

/// What is bought, for the owner's eyes; without it the order is paid as well.
async fn service_of(croo: &Croo, order: &Order) -> Option<Served> {
    let service_id = order.service_id.as_ref()?;
    let served = croo.api.send(&GetService { service_id }).await.ok()?;
    (served.service.service_id == *service_id).then_some(served)
}

/// It costs more than the caller allows: more than it was listed for, or not.
fn too_dear(order: &Order, cost: &Cost, served: Option<&Served>, most: Usdc) -> Error {
    let listed = served.and_then(|served| served.service.price());
    let risen = listed.filter(|listed| cost.price > *listed);
    let code = if risen.is_some() { Code::PriceChanged } else { Code::AboveMaxTotal };
    let was = risen.map(|listed| format!(", listed for {listed}")).unwrap_or_default();
    let Cost { price, fee, gas, fund, total } = cost;
    let message = format!(
        "the order {} costs {total} USD (price {price}{was}, gas {gas}, fee {fee}, fund {fund}), \
         and at most {most} were allowed",
        order.order_id
    );
    let error = Error::new(code, message)
        .at(Marketplace::Croo)
        .field("max_total_usd", Some(&total.to_string()));
    with_next(error, steps::of_order(order, Some(Role::Buyer), Some(*total))).next(NextCall::new(
        "market_search",
        json!({ "max_price_usd": most }),
        "looks for cheaper",
    ))
}

fn with_next(error: Error, calls: Vec<NextCall>) -> Error {
    calls.into_iter().fold(error, Error::next)
}
