//! Credentials that this program gives out: a client's token, the owner's key. Kept as digests.
//!
//! Invariant: what is kept cannot be presented. 256 random bits need no slow hash: nobody guesses
//! them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How the token of a client begins, so that one that lies about is known for what it is.
pub const CLIENT_PREFIX: &str = "haggle_client_";
/// How the owner's key begins.
pub const OWNER_PREFIX: &str = "haggle_owner_";

/// The SHA-256 of a credential: 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialDigest([u8; 32]);

/// What is no digest of a credential.
#[derive(Debug, thiserror::Error)]
#[error("must be the SHA-256 of a credential, 64 hex digits, as `haggle config` makes it")]
pub struct NoDigest;

impl CredentialDigest {
    /// The digest of a credential.
    #[must_use]
    pub fn of(credential: &str) -> Self {
        Self(Sha256::digest(credential.as_bytes()).into())
    }

    /// Whether this is the credential's digest. Takes as long for a near miss as for a far one.
    #[must_use]
    pub fn matches(&self, credential: &str) -> bool {
        self.0.ct_eq(&Self::of(credential).0).into()
    }
}

/// A new credential, and what is kept of it.
///
/// # Errors
///
/// Where the operating system has no random bytes: what anybody could guess is not made.
pub fn make(prefix: &str) -> Result<(SecretString, CredentialDigest), getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let credential = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = CredentialDigest::of(&credential);
    Ok((SecretString::from(credential), digest))
}

impl fmt::Display for CredentialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CredentialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialDigest")
    }
}

impl FromStr for CredentialDigest {
    type Err = NoDigest;
    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(|_| NoDigest)?;
        Ok(Self(digest))
    }
}

impl TryFrom<String> for CredentialDigest {
    type Error = NoDigest;
    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

impl From<CredentialDigest> for String {
    fn from(digest: CredentialDigest) -> Self {
        digest.to_string()
    }
}

impl JsonSchema for CredentialDigest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CredentialDigest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_credential_matches_its_own_digest_alone() {
        let (one, digest) = make(CLIENT_PREFIX).unwrap();
        let (other, _) = make(CLIENT_PREFIX).unwrap();
        let one = one.expose_secret();
        assert!(one.starts_with(CLIENT_PREFIX) && one.len() == CLIENT_PREFIX.len() + 43, "{one}");
        assert!(digest.matches(one));
        assert!(!digest.matches(other.expose_secret()));
        assert!(!digest.matches(""));
        assert!(!digest.matches(&digest.to_string()), "the digest itself opens nothing");
        assert_eq!(digest.to_string().parse::<CredentialDigest>().unwrap(), digest);
        for text in ["", "00", &"0".repeat(63), &"x".repeat(64), &"0".repeat(66)] {
            assert!(text.parse::<CredentialDigest>().is_err(), "{text}");
        }
    }
}
