//! Purchases for other programs. Names are the marketplace's texts and are labelled as such.

use serde_json::{Value, json};

use crate::{
    clock::rfc3339,
    journal::{Purchase, draws::Draw},
};

/// The columns of the table, by the members of [`row`].
const COLUMNS: [&str; 19] = [
    "purchase_id",
    "created_at",
    "finished_at",
    "marketplace",
    "reference",
    "state",
    "delivery",
    "money_moved",
    "amount_usd",
    "max_total_usd",
    "asset",
    "chain_id",
    "fund_usd",
    "fund_payee",
    "seller_id",
    "seller_name_untrusted",
    "item_id",
    "item_name_untrusted",
    "failure",
];

/// A purchase as an object. `reference` is the marketplace's own name for the payment.
#[must_use]
pub(super) fn row(purchase: &Purchase) -> Value {
    json!({
        "purchase_id": purchase.id,
        "created_at": rfc3339(purchase.created_at),
        "finished_at": purchase.finished_at.map(rfc3339),
        "marketplace": purchase.marketplace,
        "reference": purchase.reference,
        "state": purchase.state,
        "delivery": purchase.delivery,
        "money_moved": purchase.money_moved(),
        "amount_usd": purchase.amount,
        "max_total_usd": purchase.max_total,
        "listed_usd": purchase.price,
        "asset": purchase.asset,
        "chain_id": purchase.chain_id,
        "fund_usd": purchase.fund.as_ref().map(|fund| fund.amount),
        "fund_payee": purchase.fund.as_ref().map(|fund| &fund.payee),
        "seller_id": purchase.seller_id,
        "seller_name_untrusted": purchase.seller_name,
        "item_id": purchase.item_id,
        "item_name_untrusted": purchase.item_name,
        "failure": purchase.failure,
    })
}

/// A draw on an escrow as an object: a metered call, and the units that it used. `draw_id` is its
/// name in the marketplace's ledger.
#[must_use]
pub(super) fn draw(draw: &Draw) -> Value {
    json!({
        "draw_id": draw.id,
        "agreement_id": draw.agreement_id,
        "at": rfc3339(draw.at),
        "ended_at": draw.ended_at.map(rfc3339),
        "method": draw.method,
        "path": draw.path,
        "state": draw.state.name(),
        "units": draw.units,
        "http_status": draw.status,
    })
}

/// Purchases as a table with a heading.
#[must_use]
pub(super) fn csv(purchases: &[Purchase]) -> String {
    let mut text = COLUMNS.join(",");
    text.push('\n');
    for purchase in purchases {
        let row = row(purchase);
        let cells: Vec<_> = COLUMNS.iter().map(|name| cell(row.get(*name))).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A cell. Text that a spreadsheet would take for a formula is made plain by a quote before it.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_it_holds() {
        #[rustfmt::skip]
        let rows = [
            // what it shows   value                   cell
            ("plain",          json!("a"),             "a"),
            ("a number",       json!(8453),            "8453"),
            ("nothing",        Value::Null,            ""),
            ("a comma",        json!("a,b"),           "\"a,b\""),
            ("a quote",        json!("a\"b"),          "\"a\"\"b\""),
            ("a line end",     json!("a\nb"),          "\"a\nb\""),
            ("a formula",      json!("=1+1"),          "'=1+1"),
            ("and a comma",    json!("@a,b"),          "\"'@a,b\""),
        ];
        for (row, value, expected) in rows {
            assert_eq!(cell(Some(&value)), expected, "{row}");
        }
    }
}
