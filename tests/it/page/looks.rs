//! What the page shows: text of others as text, headers on everything, no secret, errors for a person.

use std::collections::BTreeSet;

use haggle::{ids::PurchaseId, journal};
use rusqlite::params;
use serde_json::json;

use super::{PAGES, asking, others::asked, waiting};
use crate::{
    served::{KEY, Served, Shown},
    world::{Make, World},
};

const HOSTILE: &str =
    "\"><script>alert('x')</script><img src=x onerror=y>\u{202e}evil\u{200b}\u{1b}[31m";

#[tokio::test]
async fn text_of_others_stays_text() {
    let world = asking().await;
    let (id, ask) = (waiting(&world).await, asked(&world, "one").await);
    let (of, told) = (id.clone(), ask.clone());
    let change = world.app.store().transact(move |db| {
        db.execute(
            "UPDATE purchases SET seller_name = ?2, item_name = ?2, seller_id = ?2, item_id = ?2,
             principal = ?2, asset = ?2, body = ?3, reference = ?2 WHERE id = ?1",
            params![of, HOSTILE, HOSTILE.as_bytes()],
        )?;
        let sql = "UPDATE asks SET described = ?2, tool = ?2, principal = ?2 WHERE id = ?1";
        db.execute(sql, params![told, HOSTILE])?;
        db.execute("INSERT INTO freezes (reason, at) VALUES (?1, 0)", params![HOSTILE])?;
        db.execute(
            "INSERT INTO grants (marketplace, seller_id, up_to, since, expires_at)
             VALUES (?1, ?1, 1, 0, 9999999999)",
            params![HOSTILE],
        )?;
        let sql = "UPDATE purchase_events SET note = ?1";
        db.execute(sql, params![HOSTILE])?;
        Ok(())
    });
    change.await.unwrap();
    let page = Served::signed_in(&world.app).await;
    let purchase = format!("/owner/purchases/{id}");
    let paths = ["/owner", "/owner/purchases", "/owner/limits", "/owner/stop", &purchase];
    let asks = format!("/owner/asks/{ask}");
    let mut seen = BTreeSet::new();
    let set = async |sql: &'static str| {
        let changed = world.app.store().transact(move |db| Ok(db.execute(sql, [])?));
        changed.await.unwrap();
    };
    // As it waits, and as it is when it has failed and spent something.
    for round in 0..2 {
        for path in paths.iter().copied().chain([&*asks]) {
            let shown = page.get(path).await;
            shown.says(200, &["&lt;script&gt;"]);
            for sign in ["<script", "<img", "\u{202e}", "\u{200b}", "\u{1b}", "alert('x')\""] {
                assert!(!shown.text.contains(sign), "{path} {round}: {sign:?} in {}", shown.text);
            }
            seen.insert(path.to_owned());
        }
        set("UPDATE purchases SET state = 'failed', amount = 5, reserved_at = updated_at,
             failure = 'x: ' || seller_name")
        .await;
    }
    assert_eq!(seen.len(), 6);
}

/// The headers that every answer carries.
#[track_caller]
fn is_guarded(what: &str, shown: &Shown) {
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    for (name, value) in [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        let all: Vec<_> = shown.headers.get_all(name).iter().collect();
        assert_eq!(all, [value], "{what}: {name}");
    }
    let html =
        shown.headers.get("content-type").is_some_and(|kind| kind == "text/html; charset=utf-8");
    if !shown.text.is_empty() && !what.contains("style") {
        assert!(html, "{what}: {:?}", shown.headers);
        assert!(shown.text.contains("Sandbox."), "{what} does not say the mode: {}", shown.text);
        assert!(shown.text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{what}");
        for barred in ["<script", "style=", " onclick", "javascript:", "http://", "https://"] {
            assert!(!shown.text.contains(barred), "{what} has {barred}: {}", shown.text);
        }
    }
}

#[tokio::test]
async fn every_answer_is_guarded_and_says_the_mode() {
    let world = asking().await;
    let id = waiting(&world).await;
    asked(&world, "1").await;
    let page = Served::signed_in(&world.app).await;
    let stranger = Served::start(&world.app).await;
    let own = format!("/owner/purchases/{id}");
    let more =
        ["/owner/", &*own, "/owner/sign-in", "/owner/style.css", "/owner/nowhere", "/owner/x/y"];
    let mut statuses = BTreeSet::new();
    for path in PAGES.iter().copied().chain(more) {
        for (who, name) in [(&page, "the owner"), (&stranger, "a stranger")] {
            for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
                let shown = who.send(method, path, &[], None).await;
                is_guarded(&format!("{method} {path} {name}"), &shown);
                statuses.insert(shown.status);
            }
        }
    }
    is_guarded("forged", &page.post(&format!("{own}/answer"), &[("answer", "deny")]).await);
    let large = page.post("/owner/stop", &[("answer", &"x".repeat(20_000))]).await;
    is_guarded("too large", &large);
    is_guarded("a wrong key", &stranger.post("/owner/sign-in", &[("key", "wrong")]).await);
    statuses.insert(large.status);
    assert_eq!(statuses, BTreeSet::from([200, 303, 308, 400, 403, 404, 405, 413]));
}

