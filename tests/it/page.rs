//! The owner's page: what it shows, what an answer on it does, and that nobody else can give one.

mod forged;
mod looks;
mod others;

use haggle::{
    app::App,
    credential::{self, CredentialDigest},
    journal::State,
    principal::Principal,
    spend::policy::Policy,
    transports::http,
};
use reqwest::header::SET_COOKIE;
use rusqlite::params;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    served::{KEY, Served},
    world::{self, Era, Make, World},
};

/// A world in which everything that costs something waits for the owner, who is nowhere near.
pub(crate) async fn asking() -> World {
    World::start_with(Make { policy: Policy::default(), era: Era::Modern, ..Make::default() }).await
}

/// A purchase that waits: its identifier.
pub(crate) async fn waiting(world: &World) -> String {
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["code"], "approval_required", "{error}");
    error["purchase_id"].as_str().unwrap().to_owned()
}

async fn resume(world: &World, id: &str) -> Result<Value, Value> {
    world.call("crochet_resume_call", json!({ "purchase_id": id })).await
}

async fn state(world: &World, id: &str) -> State {
    world.purchase(&json!({ "purchase_id": id })).await.state
}

const PAGES: [&str; 6] = [
    "/owner",
    "/owner/purchases",
    "/owner/limits",
    "/owner/stop",
    "/owner/purchases/pur_1",
    "/owner/asks/ask_1",
];

#[tokio::test]
async fn nothing_is_shown_before_the_owner_s_key() {
    let world = asking().await;
    let id = waiting(&world).await;
    let mut page = Served::start(&world.app).await;
    for path in PAGES {
        let to: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let sign_in = if path == "/owner" { String::new() } else { format!("?to={to}") };
        let shown = page.get(path).await;
        assert_eq!(shown.leads_to(), format!("/owner/sign-in{sign_in}"));
        assert!(shown.text.is_empty(), "{}", shown.text);
    }
    for wrong in ["", "wrong", &KEY[1..], &KEY.to_lowercase()] {
        let shown = page.post("/owner/sign-in", &[("key", wrong)]).await;
        shown.says(403, &["That is not the owner's key"]);
        assert!(!shown.headers.contains_key(SET_COOKIE));
    }
    // To the wanted page, with what was pasted around the key; never to another place.
    let wanted = format!("/owner/purchases/{id}");
    let pasted = format!(" {KEY}\n");
    let rows = [(&*wanted, &*wanted), ("https://evil.example/owner/", "/owner")];
    for (to, leads_to) in rows {
        let shown = page.post("/owner/sign-in", &[("key", &pasted), ("to", to)]).await;
        assert_eq!(shown.leads_to(), leads_to);
        let cookie = shown.headers[SET_COOKIE].to_str().unwrap().to_owned();
        let (value, rest) = cookie.split_once(';').unwrap();
        assert_eq!(rest, " Path=/owner; HttpOnly; SameSite=Strict");
        page.cookie = Some(value.to_owned());
    }
    page.get(&wanted).await.says(200, &[&id, "do you agree?"]);
    // Signed out, the cookie opens nothing any more.
    let token = page.token().await;
    let shown = page.post("/owner/sign-out", &[("form_token", &token)]).await;
    assert_eq!(shown.leads_to(), "/owner/sign-in");
    assert!(shown.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(page.get("/owner/limits").await.leads_to(), "/owner/sign-in?to=%2Fowner%2Flimits");
    // By TLS, the cookie is for TLS alone.
    let key = crate::served::encoded(&[("key", KEY)]);
    let by_tls = [("x-forwarded-proto", "https")];
    let shown = page.send("POST", "/owner/sign-in", &by_tls, Some(key)).await;
    assert!(shown.headers[SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
}

/// Nobody who tries keys keeps the owner out.
#[tokio::test]
async fn wrong_keys_keep_nobody_out() {
    let world = asking().await;
    let mut page = Served::start(&world.app).await;
    for _ in 0..20 {
        page.post("/owner/sign-in", &[("key", "wrong")]).await.says(403, &[]);
    }
    page.sign_in().await;
    page.get("/owner/stop").await.says(200, &["Spending is allowed"]);
}

#[tokio::test]
async fn what_is_approved_here_is_paid_by_the_tool() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let seller = world.owner_of("auto");
    let all =
        ["up to", "0.05 USD", "listed for", &seller, "Nothing was bought here before", "local"];
    page.get("/owner").await.says(200, &all);
    page.get(&format!("/owner/purchases/{id}")).await.says(200, &all);
    let shown = page.answer(&id, "approve", &[]).await;
    assert_eq!(shown.leads_to(), format!("/owner/purchases/{id}"));
    let told = ["Approved until", "Nothing is paid yet", "crochet_resume_call"];
    page.get(shown.leads_to()).await.says(200, &told);
    assert!(world.charges().await.is_empty(), "the page pays nothing");
    let done = resume(&world, &id).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
    page.get(&format!("/owner/purchases/{id}")).await.says(200, &["Paid and delivered", "yes"]);
    page.get("/owner").await.says(200, &["Nothing waits for your answer", "49.95"]);
    page.get("/owner/limits").await.says(200, &["49.95", "10 USD", "local"]);
    // The next one is from a seller with a past.
    let mut again = world.purchase_of("auto");
    again["body"] = json!({ "text": "another" });
    world.buy(again).await.unwrap_err();
    page.get("/owner").await.says(200, &["1 other purchase", "1 paid", "0.05"]);
}

#[tokio::test]
async fn what_is_denied_here_is_never_paid() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let shown = page.answer(&id, "deny", &[]).await;
    page.get(shown.leads_to()).await.says(200, &["It never will be paid", "said no"]);
    assert_eq!(resume(&world, &id).await.unwrap_err()["code"], "approval_denied");
    assert_eq!(state(&world, &id).await, State::Failed);
    assert!(world.charges().await.is_empty());
}

#[tokio::test]
async fn a_second_answer_is_told_what_the_first_did() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let shown = page.get(&format!("/owner/purchases/{id}")).await;
    let (token, envelope) = (shown.hidden("form_token"), shown.hidden("envelope"));
    let path = format!("/owner/purchases/{id}/answer");
    let answer = |word| vec![("form_token", &*token), ("envelope", &*envelope), ("answer", word)];
    page.post(&path, &answer("approve")).await.leads_to();
    for word in ["approve", "deny"] {
        let told =
            ["does not wait for an answer any more", "It was approved at", "changed nothing"];
        page.post(&path, &answer(word)).await.says(409, &told);
        assert_eq!(state(&world, &id).await, State::Approved);
    }
    resume(&world, &id).await.unwrap();
    page.post(&path, &answer("approve")).await.says(409, &["paid and delivered"]);
    assert_eq!(world.charges().await.len(), 1);
}

