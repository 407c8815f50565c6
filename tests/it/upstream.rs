//! A marketplace that lies: whatever it answers, the server says so in its own words, stays small, and
//! goes nowhere else.

mod croo;
mod paegents;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use haggle::{
    app::App,
    config::{
        ChainSettings, CrochetSettings, CrooSettings, Mode, PaegentsSettings, Settings,
        VaultSettings, WalletSettings,
    },
    marketplaces::Marketplace,
    profile::Profile,
    spend::policy::Policy,
    transports::stdio,
};
use rmcp::{ClientServiceExt, RoleClient, model::CallToolRequestParams, service::RunningService};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    program::{Program, command},
    world::{Era, Person, lifecycle},
};

/// A server that answers everything with the same bytes.
struct Upstream {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (connections.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer_once(socket, answer.clone()));
            }
        });
        Self { url, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer_once(mut socket: TcpStream, answer: Arc<Vec<u8>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    // The whole request, with the body of the length that it says.
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.and_then(|l| l.parse().ok()).unwrap_or(0) {
                break;
            }
        }
        match socket.read(&mut chunk).await {
            Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    // The client may have had enough before the end.
    let _ = socket.write_all(&answer).await;
    let _ = socket.shutdown().await;
}

fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// A server on a real marketplace at this URL.
async fn live(url: &str) -> (RunningService<RoleClient, Person>, tempfile::TempDir) {
    live_with(url, |_| ()).await
}

/// As [`live`], with other settings.
async fn live_with(
    url: &str,
    other: impl FnOnce(&mut Settings),
) -> (RunningService<RoleClient, Person>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings {
        mode: Mode::Live,
        data_dir: folder.path().join("data"),
        marketplaces: Marketplace::ALL.to_vec(),
        profiles: Profile::ALL.to_vec(),
        read_only: false,
        policy: Policy::sandbox(),
        croo: CrooSettings {
            api_url: url.to_owned(),
            ws_url: url.replace("http", "ws"),
            sdk_key: Some("croo_sk_0123456789".to_owned().into()),
            ..CrooSettings::default()
        },
        files_dir: folder.path().join("files"),
        crochet: CrochetSettings {
            api_url: url.to_owned(),
            api_key: Some("Bearer am_k_0123456789".to_owned().into()),
            signing_secret: None,
        },
        paegents: PaegentsSettings {
            api_url: url.to_owned(),
            agent_id: Some("agt_0123456789".parse().unwrap()),
            api_key: Some("sk_0123456789".to_owned().into()),
            ..PaegentsSettings::default()
        },
        wallet: WalletSettings::default(),
        chain: ChainSettings { chain_id: Some(84532), rpc_url: Some(url.to_owned()) },
        vault: VaultSettings { passphrase_file: None, no_keyring: true },
        http: haggle::config::http::HttpSettings::default(),
        clients: Vec::new(),
    };
    other(&mut settings);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    tokio::spawn(stdio::serve_on(App::new(settings), read, write));
    let client = Person::default().serve_with_lifecycle(ours, lifecycle(Era::Modern)).await;
    (client.unwrap(), folder)
}

/// What a tool says of a marketplace that answers so.
async fn said(tool: &str, args: Value, answer: Vec<u8>) -> Result<Value, Value> {
    let upstream = Upstream::start(answer).await;
    let (client, _folder) = live(&upstream.url).await;
    let args = args.as_object().unwrap().clone();
    let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
    let result = client.call_tool(params).await.unwrap();
    let body = result.structured_content.unwrap();
    assert_eq!(body["mode"], "live", "{tool}");
    assert!(upstream.connections() > 0, "{tool} asked nobody");
    if result.is_error == Some(true) { Err(body["error"].clone()) } else { Ok(body) }
}

const LISTING: &str = r#"{"success":true,"data":{"id":"lst_1","name":"A","pricing_model":"free"}}"#;

fn unreadable_answers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let deep = format!("{{\"success\":true,\"data\":{}", "[".repeat(200_000));
    let twice = r#"{"success":true,"data":{"id":"lst_1","id":"lst_2","name":"A"}}"#;
    let large =
        format!(r#"{{"success":true,"data":{{"id":"a","name":"{}"}}}}"#, "a".repeat(3_000_000));
    let endless = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        format!("10000\r\n{}\r\n", "[".repeat(0x10000)).repeat(64).into_bytes(),
    ]
    .concat();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{\"success\":true".to_vec();
    let utf16: Vec<u8> = LISTING.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let no_gzip = http("200 OK", "content-encoding: gzip\r\n", LISTING);
    let html = "<html><script>alert(1)</script>am_k_0123456789</html>";
    #[rustfmt::skip]
    let rows = vec![
        // what it shows      the answer                                                          code
        ("HTML",              http("200 OK", "content-type: text/html\r\n", html),                "upstream_malformed"),
        ("an HTML failure",   http("502 Bad Gateway", "content-type: text/html\r\n", html),       "upstream_unavailable"),
        ("an HTML refusal",   http("404 Not Found", "", html),                                    "not_found"),
        ("half of the JSON",  http("200 OK", "", &LISTING[..40]),                                 "upstream_malformed"),
        ("half of the bytes", cut,                                                                "upstream_unavailable"),
        ("another shape",     http("200 OK", "", r#"{"success":true,"data":[1,2]}"#),             "upstream_malformed"),
        ("a bad identifier",  http("200 OK", "", r#"{"id":"../../pay","name":"A"}"#),             "upstream_malformed"),
        ("a member twice",    http("200 OK", "", twice),                                          "upstream_malformed"),
        ("a depth bomb",      http("200 OK", "", deep),                                           "upstream_malformed"),
        ("success: false",    http("200 OK", "", r#"{"success":false,"error":{"code":"NO"}}"#),   "upstream_malformed"),
        ("nothing",           http("200 OK", "", ""),                                             "upstream_malformed"),
        ("no content",        http("204 No Content", "", ""),                                     "upstream_malformed"),
        ("UTF-16",            http("200 OK", "", utf16),                                          "upstream_malformed"),
        ("NaN",               http("200 OK", "", r#"{"id":"a","pricing_amount":NaN}"#),           "upstream_malformed"),
        ("too much",          http("200 OK", "", large),                                          "upstream_too_large"),
        ("no end",            endless,                                                            "upstream_too_large"),
        ("no gzip",           no_gzip,                                                            "upstream_unavailable"),
        ("no HTTP",           b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),                                "upstream_unavailable"),
        ("a key refused",     http("401 Unauthorized", "", ""),                                   "unauthorized"),
        ("not allowed",       http("403 Forbidden", "", ""),                                      "not_allowed"),
        ("gone",              http("410 Gone", "", ""),                                           "expired"),
        ("unprocessable",     http("422 Unprocessable", "", ""),                                  "upstream_rejected"),
    ];
    rows
}

#[tokio::test]
async fn an_unreadable_answer_is_said_to_be_one() {
    for (row, answer, code) in unreadable_answers() {
        let args = json!({ "listing_id": "lst_1" });
        let error = said("crochet_get_listing", args, answer).await.unwrap_err();
        assert_eq!(error["code"], code, "{row}: {error}");
        assert_eq!(error["money_moved"], "no", "{row}: {error}");
        let text = error.to_string();
        assert!(!text.contains("<html") && !text.contains("am_k_"), "{row}: {error}");
        assert!(text.len() < 2_000, "{row}");
    }
    let marked = http("200 OK", "", format!("\u{feff}{LISTING}"));
    let args = json!({ "listing_id": "lst_1" });
    assert_eq!(said("crochet_get_listing", args, marked).await.unwrap()["listing_id"], "lst_1");
}

/// A write whose answer is lost may have been carried out, and says so; a read may be repeated.
#[tokio::test]
async fn a_lost_answer_to_a_write_is_no_failure() {
    for answer in [http("502 Bad Gateway", "", "x"), http("200 OK", "", "<html>"), b"HT".to_vec()] {
        let args = json!({ "name": "ci" });
        let error = said("crochet_create_api_key", args, answer.clone()).await.unwrap_err();
        assert_eq!(error["repeat_safe"], false, "{error}");
        assert_eq!(error["recovery"]["next_action"], "check", "{error}");
        assert_eq!(error["money_moved"], "no");
        let error = said("crochet_get_profile", json!({}), answer).await.unwrap_err();
        assert_eq!(error["repeat_safe"], true, "{error}");
        assert_eq!(error["recovery"]["next_action"], "retry", "{error}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let target = Upstream::start(http("200 OK", "", LISTING)).await;
    for status in [301, 302, 303, 307, 308] {
        for (tool, args) in [
            ("crochet_get_listing", json!({ "listing_id": "lst_1" })),
            ("crochet_get_profile", json!({})),
            ("market_search", json!({ "marketplace": "crochet" })),
            ("crochet_create_api_key", json!({ "name": "ci" })),
        ] {
            let location = format!("location: {}/listings/lst_1\r\n", target.url);
            let error = said(tool, args, http(&format!("{status} Moved"), &location, "")).await;
            let error = error.unwrap_err();
            assert_eq!(error["code"], "egress_blocked", "{status} {tool}: {error}");
            assert_eq!(error["http_status"], status, "{tool}");
            assert!(!error.to_string().contains(&target.url), "{error}");
        }
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn waiting_times_are_clamped() {
    let hint = |seconds: &str| {
        format!(
            r#"{{"success":false,"error":{{"code":"RATE_LIMITED","message":"slow down",
            "recovery":{{"retryable":true,"retry_after_seconds":{seconds}}}}}}}"#
        )
    };
    #[rustfmt::skip]
    let rows = [
        // what it shows       header                                      body               seconds
        ("a number",           "retry-after: 120\r\n",                     String::new(),     120),
        ("zero",               "retry-after: 0\r\n",                       String::new(),     1),
        ("negative",           "retry-after: -1\r\n",                      String::new(),     5),
        ("very long",          "retry-after: 1000000000\r\n",              String::new(),     3600),
        ("beyond a number",    "retry-after: 99999999999999999999999\r\n", String::new(),     3600),
        ("a word",             "retry-after: soon\r\n",                    String::new(),     5),
        ("a date",             "retry-after: Wed, 21 Oct 2099 07:28:00 GMT\r\n", String::new(), 5),
        ("none",               "",                                         String::new(),     5),
        ("a hint",             "",                                         hint("30"),        30),
        ("a long hint",        "",                                         hint("1000000000"), 3600),
        ("a negative hint",    "",                                         hint("-1"),        5),
        ("a hint that is none", "",                                        hint("\"soon\""),  5),
    ];
    for (row, header, body, seconds) in rows {
        let answer = http("429 Too Many Requests", header, body);
        let args = json!({ "marketplace": "crochet" });
        let error = said("market_search", args, answer).await.unwrap_err();
        assert_eq!(error["code"], "rate_limited", "{row}: {error}");
        assert_eq!(error["recovery"]["retry_after_seconds"], seconds, "{row}: {error}");
    }
}

/// 512 MiB of zeros in half a megabyte of gzip.
fn bomb() -> Vec<u8> {
    let zeros = vec![0; 1024 * 1024];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let header = encoder.get_ref().len();
    encoder.write_all(&zeros).unwrap();
    encoder.flush().unwrap();
    let first = encoder.get_ref().len();
    encoder.write_all(&zeros).unwrap();
    encoder.flush().unwrap();
    let whole = encoder.get_ref().clone();
    assert_eq!(header, 0);
    // What a flush ends can be repeated: the zeros before it are all that it refers to.
    let (start, again) = whole.split_at(first);
    [start.to_vec(), again.repeat(511)].concat()
}

/// A bomb is given up early: the whole program stays small, and goes on.
#[tokio::test]
async fn a_gzip_bomb_does_not_go_off() {
    let packed = bomb();
    assert!(packed.len() < 2_000_000, "{}", packed.len());
    let upstream = Upstream::start(http("200 OK", "content-encoding: gzip\r\n", packed)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.env("CROCHET_API_URL", &upstream.url).env("CROCHET_API_KEY", "am_k_0123456789");
    command.args(["--marketplaces", "crochet", "serve", "--profile", "buy,account"]);
    let (mut program, _) = Program::ready(command, "2025-11-25").await;
    let peak_kib = |program: &Program| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = peak_kib(&program);
    for (tool, args) in [
        ("market_search", json!({ "marketplace": "crochet" })),
        ("crochet_get_listing", json!({ "listing_id": "lst_1" })),
        ("crochet_get_profile", json!({})),
        (
            "crochet_call_listing",
            json!({ "listing_id": "lst_1", "body": {}, "max_total_usd": "0" }),
        ),
    ] {
        let error = program.call(tool, args).await.unwrap_err();
        assert_eq!(error["code"], "upstream_too_large", "{tool}: {error}");
    }
    let grown_kib = peak_kib(&program) - before;
    assert!(grown_kib < 64 * 1024, "it grew by {grown_kib} KiB");
    assert!(program.end().await.status.success());
}
