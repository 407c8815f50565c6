//! Logs: to standard error, in one line each, without secrets.
//!
//! Invariants: standard output is never written to; other crates are heard at `warn` and above
//! whatever the level is, since below it they log headers and bodies; the protocol's only from `debug`
//! on.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Every field of a log line, and what it holds. None holds arguments, results, keys, signatures
/// or a URL with its query.
pub const FIELDS: &[(&str, &str)] = &[
    ("detail", "what the cause of an error says, where the error's own text leaves it out"),
    ("elapsed_ms", "how long it took, in milliseconds"),
    ("error", "an error's own text"),
    ("messages", "how many messages"),
    ("operation", "an operation of a marketplace, such as crochet.get_listing"),
    ("purchase", "the identifier of a purchase"),
    ("purchases", "how many purchases"),
    ("refused", "why a webhook is not believed"),
    ("size", "bytes"),
    ("status", "an HTTP status"),
    ("tool", "the name of a tool"),
    ("what", "what broke, in our words"),
];

/// What is heard at this level.
fn filter(level: LevelFilter) -> Targets {
    let others = level.min(LevelFilter::WARN);
    // A client that hangs up is an error to it, and nothing that an owner could do anything about.
    let protocol = if level >= LevelFilter::DEBUG { others } else { LevelFilter::OFF };
    Targets::new().with_default(others).with_target("rmcp", protocol).with_target("haggle", level)
}

/// Starts logging to standard error. A second start is ignored.
pub fn start(level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(level >= LevelFilter::DEBUG);
    let _ = tracing_subscriber::registry().with(filter(level)).with(lines).try_init();
    // What a panic says may hold anything; where it happened holds no secret.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(what = place, "this program has a fault");
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn others_are_heard_at_warn_and_above() {
        #[rustfmt::skip]
        let rows = [
            // what it shows         level               target               event         heard
            ("ours",                 LevelFilter::TRACE, "haggle::spend",     Level::TRACE, true),
            ("ours, too much",       LevelFilter::WARN,  "haggle",            Level::INFO,  false),
            ("bodies of others",     LevelFilter::TRACE, "rmcp::service",     Level::INFO,  false),
            ("a client hangs up",    LevelFilter::WARN,  "rmcp::service",     Level::ERROR, false),
            ("looked for",           LevelFilter::DEBUG, "rmcp::service",     Level::ERROR, true),
            ("headers of others",    LevelFilter::TRACE, "hyper_util::conn",  Level::DEBUG, false),
            ("warnings of others",   LevelFilter::TRACE, "reqwest::connect",  Level::WARN,  true),
            ("nothing",              LevelFilter::OFF,   "haggle",            Level::ERROR, false),
            ("of others, either",    LevelFilter::ERROR, "rustls",            Level::WARN,  false),
        ];
        for (row, level, target, event, heard) in rows {
            assert_eq!(filter(level).would_enable(target, &event), heard, "{row}");
        }
    }
}
