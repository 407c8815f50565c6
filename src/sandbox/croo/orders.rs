//! Orders: their row, how they are shown, and how one begins.

use alloy_primitives::{Address, U256};
use axum::Extension;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{USDC, signed, unsigned},
        clock::rfc3339,
        croo::{
            agents::{self, Agent},
            answers::{ApiError, shown},
            events::{self, NewEvent},
            negotiations::Negotiation,
            services,
            steps::{self, Task},
            vault::GAS,
        },
        faults::{Fails, RaisePrice},
        ledger::micros,
        store,
        world::World,
    },
};

/// How a step on the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As it should.
    Succeeds,
    /// It reverts, and the order goes into the state for that.
    Fails,
}

impl From<Option<Extension<Fails>>> for Fate {
    fn from(fails: Option<Extension<Fails>>) -> Self {
        fails.map_or(Self::Succeeds, |_| Self::Fails)
    }
}

/// An order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Its identifier, a UUID.
    pub(crate) id: String,
    /// What it came from.
    pub(crate) negotiation: String,
    /// Its number on the chain, once it is there.
    pub(crate) number: Option<i64>,
    /// What is bought.
    pub(crate) service: String,
    /// The agent who buys.
    pub(crate) requester: String,
    /// The agent who sells.
    pub(crate) provider: String,
    /// Who pays.
    pub(crate) requester_wallet: Address,
    /// Who is paid in the end.
    pub(crate) provider_wallet: Address,
    /// The price.
    pub(crate) price: Usdc,
    /// The fee of the escrow, for an order with a fund.
    pub(crate) fee: Usdc,
    /// Base units of the fund, or empty.
    pub(crate) fund_amount: String,
    /// The fund's token, or empty.
    pub(crate) fund_token: String,
    /// Where the fund goes, or empty.
    pub(crate) fund_address: String,
    /// The requester's input.
    pub(crate) requirements: String,
    /// How long the provider has, in minutes.
    pub(crate) sla_minutes: u64,
    /// One of the statuses.
    pub(crate) status: String,
    /// Why it was rejected.
    pub(crate) reject_reason: String,
    /// Whether a rejection has something to give back.
    pub(crate) is_funded: bool,
    /// The hashes of its transactions, each empty until there is one.
    pub(crate) hashes: Hashes,
    /// Until when it can be paid.
    pub(crate) pay_deadline: Option<i64>,
    /// Until when it has to be delivered.
    pub(crate) sla_deadline: Option<i64>,
    /// When it was accepted.
    pub(crate) made_at: i64,
    /// When it last changed.
    pub(crate) updated_at: i64,
    /// When it was on the chain.
    pub(crate) created_at: Option<i64>,
    /// When the payment was confirmed.
    pub(crate) paid_at: Option<i64>,
    /// When the delivery was confirmed.
    pub(crate) delivered_at: Option<i64>,
    /// When it was settled.
    pub(crate) completed_at: Option<i64>,
    /// When it was rejected.
    pub(crate) rejected_at: Option<i64>,
    /// When a deadline passed.
    pub(crate) expired_at: Option<i64>,
}

/// The hashes of an order's transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes {
    /// It was put on the chain.
    pub(crate) create: String,
    /// It was paid.
    pub(crate) pay: String,
    /// It was delivered.
    pub(crate) deliver: String,
    /// It was rejected.
    pub(crate) reject: String,
    /// It was settled.
    pub(crate) clear: String,
    /// The price was given back because a deadline passed.
    pub(crate) refund: String,
}

const COLUMNS: &str = "id, negotiation, chain_order, service, requester, provider, \
     requester_wallet, provider_wallet, micros, fee_micros, fund_amount, fund_token, \
     fund_address, requirements, sla_minutes, status, reject_reason, is_funded, create_tx, \
     pay_tx, deliver_tx, reject_tx, clear_tx, refund_tx, pay_deadline, sla_deadline, made_at, \
     updated_at, created_at, paid_at, delivered_at, completed_at, rejected_at, expired_at";

