//! The marketplaces' clients. The three share HTTP and nothing else, so each is concrete.

pub mod crochet;
pub mod http;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A marketplace that this server trades on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Marketplace {
    /// Crochet: a gateway that is paid per call.
    Crochet,
}

impl Marketplace {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Crochet];

    /// Its name in configuration, tools and the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
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
            Self::Crochet => "Crochet",
        })
    }
}
