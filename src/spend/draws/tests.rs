//! What a count, a status and a share of units say.

use serde_json::json;

use super::*;

fn usage(used: u64) -> Usage {
    serde_json::from_value(json!({ "agreement_id": "agr_1", "units_used": used,
        "units_total": 100, "status": "active", "price_per_unit_cents": 2 }))
    .unwrap()
}

fn draw(state: DrawState, lost_at: Option<i64>) -> Draw {
    let request = CallRequest {
        principal: "local".to_owned(),
        agreement_id: "agr_1".parse().unwrap(),
        method: CallMethod::Post,
        path: CallPath::read(CallMethod::Post, "/x").unwrap(),
        body: None,
        again: false,
        beyond_soft_stop: false,
    };
    Draw { state, lost_at, ..line(&request, 7, 1_000).unwrap() }
}

#[test]
fn the_count_settles_a_draw_and_a_count_that_stands_only_after_the_horizon() {
    use DrawState::{Answered, Done, Lost, Sent, Undelivered, Void};
    #[rustfmt::skip]
    let rows = [
        // what it shows               state     lost_at      used now             then         units
        ("answered, drawn",            Answered, None,        8,   1_001,          Done,        Some(1)),
        ("answered, two units",        Answered, None,        9,   1_001,          Done,        Some(2)),
        ("answered, from the cache",   Answered, None,        7,   1_001,          Done,        Some(0)),
        ("killed, drawn",              Sent,     None,        8,   1_001,          Undelivered, Some(1)),
        ("killed",                     Sent,     None,        7,   9_999,          Lost,        None),
        ("lost, drawn",                Lost,     Some(1_000), 9,   1_001,          Undelivered, Some(2)),
        ("lost, just before",          Lost,     Some(1_000), 7,   1_119,          Lost,        None),
        ("lost, certain",              Lost,     Some(1_000), 7,   1_120,          Void,        Some(0)),
        ("a count that went back",     Lost,     Some(1_000), 6,   1_119,          Lost,        None),
    ];
    for (row, state, lost_at, used, now, then, units) in rows {
        let after = settled(draw(state, lost_at), &usage(used), now);
        assert_eq!((after.state, after.units), (then, units), "{row}");
        assert_eq!(after.ended_at.is_some(), !then.is_open(), "{row}");
    }
    let killed = settled(draw(Sent, None), &usage(7), 2_000);
    assert_eq!(certain_at(&killed), 2_000 + HORIZON_SECONDS, "from when it was noticed");
}

#[test]
fn the_soft_stop_keeps_the_last_units_back() {
    #[rustfmt::skip]
    let rows = [
        // used, total, percent, stopped
        (89,   100,  90,  false),
        (90,   100,  90,  true),
        (99,   100,  100, false),
        (0,    1,    90,  false),
        (0,    100,  1,   false),
        (1,    100,  1,   true),
        (3,    5,    90,  false),
        (4,    5,    90,  true),
        (5,    0,    90,  false),
        (u64::MAX, u64::MAX, 100, true),
    ];
    for (used, total, percent, stopped) in rows {
        assert_eq!(is_stopped(used, total, percent), stopped, "{used} of {total} at {percent} %");
    }
}

#[test]
fn a_status_of_something_in_between_says_nothing() {
    for status in [202, 408, 409, 425, 499, 500, 502, 503, 504, 599] {
        assert_eq!(says(status), Says::Nothing, "{status}");
    }
    for status in [200, 201, 204] {
        assert_eq!(says(status), Says::Done, "{status}");
    }
    for status in [301, 307, 400, 401, 402, 403, 404, 422, 429] {
        assert_eq!(says(status), Says::Refused, "{status}");
    }
}

#[test]
fn a_nonce_is_a_random_uuid() {
    assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    assert_ne!(uuid(random().unwrap()), uuid(random().unwrap()));
}
