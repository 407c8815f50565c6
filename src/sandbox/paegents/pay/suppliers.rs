//! Payments to suppliers by their domain: `POST /a2a/pay`, and what becomes of them.
//!
//! A transaction's identifier is the payer's: the same one with the same order is the same payment,
//! however often it is sent. Source: the protocol page on Paegents, 4.2.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    clock::rfc3339,
    faults::{Altered, Fails},
    keys::sha256_hex,
    paegents::{
        agents,
        answers::{Answer, ApiError, ok, read},
        hooks::{self, NewEvent},
        owner::policies,
        pay::charges::{self, Charge},
        steps::{Part, plan, step_ms},
    },
    world::World,
};

/// The task of the step that brings a payment to its end.
pub(crate) const STEP: &str = "supplier";
/// How long a payment is under way in real life, in milliseconds.
const PROCESSING_MS: i64 = 10_000;
/// The longest identifier of a transaction.
const ID_BYTES_MAX: usize = 128;
/// The most cents of one payment.
const CENTS_MAX: u64 = 1_000_000_000;

/// The suppliers that exist, each with the status that a payment to it begins with.
const SUPPLIERS: [(&str, &str); 4] = [
    ("supplier.example", PAID),
    ("slow.example", PROCESSING),
    ("new.example", ONBOARDING),
    ("failing.example", FAILED),
];
const PAID: &str = "paid";
const PROCESSING: &str = "processing";
const ONBOARDING: &str = "supplier_onboarding";
const FAILED: &str = "failed";

/// A payment.
#[derive(Clone, Debug)]
struct Payment {
    agent: String,
    txn: String,
    supplier: String,
    body_sha256: String,
    cents: u64,
    status: String,
    error: String,
    is_doomed: bool,
    events: Vec<Value>,
}

impl Payment {
    fn find(db: &Connection, agent: &str, txn: &str) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached(
            "SELECT supplier, body_sha256, cents, status, error, is_doomed, events
             FROM paegents_supplier_payments WHERE agent = ?1 AND txn = ?2",
        )?
        .query_row([agent, txn], |row| {
            let (cents, events): (i64, String) = (row.get(2)?, row.get(6)?);
            Ok(Self {
                agent: agent.to_owned(),
                txn: txn.to_owned(),
                supplier: row.get(0)?,
                body_sha256: row.get(1)?,
                cents: u64::try_from(cents).unwrap_or_default(),
                status: row.get(3)?,
                error: row.get(4)?,
                is_doomed: row.get(5)?,
                events: serde_json::from_str(&events).unwrap_or_default(),
            })
        })
        .optional()
    }

    fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO paegents_supplier_payments
                 (agent, txn, supplier, body_sha256, cents, status, error, is_doomed, events)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (agent, txn) DO UPDATE SET status = excluded.status,
                 error = excluded.error, events = excluded.events",
        )?
        .execute(params![
            self.agent,
            self.txn,
            self.supplier,
            self.body_sha256,
            i64::try_from(self.cents).unwrap_or(i64::MAX),
            self.status,
            self.error,
            self.is_doomed,
            Value::from(self.events.clone()).to_string(),
        ])?;
        Ok(())
    }

    /// Gives the payment its next status, with everything that comes with it, and saves it.
    fn turn(
        &mut self,
        db: &Connection,
        world: &World,
        at: i64,
        (status, error): (&str, &str),
    ) -> rusqlite::Result<()> {
        status.clone_into(&mut self.status);
        error.clone_into(&mut self.error);
        self.events.push(json!({ "status": status, "timestamp": rfc3339(at) }));
        self.save(db)?;
        let kind = match status {
            PAID => "payment.completed",
            FAILED => "payment.failed",
            _ => return Ok(()),
        };
        if status == PAID {
            let charge = Charge {
                agent: &self.agent,
                reference: &self.txn,
                payer: &charges::card(&self.agent),
                payee: &self.supplier,
                cents: self.cents,
            };
            charge.enter(db, at)?;
        }
        let payload = json!({
            "txn_id": self.txn,
            "supplier": self.supplier,
            "amount_cents": self.cents,
            "status": status,
            "error": (!error.is_empty()).then_some(error),
        });
        hooks::emit(db, world, at, &NewEvent { kind, agent: &self.agent, agreement: "", payload })
    }

    fn view(&self) -> Value {
        let is_new = self.status == ONBOARDING;
        let seed = format!("paegents/provisional/{}/{}", self.agent, self.txn);
        let digest = sha256_hex(seed.as_bytes());
        let key = format!("prov_{}", digest.get(..24).unwrap_or_default());
        json!({
            "msg": "PayResponse",
            "txn_id": self.txn,
            "status": self.status,
            "supplier": self.supplier,
            "amount": self.cents,
            "provisional_key": is_new.then_some(key),
            "next_action_url": is_new.then(|| format!("https://{}/onboarding", self.supplier)),
            "error": (!self.error.is_empty()).then_some(&self.error),
        })
    }
}

