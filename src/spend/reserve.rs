//! The transactions that take a budget and give it back. Everything that was true when a purchase was
//! approved is asked again here, since other processes spend as well.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{
    Account, Instrument, approvals,
    budget::Budget,
    check_call,
    policy::{Policies, Request, Verdict},
    resume_call,
};
use crate::{
    error::{Code, Error, MoneyMoved},
    ids::PurchaseId,
    journal::{self, Purchase, State},
    money::Usdc,
    store::{STALE, StoreError, missing_lines},
};

/// Why spending is stopped where another program holds the CROO key's event stream.
pub const KEY_ELSEWHERE: &str = "croo_key_elsewhere";
/// How far the journal's time may be ahead of the clock.
const CLOCK_SLACK_SECONDS: i64 = 30;

/// The transaction that takes the budget. Everything that was true when it was approved is asked
/// again, since other processes spend as well.
pub(super) fn reserve(
    db: &Connection,
    purchase: &Purchase,
    instrument: &Instrument,
    external: bool,
    policies: &Policies,
    now: i64,
) -> Result<Purchase, StoreError> {
    stopped(db)?;
    let present = journal::present(db, &purchase.id)?;
    if present.state != State::Approved {
        // Replaced by a later request, or denied, while the instrument was fetched.
        let message = format!("{} is {} by now", present.id, present.state.name());
        return Err(Error::new(Code::Cancelled, message).money(present.money_moved()).into());
    }
    let latest: i64 =
        db.query_row("SELECT coalesce(max(at), 0) FROM purchase_events", [], |row| row.get(0))?;
    if latest > now + CLOCK_SLACK_SECONDS {
        let behind = latest - now;
        let message = format!("the clock is {behind} s behind the journal's last line");
        return Err(Error::new(Code::ClockUntrusted, message).into());
    }
    let over = |message: &str| {
        let again = resume_call(purchase, "asks for the approval again");
        StoreError::from(Error::new(Code::Expired, message).next(again))
    };
    // Another client may have begun to pay for it meanwhile.
    refuse_another_s(db, purchase)?;
    let budget = Budget::read(db, policies, &purchase.principal, now)?;
    let request = request(db, purchase, instrument.amount, &budget, now)?;
    let verdict = budget.policy.judge(&request)?;
    // What it was allowed by may be used up meanwhile; then the owner has not been asked.
    if verdict != Verdict::Allow && approvals::is_by_policy(db, &purchase.id)? {
        return Err(over("what allowed this purchase is used up; it has to be approved"));
    }
    if !approvals::spend(db, purchase, now)? {
        return Err(over("the approval of this purchase is over; it has to be approved again"));
    }
    let nonce = match &instrument.account {
        Some(Account { address, nonce: Some(expected) }) => {
            Some(take_nonce(db, instrument.chain_id, address, *expected)?)
        }
        Some(Account { nonce: None, .. }) | None => None,
    };
    let state = if external { State::AwaitingExternal } else { State::Reserved };
    journal::record(db, &purchase.id, now, "the budget is reserved", |p| {
        p.state = state;
        p.reference = Some(instrument.reference.clone());
        p.amount = Some(instrument.amount);
        p.asset.clone_from(&instrument.asset);
        p.chain_id = instrument.chain_id;
        p.instrument = Some(instrument.details.clone());
        p.account = instrument.account.as_ref().map(|account| account.address.clone());
        p.account_nonce = nonce;
        p.reserved_at = Some(now);
        if let Some((route, key)) = instrument.rerouted.clone() {
            p.route = route;
            p.idempotency_key = key;
        }
        Ok(())
    })
}

/// The transaction before every sending: what is sent is written down. `before` is the purchase as
/// the sender knows it; where another process has gone on with it meanwhile, nothing is sent.
pub(super) fn about_to_send(
    db: &Connection,
    before: &Purchase,
    instrument: Value,
    note: &str,
    now: i64,
) -> Result<Purchase, StoreError> {
    stopped(db)?;
    journal::record(db, &before.id, now, note, |p| {
        if (p.state, &p.instrument) != (before.state, &before.instrument) {
            let message = format!("another process has gone on with {}", p.id);
            let error = Error::new(Code::Conflict, message).money(p.money_moved());
            return Err(error.next(check_call(&p.id)).into());
        }
        p.state = State::Submitted;
        p.instrument = Some(instrument);
        Ok(())
    })
}

