//! Paying a cart under AP2: one key, one body, byte for byte. Source: protocols/paegents.md §5.3,
//! §5.4, §14.5; x402.md §8.
//!
//! Invariants: the body that goes out is the journal's, its signature made again from the journal's
//! fields; after a lost answer it goes out once more at the most, since AP2 has no look-up and the
//! key makes that the question; what is paid in USDC is over only by the chain's word.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::sending::{
    HORIZON_SECONDS, Sending, Sent, Standing, bound, broken, charged, kept, noted, of_purchase,
    receipt_of, standing, with,
};
use crate::{
    access::Access,
    clock::rfc3339,
    error::{Code, Error},
    ids::{ApprovalRequestId, CartMandateId, IntentMandateId},
    journal::Purchase,
    marketplaces::Marketplace,
    money::Usdc,
    recovery::NextAction,
    spend::{
        Answer, Collected, Fate, Instrument, Known, Payment, Prepared, Receipt, check_call, random,
        resume_call,
    },
    store::payees::{self, Payee},
    wallet::{
        eip712::{Authorization, AuthorizationBounds},
        x402::{Terms, Version},
    },
};

/// How long after it was first sent the same request may go out again: the platform keeps keys for a
/// day, and four hours are left for clocks.
const KEY_SECONDS: i64 = 20 * 3600;
/// How long an authorization holds: an owner at the platform needs time to approve, and the same
/// bytes must be good then. Its nonce makes it usable once however long that is.
const AUTHORIZED_SECONDS: u64 = 3600;
/// How long after its end an authorization is believed to stay unused, in chain time.
const FINALITY_SECONDS: i64 = 60;
/// Stands in the journal's body where the signed header goes.
const HEADER_PLACE: &str = "<payment_header>";

/// How a cart is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CartRail {
    /// By the card that the platform has.
    Card,
    /// By Braintree.
    Braintree,
    /// In USDC, from the wallet.
    Stablecoin,
}

impl CartRail {
    /// The word of the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Braintree => "braintree",
            Self::Stablecoin => "stablecoin",
        }
    }
}

/// What policy and approval bind of a cart, as the body of its purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CartBody {
    /// The tool's own arguments.
    pub arguments: CartArguments,
    /// What the owner is told.
    pub described: String,
    /// Who is paid, for USDC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payee: Option<BoundPayee>,
}

/// As the tool takes them, without the maximum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CartArguments {
    /// The intent.
    pub intent_mandate_id: IntentMandateId,
    /// The cart.
    pub cart_mandate_id: CartMandateId,
    /// The rail.
    pub rail: CartRail,
    /// The platform's name for a means of payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_reference: Option<String>,
    /// The owner's name for who is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payee: Option<String>,
    /// The cart's total.
    pub amount_usd: Usdc,
}

/// One of the owner's payees, as it stood when it was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPayee {
    /// The owner's name.
    pub name: String,
    /// The address.
    pub address: Address,
    /// The chain on which it is meant.
    pub chain_id: u64,
}

impl BoundPayee {
    /// The owner's payee of this name on a chain.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`] where it can be nobody's name; [`Code::PayeeNotAllowed`], with the
    /// owner's command.
    pub async fn named(access: &Access, name: &str, chain_id: u64) -> Result<Self, Error> {
        if !payees::is_name(name) {
            return Err(Error::argument("payee", payees::NAME_RULE, "\"supplier\""));
        }
        let known = access.store().with(|db| payees::all(db)).await?;
        let is_it =
            |payee: &&Payee| payee.name == name && u64::try_from(payee.chain_id) == Ok(chain_id);
        let found = known.iter().find(is_it).and_then(|payee| payee.address.parse().ok());
        let address = found.ok_or_else(|| {
            let message = format!(
                "the owner has no payee of this name on chain {chain_id}; they run: haggle payees \
                 add NAME ADDRESS --chain {chain_id}"
            );
            let own: Vec<&str> = known.iter().map(|payee| payee.name.as_str()).collect();
            let example = own.first().map(|name| format!("\"{name}\""));
            Error::new(Code::PayeeNotAllowed, message).field("payee", example.as_deref()).recovery(
                |r| r.set(NextAction::AskOwner, false, "Only the owner names who may be paid."),
            )
        })?;
        Ok(Self { name: name.to_owned(), address, chain_id })
    }

    /// That the owner's name still means the same.
    ///
    /// # Errors
    ///
    /// As [`Self::named`], and where it means another address by now.
    pub async fn stands(&self, access: &Access) -> Result<(), Error> {
        if Self::named(access, &self.name, self.chain_id).await? == *self {
            return Ok(());
        }
        let message = format!(
            "the owner's payee {} has another address than when this was approved; nothing was \
             signed",
            self.name
        );
        Err(Error::new(Code::PayeeNotAllowed, message).field("payee", None))
    }
}

