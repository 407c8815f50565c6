//! From `approved` to the delivery. Each step leaves the journal in a state that the next process can
//! go on from.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Answer, Collected, Fate, Instrument, Payment, Prepared, Spending, approvals, asks_something,
    check_call,
    refusals::{
        approval_required, awaiting_external, not_delivered_yet, not_settled, price_changed,
        unanswered,
    },
    reserve::{about_to_send, release, reserve},
    resume_call,
};
use crate::{
    error::{Code, Error, MoneyMoved},
    ids::PurchaseId,
    journal::{self, Delivery, Purchase, State},
    money::Usdc,
    recovery::NextAction,
    store::leases::Lease,
};

const FOLLOW_EVERY: Duration = Duration::from_millis(250);

impl Spending {
    pub(super) fn rail(&self, purchase: &Purchase) -> Result<&dyn Payment, Error> {
        self.rails.get(&purchase.rail).map(AsRef::as_ref).ok_or_else(|| {
            Error::new(
                Code::WrongState,
                format!("{} is not in use in this process", purchase.marketplace),
            )
            .purchase(&purchase.id)
        })
    }

    /// Everything from `approved` to the delivery.
    pub(super) async fn drive(
        &self,
        mut purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        loop {
            if purchase.is_over() {
                return Ok(purchase);
            }
            let last = purchase.state == State::Settled;
            let (id, moved) = (purchase.id.clone(), purchase.money_moved());
            // Whatever fails on the way to a purchase that may be paid does not say `no`.
            purchase = self
                .step(purchase, cancelled)
                .await
                .map_err(|error| error.at_least(moved).purchase_or(&id))?;
            if last {
                // Whatever there was to collect is collected.
                return Ok(purchase);
            }
        }
    }

    async fn step(
        &self,
        purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        let rail = self.rail(&purchase)?;
        match purchase.state {
            State::Planned | State::AwaitingApproval => Err(approval_required(&purchase, None)),
            State::Approved => self.fix(rail, purchase, cancelled).await,
            State::Reserved => self.submit(rail, purchase, cancelled).await,
            State::Submitted | State::Unknown => self.follow_or_resend(rail, purchase).await,
            State::AwaitingExternal => self.await_external(rail, purchase).await,
            State::Settled => self.collect(rail, purchase).await,
            State::Failed => Ok(purchase),
        }
    }

    /// Fetches the instrument, checks it against the envelope and reserves for it.
    async fn fix(
        &self,
        rail: &dyn Payment,
        purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        let held = match &rail.payer(&purchase).await? {
            Some(payer) => Some(self.hold(payer, &purchase).await?),
            None => None,
        };
        let (instrument, external) = match rail.prepare(&purchase).await {
            Ok(Prepared::Served(answer)) => return self.served(purchase, answer).await,
            Ok(Prepared::Pay(instrument)) => (instrument, false),
            Ok(Prepared::External(instrument)) => (instrument, true),
            Err(error) => return Err(self.not_prepared(purchase, error).await?),
        };
        if instrument.amount > purchase.max_total {
            let error = price_changed(&purchase, instrument.amount);
            return Err(self.not_prepared(purchase, error).await?);
        }
        let Some(account) = instrument.account.as_ref().map(|account| account.address.clone())
        else {
            return self.reserve(purchase, instrument, external).await;
        };
        let _held = match held {
            Some(held) => held,
            None => self.hold(&(instrument.chain_id, account), &purchase).await?,
        };
        match rail.ready(self, &purchase, &instrument).await {
            Ok(()) => {}
            // Something else has the wallet; that ends.
            Err(error) if error.is(Code::Conflict) => {
                let why = "goes on when the wallet is free; nothing was paid so far";
                return Err(error.purchase(&purchase.id).next(resume_call(&purchase, why)));
            }
            Err(error) => return Err(self.not_prepared(purchase, error).await?),
        }
        let reserved = self.reserve(purchase, instrument, false).await?;
        self.submit(rail, reserved, cancelled).await
    }

