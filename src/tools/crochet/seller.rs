//! Selling at Crochet: listings, their private endpoints, and checking what is forwarded.
//!
//! Invariants: what can be checked here is refused before anything is sent; a signing secret is
//! stored before its answer is given and is in no result.

pub mod listings;
pub mod verify;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::{
    listings::{CreateListingArgs, CreatedView, UpdateListingArgs, endpoint_url, keep_signing},
    verify::{VerifyRequestArgs, VerifyView},
};
use super::account::{
    keep::to_the_end,
    shown::{DetailsView, checked_extra, object, with_account_hint},
};
use crate::{
    error::Error,
    ids::ListingId,
    marketplaces::crochet::seller::{
        DeleteListing, GetEndpoint, RotateSecret, SetEndpoint, TestEndpoint,
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, input, output},
};

/// A listing of yours.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MyListingArgs {
    /// Yours.
    pub listing_id: ListingId,
}

/// Arguments of `crochet_set_endpoint`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEndpointArgs {
    /// Yours.
    pub listing_id: ListingId,
    /// HTTPS, takes POST JSON.
    pub private_endpoint_url: String,
    /// Members a recovery asks for.
    #[serde(default)]
    pub extra: Option<Map<String, Value>>,
}

/// A listing, and what is known of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MyListingView {
    /// Which.
    pub listing_id: ListingId,
    /// In Crochet's words.
    pub details_untrusted: Map<String, Value>,
}

/// A listing that was taken off.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeletedView {
    /// Which.
    pub listing_id: ListingId,
    /// A draft is deleted, an active listing suspended.
    pub status: &'static str,
}

/// A secret that was changed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RotatedView {
    /// Which.
    pub listing_id: ListingId,
    /// Where it is stored; it is not shown.
    pub signing_secret: String,
}

