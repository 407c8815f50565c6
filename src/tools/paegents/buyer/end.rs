//! Ending an agreement without an escrow: taking a proposal back, complaining. What a lost answer has
//! done is told by the agreement itself; nothing is sent twice without looking.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::DisputeAgreementArgs;
use crate::{
    app::App,
    error::{Code, Error},
    ids::AgreementId,
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            Paegents,
            agreements::{Agreement, Role},
            ending::{CancelAgreement, DisputeAgreement, REASON_CHARS_MIN},
            status::{is_funded, is_given_up, is_proposed},
            steps,
        },
    },
    recovery::NextCall,
    tools::{
        Reply,
        paegents::{
            reading::{agreement as read_agreement, agreement_as, with_next},
            shown::AgreementView,
        },
    },
};

/// The longest complaint, in bytes.
const REASON_BYTES_MAX: usize = 4 * 1024;
/// The largest evidence, in bytes.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// Takes a proposal back, unless that has happened.
///
/// # Errors
///
/// [`Code::WrongState`] where the seller has answered; as sending an operation.
pub(super) async fn cancel(app: &App, id: &AgreementId) -> Result<Reply<AgreementView>, Error> {
    let paegents = app.paegents().await?;
    let before = agreement_as(&paegents, id, Role::Buyer).await?;
    if is_cancelled(&before) {
        return Ok(shown(&before));
    }
    if !is_proposed(&before.status) {
        return Err(too_late(&before, "cancelled"));
    }
    let sent = paegents.api.send(&CancelAgreement { agreement_id: id }).await.map(drop);
    let same = NextCall::new(
        "paegents_cancel_agreement",
        json!({ "agreement_id": id }),
        "looks first whether it is cancelled, and cancels it if not",
    );
    after(&paegents, id, sent, is_cancelled, same, "cancelled").await
}

fn is_cancelled(agreement: &Agreement) -> bool {
    matches!(agreement.status.as_str(), "cancelled" | "canceled")
}

/// Complains about an agreement, unless there is a complaint already.
///
/// # Errors
///
/// [`Code::InvalidArgument`] where it says too little or too much, [`Code::WrongState`] where there
/// is nothing to complain about; as sending an operation.
pub(super) async fn dispute(
    app: &App,
    args: &DisputeAgreementArgs,
) -> Result<Reply<AgreementView>, Error> {
    let DisputeAgreementArgs { agreement_id: id, reason, evidence } = args;
    check(reason, evidence.as_ref())?;
    let paegents = app.paegents().await?;
    let before = agreement_as(&paegents, id, Role::Buyer).await?;
    if is_disputed(&before) {
        return Ok(shown(&before));
    }
    if is_proposed(&before.status) || is_given_up(&before.status) {
        return Err(too_late(&before, "disputed"));
    }
    let said = json!([reason, evidence]).to_string();
    let digest = hex::encode(Sha256::digest(said)).get(..16).unwrap_or_default().to_owned();
    let request =
        DisputeAgreement { agreement_id: id, reason, evidence: evidence.as_ref(), digest };
    let sent = paegents.api.send(&request).await.map(drop);
    let mut arguments = json!({ "agreement_id": id, "reason": reason });
    if let (Some(evidence), Some(members)) = (evidence, arguments.as_object_mut()) {
        members.insert("evidence".to_owned(), evidence.clone());
    }
    let why = "looks first whether it is disputed, and disputes it if not";
    let same = NextCall::new("paegents_dispute_agreement", arguments, why);
    after(&paegents, id, sent, is_disputed, same, "disputed").await
}

fn is_disputed(agreement: &Agreement) -> bool {
    agreement.status == "disputed"
}

fn check(reason: &str, evidence: Option<&Value>) -> Result<(), Error> {
    let example = "\"the answers are empty since noon\"";
    let chars = reason.trim().chars().count();
    if chars < REASON_CHARS_MIN {
        let problem = format!("has {chars} characters, and must have at least {REASON_CHARS_MIN}");
        return Err(Error::argument("reason", problem, example));
    }
    if reason.len() > REASON_BYTES_MAX || !reason.chars().all(crate::text::shows) {
        let problem = format!("must be printable text of at most {REASON_BYTES_MAX} bytes");
        return Err(Error::argument("reason", problem, example));
    }
    if evidence.is_some_and(|evidence| evidence.to_string().len() > EVIDENCE_BYTES_MAX) {
        let problem = format!("must have at most {EVIDENCE_BYTES_MAX} bytes");
        return Err(Error::argument("evidence", problem, "{\"calls\":[3,4]}"));
    }
    Ok(())
}

/// The agreement after a request: what it says decides, whatever the answer said.
async fn after(
    paegents: &Paegents,
    id: &AgreementId,
    sent: Result<(), Error>,
    is_done: fn(&Agreement) -> bool,
    same: NextCall,
    verb: &str,
) -> Result<Reply<AgreementView>, Error> {
    let now = read_agreement(paegents, id).await;
    match (sent, now) {
        (_, Ok(now)) if is_done(&now) => Ok(shown(&now)),
        (Ok(()), Ok(now)) => {
            let message = format!(
                "Paegents took the request, but the agreement {id} is {} and not {verb} so far",
                word(&now.status)
            );
            Err(Error::new(Code::Conflict, message).at(Marketplace::Paegents).next(same))
        }
        // The seller, or somebody else with the key, was faster.
        (Err(error), Ok(now)) if error.is(Code::Conflict) => {
            Err(with_next(error, steps::of_agreement(&now, Some(Role::Buyer))))
        }
        (Ok(()), Err(error)) => Err(error.uncertain_write().next(same)),
        (Err(error), Ok(_) | Err(_)) => Err(error.next(same)),
    }
}

fn shown(agreement: &Agreement) -> Reply<AgreementView> {
    let role = Some(Role::Buyer);
    Reply { view: AgreementView::of(agreement, role), next: steps::of_agreement(agreement, role) }
}

/// It is not in a state in which this can be done.
fn too_late(agreement: &Agreement, verb: &str) -> Error {
    let paid = if is_funded(agreement) { "; its escrow is paid" } else { "" };
    let message = format!(
        "the agreement {} is {}{paid}: it cannot be {verb}",
        agreement.agreement_id,
        word(&agreement.status)
    );
    let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
    with_next(error, steps::of_agreement(agreement, Some(Role::Buyer)))
}
