//! What is said when a draw stops: what was drawn, and what to do.

use serde_json::{Value, json};

use super::{CallRequest, certain_at};
use crate::{
    error::{Code, Error, MoneyMoved},
    ids::AgreementId,
    journal::draws::Draw,
    marketplaces::{
        Marketplace,
        http::Answer,
        lenient::word,
        paegents::{
            Paegents,
            agreements::{GetAgreement, Role},
            metered::{CALL, CallMethod, Usage},
            steps,
        },
    },
    recovery::{NextAction, NextCall},
};

/// The longest body that a hint repeats, in bytes.
const BODY_HINTED_BYTES_MAX: usize = 3 * 1024;

/// The call once more, as it was asked for. A long body has to be put in again.
#[must_use]
pub fn same_call(request: &CallRequest, why: &str) -> NextCall {
    let body = request.body.as_deref();
    let mut arguments =
        arguments(&request.agreement_id, request.method.word(), request.path.as_str(), body);
    set(&mut arguments, "again", request.again);
    set(&mut arguments, "beyond_soft_stop", request.beyond_soft_stop);
    NextCall::new("paegents_call_service", arguments, why)
}

/// A journaled call once more.
#[must_use]
pub fn call_of(draw: &Draw, again: bool, why: &str) -> NextCall {
    let body = draw.body.as_deref();
    let mut arguments = arguments(&draw.agreement_id, &draw.method, &draw.path, body);
    set(&mut arguments, "again", again);
    NextCall::new("paegents_call_service", arguments, why)
}

fn arguments(agreement: &AgreementId, method: &str, path: &str, body: Option<&[u8]>) -> Value {
    let mut arguments =
        json!({ "agreement_id": agreement, "method": method, "path": format!("/{path}") });
    let body = body.map(|body| match body.len() {
        0..=BODY_HINTED_BYTES_MAX => serde_json::from_slice(body).unwrap_or_default(),
        _ => json!("the same as before"),
    });
    if let (Some(body), Some(members)) = (body, arguments.as_object_mut()) {
        members.insert("json".to_owned(), body);
    }
    arguments
}

fn set(arguments: &mut Value, name: &str, on: bool) {
    if let (true, Some(members)) = (on, arguments.as_object_mut()) {
        members.insert(name.to_owned(), json!(true));
    }
}

fn about(agreement: &AgreementId) -> Value {
    json!({ "agreement_id": agreement })
}

fn usage_call(agreement: &AgreementId, why: &str) -> NextCall {
    NextCall::new("paegents_get_usage", about(agreement), why)
}

fn close_call(agreement: &AgreementId) -> NextCall {
    let why = "ends it; what was not used comes back after the challenge window";
    NextCall::new("paegents_close_escrow", about(agreement), why)
}

/// Another call has the turn for longer than is waited.
pub(super) fn busy(request: &CallRequest) -> Error {
    let id = &request.agreement_id;
    let message = format!("another call of the agreement {id} is under way; nothing was sent");
    Error::new(Code::Conflict, message)
        .at(Marketplace::Paegents)
        .recovery(|r| {
            r.set(NextAction::Wait, true, "Wait until the other call is over.");
            r.wait(5);
        })
        .next(same_call(request, "makes the call once the other is over"))
}

/// No answer came, and the count does not tell yet. `asked` is the call that is refused for it,
/// which may be another one.
pub(super) fn unknown(draw: &Draw, asked: &CallRequest, is_same: bool, now: i64) -> Error {
    let seconds = certain_at(draw).saturating_sub(now).max(1);
    let Draw { method, path, agreement_id, .. } = draw;
    let message = format!(
        "it is not known yet whether {method} /{path} has drawn on the agreement {agreement_id}: no \
         answer came. It is certain in {seconds} s; until then nothing more is drawn"
    );
    let error = Error::new(Code::PaymentUnknown, message).at(Marketplace::Paegents).recovery(|r| {
        "Wait, then ask how many units were used; the same call is harmless, too."
            .clone_into(&mut r.summary);
        r.wait(u64::try_from(seconds).unwrap_or(1));
    });
    let usage = usage_call(agreement_id, "finds out whether it drew; draws nothing");
    if is_same {
        let why = "finds it out as well, and makes the call if nothing was drawn";
        return error.next(usage).next(same_call(asked, why));
    }
    error.next(same_call(asked, "finds it out as well, then makes this call")).next(usage)
}

/// It drew, and its answer is lost.
pub(super) fn undelivered(draw: &Draw, usage: Option<&Usage>) -> Error {
    let Draw { method, path, agreement_id, .. } = draw;
    let units = draw.units.unwrap_or(1);
    let worth = usage.and_then(|usage| usage.worth(units));
    let worth = worth.map(|worth| format!(" ({worth} USD)")).unwrap_or_default();
    let message = format!(
        "{method} /{path} has drawn {units} units{worth} on the agreement {agreement_id}, and its \
         answer is lost"
    );
    let is_read = CallMethod::named(method) == Some(CallMethod::Get);
    let why = "makes the call once more, which draws once more";
    Error::new(Code::PaidNotDelivered, message)
        .at(Marketplace::Paegents)
        .recovery(|r| {
            let summary = "The units are spent and the answer cannot be had. Calling once more \
                           draws once more: decide whether it is worth that.";
            r.set(NextAction::Stop, false, summary);
        })
        .next(call_of(draw, !is_read, why))
}

