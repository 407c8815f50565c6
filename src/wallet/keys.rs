//! Where a key comes from: text from the environment, the keyring, or a fresh one.
//!
//! Keys show their address in `Debug` and nothing else. The text that a key was read from is never
//! part of an error. Encrypted files are [`super::keystore`]'s.

use std::fmt;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use ed25519_dalek::SigningKey;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::KeyKind;
use crate::{
    os_keyring::{self, KeyringError},
    private_file::FileError,
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key of this kind.
    #[error("this is no {kind} key: {reason}")]
    Malformed {
        /// Which kind was expected.
        kind: KeyKind,
        /// What is wrong, without the text.
        reason: &'static str,
    },
    /// The keystore is no Web3 V3 keystore that we read.
    #[error("the keystore cannot be used: {reason}")]
    Keystore {
        /// What is wrong.
        reason: &'static str,
    },
    /// The keystore's password could be guessed too fast.
    #[error("the keystore's key derivation is weak ({found}; at least {least}): encrypt it anew")]
    WeakDerivation {
        /// What the file says.
        found: String,
        /// What we demand.
        least: &'static str,
    },
    /// The passphrase does not open the keystore.
    #[error("the passphrase does not open the keystore")]
    WrongPassphrase,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The keyring gave or took nothing.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// A secp256k1 key for EVM chains.
#[derive(Clone)]
pub struct EvmKey(pub(super) PrivateKeySigner);

/// An ed25519 key for Solana.
#[derive(Clone)]
pub struct SolanaKey(pub(super) SigningKey);

impl EvmKey {
    /// Reads 32 bytes of hex, with or without `0x`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn read(text: &SecretString) -> Result<Self, KeyError> {
        let malformed = |reason| KeyError::Malformed { kind: KeyKind::Evm, reason };
        let text = text.expose_secret().trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(digits, bytes.as_mut_slice())
            .map_err(|_| malformed("it must be 64 hex digits, with or without 0x"))?;
        Self::from_bytes(&bytes).ok_or_else(|| malformed("the number is outside the curve"))
    }

    /// A fresh key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
        // One number in 2^128 is outside the curve.
        Self::from_bytes(&bytes).ok_or(KeyError::NoRandomness)
    }

    /// Reads a key that [`EvmKey::keep_in_keyring`] kept.
    ///
    /// # Errors
    ///
    /// [`KeyError::Keyring`], [`KeyError::Malformed`].
    pub fn from_keyring(account: &str) -> Result<Self, KeyError> {
        Self::read(&os_keyring::get(account)?)
    }

    /// Keeps the key in the keyring, in place of an earlier one of that account.
    ///
    /// # Errors
    ///
    /// [`KeyError::Keyring`].
    pub fn keep_in_keyring(&self, account: &str) -> Result<(), KeyError> {
        Ok(os_keyring::set(account, &hex::encode(self.secret().as_slice()).into())?)
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.0.address()
    }

    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        PrivateKeySigner::from_slice(bytes).ok().map(Self)
    }

    pub(super) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().0)
    }
}

impl SolanaKey {
    /// Reads a base58 keypair (64 bytes) or seed (32 bytes), or the JSON array of 64 numbers that
    /// the Solana command line writes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], also where the public half does not belong to the secret one.
    pub fn read(text: &SecretString) -> Result<Self, KeyError> {
        let malformed = |reason| KeyError::Malformed { kind: KeyKind::Solana, reason };
        let text = text.expose_secret().trim();
        let bytes = if text.starts_with('[') {
            serde_json::from_str(text).map_err(|_| malformed("it is no JSON array of bytes"))?
        } else {
            bs58::decode(text).into_vec().map_err(|_| malformed("it is neither base58 nor JSON"))?
        };
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes);
        if let Ok(pair) = <&[u8; 64]>::try_from(bytes.as_slice()) {
            let key = SigningKey::from_keypair_bytes(pair)
                .map_err(|_| malformed("its public half does not belong to its secret half"))?;
            return Ok(Self(key));
        }
        // The command line never writes a seed alone, so 32 numbers are a mistake.
        match <&[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(seed) if !text.starts_with('[') => Ok(Self(SigningKey::from_bytes(seed))),
            _ => Err(malformed("it must be a keypair of 64 bytes or a base58 seed of 32")),
        }
    }

    /// A fresh key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a key that [`SolanaKey::keep_in_keyring`] kept.
    ///
    /// # Errors
    ///
    /// [`KeyError::Keyring`], [`KeyError::Malformed`].
    pub fn from_keyring(account: &str) -> Result<Self, KeyError> {
        Self::read(&os_keyring::get(account)?)
    }

    /// Keeps the key in the keyring, in place of an earlier one of that account.
    ///
    /// # Errors
    ///
    /// [`KeyError::Keyring`].
    pub fn keep_in_keyring(&self, account: &str) -> Result<(), KeyError> {
        let pair = Zeroizing::new(self.0.to_keypair_bytes());
        Ok(os_keyring::set(account, &bs58::encode(pair.as_slice()).into_string().into())?)
    }

    /// The address: the public key in base58.
    #[must_use]
    pub fn address(&self) -> String {
        bs58::encode(self.0.verifying_key().as_bytes()).into_string()
    }
}

