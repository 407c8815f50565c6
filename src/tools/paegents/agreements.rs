//! Agreements, from either side.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    reading::agreement as read_agreement,
    shown::{AgreementView, RoleWord},
};
use crate::{
    app::App,
    error::Error,
    ids::AgreementId,
    marketplaces::paegents::{
        Paegents,
        agreements::{Agreement, Role},
        selling::ListAgreements,
        steps,
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, input, output, wait::Wait},
};

/// The most rows of a page, and how many there are unless said otherwise.
const LIMIT_MAX: u64 = 50;
const LIMIT: u64 = 20;
/// For how many rows of a list the next call is given.
const HINTED_ROWS: usize = 3;
/// What a wait for an agreement is told.
const WAITING: &str = "waiting for the agreement";

/// Arguments of `paegents_get_agreement`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAgreementArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// Default 0, at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// Arguments of `paegents_list_agreements`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAgreementsArgs {
    /// Only where you are.
    #[serde(default)]
    pub role: Option<RoleWord>,
    /// Such as proposed or active.
    #[serde(default)]
    pub status: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Agreements, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgreementsView {
    /// They, without their free JSON.
    pub agreements: Vec<AgreementView>,
}

#[tool_router(router = paegents_agreement_tools, vis = "pub(crate)")]
impl Server {
    /// One Paegents agreement and what can be done with it; can wait until there is something to do.
    #[tool(
        name = "paegents_get_agreement",
        input_schema = input::<GetAgreementArgs>(),
        output_schema = output::<AgreementView>(),
        annotations(
            title = "Get a Paegents agreement",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_agreement(
        &self,
        Args(args): Args<GetAgreementArgs>,
        owner: Owner,
    ) -> Result<Reply<AgreementView>, Error> {
        let app = self.app();
        let mut wait = Wait::begin(app, &owner, args.wait_seconds)?;
        let paegents = app.paegents().await?;
        paegents.agent()?;
        let (agreement, role) = ripe(app, &paegents, &args.agreement_id, &mut wait).await?;
        let next = steps::of_agreement(&agreement, role);
        Ok(Reply { view: AgreementView::of(&agreement, role), next })
    }

    /// Your Paegents agreements, newest first; to see older ones, ask for one role and status.
    #[tool(
        name = "paegents_list_agreements",
        input_schema = input::<ListAgreementsArgs>(),
        output_schema = output::<AgreementsView>(),
        annotations(
            title = "List Paegents agreements",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_agreements(
        &self,
        Args(args): Args<ListAgreementsArgs>,
    ) -> Result<Reply<AgreementsView>, Error> {
        let limit = args.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::argument("limit", "must be 1 to 50", "20"));
        }
        let status = args.status.as_deref();
        if !status.is_none_or(is_status) {
            return Err(Error::argument("status", "must be a word", "\"proposed\""));
        }
        let paegents = self.app().paegents().await?;
        let own = paegents.agent()?;
        let list = ListAgreements::of(own, args.role.map(Role::from), limit).in_status(status);
        let found = paegents.api.send(&list).await?.0;
        let of = |agreement: &Agreement| agreement.role_of(own);
        let ripe = found.iter().filter(|agreement| steps::is_ripe(agreement, of(agreement)));
        let calls = ripe.filter_map(|a| steps::of_agreement(a, of(a)).into_iter().next());
        let next: Vec<NextCall> =
            calls.filter(|call| call.tool != "market_search").take(HINTED_ROWS).collect();
        let agreements = found.iter().map(|a| AgreementView::of(a, of(a)).listed()).collect();
        Ok(Reply { view: AgreementsView { agreements }, next })
    }
}

/// Whether a text can be the word of a status.
fn is_status(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

/// The agreement as soon as there is something to do, or when the wait is over.
async fn ripe(
    app: &App,
    paegents: &Paegents,
    id: &AgreementId,
    wait: &mut Wait<'_>,
) -> Result<(Agreement, Option<Role>), Error> {
    loop {
        match read_agreement(paegents, id).await {
            Ok(agreement) => {
                let role = paegents.agent().ok().and_then(|own| agreement.role_of(own));
                if steps::is_ripe(&agreement, role) || !wait.again(WAITING).await {
                    // The clock that deadlines are measured by; it may be unreachable by now.
                    let _ = app.refresh_clock().await;
                    return Ok((agreement, role));
                }
            }
            Err(error) if wait.again_after(&error, WAITING).await => {}
            Err(error) => return Err(error),
        }
    }
}
