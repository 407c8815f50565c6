//! Calls: their bytes against a second implementation's, what is not signed, and calldata.

use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{B256, address, b256, keccak256};
use secrecy::SecretString;

use super::*;
use crate::{
    chain::{FEE_WEI_MAX, GAS_LIMIT_MAX, Log},
    wallet::{KeyKind, keys::EvmKey},
};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const OTHER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const ESCROW: Address = address!("0xcA98356B65951b621C32B840F0266847C6043B45");
const USDC: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
const ALL: [Settlement; 3] = [Settlement::Close, Settlement::Claim, Settlement::Withdraw];

fn wallet() -> Wallet {
    Wallet::new(Some(EvmKey::read(&SecretString::from(KEY)).unwrap()), None)
}

fn approve(micros: u64) -> Call {
    let amount = Usdc::from_micros(micros);
    Call {
        chain_id: 84532,
        act: Act::Approve { token: USDC, spender: ESCROW, amount },
        nonce: 7,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        gas_limit: 65_000,
    }
}

fn settle(settlement: Settlement, selector: Selector) -> Call {
    let agreement_id = U256::from(7);
    Call { act: Act::Settle { escrow: ESCROW, settlement, selector, agreement_id }, ..approve(0) }
}

fn bounds(approved: Approved) -> CallBounds {
    CallBounds { chain_id: 84532, escrow: ESCROW, approved }
}

fn allowance(micros: u64) -> CallBounds {
    bounds(Approved::Allowance(Usdc::from_micros(micros)))
}

fn settlement(settlement: Settlement) -> CallBounds {
    bounds(Approved::Settlement(settlement, U256::from(7)))
}

/// `paegents.md` §10.4. `claim(uint256)` and `withdraw(uint256)` are what the SDK's numbers mean.
#[test]
fn selectors_are_the_two_of_each_function() {
    #[rustfmt::skip]
    let rows = [
        (Settlement::Claim,    Selector::Documented, "1224efde", Some("sellerClaim(uint256)")),
        (Settlement::Claim,    Selector::Sdk,        "379607f5", Some("claim(uint256)")),
        (Settlement::Withdraw, Selector::Documented, "b03fd85a", Some("buyerWithdraw(uint256)")),
        (Settlement::Withdraw, Selector::Sdk,        "2e1a7d4d", Some("withdraw(uint256)")),
        (Settlement::Close,    Selector::Documented, "e8a3ac5a", Some("initiateClose(uint256)")),
        (Settlement::Close,    Selector::Sdk,        "c9b2e522", None),
    ];
    for (settlement, which, expected, signature) in rows {
        let selector = settlement.selector(which);
        assert_eq!(hex::encode(selector), expected, "{settlement:?} {which:?}");
        if let Some(signature) = signature {
            assert_eq!(keccak256(signature)[..4], selector, "{signature}");
        }
    }
    for (function, expected) in [
        ("initiateClose", Some(Settlement::Close)),
        ("sellerClaim(uint256)", Some(Settlement::Claim)),
        ("buyerWithdraw", Some(Settlement::Withdraw)),
        ("withdraw", None),
        ("sellerClaim(address)", None),
        ("", None),
    ] {
        assert_eq!(Settlement::of_function(function), expected, "{function}");
    }
}

