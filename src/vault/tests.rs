//! Sealed, opened, refused. No test asks a real keyring.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Barrier},
    thread,
};

use super::*;

fn options(directory: &Path) -> VaultOptions<'_> {
    VaultOptions {
        directory,
        id: "sandbox",
        use_keyring: false,
        passphrase_file: None,
        must_exist: false,
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn passphrase_file(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("passphrase");
    drop(fs::remove_file(&path));
    crate::private_file::create(&path, text.as_bytes()).unwrap();
    path
}

#[test]
fn a_secret_opens_under_its_name_and_unaltered_only() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&options(dir.path())).unwrap();
    let sealed = vault.seal("crochet-api-key", &secret("sekret ✓")).unwrap();
    let opened = vault.open_sealed("crochet-api-key", &sealed).unwrap();
    assert_eq!(opened.expose_secret(), "sekret ✓");
    assert!(!String::from_utf8_lossy(&sealed).contains("sekret"));
    assert_ne!(vault.seal("crochet-api-key", &secret("sekret ✓")).unwrap(), sealed, "fresh nonce");
    assert!(vault.open_sealed("other-name", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(vault.open_sealed("crochet-api-key", &altered).is_err(), "byte {at}");
        assert!(vault.open_sealed("crochet-api-key", &sealed[..at]).is_err(), "first {at} bytes");
    }
    let empty = vault.seal("empty", &secret("")).unwrap();
    assert_eq!(vault.open_sealed("empty", &empty).unwrap().expose_secret(), "");
}

#[test]
fn a_key_file_is_made_once_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sandbox.key");
    let vault = Vault::open(&options(dir.path())).unwrap();
    assert_eq!(vault.source(), &KeySource::File(path.clone()));
    let sealed = vault.seal("a", &secret("b")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Vault::open(&VaultOptions { must_exist: true, ..options(dir.path()) }).unwrap();
    assert_eq!(again.open_sealed("a", &sealed).unwrap().expose_secret(), "b");
    let key = fs::read_to_string(&path).unwrap();
    assert!(!format!("{again:?}").contains(&key));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Vault::open(&options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn a_passphrase_opens_its_store_and_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = passphrase_file(dir.path(), "correct horse\n");
    let with = VaultOptions { passphrase_file: Some(&file), ..options(dir.path()) };
    let vault = Vault::open(&with).unwrap();
    assert_eq!(vault.source(), &KeySource::Passphrase(file.clone()));
    assert!(!dir.path().join("sandbox.key").exists());
    let sealed = vault.seal("a", &secret("b")).unwrap();

    passphrase_file(dir.path(), "correct horse");
    let again = Vault::open(&with).unwrap();
    assert_eq!(again.open_sealed("a", &sealed).unwrap().expose_secret(), "b");

    passphrase_file(dir.path(), "wrong horse");
    let wrong = Vault::open(&with);
    assert!(matches!(wrong, Err(VaultError::WrongKey { .. })), "{wrong:?}");
    passphrase_file(dir.path(), "short");
    assert!(matches!(Vault::open(&with), Err(VaultError::PassphraseUnfit)));
    let without = Vault::open(&options(dir.path()));
    assert!(matches!(without, Err(VaultError::PassphraseNeeded)), "{without:?}");
    assert!(!dir.path().join("sandbox.key").exists(), "no other key is made instead");
}

/// Two stores with one passphrase have two keys, since each has its salt.
#[test]
fn stores_do_not_open_each_others_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = passphrase_file(dir.path(), "correct horse");
    let one = VaultOptions { passphrase_file: Some(&file), ..options(dir.path()) };
    let two = VaultOptions { id: "live", ..one };
    let sealed = Vault::open(&one).unwrap().seal("a", &secret("b")).unwrap();
    assert!(Vault::open(&two).unwrap().open_sealed("a", &sealed).is_err());
}

