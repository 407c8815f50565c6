//! Encrypted key files in the Web3 Secret Storage format, version 3, as geth and foundry use.
//!
//! A file is checked before it is decrypted: private to its owner, a key derivation that is slow
//! enough to guess at and not so slow that it stops us, lengths as the format says. The library
//! behind it trusts what it reads.

use std::path::Path;

use alloy_signer::k256::elliptic_curve::rand_core::OsRng;
use alloy_signer_local::{LocalSigner, PrivateKeySigner};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::keys::{EvmKey, KeyError};
use crate::private_file;

/// The least scrypt cost.
pub const SCRYPT_N_MIN: u32 = 1 << 13;
/// The least count of PBKDF2 rounds.
pub const PBKDF2_ROUNDS_MIN: u32 = 100_000;
/// The largest scrypt cost: with `r` = 8 it takes a gigabyte of memory.
const SCRYPT_N_MAX: u32 = 1 << 20;
const SCRYPT_R_MAX: u32 = 8;
const SCRYPT_P_MAX: u32 = 8;
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

#[derive(Deserialize)]
struct File {
    version: u8,
    address: Option<String>,
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    ciphertext: String,
    cipherparams: CipherParameters,
    mac: String,
    #[serde(flatten)]
    derivation: Derivation,
}

#[derive(Deserialize)]
struct CipherParameters {
    iv: String,
}

#[derive(Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Derivation {
    Scrypt(Scrypt),
    Pbkdf2(Pbkdf2),
}

/// Strict, since the library takes the parameters of one derivation for the other's if both are
/// there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scrypt {
    dklen: u8,
    n: u32,
    p: u32,
    r: u32,
    #[serde(rename = "salt")]
    _salt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pbkdf2 {
    dklen: u8,
    c: u32,
    prf: String,
    #[serde(rename = "salt")]
    _salt: String,
}

/// Decrypts a key file.
///
/// # Errors
///
/// [`KeyError::File`] where it is absent or open to others, [`KeyError::Keystore`] and
/// [`KeyError::WeakDerivation`] by its contents, [`KeyError::WrongPassphrase`].
pub fn open(path: &Path, passphrase: &SecretString) -> Result<EvmKey, KeyError> {
    let bytes = private_file::read(path)?;
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|_| KeyError::Keystore { reason: "it is no Web3 V3 keystore" })?;
    check(&file)?;
    let signer = PrivateKeySigner::decrypt_keystore(path, passphrase.expose_secret())
        .map_err(|_| KeyError::WrongPassphrase)?;
    let key = EvmKey(signer);
    match file.address.map(|address| address.trim_start_matches("0x").to_lowercase()) {
        Some(address) if address != hex::encode(key.address()) => {
            Err(KeyError::Keystore { reason: "the address it names is not its key's" })
        }
        _ => Ok(key),
    }
}

/// Writes a new encrypted key file, with mode 0600; it replaces nothing.
///
/// # Errors
///
/// [`KeyError::File`], with `Exists` where there is a file of that name; [`KeyError::Keystore`].
pub fn export(key: &EvmKey, path: &Path, passphrase: &SecretString) -> Result<(), KeyError> {
    const NAME: &str = "keystore";
    let failed = |_| KeyError::Keystore { reason: "it cannot be prepared for writing" };
    // The library writes where we tell it, with the modes of the day: into a private directory.
    let staging = Staging::beside(path).map_err(failed)?;
    let (secret, passphrase) = (key.secret(), passphrase.expose_secret());
    LocalSigner::encrypt_keystore(
        &staging.0,
        &mut OsRng,
        secret.as_slice(),
        passphrase,
        Some(NAME),
    )
    .map_err(|_| KeyError::Keystore { reason: "it cannot be encrypted" })?;
    let contents = std::fs::read(staging.0.join(NAME)).map_err(failed)?;
    Ok(private_file::create(path, &contents)?)
}

