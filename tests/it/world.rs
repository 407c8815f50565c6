//! World: a client, the server under test and the sandbox behind it, all in this process.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use haggle::{
    app::App,
    clock::wall_ms,
    config::{
        CROCHET_API_URL, ChainSettings, CrochetSettings, CrooSettings, Mode, PaegentsSettings,
        Settings, VaultSettings, WalletSettings, http::HttpSettings,
    },
    ids::PurchaseId,
    journal::{self, Purchase, State},
    marketplaces::{Marketplace, croo::stream::Times},
    money::Usdc,
    principal::Principal,
    profile::Profile,
    sandbox::{Options, Sandbox},
    spend::{Patience, approvals, policy::Policy},
    transports::stdio,
};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
        ElicitRequestParams, ElicitResult, ElicitationAction, Implementation, ProtocolVersion,
        ResourceUpdatedNotificationParam,
    },
    service::{NotificationContext, RequestContext, RunningService},
};
use serde_json::{Value, json};

/// The person in front of the client: what they answer when they are asked, and what they were asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    /// `None`: the client cannot ask.
    pub(crate) answer: Option<bool>,
    /// The questions.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// The resources that they were told are new, outside of a subscription's stream.
    pub(crate) updated: Arc<Mutex<Vec<String>>>,
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = if self.answer.is_some() {
            ClientCapabilities::builder().enable_elicitation().build()
        } else {
            ClientCapabilities::builder().build()
        };
        ClientConfig::new(capabilities, Implementation::new("test", "0"))
    }

    async fn on_resource_updated(
        &self,
        update: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.updated.lock().unwrap().push(update.uri);
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if let ElicitRequestParams::FormElicitationParams { message, .. } = request {
            self.asked.lock().unwrap().push(message);
        }
        Ok(if self.answer == Some(true) {
            ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "approve": true }))
        } else {
            ElicitResult::new(ElicitationAction::Decline)
        })
    }
}

/// Which era the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Initialize,
    Modern,
}

/// What a world is made with.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) policy: Policy,
    pub(crate) person: Person,
    pub(crate) era: Era,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) private_key: Option<String>,
    pub(crate) solana_key: Option<String>,
    pub(crate) patience: Patience,
    /// How events are listened to; not at all where a test counts what is sent.
    pub(crate) times: Option<Times>,
    /// The key of another CROO agent than the requester.
    pub(crate) croo_key: Option<String>,
    /// The key of another Paegents agent than the buyer, after its identifier.
    pub(crate) paegents_agent: Option<(String, String)>,
    /// The root of a live Crochet, instead of the sandbox's.
    pub(crate) live: Option<String>,
    /// The clients that have a token for the HTTP server.
    pub(crate) clients: Vec<Principal>,
    /// Its settings.
    pub(crate) http: HttpSettings,
}

impl Default for Make {
    fn default() -> Self {
        Self {
            policy: Policy::sandbox(),
            person: Person::default(),
            era: Era::Modern,
            profiles: Profile::ALL.to_vec(),
            private_key: None,
            solana_key: None,
            patience: Patience {
                follow: Duration::from_secs(8),
                unknown: Duration::from_millis(1500),
            },
            times: None,
            croo_key: None,
            paegents_agent: None,
            live: None,
            clients: Vec::new(),
            http: HttpSettings::default(),
        }
    }
}

/// After how many calls a caller who follows hints goes round in circles.
const STEPS_MAX: usize = 20;
/// And after how many that lead back to themselves.
const ROUNDS_MAX: usize = 14;
/// How long a wait takes in a test, however long it was told to be, in seconds.
const WAIT_SECONDS: i64 = 2;

pub(crate) struct World {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) app: Arc<App>,
    pub(crate) make: Make,
    folder: Arc<tempfile::TempDir>,
    client: RunningService<RoleClient, Person>,
    pub(crate) http: reqwest::Client,
    process: Process,
}

