//! `haggle tools`: the tools as clients see them, with what they cost in tokens, and their
//! committed schemas.

use std::{collections::BTreeSet, fs, io, path::Path, path::PathBuf};

use clap::Args;
use rmcp::model::Tool;
use serde_json::{Value, json};

use super::{Failure, Report, output};
use crate::{
    marketplaces::Marketplace,
    profile::Profile,
    tools::{self, Kind},
};

/// The flags of `tools`.
#[derive(Debug, Default, Args)]
pub struct ToolsArgs {
    /// Only the tools of these profiles [default: all]
    #[arg(
        long, value_name = "NAMES", value_delimiter = ',', value_parser = super::read_profile
    )]
    pub profile: Vec<Profile>,
    /// Only tools that read
    #[arg(long)]
    pub read_only: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write each tool's JSON into this directory, and remove those of tools that are gone
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// Lists the tools, or writes their schemas.
///
/// # Errors
///
/// Where the schemas cannot be written.
pub fn run(args: &ToolsArgs) -> Result<Report, Failure> {
    if let Some(folder) = &args.write {
        let written = write_schemas(folder).map_err(|error| {
            Failure::failed(format!("{} cannot be written: {error}", folder.display()))
        })?;
        return Ok(Report::text(format!("{written} tools are in {}", folder.display())));
    }
    let profiles = if args.profile.is_empty() { Profile::ALL } else { &args.profile };
    let rows = rows(profiles, args.read_only);
    Ok(if args.json { as_json(&rows) } else { as_table(&rows) })
}

/// A tool in the table.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its title.
    pub title: String,
    /// The profiles it is in.
    pub profiles: &'static [Profile],
    /// What it can do.
    pub kind: Kind,
    /// What it costs a model to see it.
    pub tokens: usize,
}

/// The tools of these profiles; `market` is always among them.
#[must_use]
pub fn rows(profiles: &[Profile], read_only: bool) -> Vec<Row> {
    let listed = listed();
    let in_use = tools::in_use(profiles, Marketplace::ALL, read_only);
    tools::PLACES
        .iter()
        .filter(|place| in_use.contains_key(place.name))
        .filter_map(|place| {
            let tool = listed.iter().find(|tool| tool.name == place.name)?;
            let title = tool.annotations.as_ref().and_then(|hints| hints.title.clone());
            Some(Row {
                name: place.name,
                title: title.or_else(|| tool.title.clone()).unwrap_or_default(),
                profiles: place.profiles,
                kind: place.kind,
                tokens: tokens(tool),
            })
        })
        .collect()
}

/// Every tool as `tools/list` sends it.
#[must_use]
pub fn listed() -> Vec<Tool> {
    tools::router().list_all().iter().map(tools::listed).collect()
}

/// What a tool costs: the o200k tokens of its name, its description and its input schema.
#[must_use]
pub fn tokens(tool: &Tool) -> usize {
    let counter = tiktoken_rs::o200k_base_singleton();
    let description = tool.description.as_deref().unwrap_or_default();
    let schema = serde_json::to_string(&*tool.input_schema).unwrap_or_default();
    let count = |text: &str| counter.encode_ordinary(text).len();
    count(&tool.name) + count(description) + count(&schema)
}

/// The name of a kind.
#[must_use]
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::Spend => "spend",
    }
}

/// The names of profiles.
#[must_use]
pub fn profile_names(profiles: &[Profile]) -> String {
    let names: Vec<_> = profiles.iter().map(|profile| profile.name()).collect();
    names.join(", ")
}

fn sums(rows: &[Row]) -> Vec<(&'static str, usize, usize)> {
    Profile::ALL
        .iter()
        .map(|profile| {
            let own = rows.iter().filter(|row| row.profiles.contains(profile));
            (profile.name(), own.clone().count(), own.map(|row| row.tokens).sum())
        })
        .filter(|(_, count, _)| *count > 0)
        .collect()
}

fn total(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.tokens).sum()
}

