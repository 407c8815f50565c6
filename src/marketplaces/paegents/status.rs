//! What the words of an agreement's states mean. Source: protocols/paegents.md §6.1, §6.6, §14.6:
//! the vocabularies are open, so a word that is not known is in flight.

use super::agreements::Agreement;

/// Whether the seller has still to say yes.
#[must_use]
pub fn is_proposed(status: &str) -> bool {
    matches!(status, "proposed" | "pending")
}

/// Whether nothing more will come of it, and nothing was paid into it.
#[must_use]
pub fn is_given_up(status: &str) -> bool {
    matches!(status, "rejected" | "cancelled" | "canceled" | "expired")
}

/// Whether the seller's service can be called.
#[must_use]
pub fn is_active(agreement: &Agreement) -> bool {
    agreement.status == "active"
}

/// Whether the escrow was funded at some time.
#[must_use]
pub fn is_funded(agreement: &Agreement) -> bool {
    is_active(agreement)
        || agreement.activation_status == "confirmed"
        || is_closing(agreement)
        || is_settled(&agreement.settlement_status)
        || agreement.status == "completed"
}

/// Whether the escrow's activation came to nothing.
#[must_use]
pub fn has_failed(activation_status: &str) -> bool {
    activation_status.contains("fail")
}

/// Whether the challenge window runs.
#[must_use]
pub fn is_closing(agreement: &Agreement) -> bool {
    matches!(agreement.settlement_status.as_str(), "closing" | "close_initiated" | "challenge")
}

/// Whether the window is over: both words are used for it (§6.9).
#[must_use]
pub fn is_settled(settlement_status: &str) -> bool {
    matches!(settlement_status, "finalized" | "settled")
}
