//! What activating an agreement would cost and sign, read and checked: before the owner is asked,
//! and once more before anything is signed. Source: protocols/paegents.md §6.3, §10.2, §14.1.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Paegents,
    agreements::{Agreement, Role},
    package::{
        ActivationPackage, Asked, DepositParams, Expected, GetActivationPackage, GetDepositParams,
        first_difference,
    },
    status::{has_failed, is_funded},
    steps,
};
use crate::{
    access::Access,
    error::{Code, Error, MoneyMoved},
    ids::AgreementId,
    journal,
    marketplaces::{Marketplace, lenient::word},
    recovery::NextCall,
    spend::permit_account,
    wallet::pins,
};

/// The member of a purchase's body that has the [`Count`] as it was first seen.
const FIRST_COUNT: &str = "first_count";

/// The nonce of the wallet's activations, and how many payments of the wallet had ended before it
/// was read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Count {
    nonce: u64,
    settled: u64,
}

/// What an activation is held against, as it was read.
#[derive(Debug)]
pub struct Seen {
    /// The agreement.
    pub agreement: Agreement,
    /// What is to be signed.
    pub package: ActivationPackage,
    /// The first version's parameters.
    pub params: DepositParams,
    /// The escrow contract.
    pub escrow: Address,
    /// Our wallet.
    pub wallet: Address,
    usdc: Address,
    chain_id: u64,
    now: i64,
}

impl Seen {
    /// Reads what an activation of the agreement would sign. Checks and signs nothing.
    ///
    /// # Errors
    ///
    /// As the operations; where there is no wallet, or no escrow contract is known.
    pub async fn read(
        access: &Access,
        paegents: &Paegents,
        agreement: Agreement,
    ) -> Result<Self, Error> {
        let agreement_id = &agreement.agreement_id;
        let chain = access.chain().await?;
        let wallet = access.wallet().await?.evm_address().ok_or_else(no_wallet)?;
        let escrow = escrow(access, chain.pins())?;
        let package = paegents.api.send(&GetActivationPackage { agreement_id }).await?;
        let params = match paegents.api.send(&GetDepositParams { agreement_id }).await {
            Ok(params) => params,
            // They belong to the first version: a platform may no longer have them.
            Err(error) if error.is(Code::NotFound) => DepositParams::default(),
            Err(error) => return Err(error),
        };
        let (usdc, chain_id) = (chain.pins().usdc, chain.pins().chain_id);
        let now = access.clock().now();
        Ok(Self { agreement, package, params, escrow, wallet, usdc, chain_id, now })
    }

    /// What the package is compared with.
    #[must_use]
    pub const fn expected(&self) -> Expected<'_> {
        Expected {
            agreement: &self.agreement,
            params: &self.params,
            wallet: self.wallet,
            escrow: self.escrow,
            usdc: self.usdc,
            chain_id: self.chain_id,
            now: self.now,
        }
    }
}

/// An agreement that can be activated, with what that takes.
#[derive(Debug)]
pub struct Offer {
    /// The agreement.
    pub agreement: Agreement,
    /// What is to be signed; it was checked.
    pub package: ActivationPackage,
    /// What it costs.
    pub asked: Asked,
    /// The escrow contract.
    pub escrow: Address,
    /// Our wallet.
    pub wallet: Address,
    count: Count,
}

impl Offer {
    /// Reads and checks it. Signs nothing.
    ///
    /// # Errors
    ///
    /// As the operations; [`Code::NotAllowed`] for anyone but the buyer, [`Code::WrongState`] where
    /// it cannot be activated now, and whatever [`ActivationPackage::check`] finds.
    pub async fn read(
        access: &Access,
        paegents: &Paegents,
        agreement_id: &AgreementId,
    ) -> Result<Self, Error> {
        let agreement = paegents.agreement(agreement_id).await?;
        may_be_activated(paegents, &agreement)?;
        // In this order: what ends while the nonce is read is not among those that had ended.
        let (settled, _) = payments(access).await?;
        let seen = Seen::read(access, paegents, agreement).await?;
        let asked = seen.package.check(&seen.expected())?;
        let Seen { agreement, package, escrow, wallet, .. } = seen;
        let count = Count { nonce: package.nonces.buyer_activation_nonce, settled };
        Ok(Self { agreement, package, asked, escrow, wallet, count })
    }

    /// What policy and approval bind: what the tool was called with, what the owner is told, and
    /// everything that is signed but the nonces.
    #[must_use]
    pub fn bound(&self, by_allowance: bool) -> Value {
        let mut arguments = json!({ "agreement_id": self.agreement.agreement_id });
        if let (true, Some(members)) = (by_allowance, arguments.as_object_mut()) {
            members.insert("allowance".to_owned(), Value::Bool(true));
        }
        json!({
            "arguments": arguments,
            "described": self.described(by_allowance),
            "package": self.package.bound(),
            "agreed": {
                "quantity": self.agreement.quantity,
                "unit_price_usd": self.agreement.unit_price().ok(),
                "seller_wallet": self.package.terms.seller,
                "deposit_usd": self.asked.deposit,
                "fee_usd": self.asked.fee.map(|(amount, _)| amount),
                "fee_collector": self.asked.fee.map(|(_, collector)| collector),
            },
        })
    }

    /// The body of the purchase: what is bound, and the nonce as it was first seen. With its digest,
    /// which leaves the nonce out, since each activation moves it on.
    #[must_use]
    pub fn body(&self, by_allowance: bool) -> (Vec<u8>, String) {
        let mut body = self.bound(by_allowance);
        let digest = hex::encode(Sha256::digest(body.to_string()));
        if let Some(members) = body.as_object_mut() {
            members.insert(FIRST_COUNT.to_owned(), json!(self.count));
        }
        (body.to_string().into_bytes(), digest)
    }

