//! `haggle config install`: writes this program into the configuration of an MCP client.
//!
//! Invariants: nothing is changed that was not shown and agreed to; everything else in the file stays
//! byte by byte; the file as it was is kept beside it; no secret is written or shown.

mod clients;
mod edit;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;
use similar::{ChangeTag, TextDiff};
use url::Url;

pub use clients::{Client, Folders};
use clients::{Entry, Place, Server};
use edit::{Edited, edit};

use super::{
    Failure, Global, Report, output,
    paint::{Look, Painted},
    replace,
};
use crate::{marketplaces::may_be_reached, profile::Profile};

/// Characters in the longest name of a server.
const NAME_CHARS_MAX: usize = 64;

/// The arguments of `config install`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct InstallArgs {
    /// The client
    #[arg(
        value_enum,
        value_name = "claude-code|claude-desktop|cursor|vscode",
        hide_possible_values = true
    )]
    pub client: Client,
    /// Write into this project instead of your own configuration [default: this folder]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub project: Option<PathBuf>,
    /// The server's name in the client
    #[arg(long, default_value = "haggle", value_parser = read_name)]
    pub name: String,
    /// The sets of tools that the server offers, as for `serve`
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = super::read_profile
    )]
    pub profile: Vec<Profile>,
    /// Offer only tools that read
    #[arg(long)]
    pub read_only: bool,
    /// Name a server that runs already, by its URL, instead of this program
    #[arg(
        long, value_name = "URL", value_parser = read_url, conflicts_with_all = ["profile", "read_only"]
    )]
    pub url: Option<Url>,
    /// Have the client send that server a token, out of a variable of its environment
    #[arg(long, requires = "url")]
    pub token: bool,
    /// Take the entry away
    #[arg(long, conflicts_with_all = ["profile", "read_only", "url"])]
    pub remove: bool,
    /// Show the change and make none
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Make the change without asking
    #[arg(long)]
    pub yes: bool,
    /// Print JSON; asks nothing
    #[arg(long)]
    pub json: bool,
}

fn read_name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let good = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(fits);
    let rule = "1 to 64 letters, digits, - or _";
    if good { Ok(name.to_owned()) } else { Err(rule.to_owned()) }
}

/// A URL that may stand in a file that others may read.
fn read_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !may_be_reached(&url) {
        return Err("it must be https, or http on this machine".to_owned());
    }
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err("it must have no user, password, query or fragment: those may be secrets, \
                    and the client's file is no place for them"
            .to_owned());
    }
    Ok(url)
}

/// What is to be done, and how it came out.
struct Task<'a> {
    args: &'a InstallArgs,
    /// The file, links followed.
    file: PathBuf,
    entry: Option<Entry>,
    notes: Vec<String>,
}

/// Shows the change, asks, and makes it. `now` is in Unix seconds.
///
/// # Errors
///
/// Where the file cannot be used, or the change is not agreed to; then nothing was changed.
pub fn run(
    args: &InstallArgs,
    global: &Global,
    folders: &Folders,
    now: i64,
) -> Result<Report, Failure> {
    let place = place(args, folders)?;
    let entry = if args.remove { None } else { Some(args.client.entry(&server(args, global)?)?) };
    let (file, exists) =
        replace::follow(&place.file).map_err(|error| unusable(&place.file, &error))?;
    let notes = notes(args, &place, exists, entry.as_ref());
    let task = Task { args, file, entry, notes };
    let (_, edited) = task.edited()?;
    if let Some(outcome) = task.nothing_to_do(&edited) {
        return Ok(task.report(outcome, None, None));
    }
    if args.dry_run {
        return Ok(task.report("shown", Some(&edited), None));
    }
    if !args.yes {
        let asks = io::stdin().is_terminal() && io::stderr().is_terminal() && !args.json;
        let shown = task.report(if asks { "asked" } else { "shown" }, Some(&edited), None);
        output::print(shown.bytes())
            .map_err(|error| Failure::failed(format!("the change cannot be shown: {error}")))?;
        if !asks {
            return Err(Failure::usage("nothing was changed: add --yes to make this change"));
        }
        if !agreed()? {
            return Err(Failure::failed("nothing was changed"));
        }
    }
    task.carry_out(&edited, now)
}

