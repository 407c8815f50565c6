//! The one error that tools return: what happened, whether money moved, and what to do next.
//!
//! Its JSON is public contract (DESIGN §5). A code is never renamed or reused.

use rmcp::{
    ErrorData,
    handler::server::tool::IntoCallToolResult,
    model::{CallToolResponse, CallToolResult, ContentBlock},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ids::PurchaseId,
    marketplaces::Marketplace,
    recovery::{NextAction, NextCall, Recovery},
};

/// Whether money moved, as far as is known. `No` is never wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MoneyMoved {
    /// Nothing was paid, and nothing can still be paid by what was done.
    No,
    /// Paid.
    Yes,
    /// Not known yet: ask, never pay again.
    Maybe,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $money:ident, $action:ident;)+) => {
        /// Why a call failed, for programs. A closed set: every code has a meaning, a default for
        /// [`MoneyMoved`] and a [`NextAction`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of the error page.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }

            /// Whether money moved, unless the failure says otherwise.
            #[must_use]
            pub const fn money_moved(self) -> MoneyMoved {
                match self { $(Self::$variant => MoneyMoved::$money,)+ }
            }

            /// What the caller does about it, unless the failure says otherwise.
            #[must_use]
            pub const fn next_action(self) -> NextAction {
                match self { $(Self::$variant => NextAction::$action,)+ }
            }
        }
    };
}

codes! {
    /// An argument cannot be used; `field` names it and `example` is one that can.
    InvalidArgument = "invalid_argument", No, FixArguments;
    /// There is no such thing, or it is not yours.
    NotFound = "not_found", No, ChooseOther;
    /// The marketplace does not let this account do it.
    NotAllowed = "not_allowed", No, Stop;
    /// There is no account, or no key, for this marketplace yet.
    NotRegistered = "not_registered", No, Register;
    /// The marketplace does not accept the credential.
    Unauthorized = "unauthorized", No, Register;
    /// It exists, but not in a state in which this can be done.
    WrongState = "wrong_state", No, Check;
    /// It collides with something that exists or is under way.
    Conflict = "conflict", No, Check;
    /// Too many requests; wait as long as `retry_after_seconds` says.
    RateLimited = "rate_limited", No, Wait;
    /// What it rested on is over: a quote, a challenge, an approval.
    Expired = "expired", No, Retry;
    /// The marketplace understood the request and refused it.
    UpstreamRejected = "upstream_rejected", No, FixArguments;
    /// The marketplace cannot be reached, or failed, before anything was carried out.
    UpstreamUnavailable = "upstream_unavailable", No, Retry;
    /// The marketplace's answer cannot be read.
    UpstreamMalformed = "upstream_malformed", No, Retry;
    /// The marketplace's answer is larger than is read.
    UpstreamTooLarge = "upstream_too_large", No, ChooseOther;
    /// The marketplace points to a place that is not allowed: a redirect or a foreign host.
    EgressBlocked = "egress_blocked", No, Stop;
    /// The connection cannot be made secure; nothing was sent.
    TlsFailed = "tls_failed", No, AskOwner;
    /// A link that a file is fetched or stored by is over; the same call gets a new one.
    LinkExpired = "link_expired", No, Retry;
    /// The wallet has too little of what is to be paid, or of the coin for the network's fee.
    InsufficientFunds = "insufficient_funds", No, TopUp;
    /// The chain's node does not answer; a balance is unknown, not zero.
    ChainUnavailable = "chain_unavailable", No, Retry;
    /// The node, or what is to be paid, is on another chain than the one in use.
    ChainMismatch = "chain_mismatch", No, Stop;
    /// What is to be paid differs from what was agreed; `field` names the first difference.
    TermsMismatch = "terms_mismatch", No, Stop;
    /// It costs more than it was listed for, and more than `max_total_usd` allows.
    PriceChanged = "price_changed", No, FixArguments;
    /// Its listed price is above `max_total_usd`.
    AboveMaxTotal = "above_max_total", No, FixArguments;
    /// The receiver of the money is none that is allowed.
    PayeeNotAllowed = "payee_not_allowed", No, Stop;
    /// The owner's spending policy forbids it.
    PolicyDenied = "policy_denied", No, AskOwner;
    /// The owner has to agree first; the message has the command.
    ApprovalRequired = "approval_required", No, AskOwner;
    /// The owner said no.
    ApprovalDenied = "approval_denied", No, Stop;
    /// What the marketplace wants signed is not what is signed here.
    SigningRefused = "signing_refused", No, Stop;
    /// The same was bought a moment ago; `purchase_id` names that purchase.
    PossibleDuplicate = "possible_duplicate", No, Check;
    /// The payment is on its way; wait, do not pay again.
    PaymentPending = "payment_pending", Maybe, Wait;
    /// It is not known whether the payment was made; ask with `market_check_purchase`.
    PaymentUnknown = "payment_unknown", Maybe, Check;
    /// It was paid, and the seller has not delivered; the money cannot be called back.
    PaidNotDelivered = "paid_not_delivered", Yes, Check;
    /// Someone with another wallet has to pay it; the error says what.
    AwaitingExternalPayment = "awaiting_external_payment", No, AskOwner;
    /// The proof of work was not found in time, or is out of reach.
    ProofOfWorkFailed = "proof_of_work_failed", No, Retry;
    /// The stream of events is down; what is read from the marketplace itself is right.
    EventsDegraded = "events_degraded", No, Check;
    /// Someone else uses this wallet or this key: payments are frozen until the owner confirms.
    InstanceConflict = "instance_conflict", No, AskOwner;
    /// The journal cannot be written or read, so nothing that matters is sent.
    StoreUnavailable = "store_unavailable", No, AskOwner;
    /// The journal is older than it was: an old copy was put back. Payments are frozen.
    StoreStale = "store_stale", No, AskOwner;
    /// This machine's clock and the marketplace's differ too much to pay safely.
    ClockUntrusted = "clock_untrusted", No, AskOwner;
    /// The owner has stopped all spending.
    Frozen = "frozen", No, AskOwner;
    /// The call was cancelled, or its time was over, before anything was sent.
    Cancelled = "cancelled", No, Retry;
    /// A fault in this program.
    Internal = "internal", No, Stop;
}

