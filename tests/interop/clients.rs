//! Other people's MCP clients, unchanged: each lists the tools, is refused what it offers too little for, buys
//! one thing without asking its owner and one with their yes, and not a third, for which they say no. The
//! sandbox's ledger holds these purchases and no others.

use haggle::{marketplaces::Marketplace, profile::Profile, tools};
use serde_json::{Value, json};

use crate::market::{Ended, Market, Over, in_project, installed};

/// What is looked for: the first is cheap enough to need no word of the owner.
const QUERIES: [&str; 3] = ["Text statistics", "CSV summary", "JSON schema check"];
/// What the owner says to the other two.
const ANSWERS: [bool; 2] = [true, false];

/// A client: its script, and what of that which is installed runs it.
#[derive(Clone, Copy, Debug)]
struct Client {
    script: &'static str,
    program: &'static [&'static str],
}

const PYTHON: &[&str] = &["clients", "bin", "python"];
const NODE: &[&str] = &["node"];
const PYTHON_1: Client = Client { script: "python_1.py", program: &["mcp-1", "bin", "python"] };
const PYTHON_2: Client = Client { script: "python_2.py", program: PYTHON };
const FASTMCP_4: Client = Client { script: "fastmcp_4.py", program: PYTHON };
const TYPESCRIPT_1: Client = Client { script: "typescript_1.cjs", program: NODE };
const TYPESCRIPT_2: Client = Client { script: "typescript_2.cjs", program: NODE };

impl Client {
    /// Makes the journey and gives what the client saw.
    async fn journey(self, market: &Market, over: Over, era: &str) -> Value {
        let mut plan = json!({ "era": era, "queries": QUERIES, "answers": ANSWERS });
        let server = match over {
            Over::Stdio => None,
            Over::Http | Over::Guarded | Over::Sse => Some(market.serve().await),
        };
        match &server {
            None => {
                plan["command"] = json!(env!("CARGO_BIN_EXE_haggle"));
                plan["args"] = json!(market.arguments());
                plan["env"] = market.environment();
            }
            Some(server) => {
                let bearer = |token: &String| json!({ "Authorization": format!("Bearer {token}") });
                plan["url"] = json!(server.url(over));
                plan["headers"] = market.token.as_ref().map_or(json!({}), bearer);
            }
        }
        let mut command = market.visitor(&installed(self.program));
        command.arg(in_project(&["tests", "interop", "clients", self.script]));
        let ended = Ended::of(command, plan.to_string().as_bytes()).await;
        assert_eq!(ended.code, Some(0), "{self:?} {over:?} {era}: {}", ended.stderr);
        ended.json()
    }

    async fn buys(self, over: Over, era: &str, revision: &str) {
        let market = Market::open(over).await;
        let seen = self.journey(&market, over, era).await;
        let row = format!("{self:?} {over:?} {era}: {seen:#}");
        assert_eq!(seen["revision"], revision, "{row}");

        let profiles = [Profile::Market, Profile::Buy];
        let offered = tools::in_use(&profiles, Marketplace::ALL, false);
        let offered: Vec<&str> = offered.keys().copied().collect();
        assert_eq!(seen["tools"], json!(offered), "{row}");

        for refused in seen["refused"].as_array().unwrap() {
            let error = &refused["error"];
            assert_eq!(error["code"], "above_max_total", "{row}");
            assert_eq!(error["money_moved"], "no", "{row}");
            assert_eq!(error["recovery"]["next_action"], "fix_arguments", "{row}");
            assert_eq!(error["recovery"]["next"][0]["tool"], "market_search", "{row}");
        }
        let tried = seen["tried"].as_array().unwrap();
        let [free, yes, no] = tried.as_slice() else { panic!("{row}") };
        let [cheap, dear, denied] = QUERIES.map(|query| market.price(query));
        for (bought, price) in [(free, cheap), (yes, dear)] {
            let purchase = &bought["purchase"];
            assert_eq!(purchase["money_moved"], "yes", "{row}");
            assert_eq!(purchase["state"], "settled", "{row}");
            assert_eq!(purchase["delivery"], "delivered", "{row}");
            assert_eq!(purchase["amount_usd"], price, "{row}");
            assert_eq!(bought["mode"], "sandbox", "{row}");
        }
        assert_eq!(no["error"]["code"], "approval_denied", "{row}");
        assert_eq!(no["error"]["money_moved"], "no", "{row}");
        let asked = seen["asked"].as_array().unwrap();
        assert_eq!(asked.len(), ANSWERS.len(), "{row}");
        for (question, price) in asked.iter().zip([dear, denied]) {
            let begins = format!("Pay {price} USD, fees included, on Crochet");
            assert!(question.as_str().unwrap().starts_with(&begins), "{row}");
        }
        assert_eq!(market.charges().await, [cheap, dear], "{row}");
    }
}

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// A test a client and a transport: name, client, transport, era and the revision that is agreed on.
macro_rules! journeys {
    ($($name:ident: $client:ident $over:ident $(($era:literal $revision:ident))+;)+) => {$(
        #[tokio::test]
        async fn $name() {
            $($client.buys(Over::$over, $era, $revision).await;)+
        }
    )+};
}

journeys! {
    python_1_over_stdio: PYTHON_1 Stdio ("legacy" LEGACY);
    python_2_over_stdio: PYTHON_2 Stdio ("legacy" LEGACY) ("auto" MODERN);
    fastmcp_over_stdio: FASTMCP_4 Stdio ("legacy" LEGACY) ("auto" MODERN);
    typescript_1_over_stdio: TYPESCRIPT_1 Stdio ("legacy" LEGACY);
    typescript_2_over_stdio: TYPESCRIPT_2 Stdio ("legacy" LEGACY) ("auto" MODERN);
    python_1_over_http: PYTHON_1 Http ("legacy" LEGACY);
    python_2_over_http: PYTHON_2 Http ("legacy" LEGACY) ("auto" MODERN);
    fastmcp_over_http: FASTMCP_4 Http ("legacy" LEGACY) ("auto" MODERN);
    typescript_1_over_http: TYPESCRIPT_1 Http ("legacy" LEGACY);
    typescript_2_over_http: TYPESCRIPT_2 Http ("legacy" LEGACY) ("auto" MODERN);
    python_1_with_a_token: PYTHON_1 Guarded ("legacy" LEGACY);
    python_2_with_a_token: PYTHON_2 Guarded ("auto" MODERN);
    fastmcp_with_a_token: FASTMCP_4 Guarded ("auto" MODERN);
    typescript_1_with_a_token: TYPESCRIPT_1 Guarded ("legacy" LEGACY);
    typescript_2_with_a_token: TYPESCRIPT_2 Guarded ("auto" MODERN);
    python_1_over_server_sent_events: PYTHON_1 Sse ("legacy" LEGACY);
    fastmcp_over_server_sent_events: FASTMCP_4 Sse ("legacy" LEGACY);
    typescript_1_over_server_sent_events: TYPESCRIPT_1 Sse ("legacy" LEGACY);
    typescript_2_over_server_sent_events: TYPESCRIPT_2 Sse ("legacy" LEGACY);
}