/// The file that is meant.
fn place(args: &InstallArgs, folders: &Folders) -> Result<Place, Failure> {
    let Some(folder) = &args.project else { return Ok(args.client.of_user(folders)) };
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", folder.display())));
    }
    let folder = std::path::absolute(folder).map_err(|error| unusable(folder, &error))?;
    args.client.of_project(&folder)
}

/// What the client is to start, or to speak to.
fn server(args: &InstallArgs, global: &Global) -> Result<Server, Failure> {
    let Global { config, data_dir, log, sandbox, marketplaces } = global;
    if let Some(url) = &args.url {
        let ours = config.is_some() || data_dir.is_some() || log.is_some() || sandbox.is_some();
        if ours || !marketplaces.is_empty() {
            return Err(Failure::usage(
                "a server that runs has its own settings: with --url, leave out --config, \
                 --data-dir, --log, --sandbox and --marketplaces",
            ));
        }
        return Ok(Server::Http { url: url.to_string(), token: args.token });
    }
    let joined = |names: Vec<&str>| names.join(",");
    let mut list = vec!["serve".to_owned()];
    if !args.profile.is_empty() {
        let names = joined(args.profile.iter().map(|profile| profile.name()).collect());
        list.extend(["--profile".to_owned(), names]);
    }
    if args.read_only {
        list.push("--read-only".to_owned());
    }
    match sandbox.as_deref() {
        None => {}
        Some("") => list.push("--sandbox".to_owned()),
        Some(url) => {
            let url = read_url(url).map_err(|why| Failure::usage(format!("--sandbox: {why}")))?;
            list.push(format!("--sandbox={url}"));
        }
    }
    if !marketplaces.is_empty() {
        let names = joined(marketplaces.iter().map(|marketplace| marketplace.name()).collect());
        list.extend(["--marketplaces".to_owned(), names]);
    }
    for (flag, path) in [("--config", config), ("--data-dir", data_dir)] {
        if let Some(path) = path {
            // The client starts it in a folder of its own.
            let path = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
            list.extend([flag.to_owned(), text_of(&path)?]);
        }
    }
    if let Some(level) = log {
        list.extend(["--log".to_owned(), level.to_string()]);
    }
    Ok(Server::Program { command: text_of(&this_program()?)?, args: list })
}

fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .map_err(|error| Failure::failed(format!("this program is not found: {error}")))
}

/// The path as it stands in JSON.
fn text_of(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::failed(format!("{} is no text, so JSON cannot hold it", path.display()))
    })
}

/// What the person should know.
fn notes(args: &InstallArgs, place: &Place, exists: bool, entry: Option<&Entry>) -> Vec<String> {
    let (client, mut notes) = (args.client.name(), Vec::new());
    if args.project.is_none() && !exists && !place.sign.exists() {
        let sign = place.sign.display();
        notes.push(format!(
            "{client} has not been used here: there is no {sign}. The file waits for it."
        ));
    }
    if args.token {
        notes.push(format!("{client} takes the token from HAGGLE_TOKEN in its environment."));
    }
    let command = entry.and_then(|entry| entry.value.get("command")?.as_str());
    let Some(command) = command else { return notes };
    if args.project.is_some() {
        notes.push("The path to the program holds on this machine alone.".to_owned());
    }
    let folder = |name: &str| Path::new(command).parent().is_some_and(|path| path.ends_with(name));
    if folder("target/debug") || folder("target/release") {
        notes.push(
            "The program is in a build folder, which `cargo clean` empties; `cargo install --path \
             .` gives one that stays."
                .to_owned(),
        );
    }
    notes
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{} cannot be used, nothing was changed: {error}", path.display()))
}

