//! Whether calls can be answered now, for those who ask without a token.
//!
//! Invariant: however many ask, and however soon they go away, one look is under way at most.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(1);

/// A look, and what the last one found.
pub(super) struct Ready {
    look: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    /// When, and what; held by who looks.
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Ready {
    /// What is found out by this look.
    pub(super) fn by(look: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>) -> Self {
        Self { look, last: Arc::default() }
    }

    /// Whether calls can be answered now, or could a moment ago.
    pub(super) async fn is(&self) -> bool {
        let mut last = self.last.clone().lock_owned().await;
        if let Some((at, ready)) = *last
            && at.elapsed() < KEPT
        {
            return ready;
        }
        let look = (self.look)();
        // In a task of its own: where who asked goes away, the next one does not look as well.
        let looking = tokio::spawn(async move {
            let ready = look.await;
            *last = Some((Instant::now(), ready));
            ready
        });
        looking.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    /// Many who ask, some of whom go away, and those who come within a second: one look.
    #[tokio::test]
    async fn one_looks_for_all() {
        let (looks, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, waits) = (looks.clone(), go_on.clone());
        let ready = Ready::by(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let waits = waits.clone();
            Box::pin(async move {
                waits.notified().await;
                true
            })
        }));
        for _ in 0..3 {
            assert_eq!(ready.is().now_or_never(), None, "it goes away while the look is under way");
        }
        let waiting = futures::future::join_all((0..10).map(|_| ready.is()));
        go_on.notify_one();
        let all = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert_eq!(all.unwrap(), [true; 10]);
        assert!(ready.is().await);
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        // Later it looks again, and says what it is then.
        *ready.last.lock().await = Some((Instant::now().checked_sub(KEPT).unwrap(), false));
        go_on.notify_one();
        assert!(ready.is().await);
        assert_eq!(looks.load(Ordering::Relaxed), 2);
        // No is kept as well.
        *ready.last.lock().await = Some((Instant::now(), false));
        assert!(!ready.is().await);
    }
}