/// Brings a payment to its end, if it is still under way.
pub(crate) fn proceed(
    db: &Connection,
    world: &World,
    at: i64,
    subject: &str,
) -> rusqlite::Result<()> {
    let Some((agent, txn)) = subject.split_once('/') else { return Ok(()) };
    let Some(mut payment) = Payment::find(db, agent, txn)? else { return Ok(()) };
    let next = match payment.status.as_str() {
        PROCESSING if payment.is_doomed => (FAILED, "The supplier's bank returned the payment"),
        PROCESSING => (PAID, ""),
        ONBOARDING => (FAILED, "The supplier did not finish its onboarding"),
        _ => return Ok(()),
    };
    payment.turn(db, world, at, next)
}

#[derive(Deserialize)]
struct PayBody {
    msg: String,
    txn_id: String,
    supplier: String,
    amount: u64,
    #[serde(default = "usd")]
    currency: String,
    #[serde(default)]
    description: String,
    api_key: String,
    agent_owner_email: String,
    agent_id: String,
}

fn usd() -> String {
    "usd".to_owned()
}

fn check(asked: &PayBody) -> Result<(), ApiError> {
    if asked.msg != "PayRequest" {
        return Err(ApiError::invalid("msg", "Input should be 'PayRequest'"));
    }
    if !(1..=CENTS_MAX).contains(&asked.amount) {
        return Err(ApiError::invalid("amount", "Input should be above 0"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !(1..=ID_BYTES_MAX).contains(&asked.txn_id.len()) || !asked.txn_id.chars().all(fits) {
        return Err(ApiError::invalid("txn_id", "Input should be an identifier"));
    }
    if !asked.agent_owner_email.contains('@') {
        return Err(ApiError::invalid("agent_owner_email", "Input should be an email address"));
    }
    Ok(())
}

/// `POST /a2a/pay`
pub(crate) async fn pay(
    State(world): State<Arc<World>>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let is_doomed = fails.is_some();
    let (answer, is_new) = world.transact(|db, now| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: PayBody = read(&body)?;
        if asked.api_key != agent.api_key {
            return Err(ApiError::unauthorized("Invalid API key"));
        }
        if asked.agent_id != agent.id {
            return Err(ApiError::forbidden("agent_id is not the agent of this API key"));
        }
        check(&asked)?;
        let domain = asked.supplier.trim().to_ascii_lowercase();
        // The key in the body may change between two tries of one payment.
        let order = json!([domain, asked.amount, asked.currency, asked.description]);
        let body_sha256 = sha256_hex(order.to_string().as_bytes());
        if let Some(before) = Payment::find(db, &agent.id, &asked.txn_id)? {
            if before.body_sha256 != body_sha256 {
                return Err(ApiError::conflict("txn_id was already used for another payment"));
            }
            return Ok((before.view(), false));
        }
        let supplier = SUPPLIERS.into_iter().find(|(name, _)| *name == domain);
        let (_, first) = supplier.ok_or_else(|| ApiError::not_found("Supplier"))?;
        charges::check(db, now, &agent.id, &policies::find(db, &agent.id)?, asked.amount)?;
        let mut payment = Payment {
            agent: agent.id,
            txn: asked.txn_id,
            supplier: domain,
            body_sha256,
            cents: asked.amount,
            status: String::new(),
            error: String::new(),
            is_doomed,
            events: Vec::new(),
        };
        let (status, error) = match first {
            PAID if is_doomed => (FAILED, "The supplier's bank refused the payment"),
            FAILED => (FAILED, "The supplier's bank refused the payment"),
            first => (first, ""),
        };
        payment.turn(db, &world, now, (status, error))?;
        if [PROCESSING, ONBOARDING].contains(&status) {
            let at = now + step_ms(&world, PROCESSING_MS);
            let subject = format!("{}/{}", payment.agent, payment.txn);
            plan(db, at, Part::Pay, (STEP, &subject))?;
        }
        Ok((payment.view(), true))
    })?;
    Ok(marked(answer, is_doomed && is_new))
}

/// The answer, which says whether the fault that came with the request did its work.
fn marked(answer: Value, is_altered: bool) -> Response {
    let mut response = Json(answer).into_response();
    if is_altered {
        response.extensions_mut().insert(Altered);
    }
    response
}

#[derive(Deserialize)]
struct StatusBody {
    msg: String,
    txn_id: String,
}

/// `POST /a2a/status`
pub(crate) async fn status(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    ok(world.transact(|db, _| {
        let agent = agents::authenticate(db, &headers)?;
        let asked: StatusBody = read(&body)?;
        if asked.msg != "StatusQuery" {
            return Err(ApiError::invalid("msg", "Input should be 'StatusQuery'"));
        }
        let payment = Payment::find(db, &agent.id, &asked.txn_id)?
            .ok_or_else(|| ApiError::not_found("Transaction"))?;
        Ok(json!({
            "msg": "StatusResponse",
            "txn_id": payment.txn,
            "status": payment.status,
            "events": payment.events,
        }))
    })?)
}
