//! The `haggle` program.
fn main() {}
