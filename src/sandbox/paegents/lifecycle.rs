//! What becomes of an agreement, whoever brings it about: another agent, the clock, or a built-in
//! agent.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        clock::rfc3339,
        ledger::Kind,
        paegents::{
            agreements::{self, Agreement},
            answers::ApiError,
            built_in, customers, direct, escrow, proposals,
        },
        world::World,
    },
};

/// Carries out a step: task and subject.
pub(crate) fn carry_out(
    db: &Connection,
    world: &World,
    at: i64,
    (task, subject): (&str, &str),
) -> rusqlite::Result<()> {
    let Some(agreement) = agreements::find(db, subject)? else { return Ok(()) };
    match (task, agreement.status.as_str()) {
        (proposals::LAPSE, "proposed" | "accepted") => lapse(db, world, at, agreement),
        (direct::TRANSFER, "accepted") => direct::transfer(db, world, at, (agreement, false)),
        (direct::FAIL_TRANSFER, "accepted") => direct::transfer(db, world, at, (agreement, true)),
        (built_in::ANSWER, "proposed") => built_in::answer(db, world, at, agreement),
        (customers::ERRAND, _) => customers::errand(db, world, at, agreement),
        _ => Ok(()),
    }
}

/// Saves a change of status and tells both sides.
fn turn(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, status): (Agreement, &str),
) -> rusqlite::Result<Agreement> {
    status.clone_into(&mut agreement.status);
    agreement.updated_at = at;
    agreements::save(db, &agreement)?;
    agreements::tell(db, world, at, &format!("agreement.{status}"), &agreement)?;
    Ok(agreement)
}

/// The call does not go with the status.
fn misplaced(agreement: &Agreement, verb: &str) -> ApiError {
    ApiError::conflict(format!("Agreement cannot be {verb}: it is {}", agreement.status))
}

/// The seller agrees. A direct purchase is paid now: first the fee, then the price.
///
/// # Errors
///
/// 409 where it is not proposed any more; 402 where the fee cannot be collected, and then the
/// failure is kept, so the caller must not roll back what an inner error stands for.
pub(crate) fn accept(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, fails): (Agreement, bool),
) -> rusqlite::Result<Result<Agreement, ApiError>> {
    if agreement.status != "proposed" {
        return Ok(Err(misplaced(&agreement, "accepted")));
    }
    if agreement.has_escrow() {
        escrow::accepted(db, world, at, &mut agreement)?;
    } else {
        if let Err(error) = direct::collect_fee(db, world, at, &mut agreement)? {
            agreements::save(db, &agreement)?;
            agreements::tell(db, world, at, "payment.failed", &agreement)?;
            return Ok(Err(error));
        }
        direct::plan_transfer(db, world, at, (&agreement, fails))?;
    }
    let agreement = turn(db, world, at, (agreement, "accepted"))?;
    customers::plan_errand(db, world, at, &agreement)?;
    Ok(Ok(agreement))
}

/// Why a seller declines, and what it would take instead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    /// Its reason.
    pub(crate) reason: Option<String>,
    /// The cart it would take.
    pub(crate) cart_items: Option<Vec<Value>>,
    /// The total it would take, in cents.
    pub(crate) total_cents: Option<u64>,
}

/// The seller declines.
///
/// # Errors
///
/// 409 where it is not proposed any more.
pub(crate) fn reject(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, refusal): (Agreement, Refusal),
) -> Result<Agreement, ApiError> {
    if agreement.status != "proposed" {
        return Err(misplaced(&agreement, "rejected"));
    }
    let members = [
        ("rejection_reason", refusal.reason.map(Value::String)),
        ("suggested_cart_items", refusal.cart_items.map(Value::Array)),
        ("suggested_total_cents", refusal.total_cents.map(Value::from)),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            agreement.metadata.insert(name.to_owned(), value);
        }
    }
    Ok(turn(db, world, at, (agreement, "rejected"))?)
}