/// What an answer said that decided nothing, as data.
pub(super) fn heard(error: Error, paegents: &Paegents, answer: Option<&Answer>) -> Error {
    let Some(answer) = answer else { return error };
    let said = (paegents.api.refusal)(&answer.body);
    error.upstream(Some(answer.status.as_u16()), said.known_code()).recovery(|r| {
        // Its waiting time is ours: when the count is certain.
        let seconds = r.retry_after_seconds;
        r.hear(said);
        r.retry_after_seconds = seconds;
    })
}

/// There is no such agreement, or it is somebody else's.
pub(super) fn not_there(error: Error) -> Error {
    if !error.is(Code::NotFound) {
        return error;
    }
    let why = "lists your agreements";
    error.next(NextCall::new("paegents_list_agreements", json!({}), why))
}

/// It was refused, and drew nothing.
pub(super) async fn refused(
    paegents: &Paegents,
    request: &CallRequest,
    answer: &Answer,
    usage: Option<&Usage>,
) -> Error {
    // The agreement may have ended between the count and the call.
    if let Some(usage) = usage
        && let Some(undrawable) = undrawable(paegents, usage).await
    {
        return undrawable;
    }
    let error = paegents.api.refused(CALL, answer);
    match error.code {
        Code::RateLimited => error.next(same_call(request, "makes the call after the wait")),
        Code::NotFound => {
            let why = "put a path of the service in; nothing was drawn";
            error
                .recovery(|r| {
                    let summary = "Nothing was drawn. The service has no such path.";
                    r.set(NextAction::FixArguments, true, summary);
                })
                .next(same_call(request, why))
        }
        _ => error,
    }
}

/// Whether there is something to draw on. A status that is not said denies nothing.
pub(super) fn is_drawable(usage: &Usage) -> bool {
    is_active(usage) && !usage.is_used_up()
}

fn is_active(usage: &Usage) -> bool {
    matches!(usage.status.as_str(), "" | "active")
}

/// Why an agreement cannot be drawn on, if it cannot.
pub(super) async fn undrawable(paegents: &Paegents, usage: &Usage) -> Option<Error> {
    let id = &usage.agreement_id;
    if is_drawable(usage) {
        return None;
    }
    let read = paegents.api.send(&GetAgreement { agreement_id: id }).await;
    let agreement = read.ok().filter(|agreement| agreement.agreement_id == *id);
    if is_active(usage) {
        let message = format!(
            "all {} units of the agreement {id} are used; nothing was sent",
            usage.units_total
        );
        let error = Error::new(Code::WrongState, message)
            .at(Marketplace::Paegents)
            .recovery(|r| {
                let summary = "Close it, and agree on more units if more are needed.";
                r.set(NextAction::ChooseOther, true, summary);
            })
            .next(close_call(id));
        let service = agreement.and_then(|agreement| agreement.service_id);
        return Some(match service {
            None => error,
            Some(service_id) => error.next(NextCall::new(
                "paegents_create_agreement",
                json!({ "service_id": service_id, "quantity": usage.units_total }),
                "agrees on as many units again; pays nothing yet",
            )),
        });
    }
    let status = word(&usage.status);
    let message = format!(
        "the agreement {id} is {status}: its service can be called while it is active. Nothing was \
         sent"
    );
    let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
    let role = paegents
        .agent()
        .ok()
        .zip(agreement.as_ref())
        .and_then(|(own, agreement)| agreement.role_of(own))
        .or(Some(Role::Buyer));
    let calls = agreement.map(|agreement| steps::of_agreement(&agreement, role));
    let why = "shows where it stands";
    let calls =
        calls.unwrap_or_else(|| vec![NextCall::new("paegents_get_agreement", about(id), why)]);
    Some(calls.into_iter().fold(error, Error::next))
}

/// The owner's soft stop: what is left is kept back until the caller insists.
pub(super) fn soft_stop(request: &CallRequest, usage: &Usage, percent: u8) -> Error {
    let Usage { agreement_id, units_used, units_total, .. } = usage;
    let message = format!(
        "{units_used} of {units_total} units of the agreement {agreement_id} are used: one more is \
         beyond the soft stop at {percent} %. Nothing was sent"
    );
    let insists = CallRequest { beyond_soft_stop: true, ..request.clone() };
    Error::new(Code::WrongState, message)
        .at(Marketplace::Paegents)
        .money(MoneyMoved::No)
        .field("beyond_soft_stop", Some("true"))
        .recovery(|r| {
            let summary = "Go on if the call is worth it, or close the agreement and get the rest \
                           back.";
            r.set(NextAction::FixArguments, true, summary);
        })
        .next(same_call(&insists, "makes the call all the same"))
        .next(close_call(agreement_id))
}
