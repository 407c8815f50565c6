//! What is asked before a payment: the offer, the order that comes of it, the lists.

use serde_json::{Value, json};

use super::{
    Case, Done, HTML, NOBODY, NOTHING, Row, Undone, broken, croo, each, pay::pays, refused, swap,
};
use crate::world::World;

/// Asks for an offer while it goes wrong, and goes on to the delivery. However often it is asked
/// for: one negotiation, one order.
pub(super) async fn buys(case: Case) {
    let world = World::start().await;
    case.arm(&world).await;
    let args = world.negotiation_of("auto");
    let (world, answer) = case.run(world, "croo_negotiate_order", args.clone()).await;
    case.has_fired(&world).await;
    match (case.ends, &answer) {
        (Done, Ok(done)) => {
            assert!(!done["result_untrusted"].is_null(), "{done}");
            assert_eq!(world.charges().await.len(), 1, "{done}");
        }
        (Undone(code), Err(error)) => {
            assert_eq!(error["code"], code, "{error}");
            assert_eq!(error["money_moved"], "no", "{error}");
            assert!(world.charges().await.is_empty(), "{error}");
        }
        (ends, answer) => panic!("it should end {ends:?}, ended {answer:?}"),
    }
    world.finish(world.call("croo_negotiate_order", args).await).await.unwrap();
    let key = world.sandbox.info().croo.requester.sdk_key;
    let path = "/orders/negotiate?role=requester&page=1&page_size=50";
    let made = world.truth(&key, path).await["negotiations"].as_array().map_or(0, Vec::len);
    assert_eq!(made, 1, "as many negotiations as were meant");
    let orders = world.orders().await;
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0]["status"], "completed");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_an_offer_breaks() {
    let mut rows: Vec<Row> = broken(Done);
    rows.extend([
        ("pending", json!("pending"), Done),
        ("charge_then_fail", json!("charge_then_fail"), Done),
        ("a redirect", json!({ "status": 307 }), Undone("egress_blocked")),
        ("401", refused(401, "SDK_KEY_MISSING"), Undone("unauthorized")),
        ("403 html", json!({ "status": 403, "body": HTML }), Undone("not_allowed")),
        ("409", json!({ "status": 409, "body": HTML }), Done),
        ("a nonce", refused(400, "NONCE_ERROR"), Done),
        ("no negotiation", swap("negotiation", &Value::Null), Done),
    ]);
    each(croo("POST", "/orders/negotiate", 0), rows, buys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_before_it_break() {
    for path in ["/orders/negotiate", "/orders"] {
        let mut rows: Vec<Row> = broken(Done);
        rows.retain(|row| !row.0.starts_with("truncate") && row.0 != "late");
        each(croo("GET", path, 0), rows, buys).await;
    }
}

/// The order is read three times before it is paid and after: first for what it costs, then once
/// more when everything is agreed, then for what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn reading_the_order_breaks() {
    let unread = [Undone("not_found"), Undone("not_allowed"), Undone("unauthorized")];
    for (skip, ends) in [(0, [Done, unread[1], unread[2]]), (1, unread), (2, [Done; 3])] {
        let mut rows: Vec<Row> = broken(Done);
        rows.extend([
            // Before there is a purchase, the list leads back to the order.
            ("404", refused(404, "ORDER_NOT_FOUND"), ends[0]),
            ("403 html", json!({ "status": 403, "body": HTML }), ends[1]),
            ("401", refused(401, "AUTH_FAIL"), ends[2]),
        ]);
        each(croo("GET", "/orders/*-*", skip), rows, pays).await;
    }
}

/// The terms that are agreed are those of the first reading; a second one that differs pays nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_terms_are_not_those_that_were_agreed() {
    let terms = Undone("terms_mismatch");
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("another token",        swap("paymentToken", &json!(NOBODY)),           terms),
        ("no token",             swap("paymentToken", &json!("")),               terms),
        ("another seller",       swap("providerAgentId", &json!(NOTHING)),       terms),
        ("another wallet",       swap("requesterWalletAddress", &json!(NOBODY)), terms),
        ("another input",        swap("requirements", &json!("SYSTEM")),         terms),
        ("another service",      swap("serviceId", &json!(NOTHING)),             terms),
        ("a lower price",        swap("price", &json!("1")),                     terms),
        ("a fund part",          json!({ "swap_terms": { "gasAmount": "1" } }), terms),
        ("a higher price",       swap("price", &json!("4900000")),               Done),
        ("raised",               json!({ "raise_price": "1.5" }),               Done),
        ("no number",            swap("price", &json!("1.5")),                   Done),
        ("a negative price",     swap("price", &json!("-1")),                    Done),
        ("no price",             swap("price", &json!("")),                      Done),
        ("more than there is",   swap("price", &json!("18446744073709551616")),  Done),
        ("another order",        swap("orderId", &json!(NOTHING)),               Done),
        ("paid already",         swap("status", &json!("paid")),                 Done),
        ("over already",         swap("status", &json!("completed")),            Done),
        ("another payee",        json!({ "swap_payee": NOBODY }),               Done),
    ];
    each(croo("GET", "/orders/*-*", 1), rows, pays).await;
}
