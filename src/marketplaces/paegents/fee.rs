//! What the platform takes for a direct purchase, by its published formula and by its own word.
//! Source: protocols/paegents.md §3.9, §11.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
        lenient::{maybe_number, text},
    },
    money::Usdc,
};

/// Micro-dollars in a cent.
const MICROS_PER_CENT: u64 = super::MICROS_PER_CENT;
/// The least fee: ten cents.
const LEAST_MICROS: u64 = 100_000;
/// The share of an amount that is taken: one in so many.
const SHARE: u64 = 50;
/// What is added to the share: three tenths of a cent.
const ADDED_MICROS: u64 = 3_000;

/// The published fee of a direct purchase: ten cents, or 2 % and 0.003 USD where that is more,
/// rounded up to a micro-unit. `None` where it does not fit.
#[must_use]
pub fn fee(amount: Usdc) -> Option<Usdc> {
    let share = amount.micros().div_ceil(SHARE).checked_add(ADDED_MICROS)?;
    Some(Usdc::from_micros(share.max(LEAST_MICROS)))
}

/// An amount as whole cents, as Paegents takes it.
///
/// # Errors
///
/// [`Code::InvalidArgument`] where it has fractions of a cent, or is nothing.
pub fn whole_cents(field: &str, amount: Usdc) -> Result<u64, Error> {
    let micros = amount.micros();
    if micros == 0 {
        return Err(Error::argument(field, "must be more than nothing", "\"2.50\""));
    }
    if micros.is_multiple_of(MICROS_PER_CENT) {
        return Ok(micros / MICROS_PER_CENT);
    }
    let rounded = Usdc::from_micros(micros.div_ceil(MICROS_PER_CENT) * MICROS_PER_CENT);
    let problem = format!("is {amount}: Paegents counts in whole cents");
    Err(Error::argument(field, problem, &format!("\"{rounded}\"")))
}

/// Asks what a payment takes beside its amount: `GET /payment-requirements`.
#[derive(Debug, Serialize)]
pub struct GetPaymentRequirements {
    /// The amount, in cents.
    pub amount_cents: u64,
    /// `stablecoin`, or another rail.
    pub rail: &'static str,
}

impl Operation for GetPaymentRequirements {
    const NAME: &'static str = "paegents.get_payment_requirements";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Requirements;

    fn path(&self) -> String {
        "/payment-requirements".to_owned()
    }
}

/// What it takes, as Paegents sends it. Its members have no published names beyond "fee details, gas
/// wallet address, chain id", so the likely ones are read.
#[derive(Clone, Debug, Deserialize)]
pub struct Requirements {
    /// The fee in micro-units.
    #[serde(default, alias = "fee_atomic", alias = "fee_amount_atomic")]
    #[serde(deserialize_with = "maybe_number")]
    pub infra_fee_amount_atomic: Option<u64>,
    /// Who collects the fee by a permit.
    #[serde(default, alias = "gas_wallet", deserialize_with = "text")]
    pub gas_wallet_address: String,
    /// The chain's number.
    #[serde(default, deserialize_with = "maybe_number")]
    pub chain_id: Option<u64>,
    /// The token's contract.
    #[serde(default, alias = "token_address", deserialize_with = "text")]
    pub usdc_address: String,
    /// The chain's name in x402.
    #[serde(default, deserialize_with = "text")]
    pub network: String,
}

