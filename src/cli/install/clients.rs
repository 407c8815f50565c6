//! The clients that haggle is written into: where each keeps its servers, and what an entry looks
//! like there.
//!
//! Invariant: an entry holds no secret. A token is named by the variable that holds it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jsonc_parser::cst::CstInputValue;
use serde_json::{Value, json};

use crate::{
    cli::Failure,
    config::{env::Environment, load::LoadError},
};

/// A program that speaks to MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Code
    ClaudeCode,
    /// Claude Desktop
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    #[value(name = "vscode")]
    VsCode,
}

/// The folders that the clients keep their configuration in.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The person's home.
    pub home: PathBuf,
    /// Where programs with windows keep theirs.
    pub desktop: PathBuf,
    /// Claude Code's own, where it was moved.
    pub claude: Option<PathBuf>,
}

impl Folders {
    /// Those of the user, as the operating system has them.
    ///
    /// # Errors
    ///
    /// [`LoadError::NoHome`].
    pub fn of_user(env: Environment<'_>) -> Result<Self, LoadError> {
        use etcetera::BaseStrategy as _;
        let xdg = etcetera::base_strategy::Xdg::new().map_err(|_| LoadError::NoHome)?;
        let apple = etcetera::base_strategy::Apple::new().map_err(|_| LoadError::NoHome)?;
        let desktop = if cfg!(target_os = "macos") { apple.data_dir() } else { xdg.config_dir() };
        let claude = env.claude_folder();
        Ok(Self { home: xdg.home_dir().to_owned(), desktop, claude })
    }
}

/// A file that a client reads its servers from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// What is there where the client is installed, or the project's folder.
    pub sign: PathBuf,
}

/// What the client starts, or speaks to.
#[derive(Clone, Debug)]
pub enum Server {
    /// This program.
    Program {
        /// Its absolute path.
        command: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// A server that runs already.
    Http {
        /// Where.
        url: String,
        /// Whether it wants the token of `HAGGLE_TOKEN`.
        token: bool,
    },
}

impl Client {
    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
        }
    }

    /// The member of the file that holds the servers.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::ClaudeDesktop | Self::Cursor => "mcpServers",
            Self::VsCode => "servers",
        }
    }

    /// The file of the user.
    #[must_use]
    pub fn of_user(self, folders: &Folders) -> Place {
        let Folders { home, desktop, claude } = folders;
        match self {
            Self::ClaudeCode => {
                let sign = claude.clone().unwrap_or_else(|| home.join(".claude"));
                Place { file: claude.as_ref().unwrap_or(home).join(".claude.json"), sign }
            }
            Self::ClaudeDesktop => {
                let sign = desktop.join("Claude");
                Place { file: sign.join("claude_desktop_config.json"), sign }
            }
            Self::Cursor => {
                let sign = home.join(".cursor");
                Place { file: sign.join("mcp.json"), sign }
            }
            Self::VsCode => {
                let sign = desktop.join("Code");
                Place { file: sign.join("User/mcp.json"), sign }
            }
        }
    }

    /// The file of a project.
    ///
    /// # Errors
    ///
    /// Where the client has none.
    pub fn of_project(self, folder: &Path) -> Result<Place, Failure> {
        let file = match self {
            Self::ClaudeCode => ".mcp.json",
            Self::Cursor => ".cursor/mcp.json",
            Self::VsCode => ".vscode/mcp.json",
            Self::ClaudeDesktop => {
                return Err(Failure::usage(
                    "Claude Desktop knows no projects: leave --project out",
                ));
            }
        };
        Ok(Place { file: folder.join(file), sign: folder.to_owned() })
    }

    /// The members of an entry, in the order in which they are written.
    ///
    /// # Errors
    ///
    /// Where the client cannot reach such a server.
    pub fn entry(self, server: &Server) -> Result<Entry, Failure> {
        let text = |text: &str| CstInputValue::String(text.to_owned());
        let mut entry = Entry::default();
        match server {
            Server::Program { command, args } => {
                if self != Self::ClaudeDesktop {
                    entry.put("type", text("stdio"), json!("stdio"));
                }
                entry.put("command", text(command), json!(command));
                let written = args.iter().map(|argument| text(argument)).collect();
                entry.put("args", CstInputValue::Array(written), json!(args));
            }
            Server::Http { url, token } => {
                match self {
                    Self::ClaudeDesktop => {
                        return Err(Failure::usage(
                            "Claude Desktop's file takes programs only: leave --url out",
                        ));
                    }
                    Self::ClaudeCode | Self::VsCode => {
                        entry.put("type", text("http"), json!("http"));
                    }
                    Self::Cursor => {}
                }
                entry.put("url", text(url), json!(url));
                if *token {
                    let bearer = format!("Bearer {}", self.token());
                    let header = ("Authorization".to_owned(), text(&bearer));
                    let value = json!({ "Authorization": bearer });
                    entry.put("headers", CstInputValue::Object(vec![header]), value);
                }
            }
        }
        Ok(entry)
    }

    /// How the client is told to put the variable's value there.
    const fn token(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::ClaudeDesktop => "${HAGGLE_TOKEN}",
            Self::Cursor | Self::VsCode => "${env:HAGGLE_TOKEN}",
        }
    }

    /// What makes the client read its file again.
    #[must_use]
    pub const fn then(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code: start it again; `/mcp` shows its servers.",
            Self::ClaudeDesktop => "Claude Desktop: quit it and start it again.",
            Self::Cursor => "Cursor: in the settings, under MCP, switch the server on.",
            Self::VsCode => "VS Code: `MCP: List Servers` in the command palette starts it.",
        }
    }
}

