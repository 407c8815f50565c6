//! The activation package: what a buyer is asked to sign, and the checks before it. Source:
//! protocols/paegents.md §6.3, §6.5, §10.2.
//!
//! Everything that can be known beforehand is compared with it. The keys, hashes and the salt have
//! no published formula: their form is checked, and they are bound as they were first seen.

use alloy_primitives::{Address, B256};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agreements::Agreement;
use crate::{
    error::{Code, Error},
    ids::AgreementId,
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
        lenient::{maybe_number, number, text},
        payable_address,
    },
    money::Usdc,
};

/// The challenge windows that are signed, in seconds: an hour to a week. The platform's is a day.
pub const CHALLENGE_SECONDS: std::ops::RangeInclusive<u64> = 3_600..=604_800;
/// How far ahead an intent may expire, in seconds: 30 days.
pub const EXPIRY_SECONDS_MAX: u64 = 2_592_000;
/// The most of a deposit that the platform's fee may be, in percent; the published one is 2 and
/// 0.003 USD.
const FEE_PERCENT_MAX: u64 = 5;
/// A fee up to this is never too high for a small deposit.
const FEE_FLOOR: Usdc = Usdc::from_micros(500_000);

/// Reads it: `GET /usage-agreements/{id}/activation-package`.
#[derive(Debug, Serialize)]
pub struct GetActivationPackage<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetActivationPackage<'_> {
    const NAME: &'static str = "paegents.get_activation_package";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = ActivationPackage;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/activation-package", self.agreement_id)
    }
}

/// Reads the first version's parameters: `GET /usage-agreements/{id}/deposit-params`. They name the
/// chain and the wallet that collects the fee, which a package does not.
#[derive(Debug, Serialize)]
pub struct GetDepositParams<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
}

impl Operation for GetDepositParams<'_> {
    const NAME: &'static str = "paegents.get_deposit_params";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = DepositParams;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/deposit-params", self.agreement_id)
    }
}

/// The first version's parameters.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DepositParams {
    /// The chain.
    #[serde(default, deserialize_with = "maybe_number")]
    pub chain_id: Option<u64>,
    /// The token.
    #[serde(default, deserialize_with = "text")]
    pub usdc_address: String,
    /// The escrow contract.
    #[serde(default, deserialize_with = "text")]
    pub escrow_contract_address: String,
    /// What the units cost, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub service_amount_atomic: Option<u64>,
    /// The escrow's number in the contract.
    #[serde(default, deserialize_with = "maybe_number")]
    pub onchain_agreement_id: Option<u64>,
    /// The platform's fee, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub infra_fee_amount_atomic: Option<u64>,
    /// The fee of each call, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub per_call_fee_amount_atomic: Option<u64>,
    /// The wallet that collects the fee.
    #[serde(default, deserialize_with = "text")]
    pub gas_wallet_address: String,
    /// The wallet that pays.
    #[serde(default, deserialize_with = "text")]
    pub buyer_wallet_address: String,
}

/// What a buyer is asked to sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActivationPackage {
    /// `v2`.
    #[serde(default, deserialize_with = "text")]
    pub activation_version: String,
    /// The agreement.
    pub agreement_id: AgreementId,
    /// The platform's own hash of the agreement's identifier. No published formula.
    pub platform_agreement_id_hash: B256,
    /// The escrow's key in the contract. No published formula.
    pub agreement_key: B256,
    /// The terms.
    pub terms: Terms,
    /// The contract's nonces.
    pub nonces: Nonces,
    /// How the deposit can be drawn.
    pub funding: Funding,
    /// The platform's fee.
    #[serde(default)]
    pub infra_fee: Option<InfraFee>,
}

/// The terms of an escrow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// The wallet that pays.
    pub buyer: Address,
    /// The wallet that is paid.
    pub seller: Address,
    /// The token.
    pub token: Address,
    /// Who signs the receipts of use.
    #[serde(default)]
    pub receipt_signer: Option<Address>,
    /// How many units.
    #[serde(deserialize_with = "number")]
    pub quantity: u64,
    /// What one costs, in micro-units.
    #[serde(deserialize_with = "number")]
    pub price_per_unit_atomic: u64,
    /// What is deposited, in micro-units.
    #[serde(deserialize_with = "number")]
    pub deposit_amount_atomic: u64,
    /// How long a close can be disputed.
    #[serde(deserialize_with = "number")]
    pub challenge_window_seconds: u64,
    /// Until when the intent can be used, in Unix seconds.
    #[serde(deserialize_with = "number")]
    pub expiry: u64,
    /// Of the service. No published formula.
    pub service_hash: B256,
    /// Of the terms. No published formula.
    pub terms_hash: B256,
    /// Makes it unique.
    pub salt: B256,
}

