//! The owner's folder: the one place that files are sent from and written to.
//!
//! - A name is one component, so it leads nowhere else. A file is opened once, without following a
//!   link, and judged by what was opened: an ordinary file with one name, within [`FILE_BYTES_MAX`].
//! - A file that arrives is written under a hidden name, and gets its own when it is whole and on
//!   disk. It replaces nothing.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::text::shows;
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

/// The largest file that is sent or taken, in bytes: 10 MiB.
pub const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// The longest name, in bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;
/// How many names are tried for a file whose own is taken.
const NAMES_MAX: u32 = 1000;
/// What stands before and after the number of a file that is still being written. A name of the
/// folder never begins with a dot, so it is neither sent nor in anybody's way.
const STAGED: (&str, &str) = (".haggle-", ".part");

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The name is none of a file in the folder.
    #[error(
        "must be the name of a file in the owner's folder: no path, no leading dot, no control \
         characters, at most 255 bytes"
    )]
    Name,
    /// There is no such file.
    #[error("names no file in the owner's folder")]
    Absent,
    /// It is a link, a folder, a device, a pipe, or has a second name elsewhere.
    #[error("must name an ordinary file: no link, folder or device, and with no second name")]
    Unsuitable,
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("names a file of {0} bytes, and at most {FILE_BYTES_MAX} are sent")]
    TooLarge(u64),
    /// Every name that was tried is taken.
    #[error("is taken, and so are the names after it")]
    Taken,
    /// The operating system failed.
    #[error("the owner's folder cannot be used")]
    Io(#[from] io::Error),
}

impl From<Errno> for FilesError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// The name of a file in the folder: one component, and nothing that hides in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a foreign path ends in, without what no name may hold; `file` where nothing is
    /// left of it.
    #[must_use]
    pub fn last_of(path: &str) -> Self {
        let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let mut name = String::new();
        for c in last.chars().filter(|c| fits(*c)).skip_while(|c| *c == '.') {
            // Room is left for a number, should the name be taken.
            if name.len() + c.len_utf8() > NAME_BYTES_MAX - 8 {
                break;
            }
            name.push(c);
        }
        name.parse().unwrap_or_else(|_| Self("file".to_owned()))
    }

    /// What follows its last dot, in lower case.
    #[must_use]
    pub fn extension(&self) -> Option<String> {
        let (stem, extension) = self.0.rsplit_once('.')?;
        (!stem.is_empty()).then(|| extension.to_ascii_lowercase())
    }

    /// It with a number before its extension.
    fn numbered(&self, number: u32) -> Option<Self> {
        let (stem, extension) = match self.0.rsplit_once('.') {
            Some((stem, extension)) => (stem, format!(".{extension}")),
            None => (self.0.as_str(), String::new()),
        };
        format!("{stem}-{number}{extension}").parse().ok()
    }
}

impl FromStr for FileName {
    type Err = FilesError;

    fn from_str(name: &str) -> Result<Self, FilesError> {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with('.')
            && !name.contains(['/', '\\'])
            && name.chars().all(fits);
        if fits { Ok(Self(name.to_owned())) } else { Err(FilesError::Name) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character may stand in a name: what may be shown, but no line end and no tab.
fn fits(c: char) -> bool {
    shows(c) && !c.is_control()
}

/// The owner's folder, opened.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

/// A file of the folder, opened for reading.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub file: File,
    /// How many bytes it had when it was opened.
    pub bytes: u64,
}

impl Folder {
    /// Opens the folder; it is made, for its owner alone, where it does not exist.
    ///
    /// # Errors
    ///
    /// [`FilesError::Io`].
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        crate::store::private_folder(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Opens a file of it for reading.
    ///
    /// # Errors
    ///
    /// [`FilesError::Absent`], [`FilesError::Unsuitable`], [`FilesError::TooLarge`] or
    /// [`FilesError::Io`].
    pub fn read(&self, name: &FileName) -> Result<Opened, FilesError> {
        // Opening a pipe would wait for its other end, and a terminal would become ours.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.handle, name.as_str(), flags, Mode::empty());
        let handle = opened.map_err(|errno| match errno {
            Errno::NOENT => FilesError::Absent,
            // A link; a socket or a device that nothing stands behind.
            Errno::LOOP | Errno::MLINK | Errno::NXIO | Errno::NODEV => FilesError::Unsuitable,
            other => other.into(),
        })?;
        // What counts is what was opened, whatever the name leads to by now.
        let file = File::from(handle);
        let metadata = file.metadata()?;
        let names = std::os::unix::fs::MetadataExt::nlink(&metadata);
        if !metadata.is_file() || names != 1 {
            return Err(FilesError::Unsuitable);
        }
        let bytes = metadata.len();
        if bytes > FILE_BYTES_MAX {
            return Err(FilesError::TooLarge(bytes));
        }
        Ok(Opened { file, bytes })
    }

    /// Begins a file that has no name yet.
    ///
    /// # Errors
    ///
    /// [`FilesError::Io`].
    pub fn stage(self) -> Result<Staged, FilesError> {
        let number = getrandom::u64().map_err(io::Error::other)?;
        let hidden = format!("{}{number:016x}{}", STAGED.0, STAGED.1);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let handle = rustix::fs::openat(&self.handle, hidden.as_str(), flags, mode)?;
        Ok(Staged { folder: self, hidden, file: File::from(handle) })
    }
}

/// A file that is being written; gone when it is dropped before it was named.
#[derive(Debug)]
pub struct Staged {
    folder: Folder,
    hidden: String,
    file: File,
}

impl Staged {
    /// Adds bytes to it.
    ///
    /// # Errors
    ///
    /// [`FilesError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FilesError> {
        Ok(self.file.write_all(bytes)?)
    }

    /// Gives it this name, or the first free one after it: `name.txt`, `name-2.txt`, … It is on disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// [`FilesError::Taken`] or [`FilesError::Io`].
    pub fn publish(self, name: &FileName) -> Result<(FileName, PathBuf), FilesError> {
        self.file.sync_all()?;
        let folder = self.folder.handle.as_fd();
        let names = (1..=NAMES_MAX).filter_map(|number| match number {
            1 => Some(name.clone()),
            number => name.numbered(number),
        });
        for name in names {
            // A link, unlike a renaming, does not replace what is there.
            let linked = rustix::fs::linkat(
                folder,
                self.hidden.as_str(),
                folder,
                name.as_str(),
                AtFlags::empty(),
            );
            match linked {
                Ok(()) => {
                    let path = self.folder.path.join(name.as_str());
                    rustix::fs::unlinkat(folder, self.hidden.as_str(), AtFlags::empty())?;
                    rustix::fs::fsync(folder)?;
                    return Ok((name, path));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(FilesError::Taken)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let folder = self.folder.handle.as_fd();
        match rustix::fs::unlinkat(folder, self.hidden.as_str(), AtFlags::empty()) {
            // It got its name.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(%error, "an unfinished file was left in the folder"),
        }
    }
}

/// The content type of a file by its extension, as Python's table has it; unknown ones are bytes.
#[must_use]
pub fn content_type(name: &FileName) -> &'static str {
    match name.extension().as_deref() {
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("csv") => "text/csv",
        Some("tsv") => "text/tab-separated-values",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("zip") => "application/zip",
        Some("tar") => "application/x-tar",
        Some("xml") => "text/xml",
        Some("html" | "htm") => "text/html",
        Some("css") => "text/css",
        Some("mp3") => "audio/mpeg",
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