/// What stands under the server's name.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The members, as they are written.
    pub members: Vec<(&'static str, CstInputValue)>,
    /// The same, to compare.
    pub value: serde_json::Map<String, Value>,
}

impl Entry {
    fn put(&mut self, name: &'static str, written: CstInputValue, value: Value) {
        self.members.push((name, written));
        self.value.insert(name.to_owned(), value);
    }

    /// The whole, to be written.
    #[must_use]
    pub fn written(&self) -> CstInputValue {
        let member = |(name, value): &(&str, CstInputValue)| ((*name).to_owned(), value.clone());
        CstInputValue::Object(self.members.iter().map(member).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_file() {
        let linux = Folders { home: "/h".into(), desktop: "/h/.config".into(), claude: None };
        let moved = Folders { claude: Some("/c".into()), ..linux.clone() };
        let mac = Folders { desktop: "/h/Library/Application Support".into(), ..linux.clone() };
        #[rustfmt::skip]
        let rows = [
            // client                 where   file                                                                   a sign of it
            (Client::ClaudeCode,      &linux, "/h/.claude.json",                                                     "/h/.claude"),
            (Client::ClaudeCode,      &moved, "/c/.claude.json",                                                     "/c"),
            (Client::ClaudeDesktop,   &linux, "/h/.config/Claude/claude_desktop_config.json",                        "/h/.config/Claude"),
            (Client::ClaudeDesktop,   &mac,   "/h/Library/Application Support/Claude/claude_desktop_config.json",    "/h/Library/Application Support/Claude"),
            (Client::Cursor,          &mac,   "/h/.cursor/mcp.json",                                                 "/h/.cursor"),
            (Client::VsCode,          &linux, "/h/.config/Code/User/mcp.json",                                       "/h/.config/Code"),
            (Client::VsCode,          &mac,   "/h/Library/Application Support/Code/User/mcp.json",                   "/h/Library/Application Support/Code"),
        ];
        for (client, folders, file, sign) in rows {
            let place = client.of_user(folders);
            assert_eq!(place, Place { file: file.into(), sign: sign.into() }, "{client:?}");
        }
    }

    #[test]
    fn a_token_is_named_and_never_written() {
        let server = Server::Http { url: "http://127.0.0.1:1/mcp".to_owned(), token: true };
        #[rustfmt::skip]
        let rows = [
            (Client::ClaudeCode,    Some("Bearer ${HAGGLE_TOKEN}")),
            (Client::Cursor,        Some("Bearer ${env:HAGGLE_TOKEN}")),
            (Client::VsCode,        Some("Bearer ${env:HAGGLE_TOKEN}")),
            (Client::ClaudeDesktop, None),
        ];
        for (client, header) in rows {
            let entry = client.entry(&server).ok();
            let found = entry.as_ref().map(|entry| &entry.value["headers"]["Authorization"]);
            assert_eq!(found, header.map(Value::from).as_ref(), "{client:?}");
        }
    }
}
