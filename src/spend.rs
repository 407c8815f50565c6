//! The gate for money. Every payment of every marketplace goes through [`Spending::pay`]: policy →
//! approval → instrument checked against what was approved → budget reserved and journal line synced
//! → sent → settled or unknown. Nothing pays in another way.
//!
//! Invariants:
//!
//! 1. A byte that can move money leaves only in state `submitted`, which is on disk by then.
//! 2. One purchase has one live instrument; the same one may be sent again, another only where the
//!    first is proven dead.
//! 3. From `submitted` on, nothing that happens to the caller ends the payment: it runs in a task of
//!    its own, which the program waits for when it ends.
//! 4. What may have been paid counts as spent until it is known to be dead.

pub mod actions;
pub mod approvals;
pub mod budget;
pub mod draws;
mod drive;
pub mod evm;
mod heard;
pub mod outlook;
mod plan;
pub mod policy;
mod rails;
mod refusals;
mod renew;
mod reserve;
pub mod stops;
pub mod word;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy_primitives::Address;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use plan::{PlanRequest, Repeat, is_begun};
pub use rails::{TO_AGENT, described, resume_tool};
pub use refusals::anew;
pub use reserve::KEY_ELSEWHERE;
pub use word::owner_says;

use crate::{
    clock::Clock,
    error::{Code, Error, MoneyMoved},
    ids::PurchaseId,
    journal::{self, Delivery, Purchase, Rail, State},
    money::Usdc,
    owner::{Outcome, Owner},
    recovery::NextCall,
    spend::policy::Policies,
    store::{Store, leases::Lease},
};

/// How long a caller is kept waiting for a payment and its delivery.
pub const PAY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a call stays with a purchase.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// With a payment and a delivery, before the caller is told to come back.
    pub follow: Duration,
    /// With a payment whose answer was lost, before it is called unknown.
    pub unknown: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { follow: Duration::from_secs(90), unknown: Duration::from_secs(6) }
    }
}

/// How one rail pays. Each is made from the journal's purchase alone, so that it can go on after a
/// restart.
pub trait Payment: Send + Sync + std::fmt::Debug {
    /// The account that pays and its chain, where that is known before the instrument is fetched:
    /// then the instrument is fetched while no other payment of the account is open, so that the
    /// account's counts in it are the present ones.
    fn payer<'a>(
        &'a self,
        _purchase: &'a Purchase,
    ) -> BoxFuture<'a, Result<Option<(u64, String)>, Error>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// Fetches the instrument. Nothing it sends can move money.
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>>;

    /// Does what the instrument needs on its account before it can be used, such as an allowance.
    /// Called while nothing else of the account is open and before anything is reserved. Nothing it
    /// sends can move money.
    fn ready<'a>(
        &'a self,
        _gate: &'a Spending,
        _purchase: &'a Purchase,
        _instrument: &'a Instrument,
    ) -> BoxFuture<'a, Result<(), Error>> {
        std::future::ready(Ok(())).boxed()
    }

    /// What the instrument is known by, signed from the fields of the journal: added to the
    /// instrument before it is sent, so that it can be looked up by anyone.
    ///
    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>>;

    /// Sends exactly the instrument of the journal.
    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate>;

    /// Asks what became of it. Sends nothing that can move money.
    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>>;

    /// From when on asking tells for certain whether a payment was made that looks unmade now, in
    /// Unix seconds; `None` where asking tells at once, or never does.
    fn certain_at(&self, _purchase: &Purchase) -> Option<i64> {
        None
    }

    /// What is said of a payment whose fate is open where asking does not bring it on: somebody at
    /// the marketplace has to act first, or only the owner's word can end it. `None` where asking
    /// does.
    fn held_up(&self, _purchase: &Purchase, _now: i64) -> Option<Error> {
        None
    }

    /// The longest that a caller is kept with a payment of this rail.
    fn follow_at_most(&self) -> Duration {
        Duration::MAX
    }

    /// The instrument with which a payment that nobody has seen may be sent again, as the same one;
    /// `None` where a second request could be a second payment. A transaction's nonce makes it the
    /// same.
    fn resend(&self, purchase: &Purchase, _now: i64) -> Option<Value> {
        purchase.account_nonce.and(purchase.instrument.clone())
    }

    /// Another instrument for a purchase whose own one is dead, within the same approval. Nothing it
    /// sends can move money. `None` where this rail has no such thing.
    fn renewed<'a>(
        &'a self,
        _purchase: &'a Purchase,
    ) -> BoxFuture<'a, Result<Option<Instrument>, Error>> {
        async { Ok(None) }.boxed()
    }

    /// Collects what was paid for. Safe to repeat.
    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>>;
}

