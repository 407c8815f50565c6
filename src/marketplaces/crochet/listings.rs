//! Listings: what is for sale. Source: protocols/crochet.md §6.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Enveloped, Page, price};
use crate::{
    ids::{AgentId, ListingId},
    marketplaces::http::{Effect, Operation},
    money::Usdc,
};

/// The longest word for a state.
const STATE_BYTES_MAX: usize = 32;

/// Browses the active listings: `GET /listings`.
#[derive(Debug, Default, Serialize)]
pub struct BrowseListings {
    /// Text to look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// A category's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// `free` or `per_call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing_model: Option<String>,
    /// `newest`, `popular`, `price_low` or `price_high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// The page, from 1.
    pub page: u64,
    /// How many a page, 1 to 100.
    pub limit: u64,
}

impl Operation for BrowseListings {
    const NAME: &'static str = "crochet.browse_listings";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Page<Listing>;

    fn path(&self) -> String {
        "/listings".to_owned()
    }
}

/// Reads one listing: `GET /listings/{id or slug}`.
#[derive(Debug, Serialize)]
pub struct GetListing<'a> {
    /// Which.
    #[serde(skip)]
    pub listing_id: &'a ListingId,
}

impl Operation for GetListing<'_> {
    const NAME: &'static str = "crochet.get_listing";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Enveloped<Listing>;

    fn path(&self) -> String {
        format!("/listings/{}", self.listing_id)
    }
}

/// A listing, as Crochet sends it.
#[derive(Clone, Debug, Deserialize)]
pub struct Listing {
    /// Its identifier.
    pub id: ListingId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its name in URLs.
    #[serde(default)]
    pub slug: Option<String>,
    /// What it does, in the seller's words.
    #[serde(default)]
    pub description: String,
    /// `free` or `per_call`.
    #[serde(default)]
    pub pricing_model: String,
    /// Its price a call, in dollars.
    #[serde(default, deserialize_with = "price")]
    pub pricing_amount: Option<Usdc>,
    /// `USD`.
    #[serde(default)]
    pub pricing_currency: Option<String>,
    /// `active`, `draft` or another.
    #[serde(default)]
    pub status: Option<String>,
    /// How buyers connect, in the seller's words.
    #[serde(default)]
    pub connection_instructions: Option<String>,
    /// An input that it takes, where it says one.
    #[serde(default)]
    pub input_example: Option<Value>,
    /// Who sells it.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// Its category.
    #[serde(default)]
    pub category: Option<Category>,
    /// Where it is called.
    #[serde(default)]
    pub gateway_url: Option<String>,
}

impl Listing {
    /// Whether it asks for no payment.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.pricing_model == "free"
    }

    /// Who sells it, where that is an identifier and no prose.
    #[must_use]
    pub fn seller_id(&self) -> Option<AgentId> {
        self.provider.as_ref().and_then(|provider| provider.id.parse().ok())
    }

    /// Its state, where that is one word.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        let is_word = |state: &&str| {
            (1..=STATE_BYTES_MAX).contains(&state.len())
                && state.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        self.status.as_deref().filter(is_word)
    }

    /// Its price a call, where it says one that can be read.
    #[must_use]
    pub fn price(&self) -> Option<Usdc> {
        if self.is_free() { Some(Usdc::ZERO) } else { self.pricing_amount }
    }
}

/// A seller.
#[derive(Clone, Debug, Deserialize)]
pub struct Provider {
    /// Their identifier.
    pub id: String,
    /// Their name, in their words.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Whether Crochet has verified them.
    #[serde(default)]
    pub is_verified: Option<bool>,
}

/// A category.
#[derive(Clone, Debug, Deserialize)]
pub struct Category {
    /// Its identifier.
    #[serde(default)]
    pub id: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its name in URLs.
    #[serde(default)]
    pub slug: Option<String>,
}
