//! The store: one `SQLite` file a mode, opened when it is first needed.
//!
//! Invariants: a commit is on disk when it returns (WAL, `synchronous=FULL`); a store of a newer
//! version is refused; a store that is older than it was is noticed, by a mark beside it, and nothing
//! is paid until the owner has confirmed.

pub mod heard;
pub mod leases;
pub mod mandates;
pub mod payees;
pub mod secrets;
pub mod seen;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tokio::sync::watch;

use crate::error::{Code, Error};

const MIGRATIONS: &[&str] = &[
    include_str!("store/0001.sql"),
    include_str!("store/0002.sql"),
    include_str!("store/0003.sql"),
    include_str!("store/0004.sql"),
];
/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The oldest `SQLite` without a known loss of WAL data.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Why spending is stopped where an old copy of the store was put back.
pub const STALE: &str = "store_stale";

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the file system failed")]
    Files(#[from] std::io::Error),
    /// It was written by a newer version of this program.
    #[error("the store has version {found}, newer than {known}; use the newer program")]
    Newer {
        /// Its version.
        found: usize,
        /// The newest that is understood.
        known: usize,
    },
    /// Something in it is not what this program writes.
    #[error("the store holds {0}, which this program does not write")]
    Corrupt(String),
    /// A rule of the journal, rather than the storage, refused.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refused) => refused,
            other => {
                let detail = std::error::Error::source(&other)
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                tracing::error!(error = %other, detail, "the store refused");
                Self::new(
                    Code::StoreUnavailable,
                    format!("{other}{detail}; nothing was sent. `haggle doctor` says more"),
                )
            }
        }
    }
}

/// The store of one mode.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
    commits: watch::Sender<u64>,
}

impl Store {
    /// The store at `path`, which is not opened yet.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let commits = watch::Sender::new(0);
        Self(Arc::new(Inner { path, connection: Mutex::new(None), commits }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Changes whenever a transaction of this process is committed. What other processes write is
    /// not heard of here.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Runs `work` on the open store, off the async threads.
    ///
    /// # Errors
    ///
    /// [`Code::StoreUnavailable`] where the store cannot be opened, read or written, and whatever
    /// `work` refuses.
    pub async fn with<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.with_blocking(work))
            .await
            .map_err(|_| Error::new(Code::Internal, "a task of the store failed"))?
    }

    /// As [`Self::with`], on this thread.
    ///
    /// # Errors
    ///
    /// As [`Self::with`].
    pub fn with_blocking<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let mut guard = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(open(&self.0.path)?);
        }
        match guard.as_mut() {
            Some(connection) => Ok(work(connection)?),
            None => Err(Error::new(Code::Internal, "the store is not open")),
        }
    }

    /// Runs `work` in one transaction that no other process can write into.
    ///
    /// # Errors
    ///
    /// As [`Self::with`]; nothing is kept where `work` refuses.
    pub async fn transact<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let mark = mark_path(&self.0.path);
        let done = self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            let last = last_event(&transaction)?;
            transaction.commit()?;
            // Written after the commit, so it never runs ahead of what it guards.
            if read_mark(&mark).is_none_or(|written| written < last) && last > 0 {
                fs::write(&mark, last.to_string())?;
            }
            Ok(done)
        });
        let done = done.await;
        // Told in any case: a failure after the commit has stored what it was about.
        self.0.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
        done
    }
}

/// How many lines of the journal are missing, compared with the mark beside the store.
///
/// # Errors
///
/// Where the store cannot be read.
pub fn missing_lines(connection: &Connection) -> Result<i64, StoreError> {
    let Some(path) = connection.path().map(PathBuf::from) else { return Ok(0) };
    let marked = read_mark(&mark_path(&path)).unwrap_or(0);
    Ok((marked - last_event(connection)?).max(0))
}

/// Takes the present journal as the whole one: the owner's word after an old copy was put back.
///
/// # Errors
///
/// Where the mark cannot be written.
pub fn accept_present(connection: &Connection) -> Result<(), StoreError> {
    if let Some(path) = connection.path().map(PathBuf::from) {
        fs::write(mark_path(&path), last_event(connection)?.to_string())?;
    }
    Ok(())
}

fn mark_path(store: &Path) -> PathBuf {
    store.with_extension("mark")
}

fn read_mark(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn last_event(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection
        .query_row("SELECT max(seq) FROM purchase_events", [], |row| row.get::<_, Option<i64>>(0))
        .optional()?
        .flatten()
        .unwrap_or(0))
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::Corrupt(format!("SQLite {}", rusqlite::version())));
    }
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    let mut connection = Connection::open(path)?;
    restrict(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))?;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Newer { found: version, known: MIGRATIONS.len() });
    }
    for migration in MIGRATIONS.iter().skip(version) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(MIGRATIONS.len()).unwrap_or(0),
    )?;
    if missing_lines(&transaction)? > 0 {
        // Kept, since new lines would soon fill the gap that shows it.
        transaction.execute(
            "INSERT INTO freezes (reason, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            rusqlite::params![STALE, crate::clock::wall_ms() / 1000],
        )?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Makes a folder that only its owner can enter.
///
/// # Errors
///
/// Where it cannot be made.
pub fn private_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }
    #[cfg(not(unix))]
    fs::create_dir_all(folder)
}

fn restrict(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