/// What stands ready to be paid.
#[derive(Debug)]
pub enum Prepared {
    /// It cost nothing: here it is.
    Served(Answer),
    /// We pay it.
    Pay(Instrument),
    /// Someone with another wallet has to pay it.
    External(Instrument),
}

/// What a payment is made from.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// The marketplace's name for it.
    pub reference: String,
    /// What it costs, in dollars, fees included.
    pub amount: Usdc,
    /// What is paid in.
    pub asset: String,
    /// The chain it is paid on; 0 where that has no number.
    pub chain_id: u64,
    /// The rest, as the rail wants it back.
    pub details: Value,
    /// The route and key that it was fetched with, where they changed.
    pub rerouted: Option<(String, String)>,
    /// The account that pays. It makes one payment at a time.
    pub account: Option<Account>,
}

/// An account that pays.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its address.
    pub address: String,
    /// The next nonce that the chain expects of it, where the payment is a transaction of ours.
    pub nonce: Option<u64>,
}

/// The account of a wallet's permits, whose nonces are its own: one payment by permit at a time.
#[must_use]
pub fn permit_account(wallet: Address) -> String {
    format!("{}#permit", wallet.to_checksum(None))
}

/// What became of an instrument.
#[derive(Debug)]
pub enum Fate {
    /// It moved the money.
    Paid,
    /// It moved the money, and this is what the marketplace gave for it.
    Receipt(Receipt),
    /// It did not and never will: what that means, and why.
    Dead(Code, String),
    /// As [`Self::Dead`], in an answer of the marketplace that is kept.
    Refused(Code, String, Answer),
    /// It has arrived and is on its way: the instrument, with what is known of it by now.
    Known(Known),
    /// It is on its way.
    Pending,
    /// Nobody can say; why.
    Unknown(String),
}

/// What a marketplace said of a payment that it made.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What was bought with it; `None` where that is still to be collected.
    pub answer: Option<Answer>,
    /// What was charged, where that is not the instrument's amount.
    pub amount: Option<Usdc>,
    /// The marketplace's name for it, where that was not known before.
    pub reference: Option<String>,
}

/// What was learned of a payment that is on its way.
#[derive(Clone, Debug)]
pub struct Known {
    /// The same instrument, with that in it.
    pub instrument: Value,
    /// The marketplace's name for it, where that was not known before.
    pub reference: Option<String>,
}

/// What was bought.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status it came with.
    pub status: u16,
    /// The bytes.
    pub body: Vec<u8>,
}

/// What collecting led to.
#[derive(Debug)]
pub enum Collected {
    /// Here it is.
    Delivered(Answer),
    /// Not yet.
    Pending,
    /// Not yet, and it takes longer than a caller is kept.
    Later,
    /// The marketplace has seen no payment so far.
    Unpaid,
    /// The seller failed, and will not do better.
    Failed(Error, Option<Answer>),
}

