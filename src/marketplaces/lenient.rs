//! Members of answers that are written in more ways than one: numbers as texts, texts as numbers,
//! times in three forms, `null` for what is empty.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Unix seconds beyond which a number is taken for milliseconds: the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A member that is a text, and that a protobuf server may write as a number, as `null` or not at
/// all.
///
/// # Errors
///
/// Where it is an object, a list or a flag.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }
        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_f64<E>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// An identifier that may be missing, or be none that can stand in a path.
///
/// # Errors
///
/// As [`text`].
pub fn id<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
{
    Ok(text(deserializer)?.parse().ok())
}

/// A list that may be missing or `null`: then it is empty.
///
/// # Errors
///
/// Where it is something else, or an element is.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// A time as a marketplace writes it, in Unix seconds: RFC 3339, or a number of seconds or milliseconds
///. `None` where it is empty or something else.
#[must_use]
pub fn instant(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(0) => None,
        Ok(seconds) if seconds < SECONDS_MAX => Some(seconds),
        Ok(milliseconds) => Some(milliseconds / 1000),
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
    }
}

/// A status that is one word, so that it can stand in our own sentences; otherwise `unreadable`.
#[must_use]
pub fn word(status: &str) -> &str {
    let is_word = (1..=32).contains(&status.len())
        && status.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_word { status } else { "unreadable" }
}

/// A whole number that may be written as a text; missing or `null` it is nothing.
///
/// # Errors
///
/// Where it is something else, has a fraction, or does not fit.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(maybe_number(deserializer)?.unwrap_or(0))
}

/// As [`number`], told apart from one that is missing.
///
/// # Errors
///
/// As [`number`].
pub fn maybe_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    use serde::de::Error as _;
    let said = Value::deserialize(deserializer)?;
    let number = match &said {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::Number(number) => number.as_u64(),
        // A sign or a point is no whole number of units.
        Value::String(text) if text.trim().bytes().all(|b| b.is_ascii_digit()) => {
            text.trim().parse().ok()
        }
        _ => None,
    };
    number.map(Some).ok_or_else(|| D::Error::custom("is no whole number of units"))
}

/// The list that an answer is, or that one of its members is: the first that is one.
#[must_use]
pub fn list_of(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(items) => items,
        Value::Object(members) => members
            .into_iter()
            .find_map(|(_, member)| match member {
                Value::Array(items) => Some(items),
                _ => None,
            })
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_time_however_it_is_written() {
        #[rustfmt::skip]
        let rows = [
            ("2026-11-22T02:43:16Z",      Some(1_795_315_396)),
            ("2026-11-22T02:43:16.5Z",    Some(1_795_315_396)),
            ("2026-11-22T03:43:16+01:00", Some(1_795_315_396)),
            ("1795315396",                Some(1_795_315_396)),
            ("1795315396000",             Some(1_795_315_396)),
            ("0",                         None),
            ("",                          None),
            ("soon",                      None),
        ];
        for (text, expected) in rows {
            assert_eq!(instant(text), expected, "{text}");
        }
    }

    #[test]
    fn reads_a_number_however_it_is_written() {
        #[derive(Deserialize)]
        struct Read(#[serde(deserialize_with = "maybe_number")] Option<u64>);
        #[rustfmt::skip]
        let rows = [
            ("7",                       Some(Some(7))),
            ("\"7\"",                   Some(Some(7))),
            ("\" 7 \"",                 Some(Some(7))),
            ("18446744073709551615",    Some(Some(u64::MAX))),
            ("null",                    Some(None)),
            ("\"\"",                    Some(None)),
            ("18446744073709551616",    None),
            ("-1",                      None),
            ("\"+1\"",                  None),
            ("1.0",                     None),
            ("\"1e3\"",                 None),
            ("true",                    None),
            ("[7]",                     None),
        ];
        for (text, expected) in rows {
            let read = serde_json::from_str::<Read>(text).ok().map(|read| read.0);
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn finds_the_list_wherever_it_is() {
        for text in ["[1]", r#"{"total": 1, "items": [1]}"#] {
            assert_eq!(list_of(serde_json::from_str(text).unwrap()), [Value::from(1)], "{text}");
        }
        assert!(list_of(Value::Null).is_empty());
    }
}
