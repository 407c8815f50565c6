//! A seller's services in the catalog.
//!
//! Invariant: the key of the seller's own server comes from a file of the owner's folder, goes out in
//! one request, and is in no result, error, log or journal.

mod upstream;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::upstream::{Upstream, without};
use super::cents_of;
use crate::{
    app::App,
    error::{Code, Error},
    ids::ServiceId,
    marketplaces::paegents::{
        Paegents,
        catalog::{DeleteService, Exposed, ListMyServices, RegisterService, UpdateService},
        services::{GetService, Service},
    },
    money::Usdc,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, clean},
    tools::{
        Args, Reply,
        crochet::account::{keep::to_the_end, shown::checked_text},
        input, output,
        paegents::{
            QUANTITY_MAX,
            free::check_json,
            settled::{is_open, undone},
            shown::theirs,
        },
    },
};

/// The longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 4000;
/// The longest category, and the longest name of a unit, in characters.
const WORD_CHARS_MAX: usize = 64;
/// The most rows of a page, and how many there are unless said otherwise.
const LIMIT_MAX: u64 = 50;
const LIMIT: u64 = 20;
/// The last place that a page begins at.
const OFFSET_MAX: u64 = 1_000_000;

/// How a price is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PriceModel {
    /// Each unit costs the same.
    #[default]
    PerUnit,
    /// A unit is a period.
    Subscription,
    /// More units cost less each.
    Tiered,
}

impl PriceModel {
    const fn word(self) -> &'static str {
        match self {
            Self::PerUnit => "per_unit",
            Self::Subscription => "subscription",
            Self::Tiered => "tiered",
        }
    }
}

/// Arguments of `paegents_register_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterServiceArgs {
    /// Short.
    pub service_name: String,
    /// What buyers get.
    pub description: String,
    /// A word or two.
    pub category: String,
    /// Such as `api_calls`.
    pub unit: String,
    /// In whole cents.
    pub unit_price_usd: Usdc,
    /// Default `per_unit`.
    #[serde(default)]
    pub price_model: PriceModel,
    /// Default 1.
    #[serde(default)]
    pub min_quantity: Option<u64>,
    /// At once.
    #[serde(default)]
    pub max_quantity: Option<u64>,
    /// Free JSON.
    #[serde(default)]
    pub capabilities: Option<Map<String, Value>>,
    /// HTTPS, for metered calls.
    #[serde(default)]
    pub api_base_url: Option<String>,
    /// Your server's key.
    #[serde(default)]
    pub upstream_key_file: Option<String>,
    /// Its header.
    #[serde(default)]
    pub upstream_header: Option<String>,
}

/// Arguments of `paegents_update_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateServiceArgs {
    /// Yours.
    pub service_id: ServiceId,
    /// New name.
    #[serde(default)]
    pub service_name: Option<String>,
    /// New description.
    #[serde(default)]
    pub description: Option<String>,
    /// In whole cents.
    #[serde(default)]
    pub unit_price_usd: Option<Usdc>,
    /// At once.
    #[serde(default)]
    pub min_quantity: Option<u64>,
    /// At once.
    #[serde(default)]
    pub max_quantity: Option<u64>,
    /// Free JSON, whole.
    #[serde(default)]
    pub capabilities: Option<Map<String, Value>>,
    /// Free JSON, whole.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
}

/// Arguments of `paegents_delete_service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteServiceArgs {
    /// Yours.
    pub service_id: ServiceId,
}

/// Arguments of `paegents_list_my_services`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMyServicesArgs {
    /// From the last page.
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// A service of yours.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OfferView {
    /// Its identifier.
    pub service_id: String,
    /// Its name.
    pub name_untrusted: String,
    /// What buyers get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_untrusted: Option<String>,
    /// Its category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category_untrusted: Option<String>,
    /// What one unit is.
    pub unit_untrusted: String,
    /// For one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// The least at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quantity: Option<u64>,
    /// The most at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_quantity: Option<u64>,
    /// Whether it can be bought.
    pub is_active: bool,
    /// Whether metered calls are forwarded; told where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_metered: Option<bool>,
}

impl OfferView {
    fn of(service: &Service) -> Self {
        Self {
            service_id: service.service_id.to_string(),
            name_untrusted: clean(&service.service_name, NAME_CHARS_MAX),
            description_untrusted: theirs(&service.description),
            category_untrusted: theirs(&service.category),
            unit_untrusted: clean(&service.unit, WORD_CHARS_MAX),
            unit_price_usd: service.unit_price(),
            min_quantity: service.min_quantity,
            max_quantity: service.max_quantity,
            is_active: service.is_active,
            is_metered: None,
        }
    }

