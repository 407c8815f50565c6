//! The tables of the README that are made from the code, between their markers.

use std::fmt::Write as _;

use serde_json::json;

use super::tools::{kind_name, profile_names, rows};
use crate::{
    config::env::{Shown, Variable},
    error::Code,
    profile::Profile,
};

/// The README with its tables as the code has them: `<!-- tools -->…<!-- /tools -->` and so on.
/// What stands outside of markers stays.
#[must_use]
pub fn with_tables(readme: &str) -> String {
    let tables = [("tools", tools()), ("codes", codes()), ("variables", variables())];
    tables.iter().fold(readme.to_owned(), |text, (name, table)| between(&text, name, table))
}

fn between(text: &str, name: &str, table: &str) -> String {
    let (opening, closing) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let parts = text
        .split_once(&opening)
        .and_then(|(before, rest)| rest.split_once(&closing).map(|(_, after)| (before, after)));
    match parts {
        Some((before, after)) => format!("{before}{opening}\n{table}{closing}{after}"),
        None => text.to_owned(),
    }
}

/// Every tool: name, what it is for, profiles, what it can do, tokens.
#[must_use]
pub fn tools() -> String {
    let mut table =
        String::from("| tool | for | profiles | kind | tokens |\n|---|---|---|---|---|\n");
    for row in rows(Profile::ALL, false) {
        let (profiles, kind) = (profile_names(row.profiles), kind_name(row.kind));
        let _ = writeln!(
            table,
            "| `{}` | {} | {profiles} | {kind} | {} |",
            row.name, row.title, row.tokens
        );
    }
    table
}

/// Every error code: name, money, next action, meaning.
#[must_use]
pub fn codes() -> String {
    let mut table = String::from("| code | money moved | next | meaning |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let (money, next) = (json!(code.money_moved()), json!(code.next_action()));
        let (money, next) = (money.as_str().unwrap_or_default(), next.as_str().unwrap_or_default());
        let _ = writeln!(table, "| `{}` | {money} | `{next}` | {} |", code.name(), code.meaning());
    }
    table
}

/// Every environment variable: name, setting, meaning.
#[must_use]
pub fn variables() -> String {
    let mut table = String::from("| variable | setting | meaning |\n|---|---|---|\n");
    for variable in Variable::ALL {
        let secret = if variable.shown() == Shown::Masked { " Never shown." } else { "" };
        let _ = writeln!(
            table,
            "| `{}` | `{}` | {}{secret} |",
            variable.name(),
            variable.setting(),
            variable.meaning()
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        #[rustfmt::skip]
        let rows = [
            // what it shows    before                                        after
            ("a table",         "a <!-- x -->\nold\n<!-- /x --> b",           "a <!-- x -->\nnew\n<!-- /x --> b"),
            ("no markers",      "a",                                          "a"),
            ("half of them",    "a <!-- x --> b",                             "a <!-- x --> b"),
        ];
        for (row, before, after) in rows {
            assert_eq!(between(before, "x", "new\n"), after, "{row}");
        }
    }

    /// With `UPDATE_TOOL_SCHEMAS=1` it is rewritten instead.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that can rewrite what it checks")]
    fn tool_schemas_and_the_readme_are_as_the_code_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        for name in ["tools", "codes", "variables"] {
            assert!(readme.contains(&format!("<!-- {name} -->")), "{name} has no place");
        }
        let wanted = with_tables(&readme);
        if std::env::var("UPDATE_TOOL_SCHEMAS").is_ok() {
            std::fs::write(path, &wanted).unwrap();
        } else {
            assert_eq!(readme, wanted, "run: UPDATE_TOOL_SCHEMAS=1 cargo test tool_schemas");
        }
    }
}
