//! An MCP server with every tool, resource and prompt that the official conformance suite calls by name,
//! over the very HTTP transports that the program serves. It prints one line of JSON with its URL when it
//! is ready, and serves until it is told to end.

mod answers;
mod prompts;
mod questions;
mod resources;
mod rounds;
mod server;

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use haggle::transports::http::{Service, Tenant, listen};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use server::Fixture;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fixture = Fixture::new()?;
    let tenant = Tenant { token: None, handler: Arc::new(move || fixture.clone()) };
    let service = Service {
        tenants: vec![tenant],
        settings: haggle::config::http::HttpSettings::default(),
        metrics: Arc::default(),
        ready: Arc::new(|| Box::pin(async { true })),
        beside: axum::Router::new(),
    };
    let mut told_to_end = signal(SignalKind::terminate())?;
    let stopping = CancellationToken::new();
    let listening =
        listen(SocketAddr::from(([127, 0, 0, 1], 0)), service, stopping.clone()).await?;
    let ready = json!({ "url": format!("http://{}/mcp", listening.address()) });
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::spawn(async move {
        told_to_end.recv().await;
        stopping.cancel();
    });
    listening.serve().await;
    Ok(())
}
