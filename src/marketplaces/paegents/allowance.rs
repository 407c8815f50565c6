//! Funding an escrow from an allowance: exactly the deposit, given by a transaction of the wallet
//! before anything is signed for the escrow. Source: protocols/paegents.md §6.4, §10.3.
//!
//! Invariants: nothing is allowed that was not asked for, nothing above the deposit, and nothing
//! while another payment of the wallet by a permit or an allowance is open; what was sent is
//! followed to its end before another transaction is made.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde_json::json;

use super::{escrow::FundingMode, offer::Offer};
use crate::{
    access::Access,
    chain::Chain,
    error::{Code, Error, MoneyMoved},
    ids::AgreementId,
    journal::actions::{self, Action, Kind, Stage},
    marketplaces::Marketplace,
    money::Usdc,
    recovery::{NextAction, NextCall},
    spend::{Spending, actions::OwnCall},
    wallet::call::{Act, Approved, CallBounds},
};

/// How long a caller is kept with a transaction that is not in a block yet.
const FOLLOW_AT_MOST: Duration = Duration::from_secs(45);
/// How often it is looked for.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// After how long a caller may come back for it, in seconds.
const COME_BACK_SECONDS: u64 = 5;

/// What the escrow contract is to be allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Who asked for it.
    pub(super) principal: &'a str,
    /// For which agreement.
    pub(super) agreement_id: &'a AgreementId,
    /// Whose USDC.
    pub(super) wallet: Address,
    /// The contract that may take it.
    pub(super) escrow: Address,
    /// Exactly how much.
    pub(super) deposit: Usdc,
    /// Whether the caller has asked for an allowance, so that one may be given.
    pub(super) is_asked: bool,
}

/// How the deposit is drawn: by a permit where the platform takes one and nobody asked otherwise.
///
/// # Errors
///
/// [`Code::TermsMismatch`] where the platform takes neither; [`Code::WrongState`] where it takes
/// only an allowance that is too small, and nobody has asked for one.
pub async fn funding_mode(
    chain: &Chain,
    offer: &Offer,
    by_allowance: bool,
) -> Result<FundingMode, Error> {
    let offers = |mode: &str| offer.package.funding.mode_options.iter().any(|one| one == mode);
    if offers("erc2612_permit") && !by_allowance {
        return Ok(FundingMode::Permit);
    }
    if !offers("prior_allowance") {
        let message = if by_allowance {
            "the platform does not take an allowance for this escrow"
        } else {
            "the platform offers no way to fund the escrow that is known here"
        };
        return Err(Error::new(Code::TermsMismatch, message)
            .at(Marketplace::Paegents)
            .field("funding.mode_options", None));
    }
    let allowed = chain.allowance(offer.wallet, offer.escrow).await?;
    if by_allowance || allowed >= micros(offer.asked.deposit) {
        return Ok(FundingMode::Allowance);
    }
    let error = too_small((offer.wallet, offer.escrow), allowed, offer.asked.deposit);
    let again = json!({
        "agreement_id": offer.agreement.agreement_id,
        "max_total_usd": offer.asked.total,
        "allowance": true,
    });
    let why = "allows exactly the deposit, waits for that, then pays";
    Err(error.next(NextCall::new("paegents_activate_escrow", again, why)))
}

