//! Registering, recovering, and the profile.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    WalletChain,
    keep::{account_key, check_not_configured, with_key},
    proof::{How, Prover},
    shown::{Extra, checked_extra, checked_text, object},
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::AgentId,
    marketplaces::{
        Marketplace,
        crochet::accounts::{Complaint, Issued, Me, Proof, Recover, Register, challenges::Purpose},
        http::Api,
    },
    owner::Owner,
    recovery::NextCall,
    tools::Reply,
};

/// The name of an account that is given none.
const DISPLAY_NAME: &str = "Haggle agent";
const DISPLAY_NAME_CHARS_MAX: usize = 80;

/// Arguments of `crochet_register`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterArgs {
    /// What others see.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Which wallet.
    #[serde(default)]
    pub chain: WalletChain,
    /// Although there is a key.
    #[serde(default)]
    pub again: bool,
    /// Members a recovery asks for.
    #[serde(default)]
    pub extra: Option<Map<String, Value>>,
}

/// Arguments of `crochet_recover_account`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverArgs {
    /// Which wallet.
    #[serde(default)]
    pub chain: WalletChain,
}

/// An account.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AccountView {
    /// For `crochet_get_score`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Whether the wallet had an account already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Where a new key is stored; it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<&'static str>,
    /// The profile, in Crochet's words.
    pub profile_untrusted: Map<String, Value>,
}

/// The profile that a key belongs to.
///
/// # Errors
///
/// As [`Api::send`].
pub(super) async fn profile(api: &Api) -> Result<AccountView, Error> {
    let me = api.send(&Me {}).await?.0;
    let id = ["id", "agent_id"].iter().find_map(|name| me.get(*name)?.as_str()?.parse().ok());
    Ok(AccountView { agent_id: id, recovered: None, api_key: None, profile_untrusted: object(me) })
}

/// The call that begins a purchase.
pub(super) fn search() -> NextCall {
    NextCall::new("market_search", json!({}), "shows what can be bought")
}

/// Registers a wallet; one that has an account is recovered.
///
/// # Errors
///
/// Those of [`Prover::prove`] and of the two operations.
pub(super) async fn register(
    app: &Arc<App>,
    args: RegisterArgs,
    owner: &Owner,
) -> Result<Reply<AccountView>, Error> {
    let name = args.display_name.as_deref().unwrap_or(DISPLAY_NAME);
    let name = checked_text("display_name", name, DISPLAY_NAME_CHARS_MAX, "\"My agent\"")?;
    let ours = ["display_name", "pow_nonce"];
    let extra = checked_extra(args.extra as Extra, &ours)?;
    check_not_configured(app)?;
    let api = app.crochet().await?.api;
    if api.key().is_some() && !args.again {
        let message = "there is a key for Crochet already; nothing was sent";
        let why = "shows whether it works, and whose it is";
        return Err(Error::new(Code::Conflict, message)
            .at(Marketplace::Crochet)
            .next(NextCall::new("crochet_get_profile", json!({}), why)));
    }
    let wallet = app.wallet().await?;
    let prover =
        Prover { api: &api, wallet: &wallet, owner, purpose: Purpose::Register, chain: args.chain };
    let mut how = How::default();
    loop {
        let tried = match prover.prove(how).await {
            Ok(proof) => {
                let (display_name, extra) = (name.to_owned(), extra.clone());
                account_key(app, &api, Register { proof, display_name, extra }).await
            }
            Err(error) => Err(error),
        };
        match tried {
            Ok(issued) => return finish(&api, &issued, false).await,
            Err(refused) if Complaint::of(&refused) == Some(Complaint::WalletExists) => {
                let issued = recover_key(app, &api, owner, args.chain).await?;
                return finish(&api, &issued, true).await;
            }
            Err(refused) => how.learn(refused, args.chain)?,
        }
    }
}

/// Gets a new key for a wallet's account.
///
/// # Errors
///
/// Those of [`Prover::prove`] and of the operation.
pub(super) async fn recover(
    app: &Arc<App>,
    args: RecoverArgs,
    owner: &Owner,
) -> Result<Reply<AccountView>, Error> {
    check_not_configured(app)?;
    let api = app.crochet().await?.api;
    let issued = recover_key(app, &api, owner, args.chain).await?;
    finish(&api, &issued, true).await
}

async fn recover_key(
    app: &Arc<App>,
    api: &Api,
    owner: &Owner,
    chain: WalletChain,
) -> Result<Issued, Error> {
    let wallet = app.wallet().await?;
    let prover = Prover { api, wallet: &wallet, owner, purpose: Purpose::Recover, chain };
    let mut how = How::default();
    loop {
        let tried = match prover.prove(how).await {
            Ok(proof) => send_recovery(app, api, proof, chain).await,
            Err(error) => Err(error),
        };
        match tried {
            Ok(issued) => return Ok(issued),
            Err(refused) => how.learn(refused, chain)?,
        }
    }
}

async fn send_recovery(
    app: &Arc<App>,
    api: &Api,
    proof: Proof,
    chain: WalletChain,
) -> Result<Issued, Error> {
    account_key(app, api, Recover { proof }).await.map_err(|error| {
        if !error.is(Code::NotFound) {
            return error;
        }
        let why = "this wallet has no account yet; registers it";
        let arguments = json!({ "chain": chain, "again": true });
        error.next(NextCall::new("crochet_register", arguments, why))
    })
}

/// Asks who the new key belongs to. The key is stored already.
async fn finish(api: &Api, issued: &Issued, recovered: bool) -> Result<Reply<AccountView>, Error> {
    let view = profile(&with_key(api, &issued.authorization)).await.map_err(|error| {
        let why = "the new key is stored; shows whether it works";
        error.next(NextCall::new("crochet_get_profile", json!({}), why))
    })?;
    let view = AccountView {
        recovered: Some(recovered),
        api_key: Some("stored as crochet.authorization"),
        ..view
    };
    let profile = NextCall::new("crochet_get_profile", json!({}), "shows the profile again");
    Ok(Reply::new(view).next(search()).next(profile))
}
