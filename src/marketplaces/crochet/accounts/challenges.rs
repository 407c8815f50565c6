//! Challenges: what a wallet signs, and the work that goes with it. Source: protocols/crochet.md
//! §4, §5.1.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::words_of;
use crate::{
    error::Error,
    marketplaces::{
        crochet::{
            Enveloped,
            proof_of_work::{Challenge, Unreadable},
        },
        http::{Api, Effect, Operation},
    },
};

/// How long a challenge is worked on at the most.
pub const WORK_TIMEOUT: Duration = Duration::from_mins(1);

/// What a wallet's challenge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new account.
    Register,
    /// A new key for an account.
    Recover,
    /// Linking or updating a wallet.
    LinkWallet,
}

impl Purpose {
    /// The word that is sent first; none for registration.
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Register => None,
            Self::Recover => Some("recover"),
            Self::LinkWallet => Some("link_wallet"),
        }
    }

    /// A part that Crochet's own word for it must have.
    const fn stem(self) -> &'static str {
        match self {
            Self::Register => "regist",
            Self::Recover => "recover",
            Self::LinkWallet => "link",
        }
    }

    /// What to send after a refusal that names `purpose`.
    fn after(self, refused: &Error) -> Then {
        let words = words_of(refused);
        if !matches!(refused.http_status, Some(400 | 422)) || !words.contains("purpose") {
            return Then::Stop;
        }
        let listed = words
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .find(|word| word.contains(self.stem()) && !word.contains("purpose"))
            .filter(|word| Some(*word) != self.word());
        match (listed, self.word()) {
            (Some(word), _) => Then::Word(word.to_owned()),
            (None, Some(_)) => Then::LeaveOut,
            (None, None) => Then::Stop,
        }
    }
}

/// What to send instead of a purpose that was refused.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// The word that the refusal lists.
    Word(String),
    /// No purpose.
    LeaveOut,
    /// Nothing: it is refused.
    Stop,
}

/// Asks for something to sign: `POST /auth/challenge`. A challenge that is not used harms nobody.
#[derive(Debug, Serialize)]
pub struct RequestChallenge<'a> {
    /// The wallet that will sign.
    pub wallet_address: &'a str,
    /// What for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
}

impl Operation for RequestChallenge<'_> {
    const NAME: &'static str = "crochet.request_challenge";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Enveloped<WalletChallenge>;

    fn path(&self) -> String {
        "/auth/challenge".to_owned()
    }
}

/// Asks for a challenge, with the purpose in the word that Crochet takes.
///
/// # Errors
///
/// As [`Api::send`].
pub async fn request_challenge(
    api: &Api,
    wallet_address: &str,
    purpose: Purpose,
) -> Result<WalletChallenge, Error> {
    let first = RequestChallenge { wallet_address, purpose: purpose.word() };
    let refused = match api.send(&first).await {
        Ok(challenge) => return Ok(challenge.0),
        Err(refused) => refused,
    };
    let purpose = match purpose.after(&refused) {
        Then::Word(word) => Some(word),
        Then::LeaveOut => None,
        Then::Stop => return Err(refused),
    };
    api.send(&RequestChallenge { wallet_address, purpose: purpose.as_deref() })
        .await
        .map(|challenge| challenge.0)
}

/// A challenge for a wallet.
#[derive(Clone, Debug)]
pub struct WalletChallenge {
    /// The exact text to sign. It is a stranger's: the wallet reads it before it signs.
    pub message: String,
    /// Sent back with the signature.
    pub nonce: String,
    /// The work, where there is any.
    pub work: Option<Work>,
}

impl<'de> Deserialize<'de> for WalletChallenge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            message: text("message").ok_or_else(|| D::Error::custom("it has no `message`"))?,
            nonce: text("nonce").ok_or_else(|| D::Error::custom("it has no `nonce`"))?,
            work: Work::read(&data).map_err(D::Error::custom)?,
        })
    }
}

/// Work that a challenge asks for, and how long there is for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is to be solved.
    pub challenge: Challenge,
    /// One minute, or what the challenge has left.
    pub time: Duration,
}

impl Work {
    /// Reads the work of a challenge; none where there is no challenge text.
    fn read(data: &Value) -> Result<Option<Self>, Unreadable> {
        let challenge = match Challenge::read(data) {
            Ok(challenge) => challenge,
            Err(Unreadable::NoChallenge) => return Ok(None),
            Err(unreadable) => return Err(unreadable),
        };
        let pow = data.get("pow");
        let life =
            [Some(data), pow].into_iter().flatten().find_map(|d| d.get("expires_in")?.as_u64());
        let time = life.map_or(WORK_TIMEOUT, |s| Duration::from_secs(s).min(WORK_TIMEOUT));
        Ok(Some(Self { challenge, time }))
    }
}

/// Asks for the work of a new listing: `POST /listings/challenge`.
#[derive(Debug, Serialize)]
pub struct RequestListingChallenge {}

