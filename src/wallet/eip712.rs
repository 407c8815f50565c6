//! Typed data that moves money or releases it: a function a payload, each checked, then signed.
//!
//! - A payload's struct holds all that its bytes depend on, so that the journal keeps it and the
//!   signature is made again from it; the same fields give the same bytes.
//! - Its bounds hold what was pinned, configured and approved. They never come from the same answer
//!   as the fields.
//! - Domains are built from the pins, never from an answer. An escrow is the one that
//!   [`pins::escrow`] gave.
//! - Times are Unix seconds. `now` is when the fields were fixed: signing again from the journal
//!   passes the time that stands there.
//!
//! Source: `paegents.md` §10, `x402.md` §2, EIP-712.

mod activation;
mod authorization;
mod permit;
mod settlement;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};

pub(super) use self::authorization::TransferWithAuthorization;
pub use self::{
    activation::{Activation, ActivationBounds, ActivationIntent},
    authorization::{Authorization, AuthorizationBounds},
    permit::{Permit, PermitBounds},
    settlement::{Action, Deposit, EscrowBounds, Settlement},
};
use super::{KeyKind, SignError, Wallet, checks, pins};

/// A signature over typed data. `Debug` leaves the signature out: whoever holds it can use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The EIP-712 digest that was signed.
    pub digest: B256,
    /// 65 bytes r ‖ s ‖ v as hex with `0x`.
    pub signature: String,
    /// The recovery number: 27 or 28.
    pub v: u8,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Wallet {
    /// Signs an EIP-2612 permit: `spender` may take `value` from the wallet until `deadline`.
    ///
    /// For `spend` alone, as are all signatures below.
    ///
    /// # Errors
    ///
    /// [`SignError::Field`] where a field breaks a bound; [`SignError::NoKey`]. Nothing is signed.
    pub(crate) fn sign_permit(
        &self,
        permit: &Permit,
        bounds: &PermitBounds,
    ) -> Result<Signed, SignError> {
        let chain = permit.check(self.evm_own()?, bounds)?;
        self.sign_typed(permit.digest(chain))
    }

    /// Signs the authorization of a V1 deposit.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_deposit(
        &self,
        deposit: &Deposit,
        bounds: &EscrowBounds,
    ) -> Result<Signed, SignError> {
        deposit.check(self.evm_own()?, bounds)?;
        self.sign_typed(deposit.digest())
    }

    /// Signs that an agreement may be closed in the wallet's name.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_close(
        &self,
        action: &Action,
        bounds: &EscrowBounds,
    ) -> Result<Signed, SignError> {
        self.sign_action(Settlement::Close, action, bounds)
    }

    /// Signs that the seller's earnings may be claimed in the wallet's name.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_claim(
        &self,
        action: &Action,
        bounds: &EscrowBounds,
    ) -> Result<Signed, SignError> {
        self.sign_action(Settlement::Claim, action, bounds)
    }

    /// Signs that the buyer's remainder may be withdrawn in the wallet's name.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_withdraw(
        &self,
        action: &Action,
        bounds: &EscrowBounds,
    ) -> Result<Signed, SignError> {
        self.sign_action(Settlement::Withdraw, action, bounds)
    }

    /// Signs the buyer's intent that creates an agreement in the V2 escrow and funds it.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_activation(
        &self,
        activation: &Activation,
        bounds: &ActivationBounds,
    ) -> Result<Signed, SignError> {
        activation.check(self.evm_own()?, bounds)?;
        self.sign_typed(activation.digest())
    }

    /// Signs an EIP-3009 authorization: whoever presents it moves `value` from the wallet to `to`,
    /// once.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_permit`].
    pub(crate) fn sign_transfer_authorization(
        &self,
        authorization: &Authorization,
        bounds: &AuthorizationBounds,
    ) -> Result<Signed, SignError> {
        let chain = authorization.check(self.evm_own()?, bounds)?;
        self.sign_typed(authorization.digest(chain))
    }

    fn sign_action(
        &self,
        settlement: Settlement,
        action: &Action,
        bounds: &EscrowBounds,
    ) -> Result<Signed, SignError> {
        action.check(self.evm_own()?, bounds)?;
        self.sign_typed(action.digest(settlement))
    }

    /// Signs a digest that one of the functions above has made of checked fields.
    fn sign_typed(&self, digest: B256) -> Result<Signed, SignError> {
        let bytes = self.sign_hash(digest)?.as_bytes();
        let v = *bytes.last().ok_or(SignError::Failed { kind: KeyKind::Evm })?;
        Ok(Signed { digest, signature: format!("0x{}", hex::encode(bytes)), v })
    }
}

/// The domain of a chain's USDC contract.
pub(super) const fn usdc_domain(chain: &pins::Chain) -> Eip712Domain {
    domain(chain.usdc_name, chain.usdc_version, chain.chain_id, chain.usdc)
}

const fn domain(
    name: &'static str,
    version: &'static str,
    chain_id: u64,
    contract: Address,
) -> Eip712Domain {
    let chain_id = U256::from_limbs([chain_id, 0, 0, 0]);
    Eip712Domain::new(
        Some(Cow::Borrowed(name)),
        Some(Cow::Borrowed(version)),
        Some(chain_id),
        Some(contract),
        None,
    )
}

/// The domain of the second escrow contract.
pub(super) const fn escrow_domain_v2(chain_id: u64, escrow: Address) -> Eip712Domain {
    domain("MeteringEscrowV2", "1", chain_id, escrow)
}

/// The digest of `message` in `domain`.
pub(super) fn digest_of(message: &impl SolStruct, domain: &Eip712Domain) -> B256 {
    message.eip712_signing_hash(domain)
}
