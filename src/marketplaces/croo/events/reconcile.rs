//! What the lists of negotiations and orders say has happened: all that a socket may have failed to
//! tell. Source: protocols/croo.md §4.4, §6.3, §8.4.

use std::collections::HashSet;

use super::{Backlog, Told};
use crate::{
    error::Error,
    ids::AgentId,
    marketplaces::croo::{
        Croo, Role,
        negotiations::{ListNegotiations, Negotiation},
        orders::{ListOrders, Order},
    },
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
        read::<Negotiation>(croo, role, &mut found).await?;
        read::<Order>(croo, role, &mut found).await?;
    }
    // What has no time keeps its place at the end: it was seen last.
    found.told.sort_by_key(|told| told.at.unwrap_or(i64::MAX));
    Ok(found)
}

/// What a list has rows of.
trait Row: Sized {
    /// One page of the rows of a role.
    async fn page(croo: &Croo, role: Role, number: u64) -> Result<Vec<Self>, Error>;
    /// What it is known by.
    fn id(&self) -> &str;
    /// Its two sides: who asks, who is asked.
    fn sides(&self) -> (Option<&AgentId>, Option<&AgentId>);
    /// What it says has happened, as far as this role is told of it.
    fn told(&self, role: Role) -> Vec<Told>;
}

impl Row for Negotiation {
    async fn page(croo: &Croo, role: Role, number: u64) -> Result<Vec<Self>, Error> {
        let list = ListNegotiations::of(role, number, PAGE_ROWS);
        Ok(croo.api.send(&list).await?.negotiations)
    }

    fn id(&self) -> &str {
        self.negotiation_id.as_str()
    }

    fn sides(&self) -> (Option<&AgentId>, Option<&AgentId>) {
        (self.requester_agent_id.as_ref(), self.provider_agent_id.as_ref())
    }

    fn told(&self, role: Role) -> Vec<Told> {
        Told::of_negotiation(self, role).into_iter().collect()
    }
}

impl Row for Order {
    async fn page(croo: &Croo, role: Role, number: u64) -> Result<Vec<Self>, Error> {
        Ok(croo.api.send(&ListOrders::of(role, number, PAGE_ROWS)).await?.orders)
    }

    fn id(&self) -> &str {
        self.order_id.as_str()
    }

    fn sides(&self) -> (Option<&AgentId>, Option<&AgentId>) {
        (self.requester_agent_id.as_ref(), self.provider_agent_id.as_ref())
    }

    fn told(&self, role: Role) -> Vec<Told> {
        Told::of_order(self, role)
    }
}

/// Reads one list to its end.
async fn read<T: Row>(croo: &Croo, role: Role, found: &mut Backlog) -> Result<(), Error> {
    let (mut seen, mut full) = (HashSet::new(), 0);
    for number in 1..=PAGES_MAX {
        let rows = T::page(croo, role, number).await?;
        let before = seen.len();
        for row in &rows {
            if seen.insert(row.id().to_owned()) {
                // Whose list this is.
                let (requester, provider) = row.sides();
                let own = match role {
                    Role::Buyer => requester,
                    Role::Provider => provider,
                };
                found.own = found.own.take().or_else(|| own.cloned());
                found.told.extend(row.told(role));
            }
        }
        full = full.max(rows.len());
        if rows.len() < full.max(PAGE_ROWS_SMALL) || seen.len() == before {
            return Ok(());
        }
    }
    tracing::warn!("CROO's lists are longer than is read; what is beyond is not told");
    Ok(())
}
