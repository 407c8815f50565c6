//! The rule by which a marketplace's text is signed: read first, and only what proves who we are.
//!
//! A text is signed if it is printable, at most [`TEXT_BYTES_MAX`] long, holds our address or the
//! challenge's nonce, and names nothing else that a signature could be used for: no other address,
//! no host but the API's, no hash, no typed data. A refusal says which, and repeats nothing of the
//! text, which is a stranger's.

use std::net::{Ipv4Addr, Ipv6Addr};

use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory as _};

/// Bytes in the longest text that is signed.
pub const TEXT_BYTES_MAX: usize = 2048;
/// Characters in the shortest and longest nonce that count as one: the challenge brings it, so it
/// must not be something that every text holds.
const NONCE_CHARACTERS: std::ops::RangeInclusive<usize> = 8..=128;
/// Hex digits in an address; as many in a row are one, or a hash, or data.
const ADDRESS_DIGITS: usize = 40;

/// What a text may name.
#[derive(Clone, Copy, Debug)]
pub struct TextRule<'a> {
    /// The nonce of the challenge, where it gives one beside the text.
    pub nonce: Option<&'a str>,
    /// The host of the configured API, with or without a port. Its parent domains may be named
    /// too (`crochet.example` for `api.crochet.example`): they are the same operator's.
    pub api_host: &'a str,
}

/// A text was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not signed: {reason}")]
pub struct Refused {
    /// Which part of the rule it breaks.
    pub reason: Reason,
}

/// Which part of the rule a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than [`TEXT_BYTES_MAX`].
    #[error("it has {bytes} bytes, more than 2048")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A control, format, bidirectional, invisible or look-alike character.
    #[error("it holds the character U+{code:04X}, which is not plainly visible")]
    Unprintable {
        /// The character's number.
        code: u32,
    },
    /// One word, or fewer than three: a hash, a token or data, not a sentence.
    #[error("it is no sentence but a bare value")]
    BareValue,
    /// JSON, or the words of EIP-712 typed data.
    #[error("it is structured or typed data")]
    TypedData,
    /// Neither our address nor the challenge's nonce is in it.
    #[error("it holds neither our address nor the challenge's nonce")]
    NotOurs,
    /// An address that is not ours.
    #[error("it names an address that is not ours")]
    OtherAddress,
    /// A hash or other hex data that is not the nonce.
    #[error("it holds {digits} hex digits in a row that are neither our address nor the nonce")]
    HexData {
        /// How many.
        digits: usize,
    },
    /// A host that is not the API's.
    #[error("it names a host that is not the API's")]
    OtherHost,
}

/// Holds a text against the rule. `own` is the address that signs, `also_own` the wallet's other.
///
/// # Errors
///
/// [`Refused`], with the first part of the rule that it breaks.
pub fn check(
    text: &str,
    rule: &TextRule<'_>,
    own: &str,
    also_own: Option<&str>,
) -> Result<(), Refused> {
    let nonce = rule.nonce.filter(|nonce| is_nonce(nonce));
    if text.len() > TEXT_BYTES_MAX {
        return refuse(Reason::TooLong { bytes: text.len() });
    }
    if let Some(character) = text.chars().find(|character| !is_plain(*character)) {
        return refuse(Reason::Unprintable { code: character.into() });
    }
    if is_data(text) {
        return refuse(Reason::TypedData);
    }
    let worded = |word: &&str| word.chars().any(char::is_alphabetic);
    if text.split_whitespace().filter(worded).count() < 3 {
        return refuse(Reason::BareValue);
    }
    check_hex(text, nonce, &[Some(own), also_own])?;
    check_base58(text, nonce, &[Some(own), also_own])?;
    check_hosts(text, rule.api_host)?;
    let ours = if own.starts_with("0x") {
        text.to_ascii_lowercase().contains(&own.to_ascii_lowercase())
    } else {
        text.contains(own)
    };
    if ours || nonce.is_some_and(|nonce| text.contains(nonce)) {
        Ok(())
    } else {
        refuse(Reason::NotOurs)
    }
}

const fn refuse(reason: Reason) -> Result<(), Refused> {
    Err(Refused { reason })
}

