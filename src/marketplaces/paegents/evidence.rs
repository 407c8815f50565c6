//! The evidence of what an agreement used: call proofs that chain, receipts that add up, both read
//! and held against what is known. Source: protocols/paegents.md §3.5; the formulas are assumed, in
//! [`crate::wallet::evidence`].
//!
//! What does not fit is reported with its place and the reason. It is never an error: evidence that
//! cannot be checked is no evidence, and no more than that.

use alloy_primitives::{Address, B256};
use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    ids::AgreementId,
    marketplaces::{
        http::{Effect, Operation},
        lenient::{maybe_number, text},
    },
    wallet::evidence::{self, Receipt as Signed},
};

/// The oldest first: only so can a chain be followed from page to page.
const DIRECTION: &str = "asc";

/// The proofs of the calls that were made: `GET /usage-agreements/{id}/call-proofs`.
#[derive(Debug, Serialize)]
pub struct ListCallProofs<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// How many.
    pub limit: u64,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<&'a str>,
    direction: &'static str,
}

impl<'a> ListCallProofs<'a> {
    /// A page of them, the oldest first.
    #[must_use]
    pub const fn of(agreement_id: &'a AgreementId, limit: u64, cursor: Option<&'a str>) -> Self {
        Self { agreement_id, limit, cursor, direction: DIRECTION }
    }
}

impl Operation for ListCallProofs<'_> {
    const NAME: &'static str = "paegents.get_call_proofs";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Page<Proof>;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/call-proofs", self.agreement_id)
    }
}

/// The receipts of what was used: `GET /usage-agreements/{id}/cumulative-receipts`.
#[derive(Debug, Serialize)]
pub struct ListReceipts<'a> {
    /// Of which agreement.
    #[serde(skip)]
    pub agreement_id: &'a AgreementId,
    /// How many.
    pub limit: u64,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<&'a str>,
    direction: &'static str,
}

impl<'a> ListReceipts<'a> {
    /// A page of them, the oldest first.
    #[must_use]
    pub const fn of(agreement_id: &'a AgreementId, limit: u64, cursor: Option<&'a str>) -> Self {
        Self { agreement_id, limit, cursor, direction: DIRECTION }
    }
}

impl Operation for ListReceipts<'_> {
    const NAME: &'static str = "paegents.get_cumulative_receipts";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Page<Receipt>;

    fn path(&self) -> String {
        format!("/usage-agreements/{}/cumulative-receipts", self.agreement_id)
    }
}

/// A page of evidence. An item that cannot be read is there with nothing in it: leaving it out would
/// hide a gap.
#[derive(Debug, Deserialize)]
#[serde(from = "RawPage", bound = "T: DeserializeOwned + Default")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, where there is one.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    items: Vec<Value>,
    #[serde(default, deserialize_with = "text")]
    cursor: String,
    #[serde(default)]
    has_more: Option<bool>,
}

impl<T: DeserializeOwned + Default> From<RawPage> for Page<T> {
    fn from(raw: RawPage) -> Self {
        let read = |item| serde_json::from_value(item).unwrap_or_default();
        let has_more = raw.has_more.unwrap_or(true) && !raw.cursor.is_empty();
        let items = raw.items.into_iter().map(read).collect();
        Self { items, cursor: has_more.then_some(raw.cursor) }
    }
}

/// The proof of one call. Hashes and signature are hex of any case.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Proof {
    /// Of which agreement.
    #[serde(default, deserialize_with = "text")]
    pub agreement_id: String,
    /// Counts the calls.
    #[serde(default, deserialize_with = "maybe_number")]
    pub call_index: Option<u64>,
    /// Of the request.
    #[serde(default, deserialize_with = "text")]
    pub request_hash: String,
    /// Of the answer.
    #[serde(default, deserialize_with = "text")]
    pub response_hash: String,
    /// The link that it adds.
    #[serde(default, deserialize_with = "text")]
    pub chain_hash: String,
    /// Over the link.
    #[serde(default, deserialize_with = "text")]
    pub signature: String,
    /// When.
    #[serde(default, deserialize_with = "text")]
    pub created_at: String,
}

/// A receipt of everything that was used so far.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Receipt {
    /// Of which agreement.
    #[serde(default, deserialize_with = "text")]
    pub agreement_id: String,
    /// Units used in all.
    #[serde(default, deserialize_with = "maybe_number")]
    pub cumulative_units: Option<u64>,
    /// What one costs, in micro-units.
    #[serde(default, deserialize_with = "maybe_number")]
    pub price_per_unit_atomic: Option<u64>,
    /// Counts the receipts.
    #[serde(default, deserialize_with = "maybe_number")]
    pub nonce: Option<u64>,
    /// Over the receipt.
    #[serde(default, deserialize_with = "text")]
    pub signature: String,
    /// Who signed it, as the platform says.
    #[serde(default, deserialize_with = "text")]
    pub signer: String,
    /// When.
    #[serde(default, deserialize_with = "text")]
    pub created_at: String,
}

/// What evidence is held against.
#[derive(Clone, Debug)]
pub struct Known {
    /// The agreement.
    pub agreement_id: AgreementId,
    /// Who signs, by the terms that were activated; `None` where those are not known here.
    pub receipt_signer: Option<Address>,
    /// The seller's wallet, who may sign as well.
    pub seller: Option<Address>,
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The escrow contract, where one is pinned or configured.
    pub escrow: Option<Address>,
    /// The escrow's key in the contract.
    pub agreement_key: Option<B256>,
    /// What a unit costs, in micro-units.
    pub price_per_unit: Option<u64>,
    /// How many units there are.
    pub quantity: u64,
}

/// Whether something holds for each item, and the first for which it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Its index, or the number of the item on the page where it has none; and why.
    pub first_bad: Option<(u64, String)>,
}

