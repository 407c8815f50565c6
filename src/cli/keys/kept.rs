//! The keys that the store keeps, or that it names in the keyring.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{Failure, Report, output};
use crate::{
    access::{KEYRING_REFERENCE, kept_evm, kept_solana, secret_names},
    app::App,
    config, journal, os_keyring,
    store::secrets,
    wallet::{
        KeyKind,
        keys::{EvmKey, KeyError, SolanaKey},
        keystore,
    },
};

/// A key of either kind.
pub(super) enum Key {
    Evm(EvmKey),
    Solana(SolanaKey),
}

impl Key {
    pub(super) fn read(kind: KeyKind, text: &SecretString) -> Result<Self, KeyError> {
        Ok(match kind {
            KeyKind::Evm => Self::Evm(EvmKey::read(text)?),
            KeyKind::Solana => Self::Solana(SolanaKey::read(text)?),
        })
    }

    const fn kind(&self) -> KeyKind {
        match self {
            Self::Evm(_) => KeyKind::Evm,
            Self::Solana(_) => KeyKind::Solana,
        }
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Evm(key) => key.address().to_string(),
            Self::Solana(key) => key.address(),
        }
    }
}

const fn secret_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Evm => secret_names::EVM_KEY,
        KeyKind::Solana => secret_names::SOLANA_KEY,
    }
}

/// The text of a new key: 32 random bytes are one of either kind.
pub(super) fn fresh(kind: KeyKind) -> Result<SecretString, KeyError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
    Ok(match kind {
        KeyKind::Evm => hex::encode(bytes.as_slice()).into(),
        KeyKind::Solana => bs58::encode(bytes.as_slice()).into_string().into(),
    })
}

/// Keeps a key in the store. Gives the place's name.
pub(super) async fn in_store(app: &App, key: &Key, text: &SecretString) -> Result<String, Failure> {
    app.keep_secret(secret_name(key.kind()), text).await?;
    let source = app.vault(true)?.source().to_string();
    let store = app.store().path().display();
    Ok(format!("{store}, sealed with a key from {source}"))
}

/// Keeps a key in the keyring, and in the store what it is called there.
pub(super) async fn in_keyring(app: &App, key: &Key) -> Result<String, Failure> {
    if app.settings().vault.no_keyring {
        return Err(Failure::usage("the keyring is switched off by HAGGLE_NO_KEYRING"));
    }
    let (kind, address) = (key.kind(), key.address());
    let account = format!("wallet:{address}");
    match key {
        Key::Evm(key) => key.keep_in_keyring(&account),
        Key::Solana(key) => key.keep_in_keyring(&account),
    }
    .map_err(|error| super::unusable(&error))?;
    let reference = SecretString::from(format!("{KEYRING_REFERENCE}{account}"));
    app.keep_secret(secret_name(kind), &reference).await?;
    Ok("the keyring of the operating system".to_owned())
}

/// The key that the store keeps or names.
async fn kept(app: &App, kind: KeyKind) -> Result<Option<Key>, Failure> {
    let Some(text) = app.secret(secret_name(kind)).await? else { return Ok(None) };
    let key = match kind {
        KeyKind::Evm => kept_evm(&text).map(Key::Evm),
        KeyKind::Solana => kept_solana(&text).map(Key::Solana),
    };
    key.map(Some).map_err(|error| super::unusable(&error))
}

/// The address of the key that the store keeps or names.
pub(super) async fn address(app: &App, kind: KeyKind) -> Result<Option<String>, Failure> {
    Ok(kept(app, kind).await?.map(|key| key.address()))
}

/// Refuses where another key would be lost.
pub(super) async fn refuse_to_lose(
    app: &App,
    kind: KeyKind,
    new: &str,
    replace: bool,
) -> Result<(), Failure> {
    let Some(old) = address(app, kind).await?.filter(|old| old != new) else { return Ok(()) };
    if !replace {
        return Err(Failure::failed(format!(
            "the store has a key already, of {old}\nwith --replace that key is lost, and what is on \
             its address with it"
        )));
    }
    refuse_while_paying(app, &old).await
}

