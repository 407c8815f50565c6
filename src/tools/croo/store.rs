//! CROO's public store.

mod rows;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    error::{Code, Error},
    marketplaces::{
        croo::{
            services::{ListServices, Service},
            store::{
                Body, GetLeaderboard, GetStats, GetStoreAgent, ListActivity, ListAgents, ListFeed,
                ListPopular, ListTags, ListTrending, SearchStore, StoreAgentId, StoreQuery,
            },
        },
        http::{Api, Operation},
    },
    money::Usdc,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, clean},
    tools::{Args, Reply, input, output},
};

/// How many rows a page has.
const LIMIT: u64 = 10;
const LIMIT_MAX: u64 = 50;
const PAGE_MAX: u64 = 10_000;
const QUERY_BYTES_MAX: usize = 500;
/// The most characters of a description in a list.
const SUMMARY_CHARS_MAX: usize = 200;
/// For how many rows the next call is given.
const HINTED_ROWS: usize = 3;

/// Arguments of `croo_browse_store`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrowseStoreArgs {
    /// What.
    pub(crate) view: View,
    /// For agent, activity.
    #[serde(default)]
    pub agent_id: Option<StoreAgentId>,
    /// Words.
    #[serde(default)]
    pub query: Option<String>,
    /// Slugs, commas.
    #[serde(default)]
    pub tags: Option<String>,
    /// For agents.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub min_price_usd: Option<Usdc>,
    /// For agents.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub max_price_usd: Option<Usdc>,
    /// For agents.
    #[serde(default)]
    pub sort: Option<String>,
    /// For leaderboard.
    #[serde(default)]
    pub dimension: Option<String>,
    /// Base.
    #[serde(default)]
    pub(crate) chain: Option<ChainWord>,
    /// 1 to 50.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Next page.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What of the store is read. Its variants have no comments, since each would be a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum View {
    Agents,
    Agent,
    Activity,
    Search,
    Tags,
    Trending,
    Popular,
    Leaderboard,
    Feed,
    Stats,
}

/// A chain that agents are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ChainWord {
    Base,
    Bsc,
}

impl ChainWord {
    const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Bsc => "bsc",
        }
    }
}

impl View {
    /// The arguments that belong to it, besides itself.
    const fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Agents => &[
                "query",
                "tags",
                "min_price_usd",
                "max_price_usd",
                "sort",
                "chain",
                "limit",
                "cursor",
            ],
            Self::Agent => &["agent_id", "chain"],
            Self::Activity => &["agent_id", "chain", "limit", "cursor"],
            Self::Search => &["query", "chain", "limit", "cursor"],
            Self::Tags | Self::Stats => &[],
            Self::Trending | Self::Popular => &["chain", "limit"],
            Self::Leaderboard => &["dimension", "limit"],
            Self::Feed => &["chain", "limit", "cursor"],
        }
    }

    /// Under which names its answer holds rows.
    const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Agents | Self::Trending => &["agents"],
            Self::Activity | Self::Popular | Self::Feed => &["items"],
            Self::Search => &["services", "agents"],
            Self::Tags => &["tags"],
            Self::Leaderboard => &["entries"],
            Self::Agent | Self::Stats => &[],
        }
    }
}

/// What the store showed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoreView {
    /// The rows.
    pub rows: Vec<Map<String, Value>>,
    /// How many there are in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Arguments of `croo_search_services`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchServicesArgs {
    /// Words to look for.
    #[serde(default)]
    pub query: Option<String>,
    /// Nothing cheaper.
    #[serde(default)]
    pub min_price_usd: Option<Usdc>,
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

/// Services that were found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServicesView {
    /// They.
    pub services: Vec<ServiceRow>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A service, as a list shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceRow {
    /// For `croo_get_service`.
    pub service_id: String,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub description_untrusted: String,
    /// Without the platform's gas; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<Usdc>,
    /// Minutes from payment to delivery, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla_minutes: Option<u64>,
}