/// The answer is for what was shown: a dearer purchase, another seller or body is another question.
#[tokio::test]
async fn what_has_changed_since_is_shown_anew() {
    for (column, value) in
        [("max_total", "9000000"), ("seller_id", "'somebody'"), ("body_digest", "'00'")]
    {
        let world = asking().await;
        let id = waiting(&world).await;
        let page = Served::signed_in(&world.app).await;
        let shown = page.get(&format!("/owner/purchases/{id}")).await;
        let (token, envelope) = (shown.hidden("form_token"), shown.hidden("envelope"));
        let (sql, of) =
            (format!("UPDATE purchases SET {column} = {value} WHERE id = ?1"), id.clone());
        let change = world.app.store().transact(move |db| Ok(db.execute(&sql, params![of])?));
        assert_eq!(change.await.unwrap(), 1);
        let path = format!("/owner/purchases/{id}/answer");
        for word in ["approve", "deny"] {
            let form = [("form_token", &*token), ("envelope", &*envelope), ("answer", word)];
            let shown = page.post(&path, &form).await;
            shown.says(409, &["has changed since you looked", "Nothing was approved"]);
            assert_ne!(shown.hidden("envelope"), envelope, "{column}");
            assert_eq!(state(&world, &id).await, State::AwaitingApproval, "{column} {word}");
        }
        let error = resume(&world, &id).await.unwrap_err();
        assert_eq!(error["code"], "approval_required", "{column}");
    }
}

