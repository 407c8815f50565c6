//! Transactions of the wallet that pay nobody: they bring money home, or allow an escrow to take
//! exactly so much. They share the wallet's nonces with the payments, and so their locks.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use serde_json::json;

use super::{Spending, check_call, random, reserve::take_nonce};
use crate::{
    access::Access,
    chain::{Chain, GAS_LIMIT_MAX},
    error::{Code, Error},
    ids::PurchaseId,
    journal::{
        self,
        actions::{self, Action, Kind, Mode, Stage},
    },
    marketplaces::Marketplace,
    store::leases::Lease,
    wallet::{
        SignError, Wallet,
        call::{Act, Call, CallBounds},
    },
};

/// What is to be sent, and for whom.
#[derive(Debug)]
pub struct OwnCall<'a> {
    /// Who asked for it.
    pub principal: &'a str,
    /// Of which agreement.
    pub agreement_id: &'a str,
    /// What.
    pub kind: Kind,
    /// The call.
    pub act: Act,
    /// What it is held against.
    pub bounds: CallBounds,
}

impl Spending {
    /// Keeps an agreement's actions of a kind to one process at a time.
    ///
    /// # Errors
    ///
    /// [`Code::Conflict`] where another keeps it.
    pub async fn action_lease(&self, agreement_id: &str, kind: Kind) -> Result<Lease, Error> {
        let lease = self.lease(&format!("action:{agreement_id}:{}", kind.name())).await?;
        lease.ok_or_else(|| {
            let message = format!("another call is busy with the {} of it just now", kind.name());
            Error::new(Code::Conflict, message).at(Marketplace::Paegents)
        })
    }

    /// Sends a transaction of the wallet, once it is written down.
    ///
    /// # Errors
    ///
    /// Where it cannot be sent, and nothing was: the wallet is busy or has no gas, the node does not
    /// answer, or the signature is refused.
    pub async fn send_own(&self, access: &Access, call: OwnCall<'_>) -> Result<Action, Error> {
        let (chain, wallet) = (access.chain().await?, access.wallet().await?);
        let from = wallet.evm_address().ok_or_else(|| {
            Error::new(Code::InsufficientFunds, "there is no EVM wallet: `haggle keys generate`")
        })?;
        let account = from.to_checksum(None);
        let chain_id = chain.pins().chain_id;
        let Some(_lease) = self.lease(&format!("account:{chain_id}:{account}")).await? else {
            let message = "the wallet is paying something else just now";
            return Err(Error::new(Code::Conflict, message).at(Marketplace::Paegents));
        };
        self.nothing_is_open(&chain, &account).await?;
        let (fields, nonce) = priced(&chain, from, &call).await?;
        let now = self.clock.now();
        let template = Action {
            id: action_id()?,
            principal: call.principal.to_owned(),
            agreement_id: call.agreement_id.to_owned(),
            kind: call.kind,
            mode: Mode::Own,
            chain_id,
            account,
            account_nonce: None,
            details: json!(null),
            stage: Stage::Submitted,
            tx_hash: None,
            failure: None,
        };
        let bounds = call.bounds.clone();
        let written = self.store.transact(move |db| {
            let nonce = take_nonce(db, chain_id, &template.account, nonce)?;
            let fields = Call { nonce, ..fields };
            let signed = wallet.sign_call(&fields, &bounds).map_err(|error| refused(&error))?;
            let action = Action {
                account_nonce: Some(nonce),
                details: json!(fields),
                tx_hash: Some(signed.hash.to_string()),
                ..template
            };
            actions::begin(db, &action, now)?;
            Ok((action, signed))
        });
        let (begun, transaction) = match written.await {
            Err(error) if error.is(Code::InstanceConflict) => {
                // The freeze has to outlive the transaction that found out.
                self.store
                    .transact(move |db| super::approvals::freeze(db, "instance_conflict", now))
                    .await?;
                return Err(error);
            }
            written => written?,
        };
        // What became of it is asked: an answer that is missing says nothing.
        if let Err(error) = chain.send_raw(&transaction.raw).await {
            tracing::warn!(action = begun.id, %error, "an own transaction's answer is missing");
        }
        Ok(begun)
    }

    /// What became of an own transaction; one that nobody has seen is sent again, the same bytes.
    ///
    /// # Errors
    ///
    /// Where the node does not answer.
    pub async fn follow_own(
        &self,
        access: &Access,
        action: Action,
        bounds: &CallBounds,
    ) -> Result<Action, Error> {
        let (chain, wallet) = (access.chain().await?, access.wallet().await?);
        let (fields, hash) = transaction_of(&action)?;
        let found = self.found(&chain, action).await?;
        if found.stage == Stage::Submitted && !chain.knows(hash).await? {
            resend(&chain, &wallet, &fields, bounds, hash).await;
        }
        Ok(found)
    }

