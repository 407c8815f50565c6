//! Program: the built binary over pipes, driven line by line. What it writes is read strictly: a
//! line that is no JSON-RPC message fails the test that sees it.

use std::{collections::HashSet, path::Path, process::ExitStatus, process::Stdio, time::Duration};

use haggle::sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

/// How long an answer may take on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The binary, without anything of this machine's environment.
pub(crate) fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haggle"));
    command.env_clear().env("HOME", data_dir).env("HAGGLE_NO_KEYRING", "1");
    command.arg("--data-dir").arg(data_dir).kill_on_drop(true);
    command
}

/// As [`command`], on this sandbox.
pub(crate) fn on_sandbox(sandbox: &Sandbox, data_dir: &Path) -> Command {
    let mut command = command(data_dir);
    command.arg(format!("--sandbox={}", sandbox.admin_url()));
    command
}

/// A running server.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
    ids: i64,
    /// Every line that it wrote.
    pub(crate) written: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    /// Every line that it wrote.
    pub(crate) written: Vec<String>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            errors.read_to_string(&mut text).await.unwrap();
            text
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Self { child, stdin, lines, stderr, ids: 0, written: Vec::new() }
    }

    /// Started, and past `initialize` in this revision.
    pub(crate) async fn ready(command: Command, version: &str) -> (Self, Value) {
        let mut program = Self::start(command);
        let answer = program.initialize(version).await;
        program.notify("notifications/initialized").await;
        (program, answer)
    }

    /// Writes this and a line's end.
    pub(crate) async fn send(&mut self, line: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_ref()).await.unwrap();
        stdin.write_all(b"\n").await.unwrap();
        stdin.flush().await.unwrap();
    }

    pub(crate) async fn notify(&mut self, method: &str) {
        self.send(json!({ "jsonrpc": "2.0", "method": method }).to_string()).await;
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(ANSWER_TIMEOUT, self.lines.next_line()).await;
        let line = line.expect("no answer in time").unwrap().expect("the output ended");
        let message = strictly(&line);
        self.written.push(line);
        message
    }

    /// The next message; what it lacks is none in time.
    pub(crate) async fn silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.lines.next_line()).await.is_err()
    }

    /// Asks, and gives the whole answer to it.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.ids += 1;
        let id = self.ids;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(request.to_string()).await;
        loop {
            let message = self.next().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    pub(crate) async fn initialize(&mut self, version: &str) -> Value {
        let params = json!({ "protocolVersion": version, "capabilities": {},
            "clientInfo": { "name": "test", "version": "0" } });
        self.ask("initialize", params).await
    }

    /// Calls a tool; a failed call gives its error's members.
    pub(crate) async fn call(&mut self, tool: &str, args: Value) -> Result<Value, Value> {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": args })).await;
        let result = &answer["result"];
        assert!(result.is_object(), "{tool}: {answer}");
        let body = result["structuredContent"].clone();
        if result["isError"] == true { Err(body["error"].clone()) } else { Ok(body) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal to this process, and to no other.
    pub(crate) async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.pid().to_string());
        assert!(kill.status().await.unwrap().success());
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Goes on without reading what it writes: its next write fails.
    pub(crate) fn close_output(self) -> (Child, ChildStdin, JoinHandle<String>) {
        let Self { child, stdin, lines, stderr, .. } = self;
        drop(lines);
        (child, stdin.unwrap(), stderr)
    }

    /// Waits for its end, and reads what it wrote until then.
    pub(crate) async fn ended(mut self) -> Ended {
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                strictly(&line);
                self.written.push(line);
            }
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(ANSWER_TIMEOUT, wait).await.expect("it does not end");
        Ended { status, stderr: self.stderr.await.unwrap(), written: self.written }
    }

    /// Closes its input, and waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        self.close_input();
        self.ended().await
    }
}

/// A line of the output, which has to be one JSON-RPC message.
pub(crate) fn strictly(line: &str) -> Value {
    haggle::json::check(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
    let message: Value = serde_json::from_str(line).unwrap();
    let members: HashSet<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(message["jsonrpc"], "2.0", "{line}");
    let is_call = message["method"].is_string();
    let is_answer = members.contains("id")
        && (members.contains("result") != members.contains("error"))
        && !members.contains("method");
    assert!(is_call || is_answer, "{line}");
    message
}
