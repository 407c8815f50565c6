//! A CROO that lies.

use serde_json::{Value, json};

use super::{http, said};

const SERVICE: &str = r#"{"service":{"serviceId":"svc_1","name":"A","price":"50000"}}"#;
const ORDER: &str = r#"{"order":{"orderId":"ord_1","status":"created","price":"50000"}}"#;
const HTML: &str = "<html><script>alert(1)</script>croo_sk_0123456789</html>";

fn unreadable(whole: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (open, _) = whole.split_once(':').unwrap();
    let deep = format!("{open}:{}", "[".repeat(200_000));
    let twice = whole.replace("\"}", "\",\"price\":\"1\"}");
    let large = whole.replace("50000", &"5".repeat(3_000_000));
    let endless = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        format!("10000\r\n{}\r\n", "[".repeat(0x10000)).repeat(64).into_bytes(),
    ]
    .concat();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{\"service\":{".to_vec();
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let gzip = "content-encoding: gzip\r\n";
    #[rustfmt::skip]
    let rows = vec![
        ("HTML",             http("200 OK", "content-type: text/html\r\n", HTML),          "upstream_malformed"),
        ("an HTML failure",  http("502 Bad Gateway", "content-type: text/html\r\n", HTML), "upstream_unavailable"),
        ("an HTML refusal",  http("404 Not Found", "", HTML),                              "not_found"),
        ("half of the JSON", http("200 OK", "", &whole[..40]),                             "upstream_malformed"),
        ("half of the bytes", cut,                                                         "upstream_unavailable"),
        ("another shape",    http("200 OK", "", r#"{"service":[1],"order":[1]}"#),         "upstream_malformed"),
        ("a member twice",   http("200 OK", "", twice),                                    "upstream_malformed"),
        ("a depth bomb",     http("200 OK", "", deep),                                     "upstream_malformed"),
        ("a bad identifier", http("200 OK", "", whole.replace("_1", "/../pay")),           "upstream_malformed"),
        ("another's",        http("200 OK", "", whole.replace("_1", "_2")),                "upstream_malformed"),
        ("no member",        http("200 OK", "", "{}"),                                     "upstream_malformed"),
        ("a null member",    http("200 OK", "", r#"{"service":null,"order":null}"#),       "upstream_malformed"),
        ("nothing",          http("200 OK", "", ""),                                       "upstream_malformed"),
        ("no content",       http("204 No Content", "", ""),                               "upstream_malformed"),
        ("UTF-16",           http("200 OK", "", utf16),                                    "upstream_malformed"),
        ("NaN",              http("200 OK", "", whole.replace("\"50000\"", "NaN")),        "upstream_malformed"),
        ("an object",        http("200 OK", "", whole.replace("\"50000\"", "{}")),         "upstream_malformed"),
        ("too much",         http("200 OK", "", large),                                    "upstream_too_large"),
        ("no end",           endless,                                                      "upstream_too_large"),
        ("no gzip",          http("200 OK", gzip, whole),                                  "upstream_unavailable"),
        ("a gzip bomb",      http("200 OK", gzip, super::bomb()),                          "upstream_too_large"),
        ("no HTTP",          b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),                          "upstream_unavailable"),
        ("a key refused",    http("401 Unauthorized", "", ""),                             "unauthorized"),
        ("not allowed",      http("403 Forbidden", "", ""),                                "not_allowed"),
        ("too often",        http("429 Too Many", "retry-after: 9\r\n", ""),               "rate_limited"),
        ("a redirect",       http("302 Found", "location: http://127.0.0.1:9/\r\n", ""),   "egress_blocked"),
    ];
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_answer_is_said_to_be_one() {
    for (tool, args, whole) in [
        ("croo_get_service", json!({ "service_id": "svc_1" }), SERVICE),
        ("croo_get_order", json!({ "order_id": "ord_1" }), ORDER),
        ("croo_pay_order", json!({ "order_id": "ord_1", "max_total_usd": "1" }), ORDER),
    ] {
        for (row, answer, code) in unreadable(whole) {
            let error = said(tool, args.clone(), answer).await.unwrap_err();
            assert_eq!(error["code"], code, "{tool} {row}: {error}");
            assert_eq!(error["money_moved"], "no", "{tool} {row}: {error}");
            let text = error.to_string();
            assert!(!text.contains("<html") && !text.contains("croo_sk_"), "{row}: {error}");
            assert!(text.len() < 2_000, "{tool} {row}");
        }
    }
}

/// What a protobuf server may write in another way is taken.
#[tokio::test]
async fn integers_as_texts_and_members_that_are_missing_are_taken() {
    #[rustfmt::skip]
    let rows = [
        // what it shows       the service                                              its price
        ("a text",             r#""serviceId":"svc_1","price":"50000""#,                json!("0.05")),
        ("a number",           r#""serviceId":"svc_1","price":50000"#,                  json!("0.05")),
        ("a null",             r#""serviceId":"svc_1","price":null,"name":null"#,       Value::Null),
        ("nothing",            r#""serviceId":"svc_1""#,                                Value::Null),
        ("empty",              r#""serviceId":"svc_1","price":"","agentId":"""#,        Value::Null),
        ("negative",           r#""serviceId":"svc_1","price":"-5""#,                   Value::Null),
        ("a fraction",         r#""serviceId":"svc_1","price":"5.5""#,                  Value::Null),
        ("2^64",               r#""serviceId":"svc_1","price":"18446744073709551616""#, Value::Null),
        ("unknown members",    r#""serviceId":"svc_1","price":"1","new":{"a":[1]}"#,    json!("0.000001")),
    ];
    for (row, members, price) in rows {
        let answer = http("200 OK", "", format!(r#"{{"service":{{{members}}}}}"#));
        let args = json!({ "service_id": "svc_1" });
        let service = said("croo_get_service", args, answer).await;
        let service = service.unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(service["service_id"], "svc_1", "{row}");
        assert_eq!(service["price_usd"], price, "{row}: {service}");
    }
    for list in [r#"{"orders":null}"#, "{}", r#"{"orders":[]}"#] {
        let answer = http("200 OK", "", list);
        let found = said("croo_list_orders", json!({ "role": "buyer" }), answer).await.unwrap();
        assert_eq!(found["orders"], json!([]), "{list}");
    }
}
