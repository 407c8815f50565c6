//! Crochet's account: registration, wallets, keys, history, reviews.
//!
//! Invariants: a key is stored before its answer is given and is in no result; wallets and their
//! proofs come from the owner's keys, never from an argument.

pub mod identity;
pub(crate) mod keep;
pub mod proof;
pub mod shown;
pub mod wallets;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::{
    identity::{AccountView, RecoverArgs, RegisterArgs},
    proof::WalletChain,
    shown::{DetailsView, PageArgs, RowsView, checked_text, with_account_hint},
    wallets::{LinkWalletArgs, UpdateWalletArgs},
};
use crate::{
    access::secret_names,
    app::App,
    error::{Code, Error},
    ids::{ApiKeyId, ListingId},
    marketplaces::{
        Marketplace,
        crochet::{
            accounts::{
                keys::{CreateApiKey, ListApiKeys, RevokeApiKey, id_of, is_key_in_use},
                wallets::ListWallets,
            },
            history::{ListGatewayRequests, ListLedger},
            reviews::ReviewListing,
        },
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    store::secrets,
    tools::{Args, Reply, input, market::NoArgs, output},
};

/// Arguments of `crochet_create_api_key`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKeyArgs {
    /// What to call it.
    pub name: String,
    /// Use it from now on.
    #[serde(default)]
    pub use_it: bool,
}

/// A key that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApiKeyView {
    /// For `crochet_revoke_api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<ApiKeyId>,
    /// Where the key is stored; it is not shown.
    pub api_key: String,
    /// Whether this server uses it now.
    pub in_use: bool,
}

/// Arguments of `crochet_revoke_api_key`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeApiKeyArgs {
    /// From `crochet_list_api_keys`.
    pub api_key_id: ApiKeyId,
}

/// What became of something.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RevokedView {
    /// Which.
    pub api_key_id: ApiKeyId,
    /// `revoked`.
    pub status: &'static str,
}

/// Arguments of `crochet_review_listing`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewListingArgs {
    /// One you called.
    pub listing_id: ListingId,
    /// 1 to 5.
    pub accuracy_rating: u64,
    /// 1 to 5.
    pub reliability_rating: u64,
    /// 1 to 5.
    pub value_rating: u64,
    /// One line.
    pub title: String,
    /// The review.
    pub comment: String,
}

