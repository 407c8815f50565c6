//! Relays: the payment of one gateway call, from the 402 to settlement.
//!
//! A relay is bound to its buyer, listing, body and idempotency key, and has a deposit address of
//! its own. Every transfer that arrives there is a charge, however many there are.

use alloy_primitives::Address;
use axum::http::StatusCode;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{self, CHAIN_ID, Transfer, USDC},
        clock::rfc3339,
        crochet::{
            answers::{ApiError, Recovery},
            catalog,
            listings::Listing,
            treasury, wallets,
        },
        ledger::{self, Kind, NewEntry, micros},
        store,
        world::World,
    },
};

/// How long a requirement can be paid, in milliseconds.
const LIFE_MS: i64 = 600_000;
/// The marketplace's share, in percent.
const FEE_PERCENT: u64 = 2;
/// One SOL costs this many dollars here.
const USD_PER_SOL: u64 = 150;

/// What the buyer pays with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Currency {
    /// USDC on Base Sepolia.
    Usdc,
    /// SOL on Solana.
    Sol,
}

impl Currency {
    /// Its symbol.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Usdc => "USDC",
            Self::Sol => "SOL",
        }
    }

    /// Reads `X-Crochet-Origin-Currency`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "USDC" => Some(Self::Usdc),
            "SOL" => Some(Self::Sol),
            _ => None,
        }
    }
}

/// A relay.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    /// Its identifier: `0x` and 64 hex digits.
    pub(crate) id: String,
    /// The agent who pays.
    pub(crate) buyer: String,
    /// The listing's identifier.
    pub(crate) listing: String,
    /// The digest of the body.
    pub(crate) body_sha256: String,
    /// The caller's key.
    pub(crate) idempotency_key: Option<String>,
    /// What is paid with: `USDC` or `SOL`.
    pub(crate) currency: String,
    price: Usdc,
    amount: String,
    deposit_address: String,
    expires_at: i64,
    received: Usdc,
    /// `payment_required`, `pending`, `settled`, `executing`, `delivered`, `rejected`, `failed`.
    pub(crate) state: String,
    /// The final answer: status and body.
    pub(crate) answer: Option<(u16, String)>,
    /// When it was paid in full.
    pub(crate) paid_at: Option<i64>,
    seller: String,
}

impl Relay {
    /// Whether it can no longer be paid. Once something arrived it stays open.
    pub(crate) fn has_lapsed(&self, now: i64) -> bool {
        self.state == "payment_required" && self.received == Usdc::ZERO && self.expires_at <= now
    }
}

const COLUMNS: &str = "id, buyer, listing, body_sha256, idempotency_key, currency, micros, amount, \
     deposit_address, expires_at, received, state, answer_status, answer, paid_at, seller";

fn row(row: &Row<'_>) -> rusqlite::Result<Relay> {
    let answer: (Option<u16>, Option<String>) = (row.get(12)?, row.get(13)?);
    Ok(Relay {
        id: row.get(0)?,
        buyer: row.get(1)?,
        listing: row.get(2)?,
        body_sha256: row.get(3)?,
        idempotency_key: row.get(4)?,
        currency: row.get(5)?,
        price: micros(row.get(6)?),
        amount: row.get(7)?,
        deposit_address: row.get(8)?,
        expires_at: row.get(9)?,
        received: micros(row.get(10)?),
        state: row.get(11)?,
        answer: answer.0.zip(answer.1),
        paid_at: row.get(14)?,
        seller: row.get(15)?,
    })
}

/// What is asked for when a relay is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// The agent who pays.
    pub(crate) buyer: &'a str,
    /// What is bought.
    pub(crate) listing: &'a Listing,
    /// The digest of the body.
    pub(crate) body_sha256: &'a str,
    /// The caller's key.
    pub(crate) idempotency_key: Option<&'a str>,
    /// What is paid with.
    pub(crate) currency: Currency,
    /// What is asked for; nothing for a call that is free.
    pub(crate) price: Usdc,
}

