//! The signature of a webhook: `Paegents-Signature`. Source: the protocol page, 8.3.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header's name.
pub(crate) const HEADER: &str = "Paegents-Signature";

/// HMAC-SHA-256 as lower-case hex.
pub(crate) fn hmac_hex(secret: &[u8], message: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// The header's value: the time in seconds, and a digest for each secret, the newest first.
pub(crate) fn value(secrets: &[&str], at_s: i64, body: &str) -> String {
    let message = format!("{at_s}.{body}");
    let digests = secrets.iter().map(|secret| hmac_hex(secret.as_bytes(), message.as_bytes()));
    digests.fold(format!("t={at_s}"), |value, digest| format!("{value}, v1={digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_page_does() {
        let digest = "07bfe3263a269f453f7d5a37b2a4cd1da8d9ce73d114dc03a02eb54dd6fba09d";
        let body = r#"{"id":"evt_1"}"#;
        let one = value(&["whsec_test"], 1_900_000_000, body);
        assert_eq!(one, format!("t=1900000000, v1={digest}"));
        let two = value(&["whsec_new", "whsec_test"], 1_900_000_000, body);
        assert!(two.starts_with("t=1900000000, v1=") && two.ends_with(&format!(", v1={digest}")));
        assert_eq!(two.matches("v1=").count(), 2);
    }
}
