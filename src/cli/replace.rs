//! Replacing a client's file: a copy beside it first, then the new one under its name at once.
//!
//! - The file is there complete, as it was or as it will be, at every moment.
//! - Two of this program take turns, by a lock on the folder. What another program has written in
//!   the meantime is seen, since the file is read again under the lock.
//! - A link is followed: the file that it leads to is replaced, and the link stays.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::output;
use crate::{clock::rfc3339, private_file::staged_beside};

/// Bytes in the largest file that is edited.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Copies that may be made in one second.
const COPIES_MAX: u32 = 100;
/// The rights of a copy while it is being written.
const PRIVATE: u32 = 0o600;
/// The rights of a new file, before the person's mask.
const NEW: u32 = 0o666;

/// The file that this path leads to, and whether there is one.
///
/// # Errors
///
/// Where a link leads nowhere, or a folder cannot be looked into.
pub(super) fn follow(path: &Path) -> io::Result<(PathBuf, bool)> {
    match fs::canonicalize(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a link that leads nowhere"))
        }
        Err(_) => Ok((path.to_owned(), false)),
    }
}

/// The text of a file; none where there is no file.
///
/// # Errors
///
/// Where it cannot be read, is no ordinary file of at most 64 MiB, or no UTF-8.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("it is no ordinary file of at most 64 MiB"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A moment, as the name of a copy has it: the digits of its date and time in UTC.
pub(super) fn stamp(now: i64) -> String {
    rfc3339(now).chars().filter(char::is_ascii_digit).collect()
}

/// The turn to replace a file: no other process of this program has one in its folder, until this is
/// dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    path: &'a Path,
    folder: File,
}

impl<'a> Turn<'a> {
    /// Waits for the turn; the folder is made where it is missing.
    ///
    /// # Errors
    ///
    /// Where it cannot be made or locked.
    pub(super) fn wait(path: &'a Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let folder = File::open(folder)?;
        folder.lock()?;
        Ok(Self { path, folder })
    }

    /// Puts `after` into the file, which has `before`, and gives the copy of that. `stamp` is part of its name.
    ///
    /// # Errors
    ///
    /// Where the disk fails. Then the file is as it was, and nothing is left over. Where only the
    /// folder cannot be synced, the file is the new one, and a warning is said.
    pub(super) fn replace(
        &self,
        before: Option<&str>,
        after: &str,
        stamp: &str,
    ) -> io::Result<Option<PathBuf>> {
        let path = self.path;
        let staged = staged_beside(path)?;
        let like = before.map(|_| fs::metadata(path)).transpose()?;
        let copy = match before.zip(like.as_ref()) {
            Some((before, like)) => Some(copy(path, before, like, stamp)?),
            None => None,
        };
        let done = write(&staged, after, like.as_ref()).and_then(|()| fs::rename(&staged, path));
        if let Err(error) = done {
            // What is left of the attempt would only be in the way.
            let _ = fs::remove_file(&staged);
            if let Some(copy) = &copy {
                let _ = fs::remove_file(copy);
            }
            return Err(error);
        }
        // It is in place, and what it says holds from now on: that is no failure.
        if let Err(error) = self.folder.sync_all() {
            output::complain(&format!(
                "{} is changed, but may be as it was before if the power fails now: {error}",
                path.display()
            ));
        }
        Ok(copy)
    }
}

/// A copy beside the file, under a name that nothing has.
fn copy(path: &Path, text: &str, like: &fs::Metadata, stamp: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    for number in 1..=COPIES_MAX {
        let ending = if number == 1 { String::new() } else { format!("-{number}") };
        let copy = path.with_file_name(format!("{name}.haggle-backup-{stamp}{ending}"));
        match write(&copy, text, Some(like)) {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let _ = fs::remove_file(&copy);
                return Err(error);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many copies of this second"))
}

/// Writes a file that must not exist yet, with the owner and the rights of `like`, to the disk.
fn write(path: &Path, text: &str, like: Option<&fs::Metadata>) -> io::Result<()> {
    let mode = if like.is_some() { PRIVATE } else { NEW };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(like) = like {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        fs::write(&path, "1").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let turn = Turn::wait(&path).unwrap();
        let first = turn.replace(Some("1"), "2", "20260102030405").unwrap().unwrap();
        let second = turn.replace(Some("2"), "3", "20260102030405").unwrap().unwrap();
        assert_eq!(first.file_name().unwrap(), "mcp.json.haggle-backup-20260102030405");
        assert_eq!(second.file_name().unwrap(), "mcp.json.haggle-backup-20260102030405-2");
        for (file, text) in [(&first, "1"), (&second, "2"), (&path, "3")] {
            assert_eq!(fs::read_to_string(file).unwrap(), text);
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o640);
        }
    }

    /// What is in place is said to be: a credential that holds is shown.
    #[test]
    fn a_folder_that_cannot_be_synced_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        // No disk is behind it.
        let folder = File::open("/dev/null").unwrap();
        folder.sync_all().unwrap_err();
        let turn = Turn { path: &path, folder };
        turn.replace(None, "2", "20260102030405").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    fn a_failure_leaves_nothing_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        // A folder cannot be replaced by a file.
        fs::create_dir(&path).unwrap();
        let turn = Turn::wait(&path).unwrap();
        turn.replace(Some("1"), "2", "20260102030405").unwrap_err();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [path]);
    }
}
