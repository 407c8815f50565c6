//! The parts of the program, built from the settings once: what the tools and commands work on.

use std::{collections::HashMap, ops::Deref, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Access,
    config::Settings,
    journal::Rail,
    marketplaces::crochet::gateway::Gateway,
    spend::{Patience, Payment, Spending},
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
        Self::with_patience(settings, Patience::default())
    }

    /// As [`Self::new`], with another patience than the usual one.
    #[must_use]
    pub fn with_patience(settings: Settings, patience: Patience) -> Arc<Self> {
        let access = Arc::new(Access::new(settings));
        let tasks = TaskTracker::new();
        let rails: HashMap<Rail, Arc<dyn Payment>> = HashMap::from([(
            Rail::CrochetGateway,
            Arc::new(Gateway::new(access.clone())) as Arc<dyn Payment>,
        )]);
        let spending = Spending::new(
            access.store().clone(),
            access.clock().clone(),
            access.settings().policy.clone(),
            patience,
            rails,
            tasks.clone(),
        );
        Arc::new(Self { access, spending, tasks, stopping: CancellationToken::new() })
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
