//! What can be done with a negotiation or an order now: by role and status. Source:
//! protocols/croo.md §6. Advisory: the server decides, and its refusal is reported.

use serde_json::json;

use super::{Role, instant, negotiations::Negotiation, orders::Order};
use crate::{clock::rfc3339, ids::OrderId, money::Usdc, recovery::NextCall};

/// How long a hinted wait stays.
const WAIT_SECONDS: u64 = 45;

/// Whether an order's status is its last one.
#[must_use]
pub fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "rejected" | "expired" | "create_failed")
}

/// Whether its price has been locked in escrow at some time, and not given back since.
#[must_use]
pub fn is_paid(status: &str) -> bool {
    matches!(status, "paid" | "delivering" | "evaluating" | "completed" | "deliver_failed")
}

/// Whether there is something for this role to do, or nothing will ever change. A status that is
/// not known is in flight. Without a role, whether either can do something.
#[must_use]
pub fn is_ripe(status: &str, role: Option<Role>) -> bool {
    let buyer = matches!(status, "created" | "pay_failed");
    let provider = matches!(status, "paid" | "deliver_failed");
    is_final(status)
        || match role {
            Some(Role::Buyer) => buyer,
            Some(Role::Provider) => provider,
            None => buyer || provider,
        }
}

/// The calls that make sense for an order now; `total` is what paying it costs.
#[must_use]
pub fn of_order(order: &Order, role: Option<Role>, total: Option<Usdc>) -> Vec<NextCall> {
    match role {
        Some(Role::Buyer) => as_buyer(order, total),
        Some(Role::Provider) => as_provider(order),
        None => {
            let mut calls = as_buyer(order, total);
            calls.extend(as_provider(order));
            calls
        }
    }
}

fn as_buyer(order: &Order, total: Option<Usdc>) -> Vec<NextCall> {
    let id = &order.order_id;
    match order.status.as_str() {
        "created" | "pay_failed" => {
            let until = deadline(&order.pay_deadline);
            let why = format!("pays it{until}; else it expires, and nothing is paid");
            let pay = total.map(|total| {
                NextCall::new(
                    "croo_pay_order",
                    json!({ "order_id": id, "max_total_usd": total }),
                    why,
                )
            });
            pay.into_iter().chain([reject(id, "gives it up; nothing was paid")]).collect()
        }
        "paid" | "delivering" | "evaluating" => {
            let until = deadline(&order.sla_deadline);
            let why = format!("waits for the delivery{until}; else the escrow is refunded");
            vec![waits("croo_get_delivery", id, why)]
        }
        "completed" => vec![NextCall::new(
            "croo_get_delivery",
            json!({ "order_id": id }),
            "gives what was delivered",
        )],
        // The journal learns of a refund by being asked about it.
        "rejecting" if !order.paid_at.is_empty() => {
            vec![waits("croo_get_delivery", id, "waits until the escrow is given back")]
        }
        status if is_final(status) => {
            let refund = NextCall::new(
                "croo_get_delivery",
                json!({ "order_id": id }),
                "says what became of the money",
            );
            let other = NextCall::new("market_search", json!({}), "looks for another seller");
            Some(refund).filter(|_| !order.paid_at.is_empty()).into_iter().chain([other]).collect()
        }
        _ => vec![waits("croo_get_order", id, "waits until something can be done")],
    }
}

fn as_provider(order: &Order) -> Vec<NextCall> {
    let id = &order.order_id;
    match order.status.as_str() {
        "created" | "pay_failed" => {
            let until = deadline(&order.pay_deadline);
            let why = format!("waits for the buyer's payment{until}; deliver nothing before it");
            vec![waits("croo_get_order", id, why), reject(id, "gives it up; nothing was paid")]
        }
        "paid" | "deliver_failed" => {
            let until = deadline(&order.sla_deadline);
            let why =
                format!("delivers; put your result in `result`{until}; else the buyer is refunded");
            let deliver =
                NextCall::new("croo_deliver_order", json!({ "order_id": id, "result": "…" }), why);
            vec![deliver, reject(id, "gives the money back; use it where you cannot deliver")]
        }
        status if is_final(status) => {
            vec![NextCall::new(
                "croo_list_negotiations",
                json!({ "role": "provider", "status": "pending" }),
                "shows what else is asked of you",
            )]
        }
        _ => vec![waits("croo_get_order", id, "waits until something can be done")],
    }
}

/// The calls that make sense for a negotiation now.
#[must_use]
pub fn of_negotiation(negotiation: &Negotiation, role: Option<Role>) -> Vec<NextCall> {
    let id = &negotiation.negotiation_id;
    let until = deadline(&negotiation.expires_at);
    match (negotiation.status.as_str(), role) {
        ("pending", Some(Role::Provider)) => vec![
            NextCall::new(
                "croo_accept_negotiation",
                json!({ "negotiation_id": id }),
                format!("accepts it{until}; else it expires"),
            ),
            NextCall::new(
                "croo_reject_negotiation",
                json!({ "negotiation_id": id, "reason": "…" }),
                "rejects it; say in `reason` what would be accepted",
            ),
        ],
        ("rejected" | "expired", Some(Role::Provider)) => Vec::new(),
        ("rejected" | "expired", _) => {
            let other = NextCall::new("market_search", json!({}), "looks for another seller");
            let wants = negotiation.service_id.as_ref().map(|service_id| {
                let why =
                    "shows what this one wants; ask again, differently, if its reason says how";
                NextCall::new("croo_get_service", json!({ "service_id": service_id }), why)
            });
            [other].into_iter().chain(wants).collect()
        }
        _ => vec![NextCall::new(
            "croo_get_order",
            json!({ "negotiation_id": id, "wait_seconds": WAIT_SECONDS }),
            format!("waits for the order that comes of it{until}"),
        )],
    }
}

fn waits(tool: &'static str, id: &OrderId, why: impl Into<String>) -> NextCall {
    NextCall::new(tool, json!({ "order_id": id, "wait_seconds": WAIT_SECONDS }), why)
}

fn reject(id: &OrderId, why: &str) -> NextCall {
    NextCall::new("croo_reject_order", json!({ "order_id": id, "reason": "…" }), why)
}

/// ` until T`, where the deadline can be read.
fn deadline(text: &str) -> String {
    instant(text).map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default()
}
