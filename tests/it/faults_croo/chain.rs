//! The balance that is asked for before a payment.

use serde_json::{Value, json};

use super::{Done, HTML, Place, Row, Undone, each, pay::pays};
use crate::world::World;

const BALANCE: Place = Place { marketplace: "chain", method: "*", path: "eth_call", skip: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn the_balance_cannot_be_read_before_the_payment() {
    let error =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "busy" } });
    let rows: Vec<Row> = vec![
        ("drop_before", json!("drop_before"), Done),
        ("drop_after", json!("drop_after"), Done),
        ("429", json!({ "status": 429, "headers": { "retry-after": "3" } }), Done),
        ("502 html", json!({ "status": 502, "body": HTML }), Done),
        ("200 html", json!({ "status": 200, "body": HTML }), Done),
        ("an RPC error", json!({ "status": 200, "body": error }), Done),
        ("no result", json!({ "swap_terms": { "result": null } }), Done),
        ("empty", json!({ "swap_terms": { "result": "0x" } }), Done),
        ("nonsense", json!({ "swap_terms": { "result": "0xzz" } }), Done),
        ("too long", json!({ "swap_terms": { "result": format!("0x{}", "f".repeat(65)) } }), Done),
        ("truncate", json!({ "truncate": 20 }), Done),
        (
            "nothing there",
            json!({ "swap_terms": { "result": zero() } }),
            Undone("insufficient_funds"),
        ),
    ];
    each(BALANCE, rows, pays).await;
}

fn zero() -> String {
    format!("0x{}", "0".repeat(64))
}

/// A node that fails is no empty wallet, and a price that is none passes no check.
#[tokio::test]
async fn a_failing_node_is_no_empty_wallet() {
    let error =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "busy" } });
    let world = World::start().await;
    let order = world.order("auto").await;
    let fault = json!({ "marketplace": "chain", "method": "*", "path": "eth_call", "times": 50,
        "action": { "status": 200, "body": error } });
    world.admin("POST", "/faults", Some(fault)).await;
    let said = world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err();
    assert_eq!(said["code"], "chain_unavailable", "{said}");
    assert_eq!(said["money_moved"], "no", "{said}");
    world.admin("DELETE", "/faults", None).await;
    for price in [json!("-1"), json!("1.5"), json!(""), Value::Null, json!("1e3")] {
        let fault = json!({ "marketplace": "croo", "method": "GET", "path": "/orders/*-*",
            "times": 50, "action": { "swap_terms": { "price": price } } });
        world.admin("POST", "/faults", Some(fault)).await;
        let said = world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err();
        assert_eq!(said["code"], "upstream_malformed", "{price}: {said}");
        assert_eq!(said["field"], "price", "{price}: {said}");
        world.admin("DELETE", "/faults", None).await;
    }
    assert_eq!(world.sent("POST", "/pay").await, 0);
    assert!(world.charges().await.is_empty());
    // A wallet that is empty is one.
    world.balance(&json!({ "usdc": "0.05" })).await;
    let said = world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err();
    assert_eq!(said["code"], "insufficient_funds", "{said}");
    assert_eq!(said["recovery"]["next_action"], "top_up", "{said}");
    world.balance(&json!({ "usdc": "5" })).await;
    world.pay(&order).await.unwrap();
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}