/// What the server under test runs on, so that it can be killed as a process is.
pub(crate) struct Process(Option<tokio::runtime::Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Make::default()).await
    }

    pub(crate) async fn start_with(make: Make) -> Self {
        let sandbox = Sandbox::start(Options::new(Arc::new(wall_ms))).await.unwrap();
        Self::start_on(Arc::new(sandbox), make).await
    }

    /// A process with a store of its own on this sandbox.
    pub(crate) async fn start_on(sandbox: Arc<Sandbox>, make: Make) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::on(sandbox, folder, make).await
    }

    async fn on(sandbox: Arc<Sandbox>, folder: Arc<tempfile::TempDir>, make: Make) -> Self {
        let data_dir = folder.path().join("data");
        let settings = settings(&sandbox, data_dir, &make);
        let app = App::with_patience(settings, make.patience, make.times);
        // No certificates: the sandbox speaks plain HTTP.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (read, write) = tokio::io::split(theirs);
        runtime.spawn(stdio::serve_on(app.clone(), read, write));
        let client = make.person.clone().serve_with_lifecycle(ours, lifecycle(make.era)).await;
        let process = Process(Some(runtime));
        Self { sandbox, app, make, folder, client: client.unwrap(), http, process }
    }

    /// The same store and sandbox under a new process, after the old one has ended in order.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// As [`Self::restart`]; `meanwhile` is done to the store's file while no process has it.
    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        let Self { sandbox, app, make, folder, client, process, .. } = self;
        client.cancel().await.unwrap();
        app.shut_down().await;
        let path = app.store().path().to_owned();
        stop(process).await;
        drop(app);
        meanwhile(&path);
        Self::on(sandbox, folder, make).await
    }

    /// The same store and sandbox under a new process, after the old one was killed wherever it was.
    pub(crate) async fn kill(self) -> Self {
        let Self { sandbox, make, folder, client, process, .. } = self;
        stop(process).await;
        drop(client);
        Self::on(sandbox, folder, make).await
    }

    /// A second process on the same store.
    pub(crate) async fn beside(&self) -> Self {
        Self::on(self.sandbox.clone(), self.folder.clone(), self.make.clone()).await
    }

    /// Another process on the same sandbox, with its own store: CROO's provider.
    pub(crate) async fn provider(&self) -> Self {
        let croo_key = Some(self.sandbox.info().croo.provider.sdk_key);
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::on(self.sandbox.clone(), folder, Make { croo_key, ..self.make.clone() }).await
    }

    /// Another process on the same sandbox, with its own store: Paegents' seller.
    pub(crate) async fn seller(&self) -> Self {
        let seller = self.sandbox.info().paegents.seller;
        let make = Make {
            paegents_agent: Some((seller.agent_id, seller.api_key)),
            private_key: Some(seller.wallet_private_key),
            ..self.make.clone()
        };
        Self::on(self.sandbox.clone(), Arc::new(tempfile::tempdir().unwrap()), make).await
    }

    /// The first Paegents service of this behaviour: its id.
    pub(crate) fn metered(&self, behaviour: &str) -> String {
        let services = self.sandbox.info().paegents.services;
        services.iter().find(|s| s.behaviour == behaviour).unwrap().id.clone()
    }

    /// Where its files are sent from and written to.
    pub(crate) fn files(&self) -> PathBuf {
        self.app.settings().files_dir.clone()
    }

    /// Calls a tool; a failed call gives its error's members.
    pub(crate) async fn call(&self, tool: &str, args: Value) -> Result<Value, Value> {
        let order = args["order_id"].as_str().unwrap_or_default().to_owned();
        let result = self.call_raw(tool, args).await;
        let body = result.structured_content.unwrap();
        let text = &result.content[0].as_text().unwrap().text;
        assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), &body, "text and content agree");
        self.hold_against_the_ledger(tool, &body).await;
        if tool == "croo_pay_order" {
            self.hold_against_the_order(&order, &body["error"]).await;
        }
        if result.is_error == Some(true) { Err(body["error"].clone()) } else { Ok(body) }
    }

    /// What an answer says of money is what the sandbox's ledger says: a `no` is never wrong.
    async fn hold_against_the_ledger(&self, tool: &str, body: &Value) {
        let error = &body["error"];
        let (id, moved) = if error.is_object() {
            (&error["purchase_id"], &error["money_moved"])
        } else {
            (&body["purchase"]["id"], &body["purchase"]["money_moved"])
        };
        // A duplicate is about another purchase: nothing was paid now.
        if error["code"] == "possible_duplicate" || !id.is_string() || moved == "maybe" {
            return;
        }
        let reference = self.purchase(&json!({ "purchase_id": id })).await.reference;
        let Some(reference) = reference else { return assert_eq!(moved, "no", "{tool}: {body}") };
        let charged = self.charges().await.iter().filter(|charge| charge.0 == reference).count();
        let claimed = usize::from(moved == "yes");
        assert_eq!(charged, claimed, "{tool} says money_moved: {moved}, charged: {body}");
    }

    /// What is said of an order's money, also where no purchase is named, is the ledger's truth: no
    /// order is charged twice, and a `no` means that it was not charged.
    async fn hold_against_the_order(&self, order: &str, error: &Value) {
        let charged = self.charges().await.iter().filter(|charge| charge.0 == order).count();
        assert!(charged <= 1, "the order {order} was charged {charged} times");
        assert!(charged == 0 || error["money_moved"] != "no", "charged: {error}");
    }

    pub(crate) async fn call_raw(&self, tool: &str, args: Value) -> CallToolResult {
        let Value::Object(args) = args else { panic!("arguments are an object") };
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        self.client.call_tool(call).await.unwrap()
    }

    pub(crate) fn client(&self) -> &RunningService<RoleClient, Person> {
        &self.client
    }

    /// Makes the call that a result or an error names first, and so on until one succeeds, nothing
    /// but a person can help, or it goes round in circles. Where it is told to wait, the sandbox's
    /// clock is set on by as long.
    pub(crate) async fn follow(&self, error: Value) -> Result<Value, Value> {
        let (mut error, mut last, mut rounds) = (error.clone(), error, 0);
        for _ in 0..STEPS_MAX {
            if error["recovery"]["retryable"] == false {
                return Err(error);
            }
            let Some(next) = error["recovery"]["next"].get(0).cloned() else { return Err(error) };
            if next["tool"] == "market_search" {
                // Something else would be another purchase.
                return Err(error);
            }
            if let Some(seconds) = error["recovery"]["retry_after_seconds"].as_i64() {
                self.advance(seconds).await;
            }
            let tool = next["tool"].as_str().unwrap().to_owned();
            let mut args = next["arguments"].clone();
            let wait = args["wait_seconds"].as_i64();
            if wait.is_some() {
                args["wait_seconds"] = json!(WAIT_SECONDS);
            }
            error = match self.call(&tool, args).await {
                // What is over, or would be another purchase, is the end.
                Ok(done) if done["next"][0]["tool"] == "market_search" => return Ok(done),
                // What was bought is there: what follows is another matter.
                Ok(done)
                    if tool.starts_with("paegents_")
                        && done["purchase"]["state"] == "settled"
                        && done["purchase"]["delivery"] == "delivered" =>
                {
                    return Ok(done);
                }
                // Asking is no end: what it found has to be gone on with.
                Ok(done) if done["result_untrusted"].is_null() && done["next"].get(0).is_some() => {
                    json!({ "recovery": { "next": done["next"] } })
                }
                Ok(done) => return Ok(done),
                Err(again) => {
                    last = again.clone();
                    again
                }
            };
            // It has waited in vain, and is told to wait on.
            let told = &error["recovery"]["next"][0];
            if told["tool"] == next["tool"] && told["arguments"] == next["arguments"] {
                self.advance(wait.unwrap_or(1)).await;
                rounds += 1;
                if rounds >= ROUNDS_MAX {
                    return Err(last);
                }
            }
        }
        Err(last)
    }

    /// Makes the call that a failure names first, and no other.
    pub(crate) async fn next_of(&self, error: &Value) -> Result<Value, Value> {
        let next = error["recovery"]["next"][0].clone();
        self.call(next["tool"].as_str().unwrap(), next["arguments"].clone()).await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.sandbox.admin_url());
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.body(body.to_string()).header("content-type", "application/json");
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A request of the sandbox's own Paegents buyer, past the server under test.
    pub(crate) async fn paegents(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let key = self.sandbox.info().paegents.buyer.api_key;
        self.paegents_as(&key, method, path, body).await
    }

    /// As [`Self::paegents`], with another agent's key.
    pub(crate) async fn paegents_as(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Value {
        let url = format!("{}{path}", self.sandbox.info().paegents.api_url);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(key);
        if let Some(body) = body {
            request = request.body(body.to_string()).header("content-type", "application/json");
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Arms a fault on the gateway or on another path of a marketplace.
    pub(crate) async fn fault(&self, marketplace: &str, path: &str, skip: u32, action: Value) {
        let fault = json!({ "marketplace": marketplace, "method": "*", "path": path, "skip": skip,
            "times": 1, "action": action });
        self.admin("POST", "/faults", Some(fault)).await;
    }

    /// Waits until the first fault that was armed has struck: its request is under way.
    pub(crate) async fn fired(&self) {
        for _ in 0..3_000 {
            if self.admin("GET", "/faults", None).await["faults"][0]["fired"] == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it has not struck: {}", self.admin("GET", "/faults", None).await);
    }

    /// What the sandbox's own ledger has charged: reference and amount.
    pub(crate) async fn charges(&self) -> Vec<(String, String)> {
        let ledger = self.admin("GET", "/ledger", None).await;
        let entries = ledger["entries"].as_array().unwrap();
        let is_charge = |kind: &Value| kind == "charge" || kind == "deposit";
        let charge = entries.iter().filter(|entry| is_charge(&entry["kind"]));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        charge.map(|entry| (text(&entry["reference"]), text(&entry["amount_usd"]))).collect()
    }

    /// The first listing with this behaviour: its id, price and an input that it takes.
    pub(crate) fn listing(&self, behaviour: &str) -> (String, String, Value) {
        let info = serde_json::to_value(self.sandbox.info()).unwrap();
        let listings = info["crochet"]["listings"].as_array().unwrap();
        let found = listings.iter().find(|listing| listing["behaviour"] == behaviour);
        let found = found.unwrap_or_else(|| panic!("no listing is {behaviour}"));
        let text = |name: &str| found[name].as_str().unwrap().to_owned();
        (text("id"), text("price_usd"), found["input_example"].clone())
    }

    /// The arguments that buy the first listing with this behaviour.
    pub(crate) fn purchase_of(&self, behaviour: &str) -> Value {
        let (listing_id, price, body) = self.listing(behaviour);
        json!({ "listing_id": listing_id, "body": body, "max_total_usd": price })
    }

    /// Who sells the first listing with this behaviour.
    pub(crate) fn owner_of(&self, behaviour: &str) -> String {
        let info = self.sandbox.info();
        let found = info.crochet.listings.iter().find(|listing| listing.behaviour == behaviour);
        found.unwrap().owner_id.clone()
    }

    /// The owner's `freeze` and `unfreeze`.
    pub(crate) async fn freeze(&self, on: bool) {
        let now = self.app.clock().now();
        let store = self.app.store();
        let done = store.transact(move |db| {
            if on { approvals::freeze(db, "owner", now) } else { approvals::unfreeze(db) }
        });
        done.await.unwrap();
    }

    /// Waits until the first purchase is like this.
    pub(crate) async fn until(&self, is: impl Fn(&Purchase) -> bool) {
        for _ in 0..2_400 {
            if self.journal().await.first().is_some_and(&is) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it has not come to this: {:?}", self.journal().await);
    }

    /// Every request that reached the sandbox so far.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        let requests = self.admin("GET", "/requests?after=0", None).await;
        requests["entries"].as_array().unwrap().clone()
    }

    pub(crate) async fn advance(&self, seconds: i64) {
        self.admin("POST", "/clock", Some(json!({ "advance_s": seconds }))).await;
    }

    /// Calls a tool, follows the hints, and holds every answer against the sandbox's ledger: what
    /// says that no money moved has to be right, now and later.
    pub(crate) async fn buy(&self, args: Value) -> Result<Value, Value> {
        match self.call("crochet_call_listing", args).await {
            Ok(done) => Ok(done),
            Err(error) => self.follow(error).await,
        }
    }

    /// Every purchase of the journal.
    pub(crate) async fn journal(&self) -> Vec<Purchase> {
        self.app.store().with(|db| journal::export(db)).await.unwrap()
    }

    /// The purchase that a result or an error is about.
    pub(crate) async fn purchase(&self, answer: &Value) -> Purchase {
        let id = answer["purchase_id"].as_str().or_else(|| answer["purchase"]["id"].as_str());
        let id: PurchaseId =
            id.unwrap_or_else(|| panic!("no purchase in {answer}")).parse().unwrap();
        self.app.store().with(move |db| journal::find(db, &id, None)).await.unwrap().unwrap()
    }

    /// What the sandbox's own ledger took from the buyer: reference and sum, Paegents' fees with what
    /// they belong to.
    pub(crate) async fn payments(&self) -> Vec<(String, String)> {
        let ledger = self.admin("GET", "/ledger", None).await;
        let entries = ledger["entries"].as_array().unwrap();
        let usd = |entry: &Value| entry["amount_usd"].as_str().unwrap().parse::<Usdc>().unwrap();
        let fee_of = |reference: &Value| {
            let is_it = |entry: &&Value| {
                let theirs = entry["marketplace"] == "paegents" && entry["kind"] == "fee";
                theirs && entry["parent"] == *reference
            };
            entries.iter().filter(is_it).map(|fee| usd(fee).micros()).sum::<u64>()
        };
        let paid = entries.iter().filter(|e| e["kind"] == "charge" || e["kind"] == "deposit");
        let sum = |entry: &Value| {
            let sum = usd(entry).micros() + fee_of(&entry["reference"]);
            (entry["reference"].as_str().unwrap().to_owned(), Usdc::from_micros(sum).to_string())
        };
        paid.map(sum).collect()
    }

    /// The journal says what the sandbox's ledger says: the same payments with the same amounts.
    pub(crate) async fn audit(&self) {
        let mut charged = self.payments().await;
        let journal = self.journal().await;
        let paid = journal.iter().filter(|p| p.state == State::Settled && p.reference.is_some());
        let text = |amount: Option<Usdc>| amount.unwrap_or_default().to_string();
        let mut paid: Vec<_> =
            paid.map(|p| (p.reference.clone().unwrap_or_default(), text(p.amount))).collect();
        charged.sort();
        paid.sort();
        assert_eq!(charged, paid, "the ledger, and the journal");
    }
}

/// Waits until nothing of the process runs.
async fn stop(mut process: Process) {
    let runtime = process.0.take();
    let ended = tokio::task::spawn_blocking(move || {
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    });
    ended.await.unwrap();
}

pub(crate) fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Initialize => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    }
}

pub(crate) fn settings(sandbox: &Sandbox, data_dir: PathBuf, make: &Make) -> Settings {
    Settings {
        mode: match make.live {
            Some(_) => Mode::Live,
            None => Mode::Sandbox { url: Some(sandbox.admin_url().to_owned()) },
        },
        files_dir: data_dir.join("files"),
        data_dir,
        marketplaces: Marketplace::ALL.to_vec(),
        profiles: make.profiles.clone(),
        read_only: false,
        policy: make.policy.clone(),
        croo: CrooSettings {
            sdk_key: make.croo_key.clone().map(Into::into),
            api_url: sandbox.info().croo.api_url,
            ws_url: sandbox.info().croo.ws_url,
            ..CrooSettings::default()
        },
        crochet: CrochetSettings {
            api_url: make.live.clone().unwrap_or_else(|| CROCHET_API_URL.to_owned()),
            api_key: None,
            signing_secret: None,
        },
        paegents: PaegentsSettings {
            api_url: sandbox.info().paegents.api_url,
            agent_id: make.paegents_agent.as_ref().map(|agent| agent.0.parse().unwrap()),
            api_key: make.paegents_agent.as_ref().map(|agent| agent.1.clone().into()),
            ..PaegentsSettings::default()
        },
        wallet: WalletSettings {
            private_key: make.private_key.clone().map(Into::into),
            solana_key: make.solana_key.clone().map(Into::into),
            ..WalletSettings::default()
        },
        chain: ChainSettings::default(),
        vault: VaultSettings { passphrase_file: None, no_keyring: true },
        http: make.http.clone(),
        clients: make.clients.clone(),
    }
}
