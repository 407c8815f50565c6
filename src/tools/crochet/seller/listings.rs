//! Creating and changing listings.

use std::sync::Arc;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{MyListingView, about};
use crate::{
    access::secret_names,
    app::App,
    config::Mode,
    error::{Code, Error},
    ids::ListingId,
    marketplaces::{
        crochet::{
            accounts::challenges::RequestListingChallenge,
            seller::{CreateListing, Created, UpdateListing, amount, check_endpoint_url},
        },
        http::Api,
    },
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    tools::{
        Reply,
        crochet::account::{
            keep::to_the_end,
            proof::{How, ROUNDS_MAX, WalletChain, out_of_rounds, solve},
            shown::checked_text,
        },
    },
};

/// The longest texts of a listing, in characters.
const NAME_CHARS_MAX: usize = 120;
const TEXT_CHARS_MAX: usize = 4000;
const CATEGORY_CHARS_MAX: usize = 64;
/// What buyers read where the seller says nothing.
const INSTRUCTIONS: &str = "POST JSON through the Crochet gateway; the answer is JSON.";
const URL_EXAMPLE: &str = "\"https://seller.example/hook\"";

/// Arguments of `crochet_create_listing`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateListingArgs {
    /// Short.
    pub name: String,
    /// What buyers get.
    pub description: String,
    /// Per call; left out: free.
    #[serde(default)]
    pub price_usd: Option<Usdc>,
    /// HTTPS, takes POST JSON; needed with a price.
    #[serde(default)]
    pub private_endpoint_url: Option<String>,
    /// What JSON buyers send.
    #[serde(default)]
    pub connection_instructions: Option<String>,
    /// From `crochet_list_categories`.
    #[serde(default)]
    pub category: Option<String>,
    /// Not yet for sale.
    #[serde(default)]
    pub draft: bool,
}

/// Arguments of `crochet_update_listing`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateListingArgs {
    /// Yours.
    pub listing_id: ListingId,
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// New description.
    #[serde(default)]
    pub description: Option<String>,
    /// New price per call.
    #[serde(default)]
    pub price_usd: Option<Usdc>,
    /// Charge nothing.
    #[serde(default)]
    pub free: bool,
    /// New HTTPS endpoint.
    #[serde(default)]
    pub private_endpoint_url: Option<String>,
    /// What JSON buyers send.
    #[serde(default)]
    pub connection_instructions: Option<String>,
    /// From `crochet_list_categories`.
    #[serde(default)]
    pub category: Option<String>,
    /// active or draft.
    #[serde(default)]
    pub status: Option<String>,
}

/// A listing that was created.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CreatedView {
    /// For the other seller tools.
    pub listing_id: ListingId,
    /// active or draft.
    pub status: String,
    /// A call.
    pub price_usd: Usdc,
    /// Where it is stored; it is not shown.
    pub signing_secret: String,
}

/// Keeps a listing's signing secret; where it is kept.
///
/// # Errors
///
/// Where the store cannot be written.
pub(super) async fn keep_signing(
    app: &App,
    listing_id: &ListingId,
    secret: &SecretString,
) -> Result<String, Error> {
    let name = secret_names::crochet_signing(listing_id.as_str());
    app.keep_secret(&name, secret).await?;
    Ok(format!("stored as {name}"))
}

/// An endpoint's address that may be sent.
///
/// # Errors
///
/// [`Code::InvalidArgument`], without the address: it can hold a secret.
pub(super) fn endpoint_url<'a>(app: &App, url: &'a str) -> Result<&'a str, Error> {
    let loopback = matches!(app.settings().mode, Mode::Sandbox { .. });
    check_endpoint_url(url, loopback)
        .map_err(|problem| Error::argument("private_endpoint_url", problem, URL_EXAMPLE))?;
    Ok(url)
}

fn price_number(price: Usdc) -> Result<Box<RawValue>, Error> {
    if price == Usdc::ZERO {
        return Err(Error::argument("price_usd", "must be more than 0", "\"0.01\""));
    }
    amount(price).map_err(|_| Error::argument("price_usd", "must be a decimal", "\"0.01\""))
}

