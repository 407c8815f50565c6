//! What the platform learns from the chain: it reads the contract's logs, whoever called it.
//!
//! Entries of the ledger, the state of agreements and events follow from logs alone, so what a
//! party does by its own transaction counts as much as what the platform relays.

use alloy_primitives::U256;
use alloy_sol_types::{SolCall, SolEventInterface};
use rusqlite::{Connection, params};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            ESCROW,
            escrow::{
                calls::MeteringEscrow::{self as Contract, MeteringEscrowEvents as Event},
                deposits::{self, Held, Phase},
            },
            logs,
            sender::{self, Sending},
            unsigned,
        },
        ledger::Kind,
        paegents::{
            agents,
            agreements::{self, Agreement},
            escrow::{enter, package, relays, relays::RELAY_MS},
            evidence, gas_wallet,
            services::MICROS_PER_CENT,
            steps::{self, Part, step_ms},
        },
        store,
        world::World,
    },
};

/// The step at the end of the challenge window.
pub(crate) const FINALIZE: &str = "finalize";
/// The step in which the platform pays both sides.
pub(crate) const SETTLE: &str = "settle";
/// The last block that was read.
const CURSOR: &str = "paegents_block";

/// Reads the logs that are new.
pub(crate) fn watch(db: &Connection, world: &World) -> rusqlite::Result<()> {
    let last: Option<i64> = db
        .prepare_cached("SELECT max(block) FROM chain_transactions")?
        .query_row([], |row| row.get(0))?;
    let cursor = store::meta(db, CURSOR)?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(last) = last.filter(|last| *last > cursor) else { return Ok(()) };
    store::set_meta(db, CURSOR, &last.to_string())?;
    for (at, data) in logs::after(db, ESCROW, cursor)? {
        if let Ok(event) = Event::decode_raw_log(data.topics(), &data.data) {
            happened(db, world, at, &event)?;
        }
    }
    for relay in relays::under_way(db)? {
        match sender::outcome(db, &relay.tx_hash)? {
            None => {}
            Some(true) => relays::conclude(db, &relay, "confirmed")?,
            Some(false) => {
                relays::conclude(db, &relay, "failed")?;
                if let Some(agreement) = agreements::find(db, &relay.agreement)? {
                    let at = world.clock.now_ms();
                    agreements::tell(db, world, at, "escrow.settlement_failed", &agreement)?;
                }
            }
        }
    }
    Ok(())
}

fn happened(db: &Connection, world: &World, at: i64, event: &Event) -> rusqlite::Result<()> {
    let number = match event {
        Event::Funded(_) => return Ok(()),
        Event::CloseInitiated(event) => event.agreementId,
        Event::SellerClaimed(event) => event.agreementId,
        Event::BuyerWithdrew(event) => event.agreementId,
    };
    let number = u64::try_from(number).unwrap_or_default();
    let known = package::agreement_of(db, number)?;
    let agreement = known.map(|id| agreements::find(db, &id)).transpose()?.flatten();
    let (Some(agreement), Some(held)) = (agreement, deposits::find(db, number)?) else {
        return Ok(());
    };
    let change = Change { db, world, at, held };
    match event {
        Event::Funded(_) => Ok(()),
        Event::CloseInitiated(event) => change.closed(agreement, event.windowEnd),
        Event::SellerClaimed(event) => change.claimed(agreement, event.amount),
        Event::BuyerWithdrew(event) => change.withdrawn(agreement, event.amount),
    }
}

/// The challenge window is over.
pub(crate) fn finalize(
    db: &Connection,
    world: &World,
    at: i64,
    mut agreement: Agreement,
) -> rusqlite::Result<()> {
    let number = agreement.onchain_agreement_id.unwrap_or_default();
    let Some(held) = deposits::find(db, number)? else { return Ok(()) };
    if agreement.settlement_status != "closing" {
        return Ok(());
    }
    "finalized".clone_into(&mut agreement.settlement_status);
    "finalized".clone_into(&mut agreement.escrow_status);
    agreement.updated_at = at;
    agreements::save(db, &agreement)?;
    agreements::tell(db, world, at, "escrow.close_finalized", &agreement)?;
    if agents::present(db, &agreement.seller)?.is_built_in {
        steps::plan(db, at + step_ms(world, RELAY_MS), Part::Escrow, (SETTLE, &agreement.id))?;
    }
    Change { db, world, at, held }.settle_if_empty(agreement)
}

