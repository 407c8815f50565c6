//! Haggle: an MCP server through which a language model trades on agent marketplaces.
pub mod money;
pub mod sandbox;