impl From<&Service> for ServiceRow {
    fn from(service: &Service) -> Self {
        Self {
            service_id: service.service_id.to_string(),
            agent_id: service.agent_id.as_ref().map(ToString::to_string),
            name_untrusted: clean(&service.name, NAME_CHARS_MAX),
            description_untrusted: clean(&service.description, SUMMARY_CHARS_MAX),
            price_usd: service.price(),
            sla_minutes: service.sla_minutes.trim().parse().ok(),
        }
    }
}

#[tool_router(router = croo_store_tools, vis = "pub(crate)")]
impl Server {
    /// CROO's services with their prices. Use `market_search` for all marketplaces.
    #[tool(
        name = "croo_search_services",
        input_schema = input::<SearchServicesArgs>(),
        output_schema = output::<ServicesView>(),
        annotations(
            title = "Search CROO services",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_search_services(
        &self,
        Args(args): Args<SearchServicesArgs>,
    ) -> Result<Reply<ServicesView>, Error> {
        let page = Page::read(args.limit, args.cursor.as_deref())?;
        check_query(args.query.as_ref())?;
        check_prices(args.min_price_usd, args.max_price_usd)?;
        let list = ListServices {
            search: args.query,
            min_price: args.min_price_usd.map(Usdc::micros),
            max_price: args.max_price_usd.map(Usdc::micros),
            page: page.number,
            page_size: page.size,
        };
        let found = self.app().croo().await?.api.send(&list).await?;
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let services: Vec<ServiceRow> = found.items.iter().take(size).map(Into::into).collect();
        let next = services.iter().take(HINTED_ROWS).map(|row| read_service(&row.service_id));
        let next = next.collect();
        let cursor = page.next(found.items.len(), found.total.trim().parse().ok());
        Ok(Reply { view: ServicesView { services, cursor }, next })
    }

    /// CROO's agents, their past orders, rankings and figures.
    #[tool(
        name = "croo_browse_store",
        input_schema = input::<BrowseStoreArgs>(),
        output_schema = output::<StoreView>(),
        annotations(
            title = "Browse CROO's store",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_browse_store(
        &self,
        Args(args): Args<BrowseStoreArgs>,
    ) -> Result<Reply<StoreView>, Error> {
        let page = Page::read(args.limit, args.cursor.as_deref())?;
        args.check()?;
        let body = read(self.app(), &args, &page).await?;
        Ok(shown(args.view, &body, &page))
    }
}

impl BrowseStoreArgs {
    /// Refuses what does not belong to the view, and what is needed and missing.
    fn check(&self) -> Result<(), Error> {
        let given = [
            ("agent_id", self.agent_id.is_some()),
            ("query", self.query.is_some()),
            ("tags", self.tags.is_some()),
            ("min_price_usd", self.min_price_usd.is_some()),
            ("max_price_usd", self.max_price_usd.is_some()),
            ("sort", self.sort.is_some()),
            ("dimension", self.dimension.is_some()),
            ("chain", self.chain.is_some()),
            ("limit", self.limit.is_some()),
            ("cursor", self.cursor.is_some()),
        ];
        let takes = self.view.takes();
        let name = json!(self.view);
        if let Some((field, _)) = given.iter().find(|(name, is)| *is && !takes.contains(name)) {
            let takes = if takes.is_empty() { "nothing else".to_owned() } else { takes.join(", ") };
            let message =
                format!("`{field}` does not belong to the view {name}, which takes {takes}");
            return Err(Error::new(Code::InvalidArgument, message).field(*field, Some("null")));
        }
        if takes.contains(&"agent_id") && self.agent_id.is_none() {
            let problem = format!("is needed for the view {name}");
            return Err(Error::argument("agent_id", problem, "one of the view agents"));
        }
        if self.view == View::Search && self.query.is_none() {
            return Err(Error::argument("query", "is needed for the view \"search\"", "\"csv\""));
        }
        check_query(self.query.as_ref())?;
        check_prices(self.min_price_usd, self.max_price_usd)?;
        let words = [
            ("tags", &self.tags, ","),
            ("sort", &self.sort, ""),
            ("dimension", &self.dimension, ""),
        ];
        for (field, text, also) in words {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || also.contains(c);
            let is_word = |text: &String| {
                (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(fits)
            };
            if !text.as_ref().is_none_or(is_word) {
                let problem = "must be a word of letters, digits, - and _";
                return Err(Error::argument(field, problem, "\"price\""));
            }
        }
        Ok(())
    }
}

fn check_query(query: Option<&String>) -> Result<(), Error> {
    if query.is_some_and(|query| query.len() > QUERY_BYTES_MAX) {
        return Err(Error::argument("query", "must have at most 500 bytes", "\"summary\""));
    }
    Ok(())
}

fn check_prices(min: Option<Usdc>, max: Option<Usdc>) -> Result<(), Error> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            let problem = format!("must not be below min_price_usd, {min}");
            Err(Error::argument("max_price_usd", problem, &format!("\"{min}\"")))
        }
        _ => Ok(()),
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
struct Page {
    number: u64,
    size: u64,
}

impl Page {
    fn read(limit: Option<u64>, cursor: Option<&str>) -> Result<Self, Error> {
        let size = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&size) {
            return Err(Error::argument("limit", "must be 1 to 50", "10"));
        }
        let number = cursor.map_or(Some(1), |cursor| {
            let is_number = cursor.len() <= 5 && cursor.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| cursor.parse().ok()).flatten()
        });
        let number = number.filter(|number| (1..=PAGE_MAX).contains(number)).ok_or_else(|| {
            Error::argument("cursor", "must be the cursor of an earlier result", "\"2\"")
        })?;
        Ok(Self { number, size })
    }