#[tokio::test]
async fn a_seller_can_be_trusted_for_a_while() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    #[rustfmt::skip]
    let wrong = [
        // sum       days
        ("",         "30"), ("1,5",     "30"), ("-1",      "30"), ("1e3",     "30"), ("0.0000001", "30"),
        ("0.12",     ""),   ("0.12",    "0"),  ("0.12",    "366"), ("0.12",   "1.5"), ("0.12",     "-1"),
    ];
    for (up_to, days) in wrong {
        let more = [("up_to_usd", up_to), ("days", days)];
        let shown = page.answer(&id, "approve_seller", &more).await;
        shown.says(400, &["cannot be used", "No money moved"]);
        assert_eq!(state(&world, &id).await, State::AwaitingApproval, "{up_to} {days}");
    }
    page.answer(&id, "approve_seller", &[("up_to_usd", "0.12"), ("days", "2")]).await.leads_to();
    resume(&world, &id).await.unwrap();
    let mut next = world.purchase_of("auto");
    next["body"] = json!({ "text": "two" });
    world.buy(next.clone()).await.unwrap();
    page.get("/owner/limits")
        .await
        .says(200, &["0.02", "0.12", "Crochet", &world.owner_of("auto")]);
    next["body"] = json!({ "text": "three" });
    assert_eq!(world.buy(next).await.unwrap_err()["code"], "approval_required");
}

/// The page is a part of the HTTP server where the owner has a key, behind the same names and origins;
/// a client's token opens nothing of it.
#[tokio::test]
async fn it_is_a_part_of_the_http_server() {
    let world = asking().await;
    let id = waiting(&world).await;
    let mut page = Served::whole(&world.app).await;
    page.sign_in().await;
    page.answer(&id, "approve", &[]).await.leads_to();
    resume(&world, &id).await.unwrap();
    page.get("/owner/").await.says(308, &[]);
    assert_eq!(page.send("GET", "/owner", &[("host", "evil.example")], None).await.status, 403);
    // As the settings say, with a client that has a token.
    let folder = tempfile::tempdir().unwrap();
    let mut settings = world::settings(&world.sandbox, folder.path().to_owned(), &world.make);
    let (token, digest) = credential::make(credential::CLIENT_PREFIX).unwrap();
    settings.http.owner_key_sha256 = Some(CredentialDigest::of(KEY));
    settings.clients = vec![Principal { token: Some(digest), ..settings.local() }];
    for with_key in [true, false] {
        if !with_key {
            settings.http.owner_key_sha256 = None;
        }
        let app = App::new(settings.clone());
        let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = http::listen(free, http::service(&app), app.stopping().clone()).await;
        let listening = listening.unwrap();
        page.base = format!("http://{}", listening.address());
        page.cookie = None;
        let serving = tokio::spawn(listening.serve());
        let bearer = format!("Bearer {}", token.expose_secret());
        let status = if with_key { 303 } else { 404 };
        let asked = page.send("GET", "/owner", &[("authorization", &bearer)], None).await;
        assert_eq!(asked.status, status, "{asked:?}");
        if with_key {
            let form = [("key", token.expose_secret())];
            page.post("/owner/sign-in", &form).await.says(403, &["not the owner's key"]);
            page.sign_in().await;
        }
        app.shut_down().await;
        serving.await.unwrap();
    }
}

/// A link from anywhere leads to the page; what another page sends there is not heard.
#[tokio::test]
async fn a_link_from_elsewhere_leads_here() {
    let world = asking().await;
    let id = waiting(&world).await;
    let mut page = Served::whole(&world.app).await;
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    let path = format!("/owner/purchases/{id}");
    let shown = page.send("GET", &path, &link, None).await;
    let sign_in = shown.leads_to().to_owned();
    page.send("GET", &sign_in, &link, None).await.says(200, &["Owner's key"]);
    page.sign_in().await;
    page.send("GET", &path, &link, None).await.says(200, &[&id, "do you agree?"]);
    let token = page.token().await;
    let form = crate::served::encoded(&[("form_token", &token), ("answer", "stop")]);
    let stop = page.send("POST", "/owner/stop", &link, Some(form)).await;
    assert_eq!(stop.status, 403);
    page.get("/owner/stop").await.says(200, &["Spending is allowed"]);
}
