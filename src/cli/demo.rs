//! `haggle demo`: an agent buys something, visibly. A sandbox is started, and this program is started
//! a second time as the server, which is driven over its standard input and output as any client
//! would: with the calls that results and errors name, and no other knowledge of the marketplace.
//!
//! It ends with the audit: what the sandbox's own ledger charged against what the journal says.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use rmcp::{
    ServiceExt,
    model::CallToolRequestParams,
    service::{RoleClient, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};

use super::{Failure, Report, output};
use crate::{
    clock::wall_ms,
    money::Usdc,
    sandbox::{Options, Sandbox},
    spend::random,
    wallet::keys::EvmKey,
};

/// How long one request to the sandbox's admin interface may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// What the demo's wallet is given.
const FUNDS_USDC: &str = "20";
const FUNDS_WEI: &str = "100000000000000000";
/// The most hints that are followed in a row.
const HINTS_MAX: usize = 8;
/// The most of a line that is shown of arguments and results.
const SHOWN_CHARS_MAX: usize = 160;

/// Runs the demo. The report is wrong where ledger and journal do not agree.
///
/// # Errors
///
/// Where a step does not go as it should.
pub async fn run() -> Result<Report, Failure> {
    let folder = scratch_folder()?;
    let done = play(&folder).await;
    // What is left of a failed demo would only be in the way.
    let _ = std::fs::remove_dir_all(&folder);
    done
}

async fn play(folder: &Path) -> Result<Report, Failure> {
    say("haggle demo: an agent buys on Crochet. A sandbox on this machine, play money.");
    let sandbox = Sandbox::start(Options::new(Arc::new(wall_ms)))
        .await
        .map_err(|error| Failure::failed(format!("the sandbox did not start: {error}")))?;
    let stage = Stage::set(&sandbox, folder).await?;
    let outcome = story(&stage, &sandbox).await;
    let ended = stage.client.cancel().await;
    let audit = match outcome {
        Ok(()) => audit(&stage.admin, &sandbox, folder).await,
        Err(failure) => Err(failure),
    };
    sandbox.shutdown().await;
    ended.map_err(|error| Failure::failed(format!("the server did not end: {error}")))?;
    audit
}

/// What happens, in order.
async fn story(stage: &Stage, sandbox: &Sandbox) -> Result<(), Failure> {
    say("\n1. Search");
    let found = stage.works("market_search", json!({ "query": "text", "limit": 5 })).await?;
    show_offers(&found);

    say("\n2. Buying needs an account: the hint says how to get one");
    let paid = listing(sandbox, "auto")?;
    let refused = stage.fails("crochet_call_listing", paid.clone(), "not_registered").await?;
    let registered = stage.follow(refused, |done| done.get("agent_id").is_some()).await?;
    say(&format!("   registered as {}; the key is in the store", text(&registered, "/agent_id")));

    say("\n3. A free listing");
    let free = listing(sandbox, "free")?;
    stage.buy("crochet_call_listing", free).await?;

    say("\n4. A paid listing");
    let bought = stage.buy("crochet_call_listing", paid.clone()).await?;
    say(&format!("   paid {} USD once; asking for the same again:", amount(&bought)));
    let again = stage.fails("crochet_call_listing", paid, "possible_duplicate").await?;
    stage.follow(again, is_served).await?;

    say("\n5. A hostile listing: its texts tell the agent to pay elsewhere. They stay data");
    let hostile = listing(sandbox, "hostile_text")?;
    let about = json!({ "listing_id": text(&hostile, "/listing_id") });
    let shown = stage.works("crochet_get_listing", about).await?;
    say(&format!("   name_untrusted: {}", short(&text(&shown, "/name_untrusted"))));
    let hostile = with(hostile, "max_total_usd", json!("0.10"));
    let refused = stage.fails("crochet_call_listing", hostile, "above_max_total").await?;
    let other = stage.follow(refused, |done| done.get("offers").is_some()).await?;
    show_offers(&other);

    say("\n6. A price rise between the listing and the bill");
    let surge = listing(sandbox, "price_rises")?;
    let refused = stage.fails("crochet_call_listing", surge, "price_changed").await?;
    stage.follow(refused, is_served).await?;

    say("\n7. A lost answer: the payment's transaction disappears on its way to the chain");
    let fault = json!({ "marketplace": "chain", "method": "*", "path": "eth_sendRawTransaction",
        "times": 1, "action": "drop_before" });
    stage.admin.post("/faults", &fault).await?;
    let other = json!({ "text": "Was it paid, or was it not?" });
    let lost = with(listing(sandbox, "auto")?, "body", other);
    let unknown = stage.fails("crochet_call_listing", lost, "payment_unknown").await?;
    stage.follow(unknown, is_served).await?;
    Ok(())
}

