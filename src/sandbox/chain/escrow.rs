//! The contract that holds deposits until they are earned or given back.
//!
//! Buyers fund it through the platform, which relays what they signed; the parties close, claim
//! and withdraw by transactions of their own, or by signatures that the platform relays. A call
//! that reverts has changed nothing. How many units were used is told by receipts, which reach the
//! contract without a transaction. The operator is the platform's wallet: it may close for a party
//! that told the platform so, and pay both sides in the end.

use alloy_primitives::{Address, Bytes, Log, Signature, U256};
use alloy_sol_types::{
    Eip712Domain, SolCall, SolEvent, SolInterface, SolStruct, SolValue, eip712_domain,
};
use rusqlite::Connection;

pub(crate) mod calls;
pub(crate) mod deposits;

pub(crate) use deposits::TABLES;

use crate::{
    money::Usdc,
    sandbox::{
        chain::{
            CHAIN_ID, ESCROW, USDC,
            calls::Usdc as Token,
            token::{self, Effects, Failure},
        },
        store,
    },
};

use calls::{
    AgreementTerms, BuyerActivationIntent, BuyerWithdrawIntent, CloseIntent, Deposit,
    MeteringEscrow as Abi, MeteringEscrow::MeteringEscrowCalls as Call, SellerClaimIntent,
};
use deposits::{Held, Phase};

/// Another selector of `initiateClose`, under which the platform's SDK knows it.
pub(crate) const CLOSE_SELECTOR: [u8; 4] = [0xc9, 0xb2, 0xe5, 0x22];
/// The shortest time in which a close can be challenged, in seconds.
const WINDOW_S_MIN: u64 = 60;

/// The domain of what closes and settles an agreement, and of the older way to fund it.
pub(crate) fn domain() -> Eip712Domain {
    eip712_domain! {
        name: "MeteringEscrow",
        version: "1",
        chain_id: CHAIN_ID,
        verifying_contract: ESCROW,
    }
}

/// The domain of activations and of receipts.
pub(crate) fn domain_v2() -> Eip712Domain {
    eip712_domain! {
        name: "MeteringEscrowV2",
        version: "1",
        chain_id: CHAIN_ID,
        verifying_contract: ESCROW,
    }
}

/// Names the operator of a new world's contract.
pub(crate) fn found(db: &Connection, operator: Address) -> rusqlite::Result<()> {
    store::set_meta(db, "escrow_operator", &operator.to_string())
}

/// Carries out `input` for `caller` at `now`, in seconds.
pub(crate) fn call(
    db: &Connection,
    caller: Address,
    input: &[u8],
    now: u64,
) -> Result<Effects, Failure> {
    db.execute_batch("SAVEPOINT escrow")?;
    let outcome = Run { db, caller, now }.call(input);
    db.execute_batch(match outcome {
        Ok(_) => "RELEASE escrow",
        Err(_) => "ROLLBACK TO escrow; RELEASE escrow",
    })?;
    outcome
}

/// Whether `signer` signed the terms in this domain.
pub(crate) fn is_signed<T: SolStruct>(
    domain: &Eip712Domain,
    terms: &T,
    signature: &Bytes,
    signer: Address,
) -> bool {
    let digest = terms.eip712_signing_hash(domain);
    let low: Option<Signature> = token::joined(signature).filter(|s| s.normalize_s().is_none());
    low.and_then(|low| low.recover_address_from_prehash(&digest).ok()) == Some(signer)
}

fn revert(reason: &'static str) -> Failure {
    Failure::Revert(reason)
}

fn small(number: U256) -> Result<u64, Failure> {
    // Columns have 63 bits.
    let fits = i64::try_from(number).ok().and_then(|number| u64::try_from(number).ok());
    fits.ok_or(revert("MeteringEscrow: amount out of range"))
}

/// A call being carried out.
struct Run<'a> {
    db: &'a Connection,
    caller: Address,
    now: u64,
}

