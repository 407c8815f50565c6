//! Paying a supplier, and asking what became of it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{GetSupplierPaymentArgs, PaySupplierArgs, begun_or, mail, printable, within};
use crate::{
    app::App,
    error::{Code, Error},
    journal::{Purchase, Rail, State},
    marketplaces::{
        Marketplace,
        paegents::{
            fee::whole_cents,
            suppliers::{SupplierArguments, SupplierBody, heard, status_call},
        },
    },
    money::Usdc,
    owner::{Outcome, Owner},
    spend::{PlanRequest, Repeat, anew, is_begun},
    text::{TEXT_CHARS_MAX, clean},
    tools::{
        Reply,
        market::purchases::{PurchaseView, next_of},
    },
};

/// The longest description.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// The longest name of a company.
const COMPANY_CHARS_MAX: usize = 120;

/// A supplier's payment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SupplierView {
    /// paid, `processing`, `supplier_onboarding`, failed, or another; absent where nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Our name for it at Paegents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_id: Option<String>,
    /// Where Paegents sends the supplier. Not for you to open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_action_url_untrusted: Option<String>,
    /// Why it failed, in Paegents' words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_untrusted: Option<String>,
    /// The payment.
    pub purchase: PurchaseView,
}

/// Pays a supplier, or goes on with a payment.
///
/// # Errors
///
/// Whatever stops it, with whether money moved.
pub(super) async fn pay(
    app: &App,
    owner: &Owner,
    args: PaySupplierArgs,
) -> Result<Outcome<Reply<SupplierView>>, Error> {
    let (id, most) = (args.purchase_id.clone(), args.max_total_usd);
    let begun = (id.as_ref(), Rail::PaegentsSupplier, most);
    match begun_or(app, owner, begun, planned(app, args)).await? {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(&purchase))),
    }
}

/// Asks what became of one. One that failed is no failure of asking.
///
/// # Errors
///
/// [`Code::NotFound`]; whatever asking fails with.
pub(super) async fn get(
    app: &App,
    owner: &Owner,
    args: &GetSupplierPaymentArgs,
) -> Result<Reply<SupplierView>, Error> {
    // A sandbox that is gone is told by what follows, with what is known of the money.
    let _ = app.refresh_clock().await;
    let purchase = app.spending().check(&args.purchase_id, &owner.principal).await?;
    if purchase.rail == Rail::PaegentsSupplier {
        return Ok(shown(&purchase));
    }
    let message = format!("{} is no supplier's payment", args.purchase_id);
    Err(Error::new(Code::NotFound, message).money(purchase.money_moved()))
}

async fn planned(app: &App, args: PaySupplierArgs) -> Result<PlanRequest, Error> {
    whole_cents("amount_usd", args.amount_usd)?;
    let example = "\"Invoice 17\"";
    printable("description", &args.description, DESCRIPTION_CHARS_MAX, example)?;
    mail("owner_email", &args.owner_email)?;
    if let Some(company) = &args.company_name {
        printable("company_name", company, COMPANY_CHARS_MAX, "\"Company Ltd\"")?;
    }
    within("the payment", args.amount_usd, args.max_total_usd)?;
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let supplier = args.supplier.as_str().to_owned();
    let described = format!("a payment of {} USD to the supplier {supplier}", args.amount_usd);
    let about = hex::encode(Sha256::digest(&args.description));
    let about = about.get(..16).unwrap_or_default();
    let (price, max_total) = (args.amount_usd, args.max_total_usd);
    let body = SupplierBody {
        described,
        arguments: SupplierArguments {
            supplier: args.supplier,
            amount_usd: args.amount_usd,
            description: args.description,
            owner_email: args.owner_email,
            company_name: args.company_name,
        },
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(PlanRequest {
        marketplace: Marketplace::Paegents,
        rail: Rail::PaegentsSupplier,
        natural_key: format!("paegents:supplier:{supplier}:{price}:{about}"),
        repeat: Repeat::AfterAWhile { again: args.again == Some(true) },
        seller_id: supplier.clone(),
        seller_name: String::new(),
        item_id: supplier,
        item_name: String::new(),
        body_digest: hex::encode(Sha256::digest(&body)),
        body,
        route: String::new(),
        origin: paegents.api.base.to_string(),
        asset: "USD".to_owned(),
        chain_id: 0,
        price,
        max_total,
        fund: None,
    })
}

fn shown(purchase: &Purchase) -> Reply<SupplierView> {
    let (status, url) = heard(purchase);
    let status = match purchase.state {
        State::Settled => Some("paid"),
        State::Failed => Some("failed"),
        _ => status,
    };
    let said = purchase.answer.as_deref().filter(|_| purchase.state == State::Failed);
    let said = said.map(|said| clean(&String::from_utf8_lossy(said), TEXT_CHARS_MAX));
    let is_open = matches!(purchase.state, State::Submitted | State::Unknown);
    let sent = is_begun(purchase.state) && purchase.amount > Some(Usdc::ZERO);
    let txn_id = noted_id(purchase).filter(|_| sent);
    let view = SupplierView {
        status: status.map(ToOwned::to_owned),
        txn_id,
        next_action_url_untrusted: url.filter(|_| is_open).map(ToOwned::to_owned),
        error_untrusted: said.filter(|said| !said.is_empty()),
        purchase: PurchaseView::from(purchase),
    };
    let next = if is_open {
        vec![status_call(purchase)]
    } else if is_begun(purchase.state) {
        anew(purchase).into_iter().collect()
    } else {
        next_of(purchase).into_iter().collect()
    };
    Reply { view, next }
}

fn noted_id(purchase: &Purchase) -> Option<String> {
    purchase.instrument.as_ref()?.get("txn_id").and_then(Value::as_str).map(ToOwned::to_owned)
}