fn category(text: Option<&str>) -> Result<Option<&str>, Error> {
    text.map(|text| checked_text("category", text, CATEGORY_CHARS_MAX, "\"data\"")).transpose()
}

/// Creates a listing.
///
/// # Errors
///
/// [`Code::InvalidArgument`] before anything is sent; those of the work and of the operation.
pub(super) async fn create(
    app: &Arc<App>,
    args: CreateListingArgs,
    owner: &Owner,
) -> Result<Reply<CreatedView>, Error> {
    // All is checked before the work is done.
    drop(listing(app, &args)?);
    let api = app.crochet().await?.api;
    if api.key().is_none() {
        return Err(api.not_registered());
    }
    let args = Arc::new(args);
    let mut how = How::default();
    let created = loop {
        let tried = match prove(&api, owner, how).await {
            Ok((pow_nonce, echo)) => {
                let (keeper, api, args) = (app.clone(), api.clone(), args.clone());
                to_the_end(app, async move {
                    let mut listing = listing(&keeper, &args)?;
                    (listing.pow_nonce, listing.echo) = (pow_nonce, echo);
                    let created = api.send(&listing).await.map_err(|e| lost(e, &args.name))?.0;
                    kept(&keeper, created, &args).await
                })
                .await
            }
            Err(error) => Err(error),
        };
        match tried {
            Ok(created) => break created,
            // Only work can be done differently; no wallet signs here.
            Err(refused) => how.learn(refused, WalletChain::default())?,
        }
    };
    let id = json!({ "listing_id": created.listing_id });
    let test = NextCall::new("crochet_test_endpoint", id.clone(), "tries your endpoint");
    let get = NextCall::new("crochet_get_listing", id, "shows it as buyers see it");
    let has_endpoint = args.private_endpoint_url.is_some();
    let reply = Reply::new(created);
    Ok(if has_endpoint { reply.next(test).next(get) } else { reply.next(get) })
}

/// The request of these arguments, without its proof of work.
fn listing<'a>(app: &App, args: &'a CreateListingArgs) -> Result<CreateListing<'a>, Error> {
    let url = args.private_endpoint_url.as_deref().map(|url| endpoint_url(app, url)).transpose()?;
    if args.price_usd.is_some() && url.is_none() {
        let problem = "must be given for a listing with a price";
        return Err(Error::argument("private_endpoint_url", problem, URL_EXAMPLE));
    }
    let instructions = args.connection_instructions.as_deref().unwrap_or(INSTRUCTIONS);
    Ok(CreateListing {
        pow_nonce: None,
        name: checked_text("name", &args.name, NAME_CHARS_MAX, "\"Unit conversion\"")?,
        description: checked_text(
            "description",
            &args.description,
            TEXT_CHARS_MAX,
            "\"Converts units.\"",
        )?,
        delivery_type: "api",
        auth_method: "none",
        formats: ["json"],
        connection_instructions: checked_text(
            "connection_instructions",
            instructions,
            TEXT_CHARS_MAX,
            "\"Send {text}.\"",
        )?,
        pricing_model: if args.price_usd.is_some() { "per_call" } else { "free" },
        pricing_amount: args.price_usd.map(price_number).transpose()?,
        pricing_currency: "USD",
        private_endpoint_url: url,
        status: if args.draft { "draft" } else { "active" },
        category: category(args.category.as_deref())?,
        echo: serde_json::Map::new(),
    })
}

/// The work of a listing challenge, and what names the challenge.
async fn prove(
    api: &Api,
    owner: &Owner,
    how: How,
) -> Result<(Option<String>, serde_json::Map<String, serde_json::Value>), Error> {
    for round in 1..=ROUNDS_MAX {
        let challenge = api.send(&RequestListingChallenge {}).await?.0;
        let Some(work) = &challenge.work else { return Ok((None, challenge.echo)) };
        if let Some(solution) = solve(work, how, owner, round).await? {
            return Ok((Some(solution), challenge.echo));
        }
    }
    Err(out_of_rounds())
}

