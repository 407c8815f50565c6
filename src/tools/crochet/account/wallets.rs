//! Linking and updating wallets: the owner's own, each proved by its signature.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    WalletChain,
    proof::{How, Prover},
    shown::{DetailsView, checked_extra},
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::WalletId,
    marketplaces::{
        crochet::accounts::{
            Complaint,
            challenges::Purpose,
            wallets::{LinkWallet, UpdateWallet, UpdateWalletOfMine},
        },
        http::Api,
    },
    owner::Owner,
    recovery::NextCall,
    tools::Reply,
};

/// What a wallet can be for.
const CAPABILITIES: &[&str] = &["auth", "recovery", "payment", "payout"];
/// Members that are this server's to send.
const OURS: &[&str] = &["chain", "capabilities", "status", "is_default", "pow_nonce"];

/// Arguments of `crochet_link_wallet`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkWalletArgs {
    /// The wallet to add.
    pub chain: WalletChain,
    /// Of auth, recovery, payment, payout.
    #[serde(default)]
    pub capabilities: Option<Vec<String>>,
    /// Members a recovery asks for.
    #[serde(default)]
    pub extra: Option<Map<String, Value>>,
}

/// Arguments of `crochet_update_wallet`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWalletArgs {
    /// From `crochet_list_wallets`.
    pub wallet_id: WalletId,
    /// Of auth, recovery, payment, payout.
    #[serde(default)]
    pub capabilities: Option<Vec<String>>,
    /// active or inactive.
    #[serde(default)]
    pub status: Option<String>,
    /// Make it the default.
    #[serde(default)]
    pub is_default: Option<bool>,
    /// The wallet that signs.
    #[serde(default)]
    pub chain: WalletChain,
    /// Members a recovery asks for.
    #[serde(default)]
    pub extra: Option<Map<String, Value>>,
}

fn checked_capabilities(capabilities: Option<&[String]>) -> Result<(), Error> {
    let Some(names) = capabilities else { return Ok(()) };
    if names.is_empty() || !names.iter().all(|name| CAPABILITIES.contains(&name.as_str())) {
        let problem = "must be some of auth, recovery, payment, payout";
        return Err(Error::argument("capabilities", problem, "[\"payment\"]"));
    }
    Ok(())
}

/// Links the wallet of a chain, proved by itself and by the owner's other one.
///
/// # Errors
///
/// Those of [`Prover::prove`] and of the operation.
pub(super) async fn link(
    app: &Arc<App>,
    args: LinkWalletArgs,
    owner: &Owner,
) -> Result<Reply<DetailsView>, Error> {
    checked_capabilities(args.capabilities.as_deref())?;
    let extra = checked_extra(args.extra, OURS)?;
    let api = &app.crochet().await?.api;
    if api.key().is_none() {
        return Err(api.not_registered());
    }
    let wallet = &*app.wallet().await?;
    let prover = |chain| Prover { api, wallet, owner, purpose: Purpose::LinkWallet, chain };
    let (added, linked) = (prover(args.chain), prover(args.chain.other()));
    let (mut added_how, mut linked_how) = (How::default(), How::default());
    loop {
        // The linked one first: without it there is nothing to prove.
        let existing = match linked.prove(linked_how).await {
            Ok(existing) => existing,
            Err(refused) => {
                linked_how.learn(refused, linked.chain)?;
                continue;
            }
        };
        let tried = match added.prove(added_how).await {
            Ok(proof) => {
                let operation = LinkWallet {
                    proof,
                    chain: args.chain.name(),
                    existing_wallet_address: existing.wallet_address,
                    existing_nonce: existing.nonce,
                    existing_signature: existing.signature,
                    capabilities: args.capabilities.as_deref(),
                    extra: &extra,
                };
                api.send(&operation).await
            }
            Err(error) => Err(error),
        };
        match tried {
            Ok(linked) => {
                let list = NextCall::new("crochet_list_wallets", json!({}), "shows all wallets");
                return Ok(Reply::new(DetailsView::of(Value::Object(linked.0))).next(list));
            }
            Err(refused) if Complaint::of(&refused) == Some(Complaint::WalletExists) => {
                let why = "shows whether it is linked already";
                return Err(refused.next(NextCall::new("crochet_list_wallets", json!({}), why)));
            }
            Err(refused) => {
                // A refusal does not say which of the two it means; both are EVM or Solana once.
                let mut both = linked_how;
                if both.learn(refused.clone(), linked.chain).is_ok() {
                    linked_how = both;
                    let _ = added_how.learn(refused, added.chain);
                } else {
                    added_how.learn(refused, added.chain)?;
                }
            }
        }
    }
}

/// Changes a linked wallet.
///
/// # Errors
///
/// Those of [`Prover::prove`] and of the operation.
pub(super) async fn update(
    app: &Arc<App>,
    args: UpdateWalletArgs,
    owner: &Owner,
) -> Result<Reply<DetailsView>, Error> {
    checked_capabilities(args.capabilities.as_deref())?;
    if args.status.as_deref().is_some_and(|status| !["active", "inactive"].contains(&status)) {
        return Err(Error::argument("status", "must be active or inactive", "\"active\""));
    }
    let extra = checked_extra(args.extra.clone(), OURS)?;
    let changes = args.capabilities.is_some() || args.status.is_some() || args.is_default.is_some();
    if !changes && extra.is_empty() {
        let problem = "or another change has to be given";
        return Err(Error::argument("capabilities", problem, "[\"payment\"]"));
    }
    let api = &app.crochet().await?.api;
    if api.key().is_none() {
        return Err(api.not_registered());
    }
    let wallet = &*app.wallet().await?;
    let prover = Prover { api, wallet, owner, purpose: Purpose::LinkWallet, chain: args.chain };
    let (mut how, mut of_mine) = (How::default(), false);
    loop {
        match send_update(&prover, how, of_mine, &args, &extra).await {
            Ok(updated) => {
                let list = NextCall::new("crochet_list_wallets", json!({}), "shows all wallets");
                return Ok(Reply::new(DetailsView::of(Value::Object(updated))).next(list));
            }
            // Both routes are documented, this one by the other page.
            Err(refused) if !of_mine && matches!(refused.http_status, Some(404 | 405)) => {
                of_mine = true;
            }
            Err(refused) if refused.is(Code::NotFound) => {
                let why = "shows the wallets and their ids";
                return Err(refused.next(NextCall::new("crochet_list_wallets", json!({}), why)));
            }
            Err(refused) => how.learn(refused, args.chain)?,
        }
    }
}

async fn send_update(
    prover: &Prover<'_>,
    how: How,
    of_mine: bool,
    args: &UpdateWalletArgs,
    extra: &Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let api: &Api = prover.api;
    let update = UpdateWallet {
        wallet_id: &args.wallet_id,
        proof: prover.prove(how).await?,
        capabilities: args.capabilities.as_deref(),
        status: args.status.as_deref(),
        is_default: args.is_default,
        extra,
    };
    let changed =
        if of_mine { api.send(&UpdateWalletOfMine(update)).await } else { api.send(&update).await };
    changed.map(|changed| changed.0)
}
