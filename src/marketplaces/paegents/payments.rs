//! What an agent may read of its payments, and the older payments, which have neither a key nor a
//! look-up. Source: protocols/paegents.md §3.1, §4.1.
//!
//! Invariant: an older payment is sent once. Where its answer is lost, only the owner's word ends it.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    fee::whole_cents,
    sending::{
        Sending, Sent, Standing, bound, broken, charged, kept, of_purchase, receipt_of, standing,
    },
};
use crate::{
    access::Access,
    error::{Code, Error},
    ids::{AccountId, AgentId, ReceiptId},
    journal::Purchase,
    marketplaces::{
        http::{Effect, Operation},
        lenient::{list, number, text},
    },
    money::Usdc,
    recovery::NextAction,
    spend::{
        Answer, Collected, Fate, Instrument, Payment, Prepared, Receipt, TO_AGENT, check_call,
    },
    text::clean,
};

/// What comes with a payment and nobody may see.
const SECRETS: &[&str] = &["client_secret"];
/// The most characters of a payment's name at the platform.
const REFERENCE_CHARS_MAX: usize = 80;

/// Reads what an agent has spent and may spend: `GET /mcp/balance/{agent}`.
#[derive(Debug, Serialize)]
pub struct GetBalance<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
}

impl Operation for GetBalance<'_> {
    const NAME: &'static str = "paegents.check_balance";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Map<String, Value>;

    fn path(&self) -> String {
        format!("/mcp/balance/{}", self.agent_id)
    }
}

/// Looks for who can be paid: `POST /mcp/search-recipients`, everything in the query.
#[derive(Debug, Serialize)]
pub struct SearchRecipients<'a> {
    /// The words.
    #[serde(skip)]
    pub query: &'a str,
    /// `all`, `stripe` or `braintree`.
    #[serde(skip)]
    pub payment_method: &'a str,
}

impl Operation for SearchRecipients<'_> {
    const NAME: &'static str = "paegents.search_recipients";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    const BODY: bool = false;
    type Output = Recipients;

    fn path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("query", self.query);
        query.append_pair("payment_method", self.payment_method);
        format!("/mcp/search-recipients?{}", query.finish())
    }
}

/// Who can be paid.
#[derive(Debug, Deserialize)]
pub struct Recipients {
    /// They, as free JSON.
    #[serde(default, deserialize_with = "list")]
    pub results: Vec<Value>,
    /// How many there are.
    #[serde(default, deserialize_with = "number")]
    pub total_found: u64,
}

/// Verifies a receipt: `GET /receipts/verify/{id}`.
#[derive(Debug, Serialize)]
pub struct VerifyReceipt<'a> {
    /// Which.
    #[serde(skip)]
    pub receipt_id: &'a ReceiptId,
}

impl Operation for VerifyReceipt<'_> {
    const NAME: &'static str = "paegents.verify_receipt";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Value;

    fn path(&self) -> String {
        format!("/receipts/verify/{}", self.receipt_id)
    }
}

/// What policy and approval bind of an older payment, as the body of its purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OlderBody {
    /// The tool's own arguments.
    pub arguments: OlderArguments,
    /// What the owner is told.
    pub described: String,
}

/// As the tools take them, without the maximum. Which members there are tells which tool it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OlderArguments {
    /// How much.
    pub amount_usd: Usdc,
    /// What for, in a payment to a business.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// By whom a payment to a business is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Processor>,
    /// A business, by its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_account_id: Option<AccountId>,
    /// A business, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_business_name: Option<String>,
    /// A business, by its mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_email: Option<String>,
    /// An agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<AgentId>,
    /// What for, in a payment to an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// Who makes an older payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Processor {
    /// Stripe.
    Stripe,
    /// Braintree.
    Braintree,
}

/// `POST /mcp/payments`, member for member.
#[derive(Serialize)]
struct ToBusiness<'a> {
    agent_id: &'a AgentId,
    amount: u64,
    currency: &'static str,
    description: Option<&'a str>,
    payment_method: Processor,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_account_id: Option<&'a AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_business_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_email: Option<&'a str>,
}

/// `POST /a2a/payment`, member for member.
#[derive(Serialize)]
struct ToAgent<'a> {
    agent_id: &'a AgentId,
    recipient_id: &'a AgentId,
    amount: u64,
    currency: &'static str,
    memo: Option<&'a str>,
}

/// Makes older payments.
#[derive(Debug)]
pub struct OlderPayments {
    access: Arc<Access>,
}

