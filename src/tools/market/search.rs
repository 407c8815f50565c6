//! Looking for something to buy, on all marketplaces at once.

use futures::future::join_all;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    app::App,
    error::Error,
    marketplaces::{
        Marketplace,
        crochet::listings::{BrowseListings, Listing},
        croo::services::{ListServices, Service},
        paegents::{MICROS_PER_CENT, services as paegents},
    },
    money::Usdc,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, clean},
    tools::{Args, Reply, input, output},
};

const LIMIT: u64 = 10;
const LIMIT_MAX: u64 = 50;
const PAGE_MAX: u64 = 10_000;
const QUERY_BYTES_MAX: usize = 500;
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
    /// Only there.
    #[serde(default)]
    pub marketplace: Option<Marketplace>,
    /// 1 to 50, default 10.
    #[serde(default)]
    pub limit: Option<u64>,
    /// From an earlier result; all else as there.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SearchView {
    /// Offers of all marketplaces in turn.
    pub offers: Vec<Offer>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Marketplaces that could not be asked just now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
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
    /// Dollars, without gas, for one unit; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<Usdc>,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
}

/// A marketplace that could not be asked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// Which.
    pub marketplace: Marketplace,
    /// Why: an error's code.
    pub code: &'static str,
    /// Why, one sentence.
    pub message: String,
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

impl From<&Service> for Offer {
    fn from(service: &Service) -> Self {
        Self {
            marketplace: Marketplace::Croo,
            id: service.service_id.to_string(),
            name_untrusted: clean(&service.name, NAME_CHARS_MAX),
            summary_untrusted: clean(&service.description, SUMMARY_CHARS_MAX),
            price_usd: service.price(),
            seller: service.agent_id.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&paegents::Service> for Offer {
    fn from(service: &paegents::Service) -> Self {
        Self {
            marketplace: Marketplace::Paegents,
            id: service.service_id.to_string(),
            name_untrusted: clean(&service.service_name, NAME_CHARS_MAX),
            summary_untrusted: clean(&service.description, SUMMARY_CHARS_MAX),
            price_usd: service.unit_price(),
            seller: service.agent_id.as_ref().map(ToString::to_string),
        }
    }
}

impl Offer {
    /// The call that shows it in full.
    fn look(&self) -> NextCall {
        let (tool, name) = match self.marketplace {
            Marketplace::Croo => ("croo_get_service", "service_id"),
            Marketplace::Crochet => ("crochet_get_listing", "listing_id"),
            Marketplace::Paegents => ("paegents_get_service", "service_id"),
        };
        NextCall::new(tool, json!({ name: self.id }), "shows its input, and the call that buys it")
    }
}

/// What all marketplaces are asked.
#[derive(Debug)]
struct Question {
    query: Option<String>,
    most: Option<Usdc>,
    /// How many rows a marketplace.
    rows: u64,
}

/// A page of one marketplace.
#[derive(Debug)]
struct Found {
    offers: Vec<Offer>,
    /// Whether there is a page after it.
    more: bool,
}

#[tool_router(router = market_search_tools, vis = "pub(crate)")]
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
        let app = self.app();
        let limit = args.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", format!("must be 1 to {LIMIT_MAX}"), "10"));
        }
        let query = args.query.filter(|query| !query.trim().is_empty());
        if query.as_ref().is_some_and(|query| query.len() > QUERY_BYTES_MAX) {
            let problem = format!("must have at most {QUERY_BYTES_MAX} bytes");
            return Err(Error::argument("query", problem, "\"summary\""));
        }
        let in_use = asked(app, args.marketplace)?;
        let pages = pages(args.cursor.as_deref(), &in_use)?;
        // Also when some have no further page: a page has to be as long as those before it.
        let shares = u64::try_from(in_use.len()).unwrap_or(1).max(1);
        let question = Question { query, most: args.max_price_usd, rows: (limit / shares).max(1) };
        let asked = pages.iter().map(async |&(marketplace, page)| Answered {
            marketplace,
            page,
            found: question.put(app, marketplace, page).await,
        });
        merged(join_all(asked).await, &in_use)
    }
}

