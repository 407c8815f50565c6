//! The gateway call: asked for, paid, collected. Source: protocols/crochet.md §7.

use std::sync::Arc;

use alloy_primitives::Address;
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::{
    Crochet,
    call::{Call, Said, seller_refused},
    caps::within_cap,
    requirement::Requirement,
};
use crate::{
    access::Access,
    error::{Code, Error, MoneyMoved},
    journal::Purchase,
    marketplaces::{Marketplace, payable_address},
    money::Usdc,
    recovery::NextAction,
    spend::{Account, Collected, Fate, Instrument, Payment, Prepared, evm::Evm},
};

/// The route that a wallet without USDC is sent to, and that low prices need.
const SOLANA_ROUTE: &str = "SOL";
/// The route of a wallet of ours.
pub const USDC_ROUTE: &str = "USDC";
const ROUTE_MINIMUM: &str = "PAYMENT_ROUTE_MINIMUM_NOT_MET";

/// Pays gateway calls.
#[derive(Debug)]
pub struct Gateway {
    access: Arc<Access>,
}

impl Gateway {
    /// Pays for the account of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    /// Crochet as this purchase knows it.
    async fn crochet(&self, purchase: &Purchase) -> Result<Crochet, Error> {
        let crochet = self.access.crochet().await?;
        self.access.check_origin(&crochet.api, purchase)?;
        Ok(crochet)
    }

    async fn call(&self, purchase: &Purchase, paid: Option<&str>) -> Result<Said, Error> {
        let crochet = self.crochet(purchase).await?;
        let call = Call {
            listing_id: &purchase.item_id,
            body: &purchase.body,
            key: Some(&purchase.idempotency_key),
            route: &purchase.route,
            paid,
        };
        let said = call.send(&crochet, &self.access).await;
        match said {
            // The relay request alone tells which payment it is.
            Ok(Said::Refused(error))
                if paid.is_some()
                    && error
                        .upstream_code
                        .as_deref()
                        .is_some_and(|c| c.contains("IDEMPOTENCY")) =>
            {
                Call { key: None, ..call }.send(&crochet, &self.access).await
            }
            other => other,
        }
    }

    async fn evm(&self) -> Result<Evm, Error> {
        Ok(Evm { chain: self.access.chain().await?, wallet: self.access.wallet().await? })
    }

    async fn prepare(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        let said = self.call(purchase, None).await?;
        let minimum = matches!(&said, Said::Refused(error)
            if error.upstream_code.as_deref() == Some(ROUTE_MINIMUM));
        if !minimum || purchase.route == SOLANA_ROUTE {
            return self.prepared(purchase, said, None).await;
        }
        // Nothing was paid under the old key, and nothing can be: the gateway refused it.
        let mut other = purchase.clone();
        SOLANA_ROUTE.clone_into(&mut other.route);
        other.idempotency_key.push_str("-sol");
        let said = self.call(&other, None).await?;
        let rerouted = Some((other.route.clone(), other.idempotency_key.clone()));
        self.prepared(&other, said, rerouted).await
    }