/// A lost answer may have made a listing: it is looked for before another is made.
fn lost(error: Error, name: &str) -> Error {
    if error.repeat_safe {
        return error;
    }
    let why = "shows whether it was created; then issue its secret anew with crochet_rotate_secret";
    error
        .next(NextCall::new("crochet_search_listings", json!({ "query": name }), why))
        .next(NextCall::new("market_search", json!({ "query": name }), why))
}

async fn kept(app: &App, created: Created, args: &CreateListingArgs) -> Result<CreatedView, Error> {
    let Created { listing_id, status, signing_secret } = created;
    let rotate = |error: Error| {
        let arguments = json!({ "listing_id": listing_id });
        let why = "the listing exists, its secret could not be kept; issues another one";
        let mut error = error.next(NextCall::new("crochet_rotate_secret", arguments, why));
        error.not_repeat_safe();
        error
    };
    let stored = match &signing_secret {
        Some(secret) => keep_signing(app, &listing_id, secret).await.map_err(rotate)?,
        None => "none was given; crochet_rotate_secret issues one".to_owned(),
    };
    let known = ["active", "draft", "pending", "suspended"];
    let said = status.filter(|status| known.contains(&status.as_str()));
    let asked = if args.draft { "draft" } else { "active" };
    Ok(CreatedView {
        listing_id,
        status: said.unwrap_or_else(|| asked.to_owned()),
        price_usd: args.price_usd.unwrap_or(Usdc::ZERO),
        signing_secret: stored,
    })
}

/// Changes a listing.
///
/// # Errors
///
/// [`Code::InvalidArgument`] before anything is sent; those of the operation.
pub(super) async fn update(
    app: &App,
    args: UpdateListingArgs,
) -> Result<Reply<MyListingView>, Error> {
    let update = changes(app, &args)?;
    let crochet = app.crochet().await?;
    let updated = crochet.api.send(&update).await.map_err(|error| {
        if error.is(Code::NotFound) || error.is(Code::NotAllowed) {
            let why = "shows what is for sale, and by whom";
            return error.next(NextCall::new("market_search", json!({}), why));
        }
        error
    })?;
    Ok(about(args.listing_id.clone(), updated.0))
}

fn changes<'a>(app: &App, args: &'a UpdateListingArgs) -> Result<UpdateListing<'a>, Error> {
    let text = |field: &str, text: &'a Option<String>, max: usize, example: &str| {
        text.as_deref().map(|text| checked_text(field, text, max, example)).transpose()
    };
    let known = ["active", "draft", "suspended"];
    if args.status.as_deref().is_some_and(|status| !known.contains(&status)) {
        return Err(Error::argument("status", "must be active, draft or suspended", "\"active\""));
    }
    if args.free && args.price_usd.is_some() {
        return Err(Error::argument("free", "and `price_usd` exclude each other", "false"));
    }
    let url = args.private_endpoint_url.as_deref().map(|url| endpoint_url(app, url)).transpose()?;
    let pricing_model = match (args.free, args.price_usd) {
        (true, _) => Some("free"),
        (false, Some(_)) => Some("per_call"),
        (false, None) => None,
    };
    let update = UpdateListing {
        listing_id: &args.listing_id,
        name: text("name", &args.name, NAME_CHARS_MAX, "\"Unit conversion\"")?,
        description: text("description", &args.description, TEXT_CHARS_MAX, "\"Converts units.\"")?,
        connection_instructions: text(
            "connection_instructions",
            &args.connection_instructions,
            TEXT_CHARS_MAX,
            "\"Send {text}.\"",
        )?,
        pricing_model,
        pricing_amount: args.price_usd.map(price_number).transpose()?,
        private_endpoint_url: url,
        status: args.status.as_deref(),
        category: category(args.category.as_deref())?,
    };
    let empty = serde_json::to_value(&update).is_ok_and(|body| body == json!({}));
    if empty {
        let problem = "or another change has to be given";
        return Err(Error::argument("name", problem, "\"Unit conversion\""));
    }
    Ok(update)
}
