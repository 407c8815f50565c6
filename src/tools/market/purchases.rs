//! The journal, as tools.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    clock::rfc3339,
    error::{Error, MoneyMoved},
    ids::PurchaseId,
    journal::{self, Delivery, Filter, Purchase, Rail, State},
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    spend::{PAY_TIMEOUT, anew, resume_call},
    tools::{Args, Reply, input, output},
};

const LIST_LIMIT: u32 = 20;
pub(super) const LIST_LIMIT_MAX: u32 = 100;

/// A purchase, as tools show it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PurchaseView {
    /// Its identifier.
    pub id: PurchaseId,
    /// Where the payment stands.
    pub state: State,
    /// Where the delivery stands.
    pub delivery: Delivery,
    /// `no`, `yes` or `maybe`.
    #[schemars(with = "String")]
    pub money_moved: MoneyMoved,
    /// What was or will be paid, in dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_usd: Option<Usdc>,
    /// Who is paid.
    pub seller: String,
    /// What was bought.
    pub item: String,
    /// Its name, in the seller's words.
    pub item_name_untrusted: String,
    /// When it was begun.
    pub at: String,
}

impl From<&Purchase> for PurchaseView {
    fn from(purchase: &Purchase) -> Self {
        Self {
            id: purchase.id.clone(),
            state: purchase.state,
            delivery: purchase.delivery,
            money_moved: purchase.money_moved(),
            amount_usd: purchase.amount,
            seller: purchase.seller_id.clone(),
            item: purchase.item_id.clone(),
            item_name_untrusted: purchase.item_name.clone(),
            at: rfc3339(purchase.created_at),
        }
    }
}

/// Arguments of `market_list_purchases`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPurchasesArgs {
    /// Only these, e.g. unknown.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub state: Option<State>,
    /// 1 to 100, default 20.
    #[serde(default)]
    pub limit: Option<u32>,
    /// From an earlier result.
    #[serde(default)]
    pub cursor: Option<PurchaseId>,
}

/// Purchases, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PurchasesView {
    /// The purchases.
    pub purchases: Vec<PurchaseView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<PurchaseId>,
}

/// Arguments of `market_check_purchase`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPurchaseArgs {
    /// Which.
    pub purchase_id: PurchaseId,
}

/// One purchase.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckView {
    /// As it stands now.
    pub purchase: PurchaseView,
    /// Why it failed, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[tool_router(router = market_purchase_tools, vis = "pub(crate)")]
impl Server {
    /// The journal: purchases with state and `money_moved`, newest first.
    #[tool(
        name = "market_list_purchases",
        input_schema = input::<ListPurchasesArgs>(),
        output_schema = output::<PurchasesView>(),
        annotations(
            title = "List purchases",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn market_list_purchases(
        &self,
        Args(args): Args<ListPurchasesArgs>,
        owner: Owner,
    ) -> Result<Reply<PurchasesView>, Error> {
        let limit = bounded(args.limit)?;
        let filter = Filter {
            principal: Some(owner.principal.clone()),
            state: args.state,
            before: args.cursor,
            limit: limit + 1,
        };
        let mut found = self.app().store().with(move |db| journal::list(db, &filter)).await?;
        let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let cursor = found.last().filter(|_| more).map(|purchase| purchase.id.clone());
        let next = found.iter().filter_map(next_of).collect();
        let purchases = found.iter().map(PurchaseView::from).collect();
        Ok(Reply { view: PurchasesView { purchases, cursor }, next })
    }

    /// Ask the marketplace what became of a purchase; resolves `maybe`. Pays nothing.
    #[tool(
        name = "market_check_purchase",
        input_schema = input::<CheckPurchaseArgs>(),
        output_schema = output::<CheckView>(),
        annotations(
            title = "Check a purchase",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn market_check_purchase(
        &self,
        Args(args): Args<CheckPurchaseArgs>,
        owner: Owner,
    ) -> Result<Reply<CheckView>, Error> {
        let app = self.app();
        // A sandbox that is gone is told by what follows, with what is known of the money.
        let _ = app.refresh_clock().await;
        let asked = app.spending().check(&args.purchase_id, &owner.principal);
        let what = "asking the marketplace";
        let purchase = owner.telling(what, PAY_TIMEOUT, asked).await?;
        let next = next_of(&purchase).or_else(|| anew(&purchase)).into_iter().collect();
        let view = CheckView {
            purchase: PurchaseView::from(&purchase),
            failure: purchase.failure.clone(),
        };
        Ok(Reply { view, next })
    }
}

pub(super) fn bounded(limit: Option<u32>) -> Result<u32, Error> {
    match limit.unwrap_or(LIST_LIMIT) {
        limit @ 1..=LIST_LIMIT_MAX => Ok(limit),
        _ => Err(Error::argument("limit", "must be 1 to 100", "20")),
    }
}

/// What makes sense for a purchase now.
pub(crate) fn next_of(purchase: &Purchase) -> Option<NextCall> {
    match (purchase.state, purchase.delivery) {
        (State::Submitted | State::Unknown, _) => {
            Some(resume_call(purchase, "goes on with the same payment; never makes a second one"))
        }
        (State::Settled, Delivery::Pending | Delivery::Delivered)
            if purchase.rail == Rail::CrooOrder =>
        {
            let about = json!({ "order_id": purchase.item_id });
            Some(NextCall::new("croo_get_delivery", about, "gives what was delivered, if it is"))
        }
        (State::Settled, Delivery::Pending) => {
            Some(resume_call(purchase, "collects what was paid for; pays nothing"))
        }
        (State::Settled, Delivery::Delivered) => {
            Some(resume_call(purchase, "gives the answer again; pays nothing"))
        }
        (State::AwaitingExternal, _) => {
            Some(resume_call(purchase, "goes on once it was paid from elsewhere"))
        }
        (State::AwaitingApproval, _) => {
            Some(resume_call(purchase, "pays it once the owner has agreed"))
        }
        (State::Planned | State::Approved | State::Reserved, _) => {
            Some(resume_call(purchase, "goes on with it"))
        }
        (State::Failed, _) if purchase.rail == Rail::CrooOrder => {
            let about = json!({ "order_id": purchase.item_id });
            Some(NextCall::new("croo_get_order", about, "shows whether it can still be paid"))
        }
        (State::Settled | State::Failed, _) => None,
    }
}
