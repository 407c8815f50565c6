//! What the platform says of a settlement, held against what is known before anything is signed or
//! shown: the options, the calldata, the status.

use alloy_primitives::{Address, U256};

use crate::{
    app::App,
    chain::Chain,
    error::{Code, Error},
    ids::AgreementId,
    journal::actions::Kind,
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            Paegents,
            agreements::{Agreement, Role},
            offer::{escrow, look},
            settlement::{EscrowStatus, GetEscrowStatus, GetOptions, Instructions, Options},
            status::{is_funded, is_settled},
        },
        payable_address,
    },
    tools::paegents::reading::agreement as read_agreement,
    wallet::{
        call::{Act, Calldata, check_calldata},
        eip712::{EscrowBounds, Settlement},
    },
};

/// Whether this side can do it in this state.
///
/// # Errors
///
/// [`Code::NotAllowed`] where it is the other side's, [`Code::WrongState`] before the escrow is
/// funded.
pub(super) fn may(paegents: &Paegents, agreement: &Agreement, kind: Kind) -> Result<(), Error> {
    let role = agreement.role_of(paegents.agent()?);
    let id = &agreement.agreement_id;
    let allowed = match kind {
        Kind::Close | Kind::Approve => role.is_some(),
        Kind::Claim => role == Some(Role::Seller),
        Kind::Withdraw => role == Some(Role::Buyer),
    };
    if !allowed {
        let message = format!("{} of the agreement {id} is not yours to do", kind.name());
        return Err(Error::new(Code::NotAllowed, message).at(Marketplace::Paegents).next(look(id)));
    }
    if is_funded(agreement) || is_settled(&agreement.settlement_status) {
        return Ok(());
    }
    let status = word(&agreement.status);
    let message = format!("the agreement {id} is {status}, and its escrow was never funded");
    Err(Error::new(Code::WrongState, message).at(Marketplace::Paegents).next(look(id)))
}

/// Where an escrow stands.
///
/// # Errors
///
/// As sending an operation; [`Code::UpstreamMalformed`] where another agreement's comes back.
pub(super) async fn status(paegents: &Paegents, id: &AgreementId) -> Result<EscrowStatus, Error> {
    let status = paegents.api.send(&GetEscrowStatus { agreement_id: id }).await?;
    if status.agreement_id == *id {
        return Ok(status);
    }
    let message = format!("Paegents answered for {id} with the escrow of another agreement");
    Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents))
}

/// What can be done for this wallet, compared with what is known.
///
/// # Errors
///
/// As sending an operation; [`Code::TermsMismatch`], [`Code::ChainMismatch`] or
/// [`Code::SigningRefused`], which name the member that differs.
pub(super) async fn options(
    app: &App,
    paegents: &Paegents,
    agreement_id: &AgreementId,
    kind: Kind,
) -> Result<(Options, EscrowBounds), Error> {
    let (chain, wallet) = (app.chain().await?, app.wallet().await?);
    let own = wallet.evm_address().ok_or_else(|| {
        Error::new(Code::InsufficientFunds, "there is no EVM wallet: `haggle keys generate`")
    })?;
    let signer_wallet_address = &own.to_checksum(None);
    let ask = GetOptions { agreement_id, action: kind.name(), signer_wallet_address };
    let options = paegents.api.send(&ask).await?;
    let agreement = read_agreement(paegents, agreement_id).await?;
    let bounds = compared(app, &options, &agreement, &chain, own)?;
    Ok((options, bounds))
}

/// Compares everything that is known with what is to be signed.
fn compared(
    app: &App,
    options: &Options,
    agreement: &Agreement,
    chain: &Chain,
    own: Address,
) -> Result<EscrowBounds, Error> {
    let pinned = escrow(app, chain.pins())?;
    let (id, known) = (&agreement.agreement_id, agreement.onchain_agreement_id);
    let is = |said: &str, address| said.is_empty() || payable_address(said) == Some(address);
    #[rustfmt::skip]
    let rules = [
        ("agreement_id", options.agreement_id == *id, Code::TermsMismatch),
        ("chain_id", options.chain_id == chain.pins().chain_id, Code::ChainMismatch),
        ("signer_wallet_address", is(options.signer_wallet_address.trim(), own), Code::SigningRefused),
        ("escrow_contract_address", is(options.escrow_contract_address.trim(), pinned), Code::SigningRefused),
        ("onchain_agreement_id", known.is_none_or(|id| id == options.onchain_agreement_id), Code::SigningRefused),
    ];
    if let Some((field, _, code)) = rules.into_iter().find(|(_, holds, _)| !holds) {
        let message = format!("the options' {field} is not the known one; nothing was signed");
        let error = Error::new(code, message).at(Marketplace::Paegents);
        return Err(error.field(field, None).next(look(id)));
    }
    Ok(EscrowBounds {
        chain_id: chain.pins().chain_id,
        escrow: pinned,
        agreement_id: U256::from(options.onchain_agreement_id),
        now: u64::try_from(app.clock().now()).unwrap_or(0),
    })
}

/// The call that a wallet would send, where it is the one that is meant.
///
/// # Errors
///
/// [`Code::SigningRefused`], which names the member.
pub(super) fn call(
    instructions: &Instructions,
    settlement: Settlement,
    bounds: &EscrowBounds,
) -> Result<Act, Error> {
    let refused = |field: &str, problem: String| {
        let message = format!("the calldata's {field} {problem}; nothing was signed");
        Error::new(Code::SigningRefused, message).at(Marketplace::Paegents).field(field, None)
    };
    let named = Settlement::of_function(&instructions.function);
    if !instructions.function.is_empty() && named != Some(settlement) {
        return Err(refused("function", "is another function's".to_owned()));
    }
    let Some(call) = &instructions.transaction else {
        return Err(refused("transaction", "is missing".to_owned()));
    };
    let number = instructions.onchain_agreement_id.map(U256::from);
    if number.is_some_and(|number| number != bounds.agreement_id) {
        return Err(refused("onchain_agreement_id", "is another agreement's".to_owned()));
    }
    let calldata = Calldata {
        to: &call.to,
        data: &call.data,
        value: &call.value,
        chain_id: instructions.chain_id.unwrap_or(bounds.chain_id),
    };
    check_calldata(settlement, &calldata, bounds)
        .map_err(|error| refused(error.field, format!("cannot be used: {}", error.reason)))
}
