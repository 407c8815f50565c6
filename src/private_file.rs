//! Files that hold a key or a passphrase: readable by their owner alone, written once.
//!
//! - A file that its group or others may read is refused, not repaired: whoever could read it may
//!   have read it already.
//! - A file appears under its name complete and on disk, or not at all, and replaces nothing.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Bytes in the largest private file that is read.
pub const PRIVATE_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a private file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("{} does not exist", path.display())]
    Absent {
        /// Which.
        path: PathBuf,
    },
    /// There is one already, and it is not replaced.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Others than its owner may read or write it.
    #[error("{} is open to others (mode {mode:o}); run: chmod 600 on it", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no ordinary file, or larger than [`PRIVATE_FILE_BYTES_MAX`].
    #[error("{} is no ordinary file of at most 64 KiB", path.display())]
    Unsuitable {
        /// Which.
        path: PathBuf,
    },
    /// The operating system failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Absent { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Reads a private file; its bytes are wiped from memory when dropped.
///
/// # Errors
///
/// [`FileError::Absent`], [`FileError::Exposed`] where group or others have any right to it,
/// [`FileError::Unsuitable`] or [`FileError::Io`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(|source| FileError::io(path, source))?;
    let metadata = file.metadata().map_err(|source| FileError::io(path, source))?;
    if !metadata.is_file() || metadata.len() > PRIVATE_FILE_BYTES_MAX {
        return Err(FileError::Unsuitable { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(PRIVATE_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::io(path, source))?;
    Ok(bytes)
}

/// Writes a new private file with mode 0600, synced with its directory.
///
/// Of several processes that create the same file one succeeds; the others get
/// [`FileError::Exists`] and find it complete.
///
/// # Errors
///
/// [`FileError::Exists`] where there is one already, [`FileError::Io`] otherwise.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let staged = staged_beside(path).map_err(|source| FileError::io(path, source))?;
    let written = write_synced(&staged, bytes)
        // A link, unlike a renaming, does not replace what is there.
        .and_then(|()| std::fs::hard_link(&staged, path));
    let removed = std::fs::remove_file(&staged);
    written.and(removed).and_then(|()| sync_parent(path)).map_err(|e| FileError::io(path, e))
}

/// Writes `bytes` to a file that must not exist yet, with mode 0600, and waits for the disk.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name in the same directory that nobody else uses.
pub(crate) fn staged_beside(path: &Path) -> io::Result<PathBuf> {
    let number = getrandom::u64().map_err(io::Error::other)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{number:016x}")))
}

/// Waits until the directory's new entry is on disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_private_and_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"secret");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn an_existing_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"first").unwrap();
        assert!(matches!(create(&path, b"second"), Err(FileError::Exists { .. })));
        assert_eq!(read(&path).unwrap().as_slice(), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"secret").unwrap();
        #[rustfmt::skip]
        let rows = [
            // what it shows      mode   accepted
            ("owner only",        0o600, true),
            ("read-only",         0o400, true),
            ("the group reads",   0o640, false),
            ("others read",       0o604, false),
            ("the group writes",  0o620, false),
        ];
        for (row, mode, accepted) in rows {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let answer = read(&path);
            assert_eq!(answer.is_ok(), accepted, "{row}");
            if let Err(error) = answer {
                assert!(error.to_string().contains("chmod 600"), "{row}: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_ordinary_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(FileError::Unsuitable { .. })));
        assert!(matches!(read(&dir.path().join("none")), Err(FileError::Absent { .. })));
    }
}
