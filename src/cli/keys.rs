//! `haggle keys`: the wallet's keys for the real marketplaces. A secret is read and kept, never
//! shown; the sandbox brings its own wallet.

mod kept;

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Failure, Report};
use crate::{
    app::App,
    config::{self, Mode},
    wallet::{KeyKind, keys::KeyError, keystore, pins},
};
use kept::Key;

/// Bytes in the longest key that is read: Solana's array of numbers.
const KEY_BYTES_MAX: u64 = 4096;

/// What about the keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key and say what to fund
    Generate(KeyArgs),
    /// Keep a key that you have: read from standard input or a hidden prompt, never an argument
    Import(KeyArgs),
    /// List the wallet's addresses and where their keys are
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a key that `generate` or `import` kept
    Remove {
        /// The Solana key instead of the EVM key
        #[arg(long)]
        solana: bool,
        /// You have another copy of the key, or nothing is left on its address
        #[arg(long)]
        yes: bool,
    },
}

/// Which key, and where it is kept.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct KeyArgs {
    /// A Solana key instead of an EVM key
    #[arg(long)]
    pub solana: bool,
    /// Keep it in the operating system's keyring instead of the store
    #[arg(long, conflicts_with = "keystore")]
    pub keyring: bool,
    /// Keep it in a new encrypted file (Web3 V3) instead of the store
    #[arg(long, value_name = "FILE", conflicts_with = "solana")]
    pub keystore: Option<PathBuf>,
    /// Take the place of the key that is kept now, which is then lost
    #[arg(long)]
    pub replace: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl KeyArgs {
    const fn kind(&self) -> KeyKind {
        if self.solana { KeyKind::Solana } else { KeyKind::Evm }
    }
}

/// Runs one of them.
///
/// # Errors
///
/// Where the key is none, a key would be lost, or it cannot be kept.
pub async fn run(app: Arc<App>, command: KeysCommand) -> Result<Report, Failure> {
    if app.settings().mode != Mode::Live {
        return Err(Failure::usage(
            "the sandbox brings its own wallet: leave --sandbox out to work on your keys",
        ));
    }
    match command {
        KeysCommand::Generate(args) => {
            let text = kept::fresh(args.kind()).map_err(|error| unusable(&error))?;
            keep(&app, &args, &text).await
        }
        KeysCommand::Import(args) => {
            let text = read_key(args.kind())?;
            keep(&app, &args, &text).await
        }
        KeysCommand::List { json } => kept::list(&app, json).await,
        KeysCommand::Remove { solana, yes } => {
            let kind = if solana { KeyKind::Solana } else { KeyKind::Evm };
            remove(&app, kind, yes).await
        }
    }
}

fn unusable(error: &KeyError) -> Failure {
    let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
    Failure::failed(format!("{error}{cause}"))
}

async fn keep(app: &App, args: &KeyArgs, text: &SecretString) -> Result<Report, Failure> {
    let key = Key::read(args.kind(), text).map_err(|error| unusable(&error))?;
    let address = key.address();
    let place = if let (Some(path), Key::Evm(evm)) = (&args.keystore, &key) {
        let passphrase = new_passphrase(app)?;
        keystore::export(evm, path, &passphrase).map_err(|error| unusable(&error))?;
        format!("the keystore {}", path.display())
    } else {
        kept::refuse_to_lose(app, args.kind(), &address, args.replace).await?;
        if args.keyring {
            kept::in_keyring(app, &key).await?
        } else {
            kept::in_store(app, &key, text).await?
        }
    };
    Ok(report(app, args, &address, &place))
}

