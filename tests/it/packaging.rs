//! What packages this program says the same as the program: versions, names, tools, variables, flags.
//!
//! The official validators of each are run by the `interop` tests.

use std::{fs, path::PathBuf};

use clap::Parser as _;
use haggle::{
    cli::{
        Cli, Command,
        tools::{Row, rows},
    },
    config::env::{Shown, Variable},
    error::Code,
    profile::Profile,
};
use serde_json::{Value, json};

const SERVER: &str = "server.json";
const BUNDLE: &str = "packaging/mcpb/manifest.json";
const PLUGIN: &str = "packaging/plugin/.claude-plugin/plugin.json";
const PLUGIN_SERVERS: &str = "packaging/plugin/.mcp.json";
const PLUGINS: &str = ".claude-plugin/marketplace.json";
const SKILL: &str = "packaging/plugin/skills/buying-and-selling/SKILL.md";
/// The longest description that the registry takes.
const DESCRIPTION_CHARS_MAX: usize = 100;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn read(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Holds a file against what it should say; with `UPDATE_TOOL_SCHEMAS=1` it is rewritten instead.
#[expect(clippy::disallowed_methods, reason = "a test that can rewrite what it checks")]
fn holds(file: &str, wanted: &Value) {
    let mut written = serde_json::to_string_pretty(wanted).unwrap();
    written.push('\n');
    if std::env::var("UPDATE_TOOL_SCHEMAS").is_ok() {
        fs::write(path(file), written).unwrap();
        return;
    }
    assert_eq!(text(file), written, "{file}: run UPDATE_TOOL_SCHEMAS=1 cargo test tool_schemas");
}

/// The profiles with which such arguments start a server.
fn profiles(arguments: &[String]) -> Vec<Profile> {
    let read = Cli::try_parse_from(std::iter::once(&"haggle".to_owned()).chain(arguments));
    let Some(Command::Serve(serve)) = read.unwrap_or_else(|error| panic!("{error}")).command else {
        panic!("{arguments:?} serve nothing");
    };
    serve.profile
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn tool_schemas_and_the_registry_entry_are_as_the_code_is() {
    let mut wanted = read(SERVER);
    wanted["version"] = json!(env!("CARGO_PKG_VERSION"));
    let package = &mut wanted["packages"][0];
    package["identifier"] = json!(env!("CARGO_PKG_NAME"));
    package["version"] = json!(env!("CARGO_PKG_VERSION"));
    let variable = |variable: &Variable| {
        json!({ "name": variable.name(), "description": variable.meaning(), "isRequired": false,
            "isSecret": variable.shown() == Shown::Masked, "format": "string" })
    };
    package["environmentVariables"] = Variable::ALL.iter().map(variable).collect();
    holds(SERVER, &wanted);
    let description = wanted["description"].as_str().unwrap();
    assert!(description.chars().count() <= DESCRIPTION_CHARS_MAX, "{description}");

    let mut arguments = Vec::new();
    for argument in wanted["packages"][0]["packageArguments"].as_array().unwrap() {
        arguments.extend(argument.get("name").map(|name| name.as_str().unwrap().to_owned()));
        let value = argument.get("value").or_else(|| argument.get("default")).unwrap();
        arguments.push(value.as_str().unwrap().to_owned());
    }
    assert_eq!(profiles(&arguments), [Profile::Buy]);
    // The registry looks for its name in the crate's README.
    let name = format!("mcp-name: {}", wanted["name"].as_str().unwrap());
    let told = text("README.md");
    let others = told.lines().filter(|line| line.starts_with("mcp-name:") && *line != name).count();
    assert_eq!(others, 0, "the README names another server than {name}");
}

#[test]
fn tool_schemas_and_the_bundle_are_as_the_code_is() {
    let mut wanted = read(BUNDLE);
    let tool = |row: &Row| json!({ "name": row.name, "description": row.title });
    wanted["version"] = json!(env!("CARGO_PKG_VERSION"));
    wanted["name"] = json!(env!("CARGO_PKG_NAME"));
    wanted["license"] = json!(env!("CARGO_PKG_LICENSE"));
    wanted["tools"] = rows(&[Profile::Buy], false).iter().map(tool).collect();
    holds(BUNDLE, &wanted);

    let config = &wanted["server"]["mcp_config"];
    let asked = wanted["user_config"].as_object().unwrap();
    let setting = |reference: &str| {
        let name = reference.strip_prefix("${user_config.")?.strip_suffix('}')?;
        Some((name.to_owned(), asked.get(name).unwrap_or_else(|| panic!("{name} is not asked"))))
    };
    let mut used = Vec::new();
    for (name, reference) in config["env"].as_object().unwrap() {
        let known = Variable::ALL.iter().find(|variable| variable.name() == name);
        let masked = known.unwrap_or_else(|| panic!("{name} is not read")).shown();
        let (asked_as, setting) = setting(reference.as_str().unwrap()).unwrap();
        assert_eq!(setting.get("sensitive").is_some(), masked == Shown::Masked, "{name}");
        // A reference without a value stays as it is, and would be taken for the secret itself.
        assert_eq!(setting["default"], "", "{name}");
        used.push(asked_as);
    }
    let arguments: Vec<_> = strings(&config["args"])
        .into_iter()
        .map(|argument| match setting(&argument) {
            Some((name, setting)) => {
                used.push(name);
                setting["default"].as_str().unwrap().to_owned()
            }
            None => argument,
        })
        .collect();
    assert_eq!(profiles(&arguments), [Profile::Buy]);
    used.sort();
    assert!(used.iter().eq(asked.keys()), "{used:?} are used, asked for are {:?}", asked.keys());
}

#[test]
fn the_plugin_is_as_the_code_is() {
    let (plugin, plugins) = (read(PLUGIN), read(PLUGINS));
    assert_eq!(plugin["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(plugin["name"], env!("CARGO_PKG_NAME"));
    assert_eq!(plugin["license"], env!("CARGO_PKG_LICENSE"));
    let listed = &plugins["plugins"][0];
    assert_eq!(listed["name"], plugin["name"]);
    assert_eq!(listed["description"], plugin["description"]);
    let folder = path(listed["source"].as_str().unwrap());
    assert!(folder.join(".claude-plugin/plugin.json").is_file(), "{}", folder.display());
}

/// Each word of the skill that looks like a name is one, and its tools are there when it is used.
#[test]
fn the_skill_names_what_there_is() {
    let server = &read(PLUGIN_SERVERS)["mcpServers"]["haggle"];
    assert_eq!(server["command"], env!("CARGO_PKG_NAME"));
    let profiles = profiles(&strings(&server["args"]));
    let offered: Vec<_> = rows(&profiles, false).iter().map(|row| row.name).collect();
    let skill = text(SKILL);
    let schemas = fs::read_dir(path("tool-schemas")).unwrap();
    let mut known: String =
        schemas.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    known.push_str(&text("src/marketplaces/croo/events.rs"));
    known.push_str(&text("src/recovery.rs"));
    let mut tools = 0;
    for quoted in skill.split('`').skip(1).step_by(2) {
        let word = quoted.split([':', '.', '[']).next().unwrap().trim_matches('"');
        if ["market_", "croo_", "crochet_", "paegents_"].iter().any(|start| word.starts_with(start))
        {
            assert!(offered.contains(&word), "{word} is not offered by {profiles:?}");
            tools += 1;
        } else if word.contains('_') && !word.starts_with('_') {
            let code = Code::ALL.iter().any(|code| code.name() == word);
            assert!(code || known.contains(word), "{word} means nothing");
        }
    }
    assert!(tools > 20, "the skill has {tools} tools");
    // What a description says of a skill is all that a model has of it at first.
    assert!(skill.starts_with("---\nname: buying-and-selling\ndescription: "), "{skill}");
}
