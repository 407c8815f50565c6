//! Orders, from either side.

use alloy_primitives::Address;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    negotiations::{ListArgs, Page, first_of},
    reading::{
        PAGES_MAX, negotiation as read_negotiation, order as read_order, order_of, purchase_of,
        role_among, role_in,
    },
    shown::{NegotiationView, OrderView},
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::{NegotiationId, OrderId},
    journal::State,
    marketplaces::{
        Marketplace,
        croo::{
            Croo, Role,
            negotiations::Negotiation,
            orders::{ListOrders, Order, RejectOrder},
            steps, word,
        },
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    spend::{check_call, is_begun},
    tools::{Args, Reply, input, output, wait::Wait},
};

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;
/// What a wait for an order is told.
const WAITING: &str = "waiting for the order";

/// Arguments of `croo_get_order`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetOrderArgs {
    /// This one, or
    #[serde(default)]
    pub order_id: Option<OrderId>,
    /// the one that came of this.
    #[serde(default)]
    pub negotiation_id: Option<NegotiationId>,
    /// Waits until you can act; at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// Arguments of `croo_reject_order`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectOrderArgs {
    /// Which.
    pub order_id: OrderId,
    /// Why, for the other side.
    pub reason: String,
}

/// An order, or the negotiation that no order has come of.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FoundView {
    /// The order.
    #[serde(flatten)]
    pub order: Option<OrderView>,
    /// The negotiation, where there is no order of it so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negotiation: Option<NegotiationView>,
}

/// Orders, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrdersView {
    /// They; long input is cut.
    pub orders: Vec<OrderView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[tool_router(router = croo_order_tools, vis = "pub(crate)")]
