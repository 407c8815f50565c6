//! The wallets of a profile. Source: protocols/crochet.md §5.4, §12.1.

use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Proof;
use crate::{
    ids::WalletId,
    marketplaces::{
        crochet::{Enveloped, history::Rows},
        http::{Effect, Operation},
    },
};

/// The wallets: `GET /me/wallets`.
#[derive(Debug, Serialize)]
pub struct ListWallets {}

impl Operation for ListWallets {
    const NAME: &'static str = "crochet.list_wallets";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Rows;

    fn path(&self) -> String {
        "/me/wallets".to_owned()
    }
}

/// One wallet: `GET /me/wallets/{id}`.
#[derive(Debug, Serialize)]
pub struct GetWallet<'a> {
    /// Which.
    #[serde(skip)]
    pub wallet_id: &'a WalletId,
}

impl Operation for GetWallet<'_> {
    const NAME: &'static str = "crochet.get_wallet";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        format!("/me/wallets/{}", self.wallet_id)
    }
}

/// Links a wallet, proved by itself and by one that is linked: `POST /me/wallets`.
#[derive(Debug, Serialize)]
pub struct LinkWallet<'a> {
    /// The new wallet, with its proof.
    #[serde(flatten)]
    pub proof: Proof,
    /// `evm` or `solana`.
    pub chain: &'a str,
    /// The wallet that is linked.
    pub existing_wallet_address: String,
    /// Its challenge's nonce.
    pub existing_nonce: String,
    /// Its signature.
    pub existing_signature: String,
    /// What the new one may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<&'a [String]>,
    /// Further members.
    #[serde(flatten)]
    pub extra: &'a Map<String, Value>,
}

impl Operation for LinkWallet<'_> {
    const NAME: &'static str = "crochet.link_wallet";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        "/me/wallets".to_owned()
    }
}

/// Changes a wallet, proved by one that is linked: `PATCH /me/wallets/{id}`.
#[derive(Debug, Serialize)]
pub struct UpdateWallet<'a> {
    /// Which.
    pub wallet_id: &'a WalletId,
    /// The wallet that proves it.
    #[serde(flatten)]
    pub proof: Proof,
    /// What it may do from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<&'a [String]>,
    /// `active` or `inactive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// Whether it is the one that is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Further members.
    #[serde(flatten)]
    pub extra: &'a Map<String, Value>,
}

impl Operation for UpdateWallet<'_> {
    const NAME: &'static str = "crochet.update_wallet";
    const METHOD: Method = Method::PATCH;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        format!("/me/wallets/{}", self.wallet_id)
    }
}

/// The same by the other route that is documented: `PATCH /me/wallets`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct UpdateWalletOfMine<'a>(pub UpdateWallet<'a>);

impl Operation for UpdateWalletOfMine<'_> {
    const NAME: &'static str = "crochet.update_wallet";
    const METHOD: Method = Method::PATCH;
    const EFFECT: Effect = Effect::Write;
    type Output = Enveloped<Map<String, Value>>;

    fn path(&self) -> String {
        "/me/wallets".to_owned()
    }
}
