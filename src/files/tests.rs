//! Hostile names, hostile files, and names that are taken.

use std::{
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("files");
    Folder::open(&path).unwrap();
    (outside, path)
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, FilesError> {
    let opened = Folder::open(path)?.read(&name.parse()?)?;
    let (mut file, mut bytes) = (opened.file, Vec::new());
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_name_leads_nowhere_else() {
    let longest = "a".repeat(255);
    let longer = "a".repeat(256);
    #[rustfmt::skip]
    let rows = [
        ("report.csv",          true),  ("two words.txt",     true),  ("übersicht.pdf",   true),
        ("a..b",                true),  ("-rf",               true),  ("日本語.txt",       true),
        (longest.as_str(),      true),  (longer.as_str(),     false), ("",                false),
        (".",                   false), ("..",                false), (".env",            false),
        ("../secret",           false), ("a/../../secret",    false), ("/etc/passwd",     false),
        ("sub/file",            false), ("a\\b",              false), ("..\\secret",      false),
        ("a\0b",                false), ("a\nb",              false), ("a\u{1b}[31mb",    false),
        ("\u{202e}txt.exe",     false), ("a\u{200b}b",        false), ("a\u{2066}b",      false),
        ("a\u{2028}b",          false), ("a\u{7f}b",          false), ("a\u{e000}b",      false),
    ];
    for (name, accepted) in rows {
        assert_eq!(name.parse::<FileName>().is_ok(), accepted, "{name:?}");
    }
}

#[test]
fn a_foreign_path_gives_a_harmless_name() {
    let longer = "é".repeat(200);
    #[rustfmt::skip]
    let rows = [
        ("deliveries/1/report.csv",  "report.csv"),
        ("../../.ssh/authorized",    "authorized"),
        ("x/..",                     "file"),
        ("x/.env",                   "env"),
        ("x/",                       "file"),
        ("",                         "file"),
        ("a\\b\\c.txt",              "c.txt"),
        ("x/a\u{202e}b\0c.txt",      "abc.txt"),
    ];
    for (path, name) in rows {
        assert_eq!(FileName::last_of(path).as_str(), name, "{path:?}");
    }
    assert!(FileName::last_of(&longer).as_str().len() <= NAME_BYTES_MAX);
}

#[test]
fn only_an_ordinary_file_of_the_folder_is_read() {
    let (outside, path) = folder();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::write(path.join("good"), "good").unwrap();
    symlink(&secret, path.join("link")).unwrap();
    symlink("good", path.join("inner-link")).unwrap();
    symlink("/dev/zero", path.join("device-link")).unwrap();
    std::fs::hard_link(&secret, path.join("hard")).unwrap();
    std::fs::create_dir(path.join("sub")).unwrap();
    let fifo = path.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    assert_eq!(read(&path, "good").unwrap(), b"good");
    assert!(matches!(read(&path, "none"), Err(FilesError::Absent)));
    for name in ["link", "inner-link", "device-link", "hard", "sub", "fifo", "socket"] {
        let refused = read(&path, name);
        assert!(matches!(refused, Err(FilesError::Unsuitable)), "{name}: {refused:?}");
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn a_file_has_a_bound() {
    let (_outside, path) = folder();
    let grow = |bytes| {
        let file = File::create(path.join("big")).unwrap();
        file.set_len(bytes).unwrap();
    };
    grow(FILE_BYTES_MAX);
    assert!(Folder::open(&path).unwrap().read(&"big".parse().unwrap()).is_ok());
    grow(FILE_BYTES_MAX + 1);
    let refused = Folder::open(&path).unwrap().read(&"big".parse().unwrap());
    assert!(matches!(refused, Err(FilesError::TooLarge(bytes)) if bytes == FILE_BYTES_MAX + 1));
}

/// Ends the other thread, even where the test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_name_that_is_swapped_while_it_is_opened_gives_no_secret() {
    let (outside, path) = folder();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::write(path.join("good"), "good").unwrap();
    symlink(&secret, path.join("evil")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let (good, evil) = (path.join("good"), path.join("evil"));
            while !done.load(Ordering::Relaxed) {
                let at = rustix::fs::CWD;
                rustix::fs::renameat_with(at, &good, at, &evil, exchange).unwrap();
            }
        });
        let _ended = Ended(&done);
        let (mut given, mut refused) = (0, 0);
        for _ in 0..10_000 {
            match read(&path, "good") {
                Ok(bytes) => {
                    assert_eq!(bytes, b"good");
                    given += 1;
                }
                Err(FilesError::Unsuitable) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(given > 0 && refused > 0, "{given} given, {refused} refused");
    });
}

#[test]
fn what_arrives_replaces_nothing() {
    let (_outside, path) = folder();
    let keep = |bytes: &[u8]| {
        let mut staged = Folder::open(&path).unwrap().stage().unwrap();
        staged.write(bytes).unwrap();
        staged.publish(&"a.tar.gz".parse().unwrap()).unwrap()
    };
    for (bytes, name) in [(b"one", "a.tar.gz"), (b"two", "a.tar-2.gz"), (b"six", "a.tar-3.gz")] {
        let (kept, at) = keep(bytes);
        assert_eq!(kept.as_str(), name);
        assert_eq!(std::fs::read(&at).unwrap(), bytes);
        assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path, name).unwrap(), bytes, "it can be sent on");
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3, "nothing is left over");
}

#[test]
fn a_link_in_the_way_is_not_written_through() {
    let (outside, path) = folder();
    let target = outside.path().join("target");
    std::fs::write(&target, "before").unwrap();
    symlink(&target, path.join("a")).unwrap();
    symlink(outside.path().join("nowhere"), path.join("b")).unwrap();
    for (name, kept) in [("a", "a-2"), ("b", "b-2")] {
        let mut staged = Folder::open(&path).unwrap().stage().unwrap();
        staged.write(b"new").unwrap();
        let (given, _) = staged.publish(&name.parse().unwrap()).unwrap();
        assert_eq!(given.as_str(), kept);
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"before");
    assert!(!outside.path().join("nowhere").exists());
}

#[test]
fn what_is_given_up_leaves_nothing() {
    let (_outside, path) = folder();
    let mut staged = Folder::open(&path).unwrap().stage().unwrap();
    staged.write(b"half").unwrap();
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    drop(staged);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn knows_content_types_as_python_does() {
    // What `mimetypes.MimeTypes(filenames=()).guess_type` of Python 3.11 says.
    #[rustfmt::skip]
    let rows = [
        ("a.json", "application/json"), ("a.txt", "text/plain"),      ("a.csv", "text/csv"),
        ("a.pdf", "application/pdf"),   ("a.png", "image/png"),       ("a.jpg", "image/jpeg"),
        ("a.jpeg", "image/jpeg"),       ("a.gif", "image/gif"),       ("a.zip", "application/zip"),
        ("a.xml", "text/xml"),          ("a.html", "text/html"),      ("a.HTML", "text/html"),
        ("a.b.Csv", "text/csv"),        ("a.svg", "image/svg+xml"),   ("a.tar", "application/x-tar"),
        ("a.tsv", "text/tab-separated-values"), ("a.htm", "text/html"), ("a.css", "text/css"),
        ("a.mp3", "audio/mpeg"),        ("a.mp4", "video/mp4"),       ("a.webm", "video/webm"),
        ("a.wasm", "application/wasm"), ("a", "application/octet-stream"),
        ("a.md", "application/octet-stream"), ("csv", "application/octet-stream"),
    ];
    for (name, expected) in rows {
        assert_eq!(content_type(&name.parse().unwrap()), expected, "{name}");
    }
}
