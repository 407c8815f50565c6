//! Text from a marketplace: cleaned and bounded before a model sees it.
//!
//! Invariants: what leaves here has no control, format, private-use or tag character but newline and
//! tab, no escape sequence, and at most the given number of characters. It is data: it goes out only
//! in members whose names end in `_untrusted`.

use serde_json::Value;
use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory};

/// The most characters of a name.
pub const NAME_CHARS_MAX: usize = 120;
/// The most characters of a description or a message.
pub const TEXT_CHARS_MAX: usize = 500;
/// Nesting beyond which an answer's value is dropped.
const DEPTH_MAX: usize = 32;
/// A run of letters and digits that may be a key or a part of one.
const KEY_CHARS_MIN: usize = 24;
/// Marks in a row beyond which they are dropped.
const MARKS_MAX: usize = 3;

/// `text` without what can hide, colour, reorder or load, and at most `max` characters of it.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let (mut kept, mut marks) = (0_usize, 0_usize);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            skip_escape(&mut rest);
            continue;
        }
        // The table is not asked about what is most of any text.
        let mark = !c.is_ascii()
            && matches!(
                c.general_category(),
                Category::NonspacingMark | Category::EnclosingMark | Category::SpacingMark
            );
        marks = if mark { marks + 1 } else { 0 };
        if !shows(c) || marks > MARKS_MAX {
            continue;
        }
        if kept == max {
            out.push('…');
            break;
        }
        // An image would be loaded by whoever renders it.
        if c == '!' && rest.peek() == Some(&'[') {
            continue;
        }
        out.push(c);
        kept += 1;
    }
    out
}

/// `text` without its long runs of letters and digits: a key that was pasted in does not come back.
#[must_use]
pub fn mask(text: &str) -> String {
    let (mut out, mut run) = (String::with_capacity(text.len()), String::new());
    // One more character than there are ends the last run.
    for c in text.chars().map(Some).chain([None]) {
        if let Some(c) = c.filter(char::is_ascii_alphanumeric) {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= KEY_CHARS_MIN { "…" } else { &run });
        run.clear();
        out.extend(c);
    }
    out
}

/// Whether a character may be shown.
pub(crate) fn shows(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control() || c == '\n' || c == '\t';
    }
    !matches!(
        c.general_category(),
        Category::Control
            | Category::Format
            | Category::PrivateUse
            | Category::Surrogate
            | Category::Unassigned
            | Category::LineSeparator
            | Category::ParagraphSeparator
    ) && !('\u{fe00}'..='\u{fe0f}').contains(&c)
        && !('\u{e0100}'..='\u{e01ef}').contains(&c)
}

/// Skips what belongs to an escape character: a control sequence or an operating system command.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            for c in rest.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | '^' | '_' | 'X') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some(_) => {
            rest.next();
        }
        None => {}
    }
}

/// `value` with every text and every name in it cleaned, each text at most `max` characters, and
/// what nests too deep left out.
#[must_use]
pub fn clean_json(value: Value, max: usize) -> Value {
    fn at(value: Value, max: usize, depth: usize) -> Value {
        match value {
            Value::String(text) => Value::String(clean(&text, max)),
            Value::Array(_) | Value::Object(_) if depth == DEPTH_MAX => Value::Null,
            Value::Array(items) => {
                items.into_iter().map(|item| at(item, max, depth + 1)).collect::<Vec<_>>().into()
            }
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (clean(&name, NAME_CHARS_MAX), at(value, max, depth + 1)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }
    at(value, max, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_invisible_is_left_of_any_character() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let out = clean(&format!("a{c}b"), 10);
            for left in out.chars() {
                assert!(shows(left), "U+{:04X} left U+{:04X}", u32::from(c), u32::from(left));
            }
        }
    }

    #[test]
    fn cleans_what_hides_colours_and_loads() {
        #[rustfmt::skip]
        let rows = [
            // what it shows       text                               cleaned
            ("plain",              "two words\nand a line",           "two words\nand a line"),
            ("colour",             "\u{1b}[31mred\u{1b}[0m",          "red"),
            ("window title",       "\u{1b}]0;pwned\u{7}ok",           "ok"),
            ("hyperlink",          "\u{1b}]8;;http://x\u{1b}\\ok",    "ok"),
            ("right to left",      "abc\u{202e}def",                  "abcdef"),
            ("zero width",         "pa\u{200b}y",                     "pay"),
            ("tag characters",     "hi\u{e0041}\u{e0042}",            "hi"),
            ("bell and null",      "a\u{7}b\0c",                      "abc"),
            ("markdown image",     "![x](http://evil/x.png)",         "[x](http://evil/x.png)"),
            ("stacked marks",      "e\u{301}\u{301}\u{301}\u{301}\u{301}!", "e\u{301}\u{301}\u{301}!"),
            ("other scripts",      "日本語 émoji ✓",                   "日本語 émoji ✓"),
        ];
        for (row, text, cleaned) in rows {
            assert_eq!(clean(text, 100), cleaned, "{row}");
        }
        assert_eq!(clean("abcdef", 3), "abc…");
    }

    #[test]
    fn masks_what_may_be_a_key() {
        let most = "a".repeat(KEY_CHARS_MIN - 1);
        let key = format!("\"0x{}\", am_k_{}", "1f".repeat(32), "b".repeat(KEY_CHARS_MIN));
        assert_eq!(mask(&key), "\"…\", am_k_…");
        assert_eq!(mask(&most), most);
        assert_eq!(mask("unknown field `limit`, expected é"), "unknown field `limit`, expected é");
    }

    #[test]
    fn cleans_names_and_depth_of_json() {
        let mut deep = Value::Null;
        for _ in 0..100 {
            deep = serde_json::json!([deep]);
        }
        let cleaned = clean_json(serde_json::json!({ "a\u{200b}": "b\u{1b}[0m", "deep": deep }), 9);
        assert_eq!(cleaned["a"], "b");
        assert!(cleaned["deep"].to_string().len() <= 2 * DEPTH_MAX + 4);
    }
}
