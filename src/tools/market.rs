//! What every profile has: search and status here, the journal in [`purchases`].

pub mod purchases;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use purchases::{LIST_LIMIT_MAX, PurchaseView, next_of};

use crate::{
    app::App,
    clock::rfc3339,
    error::Error,
    ids::PurchaseId,
    journal::{self, Filter, Purchase, State},
    marketplaces::{
        Marketplace,
        crochet::listings::{BrowseListings, Listing},
    },
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    spend::{
        approvals::{self, Grant},
        policy::DAY_SECONDS,
    },
    text::{NAME_CHARS_MAX, clean},
    tools::{Args, Reply, input, output},
};

const SEARCH_LIMIT: u64 = 10;
const SEARCH_LIMIT_MAX: u64 = 50;
const SUMMARY_CHARS_MAX: usize = 200;
/// For how many offers the next call is given.
const HINTED_OFFERS: usize = 3;

/// Arguments of `market_search`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchArgs {
    /// Words to look for.
    #[serde(default)]
    pub query: Option<String>,
    /// Nothing dearer.
    #[serde(default)]
    pub max_price_usd: Option<Usdc>,
    /// 1 to 50, default 10.
    #[serde(default)]
    pub limit: Option<u64>,
    /// From an earlier result.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SearchView {
    /// Offers, each with the call that buys it.
    pub offers: Vec<Offer>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Something for sale.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Offer {
    /// Where.
    pub marketplace: Marketplace,
    /// Its identifier there.
    pub id: String,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub summary_untrusted: String,
    /// Dollars a call; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<Usdc>,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
}

impl From<&Listing> for Offer {
    fn from(listing: &Listing) -> Self {
        Self {
            marketplace: Marketplace::Crochet,
            id: listing.id.to_string(),
            name_untrusted: clean(&listing.name, NAME_CHARS_MAX),
            summary_untrusted: clean(&listing.description, SUMMARY_CHARS_MAX),
            price_usd: listing.price(),
            seller: listing.seller_id().map(|id| id.to_string()),
        }
    }
}

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
    #[schemars(with = "Vec<serde_json::Value>")]
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

/// A purchase that the owner has to answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waiting {
    /// Which.
    pub purchase_id: PurchaseId,
    /// Up to how much.
    pub max_total_usd: Usdc,
    /// What the owner types.
    pub command: String,
}

#[tool_router(router = market_tools, vis = "pub(crate)")]
impl Server {
    /// Find things to buy on all marketplaces, prices in USD. Returns offers; look at one before
    /// buying it.
    #[tool(
        name = "market_search",
        input_schema = input::<SearchArgs>(),
        output_schema = output::<SearchView>(),
        annotations(
            title = "Search all marketplaces",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn market_search(
        &self,
        Args(args): Args<SearchArgs>,
    ) -> Result<Reply<SearchView>, Error> {
        let limit = args.limit.unwrap_or(SEARCH_LIMIT);
        if !(1..=SEARCH_LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", "must be 1 to 50", "10"));
        }
        let page = match args.cursor.as_deref() {
            None => 1,
            Some(cursor) => {
                cursor.parse().ok().filter(|page| (1..=10_000).contains(page)).ok_or_else(|| {
                    Error::argument("cursor", "must be one that a result gave", "\"2\"")
                })?
            }
        };
        let query = args.query.filter(|query| !query.trim().is_empty());
        if query.as_ref().is_some_and(|query| query.len() > 500) {
            return Err(Error::argument("query", "must have at most 500 bytes", "\"summary\""));
        }
        let crochet = self.app().crochet().await?;
        let browse = BrowseListings { q: query, page, limit, ..BrowseListings::default() };
        let found = crochet.api.send(&browse).await?;
        let affordable = |listing: &&Listing| {
            args.max_price_usd.is_none_or(|most| listing.price().is_some_and(|price| price <= most))
        };
        let listings: Vec<&Listing> = found.rows.iter().filter(affordable).collect();
        let more = found.pages.is_some_and(|pages| page < pages);
        let view = SearchView {
            offers: listings.iter().map(|listing| Offer::from(*listing)).collect(),
            cursor: more.then(|| (page + 1).to_string()),
        };
        let looked_at = listings.iter().take(HINTED_OFFERS);
        let next = looked_at
            .map(|listing| {
                let about = json!({ "listing_id": listing.id });
                NextCall::new(
                    "crochet_get_listing",
                    about,
                    "shows its input, and the call that buys it",
                )
            })
            .collect();
        Ok(Reply { view, next })
    }

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
        let registered = app.crochet().await?.api.authorization.is_some();
        let wallet = wallet_view(app).await?;
        let (now, who) = (app.clock().now(), owner.principal.clone());
        let (spent, open, grants, frozen) = app
            .store()
            .with(move |db| {
                let filter =
                    Filter { principal: Some(who), limit: LIST_LIMIT_MAX, ..Filter::default() };
                Ok((
                    journal::spent_since(db, now - DAY_SECONDS)?,
                    journal::list(db, &filter)?,
                    approvals::grants(db, now)?,
                    approvals::frozen(db)?,
                ))
            })
            .await?;
        let policy = &app.settings().policy;
        let open: Vec<Purchase> = open.into_iter().filter(|p| !p.is_over()).collect();
        let waits_for_owner = open
            .iter()
            .filter(|purchase| purchase.state == State::AwaitingApproval)
            .map(|purchase| Waiting {
                purchase_id: purchase.id.clone(),
                max_total_usd: purchase.max_total,
                command: format!("haggle approve {}", purchase.id),
            })
            .collect();
        let view = StatusView {
            marketplaces: vec![MarketplaceView { marketplace: Marketplace::Crochet, registered }],
            wallet,
            budget: BudgetView {
                left_today_usd: policy.day_max_usd.saturating_sub(spent),
                purchase_max_usd: policy.purchase_max_usd,
                ask_above_usd: policy.ask_above_usd,
            },
            waits_for_owner,
            open_purchases: open.iter().map(PurchaseView::from).collect(),
            grants,
            frozen,
            now: rfc3339(now),
        };
        let mut reply = Reply::new(view);
        if !registered {
            let why = "makes an account, which buying needs";
            reply = reply.next(NextCall::new("crochet_register", json!({}), why));
        }
        reply.next.extend(open.iter().filter_map(next_of));
        Ok(reply.next(NextCall::new("market_search", json!({}), "shows what there is to buy")))
    }
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