impl Finding {
    /// Whether nothing was found.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.first_bad.is_none()
    }

    fn note(&mut self, index: u64, why: impl Into<String>) {
        if self.first_bad.is_none() {
            self.first_bad = Some((index, why.into()));
        }
    }
}

/// What a page of evidence came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<P> {
    /// Whether each item follows from the one before it.
    pub sequence: Finding,
    /// Whether each is signed by someone who may sign it.
    pub signatures: Finding,
    /// Who signed the last one that could be read.
    pub signer: Option<Address>,
    /// Where the sequence stands after the page.
    pub place: Option<P>,
}

/// Where a chain of proofs stands: the last index, and its link.
pub type ChainPlace = (u64, B256);
/// Where receipts stand: the last nonce, and the units so far.
pub type TotalPlace = (u64, u64);

/// Recomputes the chain from where the page before ended, and recovers who signed each link.
#[must_use]
pub fn check_proofs(
    proofs: &[Proof],
    after: Option<ChainPlace>,
    known: &Known,
) -> Verdict<ChainPlace> {
    let mut verdict = Verdict::begun(after);
    for (proof, count) in proofs.iter().zip(1_u64..) {
        let at = proof.call_index.unwrap_or(count);
        let said = hash(&proof.chain_hash);
        match (proof.call_index, said, hash(&proof.request_hash), hash(&proof.response_hash)) {
            (Some(index), Some(said), Some(request), Some(response)) => {
                if let Some(why) = out_of_turn("index", verdict.place.map(|p| p.0), index) {
                    verdict.sequence.note(at, why);
                } else if !known.is_of(&proof.agreement_id) {
                    verdict.sequence.note(at, "it is another agreement's");
                } else {
                    let before = verdict.place.map_or(B256::ZERO, |place| place.1);
                    if evidence::link(before, request, response) != said {
                        verdict.sequence.note(at, "its chain_hash does not follow from the hashes");
                    }
                }
                verdict.place = Some((index, said));
            }
            _ => verdict.sequence.note(at, "its index or hashes cannot be read"),
        }
        let signer = said.and_then(|link| evidence::signer_of_link(link, &proof.signature));
        verdict.signed(at, signer, known);
    }
    verdict
}

/// Whether receipts only ever add up, at the agreement's price, and who signed each.
#[must_use]
pub fn check_receipts(
    receipts: &[Receipt],
    after: Option<TotalPlace>,
    known: &Known,
) -> Verdict<TotalPlace> {
    let mut verdict = Verdict::begun(after);
    for (receipt, count) in receipts.iter().zip(1_u64..) {
        let at = receipt.nonce.unwrap_or(count);
        let read = (receipt.nonce, receipt.cumulative_units, receipt.price_per_unit_atomic);
        let (Some(nonce), Some(units), Some(price)) = read else {
            verdict.sequence.note(at, "its nonce, units or price cannot be read");
            verdict.signed(at, None, known);
            continue;
        };
        let before = verdict.place.map_or(0, |place| place.1);
        if let Some(why) = out_of_turn("nonce", verdict.place.map(|p| p.0), nonce) {
            verdict.sequence.note(at, why);
        } else if !known.is_of(&receipt.agreement_id) {
            verdict.sequence.note(at, "it is another agreement's");
        } else if units < before {
            verdict.sequence.note(at, format!("it counts {units} units after {before}"));
        } else if units > known.quantity {
            let why = format!("it counts {units} units of {}", known.quantity);
            verdict.sequence.note(at, why);
        } else if Some(price) != known.price_per_unit {
            verdict.sequence.note(at, "its price is not the agreement's");
        }
        verdict.place = Some((nonce, units));
        let (Some(agreement_key), Some(escrow)) = (known.agreement_key, known.escrow) else {
            verdict.signatures.note(at, "the escrow contract, or its key of it, is not known here");
            continue;
        };
        let fields =
            Signed { agreement_key, cumulative_units: units, price_per_unit: price, nonce };
        let signer = fields.signer(known.chain_id, escrow, &receipt.signature);
        let said = receipt.signer.trim();
        if !said.is_empty() && said.parse().ok() != signer {
            verdict.signatures.note(at, "its signer is not who signed it");
        }
        verdict.signed(at, signer, known);
    }
    verdict
}

impl<P> Verdict<P> {
    fn begun(after: Option<P>) -> Self {
        let (sequence, signatures) = (Finding::default(), Finding::default());
        Self { sequence, signatures, signer: None, place: after }
    }

    fn signed(&mut self, at: u64, signer: Option<Address>, known: &Known) {
        let Some(signer) = signer else {
            return self.signatures.note(at, "its signature cannot be read");
        };
        self.signer = Some(signer);
        if known.receipt_signer == Some(signer) || known.seller == Some(signer) {
            return;
        }
        let why = match known.receipt_signer {
            Some(_) => "it is signed by neither the receipt signer nor the seller",
            None => "it is not signed by the seller, and the receipt signer is not known here",
        };
        self.signatures.note(at, why);
    }
}

impl Known {
    /// Whether an item names this agreement, where it names one.
    fn is_of(&self, named: &str) -> bool {
        named.is_empty() || named == self.agreement_id.as_str()
    }
}

/// Why a number does not come next: the first is 0 or 1 (assumed), each further one is one more.
fn out_of_turn(what: &str, before: Option<u64>, number: u64) -> Option<String> {
    let follows = match before {
        None => number <= 1,
        Some(before) => Some(number) == before.checked_add(1),
    };
    let after = before.map_or_else(|| "nothing".to_owned(), |before| before.to_string());
    (!follows).then(|| format!("its {what} is {number}, after {after}: something is missing"))
}

fn hash(text: &str) -> Option<B256> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
