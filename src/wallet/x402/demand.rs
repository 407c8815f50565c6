//! What a 402 asks for, in either version, and whether it may be paid.

use alloy_primitives::{Address, U256};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{HEADER_BYTES_MAX, Terms, Version, from_base64};
use crate::{
    money::Usdc,
    wallet::{
        checks::{self, Reason, Refused},
        numbers,
        pins::{self, Chain},
    },
};

/// The time of a requirement that does not say one, in seconds, as in Paegents' SDK.
const TIMEOUT_SECONDS: u64 = 600;

/// A demand: what the seller would take, one of several ways.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The version.
    pub version: Version,
    /// The ways that could be read, in the seller's order.
    pub accepts: Vec<Requirement>,
    /// What is paid for, in version 2, as it came.
    pub(super) resource: Option<Box<RawValue>>,
    /// What a payer has to repeat, in version 2, as it came.
    pub(super) extensions: Option<Box<RawValue>>,
}

/// One way to pay, in a stranger's words.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The version of its demand.
    pub version: Version,
    /// `exact`, or what we do not pay.
    pub scheme: String,
    /// The network, by name or CAIP-2.
    pub network: String,
    /// The token contract.
    pub asset: String,
    /// How much, in the token's smallest unit.
    pub amount: U256,
    /// Who gets it.
    pub pay_to: String,
    /// How long the payment may be used, in seconds; may be beyond reason.
    pub timeout_seconds: u64,
    extra: Value,
    /// As it came: version 2 repeats it.
    pub(super) raw: Box<RawValue>,
}

/// What a requirement is held against.
#[derive(Clone, Debug)]
pub struct RequirementBounds {
    /// The chain that is in use (EIP-155).
    pub chain_id: u64,
    /// The wallet that would pay.
    pub own: Address,
    /// The payee, where it is known before.
    pub pay_to: Option<Address>,
    /// The most that was approved.
    pub amount_max: Usdc,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "x402Version")]
    version: Option<u64>,
    accepts: Vec<Box<RawValue>>,
    resource: Option<Box<RawValue>>,
    extensions: Option<Box<RawValue>>,
}

/// Both versions' members. One with both amounts is ambiguous, and not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    scheme: String,
    network: String,
    asset: String,
    #[serde(with = "numbers", alias = "maxAmountRequired")]
    amount: U256,
    pay_to: String,
    max_timeout_seconds: Option<Value>,
    extra: Option<Value>,
}

impl Demand {
    /// Reads the header `PAYMENT-REQUIRED` of version 2.
    ///
    /// # Errors
    ///
    /// [`Reason::Form`] where it is no demand.
    pub fn read_header(header: &str) -> Result<Self, Refused> {
        Self::read(&from_base64(header).ok_or_else(|| unread("it is no base64"))?, Version::Two)
    }

    /// Reads the body of version 1.
    ///
    /// # Errors
    ///
    /// [`Reason::Form`] where it is no demand.
    pub fn read_body(body: &[u8]) -> Result<Self, Refused> {
        Self::read(body, Version::One)
    }

    /// `presumed` where the demand does not say its version.
    fn read(json: &[u8], presumed: Version) -> Result<Self, Refused> {
        if json.len() > HEADER_BYTES_MAX {
            return Err(unread("it is too long"));
        }
        let body: Body = serde_json::from_slice(json).map_err(|_| unread("it is no demand"))?;
        let version = match body.version {
            Some(1) => Version::One,
            Some(2) => Version::Two,
            None => presumed,
            Some(_) => return Err(unread("its version is neither 1 nor 2")),
        };
        // An entry of another scheme may have another shape, so each is read for itself.
        let accepts =
            body.accepts.into_iter().filter_map(|raw| Requirement::read(raw, version)).collect();
        Ok(Self { version, accepts, resource: body.resource, extensions: body.extensions })
    }

