//! One entry in a client's file, changed in place: comments, order and formatting of everything else
//! stay as they are.

use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstLeafNode, CstNode, CstObject, CstObjectProp, CstRootNode},
};
use serde_json::Value;

use super::clients::Entry;
use crate::config::load::MASK;

/// What some editors begin a file with.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The members of an entry whose values may be secrets.
const SECRETS_IN: [&str; 3] = ["env", "headers", "http_headers"];

/// Why a file is left alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    /// It is not JSON, with or without comments.
    #[error("is not JSON: line {line}, column {column}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's word.
        what: String,
    },
    /// It is JSON of another kind.
    #[error("holds no JSON object at its top")]
    NoObject,
    /// The servers are something other than an object.
    #[error("holds `{0}`, which is no JSON object")]
    NotServers(String),
    /// Clients take the last of two, this program would change the first.
    #[error("holds `{0}` twice")]
    Twice(String),
}

/// An edit that can be made.
#[derive(Debug)]
pub(super) struct Edited {
    /// The whole file after it.
    pub(super) text: String,
    /// The entry before it.
    pub(super) before: Option<Value>,
    /// The entry after it.
    pub(super) after: Option<Value>,
    /// How the entry stands in the file before it; secrets are masked.
    pub(super) shown_before: String,
    /// How it will stand there.
    pub(super) shown_after: String,
}

/// Puts `entry` under `name` into the object `key` of the file, or takes away what is there.
///
/// Where an entry of this program is there already, its other members stay.
///
/// # Errors
///
/// [`EditError`]; the file is to stay as it is.
pub(super) fn edit(
    text: &str,
    key: &str,
    name: &str,
    entry: Option<&Entry>,
) -> Result<Edited, EditError> {
    let (mark, body) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (&text[..BYTE_ORDER_MARK.len_utf8()], body),
        None => ("", text),
    };
    let root = parse(body)?;
    let top = match root.value() {
        None => root.object_value_or_set(),
        Some(_) => root.object_value().ok_or(EditError::NoObject)?,
    };
    let before = found(&top, key, name)?;
    let value_before = before.as_ref().and_then(|entry| entry.value()?.to_serde_value());
    match (entry, &before) {
        (Some(entry), Some(there)) => change(there, entry),
        (Some(entry), None) => {
            // `found` has refused what is there and no object.
            if let Some(servers) = top.object_value_or_create(key) {
                servers.append(name, entry.written());
            }
        }
        (None, Some(there)) => there.clone().remove(),
        (None, None) => {}
    }
    let mut after = root.to_string();
    if body.trim().is_empty() {
        after = format!("{}\n", after.trim());
    }
    let value_after = found(&top, key, name)?.and_then(|entry| entry.value()?.to_serde_value());
    Ok(Edited {
        shown_before: shown(body, key, name)?,
        shown_after: shown(&after, key, name)?,
        text: format!("{mark}{after}"),
        before: value_before,
        after: value_after,
    })
}

/// JSON as the clients' editors write it: comments and trailing commas, nothing else.
fn parse(text: &str) -> Result<CstRootNode, EditError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(text, &options).map_err(|error| EditError::Syntax {
        line: error.line_display(),
        column: error.column_display(),
        what: error.kind().to_string(),
    })
}

/// The entry, where there is one.
fn found(top: &CstObject, key: &str, name: &str) -> Result<Option<CstObjectProp>, EditError> {
    let Some(servers) = only(top, key)? else { return Ok(None) };
    let servers = servers.object_value().ok_or_else(|| EditError::NotServers(key.to_owned()))?;
    only(&servers, name)
}

/// The member of this name.
fn only(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, EditError> {
    let named = |member: &CstObjectProp| member.decoded_name().as_deref() == Some(name);
    let mut members = object.properties().into_iter().filter(named);
    match (members.next(), members.next()) {
        (_, Some(_)) => Err(EditError::Twice(name.to_owned())),
        (first, None) => Ok(first),
    }
}

/// Sets an entry: member by member where it is one of this program, else as a whole.
fn change(there: &CstObjectProp, entry: &Entry) {
    let members = there.object_value().filter(|_| is_ours(there));
    let Some(members) = members.filter(|_| entry.value.contains_key("command")) else {
        there.set_value(entry.written());
        return;
    };
    for (name, value) in &entry.members {
        match members.get(name) {
            Some(member) if has(&member, entry.value.get(*name)) => {}
            Some(member) => member.set_value(value.clone()),
            None => {
                members.append(name, value.clone());
            }
        }
    }
}

fn has(member: &CstObjectProp, value: Option<&Value>) -> bool {
    member.value().and_then(|value| value.to_serde_value()).as_ref() == value
}

/// Whether this entry starts a program of this name, wherever it is.
fn is_ours(entry: &CstObjectProp) -> bool {
    let value = entry.value().and_then(|value| value.to_serde_value()).unwrap_or_default();
    let command = value.get("command").and_then(Value::as_str).unwrap_or_default();
    std::path::Path::new(command).file_name() == Some("haggle".as_ref())
}

/// The entry as it stands in this text, with its indentation; empty where there is none.
fn shown(text: &str, key: &str, name: &str) -> Result<String, EditError> {
    let root = parse(text)?;
    let Some(top) = root.object_value() else { return Ok(String::new()) };
    let Some(entry) = found(&top, key, name)? else { return Ok(String::new()) };
    if let Some(members) = entry.object_value() {
        for name in SECRETS_IN {
            if let Some(secrets) = members.object_value(name) {
                mask(&secrets);
            }
        }
    }
    let indent = entry.indent_text().unwrap_or_default();
    Ok(format!("{indent}{}\n", CstNode::from(entry)))
}

/// Masks every value; a reference to a variable is none.
fn mask(secrets: &CstObject) {
    for member in secrets.properties() {
        match member.value() {
            Some(CstNode::Leaf(CstLeafNode::StringLit(text)))
                if text.decoded_value().is_ok_and(|text| text.contains("${")) => {}
            _ => member.set_value(CstInputValue::String(MASK.to_owned())),
        }
    }
}
