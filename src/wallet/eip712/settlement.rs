//! What the first escrow contract takes by signature: a deposit, a close, a claim, a withdrawal.
//!
//! The types name no amount and no party: the contract knows both of the agreement.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::Eip712Domain;
use serde::{Deserialize, Serialize};

use super::{checks, digest_of, domain};
use crate::wallet::{
    checks::{DEADLINE_SECONDS, Refused},
    numbers,
};

/// The types, field for field: their hashes cover names and order.
pub(super) mod typed {
    alloy_sol_types::sol! {
        struct Deposit {
            uint256 agreementId;
            uint256 deadline;
        }
        struct CloseIntent {
            uint256 agreementId;
            uint256 nonce;
            uint256 deadline;
        }
        struct SellerClaimIntent {
            uint256 agreementId;
            uint256 nonce;
            uint256 deadline;
        }
        struct BuyerWithdrawIntent {
            uint256 agreementId;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

/// The three settlement actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// Either party ends the agreement; the challenge window begins.
    Close,
    /// The seller takes what was earned.
    Claim,
    /// The buyer takes back what is left.
    Withdraw,
}

/// A V1 deposit's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The escrow contract.
    pub escrow: Address,
    /// Who signs; must be the wallet.
    pub signer: Address,
    /// The agreement's number in the contract.
    #[serde(with = "numbers")]
    pub agreement_id: U256,
    /// Until when, in Unix seconds.
    pub deadline: u64,
}

/// The fields of a settlement action; which one, the signing function says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The escrow contract.
    pub escrow: Address,
    /// Who signs; must be the wallet.
    pub signer: Address,
    /// The agreement's number in the contract.
    #[serde(with = "numbers")]
    pub agreement_id: U256,
    /// The contract's count of the signer's actions.
    #[serde(with = "numbers")]
    pub nonce: U256,
    /// Until when, in Unix seconds.
    pub deadline: u64,
}

/// What deposits and actions are held against.
#[derive(Clone, Debug)]
pub struct EscrowBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The escrow that [`crate::wallet::pins::escrow`] gave.
    pub escrow: Address,
    /// The agreement's number, as it was read before.
    pub agreement_id: U256,
    /// When the fields were fixed, in Unix seconds.
    pub now: u64,
}

impl Deposit {
    pub(super) fn digest(&self) -> B256 {
        let message =
            typed::Deposit { agreementId: self.agreement_id, deadline: U256::from(self.deadline) };
        digest_of(&message, &escrow_domain(self.chain_id, self.escrow))
    }

    pub(super) fn check(&self, own: Address, bounds: &EscrowBounds) -> Result<(), Refused> {
        bounds.check(own, self.chain_id, self.escrow, self.signer)?;
        bounds.check_agreement(self.agreement_id, self.deadline)
    }
}

impl Action {
    pub(super) fn digest(&self, settlement: Settlement) -> B256 {
        let (agreement_id, nonce) = (self.agreement_id, self.nonce);
        let deadline = U256::from(self.deadline);
        let domain = escrow_domain(self.chain_id, self.escrow);
        match settlement {
            Settlement::Close => digest_of(
                &typed::CloseIntent { agreementId: agreement_id, nonce, deadline },
                &domain,
            ),
            Settlement::Claim => digest_of(
                &typed::SellerClaimIntent { agreementId: agreement_id, nonce, deadline },
                &domain,
            ),
            Settlement::Withdraw => digest_of(
                &typed::BuyerWithdrawIntent { agreementId: agreement_id, nonce, deadline },
                &domain,
            ),
        }
    }

    pub(super) fn check(&self, own: Address, bounds: &EscrowBounds) -> Result<(), Refused> {
        bounds.check(own, self.chain_id, self.escrow, self.signer)?;
        bounds.check_agreement(self.agreement_id, self.deadline)
    }
}

impl EscrowBounds {
    fn check(
        &self,
        own: Address,
        chain_id: u64,
        escrow: Address,
        signer: Address,
    ) -> Result<(), Refused> {
        let chain = checks::chain(chain_id, self.chain_id)?;
        checks::escrow("escrow", chain, escrow, self.escrow)?;
        checks::address("signer", signer, own)
    }

    fn check_agreement(&self, agreement_id: U256, deadline: u64) -> Result<(), Refused> {
        checks::same("agreement_id", agreement_id, self.agreement_id)?;
        checks::from("deadline", deadline, self.now, &DEADLINE_SECONDS)
    }
}

fn escrow_domain(chain_id: u64, escrow: Address) -> Eip712Domain {
    domain("MeteringEscrow", "1", chain_id, escrow)
}
