//! How the marketplaces, the chain and the wallet are reached, with the accounts in use: what the
//! rails and the tools work with. It knows nothing of either.

mod venue;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use secrecy::{ExposeSecret as _, SecretString};

pub use venue::Venue;
pub(crate) use venue::{KEYRING_REFERENCE, kept_evm, kept_solana};

use crate::{
    chain::Chain,
    clock::Clock,
    config::{Mode, Settings},
    error::{Code, Error},
    ids::AgentId,
    journal::Purchase,
    marketplaces::{
        crochet::Crochet,
        croo::Croo,
        http::{Api, Http},
        paegents::Paegents,
    },
    profile::Profile,
    store::{Store, secrets},
    vault::{Vault, VaultOptions},
    wallet::Wallet,
};

/// What this process reaches, and as whom.
#[derive(Debug)]
pub struct Access {
    settings: Settings,
    clock: Clock,
    store: Store,
    http: Http,
    vault: OnceLock<Arc<Vault>>,
    venue: venue::Slot,
    /// The CROO agent that the key is of, once it was learned.
    croo_agent: tokio::sync::OnceCell<AgentId>,
}

impl Access {
    /// The access that these settings give. Touches neither network nor store.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let store = Store::at(store_path(&settings.data_dir, &settings.mode));
        Self {
            settings,
            clock: Clock::default(),
            store,
            http: Http::default(),
            vault: OnceLock::new(),
            venue: venue::Slot::default(),
            croo_agent: tokio::sync::OnceCell::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The clock of this mode.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store of this mode.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The connection pool.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// What there is to trade at: the marketplaces' addresses, the chain's and the wallet.
    ///
    /// # Errors
    ///
    /// Where the sandbox cannot be reached or started, or a key cannot be read.
    pub async fn venue(&self) -> Result<Arc<Venue>, Error> {
        self.venue.get(self).await
    }

    /// Looks for the venue anew at the next call: the process that served the sandbox may be gone.
    pub fn forget_venue(&self) {
        if matches!(self.settings.mode, Mode::Sandbox { .. }) {
            self.venue.forget();
        }
    }

    /// Reads the sandbox's clock, where there is one.
    ///
    /// # Errors
    ///
    /// Where the sandbox does not answer.
    pub async fn refresh_clock(&self) -> Result<(), Error> {
        venue::refresh_clock(self).await
    }

    /// Sets the clock to the sandbox's, which can be advanced: answers end by it. This machine's is as
    /// good where the sandbox is gone, or where nothing was ever stored.
    pub async fn follow_clock(&self) {
        let sandbox = matches!(self.settings.mode, Mode::Sandbox { .. });
        if sandbox
            && self.store.path().exists()
            && let Err(error) = self.refresh_clock().await
        {
            tracing::warn!(%error, "the sandbox's clock is not known");
        }
    }

    /// CROO, for the agent in use; without a key where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::venue`].
    pub async fn croo(&self) -> Result<Croo, Error> {
        let venue = self.venue().await?;
        let key = self.settings.croo.sdk_key.clone().or_else(|| venue.croo.sdk_key.clone());
        Croo::new(self.http.client()?.clone(), &venue.croo.api_url, key)
    }

    /// The agent that CROO's key is of. `None`: it has neither negotiations nor orders so far, so
    /// nothing is its own.
    ///
    /// # Errors
    ///
    /// As an operation of CROO.
    pub async fn croo_agent(&self, croo: &Croo) -> Result<Option<AgentId>, Error> {
        if let Some(known) = self.croo_agent.get() {
            return Ok(Some(known.clone()));
        }
        let found = croo.own_agent().await?;
        if let Some(agent) = &found {
            // Somebody else may have learned it meanwhile: it is the same.
            let _ = self.croo_agent.set(agent.clone());
        }
        Ok(found)
    }

    /// Crochet, for the account in use.
    ///
    /// # Errors
    ///
    /// As [`Self::venue`], and where the account's key cannot be read.
    pub async fn crochet(&self) -> Result<Crochet, Error> {
        let venue = self.venue().await?;
        let key = match &self.settings.crochet.api_key {
            Some(key) => Some(key.clone()),
            None => self.secret(secret_names::CROCHET_KEY).await?,
        };
        let key = key.or_else(|| venue.crochet_key.clone());
        Crochet::new(self.http.client()?.clone(), &venue.crochet_url, key)
    }

    /// That a purchase was made at this API: its key goes nowhere else. A sandbox may come back at
    /// another port.
    ///
    /// # Errors
    ///
    /// [`Code::WrongState`] where another API is configured by now.
    pub fn check_origin(&self, api: &Api, purchase: &Purchase) -> Result<(), Error> {
        if api.base.as_str() == purchase.origin || self.settings.mode != Mode::Live {
            return Ok(());
        }
        let (id, origin) = (&purchase.id, &purchase.origin);
        let message =
            format!("{id} was made at {origin}, which is not the configured {}", api.marketplace);
        Err(Error::new(Code::WrongState, message).at(api.marketplace))
    }

    /// Paegents, for the agent in use; without a key where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::venue`], and where the agent's key cannot be read.
    pub async fn paegents(&self) -> Result<Paegents, Error> {
        let venue = self.venue().await?;
        let own = &self.settings.paegents;
        let mut agent = own.agent_id.clone().zip(own.api_key.clone());
        if agent.is_none()
            && let Some(kept) = self.secret(secret_names::PAEGENTS_KEY).await?
        {
            // Kept together, since either is useless with another's.
            agent = paegents_account(&kept);
        }
        let agent = agent.or_else(|| venue.paegents.agent.clone());
        // With any other profile there is no such token, wherever one lies about.
        let is_owner = self.settings.profiles.contains(&Profile::Owner);
        let owner = own.owner_jwt.clone().or_else(|| venue.paegents.owner_jwt.clone());
        let owner = owner.filter(|_| is_owner);
        Paegents::new(self.http.client()?.clone(), &venue.paegents.api_url, agent, owner)
    }

    /// The wallet.
    ///
    /// # Errors
    ///
    /// As [`Self::venue`].
    pub async fn wallet(&self) -> Result<Arc<Wallet>, Error> {
        Ok(self.venue().await?.wallet.clone())
    }

    /// The chain that payments are made on.
    ///
    /// # Errors
    ///
    /// As [`Self::venue`].
    pub async fn chain(&self) -> Result<Arc<Chain>, Error> {
        let venue = self.venue().await?;
        if let Some(chain) = venue.chain.get() {
            return Ok(chain.clone());
        }
        let client = self.http.client()?.clone();
        let chain = Chain::new(client, &venue.rpc_url, venue.chain_id)?;
        Ok(venue.chain.get_or_init(|| Arc::new(chain)).clone())
    }

    /// A secret of the store.
    ///
    /// # Errors
    ///
    /// Where the store or its key cannot be read.
    pub async fn secret(&self, name: &str) -> Result<Option<SecretString>, Error> {
        let wanted = name.to_owned();
        let sealed = self.store.with(move |db| secrets::get(db, &wanted)).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let vault = self.vault(true)?;
        vault.open_sealed(name, &sealed).map(Some).map_err(|e| vault_error(&e))
    }

    /// Keeps a secret in the store. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// Where the store or its key cannot be written.
    pub async fn keep_secret(&self, name: &str, secret: &SecretString) -> Result<(), Error> {
        let any = self.store.with(|db| Ok(!secrets::names(db)?.is_empty())).await?;
        let sealed = self.vault(any)?.seal(name, secret).map_err(|e| vault_error(&e))?;
        let (name, now) = (name.to_owned(), self.clock.now());
        self.store.transact(move |db| secrets::put(db, &name, &sealed, now)).await
    }

    /// The names of the store's secrets that begin like this.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub async fn names_of_secrets(&self, start: &str) -> Result<Vec<String>, Error> {
        let names = self.store.with(|db| secrets::names(db)).await?;
        let names = names.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| name.starts_with(start)).collect())
    }

    /// Removes a secret from the store.
    ///
    /// # Errors
    ///
    /// Where the store cannot be written.
    pub async fn forget_secret(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.store.transact(move |db| secrets::remove(db, &name).map(drop)).await
    }

    /// A secret as it is sealed in the store: sealed again it is another, so that it tells whether
    /// the secret was replaced.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub async fn sealed_secret(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let wanted = name.to_owned();
        self.store.with(move |db| secrets::get(db, &wanted)).await
    }

    /// As [`Self::keep_secret`], if what is kept under the name is still `before`, as
    /// [`Self::sealed_secret`] gave it; `false` where another was kept meanwhile, which stays.
    ///
    /// # Errors
    ///
    /// Where the store or its key cannot be written.
    pub async fn keep_secret_after(
        &self,
        name: &str,
        secret: &SecretString,
        before: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let any = self.store.with(|db| Ok(!secrets::names(db)?.is_empty())).await?;
        let sealed = self.vault(any)?.seal(name, secret).map_err(|e| vault_error(&e))?;
        let (name, before, now) = (name.to_owned(), before.map(<[u8]>::to_vec), self.clock.now());
        let kept = self.store.transact(move |db| {
            let is_same = secrets::get(db, &name)? == before;
            if is_same {
                secrets::put(db, &name, &sealed, now)?;
            }
            Ok(is_same)
        });
        kept.await
    }

    /// Whether a secret could be kept: asked before one is sent for that comes once.
    ///
    /// # Errors
    ///
    /// Where the store or its key cannot be read or made.
    pub async fn vault_works(&self) -> Result<(), Error> {
        let any = self.store.with(|db| Ok(!secrets::names(db)?.is_empty())).await?;
        self.vault(any).map(|_| ())
    }

    /// The vault; `must_exist` where there are sealed secrets, which a new key could not open.
    ///
    /// # Errors
    ///
    /// Where its key cannot be read or made.
    pub fn vault(&self, must_exist: bool) -> Result<Arc<Vault>, Error> {
        if let Some(vault) = self.vault.get() {
            return Ok(vault.clone());
        }
        crate::store::private_folder(&self.settings.data_dir)
            .map_err(crate::store::StoreError::from)?;
        let vault = Vault::open(&VaultOptions {
            directory: &self.settings.data_dir,
            id: self.settings.mode.name(),
            use_keyring: !self.settings.vault.no_keyring
                && matches!(self.settings.mode, Mode::Live),
            passphrase_file: self.settings.vault.passphrase_file.as_deref(),
            must_exist,
        })
        .map_err(|e| vault_error(&e))?;
        Ok(self.vault.get_or_init(|| Arc::new(vault)).clone())
    }

    /// Stops serving the sandbox, where this process does.
    pub async fn close(&self) {
        self.venue.shut_down().await;
    }
}

