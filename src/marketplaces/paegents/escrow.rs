//! Funding an agreement's escrow: signed, submitted, asked about. Source: protocols/paegents.md
//! §6.3, §6.4, §10.5, §14.4.
//!
//! The instrument is an intent with the permits beside it. Each has a nonce of its own, so the same
//! one may be handed in again; another is made only when the permits are over and their nonce was
//! never used. What paid is the chain's word: the platform's alone is not believed.

mod requests;

use std::{sync::Arc, time::Duration};

use alloy_primitives::{Address, B256, U256, keccak256};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

pub use self::requests::FundingMode;
use self::requests::{ActivateEscrow, FundingAuthorization, RefreshPermit};
use super::{
    agreements::Agreement,
    allowance::{Wanted, funding_mode},
    offer::{Offer, look, payments},
    package::{CHALLENGE_SECONDS, EXPIRY_SECONDS_MAX},
    sending::of_purchase,
    status::{has_failed, is_active, is_funded},
};
use crate::{
    access::Access,
    chain::{Chain, Receipt},
    error::{Code, Error},
    ids::AgreementId,
    journal::Purchase,
    marketplaces::Marketplace,
    money::Usdc,
    spend::{
        Account, Answer, Collected, Fate, Instrument, Payment, Prepared, Spending, permit_account,
    },
    wallet::{
        SignError, Wallet,
        eip712::{Activation, ActivationBounds, ActivationIntent, Permit, PermitBounds},
        transfer::moved_usdc,
    },
};

/// How long the permits hold, in seconds.
const DEADLINE_SECONDS: i64 = 600;
/// How long after their deadline their nonce is believed to stay unused, in seconds.
const FINALITY_SECONDS: i64 = 60;
/// How long a caller is kept with an activation (DESIGN §6).
const FOLLOW_AT_MOST: Duration = Duration::from_secs(45);

/// The journal's instrument: all that the signatures are made from, and their digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fields {
    agreement_id: AgreementId,
    mode: FundingMode,
    activation: Activation,
    permit: Option<Permit>,
    fee_permit: Option<Permit>,
    /// `nonces` of the wallet when they were fixed.
    permit_nonce: u64,
    fixed_at: i64,
    /// After it nothing can be drawn.
    expires_at: i64,
    /// Whether its permits take the place of others that are over.
    #[serde(default)]
    renewed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    digests: Vec<B256>,
}

/// What the owner's word holds for, from the purchase's body.
#[derive(Debug, Deserialize)]
struct Agreed {
    quantity: u64,
    unit_price_usd: Usdc,
    seller_wallet: Address,
    deposit_usd: Usdc,
    fee_usd: Option<Usdc>,
    fee_collector: Option<Address>,
}

/// The signatures, made again from the journal whenever they are needed.
struct Signatures {
    intent: String,
    permit: Option<String>,
    fee_permit: Option<String>,
    digests: Vec<B256>,
}

/// What makes two requests to fund an escrow the same purchase.
#[must_use]
pub fn natural_key(agreement_id: &AgreementId) -> String {
    format!("paegents:escrow:{agreement_id}")
}

/// Funds escrows.
#[derive(Debug)]
pub struct Escrows {
    access: Arc<Access>,
}

