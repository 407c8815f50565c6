//! Proving a wallet to Crochet: challenge, signature, work, and the one other way that is tried where
//! Crochet refuses the first. Source: protocols/crochet.md §4, §5, §13.
//!
//! Invariants: the text is signed by the wallet's own rule or not at all; every try has a fresh
//! challenge; what is tried again is bounded.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        crochet::{
            accounts::{
                Complaint, Proof,
                challenges::{Purpose, WalletChallenge, Work, request_challenge},
            },
            proof_of_work::{Budget, Unsolved, solve_async},
        },
        http::Api,
    },
    owner::Owner,
    recovery::NextAction,
    wallet::{SignError, Wallet, text::TextRule},
};

/// How many challenges are worked on before it is given up.
pub(crate) const ROUNDS_MAX: u32 = 3;

/// Which of the owner's wallets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalletChain {
    /// Ethereum and its relatives.
    #[default]
    Evm,
    /// Solana.
    Solana,
}

impl WalletChain {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Evm => "evm",
            Self::Solana => "solana",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Evm => Self::Solana,
            Self::Solana => Self::Evm,
        }
    }
}

impl JsonSchema for WalletChain {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "WalletChain".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["evm", "solana"] })
    }
}

/// How a proof is written: the first way, or after a refusal another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct How {
    lower_case_address: bool,
    bits_rule: bool,
    base64_signature: bool,
}

impl How {
    /// What to do differently after a refusal, each thing once.
    ///
    /// # Errors
    ///
    /// The refusal, where there is nothing else to try.
    pub(crate) fn learn(&mut self, refused: Error, chain: WalletChain) -> Result<(), Error> {
        let tried = match (Complaint::of(&refused), chain) {
            (Some(Complaint::Work), _) if self.bits_rule => {
                return Err(unsolved("Crochet refused two solutions of its proof of work")
                    .upstream(refused.http_status, refused.upstream_code.clone()));
            }
            (Some(Complaint::Work), _) => &mut self.bits_rule,
            (Some(Complaint::Address), WalletChain::Evm) => &mut self.lower_case_address,
            (Some(Complaint::Signature), WalletChain::Solana) => &mut self.base64_signature,
            _ => return Err(refused),
        };
        if std::mem::replace(tried, true) { Err(refused) } else { Ok(()) }
    }
}

/// Who proves what, to whom.
#[derive(Debug)]
pub(crate) struct Prover<'a> {
    pub(crate) api: &'a Api,
    pub(crate) wallet: &'a Wallet,
    pub(crate) owner: &'a Owner,
    pub(crate) purpose: Purpose,
    pub(crate) chain: WalletChain,
}

impl Prover<'_> {
    /// A proof with a fresh challenge.
    ///
    /// # Errors
    ///
    /// [`Code::SigningRefused`], [`Code::ProofOfWorkFailed`], [`Code::Cancelled`], and those of the
    /// challenge.
    pub(crate) async fn prove(&self, how: How) -> Result<Proof, Error> {
        let wallet_address = self.address(how)?;
        for round in 1..=ROUNDS_MAX {
            let challenge = request_challenge(self.api, &wallet_address, self.purpose).await?;
            let signature = self.sign(&challenge, how)?;
            let pow_nonce = match &challenge.work {
                None => None,
                Some(work) => match solve(work, how, self.owner, round).await? {
                    Some(solution) => Some(solution),
                    None => continue,
                },
            };
            return Ok(Proof { wallet_address, signature, nonce: challenge.nonce, pow_nonce });
        }
        Err(out_of_rounds())
    }

    fn address(&self, how: How) -> Result<String, Error> {
        let address = match self.chain {
            WalletChain::Evm => self.wallet.evm_address().map(|address| address.to_string()),
            WalletChain::Solana => self.wallet.solana_address(),
        };
        let address = address.ok_or_else(|| no_key(self.chain))?;
        Ok(if how.lower_case_address { address.to_ascii_lowercase() } else { address })
    }

    fn sign(&self, challenge: &WalletChallenge, how: How) -> Result<String, Error> {
        let host = self.api.base.host_str().unwrap_or_default();
        let rule = TextRule { nonce: Some(&challenge.nonce), api_host: host };
        let signed = match self.chain {
            WalletChain::Evm => self.wallet.sign_text(&challenge.message, &rule),
            WalletChain::Solana => self.wallet.sign_text_solana(&challenge.message, &rule),
        };
        let signature = signed.map_err(|error| match error {
            SignError::NoKey { .. } => no_key(self.chain),
            SignError::Refused(_) | SignError::Field(_) | SignError::Failed { .. } => {
                let message =
                    format!("Crochet's challenge was not signed: {error}; nothing was sent");
                Error::new(Code::SigningRefused, message).at(Marketplace::Crochet)
            }
        })?;
        let bytes =
            how.base64_signature.then(|| bs58::decode(&signature).into_vec().ok()).flatten();
        Ok(bytes.map_or(signature, |bytes| general_purpose::STANDARD.encode(bytes)))
    }
}

