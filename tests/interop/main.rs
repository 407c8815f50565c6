//! Other people's programs, unchanged. The marketplaces' SDKs against the sandbox, beside the same operations
//! through our tools, as both send the same requests; and as signers, whose bytes are ours. MCP clients, the
//! MCP Inspector and the MCP conformance suite against the built program. `scripts/install-interop` puts them
//! where they are looked for.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach the helpers of an integration test"
)]

#[expect(dead_code, reason = "it is shared with the tests of the program, which use all of it")]
#[path = "../it/world.rs"]
mod world;

#[expect(dead_code, reason = "it is shared with the tests of the page, which use all of it")]
#[path = "../it/served.rs"]
mod served;

mod clients;
mod conformance;
mod croo;
mod inspector;
mod market;
mod packaging;
mod paegents;
mod paegents_life;
mod paegents_requests;
mod paegents_signing;
mod page;
