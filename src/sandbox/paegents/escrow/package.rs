//! The activation package: what a buyer has to sign, made once for each agreement.
//!
//! Keys, hashes and salt never change. The nonce is the contract's, so it counts on when the buyer
//! activates something else; the expiry is made anew when it is over.

use alloy_primitives::{Address, B256, keccak256};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sandbox::{
    chain::{
        ESCROW, USDC,
        escrow::{calls::BuyerActivationIntent, deposits},
        signed, unsigned,
    },
    faults::RaisePrice,
    paegents::{agreements::Agreement, evidence, gas_address, services::MICROS_PER_CENT},
    world::World,
};

/// How long a close can be challenged, in seconds.
pub(crate) const WINDOW_S: u64 = 86_400;
/// How long a package can be signed, in seconds.
const EXPIRY_S: u64 = 86_400;

/// What is asked of the buyer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Package {
    /// The agreement's number on the chain, once it has one.
    #[serde(skip)]
    pub(crate) number: Option<u64>,
    /// The agreement's key on the chain.
    pub(crate) key: B256,
    /// The digest of the agreement's identifier.
    pub(crate) id_hash: B256,
    /// Who pays.
    pub(crate) buyer: Address,
    /// Who earns.
    pub(crate) seller: Address,
    /// How many units.
    pub(crate) quantity: u64,
    /// What a unit costs, in micro-units.
    pub(crate) price: u64,
    /// What is paid in, in micro-units.
    pub(crate) deposit: u64,
    /// Until when it can be used, in seconds since 1970.
    pub(crate) expiry: u64,
    /// The digest of what is bought.
    pub(crate) service_hash: B256,
    /// The digest of the terms.
    pub(crate) terms_hash: B256,
    /// What makes the intent its own.
    pub(crate) salt: B256,
    /// The platform's fee, in micro-units; nothing where it is waived.
    pub(crate) fee: u64,
}

/// The platform's fee on a deposit: two hundredths and 0.3 cents, rounded up, at least ten cents.
pub(crate) fn fee_on(deposit: u64) -> u64 {
    deposit.saturating_mul(2).div_ceil(100).saturating_add(3_000).max(100_000)
}

/// The package of an agreement, made now if it has none.
pub(crate) fn of(
    db: &Connection,
    world: &World,
    now: i64,
    agreement: &Agreement,
) -> rusqlite::Result<Package> {
    let now_s = unsigned(now / 1_000);
    if let Some(mut package) = find(db, &agreement.id)? {
        if package.expiry <= now_s {
            package.expiry = now_s.saturating_add(EXPIRY_S);
            save(db, &agreement.id, &package)?;
        }
        return Ok(package);
    }
    let bytes = |label: &str| world.seed.bytes(&format!("paegents/{label}/{}", agreement.id));
    let bought = agreement.service.as_deref().or(agreement.service_description.as_deref());
    let agreed = agreement.price_per_unit_cents.saturating_mul(MICROS_PER_CENT);
    let price = if agreement.behaviour == "price_rises" { agreed * 3 / 2 } else { agreed };
    let deposit = agreement.quantity.saturating_mul(price);
    let terms = json!([agreement.id, agreement.quantity, agreement.unit, deposit, WINDOW_S]);
    let package = Package {
        number: None,
        key: keccak256(bytes("agreement-key")),
        id_hash: keccak256(&agreement.id),
        buyer: agreement.buyer_wallet,
        seller: agreement.seller_wallet,
        quantity: agreement.quantity,
        price,
        deposit,
        expiry: now_s.saturating_add(EXPIRY_S),
        service_hash: keccak256(bought.unwrap_or_default()),
        terms_hash: keccak256(terms.to_string()),
        salt: keccak256(bytes("salt")),
        fee: if agreement.infra_fee_status == "waived" { 0 } else { fee_on(deposit) },
    };
    save(db, &agreement.id, &package)?;
    Ok(package)
}