    /// The next page's cursor: a full page means more, unless the total says that this was all.
    fn next(self, rows: usize, total: Option<u64>) -> Option<String> {
        let is_full = u64::try_from(rows).is_ok_and(|rows| rows >= self.size);
        let is_all = total.is_some_and(|total| total <= self.number.saturating_mul(self.size));
        (is_full && !is_all && self.number < PAGE_MAX).then(|| (self.number + 1).to_string())
    }
}

async fn read(app: &App, args: &BrowseStoreArgs, page: &Page) -> Result<Body, Error> {
    let api = app.croo().await?.api;
    let chain = args.chain.map(ChainWord::name);
    let one = StoreQuery { chain, ..StoreQuery::default() };
    let paged = StoreQuery { page: Some(page.number), page_size: Some(page.size), ..one.clone() };
    let ranked = StoreQuery { limit: Some(page.size), ..one.clone() };
    let text = |text: &Option<String>| text.clone();
    match (args.view, &args.agent_id) {
        (View::Agents, _) => {
            api.send(&ListAgents(StoreQuery {
                search: text(&args.query),
                tags: text(&args.tags),
                min_price: args.min_price_usd.map(Usdc::micros),
                max_price: args.max_price_usd.map(Usdc::micros),
                sort: text(&args.sort),
                ..paged
            }))
            .await
        }
        (View::Agent, Some(agent_id)) => {
            either(&api, agent_id, one, |query| GetStoreAgent { agent_id, query }).await
        }
        (View::Activity, Some(agent_id)) => {
            either(&api, agent_id, paged, |query| ListActivity { agent_id, query }).await
        }
        (View::Agent | View::Activity, None) => {
            Err(Error::argument("agent_id", "is needed", "one of the view agents"))
        }
        (View::Search, _) => {
            api.send(&SearchStore(StoreQuery { q: text(&args.query), ..paged })).await
        }
        (View::Tags, _) => api.send(&ListTags(one)).await,
        (View::Trending, _) => api.send(&ListTrending(ranked)).await,
        (View::Popular, _) => api.send(&ListPopular(ranked)).await,
        (View::Leaderboard, _) => {
            api.send(&GetLeaderboard(StoreQuery { dimension: text(&args.dimension), ..ranked }))
                .await
        }
        (View::Feed, _) => api.send(&ListFeed(paged)).await,
        (View::Stats, _) => api.send(&GetStats(one)).await,
    }
}

