//! The buyer's activation of an agreement in the second escrow contract.

use std::ops::RangeInclusive;

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{checks, digest_of, escrow_domain_v2};
use crate::{
    money::Usdc,
    wallet::{
        checks::{Reason, Refused},
        numbers,
    },
};

/// The type, field for field: its hash covers names and order.
pub(super) mod typed {
    alloy_sol_types::sol! {
        struct BuyerActivationIntent {
            bytes32 agreementKey;
            bytes32 platformAgreementIdHash;
            address buyer;
            address seller;
            address token;
            uint256 quantity;
            uint256 pricePerUnit;
            uint256 depositAmount;
            uint256 challengeWindowSeconds;
            bytes32 serviceHash;
            bytes32 termsHash;
            uint256 expiry;
            uint256 nonce;
            bytes32 salt;
        }
    }
}

/// What the buyer agrees to. In JSON it has the members of the wire's `buyer_intent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationIntent {
    /// The agreement's key in the contract.
    pub agreement_key: B256,
    /// A hash of the platform's agreement id.
    pub platform_agreement_id_hash: B256,
    /// Who pays; must be the wallet.
    pub buyer: Address,
    /// Who earns.
    pub seller: Address,
    /// The token contract; must be the chain's pinned USDC.
    pub token: Address,
    /// Units.
    #[serde(with = "numbers")]
    pub quantity: U256,
    /// The price of a unit, in micro-units.
    #[serde(with = "numbers")]
    pub price_per_unit: U256,
    /// What goes into escrow, in micro-units: quantity times price.
    #[serde(with = "numbers")]
    pub deposit_amount: U256,
    /// How long a close can be contested, in seconds.
    pub challenge_window_seconds: u64,
    /// A hash of the service.
    pub service_hash: B256,
    /// A hash of the terms.
    pub terms_hash: B256,
    /// When the agreement ends, in Unix seconds.
    pub expiry: u64,
    /// The contract's count of the buyer's activations.
    #[serde(with = "numbers")]
    pub nonce: U256,
    /// Makes the key of two equal agreements differ.
    pub salt: B256,
}

/// An intent, and the contract that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The escrow contract: `funding.spender` of the activation package.
    pub spender: Address,
    /// The terms.
    pub intent: ActivationIntent,
}

/// What an activation is held against: the pins, and the agreement that was approved.
#[derive(Clone, Debug)]
pub struct ActivationBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The escrow that [`crate::wallet::pins::escrow`] gave.
    pub escrow: Address,
    /// The seller's wallet, where the agreement names it.
    pub seller: Option<Address>,
    /// The agreement's units.
    pub quantity: u64,
    /// The agreement's price of a unit.
    pub price_per_unit: Usdc,
    /// The most that may be deposited.
    pub deposit_max: Usdc,
    /// How far from now the agreement may end, in seconds.
    pub expiry_seconds: RangeInclusive<u64>,
    /// How long the challenge window may be, in seconds.
    pub challenge_window_seconds: RangeInclusive<u64>,
    /// When the fields were fixed, in Unix seconds.
    pub now: u64,
}

impl Activation {
    pub(super) fn digest(&self) -> B256 {
        let intent = &self.intent;
        let message = typed::BuyerActivationIntent {
            agreementKey: intent.agreement_key,
            platformAgreementIdHash: intent.platform_agreement_id_hash,
            buyer: intent.buyer,
            seller: intent.seller,
            token: intent.token,
            quantity: intent.quantity,
            pricePerUnit: intent.price_per_unit,
            depositAmount: intent.deposit_amount,
            challengeWindowSeconds: U256::from(intent.challenge_window_seconds),
            serviceHash: intent.service_hash,
            termsHash: intent.terms_hash,
            expiry: U256::from(intent.expiry),
            nonce: intent.nonce,
            salt: intent.salt,
        };
        digest_of(&message, &escrow_domain_v2(self.chain_id, self.spender))
    }

    pub(super) fn check(&self, own: Address, bounds: &ActivationBounds) -> Result<(), Refused> {
        let intent = &self.intent;
        let chain = checks::chain(self.chain_id, bounds.chain_id)?;
        checks::escrow("spender", chain, self.spender, bounds.escrow)?;
        checks::address("token", intent.token, chain.usdc)?;
        checks::address("buyer", intent.buyer, own)?;
        checks::payee("seller", chain, own, intent.seller)?;
        if let Some(seller) = bounds.seller {
            checks::address("seller", intent.seller, seller)?;
        }
        checks::number("quantity", intent.quantity, U256::from(bounds.quantity))?;
        let price = U256::from(bounds.price_per_unit.micros());
        checks::number("price_per_unit", intent.price_per_unit, price)?;
        let deposit = intent.quantity.checked_mul(intent.price_per_unit).ok_or(Refused {
            field: "deposit_amount",
            reason: Reason::Form { why: "quantity times price is above 256 bits" },
        })?;
        checks::number("deposit_amount", intent.deposit_amount, deposit)?;
        checks::amount("deposit_amount", intent.deposit_amount, bounds.deposit_max)?;
        let window = &bounds.challenge_window_seconds;
        checks::seconds("challenge_window_seconds", intent.challenge_window_seconds, window)?;
        checks::from("expiry", intent.expiry, bounds.now, &bounds.expiry_seconds)
    }
}
