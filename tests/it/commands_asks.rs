//! The built program: the owner's answer to what is no payment, and what the doctor says of Paegents.

use haggle::{
    asks::{self, Ask},
    clock::wall_ms,
    ids::AskId,
    store::Store,
};
use rusqlite::params;

use crate::commands::{ADDRESS, Home, KEY};

/// A question that waits in this store.
fn asked(store: &Store, name: &str) -> AskId {
    let id: AskId = format!("ask_{name}").parse().unwrap();
    let now = wall_ms() / 1000;
    let described = "Agree to the payment of 25 USD.\n    memo = \"x\u{202e}\u{1b}[2Jy\"\n";
    store
        .with_blocking(|db| {
            db.execute(
                "INSERT INTO asks (id, principal, tool, digest, described, at, expires_at)
                 VALUES (?1, 'local', 'paegents_approve_request', ?1, ?2, ?3, ?4)",
                params![id.as_str(), described, now, now + asks::OPEN_SECONDS],
            )?;
            Ok(())
        })
        .unwrap();
    id
}

fn found(store: &Store, id: &AskId) -> Ask {
    store.with_blocking(|db| asks::find(db, id)).unwrap().unwrap()
}

#[test]
fn a_yes_finds_its_question_in_whatever_store_it_is() {
    let home = Home::new();
    let live = home.store("live.db");
    let id = asked(&live, "one");
    let text = home.ends(0, &["approve", id.as_str()]);
    for words in ["Agree to the payment of 25 USD.", "paegents_approve_request", "Agreed until"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
    let ask = found(&live, &id);
    let left = ask.expires_at - wall_ms() / 1000;
    assert_eq!((ask.granted, ask.used_at), (Some(true), None));
    assert!((asks::ANSWER_SECONDS - 60..=asks::ANSWER_SECONDS).contains(&left), "{left}");
    let text = home.ends(1, &["approve", id.as_str()]);
    assert!(text.contains("is agreed to already"), "{text}");
    // It can be taken back until it is used.
    home.ends(0, &["deny", id.as_str()]);
    assert_eq!(found(&live, &id).granted, Some(false));
    home.ends(1, &["approve", id.as_str()]);
}

#[test]
fn a_no_is_kept_and_nonsense_is_refused() {
    let home = Home::new();
    let store = home.store("sandbox.db");
    let id = asked(&store, "two");
    home.ends(2, &["approve", id.as_str(), "--seller", "--up-to", "5", "--for", "3"]);
    assert_eq!(found(&store, &id).granted, None);
    let told = home.json(&["deny", id.as_str(), "--json"]);
    assert_eq!((&told["ask_id"], &told["granted"]), (&id.as_str().into(), &false.into()));
    assert_eq!(told["tool"], "paegents_approve_request");
    assert_eq!(found(&store, &id).granted, Some(false));
    let text = home.ends(1, &["approve", "ask_none"]);
    assert!(text.contains("there is no question ask_none"), "{text}");
    home.ends(2, &["approve", "ask_../x"]);
}

#[test]
fn the_doctor_names_what_waits() {
    let home = Home::new();
    let id = asked(&home.store("sandbox.db"), "three");
    let text = home.ends(0, &["doctor"]);
    for words in [format!("haggle approve {id}"), "paegents_approve_request".to_owned()] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert!(!text.contains("25 USD"), "{text}");
}

#[test]
fn the_doctor_looks_at_paegents() {
    let home = Home::new();
    let text = home.ends(0, &["doctor"]);
    for words in ["✓ paegents ", "Paegents accepts the key of agt_", "Base Sepolia, as published"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// What cannot be reached, a key that is missing, and a contract that is not known.
#[test]
fn the_doctor_says_what_paegents_lacks() {
    const ESCROW: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let home = Home::new();
    let looks = |escrow: &str, wallet: bool| {
        home.configure(escrow);
        let mut command = home.command(&["doctor", "--marketplaces", "paegents"]);
        command
            .env("PAEGENTS_API_URL", "http://127.0.0.1:9")
            .env("BASE_RPC_URL", "http://127.0.0.1:9")
            .env("OWNER_JWT", "a.s3cret.jwt");
        if wallet {
            command.env("AGENT_PRIVATE_KEY", KEY);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("s3cret") && !text.contains("OWNER_JWT"), "{text}");
        text
    };
    let plain = looks("", true);
    for words in ["✗ paegents ", ADDRESS] {
        assert!(plain.contains(words), "{words}: {plain}");
    }
    assert!(plain.contains("published no contract for Base"), "{plain}");
    let text = looks(&format!("[paegents]\nescrow = \"{ESCROW}\"\n"), true);
    assert!(text.contains(&format!("{ESCROW} on Base, as you configured it")), "{text}");
    let text = looks("[paegents]\nescrow = \"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"\n", true);
    assert!(text.contains("✗ paegents escrow"), "it is the token: {text}");
    let text = looks("", false);
    assert!(text.contains("agreements can be made, not paid"), "{text}");
}