    /// An own transaction as the chain has it. Sends nothing.
    async fn found(&self, chain: &Chain, mut action: Action) -> Result<Action, Error> {
        let (fields, hash) = transaction_of(&action)?;
        let from: Address = action.account.parse().map_err(|_| broken())?;
        // In this order: were the nonce read last, a transaction mined in between would look dead.
        let used = chain.nonce_latest(from).await?;
        match chain.receipt(hash).await? {
            Some(receipt) if receipt.succeeded => action.stage = Stage::Done,
            Some(_) => {
                action.stage = Stage::Failed;
                action.failure = Some(format!("the transaction {hash} was reverted"));
            }
            None if used > fields.nonce && !chain.knows(hash).await? => {
                action.stage = Stage::Failed;
                action.failure = Some("its nonce was used for something else".to_owned());
            }
            None => return Ok(action),
        }
        self.record_action(action).await
    }

    /// Writes a new action down.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn begin_action(&self, action: Action) -> Result<Action, Error> {
        let now = self.clock.now();
        self.store
            .transact(move |db| {
                actions::begin(db, &action, now)?;
                Ok(action)
            })
            .await
    }

    /// Writes down where an action stands.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn record_action(&self, action: Action) -> Result<Action, Error> {
        let now = self.clock.now();
        self.store
            .transact(move |db| {
                actions::record(db, &action, now)?;
                Ok(action)
            })
            .await
    }

    /// Nothing else of this account may be on its way: a nonce is given out once.
    async fn nothing_is_open(&self, chain: &Chain, account: &str) -> Result<(), Error> {
        let (of, chain_id) = (account.to_owned(), chain.pins().chain_id);
        let open = self.store.with(move |db| {
            let paying = journal::active_on_account(db, chain_id, &of)?;
            Ok((paying, actions::open_on_account(db, chain_id, &of)?))
        });
        let (paying, acting) = open.await?;
        if let Some(purchase) = paying.first() {
            let message = format!("the wallet's payment {} is not resolved yet", purchase.id);
            return Err(Error::new(Code::Conflict, message).next(check_call(&purchase.id)));
        }
        for action in acting {
            // Nobody may have looked since it was sent.
            let action = self.found(chain, action).await?;
            if action.stage != Stage::Submitted {
                continue;
            }
            let message = format!(
                "the wallet's {} of {} is not in a block yet",
                action.kind.name(),
                action.agreement_id
            );
            return Err(Error::new(Code::Conflict, message).at(Marketplace::Paegents));
        }
        Ok(())
    }
}

/// What an own transaction was signed from, and its hash.
fn transaction_of(action: &Action) -> Result<(Call, B256), Error> {
    let fields: Call = serde_json::from_value(action.details.clone()).map_err(|_| broken())?;
    let hash = action.tx_hash.as_deref().and_then(|hash| hash.parse::<B256>().ok());
    Ok((fields, hash.ok_or_else(broken)?))
}

fn broken() -> Error {
    Error::new(Code::Internal, "the journal's action is no transaction")
}

/// What the transaction costs, and the chain's next nonce.
async fn priced(
    chain: &Arc<Chain>,
    from: Address,
    call: &OwnCall<'_>,
) -> Result<(Call, u64), Error> {
    let fees = chain.fees().await?;
    let gas = chain.estimate_gas(from, call.act.contract(), call.act.call_data()).await?;
    let gas_limit = gas.saturating_add(gas / 5).min(GAS_LIMIT_MAX);
    let needed = U256::from(gas_limit) * U256::from(fees.max_fee_per_gas);
    let wei = chain.eth_balance(from).await?;
    if wei < needed {
        let message =
            format!("the wallet {from} has {wei} wei for the network's fee of up to {needed}");
        return Err(Error::new(Code::InsufficientFunds, message));
    }
    let fields = Call {
        chain_id: chain.pins().chain_id,
        act: call.act.clone(),
        nonce: 0,
        max_fee_per_gas: fees.max_fee_per_gas,
        max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
        gas_limit,
    };
    Ok((fields, chain.nonce_pending(from).await?))
}

async fn resend(chain: &Chain, wallet: &Wallet, fields: &Call, bounds: &CallBounds, hash: B256) {
    let signed = wallet.sign_call(fields, bounds);
    let Ok(signed) = signed.inspect_err(|error| tracing::warn!(%error, "not signed again")) else {
        return;
    };
    if signed.hash == hash
        && let Err(error) = chain.send_raw(&signed.raw).await
    {
        tracing::warn!(%hash, %error, "an own transaction was not taken");
    }
}

fn refused(error: &SignError) -> Error {
    Error::new(Code::SigningRefused, format!("nothing was sent: {error}")).at(Marketplace::Paegents)
}

/// A name for an action.
///
/// # Errors
///
/// As [`random`].
pub fn action_id() -> Result<String, Error> {
    Ok(PurchaseId::from_random(random()?).as_str().replacen("pur_", "act_", 1))
}
