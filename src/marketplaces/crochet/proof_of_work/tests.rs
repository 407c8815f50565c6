//! What is read, what is found, and how the search ends.

use std::{num::NonZeroUsize, time::Duration};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    kernel::Kernel,
    search::{Message, Prefix},
    *,
};

fn challenge(text: &str, rule: Difficulty) -> Challenge {
    Challenge { text: text.to_owned(), rule }
}

fn budget(threads: usize) -> Budget {
    Budget { wall: Duration::from_mins(1), threads: NonZeroUsize::new(threads).unwrap() }
}

#[test]
fn reads_a_challenge_wherever_it_stands() {
    use Difficulty::{Bits, HexZeros, Target};
    use Unreadable::{NoChallenge, NoDifficulty, UnknownDifficulty};
    let pow = |difficulty: serde_json::Value| json!({ "data": { "pow": { "challenge": "c", "difficulty": difficulty } } });
    let mut target = [0_u8; 32];
    target[2..].fill(0xFF);
    let hex_target = hex::encode(target);
    #[rustfmt::skip]
    let rows = [
        // what it shows             answer                                                                   rule
        ("in data.pow",              pow(json!(4)),                                                           Ok(HexZeros(4))),
        ("in data",                  json!({ "data": { "challenge": "c", "difficulty": 4 } }),                Ok(HexZeros(4))),
        ("with a prefix",            json!({ "data": { "pow_challenge": "c", "pow_difficulty": 4 } }),        Ok(HexZeros(4))),
        ("at the top",               json!({ "challenge": "c", "difficulty": 4 }),                            Ok(HexZeros(4))),
        ("pow at the top",           json!({ "pow": { "challenge": "c", "difficulty": 4 } }),                 Ok(HexZeros(4))),
        ("pow is the text",          json!({ "data": { "pow": "c", "difficulty": 4 } }),                      Ok(HexZeros(4))),
        ("in different places",      json!({ "data": { "pow": "c" }, "difficulty": 4 }),                      Ok(HexZeros(4))),
        ("pow goes before data",     json!({ "data": { "pow": { "challenge": "c", "difficulty": 4 }, "challenge": "d", "difficulty": 5 } }), Ok(HexZeros(4))),
        ("nothing to do",            pow(json!(0)),                                                           Ok(HexZeros(0))),
        ("the most hex zeros",       pow(json!(8)),                                                           Ok(HexZeros(8))),
        ("one more counts bits",     pow(json!(9)),                                                           Ok(Bits(9))),
        ("many bits",                pow(json!(256)),                                                         Ok(Bits(256))),
        ("too many",                 pow(json!(257)),                                                         Err(UnknownDifficulty)),
        ("negative",                 pow(json!(-1)),                                                          Err(UnknownDifficulty)),
        ("a fraction",               pow(json!(4.5)),                                                         Err(UnknownDifficulty)),
        ("a number as text",         pow(json!("4")),                                                         Ok(HexZeros(4))),
        ("a large one as text",      pow(json!("18")),                                                        Ok(Bits(18))),
        ("zeros are a prefix",       pow(json!("0000")),                                                      Ok(HexZeros(4))),
        ("one zero, too",            pow(json!("0")),                                                         Ok(HexZeros(1))),
        ("a target",                 pow(json!(hex_target)),                                                  Ok(Target(target))),
        ("a target with 0x",         pow(json!(format!("0x{hex_target}"))),                                   Ok(Target(target))),
        ("a target of zeros",        pow(json!("0".repeat(64))),                                              Ok(Target([0; 32]))),
        ("63 digits",                pow(json!(hex_target[1..])),                                             Err(UnknownDifficulty)),
        ("words",                    pow(json!("hard")),                                                      Err(UnknownDifficulty)),
        ("empty",                    pow(json!("")),                                                          Err(UnknownDifficulty)),
        ("null",                     pow(json!(null)),                                                        Err(UnknownDifficulty)),
        ("unit bits",                json!({ "data": { "pow": { "challenge": "c", "difficulty": 4, "unit": "bits" } } }), Ok(Bits(4))),
        ("type bits, as text",       json!({ "data": { "pow": { "challenge": "c", "difficulty": "4", "type": "BITS" } } }), Ok(Bits(4))),
        ("another unit",             json!({ "data": { "pow": { "challenge": "c", "difficulty": 4, "unit": "hex" } } }), Ok(HexZeros(4))),
        ("no difficulty",            json!({ "data": { "pow": { "challenge": "c" } } }),                      Err(NoDifficulty)),
        ("no challenge",             json!({ "data": { "pow": { "difficulty": 4 } } }),                       Err(NoChallenge)),
        ("an empty challenge",       json!({ "data": { "pow": { "challenge": "", "difficulty": 4 } } }),      Err(NoChallenge)),
        ("a huge challenge",         json!({ "challenge": "c".repeat(4097), "difficulty": 4 }),               Err(NoChallenge)),
        ("no object",                json!([1, 2]),                                                           Err(NoChallenge)),
    ];
    for (row, answer, rule) in rows {
        let expected = rule.map(|rule| challenge("c", rule));
        assert_eq!(Challenge::read(&answer), expected, "{row}");
    }
}

