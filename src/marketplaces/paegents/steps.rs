//! What can be done with an agreement now: by role and state. Source: protocols/paegents.md §6.1.
//! Advisory: the server decides, and its refusal is reported.

use serde_json::json;

use super::{
    agreements::{Agreement, Role},
    selling::{Delivery, Parcel},
    status::{has_failed, is_active, is_closing, is_given_up, is_proposed, is_settled},
};
use crate::{clock::rfc3339, marketplaces::lenient::instant, money::Usdc, recovery::NextCall};

/// How long a hinted wait stays.
const WAIT_SECONDS: u64 = 45;
/// What the published fee is at most above a deposit: 0.10 USD, or 2 % and 0.003 USD (§11); a hinted
/// maximum leaves room for it.
const FEE_LEAST: Usdc = Usdc::from_micros(100_000);

/// Whether there is something for this role to do, or nothing will ever change.
#[must_use]
pub fn is_ripe(agreement: &Agreement, role: Option<Role>) -> bool {
    let status = agreement.status.as_str();
    let buyer = status == "accepted" && agreement.activation_status != "submitting";
    let seller = is_proposed(status);
    is_given_up(status)
        || is_active(agreement)
        || is_closing(agreement)
        || is_settled(&agreement.settlement_status)
        || has_failed(&agreement.activation_status)
        || matches!(status, "completed" | "disputed")
        || match role {
            Some(Role::Buyer) => buyer,
            Some(Role::Seller) => seller,
            None => buyer || seller,
        }
}

/// The calls that make sense for an agreement now.
#[must_use]
pub fn of_agreement(agreement: &Agreement, role: Option<Role>) -> Vec<NextCall> {
    match role {
        Some(Role::Buyer) => as_buyer(agreement),
        Some(Role::Seller) => as_seller(agreement),
        None => Vec::new(),
    }
}

fn as_buyer(agreement: &Agreement) -> Vec<NextCall> {
    let id = &agreement.agreement_id;
    let own = json!({ "agreement_id": id });
    let until = deadline(&agreement.expires_at);
    if is_settled(&agreement.settlement_status) {
        let why = "takes what was not used, where it was not paid out by itself";
        return vec![NextCall::new("paegents_withdraw_remainder", own, why)];
    }
    if is_closing(agreement) {
        let until = deadline(&agreement.challenge_window_expires_at);
        let why = format!("takes what was not used, once the challenge window is over{until}");
        return vec![NextCall::new("paegents_withdraw_remainder", own, why)];
    }
    match agreement.status.as_str() {
        status if is_proposed(status) => vec![
            waits(agreement, format!("waits for the seller{until}; nothing is paid before")),
            NextCall::new("paegents_cancel_agreement", own, "takes it back; nothing was paid"),
        ],
        "accepted" if agreement.is_escrowed() && agreement.activation_status != "submitting" => {
            let pays = most(agreement).map(|most| {
                NextCall::new(
                    "paegents_activate_escrow",
                    json!({ "agreement_id": id, "max_total_usd": most }),
                    format!("pays the deposit and the platform's fee{until}; then it can be used"),
                )
            });
            pays.into_iter().collect()
        }
        "active" => vec![
            NextCall::new(
                "paegents_get_usage",
                own.clone(),
                "shows what is left; paegents_call_service calls it, by its own method and path",
            ),
            NextCall::new(
                "paegents_close_escrow",
                own,
                "ends it; what was not used comes back after the challenge window",
            ),
        ],
        status if is_given_up(status) => {
            vec![NextCall::new("market_search", json!({}), "looks for another seller")]
        }
        "completed" => Vec::new(),
        _ => vec![waits(agreement, "waits until something can be done".to_owned())],
    }
}

fn as_seller(agreement: &Agreement) -> Vec<NextCall> {
    let own = json!({ "agreement_id": agreement.agreement_id });
    let until = deadline(&agreement.expires_at);
    if is_settled(&agreement.settlement_status) || is_closing(agreement) {
        let why = "takes what was earned, where it was not paid out by itself";
        return vec![NextCall::new("paegents_claim_earnings", own, why)];
    }
    match agreement.status.as_str() {
        status if is_proposed(status) => vec![
            NextCall::new(
                "paegents_accept_agreement",
                own.clone(),
                format!("accepts it{until}; the buyer then pays the deposit"),
            ),
            NextCall::new(
                "paegents_reject_agreement",
                json!({ "agreement_id": agreement.agreement_id, "reason": "…" }),
                "rejects it; say in `reason` what would be accepted",
            ),
        ],
        "active" => {
            let claim = "takes what was earned so far";
            let close = "ends it, and starts the challenge window";
            let parcel = parcel(agreement);
            parcel
                .into_iter()
                .chain([
                    NextCall::new("paegents_claim_earnings", own.clone(), claim),
                    NextCall::new("paegents_close_escrow", own, close),
                ])
                .collect()
        }
        status if is_given_up(status) => Vec::new(),
        "completed" => parcel(agreement).into_iter().collect(),
        _ => vec![waits(agreement, "waits until something can be done".to_owned())],
    }
}

/// The update of a parcel's way that comes next, where goods were sold.
fn parcel(agreement: &Agreement) -> Option<NextCall> {
    agreement.metadata.get("shipping").filter(|shipping| shipping.is_object())?;
    let next = Parcel::named(Delivery::of(agreement).status())?.next().first()?;
    let update = json!({ "agreement_id": agreement.agreement_id, "status": next });
    Some(NextCall::new("paegents_update_delivery", update, format!("once it is {}", next.word())))
}

/// A maximum that covers the deposit and the published fee.
fn most(agreement: &Agreement) -> Option<Usdc> {
    let deposit = agreement.deposit().ok()?;
    let share = Usdc::from_micros(deposit.micros() / 50 + 3_000);
    deposit.checked_add(share.max(FEE_LEAST))
}

fn waits(agreement: &Agreement, why: String) -> NextCall {
    let about = json!({ "agreement_id": agreement.agreement_id, "wait_seconds": WAIT_SECONDS });
    NextCall::new("paegents_get_agreement", about, why)
}

/// ` until T`, where the deadline can be read.
fn deadline(text: &str) -> String {
    instant(text).map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default()
}
