//! AP2's mandates: what an agent may spend, and what it wants to buy by that. Source:
//! protocols/paegents.md §5.1, §5.2. Making one moves no money; `carts` pays them.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{AgentId, CartMandateId, IntentMandateId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::text,
    },
};

/// Makes an intent mandate: `POST /ap2/mandates/intent`.
#[derive(Debug, Serialize)]
pub struct CreateIntent<'a> {
    /// The key under which it is made once.
    #[serde(skip)]
    pub key: &'a str,
    /// Whose.
    pub agent_id: &'a AgentId,
    /// The most that may be spent, in cents, and in which currency.
    pub policy: Value,
    /// Free JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<&'a Value>,
    /// Until when, as an ISO time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl Operation for CreateIntent<'_> {
    const NAME: &'static str = "paegents.create_ap2_intent_mandate";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = MadeIntent;

    fn path(&self) -> String {
        "/ap2/mandates/intent".to_owned()
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.key.to_owned())
    }
}

/// An intent mandate that was made.
#[derive(Debug, Deserialize)]
pub struct MadeIntent {
    /// It.
    pub intent_mandate: Mandate<IntentMandateId>,
}

/// A mandate, as Paegents sends it.
#[derive(Debug, Deserialize)]
pub struct Mandate<T> {
    /// Its identifier.
    pub id: T,
    /// Where it stands.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
}

/// Makes a cart mandate under an intent: `POST /ap2/mandates/cart`.
#[derive(Debug, Serialize)]
pub struct CreateCart<'a> {
    /// The key under which it is made once.
    #[serde(skip)]
    pub key: &'a str,
    /// Under which intent.
    pub intent_mandate_id: &'a IntentMandateId,
    /// The total in cents, the currency, and what is in it.
    pub cart: Value,
}

impl Operation for CreateCart<'_> {
    const NAME: &'static str = "paegents.create_ap2_cart_mandate";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = MadeCart;

    fn path(&self) -> String {
        "/ap2/mandates/cart".to_owned()
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.key.to_owned())
    }
}

/// A cart mandate that was made.
#[derive(Debug, Deserialize)]
pub struct MadeCart {
    /// It.
    pub cart_mandate: Mandate<CartMandateId>,
}

/// Asks for the digest that binds a cart and who is paid: `POST /ap2/signing-digest`. It is shown and
/// never signed.
#[derive(Debug, Serialize)]
pub struct GetSigningDigest<'a> {
    /// The intent.
    pub intent_mandate_id: &'a IntentMandateId,
    /// The cart.
    pub cart_mandate_id: &'a CartMandateId,
    /// Who is paid.
    pub destination_wallet: String,
}

impl Operation for GetSigningDigest<'_> {
    const NAME: &'static str = "paegents.get_ap2_signing_digest";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    type Output = Value;

    fn path(&self) -> String {
        "/ap2/signing-digest".to_owned()
    }
}