/// Solves a challenge's work; `None` where the time is over and a fresh one may be luckier.
///
/// # Errors
///
/// [`Code::ProofOfWorkFailed`] where it is beyond reach, [`Code::Cancelled`].
pub(crate) async fn solve(
    work: &Work,
    how: How,
    owner: &Owner,
    round: u32,
) -> Result<Option<String>, Error> {
    owner.tell(round, ROUNDS_MAX, "solving the proof of work, up to a minute").await;
    let swapped = if how.bits_rule { work.challenge.swapped() } else { None };
    let challenge = swapped.unwrap_or_else(|| work.challenge.clone());
    match solve_async(challenge, Budget::all_cores(work.time), &owner.cancelled).await {
        Ok(solution) => Ok(Some(solution.nonce)),
        Err(Unsolved::TimedOut { .. }) => Ok(None),
        Err(Unsolved::Cancelled) => {
            Err(Error::new(Code::Cancelled, "the proof of work was cancelled; nothing was sent"))
        }
        Err(error @ Unsolved::Infeasible { .. }) => Err(unsolved(&error.to_string())),
    }
}

/// All rounds are over.
pub(crate) fn out_of_rounds() -> Error {
    unsolved(&format!("{ROUNDS_MAX} proofs of work were not solved within their time"))
}

fn unsolved(message: &str) -> Error {
    Error::new(Code::ProofOfWorkFailed, message).at(Marketplace::Crochet)
}

fn no_key(chain: WalletChain) -> Error {
    let chain = chain.name();
    Error::new(Code::SigningRefused, format!("the wallet has no {chain} key; nothing was sent"))
        .recovery(|recovery| {
            let what = format!(
                "The owner adds a key: `haggle keys generate` or `haggle keys import` ({chain})."
            );
            recovery.set(NextAction::AskOwner, false, what);
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marketplaces::http::Refusal;

    fn refusal(code: &str) -> Error {
        Error::new(Code::UpstreamRejected, "refused")
            .upstream(Some(400), Some(code.to_owned()))
            .recovery(|recovery| recovery.hear(Refusal::default()))
    }

    #[test]
    fn each_other_way_is_tried_once() {
        use WalletChain::{Evm, Solana};
        #[rustfmt::skip]
        let rows = [
            // what it shows          refusal                  chain   first   second refusal
            ("an address",            "BAD_CHECKSUM",          Evm,    true,   Code::UpstreamRejected),
            ("work",                  "INVALID_PROOF_OF_WORK", Evm,    true,   Code::ProofOfWorkFailed),
            ("a Solana signature",    "INVALID_SIGNATURE",     Solana, true,   Code::UpstreamRejected),
            ("an EVM signature",      "INVALID_SIGNATURE",     Evm,    false,  Code::UpstreamRejected),
            ("a Solana address",      "BAD_ADDRESS",           Solana, false,  Code::UpstreamRejected),
            ("something else",        "CHALLENGE_EXPIRED",     Evm,    false,  Code::UpstreamRejected),
        ];
        for (row, code, chain, again, then) in rows {
            let mut how = How::default();
            assert_eq!(how.learn(refusal(code), chain).is_ok(), again, "{row}");
            assert_eq!(how != How::default(), again, "{row}");
            assert_eq!(how.learn(refusal(code), chain).unwrap_err().code, then, "{row}");
        }
    }
}