/// Bytes and hashes by Python's eth-account 0.14.0, `Account.sign_transaction`.
#[test]
fn the_bytes_are_those_of_eth_account() {
    #[rustfmt::skip]
    let rows = [
        ("an allowance", approve(100_000_000), allowance(100_000_000),
            "02f8b183014a3407830f4240847735940082fde894036cbd53842c5426634e7929541ec2318f3dcf7e80b844095ea7b3000000000000000000000000ca98356b65951b621c32b840f0266847c6043b450000000000000000000000000000000000000000000000000000000005f5e100c080a02243b591dec0d626dd2cfb0e69c9964ee13eec430c7d1cc3fb3c37c12b6dfe39a032c65fea1fa024994a14280f04b6d54da2d70a1ec3f3dc616c19cf93770d763f",
            "0aecaa39c0568d31cf3b2e843da7f33f2d9e6031a0e622f91d3b6b20e0f002f0"),
        ("a claim", settle(Settlement::Claim, Selector::Documented), settlement(Settlement::Claim),
            "02f89083014a3407830f4240847735940082fde894ca98356b65951b621c32b840f0266847c6043b4580a41224efde0000000000000000000000000000000000000000000000000000000000000007c001a0cb87952ee2d89d9e3d2abfda3ccf2ece321f537ec66ada506962c4d0ed8d290da038d3253d04d11e05c9f03828a40686459f29e0719da86feb500b711c16b0727d",
            "bba9e1f3769a1676be17e8b129e52ec3ae799e70613744c98536a9d3636e8842"),
    ];
    for (row, call, bounds, raw, hash) in rows {
        let wallet = wallet();
        let signed = wallet.sign_call(&call, &bounds).unwrap();
        assert_eq!(hex::encode(&signed.raw), raw, "{row}");
        assert_eq!(hex::encode(signed.hash), hash, "{row}");
        let restored = serde_json::from_value(serde_json::to_value(&call).unwrap()).unwrap();
        assert_eq!(wallet.sign_call(&restored, &bounds).unwrap(), signed, "{row}");
        assert_eq!(wallet.signatures(), 2, "{row}");
    }
}

#[test]
fn every_call_goes_to_its_contract_without_ether() {
    let calls = ALL.into_iter().flat_map(|which| {
        [Selector::Documented, Selector::Sdk].map(|selector| {
            let call = settle(which, selector);
            (call, settlement(which), ESCROW, which.selector(selector))
        })
    });
    let approvals = [approve(1), approve(0)].map(|call| {
        let Act::Approve { amount, .. } = call.act else { unreachable!() };
        (call, bounds(Approved::Allowance(amount)), USDC, [0x09, 0x5e, 0xa7, 0xb3])
    });
    for (call, bounds, to, selector) in calls.chain(approvals) {
        let signed = wallet().sign_call(&call, &bounds).unwrap();
        let decoded = TxEnvelope::decode_2718(&mut signed.raw.as_slice()).unwrap();
        assert_eq!(decoded.recover_signer().unwrap(), OWN);
        assert_eq!((decoded.to(), decoded.value()), (Some(to), U256::ZERO));
        assert_eq!((decoded.chain_id(), decoded.nonce()), (Some(84532), 7));
        assert_eq!(decoded.input()[..4], selector);
        assert_eq!(*decoded.input(), call.act.call_data());
    }
}

