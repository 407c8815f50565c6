//! HTTP with server-sent events, the transport of 2024-11-05, which older clients still open: a stream
//! at `/sse` names the address to which the client posts its messages. The stream is the session.
//!
//! Invariant: an answer that is not read counts as a request in flight, so that who does not read
//! cannot have more and more kept for them.

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{SinkExt as _, StreamExt as _, stream};
use rmcp::{
    RoleServer, ServerHandler, ServiceExt as _,
    model::{ClientNotification, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use serde_json::json;
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio_util::sync::CancellationToken;

use super::tenant::bad_request;
use crate::{
    answering::Answering,
    spend::random,
    transports::message::{INVALID_REQUEST, refusal},
};

/// How many messages wait in either direction.
const CHANNEL: usize = 32;
/// How long a message waits for room: a client that reads nothing is answered nothing.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An open session: where its messages go, and the requests whose answers have not been read.
#[derive(Clone)]
struct Open {
    inbound: mpsc::Sender<RxJsonRpcMessage<RoleServer>>,
    unread: Unread,
}

type Unread = Arc<Mutex<HashMap<RequestId, Answering>>>;
type Sessions = Arc<Mutex<HashMap<String, Open>>>;

/// The sessions of a client.
pub(super) struct Legacy<H> {
    handler: Arc<dyn Fn() -> H + Send + Sync>,
    open: Sessions,
    ended: CancellationToken,
}

impl<H> fmt::Debug for Legacy<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Legacy").finish_non_exhaustive()
    }
}

impl<H: ServerHandler> Legacy<H> {
    pub(super) fn new(handler: Arc<dyn Fn() -> H + Send + Sync>, ended: CancellationToken) -> Self {
        Self { handler, open: Arc::default(), ended }
    }

    /// How many there are.
    pub(super) fn sessions(&self) -> usize {
        lock(&self.open).len()
    }

    /// Opens a session, which ends with the stream that is returned.
    pub(super) fn open(&self) -> Response {
        let Ok(id) = random().map(hex::encode) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let (to_server, inbound) = mpsc::channel(CHANNEL);
        let (to_client, outbound) = mpsc::channel::<TxJsonRpcMessage<RoleServer>>(CHANNEL);
        let unread = Unread::default();
        let open = Open { inbound: to_server, unread: unread.clone() };
        lock(&self.open).insert(id.clone(), open);
        let ended = self.ended.child_token();
        let session = Session {
            id: id.clone(),
            open: self.open.clone(),
            unread,
            _ends: ended.clone().drop_guard(),
        };
        let handler = (self.handler)();
        tokio::spawn(async move {
            let inbound = stream::unfold(inbound, |mut inbound| async move {
                inbound.recv().await.map(|message| (message, inbound))
            });
            let outbound = tokio_util::sync::PollSender::new(to_client)
                .sink_map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe));
            match handler.serve_with_ct((outbound, Box::pin(inbound)), ended).await {
                Ok(running) => drop(running.waiting().await),
                Err(error) => tracing::debug!(%error, "a session did not begin"),
            }
        });
        let address = format!("/messages?sessionId={id}");
        let first = Event::default().event("endpoint").data(address);
        let messages = stream::unfold((outbound, session), |(mut outbound, session)| async move {
            let message = outbound.recv().await?;
            if let Some(id) = answered(&message) {
                lock(&session.unread).remove(id);
            }
            let event = Event::default().event("message").json_data(&message).unwrap_or_default();
            Some((event, (outbound, session)))
        });
        let events = stream::iter([first]).chain(messages).map(Ok::<_, Infallible>);
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }

    /// Hands a message to its session.
    pub(super) async fn accept(
        &self,
        session: &str,
        message: RxJsonRpcMessage<RoleServer>,
        answering: Option<Answering>,
    ) -> Response {
        let Some(open) = lock(&self.open).get(session).cloned() else {
            return (StatusCode::NOT_FOUND, "there is no such session").into_response();
        };
        let mut unsent = Unsent { unread: &open.unread, id: None };
        if let Some((id, answering)) = asked(&message).cloned().zip(answering) {
            match lock(&open.unread).entry(id.clone()) {
                Entry::Vacant(free) => drop(free.insert(answering)),
                // Two answers by one name could not be told apart.
                Entry::Occupied(_) => {
                    let words = "a request with this id has no answer yet";
                    return bad_request(&refusal(&json!(id), INVALID_REQUEST, words));
                }
            }
            unsent.id = Some(id);
        }
        if let Some(given_up) = given_up(&message) {
            lock(&open.unread).remove(given_up);
        }
        match open.inbound.send_timeout(message, ROOM_TIMEOUT).await {
            Ok(()) => {
                unsent.id = None;
                StatusCode::ACCEPTED.into_response()
            }
            Err(SendTimeoutError::Timeout(_)) => {
                let words = "the session is busy: its stream is not being read";
                (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
            }
            Err(SendTimeoutError::Closed(_)) => {
                (StatusCode::NOT_FOUND, "the session has ended").into_response()
            }
        }
    }
}

/// A request that has not been handed over: unless it is, there will be no answer to it.
struct Unsent<'a> {
    unread: &'a Unread,
    id: Option<RequestId>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            lock(self.unread).remove(id);
        }
    }
}

/// The request that a message is.
fn asked(message: &RxJsonRpcMessage<RoleServer>) -> Option<&RequestId> {
    match message {
        RxJsonRpcMessage::<RoleServer>::Request(request) => Some(&request.id),
        _ => None,
    }
}

/// The request that a message gives up: it need not be answered.
fn given_up(message: &RxJsonRpcMessage<RoleServer>) -> Option<&RequestId> {
    match message {
        RxJsonRpcMessage::<RoleServer>::Notification(told) => match &told.notification {
            ClientNotification::CancelledNotification(cancelled) => {
                cancelled.params.request_id.as_ref()
            }
            _ => None,
        },
        _ => None,
    }
}

/// The request that a message answers.
fn answered(message: &TxJsonRpcMessage<RoleServer>) -> Option<&RequestId> {
    match message {
        TxJsonRpcMessage::<RoleServer>::Response(response) => Some(&response.id),
        TxJsonRpcMessage::<RoleServer>::Error(error) => error.id.as_ref(),
        _ => None,
    }
}

/// A session, for as long as its stream is read.
struct Session {
    id: String,
    open: Sessions,
    unread: Unread,
    _ends: tokio_util::sync::DropGuard,
}

impl Drop for Session {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What its session does not take, or takes from who has gone, is not waited for.
    #[test]
    fn what_is_not_handed_over_is_not_counted() {
        let unread = Unread::default();
        for (handed_over, counted) in [(false, 0), (true, 1)] {
            lock(&unread).insert(RequestId::Number(1), Answering::holding(()));
            let mut unsent = Unsent { unread: &unread, id: Some(RequestId::Number(1)) };
            if handed_over {
                unsent.id = None;
            }
            drop(unsent);
            assert_eq!(lock(&unread).len(), counted, "handed over: {handed_over}");
        }
    }
}