/// What makes two requests to pay a cart the same purchase.
#[must_use]
pub fn natural_key(cart: &CartMandateId) -> String {
    format!("paegents:cart:{cart}")
}

/// `POST /ap2/pay`, member for member.
#[derive(Serialize)]
struct PayBody<'a> {
    intent_mandate_id: &'a IntentMandateId,
    cart_mandate_id: &'a CartMandateId,
    payment_method: Method<'a>,
}

#[derive(Serialize)]
struct Method<'a> {
    rail: CartRail,
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet_address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Value>,
}

/// Pays carts.
#[derive(Debug)]
pub struct Carts {
    access: Arc<Access>,
}

impl Carts {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        of_purchase(&self.access, purchase).await?;
        let body: CartBody = bound(purchase)?;
        let arguments = &body.arguments;
        let (mut asset, mut chain_id) = ("USD".to_owned(), 0);
        let mut authorization = None;
        let mut network = "";
        let now = self.access.clock().now();
        if let Some(payee) = &body.payee {
            let chain = self.access.chain().await?;
            payee.stands(&self.access).await?;
            let wallet = self.access.wallet().await?.evm_address().ok_or_else(no_wallet)?;
            let balance = chain.usdc_balance(wallet).await?;
            if balance < arguments.amount_usd {
                let message = format!(
                    "the wallet {wallet} has {balance} USDC, and {} are needed",
                    arguments.amount_usd
                );
                return Err(Error::new(Code::InsufficientFunds, message));
            }
            (asset, chain_id) = ("USDC".to_owned(), chain.pins().chain_id);
            network = chain.pins().x402_name;
            let terms = Terms {
                chain_id,
                to: payee.address,
                amount: arguments.amount_usd,
                timeout_seconds: AUTHORIZED_SECONDS,
            };
            let fixed = terms.authorization(Version::One, wallet, fresh_nonce()?, seconds(now));
            authorization = Some(fixed.map_err(|error| refused(&error))?);
        }
        let text = frozen(arguments, body.payee.as_ref(), network);
        let details = json!({
            "cart_mandate_id": arguments.cart_mandate_id,
            "rail": arguments.rail,
            "body": text.ok_or_else(|| broken(purchase))?,
            "authorization": authorization,
            "fixed_at": now,
        });
        Ok(Prepared::Pay(Instrument {
            reference: arguments.cart_mandate_id.to_string(),
            amount: arguments.amount_usd,
            asset,
            chain_id,
            details,
            rerouted: None,
            account: None,
        }))
    }

    /// The body of the journal, its header signed from the journal's fields.
    async fn body(&self, purchase: &Purchase) -> Result<Vec<u8>, Error> {
        let text = noted(purchase, "body").and_then(Value::as_str);
        let text = text.ok_or_else(|| broken(purchase))?;
        let Some(authorization) = authorization_of(purchase) else {
            return Ok(text.as_bytes().to_vec());
        };
        let approved: CartBody = bound(purchase)?;
        let payee = approved.payee.ok_or_else(|| broken(purchase))?;
        let fixed_at = noted(purchase, "fixed_at").and_then(Value::as_i64).unwrap_or(0);
        let bounds = AuthorizationBounds {
            chain_id: self.access.chain().await?.pins().chain_id,
            to: payee.address,
            value_max: purchase.max_total,
            now: seconds(fixed_at),
        };
        let header = self.access.wallet().await?.x402_v1(&authorization, &bounds);
        let header = header.map_err(|error| refused(&error))?;
        Ok(text.replacen(HEADER_PLACE, &header.value, 1).into_bytes())
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let made = async {
            let body = self.body(purchase).await?;
            Ok::<_, Error>((body, of_purchase(&self.access, purchase).await?))
        };
        let is_first = noted(purchase, "sent_again").is_none();
        let (body, paegents) = match made.await {
            Ok((body, _)) if noted(purchase, "body_sha256") != Some(&json!(digest(&body))) => {
                // Written down as another one: this wallet is not the one that began it.
                return unsent(is_first, Code::SigningRefused, "the wallet has changed".to_owned());
            }
            Ok(made) => made,
            Err(error) => return unsent(is_first, error.code, error.to_string()),
        };
        let key = Some(purchase.idempotency_key.as_str());
        let sending = Sending { name: "paegents.ap2_pay", path: "/ap2/pay", key, body };
        match sending.send(&paegents).await {
            Sent::Done(answer) => answered(purchase, answer),
            // The signed header is out: whoever has it can use it until it is over.
            Sent::Refused(_, why, _) if authorization_of(purchase).is_some() => Fate::Unknown(why),
            // The platform's answer to a question about a payment that it may not know any more.
            Sent::Refused(_, why, _) if is_lost(purchase) => Fate::Unknown(why),
            Sent::Refused(code, why, said) => Fate::Refused(code, why, said),
            Sent::Never(code, why) => unsent(is_first, code, why),
            Sent::Open(why) => Fate::Unknown(why),
        }
    }

    /// What the chain says of the authorization; a card has no look-up.
    async fn looked_up(&self, purchase: &Purchase) -> Result<Fate, Error> {
        let Some(authorization) = authorization_of(purchase) else {
            return Ok(Fate::Unknown("AP2 has no look-up".to_owned()));
        };
        let chain = self.access.chain().await?;
        // In this order: a block after the time was read only has a later one.
        let time = chain.time().await?;
        if chain.authorization_used(authorization.from, authorization.nonce).await? {
            return Ok(Fate::Paid);
        }
        if time > until(&authorization).saturating_add(FINALITY_SECONDS) {
            let why = "the authorization ran out, and the chain has not seen it used";
            return Ok(Fate::Dead(Code::Expired, why.to_owned()));
        }
        Ok(Fate::Unknown("the chain has not seen the authorization used".to_owned()))
    }
}

