//! The owner's limits: what may be spent, what has to be asked, what is refused.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    money::Usdc,
};

/// The window of `day_max_usd`, in seconds: it slides.
pub const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The limits. Amounts are dollars as decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What costs more than this is asked first. What costs nothing never is.
    pub ask_above_usd: Usdc,
    /// The most that one purchase may cost, fees included.
    pub purchase_max_usd: Usdc,
    /// The most that may be spent in any 24 hours, over all processes that share the store.
    pub day_max_usd: Usdc,
    /// Up to this the MCP client may ask the person; above, only the owner's command counts.
    pub client_approval_max_usd: Usdc,
    /// Whether the first purchase from a seller is asked, whatever it costs.
    pub first_purchase_asks: bool,
    /// Not empty: only these sellers, by the marketplace's identifier.
    pub sellers_allow: Vec<String>,
    /// Never these.
    pub sellers_deny: Vec<String>,
    /// The most that may go straight to an address that a CROO provider chose, beside the escrow of an
    /// order; 0 refuses. It is always asked.
    pub fund_max_usd: Usdc,
    /// The most of what is not a dollar, by its symbol, for one purchase; absent: refused.
    pub other_assets: BTreeMap<String, String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ask_above_usd: Usdc::ZERO,
            purchase_max_usd: Usdc::from_micros(10_000_000),
            day_max_usd: Usdc::from_micros(50_000_000),
            client_approval_max_usd: Usdc::from_micros(5_000_000),
            first_purchase_asks: true,
            sellers_allow: Vec::new(),
            sellers_deny: Vec::new(),
            fund_max_usd: Usdc::ZERO,
            other_assets: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// The sandbox's: 5 a purchase and 50 a day, without asking.
    #[must_use]
    pub fn sandbox() -> Self {
        let five = Usdc::from_micros(5_000_000);
        Self {
            ask_above_usd: five,
            purchase_max_usd: five,
            first_purchase_asks: false,
            fund_max_usd: five,
            other_assets: BTreeMap::from([("SOL".to_owned(), "0.05".to_owned())]),
            ..Self::default()
        }
    }
}

/// What one client may spend, within the owner's own limits. `None`: as much as the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most that one purchase may cost, fees included.
    pub purchase_max: Option<Usdc>,
    /// The most that it may spend in any 24 hours.
    pub day_max: Option<Usdc>,
}

/// The owner's policy, and what single clients are kept to within it.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// The owner's.
    pub owner: Policy,
    /// By the name of the principal.
    pub clients: HashMap<String, Limits>,
}

impl Policies {
    /// The policy of a principal, and the most that it may spend in a day by itself. Its own limits
    /// only ever tighten the owner's.
    #[must_use]
    pub fn of(&self, principal: &str) -> (Policy, Option<Usdc>) {
        let limits = self.clients.get(principal).copied().unwrap_or_default();
        let most = self.owner.purchase_max_usd;
        let purchase_max_usd = limits.purchase_max.map_or(most, |own| own.min(most));
        (Policy { purchase_max_usd, ..self.owner.clone() }, limits.day_max)
    }
}

/// What a purchase is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who is paid.
    pub seller_id: &'a str,
    /// The most that it may cost.
    pub max_total: Usdc,
    /// What was spent in the last day, and is reserved.
    pub spent: Usdc,
    /// Whether this seller was paid before.
    pub known_seller: bool,
    /// What a standing grant still covers with this seller.
    pub granted: Usdc,
    /// What goes straight to an address that the seller chose.
    pub fund: Usdc,
    /// What is left of the client's own day, where it has a limit of its own.
    pub own_left: Option<Usdc>,
}

/// What the policy says to a purchase that it does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made.
    Allow,
    /// The owner has to agree; this client may ask them.
    Ask,
    /// The owner has to agree, by their own command.
    AskOwner,
}

