//! What every profile has: the status here, the journal in [`purchases`], the inbox in [`events`],
//! offers in [`search`].

pub mod events;
pub mod purchases;
pub mod search;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use purchases::{LIST_LIMIT_MAX, PurchaseView, next_of};

use crate::{
    app::App,
    asks::{self, Ask},
    clock::rfc3339,
    error::Error,
    events::Condition,
    ids::{AskId, PurchaseId},
    journal::{self, Filter, Purchase, State},
    marketplaces::Marketplace,
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    spend::{
        approvals::{self, Grant},
        budget::Budget,
    },
    tools::{Args, Reply, input, output},
};

/// Arguments of a tool that takes none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}

/// How things stand.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusView {
    /// The marketplaces in use, and whether there is an account.
    pub marketplaces: Vec<MarketplaceView>,
    /// The wallet; a balance that cannot be read is absent.
    pub wallet: WalletView,
    /// What is left of the owner's limits.
    pub budget: BudgetView,
    /// What waits for the owner, each with the command that answers it.
    pub waits_for_owner: Vec<Waiting>,
    /// Purchases that are open or undelivered.
    pub open_purchases: Vec<PurchaseView>,
    /// Sellers that may be paid without asking.
    pub grants: Vec<Grant>,
    /// Why spending is stopped, where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// The present.
    pub now: String,
}

/// A marketplace in use.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MarketplaceView {
    /// Which.
    pub marketplace: Marketplace,
    /// Whether there is an account.
    pub registered: bool,
    /// How its stream of events stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Condition>,
}

/// How a marketplace's stream of events stands, where it has one.
fn events_of(app: &App, marketplace: Marketplace) -> Option<Condition> {
    match marketplace {
        Marketplace::Croo => Some(app.stream().condition()),
        Marketplace::Paegents => Some(app.feed().condition()),
        Marketplace::Crochet => None,
    }
}

/// The wallet.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WalletView {
    /// Its EVM address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The chain it pays on.
    pub chain_id: u64,
    /// Its USDC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usdc: Option<Usdc>,
    /// Its coin for the network's fee, in wei.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wei: Option<String>,
    /// Its Solana address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solana_address: Option<String>,
    /// Why a balance is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The owner's limits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BudgetView {
    /// Left of any 24 hours.
    pub left_today_usd: Usdc,
    /// The most for one purchase.
    pub purchase_max_usd: Usdc,
    /// Above this the owner is asked.
    pub ask_above_usd: Usdc,
}

/// A purchase, or something else, that the owner has to answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waiting {
    /// Which purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_id: Option<PurchaseId>,
    /// Up to how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_usd: Option<Usdc>,
    /// Which question about something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_id: Option<AskId>,
    /// The tool that asked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the owner types.
    pub command: String,
}

impl From<&Purchase> for Waiting {
    fn from(purchase: &Purchase) -> Self {
        Self {
            purchase_id: Some(purchase.id.clone()),
            max_total_usd: Some(purchase.max_total),
            ask_id: None,
            tool: None,
            command: format!("haggle approve {}", purchase.id),
        }
    }
}

/// Without what the owner is told: that may be a marketplace's words.
impl From<Ask> for Waiting {
    fn from(ask: Ask) -> Self {
        let command = format!("haggle approve {}", ask.id);
        let (ask_id, tool) = (Some(ask.id), Some(ask.tool));
        Self { purchase_id: None, max_total_usd: None, ask_id, tool, command }
    }
}

#[tool_router(router = market_tools, vis = "pub(crate)")]
impl Server {
    /// Marketplaces, wallet balances, budget left, open purchases, and what waits for the owner
    /// with the exact command.
    #[tool(
        name = "market_status",
        input_schema = input::<NoArgs>(),
        output_schema = output::<StatusView>(),
        annotations(
            title = "Status and budget",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn market_status(
        &self,
        Args(NoArgs {}): Args<NoArgs>,
        owner: Owner,
    ) -> Result<Reply<StatusView>, Error> {
        let app = self.app();
        app.refresh_clock().await?;
        let marketplaces = marketplaces(app).await?;
        let wallet = wallet_view(app).await?;
        let (now, who) = (app.clock().now(), owner.principal.clone());
        let policies = app.spending().policies().clone();
        let (budget, open, grants, frozen, asked) = app
            .store()
            .with(move |db| {
                let asked = asks::open(db, Some(&who), now)?;
                let budget = Budget::read(db, &policies, &who, now)?;
                let filter =
                    Filter { principal: Some(who), limit: LIST_LIMIT_MAX, ..Filter::default() };
                Ok((
                    budget,
                    journal::list(db, &filter)?,
                    approvals::grants(db, now)?,
                    approvals::frozen(db)?,
                    asked,
                ))
            })
            .await?;
        let open: Vec<Purchase> = open.into_iter().filter(|p| !p.is_over()).collect();
        let waits_for_owner = open
            .iter()
            .filter(|purchase| purchase.state == State::AwaitingApproval)
            .map(Waiting::from)
            .chain(asked.into_iter().map(Waiting::from))
            .collect();
        let view = StatusView {
            marketplaces,
            wallet,
            budget: BudgetView {
                left_today_usd: budget.left(),
                purchase_max_usd: budget.policy.purchase_max_usd,
                ask_above_usd: budget.policy.ask_above_usd,
            },
            waits_for_owner,
            open_purchases: open.iter().map(PurchaseView::from).collect(),
            grants,
            frozen,
            now: rfc3339(now),
        };
        let without = |of: Marketplace| {
            view.marketplaces.iter().any(|m| m.marketplace == of && !m.registered)
        };
        let without_crochet = without(Marketplace::Crochet);
        let mut reply = Reply::new(view);
        if without_crochet {
            let why = "makes an account, which buying needs";
            reply = reply.next(NextCall::new("crochet_register", json!({}), why));
        }
        reply.next.extend(open.iter().filter_map(next_of));
        Ok(reply.next(NextCall::new("market_search", json!({}), "shows what there is to buy")))
    }
}

/// The marketplaces in use, and whether there is an account at each.
async fn marketplaces(app: &App) -> Result<Vec<MarketplaceView>, Error> {
    let mut views = Vec::new();
    for marketplace in &app.settings().marketplaces {
        let registered = match marketplace {
            Marketplace::Croo => app.croo().await?.api.key().is_some(),
            Marketplace::Crochet => app.crochet().await?.api.key().is_some(),
            Marketplace::Paegents => app.paegents().await?.agent().is_ok(),
        };
        let (marketplace, events) = (*marketplace, events_of(app, *marketplace));
        views.push(MarketplaceView { marketplace, registered, events });
    }
    Ok(views)
}

async fn wallet_view(app: &App) -> Result<WalletView, Error> {
    let (wallet, venue) = (app.wallet().await?, app.venue().await?);
    let mut view = WalletView {
        address: wallet.evm_address().map(|address| address.to_checksum(None)),
        chain_id: venue.chain_id,
        usdc: None,
        wei: None,
        solana_address: wallet.solana_address(),
        problem: None,
    };
    let Some(address) = wallet.evm_address() else {
        view.problem = Some("no EVM wallet: `haggle keys generate` makes one".to_owned());
        return Ok(view);
    };
    let chain = app.chain().await?;
    let (usdc, wei) = tokio::join!(chain.usdc_balance(address), chain.eth_balance(address));
    match (usdc, wei) {
        (Ok(usdc), Ok(wei)) => {
            view.usdc = Some(usdc);
            view.wei = Some(wei.to_string());
        }
        (Err(error), _) | (_, Err(error)) => view.problem = Some(error.to_string()),
    }
    Ok(view)
}
