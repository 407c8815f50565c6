//! What counts as being answered: the work, whatever becomes of who asked for it.

use std::time::Duration;

use futures::future::join_all;
use haggle::{config::http::HttpSettings, journal::State, spend::policy::Policy};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{Site, client, gate::legacy, initialize, session, token};
use crate::world::Make;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

async fn site(in_flight_max: usize) -> Site {
    let http = HttpSettings { in_flight_max, ..HttpSettings::default() };
    Site::open(vec![client("ann")], http).await
}

fn called(id: u32, tool: &str, args: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": tool, "arguments": args } })
}

fn waiting(id: u32) -> Value {
    called(id, "market_wait_events", &json!({ "wait_seconds": 40 }))
}

fn listing(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" })
}

fn given_up(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } })
}

/// A session of the older transport.
struct Older<'a> {
    site: &'a Site,
    stream: Response,
    address: String,
}

impl<'a> Older<'a> {
    async fn open(site: &'a Site) -> Self {
        Self::begin(site, &initialize()).await
    }

    /// Opens one by this request.
    async fn begin(site: &'a Site, beginning: &Value) -> Self {
        let (stream, address) = legacy(site).await;
        let mut older = Self { site, stream, address };
        assert_eq!(older.post(beginning).await, 202);
        older.answer(1).await;
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(older.post(&ready).await, 202);
        older
    }

    async fn post(&self, body: &Value) -> u16 {
        let request = self.site.request(Method::POST, &self.address).bearer_auth(token("ann"));
        request.json(body).send().await.unwrap().status().as_u16()
    }

    /// Posts it until there is room for it.
    async fn post_in_time(&self, body: &Value) -> u16 {
        let tried = async {
            loop {
                match self.post(body).await {
                    429 => tokio::time::sleep(Duration::from_millis(20)).await,
                    status => return status,
                }
            }
        };
        tokio::time::timeout(LONG, tried).await.expect("there is no room")
    }

    /// Reads the stream up to the answer to a request.
    async fn answer(&mut self, id: u32) {
        self.said(&format!("\"id\":{id},")).await;
    }

    /// Reads the stream up to these words.
    async fn said(&mut self, words: &str) {
        let mut text = String::new();
        while !text.contains(words) {
            let chunk = tokio::time::timeout(LONG, self.stream.chunk()).await.unwrap().unwrap();
            text.push_str(&String::from_utf8_lossy(&chunk.expect("the stream has ended")));
        }
    }
}

/// Requests of a stream count until they are answered or given up; one name is one request.
#[tokio::test]
async fn requests_of_a_stream_are_counted() {
    let site = site(3).await;
    let mut older = Older::open(&site).await;
    for round in 0..3 {
        let ids = [10, 11, 12].map(|id| 10 * round + id);
        for id in ids {
            assert_eq!(older.post_in_time(&waiting(id)).await, 202, "round {round}: {id}");
        }
        assert_eq!(older.post(&listing(ids[0])).await, 429, "one more");
        assert_eq!(older.post(&given_up(ids[2])).await, 202);
        assert_eq!(older.post_in_time(&listing(ids[0])).await, 400, "its name is in use");
        assert_eq!(older.post_in_time(&listing(9)).await, 202, "there is room for one");
        older.answer(9).await;
        for id in [ids[0], ids[1]] {
            assert_eq!(older.post(&given_up(id)).await, 202);
        }
    }
}

/// A payment goes on when it is given up, and counts as long as it does.
#[tokio::test]
async fn what_goes_on_is_counted() {
    let site = site(1).await;
    let older = Older::open(&site).await;
    let world = &site.world;
    world.fault("crochet", "/gateway/*", 0, json!({ "delay_ms": 4_000 })).await;
    let purchase = called(5, "crochet_call_listing", &world.purchase_of("auto"));
    assert_eq!(older.post_in_time(&purchase).await, 202);
    assert_eq!(older.post(&given_up(5)).await, 202);
    assert_eq!(older.post(&listing(6)).await, 429, "it is forgotten while it goes on");
    assert_eq!(older.post_in_time(&listing(7)).await, 202);
}

/// In a session, a call goes on when its connection is closed, and counts as long as it does.
#[tokio::test]
async fn calls_of_closed_connections_are_counted() {
    let site = site(2).await;
    let own = session(&site.initialize(Some("ann")).await);
    let post = |body: Value| {
        let request = site.in_session(Method::POST, "ann", &own);
        async move { request.json(&body).send().await.unwrap() }
    };
    // With progress, so that the answer begins at once.
    let mut asked = [waiting(2), waiting(3)];
    for (token, call) in asked.iter_mut().enumerate() {
        call["params"]["_meta"] = json!({ "progressToken": token });
    }
    for answer in join_all(asked.map(&post)).await {
        assert_eq!(answer.status(), 200);
        drop(answer);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(post(listing(4)).await.status(), 429, "they are forgotten while they go on");
}

/// A question that its caller gives up is not answered: nobody has said no.
#[tokio::test]
async fn a_question_that_is_given_up_is_no_answer() {
    let clients = vec![client("ann")];
    let site = Site::with(Make { policy: Policy::default(), clients, ..Make::default() }).await;
    let mut beginning = initialize();
    beginning["params"]["capabilities"] = json!({ "elicitation": {} });
    let mut older = Older::begin(&site, &beginning).await;
    let purchase = called(5, "crochet_call_listing", &site.world.purchase_of("auto"));
    assert_eq!(older.post(&purchase).await, 202);
    older.said("elicitation/create").await;
    assert_eq!(older.post(&given_up(5)).await, 202);
    // Its work is over when there is room again.
    while site.metrics("ann").await.lines().any(|line| line == "haggle_http_in_flight 1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let purchase = site.world.journal().await.remove(0);
    assert_eq!((purchase.state, purchase.failure), (State::AwaitingApproval, None));
}

/// At the end, an answer that is under way on an older stream is let out.
#[tokio::test]
async fn the_end_lets_answers_of_a_stream_out() {
    let mut site = site(9).await;
    let (id, _, _) = site.world.listing("auto");
    site.world.fault("crochet", &format!("*/{id}"), 0, json!({ "delay_ms": 5_000 })).await;
    let (stream, address) = {
        let older = Older::open(&site).await;
        let read = called(2, "crochet_get_listing", &json!({ "listing_id": id }));
        assert_eq!(older.post(&read).await, 202);
        (older.stream, older.address)
    };
    site.world.fired().await;
    let reading = tokio::spawn(async move { text_of(stream).await });
    site.stop().await;
    let text = tokio::time::timeout(LONG, reading).await.unwrap().unwrap();
    assert!(text.contains("\"id\":2,") && text.contains("price_usd"), "{address}: {text}");
}

/// All that a stream says until it ends.
async fn text_of(mut stream: Response) -> String {
    let mut text = String::new();
    while let Ok(Some(chunk)) = stream.chunk().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

/// Who listens for nothing that there is keeps nobody waiting at the end.
#[tokio::test]
async fn listening_for_nothing_ends_at_the_end() {
    let mut site = site(9).await;
    let nothing = json!({ "notifications": { "toolsListChanged": true } });
    let answer = site.modern(Some("ann"), "subscriptions/listen", &nothing).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let heard = tokio::spawn(text_of(answer));
    site.world.app.stopping().cancel();
    let begun = tokio::time::Instant::now();
    site.stop().await;
    assert!(begun.elapsed() < haggle::app::DRAIN_TIMEOUT, "it was waited for");
    let text = tokio::time::timeout(LONG, heard).await.unwrap().unwrap();
    assert!(!text.is_empty());
}
