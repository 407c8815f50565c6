//! Paegents' account: a lost key, and invitations.
//!
//! Invariants: a key is on disk before its answer is given and is in no result; the wallet's proof
//! comes from the owner's key; what ends the agent's old keys waits for the owner's command.

mod invites;
mod recover;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::Error,
    ids::InviteToken,
    owner::Owner,
    server::Server,
    tools::{Args, Reply, input, market::NoArgs, output},
};

/// A key that was recovered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecoveredView {
    /// The wallet's agent.
    pub agent_id: String,
    /// Where its new key is stored; it is not shown.
    pub api_key: String,
    /// How many keys have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_revoked: Option<u64>,
}

/// Arguments of `paegents_create_invite`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInviteArgs {
    /// To whom; one whom the owner named.
    pub email: String,
    /// A word to them.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Arguments of `paegents_get_invite`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetInviteArgs {
    /// From the invitation's link.
    pub token: InviteToken,
}

/// An invitation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InviteView {
    /// For `paegents_get_invite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<InviteToken>,
    /// pending, accepted, expired, or another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Until when it can be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What Paegents says of it.
    pub details_untrusted: Map<String, Value>,
}

/// Invitations.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InvitesView {
    /// Each, as Paegents orders them.
    pub invites: Vec<InviteView>,
    /// How many further ones there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<usize>,
}

#[tool_router(router = paegents_account_tools, vis = "pub(crate)")]
impl Server {
    /// Get a new key for the Paegents agent of the owner's wallet, when the old one is lost or
    /// refused. Ends all its old keys; needs the owner's command. The key is stored, not shown.
    #[tool(
        name = "paegents_recover_credentials",
        input_schema = input::<NoArgs>(),
        output_schema = output::<RecoveredView>(),
        annotations(
            title = "Recover a Paegents key",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_recover_credentials(
        &self,
        _: Args<NoArgs>,
        owner: Owner,
    ) -> Result<Reply<RecoveredView>, Error> {
        recover::recover(self.app(), &owner).await
    }

    /// Invite somebody to Paegents by mail: three times at most, half an hour apart.
    #[tool(
        name = "paegents_create_invite",
        input_schema = input::<CreateInviteArgs>(),
        output_schema = output::<InviteView>(),
        annotations(
            title = "Invite to Paegents",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_create_invite(
        &self,
        Args(args): Args<CreateInviteArgs>,
    ) -> Result<Reply<InviteView>, Error> {
        invites::create(self.app(), &args).await
    }

    /// The invitations that you sent, and what became of them.
    #[tool(
        name = "paegents_list_invites",
        input_schema = input::<NoArgs>(),
        output_schema = output::<InvitesView>(),
        annotations(
            title = "Paegents invitations",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_invites(&self, _: Args<NoArgs>) -> Result<Reply<InvitesView>, Error> {
        invites::list(self.app()).await
    }

    /// An invitation to Paegents, by the token of its link.
    #[tool(
        name = "paegents_get_invite",
        input_schema = input::<GetInviteArgs>(),
        output_schema = output::<InviteView>(),
        annotations(
            title = "Get a Paegents invitation",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_invite(
        &self,
        Args(args): Args<GetInviteArgs>,
    ) -> Result<Reply<InviteView>, Error> {
        invites::get(self.app(), &args.token).await
    }
}
