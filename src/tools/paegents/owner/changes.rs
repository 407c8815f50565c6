//! The changes that an owner makes: each is read, told, agreed to by the owner's command, and sent.

use serde_json::{Map, Value, json};

use super::{
    DoneView, RejectRequestArgs, UpdateSpendingLimitsArgs,
    told::{self, can_be_told},
};
use crate::{
    app::App,
    asks,
    error::{Code, Error},
    ids::{AgentId, ApprovalRequestId, InviteToken},
    marketplaces::{
        Marketplace,
        http::{Api, Operation},
        lenient::word,
        paegents::{
            MICROS_PER_CENT,
            invites::{AcceptInvite, GetInvite},
            owner::{
                ApprovalRequest, ApproveRequest, GetPolicies, GetSpendingLimits, ListApprovals,
                RejectRequest, UpdatePolicies, UpdateSpendingLimits,
            },
        },
    },
    money::Usdc,
    owner::Owner,
    recovery::{NextAction, NextCall},
    tools::{
        Reply,
        crochet::account::shown::{checked_text, object},
    },
};

/// How many requests are looked through for one.
const LOOK_THROUGH: u64 = 100;
/// The words of requests that wait for nobody any more.
const DECIDED: [&str; 6] = ["approved", "rejected", "denied", "expired", "cancelled", "completed"];
/// The longest policies, in bytes of JSON.
const POLICIES_BYTES_MAX: usize = 4096;
/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// The agent, and the API with its owner's token.
///
/// # Errors
///
/// [`Code::NotRegistered`] where either is missing.
pub(super) async fn as_owner(app: &App) -> Result<(AgentId, Api), Error> {
    let paegents = app.paegents().await?;
    Ok((paegents.agent()?.clone(), paegents.as_owner()?))
}

/// A failure of a call with the owner's token: another key of the agent would not help.
pub(super) fn refused_as_owner(error: Error) -> Error {
    if !matches!(error.code, Code::Unauthorized | Code::NotAllowed) {
        return error;
    }
    error.recovery(|recovery| {
        recovery.next.clear();
        let what = "Paegents does not take the owner's token for this agent: the owner renews \
                    OWNER_JWT.";
        recovery.set(NextAction::AskOwner, false, what);
    })
}

/// Whether a request waits for nobody any more.
pub(super) fn is_decided(request: &ApprovalRequest) -> bool {
    DECIDED.iter().any(|word| request.status.eq_ignore_ascii_case(word))
}

/// Sends a change once the owner has agreed to it as it was told; `look` is the call that shows what
/// became of it, where no answer came.
async fn carried_out<O>(
    api: &Api,
    granted: asks::Granted,
    change: O,
    look: NextCall,
) -> Result<Value, Error>
where
    O: Operation<Output = Value>,
{
    let sent = api.send(&change).await.map_err(refused_as_owner);
    let sent = sent.map_err(|error| if error.repeat_safe { error } else { error.next(look) });
    granted.kept(sent).await
}

fn done(what: &'static str, answer: Value) -> Reply<DoneView> {
    let details = match answer {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        other => Map::from_iter([("answer".to_owned(), other)]),
    };
    Reply::new(DoneView { done: what, details_untrusted: object(details) })
}

/// Whose word it is, and where: part of what the owner agrees to.
fn whose(agent: &AgentId, api: &Api) -> String {
    let host = api.base.host_str().unwrap_or_default();
    format!("the owner of the agent {agent} at Paegents ({host})")
}

fn approvals(why: &'static str) -> NextCall {
    NextCall::new("paegents_list_approvals", json!({}), why)
}

/// Replaces the policies.
///
/// # Errors
///
/// [`Code::InvalidArgument`] where they cannot be shown to the owner whole; those of [`asks::need`]
/// and of sending.
pub(super) async fn update_policies(
    app: &App,
    owner: &Owner,
    policies: Map<String, Value>,
) -> Result<Reply<DoneView>, Error> {
    let arguments = json!({ "policies": policies });
    if arguments.to_string().len() > POLICIES_BYTES_MAX || !can_be_told(&policies) {
        let problem = "must be at most 4096 bytes and 60 values of plain text, so that the owner \
                       sees all of it";
        return Err(Error::argument("policies", problem, EXAMPLE));
    }
    let (agent, api) = as_owner(app).await?;
    let before = api.send(&GetPolicies { agent: &agent }).await.map_err(refused_as_owner)?;
    let described = told::policies(&whose(&agent, &api), &before, &policies);
    let granted = asks::need(app, owner, "paegents_update_policies", arguments, described).await?;
    let ask = granted.id().clone();
    let change = UpdatePolicies { agent: &agent, ask: &ask, policies: &policies };
    let look = NextCall::new("paegents_get_policies", json!({}), "shows which are in force");
    let answer = carried_out(&api, granted, change, look.clone()).await?;
    Ok(done("replaced", answer).next(look))
}

/// Policies in the shape that the page shows.
const EXAMPLE: &str = r#"{"approvals":{"threshold_cents":2000},"rails":{"allowed":["card"]}}"#;

/// Agrees to a payment.
///
/// # Errors
///
/// [`Code::NotFound`], [`Code::WrongState`]; those of [`asks::need`] and of sending.
pub(super) async fn approve(
    app: &App,
    owner: &Owner,
    id: &ApprovalRequestId,
) -> Result<Reply<DoneView>, Error> {
    let (agent, api) = as_owner(app).await?;
    let request = waiting(&api, &agent, id).await?;
    let described = told::approval(&whose(&agent, &api), &request);
    let arguments = json!({ "request_id": id });
    let granted = asks::need(app, owner, "paegents_approve_request", arguments, described).await?;
    let ask = granted.id().clone();
    let change = ApproveRequest { agent: &agent, request_id: id, ask: &ask };
    let answer = carried_out(&api, granted, change, approvals("shows what became of it")).await?;
    Ok(done("approved", answer).next(approvals("shows what else waits")))
}

