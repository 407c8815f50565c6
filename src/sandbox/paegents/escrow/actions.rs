//! What the parties do in the end: close, claim, withdraw; who may do it when, and on which way.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolStruct;

use crate::{
    money::Usdc,
    sandbox::{
        chain::escrow::{
            self,
            calls::{
                BuyerWithdrawIntent, CloseIntent, MeteringEscrow as Contract, SellerClaimIntent,
            },
            deposits::{Held, Phase},
        },
        paegents::agreements::Role,
    },
};
use alloy_sol_types::SolCall;

/// An action on the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Either side ends the use; the challenge window begins.
    InitiateClose,
    /// The seller takes what it earned.
    SellerClaim,
    /// The buyer takes back what was not used.
    BuyerWithdraw,
}

impl Action {
    const ALL: [Self; 3] = [Self::InitiateClose, Self::SellerClaim, Self::BuyerWithdraw];

    /// Its word in queries and answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InitiateClose => "initiate_close",
            Self::SellerClaim => "seller_claim",
            Self::BuyerWithdraw => "buyer_withdraw",
        }
    }

    /// By its word.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// By the last part of its path, which has hyphens.
    pub(crate) fn in_path(part: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str().replace('_', "-") == part)
    }

    /// The function of the contract that a party calls itself.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::InitiateClose => "initiateClose(uint256)",
            Self::SellerClaim => "sellerClaim(uint256)",
            Self::BuyerWithdraw => "buyerWithdraw(uint256)",
        }
    }

    /// The call of that function, under the selectors that the platform's SDK knows.
    ///
    /// They are not those of the functions' names. Source: the protocol page, 10.4.
    pub(crate) fn calldata(self, number: u64) -> Bytes {
        let agreement = U256::from(number);
        let call = match self {
            Self::InitiateClose => {
                let selector = escrow::CLOSE_SELECTOR.as_slice();
                return [selector, &B256::from(agreement).0].concat().into();
            }
            Self::SellerClaim => Contract::claimCall { agreementId: agreement }.abi_encode(),
            Self::BuyerWithdraw => Contract::withdrawCall { agreementId: agreement }.abi_encode(),
        };
        call.into()
    }

    /// What the signer can take with it now.
    pub(crate) fn amount(self, held: &Held, now: u64) -> Usdc {
        match self {
            Self::InitiateClose => Usdc::ZERO,
            Self::SellerClaim => held.claimable(now),
            Self::BuyerWithdraw => held.withdrawable(now),
        }
    }

    /// Why it cannot be done now; none where it can.
    pub(crate) fn obstacle(self, held: &Held, role: Role, now: u64) -> Option<&'static str> {
        let phase = held.phase(now);
        let has_nothing = self.amount(held, now) == Usdc::ZERO;
        match (self, role) {
            (Self::SellerClaim, Role::Buyer) | (Self::BuyerWithdraw, Role::Seller) => {
                Some("wrong_role")
            }
            (Self::InitiateClose, _) => (phase != Phase::Active).then_some("already_closed"),
            (Self::SellerClaim, Role::Seller) if phase == Phase::Closing => {
                Some("challenge_window_open")
            }
            (Self::SellerClaim, Role::Seller) => has_nothing.then_some("nothing_to_claim"),
            (Self::BuyerWithdraw, Role::Buyer) if phase != Phase::Finalized => {
                Some("not_finalized")
            }
            (Self::BuyerWithdraw, Role::Buyer) => has_nothing.then_some("nothing_to_withdraw"),
        }
    }
}

/// An action that a party signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent<'a> {
    /// What.
    pub(crate) action: Action,
    /// The agreement's number on the chain.
    pub(crate) number: u64,
    /// Who signed it.
    pub(crate) signer: Address,
    /// The signer's nonce.
    pub(crate) nonce: u64,
    /// Until when it can be relayed, in seconds since 1970.
    pub(crate) deadline: u64,
    /// The signature.
    pub(crate) signature: &'a Bytes,
}

impl Intent<'_> {
    /// Whether the signature is the signer's.
    pub(crate) fn is_signed(&self) -> bool {
        let agreement = U256::from(self.number);
        let (nonce, deadline) = (U256::from(self.nonce), U256::from(self.deadline));
        match self.action {
            Action::InitiateClose => {
                self.fits(&CloseIntent { agreementId: agreement, nonce, deadline })
            }
            Action::SellerClaim => {
                self.fits(&SellerClaimIntent { agreementId: agreement, nonce, deadline })
            }
            Action::BuyerWithdraw => {
                self.fits(&BuyerWithdrawIntent { agreementId: agreement, nonce, deadline })
            }
        }
    }

    fn fits(&self, terms: &impl SolStruct) -> bool {
        escrow::is_signed(&escrow::domain(), terms, self.signature, self.signer)
    }

    /// The call that relays it.
    pub(crate) fn call(&self) -> Vec<u8> {
        let agreement = U256::from(self.number);
        let (nonce, deadline) = (U256::from(self.nonce), U256::from(self.deadline));
        let signature = self.signature.clone();
        match self.action {
            Action::InitiateClose => Contract::initiateCloseWithSigCall {
                agreementId: agreement,
                signer: self.signer,
                nonce,
                deadline,
                signature,
            }
            .abi_encode(),
            Action::SellerClaim => Contract::sellerClaimWithSigCall {
                agreementId: agreement,
                nonce,
                deadline,
                signature,
            }
            .abi_encode(),
            Action::BuyerWithdraw => Contract::buyerWithdrawWithSigCall {
                agreementId: agreement,
                nonce,
                deadline,
                signature,
            }
            .abi_encode(),
        }
    }
}
