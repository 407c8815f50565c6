//! `haggle serve`: MCP on standard input and output, until the input closes.

use std::sync::Arc;

use clap::Args;

use super::{Failure, Report};
use crate::{app::App, profile::Profile, transports};

/// The flags of `serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// The sets of tools: market, buy, sell, browse, account [default: market,buy]
    #[arg(
        long, value_name = "NAMES", value_delimiter = ',', value_parser = super::read_profile
    )]
    pub profile: Vec<Profile>,
    /// Offer only tools that read
    #[arg(long)]
    pub read_only: bool,
}

/// Serves until the input closes or the program is told to end.
///
/// # Errors
///
/// Where standard input or output breaks.
pub async fn run(app: Arc<App>) -> Result<Report, Failure> {
    transports::stdio::serve(app)
        .await
        .map_err(|error| Failure::failed(format!("standard input or output failed: {error}")))?;
    Ok(Report::nothing())
}
