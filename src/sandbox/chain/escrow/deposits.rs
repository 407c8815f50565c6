//! What the escrow contract stores: deposits by agreement, and nonces.

use alloy_primitives::{Address, B256};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{signed, unsigned},
        ledger::micros,
        store,
    },
};

/// The contract's tables.
pub(crate) const TABLES: &str = "
CREATE TABLE escrow_agreements (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, buyer TEXT NOT NULL, seller TEXT NOT NULL,
    quantity INTEGER NOT NULL, price INTEGER NOT NULL, deposit INTEGER NOT NULL,
    window_s INTEGER NOT NULL, units INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0, withdrawn INTEGER NOT NULL DEFAULT 0, window_end INTEGER);
CREATE TABLE escrow_nonces (
    agreement INTEGER NOT NULL, signer TEXT NOT NULL, nonce INTEGER NOT NULL,
    PRIMARY KEY (agreement, signer));
CREATE TABLE escrow_buyers (buyer TEXT PRIMARY KEY, nonce INTEGER NOT NULL);
";

/// Where an agreement stands on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It can be used.
    Active,
    /// It was closed, and what was used may still be challenged.
    Closing,
    /// What was used is certain.
    Finalized,
}

/// The deposit of an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The agreement's number on the chain.
    pub(crate) id: u64,
    /// Its key.
    pub(crate) key: B256,
    /// Who paid.
    pub(crate) buyer: Address,
    /// Who earns.
    pub(crate) seller: Address,
    /// How many units were bought.
    pub(crate) quantity: u64,
    /// The price of a unit.
    pub(crate) price: Usdc,
    /// What was paid in.
    pub(crate) deposit: Usdc,
    /// How long a close can be challenged, in seconds.
    pub(crate) window_s: u64,
    /// How many units were used, by the last receipt.
    pub(crate) units: u64,
    /// What the seller took.
    pub(crate) claimed: Usdc,
    /// What the buyer took back.
    pub(crate) withdrawn: Usdc,
    /// When it can be challenged no more, in seconds; none before it is closed.
    pub(crate) window_end: Option<u64>,
}

impl Held {
    /// Where it stands at `now`, in seconds.
    pub(crate) fn phase(&self, now: u64) -> Phase {
        match self.window_end {
            None => Phase::Active,
            Some(end) if now < end => Phase::Closing,
            Some(_) => Phase::Finalized,
        }
    }

    /// What the seller earned; never more than was paid in.
    pub(crate) fn earned(&self) -> Usdc {
        let micros = self.units.saturating_mul(self.price.micros());
        Usdc::from_micros(micros.min(self.deposit.micros()))
    }

    /// What the seller can take at `now`: nothing while it can be challenged.
    pub(crate) fn claimable(&self, now: u64) -> Usdc {
        match self.phase(now) {
            Phase::Active | Phase::Finalized => self.earned().saturating_sub(self.claimed),
            Phase::Closing => Usdc::ZERO,
        }
    }

    /// What the buyer can take back at `now`: nothing before it is final.
    pub(crate) fn withdrawable(&self, now: u64) -> Usdc {
        match self.phase(now) {
            Phase::Active | Phase::Closing => Usdc::ZERO,
            Phase::Finalized => {
                self.deposit.saturating_sub(self.earned()).saturating_sub(self.withdrawn)
            }
        }
    }

    /// What is left of the deposit.
    pub(crate) fn left(&self) -> Usdc {
        self.deposit.saturating_sub(self.claimed).saturating_sub(self.withdrawn)
    }

    /// Writes a new one.
    pub(crate) fn insert(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO escrow_agreements
                 (id, key, buyer, seller, quantity, price, deposit, window_s)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            signed(self.id),
            self.key.to_string(),
            self.buyer.to_string(),
            self.seller.to_string(),
            signed(self.quantity),
            signed(self.price.micros()),
            signed(self.deposit.micros()),
            signed(self.window_s),
        ])?;
        Ok(())
    }

    /// Writes what can change.
    pub(crate) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "UPDATE escrow_agreements SET units = ?2, claimed = ?3, withdrawn = ?4,
                 window_end = ?5 WHERE id = ?1",
        )?
        .execute(params![
            signed(self.id),
            signed(self.units),
            signed(self.claimed.micros()),
            signed(self.withdrawn.micros()),
            self.window_end.map(signed),
        ])?;
        Ok(())
    }
}

