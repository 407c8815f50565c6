//! What all parts of the sandbox share: store, clock, seed, pace.
//!
//! Delays are lazy. Before anything reads or writes state, [`World::transact`] lets happen what is
//! due by the clock: transactions are mined, arrived money is booked, relays settle.

use rusqlite::Connection;

use crate::sandbox::{
    Pace, chain,
    clock::Clock,
    crochet, croo,
    keys::{Seed, Wallet},
    ledger::{self, Kind, NewEntry},
    paegents,
    store::{self, Store},
};

/// The shared state.
#[derive(Debug)]
pub(crate) struct World {
    /// The tables.
    pub(crate) store: Store,
    /// The time.
    pub(crate) clock: Clock,
    /// Where keys come from.
    pub(crate) seed: Seed,
    /// How long things take.
    pub(crate) pace: Pace,
    /// `http://127.0.0.1:P`.
    pub(crate) origin: String,
    /// For forwarding requests to sellers.
    pub(crate) http: reqwest::Client,
    /// Who listens to CROO's events.
    pub(crate) sockets: croo::socket::Sockets,
    /// Who carries Paegents' webhooks.
    pub(crate) courier: paegents::hooks::courier::Courier,
}

impl World {
    /// Runs `work` in a transaction at the clock's `now`, in milliseconds, after what is due.
    pub(crate) fn transact<T, E>(
        &self,
        work: impl FnOnce(&Connection, i64) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        self.store.transact(|db| {
            let now = self.clock.now_ms();
            self.catch_up(db, now)?;
            work(db, now)
        })
    }

    /// Lets happen what is due.
    fn catch_up(&self, db: &Connection, now: i64) -> rusqlite::Result<()> {
        for transfer in chain::mine(db, now)? {
            if !crochet::payment_arrived(db, &transfer)? {
                let (from, to) = (transfer.from.to_string(), transfer.to.to_string());
                ledger::append(
                    db,
                    &NewEntry {
                        marketplace: "chain",
                        kind: Kind::Transfer,
                        reference: &transfer.transaction,
                        parent: None,
                        payer: &from,
                        payee: &to,
                        amount: transfer.amount,
                        at_ms: transfer.at_ms,
                    },
                )?;
            }
        }
        croo::settle(db, self, now)?;
        crochet::settle(db, self, now)?;
        paegents::settle(db, self, now)
    }

    /// 32 bytes that were never given before.
    pub(crate) fn fresh(&self, db: &Connection, label: &str) -> rusqlite::Result<[u8; 32]> {
        Ok(self.seed.bytes(&format!("{label}/{}", store::next_serial(db)?)))
    }

    /// A UUID that was never given before.
    pub(crate) fn fresh_uuid(&self, db: &Connection, label: &str) -> rusqlite::Result<String> {
        Ok(self.seed.uuid(&format!("{label}/{}", store::next_serial(db)?)))
    }

    /// How long a step takes that is asynchronous in real life: mining, in milliseconds.
    pub(crate) fn mining_ms(&self) -> i64 {
        match self.pace {
            Pace::Fast => 300,
            Pace::Real => 2_000,
        }
    }

    /// How long a payment takes to settle after it landed, in milliseconds.
    pub(crate) fn settlement_ms(&self) -> i64 {
        match self.pace {
            Pace::Fast => 300,
            Pace::Real => 8_000,
        }
    }

    /// The wallet of the one buyer, the same on every marketplace.
    pub(crate) fn buyer(&self) -> Wallet {
        self.seed.wallet("buyer")
    }

    /// The wallet of the one seller.
    pub(crate) fn seller(&self) -> Wallet {
        self.seed.wallet("seller")
    }

    /// A wallet with ether to give away.
    pub(crate) fn gas_wallet(&self) -> Wallet {
        self.seed.wallet("gas")
    }
}
