//! A payment's header, read: the one decoder for both versions.

use std::fmt;

use alloy_primitives::{Address, B256, Signature, U256};
use alloy_sol_types::SolStruct as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Requirement, Version, from_base64};
use crate::wallet::{
    checks::{Reason, Refused},
    eip712::{TransferWithAuthorization, usdc_domain},
    numbers, pins,
};

/// A payment, as whoever verifies it sees it. Nothing of it is believed yet but its form.
#[derive(Clone)]
pub struct Payment {
    /// The version.
    pub version: Version,
    /// `exact`, or what we do not know.
    pub scheme: String,
    /// The network, by name or CAIP-2.
    pub network: String,
    /// Who is said to pay; [`Payment::signer`] tells who does.
    pub from: Address,
    /// Who gets it.
    pub to: Address,
    /// How much, in the token's smallest unit.
    pub value: U256,
    /// From when, in Unix seconds.
    pub valid_after: U256,
    /// Until when, in Unix seconds.
    pub valid_before: U256,
    /// What makes it usable once.
    pub nonce: B256,
    /// The payer's signature.
    pub signature: Signature,
    /// The requirement that it repeats, in version 2.
    pub accepted: Option<Requirement>,
}

/// Leaves out the signature: whoever holds it can be paid.
impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("network", &self.network)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("value", &self.value)
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "x402Version", with = "numbers")]
    version: U256,
    scheme: Option<String>,
    network: Option<String>,
    payload: Inner,
    accepted: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Inner {
    signature: String,
    authorization: Fields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    from: Address,
    to: Address,
    #[serde(with = "numbers")]
    value: U256,
    #[serde(with = "numbers")]
    valid_after: U256,
    #[serde(with = "numbers")]
    valid_before: U256,
    nonce: B256,
}

impl Payment {
    /// Reads a header: base64 of either alphabet, padded or not; numbers as numbers or text.
    ///
    /// # Errors
    ///
    /// [`Reason::Form`] where it is no payment of ours to read.
    pub fn read(header: &str) -> Result<Self, Refused> {
        let json = from_base64(header).ok_or_else(|| unread("it is no base64"))?;
        let outer: Outer = serde_json::from_slice(&json)
            .map_err(|_| unread("it is no payment of scheme exact by EIP-3009"))?;
        let (version, scheme, network, accepted) = place(&outer)?;
        let Inner { signature, authorization: fields } = outer.payload;
        let signature: Signature =
            signature.parse().map_err(|_| unread("its signature is not of 65 bytes"))?;
        if signature.normalize_s().is_some() {
            return Err(unread("its signature has a high s, which the token refuses"));
        }
        Ok(Self {
            version,
            scheme,
            network,
            from: fields.from,
            to: fields.to,
            value: fields.value,
            valid_after: fields.valid_after,
            valid_before: fields.valid_before,
            nonce: fields.nonce,
            signature,
            accepted,
        })
    }

    /// Who signed it, as the pinned USDC contract of its network would find. `None` where the
    /// network is not ours or the signature is nobody's.
    #[must_use]
    pub fn signer(&self) -> Option<Address> {
        let chain = pins::chain_of_network(&self.network)?;
        let message = TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
        };
        let digest = message.eip712_signing_hash(&usdc_domain(chain));
        self.signature.recover_address_from_prehash(&digest).ok()
    }
}

type Place = (Version, String, String, Option<Requirement>);

/// Version, scheme, network: version 2 has them in the requirement that it repeats.
fn place(outer: &Outer) -> Result<Place, Refused> {
    if outer.version == U256::ONE {
        let (Some(scheme), Some(network)) = (outer.scheme.clone(), outer.network.clone()) else {
            return Err(unread("it names no scheme or no network"));
        };
        return Ok((Version::One, scheme, network, None));
    }
    if outer.version != U256::from(2) {
        return Err(unread("its version is neither 1 nor 2"));
    }
    let accepted = outer.accepted.clone().and_then(Requirement::accepted);
    let accepted = accepted.ok_or_else(|| unread("it repeats no requirement"))?;
    Ok((Version::Two, accepted.scheme.clone(), accepted.network.clone(), Some(accepted)))
}

fn unread(why: &'static str) -> Refused {
    Refused { field: "payment_header", reason: Reason::Form { why } }
}
