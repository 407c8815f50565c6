//! The stage: servers as their clients see them, the sandbox's admin interface, and the transcript.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rmcp::{
    ServiceExt,
    model::CallToolRequestParams,
    service::{RoleClient, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    cli::{
        Failure, output,
        paint::{Look, Painted},
        working::Working,
    },
    sandbox::Sandbox,
};

/// How long one request to the sandbox's admin interface may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one call waits for an event.
const WAIT_SECONDS: u64 = 20;
/// The most hints that are followed in a row.
const HINTS_MAX: usize = 8;
/// The most of a line that is shown of arguments and results.
const SHOWN_CHARS_MAX: usize = 160;

/// A server as its client sees it, and the sandbox's admin interface.
pub(super) struct Stage {
    pub(super) client: RunningService<RoleClient, ()>,
    pub(super) admin: Admin,
    folder: PathBuf,
}

impl Stage {
    /// Starts a server with these secrets on the sandbox.
    pub(super) async fn set(
        admin: &Admin,
        folder: &Path,
        profiles: &str,
        secrets: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut command = program(admin, folder)?;
        command.args(["serve", "--log", "error", "--profile", profiles]);
        command.envs(secrets.iter().copied());
        let broken = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("the server did not start: {error}"))
        };
        let _working = Working::on("starting the agent's server");
        let process = TokioChildProcess::new(command).map_err(|error| broken(&error))?;
        let client = ().serve(process).await.map_err(|error| broken(&error))?;
        Ok(Self { client, admin: admin.clone(), folder: folder.to_owned() })
    }

    /// A command that the owner types, as it was named: shown, with what it prints.
    pub(super) async fn command(&self, line: &str) -> Result<(), Failure> {
        tell(Look::Action, &format!("   $ {line}"));
        let mut command = program(&self.admin, &self.folder)?;
        command.args(line.split_whitespace().skip(1)).stdin(Stdio::null());
        let broken = |what: &dyn std::fmt::Display| Failure::failed(format!("{line}: {what}"));
        let working = Working::on(line);
        let output = command.output().await.map_err(|error| broken(&error))?;
        drop(working);
        let printed = String::from_utf8_lossy(&output.stdout);
        for printed in printed.lines().filter(|line| !line.is_empty()) {
            say(&format!("     {printed}"));
        }
        if output.status.success() {
            return Ok(());
        }
        Err(broken(&String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// One call, shown: its result, or the error's members.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Value,
    ) -> Result<Result<Value, Value>, Failure> {
        tell(Look::Action, &format!("   → {tool} {}", short(&arguments.to_string())));
        let Value::Object(arguments) = arguments else {
            return Err(Failure::failed("a hint's arguments are no object"));
        };
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let working = Working::on(tool);
        let result = self.client.call_tool(request).await;
        drop(working);
        let result =
            result.map_err(|error| Failure::failed(format!("{tool} was not answered: {error}")))?;
        let body = result.structured_content.unwrap_or_default();
        if result.is_error == Some(true) {
            let error = body.get("error").cloned().unwrap_or_default();
            let (code, moved) = (text(&error, "/code"), text(&error, "/money_moved"));
            let message = text(&error, "/message");
            tell(Look::Note, &format!("   ← {code}, money moved: {moved}. {message}"));
            return Ok(Err(error));
        }
        Ok(Ok(body))
    }

    /// A call that has to fail like this.
    pub(super) async fn fails(
        &self,
        tool: &str,
        arguments: Value,
        code: &str,
    ) -> Result<Value, Failure> {
        match self.call(tool, arguments).await? {
            Err(error) if text(&error, "/code") == code => Ok(error),
            Err(error) => {
                Err(Failure::failed(format!("{code} was due, and not {}", text(&error, "/code"))))
            }
            Ok(_) => Err(Failure::failed(format!("{code} was due, and {tool} succeeded"))),
        }
    }

    /// A call that has to succeed.
    pub(super) async fn works(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        self.call(tool, arguments).await?.map_err(|error| {
            Failure::failed(format!("{tool} failed: {}", text(&error, "/message")))
        })
    }

    /// The call that a result names first, which has to succeed.
    pub(super) async fn hinted(&self, result: &Value) -> Result<Value, Failure> {
        let next = first(result, "/next");
        hint(&next);
        self.works(&text(&next, "/tool"), arguments(&next)).await
    }

    /// A call that has to be served.
    pub(super) async fn buy(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let done = self.works(tool, arguments).await?;
        show_served(&done);
        Ok(done)
    }

    /// Waits for an event of this kind after `cursor`; gives the next cursor and the event.
    pub(super) async fn event(&self, cursor: i64, kind: &str) -> Result<(i64, Value), Failure> {
        let mut cursor = cursor;
        for _ in 0..HINTS_MAX {
            let wait = json!({ "cursor": cursor, "wait_seconds": WAIT_SECONDS });
            let heard = self.works("market_wait_events", wait).await?;
            cursor = heard.get("cursor").and_then(Value::as_i64).unwrap_or(cursor);
            let events = heard.get("events").and_then(Value::as_array).cloned();
            for event in events.unwrap_or_default() {
                say(&format!("   ← {}: {}", text(&event, "/kind"), text(&event, "/subject")));
                if text(&event, "/kind") == kind {
                    let at = event.get("cursor").and_then(Value::as_i64).unwrap_or(cursor);
                    return Ok((at, event));
                }
            }
        }
        Err(Failure::failed(format!("no {kind} came")))
    }

    /// Makes the call that the error names first, and so on, until the goal is reached.
    pub(super) async fn follow(
        &self,
        error: Value,
        reached: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let mut next = first(&error, "/recovery/next");
        for _ in 0..HINTS_MAX {
            let tool = text(&next, "/tool");
            if tool.is_empty() {
                return Err(Failure::failed("there was no hint to follow"));
            }
            hint(&next);
            next = match self.call(&tool, arguments(&next)).await? {
                Ok(done) if reached(&done) => {
                    if is_served(&done) {
                        show_served(&done);
                    }
                    return Ok(done);
                }
                Ok(done) => {
                    say(&format!("   ← {}", short(&json!(done.get("purchase")).to_string())));
                    first(&done, "/next")
                }
                Err(again) => first(&again, "/recovery/next"),
            };
        }
        Err(Failure::failed("the hints led nowhere"))
    }
}

/// This program with a data directory, on the sandbox.
fn program(admin: &Admin, folder: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("this program is not found: {error}")))?;
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(folder)
        .arg(format!("--sandbox={}", admin.url))
        .env_clear()
        .env("HAGGLE_NO_KEYRING", "1");
    Ok(command)
}

