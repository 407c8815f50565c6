//! What is to be bought, and whether it may be: the steps up to `approved`.

use rusqlite::Connection;

use super::{
    Spending,
    approvals::{self, Answer as Said},
    budget::Budget,
    policy::{Policies, Verdict},
    random,
    refusals::{approval_required, denied, duplicate, lower, question},
    reserve::{refuse_another_s, release, request, stopped},
    word::keep_answer,
};
use crate::{
    error::{Code, Error},
    events::Changes,
    ids::PurchaseId,
    journal::{self, Delivery, Fund, Purchase, Rail, State},
    marketplaces::Marketplace,
    money::Usdc,
    owner::{Asked, Outcome, Owner},
    store::StoreError,
};

/// How long after its end a gateway call counts as the same one.
pub(super) const DUPLICATE_SECONDS: i64 = 600;

/// When a request is a purchase that was made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Always: an order is paid once.
    Never,
    /// While it is unfinished, and for ten minutes after, unless the caller says `again`.
    AfterAWhile {
        /// Whether the caller wants it again.
        again: bool,
    },
}

/// What a tool asks to buy: the envelope, before it has an identifier.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// Where.
    pub marketplace: Marketplace,
    /// How.
    pub rail: Rail,
    /// What makes two requests the same purchase.
    pub natural_key: String,
    /// When a second request is the same purchase.
    pub repeat: Repeat,
    /// Who is paid.
    pub seller_id: String,
    /// Their name, cleaned.
    pub seller_name: String,
    /// What is bought.
    pub item_id: String,
    /// Its name, cleaned.
    pub item_name: String,
    /// The request's body.
    pub body: Vec<u8>,
    /// Its SHA-256, hex.
    pub body_digest: String,
    /// The route that the marketplace is asked for.
    pub route: String,
    /// The API's root.
    pub origin: String,
    /// What is paid in.
    pub asset: String,
    /// The chain it is paid on.
    pub chain_id: u64,
    /// What it is listed for.
    pub price: Usdc,
    /// The most that the caller wants to pay, fees included.
    pub max_total: Usdc,
    /// What goes straight to an address that the seller chose, within `max_total`.
    pub fund: Option<Fund>,
}

impl Spending {
    /// The purchase that a request is: the unfinished one of its key, or a new one.
    pub(super) async fn plan(
        &self,
        owner: &Owner,
        request: PlanRequest,
    ) -> Result<Purchase, Error> {
        let (now, principal) = (self.clock.now(), owner.principal.clone());
        // A generous maximum is no reason to ask more: nothing above the limit is ever paid.
        let most = self.policies.of(&principal).0.purchase_max_usd;
        let max_total =
            if request.price <= most { request.max_total.min(most) } else { request.max_total };
        let fresh = request.purchase(principal, max_total, now)?;
        let repeat = request.repeat;
        self.store
            .transact(move |db| {
                let (who, key) = (&fresh.principal, &fresh.natural_key);
                refuse_another_s(db, &fresh)?;
                if let Some(open) = journal::open_by_key(db, who, key)? {
                    let same =
                        open.max_total == fresh.max_total && open.body_digest == fresh.body_digest;
                    if same || is_begun(open.state) {
                        return Ok(open);
                    }
                    journal::record(db, &open.id, now, "replaced by one with other limits", |p| {
                        p.state = State::Failed;
                        p.failure = Some("cancelled: replaced by a later request".to_owned());
                        Ok(())
                    })?;
                }
                let since = match repeat {
                    Repeat::Never => Some(i64::MIN),
                    Repeat::AfterAWhile { again: false } => Some(now - DUPLICATE_SECONDS),
                    Repeat::AfterAWhile { again: true } => None,
                };
                if let Some(since) = since
                    && let Some(earlier) = journal::recent_by_key(db, who, key, since)?
                {
                    return match repeat {
                        Repeat::Never => Ok(earlier),
                        Repeat::AfterAWhile { .. } => Err(duplicate(&earlier, now).into()),
                    };
                }
                journal::plan(db, &fresh)?;
                Ok(fresh)
            })
            .await
    }

