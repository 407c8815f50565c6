//! EIP-3009 transfers by authorization on USDC: what x402 pays with.

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{checks, digest_of, usdc_domain};
use crate::{
    money::Usdc,
    wallet::{
        checks::{AUTHORIZATION_SECONDS, Reason, Refused},
        pins::Chain,
    },
};

/// The type, field for field: its hash covers names and order.
pub(super) mod typed {
    alloy_sol_types::sol! {
        struct TransferWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }
    }
}

pub(in crate::wallet) use self::typed::TransferWithAuthorization;

/// An authorization's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The token contract; must be the chain's pinned USDC.
    pub token: Address,
    /// Whose money; must be the wallet.
    pub from: Address,
    /// Who gets it.
    pub to: Address,
    /// Exactly how much.
    pub value: Usdc,
    /// From when, in Unix seconds.
    pub valid_after: u64,
    /// Until when, in Unix seconds.
    pub valid_before: u64,
    /// 32 random bytes that make it usable once; the journal keeps them.
    pub nonce: B256,
}

/// What an authorization is held against.
#[derive(Clone, Debug)]
pub struct AuthorizationBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The one payee that was approved.
    pub to: Address,
    /// The most that was approved.
    pub value_max: Usdc,
    /// When the fields were fixed, in Unix seconds.
    pub now: u64,
}

impl Authorization {
    pub(super) fn digest(&self, chain: &Chain) -> B256 {
        let message = TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: U256::from(self.value.micros()),
            validAfter: U256::from(self.valid_after),
            validBefore: U256::from(self.valid_before),
            nonce: self.nonce,
        };
        digest_of(&message, &usdc_domain(chain))
    }

    pub(super) fn check(
        &self,
        own: Address,
        bounds: &AuthorizationBounds,
    ) -> Result<&'static Chain, Refused> {
        let chain = checks::chain(self.chain_id, bounds.chain_id)?;
        checks::address("token", self.token, chain.usdc)?;
        checks::address("from", self.from, own)?;
        checks::payee("to", chain, own, self.to)?;
        checks::address("to", self.to, bounds.to)?;
        checks::amount("value", U256::from(self.value.micros()), bounds.value_max)?;
        if self.valid_after > bounds.now {
            let reason = Reason::Form { why: "it is not valid yet" };
            return Err(Refused { field: "valid_after", reason });
        }
        checks::from("valid_before", self.valid_before, bounds.now, &AUTHORIZATION_SECONDS)?;
        Ok(chain)
    }
}
