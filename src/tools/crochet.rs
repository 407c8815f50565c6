//! Crochet's tools, by role.

pub mod account;
pub mod browse;
pub mod buyer;
pub mod seller;
