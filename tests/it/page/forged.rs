//! Forms that are not from the page, or not from its owner: each is refused, and nothing changes.

use haggle::journal::State;

use super::{asking, resume, state, waiting};
use crate::served::{Served, encoded};

/// What it shows, who sends it, the headers, the form, and what it is answered with.
type Row<'a> = (&'a str, &'a Served, &'a [(&'a str, &'a str)], &'a str, u16);

/// What an approval of this purchase would hold.
fn approval(token: &str, envelope: &str) -> String {
    encoded(&[("form_token", token), ("envelope", envelope), ("answer", "approve")])
}

#[tokio::test]
async fn a_forged_approval_changes_nothing() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let stranger = Served::start(&world.app).await;
    let shown = page.get(&format!("/owner/purchases/{id}")).await;
    let (token, envelope) = (shown.hidden("form_token"), shown.hidden("envelope"));
    let mut other = Served::start(&world.app).await;
    // Of the same page, but signed in a second time: another token.
    other.base.clone_from(&page.base);
    other.sign_in().await;
    let others = other.token().await;
    let path = format!("/owner/purchases/{id}/answer");
    let right = approval(&token, &envelope);
    let bare = encoded(&[("envelope", &envelope), ("answer", "approve")]);
    let twice = format!("{right}&form_token={token}");
    let port = page.base.rsplit_once(':').unwrap().1;
    let localhost = format!("http://localhost:{port}");
    let (plain, none) = (("content-type", "text/plain"), [].as_slice());
    #[rustfmt::skip]
    let rows: [Row<'_>; 15] = [
        // what it shows         who        headers                               form                                 status
        ("no session",           &stranger, none,                                 &right,                              403),
        ("no token",             &page,     none,                                 &bare,                               403),
        ("an empty token",       &page,     none,                                 &approval("", &envelope),            403),
        ("another's token",      &page,     none,                                 &approval(&others, &envelope),       403),
        ("a part of the token",  &page,     none,                                 &approval(&token[..63], &envelope),  403),
        ("two tokens",           &page,     none,                                 &twice,                              400),
        ("a foreign page",       &page,     &[("origin", "http://evil.example")], &right,                              403),
        ("another port",         &page,     &[("origin", "http://127.0.0.1:1")],  &right,                              403),
        ("another name",         &page,     &[("origin", &localhost)],            &right,                              403),
        ("a frame",              &page,     &[("origin", "null")],                &right,                              403),
        ("another site",         &page,     &[("sec-fetch-site", "cross-site")],  &right,                              403),
        ("the same site",        &page,     &[("sec-fetch-site", "same-site")],   &right,                              403),
        ("typed in",             &page,     &[("sec-fetch-site", "none")],        &right,                              403),
        ("no form",              &page,     &[plain],                             &right,                              400),
        ("too large",            &page,     none,                                 &format!("{right}&x={}", "x".repeat(20_000)), 413),
    ];
    for (row, who, headers, form, status) in rows {
        let shown = who.send("POST", &path, headers, Some(form.to_owned())).await;
        assert_eq!(shown.status, status, "{row}: {}", shown.text);
        assert!(shown.text.contains("No money moved"), "{row}: {}", shown.text);
        assert_eq!(state(&world, &id).await, State::AwaitingApproval, "{row}");
    }
    assert_eq!(resume(&world, &id).await.unwrap_err()["code"], "approval_required");
    // The right one goes through, as a browser sends it.
    let own = [("origin", &*page.base), ("sec-fetch-site", "same-origin")];
    page.send("POST", &path, &own, Some(right)).await.leads_to();
    assert_eq!(state(&world, &id).await, State::Approved);
}

#[tokio::test]
async fn no_form_works_without_the_session_s_mark() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let ask = super::others::asked(&world, "one").await;
    let forms = [
        (format!("/owner/purchases/{id}/answer"), "deny"),
        (format!("/owner/asks/{ask}/answer"), "approve"),
        ("/owner/stop".to_owned(), "stop"),
        ("/owner/sign-out".to_owned(), ""),
    ];
    for (path, answer) in &forms {
        page.post(path, &[("answer", answer)]).await.says(403, &["was not from this page"]);
        let token = page.token().await;
        let form = encoded(&[("form_token", &token), ("answer", answer)]);
        let foreign = [("origin", "http://evil.example")];
        page.send("POST", path, &foreign, Some(form)).await.says(403, &["was not from this page"]);
    }
    // Nor can another page sign somebody in.
    let form = encoded(&[("key", crate::served::KEY)]);
    let foreign = [("sec-fetch-site", "cross-site")];
    page.send("POST", "/owner/sign-in", &foreign, Some(form)).await.says(403, &[]);
    assert_eq!(state(&world, &id).await, State::AwaitingApproval);
    assert_eq!(super::others::found(&world, &ask).await.granted, None);
    page.get("/owner/stop").await.says(200, &["Spending is allowed"]);
}

#[tokio::test]
async fn a_link_does_nothing() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let shown = page.get(&format!("/owner/purchases/{id}")).await;
    let form = approval(&shown.hidden("form_token"), &shown.hidden("envelope"));
    let path = format!("/owner/purchases/{id}/answer?{form}");
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(page.send(method, &path, &[], None).await.status, 405, "{method}");
    }
    // Nor does a form by another road than its own.
    page.send("POST", &format!("/owner/purchases/{id}?{form}"), &[], None).await.says(405, &[]);
    page.send("POST", &path, &[], None).await.says(400, &["No money moved"]);
    assert_eq!(page.send("GET", &format!("/owner/stop?{form}"), &[], None).await.status, 200);
    assert_eq!(state(&world, &id).await, State::AwaitingApproval);
}
