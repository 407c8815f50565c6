//! Every environment variable, in one table: nothing else is read from the environment.

use std::path::PathBuf;

use secrecy::SecretString;

/// How the environment is read: tests give their own.
pub type Reader<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether a variable's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It may.
    Plain,
    /// It is a secret, or may hold one.
    Masked,
}

macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $shown:ident, $setting:literal;)+) => {
        /// A variable that is read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Variable { $($(#[doc = $doc])+ $variant,)+ }

        impl Variable {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in the environment.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }

            /// Whether its value may be shown.
            #[must_use]
            pub const fn shown(self) -> Shown {
                match self { $(Self::$variant => Shown::$shown,)+ }
            }

            /// The setting that it decides, as `config show` names it.
            #[must_use]
            pub const fn setting(self) -> &'static str {
                match self { $(Self::$variant => $setting,)+ }
            }
        }
    };
}

variables! {
    /// The configuration file, which must exist then.
    Config = "HAGGLE_CONFIG", Plain, "config";
    /// The directory of the store.
    DataDir = "HAGGLE_DATA_DIR", Plain, "data_dir";
    /// How much is logged: off, error, warn, info, debug or trace.
    Log = "HAGGLE_LOG", Plain, "log";
    /// The admin URL of a running `haggle sandbox`, as `--sandbox=URL`.
    SandboxUrl = "HAGGLE_SANDBOX_URL", Plain, "mode";
    /// The host of CROO's API.
    CrooApiUrl = "CROO_API_URL", Plain, "croo.api_url";
    /// The host of CROO's event stream.
    CrooWsUrl = "CROO_WS_URL", Plain, "croo.ws_url";
    /// The key of the CROO agent, from its dashboard.
    CrooSdkKey = "CROO_SDK_KEY", Masked, "croo.sdk_key";
    /// The root of Crochet's API.
    CrochetApiUrl = "CROCHET_API_URL", Plain, "crochet.api_url";
    /// The API key of the Crochet account, with or without `Bearer` before it.
    CrochetApiKey = "CROCHET_API_KEY", Masked, "crochet.api_key";
    /// The secret that Crochet signs the requests with that it forwards to a seller.
    CrochetSigningSecret = "CROCHET_SIGNING_SECRET", Masked, "crochet.signing_secret";
    /// The root of Paegents' API.
    PaegentsApiUrl = "PAEGENTS_API_URL", Plain, "paegents.api_url";
    /// The Paegents agent that the key is of.
    PaegentsAgentId = "PAEGENTS_AGENT_ID", Plain, "paegents.agent_id";
    /// The API key of the Paegents agent.
    PaegentsApiKey = "PAEGENTS_API_KEY", Masked, "paegents.api_key";
    /// The secret that Paegents signs its webhooks with.
    PaegentsWebhookSecret = "PAEGENTS_WEBHOOK_SECRET", Masked, "paegents.webhook_secret";
    /// The token of the Paegents agent's owner; read for the profile `owner` alone.
    OwnerJwt = "OWNER_JWT", Masked, "paegents.owner_jwt";
    /// The node of the chain; some hold a key in their URL.
    BaseRpcUrl = "BASE_RPC_URL", Masked, "chain.rpc_url";
    /// The number of the chain: 8453 or 84532.
    ChainId = "HAGGLE_CHAIN_ID", Plain, "chain.chain_id";
    /// The wallet's EVM key, 64 hex digits.
    AgentPrivateKey = "AGENT_PRIVATE_KEY", Masked, "wallet.private_key";
    /// The address that the EVM key must have.
    AgentWalletAddress = "AGENT_WALLET_ADDRESS", Plain, "wallet.address";
    /// A Web3 V3 keystore with the EVM key.
    Keystore = "HAGGLE_KEYSTORE", Plain, "wallet.keystore";
    /// The wallet's Solana key: base58, or the JSON array of the Solana command line.
    SolanaKey = "HAGGLE_SOLANA_KEY", Masked, "wallet.solana_key";
    /// The folder that files are read from and written to.
    FilesDir = "HAGGLE_FILES_DIR", Plain, "files_dir";
    /// A file of mode 0600 with the passphrase of the store and of the keystore.
    PassphraseFile = "HAGGLE_PASSPHRASE_FILE", Plain, "vault.passphrase_file";
    /// 1 leaves the operating system's keyring alone.
    NoKeyring = "HAGGLE_NO_KEYRING", Plain, "vault.no_keyring";
}

/// The environment, read by the table's names alone.
#[derive(Clone, Copy)]
pub struct Environment<'a>(Reader<'a>);

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

impl<'a> Environment<'a> {
    /// The environment behind this reader.
    #[must_use]
    pub const fn new(reader: Reader<'a>) -> Self {
        Self(reader)
    }

    /// A variable's value; an empty one counts as unset.
    #[must_use]
    pub fn get(&self, variable: Variable) -> Option<String> {
        let value = (self.0)(variable.name())?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Where Claude Code keeps its files, if not in the home: its own variable, which is no setting
    /// of this program, so the table has it not.
    #[must_use]
    pub fn claude_folder(&self) -> Option<PathBuf> {
        (self.0)("CLAUDE_CONFIG_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    /// As [`Self::get`], for a secret.
    #[must_use]
    pub fn secret(&self, variable: Variable) -> Option<SecretString> {
        self.get(variable).map(SecretString::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_an_empty_value_is_none() {
        let names: std::collections::BTreeSet<_> = Variable::ALL.iter().map(|v| v.name()).collect();
        assert_eq!(names.len(), Variable::ALL.len());
        for variable in Variable::ALL {
            assert!(variable.meaning().ends_with('.'), "{}", variable.name());
        }
        for (value, expected) in [("", None), (" \n", None), (" x ", Some("x"))] {
            let read = |_: &str| Some(value.to_owned());
            let environment = Environment::new(&read);
            assert_eq!(environment.get(Variable::Log).as_deref(), expected, "{value:?}");
        }
    }
}
