//! Making, changing and ending webhooks.

use std::sync::Arc;

use serde_json::json;

use super::shown::{RotatedView, StateView, WebhookView};
use crate::{
    app::App,
    config::Mode,
    error::{Code, Error},
    ids::{PurchaseId, WebhookId},
    marketplaces::{
        Marketplace,
        crochet::seller::check_endpoint_url,
        paegents::{
            Paegents,
            webhooks::{
                CreateWebhook, DeleteWebhook, ListWebhooks, PauseWebhook, ResumeWebhook,
                RotateSecret, Webhook,
            },
        },
    },
    recovery::{NextAction, NextCall},
    spend::random,
    store::leases::Lease,
    tools::{
        Reply,
        paegents::{
            events::secrets,
            settled::{is_open, undone},
        },
    },
};

const URL_EXAMPLE: &str = "\"https://agent.example/paegents\"";

/// Refuses an address that events may not be sent to; it is in no error, since it can hold a secret.
pub(super) fn check_url(app: &App, url: &str) -> Result<(), Error> {
    let loopback = matches!(app.settings().mode, Mode::Sandbox { .. });
    check_endpoint_url(url, loopback)
        .map_err(|problem| Error::argument("url", problem, URL_EXAMPLE))
}

/// Makes a webhook, unless there is one for the same events at the same address.
pub(super) async fn create(
    app: &Arc<App>,
    url: &str,
    event_types: &[String],
) -> Result<Reply<WebhookView>, Error> {
    let paegents = app.paegents().await?;
    let agent_id = paegents.agent()?;
    let _turn = turn(app, "new").await?;
    let is_same = |webhook: &&Webhook| webhook.url == url && webhook.event_types == event_types;
    let existing = all(&paegents).await?;
    if let Some(webhook) = existing.iter().find(is_same) {
        let secret = secrets::of(app, webhook).await?;
        return Ok(made(webhook, secret));
    }
    let secret = secrets::for_address(app, url).await?;
    let create = CreateWebhook { agent_id, url, secret: &secret, event_types };
    let issued = paegents
        .api
        .send(&create)
        .await
        .map_err(|error| if error.repeat_safe { error } else { error.next(lists()) })?;
    let Some(webhook) = issued.webhook else {
        let message = "Paegents made a webhook and did not say which";
        let error = Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents);
        return Err(error.uncertain_write().next(lists()));
    };
    // Theirs counts where it is another one than was asked for.
    let secret = issued.secret.unwrap_or(secret);
    let stored = secrets::keep(app, &webhook.webhook_id, url, &secret).await.map_err(|error| {
        let why = "the webhook was made and its secret is not kept; issues one that is";
        error.next(rotates(&webhook.webhook_id, why))
    })?;
    Ok(made(&webhook, Some(stored)))
}

fn made(webhook: &Webhook, secret: Option<String>) -> Reply<WebhookView> {
    let is_known = secret.is_some();
    let reply = Reply::new(WebhookView::of(webhook, secret));
    if is_known {
        let why = "sends a test event to every active webhook";
        return reply.next(NextCall::new("paegents_test_webhook", json!({}), why));
    }
    reply.next(rotates(&webhook.webhook_id, "its secret is not known here; issues another one"))
}

/// Issues another secret and keeps it. The one before is kept first, since it signs for a while.
pub(super) async fn rotate(
    app: &Arc<App>,
    webhook_id: &WebhookId,
) -> Result<Reply<RotatedView>, Error> {
    let paegents = app.paegents().await?;
    let agent_id = paegents.agent()?;
    // The secret that is issued last is the one to be kept last.
    let _turn = turn(app, webhook_id.as_str()).await?;
    secrets::keep_before(app, webhook_id).await?;
    let again = |error: Error| {
        error.next(rotates(webhook_id, "the secret may have been changed; issues one that is kept"))
    };
    let issued = match paegents.api.send(&RotateSecret { agent_id, webhook_id }).await {
        Ok(issued) => issued,
        Err(error) if error.is(Code::NotFound) => return Err(error.next(lists())),
        Err(error) if error.repeat_safe => return Err(error),
        Err(error) => return Err(again(error)),
    };
    let Some(secret) = issued.secret else {
        let message = "Paegents changed the secret and did not give the new one";
        let error = Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents);
        return Err(error.recovery(|recovery| {
            let what = "Its owner sets the secret in Paegents' dashboard and as \
                        PAEGENTS_WEBHOOK_SECRET.";
            recovery.set(NextAction::AskOwner, false, what);
        }));
    };
    let signing_secret = secrets::replace(app, webhook_id, &secret).await.map_err(again)?;
    let view = RotatedView { webhook_id: webhook_id.to_string(), signing_secret };
    let why = "shows whether deliveries are taken with the new secret";
    Ok(Reply::new(view).next(NextCall::new("paegents_test_webhook", json!({}), why)))
}