/// The contract's nonces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nonces {
    /// Of the buyer's activations.
    #[serde(deserialize_with = "number")]
    pub buyer_activation_nonce: u64,
}

/// How the deposit can be drawn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Funding {
    /// `erc2612_permit`, `prior_allowance`.
    #[serde(default)]
    pub mode_options: Vec<String>,
    /// The token.
    pub token_address: Address,
    /// The escrow contract.
    #[serde(default)]
    pub spender: Option<Address>,
}

/// The platform's fee.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InfraFee {
    /// How much, in micro-units.
    #[serde(default, deserialize_with = "number")]
    pub amount_atomic: u64,
    /// Whether none is asked.
    #[serde(default)]
    pub waived: bool,
    /// `pending`, `paid`, or another word.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// Who collects it.
    #[serde(default)]
    pub spender: Option<Address>,
    /// The token.
    #[serde(default)]
    pub token_address: Option<Address>,
}

/// What a package is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The agreement, as it was read.
    pub agreement: &'a Agreement,
    /// The first version's parameters, as they were read.
    pub params: &'a DepositParams,
    /// Our wallet.
    pub wallet: Address,
    /// The escrow contract of the chain.
    pub escrow: Address,
    /// The token of the chain.
    pub usdc: Address,
    /// The chain in use.
    pub chain_id: u64,
    /// The present, in Unix seconds.
    pub now: i64,
}

/// What a package that was checked costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Into the escrow.
    pub deposit: Usdc,
    /// To the platform, and who collects it; `None` where there is nothing to collect.
    pub fee: Option<(Usdc, Address)>,
    /// Both.
    pub total: Usdc,
}

impl ActivationPackage {
    /// Compares everything that is known with what is to be signed.
    ///
    /// # Errors
    ///
    /// [`Code::TermsMismatch`], [`Code::SigningRefused`] or [`Code::ChainMismatch`], which name the
    /// field. Nothing was signed.
    pub fn check(&self, expected: &Expected<'_>) -> Result<Asked, Error> {
        Self::check_chain(expected)?;
        self.check_terms(expected)?;
        self.check_spender(expected)?;
        let deposit = Usdc::from_micros(self.terms.deposit_amount_atomic);
        let fee = self.fee(expected, deposit)?;
        let total = deposit.checked_add(fee.map_or(Usdc::ZERO, |(amount, _)| amount));
        let total = total.ok_or_else(|| mismatch("infra_fee.amount_atomic", "is too much"))?;
        Ok(Asked { deposit, fee, total })
    }

    /// What the owner's word holds for: everything but the nonce and the fee's state, which change
    /// by themselves.
    #[must_use]
    pub fn bound(&self) -> Value {
        let mut bound = json!(self);
        if let Some(members) = bound.as_object_mut() {
            members.remove("nonces");
            if let Some(fee) = members.get_mut("infra_fee").and_then(Value::as_object_mut) {
                fee.remove("status");
            }
        }
        bound
    }

    fn check_chain(expected: &Expected<'_>) -> Result<(), Error> {
        let said = expected.params.chain_id;
        if said.is_none_or(|chain_id| chain_id == expected.chain_id) {
            return Ok(());
        }
        let message = format!(
            "the agreement's escrow is on chain {}, and chain {} is in use; nothing was signed",
            said.unwrap_or_default(),
            expected.chain_id
        );
        Err(Error::new(Code::ChainMismatch, message)
            .at(Marketplace::Paegents)
            .field("chain_id", None))
    }

