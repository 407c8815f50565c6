//! Categories, scores and reviews. Source: protocols/crochet.md §3, the endpoints outside the table.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Enveloped, history::Rows};
use crate::{
    ids::{AgentId, ListingId},
    marketplaces::http::{Effect, Operation},
};

/// The highest score.
pub const SCORE_MAX: u64 = 1000;

/// All categories: `GET /categories`.
#[derive(Debug, Serialize)]
pub struct ListCategories {}

impl Operation for ListCategories {
    const NAME: &'static str = "crochet.list_categories";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Rows;

    fn path(&self) -> String {
        "/categories".to_owned()
    }
}

/// An agent's score: `GET /agents/{id}/score`.
#[derive(Debug, Serialize)]
pub struct GetScore<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent_id: &'a AgentId,
}

impl Operation for GetScore<'_> {
    const NAME: &'static str = "crochet.get_score";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Enveloped<Score>;

    fn path(&self) -> String {
        format!("/agents/{}/score", self.agent_id)
    }
}

/// How much an agent is trusted.
#[derive(Debug)]
pub struct Score {
    /// 0 to [`SCORE_MAX`]; `None` where it says no such number.
    pub score: Option<u64>,
    /// Whether Crochet has verified them.
    pub is_verified: Option<bool>,
}

impl Score {
    /// The tier of the score.
    #[must_use]
    pub const fn tier(&self) -> Option<&'static str> {
        match self.score {
            Some(..=399) => Some("low"),
            Some(400..=699) => Some("moderate"),
            Some(700..=799) => Some("trusted"),
            Some(800..=899) => Some("elite"),
            Some(900..=SCORE_MAX) => Some("exceptional"),
            Some(_) | None => None,
        }
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = Value::deserialize(deserializer)?;
        let score =
            ["score", "trust_score", "value"].iter().find_map(|name| whole(body.get(*name)?));
        Ok(Self {
            score: score.filter(|score| *score <= SCORE_MAX),
            is_verified: ["is_verified", "verified"].iter().find_map(|n| body.get(*n)?.as_bool()),
        })
    }
}

/// A whole number, be it a number, one with places, or a text.
fn whole(value: &Value) -> Option<u64> {
    let literal = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    literal.split('.').next()?.parse().ok()
}

/// Reviews a listing: `POST /reviews/{listingId}`.
#[derive(Debug, Serialize)]
pub struct ReviewListing<'a> {
    /// Which.
    #[serde(skip)]
    pub listing_id: &'a ListingId,
    /// 1 to 5.
    pub accuracy_rating: u64,
    /// 1 to 5.
    pub reliability_rating: u64,
    /// 1 to 5.
    pub value_rating: u64,
    /// One line.
    pub title: &'a str,
    /// The review.
    pub comment: &'a str,
}

impl Operation for ReviewListing<'_> {
    const NAME: &'static str = "crochet.review_listing";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Value>;

    fn path(&self) -> String {
        format!("/reviews/{}", self.listing_id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_scores_and_their_tiers() {
        #[rustfmt::skip]
        let rows = [
            // what it shows        answer                        score       tier
            ("nothing",             json!({ "score": 0 }),        Some(0),    Some("low")),
            ("below moderate",      json!({ "score": 399 }),      Some(399),  Some("low")),
            ("moderate",            json!({ "score": 400 }),      Some(400),  Some("moderate")),
            ("below trusted",       json!({ "score": 699.9 }),    Some(699),  Some("moderate")),
            ("trusted",             json!({ "score": "700" }),    Some(700),  Some("trusted")),
            ("elite",               json!({ "trust_score": 800 }), Some(800), Some("elite")),
            ("exceptional",         json!({ "score": 900 }),      Some(900),  Some("exceptional")),
            ("the most",            json!({ "score": 1000 }),     Some(1000), Some("exceptional")),
            ("more than the most",  json!({ "score": 1001 }),     None,       None),
            ("negative",            json!({ "score": -1 }),       None,       None),
            ("none",                json!({}),                    None,       None),
        ];
        for (row, answer, score, tier) in rows {
            let read: Score = serde_json::from_value(answer).unwrap();
            assert_eq!((read.score, read.tier()), (score, tier), "{row}");
        }
    }
}