/// Reads of one agent. Where no chain is named, one that is not found on the first is looked for on
/// the other.
async fn either<O: Operation<Output = Body>>(
    api: &Api,
    agent_id: &StoreAgentId,
    query: StoreQuery,
    read: impl Fn(StoreQuery) -> O,
) -> Result<Body, Error> {
    let on = |chain: ChainWord| StoreQuery { chain: Some(chain.name()), ..query.clone() };
    if query.chain.is_some() {
        return api.send(&read(query)).await;
    }
    if agent_id.is_bsc() {
        return api.send(&read(on(ChainWord::Bsc))).await;
    }
    match api.send(&read(query.clone())).await {
        Err(error) if error.is(Code::NotFound) => {
            let elsewhere = api.send(&read(on(ChainWord::Bsc))).await;
            elsewhere.map_err(|_| error)
        }
        found => found,
    }
}

/// What was read, and the calls that read on.
fn shown(view: View, body: &Body, page: &Page) -> Reply<StoreView> {
    let size = usize::try_from(page.size).unwrap_or(usize::MAX);
    let (rows, longest) = match view {
        View::Agent => (vec![rows::whole(body.object("agent"))], 0),
        View::Stats => (vec![rows::whole(body.object("stats"))], 0),
        _ => {
            let lists: Vec<_> = view.lists().iter().map(|name| body.rows(name)).collect();
            let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
            let rows = lists.iter().flat_map(|list| list.iter().take(size));
            (rows.map(|row| rows::listed(row)).collect::<Vec<_>>(), longest)
        }
    };
    let is_paged = view.takes().contains(&"cursor");
    let cursor = is_paged.then(|| page.next(longest, body.total())).flatten();
    let next = hinted(view, &rows);
    Reply { view: StoreView { rows, total: body.total(), cursor }, next }
}

fn hinted(view: View, rows: &[Map<String, Value>]) -> Vec<NextCall> {
    let text = |row: &Map<String, Value>, name: &str| {
        row.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
    };
    let inner = rows.iter().filter_map(|row| row.get("services")).filter_map(Value::as_array);
    let inner = inner.flatten().filter_map(Value::as_object);
    let services = rows.iter().chain(inner).filter_map(|row| text(row, "service_id"));
    let calls: Vec<NextCall> = services.map(|id| read_service(&id)).take(HINTED_ROWS).collect();
    if !calls.is_empty() {
        return calls;
    }
    let agents = rows.iter().filter_map(|row| text(row, "agent_id"));
    let slugs = rows.iter().filter_map(|row| text(row, "slug"));
    match view {
        View::Agents | View::Trending | View::Leaderboard | View::Search => agents
            .take(HINTED_ROWS)
            .map(|id| {
                let arguments = json!({ "view": "agent", "agent_id": id });
                NextCall::new("croo_browse_store", arguments, "shows this agent's services")
            })
            .collect(),
        View::Tags => slugs
            .take(HINTED_ROWS)
            .map(|slug| {
                let arguments = json!({ "view": "agents", "tags": slug });
                NextCall::new("croo_browse_store", arguments, "shows the agents of this skill")
            })
            .collect(),
        View::Agent | View::Activity | View::Popular | View::Feed | View::Stats => Vec::new(),
    }
}

fn read_service(service_id: &str) -> NextCall {
    let arguments = json!({ "service_id": service_id });
    NextCall::new("croo_get_service", arguments, "shows what it wants and how to order it")
}