    fn check_terms(&self, expected: &Expected<'_>) -> Result<(), Error> {
        let (terms, agreement) = (&self.terms, expected.agreement);
        let now = u64::try_from(expected.now).unwrap_or(0);
        let price = agreement.unit_price()?.micros();
        let deposit = terms.quantity.checked_mul(terms.price_per_unit_atomic);
        let seller = agreement.seller_wallet_address.trim();
        let named_seller = seller.is_empty() || payable_address(seller) == Some(terms.seller);
        let latest = now.saturating_add(EXPIRY_SECONDS_MAX);
        #[rustfmt::skip]
        let rules = [
            ("activation_version", matches!(self.activation_version.as_str(), "" | "v2"), "is not v2"),
            ("agreement_id", self.agreement_id == agreement.agreement_id, "is of another agreement"),
            ("terms.buyer", terms.buyer == expected.wallet, "is not this wallet"),
            ("terms.seller", named_seller, "is not the agreement's seller"),
            ("terms.seller", terms.seller != Address::ZERO && terms.seller != expected.wallet, "cannot be paid"),
            ("terms.token", terms.token == expected.usdc, "is not the USDC of this chain"),
            ("terms.quantity", terms.quantity == agreement.quantity && terms.quantity > 0, "is not the agreement's"),
            ("terms.price_per_unit_atomic", terms.price_per_unit_atomic == price, "is not the agreement's price"),
            ("terms.deposit_amount_atomic", deposit == Some(terms.deposit_amount_atomic), "is not quantity times price"),
            ("terms.challenge_window_seconds", CHALLENGE_SECONDS.contains(&terms.challenge_window_seconds), "is not from an hour to a week"),
            ("terms.expiry", terms.expiry > now, "is over"),
            ("terms.expiry", terms.expiry <= latest, "is more than 30 days away"),
            ("agreement_key", self.agreement_key != B256::ZERO, "is empty"),
            ("platform_agreement_id_hash", self.platform_agreement_id_hash != B256::ZERO, "is empty"),
            ("terms.service_hash", terms.service_hash != B256::ZERO, "is empty"),
            ("terms.terms_hash", terms.terms_hash != B256::ZERO, "is empty"),
            ("terms.salt", terms.salt != B256::ZERO, "is empty"),
            ("terms.receipt_signer", terms.receipt_signer != Some(Address::ZERO), "is empty"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((field, _, problem)) => Err(mismatch(field, problem)),
        }
    }

    fn check_spender(&self, expected: &Expected<'_>) -> Result<(), Error> {
        let pinned =
            |said: &str| said.trim().is_empty() || payable_address(said) == Some(expected.escrow);
        let token = expected.params.usdc_address.trim();
        if self.funding.token_address != expected.usdc {
            return Err(refused("funding.token_address", "is not the USDC of this chain"));
        }
        if !token.is_empty() && payable_address(token) != Some(expected.usdc) {
            return Err(refused("usdc_address", "is not the USDC of this chain"));
        }
        if self.funding.spender.is_some_and(|spender| spender != expected.escrow) {
            return Err(refused("funding.spender", "is not the escrow contract of this chain"));
        }
        if !pinned(&expected.params.escrow_contract_address) {
            return Err(refused(
                "escrow_contract_address",
                "is not the escrow contract of this chain",
            ));
        }
        Ok(())
    }

    /// The fee that is to be collected, where it is one that can be.
    fn fee(
        &self,
        expected: &Expected<'_>,
        deposit: Usdc,
    ) -> Result<Option<(Usdc, Address)>, Error> {
        let Some(fee) = self.infra_fee.as_ref().filter(|fee| !fee.waived && fee.status != "paid")
        else {
            return Ok(None);
        };
        let amount = Usdc::from_micros(fee.amount_atomic);
        if amount == Usdc::ZERO {
            return Err(refused("infra_fee.amount_atomic", "is nothing, and a permit is asked"));
        }
        let most = deposit.micros().saturating_mul(FEE_PERCENT_MAX) / 100;
        if amount > Usdc::from_micros(most).max(FEE_FLOOR) {
            let problem = format!("is {amount} USD for a deposit of {deposit} USD");
            return Err(refused("infra_fee.amount_atomic", &problem));
        }
        if fee.token_address.is_some_and(|token| token != expected.usdc) {
            return Err(refused("infra_fee.token_address", "is not the USDC of this chain"));
        }
        let own = [Address::ZERO, expected.wallet, expected.escrow, expected.usdc];
        let Some(spender) = fee.spender.filter(|spender| !own.contains(spender)) else {
            return Err(refused("infra_fee.spender", "cannot collect a fee"));
        };
        let known = expected.params.gas_wallet_address.trim();
        if !known.is_empty() && payable_address(known) != Some(spender) {
            return Err(refused("infra_fee.spender", "is not the platform's gas wallet"));
        }
        Ok(Some((amount, spender)))
    }
}

/// The first member in which two packages differ, by its path.
#[must_use]
pub fn first_difference(first: &Value, second: &Value) -> Option<String> {
    if first == second {
        return None;
    }
    let (Some(one), Some(other)) = (first.as_object(), second.as_object()) else {
        return Some(String::new());
    };
    let names = one.keys().chain(other.keys());
    names.into_iter().find_map(|name| {
        let inner = first_difference(one.get(name)?, other.get(name).unwrap_or(&Value::Null))?;
        Some(if inner.is_empty() { name.clone() } else { format!("{name}.{inner}") })
    })
}

fn mismatch(field: &str, problem: &str) -> Error {
    differs(Code::TermsMismatch, field, problem)
}

fn refused(field: &str, problem: &str) -> Error {
    differs(Code::SigningRefused, field, problem)
}

fn differs(code: Code, field: &str, problem: &str) -> Error {
    let message = format!("the activation package's {field} {problem}; nothing was signed");
    Error::new(code, message).at(Marketplace::Paegents).field(field, None)
}

#[cfg(test)]
mod tests;
