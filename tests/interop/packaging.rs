//! The packages, held against the official programs that read them: the bundle by `mcpb`, the plugin and
//! what `config install` writes by Claude Code itself, the registry entry by the registry's schema.
//! `scripts/install-packaging` installs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rmcp::{ServiceExt as _, transport::TokioChildProcess};
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn installed(program: &str) -> PathBuf {
    root().join("target/interop/packaging").join(program)
}

/// Runs a program with a home of its own, and without anything of this machine's environment.
fn run(program: &Path, arguments: &[&str], home: &Path) -> Output {
    let ours = Path::new(env!("CARGO_BIN_EXE_haggle")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path =
        std::env::join_paths(std::iter::once(ours.to_owned()).chain(std::env::split_paths(&path)));
    Command::new(program)
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("PATH", path.unwrap())
        .env("HOME", home)
        .env("HAGGLE_NO_KEYRING", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Whether it ended well, and what it said.
fn said(program: &Path, arguments: &[&str], home: &Path) -> (bool, String) {
    let output = run(program, arguments, home);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn works(program: &Path, arguments: &[&str], home: &Path) -> String {
    let (good, text) = said(program, arguments, home);
    assert!(good, "{arguments:?}: {text}");
    text
}

fn claude(arguments: &[&str], home: &Path) -> (bool, String) {
    said(&installed("node_modules/.bin/claude"), arguments, home)
}

/// A copy of a folder of the repository, which a test may spoil.
fn copy_of(folder: &str, to: &Path) {
    let status = Command::new("cp").arg("-R").arg(root().join(folder)).arg(to).status().unwrap();
    assert!(status.success());
}

/// Changes one word of a file.
fn spoil(file: &Path, word: &str, other: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(word), "{word} is not in {}", file.display());
    fs::write(file, text.replacen(word, other, 1)).unwrap();
}

#[test]
fn the_registry_entry_is_what_the_registry_takes() {
    let home = tempfile::tempdir().unwrap();
    let entry = home.path().join("entry/server.json");
    fs::create_dir(entry.parent().unwrap()).unwrap();
    fs::copy(root().join("server.json"), &entry).unwrap();
    let lint = installed("python/bin/skillsaw");
    let arguments = ["lint", "--strict", "entry"];
    let told = works(&lint, &arguments, home.path());
    assert!(told.contains("All checks passed"), "{told}");
    // And it would have told: names, versions and shapes are looked at.
    for (word, other) in [
        ("\"transport\"", "\"transports\""),
        ("io.github.", "io/github/"),
        ("\"version\": \"0.1.0\"", "\"version\": \"latest\""),
    ] {
        fs::copy(root().join("server.json"), &entry).unwrap();
        spoil(&entry, word, other);
        let (good, told) = said(&lint, &arguments, home.path());
        assert!(!good && told.contains("mcp-registry-server-json-valid"), "{other}: {told}");
    }
}

#[test]
fn the_plugin_is_what_claude_code_takes() {
    let home = tempfile::tempdir().unwrap();
    let (whole, plugin) = (root(), root().join("packaging/plugin"));
    for folder in [&whole, &plugin] {
        let (good, told) =
            claude(&["plugin", "validate", "--strict", folder.to_str().unwrap()], home.path());
        assert!(good && told.contains("Validation passed"), "{told}");
    }
    let spoiled = home.path().join("plugin");
    copy_of("packaging/plugin", &spoiled);
    spoil(&spoiled.join(".claude-plugin/plugin.json"), "\"name\"", "\"nom\"");
    let (good, told) =
        claude(&["plugin", "validate", "--strict", spoiled.to_str().unwrap()], home.path());
    assert!(!good, "{told}");

    // It can be installed from the repository as it is, and its server answers.
    for arguments in [
        &["plugin", "marketplace", "add", whole.to_str().unwrap()][..],
        &["plugin", "install", "haggle@haggle"],
    ] {
        let (good, told) = claude(arguments, home.path());
        assert!(good, "{told}");
    }
    let (_, told) = claude(&["mcp", "list"], home.path());
    assert!(told.contains("plugin:haggle:haggle") && told.contains("Connected"), "{told}");
}

/// What `config install` writes is found, understood and started by Claude Code; taken away, it is gone.
#[test]
fn claude_code_starts_what_was_installed() {
    let home = tempfile::tempdir().unwrap();
    let haggle = PathBuf::from(env!("CARGO_BIN_EXE_haggle"));
    let install = ["config", "install", "claude-code", "--yes", "--profile", "buy,sell"];
    works(&haggle, &install, home.path());
    let (_, told) = claude(&["mcp", "get", "haggle"], home.path());
    for expected in ["User config", "Connected", "serve --profile buy,sell"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // Claude Code has written into the file by now: it is still one, and theirs is kept.
    let file = home.path().join(".claude.json");
    let theirs: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(theirs.as_object().unwrap().len() > 1, "{theirs}");
    works(&haggle, &["config", "install", "claude-code", "--yes", "--remove"], home.path());
    let left: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(left.as_object().unwrap().len(), theirs.as_object().unwrap().len());
    let (good, told) = claude(&["mcp", "get", "haggle"], home.path());
    assert!(!good && told.contains("No MCP server"), "{told}");
}

/// The bundle is packed by the script, unpacked as Claude Desktop does, and started by the configuration that
/// the bundle's own library makes of it: as it is, and with what the owner has entered.
#[tokio::test]
async fn the_bundle_is_what_claude_desktop_takes() {
    let home = tempfile::tempdir().unwrap();
    let mcpb = installed("node_modules/.bin/mcpb");
    let packed = home.path().join("haggle.mcpb");
    let script = root().join("scripts/pack-mcpb");
    works(&script, &[env!("CARGO_BIN_EXE_haggle"), packed.to_str().unwrap()], home.path());
    let bundle = home.path().join("bundle");
    works(&mcpb, &["unpack", packed.to_str().unwrap(), bundle.to_str().unwrap()], home.path());
    works(&mcpb, &["validate", bundle.to_str().unwrap()], home.path());
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(bundle.join("manifest.json")).unwrap()).unwrap();
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    assert_eq!(manifest["compatibility"]["platforms"], json!([system]));

    let as_it_is = started_by(&bundle, &json!({}), home.path());
    assert_eq!(as_it_is["env"]["CROO_SDK_KEY"], "");
    let offered = tools_of(&as_it_is, home.path()).await;
    let named = manifest["tools"].as_array().unwrap();
    let named: Vec<_> =
        named.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(offered.len(), named.len());
    assert!(named.iter().all(|name| offered.contains(name)), "{named:?}, {offered:?}");

    let entered = json!({ "profiles": "sell", "croo_sdk_key": "croo_sk_1" });
    let selling = started_by(&bundle, &entered, home.path());
    assert_eq!(selling["env"]["CROO_SDK_KEY"], "croo_sk_1");
    let offered = tools_of(&selling, home.path()).await;
    assert!(offered.contains(&"croo_deliver_order".to_owned()), "{offered:?}");

    // A manifest that it does not take is told.
    spoil(&bundle.join("manifest.json"), "\"entry_point\"", "\"entrypoint\"");
    let (good, told) = said(&mcpb, &["validate", bundle.to_str().unwrap()], home.path());
    assert!(!good && told.contains("entry"), "{told}");
    let (good, told) = said(&script, &["Cargo.toml", "x.mcpb"], &root());
    assert!(!good && told.contains("no program"), "{told}");
}

/// Command, arguments and environment, as the bundle's library gives them to the client.
fn started_by(bundle: &Path, entered: &Value, home: &Path) -> Value {
    const SCRIPT: &str = r#"
        import { readFileSync } from "node:fs";
        const [library, bundle, entered] = process.argv.slice(1);
        const { getMcpConfigForManifest } = await import(library);
        const manifest = JSON.parse(readFileSync(`${bundle}/manifest.json`, "utf8"));
        const userConfig = JSON.parse(entered);
        const config = await getMcpConfigForManifest({ manifest, extensionPath: bundle,
            systemDirs: {}, userConfig, pathSeparator: "/" });
        console.log(JSON.stringify(config));
    "#;
    let library = installed("node_modules/@anthropic-ai/mcpb/dist/shared/config.js");
    let (library, bundle, entered) = (library.to_str(), bundle.to_str(), entered.to_string());
    let arguments =
        ["--input-type=module", "-e", SCRIPT, library.unwrap(), bundle.unwrap(), &entered];
    serde_json::from_str(&works(Path::new("node"), &arguments, home)).unwrap()
}

/// The names of the tools that a server offers which is started like this.
async fn tools_of(config: &Value, home: &Path) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut command = tokio::process::Command::new(text(&config["command"]));
    command.args(config["args"].as_array().unwrap().iter().map(text));
    command.env_clear().env("HOME", home).env("HAGGLE_NO_KEYRING", "1");
    command
        .envs(config["env"].as_object().unwrap().iter().map(|(name, value)| (name, text(value))));
    let client = ().serve(TokioChildProcess::new(command).unwrap()).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    client.cancel().await.unwrap();
    tools.into_iter().map(|tool| tool.name.into_owned()).collect()
}
