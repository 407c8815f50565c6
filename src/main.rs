//! The `haggle` program: reads the command line and sets the exit status.

use std::process::ExitCode;

use clap::Parser as _;
use haggle::{cli, config::env};

fn main() -> ExitCode {
    let arguments = match cli::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => {
            // Help and version go to standard output with status 0, the rest to standard error.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    ExitCode::from(cli::run(arguments, &env::process))
}