impl fmt::Debug for EvmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvmKey({})", self.address())
    }
}

impl fmt::Debug for SolanaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SolanaKey({})", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn reads_evm_keys() {
        let address = Some("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        #[rustfmt::skip]
        let rows = [
            // what it shows        text                        address
            ("bare",                KEY.to_owned(),             address),
            ("with 0x",             format!("0x{KEY}"),         address),
            ("upper case",          KEY.to_uppercase(),         address),
            ("a line end",          format!("0x{KEY}\n"),       address),
            ("a digit short",       KEY[1..].to_owned(),        None),
            ("a byte long",         format!("{KEY}00"),         None),
            ("no hex",              KEY.replace('a', "g"),      None),
            ("zero",                "0".repeat(64),             None),
            ("beyond the curve",    "f".repeat(64),             None),
            ("empty",               String::new(),              None),
        ];
        for (row, text, expected) in rows {
            let read = EvmKey::read(&SecretString::from(text.clone()));
            let shown =
                read.as_ref().map_err(ToString::to_string).map(|key| key.address().to_string());
            assert_eq!(shown.as_deref().ok(), expected, "{row}");
            if let Err(message) = shown {
                assert!(text.is_empty() || !message.contains(&text), "{row}: {message}");
            }
        }
    }

    #[test]
    fn reads_solana_keys() {
        // RFC 8032 §7.1, test 1: seed and public key of another implementation.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public =
            hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let (seed, public) = (seed.unwrap(), public.unwrap());
        let pair = [seed.clone(), public.clone()].concat();
        let torn = [seed.clone(), vec![1; 32]].concat();
        let base58 = |bytes: &[u8]| bs58::encode(bytes).into_string();
        let json = |bytes: &[u8]| serde_json::to_string(bytes).unwrap();
        #[rustfmt::skip]
        let rows = [
            // what it shows             text                               accepted
            ("a seed",                   base58(&seed),                     true),
            ("a keypair",                base58(&pair),                     true),
            ("the command line's file",  json(&pair),                       true),
            ("with a line end",          format!("{}\n", json(&pair)),      true),
            ("halves of two keys",       base58(&torn),                     false),
            ("the same as JSON",         json(&torn),                       false),
            ("63 bytes",                 base58(&pair[1..]),                false),
            ("32 numbers",               json(&seed),                       false),
            ("a number above 255",       "[256]".to_owned(),                false),
            ("no base58",                "0OIl".to_owned(),                 false),
            ("an EVM key",               KEY.to_owned(),                    false),
            ("empty",                    String::new(),                     false),
        ];
        for (row, text, accepted) in rows {
            let read = SolanaKey::read(&SecretString::from(text));
            let expected = accepted.then(|| base58(&public));
            assert_eq!(read.ok().map(|key| key.address()), expected, "{row}");
        }
    }

    #[test]
    fn fresh_keys_differ() {
        let evm = [EvmKey::generate().unwrap(), EvmKey::generate().unwrap()];
        assert_ne!(evm[0].address(), evm[1].address());
        let solana = [SolanaKey::generate().unwrap(), SolanaKey::generate().unwrap()];
        assert_ne!(solana[0].address(), solana[1].address());
    }
}
