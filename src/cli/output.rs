//! What a command leaves: a report on standard output, or a failure on standard error.
//!
//! Invariant: no character of someone else's text can move the cursor, change colours or turn the
//! direction of a line in the reader's terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;

use super::paint::Painted;
use crate::{
    config::load::LoadError,
    error::{Code, Error},
};

/// What a command has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// For standard output, ready to be written.
    bytes: Vec<u8>,
    /// Whether what was looked for is wrong, although the command worked.
    pub wrong: bool,
}

impl Report {
    /// Nothing to say.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Text for people; it ends with a line end.
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        let mut text = harmless(text.as_ref());
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Self { bytes: text.into_bytes(), wrong: false }
    }

    /// Text for people in colours, where there are any; it has been made harmless already.
    #[must_use]
    pub fn painted(text: Painted) -> Self {
        Self { bytes: text.into_bytes(), wrong: false }
    }

    /// JSON for programs.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        // The values of reports have no keys other than text.
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        Self::text(text)
    }

    /// Bytes as they are: asked for by name.
    #[must_use]
    pub const fn raw(bytes: Vec<u8>) -> Self {
        Self { bytes, wrong: false }
    }

    /// With the verdict that something is wrong.
    #[must_use]
    pub const fn wrong(mut self, wrong: bool) -> Self {
        self.wrong = wrong;
        self
    }

    /// What goes to standard output.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a command did not do what it was told; the kind decides the exit status.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// What happened and what to do, one or two lines.
    pub message: String,
}

impl Failure {
    /// It failed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { status: 1, message: message.into() }
    }

    /// The command cannot be meant like that.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { status: 2, message: message.into() }
    }

    /// The configuration cannot be used.
    #[must_use]
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { status: 3, message: message.into() }
    }

    /// The store cannot be used.
    #[must_use]
    pub fn store(message: impl Into<String>) -> Self {
        Self { status: 4, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error.code {
            Code::StoreUnavailable | Code::StoreStale => Self::store(message),
            Code::InvalidArgument => Self::usage(message),
            _ => Self::failed(message),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store { .. } => Self::store(format!(
                "{error}\nit decides whether this is live; with --sandbox it is not looked at"
            )),
            other => Self::configuration(other.to_string()),
        }
    }
}

/// Writes what a command leaves, and gives the exit status.
pub(super) fn finish(done: Result<Report, Failure>) -> u8 {
    match done {
        Ok(report) => match print(&report.bytes) {
            Ok(()) => u8::from(report.wrong),
            Err(error) => {
                complain(&format!("standard output cannot be written: {error}"));
                1
            }
        },
        Err(failure) => {
            complain(&failure.message);
            failure.status
        }
    }
}

/// Writes to standard output at once. A reader that has gone away is no failure.
///
/// # Errors
///
/// Where it cannot be written for another reason.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes a line to standard error: there is nowhere to say that it failed.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "haggle: {}", harmless(message));
}

/// Says something that only a person needs, where one is watching.
pub fn remark(message: &str) {
    if io::stderr().is_terminal() {
        complain(message);
    }
}

/// Text with what a terminal would act on written out, as JSON writes it: valid inside JSON, too.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !acts(c) {
            shown.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Controls, marks of direction, invisible characters and tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Rows in columns, as wide as their widest cell; the last column is not padded.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |at: usize| {
        let widths = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_report_acts_on_a_terminal() {
        #[rustfmt::skip]
        let rows = [
            // what it shows     text                     shown
            ("plain",            "naïve ✓ 日本",            "naïve ✓ 日本"),
            ("a colour",         "a\u{1b}[31mb",          "a\\u001b[31mb"),
            ("a C1 control",     "a\u{9b}31mb",           "a\\u009b31mb"),
            ("back to the left", "a\rb",                  "a\\u000db"),
            ("turned around",    "a\u{202e}b",            "a\\u202eb"),
            ("an unseen tag",    "a\u{e0041}b",           "a\\udb40\\udc41b"),
            ("lines",            "a\nb",                  "a\nb"),
        ];
        for (row, text, shown) in rows {
            assert_eq!(harmless(text), shown, "{row}");
        }
        let report = Report::json(&serde_json::json!({ "a": "x\u{202e}\u{e0041}\u{9b}y" }));
        let read: serde_json::Value = serde_json::from_slice(report.bytes()).unwrap();
        assert_eq!(read["a"], "x\u{202e}\u{e0041}\u{9b}y");
    }

    #[test]
    fn statuses_say_what_kind_of_failure_it_was() {
        #[rustfmt::skip]
        let rows = [
            ("done",          Ok(Report::nothing()),                                            0),
            ("found wrong",   Ok(Report::nothing().wrong(true)),                                1),
            ("failed",        Err(Error::new(Code::NotFound, "x").into()),                      1),
            ("wrong usage",   Err(Error::argument("id", "is empty", "pur_1").into()),           2),
            ("configuration", Err(LoadError::NoHome.into()),                                    3),
            ("the store",     Err(Error::new(Code::StoreUnavailable, "x").into()),              4),
        ];
        for (row, done, status) in rows {
            assert_eq!(finish(done), status, "{row}");
        }
    }
}
