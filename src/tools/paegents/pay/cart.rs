//! Paying a cart: what is known of it goes to the gate, which pays it once.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{PayMandateArgs, printable, within};
use crate::{
    app::App,
    error::{Code, Error},
    journal::{Purchase, Rail},
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            agreements::cents,
            carts::{BoundPayee, CartArguments, CartBody, CartRail, natural_key},
            fee::whole_cents,
        },
    },
    money::Usdc,
    owner::{Outcome, Owner},
    recovery::NextCall,
    spend::{PlanRequest, Repeat, is_begun},
    store::mandates,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, clean_json},
    tools::{Reply, market::purchases::PurchaseView, paegents::reading::purchase_of},
};

/// The longest name of a means of payment.
const REFERENCE_CHARS_MAX: usize = 120;

/// A cart that was paid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PayView {
    /// The processor's word for how it stands.
    pub status: String,
    /// For `paegents_verify_receipt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_id: Option<String>,
    /// What the receipt says was charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_usd: Option<Usdc>,
    /// Only where the receipt says another amount than was to be paid: tell the owner.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub amount_differs: bool,
    /// What came with it.
    pub result_untrusted: Value,
    /// The payment.
    pub purchase: PurchaseView,
}

/// Pays a cart, or goes on with its payment wherever that stands.
///
/// # Errors
///
/// Whatever stops it, with whether money moved.
pub(super) async fn pay(
    app: &App,
    owner: &Owner,
    args: PayMandateArgs,
) -> Result<Outcome<Reply<PayView>>, Error> {
    let key = natural_key(&args.cart_mandate_id);
    let known = purchase_of(app, owner, &key).await?;
    let outcome = if let Some(begun) = known.filter(|purchase| is_begun(purchase.state)) {
        // A sandbox that is gone is told by what follows, with what is known of the money.
        let _ = app.refresh_clock().await;
        app.spending().resume(owner, &begun.id).await?
    } else {
        app.refresh_clock().await?;
        let request = planned(app, owner, args, key).await?;
        app.spending().pay(owner, request).await?
    };
    match outcome {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(&purchase))),
    }
}

