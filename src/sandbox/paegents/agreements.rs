//! Usage agreements: their row, and how they are shown.

use alloy_primitives::Address;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::sandbox::{
    clock::rfc3339,
    paegents::{
        agents::Agent,
        answers::ApiError,
        hooks::{self, NewEvent},
    },
    world::World,
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_agreements (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, buyer TEXT NOT NULL,
    seller TEXT NOT NULL, status TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX paegents_bought ON paegents_agreements (buyer, seq);
CREATE INDEX paegents_sold ON paegents_agreements (seller, seq);
";

/// Which side of an agreement an agent is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It buys.
    Buyer,
    /// It sells.
    Seller,
}

/// What a buyer signed when it proposed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are the wire's names")]
pub(crate) struct Signed {
    /// The permit for the escrow of version 1.
    pub(crate) buyer_permit_signature: Option<String>,
    /// Its deadline, in seconds since 1970.
    pub(crate) buyer_permit_deadline: Option<u64>,
    /// The authorization of the deposit of version 1.
    pub(crate) buyer_deposit_auth_signature: Option<String>,
    /// Its deadline, in seconds since 1970.
    pub(crate) buyer_deposit_auth_deadline: Option<u64>,
    /// The permit for the platform's fee.
    pub(crate) buyer_infra_fee_permit_signature: Option<String>,
    /// Its deadline, in seconds since 1970.
    pub(crate) buyer_infra_fee_permit_deadline: Option<u64>,
}

/// An agreement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Agreement {
    /// Its identifier, `agr_` and hex digits.
    pub(crate) id: String,
    /// The identifier of the agent who buys.
    pub(crate) buyer: String,
    /// The identifier of the agent who sells.
    pub(crate) seller: String,
    /// The service that it is about, or none.
    pub(crate) service: Option<String>,
    /// How the service behaves; `manual` without one.
    pub(crate) behaviour: String,
    /// How many units.
    pub(crate) quantity: u64,
    /// What is counted.
    pub(crate) unit: String,
    /// What was agreed for a unit, in cents.
    pub(crate) price_per_unit_cents: u64,
    /// What a unit costs on the chain, in micro-units; a package may ask more than was agreed.
    pub(crate) price_per_unit_atomic: u64,
    /// Units times price, in cents.
    pub(crate) total_cents: u64,
    /// `proposed`, `accepted`, `active`, `completed`, `rejected`, `cancelled`, `expired`,
    /// `disputed`.
    pub(crate) status: String,
    /// When it lapses if it is not active by then, in milliseconds.
    pub(crate) expires_at: i64,
    /// When it was proposed, in milliseconds.
    pub(crate) created_at: i64,
    /// When it was last changed, in milliseconds.
    pub(crate) updated_at: i64,
    /// As it was sent, with its `payment_header`.
    pub(crate) payment_method: Value,
    /// What it is about, in the buyer's words.
    pub(crate) service_description: Option<String>,
    /// The buyer's own name for it.
    pub(crate) client_proposal_id: Option<String>,
    /// Units that were used.
    pub(crate) units_used: u64,
    /// The payment of a direct purchase.
    pub(crate) escrow_payment_id: Option<String>,
    /// What the seller has received, in cents.
    pub(crate) released_cents: u64,
    /// The seller's receipt.
    pub(crate) seller_receipt_id: Option<String>,
    /// The buyer's receipt.
    pub(crate) buyer_receipt_id: Option<String>,
    /// The buyer's members, and `cart_items`, `shipping`, `delivery`, `suggestions`, `dispute`.
    pub(crate) metadata: Map<String, Value>,
    /// `bilateral_escrow` or `direct_payment`.
    pub(crate) settlement_model: String,
    /// The buyer's wallet, as it was sent.
    pub(crate) buyer_wallet: Address,
    /// The seller's wallet, as the platform knows it.
    pub(crate) seller_wallet: Address,
    /// `none`, `pending`, `funded`, `closing`, `finalized`, `settled`.
    pub(crate) escrow_status: String,
    /// Its number in the escrow contract, once it is there.
    pub(crate) onchain_agreement_id: Option<u64>,
    /// Its key in the escrow contract: `0x` and 64 hex digits.
    pub(crate) onchain_agreement_key: Option<String>,
    /// `pending`, `paid`, `waived`, `failed`.
    pub(crate) infra_fee_status: String,
    /// What the units cost together, in micro-units.
    pub(crate) service_amount_atomic: u64,
    /// The platform's fee, in micro-units.
    pub(crate) infra_fee_amount_atomic: u64,
    /// The platform's fee on each call, in micro-units.
    pub(crate) per_call_fee_amount_atomic: u64,
    /// Which prices of the platform apply.
    pub(crate) pricing_version: String,
    /// `none`, `closing`, `finalized`, `settled`.
    pub(crate) settlement_status: String,
    /// `v1` or `v2`.
    pub(crate) activation_version: String,
    /// `none`, `ready`, `submitting`, `confirmed`, `failed`.
    pub(crate) activation_status: String,
    /// The transaction that funded the escrow.
    pub(crate) activation_tx_hash: Option<String>,
    /// When the escrow can be settled, in milliseconds.
    pub(crate) challenge_window_expires_at: Option<i64>,
    /// What the seller earned, in micro-units.
    pub(crate) aggregate_earned_atomic: u64,
    /// What the seller was paid out, in micro-units.
    pub(crate) aggregate_claimed_atomic: u64,
    /// What the buyer got back, in micro-units.
    pub(crate) aggregate_withdrawn_atomic: u64,
    /// What the buyer signed.
    pub(crate) signed: Signed,
}

