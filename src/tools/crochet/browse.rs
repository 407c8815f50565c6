//! Crochet's own catalogue.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    error::Error,
    ids::AgentId,
    marketplaces::crochet::{
        listings::{BrowseListings, Listing},
        reviews::{GetScore, ListCategories},
    },
    money::Usdc,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
    tools::{
        Args, Reply,
        crochet::account::shown::{PageArgs, RowsView},
        input,
        market::NoArgs,
        output,
    },
};

const QUERY_BYTES_MAX: usize = 500;
const SORTS: &[&str] = &["newest", "popular", "price_low", "price_high"];

/// Arguments of `crochet_search_listings`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchListingsArgs {
    /// Words to look for.
    #[serde(default)]
    pub query: Option<String>,
    /// A slug from `crochet_list_categories`.
    #[serde(default)]
    pub category: Option<String>,
    /// `newest` (default), `popular`, `price_low`, `price_high`.
    #[serde(default)]
    pub sort: Option<String>,
    /// Page from 1.
    #[serde(default)]
    pub page: Option<u64>,
    /// 1 to 50, default 10.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// A page of listings.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListingsView {
    /// The listings.
    pub listings: Vec<ListingView>,
    /// The next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<u64>,
}

/// A listing, as tools show it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListingView {
    /// For `crochet_call_listing`.
    pub listing_id: String,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub description_untrusted: String,
    /// A call; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<Usdc>,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller_id: Option<String>,
}

impl From<Listing> for ListingView {
    fn from(listing: Listing) -> Self {
        Self {
            name_untrusted: clean(&listing.name, NAME_CHARS_MAX),
            description_untrusted: clean(&listing.description, TEXT_CHARS_MAX),
            price_usd: listing.price(),
            seller_id: listing.seller_id().map(|id| id.to_string()),
            listing_id: listing.id.to_string(),
        }
    }
}

/// Arguments of `crochet_get_score`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetScoreArgs {
    /// A `seller_id`.
    pub agent_id: AgentId,
}

/// How far an agent can be trusted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScoreView {
    /// Whose.
    pub agent_id: AgentId,
    /// 0 to 1000; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<u64>,
    /// low, moderate, trusted, elite or exceptional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'static str>,
    /// Whether Crochet has verified them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_verified: Option<bool>,
}

/// The page and how many a page, where every argument can be sent.
fn checked(args: &SearchListingsArgs) -> Result<(u64, u64), Error> {
    let (page, limit) = PageArgs { page: args.page, limit: args.limit }.checked()?;
    if args.query.as_ref().is_some_and(|query| query.len() > QUERY_BYTES_MAX) {
        return Err(Error::argument("query", "must have at most 500 bytes", "\"summary\""));
    }
    let is_slug = |text: &String| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
    };
    if !args.category.as_ref().is_none_or(is_slug) {
        let problem = "must be a slug that crochet_list_categories shows";
        return Err(Error::argument("category", problem, "\"text\""));
    }
    if args.sort.as_ref().is_some_and(|sort| !SORTS.contains(&sort.as_str())) {
        let problem = format!("must be one of {}", SORTS.join(", "));
        return Err(Error::argument("sort", problem, "\"price_low\""));
    }
    Ok((page, limit))
}

#[tool_router(router = crochet_browse_tools, vis = "pub(crate)")]
impl Server {
    /// Crochet's catalogue with its filters. Use `market_search` for all marketplaces. Returns
    /// listings with price per call.
    #[tool(
        name = "crochet_search_listings",
        input_schema = input::<SearchListingsArgs>(),
        output_schema = output::<ListingsView>(),
        annotations(
            title = "Search Crochet",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_search_listings(
        &self,
        Args(args): Args<SearchListingsArgs>,
    ) -> Result<Reply<ListingsView>, Error> {
        let (page, limit) = checked(&args)?;
        let crochet = self.app().crochet().await?;
        let page = crochet
            .api
            .send(&BrowseListings {
                q: args.query,
                category: args.category,
                pricing_model: None,
                sort: args.sort,
                page,
                limit,
            })
            .await?;
        let next_page = page.pages.filter(|pages| page.page < *pages).map(|_| page.page + 1);
        let listings: Vec<ListingView> = page.rows.into_iter().map(ListingView::from).collect();
        let first = listings.first().map(|listing| listing.listing_id.clone());
        let reply = Reply::new(ListingsView { listings, next_page });
        Ok(match first {
            Some(id) => reply.next(NextCall::new(
                "crochet_get_listing",
                json!({ "listing_id": id }),
                "shows how the first one is called",
            )),
            None => reply,
        })
    }

    /// Crochet's categories, with the slugs that `crochet_search_listings` takes.
    #[tool(
        name = "crochet_list_categories",
        input_schema = input::<NoArgs>(),
        output_schema = output::<RowsView>(),
        annotations(
            title = "Crochet categories",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_list_categories(&self, _: Args<NoArgs>) -> Result<Reply<RowsView>, Error> {
        let crochet = self.app().crochet().await?;
        let rows = crochet.api.send(&ListCategories {}).await?;
        let search = NextCall::new("crochet_search_listings", json!({}), "shows the listings");
        Ok(Reply::new(rows.into()).next(search))
    }

    /// A seller's score at Crochet, 0 to 1000, and its tier.
    #[tool(
        name = "crochet_get_score",
        input_schema = input::<GetScoreArgs>(),
        output_schema = output::<ScoreView>(),
        annotations(
            title = "Crochet score",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_get_score(
        &self,
        Args(args): Args<GetScoreArgs>,
    ) -> Result<Reply<ScoreView>, Error> {
        let crochet = self.app().crochet().await?;
        let score = crochet.api.send(&GetScore { agent_id: &args.agent_id }).await?.0;
        Ok(Reply::new(ScoreView {
            agent_id: args.agent_id,
            score: score.score,
            tier: score.tier(),
            is_verified: score.is_verified,
        }))
    }
}