/// What a purchase is judged by at this moment.
pub(super) fn request<'a>(
    db: &Connection,
    purchase: &'a Purchase,
    max_total: Usdc,
    budget: &Budget,
    now: i64,
) -> Result<Request<'a>, StoreError> {
    Ok(Request {
        own_left: budget.own_left,
        seller_id: &purchase.seller_id,
        max_total,
        spent: budget.spent,
        known_seller: known_seller(db, purchase)?,
        granted: granted(db, purchase, now)?,
        fund: purchase.fund.as_ref().map_or(Usdc::ZERO, |fund| fund.amount),
    })
}

/// Refuses what another client has begun to pay for: it is paid once, and it is theirs.
pub(super) fn refuse_another_s(db: &Connection, purchase: &Purchase) -> Result<(), StoreError> {
    if !purchase.rail.is_once() {
        return Ok(());
    }
    match journal::begun_by(db, &purchase.natural_key)? {
        Some(other) if other != purchase.principal => {
            let message = format!("there is no {} for this client to pay", purchase.item_id);
            Err(Error::new(Code::NotFound, message).into())
        }
        _ => Ok(()),
    }
}

fn known_seller(db: &Connection, purchase: &Purchase) -> Result<bool, StoreError> {
    Ok(db.query_row(
        "SELECT EXISTS (SELECT 1 FROM purchases WHERE marketplace = ?1 AND seller_id = ?2
         AND state = 'settled' AND amount > 0)",
        [purchase.marketplace.name(), &purchase.seller_id],
        |row| row.get(0),
    )?)
}

fn granted(db: &Connection, purchase: &Purchase, now: i64) -> Result<Usdc, StoreError> {
    let grants = approvals::grants(db, now)?;
    let own = grants.into_iter().find(|grant| {
        grant.marketplace == purchase.marketplace.name() && grant.seller_id == purchase.seller_id
    });
    Ok(own.map_or(Usdc::ZERO, |grant| grant.left_usd))
}

/// The account's next nonce. One that the chain has seen and this store has not given out shows that
/// someone else spends from the wallet.
pub(super) fn take_nonce(
    db: &Connection,
    chain_id: u64,
    account: &str,
    expected: u64,
) -> Result<u64, StoreError> {
    let chain = i64::try_from(chain_id).unwrap_or(0);
    let next: Option<i64> = db
        .query_row(
            "SELECT next_nonce FROM accounts WHERE chain_id = ?1 AND address = ?2",
            params![chain, account],
            |row| row.get(0),
        )
        .optional()?;
    let next = next.and_then(|next| u64::try_from(next).ok());
    if next.is_some_and(|next| expected > next) {
        let message = format!(
            "someone else pays from the wallet {account}: the chain has seen payments that this \
             store has not made. Spending is stopped; the owner confirms with `haggle unfreeze`"
        );
        return Err(Error::new(Code::InstanceConflict, message).into());
    }
    let nonce = next.unwrap_or(expected);
    db.execute(
        "INSERT INTO accounts (chain_id, address, next_nonce) VALUES (?1, ?2, ?3)
         ON CONFLICT (chain_id, address) DO UPDATE SET next_nonce = ?3",
        params![chain, account, i64::try_from(nonce.saturating_add(1)).unwrap_or(0)],
    )?;
    Ok(nonce)
}

/// Ends a purchase of which nothing was sent, and gives its nonce back. One that has gone further
/// meanwhile stays as it is: it may be paid.
pub(super) fn release(
    db: &Connection,
    id: &PurchaseId,
    why: &str,
    now: i64,
) -> Result<Purchase, StoreError> {
    let present = journal::present(db, id)?;
    if present.state.money_moved() != MoneyMoved::No || present.is_over() {
        return Ok(present);
    }
    journal::record(db, id, now, why, |p| {
        if let (State::Reserved, Some(account), Some(nonce)) =
            (p.state, &p.account, p.account_nonce.take())
        {
            give_nonce_back(db, p.chain_id, account, nonce)?;
        }
        p.state = State::Failed;
        p.failure = Some(why.to_owned());
        Ok(())
    })
}

/// Lets the next payment of the account use a nonce that nothing was sent with.
///
/// # Errors
///
/// Where the store fails.
pub(super) fn give_nonce_back(
    db: &Connection,
    chain_id: u64,
    account: &str,
    nonce: u64,
) -> Result<(), StoreError> {
    db.execute(
        "UPDATE accounts SET next_nonce = ?3
         WHERE chain_id = ?1 AND address = ?2 AND next_nonce = ?3 + 1",
        params![i64::try_from(chain_id).unwrap_or(0), account, i64::try_from(nonce).unwrap_or(0)],
    )?;
    Ok(())
}

