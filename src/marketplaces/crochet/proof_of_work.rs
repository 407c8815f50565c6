//! Crochet's proof of work: a candidate whose SHA-256, after the challenge's text, is small.
//!
//! - [`Challenge::read`] finds challenge and difficulty wherever an answer has them; what cannot be
//!   read is an error, never an easier rule.
//! - A solution was hashed once more by the plain way before it is returned.
//! - The search ends by itself: it is found, over time, cancelled, or refused as beyond reach.
//!
//! Source: `crochet.md` §4.

mod challenge;
mod kernel;
mod search;
#[cfg(test)]
mod tests;

pub use self::{
    challenge::{CHALLENGE_BYTES_MAX, Challenge, Difficulty, Unreadable},
    search::{Budget, Solution, Unsolved, WORK_BITS_MAX, solve, solve_async},
};
