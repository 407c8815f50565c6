//! What is counted, for Prometheus: calls of tools, requests, connections, sessions, memory. No
//! amount, no client's name and nothing that a caller wrote is in it.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The bounds between the durations of calls that are told apart, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0];

/// A call of a tool: which, and how it ended: `ok`, the code of the failure, `asked` where the answer
/// is a question to the person, or `refused` where it is an error of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    tool: String,
    outcome: String,
}

/// A request over HTTP: to what, and the status of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    call_seconds: Histogram,
    requests: Family<Request, Counter>,
    connections: Gauge,
    in_flight: Gauge,
    sessions: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("haggle"),
            calls: Family::default(),
            call_seconds: Histogram::new(BOUNDS),
            requests: Family::default(),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            sessions: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("tool_calls", "Calls of tools, by how they ended", self.calls.clone());
        let help = "How long calls of tools took";
        registry.register_with_unit("tool_call", help, Unit::Seconds, self.call_seconds.clone());
        registry.register("http_requests", "Requests, by their status", self.requests.clone());
        registry.register("http_connections", "Open connections", self.connections.clone());
        registry.register("http_in_flight", "Requests being answered", self.in_flight.clone());
        registry.register("http_sessions", "Open sessions", self.sessions.clone());
        registry.register_collector(Box::new(Memory));
        self
    }

    /// Counts a call of a tool that ended after so long: `ok`, `asked`, `refused`, or with the code of a
    /// failure.
    pub fn called(&self, tool: &str, outcome: &str, lasted: Duration) {
        let call = Call { tool: tool.to_owned(), outcome: outcome.to_owned() };
        self.calls.get_or_create(&call).inc();
        self.call_seconds.observe(lasted.as_secs_f64());
    }

    /// Counts a request that was answered.
    pub fn answered(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&Request { route, status }).inc();
    }

    /// Counts a connection for as long as it is held.
    #[must_use]
    pub fn connection(&self) -> Counted {
        Counted::one(&self.connections)
    }

    /// Counts a request for as long as it is being answered.
    #[must_use]
    pub fn in_flight(&self) -> Counted {
        Counted::one(&self.in_flight)
    }

    /// Says how many sessions are open.
    pub fn sessions(&self, open: usize) {
        self.sessions.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    ///
    /// Where it cannot be written, which is a fault of this program.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// One of something, for as long as it is held.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The memory that this process has; nothing where the system does not tell.
#[derive(Debug)]
struct Memory;

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(bytes) = resident_bytes() else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let help = "Memory of this process";
        let kind = prometheus_client::encoding::EncodeMetric::metric_type(&gauge);
        gauge.encode(encoder.encode_descriptor(
            "process_resident_memory",
            help,
            Some(&Unit::Bytes),
            kind,
        )?)
    }
}

/// The bytes of this process that are in memory.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_down() {
        let metrics = Metrics::default();
        metrics.called("market_search", "ok", Duration::from_millis(30));
        metrics.called("market_search", "not_found", Duration::from_millis(3));
        metrics.answered("/mcp", 200);
        metrics.sessions(3);
        let connection = metrics.connection();
        let text = metrics.text().unwrap();
        for line in [
            "haggle_tool_calls_total{tool=\"market_search\",outcome=\"ok\"} 1",
            "haggle_tool_calls_total{tool=\"market_search\",outcome=\"not_found\"} 1",
            "haggle_tool_call_seconds_count 2",
            "haggle_http_requests_total{route=\"/mcp\",status=\"200\"} 1",
            "haggle_http_connections 1",
            "haggle_http_sessions 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(connection);
        assert!(metrics.text().unwrap().contains("haggle_http_connections 0"));
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().unwrap() > 1_000_000);
            assert!(text.contains("haggle_process_resident_memory_bytes "), "{text}");
        }
    }
}