impl Escrows {
    /// Pays for the agent of this program.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    async fn agreement(&self, purchase: &Purchase) -> Result<Agreement, Error> {
        of_purchase(&self.access, purchase).await?.agreement(&agreement_id(purchase)?).await
    }

    /// The wallet's permits: their nonces are read once no other of them is open.
    async fn paid_by(&self) -> Result<Option<(u64, String)>, Error> {
        let chain_id = self.access.chain().await?.pins().chain_id;
        let wallet = self.access.wallet().await?.evm_address();
        Ok(wallet.map(|wallet| (chain_id, permit_account(wallet))))
    }

    /// Reads everything once more, holds it against what was approved, and fixes the nonces.
    async fn prepared(&self, purchase: &Purchase) -> Result<Prepared, Error> {
        let paegents = of_purchase(&self.access, purchase).await?;
        let id = agreement_id(purchase)?;
        let offer = Offer::read(&self.access, &paegents, &id).await?;
        let approved: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
        let by_allowance = by_allowance(&approved);
        let (_, begun) = payments(&self.access).await?;
        if let Some(field) = offer.first_change(&approved, by_allowance, begun) {
            let message = format!(
                "the activation package's {field} has changed since it was approved; nothing was \
                 signed"
            );
            return Err(Error::new(Code::TermsMismatch, message)
                .at(Marketplace::Paegents)
                .field(field, None)
                .next(look(&id)));
        }
        let chain = self.access.chain().await?;
        // A node that does not answer is told apart from an empty wallet.
        let balance = chain.usdc_balance(offer.wallet).await?;
        if balance < offer.asked.total {
            let message = format!(
                "the wallet {} has {balance} USDC, and {} are needed",
                offer.wallet, offer.asked.total
            );
            return Err(Error::new(Code::InsufficientFunds, message).at(Marketplace::Paegents));
        }
        let mode = funding_mode(&chain, &offer, by_allowance).await?;
        let fields = self.fixed(&chain, &offer, mode).await?;
        Ok(Prepared::Pay(Instrument {
            reference: id.to_string(),
            amount: offer.asked.total,
            asset: "USDC".to_owned(),
            chain_id: chain.pins().chain_id,
            details: serde_json::to_value(&fields).map_err(|_| broken(purchase))?,
            rerouted: None,
            account: Some(Account { address: permit_account(offer.wallet), nonce: None }),
        }))
    }

    async fn fixed(
        &self,
        chain: &Chain,
        offer: &Offer,
        mode: FundingMode,
    ) -> Result<Fields, Error> {
        let (package, terms) = (&offer.package, &offer.package.terms);
        let pins = chain.pins();
        let permit_nonce = chain.permit_nonce(offer.wallet).await?;
        let now = self.access.clock().now();
        let deadline = now.saturating_add(DEADLINE_SECONDS);
        let permit = |spender, value, nonce: u64| Permit {
            chain_id: pins.chain_id,
            token: pins.usdc,
            owner: offer.wallet,
            spender,
            value,
            nonce: U256::from(nonce),
            deadline: u64::try_from(deadline).unwrap_or(0),
        };
        let by_permit = mode == FundingMode::Permit;
        // The platform draws the deposit first and the fee after it (§14.4, assumed).
        let fee_nonce = permit_nonce.saturating_add(u64::from(by_permit));
        let expiry = i64::try_from(terms.expiry).unwrap_or(i64::MAX);
        Ok(Fields {
            agreement_id: offer.agreement.agreement_id.clone(),
            mode,
            activation: Activation {
                chain_id: pins.chain_id,
                spender: offer.escrow,
                intent: ActivationIntent {
                    agreement_key: package.agreement_key,
                    platform_agreement_id_hash: package.platform_agreement_id_hash,
                    buyer: terms.buyer,
                    seller: terms.seller,
                    token: terms.token,
                    quantity: U256::from(terms.quantity),
                    price_per_unit: U256::from(terms.price_per_unit_atomic),
                    deposit_amount: U256::from(terms.deposit_amount_atomic),
                    challenge_window_seconds: terms.challenge_window_seconds,
                    service_hash: terms.service_hash,
                    terms_hash: terms.terms_hash,
                    expiry: terms.expiry,
                    nonce: U256::from(package.nonces.buyer_activation_nonce),
                    salt: terms.salt,
                },
            },
            permit: by_permit.then(|| permit(offer.escrow, offer.asked.deposit, permit_nonce)),
            fee_permit: offer.asked.fee.map(|(fee, collector)| permit(collector, fee, fee_nonce)),
            permit_nonce,
            fixed_at: now,
            // An intent without a permit can be used as long as it holds itself.
            expires_at: if by_permit { deadline } else { expiry.max(deadline) },
            renewed: false,
            digests: Vec::new(),
        })
    }

    /// Where the deposit is drawn from an allowance, sees to it that it is large enough.
    async fn allowed(
        &self,
        gate: &Spending,
        purchase: &Purchase,
        instrument: &Instrument,
    ) -> Result<(), Error> {
        let fields: Fields =
            serde_json::from_value(instrument.details.clone()).map_err(|_| broken(purchase))?;
        if fields.mode != FundingMode::Allowance {
            return Ok(());
        }
        let approved: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
        let wanted = Wanted {
            principal: &purchase.principal,
            agreement_id: &fields.agreement_id,
            wallet: fields.activation.intent.buyer,
            escrow: fields.activation.spender,
            deposit: deposit_of(&fields),
            is_asked: by_allowance(&approved),
        };
        wanted.given(&self.access, gate).await
    }

    /// Makes the signatures from the journal, within what was approved.
    async fn signed(&self, purchase: &Purchase, fields: &Fields) -> Result<Signatures, Error> {
        let (wallet, chain) = (self.access.wallet().await?, self.access.chain().await?);
        let body: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
        let agreed = body.get("agreed").cloned().unwrap_or_default();
        let agreed: Agreed = serde_json::from_value(agreed).map_err(|_| broken(purchase))?;
        let escrow = super::offer::escrow(&self.access, chain.pins())?;
        sign(&wallet, chain.pins().chain_id, escrow, &agreed, fields).map_err(|error| {
            let message = format!("the escrow is not signed: {error}");
            Error::new(Code::SigningRefused, message).at(Marketplace::Paegents)
        })
    }

    async fn sent(&self, purchase: &Purchase) -> Fate {
        let sent = async {
            let fields = Fields::of(purchase)?;
            let signed = self.signed(purchase, &fields).await?;
            if signed.digests != fields.digests {
                let message = "the wallet has changed since it was approved";
                return Err(Error::new(Code::SigningRefused, message));
            }
            let deadline = fields.permit.as_ref().map_or(0, |permit| permit.deadline);
            if fields.renewed && self.refreshed(purchase, &fields, &signed).await? {
                return Ok(IgnoredAny);
            }
            let request = ActivateEscrow {
                agreement_id: &fields.agreement_id,
                digest: keccak256(
                    signed.digests.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>(),
                ),
                buyer_intent: &fields.activation.intent,
                buyer_signature: signed.intent,
                funding_authorization: FundingAuthorization {
                    mode: fields.mode,
                    amount: deposit_of(&fields).micros(),
                    deadline,
                    permit_data: signed.permit,
                },
                buyer_infra_fee_permit_signature: signed.fee_permit,
                buyer_infra_fee_permit_deadline: fields.fee_permit.as_ref().map(|p| p.deadline),
            };
            of_purchase(&self.access, purchase).await?.api.send(&request).await
        };
        match sent.await {
            Ok(_) => self.looked_up(purchase).await.unwrap_or(Fate::Pending),
            // Whoever has the signatures can use them until they are over, whatever was answered.
            Err(error) => Fate::Unknown(error.to_string()),
        }
    }

    /// Hands the new permits in for those that are over; whether the platform goes on with them by
    /// itself. Where it does not, the activation is handed in again with them.
    async fn refreshed(
        &self,
        purchase: &Purchase,
        fields: &Fields,
        signed: &Signatures,
    ) -> Result<bool, Error> {
        if signed.permit.is_none() && signed.fee_permit.is_none() {
            return Ok(false);
        }
        let paegents = of_purchase(&self.access, purchase).await?;
        let request = RefreshPermit {
            agreement_id: &fields.agreement_id,
            buyer_permit_signature: signed.permit.as_deref(),
            buyer_permit_deadline: fields.permit.as_ref().map(|permit| permit.deadline),
            buyer_infra_fee_permit_signature: signed.fee_permit.as_deref(),
            buyer_infra_fee_permit_deadline: fields.fee_permit.as_ref().map(|p| p.deadline),
        };
        if let Err(error) = paegents.api.send(&request).await {
            // They are in the activation as well, and count once however they arrive.
            tracing::warn!(purchase = %purchase.id, %error, "new permits were not taken");
        }
        let agreement = self.agreement(purchase).await?;
        Ok(is_funded(&agreement) || agreement.activation_status == "submitting")
    }

    /// What became of it, by the chain.
    async fn looked_up(&self, purchase: &Purchase) -> Result<Fate, Error> {
        let (paegents, id) = (of_purchase(&self.access, purchase).await?, agreement_id(purchase)?);
        let chain = self.access.chain().await?;
        // In this order: what is read later only knows of more.
        let time = chain.time().await?;
        let agreement = paegents.agreement(&id).await?;
        let fields = Fields::of(purchase)?;
        let owner = fields.activation.intent.buyer;
        let nonce = chain.permit_nonce(owner).await?;
        let signed_permits = fields.permit.is_some() || fields.fee_permit.is_some();
        let untouched = signed_permits && nonce <= fields.permit_nonce;
        if let Ok(hash) = agreement.activation_tx_hash.trim().parse::<B256>()
            && !untouched
        {
            match chain.receipt(hash).await? {
                Some(receipt) if funds(&fields, &receipt) => return Ok(Fate::Paid),
                Some(receipt) if receipt.succeeded => {
                    let message = format!("the transaction {hash} funds something else");
                    return Ok(Fate::Unknown(message));
                }
                Some(_) => {}
                None => return Ok(Fate::Pending),
            }
        }
        if is_funded(&agreement) && !untouched {
            return Ok(if signed_permits { Fate::Paid } else { Fate::Pending });
        }
        let left = match fields.mode {
            FundingMode::Permit => "",
            FundingMode::Allowance => {
                "; the allowance stands, and another activation with `allowance: true` uses it"
            }
        };
        let over = time > fields.expires_at.saturating_add(FINALITY_SECONDS);
        Ok(match (over, untouched || !signed_permits) {
            (true, true) if !is_funded(&agreement) => Fate::Dead(
                Code::UpstreamRejected,
                format!("its signatures are over, and the chain has seen none of them{left}"),
            ),
            (true, _) => Fate::Unknown(
                "a permit of the wallet was used, and the platform does not say for what"
                    .to_owned(),
            ),
            (false, _) if agreement.activation_status == "submitting" => Fate::Pending,
            (false, _) if has_failed(&agreement.activation_status) => Fate::Unknown(
                "the platform says that it failed; its signatures hold for a while".to_owned(),
            ),
            (false, _) => Fate::Unknown("the platform has not submitted it".to_owned()),
        })
    }

    async fn collected(&self, purchase: &Purchase) -> Result<Collected, Error> {
        let agreement = self.agreement(purchase).await?;
        if !is_active(&agreement) && !is_funded(&agreement) {
            return Ok(Collected::Pending);
        }
        let about = serde_json::json!({
            "agreement_id": agreement.agreement_id,
            "activation_tx_hash": agreement.activation_tx_hash.parse::<B256>().ok(),
        });
        Ok(Collected::Delivered(Answer { status: 200, body: about.to_string().into_bytes() }))
    }
}