/// What there is now and what to do with it.
fn report(app: &App, args: &KeyArgs, address: &str, place: &str) -> Report {
    let chain_id = app.settings().chain.chain_id.unwrap_or(pins::BASE);
    let chain = pins::chain(chain_id).map_or("the chain", |chain| chain.name);
    let (network, fund) = match args.kind() {
        KeyKind::Evm => (
            format!("{chain} (chain {chain_id})"),
            format!("send USDC, and a little ETH for the network's fees, on {chain}"),
        ),
        KeyKind::Solana => ("Solana".to_owned(), "send SOL on Solana".to_owned()),
    };
    let mut notes = vec![
        "An agent can spend it within your limits: keep no more there than you would in a pocket."
            .to_owned(),
    ];
    if let Some(path) = &args.keystore {
        let path = path.display();
        notes.push(format!(
            "To use it set HAGGLE_KEYSTORE={path} and HAGGLE_PASSPHRASE_FILE to a file of mode 0600 \
             with its passphrase."
        ));
    }
    let settings = &app.settings().wallet;
    let hidden = match args.kind() {
        KeyKind::Evm if settings.private_key.is_some() => Some("AGENT_PRIVATE_KEY"),
        KeyKind::Evm if settings.keystore.is_some() && args.keystore.is_none() => {
            Some("the configured keystore")
        }
        KeyKind::Solana if settings.solana_key.is_some() => Some("HAGGLE_SOLANA_KEY"),
        KeyKind::Evm | KeyKind::Solana => None,
    };
    if let Some(hidden) = hidden {
        notes.push(format!("It is not used while {hidden} gives another key."));
    }
    if args.json {
        return Report::json(&json!({ "address": address, "network": network, "kept_in": place,
            "fund": fund, "notes": notes }));
    }
    let notes = notes.join("\n");
    Report::text(format!(
        "address  {address}\nnetwork  {network}\nkept in  {place}\n\nTo fund it, {fund}, to this \
         address; `haggle doctor --marketplaces crochet --wait` waits for it.\n{notes}"
    ))
}

/// The key that the person gives: from a pipe, or typed without being shown.
fn read_key(kind: KeyKind) -> Result<SecretString, Failure> {
    let broken = |error: std::io::Error| Failure::failed(format!("no key was read: {error}"));
    let stdin = std::io::stdin();
    let text = if stdin.is_terminal() {
        Zeroizing::new(rpassword::prompt_password(format!("{kind} key: ")).map_err(broken)?)
    } else {
        let mut text = Zeroizing::new(String::with_capacity(256));
        stdin.lock().take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(broken)?;
        text
    };
    Ok(SecretString::from(text.trim()))
}

/// The passphrase of a new keystore: the configured one, else typed twice.
fn new_passphrase(app: &App) -> Result<SecretString, Failure> {
    let file: Option<&Path> = app.settings().vault.passphrase_file.as_deref();
    if file.is_some() {
        return config::passphrase(file).map_err(|error| Failure::configuration(error.to_string()));
    }
    let unasked = |_| {
        Failure::configuration(
            "a keystore needs a passphrase: run this in a terminal, or set HAGGLE_PASSPHRASE_FILE",
        )
    };
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(SecretString::from);
    let first = ask("Passphrase of the keystore: ").map_err(unasked)?;
    let second = ask("Once more: ").map_err(unasked)?;
    let (first_text, second_text) = (first.expose_secret(), second.expose_secret());
    if first_text != second_text {
        return Err(Failure::usage("the two differ; nothing was written"));
    }
    if first_text.chars().count() < 8 {
        return Err(Failure::usage("a passphrase has at least 8 characters; nothing was written"));
    }
    Ok(first)
}

async fn remove(app: &App, kind: KeyKind, yes: bool) -> Result<Report, Failure> {
    let Some(address) = kept::address(app, kind).await? else {
        return Err(Failure::failed(format!("the store has no {kind} key")));
    };
    if !yes {
        return Err(Failure::usage(format!(
            "without its key, what is on {address} is lost for good\nmove it first, or have a copy; \
             then: haggle keys remove --yes"
        )));
    }
    kept::refuse_while_paying(app, &address).await?;
    kept::forget(app, kind).await?;
    Ok(Report::text(format!("The {kind} key of {address} is forgotten.")))
}
