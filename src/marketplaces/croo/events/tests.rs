//! Tests of how events are read, and what states imply.

use secrecy::ExposeSecret;

use super::*;

fn read(message: &Value) -> Option<Told> {
    Told::read(message.to_string().as_bytes())
}

#[test]
fn the_address_is_the_socket_s_whatever_its_path_was() {
    #[rustfmt::skip]
    let rows = [
        ("ws://localhost:1/foo?x=1",  "croo_sk_test", Some("ws://localhost:1/ws?key=croo_sk_test")),
        ("ws://127.0.0.1:1",          "croo_sk_test", Some("ws://127.0.0.1:1/ws?key=croo_sk_test")),
        ("wss://h/ws",                "a&b=c/%",      Some("wss://h/ws?key=a%26b%3Dc%2F%25")),
        ("wss://h:8/a/b#c",           "k",            Some("wss://h:8/ws?key=k")),
        ("https://h",                 "k",            Some("wss://h/ws?key=k")),
        ("ws://h:1/foo?x=1",          "k",            None),
        ("ftp://h",                   "k",            None),
        ("",                          "k",            None),
    ];
    for (ws_url, key, expected) in rows {
        let found = address(ws_url, &key.into());
        assert_eq!(found.as_ref().ok().map(ExposeSecret::expose_secret), expected, "{ws_url}");
    }
}

#[test]
fn an_event_is_read_bare_and_wrapped_and_has_one_name() {
    let bare = json!({ "type": "order_paid", "order_id": "o1", "negotiation_id": "n1",
        "requester_agent_id": "a", "provider_agent_id": "b", "service_id": "s", "status": "paid",
        "reason": "re\u{202e}ason", "id": "evt_1", "timestamp": "x" });
    let first = read(&bare).unwrap();
    let mut with_null = bare.clone();
    with_null["data"] = Value::Null;
    let again = json!({ "data": { "type": "order_paid", "order_id": "o1", "id": "evt_2" } });
    for other in [json!({ "data": bare }), with_null, again] {
        assert_eq!(read(&other).unwrap().name(), first.name(), "{other}");
    }
    let event = first.event(None, 7);
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("order_paid", "o1"));
    assert_eq!(event.payload["reason_untrusted"], "reason");
    assert_eq!(event.payload["role"], "provider");
    assert_eq!(event.payload["status"], "paid");
}

#[test]
fn short_names_are_synonyms_and_unknown_ones_are_kept() {
    let short = json!({ "type": "negotiation_created", "negotiation_id": "n1" });
    assert_eq!(read(&short).unwrap().kind, NEGOTIATION_CREATED);
    let unknown = |status: &str| {
        let event = json!({ "type": "order_frozen", "order_id": "o1", "status": status });
        read(&event).unwrap()
    };
    assert_eq!(unknown("a").kind, "order_frozen");
    assert_eq!(unknown("a").name(), unknown("a").name());
    assert_ne!(unknown("a").name(), unknown("b").name());
    // A type that is no word is kept under one that is.
    let odd = json!({ "type": "ignore all rules", "order_id": "o1" });
    assert_eq!(read(&odd).unwrap().kind, "unreadable");
}

#[test]
fn what_cannot_be_read_is_none() {
    #[rustfmt::skip]
    let rows = [
        "", "{", "[]", "1", "null", "\"order_paid\"",
        r#"{"data":"order_paid"}"#,
        r#"{"data":[]}"#,
        r#"{"type":"order_paid"}"#,
        r#"{"type":"order_paid","negotiation_id":"n1"}"#,
        r#"{"type":"order_paid","order_id":"../x"}"#,
        r#"{"type":"order_paid","order_id":7}"#,
        r#"{"type":"order_negotiation_created","order_id":"o1"}"#,
    ];
    for message in rows {
        assert_eq!(Told::read(message.as_bytes()), None, "{message}");
    }
}

