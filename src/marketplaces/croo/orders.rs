//! Orders: what is paid and delivered. Source: protocols/croo.md §3, §5, §6, §10.

use alloy_primitives::Address;
use reqwest::Method;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{PageQuery, Role, id, list, text};
use crate::{
    error::{Code, Error},
    ids::{AgentId, NegotiationId, OrderId, ServiceId},
    marketplaces::{
        Marketplace,
        http::{Effect, Operation},
    },
    money::Usdc,
};

/// What is reserved for the platform's gas where an order does not say it: a purchase of 0.10 was
/// seen to cost 0.111376 (§10). Assumed.
const GAS_UNSAID: Usdc = Usdc::from_micros(20_000);

/// Reads one: `GET /orders/{id}`.
#[derive(Debug, Serialize)]
pub struct GetOrder<'a> {
    /// Which.
    #[serde(skip)]
    pub order_id: &'a OrderId,
}

impl Operation for GetOrder<'_> {
    const NAME: &'static str = "croo.get_order";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Ordered;

    fn path(&self) -> String {
        format!("/orders/{}", self.order_id)
    }
}

/// The answer that holds one order.
#[derive(Debug, Deserialize)]
pub struct Ordered {
    /// It.
    pub order: Order,
}

/// Lists those of one role: `GET /orders`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ListOrders(PageQuery);

impl ListOrders {
    /// A page of this role's, in whatever status they are.
    #[must_use]
    pub const fn of(role: Role, page: u64, page_size: u64) -> Self {
        Self(PageQuery { page, page_size, role: role.in_orders(), status: None })
    }

    /// Only those in this status, where one is given.
    #[must_use]
    pub fn in_status(mut self, status: Option<String>) -> Self {
        self.0.status = status;
        self
    }
}

impl Operation for ListOrders {
    const NAME: &'static str = "croo.list_orders";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Orders;

    fn path(&self) -> String {
        "/orders".to_owned()
    }
}

/// A page of orders.
#[derive(Debug, Deserialize)]
pub struct Orders {
    /// They.
    #[serde(default, deserialize_with = "list")]
    pub orders: Vec<Order>,
}

impl Role {
    /// The word of orders.
    #[must_use]
    pub const fn in_orders(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Provider => "provider",
        }
    }
}

/// Rejects one: `POST /orders/{id}/reject`. Before it is paid either side may, after that only the
/// provider, and the buyer is refunded.
#[derive(Debug, Serialize)]
pub struct RejectOrder<'a> {
    /// Which.
    #[serde(skip)]
    pub order_id: &'a OrderId,
    /// Why.
    pub reason: &'a str,
}

impl Operation for RejectOrder<'_> {
    const NAME: &'static str = "croo.reject_order";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = IgnoredAny;

    fn path(&self) -> String {
        format!("/orders/{}/reject", self.order_id)
    }
}

/// An order, as CROO sends it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its identifier.
    pub order_id: OrderId,
    /// The negotiation it came from.
    #[serde(default, deserialize_with = "id")]
    pub negotiation_id: Option<NegotiationId>,
    /// The service.
    #[serde(default, deserialize_with = "id")]
    pub service_id: Option<ServiceId>,
    /// Who pays.
    #[serde(default, deserialize_with = "id")]
    pub requester_agent_id: Option<AgentId>,
    /// Who is paid.
    #[serde(default, deserialize_with = "id")]
    pub provider_agent_id: Option<AgentId>,
    /// The wallet that pays: the requester's account at CROO.
    #[serde(default, deserialize_with = "text")]
    pub requester_wallet_address: String,
    /// The provider's.
    #[serde(default, deserialize_with = "text")]
    pub provider_wallet_address: String,
    /// The price, in base units of the token.
    #[serde(default, deserialize_with = "text")]
    pub price: String,
    /// The token's contract.
    #[serde(default, deserialize_with = "text")]
    pub payment_token: String,
    /// A word of §6.2, or one that is not known yet.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
    /// Why it was rejected, in the words of who did.
    #[serde(default, deserialize_with = "text")]
    pub reject_reason: String,
    /// The transaction of the payment; empty before it.
    #[serde(default, deserialize_with = "text")]
    pub pay_tx_hash: String,
    /// Until when it can be paid.
    #[serde(default, deserialize_with = "text")]
    pub pay_deadline: String,
    /// Until when it has to be delivered.
    #[serde(default, deserialize_with = "text")]
    pub sla_deadline: String,
    /// When the row was made.
    #[serde(default, deserialize_with = "text")]
    pub created_time: String,
    /// When it stood on chain.
    #[serde(default, deserialize_with = "text")]
    pub created_at: String,
    /// When it was paid.
    #[serde(default, deserialize_with = "text")]
    pub paid_at: String,
    /// When it was delivered.
    #[serde(default, deserialize_with = "text")]
    pub delivered_at: String,
    /// When it was rejected.
    #[serde(default, deserialize_with = "text")]
    pub rejected_at: String,
    /// When it lapsed.
    #[serde(default, deserialize_with = "text")]
    pub expired_at: String,
    /// The escrow's fee, in base units; charged on top for fund-transfer orders.
    #[serde(default, deserialize_with = "text")]
    pub fee_amount: String,
    /// The platform's gas, in base units with decimals.
    #[serde(default, deserialize_with = "text")]
    pub gas_amount: String,
    /// The fund part, in base units.
    #[serde(default, deserialize_with = "text")]
    pub fund_amount: String,
    /// Its token.
    #[serde(default, deserialize_with = "text")]
    pub fund_token: String,
    /// Where it goes: the provider chose it.
    #[serde(default, deserialize_with = "text")]
    pub provider_fund_address: String,
    /// The buyer's input.
    #[serde(default, deserialize_with = "text")]
    pub requirements: String,
}

