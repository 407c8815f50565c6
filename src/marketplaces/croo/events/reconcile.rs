//! What the lists of negotiations and orders say has happened: all that a socket may have failed to
//! tell. Source: protocols/croo.md §4.4, §6.3, §8.4.

use std::collections::HashSet;

use super::{Backlog, Told};
use crate::{
    error::Error,
    ids::AgentId,
    marketplaces::croo::{Croo, Role, negotiations::ListNegotiations, orders::ListOrders},
};

/// The rows of a page: the most that is known to be given (§15.5).
const PAGE_ROWS: u64 = 50;
/// A page with fewer rows is the last one, whatever the server's own bound is.
const PAGE_ROWS_SMALL: usize = 20;
/// The pages of one list that are read: 10,000 negotiations or orders in each role.
const PAGES_MAX: u64 = 200;

/// Reads all four lists.
///
/// # Errors
///
/// As sending an operation.
pub async fn backlog(croo: &Croo) -> Result<Backlog, Error> {
    let mut found = Backlog::default();
    for role in [Role::Provider, Role::Buyer] {
        negotiations(croo, role, &mut found).await?;
        orders(croo, role, &mut found).await?;
    }
    // What has no time keeps its place at the end: it was seen last.
    found.told.sort_by_key(|told| told.at.unwrap_or(i64::MAX));
    Ok(found)
}

async fn negotiations(croo: &Croo, role: Role, found: &mut Backlog) -> Result<(), Error> {
    let (mut seen, mut full) = (HashSet::new(), 0);
    for page in 1..=PAGES_MAX {
        let list = ListNegotiations {
            page,
            page_size: PAGE_ROWS,
            role: role.in_negotiations(),
            agent_id: None,
            status: None,
        };
        let rows = croo.api.send(&list).await?.negotiations;
        let (count, before) = (rows.len(), seen.len());
        for row in rows {
            if seen.insert(row.negotiation_id.clone()) {
                note(found, role, row.requester_agent_id.as_ref(), row.provider_agent_id.as_ref());
                found.told.extend(Told::of_negotiation(&row, role));
            }
        }
        full = full.max(count);
        if count < full.max(PAGE_ROWS_SMALL) || seen.len() == before {
            return Ok(());
        }
    }
    tracing::warn!("CROO's lists are longer than is read; what is beyond is not told");
    Ok(())
}

async fn orders(croo: &Croo, role: Role, found: &mut Backlog) -> Result<(), Error> {
    let (mut seen, mut full) = (HashSet::new(), 0);
    for page in 1..=PAGES_MAX {
        let list = ListOrders {
            page,
            page_size: PAGE_ROWS,
            role: role.in_orders(),
            agent_id: None,
            status: None,
        };
        let rows = croo.api.send(&list).await?.orders;
        let (count, before) = (rows.len(), seen.len());
        for row in rows {
            if seen.insert(row.order_id.clone()) {
                note(found, role, row.requester_agent_id.as_ref(), row.provider_agent_id.as_ref());
                found.told.extend(Told::of_order(&row, role));
            }
        }
        full = full.max(count);
        if count < full.max(PAGE_ROWS_SMALL) || seen.len() == before {
            return Ok(());
        }
    }
    tracing::warn!("CROO's lists are longer than is read; what is beyond is not told");
    Ok(())
}

/// Whose lists these are.
fn note(found: &mut Backlog, role: Role, requester: Option<&AgentId>, provider: Option<&AgentId>) {
    let own = match role {
        Role::Buyer => requester,
        Role::Provider => provider,
    };
    if found.own.is_none() {
        found.own = own.cloned();
    }
}
