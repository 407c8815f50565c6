//! The evidence of what was used, a page at a time, each page checked here from where the last one
//! ended: the cursor carries that place.

use alloy_primitives::{Address, B256};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::App,
    error::Error,
    ids::AgreementId,
    journal::State,
    marketplaces::{
        paegents::{
            agreements::Agreement,
            escrow::natural_key,
            evidence::{
                ChainPlace, Finding, Known, ListCallProofs, ListReceipts, TotalPlace, Verdict,
                check_proofs, check_receipts,
            },
            offer::escrow,
            steps,
        },
        payable_address,
    },
    money::Usdc,
    owner::Owner,
    recovery::NextCall,
    server::Server,
    tools::{
        Args, Reply, input, output,
        paegents::{
            reading::{agreement as read_agreement, purchase_of},
            shown::shown_time,
        },
    },
};

/// The most items of a page, and how many there are unless said otherwise.
const LIMIT_MAX: u64 = 50;
const LIMIT: u64 = 20;
/// The most bytes of a cursor of theirs.
const CURSOR_BYTES_MAX: usize = 128;
/// What the parts of a cursor of ours stand between.
const BETWEEN: char = '~';

/// Arguments of a list of evidence.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceArgs {
    /// Which.
    pub agreement_id: AgreementId,
    /// From the last page.
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Whether something holds for every item of the page.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FindingView {
    /// Whether it does.
    pub holds: bool,
    /// The first item for which it does not: its index or nonce, else its number on the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<u64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let (first_bad, why) = finding.first_bad.clone().unzip();
        Self { holds: finding.holds(), first_bad, why }
    }
}

/// Who signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SignerWord {
    /// The receipt signer of the terms that were activated from here.
    ReceiptSigner,
    /// The seller's wallet.
    Seller,
    /// Neither, or who it should be is not known here.
    Unknown,
}

/// A call that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProofView {
    /// Counts the calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_index: Option<u64>,
    /// Of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    /// Of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_hash: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Call proofs, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProofsView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Whether chain and signatures hold.
    pub verified: bool,
    /// Whether each link follows from the one before and its hashes, without a gap.
    pub chain: FindingView,
    /// Whether each link is signed by the receipt signer or the seller.
    pub signatures: FindingView,
    /// Who signed the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Who that is.
    pub signer_is: SignerWord,
    /// What the agreement counts as used.
    pub units_used: u64,
    /// They.
    pub proofs: Vec<ProofView>,
    /// The link after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_hash: Option<String>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A receipt.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptView {
    /// Counts the receipts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<u64>,
    /// Units used in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<u64>,
    /// Of one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Receipts, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptsView {
    /// Of which agreement.
    pub agreement_id: String,
    /// Whether totals and signatures hold.
    pub verified: bool,
    /// Whether units only add up, within the agreement and at its price, without a gap.
    pub totals: FindingView,
    /// Whether each is signed by the receipt signer or the seller.
    pub signatures: FindingView,
    /// Who signed the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Who that is.
    pub signer_is: SignerWord,
    /// What the agreement counts as used.
    pub units_used: u64,
    /// What the last receipt counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units_receipted: Option<u64>,
    /// What that is worth at the agreement's price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipted_usd: Option<Usdc>,
    /// They.
    pub receipts: Vec<ReceiptView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[tool_router(router = paegents_evidence_tools, vis = "pub(crate)")]
