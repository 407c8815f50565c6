//! Whether a delivery is Paegents'. Source: protocols/paegents.md §8.3.
//!
//! Invariants: the raw bytes are what is signed, nothing is parsed before they are known to be
//! genuine; the present is given in Unix seconds, so that no time zone has a part in it; digests are
//! compared in constant time; nothing here shows a secret.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::super::events::Told;
use crate::{ids::EventId, marketplaces::http::read_json};

/// How far a timestamp may be off, in seconds, unless somebody chooses otherwise.
pub const SKEW_SECONDS_MAX: u64 = 300;
/// The header.
const HEADER: &str = "paegents-signature";
/// The longest header, in bytes.
const HEADER_BYTES_MAX: usize = 4_096;
/// How many signatures are looked at: one for each secret while they overlap.
const SIGNATURES_MAX: usize = 8;

/// Why a delivery is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no signature.
    #[error("it has no Paegents-Signature header")]
    HeaderMissing,
    /// The header does not hold a time and a digest, or there are two of it.
    #[error("its Paegents-Signature header cannot be read")]
    HeaderInvalid,
    /// It is too old, or from the future.
    #[error("its timestamp is {off_s} seconds off")]
    Stale {
        /// How far it is off, either way.
        off_s: u64,
    },
    /// No digest is made with a known secret over this body.
    #[error("its signature is not made with a known secret over this body, byte for byte")]
    Mismatch,
    /// It is genuine, and no JSON object.
    #[error("it is Paegents', but its body is no JSON object")]
    Unreadable,
}

/// Checks a delivery and reads its event. `now` is in Unix seconds, `tolerance` in seconds.
///
/// Any of the header's digests may be made with any of the secrets, in either case of its letters:
/// while a secret is replaced, both sign. Whoever takes an event once only has to remember its
/// identifier; one that names none is named after its body.
///
/// # Errors
///
/// The first reason why not.
pub fn verify<'a>(
    secrets: &[SecretString],
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
    now: i64,
    tolerance: u64,
) -> Result<Told, Refused> {
    let mut given =
        headers.into_iter().filter(|(name, _)| name.trim().eq_ignore_ascii_case(HEADER));
    let (_, header) = given.next().ok_or(Refused::HeaderMissing)?;
    if given.next().is_some() || header.len() > HEADER_BYTES_MAX {
        return Err(Refused::HeaderInvalid);
    }
    let (at, digests) = read(header).ok_or(Refused::HeaderInvalid)?;
    let off_s = now.abs_diff(at);
    if off_s > tolerance {
        return Err(Refused::Stale { off_s });
    }
    let mut is_genuine = subtle::Choice::from(0);
    for secret in secrets {
        let expected = digest(secret, at, body).ok_or(Refused::Mismatch)?;
        for given in &digests {
            // All are compared, whichever fits.
            is_genuine |= given.as_slice().ct_eq(&expected);
        }
    }
    if !bool::from(is_genuine) {
        return Err(Refused::Mismatch);
    }
    let event: Value = read_json(body).map_err(|_| Refused::Unreadable)?;
    if !event.is_object() {
        return Err(Refused::Unreadable);
    }
    match Told::read(&event) {
        Some(told) => Ok(told),
        None => Ok(Told::named(name_of(body).ok_or(Refused::Unreadable)?, &event)),
    }
}

/// The time, in Unix seconds, and the digests of a header: parts between commas, in any order.
fn read(header: &str) -> Option<(i64, Vec<Vec<u8>>)> {
    let parts = || header.split(',').map(str::trim);
    let at = parts().find_map(|part| part.strip_prefix("t="))?;
    let is_decimal = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
    let at = at.parse().ok().filter(|_| is_decimal)?;
    let digests = parts().filter_map(|part| part.strip_prefix("v1="));
    let digests = digests.filter_map(|digest| hex::decode(digest).ok());
    let digests: Vec<Vec<u8>> =
        digests.filter(|digest| digest.len() == 32).take(SIGNATURES_MAX).collect();
    (!digests.is_empty()).then_some((at, digests))
}