/// Refuses a payment.
///
/// # Errors
///
/// As [`approve`], and [`Code::InvalidArgument`].
pub(super) async fn reject(
    app: &App,
    owner: &Owner,
    args: &RejectRequestArgs,
) -> Result<Reply<DoneView>, Error> {
    let checked =
        |reason| checked_text("reason", reason, REASON_CHARS_MAX, "\"not what was ordered\"");
    let reason = args.reason.as_deref().map(checked).transpose()?;
    let id = &args.request_id;
    let (agent, api) = as_owner(app).await?;
    let request = waiting(&api, &agent, id).await?;
    let described = told::rejection(&whose(&agent, &api), &request, reason);
    let mut arguments = json!({ "request_id": id });
    if let (Some(reason), Some(members)) = (reason, arguments.as_object_mut()) {
        members.insert("reason".to_owned(), reason.into());
    }
    let granted = asks::need(app, owner, "paegents_reject_request", arguments, described).await?;
    let ask = granted.id().clone();
    let change = RejectRequest { agent: &agent, request_id: id, reason, ask: &ask };
    let answer = carried_out(&api, granted, change, approvals("shows what became of it")).await?;
    Ok(done("rejected", answer).next(approvals("shows what else waits")))
}

/// A request that is not decided yet. There is no reading of one, so it is looked for in the list.
async fn waiting(
    api: &Api,
    agent: &AgentId,
    id: &ApprovalRequestId,
) -> Result<ApprovalRequest, Error> {
    for status in [None, Some("pending")] {
        let list = ListApprovals { agent, limit: LOOK_THROUGH, status };
        let requests = api.send(&list).await.map_err(refused_as_owner)?.0;
        let Some(found) = requests.into_iter().find(|request| request.id == *id) else { continue };
        if !is_decided(&found) {
            return Ok(found);
        }
        let message =
            format!("the request {id} is {} already; nothing was sent", word(&found.status));
        let error = Error::new(Code::WrongState, message).at(Marketplace::Paegents);
        return Err(error.next(approvals("shows what waits")));
    }
    let message = format!("the agent {agent} has no request {id}; nothing was sent");
    Err(Error::new(Code::NotFound, message)
        .at(Marketplace::Paegents)
        .next(approvals("shows what waits")))
}

/// Sets the limits.
///
/// # Errors
///
/// [`Code::InvalidArgument`]; those of [`asks::need`] and of sending.
pub(super) async fn update_limits(
    app: &App,
    owner: &Owner,
    args: &UpdateSpendingLimitsArgs,
) -> Result<Reply<DoneView>, Error> {
    let daily_limit = whole_cents("daily_limit_usd", args.daily_limit_usd)?;
    let monthly_limit = whole_cents("monthly_limit_usd", args.monthly_limit_usd)?;
    if monthly_limit < daily_limit {
        let problem = "must be at least the daily limit";
        return Err(Error::argument("monthly_limit_usd", problem, "\"1000\""));
    }
    let (agent, api) = as_owner(app).await?;
    let before = api.send(&GetSpendingLimits {}).await.map_err(refused_as_owner)?;
    let line = |cents: u64, limit: Usdc| format!("{cents}, for {limit} USD");
    let after = [
        ("daily_limit", line(daily_limit, args.daily_limit_usd)),
        ("monthly_limit", line(monthly_limit, args.monthly_limit_usd)),
    ];
    let described = told::limits(&whose(&agent, &api), &before, after);
    let arguments = json!({ "daily_limit_usd": args.daily_limit_usd,
        "monthly_limit_usd": args.monthly_limit_usd });
    let tool = "paegents_update_spending_limits";
    let granted = asks::need(app, owner, tool, arguments, described).await?;
    let ask = granted.id().clone();
    let change = UpdateSpendingLimits { daily_limit, monthly_limit, ask: &ask };
    let look = NextCall::new("paegents_get_spending_limits", json!({}), "shows what is in force");
    let answer = carried_out(&api, granted, change, look.clone()).await?;
    Ok(done("set", answer).next(look))
}

fn whole_cents(field: &str, limit: Usdc) -> Result<u64, Error> {
    let micros = limit.micros();
    if micros.is_multiple_of(MICROS_PER_CENT) {
        return Ok(micros / MICROS_PER_CENT);
    }
    Err(Error::argument(field, "must be whole cents", "\"100.50\""))
}

/// Accepts an invitation.
///
/// # Errors
///
/// Those of reading it, of [`asks::need`] and of sending.
pub(super) async fn accept_invite(
    app: &App,
    owner: &Owner,
    token: &InviteToken,
) -> Result<Reply<DoneView>, Error> {
    let (agent, api) = as_owner(app).await?;
    let invite = api.send(&GetInvite { token }).await?;
    let described = told::invitation(&whose(&agent, &api), &invite);
    let arguments = json!({ "token": token });
    let granted =
        asks::need(app, owner, "paegents_accept_invite", arguments.clone(), described).await?;
    let ask = granted.id().clone();
    let look = NextCall::new("paegents_get_invite", arguments, "shows what became of it");
    let change = AcceptInvite { token, ask: &ask };
    Ok(done("accepted", carried_out(&api, granted, change, look.clone()).await?).next(look))
}
