//! The secrets that webhooks are signed with: kept before they are used, never shown.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    access::secret_names::{
        PAEGENTS_WEBHOOKS, paegents_webhook, paegents_webhook_before, paegents_webhook_to,
    },
    app::App,
    config::Mode,
    error::{Code, Error},
    ids::WebhookId,
    marketplaces::{croo::events::digest, paegents::webhooks::Webhook},
};

/// The bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;

/// The secret that goes out with a new webhook: the owner's, else one that is made here. That one is
/// on disk when this returns, by the address it is for; where an answer was lost before, it is the
/// same one.
pub(super) async fn for_address(app: &App, url: &str) -> Result<SecretString, Error> {
    if let Some(configured) = &app.settings().paegents.webhook_secret {
        return Ok(configured.clone());
    }
    let name = paegents_webhook_to(&digest(url.as_bytes()));
    if let Some(kept) = app.secret(&name).await? {
        return Ok(kept);
    }
    let mut random = zeroize::Zeroizing::new([0_u8; SECRET_BYTES]);
    getrandom::fill(random.as_mut_slice()).map_err(|_| {
        Error::new(Code::Internal, "the operating system gives no random numbers; nothing was sent")
    })?;
    let made = SecretString::from(format!("whsec_{}", hex::encode(random.as_slice())));
    app.keep_secret(&name, &made).await?;
    Ok(made)
}

/// Keeps the secret of a webhook whose identifier is known by now; where it is kept.
pub(super) async fn keep(
    app: &App,
    webhook_id: &WebhookId,
    url: &str,
    secret: &SecretString,
) -> Result<String, Error> {
    let name = paegents_webhook(webhook_id.as_str());
    app.keep_secret(&name, secret).await?;
    app.forget_secret(&paegents_webhook_to(&digest(url.as_bytes()))).await?;
    Ok(named(&name))
}

/// Where a webhook's secret is kept, where one is. One that waits for the webhook's identifier gets
/// it now.
pub(super) async fn of(app: &App, webhook: &Webhook) -> Result<Option<String>, Error> {
    let name = paegents_webhook(webhook.webhook_id.as_str());
    if app.secret(&name).await?.is_some() {
        return Ok(Some(named(&name)));
    }
    let waiting = app.secret(&paegents_webhook_to(&digest(webhook.url.as_bytes()))).await?;
    match waiting {
        Some(secret) => keep(app, &webhook.webhook_id, &webhook.url, &secret).await.map(Some),
        None => Ok(app
            .settings()
            .paegents
            .webhook_secret
            .as_ref()
            .map(|_| "PAEGENTS_WEBHOOK_SECRET, unless it was made with another one".to_owned())),
    }
}

/// Keeps the secret in use as the one before, since both sign for a while.
pub(super) async fn keep_before(app: &App, webhook_id: &WebhookId) -> Result<(), Error> {
    match app.secret(&paegents_webhook(webhook_id.as_str())).await? {
        Some(old) => app.keep_secret(&paegents_webhook_before(webhook_id.as_str()), &old).await,
        None => Ok(()),
    }
}

/// Keeps a secret that has taken the place of another one; where it is kept.
pub(super) async fn replace(
    app: &App,
    webhook_id: &WebhookId,
    secret: &SecretString,
) -> Result<String, Error> {
    let name = paegents_webhook(webhook_id.as_str());
    app.keep_secret(&name, secret).await?;
    Ok(named(&name))
}

/// Removes what is kept of a webhook that is gone.
pub(super) async fn forget(app: &App, webhook_id: &WebhookId) -> Result<(), Error> {
    app.forget_secret(&paegents_webhook(webhook_id.as_str())).await?;
    app.forget_secret(&paegents_webhook_before(webhook_id.as_str())).await
}

/// The secrets that a delivery may be signed with: those of one webhook, or of all; those that wait
/// for an identifier; the owner's; in sandbox mode the sandbox's.
pub(super) async fn known(
    app: &App,
    webhook_id: Option<&WebhookId>,
) -> Result<Vec<SecretString>, Error> {
    let mut names = app.names_of_secrets(PAEGENTS_WEBHOOKS).await?;
    if let Some(id) = webhook_id {
        let own = [paegents_webhook(id.as_str()), paegents_webhook_before(id.as_str())];
        let waiting = paegents_webhook_to("");
        names.retain(|name| own.contains(name) || name.starts_with(&waiting));
    }
    let mut known = Vec::new();
    for name in names {
        known.extend(app.secret(&name).await?);
    }
    known.extend(app.settings().paegents.webhook_secret.clone());
    if matches!(app.settings().mode, Mode::Sandbox { .. })
        && let Ok(venue) = app.venue().await
    {
        known.extend(venue.paegents.webhook_secret.clone());
    }
    // An empty secret would let everybody sign.
    known.retain(|secret| !secret.expose_secret().is_empty());
    Ok(known)
}

fn named(name: &str) -> String {
    format!("stored as {name}")
}
