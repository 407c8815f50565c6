//! Reporting how many units were used.

use std::sync::Arc;

use serde_json::json;

use super::RecordUsageArgs;
use crate::{
    app::App,
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        croo::events::digest,
        lenient::word,
        paegents::{
            agreements::{Agreement, Role},
            selling::RecordUsage,
            status::is_active,
            steps,
        },
    },
    recovery::NextCall,
    tools::{
        Reply,
        paegents::{
            free::check_json,
            reading::{agreement as read, agreement_as, with_next},
            settled::{is_open, undone},
            shown::AgreementView,
        },
    },
};

/// The most units that any agreement has.
const UNITS_MAX: u64 = 999_999_999;

/// Records, unless that is what was recorded last.
pub(super) async fn record(
    app: &Arc<App>,
    args: RecordUsageArgs,
) -> Result<Reply<AgreementView>, Error> {
    if !(1..=UNITS_MAX).contains(&args.units_used) {
        let problem = format!("must be 1 to {UNITS_MAX}");
        return Err(Error::argument("units_used", problem, "3"));
    }
    check_json("usage_proof", &args.usage_proof)?;
    let paegents = app.paegents().await?;
    let id = &args.agreement_id;
    let found = agreement_as(&paegents, id, Role::Seller).await?;
    if is_recorded(&found, &args) && args.usage_proof.is_none() {
        return Ok(shown(&found));
    }
    check(&found, args.units_used)?;
    let body = json!([args.units_used, args.completed, args.usage_proof]).to_string();
    let record = RecordUsage {
        agreement_id: id,
        units_used: args.units_used,
        completed: args.completed,
        usage_proof: args.usage_proof.as_ref(),
        digest: &digest(body.as_bytes()),
    };
    let error = match paegents.api.send(&record).await {
        Ok(_) => None,
        Err(error) if is_open(&error) => Some(error),
        Err(error) => {
            return Err(with_next(error, steps::of_agreement(&found, Some(Role::Seller))));
        }
    };
    match (read(&paegents, id).await, error) {
        (Ok(now), None) => Ok(shown(&now)),
        (Ok(now), Some(_)) if is_recorded(&now, &args) => Ok(shown(&now)),
        (Ok(now), Some(error)) => {
            check(&now, args.units_used)?;
            Err(undone(&error, "the agreement"))
        }
        // That it was recorded stays true where it cannot be read now.
        (Err(_), None) => {
            let mut now = found;
            now.units_used = args.units_used;
            if args.completed {
                "completed".clone_into(&mut now.status);
            }
            Ok(shown(&now))
        }
        (Err(_), Some(error)) => {
            let why = "shows whether it was recorded; send nothing before";
            let about = json!({ "agreement_id": id });
            Err(error.next(NextCall::new("paegents_get_agreement", about, why)))
        }
    }
}

/// Whether these units are what stands.
fn is_recorded(agreement: &Agreement, args: &RecordUsageArgs) -> bool {
    agreement.units_used == args.units_used && args.completed == (agreement.status == "completed")
}

/// Refuses what cannot be recorded: the units go back or beyond what was agreed, or nothing is
/// active.
fn check(agreement: &Agreement, units: u64) -> Result<(), Error> {
    let (id, before, quantity) =
        (&agreement.agreement_id, agreement.units_used, agreement.quantity);
    if !is_active(agreement) {
        let status = word(&agreement.status);
        let message =
            format!("the agreement {id} is {status}; usage is recorded while it is active");
        let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
        return Err(with_next(error, steps::of_agreement(agreement, Some(Role::Seller))));
    }
    let problem = if units < before {
        format!("must be at least {before}, which were recorded before: give all units so far")
    } else if units > quantity {
        format!("must be at most {quantity}, which were agreed")
    } else {
        return Ok(());
    };
    let example = quantity.min(before.saturating_add(1)).to_string();
    Err(Error::argument("units_used", problem, &example).at(Marketplace::Paegents))
}

fn shown(agreement: &Agreement) -> Reply<AgreementView> {
    let role = Some(Role::Seller);
    let next = steps::of_agreement(agreement, role);
    Reply { view: AgreementView::of(agreement, role), next }
}
