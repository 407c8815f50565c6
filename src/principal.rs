//! Principals: who calls. Over stdio there is one, the owner's own client; over HTTP each token is
//! one, with its own profiles, limits, purchases and inbox, under the owner's budget.
//!
//! Invariant: a principal neither sees nor acts on what another has begun to pay for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{credential::CredentialDigest, profile::Profile, spend::policy::Limits};

/// The principal over stdio, and over HTTP where no token is configured.
pub const LOCAL: &str = "local";
/// Whom an event is for that is about nobody's purchase: everyone.
pub const EVERYONE: &str = "";
/// The longest name of a principal, in characters.
const NAME_CHARS_MAX: usize = 32;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its name in the journal: [`LOCAL`], or one of the configuration.
    pub name: String,
    /// The profiles whose tools it is offered; `market` is always among them.
    pub profiles: Vec<Profile>,
    /// Whether it is offered only tools that read.
    pub read_only: bool,
    /// What it may spend, within the owner's own limits.
    pub limits: Limits,
    /// What its token has to match; `None` over stdio.
    pub token: Option<CredentialDigest>,
}

/// The name of a principal: 1 to 32 of a-z, 0-9, `-` and `_`, beginning with a letter, and not
/// [`LOCAL`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalName(String);

/// What cannot be the name of a principal.
#[derive(Debug, thiserror::Error)]
#[error(
    "the name of a client is 1 to 32 of a-z, 0-9, `-` and `_`, begins with a letter, and is not \
     `local`"
)]
pub struct NoName;

impl PrincipalName {
    /// It.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalName {
    type Err = NoName;
    fn from_str(name: &str) -> Result<Self, NoName> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        let ok = begins && name.len() <= NAME_CHARS_MAX && name.chars().all(fits) && name != LOCAL;
        ok.then(|| Self(name.to_owned())).ok_or(NoName)
    }
}

impl TryFrom<String> for PrincipalName {
    type Error = NoName;
    fn try_from(name: String) -> Result<Self, NoName> {
        name.parse()
    }
}

impl From<PrincipalName> for String {
    fn from(name: PrincipalName) -> Self {
        name.0
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["a", "researcher", "claude-desktop", "a_1", &"a".repeat(32)] {
            assert!(name.parse::<PrincipalName>().is_ok(), "{name}");
        }
        for name in ["", "local", "A", "1a", "-a", "a b", "é", "a/b", &"a".repeat(33)] {
            assert!(name.parse::<PrincipalName>().is_err(), "{name}");
        }
    }
}
