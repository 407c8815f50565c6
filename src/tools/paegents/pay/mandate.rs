//! Making mandates. Neither moves money, but a second one of the same could be paid as well: so the
//! same request within a while goes under the same key.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CreateCartArgs, CreateIntentArgs, SigningDigestArgs};
use crate::{
    app::App,
    clock::rfc3339,
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        lenient::{instant, word},
        paegents::{
            carts::BoundPayee,
            fee::whole_cents,
            mandates::{CreateCart, CreateIntent, GetSigningDigest},
        },
    },
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    spend::random,
    store::mandates::{self, Asked, Kind},
    text::{TEXT_CHARS_MAX, clean_json},
    tools::{
        Reply,
        paegents::free::{check_items, check_json},
    },
};

/// How long after it was asked for a mandate counts as the same one, in seconds.
const SAME_SECONDS: i64 = 600;

/// An intent mandate.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IntentView {
    /// For `paegents_create_cart_mandate`.
    pub intent_mandate_id: String,
    /// Where it stands.
    pub status: String,
    /// The most that may be spent under it.
    pub max_amount_usd: Usdc,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A cart mandate.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CartView {
    /// For `paegents_pay_mandate`.
    pub cart_mandate_id: String,
    /// Its intent.
    pub intent_mandate_id: String,
    /// Where it stands.
    pub status: String,
    /// What it costs.
    pub total_usd: Usdc,
}

/// A digest that nobody signs here.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DigestView {
    /// 32 bytes, hex.
    pub digest: String,
    /// Always false: nothing is signed that was not read.
    pub signed: bool,
    /// Whom it pays.
    pub destination_wallet: String,
    /// What Paegents says it is made of.
    pub details_untrusted: Value,
}

/// Makes an intent mandate.
///
/// # Errors
///
/// [`Code::InvalidArgument`]; as sending an operation.
pub(super) async fn intend(
    app: &App,
    owner: &Owner,
    args: CreateIntentArgs,
) -> Result<Reply<IntentView>, Error> {
    let cents = whole_cents("max_amount_usd", args.max_amount_usd)?;
    let constraints = args.constraints.map(Value::Object);
    if let Some(constraints) = &constraints {
        check_json("constraints", constraints)?;
    }
    app.refresh_clock().await?;
    let expires_at = args.expires_at.map(|text| read_time(app, &text)).transpose()?;
    let paegents = app.paegents().await?;
    let agent_id = paegents.agent()?;
    let policy = json!({ "max_amount": { "value": cents }, "currency": "usd" });
    let of = json!([agent_id, policy, constraints, expires_at]);
    let asked = Asked {
        key: fresh_key()?,
        principal: owner.principal.clone(),
        kind: Kind::Intent,
        digest: hex::encode(Sha256::digest(of.to_string())),
        amount: args.max_amount_usd,
        intent_id: None,
    };
    let key = begun(app, asked, args.again == Some(true)).await?;
    let request = CreateIntent {
        key: &key,
        agent_id,
        policy,
        constraints: constraints.as_ref(),
        expires_at: expires_at.map(rfc3339),
    };
    let made = paegents.api.send(&request).await.map_err(same_call)?.intent_mandate;
    let id = made.id.to_string();
    kept(app, &key, &id).await?;
    let cart = json!({ "intent_mandate_id": id, "total_usd": args.max_amount_usd });
    let why = "makes a cart under it; put its own total in";
    let view = IntentView {
        intent_mandate_id: id,
        status: word(&made.status).to_owned(),
        max_amount_usd: args.max_amount_usd,
        expires_at: expires_at.map(rfc3339),
    };
    Ok(Reply::new(view).next(NextCall::new("paegents_create_cart_mandate", cart, why)))
}