#[tokio::test]
async fn no_secret_is_on_a_page() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    page.answer(&id, "approve", &[]).await.leads_to();
    world.call("crochet_resume_call", json!({ "purchase_id": id })).await.unwrap();
    let info = serde_json::to_value(world.sandbox.info()).unwrap();
    let mut secrets = BTreeSet::from([KEY.to_owned()]);
    let cookie = page.cookie.clone().unwrap();
    secrets.insert(cookie.split_once('=').unwrap().1.to_owned());
    for (place, agent) in [("croo", "requester"), ("crochet", "buyer"), ("paegents", "buyer")] {
        for name in ["sdk_key", "api_key", "wallet_private_key"] {
            secrets.extend(info[place][agent][name].as_str().map(ToOwned::to_owned));
        }
    }
    secrets.insert(info["paegents"]["owner_jwt"].as_str().unwrap().to_owned());
    let key = world.purchase(&json!({ "purchase_id": id })).await.idempotency_key;
    secrets.insert(key);
    assert!(secrets.len() >= 7, "{secrets:?}");
    let own = format!("/owner/purchases/{id}");
    for path in PAGES.iter().copied().chain([&*own, "/owner/sign-in"]) {
        let shown = page.get(path).await;
        let all = format!("{:?} {}", shown.headers, shown.text);
        for secret in &secrets {
            let bare = secret.trim_start_matches("Bearer ").trim_start_matches("0x");
            assert!(!all.contains(bare), "{path} shows {bare}");
        }
    }
}

#[tokio::test]
async fn purchases_are_paged_and_drawn() {
    let world = World::start().await;
    world.buy(world.purchase_of("auto")).await.unwrap();
    let first = world.journal().await.remove(0);
    let plan = world.app.store().transact(move |db| {
        for n in 0..60 {
            let mut more = first.clone();
            more.id = format!("pur_{n}").parse::<PurchaseId>().unwrap();
            (more.natural_key, more.item_name) = (format!("{n}"), format!("thing {n}."));
            (more.state, more.finished_at) = (journal::State::Planned, None);
            (more.instrument, more.account_nonce) = (None, None);
            more.reserved_at = None;
            journal::plan(db, &more)?;
        }
        Ok(())
    });
    plan.await.unwrap();
    let page = Served::signed_in(&world.app).await;
    let shown = page.get("/owner/purchases").await;
    shown.says(
        200,
        &["thing 59.", "thing 35.", "Spent in 30 days", "class=\"crochet\"", "Crochet: 0.05"],
    );
    assert!(!shown.text.contains("thing 34."), "{}", shown.text);
    let (mut path, mut names) = ("/owner/purchases?before=pur_35".to_owned(), Vec::new());
    assert!(shown.text.contains(&format!("href=\"{path}\"")));
    loop {
        let shown = page.get(&path).await;
        names.extend((0..60).filter(|n| shown.text.contains(&format!("thing {n}."))));
        let Some((_, rest)) = shown.text.split_once("href=\"/owner/purchases?before=") else {
            assert!(shown.text.contains("paid and delivered"), "the oldest: {}", shown.text);
            break;
        };
        path = format!("/owner/purchases?before={}", rest.split_once('"').unwrap().0);
    }
    assert_eq!(names.len(), 35, "each once: {names:?}");
    for nonsense in ["x", "%00", "../..", "%22"] {
        page.get(&format!("/owner/purchases?before={nonsense}")).await.says(200, &[]);
    }
    page.get("/owner/purchases/pur_none").await.says(404, &["There is no purchase pur_none"]);
    page.get("/owner/purchases/%22%3E%3Cscript%3E").await.says(404, &["no such page"]);
}

/// Nothing is approved where the journal cannot be read, and the page says so.
#[tokio::test]
async fn a_broken_store_is_a_page_too() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let shown = page.get(&format!("/owner/purchases/{id}")).await;
    let (token, envelope) = (shown.hidden("form_token"), shown.hidden("envelope"));
    let hide = |to: &'static str, from: &'static str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        world.app.store().transact(move |db| Ok(db.execute_batch(&sql)?))
    };
    hide("gone", "approvals").await.unwrap();
    let form = [("form_token", &*token), ("envelope", &*envelope), ("answer", "approve")];
    let path = format!("/owner/purchases/{id}/answer");
    let told = ["The journal cannot be read or written", "nothing was approved", "haggle doctor"];
    page.post(&path, &form).await.says(503, &told);
    hide("approvals", "gone").await.unwrap();
    assert_eq!(super::state(&world, &id).await, journal::State::AwaitingApproval);
    hide("away", "purchases").await.unwrap();
    for path in ["/owner", "/owner/purchases", "/owner/limits", "/owner/stop", "/owner/asks/ask_1"]
    {
        page.get(path).await.says(503, &told);
    }
    page.post(&path, &form).await.says(503, &told);
}

#[tokio::test]
async fn live_is_said_plainly() {
    let world =
        World::start_with(Make { live: Some("http://127.0.0.1:9".to_owned()), ..Make::default() })
            .await;
    let page = Served::signed_in(&world.app).await;
    for path in ["/owner", "/owner/nowhere", "/owner/limits"] {
        let shown = page.get(path).await;
        assert!(shown.text.contains("Live.</strong> This is real money"), "{}", shown.text);
        assert!(!shown.text.contains("Sandbox"), "{}", shown.text);
    }
}
