//! What is to be known before an escrow is paid or ended: the package, the status, the options, the
//! calldata, each compared with what is known. Signs nothing.

pub mod shown;

use alloy_primitives::Address;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use shown::{CalldataView, DepositParamsView, EscrowStatusView, OptionsView, PackageView};

use super::checked;
use crate::{
    app::App,
    error::Error,
    ids::AgreementId,
    journal::actions::Kind,
    marketplaces::{
        paegents::{
            agreements::{Agreement, Role},
            offer::{Seen, escrow},
            package::{DepositParams, GetDepositParams},
            settlement::{EscrowStatus, GetClaimInstructions, GetCloseCalldata},
            status::is_settled,
            steps,
        },
        payable_address,
    },
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{
        Args, Reply, input, output,
        paegents::reading::{agreement as read_agreement, agreement_as},
        wait::Wait,
    },
    wallet::eip712::Settlement,
};

/// Arguments of what is read of one agreement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadArgs {
    /// Which.
    pub agreement_id: AgreementId,
}

/// A settlement status to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UntilWord {
    /// The challenge window is over.
    Finalized,
    /// It is paid out.
    Settled,
}

/// Arguments of `paegents_get_escrow_status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscrowStatusArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// Settlement status to wait for; default either.
    #[serde(default)]
    pub until: Option<UntilWord>,
    /// Default 0, at most 50 (600 with progress).
    #[serde(default)]
    pub wait_seconds: Option<u64>,
}

/// What ends an escrow, or takes money out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ActionWord {
    /// The challenge window begins.
    Close,
    /// The seller takes what was earned.
    Claim,
    /// The buyer takes what was not used.
    Withdraw,
}

impl ActionWord {
    /// The journal's word for it.
    const fn kind(self) -> Kind {
        match self {
            Self::Close => Kind::Close,
            Self::Claim => Kind::Claim,
            Self::Withdraw => Kind::Withdraw,
        }
    }

    const fn settlement(self) -> Settlement {
        match self {
            Self::Close => Settlement::Close,
            Self::Claim => Settlement::Claim,
            Self::Withdraw => Settlement::Withdraw,
        }
    }

    /// The call that does it.
    const fn tool(self) -> &'static str {
        match self {
            Self::Close => "paegents_close_escrow",
            Self::Claim => "paegents_claim_earnings",
            Self::Withdraw => "paegents_withdraw_remainder",
        }
    }
}

/// Arguments of `paegents_get_settlement_options`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// What to do.
    pub action: ActionWord,
}

