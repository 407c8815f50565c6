//! A purchase whose instrument is over goes on with another one, under the same approval and within
//! the budget that it holds.
//!
//! Invariants: the old instrument is dead, as the rail proves by asking; what is bought and what it
//! costs are what the owner agreed to; the new instrument is on disk before anything of it leaves.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Fate, Payment, Spending, Work,
    refusals::{price_changed, unanswered},
    reserve::about_to_send,
    resume_call,
};
use crate::{
    error::{Code, Error, MoneyMoved},
    ids::PurchaseId,
    journal::{Purchase, State},
    owner::Owner,
};

/// How long after its budget was taken a purchase may get another instrument, in seconds: what the
/// owner said long ago is asked again.
const RENEWED_SECONDS_MAX: i64 = 3_600;

impl Spending {
    /// Goes on with a purchase by another instrument, where its own is dead.
    ///
    /// # Errors
    ///
    /// [`Code::WrongState`] where nothing is to be renewed; otherwise as [`Self::resume`].
    pub async fn renew(
        self: &Arc<Self>,
        owner: &Owner,
        id: &PurchaseId,
    ) -> Result<Purchase, Error> {
        self.find(id, &owner.principal).await?;
        let running = self.run(id, Work::Renew { cancelled: owner.cancelled.clone() });
        Self::finished(self.waited(owner, id, running).await?)
    }

    /// The work of [`Self::renew`], while no other process has the purchase.
    pub(super) async fn renewed(
        &self,
        purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        if !matches!(purchase.state, State::Submitted | State::Unknown) {
            return Err(nothing_to_renew(&purchase));
        }
        let rail = self.rail(&purchase)?;
        let fate = rail.look_up(&purchase).await.map_err(|error| unanswered(&purchase, error))?;
        if !matches!(fate, Fate::Dead(..)) {
            let asked = self.settle(purchase, fate).await?;
            if matches!(asked.state, State::Settled | State::Failed) {
                return self.drive(asked, cancelled).await;
            }
            return Err(self.still_alive(rail, &asked));
        }
        let age = self.clock.now().saturating_sub(purchase.reserved_at.unwrap_or(0));
        if age > RENEWED_SECONDS_MAX {
            // It ends as it would have by asking; the owner is asked for another one.
            return self.settle(purchase, fate).await;
        }
        let moved = purchase.money_moved();
        let id = purchase.id.clone();
        let handed = self.handed_in_anew(rail, purchase, cancelled).await;
        let handed = handed.map_err(|error| error.at_least(moved).purchase_or(&id))?;
        self.drive(handed, cancelled).await
    }

    async fn handed_in_anew(
        &self,
        rail: &dyn Payment,
        purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        let Some(instrument) = rail.renewed(&purchase).await? else {
            return Err(nothing_to_renew(&purchase));
        };
        if Some(instrument.amount) != purchase.amount {
            return Err(price_changed(&purchase, instrument.amount));
        }
        let account = instrument.account.as_ref().map(|account| account.address.clone());
        let account = account.unwrap_or_default();
        let lock = format!("account:{}:{account}", instrument.chain_id);
        let Some(_lease) = self.lease(&lock).await? else {
            let message = "the wallet is paying something else just now";
            return Err(Error::new(Code::Conflict, message));
        };
        self.clear_account(&account, instrument.chain_id, &purchase.id).await?;
        if cancelled.is_cancelled() {
            let message = format!("{} was cancelled before anything was sent", purchase.id);
            return Err(Error::new(Code::Cancelled, message));
        }
        let fresh = Purchase { instrument: Some(instrument.details), ..purchase.clone() };
        let (sealed, now) = (rail.seal(&fresh).await?, self.clock.now());
        let note = "its instrument was over; another one is sent";
        let submitted =
            self.store.transact(move |db| about_to_send(db, &purchase, sealed, note, now));
        self.hand_in(rail, submitted.await?).await
    }

    /// What is said of an instrument that can still be used: where it may be handed in again, that
    /// goes on with it; else there is a time from which on it is certain.
    fn still_alive(&self, rail: &dyn Payment, purchase: &Purchase) -> Error {
        let id = &purchase.id;
        let left = rail
            .certain_at(purchase)
            .map(|until| until.saturating_sub(self.clock.now()).saturating_add(1));
        let message = match left {
            // Waiting does not make it any more certain.
            Some(..=0) => return self.unsettled(rail, purchase),
            Some(left) => format!(
                "what was signed for {id} may still be used, so nothing else is signed; ask again in \
                 {left} s"
            ),
            None => format!("what was signed for {id} still holds, so nothing else is signed"),
        };
        let error = Error::new(Code::WrongState, message)
            .at(purchase.marketplace)
            .purchase(id)
            .money(MoneyMoved::Maybe)
            .next(resume_call(purchase, "goes on with the same payment; never makes a second one"));
        match left.and_then(|left| u64::try_from(left).ok()) {
            Some(left) => error.recovery(|recovery| recovery.wait(left)),
            None => error,
        }
    }
}

/// What is said where the purchase has no instrument that another could take the place of.
fn nothing_to_renew(purchase: &Purchase) -> Error {
    let message = match purchase.state {
        State::Settled => format!("{} is paid: there is nothing to sign again", purchase.id),
        _ => format!("nothing of {} was handed in: there is nothing to sign again", purchase.id),
    };
    Error::new(Code::WrongState, message)
        .at(purchase.marketplace)
        .purchase(&purchase.id)
        .money(purchase.money_moved())
}
