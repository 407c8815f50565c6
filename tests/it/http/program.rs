//! The built program over HTTP: credentials made by its own commands, the page, webhooks, the end.

use std::{path::Path, process::Stdio, time::Duration};

use haggle::sandbox::{Options, Sandbox};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{
    program::{command, on_sandbox},
    served::browser,
};

/// A command's JSON.
async fn said(data_dir: &Path, config: &Path, arguments: &[&str]) -> Value {
    let mut command = command(data_dir);
    command.arg("--config").arg(config).args(arguments).arg("--json");
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Running {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    base: String,
}

impl Running {
    async fn start(sandbox: &Sandbox, data_dir: &Path, config: &Path) -> Self {
        let mut command = on_sandbox(sandbox, data_dir);
        command.arg("--config").arg(config).args(["serve", "--http", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = stderr.next_line().await.unwrap().unwrap();
        let address = line.split_once("listening on ").unwrap().1;
        let base = address.trim_end_matches("/mcp").to_owned();
        Self { child, stderr, base }
    }

    /// Ends it as a service manager does.
    async fn end(mut self) {
        let id = self.child.id().unwrap().to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            assert!(!line.contains("haggle_client_") && !line.contains("haggle_owner_"), "{line}");
        }
    }
}

#[tokio::test]
async fn credentials_open_what_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, config) = (folder.path().join("data"), folder.path().join("config.toml"));
    std::fs::write(&config, "# Mine.\n[policy]\nday_max_usd = \"7\" # a week's\n").unwrap();
    let made = said(&data_dir, &config, &["config", "add-client", "ann", "--day-max", "3"]).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let key = said(&data_dir, &config, &["config", "owner-key"]).await;
    let key = key["owner_key"].as_str().unwrap().to_owned();
    let kept = std::fs::read_to_string(&config).unwrap();
    assert!(kept.starts_with("# Mine.\n") && kept.contains("# a week's"), "{kept}");
    assert!(!kept.contains(&token) && !kept.contains(&key), "{kept}");

    let sandbox = Sandbox::start(Options::new(std::sync::Arc::new(haggle::clock::wall_ms)));
    let sandbox = sandbox.await.unwrap();
    let program = Running::start(&sandbox, &data_dir, &config).await;
    let web = browser();
    let status = |token: Option<String>| {
        let mut request = web
            .post(format!("{}/mcp", program.base))
            .header("accept", "application/json, text/event-stream")
            .json(&super::initialize());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        async { request.send().await.unwrap().status() }
    };
    assert_eq!(status(Some(token.clone())).await, StatusCode::OK);
    assert_eq!(status(None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(Some(key.clone())).await, StatusCode::UNAUTHORIZED);
    let sign_in = |secret: String| {
        let page = format!("{}/owner/sign-in", program.base);
        let body = format!("key={secret}");
        let form = "application/x-www-form-urlencoded";
        let request = web.post(page).header("content-type", form).body(body);
        async { request.send().await.unwrap() }
    };
    assert!(sign_in(key).await.headers().contains_key("set-cookie"));
    assert!(!sign_in(token.clone()).await.headers().contains_key("set-cookie"));
    program.end().await;

    let rotated = said(&data_dir, &config, &["config", "add-client", "ann", "--rotate"]).await;
    assert_ne!(rotated["token"], token.as_str());
    assert!(std::fs::read_to_string(&config).unwrap().contains("day_max_usd = \"3\""));
    let shown = said(&data_dir, &config, &["config", "show"]).await.to_string();
    assert!(shown.contains("clients.ann.day_max_usd") && !shown.contains("haggle_client_"));
    said(&data_dir, &config, &["config", "remove-client", "ann"]).await;
    let kept = std::fs::read_to_string(&config).unwrap();
    assert!(!kept.contains("ann"), "{kept}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let before = "[clients.ann]\ntoken_sha256 = \"".to_owned() + &"ab".repeat(32) + "\"\n";
    std::fs::write(&config, &before).unwrap();
    #[rustfmt::skip]
    let rows: [(&[&str], i32, &str); 7] = [
        (&["config", "add-client", "ann"],                          2, "--rotate"),
        (&["config", "add-client", "bob", "--rotate"],              2, "no client bob"),
        (&["config", "add-client", "local"],                        2, "is not `local`"),
        (&["config", "add-client", "Bob"],                          2, "a-z"),
        (&["config", "add-client", "bob", "--profile", "owner"],    2, "stdio alone"),
        (&["config", "remove-client", "bob"],                       2, "no client bob"),
        (&["serve", "--http", "0.0.0.0:0", "--profile", "nothing"], 2, "profiles are"),
    ];
    for (arguments, status, words) in rows {
        let mut command = command(&folder.path().join("data"));
        let output = command.arg("--config").arg(&config).args(arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(std::fs::read_to_string(&config).unwrap(), before, "{arguments:?}");
    }
    std::fs::write(&config, "").unwrap();
    let mut command = command(&folder.path().join("data"));
    let open = ["serve", "--sandbox", "--http", "0.0.0.0:0"];
    let output = command.arg("--config").arg(&config).args(open).output().await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("haggle config add-client"), "{said}");
}

/// What the owner alone may do is served over stdio alone, and a client of the HTTP server is no
/// reason to refuse that.
#[tokio::test]
async fn the_owner_s_tools_are_served_over_stdio_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, config) = (folder.path().join("data"), folder.path().join("config.toml"));
    std::fs::write(&config, "").unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = command(&data_dir);
        let command = command.arg("--config").arg(&config).arg("--sandbox").args(arguments);
        let output = command.stdin(Stdio::null()).output();
        // What is served does not end by itself.
        let output = tokio::time::timeout(Duration::from_mins(1), output).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let by_flag = ["serve", "--profile", "owner"];
    let over_http = ["serve", "--profile", "owner", "--http", "127.0.0.1:0"];
    for with_client in [false, true] {
        if with_client {
            said(&data_dir, &config, &["config", "add-client", "ann"]).await;
        }
        let (status, complaint) = run(&by_flag).await;
        assert_eq!(status, Some(0), "{complaint}");
        let (status, complaint) = run(&over_http).await;
        assert_eq!(status, Some(2), "{complaint}");
        assert!(complaint.contains("--http") && complaint.contains("--profile"), "{complaint}");
    }
    // By the file, too; and the client can be taken out again.
    let kept = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("profiles = [\"owner\"]\n{kept}")).unwrap();
    let (status, complaint) = run(&["serve"]).await;
    assert_eq!(status, Some(0), "{complaint}");
    assert_eq!(run(&["serve", "--http", "127.0.0.1:0"]).await.0, Some(2));
    said(&data_dir, &config, &["config", "remove-client", "ann"]).await;
}
