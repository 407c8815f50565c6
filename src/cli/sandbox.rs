//! `haggle sandbox`: the marketplaces on one loopback port, for other programs.

use std::{net::SocketAddr, sync::Arc};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Report, output, working::Working};
use crate::{
    clock::wall_ms,
    sandbox::{self, Sandbox},
};

/// The flags of `sandbox`.
#[derive(Clone, Debug, Args)]
pub struct SandboxArgs {
    /// Where to listen: loopback only; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What its keys and identifiers derive from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How long accepting, confirming and settling take
    #[arg(long, value_name = "PACE", value_enum, default_value_t = PaceArg::Fast)]
    pub pace: PaceArg,
}

/// How long things take.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PaceArg {
    /// 300 ms each
    Fast,
    /// As long as on the real marketplaces
    Real,
}

impl From<PaceArg> for sandbox::Pace {
    fn from(pace: PaceArg) -> Self {
        match pace {
            PaceArg::Fast => Self::Fast,
            PaceArg::Real => Self::Real,
        }
    }
}

/// Prints one line of JSON when it is ready, and serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where it cannot listen.
pub async fn run(args: SandboxArgs) -> Result<Report, Failure> {
    let broken = |error: std::io::Error| Failure::failed(format!("the sandbox failed: {error}"));
    // Before it is announced, so that whoever reads the line can end it.
    let mut terminated = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(broken)?;
    let options = sandbox::Options {
        listen: args.listen,
        seed: args.seed,
        pace: args.pace.into(),
        store: None,
        now: Arc::new(wall_ms),
    };
    let working = Working::on("starting the sandbox");
    let sandbox = Sandbox::start(options)
        .await
        .map_err(|error| Failure::failed(format!("{error}; choose another --listen")))?;
    drop(working);
    let mut line = serde_json::to_vec(&sandbox.info())
        .map_err(|error| Failure::failed(format!("the sandbox cannot say where it is: {error}")))?;
    line.push(b'\n');
    output::print(&line).map_err(broken)?;
    output::remark("the sandbox serves until you press Ctrl-C; the line above says where");
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    sandbox.shutdown().await;
    Ok(Report::nothing())
}
