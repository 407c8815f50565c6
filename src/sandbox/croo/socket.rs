//! CROO's event socket: `/ws?key=<sdk key>`.
//!
//! One connection a key; while it is open the agent counts as online. It is told its last events
//! again when it connects, then each event as it happens. What happened while nobody listened, and
//! is older than those, it is never told: a client has to ask. Every event that is about to be sent
//! may meet a fault.

use std::{
    collections::HashSet,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{
        ConnectInfo, Query, State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
        },
    },
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};

use crate::sandbox::{
    croo::{
        agents,
        events::{self, Event},
    },
    faults::{self, SocketFault},
    line::Line,
    world::World,
};

/// Where it is.
pub(crate) const PATH: &str = "/ws";
/// How many of its last events an agent is told again.
const REPLAYED: usize = 20;
/// How often a socket looks what has happened, and lets happen what is due.
const TICK: Duration = Duration::from_millis(50);
/// How often the server pings.
const PING: Duration = Duration::from_secs(30);
/// How long an event is held back when no other follows that could overtake it.
const HELD: Duration = Duration::from_millis(200);
/// How long a connection that is about to end may still hold its key when the next one comes.
const GRACE: Duration = Duration::from_millis(250);
/// How long the other side has to take a frame, or to answer a farewell.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most events that are read at once.
const BATCH: usize = 100;
/// The largest message that a client may send, in bytes. None means anything.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The close code of a connection that may not be.
const POLICY: u16 = 1008;
/// Why it may not be.
const TAKEN: &str = "key already has an active connection";

/// The agents who hold a socket.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<HashSet<String>>);

impl Sockets {
    /// Whether the agent holds one: whether it is online.
    pub(crate) fn is_open(&self, agent: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(agent)
    }
}

/// An agent's one place at the socket, free again when it is dropped.
struct Place {
    world: Arc<World>,
    agent: String,
}

impl Place {
    fn take(world: &Arc<World>, agent: &str) -> Option<Self> {
        let mut open = world.sockets.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = open.insert(agent.to_owned());
        is_free.then(|| Self { world: Arc::clone(world), agent: agent.to_owned() })
    }

    /// Takes the place as soon as an ending connection has left it.
    async fn take_soon(world: &Arc<World>, agent: &str) -> Option<Self> {
        let end = Instant::now() + GRACE;
        loop {
            let place = Self::take(world, agent);
            if place.is_some() || Instant::now() >= end {
                return place;
            }
            sleep(GRACE / 25).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.world.sockets.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.agent);
    }
}

/// The query of a connection.
#[derive(Deserialize)]
pub(crate) struct Keyed {
    #[serde(default)]
    key: String,
}

/// `GET /ws`
pub(crate) async fn open(
    State(world): State<Arc<World>>,
    ConnectInfo(line): ConnectInfo<Line>,
    Query(query): Query<Keyed>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let agent = match world.transact(|db, _| agents::of_key(db, Some(&query.key))) {
        Ok(agent) => agent.id,
        Err(error) => return error.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(MESSAGE_BYTES_MAX),
        Err(rejection) => return rejection.into_response(),
    };
    // Taken before the handshake is answered: who was told first that it is connected, is.
    let place = Place::take(&world, &agent);
    upgrade.on_upgrade(async move |mut socket| {
        let place = match place {
            Some(place) => Some(place),
            None => Place::take_soon(&world, &agent).await,
        };
        let end = match &place {
            Some(_) => Session::new(world, line, agent).run(&mut socket).await,
            None => End::Refused,
        };
        // A client that was told of the end may connect at once.
        drop(place);
        if end == End::Refused {
            let frame = CloseFrame { code: POLICY, reason: TAKEN.into() };
            socket.send(Message::Close(Some(frame))).await.ok();
        }
        if end != End::Cut {
            timeout(PATIENCE, async { while let Some(Ok(_)) = socket.recv().await {} }).await.ok();
        }
    })
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other side left, with or without a farewell.
    Left,
    /// It is broken off.
    Cut,
    /// It is closed with 1008.
    Refused,
}

