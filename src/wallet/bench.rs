//! The signing functions, for the benchmarks and for the comparison with other signers, which are
//! other crates. No module of the program uses it.

use super::{
    SignError, SignedTransaction, TextRule, Transfer, TransferError, Wallet,
    call::{Call, CallBounds},
    eip712::{
        Action, Activation, ActivationBounds, Authorization, AuthorizationBounds, Deposit,
        EscrowBounds, Permit, PermitBounds, Settlement, Signed,
    },
    x402::{Demand, Header, Requirement},
};

/// `Wallet::sign_text`.
pub fn sign_text(wallet: &Wallet, text: &str, rule: &TextRule<'_>) -> Result<String, SignError> {
    wallet.sign_text(text, rule)
}

/// `Wallet::sign_text_solana`.
pub fn sign_text_solana(
    wallet: &Wallet,
    text: &str,
    rule: &TextRule<'_>,
) -> Result<String, SignError> {
    wallet.sign_text_solana(text, rule)
}

/// `Wallet::sign_transfer`.
pub fn sign_transfer(
    wallet: &Wallet,
    transfer: &Transfer,
) -> Result<SignedTransaction, TransferError> {
    wallet.sign_transfer(transfer)
}

/// `Wallet::sign_permit`.
pub fn sign_permit(
    wallet: &Wallet,
    permit: &Permit,
    bounds: &PermitBounds,
) -> Result<Signed, SignError> {
    wallet.sign_permit(permit, bounds)
}

/// `Wallet::sign_deposit`.
pub fn sign_deposit(
    wallet: &Wallet,
    deposit: &Deposit,
    bounds: &EscrowBounds,
) -> Result<Signed, SignError> {
    wallet.sign_deposit(deposit, bounds)
}

/// `Wallet::sign_close`, `Wallet::sign_claim`, `Wallet::sign_withdraw`.
pub fn sign_action(
    wallet: &Wallet,
    settlement: Settlement,
    action: &Action,
    bounds: &EscrowBounds,
) -> Result<Signed, SignError> {
    match settlement {
        Settlement::Close => wallet.sign_close(action, bounds),
        Settlement::Claim => wallet.sign_claim(action, bounds),
        Settlement::Withdraw => wallet.sign_withdraw(action, bounds),
    }
}

/// `Wallet::sign_activation`.
pub fn sign_activation(
    wallet: &Wallet,
    activation: &Activation,
    bounds: &ActivationBounds,
) -> Result<Signed, SignError> {
    wallet.sign_activation(activation, bounds)
}

/// `Wallet::sign_call`.
pub fn sign_call(
    wallet: &Wallet,
    call: &Call,
    bounds: &CallBounds,
) -> Result<SignedTransaction, SignError> {
    wallet.sign_call(call, bounds)
}

/// `Wallet::x402_v1`.
pub fn x402_v1(
    wallet: &Wallet,
    authorization: &Authorization,
    bounds: &AuthorizationBounds,
) -> Result<Header, SignError> {
    wallet.x402_v1(authorization, bounds)
}

/// `Wallet::x402_v2`.
pub fn x402_v2(
    wallet: &Wallet,
    authorization: &Authorization,
    bounds: &AuthorizationBounds,
    requirement: &Requirement,
    demand: &Demand,
) -> Result<Header, SignError> {
    wallet.x402_v2(authorization, bounds, requirement, demand)
}
