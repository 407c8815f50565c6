//! The MCP Inspector's command line: it reads lists, resources and results over every transport and in
//! every era, and its exit status says what it found.

use serde_json::Value;

use crate::market::{Ended, Market, Over, Server, installed};

const INSPECTOR: [&str; 7] = [
    "node_modules",
    "@modelcontextprotocol",
    "inspector",
    "clients",
    "launcher",
    "build",
    "index.js",
];
/// What its exit status says: it may not call, and a tool said that it failed.
const NOT_ALLOWED: i32 = 3;
const TOOL_FAILED: i32 = 5;

/// An Inspector that goes one way to one server.
struct Inspector<'a> {
    market: &'a Market,
    server: Option<Server>,
    over: Over,
    era: &'a str,
}

impl<'a> Inspector<'a> {
    async fn new(market: &'a Market, over: Over, era: &'a str) -> Self {
        let server = match over {
            Over::Stdio => None,
            Over::Http | Over::Guarded | Over::Sse => Some(market.serve().await),
        };
        Self { market, server, over, era }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.market.visitor(&installed(&["node"]));
        command.arg(installed(&INSPECTOR)).args(["--cli", "--protocol-era", self.era]);
        match &self.server {
            Some(server) => command.arg(server.url(self.over)),
            None => command
                .args(["-e", "HAGGLE_NO_KEYRING=1"])
                .arg(env!("CARGO_BIN_EXE_haggle"))
                .args(self.market.arguments()),
        };
        command.args(["--format", "json", "--stored-auth-only"]).args(arguments);
        Ended::of(command, b"").await
    }

    async fn reads(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments).await;
        let row = format!("{:?} {} {arguments:?}: {ended:?}", self.over, self.era);
        assert_eq!(ended.code, Some(0), "{row}");
        ended.json()["result"].clone()
    }

    async fn looks_at_everything(&self) {
        let row = format!("{:?} {}", self.over, self.era);
        let tools = self.reads(&["--method", "tools/list", "--strict"]).await;
        assert!(tools["tools"].as_array().unwrap().len() > 20, "{row}: {tools}");

        let resources = self.reads(&["--method", "resources/list"]).await;
        for resource in resources["resources"].as_array().unwrap() {
            let uri = resource["uri"].as_str().unwrap();
            let read = self.reads(&["--method", "resources/read", "--uri", uri]).await;
            let text = read["contents"][0]["text"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{row}: {read}");
        }

        let prompts = self.reads(&["--method", "prompts/list"]).await;
        assert_ne!(prompts["prompts"].as_array().unwrap().len(), 0, "{row}: {prompts}");

        let asks = ["--prompt-name", "buy", "--prompt-args", "what=a word count"];
        let prompt = self.reads(&[&["--method", "prompts/get"], &asks[..]].concat()).await;
        let text = prompt["messages"][0]["content"]["text"].as_str().unwrap();
        assert!(text.contains("a word count"), "{row}: {prompt}");

        let call = ["--method", "tools/call", "--tool-name"];
        let search = [&call[..], &["market_search", "--tool-args-json", r#"{"query":"text"}"#]];
        let found = self.reads(&search.concat()).await;
        let offers = found["structuredContent"]["offers"].as_array().unwrap();
        assert!(!offers.is_empty(), "{row}: {found}");

        let look = [&call[..], &["crochet_get_listing", "--tool-args-json", "{}"]];
        let refused = self.run(&look.concat()).await;
        assert_eq!(refused.code, Some(TOOL_FAILED), "{row}: {refused:?}");
        let error = &refused.json()["result"]["structuredContent"]["error"];
        assert_eq!(error["code"], "invalid_argument", "{row}: {refused:?}");
    }
}

#[tokio::test]
async fn the_inspector_reads_everything_over_stdio() {
    let market = Market::open(Over::Stdio).await;
    for era in ["legacy", "auto", "modern"] {
        Inspector::new(&market, Over::Stdio, era).await.looks_at_everything().await;
    }
}

#[tokio::test]
async fn the_inspector_reads_everything_over_http() {
    let market = Market::open(Over::Http).await;
    for era in ["legacy", "auto", "modern"] {
        Inspector::new(&market, Over::Http, era).await.looks_at_everything().await;
    }
}

/// This transport is older than the eras: there is nothing to negotiate.
#[tokio::test]
async fn the_inspector_reads_everything_over_server_sent_events() {
    let market = Market::open(Over::Sse).await;
    Inspector::new(&market, Over::Sse, "legacy").await.looks_at_everything().await;
}

#[tokio::test]
async fn the_inspector_needs_the_token_of_a_client() {
    let market = Market::open(Over::Guarded).await;
    let inspector = Inspector::new(&market, Over::Guarded, "modern").await;
    let token = market.token.as_deref().unwrap();
    for (shown, code) in [(None, NOT_ALLOWED), (Some("wrong"), NOT_ALLOWED), (Some(token), 0)] {
        let header = shown.map(|token| format!("Authorization: Bearer {token}"));
        let mut arguments = vec!["--method", "tools/list"];
        arguments.extend(header.iter().flat_map(|header| ["--header", header]));
        let ended = inspector.run(&arguments).await;
        assert_eq!(ended.code, Some(code), "{shown:?}: {ended:?}");
        assert!(!ended.stderr.contains(token), "{ended:?}");
    }
}