/// Pauses a webhook, or resumes it.
pub(super) async fn pause(
    app: &App,
    webhook_id: &WebhookId,
    paused: bool,
) -> Result<Reply<StateView>, Error> {
    let paegents = app.paegents().await?;
    let agent_id = paegents.agent()?;
    let (sent, status) = if paused {
        (paegents.api.send(&PauseWebhook { agent_id, webhook_id }).await, "paused")
    } else {
        (paegents.api.send(&ResumeWebhook { agent_id, webhook_id }).await, "active")
    };
    let done = || {
        let view = StateView { webhook_id: webhook_id.to_string(), status: status.to_owned() };
        Ok(Reply::new(view))
    };
    let error = match sent {
        Ok(_) => return done(),
        Err(error) if is_open(&error) => error,
        Err(error) => return Err(error.next(lists())),
    };
    match find(&paegents, webhook_id).await {
        Ok(Some(webhook)) if webhook.is_paused() == paused => done(),
        Ok(Some(_)) => Err(undone(&error, "the webhook")),
        Ok(None) | Err(_) => Err(error.next(lists())),
    }
}

/// Deletes a webhook, then its secrets.
pub(super) async fn delete(app: &App, webhook_id: &WebhookId) -> Result<Reply<StateView>, Error> {
    let paegents = app.paegents().await?;
    let agent_id = paegents.agent()?;
    if let Err(error) = paegents.api.send(&DeleteWebhook { agent_id, webhook_id }).await {
        if !is_open(&error) {
            return Err(error.next(lists()));
        }
        match find(&paegents, webhook_id).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(undone(&error, "the webhook")),
            Err(_) => return Err(error.next(lists())),
        }
    }
    secrets::forget(app, webhook_id).await?;
    let view = StateView { webhook_id: webhook_id.to_string(), status: "deleted".to_owned() };
    Ok(Reply::new(view))
}

async fn all(paegents: &Paegents) -> Result<Vec<Webhook>, Error> {
    Ok(paegents.api.send(&ListWebhooks { agent_id: paegents.agent()? }).await?.0)
}

async fn find(paegents: &Paegents, id: &WebhookId) -> Result<Option<Webhook>, Error> {
    Ok(all(paegents).await?.into_iter().find(|webhook| webhook.webhook_id == *id))
}

/// The turn of a webhook, over all processes of the store.
async fn turn(app: &App, webhook: &str) -> Result<Lease, Error> {
    let name = format!("paegents:webhook:{webhook}");
    let holder = PurchaseId::from_random(random()?).to_string();
    Lease::wait(app.store(), &name, &holder).await?.ok_or_else(|| {
        let message = "this webhook is being changed by another call; nothing was sent";
        Error::new(Code::Conflict, message).at(Marketplace::Paegents).recovery(|recovery| {
            recovery.set(NextAction::Retry, true, "Make the same call again.");
            recovery.wait(5);
        })
    })
}

fn lists() -> NextCall {
    NextCall::new("paegents_list_webhooks", json!({}), "shows the webhooks as they are")
}

fn rotates(webhook_id: &WebhookId, why: &str) -> NextCall {
    let about = json!({ "webhook_id": webhook_id });
    NextCall::new("paegents_rotate_webhook_secret", about, why)
}