fn row(row: &Row<'_>) -> rusqlite::Result<Order> {
    let address = |column: usize| {
        row.get::<_, String>(column).map(|text| text.parse::<Address>().unwrap_or_default())
    };
    Ok(Order {
        id: row.get(0)?,
        negotiation: row.get(1)?,
        number: row.get(2)?,
        service: row.get(3)?,
        requester: row.get(4)?,
        provider: row.get(5)?,
        requester_wallet: address(6)?,
        provider_wallet: address(7)?,
        price: micros(row.get(8)?),
        fee: micros(row.get(9)?),
        fund_amount: row.get(10)?,
        fund_token: row.get(11)?,
        fund_address: row.get(12)?,
        requirements: row.get(13)?,
        sla_minutes: unsigned(row.get(14)?),
        status: row.get(15)?,
        reject_reason: row.get(16)?,
        is_funded: row.get(17)?,
        hashes: Hashes {
            create: row.get(18)?,
            pay: row.get(19)?,
            deliver: row.get(20)?,
            reject: row.get(21)?,
            clear: row.get(22)?,
            refund: row.get(23)?,
        },
        pay_deadline: row.get(24)?,
        sla_deadline: row.get(25)?,
        made_at: row.get(26)?,
        updated_at: row.get(27)?,
        created_at: row.get(28)?,
        paid_at: row.get(29)?,
        delivered_at: row.get(30)?,
        completed_at: row.get(31)?,
        rejected_at: row.get(32)?,
        expired_at: row.get(33)?,
    })
}

/// Reads an order.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Order>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_orders WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// The order, if the agent takes part in it.
pub(crate) fn of(db: &Connection, id: &str, agent: &Agent) -> Result<Order, ApiError> {
    find(db, id)?
        .filter(|order| order.requester == agent.id || order.provider == agent.id)
        .ok_or_else(|| ApiError::not_found("ORDER_NOT_FOUND", id))
}

/// The orders that fulfil a condition, newest first.
pub(crate) fn select(
    db: &Connection,
    condition: &str,
    limit: &str,
    values: &[Option<String>],
) -> rusqlite::Result<Vec<Order>> {
    let sql =
        format!("SELECT {COLUMNS} FROM croo_orders WHERE {condition} ORDER BY seq DESC {limit}");
    let mut statement = db.prepare_cached(&sql)?;
    statement.query_map(rusqlite::params_from_iter(values), row)?.collect()
}

/// Makes the order of an accepted negotiation, which the chain has to confirm yet.
pub(crate) fn create(
    db: &Connection,
    world: &World,
    at: i64,
    negotiation: &Negotiation,
    raise: Option<RaisePrice>,
    fate: Fate,
) -> rusqlite::Result<Order> {
    let service = services::present(db, &negotiation.service)?;
    let listed = service.price.micros();
    let asked = if service.behaviour == "price_rises" { listed * 3 / 2 } else { listed };
    let order = Order {
        id: world.fresh_uuid(db, "croo/order")?,
        negotiation: negotiation.id.clone(),
        service: service.id.clone(),
        requester: negotiation.requester.clone(),
        provider: negotiation.provider.clone(),
        requester_wallet: agents::present(db, &negotiation.requester)?.wallet,
        provider_wallet: agents::present(db, &negotiation.provider)?.wallet,
        price: Usdc::from_micros(raise.map_or(asked, |raise| raise.apply(asked))),
        fee: service.fee,
        fund_amount: negotiation.fund_amount.clone(),
        fund_token: negotiation.fund_token.clone(),
        fund_address: negotiation.fund_address.clone(),
        requirements: negotiation.requirements.clone(),
        sla_minutes: service.sla_minutes,
        status: "creating".to_owned(),
        made_at: at,
        updated_at: at,
        ..Order::default()
    };
    db.prepare_cached(
        "INSERT INTO croo_orders
             (id, negotiation, service, requester, provider, requester_wallet, provider_wallet,
              micros, fee_micros, fund_amount, fund_token, fund_address, requirements,
              sla_minutes, status, made_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16)",
    )?
    .execute(params![
        order.id,
        order.negotiation,
        order.service,
        order.requester,
        order.provider,
        order.requester_wallet.to_string(),
        order.provider_wallet.to_string(),
        signed(order.price.micros()),
        signed(order.fee.micros()),
        order.fund_amount,
        order.fund_token,
        order.fund_address,
        order.requirements,
        signed(order.sla_minutes),
        order.status,
        at,
    ])?;
    let step = match fate {
        Fate::Succeeds => Task::Create,
        Fate::Fails => Task::FailCreate,
    };
    steps::plan(db, at + steps::creating_ms(world), step, &order.id)?;
    Ok(order)
}

impl Order {
    /// The part of the fund that is USDC.
    pub(crate) fn fund_usdc(&self) -> Usdc {
        let is_usdc = self.fund_token.parse::<Address>().is_ok_and(|token| token == USDC);
        let amount = self.fund_amount.parse().ok().filter(|_| is_usdc).unwrap_or(0);
        Usdc::from_micros(amount)
    }

    /// The part of the fund that is ether, in wei.
    pub(crate) fn fund_wei(&self) -> U256 {
        let is_ether = self.fund_token.parse::<Address>().is_ok_and(|token| token.is_zero());
        self.fund_amount.parse().ok().filter(|_| is_ether).unwrap_or_default()
    }

