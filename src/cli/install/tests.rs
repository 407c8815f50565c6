//! The edit itself: what changes in a file's text, and what does not.

use serde_json::{Value, json};

use super::{
    clients::{Client, Entry, Server},
    edit::{EditError, Edited, edit},
};

fn entry(command: &str) -> Entry {
    let server = Server::Program { command: command.to_owned(), args: vec!["serve".to_owned()] };
    Client::ClaudeDesktop.entry(&server).unwrap()
}

fn put(text: &str) -> Result<Edited, EditError> {
    edit(text, "mcpServers", "haggle", Some(&entry("/bin/haggle")))
}

fn take(text: &str) -> Result<Edited, EditError> {
    edit(text, "mcpServers", "haggle", None)
}

/// A file as people write it, with everything that an editor would like to tidy up.
const LIVED_IN: &str = "\u{feff}// mine\r\n{\r\n\t\"z\": 1.50, /* why */ \"a\": [1,2,],\r\n\
    \t\"mcpServers\": {\r\n\t\t// the other one\r\n\t\t\"other\": { \"command\": \"x\", \
    \"env\": { \"K\": \"secret\" } }, // stays\r\n\t},\r\n\t\"last\": \"\\u00e9\"\r\n}\r\n\r\n";

#[test]
fn writes_the_entry_into_whatever_is_there() {
    const NEW: &str = "{\n  \"mcpServers\": {\n    \"haggle\": {\n      \"command\": \
        \"/bin/haggle\",\n      \"args\": [\"serve\"]\n    }\n  }\n}";
    #[rustfmt::skip]
    let rows = [
        // what it shows          before                                    after
        ("no text",               "",                                       format!("{NEW}\n")),
        ("blank lines",           " \n\n",                                  format!("{NEW}\n")),
        ("an empty object",       "{}",                                     NEW.to_owned()),
        ("no servers",            "{\n  \"mcpServers\": {}\n}",             NEW.to_owned()),
        ("an older path",         "{\"mcpServers\":{\"haggle\":{\"command\":\"/old/haggle\",\"args\":[\"serve\"],\"env\":{\"A\":\"1\"}}}}",
                                  "{\"mcpServers\":{\"haggle\":{\"command\":\"/bin/haggle\",\"args\":[\"serve\"],\"env\":{\"A\":\"1\"}}}}".to_owned()),
    ];
    for (row, before, after) in rows {
        let edited = put(before).unwrap();
        assert_eq!(edited.text, after, "{row}");
        let again = put(&edited.text).unwrap();
        assert_eq!((again.text, again.before), (edited.text, edited.after), "{row}, twice");
    }
}

/// What is not ours stays, byte for byte, and taking ours away gives the file as it was.
#[test]
fn everything_else_stays_byte_for_byte() {
    let edited = put(LIVED_IN).unwrap();
    let entry = "\t\t\"haggle\": {\r\n\t\t\t\"command\": \"/bin/haggle\",\r\n\t\t\t\"args\": \
                 [\"serve\"],\r\n\t\t},\r\n";
    assert!(edited.text.contains(entry), "{:?}", edited.text);
    assert_eq!(edited.text.replace(entry, ""), LIVED_IN);
    assert_eq!(edited.before, None);
    assert_eq!(take(&edited.text).unwrap().text, LIVED_IN);
}

#[test]
fn another_program_of_the_name_is_replaced_as_a_whole() {
    let text = r#"{"mcpServers": {"haggle": {"command": "npx", "args": ["haggle"], "env": {"K": "hidden"}}}}"#;
    let edited = put(text).unwrap();
    let after = edited.after.unwrap();
    assert_eq!(after, json!({ "command": "/bin/haggle", "args": ["serve"] }));
    assert_eq!(edited.before.unwrap()["env"]["K"], "hidden");
    assert!(edited.shown_before.contains("npx"), "{}", edited.shown_before);
    assert!(!edited.shown_before.contains("hidden"), "{}", edited.shown_before);
}

/// Its settings of ours stay; what the person has added is theirs, and what may be secret is masked.
#[test]
fn what_was_added_to_our_entry_stays() {
    let text = "{\"mcpServers\": {\"haggle\": {\n  \"command\": \"/old/haggle\", // here\n  \
                \"env\": {\"CROO_SDK_KEY\": \"hidden\", \"A\": \"${B}\"},\n  \"disabled\": true}}}";
    let edited = put(text).unwrap();
    let env = json!({ "CROO_SDK_KEY": "hidden", "A": "${B}" });
    let expected =
        json!({ "command": "/bin/haggle", "env": env, "disabled": true, "args": ["serve"] });
    assert_eq!(edited.after.unwrap(), expected);
    assert!(edited.text.contains("\"/bin/haggle\", // here\n"), "{}", edited.text);
    assert!(!edited.shown_after.contains("hidden"), "{}", edited.shown_after);
    assert!(edited.shown_after.contains("${B}"), "{}", edited.shown_after);
}

#[test]
fn takes_away_what_it_wrote_and_no_more() {
    #[rustfmt::skip]
    let rows = [
        // what it shows     text                                                                before
        ("nothing there",    "{}",                                                               Value::Null),
        ("no such entry",    r#"{"mcpServers": {"other": 1}}"#,                                  Value::Null),
        ("the last",         r#"{"mcpServers": {"other": 1, "haggle": 2}}"#,                     json!(2)),
        ("the first",        r#"{"mcpServers": {"haggle": 2, "other": 1}}"#,                     json!(2)),
    ];
    for (row, text, before) in rows {
        let edited = take(text).unwrap();
        assert_eq!(edited.before.unwrap_or_default(), before, "{row}");
        assert_eq!(edited.after, None, "{row}");
        let left: Value = serde_json::from_str(&edited.text).unwrap();
        let other = left.pointer("/mcpServers/other").is_some();
        assert_eq!(other, text.contains("other"), "{row}: {left}");
    }
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_place() {
    let at = |line, column, what: &str| EditError::Syntax { line, column, what: what.to_owned() };
    #[rustfmt::skip]
    let rows = [
        // what it shows       text                                          refusal
        ("cut off",            "{\n  \"a\": [1,\n",                          at(2, 8, "Unterminated array")),
        ("no comma",           "{\n  \"a\": 1\n  \"b\": 2\n}",               at(2, 9, "Expected comma")),
        ("single quotes",      "{'a': 1}",                                   at(1, 2, "Single-quoted strings are not allowed")),
        ("a bare name",        "{a: 1}",                                     at(1, 2, "Expected string for object property")),
        ("not JSON at all",    "[mcp]\nx = 1",                               at(1, 2, "Unexpected token")),
        ("a list",             "[]",                                         EditError::NoObject),
        ("servers of a list",  r#"{"mcpServers": []}"#,                      EditError::NotServers("mcpServers".into())),
        ("servers twice",      r#"{"mcpServers": {}, "mcpServers": {}}"#,    EditError::Twice("mcpServers".into())),
        ("the entry twice",    r#"{"mcpServers": {"haggle": 1, "haggle": 2}}"#, EditError::Twice("haggle".into())),
    ];
    for (row, text, refusal) in rows {
        assert_eq!(put(text).unwrap_err(), refusal, "{row}");
        assert_eq!(take(text).unwrap_err(), refusal, "{row}, taking it away");
    }
}
