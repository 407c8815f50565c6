//! Identifiers: text that was checked once, so that it can stand in a path or a header.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {max} letters, digits, `-` and `_`")]
pub struct IdError {
    max: usize,
}

/// The length of an identifier, in bytes: a 32-byte hash in hex fits.
pub const ID_BYTES_MAX: usize = 80;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(id: String) -> Result<Self, IdError> {
                let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(fits) {
                    Ok(Self(id))
                } else {
                    Err(IdError { max: ID_BYTES_MAX })
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(id: &str) -> Result<Self, IdError> {
                id.to_owned().try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    )+};
}

ids! {
    /// A purchase of the journal: `pur_` and 26 characters.
    PurchaseId;
    /// A Crochet listing: its identifier or its slug.
    ListingId;
    /// A wallet's identifier at Crochet.
    WalletId;
    /// An API key's identifier at Crochet; not the key.
    ApiKeyId;
    /// An agent: an account at a marketplace.
    AgentId;
    /// A service that an agent of CROO or Paegents sells.
    ServiceId;
    /// A negotiation of a CROO order.
    NegotiationId;
    /// A CROO order.
    OrderId;
    /// A payment at Crochet, as its 402 names it.
    RelayId;
    /// A usage agreement at Paegents.
    AgreementId;
    /// An intent mandate at Paegents.
    IntentMandateId;
    /// A cart mandate at Paegents.
    CartMandateId;
    /// A supplier payment at Paegents: our own name for it.
    TransactionId;
    /// The account of a recipient at Paegents.
    AccountId;
    /// A receipt of Paegents.
    ReceiptId;
    /// A request for the approval of an owner at Paegents.
    ApprovalRequestId;
    /// A webhook subscription at Paegents.
    WebhookId;
    /// A delivery of a webhook at Paegents.
    WebhookDeliveryId;
    /// An event in Paegents' inbox.
    EventId;
    /// An invitation to Paegents: the token that its link carries.
    InviteToken;
    /// Something that the owner is asked to agree to, other than a purchase: `ask_` and 26 characters.
    AskId;
}

impl PurchaseId {
    /// A new one, from 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(format!("pur_{}", bs58::encode(random).into_string()))
    }
}

impl AskId {
    /// A new one, from 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(format!("ask_{}", bs58::encode(random).into_string()))
    }
}

impl TransactionId {
    /// A new one, from 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(format!("haggle-{}", bs58::encode(random).into_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_text_that_changes_a_path_or_a_header() {
        let long = "a".repeat(ID_BYTES_MAX);
        let longer = "a".repeat(ID_BYTES_MAX + 1);
        let huge = "a".repeat(10_000);
        for good in ["a", "lst_1", "text-statistics", long.as_str()] {
            assert!(good.parse::<ListingId>().is_ok(), "{good}");
        }
        for bad in [
            "", "../x", "a/b", "a\\b", "%2e%2e", "a?b", "a#b", "a b", "a\r\nb", "a\0", "é", ".",
            "..", &longer, &huge,
        ] {
            assert!(bad.parse::<ListingId>().is_err(), "{bad}");
        }
    }
}