const COLUMNS: &str = "id, key, buyer, seller, quantity, price, deposit, window_s, units, claimed, \
     withdrawn, window_end";

fn row(row: &Row<'_>) -> rusqlite::Result<Held> {
    let text = |column: usize| row.get::<_, String>(column);
    Ok(Held {
        id: unsigned(row.get(0)?),
        key: text(1)?.parse().unwrap_or_default(),
        buyer: text(2)?.parse().unwrap_or_default(),
        seller: text(3)?.parse().unwrap_or_default(),
        quantity: unsigned(row.get(4)?),
        price: micros(row.get(5)?),
        deposit: micros(row.get(6)?),
        window_s: unsigned(row.get(7)?),
        units: unsigned(row.get(8)?),
        claimed: micros(row.get(9)?),
        withdrawn: micros(row.get(10)?),
        window_end: row.get::<_, Option<i64>>(11)?.map(unsigned),
    })
}

/// The deposit of the agreement with this number.
pub(crate) fn find(db: &Connection, id: u64) -> rusqlite::Result<Option<Held>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM escrow_agreements WHERE id = ?1"))?
        .query_row([signed(id)], row)
        .optional()
}

/// The deposit of the agreement with this key.
pub(crate) fn by_key(db: &Connection, key: B256) -> rusqlite::Result<Option<Held>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM escrow_agreements WHERE key = ?1"))?
        .query_row([key.to_string()], row)
        .optional()
}

/// A number that no agreement has yet, from 1.
pub(crate) fn reserve(db: &Connection) -> rusqlite::Result<u64> {
    let last: u64 =
        store::meta(db, "escrow_agreements")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    store::set_meta(db, "escrow_agreements", &(last + 1).to_string())?;
    Ok(last + 1)
}

/// Sets how many units were used, by a receipt; it never falls.
pub(crate) fn count(db: &Connection, key: B256, units: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE escrow_agreements SET units = max(units, min(quantity, ?2)) WHERE key = ?1",
    )?
    .execute(params![key.to_string(), signed(units)])?;
    Ok(())
}

/// The nonce of a signer's next intent about an agreement.
pub(crate) fn nonce(db: &Connection, id: u64, signer: Address) -> rusqlite::Result<u64> {
    let nonce: Option<i64> = db
        .prepare_cached("SELECT nonce FROM escrow_nonces WHERE agreement = ?1 AND signer = ?2")?
        .query_row(params![signed(id), signer.to_string()], |row| row.get(0))
        .optional()?;
    Ok(nonce.map_or(0, unsigned))
}

/// Uses the nonce up.
pub(crate) fn use_nonce(db: &Connection, id: u64, signer: Address) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO escrow_nonces (agreement, signer, nonce) VALUES (?1, ?2, 1)
         ON CONFLICT (agreement, signer) DO UPDATE SET nonce = nonce + 1",
    )?
    .execute(params![signed(id), signer.to_string()])?;
    Ok(())
}

/// The nonce of a buyer's next activation.
pub(crate) fn buyer_nonce(db: &Connection, buyer: Address) -> rusqlite::Result<u64> {
    let nonce: Option<i64> = db
        .prepare_cached("SELECT nonce FROM escrow_buyers WHERE buyer = ?1")?
        .query_row([buyer.to_string()], |row| row.get(0))
        .optional()?;
    Ok(nonce.map_or(0, unsigned))
}

/// Uses the nonce up.
pub(crate) fn use_buyer_nonce(db: &Connection, buyer: Address) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO escrow_buyers (buyer, nonce) VALUES (?1, 1)
         ON CONFLICT (buyer) DO UPDATE SET nonce = nonce + 1",
    )?
    .execute([buyer.to_string()])?;
    Ok(())
}
