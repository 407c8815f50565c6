//! A WebSocket that reconnects, with a bound on everything.
//!
//! Invariants: the address is never logged, since its query has a key; what was refused (401, 403) is
//! not asked for again; close code 1008 is told to the caller and not fought; every other end leads to
//! another attempt, later each time until a message arrives.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Bytes, Error, Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

/// The largest message that is read.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest frame that is read.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// How long the other side has to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(1);
/// Beyond this many failures in a row the delay no longer doubles.
const DOUBLINGS_MAX: u32 = 16;

/// How long a socket waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a connection, its handshake included, and for a ping to leave.
    pub connect: Duration,
    /// Between two pings.
    pub ping: Duration,
    /// For a frame of any kind, before the connection counts as dead.
    pub silence: Duration,
    /// Before the first new attempt; each further one waits twice as long.
    pub delay: Duration,
    /// Before any attempt.
    pub delay_max: Duration,
    /// Until a connection that stays open counts as accepted.
    pub settle: Duration,
}

/// Source: protocols/croo.md §8.2, §8.3.
impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            silence: Duration::from_mins(1),
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(30),
            settle: Duration::from_secs(3),
        }
    }
}

/// Who a socket is listened to for.
pub trait Listener: Send {
    /// Where to connect; asked before every attempt. `None`: it is not known at this moment.
    fn address(&mut self) -> impl Future<Output = Option<SecretString>> + Send;
    /// The connection is open. The other side may still close it for good.
    fn opened(&mut self) -> impl Future<Output = ()> + Send;
    /// The connection is accepted: it stayed open for a while, or a message came.
    fn accepted(&mut self) -> impl Future<Output = ()> + Send;
    /// A message came.
    fn message(&mut self, message: &[u8]) -> impl Future<Output = ()> + Send;
    /// The connection, or the attempt, is over and there will be another.
    fn lost(&mut self, why: Lost) -> impl Future<Output = ()> + Send;
}

/// Why a connection, or an attempt at one, is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There was no address to connect to.
    Address,
    /// It could not be made.
    Unreachable,
    /// It broke off, or more came than is read.
    Broken,
    /// The other side said nothing for too long.
    Silent,
    /// The other side closed it.
    Closed,
}

impl Lost {
    /// It in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Address => "there is no address to connect to",
            Self::Unreachable => "it cannot be reached",
            Self::Broken => "the connection broke off",
            Self::Silent => "the other side is silent",
            Self::Closed => "the other side closed the connection",
        }
    }
}

/// Why a socket is listened to no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The caller wants it so.
    Stopped,
    /// The handshake was answered with this status, 401 or 403.
    Refused(u16),
    /// Closed with 1008; whether the connection had been accepted before.
    Policy(bool),
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How one connection ended.
enum Over {
    End(End),
    Lost(Lost),
}

/// Listens until there is an end to it.
pub async fn listen<L: Listener>(listener: &mut L, times: &Times, stop: &CancellationToken) -> End {
    let mut failures = 0;
    loop {
        let over = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            dialled = dial(listener, times) => match dialled {
                Ok(mut socket) => {
                    listener.opened().await;
                    hear(&mut socket, listener, times, stop, &mut failures).await
                }
                Err(over) => over,
            },
        };
        match over {
            Over::End(end) => return end,
            Over::Lost(why) => listener.lost(why).await,
        }
        tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            () = tokio::time::sleep(delay(times, failures, drawn())) => {}
        }
        failures += 1;
    }
}

/// One attempt.
async fn dial<L: Listener>(listener: &mut L, times: &Times) -> Result<Socket, Over> {
    let address = listener.address().await.ok_or(Over::Lost(Lost::Address))?;
    // The provider is the process's; a second installation is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = connect_async_with_config(address.expose_secret(), Some(limits), true);
    match timeout(times.connect, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) if matches!(answer.status().as_u16(), 401 | 403) => {
            Err(Over::End(End::Refused(answer.status().as_u16())))
        }
        // The error's own text may hold the address.
        Ok(Err(_)) | Err(_) => Err(Over::Lost(Lost::Unreachable)),
    }
}

/// One connection, from its opening to its end.
async fn hear<L: Listener>(
    socket: &mut Socket,
    listener: &mut L,
    times: &Times,
    stop: &CancellationToken,
    failures: &mut u32,
) -> Over {
    let opened = Instant::now();
    let mut pings = interval_at(opened + times.ping, times.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut accepted) = (opened, false);
    loop {
        tokio::select! {
            // What has arrived is heard before anything is called silent.
            biased;
            () = stop.cancelled() => {
                leave(socket).await;
                return Over::End(End::Stopped);
            }
            frame = socket.next() => {
                let message = match frame {
                    Some(Ok(Message::Text(text))) => Some(Bytes::from(text)),
                    Some(Ok(Message::Binary(bytes))) => Some(bytes),
                    Some(Ok(Message::Close(frame))) => {
                        // Lets the answer to the farewell out.
                        let _ = timeout(FAREWELL, socket.next()).await;
                        let refused = frame.is_some_and(|frame| frame.code == CloseCode::Policy);
                        let end = Over::End(End::Policy(accepted));
                        return if refused { end } else { Over::Lost(Lost::Closed) };
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
                    Some(Err(_)) | None => return Over::Lost(Lost::Broken),
                };
                if let Some(message) = message {
                    if !accepted {
                        accepted = true;
                        listener.accepted().await;
                    }
                    listener.message(&message).await;
                    *failures = 0;
                }
                heard = Instant::now();
            }
            () = sleep_until(opened + times.settle), if !accepted => {
                accepted = true;
                listener.accepted().await;
            }
            _ = pings.tick() => {
                let ping = socket.send(Message::Ping(Bytes::new()));
                if !matches!(timeout(times.connect, ping).await, Ok(Ok(()))) {
                    return Over::Lost(Lost::Broken);
                }
            }
            () = sleep_until(heard + times.silence) => return Over::Lost(Lost::Silent),
        }
    }
}

/// Closes with 1000, and waits a moment for the answer.
async fn leave(socket: &mut Socket) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "normal closure".into() };
    let farewell = async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// How long to wait after so many failures in a row: the doubled delay, less up to half of it, so
/// that many clients do not come back at once.
fn delay(times: &Times, failures: u32, random: u64) -> Duration {
    let doubled = times.delay.saturating_mul(1 << failures.min(DOUBLINGS_MAX));
    let most = doubled.min(times.delay_max);
    let half = u64::try_from(most.as_micros() / 2).unwrap_or(u64::MAX);
    most.saturating_sub(Duration::from_micros(random % half.saturating_add(1)))
}

/// Without random numbers the wait is the whole one, which no client minds.
fn drawn() -> u64 {
    getrandom::u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_and_never_less_than_half() {
        let times = Times::default();
        for (failures, seconds) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (99, 30)] {
            let most = Duration::from_secs(seconds);
            assert_eq!(delay(&times, failures, 0), most, "{failures}");
            for random in [1, 77_777, u64::MAX / 3, u64::MAX] {
                let drawn = delay(&times, failures, random);
                assert!(drawn <= most && drawn >= most / 2, "{failures}: {drawn:?}");
            }
        }
    }
}
