//! The marketplaces' clients. The three share HTTP and nothing else, so each is concrete.

pub mod crochet;
pub mod croo;
pub mod http;
pub mod lenient;
pub mod paegents;
pub mod socket;

use std::fmt;

use alloy_primitives::Address;
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
    /// Paegents: mandates, metered agreements with an escrow, suppliers.
    Paegents,
}

impl Marketplace {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Croo, Self::Crochet, Self::Paegents];

    /// Its name in configuration, tools and the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Croo => "croo",
            Self::Crochet => "crochet",
            Self::Paegents => "paegents",
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
            Self::Paegents => "Paegents",
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

/// An address that a marketplace names as a receiver or a payer, where it is one: not the zero
/// address, and with a right checksum where its letters are mixed; one case says nothing.
#[must_use]
pub fn payable_address(text: &str) -> Option<Address> {
    let text = text.trim();
    let address: Address = text.parse().ok().filter(|address| *address != Address::ZERO)?;
    let digits = text.trim_start_matches("0x");
    let mixed = digits.bytes().any(|b| b.is_ascii_uppercase())
        && digits.bytes().any(|b| b.is_ascii_lowercase());
    (!mixed || address.to_checksum(None) == text).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_with_its_checksum_or_without_one() {
        #[rustfmt::skip]
        let rows = [
            ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",  true),
            (" 0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", true),
            ("0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266",  true),
            ("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",  false),
            ("0x0000000000000000000000000000000000000000",  false),
            ("0xf39fd6e51aad88f6f4ce6ab8827279cfffb922",    false),
            ("alice.eth",                                   false),
            ("",                                            false),
        ];
        for (text, expected) in rows {
            assert_eq!(payable_address(text).is_some(), expected, "{text}");
        }
    }
}