    fn whole(service: &Service) -> Self {
        let is_metered = Some(!service.api_base_url.is_empty());
        Self { is_metered, ..Self::of(service) }
    }
}

/// A service of yours that was changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChangedView {
    /// Which.
    pub service_id: String,
    /// How it is now, where that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<OfferView>,
}

/// A service of yours that was taken off.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TakenOffView {
    /// Which.
    pub service_id: String,
    /// No longer.
    pub is_active: bool,
}

/// Services of yours.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OffersView {
    /// They; long texts are cut.
    pub services: Vec<OfferView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[tool_router(router = paegents_catalog_tools, vis = "pub(crate)")]
impl Server {
    /// Offer a service on Paegents, priced per unit.
    #[tool(
        name = "paegents_register_service",
        input_schema = input::<RegisterServiceArgs>(),
        output_schema = output::<OfferView>(),
        annotations(
            title = "Register a Paegents service",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_register_service(
        &self,
        Args(args): Args<RegisterServiceArgs>,
    ) -> Result<Reply<OfferView>, Error> {
        registration(&args, &Upstream::default())?;
        let upstream = Upstream::read(self.app(), &args).await?;
        let paegents = self.app().paegents().await?;
        paegents.agent()?;
        to_the_end(self.app(), async move {
            let sent = paegents.api.send(&registration(&args, &upstream)?).await;
            let service = sent.map_err(|error| lost(without(&upstream, error)))?;
            Ok(Reply::new(OfferView::whole(&service)).next(asks()))
        })
        .await
    }

    /// Change a Paegents service of yours. What is left out stays; agreements keep their terms.
    #[tool(
        name = "paegents_update_service",
        input_schema = input::<UpdateServiceArgs>(),
        output_schema = output::<ChangedView>(),
        annotations(
            title = "Update a Paegents service",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_update_service(
        &self,
        Args(args): Args<UpdateServiceArgs>,
    ) -> Result<Reply<ChangedView>, Error> {
        update(self.app(), &args).await
    }

    /// Take a Paegents service of yours off sale. Agreements that exist go on.
    #[tool(
        name = "paegents_delete_service",
        input_schema = input::<DeleteServiceArgs>(),
        output_schema = output::<TakenOffView>(),
        annotations(
            title = "Delete a Paegents service",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_delete_service(
        &self,
        Args(args): Args<DeleteServiceArgs>,
    ) -> Result<Reply<TakenOffView>, Error> {
        let (id, paegents) = (&args.service_id, self.app().paegents().await?);
        paegents.agent()?;
        let view = TakenOffView { service_id: id.to_string(), is_active: false };
        let Err(error) = paegents.api.send(&DeleteService { service_id: id }).await else {
            return Ok(Reply::new(view));
        };
        // What is gone already is answered as if it had never been there.
        if !is_open(&error) && !error.is(Code::NotFound) {
            return Err(error);
        }
        match read(&paegents, id).await {
            Ok(service) if !service.is_active && is_own(&paegents, &service) => {
                Ok(Reply::new(view))
            }
            Ok(_) if !error.repeat_safe => Err(undone(&error, "the service")),
            _ => Err(error.next(lists())),
        }
    }

    /// Your own services on Paegents that are on sale.
    #[tool(
        name = "paegents_list_my_services",
        input_schema = input::<ListMyServicesArgs>(),
        output_schema = output::<OffersView>(),
        annotations(
            title = "My Paegents services",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_my_services(
        &self,
        Args(args): Args<ListMyServicesArgs>,
    ) -> Result<Reply<OffersView>, Error> {
        let limit = args.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", "must be 1 to 50", "20"));
        }
        let place = |text: &String| text.parse().ok().filter(|offset| *offset <= OFFSET_MAX);
        let offset = match &args.cursor {
            None => 0,
            Some(text) => place(text)
                .ok_or_else(|| Error::argument("cursor", "must be from the last page", "\"20\""))?,
        };
        let paegents = self.app().paegents().await?;
        paegents.agent()?;
        let found = paegents.api.send(&ListMyServices { limit, offset }).await?.0;
        let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
        let cursor = (count >= limit).then(|| offset.saturating_add(count).to_string());
        let services = found.iter().map(OfferView::of).collect();
        Ok(Reply::new(OffersView { services, cursor }).next(asks()))
    }
}

/// The request of these arguments.
fn registration<'a>(
    args: &'a RegisterServiceArgs,
    upstream: &'a Upstream,
) -> Result<RegisterService<'a>, Error> {
    let word = |field: &str, text: &'a str, example: &str| {
        checked_text(field, text, WORD_CHARS_MAX, example)
    };
    let least = quantity("min_quantity", args.min_quantity)?.unwrap_or(1);
    let most = quantity("max_quantity", args.max_quantity)?;
    check_order(Some(least), most)?;
    check_json("capabilities", &args.capabilities)?;
    Ok(RegisterService {
        service_name: name(&args.service_name)?,
        description: description(&args.description)?,
        category: word("category", &args.category, "\"data\"")?,
        price_model: args.price_model.word(),
        base_price_cents: cents_of("unit_price_usd", args.unit_price_usd)?,
        unit: word("unit", &args.unit, "\"api_calls\"")?,
        min_quantity: least,
        max_quantity: most,
        capabilities: args.capabilities.as_ref(),
        api_base_url: upstream.base_url.as_deref(),
        api_key: upstream.key.as_ref().map(Exposed),
        api_auth_header: upstream.header.as_str(),
    })
}

