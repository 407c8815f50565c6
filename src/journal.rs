//! The journal: every purchase, written down before anything is sent for it.
//!
//! Invariants, each with a test of its own:
//!
//! 1. A state follows only from the states that [`State::may_become`] names; `settled` and `failed`
//!    are final.
//! 2. One principal has at most one unfinished purchase of one natural key.
//! 3. What is reserved, sent, unknown or settled counts against the day until it has failed.
//! 4. Every change of state is an event, in the same transaction.

pub mod draws;
pub mod history;
mod rows;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use rows::{
    EventLine, Filter, active_on_account, begun_by, events_of, export, find, hear, list,
    open_by_key, open_ids, paid_on_account, plan, present, recent_by_key, record, spent_by,
    spent_since,
};

use crate::{error::MoneyMoved, ids::PurchaseId, marketplaces::Marketplace, money::Usdc};

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[schemars(inline)]
        pub enum $name { $($(#[doc = $vdoc])+ $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in the store and in results.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The one of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == name)
            }
        }
    };
}

pub mod actions;

words! {
    /// Where a purchase's payment stands.
    State {
        /// Written down.
        Planned = "planned",
        /// The owner was asked, or has to be.
        AwaitingApproval = "awaiting_approval",
        /// It may be paid.
        Approved = "approved",
        /// The instrument is fixed and the budget taken; nothing was sent.
        Reserved = "reserved",
        /// On disk as about to be sent, perhaps sent.
        Submitted = "submitted",
        /// Someone with another wallet has to pay it.
        AwaitingExternal = "awaiting_external",
        /// It may have been paid.
        Unknown = "unknown",
        /// Paid.
        Settled = "settled",
        /// Not paid, and never will be.
        Failed = "failed",
    }
}

words! {
    /// Where the delivery of a paid purchase stands.
    Delivery {
        /// Nothing can be delivered yet.
        None = "none",
        /// Paid for and not delivered yet.
        Pending = "pending",
        /// The answer is in the journal.
        Delivered = "delivered",
        /// The seller failed for good.
        Failed = "failed",
    }
}

words! {
    /// How a purchase is paid: which [`crate::spend::Payment`] makes it.
    Rail {
        /// An order at CROO.
        CrooOrder = "croo_order",
        /// A call through Crochet's gateway.
        CrochetGateway = "crochet_gateway",
        /// The escrow of a usage agreement at Paegents.
        PaegentsEscrow = "paegents_escrow",
        /// A cart under an AP2 mandate at Paegents.
        PaegentsMandate = "paegents_mandate",
        /// A payment to a supplier of Paegents.
        PaegentsSupplier = "paegents_supplier",
        /// A one-off stablecoin purchase at Paegents, without an escrow.
        PaegentsDirect = "paegents_direct",
        /// A payment at Paegents that has neither a key nor a look-up.
        PaegentsLegacy = "paegents_legacy",
    }
}

impl Rail {
    /// Whether what it pays for can be paid once, by whomever: an order, an escrow, a cart.
    #[must_use]
    pub const fn is_once(self) -> bool {
        match self {
            Self::CrooOrder | Self::PaegentsEscrow | Self::PaegentsMandate => true,
            Self::CrochetGateway
            | Self::PaegentsSupplier
            | Self::PaegentsDirect
            | Self::PaegentsLegacy => false,
        }
    }
}

impl State {
    /// Whether `next` may follow.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Planned => {
                matches!(next, Self::AwaitingApproval | Self::Approved | Self::Failed)
            }
            Self::AwaitingApproval => matches!(next, Self::Approved | Self::Failed),
            // Back to asking, where the approval was used up or is over.
            Self::Approved => matches!(
                next,
                Self::AwaitingApproval
                    | Self::Reserved
                    | Self::AwaitingExternal
                    | Self::Settled
                    | Self::Failed
            ),
            Self::Reserved => matches!(next, Self::Submitted | Self::Failed),
            Self::Submitted => matches!(next, Self::Settled | Self::Failed | Self::Unknown),
            Self::AwaitingExternal => matches!(next, Self::Settled | Self::Failed | Self::Unknown),
            // The same instrument may be sent again, and another where it is dead.
            Self::Unknown => matches!(next, Self::Submitted | Self::Settled | Self::Failed),
            Self::Settled | Self::Failed => false,
        }
    }

    /// Whether money moved in this state.
    #[must_use]
    pub const fn money_moved(self) -> MoneyMoved {
        match self {
            Self::Planned
            | Self::AwaitingApproval
            | Self::Approved
            | Self::Reserved
            | Self::Failed => MoneyMoved::No,
            // The owner may have paid by now.
            Self::Submitted | Self::AwaitingExternal | Self::Unknown => MoneyMoved::Maybe,
            Self::Settled => MoneyMoved::Yes,
        }
    }
}

