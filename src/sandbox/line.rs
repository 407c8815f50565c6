//! Connections that can be cut: without an answer, without a farewell.
//!
//! A cut connection writes nothing more, so the client sees it break instead of an error status.
//! A stalled one is worse: it stays open, and what is written to it goes nowhere.

use std::{
    fmt,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts connections; cuts all of them when it is stopped.
#[derive(Debug)]
pub(crate) struct Loopback {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Loopback {
    /// Accepts from `listener` until `stop`.
    pub(crate) fn new(listener: TcpListener, stop: CancellationToken) -> Self {
        Self { listener, stop }
    }
}

impl Listener for Loopback {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let (socket, address) = Listener::accept(&mut self.listener).await;
        // A delayed small packet would only slow the tests.
        socket.set_nodelay(true).ok();
        let cut = self.stop.child_token();
        let cutting = Box::pin(cut.clone().cancelled_owned());
        (Stream { socket, line: Line { cut, is_stalled: Arc::default() }, cutting }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The knife for one connection.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    cut: CancellationToken,
    is_stalled: Arc<AtomicBool>,
}

impl Line {
    /// Cuts the connection: nothing more is read or written.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Lets everything that is written from now on get lost.
    pub(crate) fn stall(&self) {
        self.is_stalled.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Loopback>> for Line {
    fn connect_info(stream: IncomingStream<'_, Loopback>) -> Self {
        stream.io().line.clone()
    }
}

/// A connection.
pub(crate) struct Stream {
    socket: TcpStream,
    line: Line,
    cutting: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Stream {
    fn check(&self) -> io::Result<()> {
        if self.line.cut.is_cancelled() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cutting.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.line.is_stalled.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(buffer.len()));
        }
        Pin::new(&mut self.socket).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
