//! The official SDKs, unchanged: against the sandbox, beside the same operations through our tools, as both
//! send the same requests; and as signers, whose bytes are ours. `scripts/install-sdks` puts the SDKs where
//! they are looked for.
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

mod croo;
mod packaging;
mod paegents;
mod paegents_life;
mod paegents_requests;
mod paegents_signing;
