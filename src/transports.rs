//! How clients reach the server, what is done once they do, and when it ends.

pub mod http;
mod message;
pub mod stdio;

use std::sync::Arc;

use crate::{app::App, config::Mode};

/// Loads the certificates and asks about purchases that an earlier process left open.
pub(crate) async fn after_start(app: Arc<App>) {
    let warmed = app.clone();
    let _ = tokio::task::spawn_blocking(move || warmed.http().client().map(drop)).await;
    let settings = app.settings();
    let has_key = settings.croo.sdk_key.is_some() || settings.paegents.api_key.is_some();
    if has_key && settings.mode == Mode::Live {
        app.listen();
    }
    if !app.store().path().exists() {
        return;
    }
    let spending = app.spending();
    tokio::select! {
        () = app.stopping().cancelled() => {}
        asked = spending.check_all() => match asked {
            Ok(asked) if asked.is_empty() => {}
            Ok(asked) => tracing::info!(purchases = asked.len(), "asked about open purchases"),
            Err(error) => tracing::warn!(%error, "open purchases could not be asked about"),
        },
    }
}

/// Completes on SIGTERM and SIGINT.
pub(crate) async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
