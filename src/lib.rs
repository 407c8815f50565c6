//! Haggle: an MCP server through which a language model buys and sells on agent marketplaces, with
//! its owner's money and under its owner's limits.
//!
//! What holds everywhere:
//!
//! - Money moves through [`spend`] alone, after a synced line of the [`journal`], and a purchase is
//!   never paid twice.
//! - Every failure is an [`error::Error`]: it says whether money moved and what to do next.
//! - Text from a marketplace is data: cleaned by [`text`], shown in members named `…_untrusted`.
//! - No secret is in a result, a log, an error, a URL or the journal.
//!
//! Dependencies point down: `cli` → `transports` → `server` → `tools` → `app` → `marketplaces` with
//! their rails → `spend`, `access` → `journal`, `wallet`, `chain` → `config` → `money`, `ids`,
//! `error`. `page` stands beside `server`, on `app`. `sandbox` stands alone: it shares no wire type
//! with the clients.

pub mod access;
pub mod answering;
pub mod app;
pub mod asks;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credential;
pub mod egress;
pub mod error;
pub mod events;
pub mod files;
pub mod ids;
pub mod journal;
pub mod json;
pub mod marketplaces;
pub mod metrics;
pub mod money;
pub mod os_keyring;
pub mod owner;
pub mod page;
pub mod principal;
pub mod private_file;
pub mod profile;
pub mod recovery;
pub mod sandbox;
pub mod server;
pub mod spend;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod tools;
pub mod transports;
pub mod vault;
pub mod wallet;
