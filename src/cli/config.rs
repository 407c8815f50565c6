//! `haggle config`: what is configured, where it comes from, and what can be.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Failure, Report,
    credentials::{AddClientArgs, OwnerKeyArgs, RemoveClientArgs},
    install::InstallArgs,
    output,
};
use crate::config::{file::File, load::Loaded};

/// What about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting and where it comes from; secrets are masked
    Show(ShowArgs),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Give a client of the HTTP server a token
    AddClient(AddClientArgs),
    /// Take it back
    RemoveClient(RemoveClientArgs),
    /// Make the key of your page at /owner
    OwnerKey(OwnerKeyArgs),
    /// Write haggle into the configuration of an MCP client
    Install(InstallArgs),
}

/// The flags of `config show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Every setting with its origin.
#[must_use]
pub fn show(loaded: &Loaded, args: &ShowArgs) -> Report {
    if args.json {
        let rows: Vec<_> = loaded
            .entries
            .iter()
            .map(|entry| {
                json!({ "setting": entry.setting, "value": entry.value,
                    "origin": entry.origin.to_string() })
            })
            .collect();
        return Report::json(&json!({ "settings": rows }));
    }
    let rows: Vec<_> = loaded
        .entries
        .iter()
        .map(|entry| {
            vec![entry.setting.clone(), entry.value.clone(), format!("({})", entry.origin)]
        })
        .collect();
    Report::text(output::columns(&rows))
}

/// The schema of the file.
///
/// # Errors
///
/// Never.
pub fn schema() -> Result<Report, Failure> {
    let settings = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true);
    Ok(Report::json(&settings.into_generator().into_root_schema_for::<File>()))
}
