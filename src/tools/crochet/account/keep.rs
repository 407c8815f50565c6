//! Receiving what is given once: it is sent for, and on disk, in a task of its own, so that a caller
//! who goes away loses no key.

use std::{future::Future, sync::Arc};

use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    access::secret_names,
    app::App,
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        crochet::accounts::Issued,
        http::{Api, Operation},
    },
    recovery::NextCall,
};

/// Runs to its end even if its caller does not.
///
/// # Errors
///
/// The work's, and [`Code::Internal`] where it broke.
pub(crate) async fn to_the_end<T: Send + 'static>(
    app: &App,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let broken = |_| Error::new(Code::Internal, "receiving the answer broke off");
    app.tasks().spawn(work).await.map_err(broken)?
}

/// Sends an operation that issues the account's key, and keeps the key as the one in use.
///
/// # Errors
///
/// Those of [`Api::send`]. After a lost answer, or where the key cannot be kept, the next call is a
/// recovery: it issues another key.
pub(crate) async fn account_key<O>(app: &Arc<App>, api: &Api, operation: O) -> Result<Issued, Error>
where
    O: Operation<Output = crate::marketplaces::crochet::Enveloped<Issued>> + Send + 'static,
{
    let (keeper, api) = (app.clone(), api.clone());
    to_the_end(app, async move {
        let issued = api.send(&operation).await.map_err(recoverable)?.0;
        let kept = keeper.keep_secret(secret_names::CROCHET_KEY, &issued.authorization).await;
        kept.map_err(recover_after)?;
        Ok(issued)
    })
    .await
}

/// With recovery as the next call, where a key may have been issued that nobody has.
fn recoverable(error: Error) -> Error {
    if error.repeat_safe { error } else { recover_after(error) }
}

fn recover_after(error: Error) -> Error {
    let why = "issues another key, whether or not the account was made";
    error.next(NextCall::new("crochet_recover_account", json!({}), why))
}

/// Whether a configured key would hide a new one: nothing is sent for then.
///
/// # Errors
///
/// [`Code::Conflict`].
pub(crate) fn check_not_configured(app: &App) -> Result<(), Error> {
    if app.settings().crochet.api_key.is_none() {
        return Ok(());
    }
    let message = "CROCHET_API_KEY is configured and goes before a new key; nothing was sent";
    Err(Error::new(Code::Conflict, message).at(Marketplace::Crochet).recovery(|recovery| {
        let what = "The owner removes CROCHET_API_KEY from the configuration first.";
        recovery.set(crate::recovery::NextAction::AskOwner, false, what);
    }))
}

/// The API with this key.
pub(crate) fn with_key(api: &Api, authorization: &SecretString) -> Api {
    Api { keys: vec![(AUTHORIZATION, authorization.clone())], ..api.clone() }
}

/// Whether two keys are the same.
pub(crate) fn authorization_of(api: &Api) -> &str {
    api.key().map(ExposeSecret::expose_secret).unwrap_or_default()
}
