//! Recovering a lost key. It ends the agent's old keys, wherever they are used, and comes once: so
//! the owner agrees to it, one process at a time does it, and it runs to its end even if its caller
//! does not.
//!
//! Invariant: a key that was issued earlier never takes the place of one that was issued later.

use std::sync::Arc;

use alloy_primitives::Address;
use serde_json::{Value, json};

use super::RecoveredView;
use crate::{
    access::secret_names,
    app::App,
    asks::{self, Granted},
    error::{Code, Error},
    ids::AskId,
    marketplaces::{
        Marketplace,
        http::{Api, Operation},
        paegents::{
            Paegents,
            recovery::{GetRecoveryChallenge, RecoverCredentials, Recovered},
        },
    },
    owner::Owner,
    recovery::{NextAction, NextCall},
    spend::random,
    store::leases::Lease,
    tools::{Reply, crochet::account::keep::to_the_end},
    wallet::{SignError, Wallet, text::TextRule},
};

/// The tool.
const TOOL: &str = "paegents_recover_credentials";
/// Held by the process that recovers.
const LEASE: &str = "paegents:recovery";

/// Recovers the key of the wallet's agent.
///
/// # Errors
///
/// [`Code::Conflict`] where a configured key would hide the new one, or another process is at it;
/// [`Code::SigningRefused`]; those of [`asks::need`] and of the two operations.
pub(super) async fn recover(app: &Arc<App>, owner: &Owner) -> Result<Reply<RecoveredView>, Error> {
    check_not_configured(app)?;
    let wallet = app.wallet().await?;
    let address = wallet.evm_address().ok_or_else(no_key)?;
    let paegents = app.paegents().await?;
    let holder = AskId::from_random(random()?);
    let lease = Lease::wait(app.store(), LEASE, holder.as_str()).await?.ok_or_else(busy)?;
    // A key that could not be kept must not be issued.
    app.vault_works().await?;
    let before = app.sealed_secret(secret_names::PAEGENTS_KEY).await?;
    let host = paegents.api.base.host_str().unwrap_or_default();
    let described = format!(
        "Get a new key for the Paegents agent of the wallet {address} from {host}. All keys that \
         the agent has now end, here and wherever else they are used. The new one is kept here, \
         sealed; nobody sees it. No money moves."
    );
    let granted = asks::need(app, owner, TOOL, json!({}), described).await?;
    let turn = Turn { app: app.clone(), api: paegents.api, wallet, address, lease, before };
    let issued = to_the_end(app, turn.take(granted)).await?;
    let view = RecoveredView {
        agent_id: issued.agent_id.to_string(),
        api_key: format!("stored as {}", secret_names::PAEGENTS_KEY),
        keys_revoked: issued.keys_revoked,
    };
    let status = NextCall::new("market_status", json!({}), "shows that there is an account");
    Ok(Reply::new(view).next(status))
}

/// One recovery, by the one process that may.
struct Turn {
    app: Arc<App>,
    api: Api,
    wallet: Arc<Wallet>,
    address: Address,
    lease: Lease,
    /// The kept key as it was when it began.
    before: Option<Vec<u8>>,
}

impl Turn {
    async fn take(self, granted: Granted) -> Result<Recovered, Error> {
        let issued = granted.kept(self.issue().await).await?;
        self.keep(&issued).await?;
        Ok(issued)
    }

    /// Proves the wallet and gets the key.
    async fn issue(&self) -> Result<Recovered, Error> {
        let wallet_address = self.address.to_string().to_ascii_lowercase();
        let asked = GetRecoveryChallenge { wallet_address: &wallet_address };
        let challenge = self.api.send(&asked).await.map_err(unknown_wallet)?;
        let host = self.api.base.host_str().unwrap_or_default();
        let rule = TextRule { nonce: challenge.nonce.as_str(), api_host: host };
        let signature =
            self.wallet.sign_text(&challenge.message, &rule).map_err(|error| unsigned(&error))?;
        if self.lease.lost().is_cancelled() {
            return Err(busy());
        }
        let proof = RecoverCredentials {
            wallet_address: &wallet_address,
            nonce: &challenge.nonce,
            issued_at: &challenge.issued_at,
            signature: &signature,
        };
        let issued = self.api.send(&proof).await.map_err(lost)?;
        let is_ours = |found: &String| found.eq_ignore_ascii_case(&wallet_address);
        if issued.wallet_address.as_ref().is_some_and(|found| !is_ours(found)) {
            let message = "Paegents issued a key for another wallet than ours; it was not kept. The \
                           old key of ours may have ended";
            return Err(again(Error::new(Code::UpstreamMalformed, message)));
        }
        Ok(issued)
    }

