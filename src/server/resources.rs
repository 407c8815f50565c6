//! What a client can read without calling a tool: the journal, the inbox, the limits, the errors.

use rmcp::{
    ErrorData,
    model::{
        CacheScope, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResponse,
        ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
    },
};
use serde_json::{Value, json};

use super::{Server, list_kept};
use crate::{
    clock::rfc3339,
    error::{Code, Error},
    events,
    ids::PurchaseId,
    journal::{self, Filter},
    spend::{approvals, budget::Budget},
    text::{TEXT_CHARS_MAX, clean},
    tools::market::{events::EventView, purchases::PurchaseView},
};

/// The purchases.
pub(super) const PURCHASES: &str = "haggle://purchases";
/// The inbox.
pub(super) const INBOX: &str = "haggle://inbox";
/// The limits, and what is left of them.
pub(super) const POLICY: &str = "haggle://policy";
/// The codes of errors.
const ERRORS: &str = "haggle://errors";
/// How the address of a single purchase begins.
const PURCHASE: &str = "haggle://purchase/";
/// How many events the inbox shows.
const INBOX_EVENTS: u32 = 50;
/// How many purchases are shown.
const PURCHASES_SHOWN: u32 = 50;

/// A resource that there is.
struct Entry {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
}

const ALL: &[Entry] = &[
    Entry {
        uri: PURCHASES,
        name: "purchases",
        title: "Purchases",
        description: "The last 50 purchases, the newest first, with state and money_moved.",
    },
    Entry {
        uri: INBOX,
        name: "inbox",
        title: "Inbox",
        description: "What happened to your purchases, orders and negotiations: the last 50 \
                      events, the oldest first, and the cursor for market_wait_events.",
    },
    Entry {
        uri: POLICY,
        name: "policy",
        title: "Limits",
        description: "The owner's limits, what is left of them for 24 hours, and whether spending \
                      is stopped.",
    },
    Entry {
        uri: ERRORS,
        name: "errors",
        title: "Errors",
        description: "Every error code: what it means, whether money moved, what to do.",
    },
];

/// A resource, as its address names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// One of the list.
    Listed(&'static str),
    /// A purchase.
    Purchase(PurchaseId),
}

/// The resource of this address, if it is one.
pub(super) fn known(uri: &str) -> Option<Known> {
    if let Some(entry) = ALL.iter().find(|entry| entry.uri == uri) {
        return Some(Known::Listed(entry.uri));
    }
    uri.strip_prefix(PURCHASE)?.parse().ok().map(Known::Purchase)
}

/// The address of a purchase.
pub(super) fn purchase_uri(id: &str) -> String {
    format!("{PURCHASE}{id}")
}

/// The resources.
pub(super) fn list(modern: bool) -> ListResourcesResult {
    let resources = ALL.iter().map(|entry| {
        Resource::new(entry.uri, entry.name)
            .with_title(entry.title)
            .with_description(entry.description)
            .with_mime_type("application/json")
    });
    let mut result = ListResourcesResult::with_all_items(resources.collect());
    (result.ttl_ms, result.cache_scope) = list_kept(modern);
    result
}

/// The addresses that have a place for an identifier.
pub(super) fn templates(modern: bool) -> ListResourceTemplatesResult {
    let purchase = ResourceTemplate::new(format!("{PURCHASE}{{purchase_id}}"), "purchase")
        .with_title("Purchase")
        .with_description("One purchase, and every line that the journal has of it.")
        .with_mime_type("application/json");
    let mut result = ListResourceTemplatesResult::with_all_items(vec![purchase]);
    (result.ttl_ms, result.cache_scope) = list_kept(modern);
    result
}

/// What is said of an address that is none, or not of this client.
pub(super) fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))
}

fn broken(error: &Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), Some(error.to_json()))
}

impl Server {
    /// Reads a resource.
    pub(super) async fn resource(
        &self,
        uri: &str,
        modern: bool,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let content = match known(uri).ok_or_else(|| not_found(uri))? {
            Known::Listed(INBOX) => self.inbox().await,
            Known::Listed(PURCHASES) => self.purchases().await,
            Known::Listed(POLICY) => self.policy().await,
            Known::Listed(_) => Ok(errors()),
            Known::Purchase(id) => match self.one_purchase(id).await {
                Ok(None) => return Err(not_found(uri)),
                Ok(Some(content)) => Ok(content),
                Err(error) => Err(error),
            },
        };
        let mut content = content.map_err(|error| broken(&error))?;
        self.without_others(&mut content).await.map_err(|error| broken(&error))?;
        self.say_mode(&mut content);
        let content = ResourceContents::text(content.to_string(), uri);
        let mut result = ReadResourceResult::new(vec![content.with_mime_type("application/json")]);
        if modern {
            result = result.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        }
        Ok(result.into())
    }

    async fn inbox(&self) -> Result<Value, Error> {
        let who = self.principal().name.clone();
        let store = self.app().store();
        let found = store.with(move |db| events::recent(db, &who, INBOX_EVENTS)).await?;
        let cursor = found.last().map_or(0, |event| event.seq);
        let events: Vec<EventView> = found.into_iter().map(EventView::from).collect();
        Ok(json!({ "events": events, "cursor": cursor }))
    }

    async fn purchases(&self) -> Result<Value, Error> {
        let filter = Filter {
            principal: Some(self.principal().name.clone()),
            limit: PURCHASES_SHOWN,
            ..Filter::default()
        };
        let found = self.app().store().with(move |db| journal::list(db, &filter)).await?;
        let purchases: Vec<_> = found.iter().map(PurchaseView::from).collect();
        Ok(json!({ "purchases": purchases }))
    }

    async fn one_purchase(&self, id: PurchaseId) -> Result<Option<Value>, Error> {
        let who = self.principal().name.clone();
        let found = self.app().store().with(move |db| {
            let Some(purchase) = journal::find(db, &id, Some(&who))? else { return Ok(None) };
            Ok(Some((journal::events_of(db, &id)?, purchase)))
        });
        let Some((lines, purchase)) = found.await? else { return Ok(None) };
        // A line may quote the marketplace.
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({ "at": rfc3339(line.at), "state": line.state, "delivery": line.delivery,
                    "note_untrusted": clean(&line.note, TEXT_CHARS_MAX) })
            })
            .collect();
        Ok(Some(json!({ "purchase": PurchaseView::from(&purchase), "lines": lines })))
    }

    async fn policy(&self) -> Result<Value, Error> {
        let app = self.app();
        app.refresh_clock().await?;
        let (who, now) = (self.principal().name.clone(), app.clock().now());
        let policies = app.spending().policies().clone();
        let (budget, frozen, grants) = app
            .store()
            .with(move |db| {
                let budget = Budget::read(db, &policies, &who, now)?;
                Ok((budget, approvals::frozen(db)?, approvals::grants(db, now)?))
            })
            .await?;
        let policy = &budget.policy;
        Ok(json!({
            "ask_above_usd": policy.ask_above_usd,
            "purchase_max_usd": policy.purchase_max_usd,
            "day_max_usd": budget.day_max(),
            "left_today_usd": budget.left(),
            "client_approval_max_usd": policy.client_approval_max_usd,
            "first_purchase_asks": policy.first_purchase_asks,
            "grants": grants,
            "frozen": frozen,
        }))
    }
}

/// Every code of an error.
fn errors() -> Value {
    let errors: Vec<_> = Code::ALL
        .iter()
        .map(|code| {
            json!({ "code": code.name(), "meaning": code.meaning(),
                "money_moved": code.money_moved(), "next_action": code.next_action() })
        })
        .collect();
    json!({ "errors": errors })
}