/// The platform pays both sides of a final agreement.
pub(crate) fn pay_both(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    if agreement.settlement_status != "finalized" {
        return Ok(());
    }
    let from = gas_wallet(world);
    let number = U256::from(agreement.onchain_agreement_id.unwrap_or_default());
    let input = Contract::settleCall { agreementId: number }.abi_encode();
    let has_gas = sender::has_gas(db, from.address)?;
    let sending = Sending { from: &from, to: ESCROW, input, is_doomed: false };
    if !has_gas || sender::send(db, at, &sending)?.reverted.is_some() {
        return agreements::tell(db, world, at, "escrow.settlement_failed", agreement);
    }
    watch(db, world)
}

/// The seller told the platform that the work is complete: the platform closes for it.
pub(crate) fn close_for_seller(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    let number = agreement.onchain_agreement_id.unwrap_or_default();
    let held = deposits::find(db, number)?;
    if held.is_none_or(|held| held.phase(unsigned(at / 1_000)) != Phase::Active) {
        return Ok(());
    }
    let from = gas_wallet(world);
    let input = Contract::initiateCloseCall { agreementId: U256::from(number) }.abi_encode();
    let sending = Sending { from: &from, to: ESCROW, input, is_doomed: false };
    sender::queue(db, at + step_ms(world, RELAY_MS), &sending)?;
    Ok(())
}

/// Something that happened to a deposit.
struct Change<'a> {
    db: &'a Connection,
    world: &'a World,
    at: i64,
    held: Held,
}

impl Change<'_> {
    fn closed(&self, mut agreement: Agreement, end: U256) -> rusqlite::Result<()> {
        let end_ms = i64::try_from(end).unwrap_or(i64::MAX).saturating_mul(1_000);
        "closing".clone_into(&mut agreement.escrow_status);
        "closing".clone_into(&mut agreement.settlement_status);
        if agreement.status == "active" {
            "completed".clone_into(&mut agreement.status);
        }
        agreement.challenge_window_expires_at = Some(end_ms);
        agreement.aggregate_earned_atomic = self.held.earned().micros();
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)?;
        if evidence::has_receipts(self.db, &agreement.id)? {
            self.tell("escrow.receipt_submitted", &agreement)?;
        }
        self.tell("escrow.close_initiated", &agreement)?;
        steps::plan(self.db, end_ms, Part::Escrow, (FINALIZE, &agreement.id))
    }

    fn claimed(&self, mut agreement: Agreement, amount: U256) -> rusqlite::Result<()> {
        let sides = (ESCROW, self.held.seller);
        self.enter(Kind::Payout, &agreement, sides, amount)?;
        agreement.aggregate_earned_atomic = self.held.earned().micros();
        agreement.aggregate_claimed_atomic = self.held.claimed.micros();
        agreement.released_cents = self.held.claimed.micros() / MICROS_PER_CENT;
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)?;
        self.tell("escrow.claim_completed", &agreement)?;
        self.settle_if_empty(agreement)
    }

    fn withdrawn(&self, mut agreement: Agreement, amount: U256) -> rusqlite::Result<()> {
        self.enter(Kind::Refund, &agreement, (ESCROW, self.held.buyer), amount)?;
        agreement.aggregate_withdrawn_atomic = self.held.withdrawn.micros();
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)?;
        self.tell("escrow.withdraw_completed", &agreement)?;
        self.settle_if_empty(agreement)
    }

    /// It is settled when it is final and nothing is left.
    fn settle_if_empty(&self, mut agreement: Agreement) -> rusqlite::Result<()> {
        if agreement.settlement_status != "finalized" || self.held.left() > Usdc::ZERO {
            return Ok(());
        }
        "settled".clone_into(&mut agreement.settlement_status);
        "settled".clone_into(&mut agreement.escrow_status);
        agreement.updated_at = self.at;
        agreements::save(self.db, &agreement)
    }

    fn tell(&self, kind: &str, agreement: &Agreement) -> rusqlite::Result<()> {
        agreements::tell(self.db, self.world, self.at, kind, agreement)
    }

    /// Adds an entry whose reference counts on: `{id}:payout:1`, `{id}:payout:2` and so on.
    fn enter(
        &self,
        kind: Kind,
        agreement: &Agreement,
        sides: (alloy_primitives::Address, alloy_primitives::Address),
        amount: U256,
    ) -> rusqlite::Result<()> {
        let before: i64 = self
            .db
            .prepare_cached("SELECT count(*) FROM ledger WHERE parent = ?1 AND kind = ?2")?
            .query_row(params![agreement.id, kind.as_str()], |row| row.get(0))?;
        let reference = format!("{}:{}:{}", agreement.id, kind.as_str(), before + 1);
        let amount = Usdc::from_micros(u64::try_from(amount).unwrap_or_default());
        enter(self.db, self.at, (kind, &reference, Some(&agreement.id)), sides, amount)
    }
}
