//! What can be looked at on this machine: configuration, store, key, and what waits for the owner.

use std::{fs, path::Path};

use super::Finding;
use crate::{
    app::App,
    asks,
    config::{
        Mode,
        load::{Loaded, Origin},
    },
    journal::{self, Filter, State},
    spend::approvals,
    store,
    vault::KeySource,
};

/// Most waiting purchases that are named.
const WAITING_MAX: u32 = 20;

/// Where the settings are from, and the mode.
pub(super) fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let entry = |name: &str| loaded.entries.iter().find(|entry| entry.setting == name);
    let file = entry("config").map(|entry| entry.value.clone()).unwrap_or_default();
    let mut variables: Vec<_> = loaded
        .entries
        .iter()
        .filter_map(|entry| match &entry.origin {
            Origin::Environment(variable) => Some(variable.name()),
            _ => None,
        })
        .collect();
    variables.sort_unstable();
    variables.dedup();
    let variables = if variables.is_empty() { "none".to_owned() } else { variables.join(", ") };
    let settings = &loaded.settings;
    let why = match entry("mode").map(|entry| &entry.origin) {
        Some(Origin::Default) => "no marketplace is named and there is no account".to_owned(),
        Some(Origin::Store) => "the store has an account".to_owned(),
        Some(origin) => origin.to_string(),
        None => String::new(),
    };
    let policy = &settings.policy;
    vec![
        Finding::good("configuration", format!("{file}; from the environment: {variables}")),
        Finding::good("mode", format!("{}: {why}", settings.mode.name())),
        Finding::good(
            "limits",
            format!(
                "{} USD a purchase, {} USD a day; above {} USD you are asked",
                policy.purchase_max_usd, policy.day_max_usd, policy.ask_above_usd
            ),
        ),
    ]
}

/// The data directory, the store and the key of its secrets.
pub(super) async fn storage(app: &App) -> Vec<Finding> {
    let folder = &app.settings().data_dir;
    let mut findings = vec![permissions(folder)];
    if !app.store().path().exists() {
        let path = app.store().path().display();
        findings.push(Finding::good("store", format!("{path} is made when it is first needed")));
        return findings;
    }
    let looked = app.store().with(|db| {
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let secrets = store::secrets::names(db)?.len();
        Ok((version, sound, store::missing_lines(db)?, secrets))
    });
    match looked.await {
        Err(error) => {
            let todo = "nothing is paid until it can be written: check disk, permissions and the \
                        program's version";
            findings.push(Finding::broken("store", error.to_string(), todo));
        }
        Ok((version, sound, missing, secrets)) => {
            let path = app.store().path().display();
            let sqlite = rusqlite::version();
            findings.push(match sound.as_str() {
                "ok" => {
                    Finding::good("store", format!("{path}, version {version}, SQLite {sqlite}"))
                }
                problem => Finding::broken(
                    "store",
                    format!("{path} is damaged: {problem}"),
                    "run `haggle freeze`, restore it from a copy, and compare with the chain",
                ),
            });
            if missing > 0 {
                findings.push(Finding::broken(
                    "store",
                    format!("{missing} lines of the journal are gone: an old copy was put back"),
                    "put the latest copy back; or look what was paid, then `haggle unfreeze`",
                ));
            }
            findings.push(vault(app, secrets));
        }
    }
    findings
}

fn permissions(folder: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = folder.display();
    match fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::good("data", format!("{shown} is made when it is first needed"))
        }
        Err(error) => Finding::broken(
            "data",
            format!("{shown} cannot be used: {error}"),
            "name another with --data-dir",
        ),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let mode = metadata.permissions().mode() & 0o777;
            let text = format!("{shown} is open to others (mode {mode:o})");
            Finding::note("data", text, format!("chmod 700 {shown}"))
        }
        Ok(_) => Finding::good("data", shown.to_string()),
    }
}

fn vault(app: &App, secrets: usize) -> Finding {
    if secrets == 0 {
        return Finding::good("secrets", "none are kept yet");
    }
    match app.vault(true) {
        Err(error) => Finding::broken(
            "secrets",
            error.to_string(),
            "the secrets of the store cannot be read without it",
        ),
        Ok(vault) => {
            let are = if secrets == 1 { "is" } else { "are" };
            let text = format!("{secrets} {are} sealed with a key from {}", vault.source());
            match vault.source() {
                KeySource::File(_) if app.settings().mode == Mode::Live => Finding::note(
                    "secrets",
                    text,
                    "who copies the whole directory has them; a keyring or HAGGLE_PASSPHRASE_FILE, \
                     from the start of a store, protects better",
                ),
                KeySource::File(_) | KeySource::Keyring | KeySource::Passphrase(_) => {
                    Finding::good("secrets", text)
                }
            }
        }
    }
}

/// What is stopped, and what waits for the owner.
pub(super) async fn owner(app: &App) -> Vec<Finding> {
    if !app.store().path().exists() {
        return Vec::new();
    }
    let now = app.clock().now();
    let looked = app.store().with(move |db| {
        let mut waiting = Vec::new();
        for state in [State::AwaitingApproval, State::AwaitingExternal, State::Unknown] {
            let filter = Filter { state: Some(state), limit: WAITING_MAX, ..Filter::default() };
            waiting.extend(journal::list(db, &filter)?);
        }
        Ok((approvals::frozen(db)?, waiting, asks::open(db, None, now)?))
    });
    // A store that fails was reported above.
    let Ok((reasons, waiting, asked)) = looked.await else { return Vec::new() };
    let mut findings = Vec::new();
    for reason in reasons {
        let text = match reason.as_str() {
            "owner" => "you have stopped all spending".to_owned(),
            "instance_conflict" => "someone else pays from this wallet".to_owned(),
            other => format!("spending is stopped: {other}"),
        };
        findings.push(Finding::note("spending", text, "`haggle unfreeze` allows it again"));
    }
    for purchase in waiting {
        let id = &purchase.id;
        let most = purchase.amount.unwrap_or(purchase.max_total);
        let (text, todo) = match purchase.state {
            State::AwaitingApproval => (
                format!("{id} waits for your yes to up to {most} USD"),
                format!("`haggle approve {id}` or `haggle deny {id}`"),
            ),
            State::AwaitingExternal => (
                format!("{id} waits to be paid from another wallet: {most} USD"),
                format!("`haggle purchases show {id}` says what to send"),
            ),
            _ => (
                format!("it is not known whether {id} was paid: {most} USD"),
                format!("`haggle purchases resolve {id}`"),
            ),
        };
        findings.push(Finding::note("waiting", text, todo));
    }
    for asks::Ask { id, tool, .. } in asked {
        let text = format!("{id} waits for your yes to {tool}");
        let todo = format!("`haggle approve {id}` or `haggle deny {id}`");
        findings.push(Finding::note("waiting", text, todo));
    }
    findings
}
