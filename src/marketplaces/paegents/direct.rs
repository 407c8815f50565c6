//! Buying once, without an escrow: the price by an x402 authorization, the fee by a permit, both in
//! one proposal that the seller accepts. Source: protocols/paegents.md §6.2, §11; x402.md §8.
//!
//! Invariants: both signatures are for the chain in use; what is signed stands in the journal before
//! it is sent and is made again from there; it is dead only when the chain is past both deadlines and
//! has seen neither used.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{Address, U256};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    agreements::{Agreement, GetAgreement},
    carts::{BoundPayee, fresh_nonce, no_wallet, refused, seconds},
    fee::{GetPaymentRequirements, fee, whole_cents},
    proposal::Proposal,
    sending::{HORIZON_SECONDS, Sending, Sent, bound, broken, noted, of_purchase, with},
    status::is_given_up,
};
use crate::{
    access::Access,
    chain::Chain,
    error::{Code, Error},
    ids::{AgentId, AgreementId, ServiceId},
    journal::Purchase,
    marketplaces::{Marketplace, lenient::word, payable_address},
    money::Usdc,
    spend::{
        Account, Answer, Collected, Fate, Instrument, Known, Payment, Prepared, permit_account,
    },
    wallet::{
        eip712::{Authorization, AuthorizationBounds, Permit, PermitBounds},
        x402::{Terms, Version},
    },
};

/// How long both signatures hold, and the proposal with them, in seconds: the reference's ten
/// minutes. A seller who accepts later finds them over.
const OPEN_SECONDS: u64 = 600;
/// How long after their end they are believed to stay unused, in chain time.
const FINALITY_SECONDS: i64 = 60;
/// How long a caller is kept while the seller has not accepted.
const FOLLOW_AT_MOST: Duration = Duration::from_secs(45);

/// What policy and approval bind of a direct purchase, as the body of its purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectBody {
    /// The tool's own arguments.
    pub arguments: DirectArguments,
    /// What the owner is told.
    pub described: String,
    /// Who is paid.
    pub payee: BoundPayee,
}

/// As the tool takes them, without the maximum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectArguments {
    /// The owner's name for who is paid.
    pub payee: String,
    /// Whose wallet that is at Paegents.
    pub seller_agent_id: AgentId,
    /// The price.
    pub amount_usd: Usdc,
    /// What for.
    pub description: String,
    /// Of which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<ServiceId>,
}

/// The journal's instrument: all that the signatures are made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fields {
    pub(super) authorization: Authorization,
    pub(super) permit: Permit,
    fixed_at: i64,
    /// How long the proposal is open, in seconds.
    pub(super) open_seconds: u64,
}

/// Both signatures, and the body that they are in.
struct Signed {
    header: String,
    permit: String,
    digests: Value,
}

/// Buys directly.
#[derive(Debug)]
pub struct Directs {
    access: Arc<Access>,
}

