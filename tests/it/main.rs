//! Integration tests: the real client speaks to the sandbox over a socket, and the tests speak to the
//! server as an MCP client.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach the helpers of an integration test"
)]

mod approval;
mod bad_input;
mod canaries;
mod codes;
mod commands;
mod commands_keys;
mod crochet;
mod crochet_account;
mod crochet_seller;
mod demo;
mod faults;
mod hints;
mod hostile;
mod journal;
mod program;
mod protocol;
mod races;
mod schemas;
mod tidy;
mod upstream;
mod wire;
mod world;
