//! `POST /ap2/pay`: a cart is paid.
//!
//! An attempt under a key is made once: for a day the same key with the same body has the first
//! answer, and a second key finds the cart paid. Without a key each call charges again, as careless
//! as a platform may be. What the owner has to approve waits under its attempt, and is paid when
//! the same attempt comes again.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    faults::{Altered, Fails},
    keys::sha256_hex,
    paegents::{
        agents::{self, Agent},
        answers::{Answer, ApiError, header, ok, read},
        hooks::{self, NewEvent},
        owner::{
            approvals::{self, NewRequest},
            policies::{self, Policy},
        },
        pay::{
            charges::{self, Charge, denied},
            mandates::{self, Cart, Intent},
            rails::{self, Method, Paid, Refused},
            receipts,
        },
    },
    world::World,
};

/// How long a key is remembered, in milliseconds.
const KEY_LIFE_MS: i64 = 86_400_000;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
struct PayBody {
    intent_mandate_id: String,
    cart_mandate_id: String,
    payment_method: Method,
}

/// A request to pay, as far as it tells one attempt from another.
struct Attempt {
    agent: Agent,
    key: Option<String>,
    body_sha256: String,
}

/// What an attempt left behind.
struct Before {
    seq: i64,
    body_sha256: String,
    approval: Option<String>,
    answer: Option<String>,
}

/// What comes of a request that was understood.
enum Outcome {
    /// This is the answer.
    Answer(Value),
    /// The processor refused. It is told to the agent, so it has to be kept.
    Declined(ApiError),
}

/// `POST /ap2/pay`
pub(crate) async fn pay(
    State(world): State<Arc<World>>,
    fails: Option<Extension<Fails>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let is_doomed = fails.is_some();
    let outcome = world.transact(|db, now| {
        let attempt = Attempt::read(db, &headers, &body)?;
        let asked: PayBody = read(&body)?;
        attempt.make(db, &world, now, (&asked, is_doomed))
    })?;
    match outcome {
        Outcome::Answer(answer) => ok(answer),
        Outcome::Declined(error) => {
            let mut response = error.into_response();
            if is_doomed {
                response.extensions_mut().insert(Altered);
            }
            Ok(response)
        }
    }
}