    /// Leads a purchase to `approved`, by policy, by an answer that was given, or by asking.
    pub(super) async fn authorize(
        &self,
        owner: &Owner,
        mut purchase: Purchase,
    ) -> Result<Outcome<Purchase>, Error> {
        // What was begun is followed to its end, stopped or not: that pays nothing.
        if is_begun(purchase.state) {
            return Ok(Outcome::Done(purchase));
        }
        self.refuse_if_stopped().await.map_err(|error| error.purchase(&purchase.id))?;
        if owner.was_sent() {
            purchase = self.await_word(owner, purchase).await?;
        } else if let Some(nonce) = owner.state.clone() {
            purchase = self.hear(owner, purchase, nonce).await?;
        }
        if is_begun(purchase.state) {
            return Ok(Outcome::Done(purchase));
        }
        let (now, id) = (self.clock.now(), purchase.id.clone());
        let policies = self.policies.clone();
        let (purchase, verdict) =
            self.store.transact(move |db| judge(db, &policies, &id, now)).await?;
        let verdict = match verdict {
            Ok(None) => return Ok(Outcome::Done(purchase)),
            Ok(Some(verdict)) => verdict,
            Err(denied) => return Err(denied.purchase(&purchase.id)),
        };
        if verdict == Verdict::AskOwner || !owner.can_ask() {
            return self.send_to_page(owner, purchase).await;
        }
        let nonce = hex::encode(random()?);
        let (asked, about) = (nonce.clone(), purchase.id.clone());
        self.store.transact(move |db| approvals::put_question(db, &asked, &about)).await?;
        let question = question(&purchase);
        let answer = owner.ask(question, nonce).await;
        match answer.map_err(|e| Error::new(Code::Internal, e.to_string()))? {
            Asked::Later(question) => Ok(Outcome::Ask(question)),
            Asked::CannotAsk | Asked::SentToPage => Err(approval_required(&purchase, None)),
            Asked::Yes => self.answer(purchase, true, "client").await.map(Outcome::Done),
            Asked::No => self.deny(purchase).await.map(Outcome::Done),
        }
    }

    /// Has the owner answer on their page, where there is one and the client can send them there;
    /// otherwise it fails with their command.
    async fn send_to_page(
        &self,
        owner: &Owner,
        purchase: Purchase,
    ) -> Result<Outcome<Purchase>, Error> {
        let address = owner.address_of("purchases", purchase.id.as_str());
        let waits = |purchase: &Purchase| approval_required(purchase, address.as_deref());
        if !owner.can_be_sent() {
            return Err(waits(&purchase));
        }
        match owner.send_to_page(question(&purchase), purchase.id.as_str()).await {
            Asked::Later(question) => Ok(Outcome::Ask(question)),
            Asked::SentToPage => {
                let purchase = self.await_word(owner, purchase).await?;
                if purchase.state == State::AwaitingApproval {
                    return Err(waits(&purchase));
                }
                Ok(Outcome::Done(purchase))
            }
            Asked::Yes | Asked::No | Asked::CannotAsk => Err(waits(&purchase)),
        }
    }

    /// The purchase once the owner has answered, or as it is when they have not in time.
    async fn await_word(&self, owner: &Owner, purchase: Purchase) -> Result<Purchase, Error> {
        let mut changes = Changes::of(&self.store);
        let timeout = owner.word_timeout();
        let answered = async {
            loop {
                let id = purchase.id.clone();
                let present = self.store.with(move |db| journal::present(db, &id)).await?;
                if present.state == State::Failed {
                    return Err(denied(&present));
                }
                if present.state != State::AwaitingApproval {
                    return Ok(Some(present));
                }
                tokio::select! {
                    () = changes.next() => {}
                    () = owner.cancelled.cancelled() => return Ok(None),
                }
            }
        };
        let told = owner.telling("waiting for the owner's answer", timeout, answered);
        match tokio::time::timeout(timeout, told).await {
            Ok(answered) => Ok(answered?.unwrap_or(purchase)),
            Err(_) => Ok(purchase),
        }
    }

    /// Keeps a no. A purchase that somebody else has led on meanwhile stays as it is.
    async fn deny(&self, purchase: Purchase) -> Result<Purchase, Error> {
        let answered = self.answer(purchase, false, "client").await?;
        if is_begun(answered.state) && answered.state != State::Failed {
            return Ok(answered);
        }
        Err(denied(&answered))
    }

    /// Takes the answer that came with a call. The question is answered once, and only this one.
    async fn hear(
        &self,
        owner: &Owner,
        purchase: Purchase,
        nonce: String,
    ) -> Result<Purchase, Error> {
        let (id, now) = (purchase.id.clone(), self.clock.now());
        let taken =
            self.store.transact(move |db| approvals::take_question(db, &nonce, &id, now)).await?;
        if !taken || purchase.state != State::AwaitingApproval {
            // A replay, or another purchase's question: as if nothing had been said.
            return Ok(purchase);
        }
        if owner.said_yes() {
            return self.answer(purchase, true, "client").await;
        }
        self.deny(purchase).await
    }