fn sign(
    wallet: &Wallet,
    chain_id: u64,
    escrow: Address,
    agreed: &Agreed,
    fields: &Fields,
) -> Result<Signatures, SignError> {
    let now = u64::try_from(fields.fixed_at).unwrap_or(0);
    let intent = wallet.sign_activation(
        &fields.activation,
        &ActivationBounds {
            chain_id,
            escrow,
            seller: Some(agreed.seller_wallet),
            quantity: agreed.quantity,
            price_per_unit: agreed.unit_price_usd,
            deposit_max: agreed.deposit_usd,
            expiry_seconds: 1..=EXPIRY_SECONDS_MAX,
            challenge_window_seconds: CHALLENGE_SECONDS,
            now,
        },
    )?;
    let mut digests = vec![intent.digest];
    let mut permitted = |permit: Option<&Permit>, spender, value_max| {
        let Some(permit) = permit else { return Ok(None) };
        let bounds = PermitBounds { chain_id, spender, value_max, now };
        let signed = wallet.sign_permit(permit, &bounds)?;
        digests.push(signed.digest);
        Ok::<_, SignError>(Some(signed.signature))
    };
    let permit = permitted(fields.permit.as_ref(), escrow, agreed.deposit_usd)?;
    let collector = agreed.fee_collector.unwrap_or_default();
    let fee = agreed.fee_usd.unwrap_or_default();
    let fee_permit = permitted(fields.fee_permit.as_ref(), collector, fee)?;
    Ok(Signatures { intent: intent.signature, permit, fee_permit, digests })
}