    /// The first member in which this differs from what was approved. `begun` is how many payments
    /// of the wallet have been begun by now: the nonce counts on by no more than these.
    #[must_use]
    pub fn first_change(&self, approved: &Value, by_allowance: bool, begun: u64) -> Option<String> {
        let mut approved = approved.clone();
        let first = approved.as_object_mut().and_then(|members| members.remove(FIRST_COUNT));
        let present = self.bound(by_allowance);
        // The platform's own member is named before what was made from it.
        let of = |body: &Value| body.get("package").cloned().unwrap_or_default();
        let package = first_difference(&of(&approved), &of(&present));
        if let Some(field) = package.or_else(|| first_difference(&approved, &present)) {
            return Some(field);
        }
        let first = first.and_then(|count| serde_json::from_value::<Count>(count).ok());
        let is_counted = first.is_some_and(|Count { nonce, settled }| {
            let most = nonce.saturating_add(begun.saturating_sub(settled));
            (nonce..=most).contains(&self.count.nonce)
        });
        (!is_counted).then(|| "nonces.buyer_activation_nonce".to_owned())
    }

    fn described(&self, by_allowance: bool) -> String {
        let terms = &self.package.terms;
        let fee = match self.asked.fee {
            Some((fee, collector)) => {
                format!("{fee} USD as the platform's fee to {}", collector.to_checksum(None))
            }
            None => "no fee".to_owned(),
        };
        let drawn = if by_allowance {
            format!(
                ", drawn from an allowance of the wallet to the contract {}, which is given that \
                 first where it has less",
                self.escrow.to_checksum(None)
            )
        } else {
            String::new()
        };
        format!(
            "the escrow of the agreement {}: {} {} at {} USD each, so {} USD into escrow for the \
             seller's wallet {}{drawn}, and {fee}; a close can be disputed for {} h",
            self.agreement.agreement_id,
            terms.quantity,
            word(&self.agreement.unit),
            self.agreement.unit_price().unwrap_or_default(),
            self.asked.deposit,
            terms.seller.to_checksum(None),
            terms.challenge_window_seconds / 3_600,
        )
    }
}

/// How many payments of the wallet by permits and allowances have ended, and were begun.
///
/// # Errors
///
/// Where the store fails, or the chain's settings are refused.
pub async fn payments(access: &Access) -> Result<(u64, u64), Error> {
    let chain_id = access.chain().await?.pins().chain_id;
    let account = access.wallet().await?.evm_address().map(permit_account).unwrap_or_default();
    access.store().with(move |db| journal::paid_on_account(db, chain_id, &account)).await
}

/// The escrow contract of the chain in use.
///
/// # Errors
///
/// [`Code::SigningRefused`] where none is pinned or configured, or the two contradict.
pub fn escrow(access: &Access, chain: &pins::Chain) -> Result<Address, Error> {
    pins::escrow(chain, access.settings().paegents.escrow).map_err(|refused| {
        let message = format!(
            "{refused}; nothing was signed. The owner sets `escrow` under [paegents] in the \
             configuration, once they know the contract"
        );
        Error::new(Code::SigningRefused, message).at(Marketplace::Paegents).field("escrow", None)
    })
}

fn may_be_activated(paegents: &Paegents, agreement: &Agreement) -> Result<(), Error> {
    let id = &agreement.agreement_id;
    let role = agreement.role_of(paegents.agent()?);
    let refused = |code, message| {
        let error = Error::new(code, message).at(Marketplace::Paegents);
        steps::of_agreement(agreement, role).into_iter().fold(error, Error::next)
    };
    if role != Some(Role::Buyer) {
        let message = format!("only the buyer of the agreement {id} can pay its escrow");
        return Err(refused(Code::NotAllowed, message));
    }
    if !agreement.is_escrowed() {
        let message = format!(
            "the agreement {id} is paid {}, not by an escrow",
            word(&agreement.settlement_model)
        );
        return Err(refused(Code::WrongState, message));
    }
    if is_funded(agreement) {
        let message =
            format!("the escrow of the agreement {id} is funded: there is nothing to pay");
        // It was not paid from here, but whoever else has the wallet may have paid it.
        return Err(refused(Code::WrongState, message).money(MoneyMoved::Yes));
    }
    let failed = has_failed(&agreement.activation_status);
    let ready = matches!(agreement.activation_status.as_str(), "" | "none" | "ready");
    if agreement.status == "accepted" && (ready || failed) {
        return Ok(());
    }
    let message = match agreement.activation_status.as_str() {
        "submitting" => format!("the escrow of the agreement {id} is being funded already"),
        _ => format!(
            "the agreement {id} is {}; it can be paid once it is accepted",
            word(&agreement.status)
        ),
    };
    let moved = if agreement.status == "accepted" { MoneyMoved::Maybe } else { MoneyMoved::No };
    Err(refused(Code::WrongState, message).money(moved))
}

fn no_wallet() -> Error {
    let message = "there is no EVM wallet: `haggle keys generate` makes one";
    Error::new(Code::InsufficientFunds, message).at(Marketplace::Paegents)
}

/// The call that shows an agreement.
#[must_use]
pub fn look(agreement_id: &AgreementId) -> NextCall {
    let about = json!({ "agreement_id": agreement_id });
    NextCall::new("paegents_get_agreement", about, "shows where it stands")
}