fn check(file: &File) -> Result<(), KeyError> {
    let reject = |reason| Err(KeyError::Keystore { reason });
    let crypto = &file.crypto;
    let is_hex = |text: &str, bytes: usize| {
        text.len() == 2 * bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if file.version != 3 {
        return reject("its version is not 3");
    }
    if crypto.cipher != "aes-128-ctr" {
        return reject("its cipher is not aes-128-ctr");
    }
    // Shorter values would make the library panic.
    if !is_hex(&crypto.ciphertext, 32)
        || !is_hex(&crypto.cipherparams.iv, 16)
        || !is_hex(&crypto.mac, 32)
    {
        return reject("ciphertext, mac and iv must be 32, 32 and 16 bytes of hex");
    }
    match &crypto.derivation {
        Derivation::Scrypt(Scrypt { n, .. }) if *n < SCRYPT_N_MIN => {
            Err(KeyError::WeakDerivation { found: format!("scrypt n {n}"), least: "8192" })
        }
        Derivation::Pbkdf2(Pbkdf2 { c, .. }) if *c < PBKDF2_ROUNDS_MIN => {
            Err(KeyError::WeakDerivation { found: format!("pbkdf2 c {c}"), least: "100000" })
        }
        Derivation::Scrypt(scrypt) => {
            let Scrypt { dklen, n, p, r, .. } = *scrypt;
            let sound = n.is_power_of_two()
                && n <= SCRYPT_N_MAX
                && (1..=SCRYPT_R_MAX).contains(&r)
                && (1..=SCRYPT_P_MAX).contains(&p);
            if dklen == 32 && sound { Ok(()) } else { reject("its scrypt parameters are odd") }
        }
        Derivation::Pbkdf2(Pbkdf2 { dklen, c, prf, .. }) => {
            let sound = *c <= PBKDF2_ROUNDS_MAX && prf == "hmac-sha256";
            if *dklen == 32 && sound { Ok(()) } else { reject("its pbkdf2 parameters are odd") }
        }
    }
}

/// A directory of our own beside a file, removed with what is in it.
struct Staging(std::path::PathBuf);

impl Staging {
    fn beside(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let number = getrandom::u64().map_err(std::io::Error::other)?;
        let directory = path.with_file_name(format!(".haggle-{number:016x}"));
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays behind after a failure is encrypted.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::private_file::FileError;

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn exported() -> (tempfile::TempDir, std::path::PathBuf, EvmKey) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let key = EvmKey::generate().unwrap();
        export(&key, &path, &passphrase("correct horse")).unwrap();
        (dir, path, key)
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let (dir, path, key) = exported();
        assert_eq!(open(&path, &passphrase("correct horse")).unwrap().address(), key.address());
        let wrong = open(&path, &passphrase("wrong horse"));
        assert!(matches!(wrong, Err(KeyError::WrongPassphrase)), "{wrong:?}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        let again = export(&key, &path, &passphrase("x"));
        assert!(matches!(again, Err(KeyError::File(FileError::Exists { .. }))), "{again:?}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = open(&path, &passphrase("correct horse"));
        assert!(matches!(exposed, Err(KeyError::File(FileError::Exposed { .. }))), "{exposed:?}");
    }

    /// The test vector of the Web3 Secret Storage definition, whose key and password are public.
    #[test]
    fn opens_the_definitions_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        private_file::create(&path, definition().to_string().as_bytes()).unwrap();
        let key = open(&path, &passphrase("testpassword")).unwrap();
        let secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(hex::encode(key.secret().as_slice()), secret);
    }

    fn definition() -> Value {
        json!({ "version": 3, "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "6087dab2f9fdbbfaddc31a909735c1e6" },
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": { "c": 262_144, "dklen": 32, "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd" },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2" } })
    }

    #[test]
    fn odd_and_weak_files_are_refused() {
        let scrypt = |n: u64| {
            json!({ "kdf": "scrypt",
                "kdfparams": { "n": n, "r": 8, "p": 1, "dklen": 32, "salt": "00" } })
        };
        let pbkdf2 = |field: &str, value: Value| {
            let mut parameters = definition()["crypto"]["kdfparams"].clone();
            parameters[field] = value;
            json!({ "kdfparams": parameters })
        };
        #[rustfmt::skip]
        let rows = [
            // what it shows              change to `crypto`                          error
            ("scrypt below the least",    scrypt(4096),                               "weak"),
            ("scrypt of one",             scrypt(1),                                  "weak"),
            ("scrypt, no power of two",   scrypt(8193),                               "odd"),
            ("scrypt beyond the most",    scrypt(1 << 21),                            "odd"),
            ("pbkdf2 below the least",    pbkdf2("c", json!(99_999)),                 "weak"),
            ("pbkdf2 beyond the most",    pbkdf2("c", json!(10_000_001)),             "odd"),
            ("another prf",               pbkdf2("prf", json!("hmac-sha1")),          "odd"),
            ("a short derived key",       pbkdf2("dklen", json!(16)),                 "odd"),
            ("both derivations",          pbkdf2("n", json!(262_144)),                "no Web3"),
            ("an unknown derivation",     json!({ "kdf": "argon2" }),                 "no Web3"),
            ("a short iv",                json!({ "cipherparams": { "iv": "00" } }),  "16 bytes"),
            ("a short ciphertext",        json!({ "ciphertext": "00" }),              "32 bytes"),
            ("another cipher",            json!({ "cipher": "aes-256-gcm" }),         "aes-128"),
        ];
        for (row, change, expected) in rows {
            let mut file = definition();
            for (name, value) in change.as_object().unwrap() {
                file["crypto"][name] = value.clone();
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key.json");
            private_file::create(&path, file.to_string().as_bytes()).unwrap();
            let error = open(&path, &passphrase("testpassword")).unwrap_err().to_string();
            let expected =
                expected.replace("32 bytes", "32, 32 and 16").replace("16 bytes", "and 16");
            assert!(error.contains(&expected), "{row}: {error}");
        }
        for (row, field, value, expected) in [
            ("version 1", "version", json!(1), "version"),
            ("another's address", "address", json!("00".repeat(20)), "address"),
        ] {
            let mut file = definition();
            file[field] = value;
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key.json");
            private_file::create(&path, file.to_string().as_bytes()).unwrap();
            let error = open(&path, &passphrase("testpassword")).unwrap_err().to_string();
            assert!(error.contains(expected), "{row}: {error}");
        }
    }
}
