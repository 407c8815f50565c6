//! The commands of the `haggle` program, a file each beside this one.
//!
//! A command gives a [`Report`] or a [`Failure`]; what it prints and the exit status follow from
//! that, here alone: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 store.

pub mod config;
pub mod credentials;
pub mod demo;
pub mod doctor;
pub mod install;
pub mod keys;
pub mod output;
pub mod owner;
pub mod paint;
pub mod payees;
pub mod purchases;
pub mod readme;
mod replace;
pub mod sandbox;
pub mod serve;
mod stores;
pub mod tools;
pub mod working;

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tracing::level_filters::LevelFilter;

pub use output::{Failure, Report};

use crate::{
    app::App,
    clock::wall_ms,
    config::{
        env::{Environment, Reader},
        load::{self, Flags, Homes, Loaded, SandboxFlag},
    },
    marketplaces::Marketplace,
    profile::Profile,
    telemetry,
};

/// Lets language models buy and sell on agent marketplaces, within their owner's limits.
///
/// Without a command it serves MCP on standard input and output. Without an account it works on a
/// sandbox with play money.
#[derive(Debug, Parser)]
#[command(name = "haggle", version, max_term_width = 100)]
pub struct Cli {
    /// The flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command; `serve` where there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The flags of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The configuration file [default: ~/.config/haggle/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the journal and the secrets are [default: ~/.local/share/haggle]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How much is logged: off, error, warn, info, debug, trace [default: warn]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = read_level)]
    pub log: Option<LevelFilter>,
    /// Use the sandbox: the one of the data directory, or a running one by its admin URL
    #[arg(
        long, global = true, value_name = "URL",
        num_args = 0..=1, require_equals = true, default_missing_value = ""
    )]
    pub sandbox: Option<String>,
    /// Use these real marketplaces, of: croo, crochet, paegents
    #[arg(
        long, global = true, value_name = "LIST",
        value_delimiter = ',', value_parser = read_marketplace
    )]
    pub marketplaces: Vec<Marketplace>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve MCP on standard input and output
    Serve(serve::ServeArgs),
    /// Watch an agent buy on a sandbox, then the audit
    Demo,
    /// Run the sandbox for other programs
    Sandbox(sandbox::SandboxArgs),
    /// List the tools with their cost in tokens
    Tools(tools::ToolsArgs),
    /// Check configuration, keys, store, chain and marketplaces
    Doctor(doctor::DoctorArgs),
    /// The journal: what was bought
    #[command(subcommand)]
    Purchases(purchases::PurchasesCommand),
    /// Agree to a purchase, or to something else, that waits for you
    Approve(owner::ApproveArgs),
    /// Refuse what waits for you
    Deny(owner::DenyArgs),
    /// Stop all spending, in all processes, at once
    Freeze(owner::FreezeArgs),
    /// Allow spending again
    Unfreeze(owner::FreezeArgs),
    /// Your names for addresses
    #[command(subcommand)]
    Payees(payees::PayeesCommand),
    /// The wallet's keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

fn read_level(word: &str) -> Result<LevelFilter, String> {
    load::level(word).ok_or_else(|| "it must be off, error, warn, info, debug or trace".to_owned())
}

fn read_marketplace(name: &str) -> Result<Marketplace, String> {
    Marketplace::named(name).ok_or_else(|| {
        let names: Vec<_> = Marketplace::ALL.iter().map(|known| known.name()).collect();
        format!("the marketplaces are: {}", names.join(", "))
    })
}

/// Reads the name of a profile.
///
/// # Errors
///
/// The names there are.
pub fn read_profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| {
        let names: Vec<_> = Profile::ALL.iter().map(|known| known.name()).collect();
        format!("the profiles are: {}", names.join(", "))
    })
}

/// Runs a command and gives the exit status. `env` is how the environment is read.
#[must_use]
pub fn run(cli: Cli, env: Reader<'_>) -> u8 {
    output::finish(carry_out(cli, env))
}

