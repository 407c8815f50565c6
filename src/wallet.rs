//! The wallet: the owner's addresses, and signing for `spend` and the account tools alone.
//!
//! - A secret never leaves: not through `Debug`, not in an error.
//! - Nothing is signed that was not read first: a text by [`text`], typed data by [`eip712`], a
//!   transaction by [`transfer`] and [`call`].
//! - The EVM key signs in one place, which counts.
//! - Signatures are deterministic (RFC 6979, ed25519), so that fields from the journal give the
//!   same bytes again.

pub mod call;
pub mod checks;
pub mod eip712;
pub mod evidence;
pub mod keys;
pub mod keystore;
mod numbers;
pub mod pins;
pub mod text;
pub mod transaction;
pub mod transfer;
pub mod x402;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::{Address, B256, Signature, eip191_hash_message};
use alloy_signer::SignerSync as _;
use ed25519_dalek::Signer as _;

use self::{
    keys::{EvmKey, SolanaKey},
    text::{Refused, TextRule},
    transaction::SignedTransaction,
    transfer::{Transfer, TransferError},
};

/// The owner's keys: at most one for EVM chains and one for Solana.
#[derive(Clone, Default)]
pub struct Wallet {
    evm: Option<EvmKey>,
    solana: Option<SolanaKey>,
    /// How often the EVM key has signed; clones count together.
    signatures: Arc<AtomicU64>,
}

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// secp256k1, for Ethereum and its relatives.
    Evm,
    /// ed25519, for Solana.
    Solana,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evm => "EVM",
            Self::Solana => "Solana",
        })
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The wallet has no key of this kind.
    #[error("the wallet has no {kind} key")]
    NoKey {
        /// Which is missing.
        kind: KeyKind,
    },
    /// The text is not one that we sign.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A field of the payload is not as it must be.
    #[error(transparent)]
    Field(#[from] checks::Refused),
    /// The key failed; it never does for a key that was read.
    #[error("the {kind} key cannot sign")]
    Failed {
        /// Which.
        kind: KeyKind,
    },
}

impl Wallet {
    /// A wallet of the given keys.
    #[must_use]
    pub fn new(evm: Option<EvmKey>, solana: Option<SolanaKey>) -> Self {
        Self { evm, solana, signatures: Arc::default() }
    }

    /// How often the EVM key has signed anything, in this wallet and its clones.
    ///
    /// Tests read it to show that a refusal came before the signature.
    #[must_use]
    pub fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    /// The address on EVM chains.
    #[must_use]
    pub fn evm_address(&self) -> Option<Address> {
        self.evm.as_ref().map(EvmKey::address)
    }

    /// The address on Solana: the public key in base58.
    #[must_use]
    pub fn solana_address(&self) -> Option<String> {
        self.solana.as_ref().map(SolanaKey::address)
    }

    /// Signs a marketplace's challenge as an EIP-191 personal message: 65 bytes r ‖ s ‖ v, v 27 or
    /// 28, as hex with `0x`.
    ///
    /// For the account tools alone: a text is a proof of identity, never a payment.
    ///
    /// # Errors
    ///
    /// [`SignError::Refused`] where the text breaks the rule of [`text`]; [`SignError::NoKey`].
    pub(crate) fn sign_text(&self, text: &str, rule: &TextRule<'_>) -> Result<String, SignError> {
        let (evm, solana) = (self.evm_own()?.to_string(), self.solana_address());
        text::check(text, rule, &evm, solana.as_deref())?;
        self.sign_personal(text)
    }

    /// Signs a marketplace's challenge with ed25519 over its UTF-8 bytes: base58.
    ///
    /// The bytes are not prefixed; that they are printable text keeps them from being a
    /// transaction, whose header holds counts below 32. For the account tools alone.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_text`].
    pub(crate) fn sign_text_solana(
        &self,
        text: &str,
        rule: &TextRule<'_>,
    ) -> Result<String, SignError> {
        let key = self.solana.as_ref().ok_or(SignError::NoKey { kind: KeyKind::Solana })?;
        let (solana, evm) = (key.address(), self.evm_address().map(|address| address.to_string()));
        text::check(text, rule, &solana, evm.as_deref())?;
        Ok(bs58::encode(key.0.sign(text.as_bytes()).to_bytes()).into_string())
    }

    /// Signs a USDC transfer whose fields stand in the journal. For `spend` alone.
    ///
    /// # Errors
    ///
    /// [`TransferError`]: nothing is signed.
    pub(crate) fn sign_transfer(
        &self,
        transfer: &Transfer,
    ) -> Result<SignedTransaction, TransferError> {
        transfer.sign(self)
    }

    /// The EIP-191 signature itself, without the rule.
    fn sign_personal(&self, text: &str) -> Result<String, SignError> {
        let signature = self.sign_hash(eip191_hash_message(text))?;
        Ok(format!("0x{}", hex::encode(signature.as_bytes())))
    }

    /// The EVM address, for the modules below this one: what they sign is signed by it.
    fn evm_own(&self) -> Result<Address, SignError> {
        self.evm_address().ok_or(SignError::NoKey { kind: KeyKind::Evm })
    }

