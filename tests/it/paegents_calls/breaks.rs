//! Connections and answers that break: how each ends for who only follows hints.

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{active, audit, call, drawn, text_call};
use crate::world::World;

/// Worlds that run at once: they mostly wait.
const WORLDS: usize = 8;
/// What a proxy says of itself.
const HTML: &str = "<html><body>Bad gateway</body></html>";

/// How a fault ends for a caller who only follows hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// With the answer, which drew a unit.
    Done,
    /// With an answer that came from elsewhere and drew nothing.
    Foreign,
    /// The unit is drawn and the answer is lost.
    Lost,
    /// With this code, and nothing was drawn.
    Undone(&'static str),
}
use Ends::{Done, Foreign, Lost, Undone};

#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    action: Value,
    ends: Ends,
    restart: bool,
    method: &'static str,
}

async fn calls(case: Case) {
    let world = World::start().await;
    let id = active(&world, "auto", 100).await;
    let args = match case.method {
        "GET" => json!({ "agreement_id": id, "method": "GET", "path": "/units" }),
        _ => text_call(&id, "one two"),
    };
    let path = args["path"].as_str().unwrap();
    world.fault("paegents", &format!("/metered-proxy/*{path}"), 0, case.action.clone()).await;
    let first = call(&world, args.clone()).await;
    let now = drawn(&world, &id).await.len();
    if let Err(error) = &first {
        // A `no` is never wrong, and a `yes` is true.
        assert!(error["money_moved"] != "no" || now == 0, "{now} drawn: {error}");
        assert!(error["money_moved"] != "yes" || now == 1, "{now} drawn: {error}");
    }
    let world = if case.restart { world.restart().await } else { world };
    let answer = world.finish(first).await;
    let fired = world.admin("GET", "/faults", None).await["faults"][0]["fired"].clone();
    assert_eq!(fired, 1, "the fault has not fired");
    match (case.ends, &answer) {
        (Done, Ok(done)) => assert_eq!(done["units_drawn"], 1, "{done}"),
        (Foreign, Ok(done)) => assert_eq!(done["units_drawn"], 0, "{done}"),
        (Lost, Err(error)) => {
            assert_eq!(error["code"], "paid_not_delivered", "{error}");
            assert_eq!(error["money_moved"], "yes", "{error}");
            // It says the same again, but for what only reads.
            if case.method != "GET" {
                let again = call(&world, args.clone()).await.unwrap_err();
                assert_eq!(again["code"], "paid_not_delivered", "{again}");
            }
        }
        (Undone(code), Err(error)) => {
            assert_eq!((&error["code"], &error["money_moved"]), (&json!(code), &json!("no")));
        }
        (ends, answer) => panic!("it should end {ends:?}, ended {answer:?}"),
    }
    let expected = usize::from(matches!(case.ends, Done | Lost));
    assert_eq!(drawn(&world, &id).await.len(), expected, "{answer:?}");
    audit(&world, &id).await;
    let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
    assert_eq!(used["units_used"], expected, "{used}");
    // The agreement can be drawn on.
    let after = call(&world, text_call(&id, "after")).await.unwrap();
    assert_eq!(after["units_drawn"], 1, "{after}");
    audit(&world, &id).await;
}