/// What a marketplace answered.
#[derive(Debug)]
struct Answered {
    marketplace: Marketplace,
    page: u64,
    found: Result<Found, Error>,
}

/// The marketplaces to ask: all that are in use, or one of them.
fn asked(app: &App, only: Option<Marketplace>) -> Result<Vec<Marketplace>, Error> {
    let in_use = &app.settings().marketplaces;
    let Some(only) = only else { return Ok(in_use.clone()) };
    if in_use.contains(&only) {
        return Ok(vec![only]);
    }
    let names: Vec<_> = in_use.iter().map(|m| m.name()).collect();
    let problem = format!("must be one that is in use: {}", names.join(", "));
    let example = names.first().map_or_else(String::new, |name| format!("\"{name}\""));
    Err(Error::argument("marketplace", problem, &example))
}

/// The page of each marketplace that a cursor stands for: one number for all, or `croo=2,crochet=3`,
/// where one that has no further page is left out.
fn pages(cursor: Option<&str>, in_use: &[Marketplace]) -> Result<Vec<(Marketplace, u64)>, Error> {
    let number = |text: &str| text.parse().ok().filter(|page| (1..=PAGE_MAX).contains(page));
    let everywhere = |page: u64| in_use.iter().map(|marketplace| (*marketplace, page)).collect();
    let Some(cursor) = cursor else { return Ok(everywhere(1)) };
    let one = |part: &str| {
        let (name, page) = part.split_once('=')?;
        let marketplace = Marketplace::named(name).filter(|named| in_use.contains(named))?;
        Some((marketplace, number(page)?))
    };
    let read = match number(cursor) {
        Some(page) => Some(everywhere(page)),
        None => cursor.split(',').map(one).collect::<Option<Vec<_>>>(),
    };
    let mut pages = read.unwrap_or_default();
    pages.dedup_by_key(|(marketplace, _)| *marketplace);
    if pages.is_empty() || pages.len() > in_use.len() {
        return Err(Error::argument("cursor", "must be one that a result gave", "\"2\""));
    }
    Ok(pages)
}

/// The cursor of these pages.
fn cursor_of(pages: &[(Marketplace, u64)], in_use: &[Marketplace]) -> Option<String> {
    let (_, first) = pages.first()?;
    if pages.len() == in_use.len() && pages.iter().all(|(_, page)| page == first) {
        return Some(first.to_string());
    }
    let parts: Vec<_> =
        pages.iter().map(|(marketplace, page)| format!("{}={page}", marketplace.name())).collect();
    Some(parts.join(","))
}

