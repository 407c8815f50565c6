//! Crochet: what is particular to this marketplace.
pub mod proof_of_work;
