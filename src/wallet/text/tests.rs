//! What is signed and what is not.

use super::*;

const OWN: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const SOLANA: &str = "DgW5ARD9sU3W6SJqtyJSH3QPivxWt7EMvjER9hfFKWXF";
const OTHER_SOLANA: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
const NONCE: &str = "n-4f2a9c77";
/// The digest of the permit of `paegents.md` §15.
const DIGEST: &str = "2ca36a008742a85de6833040e91b90f2adaab6c26896628eec92ddfbf5e2b9e1";

fn judge(text: &str, nonce: Option<&str>) -> Result<(), Reason> {
    let rule = TextRule { nonce, api_host: "api.crochet.example" };
    check(text, &rule, OWN, Some(SOLANA)).map_err(|refused| refused.reason)
}

#[test]
fn signs_what_proves_who_we_are() {
    let bytes32 = format!("0x{}", "5a".repeat(32));
    #[rustfmt::skip]
    let rows = [
        // what it shows                text                                                                  nonce
        ("our address",                 format!("Sign in to Crochet\nWallet: {OWN}"),                         None),
        ("our address in lower case",   format!("Sign in to Crochet\nWallet: {}", OWN.to_lowercase()),        None),
        ("the nonce",                   format!("Sign in to Crochet\nNonce: {NONCE}"),                        Some(NONCE)),
        ("a nonce of 32 bytes",         format!("Sign in to Crochet\nNonce: {bytes32}"),                      Some(bytes32.as_str())),
        ("a UUID as nonce",             "Sign in now: 123e4567-e89b-12d3-a456-426614174000".to_owned(),       Some("123e4567-e89b-12d3-a456-426614174000")),
        ("both our addresses",          format!("Link the wallets {OWN} and {SOLANA}"),                       None),
        ("the API's host",              format!("api.crochet.example wants you to sign in as {OWN}"),         None),
        ("its URL",                     format!("URI: https://api.crochet.example/register for {OWN}"),       None),
        ("its URL with a port",         format!("URI: https://api.crochet.example:443/ for {OWN}"),           None),
        ("its parent domain",           format!("crochet.example wants you to sign in as {OWN}."),            None),
        ("instants and amounts",        format!("Issued At: 2026-01-01T00:00:00.000Z, fee 0.00, v1.2.3 {OWN}"), None),
        ("a tab and other letters",     format!("Crochet\twallet challenge ✓ für {OWN}"),                     None),
        ("an abbreviation",             format!("Your wallet, i.e. {OWN}, signs in..."),                      None),
    ];
    for (row, text, nonce) in rows {
        assert_eq!(judge(&text, nonce), Ok(()), "{row}");
    }
    let longest = format!("Sign in as {OWN} {}", "x".repeat(TEXT_BYTES_MAX - 54));
    assert_eq!(longest.len(), TEXT_BYTES_MAX);
    assert_eq!(judge(&longest, None), Ok(()));
    assert_eq!(judge(&format!("{longest}x"), None), Err(Reason::TooLong { bytes: 2049 }));
}

