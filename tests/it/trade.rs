//! Trades on CROO: an order that stands ready, its truth at the sandbox, and a caller who does what
//! the hints say.

use haggle::sandbox::ItemInfo;
use serde_json::{Value, json};

use crate::world::World;

/// How long an order is waited for, in seconds.
const WAIT_SECONDS: u64 = 40;

impl World {
    /// The first service with this behaviour.
    pub(crate) fn item(&self, behaviour: &str) -> ItemInfo {
        let services = self.sandbox.info().croo.services;
        let found = services.into_iter().find(|service| service.behaviour == behaviour);
        found.unwrap_or_else(|| panic!("no service is {behaviour}"))
    }

    /// A CROO service with this behaviour and name: its id.
    pub(crate) fn service(&self, behaviour: &str, name: &str) -> String {
        let services = self.sandbox.info().croo.services;
        let is_it = |s: &&ItemInfo| s.behaviour == behaviour && s.name == name;
        services.iter().find(is_it).unwrap_or_else(|| panic!("no {behaviour} {name}")).id.clone()
    }

    /// The arguments that ask the first service with this behaviour for an offer.
    pub(crate) fn negotiation_of(&self, behaviour: &str) -> Value {
        let item = self.item(behaviour);
        json!({ "service_id": item.id, "requirements": item.input_example })
    }

    /// An order that stands ready to be paid, from the first service with this behaviour.
    pub(crate) async fn order(&self, behaviour: &str) -> Value {
        self.order_by(self.negotiation_of(behaviour)).await
    }

    /// As [`Self::order`], from these arguments of a negotiation.
    pub(crate) async fn order_by(&self, args: Value) -> Value {
        let negotiation = self.call("croo_negotiate_order", args).await.unwrap();
        let id = &negotiation["negotiation_id"];
        let args = json!({ "negotiation_id": id, "wait_seconds": WAIT_SECONDS });
        let order = self.call("croo_get_order", args).await.unwrap();
        assert_eq!(order["status"], "created", "{order}");
        order
    }

    /// The arguments that pay an order.
    pub(crate) fn payment_of(order: &Value) -> Value {
        json!({ "order_id": order["order_id"], "max_total_usd": order["cost"]["total_usd"] })
    }

    /// Asks the sandbox's chain, as any other program would.
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = self.sandbox.info().chain.rpc_url;
        let answer = self.http.post(url).json(&question).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["result"].clone()
    }

    /// Sets what the wallet has.
    pub(crate) async fn balance(&self, balance: &Value) {
        let mut balance = balance.clone();
        balance["address"] = json!(self.sandbox.info().crochet.buyer.wallet);
        self.admin("POST", "/balance", Some(balance)).await;
    }

    /// Does what an answer says comes next, and so on, as [`World::follow`].
    pub(crate) async fn finish(&self, answer: Result<Value, Value>) -> Result<Value, Value> {
        match answer {
            // What was bought is there: what follows is another matter.
            Ok(done)
                if done["next"][0]["tool"]
                    .as_str()
                    .is_some_and(|tool| tool.starts_with("paegents_"))
                    && done["purchase"]["state"] == "settled"
                    && done["purchase"]["delivery"] == "delivered" =>
            {
                Ok(done)
            }
            Ok(done) if done["result_untrusted"].is_null() => {
                if done["next"].get(0).is_none() {
                    return Ok(done);
                }
                self.follow(json!({ "recovery": { "next": done["next"] } })).await
            }
            Ok(done) => Ok(done),
            Err(error) => self.follow(error).await,
        }
    }

    /// Pays an order and does what comes next.
    pub(crate) async fn pay(&self, order: &Value) -> Result<Value, Value> {
        self.finish(self.call("croo_pay_order", Self::payment_of(order)).await).await
    }

    /// What CROO has under this path, asked with an agent's key and no tool of ours. Armed faults
    /// are disarmed, so that they do not strike here.
    pub(crate) async fn truth(&self, sdk_key: &str, path: &str) -> Value {
        self.admin("DELETE", "/faults", None).await;
        let url = format!("{}/backend/v1{path}", self.sandbox.info().croo.api_url);
        let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
        let answer = http.get(url).header("x-sdk-key", sdk_key).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Every order of the requester, as CROO has it; the newest first.
    pub(crate) async fn orders(&self) -> Vec<Value> {
        let key = self.sandbox.info().croo.requester.sdk_key;
        let found = self.truth(&key, "/orders?role=buyer&page=1&page_size=50").await;
        found["orders"].as_array().cloned().unwrap_or_default()
    }

    /// How often something of this kind happened to money in CROO's ledger.
    pub(crate) async fn entries(&self, kind: &str) -> usize {
        let ledger = self.admin("GET", "/ledger", None).await;
        let entries = ledger["entries"].as_array().unwrap();
        let is_it = |entry: &&Value| entry["marketplace"] == "croo" && entry["kind"] == kind;
        entries.iter().filter(is_it).count()
    }

    /// How often this was sent: a method, and what its path ends with.
    pub(crate) async fn sent(&self, method: &str, end: &str) -> usize {
        let requests = self.requests().await;
        let is_it = |request: &&Value| {
            let path = request["path"].as_str().unwrap_or_default();
            request["marketplace"] == "croo" && request["method"] == method && path.ends_with(end)
        };
        requests.iter().filter(is_it).count()
    }
}
