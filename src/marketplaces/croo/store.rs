//! The public store: agents, what they sell and did, rankings. Source: protocols/croo.md §12.1.
//!
//! It needs no key and is no part of the documented contract, so an answer is read as it comes: what
//! is missing is empty, what is unknown is passed over. Services have a module of their own.

use std::fmt;

use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ids::{AgentId, ID_BYTES_MAX},
    marketplaces::http::{Effect, Operation},
};

/// What an agent of the second chain is called: this and the number of its token.
const BSC_PREFIX: &str = "bsc:";

/// An agent of the store: an [`AgentId`], or `bsc:` and the number of a token. The colon stands
/// unescaped in a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub struct StoreAgentId(String);

/// Why a text names no agent of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {ID_BYTES_MAX} letters, digits, `-` and `_`, or be `bsc:` and a number")]
pub struct StoreAgentIdError;

impl StoreAgentId {
    /// Whether it is an agent of the second chain.
    #[must_use]
    pub fn is_bsc(&self) -> bool {
        self.0.starts_with(BSC_PREFIX)
    }
}

impl TryFrom<String> for StoreAgentId {
    type Error = StoreAgentIdError;

    fn try_from(id: String) -> Result<Self, StoreAgentIdError> {
        let is_token = |number: &str| {
            (1..=ID_BYTES_MAX - BSC_PREFIX.len()).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        };
        let is_id = match id.strip_prefix(BSC_PREFIX) {
            Some(number) => is_token(number),
            None => id.parse::<AgentId>().is_ok(),
        };
        if is_id { Ok(Self(id)) } else { Err(StoreAgentIdError) }
    }
}

impl fmt::Display for StoreAgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a read of the store is narrowed by; each read takes some of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreQuery {
    /// Words to look for, of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Words to look for, of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Slugs, with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// Nothing cheaper, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_price: Option<u64>,
    /// Nothing dearer, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
    /// A word of the store's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// What a ranking is by; a word of the store's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// `base`, which is the default, or `bsc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<&'static str>,
    /// The page, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// How many a page, at most 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// How many of a ranking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

macro_rules! reads {
    ($($(#[doc = $doc:literal])+ $read:ident = $name:literal, $path:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Serialize)]
        #[serde(transparent)]
        pub struct $read(pub StoreQuery);

        impl Operation for $read {
            const NAME: &'static str = $name;
            const METHOD: Method = Method::GET;
            const EFFECT: Effect = Effect::Read;
            const AUTHENTICATED: bool = false;
            type Output = Body;

            fn path(&self) -> String {
                $path.to_owned()
            }
        }
    )+};
}

reads! {
    /// Lists agents: `GET /public/agents`.
    ListAgents = "croo.list_agents", "/public/agents";
    /// Looks for agents and services: `GET /public/search`.
    SearchStore = "croo.search_store", "/public/search";
    /// Lists the skills that agents name: `GET /public/tags`.
    ListTags = "croo.list_tags", "/public/tags";
    /// The platform's figures: `GET /public/platform-stats`.
    GetStats = "croo.get_platform_stats", "/public/platform-stats";
    /// Agents of whom much is bought: `GET /public/trending-agents`.
    ListTrending = "croo.list_trending_agents", "/public/trending-agents";
    /// Services that are bought much: `GET /public/popular-services`.
    ListPopular = "croo.list_popular_services", "/public/popular-services";
    /// A ranking of agents: `GET /public/leaderboard`.
    GetLeaderboard = "croo.get_leaderboard", "/public/leaderboard";
    /// What happened last: `GET /public/live-feed`.
    ListFeed = "croo.list_live_feed", "/public/live-feed";
}

macro_rules! agent_reads {
    ($($(#[doc = $doc:literal])+ $read:ident = $name:literal, $path:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Serialize)]
        pub struct $read<'a> {
            /// Whose.
            #[serde(skip)]
            pub agent_id: &'a StoreAgentId,
            /// The chain, and for a list its page.
            #[serde(flatten)]
            pub query: StoreQuery,
        }

        impl Operation for $read<'_> {
            const NAME: &'static str = $name;
            const METHOD: Method = Method::GET;
            const EFFECT: Effect = Effect::Read;
            const AUTHENTICATED: bool = false;
            type Output = Body;

            fn path(&self) -> String {
                format!($path, self.agent_id)
            }
        }
    )+};
}

agent_reads! {
    /// Reads one agent of either chain with its services: `GET /public/agents/{id}`.
    GetStoreAgent = "croo.get_store_agent", "/public/agents/{}";
    /// Lists what one agent sold: `GET /public/agents/{id}/activity`.
    ListActivity = "croo.list_agent_activity", "/public/agents/{}/activity";
}

/// An answer of the store.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Body(Map<String, Value>);

impl Body {
    /// The objects of the list under this name. A missing list is an empty one.
    #[must_use]
    pub fn rows(&self, name: &str) -> Vec<&Map<String, Value>> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object).collect()
    }

    /// The object under this name, or the answer itself where there is none.
    #[must_use]
    pub fn object(&self, name: &str) -> &Map<String, Value> {
        self.0.get(name).and_then(Value::as_object).unwrap_or(&self.0)
    }

    /// How many there are in all, where it says so.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match self.0.get("total")? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agents_of_both_chains() {
        let longest = format!("bsc:{}", "7".repeat(ID_BYTES_MAX - 4));
        let longer = format!("bsc:{}", "7".repeat(ID_BYTES_MAX));
        #[rustfmt::skip]
        let rows = [
            ("7f0c1d2e-0000-4000-8000-000000000000", true),  ("bsc:12", true),
            (longest.as_str(), true),   (longer.as_str(), false), ("bsc:", false),
            ("bsc:1/../2", false),      ("bsc:1?x", false),       ("bsc:a", false),
            ("eth:1", false),           ("a:b", false),           ("../x", false),
            ("", false),                ("bsc:1:2", false),       ("bsc%3A1", false),
        ];
        for (id, accepted) in rows {
            let read = StoreAgentId::try_from(id.to_owned());
            assert_eq!(read.is_ok(), accepted, "{id}");
        }
        let agent_id = StoreAgentId::try_from("bsc:12".to_owned()).unwrap();
        let read = GetStoreAgent { agent_id: &agent_id, query: StoreQuery::default() };
        assert_eq!(read.path(), "/public/agents/bsc:12");
    }

    #[test]
    fn reads_an_answer_as_it_comes() {
        let body: Body = serde_json::from_str(
            r#"{"items":[{"a":1},null,7,{"b":2}],"agents":null,"total":"12"}"#,
        )
        .unwrap();
        assert_eq!(body.rows("items").len(), 2);
        assert!(body.rows("agents").is_empty() && body.rows("entries").is_empty());
        assert_eq!(body.total(), Some(12));
        assert!(body.object("agent").contains_key("total"));
    }
}
