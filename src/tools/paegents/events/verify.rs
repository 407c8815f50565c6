//! Checking a webhook that the caller's server received.

use serde_json::json;

use super::{ToldView, VerifiedView, VerifyWebhookArgs, secrets};
use crate::{
    app::App,
    config::Mode,
    error::{Code, Error},
    ids::WebhookId,
    marketplaces::{
        Marketplace,
        paegents::{
            events::Told,
            webhooks::{Refused, SKEW_SECONDS_MAX, verify as judge},
        },
    },
    recovery::NextCall,
    store::heard,
    tools::Reply,
};

/// The largest body that is checked, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Checks a webhook. Nothing changes unless it is genuine; then its event is in the inbox and is
/// remembered when this returns.
///
/// # Errors
///
/// [`Code::InvalidArgument`]; [`Code::NotFound`] where no secret is known; where the store fails.
pub(super) async fn verify(
    app: &App,
    args: &VerifyWebhookArgs,
) -> Result<Reply<VerifiedView>, Error> {
    check(args)?;
    let headers = args.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let webhook = args.webhook_id.as_ref();
    match receive(app, webhook, headers, args.body.as_bytes()).await? {
        Received::Genuine { told, is_new } => Ok(heard(&told, is_new)),
        Received::Refused(refused) => Ok(not_taken(refused)),
        Received::NothingKnown => Err(nothing_known(args)),
    }
}

/// What a webhook is.
#[derive(Debug)]
pub enum Received {
    /// Genuine: its event is in the inbox and is remembered.
    Genuine {
        /// What it tells.
        told: Box<Told>,
        /// Whether it was never heard before.
        is_new: bool,
    },
    /// Not genuine, or too old.
    Refused(Refused),
    /// There is no secret to check it with.
    NothingKnown,
}

/// Judges a webhook by the secrets that are known, of this subscription or of all, and keeps what a
/// genuine one tells.
///
/// # Errors
///
/// Where the store fails; then its sender tells it again.
pub async fn receive<'a>(
    app: &App,
    webhook_id: Option<&WebhookId>,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> Result<Received, Error> {
    let known = secrets::known(app, webhook_id).await?;
    if known.is_empty() {
        return Ok(Received::NothingKnown);
    }
    if matches!(app.settings().mode, Mode::Sandbox { .. }) {
        // Its clock can be advanced; where it does not answer, the last known one is used.
        let _ = app.refresh_clock().await;
    }
    let now = app.clock().now();
    let told = match judge(&known, headers, body, now, SKEW_SECONDS_MAX) {
        Ok(told) => told,
        Err(refused) => return Ok(Received::Refused(refused)),
    };
    let own = app.paegents().await.ok().and_then(|paegents| paegents.agent().ok().cloned());
    let is_of_others = told.agent_id.as_ref().is_some_and(|agent| own.as_ref() != Some(agent));
    // Into the inbox first, so that a failure tells it again.
    if !is_of_others {
        app.feed().keep(std::slice::from_ref(&told)).await?;
    }
    let id = told.event_id.to_string();
    let is_new = app.store().transact(move |db| heard::is_new(db, &id, now)).await?;
    Ok(Received::Genuine { told: Box::new(told), is_new })
}

fn check(args: &VerifyWebhookArgs) -> Result<(), Error> {
    if args.body.len() > BODY_BYTES_MAX {
        return Err(Error::argument("body", "must have at most 1 MiB", "\"{}\""));
    }
    let bytes: usize = args.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if args.headers.len() > HEADERS_MAX || bytes > HEADERS_MAX * HEADER_BYTES_MAX {
        let problem = "must be at most 100 of at most 8 KiB";
        return Err(Error::argument("headers", problem, "{\"Paegents-Signature\":\"…\"}"));
    }
    Ok(())
}

/// What is said of a genuine one.
fn heard(told: &Told, is_new: bool) -> Reply<VerifiedView> {
    let view = VerifiedView {
        valid: true,
        reason: None,
        event: Some(ToldView::from(told)),
        repeated: Some(!is_new),
    };
    let reply = Reply::new(view);
    match told.agreement_id() {
        Some(id) => {
            let why = "confirms it, and gives the calls that make sense now";
            reply.next(NextCall::new("paegents_get_agreement", json!({ "agreement_id": id }), why))
        }
        None => reply,
    }
}

fn not_taken(refused: Refused) -> Reply<VerifiedView> {
    let reason = match refused {
        Refused::Stale { .. } => format!("{refused}, more than {SKEW_SECONDS_MAX}"),
        Refused::HeaderMissing
        | Refused::HeaderInvalid
        | Refused::Mismatch
        | Refused::Unreadable => refused.to_string(),
    };
    Reply::new(VerifiedView { valid: false, reason: Some(reason), event: None, repeated: None })
}

fn nothing_known(args: &VerifyWebhookArgs) -> Error {
    let (message, next) = match &args.webhook_id {
        Some(id) => {
            let why = "issues another secret and stores it";
            let about = json!({ "webhook_id": id });
            (
                format!("there is no secret of the webhook {id} here"),
                NextCall::new("paegents_rotate_webhook_secret", about, why),
            )
        }
        None => (
            "there is no webhook secret here".to_owned(),
            NextCall::new("paegents_list_webhooks", json!({}), "shows the webhooks there are"),
        ),
    };
    let field = args.webhook_id.as_ref().map_or("headers", |_| "webhook_id");
    Error::new(Code::NotFound, message).at(Marketplace::Paegents).field(field, None).next(next)
}