/// What was found everywhere, in turn. One marketplace that fails does not hide the others; where
/// all fail, the first failure is told.
fn merged(answers: Vec<Answered>, in_use: &[Marketplace]) -> Result<Reply<SearchView>, Error> {
    let (mut lists, mut problems, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let mut failure = None;
    for Answered { marketplace, page, found } in answers {
        match found {
            Ok(found) => {
                if found.more {
                    after.push((marketplace, page.saturating_add(1)));
                }
                lists.push(found.offers.into_iter());
            }
            Err(error) => {
                // The same page again, with the next of the others.
                after.push((marketplace, page));
                let (code, message) = (error.code.name(), error.message.clone());
                problems.push(Problem { marketplace, code, message });
                failure.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (lists.is_empty(), failure) {
        return Err(error);
    }
    let mut offers = Vec::new();
    loop {
        let before = offers.len();
        offers.extend(lists.iter_mut().filter_map(Iterator::next));
        if offers.len() == before {
            break;
        }
    }
    let next = offers.iter().take(HINTED_OFFERS).map(Offer::look).collect();
    let view = SearchView { cursor: cursor_of(&after, in_use), offers, problems };
    Ok(Reply { view, next })
}

impl Question {
    async fn put(&self, app: &App, marketplace: Marketplace, page: u64) -> Result<Found, Error> {
        let mut found = match marketplace {
            Marketplace::Croo => self.at_croo(app, page).await?,
            Marketplace::Crochet => self.at_crochet(app, page).await?,
            Marketplace::Paegents => self.at_paegents(app, page).await?,
        };
        let affordable = |price: Option<Usdc>, most| price.is_some_and(|price| price <= most);
        found.offers.retain(|offer| self.most.is_none_or(|most| affordable(offer.price_usd, most)));
        Ok(found)
    }

    async fn at_paegents(&self, app: &App, page: u64) -> Result<Found, Error> {
        let search = paegents::SearchCatalog {
            limit: self.rows,
            offset: (page - 1).saturating_mul(self.rows),
            query: self.query.clone(),
            category: None,
            min_price: None,
            // A price between two cents is above the lower one.
            max_price: self.most.map(|most| most.micros() / MICROS_PER_CENT),
        };
        let found = app.paegents().await?.api.send(&search).await?;
        let active = found.results.iter().filter(|service| service.is_active);
        Ok(Found { offers: active.map(Offer::from).collect(), more: found.has_more })
    }

    async fn at_croo(&self, app: &App, page: u64) -> Result<Found, Error> {
        let list = ListServices {
            search: self.query.clone(),
            min_price: None,
            max_price: self.most.map(Usdc::micros),
            page,
            page_size: self.rows,
        };
        let found = app.croo().await?.api.send(&list).await?;
        let (rows, total) = (found.items.len(), found.total.trim().parse::<u64>());
        let is_full = u64::try_from(rows).unwrap_or(u64::MAX) >= self.rows;
        let more = total.map_or(is_full, |total| page.saturating_mul(self.rows) < total);
        Ok(Found { offers: found.items.iter().map(Offer::from).collect(), more })
    }

    async fn at_crochet(&self, app: &App, page: u64) -> Result<Found, Error> {
        let browse = BrowseListings {
            q: self.query.clone(),
            page,
            limit: self.rows,
            ..BrowseListings::default()
        };
        let found = app.crochet().await?.api.send(&browse).await?;
        let more = found.pages.is_some_and(|pages| page < pages);
        Ok(Found { offers: found.rows.iter().map(Offer::from).collect(), more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cursor, the marketplaces in use, and the pages that it stands for.
    type Row<'a> = (Option<&'a str>, &'a [Marketplace], Option<Vec<(Marketplace, u64)>>);

    #[test]
    fn a_cursor_holds_a_page_for_each_marketplace() {
        use Marketplace::{Crochet, Croo};
        let both = [Croo, Crochet];
        #[rustfmt::skip]
        let rows: [Row<'_>; 14] = [
            (None,                     &both,      Some(vec![(Croo, 1), (Crochet, 1)])),
            (Some("2"),                &both,      Some(vec![(Croo, 2), (Crochet, 2)])),
            (Some("2"),                &[Crochet], Some(vec![(Crochet, 2)])),
            (Some("croo=3"),           &both,      Some(vec![(Croo, 3)])),
            (Some("croo=3,crochet=1"), &both,      Some(vec![(Croo, 3), (Crochet, 1)])),
            (Some("croo=3,croo=4"),    &both,      Some(vec![(Croo, 3)])),
            (Some("croo=3"),           &[Crochet], None),
            (Some("croo=0"),           &both,      None),
            (Some("croo=10001"),       &both,      None),
            (Some("croo"),             &both,      None),
            (Some("0"),                &both,      None),
            (Some("-1"),               &both,      None),
            (Some(""),                 &both,      None),
            (Some("x=1"),              &both,      None),
        ];
        for (cursor, in_use, expected) in rows {
            let read = pages(cursor, in_use).ok();
            assert_eq!(read, expected, "{cursor:?}");
            if let (Some(read), Some("2" | "croo=3" | "croo=3,crochet=1")) = (read, cursor) {
                assert_eq!(cursor_of(&read, in_use).as_deref(), cursor);
            }
        }
        assert_eq!(cursor_of(&[], &both), None);
    }
}
