//! The courier: sends what is due to the subscriptions, beside all requests.
//!
//! As long as somebody has an active subscription it lets the world catch up by itself, so that a
//! webhook comes when its time is there and not when somebody looks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{
    paegents::hooks::{
        deliveries::{self, Due},
        signature, subscriptions,
    },
    world::World,
};

/// How often it looks for what is due.
const TICK: Duration = Duration::from_millis(50);
/// How long a receiver may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The bell that calls the courier.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    bell: Notify,
}

impl Courier {
    /// There may be something to send.
    pub(crate) fn wake(&self) {
        self.bell.notify_one();
    }
}

/// Carries deliveries until `stop`.
pub(crate) async fn work(world: Arc<World>, stop: CancellationToken) {
    let now = world.clock.now_ms();
    if let Err(error) = world.store.transact(|db| deliveries::resume(db, now)) {
        tracing::error!(%error, "the sandbox's store failed");
    }
    loop {
        let is_busy = match round(&world) {
            Ok((due, is_busy)) => {
                send_all(&world, &stop, due);
                is_busy
            }
            Err(error) => {
                tracing::error!(%error, "the sandbox's store failed");
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = world.courier.bell.notified() => {}
            () = tokio::time::sleep(TICK), if is_busy => {}
        }
    }
}

/// What is due, and whether to look again soon.
fn round(world: &World) -> rusqlite::Result<(Vec<Due>, bool)> {
    if !world.store.transact(subscriptions::is_any_active)? {
        return Ok((Vec::new(), false));
    }
    let due = world.transact(deliveries::take_due)?;
    Ok((due, true))
}

/// Sends each subscription's deliveries in their order, beside those of the others.
fn send_all(world: &Arc<World>, stop: &CancellationToken, due: Vec<Due>) {
    let mut by_subscription = BTreeMap::<String, Vec<Due>>::new();
    for one in due {
        by_subscription.entry(one.subscription.id.clone()).or_default().push(one);
    }
    for all in by_subscription.into_values() {
        let (world, stop) = (Arc::clone(world), stop.clone());
        tokio::spawn(async move {
            for one in all {
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = send(&world, &one) => outcome,
                };
                let noted = world
                    .transact(|db, now| deliveries::conclude(db, &world, now, &one.id, outcome));
                if let Err(error) = noted {
                    tracing::error!(%error, "the sandbox's store failed");
                }
            }
        });
    }
}

/// Sends one delivery; answers the status code, or why there is none.
async fn send(world: &World, due: &Due) -> Result<u16, &'static str> {
    let now = world.clock.now_ms();
    let secrets = due.subscription.secrets(now);
    let answer = world
        .http
        .post(&due.subscription.url)
        .timeout(ANSWER_TIMEOUT)
        .header("Content-Type", "application/json")
        .header(signature::HEADER, signature::value(&secrets, now / 1_000, &due.body))
        .body(due.body.clone())
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) if error.is_timeout() => Err("the receiver did not answer in time"),
        Err(_) => Err("the receiver could not be reached"),
    }
}