/// Why a tool call failed, with everything its reader needs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Facts>);

impl std::ops::Deref for Error {
    type Target = Facts;
    fn deref(&self) -> &Facts {
        &self.0
    }
}

/// What an [`Error`] holds.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Why.
    pub code: Code,
    /// One sentence that names the thing and the number. Ours; holds no secret and no raw body.
    pub message: String,
    /// Where it happened, if at a marketplace.
    pub marketplace: Option<Marketplace>,
    /// The HTTP status that the marketplace answered with.
    pub http_status: Option<u16>,
    /// The marketplace's own code, cleaned.
    pub upstream_code: Option<String>,
    /// Whether money moved.
    pub money_moved: MoneyMoved,
    /// The purchase that it is about.
    pub purchase_id: Option<PurchaseId>,
    /// Whether this exact call again is harmless.
    pub repeat_safe: bool,
    /// The argument, or the member of an answer, that is wrong.
    pub field: Option<String>,
    /// A value of `field` that would do.
    pub example: Option<String>,
    /// What is to be paid from elsewhere, for [`Code::AwaitingExternalPayment`].
    pub payment: Option<Value>,
    /// What to do next.
    pub recovery: Recovery,
}

impl Error {
    /// A failure with its code's defaults.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let money_moved = code.money_moved();
        Self(Box::new(Facts {
            code,
            message: message.into(),
            marketplace: None,
            http_status: None,
            upstream_code: None,
            money_moved,
            purchase_id: None,
            repeat_safe: money_moved == MoneyMoved::No,
            field: None,
            example: None,
            payment: None,
            recovery: Recovery::of(code),
        }))
    }

    /// An argument that cannot be used. `problem` follows the argument's name in the message.
    #[must_use]
    pub fn argument(field: &str, problem: impl std::fmt::Display, example: &str) -> Self {
        Self::new(Code::InvalidArgument, format!("`{field}` {problem}, such as {example}"))
            .field(field, Some(example))
    }

    /// With the marketplace at which it happened.
    #[must_use]
    pub fn at(mut self, marketplace: Marketplace) -> Self {
        self.0.marketplace = Some(marketplace);
        self
    }

    /// With the purchase that it is about.
    #[must_use]
    pub fn purchase(mut self, id: &PurchaseId) -> Self {
        self.0.purchase_id = Some(id.clone());
        self
    }

    /// With the purchase that it is about, where it names none.
    #[must_use]
    pub fn purchase_or(self, id: &PurchaseId) -> Self {
        if self.purchase_id.is_some() { self } else { self.purchase(id) }
    }

    /// With what is known of the money. Repeating a call is harmless in every case in which the
    /// purchase is known, since a purchase is never paid twice.
    #[must_use]
    pub fn money(mut self, moved: MoneyMoved) -> Self {
        self.0.money_moved = moved;
        self
    }

    /// With what is known of the money from elsewhere: a failure on the way to a purchase that may
    /// have been paid does not say `no`.
    #[must_use]
    pub fn at_least(self, moved: MoneyMoved) -> Self {
        match self.money_moved {
            MoneyMoved::No => self.money(moved),
            MoneyMoved::Yes | MoneyMoved::Maybe => self,
        }
    }

    /// With the field that is wrong, and a value that would do.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, example: Option<&str>) -> Self {
        self.0.field = Some(field.into());
        self.0.example = example.map(ToOwned::to_owned);
        self
    }

    /// With the status and code that the marketplace answered with.
    #[must_use]
    pub fn upstream(mut self, status: Option<u16>, code: Option<String>) -> Self {
        self.0.http_status = status;
        self.0.upstream_code = code;
        self
    }

    /// With what has to be paid from elsewhere.
    #[must_use]
    pub fn payment(mut self, payment: Value) -> Self {
        self.0.payment = Some(payment);
        self
    }

    /// With a call that makes sense now.
    #[must_use]
    pub fn next(mut self, call: NextCall) -> Self {
        self.0.recovery.next.push(call);
        self
    }

    /// With its recovery changed.
    #[must_use]
    pub fn recovery(mut self, change: impl FnOnce(&mut Recovery)) -> Self {
        change(&mut self.0.recovery);
        self
    }

    /// Takes back that this exact call again is harmless.
    pub fn not_repeat_safe(&mut self) {
        self.0.repeat_safe = false;
    }

    /// Says that this exact call again is harmless, where a code's default says otherwise.
    pub fn set_repeat_safe(&mut self) {
        self.0.repeat_safe = true;
    }

    /// Whether it is this code.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// The object that goes out, under `error`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let facts = &*self.0;
        let mut error = json!({
            "code": facts.code.name(),
            "message": facts.message,
            "money_moved": facts.money_moved,
            "repeat_safe": facts.repeat_safe,
            "recovery": facts.recovery,
        });
        let optional = [
            ("marketplace", facts.marketplace.map(|m| json!(m))),
            ("http_status", facts.http_status.map(|s| json!(s))),
            ("upstream_code", facts.upstream_code.as_ref().map(|c| json!(c))),
            ("purchase_id", facts.purchase_id.as_ref().map(|id| json!(id))),
            ("field", facts.field.as_ref().map(|f| json!(f))),
            ("example", facts.example.as_ref().map(|e| json!(e))),
            ("payment", facts.payment.clone()),
        ];
        if let Some(object) = error.as_object_mut() {
            for (name, value) in optional {
                if let Some(value) = value {
                    object.insert(name.to_owned(), value);
                }
            }
        }
        json!({ "error": error })
    }
}

/// A failed call is a tool result, since models may not see protocol errors. Its JSON goes out as
/// text and as `structuredContent`; output schemas admit `error` and require nothing at their root,
/// because some clients check them even for a failure and hide what does not fit.
impl IntoCallToolResult for Error {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        let body = self.to_json();
        let mut result = CallToolResult::error(vec![ContentBlock::text(body.to_string())]);
        result.structured_content = Some(body);
        Ok(result.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_distinct_names_and_a_meaning() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.meaning().ends_with('.'), "{}", code.name());
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }

    #[test]
    fn a_failure_is_the_same_object_twice() {
        let error = Error::argument("order_id", "is empty", "\"ord_1\"");
        let Ok(CallToolResponse::Complete(result)) = error.into_call_tool_result() else {
            panic!("a failure is a complete result");
        };
        assert_eq!(result.is_error, Some(true));
        let text = &result.content[0].as_text().unwrap().text;
        let structured = result.structured_content.unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), structured);
        assert_eq!(structured["error"]["field"], "order_id");
        assert_eq!(structured["error"]["recovery"]["next_action"], "fix_arguments");
    }
}
