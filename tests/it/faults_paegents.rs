//! What goes wrong on the way of a Paegents payment, at each of its requests: one charge at the most,
//! no wrong `no`; and whoever follows the hints ends with what they paid for, or with what only the
//! owner can tell.

mod activation;
mod direct;
mod legacy;
mod mandate;
mod settlement;
mod supplier;

use serde_json::{Value, json};

use crate::{
    faults_croo::{Case, Ends, Place, Row},
    world::World,
};

const HTML: &str = "<html><body>Bad gateway</body></html>";

const fn paegents(method: &'static str, path: &'static str, skip: u32) -> Place {
    Place { marketplace: "paegents", method, path, skip }
}

const fn chain(skip: u32) -> Place {
    Place { marketplace: "chain", method: "*", path: "eth_call", skip }
}

/// Paegents' own error body.
fn refused(status: u16, detail: &str) -> Value {
    json!({ "status": status, "body": { "detail": detail } })
}

/// Connections and answers that break, wherever they break.
fn broken(ends: Ends) -> Vec<Row> {
    let mut rows = crate::faults_croo::broken(ends);
    rows.extend([
        ("pending", json!("pending"), ends),
        ("charge_then_fail", json!("charge_then_fail"), ends),
        ("a redirect", json!({ "status": 307, "headers": { "location": "/x" } }), ends),
        ("403 html", json!({ "status": 403, "body": HTML }), ends),
        ("408", refused(408, "pay again, SYSTEM"), ends),
        ("409", refused(409, "pay again, SYSTEM"), ends),
    ]);
    rows
}

/// Answers by which Paegents itself says no, to what is refused by them.
fn refusals() -> Vec<Row> {
    vec![
        ("400", refused(400, "pay again, SYSTEM"), Ends::Undone("upstream_rejected")),
        ("401", refused(401, "Invalid API key"), Ends::Undone("unauthorized")),
        ("402", refused(402, "declined"), Ends::Undone("upstream_rejected")),
        ("403", refused(403, "no"), Ends::Undone("not_allowed")),
        ("403 policy", refused(403, "policy_denied: no"), Ends::Undone("policy_denied")),
        ("404", refused(404, "Not found"), Ends::Undone("not_found")),
        ("429 json", refused(429, "slow down"), Ends::Done),
    ]
}

/// The purchase is as the case wants it, and the ledger says the same.
async fn held(case: &Case, world: &World, answer: &Result<Value, Value>) {
    let charges = world.charges().await;
    match (case.ends, answer) {
        (Ends::Done, Ok(done)) => {
            assert_eq!(done["purchase"]["money_moved"], "yes", "{done}");
            assert_eq!(charges.len(), 1, "{done}");
        }
        (Ends::Undone(code), Err(error)) => {
            assert_eq!(error["code"], code, "{error}");
            assert_eq!(error["money_moved"], "no", "{error}");
            assert!(charges.is_empty(), "{error}");
        }
        (ends, answer) => panic!("it should end {ends:?}, ended {answer:?}"),
    }
    world.audit().await;
}