/// A connection that is told events.
struct Session {
    world: Arc<World>,
    line: Line,
    agent: String,
    /// The last event that was looked at.
    seen: i64,
    /// How many frames were sent; the odd ones are wrapped.
    sent: u64,
    /// Events to be sent after the next one, and since when.
    held: Vec<Event>,
    held_since: Instant,
    is_stalled: bool,
}

impl Session {
    fn new(world: Arc<World>, line: Line, agent: String) -> Self {
        let held_since = Instant::now();
        Self {
            world,
            line,
            agent,
            seen: 0,
            sent: 0,
            held: Vec::new(),
            held_since,
            is_stalled: false,
        }
    }

    /// Tells events until the connection ends.
    async fn run(mut self, socket: &mut WebSocket) -> End {
        let first =
            self.world.transact(|db, _| events::place_before_last(db, &self.agent, REPLAYED));
        self.seen = match first {
            Ok(seq) => seq,
            Err(error) => return broken(&error),
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            let step = tokio::select! {
                received = socket.recv() => match received {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => ControlFlow::Break(End::Left),
                    Some(Ok(_)) => ControlFlow::Continue(()),
                },
                _ = ticks.tick() => self.tell(socket).await,
                _ = pings.tick() => send(socket, Message::Ping(Bytes::new())).await,
            };
            if let ControlFlow::Break(end) = step {
                return end;
            }
        }
    }

    /// Lets happen what is due, and sends what is new.
    async fn tell(&mut self, socket: &mut WebSocket) -> ControlFlow<End> {
        let due = self.world.transact(|db, _| events::after(db, &self.agent, self.seen, BATCH));
        let due = match due {
            // What is due happened all the same.
            Ok(_) if self.is_stalled => return ControlFlow::Continue(()),
            Ok(due) => due,
            Err(error) => return ControlFlow::Break(broken(&error)),
        };
        for event in due {
            self.seen = event.seq;
            let fault = match faults::take_on_event(&self.world, &event.kind) {
                Ok(fault) => fault,
                Err(error) => return ControlFlow::Break(broken(&error)),
            };
            match fault {
                None => self.send(socket, &event, 1).await?,
                Some(SocketFault::Duplicate) => self.send(socket, &event, 2).await?,
                Some(SocketFault::Drop) => {}
                Some(SocketFault::Reorder) => {
                    self.held.push(event);
                    self.held_since = Instant::now();
                }
                Some(SocketFault::Refuse) => return ControlFlow::Break(End::Refused),
                Some(SocketFault::Kill) => {
                    self.line.cut();
                    return ControlFlow::Break(End::Cut);
                }
                Some(SocketFault::Stall) => {
                    self.line.stall();
                    self.is_stalled = true;
                    return ControlFlow::Continue(());
                }
            }
        }
        if self.held_since.elapsed() < HELD {
            return ControlFlow::Continue(());
        }
        self.release(socket).await
    }

    /// Sends an event so many times, and after it what was held back for it.
    async fn send(
        &mut self,
        socket: &mut WebSocket,
        event: &Event,
        times: u32,
    ) -> ControlFlow<End> {
        for _ in 0..times {
            self.frame(socket, event).await?;
        }
        self.release(socket).await
    }

    /// Sends what was held back: each after the one that it was to follow.
    async fn release(&mut self, socket: &mut WebSocket) -> ControlFlow<End> {
        while let Some(event) = self.held.pop() {
            self.frame(socket, &event).await?;
        }
        ControlFlow::Continue(())
    }

    /// Sends one frame. Both forms are in use, so a client meets both.
    async fn frame(&mut self, socket: &mut WebSocket, event: &Event) -> ControlFlow<End> {
        let is_bare = self.sent.is_multiple_of(2);
        self.sent += 1;
        let wire = if is_bare { event.wire() } else { json!({ "data": event.wire() }) };
        send(socket, Message::Text(wire.to_string().into())).await
    }
}

/// Sends a message. A client that does not take it in time has left.
async fn send(socket: &mut WebSocket, message: Message) -> ControlFlow<End> {
    match timeout(PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => ControlFlow::Continue(()),
        Ok(Err(_)) | Err(_) => ControlFlow::Break(End::Cut),
    }
}

fn broken(error: &rusqlite::Error) -> End {
    tracing::error!(%error, "the sandbox's store failed");
    End::Cut
}
