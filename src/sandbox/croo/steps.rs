//! What happens by the clock: steps on the chain, deadlines, and what built-in agents do.
//!
//! A step is planned when its cause happens and carried out at its own time, whenever somebody
//! looks. Steps run in the order of their times, so what follows from a step follows in order too.
//! A step that no longer fits the status of its order does nothing.

use rusqlite::{Connection, OptionalExtension, params};

use crate::sandbox::{
    Pace,
    croo::{built_in, deliveries, negotiations, orders, orders::Fate, orders::Order, vault},
    world::World,
};

/// How long an order can be paid, in milliseconds.
const PAYABLE_MS: i64 = 1_800_000;
/// Milliseconds in a minute.
const MINUTE_MS: u64 = 60_000;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nobody answered the negotiation.
    LapseNegotiation,
    /// The order is on the chain.
    Create,
    /// The order did not get onto the chain.
    FailCreate,
    /// The time to pay is over.
    LapsePayment,
    /// The payment is confirmed.
    ConfirmPayment,
    /// The payment was reverted.
    FailPayment,
    /// The time to deliver is over.
    LapseDelivery,
    /// The delivery is confirmed.
    Evaluate,
    /// The delivery was reverted.
    FailDelivery,
    /// The order is settled.
    Complete,
    /// The rejection is confirmed.
    Reject,
    /// The built-in seller looks at a negotiation.
    SellerAnswers,
    /// The built-in seller acts on a paid order.
    SellerActs,
    /// The built-in buyer pays.
    BuyerPays,
}

impl Task {
    const ALL: [Self; 14] = [
        Self::LapseNegotiation,
        Self::Create,
        Self::FailCreate,
        Self::LapsePayment,
        Self::ConfirmPayment,
        Self::FailPayment,
        Self::LapseDelivery,
        Self::Evaluate,
        Self::FailDelivery,
        Self::Complete,
        Self::Reject,
        Self::SellerAnswers,
        Self::SellerActs,
        Self::BuyerPays,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::LapseNegotiation => "lapse_negotiation",
            Self::Create => "create",
            Self::FailCreate => "fail_create",
            Self::LapsePayment => "lapse_payment",
            Self::ConfirmPayment => "confirm_payment",
            Self::FailPayment => "fail_payment",
            Self::LapseDelivery => "lapse_delivery",
            Self::Evaluate => "evaluate",
            Self::FailDelivery => "fail_delivery",
            Self::Complete => "complete",
            Self::Reject => "reject",
            Self::SellerAnswers => "seller_answers",
            Self::SellerActs => "seller_acts",
            Self::BuyerPays => "buyer_pays",
        }
    }
}

/// 300 ms at fast pace, otherwise as observed.
fn step_ms(world: &World, real_ms: i64) -> i64 {
    match world.pace {
        Pace::Fast => 300,
        Pace::Real => real_ms,
    }
}

/// From `creating` on, in milliseconds.
pub(crate) fn creating_ms(world: &World) -> i64 {
    step_ms(world, 30_000)
}

/// From `paying` on, and from `rejecting` on.
fn paying_ms(world: &World) -> i64 {
    step_ms(world, 8_000)
}

/// From `delivering` on, and from `evaluating` on: 66 seconds together.
fn delivering_ms(world: &World) -> i64 {
    step_ms(world, 33_000)
}

/// How long a built-in agent takes to act.
pub(crate) fn agent_ms(world: &World) -> i64 {
    step_ms(world, 1_500)
}

/// Plans a step for a negotiation or an order.
pub(crate) fn plan(db: &Connection, at: i64, task: Task, subject: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO croo_steps (at, task, subject) VALUES (?1, ?2, ?3)")?
        .execute(params![at, task.as_str(), subject])?;
    Ok(())
}

