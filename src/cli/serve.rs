//! `haggle serve`: MCP on standard input and output, until the input closes; or over HTTP, until it
//! is told to end.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    sync::Arc,
};

use clap::Args;

use super::{Failure, Report, output};
use crate::{
    app::App,
    profile::Profile,
    transports::{self, http::HttpError},
};

/// The flags of `serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Serve over HTTP there instead: /mcp, and /sse for older clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// The sets of tools: buy, sell, browse, pay, settle, account, events, legacy, owner [default: buy]
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
/// Where standard input or output breaks, the address cannot be listened on, or the owner's tools
/// would be served over HTTP.
pub async fn run(app: Arc<App>, http: Option<SocketAddr>) -> Result<Report, Failure> {
    if let Some(address) = http {
        if app.settings().profiles.contains(&Profile::Owner) {
            return Err(Failure::usage(
                "--http does not go with the profile `owner`, which is served over stdio alone: \
                 no agent may agree to what another one asks; leave --http out, or name other \
                 profiles with --profile",
            ));
        }
        let announce = |address| output::complain(&format!("listening on http://{address}/mcp"));
        let served = transports::http::serve(app, address, announce).await;
        return served.map(|()| Report::nothing()).map_err(|error| match error {
            HttpError::Address(..) => Failure::failed(error.to_string()),
            HttpError::Gate(_) | HttpError::Open(_) => Failure::configuration(error.to_string()),
        });
    }
    if io::stdin().is_terminal() {
        output::remark(
            "this speaks MCP on standard input, to a program; Ctrl-D ends it. `haggle demo` shows what \
             it can do, `haggle config install CLIENT` gives it to a client",
        );
    }
    transports::stdio::serve(app)
        .await
        .map_err(|error| Failure::failed(format!("standard input or output failed: {error}")))?;
    Ok(Report::nothing())
}