/// The body as it goes out, but for the signed header.
fn frozen(arguments: &CartArguments, payee: Option<&BoundPayee>, network: &str) -> Option<String> {
    let is_coin = payee.is_some();
    let body = PayBody {
        intent_mandate_id: &arguments.intent_mandate_id,
        cart_mandate_id: &arguments.cart_mandate_id,
        payment_method: Method {
            rail: arguments.rail,
            provider: match arguments.rail {
                CartRail::Card => "stripe",
                CartRail::Braintree => "braintree",
                CartRail::Stablecoin => "coinbase",
            },
            payment_reference: arguments.payment_reference.as_deref(),
            wallet_address: payee.map(|payee| payee.address),
            payment_header: is_coin.then_some(HEADER_PLACE),
            extra: is_coin.then(|| json!({ "network": network })),
        },
    };
    serde_json::to_string(&body).ok()
}

/// What a success says.
fn answered(purchase: &Purchase, answer: Map<String, Value>) -> Fate {
    let is_true = |name: &str| answer.get(name) == Some(&Value::Bool(true));
    if is_true("approval_required") {
        let request = answer.get("request_id").and_then(Value::as_str);
        let request = request.and_then(|id| id.parse::<ApprovalRequestId>().ok());
        // Under the key the platform knows the request, so that it may be asked again.
        let members =
            [("approval", json!({ "request_id": request })), ("replayed_at", Value::Null)];
        return Fate::Known(Known { instrument: with(purchase, &members), reference: None });
    }
    let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
    match standing(status, receipt_of(&answer).is_some()) {
        Standing::Paid => {
            // What was charged counts, unless it is said to be less than was to be paid.
            let amount = charged(&answer).filter(|charged| Some(*charged) > purchase.amount);
            Fate::Receipt(Receipt { answer: Some(kept(answer, &[])), amount, reference: None })
        }
        Standing::Failed if authorization_of(purchase).is_none() => {
            let why = "the processor did not make the payment".to_owned();
            Fate::Refused(Code::UpstreamRejected, why, kept(answer, &[]))
        }
        Standing::Failed | Standing::Open => {
            Fate::Unknown("Paegents does not say that it was paid".to_owned())
        }
    }
}

/// Nothing left this machine now; whether anything did before is another matter.
fn unsent(is_first: bool, code: Code, why: String) -> Fate {
    if is_first { Fate::Dead(code, why) } else { Fate::Unknown(why) }
}

/// Whether what was sent last is the question about a lost answer.
fn is_lost(purchase: &Purchase) -> bool {
    noted(purchase, "replayed_at").is_some_and(Value::is_i64)
}

fn authorization_of(purchase: &Purchase) -> Option<Authorization> {
    serde_json::from_value(noted(purchase, "authorization")?.clone()).ok()
}

fn until(authorization: &Authorization) -> i64 {
    i64::try_from(authorization.valid_before).unwrap_or(i64::MAX)
}

/// The request that the platform's owner is asked about, while it waits for them.
fn approval_of(purchase: &Purchase) -> Option<&Value> {
    noted(purchase, "approval").filter(|approval| approval.is_object())
}

