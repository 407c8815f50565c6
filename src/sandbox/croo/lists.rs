//! Lists of negotiations and orders: which are wanted, and which page.
//!
//! The role is required, in a vocabulary of its own for each list. Source: the protocol page, 4.4.

use crate::sandbox::croo::answers::{ApiError, find};

/// The statuses of a negotiation.
pub(crate) const NEGOTIATION_STATUSES: [&str; 4] = ["pending", "accepted", "rejected", "expired"];
/// The statuses of an order.
pub(crate) const ORDER_STATUSES: [&str; 13] = [
    "creating",
    "created",
    "paying",
    "paid",
    "delivering",
    "evaluating",
    "completed",
    "rejecting",
    "rejected",
    "expired",
    "create_failed",
    "pay_failed",
    "deliver_failed",
];

/// Rows on a page, where nobody says.
const SIZE: u32 = 20;
/// The most rows on a page.
const SIZE_MAX: u32 = 50;
/// The last page that is looked for.
const PAGE_MAX: u32 = 1_000_000;

/// What a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The column that holds the caller.
    column: &'static str,
    status: Option<String>,
    agent: Option<String>,
    page: Page,
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    page: u32,
    size: u32,
}

impl Page {
    /// Reads `page` and `page_size`.
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let number = |name: &str, default: u32, most: u32| match find(query, name) {
            None => Ok(default),
            Some(text) => match text.parse::<i64>() {
                Ok(number) if number < 0 => {
                    Err(ApiError::parameters(name, format!("{name} must not be negative")))
                }
                Ok(0) => Ok(default),
                Ok(number) => Ok(u32::try_from(number).unwrap_or(most).min(most)),
                Err(_) => Err(ApiError::parameters(name, format!("{name} must be a number"))),
            },
        };
        Ok(Self { page: number("page", 1, PAGE_MAX)?, size: number("page_size", SIZE, SIZE_MAX)? })
    }

    /// `LIMIT … OFFSET …`
    pub(crate) fn limit(self) -> String {
        let offset = u64::from(self.page - 1) * u64::from(self.size);
        format!("LIMIT {} OFFSET {offset}", self.size)
    }

    /// The items on this page.
    pub(crate) fn of<T>(self, items: Vec<T>) -> Vec<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let before = usize::try_from(self.page - 1).unwrap_or(usize::MAX).saturating_mul(size);
        items.into_iter().skip(before).take(size).collect()
    }
}

impl Wanted {
    /// Reads the query; `roles` are the words and the columns they stand for.
    pub(crate) fn read(
        query: &[(String, String)],
        roles: [(&str, &'static str); 2],
        message: &str,
        statuses: &[&str],
    ) -> Result<Self, ApiError> {
        let role = find(query, "role").unwrap_or_default();
        let column = roles
            .into_iter()
            .find_map(|(word, column)| (word == role).then_some(column))
            .ok_or_else(|| ApiError::parameters("role", message))?;
        let status = find(query, "status");
        if let Some(status) = status.filter(|status| !statuses.contains(status)) {
            let message = format!("status must be one of {}", statuses.join(", "));
            return Err(ApiError::parameters("status", message).with("status", status));
        }
        Ok(Self {
            column,
            status: status.map(str::to_owned),
            agent: find(query, "agent_id").map(str::to_owned),
            page: Page::read(query)?,
        })
    }

    /// The condition and its values, for the list of one caller.
    pub(crate) fn condition(&self, caller: &str) -> (String, [Option<String>; 3]) {
        let condition = format!(
            "{} = ?1 AND (?2 IS NULL OR status = ?2)
             AND (?3 IS NULL OR requester = ?3 OR provider = ?3)",
            self.column
        );
        (condition, [Some(caller.to_owned()), self.status.clone(), self.agent.clone()])
    }

    /// `LIMIT … OFFSET …`
    pub(crate) fn limit(&self) -> String {
        self.page.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pages() {
        let read = |page: &str, size: &str| {
            let query = [("page", page), ("page_size", size)];
            let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Page::read(&query).map(Page::limit).ok()
        };
        #[rustfmt::skip]
        let rows = [
            ("",   "",   Some("LIMIT 20 OFFSET 0")),
            ("0",  "0",  Some("LIMIT 20 OFFSET 0")),
            ("3",  "50", Some("LIMIT 50 OFFSET 100")),
            ("2",  "51", Some("LIMIT 50 OFFSET 50")),
            ("-1", "",   None),
            ("",   "x",  None),
        ];
        for (page, size, expected) in rows {
            assert_eq!(read(page, size).as_deref(), expected, "{page} {size}");
        }
    }
}
