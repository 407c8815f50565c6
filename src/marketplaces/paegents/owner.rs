//! What the owner of an agent decides: policies, limits, requests for approval. All of it goes with
//! the owner's token, [`super::Paegents::as_owner`]. Source: protocols/paegents.md §3.1, §3.6.
//!
//! The shapes are open: what is read of a request's members is assumed, and stands in
//! [`ApprovalRequest`] alone.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::agreements::cents;
use crate::{
    ids::{AgentId, ApprovalRequestId, AskId},
    marketplaces::{
        http::{Effect, Operation},
        lenient::list_of,
    },
    money::Usdc,
};

/// Reads an agent's policies: `GET /agents/{agent}/policies`.
#[derive(Debug, Serialize)]
pub struct GetPolicies<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent: &'a AgentId,
}

impl Operation for GetPolicies<'_> {
    const NAME: &'static str = "paegents.get_agent_policies";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Map<String, Value>;

    fn path(&self) -> String {
        format!("/agents/{}/policies", self.agent)
    }
}

/// Sets an agent's policies: `PUT /agents/{agent}/policies`, the object as it is.
#[derive(Debug, Serialize)]
pub struct UpdatePolicies<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent: &'a AgentId,
    /// The owner's yes.
    #[serde(skip)]
    pub ask: &'a AskId,
    /// The policies.
    #[serde(flatten)]
    pub policies: &'a Map<String, Value>,
}

impl Operation for UpdatePolicies<'_> {
    const NAME: &'static str = "paegents.update_agent_policies";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        format!("/agents/{}/policies", self.agent)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.ask.to_string())
    }
}

/// Lists requests for approval: `GET /agents/{agent}/approvals`.
#[derive(Debug, Serialize)]
pub struct ListApprovals<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent: &'a AgentId,
    /// How many.
    pub limit: u64,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
}

impl Operation for ListApprovals<'_> {
    const NAME: &'static str = "paegents.list_approvals";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = ApprovalRequests;

    fn path(&self) -> String {
        format!("/agents/{}/approvals", self.agent)
    }
}

/// Requests for approval; what is none is left out.
#[derive(Debug)]
pub struct ApprovalRequests(pub Vec<ApprovalRequest>);

impl<'de> Deserialize<'de> for ApprovalRequests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = list_of(Value::deserialize(deserializer)?).into_iter();
        Ok(Self(rows.filter_map(ApprovalRequest::read).collect()))
    }
}

/// A payment that the platform holds back until its owner has agreed.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    /// Its identifier.
    pub id: ApprovalRequestId,
    /// What has become of it, in the platform's word.
    pub status: String,
    /// How much, where it is said in cents.
    pub amount: Option<Usdc>,
    /// Everything that is said of it.
    pub members: Map<String, Value>,
}

impl ApprovalRequest {
    /// Assumed of a row: it is named by `id`, as the SDK says, or by `request_id`, as the answer of
    /// a payment has it, and says how much in `amount_cents`.
    fn read(row: Value) -> Option<Self> {
        let Value::Object(members) = row else { return None };
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let id = text("id").or_else(|| text("request_id"))?.parse().ok()?;
        let status = text("status").unwrap_or_default().to_owned();
        let amount = members.get("amount_cents").and_then(Value::as_u64).and_then(cents);
        Some(Self { id, status, amount, members })
    }
}

/// Agrees to a request: `POST /agents/{agent}/approvals/{id}/approve`.
#[derive(Debug, Serialize)]
pub struct ApproveRequest<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent: &'a AgentId,
    /// Which.
    #[serde(skip)]
    pub request_id: &'a ApprovalRequestId,
    /// The owner's yes.
    #[serde(skip)]
    pub ask: &'a AskId,
}

impl Operation for ApproveRequest<'_> {
    const NAME: &'static str = "paegents.approve_approval";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        format!("/agents/{}/approvals/{}/approve", self.agent, self.request_id)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.ask.to_string())
    }
}

/// Refuses a request: `POST /agents/{agent}/approvals/{id}/reject`, with the reason in the query.
#[derive(Debug, Serialize)]
pub struct RejectRequest<'a> {
    /// Whose.
    #[serde(skip)]
    pub agent: &'a AgentId,
    /// Which.
    #[serde(skip)]
    pub request_id: &'a ApprovalRequestId,
    /// Why.
    #[serde(skip)]
    pub reason: Option<&'a str>,
    /// The owner's yes.
    #[serde(skip)]
    pub ask: &'a AskId,
}

