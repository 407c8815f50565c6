//! The owner's page in a real browser: how it looks, that it works with the keyboard alone, and that a
//! form of another page answers nothing.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use axum::{Router, extract::Query, response::Html, routing::get};
use haggle::{journal::State, spend::policy::Policy};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Mutex};

use crate::{
    served::{KEY, Served},
    world::{Make, World},
};

/// One browser at a time: it unpacks itself when it is first used.
static BROWSER: Mutex<()> = Mutex::const_new(());

fn in_target(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "target", "interop", name].iter().collect()
}

/// Lets the browser do a task.
async fn browser(task: Value) -> Value {
    let _one = BROWSER.lock().await;
    let unpacked = in_target("browser");
    std::fs::create_dir_all(&unpacked).unwrap();
    let mut child = tokio::process::Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/page.cjs"))
        .env("NODE_PATH", in_target("node_modules"))
        .env("TMPDIR", &unpacked)
        .env("HOME", &unpacked)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is not installed");
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn asking() -> World {
    World::start_with(Make { policy: Policy::default(), ..Make::default() }).await
}

/// A purchase that waits, with this text as its input: its identifier.
async fn waiting(world: &World, text: &str) -> String {
    let mut args = world.purchase_of("auto");
    args["body"] = json!({ "text": text });
    let error = world.buy(args).await.unwrap_err();
    error["purchase_id"].as_str().unwrap().to_owned()
}

async fn state(world: &World, id: &str) -> State {
    world.purchase(&json!({ "purchase_id": id })).await.state
}

/// A month of purchases, so that there is something to draw.
async fn with_a_past(world: &World) {
    let id = waiting(world, "the first").await;
    let page = Served::signed_in(&world.app).await;
    page.answer(&id, "approve_seller", &[("up_to_usd", "0.05"), ("days", "30")]).await;
    world.call("crochet_resume_call", json!({ "purchase_id": id })).await.unwrap();
    let paid = world.purchase(&json!({ "purchase_id": id })).await;
    let past = world.app.store().transact(move |db| {
        let places = ["croo", "crochet", "paegents"];
        for (day, place) in (0..28_i64).flat_map(|day| places.map(|place| (day, place))) {
            if (day * 7 + i64::try_from(place.len()).unwrap_or(0)) % 5 < 2 {
                continue;
            }
            let at = paid.created_at - day * 86_400;
            let mut earlier = paid.clone();
            earlier.id = format!("pur_{place}_{day}").parse().unwrap();
            earlier.marketplace = haggle::marketplaces::Marketplace::named(place).unwrap();
            earlier.natural_key = earlier.id.to_string();
            let micros = u64::try_from(50_000 + (day * 37 % 11) * 130_000).unwrap_or(0);
            earlier.amount = Some(haggle::money::Usdc::from_micros(micros));
            let names = ["Text statistics", "CSV summary", "JSON schema check"];
            names[usize::try_from(day % 3).unwrap_or(0)].clone_into(&mut earlier.item_name);
            (earlier.created_at, earlier.updated_at) = (at, at);
            (earlier.reserved_at, earlier.finished_at) = (Some(at), Some(at));
            earlier.account_nonce = None;
            haggle::journal::plan(db, &earlier)?;
        }
        let now = paid.created_at;
        db.execute(
            "INSERT INTO asks (id, principal, tool, digest, described, at, expires_at)
             VALUES ('ask_policy', 'desk', 'paegents_update_policies', 'd',
             'Change the policies of the agent agt_1 at Paegents:\n    daily_limit = \"250.00\"\n',
             ?1, ?2)",
            [now, now + 86_000],
        )?;
        Ok(())
    });
    past.await.unwrap();
    // What this seller asks for next is dearer than what they are trusted with, and hostile.
    let mut args = world.purchase_of("hostile_text");
    args["body"] = json!({ "text": "A long input. ".repeat(60), "columns": ["a", "b"] });
    world.buy(args).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_readable_on_a_phone_and_a_desk_by_day_and_night() {
    let world = asking().await;
    with_a_past(&world).await;
    let page = Served::whole(&world.app).await;
    let journal = world.journal().await;
    let waits = journal.iter().find(|p| p.state == State::AwaitingApproval).unwrap();
    let paid = journal.iter().find(|p| p.state == State::Settled).unwrap();
    let out = in_target("screenshots");
    std::fs::create_dir_all(&out).unwrap();
    let pages = json!({
        "purchases": "/owner/purchases",
        "limits": "/owner/limits",
        "stop": "/owner/stop",
        "to-answer": format!("/owner/purchases/{}", waits.id),
        "paid": format!("/owner/purchases/{}", paid.id),
        "ask": "/owner/asks/ask_policy",
        "missing": "/owner/purchases/pur_missing",
    });
    let task =
        json!({ "does": "looks", "base": page.base, "key": KEY, "out": out, "pages": pages });
    let found = browser(task).await;
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 4 * 10, "nine pages and what was loaded, four times");
    for look in found.iter().filter(|look| look["seen"].is_null()) {
        assert!(look["rules"].as_u64().unwrap() > 10, "hardly anything was looked at: {look}");
        assert_eq!(look["wrong"], json!([]), "{look}");
        assert!(look["width"].as_u64() <= look["viewport"].as_u64(), "it scrolls sideways: {look}");
    }
    for loaded in found.iter().filter_map(|look| look["seen"].as_array()).flatten() {
        let own = [format!("document {}", page.base), format!("stylesheet {}", page.base)];
        let missing = "console Failed to load resource: the server responded with a status of 404";
        let text = loaded.as_str().unwrap();
        assert!(own.iter().any(|own| own == text) || text.starts_with(missing), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_approved_with_the_keyboard_alone() {
    let world = asking().await;
    let id = waiting(&world, "by keyboard").await;
    let page = Served::whole(&world.app).await;
    let to = format!("/owner/purchases/{id}");
    let task = json!({ "does": "keyboard", "base": page.base, "key": KEY, "to": to,
        "button": "Approve up to" });
    let done = browser(task).await;
    let order = done["order"].as_array().unwrap();
    assert!(order.iter().all(|at| at["ring"] == true), "the focus is not seen: {order:?}");
    let names: Vec<&str> = order.iter().map(|at| at["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "Skip to the content");
    assert!(names.contains(&"Stop") && names.contains(&"Sign out"), "{names:?}");
    assert_eq!(names.last(), Some(&"Approve up to 0.05 USD"), "{names:?}");
    assert_eq!(done["url"], format!("{}{to}", page.base));
    assert_eq!(done["heading"], "Approved, not paid yet");
    assert_eq!((&done["skip"]["name"], &done["content"]), (&names[0].into(), &"content".into()));
    assert_eq!(state(&world, &id).await, State::Approved);
    let resume = json!({ "purchase_id": id });
    world.call("crochet_resume_call", resume).await.unwrap();
    world.audit().await;
}

/// What another page would like to send.
#[derive(Debug, Deserialize)]
struct Attack {
    to: String,
    envelope: String,
    form_token: String,
}

/// A page of somebody else that sends a form as soon as it is opened.
async fn attack(Query(attack): Query<Attack>) -> Html<String> {
    let Attack { to, envelope, form_token } = attack;
    Html(format!(
        "<!DOCTYPE html><form method=post action=\"{to}\">\
         <input name=envelope value=\"{envelope}\"><input name=form_token value=\"{form_token}\">\
         <input name=answer value=approve></form><script>document.forms[0].submit()</script>"
    ))
}

async fn frame(Query(to): Query<Vec<(String, String)>>) -> Html<String> {
    Html(format!("<!DOCTYPE html><h1>Win</h1><iframe src=\"{}\"></iframe>", to[0].1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_approves_nothing() {
    let world = asking().await;
    let id = waiting(&world, "forged").await;
    let mut page = Served::whole(&world.app).await;
    page.sign_in().await;
    let shown = page.get(&format!("/owner/purchases/{id}")).await;
    let envelope = shown.hidden("envelope");
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let evil = Router::new().route("/", get(attack)).route("/frame", get(frame));
    let evil = tokio::spawn(async move { axum::serve(listener, evil).await.unwrap() });
    let to = format!("{}/owner/purchases/{id}/answer", page.base);
    let from = |host: &str, to: &str| {
        let form = [("to", to), ("envelope", &*envelope), ("form_token", "0")];
        format!("http://{host}:{port}/?{}", crate::served::encoded(&form))
    };
    // From another port of the same host the session's cookie goes along; from another host it does not.
    let attacks = [from("127.0.0.1", &to), from("localhost", &to)];
    let frame = format!("http://127.0.0.1:{port}/frame?to={}/owner", page.base);
    let task = json!({ "does": "forged", "base": page.base, "key": KEY, "attacks": attacks,
        "frame": frame });
    let done = browser(task).await;
    evil.abort();
    let said: Vec<_> = done["answers"].as_array().unwrap().iter().collect();
    assert_eq!(said.len(), 2);
    let sites = [("same-site", true), ("cross-site", false)];
    for (answer, (site, cookie)) in said.iter().zip(sites) {
        assert_eq!(
            (&answer["site"], &answer["cookie"]),
            (&site.into(), &cookie.into()),
            "{answer}"
        );
        assert_eq!(answer["status"], 403, "{answer}");
        assert_eq!(answer["heading"], "That form was not from this page", "{answer}");
    }
    for text in done["framed"].as_array().unwrap() {
        assert!(!text.as_str().unwrap().contains("waits"), "it is shown in a frame: {text}");
    }
    assert_eq!(done["heading"], "What waits for you", "the owner is still signed in");
    assert_eq!(state(&world, &id).await, State::AwaitingApproval);
    let resume = json!({ "purchase_id": id });
    let error = world.call("crochet_resume_call", resume).await.unwrap_err();
    assert_eq!(error["code"], "approval_required");
    assert!(world.charges().await.is_empty());
}