/// Carries out what is due at `now`, in the order of its time.
pub(crate) fn settle(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    loop {
        let due: Option<(i64, i64, String, String)> = db
            .prepare_cached(
                "SELECT seq, at, task, subject FROM croo_steps WHERE at <= ?1
                 ORDER BY at, seq LIMIT 1",
            )?
            .query_row([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((seq, at, task, subject)) = due else { return Ok(()) };
        db.prepare_cached("DELETE FROM croo_steps WHERE seq = ?1")?.execute([seq])?;
        if let Some(task) = Task::ALL.into_iter().find(|known| known.as_str() == task) {
            carry_out(db, world, at, task, &subject)?;
        }
    }
}

fn carry_out(
    db: &Connection,
    world: &World,
    at: i64,
    task: Task,
    subject: &str,
) -> rusqlite::Result<()> {
    let statuses: &[&str] = match task {
        Task::LapseNegotiation => return negotiations::lapse(db, at, subject),
        Task::SellerAnswers => return built_in::answer(db, world, at, subject),
        Task::Create | Task::FailCreate => &["creating"],
        Task::LapsePayment => &["created", "pay_failed"],
        Task::ConfirmPayment | Task::FailPayment => &["paying"],
        Task::LapseDelivery => &["paid", "deliver_failed"],
        Task::Evaluate | Task::FailDelivery => &["delivering"],
        Task::Complete => &["evaluating"],
        Task::Reject => &["rejecting"],
        Task::SellerActs => &["paid"],
        Task::BuyerPays => &["created"],
    };
    let Some(order) = orders::find(db, subject)? else { return Ok(()) };
    if !statuses.contains(&order.status.as_str()) {
        return Ok(());
    }
    match task {
        Task::Create => created(db, world, at, order),
        Task::FailCreate => turned(db, at, order, "create_failed"),
        Task::LapsePayment => lapsed(db, world, at, order, Lapse::Unpaid),
        Task::LapseDelivery => lapsed(db, world, at, order, Lapse::Paid),
        Task::ConfirmPayment => paid(db, world, at, order),
        Task::FailPayment => pay_failed(db, at, order),
        Task::Evaluate => evaluating(db, world, at, order),
        Task::FailDelivery => deliver_failed(db, at, order),
        Task::Complete => completed(db, world, at, order),
        Task::Reject => rejected(db, world, at, order),
        Task::SellerActs => built_in::act(db, world, at, order),
        Task::BuyerPays => built_in::pay(db, world, at, order),
        Task::LapseNegotiation | Task::SellerAnswers => Ok(()),
    }
}

fn turned(db: &Connection, at: i64, mut order: Order, status: &str) -> rusqlite::Result<()> {
    order.turn(status, at);
    order.save(db)
}

fn created(db: &Connection, world: &World, at: i64, mut order: Order) -> rusqlite::Result<()> {
    order.hashes.create = vault::note(db, world, at, order.requester_wallet, Fate::Succeeds)?;
    order.number = Some(orders::chain_number(db)?);
    order.created_at = Some(at);
    order.pay_deadline = Some(at + PAYABLE_MS);
    order.turn("created", at);
    order.save(db)?;
    plan(db, at + PAYABLE_MS, Task::LapsePayment, &order.id)?;
    if built_in::is_buyer(world, &order.requester) {
        plan(db, at + agent_ms(world), Task::BuyerPays, &order.id)?;
    }
    order.tell(db, at, "order_created", &[&order.requester, &order.provider])
}

/// Begins a payment that was looked at; answers the order and the hash.
pub(crate) fn pay(
    db: &Connection,
    world: &World,
    at: i64,
    mut order: Order,
    fate: Fate,
) -> rusqlite::Result<(Order, String)> {
    let mined = vault::lock(db, world, at, &order, fate)?;
    let task = if mined.is_done { Task::ConfirmPayment } else { Task::FailPayment };
    order.hashes.pay.clone_from(&mined.hash);
    order.turn("paying", at);
    order.save(db)?;
    plan(db, at + paying_ms(world), task, &order.id)?;
    Ok((order, mined.hash))
}

fn paid(db: &Connection, world: &World, at: i64, mut order: Order) -> rusqlite::Result<()> {
    let window_ms = i64::try_from(order.sla_minutes.saturating_mul(MINUTE_MS)).unwrap_or(i64::MAX);
    let deadline = at.saturating_add(window_ms);
    order.is_funded = true;
    order.paid_at = Some(at);
    order.sla_deadline = Some(deadline);
    order.turn("paid", at);
    order.save(db)?;
    plan(db, deadline, Task::LapseDelivery, &order.id)?;
    built_in::plan_action(db, world, at, &order)?;
    order.tell(db, at, "order_paid", &[&order.provider])
}

/// Nothing was taken; it can be paid again, as long as there is time.
fn pay_failed(db: &Connection, at: i64, mut order: Order) -> rusqlite::Result<()> {
    order.hashes.pay.clear();
    order.turn("pay_failed", at);
    order.save(db)?;
    plan(db, order.pay_deadline.unwrap_or(at).max(at), Task::LapsePayment, &order.id)
}

/// Begins a delivery; answers the order, the delivery and the hash.
pub(crate) fn deliver(
    db: &Connection,
    world: &World,
    at: i64,
    mut order: Order,
    (deliverable, fate): (deliveries::Deliverable, Fate),
) -> rusqlite::Result<(Order, deliveries::Delivery, String)> {
    let hash = vault::note(db, world, at, order.provider_wallet, fate)?;
    let parties = (order.id.as_str(), order.provider.as_str());
    let delivery = deliveries::submit(db, world, at, parties, deliverable)?;
    let task = match fate {
        Fate::Succeeds => Task::Evaluate,
        Fate::Fails => Task::FailDelivery,
    };
    order.hashes.deliver.clone_from(&hash);
    order.turn("delivering", at);
    order.save(db)?;
    plan(db, at + delivering_ms(world), task, &order.id)?;
    Ok((order, delivery, hash))
}

fn evaluating(db: &Connection, world: &World, at: i64, mut order: Order) -> rusqlite::Result<()> {
    order.delivered_at = Some(at);
    plan(db, at + delivering_ms(world), Task::Complete, &order.id)?;
    turned(db, at, order, "evaluating")
}

/// The delivery did not count; it can be made again, as long as there is time.
fn deliver_failed(db: &Connection, at: i64, mut order: Order) -> rusqlite::Result<()> {
    deliveries::conclude(db, &order.id, "rejected", at)?;
    order.hashes.deliver.clear();
    order.turn("deliver_failed", at);
    order.save(db)?;
    plan(db, order.sla_deadline.unwrap_or(at).max(at), Task::LapseDelivery, &order.id)
}

fn completed(db: &Connection, world: &World, at: i64, mut order: Order) -> rusqlite::Result<()> {
    order.hashes.clear = vault::clear(db, world, at, &order)?;
    deliveries::conclude(db, &order.id, "accepted", at)?;
    order.completed_at = Some(at);
    order.turn("completed", at);
    order.save(db)?;
    order.tell(db, at, "order_completed", &[&order.requester])
}

/// Begins a rejection.
pub(crate) fn reject(
    db: &Connection,
    world: &World,
    at: i64,
    mut order: Order,
    reason: &str,
) -> rusqlite::Result<()> {
    reason.clone_into(&mut order.reject_reason);
    plan(db, at + paying_ms(world), Task::Reject, &order.id)?;
    turned(db, at, order, "rejecting")
}

fn rejected(db: &Connection, world: &World, at: i64, mut order: Order) -> rusqlite::Result<()> {
    order.hashes.reject = if order.is_funded {
        vault::refund(db, world, at, &order)?
    } else {
        vault::note(db, world, at, order.requester_wallet, Fate::Succeeds)?
    };
    order.rejected_at = Some(at);
    order.turn("rejected", at);
    order.save(db)?;
    order.tell(db, at, "order_rejected", &[&order.requester, &order.provider])
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lapse {
    Unpaid,
    Paid,
}

fn lapsed(
    db: &Connection,
    world: &World,
    at: i64,
    mut order: Order,
    lapse: Lapse,
) -> rusqlite::Result<()> {
    if lapse == Lapse::Paid {
        order.hashes.refund = vault::refund(db, world, at, &order)?;
    }
    order.expired_at = Some(at);
    order.turn("expired", at);
    order.save(db)?;
    order.tell(db, at, "order_expired", &[&order.requester, &order.provider])
}