    /// The first way that is ours to pay, and its terms. That one is judged, no other: the seller
    /// cannot steer the choice by what it asks elsewhere.
    ///
    /// # Errors
    ///
    /// [`Refused`], `accepts` where there is no such way, else what [`Requirement::check`] says.
    pub fn choose(&self, bounds: &RequirementBounds) -> Result<(&Requirement, Terms), Refused> {
        let ours = |requirement: &&Requirement| {
            let chain = pins::chain_of_network(&requirement.network);
            requirement.scheme == "exact"
                && chain.is_some_and(|chain| chain.chain_id == bounds.chain_id)
        };
        let reason = Reason::Form { why: "it has no exact payment on the chain in use" };
        let chosen = self.accepts.iter().find(ours).ok_or(Refused { field: "accepts", reason })?;
        Ok((chosen, chosen.check(bounds)?))
    }
}

impl Requirement {
    fn read(raw: Box<RawValue>, version: Version) -> Option<Self> {
        let entry: Entry = serde_json::from_str(raw.get()).ok()?;
        Some(Self {
            version,
            scheme: entry.scheme,
            network: entry.network,
            asset: entry.asset,
            amount: entry.amount,
            pay_to: entry.pay_to,
            timeout_seconds: timeout(entry.max_timeout_seconds.as_ref())?,
            extra: opened(entry.extra)?,
            raw,
        })
    }

    /// Reads one requirement alone, for a payment that repeats it.
    pub(super) fn accepted(raw: Box<RawValue>) -> Option<Self> {
        Self::read(raw, Version::Two)
    }

    /// Holds it against the pins and the bounds.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the member that is wrong: `scheme`, `network`, `asset`, `amount`, `payTo`,
    /// `extra`.
    pub fn check(&self, bounds: &RequirementBounds) -> Result<Terms, Refused> {
        let refused = |field, why| Refused { field, reason: Reason::Form { why } };
        if self.scheme != "exact" {
            return Err(refused("scheme", "it is not `exact`"));
        }
        let chain = pins::chain_of_network(&self.network)
            .ok_or_else(|| refused("network", "it is not one of ours"))?;
        checks::chain(chain.chain_id, bounds.chain_id)?;
        let asset: Address =
            self.asset.parse().map_err(|_| refused("asset", "it is no address"))?;
        checks::address("asset", asset, chain.usdc)?;
        checks::amount("amount", self.amount, bounds.amount_max)?;
        let to: Address = self.pay_to.parse().map_err(|_| refused("payTo", "it is no address"))?;
        checks::payee("payTo", chain, bounds.own, to)?;
        if let Some(expected) = bounds.pay_to {
            checks::address("payTo", to, expected)?;
        }
        self.check_extra(chain)?;
        let amount =
            u64::try_from(self.amount).map_err(|_| refused("amount", "it is too large"))?;
        Ok(Terms {
            chain_id: chain.chain_id,
            to,
            amount: Usdc::from_micros(amount),
            timeout_seconds: self.timeout_seconds,
        })
    }

    /// The token's domain is the pins'; what the seller says of it may only agree.
    fn check_extra(&self, chain: &Chain) -> Result<(), Refused> {
        let refused = |why| Err(Refused { field: "extra", reason: Reason::Form { why } });
        let differs = |member: &str, pinned: &str| {
            let said = self.extra.get(member);
            said.is_some_and(|said| !said.is_null() && said.as_str() != Some(pinned))
        };
        if differs("name", chain.usdc_name) {
            return refused("its token name is not the pinned one");
        }
        if differs("version", chain.usdc_version) {
            return refused("its token version is not the pinned one");
        }
        if differs("assetTransferMethod", "eip3009") {
            return refused("it wants another transfer than EIP-3009");
        }
        Ok(())
    }
}

fn unread(why: &'static str) -> Refused {
    Refused { field: "demand", reason: Reason::Form { why } }
}

/// Seconds as a number or text; what is negative is none at all. `None` where it is neither.
fn timeout(said: Option<&Value>) -> Option<u64> {
    match said {
        None | Some(Value::Null) => Some(TIMEOUT_SECONDS),
        Some(Value::Number(number)) if number.as_i64().is_some_and(i64::is_negative) => Some(0),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    }
}

/// `extra` as an object, which some write as text, or null. `None` where it is something else.
fn opened(extra: Option<Value>) -> Option<Value> {
    let extra = match extra.unwrap_or_default() {
        Value::String(text) => serde_json::from_str(&text).ok()?,
        other => other,
    };
    (extra.is_object() || extra.is_null()).then_some(extra)
}
