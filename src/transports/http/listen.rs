//! The socket: connections up to a bound, each with a limit on how long it may take to say what it
//! wants, and an end that lets answers out which are on their way.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::metrics::Metrics;

/// How long a connection may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited where the system has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stopping` fires. What is returned ends the connections, each after the
/// answer that it is at.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    metrics: Arc<Metrics>,
    stopping: &CancellationToken,
) -> GracefulShutdown {
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
            .header_read_timeout(HEAD_TIMEOUT)
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
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
