//! Checking a webhook that the caller's server received.

use serde_json::json;

use super::{ToldView, VerifiedView, VerifyWebhookArgs, secrets};
use crate::{
    app::App,
    config::Mode,
    error::{Code, Error},
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
    let known = secrets::known(app, args.webhook_id.as_ref()).await?;
    if known.is_empty() {
        return Err(nothing_known(args));
    }
    if matches!(app.settings().mode, Mode::Sandbox { .. }) {
        // Its clock can be advanced; where it does not answer, the last known one is used.
        let _ = app.refresh_clock().await;
    }
    let headers = args.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let now = app.clock().now();
    match judge(&known, headers, args.body.as_bytes(), now, SKEW_SECONDS_MAX) {
        Ok(told) => heard(app, &told, now).await,
        Err(refused) => Ok(not_taken(refused)),
    }
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

/// A genuine one: into the inbox first, so that a failure tells it again.
async fn heard(app: &App, told: &Told, now: i64) -> Result<Reply<VerifiedView>, Error> {
    let own = app.paegents().await.ok().and_then(|paegents| paegents.agent().ok().cloned());
    let is_of_others = told.agent_id.as_ref().is_some_and(|agent| own.as_ref() != Some(agent));
    if !is_of_others {
        app.feed().keep(std::slice::from_ref(told)).await?;
    }
    let id = told.event_id.to_string();
    let is_new = app.store().transact(move |db| heard::is_new(db, &id, now)).await?;
    let view = VerifiedView {
        valid: true,
        reason: None,
        event: Some(ToldView::from(told)),
        repeated: Some(!is_new),
    };
    let reply = Reply::new(view);
    Ok(match told.agreement_id() {
        Some(id) => {
            let why = "confirms it, and gives the calls that make sense now";
            reply.next(NextCall::new("paegents_get_agreement", json!({ "agreement_id": id }), why))
        }
        None => reply,
    })
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
