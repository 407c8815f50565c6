//! Paying an order: read, checked, paid once, asked about. Source: protocols/croo.md §3, §6.2, §10,
//! §11.
//!
//! The platform moves the money from the agent's account at CROO: there is nothing to sign. So the
//! instrument is the order itself, and a lost answer is settled by reading the order; `pay` is never
//! sent again for it.

use std::sync::Arc;

use alloy_primitives::Address;
use futures::{FutureExt, future::BoxFuture};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Croo,
    deliveries::GetDelivery,
    orders::{Cost, Order},
    steps::{is_final, is_paid},
    text, word,
};
use crate::{
    access::Access,
    error::{Code, Error},
    ids::{NegotiationId, OrderId},
    journal::{Fund, Purchase},
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
        payable_address,
    },
    money::Usdc,
    recovery::NextCall,
    spend::{Account, Answer, Collected, Fate, Instrument, Payment, Prepared},
};

/// How long after its payment was sent an order that still stands unpaid is believed: the request's
/// own timeout, and as much again for what it set in motion at the platform, twice over.
pub const HORIZON_SECONDS: i64 = 120;

/// Pays an order: `POST /orders/{id}/pay`. The platform answers before the chain has confirmed it.
#[derive(Debug, Serialize)]
struct PayOrder<'a> {
    #[serde(skip)]
    order_id: &'a OrderId,
}

impl Operation for PayOrder<'_> {
    const NAME: &'static str = "croo.pay_order";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Paid;

    fn path(&self) -> String {
        format!("/orders/{}/pay", self.order_id)
    }
}

/// What paying gave. The order in it may lack its price, so it is read again (§10).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paid {
    order: Order,
    #[serde(default, deserialize_with = "text")]
    tx_hash: String,
}

/// What policy and approval bind of an order, as the body of its purchase.
#[derive(Debug, Serialize)]
struct Bound<'a> {
    order_id: &'a OrderId,
    service_id: Option<&'a str>,
    wallet: &'a str,
    requirements: &'a str,
}

/// What makes two requests to pay an order the same purchase.
#[must_use]
pub fn natural_key(order_id: &OrderId) -> String {
    format!("croo:order:{order_id}")
}

/// What an order is known by as well: the negotiation that it came of.
#[must_use]
pub fn negotiation_key(negotiation_id: &NegotiationId) -> String {
    format!("croo:negotiation:{negotiation_id}")
}

/// The body of an order's purchase: a second reading that differs in it is another order.
#[must_use]
pub fn body(order: &Order) -> Vec<u8> {
    let bound = Bound {
        order_id: &order.order_id,
        service_id: order.service_id.as_ref().map(crate::ids::ServiceId::as_str),
        wallet: &order.requester_wallet_address,
        requirements: &order.requirements,
    };
    serde_json::to_vec(&bound).unwrap_or_default()
}

/// What of an order goes to the address that its provider chose.
///
/// # Errors
///
/// [`Code::PayeeNotAllowed`] where that is no address.
pub fn fund(order: &Order, cost: &Cost) -> Result<Option<Fund>, Error> {
    if cost.fund == Usdc::ZERO {
        return Ok(None);
    }
    let payee = address("providerFundAddress", &order.provider_fund_address)?;
    Ok(Some(Fund { amount: cost.fund, payee: payee.to_checksum(None) }))
}

fn address(field: &str, text: &str) -> Result<Address, Error> {
    payable_address(text).ok_or_else(|| {
        let message = format!("the order's {field} is no address that can be paid");
        Error::new(Code::PayeeNotAllowed, message).at(Marketplace::Croo).field(field, None)
    })
}

/// Pays orders.
#[derive(Debug)]
pub struct Orders {
    access: Arc<Access>,
}

impl Orders {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    /// CROO as this purchase knows it.
    async fn croo(&self, purchase: &Purchase) -> Result<Croo, Error> {
        let croo = self.access.croo().await?.registered()?;
        self.access.check_origin(&croo.api, purchase)?;
        Ok(croo)
    }

    async fn order(&self, purchase: &Purchase) -> Result<Order, Error> {
        let order_id = order_id(purchase)?;
        self.croo(purchase).await?.order(&order_id).await
    }

