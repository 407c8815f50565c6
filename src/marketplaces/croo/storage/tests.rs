//! Hostile links, names that lead elsewhere, files that change, and answers that break off.

use std::{
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::files::{FileName, Folder};

/// Answers every name with these addresses, and counts how often it was asked.
#[derive(Default)]
struct Told(Vec<IpAddr>, AtomicUsize);

impl Told {
    fn of(addresses: &[&str]) -> Self {
        Self(addresses.iter().map(|text| text.parse().unwrap()).collect(), AtomicUsize::new(0))
    }
}

impl Names for Told {
    fn look_up(&self, _: String, port: u16) -> BoxFuture<'_, Result<Vec<SocketAddr>, Error>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let found = self.0.iter().map(|address| (*address, port).into()).collect();
        Box::pin(ready(Ok(found)))
    }
}

/// A server on this machine that gives each connection the same answer, and keeps what it was sent.
struct Served {
    port: u16,
    connections: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<u8>>>,
}

async fn served(answer: &'static [u8]) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connections, received) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let served = Served { port, connections: connections.clone(), received: Arc::clone(&received) };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answered(stream, answer, received.clone()));
        }
    });
    served
}

/// Reads a whole request, then answers and hangs up.
async fn answered(mut stream: TcpStream, answer: &[u8], received: Arc<Mutex<Vec<u8>>>) {
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part).await.unwrap_or(0);
        all.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let head = text.find("\r\n\r\n");
        let length = text
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        if read == 0 || head.is_some_and(|head| all.len() >= head + 4 + length) {
            break;
        }
    }
    received.lock().unwrap().extend_from_slice(&all);
    let _ = stream.write_all(answer).await;
}

fn staged() -> (tempfile::TempDir, Staged) {
    let folder = tempfile::tempdir().unwrap();
    let staged = Folder::open(folder.path()).unwrap().stage().unwrap();
    (folder, staged)
}

/// A file of `bytes`, opened.
fn opened(bytes: &[u8]) -> (tempfile::TempDir, Opened) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), bytes).unwrap();
    let name: FileName = "a.txt".parse().unwrap();
    let opened = Folder::open(folder.path()).unwrap().read(&name).unwrap();
    (folder, opened)
}

