//! `haggle config add-client`, `remove-client`, `owner-key`: who may use the HTTP server.
//!
//! Invariants: a credential is shown once, on standard output, and only its hash is kept; the rest of
//! the configuration file, comments too, stays as it is, and a copy of it is kept beside it.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use toml_edit::{DocumentMut, Item, Table, value};

use super::{Failure, Report, replace};
use crate::{
    clock::wall_ms,
    config::{file::File, load::Loaded},
    credential::{self, CLIENT_PREFIX, CredentialDigest, OWNER_PREFIX},
    money::Usdc,
    principal::PrincipalName,
    profile::Profile,
};

/// The arguments of `config add-client`.
#[derive(Debug, Args)]
pub struct AddClientArgs {
    /// Its name in your journal: a-z, 0-9, `-` and `_`
    #[arg(value_name = "NAME")]
    pub name: PrincipalName,
    /// The sets of tools it is offered [default: those of the server]
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = super::read_profile
    )]
    pub profile: Vec<Profile>,
    /// Offer it only tools that read
    #[arg(long)]
    pub read_only: bool,
    /// The most that one purchase of it may cost, in dollars, within your own limit
    #[arg(long, value_name = "USD")]
    pub purchase_max: Option<Usdc>,
    /// The most that it may spend in 24 hours, in dollars, within your own limit
    #[arg(long, value_name = "USD")]
    pub day_max: Option<Usdc>,
    /// Give a client that there is another token; the old one opens nothing any more
    #[arg(long, conflicts_with_all = ["profile", "read_only", "purchase_max", "day_max"])]
    pub rotate: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `config remove-client`.
#[derive(Debug, Args)]
pub struct RemoveClientArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: PrincipalName,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `config owner-key`.
#[derive(Debug, Args)]
pub struct OwnerKeyArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes a client's token.
///
/// # Errors
///
/// Where the client is there already, the profiles are none of a client's, or the file cannot be
/// written.
pub fn add_client(loaded: &Loaded, args: &AddClientArgs) -> Result<Report, Failure> {
    if args.profile.contains(&Profile::Owner) {
        return Err(Failure::usage(
            "the profile `owner` is served over stdio alone: no agent may agree to what another asks",
        ));
    }
    let name = args.name.as_str();
    let (token, digest) = make(CLIENT_PREFIX)?;
    let path = edit(loaded, |document| {
        let clients = table(document, "clients")?;
        clients.set_implicit(true);
        match clients.get_mut(name).and_then(Item::as_table_like_mut) {
            Some(client) if args.rotate => {
                client.insert("token_sha256", value(digest.to_string()));
            }
            Some(_) => {
                return Err(Failure::usage(format!(
                    "there is a client {name}; --rotate gives it another token"
                )));
            }
            None if args.rotate => {
                return Err(Failure::usage(format!("there is no client {name}")));
            }
            None => {
                clients.insert(name, Item::Table(client(args, digest)));
            }
        }
        Ok(())
    })?;
    if args.json {
        return Ok(Report::json(&json!({ "client": name, "token": token.expose_secret(),
            "config": path })));
    }
    Ok(shown(
        &format!("The token of the client {name}:"),
        &token,
        &format!(
            "It is shown once; {} keeps its hash. The client sends it as `Authorization: Bearer …`. \
             Servers know it from their next start on.",
            path.display()
        ),
    ))
}

fn client(args: &AddClientArgs, digest: CredentialDigest) -> Table {
    let mut client = Table::new();
    client.insert("token_sha256", value(digest.to_string()));
    if !args.profile.is_empty() {
        let names = args.profile.iter().map(|profile| profile.name());
        client.insert("profiles", value(names.collect::<toml_edit::Array>()));
    }
    if args.read_only {
        client.insert("read_only", value(true));
    }
    let limits = [("purchase_max_usd", args.purchase_max), ("day_max_usd", args.day_max)];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            client.insert(name, value(limit.to_string()));
        }
    }
    client
}

/// Ends a client's access. Its purchases stay in the journal.
///
/// # Errors
///
/// Where there is no such client, or the file cannot be written.
pub fn remove_client(loaded: &Loaded, args: &RemoveClientArgs) -> Result<Report, Failure> {
    let name = args.name.as_str();
    let path = edit(loaded, |document| {
        let removed = table(document, "clients")?.remove(name);
        let missing = || Failure::usage(format!("there is no client {name}"));
        removed.map(drop).ok_or_else(missing)
    })?;
    if args.json {
        return Ok(Report::json(&json!({ "client": name, "removed": true, "config": path })));
    }
    Ok(Report::text(format!(
        "{name} is removed from {}. Servers that run know its token until they are started anew; its \
         purchases stay in the journal.",
        path.display()
    )))
}

/// Makes the key of the owner's page, in place of an earlier one.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn owner_key(loaded: &Loaded, args: &OwnerKeyArgs) -> Result<Report, Failure> {
    let (key, digest) = make(OWNER_PREFIX)?;
    let path = edit(loaded, |document| {
        table(document, "http")?.insert("owner_key_sha256", value(digest.to_string()));
        Ok(())
    })?;
    if args.json {
        return Ok(Report::json(&json!({ "owner_key": key.expose_secret(), "config": path })));
    }
    Ok(shown(
        "The key of your page:",
        &key,
        &format!(
            "It is shown once; {} keeps its hash. Give it to no agent: it approves payments. The page \
             is at /owner of `haggle serve --http`, from its next start on.",
            path.display()
        ),
    ))
}

fn make(prefix: &str) -> Result<(SecretString, CredentialDigest), Failure> {
    credential::make(prefix).map_err(|error| {
        Failure::failed(format!(
            "nothing was written: the operating system gives no random numbers: {error}"
        ))
    })
}

fn shown(heading: &str, credential: &SecretString, rest: &str) -> Report {
    Report::text(format!("{heading}\n\n{}\n\n{rest}", credential.expose_secret()))
}

/// The table of this name, made where it is missing.
fn table<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table, Failure> {
    document
        .entry(name)
        .or_insert_with(toml_edit::table)
        .as_table_mut()
        .ok_or_else(|| Failure::configuration(format!("`{name}` is no table of its own there")))
}

/// Edits the configuration file, and gives its path.
fn edit(
    loaded: &Loaded,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let path = &loaded.config_file;
    let broken = |error: std::io::Error| {
        Failure::failed(format!("{} cannot be changed: {error}", path.display()))
    };
    let (path, _) = replace::follow(path).map_err(broken)?;
    let turn = replace::Turn::wait(&path).map_err(broken)?;
    let before = replace::read(&path).map_err(broken)?;
    let unreadable = |problem: String| {
        Failure::configuration(format!("{} cannot be read: {problem}", path.display()))
    };
    let mut document: DocumentMut = before
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error: toml_edit::TomlError| unreadable(error.message().to_owned()))?;
    change(&mut document)?;
    let after = document.to_string();
    File::parse(&after).map_err(|(line, problem)| unreadable(format!("line {line}: {problem}")))?;
    turn.replace(before.as_deref(), &after, &replace::stamp(wall_ms() / 1000)).map_err(broken)?;
    Ok(path)
}