    /// The account for this purchase alone, with nothing else of it open: an account makes one
    /// payment at a time. To be held until the payment's fate is known, or given up on.
    async fn hold(
        &self,
        (chain_id, account): &(u64, String),
        purchase: &Purchase,
    ) -> Result<Lease, Error> {
        let lease = self.lease(&format!("account:{chain_id}:{account}")).await?;
        let lease = lease.ok_or_else(|| {
            Error::new(Code::Conflict, "the wallet is paying something else just now")
                .purchase(&purchase.id)
                .next(resume_call(purchase, "goes on when the wallet is free"))
        })?;
        self.clear_account(account, *chain_id, &purchase.id).await?;
        Ok(lease)
    }

    /// Nothing was paid. What can never succeed ends the purchase; anything else leaves it as it is.
    async fn not_prepared(&self, purchase: Purchase, error: Error) -> Result<Error, Error> {
        let error = error.purchase(&purchase.id).money(MoneyMoved::No);
        let later = matches!(
            error.code,
            Code::UpstreamUnavailable
                | Code::UpstreamMalformed
                | Code::UpstreamTooLarge
                | Code::RateLimited
                | Code::TlsFailed
                | Code::EgressBlocked
                | Code::ChainUnavailable
                | Code::InsufficientFunds
                | Code::ClockUntrusted
                | Code::NotRegistered
                | Code::Unauthorized
                | Code::StoreUnavailable
                | Code::PaymentPending
                | Code::Expired
        );
        if later {
            let why = "goes on with the same purchase; nothing was paid so far";
            return Ok(error.next(resume_call(&purchase, why)));
        }
        self.release(&purchase.id, &format!("{}: {error}", error.code.name())).await?;
        Ok(error)
    }

    async fn served(&self, purchase: Purchase, answer: Answer) -> Result<Purchase, Error> {
        let now = self.clock.now();
        self.store
            .transact(move |db| {
                journal::record(db, &purchase.id, now, "served without payment", |p| {
                    p.state = State::Settled;
                    p.delivery = Delivery::Delivered;
                    p.amount = Some(Usdc::ZERO);
                    p.answer_status = Some(answer.status);
                    p.answer = Some(answer.body);
                    Ok(())
                })
            })
            .await
    }

    /// Nothing else of this account may be open: an unknown payment first has to end.
    pub(super) async fn clear_account(
        &self,
        account: &str,
        chain_id: u64,
        but: &PurchaseId,
    ) -> Result<(), Error> {
        let of = account.to_owned();
        let open = self.store.with(move |db| journal::active_on_account(db, chain_id, &of)).await?;
        for other in open.into_iter().filter(|other| other.id != *but) {
            let id = other.id.clone();
            let asked = match other.state {
                State::Reserved => {
                    self.release(&id, "cancelled: the process ended before it was sent").await?
                }
                _ => self.look_up(self.rail(&other)?, other).await?,
            };
            if !matches!(asked.state, State::Settled | State::Failed) {
                let message = format!(
                    "the wallet's earlier payment {id} is not resolved, so nothing is paid"
                );
                let wait = self.unsettled(self.rail(&asked)?, &asked).recovery.retry_after_seconds;
                let error = Error::new(Code::Conflict, message)
                    .purchase(but)
                    .next(check_call(&id))
                    .next(resume_call(&asked, "sends the earlier payment again, the same one"));
                return Err(error.recovery(|recovery| recovery.retry_after_seconds = wait));
            }
        }
        Ok(())
    }

