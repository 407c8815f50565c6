//! CROO's event socket: what an agent is told, and how telling breaks.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, protocol::frame::coding::CloseCode},
};

use super::World;
use crate::sandbox::{
    croo::events::{NewEvent, emit},
    ledger,
};

/// Longer than any event needs.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to see that nothing comes.
const QUIET: Duration = Duration::from_millis(400);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl World {
    /// Tells the provider of a payment for this order.
    fn tell(&self, order_id: &str) {
        let event = NewEvent {
            kind: "order_paid",
            negotiation_id: "",
            order_id,
            requester: &self.info.croo.requester.agent_id,
            provider: self.provider(),
            service_id: "s1",
            status: "paid",
            reason: "",
            to: &[self.provider()],
        };
        self.inside().transact(|db, now| emit(db, now, &event)).unwrap();
    }

    async fn dial(&self, query: &str) -> Result<Socket, Error> {
        let url = format!("{}{query}", self.info.croo.ws_url);
        timeout(SOON, connect_async(url)).await.unwrap().map(|(socket, _)| socket)
    }

    /// The provider's socket.
    async fn listen(&self) -> Socket {
        self.dial(&format!("?key={}", self.info.croo.provider.sdk_key)).await.unwrap()
    }

    async fn break_socket(&self, how: &str) {
        self.fault(json!({ "marketplace": "socket", "action": { "socket": how } })).await;
    }
}

/// The next message that is no ping.
async fn message(socket: &mut Socket) -> Option<Result<Message, Error>> {
    loop {
        match timeout(SOON, socket.next()).await.expect("a message comes soon") {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return other,
        }
    }
}

/// The next frame, as it came.
async fn frame(socket: &mut Socket) -> Value {
    match message(socket).await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The order that the next event is about.
async fn order(socket: &mut Socket) -> String {
    let frame = frame(socket).await;
    let event = frame.get("data").unwrap_or(&frame);
    event["order_id"].as_str().unwrap().to_owned()
}

async fn orders(socket: &mut Socket, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(order(socket).await);
    }
    seen
}

async fn is_quiet(socket: &mut Socket) -> bool {
    timeout(QUIET, socket.next()).await.is_err()
}

/// Waits until the condition holds.
async fn becomes(condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "it never became so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_handshake_needs_a_key() {
    let world = World::start().await;
    let refused = |error: Error| match error {
        Error::Http(response) => {
            let body = response.body().clone().unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap();
            (response.status().as_u16(), body["reason"].as_str().unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    };
    let missing = refused(world.dial("").await.unwrap_err());
    assert_eq!(missing, (401, "SDK_KEY_MISSING".to_owned()));
    let wrong = refused(world.dial("?key=croo_sk_wrong").await.unwrap_err());
    assert_eq!(wrong, (401, "SDK_KEY_INVALID".to_owned()));
    // A request that is no handshake is no connection.
    let key = &world.info.croo.provider.sdk_key;
    let url = world.info.croo.ws_url.replace("ws://", "http://");
    let plain = world.send(world.http.get(format!("{url}?key={key}"))).await.unwrap();
    assert!(plain.status.is_client_error(), "{plain:?}");
    assert!(!world.inside().sockets.is_open(world.provider()));

    let all = world.admin("GET", "/requests", Value::Null).await.json;
    let of_socket: Vec<Value> = all["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["marketplace"], entry["method"], entry["path"], entry["query"]]))
        .collect();
    assert_eq!(
        of_socket,
        [
            json!(["socket", "GET", "/ws", ""]),
            json!(["socket", "GET", "/ws", "key=croo_sk_wrong"]),
            json!(["socket", "GET", "/ws", format!("key={key}")]),
        ]
    );
}

#[tokio::test]
async fn events_come_bare_and_wrapped_and_without_what_is_empty() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world.tell("o1");
    world.tell("o2");
    let bare = frame(&mut socket).await;
    let wrapped = frame(&mut socket).await;
    assert!(bare.get("data").is_none());
    let members: Vec<&String> = bare.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "id",
            "order_id",
            "provider_agent_id",
            "requester_agent_id",
            "service_id",
            "status",
            "timestamp",
            "type",
        ]
    );
    assert_eq!(bare["type"], "order_paid");
    assert_eq!(bare["timestamp"], "2026-09-21T14:13:20Z");
    assert_eq!(wrapped.as_object().unwrap().len(), 1);
    assert_eq!(wrapped["data"]["order_id"], "o2");
    assert_ne!(wrapped["data"]["id"], bare["id"]);
    assert!(is_quiet(&mut socket).await, "each comes once");
}