#[test]
fn the_one_retry_counts_bits() {
    let swapped = challenge("c", Difficulty::HexZeros(5)).swapped();
    assert_eq!(swapped, Some(challenge("c", Difficulty::Bits(5))));
    assert_eq!(challenge("c", Difficulty::Bits(18)).swapped(), None);
    assert_eq!(challenge("c", Difficulty::Target([1; 32])).swapped(), None);
}

/// `crochet.md` §14: the first solutions, counting from 0.
#[test]
fn finds_the_published_solutions() {
    use Difficulty::{Bits, HexZeros, Target};
    let mut four_zeros = [0xFF; 32];
    four_zeros[..2].fill(0);
    let mut exact = [0; 32];
    hex::decode_to_slice(
        "00009befe45c690d85f0ba174a1a0473bddf60ac8193579760b8e761045796d9",
        &mut exact,
    )
    .unwrap();
    let mut one_less = exact;
    one_less[31] -= 1;
    #[rustfmt::skip]
    let rows = [
        ("1 hex zero",                 HexZeros(1),        Some("10")),
        ("2 hex zeros",                HexZeros(2),        Some("20")),
        ("8 bits",                     Bits(8),            Some("20")),
        ("4 hex zeros",                HexZeros(4),        Some("35265")),
        ("16 bits",                    Bits(16),           Some("35265")),
        ("18 bits",                    Bits(18),           Some("116045")),
        ("none",                       HexZeros(0),        Some("0")),
        ("a target",                   Target(four_zeros), Some("35265")),
        ("the digest itself",          Target(exact),      Some("35265")),
        ("a number below the digest",  Target(one_less),   None),
    ];
    let cancel = CancellationToken::new();
    for (row, rule, expected) in rows {
        let challenge = challenge("crochet-challenge", rule);
        let first = solve(&challenge, &budget(1), &cancel).unwrap();
        match expected {
            Some(nonce) => assert_eq!(first.nonce, nonce, "{row}"),
            None => assert_ne!(first.nonce, "35265", "{row}"),
        }
        assert!(challenge.is_solved_by(&first.nonce), "{row}");
        let any = solve(&challenge, &budget(4), &cancel).unwrap();
        assert!(challenge.is_solved_by(&any.nonce), "{row}: {}", any.nonce);
        assert!(any.hashes > 0, "{row}");
    }
}

/// The digest is checked here by counting characters, not by the code under test.
#[test]
fn solves_challenges_of_every_length() {
    let cancel = CancellationToken::new();
    for length in (1..=140).chain([192, 1000, 4096]) {
        let text = "ü".repeat(length / 2) + &"x".repeat(length % 2);
        let challenge = challenge(&text, Difficulty::HexZeros(2));
        let solution = solve(&challenge, &budget(1), &cancel).unwrap();
        let digest = hex::encode(Sha256::digest(format!("{text}{}", solution.nonce)));
        assert!(digest.starts_with("00"), "{length}: {digest}");
    }
}