/// Whether a nonce is one: a token of some length, and no address.
fn is_nonce(nonce: &str) -> bool {
    let digits = nonce.strip_prefix("0x").unwrap_or(nonce);
    NONCE_CHARACTERS.contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=".contains(&byte))
        && !(digits.len() == ADDRESS_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        && !is_solana_address(nonce)
}

/// Whether a person who looks at the text sees this character, and sees what it is.
fn is_plain(character: char) -> bool {
    if matches!(character, '\n' | '\t' | ' '..='~') {
        return true;
    }
    let hidden = matches!(
        character.general_category(),
        Category::Control
            | Category::Format
            | Category::Surrogate
            | Category::PrivateUse
            | Category::Unassigned
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::SpaceSeparator
            | Category::NonspacingMark
            | Category::EnclosingMark
    );
    let blank = matches!(character, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}');
    // Letters and digits in other shapes: an address or a host written with them looks the same.
    let disguised = matches!(character,
        '\u{2460}'..='\u{24FF}' | '\u{FF00}'..='\u{FFEF}' | '\u{1D400}'..='\u{1D7FF}'
        | '\u{1F100}'..='\u{1F1FF}' | '\u{FE50}'..='\u{FE6F}');
    !(hidden || blank || disguised)
}

/// Whether the text is JSON, or holds typed data or names one of the payloads that move money.
fn is_data(text: &str) -> bool {
    const MARKS: [&str; 10] = [
        "\"primarytype\"",
        "'primarytype'",
        "eip712domain",
        "permit(",
        "withauthorization(",
        "verifyingcontract",
        // The types that escrows take, as EIP-712 spells them.
        "(address ",
        "(bytes32 ",
        "(uint256 ",
        "ethereum signed message",
    ];
    let trimmed = text.trim();
    let lower = trimmed.to_lowercase();
    let json = trimmed.starts_with(['{', '[', '"'])
        && serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
    let typed = lower.contains("\"types\"") && lower.contains("\"domain\"");
    json || typed || MARKS.iter().any(|mark| lower.contains(mark))
}

/// Refuses addresses and hashes in hex, with and without `0x`.
fn check_hex(text: &str, nonce: Option<&str>, own: &[Option<&str>]) -> Result<(), Refused> {
    let bare = |value: &str| value.trim_start_matches("0x").to_ascii_lowercase();
    let lower = text.to_ascii_lowercase();
    for run in lower.split(|character: char| !character.is_ascii_hexdigit()) {
        let known = own.iter().copied().flatten().any(|own| bare(own) == run)
            || nonce.is_some_and(|nonce| bare(nonce) == run);
        match run.len() {
            _ if known => {}
            ..ADDRESS_DIGITS => {}
            ADDRESS_DIGITS => return refuse(Reason::OtherAddress),
            digits => return refuse(Reason::HexData { digits }),
        }
    }
    Ok(())
}

/// Refuses Solana addresses that are not ours.
fn check_base58(text: &str, nonce: Option<&str>, own: &[Option<&str>]) -> Result<(), Refused> {
    for word in text.split(|character: char| !character.is_ascii_alphanumeric()) {
        let known = own.contains(&Some(word)) || nonce.is_some_and(|nonce| nonce.contains(word));
        if !known && is_solana_address(word) {
            return refuse(Reason::OtherAddress);
        }
    }
    Ok(())
}

/// Whether a word is 32 bytes in base58. Words of hex digits alone are judged as hex.
fn is_solana_address(word: &str) -> bool {
    let mut bytes = [0_u8; 32];
    (32..=44).contains(&word.len())
        && !word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && bs58::decode(word).onto(&mut bytes) == Ok(32)
}

/// Refuses hosts other than the API's, in URLs and bare.
fn check_hosts(text: &str, api_host: &str) -> Result<(), Refused> {
    let api_host = without_port(api_host).to_lowercase();
    let known = |host: &str| {
        let host = host.trim_end_matches('.').to_lowercase();
        let parent = || host.contains('.') && api_host.ends_with(&format!(".{host}"));
        host == api_host || (api_host.parse::<Ipv4Addr>().is_err() && parent())
    };
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("://") {
        let end = |character: char| character.is_whitespace() || "/?#\"'<>()".contains(character);
        let authority = after.split(end).next().unwrap_or_default();
        // Names, passwords and escapes in an authority serve only to make it look like another.
        if authority.contains(['@', '\\', '%']) || !known(without_port(authority)) {
            return refuse(Reason::OtherHost);
        }
        rest = after;
    }
    let apart = |c: char| !(c.is_alphanumeric() || ".-_:[]\u{3002}".contains(c));
    let words = text.split(apart).flat_map(|word| [word, without_port(word)]);
    let parts = text.split(|c: char| !(c.is_alphanumeric() || ".-_\u{3002}".contains(c)));
    if words.chain(parts).any(|word| is_host(word) && !known(word)) {
        return refuse(Reason::OtherHost);
    }
    Ok(())
}

/// A host without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

/// Whether a word reads as a host: an IP address, `localhost`, or labels before a name of letters.
fn is_host(word: &str) -> bool {
    let word = word.trim_matches('.');
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<Ipv4Addr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    if word.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let labels: Vec<&str> = word.split(['.', '\u{3002}']).collect();
    let top = labels.last().copied().unwrap_or_default();
    let named = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
    labels.len() >= 2
        && labels.iter().all(|label| !label.is_empty())
        && (named || top.to_lowercase().starts_with("xn--"))
}

#[cfg(test)]
mod tests;