#[tool_router(router = crochet_seller_tools, vis = "pub(crate)")]
impl Server {
    /// Sell a JSON service on Crochet. Buyers pay Crochet per call; it forwards calls to your
    /// private endpoint. Stores the signing secret, returns `listing_id`.
    #[tool(
        name = "crochet_create_listing",
        input_schema = input::<CreateListingArgs>(),
        output_schema = output::<CreatedView>(),
        annotations(
            title = "Create a Crochet listing",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_create_listing(
        &self,
        Args(args): Args<CreateListingArgs>,
        owner: Owner,
    ) -> Result<Reply<CreatedView>, Error> {
        listings::create(self.app(), args, &owner).await.map_err(with_account_hint)
    }

    /// Change a listing of yours. What is left out stays.
    #[tool(
        name = "crochet_update_listing",
        input_schema = input::<UpdateListingArgs>(),
        output_schema = output::<MyListingView>(),
        annotations(
            title = "Update a Crochet listing",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_update_listing(
        &self,
        Args(args): Args<UpdateListingArgs>,
    ) -> Result<Reply<MyListingView>, Error> {
        listings::update(self.app(), args).await.map_err(with_account_hint)
    }

    /// Take a listing of yours off: a draft is deleted, an active one suspended.
    #[tool(
        name = "crochet_delete_listing",
        input_schema = input::<MyListingArgs>(),
        output_schema = output::<DeletedView>(),
        annotations(
            title = "Delete a Crochet listing",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_delete_listing(
        &self,
        Args(args): Args<MyListingArgs>,
    ) -> Result<Reply<DeletedView>, Error> {
        let crochet = self.app().crochet().await?;
        let delete = DeleteListing { listing_id: &args.listing_id };
        crochet.api.send(&delete).await.map_err(with_account_hint)?;
        let status = "deleted if it was a draft, else suspended";
        Ok(Reply::new(DeletedView { listing_id: args.listing_id, status }))
    }

    /// How Crochet reaches your endpoint; never its URL or secret.
    #[tool(
        name = "crochet_get_endpoint",
        input_schema = input::<MyListingArgs>(),
        output_schema = output::<MyListingView>(),
        annotations(
            title = "Crochet endpoint",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_get_endpoint(
        &self,
        Args(args): Args<MyListingArgs>,
    ) -> Result<Reply<MyListingView>, Error> {
        let crochet = self.app().crochet().await?;
        let get = GetEndpoint { listing_id: &args.listing_id };
        let found = crochet.api.send(&get).await.map_err(with_account_hint)?;
        Ok(about(args.listing_id, found.0))
    }

    /// Set where Crochet forwards paid calls of your listing to.
    #[tool(
        name = "crochet_set_endpoint",
        input_schema = input::<SetEndpointArgs>(),
        output_schema = output::<MyListingView>(),
        annotations(
            title = "Set a Crochet endpoint",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_set_endpoint(
        &self,
        Args(args): Args<SetEndpointArgs>,
    ) -> Result<Reply<MyListingView>, Error> {
        let url = endpoint_url(self.app(), &args.private_endpoint_url)?;
        let extra = checked_extra(args.extra, &[])?;
        let crochet = self.app().crochet().await?;
        let set = SetEndpoint {
            listing_id: &args.listing_id,
            private_endpoint_url: Some(url),
            extra: &extra,
        };
        let set = crochet.api.send(&set).await.map_err(with_account_hint)?;
        Ok(about(args.listing_id, set.0))
    }

    /// Make Crochet send a signed test request to your endpoint. Returns whether it answered.
    #[tool(
        name = "crochet_test_endpoint",
        input_schema = input::<MyListingArgs>(),
        output_schema = output::<MyListingView>(),
        annotations(
            title = "Test a Crochet endpoint",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn crochet_test_endpoint(
        &self,
        Args(args): Args<MyListingArgs>,
    ) -> Result<Reply<MyListingView>, Error> {
        let crochet = self.app().crochet().await?;
        let test = TestEndpoint { listing_id: &args.listing_id };
        let outcome = crochet.api.send(&test).await.map_err(with_account_hint)?;
        let view = DetailsView::of(outcome.0);
        let arguments = json!({ "listing_id": args.listing_id });
        let endpoint = NextCall::new("crochet_get_endpoint", arguments, "shows its settings");
        Ok(Reply::new(MyListingView {
            listing_id: args.listing_id,
            details_untrusted: view.details_untrusted,
        })
        .next(endpoint))
    }

    /// Replace a listing's signing secret; the old one stops working. Stores the new one, does not
    /// show it.
    #[tool(
        name = "crochet_rotate_secret",
        input_schema = input::<MyListingArgs>(),
        output_schema = output::<RotatedView>(),
        annotations(
            title = "Rotate a Crochet signing secret",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn crochet_rotate_secret(
        &self,
        Args(args): Args<MyListingArgs>,
    ) -> Result<Reply<RotatedView>, Error> {
        let view = rotate(self, args.listing_id).await.map_err(with_account_hint)?;
        let arguments = json!({ "listing_id": view.listing_id });
        let why = "shows whether your server knows the new secret";
        Ok(Reply::new(view).next(NextCall::new("crochet_test_endpoint", arguments, why)))
    }

    /// Check that a request your server received is from Crochet: right signature, at most 300 s
    /// old. Works offline. On a mismatch, calibrate once with a genuine test request.
    #[tool(
        name = "crochet_verify_request",
        input_schema = input::<VerifyRequestArgs>(),
        output_schema = output::<VerifyView>(),
        annotations(
            title = "Verify a Crochet request",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn crochet_verify_request(
        &self,
        Args(args): Args<VerifyRequestArgs>,
    ) -> Result<Reply<VerifyView>, Error> {
        verify::verify(self.app(), args).await
    }
}

/// What is known of a listing of ours, and the call that tries it.
fn about(listing_id: ListingId, details: Map<String, Value>) -> Reply<MyListingView> {
    let arguments = json!({ "listing_id": listing_id });
    let test = NextCall::new("crochet_test_endpoint", arguments, "tries the endpoint");
    Reply::new(MyListingView { listing_id, details_untrusted: object(details) }).next(test)
}

async fn rotate(server: &Server, listing_id: ListingId) -> Result<RotatedView, Error> {
    let api = server.app().crochet().await?.api;
    let app = server.app().clone();
    to_the_end(server.app(), async move {
        let again = |error: Error| {
            let arguments = json!({ "listing_id": listing_id });
            let why = "the secret may have been changed; issues one that is kept";
            error.next(NextCall::new("crochet_rotate_secret", arguments, why))
        };
        let rotated = match api.send(&RotateSecret { listing_id: &listing_id }).await {
            Ok(rotated) => rotated.0,
            Err(error) if error.repeat_safe => return Err(error),
            Err(error) => return Err(again(error)),
        };
        let id = rotated.listing_id.unwrap_or_else(|| listing_id.clone());
        let stored = keep_signing(&app, &id, &rotated.signing_secret).await.map_err(again)?;
        Ok(RotatedView { listing_id: id, signing_secret: stored })
    })
    .await
}