/// The instant as text, or null.
fn instant(at: Option<i64>) -> Value {
    at.map_or(Value::Null, |at| json!(rfc3339(at)))
}

impl Agreement {
    /// As everybody who takes part sees it. Signatures and payment headers are left out.
    pub(crate) fn view(&self) -> Value {
        let mut payment_method = self.payment_method.clone();
        if let Some(members) = payment_method.as_object_mut() {
            members.remove("payment_header");
        }
        let parts = [self.terms(), self.settlement()];
        let mut view: Map<String, Value> = parts.into_iter().flatten().collect();
        view.insert("payment_method".to_owned(), payment_method);
        Value::Object(view)
    }

    fn terms(&self) -> Map<String, Value> {
        let view = json!({
            "agreement_id": self.id,
            "buyer_agent_id": self.buyer,
            "seller_agent_id": self.seller,
            "service_id": self.service,
            "quantity": self.quantity,
            "unit": self.unit,
            "price_per_unit_cents": self.price_per_unit_cents,
            "total_cents": self.total_cents,
            "status": self.status,
            "expires_at": rfc3339(self.expires_at),
            "service_description": self.service_description,
            "client_proposal_id": self.client_proposal_id,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "units_used": self.units_used,
            "escrow_payment_id": self.escrow_payment_id,
            "released_cents": self.released_cents,
            "seller_receipt_id": self.seller_receipt_id,
            "buyer_receipt_id": self.buyer_receipt_id,
            "metadata": self.metadata,
        });
        view.as_object().cloned().unwrap_or_default()
    }

