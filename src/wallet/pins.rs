//! The chains and token contracts that money may move on, pinned in the program.
//!
//! A contract address in an answer is compared with these and never taken from there. A chain that
//! is not in the table does not exist for us.
//!
//! Source: `paegents.md` §10.1 and `x402.md` §1.2.

use alloy_primitives::{Address, address};

use super::checks::{Reason, Refused};

/// Base.
pub const BASE: u64 = 8453;
/// Base Sepolia, the test network; the sandbox's chain, too.
pub const BASE_SEPOLIA: u64 = 84532;

/// One chain, its USDC contract and Paegents' escrow contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The chain's number (EIP-155).
    pub chain_id: u64,
    /// What people call it.
    pub name: &'static str,
    /// The USDC token contract.
    pub usdc: Address,
    /// The name in USDC's EIP-712 domain: what the contract's `name()` returns.
    pub usdc_name: &'static str,
    /// The version in USDC's EIP-712 domain.
    pub usdc_version: &'static str,
    /// Decimal places of USDC.
    pub usdc_decimals: u8,
    /// The chain's name in version 1 of x402; version 2 says `eip155:` and the number.
    pub x402_name: &'static str,
    /// Paegents' escrow contract, where its operator has published one: see [`escrow`].
    pub escrow: Option<Address>,
    /// A public JSON-RPC node, used unless the owner configures another.
    pub rpc_url: &'static str,
}

/// Every pinned chain.
pub const CHAINS: [Chain; 2] = [
    Chain {
        chain_id: BASE,
        name: "Base",
        usdc: address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        usdc_name: "USD Coin",
        usdc_version: "2",
        usdc_decimals: 6,
        x402_name: "base",
        escrow: None,
        rpc_url: "https://mainnet.base.org",
    },
    Chain {
        chain_id: BASE_SEPOLIA,
        name: "Base Sepolia",
        usdc: address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        usdc_name: "USDC",
        usdc_version: "2",
        usdc_decimals: 6,
        x402_name: "base-sepolia",
        escrow: Some(address!("0xcA98356B65951b621C32B840F0266847C6043B45")),
        rpc_url: "https://sepolia.base.org",
    },
];

/// The pins of a chain, or `None` where it is not ours to use.
#[must_use]
pub fn chain(chain_id: u64) -> Option<&'static Chain> {
    CHAINS.iter().find(|chain| chain.chain_id == chain_id)
}

/// The chain that x402 calls `network`: by name, by `eip155:` and the number, or by the number.
#[must_use]
pub fn chain_of_network(network: &str) -> Option<&'static Chain> {
    let number = network.strip_prefix("eip155:").unwrap_or(network);
    CHAINS.iter().find(|chain| chain.x402_name == network || chain.chain_id.to_string() == number)
}

/// The escrow contract to use on `chain`: the pinned one, else the one that the owner has configured.
///
/// # Errors
///
/// [`Reason::Address`] where the configured address contradicts the pin; [`Reason::NotPinned`]
/// where there is neither; [`Reason::ZeroAddress`] and [`Reason::TokenContract`] for an address
/// that is no escrow.
pub fn escrow(chain: &Chain, configured: Option<Address>) -> Result<Address, Refused> {
    let refuse = |reason| Err(Refused { field: "escrow", reason });
    match (chain.escrow, configured) {
        (Some(pin), Some(other)) if other != pin => {
            refuse(Reason::Address { found: other, expected: pin })
        }
        (Some(pin), _) => Ok(pin),
        (None, None) => refuse(Reason::NotPinned { chain: chain.name }),
        (None, Some(Address::ZERO)) => refuse(Reason::ZeroAddress),
        (None, Some(address)) if address == chain.usdc => refuse(Reason::TokenContract),
        (None, Some(address)) => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPOLIA_ESCROW: Address = address!("0xcA98356B65951b621C32B840F0266847C6043B45");
    const OTHER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");

    #[test]
    fn knows_two_chains_and_no_other() {
        #[rustfmt::skip]
        let rows = [
            // what it shows     chain id  name and version of USDC
            ("Base",             8453,     Some(("USD Coin", "2"))),
            ("Base Sepolia",     84532,    Some(("USDC", "2"))),
            ("Ethereum",         1,        None),
            ("Avalanche",        43114,    None),
            ("none",             0,        None),
        ];
        for (row, chain_id, expected) in rows {
            let found = chain(chain_id).map(|chain| (chain.usdc_name, chain.usdc_version));
            assert_eq!(found, expected, "{row}");
        }
    }

    #[test]
    fn a_network_has_three_spellings() {
        #[rustfmt::skip]
        let rows = [
            // what it shows           network            chain id
            ("version 1, Base",        "base",            Some(BASE)),
            ("version 1, Sepolia",     "base-sepolia",    Some(BASE_SEPOLIA)),
            ("version 2, Base",        "eip155:8453",     Some(BASE)),
            ("version 2, Sepolia",     "eip155:84532",    Some(BASE_SEPOLIA)),
            ("a number",               "84532",           Some(BASE_SEPOLIA)),
            ("a chain without pins",   "avalanche",       None),
            ("its number",             "eip155:43114",    None),
            ("a name as a reference",  "eip155:base",     None),
            ("another namespace",      "solana:8453",     None),
            ("another spelling",       "Base",            None),
            ("a leading zero",         "eip155:08453",    None),
            ("empty",                  "",                None),
        ];
        for (row, network, expected) in rows {
            let found = chain_of_network(network).map(|chain| chain.chain_id);
            assert_eq!(found, expected, "{row}");
        }
    }

    #[test]
    fn an_escrow_is_the_pinned_one_or_the_owners() {
        let base = chain(BASE).unwrap();
        let contradicts = Reason::Address { found: OTHER, expected: SEPOLIA_ESCROW };
        let nothing = Reason::NotPinned { chain: "Base" };
        #[rustfmt::skip]
        let rows = [
            // what it shows                 chain         configured             escrow or reason
            ("the pin",                      BASE_SEPOLIA, None,                  Ok(SEPOLIA_ESCROW)),
            ("the pin, configured as well",  BASE_SEPOLIA, Some(SEPOLIA_ESCROW),  Ok(SEPOLIA_ESCROW)),
            ("one that contradicts the pin", BASE_SEPOLIA, Some(OTHER),           Err(contradicts)),
            ("neither",                      BASE,         None,                  Err(nothing)),
            ("the owner's",                  BASE,         Some(OTHER),           Ok(OTHER)),
            ("the zero address",             BASE,         Some(Address::ZERO),   Err(Reason::ZeroAddress)),
            ("the token",                    BASE,         Some(base.usdc),       Err(Reason::TokenContract)),
        ];
        for (row, chain_id, configured, expected) in rows {
            let found = escrow(chain(chain_id).unwrap(), configured);
            assert!(found.as_ref().err().is_none_or(|refused| refused.field == "escrow"), "{row}");
            assert_eq!(found.map_err(|refused| refused.reason), expected, "{row}");
        }
    }
}
