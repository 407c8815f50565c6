//! The older calls: `POST /mcp/payments`, `POST /a2a/payment`, and what an agent has left.
//!
//! Neither knows a key and neither can be looked up: each request is a payment. Source: the
//! protocol page on Paegents, 3.1 and 4.1.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    paegents::{
        agents::{self, Agent},
        answers::{Answer, ApiError, ok, read},
        hooks::{self, NewEvent},
        owner::policies,
        pay::{
            charges::{self, Charge},
            mandates::fresh_id,
            receipts,
        },
    },
    world::World,
};

/// The most cents of one payment.
const CENTS_MAX: u64 = 1_000_000_000;

fn usd() -> String {
    "usd".to_owned()
}

fn stripe() -> String {
    "stripe".to_owned()
}

#[derive(Deserialize)]
struct PayBody {
    agent_id: String,
    amount: u64,
    #[serde(default = "usd")]
    currency: String,
    description: Option<String>,
    #[serde(default = "stripe")]
    payment_method: String,
    recipient_account_id: Option<String>,
    recipient_business_name: Option<String>,
    recipient_email: Option<String>,
}

/// A payment that was read.
struct Order<'a> {
    agent: &'a Agent,
    payee: &'a str,
    cents: u64,
    currency: &'a str,
}

/// Makes a payment under an identifier that begins with `prefix`; answers that and the receipt.
fn charge(
    db: &Connection,
    world: &World,
    now: i64,
    order: &Order<'_>,
    prefix: &str,
) -> Result<(String, Value), ApiError> {
    if !(1..=CENTS_MAX).contains(&order.cents) {
        return Err(ApiError::invalid("amount", "Input should be above 0"));
    }
    let agent = order.agent.id.as_str();
    charges::check(db, now, agent, &policies::find(db, agent)?, order.cents)?;
    let id = fresh_id(db, world, prefix)?;
    let payer = charges::card(agent);
    let charge =
        Charge { agent, reference: &id, payer: &payer, payee: order.payee, cents: order.cents };
    charge.enter(db, now)?;
    let receipt = receipts::make(db, world, now, agent, (&id, order.cents, order.currency))?;
    let payload = json!({ "payment_id": id, "amount_cents": order.cents, "payee": order.payee });
    let event = NewEvent { kind: "payment.completed", agent, agreement: "", payload };
    hooks::emit(db, world, now, &event)?;
    Ok((id, receipt))
}

/// The agent of the key, if the body names the same.
fn same_agent(db: &Connection, headers: &HeaderMap, named: &str) -> Result<Agent, ApiError> {
    let agent = agents::authenticate(db, headers)?;
    if agent.id == named {
        Ok(agent)
    } else {
        Err(ApiError::forbidden("agent_id is not the agent of this API key"))
    }
}

/// `POST /mcp/payments`
pub(crate) async fn pay(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, now| {
        agents::authenticate(db, &headers)?;
        let asked: PayBody = read(&body)?;
        let agent = same_agent(db, &headers, &asked.agent_id)?;
        let recipient = asked.recipient_account_id.or(asked.recipient_business_name);
        let payee = recipient.or(asked.recipient_email).unwrap_or_else(|| "merchant".to_owned());
        let currency = asked.currency.to_ascii_lowercase();
        let order =
            Order { agent: &agent, payee: &payee, cents: asked.amount, currency: &currency };
        let mut answer = match asked.payment_method.as_str() {
            "stripe" => {
                let (id, receipt) = charge(db, &world, now, &order, "pi")?;
                let secret = hex::encode(world.fresh(db, "paegents/client-secret")?);
                json!({
                    "payment_intent": {
                        "client_secret":
                            format!("{id}_secret_{}", secret.get(..24).unwrap_or_default()),
                        "id": id,
                        "status": "succeeded",
                        "amount": asked.amount,
                        "currency": currency,
                    },
                    "receipt": receipt,
                })
            }
            "braintree" => {
                let (id, receipt) = charge(db, &world, now, &order, "bt")?;
                json!({
                    "payment": {
                        "id": id,
                        "state": "settled",
                        "amount": asked.amount,
                        "currency": currency,
                    },
                    "receipt": receipt,
                })
            }
            _ => {
                let message = "Input should be 'stripe' or 'braintree'";
                return Err(ApiError::invalid("payment_method", message));
            }
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("payment_method".to_owned(), json!(asked.payment_method));
            answer.insert("description".to_owned(), json!(asked.description));
        }
        Ok(answer)
    })?)
}

#[derive(Deserialize)]
struct PayAgentBody {
    agent_id: String,
    recipient_id: String,
    amount: u64,
    #[serde(default = "usd")]
    currency: String,
    memo: Option<String>,
}

/// `POST /a2a/payment`
pub(crate) async fn pay_agent(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, now| {
        agents::authenticate(db, &headers)?;
        let asked: PayAgentBody = read(&body)?;
        let agent = same_agent(db, &headers, &asked.agent_id)?;
        let recipient = agents::find(db, &asked.recipient_id)?
            .ok_or_else(|| ApiError::not_found("Recipient"))?;
        let currency = asked.currency.to_ascii_lowercase();
        let order =
            Order { agent: &agent, payee: &recipient.id, cents: asked.amount, currency: &currency };
        let (id, receipt) = charge(db, &world, now, &order, "a2a")?;
        Ok::<_, ApiError>(json!({
            "payment_id": id,
            "status": "completed",
            "agent_id": agent.id,
            "recipient_id": recipient.id,
            "amount": asked.amount,
            "currency": currency,
            "memo": asked.memo,
            "receipt": receipt,
        }))
    })?)
}

/// `GET /mcp/balance/{agent}`
pub(crate) async fn balance(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    ok(world.transact(|db, now| {
        let agent = agents::agent_or_owner(db, &headers, &id)?;
        Ok::<_, ApiError>(charges::balance(db, now, &agent.id)?)
    })?)
}