    async fn prepared(
        &self,
        purchase: &Purchase,
        said: Said,
        rerouted: Option<(String, String)>,
    ) -> Result<Prepared, Error> {
        let requirement = match said {
            Said::Served(answer) => return Ok(Prepared::Served(answer)),
            Said::Due(requirement) => requirement,
            Said::Refused(error) => return Err(error),
            Said::SellerRefused(answer) => return Err(seller_refused(&purchase.item_id, &answer)),
            Said::Pending => {
                let message = "Crochet says that a settlement is pending, and nothing was paid";
                return Err(Error::new(Code::PaymentPending, message).money(MoneyMoved::No));
            }
        };
        if requirement.expires_at <= self.access.clock().now() {
            let message = "Crochet's payment requirement is over before it could be paid";
            return Err(Error::new(Code::Expired, message));
        }
        let (wallet, chain_id) = (self.access.wallet().await?, purchase.chain_id);
        if !requirement.is_usdc_on(chain_id) || wallet.evm_address().is_none() {
            return self.external(purchase, &requirement, rerouted);
        }
        let amount = requirement.usdc()?;
        if amount > purchase.max_total {
            // The gate refuses it; the wallet need not be asked.
            return Ok(Prepared::Pay(instrument(&requirement, amount, chain_id, None, rerouted)));
        }
        let destination = destination(&requirement)?;
        let evm = self.evm().await?;
        let pinned = evm.chain.pins().usdc;
        if let Some(token) = &requirement.token
            && token.parse::<Address>().ok() != Some(pinned)
        {
            let message = format!("Crochet asks for the token {token}; USDC is {pinned}");
            return Err(Error::new(Code::TermsMismatch, message).field("token_address", None));
        }
        let ready = evm.ready(destination, amount).await?;
        let mut instrument = instrument(&requirement, amount, chain_id, None, rerouted);
        if let Some(details) = instrument.details.as_object_mut() {
            details.insert("transfer".to_owned(), ready.transfer);
        }
        instrument.account = Some(Account { address: ready.account, nonce: Some(ready.nonce) });
        Ok(Prepared::Pay(instrument))
    }

    /// What someone else has to pay: only what the owner has set a limit for.
    fn external(
        &self,
        purchase: &Purchase,
        requirement: &Requirement,
        rerouted: Option<(String, String)>,
    ) -> Result<Prepared, Error> {
        let policy = &self.access.settings().policy;
        let currency = requirement.currency.clone().unwrap_or_else(|| "USDC".to_owned());
        let amount = match currency.as_str() {
            "USDC" if !requirement.chain_is(purchase.chain_id) => {
                let chain = requirement.chain.as_deref().unwrap_or_default();
                let message = format!(
                    "Crochet asks for USDC on the chain {chain}; payments are made on {}",
                    purchase.chain_id
                );
                return Err(Error::new(Code::ChainMismatch, message));
            }
            "USDC" => requirement.usdc()?,
            other => {
                within_cap(other, requirement, policy.other_assets.get(other))?;
                requirement.amount_usd.unwrap_or(purchase.max_total)
            }
        };
        let chain_id = if currency == "USDC" { purchase.chain_id } else { 0 };
        Ok(Prepared::External(instrument(requirement, amount, chain_id, Some(currency), rerouted)))
    }

    async fn collected(&self, purchase: &Purchase) -> Result<Collected, Error> {
        let said = self.call(purchase, purchase.reference.as_deref()).await?;
        Ok(match said {
            Said::Served(answer) => Collected::Delivered(answer),
            Said::Pending => Collected::Pending,
            // Another demand for the same call is no reason to pay again.
            Said::Due(_) => Collected::Unpaid,
            Said::SellerRefused(answer) => {
                Collected::Failed(seller_refused(&purchase.item_id, &answer), Some(answer))
            }
            Said::Refused(error) if may_pass(&error) => return Err(error),
            Said::Refused(error) => Collected::Failed(error, None),
        })
    }

    async fn fate(&self, purchase: &Purchase) -> Result<Fate, Error> {
        if purchase.account.is_some() {
            let on_chain = self.evm().await?.look_up(purchase).await;
            match on_chain {
                Ok(fate @ (Fate::Paid | Fate::Receipt(_) | Fate::Pending | Fate::Known(_))) => {
                    return Ok(fate);
                }
                // One node's word is no proof: it may lag, or lie.
                Ok(Fate::Dead(_, why) | Fate::Refused(_, why, _)) => {
                    return Ok(self.dead(purchase, why).await);
                }
                Ok(Fate::Unknown(_)) | Err(_) => {}
            }
            // The chain cannot tell; Crochet's own record can, where it has the payment.
            if self.settled_at_crochet(purchase).await.unwrap_or(false) {
                return Ok(Fate::Paid);
            }
            return on_chain;
        }
        // Paid from elsewhere, if at all: what was served was paid for; of anything else only
        // Crochet's own record says that the payment is settled.
        Ok(match self.collected(purchase).await {
            Ok(Collected::Delivered(_) | Collected::Failed(_, Some(_))) => Fate::Paid,
            Ok(Collected::Unpaid) => Fate::Unknown("Crochet has seen no payment".to_owned()),
            _ if self.settled_at_crochet(purchase).await.unwrap_or(false) => Fate::Paid,
            Ok(Collected::Pending | Collected::Later) => Fate::Pending,
            Ok(Collected::Failed(error, None)) => Fate::Unknown(error.to_string()),
            Err(error) if error.is(Code::Expired) => return Err(over(error)),
            Err(error) => return Err(error),
        })
    }

