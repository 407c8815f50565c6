//! The socket: connections up to a bound, each with a limit on how long it may take to say what it
//! wants, and an end that lets answers out which are on their way.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::ConnectInfo,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::gate::Refused;
use crate::metrics::Metrics;

/// How long a connection may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited where the system has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// What connections are kept to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many there are at a time.
    connections_max: usize,
    /// How long one may take to send the head of a request.
    head_timeout: Duration,
}

impl Bounds {
    /// At most so many connections.
    pub(super) const fn of(connections_max: usize) -> Self {
        Self { connections_max, head_timeout: HEAD_TIMEOUT }
    }
}

/// Accepts connections until `stopping` fires. What is returned ends the connections, each after the
/// answer that it is at.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stopping: &CancellationToken,
) -> GracefulShutdown {
    let Bounds { connections_max, head_timeout } = bounds;
    let (slots, ending) = (Arc::new(Semaphore::new(connections_max)), GracefulShutdown::new());
    loop {
        // Without a slot none is accepted: the others wait in the system's own queue.
        let next = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|accepted| (slot, accepted))
        };
        let (slot, (stream, peer)) = tokio::select! {
            () = stopping.cancelled() => return ending,
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            answer(router.clone(), peer, request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let (watched, open) = (ending.watch(connection), metrics.connection());
        tokio::spawn(async move {
            let _held = (slot, open);
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// A body of at most so many bytes, once it is here; or the answer to one that is larger or slow.
pub(super) async fn whole(body: Body, most: usize, within: Duration) -> Result<Bytes, Response> {
    match tokio::time::timeout(within, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refused::Body(most).into_response()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::routing::get;
    use futures::stream;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::Instant,
    };

    use super::*;

    #[tokio::test]
    async fn a_body_has_bounds() {
        let long = Duration::from_mins(1);
        assert_eq!(whole(Body::from("four"), 4, long).await.unwrap(), "four");
        let large = whole(Body::from("five!"), 4, long).await.unwrap_err();
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
        // A byte now and then is no end.
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>("x"), ()))
        });
        let slow = whole(Body::from_stream(drops), 1024, Duration::from_millis(100)).await;
        assert_eq!(slow.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
    }

    /// Connections beyond the bound wait until one ends, and one that does not say what it wants is
    /// ended.
    #[tokio::test]
    async fn connections_have_bounds() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopping, head_timeout) = (CancellationToken::new(), Duration::from_millis(300));
        let (stop, bounds) = (stopping.clone(), Bounds { connections_max: 1, head_timeout });
        let router = Router::new().route("/", get(|| async { "here" }));
        let started = Instant::now();
        let serving =
            tokio::spawn(
                async move { accept(listener, router, bounds, Arc::default(), &stop).await },
            );
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        assert!(started.elapsed() >= head_timeout, "it did not wait for a place");
        stopping.cancel();
        serving.await.unwrap().shutdown().await;
    }
}