impl Server {
    /// Proofs of the calls made, oldest first: hash chain and signatures checked here.
    #[tool(
        name = "paegents_list_call_proofs",
        input_schema = input::<EvidenceArgs>(),
        output_schema = output::<ProofsView>(),
        annotations(
            title = "Check Paegents call proofs",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_call_proofs(
        &self,
        Args(args): Args<EvidenceArgs>,
        owner: Owner,
    ) -> Result<Reply<ProofsView>, Error> {
        proofs(self.app(), &owner, &args).await
    }

    /// Receipts of use, oldest first: totals, price and signatures checked here.
    #[tool(
        name = "paegents_list_receipts",
        input_schema = input::<EvidenceArgs>(),
        output_schema = output::<ReceiptsView>(),
        annotations(
            title = "Check Paegents receipts",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_receipts(
        &self,
        Args(args): Args<EvidenceArgs>,
        owner: Owner,
    ) -> Result<Reply<ReceiptsView>, Error> {
        receipts(self.app(), &owner, &args).await
    }
}

async fn proofs(app: &App, owner: &Owner, args: &EvidenceArgs) -> Result<Reply<ProofsView>, Error> {
    let example = format!("1~1~{}", B256::ZERO);
    let limit = limit(args.limit)?;
    let place = |text: &str| text.parse::<B256>().ok();
    let (wire, after) = began(args.cursor.as_deref(), place, &example)?;
    let (agreement, known) = known(app, owner, &args.agreement_id).await?;
    let paegents = app.paegents().await?;
    let list = ListCallProofs::of(&args.agreement_id, limit, wire);
    let page = paegents.api.send(&list).await?;
    let after: Option<ChainPlace> = after;
    let verdict = check_proofs(&page.items, after, &known);
    let hash = |text: &str| text.trim().parse::<B256>().ok().map(|hash| hash.to_string());
    let shown = page.items.iter().take(usize::try_from(LIMIT_MAX).unwrap_or(0));
    let cursor = ends(page.cursor, verdict.place.map(|(index, link)| (index, link.to_string())));
    let view = ProofsView {
        agreement_id: args.agreement_id.to_string(),
        verified: verdict.sequence.holds() && verdict.signatures.holds(),
        chain: FindingView::from(&verdict.sequence),
        signatures: FindingView::from(&verdict.signatures),
        signer: verdict.signer.map(|signer| signer.to_checksum(None)),
        signer_is: whose(&verdict, &known),
        units_used: agreement.units_used,
        proofs: shown
            .map(|proof| ProofView {
                call_index: proof.call_index,
                request_hash: hash(&proof.request_hash),
                response_hash: hash(&proof.response_hash),
                at: shown_time(&proof.created_at),
            })
            .collect(),
        chain_hash: verdict.place.map(|(_, link)| link.to_string()),
        cursor: cursor.clone(),
    };
    let next = next(app, &agreement, cursor, ("paegents_list_call_proofs", limit)).await;
    Ok(Reply { view, next })
}

async fn receipts(
    app: &App,
    owner: &Owner,
    args: &EvidenceArgs,
) -> Result<Reply<ReceiptsView>, Error> {
    let limit = limit(args.limit)?;
    let place = |text: &str| text.parse::<u64>().ok();
    let (wire, after) = began(args.cursor.as_deref(), place, "1~1~1")?;
    let (agreement, known) = known(app, owner, &args.agreement_id).await?;
    let paegents = app.paegents().await?;
    let list = ListReceipts::of(&args.agreement_id, limit, wire);
    let page = paegents.api.send(&list).await?;
    let after: Option<TotalPlace> = after;
    let verdict = check_receipts(&page.items, after, &known);
    let shown = page.items.iter().take(usize::try_from(LIMIT_MAX).unwrap_or(0));
    let cursor = ends(page.cursor, verdict.place.map(|(nonce, units)| (nonce, units.to_string())));
    let units = verdict.place.map(|(_, units)| units);
    let worth = |units: u64| known.price_per_unit?.checked_mul(units).map(Usdc::from_micros);
    let view = ReceiptsView {
        agreement_id: args.agreement_id.to_string(),
        verified: verdict.sequence.holds() && verdict.signatures.holds(),
        totals: FindingView::from(&verdict.sequence),
        signatures: FindingView::from(&verdict.signatures),
        signer: verdict.signer.map(|signer| signer.to_checksum(None)),
        signer_is: whose(&verdict, &known),
        units_used: agreement.units_used,
        units_receipted: units,
        receipted_usd: units.and_then(worth),
        receipts: shown
            .map(|receipt| ReceiptView {
                nonce: receipt.nonce,
                units: receipt.cumulative_units,
                unit_price_usd: receipt.price_per_unit_atomic.map(Usdc::from_micros),
                at: shown_time(&receipt.created_at),
            })
            .collect(),
        cursor: cursor.clone(),
    };
    let next = next(app, &agreement, cursor, ("paegents_list_receipts", limit)).await;
    Ok(Reply { view, next })
}

/// The agreement, and what its evidence is held against: the terms of the journal where it was
/// activated from here, which the platform cannot change any more; else the platform's own words.
async fn known(app: &App, owner: &Owner, id: &AgreementId) -> Result<(Agreement, Known), Error> {
    let paegents = app.paegents().await?;
    paegents.agent()?;
    let agreement = read_agreement(&paegents, id).await?;
    let chain = app.chain().await?;
    let paid = purchase_of(app, owner, &natural_key(id)).await?;
    let paid = paid.filter(|purchase| purchase.state == State::Settled);
    let body: Value =
        paid.and_then(|paid| serde_json::from_slice(&paid.body).ok()).unwrap_or_default();
    let text = |at: &str| body.pointer(at).and_then(Value::as_str);
    let number = |at: &str| body.pointer(at).and_then(Value::as_u64);
    let signer = text("/package/terms/receipt_signer").and_then(|signer| signer.parse().ok());
    let key = text("/package/agreement_key").unwrap_or(&agreement.onchain_agreement_key);
    let price = number("/package/terms/price_per_unit_atomic");
    let known = Known {
        agreement_id: id.clone(),
        receipt_signer: signer,
        seller: payable_address(&agreement.seller_wallet_address),
        chain_id: chain.pins().chain_id,
        escrow: escrow(app, chain.pins()).ok(),
        agreement_key: key.trim().parse().ok(),
        price_per_unit: price.or_else(|| agreement.unit_price().ok().map(Usdc::micros)),
        quantity: number("/package/terms/quantity").unwrap_or(agreement.quantity),
    };
    Ok((agreement, known))
}

fn whose<P>(verdict: &Verdict<P>, known: &Known) -> SignerWord {
    let is = |address: Option<Address>| address.is_some() && address == verdict.signer;
    if is(known.receipt_signer) {
        SignerWord::ReceiptSigner
    } else if is(known.seller) {
        SignerWord::Seller
    } else {
        SignerWord::Unknown
    }
}

/// How many items a page has.
fn limit(asked: Option<u64>) -> Result<u64, Error> {
    let limit = asked.unwrap_or(LIMIT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::argument("limit", "must be 1 to 50", "20"))
}

/// Where a page begins: their cursor, the last index before it, and what stood there.
type Begins<'a, T> = (Option<&'a str>, Option<(u64, T)>);

/// Reads a cursor of ours.
fn began<'a, T>(
    cursor: Option<&'a str>,
    read: impl Fn(&str) -> Option<T>,
    example: &str,
) -> Result<Begins<'a, T>, Error> {
    let Some(cursor) = cursor else { return Ok((None, None)) };
    let place = || {
        let mut parts = cursor.splitn(3, BETWEEN);
        let wire = parts.next().filter(|wire| is_carried(wire))?;
        let index = parts.next()?.parse().ok()?;
        Some((Some(wire), Some((index, read(parts.next()?)?))))
    };
    place().ok_or_else(|| {
        Error::argument("cursor", "must be from the last page", &format!("\"{example}\""))
    })
}

/// The cursor of the next page; none where theirs cannot be carried.
fn ends(wire: Option<String>, place: Option<(u64, String)>) -> Option<String> {
    let (wire, (index, rest)) = (wire.filter(|wire| is_carried(wire))?, place?);
    Some(format!("{wire}{BETWEEN}{index}{BETWEEN}{rest}"))
}

/// Whether a cursor of theirs can stand in one of ours: one word, and short.
fn is_carried(wire: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_=.:+/".contains(&b);
    (1..=CURSOR_BYTES_MAX).contains(&wire.len()) && wire.bytes().all(fits)
}

/// The next page, else what can be done with the agreement.
async fn next(
    app: &App,
    agreement: &Agreement,
    cursor: Option<String>,
    (tool, limit): (&'static str, u64),
) -> Vec<NextCall> {
    if let Some(cursor) = cursor {
        let id = &agreement.agreement_id;
        let page = json!({ "agreement_id": id, "cursor": cursor, "limit": limit });
        return vec![NextCall::new(tool, page, "checks the next page")];
    }
    let own = app.paegents().await.ok().and_then(|paegents| paegents.agent().ok().cloned());
    steps::of_agreement(agreement, own.and_then(|own| agreement.role_of(&own)))
}