    /// Dead on the chain is dead only where Crochet has seen no payment either. Showing the relay
    /// request moves no money.
    async fn dead(&self, purchase: &Purchase, why: String) -> Fate {
        match self.collected(purchase).await {
            Ok(Collected::Unpaid) => Fate::Dead(Code::UpstreamRejected, why),
            Ok(Collected::Delivered(_) | Collected::Pending | Collected::Later) => Fate::Paid,
            // Crochet's own end of a requirement for which nothing arrived.
            Err(error) if error.is(Code::Expired) => Fate::Dead(Code::UpstreamRejected, why),
            Ok(Collected::Failed(..)) | Err(_) => {
                Fate::Unknown(format!("{why}, says the chain's node; Crochet does not confirm it"))
            }
        }
    }

    async fn settled_at_crochet(&self, purchase: &Purchase) -> Result<bool, Error> {
        let Some(relay) = purchase.reference.as_deref().and_then(|r| r.parse().ok()) else {
            return Ok(false);
        };
        let crochet = self.crochet(purchase).await?;
        let row = super::history::find_relay(&crochet.api, &relay).await?;
        Ok(row.is_some_and(|row| row.is_settled()))
    }
}

impl Payment for Gateway {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        Self::prepare(self, purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        async move { self.evm().await?.seal(purchase) }.boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        async move {
            match self.evm().await {
                Ok(evm) => evm.send(purchase).await,
                Err(error) => Fate::Unknown(error.to_string()),
            }
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        self.fate(purchase).boxed()
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        self.collected(purchase).boxed()
    }
}

/// Whether a refusal of a paid call may not be the last word.
fn may_pass(error: &Error) -> bool {
    let said = error.recovery.upstream_untrusted.as_ref();
    let retryable = said.and_then(|hint| hint.get("retryable")).and_then(Value::as_bool);
    // The gateway's own failure: the same relay request may be shown again, it says nothing final.
    let failed = error.http_status.is_some_and(|status| status >= 500) && retryable.is_none();
    retryable == Some(true)
        || failed
        || matches!(
            error.code,
            Code::RateLimited | Code::Unauthorized | Code::NotAllowed | Code::EgressBlocked
        )
}

/// Crochet no longer waits for a payment from elsewhere. Whether one is on its way, only its payer
/// knows.
fn over(error: Error) -> Error {
    error.recovery(|r| {
        r.set(
            NextAction::AskOwner,
            false,
            "Crochet no longer waits for this payment. The owner says whether it was made, with \
             `haggle purchases resolve`.",
        );
    })
}

fn destination(requirement: &Requirement) -> Result<Address, Error> {
    let text = requirement.destination.as_deref().unwrap_or_default();
    payable_address(text).ok_or_else(|| {
        let message = "Crochet's payment requirement has no address that can be paid";
        Error::new(Code::PayeeNotAllowed, message)
            .at(Marketplace::Crochet)
            .field("deposit_address", None)
    })
}

fn instrument(
    requirement: &Requirement,
    amount: Usdc,
    chain_id: u64,
    asset: Option<String>,
    rerouted: Option<(String, String)>,
) -> Instrument {
    Instrument {
        reference: requirement.relay_request_id.to_string(),
        amount,
        asset: asset.unwrap_or_else(|| "USDC".to_owned()),
        chain_id,
        details: requirement.for_payer(),
        rerouted,
        account: None,
    }
}
