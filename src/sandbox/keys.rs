//! Everything secret or unique in the sandbox, derived from its seed.
//!
//! The same seed and the same sequence of requests give the same keys, identifiers and addresses.
//! Nothing here is fit for real money.

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use sha2::{Digest, Sha256};

/// The sandbox's seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    /// 32 bytes that belong to `label` alone.
    pub(crate) fn bytes(self, label: &str) -> [u8; 32] {
        sha256(format!("haggle-sandbox/{}/{label}", self.0).as_bytes())
    }

    /// The wallet key that belongs to `label`.
    pub(crate) fn wallet(self, label: &str) -> Wallet {
        // One digest in 2^128 is no key; the next one is.
        let key = (0_u8..=u8::MAX).find_map(|n| {
            let bytes = self.bytes(&format!("wallet/{label}/{n}"));
            let signer = PrivateKeySigner::from_bytes(&B256::from(bytes)).ok()?;
            Some((bytes, signer.address()))
        });
        let (bytes, address) = key.unwrap_or_default();
        Wallet { address, private_key: format!("0x{}", hex::encode(bytes)) }
    }

    /// An address nobody holds a key of.
    pub(crate) fn address(self, label: &str) -> Address {
        Address::from_word(B256::from(self.bytes(label)))
    }

    /// A Solana address nobody holds a key of.
    pub(crate) fn solana_address(self, label: &str) -> String {
        bs58::encode(self.bytes(label)).into_string()
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(self, label: &str) -> String {
        let digest = hex::encode(self.bytes(label));
        let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }
}

/// A wallet whose key the sandbox gives away.
#[derive(Clone, Debug)]
pub(crate) struct Wallet {
    /// Its address.
    pub(crate) address: Address,
    /// Its key, `0x` and 64 hex digits.
    pub(crate) private_key: String,
}

/// The SHA-256 digest.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The SHA-256 digest as lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_what_the_seed_says() {
        let seed = Seed(7);
        assert_eq!(seed.wallet("buyer").private_key, Seed(7).wallet("buyer").private_key);
        assert_ne!(seed.wallet("buyer").address, seed.wallet("seller").address);
        assert_ne!(seed.wallet("buyer").address, Seed(8).wallet("buyer").address);
        let signer: PrivateKeySigner = seed.wallet("buyer").private_key.parse().unwrap();
        assert_eq!(signer.address(), seed.wallet("buyer").address);
        let uuid = seed.uuid("listing/a");
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert_eq!(uuid.as_bytes()[19], b'a');
    }
}
