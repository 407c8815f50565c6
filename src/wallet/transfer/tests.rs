//! A transfer's bytes against a second implementation's, and what is not signed.

use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{B256, address, b256};
use secrecy::SecretString;

use super::*;
use crate::{
    chain::{FEE_WEI_MAX, GAS_LIMIT_MAX, Log},
    wallet::{KeyKind, keys::EvmKey},
};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const PAYEE: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const USDC: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");

fn wallet() -> Wallet {
    Wallet::new(Some(EvmKey::read(&SecretString::from(KEY)).unwrap()), None)
}

fn transfer() -> Transfer {
    Transfer {
        chain_id: 84532,
        usdc: USDC,
        to: PAYEE,
        amount: Usdc::from_micros(1_500_000),
        nonce: 7,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        gas_limit: 65_000,
    }
}

/// Bytes and hashes by Python's eth-account 0.14.0, `Account.sign_transaction`.
#[test]
fn the_bytes_are_those_of_eth_account() {
    let base = Transfer {
        chain_id: 8453,
        usdc: address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        amount: Usdc::from_micros(1),
        nonce: 0,
        max_fee_per_gas: 1,
        max_priority_fee_per_gas: 0,
        gas_limit: 100_000,
        ..transfer()
    };
    #[rustfmt::skip]
    let rows = [
        ("Base Sepolia", transfer(),
            "02f8b183014a3407830f4240847735940082fde894036cbd53842c5426634e7929541ec2318f3dcf7e80b844a9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8000000000000000000000000000000000000000000000000000000000016e360c001a0fa75ebe2b79c7feef472dcf51c2cf74d123a2cb1678b812000e9ee8382cca633a0167aec3171b0887968477737fbd8051acb6ee50cb4d0efa5d498078f115d8014",
            "6ed154e1a14cc9cba6f511bf388ec5c50aa71e247d8ab14b8cc0a8df8ea015fa"),
        ("Base, smallest numbers", base,
            "02f8aa822105808001830186a094833589fcd6edb6e08f4c7c32d4f71b54bda0291380b844a9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000000000000000001c080a0f70f8899c52abd068dfe69c8ebed2893814caae91ca725cc55c0f241931a3334a053c0c70e7bd7f5dd39c8693497e4b193891db9c432e2d40fb76fe0fe1ebdd967",
            "249c7b3c98afbb3f5472f43cbb016169d45d63e7679685dc9a7e6c381de48058"),
    ];
    for (row, transfer, raw, hash) in rows {
        let signed = wallet().sign_transfer(&transfer).unwrap();
        assert_eq!(hex::encode(&signed.raw), raw, "{row}");
        assert_eq!(hex::encode(signed.hash), hash, "{row}");
    }
}

/// What the journal keeps is enough to make the same transaction again.
#[test]
fn fields_from_the_journal_give_the_same_bytes() {
    let first = wallet().sign_transfer(&transfer()).unwrap();
    let stored = serde_json::to_value(transfer()).unwrap();
    assert_eq!(stored["amount"], "1.50");
    let restored: Transfer = serde_json::from_value(stored).unwrap();
    assert_eq!(restored, transfer());
    assert_eq!(wallet().sign_transfer(&restored).unwrap(), first);

    let decoded = TxEnvelope::decode_2718(&mut first.raw.as_slice()).unwrap();
    assert_eq!(decoded.recover_signer().unwrap(), OWN);
    assert_eq!(*decoded.tx_hash(), first.hash);
    assert_eq!(decoded.chain_id(), Some(84532));
    assert_eq!(decoded.nonce(), 7);
    assert_eq!(decoded.to(), Some(USDC));
    assert_eq!(decoded.value(), U256::ZERO);
    assert_eq!(decoded.input(), &transfer().call_data());
}

