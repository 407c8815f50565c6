//! MCP over standard input and output, with a filter in front.
//!
//! Invariants: a line that is no JSON-RPC message is answered with an error, never with silence, and
//! the next one is read; nothing but protocol lines goes to standard output; when the input closes or
//! the program is told to end, payments that are under way are waited for.

use std::{io, sync::Arc};

use futures::{Sink, Stream, StreamExt};
use rmcp::{
    RoleServer, ServiceExt,
    service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use super::{
    after_start,
    message::{self, INVALID_REQUEST},
    told_to_end,
};
use crate::{app::App, server::Server};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The output, and whether it is still read.
struct Output<W> {
    writer: Mutex<W>,
    gone: CancellationToken,
}

/// Serves until the input closes, the other side is gone, or the program is told to end.
///
/// # Errors
///
/// Where the transport fails before a client has said anything.
pub async fn serve(app: Arc<App>) -> io::Result<()> {
    let (read, write) = rmcp::transport::stdio_pipes();
    serve_on(app, read, write).await
}

/// As [`serve`], on any pair of streams.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_on<R, W>(app: Arc<App>, read: R, write: W) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let server = Server::new(app.clone());
    let ended = async {
        // Heard from the first moment on, and not only once a session is open.
        let mut told = std::pin::pin!(told_to_end());
        let begun = tokio::select! {
            biased;
            () = &mut told => return Ok(()),
            begun = server.serve(filtered(read, write)) => begun,
        };
        let running = match begun {
            Ok(running) => running,
            // The client closed its end before it opened a session.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        };
        let stop = running.cancellation_token();
        // The client has its answer: now there is time for what costs some.
        app.tasks().spawn(after_start(app.clone()));
        let mut waiting = std::pin::pin!(running.waiting());
        tokio::select! {
            _ = &mut waiting => {}
            () = &mut told => {
                stop.cancel();
                let _ = waiting.await;
            }
        }
        Ok(())
    };
    let ended = ended.await;
    app.shut_down().await;
    ended
}

/// The transport: messages in both directions, with what is no message answered on the way.
fn filtered<R, W>(
    read: R,
    write: W,
) -> (
    impl Sink<TxJsonRpcMessage<RoleServer>, Error = io::Error> + Send + Unpin,
    impl Stream<Item = RxJsonRpcMessage<RoleServer>> + Send + Unpin,
)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let output = Arc::new(Output { writer: Mutex::new(write), gone: CancellationToken::new() });
    let answers = output.clone();
    let sink =
        futures::sink::unfold(output, |output, message: TxJsonRpcMessage<RoleServer>| async move {
            // A sink that failed once may not be used again, and several answers may be on their
            // way: what cannot be written is dropped, and the input ends with it.
            let line = serde_json::to_vec(&message).map_err(io::Error::other);
            if let Err(error) = async { output.write_line(line?).await }.await {
                tracing::debug!(%error, "a message was not written");
            }
            Ok(output)
        });
    let reader = Reader { lines: BufReader::new(read), answers, begun: false };
    let stream = futures::stream::unfold(reader, |mut reader| async move {
        reader.next_message().await.map(|message| (message, reader))
    });
    (Box::pin(sink), stream.boxed())
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Writes a line. Where nobody reads it, nobody will ask either: the input ends as well.
    async fn write_line(&self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        let mut writer = self.writer.lock().await;
        let written = async {
            writer.write_all(&line).await?;
            writer.flush().await
        };
        written.await.inspect_err(|_| self.gone.cancel())
    }
}

struct Reader<R, W> {
    lines: BufReader<R>,
    answers: Arc<Output<W>>,
    begun: bool,
}

/// A line of the input.
enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Reader<R, W> {
    /// The next message; what is none is answered. `None` at the end of the input.
    async fn next_message(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let line = tokio::select! {
                line = read_line(&mut self.lines) => line,
                () = self.answers.gone.cancelled() => return None,
            };
            let refused = match line {
                Ok(Line::Whole(line)) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(Line::Whole(line)) => match message::read(&line) {
                    Ok(message) => {
                        let request = matches!(message, RxJsonRpcMessage::<RoleServer>::Request(_));
                        self.begun |= request;
                        // A notification before anything else has nobody to go to.
                        if self.begun {
                            return Some(message);
                        }
                        continue;
                    }
                    Err(refused) => refused,
                },
                Ok(Line::TooLong) => {
                    let message = format!("the line has more than {LINE_BYTES_MAX} bytes");
                    message::refusal(&Value::Null, INVALID_REQUEST, &message)
                }
                Ok(Line::End) | Err(_) => return None,
            };
            let line = refused.to_string().into_bytes();
            if self.answers.write_line(line).await.is_err() {
                return None;
            }
        }
    }
}

/// Reads up to a line's end; of what is too long, nothing is kept.
async fn read_line<R: AsyncBufRead + Unpin>(input: &mut R) -> io::Result<Line> {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(match (too_long, line.is_empty()) {
                (true, _) => Line::TooLong,
                (false, true) => Line::End,
                (false, false) => Line::Whole(line),
            });
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        if line.len() + part.len() > LINE_BYTES_MAX {
            too_long = true;
            line = Vec::new();
        }
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole(line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::SinkExt as _;
    use serde_json::json;

    use super::*;

    /// Several answers may be on their way when whoever reads them goes.
    #[tokio::test]
    async fn what_nobody_reads_is_dropped_and_ends_the_input() {
        let (theirs, ours) = tokio::io::duplex(64);
        let (_speaker, silence) = tokio::io::duplex(64);
        drop(theirs);
        let (mut sink, mut stream) = filtered(silence, ours);
        for id in 0..3 {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": {} });
            let answer: TxJsonRpcMessage<RoleServer> = serde_json::from_value(answer).unwrap();
            sink.send(answer).await.unwrap();
        }
        assert!(stream.next().await.is_none(), "it goes on without a reader");
    }
}
