//! The settings of the HTTP server: who may call, from where, and how much.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{credential::CredentialDigest, money::Usdc, profile::Profile};

/// The HTTP server's part. It is used by `haggle serve --http` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The SHA-256 of the owner's key, which opens the page at `/owner`; `haggle config owner-key`
    /// makes one.
    pub owner_key_sha256: Option<CredentialDigest>,
    /// Names under which the server is reached, besides this machine's own: `haggle.example.com`, or
    /// with a port. What a request's `Host` has to be.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, besides those of this machine:
    /// `https://app.example.com`. What a request's `Origin` has to be, where it has one.
    pub allowed_origins: Vec<String>,
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// How many connections may be open at a time.
    pub connections_max: usize,
    /// How many sessions a client may have at a time, over all transports.
    pub sessions_max: usize,
    /// After how many seconds without a request a session ends.
    pub session_idle_seconds: u64,
    /// How many requests of a client may be answered at a time, subscriptions of 2026-07-28 among them;
    /// streams that are opened by GET are left out.
    pub in_flight_max: usize,
    /// How many requests a client may make in a minute.
    pub requests_per_minute_max: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            owner_key_sha256: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_bytes_max: 1024 * 1024,
            connections_max: 4096,
            sessions_max: 2048,
            session_idle_seconds: 600,
            in_flight_max: 512,
            requests_per_minute_max: 6000,
        }
    }
}

/// A client of the HTTP server: `haggle config add-client` makes one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// The SHA-256 of its token.
    pub token_sha256: CredentialDigest,
    /// The profiles whose tools it is offered; by default those of the server.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub profiles: Option<Vec<Profile>>,
    /// Whether it is offered only tools that read; by default as the server.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// The most that one purchase of it may cost, in dollars, within your own limit.
    #[serde(default)]
    pub purchase_max_usd: Option<Usdc>,
    /// The most that it may spend in any 24 hours, in dollars, within your own limit.
    #[serde(default)]
    pub day_max_usd: Option<Usdc>,
}
