//! How far an agreement is used up, and what became of its last call.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::close_call;
use crate::{
    app::App,
    clock::rfc3339,
    error::Error,
    ids::AgreementId,
    journal::draws::{Draw, DrawState},
    marketplaces::paegents::metered::Usage,
    money::Usdc,
    recovery::NextCall,
    spend::draws,
    text::{NAME_CHARS_MAX, clean},
    tools::{Reply, paegents::shown::said},
};

/// What is used and what is left.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UsageView {
    /// Of which agreement.
    pub agreement_id: String,
    /// The agreement's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The escrow's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow_status: Option<String>,
    /// What one unit is.
    pub unit_untrusted: String,
    /// Of one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_usd: Option<Usdc>,
    /// How many there are.
    pub units_total: u64,
    /// How many were used.
    pub units_used: u64,
    /// What is left.
    #[serde(flatten)]
    pub figures: Figures,
    /// The last call from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_call: Option<LastCallView>,
}

/// What is spent of the deposit, and what is left.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Figures {
    /// Units left.
    pub units_left: u64,
    /// What the units used so far cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_usd: Option<Usdc>,
    /// What is left of the deposit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_usd: Option<Usdc>,
}

impl From<&Usage> for Figures {
    fn from(usage: &Usage) -> Self {
        Self {
            units_left: usage.left(),
            spent_usd: usage.worth(usage.units_used),
            left_usd: usage.worth(usage.left()),
        }
    }
}

/// A call from here.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LastCallView {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// `under_way`; `unknown`: nobody knows yet whether it drew; `answered`; `answer_lost`: it drew;
    /// `nothing_drawn`.
    pub outcome: &'static str,
    /// What it drew, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units_drawn: Option<u64>,
    /// From when on it is certain whether it drew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certain_at: Option<String>,
    /// When.
    pub at: String,
}

impl From<&Draw> for LastCallView {
    fn from(draw: &Draw) -> Self {
        let is_lost = draw.state == DrawState::Lost;
        Self {
            method: draw.method.clone(),
            path: format!("/{}", draw.path),
            outcome: match draw.state {
                DrawState::Sent => "under_way",
                DrawState::Lost => "unknown",
                DrawState::Answered | DrawState::Done => "answered",
                DrawState::Undelivered => "answer_lost",
                DrawState::Void => "nothing_drawn",
            },
            units_drawn: draw.units,
            certain_at: is_lost.then(|| rfc3339(draws::certain_at(draw))),
            at: rfc3339(draw.at),
        }
    }
}

/// Reads how far an agreement is used up.
///
/// # Errors
///
/// Where it cannot be read.
pub(super) async fn read(app: &App, id: &AgreementId) -> Result<Reply<UsageView>, Error> {
    // Whether a lost call is past its horizon is told by the sandbox's clock, where there is one.
    app.refresh_clock().await?;
    let (usage, last) = draws::usage(app, id).await?;
    let next = next(&usage, last.as_ref());
    let view = UsageView {
        agreement_id: id.to_string(),
        status: said(&usage.status),
        escrow_status: said(&usage.escrow_status),
        unit_untrusted: clean(&usage.unit, NAME_CHARS_MAX),
        unit_price_usd: usage.worth(1),
        units_total: usage.units_total,
        units_used: usage.units_used,
        figures: Figures::from(&usage),
        last_call: last.as_ref().map(LastCallView::from),
    };
    Ok(Reply { view, next })
}

fn next(usage: &Usage, last: Option<&Draw>) -> Vec<NextCall> {
    let id = &usage.agreement_id;
    let again = |why: &str| NextCall::new("paegents_get_usage", json!({ "agreement_id": id }), why);
    let mut calls = Vec::new();
    if let Some(last) = last {
        match last.state {
            DrawState::Lost => {
                let at = rfc3339(draws::certain_at(last));
                return vec![again(&format!("tells for certain from {at} on"))];
            }
            DrawState::Sent => return vec![again("tells once the call is over")],
            DrawState::Void => {
                calls.push(draws::call_of(last, false, "makes the call that drew nothing"));
            }
            // Calling once more draws once more: that is nobody's to hint.
            DrawState::Undelivered => return calls,
            DrawState::Answered | DrawState::Done => {}
        }
    }
    if usage.status == "active" {
        calls.push(close_call(id));
    } else {
        let why = "shows where it stands and what can be done";
        calls.push(NextCall::new("paegents_get_agreement", json!({ "agreement_id": id }), why));
    }
    calls
}