/// What paying an order takes from the wallet, in dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The price, which goes into escrow.
    pub price: Usdc,
    /// The escrow's fee on top, of a fund-transfer order.
    pub fee: Usdc,
    /// The platform's gas.
    pub gas: Usdc,
    /// The fund part, which goes to the provider's address at once.
    pub fund: Usdc,
    /// All of it.
    pub total: Usdc,
}

impl Order {
    /// Whether the buyer's payment carries a fund part.
    #[must_use]
    pub fn has_fund(&self) -> bool {
        !matches!(self.fund_amount.trim(), "" | "0")
    }

    /// What paying it costs: `price` and gas, and for a fund-transfer order the fee and the fund
    /// part on top (§15.9, assumed).
    ///
    /// # Errors
    ///
    /// [`Code::TermsMismatch`] where the token, or that of the fund part, is not `usdc`;
    /// [`Code::UpstreamMalformed`] where an amount is no whole number of base units.
    pub fn cost(&self, usdc: Address) -> Result<Cost, Error> {
        self.is_token("paymentToken", &self.payment_token, usdc)?;
        let price = self.units("price", &self.price)?;
        let gas = match self.gas_amount.trim() {
            "" => GAS_UNSAID,
            said => self.units("gasAmount", said)?,
        };
        let (mut fee, mut fund) = (Usdc::ZERO, Usdc::ZERO);
        if self.has_fund() {
            self.is_token("fundToken", &self.fund_token, usdc)?;
            fund = self.units("fundAmount", &self.fund_amount)?;
            if !self.fee_amount.trim().is_empty() {
                fee = self.units("feeAmount", &self.fee_amount)?;
            }
        }
        let total = [fee, gas, fund].into_iter().try_fold(price, Usdc::checked_add);
        let total = total.ok_or_else(|| self.unreadable("price"))?;
        Ok(Cost { price, fee, gas, fund, total })
    }

    /// Micro-dollars; a fraction of one, which gas may have, counts as a whole.
    fn units(&self, field: &str, text: &str) -> Result<Usdc, Error> {
        let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let may_have_fraction = field == "gasAmount" || fraction.is_empty();
        let rounded = u64::from(fraction.bytes().any(|digit| digit != b'0'));
        let units = whole.parse::<u64>().ok().and_then(|units| units.checked_add(rounded));
        units
            .filter(|units| {
                is_digits(whole)
                    && is_digits(fraction)
                    && may_have_fraction
                    && i64::try_from(*units).is_ok()
            })
            .map(Usdc::from_micros)
            .ok_or_else(|| self.unreadable(field))
    }

    fn unreadable(&self, field: &str) -> Error {
        let message = format!(
            "the member {field} of the order {} is no whole number of base units",
            self.order_id
        );
        Error::new(Code::UpstreamMalformed, message).at(Marketplace::Croo).field(field, None)
    }

    fn is_token(&self, field: &str, token: &str, usdc: Address) -> Result<(), Error> {
        if token.trim().parse::<Address>() == Ok(usdc) {
            return Ok(());
        }
        let message = format!("the order {} is not paid in the USDC at {usdc}", self.order_id);
        Err(Error::new(Code::TermsMismatch, message).at(Marketplace::Croo).field(field, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USDC: &str = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

    fn order(members: &serde_json::Value) -> Order {
        let mut json = serde_json::json!({ "orderId": "o", "paymentToken": USDC, "price": "100000",
            "gasAmount": "10000.00000000" });
        for (name, value) in members.as_object().unwrap() {
            json[name] = value.clone();
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn adds_up_what_an_order_costs() {
        let usdc = USDC.parse().unwrap();
        let fund = serde_json::json!({ "fundAmount": "5000000", "fundToken": USDC.to_lowercase(),
            "feeAmount": "2500" });
        #[rustfmt::skip]
        let rows = [
            ("plain",              serde_json::json!({}),                          Some("0.11")),
            ("price as a number",  serde_json::json!({ "price": 100_000 }),        Some("0.11")),
            ("gas has a fraction", serde_json::json!({ "gasAmount": "1376.5" }),   Some("0.101377")),
            ("gas is not said",    serde_json::json!({ "gasAmount": "" }),         Some("0.12")),
            ("its fee is within",  serde_json::json!({ "feeAmount": "2500" }),     Some("0.11")),
            ("a fund part",        fund,                                           Some("5.1125")),
            ("no price",           serde_json::json!({ "price": "" }),             None),
            ("a fraction",         serde_json::json!({ "price": "1.5" }),          None),
            ("negative",           serde_json::json!({ "price": "-1" }),           None),
            ("signed",             serde_json::json!({ "price": "+1" }),           None),
            ("hexadecimal",        serde_json::json!({ "price": "0x10" }),         None),
            ("too much",           serde_json::json!({ "price": "18446744073709551615" }), None),
            ("another token",      serde_json::json!({ "paymentToken": "0x0000000000000000000000000000000000000001" }), None),
            ("no token",           serde_json::json!({ "paymentToken": "" }),      None),
            ("a fund in ether",    serde_json::json!({ "fundAmount": "1", "fundToken": "0x0000000000000000000000000000000000000000" }), None),
        ];
        for (row, members, total) in rows {
            let cost = order(&members).cost(usdc);
            assert_eq!(cost.ok().map(|cost| cost.total.to_string()).as_deref(), total, "{row}");
        }
    }
}
