//! Loading: flags over environment over file over defaults, and the rule of the modes.
//!
//! Invariants: sandbox or live is decided here and nowhere else, and what asks for the sandbox wins
//! over everything that asks for live; a live secret is not loaded where the shared sandbox is used.

mod http;
mod live;
mod parts;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use url::Url;

pub use live::kept_credentials;

use super::{
    Mode, Settings,
    env::{Environment, Shown, Variable},
    file::{File, FileError},
};
use crate::{
    marketplaces::{Marketplace, may_be_reached},
    profile::Profile,
    store::StoreError,
};

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--log`.
    pub log: Option<LevelFilter>,
    /// `--sandbox`.
    pub sandbox: Option<SandboxFlag>,
    /// `--marketplaces`.
    pub marketplaces: Vec<Marketplace>,
    /// `--profile`.
    pub profiles: Vec<Profile>,
    /// `--read-only`.
    pub read_only: bool,
    /// Whether the command is about the real marketplaces whatever is configured.
    pub live: bool,
}

/// `--sandbox`, with or without a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxFlag {
    /// The one that the processes of the data directory share.
    Shared,
    /// The one at this admin URL.
    At(String),
}

/// The user's own folders.
#[derive(Clone, Debug)]
pub struct Homes {
    /// Where configuration is kept.
    pub config: PathBuf,
    /// Where data is kept.
    pub data: PathBuf,
}

impl Homes {
    /// By the XDG rules.
    ///
    /// # Errors
    ///
    /// [`LoadError::NoHome`].
    pub fn of_user() -> Result<Self, LoadError> {
        use etcetera::BaseStrategy as _;
        let base = etcetera::base_strategy::Xdg::new().map_err(|_| LoadError::NoHome)?;
        Ok(Self { config: base.config_dir(), data: base.data_dir() })
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The user has no home directory.
    #[error("there is no home directory: name the data directory with --data-dir")]
    NoHome,
    /// A configuration file was named, and is not there.
    #[error("{} does not exist, but {origin} names it", path.display())]
    ConfigMissing {
        /// Which.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
    },
    /// The configuration file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value cannot be used. It is not shown: it may be a secret in the wrong place.
    #[error("{setting} (from {origin}) {problem}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// Where the value is from.
        origin: Origin,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The live store is there and cannot be read, so the mode cannot be told.
    #[error("{} cannot be read: {source}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(Variable),
    /// The configuration file.
    File,
    /// The store, by a credential in it.
    Store,
    /// The program.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(variable) => write!(f, "environment {}", variable.name()),
            Self::File => f.write_str("file"),
            Self::Store => f.write_str("store"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting as `config show` has it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub setting: String,
    /// Its value; masked where it is a secret.
    pub value: String,
    /// Where it is from.
    pub origin: Origin,
}

/// The settings, and where each is from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// How much is logged.
    pub log: LevelFilter,
    /// The configuration file, whether there is one or not.
    pub config_file: PathBuf,
    /// Every setting, in the order of the file.
    pub entries: Vec<Entry>,
}

/// What is shown of a secret.
pub const MASK: &str = "********";

/// The credential of each marketplace: it makes the mode live.
const CREDENTIALS: &[(Variable, Marketplace)] = &[
    (Variable::CrooSdkKey, Marketplace::Croo),
    (Variable::CrochetApiKey, Marketplace::Crochet),
    (Variable::PaegentsApiKey, Marketplace::Paegents),
];

/// Loads the settings. Of the store only a live credential's presence is read, and only where it
/// decides; nothing is written.
///
/// # Errors
///
/// [`LoadError`].
pub fn load(flags: &Flags, env: Environment<'_>, homes: &Homes) -> Result<Loaded, LoadError> {
    let mut pick = Picker { env, entries: Vec::new(), has_account: None };
    let (file, config_file) = pick.file(flags, homes)?;
    let folder = config_file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let beside = |path: PathBuf| folder.join(path);
    let data_dir = pick.path(
        "data_dir",
        flags.data_dir.clone().map(|path| (path, Origin::Flag("--data-dir"))),
        Variable::DataDir,
        file.data_dir.map(beside),
    );
    let data_dir = data_dir.unwrap_or_else(|| {
        let default = homes.data.join("haggle");
        pick.note("data_dir", default.display(), Origin::Default);
        default
    });
    let log = pick.log(flags.log, file.log.as_deref())?;
    let (mode, marketplaces) = pick.mode(flags, file.marketplaces, &data_dir)?;
    let mut profiles = pick.profiles(flags, file.profiles)?;
    let read_only = pick.read_only(flags, file.read_only);
    let policy = pick.policy(&mode, &file.policy);
    let own = OwnSecrets::by(&mode);
    let files_dir = pick.path("files_dir", None, Variable::FilesDir, file.files_dir.map(beside));
    let files_dir = files_dir.unwrap_or_else(|| {
        let default = data_dir.join("files");
        pick.note("files_dir", default.display(), Origin::Default);
        default
    });
    let croo = pick.croo(file.croo, own)?;
    let crochet = pick.crochet(file.crochet.api_url, own)?;
    let paegents = pick.paegents(file.paegents, own, profiles.contains(&Profile::Owner))?;
    let configured = [
        (Marketplace::Crochet, crochet.api_key.is_some()),
        (Marketplace::Paegents, paegents.agent_id.is_some() && paegents.api_key.is_some()),
    ];
    for (marketplace, has_key) in configured {
        if mode == Mode::Live
            && marketplaces.contains(&marketplace)
            && !has_key
            && !pick.has_account(&data_dir)?.contains(&marketplace)
        {
            pick.offer_account(&mut profiles);
        }
    }
    let keystore = file.wallet.keystore.map(beside);
    let wallet = pick.wallet(file.wallet.address, keystore, own)?;
    let chain = pick.chain(file.chain.chain_id, file.chain.rpc_url)?;
    let vault = pick.vault(file.vault.passphrase_file.map(beside), file.vault.no_keyring)?;
    let http = pick.http(file.http)?;
    let clients = pick.clients(file.clients, &profiles, read_only)?;
    let settings = Settings {
        mode,
        data_dir,
        marketplaces,
        profiles,
        read_only,
        policy,
        croo,
        crochet,
        paegents,
        files_dir,
        wallet,
        chain,
        vault,
        http,
        clients,
    };
    Ok(Loaded { settings, log, config_file, entries: pick.entries })
}

/// Which secrets are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnSecrets {
    /// All.
    All,
    /// Those of the environment alone: it says which sandbox, so its keys are that sandbox's.
    Environment,
    /// None: the shared sandbox has its own.
    None,
}

impl OwnSecrets {
    const fn by(mode: &Mode) -> Self {
        match mode {
            Mode::Live => Self::All,
            Mode::Sandbox { url: Some(_) } => Self::Environment,
            Mode::Sandbox { url: None } => Self::None,
        }
    }
}

/// Picks each value from where it counts most, and notes where it was.
struct Picker<'a> {
    env: Environment<'a>,
    entries: Vec<Entry>,
    /// The marketplaces of which the live store holds a credential, once it was looked at.
    has_account: Option<Vec<Marketplace>>,
}

impl Picker<'_> {
    /// The marketplaces of which the live store of this directory holds a credential.
    fn has_account(&mut self, data_dir: &Path) -> Result<Vec<Marketplace>, LoadError> {
        if let Some(known) = &self.has_account {
            return Ok(known.clone());
        }
        let path = data_dir.join("live.db");
        let found = kept_credentials(&path).map_err(|source| LoadError::Store { path, source })?;
        self.has_account = Some(found.clone());
        Ok(found)
    }

    fn note(&mut self, setting: &str, value: impl fmt::Display, origin: Origin) {
        // A secret can also decide the mode, which is none.
        let masked = matches!(&origin, Origin::Environment(variable)
            if variable.shown() == Shown::Masked && variable.setting() == setting);
        let value = if masked { MASK.to_owned() } else { value.to_string() };
        self.entries.push(Entry { setting: setting.to_owned(), value, origin });
    }

    /// A text: the environment's, else the file's.
    fn text(&mut self, variable: Variable, file: Option<String>) -> Option<(String, Origin)> {
        let found = match self.env.get(variable) {
            Some(value) => Some((value, Origin::Environment(variable))),
            None => file.map(|value| (value, Origin::File)),
        };
        if let Some((value, origin)) = &found {
            self.note(variable.setting(), value, origin.clone());
        }
        found
    }

    fn path(
        &mut self,
        setting: &'static str,
        flag: Option<(PathBuf, Origin)>,
        variable: Variable,
        file: Option<PathBuf>,
    ) -> Option<PathBuf> {
        let env = || Some((self.env.get(variable)?.into(), Origin::Environment(variable)));
        let (path, origin) = flag.or_else(env).or_else(|| Some((file?, Origin::File)))?;
        self.note(setting, path.display(), origin);
        Some(path)
    }

    fn secret(&mut self, variable: Variable, loaded: bool) -> Option<SecretString> {
        let secret = self.env.secret(variable)?;
        if loaded {
            self.note(variable.setting(), MASK, Origin::Environment(variable));
            return Some(secret);
        }
        self.entries.push(Entry {
            setting: variable.setting().to_owned(),
            value: "not used: the sandbox has its own".to_owned(),
            origin: Origin::Environment(variable),
        });
        None
    }

    /// The configuration, and the file that it is from, or would be.
    fn file(&mut self, flags: &Flags, homes: &Homes) -> Result<(File, PathBuf), LoadError> {
        let flag = flags.config.clone().map(|path| (path, Origin::Flag("--config")));
        let named = self.path("config", flag, Variable::Config, None);
        let origin = self.entries.last().map_or(Origin::Default, |entry| entry.origin.clone());
        let path = named.clone().unwrap_or_else(|| homes.config.join("haggle/config.toml"));
        match (File::read(&path)?, named) {
            (Some(file), named) => {
                if named.is_none() {
                    self.note("config", path.display(), Origin::Default);
                }
                Ok((file, path))
            }
            (None, Some(path)) => Err(LoadError::ConfigMissing { path, origin }),
            (None, None) => {
                let none = format!("{} (there is none)", path.display());
                self.note("config", none, Origin::Default);
                Ok((File::default(), path))
            }
        }
    }

    fn log(
        &mut self,
        flag: Option<LevelFilter>,
        file: Option<&str>,
    ) -> Result<LevelFilter, LoadError> {
        let (level, origin) = match (flag, self.env.get(Variable::Log), file) {
            (Some(level), ..) => (Some(level), Origin::Flag("--log")),
            (None, Some(word), _) => (level(&word), Origin::Environment(Variable::Log)),
            (None, None, Some(word)) => (level(word), Origin::File),
            (None, None, None) => (Some(LevelFilter::WARN), Origin::Default),
        };
        let problem = "must be off, error, warn, info, debug or trace";
        let level =
            level.ok_or(LoadError::Value { setting: "log", origin: origin.clone(), problem })?;
        self.note("log", level, origin);
        Ok(level)
    }

    /// The rule of DESIGN §3.
    fn mode(
        &mut self,
        flags: &Flags,
        file: Option<Vec<Marketplace>>,
        data_dir: &Path,
    ) -> Result<(Mode, Vec<Marketplace>), LoadError> {
        let from_flag = (!flags.marketplaces.is_empty())
            .then(|| (flags.marketplaces.clone(), Origin::Flag("--marketplaces")));
        let from_file = file.filter(|named| !named.is_empty()).map(|named| (named, Origin::File));
        let named = from_flag.or(from_file);
        let (mode, origin) = match (&flags.sandbox, self.env.get(Variable::SandboxUrl)) {
            (Some(SandboxFlag::Shared), _) => (sandbox(None), Origin::Flag("--sandbox")),
            (Some(SandboxFlag::At(url)), _) => {
                (sandbox(Some(url.clone())), Origin::Flag("--sandbox"))
            }
            (None, _) if flags.live => (Mode::Live, Origin::Default),
            (None, Some(url)) => (sandbox(Some(url)), Origin::Environment(Variable::SandboxUrl)),
            (None, None) => match &named {
                Some((_, origin)) => (Mode::Live, origin.clone()),
                None => self.mode_by_credentials(data_dir)?,
            },
        };
        let value = match &mode {
            Mode::Live => "live".to_owned(),
            Mode::Sandbox { url: None } => "sandbox, shared by this data directory".to_owned(),
            Mode::Sandbox { url: Some(url) } => {
                sandbox_url(url, &origin)?;
                format!("sandbox at {url}")
            }
        };
        self.note("mode", value, origin);
        let (marketplaces, origin) = match named {
            Some(named) => named,
            None => (self.in_use(&mode, data_dir)?, Origin::Default),
        };
        let list: Vec<_> = marketplaces.iter().map(|marketplace| marketplace.name()).collect();
        self.note("marketplaces", list.join(","), origin);
        Ok((mode, marketplaces))
    }

    /// Live where there is a credential of a marketplace, in the environment or in the live store.
    fn mode_by_credentials(&mut self, data_dir: &Path) -> Result<(Mode, Origin), LoadError> {
        for (variable, _) in CREDENTIALS {
            if self.env.get(*variable).is_some() {
                return Ok((Mode::Live, Origin::Environment(*variable)));
            }
        }
        let kept = self.has_account(data_dir)?;
        Ok(if kept.is_empty() {
            (sandbox(None), Origin::Default)
        } else {
            (Mode::Live, Origin::Store)
        })
    }

    /// The marketplaces, where none is named: all of the sandbox's; of the real ones those that there
    /// is a credential for, and all where there is none.
    fn in_use(&mut self, mode: &Mode, data_dir: &Path) -> Result<Vec<Marketplace>, LoadError> {
        let all = Marketplace::ALL.to_vec();
        if *mode != Mode::Live {
            return Ok(all);
        }
        let mut found: Vec<_> = CREDENTIALS
            .iter()
            .filter(|(variable, _)| self.env.get(*variable).is_some())
            .map(|(_, marketplace)| *marketplace)
            .collect();
        found.extend(self.has_account(data_dir)?);
        found.sort_unstable();
        found.dedup();
        Ok(if found.is_empty() { all } else { found })
    }

    fn profiles(
        &mut self,
        flags: &Flags,
        file: Option<Vec<Profile>>,
    ) -> Result<Vec<Profile>, LoadError> {
        let (mut profiles, origin) = match file {
            _ if !flags.profiles.is_empty() => (flags.profiles.clone(), Origin::Flag("--profile")),
            Some(profiles) => (profiles, Origin::File),
            None => (vec![Profile::Market, Profile::Buy], Origin::Default),
        };
        profiles.push(Profile::Market);
        profiles.sort_unstable();
        profiles.dedup();
        let names: Vec<_> = profiles.iter().map(|profile| profile.name()).collect();
        self.note("profiles", names.join(","), origin.clone());
        if profiles.contains(&Profile::Owner) && profiles.len() > 2 {
            let problem = "combines `owner` with others: it goes with `market` alone, so that no \
                           agent that spends can also agree to it";
            return Err(LoadError::Value { setting: "profiles", origin, problem });
        }
        Ok(profiles)
    }

    /// Without an account nothing else works, so the tools that get one are there; but never beside
    /// the owner's.
    fn offer_account(&mut self, profiles: &mut Vec<Profile>) {
        if !profiles.contains(&Profile::Account) && !profiles.contains(&Profile::Owner) {
            profiles.push(Profile::Account);
            self.note("profiles", "account: there is no account yet", Origin::Default);
        }
    }

    fn read_only(&mut self, flags: &Flags, file: Option<bool>) -> bool {
        let (read_only, origin) = match file {
            _ if flags.read_only => (true, Origin::Flag("--read-only")),
            Some(read_only) => (read_only, Origin::File),
            None => (false, Origin::Default),
        };
        self.note("read_only", read_only, origin);
        read_only
    }
}

const fn sandbox(url: Option<String>) -> Mode {
    Mode::Sandbox { url }
}

/// The level of this name.
#[must_use]
pub fn level(word: &str) -> Option<LevelFilter> {
    // The library reads numbers as well, which nobody would guess.
    word.bytes().all(|byte| byte.is_ascii_alphabetic()).then(|| word.parse().ok()).flatten()
}

/// A sandbox has keys that everybody knows and is on this machine; nothing else is taken for one.
fn sandbox_url(url: &str, origin: &Origin) -> Result<(), LoadError> {
    let on_this_machine =
        Url::parse(url).is_ok_and(|url| url.scheme() == "http" && may_be_reached(&url));
    let problem = "must be the admin_url of a `haggle sandbox` on this machine";
    let error = LoadError::Value { setting: "the sandbox's URL", origin: origin.clone(), problem };
    on_this_machine.then_some(()).ok_or(error)
}
