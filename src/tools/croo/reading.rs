//! What several of CROO's tools read: an order, who we are in it, and what the journal has of it.

use crate::{
    app::App,
    error::{Code, Error, MoneyMoved},
    ids::{AgentId, NegotiationId, OrderId},
    journal::{self, Purchase},
    marketplaces::croo::{
        Croo, Role,
        negotiations::Negotiation,
        orders::{ListOrders, Order},
        payment::natural_key,
    },
    owner::Owner,
    recovery::NextCall,
};

/// How many a page of a list has, where it is looked through.
pub(super) const PAGE_SIZE: u64 = 50;
/// How many pages of orders are looked through for one.
pub(super) const PAGES_MAX: u64 = 40;

/// Reads an order.
///
/// # Errors
///
/// As sending an operation; [`Code::UpstreamMalformed`] where another order comes back.
pub(super) async fn order(croo: &Croo, order_id: &OrderId) -> Result<Order, Error> {
    croo.order(order_id).await.map_err(|error| lists_instead(error, "croo_list_orders"))
}

/// Reads a negotiation.
///
/// # Errors
///
/// As [`order`].
pub(super) async fn negotiation(
    croo: &Croo,
    negotiation_id: &NegotiationId,
) -> Result<Negotiation, Error> {
    let read = croo.negotiation(negotiation_id).await;
    read.map_err(|error| lists_instead(error, "croo_list_negotiations"))
}

/// What is not there may have another identifier: the list has them.
fn lists_instead(error: Error, tool: &'static str) -> Error {
    if !error.is(Code::NotFound) {
        return error;
    }
    [("buyer", "lists those that you asked for"), ("provider", "lists those asked of you")]
        .into_iter()
        .fold(error, |error, (role, why)| {
            error.next(NextCall::new(tool, serde_json::json!({ "role": role }), why))
        })
}

/// The order that came of a negotiation, among the newest pages of these roles' lists.
///
/// # Errors
///
/// As sending an operation.
pub(super) async fn order_of(
    croo: &Croo,
    negotiation_id: &NegotiationId,
    roles: &[Role],
    pages: u64,
) -> Result<Option<Order>, Error> {
    for role in roles {
        for page in 1..=pages {
            let list = ListOrders::of(*role, page, PAGE_SIZE);
            let found = croo.api.send(&list).await?.orders;
            let is_last = found.len() < usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
            let own = |order: &Order| order.negotiation_id.as_ref() == Some(negotiation_id);
            if let Some(order) = found.into_iter().find(own) {
                return Ok(Some(order));
            }
            if is_last {
                break;
            }
        }
    }
    Ok(None)
}

/// The side of these two that is ours. `None` where neither is, or nobody can tell just now.
pub(super) async fn role_among(
    app: &App,
    croo: &Croo,
    requester: Option<&AgentId>,
    provider: Option<&AgentId>,
) -> Option<Role> {
    let own = app.croo_agent(croo).await.ok().flatten();
    Role::of(own.as_ref(), requester, provider)
}

/// Our side of an order.
pub(super) async fn role_in(app: &App, croo: &Croo, order: &Order) -> Option<Role> {
    let (requester, provider) = (&order.requester_agent_id, &order.provider_agent_id);
    role_among(app, croo, requester.as_ref(), provider.as_ref()).await
}

/// The journal's purchase of an order: the open one, else the one that was paid.
///
/// # Errors
///
/// Where the store fails: then it may have been paid.
pub(super) async fn purchase_of(
    app: &App,
    owner: &Owner,
    order_id: &OrderId,
) -> Result<Option<Purchase>, Error> {
    let (who, key) = (owner.principal.clone(), natural_key(order_id));
    let found = app.store().with(move |db| {
        Ok(match journal::open_by_key(db, &who, &key)? {
            Some(open) => Some(open),
            None => journal::recent_by_key(db, &who, &key, i64::MIN)?,
        })
    });
    found.await.map_err(|error| error.at_least(MoneyMoved::Maybe))
}
