//! The configuration file: TOML, strict, without secrets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::http::{ClientFile, HttpSettings};
use crate::{
    marketplaces::Marketplace, principal::PrincipalName, profile::Profile, spend::policy::Policy,
};

/// Bytes in the largest configuration file that is read.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Haggle's configuration. Every key may be left out. Secrets are not kept here: they come from
/// the environment, `haggle keys` and the account tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "haggle/config.toml")]
pub struct File {
    /// The directory of the store.
    pub data_dir: Option<PathBuf>,
    /// The folder that files are delivered from and downloaded to; `files` in the data directory by
    /// default.
    pub files_dir: Option<PathBuf>,
    /// How much is logged: off, error, warn, info, debug or trace.
    pub log: Option<String>,
    /// The marketplaces to trade on. Naming one means the real one, not the sandbox.
    pub marketplaces: Option<Vec<Marketplace>>,
    /// The profiles whose tools are offered: market, buy, sell, browse, pay, settle,
    /// account, events, legacy, owner.
    #[schemars(with = "Option<Vec<String>>")]
    pub profiles: Option<Vec<Profile>>,
    /// Whether only tools that read are offered.
    pub read_only: Option<bool>,
    /// What may be spent.
    #[schemars(with = "Policy")]
    pub policy: toml::Table,
    /// CROO.
    pub croo: CrooFile,
    /// Crochet.
    pub crochet: CrochetFile,
    /// Paegents.
    pub paegents: PaegentsFile,
    /// The wallet.
    pub wallet: WalletFile,
    /// The chain that payments are made on.
    pub chain: ChainFile,
    /// Where the key comes from that the store's secrets are sealed with.
    pub vault: VaultFile,
    /// The HTTP server.
    pub http: HttpSettings,
    /// The clients of the HTTP server, by name. Where there is one, nobody calls without a token.
    #[schemars(with = "BTreeMap<String, ClientFile>")]
    pub clients: BTreeMap<PrincipalName, ClientFile>,
}

/// CROO's part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrooFile {
    /// The host of its API.
    pub api_url: Option<String>,
    /// The host of its event stream.
    pub ws_url: Option<String>,
    /// Whether the wallet's balance is read before an order is paid; true by default.
    pub balance_check: Option<bool>,
}

/// Crochet's part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrochetFile {
    /// The root of its API.
    pub api_url: Option<String>,
}

/// Paegents' part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PaegentsFile {
    /// The root of its API.
    pub api_url: Option<String>,
    /// The agent that the key is of.
    pub agent_id: Option<String>,
    /// The escrow contract of a chain for which this program pins none.
    pub escrow: Option<String>,
    /// At which percentage of an escrow's units metered calls stop until the caller insists; 90 by
    /// default.
    pub soft_stop_percent: Option<u8>,
}

/// The wallet's part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WalletFile {
    /// The address that the EVM key must have.
    pub address: Option<String>,
    /// A Web3 V3 keystore with the EVM key.
    pub keystore: Option<PathBuf>,
}

/// The chain's part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChainFile {
    /// 8453 (Base) or 84532 (Base Sepolia); 8453 by default.
    pub chain_id: Option<u64>,
    /// Its JSON-RPC node; by default a public one.
    pub rpc_url: Option<String>,
}

/// The vault's part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VaultFile {
    /// A file of mode 0600 with a passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Whether the operating system's keyring is left alone.
    pub no_keyring: Option<bool>,
}

/// Why a configuration file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} has more than 256 KiB: it is no configuration", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is not TOML, has a key that does not exist, or a value that does not fit.
    #[error("{} line {line}: {problem}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl File {
    /// Reads a configuration file; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Unreadable { path: path.to_owned(), source }),
        };
        if text.len() > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text).map(Some).map_err(|(line, problem)| FileError::Malformed {
            path: path.to_owned(),
            line,
            problem,
        })
    }

    /// Reads the text of one; otherwise the line and what is wrong in it.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let line_at =
            |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let file: Self = toml::from_str(text).map_err(|error| {
            let line = line_at(error.span().map_or(0, |span| span.start));
            (line, problem(error.message()))
        })?;
        // Read once more by itself, since only its own keys are known to be the file's.
        file.policy.clone().try_into::<Policy>().map_err(|error| {
            let line = line_at(text.find("[policy").unwrap_or(0));
            (line, format!("in [policy]: {}", problem(error.message())))
        })?;
        Ok(file)
    }
}

/// What is wrong, in one line; with where the right names are, if a key does not exist.
fn problem(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.split_once(", expected") {
        Some((unknown, _)) if unknown.starts_with("unknown field") => {
            let field = unknown.trim_start_matches("unknown field").trim();
            format!("there is no key {field}; `haggle config schema` lists those that exist")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_strictly_and_says_where() {
        #[rustfmt::skip]
        let rows = [
            // what it shows          text                                       line and words
            ("nothing",               "",                                        None),
            ("every part",            "read_only = true\n[policy]\nday_max_usd = \"1\"\n[chain]\nchain_id = 8453\n", None),
            ("an unknown key",        "\nreadonly = true\n",                     Some((2, "`readonly`"))),
            ("a secret",              "[crochet]\napi_key = \"am_k_1\"\n",       Some((2, "`api_key`"))),
            ("an unknown limit",      "\n[policy]\nday_max = \"1\"\n",           Some((2, "`day_max`"))),
            ("money as a number",     "[policy]\nday_max_usd = 1.5\n",           Some((1, "in [policy]"))),
            ("an unknown profile",    "profiles = [\"all\"]\n",                  Some((1, "all"))),
            ("an unknown market",     "marketplaces = [\"ebay\"]\n",             Some((1, "ebay"))),
            ("no TOML",               "a = \n",                                  Some((1, ""))),
        ];
        for (row, text, expected) in rows {
            match (File::parse(text), expected) {
                (Ok(_), None) => {}
                (Err((line, problem)), Some((at, words))) => {
                    assert_eq!(line, at, "{row}: {problem}");
                    assert!(problem.contains(words), "{row}: {problem}");
                    assert!(!problem.contains("am_k_1"), "{row}: {problem}");
                }
                (read, expected) => panic!("{row}: {read:?} {expected:?}"),
            }
        }
    }
}
