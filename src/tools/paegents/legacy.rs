//! Paegents' older payments. They have neither a key nor a look-up, so a lost answer ends only by the
//! owner's word; nothing is ever sent twice.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pay::{begun_or, mail, printable, within};
use crate::{
    app::App,
    error::Error,
    ids::{AccountId, AgentId, PurchaseId},
    journal::{Delivery, Purchase, Rail},
    marketplaces::{
        Marketplace,
        paegents::{
            fee::whole_cents,
            payments::{OlderArguments, OlderBody, Processor},
        },
    },
    money::Usdc,
    owner::{Outcome, Owner},
    server::Server,
    spend::{PlanRequest, Repeat, TO_AGENT},
    text::{TEXT_CHARS_MAX, clean_json},
    tools::{Args, Reply, input, market::purchases::PurchaseView, output},
};

/// The longest text of a payment.
const TEXT_CHARS_SENT_MAX: usize = 500;
/// The longest name of a recipient.
const RECIPIENT_CHARS_MAX: usize = 120;
/// Who is paid where the caller names nobody: whoever the platform has set for the agent.
const DEFAULT_RECIPIENT: &str = "default-recipient";

/// Arguments of `paegents_create_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePaymentArgs {
    /// In whole cents.
    pub amount_usd: Usdc,
    /// What for.
    #[serde(default)]
    pub description: Option<String>,
    /// Default stripe.
    #[serde(default)]
    pub payment_method: Option<Processor>,
    /// From a search; or one of the next two.
    #[serde(default)]
    pub recipient_account_id: Option<AccountId>,
    /// A name.
    #[serde(default)]
    pub recipient_business_name: Option<String>,
    /// A mail address.
    #[serde(default)]
    pub recipient_email: Option<String>,
    /// Most to pay.
    pub max_total_usd: Usdc,
    /// Pay the same a second time.
    #[serde(default)]
    pub again: Option<bool>,
    /// Go on with this one.
    #[serde(default)]
    pub purchase_id: Option<PurchaseId>,
}

/// Arguments of `paegents_create_a2a_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateA2aPaymentArgs {
    /// The agent who is paid.
    pub recipient_id: AgentId,
    /// In whole cents.
    pub amount_usd: Usdc,
    /// What for.
    #[serde(default)]
    pub memo: Option<String>,
    /// Most to pay.
    pub max_total_usd: Usdc,
    /// Pay the same a second time.
    #[serde(default)]
    pub again: Option<bool>,
    /// Go on with this one.
    #[serde(default)]
    pub purchase_id: Option<PurchaseId>,
}

/// An older payment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OlderView {
    /// What came with it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result_untrusted: Value,
    /// The payment.
    pub purchase: PurchaseView,
}