/// The buyer takes its proposal back.
///
/// # Errors
///
/// 409 where it is not proposed any more.
pub(crate) fn cancel(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: Agreement,
) -> Result<Agreement, ApiError> {
    if agreement.status != "proposed" {
        return Err(misplaced(&agreement, "cancelled"));
    }
    Ok(turn(db, world, at, (agreement, "cancelled"))?)
}

/// The buyer complains, after the seller accepted and before the money is shared out.
///
/// # Errors
///
/// 409 at any other time.
pub(crate) fn dispute(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, reason, evidence): (Agreement, String, Option<Value>),
) -> Result<Agreement, ApiError> {
    let is_settled = agreement.settlement_status == "settled";
    if is_settled || !["accepted", "active", "completed"].contains(&agreement.status.as_str()) {
        return Err(misplaced(&agreement, "disputed"));
    }
    let dispute = json!({ "reason": reason, "evidence": evidence, "opened_at": rfc3339(at) });
    agreement.metadata.insert("dispute".to_owned(), dispute);
    Ok(turn(db, world, at, (agreement, "disputed"))?)
}

/// Nobody carried it further in time. An activation under way is not cut off.
fn lapse(db: &Connection, world: &World, at: i64, agreement: Agreement) -> rusqlite::Result<()> {
    if agreement.activation_status == "submitting" {
        return Ok(());
    }
    turn(db, world, at, (agreement, "expired")).map(|_| ())
}

/// Units that a seller or the proxy counted, and under which reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw<'a> {
    /// How many.
    pub(crate) units: u64,
    /// The reference of the entry in the truth.
    pub(crate) reference: &'a str,
}

/// Counts units and what they earn; the caller saves the agreement.
pub(crate) fn draw(
    db: &Connection,
    at: i64,
    agreement: &mut Agreement,
    draw: &Draw<'_>,
) -> rusqlite::Result<()> {
    let amount = draw.units.saturating_mul(agreement.price_per_unit_atomic);
    agreement.units_used = agreement.units_used.saturating_add(draw.units);
    agreement.aggregate_earned_atomic = agreement.aggregate_earned_atomic.saturating_add(amount);
    agreement.updated_at = at;
    if amount == 0 {
        return Ok(());
    }
    let sides = (agreement.buyer_wallet, agreement.seller_wallet);
    let entry = (Kind::Draw, draw.reference, Some(agreement.id.as_str()));
    escrow::enter(db, at, entry, sides, Usdc::from_micros(amount))
}

/// The seller says how many units were used so far, and perhaps that this was all.
///
/// # Errors
///
/// 409 where the agreement is not active; 422 where the units go back or beyond the quantity.
pub(crate) fn record_usage(
    db: &Connection,
    world: &World,
    at: i64,
    (mut agreement, units_used, is_completed): (Agreement, u64, bool),
) -> Result<Agreement, ApiError> {
    if agreement.status != "active" {
        return Err(ApiError::conflict(format!(
            "Usage cannot be recorded: the agreement is {}",
            agreement.status
        )));
    }
    let Some(units) = units_used.checked_sub(agreement.units_used) else {
        let message = format!("must be at least {}, the units before", agreement.units_used);
        return Err(ApiError::invalid("units_used", message));
    };
    if units_used > agreement.quantity {
        let message = format!("must be at most {}", agreement.quantity);
        return Err(ApiError::invalid("units_used", message));
    }
    let reference = format!("{}:usage:{units_used}", agreement.id);
    draw(db, at, &mut agreement, &Draw { units, reference: &reference })?;
    agreement.updated_at = at;
    if is_completed {
        "completed".clone_into(&mut agreement.status);
    }
    escrow::used(db, world, at, &mut agreement, is_completed)?;
    agreements::save(db, &agreement)?;
    if is_completed {
        agreements::tell(db, world, at, "agreement.completed", &agreement)?;
    }
    Ok(agreement)
}