/// Whether the same request would still be the same payment at the platform.
fn is_fresh(purchase: &Purchase, now: i64) -> bool {
    let first = purchase.reserved_at.unwrap_or(purchase.created_at);
    let is_good = authorization_of(purchase).is_none_or(|fields| until(&fields) > now);
    now < first.saturating_add(KEY_SECONDS) && is_good
}

fn approval_error(purchase: &Purchase, approval: &Value) -> Error {
    let request = approval.get("request_id").and_then(Value::as_str);
    let named = request.map(|id| format!(" {id}")).unwrap_or_default();
    let until = authorization_of(purchase)
        .map(|fields| format!(", before {}", rfc3339(until(&fields))))
        .unwrap_or_default();
    let message = format!(
        "the agent's owner has to approve the request{named} at Paegents (there, or by `haggle serve \
         --profile owner`){until}; until then {} is not paid",
        purchase.id
    );
    let why = "asks again, the same request under the same key; pays once they have approved";
    Error::new(Code::ApprovalRequired, message).next(resume_call(purchase, why)).recovery(|r| {
        "Paegents' own limits ask the agent's owner. Make the call in `next` after they have agreed."
            .clone_into(&mut r.summary);
    })
}

fn lost_error(purchase: &Purchase) -> Error {
    let id = &purchase.id;
    let message = format!(
        "it is not known whether {} USD were paid for {id}: AP2 has no look-up, and the request may \
         not be sent again",
        purchase.amount.unwrap_or_default()
    );
    Error::new(Code::PaymentUnknown, message).next(check_call(id)).recovery(|r| {
        let summary = format!(
            "Do not pay again. The owner looks at the processor and says it: `haggle purchases \
             resolve {id} --paid`, or `--not-paid`."
        );
        r.set(NextAction::AskOwner, false, summary);
    })
}

fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// A nonce that was never used: 32 random bytes.
pub(super) fn fresh_nonce() -> Result<B256, Error> {
    let halves = [random()?, random()?];
    Ok(B256::from_slice(halves.as_flattened()))
}

pub(super) fn seconds(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0)
}

pub(super) fn no_wallet() -> Error {
    Error::new(Code::InsufficientFunds, "there is no EVM wallet: `haggle keys generate` makes one")
}

pub(super) fn refused(error: &impl std::fmt::Display) -> Error {
    Error::new(Code::SigningRefused, format!("the payment is not signed: {error}"))
        .at(Marketplace::Paegents)
}

impl Payment for Carts {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        async move {
            let body = self.body(purchase).await?;
            Ok(with(purchase, &[("body_sha256", json!(digest(&body)))]))
        }
        .boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        self.looked_up(purchase).boxed()
    }

    fn certain_at(&self, purchase: &Purchase) -> Option<i64> {
        let replay = purchase.updated_at.saturating_add(HORIZON_SECONDS);
        if !is_lost(purchase) && is_fresh(purchase, replay) {
            return Some(replay);
        }
        authorization_of(purchase).map(|fields| until(&fields).saturating_add(FINALITY_SECONDS))
    }

    fn resend(&self, purchase: &Purchase, now: i64) -> Option<Value> {
        if !is_fresh(purchase, now) {
            return None;
        }
        if approval_of(purchase).is_some() {
            // Its answer shows whether it was granted; a lost one is asked about like any other.
            let members = [("approval", Value::Null), ("sent_again", json!(now))];
            return Some(with(purchase, &members));
        }
        let over = now >= purchase.updated_at.saturating_add(HORIZON_SECONDS);
        let members = [("replayed_at", json!(now)), ("sent_again", json!(now))];
        (over && !is_lost(purchase)).then(|| with(purchase, &members))
    }

    fn held_up(&self, purchase: &Purchase, now: i64) -> Option<Error> {
        match approval_of(purchase) {
            Some(approval) if is_fresh(purchase, now) => Some(approval_error(purchase, approval)),
            // The chain tells in time whether it was paid.
            _ if authorization_of(purchase).is_some() => None,
            Some(_) => Some(lost_error(purchase)),
            None if is_lost(purchase) || !is_fresh(purchase, now) => Some(lost_error(purchase)),
            None => None,
        }
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        // Known by the chain, or by the owner's word: there is no receipt to be had.
        let transfer = authorization_of(purchase).map(|fields| fields.nonce);
        let body = json!({ "status": "paid", "authorization_nonce": transfer });
        let answer = Answer { status: 200, body: body.to_string().into_bytes() };
        async move { Ok(Collected::Delivered(answer)) }.boxed()
    }
}
