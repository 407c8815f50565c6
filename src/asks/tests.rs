//! Asks: what lets a call through, once, and what does not.

use serde_json::json;

use super::*;

const NOW: i64 = 1_900_000_000;
const TOOL: &str = "paegents_approve_request";

struct Place {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Store::at(folder.path().join("s.db")), _folder: folder }
    }

    /// The store as another process opens it.
    fn another(&self) -> Store {
        Store::at(self.store.path().to_owned())
    }

    fn asks(&self, request: &str, described: &str, now: i64) -> Found {
        asks(&self.store, "local", request, described, now)
    }

    fn answers(&self, id: &AskId, granted: bool, now: i64) -> Result<Ask, Error> {
        self.store.with_blocking(|db| keep_answer(db, id, granted, now))
    }

    fn waiting(&self, now: i64) -> Vec<AskId> {
        let waiting = self.store.with_blocking(|db| open(db, None, now)).unwrap();
        waiting.into_iter().map(|ask| ask.id).collect()
    }
}

fn asks(store: &Store, who: &str, request: &str, described: &str, now: i64) -> Found {
    let digest = digest(TOOL, &json!({ "request_id": request }), described);
    store.with_blocking(|db| look(db, who, TOOL, &digest, described, now)).unwrap()
}

fn opened(found: Found) -> AskId {
    match found {
        Found::Open(id) => id,
        Found::Denied(id) => panic!("{id} is denied"),
        Found::Granted(id) => panic!("{id} is granted"),
        Found::Full => panic!("too many"),
    }
}

fn is_granted(found: &Found) -> bool {
    matches!(found, Found::Granted(_))
}

#[test]
fn a_yes_lets_the_same_call_through_once() {
    let place = Place::new();
    let id = opened(place.asks("appr_1", "pay 25", NOW));
    assert_eq!(opened(place.asks("appr_1", "pay 25", NOW + 1)), id, "it is one question");
    assert_eq!(place.waiting(NOW), std::slice::from_ref(&id));
    let ask = place.answers(&id, true, NOW + 2).unwrap();
    assert_eq!(
        (ask.granted, ask.tool.as_str(), ask.described.as_str()),
        (Some(true), TOOL, "pay 25")
    );
    assert!(place.waiting(NOW + 2).is_empty());
    assert!(is_granted(&place.asks("appr_1", "pay 25", NOW + 3)));
    assert_ne!(opened(place.asks("appr_1", "pay 25", NOW + 4)), id, "it was used");
    assert!(place.answers(&id, true, NOW + 5).unwrap_err().is(Code::WrongState));
}

#[test]
fn a_yes_holds_for_nothing_but_what_was_asked() {
    let place = Place::new();
    let id = opened(place.asks("appr_1", "pay 25", NOW));
    place.answers(&id, true, NOW).unwrap();
    #[rustfmt::skip]
    let rows = [
        // what it shows          caller    request   described
        ("another request",       "local",  "appr_2", "pay 25"),
        ("another description",   "local",  "appr_1", "pay 26"),
        ("another caller",        "other",  "appr_1", "pay 25"),
    ];
    for (row, who, request, described) in rows {
        let found = asks(&place.store, who, request, described, NOW + 1);
        assert!(matches!(found, Found::Open(_)), "{row}");
    }
    let other = digest("paegents_reject_request", &json!({ "request_id": "appr_1" }), "pay 25");
    let found = place.store.with_blocking(|db| look(db, "local", TOOL, &other, "pay 25", NOW));
    assert!(matches!(found.unwrap(), Found::Open(_)), "another tool");
    assert!(is_granted(&place.asks("appr_1", "pay 25", NOW + 1)), "it is still there");
}

#[test]
fn questions_and_answers_end() {
    #[rustfmt::skip]
    let rows = [
        // what it shows                 answered after     used after         granted
        ("at the end of the answer",     0,                 ANSWER_SECONDS,    false),
        ("a second before it",           0,                 ANSWER_SECONDS - 1, true),
        ("late, and used at once",       OPEN_SECONDS - 1,  OPEN_SECONDS,      true),
    ];
    for (row, answered, used, granted) in rows {
        let place = Place::new();
        let id = opened(place.asks("appr_1", "pay 25", NOW));
        place.answers(&id, true, NOW + answered).unwrap();
        assert_eq!(is_granted(&place.asks("appr_1", "pay 25", NOW + used)), granted, "{row}");
    }
    let place = Place::new();
    let id = opened(place.asks("appr_1", "pay 25", NOW));
    assert!(place.waiting(NOW + OPEN_SECONDS).is_empty());
    assert!(place.answers(&id, true, NOW + OPEN_SECONDS).unwrap_err().is(Code::WrongState));
    assert_ne!(opened(place.asks("appr_1", "pay 25", NOW + OPEN_SECONDS)), id);
    let nobody: AskId = "ask_none".parse().unwrap();
    assert!(place.answers(&nobody, true, NOW).unwrap_err().is(Code::NotFound));
}

