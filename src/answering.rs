//! A request of the HTTP server for as long as it is worked on: what it counts as goes with the work,
//! and not with a connection that its client may have closed.

use std::{any::Any, fmt, sync::Arc};

use axum::http::request::Parts;
use rmcp::model::Extensions;

/// What a request holds until nobody works on it any more and its answer has left.
#[derive(Clone)]
pub struct Answering(Arc<dyn Any + Send + Sync>);

impl Answering {
    /// Holds this.
    #[must_use]
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }

    /// That of a request which came over HTTP: it is in the extensions of its head.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Parts>()?.extensions.get().cloned()
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("holders", &Arc::strong_count(&self.0)).finish()
    }
}