impl Run<'_> {
    fn call(&self, input: &[u8]) -> Result<Effects, Failure> {
        let known = match input.strip_prefix(&CLOSE_SELECTOR) {
            Some(rest) => [Abi::initiateCloseCall::SELECTOR.as_slice(), rest].concat(),
            None => input.to_vec(),
        };
        let call = Call::abi_decode(&known).map_err(|_| revert(""))?;
        match call {
            Call::nonces(call) => {
                let nonce = deposits::nonce(self.db, small(call.agreementId)?, call.signer)?;
                Ok(view(U256::from(nonce).abi_encode()))
            }
            Call::buyerNonces(call) => {
                let nonce = deposits::buyer_nonce(self.db, call.buyer)?;
                Ok(view(U256::from(nonce).abi_encode()))
            }
            Call::agreements(call) => Ok(view(shown(&self.held(call.agreementId)?))),
            Call::claim(call) => self.claim(self.held(call.agreementId)?, self.caller),
            Call::sellerClaim(call) => self.claim(self.held(call.agreementId)?, self.caller),
            Call::withdraw(call) => self.withdraw(self.held(call.agreementId)?, self.caller),
            Call::buyerWithdraw(call) => self.withdraw(self.held(call.agreementId)?, self.caller),
            Call::initiateClose(call) => self.close(self.held(call.agreementId)?, self.caller),
            Call::settle(call) => self.settle(self.held(call.agreementId)?),
            Call::initiateCloseWithSig(call) => {
                let (agreement, nonce, deadline) = (call.agreementId, call.nonce, call.deadline);
                let intent = CloseIntent { agreementId: agreement, nonce, deadline };
                let held = self.held(agreement)?;
                self.authorize(&held, call.signer, (nonce, deadline), &intent, &call.signature)?;
                self.close(held, call.signer)
            }
            Call::sellerClaimWithSig(call) => {
                let (agreement, nonce, deadline) = (call.agreementId, call.nonce, call.deadline);
                let intent = SellerClaimIntent { agreementId: agreement, nonce, deadline };
                let held = self.held(agreement)?;
                let seller = held.seller;
                self.authorize(&held, seller, (nonce, deadline), &intent, &call.signature)?;
                self.claim(held, seller)
            }
            Call::buyerWithdrawWithSig(call) => {
                let (agreement, nonce, deadline) = (call.agreementId, call.nonce, call.deadline);
                let intent = BuyerWithdrawIntent { agreementId: agreement, nonce, deadline };
                let held = self.held(agreement)?;
                let buyer = held.buyer;
                self.authorize(&held, buyer, (nonce, deadline), &intent, &call.signature)?;
                self.withdraw(held, buyer)
            }
            Call::createAndFundBuyerAuthorized(call) => {
                self.authorize_activation(&call.intent, &call.signature)?;
                let terms = &call.intent;
                let held = self.funded(
                    deposits::reserve(self.db)?,
                    &AgreementTerms {
                        agreementKey: terms.agreementKey,
                        buyer: terms.buyer,
                        seller: terms.seller,
                        quantity: terms.quantity,
                        pricePerUnit: terms.pricePerUnit,
                        challengeWindowSeconds: terms.challengeWindowSeconds,
                    },
                )?;
                if U256::from(held.deposit.micros()) != terms.depositAmount {
                    return Err(revert("MeteringEscrow: deposit is not quantity times price"));
                }
                self.pull(&held, call.permitDeadline, &call.permitSignature)
            }
            Call::depositFor(call) => self.deposit_for(&call),
        }
    }

    fn held(&self, id: U256) -> Result<Held, Failure> {
        let known = small(id).ok().map(|id| deposits::find(self.db, id)).transpose()?.flatten();
        known.ok_or(revert("MeteringEscrow: unknown agreement"))
    }

    fn is_operator(&self) -> Result<bool, Failure> {
        let operator = store::meta(self.db, "escrow_operator")?;
        Ok(operator.and_then(|text| text.parse().ok()) == Some(self.caller))
    }

    /// Checks a signed intent, and uses its nonce up.
    fn authorize<T: SolStruct>(
        &self,
        held: &Held,
        signer: Address,
        (nonce, deadline): (U256, U256),
        intent: &T,
        signature: &Bytes,
    ) -> Result<(), Failure> {
        if deadline < U256::from(self.now) {
            return Err(revert("MeteringEscrow: signature expired"));
        }
        if nonce != U256::from(deposits::nonce(self.db, held.id, signer)?) {
            return Err(revert("MeteringEscrow: invalid nonce"));
        }
        if !is_signed(&domain(), intent, signature, signer) {
            return Err(revert("MeteringEscrow: invalid signature"));
        }
        Ok(deposits::use_nonce(self.db, held.id, signer)?)
    }

    fn authorize_activation(
        &self,
        intent: &BuyerActivationIntent,
        signature: &Bytes,
    ) -> Result<(), Failure> {
        if intent.expiry < U256::from(self.now) {
            return Err(revert("MeteringEscrowV2: intent expired"));
        }
        if intent.token != USDC {
            return Err(revert("MeteringEscrowV2: token not allowed"));
        }
        if intent.nonce != U256::from(deposits::buyer_nonce(self.db, intent.buyer)?) {
            return Err(revert("MeteringEscrowV2: invalid nonce"));
        }
        if !is_signed(&domain_v2(), intent, signature, intent.buyer) {
            return Err(revert("MeteringEscrowV2: invalid signature"));
        }
        Ok(deposits::use_buyer_nonce(self.db, intent.buyer)?)
    }

    /// The older way to fund: the operator names the terms, the buyer authorizes the deposit.
    fn deposit_for(&self, call: &Abi::depositForCall) -> Result<Effects, Failure> {
        if !self.is_operator()? {
            return Err(revert("MeteringEscrow: caller is not the operator"));
        }
        if call.deadline < U256::from(self.now) {
            return Err(revert("MeteringEscrow: signature expired"));
        }
        let intent = Deposit { agreementId: call.agreementId, deadline: call.deadline };
        if !is_signed(&domain(), &intent, &call.signature, call.terms.buyer) {
            return Err(revert("MeteringEscrow: invalid signature"));
        }
        let held = self.funded(small(call.agreementId)?, &call.terms)?;
        self.pull(&held, call.permitDeadline, &call.permitSignature)
    }

    /// Checks the terms of an agreement that is about to be made.
    fn funded(&self, id: u64, terms: &AgreementTerms) -> Result<Held, Failure> {
        let deposit = terms.quantity.checked_mul(terms.pricePerUnit);
        let held = Held {
            id,
            key: terms.agreementKey,
            buyer: terms.buyer,
            seller: terms.seller,
            quantity: small(terms.quantity)?,
            price: Usdc::from_micros(small(terms.pricePerUnit)?),
            deposit: Usdc::from_micros(small(deposit.unwrap_or(U256::MAX))?),
            window_s: small(terms.challengeWindowSeconds)?,
            units: 0,
            claimed: Usdc::ZERO,
            withdrawn: Usdc::ZERO,
            window_end: None,
        };
        if held.seller == Address::ZERO || held.seller == held.buyer {
            return Err(revert("MeteringEscrow: invalid seller"));
        }
        if held.deposit == Usdc::ZERO {
            return Err(revert("MeteringEscrow: nothing to deposit"));
        }
        if held.window_s < WINDOW_S_MIN {
            return Err(revert("MeteringEscrow: challenge window too short"));
        }
        let is_known = deposits::by_key(self.db, held.key)?.is_some()
            || deposits::find(self.db, held.id)?.is_some();
        if is_known {
            return Err(revert("MeteringEscrow: agreement exists"));
        }
        Ok(held)
    }

    /// Takes the deposit from the buyer, by a permit where there is one.
    fn pull(&self, held: &Held, deadline: U256, permit: &Bytes) -> Result<Effects, Failure> {
        let (db, value) = (self.db, U256::from(held.deposit.micros()));
        let mut logs = Vec::new();
        if !permit.is_empty() {
            let terms = (held.buyer, ESCROW, value, deadline);
            logs.extend(token::permit(db, terms, token::joined(permit), self.now)?.logs);
        }
        let transfer = Token::transferFromCall { from: held.buyer, to: ESCROW, value };
        logs.extend(token::transfer_from(db, ESCROW, &transfer)?.logs);
        held.insert(db)?;
        let event = Abi::Funded {
            agreementId: U256::from(held.id),
            agreementKey: held.key,
            buyer: held.buyer,
            seller: held.seller,
            amount: value,
        };
        logs.push(Log { address: ESCROW, data: event.encode_log_data() });
        Ok(Effects { output: U256::from(held.id).abi_encode(), logs, moved: None })
    }

    fn close(&self, mut held: Held, initiator: Address) -> Result<Effects, Failure> {
        if ![held.buyer, held.seller].contains(&initiator) && !self.is_operator()? {
            return Err(revert("MeteringEscrow: caller is no party"));
        }
        if held.phase(self.now) != Phase::Active {
            return Err(revert("MeteringEscrow: already closed"));
        }
        let end = self.now.saturating_add(held.window_s);
        held.window_end = Some(end);
        held.save(self.db)?;
        let (agreement, end) = (U256::from(held.id), U256::from(end));
        let event = Abi::CloseInitiated { agreementId: agreement, initiator, windowEnd: end };
        let log = Log { address: ESCROW, data: event.encode_log_data() };
        Ok(Effects { logs: vec![log], ..Effects::default() })
    }

    fn claim(&self, held: Held, caller: Address) -> Result<Effects, Failure> {
        if caller != held.seller {
            return Err(revert("MeteringEscrow: caller is not the seller"));
        }
        if held.phase(self.now) == Phase::Closing {
            return Err(revert("MeteringEscrow: challenge window open"));
        }
        if held.claimable(self.now) == Usdc::ZERO {
            return Err(revert("MeteringEscrow: nothing to claim"));
        }
        Ok(Effects { logs: self.pay_seller(held)?.1, ..Effects::default() })
    }

    fn withdraw(&self, held: Held, caller: Address) -> Result<Effects, Failure> {
        if caller != held.buyer {
            return Err(revert("MeteringEscrow: caller is not the buyer"));
        }
        if held.phase(self.now) != Phase::Finalized {
            return Err(revert("MeteringEscrow: not finalized"));
        }
        if held.withdrawable(self.now) == Usdc::ZERO {
            return Err(revert("MeteringEscrow: nothing to withdraw"));
        }
        Ok(Effects { logs: self.pay_buyer(held)?, ..Effects::default() })
    }

    /// Pays what is left of a final agreement to both sides.
    fn settle(&self, held: Held) -> Result<Effects, Failure> {
        if !self.is_operator()? {
            return Err(revert("MeteringEscrow: caller is not the operator"));
        }
        if held.phase(self.now) != Phase::Finalized {
            return Err(revert("MeteringEscrow: not finalized"));
        }
        let (held, mut logs) = self.pay_seller(held)?;
        logs.extend(self.pay_buyer(held)?);
        Ok(Effects { logs, ..Effects::default() })
    }

    /// Pays the seller what it can claim; nothing happens where that is nothing.
    fn pay_seller(&self, mut held: Held) -> Result<(Held, Vec<Log>), Failure> {
        let due = held.claimable(self.now);
        if due == Usdc::ZERO {
            return Ok((held, Vec::new()));
        }
        let amount = U256::from(due.micros());
        let mut logs = token::transfer(self.db, ESCROW, held.seller, amount)?.logs;
        held.claimed = Usdc::from_micros(held.claimed.micros().saturating_add(due.micros()));
        held.save(self.db)?;
        let (agreement, seller) = (U256::from(held.id), held.seller);
        let event = Abi::SellerClaimed { agreementId: agreement, seller, amount };
        logs.push(Log { address: ESCROW, data: event.encode_log_data() });
        Ok((held, logs))
    }

    /// Gives the buyer back what it can withdraw; nothing happens where that is nothing.
    fn pay_buyer(&self, mut held: Held) -> Result<Vec<Log>, Failure> {
        let due = held.withdrawable(self.now);
        if due == Usdc::ZERO {
            return Ok(Vec::new());
        }
        let amount = U256::from(due.micros());
        let mut logs = token::transfer(self.db, ESCROW, held.buyer, amount)?.logs;
        held.withdrawn = Usdc::from_micros(held.withdrawn.micros().saturating_add(due.micros()));
        held.save(self.db)?;
        let (agreement, buyer) = (U256::from(held.id), held.buyer);
        let event = Abi::BuyerWithdrew { agreementId: agreement, buyer, amount };
        logs.push(Log { address: ESCROW, data: event.encode_log_data() });
        Ok(logs)
    }
}

fn view(output: Vec<u8>) -> Effects {
    Effects { output, ..Effects::default() }
}

fn shown(held: &Held) -> Vec<u8> {
    let amount = |amount: Usdc| U256::from(amount.micros());
    (
        held.buyer,
        held.seller,
        amount(held.deposit),
        amount(held.earned()),
        amount(held.claimed),
        amount(held.withdrawn),
        U256::from(held.window_end.unwrap_or(0)),
    )
        .abi_encode_params()
}
