//! What differs between the rails in words and calls: which tool pays, how it is called again, what
//! the owner is told of it.
//!
//! A purchase of Paegents keeps what its tool was called with in its body, under `arguments`, and
//! what is bought in our words under `described`: so both are bound by the approval.

use serde_json::{Value, json};

use crate::{
    journal::{Purchase, Rail},
    money::Usdc,
    recovery::NextCall,
};

/// The route of an older payment of Paegents from agent to agent.
pub const TO_AGENT: &str = "a2a";

/// The tool that goes on with a purchase.
#[must_use]
pub fn resume_tool(purchase: &Purchase) -> &'static str {
    match purchase.rail {
        Rail::CrooOrder => "croo_pay_order",
        Rail::CrochetGateway => "crochet_resume_call",
        Rail::PaegentsEscrow => "paegents_activate_escrow",
        Rail::PaegentsMandate => "paegents_pay_mandate",
        Rail::PaegentsSupplier => "paegents_pay_supplier",
        Rail::PaegentsDirect => "paegents_buy_direct",
        Rail::PaegentsLegacy if purchase.route == TO_AGENT => "paegents_create_a2a_payment",
        Rail::PaegentsLegacy => "paegents_create_payment",
    }
}

/// The arguments with which that tool goes on with a purchase.
pub(super) fn resume_arguments(purchase: &Purchase) -> Value {
    match purchase.rail {
        Rail::CrooOrder => {
            json!({ "order_id": purchase.item_id, "max_total_usd": purchase.max_total })
        }
        Rail::CrochetGateway => json!({ "purchase_id": purchase.id }),
        Rail::PaegentsEscrow | Rail::PaegentsMandate => own_arguments(purchase, purchase.max_total),
        // The same arguments may be meant as another purchase, so this one is named.
        Rail::PaegentsSupplier | Rail::PaegentsDirect | Rail::PaegentsLegacy => {
            let mut arguments = own_arguments(purchase, purchase.max_total);
            if let Some(members) = arguments.as_object_mut() {
                members.insert("purchase_id".to_owned(), json!(purchase.id));
            }
            arguments
        }
    }
}

impl Rail {
    /// The words for what is bought, before its name.
    const fn article(self) -> &'static str {
        match self {
            Self::CrooOrder => "the order",
            Self::CrochetGateway => "one call of",
            Self::PaegentsEscrow
            | Self::PaegentsMandate
            | Self::PaegentsSupplier
            | Self::PaegentsDirect
            | Self::PaegentsLegacy => "",
        }
    }
}

/// The call that the purchase came from, as a new purchase.
pub(super) fn call_again(purchase: &Purchase, most: Usdc, why: impl Into<String>) -> NextCall {
    match purchase.rail {
        Rail::CrooOrder => {
            let order = json!({ "order_id": purchase.item_id, "max_total_usd": most });
            NextCall::new("croo_pay_order", order, why)
        }
        Rail::CrochetGateway => {
            let body: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
            let call =
                json!({ "listing_id": purchase.item_id, "body": body, "max_total_usd": most });
            NextCall::new("crochet_call_listing", call, why)
        }
        _ => NextCall::new(resume_tool(purchase), own_arguments(purchase, most), why),
    }
}

/// What is bought, for the owner: in our words and figures alone.
#[must_use]
pub fn described(purchase: &Purchase) -> String {
    let body: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
    if let Some(words) = member(purchase, &body, "described").and_then(Value::as_str) {
        return words.to_owned();
    }
    let digest = purchase.body_digest.get(..12).unwrap_or_default();
    format!("{} {} with the input {digest}…", purchase.rail.article(), purchase.item_id)
}

/// The arguments that the purchase's tool was called with, and the most that may be paid.
fn own_arguments(purchase: &Purchase, most: Usdc) -> Value {
    let body: Value = serde_json::from_slice(&purchase.body).unwrap_or_default();
    let mut arguments = member(purchase, &body, "arguments").cloned().unwrap_or_default();
    if let Some(members) = arguments.as_object_mut() {
        members.insert("max_total_usd".to_owned(), json!(most));
    }
    arguments
}

/// A member of the body that this program wrote: a buyer's own body may have any member.
fn member<'a>(purchase: &Purchase, body: &'a Value, name: &str) -> Option<&'a Value> {
    match purchase.rail {
        Rail::CrooOrder | Rail::CrochetGateway => None,
        _ => body.get(name),
    }
}