impl Directs {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        let paegents = of_purchase(&self.access, purchase).await?;
        let DirectBody { arguments, payee, .. } = bound(purchase)?;
        payee.stands(&self.access).await?;
        let chain = self.access.chain().await?;
        let amount = arguments.amount_usd;
        let ask = GetPaymentRequirements {
            amount_cents: whole_cents("amount_usd", amount)?,
            rail: "stablecoin",
        };
        let asked = paegents.api.send(&ask).await?;
        asked.on(chain.pins())?;
        let collector = payable_address(&asked.gas_wallet_address).ok_or_else(|| {
            let message = "Paegents names no wallet that collects its fee; nothing was signed";
            Error::new(Code::UpstreamMalformed, message)
                .at(Marketplace::Paegents)
                .field("gas_wallet_address", None)
        })?;
        let published = fee(amount).ok_or_else(|| broken(purchase))?;
        let fee = asked.infra_fee_amount_atomic.map_or(published, Usdc::from_micros);
        let fits = |total: &Usdc| i64::try_from(total.micros()).is_ok();
        let total = amount.checked_add(fee).filter(fits).ok_or_else(|| {
            let message = "the fee that Paegents names is more than can be paid";
            Error::new(Code::UpstreamMalformed, message)
                .at(Marketplace::Paegents)
                .field("infra_fee_amount_atomic", None)
        })?;
        let wallet = self.access.wallet().await?.evm_address().ok_or_else(no_wallet)?;
        let balance = chain.usdc_balance(wallet).await?;
        // A dearer one is another matter: the gate holds it against what was allowed.
        if balance < total && total <= purchase.max_total {
            let message = format!("the wallet {wallet} has {balance} USDC, and {total} are needed");
            return Err(Error::new(Code::InsufficientFunds, message));
        }
        let fields = self.fixed(&chain, (payee.address, amount), (collector, fee), wallet)?;
        Ok(Prepared::Pay(Instrument {
            // The platform's own name for it comes with its answer.
            reference: purchase.id.to_string(),
            amount: total,
            asset: "USDC".to_owned(),
            chain_id: chain.pins().chain_id,
            details: serde_json::to_value(&fields).map_err(|_| broken(purchase))?,
            rerouted: None,
            account: Some(Account { address: permit_account(wallet), nonce: None }),
        }))
    }

    fn fixed(
        &self,
        chain: &Chain,
        (payee, amount): (Address, Usdc),
        (collector, fee): (Address, Usdc),
        wallet: Address,
    ) -> Result<Fields, Error> {
        let (pins, now) = (chain.pins(), self.access.clock().now());
        let terms =
            Terms { chain_id: pins.chain_id, to: payee, amount, timeout_seconds: OPEN_SECONDS };
        let authorization = terms.authorization(Version::One, wallet, fresh_nonce()?, seconds(now));
        Ok(Fields {
            authorization: authorization.map_err(|error| refused(&error))?,
            permit: Permit {
                chain_id: pins.chain_id,
                token: pins.usdc,
                owner: wallet,
                spender: collector,
                value: fee,
                // Read when nothing else of the wallet's permits is open: see `seal`.
                nonce: U256::ZERO,
                deadline: seconds(now).saturating_add(OPEN_SECONDS),
            },
            fixed_at: now,
            open_seconds: OPEN_SECONDS,
        })
    }

    /// Makes the signatures from the journal, within what was approved.
    async fn signed(&self, purchase: &Purchase, fields: &Fields) -> Result<Signed, Error> {
        let body: DirectBody = bound(purchase)?;
        let (wallet, chain) = (self.access.wallet().await?, self.access.chain().await?);
        let (chain_id, now) = (chain.pins().chain_id, seconds(fields.fixed_at));
        let price = body.arguments.amount_usd;
        let authorized =
            AuthorizationBounds { chain_id, to: body.payee.address, value_max: price, now };
        let permitted = PermitBounds {
            chain_id,
            spender: fields.permit.spender,
            value_max: purchase.max_total.saturating_sub(price),
            now,
        };
        // The permit first: whom it is for is the platform's word, so that it may be refused.
        let permit = wallet.sign_permit(&fields.permit, &permitted);
        let permit = permit.map_err(|error| refused(&error))?;
        let header = wallet.x402_v1(&fields.authorization, &authorized);
        let header = header.map_err(|error| refused(&error))?;
        Ok(Signed {
            digests: json!([header.signed.digest, permit.digest]),
            header: header.value,
            permit: permit.signature,
        })
    }

    /// Fixes the permit's nonce, now that no other permit of the wallet is open.
    async fn sealed(&self, purchase: &Purchase) -> Result<Value, Error> {
        let mut fields = fields_of(purchase)?;
        let nonce = self.access.chain().await?.permit_nonce(fields.permit.owner).await?;
        fields.permit.nonce = U256::from(nonce);
        let digests = self.signed(purchase, &fields).await?.digests;
        let permit = serde_json::to_value(&fields.permit).map_err(|_| broken(purchase))?;
        Ok(with(purchase, &[("permit", permit), ("digests", digests)]))
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let made = async {
            let paegents = of_purchase(&self.access, purchase).await?;
            let fields = fields_of(purchase)?;
            let signed = self.signed(purchase, &fields).await?;
            if noted(purchase, "digests") != Some(&signed.digests) {
                let message = "the wallet has changed since it was written down";
                return Err(Error::new(Code::SigningRefused, message));
            }
            let body: DirectBody = bound(purchase)?;
            let proposal = Proposal::new(purchase, &body.arguments, &fields)?;
            Ok((proposal.signed_by(&signed.header, &signed.permit)?, paegents))
        };
        let is_first = noted(purchase, "sent_again").is_none();
        let dead = |code, why| if is_first { Fate::Dead(code, why) } else { Fate::Unknown(why) };
        let (body, paegents) = match made.await {
            Ok(made) => made,
            Err(error) => return dead(error.code, error.to_string()),
        };
        let key = Some(purchase.idempotency_key.as_str());
        let name = "paegents.create_usage_agreement";
        match (Sending { name, path: "/usage-agreements/", key, body }).send(&paegents).await {
            Sent::Done(answer) => proposed(purchase, &answer),
            Sent::Never(code, why) => dead(code, why),
            // The signatures are out: whoever has them can use them until they are over.
            Sent::Refused(_, why, _) | Sent::Open(why) => Fate::Unknown(why),
        }
    }

    /// The agreement, where the platform has told of one.
    async fn agreement(&self, purchase: &Purchase) -> Result<Option<Agreement>, Error> {
        let paegents = of_purchase(&self.access, purchase).await?;
        if let Some(id) = agreement_id(purchase) {
            let found = paegents.api.send(&GetAgreement { agreement_id: &id }).await?;
            if found.agreement_id == id {
                return Ok(Some(found));
            }
            let message = format!("Paegents answered for {id} with another agreement");
            return Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents));
        }
        super::proposal::find(&paegents, purchase).await
    }

    async fn looked_up(&self, purchase: &Purchase) -> Result<Fate, Error> {
        let fields = fields_of(purchase)?;
        let chain = self.access.chain().await?;
        // In this order: a block after the time was read only has a later one.
        let time = chain.time().await?;
        let payer = fields.authorization.from;
        if chain.authorization_used(payer, fields.authorization.nonce).await? {
            return self.known(purchase, Fate::Paid).await;
        }
        if time <= until(&fields).saturating_add(FINALITY_SECONDS) {
            let agreement = self.agreement(purchase).await?;
            return Ok(agreement.map_or_else(
                || Fate::Unknown("Paegents shows no such agreement so far".to_owned()),
                |agreement| standing(purchase, &agreement),
            ));
        }
        if fee_is_taken(&chain, &fields).await? {
            // The price cannot be paid any more: what was paid is the fee.
            return self.known(purchase, fee_alone(&fields)).await;
        }
        let why =
            "the seller did not accept in time: neither signature was used, and both are over";
        Ok(Fate::Dead(Code::Expired, why.to_owned()))
    }

    /// What the chain has said, once the agreement's name is in the journal.
    async fn known(&self, purchase: &Purchase, fate: Fate) -> Result<Fate, Error> {
        if agreement_id(purchase).is_some() {
            return Ok(fate);
        }
        Ok(match self.agreement(purchase).await? {
            Some(agreement) => note(purchase, &agreement),
            None => fate,
        })
    }

    async fn collected(&self, purchase: &Purchase) -> Result<Collected, Error> {
        let fields = fields_of(purchase)?;
        let chain = self.access.chain().await?;
        let (payer, nonce) = (fields.authorization.from, fields.authorization.nonce);
        // In this order: what is read later only knows of more.
        let time = chain.time().await?;
        let is_paid = chain.authorization_used(payer, nonce).await?;
        let agreement = self.agreement(purchase).await?;
        let Some(agreement) = agreement else { return Ok(Collected::Later) };
        let status = word(&agreement.status).to_owned();
        if agreement.status == "completed" {
            let body = json!({
                "agreement_id": agreement.agreement_id,
                "status": status,
                "metadata": agreement.metadata,
            });
            let body = body.to_string().into_bytes();
            return Ok(Collected::Delivered(Answer { status: 200, body }));
        }
        if !is_paid && time > until(&fields).saturating_add(FINALITY_SECONDS) {
            let message = format!(
                "the platform took its fee of {} USD, and the price was not paid and cannot be any \
                 more: the agreement {} is {status}",
                fields.permit.value, agreement.agreement_id
            );
            return Ok(Collected::Failed(Error::new(Code::PaidNotDelivered, message), None));
        }
        Ok(Collected::Later)
    }
}