#[test]
fn signs_no_transfer_that_should_not_be_made() {
    let change = |with: fn(&mut Transfer)| {
        let mut transfer = transfer();
        with(&mut transfer);
        transfer
    };
    #[rustfmt::skip]
    let rows = [
        // what it shows            change                                                refused by
        ("as it is",                change(|_| {}),                                        None),
        ("nothing to pay",          change(|t| t.amount = Usdc::ZERO),                     Some("amount")),
        ("the zero address",        change(|t| t.to = Address::ZERO),                      Some("zero address")),
        ("ourselves",               change(|t| t.to = OWN),                                Some("own address")),
        ("the token contract",      change(|t| t.to = USDC),                               Some("token contract")),
        ("another token",           change(|t| t.usdc = PAYEE),                            Some("pinned")),
        ("Base with Sepolia's",     change(|t| t.chain_id = 8453),                         Some("pinned")),
        ("another chain",           change(|t| t.chain_id = 1),                            Some("pinned")),
        ("the highest fee",         change(|t| t.max_fee_per_gas = FEE_WEI_MAX),           None),
        ("a wei above it",          change(|t| t.max_fee_per_gas = FEE_WEI_MAX + 1),       Some("20 gwei")),
        ("priority above the fee",  change(|t| t.max_priority_fee_per_gas = 2_000_000_001), Some("priority")),
        ("the most gas",            change(|t| t.gas_limit = GAS_LIMIT_MAX),               None),
        ("a unit above it",         change(|t| t.gas_limit = GAS_LIMIT_MAX + 1),           Some("500000")),
    ];
    for (row, transfer, expected) in rows {
        let refused = wallet().sign_transfer(&transfer).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), expected.is_some(), "{row}: {refused:?}");
        if let (Some(refused), Some(expected)) = (refused, expected) {
            assert!(refused.contains(expected), "{row}: {refused}");
        }
    }
    let error = Wallet::default().sign_transfer(&transfer()).unwrap_err();
    assert!(matches!(error, TransferError::Sign(SignError::NoKey { kind: KeyKind::Evm })));
}

#[test]
fn recognises_the_transfer_it_made() {
    // `Transfer(address,address,uint256)`, known from any token's history.
    let topic = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
    let approval = b256!("0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925");
    let amount = |micros: u64| Bytes::from(U256::from(micros).to_be_bytes::<32>().to_vec());
    let log = |address: Address, from: Address, to: Address, micros: u64| Log {
        address,
        topics: vec![topic, from.into_word(), to.into_word()],
        data: amount(micros),
    };
    let ours = log(USDC, OWN, PAYEE, 1_500_000);
    let approved =
        Log { topics: vec![approval, OWN.into_word(), PAYEE.into_word()], ..ours.clone() };
    let cut = Log { topics: ours.topics[..2].to_vec(), ..ours.clone() };
    let longer = Log { data: [amount(1_500_000), amount(0)].concat().into(), ..ours.clone() };
    #[rustfmt::skip]
    let rows = [
        // what it shows              succeeded  logs                                                   ours
        ("ours",                      true,      vec![ours.clone()],                                    true),
        ("beside another contract's", true,      vec![log(PAYEE, OWN, PAYEE, 9), ours.clone()],         true),
        ("beside an approval",        true,      vec![approved.clone(), ours.clone()],                  true),
        ("reverted",                  false,     vec![ours.clone()],                                    false),
        ("no log",                    true,      vec![],                                                false),
        ("another token's",           true,      vec![log(PAYEE, OWN, PAYEE, 1_500_000)],               false),
        ("another payer",             true,      vec![log(USDC, PAYEE, PAYEE, 1_500_000)],              false),
        ("another payee",             true,      vec![log(USDC, OWN, OWN, 1_500_000)],                  false),
        ("a micro-unit less",         true,      vec![log(USDC, OWN, PAYEE, 1_499_999)],                false),
        ("twice",                     true,      vec![ours.clone(), ours.clone()],                      false),
        ("and one more payment",      true,      vec![ours.clone(), log(USDC, OWN, USDC, 5)],           false),
        ("an approval alone",         true,      vec![approved],                                        false),
        ("a topic short",             true,      vec![cut],                                             false),
        ("longer data",               true,      vec![longer],                                          false),
    ];
    for (row, succeeded, logs, expected) in rows {
        let receipt = Receipt { transaction: B256::ZERO, block: 1, succeeded, logs };
        assert_eq!(transfer().expected_log(OWN, &receipt), expected, "{row}");
    }
}