async fn update(app: &App, args: &UpdateServiceArgs) -> Result<Reply<ChangedView>, Error> {
    check_json("capabilities", &args.capabilities)?;
    check_json("metadata", &args.metadata)?;
    let price = args.unit_price_usd.map(|usd| cents_of("unit_price_usd", usd)).transpose()?;
    let change = UpdateService {
        service_id: &args.service_id,
        service_name: args.service_name.as_deref().map(name).transpose()?,
        description: args.description.as_deref().map(description).transpose()?,
        base_price_cents: price,
        min_quantity: quantity("min_quantity", args.min_quantity)?,
        max_quantity: quantity("max_quantity", args.max_quantity)?,
        capabilities: args.capabilities.as_ref(),
        metadata: args.metadata.as_ref(),
    };
    check_order(change.min_quantity, change.max_quantity)?;
    if change.is_empty() {
        let problem = "or another change has to be given";
        return Err(Error::argument("service_name", problem, "\"Text statistics\""));
    }
    let (paegents, id) = (app.paegents().await?, &args.service_id);
    paegents.agent()?;
    let sent = paegents.api.send(&change).await;
    let view = |service: Option<&Service>| {
        let service = service.map(OfferView::whole);
        Reply::new(ChangedView { service_id: id.to_string(), service })
    };
    let now = match &sent {
        // That it was changed stays true where it cannot be read now.
        Ok(_) => return Ok(view(read(&paegents, id).await.ok().as_ref())),
        Err(error) if is_open(error) => read(&paegents, id).await,
        Err(error) => return Err(error.clone().next(lists())),
    };
    match (now, sent) {
        (Ok(now), _) if change.is_done(&now) && is_own(&paegents, &now) => Ok(view(Some(&now))),
        (Ok(_), Err(error)) => Err(undone(&error, "the service")),
        (Err(_), Err(error)) => Err(error.next(lists())),
        (_, Ok(_)) => Ok(view(None)),
    }
}

async fn read(paegents: &Paegents, service_id: &ServiceId) -> Result<Service, Error> {
    paegents.api.send(&GetService { service_id }).await
}

/// Whether it is ours, where that is said.
fn is_own(paegents: &Paegents, service: &Service) -> bool {
    let seller = service.agent_id.as_ref();
    seller.is_none() || seller == paegents.agent().ok()
}

/// A lost answer may have made a service: it is looked for before another is made.
fn lost(error: Error) -> Error {
    if error.repeat_safe { error } else { error.next(lists()) }
}

fn lists() -> NextCall {
    NextCall::new("paegents_list_my_services", json!({}), "shows your services as they are")
}

/// Buyers come by themselves.
fn asks() -> NextCall {
    let proposed = json!({ "role": "seller", "status": "proposed" });
    NextCall::new("paegents_list_agreements", proposed, "shows what buyers ask of you")
}

fn name(text: &str) -> Result<&str, Error> {
    checked_text("service_name", text, NAME_CHARS_MAX, "\"Text statistics\"")
}

fn description(text: &str) -> Result<&str, Error> {
    checked_text("description", text, DESCRIPTION_CHARS_MAX, "\"Counts words.\"")
}

fn quantity(field: &str, units: Option<u64>) -> Result<Option<u64>, Error> {
    if units.is_none_or(|units| (1..=QUANTITY_MAX).contains(&units)) {
        return Ok(units);
    }
    Err(Error::argument(field, format!("must be 1 to {QUANTITY_MAX}"), "1000"))
}

fn check_order(least: Option<u64>, most: Option<u64>) -> Result<(), Error> {
    if least.zip(most).is_none_or(|(least, most)| least <= most) {
        return Ok(());
    }
    Err(Error::argument("max_quantity", "must be at least `min_quantity`", "1000"))
}
