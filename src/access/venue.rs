//! Where this process trades: the real marketplaces, a sandbox that runs elsewhere, or the sandbox
//! that the processes of one data directory share.
//!
//! The shared one is served by the first process that needs it, under a lock that ends with that
//! process; the others read its address from a file beside the lock and take over when it is gone.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Access, secret_names};
use crate::{
    chain::Chain,
    clock::wall_ms,
    config::Mode,
    error::{Code, Error},
    ids::AgentId,
    marketplaces::http::read_json,
    sandbox::{self, Sandbox},
    store::StoreError,
    wallet::{
        Wallet,
        keys::{EvmKey, KeyError, SolanaKey},
        pins,
    },
};

/// The seed of the world that the processes of a data directory share.
const SHARED_SEED: u64 = 1;
/// How long the sandbox is waited for.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(10);
const SANDBOX_POLL: Duration = Duration::from_millis(50);
/// The chain of the live mode, unless configured.
const LIVE_CHAIN: u64 = 8453;

/// Addresses, keys and the wallet.
#[derive(Debug)]
pub struct Venue {
    /// The sandbox's admin URL, where there is one.
    pub admin_url: Option<String>,
    /// CROO.
    pub croo: CrooVenue,
    /// Crochet's API root.
    pub crochet_url: String,
    /// The sandbox's account at Crochet, where the wallet is the sandbox's too.
    pub crochet_key: Option<SecretString>,
    /// Paegents.
    pub paegents: PaegentsVenue,
    /// The chain's number.
    pub chain_id: u64,
    /// Its node.
    pub rpc_url: String,
    /// The wallet.
    pub wallet: Arc<Wallet>,
    /// The chain's client, once it was needed.
    pub chain: OnceLock<Arc<Chain>>,
}

/// Where CROO is.
#[derive(Clone, Debug)]
pub struct CrooVenue {
    /// The API's host.
    pub api_url: String,
    /// The host of the event stream.
    pub ws_url: String,
    /// The sandbox's own agent's key.
    pub sdk_key: Option<SecretString>,
}

/// Where Paegents is.
#[derive(Clone, Debug)]
pub struct PaegentsVenue {
    /// The API's root.
    pub api_url: String,
    /// The sandbox's own agent and its key, where the wallet is the sandbox's too.
    pub agent: Option<(AgentId, SecretString)>,
    /// The token of that agent's owner.
    pub owner_jwt: Option<SecretString>,
    /// The secret that the sandbox signs webhooks with.
    pub webhook_secret: Option<SecretString>,
}

/// The venue of a process, found when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<Found>,
    stale: AtomicBool,
}

#[derive(Debug, Default)]
struct Found {
    venue: Option<Arc<Venue>>,
    serving: Option<Serving>,
}

/// The shared sandbox, while this process serves it.
#[derive(Debug)]
struct Serving {
    sandbox: Sandbox,
    // Held as long as the sandbox is served.
    _lock: File,
}

/// What `haggle sandbox` says about itself: the members that are used here.
#[derive(Debug, Deserialize)]
struct Contract {
    chain: ContractChain,
    croo: ContractCroo,
    crochet: ContractCrochet,
    paegents: ContractPaegents,
}

#[derive(Debug, Deserialize)]
struct ContractChain {
    rpc_url: String,
    chain_id: u64,
}

#[derive(Debug, Deserialize)]
struct ContractCroo {
    api_url: String,
    ws_url: String,
    requester: ContractRequester,
}

#[derive(Debug, Deserialize)]
struct ContractRequester {
    sdk_key: SecretString,
}

#[derive(Debug, Deserialize)]
struct ContractCrochet {
    api_url: String,
    buyer: ContractAgent,
}

#[derive(Debug, Deserialize)]
struct ContractPaegents {
    api_url: String,
    buyer: ContractPaegentsAgent,
    owner_jwt: SecretString,
    webhook_secret: SecretString,
}

#[derive(Debug, Deserialize)]
struct ContractPaegentsAgent {
    agent_id: AgentId,
    api_key: SecretString,
}

#[derive(Debug, Deserialize)]
struct ContractAgent {
    api_key: SecretString,
    wallet_private_key: SecretString,
}

#[derive(Debug, Deserialize)]
struct SandboxClock {
    offset_s: i64,
}

