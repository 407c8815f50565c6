//! What a node says and what is made of it. The node is a socket on loopback that answers as told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_primitives::{address, b256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const BASE_SEPOLIA: &str = r#""0x14a34""#;

/// What the node does with the question after `eth_chainId`.
#[derive(Clone, Debug)]
enum Answer {
    /// JSON-RPC's result, as JSON.
    Result(String),
    /// JSON-RPC's error: code and message.
    Fault(i64, &'static str),
    /// Another HTTP answer: status line and body.
    Http(&'static str, String),
    /// Cuts the connection after reading the question.
    Cut,
}

fn result(json: &str) -> Answer {
    Answer::Result(json.to_owned())
}

/// A node that knows its chain and gives one answer to all else; the questions it read.
struct Fake {
    url: String,
    questions: Arc<Mutex<Vec<Value>>>,
}

async fn node(chain_id: &'static str, answer: Answer) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v2/s3cr3t-key", listener.local_addr().unwrap());
    let questions = Arc::new(Mutex::new(Vec::new()));
    let seen = questions.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, chain_id, answer.clone(), seen.clone()).await;
        }
    });
    Fake { url, questions }
}

async fn serve(
    mut stream: TcpStream,
    chain_id: &str,
    answer: Answer,
    seen: Arc<Mutex<Vec<Value>>>,
) {
    let question = read_question(&mut stream).await;
    let (id, method) = (question["id"].clone(), question["method"].clone());
    seen.lock().unwrap().push(question);
    let answer = if method == "eth_chainId" { result(chain_id) } else { answer };
    let (status, body) = match answer {
        Answer::Result(json) => {
            ("200 OK", format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{json}}}"#))
        }
        Answer::Fault(code, message) => {
            let error = json!({ "code": code, "message": message });
            ("200 OK", json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string())
        }
        Answer::Http(status, body) => (status, body.replace("$ID", &id.to_string())),
        Answer::Cut => return,
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /moved\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The client may have heard enough.
    drop(stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await);
}

async fn read_question(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
            && let Ok(question) = serde_json::from_slice(&bytes[end + 4..])
        {
            return question;
        }
        assert_ne!(read, 0, "no whole question");
    }
}

