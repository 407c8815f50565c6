//! The owner's word, from outside the server: on a purchase that waits for them, and on one whose
//! fate nobody else can tell.

use rusqlite::Connection;

use crate::{
    error::{Code, Error},
    ids::PurchaseId,
    journal::{self, Delivery, Purchase, State},
    money::Usdc,
    spend::{approvals, reserve::give_nonce_back},
    store::{Store, StoreError},
};

/// What the owner answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// No.
    Deny,
    /// Yes, to this purchase.
    Approve,
    /// Yes, and to whatever else this seller asks for, within limits.
    ApproveSeller {
        /// How much in all.
        up_to: Usdc,
        /// Until when, in Unix seconds.
        until: i64,
    },
}

/// Keeps the owner's answer to a purchase in state `awaiting_approval` and moves it accordingly, in
/// one transaction.
///
/// # Errors
///
/// [`Code::NotFound`]; [`Code::WrongState`] where it does not wait for an answer; where the store
/// fails.
pub async fn owner_answers(
    store: &Store,
    id: &PurchaseId,
    word: Word,
    now: i64,
) -> Result<Purchase, Error> {
    answers(store, id, None, word, now).await
}

/// As [`owner_answers`], for an owner who was shown this envelope: their answer holds for that and for
/// nothing that the purchase has become meanwhile.
///
/// # Errors
///
/// As [`owner_answers`]; [`Code::Conflict`] where the purchase is another by now.
pub async fn owner_answers_shown(
    store: &Store,
    id: &PurchaseId,
    envelope: String,
    word: Word,
    now: i64,
) -> Result<Purchase, Error> {
    answers(store, id, Some(envelope), word, now).await
}

async fn answers(
    store: &Store,
    id: &PurchaseId,
    shown: Option<String>,
    word: Word,
    now: i64,
) -> Result<Purchase, Error> {
    let id = id.clone();
    store
        .transact(move |db| {
            let purchase = in_state(db, &id, &[State::AwaitingApproval])?;
            if shown.is_some_and(|shown| shown != purchase.envelope()) {
                let message = format!("{id} has changed since it was shown; nothing was answered");
                return Err(Error::new(Code::Conflict, message).into());
            }
            let granted = word != Word::Deny;
            if let Word::ApproveSeller { up_to, until } = word {
                let (marketplace, seller) = (purchase.marketplace, &purchase.seller_id);
                approvals::grant(db, marketplace, seller, up_to, now, until)?;
            }
            keep_answer(db, &purchase, granted, "owner", now)
        })
        .await
}

/// Keeps an answer to a purchase that waits for one, whoever brought it.
///
/// # Errors
///
/// Where the store fails.
pub(super) fn keep_answer(
    db: &Connection,
    purchase: &Purchase,
    granted: bool,
    by: &str,
    now: i64,
) -> Result<Purchase, StoreError> {
    approvals::answer(db, purchase, granted, by, now)?;
    journal::record(db, &purchase.id, now, &format!("answered by the {by}"), |p| {
        p.state = if granted { State::Approved } else { State::Failed };
        if !granted {
            p.failure = Some("approval_denied: the owner said no".to_owned());
        }
        Ok(())
    })
}

/// Keeps the owner's word on a purchase whose fate nobody can tell: it was paid, or it never will
/// be.
///
/// # Errors
///
/// [`Code::NotFound`]; [`Code::WrongState`] where its fate is known; where the store fails.
pub async fn owner_says(
    store: &Store,
    id: &PurchaseId,
    paid: bool,
    now: i64,
) -> Result<Purchase, Error> {
    let id = id.clone();
    store
        .transact(move |db| {
            in_state(db, &id, &[State::Submitted, State::Unknown, State::AwaitingExternal])?;
            journal::record(db, &id, now, "the owner's word", |p| {
                if paid {
                    p.state = State::Settled;
                    p.delivery = Delivery::Pending;
                    return Ok(());
                }
                if let (Some(account), Some(nonce)) = (&p.account, p.account_nonce.take()) {
                    give_nonce_back(db, p.chain_id, account, nonce)?;
                }
                p.state = State::Failed;
                p.failure = Some("upstream_rejected: not paid, the owner says".to_owned());
                Ok(())
            })
        })
        .await
}

/// A purchase in one of these states: in any other the owner's word is not asked for.
fn in_state(db: &Connection, id: &PurchaseId, states: &[State]) -> Result<Purchase, StoreError> {
    let Some(purchase) = journal::find(db, id, None)? else {
        return Err(Error::new(Code::NotFound, format!("there is no purchase {id}")).into());
    };
    if states.contains(&purchase.state) {
        return Ok(purchase);
    }
    let state = purchase.state.name();
    let message = format!("{id} is {state}: it does not wait for the owner's word");
    Err(Error::new(Code::WrongState, message).into())
}