    /// Reads the order once more and holds it against what was approved.
    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        let order = self.order(purchase).await?;
        if !matches!(order.status.as_str(), "created" | "pay_failed") {
            let status = word(&order.status);
            let message =
                format!("the order {} is {status}, so it cannot be paid", purchase.item_id);
            let about = json!({ "order_id": order.order_id });
            let look = NextCall::new("croo_get_order", about, "shows what can be done with it");
            return Err(Error::new(Code::WrongState, message).at(Marketplace::Croo).next(look));
        }
        let chain = self.access.chain().await?;
        let usdc = chain.pins().usdc;
        let cost = order.cost(usdc)?;
        let seller = order.provider_agent_id.as_ref().map_or("", |id| id.as_str());
        let fund = fund(&order, &cost)?;
        let differs = [
            ("providerAgentId", seller != purchase.seller_id),
            ("requirements", body(&order) != purchase.body),
            ("providerFundAddress", fund != purchase.fund),
            // A dearer order is another matter: the gate holds it against what was allowed.
            ("price", cost.total < purchase.price),
        ];
        if let Some((field, _)) = differs.iter().find(|(_, differs)| *differs) {
            let message = format!(
                "the member {field} of the order {} has changed since it was approved",
                purchase.item_id
            );
            return Err(Error::new(Code::TermsMismatch, message)
                .at(Marketplace::Croo)
                .field(*field, None));
        }
        let wallet = address("requesterWalletAddress", &order.requester_wallet_address)?;
        let details = json!({
            "order_id": order.order_id,
            "negotiation_id": order.negotiation_id,
            "status_before": order.status,
            "price_usd": cost.price,
            "fee_usd": cost.fee,
            "gas_usd": cost.gas,
            "fund_usd": cost.fund,
            "wallet": wallet.to_checksum(None),
        });
        if cost.total <= purchase.max_total && self.access.settings().croo.balance_check {
            // A node that does not answer is told apart from an empty wallet.
            let balance = chain.usdc_balance(wallet).await?;
            if balance < cost.total {
                let message = format!(
                    "the agent's wallet at CROO, {wallet}, has {balance} USDC, and {} are needed",
                    cost.total
                );
                return Err(Error::new(Code::InsufficientFunds, message).at(Marketplace::Croo));
            }
        }
        Ok(Prepared::Pay(Instrument {
            reference: order.order_id.to_string(),
            amount: cost.total,
            asset: "USDC".to_owned(),
            chain_id: chain.pins().chain_id,
            details,
            rerouted: None,
            account: Some(Account { address: wallet.to_checksum(None), nonce: None }),
        }))
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let sent = async {
            let order_id = order_id(purchase)?;
            self.croo(purchase).await?.api.send(&PayOrder { order_id: &order_id }).await
        };
        match sent.await {
            Ok(paid) if paid.order.order_id.as_str() != purchase.item_id => {
                Fate::Unknown("the answer to the payment was about another order".to_owned())
            }
            Ok(paid) => {
                tracing::debug!(purchase = %purchase.id, tx = paid.tx_hash, "pay was answered");
                if is_paid(&paid.order.status) { Fate::Paid } else { Fate::Pending }
            }
            // CROO's own refusal: it did nothing. The order tells, in case it was paid before.
            Err(error) if is_refusal(&error) => match self.order(purchase).await {
                Ok(order) if stands_unpaid(&order) => {
                    Fate::Dead(refused_as(&error), error.to_string())
                }
                Ok(order) => self.fate_of(&order, purchase),
                Err(_) => Fate::Unknown(error.to_string()),
            },
            Err(error) => Fate::Unknown(error.to_string()),
        }
    }

    /// What an order says of its payment.
    fn fate_of(&self, order: &Order, purchase: &Purchase) -> Fate {
        let status = order.status.as_str();
        if is_paid(status) || !order.paid_at.is_empty() {
            return Fate::Paid;
        }
        let dead = |why: String| Fate::Dead(Code::UpstreamRejected, why);
        let before = purchase.instrument.as_ref().and_then(|fields| fields.get("status_before"));
        let before = before.and_then(Value::as_str);
        match status {
            // As it was before: the request may not have arrived yet, or never will.
            "created" | "pay_failed" if status == "created" || before == Some(status) => {
                let since = self.access.clock().now() - purchase.updated_at;
                if since > HORIZON_SECONDS {
                    dead(format!("{since} s after the request the order still stands unpaid"))
                } else {
                    Fate::Unknown(format!(
                        "the order still stands unpaid, and the request may be on its way for {} s",
                        HORIZON_SECONDS - since
                    ))
                }
            }
            "pay_failed" => dead("the payment failed on chain, and nothing was taken".to_owned()),
            _ if is_final(status) => {
                dead(format!("the order is {}, and was never paid", word(status)))
            }
            _ => Fate::Pending,
        }
    }

    async fn collected(&self, purchase: &Purchase) -> Result<Collected, Error> {
        let order = self.order(purchase).await?;
        match order.status.as_str() {
            "completed" => {
                let get = GetDelivery { order_id: &order.order_id };
                let delivery = self.croo(purchase).await?.api.send(&get).await?.delivery;
                let body = delivery.content().as_bytes().to_vec();
                Ok(Collected::Delivered(Answer { status: 200, body }))
            }
            status @ ("rejected" | "expired") => {
                let message = format!(
                    "the order was {status} after it was paid; CROO gives the price back to the \
                     agent's wallet"
                );
                Ok(Collected::Failed(Error::new(Code::PaidNotDelivered, message), None))
            }
            _ => Ok(Collected::Later),
        }
    }
}

fn order_id(purchase: &Purchase) -> Result<OrderId, Error> {
    purchase.item_id.parse().map_err(|_| {
        Error::new(Code::Internal, format!("{} names no order", purchase.id)).purchase(&purchase.id)
    })
}

fn stands_unpaid(order: &Order) -> bool {
    matches!(order.status.as_str(), "created" | "pay_failed")
}

/// Whether nothing was carried out: CROO said so in its own words, or something before it did. A
/// timeout of something in between is neither.
fn is_refusal(error: &Error) -> bool {
    let is_late = |status| matches!(status, 408 | 425 | 499);
    let status = error.http_status.unwrap_or_default();
    (400..500).contains(&status) && (error.upstream_code.is_some() || !is_late(status))
}

/// As what a refusal of the payment ends the purchase.
fn refused_as(error: &Error) -> Code {
    match error.code {
        code @ (Code::InsufficientFunds | Code::Unauthorized | Code::NotAllowed) => code,
        _ => Code::UpstreamRejected,
    }
}

impl Payment for Orders {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        // Nothing is signed: the order's identifier is what it is known by.
        async move { Ok(purchase.instrument.clone().unwrap_or_default()) }.boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        async move { Ok(self.fate_of(&self.order(purchase).await?, purchase)) }.boxed()
    }

    fn certain_at(&self, purchase: &Purchase) -> Option<i64> {
        Some(purchase.updated_at.saturating_add(HORIZON_SECONDS))
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        self.collected(purchase).boxed()
    }
}