/// What goes straight to an address that the seller chose, beside the price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fund {
    /// How much.
    pub amount: Usdc,
    /// Where to.
    pub payee: String,
}

/// One purchase.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Its identifier.
    pub id: PurchaseId,
    /// Who asked for it: `local` over stdio.
    pub principal: String,
    /// Where.
    pub marketplace: Marketplace,
    /// How it is paid.
    pub rail: Rail,
    /// What makes two requests the same purchase.
    pub natural_key: String,
    /// The marketplace's name for the payment, as its ledger has it.
    pub reference: Option<String>,
    /// Who is paid, as the marketplace identifies them.
    pub seller_id: String,
    /// Their name, cleaned.
    pub seller_name: String,
    /// What is bought.
    pub item_id: String,
    /// Its name, cleaned.
    pub item_name: String,
    /// The request's body, byte for byte.
    pub body: Vec<u8>,
    /// Its SHA-256, hex.
    pub body_digest: String,
    /// The key that goes to the marketplace.
    pub idempotency_key: String,
    /// The payment route that the marketplace is asked for; empty for its own choice.
    pub route: String,
    /// The API's root that it is made at.
    pub origin: String,
    /// What is paid in, such as `USDC`.
    pub asset: String,
    /// The chain it is paid on.
    pub chain_id: u64,
    /// The most that may be paid, fees included.
    pub max_total: Usdc,
    /// What it was listed for.
    pub price: Usdc,
    /// What is paid, once that is fixed.
    pub amount: Option<Usdc>,
    /// Where the payment stands.
    pub state: State,
    /// Where the delivery stands.
    pub delivery: Delivery,
    /// What the payment is made from, but no signature.
    pub instrument: Option<Value>,
    /// The account that pays.
    pub account: Option<String>,
    /// Its nonce for this payment.
    pub account_nonce: Option<u64>,
    /// What was bought, as it came.
    pub answer: Option<Vec<u8>>,
    /// The HTTP status it came with.
    pub answer_status: Option<u16>,
    /// Why it failed: a code and a sentence.
    pub failure: Option<String>,
    /// When it was planned, in Unix seconds.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// When its budget was taken.
    pub reserved_at: Option<i64>,
    /// When nothing was left to do.
    pub finished_at: Option<i64>,
    /// What goes straight to an address that the seller chose; within [`Self::max_total`].
    pub fund: Option<Fund>,
}

impl Purchase {
    /// Whether money moved. An answer that was free moved none.
    #[must_use]
    pub fn money_moved(&self) -> MoneyMoved {
        if self.state == State::Settled && self.amount == Some(Usdc::ZERO) {
            return MoneyMoved::No;
        }
        self.state.money_moved()
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Failed
            || (self.state == State::Settled
                && matches!(self.delivery, Delivery::Delivered | Delivery::Failed))
    }

    /// What policy and approval bind, as a digest: the owner's yes holds for this and nothing else.
    #[must_use]
    pub fn envelope(&self) -> String {
        use sha2::{Digest, Sha256};
        let bound = serde_json::json!([
            self.id,
            self.principal,
            self.marketplace,
            self.rail.name(),
            self.seller_id,
            self.item_id,
            self.body_digest,
            self.asset,
            self.chain_id,
            self.max_total,
            self.origin,
            self.fund.as_ref().map(|fund| (fund.amount, &fund.payee)),
        ]);
        hex::encode(Sha256::digest(bound.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_stay_and_nothing_is_sent_that_was_not_reserved() {
        for next in State::ALL {
            assert!(!State::Settled.may_become(*next));
            assert!(!State::Failed.may_become(*next));
        }
        for state in State::ALL {
            let sends = state.may_become(State::Submitted);
            assert_eq!(sends, matches!(state, State::Reserved | State::Unknown), "{state:?}");
        }
    }
}