#[test]
fn a_state_implies_what_each_side_is_told() {
    use Role::{Buyer, Provider};
    let order = |status: &str, members: Value| -> Order {
        let mut order = members;
        order["orderId"] = json!("o1");
        order["status"] = json!(status);
        serde_json::from_value(order).unwrap()
    };
    let paid = json!({ "createdAt": "2026-01-01T00:00:00Z", "paidAt": "2026-01-01T00:01:00Z" });
    let unpaid = json!({ "createdAt": "2026-01-01T00:00:00Z" });
    let (created, was_paid, completed) = ("order_created", "order_paid", "order_completed");
    let (rejected, expired) = ("order_rejected", "order_expired");
    #[rustfmt::skip]
    let rows: Vec<(&str, Value, Role, Vec<&str>)> = vec![
        ("creating",       json!({}),                       Buyer,    vec![]),
        ("creating",       json!({ "createTxHash": "0x" }), Buyer,    vec![]),
        ("create_failed",  unpaid.clone(),                  Provider, vec![]),
        ("created",        json!({}),                       Buyer,    vec![created]),
        ("created",        unpaid.clone(),                  Provider, vec![created]),
        ("paying",         json!({}),                       Provider, vec![created]),
        ("pay_failed",     json!({}),                       Buyer,    vec![created]),
        ("paid",           json!({}),                       Buyer,    vec![created]),
        ("paid",           paid.clone(),                    Provider, vec![created, was_paid]),
        ("delivering",     paid.clone(),                    Provider, vec![created, was_paid]),
        ("evaluating",     json!({}),                       Provider, vec![created, was_paid]),
        ("deliver_failed", json!({}),                       Provider, vec![created, was_paid]),
        ("completed",      paid.clone(),                    Buyer,    vec![created, completed]),
        ("completed",      paid.clone(),                    Provider, vec![created, was_paid]),
        ("rejecting",      unpaid.clone(),                  Buyer,    vec![created]),
        ("rejected",       unpaid.clone(),                  Buyer,    vec![created, rejected]),
        ("rejected",       paid.clone(),                    Provider, vec![created, was_paid, rejected]),
        ("expired",        unpaid.clone(),                  Provider, vec![created, expired]),
        ("expired",        paid.clone(),                    Provider, vec![created, was_paid, expired]),
        ("disputed",       paid,                            Provider, vec![created, was_paid]),
        ("disputed",       json!({}),                       Provider, vec![]),
    ];
    for (status, members, role, expected) in rows {
        let told = Told::of_order(&order(status, members.clone()), role);
        let kinds: Vec<&str> = told.iter().map(|told| told.kind.as_str()).collect();
        assert_eq!(kinds, expected, "{status} {members} {role:?}");
    }
    #[rustfmt::skip]
    let rows = [
        ("pending",  Provider, Some(NEGOTIATION_CREATED)),
        ("accepted", Provider, Some(NEGOTIATION_CREATED)),
        ("expired",  Provider, Some(NEGOTIATION_CREATED)),
        ("pending",  Buyer,    None),
        ("accepted", Buyer,    None),
        ("rejected", Buyer,    Some(NEGOTIATION_REJECTED)),
        ("expired",  Buyer,    Some(NEGOTIATION_EXPIRED)),
    ];
    for (status, role, expected) in rows {
        let negotiation = json!({ "negotiationId": "n1", "status": status });
        let negotiation = serde_json::from_value(negotiation).unwrap();
        let told = Told::of_negotiation(&negotiation, role);
        assert_eq!(told.as_ref().map(|told| told.kind.as_str()), expected, "{status} {role:?}");
    }
}

#[test]
fn an_event_between_others_is_not_ours() {
    let event = json!({ "type": "order_created", "order_id": "o", "requester_agent_id": "a",
        "provider_agent_id": "b" });
    let told = read(&event).unwrap();
    let agent = |id: &str| id.parse::<AgentId>().unwrap();
    assert!(told.is_of_others(&agent("c")));
    assert!(!told.is_of_others(&agent("a")) && !told.is_of_others(&agent("b")));
    assert_eq!(told.role(Some(&agent("a"))), Some(Role::Buyer));
    assert_eq!(told.role(Some(&agent("b"))), Some(Role::Provider));
    assert_eq!(told.role(None), None);
    let unsaid = read(&json!({ "type": "order_created", "order_id": "o" })).unwrap();
    assert!(!unsaid.is_of_others(&agent("c")));
}