fn as_table(rows: &[Row]) -> Report {
    let heading = ["tool", "kind", "profiles", "tokens"].map(ToOwned::to_owned).to_vec();
    let mut table = vec![heading];
    table.extend(rows.iter().map(|row| {
        let (profiles, tokens) = (profile_names(row.profiles), row.tokens.to_string());
        vec![row.name.to_owned(), kind_name(row.kind).to_owned(), profiles, tokens]
    }));
    let mut text = output::columns(&table);
    text.push('\n');
    let mut table: Vec<_> = sums(rows)
        .into_iter()
        .map(|(name, count, tokens)| {
            vec![name.to_owned(), format!("{count} tools"), format!("{tokens} tokens")]
        })
        .collect();
    let (count, tokens) = (rows.len(), total(rows));
    table.push(vec!["all".to_owned(), format!("{count} tools"), format!("{tokens} tokens")]);
    text.push_str(&output::columns(&table));
    Report::text(text)
}

fn as_json(rows: &[Row]) -> Report {
    let tools: Vec<Value> = rows
        .iter()
        .map(|row| {
            let profiles: Vec<_> = row.profiles.iter().map(|profile| profile.name()).collect();
            json!({ "name": row.name, "profiles": profiles, "kind": kind_name(row.kind),
                "tokens": row.tokens })
        })
        .collect();
    let profiles: serde_json::Map<String, Value> = sums(rows)
        .into_iter()
        .map(|(name, count, tokens)| (name.to_owned(), json!({ "tools": count, "tokens": tokens })))
        .collect();
    Report::json(&json!({ "tools": tools, "profiles": profiles,
        "total": { "tools": rows.len(), "tokens": total(rows) } }))
}

/// The committed files: name and contents of each.
#[must_use]
pub fn schema_files() -> Vec<(String, String)> {
    listed()
        .iter()
        .map(|tool| {
            let json = serde_json::to_string_pretty(tool).unwrap_or_default();
            (format!("{}.json", tool.name), format!("{json}\n"))
        })
        .collect()
}

/// Writes the JSON of every tool, and removes what this once wrote for tools that are gone. Gives
/// how many there are.
///
/// # Errors
///
/// Where the folder cannot be written.
pub fn write_schemas(folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let files = schema_files();
    for (name, text) in &files {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(&path, text)?;
        }
    }
    let kept: BTreeSet<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !kept.contains(name) && is_of_a_tool(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(files.len())
}

/// Whether a file is the JSON of a tool, by its contents: nothing else is ever removed.
fn is_of_a_tool(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let text = match path.extension() {
        Some(extension) if extension == "json" => fs::read(path).ok(),
        _ => None,
    };
    let tool = text.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    tool.is_some_and(|tool| {
        tool.get("name").and_then(Value::as_str) == stem && tool.get("inputSchema").is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_listed_once_with_its_cost() {
        let rows = rows(Profile::ALL, false);
        assert_eq!(rows.len(), listed().len());
        assert!(rows.iter().all(|row| row.tokens > 10 && !row.title.is_empty()), "{rows:?}");
        let reading = super::rows(&[Profile::Buy], true);
        assert!(reading.iter().all(|row| row.kind == Kind::Read));
        assert!(reading.iter().any(|row| row.profiles.contains(&Profile::Market)));
    }

    #[test]
    fn schemas_are_written_and_only_a_tools_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let gone = r#"{"name":"croo_gone","inputSchema":{}}"#;
        fs::write(folder.path().join("croo_gone.json"), gone).unwrap();
        fs::write(folder.path().join("package.json"), r#"{"name":"x"}"#).unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let written = write_schemas(folder.path()).unwrap();
        assert_eq!(written, listed().len());
        let names: BTreeSet<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), written + 2);
        assert!(names.contains("package.json") && names.contains("notes.txt"));
        assert!(!names.contains("croo_gone.json"));
        let text = fs::read_to_string(folder.path().join("market_search.json")).unwrap();
        assert!(text.ends_with("}\n") && text.contains("\n  \"name\": \"market_search\""));
    }

    /// `tool-schemas/` holds what `tools/list` sends, no more and no less. With
    /// `UPDATE_TOOL_SCHEMAS=1` it is rewritten instead.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that can rewrite what it checks")]
    fn tool_schemas_are_as_the_code_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tool-schemas");
        if std::env::var("UPDATE_TOOL_SCHEMAS").is_ok() {
            write_schemas(&folder).unwrap();
        }
        let committed: BTreeSet<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let files = schema_files();
        let wanted: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(committed, wanted, "run: UPDATE_TOOL_SCHEMAS=1 cargo test tool_schemas");
        for (name, text) in files {
            let found = fs::read_to_string(folder.join(&name)).unwrap();
            assert_eq!(found, text, "{name}: UPDATE_TOOL_SCHEMAS=1 cargo test tool_schemas");
        }
    }
}