#[tool_router(router = crochet_account_tools, vis = "pub(crate)")]
impl Server {
    /// Register the owner's wallet at Crochet, or recover its account where it has one. Stores the
    /// key, returns the profile. Needed once, before buying or selling live.
    #[tool(
        name = "crochet_register",
        input_schema = input::<RegisterArgs>(),
        output_schema = output::<AccountView>(),
        annotations(
            title = "Register at Crochet",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_register(
        &self,
        Args(args): Args<RegisterArgs>,
        owner: Owner,
    ) -> Result<Reply<AccountView>, Error> {
        identity::register(self.app(), args, &owner).await
    }

    /// Get a new key for the account of the owner's wallet, when the old one is lost or refused.
    /// Stores the key, returns the profile.
    #[tool(
        name = "crochet_recover_account",
        input_schema = input::<RecoverArgs>(),
        output_schema = output::<AccountView>(),
        annotations(
            title = "Recover a Crochet account",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_recover_account(
        &self,
        Args(args): Args<RecoverArgs>,
        owner: Owner,
    ) -> Result<Reply<AccountView>, Error> {
        identity::recover(self.app(), args, &owner).await
    }

    /// Your Crochet profile. Also shows whether the key works.
    #[tool(
        name = "crochet_get_profile",
        input_schema = input::<NoArgs>(),
        output_schema = output::<AccountView>(),
        annotations(
            title = "Crochet profile",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_get_profile(&self, _: Args<NoArgs>) -> Result<Reply<AccountView>, Error> {
        let crochet = self.app().crochet().await?;
        let view = identity::profile(&crochet.api).await.map_err(with_account_hint)?;
        Ok(Reply::new(view).next(identity::search()))
    }

    /// The wallets linked to your profile, with their ids.
    #[tool(
        name = "crochet_list_wallets",
        input_schema = input::<NoArgs>(),
        output_schema = output::<RowsView>(),
        annotations(
            title = "Crochet wallets",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_list_wallets(&self, _: Args<NoArgs>) -> Result<Reply<RowsView>, Error> {
        let crochet = self.app().crochet().await?;
        let rows = crochet.api.send(&ListWallets {}).await.map_err(with_account_hint)?;
        Ok(Reply::new(rows.into()))
    }

    /// Link the owner's other wallet (EVM or Solana) to the profile; both wallets sign. Do not
    /// register a second account for it.
    #[tool(
        name = "crochet_link_wallet",
        input_schema = input::<LinkWalletArgs>(),
        output_schema = output::<DetailsView>(),
        annotations(
            title = "Link a wallet at Crochet",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_link_wallet(
        &self,
        Args(args): Args<LinkWalletArgs>,
        owner: Owner,
    ) -> Result<Reply<DetailsView>, Error> {
        wallets::link(self.app(), args, &owner).await.map_err(with_account_hint)
    }

    /// Change what a linked wallet may do, its status, or make it the default.
    #[tool(
        name = "crochet_update_wallet",
        input_schema = input::<UpdateWalletArgs>(),
        output_schema = output::<DetailsView>(),
        annotations(
            title = "Update a wallet at Crochet",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_update_wallet(
        &self,
        Args(args): Args<UpdateWalletArgs>,
        owner: Owner,
    ) -> Result<Reply<DetailsView>, Error> {
        wallets::update(self.app(), args, &owner).await.map_err(with_account_hint)
    }

    /// The account's API keys: ids, names, prefixes; never the keys.
    #[tool(
        name = "crochet_list_api_keys",
        input_schema = input::<NoArgs>(),
        output_schema = output::<RowsView>(),
        annotations(
            title = "Crochet API keys",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_list_api_keys(&self, _: Args<NoArgs>) -> Result<Reply<RowsView>, Error> {
        let crochet = self.app().crochet().await?;
        let rows = crochet.api.send(&ListApiKeys {}).await.map_err(with_account_hint)?;
        Ok(Reply::new(rows.into()))
    }

    /// Make a further API key. It is stored here and not shown.
    #[tool(
        name = "crochet_create_api_key",
        input_schema = input::<CreateApiKeyArgs>(),
        output_schema = output::<ApiKeyView>(),
        annotations(
            title = "Create a Crochet API key",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_create_api_key(
        &self,
        Args(args): Args<CreateApiKeyArgs>,
    ) -> Result<Reply<ApiKeyView>, Error> {
        let name = checked_text("name", &args.name, 80, "\"ci\"")?.to_owned();
        if args.use_it {
            keep::check_not_configured(self.app())?;
        }
        let view = create_api_key(self, name, args.use_it).await.map_err(with_account_hint)?;
        let list = NextCall::new("crochet_list_api_keys", json!({}), "shows all keys");
        Ok(Reply::new(view).next(list))
    }

    /// End an API key for good. The key in use is refused.
    #[tool(
        name = "crochet_revoke_api_key",
        input_schema = input::<RevokeApiKeyArgs>(),
        output_schema = output::<RevokedView>(),
        annotations(
            title = "Revoke a Crochet API key",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_revoke_api_key(
        &self,
        Args(args): Args<RevokeApiKeyArgs>,
    ) -> Result<Reply<RevokedView>, Error> {
        let key_id = args.api_key_id;
        revoke_api_key(self.app(), &key_id).await.map_err(with_account_hint)?;
        Ok(Reply::new(RevokedView { api_key_id: key_id, status: "revoked" }))
    }

    /// Review a listing that you called. Once per listing.
    #[tool(
        name = "crochet_review_listing",
        input_schema = input::<ReviewListingArgs>(),
        output_schema = output::<DetailsView>(),
        annotations(
            title = "Review a Crochet listing",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_review_listing(
        &self,
        Args(args): Args<ReviewListingArgs>,
    ) -> Result<Reply<DetailsView>, Error> {
        let ratings = [
            ("accuracy_rating", args.accuracy_rating),
            ("reliability_rating", args.reliability_rating),
            ("value_rating", args.value_rating),
        ];
        if let Some((field, _)) = ratings.iter().find(|(_, rating)| !(1..=5).contains(rating)) {
            return Err(Error::argument(field, "must be 1 to 5", "4"));
        }
        let title = checked_text("title", &args.title, 120, "\"Fast and exact\"")?;
        let comment = checked_text("comment", &args.comment, 4000, "\"Did what it says.\"")?;
        let crochet = self.app().crochet().await?;
        let review = ReviewListing {
            listing_id: &args.listing_id,
            accuracy_rating: args.accuracy_rating,
            reliability_rating: args.reliability_rating,
            value_rating: args.value_rating,
            title,
            comment,
        };
        let posted = crochet.api.send(&review).await.map_err(with_account_hint)?;
        Ok(Reply::new(DetailsView::of(posted.0)))
    }

    /// Calls through Crochet's gateway, as buyer and as seller, latest first.
    #[tool(
        name = "crochet_list_gateway_requests",
        input_schema = input::<PageArgs>(),
        output_schema = output::<RowsView>(),
        annotations(
            title = "Crochet gateway calls",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_list_gateway_requests(
        &self,
        Args(args): Args<PageArgs>,
    ) -> Result<Reply<RowsView>, Error> {
        let (page, limit) = args.checked()?;
        let crochet = self.app().crochet().await?;
        let rows = crochet.api.send(&ListGatewayRequests { page, limit }).await;
        Ok(paged("crochet_list_gateway_requests", rows.map_err(with_account_hint)?.into(), limit))
    }

    /// The account's ledger at Crochet: payments, credits, fees. Your own purchases are in
    /// `market_list_purchases`.
    #[tool(
        name = "crochet_list_ledger",
        input_schema = input::<PageArgs>(),
        output_schema = output::<RowsView>(),
        annotations(
            title = "Crochet ledger",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_list_ledger(
        &self,
        Args(args): Args<PageArgs>,
    ) -> Result<Reply<RowsView>, Error> {
        let (page, limit) = args.checked()?;
        let crochet = self.app().crochet().await?;
        let rows =
            crochet.api.send(&ListLedger { page, limit }).await.map_err(with_account_hint)?;
        Ok(paged("crochet_list_ledger", rows.into(), limit))
    }
}

/// A page, and the call that gets the next one.
fn paged(tool: &'static str, view: RowsView, limit: u64) -> Reply<RowsView> {
    match view.next_page {
        Some(page) => {
            let arguments = json!({ "page": page, "limit": limit });
            Reply::new(view).next(NextCall::new(tool, arguments, "the next page"))
        }
        None => Reply::new(view),
    }
}

/// Where a further key is stored.
fn stored_name(key_id: &str) -> String {
    format!("crochet.api_key.{key_id}")
}

async fn create_api_key(server: &Server, name: String, use_it: bool) -> Result<ApiKeyView, Error> {
    let api = server.app().crochet().await?.api;
    let keeper = server.app().clone();
    keep::to_the_end(server.app(), async move {
        let issued = api.send(&CreateApiKey { name }).await?.0;
        let key_id: Option<ApiKeyId> = issued.key_id.and_then(|id| id.try_into().ok());
        let label = match &key_id {
            Some(id) => stored_name(id.as_str()),
            None => stored_name(&keeper.clock().now().to_string()),
        };
        let keep = async |name: &str, key: &SecretString| {
            keeper.keep_secret(name, key).await.map_err(|error| {
                let why = "shows the key that was made and could not be kept; revoke it";
                error.next(NextCall::new("crochet_list_api_keys", json!({}), why))
            })
        };
        keep(&label, &issued.authorization).await?;
        if use_it {
            // Only a key that works takes the place of the one in use.
            identity::profile(&keep::with_key(&api, &issued.authorization)).await?;
            keep(secret_names::CROCHET_KEY, &issued.authorization).await?;
        }
        Ok(ApiKeyView { api_key_id: key_id, api_key: format!("stored as {label}"), in_use: use_it })
    })
    .await
}

async fn revoke_api_key(app: &App, key_id: &ApiKeyId) -> Result<(), Error> {
    let api = app.crochet().await?.api;
    let keys = api.send(&ListApiKeys {}).await?;
    let in_use = keys.rows.iter().any(|row| {
        id_of(row) == Some(key_id.as_str()) && is_key_in_use(row, keep::authorization_of(&api))
    });
    if in_use {
        let message = format!("the key {key_id} is the one in use; nothing was sent");
        let why = "makes another key and uses it; then this one can be revoked";
        let arguments = json!({ "name": "haggle", "use_it": true });
        return Err(Error::new(Code::Conflict, message)
            .at(Marketplace::Crochet)
            .next(NextCall::new("crochet_create_api_key", arguments, why)));
    }
    api.send(&RevokeApiKey { key_id }).await?;
    let label = stored_name(key_id.as_str());
    app.store().transact(move |db| secrets::remove(db, &label)).await?;
    Ok(())
}
