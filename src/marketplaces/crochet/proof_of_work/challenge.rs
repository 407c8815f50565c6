//! A challenge: its text, its rule, and where in an answer they stand.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Bytes in the longest challenge that is taken.
pub const CHALLENGE_BYTES_MAX: usize = 4096;
/// The most hex zeros that a number is read as; a larger number counts bits (reading rule 3).
const HEX_ZEROS_MAX: u64 = 8;

/// What a digest must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    /// So many leading zeros in hex.
    HexZeros(u8),
    /// So many leading zero bits.
    Bits(u16),
    /// Not above this number, big-endian.
    Target([u8; 32]),
}

/// A challenge, as read from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Hashed as it came, as UTF-8.
    pub text: String,
    /// What the digest must satisfy.
    pub rule: Difficulty,
}

/// Why an answer holds no challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No text of 1 to [`CHALLENGE_BYTES_MAX`] bytes where challenges stand.
    #[error("the answer holds no proof-of-work challenge of 1 to 4096 bytes")]
    NoChallenge,
    /// No difficulty where difficulties stand.
    #[error("the answer holds no proof-of-work difficulty")]
    NoDifficulty,
    /// A difficulty that is neither a number up to 256, nor zeros, nor a target.
    #[error("the proof-of-work difficulty is not one that is known")]
    UnknownDifficulty,
}

impl Challenge {
    /// Reads a challenge from an answer, or from the `data` of one.
    ///
    /// # Errors
    ///
    /// [`Unreadable`].
    pub fn read(answer: &Value) -> Result<Self, Unreadable> {
        let fits = |text: &&str| (1..=CHALLENGE_BYTES_MAX).contains(&text.len());
        let places = [answer.get("data"), Some(answer)];
        let text = places
            .into_iter()
            .flatten()
            .find_map(|place| {
                let pow = place.get("pow");
                [
                    pow.and_then(|pow| pow.get("challenge")),
                    pow,
                    place.get("challenge"),
                    place.get("pow_challenge"),
                ]
                .into_iter()
                .flatten()
                .find_map(Value::as_str)
            })
            .filter(fits)
            .ok_or(Unreadable::NoChallenge)?;
        let (difficulty, holder) = places
            .into_iter()
            .flatten()
            .find_map(|place| {
                let pow = place.get("pow");
                [(pow, "difficulty"), (Some(place), "difficulty"), (Some(place), "pow_difficulty")]
                    .into_iter()
                    .find_map(|(holder, name)| Some((holder?.get(name)?, holder?)))
            })
            .ok_or(Unreadable::NoDifficulty)?;
        Ok(Self { text: text.to_owned(), rule: rule(difficulty, counts_bits(holder))? })
    }

    /// The same text under the rule of bits, for the one retry after a rejected solution (reading
    /// rule 5). `None` where it is that rule already.
    #[must_use]
    pub fn swapped(&self) -> Option<Self> {
        match self.rule {
            Difficulty::HexZeros(zeros) => {
                Some(Self { text: self.text.clone(), rule: Difficulty::Bits(zeros.into()) })
            }
            Difficulty::Bits(_) | Difficulty::Target(_) => None,
        }
    }

    /// Whether a candidate solves the challenge.
    #[must_use]
    pub fn is_solved_by(&self, candidate: &str) -> bool {
        let digest = Sha256::new().chain_update(&self.text).chain_update(candidate).finalize();
        digest.as_slice() <= self.rule.ceiling().as_slice()
    }
}

impl Difficulty {
    /// The largest digest that satisfies it, as a big-endian number.
    #[must_use]
    pub fn ceiling(&self) -> [u8; 32] {
        let bits = match self {
            Self::HexZeros(zeros) => 4 * u16::from(*zeros),
            Self::Bits(bits) => *bits,
            Self::Target(target) => return *target,
        };
        let mut left = bits;
        [(); 32].map(|()| {
            let zeros = left.min(8);
            left -= zeros;
            0xFF_u8.checked_shr(zeros.into()).unwrap_or(0)
        })
    }
}

fn counts_bits(holder: &Value) -> bool {
    ["unit", "type"]
        .iter()
        .filter_map(|name| holder.get(name)?.as_str())
        .any(|unit| unit.eq_ignore_ascii_case("bits"))
}

fn rule(difficulty: &Value, bits: bool) -> Result<Difficulty, Unreadable> {
    match difficulty {
        Value::Number(number) => by_number(number.as_u64(), bits),
        Value::String(text) => by_text(text.trim(), bits),
        _ => Err(Unreadable::UnknownDifficulty),
    }
}

fn by_number(number: Option<u64>, bits: bool) -> Result<Difficulty, Unreadable> {
    let number = number.filter(|number| *number <= 256).ok_or(Unreadable::UnknownDifficulty)?;
    match (u8::try_from(number), u16::try_from(number)) {
        (Ok(zeros), _) if !bits && number <= HEX_ZEROS_MAX => Ok(Difficulty::HexZeros(zeros)),
        (_, Ok(count)) => Ok(Difficulty::Bits(count)),
        _ => Err(Unreadable::UnknownDifficulty),
    }
}

fn by_text(text: &str, bits: bool) -> Result<Difficulty, Unreadable> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut target = [0; 32];
    if digits.len() == 64 && hex::decode_to_slice(digits, &mut target).is_ok() {
        return Ok(Difficulty::Target(target));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unreadable::UnknownDifficulty);
    }
    if text.bytes().all(|byte| byte == b'0') {
        let zeros = u8::try_from(text.len()).ok().filter(|zeros| *zeros <= 64);
        return zeros.map(Difficulty::HexZeros).ok_or(Unreadable::UnknownDifficulty);
    }
    by_number(text.parse().ok(), bits)
}