    /// Moves it to another status.
    pub(crate) fn turn(&mut self, status: &str, at: i64) {
        status.clone_into(&mut self.status);
        self.updated_at = at;
    }

    /// Writes what can change.
    pub(crate) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "UPDATE croo_orders SET chain_order = ?2, micros = ?3, status = ?4,
                 reject_reason = ?5, is_funded = ?6, create_tx = ?7, pay_tx = ?8, deliver_tx = ?9,
                 reject_tx = ?10, clear_tx = ?11, refund_tx = ?12, pay_deadline = ?13,
                 sla_deadline = ?14, updated_at = ?15, created_at = ?16, paid_at = ?17,
                 delivered_at = ?18, completed_at = ?19, rejected_at = ?20, expired_at = ?21
             WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            self.number,
            signed(self.price.micros()),
            self.status,
            self.reject_reason,
            self.is_funded,
            self.hashes.create,
            self.hashes.pay,
            self.hashes.deliver,
            self.hashes.reject,
            self.hashes.clear,
            self.hashes.refund,
            self.pay_deadline,
            self.sla_deadline,
            self.updated_at,
            self.created_at,
            self.paid_at,
            self.delivered_at,
            self.completed_at,
            self.rejected_at,
            self.expired_at,
        ])?;
        Ok(())
    }

    /// Tells the agents in `to` that it has become what it is.
    pub(crate) fn tell(
        &self,
        db: &Connection,
        at: i64,
        kind: &str,
        to: &[&str],
    ) -> rusqlite::Result<()> {
        events::emit(
            db,
            at,
            &NewEvent {
                kind,
                negotiation_id: &self.negotiation,
                order_id: &self.id,
                requester: &self.requester,
                provider: &self.provider,
                service_id: &self.service,
                status: &self.status,
                reason: &self.reject_reason,
                to,
            },
        )
    }

    /// As it is shown: what is empty is absent, integers of 64 bits are text.
    pub(crate) fn view(&self) -> Map<String, Value> {
        let when = |at: Option<i64>| at.map(rfc3339).unwrap_or_default();
        let fee = if self.fund_amount.is_empty() { String::new() } else { base_units(self.fee) };
        let mut members = shown([
            ("orderId", self.id.clone()),
            ("negotiationId", self.negotiation.clone()),
            ("chainOrderId", self.number.map(|n| n.to_string()).unwrap_or_default()),
            ("serviceId", self.service.clone()),
            ("requesterAgentId", self.requester.clone()),
            ("providerAgentId", self.provider.clone()),
            ("buyerUserId", buyer_user(&self.requester)),
            ("requesterWalletAddress", self.requester_wallet.to_string()),
            ("providerWalletAddress", self.provider_wallet.to_string()),
            ("price", base_units(self.price)),
            ("amount", base_units(self.price)),
            ("gasAmount", format!("{}.00000000", GAS.micros())),
            ("paymentToken", USDC.to_string()),
            ("requirements", self.requirements.clone()),
            ("status", self.status.clone()),
            ("rejectReason", self.reject_reason.clone()),
            ("createTxHash", self.hashes.create.clone()),
            ("payTxHash", self.hashes.pay.clone()),
            ("deliverTxHash", self.hashes.deliver.clone()),
            ("rejectTxHash", self.hashes.reject.clone()),
            ("clearTxHash", self.hashes.clear.clone()),
            ("slaDeadline", when(self.sla_deadline)),
            ("payDeadline", when(self.pay_deadline)),
            ("createdTime", rfc3339(self.made_at)),
            ("updatedTime", rfc3339(self.updated_at)),
            ("createdAt", when(self.created_at)),
            ("paidAt", when(self.paid_at)),
            ("deliveredAt", when(self.delivered_at)),
            ("rejectedAt", when(self.rejected_at)),
            ("expiredAt", when(self.expired_at)),
            ("feeAmount", fee),
            ("fundAmount", self.fund_amount.clone()),
            ("fundToken", self.fund_token.clone()),
            ("providerFundAddress", self.fund_address.clone()),
        ]);
        members.insert("deliveryWindow".to_owned(), json!(self.sla_minutes * 60));
        members
    }
}

fn base_units(amount: Usdc) -> String {
    amount.micros().to_string()
}

/// The account that an agent belongs to; nothing else is known of it.
fn buyer_user(agent: &str) -> String {
    format!("u-{}", agent.get(..8).unwrap_or_default())
}

/// The number that the next order has on the chain.
pub(crate) fn chain_number(db: &Connection) -> rusqlite::Result<i64> {
    Ok(10_000 + store::next_serial(db)?)
}