fn fields_of(purchase: &Purchase) -> Result<Fields, Error> {
    let fields = purchase.instrument.clone().unwrap_or_default();
    serde_json::from_value(fields).map_err(|_| broken(purchase))
}

fn agreement_id(purchase: &Purchase) -> Option<AgreementId> {
    noted(purchase, "agreement_id")?.as_str()?.parse().ok()
}

/// When both signatures are over.
fn until(fields: &Fields) -> i64 {
    let last = fields.authorization.valid_before.max(fields.permit.deadline);
    i64::try_from(last).unwrap_or(i64::MAX)
}

/// Whether the platform has taken its fee: the permit is used, and nothing of it is left.
async fn fee_is_taken(chain: &Chain, fields: &Fields) -> Result<bool, Error> {
    let permit = &fields.permit;
    let used = U256::from(chain.permit_nonce(permit.owner).await?) > permit.nonce;
    let left = chain.allowance(permit.owner, permit.spender).await?;
    Ok(used && left < U256::from(permit.value.micros()))
}

fn fee_alone(fields: &Fields) -> Fate {
    let amount = Some(fields.permit.value);
    Fate::Receipt(crate::spend::Receipt { answer: None, amount, reference: None })
}

/// What the answer to the proposal says.
fn proposed(purchase: &Purchase, answer: &Map<String, Value>) -> Fate {
    match serde_json::from_value::<Agreement>(Value::Object(answer.clone())) {
        Ok(agreement) => note(purchase, &agreement),
        Err(_) => Fate::Unknown("Paegents answered with something that is no agreement".to_owned()),
    }
}