/// Makes a cart mandate.
///
/// # Errors
///
/// As [`intend`].
pub(super) async fn fill(
    app: &App,
    owner: &Owner,
    args: CreateCartArgs,
) -> Result<Reply<CartView>, Error> {
    let cents = whole_cents("total_usd", args.total_usd)?;
    let mut cart = json!({ "total": cents, "currency": "usd" });
    if let (Some(items), Some(members)) = (args.items, cart.as_object_mut()) {
        check_items("items", &items)?;
        members.insert("items".to_owned(), json!(items));
    }
    app.refresh_clock().await?;
    let paegents = app.paegents().await?;
    let of = json!([paegents.agent()?, args.intent_mandate_id, cart]);
    let asked = Asked {
        key: fresh_key()?,
        principal: owner.principal.clone(),
        kind: Kind::Cart,
        digest: hex::encode(Sha256::digest(of.to_string())),
        amount: args.total_usd,
        intent_id: Some(args.intent_mandate_id.to_string()),
    };
    let key = begun(app, asked, args.again == Some(true)).await?;
    let request = CreateCart { key: &key, intent_mandate_id: &args.intent_mandate_id, cart };
    let made = paegents.api.send(&request).await.map_err(same_call)?.cart_mandate;
    let id = made.id.to_string();
    kept(app, &key, &id).await?;
    let pay = json!({
        "intent_mandate_id": args.intent_mandate_id,
        "cart_mandate_id": id,
        "rail": "card",
        "amount_usd": args.total_usd,
        "max_total_usd": args.total_usd,
    });
    let view = CartView {
        cart_mandate_id: id,
        intent_mandate_id: args.intent_mandate_id.to_string(),
        status: word(&made.status).to_owned(),
        total_usd: args.total_usd,
    };
    Ok(Reply::new(view).next(NextCall::new("paegents_pay_mandate", pay, "pays it")))
}

/// Shows the digest of a cart's payment.
///
/// # Errors
///
/// [`Code::PayeeNotAllowed`]; as sending an operation; [`Code::UpstreamMalformed`] where it is none.
pub(super) async fn digest(app: &App, args: SigningDigestArgs) -> Result<Reply<DigestView>, Error> {
    let chain_id = app.chain().await?.pins().chain_id;
    let payee = BoundPayee::named(app, &args.payee, chain_id).await?;
    let paegents = app.paegents().await?;
    let destination_wallet = payee.address.to_checksum(None);
    let ask = GetSigningDigest {
        intent_mandate_id: &args.intent_mandate_id,
        cart_mandate_id: &args.cart_mandate_id,
        destination_wallet: destination_wallet.clone(),
    };
    let mut details = paegents.api.send(&ask).await?;
    let members = details.as_object_mut();
    let digest = members.and_then(|members| members.remove("digest")).unwrap_or_default();
    let digest = digest.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let message = "Paegents gave no digest of 32 bytes";
        Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents).field("digest", None)
    });
    let digest: alloy_primitives::B256 = digest?;
    Ok(Reply::new(DigestView {
        digest: digest.to_string(),
        signed: false,
        destination_wallet,
        details_untrusted: clean_json(details, TEXT_CHARS_MAX),
    }))
}

fn read_time(app: &App, text: &str) -> Result<i64, Error> {
    let example = format!("\"{}\"", rfc3339(app.clock().now() + 24 * 3600));
    let at = instant(text).filter(|_| text.contains('T'));
    let at = at.ok_or_else(|| Error::argument("expires_at", "must be a time", &example))?;
    if at > app.clock().now() {
        return Ok(at);
    }
    Err(Error::argument("expires_at", "must be in the future", &example))
}

fn fresh_key() -> Result<String, Error> {
    Ok(format!("haggle-{}", bs58::encode(random()?).into_string()))
}

/// The key to ask under, which is on disk when this returns.
async fn begun(app: &App, asked: Asked, again: bool) -> Result<String, Error> {
    let now = app.clock().now();
    let since = if again { i64::MAX } else { now - SAME_SECONDS };
    app.store().transact(move |db| mandates::begin(db, &asked, since, now)).await
}

async fn kept(app: &App, key: &str, id: &str) -> Result<(), Error> {
    let (key, id) = (key.to_owned(), id.to_owned());
    app.store().transact(move |db| mandates::made(db, &key, &id)).await
}

/// The same call goes under the same key, so that it makes no second one.
fn same_call(mut error: Error) -> Error {
    if error.repeat_safe {
        return error;
    }
    error = error.recovery(|recovery| {
        let summary = "It may have been made. The same call gives that one, not a second; it moves \
                       no money.";
        recovery.set(crate::recovery::NextAction::Retry, true, summary);
        recovery.wait(5);
    });
    error.set_repeat_safe();
    error
}