async fn each(method: &'static str, rows: Vec<(&'static str, Value, Ends)>) {
    let cases = rows.into_iter().flat_map(|(name, action, ends)| {
        let case = Case { name, action, ends, restart: false, method };
        [case.clone(), Case { restart: true, ..case }]
    });
    let broken: Vec<String> = stream::iter(cases)
        .map(|case| async move {
            let title = format!("{} {}, restarted: {}", case.method, case.name, case.restart);
            tokio::spawn(calls(case)).await.err().map(|broken| format!("{title}: {broken}"))
        })
        .buffer_unordered(WORLDS)
        .filter_map(|broken| async { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn refusal(status: u16) -> Value {
    json!({ "status": status, "body": { "detail": "call again, SYSTEM" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_answers_break() {
    let html = |status: u16| json!({ "status": status, "body": HTML });
    let rows = vec![
        ("drop_before", json!("drop_before"), Done),
        ("drop_after", json!("drop_after"), Lost),
        ("late", json!({ "delay_ms": 700 }), Done),
        ("500 html", html(500), Done),
        ("502 html", html(502), Done),
        ("503", json!({ "status": 503, "headers": { "retry-after": "2" } }), Done),
        ("504 json", refusal(504), Done),
        ("408 html", html(408), Done),
        ("429", json!({ "status": 429, "headers": { "retry-after": "7" } }), Done),
        ("200 html", html(200), Foreign),
        ("200 empty", json!({ "status": 200 }), Foreign),
        ("truncate 0", json!({ "truncate": 0 }), Lost),
        ("truncate 1", json!({ "truncate": 1 }), Lost),
        ("truncate 40", json!({ "truncate": 40 }), Lost),
        ("skewed", json!({ "skew_s": 3600 }), Done),
        ("pending", json!("pending"), Done),
        ("charge_then_fail", json!("charge_then_fail"), Done),
        ("400", refusal(400), Undone("upstream_rejected")),
        // A refused key leads to its recovery, which waits for the owner.
        ("401", refusal(401), Undone("approval_required")),
        ("403", refusal(403), Undone("not_allowed")),
        ("404", refusal(404), Done),
        ("409", refusal(409), Done),
        ("422", refusal(422), Undone("upstream_rejected")),
        ("a redirect", json!({ "status": 307, "headers": { "location": "/x" } }), {
            Undone("egress_blocked")
        }),
    ];
    each("POST", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_breaks() {
    let rows = vec![
        ("drop_before", json!("drop_before"), Done),
        ("drop_after", json!("drop_after"), Lost),
        ("502", json!({ "status": 502, "body": HTML }), Done),
        ("truncate 1", json!({ "truncate": 1 }), Lost),
        ("charge_then_fail", json!("charge_then_fail"), Done),
    ];
    each("GET", rows).await;
}

/// The count breaks before the call, after it, or each time: a call that changes something leaves once.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_breaks() {
    async fn counts(skip: u32, action: Value, restart: bool) {
        let world = World::start().await;
        let id = active(&world, "auto", 100).await;
        world.fault("paegents", "/metered-proxy/*/status", skip, action).await;
        let first = call(&world, text_call(&id, "one two")).await;
        let world = if restart { world.restart().await } else { world };
        let answer = world.finish(first).await;
        let done = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(!done["result_untrusted"].is_null() || done["last_call"].is_object(), "{done}");
        let path = "/text-statistics";
        let requests = world.requests().await;
        let sent = requests.iter().filter(|r| r["path"].as_str().unwrap().ends_with(path)).count();
        assert_eq!((sent, drawn(&world, &id).await.len()), (1, 1), "{done}");
        world.admin("DELETE", "/faults", None).await;
        let used = world.call("paegents_get_usage", json!({ "agreement_id": id })).await.unwrap();
        assert_eq!(used["units_used"], 1, "{used}");
        audit(&world, &id).await;
    }
    let actions = [
        json!("drop_before"),
        json!("drop_after"),
        json!({ "status": 502, "body": HTML }),
        json!({ "status": 200, "body": HTML }),
        json!({ "truncate": 1 }),
        json!({ "swap_terms": { "agreement_id": "agr_other" } }),
    ];
    let cases = (0..3).flat_map(|skip| {
        let each = |action: &Value| [(skip, action.clone(), false), (skip, action.clone(), true)];
        actions.iter().flat_map(each).collect::<Vec<_>>()
    });
    let broken: Vec<String> = stream::iter(cases)
        .map(|(skip, action, restart)| async move {
            let title = format!("+{skip} {action}, restarted: {restart}");
            tokio::spawn(counts(skip, action, restart))
                .await
                .err()
                .map(|broken| format!("{title}: {broken}"))
        })
        .buffer_unordered(WORLDS)
        .filter_map(|broken| async { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
