//! A market for other people's programs: the built program as a sandbox, as a server over each transport,
//! and what the sandbox's ledger says in the end.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use haggle::credential;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

/// How long a program may take on a busy machine.
pub(crate) const PROGRAM_TIMEOUT: Duration = Duration::from_mins(2);
/// Above this the owner is asked, in dollars.
const ASK_ABOVE_USD: &str = "0.05";

/// A path in the project.
pub(crate) fn in_project(parts: &[&str]) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR")].iter().chain(parts).collect()
}

/// A path below what `scripts/install-interop` installs.
pub(crate) fn installed(parts: &[&str]) -> PathBuf {
    let path = in_project(&["target", "interop"]).join(parts.iter().collect::<PathBuf>());
    assert!(path.exists(), "{} is not there: run scripts/install-interop", path.display());
    path
}

/// A program that says where it is in its first line, and ends with the test.
pub(crate) struct Announced {
    _child: Child,
    /// What it said.
    pub(crate) said: Value,
}

impl Announced {
    pub(crate) async fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let line = first_line(child.stdout.take().unwrap()).await;
        Self { _child: child, said: serde_json::from_str(&line).unwrap() }
    }
}

async fn first_line(from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(from).lines();
    let line = tokio::time::timeout(PROGRAM_TIMEOUT, lines.next_line()).await;
    line.expect("it is not ready in time").unwrap().expect("it ended")
}

/// The program as an HTTP server, which ends with the test.
pub(crate) struct Server {
    _child: Child,
    url: url::Url,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let line = first_line(&mut stderr).await;
        let url = line.split_once("listening on ").unwrap_or_else(|| panic!("{line}")).1;
        let url = url.parse().unwrap();
        // What it logs is for whoever reads the test's own output.
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::stderr()).await;
        });
        Self { _child: child, url }
    }

    /// Where a client of this transport goes.
    pub(crate) fn url(&self, over: Over) -> String {
        match over {
            Over::Sse => self.url.join("/sse").unwrap().into(),
            Over::Http | Over::Guarded | Over::Stdio => self.url.as_str().to_owned(),
        }
    }
}

/// What a program that has ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs a program to its end, with this on its standard input.
    pub(crate) async fn of(mut command: Command, input: &[u8]) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(PROGRAM_TIMEOUT, child.wait_with_output()).await;
        let output = output.expect("it does not end").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What it printed, which has to be one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Stdio,
    Http,
    /// HTTP, where nobody calls without a token.
    Guarded,
    /// HTTP as it was before it was streamable.
    Sse,
}

/// A sandbox, and a folder for the server that uses it.
pub(crate) struct Market {
    sandbox: Announced,
    folder: tempfile::TempDir,
    /// What the server's one client shows, where it has to.
    pub(crate) token: Option<String>,
}

impl Market {
    pub(crate) async fn open(over: Over) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = format!("[policy]\nask_above_usd = \"{ASK_ABOVE_USD}\"\n");
        let (token, settings) = if over == Over::Guarded {
            let (token, digest) = credential::make(credential::CLIENT_PREFIX).unwrap();
            let client = format!("[clients.visitor]\ntoken_sha256 = \"{digest}\"\n");
            (Some(token.expose_secret().to_owned()), policy + &client)
        } else {
            (None, policy)
        };
        // Where the program looks by itself: some clients have a `--config` of their own.
        let config = folder.path().join(".config").join("haggle");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.toml"), settings).unwrap();
        let mut command = bare(Path::new(env!("CARGO_BIN_EXE_haggle")), folder.path());
        command.arg("sandbox");
        Self { sandbox: Announced::start(command).await, folder, token }
    }

    /// The arguments that make the program a server on this sandbox.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let sandbox = self.sandbox.said["admin_url"].as_str().unwrap();
        vec!["serve".to_owned(), format!("--sandbox={sandbox}")]
    }

    /// The environment of the server, and of the programs that start it.
    pub(crate) fn environment(&self) -> Value {
        json!({ "HAGGLE_NO_KEYRING": "1", "HOME": self.folder.path() })
    }

    /// A program of someone else's, on a machine that has nothing but this market.
    pub(crate) fn visitor(&self, program: &Path) -> Command {
        let mut command = bare(program, self.folder.path());
        command.env("NODE_PATH", in_project(&["target", "interop", "node_modules"]));
        // Nothing is left beside the scripts.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The server on a port of its own.
    pub(crate) async fn serve(&self) -> Server {
        let mut command = bare(Path::new(env!("CARGO_BIN_EXE_haggle")), self.folder.path());
        command.args(self.arguments()).args(["--http", "127.0.0.1:0", "--log", "error"]);
        Server::start(command).await
    }

    /// What a buyer pays for this, by the sandbox's own list.
    pub(crate) fn price(&self, name: &str) -> &str {
        let listings = self.sandbox.said["crochet"]["listings"].as_array().unwrap();
        let listing = listings.iter().find(|listing| listing["name"] == name);
        listing.unwrap()["price_usd"].as_str().unwrap()
    }

    /// The amounts that left the buyer's wallet, in the order of the ledger; each has to be a charge.
    pub(crate) async fn charges(&self) -> Vec<String> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
        let url = format!("{}/ledger", self.sandbox.said["admin_url"].as_str().unwrap());
        let ledger: Value = http.get(url).send().await.unwrap().json().await.unwrap();
        let wallet = &self.sandbox.said["crochet"]["buyer"]["wallet"];
        let entries = ledger["entries"].as_array().unwrap().iter();
        let paid = entries.filter(|entry| entry["payer"] == *wallet).map(|entry| {
            assert_eq!(entry["kind"], "charge", "{entry}");
            entry["amount_usd"].as_str().unwrap().to_owned()
        });
        paid.collect()
    }
}

/// A program without anything of this machine's environment but where programs are.
fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("HAGGLE_NO_KEYRING", "1");
    command.env("PATH", env!("PATH"));
    command
}
