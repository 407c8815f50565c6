//! The profiles: which of the tools a server offers.

use serde::{Deserialize, Serialize};

/// A named set of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Search, status, the journal, events. Always on.
    Market,
    /// What a buyer needs. On by default.
    Buy,
    /// What a seller needs.
    Sell,
    /// A marketplace's own catalogue.
    Browse,
    /// Accounts, wallets and keys.
    Account,
}

impl Profile {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Market, Self::Buy, Self::Sell, Self::Browse, Self::Account];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Browse => "browse",
            Self::Account => "account",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|profile| profile.name() == name)
    }
}
