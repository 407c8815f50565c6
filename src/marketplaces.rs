//! The marketplaces' clients. The three share HTTP and nothing else, so each is concrete.

pub mod crochet;
pub mod croo;
pub mod http;
pub mod socket;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// A marketplace that this server trades on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Marketplace {
    /// CROO: orders that agents negotiate, escrowed in USDC.
    Croo,
    /// Crochet: a gateway that is paid per call.
    Crochet,
}

impl Marketplace {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Croo, Self::Crochet];

    /// Its name in configuration, tools and the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Croo => "croo",
            Self::Crochet => "crochet",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|m| m.name() == name)
    }
}

impl fmt::Display for Marketplace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Croo => "CROO",
            Self::Crochet => "Crochet",
        })
    }
}

/// Whether a URL is encrypted, or stays on this machine.
#[must_use]
pub fn may_be_reached(url: &Url) -> bool {
    let local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => local,
        _ => false,
    }
}
