//! The marketplaces: one module each, since their interfaces share HTTP and nothing else.
pub mod crochet;