async fn planned(
    app: &App,
    owner: &Owner,
    args: PayMandateArgs,
    natural_key: String,
) -> Result<PlanRequest, Error> {
    whole_cents("amount_usd", args.amount_usd)?;
    if let Some(reference) = &args.payment_reference {
        printable("payment_reference", reference, REFERENCE_CHARS_MAX, "\"pm_1\"")?;
    }
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let (payee, chain_id) = payee_of(app, &args).await?;
    hold_against_the_cart(app, owner, &args).await?;
    within("the cart", args.amount_usd, args.max_total_usd)?;
    let (intent, cart) = (&args.intent_mandate_id, &args.cart_mandate_id);
    let by = match &payee {
        Some(payee) => format!(
            "in USDC from the wallet to the owner's payee {} ({})",
            payee.name, payee.address
        ),
        None => format!("by {} through Paegents", args.rail.word()),
    };
    let described =
        format!("the cart {cart} of {} USD under the intent {intent}, {by}", args.amount_usd);
    let seller_id = match &payee {
        Some(payee) => payee.address.to_checksum(None),
        // Whom a card pays is not said before: what the owner has agreed to is the intent.
        None => intent.to_string(),
    };
    let (item_id, price, max_total) = (cart.to_string(), args.amount_usd, args.max_total_usd);
    let body = CartBody {
        described,
        payee: payee.clone(),
        arguments: CartArguments {
            intent_mandate_id: args.intent_mandate_id,
            cart_mandate_id: args.cart_mandate_id,
            rail: args.rail,
            payment_reference: args.payment_reference,
            payee: args.payee,
            amount_usd: args.amount_usd,
        },
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(PlanRequest {
        marketplace: Marketplace::Paegents,
        rail: Rail::PaegentsMandate,
        natural_key,
        repeat: Repeat::Never,
        seller_id,
        seller_name: payee.as_ref().map(|payee| payee.name.clone()).unwrap_or_default(),
        item_id,
        item_name: String::new(),
        body_digest: hex::encode(Sha256::digest(&body)),
        body,
        route: String::new(),
        origin: paegents.api.base.to_string(),
        asset: if payee.is_some() { "USDC" } else { "USD" }.to_owned(),
        chain_id,
        price,
        max_total,
        fund: None,
    })
}

/// What a cart costs is what it was made with: nobody has to be believed about it.
async fn hold_against_the_cart(
    app: &App,
    owner: &Owner,
    args: &PayMandateArgs,
) -> Result<(), Error> {
    let (who, id) = (owner.principal.clone(), args.cart_mandate_id.to_string());
    let known = app.store().with(move |db| mandates::cart(db, &who, &id)).await?;
    let cart = &args.cart_mandate_id;
    let Some(known) = known else {
        let message = format!(
            "the cart {cart} was not made from here, so that nobody knows what it costs; make it \
             with paegents_create_cart_mandate"
        );
        let make = json!({
            "intent_mandate_id": args.intent_mandate_id,
            "total_usd": args.amount_usd,
        });
        let call = NextCall::new("paegents_create_cart_mandate", make, "makes one like it");
        let error = Error::new(Code::NotFound, message).at(Marketplace::Paegents);
        return Err(error.field("cart_mandate_id", None).next(call));
    };
    if known.intent_id.as_deref() != Some(args.intent_mandate_id.as_str()) {
        let own = known.intent_id.unwrap_or_default();
        let problem = format!("is not the intent of the cart {cart}");
        return Err(Error::argument("intent_mandate_id", problem, &format!("\"{own}\"")));
    }
    if known.total != args.amount_usd {
        let problem = format!("is {}, and the cart {cart} costs {}", args.amount_usd, known.total);
        return Err(Error::argument("amount_usd", problem, &format!("\"{}\"", known.total)));
    }
    Ok(())
}

/// Who is paid in USDC: one of the owner's payees, and only for that rail.
async fn payee_of(app: &App, args: &PayMandateArgs) -> Result<(Option<BoundPayee>, u64), Error> {
    match (args.rail, &args.payee) {
        (CartRail::Stablecoin, Some(name)) => {
            let chain_id = app.chain().await?.pins().chain_id;
            let payee = BoundPayee::named(app, name, chain_id).await?;
            Ok((Some(payee), chain_id))
        }
        (CartRail::Stablecoin, None) => {
            let problem = "is required for stablecoin: the owner's name for who is paid";
            Err(Error::argument("payee", problem, "\"supplier\""))
        }
        (CartRail::Card | CartRail::Braintree, None) => Ok((None, 0)),
        (CartRail::Card | CartRail::Braintree, Some(_)) => {
            Err(Error::argument("payee", "is for stablecoin alone; leave it out", "nothing"))
        }
    }
}

fn shown(purchase: &Purchase) -> Reply<PayView> {
    let body = purchase.answer.as_deref().unwrap_or_default();
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let receipt = |name: &str| answer.pointer(&format!("/receipt/{name}"));
    let charged = receipt("amount").and_then(Value::as_u64).and_then(cents);
    let stated = serde_json::from_slice::<CartBody>(&purchase.body);
    let stated = stated.ok().map(|body| body.arguments.amount_usd);
    let receipt_id = receipt("receipt_id").and_then(Value::as_str);
    let receipt_id = receipt_id.map(|id| clean(id, NAME_CHARS_MAX));
    let view = PayView {
        status: word(answer.get("status").and_then(Value::as_str).unwrap_or("paid")).to_owned(),
        charged_usd: charged,
        amount_differs: charged.is_some() && charged != stated,
        result_untrusted: clean_json(answer.clone(), TEXT_CHARS_MAX),
        purchase: PurchaseView::from(purchase),
        receipt_id: receipt_id.clone(),
    };
    let reply = Reply::new(view);
    match receipt_id {
        Some(id) => reply.next(NextCall::new(
            "paegents_verify_receipt",
            json!({ "receipt_id": id }),
            "asks whether Paegents stands by the receipt",
        )),
        None => reply,
    }
}
