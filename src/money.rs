//! Money: amounts of USDC as whole micro-units, never as floats.
//!
//! In and out they are decimal strings with at most six places; a dollar and a USDC are one unit.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Micro-units in one USDC: the token has six decimals.
pub const MICROS_PER_USDC: u64 = 1_000_000;

/// An amount of USDC, held in micro-units: `1_000_000` is one USDC.
///
/// In JSON it is a decimal string with at most six places, such as `"12.5"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usdc(u64);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AmountError {
    /// It has a character other than digits and one point.
    #[error("must have digits and at most one point")]
    NotDecimal,
    /// It has more than six places.
    #[error("must have at most six decimal places")]
    TooPrecise,
    /// It does not fit in 63 bits of micro-units.
    #[error("is too large")]
    TooLarge,
}

impl Usdc {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of whole micro-units.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The amount in micro-units, as token contracts count it.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The sum, or `None` where it would overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// What is left, or nothing where `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Usdc {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(places) {
            return Err(AmountError::NotDecimal);
        }
        if places.len() > 6 {
            return Err(AmountError::TooPrecise);
        }
        let whole: u64 = whole.parse().map_err(|_| AmountError::TooLarge)?;
        let micros: u64 = format!("{places:0<6}").parse().map_err(|_| AmountError::TooLarge)?;
        whole
            .checked_mul(MICROS_PER_USDC)
            .and_then(|w| w.checked_add(micros))
            // SQLite holds signed 64-bit integers.
            .filter(|sum| i64::try_from(*sum).is_ok())
            .map(Self)
            .ok_or(AmountError::TooLarge)
    }
}

impl fmt::Display for Usdc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / MICROS_PER_USDC, self.0 % MICROS_PER_USDC);
        let mut text = format!("{places:06}");
        text.truncate(text.trim_end_matches('0').len().max(2));
        if places == 0 { write!(f, "{whole}") } else { write!(f, "{whole}.{text}") }
    }
}

impl Serialize for Usdc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usdc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Usdc {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Usdc".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\d+(\.\d{1,6})?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_amounts() {
        #[rustfmt::skip]
        let rows = [
            // what it shows           text                         micro-units
            ("whole",                  "12",                        Ok(12_000_000)),
            ("six places",             "0.000001",                  Ok(1)),
            ("leading zeros",          "0012.50",                   Ok(12_500_000)),
            ("the largest",            "9223372036854.775807",      Ok(9_223_372_036_854_775_807)),
            ("one more",               "9223372036854.775808",      Err(AmountError::TooLarge)),
            ("2^256",                  "1157920892373161954235709850086879078532699846656405640394575840079131296399",    Err(AmountError::TooLarge)),
            ("seven places",           "1.0000001",                 Err(AmountError::TooPrecise)),
            ("negative",               "-1",                        Err(AmountError::NotDecimal)),
            ("exponent",               "1e3",                       Err(AmountError::NotDecimal)),
            ("not a number",           "NaN",                       Err(AmountError::NotDecimal)),
            ("thousands",              "1,000",                     Err(AmountError::NotDecimal)),
            ("full-width digits",      "１",                        Err(AmountError::NotDecimal)),
            ("no whole part",          ".5",                        Err(AmountError::NotDecimal)),
            ("no places",              "5.",                        Err(AmountError::NotDecimal)),
            ("empty",                  "",                          Err(AmountError::NotDecimal)),
            ("a space",                " 1",                        Err(AmountError::NotDecimal)),
        ];
        for (row, text, expected) in rows {
            assert_eq!(text.parse::<Usdc>().map(Usdc::micros), expected, "{row}");
        }
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (10_000, "0.01"),
            (500_000, "0.50"),
            (1_250_000, "1.25"),
            (12_000_000, "12"),
        ] {
            assert_eq!(Usdc::from_micros(micros).to_string(), text);
            assert_eq!(text.parse::<Usdc>().unwrap().micros(), micros);
        }
    }
}
