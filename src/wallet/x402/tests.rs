//! Headers against the libraries' own, what is read, and what is not paid.

use alloy_primitives::{address, hex};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::wallet::keys::EvmKey;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const OTHER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const ESCROW: Address = address!("0xcA98356B65951b621C32B840F0266847C6043B45");
const BASE_USDC: &str = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
const NOW: u64 = 1_740_672_094;

/// `x402.md` §11, A: the compact header value.
#[rustfmt::skip]
const VECTOR_A: &str = "eyJ4NDAyVmVyc2lvbiI6MSwic2NoZW1lIjoiZXhhY3QiLCJuZXR3b3JrIjoiYmFzZS1zZXBvbGlhIiwicGF5bG9hZCI6eyJzaWduYXR1cmUiOiIweDQ3ZGMxZGM4NTM5YWZmZjc1ZDk1NTNkNGViNGFiNzdiMjUwMjFmODc2ODJlZGU4YTBmMTBhMTcyNDBjZDNiZmE2Yzg4NDlhNmVjM2FlOTk4NTQyNTFlZWI4ZjYyMTE4MzViYjNmODk2ZjBmOWQzZDIxNGVjZTJjN2Q3MjJhNDUzMWMiLCJhdXRob3JpemF0aW9uIjp7ImZyb20iOiIweGYzOUZkNmU1MWFhZDg4RjZGNGNlNmFCODgyNzI3OWNmZkZiOTIyNjYiLCJ0byI6IjB4NzA5OTc5NzBDNTE4MTJkYzNBMDEwQzdkMDFiNTBlMGQxN2RjNzlDOCIsInZhbHVlIjoiMTAwMDAiLCJ2YWxpZEFmdGVyIjoiMTc0MDY3MjA4OSIsInZhbGlkQmVmb3JlIjoiMTc0MDY3MjE1NCIsIm5vbmNlIjoiMHhhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiIn19fQ==";
/// `x402.md` §11, C: the decoded `PAYMENT-SIGNATURE`.
#[rustfmt::skip]
const VECTOR_C: &str = r#"{"x402Version":2,"payload":{"authorization":{"from":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","to":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","value":"10000","validAfter":"0","validBefore":"1740672154","nonce":"0xabababababababababababababababababababababababababababababababab"},"signature":"0x4e28e849ace16cbef251af05060396eb3c96c1dae50b3a8b3874c5c797c454b21a822fb1537c747329ec8b489428fcd428e466447edb447dae86c426b99f63871c"},"accepted":{"scheme":"exact","network":"eip155:8453","asset":"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913","amount":"10000","payTo":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","maxTimeoutSeconds":60,"extra":{"name":"USD Coin","version":"2"}},"resource":{"url":"https://api.example.com/x","mimeType":"application/json"}}"#;
/// `x402.md` §11, D: a `PAYMENT-REQUIRED` for C, without the MIME type.
#[rustfmt::skip]
const VECTOR_D: &str = "eyJ4NDAyVmVyc2lvbiI6MiwiZXJyb3IiOiJQQVlNRU5ULVNJR05BVFVSRSBoZWFkZXIgaXMgcmVxdWlyZWQiLCJyZXNvdXJjZSI6eyJ1cmwiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbS94In0sImFjY2VwdHMiOlt7InNjaGVtZSI6ImV4YWN0IiwibmV0d29yayI6ImVpcDE1NTo4NDUzIiwiYXNzZXQiOiIweDgzMzU4OWZDRDZlRGI2RTA4ZjRjN0MzMkQ0ZjcxYjU0YmRBMDI5MTMiLCJhbW91bnQiOiIxMDAwMCIsInBheVRvIjoiMHg3MDk5Nzk3MEM1MTgxMmRjM0EwMTBDN2QwMWI1MGUwZDE3ZGM3OUM4IiwibWF4VGltZW91dFNlY29uZHMiOjYwLCJleHRyYSI6eyJuYW1lIjoiVVNEIENvaW4iLCJ2ZXJzaW9uIjoiMiJ9fV19";

fn wallet() -> Wallet {
    Wallet::new(Some(EvmKey::read(&SecretString::from(KEY)).unwrap()), None)
}