#[tokio::test]
async fn the_last_events_are_told_again_and_older_ones_never() {
    let world = World::start().await;
    for number in 1..=25 {
        world.tell(&format!("o{number}"));
    }
    let mut socket = world.listen().await;
    let expected: Vec<String> = (6..=25).map(|number| format!("o{number}")).collect();
    assert_eq!(orders(&mut socket, 20).await, expected);
    world.tell("o26");
    assert_eq!(order(&mut socket).await, "o26");
    assert!(is_quiet(&mut socket).await);

    // The admin knows all of them, in order, and nobody else was told.
    let path = format!("/events?agent_id={}", world.provider());
    let truth = world.admin("GET", &path, Value::Null).await.json;
    let events = truth["events"].as_array().unwrap();
    assert_eq!(events.len(), 26);
    assert_eq!(events[25]["order_id"], "o26");
    assert_eq!(events[25]["negotiation_id"], "");
    assert!(events.windows(2).all(|two| two[0]["seq"].as_i64() < two[1]["seq"].as_i64()));
    let path = format!("/events?agent_id={}", world.info.croo.requester.agent_id);
    assert_eq!(world.admin("GET", &path, Value::Null).await.json, json!({ "events": [] }));
    assert_eq!(world.admin("GET", "/events", Value::Null).await.status, 400);
}

#[tokio::test]
async fn who_is_both_sides_is_told_once() {
    let world = World::start().await;
    let agent = world.provider();
    let event = NewEvent {
        kind: "order_created",
        negotiation_id: "n1",
        order_id: "o1",
        requester: agent,
        provider: agent,
        service_id: "s1",
        status: "created",
        reason: "",
        to: &[agent, agent],
    };
    world.inside().transact(|db, now| emit(db, now, &event)).unwrap();
    let path = format!("/events?agent_id={agent}");
    let truth = world.admin("GET", &path, Value::Null).await.json;
    assert_eq!(truth["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_connection_is_closed_and_the_first_goes_on() {
    let world = World::start().await;
    let mut first = world.listen().await;
    let mut second = world.listen().await;
    match message(&mut second).await {
        Some(Ok(Message::Close(Some(frame)))) => {
            assert_eq!(frame.code, CloseCode::Policy);
            assert_eq!(frame.reason.as_str(), "key already has an active connection");
        }
        other => panic!("{other:?}"),
    }
    world.tell("o1");
    assert_eq!(order(&mut first).await, "o1");
    // Another agent has a key of its own.
    let other = format!("?key={}", world.info.croo.requester.sdk_key);
    let mut other = world.dial(&other).await.unwrap();
    assert!(is_quiet(&mut other).await);
}

#[tokio::test]
async fn an_agent_is_online_while_its_socket_is_open() {
    let world = World::start().await;
    let is_online = || world.inside().sockets.is_open(world.provider());
    assert!(!is_online());
    let mut socket = world.listen().await;
    assert!(is_online());
    // A farewell, then a connection that just ends: the key is free each time.
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = message(&mut socket).await {}
    assert!(!is_online());
    let socket = world.listen().await;
    assert!(is_online());
    drop(socket);
    let mut socket = world.listen().await;
    world.tell("o1");
    assert_eq!(order(&mut socket).await, "o1");
    drop(socket);
    becomes(|| !is_online()).await;
}

#[tokio::test]
async fn pings_are_answered() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    socket.send(Message::Ping("1".into())).await.unwrap();
    match timeout(SOON, socket.next()).await.unwrap() {
        Some(Ok(Message::Pong(bytes))) => assert_eq!(&bytes[..], b"1"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_due_happens_while_somebody_listens() {
    let world = World::start().await;
    let wallet = world.info.crochet.seller.wallet.clone();
    let raw = world.transfer(0, &wallet, 5);
    world.rpc("eth_sendRawTransaction", json!([raw])).await.unwrap();
    // Read past `World::transact`, which would let it happen itself.
    let count = || world.inside().store.transact(ledger::entries).unwrap().len();
    world.pass(1_000);
    tokio::time::sleep(QUIET).await;
    assert_eq!(count(), 0, "nobody listens, nobody asks");
    let _socket = world.listen().await;
    becomes(|| count() == 1).await;
}

#[tokio::test]
async fn an_order_comes_about_and_is_told_while_nobody_asks() {
    let world = World::start().await;
    let requester = &world.info.croo.requester;
    let mut socket = world.dial(&format!("?key={}", requester.sdk_key)).await.unwrap();
    let mut services = world.info.croo.services.iter();
    let service = services.find(|service| service.behaviour == "auto").unwrap();
    let requirements = match &service.input_example {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let body = json!({ "serviceId": service.id, "requirements": requirements });
    let url = format!("{}/backend/v1/orders/negotiate", world.info.croo.api_url);
    let request = world.http.post(url).header("X-SDK-Key", &requester.sdk_key).json(&body);
    let made = world.send(request).await.unwrap();
    assert_eq!(made.status, 200, "{made:?}");
    // The seller's step, then the chain's.
    world.pass(300);
    assert!(is_quiet(&mut socket).await, "the chain is not there yet");
    world.pass(300);
    let event = frame(&mut socket).await;
    assert_eq!(event["type"], "order_created");
    assert_eq!(event["negotiation_id"], made.json["negotiation"]["negotiationId"]);
}

#[tokio::test]
async fn kill_breaks_the_line_before_the_event() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world.break_socket("kill").await;
    world.tell("o1");
    match message(&mut socket).await {
        Some(Err(_)) | None => {}
        other => panic!("{other:?}"),
    }
    let mut socket = world.listen().await;
    assert_eq!(orders(&mut socket, 1).await, ["o1"]);
}

#[tokio::test]
async fn duplicate_sends_twice() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world.break_socket("duplicate").await;
    world.tell("o1");
    world.tell("o2");
    assert_eq!(orders(&mut socket, 3).await, ["o1", "o1", "o2"]);
    assert!(is_quiet(&mut socket).await);
}

#[tokio::test]
async fn reorder_lets_the_next_one_overtake() {
    let world = World::start().await;
    for number in 1..=4 {
        world.tell(&format!("o{number}"));
    }
    let fault = json!({ "marketplace": "socket", "skip": 1, "action": { "socket": "reorder" } });
    world.fault(fault).await;
    let mut socket = world.listen().await;
    assert_eq!(orders(&mut socket, 4).await, ["o1", "o3", "o2", "o4"]);
    // Where none follows, it comes all the same.
    world.break_socket("reorder").await;
    world.tell("o5");
    assert_eq!(order(&mut socket).await, "o5");
    assert!(is_quiet(&mut socket).await);
}

#[tokio::test]
async fn a_socket_can_be_refused_in_the_middle() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world.break_socket("1008").await;
    world.tell("o1");
    match message(&mut socket).await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Policy),
        other => panic!("{other:?}"),
    }
    let mut socket = world.listen().await;
    assert_eq!(order(&mut socket).await, "o1");
}