#[test]
fn f8_a_link_leads_only_where_it_may() {
    let long = format!("https://s.example/{}", "a".repeat(URL_BYTES_MAX));
    #[rustfmt::skip]
    let rows = [
        // the link                                          public  sandbox
        ("https://bucket.s3.example/k?X-Amz-Signature=1",    true,   true),
        ("https://8.8.8.8/k",                                true,   false),
        ("https://s.example:9000/k",                         true,   true),
        ("http://s.example/k",                               false,  true),
        ("http://127.0.0.1:1/k",                             false,  true),
        ("http://localhost:1/k",                             false,  true),
        ("https://127.0.0.1/k",                              false,  true),
        ("https://[::1]/k",                                  false,  true),
        ("https://[::ffff:127.0.0.1]/k",                     false,  true),
        ("https://[::ffff:7f00:1]/k",                        false,  true),
        ("https://2130706433/k",                             false,  true),
        ("https://0x7f000001/k",                             false,  true),
        ("https://0177.0.0.1/k",                             false,  true),
        ("https://127.1/k",                                  false,  true),
        ("https://127.0.0.1./k",                             false,  true),
        ("https://①②⑦.⓪.⓪.①/k",                             false,  true),
        ("https://[::127.0.0.1]/k",                          false,  false),
        ("https://[64:ff9b::7f00:1]/k",                      false,  false),
        ("https://[2002:7f00:1::]/k",                        false,  false),
        ("https://[fe80::1]/k",                              false,  false),
        ("https://[fd00:ec2::254]/k",                        false,  false),
        ("https://0/k",                                      false,  false),
        ("https://0.0.0.0/k",                                false,  false),
        ("https://[::]/k",                                   false,  false),
        ("https://10.0.0.1/k",                               false,  false),
        ("https://172.16.0.1/k",                             false,  false),
        ("https://192.168.1.1/k",                            false,  false),
        ("https://169.254.169.254/latest/meta-data",         false,  false),
        ("https://0xa9fea9fe/k",                             false,  false),
        ("https://2852039166/k",                             false,  false),
        ("https://100.64.0.1/k",                             false,  false),
        ("https://198.18.0.1/k",                             false,  false),
        ("https://224.0.0.1/k",                              false,  false),
        ("https://255.255.255.255/k",                        false,  false),
        ("https://user@s.example/k",                         false,  false),
        ("https://user:word@s.example/k",                    false,  false),
        ("https://s.example@127.0.0.1/k",                    false,  false),
        ("https://:word@s.example/k",                        false,  false),
        ("ftp://s.example/k",                                false,  false),
        ("file:///etc/passwd",                               false,  false),
        ("data:text/plain,a",                                false,  false),
        ("javascript:alert(1)",                              false,  false),
        ("gopher://127.0.0.1:6379/_FLUSHALL",                false,  false),
        ("ws://127.0.0.1/k",                                 false,  false),
        ("unix:/run/x.sock",                                 false,  false),
        ("//s.example/k",                                    false,  false),
        ("/k",                                               false,  false),
        ("s.example/k",                                      false,  false),
        ("https://",                                         false,  false),
        ("https:///k",                                       true,   true),
        ("https://s.ex ample/k",                             false,  false),
        ("https://s.example:99999/k",                        false,  false),
        ("",                                                 false,  false),
        (long.as_str(),                                      false,  false),
    ];
    for (link, public, sandbox) in rows {
        for (reach, accepted) in [(Reach::Public, public), (Reach::Loopback, sandbox)] {
            let read = Link::read(link, reach);
            assert_eq!(read.is_ok(), accepted, "{link} {reach:?}: {read:?}");
            if let Err(error) = read {
                assert!(error.is(Code::EgressBlocked), "{link}");
                assert!(!error.to_string().contains("example"), "{link}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn f8_a_name_that_leads_inside_is_not_followed() {
    let sink = served(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    #[rustfmt::skip]
    let rows: [&[&str]; 8] = [
        &["127.0.0.1"], &["10.1.2.3"], &["169.254.169.254"], &["::1"], &["fd00::1"],
        &["::ffff:127.0.0.1"],
        // One inside among strangers is a trap, wherever it stands.
        &["8.8.8.8", "127.0.0.1"], &["127.0.0.1", "8.8.8.8"],
    ];
    let link = format!("https://s.example:{}/k?token=hidden", sink.port);
    for addresses in rows {
        let link = Link::read(&link, Reach::Public).unwrap();
        let names = Told::of(addresses);
        let (_folder, staged) = staged();
        let refused = get(&link, &names, staged).await.unwrap_err();
        assert!(refused.is(Code::EgressBlocked), "{addresses:?}: {refused}");
        let (_folder, file) = opened(b"bytes");
        let refused = put(&link, &names, file, "text/plain").await.unwrap_err();
        assert!(refused.is(Code::EgressBlocked), "{addresses:?}: {refused}");
        assert!(!refused.to_json().to_string().contains("hidden"));
    }
    // In the sandbox nothing beyond this machine is reached.
    let link = Link::read("https://s.example/k", Reach::Loopback).unwrap();
    let (_folder, staged) = staged();
    let refused = get(&link, &Told::of(&["8.8.8.8"]), staged).await.unwrap_err();
    assert!(refused.is(Code::EgressBlocked), "{refused}");
    let nowhere = Link::read("https://s.example/k", Reach::Public).unwrap();
    let (_folder, file) = opened(b"bytes");
    let refused = put(&nowhere, &Told::default(), file, "text/plain").await.unwrap_err();
    assert!(refused.is(Code::UpstreamUnavailable), "{refused}");
    assert_eq!(sink.connections.load(Ordering::SeqCst), 0, "nothing was reached");
}

#[tokio::test]
async fn the_connection_goes_to_what_was_looked_up_once() {
    let server =
        served(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/csv\r\n\r\nbytes")
            .await;
    // Nobody but the names that were told knows this host.
    for host in ["storage.invalid", "storage.invalid."] {
        let link = format!("http://{host}:{}/k?token=t", server.port);
        let link = Link::read(&link, Reach::Loopback).unwrap();
        let names = Told::of(&["127.0.0.1"]);
        let (_folder, staged) = staged();
        let taken = get(&link, &names, staged).await.unwrap();
        assert_eq!((taken.bytes, taken.content_type.as_deref()), (5, Some("text/csv")));
        assert_eq!(taken.sha256, hex::encode(Sha256::digest(b"bytes")));
        assert_eq!(names.1.load(Ordering::SeqCst), 1, "it was looked up once");
    }
}

#[tokio::test]
async fn as_many_bytes_are_sent_as_the_file_had() {
    let server = served(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let link = format!("http://127.0.0.1:{}/k?token=t", server.port);
    let link = Link::read(&link, Reach::Loopback).unwrap();
    // It grew after it was opened.
    let (folder, file) = opened(b"first");
    let mut more =
        std::fs::OpenOptions::new().append(true).open(folder.path().join("a.txt")).unwrap();
    more.write_all(b" and a secret").unwrap();
    let sent = put(&link, &SystemNames, file, "text/plain").await.unwrap();
    assert_eq!((sent.bytes, sent.sha256), (5, hex::encode(Sha256::digest(b"first"))));
    let received =
        String::from_utf8(std::mem::take(&mut *server.received.lock().unwrap())).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "first");
    let head = head.to_lowercase();
    assert!(head.starts_with("put /k?token=t http/1.1"), "{head}");
    assert!(head.contains("content-length: 5") && head.contains("content-type: text/plain"));
    assert!(!head.contains("x-sdk-key") && !head.contains("transfer-encoding"), "{head}");

    // It shrank.
    let (folder, file) = opened(&vec![7; 100_000]);
    let shorter =
        std::fs::OpenOptions::new().write(true).open(folder.path().join("a.txt")).unwrap();
    shorter.set_len(10).unwrap();
    let refused = put(&link, &SystemNames, file, "text/plain").await.unwrap_err();
    assert!(refused.is(Code::InvalidArgument), "{refused}");
    assert_eq!(refused.field.as_deref(), Some("file_name"));

    // Nothing at all can be sent, too.
    let (_folder, file) = opened(b"");
    assert_eq!(put(&link, &SystemNames, file, "text/plain").await.unwrap().bytes, 0);
}

#[tokio::test]
async fn what_a_storage_answers_is_told_in_our_words() {
    #[rustfmt::skip]
    let rows: [(&'static [u8], Code); 11] = [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nHOSTIL",    Code::LinkExpired),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n",               Code::LinkExpired),
        (b"HTTP/1.1 404 HOSTIL\r\ncontent-length: 0\r\n\r\n",             Code::NotFound),
        (b"HTTP/1.1 400 HOSTIL\r\ncontent-length: 0\r\n\r\n",             Code::UpstreamRejected),
        (b"HTTP/1.1 503 HOSTIL\r\ncontent-length: 0\r\n\r\n",             Code::UpstreamUnavailable),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/HOSTIL\r\ncontent-length: 0\r\n\r\n", Code::EgressBlocked),
        (b"HTTP/1.1 307 Found\r\nlocation: /HOSTIL\r\ncontent-length: 0\r\n\r\n", Code::EgressBlocked),
        (b"HTTP/1.1 206 Partial\r\ncontent-length: 1\r\n\r\na",           Code::UpstreamUnavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nHOSTIL",          Code::UpstreamUnavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nHOSTIL",    Code::UpstreamTooLarge),
        (b"HOSTIL",                                                       Code::UpstreamUnavailable),
    ];
    for (answer, code) in rows {
        let server = served(answer).await;
        let link = format!("http://127.0.0.1:{}/k?token=hidden", server.port);
        let link = Link::read(&link, Reach::Loopback).unwrap();
        let (folder, staged) = staged();
        let error = get(&link, &SystemNames, staged).await.unwrap_err();
        let shown = error.to_json().to_string();
        assert!(error.is(code), "{}: {shown}", String::from_utf8_lossy(answer));
        assert!(!shown.contains("HOSTIL") && !shown.contains("hidden"), "{shown}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was kept");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "nothing was followed");
    }
}

#[tokio::test]
async fn an_endless_file_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut chunk = b"100000\r\n".to_vec();
        chunk.extend_from_slice(&vec![0; 0x0010_0000]);
        chunk.extend_from_slice(b"\r\n");
        while stream.write_all(&chunk).await.is_ok() {}
    });
    let link = Link::read(&format!("http://127.0.0.1:{port}/k"), Reach::Loopback).unwrap();
    let (folder, staged) = staged();
    let error = get(&link, &SystemNames, staged).await.unwrap_err();
    assert!(error.is(Code::UpstreamTooLarge), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was kept");
}

#[test]
fn knows_a_content_type() {
    #[rustfmt::skip]
    let rows = [
        ("text/csv", true),            ("text/plain; charset=utf-8", true), ("image/svg+xml", true),
        ("", false),                   ("text", false),                     ("text/", false),
        ("/csv", false),               ("text/csv\r\nX-Evil: 1", false),    ("text/csv; x", false),
        ("text/a b", false),           ("text/csv, text/plain", false),     ("tëxt/csv", false),
    ];
    for (text, expected) in rows {
        assert_eq!(is_content_type(text), expected, "{text}");
    }
    assert!(!is_content_type(&format!("text/{}", "a".repeat(CONTENT_TYPE_BYTES_MAX))));
}