/// Each candidate's first word by three ways: one-shot, the library's block function, the kernel.
#[test]
fn kernel_and_plain_function_agree() {
    let kernel = Kernel::detect();
    for length in 0..=64 {
        let text = "q".repeat(length);
        let prefix = Prefix::new(text.as_bytes());
        for decade in [0, 1, 9, 10, 99, 12_345, 987_654_321, u64::MAX / 10] {
            for ceiling in [u32::MAX / 2, u32::MAX / 16] {
                let mut expected = 0;
                for digit in 0..10_u64 {
                    let candidate = u128::from(decade) * 10 + u128::from(digit);
                    let digest = Sha256::digest(format!("{text}{candidate}"));
                    let first = u32::from_be_bytes(digest[..4].try_into().unwrap());
                    expected |= u16::from(first <= ceiling) << digit;
                }
                let row = format!("{length} bytes, decade {decade}");
                let mut message = Message::new(&prefix, decade);
                assert_eq!(message.scan(&prefix.state, ceiling, kernel), expected, "{row}");
                assert_eq!(message.scan(&prefix.state, ceiling, None), expected, "{row}");
            }
        }
    }
}

#[test]
fn counts_without_leaving_a_candidate_out() {
    let prefix = Prefix::new(b"challenge");
    let mut message = Message::new(&prefix, 0);
    for decade in 0..10_050 {
        let mut fresh = Message::new(&prefix, decade);
        let (counted, built) = (
            message.scan_plainly(&prefix.state, 1 << 30),
            fresh.scan_plainly(&prefix.state, 1 << 30),
        );
        assert_eq!(counted, built, "{decade}");
        if !message.next_decade() {
            message = Message::new(&prefix, decade + 1);
        }
    }
}

/// 39 bits take half a trillion tries: within these tests nobody finds one.
const HARD: Difficulty = Difficulty::Bits(39);

#[test]
fn refuses_what_is_beyond_reach() {
    #[rustfmt::skip]
    let rows = [
        // what it shows      rule                            bits
        ("41 bits",           Difficulty::Bits(41),           41),
        ("all bits",          Difficulty::Bits(256),          256),
        ("11 hex zeros",      Difficulty::HexZeros(11),       44),
        ("a target of zero",  Difficulty::Target([0; 32]),    256),
    ];
    for (row, rule, bits) in rows {
        let answer = solve(&challenge("c", rule), &budget(1), &CancellationToken::new());
        assert_eq!(answer, Err(Unsolved::Infeasible { bits }), "{row}");
    }
    let within = Budget { wall: Duration::ZERO, ..budget(1) };
    for rule in [Difficulty::Bits(40), Difficulty::HexZeros(10)] {
        let answer = solve(&challenge("c", rule), &within, &CancellationToken::new());
        assert_eq!(answer, Err(Unsolved::TimedOut { hashes: 0 }));
    }
}

#[test]
fn ends_when_its_time_is_up() {
    let short = Budget { wall: Duration::from_millis(50), ..budget(2) };
    let answer = solve(&challenge("c", HARD), &short, &CancellationToken::new());
    assert!(matches!(answer, Err(Unsolved::TimedOut { hashes: 1.. })), "{answer:?}");
}

#[tokio::test]
async fn ends_when_it_is_cancelled() {
    let cancel = CancellationToken::new();
    let search = solve_async(challenge("c", HARD), budget(2), &cancel);
    let (answer, ()) = tokio::join!(search, async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cancel.cancel();
    });
    assert_eq!(answer, Err(Unsolved::Cancelled));

    let cancel = CancellationToken::new();
    let challenge = challenge("crochet-challenge", Difficulty::HexZeros(4));
    assert_eq!(solve_async(challenge, budget(1), &cancel).await.unwrap().nonce, "35265");
}
