//! Strict JSON: what `serde_json` would silently decide is refused here.

use std::{collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

/// Checks that `text` is one JSON value which repeats no member of an object and nests at most 127
/// deep.
///
/// # Errors
///
/// What is wrong, with line and column.
pub fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Checked.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Checked;

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Checked)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(Checked)?;
            if let Some(name) = seen.replace(name) {
                return Err(A::Error::custom(format_args!(
                    "`{}` stands twice",
                    name.escape_debug()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_be_decided_silently() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        #[rustfmt::skip]
        let rows = [
            // what it shows        text                               accepted
            ("an object",           r#"{"a":1,"b":{"a":2}}"#.into(),   true),
            ("a member twice",      r#"{"a":1,"a":1}"#.into(),         false),
            ("twice, escaped",      r#"{"a":1,"\u0061":1}"#.into(),    false),
            ("twice, deeper",       r#"[{"x":{"a":1,"a":2}}]"#.into(), false),
            ("127 deep",            nested(127),                       true),
            ("200 deep",            nested(200),                       false),
            ("not a number",        r#"{"a":NaN}"#.into(),             false),
            ("something after it",  "{} {}".into(),                    false),
            ("cut off",             r#"{"a":"#.into(),                 false),
            ("a large number",      "123456789012345678901234567890".into(), true),
        ];
        for (row, text, accepted) in rows {
            assert_eq!(check(text.as_bytes()).is_ok(), accepted, "{row}");
        }
    }
}
