//! The USDC contract: its calls, its state, its EIP-712 signatures.
//!
//! Every check comes before the first write, so a call that reverts has changed nothing.

use alloy_primitives::{Address, B256, Bytes, Log, LogData, Signature, U256};
use alloy_sol_types::{Eip712Domain, SolCall, SolEvent, SolStruct, eip712_domain};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    money::Usdc,
    sandbox::chain::{
        self, CHAIN_ID, USDC,
        calls::{
            CancelAuthorization, Permit, TransferWithAuthorization,
            Usdc::{self as Abi, UsdcCalls as Call},
        },
        put_account, unsigned,
    },
};

/// What a call did.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The encoded answer.
    pub(crate) output: Vec<u8>,
    /// The logs it wrote.
    pub(crate) logs: Vec<Log>,
    /// The USDC it moved: from, to, how much.
    pub(crate) moved: Option<(Address, Address, Usdc)>,
}

/// Why a call did nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The contract's words; empty where it has none.
    Revert(&'static str),
    /// The sandbox's own trouble.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The domain of the contract's signatures.
pub(crate) fn domain() -> Eip712Domain {
    eip712_domain! {
        name: "USDC",
        version: "2",
        chain_id: CHAIN_ID,
        verifying_contract: USDC,
    }
}

/// Carries out `input` for `caller` at `now`, in seconds.
pub(crate) fn call(
    db: &Connection,
    caller: Address,
    input: &[u8],
    now: u64,
) -> Result<Effects, Failure> {
    let call = <Call as alloy_sol_types::SolInterface>::abi_decode(input)
        .map_err(|_| Failure::Revert(""))?;
    match call {
        Call::name(_) => Ok(view(Abi::nameCall::abi_encode_returns(&"USDC".to_owned()))),
        Call::symbol(_) => Ok(view(Abi::symbolCall::abi_encode_returns(&"USDC".to_owned()))),
        Call::version(_) => Ok(view(Abi::versionCall::abi_encode_returns(&"2".to_owned()))),
        Call::decimals(_) => Ok(view(Abi::decimalsCall::abi_encode_returns(&6))),
        Call::DOMAIN_SEPARATOR(_) => Ok(view(domain().separator().to_vec())),
        Call::balanceOf(call) => Ok(word(U256::from(chain::account(db, call.account)?.usdc))),
        Call::nonces(call) => Ok(word(U256::from(chain::account(db, call.owner)?.permit_nonce))),
        Call::allowance(call) => Ok(word(allowance(db, call.owner, call.spender)?)),
        Call::authorizationState(call) => {
            Ok(word(U256::from(is_used(db, call.authorizer, call.nonce)?)))
        }
        Call::transfer(call) => transfer(db, caller, call.to, call.value),
        Call::approve(call) => approve(db, caller, call.spender, call.value),
        Call::transferFrom(call) => transfer_from(db, caller, &call),
        Call::permit_0(call) => {
            let signature = vrs(call.v, call.r, call.s);
            permit(db, (call.owner, call.spender, call.value, call.deadline), signature, now)
        }
        Call::permit_1(call) => {
            let signature = joined(&call.signature);
            permit(db, (call.owner, call.spender, call.value, call.deadline), signature, now)
        }
        Call::transferWithAuthorization_0(call) => {
            let terms = TransferWithAuthorization {
                from: call.from,
                to: call.to,
                value: call.value,
                validAfter: call.validAfter,
                validBefore: call.validBefore,
                nonce: call.nonce,
            };
            authorized(db, &terms, vrs(call.v, call.r, call.s), now)
        }
        Call::transferWithAuthorization_1(call) => {
            let terms = TransferWithAuthorization {
                from: call.from,
                to: call.to,
                value: call.value,
                validAfter: call.validAfter,
                validBefore: call.validBefore,
                nonce: call.nonce,
            };
            authorized(db, &terms, joined(&call.signature), now)
        }
        Call::cancelAuthorization(call) => {
            let terms = CancelAuthorization { authorizer: call.authorizer, nonce: call.nonce };
            cancel(db, &terms, vrs(call.v, call.r, call.s))
        }
    }
}

fn view(output: Vec<u8>) -> Effects {
    Effects { output, ..Effects::default() }
}

fn word(value: U256) -> Effects {
    view(value.to_be_bytes_vec())
}

/// A log of the contract, and `true` as the answer.
fn done(data: LogData) -> Effects {
    let output = U256::from(1).to_be_bytes_vec();
    Effects { output, logs: vec![Log { address: USDC, data }], moved: None }
}

/// Moves `value` micro-units from `from` to `to`.
pub(crate) fn transfer(
    db: &Connection,
    from: Address,
    to: Address,
    value: U256,
) -> Result<Effects, Failure> {
    if to == Address::ZERO {
        return Err(Failure::Revert("ERC20: transfer to the zero address"));
    }
    let mut payer = chain::account(db, from)?;
    let left = u64::try_from(value).ok().and_then(|value| payer.usdc.checked_sub(value));
    let Some(left) = left else {
        return Err(Failure::Revert("ERC20: transfer amount exceeds balance"));
    };
    let micros = payer.usdc - left;
    payer.usdc = left;
    put_account(db, from, &payer)?;
    let mut receiver = chain::account(db, to)?;
    receiver.usdc = receiver.usdc.saturating_add(micros);
    put_account(db, to, &receiver)?;
    let mut effects = done(Abi::Transfer { from, to, value }.encode_log_data());
    effects.moved = (micros > 0).then_some((from, to, Usdc::from_micros(micros)));
    Ok(effects)
}

/// Moves an allowance's USDC for `caller`, who it was given to.
pub(crate) fn transfer_from(
    db: &Connection,
    caller: Address,
    call: &Abi::transferFromCall,
) -> Result<Effects, Failure> {
    let allowed = allowance(db, call.from, caller)?;
    let Some(left) = allowed.checked_sub(call.value) else {
        return Err(Failure::Revert("ERC20: transfer amount exceeds allowance"));
    };
    let effects = transfer(db, call.from, call.to, call.value)?;
    // An unlimited allowance stays unlimited.
    if allowed != U256::MAX {
        set_allowance(db, call.from, caller, left)?;
    }
    Ok(effects)
}

fn approve(
    db: &Connection,
    owner: Address,
    spender: Address,
    value: U256,
) -> Result<Effects, Failure> {
    if spender == Address::ZERO {
        return Err(Failure::Revert("ERC20: approve to the zero address"));
    }
    set_allowance(db, owner, spender, value)?;
    Ok(done(Abi::Approval { owner, spender, value }.encode_log_data()))
}

/// Sets an allowance by its owner's signature: owner, spender, value, deadline.
pub(crate) fn permit(
    db: &Connection,
    (owner, spender, value, deadline): (Address, Address, U256, U256),
    signature: Option<Signature>,
    now: u64,
) -> Result<Effects, Failure> {
    if deadline < U256::from(now) {
        return Err(Failure::Revert("FiatTokenV2: permit is expired"));
    }
    let mut account = chain::account(db, owner)?;
    let nonce = U256::from(account.permit_nonce);
    let terms = Permit { owner, spender, value, nonce, deadline };
    if !is_signed(&terms, signature, owner) {
        return Err(Failure::Revert("EIP2612: invalid signature"));
    }
    let mut effects = approve(db, owner, spender, value)?;
    account.permit_nonce += 1;
    put_account(db, owner, &account)?;
    effects.output.clear();
    Ok(effects)
}

fn authorized(
    db: &Connection,
    terms: &TransferWithAuthorization,
    signature: Option<Signature>,
    now: u64,
) -> Result<Effects, Failure> {
    if U256::from(now) <= terms.validAfter {
        return Err(Failure::Revert("FiatTokenV2: authorization is not yet valid"));
    }
    if U256::from(now) >= terms.validBefore {
        return Err(Failure::Revert("FiatTokenV2: authorization is expired"));
    }
    if is_used(db, terms.from, terms.nonce)? {
        return Err(Failure::Revert("FiatTokenV2: authorization is used or canceled"));
    }
    if !is_signed(terms, signature, terms.from) {
        return Err(Failure::Revert("FiatTokenV2: invalid signature"));
    }
    let mut effects = transfer(db, terms.from, terms.to, terms.value)?;
    mark_used(db, terms.from, terms.nonce)?;
    let used = Abi::AuthorizationUsed { authorizer: terms.from, nonce: terms.nonce };
    effects.logs.insert(0, Log { address: USDC, data: used.encode_log_data() });
    effects.output.clear();
    Ok(effects)
}

fn cancel(
    db: &Connection,
    terms: &CancelAuthorization,
    signature: Option<Signature>,
) -> Result<Effects, Failure> {
    if is_used(db, terms.authorizer, terms.nonce)? {
        return Err(Failure::Revert("FiatTokenV2: authorization is used or canceled"));
    }
    if !is_signed(terms, signature, terms.authorizer) {
        return Err(Failure::Revert("FiatTokenV2: invalid signature"));
    }
    mark_used(db, terms.authorizer, terms.nonce)?;
    let event = Abi::AuthorizationCanceled { authorizer: terms.authorizer, nonce: terms.nonce };
    let mut effects = done(event.encode_log_data());
    effects.output.clear();
    Ok(effects)
}

/// A signature in three parts. The contract takes 27 and 28 for `v` and nothing else.
fn vrs(v: u8, r: B256, s: B256) -> Option<Signature> {
    let parity = match v {
        27 => false,
        28 => true,
        _ => return None,
    };
    Some(Signature::from_scalars_and_parity(r, s, parity))
}

/// A signature in one piece of 65 bytes.
pub(crate) fn joined(bytes: &Bytes) -> Option<Signature> {
    let (rs, v) = bytes.split_at_checked(64)?;
    let (r, s) = rs.split_at_checked(32)?;
    let [v] = v else { return None };
    vrs(*v, B256::from_slice(r), B256::from_slice(s))
}

/// Whether `signer` signed the terms; a high `s` is refused as the contract does.
fn is_signed<T: SolStruct>(terms: &T, signature: Option<Signature>, signer: Address) -> bool {
    let Some(signature) = signature.filter(|s| s.normalize_s().is_none()) else { return false };
    let digest = terms.eip712_signing_hash(&domain());
    signature.recover_address_from_prehash(&digest).is_ok_and(|found| found == signer)
}

/// How much `spender` may take from `owner`.
pub(crate) fn allowance(
    db: &Connection,
    owner: Address,
    spender: Address,
) -> rusqlite::Result<U256> {
    let amount: Option<String> = db
        .prepare_cached("SELECT amount FROM chain_allowances WHERE owner = ?1 AND spender = ?2")?
        .query_row(params![owner.to_string(), spender.to_string()], |row| row.get(0))
        .optional()?;
    Ok(amount.and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn set_allowance(
    db: &Connection,
    owner: Address,
    spender: Address,
    amount: U256,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO chain_allowances (owner, spender, amount) VALUES (?1, ?2, ?3)
         ON CONFLICT (owner, spender) DO UPDATE SET amount = excluded.amount",
    )?
    .execute(params![owner.to_string(), spender.to_string(), amount.to_string()])?;
    Ok(())
}

fn is_used(db: &Connection, authorizer: Address, nonce: B256) -> rusqlite::Result<bool> {
    let count: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM chain_authorizations WHERE authorizer = ?1 AND nonce = ?2",
        )?
        .query_row(params![authorizer.to_string(), nonce.to_string()], |row| row.get(0))?;
    Ok(unsigned(count) > 0)
}

fn mark_used(db: &Connection, authorizer: Address, nonce: B256) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO chain_authorizations (authorizer, nonce) VALUES (?1, ?2)")?
        .execute(params![authorizer.to_string(), nonce.to_string()])?;
    Ok(())
}