    /// Keeps the key, unless another was kept since this recovery began and is the later one: then
    /// this one has ended.
    async fn keep(&self, issued: &Recovered) -> Result<(), Error> {
        let secret = issued.kept();
        let name = secret_names::PAEGENTS_KEY;
        let kept = self.app.keep_secret_after(name, &secret, self.before.as_deref()).await;
        if kept.map_err(|error| again(not_kept(&error)))? {
            return Ok(());
        }
        tracing::warn!("two recoveries met; the key that still works is kept");
        match self.is_accepted(issued).await {
            Ok(()) => self.app.keep_secret(name, &secret).await.map_err(|e| again(not_kept(&e))),
            Err(error) if error.is(Code::Unauthorized) => {
                let message = "another recovery came later: its key is kept, and this one's has \
                               ended";
                let status = NextCall::new("market_status", json!({}), "shows the account");
                Err(uncertain(Error::new(Code::Conflict, message)).next(status))
            }
            Err(_) => {
                let message = "another recovery was under way, and it is not known which key is the \
                               later one; the other's is kept";
                Err(again(Error::new(Code::Conflict, message)))
            }
        }
    }

    async fn is_accepted(&self, issued: &Recovered) -> Result<(), Error> {
        let client = self.app.http().client()?.clone();
        let agent = Some((issued.agent_id.clone(), issued.api_key.clone()));
        let paegents = Paegents::new(client, self.api.base.as_str(), agent, None)?;
        paegents.api.send(&ProbeKey { agent: issued.agent_id.as_str() }).await.map(|_| ())
    }
}

/// Whether a key works, by the cheapest call that takes one: `GET /mcp/balance/{agent}`.
#[derive(Debug, serde::Serialize)]
struct ProbeKey<'a> {
    #[serde(skip)]
    agent: &'a str,
}

impl Operation for ProbeKey<'_> {
    const NAME: &'static str = "paegents.check_balance";
    const METHOD: reqwest::Method = reqwest::Method::GET;
    const EFFECT: crate::marketplaces::http::Effect = crate::marketplaces::http::Effect::Read;
    type Output = Value;

    fn path(&self) -> String {
        format!("/mcp/balance/{}", self.agent)
    }
}

/// Whether a configured key would hide a new one: nothing is sent for then.
fn check_not_configured(app: &App) -> Result<(), Error> {
    if app.settings().paegents.api_key.is_none() {
        return Ok(());
    }
    let message = "PAEGENTS_API_KEY is configured and goes before a new key; nothing was sent";
    Err(at_paegents(Code::Conflict, message).recovery(|recovery| {
        let what = "The owner removes PAEGENTS_API_KEY from the environment first.";
        recovery.set(NextAction::AskOwner, false, what);
    }))
}

fn at_paegents(code: Code, message: impl Into<String>) -> Error {
    Error::new(code, message).at(Marketplace::Paegents)
}

fn busy() -> Error {
    let message = "another process recovers this key; nothing was sent";
    at_paegents(Code::Conflict, message).recovery(|recovery| {
        recovery.set(NextAction::Retry, true, "Make the same call again, if it is still needed.");
        recovery.wait(30);
    })
}

fn no_key() -> Error {
    let message = "the wallet has no EVM key, which recovery needs; nothing was sent";
    at_paegents(Code::SigningRefused, message).recovery(|recovery| {
        let what = "The owner adds the key of the agent's wallet: `haggle keys import`.";
        recovery.set(NextAction::AskOwner, false, what);
    })
}

fn unsigned(error: &SignError) -> Error {
    match error {
        SignError::NoKey { .. } => no_key(),
        SignError::Refused(_) | SignError::Field(_) | SignError::Failed { .. } => at_paegents(
            Code::SigningRefused,
            format!("Paegents' challenge was not signed: {error}; nothing was changed"),
        ),
    }
}

fn unknown_wallet(error: Error) -> Error {
    if !error.is(Code::NotFound) {
        return error;
    }
    error.recovery(|recovery| {
        let what = "No agent at Paegents has this wallet: the owner makes one in its dashboard.";
        recovery.set(NextAction::AskOwner, false, what);
    })
}

/// What a failed recovery means. After a lost answer the old key may be dead and the new one is with
/// nobody.
fn lost(error: Error) -> Error {
    if error.repeat_safe {
        return error;
    }
    let message = format!(
        "{error}: the old key may have ended, and a new one may have been issued that nobody has"
    );
    let lost =
        at_paegents(error.code, message).upstream(error.http_status, error.upstream_code.clone());
    again(lost)
}

fn not_kept(error: &Error) -> Error {
    let message =
        format!("a new key was issued and could not be kept; the old one has ended ({error})");
    at_paegents(error.code, message)
}

fn uncertain(error: Error) -> Error {
    let mut error = error.at(Marketplace::Paegents);
    error.not_repeat_safe();
    error
}

/// With another recovery as what helps: it issues another key, whatever became of this one.
fn again(error: Error) -> Error {
    let why = "issues another key, whatever became of this one; the owner agrees to it again";
    uncertain(error).next(NextCall::new(TOOL, json!({}), why)).recovery(|recovery| {
        let what = "Recover again. The old key works where nothing was issued.";
        recovery.set(NextAction::AskOwner, false, what);
    })
}