impl Wanted<'_> {
    /// Sees to it that the contract may take the deposit: gives exactly that where it may take less.
    ///
    /// # Errors
    ///
    /// [`Code::WrongState`] where it is too small and none was asked for; [`Code::PaymentPending`]
    /// while the transaction is on its way; [`Code::UpstreamRejected`] where it was carried out and
    /// gave nothing; whatever stops a transaction of the wallet. Nothing was paid.
    pub(super) async fn given(&self, access: &Access, gate: &Spending) -> Result<(), Error> {
        let chain = access.chain().await?;
        let _lease = gate.action_lease(self.agreement_id.as_str(), Kind::Approve).await?;
        let bounds = CallBounds {
            chain_id: chain.pins().chain_id,
            escrow: self.escrow,
            approved: Approved::Allowance(self.deposit),
        };
        // What an earlier call has sent may be in no block yet: it is not sent a second time.
        if let Some(earlier) = self.open(access).await? {
            self.followed(access, gate, &bounds, earlier).await?;
        }
        let allowed = chain.allowance(self.wallet, self.escrow).await?;
        if allowed >= micros(self.deposit) {
            return Ok(());
        }
        if !self.is_asked {
            return Err(too_small((self.wallet, self.escrow), allowed, self.deposit));
        }
        let call = OwnCall {
            principal: self.principal,
            agreement_id: self.agreement_id.as_str(),
            kind: Kind::Approve,
            act: Act::Approve {
                token: chain.pins().usdc,
                spender: self.escrow,
                amount: self.deposit,
            },
            bounds: bounds.clone(),
        };
        let sent = gate.send_own(access, call).await?;
        let ended = self.followed(access, gate, &bounds, sent).await?;
        if chain.allowance(self.wallet, self.escrow).await? >= micros(self.deposit) {
            return Ok(());
        }
        let what = self.transaction(&ended);
        if ended.stage == Stage::Failed {
            let why = ended.failure.as_deref().unwrap_or("it came to nothing");
            let message = format!("{what} gave nothing: {why}; nothing was paid");
            return Err(Error::new(Code::UpstreamRejected, message).at(Marketplace::Paegents));
        }
        let message = format!("{what} is in a block, and the chain's node does not show it yet");
        Err(Error::new(Code::ChainUnavailable, message).at(Marketplace::Paegents))
    }

    /// The transaction of an earlier call that is open.
    async fn open(&self, access: &Access) -> Result<Option<Action>, Error> {
        let (who, agreement) = (self.principal.to_owned(), self.agreement_id.to_string());
        let latest = access
            .store()
            .with(move |db| actions::latest(db, &who, &agreement, Kind::Approve))
            .await?;
        Ok(latest.filter(|action| action.stage == Stage::Submitted))
    }

    /// A transaction that is over, or the word that it is on its way.
    async fn followed(
        &self,
        access: &Access,
        gate: &Spending,
        bounds: &CallBounds,
        mut action: Action,
    ) -> Result<Action, Error> {
        let started = tokio::time::Instant::now();
        loop {
            action = gate.follow_own(access, action, bounds).await?;
            if action.stage != Stage::Submitted {
                return Ok(action);
            }
            if started.elapsed() >= gate.patience(FOLLOW_AT_MOST) {
                let what = self.transaction(&action);
                let message = format!("{what} is in no block yet; nothing was paid");
                let summary = "Nothing was paid. The same call waits for the allowance, then pays.";
                return Err(Error::new(Code::PaymentPending, message)
                    .at(Marketplace::Paegents)
                    .money(MoneyMoved::No)
                    .recovery(|r| {
                        r.set(NextAction::Wait, true, summary);
                        r.wait(COME_BACK_SECONDS);
                    }));
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    fn transaction(&self, action: &Action) -> String {
        let hash = action.tx_hash.as_deref().unwrap_or_default();
        format!(
            "the transaction {hash}, which allows the escrow contract to take {} USD",
            self.deposit
        )
    }
}

fn too_small((wallet, escrow): (Address, Address), allowed: U256, deposit: Usdc) -> Error {
    let allowed = u64::try_from(allowed).map_or(deposit, Usdc::from_micros);
    let message = format!(
        "the escrow contract {escrow} may take {allowed} USD from the wallet {wallet}, and the \
         deposit is {deposit} USD; nothing was signed"
    );
    let summary = format!(
        "Nothing was paid. With `allowance: true` the wallet allows the escrow contract exactly \
         {deposit} USD first, by a transaction of its own."
    );
    Error::new(Code::WrongState, message)
        .at(Marketplace::Paegents)
        .field("allowance", Some("true"))
        .recovery(|r| r.set(NextAction::FixArguments, true, summary))
}

fn micros(amount: Usdc) -> U256 {
    U256::from(amount.micros())
}
