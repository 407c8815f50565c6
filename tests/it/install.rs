//! `haggle config install`: each client's file as a person may have it, through the built program.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{commands::Home, terminal::Terminal};

/// A user whom the files of these tests do not belong to.
const NOBODY: u32 = 65534;

/// A client: its name on the command line, its file below the home, the member with the servers.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("claude-code", ".claude.json", "mcpServers"),
    ("claude-desktop", DESKTOP_FILE, "mcpServers"),
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    ("vscode", CODE_FILE, "servers"),
];
/// Programs with windows keep their configuration elsewhere on each system.
const DESKTOP_FILE: &str = if cfg!(target_os = "macos") {
    "Library/Application Support/Claude/claude_desktop_config.json"
} else {
    "config/Claude/claude_desktop_config.json"
};
const CODE_FILE: &str = if cfg!(target_os = "macos") {
    "Library/Application Support/Code/User/mcp.json"
} else {
    "config/Code/User/mcp.json"
};

/// A home with one client's file.
struct Desk {
    home: Home,
    client: &'static str,
    key: &'static str,
    file: PathBuf,
}

impl Desk {
    fn new((client, file, key): (&'static str, &'static str, &'static str)) -> Self {
        let home = Home::new();
        let file = home.0.path().join(file);
        Self { home, client, key, file }
    }

    fn all() -> impl Iterator<Item = Self> {
        CLIENTS.into_iter().map(Self::new)
    }

    fn with(self, text: &str) -> Self {
        fs::create_dir_all(self.file.parent().unwrap()).unwrap();
        fs::write(&self.file, text).unwrap();
        fs::set_permissions(&self.file, Permissions::from_mode(0o640)).unwrap();
        self
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut arguments = vec!["config", "install", self.client];
        arguments.extend(more);
        self.home.command(&arguments)
    }

    fn ends(&self, status: i32, more: &[&str]) -> String {
        let mut arguments = vec!["config", "install", self.client];
        arguments.extend(more);
        self.home.ends(status, &arguments)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn servers(&self) -> Value {
        serde_json::from_str::<Value>(&self.text()).unwrap()[self.key].clone()
    }

    /// Everything beside the file: name and text.
    fn others(&self) -> BTreeMap<String, String> {
        let folder = fs::read_dir(self.file.parent().unwrap()).unwrap();
        let files = folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files
            .filter(|path| *path != self.file)
            .map(|path| (name_of(&path), fs::read_to_string(&path).unwrap()))
            .collect()
    }

    /// The one copy of the file as it was.
    fn backup(&self) -> (String, String) {
        let others = self.others();
        assert_eq!(others.len(), 1, "{}: {others:?}", self.client);
        let (name, text) = others.into_iter().next().unwrap();
        let stamp = name.strip_prefix(&format!("{}.haggle-backup-", name_of(&self.file))).unwrap();
        assert!(stamp.len() == 14 && stamp.bytes().all(|b| b.is_ascii_digit()), "{name}");
        (name, text)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn program() -> String {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_haggle")).unwrap();
    program.to_str().unwrap().to_owned()
}

/// The entry that this client is to have.
fn entry(client: &str) -> Value {
    let mut entry = json!({ "command": program(), "args": ["serve"] });
    if client != "claude-desktop" {
        entry["type"] = json!("stdio");
    }
    entry
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_file_is_made_and_the_second_time_changes_nothing() {
    for desk in Desk::all() {
        let told = desk.ends(0, &["--yes"]);
        assert!(told.contains("has not been used here"), "{told}");
        assert_eq!(desk.servers(), json!({ "haggle": entry(desk.client) }));
        assert_eq!(desk.others(), BTreeMap::new(), "{}", desk.client);
        let text = desk.text();
        let told = desk.ends(0, &["--yes"]);
        assert!(told.contains("already"), "{told}");
        assert_eq!((desk.text(), desk.others()), (text, BTreeMap::new()));
    }
}

#[test]
fn an_empty_file_is_filled() {
    for text in ["", "\n", "{}\n"] {
        for desk in Desk::all().map(|desk| desk.with(text)) {
            desk.ends(0, &["--yes"]);
            assert_eq!(desk.servers()["haggle"], entry(desk.client), "{}", desk.client);
            assert_eq!(desk.backup().1, text, "{}", desk.client);
        }
    }
}

/// Comments, other servers, order, formatting, rights: as they were; the copy has them too.
#[test]
fn what_others_have_there_stays() {
    for desk in Desk::all() {
        let key = desk.key;
        let text = format!(
            "// mine\n{{\n   \"zoom\": 1.50, /* so */ \"list\": [1,2],\n   \"{key}\": {{\n      \
             // the other\n      \"other\": {{ \"command\": \"x\" }} // stays\n   }}\n}}\n"
        );
        let desk = desk.with(&text);
        let told = desk.ends(0, &["--yes"]);
        assert!(told.contains("+       \"haggle\": {"), "{told}");
        let (start, end) = text.split_at(text.find(" // stays").unwrap());
        let now = desk.text();
        assert!(now.starts_with(start) && now.ends_with(end.split_at(9).1), "{now}");
        assert_eq!(now.matches("// stays").count(), 1, "{now}");
        let (name, copy) = desk.backup();
        assert_eq!(copy, text);
        assert_eq!((mode(&desk.file), mode(&desk.file.with_file_name(name))), (0o640, 0o640));
        let told = desk.ends(0, &["--remove", "--yes"]);
        assert!(told.contains("no longer has haggle"), "{told}");
        assert_eq!(desk.text(), text, "{}", desk.client);
    }
}

#[test]
fn another_entry_of_the_name_is_shown_and_replaced_on_consent_alone() {
    for desk in Desk::all() {
        let other = json!({ "command": "npx", "args": ["-y", "haggle"], "env": { "K": "hidden" } });
        let text = json!({ desk.key: { "haggle": other } }).to_string();
        let desk = desk.with(&text);
        for (status, more) in [(2, &[][..]), (0, &["--dry-run"]), (2, &["--json"])] {
            let told = desk.ends(status, more);
            assert!(told.contains("npx") && told.contains(&program()), "{told}");
            assert!(!told.contains("hidden"), "{told}");
            assert_eq!(told.contains("add --yes"), status == 2, "{told}");
            assert_eq!((desk.text(), desk.others()), (text.clone(), BTreeMap::new()));
        }
        desk.ends(0, &["--yes"]);
        assert_eq!(desk.servers(), json!({ "haggle": entry(desk.client) }));
        assert_eq!(desk.backup().1, text);
    }
}

#[test]
fn a_file_that_is_no_json_is_refused_with_line_and_column() {
    for text in ["{\n  \"a\": 1\n  \"b\": 2\n}\n", "{\n  \"a\": nope\n}"] {
        for desk in Desk::all().map(|desk| desk.with(text)) {
            for more in [&["--yes"][..], &["--remove", "--yes"], &["--dry-run"]] {
                let told = desk.ends(1, more);
                assert!(told.contains("is not JSON: line 2, column "), "{told}");
                assert_eq!((desk.text().as_str(), desk.others()), (text, BTreeMap::new()));
            }
        }
    }
    // Bytes that are no text either.
    for desk in Desk::all().map(|desk| desk.with("")) {
        fs::write(&desk.file, [0xff, 0xfe, b'{', b'}']).unwrap();
        let told = desk.ends(1, &["--yes"]);
        assert!(told.contains("nothing was changed"), "{told}");
        assert_eq!(fs::read(&desk.file).unwrap(), [0xff, 0xfe, b'{', b'}']);
    }
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    for desk in Desk::all() {
        let kept = desk.home.0.path().join("dotfiles");
        fs::create_dir_all(&kept).unwrap();
        fs::create_dir_all(desk.file.parent().unwrap()).unwrap();
        symlink("nowhere", &desk.file).unwrap();
        let told = desk.ends(1, &["--yes"]);
        assert!(told.contains("leads nowhere"), "{told}");

        fs::remove_file(&desk.file).unwrap();
        fs::write(kept.join("real.json"), "{}").unwrap();
        symlink(kept.join("real.json"), &desk.file).unwrap();
        desk.ends(0, &["--yes"]);
        assert!(fs::symlink_metadata(&desk.file).unwrap().is_symlink(), "{}", desk.client);
        assert_eq!(desk.servers()["haggle"], entry(desk.client));
        let inside: Vec<_> = fs::read_dir(&kept).unwrap().collect();
        assert_eq!(inside.len(), 2, "the copy is beside the file itself: {inside:?}");
    }
}

/// A folder that may not be written into: it says so, and nothing is left over.
#[test]
fn a_folder_that_cannot_be_written_is_left_alone() {
    for desk in Desk::all() {
        // This user may do everything, so the program runs as another, from a copy that it may read.
        let desk = desk.with("{}");
        let elsewhere = tempfile::tempdir().unwrap();
        let root = fs::metadata(&desk.file).unwrap().uid() == 0;
        let mut command = desk.command(&["--yes"]);
        if root {
            let copy = elsewhere.path().join("haggle");
            fs::copy(env!("CARGO_BIN_EXE_haggle"), &copy).unwrap();
            let plain = desk.command(&["--yes"]);
            command = Command::new(&copy);
            command.args(plain.get_args()).env_clear().uid(NOBODY);
            command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            for folder in [desk.home.0.path(), elsewhere.path()] {
                fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
            }
            chown(&desk.file, Some(NOBODY), None).unwrap();
        }
        let folder = desk.file.parent().unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
        let output = command.output().unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("nothing was changed"), "{told}");
        assert_eq!(desk.text(), "{}", "{}", desk.client);
        assert_eq!(desk.others(), BTreeMap::new());
    }
    // Where a file is in the folder's place.
    let desk = Desk::new(CLIENTS[2]);
    fs::write(desk.home.0.path().join(".cursor"), "").unwrap();
    let told = desk.ends(1, &["--yes"]);
    assert!(told.contains("cannot be used, nothing was changed"), "{told}");
}

/// Several at once: each entry is there once, the file is whole, and no copy replaced another.
#[test]
fn several_processes_at_once_lose_nothing() {
    let desk = Desk::new(CLIENTS[2]).with("{\"mcpServers\": {\"other\": {\"command\": \"x\"}}}");
    let names: Vec<String> = (0..8).map(|number| format!("haggle-{}", number / 2)).collect();
    let start = |name: &String| desk.command(&["--yes", "--name", name]).spawn().unwrap();
    let children: Vec<_> = names.iter().map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let servers = desk.servers();
    assert_eq!(servers.as_object().unwrap().len(), 5, "{servers}");
    assert_eq!(servers["other"]["command"], "x");
    let copies = desk.others();
    assert_eq!(copies.len(), 4, "a copy for each change: {:?}", copies.keys());
}

#[test]
fn a_project_has_its_own_file() {
    let project = tempfile::tempdir().unwrap();
    let folder = project.path().to_str().unwrap();
    #[rustfmt::skip]
    let rows = [
        ("claude-code", ".mcp.json",        "mcpServers"),
        ("cursor",      ".cursor/mcp.json", "mcpServers"),
        ("vscode",      ".vscode/mcp.json", "servers"),
    ];
    let home = Home::new();
    for (client, file, key) in rows {
        home.ends(0, &["config", "install", client, "--project", folder, "--yes"]);
        let text = fs::read_to_string(project.path().join(file)).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({ key: { "haggle": entry(client) } }), "{client}");
    }
    // Without its name it is the folder that one is in.
    let mut command =
        home.command(&["config", "install", "cursor", "--project", "--remove", "--yes"]);
    assert!(command.current_dir(project.path()).status().unwrap().success());
    let text = fs::read_to_string(project.path().join(".cursor/mcp.json")).unwrap();
    assert!(!text.contains("haggle"), "{text}");
    let told = home.ends(2, &["config", "install", "claude-desktop", "--project", folder]);
    assert!(told.contains("knows no projects"), "{told}");
    let told = home.ends(2, &["config", "install", "cursor", "--project", "/no/such/folder"]);
    assert!(told.contains("is no folder"), "{told}");
    let left = fs::read_dir(home.0.path()).unwrap().count();
    assert_eq!(left, 0, "the home is untouched");
}

/// What the flags say stands in the entry, paths made absolute; a running server by its URL.
#[test]
fn the_entry_has_what_the_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    let beside = folder.join("d");
    let bearer = |token: &str| json!({ "Authorization": format!("Bearer {token}") });
    let url = "https://haggle.example/mcp";
    #[rustfmt::skip]
    let rows: [(&str, &[&str], Value); 10] = [
        ("cursor",      &["--profile", "sell,account", "--read-only"],  json!({ "args": ["serve", "--profile", "sell,account", "--read-only"] })),
        ("claude-code", &["--sandbox"],                                 json!({ "args": ["serve", "--sandbox"] })),
        ("vscode",      &["--sandbox=http://127.0.0.1:9/admin"],        json!({ "args": ["serve", "--sandbox=http://127.0.0.1:9/admin"] })),
        ("cursor",      &["--marketplaces", "croo,crochet"],            json!({ "args": ["serve", "--marketplaces", "croo,crochet"] })),
        ("cursor",      &["--data-dir", "d"],                           json!({ "args": ["serve", "--data-dir", beside] })),
        ("cursor",      &["--log", "debug"],                            json!({ "args": ["serve", "--log", "debug"] })),
        ("cursor",      &["--url", "http://127.0.0.1:9/mcp"],           json!({ "url": "http://127.0.0.1:9/mcp" })),
        ("cursor",      &["--url", url, "--token"],                     json!({ "url": url, "headers": bearer("${env:HAGGLE_TOKEN}") })),
        ("vscode",      &["--url", url, "--token"],                     json!({ "url": url, "type": "http", "headers": bearer("${env:HAGGLE_TOKEN}") })),
        ("claude-code", &["--url", url, "--token"],                     json!({ "url": url, "type": "http", "headers": bearer("${HAGGLE_TOKEN}") })),
    ];
    for (client, more, mut wanted) in rows {
        let desk = Desk::new(CLIENTS.into_iter().find(|known| known.0 == client).unwrap());
        let mut command = desk.command(more);
        fs::create_dir_all(&folder).unwrap();
        assert!(command.arg("--yes").current_dir(&folder).status().unwrap().success(), "{more:?}");
        if wanted.get("url").is_none() {
            wanted["command"] = json!(program());
            wanted["type"] = json!("stdio");
        }
        assert_eq!(desk.servers()["haggle"], wanted, "{more:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    #[rustfmt::skip]
    let rows: &[(&str, &[&str])] = &[
        // what it shows                  arguments
        ("no client",                     &[]),
        ("an unknown one",                &["emacs"]),
        ("a name with a dot",             &["cursor", "--name", "a.b"]),
        ("no name",                       &["cursor", "--name", ""]),
        ("a secret in a URL",             &["cursor", "--url", "https://u:secret@example.com/mcp"]),
        ("a secret in a query",           &["cursor", "--url", "https://example.com/mcp?token=secret"]),
        ("an open URL",                   &["cursor", "--url", "http://example.com/mcp"]),
        ("a secret in the sandbox's",     &["cursor", "--sandbox=http://u:secret@127.0.0.1:1/admin"]),
        ("Desktop and a URL",             &["claude-desktop", "--url", "https://example.com/mcp"]),
        ("a URL and a profile",           &["cursor", "--url", "https://example.com/mcp", "--profile", "sell"]),
        ("a URL and a folder",            &["cursor", "--url", "https://example.com/mcp", "--data-dir", "d"]),
        ("a token without a URL",         &["cursor", "--token"]),
        ("taking away and a profile",     &["cursor", "--remove", "--profile", "sell"]),
        ("showing and doing",             &["cursor", "--dry-run", "--yes"]),
    ];
    let home = Home::new();
    for (row, more) in rows {
        let mut arguments = vec!["config", "install"];
        arguments.extend(*more);
        let told = home.ends(2, &arguments);
        assert!(!told.contains("add --yes"), "{row}: {told}");
        assert_eq!(fs::read_dir(home.0.path()).unwrap().count(), 0, "{row}");
    }
}

#[test]
fn json_says_what_was_done() {
    let desk = Desk::new(CLIENTS[0]).with("{}");
    let said = |status: i32, more: &[&str]| -> Value {
        let output = desk.command(more).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{more:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(said(2, &[])["outcome"], "shown");
    assert_eq!(said(0, &["--dry-run"])["outcome"], "shown");
    let added = said(0, &["--yes"]);
    assert_eq!(added["outcome"], "added");
    assert_eq!(added["file"], fs::canonicalize(&desk.file).unwrap().to_str().unwrap());
    assert_eq!(fs::read_to_string(added["backup"].as_str().unwrap()).unwrap(), "{}");
    assert_eq!(said(0, &[])["outcome"], "already");
    assert_eq!(said(0, &["--yes", "--read-only"])["outcome"], "changed");
    assert_eq!(said(0, &["--yes", "--remove"])["outcome"], "removed");
    assert_eq!(said(0, &["--yes", "--remove"])["outcome"], "absent");
}

/// On a terminal it asks, and only a yes is one.
#[test]
fn on_a_terminal_it_asks() {
    for (typed, changes) in [("y\n", true), ("yes\n", true), ("n\n", false), ("\n", false)] {
        let desk = Desk::new(CLIENTS[2]).with("{}");
        let mut terminal = Terminal::start(desk.command(&[]));
        terminal.until("Make this change? [y/N]");
        terminal.type_in(typed);
        let (status, shown) = terminal.end();
        assert!(shown.contains("\"haggle\": {"), "{shown}");
        assert_eq!(desk.text() != "{}", changes, "{typed:?}: {shown}");
        assert_eq!(status.code(), Some(i32::from(!changes)), "{typed:?}: {shown}");
    }
}

/// What another program writes while the person thinks stays; the entry itself must be as shown.
#[test]
fn what_is_written_meanwhile_is_kept() {
    #[rustfmt::skip]
    let rows = [
        // what it shows       written meanwhile                                  goes on
        ("something else",     json!({ "numStartups": 2 }),                                        true),
        ("the same entry",     json!({ "mcpServers": { "haggle": entry("claude-code") } }),        true),
        ("another entry",      json!({ "mcpServers": { "haggle": { "command": "npx" } } }),        false),
    ];
    for (row, meanwhile, goes_on) in rows {
        let desk = Desk::new(CLIENTS[0]).with("{\"numStartups\": 1}");
        let mut terminal = Terminal::start(desk.command(&[]));
        terminal.until("[y/N]");
        fs::write(&desk.file, meanwhile.to_string()).unwrap();
        terminal.type_in("y\n");
        let (status, shown) = terminal.end();
        assert_eq!(status.success(), goes_on, "{row}: {shown}");
        let now: Value = serde_json::from_str(&desk.text()).unwrap();
        assert_eq!(now.get("numStartups"), meanwhile.get("numStartups"), "{row}");
        let wanted = if goes_on { &entry("claude-code") } else { &json!({ "command": "npx" }) };
        assert_eq!(now["mcpServers"]["haggle"], *wanted, "{row}");
    }
}
