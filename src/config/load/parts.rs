//! The settings of each part: limits, Crochet, wallet, chain, vault.

use std::path::PathBuf;

use alloy_primitives::Address;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{LoadError, MASK, Origin, OwnSecrets, Picker};
use crate::{
    config::{
        CROCHET_API_URL, CROO_API_URL, CROO_WS_URL, ChainSettings, CrochetSettings, CrooSettings,
        Mode, PAEGENTS_API_URL, PaegentsSettings, SOFT_STOP_PERCENT, VaultSettings, WalletSettings,
        env::Variable,
        file::{CrooFile, PaegentsFile},
    },
    marketplaces::{may_be_reached, payable_address},
    spend::policy::Policy,
    wallet::pins,
};

impl Picker<'_> {
    /// The mode's own limits, with those of the file over them.
    pub(super) fn policy(&mut self, mode: &Mode, file: &toml::Table) -> Policy {
        let base = match mode {
            Mode::Live => Policy::default(),
            Mode::Sandbox { .. } => Policy::sandbox(),
        };
        // The limits and the file were read before: neither conversion fails.
        let mut limits = toml::Table::try_from(&base).unwrap_or_default();
        limits.extend(file.clone());
        for (name, value) in &limits {
            let origin = if file.contains_key(name) { Origin::File } else { Origin::Default };
            let shown = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            self.note(&format!("policy.{name}"), shown.trim(), origin);
        }
        limits.try_into().unwrap_or(base)
    }

    pub(super) fn croo(
        &mut self,
        file: CrooFile,
        own: OwnSecrets,
    ) -> Result<CrooSettings, LoadError> {
        let mut url = |variable: Variable, file, default: &str| {
            if let Some((url, origin)) = self.text(variable, file) {
                return reachable(variable.setting(), url, &origin);
            }
            self.note(variable.setting(), default, Origin::Default);
            Ok(default.to_owned())
        };
        let api_url = url(Variable::CrooApiUrl, file.api_url, CROO_API_URL)?;
        let ws_url = url(Variable::CrooWsUrl, file.ws_url, CROO_WS_URL)?;
        let sdk_key = self.secret(Variable::CrooSdkKey, own != OwnSecrets::None);
        if sdk_key.as_ref().is_some_and(|key| !key.expose_secret().bytes().all(is_header_byte)) {
            return Err(LoadError::Value {
                setting: "croo.sdk_key",
                origin: Origin::Environment(Variable::CrooSdkKey),
                problem: "has characters that no key has",
            });
        }
        let (balance_check, origin) = match file.balance_check {
            Some(check) => (check, Origin::File),
            None => (true, Origin::Default),
        };
        self.note("croo.balance_check", balance_check, origin);
        Ok(CrooSettings { api_url, ws_url, sdk_key, balance_check })
    }

    pub(super) fn crochet(
        &mut self,
        file: Option<String>,
        own: OwnSecrets,
    ) -> Result<CrochetSettings, LoadError> {
        let api_url = if let Some((url, origin)) = self.text(Variable::CrochetApiUrl, file) {
            reachable("crochet.api_url", url, &origin)?
        } else {
            self.note("crochet.api_url", CROCHET_API_URL, Origin::Default);
            CROCHET_API_URL.to_owned()
        };
        let loaded = own != OwnSecrets::None;
        let api_key = self.secret(Variable::CrochetApiKey, loaded).map(|key| bearer(&key));
        if api_key.as_ref().is_some_and(|key| !key.expose_secret().bytes().all(is_header_byte)) {
            return Err(LoadError::Value {
                setting: "crochet.api_key",
                origin: Origin::Environment(Variable::CrochetApiKey),
                problem: "has characters that no key has",
            });
        }
        let signing_secret = self.secret(Variable::CrochetSigningSecret, loaded);
        Ok(CrochetSettings { api_url, api_key, signing_secret })
    }

    pub(super) fn paegents(
        &mut self,
        file: PaegentsFile,
        own: OwnSecrets,
        is_owner: bool,
    ) -> Result<PaegentsSettings, LoadError> {
        let api_url = if let Some((url, origin)) = self.text(Variable::PaegentsApiUrl, file.api_url)
        {
            reachable("paegents.api_url", url, &origin)?
        } else {
            self.note("paegents.api_url", PAEGENTS_API_URL, Origin::Default);
            PAEGENTS_API_URL.to_owned()
        };
        let loaded = own != OwnSecrets::None;
        let agent_id = match self.text(Variable::PaegentsAgentId, file.agent_id).filter(|_| loaded)
        {
            Some((id, origin)) => {
                let problem = "must be an identifier: letters, digits, `-` and `_`";
                let value = LoadError::Value { setting: "paegents.agent_id", origin, problem };
                Some(id.parse().map_err(|_| value)?)
            }
            None => None,
        };
        let api_key = self.header_secret(Variable::PaegentsApiKey, loaded)?;
        // Nobody else has any use for it, and a model's server least of all.
        let owner_jwt =
            if is_owner { self.header_secret(Variable::OwnerJwt, loaded)? } else { None };
        let webhook_secret = self.secret(Variable::PaegentsWebhookSecret, loaded);
        let escrow = match file.escrow {
            Some(text) => {
                self.note("paegents.escrow", &text, Origin::File);
                let problem = "must be a contract's address: 0x and 40 hex digits";
                let (setting, origin) = ("paegents.escrow", Origin::File);
                let value = LoadError::Value { setting, origin, problem };
                Some(payable_address(&text).ok_or(value)?)
            }
            None => None,
        };
        let (soft_stop_percent, origin) = match file.soft_stop_percent {
            Some(percent) => (percent, Origin::File),
            None => (SOFT_STOP_PERCENT, Origin::Default),
        };
        self.note("paegents.soft_stop_percent", soft_stop_percent, origin.clone());
        if !(1..=100).contains(&soft_stop_percent) {
            let (setting, problem) = ("paegents.soft_stop_percent", "must be 1 to 100");
            return Err(LoadError::Value { setting, origin, problem });
        }
        Ok(PaegentsSettings {
            api_url,
            agent_id,
            api_key,
            webhook_secret,
            owner_jwt,
            escrow,
            soft_stop_percent,
        })
    }

    /// A secret that goes into a header: without `Bearer` before it, which is put there for it.
    fn header_secret(
        &mut self,
        variable: Variable,
        loaded: bool,
    ) -> Result<Option<SecretString>, LoadError> {
        let Some(secret) = self.secret(variable, loaded) else { return Ok(None) };
        let text = secret.expose_secret();
        let bare = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => text,
        };
        if bare.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Some(bare.to_owned().into()));
        }
        Err(LoadError::Value {
            setting: variable.setting(),
            origin: Origin::Environment(variable),
            problem: "has characters that no key has",
        })
    }

    pub(super) fn wallet(
        &mut self,
        address: Option<String>,
        keystore: Option<PathBuf>,
        own: OwnSecrets,
    ) -> Result<WalletSettings, LoadError> {
        let loaded = own != OwnSecrets::None;
        let private_key = self.secret(Variable::AgentPrivateKey, loaded);
        let solana_key = self.secret(Variable::SolanaKey, loaded);
        if own == OwnSecrets::None {
            return Ok(WalletSettings::default());
        }
        let from_file = own == OwnSecrets::All;
        let address = self.text(Variable::AgentWalletAddress, address.filter(|_| from_file));
        if let Some((address, origin)) = &address
            && address.parse::<Address>().is_err()
        {
            let problem = "must be an address: 0x and 40 hex digits";
            return Err(LoadError::Value {
                setting: "wallet.address",
                origin: origin.clone(),
                problem,
            });
        }
        let keystore = keystore.filter(|_| from_file);
        let keystore = self.path("wallet.keystore", None, Variable::Keystore, keystore);
        let address = address.map(|(address, _)| address);
        Ok(WalletSettings { private_key, address, keystore, solana_key })
    }

    pub(super) fn chain(
        &mut self,
        file_id: Option<u64>,
        file_url: Option<String>,
    ) -> Result<ChainSettings, LoadError> {
        let chain_id = match self.text(Variable::ChainId, file_id.map(|id| id.to_string())) {
            Some((id, origin)) => {
                let problem = "must be 8453 (Base) or 84532 (Base Sepolia)";
                let known = id.parse().ok().filter(|id| pins::chain(*id).is_some());
                let value = LoadError::Value { setting: "chain.chain_id", origin, problem };
                Some(known.ok_or(value)?)
            }
            None => None,
        };
        let rpc_url = match self.text(Variable::BaseRpcUrl, file_url) {
            Some((url, origin)) => Some(reachable("chain.rpc_url", url, &origin)?),
            None => None,
        };
        if let Some(entry) = self.entries.last_mut().filter(|e| e.setting == "chain.rpc_url") {
            MASK.clone_into(&mut entry.value);
        }
        Ok(ChainSettings { chain_id, rpc_url })
    }

    pub(super) fn vault(
        &mut self,
        passphrase_file: Option<PathBuf>,
        file: Option<bool>,
    ) -> Result<VaultSettings, LoadError> {
        let variable = Variable::PassphraseFile;
        let passphrase_file = self.path("vault.passphrase_file", None, variable, passphrase_file);
        let variable = Variable::NoKeyring;
        let no_keyring = match self.text(variable, file.map(|off| off.to_string())) {
            None => {
                self.note(variable.setting(), false, Origin::Default);
                false
            }
            Some((word, origin)) => match word.as_str() {
                "1" | "true" | "yes" => true,
                "0" | "false" | "no" => false,
                _ => {
                    let problem = "must be 1 or 0";
                    return Err(LoadError::Value { setting: variable.setting(), origin, problem });
                }
            },
        };
        Ok(VaultSettings { passphrase_file, no_keyring })
    }
}

fn reachable(setting: &'static str, url: String, origin: &Origin) -> Result<String, LoadError> {
    if Url::parse(&url).is_ok_and(|url| may_be_reached(&url)) {
        return Ok(url);
    }
    let problem = match setting {
        "croo.ws_url" => "must be a wss URL, or ws on this machine",
        _ => "must be an https URL, or http on this machine",
    };
    Err(LoadError::Value { setting, origin: origin.clone(), problem })
}

/// The whole value of `Authorization`.
fn bearer(key: &SecretString) -> SecretString {
    let text = key.expose_secret();
    let bare = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => text,
    };
    format!("Bearer {bare}").into()
}

const fn is_header_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}
