//! The stores of a data directory: the live one, the shared sandbox's, those of other sandboxes.
//!
//! The owner's terminal seldom has the flags and variables that their agents' servers run with. So
//! a purchase that is named is looked for in every store, and stopping stops all of them.

use std::path::PathBuf;

use rusqlite::Connection;

use super::Failure;
use crate::{
    app::App,
    asks::{self, Ask},
    clock::wall_ms,
    error::Error,
    ids::{AskId, PurchaseId},
    journal::{self, Purchase},
    store::{Store, StoreError},
};

/// A store, and its time.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) store: Store,
    /// Unix seconds, by the clock that the store's times go by.
    pub(super) now: i64,
    /// Whether it is the one of the mode in force.
    pub(super) own: bool,
}

impl Place {
    /// The file's name, for people.
    pub(super) fn name(&self) -> String {
        let name = self.store.path().file_name();
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The store of the mode in force, and every other one that is there.
pub(super) async fn all(app: &App) -> Result<Vec<Place>, Failure> {
    app.follow_clock().await;
    let own = Place { store: app.store().clone(), now: app.clock().now(), own: true };
    let mut places = vec![own];
    for path in others(app) {
        places.push(Place { store: Store::at(path), now: wall_ms() / 1000, own: false });
    }
    Ok(places)
}

fn others(app: &App) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(&app.settings().data_dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path != app.store().path() && is_store(path))
        .collect();
    paths.sort_unstable();
    paths
}

/// Whether a file is a store of ours, by its name: `live.db`, `sandbox.db`, `sandbox-1a2b3c4d.db`.
fn is_store(path: &std::path::Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digest = name.strip_prefix("sandbox-").and_then(|rest| rest.strip_suffix(".db"));
    let of_a_sandbox =
        digest.is_some_and(|it| it.len() == 8 && it.bytes().all(|b| b.is_ascii_hexdigit()));
    matches!(name, "live.db" | "sandbox.db") || of_a_sandbox
}

/// The store that has this purchase.
///
/// # Errors
///
/// Where none has, with what to try.
pub(super) async fn with_purchase(
    app: &App,
    id: &PurchaseId,
) -> Result<(Place, Purchase), Failure> {
    let wanted = id.clone();
    let found = with(app, move |db| journal::find(db, &wanted, None)).await?;
    found.ok_or_else(|| nowhere(app, &format!("purchase {id}")))
}

/// The store that has this question to the owner.
///
/// # Errors
///
/// As [`with_purchase`].
pub(super) async fn with_ask(app: &App, id: &AskId) -> Result<(Place, Ask), Failure> {
    let wanted = id.clone();
    let found = with(app, move |db| asks::find(db, &wanted)).await?;
    found.ok_or_else(|| nowhere(app, &format!("question {id}")))
}

/// The first store in which something is found.
async fn with<T, F>(app: &App, find: F) -> Result<Option<(Place, T)>, Failure>
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<Option<T>, StoreError> + Clone + Send + 'static,
{
    let mut broken: Option<Error> = None;
    for place in all(app).await? {
        let find = find.clone();
        match place.store.with(move |db| find(db)).await {
            Ok(Some(found)) => return Ok(Some((place, found))),
            Ok(None) => {}
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    broken.map_or(Ok(None), |error| Err(error.into()))
}

fn nowhere(app: &App, what: &str) -> Failure {
    let folder = app.settings().data_dir.display();
    Failure::failed(format!(
        "there is no {what} in {folder}\nif the server has another --data-dir, give the same"
    ))
}

/// Refuses where the marketplace would be asked in another mode than the purchase was made in.
pub(super) fn refuse_other_mode(place: &Place, purchase: &Purchase) -> Result<(), Failure> {
    if place.own {
        return Ok(());
    }
    let name = place.name();
    let flag = match name.as_str() {
        "live.db" => format!("--marketplaces {}", purchase.marketplace.name()),
        "sandbox.db" => "--sandbox".to_owned(),
        _ => "--sandbox=URL, the one it was made at,".to_owned(),
    };
    let id = &purchase.id;
    Err(Failure::failed(format!("{id} is in {name}: add {flag} to ask its marketplace about it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_stores_by_their_names() {
        #[rustfmt::skip]
        let rows = [
            ("live.db", true), ("sandbox.db", true), ("sandbox-0a1b2c3d.db", true),
            ("sandbox-world.db", false), ("live.db-wal", false), ("live.key", false), ("x.db", false),
        ];
        for (name, expected) in rows {
            assert_eq!(is_store(std::path::Path::new(name)), expected, "{name}");
        }
    }
}
