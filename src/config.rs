//! Settings: what the owner decides, read once from flags, environment and a file, in this order.
//!
//! Secrets come from the environment, from private files and from the store, never from the
//! configuration file.

pub mod env;
pub mod file;
pub mod http;
pub mod load;

use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    ids::AgentId,
    marketplaces::Marketplace,
    principal::{LOCAL, Principal},
    private_file::{self, FileError},
    profile::Profile,
    spend::policy::{Limits, Policy},
};

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sandbox or live; never both.
    pub mode: Mode,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// The marketplaces in use.
    pub marketplaces: Vec<Marketplace>,
    /// The profiles whose tools are offered; `market` is always among them.
    pub profiles: Vec<Profile>,
    /// Whether only tools that read are offered.
    pub read_only: bool,
    /// What may be spent.
    pub policy: Policy,
    /// CROO's settings.
    pub croo: CrooSettings,
    /// Crochet's settings.
    pub crochet: CrochetSettings,
    /// Paegents' settings.
    pub paegents: PaegentsSettings,
    /// The folder that files are read from and written to.
    pub files_dir: PathBuf,
    /// The wallet's settings.
    pub wallet: WalletSettings,
    /// The chain's settings.
    pub chain: ChainSettings,
    /// Where the store's key comes from.
    pub vault: VaultSettings,
    /// The HTTP server's settings.
    pub http: http::HttpSettings,
    /// The clients that have a token for it.
    pub clients: Vec<Principal>,
}

impl Settings {
    /// The owner's own client: over stdio, and over HTTP where no client has a token.
    #[must_use]
    pub fn local(&self) -> Principal {
        Principal {
            name: LOCAL.to_owned(),
            profiles: self.profiles.clone(),
            read_only: self.read_only,
            limits: Limits::default(),
            token: None,
        }
    }
}

/// Sandbox or live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The sandbox: at this admin URL, or shared by the processes of the data directory.
    Sandbox {
        /// The `admin_url` of a running `haggle sandbox`.
        url: Option<String>,
    },
    /// The real marketplaces.
    Live,
}

impl Mode {
    /// Its name in results.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sandbox { .. } => "sandbox",
            Self::Live => "live",
        }
    }
}

/// CROO's settings. Source of the names: protocols/croo.md §1.
#[derive(Clone, Debug)]
pub struct CrooSettings {
    /// The API's host.
    pub api_url: String,
    /// The host of the event stream.
    pub ws_url: String,
    /// The agent's key.
    pub sdk_key: Option<SecretString>,
    /// Whether the wallet's balance is read before an order is paid.
    pub balance_check: bool,
}

/// The host of the real CROO.
pub const CROO_API_URL: &str = "https://api.croo.network";
/// The event stream of the real CROO.
pub const CROO_WS_URL: &str = "wss://api.croo.network/ws";

impl Default for CrooSettings {
    fn default() -> Self {
        Self {
            api_url: CROO_API_URL.to_owned(),
            ws_url: CROO_WS_URL.to_owned(),
            sdk_key: None,
            balance_check: true,
        }
    }
}

/// Crochet's settings. Source of the names: protocols/crochet.md §1.
#[derive(Clone, Debug)]
pub struct CrochetSettings {
    /// The API's root.
    pub api_url: String,
    /// The account's key; otherwise the store's.
    pub api_key: Option<SecretString>,
    /// The secret that forwarded requests are signed with; otherwise the store's, by listing.
    pub signing_secret: Option<SecretString>,
}

/// The API root of the real Crochet.
pub const CROCHET_API_URL: &str = "https://getcrochet.ai/api/v1";

/// Paegents' settings. Source of the names: protocols/paegents.md §1.
#[derive(Clone, Debug)]
pub struct PaegentsSettings {
    /// The API's root.
    pub api_url: String,
    /// The agent that the key is of; otherwise the store's.
    pub agent_id: Option<AgentId>,
    /// The agent's key; otherwise the store's.
    pub api_key: Option<SecretString>,
    /// The secret that webhooks are signed with.
    pub webhook_secret: Option<SecretString>,
    /// The owner's token: loaded for the profile `owner` alone.
    pub owner_jwt: Option<SecretString>,
    /// The escrow contract, where the chain in use has none pinned.
    pub escrow: Option<Address>,
    /// At which percentage of an escrow's units metered calls stop until the caller insists.
    pub soft_stop_percent: u8,
}

/// The API root of the real Paegents.
pub const PAEGENTS_API_URL: &str = "https://api.paegents.com";
/// Where metered calls stop first, unless configured.
pub const SOFT_STOP_PERCENT: u8 = 90;

impl Default for PaegentsSettings {
    fn default() -> Self {
        Self {
            api_url: PAEGENTS_API_URL.to_owned(),
            agent_id: None,
            api_key: None,
            webhook_secret: None,
            owner_jwt: None,
            escrow: None,
            soft_stop_percent: SOFT_STOP_PERCENT,
        }
    }
}

/// Where the wallet's keys come from.
#[derive(Clone, Debug, Default)]
pub struct WalletSettings {
    /// An EVM key, hexadecimal.
    pub private_key: Option<SecretString>,
    /// The address that the EVM key must have.
    pub address: Option<String>,
    /// A Web3 V3 keystore; its passphrase is the vault's.
    pub keystore: Option<PathBuf>,
    /// A Solana key: base58, or the JSON array of the Solana command line.
    pub solana_key: Option<SecretString>,
}

/// The chain that payments are made on.
#[derive(Clone, Debug, Default)]
pub struct ChainSettings {
    /// 8453 or 84532; by default 8453 in live mode. The sandbox is 84532.
    pub chain_id: Option<u64>,
    /// Its node; by default a public one.
    pub rpc_url: Option<String>,
}

/// Where the store's key comes from.
#[derive(Clone, Debug, Default)]
pub struct VaultSettings {
    /// A file with a passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Whether the operating system's keyring is left alone.
    pub no_keyring: bool,
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// No file is configured.
    #[error("no passphrase is configured: set HAGGLE_PASSPHRASE_FILE to a file that holds it")]
    NotConfigured,
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no text.
    #[error("the passphrase file must hold text")]
    Unfit,
}

/// The passphrase of this file, without the line end that editors add.
///
/// # Errors
///
/// [`PassphraseError`].
pub fn passphrase(file: Option<&Path>) -> Result<SecretString, PassphraseError> {
    let bytes = private_file::read(file.ok_or(PassphraseError::NotConfigured)?)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PassphraseError::Unfit)?;
    let passphrase = SecretString::from(text.trim_end_matches(['\n', '\r']));
    if passphrase.expose_secret().is_empty() {
        return Err(PassphraseError::Unfit);
    }
    Ok(passphrase)
}