fn carry_out(cli: Cli, env: Reader<'_>) -> Result<Report, Failure> {
    let flags = flags(&cli);
    let command = cli.command.unwrap_or_else(|| Command::Serve(serve::ServeArgs::default()));
    let load = || -> Result<Loaded, Failure> {
        let homes = Homes::of_user()?;
        let loaded = load::load(&flags, Environment::new(env), &homes)?;
        telemetry::start(loaded.log);
        Ok(loaded)
    };
    match command {
        // Neither reads a configuration that could be broken.
        Command::Sandbox(args) => {
            telemetry::start(flags.log.unwrap_or(LevelFilter::WARN));
            several_threads()?.block_on(sandbox::run(args))
        }
        Command::Demo => {
            telemetry::start(flags.log.unwrap_or(LevelFilter::ERROR));
            several_threads()?.block_on(demo::run())
        }
        Command::Tools(args) => tools::run(&args),
        Command::Config(config::ConfigCommand::Schema) => config::schema(),
        Command::Config(config::ConfigCommand::Install(args)) => {
            let folders = install::Folders::of_user(Environment::new(env))?;
            install::run(&args, &cli.global, &folders, wall_ms() / 1000)
        }
        Command::Config(config::ConfigCommand::Show(args)) => Ok(config::show(&load()?, &args)),
        Command::Config(config::ConfigCommand::AddClient(args)) => {
            credentials::add_client(&load()?, &args)
        }
        Command::Config(config::ConfigCommand::RemoveClient(args)) => {
            credentials::remove_client(&load()?, &args)
        }
        Command::Config(config::ConfigCommand::OwnerKey(args)) => {
            credentials::owner_key(&load()?, &args)
        }
        Command::Serve(args) => {
            let app = App::new(load()?.settings);
            // One client is served best by one thread; many are not.
            let runtime = if args.http.is_some() { several_threads()? } else { one_thread()? };
            runtime.block_on(serve::run(app, args.http))
        }
        Command::Doctor(args) => with_app(load()?, |app, loaded| doctor::run(app, loaded, args)),
        Command::Purchases(args) => with_app(load()?, |app, _| purchases::run(app, args)),
        Command::Approve(args) => with_app(load()?, |app, _| owner::approve(app, args)),
        Command::Deny(args) => with_app(load()?, |app, _| owner::deny(app, args)),
        Command::Freeze(args) => with_app(load()?, |app, _| owner::freeze(app, args)),
        Command::Unfreeze(args) => with_app(load()?, |app, _| owner::unfreeze(app, args)),
        Command::Payees(args) => with_app(load()?, |app, _| payees::run(app, args)),
        Command::Keys(args) => with_app(load()?, |app, _| keys::run(app, args)),
    }
}

/// What the command line says about the settings.
fn flags(cli: &Cli) -> Flags {
    let global = &cli.global;
    let sandbox = global
        .sandbox
        .clone()
        .map(|url| if url.is_empty() { SandboxFlag::Shared } else { SandboxFlag::At(url) });
    let (profiles, read_only) = match &cli.command {
        Some(Command::Serve(args)) => (args.profile.clone(), args.read_only),
        _ => (Vec::new(), false),
    };
    Flags {
        config: global.config.clone(),
        data_dir: global.data_dir.clone(),
        log: global.log,
        sandbox,
        marketplaces: global.marketplaces.clone(),
        profiles,
        read_only,
        // The sandbox brings its wallet: keys are only ever for the real marketplaces.
        live: matches!(cli.command, Some(Command::Keys(_))),
    }
}

/// Runs a command on the parts, and shuts them down after it.
fn with_app<F: Future<Output = Result<Report, Failure>>>(
    loaded: Loaded,
    command: impl FnOnce(Arc<App>, Loaded) -> F,
) -> Result<Report, Failure> {
    let app = App::new(loaded.settings.clone());
    one_thread()?.block_on(async {
        let done = command(app.clone(), loaded).await;
        app.shut_down().await;
        done
    })
}

fn one_thread() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| no_runtime(&error))
}

fn several_threads() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(|error| no_runtime(&error))
}

fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the program cannot start its threads: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_the_command_line() {
        #[rustfmt::skip]
        let rows: &[(&str, &[&str], bool)] = &[
            // what it shows               arguments                                        accepted
            ("no command",                 &[],                                             true),
            ("flags without a command",    &["--data-dir", "d", "--log", "debug"],          true),
            ("flags before it",            &["--data-dir", "d", "serve"],                   true),
            ("flags after it",             &["serve", "--data-dir", "d"],                   true),
            ("the sandbox",                &["serve", "--sandbox"],                         true),
            ("a sandbox",                  &["serve", "--sandbox=http://127.0.0.1:1/admin"], true),
            ("the sandbox and a list",     &["--sandbox", "purchases", "list"],             true),
            ("profiles",                   &["serve", "--profile", "sell,account"],         true),
            ("an unknown profile",         &["serve", "--profile", "all"],                  false),
            ("an unknown marketplace",     &["serve", "--marketplaces", "ebay"],            false),
            ("an unknown level",           &["serve", "--log", "5"],                        false),
            ("an unknown command",         &["buy"],                                        false),
            ("over HTTP",                  &["serve", "--http", "127.0.0.1:0"],             true),
            ("over HTTP, nowhere",         &["serve", "--http", "here"],                    false),
            ("an unknown flag",            &["serve", "--fast"],                            false),
            ("approve",                    &["approve", "pur_1"],                           true),
            ("approve something else",     &["approve", "ask_1"],                           true),
            ("approve nothing",            &["approve"],                                    false),
            ("no identifier",              &["approve", "../x"],                            false),
            ("a grant",                    &["approve", "pur_1", "--seller", "--up-to", "5", "--for", "30"], true),
            ("a grant without an end",     &["approve", "pur_1", "--seller", "--up-to", "5"], false),
            ("a grant without its word",   &["approve", "pur_1", "--up-to", "5", "--for", "30"], false),
            ("a grant of no amount",       &["approve", "pur_1", "--seller", "--up-to", "5e1", "--for", "30"], false),
            ("a grant for ever",           &["approve", "pur_1", "--seller", "--up-to", "5", "--for", "3650"], false),
            ("the owner's word",           &["purchases", "resolve", "pur_1", "--paid"],    true),
            ("both words",                 &["purchases", "resolve", "pur_1", "--paid", "--not-paid"], false),
            ("a word about all",           &["purchases", "resolve", "--paid"],             false),
            ("an export",                  &["purchases", "export", "--format", "csv"],     true),
            ("an export as what",          &["purchases", "export"],                        false),
            ("a key as an argument",       &["keys", "import", "0x00"],                     false),
            ("a payee",                    &["payees", "add", "n", "0x0", "--chain", "8453"], true),
            ("install",                    &["config", "install", "cursor"],                true),
            ("install into a project",     &["config", "install", "cursor", "--project"],   true),
            ("install into what",          &["config", "install"],                          false),
            ("install into an unknown one", &["config", "install", "emacs"],                false),
            ("a payee without a chain",    &["payees", "add", "n", "0x0"],                  false),
        ];
        for (row, arguments, accepted) in rows {
            let read = Cli::try_parse_from(std::iter::once(&"haggle").chain(*arguments));
            assert_eq!(read.is_ok(), *accepted, "{row}: {read:?}");
            if let Err(error) = read {
                assert_eq!(error.exit_code(), 2, "{row}");
            }
        }
    }

    /// What the help says can be given is what there is.
    #[test]
    fn the_help_names_every_choice() {
        let mut command = Cli::command();
        let global = command.render_long_help().to_string();
        for marketplace in Marketplace::ALL {
            let list = global.split("--marketplaces").nth(1).unwrap();
            assert!(list.contains(marketplace.name()), "{}", marketplace.name());
        }
        let serve = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        let install = command.find_subcommand_mut("config").unwrap();
        let install = install.find_subcommand_mut("install").unwrap().render_usage().to_string();
        for profile in Profile::ALL.iter().filter(|profile| **profile != Profile::Market) {
            assert!(serve.contains(profile.name()), "{}", profile.name());
        }
        for client in ["claude-code", "claude-desktop", "cursor", "vscode"] {
            assert!(install.contains(client), "{install}");
        }
    }

    #[test]
    fn flags_mean_the_same_before_and_after_the_command() {
        for arguments in [
            &["haggle", "--sandbox=http://127.0.0.1:1", "--data-dir", "d", "serve"][..],
            &["haggle", "serve", "--sandbox=http://127.0.0.1:1", "--data-dir", "d"],
            &["haggle", "--sandbox=http://127.0.0.1:1", "--data-dir", "d"],
        ] {
            let flags = flags(&Cli::try_parse_from(arguments).unwrap());
            let url = SandboxFlag::At("http://127.0.0.1:1".to_owned());
            assert_eq!(flags.sandbox, Some(url), "{arguments:?}");
            assert_eq!(flags.data_dir, Some("d".into()), "{arguments:?}");
        }
    }
}