/// The instrument with the agreement's name.
fn note(purchase: &Purchase, agreement: &Agreement) -> Fate {
    let id = agreement.agreement_id.to_string();
    let instrument = with(purchase, &[("agreement_id", json!(id))]);
    Fate::Known(Known { instrument, reference: Some(id) })
}

/// What an agreement says before the chain has seen the payment.
fn standing(purchase: &Purchase, agreement: &Agreement) -> Fate {
    if agreement_id(purchase).is_none() {
        return note(purchase, agreement);
    }
    if is_given_up(&agreement.status) || agreement.metadata.get("payment_error").is_some() {
        return Fate::Unknown(format!(
            "the agreement {} is {}, and what was signed for it is not over yet",
            agreement.agreement_id,
            word(&agreement.status)
        ));
    }
    Fate::Pending
}

impl Payment for Directs {
    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        self.sealed(purchase).boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        self.looked_up(purchase).boxed()
    }

    fn certain_at(&self, purchase: &Purchase) -> Option<i64> {
        let over = until(&fields_of(purchase).ok()?).saturating_add(FINALITY_SECONDS);
        let again = purchase.updated_at.saturating_add(HORIZON_SECONDS);
        Some(if can_go_again(purchase) { over.min(again) } else { over })
    }

    fn resend(&self, purchase: &Purchase, now: i64) -> Option<Value> {
        // The same key and the same nonces: whatever comes of both, it is paid once.
        let waited = now >= purchase.updated_at.saturating_add(HORIZON_SECONDS);
        let fields = fields_of(purchase).ok()?;
        let is_good = i64::try_from(fields.authorization.valid_before).is_ok_and(|end| end > now);
        let again = waited && is_good && can_go_again(purchase);
        again.then(|| with(purchase, &[("sent_again", json!(now))]))
    }

    fn follow_at_most(&self) -> Duration {
        FOLLOW_AT_MOST
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        self.collected(purchase).boxed()
    }
}

/// Whether nothing has come of the request so far, and it has gone out once.
fn can_go_again(purchase: &Purchase) -> bool {
    agreement_id(purchase).is_none() && noted(purchase, "sent_again").is_none()
}