#[tool_router(router = paegents_settlement_read_tools, vis = "pub(crate)")]
impl Server {
    /// What activating an agreement would sign, and whether each check of it holds. Signs nothing.
    #[tool(
        name = "paegents_get_activation_package",
        input_schema = input::<ReadArgs>(),
        output_schema = output::<PackageView>(),
        annotations(
            title = "Check a Paegents activation",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_activation_package(
        &self,
        Args(args): Args<ReadArgs>,
    ) -> Result<Reply<PackageView>, Error> {
        package(self.app(), &args.agreement_id).await
    }

    /// Money and state of an escrow; can wait for its settlement.
    #[tool(
        name = "paegents_get_escrow_status",
        input_schema = input::<EscrowStatusArgs>(),
        output_schema = output::<EscrowStatusView>(),
        annotations(
            title = "Get a Paegents escrow",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_escrow_status(
        &self,
        Args(args): Args<EscrowStatusArgs>,
        owner: Owner,
    ) -> Result<Reply<EscrowStatusView>, Error> {
        escrow_status(self.app(), &owner, &args).await
    }

    /// Whether and how a settlement can be sent now, and what it would bring.
    #[tool(
        name = "paegents_get_settlement_options",
        input_schema = input::<OptionsArgs>(),
        output_schema = output::<OptionsView>(),
        annotations(
            title = "Get Paegents settlement options",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_settlement_options(
        &self,
        Args(args): Args<OptionsArgs>,
    ) -> Result<Reply<OptionsView>, Error> {
        options(self.app(), &args).await
    }

    /// The checked transaction by which your wallet claims (seller) or withdraws (buyer) itself.
    #[tool(
        name = "paegents_get_claim_instructions",
        input_schema = input::<ReadArgs>(),
        output_schema = output::<CalldataView>(),
        annotations(
            title = "Get Paegents claim calldata",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_claim_instructions(
        &self,
        Args(args): Args<ReadArgs>,
    ) -> Result<Reply<CalldataView>, Error> {
        calldata(self.app(), &args.agreement_id, false).await
    }

    /// The checked transaction by which your wallet closes an escrow itself.
    #[tool(
        name = "paegents_get_close_calldata",
        input_schema = input::<ReadArgs>(),
        output_schema = output::<CalldataView>(),
        annotations(
            title = "Get Paegents close calldata",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_close_calldata(
        &self,
        Args(args): Args<ReadArgs>,
    ) -> Result<Reply<CalldataView>, Error> {
        calldata(self.app(), &args.agreement_id, true).await
    }

    /// The first version's deposit parameters, compared with pins, wallet and agreement.
    #[tool(
        name = "paegents_get_deposit_params",
        input_schema = input::<ReadArgs>(),
        output_schema = output::<DepositParamsView>(),
        annotations(
            title = "Get Paegents deposit parameters",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_deposit_params(
        &self,
        Args(args): Args<ReadArgs>,
    ) -> Result<Reply<DepositParamsView>, Error> {
        deposit_params(self.app(), &args.agreement_id).await
    }
}

async fn package(app: &App, id: &AgreementId) -> Result<Reply<PackageView>, Error> {
    app.refresh_clock().await?;
    let paegents = app.paegents().await?;
    let agreement = agreement_as(&paegents, id, Role::Buyer).await?;
    let seen = Seen::read(app, &paegents, agreement).await?;
    let view = PackageView::of(&seen);
    // What would not be signed is nobody's to pay.
    let next = if view.all_hold {
        steps::of_agreement(&seen.agreement, Some(Role::Buyer))
    } else {
        Vec::new()
    };
    Ok(Reply { view, next })
}

async fn escrow_status(
    app: &App,
    owner: &Owner,
    args: &EscrowStatusArgs,
) -> Result<Reply<EscrowStatusView>, Error> {
    let what = "waiting for the settlement";
    let id = &args.agreement_id;
    let mut wait = Wait::begin(app, owner, args.wait_seconds)?;
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let is_reached = |status: &EscrowStatus| match args.until {
        Some(UntilWord::Finalized) => status.settlement_status == "finalized",
        Some(UntilWord::Settled) => status.settlement_status == "settled",
        None => is_settled(&status.settlement_status),
    };
    let status = loop {
        match checked::status(&paegents, id).await {
            Ok(status) if is_reached(&status) || !wait.again(what).await => break status,
            Ok(_) => {}
            Err(error) if wait.again_after(&error, what).await => {}
            Err(error) => return Err(error),
        }
    };
    let agreement = read_agreement(&paegents, id).await?;
    let role = agreement.role_of(paegents.agent()?);
    let view = EscrowStatusView::of(&status, is_reached(&status));
    Ok(Reply { view, next: steps::of_agreement(&agreement, role) })
}

async fn options(app: &App, args: &OptionsArgs) -> Result<Reply<OptionsView>, Error> {
    app.refresh_clock().await?;
    let (id, action) = (&args.agreement_id, args.action);
    let paegents = app.paegents().await?;
    let agreement = read_agreement(&paegents, id).await?;
    checked::may(&paegents, &agreement, action.kind())?;
    let (options, _) = checked::options(app, &paegents, id, action.kind()).await?;
    let view = OptionsView::of(&options, action);
    let next = if view.available {
        vec![does(action, id)]
    } else {
        others(&agreement, agreement.role_of(paegents.agent()?), action)
    };
    Ok(Reply { view, next })
}

async fn calldata(app: &App, id: &AgreementId, closes: bool) -> Result<Reply<CalldataView>, Error> {
    app.refresh_clock().await?;
    let paegents = app.paegents().await?;
    let agreement = read_agreement(&paegents, id).await?;
    let role = agreement.role_of(paegents.agent()?);
    let action = match (closes, role) {
        (true, _) => ActionWord::Close,
        (false, Some(Role::Seller)) => ActionWord::Claim,
        (false, Some(Role::Buyer) | None) => ActionWord::Withdraw,
    };
    checked::may(&paegents, &agreement, action.kind())?;
    let (_, bounds) = checked::options(app, &paegents, id, action.kind()).await?;
    let instructions = if closes {
        paegents.api.send(&GetCloseCalldata { agreement_id: id }).await?
    } else {
        paegents.api.send(&GetClaimInstructions { agreement_id: id }).await?
    };
    // Without a transaction there is nothing to do now, and nothing to check.
    let act = match &instructions.transaction {
        Some(_) => Some(checked::call(&instructions, action.settlement(), &bounds)?),
        None => None,
    };
    let view = CalldataView::of(id, action, &instructions, act.as_ref(), bounds.chain_id);
    let next = match act {
        Some(_) => vec![does(action, id)],
        None => others(&agreement, role, action),
    };
    Ok(Reply { view, next })
}

async fn deposit_params(app: &App, id: &AgreementId) -> Result<Reply<DepositParamsView>, Error> {
    let paegents = app.paegents().await?;
    let agreement = agreement_as(&paegents, id, Role::Buyer).await?;
    let (chain, own) = (app.chain().await?, app.wallet().await?.evm_address());
    let pinned = escrow(app, chain.pins())?;
    let params = paegents.api.send(&GetDepositParams { agreement_id: id }).await?;
    let pins = chain.pins();
    let checks = differences(&params, &agreement, (pins.chain_id, pins.usdc, pinned), own);
    let view = DepositParamsView::of(id, &params, checks);
    let next = steps::of_agreement(&agreement, Some(Role::Buyer));
    Ok(Reply { view, next })
}

/// Each member that can be known, whether it is as it must be, and what is wrong where it is not.
fn differences(
    params: &DepositParams,
    agreement: &Agreement,
    (chain_id, usdc, escrow): (u64, Address, Address),
    own: Option<Address>,
) -> [(&'static str, bool, &'static str); 6] {
    let is = |said: &str, known| payable_address(said) == Some(known);
    let deposit = agreement.deposit().ok().map(crate::money::Usdc::micros);
    let buyer = params.buyer_wallet_address.trim();
    let own_buyer = buyer.is_empty() || own.is_some_and(|own| is(buyer, own));
    let named = params.agreement_id.as_str();
    let own_agreement = named.is_empty() || named == agreement.agreement_id.as_str();
    let own_contract = is(&params.escrow_contract_address, escrow);
    let own_amount = params.service_amount_atomic.is_none_or(|amount| Some(amount) == deposit);
    #[rustfmt::skip]
    let checks = [
        ("agreement_id", own_agreement, "is another agreement's"),
        ("chain_id", params.chain_id == Some(chain_id), "is not the chain in use"),
        ("usdc_address", is(&params.usdc_address, usdc), "is not the USDC of this chain"),
        ("escrow_contract_address", own_contract, "is not the escrow contract of this chain"),
        ("buyer_wallet_address", own_buyer, "is not this wallet"),
        ("service_amount_atomic", own_amount, "is not quantity times price"),
    ];
    checks
}

fn does(action: ActionWord, id: &AgreementId) -> NextCall {
    NextCall::new(action.tool(), json!({ "agreement_id": id }), "does it, once, and follows it")
}

/// What else makes sense, where an action cannot be done now.
fn others(agreement: &Agreement, role: Option<Role>, action: ActionWord) -> Vec<NextCall> {
    let calls = steps::of_agreement(agreement, role).into_iter();
    calls.filter(|call| call.tool != action.tool()).collect()
}
