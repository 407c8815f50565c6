//! The chains and token contracts that money may move on, pinned in the program.
//!
//! A contract address in an answer is compared with these and never taken from there. A chain that
//! is not in the table does not exist for us.
//!
//! Source: `paegents.md` §10.1 and `x402.md` §1.2.

use alloy_primitives::{Address, address};

/// Base.
pub const BASE: u64 = 8453;
/// Base Sepolia, the test network; the sandbox's chain, too.
pub const BASE_SEPOLIA: u64 = 84532;

/// One chain and its USDC contract.
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
        rpc_url: "https://mainnet.base.org",
    },
    Chain {
        chain_id: BASE_SEPOLIA,
        name: "Base Sepolia",
        usdc: address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        usdc_name: "USDC",
        usdc_version: "2",
        usdc_decimals: 6,
        rpc_url: "https://sepolia.base.org",
    },
];

/// The pins of a chain, or `None` where it is not ours to use.
#[must_use]
pub fn chain(chain_id: u64) -> Option<&'static Chain> {
    CHAINS.iter().find(|chain| chain.chain_id == chain_id)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
