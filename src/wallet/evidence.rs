//! Evidence of what was used, read and recomputed: a chain of call proofs, receipts that add up.
//! Signs nothing.
//!
//! The pages name the members and not how they are made. `[assumed]`, here and nowhere else: a link
//! is keccak256(the link before it, or 32 zero bytes ‖ `request_hash` ‖ `response_hash`), signed as
//! an EIP-191 message of 32 bytes; a receipt is a `UsageReceipt` in the domain of the second escrow
//! contract. Evidence that does not fit is evidence of nothing, so the caller reports it.
//!
//! Source: `paegents.md` §3.5.

use alloy_primitives::{Address, B256, Signature, U256, eip191_hash_message, keccak256};

use super::eip712::{digest_of, escrow_domain_v2};

/// The type, field for field: its hash covers names and order.
mod typed {
    alloy_sol_types::sol! {
        struct UsageReceipt {
            bytes32 agreementKey;
            uint256 cumulativeUnits;
            uint256 pricePerUnit;
            uint256 nonce;
        }
    }
}

/// The link that a call adds to the chain; before the first one there are 32 zero bytes.
#[must_use]
pub fn link(before: B256, request_hash: B256, response_hash: B256) -> B256 {
    keccak256([before.as_slice(), request_hash.as_slice(), response_hash.as_slice()].concat())
}

/// Who signed a link; `None` where the signature is none.
#[must_use]
pub fn signer_of_link(link: B256, signature: &str) -> Option<Address> {
    recovered(eip191_hash_message(link), signature)
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The escrow's key in the contract.
    pub agreement_key: B256,
    /// Units used so far, in all.
    pub cumulative_units: u64,
    /// What one costs, in micro-units.
    pub price_per_unit: u64,
    /// Counts the receipts.
    pub nonce: u64,
}

impl Receipt {
    /// Who signed it for this escrow contract; `None` where the signature is none.
    #[must_use]
    pub fn signer(&self, chain_id: u64, escrow: Address, signature: &str) -> Option<Address> {
        let message = typed::UsageReceipt {
            agreementKey: self.agreement_key,
            cumulativeUnits: U256::from(self.cumulative_units),
            pricePerUnit: U256::from(self.price_per_unit),
            nonce: U256::from(self.nonce),
        };
        recovered(digest_of(&message, &escrow_domain_v2(chain_id, escrow)), signature)
    }
}

/// Hex comes in any case, with or without its prefix (§14.16).
fn recovered(digest: B256, signature: &str) -> Option<Address> {
    let signature: Signature = signature.trim().parse().ok()?;
    signature.recover_address_from_prehash(&digest).ok()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;
    use alloy_signer::SignerSync as _;
    use alloy_signer_local::PrivateKeySigner;

    use super::*;

    const ESCROW: Address = address!("0xcA98356B65951b621C32B840F0266847C6043B45");
    const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

    fn key() -> PrivateKeySigner {
        let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        key.parse().unwrap()
    }

    #[test]
    fn a_link_binds_the_one_before_it_and_both_hashes() {
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let first = link(B256::ZERO, one, two);
        let bytes = [[0_u8; 32], [1; 32], [2; 32]].concat();
        assert_eq!(first, keccak256(bytes));
        let others =
            [link(first, one, two), link(B256::ZERO, two, one), link(B256::ZERO, one, one)];
        assert!(!others.contains(&first));
        let signature = key().sign_message_sync(first.as_slice()).unwrap().to_string();
        assert_eq!(signer_of_link(first, &signature), Some(OWN));
        assert_ne!(signer_of_link(one, &signature), Some(OWN));
    }

    #[test]
    fn a_receipt_s_signature_covers_each_member_and_the_contract() {
        let receipt = Receipt {
            agreement_key: B256::repeat_byte(3),
            cumulative_units: 7,
            price_per_unit: 20_000,
            nonce: 2,
        };
        // The type string of the page, hashed by hand: another one would sign another receipt.
        let words = "UsageReceipt(bytes32 agreementKey,uint256 cumulativeUnits,uint256 \
                     pricePerUnit,uint256 nonce)";
        let word = |number: u64| B256::from(U256::from(number));
        let members = [keccak256(words), receipt.agreement_key, word(7), word(20_000), word(2)];
        let inner = keccak256(members.map(|word| word.0).concat());
        let domain = escrow_domain_v2(84_532, ESCROW).separator();
        let digest = keccak256([&[0x19, 0x01], domain.as_slice(), inner.as_slice()].concat());
        let signature = key().sign_hash_sync(&digest).unwrap().to_string();
        assert_eq!(receipt.signer(84_532, ESCROW, &signature), Some(OWN));
        #[rustfmt::skip]
        let changed = [
            ("key",   Receipt { agreement_key: B256::repeat_byte(4), ..receipt }, 84_532, ESCROW),
            ("units", Receipt { cumulative_units: 8, ..receipt },                 84_532, ESCROW),
            ("price", Receipt { price_per_unit: 20_001, ..receipt },              84_532, ESCROW),
            ("nonce", Receipt { nonce: 3, ..receipt },                            84_532, ESCROW),
            ("chain", receipt,                                                    8_453,  ESCROW),
            ("escrow", receipt,                                                   84_532, OWN),
        ];
        for (row, receipt, chain_id, escrow) in changed {
            assert_ne!(receipt.signer(chain_id, escrow, &signature), Some(OWN), "{row}");
        }
    }

    #[test]
    fn what_is_no_signature_has_no_signer() {
        let bare = key().sign_message_sync(B256::ZERO.as_slice()).unwrap().to_string();
        let bare = bare.trim_start_matches("0x").to_uppercase();
        assert_eq!(signer_of_link(B256::ZERO, &bare), Some(OWN));
        for signature in ["", "0x", "0x00", "none", &"0".repeat(130), &"f".repeat(130)] {
            assert_eq!(signer_of_link(B256::ZERO, signature), None, "{signature}");
        }
    }
}
