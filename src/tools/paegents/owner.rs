//! What only the owner of a Paegents agent decides, with the owner's token: policies, limits,
//! requests for approval.
//!
//! Invariants: nothing is changed without the owner's command, whoever has the token: a model never
//! approves itself. What the owner is told is read from Paegents before, never taken from the caller.

mod changes;
mod told;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::changes::{as_owner, refused_as_owner};
use crate::{
    error::Error,
    ids::{ApprovalRequestId, InviteToken},
    marketplaces::{
        lenient::word,
        paegents::owner::{ApprovalRequest, GetPolicies, GetSpendingLimits, ListApprovals},
    },
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    text::{TEXT_CHARS_MAX, clean_json},
    tools::{Args, Reply, crochet::account::shown::object, input, market::NoArgs, output},
};

/// How many requests a list has, unless the caller says it.
const LIMIT: u64 = 20;
/// How many it has at the most.
const LIMIT_MAX: u64 = 50;

/// An agent's policies.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PoliciesView {
    /// Whose.
    pub agent_id: String,
    /// As Paegents keeps them; amounts are cents.
    pub policies_untrusted: Value,
}

/// Arguments of `paegents_update_policies`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePoliciesArgs {
    /// All of them, in the shape that `paegents_get_policies` shows; amounts are cents.
    pub policies: Map<String, Value>,
}

/// Arguments of `paegents_list_approvals`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListApprovalsArgs {
    /// Such as pending.
    #[serde(default)]
    pub status: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Requests for approval.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalsView {
    /// Each.
    pub approvals: Vec<ApprovalView>,
}

/// A request for approval.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalView {
    /// Its identifier.
    pub request_id: ApprovalRequestId,
    /// pending, or what has become of it.
    pub status: String,
    /// How much, where Paegents says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_usd: Option<Usdc>,
    /// All that Paegents says of it.
    pub details_untrusted: Map<String, Value>,
}

impl From<ApprovalRequest> for ApprovalView {
    fn from(request: ApprovalRequest) -> Self {
        Self {
            request_id: request.id,
            status: word(&request.status).to_owned(),
            amount_usd: request.amount,
            details_untrusted: object(request.members),
        }
    }
}

/// Arguments of `paegents_approve_request`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequestArgs {
    /// From `paegents_list_approvals`.
    pub request_id: ApprovalRequestId,
}

/// Arguments of `paegents_reject_request`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectRequestArgs {
    /// From `paegents_list_approvals`.
    pub request_id: ApprovalRequestId,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The limits of the owner's agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LimitsView {
    /// As Paegents keeps them, in cents.
    pub limits_untrusted: Map<String, Value>,
}

/// Arguments of `paegents_update_spending_limits`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSpendingLimitsArgs {
    /// In a day.
    pub daily_limit_usd: Usdc,
    /// In a month.
    pub monthly_limit_usd: Usdc,
}

/// Arguments of `paegents_accept_invite`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInviteArgs {
    /// From the invitation's link.
    pub token: InviteToken,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoneView {
    /// What it was, in a word.
    pub done: &'static str,
    /// What Paegents answered.
    pub details_untrusted: Map<String, Value>,
}