/// Whether the caller has asked for an allowance.
fn by_allowance(approved: &Value) -> bool {
    approved.pointer("/arguments/allowance") == Some(&Value::Bool(true))
}

impl Fields {
    fn of(purchase: &Purchase) -> Result<Self, Error> {
        let instrument = purchase.instrument.clone().unwrap_or_default();
        serde_json::from_value(instrument).map_err(|_| broken(purchase))
    }
}

fn deposit_of(fields: &Fields) -> Usdc {
    Usdc::from_micros(u64::try_from(fields.activation.intent.deposit_amount).unwrap_or(0))
}

/// Whether a transaction moved the deposit from the wallet into the escrow.
fn funds(fields: &Fields, receipt: &Receipt) -> bool {
    let (from, to) = (fields.activation.intent.buyer, fields.activation.spender);
    receipt.succeeded
        && moved_usdc(fields.activation.intent.token, receipt, from, to, deposit_of(fields))
}

fn agreement_id(purchase: &Purchase) -> Result<AgreementId, Error> {
    purchase.item_id.parse().map_err(|_| broken(purchase))
}

fn broken(purchase: &Purchase) -> Error {
    let message = format!("the journal's lines of {} are no escrow's", purchase.id);
    Error::new(Code::Internal, message).purchase(&purchase.id)
}

