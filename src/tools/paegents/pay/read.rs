//! What is read around payments: recipients, balance, receipts, what a payment takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{PaymentRequirementsArgs, SearchRecipientsArgs, VerifyReceiptArgs, printable};
use crate::{
    app::App,
    error::{Code, Error},
    ids::AccountId,
    marketplaces::{
        Marketplace,
        paegents::{
            fee::{GetPaymentRequirements, fee, whole_cents},
            payments::{GetBalance, SearchRecipients, VerifyReceipt, recipient_text},
        },
        payable_address,
    },
    money::Usdc,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, clean_json},
    tools::Reply,
};

/// The most that is listed.
const LIST_LIMIT_MAX: usize = 50;
const LIST_LIMIT: usize = 20;
/// The longest query.
const QUERY_CHARS_MAX: usize = 200;

/// By whom a recipient is paid.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Method {
    /// Either.
    All,
    /// Stripe.
    Stripe,
    /// Braintree.
    Braintree,
}

/// Who can be paid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecipientsView {
    /// They.
    pub recipients: Vec<RecipientView>,
    /// How many Paegents found.
    pub total_found: u64,
}

/// One of them, in their own words.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecipientView {
    /// For `recipient_account_id` of `paegents_create_payment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_name_untrusted: Option<String>,
    /// Their mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_untrusted: Option<String>,
    /// By whom they are paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method_untrusted: Option<String>,
}

/// What the agent may spend and has spent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BalanceView {
    /// What the figures are in.
    pub unit: &'static str,
    /// Per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_limit: Option<Number>,
    /// Per month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_limit: Option<Number>,
    /// Today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_spent: Option<Number>,
    /// This month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_spent: Option<Number>,
    /// Left today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_remaining: Option<Number>,
    /// Left this month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_remaining: Option<Number>,
}

/// Whether a receipt is genuine.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptView {
    /// Whether Paegents says so; absent where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// What Paegents answered.
    pub receipt_untrusted: Value,
}

/// What a direct purchase takes beside its price.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RequirementsView {
    /// The price.
    pub amount_usd: Usdc,
    /// The fee by the published formula.
    pub fee_usd: Usdc,
    /// The fee by Paegents' answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_fee_usd: Option<Usdc>,
    /// Whether both are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fees_agree: Option<bool>,
    /// Price and the greater fee: what `max_total_usd` has to cover.
    pub total_usd: Usdc,
    /// Who collects the fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas_wallet_address: Option<String>,
    /// The chain that Paegents names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// Whether that is the chain in use; if not, nothing can be bought.
    pub chain_agrees: bool,
}

pub(super) async fn recipients(
    app: &App,
    args: &SearchRecipientsArgs,
) -> Result<Reply<RecipientsView>, Error> {
    printable("query", &args.query, QUERY_CHARS_MAX, "\"acme\"")?;
    let limit = args.limit.unwrap_or(LIST_LIMIT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(Error::argument("limit", "must be 1 to 50", "20"));
    }
    let payment_method = match args.payment_method {
        None | Some(Method::All) => "all",
        Some(Method::Stripe) => "stripe",
        Some(Method::Braintree) => "braintree",
    };
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let search = SearchRecipients { query: &args.query, payment_method };
    let found = paegents.api.send(&search).await?;
    let shown = |recipient: &Value, name: &str| {
        recipient_text(recipient, name).map(|text| clean(&text, NAME_CHARS_MAX))
    };
    let account = |recipient| recipient_text(recipient, "account_id")?.parse::<AccountId>().ok();
    let recipients = found.results.iter().take(limit).map(|recipient| RecipientView {
        account_id: account(recipient),
        business_name_untrusted: shown(recipient, "business_name"),
        email_untrusted: shown(recipient, "email"),
        payment_method_untrusted: shown(recipient, "payment_method"),
    });
    let view = RecipientsView { recipients: recipients.collect(), total_found: found.total_found };
    Ok(Reply::new(view))
}

pub(super) async fn balance(app: &App) -> Result<Reply<BalanceView>, Error> {
    let paegents = app.paegents().await?;
    let figures = paegents.api.send(&GetBalance { agent_id: paegents.agent()? }).await?;
    let figure = |name: &str| match figures.get(name)? {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.trim().parse::<u64>().ok().map(Number::from),
        _ => None,
    };
    Ok(Reply::new(BalanceView {
        unit: "as returned by Paegents, which does not name it; probably cents",
        daily_limit: figure("daily_limit"),
        monthly_limit: figure("monthly_limit"),
        daily_spent: figure("daily_spent"),
        monthly_spent: figure("monthly_spent"),
        daily_remaining: figure("daily_remaining"),
        monthly_remaining: figure("monthly_remaining"),
    }))
}

pub(super) async fn receipt(
    app: &App,
    args: &VerifyReceiptArgs,
) -> Result<Reply<ReceiptView>, Error> {
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let said = paegents.api.send(&VerifyReceipt { receipt_id: &args.receipt_id }).await?;
    let flag = |name: &str| said.get(name).and_then(Value::as_bool);
    let valid = flag("valid").or_else(|| flag("is_valid")).or_else(|| flag("verified"));
    let receipt_untrusted = clean_json(said, TEXT_CHARS_MAX);
    Ok(Reply::new(ReceiptView { valid, receipt_untrusted }))
}

pub(super) async fn requirements(
    app: &App,
    args: &PaymentRequirementsArgs,
) -> Result<Reply<RequirementsView>, Error> {
    let amount_cents = whole_cents("amount_usd", args.amount_usd)?;
    let own = fee(args.amount_usd);
    let own = own.ok_or_else(|| Error::argument("amount_usd", "is too much", "\"2.50\""))?;
    let paegents = app.paegents().await?;
    let pins = app.chain().await?.pins();
    let ask = GetPaymentRequirements { amount_cents, rail: "stablecoin" };
    let asked = paegents.api.send(&ask).await?;
    let theirs = asked.infra_fee_amount_atomic.map(Usdc::from_micros);
    let greater = theirs.unwrap_or(own).max(own);
    let total_usd = args.amount_usd.checked_add(greater).ok_or_else(|| {
        let message = "the fee that Paegents names is more than can be paid";
        Error::new(Code::UpstreamMalformed, message)
            .at(Marketplace::Paegents)
            .field("infra_fee_amount_atomic", None)
    })?;
    let collector = payable_address(&asked.gas_wallet_address);
    Ok(Reply::new(RequirementsView {
        amount_usd: args.amount_usd,
        fee_usd: own,
        platform_fee_usd: theirs,
        fees_agree: theirs.map(|theirs| theirs == own),
        total_usd,
        gas_wallet_address: collector.map(|address| address.to_checksum(None)),
        chain_id: asked.chain_id,
        chain_agrees: asked.misplaced(pins).is_none(),
    }))
}