impl Attempt {
    fn read(db: &Connection, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let agent = agents::authenticate(db, headers)?;
        let key = header(headers, "idempotency-key").map(str::to_owned);
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(ApiError::bad_request("Idempotency-Key is too long"));
        }
        Ok(Self { agent, key, body_sha256: sha256_hex(body) })
    }

    /// What was left by the same key within a day or, without one, by the same body that waits.
    fn before(&self, db: &Connection, now: i64) -> rusqlite::Result<Option<Before>> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Before {
                seq: row.get(0)?,
                body_sha256: row.get(1)?,
                approval: row.get(2)?,
                answer: row.get(3)?,
            })
        };
        match &self.key {
            Some(key) => db
                .prepare_cached(
                    "SELECT seq, body_sha256, approval, answer FROM paegents_checkouts
                     WHERE agent = ?1 AND key = ?2 AND at > ?3 ORDER BY seq DESC LIMIT 1",
                )?
                .query_row(params![self.agent.id, key, now - KEY_LIFE_MS], read)
                .optional(),
            None => db
                .prepare_cached(
                    "SELECT seq, body_sha256, approval, answer FROM paegents_checkouts
                     WHERE agent = ?1 AND key IS NULL AND body_sha256 = ?2 AND answer IS NULL
                     ORDER BY seq DESC LIMIT 1",
                )?
                .query_row(params![self.agent.id, self.body_sha256], read)
                .optional(),
        }
    }

    fn make(
        &self,
        db: &Connection,
        world: &World,
        now: i64,
        (asked, is_doomed): (&PayBody, bool),
    ) -> Result<Outcome, ApiError> {
        let before = self.before(db, now)?;
        if let Some(before) = &before {
            if before.body_sha256 != self.body_sha256 {
                let detail = "Idempotency-Key was already used with a different request";
                return Err(ApiError::conflict(detail));
            }
            if let Some(answer) = &before.answer {
                return Ok(Outcome::Answer(serde_json::from_str(answer).unwrap_or_default()));
            }
        }
        let ids = (asked.intent_mandate_id.as_str(), asked.cart_mandate_id.as_str());
        let (intent, cart) = mandates::pair(db, &self.agent, ids)?;
        intent.check(now, cart.cents, &cart.currency)?;
        if self.key.is_some() && cart.is_paid {
            return Err(ApiError::conflict("The cart mandate is already paid"));
        }
        let policy = policies::find(db, &self.agent.id)?;
        check(db, now, &self.agent.id, (&policy, &asked.payment_method, &cart))?;
        let is_large = policy.threshold_cents().is_some_and(|threshold| cart.cents > threshold);
        if is_large && !self.is_approved(db, before.as_ref())? {
            let id = match before.as_ref().and_then(|before| before.approval.clone()) {
                Some(id) => id,
                None => self.request(db, world, now, (&intent, &cart, &asked.payment_method))?,
            };
            return Ok(Outcome::Answer(json!({
                "approval_required": true,
                "request_id": id,
                "policy": policy.json(),
            })));
        }
        match rails::charge(db, world, now, (&asked.payment_method, cart.cents, is_doomed))? {
            Ok(paid) => self.settled(db, world, now, (&intent, &cart, &paid), before.as_ref()),
            Err(refused) => self.declined(db, world, now, &cart, &refused),
        }
    }

    /// Whether the owner approved the attempt.
    fn is_approved(&self, db: &Connection, before: Option<&Before>) -> Result<bool, ApiError> {
        let Some(id) = before.and_then(|before| before.approval.as_deref()) else {
            return Ok(false);
        };
        let approval = approvals::find(db, &self.agent.id, id)?;
        if approval.status == approvals::REJECTED {
            let reason = approval.reason.map_or_else(String::new, |reason| format!(": {reason}"));
            return Err(denied(&format!("the owner rejected request {id}{reason}")));
        }
        Ok(approval.status == approvals::APPROVED)
    }

    fn request(
        &self,
        db: &Connection,
        world: &World,
        now: i64,
        (intent, cart, method): (&Intent, &Cart, &Method),
    ) -> rusqlite::Result<String> {
        let request = NewRequest {
            agent: &self.agent.id,
            intent: &intent.id,
            cart: &cart.id,
            cents: cart.cents,
            currency: &cart.currency,
            rail: &method.rail,
        };
        let id = approvals::request(db, world, now, &request)?;
        db.prepare_cached(
            "INSERT INTO paegents_checkouts (agent, cart, key, body_sha256, approval, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![self.agent.id, cart.id, self.key, self.body_sha256, id, now])?;
        Ok(id)
    }

    fn settled(
        &self,
        db: &Connection,
        world: &World,
        now: i64,
        (intent, cart, paid): (&Intent, &Cart, &Paid),
        before: Option<&Before>,
    ) -> Result<Outcome, ApiError> {
        let payer = charges::card(&self.agent.id);
        let charge = Charge {
            agent: &self.agent.id,
            reference: &cart.id,
            payer: paid.payer.as_deref().unwrap_or(&payer),
            payee: &paid.payee,
            cents: cart.cents,
        };
        charge.enter(db, now)?;
        mandates::set_paid(db, &cart.id)?;
        let particulars = (cart.id.as_str(), cart.cents, cart.currency.as_str());
        let answer = json!({
            "status": "completed",
            "intent_mandate_id": intent.id,
            "cart_mandate_id": cart.id,
            "rail": paid.rail,
            "processor": paid.processor,
            "processor_ref": paid.reference,
            "receipt": receipts::make(db, world, now, &self.agent.id, particulars)?,
            "onchain_txid": paid.transaction,
        });
        if let Some(before) = before {
            db.prepare_cached("UPDATE paegents_checkouts SET answer = ?2, at = ?3 WHERE seq = ?1")?
                .execute(params![before.seq, answer.to_string(), now])?;
        } else {
            db.prepare_cached(
                "INSERT INTO paegents_checkouts (agent, cart, key, body_sha256, answer, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.agent.id,
                cart.id,
                self.key,
                self.body_sha256,
                answer.to_string(),
                now,
            ])?;
        }
        let payload = json!({
            "cart_mandate_id": cart.id,
            "amount_cents": cart.cents,
            "rail": paid.rail,
            "processor_ref": paid.reference,
        });
        self.tell(db, world, now, "payment.completed", payload)?;
        Ok(Outcome::Answer(answer))
    }

    fn declined(
        &self,
        db: &Connection,
        world: &World,
        now: i64,
        cart: &Cart,
        Refused(reason): &Refused,
    ) -> Result<Outcome, ApiError> {
        let payload = json!({
            "cart_mandate_id": cart.id,
            "amount_cents": cart.cents,
            "error": reason,
        });
        self.tell(db, world, now, "payment.failed", payload)?;
        let detail = format!("Payment failed: {reason}");
        Ok(Outcome::Declined(ApiError::new(StatusCode::PAYMENT_REQUIRED, detail)))
    }

    fn tell(
        &self,
        db: &Connection,
        world: &World,
        now: i64,
        kind: &str,
        payload: Value,
    ) -> rusqlite::Result<()> {
        hooks::emit(
            db,
            world,
            now,
            &NewEvent { kind, agent: &self.agent.id, agreement: "", payload },
        )
    }
}

/// Refuses what the agent's policy forbids, whoever might approve it.
fn check(
    db: &Connection,
    now: i64,
    agent: &str,
    (policy, method, cart): (&Policy, &Method, &Cart),
) -> Result<(), ApiError> {
    if !policy.allows_rail(&method.rail) {
        return Err(denied(&format!("the rail {} is not allowed", method.rail)));
    }
    charges::check(db, now, agent, policy, cart.cents)
}