fn client() -> reqwest::Client {
    // A second test's attempt finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

async fn chain(answer: Answer) -> (Chain, Fake) {
    let fake = node(BASE_SEPOLIA, answer).await;
    (Chain::new(client(), &fake.url, 84532).unwrap(), fake)
}

fn word(digits: &str) -> String {
    format!("\"0x{digits:0>64}\"")
}

/// F6 of `faults.md`: an error is an error, and nothing else is zero.
#[tokio::test]
async fn a_balance_is_what_the_node_said_or_an_error() {
    #[rustfmt::skip]
    let rows = [
        // what it shows          answer                                                             balance or error
        ("a balance",             result(&word("16e360")),                                           Ok(1_500_000)),
        ("nothing",               result(&word("0")),                                                Ok(0)),
        ("the most",              result(&word("ffffffffffffffff")),                                 Ok(u64::MAX)),
        ("more than that",        result(&word("10000000000000000")),                                Err("Malformed")),
        ("an error",              Answer::Fault(-32000, "header not found"),                         Err("Rpc")),
        ("no contract there",     result("\"0x\""),                                                  Err("Malformed")),
        ("a byte short",          result(&format!("\"0x{}\"", "00".repeat(31))),                     Err("Malformed")),
        ("a byte long",           result(&format!("\"0x{}\"", "00".repeat(33))),                     Err("Malformed")),
        ("null",                  result("null"),                                                    Err("Malformed")),
        ("a number",              result("0"),                                                       Err("Malformed")),
        ("another id",            Answer::Http("200 OK", format!(r#"{{"id":0,"result":{}}}"#, word("1"))), Err("Malformed")),
        ("neither",               Answer::Http("200 OK", r#"{"jsonrpc":"2.0","id":$ID}"#.into()),    Err("Malformed")),
        ("an odd error",          Answer::Http("200 OK", r#"{"id":$ID,"error":"no"}"#.into()),       Err("Malformed")),
        ("a page",                Answer::Http("200 OK", "<html>".into()),                           Err("Malformed")),
        ("a gateway's page",      Answer::Http("502 Bad Gateway", "<html>".into()),                  Err("Unavailable")),
        ("5xx with a result",     Answer::Http("503 No", format!(r#"{{"id":$ID,"result":{}}}"#, word("1"))), Err("Unavailable")),
        ("too many requests",     Answer::Http("429 Slow", "slow down".into()),                      Err("Unavailable")),
        ("a limit in JSON",       Answer::Http("429 Slow", r#"{"id":null,"error":{"code":-32005,"message":"limit"}}"#.into()), Err("Rpc")),
        ("a redirect",            Answer::Http("307 Moved", String::new()),                          Err("Unavailable")),
        ("too large",             Answer::Http("200 OK", " ".repeat(RPC_ANSWER_BYTES_MAX + 1)),      Err("Unavailable")),
        ("a cut connection",      Answer::Cut,                                                       Err("Unavailable")),
    ];
    for (row, answer, expected) in rows {
        let (chain, fake) = chain(answer).await;
        let balance = chain.usdc_balance(OWN).await;
        let shown = balance.as_ref().map(|balance| balance.micros()).map_err(kind);
        assert_eq!(shown, expected, "{row}: {balance:?}");
        let asked = fake.questions.lock().unwrap()[1]["params"][0].clone();
        assert_eq!(asked["data"], format!("0x70a08231{:0>64}", hex::encode(OWN)), "{row}");
    }
}

fn kind(error: &ChainError) -> &'static str {
    match error {
        ChainError::Unavailable { .. } => "Unavailable",
        ChainError::WrongChain { .. } => "WrongChain",
        ChainError::Malformed { .. } => "Malformed",
        ChainError::Rpc { .. } => "Rpc",
        ChainError::FeesTooHigh { .. } => "FeesTooHigh",
        ChainError::NotPinned { .. } => "NotPinned",
        ChainError::Url => "Url",
    }
}

#[tokio::test]
async fn numbers_are_hex_and_nothing_else() {
    #[rustfmt::skip]
    let rows = [
        // what it shows       answer                       number
        ("a number",           r#""0x1f""#,                 Some(31)),
        ("zero",               r#""0x0""#,                  Some(0)),
        ("the most",           r#""0xffffffffffffffff""#,   Some(u64::MAX)),
        ("one more",           r#""0x10000000000000000""#,  None),
        ("no digits",          r#""0x""#,                   None),
        ("decimal",            r#""31""#,                   None),
        ("a sign",             r#""0x+1""#,                 None),
        ("a JSON number",      "31",                        None),
        ("null",               "null",                      None),
    ];
    for (row, answer, expected) in rows {
        let (chain, fake) = chain(result(answer)).await;
        assert_eq!(chain.nonce_latest(OWN).await.ok(), expected, "{row}");
        assert_eq!(chain.nonce_pending(OWN).await.ok(), expected, "{row}");
        assert_eq!(chain.block_number().await.ok(), expected, "{row}");
        if row != "one more" {
            assert_eq!(chain.eth_balance(OWN).await.ok(), expected.map(U256::from), "{row}");
        }
        let questions = fake.questions.lock().unwrap();
        assert_eq!(questions[0]["method"], "eth_chainId", "asked first");
        assert_eq!(questions.iter().filter(|q| q["method"] == "eth_chainId").count(), 1, "once");
        assert_eq!(questions[1]["params"][1], "latest");
        assert_eq!(questions[2]["params"][1], "pending");
    }
}

#[tokio::test]
async fn a_node_on_another_chain_is_asked_nothing_more() {
    let fake = node(r#""0x2105""#, result(&word("1"))).await;
    let chain = Chain::new(client(), &fake.url, 84532).unwrap();
    let wrong = ChainError::WrongChain { expected: 84532, got: 8453 };
    assert_eq!(chain.usdc_balance(OWN).await, Err(wrong.clone()));
    assert_eq!(chain.send_raw(&[2]).await, Err(SendError::NeverSent(wrong)));
    let questions = fake.questions.lock().unwrap();
    assert!(questions.iter().all(|question| question["method"] == "eth_chainId"), "{questions:?}");
}

#[tokio::test]
async fn a_sent_transaction_is_lost_unless_the_node_plainly_answered() {
    let raw = [2_u8, 0xF8];
    let hash = keccak256(raw);
    let (ours, other) = (format!("\"{hash}\""), word("1"));
    #[rustfmt::skip]
    let rows = [
        // what it shows            answer                                                                   outcome
        ("accepted",                result(&ours),                                                           "accepted"),
        ("known (geth)",            Answer::Fault(-32000, "already known"),                                  "accepted"),
        ("known (older geth)",      Answer::Fault(-32000, "known transaction: 12ab"),                        "accepted"),
        ("known (Nethermind)",      Answer::Fault(-32010, "AlreadyKnown"),                                   "accepted"),
        ("known (Parity)",          Answer::Fault(-32010, "Transaction with the same hash was already imported."), "accepted"),
        ("the nonce is used",       Answer::Fault(-32000, "nonce too low: next nonce 8, tx nonce 7"),        "nonce used"),
        ("too poor",                Answer::Fault(-32000, "insufficient funds for gas * price + value"),     "refused"),
        ("underpriced",             Answer::Fault(-32000, "replacement transaction underpriced"),            "refused"),
        ("refused, 400",            Answer::Http("400 Bad", r#"{"id":$ID,"error":{"code":-32602,"message":"invalid sender"}}"#.into()), "refused"),
        ("a fault of its own",      Answer::Fault(-32603, "something broke"),                                "lost"),
        ("a timeout behind it",     Answer::Fault(-32000, "request timed out"),                              "lost"),
        ("another hash",            result(&other),                                                          "lost"),
        ("no hash",                 result("null"),                                                          "lost"),
        ("a page",                  Answer::Http("200 OK", "<html>".into()),                                 "lost"),
        ("a gateway's page",        Answer::Http("502 Bad Gateway", "<html>".into()),                        "lost"),
        ("5xx with an error",       Answer::Http("500 No", r#"{"id":$ID,"error":{"code":-32000,"message":"insufficient funds"}}"#.into()), "lost"),
        ("too many requests",       Answer::Http("429 Slow", "slow down".into()),                            "lost"),
        ("a cut connection",        Answer::Cut,                                                             "lost"),
    ];
    for (row, answer, expected) in rows {
        let (chain, fake) = chain(answer).await;
        let sent = chain.send_raw(&raw).await;
        let outcome = match &sent {
            Ok(known) if *known == hash => "accepted",
            Ok(_) => "another hash",
            Err(SendError::Refused { .. }) => "refused",
            Err(SendError::NonceUsed) => "nonce used",
            Err(SendError::Lost(_)) => "lost",
            Err(SendError::NeverSent(_)) => "never sent",
        };
        assert_eq!(outcome, expected, "{row}: {sent:?}");
        let questions = fake.questions.lock().unwrap();
        assert_eq!(questions.len(), 2, "{row}: sent once");
        assert_eq!(questions[1]["params"], json!(["0x02f8"]), "{row}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let chain = Chain::new(client(), &url, 84532).unwrap();
    drop(listener);
    let sent = chain.send_raw(&[2]).await;
    let connect =
        ChainError::Unavailable { host: "127.0.0.1".into(), reason: Unavailable::Connect };
    assert_eq!(sent, Err(SendError::NeverSent(connect)));

    // Also where the node was there a moment ago.
    let (chain, fake) = chain_that_leaves().await;
    chain.chain_id().await.unwrap();
    chain.checked().await.unwrap();
    fake.abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let sent = chain.send_raw(&[2]).await;
    assert!(matches!(sent, Err(SendError::NeverSent(_))), "{sent:?}");
}

async fn chain_that_leaves() -> (Chain, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, BASE_SEPOLIA, Answer::Cut, Arc::default()).await;
        }
    });
    (Chain::new(client(), &url, 84532).unwrap(), task)
}

#[tokio::test]
async fn reads_a_receipt_or_none() {
    let hash = b256!("0x6ed154e1a14cc9cba6f511bf388ec5c50aa71e247d8ab14b8cc0a8df8ea015fa");
    let whole = json!({
        "transactionHash": hash, "blockNumber": "0x10", "status": "0x1", "gasUsed": "0x5208",
        "logs": [{ "address": OWN, "topics": [hash], "data": "0x01", "removed": false }],
    });
    let with = |name: &str, value: Value| {
        let mut receipt = whole.clone();
        receipt[name] = value;
        result(&receipt.to_string())
    };
    #[rustfmt::skip]
    let rows = [
        // what it shows          answer                                     receipt
        ("in no block yet",       result("null"),                            Ok(None)),
        ("carried out",           result(&whole.to_string()),                Ok(Some(true))),
        ("reverted",              with("status", json!("0x0")),              Ok(Some(false))),
        ("an odd status",         with("status", json!("0x2")),              Err("Malformed")),
        ("no status",             with("status", json!(null)),               Err("Malformed")),
        ("no block",              with("blockNumber", json!(null)),          Err("Malformed")),
        ("another transaction's", with("transactionHash", json!(B256::ZERO)), Err("Malformed")),
        ("no logs",               with("logs", json!(null)),                 Err("Malformed")),
        ("odd logs",              with("logs", json!([{}])),                 Err("Malformed")),
        ("an error",              Answer::Fault(-32000, "not synced"),       Err("Rpc")),
    ];
    for (row, answer, expected) in rows {
        let (chain, _) = chain(answer).await;
        let receipt = chain.receipt(hash).await;
        let shown = receipt.as_ref().map_err(kind);
        let shown = shown.map(|receipt| receipt.as_ref().map(|receipt| receipt.succeeded));
        assert_eq!(shown, expected, "{row}: {receipt:?}");
        if let Ok(Some(receipt)) = receipt {
            assert_eq!((receipt.transaction, receipt.block), (hash, 16), "{row}");
            assert_eq!(receipt.logs[0].data.as_ref(), [1], "{row}");
        }
    }
}

#[tokio::test]
async fn offers_fees_within_reason() {
    let history = |base: u128, rewards: &[u128]| {
        let rewards: Vec<[String; 1]> = rewards.iter().map(|r| [format!("{r:#x}")]).collect();
        let base = [format!("{:#x}", 1), format!("{base:#x}")];
        result(&json!({ "baseFeePerGas": base, "reward": rewards }).to_string())
    };
    let gwei = 1_000_000_000;
    #[rustfmt::skip]
    let rows = [
        // what it shows               answer                                              the most, priority
        ("twice the base, the median", history(100, &[9, 1, 5]),                           Ok((205, 5))),
        ("no rewards",                 history(100, &[]),                                  Ok((200, 0))),
        ("a greedy priority",          history(100, &[3 * gwei]),                          Ok((2 * gwei + 200, 2 * gwei))),
        ("at the limit",               history(20 * gwei, &[0]),                           Ok((20 * gwei, 0))),
        ("a wei above it",             history(20 * gwei, &[1]),                           Err("FeesTooHigh")),
        ("the largest number",         history(u128::MAX, &[u128::MAX]),                   Err("FeesTooHigh")),
        ("no base fee",                result(r#"{"baseFeePerGas":[]}"#),                  Err("Malformed")),
        ("an odd reward",              result(r#"{"baseFeePerGas":["0x1"],"reward":[["1"]]}"#), Err("Malformed")),
        ("an error",                   Answer::Fault(-32000, "busy"),                      Err("Rpc")),
        ("no such method, nor price",  Answer::Fault(-32601, "the method does not exist"), Err("Rpc")),
    ];
    for (row, answer, expected) in rows {
        let (chain, _) = chain(answer).await;
        let fees = chain.fees().await;
        let shown = fees.as_ref().map(|f| (f.max_fee_per_gas, f.max_priority_fee_per_gas));
        assert_eq!(shown.map_err(kind), expected, "{row}");
    }
}

#[tokio::test]
async fn estimates_gas_within_reason() {
    for (row, answer, expected) in [
        ("a transfer", result(r#""0xea60""#), Ok(60_000)),
        ("the most", result(r#""0x7a120""#), Ok(500_000)),
        ("one more", result(r#""0x7a121""#), Err("Malformed")),
        ("less than any", result(r#""0x5207""#), Err("Malformed")),
        ("it would revert", Answer::Fault(3, "execution reverted"), Err("Rpc")),
    ] {
        let (chain, _) = chain(answer).await;
        let gas = chain.estimate_gas(OWN, OWN, Bytes::new()).await;
        assert_eq!(gas.as_ref().map(|gas| *gas).map_err(kind), expected, "{row}");
    }
}

/// The key in the node's URL, also where the node repeats it.
#[tokio::test]
async fn shows_the_host_and_nothing_else_of_the_url() {
    let answers = [
        Answer::Fault(-32000, "key s3cr3t-key is over its limit\u{1b}[31m"),
        Answer::Http("502 Bad", String::new()),
        Answer::Http("200 OK", "<html>".into()),
        Answer::Cut,
    ];
    for answer in answers {
        let (chain, _) = chain(answer).await;
        let read = chain.usdc_balance(OWN).await.unwrap_err();
        let sent = chain.send_raw(&[2]).await.unwrap_err();
        for shown in [
            format!("{read} {read:?}"),
            format!("{sent} {sent:?} {:?}", std::error::Error::source(&sent)),
            format!("{chain:?}"),
        ] {
            assert!(!shown.contains("s3cr3t") && !shown.contains('\u{1b}'), "{shown}");
        }
        assert_eq!(chain.host(), "127.0.0.1");
    }
    let url = "https://user:passw0rd@node.example/v3/0123456789?apikey=abcdefghij";
    let chain = Chain::new(client(), url, 8453).unwrap();
    let shown = format!("{chain:?}");
    for secret in ["passw0rd", "user", "0123456789", "abcdefghij"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn refuses_chains_and_urls_that_are_none() {
    #[rustfmt::skip]
    let rows = [
        ("another chain",    "https://node.example",   1,     "NotPinned"),
        ("no URL",           "node.example",           8453,  "Url"),
        ("another scheme",   "file:///etc/passwd",     8453,  "Url"),
        ("a socket",         "wss://node.example",     8453,  "Url"),
    ];
    for (row, url, chain_id, expected) in rows {
        let error = Chain::new(client(), url, chain_id).unwrap_err();
        assert_eq!(kind(&error), expected, "{row}");
        assert!(!error.to_string().contains(url), "{row}");
    }
}
