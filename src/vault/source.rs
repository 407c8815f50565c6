//! Where a store's key comes from.
//!
//! Beside the store lie `<id>.vault.json`, the header, which says which source holds the key and
//! lets a wrong key be told from a right one; `<id>.key`, where the key is a file; `<id>.lock`.
//! The key is made before the header, so a header without its key means that the key was lost.

use std::{
    fmt,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{StoreKey, VaultError, VaultOptions, open, seal};
use crate::{
    os_keyring::{self, KeyringError},
    private_file::{self, FileError},
};

/// Argon2id as OWASP's Password Storage Cheat Sheet has it: 19 MiB, two passes, one lane.
const ARGON2_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// Characters in the shortest passphrase.
const PASSPHRASE_CHARACTERS_MIN: usize = 8;
const HEADER_VERSION: u8 = 1;
/// What the header's check value is sealed for, and what it holds.
const CHECK: &str = "vault-check";

/// Where the key of a store came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The operating system's keyring.
    Keyring,
    /// A passphrase from this file.
    Passphrase(PathBuf),
    /// A key file beside the store: it protects a copied database, not a copied directory.
    File(PathBuf),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyring => f.write_str("the keyring of the operating system"),
            Self::Passphrase(path) => write!(f, "the passphrase in {}", path.display()),
            Self::File(path) => write!(f, "the key file {}", path.display()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u8,
    source: Kind,
    /// Argon2's, in hex; only with a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// A known value under the key, in hex.
    check: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Keyring,
    Passphrase,
    File,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Keyring => "the keyring",
            Self::Passphrase => "the passphrase",
            Self::File => "the key file",
        }
    }
}

/// The key of a store and where it came from.
pub(super) fn find(options: &VaultOptions<'_>) -> Result<(StoreKey, KeySource), VaultError> {
    let id_fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&options.id.len()) || !options.id.bytes().all(id_fits) {
        return Err(VaultError::Id);
    }
    let header = beside(options, "vault.json");
    let _lock = lock(&beside(options, "lock"))?;
    match private_file::read(&header) {
        Ok(bytes) => known(options, &header, &bytes),
        Err(FileError::Absent { .. }) if !options.must_exist => first(options, &header),
        Err(FileError::Absent { path }) => Err(VaultError::HeaderMissing { path }),
        Err(error) => Err(error.into()),
    }
}

/// The key of a store that has one.
fn known(
    options: &VaultOptions<'_>,
    path: &Path,
    bytes: &[u8],
) -> Result<(StoreKey, KeySource), VaultError> {
    let unreadable = || VaultError::HeaderUnreadable { path: path.to_owned() };
    let header: Header = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    if header.version != HEADER_VERSION {
        return Err(unreadable());
    }
    let check = hex::decode(&header.check).map_err(|_| unreadable())?;
    let (key, source) = match header.source {
        Kind::Keyring if !options.use_keyring => return Err(VaultError::KeyringNeeded),
        Kind::Keyring => (from_keyring(options)?, KeySource::Keyring),
        Kind::Passphrase => {
            let file = options.passphrase_file.ok_or(VaultError::PassphraseNeeded)?;
            let salt =
                header.salt.and_then(|salt| hex::decode(salt).ok()).ok_or_else(unreadable)?;
            (stretch(&passphrase(file)?, &salt)?, KeySource::Passphrase(file.to_owned()))
        }
        Kind::File => {
            let file = beside(options, "key");
            (from_file(&file)?, KeySource::File(file))
        }
    };
    match open(&key, CHECK, &check) {
        Some(plain) if plain.as_slice() == CHECK.as_bytes() => Ok((key, source)),
        _ => Err(VaultError::WrongKey { source_name: header.source.name() }),
    }
}

/// The key of a new store. What an interrupted first time has left is used.
fn first(options: &VaultOptions<'_>, path: &Path) -> Result<(StoreKey, KeySource), VaultError> {
    let mut salt = None;
    let (key, source, kind) = if let Some(key) = new_in_keyring(options)? {
        (key, KeySource::Keyring, Kind::Keyring)
    } else if let Some(file) = options.passphrase_file {
        let fresh = *random()?;
        salt = Some(hex::encode(fresh));
        let key = stretch(&passphrase(file)?, &fresh)?;
        (key, KeySource::Passphrase(file.to_owned()), Kind::Passphrase)
    } else {
        let file = beside(options, "key");
        let key = match from_file(&file) {
            Err(VaultError::File(FileError::Absent { .. })) => {
                let key = random()?;
                let text = Zeroizing::new(hex::encode(key.as_slice()));
                private_file::create(&file, text.as_bytes())?;
                key
            }
            found => found?,
        };
        (key, KeySource::File(file), Kind::File)
    };
    let check = hex::encode(seal(&key, CHECK, CHECK.as_bytes())?);
    let header = Header { version: HEADER_VERSION, source: kind, salt, check };
    let bytes = serde_json::to_vec(&header).map_err(|_| VaultError::Failed)?;
    private_file::create(path, &bytes)?;
    Ok((key, source))
}

/// A key in the keyring: the one that is there, or a fresh one. `None` where there is no keyring.
fn new_in_keyring(options: &VaultOptions<'_>) -> Result<Option<StoreKey>, VaultError> {
    if !options.use_keyring {
        return Ok(None);
    }
    match from_keyring(options) {
        Ok(key) => Ok(Some(key)),
        Err(VaultError::Keyring(KeyringError::Unavailable { .. })) => Ok(None),
        Err(VaultError::Keyring(KeyringError::Absent)) => {
            let key = random()?;
            let text = SecretString::from(hex::encode(key.as_slice()));
            // A keyring that can be read but not written, as some are, is none.
            Ok(os_keyring::set(&account(options), &text).is_ok().then_some(key))
        }
        Err(error) => Err(error),
    }
}

fn from_keyring(options: &VaultOptions<'_>) -> Result<StoreKey, VaultError> {
    let text = os_keyring::get(&account(options))?;
    decode(text.expose_secret()).ok_or(VaultError::WrongKey { source_name: Kind::Keyring.name() })
}

fn account(options: &VaultOptions<'_>) -> String {
    format!("store-key:{}", options.id)
}

fn from_file(path: &Path) -> Result<StoreKey, VaultError> {
    let bytes = private_file::read(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    decode(text.trim()).ok_or(VaultError::WrongKey { source_name: Kind::File.name() })
}

fn decode(text: &str) -> Option<StoreKey> {
    let mut key = StoreKey::default();
    hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
    Some(key)
}

fn random() -> Result<StoreKey, VaultError> {
    let mut key = StoreKey::default();
    getrandom::fill(key.as_mut_slice()).map_err(|_| VaultError::Failed)?;
    Ok(key)
}

/// The text of a passphrase file, without the line end that editors add.
fn passphrase(path: &Path) -> Result<SecretString, VaultError> {
    let bytes = private_file::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| VaultError::PassphraseUnfit)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.chars().count() < PASSPHRASE_CHARACTERS_MIN {
        return Err(VaultError::PassphraseUnfit);
    }
    Ok(SecretString::from(text))
}

fn stretch(passphrase: &SecretString, salt: &[u8]) -> Result<StoreKey, VaultError> {
    let mut key = StoreKey::default();
    let parameters = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32))
        .map_err(|_| VaultError::Failed)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| VaultError::Failed)?;
    Ok(key)
}

fn beside(options: &VaultOptions<'_>, ending: &str) -> PathBuf {
    options.directory.join(format!("{}.{ending}", options.id))
}

/// Holds the lock until the file is closed.
fn lock(path: &Path) -> Result<File, VaultError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}
