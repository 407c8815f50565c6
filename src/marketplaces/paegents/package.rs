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
    /// Of which agreement.
    #[serde(default, deserialize_with = "text")]
    pub agreement_id: String,
    /// Of the prices.
    #[serde(default, deserialize_with = "text")]
    pub pricing_version: String,
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
        if let Some(broken) = self.rules(expected).into_iter().find(|rule| !rule.holds) {
            return Err(broken.error());
        }
        let deposit = Usdc::from_micros(self.terms.deposit_amount_atomic);
        let fee = self
            .fee_asked()
            .map(|fee| (Usdc::from_micros(fee.amount_atomic), fee.spender.unwrap_or_default()));
        let total = deposit.checked_add(fee.map_or(Usdc::ZERO, |(amount, _)| amount));
        let too_much = Rule::terms("infra_fee.amount_atomic", false, "is too much");
        let total = total.ok_or_else(|| too_much.error())?;
        Ok(Asked { deposit, fee, total })
    }

    /// Every rule that it is held against, in their order, and whether each holds.
    #[must_use]
    pub fn rules(&self, expected: &Expected<'_>) -> Vec<Rule> {
        let mut rules = vec![Self::chain_rule(expected)];
        rules.extend(self.term_rules(expected));
        rules.extend(self.spender_rules(expected));
        if let Some(fee) = self.fee_asked() {
            rules.extend(self.fee_rules(fee, expected));
        }
        rules
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

    fn chain_rule(expected: &Expected<'_>) -> Rule {
        let said = expected.params.chain_id;
        let problem = format!(
            "is chain {}, and chain {} is in use",
            said.unwrap_or_default(),
            expected.chain_id
        );
        let holds = said.is_none_or(|chain_id| chain_id == expected.chain_id);
        Rule { field: "chain_id", holds, problem, code: Code::ChainMismatch }
    }

    fn term_rules(&self, expected: &Expected<'_>) -> Vec<Rule> {
        let (terms, agreement) = (&self.terms, expected.agreement);
        let now = u64::try_from(expected.now).unwrap_or(0);
        let price = agreement.unit_price().ok().map(Usdc::micros);
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
            ("terms.price_per_unit_atomic", Some(terms.price_per_unit_atomic) == price, "is not the agreement's price"),
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
        rules
            .into_iter()
            .map(|(field, holds, problem)| Rule::terms(field, holds, problem))
            .collect()
    }

    fn spender_rules(&self, expected: &Expected<'_>) -> [Rule; 4] {
        let params = expected.params;
        let is =
            |said: &str, address| said.trim().is_empty() || payable_address(said) == Some(address);
        let own_spender = self.funding.spender.is_none_or(|spender| spender == expected.escrow);
        let own_contract = is(&params.escrow_contract_address, expected.escrow);
        let (token, contract) =
            ("is not the USDC of this chain", "is not the escrow contract of this chain");
        let own_token = self.funding.token_address == expected.usdc;
        [
            Rule::signing("funding.token_address", own_token, token),
            Rule::signing("usdc_address", is(&params.usdc_address, expected.usdc), token),
            Rule::signing("funding.spender", own_spender, contract),
            Rule::signing("escrow_contract_address", own_contract, contract),
        ]
    }

    /// The fee that is to be collected.
    fn fee_asked(&self) -> Option<&InfraFee> {
        self.infra_fee.as_ref().filter(|fee| !fee.waived && fee.status != "paid")
    }

    /// Whether the fee is one that can be collected.
    fn fee_rules(&self, fee: &InfraFee, expected: &Expected<'_>) -> [Rule; 5] {
        let deposit = Usdc::from_micros(self.terms.deposit_amount_atomic);
        let amount = Usdc::from_micros(fee.amount_atomic);
        let most = deposit.micros().saturating_mul(FEE_PERCENT_MAX) / 100;
        let is_fair = amount <= Usdc::from_micros(most).max(FEE_FLOOR);
        let dear = format!("is {amount} USD for a deposit of {deposit} USD");
        let own_token = fee.token_address.is_none_or(|token| token == expected.usdc);
        let own = [Address::ZERO, expected.wallet, expected.escrow, expected.usdc];
        let can_collect = fee.spender.is_some_and(|spender| !own.contains(&spender));
        let known = expected.params.gas_wallet_address.trim();
        let is_known = known.is_empty() || payable_address(known) == fee.spender;
        let (sum, spender) = ("infra_fee.amount_atomic", "infra_fee.spender");
        [
            Rule::signing(sum, amount > Usdc::ZERO, "is nothing, and a permit is asked"),
            Rule { problem: dear, ..Rule::signing(sum, is_fair, "") },
            Rule::signing("infra_fee.token_address", own_token, "is not the USDC of this chain"),
            Rule::signing(spender, can_collect, "cannot collect a fee"),
            Rule::signing(spender, is_known, "is not the platform's gas wallet"),
        ]
    }
}

/// A rule that a package is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The member, by its path.
    pub field: &'static str,
    /// Whether it is as it must be.
    pub holds: bool,
    /// What is wrong where it is not.
    pub problem: String,
    /// What that is for the caller.
    code: Code,
}

impl Rule {
    fn terms(field: &'static str, holds: bool, problem: &str) -> Self {
        Self { field, holds, problem: problem.to_owned(), code: Code::TermsMismatch }
    }

    fn signing(field: &'static str, holds: bool, problem: &str) -> Self {
        Self { code: Code::SigningRefused, ..Self::terms(field, holds, problem) }
    }

    fn error(&self) -> Error {
        let Self { field, problem, code, .. } = self;
        let message = format!("the activation package's {field} {problem}; nothing was signed");
        Error::new(*code, message).at(Marketplace::Paegents).field(*field, None)
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
        let of = |members: &serde_json::Map<String, Value>| {
            members.get(name).cloned().unwrap_or(Value::Null)
        };
        let inner = first_difference(&of(one), &of(other))?;
        Some(if inner.is_empty() { name.clone() } else { format!("{name}.{inner}") })
    })
}

#[cfg(test)]
mod tests;