impl Operation for RequestListingChallenge {
    const NAME: &'static str = "crochet.request_listing_challenge";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    type Output = Enveloped<ListingChallenge>;

    fn path(&self) -> String {
        "/listings/challenge".to_owned()
    }
}

/// The work of a new listing.
#[derive(Debug)]
pub struct ListingChallenge {
    /// The work.
    pub work: Option<Work>,
    /// What the listing carries to be matched with its challenge (§13.6).
    pub echo: Map<String, Value>,
}

impl<'de> Deserialize<'de> for ListingChallenge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let data = Value::deserialize(deserializer)?;
        let mut echo = Map::new();
        for (sent, names) in [
            ("challenge_id", ["challenge_id", "id"]),
            ("nonce", ["nonce"; 2]),
            ("challenge", ["challenge"; 2]),
        ] {
            let value = names.iter().find_map(|name| data.get(*name).filter(|v| v.is_string()));
            if let Some(value) = value {
                echo.insert(sent.to_owned(), value.clone());
            }
        }
        Ok(Self { work: Work::read(&data).map_err(D::Error::custom)?, echo })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::refusal, *};
    use crate::marketplaces::crochet::proof_of_work::Difficulty;

    #[test]
    fn finds_the_purpose_that_crochet_takes() {
        let listing = "purpose: must be one of registration, account_recovery, wallet_linking";
        let same = "purpose: must be one of register, recover, link_wallet";
        let named = |word: &str| Then::Word(word.to_owned());
        #[rustfmt::skip]
        let rows = [
            // what it shows               purpose               status  message              then
            ("its own word",               Purpose::Recover,     400, listing,                named("account_recovery")),
            ("another stem",               Purpose::LinkWallet,  422, listing,                named("wallet_linking")),
            ("registration needs one",     Purpose::Register,    400, listing,                named("registration")),
            ("ours is listed",             Purpose::Recover,     400, same,                   Then::LeaveOut),
            ("nothing listed",             Purpose::LinkWallet,  400, "unknown purpose",      Then::LeaveOut),
            ("nothing left to leave out",  Purpose::Register,    400, "unknown purpose",      Then::Stop),
            ("about something else",       Purpose::Recover,     400, "wallet_address: bad",  Then::Stop),
            ("another status",             Purpose::Recover,     403, listing,                Then::Stop),
        ];
        for (row, purpose, status, message, then) in rows {
            let refused = refusal(status, "VALIDATION_ERROR", message);
            assert_eq!(purpose.after(&refused), then, "{row}");
        }
    }

    #[test]
    fn reads_a_challenge_with_and_without_work() {
        let work = |rule, seconds| {
            let challenge = Challenge { text: "c".to_owned(), rule };
            Some(Work { challenge, time: Duration::from_secs(seconds) })
        };
        #[rustfmt::skip]
        let rows = [
            // what it shows        members                                                     work
            ("in `pow`",            json!({ "pow": { "challenge": "c", "difficulty": 3 } }),    Some(work(Difficulty::HexZeros(3), 60))),
            ("beside it",           json!({ "challenge": "c", "difficulty": 20 }),              Some(work(Difficulty::Bits(20), 60))),
            ("it lives 300 s",      json!({ "pow": "c", "difficulty": 3, "expires_in": 300 }),  Some(work(Difficulty::HexZeros(3), 60))),
            ("it lives 10 s",       json!({ "pow": "c", "difficulty": 3, "expires_in": 10 }),   Some(work(Difficulty::HexZeros(3), 10))),
            ("no work",             json!({}),                                                  Some(None)),
            ("no difficulty",       json!({ "pow": { "challenge": "c" } }),                     None),
        ];
        for (row, mut members, expected) in rows {
            members["message"] = json!("m");
            members["nonce"] = json!("n");
            let body = json!({ "success": true, "data": members }).to_string();
            let read = serde_json::from_str::<Enveloped<WalletChallenge>>(&body).ok();
            assert_eq!(read.map(|challenge| challenge.0.work), expected, "{row}");
        }
        let without = json!({ "data": { "message": "m" } }).to_string();
        assert!(serde_json::from_str::<Enveloped<WalletChallenge>>(&without).is_err());
    }

    #[test]
    fn a_listing_carries_what_names_its_challenge() {
        let read = |data: Value| serde_json::from_value::<ListingChallenge>(data).unwrap().echo;
        let pow = json!({ "challenge": "c", "difficulty": 3 });
        assert_eq!(
            Value::Object(read(json!({ "challenge_id": "a", "pow": pow, "expires_in": 300 }))),
            json!({ "challenge_id": "a" })
        );
        assert_eq!(
            Value::Object(read(
                json!({ "id": "a", "nonce": "b", "challenge": "c", "difficulty": 3 })
            )),
            json!({ "challenge_id": "a", "nonce": "b", "challenge": "c" })
        );
    }
}