fn digest(secret: &SecretString, at: i64, body: &[u8]) -> Option<[u8; 32]> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac.finalize().into_bytes().into())
}

/// A name for an event that has none.
fn name_of(body: &[u8]) -> Option<EventId> {
    format!("body_{}", hex::encode(Sha256::digest(body))).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the page's §15.
    const AT: i64 = 1_900_000_000;
    const BODY: &str = r#"{"id":"evt_1"}"#;
    const DIGEST: &str = "07bfe3263a269f453f7d5a37b2a4cd1da8d9ce73d114dc03a02eb54dd6fba09d";
    /// The same body under the secret `whsec_old`, made with Python's `hmac`.
    const OLD: &str = "4ac59954a8b9cf0867f88f392099d652849a78e30882fa84847c7afd0ff02bae";

    fn judged(header: &str, body: &str, now: i64) -> Result<Told, Refused> {
        let secrets = ["whsec_test".to_owned().into()];
        verify(&secrets, [("Paegents-Signature", header)], body.as_bytes(), now, SKEW_SECONDS_MAX)
    }

    #[test]
    fn judges_a_delivery() {
        let (upper, zeros) = (DIGEST.to_uppercase(), "0".repeat(64));
        let good = format!("t={AT},v1={DIGEST}");
        let with = |start: String, end: &str| format!("{start}{end}");
        #[rustfmt::skip]
        let rows = [
            // what it shows           header                                          body             now       verdict
            ("the page's own",         good.clone(),                                   BODY,            AT,       None),
            ("spaces, other order",    format!(" v1={DIGEST} , t={AT} "),              BODY,            AT,       None),
            ("upper case",             format!("t={AT},v1={upper}"),                   BODY,            AT,       None),
            ("the second of two",      format!("t={AT},v1={zeros},v1={DIGEST}"),       BODY,            AT,       None),
            ("another version beside", format!("t={AT},v0=1,v1={DIGEST}"),             BODY,            AT,       None),
            ("as old as it may be",    good.clone(),                                   BODY,            AT + 300, None),
            ("a second older",         good.clone(),                                   BODY,            AT + 301, Some(Refused::Stale { off_s: 301 })),
            ("as new as it may be",    good.clone(),                                   BODY,            AT - 300, None),
            ("a second newer",         good.clone(),                                   BODY,            AT - 301, Some(Refused::Stale { off_s: 301 })),
            ("a byte added",           good.clone(),                                   "{\"id\":\"evt_1\"}\n", AT, Some(Refused::Mismatch)),
            ("serialised again",       good.clone(),                                   "{\"id\": \"evt_1\"}",  AT, Some(Refused::Mismatch)),
            ("another time",           format!("t={},v1={DIGEST}", AT + 1),            BODY,            AT,       Some(Refused::Mismatch)),
            ("another digest",         format!("t={AT},v1={zeros}"),                   BODY,            AT,       Some(Refused::Mismatch)),
            ("no digest",              format!("t={AT}"),                              BODY,            AT,       Some(Refused::HeaderInvalid)),
            ("half a digest",          format!("t={AT},v1={}", &DIGEST[..32]),         BODY,            AT,       Some(Refused::HeaderInvalid)),
            ("no time",                format!("v1={DIGEST}"),                         BODY,            AT,       Some(Refused::HeaderInvalid)),
            ("a time with a sign",     format!("t=+{AT},v1={DIGEST}"),                 BODY,            AT,       Some(Refused::HeaderInvalid)),
            ("no such time",           with(format!("t={}", i64::MAX), &format!("0,v1={DIGEST}")), BODY, AT,      Some(Refused::HeaderInvalid)),
            ("the last time there is", format!("t={},v1={DIGEST}", i64::MAX),          BODY,            AT,       Some(Refused::Stale { off_s: i64::MAX.abs_diff(AT) })),
            ("only the digest",        DIGEST.to_owned(),                              BODY,            AT,       Some(Refused::HeaderInvalid)),
            ("nothing",                String::new(),                                  BODY,            AT,       Some(Refused::HeaderInvalid)),
        ];
        for (row, header, body, now, verdict) in rows {
            assert_eq!(judged(&header, body, now).err(), verdict, "{row}");
        }
    }

    /// Each bit of the body and of the digest counts.
    #[test]
    fn no_bit_can_be_turned() {
        for bit in 0..BODY.len() * 8 {
            let mut body = BODY.as_bytes().to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let secrets = ["whsec_test".to_owned().into()];
            let header = format!("t={AT},v1={DIGEST}");
            let judged = verify(&secrets, [("paegents-signature", &*header)], &body, AT, 300);
            assert_eq!(judged, Err(Refused::Mismatch), "bit {bit} of the body");
        }
        for bit in 0..256 {
            let mut digest = hex::decode(DIGEST).unwrap();
            digest[bit / 8] ^= 1 << (bit % 8);
            let header = format!("t={AT},v1={}", hex::encode(digest));
            assert_eq!(judged(&header, BODY, AT), Err(Refused::Mismatch), "bit {bit}");
        }
    }

    #[test]
    fn any_known_secret_will_do_and_no_other() {
        let header = format!("t={AT},v1={DIGEST}");
        let old = format!("t={AT},v1={OLD}");
        let both = format!("t={AT},v1={OLD},v1={DIGEST}");
        let secrets = |names: &[&str]| -> Vec<SecretString> {
            names.iter().map(|name| (*name).to_owned().into()).collect()
        };
        #[rustfmt::skip]
        let rows = [
            // what it shows       known                          header    genuine
            ("the new one",        &["whsec_test"][..],           &header,  true),
            ("both are known",     &["whsec_old", "whsec_test"],  &header,  true),
            ("the old one alone",  &["whsec_old"],                &header,  false),
            ("the old one signed", &["whsec_test", "whsec_old"],  &old,     true),
            ("both signed",        &["whsec_old"],                &both,    true),
            ("both signed",        &["whsec_test"],               &both,    true),
            ("strangers",          &["whsec_other", ""],          &both,    false),
            ("nothing is known",   &[],                           &header,  false),
        ];
        for (row, known, header, genuine) in rows {
            let headers = [("Host", "x"), ("PAEGENTS-SIGNATURE", header.as_str())];
            let judged = verify(&secrets(known), headers, BODY.as_bytes(), AT, SKEW_SECONDS_MAX);
            assert_eq!(judged.is_ok(), genuine, "{row}");
        }
    }

    #[test]
    fn the_header_comes_once() {
        let (known, header) = (["whsec_test".to_owned().into()], format!("t={AT},v1={DIGEST}"));
        let twice = [("Paegents-Signature", &*header), ("paegents-signature", "t=1,v1=00")];
        let judge = |headers: &[(&'static str, &str)]| {
            verify(&known, headers.iter().copied(), BODY.as_bytes(), AT, 300).err()
        };
        assert_eq!(judge(&[]), Some(Refused::HeaderMissing));
        assert_eq!(judge(&[("Signature", "t=1")]), Some(Refused::HeaderMissing));
        let twice = [(twice[0].0, twice[0].1), (twice[1].0, twice[1].1)];
        assert_eq!(judge(&twice), Some(Refused::HeaderInvalid));
    }

    #[test]
    fn an_event_without_a_name_is_named_after_its_body() {
        let secret: SecretString = "s".to_owned().into();
        for (body, expected) in [
            ("{}", Ok("body_44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")),
            ("{\"event_id\":\"evt_2\",\"id\":\"evt_1\"}", Ok("evt_2")),
            ("[1]", Err(Refused::Unreadable)),
            ("no JSON", Err(Refused::Unreadable)),
            ("{\"id\":\"a\",\"id\":\"b\"}", Err(Refused::Unreadable)),
        ] {
            let made = hex::encode(digest(&secret, AT, body.as_bytes()).unwrap());
            let header = format!("t={AT},v1={made}");
            let known = std::slice::from_ref(&secret);
            let judged = verify(known, [(HEADER, &*header)], body.as_bytes(), AT, 300);
            let name = judged.map(|told| told.event_id.to_string());
            assert_eq!(name.as_deref().map_err(|refused| *refused), expected, "{body}");
        }
    }
}
