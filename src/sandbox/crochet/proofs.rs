//! Proofs: challenges that wallets sign, signatures, proof of work.
//!
//! A challenge lives 300 seconds, belongs to one purpose and one wallet or agent, and is used up
//! by the first attempt to answer it, right or wrong.

use alloy_primitives::{Address, Signature};
use axum::http::StatusCode;
use ed25519_dalek::VerifyingKey;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::sandbox::{
    Pace,
    clock::rfc3339,
    crochet::answers::{ApiError, Recovery},
    keys::sha256_hex,
    world::World,
};

/// How long a challenge lives, in milliseconds.
const LIFE_MS: i64 = 300_000;
/// The longest candidate for a proof of work, in bytes.
const CANDIDATE_BYTES_MAX: usize = 128;
/// The purposes a wallet's challenge may have.
pub(crate) const PURPOSES: [&str; 5] =
    ["register", "recover", "link_wallet", "update_wallet", "claim_agent"];

/// The address of a wallet, in the one way it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WalletAddress {
    /// `0x` and 40 hex digits, checksummed.
    Evm(Address),
    /// Base58 of 32 bytes.
    Solana(VerifyingKey),
}

impl WalletAddress {
    /// Reads an address; mixed case must be a right checksum.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, ApiError> {
        if let Some(digits) = text.strip_prefix("0x") {
            let mixed = digits.contains(|c: char| c.is_ascii_lowercase())
                && digits.contains(|c: char| c.is_ascii_uppercase());
            let parsed =
                if mixed { Address::parse_checksummed(text, None).ok() } else { text.parse().ok() };
            return parsed.map(Self::Evm).ok_or_else(|| {
                ApiError::invalid(field, "is no EVM address with a right checksum")
            });
        }
        let bytes = bs58::decode(text).into_vec().ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        bytes
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .map(Self::Solana)
            .ok_or_else(|| ApiError::invalid(field, "is neither an EVM nor a Solana address"))
    }

    /// `evm` or `solana`.
    pub(crate) fn chain(&self) -> &'static str {
        match self {
            Self::Evm(_) => "evm",
            Self::Solana(_) => "solana",
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Evm(address) => address.to_string(),
            Self::Solana(key) => bs58::encode(key.as_bytes()).into_string(),
        }
    }

    /// Whether the wallet signed the message: EIP-191 in hex, or ed25519 in base58.
    fn has_signed(&self, message: &str, signature: &str) -> bool {
        match self {
            Self::Evm(address) => signature
                .strip_prefix("0x")
                .and_then(|digits| hex::decode(digits).ok())
                .and_then(|bytes| Signature::from_raw(&bytes).ok())
                .and_then(|signature| signature.recover_address_from_msg(message).ok())
                .is_some_and(|found| found == *address),
            Self::Solana(key) => bs58::decode(signature)
                .into_vec()
                .ok()
                .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
                .map(|bytes| ed25519_dalek::Signature::from_bytes(&bytes))
                .is_some_and(|signature| key.verify_strict(message.as_bytes(), &signature).is_ok()),
        }
    }
}

/// A challenge that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    purpose: String,
    subject: String,
    message: String,
    work: String,
    difficulty: u32,
    expires_at: i64,
    is_used: bool,
}

/// Issues a challenge for a wallet's signature.
pub(crate) fn issue(
    db: &Connection,
    world: &World,
    now: i64,
    purpose: &str,
    wallet: &WalletAddress,
) -> rusqlite::Result<Value> {
    let nonce = short(&world.fresh(db, "crochet/nonce")?);
    let (issued, expires) = (rfc3339(now), rfc3339(now + LIFE_MS));
    let subject = wallet.text();
    let message = format!(
        "Crochet wallet challenge\n\nPurpose: {purpose}\nWallet: {subject}\nNonce: {nonce}\n\
         Issued at: {issued}\nExpires at: {expires}\n\n\
         Signing this message proves that you control the wallet. It moves no funds."
    );
    let pow = insert(db, world, now, [&nonce, purpose, &subject, &message])?;
    Ok(json!({
        "message": message,
        "nonce": nonce,
        "purpose": purpose,
        "wallet_address": subject,
        "expires_in": LIFE_MS / 1_000,
        "expires_at": expires,
        "pow": pow,
    }))
}

/// Issues a challenge for work alone, to an agent that wants to create a listing.
pub(crate) fn issue_work(
    db: &Connection,
    world: &World,
    now: i64,
    agent: &str,
) -> rusqlite::Result<Value> {
    let nonce = short(&world.fresh(db, "crochet/nonce")?);
    let pow = insert(db, world, now, [&nonce, "create_listing", agent, ""])?;
    Ok(json!({
        "challenge_id": nonce,
        "pow": pow,
        "expires_in": LIFE_MS / 1_000,
        "expires_at": rfc3339(now + LIFE_MS),
    }))
}