fn find(db: &Connection, agreement: &str) -> rusqlite::Result<Option<Package>> {
    let found: Option<(Option<i64>, String)> = db
        .prepare_cached("SELECT number, record FROM paegents_packages WHERE agreement = ?1")?
        .query_row([agreement], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((number, record)) = found else { return Ok(None) };
    let mut package: Package = serde_json::from_str(&record).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(1, kind, Box::new(error))
    })?;
    package.number = number.map(unsigned);
    Ok(Some(package))
}

/// Writes a package.
pub(crate) fn save(db: &Connection, agreement: &str, package: &Package) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_packages (agreement, number, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (agreement) DO UPDATE SET number = excluded.number, record = excluded.record",
    )?
    .execute(params![agreement, package.number.map(signed), json!(package).to_string()])?;
    Ok(())
}

/// The identifier of the agreement that has this number on the chain.
pub(crate) fn agreement_of(db: &Connection, number: u64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT agreement FROM paegents_packages WHERE number = ?1")?
        .query_row([signed(number)], |row| row.get(0))
        .optional()
}

impl Package {
    /// Asks more than was agreed, from now on.
    pub(crate) fn raise(&mut self, raise: RaisePrice) {
        self.price = raise.apply(self.price);
        self.deposit = self.price.saturating_mul(self.quantity);
        self.fee = raise.apply(self.fee);
    }

    /// What the buyer is to sign, with the nonce that the contract expects.
    pub(crate) fn intent(&self, db: &Connection) -> rusqlite::Result<BuyerActivationIntent> {
        let number = alloy_primitives::U256::from::<u64>;
        Ok(BuyerActivationIntent {
            agreementKey: self.key,
            platformAgreementIdHash: self.id_hash,
            buyer: self.buyer,
            seller: self.seller,
            token: USDC,
            quantity: number(self.quantity),
            pricePerUnit: number(self.price),
            depositAmount: number(self.deposit),
            challengeWindowSeconds: number(WINDOW_S),
            serviceHash: self.service_hash,
            termsHash: self.terms_hash,
            expiry: number(self.expiry),
            nonce: number(deposits::buyer_nonce(db, self.buyer)?),
            salt: self.salt,
        })
    }

    /// As it is shown to the buyer.
    pub(crate) fn view(
        &self,
        db: &Connection,
        world: &World,
        agreement: &Agreement,
    ) -> rusqlite::Result<Value> {
        let nonce = deposits::buyer_nonce(db, self.buyer)?;
        Ok(json!({
            "activation_version": "v2",
            "agreement_id": agreement.id,
            "platform_agreement_id_hash": self.id_hash,
            "agreement_key": self.key,
            "terms": {
                "buyer": self.buyer.to_string(),
                "seller": self.seller.to_string(),
                "token": USDC.to_string(),
                "receipt_signer": evidence::signer(world).address.to_string(),
                "quantity": self.quantity,
                "price_per_unit_atomic": self.price,
                "deposit_amount_atomic": self.deposit,
                "challenge_window_seconds": WINDOW_S,
                "expiry": self.expiry,
                "service_hash": self.service_hash,
                "terms_hash": self.terms_hash,
                "salt": self.salt,
            },
            "nonces": { "buyer_activation_nonce": nonce },
            "funding": {
                "mode_options": ["erc2612_permit", "prior_allowance"],
                "token_address": USDC.to_string(),
                "spender": ESCROW.to_string(),
            },
            "infra_fee": {
                "amount_atomic": self.fee,
                "waived": self.fee == 0,
                "status": agreement.infra_fee_status,
                "spender": gas_address(world).to_string(),
                "token_address": USDC.to_string(),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::fee_on;

    #[test]
    fn the_fee_is_the_pages() {
        // The page's table, 11: cents and the fee in atomic units.
        #[rustfmt::skip]
        let rows = [
            (0, 100_000), (100, 100_000), (485, 100_000), (486, 100_200), (500, 103_000),
            (1_000, 203_000), (2_500, 503_000), (10_000, 2_003_000), (12_345, 2_472_000),
            (33_333, 6_669_600),
        ];
        for (cents, fee) in rows {
            assert_eq!(fee_on(cents * 10_000), fee, "{cents} cents");
        }
    }
}