type Running = Shared<BoxFuture<'static, Result<Purchase, Error>>>;
/// Work under way: on which purchase, and which.
type Key = (PurchaseId, &'static str);

/// The gate.
#[derive(Debug)]
pub struct Spending {
    store: Store,
    clock: Clock,
    policies: Policies,
    patience: Patience,
    rails: HashMap<Rail, Arc<dyn Payment>>,
    running: Mutex<HashMap<Key, Running>>,
    tasks: TaskTracker,
}

impl Spending {
    /// A gate on this store.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        policies: Policies,
        patience: Patience,
        rails: HashMap<Rail, Arc<dyn Payment>>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let running = Mutex::default();
        Arc::new(Self { store, clock, policies, patience, rails, running, tasks })
    }

    /// How long a caller is kept with something that takes its time, and no longer than this.
    #[must_use]
    pub fn patience(&self, at_most: Duration) -> Duration {
        self.patience.follow.min(at_most)
    }

    /// The limits in force.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Makes a purchase, or goes on with the one that the request is.
    ///
    /// # Errors
    ///
    /// Whatever stops it, with the purchase and whether money moved.
    pub async fn pay(
        self: &Arc<Self>,
        owner: &Owner,
        request: PlanRequest,
    ) -> Result<Outcome<Purchase>, Error> {
        let purchase = self.plan(owner, request).await?;
        self.go_on(owner, purchase).await
    }

    /// Goes on with a purchase from wherever it stands.
    ///
    /// # Errors
    ///
    /// As [`Self::pay`]; [`Code::NotFound`] where the caller has no such purchase.
    pub async fn resume(
        self: &Arc<Self>,
        owner: &Owner,
        id: &PurchaseId,
    ) -> Result<Outcome<Purchase>, Error> {
        let purchase = self.find(id, &owner.principal).await?;
        self.go_on(owner, purchase).await
    }

    /// A purchase of this principal.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`] where there is none.
    pub async fn find(&self, id: &PurchaseId, principal: &str) -> Result<Purchase, Error> {
        let (wanted, who) = (id.clone(), principal.to_owned());
        let found = self.store.with(move |db| journal::find(db, &wanted, Some(&who))).await;
        // Of a purchase that cannot be read nobody knows whether it was paid.
        found.map_err(|error| error.at_least(MoneyMoved::Maybe).purchase(id))?.ok_or_else(|| {
            Error::new(Code::NotFound, format!("there is no purchase {id}")).next(NextCall::new(
                "market_list_purchases",
                json!({}),
                "lists the purchases there are",
            ))
        })
    }

    async fn go_on(
        self: &Arc<Self>,
        owner: &Owner,
        purchase: Purchase,
    ) -> Result<Outcome<Purchase>, Error> {
        if purchase.is_over() {
            return Self::finished(purchase).map(Outcome::Done);
        }
        let moved = purchase.money_moved();
        // On the heap: asking a person is the largest part of every payment.
        let authorized = Box::pin(self.authorize(owner, purchase)).await;
        let purchase = match authorized.map_err(|error| error.at_least(moved))? {
            Outcome::Done(purchase) => purchase,
            Outcome::Ask(question) => return Ok(Outcome::Ask(question)),
        };
        let id = purchase.id.clone();
        let running = self.run(&id, Work::Pay { cancelled: owner.cancelled.clone() });
        Self::finished(self.waited(owner, &id, running).await?).map(Outcome::Done)
    }

    /// Waits for work on a purchase for as long as a caller is kept.
    async fn waited(
        &self,
        owner: &Owner,
        id: &PurchaseId,
        running: Running,
    ) -> Result<Purchase, Error> {
        let told = owner.telling("paying, and waiting for what was bought", PAY_TIMEOUT, running);
        tokio::select! {
            done = told => done,
            () = owner.cancelled.cancelled() => Err(self.still_running(id).await),
            () = tokio::time::sleep(PAY_TIMEOUT) => Err(self.still_running(id).await),
        }
    }

    /// Asks the marketplace what became of a purchase. Sends nothing that can move money.
    ///
    /// # Errors
    ///
    /// As [`Self::find`], and whatever asking fails with.
    pub async fn check(
        self: &Arc<Self>,
        id: &PurchaseId,
        principal: &str,
    ) -> Result<Purchase, Error> {
        let purchase = self.find(id, principal).await?;
        if !asks_something(&purchase) {
            return Ok(purchase);
        }
        match tokio::time::timeout(PAY_TIMEOUT, self.run(id, Work::Ask)).await {
            Ok(done) => done,
            Err(_) => Err(self.still_running(id).await),
        }
    }

    /// Asks about every open purchase: after a start, and when the owner wants it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn check_all(self: &Arc<Self>) -> Result<Vec<Result<Purchase, Error>>, Error> {
        let mut asked = Vec::new();
        for id in self.store.with(|db| journal::open_ids(db)).await? {
            asked.push(self.run(&id, Work::Ask).await);
        }
        Ok(asked)
    }

    /// Runs the work on a purchase in a task of its own. A second caller with the same work gets the
    /// same outcome.
    fn run(self: &Arc<Self>, id: &PurchaseId, work: Work) -> Running {
        let key = (id.clone(), work.name());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = running.get(&key) {
            return shared.clone();
        }
        let (gate, own, ended) = (self.clone(), id.clone(), key.clone());
        let task = self.tasks.spawn(async move {
            // Dropped however the task ends, a panic included.
            let _forget = Forget { gate: gate.clone(), key: ended };
            gate.exclusively(&own, &work).await
        });
        let own = id.clone();
        let shared = async move {
            task.await.unwrap_or_else(|_| {
                tracing::error!(purchase = %own, "a payment's task broke");
                Err(Error::new(Code::Internal, format!("the work on {own} broke"))
                    .money(MoneyMoved::Maybe)
                    .purchase(&own)
                    .next(check_call(&own)))
            })
        }
        .boxed()
        .shared();
        running.insert(key, shared.clone());
        shared
    }

    /// Does the work while no other process can, or waits for the one that does.
    async fn exclusively(
        self: &Arc<Self>,
        id: &PurchaseId,
        work: &Work,
    ) -> Result<Purchase, Error> {
        // Where the store fails here, an earlier call may have paid.
        let unread = |error: Error| error.at_least(MoneyMoved::Maybe).purchase(id);
        let lease = self.lease(&format!("purchase:{id}")).await.map_err(unread)?;
        let Some(_lease) = lease else {
            return Err(self.still_running(id).await);
        };
        let wanted = id.clone();
        let found = self.store.with(move |db| journal::find(db, &wanted, None)).await;
        let found = found.map_err(unread)?;
        let purchase =
            found.ok_or_else(|| Error::new(Code::NotFound, format!("no purchase {id}")))?;
        match work {
            Work::Pay { cancelled } => self.drive(purchase, cancelled).await,
            Work::Ask => self.ask(purchase).await,
            Work::Renew { cancelled } => self.renewed(purchase, cancelled).await,
        }
    }

    /// A lease of the store for this task alone, waited for; `None` where another keeps it.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, Error> {
        let holder = PurchaseId::from_random(random()?);
        Lease::wait(&self.store, name, holder.as_str()).await
    }

    /// The purchase, or the failure that its end is.
    ///
    /// # Errors
    ///
    /// Where it failed, or was paid and will not be delivered.
    pub fn finished(purchase: Purchase) -> Result<Purchase, Error> {
        match (purchase.state, purchase.delivery) {
            (State::Failed, _) | (_, Delivery::Failed) => Err(refusals::why_it_failed(&purchase)),
            _ => Ok(purchase),
        }
    }

    /// What is said when the work goes on without the caller.
    async fn still_running(&self, id: &PurchaseId) -> Error {
        let wanted = id.clone();
        let now = self.store.with(move |db| journal::find(db, &wanted, None)).await;
        let state = now.ok().flatten();
        let moved = state.as_ref().map_or(MoneyMoved::Maybe, Purchase::money_moved);
        // The task may submit at any moment from here on.
        let moved = if moved == MoneyMoved::No { MoneyMoved::Maybe } else { moved };
        let why = "goes on waiting for this purchase; pays nothing again";
        let next = state.map_or_else(|| check_call(id), |purchase| resume_call(&purchase, why));
        Error::new(Code::PaymentPending, format!("the purchase {id} is still under way"))
            .money(moved)
            .purchase(id)
            .next(next)
    }
}

