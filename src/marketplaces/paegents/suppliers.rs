//! Paying a supplier by its domain: sent once under an identifier of our own, asked about by that.
//! Source: protocols/paegents.md §3.1, §4.2.
//!
//! Invariants: the identifier is in the journal before it is sent; the agent's key, which the
//! protocol wants in the body, is put there when it is sent and is nowhere else; what the platform
//! gives a new supplier's agent as a key of its own is not kept.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Paegents,
    fee::whole_cents,
    sending::{
        HORIZON_SECONDS, Sending, Sent, bound, broken, charged, kept, noted, of_purchase, with,
    },
};
use crate::{
    access::Access,
    error::{Code, Error},
    ids::{AgentId, TransactionId},
    journal::Purchase,
    marketplaces::{
        http::{Effect, Operation},
        lenient::word,
    },
    money::Usdc,
    recovery::NextCall,
    spend::{Answer, Collected, Fate, Instrument, Known, Payment, Prepared, Receipt, random},
    text::{TEXT_CHARS_MAX, clean},
};

/// What the platform gives and nobody may see.
const SECRETS: &[&str] = &["provisional_key", "api_key"];
/// The longest domain, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

/// A supplier's domain: a host name in lower case, without port or path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub struct Domain(String);

impl Domain {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Domain {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        let is_label = |label: &str| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(fits)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let mut labels = name.rsplit('.');
        // An address is no name: the last label of a name has a letter.
        let last = labels.next().unwrap_or_default();
        let has_letter = last.bytes().any(|b| b.is_ascii_lowercase());
        let is_name = name.contains('.') && has_letter && name.split('.').all(is_label);
        if is_name && name.len() <= DOMAIN_BYTES_MAX {
            Ok(Self(name))
        } else {
            Err("must be a host name in lower case without port or path, such as supplier.example")
        }
    }
}

/// What policy and approval bind of a supplier's payment, as the body of its purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SupplierBody {
    /// The tool's own arguments.
    pub arguments: SupplierArguments,
    /// What the owner is told.
    pub described: String,
}

/// As the tool takes them, without the maximum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SupplierArguments {
    /// Who is paid.
    pub supplier: Domain,
    /// How much.
    pub amount_usd: Usdc,
    /// What for.
    pub description: String,
    /// The agent's owner.
    pub owner_email: String,
    /// The owner's company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
}

/// `POST /a2a/pay`, member for member. `Debug` would show the key, so there is none.
#[derive(Serialize)]
struct PayRequest<'a> {
    msg: &'static str,
    version: &'static str,
    txn_id: &'a TransactionId,
    supplier: &'a str,
    amount: u64,
    currency: &'static str,
    description: &'a str,
    api_key: &'a str,
    agent_owner_email: &'a str,
    agent_id: &'a AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_name: Option<&'a str>,
}

/// Asks what became of a payment: `POST /a2a/status`.
#[derive(Debug, Serialize)]
struct GetPaymentStatus<'a> {
    msg: &'static str,
    txn_id: &'a TransactionId,
}

impl Operation for GetPaymentStatus<'_> {
    const NAME: &'static str = "paegents.check_a2a_status";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    type Output = Map<String, Value>;

    fn path(&self) -> String {
        "/a2a/status".to_owned()
    }
}

/// Pays suppliers.
#[derive(Debug)]
pub struct Suppliers {
    access: Arc<Access>,
}

impl Suppliers {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        of_purchase(&self.access, purchase).await?;
        let body: SupplierBody = bound(purchase)?;
        let id = TransactionId::from_random(random()?);
        Ok(Prepared::Pay(Instrument {
            reference: id.to_string(),
            amount: body.arguments.amount_usd,
            asset: "USD".to_owned(),
            chain_id: 0,
            details: json!({ "txn_id": id }),
            rerouted: None,
            account: None,
        }))
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let made = async {
            let paegents = of_purchase(&self.access, purchase).await?;
            Ok::<_, Error>((request(purchase, &paegents)?, paegents))
        };
        let (body, paegents) = match made.await {
            Ok(made) => made,
            Err(error) => return Fate::Dead(error.code, error.to_string()),
        };
        let name = "paegents.pay_supplier";
        match (Sending { name, path: "/a2a/pay", key: None, body }).send(&paegents).await {
            Sent::Done(answer) => told(purchase, answer),
            Sent::Refused(code, why, said) => Fate::Refused(code, why, said),
            Sent::Never(code, why) => Fate::Dead(code, why),
            Sent::Open(why) => Fate::Unknown(why),
        }
    }

    async fn looked_up(&self, purchase: &Purchase) -> Result<Fate, Error> {
        let id = transaction(purchase)?;
        let paegents = of_purchase(&self.access, purchase).await?;
        let ask = GetPaymentStatus { msg: "StatusQuery", txn_id: &id };
        match paegents.api.send(&ask).await {
            Ok(answer) => Ok(match told(purchase, answer) {
                Fate::Known(known) if Some(&known.instrument) == purchase.instrument.as_ref() => {
                    Fate::Pending
                }
                fate => fate,
            }),
            // Its own word that there is no such payment; a proxy has no words.
            Err(error)
                if error.is(Code::NotFound) && error.recovery.upstream_untrusted.is_some() =>
            {
                let since = self.access.clock().now() - purchase.updated_at;
                Ok(if since > HORIZON_SECONDS {
                    let why = format!("{since} s after the request Paegents has no such payment");
                    Fate::Dead(Code::UpstreamUnavailable, why)
                } else {
                    Fate::Unknown("Paegents has no such payment so far".to_owned())
                })
            }
            Err(error) => Err(error),
        }
    }
}