    /// Keeps the owner's answer and moves the purchase accordingly. An answer that comes too late
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub(super) async fn answer(
        &self,
        purchase: Purchase,
        granted: bool,
        by: &'static str,
    ) -> Result<Purchase, Error> {
        let now = self.clock.now();
        self.store
            .transact(move |db| {
                let purchase = journal::present(db, &purchase.id)?;
                if purchase.state != State::AwaitingApproval {
                    return Ok(purchase);
                }
                keep_answer(db, &purchase, granted, by, now)
            })
            .await
    }

    async fn refuse_if_stopped(&self) -> Result<(), Error> {
        self.store.with(|db| stopped(db)).await
    }
}

impl PlanRequest {
    pub(super) fn purchase(
        &self,
        principal: String,
        max_total: Usdc,
        now: i64,
    ) -> Result<Purchase, Error> {
        let id = PurchaseId::from_random(random()?);
        Ok(Purchase {
            idempotency_key: format!("haggle-{}", id.as_str().trim_start_matches("pur_")),
            id,
            principal,
            marketplace: self.marketplace,
            rail: self.rail,
            natural_key: self.natural_key.clone(),
            reference: None,
            seller_id: self.seller_id.clone(),
            seller_name: self.seller_name.clone(),
            item_id: self.item_id.clone(),
            item_name: self.item_name.clone(),
            body: self.body.clone(),
            body_digest: self.body_digest.clone(),
            route: self.route.clone(),
            origin: self.origin.clone(),
            asset: self.asset.clone(),
            chain_id: self.chain_id,
            max_total,
            price: self.price,
            amount: None,
            state: State::Planned,
            delivery: Delivery::None,
            instrument: None,
            account: None,
            account_nonce: None,
            answer: None,
            answer_status: None,
            failure: None,
            created_at: now,
            updated_at: now,
            reserved_at: None,
            finished_at: None,
            fund: self.fund.clone(),
        })
    }
}

/// Judges a purchase in the transaction that moves it. `Ok(None)`: it is approved.
type Judged = (Purchase, Result<Option<Verdict>, Error>);

pub(super) fn judge(
    db: &Connection,
    policies: &Policies,
    id: &PurchaseId,
    now: i64,
) -> Result<Judged, StoreError> {
    let purchase = journal::present(db, id)?;
    if is_begun(purchase.state) {
        // Another call has led it on since this one looked.
        return Ok((purchase, Ok(None)));
    }
    let standing = approvals::standing(db, &purchase, now)?;
    if standing == Said::Denied {
        let failed = release(db, id, "approval_denied: the owner said no", now)?;
        let error = denied(&failed);
        return Ok((failed, Err(error)));
    }
    let budget = Budget::read(db, policies, &purchase.principal, now)?;
    match budget.policy.judge(&request(db, &purchase, purchase.max_total, &budget, now)?) {
        Err(refused) => {
            let failed = release(db, id, &format!("policy_denied: {refused}"), now)?;
            Ok((failed, Err(refused.next(lower(&purchase, budget.policy.purchase_max_usd)))))
        }
        Ok(_) if standing == Said::Granted => {
            Ok((lead_to(db, purchase, State::Approved, "approved", now)?, Ok(None)))
        }
        Ok(Verdict::Allow) => {
            approvals::answer(db, &purchase, true, approvals::BY_POLICY, now)?;
            Ok((lead_to(db, purchase, State::Approved, "allowed by policy", now)?, Ok(None)))
        }
        Ok(verdict) => {
            let note = "the owner has to agree";
            Ok((lead_to(db, purchase, State::AwaitingApproval, note, now)?, Ok(Some(verdict))))
        }
    }
}

/// The purchase in this state; where it is there already, nothing is written.
fn lead_to(
    db: &Connection,
    purchase: Purchase,
    state: State,
    note: &str,
    now: i64,
) -> Result<Purchase, StoreError> {
    if purchase.state == state {
        return Ok(purchase);
    }
    journal::record(db, &purchase.id, now, note, |p| {
        p.state = state;
        Ok(())
    })
}

/// Whether more than words has happened to it: there is nothing left to approve.
#[must_use]
pub const fn is_begun(state: State) -> bool {
    !matches!(state, State::Planned | State::AwaitingApproval | State::Approved)
}
