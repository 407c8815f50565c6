//! Paegents' own catalog.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    error::Error,
    marketplaces::paegents::{
        MICROS_PER_CENT,
        services::{SearchCatalog, Service},
    },
    money::Usdc,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, clean},
    tools::{Args, Reply, input, output, paegents::shown::theirs},
};

/// How many a page has.
const LIMIT: u64 = 20;
const LIMIT_MAX: u64 = 50;
const QUERY_BYTES_MAX: usize = 500;
const CATEGORY_BYTES_MAX: usize = 100;
/// Where the last page may begin.
const OFFSET_MAX: u64 = 1_000_000;
/// The most characters of a description in a list.
const SUMMARY_CHARS_MAX: usize = 200;
/// For how many services the next call is given.
const HINTED_SERVICES: usize = 3;

/// Arguments of `paegents_search_services`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchServicesArgs {
    /// Words to look for.
    #[serde(default)]
    pub query: Option<String>,
    /// Only of it.
    #[serde(default)]
    pub category: Option<String>,
    /// Of a unit.
    #[serde(default)]
    pub min_price_usd: Option<Usdc>,
    /// Of a unit.
    #[serde(default)]
    pub max_price_usd: Option<Usdc>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
    /// From an earlier result.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A page of services.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServicesView {
    /// The services.
    pub services: Vec<ServiceLine>,
    /// How many there are in all.
    pub total: u64,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A service, as lists show it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceLine {
    /// For `paegents_get_service`.
    pub service_id: String,
    /// In the seller's words.
    pub name_untrusted: String,
    /// In the seller's words.
    pub summary_untrusted: String,
    /// In the seller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category_untrusted: Option<String>,
    /// Of one unit; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// What one unit is.
    pub unit_untrusted: String,
    /// The fewest units that are sold.
    pub min_quantity: u64,
    /// Who sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller_agent_id: Option<String>,
}

impl From<&Service> for ServiceLine {
    fn from(service: &Service) -> Self {
        Self {
            service_id: service.service_id.to_string(),
            name_untrusted: clean(&service.service_name, NAME_CHARS_MAX),
            summary_untrusted: clean(&service.description, SUMMARY_CHARS_MAX),
            category_untrusted: theirs(&service.category),
            unit_price_usd: service.unit_price(),
            unit_untrusted: clean(&service.unit, NAME_CHARS_MAX),
            min_quantity: service.min_quantity.unwrap_or(1).max(1),
            seller_agent_id: service.agent_id.as_ref().map(ToString::to_string),
        }
    }
}

/// What the catalog is asked, where every argument can be sent.
fn checked(args: &SearchServicesArgs) -> Result<SearchCatalog, Error> {
    let limit = args.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::argument("limit", format!("must be 1 to {LIMIT_MAX}"), "20"));
    }
    let offset = args.cursor.as_deref().map_or(Some(0), |cursor| {
        let is_number = !cursor.is_empty() && cursor.bytes().all(|b| b.is_ascii_digit());
        cursor.parse().ok().filter(|offset| is_number && *offset <= OFFSET_MAX)
    });
    let offset = offset
        .ok_or_else(|| Error::argument("cursor", "must be one that a result gave", "\"20\""))?;
    let said = |field, text: &Option<String>, most: usize| {
        let text = text.clone().filter(|text| !text.trim().is_empty());
        if text.as_ref().is_some_and(|text| text.len() > most) {
            return Err(Error::argument(
                field,
                format!("must have at most {most} bytes"),
                "\"data\"",
            ));
        }
        Ok(text)
    };
    let (least, most) = (args.min_price_usd, args.max_price_usd);
    if least.zip(most).is_some_and(|(least, most)| least > most) {
        let problem = "must not be above `max_price_usd`";
        return Err(Error::argument("min_price_usd", problem, "\"0.01\""));
    }
    Ok(SearchCatalog {
        limit,
        offset,
        query: said("query", &args.query, QUERY_BYTES_MAX)?,
        category: said("category", &args.category, CATEGORY_BYTES_MAX)?,
        // A price between two cents: the one above it is the first that is dear enough, the one
        // below it the last that is cheap enough.
        min_price: least.map(|least| least.micros().div_ceil(MICROS_PER_CENT)),
        max_price: most.map(|most| most.micros() / MICROS_PER_CENT),
    })
}

#[tool_router(router = paegents_browse_tools, vis = "pub(crate)")]
impl Server {
    /// Searches Paegents' catalog alone.
    #[tool(
        name = "paegents_search_services",
        input_schema = input::<SearchServicesArgs>(),
        output_schema = output::<ServicesView>(),
        annotations(
            title = "Search Paegents services",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_search_services(
        &self,
        Args(args): Args<SearchServicesArgs>,
    ) -> Result<Reply<ServicesView>, Error> {
        let search = checked(&args)?;
        let found = self.app().paegents().await?.api.send(&search).await?;
        let after = found.next_offset.unwrap_or(search.offset + search.limit);
        let active = found.results.iter().filter(|service| service.is_active);
        let services: Vec<_> = active.map(ServiceLine::from).collect();
        let look = |service: &ServiceLine| {
            let about = json!({ "service_id": service.service_id });
            let why = "shows what it can do, and the call that proposes to buy it";
            NextCall::new("paegents_get_service", about, why)
        };
        let next = services.iter().take(HINTED_SERVICES).map(look).collect();
        let is_on = found.has_more && after > search.offset && after <= OFFSET_MAX;
        let cursor = is_on.then(|| after.to_string());
        Ok(Reply { view: ServicesView { services, total: found.total, cursor }, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_whole_cents_within_the_bounds() {
        let usd = |text: &str| Some(text.parse::<Usdc>().unwrap());
        #[rustfmt::skip]
        let rows = [
            // min          max           sent
            (None,          None,         Some((None,    None))),
            (usd("0.02"),   usd("0.05"),  Some((Some(2), Some(5)))),
            (usd("0.021"),  usd("0.059"), Some((Some(3), Some(5)))),
            (usd("0"),      usd("0.009"), Some((Some(0), Some(0)))),
            (usd("2"),      usd("1"),     None),
        ];
        for (min_price_usd, max_price_usd, sent) in rows {
            let args = SearchServicesArgs { min_price_usd, max_price_usd, ..Default::default() };
            let made = checked(&args).ok().map(|search| (search.min_price, search.max_price));
            assert_eq!(made, sent, "{min_price_usd:?} {max_price_usd:?}");
        }
    }

    #[test]
    fn takes_the_cursors_that_it_gives_and_no_others() {
        for (cursor, offset) in [
            ("0", Some(0)),
            ("40", Some(40)),
            ("1000001", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("x", None),
        ] {
            let cursor = Some(cursor.to_owned());
            let args = SearchServicesArgs { cursor: cursor.clone(), ..Default::default() };
            assert_eq!(checked(&args).ok().map(|search| search.offset), offset, "{cursor:?}");
        }
    }
}
