//! Buying without an escrow: what is known of it goes to the gate, which pays it once.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{BuyDirectArgs, begun_or, printable, within};
use crate::{
    app::App,
    error::{Code, Error},
    ids::AgreementId,
    journal::{Delivery, Purchase, Rail},
    marketplaces::{
        Marketplace,
        paegents::{
            carts::BoundPayee,
            direct::{DirectArguments, DirectBody},
            fee::{fee, whole_cents},
        },
    },
    owner::{Outcome, Owner},
    recovery::NextCall,
    spend::{PlanRequest, Repeat, check_call},
    text::{TEXT_CHARS_MAX, clean_json},
    tools::{Reply, market::purchases::PurchaseView},
};

/// The longest description.
const DESCRIPTION_CHARS_MAX: usize = 500;

/// A direct purchase.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DirectView {
    /// Its agreement at Paegents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement_id: Option<String>,
    /// What came with its completion.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result_untrusted: Value,
    /// The payment.
    pub purchase: PurchaseView,
}

/// Buys directly, or goes on with a purchase.
///
/// # Errors
///
/// Whatever stops it, with whether money moved.
pub(super) async fn buy(
    app: &App,
    owner: &Owner,
    args: BuyDirectArgs,
) -> Result<Outcome<Reply<DirectView>>, Error> {
    let (id, most) = (args.purchase_id.clone(), args.max_total_usd);
    let begun = (id.as_ref(), Rail::PaegentsDirect, most);
    match begun_or(app, owner, begun, planned(app, args)).await? {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(&purchase))),
    }
}

async fn planned(app: &App, args: BuyDirectArgs) -> Result<PlanRequest, Error> {
    whole_cents("amount_usd", args.amount_usd)?;
    printable("description", &args.description, DESCRIPTION_CHARS_MAX, "\"A logo\"")?;
    let paegents = app.paegents().await?;
    if *paegents.agent()? == args.seller_agent_id {
        let message = "the agent of this program sells it: nobody buys from themselves";
        return Err(Error::new(Code::NotAllowed, message).at(Marketplace::Paegents));
    }
    let fee = fee(args.amount_usd).and_then(|fee| Some((fee, args.amount_usd.checked_add(fee)?)));
    let (fee, total) =
        fee.ok_or_else(|| Error::argument("amount_usd", "is too much to be paid", "\"2.50\""))?;
    let what = format!("the purchase ({} and the platform's fee of {fee})", args.amount_usd);
    within(&what, total, args.max_total_usd)?;
    let chain_id = app.chain().await?.pins().chain_id;
    let payee = BoundPayee::named(app, &args.payee, chain_id).await?;
    let described = format!(
        "a purchase of {} USD and {fee} USD fee, in USDC from the wallet to the owner's payee {} \
         ({}), without escrow",
        args.amount_usd, payee.name, payee.address
    );
    let of = json!([args.description, args.service_id]);
    let about = hex::encode(Sha256::digest(of.to_string()));
    let seller = args.seller_agent_id.to_string();
    let natural_key = format!(
        "paegents:direct:{seller}:{}:{}:{}",
        payee.address,
        args.amount_usd,
        about.get(..16).unwrap_or_default()
    );
    let item_id = args.service_id.as_ref().map_or_else(|| seller.clone(), ToString::to_string);
    let (again, max_total) = (args.again == Some(true), args.max_total_usd);
    let (payee_name, body) = (
        payee.name.clone(),
        DirectBody {
            described,
            payee,
            arguments: DirectArguments {
                payee: args.payee,
                seller_agent_id: args.seller_agent_id,
                amount_usd: args.amount_usd,
                description: args.description,
                service_id: args.service_id,
            },
        },
    );
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(PlanRequest {
        marketplace: Marketplace::Paegents,
        rail: Rail::PaegentsDirect,
        natural_key,
        repeat: Repeat::AfterAWhile { again },
        seller_id: seller,
        seller_name: payee_name,
        item_id,
        item_name: String::new(),
        body_digest: hex::encode(Sha256::digest(&body)),
        body,
        route: String::new(),
        origin: paegents.api.base.to_string(),
        asset: "USDC".to_owned(),
        chain_id,
        price: total,
        max_total,
        fund: None,
    })
}

fn shown(purchase: &Purchase) -> Reply<DirectView> {
    let noted = purchase.instrument.as_ref().and_then(|fields| fields.get("agreement_id"));
    let id = noted.and_then(Value::as_str).and_then(|id| id.parse::<AgreementId>().ok());
    let answer = purchase.answer.as_deref().filter(|_| purchase.delivery == Delivery::Delivered);
    let result: Value = answer.and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
    let view = DirectView {
        agreement_id: id.as_ref().map(ToString::to_string),
        result_untrusted: clean_json(result, TEXT_CHARS_MAX),
        purchase: PurchaseView::from(purchase),
    };
    let reply = Reply::new(view);
    if purchase.is_over() {
        return reply;
    }
    let reply = reply.next(check_call(&purchase.id));
    match id {
        Some(id) => reply.next(NextCall::new(
            "paegents_get_agreement",
            json!({ "agreement_id": id, "wait_seconds": 45 }),
            "waits for the seller",
        )),
        None => reply,
    }
}