    /// Signs a digest. The one place where the EVM key is used: the modules below this one come
    /// here with the digest of what they have read.
    fn sign_hash(&self, digest: B256) -> Result<Signature, SignError> {
        let key = self.evm.as_ref().ok_or(SignError::NoKey { kind: KeyKind::Evm })?;
        let signature =
            key.0.sign_hash_sync(&digest).map_err(|_| SignError::Failed { kind: KeyKind::Evm })?;
        self.signatures.fetch_add(1, Ordering::Relaxed);
        Ok(signature)
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet")
            .field("evm_address", &self.evm_address())
            .field("solana_address", &self.solana_address())
            .finish()
    }
}

/// Opens the signing functions to the benchmarks and to the comparison with other signers, which
/// are other crates.
#[doc(hidden)]
pub mod bench;

#[cfg(test)]
mod tests {
    use alloy_primitives::{Signature, eip191_hash_message};
    use secrecy::SecretString;

    use super::*;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    fn wallet() -> Wallet {
        let evm = EvmKey::read(&SecretString::from(KEY)).unwrap();
        let seed = bs58::encode([7_u8; 32]).into_string();
        Wallet::new(Some(evm), Some(SolanaKey::read(&SecretString::from(seed)).unwrap()))
    }

    /// `crochet.md` §14 and `paegents.md` §15, which were computed with other implementations.
    #[test]
    fn personal_messages_are_signed_as_others_sign_them() {
        #[rustfmt::skip]
        let rows = [
            ("two lines, not all ASCII", "Crochet wallet challenge\nline two ✓",
                "8c4eaa4d2fb6a82699c3e57850fa47af0888549a93a0004205a97ad271e4d6df",
                "0xdd6224795b48c147cef655022fabe252e5841da5f02a62cf92eb97951a4c42c073d51f9b2b9d159175b064ef64048a956ffbc02e22374f91f7956ba01ac5c6c91c"),
            ("one line", "Paegents recovery test",
                "0ef16c44983861fd2ee65b31c0d45d2923e531215a881127b6c804387ed7dc81",
                "0xd549d2ee7bea6669329fcea4cc0c07547f08ff6a0fb9bbe3b2427c1e4bf6d84070971fcf5b37de25018b563d395c2d5e93c8d77a7e65347df88f74079f13eae81c"),
        ];
        let wallet = wallet();
        for (row, text, digest, signature) in rows {
            assert_eq!(hex::encode(eip191_hash_message(text)), digest, "{row}");
            assert_eq!(wallet.sign_personal(text).unwrap(), signature, "{row}");
        }
    }

    #[test]
    fn a_challenge_is_signed_by_both_keys_and_a_strange_text_by_none() {
        let wallet = wallet();
        let rule = TextRule { nonce: Some("nonce-12345678"), api_host: "api.crochet.example" };
        let text = format!("Sign in to Crochet as {ADDRESS}\nNonce: nonce-12345678");
        let signature: Signature = wallet.sign_text(&text, &rule).unwrap().parse().unwrap();
        let signer = signature.recover_address_from_msg(text.as_bytes()).unwrap();
        assert_eq!(Some(signer), wallet.evm_address());

        let signature = bs58::decode(wallet.sign_text_solana(&text, &rule).unwrap()).into_vec();
        let signature = ed25519_dalek::Signature::from_slice(&signature.unwrap()).unwrap();
        let public = wallet.solana.as_ref().unwrap().0.verifying_key();
        public.verify_strict(text.as_bytes(), &signature).unwrap();

        let strange = "Sign this and all is well";
        let signatures = wallet.signatures();
        assert!(matches!(wallet.sign_text(strange, &rule), Err(SignError::Refused(_))));
        assert_eq!((signatures, wallet.signatures()), (1, 1));
        assert!(matches!(wallet.sign_text_solana(strange, &rule), Err(SignError::Refused(_))));
    }

    #[test]
    fn an_empty_wallet_says_which_key_is_missing() {
        let rule = TextRule { nonce: None, api_host: "api.crochet.example" };
        let wallet = Wallet::default();
        let error = wallet.sign_text("a b c", &rule).unwrap_err();
        assert_eq!(error.to_string(), "the wallet has no EVM key");
        let error = wallet.sign_text_solana("a b c", &rule).unwrap_err();
        assert_eq!(error.to_string(), "the wallet has no Solana key");
    }

    #[test]
    fn shows_addresses_and_no_secret() {
        let wallet = wallet();
        let keys = (wallet.evm.clone(), wallet.solana.clone());
        for shown in [format!("{wallet:?}"), format!("{keys:?}"), format!("{keys:#?}")] {
            assert!(shown.to_lowercase().contains(&ADDRESS.to_lowercase()), "{shown}");
            let seed_base58 = bs58::encode([7_u8; 32]).into_string();
            for secret in [&KEY[2..], &hex::encode([7_u8; 32]), &seed_base58, "7, 7, 7"] {
                assert!(!shown.to_lowercase().contains(&secret.to_lowercase()), "{shown}");
            }
        }
    }
}
