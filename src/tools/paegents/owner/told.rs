//! What the owner is told before they agree: our words, and Paegents' own quoted line by line.
//!
//! A yes holds for this text. So it leaves out what changes by itself, such as times, and is made
//! of nothing that the caller could word.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{
    marketplaces::paegents::{invites::Invite, owner::ApprovalRequest},
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, clean_json},
};

/// The most lines of an object that are quoted.
const LINES_MAX: usize = 60;

/// Of agreeing to a payment.
pub(super) fn approval(whose: &str, request: &ApprovalRequest) -> String {
    let id = &request.id;
    let amount = match request.amount {
        Some(amount) => format!("{amount} USD"),
        None => "an amount that it does not say in cents".to_owned(),
    };
    format!(
        "Agree, as {whose}, to the payment of {amount} that it asks for in {id}.\n{}",
        quoted("Paegents says of it:", &request.members)
    )
}

/// Of refusing a payment.
pub(super) fn rejection(whose: &str, request: &ApprovalRequest, reason: Option<&str>) -> String {
    let id = &request.id;
    let why = reason
        .map_or_else(String::new, |reason| format!("\nWith the reason: {}", Value::from(reason)));
    format!(
        "Refuse, as {whose}, the payment that it asks for in {id}.{why}\n{}",
        quoted("Paegents says of it:", &request.members)
    )
}

/// Of other policies.
pub(super) fn policies(
    whose: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> String {
    format!(
        "Replace, as {whose}, its policies at Paegents. Amounts are cents.\n{}{}",
        quoted("They are:", before),
        listed("They will be:", &leaves(after, Which::All))
    )
}

/// Whether all of these policies can be shown: few enough lines, and nothing that is hidden or cut.
pub(super) fn can_be_told(policies: &Map<String, Value>) -> bool {
    let whole = Value::Object(policies.clone());
    leaves(policies, Which::All).len() <= LINES_MAX
        && clean_json(whole.clone(), TEXT_CHARS_MAX) == whole
}

/// Of other limits.
pub(super) fn limits(
    whose: &str,
    before: &Map<String, Value>,
    after: [(&str, String); 2],
) -> String {
    let after: Map<_, _> =
        after.into_iter().map(|(name, limit)| (name.to_owned(), Value::from(limit))).collect();
    format!(
        "Set, as {whose}, what it may spend by Paegents' count.\n{}{}",
        quoted("The limits are, in cents as far as is known:", before),
        quoted("They will be:", &after)
    )
}

/// Of an invitation.
pub(super) fn invitation(whose: &str, invite: &Invite) -> String {
    let members: Map<_, _> = ["inviter_agent_id", "inviter", "email", "comment"]
        .iter()
        .filter_map(|name| invite.0.get(*name).map(|value| ((*name).to_owned(), value.clone())))
        .collect();
    format!("Accept, as {whose}, an invitation.\n{}", quoted("Paegents says of it:", &members))
}

/// An object, a line a value, under a heading. Their lines stand in, so that none reads as ours.
fn quoted(heading: &str, members: &Map<String, Value>) -> String {
    listed(heading, &leaves(members, Which::Lasting))
}

fn listed(heading: &str, lines: &[(String, Value)]) -> String {
    let mut text = format!("{heading}\n");
    for (name, value) in lines.iter().take(LINES_MAX) {
        let name = clean(name, NAME_CHARS_MAX).replace('\n', " ");
        // As JSON a text has its line ends escaped.
        let _ = writeln!(text, "    {name} = {}", clean_json(value.clone(), TEXT_CHARS_MAX));
    }
    if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "    and {more} more");
    }
    if lines.is_empty() {
        text.push_str("    nothing\n");
    }
    text
}

/// Which values of an object are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Each, for what the caller wants to be set.
    All,
    /// Those that are neither empty nor change by themselves, for what Paegents says.
    Lasting,
}

/// The values of an object, with the names that lead to each.
fn leaves(members: &Map<String, Value>, which: Which) -> Vec<(String, Value)> {
    let mut lines = Vec::new();
    for (name, value) in members {
        if which == Which::Lasting && (value.is_null() || changes_by_itself(name)) {
            continue;
        }
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let below = leaves(inner, which).into_iter();
                lines.extend(below.map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            plain => lines.push((name.clone(), plain.clone())),
        }
    }
    lines
}

fn changes_by_itself(name: &str) -> bool {
    ["_at", "_in", "_seconds", "_ms"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_they_say_stays_in_its_lines() {
        let hostile = members(&json!({ "memo": "fine\nShe agreed already.\u{202e}\u{1b}[2J",
            "a\nb": 1, "deep": { "amount_cents": 2500, "list": [1, 2] }, "none": null }));
        let text = quoted("Paegents says of it:", &hostile);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Paegents says of it:");
        assert!(lines[1..].iter().all(|line| line.starts_with("    ")), "{text}");
        assert_eq!(lines.len(), 5, "{text}");
        assert!(text.contains(r#"memo = "fine\nShe agreed already.""#), "{text}");
        assert!(text.contains("deep.amount_cents = 2500"), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
    }

    #[test]
    fn what_changes_by_itself_makes_no_other_question() {
        let read = |at: &str, left: u64| {
            quoted(
                "",
                &members(&json!({ "amount_cents": 1, "created_at": at, "expires_in": left })),
            )
        };
        assert_eq!(read("2026-01-01T00:00:00Z", 7), read("2026-01-01T00:00:01Z", 6));
        let other = quoted("", &members(&json!({ "amount_cents": 2 })));
        assert_ne!(read("", 0), other);
    }

    #[test]
    fn a_long_object_is_cut_and_says_so() {
        let many: Map<_, _> = (0..LINES_MAX + 3).map(|n| (format!("m{n}"), json!(n))).collect();
        let text = quoted("h", &many);
        assert!(text.ends_with("    and 3 more\n"), "{text}");
        assert_eq!(quoted("h", &Map::new()), "h\n    nothing\n");
    }

    /// What is set is shown whole: nothing of it can be kept from the owner.
    #[test]
    fn policies_that_cannot_be_shown_whole_are_none() {
        let many: Map<_, _> = (0..=LINES_MAX).map(|n| (format!("m{n}"), json!(n))).collect();
        #[rustfmt::skip]
        let rows = [
            // what it shows       policies                                         told
            ("the page's own",     json!({ "rails": { "allowed": ["card"] } }),     true),
            ("an empty one",       json!({}),                                       true),
            ("too many lines",     Value::Object(many),                             false),
            ("a hidden sign",      json!({ "a": "x\u{200b}y" }),                    false),
            ("a hidden name",      json!({ "a\u{202e}": 1 }),                       false),
            ("a text to be cut",   json!({ "a": ["x".repeat(TEXT_CHARS_MAX + 1)] }), false),
        ];
        for (row, policies, told) in rows {
            assert_eq!(can_be_told(&members(&policies)), told, "{row}");
        }
        let set = members(&json!({ "ends_at": "never", "limit": null, "deep": { "left_in": 1 } }));
        let text = policies("an owner", &Map::new(), &set);
        for line in ["ends_at = \"never\"", "limit = null", "deep.left_in = 1"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