pub(super) fn show_offers(found: &Value) {
    for offer in found.get("offers").and_then(Value::as_array).into_iter().flatten() {
        let (name, price) = (text(offer, "/name_untrusted"), text(offer, "/price_usd"));
        say(&format!("   {price:>5} USD  {}", short(&name)));
    }
}

pub(super) fn show_served(done: &Value) {
    say(&format!("   ← {}", short(&json!(done.get("result_untrusted")).to_string())));
    if let Some(purchase) = done.get("purchase") {
        let line = format!(
            "   {}: {}, {}, {} USD, money moved: {}",
            text(purchase, "/id"),
            text(purchase, "/state"),
            text(purchase, "/delivery"),
            text(purchase, "/amount_usd"),
            text(purchase, "/money_moved"),
        );
        tell(Look::Good, &line);
    } else {
        say("   nothing was to be paid");
    }
}

pub(super) fn is_served(done: &Value) -> bool {
    done.get("result_untrusted").is_some()
}

pub(super) fn amount(done: &Value) -> String {
    text(done, "/purchase/amount_usd")
}

/// The sandbox's admin interface.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) url: String,
    http: reqwest::Client,
}

impl Admin {
    pub(super) fn of(sandbox: &Sandbox) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(ADMIN_TIMEOUT).no_proxy().build();
        let http = http.map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        Ok(Self { url: sandbox.admin_url().to_owned(), http })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Self::read(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// The entries of the ledger, or of the requests.
    pub(super) async fn entries(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let list = Self::read(self.http.get(format!("{}{path}", self.url))).await?;
        Ok(list.get("entries").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Puts this at a marketplace, as the owner of an account there.
    pub(super) async fn put_as(&self, jwt: &str, url: &str, body: &Value) -> Result<(), Failure> {
        Self::read(self.http.put(url).bearer_auth(jwt).json(body)).await.map(drop)
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let broken = |error: reqwest::Error| {
            Failure::failed(format!("the sandbox did not do as it was told: {error}"))
        };
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(broken)?.json().await.map_err(broken)
    }
}

/// The text at this place of a result; empty where there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The call that an error or a result names first.
pub(super) fn first(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).and_then(|next| next.get(0)).cloned().unwrap_or_default()
}

/// The arguments of a call that was named.
pub(super) fn arguments(call: &Value) -> Value {
    call.get("arguments").cloned().unwrap_or_default()
}

/// The same arguments with one of them changed.
pub(super) fn with(mut arguments: Value, name: &str, value: Value) -> Value {
    if let Some(members) = arguments.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    arguments
}

pub(super) fn short(text: &str) -> String {
    let line = text.replace(['\n', '\t'], " ");
    if line.chars().count() <= SHOWN_CHARS_MAX {
        return line;
    }
    line.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

/// A line of the transcript, at once: the reader watches it happen.
pub(super) fn say(line: &str) {
    tell(Look::Plain, line);
}

/// The heading of what comes next.
pub(super) fn scene(line: &str) {
    say("");
    tell(Look::Strong, line);
}

/// The call that a result or an error names.
pub(super) fn hint(call: &Value) {
    tell(Look::Faint, &format!("   hint: {} {}", text(call, "/tool"), text(call, "/why")));
}

/// A line of the transcript that looks like this, where there are colours.
pub(super) fn tell(look: Look, line: &str) {
    let mut painted = Painted::new();
    painted.line(look, line);
    // A reader that has gone away has seen enough.
    let _ = output::print(&painted.into_bytes());
}