/// The actors: the server as a client sees it, and the sandbox's admin interface.
struct Stage {
    client: RunningService<RoleClient, ()>,
    admin: Admin,
}

impl Stage {
    /// Gives a fresh wallet its funds and starts the server.
    async fn set(sandbox: &Sandbox, folder: &Path) -> Result<Self, Failure> {
        let admin = Admin::of(sandbox)?;
        // A wallet for this demo alone.
        let key = [random(), random()].map(hex::encode).concat();
        let address = EvmKey::read(&key.clone().into())
            .map_err(|error| Failure::failed(error.to_string()))?
            .address()
            .to_checksum(None);
        let funds = json!({ "address": address, "usdc": FUNDS_USDC, "wei": FUNDS_WEI });
        admin.post("/balance", &funds).await?;
        say(&format!("The agent's wallet: {address}, {FUNDS_USDC} USDC."));
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("this program is not found: {error}")))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(["serve", "--log", "error", "--profile", "market,buy,account", "--data-dir"])
            .arg(folder)
            .arg(format!("--sandbox={}", admin.url))
            .env_clear()
            .env("AGENT_PRIVATE_KEY", &key)
            .env("HAGGLE_NO_KEYRING", "1");
        let broken = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("the server did not start: {error}"))
        };
        let process = TokioChildProcess::new(command).map_err(|error| broken(&error))?;
        let client = ().serve(process).await.map_err(|error| broken(&error))?;
        Ok(Self { client, admin })
    }

    /// One call, shown: its result, or the error's members.
    async fn call(&self, tool: &str, arguments: Value) -> Result<Result<Value, Value>, Failure> {
        say(&format!("   → {tool} {}", short(&arguments.to_string())));
        let Value::Object(arguments) = arguments else {
            return Err(Failure::failed("a hint's arguments are no object"));
        };
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.client.call_tool(request).await;
        let result =
            result.map_err(|error| Failure::failed(format!("{tool} was not answered: {error}")))?;
        let body = result.structured_content.unwrap_or_default();
        if result.is_error == Some(true) {
            let error = body.get("error").cloned().unwrap_or_default();
            let (code, moved) = (text(&error, "/code"), text(&error, "/money_moved"));
            say(&format!("   ← {code}, money moved: {moved}. {}", text(&error, "/message")));
            return Ok(Err(error));
        }
        Ok(Ok(body))
    }

    /// A call that has to fail like this.
    async fn fails(&self, tool: &str, arguments: Value, code: &str) -> Result<Value, Failure> {
        match self.call(tool, arguments).await? {
            Err(error) if text(&error, "/code") == code => Ok(error),
            Err(error) => {
                Err(Failure::failed(format!("{code} was due, and not {}", text(&error, "/code"))))
            }
            Ok(_) => Err(Failure::failed(format!("{code} was due, and {tool} succeeded"))),
        }
    }

    /// A call that has to succeed.
    async fn works(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        self.call(tool, arguments).await?.map_err(|error| {
            Failure::failed(format!("{tool} failed: {}", text(&error, "/message")))
        })
    }

    /// A call that has to be served.
    async fn buy(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let done = self.works(tool, arguments).await?;
        show_served(&done);
        Ok(done)
    }

    /// Makes the call that the error names first, and so on, until the goal is reached.
    async fn follow(
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
            say(&format!("   hint: {tool} {}", text(&next, "/why")));
            next =
                match self.call(&tool, next.get("arguments").cloned().unwrap_or_default()).await? {
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

/// The arguments that buy the first listing which behaves like this.
fn listing(sandbox: &Sandbox, behaviour: &str) -> Result<Value, Failure> {
    let info = sandbox.info();
    let found = info.crochet.listings.iter().find(|item| item.behaviour == behaviour);
    let found = found.ok_or_else(|| {
        Failure::failed(format!("the sandbox has no listing that is {behaviour}"))
    })?;
    Ok(json!({ "listing_id": found.id, "body": found.input_example,
        "max_total_usd": found.price_usd }))
}

fn show_offers(found: &Value) {
    for offer in found.get("offers").and_then(Value::as_array).into_iter().flatten() {
        let (name, price) = (text(offer, "/name_untrusted"), text(offer, "/price_usd"));
        say(&format!("   {price:>5} USD  {}", short(&name)));
    }
}

fn show_served(done: &Value) {
    say(&format!("   ← {}", short(&json!(done.get("result_untrusted")).to_string())));
    if let Some(purchase) = done.get("purchase") {
        say(&format!(
            "   {}: {}, {}, {} USD, money moved: {}",
            text(purchase, "/id"),
            text(purchase, "/state"),
            text(purchase, "/delivery"),
            text(purchase, "/amount_usd"),
            text(purchase, "/money_moved"),
        ));
    } else {
        say("   nothing was to be paid");
    }
}

fn is_served(done: &Value) -> bool {
    done.get("result_untrusted").is_some()
}

fn amount(done: &Value) -> String {
    text(done, "/purchase/amount_usd")
}

/// The ledger of the sandbox against the journal of the server.
async fn audit(admin: &Admin, sandbox: &Sandbox, folder: &Path) -> Result<Report, Failure> {
    let mut ledger = BTreeMap::<String, u64>::new();
    let entries = admin.get("/ledger").await?;
    for entry in entries.get("entries").and_then(Value::as_array).into_iter().flatten() {
        if text(entry, "/kind") == "charge" {
            let charged = text(entry, "/amount_usd").parse::<Usdc>().unwrap_or_default();
            *ledger.entry(text(entry, "/reference")).or_default() += charged.micros();
        }
    }
    let mut journal = BTreeMap::<String, u64>::new();
    for (reference, paid) in journal_of(folder, sandbox.admin_url()).await? {
        *journal.entry(reference).or_default() += paid.micros();
    }
    let sum = |of: &BTreeMap<String, u64>| Usdc::from_micros(of.values().sum());
    let agree = ledger == journal;
    say(&format!(
        "\nAudit: the sandbox charged {} USD in {} payments; the journal says {} USD in {}: {}.",
        sum(&ledger),
        ledger.len(),
        sum(&journal),
        journal.len(),
        if agree { "they agree" } else { "THEY DO NOT AGREE" },
    ));
    Ok(Report::nothing().wrong(!agree))
}

/// What the server's journal says was paid, by the marketplace's reference.
async fn journal_of(folder: &Path, url: &str) -> Result<Vec<(String, Usdc)>, Failure> {
    let mode = crate::config::Mode::Sandbox { url: Some(url.to_owned()) };
    let store = crate::store::Store::at(crate::access::store_path(folder, &mode));
    let all = store.with(|db| crate::journal::export(db)).await?;
    Ok(all
        .into_iter()
        .filter(|purchase| purchase.money_moved() != crate::error::MoneyMoved::No)
        .filter_map(|purchase| Some((purchase.reference?, purchase.amount?)))
        .collect())
}

/// The sandbox's admin interface.
struct Admin {
    url: String,
    http: reqwest::Client,
}

impl Admin {
    fn of(sandbox: &Sandbox) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(ADMIN_TIMEOUT).no_proxy().build();
        let http = http.map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        Ok(Self { url: sandbox.admin_url().to_owned(), http })
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        Self::read(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Self::read(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let broken = |error: reqwest::Error| {
            Failure::failed(format!("the sandbox's admin interface failed: {error}"))
        };
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(broken)?.json().await.map_err(broken)
    }
}

fn scratch_folder() -> Result<std::path::PathBuf, Failure> {
    let name = format!("haggle-demo-{}", hex::encode(random()));
    let folder = std::env::temp_dir().join(name);
    crate::store::private_folder(&folder)
        .map_err(|error| Failure::failed(format!("no folder for the demo: {error}")))?;
    Ok(folder)
}

/// The text at this place of a result; empty where there is none.
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The call that an error or a result names first.
fn first(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).and_then(|next| next.get(0)).cloned().unwrap_or_default()
}

/// The same arguments with one of them changed.
fn with(mut arguments: Value, name: &str, value: Value) -> Value {
    if let Some(members) = arguments.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    arguments
}

fn short(text: &str) -> String {
    let line = text.replace(['\n', '\t'], " ");
    if line.chars().count() <= SHOWN_CHARS_MAX {
        return line;
    }
    line.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

/// A line of the transcript, at once: the reader watches it happen.
fn say(line: &str) {
    // A reader that has gone away has seen enough.
    let _ = output::print(format!("{}\n", output::harmless(line)).as_bytes());
}
