//! What every source file keeps to.

use std::{
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;
/// What rustfmt cannot break, a text, a comment or a macro's pattern, may be this long.
const UNBROKEN_COLUMNS_MAX: usize = 125;
const FUNCTION_LINES_MAX: usize = 70;
const MODULES_BARRED: &[&str] = &["mod", "util", "utils", "common", "helpers", "misc"];

/// What is left over from an unfinished change. Put together here, so that this file is clean.
fn leftovers() -> Vec<String> {
    [
        ("to", "do!("),
        ("unimple", "mented!("),
        ("db", "g!("),
        ("FIX", "ME"),
        ("XX", "X"),
        ("for ", "now"),
        ("for the ", "time being"),
        ("TO", "DO"),
    ]
    .iter()
    .map(|(start, end)| format!("{start}{end}"))
    .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources are elsewhere");
    files.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().to_owned();
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of code: no blank ones, no comments.
fn code_lines(text: &str) -> usize {
    let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    text.lines().filter(code).count()
}

/// The lines that stand below `#[rustfmt::skip]`, up to the end of its statement.
fn skipped(lines: &[&str]) -> Vec<bool> {
    let mut skipped = vec![false; lines.len()];
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim().starts_with("#[rustfmt::skip]") {
            let depth = indent(lines[at]);
            at += 1;
            while at < lines.len() {
                skipped[at] = true;
                let closes = indent(lines[at]) == depth
                    && lines[at].trim_end().ends_with([';', '}'])
                    && !lines[at].trim_end().ends_with("{}");
                if closes {
                    break;
                }
                at += 1;
            }
        }
        at += 1;
    }
    skipped
}

/// The functions of a formatted file: name, first line, how many lines the body has.
fn functions(lines: &[&str]) -> Vec<(String, usize, usize)> {
    let (mut found, tables) = (Vec::new(), skipped(lines));
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words: Vec<&str> = trimmed.split_whitespace().collect();
        let Some(fn_at) = words.iter().position(|word| *word == "fn") else { continue };
        let before = ["pub", "async", "const", "unsafe", "pub(crate)", "pub(super)"];
        if !words[..fn_at].iter().all(|word| before.contains(word)) {
            continue;
        }
        let depth = line.len() - trimmed.len();
        let closing = format!("{}}}", " ".repeat(depth));
        let end = lines[at..].iter().position(|line| *line == closing || line.ends_with("{}"));
        let one_line = trimmed.ends_with('}') || trimmed.ends_with(';');
        let length = if one_line { 1 } else { end.unwrap_or(0) + 1 };
        // A table is as long as it has to be.
        let length = length - tables[at..at + length].iter().filter(|table| **table).count();
        found.push((words.get(fn_at + 1).unwrap_or(&"").to_string(), at + 1, length));
    }
    found
}

#[test]
fn files_are_short_headed_and_finished() {
    let (leftovers, mut wrong) = (leftovers(), Vec::new());
    for (path, text) in sources() {
        let name = path.display();
        if !text.starts_with("//!") {
            wrong.push(format!("{name} does not say what it is for"));
        }
        if code_lines(&text) > LINES_MAX {
            wrong.push(format!("{name} has {} lines of code", code_lines(&text)));
        }
        if MODULES_BARRED.iter().any(|barred| path.file_stem().is_some_and(|s| s == *barred)) {
            wrong.push(format!("{name} has a name that says nothing"));
        }
        let lines: Vec<&str> = text.lines().collect();
        for ((at, line), skipped) in lines.iter().enumerate().zip(skipped(&lines)) {
            let unbroken = ["\"", "//", "$"].iter().any(|sign| line.contains(sign));
            let most = if unbroken { UNBROKEN_COLUMNS_MAX } else { COLUMNS_MAX };
            if line.chars().count() > most && !skipped {
                wrong.push(format!("{name}:{} is too long", at + 1));
            }
            if let Some(left) = leftovers.iter().find(|left| line.contains(left.as_str())) {
                wrong.push(format!("{name}:{} has `{left}`", at + 1));
            }
        }
        for (function, at, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                wrong.push(format!("{name}:{at} {function} has {length} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The scanners themselves: what they have to see.
#[test]
fn the_scanners_see_what_they_look_for() {
    let long = format!("    let rows = [\n{}    ];", "        1,\n".repeat(FUNCTION_LINES_MAX));
    let text = format!("fn long() {{\n{long}\n}}\n\nfn short() {{}}\n");
    let lines: Vec<&str> = text.lines().collect();
    let found = functions(&lines);
    assert_eq!(found[0], ("long()".to_owned(), 1, FUNCTION_LINES_MAX + 4));
    assert_eq!(found[1].2, 1);
    assert_eq!(code_lines("//! a\n\nfn a() {}\n    // why\n    b();\n"), 2);
    let table =
        ["    #[rustfmt::skip]", "    let rows = [", "        1,", "    ];", "    after();"];
    assert_eq!(skipped(&table), [false, true, true, true, false]);
}
