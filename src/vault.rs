//! Seals the secrets that the store keeps, with a key that the store does not hold.
//!
//! - Where the key comes from is decided once for a store and written to a header beside it. A key
//!   that is gone or wrong is an error, never a reason to make another one.
//! - A sealed secret opens only under the name it was sealed for, unaltered.
//! - Two processes that open a new store at once get the same key: a lock file orders them.

mod source;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

pub use self::source::KeySource;
use crate::{os_keyring::KeyringError, private_file::FileError};

/// The first byte of what is sealed: how it was sealed.
const SEAL_VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// The key of a store.
type StoreKey = Zeroizing<[u8; 32]>;

/// Which store, and where its key may come from.
#[derive(Clone, Copy, Debug)]
pub struct VaultOptions<'a> {
    /// The directory of the store.
    pub directory: &'a Path,
    /// The store's name, of a-z, 0-9 and `-`: it stands in the keyring and in file names.
    pub id: &'a str,
    /// Whether the operating system's keyring may be asked.
    pub use_keyring: bool,
    /// A private file whose text is the passphrase, where the owner gives one.
    pub passphrase_file: Option<&'a Path>,
    /// Whether the store holds sealed secrets already: then no new key is made.
    pub must_exist: bool,
}

/// Why the vault did not open, or a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store holds secrets, but what says where its key is, is gone.
    #[error("the store has sealed secrets, but {} is missing; restore it", path.display())]
    HeaderMissing {
        /// The header.
        path: PathBuf,
    },
    /// The header is not ours, or of a later version.
    #[error("{} cannot be read; it was altered or is of a later version", path.display())]
    HeaderUnreadable {
        /// The header.
        path: PathBuf,
    },
    /// There is a key, but another one than this store's.
    #[error("the key from {source_name} is not the one this store was sealed with")]
    WrongKey {
        /// Where it came from.
        source_name: &'static str,
    },
    /// The store's key comes from a passphrase, and none is given.
    #[error("this store needs its passphrase: set HAGGLE_PASSPHRASE_FILE")]
    PassphraseNeeded,
    /// The passphrase is shorter than eight characters, or no text.
    #[error("the passphrase file must hold at least 8 characters of text")]
    PassphraseUnfit,
    /// The store's key is in the keyring, whose use is switched off.
    #[error("this store's key is in the keyring, whose use is switched off")]
    KeyringNeeded,
    /// The keyring has the store's key, or should, and gives none.
    #[error("the store's key cannot be had from the keyring")]
    Keyring(#[from] KeyringError),
    /// A file with the key, the passphrase or the header.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store's name is none.
    #[error("a store's name must be 1 to 64 of a-z, 0-9 and -")]
    Id,
    /// The secret was sealed with another key or for another name, or was altered.
    #[error("the secret {name} cannot be opened: it was altered, or sealed with another key")]
    Unreadable {
        /// Its name.
        name: String,
    },
    /// The operating system gives no random numbers, or the cipher fails.
    #[error("a secret could not be sealed")]
    Failed,
}

/// A store's key, at work.
pub struct Vault {
    key: StoreKey,
    source: KeySource,
}

impl Vault {
    /// Opens the vault of a store; a new store gets a key from the keyring, else the passphrase,
    /// else a file beside it.
    ///
    /// Takes up to half a second with a passphrase, and waits for the keyring: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`VaultError`]; none of them changes anything on disk.
    pub fn open(options: &VaultOptions<'_>) -> Result<Self, VaultError> {
        let (key, source) = source::find(options)?;
        Ok(Self { key, source })
    }

    /// Where the key came from, for `doctor`.
    #[must_use]
    pub const fn source(&self) -> &KeySource {
        &self.source
    }

    /// Seals a secret for a name.
    ///
    /// # Errors
    ///
    /// [`VaultError::Failed`].
    pub fn seal(&self, name: &str, secret: &SecretString) -> Result<Vec<u8>, VaultError> {
        seal(&self.key, name, secret.expose_secret().as_bytes())
    }

    /// Opens a secret that was sealed for this name.
    ///
    /// # Errors
    ///
    /// [`VaultError::Unreadable`].
    pub fn open_sealed(&self, name: &str, sealed: &[u8]) -> Result<SecretString, VaultError> {
        let unreadable = || VaultError::Unreadable { name: name.to_owned() };
        let plain = open(&self.key, name, sealed).ok_or_else(unreadable)?;
        let text = std::str::from_utf8(&plain).map_err(|_| unreadable())?;
        Ok(SecretString::from(text))
    }
}

/// Sealed is: version, nonce, ciphertext with its tag.
fn seal(key: &StoreKey, name: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| VaultError::Failed)?;
    let aad = associated(name);
    let sealed = XChaCha20Poly1305::new((&**key).into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
        .map_err(|_| VaultError::Failed)?;
    Ok([&[SEAL_VERSION], nonce.as_slice(), sealed.as_slice()].concat())
}

fn open(key: &StoreKey, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
    if *version != SEAL_VERSION {
        return None;
    }
    let aad = associated(name);
    XChaCha20Poly1305::new((&**key).into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad })
        .ok()
        .map(Zeroizing::new)
}

/// What is not secret and must not change: the version and the name.
fn associated(name: &str) -> Vec<u8> {
    [&[SEAL_VERSION], name.as_bytes()].concat()
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("source", &self.source).finish_non_exhaustive()
    }
}
