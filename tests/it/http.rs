//! HTTP: who may call, from where and how much; clients that never meet; an end that loses nothing.

mod answering;
mod apart;
mod counted;
mod crowds;
mod gate;
mod program;

use std::{net::SocketAddr, time::Duration};

use haggle::{
    config::http::HttpSettings,
    credential::CredentialDigest,
    principal::Principal,
    profile::Profile,
    server::Server,
    spend::policy::Limits,
    transports::http::{self, Service},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::{
    served::browser,
    world::{Make, World},
};

/// The key of the owner's page in tests.
const OWNER_KEY: &str = "haggle_owner_x";
const MODERN: &str = "2026-07-28";

/// The token of a client, by its name.
fn token(name: &str) -> String {
    format!("haggle_client_{name}_token")
}

/// A client of this name with the tools of a buyer.
fn client(name: &str) -> Principal {
    Principal {
        name: name.to_owned(),
        profiles: vec![Profile::Market, Profile::Buy],
        read_only: false,
        limits: Limits::default(),
        token: Some(CredentialDigest::of(&token(name))),
    }
}

/// A world with these clients, and its HTTP server.
struct Site {
    world: World,
    base: String,
    web: reqwest::Client,
    stopping: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Site {
    async fn open(clients: Vec<Principal>, http: HttpSettings) -> Self {
        Self::with(Make { clients, http, ..Make::default() }).await
    }

    async fn with(make: Make) -> Self {
        Self::altered(make, |_| ()).await
    }

    /// As [`Self::with`]; `alter` changes what is served.
    async fn altered(make: Make, alter: impl FnOnce(&mut Service<Server>)) -> Self {
        let world = World::start_with(make).await;
        let stopping = CancellationToken::new();
        let mut service = http::service(&world.app);
        alter(&mut service);
        let listening = http::listen(local(0), service, stopping.clone()).await.unwrap();
        let base = format!("http://{}", listening.address());
        let serving = Some(tokio::spawn(listening.serve()));
        let web = browser();
        Self { world, base, web, stopping, serving }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.web.request(method, format!("{}{path}", self.base))
    }

    /// A JSON-RPC request of 2026-07-28 by the client of this name; by nobody where there is none.
    fn modern(&self, name: Option<&str>, method: &str, params: &Value) -> RequestBuilder {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self
            .request(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        for member in ["name", "uri"] {
            if let Some(name) = params[member].as_str() {
                request = request.header("mcp-name", name);
            }
        }
        if let Some(name) = name {
            request = request.bearer_auth(token(name));
        }
        request.json(&body)
    }

    /// The answer to such a request.
    async fn ask(&self, name: &str, method: &str, params: Value) -> Value {
        let answer = self.modern(Some(name), method, &params).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// Calls a tool, and gives its result, or its error.
    async fn call(&self, name: &str, tool: &str, args: Value) -> Result<Value, Value> {
        let params = json!({ "name": tool, "arguments": args });
        let answer = self.ask(name, "tools/call", params).await;
        let body = answer["result"]["structuredContent"].clone();
        assert!(body.is_object(), "{answer}");
        if body["error"].is_object() { Err(body["error"].clone()) } else { Ok(body) }
    }

    /// Opens a session of an earlier revision, and gives its name and the answer.
    async fn initialize(&self, name: Option<&str>) -> Response {
        let mut request = self
            .request(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream");
        if let Some(name) = name {
            request = request.bearer_auth(token(name));
        }
        request.json(&initialize()).send().await.unwrap()
    }

    /// A request in a session of an earlier revision.
    fn in_session(&self, method: Method, name: &str, session: &str) -> RequestBuilder {
        self.request(method, "/mcp")
            .bearer_auth(token(name))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", "2025-11-25")
    }

    async fn metrics(&self, name: &str) -> String {
        let request = self.request(Method::GET, "/metrics").bearer_auth(token(name));
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Stops the server, and waits until it has ended.
    async fn stop(&mut self) {
        self.stopping.cancel();
        self.serving.take().unwrap().await.unwrap();
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } } })
}

/// A session that was opened: its name.
fn session(answer: &Response) -> String {
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

/// Nothing is bound where it could be reached from elsewhere without a token.
#[tokio::test]
async fn other_machines_need_a_token() {
    let world = World::start().await;
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = http::listen(everywhere, http::service(&world.app), CancellationToken::new());
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("haggle config add-client"), "{refused}");
}

/// Whose request is on its way when the server is told to end hears that it takes nothing any more.
#[tokio::test]
async fn what_is_about_to_end_is_not_ready() {
    let mut site = Site::open(Vec::new(), HttpSettings::default()).await;
    let mut stream = TcpStream::connect(site.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    while !site.world.app.metrics().text().unwrap().contains("haggle_http_connections 1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    site.stopping.cancel();
    stream.write_all(b"host: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready"), "{answer}");
    site.stop().await;
}
