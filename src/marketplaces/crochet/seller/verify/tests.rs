//! Signatures made by another implementation, and both sides of each limit.

use super::*;

const NOW: i64 = 1_700_000_000;
const SECRET: &str = "whsec_test";
const BODY: &str = r#"{"a":1}"#;
/// `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test`
const HEX: &str = "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn judged(pairs: &[(&str, &str)], body: &str, scheme: &Scheme, now: i64) -> Result<(), Invalid> {
    let headers = headers(pairs);
    let request =
        Forwarded { method: "POST", path: "/hook", headers: &headers, body: body.as_bytes() };
    verify(&request, scheme, &SECRET.into(), now)
}

#[test]
fn takes_what_crochet_signed_and_nothing_else() {
    let prefixed = format!("sha256={HEX}");
    let versioned = format!("v1={HEX}");
    let upper = HEX.to_uppercase();
    let several = format!("v1={}, v1={HEX}", "0".repeat(64));
    let other = format!("{}0", &HEX[..63]);
    let stale = |off_s| Err(Invalid::Stale { off_s });
    #[rustfmt::skip]
    let rows = [
        // what it shows          signature            timestamp          body           now         judged
        ("genuine",               Some(HEX),           Some("1700000000"), BODY,         NOW,        Ok(())),
        ("with a prefix",         Some(&prefixed[..]), Some("1700000000"), BODY,         NOW,        Ok(())),
        ("with a version",        Some(&versioned),    Some("1700000000"), BODY,         NOW,        Ok(())),
        ("in capitals",           Some(&upper),        Some("1700000000"), BODY,         NOW,        Ok(())),
        ("two while rotating",    Some(&several),      Some("1700000000"), BODY,         NOW,        Ok(())),
        ("300 s old",             Some(HEX),           Some("1700000000"), BODY,         NOW + 300,  Ok(())),
        ("301 s old",             Some(HEX),           Some("1700000000"), BODY,         NOW + 301,  stale(301)),
        ("300 s ahead",           Some(HEX),           Some("1700000000"), BODY,         NOW - 300,  Ok(())),
        ("301 s ahead",           Some(HEX),           Some("1700000000"), BODY,         NOW - 301,  stale(301)),
        ("another body",          Some(HEX),           Some("1700000000"), r#"{"a":2}"#, NOW,        Err(Invalid::Mismatch)),
        ("a space more",          Some(HEX),           Some("1700000000"), r#"{"a": 1}"#, NOW,       Err(Invalid::Mismatch)),
        ("another timestamp",     Some(HEX),           Some("1700000001"), BODY,         NOW,        Err(Invalid::Mismatch)),
        ("one digit off",         Some(&other),        Some("1700000000"), BODY,         NOW,        Err(Invalid::Mismatch)),
        ("cut off",               Some(&HEX[..62]),    Some("1700000000"), BODY,         NOW,        Err(Invalid::UnreadableSignature)),
        ("empty",                 Some(""),            Some("1700000000"), BODY,         NOW,        Err(Invalid::UnreadableSignature)),
        ("no signature",          None,                Some("1700000000"), BODY,         NOW,        Err(Invalid::NoSignature)),
        ("no timestamp",          Some(HEX),           None,               BODY,         NOW,        Err(Invalid::NoTimestamp)),
        ("an odd timestamp",      Some(HEX),           Some("yesterday"),  BODY,         NOW,        Err(Invalid::NoTimestamp)),
        ("a negative timestamp",  Some(HEX),           Some("-5"),         BODY,         NOW,        Err(Invalid::NoTimestamp)),
    ];
    for (row, signature, timestamp, body, now, expected) in rows {
        let pairs: Vec<_> =
            [("x-crochet-signature", signature), ("x-crochet-timestamp", timestamp)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
        assert_eq!(judged(&pairs, body, &Scheme::default(), now), expected, "{row}");
    }
}

#[test]
fn reads_timestamps_in_three_ways() {
    #[rustfmt::skip]
    let rows = [
        ("1700000000", Some(NOW)), ("1700000000123", Some(NOW)), ("2023-11-14T22:13:20Z", Some(NOW)),
        ("99999999999", Some(99_999_999_999)), ("100000000000", Some(100_000_000)),
        ("0", None), ("", None), ("1e9", None),
    ];
    for (text, expected) in rows {
        assert_eq!(seconds(text), expected, "{text}");
    }
}

#[test]
fn a_scheme_covers_the_body_and_cannot_be_replayed() {
    let tail = "hex|text|x-crochet-signature|x-crochet-timestamp|x-crochet-request-id";
    #[rustfmt::skip]
    let rows = [
        // what it shows          template and tail                          read
        ("the default",           format!("{{timestamp}}.{{body}}|{tail}"),      Ok(())),
        ("a hashed body",         format!("{{timestamp}}\\n{{body_sha256}}|{tail}"), Ok(())),
        ("a request store",       format!("{{request_id}}.{{body}}|{tail}"),     Ok(())),
        ("a bar in it",           format!("{{timestamp}}|{{body}}|{tail}"),      Ok(())),
        ("any body",              format!("{{timestamp}}.{{path}}|{tail}"),      Err(SchemeError::NoBody)),
        ("for ever",              format!("{{body}}|{tail}"),                    Err(SchemeError::Replayable)),
        ("no text digests",       format!("{{timestamp}}{{body}}|{}", tail.replace("hex", "text")), Err(SchemeError::Unreadable)),
        ("a strange header",      format!("{{timestamp}}{{body}}|{tail} x"),     Err(SchemeError::Unreadable)),
        ("too long",              format!("{{timestamp}}{{body}}{}|{tail}", "x".repeat(200)), Err(SchemeError::Unreadable)),
        ("parts are missing",     "{timestamp}.{body}|hex".to_owned(),           Err(SchemeError::Unreadable)),
        ("empty",                 String::new(),                                 Err(SchemeError::Unreadable)),
    ];
    for (row, text, expected) in rows {
        let read = text.parse::<Scheme>();
        assert_eq!(read.as_ref().map(|_| ()).map_err(|error| *error), expected, "{row}");
        if let Ok(scheme) = read {
            assert_eq!(scheme.to_string(), text, "{row}");
            assert_eq!(scheme.needs_request_store(), row == "a request store", "{row}");
        }
    }
}

/// Each is what `openssl dgst -sha256 -mac HMAC` gives for the text named.
#[test]
fn calibrating_finds_the_scheme_of_a_genuine_request() {
    let mac = |key: &[u8], message: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let hashed = hex::encode(Sha256::digest(BODY));
    let b64 = |bytes: Vec<u8>| general_purpose::STANDARD.encode(bytes);
    let hex_key = "00112233445566778899aabbccddeeff";
    let b64_key = general_purpose::STANDARD.encode([9_u8; 24]);
    let whsec = format!("whsec_{b64_key}");
    let raw = hex::decode(hex_key).unwrap();
    #[rustfmt::skip]
    let rows = [
        // what it shows       secret      signature                                                        found
        ("the default",        SECRET,     HEX.to_owned(),                                                  Some("{timestamp}.{body}|hex|text|")),
        ("base64",             SECRET,     b64(mac(SECRET.as_bytes(), &format!("1700000000.{BODY}"))),      Some("{timestamp}.{body}|base64|text|")),
        ("a secret in hex",    hex_key,    hex::encode(mac(&raw, &format!("1700000000{BODY}"))),            Some("{timestamp}{body}|hex|hex|")),
        ("a prefixed secret",  &whsec,     b64(mac(&[9; 24], &format!("r1.1700000000.{BODY}"))),            Some("{request_id}.{timestamp}.{body}|base64|base64|")),
        ("path and hash",      SECRET,     hex::encode(mac(SECRET.as_bytes(), &format!("1700000000\nPOST\n/hook\n{hashed}"))), Some("{timestamp}\\n{method}\\n{path}\\n{body_sha256}|hex|text|")),
        ("another secret",     "other",    HEX.to_owned(),                                                  None),
    ];
    for (row, secret, signature, found) in rows {
        let headers = headers(&[
            ("x-crochet-signature", &signature),
            ("x-crochet-timestamp", "1700000000"),
            ("x-crochet-request-id", "r1"),
        ]);
        let request =
            Forwarded { method: "POST", path: "/hook", headers: &headers, body: BODY.as_bytes() };
        let secret = SecretString::from(secret);
        let scheme = calibrate(&request, &secret);
        let shown = scheme.as_ref().map(ToString::to_string);
        let begins = |text: &String| found.is_some_and(|found| text.starts_with(found));
        assert_eq!(shown.as_ref().is_some_and(begins), found.is_some(), "{row}: {shown:?}");
        if let Some(scheme) = scheme {
            // At run time only this one is used, and it takes the request.
            let again: Scheme = scheme.to_string().parse().unwrap();
            assert_eq!(verify(&request, &again, &secret, NOW), Ok(()), "{row}");
        }
    }
}
