//! What is another client's: an order, its negotiation, an agreement or a cart that another principal
//! has begun to pay for is not found by this one, neither by its name nor in a list.
//!
//! Invariant: what a marketplace wrote decides nothing here. Its text may name whatever it likes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Server, results::money_in};
use crate::{
    error::{Code, Error, MoneyMoved},
    journal,
    marketplaces::{croo, paegents},
};

/// The member that names a thing which can be paid for once, and the key of its purchase.
fn key_of(member: &str, id: &str) -> Option<String> {
    match member {
        "order_id" => id.parse().ok().map(|id| croo::payment::natural_key(&id)),
        "negotiation_id" => id.parse().ok().map(|id| croo::payment::negotiation_key(&id)),
        "agreement_id" => id.parse().ok().map(|id| paegents::escrow::natural_key(&id)),
        "cart_mandate_id" => id.parse().ok().map(|id| paegents::carts::natural_key(&id)),
        _ => None,
    }
}

impl Server {
    /// Refuses arguments that name what is another client's.
    pub(super) async fn check_arguments(&self, arguments: &Value) -> Result<(), Error> {
        let others = self.others_in(arguments).await;
        // Where the store cannot be read, nobody knows what an earlier call has done.
        let others = others.map_err(|error| error.at_least(MoneyMoved::Maybe))?;
        let Some(id) = others.first() else { return Ok(()) };
        Err(Error::new(Code::NotFound, format!("there is no {id} of this client")))
    }

    /// Takes out of a result what is another client's. What it says of money stays true.
    pub(super) async fn without_others(&self, body: &mut Value) -> Result<(), Error> {
        let moved = money_in(body);
        let others = self.others_in(body).await.map_err(|error| error.at_least(moved))?;
        if others.is_empty() {
            return Ok(());
        }
        drop_lines(body, &others);
        match names(body).into_iter().find(|id| others.contains(&id.1)) {
            // It is about nothing else.
            Some((_, id)) => {
                let message = format!("there is no {id} of this client");
                Err(Error::new(Code::NotFound, message).at_least(moved))
            }
            None => Ok(()),
        }
    }

    /// Of identifiers that this member would hold, those that are not another client's.
    pub(super) async fn only_own(
        &self,
        member: &str,
        ids: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let named: Vec<Value> = ids.iter().map(|id| json!({ member: id })).collect();
        let others = self.others_in(&Value::from(named)).await?;
        Ok(ids.into_iter().filter(|id| !others.contains(id)).collect())
    }

    /// The identifiers in this JSON that are another client's.
    async fn others_in(&self, body: &Value) -> Result<BTreeSet<String>, Error> {
        let app = self.app();
        // The owner's own client sees them as well, where it is the only one.
        if app.settings().clients.is_empty() || !app.store().path().exists() {
            return Ok(BTreeSet::new());
        }
        let keys: BTreeMap<String, String> = names(body)
            .into_iter()
            .filter_map(|(member, id)| Some((key_of(&member, &id)?, id)))
            .collect();
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let who = self.principal().name.clone();
        let found = app.store().with(move |db| {
            let mut others = BTreeSet::new();
            for (key, id) in keys {
                if journal::begun_by(db, &key)?.is_some_and(|payer| payer != who) {
                    others.insert(id);
                }
            }
            Ok(others)
        });
        found.await
    }
}

/// Whether a member holds what a marketplace wrote.
fn is_theirs(member: &str) -> bool {
    member.ends_with("_untrusted")
}

/// The members of a JSON value, at any depth, that are identifiers of what can be paid for once.
fn names(body: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    collect(body, &mut found);
    found
}

fn collect(body: &Value, found: &mut BTreeSet<(String, String)>) {
    match body {
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| !is_theirs(name)) {
                match value.as_str() {
                    Some(id) if key_of(name, id).is_some() => {
                        found.insert((name.clone(), id.to_owned()));
                    }
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes every line of a list out that names one of these.
fn drop_lines(body: &mut Value, others: &BTreeSet<String>) {
    match body {
        Value::Object(members) => {
            let own = members.iter_mut().filter(|(name, _)| !is_theirs(name));
            own.for_each(|(_, value)| drop_lines(value, others));
        }
        Value::Array(items) => {
            items.retain(|item| !names(item).iter().any(|(_, id)| others.contains(id)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_others_are_taken_out() {
        let others = BTreeSet::from(["o1".to_owned(), "a1".to_owned()]);
        let mut body = json!({
            "orders": [{ "order_id": "o1" }, { "order_id": "o2", "service_id": "a1" }],
            "next": [{ "tool": "t", "arguments": { "agreement_id": "a1" } }, { "tool": "u" }],
            "text": "o1",
            "result_untrusted": [{ "order_id": "o1" }],
        });
        drop_lines(&mut body, &others);
        let kept = json!({ "orders": [{ "order_id": "o2", "service_id": "a1" }],
            "next": [{ "tool": "u" }], "text": "o1",
            "result_untrusted": [{ "order_id": "o1" }] });
        assert_eq!(body, kept);
        assert_eq!(names(&kept), BTreeSet::from([("order_id".to_owned(), "o2".to_owned())]));
    }

    /// Each is looked for by the key of the purchase that pays for it.
    #[test]
    fn what_can_be_paid_for_once_has_a_key() {
        let rows = [
            ("order_id", Some("croo:order:x1")),
            ("negotiation_id", Some("croo:negotiation:x1")),
            ("agreement_id", Some("paegents:escrow:x1")),
            ("cart_mandate_id", Some("paegents:cart:x1")),
            ("listing_id", None),
        ];
        for (member, key) in rows {
            assert_eq!(key_of(member, "x1").as_deref(), key, "{member}");
        }
    }
}
