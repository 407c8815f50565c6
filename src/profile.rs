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
    /// Paegents' mandates, suppliers and direct purchases.
    Pay,
    /// Paegents' escrows, step by step.
    Settle,
    /// Accounts, wallets and keys.
    Account,
    /// Paegents' webhooks and its list of events.
    Events,
    /// Paegents' payments that have neither a key nor a look-up.
    Legacy,
    /// What only the owner of a Paegents agent may do; with `market` alone.
    Owner,
}

impl Profile {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Market,
        Self::Buy,
        Self::Sell,
        Self::Browse,
        Self::Pay,
        Self::Settle,
        Self::Account,
        Self::Events,
        Self::Legacy,
        Self::Owner,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Browse => "browse",
            Self::Pay => "pay",
            Self::Settle => "settle",
            Self::Account => "account",
            Self::Events => "events",
            Self::Legacy => "legacy",
            Self::Owner => "owner",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|profile| profile.name() == name)
    }
}