    fn settlement(&self) -> Map<String, Value> {
        let view = json!({
            "settlement_model": self.settlement_model,
            "buyer_wallet_address": self.buyer_wallet.to_string(),
            "seller_wallet_address": self.seller_wallet.to_string(),
            "escrow_status": self.escrow_status,
            // The SDK has it as text here, and as a number in the deposit parameters.
            "onchain_agreement_id": self.onchain_agreement_id.map(|id| id.to_string()),
            "onchain_agreement_key": self.onchain_agreement_key,
            "infra_fee_status": self.infra_fee_status,
            "service_amount_atomic": self.service_amount_atomic,
            "infra_fee_amount_atomic": self.infra_fee_amount_atomic,
            "per_call_fee_amount_atomic": self.per_call_fee_amount_atomic,
            "pricing_version": self.pricing_version,
            "settlement_status": self.settlement_status,
            "activation_version": self.activation_version,
            "activation_status": self.activation_status,
            "activation_tx_hash": self.activation_tx_hash,
            "challenge_window_expires_at": instant(self.challenge_window_expires_at),
            "aggregate_earned_atomic": self.aggregate_earned_atomic,
            "aggregate_claimed_atomic": self.aggregate_claimed_atomic,
            "aggregate_withdrawn_atomic": self.aggregate_withdrawn_atomic,
        });
        view.as_object().cloned().unwrap_or_default()
    }

    /// Which side the agent is on, if any.
    pub(crate) fn role_of(&self, agent: &str) -> Option<Role> {
        if self.buyer == agent {
            Some(Role::Buyer)
        } else {
            (self.seller == agent).then_some(Role::Seller)
        }
    }

    /// Whether it is settled through the escrow.
    pub(crate) fn has_escrow(&self) -> bool {
        self.settlement_model == "bilateral_escrow"
    }
}

/// Reads the column of an agreement.
pub(crate) fn parse(record: &str) -> rusqlite::Result<Agreement> {
    let wrong = |error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    };
    serde_json::from_str(record).map_err(wrong)
}

/// Reads an agreement.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Agreement>> {
    db.prepare_cached("SELECT record FROM paegents_agreements WHERE id = ?1")?
        .query_row([id], |row| parse(&row.get::<_, String>(0)?))
        .optional()
}

/// Writes an agreement, new or changed.
pub(crate) fn save(db: &Connection, agreement: &Agreement) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_agreements (id, buyer, seller, status, record)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, record = excluded.record",
    )?
    .execute(params![
        agreement.id,
        agreement.buyer,
        agreement.seller,
        agreement.status,
        json!(agreement).to_string(),
    ])?;
    Ok(())
}

/// The agreement and the agent's side of it.
///
/// # Errors
///
/// 404 where there is none, or the agent takes no part in it.
pub(crate) fn as_party(
    db: &Connection,
    agent: &Agent,
    id: &str,
) -> Result<(Agreement, Role), ApiError> {
    find(db, id)?
        .and_then(|found| found.role_of(&agent.id).map(|role| (found, role)))
        .ok_or_else(|| ApiError::not_found("Agreement"))
}

/// The agreement, if the agent is on this side of it.
///
/// # Errors
///
/// 404 as [`as_party`]; 403 on the other side.
pub(crate) fn as_role(
    db: &Connection,
    agent: &Agent,
    id: &str,
    role: Role,
) -> Result<Agreement, ApiError> {
    match (as_party(db, agent, id)?, role) {
        ((found, actual), wanted) if actual == wanted => Ok(found),
        (_, Role::Buyer) => Err(ApiError::forbidden("Only the buyer can do this")),
        (_, Role::Seller) => Err(ApiError::forbidden("Only the seller can do this")),
    }
}

/// Tells both sides what happened; the payload names the agreement and where it stands.
pub(crate) fn tell(
    db: &Connection,
    world: &World,
    now: i64,
    kind: &str,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    let payload = json!({
        "agreement_id": agreement.id,
        "status": agreement.status,
        "buyer_agent_id": agreement.buyer,
        "seller_agent_id": agreement.seller,
        "service_id": agreement.service,
        "total_cents": agreement.total_cents,
        "activation_status": agreement.activation_status,
        "escrow_status": agreement.escrow_status,
        "settlement_status": agreement.settlement_status,
        "at": rfc3339(now),
    });
    for agent in [&agreement.buyer, &agreement.seller] {
        let event = NewEvent { kind, agent, agreement: &agreement.id, payload: payload.clone() };
        hooks::emit(db, world, now, &event)?;
    }
    Ok(())
}