    /// Takes the budget, uses the approval and fixes the instrument, in one synced transaction.
    async fn reserve(
        &self,
        purchase: Purchase,
        instrument: Instrument,
        external: bool,
    ) -> Result<Purchase, Error> {
        let (now, policies) = (self.clock.now(), self.policies.clone());
        let id = purchase.id.clone();
        let reserved = self
            .store
            .transact(move |db| reserve(db, &purchase, &instrument, external, &policies, now))
            .await;
        match reserved {
            Err(error) if error.is(Code::InstanceConflict) => {
                // The freeze has to outlive the transaction that found out.
                self.store
                    .transact(move |db| approvals::freeze(db, "instance_conflict", now))
                    .await?;
                Err(error.purchase(&id))
            }
            Err(error) => Err(error.purchase(&id)),
            Ok(reserved) => Ok(reserved),
        }
    }

    /// Writes down that it is about to be sent, sends it, and follows it.
    async fn submit(
        &self,
        rail: &dyn Payment,
        purchase: Purchase,
        cancelled: &CancellationToken,
    ) -> Result<Purchase, Error> {
        let id = purchase.id.clone();
        if cancelled.is_cancelled() {
            self.release(&id, "cancelled: the caller gave up before it was sent").await?;
            let message = format!("{id} was cancelled before anything was sent");
            return Err(Error::new(Code::Cancelled, message).purchase(&id));
        }
        let sealed = match rail.seal(&purchase).await {
            Ok(sealed) => sealed,
            Err(error) => {
                self.release(&id, &format!("{}: {error}", error.code.name())).await?;
                return Err(error.purchase(&id));
            }
        };
        let now = self.clock.now();
        let submitted = self
            .store
            .transact(move |db| about_to_send(db, &purchase, sealed, "about to be sent", now))
            .await;
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(error) => {
                self.release(&id, &format!("{}: {error}", error.code.name())).await?;
                return Err(error.purchase(&id));
            }
        };
        self.hand_in(rail, submitted).await
    }

    /// Sends what is written down as about to be sent, and follows it.
    pub(super) async fn hand_in(
        &self,
        rail: &dyn Payment,
        submitted: Purchase,
    ) -> Result<Purchase, Error> {
        let fate = rail.send(&submitted).await;
        let followed = async {
            let submitted = self.settle(submitted, fate).await?;
            if matches!(submitted.state, State::Submitted | State::Unknown) {
                return self.follow(rail, submitted).await;
            }
            Ok(submitted)
        };
        followed.await.map_err(|error: Error| error.at_least(MoneyMoved::Maybe))
    }

    /// What is said of a payment whose fate is not known, and how long it is until asking tells.
    pub(super) fn unsettled(&self, rail: &dyn Payment, purchase: &Purchase) -> Error {
        if let Some(error) = rail.held_up(purchase, self.clock.now()) {
            return error.at(purchase.marketplace).purchase(&purchase.id).money(MoneyMoved::Maybe);
        }
        let error = not_settled(purchase);
        let Some(until) = rail.certain_at(purchase).filter(|_| purchase.state == State::Unknown)
        else {
            return error;
        };
        let left = until.saturating_sub(self.clock.now()).saturating_add(1);
        let left = u64::try_from(left).unwrap_or(0);
        error.recovery(|recovery| {
            recovery.summary = format!(
                "Pay nothing else for it. The request may still arrive; in {left} s asking tells for \
                 certain whether it was paid."
            );
            recovery.wait(left);
        })
    }

    /// Asks whether it was paid from elsewhere. Nobody is told to pay what is being settled.
    async fn await_external(
        &self,
        rail: &dyn Payment,
        purchase: Purchase,
    ) -> Result<Purchase, Error> {
        let started = tokio::time::Instant::now();
        loop {
            let fate = rail.look_up(&purchase).await.map_err(|e| unanswered(&purchase, e))?;
            match fate {
                Fate::Pending | Fate::Known(_) if started.elapsed() < self.patience.follow => {
                    tokio::time::sleep(FOLLOW_EVERY).await;
                }
                Fate::Pending | Fate::Known(_) => return Err(self.unsettled(rail, &purchase)),
                Fate::Unknown(_) => return Err(awaiting_external(&purchase)),
                known @ (Fate::Paid | Fate::Receipt(_) | Fate::Dead(..) | Fate::Refused(..)) => {
                    return self.settle(purchase, known).await;
                }
            }
        }
    }

    /// Asks until the payment's fate is known, for a while.
    async fn follow(&self, rail: &dyn Payment, mut purchase: Purchase) -> Result<Purchase, Error> {
        let started = tokio::time::Instant::now();
        loop {
            let patience = match purchase.state {
                State::Unknown => self.patience.unknown,
                _ => self.patience.follow.min(rail.follow_at_most()),
            };
            let held_up = rail.held_up(&purchase, self.clock.now()).is_some();
            if held_up || started.elapsed() >= patience {
                return Err(self.unsettled(rail, &purchase));
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
            // A node that does not answer leaves the purchase as it is.
            if let Ok(fate) = rail.look_up(&purchase).await {
                purchase = self.settle(purchase, fate).await?;
            }
            if matches!(purchase.state, State::Settled | State::Failed) {
                return Ok(purchase);
            }
        }
    }

    /// Goes on with a payment that was submitted by an earlier call: asks first, and sends the same
    /// instrument again only where nobody has seen it.
    async fn follow_or_resend(
        &self,
        rail: &dyn Payment,
        purchase: Purchase,
    ) -> Result<Purchase, Error> {
        let fate = rail.look_up(&purchase).await.map_err(|error| unanswered(&purchase, error))?;
        let unseen = matches!(fate, Fate::Unknown(_));
        let asked = self.settle(purchase, fate).await?;
        if matches!(asked.state, State::Settled | State::Failed) {
            return Ok(asked);
        }
        let alive = asked
            .instrument
            .as_ref()
            .and_then(|details| details.get("expires_at"))
            .and_then(serde_json::Value::as_i64)
            .is_none_or(|expires_at| expires_at > self.clock.now());
        let again = rail.resend(&asked, self.clock.now()).filter(|_| unseen);
        let Some(instrument) = again else { return self.follow(rail, asked).await };
        if !alive && rail.certain_at(&asked).is_some() {
            return Err(self.unsettled(rail, &asked));
        }
        if !alive {
            return Err(self.unsettled(rail, &asked).recovery(|r| {
                r.set(
                    NextAction::AskOwner,
                    false,
                    "Its quote is over, so it is not sent again. The owner decides with \
                     `haggle purchases resolve`.",
                );
            }));
        }
        let now = self.clock.now();
        let note = "the same payment is sent again";
        let again =
            self.store.transact(move |db| about_to_send(db, &asked, instrument, note, now)).await?;
        let fate = rail.send(&again).await;
        let again = self.settle(again, fate).await?;
        match again.state {
            State::Settled | State::Failed => Ok(again),
            _ => self.follow(rail, again).await,
        }
    }

    /// Asks once, for [`Spending::check`] and for the start of the program. What ended while the lease
    /// was waited for has its answer: that is kept.
    pub(super) async fn ask(&self, purchase: Purchase) -> Result<Purchase, Error> {
        if !asks_something(&purchase) {
            return Ok(purchase);
        }
        if purchase.state == State::Reserved {
            // No one works on it, since we hold its lease: it was never sent.
            return self
                .release(&purchase.id, "cancelled: the process ended before it was sent")
                .await;
        }
        let rail = self.rail(&purchase)?;
        if purchase.state == State::Settled {
            let collected = rail.collect(&purchase).await.map_err(|e| unanswered(&purchase, e))?;
            return self.collected(purchase, collected).await;
        }
        self.look_up(rail, purchase).await
    }

    async fn look_up(&self, rail: &dyn Payment, purchase: Purchase) -> Result<Purchase, Error> {
        let fate = rail.look_up(&purchase).await.map_err(|error| unanswered(&purchase, error))?;
        self.settle(purchase, fate).await
    }

    /// Writes a fate down.
    pub(super) async fn settle(&self, purchase: Purchase, fate: Fate) -> Result<Purchase, Error> {
        let (state, note) = match &fate {
            Fate::Paid | Fate::Receipt(_) => (State::Settled, "paid".to_owned()),
            Fate::Dead(code, why) | Fate::Refused(code, why, _) => {
                (State::Failed, format!("{}: {why}", code.name()))
            }
            Fate::Known(_) => (State::Submitted, "it has arrived".to_owned()),
            Fate::Pending => return Ok(purchase),
            Fate::Unknown(_)
                if matches!(purchase.state, State::Unknown | State::AwaitingExternal) =>
            {
                return Ok(purchase);
            }
            Fate::Unknown(why) => (State::Unknown, why.clone()),
        };
        let now = self.clock.now();
        self.store
            .transact(move |db| {
                journal::record(db, &purchase.id, now, &note, |p| {
                    p.state = state;
                    match state {
                        State::Settled => p.delivery = Delivery::Pending,
                        State::Failed => p.failure = Some(note.clone()),
                        _ => {}
                    }
                    learn(p, fate);
                    Ok(())
                })
            })
            .await
    }

    /// Ends a purchase for which nothing was sent, and gives its nonce back.
    async fn release(&self, id: &PurchaseId, why: &str) -> Result<Purchase, Error> {
        let (id, why, now) = (id.clone(), why.to_owned(), self.clock.now());
        self.store.transact(move |db| release(db, &id, &why, now)).await
    }

    /// Collects what was paid for, for a while.
    async fn collect(&self, rail: &dyn Payment, purchase: Purchase) -> Result<Purchase, Error> {
        let started = tokio::time::Instant::now();
        loop {
            match rail.collect(&purchase).await {
                Ok(Collected::Pending | Collected::Unpaid)
                    if started.elapsed() < self.patience.follow =>
                {
                    tokio::time::sleep(FOLLOW_EVERY * 2).await;
                }
                Ok(Collected::Pending | Collected::Unpaid) => {
                    return Err(not_delivered_yet(&purchase, None));
                }
                Ok(collected) => return self.collected(purchase, collected).await,
                Err(error) => return Err(not_delivered_yet(&purchase, Some(&error))),
            }
        }
    }

    /// Writes down what was collected.
    async fn collected(&self, purchase: Purchase, collected: Collected) -> Result<Purchase, Error> {
        let (delivery, note, answer) = match collected {
            Collected::Pending | Collected::Unpaid | Collected::Later => return Ok(purchase),
            Collected::Delivered(answer) => {
                (Delivery::Delivered, "delivered".to_owned(), Some(answer))
            }
            Collected::Failed(error, answer) => (Delivery::Failed, error.to_string(), answer),
        };
        let (id, now) = (purchase.id.clone(), self.clock.now());
        self.store
            .transact(move |db| {
                journal::record(db, &id, now, &note, |p| {
                    p.delivery = delivery;
                    if delivery == Delivery::Failed {
                        p.failure = Some(format!("paid_not_delivered: {note}"));
                    }
                    if let Some(answer) = answer {
                        p.answer_status = Some(answer.status);
                        p.answer = Some(answer.body);
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// Keeps what a fate tells of a purchase beside its state.
fn learn(purchase: &mut Purchase, fate: Fate) {
    let (answer, reference) = match fate {
        Fate::Receipt(receipt) => {
            purchase.amount = receipt.amount.or(purchase.amount);
            if receipt.answer.is_some() {
                purchase.delivery = Delivery::Delivered;
            }
            (receipt.answer, receipt.reference)
        }
        Fate::Refused(_, _, answer) => (Some(answer), None),
        Fate::Known(known) => {
            purchase.instrument = Some(known.instrument);
            (None, known.reference)
        }
        Fate::Paid | Fate::Dead(..) | Fate::Pending | Fate::Unknown(_) => (None, None),
    };
    if let Some(answer) = answer {
        purchase.answer_status = Some(answer.status);
        purchase.answer = Some(answer.body);
    }
    purchase.reference = reference.or(purchase.reference.take());
}