#[test]
fn a_lost_key_is_never_replaced() {
    type Row = (&'static str, &'static [&'static str], fn(&VaultError) -> bool);
    #[rustfmt::skip]
    let rows: [Row; 3] = [
        // what it shows        removed                                 error
        ("the header is gone",  &["sandbox.vault.json"],                |e| matches!(e, VaultError::HeaderMissing { .. })),
        ("the key is gone",     &["sandbox.key"],                       |e| matches!(e, VaultError::File(FileError::Absent { .. }))),
        ("both are gone",       &["sandbox.vault.json", "sandbox.key"], |e| matches!(e, VaultError::HeaderMissing { .. })),
    ];
    for (row, removed, expected) in rows {
        let dir = tempfile::tempdir().unwrap();
        Vault::open(&options(dir.path())).unwrap();
        for name in removed {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        let error =
            Vault::open(&VaultOptions { must_exist: true, ..options(dir.path()) }).unwrap_err();
        assert!(expected(&error), "{row}: {error:?}");
        for name in removed {
            assert!(!dir.path().join(name).exists(), "{row}: {name} came back");
        }
    }
    // A key without a header is what an interrupted first time leaves: it is used.
    let dir = tempfile::tempdir().unwrap();
    let sealed = Vault::open(&options(dir.path())).unwrap().seal("a", &secret("b")).unwrap();
    fs::remove_file(dir.path().join("sandbox.vault.json")).unwrap();
    let vault = Vault::open(&options(dir.path())).unwrap();
    assert_eq!(vault.open_sealed("a", &sealed).unwrap().expose_secret(), "b");
}

#[test]
fn what_is_not_ours_is_refused() {
    let key = "00".repeat(32);
    let header = |change: &str| format!(r#"{{"version":1,"source":"file","check":"00"{change}}}"#);
    #[rustfmt::skip]
    let rows = [
        // what it shows          file                  contents                                                  error
        ("another key",           "sandbox.key",        key,                                                      "not the one"),
        ("no key",                "sandbox.key",        "zz".to_owned(),                                          "not the one"),
        ("an empty key file",     "sandbox.key",        String::new(),                                            "not the one"),
        ("no header",             "sandbox.vault.json", "{".to_owned(),                                           "cannot be read"),
        ("more in the header",    "sandbox.vault.json", header(r#","more":1"#),                                   "cannot be read"),
        ("a later header",        "sandbox.vault.json", header("").replace(":1,", ":2,"),                         "later version"),
        ("another check value",   "sandbox.vault.json", header(""),                                               "not the one"),
        ("the keyring's",         "sandbox.vault.json", header("").replace("\"file\"", "\"keyring\""),            "switched off"),
        ("a passphrase's",        "sandbox.vault.json", header("").replace("\"file\"", "\"passphrase\""),         "HAGGLE_PASSPHRASE_FILE"),
    ];
    for (row, file, contents, expected) in rows {
        let dir = tempfile::tempdir().unwrap();
        Vault::open(&options(dir.path())).unwrap();
        fs::write(dir.path().join(file), contents).unwrap();
        let error = Vault::open(&options(dir.path())).unwrap_err().to_string();
        assert!(error.contains(expected), "{row}: {error}");
    }
    for id in ["", "../x", "A", "a b", &"a".repeat(65)] {
        let dir = tempfile::tempdir().unwrap();
        let answer = Vault::open(&VaultOptions { id, ..options(dir.path()) });
        assert!(matches!(answer, Err(VaultError::Id)), "{id}");
    }
}

#[test]
fn processes_that_begin_at_once_share_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (barrier, path) = (barrier.clone(), dir.path().to_owned());
            thread::spawn(move || {
                barrier.wait();
                Vault::open(&options(&path)).unwrap()
            })
        })
        .collect();
    let vaults: Vec<Vault> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sealed = vaults[0].seal("a", &secret("b")).unwrap();
    for vault in &vaults {
        assert_eq!(vault.open_sealed("a", &sealed).unwrap().expose_secret(), "b");
    }
}
