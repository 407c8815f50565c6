//! Paegents' tools: agreements from both sides, mandates and other payments, settlement, webhooks.

pub mod account;
pub mod agreements;
pub mod browse;
pub mod buyer;
pub mod events;
mod free;
pub mod legacy;
pub mod owner;
pub mod pay;
mod reading;
pub mod seller;
pub mod settle;
mod settled;
pub mod shown;

/// The most units of an agreement.
const QUANTITY_MAX: u64 = 999_999_999;