/// Takes a task off the list of those that run.
struct Forget {
    gate: Arc<Spending>,
    key: Key,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.gate.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What is to be done for a purchase.
#[derive(Debug)]
enum Work {
    /// Everything up to the delivery.
    Pay {
        /// Fires when the caller gave up; heeded until something is sent.
        cancelled: CancellationToken,
    },
    /// Asking alone.
    Ask,
    /// Another instrument for one that is over, and everything after it.
    Renew {
        /// As with [`Self::Pay`].
        cancelled: CancellationToken,
    },
}

impl Work {
    const fn name(&self) -> &'static str {
        match self {
            Self::Pay { .. } => "pay",
            Self::Ask => "ask",
            Self::Renew { .. } => "renew",
        }
    }
}

fn asks_something(purchase: &Purchase) -> bool {
    matches!(
        purchase.state,
        State::Reserved | State::Submitted | State::Unknown | State::AwaitingExternal
    ) || (purchase.state == State::Settled && purchase.delivery == Delivery::Pending)
}

/// The call that asks about a purchase.
#[must_use]
pub fn check_call(id: &PurchaseId) -> NextCall {
    NextCall::new(
        "market_check_purchase",
        json!({ "purchase_id": id }),
        "asks the marketplace what became of it; pays nothing",
    )
}

/// The call that goes on with a purchase.
#[must_use]
pub fn resume_call(purchase: &Purchase, why: &str) -> NextCall {
    NextCall::new(rails::resume_tool(purchase), rails::resume_arguments(purchase), why)
}

/// Sixteen random bytes.
///
/// # Errors
///
/// [`Code::Internal`] where the operating system gives none: what has to be unlike everything else is
/// not made then.
pub fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::new(Code::Internal, "the operating system gives no random numbers"))?;
    Ok(bytes)
}