impl Slot {
    /// Looks for the venue anew at the next call.
    pub(super) fn forget(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// The venue.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, or a key cannot be read.
    pub(super) async fn get(&self, access: &Access) -> Result<Arc<Venue>, Error> {
        let mut found = self.state.lock().await;
        if self.stale.swap(false, Ordering::Relaxed) && found.serving.is_none() {
            found.venue = None;
        }
        if let Some(venue) = &found.venue {
            return Ok(venue.clone());
        }
        let venue = Arc::new(match &access.settings().mode {
            Mode::Live => live(access).await?,
            Mode::Sandbox { url: Some(url) } => {
                let contract = contract_at(access, url).await?;
                sandboxed(access, url.clone(), contract).await?
            }
            Mode::Sandbox { url: None } => shared(access, &mut found.serving).await?,
        });
        found.venue = Some(venue.clone());
        Ok(venue)
    }

    /// Stops serving the shared sandbox.
    pub(super) async fn shut_down(&self) {
        let serving = self.state.lock().await.serving.take();
        if let Some(serving) = serving {
            serving.sandbox.shutdown().await;
        }
    }
}

/// Sets the clock to the sandbox's.
///
/// # Errors
///
/// Where the sandbox does not answer.
pub(super) async fn refresh_clock(access: &Access) -> Result<(), Error> {
    let venue = access.venue().await?;
    let Some(admin_url) = &venue.admin_url else { return Ok(()) };
    let clock: SandboxClock = get(access, &format!("{admin_url}/clock")).await?;
    access.clock().set_offset(clock.offset_s);
    Ok(())
}

async fn live(access: &Access) -> Result<Venue, Error> {
    let settings = access.settings();
    let chain_id = settings.chain.chain_id.unwrap_or(LIVE_CHAIN);
    let pins = pins::chain(chain_id).ok_or_else(|| {
        Error::new(Code::ChainMismatch, format!("chain {chain_id} is none that is paid on"))
    })?;
    Ok(Venue {
        admin_url: None,
        croo: CrooVenue {
            api_url: settings.croo.api_url.clone(),
            ws_url: settings.croo.ws_url.clone(),
            sdk_key: None,
        },
        crochet_url: settings.crochet.api_url.clone(),
        crochet_key: None,
        paegents: PaegentsVenue {
            api_url: settings.paegents.api_url.clone(),
            agent: None,
            owner_jwt: None,
            webhook_secret: None,
        },
        chain_id,
        rpc_url: settings.chain.rpc_url.clone().unwrap_or_else(|| pins.rpc_url.to_owned()),
        wallet: Arc::new(wallet(access, None).await?),
        chain: OnceLock::new(),
    })
}

async fn sandboxed(access: &Access, admin_url: String, contract: Contract) -> Result<Venue, Error> {
    let buyer = contract.crochet.buyer;
    let own = access.settings().wallet.private_key.is_some();
    Ok(Venue {
        admin_url: Some(admin_url),
        croo: CrooVenue {
            api_url: contract.croo.api_url,
            ws_url: contract.croo.ws_url,
            sdk_key: Some(contract.croo.requester.sdk_key),
        },
        crochet_url: contract.crochet.api_url,
        crochet_key: (!own).then(|| bearer(&buyer.api_key)),
        paegents: PaegentsVenue {
            api_url: contract.paegents.api_url,
            agent: (!own).then(|| {
                let agent = contract.paegents.buyer;
                (agent.agent_id, agent.api_key)
            }),
            owner_jwt: Some(contract.paegents.owner_jwt),
            webhook_secret: Some(contract.paegents.webhook_secret),
        },
        chain_id: contract.chain.chain_id,
        rpc_url: contract.chain.rpc_url,
        wallet: Arc::new(wallet(access, Some(&buyer.wallet_private_key)).await?),
        chain: OnceLock::new(),
    })
}

fn bearer(key: &SecretString) -> SecretString {
    let key = key.expose_secret();
    if key.starts_with("Bearer ") { key.to_owned().into() } else { format!("Bearer {key}").into() }
}

/// The wallet: the configured keys; else the keys of the store; else the sandbox's.
async fn wallet(access: &Access, sandbox: Option<&SecretString>) -> Result<Wallet, Error> {
    let settings = &access.settings().wallet;
    let bad = |error: KeyError| Error::new(Code::SigningRefused, format!("the wallet: {error}"));
    let evm = match (&settings.private_key, &settings.keystore, sandbox) {
        (Some(key), _, _) | (None, _, Some(key)) => Some(EvmKey::read(key).map_err(bad)?),
        (None, Some(path), None) => {
            let file = access.settings().vault.passphrase_file.as_deref();
            let passphrase = crate::config::passphrase(file).map_err(|error| {
                Error::new(Code::SigningRefused, format!("the keystore's passphrase: {error}"))
            })?;
            Some(crate::wallet::keystore::open(path, &passphrase).map_err(bad)?)
        }
        (None, None, None) => match access.secret(secret_names::EVM_KEY).await? {
            Some(key) => Some(kept_evm(&key).map_err(bad)?),
            None => None,
        },
    };
    let solana = match (&settings.solana_key, sandbox) {
        (Some(key), _) => Some(SolanaKey::read(key).map_err(bad)?),
        (None, Some(_)) => None,
        (None, None) => match access.secret(secret_names::SOLANA_KEY).await? {
            Some(key) => Some(kept_solana(&key).map_err(bad)?),
            None => None,
        },
    };
    let wallet = Wallet::new(evm, solana);
    match (&settings.address, wallet.evm_address()) {
        (Some(expected), Some(found)) if !expected.eq_ignore_ascii_case(&found.to_string()) => {
            let message = format!("AGENT_WALLET_ADDRESS is {expected}, but the key is of {found}");
            Err(Error::new(Code::SigningRefused, message))
        }
        _ => Ok(wallet),
    }
}

/// What stands in the store before the account's name, where a key itself is in the keyring.
pub(crate) const KEYRING_REFERENCE: &str = "keyring:";

/// The EVM key that the store keeps, or names in the keyring.
pub(crate) fn kept_evm(text: &SecretString) -> Result<EvmKey, KeyError> {
    match text.expose_secret().strip_prefix(KEYRING_REFERENCE) {
        Some(account) => EvmKey::from_keyring(account),
        None => EvmKey::read(text),
    }
}

/// As [`kept_evm`], for Solana.
pub(crate) fn kept_solana(text: &SecretString) -> Result<SolanaKey, KeyError> {
    match text.expose_secret().strip_prefix(KEYRING_REFERENCE) {
        Some(account) => SolanaKey::from_keyring(account),
        None => SolanaKey::read(text),
    }
}

/// The shared sandbox: served by whoever holds its lock, found by the others.
async fn shared(access: &Access, serving: &mut Option<Serving>) -> Result<Venue, Error> {
    let folder = &access.settings().data_dir;
    crate::store::private_folder(folder).map_err(StoreError::from)?;
    let (lock_path, info_path) = (folder.join("sandbox.lock"), folder.join("sandbox.json"));
    let started = tokio::time::Instant::now();
    loop {
        let lock = File::create(&lock_path).map_err(StoreError::from)?;
        match lock.try_lock() {
            Ok(()) => return serve(access, serving, lock, info_path).await,
            Err(TryLockError::WouldBlock) => {
                if let Some((url, contract)) = announced(access, &info_path).await {
                    return sandboxed(access, url, contract).await;
                }
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::from(error).into()),
        }
        if started.elapsed() > SANDBOX_TIMEOUT {
            let message = "the sandbox of this data directory does not answer";
            return Err(Error::new(Code::UpstreamUnavailable, message));
        }
        tokio::time::sleep(SANDBOX_POLL).await;
    }
}

async fn serve(
    access: &Access,
    serving: &mut Option<Serving>,
    lock: File,
    info_path: PathBuf,
) -> Result<Venue, Error> {
    let options = sandbox::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        seed: SHARED_SEED,
        pace: sandbox::Pace::Fast,
        store: Some(access.settings().data_dir.join("sandbox-world.db")),
        now: Arc::new(wall_ms),
    };
    let sandbox = Sandbox::start(options).await.map_err(|error| {
        Error::new(Code::UpstreamUnavailable, format!("the sandbox did not start: {error}"))
    })?;
    let info = serde_json::to_vec(&sandbox.info())
        .map_err(|_| Error::new(Code::Internal, "the sandbox's address cannot be written"))?;
    fs::write(&info_path, &info).map_err(StoreError::from)?;
    let contract = read_json::<Contract>(&info)
        .map_err(|_| Error::new(Code::Internal, "the sandbox's address cannot be read"))?;
    let admin_url = sandbox.admin_url().to_owned();
    *serving = Some(Serving { sandbox, _lock: lock });
    sandboxed(access, admin_url, contract).await
}

/// The sandbox that another process announced, if it answers.
async fn announced(access: &Access, info_path: &PathBuf) -> Option<(String, Contract)> {
    #[derive(Deserialize)]
    struct Announced {
        admin_url: String,
    }
    let info = fs::read(info_path).ok()?;
    let url = read_json::<Announced>(&info).ok()?.admin_url;
    contract_at(access, &url).await.ok().map(|contract| (url, contract))
}

async fn contract_at(access: &Access, admin_url: &str) -> Result<Contract, Error> {
    get(access, &format!("{}/info", admin_url.trim_end_matches('/'))).await
}

/// One read of the sandbox's admin interface.
async fn get<T: serde::de::DeserializeOwned>(access: &Access, url: &str) -> Result<T, Error> {
    let gone = |_| {
        access.forget_venue();
        Error::new(Code::UpstreamUnavailable, "the sandbox does not answer; nothing was sent")
    };
    let request = access.http().client()?.get(url).timeout(SANDBOX_TIMEOUT);
    let answer = request.send().await.map_err(gone)?.bytes().await.map_err(gone)?;
    read_json(&answer)
        .map_err(|_| Error::new(Code::UpstreamMalformed, "this is no sandbox's admin URL"))
}