impl Policy {
    /// Judges a purchase.
    ///
    /// # Errors
    ///
    /// [`Code::PolicyDenied`], which names the limit and what is left of it.
    pub fn judge(&self, request: &Request<'_>) -> Result<Verdict, Error> {
        let denied = |what: String| Err(Error::new(Code::PolicyDenied, what));
        let seller = request.seller_id;
        let lists = |list: &[String]| list.iter().any(|listed| listed == seller);
        if lists(&self.sellers_deny) {
            return denied(format!("the owner does not buy from the seller {seller}"));
        }
        if !self.sellers_allow.is_empty() && !lists(&self.sellers_allow) {
            return denied(format!("the seller {seller} is none that the owner allows"));
        }
        let (amount, limit) = (request.max_total, self.purchase_max_usd);
        if amount > limit {
            return denied(format!(
                "up to {amount} USD is above the owner's limit of {limit} USD for one purchase"
            ));
        }
        let (fund, limit) = (request.fund, self.fund_max_usd);
        if fund > limit {
            return denied(format!(
                "{fund} USD would go straight to an address that the seller chose; the owner's limit \
                 for that, fund_max_usd, is {limit} USD"
            ));
        }
        let left = self.day_max_usd.saturating_sub(request.spent);
        if amount > left {
            return denied(format!(
                "up to {amount} USD is above the {left} USD that are left of {} USD for 24 hours",
                self.day_max_usd
            ));
        }
        if let Some(left) = request.own_left.filter(|left| amount > *left) {
            return denied(format!(
                "up to {amount} USD is above the {left} USD that are left to this client for 24 hours"
            ));
        }
        let funds = fund > Usdc::ZERO;
        let asks = amount > self.ask_above_usd
            || (self.first_purchase_asks && !request.known_seller)
            || funds;
        // A grant is for what a seller is paid, not for what they are handed.
        let granted = amount <= request.granted && !funds;
        if amount == Usdc::ZERO || !asks || granted {
            return Ok(Verdict::Allow);
        }
        let client = amount <= self.client_approval_max_usd;
        Ok(if client { Verdict::Ask } else { Verdict::AskOwner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_a_purchase() {
        let usd = |text: &str| text.parse::<Usdc>().unwrap();
        let policy = Policy {
            ask_above_usd: usd("1"),
            purchase_max_usd: usd("10"),
            day_max_usd: usd("20"),
            client_approval_max_usd: usd("5"),
            first_purchase_asks: true,
            sellers_deny: vec!["bad".into()],
            ..Policy::default()
        };
        let (allow, ask, owner) = (Ok(Verdict::Allow), Ok(Verdict::Ask), Ok(Verdict::AskOwner));
        #[rustfmt::skip]
        let rows = [
            // what it shows            amount       spent   known  granted  seller  verdict
            ("at the asking line",      "1",         "0",    true,  "0",     "s",    allow),
            ("a micro-unit above",      "1.000001",  "0",    true,  "0",     "s",    ask),
            ("a seller's first",        "0.01",      "0",    false, "0",     "s",    ask),
            ("nothing never asks",      "0",         "0",    false, "0",     "s",    allow),
            ("the client's last word",  "5",         "0",    true,  "0",     "s",    ask),
            ("above it",                "5.000001",  "0",    true,  "0",     "s",    owner),
            ("under a grant",           "6",         "0",    false, "6",     "s",    allow),
            ("above a grant",           "6.000001",  "0",    false, "6",     "s",    owner),
            ("the purchase's limit",    "10",        "0",    true,  "0",     "s",    owner),
            ("above it",                "10.000001", "0",    true,  "0",     "s",    Err("one purchase")),
            ("all that the day has",    "1",         "19",   true,  "0",     "s",    allow),
            ("past the day",            "1",         "19.1", true,  "0",     "s",    Err("24 hours")),
            ("overspent",               "0.1",       "25",   true,  "9",     "s",    Err("24 hours")),
            ("a denied seller",         "0",         "0",    true,  "9",     "bad",  Err("does not buy")),
        ];
        let funds = [
            ("no fund part goes", "0.000001", Err("fund_max_usd")),
            ("it is asked, grant or not", "1", ask),
            ("above the limit", "1.000001", Err("fund_max_usd")),
        ];
        for (row, fund, expected) in funds {
            let limit = if row.starts_with("no") { "0" } else { "1" };
            let policy = Policy { fund_max_usd: usd(limit), ..policy.clone() };
            let request = Request {
                seller_id: "s",
                max_total: usd("1"),
                spent: Usdc::ZERO,
                known_seller: true,
                granted: usd("9"),
                fund: usd(fund),
                own_left: None,
            };
            let verdict = policy.judge(&request);
            match expected {
                Ok(expected) => assert_eq!(verdict.unwrap(), expected, "{row}"),
                Err(words) => assert!(verdict.unwrap_err().message.contains(words), "{row}"),
            }
        }
        for (row, amount, spent, known_seller, granted, seller_id, expected) in rows {
            let request = Request {
                seller_id,
                max_total: usd(amount),
                spent: usd(spent),
                known_seller,
                granted: usd(granted),
                fund: Usdc::ZERO,
                own_left: None,
            };
            match (policy.judge(&request), expected) {
                (Ok(verdict), expected) => assert_eq!(Ok(verdict), expected, "{row}"),
                (Err(error), Err(words)) => {
                    assert_eq!(error.code, Code::PolicyDenied, "{row}");
                    assert!(error.message.contains(words), "{row}: {error}");
                }
                (Err(error), Ok(_)) => panic!("{row}: {error}"),
            }
        }
        let only = Policy { sellers_allow: vec!["good".into()], ..policy };
        let request = Request {
            seller_id: "s",
            max_total: Usdc::ZERO,
            spent: Usdc::ZERO,
            known_seller: true,
            granted: Usdc::ZERO,
            fund: Usdc::ZERO,
            own_left: None,
        };
        assert!(only.judge(&request).is_err());
    }

    #[test]
    fn limits_of_a_client_only_tighten() {
        let usd = |text: &str| text.parse::<Usdc>().unwrap();
        let owner = Policy { purchase_max_usd: usd("10"), ..Policy::sandbox() };
        for (own, most) in [(None, "10"), (Some("2"), "2"), (Some("99"), "10")] {
            let limits = Limits { purchase_max: own.map(usd), day_max: Some(usd("3")) };
            let clients = HashMap::from([("a".to_owned(), limits)]);
            let policies = Policies { owner: owner.clone(), clients };
            assert_eq!(policies.of("a").0.purchase_max_usd, usd(most), "{own:?}");
            assert_eq!(policies.of("a").1, Some(usd("3")));
            assert_eq!(policies.of("b"), (owner.clone(), None), "another's limits");
        }
        let request = |own_left| Request {
            seller_id: "s",
            max_total: usd("1"),
            spent: Usdc::ZERO,
            known_seller: true,
            granted: Usdc::ZERO,
            fund: Usdc::ZERO,
            own_left,
        };
        assert!(owner.judge(&request(Some(usd("1")))).is_ok());
        let denied = owner.judge(&request(Some(usd("0.999999")))).unwrap_err();
        assert!(denied.message.contains("this client"), "{denied}");
    }
}
