//! CROO's tools: what both sides of an order share stands here and in [`shown`].

pub mod buyer;
pub mod files;
pub mod negotiations;
pub mod orders;
pub mod provider;
mod reading;
pub mod shown;
pub mod store;