/// Asks, and reads a line.
fn agreed() -> Result<bool, Failure> {
    let unheard = |error: io::Error| Failure::failed(format!("nothing was changed: {error}"));
    let mut asking = io::stderr().lock();
    asking
        .write_all(b"\nMake this change? [y/N] ")
        .and_then(|()| asking.flush())
        .map_err(unheard)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(unheard)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

impl Task<'_> {
    /// The file's text as it is now, and the edit of it.
    fn edited(&self) -> Result<(Option<String>, Edited), Failure> {
        let text = replace::read(&self.file).map_err(|error| unusable(&self.file, &error))?;
        let (key, name) = (self.args.client.key(), &self.args.name);
        edit(text.as_deref().unwrap_or_default(), key, name, self.entry.as_ref())
            .map(|edited| (text, edited))
            .map_err(|error| {
                Failure::failed(format!("{} {error}\nnothing was changed", self.file.display()))
            })
    }

    fn nothing_to_do(&self, edited: &Edited) -> Option<&'static str> {
        match (&edited.before, self.args.remove) {
            (None, true) => Some("absent"),
            (Some(before), false) if edited.after.as_ref() == Some(before) => Some("already"),
            _ => None,
        }
    }

    /// Makes the change that was agreed to, on the file as it is by now.
    fn carry_out(&self, agreed: &Edited, now: i64) -> Result<Report, Failure> {
        let failed = |error: io::Error| unusable(&self.file, &error);
        let turn = replace::Turn::wait(&self.file).map_err(failed)?;
        let (text, edited) = self.edited()?;
        if let Some(outcome) = self.nothing_to_do(&edited) {
            return Ok(self.report(outcome, None, None));
        }
        if edited.before != agreed.before {
            let file = self.file.display();
            return Err(Failure::failed(format!(
                "{file} has been changed in the meantime, and not by this: look again"
            )));
        }
        let stamp = replace::stamp(now);
        let copy = turn.replace(text.as_deref(), &edited.text, &stamp).map_err(failed)?;
        let outcome = match (&edited.before, &edited.after) {
            (None, _) => "added",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        };
        // With --yes nobody has seen it yet.
        let shown = Some(&edited).filter(|_| self.args.yes);
        Ok(self.report(outcome, shown, copy.as_deref()))
    }

    fn report(&self, outcome: &str, edited: Option<&Edited>, copy: Option<&Path>) -> Report {
        let (file, name) = (self.file.display(), &self.args.name);
        let lines = edited.map(difference).unwrap_or_default();
        if self.args.json {
            let lines = lines.iter().map(|(tag, line)| format!("{}{line}", sign(*tag)));
            return Report::json(&json!({ "outcome": outcome, "name": name,
                "client": self.args.client.name(), "file": self.file, "backup": copy,
                "difference": lines.collect::<String>(), "notes": self.notes }));
        }
        let mut text = Painted::new();
        if !lines.is_empty() {
            text.line(Look::Strong, &format!("{file}"));
        }
        for (tag, line) in lines {
            let look = match tag {
                ChangeTag::Equal => Look::Faint,
                ChangeTag::Delete => Look::Bad,
                ChangeTag::Insert => Look::Good,
            };
            text.put(look, &format!("{}{line}", sign(tag)));
        }
        let client = self.args.client.name();
        let (look, said) = match outcome {
            "already" => (Look::Good, format!("{name} is already in {file}; nothing was changed.")),
            "absent" => (Look::Good, format!("{file} has no {name}; nothing was changed.")),
            "added" | "changed" => (Look::Good, format!("{client} has {name} now.")),
            "removed" => (Look::Good, format!("{client} no longer has {name}.")),
            _ => (Look::Plain, String::new()),
        };
        if !said.is_empty() {
            text.line(look, &said);
        }
        if let Some(copy) = copy {
            text.line(Look::Plain, &format!("The file as it was: {}", copy.display()));
        }
        for note in &self.notes {
            text.line(Look::Note, note);
        }
        if matches!(outcome, "added" | "changed" | "removed") {
            text.line(Look::Plain, self.args.client.then());
        }
        Report::painted(text)
    }
}

/// The entry before and after, line by line.
fn difference(edited: &Edited) -> Vec<(ChangeTag, String)> {
    TextDiff::from_lines(&edited.shown_before, &edited.shown_after)
        .iter_all_changes()
        .map(|change| (change.tag(), change.to_string()))
        .collect()
}

const fn sign(tag: ChangeTag) -> &'static str {
    match tag {
        ChangeTag::Equal => "  ",
        ChangeTag::Delete => "- ",
        ChangeTag::Insert => "+ ",
    }
}

#[cfg(test)]
mod tests;
