//! The built program: what its commands print, keep and refuse, and the status they end with.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use haggle::{
    access::secret_names,
    app::App,
    clock::wall_ms,
    config::{
        ChainSettings, CrochetSettings, CrooSettings, Mode, PaegentsSettings, Settings,
        VaultSettings, WalletSettings,
    },
    ids::PurchaseId,
    journal::{self, Delivery, Purchase, Rail, State},
    marketplaces::Marketplace,
    profile::Profile,
    spend::{approvals, policy::Policy},
    store::{Store, StoreError},
};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// A home for the program: nothing of the person's own is seen or changed.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data/haggle")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haggle"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("XDG_CONFIG_HOME", self.0.path().join("config"))
            .env("XDG_DATA_HOME", self.0.path().join("data"))
            .env("HAGGLE_NO_KEYRING", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that ends with this status, and gives what it printed.
    pub(crate) fn ends(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        text
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    pub(crate) fn store(&self, name: &str) -> Store {
        Store::at(self.data().join(name))
    }

    pub(crate) fn configure(&self, text: &str) {
        let folder = self.0.path().join("config/haggle");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }
}

/// A purchase that got as far as `states` leads.
pub(crate) fn put(store: &Store, states: &[State]) -> PurchaseId {
    let id = PurchaseId::from_random([u8::try_from(states.len()).unwrap(); 16]);
    let now = wall_ms() / 1000;
    let purchase = Purchase {
        id: id.clone(),
        principal: "local".into(),
        marketplace: Marketplace::Crochet,
        rail: Rail::CrochetGateway,
        natural_key: id.to_string(),
        reference: None,
        seller_id: "agt_1".into(),
        seller_name: "=Ada\u{202e}".into(),
        item_id: "lst_1".into(),
        item_name: "Text statistics".into(),
        body: b"{\"text\":\"a\"}".to_vec(),
        body_digest: "00".into(),
        idempotency_key: "k".into(),
        route: String::new(),
        origin: "https://crochet.example".into(),
        asset: "USDC".into(),
        chain_id: 8453,
        max_total: "2.5".parse().unwrap(),
        price: "2".parse().unwrap(),
        amount: None,
        state: State::Planned,
        delivery: Delivery::None,
        instrument: None,
        account: None,
        account_nonce: None,
        answer: None,
        answer_status: None,
        failure: None,
        created_at: now,
        updated_at: now,
        reserved_at: None,
        finished_at: None,
        fund: None,
    };
    store
        .with_blocking(|db| {
            journal::plan(db, &purchase)?;
            for state in states {
                journal::record(db, &id, now, "test", |p| {
                    p.state = *state;
                    p.reference = Some("rel_1".into());
                    Ok(())
                })?;
            }
            Ok(())
        })
        .unwrap();
    id
}

pub(crate) fn state_of(store: &Store, id: &PurchaseId) -> State {
    let wanted = id.clone();
    store.with_blocking(|db| Ok(journal::find(db, &wanted, None)?.unwrap().state)).unwrap()
}

pub(crate) fn read<T>(
    store: &Store,
    work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError>,
) -> T {
    store.with_blocking(|db| work(db)).unwrap()
}

/// Gives `text` to the command's standard input.
pub(crate) fn fed(mut command: Command, text: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_status_says_what_kind_of_failure_it_was() {
    let home = Home::new();
    home.ends(0, &["--version"]);
    home.ends(0, &["--help"]);
    home.ends(0, &["config", "schema"]);
    home.ends(0, &["tools"]);
    assert!(!home.data().exists(), "none of these makes a store");
    home.ends(2, &["buy"]);
    let text = home.ends(2, &["serve", "--profile", "all"]);
    assert!(text.contains("market, buy, sell, browse, pay, settle, account"), "{text}");
    home.ends(1, &["approve", "pur_none"]);
    home.ends(3, &["--config", "/none.toml", "config", "show"]);
    home.configure("[policy]\nday_max = \"1\"\n");
    let text = home.ends(3, &["purchases", "list"]);
    assert!(text.contains("config.toml line 1: in [policy]: there is no key `day_max`"), "{text}");
    assert_eq!(text.trim().lines().count(), 1, "{text}");
    home.configure("");
    std::fs::create_dir_all(home.data()).unwrap();
    std::fs::write(home.data().join("live.db"), "no database, whatever it is".repeat(99)).unwrap();
    home.ends(4, &["purchases", "list"]);
    home.ends(4, &["--marketplaces", "crochet", "purchases", "list"]);
    home.ends(0, &["--sandbox", "purchases", "list"]);
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let home = Home::new();
    read(&home.store("sandbox.db"), |db| Ok(db.pragma_update(None, "user_version", 99)?));
    let text = home.ends(4, &["purchases", "list"]);
    assert!(text.contains("version 99"), "{text}");
}

/// The owner's terminal does not know what the agent's server was started with.
#[test]
fn a_yes_finds_its_purchase_in_whatever_store_it_is() {
    let home = Home::new();
    let live = home.store("live.db");
    let id = put(&live, &[State::AwaitingApproval]);
    let name = id.to_string();
    let text = home.ends(0, &["approve", &name]);
    for words in ["up to 2.50 USD", "Text statistics", "agt_1", "crochet_resume_call", &name] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{202e}'), "{text}");
    assert_eq!(state_of(&live, &id), State::Approved);
    let now = wall_ms() / 1000;
    let answer =
        read(&live, |db| approvals::standing(db, &journal::find(db, &id, None)?.unwrap(), now));
    assert_eq!(answer, approvals::Answer::Granted);
    assert!(read(&live, |db| approvals::grants(db, now)).is_empty());
    let text = home.ends(1, &["approve", &name]);
    assert!(text.contains("is approved: it does not wait for the owner's word"), "{text}");
}

#[test]
fn a_no_ends_the_purchase() {
    let home = Home::new();
    let store = home.store("sandbox.db");
    let id = put(&store, &[State::AwaitingApproval]);
    home.ends(0, &["deny", id.as_str()]);
    assert_eq!(state_of(&store, &id), State::Failed);
    home.ends(1, &["deny", id.as_str()]);
}

#[test]
fn a_grant_is_for_a_seller_an_amount_and_a_time() {
    let home = Home::new();
    let live = home.store("live.db");
    let id = put(&live, &[State::AwaitingApproval]);
    home.ends(0, &["approve", id.as_str(), "--seller", "--up-to", "20", "--for", "30"]);
    let now = wall_ms() / 1000;
    let grants = read(&live, |db| approvals::grants(db, now));
    assert_eq!(grants.len(), 1);
    assert_eq!(
        (grants[0].seller_id.as_str(), grants[0].up_to_usd),
        ("agt_1", "20".parse().unwrap())
    );
    let days = (grants[0].expires_at - now) / (24 * 60 * 60);
    assert!((29..=30).contains(&days), "{days}");
}

#[test]
fn stopping_stops_every_store_and_only_the_owner_takes_it_back() {
    let home = Home::new();
    home.ends(0, &["freeze"]);
    home.ends(0, &["freeze"]);
    let (sandbox, live) = (home.store("sandbox.db"), home.store("live.db"));
    for store in [&sandbox, &live] {
        assert_eq!(read(store, approvals::frozen), ["owner"], "{}", store.path().display());
    }
    read(&live, |db| approvals::freeze(db, "instance_conflict", 0));
    let text = home.ends(0, &["unfreeze"]);
    assert!(text.contains("live.db: still stopped"), "{text}");
    assert!(read(&sandbox, approvals::frozen).is_empty());
    assert_eq!(read(&live, approvals::frozen).len(), 2);
    let text = home.ends(0, &["unfreeze", "--marketplaces", "crochet"]);
    assert!(text.contains("live.db: accepted"), "{text}");
    assert!(read(&live, approvals::frozen).is_empty());
}

#[test]
fn payees_are_checked_before_they_are_kept() {
    let home = Home::new();
    home.ends(0, &["payees", "add", "bob", ADDRESS, "--chain", "84532"]);
    assert!(home.ends(0, &["payees", "list"]).contains(ADDRESS));
    let other = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    home.ends(1, &["payees", "add", "bob", other, "--chain", "84532"]);
    home.ends(0, &["payees", "add", "bob", other, "--chain", "84532", "--replace"]);
    home.ends(2, &["payees", "add", "eve", ADDRESS, "--chain", "1"]);
    home.ends(2, &["payees", "add", "eve", &ADDRESS.replace("Fd", "fd"), "--chain", "84532"]);
    let own = home.json(&["doctor", "--json"]);
    let wallet = own["findings"].as_array().unwrap().iter().find(|it| it["area"] == "wallet");
    let wallet = wallet.unwrap()["text"].as_str().unwrap();
    home.ends(2, &["payees", "add", "me", wallet, "--chain", "84532"]);
    home.ends(0, &["payees", "remove", "bob"]);
    home.ends(1, &["payees", "remove", "bob"]);
}

/// With nothing configured everything is in place: the sandbox is.
#[test]
fn the_doctor_finds_nothing_broken_where_nothing_is_configured() {
    let home = Home::new();
    let text = home.ends(0, &["doctor"]);
    for words in ["sandbox: no marketplace", "1000 USDC", "Crochet accepts the key"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let report = home.json(&["doctor", "--json"]);
    assert_eq!(report["ok"], true);
    home.ends(0, &["doctor", "--wait"]);
}

/// What cannot be asked is unknown, and no balance is made up.
#[test]
fn the_doctor_says_what_cannot_be_reached() {
    let home = Home::new();
    let mut command = home.command(&["doctor", "--marketplaces", "crochet"]);
    command
        .env("CROCHET_API_URL", "http://127.0.0.1:9/api/v1")
        .env("BASE_RPC_URL", "http://127.0.0.1:9/s3cret")
        .env("CROCHET_API_KEY", "am_k_s3cret")
        .env("AGENT_PRIVATE_KEY", KEY);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for words in ["✗ chain", "✗ crochet", "unknown", ADDRESS] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("0 USDC") && !text.contains("s3cret"), "{text}");
}

#[test]
fn what_is_configured_is_shown_with_its_origin_and_without_secrets() {
    let home = Home::new();
    home.configure("[policy]\nday_max_usd = \"7\"\n");
    let mut command = home.command(&["config", "show", "--json", "--log", "info"]);
    command.env("CROCHET_API_KEY", "am_k_s3cret").env("AGENT_PRIVATE_KEY", KEY);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("s3cret") && !text.contains(KEY), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    #[rustfmt::skip]
    let rows = [
        ("policy.day_max_usd",  "7",        "file"),
        ("policy.ask_above_usd", "0",       "default"),
        ("mode",                "live",     "environment CROCHET_API_KEY"),
        ("crochet.api_key",     "********", "environment CROCHET_API_KEY"),
        ("log",                 "info",     "flag --log"),
    ];
    for (setting, value, origin) in rows {
        let settings = shown["settings"].as_array().unwrap();
        let entry = settings.iter().find(|it| it["setting"] == setting).unwrap();
        assert_eq!((&entry["value"], &entry["origin"]), (&value.into(), &origin.into()));
    }
    assert!(!home.data().exists(), "showing creates nothing");
}

/// The account that a server registered is in the store: the next process is live by itself.
#[tokio::test]
async fn an_account_in_the_store_makes_the_next_process_live() {
    let home = Home::new();
    let settings = Settings {
        mode: Mode::Live,
        data_dir: home.data(),
        marketplaces: vec![Marketplace::Crochet],
        profiles: vec![Profile::Market],
        read_only: false,
        policy: Policy::default(),
        croo: CrooSettings::default(),
        paegents: PaegentsSettings::default(),
        files_dir: home.data().join("files"),
        crochet: CrochetSettings {
            api_url: haggle::config::CROCHET_API_URL.into(),
            api_key: None,
            signing_secret: None,
        },
        wallet: WalletSettings::default(),
        chain: ChainSettings::default(),
        vault: VaultSettings { passphrase_file: None, no_keyring: true },
        http: haggle::config::http::HttpSettings::default(),
        clients: Vec::new(),
    };
    let app = App::new(settings);
    app.keep_secret(secret_names::CROCHET_KEY, &"Bearer am_k_1".into()).await.unwrap();
    let shown = home.ends(0, &["config", "show"]);
    assert!(shown.lines().any(|line| line.contains("mode") && line.contains("live")), "{shown}");
}

/// A sandbox of another process, ended with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_sandbox_says_where_it_is_in_one_line_and_ends_when_told() {
    let home = Home::new();
    let mut command = home.command(&["sandbox", "--seed", "7"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let info: Value = serde_json::from_str(&line).unwrap();
    let url = info["admin_url"].as_str().unwrap();
    assert!(info["chain"]["chain_id"] == 84532 && info["crochet"]["api_url"].is_string());
    // A second process works on it.
    let flag = format!("--sandbox={url}");
    let text = home.ends(0, &["doctor", &flag]);
    assert!(text.contains("Crochet accepts the key"), "{text}");
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    home.ends(2, &["sandbox", "--listen", "everywhere"]);
    home.ends(1, &["sandbox", "--listen", "0.0.0.0:0"]);
}

/// Nothing but protocol on standard output, and an end when the input closes.
#[test]
fn serving_ends_when_its_input_closes() {
    let home = Home::new();
    for arguments in [&[][..], &["serve", "--log", "trace"], &["--sandbox", "serve"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "t", "version": "0" } } });
    let output = fed(home.command(&["serve"]), &format!("{request}\n"));
    let text = String::from_utf8(output.stdout).unwrap();
    let answer: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], "haggle");
    assert!(!home.data().join("live.db").exists(), "the live store is not touched");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let mut command = home.command(&["tools", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
