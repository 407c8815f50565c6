//! `haggle purchases`: the journal as its owner sees it, and their word.

use haggle::{
    clock::wall_ms,
    journal::{
        self, Delivery, State,
        draws::{self, Draw, DrawState},
    },
};
use serde_json::{Value, json};

use crate::commands::{Home, put, read, state_of};

#[test]
fn purchases_are_listed_shown_and_exported() {
    let home = Home::new();
    let store = home.store("sandbox.db");
    let id = put(&store, &[State::Approved, State::Reserved, State::Submitted, State::Unknown]);
    let text = home.ends(0, &["purchases", "list"]);
    assert!(text.contains(id.as_str()) && text.contains("unknown"), "{text}");
    assert!(text.contains("\\u202e") && !text.contains('\u{202e}'), "{text}");
    let shown = home.json(&["purchases", "show", id.as_str(), "--json"]);
    assert_eq!(shown["state"], "unknown");
    assert_eq!(shown["money_moved"], "maybe");
    assert_eq!(shown["reference"], "rel_1");
    assert_eq!(shown["events"].as_array().unwrap().len(), 5);
    let text = home.ends(0, &["purchases", "show", id.as_str()]);
    assert!(text.contains("--paid or --not-paid"), "{text}");
    home.ends(1, &["purchases", "show", id.as_str(), "--answer"]);
    let rows = home.json(&["purchases", "export", "--format", "json"]);
    assert_eq!(rows["purchases"][0]["reference"], "rel_1");
    let csv = home.ends(0, &["purchases", "export", "--format", "csv"]);
    assert!(csv.contains(",rel_1,") && csv.contains(",'=Ada"), "{csv}");
    home.ends(0, &["purchases", "list", "--state", "settled"]);
    home.ends(2, &["purchases", "list", "--state", "lost"]);
}

#[test]
fn the_calls_that_draw_on_an_escrow_are_shown_and_exported() {
    let home = Home::new();
    let store = home.store("sandbox.db");
    let id = put(&store, &[State::Approved, State::Settled]);
    let draw = Draw {
        id: "7f0c".into(),
        principal: "local".into(),
        agreement_id: "agr_1".parse().unwrap(),
        method: "POST".into(),
        path: "sha256".into(),
        body_digest: "00".into(),
        body: None,
        answer: None,
        units_before: 0,
        units: Some(2),
        state: DrawState::Done,
        status: Some(200),
        at: wall_ms() / 1000,
        lost_at: None,
        ended_at: Some(wall_ms() / 1000),
    };
    let name = id.to_string();
    read(&store, |db| {
        draws::open(db, &draw, 0)?;
        draws::record(db, &draw)?;
        let (id, agreement_id) = ("7f0d".into(), "agr_2".parse().unwrap());
        let other = Draw { id, agreement_id, state: DrawState::Sent, ..draw };
        draws::open(db, &other, 0)?;
        let escrow =
            "UPDATE purchases SET rail = 'paegents_escrow', item_id = 'agr_1' WHERE id = ?1";
        Ok(db.execute(escrow, [&name])?)
    });
    let shown = home.json(&["purchases", "show", id.as_str(), "--json"]);
    assert_eq!(shown["draws"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(
        (&shown["draws"][0]["draw_id"], &shown["draws"][0]["units"]),
        (&json!("7f0c"), &json!(2))
    );
    let text = home.ends(0, &["purchases", "show", id.as_str()]);
    assert!(text.contains("2 units") && text.contains("POST /sha256"), "{text}");
    let all = home.json(&["purchases", "export", "--format", "json"]);
    assert_eq!(all["draws"].as_array().unwrap().len(), 2, "{all}");
    assert_eq!(
        (&all["draws"][1]["state"], &all["draws"][1]["units"]),
        (&json!("sent"), &Value::Null)
    );
}

#[test]
fn the_owners_word_ends_what_nobody_can_tell() {
    let home = Home::new();
    let store = home.store("live.db");
    let id = put(&store, &[State::Approved, State::Reserved, State::Submitted, State::Unknown]);
    let text = home.ends(1, &["purchases", "resolve", id.as_str()]);
    assert!(text.contains("--marketplaces crochet"), "asked where it was made: {text}");
    home.ends(0, &["purchases", "resolve", id.as_str(), "--not-paid"]);
    assert_eq!(state_of(&store, &id), State::Failed);
    home.ends(1, &["purchases", "resolve", id.as_str(), "--paid"]);
}

/// The key goes only to the API that a purchase was made at, whatever is configured by now.
#[test]
fn a_purchase_that_was_made_elsewhere_is_not_asked_about_here() {
    const NOWHERE: &str = "http://127.0.0.1:9";
    let keys = [
        ("CROO_API_URL", NOWHERE),
        ("CROO_SDK_KEY", "croo_sk_0"),
        ("CROCHET_API_URL", NOWHERE),
        ("CROCHET_API_KEY", "am_k_0"),
        ("PAEGENTS_API_URL", NOWHERE),
        ("PAEGENTS_AGENT_ID", "agt_0"),
        ("PAEGENTS_API_KEY", "sk_0"),
    ];
    let rails =
        [("crochet", "crochet_gateway"), ("croo", "croo_order"), ("paegents", "paegents_escrow")];
    for (marketplace, rail) in rails {
        let home = Home::new();
        let store = home.store("live.db");
        let id = put(&store, &[State::Approved, State::Reserved, State::Submitted, State::Unknown]);
        let name = id.to_string();
        read(&store, |db| {
            let made =
                "UPDATE purchases SET marketplace = ?2, rail = ?3, updated_at = 0 WHERE id = ?1";
            Ok(db.execute(made, [&*name, marketplace, rail])?)
        });
        let mut command = home.command(&["purchases", "resolve", id.as_str(), "--json"]);
        let printed = command.envs(keys).output().unwrap().stdout;
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        let error = &printed["purchases"][0]["error"];
        assert_eq!(error["code"], "wrong_state", "{rail}: {printed}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("https://crochet.example"), "{rail}: {message}");
    }
}

#[test]
fn an_answer_is_printed_byte_for_byte() {
    let home = Home::new();
    let store = home.store("sandbox.db");
    let id = put(&store, &[State::Approved, State::Settled]);
    let bytes = b"{\"a\": 1.0}\x1b\xff".to_vec();
    let (wanted, answer) = (id.clone(), bytes.clone());
    read(&store, |db| {
        journal::record(db, &wanted, 1, "test", |p| {
            p.answer = Some(answer);
            p.delivery = Delivery::Delivered;
            Ok(())
        })
    });
    assert_eq!(home.run(&["purchases", "show", id.as_str(), "--answer"]).stdout, bytes);
}
