//! What else the owner does on the page: questions about no payment, the stop switch.

use haggle::{
    asks::{self, Ask},
    ids::AskId,
    spend::{approvals, stops},
};
use rusqlite::params;
use serde_json::json;

use super::{asking, waiting};
use crate::{served::Served, world::World};

const DESCRIBED: &str = "Agree to the payment of 25 USD.\n    memo = \"<script>x\u{202e}y\"\n";

/// A question that waits in the store: its identifier.
pub(super) async fn asked(world: &World, name: &str) -> String {
    let id = format!("ask_{name}");
    let (new, now) = (id.clone(), world.app.clock().now());
    let kept = world.app.store().transact(move |db| {
        db.execute(
            "INSERT INTO asks (id, principal, tool, digest, described, at, expires_at)
             VALUES (?1, 'desk', 'paegents_approve_request', ?1, ?2, ?3, ?4)",
            params![new, DESCRIBED, now, now + asks::OPEN_SECONDS],
        )?;
        Ok(())
    });
    kept.await.unwrap();
    id
}

pub(super) async fn found(world: &World, id: &str) -> Ask {
    let id: AskId = id.parse().unwrap();
    world.app.store().with(move |db| asks::find(db, &id)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_question_is_answered_and_a_yes_taken_back() {
    let world = asking().await;
    let (first, second) = (asked(&world, "one").await, asked(&world, "two").await);
    let page = Served::signed_in(&world.app).await;
    let token = page.token().await;
    let all =
        ["Agree to the payment of 25 USD.", "paegents_approve_request", "desk", &first, &second];
    let shown = page.get("/owner").await;
    shown.says(200, &all);
    assert!(shown.text.contains("&lt;script&gt;xy"), "{}", shown.text);
    let answer = async |id: &str, word: &str| {
        let form = [("form_token", &*token), ("answer", word)];
        page.post(&format!("/owner/asks/{id}/answer"), &form).await
    };
    let shown = answer(&first, "approve").await;
    let told = ["Agreed until", "Nothing is done yet", "Take it back"];
    page.get(shown.leads_to()).await.says(200, &told);
    assert_eq!(found(&world, &first).await.granted, Some(true));
    answer(&first, "approve").await.says(409, &["is agreed to already", "changed nothing"]);
    answer(&first, "deny").await.leads_to();
    assert_eq!(found(&world, &first).await.granted, Some(false));
    answer(&first, "approve").await.says(409, &["was denied"]);
    answer(&second, "maybe").await.says(400, &[]);
    answer("ask_none", "approve").await.says(404, &["There is no question ask_none"]);
    answer("%22%3E", "approve").await.says(404, &[]);
    // By the sandbox's clock, the other is over a day later.
    world.advance(asks::OPEN_SECONDS + 1).await;
    answer(&second, "approve").await.says(409, &["is over", "Never answered"]);
    assert_eq!(found(&world, &second).await.granted, None);
}

#[tokio::test]
async fn the_switch_stops_and_allows() {
    let world = asking().await;
    let id = waiting(&world).await;
    let page = Served::signed_in(&world.app).await;
    let token = page.token().await;
    let turn = async |answer: &str| {
        let form = [("form_token", &*token), ("answer", answer)];
        page.post("/owner/stop", &form).await
    };
    page.answer(&id, "approve", &[]).await.leads_to();
    assert_eq!(turn("stop").await.leads_to(), "/owner/stop");
    // Every page says so, and nothing is paid, though it is approved.
    for path in ["/owner", "/owner/purchases", "/owner/limits", "/owner/stop"] {
        page.get(path).await.says(200, &["Spending is stopped"]);
    }
    let resume = json!({ "purchase_id": id });
    let error = world.call("crochet_resume_call", resume.clone()).await.unwrap_err();
    assert_eq!(error["code"], "frozen");
    turn("neither").await.says(400, &[]);
    assert_eq!(turn("allow").await.leads_to(), "/owner/stop");
    page.get("/owner/stop").await.says(200, &["Spending is allowed"]);
    world.call("crochet_resume_call", resume).await.unwrap();
}

/// What was found wrong is the terminal's matter.
#[tokio::test]
async fn what_was_found_wrong_is_not_accepted_here() {
    for reason in ["instance_conflict", "croo_key_elsewhere", "store_stale"] {
        let world = asking().await;
        let page = Served::signed_in(&world.app).await;
        let token = page.token().await;
        let now = world.app.clock().now();
        let store = world.app.store();
        store.transact(move |db| approvals::freeze(db, reason, now)).await.unwrap();
        for answer in ["stop", "allow"] {
            let form = [("form_token", &*token), ("answer", answer)];
            let shown = page.post("/owner/stop", &form).await;
            if answer == "allow" {
                shown.says(
                    409,
                    &["stays stopped", "haggle unfreeze --sandbox", "Nothing was changed"],
                );
            }
        }
        let shown = page.get("/owner/stop").await;
        shown.says(200, &["something is wrong", "You have stopped it as well"]);
        assert!(!shown.text.contains("value=\"allow\""), "{}", shown.text);
        let found = store.with(|db| stops::found(db)).await.unwrap();
        assert_eq!(found.reasons.len(), 2, "{reason}: {found:?}");
    }
}