fn insert(
    db: &Connection,
    world: &World,
    now: i64,
    [nonce, purpose, subject, message]: [&str; 4],
) -> rusqlite::Result<Value> {
    let challenge = short(&world.fresh(db, "crochet/pow")?);
    let difficulty = match world.pace {
        Pace::Fast => 3,
        Pace::Real => 5,
    };
    db.execute(
        "INSERT INTO crochet_challenges
             (nonce, purpose, subject, message, pow_challenge, difficulty, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![nonce, purpose, subject, message, challenge, difficulty, now + LIFE_MS],
    )?;
    Ok(json!({ "challenge": challenge, "difficulty": difficulty, "algorithm": "sha256" }))
}

fn short(bytes: &[u8; 32]) -> String {
    hex::encode(bytes.first_chunk::<16>().copied().unwrap_or_default())
}

/// Uses up the challenge `nonce`, which must be for one of `purposes` and for `subject`.
pub(crate) fn take(
    world: &World,
    nonce: &str,
    purposes: &[&str],
    subject: &str,
) -> Result<Challenge, ApiError> {
    // In a transaction of its own: a failed proof must not bring the challenge back.
    let (found, now) = world.transact(|db, now| {
        let found = db
            .prepare_cached(
                "SELECT purpose, subject, message, pow_challenge, difficulty, expires_at, is_used
                 FROM crochet_challenges WHERE nonce = ?1",
            )?
            .query_row([nonce], |row| {
                Ok(Challenge {
                    purpose: row.get(0)?,
                    subject: row.get(1)?,
                    message: row.get(2)?,
                    work: row.get(3)?,
                    difficulty: row.get(4)?,
                    expires_at: row.get(5)?,
                    is_used: row.get(6)?,
                })
            })
            .optional()?;
        db.execute("UPDATE crochet_challenges SET is_used = 1 WHERE nonce = ?1", [nonce])?;
        Ok::<_, ApiError>((found, now))
    })?;
    let Some(found) = found else {
        return Err(refused("CHALLENGE_NOT_FOUND", "no challenge has this nonce"));
    };
    if found.is_used {
        return Err(refused("CHALLENGE_USED", "the challenge was used before"));
    }
    if found.expires_at <= now {
        return Err(refused("CHALLENGE_EXPIRED", "the challenge is older than 300 seconds"));
    }
    if !purposes.contains(&found.purpose.as_str()) {
        let message = format!("the challenge is for purpose {}", found.purpose);
        return Err(refused("CHALLENGE_PURPOSE_MISMATCH", &message));
    }
    if found.subject != subject {
        return Err(refused("CHALLENGE_WALLET_MISMATCH", "the challenge is for somebody else"));
    }
    Ok(found)
}

/// The identifier of an open listing challenge that `candidate` solves.
pub(crate) fn solved_work(world: &World, agent: &str, candidate: &str) -> Result<String, ApiError> {
    let open: Vec<(String, String, u32)> = world.transact(|db, now| {
        db.prepare_cached(
            "SELECT nonce, pow_challenge, difficulty FROM crochet_challenges
             WHERE purpose = 'create_listing' AND subject = ?1 AND is_used = 0 AND expires_at > ?2",
        )?
        .query_map(params![agent, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()
    })?;
    if open.is_empty() {
        return Err(refused("CHALLENGE_NOT_FOUND", "no listing challenge is open"));
    }
    open.into_iter()
        .find(|(_, challenge, difficulty)| is_solved(challenge, candidate, *difficulty))
        .map(|(nonce, _, _)| nonce)
        .ok_or_else(|| bad_work("pow_nonce does not solve an open listing challenge"))
}

impl Challenge {
    /// Checks the wallet's signature of the message.
    pub(crate) fn check_signature(
        &self,
        wallet: &WalletAddress,
        signature: &str,
    ) -> Result<(), ApiError> {
        if wallet.has_signed(&self.message, signature) {
            return Ok(());
        }
        let message = "signature: the wallet did not sign data.message of this challenge";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "INVALID_SIGNATURE", message)
            .recovery(new_challenge().discard(&["nonce", "signature", "pow_nonce"])))
    }

    /// Checks the proof of work.
    pub(crate) fn check_work(&self, candidate: &str) -> Result<(), ApiError> {
        if is_solved(&self.work, candidate, self.difficulty) {
            return Ok(());
        }
        let message = format!(
            "pow_nonce: SHA-256 of the challenge and it does not begin with {} zeros",
            self.difficulty
        );
        Err(bad_work(&message))
    }
}

fn is_solved(challenge: &str, candidate: &str, difficulty: u32) -> bool {
    let digest = sha256_hex(format!("{challenge}{candidate}").as_bytes());
    let zeros = digest.bytes().take_while(|byte| *byte == b'0').count();
    (1..=CANDIDATE_BYTES_MAX).contains(&candidate.len())
        && u32::try_from(zeros).is_ok_and(|zeros| zeros >= difficulty)
}

fn new_challenge() -> Recovery {
    Recovery::new(true, "request_new_challenge", "Request a new challenge and prove it again.")
        .preserve(&["wallet_address"])
}

fn refused(code: &'static str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message).recovery(new_challenge().discard(&[
        "nonce",
        "signature",
        "pow_nonce",
    ]))
}

fn bad_work(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "INVALID_PROOF_OF_WORK", message)
        .recovery(new_challenge().discard(&["nonce", "signature", "pow_nonce"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_work_as_the_page_does() {
        for (difficulty, candidate) in [(1, "10"), (2, "20"), (4, "35265")] {
            assert!(is_solved("crochet-challenge", candidate, difficulty), "{difficulty}");
            assert!(!is_solved("crochet-challenge", "11", difficulty), "{difficulty}");
            assert!(!is_solved("crochet-challenge", candidate, difficulty + 1), "{difficulty}");
        }
    }

    #[test]
    fn knows_the_signature_of_the_page() {
        let signature = "0xdd6224795b48c147cef655022fabe252e5841da5f02a62cf92eb97951a4c42c073d51f9b\
                         2b9d159175b064ef64048a956ffbc02e22374f91f7956ba01ac5c6c91c";
        let wallet = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let wallet = WalletAddress::parse("wallet_address", wallet).unwrap();
        assert!(wallet.has_signed("Crochet wallet challenge\nline two ✓", signature));
        assert!(!wallet.has_signed("Crochet wallet challenge\nline two", signature));
        assert!(WalletAddress::parse("a", "0xF39fd6e51aad88F6F4ce6aB8827279cffFb92266").is_err());
    }
}