/// Refuses while a payment of this account is not known to be made or dead: its key signs it again.
pub(super) async fn refuse_while_paying(app: &App, address: &str) -> Result<(), Failure> {
    let account = address.to_owned();
    let paying = app
        .store()
        .with(move |db| {
            for id in journal::open_ids(db)? {
                let purchase = journal::find(db, &id, None)?;
                let account_of = purchase.and_then(|purchase| purchase.account);
                if account_of.is_some_and(|own| own.eq_ignore_ascii_case(&account)) {
                    return Ok(Some(id));
                }
            }
            Ok(None)
        })
        .await?;
    match paying {
        None => Ok(()),
        Some(id) => Err(Failure::failed(format!(
            "{address} still pays for {id}: first `haggle purchases resolve {id}`"
        ))),
    }
}

/// Removes the key from the store, and from the keyring where it is there.
pub(super) async fn forget(app: &App, kind: KeyKind) -> Result<(), Failure> {
    let name = secret_name(kind);
    if let Some(text) = app.secret(name).await?
        && let Some(account) = text.expose_secret().strip_prefix(KEYRING_REFERENCE)
    {
        os_keyring::delete(account).map_err(|error| Failure::failed(error.to_string()))?;
    }
    app.store().transact(move |db| secrets::remove(db, name)).await?;
    Ok(())
}

/// The addresses of the wallet and where their keys are; the first of a kind is the one in use.
pub(super) async fn list(app: &App, as_json: bool) -> Result<Report, Failure> {
    let settings = &app.settings().wallet;
    let mut rows = Vec::new();
    let given = [
        (KeyKind::Evm, "AGENT_PRIVATE_KEY", &settings.private_key),
        (KeyKind::Solana, "HAGGLE_SOLANA_KEY", &settings.solana_key),
    ];
    for (kind, name, text) in given {
        if let Some(text) = text {
            let key = Key::read(kind, text).map(|key| key.address());
            rows.push((kind, format!("environment {name}"), key.map_err(|e| e.to_string())));
        }
    }
    if let Some(path) = &settings.keystore {
        let passphrase = config::passphrase(app.settings().vault.passphrase_file.as_deref());
        let address = passphrase.map_err(|error| error.to_string()).and_then(|passphrase| {
            let key = keystore::open(path, &passphrase).map_err(|error| error.to_string())?;
            Ok(key.address().to_string())
        });
        rows.push((KeyKind::Evm, format!("keystore {}", path.display()), address));
    }
    for kind in [KeyKind::Evm, KeyKind::Solana] {
        match address(app, kind).await {
            Ok(None) => {}
            Ok(Some(address)) => rows.push((kind, "store".to_owned(), Ok(address))),
            Err(failure) => rows.push((kind, "store".to_owned(), Err(failure.message))),
        }
    }
    Ok(shown(rows, as_json))
}

type Place = (KeyKind, String, Result<String, String>);

fn shown(rows: Vec<Place>, as_json: bool) -> Report {
    let mut seen = Vec::new();
    let mut table = Vec::new();
    let mut objects = Vec::new();
    for (kind, place, address) in rows {
        let in_use = !seen.contains(&kind);
        seen.push(kind);
        let kind = kind.to_string();
        let (address, problem) = match address {
            Ok(address) => (Some(address), None),
            Err(problem) => (None, Some(problem)),
        };
        let words = match (&problem, in_use) {
            (Some(problem), _) => problem.clone(),
            (None, true) => "in use".to_owned(),
            (None, false) => "not used".to_owned(),
        };
        objects.push(json!({ "kind": kind.to_lowercase(), "address": address, "kept_in": place,
            "in_use": in_use, "problem": problem }));
        table.push(vec![kind, address.unwrap_or_else(|| "?".to_owned()), place, words]);
    }
    match (as_json, table.is_empty()) {
        (true, _) => Report::json(&json!({ "keys": objects })),
        (false, true) => Report::text("There are none: `haggle keys generate` makes one."),
        (false, false) => Report::text(output::columns(&table)),
    }
}
