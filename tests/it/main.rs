//! Integration tests: the real client speaks to the sandbox over a socket, and the tests speak to the
//! server as an MCP client.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::similar_names,
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach the helpers of an integration test"
)]

mod approval;
mod bad_input;
mod canaries;
mod codes;
mod colour;
mod commands;
mod commands_asks;
mod commands_keys;
mod commands_purchases;
mod crochet;
mod crochet_account;
mod crochet_seller;
mod croo;
mod croo_events;
mod croo_files;
mod croo_pay;
mod croo_provider;
mod croo_reads;
mod croo_store;
mod demo;
mod faults;
mod faults_croo;
mod faults_paegents;
mod hints;
mod hints_croo;
mod hostile;
mod http;
mod install;
mod journal;
mod packaging;
mod paegents_account;
mod paegents_allowance;
mod paegents_buy;
mod paegents_calls;
mod paegents_direct;
mod paegents_escrow;
mod paegents_events;
mod paegents_evidence;
mod paegents_mutations;
mod paegents_owner;
mod paegents_pay;
mod paegents_refresh;
mod paegents_sell;
mod paegents_settle;
mod paegents_suppliers;
mod paegents_webhooks;
mod page;
mod program;
mod protocol;
mod races;
mod races_croo;
mod races_paegents;
mod resources;
mod schemas;
mod served;
mod surface;
mod terminal;
mod tidy;
mod trade;
mod upstream;
mod wire;
mod world;
