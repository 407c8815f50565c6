//! What the stream does with what its socket hears.

use std::time::Duration;

use secrecy::SecretString;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{Condition, Stream};
use crate::{
    ids::AgentId,
    marketplaces::{
        croo::events::{self, Told},
        socket::{Listener, Lost},
    },
};

/// How long the agent that the key is of is asked for, while messages wait.
const OWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The listener of one process, for as long as it holds the key.
pub(super) struct Ears<'a> {
    stream: &'a Stream,
    /// Told when the lists have to be read.
    due: &'a Notify,
    /// The digest of our key.
    key: String,
    /// Whether another program was connected with our key when last looked.
    in_conflict: bool,
    is_accepted: bool,
    /// When a connection of ours broke that the marketplace may not have seen breaking.
    broke: Option<Instant>,
    unreadable: u64,
}

impl<'a> Ears<'a> {
    pub(super) fn new(stream: &'a Stream, due: &'a Notify, key: String) -> Self {
        Self {
            stream,
            due,
            key,
            in_conflict: false,
            is_accepted: false,
            broke: None,
            unreadable: 0,
        }
    }

    /// Whether a connection with our key may be an earlier one of our own.
    pub(super) fn may_have_left_a_ghost(&self, within: Duration) -> bool {
        !self.in_conflict && self.broke.is_some_and(|broke| broke.elapsed() < within)
    }

    /// Another program is connected with our key: told once.
    pub(super) async fn conflict(&mut self) {
        self.is_accepted = false;
        if self.in_conflict {
            return;
        }
        match self.stream.tell_of_conflict(&self.key).await {
            Ok(()) => self.in_conflict = true,
            Err(error) => tracing::error!(%error, "a conflict could not be told of"),
        }
    }

    /// The agent that the key is of, where an event does not say which side we are on.
    async fn own(&self, told: &Told) -> Option<AgentId> {
        if told.role(None).is_some() {
            return None;
        }
        let access = &self.stream.access;
        let asked = timeout(OWN_TIMEOUT, async { access.croo_agent(&access.croo().await?).await });
        asked.await.ok()?.ok().flatten()
    }
}

impl Listener for Ears<'_> {
    async fn address(&mut self) -> Option<SecretString> {
        let access = &self.stream.access;
        let found = async {
            let (venue, croo) = (access.venue().await?, access.croo().await?.registered()?);
            Ok::<_, crate::error::Error>((venue, croo.api.key().cloned()))
        };
        match found.await {
            Ok((venue, Some(key))) => match events::address(&venue.croo.ws_url, &key) {
                Ok(address) => Some(address),
                Err(error) => {
                    tracing::warn!(%error, "the event stream has no address");
                    None
                }
            },
            Ok((_, None)) | Err(_) => None,
        }
    }

    async fn opened(&mut self) {
        if !self.in_conflict {
            self.stream.stands(Condition::Connected);
        }
        self.due.notify_one();
    }

    async fn accepted(&mut self) {
        self.is_accepted = true;
        self.in_conflict = false;
        self.stream.stands(Condition::Connected);
        if let Err(error) = self.stream.tell_of_its_end(&self.key).await {
            tracing::warn!(%error, "the end of a conflict could not be told of");
        }
    }

    async fn message(&mut self, message: &[u8]) {
        let Some(told) = Told::read(message) else {
            self.unreadable += 1;
            tracing::debug!(messages = self.unreadable, "a message of CROO's cannot be read");
            return;
        };
        let own = self.own(&told).await;
        if own.as_ref().is_some_and(|own| told.is_of_others(own)) {
            tracing::debug!("CROO told of an order of others");
            return;
        }
        if let Err(error) = self.stream.keep(&[told], own.as_ref()).await {
            // The lists tell it again.
            tracing::warn!(%error, "an event could not be stored");
        }
    }

    async fn lost(&mut self, why: Lost) {
        if self.is_accepted && matches!(why, Lost::Broken | Lost::Silent) {
            self.broke = Some(Instant::now());
        }
        self.is_accepted = false;
        if !self.in_conflict {
            self.stream.stands(Condition::Connecting);
        }
        tracing::debug!(what = why.words(), "the event stream is down");
        // In sandbox mode the process that served the sandbox may be gone.
        self.stream.access.forget_venue();
    }
}