#[test]
fn a_no_stays_for_a_while_and_takes_back_a_yes() {
    let place = Place::new();
    let id = opened(place.asks("appr_1", "pay 25", NOW));
    place.answers(&id, true, NOW).unwrap();
    assert!(place.answers(&id, true, NOW).unwrap_err().is(Code::WrongState), "one yes is one");
    place.answers(&id, false, NOW + 1).unwrap();
    assert!(matches!(place.asks("appr_1", "pay 25", NOW + 2), Found::Denied(_)));
    assert!(place.answers(&id, true, NOW + 2).unwrap_err().is(Code::WrongState), "no is no");
    assert!(matches!(place.asks("appr_1", "pay 25", NOW + ANSWER_SECONDS), Found::Denied(_)));
    assert!(matches!(place.asks("appr_1", "pay 25", NOW + 1 + ANSWER_SECONDS), Found::Open(_)));
}

#[test]
fn two_processes_share_one_yes() {
    let place = Place::new();
    let id = opened(place.asks("appr_1", "pay 25", NOW));
    place.answers(&id, true, NOW).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let store = place.another();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let digest = digest(TOOL, &json!({ "request_id": "appr_1" }), "pay 25");
                let used =
                    store.transact(move |db| look(db, "local", TOOL, &digest, "pay 25", NOW + 1));
                runtime.block_on(used).unwrap()
            })
        })
        .collect();
    let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(found.iter().filter(|found| is_granted(found)).count(), 1);
    assert_eq!(place.waiting(NOW + 1).len(), 1, "the others ask one question");
}

#[tokio::test]
async fn what_did_not_happen_gives_the_yes_back() {
    let uncertain = || Error::new(Code::UpstreamUnavailable, "no answer").uncertain_write();
    #[rustfmt::skip]
    let rows = [
        // what it shows                done                                                  again
        ("it is done",                  Ok(()),                                               false),
        ("it may be done",              Err(uncertain()),                                     false),
        ("nothing was sent",            Err(Error::new(Code::UpstreamUnavailable, "none")),   true),
        ("it was refused",              Err(Error::new(Code::RateLimited, "later")),          true),
    ];
    for (row, done, again) in rows {
        let place = Place::new();
        let id = opened(place.asks("appr_1", "pay 25", NOW));
        place.answers(&id, true, NOW).unwrap();
        assert!(is_granted(&place.asks("appr_1", "pay 25", NOW + 1)));
        let granted = Granted { id, store: place.store.clone() };
        let ok = done.is_ok();
        assert_eq!(granted.kept(done).await.is_ok(), ok, "{row}");
        assert_eq!(is_granted(&place.asks("appr_1", "pay 25", NOW + 2)), again, "{row}");
    }
}

#[test]
fn so_many_questions_wait_and_no_more() {
    let place = Place::new();
    let mut first = None;
    for number in 0..OPEN_MAX {
        let id = opened(place.asks(&format!("appr_{number}"), "pay 25", NOW));
        first = first.or(Some(id));
    }
    assert!(matches!(place.asks("one_more", "pay 25", NOW), Found::Full));
    assert!(matches!(place.asks("appr_0", "pay 25", NOW), Found::Open(_)), "it waits already");
    place.answers(&first.unwrap(), false, NOW).unwrap();
    assert!(matches!(place.asks("one_more", "pay 25", NOW), Found::Open(_)));
}

#[test]
fn the_order_of_members_makes_no_other_question() {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let one = read(r#"{"a":{"x":1,"y":[1,2]},"b":2}"#);
    let other = read(r#"{"b":2,"a":{"y":[1,2],"x":1}}"#);
    assert_eq!(digest(TOOL, &one, "d"), digest(TOOL, &other, "d"));
    assert_ne!(
        digest(TOOL, &one, "d"),
        digest(TOOL, &read(r#"{"a":{"x":1,"y":[2,1]},"b":2}"#), "d")
    );
    assert_ne!(digest("ab", &one, "c"), digest("a", &one, "bc"));
}
