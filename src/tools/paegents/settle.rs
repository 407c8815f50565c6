//! Settling an escrow: its status, what can be done, and doing it.

mod act;
mod checked;
pub mod evidence;
pub mod reads;
mod refresh;
pub mod shown;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

use reads::ReadArgs;
use shown::{ModeWord, SettleView};

use crate::{
    error::Error,
    ids::AgreementId,
    journal::actions::Kind,
    owner::Owner,
    server::Server,
    tools::{Args, Reply, input, output, paegents::buyer::activate::ActivateView},
};

/// Arguments of a settlement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// Default: as the platform recommends.
    #[serde(default)]
    pub way: Option<ModeWord>,
    /// Default 45, at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

#[tool_router(router = paegents_settle_tools, vis = "pub(crate)")]
impl Server {
    /// Ends a funded agreement: the challenge window (a day) begins, then unused money goes back.
    #[tool(
        name = "paegents_close_escrow",
        input_schema = input::<SettleArgs>(),
        output_schema = output::<SettleView>(),
        annotations(
            title = "Close a Paegents escrow",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_close_escrow(
        &self,
        Args(args): Args<SettleArgs>,
        owner: Owner,
    ) -> Result<Reply<SettleView>, Error> {
        act::settle(self.app(), &owner, &args, Kind::Close).await
    }

    /// Brings a seller's earnings from the escrow home.
    #[tool(
        name = "paegents_claim_earnings",
        input_schema = input::<SettleArgs>(),
        output_schema = output::<SettleView>(),
        annotations(
            title = "Claim Paegents earnings",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_claim_earnings(
        &self,
        Args(args): Args<SettleArgs>,
        owner: Owner,
    ) -> Result<Reply<SettleView>, Error> {
        act::settle(self.app(), &owner, &args, Kind::Claim).await
    }

    /// Brings a buyer's unused deposit home, once the challenge window of a close is over.
    #[tool(
        name = "paegents_withdraw_remainder",
        input_schema = input::<SettleArgs>(),
        output_schema = output::<SettleView>(),
        annotations(
            title = "Withdraw a Paegents remainder",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_withdraw_remainder(
        &self,
        Args(args): Args<SettleArgs>,
        owner: Owner,
    ) -> Result<Reply<SettleView>, Error> {
        act::settle(self.app(), &owner, &args, Kind::Withdraw).await
    }

    /// Signs new permits for an activation whose own are over unused, and goes on with the payment
    /// that was approved.
    #[tool(
        name = "paegents_refresh_permit",
        input_schema = input::<ReadArgs>(),
        output_schema = output::<ActivateView>(),
        annotations(
            title = "Refresh Paegents permits",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_refresh_permit(
        &self,
        Args(args): Args<ReadArgs>,
        owner: Owner,
    ) -> Result<Reply<ActivateView>, Error> {
        refresh::refresh(self.app(), &owner, &args).await
    }
}