impl Operation for RejectRequest<'_> {
    const NAME: &'static str = "paegents.reject_approval";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        let path = format!("/agents/{}/approvals/{}/reject", self.agent, self.request_id);
        match self.reason {
            Some(reason) => format!("{path}?reason={}", percent_encoded(reason)),
            None => path,
        }
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.ask.to_string())
    }
}

/// A value of a query as the SDK writes it here (§3.6): a space is `%20`, a slash stays.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

/// Reads the limits of the owner's agent: `GET /spending/limits`.
#[derive(Debug, Serialize)]
pub struct GetSpendingLimits {}

impl Operation for GetSpendingLimits {
    const NAME: &'static str = "paegents.get_spending_limits_owner";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Map<String, Value>;

    fn path(&self) -> String {
        "/spending/limits".to_owned()
    }
}

/// Sets the limits of the owner's agent: `PUT /spending/limits`.
///
/// That they are counted in cents is assumed (§14 row 17).
#[derive(Debug, Serialize)]
pub struct UpdateSpendingLimits<'a> {
    /// In a day, in cents.
    pub daily_limit: u64,
    /// In a month, in cents.
    pub monthly_limit: u64,
    /// The owner's yes.
    #[serde(skip)]
    pub ask: &'a AskId,
}

impl Operation for UpdateSpendingLimits<'_> {
    const NAME: &'static str = "paegents.update_spending_limits_owner";
    const METHOD: Method = Method::PUT;
    const EFFECT: Effect = Effect::Write;
    type Output = Value;

    fn path(&self) -> String {
        "/spending/limits".to_owned()
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.ask.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first row is the page's own (§15).
    #[test]
    fn a_reason_stands_in_the_query_as_the_sdk_writes_it() {
        #[rustfmt::skip]
        let rows = [
            ("the page's own",   "too much / no",  "too%20much%20/%20no"),
            ("what would end it", "a&b#c?d=e",     "a%26b%23c%3Fd%3De"),
            ("a plus, a percent", "1+1 is 100%",   "1%2B1%20is%20100%25"),
            ("not ASCII",        "zażółć",         "za%C5%BC%C3%B3%C5%82%C4%87"),
            ("what stays",       "a-b_c.d~e",      "a-b_c.d~e"),
        ];
        let (agent, request, ask) =
            ("agt".parse().unwrap(), "r".parse().unwrap(), "ask_1".parse().unwrap());
        for (row, reason, expected) in rows {
            let reject = RejectRequest {
                agent: &agent,
                request_id: &request,
                reason: Some(reason),
                ask: &ask,
            };
            let path = format!("/agents/agt/approvals/r/reject?reason={expected}");
            assert_eq!(reject.path(), path, "{row}");
            assert!(
                url::Url::parse(&format!("https://h{path}")).unwrap().as_str().ends_with(&path)
            );
        }
    }

    #[test]
    fn reads_requests_however_they_are_listed() {
        let row = json!({ "id": "appr_1", "status": "pending", "amount_cents": 2500 });
        for listed in [json!({ "approvals": [row] }), json!([row])] {
            let ApprovalRequests(rows) = serde_json::from_value(listed).unwrap();
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0].id.as_str(), "appr_1");
            assert_eq!(rows[0].amount.unwrap().to_string(), "25");
        }
        let odd = json!([{ "request_id": "appr_2", "amount_cents": "x" }, { "id": "../x" }, 7]);
        let ApprovalRequests(rows) = serde_json::from_value(odd).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].id.as_str(), rows[0].amount), ("appr_2", None));
    }

    #[test]
    fn policies_go_as_they_are() {
        let policies = json!({ "approvals": { "threshold_cents": 2000 }, "agent": "x" });
        let policies = policies.as_object().unwrap();
        let (agent, ask) = ("agt".parse().unwrap(), "ask_1".parse().unwrap());
        let update = UpdatePolicies { agent: &agent, ask: &ask, policies };
        assert_eq!(serde_json::to_value(update).unwrap(), Value::Object(policies.clone()));
    }
}