#[tool_router(router = paegents_owner_tools, vis = "pub(crate)")]
impl Server {
    /// The policies that Paegents holds the agent to: rails, daily limit, when the owner is asked.
    #[tool(
        name = "paegents_get_policies",
        input_schema = input::<NoArgs>(),
        output_schema = output::<PoliciesView>(),
        annotations(
            title = "Paegents policies",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_policies(&self, _: Args<NoArgs>) -> Result<Reply<PoliciesView>, Error> {
        let (agent, api) = as_owner(self.app()).await?;
        let read = api.send(&GetPolicies { agent: &agent }).await;
        let policies = Value::Object(read.map_err(refused_as_owner)?);
        Ok(Reply::new(PoliciesView {
            agent_id: agent.to_string(),
            policies_untrusted: clean_json(policies, TEXT_CHARS_MAX),
        }))
    }

    /// Replace the agent's policies at Paegents, after the owner's command.
    #[tool(
        name = "paegents_update_policies",
        input_schema = input::<UpdatePoliciesArgs>(),
        output_schema = output::<DoneView>(),
        annotations(
            title = "Replace Paegents policies",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_update_policies(
        &self,
        Args(args): Args<UpdatePoliciesArgs>,
        owner: Owner,
    ) -> Result<Reply<DoneView>, Error> {
        changes::update_policies(self.app(), &owner, args.policies).await
    }

    /// Payments that Paegents holds back until the owner agrees.
    #[tool(
        name = "paegents_list_approvals",
        input_schema = input::<ListApprovalsArgs>(),
        output_schema = output::<ApprovalsView>(),
        annotations(
            title = "Paegents approvals",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_approvals(
        &self,
        Args(args): Args<ListApprovalsArgs>,
    ) -> Result<Reply<ApprovalsView>, Error> {
        let limit = args.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", "must be 1 to 50", "20"));
        }
        if args.status.as_deref().is_some_and(|status| word(status) != status) {
            return Err(Error::argument("status", "must be one word", "\"pending\""));
        }
        let (agent, api) = as_owner(self.app()).await?;
        let list = ListApprovals { agent: &agent, limit, status: args.status.as_deref() };
        let requests = api.send(&list).await.map_err(refused_as_owner)?.0;
        let waiting = requests.iter().find(|request| !changes::is_decided(request)).cloned();
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let approvals = requests.into_iter().take(most).map(ApprovalView::from).collect();
        let mut reply = Reply::new(ApprovalsView { approvals });
        if let Some(request) = waiting {
            let args = json!({ "request_id": request.id });
            let (yes, no) = ("agrees to it, after the owner's command", "refuses it");
            reply = reply
                .next(NextCall::new("paegents_approve_request", args.clone(), yes))
                .next(NextCall::new("paegents_reject_request", args, no));
        }
        Ok(reply)
    }

    /// Agree to a payment that Paegents holds back, after the owner's command. The agent then pays
    /// it by its own call.
    #[tool(
        name = "paegents_approve_request",
        input_schema = input::<ApproveRequestArgs>(),
        output_schema = output::<DoneView>(),
        annotations(
            title = "Approve a payment at Paegents",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_approve_request(
        &self,
        Args(args): Args<ApproveRequestArgs>,
        owner: Owner,
    ) -> Result<Reply<DoneView>, Error> {
        changes::approve(self.app(), &owner, &args.request_id).await
    }

    /// Refuse a payment that Paegents holds back, after the owner's command.
    #[tool(
        name = "paegents_reject_request",
        input_schema = input::<RejectRequestArgs>(),
        output_schema = output::<DoneView>(),
        annotations(
            title = "Reject a payment at Paegents",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_reject_request(
        &self,
        Args(args): Args<RejectRequestArgs>,
        owner: Owner,
    ) -> Result<Reply<DoneView>, Error> {
        changes::reject(self.app(), &owner, &args).await
    }

    /// What Paegents lets the owner's agent spend in a day and in a month.
    #[tool(
        name = "paegents_get_spending_limits",
        input_schema = input::<NoArgs>(),
        output_schema = output::<LimitsView>(),
        annotations(
            title = "Paegents spending limits",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_spending_limits(
        &self,
        _: Args<NoArgs>,
    ) -> Result<Reply<LimitsView>, Error> {
        let (_, api) = as_owner(self.app()).await?;
        let limits = api.send(&GetSpendingLimits {}).await.map_err(refused_as_owner)?;
        Ok(Reply::new(LimitsView { limits_untrusted: object(limits) }))
    }

    /// Set what Paegents lets the owner's agent spend, after the owner's command.
    #[tool(
        name = "paegents_update_spending_limits",
        input_schema = input::<UpdateSpendingLimitsArgs>(),
        output_schema = output::<DoneView>(),
        annotations(
            title = "Set Paegents spending limits",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_update_spending_limits(
        &self,
        Args(args): Args<UpdateSpendingLimitsArgs>,
        owner: Owner,
    ) -> Result<Reply<DoneView>, Error> {
        changes::update_limits(self.app(), &owner, &args).await
    }

    /// Accept an invitation to Paegents with the owner's account, after the owner's command.
    #[tool(
        name = "paegents_accept_invite",
        input_schema = input::<AcceptInviteArgs>(),
        output_schema = output::<DoneView>(),
        annotations(
            title = "Accept a Paegents invitation",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_accept_invite(
        &self,
        Args(args): Args<AcceptInviteArgs>,
        owner: Owner,
    ) -> Result<Reply<DoneView>, Error> {
        changes::accept_invite(self.app(), &owner, &args.token).await
    }
}
