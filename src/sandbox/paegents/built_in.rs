//! The sellers that the sandbox acts for: they answer proposals.
//!
//! They do nothing that another agent could not do through the API, one step after its cause.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{
    paegents::{
        agreements::Agreement,
        lifecycle::{self, Refusal},
        services,
        steps::{self, Part, step_ms},
    },
    world::World,
};

/// The task of a built-in seller: look at a proposal.
pub(crate) const ANSWER: &str = "answer";
/// How many steps the slow seller takes to accept.
const SLOW_STEPS: i64 = 10;
/// How long a built-in agent takes to act, in milliseconds.
pub(crate) const AGENT_MS: i64 = 1_500;
/// What the seller that looks first tells a buyer to do.
const CERTIFIED_ONLY: &str = "only certified translations are checked here: propose again with \
     \"certified\": true in the attributes of a cart item";

/// Plans what the built-in seller does about a proposal.
pub(crate) fn plan_answer(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    let steps = if agreement.behaviour == "slow" { SLOW_STEPS } else { 1 };
    let at = now + steps * step_ms(world, AGENT_MS);
    steps::plan(db, at, Part::Agreements, (ANSWER, &agreement.id))
}

/// A built-in seller accepts a proposal, or declines it.
pub(crate) fn answer(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: Agreement,
) -> rusqlite::Result<()> {
    let outcome = match objection(db, &agreement)? {
        Some(refusal) => lifecycle::reject(db, world, at, (agreement, refusal)).map(|_| ()),
        None => lifecycle::accept(db, world, at, (agreement, false))?.map(|_| ()),
    };
    if let Err(error) = outcome {
        tracing::debug!(detail = error.message(), "a built-in seller could not answer");
    }
    Ok(())
}

/// Why the seller would not take this on.
fn objection(db: &Connection, agreement: &Agreement) -> rusqlite::Result<Option<Refusal>> {
    let Some(id) = &agreement.service else { return Ok(None) };
    let Some(service) = services::find(db, id)? else { return Ok(None) };
    if agreement.behaviour == "rejects" && !is_certified(agreement) {
        let item = json!({
            "name": service.name,
            "quantity": agreement.quantity,
            "unit_price_cents": service.base_price_cents,
            "attributes": { "certified": true },
        });
        return Ok(Some(Refusal {
            reason: Some(CERTIFIED_ONLY.to_owned()),
            cart_items: Some(vec![item]),
            total_cents: Some(agreement.quantity.saturating_mul(service.base_price_cents)),
        }));
    }
    if agreement.price_per_unit_cents < service.base_price_cents {
        let (price, total) = (service.base_price_cents, agreement.quantity);
        return Ok(Some(Refusal {
            reason: Some(format!("the price is {price} cents a unit")),
            cart_items: None,
            total_cents: Some(total.saturating_mul(price)),
        }));
    }
    Ok(None)
}

/// Whether the buyer says that it is about certified translations.
fn is_certified(agreement: &Agreement) -> bool {
    let is_true = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let items = agreement.metadata.get("cart_items").and_then(Value::as_array);
    is_true(agreement.metadata.get("certified"))
        || items.into_iter().flatten().any(|item| is_true(item.pointer("/attributes/certified")))
}