#[tokio::test]
async fn drop_never_sends() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world
        .fault(json!({ "marketplace": "*", "path": "order_paid", "action": { "socket": "drop" } }))
        .await;
    // Requests do not use it up.
    world.rpc("eth_chainId", json!([])).await.unwrap();
    world.tell("o1");
    world.tell("o2");
    assert_eq!(order(&mut socket).await, "o2");
}

#[tokio::test]
async fn stall_leaves_a_line_on_which_nothing_comes() {
    let world = World::start().await;
    let mut socket = world.listen().await;
    world.break_socket("stall").await;
    world.tell("o1");
    tokio::time::sleep(QUIET).await;
    socket.send(Message::Ping("1".into())).await.unwrap();
    world.tell("o2");
    assert!(is_quiet(&mut socket).await, "no event, no pong, no end");
    assert!(world.inside().sockets.is_open(world.provider()));
    drop(socket);
    let mut socket = world.listen().await;
    assert_eq!(orders(&mut socket, 2).await, ["o1", "o2"]);
}

#[tokio::test]
async fn a_handshake_meets_the_faults_of_requests() {
    let world = World::start().await;
    let key = format!("?key={}", world.info.croo.provider.sdk_key);
    // A fault of events waits for an event, though it is older.
    world.break_socket("drop").await;
    let fault = json!({ "marketplace": "socket", "path": "/ws", "action": "drop_before" });
    world.fault(fault).await;
    assert!(!matches!(world.dial(&key).await.unwrap_err(), Error::Http(_)));
    let fault = json!({ "marketplace": "socket", "path": "/ws", "action": { "status": 503 } });
    world.fault(fault).await;
    match world.dial(&key).await.unwrap_err() {
        Error::Http(response) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    let fault = json!({ "marketplace": "socket", "action": { "delay_ms": 300 } });
    world.fault(fault).await;
    let start = Instant::now();
    let mut socket = world.listen().await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    world.tell("o1");
    world.tell("o2");
    assert_eq!(order(&mut socket).await, "o2");
    drop(socket);
    // The answer to a handshake that was carried out can be lost; the key is free afterwards.
    let fault = json!({ "marketplace": "socket", "path": "/ws", "action": "drop_after" });
    world.fault(fault).await;
    assert!(world.dial(&key).await.is_err());
    becomes(|| !world.inside().sockets.is_open(world.provider())).await;
}

#[tokio::test]
async fn a_sandbox_that_stops_leaves_nobody_connected() {
    let mut world = World::start().await;
    let inside = Arc::clone(world.inside());
    let mut socket = world.listen().await;
    let provider = world.provider().to_owned();
    world.sandbox.take().unwrap().shutdown().await;
    match message(&mut socket).await {
        Some(Err(_)) | None => {}
        other => panic!("{other:?}"),
    }
    becomes(|| !inside.sockets.is_open(&provider)).await;
}