impl OlderPayments {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        let paegents = of_purchase(&self.access, purchase).await?;
        let body: OlderBody = bound(purchase)?;
        request(purchase, paegents.agent()?)?;
        Ok(Prepared::Pay(Instrument {
            // The platform's own name for it comes with its answer.
            reference: purchase.id.to_string(),
            amount: body.arguments.amount_usd,
            asset: "USD".to_owned(),
            chain_id: 0,
            details: json!({ "route": purchase.route }),
            rerouted: None,
            account: None,
        }))
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let made = async {
            let paegents = of_purchase(&self.access, purchase).await?;
            Ok::<_, Error>((request(purchase, paegents.agent()?)?, paegents))
        };
        let (body, paegents) = match made.await {
            Ok(made) => made,
            Err(error) => return Fate::Dead(error.code, error.to_string()),
        };
        let (name, path) = match purchase.route.as_str() {
            TO_AGENT => ("paegents.create_a2a_payment", "/a2a/payment"),
            _ => ("paegents.create_payment", "/mcp/payments"),
        };
        match (Sending { name, path, key: None, body }).send(&paegents).await {
            Sent::Done(answer) => told(purchase, answer),
            Sent::Refused(code, why, said) => Fate::Refused(code, why, said),
            Sent::Never(code, why) => Fate::Dead(code, why),
            Sent::Open(why) => Fate::Unknown(why),
        }
    }
}

fn request(purchase: &Purchase, agent: &AgentId) -> Result<Vec<u8>, Error> {
    let body: OlderBody = bound(purchase)?;
    let own = &body.arguments;
    let amount = whole_cents("amount_usd", own.amount_usd)?;
    let bytes = if purchase.route == TO_AGENT {
        let recipient = own.recipient_id.as_ref().ok_or_else(|| broken(purchase))?;
        let memo = own.memo.as_deref();
        let request =
            ToAgent { agent_id: agent, recipient_id: recipient, amount, currency: "usd", memo };
        serde_json::to_vec(&request)
    } else {
        serde_json::to_vec(&ToBusiness {
            agent_id: agent,
            amount,
            currency: "usd",
            description: own.description.as_deref(),
            payment_method: own.payment_method.unwrap_or(Processor::Stripe),
            recipient_account_id: own.recipient_account_id.as_ref(),
            recipient_business_name: own.recipient_business_name.as_deref(),
            recipient_email: own.recipient_email.as_deref(),
        })
    };
    bytes.map_err(|_| broken(purchase))
}

/// What an answer says of the payment, in any of its shapes (§4.1).
fn told(purchase: &Purchase, answer: Map<String, Value>) -> Fate {
    let member = |object: &str, name: &str| {
        let of = answer.get(object).and_then(Value::as_object).unwrap_or(&answer);
        of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (id, status) = if answer.contains_key("payment_intent") {
        (member("payment_intent", "id"), member("payment_intent", "status"))
    } else if answer.contains_key("payment") {
        (member("payment", "id"), member("payment", "state"))
    } else {
        (member("", "payment_id"), member("", "status"))
    };
    match standing(&status, receipt_of(&answer).is_some()) {
        Standing::Paid => {
            let amount = charged(&answer).filter(|charged| Some(*charged) > purchase.amount);
            let reference = (!id.is_empty()).then(|| clean(&id, REFERENCE_CHARS_MAX));
            let answer = Some(kept(answer, SECRETS));
            Fate::Receipt(Receipt { answer, amount, reference })
        }
        Standing::Failed => {
            let why = "the processor did not make the payment".to_owned();
            Fate::Refused(Code::UpstreamRejected, why, kept(answer, SECRETS))
        }
        Standing::Open => Fate::Unknown("Paegents does not say that it was paid".to_owned()),
    }
}

impl Payment for OlderPayments {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        async move { Ok(purchase.instrument.clone().unwrap_or_default()) }.boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, _purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        async move { Ok(Fate::Unknown("nobody can be asked about it".to_owned())) }.boxed()
    }

    fn resend(&self, _purchase: &Purchase, _now: i64) -> Option<Value> {
        // Without a key a second request is a second payment.
        None
    }

    fn held_up(&self, purchase: &Purchase, _now: i64) -> Option<Error> {
        let id = &purchase.id;
        let message = format!(
            "it is not known whether {} USD were paid for {id}: this kind of payment has neither a \
             key nor a look-up",
            purchase.amount.unwrap_or_default()
        );
        let error = Error::new(Code::PaymentUnknown, message).next(check_call(id));
        Some(error.recovery(|recovery| {
            let summary = format!(
                "Do not pay again. The owner looks at the processor and says it: `haggle purchases \
                 resolve {id} --paid`, or `--not-paid`."
            );
            recovery.set(NextAction::AskOwner, false, summary);
        }))
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        // Paid by the owner's word: there is nothing more to be had.
        let body = json!({ "status": "paid", "purchase_id": purchase.id });
        let answer = Answer { status: 200, body: body.to_string().into_bytes() };
        async move { Ok(Collected::Delivered(answer)) }.boxed()
    }
}

/// A text of a recipient, where it has one.
#[must_use]
pub fn recipient_text(recipient: &Value, name: &str) -> Option<String> {
    let text_of = recipient.get(name)?;
    text(text_of).ok().filter(|said: &String| !said.trim().is_empty())
}
