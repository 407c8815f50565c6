//! x402, scheme `exact` on USDC: what a demand asks for, and the header that pays it.
//!
//! - A demand is a stranger's. Only the network, the amount, the payee and the time are taken from
//!   it, each held against the pins and the approved bounds; the token and its domain are the
//!   pins'.
//! - The version 1 header is byte for byte that of the Python library 0.2.1, which Paegents' SDK
//!   uses; both versions' headers are read by [`Payment::read`].
//!
//! Source: `x402.md` §2 to §5 and §8.

mod demand;
mod payment;
#[cfg(test)]
mod tests;

use std::fmt;

use alloy_primitives::{Address, B256, U256};
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::{
    demand::{Demand, Requirement, RequirementBounds},
    payment::Payment,
};
use super::{
    SignError, Wallet, checks,
    checks::{AUTHORIZATION_SECONDS, Reason, Refused},
    eip712::{Authorization, AuthorizationBounds, Signed},
    pins::Chain,
};
use crate::money::Usdc;

/// Bytes in the longest header that is read.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long before now a version 1 authorization begins, in seconds, as in the library 0.2.1.
const BEFORE_SECONDS: u64 = 60;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Networks by name, `X-PAYMENT`.
    One,
    /// Networks by CAIP-2, `PAYMENT-SIGNATURE`.
    Two,
}

/// What is to be paid, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// Who gets it.
    pub to: Address,
    /// Exactly how much.
    pub amount: Usdc,
    /// How long the authorization may be used, in seconds.
    pub timeout_seconds: u64,
}

/// A payment's header, ready to send. `Debug` leaves it out: whoever holds it can be paid.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// What goes into `X-PAYMENT`, `PAYMENT-SIGNATURE` or `payment_header`.
    pub value: String,
    /// The signature in it, and the digest, by which the payment is known.
    pub signed: Signed,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("signed", &self.signed).finish_non_exhaustive()
    }
}

impl Terms {
    /// The authorization that pays these terms from the wallet `from`: the journal keeps it.
    ///
    /// `nonce` is random, `now` in Unix seconds. The time allowed is clamped to
    /// [`AUTHORIZATION_SECONDS`].
    ///
    /// # Errors
    ///
    /// [`Reason::Chain`] where the chain has no pins.
    pub fn authorization(
        &self,
        version: Version,
        from: Address,
        nonce: B256,
        now: u64,
    ) -> Result<Authorization, Refused> {
        let chain = checks::chain(self.chain_id, self.chain_id)?;
        let (least, most) = (*AUTHORIZATION_SECONDS.start(), *AUTHORIZATION_SECONDS.end());
        let valid_after = match version {
            Version::One => now.saturating_sub(BEFORE_SECONDS),
            Version::Two => 0,
        };
        Ok(Authorization {
            chain_id: self.chain_id,
            token: chain.usdc,
            from,
            to: self.to,
            value: self.amount,
            valid_after,
            valid_before: now.saturating_add(self.timeout_seconds.clamp(least, most)),
            nonce,
        })
    }
}

impl Wallet {
    /// Signs `authorization` and puts it into a version 1 header. For `spend` alone.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_transfer_authorization`]: nothing is signed.
    pub(crate) fn x402_v1(
        &self,
        authorization: &Authorization,
        bounds: &AuthorizationBounds,
    ) -> Result<Header, SignError> {
        let signed = self.sign_transfer_authorization(authorization, bounds)?;
        let chain = checks::chain(authorization.chain_id, bounds.chain_id)?;
        let json = json_v1(chain, authorization, &signed.signature);
        Ok(Header { value: STANDARD.encode(json), signed })
    }

    /// Signs `authorization` and puts it into a version 2 header, with `requirement` of `demand`
    /// as it came. For `spend` alone.
    ///
    /// # Errors
    ///
    /// Those of [`Wallet::sign_transfer_authorization`], and [`SignError::Field`] where the
    /// requirement asks for anything else than the authorization gives: nothing is signed.
    pub(crate) fn x402_v2(
        &self,
        authorization: &Authorization,
        bounds: &AuthorizationBounds,
        requirement: &Requirement,
        demand: &Demand,
    ) -> Result<Header, SignError> {
        let asked = requirement.check(&RequirementBounds {
            chain_id: bounds.chain_id,
            own: self.evm_own()?,
            pay_to: Some(authorization.to),
            amount_max: bounds.value_max,
        })?;
        let (given, asked) = (authorization.value.micros(), asked.amount.micros());
        checks::same("value", U256::from(given), U256::from(asked))?;
        if requirement.version != Version::Two {
            let reason = Reason::Form { why: "it is of another version" };
            return Err(Refused { field: "x402Version", reason }.into());
        }
        let signed = self.sign_transfer_authorization(authorization, bounds)?;
        let header = HeaderV2 {
            version: 2,
            payload: PayloadV2 {
                authorization: authorization.into(),
                signature: &signed.signature,
            },
            accepted: &requirement.raw,
            resource: demand.resource.as_deref(),
            extensions: demand.extensions.as_deref(),
        };
        let json = serde_json::to_vec(&header).map_err(|_| Refused {
            field: "accepted",
            reason: Reason::Form { why: "it cannot be repeated" },
        })?;
        Ok(Header { value: STANDARD.encode(json), signed })
    }
}

/// The version 1 payment as Python's `json.dumps` writes it. No value has a character to escape.
fn json_v1(chain: &Chain, authorization: &Authorization, signature: &str) -> String {
    let Authorization { from, to, value, valid_after, valid_before, nonce, .. } = authorization;
    let (network, value) = (chain.x402_name, value.micros());
    let authorization = format!(
        r#"{{"from": "{from}", "to": "{to}", "value": "{value}", "validAfter": "{valid_after}", "#
    ) + &format!(r#""validBefore": "{valid_before}", "nonce": "{nonce}"}}"#);
    format!(r#"{{"x402Version": 1, "scheme": "exact", "network": "{network}", "#)
        + &format!(
            r#""payload": {{"signature": "{signature}", "authorization": {authorization}}}}}"#
        )
}

/// The version 2 payment, in the order of the library 2.25.0.
#[derive(Serialize)]
struct HeaderV2<'a> {
    #[serde(rename = "x402Version")]
    version: u8,
    payload: PayloadV2<'a>,
    accepted: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct PayloadV2<'a> {
    authorization: AuthorizationV2,
    signature: &'a str,
}

/// An authorization whose numbers are text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationV2 {
    from: String,
    to: String,
    value: String,
    valid_after: String,
    valid_before: String,
    nonce: B256,
}

impl From<&Authorization> for AuthorizationV2 {
    fn from(fields: &Authorization) -> Self {
        Self {
            from: fields.from.to_checksum(None),
            to: fields.to.to_checksum(None),
            value: fields.value.micros().to_string(),
            valid_after: fields.valid_after.to_string(),
            valid_before: fields.valid_before.to_string(),
            nonce: fields.nonce,
        }
    }
}

/// Base64 of either alphabet, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    const TOLERANT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = text.trim();
    if text.len() > HEADER_BYTES_MAX {
        return None;
    }
    let standard = text.replace('-', "+").replace('_', "/");
    TOLERANT.decode(standard).ok()
}