impl Payment for Escrows {
    fn payer<'a>(
        &'a self,
        _purchase: &'a Purchase,
    ) -> BoxFuture<'a, Result<Option<(u64, String)>, Error>> {
        self.paid_by().boxed()
    }

    fn prepare<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Prepared, Error>> {
        self.prepared(purchase).boxed()
    }

    fn ready<'a>(
        &'a self,
        gate: &'a Spending,
        purchase: &'a Purchase,
        instrument: &'a Instrument,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.allowed(gate, purchase, instrument).boxed()
    }

    fn seal<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Value, Error>> {
        async move {
            let mut fields = Fields::of(purchase)?;
            fields.digests = self.signed(purchase, &fields).await?.digests;
            serde_json::to_value(&fields).map_err(|_| broken(purchase))
        }
        .boxed()
    }

    fn send<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Fate> {
        self.sent(purchase).boxed()
    }

    fn look_up<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Fate, Error>> {
        self.looked_up(purchase).boxed()
    }

    fn certain_at(&self, purchase: &Purchase) -> Option<i64> {
        // Until then it may be handed in again, which brings it on sooner.
        let over = Fields::of(purchase).ok()?.expires_at;
        let is_over = self.access.clock().now() >= over;
        is_over.then(|| over.saturating_add(FINALITY_SECONDS))
    }

    fn resend(&self, purchase: &Purchase, _now: i64) -> Option<Value> {
        // The nonces make it the same one however often it is handed in.
        purchase.instrument.clone()
    }

    fn follow_at_most(&self) -> Duration {
        FOLLOW_AT_MOST
    }

    fn renewed<'a>(
        &'a self,
        purchase: &'a Purchase,
    ) -> BoxFuture<'a, Result<Option<Instrument>, Error>> {
        async move {
            let Prepared::Pay(mut instrument) = self.prepared(purchase).await? else {
                return Ok(None);
            };
            if let Some(fields) = instrument.details.as_object_mut() {
                fields.insert("renewed".to_owned(), Value::Bool(true));
            }
            Ok(Some(instrument))
        }
        .boxed()
    }

    fn collect<'a>(&'a self, purchase: &'a Purchase) -> BoxFuture<'a, Result<Collected, Error>> {
        self.collected(purchase).boxed()
    }
}