#[tool_router(router = paegents_legacy_tools, vis = "pub(crate)")]
impl Server {
    /// Pay a business by Paegents' older call. If its answer is lost, only the owner can tell what
    /// became of it: prefer `paegents_pay_mandate`.
    #[tool(
        name = "paegents_create_payment",
        input_schema = input::<CreatePaymentArgs>(),
        output_schema = output::<OlderView>(),
        annotations(
            title = "Make an older Paegents payment",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_payment(
        &self,
        Args(args): Args<CreatePaymentArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<OlderView>>, Error> {
        let (id, most, again) = (args.purchase_id.clone(), args.max_total_usd, args.again);
        let payment = to_business(args);
        let planned = async { payment?.planned(self.app(), again == Some(true)).await };
        Box::pin(make(self.app(), &owner, (id, most), planned)).await
    }

    /// Pay another agent by Paegents' older call. If its answer is lost, only the owner can tell what
    /// became of it.
    #[tool(
        name = "paegents_create_a2a_payment",
        input_schema = input::<CreateA2aPaymentArgs>(),
        output_schema = output::<OlderView>(),
        annotations(
            title = "Make an older payment to an agent",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_a2a_payment(
        &self,
        Args(args): Args<CreateA2aPaymentArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<OlderView>>, Error> {
        let (id, most, again) = (args.purchase_id.clone(), args.max_total_usd, args.again);
        let payment = to_agent(args);
        let planned = async { payment?.planned(self.app(), again == Some(true)).await };
        Box::pin(make(self.app(), &owner, (id, most), planned)).await
    }
}

async fn make(
    app: &App,
    owner: &Owner,
    (id, most): (Option<PurchaseId>, Usdc),
    planned: impl Future<Output = Result<PlanRequest, Error>>,
) -> Result<Outcome<Reply<OlderView>>, Error> {
    match begun_or(app, owner, (id.as_ref(), Rail::PaegentsLegacy, most), planned).await? {
        Outcome::Ask(question) => Ok(Outcome::Ask(question)),
        Outcome::Done(purchase) => Ok(Outcome::Done(shown(&purchase))),
    }
}

/// A payment as it was asked for, checked.
struct Older {
    route: &'static str,
    recipient: String,
    arguments: OlderArguments,
    max_total: Usdc,
}

fn to_business(args: CreatePaymentArgs) -> Result<Older, Error> {
    whole_cents("amount_usd", args.amount_usd)?;
    if let Some(text) = &args.description {
        printable("description", text, TEXT_CHARS_SENT_MAX, "\"Invoice 17\"")?;
    }
    let named = [
        ("recipient_account_id", args.recipient_account_id.as_ref().map(AccountId::as_str)),
        ("recipient_business_name", args.recipient_business_name.as_deref()),
        ("recipient_email", args.recipient_email.as_deref()),
    ];
    let (first, second) = {
        let mut given = named.into_iter().filter_map(|(field, text)| Some((field, text?)));
        (given.next(), given.next())
    };
    if let Some((field, _)) = second {
        let problem = "cannot stand beside another recipient: name one";
        return Err(Error::argument(field, problem, "nothing"));
    }
    if let Some((field, text)) = first {
        printable(field, text, RECIPIENT_CHARS_MAX, "\"Acme\"")?;
    }
    if let Some(address) = &args.recipient_email {
        mail("recipient_email", address)?;
    }
    let recipient = first.map_or_else(|| DEFAULT_RECIPIENT.to_owned(), |(_, text)| text.to_owned());
    within("the payment", args.amount_usd, args.max_total_usd)?;
    Ok(Older {
        route: "business",
        recipient,
        max_total: args.max_total_usd,
        arguments: OlderArguments {
            amount_usd: args.amount_usd,
            description: args.description,
            payment_method: args.payment_method,
            recipient_account_id: args.recipient_account_id,
            recipient_business_name: args.recipient_business_name,
            recipient_email: args.recipient_email,
            ..OlderArguments::default()
        },
    })
}

fn to_agent(args: CreateA2aPaymentArgs) -> Result<Older, Error> {
    whole_cents("amount_usd", args.amount_usd)?;
    if let Some(text) = &args.memo {
        printable("memo", text, TEXT_CHARS_SENT_MAX, "\"Job 17\"")?;
    }
    within("the payment", args.amount_usd, args.max_total_usd)?;
    Ok(Older {
        route: TO_AGENT,
        recipient: args.recipient_id.to_string(),
        max_total: args.max_total_usd,
        arguments: OlderArguments {
            amount_usd: args.amount_usd,
            recipient_id: Some(args.recipient_id),
            memo: args.memo,
            ..OlderArguments::default()
        },
    })
}

impl Older {
    async fn planned(self, app: &App, again: bool) -> Result<PlanRequest, Error> {
        let paegents = app.paegents().await?;
        paegents.agent()?;
        let (price, recipient) = (self.arguments.amount_usd, self.recipient);
        let digest = Sha256::digest(json!([self.route, self.arguments]).to_string());
        let digest = hex::encode(digest);
        let described = format!(
            "an older payment of {price} USD to {recipient}, which cannot be looked up if its answer \
             is lost"
        );
        let body = OlderBody { arguments: self.arguments, described };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        Ok(PlanRequest {
            marketplace: Marketplace::Paegents,
            rail: Rail::PaegentsLegacy,
            natural_key: format!("paegents:older:{}", digest.get(..32).unwrap_or_default()),
            repeat: Repeat::AfterAWhile { again },
            seller_id: recipient.clone(),
            seller_name: String::new(),
            item_id: recipient,
            item_name: String::new(),
            body_digest: hex::encode(Sha256::digest(&body)),
            body,
            route: self.route.to_owned(),
            origin: paegents.api.base.to_string(),
            asset: "USD".to_owned(),
            chain_id: 0,
            price,
            max_total: self.max_total,
            fund: None,
        })
    }
}

fn shown(purchase: &Purchase) -> Reply<OlderView> {
    let answer = purchase.answer.as_deref().filter(|_| purchase.delivery == Delivery::Delivered);
    let said: Value = answer.and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
    let result_untrusted = clean_json(said, TEXT_CHARS_MAX);
    Reply::new(OlderView { result_untrusted, purchase: PurchaseView::from(purchase) })
}
