//! The rails of AP2: a card, Braintree, or USDC that the payer has authorized.

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sandbox::{
    paegents::{
        answers::ApiError,
        pay::{
            charges::usdc,
            mandates::fresh_id,
            stablecoin::{self, Failed},
        },
    },
    world::World,
};

/// Who is paid where a card is charged.
const MERCHANT: &str = "merchant";

/// The `payment_method` of a request to pay.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Method {
    /// Its rail: `card`, `braintree` or `stablecoin`.
    pub(crate) rail: String,
    provider: Option<String>,
    payment_reference: Option<String>,
    wallet_address: Option<String>,
    payment_header: Option<String>,
    #[serde(default)]
    extra: Map<String, Value>,
}

/// A payment that was made.
#[derive(Clone, Debug)]
pub(crate) struct Paid {
    /// Its rail.
    pub(crate) rail: &'static str,
    /// Who carried it out.
    pub(crate) processor: String,
    /// What the processor calls it.
    pub(crate) reference: String,
    /// The wallet that paid; none where it was a card.
    pub(crate) payer: Option<String>,
    /// Who was paid.
    pub(crate) payee: String,
    /// The hash of the transaction that moved the money.
    pub(crate) transaction: Option<String>,
}

/// Why the processor did not make a payment.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub(crate) String);

/// Charges so many cents, unless the payment is to fail.
///
/// # Errors
///
/// An [`ApiError`] where the method does not fit; then nobody was asked for money.
pub(crate) fn charge(
    db: &Connection,
    world: &World,
    now: i64,
    (method, cents, is_doomed): (&Method, u64, bool),
) -> Result<Result<Paid, Refused>, ApiError> {
    match method.rail.as_str() {
        "card" => {
            let processor = method.provider.clone().unwrap_or_else(|| "stripe".to_owned());
            by_card(db, world, method, ("card", "pi", processor), is_doomed)
        }
        "braintree" => {
            let processor = "braintree".to_owned();
            by_card(db, world, method, ("braintree", "bt", processor), is_doomed)
        }
        "stablecoin" => by_coin(db, world, now, (method, cents, is_doomed)),
        _ => {
            let message = "Input should be 'card', 'braintree' or 'stablecoin'";
            Err(ApiError::invalid("payment_method.rail", message))
        }
    }
}

fn by_card(
    db: &Connection,
    world: &World,
    method: &Method,
    (rail, prefix, processor): (&'static str, &str, String),
    is_doomed: bool,
) -> Result<Result<Paid, Refused>, ApiError> {
    // The test card that every card processor declines.
    let is_declined = method.payment_reference.as_deref() == Some("pm_card_declined");
    if is_doomed || is_declined {
        return Ok(Err(Refused("the card was declined".to_owned())));
    }
    let reference = fresh_id(db, world, prefix)?;
    let payee = method.extra.get("supplier_domain").and_then(Value::as_str).unwrap_or(MERCHANT);
    Ok(Ok(Paid {
        rail,
        processor,
        reference,
        payer: None,
        payee: payee.to_owned(),
        transaction: None,
    }))
}

fn by_coin(
    db: &Connection,
    world: &World,
    now: i64,
    (method, cents, is_doomed): (&Method, u64, bool),
) -> Result<Result<Paid, Refused>, ApiError> {
    let missing = |name: &str| ApiError::invalid(name, "Field required for stablecoin payments");
    let wallet = method
        .wallet_address
        .as_deref()
        .ok_or_else(|| missing("payment_method.wallet_address"))?
        .parse()
        .map_err(|_| {
            ApiError::invalid("payment_method.wallet_address", "Input should be an address")
        })?;
    let header =
        method.payment_header.as_deref().ok_or_else(|| missing("payment_method.payment_header"))?;
    let terms = (wallet, usdc(cents));
    match stablecoin::settle(db, world, now, (header, terms, is_doomed))? {
        Ok(moved) => Ok(Ok(Paid {
            rail: "stablecoin",
            processor: method.provider.clone().unwrap_or_else(|| "coinbase".to_owned()),
            reference: moved.transaction.clone(),
            payer: Some(moved.payer.to_string()),
            payee: wallet.to_string(),
            transaction: Some(moved.transaction),
        })),
        Err(Failed::Unfit(code)) => {
            Err(ApiError::bad_request(format!("Invalid payment_header: {code}")))
        }
        Err(Failed::Reverted(reason)) => Ok(Err(Refused(reason.to_owned()))),
    }
}