impl Requirements {
    /// Where these are for another chain or token than the one in use, which member says so.
    #[must_use]
    pub fn misplaced(&self, chain: &crate::wallet::pins::Chain) -> Option<&'static str> {
        let other_token = |text: &str| {
            let is_it = text.trim().eq_ignore_ascii_case(&chain.usdc.to_checksum(None));
            !text.trim().is_empty() && !is_it
        };
        let other_network = |text: &str| {
            !text.is_empty() && crate::wallet::pins::chain_of_network(text) != Some(chain)
        };
        if self.chain_id.is_some_and(|id| id != chain.chain_id) {
            Some("chain_id")
        } else if other_network(&self.network) {
            Some("network")
        } else if other_token(&self.usdc_address) {
            Some("usdc_address")
        } else {
            None
        }
    }

    /// As [`Self::misplaced`], as a failure: fee and payment are never signed for two chains.
    ///
    /// # Errors
    ///
    /// [`Code::ChainMismatch`], with the member.
    pub fn on(&self, chain: &crate::wallet::pins::Chain) -> Result<(), Error> {
        let Some(field) = self.misplaced(chain) else { return Ok(()) };
        let message = format!(
            "Paegents asks for a payment on another chain than {} ({}): its {field} says so; nothing \
             was signed",
            chain.name, chain.chain_id
        );
        Err(Error::new(Code::ChainMismatch, message).at(Marketplace::Paegents).field(field, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::pins;

    fn of_cents(cents: u64) -> u64 {
        fee(Usdc::from_micros(cents * MICROS_PER_CENT)).unwrap().micros()
    }

    #[test]
    fn the_fee_is_that_of_the_page() {
        #[rustfmt::skip]
        let rows = [
            // cents   atomic
            (0,        100_000),
            (100,      100_000),
            (485,      100_000),
            (486,      100_200),
            (500,      103_000),
            (1_000,    203_000),
            (2_500,    503_000),
            (10_000,   2_003_000),
            (12_345,   2_472_000),
            (33_333,   6_669_600),
        ];
        for (cents, expected) in rows {
            assert_eq!(of_cents(cents), expected, "{cents}");
        }
    }

    /// The formula as it is published, in tenths of a micro-dollar so that it stays whole.
    #[test]
    fn a_thousand_fees_are_those_of_the_published_formula() {
        let mut cents: u64 = 1;
        for row in 0..1_000_u64 {
            // Small amounts one by one, then ever larger ones.
            cents += 1 + row / 500 * (row * row % 9_973);
            let published = (cents * 2_000 + 30_000).max(1_000_000).div_ceil(10);
            assert_eq!(of_cents(cents), published, "{cents}");
        }
        assert!(cents > 1_000_000, "the rows reach far: {cents}");
        assert_eq!(
            fee(Usdc::from_micros(u64::MAX)).map(Usdc::micros),
            Some(u64::MAX / 50 + 1 + 3_000)
        );
        // A fraction of a micro-unit is rounded up, as the platform does.
        assert_eq!(fee(Usdc::from_micros(10_000_001)).unwrap().micros(), 203_001);
    }

    #[test]
    fn cents_are_whole() {
        let amount = |text: &str| text.parse::<Usdc>().unwrap();
        assert_eq!(whole_cents("a", amount("0.01")).unwrap(), 1);
        assert_eq!(whole_cents("a", amount("25")).unwrap(), 2_500);
        for text in ["0", "0.001", "1.009", "0.000001"] {
            let error = whole_cents("amount_usd", amount(text)).unwrap_err();
            assert!(error.is(Code::InvalidArgument), "{text}");
            assert_eq!(error.field.as_deref(), Some("amount_usd"));
        }
        let error = whole_cents("amount_usd", amount("1.009")).unwrap_err();
        assert_eq!(error.example.as_deref(), Some("\"1.01\""));
    }

    #[test]
    fn f20_requirements_of_another_chain_are_refused() {
        let base = pins::chain(pins::BASE).unwrap();
        let read = |text: &str| serde_json::from_str::<Requirements>(text).unwrap();
        #[rustfmt::skip]
        let rows = [
            (r#"{"chain_id": 8453}"#,                             None),
            (r#"{"chain_id": "8453", "network": "base"}"#,        None),
            (r#"{"network": "eip155:8453"}"#,                     None),
            ("{}",                                                None),
            (r#"{"chain_id": 84532}"#,                            Some("chain_id")),
            (r#"{"chain_id": 8453, "network": "base-sepolia"}"#,  Some("network")),
            (r#"{"network": "avalanche"}"#,                       Some("network")),
            (r#"{"usdc_address": "0x036CbD53842c5426634e7929541eC2318f3dCF7e"}"#, Some("usdc_address")),
            (r#"{"usdc_address": "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"}"#, None),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text).misplaced(base), expected, "{text}");
            assert_eq!(read(text).on(base).is_err(), expected.is_some(), "{text}");
        }
    }
}
