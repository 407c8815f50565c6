//! `haggle payees`: the owner's names for addresses, checked before they are kept.

use std::sync::Arc;

use alloy_primitives::Address;
use clap::Subcommand;
use serde_json::json;

use super::{Failure, Report, output};
use crate::{
    app::App,
    store::payees::{self, NAME_RULE},
    wallet::pins::{self, CHAINS},
};

/// What about the payees.
#[derive(Debug, Subcommand)]
pub enum PayeesCommand {
    /// Name an address that may be paid
    Add {
        /// Your name for it: letters, digits, - and _
        #[arg(value_parser = read_name)]
        name: String,
        /// The address: 0x and 40 hex digits
        address: String,
        /// The chain on which it is meant: 8453 (Base) or 84532 (Base Sepolia)
        #[arg(long, value_name = "ID")]
        chain: u64,
        /// Take the place of an earlier address of this name
        #[arg(long)]
        replace: bool,
    },
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget one
    Remove {
        /// Its name
        name: String,
    },
}

fn read_name(name: &str) -> Result<String, String> {
    if payees::is_name(name) { Ok(name.to_owned()) } else { Err(format!("it {NAME_RULE}")) }
}

/// Runs one of them.
///
/// # Errors
///
/// Where the address cannot be right, or the store fails.
pub async fn run(app: Arc<App>, command: PayeesCommand) -> Result<Report, Failure> {
    match command {
        PayeesCommand::Add { name, address, chain, replace } => {
            add(&app, name, &address, chain, replace).await
        }
        PayeesCommand::List { json } => {
            let all = app.store().with(|db| payees::all(db)).await?;
            if json {
                return Ok(Report::json(&json!({ "payees": all })));
            }
            let rows: Vec<_> = all
                .into_iter()
                .map(|payee| vec![payee.name, payee.address, payee.chain_id.to_string()])
                .collect();
            let none = rows.is_empty();
            Ok(Report::text(if none { "There are none.".into() } else { output::columns(&rows) }))
        }
        PayeesCommand::Remove { name } => {
            let wanted = name.clone();
            if app.store().transact(move |db| payees::remove(db, &wanted)).await? {
                Ok(Report::text(format!("{name} is forgotten.")))
            } else {
                Err(Failure::failed(format!("there is no payee {name}")))
            }
        }
    }
}

async fn add(
    app: &App,
    name: String,
    text: &str,
    chain_id: u64,
    replace: bool,
) -> Result<Report, Failure> {
    let chain = pins::chain(chain_id).ok_or_else(|| {
        Failure::usage(format!("chain {chain_id} is none that is paid on: 8453 or 84532"))
    })?;
    let address = check(text).map_err(Failure::usage)?;
    if app.wallet().await?.evm_address() == Some(address) {
        return Err(Failure::usage("this is the wallet's own address; it cannot pay itself"));
    }
    let number = i64::try_from(chain_id).unwrap_or(i64::MAX);
    let (wanted, shown) = (name.clone(), address.to_checksum(None));
    let before = app
        .store()
        .transact(move |db| {
            let before = payees::all(db)?.into_iter().find(|payee| payee.name == wanted);
            let same = before.as_ref().is_some_and(|payee| payee.address == shown);
            if before.is_none() || same || replace {
                payees::put(db, &wanted, address, number)?;
                return Ok(None);
            }
            Ok(before)
        })
        .await?;
    if let Some(before) = before {
        return Err(Failure::failed(format!(
            "{name} is {} already; with --replace it becomes the new address",
            before.address
        )));
    }
    Ok(Report::text(format!("{name} is {} on {}.", address.to_checksum(None), chain.name)))
}

/// An address that money can go to. One in mixed case must have the right checksum.
fn check(text: &str) -> Result<Address, &'static str> {
    let digits = text.strip_prefix("0x").ok_or("an address begins with 0x")?;
    let address: Address = text.parse().map_err(|_| "an address has 40 hex digits after 0x")?;
    let mixed = digits.bytes().any(|b| b.is_ascii_lowercase())
        && digits.bytes().any(|b| b.is_ascii_uppercase());
    if mixed && Address::parse_checksummed(text, None).is_err() {
        return Err("the checksum is wrong: a letter or a digit of the address was mistyped");
    }
    if address == Address::ZERO {
        return Err("nobody has the zero address: money sent there is lost");
    }
    if CHAINS.iter().any(|chain| chain.usdc == address) {
        return Err("this is the USDC contract: money sent there is lost");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_an_address_before_it_is_kept() {
        #[rustfmt::skip]
        let rows = [
            // what it shows      address                                        accepted
            ("a checksum",        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",  true),
            ("small letters",     "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",  true),
            ("large letters",     "0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266",  true),
            ("a wrong checksum",  "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",  false),
            ("a digit short",     "0xf39fd6e51aad88f6f4ce6ab8827279cfffb9226",   false),
            ("no 0x",             "f39fd6e51aad88f6f4ce6ab8827279cfffb92266",    false),
            ("zero",              "0x0000000000000000000000000000000000000000",  false),
            ("the token",         "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",  false),
            ("the test token",    "0x036cbd53842c5426634e7929541ec2318f3dcf7e",  false),
        ];
        for (row, address, accepted) in rows {
            assert_eq!(check(address).is_ok(), accepted, "{row}");
        }
    }
}