#[test]
fn signs_nothing_that_says_or_hides_more() {
    use Reason::{BareValue, HexData, NotOurs, OtherAddress, OtherHost, TypedData, Unprintable};
    let digest_0x = format!("0x{DIGEST}");
    let typed = format!(
        r#"{{"types":{{"Permit":[]}},"primaryType":"Permit","domain":{{}},"message":{{"owner":"{OWN}"}}}}"#
    );
    let full_width: String =
        OTHER.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap()).collect();
    let hex64 = HexData { digits: 64 };
    #[rustfmt::skip]
    let rows: Vec<(&str, String, Reason)> = vec![
        // what it shows                      text                                                          reason
        ("empty",                             String::new(),                                                BareValue),
        ("our address alone",                 OWN.to_owned(),                                               BareValue),
        ("a word and our address",            format!("Login {OWN}"),                                       BareValue),
        ("a permit's digest",                 digest_0x.clone(),                                            BareValue),
        ("the same without 0x",               DIGEST.to_owned(),                                            BareValue),
        ("32 characters in a row",            "abcdefghijklmnopqrstuvwxyz012345".to_owned(),                BareValue),
        ("a digest with our address",         format!("Sign in as {OWN}\n{digest_0x}"),                     hex64),
        ("a digest without 0x in a sentence", format!("Session {DIGEST} of {OWN} begins"),                  hex64),
        ("a digest glued to a word",          format!("Session id_{DIGEST} of {OWN}"),                      hex64),
        ("a digest called nonce in the text", format!("Wallet: {OWN}\nThe nonce: {digest_0x}"),             hex64),
        ("a transaction",                     format!("Confirm this: 0x02f8b1{DIGEST} for {OWN}"),          HexData { digits: 70 }),
        ("our address with more digits",      format!("Sign in as {OWN}00 please"),                         HexData { digits: 42 }),
        ("another address",                   format!("{OWN} approves {OTHER} today"),                      OtherAddress),
        ("another address without 0x",        format!("{OWN} approves {} today", &OTHER[2..]),              OtherAddress),
        ("another address with 0X",           format!("{OWN} approves 0X{} today", &OTHER[2..]),            OtherAddress),
        ("only another address",              format!("Sign in as {OTHER} please"),                         OtherAddress),
        ("a look-alike of our address",       format!("{OWN} is {}", OWN.replace("ad88F6F4", "ad88F6F5")),  OtherAddress),
        ("a Solana address",                  format!("{OWN} pays {OTHER_SOLANA} today"),                   OtherAddress),
        ("a Solana address in a path",        format!("{OWN} pays solana:{OTHER_SOLANA}/x today"),          OtherAddress),
        ("full-width digits",                 format!("{OWN} approves {full_width} today"),                 Unprintable { code: 0xFF10 }),
        ("typed data",                        typed.clone(),                                                TypedData),
        ("typed data after a greeting",       format!("Please sign in: {typed}"),                           TypedData),
        ("a JSON object",                     format!(r#"{{ "sign in": "as {OWN}" }}"#),                    TypedData),
        ("a JSON array",                      format!(r#"["sign", "in", "{OWN}"]"#),                        TypedData),
        ("the permit's type",                 format!("Permit(address owner) for {OWN} now"),               TypedData),
        ("the transfer's type",               format!("TransferWithAuthorization(address from) {OWN} x"),   TypedData),
        ("a domain type",                     format!("EIP712Domain of the token, {OWN}, sign"),            TypedData),
        ("a prefix of its own",               format!("Ethereum Signed Message: 32 for {OWN}"),             TypedData),
        ("neither address nor nonce",         "Sign in to Crochet now".to_owned(),                          NotOurs),
        ("half our address",                  format!("Sign in as {} please", &OWN[..22]),                  NotOurs),
        ("a byte of EIP-191",                 format!("\u{19}Ethereum sign in {OWN}"),                      Unprintable { code: 0x19 }),
        ("the EIP-712 prefix",                format!("\u{19}\u{1} sign in as {OWN}"),                      Unprintable { code: 0x19 }),
        ("a zero byte",                       format!("sign in as {OWN}\0"),                                Unprintable { code: 0 }),
        ("a carriage return",                 format!("sign in\r\nas {OWN}"),                               Unprintable { code: 0xD }),
        ("a C1 control",                      format!("sign in as {OWN}\u{85}"),                            Unprintable { code: 0x85 }),
        ("right-to-left override",            format!("sign in as {OWN} \u{202E}live"),                     Unprintable { code: 0x202E }),
        ("an isolate",                        format!("sign in as {OWN} \u{2066}x"),                        Unprintable { code: 0x2066 }),
        ("a zero-width space",                format!("sign in\u{200B} as {OWN}"),                          Unprintable { code: 0x200B }),
        ("a joiner within an address",        format!("{OWN} pays 0x7099\u{200D}7970"),                     Unprintable { code: 0x200D }),
        ("a byte-order mark",                 format!("\u{FEFF}sign in as {OWN}"),                          Unprintable { code: 0xFEFF }),
        ("a soft hyphen",                     format!("sign in\u{AD} as {OWN}"),                            Unprintable { code: 0xAD }),
        ("a tag character",                   format!("sign in as {OWN}\u{E0041}"),                         Unprintable { code: 0xE0041 }),
        ("a blank letter",                    format!("sign in\u{3164} as {OWN}"),                          Unprintable { code: 0x3164 }),
        ("a variation selector",              format!("sign in\u{FE0F} as {OWN}"),                          Unprintable { code: 0xFE0F }),
        ("a line separator",                  format!("sign in\u{2028}as {OWN}"),                           Unprintable { code: 0x2028 }),
        ("another URL",                       format!("sign in at https://evil.example/ as {OWN}"),         OtherHost),
        ("a bare domain",                     format!("evil.example wants you to sign in as {OWN}"),        OtherHost),
        ("a domain at a sentence's end",      format!("{OWN} signs in at evil.example."),                   OtherHost),
        ("a domain that ends like the API's", format!("sign in at evilapi.crochet.example as {OWN}"),       OtherHost),
        ("a domain below the API's",          format!("sign in at x.api.crochet.example as {OWN}"),         OtherHost),
        ("a domain that begins like it",      format!("sign in at api.crochet.example.evil as {OWN}"),      OtherHost),
        ("the top level alone",               format!("sign in at https://example/ as {OWN}"),              OtherHost),
        ("a user before the host",            format!("https://api.crochet.example@evil/ sign in {OWN}"),   OtherHost),
        ("a backslash in the authority",      format!(r"https://api.crochet.example\@x/ sign in {OWN}"),    OtherHost),
        ("another URL in the query",          format!("https://api.crochet.example/?x=https://y/ go {OWN}"), OtherHost),
        ("another port's host",               format!("sign in at evil.example:443 as {OWN}"),              OtherHost),
        ("an IPv4 address",                   format!("sign in at 10.0.0.1 as {OWN}"),                      OtherHost),
        ("an IPv4 address with a port",       format!("sign in at 10.0.0.1:80 as {OWN}"),                   OtherHost),
        ("an IPv4 address as a number",       format!("sign in at http://2130706433/ as {OWN}"),            OtherHost),
        ("an IPv6 address",                   format!("sign in at http://[2001:db8::1]/ as {OWN}"),         OtherHost),
        ("a bare IPv6 address",               format!("sign in at 2001:db8::1 as {OWN}"),                   OtherHost),
        ("localhost",                         format!("sign in at localhost:80 as {OWN}"),                  OtherHost),
        ("a name of ENS",                     format!("{OWN} pays vitalik.eth today"),                      OtherHost),
        ("an ideographic full stop",          format!("sign in at evil\u{3002}example as {OWN}"),           OtherHost),
        ("Cyrillic letters",                  format!("sign in at api.сrochet.example as {OWN}"),           OtherHost),
        ("an encoded domain",                 format!("sign in at api.xn--rochet-kbf.xn--p1ai as {OWN}"),   OtherHost),
        ("a mail address",                    format!("write to help@evil.example as {OWN}"),               OtherHost),
    ];
    assert!(rows.len() >= 25);
    for (row, text, reason) in rows {
        assert_eq!(judge(&text, None), Err(reason), "{row}");
    }
}

/// The nonce is the challenge's, so a stranger's: it opens no door.
#[test]
fn a_nonce_is_no_way_around_the_rule() {
    let digest_0x = format!("0x{DIGEST}");
    #[rustfmt::skip]
    let rows = [
        // what it shows               nonce              text                                          reason
        ("the nonce is the text",      digest_0x.as_str(), digest_0x.clone(),                           Reason::BareValue),
        ("an address as nonce",        OTHER,             format!("Sign in to Crochet for {OTHER}"),    Reason::OtherAddress),
        ("a Solana address as nonce",  OTHER_SOLANA,      format!("Sign in for {OTHER_SOLANA} now"),    Reason::OtherAddress),
        ("a letter as nonce",          "a",               "Sign in to a Crochet".to_owned(),            Reason::NotOurs),
        ("a sentence as nonce",        "in to Crochet",   "Sign in to Crochet".to_owned(),              Reason::NotOurs),
        ("an empty nonce",             "",                "Sign in to Crochet".to_owned(),              Reason::NotOurs),
        ("a nonce that is not there",  NONCE,             "Sign in to Crochet".to_owned(),              Reason::NotOurs),
        ("a host as nonce",            "evil-example",    "Go to evil-example.example".to_owned(),      Reason::OtherHost),
    ];
    for (row, nonce, text, reason) in rows {
        assert_eq!(judge(&text, Some(nonce)), Err(reason), "{row}");
    }
}

/// The sandbox's API is an address on loopback with a port.
#[test]
fn an_api_on_loopback_may_be_named() {
    let rule = TextRule { nonce: None, api_host: "127.0.0.1:41234" };
    let judge = |text: String| check(&text, &rule, OWN, None).map_err(|refused| refused.reason);
    assert_eq!(judge(format!("127.0.0.1:41234 wants you to sign in as {OWN}")), Ok(()));
    assert_eq!(judge(format!("URI: http://127.0.0.1:41234/crochet sign {OWN}")), Ok(()));
    assert_eq!(judge(format!("127.0.0.2 wants you to sign in as {OWN}")), Err(Reason::OtherHost));
    assert_eq!(judge(format!("sign in at http://0.1/ as {OWN}")), Err(Reason::OtherHost));
}

/// Solana signs the bytes as they are, so the same rule keeps its addresses apart.
#[test]
fn a_solana_key_has_its_own_address() {
    let rule = TextRule { nonce: None, api_host: "api.crochet.example" };
    let judge = |text: String| check(&text, &rule, SOLANA, None).map_err(|refused| refused.reason);
    assert_eq!(judge(format!("Sign in to Crochet as {SOLANA}")), Ok(()));
    let lower = SOLANA.to_lowercase();
    assert!(judge(format!("Sign in to Crochet as {lower}")).is_err(), "base58 has two cases");
    let other = Err(Reason::OtherAddress);
    assert_eq!(judge(format!("Sign in as {SOLANA} for {OTHER_SOLANA}")), other);
    assert_eq!(judge(format!("Sign in as {SOLANA} for {OWN}")), other);
}

/// `paegents.md` §10.6: the challenge names the wallet in lower case, or brings its nonce beside.
#[test]
fn a_recovery_challenge_is_signed_where_it_says_whose_it_is() {
    let own = OWN.to_lowercase();
    let nonce = "5f".repeat(32);
    let rule = TextRule { nonce: Some(&nonce), api_host: "api.paegents.com" };
    let judge = |text: String| check(&text, &rule, OWN, None).map_err(|refused| refused.reason);
    let issued = "2026-01-01T00:00:00.123456+00:00";
    #[rustfmt::skip]
    let rows = [
        // what it shows              text                                                                           expected
        ("wallet, nonce and time",    format!("Paegents credential recovery\n\nWallet: {own}\nNonce: {nonce}\nIssued at: {issued}"), Ok(())),
        ("the wallet alone",          format!("Recover Paegents credentials for {own} (issued {issued})"),           Ok(())),
        ("the nonce alone",           format!("Paegents recovery test {nonce}"),                                     Ok(())),
        ("its own domain",            format!("paegents.com wants you to recover {own}"),                            Ok(())),
        ("on one line, with colons",  format!("Paegents:recover my credentials:{own}:{nonce}:1767225600"),           Ok(())),
        ("neither",                   "Paegents recovery test".to_owned(),                                           Err(Reason::NotOurs)),
        ("a bare hash",               format!("0x{DIGEST}"),                                                         Err(Reason::BareValue)),
        ("the bare nonce",            nonce.clone(),                                                                 Err(Reason::BareValue)),
        ("a hash beside the nonce",   format!("Paegents recovery test {nonce} {DIGEST}"),                            Err(Reason::HexData { digits: 64 })),
        ("another wallet",            format!("Recover Paegents credentials for {OTHER}, nonce {nonce}"),            Err(Reason::OtherAddress)),
        ("another host",              format!("Recover credentials for {own} at https://paegents.com.evil.example"), Err(Reason::OtherHost)),
        ("typed data",                format!(r#"Paegents recovery test {{"primaryType":"Permit","owner":"{own}"}}"#), Err(Reason::TypedData)),
        ("the activation's type",     format!("BuyerActivationIntent(bytes32 agreementKey) for {own}"),              Err(Reason::TypedData)),
        ("a close's type",            format!("CloseIntent(uint256 agreementId) for {own}"),                         Err(Reason::TypedData)),
        ("a deposit's type",          format!("Deposit(uint256 agreementId) for {own}"),                             Err(Reason::TypedData)),
    ];
    for (row, text, expected) in rows {
        assert_eq!(judge(text), expected, "{row}");
    }
}
