//! EIP-2612 permits on USDC: for an escrow's deposit, and for a fee.

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{checks, digest_of, usdc_domain};
use crate::{
    money::Usdc,
    wallet::{
        checks::{DEADLINE_SECONDS, Refused},
        numbers,
        pins::Chain,
    },
};

/// The type, field for field: its hash covers names and order.
pub(super) mod typed {
    alloy_sol_types::sol! {
        struct Permit {
            address owner;
            address spender;
            uint256 value;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

/// A permit's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The token contract; must be the chain's pinned USDC.
    pub token: Address,
    /// Whose money; must be the wallet.
    pub owner: Address,
    /// Who may take it.
    pub spender: Address,
    /// Exactly how much.
    pub value: Usdc,
    /// The token's count of the owner's permits: `nonces(owner)`.
    #[serde(with = "numbers")]
    pub nonce: U256,
    /// Until when, in Unix seconds.
    pub deadline: u64,
}

/// What a permit is held against.
#[derive(Clone, Debug)]
pub struct PermitBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The one spender that was pinned or approved: the resolved escrow, or the fee's collector.
    pub spender: Address,
    /// The most that was approved for this permit.
    pub value_max: Usdc,
    /// When the fields were fixed, in Unix seconds.
    pub now: u64,
}

impl Permit {
    /// The digest of these fields on `chain`, which is that of `chain_id`.
    pub(super) fn digest(&self, chain: &Chain) -> B256 {
        let message = typed::Permit {
            owner: self.owner,
            spender: self.spender,
            value: U256::from(self.value.micros()),
            nonce: self.nonce,
            deadline: U256::from(self.deadline),
        };
        digest_of(&message, &usdc_domain(chain))
    }

    pub(super) fn check(
        &self,
        own: Address,
        bounds: &PermitBounds,
    ) -> Result<&'static Chain, Refused> {
        let chain = checks::chain(self.chain_id, bounds.chain_id)?;
        checks::address("token", self.token, chain.usdc)?;
        checks::address("owner", self.owner, own)?;
        checks::payee("spender", chain, own, self.spender)?;
        checks::address("spender", self.spender, bounds.spender)?;
        checks::amount("value", U256::from(self.value.micros()), bounds.value_max)?;
        checks::from("deadline", self.deadline, bounds.now, &DEADLINE_SECONDS)?;
        Ok(chain)
    }
}