/// Refuses while spending is stopped, by the owner or by what was found.
pub(super) fn stopped(db: &Connection) -> Result<(), StoreError> {
    let reasons = approvals::frozen(db)?;
    let stale = reasons.iter().any(|reason| reason == STALE);
    if stale || missing_lines(db)? > 0 {
        let message = "the journal lacks lines that it had: an old copy was put back. Spending is \
                       stopped; the owner looks, then confirms with `haggle unfreeze`";
        return Err(Error::new(Code::StoreStale, message).into());
    }
    if reasons.iter().any(|reason| reason == KEY_ELSEWHERE) {
        let message = "someone else is connected with this CROO key, so what it spends is not known \
                       here; the owner ends the other program, then confirms with `haggle unfreeze`";
        return Err(Error::new(Code::InstanceConflict, message).into());
    }
    if reasons.iter().any(|reason| reason == "instance_conflict") {
        let message =
            "someone else pays from this wallet; the owner confirms with `haggle unfreeze`";
        return Err(Error::new(Code::InstanceConflict, message).into());
    }
    if !reasons.is_empty() {
        let message = "the owner has stopped all spending; `haggle unfreeze` allows it again";
        return Err(Error::new(Code::Frozen, message).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            plan::{PlanRequest, Repeat, judge},
            policy::Policy,
        },
        *,
    };
    use crate::{
        journal::Rail,
        marketplaces::Marketplace,
        store::{Store, StoreError},
    };

    const NOW: i64 = 1_000_000;

    /// An order that this client wants to pay, approved by policy.
    fn approved(db: &Connection, principal: &str, policies: &Policies) -> Purchase {
        let price = Usdc::from_micros(1_000_000);
        let request = PlanRequest {
            marketplace: Marketplace::Croo,
            rail: Rail::CrooOrder,
            natural_key: "croo:order:o1".to_owned(),
            repeat: Repeat::Never,
            seller_id: "s1".to_owned(),
            seller_name: String::new(),
            item_id: "o1".to_owned(),
            item_name: String::new(),
            body: Vec::new(),
            body_digest: String::new(),
            route: String::new(),
            origin: String::new(),
            asset: "USDC".to_owned(),
            chain_id: 1,
            price,
            max_total: price,
            fund: None,
        };
        let planned = request.purchase(principal.to_owned(), price, NOW).unwrap();
        journal::plan(db, &planned).unwrap();
        let (approved, verdict) = judge(db, policies, &planned.id, NOW).unwrap();
        assert!(matches!(verdict, Ok(None)), "{verdict:?}");
        approved
    }

    fn instrument() -> Instrument {
        Instrument {
            reference: "o1".to_owned(),
            amount: Usdc::from_micros(1_000_000),
            asset: "USDC".to_owned(),
            chain_id: 1,
            details: serde_json::json!({ "order_id": "o1" }),
            rerouted: None,
            account: None,
        }
    }

    fn code<T>(done: Result<T, StoreError>) -> Option<Code> {
        done.err().map(|error| Error::from(error).code)
    }

    fn in_a_store(test: impl FnOnce(&Connection)) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("s.db"));
        let tested = store.with_blocking(|db| {
            test(db);
            Ok(())
        });
        tested.unwrap();
    }

    /// What another client has begun to pay for meanwhile is not paid a second time.
    #[test]
    fn an_order_is_reserved_by_one_client() {
        in_a_store(|db| {
            let policies = Policies { owner: Policy::sandbox(), ..Policies::default() };
            let [ann, bob] = ["ann", "bob"].map(|who| approved(db, who, &policies));
            let reserved = |purchase| reserve(db, purchase, &instrument(), false, &policies, NOW);
            assert_eq!(code(reserved(&ann)), None);
            assert_eq!(code(reserved(&bob)), Some(Code::NotFound));
        });
    }

    /// Only one of those who go on with a purchase sends it.
    #[test]
    fn a_purchase_is_sent_by_who_knows_it_as_it_is() {
        in_a_store(|db| {
            let policies = Policies { owner: Policy::sandbox(), ..Policies::default() };
            let purchase = approved(db, "ann", &policies);
            let reserved = reserve(db, &purchase, &instrument(), false, &policies, NOW).unwrap();
            let sent = |before: &Purchase, instrument: &str| {
                about_to_send(db, before, Value::from(instrument), "about to be sent", NOW)
            };
            let first = sent(&reserved, "one").unwrap();
            assert_eq!(first.state, State::Submitted);
            let second = Error::from(sent(&reserved, "two").unwrap_err());
            assert_eq!((second.code, second.money_moved), (Code::Conflict, MoneyMoved::Maybe));
            // The same again is sent by who knows of the first.
            let again = sent(&first, "three").unwrap();
            assert_eq!(code(sent(&first, "four")), Some(Code::Conflict));
            assert_eq!(again.instrument, Some(Value::from("three")));
        });
    }
}