impl Server {
    /// A CROO order with its cost, by order or negotiation; can wait until you can act.
    #[tool(
        name = "croo_get_order",
        input_schema = input::<GetOrderArgs>(),
        output_schema = output::<FoundView>(),
        annotations(
            title = "Get a CROO order",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_get_order(
        &self,
        Args(args): Args<GetOrderArgs>,
        owner: Owner,
    ) -> Result<Reply<FoundView>, Error> {
        let app = self.app();
        let mut wait = Wait::begin(app, &owner, args.wait_seconds)?;
        let croo = app.croo().await?.registered()?;
        let order_id = match (args.order_id, args.negotiation_id) {
            (Some(order_id), None) => order_id,
            (None, Some(negotiation_id)) => {
                match of_negotiation(app, &croo, &negotiation_id, &mut wait).await? {
                    Origin::Order(order) => order.order_id,
                    Origin::None(negotiation, role) => {
                        return Ok(without_order(&negotiation, role));
                    }
                }
            }
            _ => {
                let problem = "must be given, or negotiation_id, and not both";
                return Err(Error::argument("order_id", problem, "\"ord_1\""));
            }
        };
        let (order, role) = ripe(app, &croo, &order_id, &mut wait).await?;
        let usdc = app.chain().await?.pins().usdc;
        let view = FoundView { order: Some(OrderView::of(&order, role, usdc)), negotiation: None };
        Ok(Reply { view, next: steps_of(&order, role, usdc) })
    }

    /// Your CROO orders, newest first.
    #[tool(
        name = "croo_list_orders",
        input_schema = input::<ListArgs>(),
        output_schema = output::<OrdersView>(),
        annotations(
            title = "List CROO orders",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_list_orders(
        &self,
        Args(args): Args<ListArgs>,
    ) -> Result<Reply<OrdersView>, Error> {
        let page = Page::try_from(args)?;
        let croo = self.app().croo().await?.registered()?;
        let (role, usdc) = (Some(page.role), self.app().chain().await?.pins().usdc);
        let list = ListOrders::of(page.role, page.number, page.size).in_status(page.status.clone());
        let found = croo.api.send(&list).await?.orders;
        let open = found.iter().filter(|order| !steps::is_final(&order.status));
        let next = first_of(open.map(|order| steps_of(order, role, usdc)));
        let view = OrdersView {
            cursor: page.after(found.len()),
            orders: found.iter().map(|o| OrderView::of(o, role, usdc).listed()).collect(),
        };
        Ok(Reply { view, next })
    }

    /// Gives up a CROO order: buyer before payment; seller also after it, which refunds.
    #[tool(
        name = "croo_reject_order",
        input_schema = input::<RejectOrderArgs>(),
        output_schema = output::<OrderView>(),
        annotations(
            title = "Reject a CROO order",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_reject_order(
        &self,
        Args(args): Args<RejectOrderArgs>,
        owner: Owner,
    ) -> Result<Reply<OrderView>, Error> {
        let app = self.app();
        let reason = reason(&args.reason)?;
        let croo = app.croo().await?.registered()?;
        let order = read_order(&croo, &args.order_id).await?;
        let role = role_in(app, &croo, &order).await;
        let usdc = app.chain().await?.pins().usdc;
        if !is_given_up(&order) {
            may_be_given_up(app, &owner, &order, role, usdc).await?;
            let reject = RejectOrder { order_id: &order.order_id, reason };
            if let Err(error) = croo.api.send(&reject).await {
                // A lost answer, or a refusal for its status: the order tells.
                let now = read_order(&croo, &args.order_id).await;
                if !now.as_ref().is_ok_and(is_given_up) {
                    return Err(not_given_up(error, now.ok().as_ref(), role, usdc));
                }
            }
        }
        let order = read_order(&croo, &args.order_id).await.unwrap_or(order);
        let next = steps_of(&order, role, usdc);
        Ok(Reply { view: OrderView::of(&order, role, usdc), next })
    }
}

/// What came of a negotiation.
enum Origin {
    /// An order.
    Order(Box<Order>),
    /// None so far, or none ever.
    None(Box<Negotiation>, Option<Role>),
}

/// Waits for the order of a negotiation; what ends that ends the wait.
async fn of_negotiation(
    app: &App,
    croo: &Croo,
    negotiation_id: &NegotiationId,
    wait: &mut Wait<'_>,
) -> Result<Origin, Error> {
    let mut pages = PAGES_MAX;
    loop {
        let looked = async {
            let found = read_negotiation(croo, negotiation_id).await?;
            let (requester, provider) = (&found.requester_agent_id, &found.provider_agent_id);
            let role = role_among(app, croo, requester.as_ref(), provider.as_ref()).await;
            let own = [Role::Buyer, Role::Provider];
            let roles: Vec<Role> =
                own.into_iter().filter(|own| role.is_none_or(|role| role == *own)).collect();
            let order = match found.status.as_str() {
                "pending" | "rejected" | "expired" => None,
                _ => order_of(croo, negotiation_id, &roles, pages).await?,
            };
            Ok::<_, Error>((found, role, order))
        };
        match looked.await {
            Ok((_, _, Some(order))) => return Ok(Origin::Order(Box::new(order))),
            Ok((found, role, None)) => {
                let over = matches!(found.status.as_str(), "rejected" | "expired");
                if over || !wait.again(WAITING).await {
                    return Ok(Origin::None(Box::new(found), role));
                }
            }
            Err(error) => {
                if !wait.again_after(&error, WAITING).await {
                    return Err(error);
                }
            }
        }
        // A new one is among the newest.
        pages = 1;
    }
}

/// Waits until there is something to do for our side of an order, or nothing will ever change.
async fn ripe(
    app: &App,
    croo: &Croo,
    order_id: &OrderId,
    wait: &mut Wait<'_>,
) -> Result<(Order, Option<Role>), Error> {
    loop {
        match read_order(croo, order_id).await {
            Ok(order) => {
                let role = role_in(app, croo, &order).await;
                if steps::is_ripe(&order.status, role) || !wait.again(WAITING).await {
                    return Ok((order, role));
                }
            }
            Err(error) => {
                if !wait.again_after(&error, WAITING).await {
                    return Err(error);
                }
            }
        }
    }
}

fn without_order(negotiation: &Negotiation, role: Option<Role>) -> Reply<FoundView> {
    let view = FoundView { order: None, negotiation: Some(NegotiationView::of(negotiation, role)) };
    Reply { view, next: steps::of_negotiation(negotiation, role) }
}

fn steps_of(order: &Order, role: Option<Role>, usdc: Address) -> Vec<NextCall> {
    steps::of_order(order, role, order.cost(usdc).ok().map(|cost| cost.total))
}

/// A reason that the other side can read.
fn reason(text: &str) -> Result<&str, Error> {
    let text = text.trim();
    let fits = (1..=REASON_CHARS_MAX).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let problem = format!("must have 1 to {REASON_CHARS_MAX} characters and no control characters");
    Err(Error::argument("reason", problem, "\"no longer needed\""))
}

fn is_given_up(order: &Order) -> bool {
    matches!(order.status.as_str(), "rejecting" | "rejected")
}

/// Whether a buyer's order can be given up: not once its payment is under way. Of a seller's the
/// server decides.
async fn may_be_given_up(
    app: &App,
    owner: &Owner,
    order: &Order,
    role: Option<Role>,
    usdc: Address,
) -> Result<(), Error> {
    if role == Some(Role::Provider) {
        return Ok(());
    }
    let (id, status) = (&order.order_id, order.status.as_str());
    let open = purchase_of(app, owner, id).await?.filter(|p| is_begun(p.state));
    if let Some(paying) = open.filter(|purchase| purchase.state != State::Settled) {
        let message = format!("the payment of {id} may be on its way, so it cannot be given up");
        return Err(Error::new(Code::WrongState, message)
            .at(Marketplace::Croo)
            .purchase(&paying.id)
            .money(paying.money_moved())
            .next(check_call(&paying.id)));
    }
    if role.is_none() || matches!(status, "created" | "pay_failed") {
        return Ok(());
    }
    let message = match status {
        _ if steps::is_paid(status) => format!(
            "the order {id} is {}: once it is paid only the seller can give it up; where nothing is \
             delivered by its deadline the escrow is refunded",
            word(status)
        ),
        _ => format!("the order {id} is {}: there is nothing to give up", word(status)),
    };
    let error = Error::new(Code::WrongState, message).at(Marketplace::Croo);
    Err(steps_of(order, role, usdc).into_iter().fold(error, Error::next))
}

/// The failure of a rejection, with what can be done now.
fn not_given_up(error: Error, now: Option<&Order>, role: Option<Role>, usdc: Address) -> Error {
    let Some(order) = now else { return error };
    steps_of(order, role, usdc).into_iter().fold(error, Error::next)
}
