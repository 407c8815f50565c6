//! The parts of the program, built from the settings once: what the tools and commands work on.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Access,
    config::Settings,
    journal::Rail,
    marketplaces::{
        crochet::gateway::Gateway,
        croo::{
            payment::Orders,
            stream::{self, Stream},
        },
        paegents::{
            carts::Carts,
            direct::Directs,
            escrow::Escrows,
            feed::{self, Feed},
            payments::OlderPayments,
            suppliers::Suppliers,
        },
    },
    metrics::Metrics,
    spend::{Patience, Payment, Spending, policy::Policies},
};

/// How long payments that are under way are waited for at the end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that the tools work on: the access, and the gate for money.
#[derive(Debug)]
pub struct App {
    access: Arc<Access>,
    spending: Arc<Spending>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    metrics: Arc<Metrics>,
    page: OnceLock<String>,
    stream: Arc<Stream>,
    feed: Arc<Feed>,
    listens: bool,
}

/// A tool reaches a marketplace by the same access as a rail.
impl Deref for App {
    type Target = Access;
    fn deref(&self) -> &Access {
        &self.access
    }
}

impl App {
    /// The parts for these settings. Touches neither network nor store.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::with_patience(settings, Patience::default(), Some(stream::Times::default()))
    }

    /// As [`Self::new`], with another patience and other times than the usual ones. Without times,
    /// events are not listened to.
    #[must_use]
    pub fn with_patience(
        settings: Settings,
        patience: Patience,
        times: Option<stream::Times>,
    ) -> Arc<Self> {
        let access = Arc::new(Access::new(settings));
        let tasks = TaskTracker::new();
        let rails: HashMap<Rail, Arc<dyn Payment>> = HashMap::from([
            (Rail::CrooOrder, Arc::new(Orders::new(access.clone())) as Arc<dyn Payment>),
            (Rail::CrochetGateway, Arc::new(Gateway::new(access.clone()))),
            (Rail::PaegentsEscrow, Arc::new(Escrows::new(access.clone()))),
            (Rail::PaegentsMandate, Arc::new(Carts::new(access.clone()))),
            (Rail::PaegentsSupplier, Arc::new(Suppliers::new(access.clone()))),
            (Rail::PaegentsDirect, Arc::new(Directs::new(access.clone()))),
            (Rail::PaegentsLegacy, Arc::new(OlderPayments::new(access.clone()))),
        ]);
        let spending = Spending::new(
            access.store().clone(),
            access.clock().clone(),
            policies(access.settings()),
            patience,
            rails,
            tasks.clone(),
        );
        let stopping = CancellationToken::new();
        let stream = Stream::new(
            access.clone(),
            spending.clone(),
            tasks.clone(),
            stopping.clone(),
            times.unwrap_or_default(),
        );
        let feed = Feed::new(
            access.clone(),
            spending.clone(),
            tasks.clone(),
            stopping.clone(),
            feed_times(times.unwrap_or_default()),
        );
        let listens = times.is_some();
        let metrics = Arc::default();
        let page = OnceLock::new();
        Arc::new(Self { access, spending, tasks, stopping, metrics, page, stream, feed, listens })
    }

    /// The stream of CROO's events, which begins with [`Self::listen`].
    #[must_use]
    pub const fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The feed of Paegents' events, which begins with [`Self::listen`].
    #[must_use]
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Begins to listen to the marketplaces' events, where it has not begun.
    pub fn listen(&self) {
        if self.listens {
            self.stream.begin();
            self.feed.begin();
        }
    }

    /// The gate for money.
    #[must_use]
    pub const fn spending(&self) -> &Arc<Spending> {
        &self.spending
    }

    /// The tasks that outlive a call.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Fires when the program ends.
    #[must_use]
    pub const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Where the owner's page is, where this program serves one: without a slash at its end.
    #[must_use]
    pub fn page(&self) -> Option<&str> {
        self.page.get().map(String::as_str)
    }

    /// Says where the owner's page is.
    pub fn serve_page_at(&self, address: String) {
        // It is served at one place for as long as the program runs.
        let _ = self.page.set(address);
    }

    /// What is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Stops what can be stopped, and waits for payments that are under way. What is left is in the
    /// journal and is asked about at the next start.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("payments are still under way; the next start asks about them");
        }
        self.access.close().await;
    }
}

/// The owner's policy, and the limits of each client.
fn policies(settings: &Settings) -> Policies {
    let clients = settings.clients.iter().map(|client| (client.name.clone(), client.limits));
    Policies { owner: settings.policy.clone(), clients: clients.collect() }
}

/// The list of Paegents' events has no stream beside it, so it is read four times as often as CROO's
/// lists: every 15 seconds.
fn feed_times(times: stream::Times) -> feed::Times {
    feed::Times { every: times.reconcile / 4, lease: times.lease }
}