#[test]
fn refuses_what_was_not_approved() {
    type Change = fn(&mut Call, &mut CallBounds);
    let change = |call: Call, bounds: CallBounds, change: Change| {
        let (mut call, mut bounds) = (call, bounds);
        change(&mut call, &mut bounds);
        (call, bounds)
    };
    let allowed = |f: Change| change(approve(5), allowance(5), f);
    let claim = |f: Change| {
        let call = settle(Settlement::Claim, Selector::Sdk);
        change(call, settlement(Settlement::Claim), f)
    };
    #[rustfmt::skip]
    let rows = [
        // what it shows                     call and bounds                                        field
        ("as approved",                      allowed(|_, _| {}),                                    None),
        ("a claim, as approved",             claim(|_, _| {}),                                      None),
        ("another chain",                    allowed(|c, _| c.chain_id = 1),                        Some("chain_id")),
        ("the other pinned chain",           allowed(|c, _| c.chain_id = 8453),                     Some("chain_id")),
        ("another token",                    allowed(|c, _| if let Act::Approve { token, .. } = &mut c.act { *token = OTHER }), Some("token")),
        ("another spender",                  allowed(|c, _| if let Act::Approve { spender, .. } = &mut c.act { *spender = OTHER }), Some("spender")),
        ("a spender against the pin",        allowed(|c, b| { b.escrow = OTHER; if let Act::Approve { spender, .. } = &mut c.act { *spender = OTHER } }), Some("escrow")),
        ("a micro-unit more",                change(approve(6), allowance(5), |_, _| {}),           Some("amount")),
        ("a micro-unit less",                change(approve(4), allowance(5), |_, _| {}),           Some("amount")),
        ("without limit",                    change(approve(u64::MAX), allowance(5), |_, _| {}),    Some("amount")),
        ("nothing, where some was approved", change(approve(0), allowance(5), |_, _| {}),           Some("amount")),
        ("nothing, to take it back",         change(approve(0), allowance(0), |_, _| {}),           None),
        ("an allowance for a settlement",    change(approve(5), settlement(Settlement::Claim), |_, _| {}), Some("act")),
        ("another settlement",               claim(|_, b| b.approved = Approved::Settlement(Settlement::Close, U256::from(7))), Some("act")),
        ("a settlement for an allowance",    claim(|_, b| b.approved = Approved::Allowance(Usdc::ZERO)), Some("act")),
        ("another agreement",                claim(|_, b| b.approved = Approved::Settlement(Settlement::Claim, U256::from(8))), Some("agreement_id")),
        ("another escrow",                   claim(|c, _| if let Act::Settle { escrow, .. } = &mut c.act { *escrow = OTHER }), Some("escrow")),
        ("the token as escrow",              claim(|c, b| { b.escrow = USDC; if let Act::Settle { escrow, .. } = &mut c.act { *escrow = USDC } }), Some("escrow")),
        ("the highest fee",                  allowed(|c, _| c.max_fee_per_gas = FEE_WEI_MAX),       None),
        ("a wei above it",                   allowed(|c, _| c.max_fee_per_gas = FEE_WEI_MAX + 1),   Some("gas")),
        ("priority above the fee",           allowed(|c, _| c.max_priority_fee_per_gas = 2_000_000_001), Some("gas")),
        ("the most gas",                     allowed(|c, _| c.gas_limit = GAS_LIMIT_MAX),           None),
        ("a unit above it",                  allowed(|c, _| c.gas_limit = GAS_LIMIT_MAX + 1),       Some("gas")),
    ];
    for (row, (call, bounds), expected) in rows {
        let wallet = wallet();
        match (wallet.sign_call(&call, &bounds), expected) {
            (Ok(_), None) => assert_eq!(wallet.signatures(), 1, "{row}"),
            (Err(SignError::Field(refused)), Some(field)) => {
                assert_eq!((refused.field, wallet.signatures()), (field, 0), "{row}");
            }
            (result, _) => panic!("{row}: {result:?}"),
        }
    }
    let error = Wallet::default().sign_call(&approve(5), &allowance(5)).unwrap_err();
    assert!(matches!(error, SignError::NoKey { kind: KeyKind::Evm }));
}

/// The calldata of one function for agreement 7.
fn data(selector: &str) -> String {
    format!("0x{selector}{:064x}", 7)
}

#[test]
fn reads_calldata_and_says_which_selector_it_is() {
    let bounds =
        EscrowBounds { chain_id: 84532, escrow: ESCROW, agreement_id: U256::from(7), now: 0 };
    let escrow = ESCROW.to_string();
    for which in ALL {
        for selector in [Selector::Documented, Selector::Sdk] {
            let data = data(&hex::encode(which.selector(selector)));
            for (to, data, value) in [
                (escrow.clone(), data.clone(), "0"),
                (escrow.to_lowercase(), data.to_uppercase(), "0x0"),
                (escrow.clone(), data[2..].to_owned(), "0x00"),
            ] {
                let calldata = Calldata { to: &to, data: &data, value, chain_id: 84532 };
                let expected = settle(which, selector);
                let act = check_calldata(which, &calldata, &bounds).unwrap();
                assert_eq!(act, expected.act, "{data}");
                assert!(wallet().sign_call(&Call { act, ..expected }, &settlement(which)).is_ok());
            }
        }
    }
}

