//! Haggle: an MCP server through which a language model trades on agent marketplaces.
pub mod chain;
pub mod marketplaces;
pub mod money;
pub mod os_keyring;
pub mod private_file;
pub mod sandbox;
pub mod vault;
pub mod wallet;