fn nonce() -> B256 {
    B256::repeat_byte(0xab)
}

fn terms(chain_id: u64) -> Terms {
    Terms { chain_id, to: OTHER, amount: Usdc::from_micros(10_000), timeout_seconds: 60 }
}

fn bounds(chain_id: u64) -> AuthorizationBounds {
    AuthorizationBounds { chain_id, to: OTHER, value_max: Usdc::from_micros(10_000), now: NOW }
}

/// What vector C pays: D, with the MIME type.
fn demand_c() -> Demand {
    let mut json: Value = serde_json::from_slice(&STANDARD.decode(VECTOR_D).unwrap()).unwrap();
    json["resource"]["mimeType"] = json!("application/json");
    let text = json.to_string().replace(
        r#"{"mimeType":"application/json","url":"https://api.example.com/x"}"#,
        r#"{"url":"https://api.example.com/x","mimeType":"application/json"}"#,
    );
    // The entry itself in the order of the vector.
    let entry =
        &VECTOR_C[VECTOR_C.find(r#"{"scheme"#).unwrap()..VECTOR_C.find(r#","resource"#).unwrap()];
    let (start, end) = (text.find('[').unwrap(), text.rfind(']').unwrap());
    let text = format!("{}[{entry}]{}", &text[..start], &text[end + 1..]);
    Demand::read_header(&STANDARD.encode(text)).unwrap()
}

#[test]
fn a_version_1_header_is_that_of_the_python_library() {
    let authorization = Authorization {
        valid_after: 1_740_672_089,
        ..terms(84532).authorization(Version::One, OWN, nonce(), NOW).unwrap()
    };
    let header = wallet().x402_v1(&authorization, &bounds(84532)).unwrap();
    // The spaces that Python's `json.dumps` puts, and vector A without them.
    let json = String::from_utf8(STANDARD.decode(&header.value).unwrap()).unwrap();
    let compact = String::from_utf8(STANDARD.decode(VECTOR_A).unwrap()).unwrap();
    assert_eq!(json, compact.replace(',', ", ").replace(':', ": "));
    assert!(json.starts_with(r#"{"x402Version": 1, "scheme": "exact", "network": "#));
    assert!(!format!("{header:?}").contains("47dc1dc8"));

    let (ours, theirs) = (Payment::read(&header.value).unwrap(), Payment::read(VECTOR_A).unwrap());
    assert_eq!(ours.signature, theirs.signature);
    assert_eq!(ours.signer(), Some(OWN));
    assert_eq!(theirs.signer(), Some(OWN));
}

#[test]
fn a_version_2_header_is_that_of_the_library() {
    let (demand, wallet) = (demand_c(), wallet());
    let own_bounds = RequirementBounds {
        chain_id: 8453,
        own: OWN,
        pay_to: Some(OTHER),
        amount_max: Usdc::from_micros(10_000),
    };
    let (chosen, asked) = demand.choose(&own_bounds).unwrap();
    assert_eq!(asked, terms(8453));
    let authorization = asked.authorization(Version::Two, OWN, nonce(), NOW).unwrap();
    assert_eq!((authorization.valid_after, authorization.valid_before), (0, 1_740_672_154));
    let header = wallet.x402_v2(&authorization, &bounds(8453), chosen, &demand).unwrap();
    let json = String::from_utf8(STANDARD.decode(&header.value).unwrap()).unwrap();
    assert_eq!(json, VECTOR_C);
    let read = Payment::read(&header.value).unwrap();
    assert_eq!((read.version, read.network.as_str()), (Version::Two, "eip155:8453"));
    assert_eq!(read.signer(), Some(OWN));
    assert_eq!(read.accepted.unwrap().check(&own_bounds).unwrap(), asked);

    // Nothing is signed for a requirement that asks for something else.
    let less = Authorization { value: Usdc::from_micros(9_999), ..authorization.clone() };
    let elsewhere = Authorization { to: ESCROW, ..authorization.clone() };
    let mut first = chosen.clone();
    first.version = Version::One;
    let refusals = [
        ("value", wallet.x402_v2(&less, &bounds(8453), chosen, &demand)),
        ("payTo", wallet.x402_v2(&elsewhere, &bounds(8453), chosen, &demand)),
        ("chain_id", wallet.x402_v2(&authorization, &bounds(84532), chosen, &demand)),
        ("x402Version", wallet.x402_v2(&authorization, &bounds(8453), &first, &demand)),
    ];
    for (field, refusal) in refusals {
        let Err(SignError::Field(refused)) = refusal else { panic!("{field}: {refusal:?}") };
        assert_eq!(refused.field, field);
    }
    assert_eq!(wallet.signatures(), 1);
}

#[test]
fn what_came_with_a_demand_goes_back_as_it_came() {
    let entry = format!(
        r#"{{ "payTo":"{OTHER}","scheme":"exact","network":"eip155:8453","asset":"{BASE_USDC}", "#
    ) + r#""amount": 10000,"maxTimeoutSeconds":"60","extra":null,"#
        + r#""unknown":{"b":1e2,"a":"\u00e9"} }"#;
    let extensions = r#"{"x":{"info":{"z":1,"a":[2.50]},"schema":{}}}"#;
    let body = format!(r#"{{"accepts":[{entry}],"x402Version":2,"extensions":{extensions}}}"#);
    let demand = Demand::read_header(&STANDARD.encode(&body)).unwrap();
    let authorization = terms(8453).authorization(Version::Two, OWN, nonce(), NOW).unwrap();
    let header =
        wallet().x402_v2(&authorization, &bounds(8453), &demand.accepts[0], &demand).unwrap();
    let json = String::from_utf8(STANDARD.decode(&header.value).unwrap()).unwrap();
    assert!(json.contains(&format!(r#""accepted":{entry},"extensions":{extensions}}}"#)), "{json}");
    assert!(!json.contains("resource"), "{json}");
}

/// `x402.md` §2 (timing) and §5 (the clamp).
#[test]
fn an_authorization_lasts_as_long_as_the_seller_asks_within_reason() {
    #[rustfmt::skip]
    let rows = [
        // what it shows      asked      lasts
        ("as asked",          600,       600),
        ("the shortest",      10,        10),
        ("a second less",     9,         10),
        ("none at all",       0,         10),
        ("the longest",       3600,      3600),
        ("a second more",     3601,      3600),
        ("for ever",          u64::MAX,  3600),
    ];
    for (row, timeout_seconds, expected) in rows {
        let terms = Terms { timeout_seconds, ..terms(84532) };
        let first = terms.authorization(Version::One, OWN, nonce(), NOW).unwrap();
        assert_eq!((first.valid_after, first.valid_before), (NOW - 60, NOW + expected), "{row}");
        let second = terms.authorization(Version::Two, OWN, nonce(), NOW).unwrap();
        assert_eq!((second.valid_after, second.valid_before), (0, NOW + expected), "{row}");
        assert!(wallet().x402_v1(&first, &bounds(84532)).is_ok(), "{row}");
    }
    let nowhere = terms(1).authorization(Version::One, OWN, nonce(), NOW);
    assert_eq!(nowhere.unwrap_err().reason, Reason::Chain { chain_id: 1 });
}

/// `x402.md` §10, rows 1 and 2.
#[test]
fn one_decoder_reads_every_spelling() {
    let compact = STANDARD.decode(VECTOR_A).unwrap();
    let mut numbers: Value = serde_json::from_slice(&compact).unwrap();
    for name in ["value", "validAfter", "validBefore"] {
        let field = &mut numbers["payload"]["authorization"][name];
        *field = json!(field.as_str().unwrap().parse::<u64>().unwrap());
    }
    numbers["x402Version"] = json!("1");
    numbers["more"] = json!({ "is": "ignored" });
    // Bytes that the two alphabets spell differently.
    let text = String::from_utf8(compact.clone()).unwrap().replace("base-sepolia", "84532");
    let odd = text.replace('}', "}\n>>>???".get(..1).unwrap()) + "   ";
    #[rustfmt::skip]
    let rows = [
        ("as the vector",       VECTOR_A.to_owned()),
        ("with white space",    format!("  {VECTOR_A}\n")),
        ("without padding",     STANDARD_NO_PAD.encode(&compact)),
        ("the other alphabet",  URL_SAFE.encode(&compact)),
        ("both",                URL_SAFE_NO_PAD.encode(&compact)),
        ("numbers",             STANDARD.encode(numbers.to_string())),
        ("a chain's number",    URL_SAFE.encode(&odd)),
    ];
    for (row, header) in rows {
        let read = Payment::read(&header).unwrap();
        assert_eq!((read.version, read.scheme.as_str()), (Version::One, "exact"), "{row}");
        assert_eq!((read.from, read.to, read.value), (OWN, OTHER, U256::from(10_000)), "{row}");
        assert_eq!(read.valid_after, U256::from(1_740_672_089), "{row}");
        assert_eq!(read.valid_before, U256::from(1_740_672_154), "{row}");
        assert_eq!((read.nonce, read.signer()), (nonce(), Some(OWN)), "{row}");
    }
    // The alphabets differ in two letters only; a text that needs both.
    let bytes = [0xfb_u8, 0xff, 0xbf];
    for text in ["+/+/", "-_-_", "+_-/"] {
        assert_eq!(from_base64(text).unwrap(), bytes, "{text}");
    }
}

#[test]
fn what_is_no_payment_is_not_read() {
    type Change = fn(&mut Value);
    let good: Value = serde_json::from_slice(&STANDARD.decode(VECTOR_A).unwrap()).unwrap();
    #[rustfmt::skip]
    let rows: Vec<(&str, Change)> = vec![
        ("no version",           |v| { v.as_object_mut().unwrap().remove("x402Version"); }),
        ("another version",      |v| v["x402Version"] = json!(3)),
        ("version 2 as it is",   |v| v["x402Version"] = json!(2)),
        ("no network",           |v| v["network"] = Value::Null),
        ("no scheme",            |v| v["scheme"] = Value::Null),
        ("no payload",           |v| v["payload"] = Value::Null),
        ("a short signature",    |v| v["payload"]["signature"] = json!("0x1234")),
        ("a signature's bytes",  |v| v["payload"]["signature"] = json!([1, 2, 3])),
        ("a negative value",     |v| v["payload"]["authorization"]["value"] = json!("-1")),
        ("a fraction",           |v| v["payload"]["authorization"]["value"] = json!(1.5)),
        ("a short payee",        |v| v["payload"]["authorization"]["to"] = json!("0x12")),
        ("a short nonce",        |v| v["payload"]["authorization"]["nonce"] = json!("0xab")),
        ("permit2",              |v| { let p = v["payload"]["authorization"].take(); v["payload"] = json!({ "signature": "0x", "permit2Authorization": p }); }),
    ];
    for (row, change) in rows {
        let mut payment = good.clone();
        change(&mut payment);
        let refused = Payment::read(&STANDARD.encode(payment.to_string())).unwrap_err();
        assert_eq!(refused.field, "payment_header", "{row}");
    }
    for (row, header) in [
        ("empty", String::new()),
        ("no base64", "not base64!".to_owned()),
        ("no JSON", STANDARD.encode("hello")),
        ("too long", "A".repeat(HEADER_BYTES_MAX + 4)),
        ("padding within", format!("QQ=={VECTOR_A}")),
    ] {
        assert!(Payment::read(&header).is_err(), "{row}");
    }
}

/// Whoever changes a field has another signer, and the curve's other signature is refused.
#[test]
fn a_changed_payment_has_another_signer() {
    let good: Value = serde_json::from_slice(&STANDARD.decode(VECTOR_A).unwrap()).unwrap();
    let fields = [
        ("to", json!(ESCROW.to_string())),
        ("from", json!(OTHER.to_string())),
        ("value", json!("10001")),
        ("validAfter", json!("0")),
        ("validBefore", json!("9999999999")),
        ("nonce", json!(format!("0x{}", "ac".repeat(32)))),
    ];
    for (name, value) in fields {
        let mut payment = good.clone();
        payment["payload"]["authorization"][name] = value;
        let read = Payment::read(&STANDARD.encode(payment.to_string())).unwrap();
        assert_ne!(read.signer(), Some(OWN), "{name}");
    }
    let mut elsewhere = good.clone();
    elsewhere["network"] = json!("base");
    let read = Payment::read(&STANDARD.encode(elsewhere.to_string())).unwrap();
    assert_ne!(read.signer(), Some(OWN));
    elsewhere["network"] = json!("avalanche");
    let read = Payment::read(&STANDARD.encode(elsewhere.to_string())).unwrap();
    assert_eq!(read.signer(), None);

    let signature = good["payload"]["signature"].as_str().unwrap();
    let bytes = hex::decode(signature).unwrap();
    let order: U256 =
        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let high = order - U256::from_be_slice(&bytes[32..64]);
    let mut malleable = bytes.clone();
    malleable[32..64].copy_from_slice(&high.to_be_bytes::<32>());
    malleable[64] = 27 + (28 - bytes[64]);
    let mut payment = good;
    payment["payload"]["signature"] = json!(hex::encode_prefixed(malleable));
    let refused = Payment::read(&STANDARD.encode(payment.to_string())).unwrap_err();
    assert!(refused.to_string().contains("high s"), "{refused}");
}

/// `x402.md` §3.1, §4.1 and §10.
#[test]
fn demands_of_both_versions_are_read() {
    let demand = Demand::read_header(VECTOR_D).unwrap();
    assert_eq!((demand.version, demand.accepts.len()), (Version::Two, 1));
    assert_eq!(demand.accepts[0].network, "eip155:8453");
    let bounds = RequirementBounds {
        chain_id: 8453,
        own: OWN,
        pay_to: None,
        amount_max: Usdc::from_micros(10_000),
    };
    assert_eq!(demand.choose(&bounds).unwrap().1, terms(8453));

    let entry = json!({ "scheme": "exact", "network": "base", "maxAmountRequired": "10000",
        "resource": "payment:1", "description": "", "mimeType": "application/json",
        "outputSchema": null, "payTo": OTHER, "maxTimeoutSeconds": 60, "asset": BASE_USDC,
        "extra": r#"{"name":"USD Coin","version":"2"}"# });
    let mut solana = entry.clone();
    solana["network"] = json!("solana");
    let mut both = entry.clone();
    both["amount"] = json!("1");
    let other = json!({ "scheme": "upto", "anything": [1] });
    for version in [json!(1), Value::Null] {
        let accepts = [&other, &both, &solana, &entry, &entry];
        let body = json!({ "x402Version": version, "error": "pay", "accepts": accepts });
        let demand = Demand::read_body(body.to_string().as_bytes()).unwrap();
        assert_eq!((demand.version, demand.accepts.len()), (Version::One, 3));
        let (chosen, asked) = demand.choose(&bounds).unwrap();
        assert_eq!((chosen.network.as_str(), asked), ("base", terms(8453)));
    }
    let refused = |result: Result<Demand, Refused>| result.unwrap_err().field;
    assert_eq!(refused(Demand::read_header("…")), "demand");
    assert_eq!(refused(Demand::read_body(b"[]")), "demand");
    assert_eq!(refused(Demand::read_body(br#"{"x402Version":3,"accepts":[]}"#)), "demand");
    let long = format!(r#"{{"accepts":[],"error":"{}"}}"#, "x".repeat(HEADER_BYTES_MAX));
    assert_eq!(refused(Demand::read_body(long.as_bytes())), "demand");
    let nothing = Demand::read_body(br#"{"x402Version":1,"accepts":[]}"#).unwrap();
    assert_eq!(nothing.choose(&bounds).unwrap_err().field, "accepts");
}

/// `x402.md` §5.
#[test]
fn a_requirement_is_held_against_pins_and_bounds() {
    type Change = fn(&mut Value, &mut RequirementBounds);
    #[rustfmt::skip]
    let rows: Vec<(&str, Change, Option<&str>)> = vec![
        // what it shows            change                                                  field
        ("as approved",             |_, _| {},                                              None),
        ("another scheme",          |r, _| r["scheme"] = json!("upto"),                     Some("scheme")),
        ("another network",         |r, _| r["network"] = json!("eip155:43114"),            Some("network")),
        ("the other pinned chain",  |r, _| r["network"] = json!("eip155:84532"),            Some("chain_id")),
        ("its name",                |r, _| r["network"] = json!("base"),                    None),
        ("another asset",           |r, _| r["asset"] = json!(ESCROW),                      Some("asset")),
        ("the asset of Sepolia",    |r, _| r["asset"] = json!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"), Some("asset")),
        ("the asset in lower case", |r, _| r["asset"] = json!(BASE_USDC.to_lowercase()),    None),
        ("an asset's symbol",       |r, _| r["asset"] = json!("USDC"),                      Some("asset")),
        ("nothing",                 |r, _| r["amount"] = json!("0"),                        Some("amount")),
        ("a micro-unit more",       |r, _| r["amount"] = json!("10001"),                    Some("amount")),
        ("beyond 64 bits",          |r, b| { r["amount"] = json!("18446744073709551616"); b.amount_max = Usdc::from_micros(u64::MAX); }, Some("amount")),
        ("nobody",                  |r, _| r["payTo"] = json!(Address::ZERO),               Some("payTo")),
        ("ourselves",               |r, _| r["payTo"] = json!(OWN),                         Some("payTo")),
        ("the token",               |r, _| r["payTo"] = json!(BASE_USDC),                   Some("payTo")),
        ("a name",                  |r, _| r["payTo"] = json!("seller.eth"),                Some("payTo")),
        ("another payee",           |r, _| r["payTo"] = json!(ESCROW),                      Some("payTo")),
        ("a payee nobody named",    |r, b| { r["payTo"] = json!(OTHER); b.pay_to = None; }, None),
        ("another name",            |r, _| r["extra"]["name"] = json!("USDC"),              Some("extra")),
        ("another version",         |r, _| r["extra"]["version"] = json!("1"),              Some("extra")),
        ("a version as a number",   |r, _| r["extra"]["version"] = json!(2),                Some("extra")),
        ("no extra",                |r, _| r["extra"] = Value::Null,                        None),
        ("EIP-3009, said",          |r, _| r["extra"]["assetTransferMethod"] = json!("eip3009"), None),
        ("permit2",                 |r, _| r["extra"]["assetTransferMethod"] = json!("permit2"), Some("extra")),
    ];
    let entry: Value = serde_json::from_slice(&STANDARD.decode(VECTOR_D).unwrap()).unwrap();
    for (row, change, expected) in rows {
        let mut entry = entry["accepts"][0].clone();
        let mut bounds = RequirementBounds {
            chain_id: 8453,
            own: OWN,
            pay_to: Some(OTHER),
            amount_max: Usdc::from_micros(10_000),
        };
        change(&mut entry, &mut bounds);
        let body = json!({ "x402Version": 2, "accepts": [entry] }).to_string();
        let demand = Demand::read_header(&STANDARD.encode(body)).unwrap();
        let found = demand.accepts[0].check(&bounds);
        assert_eq!(found.as_ref().err().map(|refused| refused.field), expected, "{row}");
    }
}

#[test]
fn a_time_that_is_beyond_reason_is_still_read() {
    #[rustfmt::skip]
    let rows = [
        // what it shows   written                       seconds
        ("a number",       json!(60),                    Some(60)),
        ("text",           json!("60"),                  Some(60)),
        ("none",           Value::Null,                  Some(600)),
        ("negative",       json!(-5),                    Some(0)),
        ("2^63",           json!(9_223_372_036_854_775_808_u64), Some(9_223_372_036_854_775_808)),
        ("a fraction",     json!(1.5),                   None),
        ("words",          json!("an hour"),             None),
        ("a list",         json!([60]),                  None),
    ];
    let entry: Value = serde_json::from_slice(&STANDARD.decode(VECTOR_D).unwrap()).unwrap();
    for (row, written, expected) in rows {
        let mut entry = entry["accepts"][0].clone();
        entry["maxTimeoutSeconds"] = written;
        let body = json!({ "x402Version": 2, "accepts": [entry] }).to_string();
        let demand = Demand::read_body(body.as_bytes()).unwrap();
        let found = demand.accepts.first().map(|requirement| requirement.timeout_seconds);
        assert_eq!(found, expected, "{row}");
    }
}