#[test]
fn refuses_calldata_that_does_anything_else() {
    let bounds =
        EscrowBounds { chain_id: 84532, escrow: ESCROW, agreement_id: U256::from(7), now: 0 };
    let (good, escrow) = (data("1224efde"), ESCROW.to_string());
    let other_id = format!("0x1224efde{:064x}", 8);
    let (longer, shorter) = (format!("{good}00"), good[..good.len() - 2].to_owned());
    let (odd, token) = (good[..good.len() - 1].to_owned(), USDC.to_string());
    let transfer = data("a9059cbb");
    let (withdraw, close) = (data("2e1a7d4d"), data("e8a3ac5a"));
    #[rustfmt::skip]
    let rows = [
        // what it shows                to                data              value   chain   field
        ("as it must be",               escrow.as_str(),  good.as_str(),    "0",    84532,  None),
        ("another chain",               &escrow,          &good,            "0",    1,      Some("chain_id")),
        ("the other pinned chain",      &escrow,          &good,            "0",    8453,   Some("chain_id")),
        ("another contract",            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", &good, "0", 84532, Some("to")),
        ("the token",                   &token,           &good,            "0",    84532,  Some("to")),
        ("no contract",                 "",               &good,            "0",    84532,  Some("to")),
        ("a wei",                       &escrow,          &good,            "1",    84532,  Some("value")),
        ("a wei in hex",                &escrow,          &good,            "0x1",  84532,  Some("value")),
        ("no number",                   &escrow,          &good,            "",     84532,  Some("value")),
        ("half a number",               &escrow,          &good,            "0x",   84532,  Some("value")),
        ("a negative value",            &escrow,          &good,            "-0",   84532,  Some("value")),
        ("another agreement",           &escrow,          &other_id,        "0",    84532,  Some("data")),
        ("a token's transfer",          &escrow,          &transfer,        "0",    84532,  Some("data")),
        ("another settlement",          &escrow,          &withdraw,        "0",    84532,  Some("data")),
        ("a documented one",            &escrow,          &close,           "0",    84532,  Some("data")),
        ("a byte more",                 &escrow,          &longer,          "0",    84532,  Some("data")),
        ("a byte less",                 &escrow,          &shorter,         "0",    84532,  Some("data")),
        ("half a byte less",            &escrow,          &odd,             "0",    84532,  Some("data")),
        ("the selector alone",          &escrow,          "0x1224efde",     "0",    84532,  Some("data")),
        ("no data",                     &escrow,          "0x",             "0",    84532,  Some("data")),
        ("letters that are no ASCII",   &escrow,          "é224efde",       "0",    84532,  Some("data")),
    ];
    for (row, to, data, value, chain_id, expected) in rows {
        let calldata = Calldata { to, data, value, chain_id };
        let found = check_calldata(Settlement::Claim, &calldata, &bounds);
        assert_eq!(found.err().map(|refused| refused.field), expected, "{row}");
    }
}

#[test]
fn a_receipt_tells_an_allowance_and_no_settlement() {
    // `Approval(address,address,uint256)`, known from any token's history.
    let topic = b256!("0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925");
    let amount = |micros: u64| Bytes::from(U256::from(micros).to_be_bytes::<32>().to_vec());
    let log = |address: Address, owner: Address, spender: Address, micros: u64| Log {
        address,
        topics: vec![topic, owner.into_word(), spender.into_word()],
        data: amount(micros),
    };
    let ours = log(USDC, OWN, ESCROW, 5);
    let receipt = |succeeded, logs| Receipt { transaction: B256::ZERO, block: 1, succeeded, logs };
    #[rustfmt::skip]
    let rows = [
        // what it shows          receipt                                              done
        ("ours",                  receipt(true, vec![ours.clone()]),                   true),
        ("reverted",              receipt(false, vec![ours.clone()]),                  false),
        ("no log",                receipt(true, vec![]),                               false),
        ("another token's",       receipt(true, vec![log(OTHER, OWN, ESCROW, 5)]),     false),
        ("another owner",         receipt(true, vec![log(USDC, OTHER, ESCROW, 5)]),    false),
        ("another spender",       receipt(true, vec![log(USDC, OWN, OTHER, 5)]),       false),
        ("a micro-unit more",     receipt(true, vec![log(USDC, OWN, ESCROW, 6)]),      false),
        ("and one more",          receipt(true, vec![ours.clone(), log(USDC, OWN, OTHER, 5)]), false),
    ];
    for (row, receipt, done) in rows {
        assert_eq!(approve(5).is_done(OWN, &receipt), Some(done), "{row}");
    }
    let claim = settle(Settlement::Claim, Selector::Documented);
    assert_eq!(claim.is_done(OWN, &receipt(true, vec![ours])), None);
    assert_eq!(claim.is_done(OWN, &receipt(false, vec![])), Some(false));
}