fn transaction(purchase: &Purchase) -> Result<TransactionId, Error> {
    let id = noted(purchase, "txn_id").and_then(Value::as_str);
    id.and_then(|id| id.parse().ok()).ok_or_else(|| broken(purchase))
}

/// The body as it goes out, the agent's key in it.
fn request(purchase: &Purchase, paegents: &Paegents) -> Result<Vec<u8>, Error> {
    let (id, body): (_, SupplierBody) = (transaction(purchase)?, bound(purchase)?);
    let key = paegents.key().ok_or_else(|| paegents.api.not_registered())?;
    let arguments = &body.arguments;
    let request = PayRequest {
        msg: "PayRequest",
        version: "1.0",
        txn_id: &id,
        supplier: arguments.supplier.as_str(),
        amount: whole_cents("amount_usd", arguments.amount_usd)?,
        currency: "usd",
        description: &arguments.description,
        api_key: key.to_str().map_err(|_| paegents.api.not_registered())?,
        agent_owner_email: &arguments.owner_email,
        agent_id: paegents.agent()?,
        company_name: arguments.company_name.as_deref(),
    };
    serde_json::to_vec(&request).map_err(|_| broken(purchase))
}

/// What an answer says of the payment. One that is about another is none.
fn told(purchase: &Purchase, answer: Map<String, Value>) -> Fate {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    if transaction(purchase).is_ok_and(|id| text("txn_id") != id.as_str()) {
        return Fate::Unknown("Paegents answered about another payment".to_owned());
    }
    match text("status") {
        "paid" => {
            let amount = charged(&answer).filter(|charged| Some(*charged) > purchase.amount);
            let answer = Some(kept(answer, SECRETS));
            Fate::Receipt(Receipt { answer, amount, reference: None })
        }
        "failed" => {
            let said = answer.get("error").and_then(Value::as_str).unwrap_or_default();
            let said = Answer { status: 200, body: clean(said, TEXT_CHARS_MAX).into_bytes() };
            Fate::Refused(Code::UpstreamRejected, "the payment failed".to_owned(), said)
        }
        status => {
            let mut members = vec![("status", json!(word(status)))];
            let url = text("next_action_url");
            if !url.is_empty() {
                members.push(("next_action_url", json!(clean(url, TEXT_CHARS_MAX))));
            }
            Fate::Known(Known { instrument: with(purchase, &members), reference: None })
        }
    }
}

/// How a payment stands by what was last heard, and where its supplier is to go.
#[must_use]
pub fn heard(purchase: &Purchase) -> (Option<&str>, Option<&str>) {
    let text = |name: &str| noted(purchase, name).and_then(Value::as_str);
    (text("status"), text("next_action_url"))
}

/// The call that asks about a supplier's payment.
#[must_use]
pub fn status_call(purchase: &Purchase) -> NextCall {
    NextCall::new(
        "paegents_get_supplier_payment",
        json!({ "purchase_id": purchase.id }),
        "asks what became of it; pays nothing",
    )
}

impl Payment for Suppliers {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        // Nothing is signed: the identifier is what it is known by.
        async move { Ok(purchase.instrument.clone().unwrap_or_default()) }.boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        self.looked_up(purchase).boxed()
    }

    fn certain_at(&self, purchase: &Purchase) -> Option<i64> {
        Some(purchase.updated_at.saturating_add(HORIZON_SECONDS))
    }

    fn held_up(&self, purchase: &Purchase, _now: i64) -> Option<Error> {
        let (status, url) = heard(purchase);
        if status != Some("supplier_onboarding") {
            return None;
        }
        let message = format!(
            "{} waits for its supplier, who first has to join Paegents; it may be paid then",
            purchase.id
        );
        let error = Error::new(Code::PaymentPending, message).next(status_call(purchase));
        Some(error.recovery(|recovery| {
            recovery.upstream_untrusted = url.map(|url| json!({ "next_action_url": url }));
        }))
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        // Paid by the owner's word: there is nothing more to be had.
        let body = json!({ "status": "paid", "txn_id": purchase.reference });
        let answer = Answer { status: 200, body: body.to_string().into_bytes() };
        async move { Ok(Collected::Delivered(answer)) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supplier_is_a_host_name() {
        let long = format!("{}.example", "a".repeat(64));
        let name = |name: &str| Domain::try_from(name.to_owned());
        for good in ["supplier.example", "a.b-c.co", "x1.io", "xn--bcher-kva.example"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "Supplier.example",
            "supplier.example:443",
            "supplier.example/pay",
            "https://supplier.example",
            "user@supplier.example",
            "127.0.0.1",
            ".example",
            "supplier.",
            "a..b",
            "-a.example",
            "a-.example",
            "süpplier.example",
            "a b.example",
            "a.example\n",
            "a.example?x",
            "[::1]",
            &long,
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