/// The names of secrets in the store.
pub mod secret_names {
    /// The value of Crochet's `Authorization`.
    pub const CROCHET_KEY: &str = "crochet.authorization";

    /// Paegents' agent and its key, as `AGENT_ID KEY`.
    pub const PAEGENTS_KEY: &str = "paegents.account";

    /// Before the identifier of a webhook, and what follows it: the secrets of Paegents' webhooks.
    pub const PAEGENTS_WEBHOOKS: &str = "paegents.webhook.";

    /// The secret that Paegents signs this webhook's deliveries with.
    #[must_use]
    pub fn paegents_webhook(webhook_id: &str) -> String {
        format!("{PAEGENTS_WEBHOOKS}{webhook_id}")
    }

    /// The one before it, which signs beside it for a while.
    #[must_use]
    pub fn paegents_webhook_before(webhook_id: &str) -> String {
        format!("{PAEGENTS_WEBHOOKS}{webhook_id}.before")
    }

    /// One that was sent with a webhook's address, as long as the webhook's identifier is not known.
    #[must_use]
    pub fn paegents_webhook_to(address_digest: &str) -> String {
        format!("{PAEGENTS_WEBHOOKS}to.{address_digest}")
    }

    /// The wallet's EVM key.
    pub const EVM_KEY: &str = "wallet.evm";
    /// The wallet's Solana key.
    pub const SOLANA_KEY: &str = "wallet.solana";

    /// The secret that Crochet signs this listing's requests with.
    #[must_use]
    pub fn crochet_signing(listing_id: &str) -> String {
        format!("crochet.signing.{listing_id}")
    }
}

/// The agent and the key that the store keeps as one secret.
fn paegents_account(kept: &SecretString) -> Option<(AgentId, SecretString)> {
    let (agent, key) = kept.expose_secret().split_once(' ')?;
    Some((agent.parse().ok()?, key.to_owned().into()))
}

fn vault_error(error: &crate::vault::VaultError) -> Error {
    Error::new(Code::StoreUnavailable, format!("the store's key: {error}"))
}

/// The store's file: one a mode, and one for each foreign sandbox, whose worlds have nothing in
/// common.
#[must_use]
pub fn store_path(folder: &Path, mode: &Mode) -> PathBuf {
    match mode {
        Mode::Live => folder.join("live.db"),
        Mode::Sandbox { url: None } => folder.join("sandbox.db"),
        Mode::Sandbox { url: Some(url) } => {
            use sha2::{Digest, Sha256};
            let digest = hex::encode(Sha256::digest(url.as_bytes()));
            folder.join(format!("sandbox-{}.db", digest.get(..8).unwrap_or_default()))
        }
    }
}