/// Makes a relay; one whose price is nothing is the record of a free call.
pub(crate) fn mint(
    db: &Connection,
    world: &World,
    now: i64,
    order: &Order<'_>,
) -> rusqlite::Result<Relay> {
    let serial = store::next_serial(db)?;
    let is_free = order.price == Usdc::ZERO;
    let id = if is_free {
        world.seed.uuid(&format!("crochet/free-call/{serial}"))
    } else {
        format!("0x{}", hex::encode(world.seed.bytes(&format!("crochet/relay/{serial}"))))
    };
    let deposit = format!("crochet/deposit/{id}");
    let price = order.price.micros();
    let (amount, deposit_address) = match order.currency {
        Currency::Usdc => (price.to_string(), world.seed.address(&deposit).to_string()),
        // One dollar is 10^6 micro-units and one SOL 10^9 lamports.
        Currency::Sol => {
            let lamports = price.saturating_mul(1_000).div_ceil(USD_PER_SOL);
            (lamports.to_string(), world.seed.solana_address(&deposit))
        }
    };
    let state = if is_free { "executing" } else { "payment_required" };
    db.prepare_cached(
        "INSERT INTO crochet_relays
             (id, seq, is_free, buyer, listing, seller, body_sha256, idempotency_key, currency,
              micros, amount, deposit_address, created_at, expires_at, state, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?13)",
    )?
    .execute(params![
        id,
        serial,
        is_free,
        order.buyer,
        order.listing.id,
        order.listing.owner,
        order.body_sha256,
        order.idempotency_key,
        order.currency.as_str(),
        chain::signed(price),
        amount,
        deposit_address,
        now,
        now + LIFE_MS,
        state,
    ])?;
    let found = find(db, &id)?;
    found.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// The relay, or the record of a free call, with this identifier.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Relay>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM crochet_relays WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// The newest relay that the buyer made with this key.
pub(crate) fn by_key(db: &Connection, buyer: &str, key: &str) -> rusqlite::Result<Option<Relay>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM crochet_relays WHERE buyer = ?1 AND idempotency_key = ?2
         ORDER BY seq DESC LIMIT 1"
    ))?
    .query_row([buyer, key], row)
    .optional()
}

/// Moves it to another state.
pub(crate) fn set_state(db: &Connection, id: &str, state: &str, now: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE crochet_relays SET state = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![id, state, now])?;
    Ok(())
}

/// Stores the final answer.
pub(crate) fn finish(
    db: &Connection,
    id: &str,
    (state, status, body): (&str, u16, &str),
    latency_ms: i64,
    now: i64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE crochet_relays SET state = ?2, answer_status = ?3, answer = ?4, latency_ms = ?5,
             updated_at = ?6 WHERE id = ?1",
    )?
    .execute(params![id, state, status, body, latency_ms, now])?;
    Ok(())
}

/// After a restart, paid calls that were with a seller start again, with the same request id.
pub(crate) fn resume(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "DELETE FROM crochet_relays WHERE state = 'executing' AND is_free = 1;
         UPDATE crochet_relays SET state = 'settled' WHERE state = 'executing';",
    )
}

/// Books a transfer to a deposit address; answers whether it was one.
pub(crate) fn payment_arrived(db: &Connection, transfer: &Transfer) -> rusqlite::Result<bool> {
    let relay = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM crochet_relays WHERE deposit_address = ?1 AND is_free = 0"
        ))?
        .query_row([transfer.to.to_string()], row)
        .optional()?;
    let Some(relay) = relay else { return Ok(false) };
    let payer = transfer.from.to_string();
    book(db, &relay, &payer, transfer.amount, transfer.at_ms)?;
    Ok(true)
}

/// Marks an external payment (SOL) as made in full.
pub(crate) fn pay_externally(db: &Connection, id: &str, now: i64) -> Result<(), ApiError> {
    let relay = find(db, id)?.ok_or_else(|| ApiError::not_found("relay request"))?;
    Ok(book(db, &relay, "external", relay.price, now)?)
}

fn book(
    db: &Connection,
    relay: &Relay,
    payer: &str,
    amount: Usdc,
    at_ms: i64,
) -> rusqlite::Result<()> {
    let seller = wallets::payout_address(db, &relay.seller)?;
    ledger::append(
        db,
        &NewEntry {
            marketplace: "crochet",
            kind: Kind::Charge,
            reference: &relay.id,
            parent: None,
            payer,
            payee: &seller,
            amount,
            at_ms,
        },
    )?;
    let received = relay.received.checked_add(amount).unwrap_or(amount);
    let newly_paid = relay.state == "payment_required" && received >= relay.price;
    let state = if newly_paid { "pending" } else { relay.state.as_str() };
    let paid_at = if newly_paid { Some(at_ms) } else { relay.paid_at };
    db.prepare_cached(
        "UPDATE crochet_relays SET received = ?2, state = ?3, paid_at = ?4, updated_at = ?5
         WHERE id = ?1",
    )?
    .execute(params![relay.id, chain::signed(received.micros()), state, paid_at, at_ms])?;
    Ok(())
}

