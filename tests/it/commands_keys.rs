//! The built program: its wallet's keys.

use std::{io::Write as _, path::Path};

use serde_json::Value;

use crate::commands::{ADDRESS, Home, KEY, fed};

#[test]
fn a_key_is_kept_sealed_listed_by_its_address_and_never_shown() {
    let home = Home::new();
    let output = fed(home.command(&["keys", "import"]), &format!("0x{KEY}\n"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(ADDRESS) && text.contains("Base (chain 8453)"), "{text}");
    let listed = home.ends(0, &["keys", "list"]);
    assert!(listed.contains(ADDRESS), "{listed}");
    let refused = fed(home.command(&["keys", "import"]), &"11".repeat(32));
    assert_eq!(refused.status.code(), Some(1), "another key would be lost");
    let again = fed(home.command(&["keys", "import"]), KEY);
    assert!(again.status.success(), "the same key is no loss");
    home.ends(1, &["keys", "generate"]);
    home.ends(2, &["keys", "remove"]);
    home.ends(2, &["keys", "list", "--sandbox"]);
    for file in std::fs::read_dir(home.data()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(KEY.len()).any(|it| it == KEY.as_bytes()), "{}", path.display());
    }
    for shown in [text, listed] {
        assert!(!shown.contains(KEY), "{shown}");
    }
    home.ends(0, &["keys", "remove", "--yes"]);
    let listed = home.ends(0, &["keys", "list"]);
    assert!(!listed.contains(ADDRESS), "{listed}");
    let nonsense = fed(home.command(&["keys", "import"]), "s3cret nonsense");
    let text = String::from_utf8_lossy(&nonsense.stderr).into_owned();
    assert!(nonsense.status.code() == Some(1) && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_keystore_is_written_once_and_opens_with_its_passphrase() {
    let home = Home::new();
    let (passphrase, path) = (home.0.path().join("passphrase"), home.0.path().join("key.json"));
    write_private(&passphrase, "correct horse\n");
    let arguments = ["keys", "generate", "--keystore", path.to_str().unwrap(), "--json"];
    let mut command = home.command(&arguments);
    let made = command.env("HAGGLE_PASSPHRASE_FILE", &passphrase).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let mut list = home.command(&["keys", "list", "--json"]);
    list.env("HAGGLE_PASSPHRASE_FILE", &passphrase).env("HAGGLE_KEYSTORE", &path);
    let listed: Value = serde_json::from_slice(&list.output().unwrap().stdout).unwrap();
    assert_eq!(listed["keys"][0]["address"], made["address"]);
    assert_eq!(listed["keys"][0]["in_use"], true);
    let mut again = home.command(&arguments);
    let again = again.env("HAGGLE_PASSPHRASE_FILE", &passphrase).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "a key file is never written over");
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
