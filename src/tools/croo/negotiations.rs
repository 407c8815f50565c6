//! Negotiations, from either side.

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    reading::{negotiation as read_negotiation, role_among},
    shown::{NegotiationView, RoleWord},
};
use crate::{
    error::Error,
    ids::NegotiationId,
    marketplaces::croo::{
        Role,
        negotiations::{ListNegotiations, Negotiation},
        steps,
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, input, output, wait::Wait},
};

/// Rows of a list, where nobody says.
const LIMIT: u64 = 20;
/// The most rows of a list.
const LIMIT_MAX: u64 = 50;
/// The last page that is asked for.
const PAGE_MAX: u64 = 100_000;
/// The longest word for a status.
const STATUS_BYTES_MAX: usize = 32;
/// For how many rows of a list the next call is given.
pub(super) const HINTED_ROWS: usize = 3;

/// Arguments of `croo_get_negotiation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetNegotiationArgs {
    /// Which.
    pub negotiation_id: NegotiationId,
    /// Waits while pending; at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// Arguments of `croo_list_negotiations` and `croo_list_orders`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// Your side.
    pub role: RoleWord,
    /// Only these, e.g. pending.
    #[serde(default)]
    pub status: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
    /// From an earlier result.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A page of a list, checked.
#[derive(Debug)]
pub(super) struct Page {
    /// Whose.
    pub(super) role: Role,
    /// Which, from 1.
    pub(super) number: u64,
    /// How long.
    pub(super) size: u64,
    /// In which status.
    pub(super) status: Option<String>,
}

impl TryFrom<ListArgs> for Page {
    type Error = Error;

    fn try_from(args: ListArgs) -> Result<Self, Error> {
        let size = args.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&size) {
            return Err(Error::argument("limit", format!("must be 1 to {LIMIT_MAX}"), "20"));
        }
        let number = match args.cursor.as_deref() {
            None => 1,
            Some(cursor) => {
                cursor.parse().ok().filter(|page| (1..=PAGE_MAX).contains(page)).ok_or_else(
                    || Error::argument("cursor", "must be one that a result gave", "\"2\""),
                )?
            }
        };
        let is_word = |status: &String| {
            (1..=STATUS_BYTES_MAX).contains(&status.len())
                && status.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        if args.status.as_ref().is_some_and(|status| !is_word(status)) {
            return Err(Error::argument("status", "must be one lower-case word", "\"pending\""));
        }
        Ok(Self { role: args.role.into(), number, size, status: args.status })
    }
}

impl Page {
    /// The cursor of the page after this one: a full page may not be the last.
    pub(super) fn after(&self, rows: usize) -> Option<String> {
        let is_full = u64::try_from(rows).unwrap_or(u64::MAX) >= self.size;
        is_full.then(|| self.number.saturating_add(1).to_string())
    }
}

/// Negotiations, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NegotiationsView {
    /// They; long input is cut.
    pub negotiations: Vec<NegotiationView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[tool_router(router = croo_negotiation_tools, vis = "pub(crate)")]
impl Server {
    /// A CROO negotiation; can wait for the seller's answer.
    #[tool(
        name = "croo_get_negotiation",
        input_schema = input::<GetNegotiationArgs>(),
        output_schema = output::<NegotiationView>(),
        annotations(
            title = "Get a CROO negotiation",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_get_negotiation(
        &self,
        Args(args): Args<GetNegotiationArgs>,
        owner: Owner,
    ) -> Result<Reply<NegotiationView>, Error> {
        let app = self.app();
        let mut wait = Wait::begin(app, &owner, args.wait_seconds)?;
        let croo = app.croo().await?.registered()?;
        let what = "waiting for the seller's answer";
        let negotiation = loop {
            match read_negotiation(&croo, &args.negotiation_id).await {
                Ok(found) if found.status != "pending" => break found,
                Ok(found) => {
                    if !wait.again(what).await {
                        break found;
                    }
                }
                Err(error) => {
                    if !wait.again_after(&error, what).await {
                        return Err(error);
                    }
                }
            }
        };
        let Negotiation { requester_agent_id, provider_agent_id, .. } = &negotiation;
        let (requester, provider) = (requester_agent_id.as_ref(), provider_agent_id.as_ref());
        let role = role_among(app, &croo, requester, provider).await;
        let next = steps::of_negotiation(&negotiation, role);
        Ok(Reply { view: NegotiationView::of(&negotiation, role), next })
    }

    /// Your CROO negotiations, newest first.
    #[tool(
        name = "croo_list_negotiations",
        input_schema = input::<ListArgs>(),
        output_schema = output::<NegotiationsView>(),
        annotations(
            title = "List CROO negotiations",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn croo_list_negotiations(
        &self,
        Args(args): Args<ListArgs>,
    ) -> Result<Reply<NegotiationsView>, Error> {
        let page = Page::try_from(args)?;
        let croo = self.app().croo().await?.registered()?;
        let role = Some(page.role);
        let list =
            ListNegotiations::of(page.role, page.number, page.size).in_status(page.status.clone());
        let found = croo.api.send(&list).await?.negotiations;
        let open = found.iter().filter(|found| found.status == "pending");
        let next = first_of(open.map(|found| steps::of_negotiation(found, role)));
        let view = NegotiationsView {
            cursor: page.after(found.len()),
            negotiations: found.iter().map(|n| NegotiationView::of(n, role).listed()).collect(),
        };
        Ok(Reply { view, next })
    }
}

/// The most useful call of each of the first rows.
pub(super) fn first_of(rows: impl Iterator<Item = Vec<NextCall>>) -> Vec<NextCall> {
    rows.take(HINTED_ROWS).filter_map(|calls| calls.into_iter().next()).collect()
}