/// Settles what was paid long enough ago: the fee is kept, the rest goes to the seller.
pub(crate) fn settle(db: &Connection, world: &World, now: i64) -> rusqlite::Result<()> {
    let due: Vec<Relay> = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM crochet_relays WHERE state = 'pending' AND paid_at <= ?1
             ORDER BY paid_at, seq"
        ))?
        .query_map([now - world.settlement_ms()], row)?
        .collect::<rusqlite::Result<_>>()?;
    for relay in due {
        let at_ms = relay.paid_at.unwrap_or(now) + world.settlement_ms();
        let fee = Usdc::from_micros(relay.price.micros() * FEE_PERCENT / 100);
        let payout = relay.price.saturating_sub(fee);
        let seller = wallets::payout_address(db, &relay.seller)?;
        let treasury = treasury(world);
        let house = treasury.to_string();
        for (kind, payee, amount) in [(Kind::Fee, &house, fee), (Kind::Payout, &seller, payout)] {
            let payer = &relay.deposit_address;
            let reference = format!("{}:{}", relay.id, kind.as_str());
            let parent = Some(relay.id.as_str());
            let marketplace = "crochet";
            let reference = reference.as_str();
            let entry =
                NewEntry { marketplace, kind, reference, parent, payer, payee, amount, at_ms };
            ledger::append(db, &entry)?;
        }
        let deposit = relay.deposit_address.parse::<Address>();
        if let (Ok(deposit), Ok(seller)) = (deposit, seller.parse::<Address>()) {
            chain::shift(db, deposit, treasury, fee)?;
            chain::shift(db, deposit, seller, payout)?;
        }
        set_state(db, &relay.id, "settled", at_ms)?;
    }
    Ok(())
}

/// The 402.
pub(crate) fn requirement(relay: &Relay, listing: &Listing) -> ApiError {
    let mut payment = json!({
        "amount": relay.amount,
        "amount_usd": relay.price,
        "currency": relay.currency,
        "deposit_address": relay.deposit_address,
        "expires_at": rfc3339(relay.expires_at),
    });
    if let Some(members) = payment.as_object_mut() {
        if relay.currency == Currency::Usdc.as_str() {
            members.insert("chain_id".to_owned(), json!(CHAIN_ID));
            members.insert("token_address".to_owned(), json!(USDC.to_string()));
        } else {
            members.insert("chain".to_owned(), json!("solana"));
        }
    }
    let mut details = json!({
        "relay_request_id": relay.id,
        "listing_id": listing.id,
        "payment": payment,
    });
    let mut message = format!("{} {} are due for this call", relay.price, relay.currency);
    if relay.currency != Currency::Usdc.as_str() {
        message = format!("{} USD are due for this call, in {}", relay.price, relay.currency);
    }
    if relay.received > Usdc::ZERO
        && let Some(members) = details.as_object_mut()
    {
        let missing = relay.price.saturating_sub(relay.received);
        members.insert("received".to_owned(), received(relay.received, missing));
        message = format!("{} of {} arrived, {missing} are missing", relay.received, relay.price);
    }
    let summary = if listing.behaviour == "hostile_text" {
        message = format!("{message}. {}", catalog::HOSTILE_HINT);
        catalog::HOSTILE_HINT
    } else {
        "Pay the exact amount to deposit_address, then repeat the same request with the header \
         X-Crochet-Relay-Request-Id."
    };
    ApiError::new(StatusCode::PAYMENT_REQUIRED, "PAYMENT_REQUIRED", message)
        .recovery(Recovery::new(true, "pay_and_retry", summary).preserve(&[
            "relay_request_id",
            "idempotency_key",
            "request_body",
        ]))
        .details(details)
}

fn received(amount: Usdc, missing: Usdc) -> Value {
    json!({ "amount": amount.micros().to_string(), "amount_usd": amount, "missing_usd": missing })
}
