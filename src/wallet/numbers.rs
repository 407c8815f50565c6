//! Whole numbers of contracts in JSON: written as numbers, read as numbers or decimal strings.

use alloy_primitives::U256;
use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error as _};

/// A number as the wire may spell it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Spelled {
    Number(u64),
    Text(String),
}

/// Writes a number where it fits 64 bits, else a decimal string, which no reader rounds.
///
/// # Errors
///
/// Those of the serializer.
pub(super) fn serialize<S: Serializer>(number: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    match u64::try_from(*number) {
        Ok(small) => serializer.serialize_u64(small),
        Err(_) => number.to_string().serialize(serializer),
    }
}

/// Reads a number or a decimal string.
///
/// # Errors
///
/// Where it is neither, has a sign, a point or an exponent, or is above 256 bits.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
    match Spelled::deserialize(deserializer)? {
        Spelled::Number(number) => Ok(U256::from(number)),
        Spelled::Text(text) => {
            decimal(&text).ok_or_else(|| D::Error::custom("not a whole decimal number"))
        }
    }
}

/// Reads digits alone: no sign, no prefix, no separator.
pub(super) fn decimal(text: &str) -> Option<U256> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| U256::from_str_radix(text, 10).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Held(#[serde(with = "super")] U256);

    #[test]
    fn numbers_come_in_two_spellings_and_leave_unrounded() {
        let large =
            "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        let quoted = format!("\"{large}\"");
        #[rustfmt::skip]
        let rows = [
            // what it shows          JSON                         number
            ("a number",              "7",                         Some(U256::from(7))),
            ("a string",              "\"7\"",                     Some(U256::from(7))),
            ("the largest of 64 bits", "18446744073709551615",     Some(U256::from(u64::MAX))),
            ("a rounded one above",   "18446744073709551616",      None),
            ("the largest of all",    quoted.as_str(),             Some(U256::MAX)),
            ("a fraction",            "1.5",                       None),
            ("an exponent",           "1e3",                       None),
            ("a negative number",     "-1",                        None),
            ("a negative string",     "\"-1\"",                    None),
            ("hex",                   "\"0x7\"",                   None),
            ("a separator",           "\"1_000\"",                 None),
            ("an empty string",       "\"\"",                      None),
            ("nothing",               "null",                      None),
        ];
        for (row, json, expected) in rows {
            let read = serde_json::from_str::<Held>(json).ok();
            assert_eq!(read, expected.map(Held), "{row}");
        }
        assert_eq!(
            serde_json::to_string(&Held(U256::from(u64::MAX))).unwrap(),
            u64::MAX.to_string()
        );
        assert_eq!(serde_json::to_string(&Held(U256::MAX)).unwrap(), quoted);
    }
}
