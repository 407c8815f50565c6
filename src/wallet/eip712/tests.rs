//! Typed data against second implementations' vectors, and each refusal.

use alloy_primitives::{Signature, address, b256, keccak256};
use secrecy::SecretString;

use super::*;
use crate::{
    money::Usdc,
    wallet::{checks::Refused, keys::EvmKey},
};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OWN: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const OTHER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const ESCROW: Address = address!("0xcA98356B65951b621C32B840F0266847C6043B45");
const SEPOLIA_USDC: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
const BASE_USDC: Address = address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
const DEADLINE: u64 = 1_900_000_000;
const NOW: u64 = DEADLINE - 600;

fn wallet() -> Wallet {
    Wallet::new(Some(EvmKey::read(&SecretString::from(KEY)).unwrap()), None)
}

fn usdc(micros: u64) -> Usdc {
    Usdc::from_micros(micros)
}

fn permit() -> Permit {
    Permit {
        chain_id: 84532,
        token: SEPOLIA_USDC,
        owner: OWN,
        spender: ESCROW,
        value: usdc(1_000_000),
        nonce: U256::ZERO,
        deadline: DEADLINE,
    }
}

fn permit_bounds() -> PermitBounds {
    PermitBounds { chain_id: 84532, spender: ESCROW, value_max: usdc(1_000_000), now: NOW }
}

fn deposit() -> Deposit {
    let (chain_id, agreement_id) = (84532, U256::from(7));
    Deposit { chain_id, escrow: ESCROW, signer: OWN, agreement_id, deadline: DEADLINE }
}

fn action() -> Action {
    let Deposit { chain_id, escrow, signer, agreement_id, deadline } = deposit();
    Action { chain_id, escrow, signer, agreement_id, nonce: U256::from(3), deadline }
}

fn escrow_bounds() -> EscrowBounds {
    EscrowBounds { chain_id: 84532, escrow: ESCROW, agreement_id: U256::from(7), now: NOW }
}

fn activation() -> Activation {
    let intent = ActivationIntent {
        agreement_key: B256::repeat_byte(0x11),
        platform_agreement_id_hash: B256::repeat_byte(0x22),
        buyer: OWN,
        seller: OTHER,
        token: SEPOLIA_USDC,
        quantity: U256::from(1000),
        price_per_unit: U256::from(100_000),
        deposit_amount: U256::from(100_000_000),
        challenge_window_seconds: 86_400,
        service_hash: B256::repeat_byte(0x33),
        terms_hash: B256::repeat_byte(0x44),
        expiry: DEADLINE,
        nonce: U256::ZERO,
        salt: B256::repeat_byte(0x55),
    };
    Activation { chain_id: 84532, spender: ESCROW, intent }
}

fn activation_bounds() -> ActivationBounds {
    ActivationBounds {
        chain_id: 84532,
        escrow: ESCROW,
        seller: Some(OTHER),
        quantity: 1000,
        price_per_unit: usdc(100_000),
        deposit_max: usdc(100_000_000),
        expiry_seconds: 300..=31 * 86_400,
        challenge_window_seconds: 3_600..=7 * 86_400,
        now: NOW,
    }
}

fn authorization() -> Authorization {
    Authorization {
        chain_id: 84532,
        token: SEPOLIA_USDC,
        from: OWN,
        to: OTHER,
        value: usdc(10_000),
        valid_after: 1_740_672_089,
        valid_before: 1_740_672_154,
        nonce: B256::repeat_byte(0xab),
    }
}

fn authorization_bounds() -> AuthorizationBounds {
    let now = authorization().valid_after;
    AuthorizationBounds { chain_id: 84532, to: OTHER, value_max: usdc(10_000), now }
}

/// The hashes of `paegents.md` §10.3 and `x402.md` §2.
#[test]
fn types_are_those_of_the_contracts() {
    fn hash<T: SolStruct>() -> B256 {
        keccak256(T::eip712_encode_type().as_bytes())
    }
    let domain = usdc_domain(pins::chain(84532).unwrap());
    #[rustfmt::skip]
    let rows = [
        ("domain",        domain.type_hash(),                                                b256!("0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f")),
        ("permit",        hash::<permit::typed::Permit>(),                           b256!("0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9")),
        ("deposit",       hash::<settlement::typed::Deposit>(),                      b256!("0xbfeeb1df01f6dbbbb75f4b8cb48950d30c9b46a0691473d19ebff4aa97ffd3ab")),
        ("close",         hash::<settlement::typed::CloseIntent>(),                  b256!("0x2eab721608218ae0cca2244c81cfd84c639edd15b6edff816ba4645a2279c459")),
        ("claim",         hash::<settlement::typed::SellerClaimIntent>(),            b256!("0x497e5c32d1c32e942faa85f459e5e7e945b9ac48588e5b85cccab74b4d408f76")),
        ("withdraw",      hash::<settlement::typed::BuyerWithdrawIntent>(),          b256!("0x51e8b59a55579c1be336fa236f95d6c9e70e55c0e896abe6525ecc4a7decdf2d")),
        ("activation",    hash::<activation::typed::BuyerActivationIntent>(),                                               b256!("0x6ecdd189b58e0b0cce5f2265383ea6c03bbe89c26a09c908c86b2d32a9c4928f")),
        ("authorization", hash::<authorization::typed::TransferWithAuthorization>(), b256!("0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267")),
    ];
    for (row, found, expected) in rows {
        assert_eq!(found, expected, "{row}");
    }
}

/// The domain separators of `paegents.md` §15.
#[test]
fn domains_are_those_of_the_contracts() {
    let of = |chain_id| usdc_domain(pins::chain(chain_id).unwrap()).separator();
    #[rustfmt::skip]
    let rows = [
        ("USDC on Base",    of(8453),                                                   b256!("0x02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f")),
        ("USDC on Sepolia", of(84532),                                                  b256!("0x71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818")),
        ("the escrow",      domain("MeteringEscrow", "1", 84532, ESCROW).separator(),   b256!("0xc5810810ae42085f5332619eacda381ac49fe9ec39812a3e70c18f74bb7387ef")),
        ("the second",      domain("MeteringEscrowV2", "1", 84532, ESCROW).separator(), b256!("0x51265006833ea6ff448340a1c6fd2f3961db8c3396f775ebd5cda55b9d9fd3fc")),
    ];
    for (row, found, expected) in rows {
        assert_eq!(found, expected, "{row}");
    }
}

/// The vectors of `paegents.md` §15 and `x402.md` §11, made by the Python SDK and checked with an
/// independent encoder.
#[test]
fn signatures_are_those_of_the_vectors() {
    let wallet = wallet();
    let base_permit = Permit { chain_id: 8453, token: BASE_USDC, ..permit() };
    let base_permit_bounds = PermitBounds { chain_id: 8453, ..permit_bounds() };
    let base = Authorization { chain_id: 8453, token: BASE_USDC, ..authorization() };
    let base_bounds = AuthorizationBounds { chain_id: 8453, ..authorization_bounds() };
    let second = Authorization { valid_after: 0, ..base.clone() };
    #[rustfmt::skip]
    let rows = [
        ("permit, Base", wallet.sign_permit(&base_permit, &base_permit_bounds),
            b256!("0x2ca36a008742a85de6833040e91b90f2adaab6c26896628eec92ddfbf5e2b9e1"),
            "0x3aa3d09bac72734f7cfaff26d2e5a50f4756e216f83a66d7bca58c838aa35e187d3d3a72fe361b8ca27a4a02c99b8f5583850f07d65be15bdfc90b75bbe8db4d1b"),
        ("permit, Sepolia", wallet.sign_permit(&permit(), &permit_bounds()),
            b256!("0x571fb84d9277cdfe732061de0aaadc3c35f7c88804c01afe42228ee6bb5f9796"),
            "0x4d23956040b88baadd8251447513757920eee06a57424eba72fee99b498d748b7506dffd6f4762fa1a3f3a0c5cca7163499cc3a40171c49c926e4286d85ddd981b"),
        ("deposit", wallet.sign_deposit(&deposit(), &escrow_bounds()),
            b256!("0x8af5656b05f57ba39ffcbab910bc819c26c056ed3a482498b9d58c6de2b42c75"),
            "0xd42030c8e0ce97a50ec9337d671f1c4af4423bb6829f9c71468f91ae8d0f4d3f79b18839662af404cca8277723f6d51fe8100cbe7e4a773ecdd53b98af8b8c3c1b"),
        ("close", wallet.sign_close(&action(), &escrow_bounds()),
            b256!("0x1e4cdd76954befe97766c8da0f6cf3aaf5db75b844c45721208424ae01ea13c2"),
            "0x7d00ea46b4f28ebe0223e4316e376cd721dc45534e57485af865daaecf95b6e3087bdf7f1a6a5726766b538dbec44931a4e3b22cb30b5fa59b2a6092ae72810f1b"),
        ("claim", wallet.sign_claim(&action(), &escrow_bounds()),
            b256!("0x6b61e8ed0f831fac4fbc41436588c4a7c3c8f4f22c010bf6e21fea2d03a72f92"),
            "0xa6d89d3b6a70b2278bf51c22fdad763c5c5a4252b8dae7ce1ffc50f1d734892601082a7891fc0d8fa05f1c13e79ef82df62b97af10a434d0708597f0d3e4f4251b"),
        ("withdraw", wallet.sign_withdraw(&action(), &escrow_bounds()),
            b256!("0x66297216db01f1d91f08d29d815d3f30aa810bdf2caa04f1bffb0fbd2dcfa71c"),
            "0xc4761dde997fb764f7f3e5b512f43b72b496a1b7d0a6e8f470ddd78d31cd79ef19c9d482283e1f6a4ce7b0ebfd16454e8479dfc97ac7253bc87f43e9cd41a9ad1c"),
        ("activation", wallet.sign_activation(&activation(), &activation_bounds()),
            b256!("0x85f39cbbe63fc7973cbc62e771dbd43bd3ff8249c2dd1ec8a9f4c374ae8a5950"),
            "0x1c97b52a2d1954fde949ce2f713ec93ac47da756a8d4e924939ab09e945fe8960351bb11a0e8c94c1996721d0218e989848f3a4b1e204d4483190b3638263b761c"),
        ("authorization A", wallet.sign_transfer_authorization(&authorization(), &authorization_bounds()),
            b256!("0xd393fab455f4a8149c60bf766d1d6c9eeafcc2784a029e50b8085a07dc9bb1aa"),
            "0x47dc1dc8539afff75d9553d4eb4ab77b25021f87682ede8a0f10a17240cd3bfa6c8849a6ec3ae99854251eeb8f6211835bb3f896f0f9d3d214ece2c7d722a4531c"),
        ("authorization B", wallet.sign_transfer_authorization(&base, &base_bounds),
            b256!("0x693a2b7f500b29075318a3cbd18c46917f146dc6b2a5a7f6914ec6e9c8777aab"),
            "0x52f628a760a86e7c002e5325e7f41e4a75d26e6d72ae3814c9d208318532ad39364f8b98fa76a54fc69bcf27429c71517d6efacb3103d94e0129acd39ab9f6851c"),
        ("authorization C", wallet.sign_transfer_authorization(&second, &base_bounds),
            b256!("0xb79721a5fc0837044d3b424aff8233e75302b1bfbbaa068bedb19a64d105de86"),
            "0x4e28e849ace16cbef251af05060396eb3c96c1dae50b3a8b3874c5c797c454b21a822fb1537c747329ec8b489428fcd428e466447edb447dae86c426b99f63871c"),
    ];
    assert_eq!(wallet.signatures(), 10);
    assert_eq!(wallet.clone().signatures(), 10);
    for (row, signed, digest, signature) in rows {
        let signed = signed.unwrap();
        assert_eq!((signed.digest, signed.signature.as_str()), (digest, signature), "{row}");
        let read: Signature = signature.parse().unwrap();
        assert_eq!(u64::from(signed.v), 27 + u64::from(read.v()), "{row}");
        assert_eq!(read.recover_address_from_prehash(&digest).unwrap(), OWN, "{row}");
        assert!(!format!("{signed:?}").contains(&signature[2..20]), "{row}");
    }
}

/// The struct hashes of the vectors.
#[test]
fn structs_hash_as_the_vectors_do() {
    let typed = permit::typed::Permit {
        owner: OWN,
        spender: ESCROW,
        value: U256::from(1_000_000),
        nonce: U256::ZERO,
        deadline: U256::from(DEADLINE),
    };
    let hash = b256!("0xf778912fd9bf096655d2d42187cf6aa320e09b2944df710c664e4f4d078d4eb8");
    assert_eq!(typed.eip712_hash_struct(), hash);
    let typed = authorization::typed::TransferWithAuthorization {
        from: OWN,
        to: OTHER,
        value: U256::from(10_000),
        validAfter: U256::from(1_740_672_089),
        validBefore: U256::from(1_740_672_154),
        nonce: B256::repeat_byte(0xab),
    };
    let hash = b256!("0x51d16f955d9a3c798aae86c7b7f3f971fb64610fc6c7a3bd72125314d868c738");
    assert_eq!(typed.eip712_hash_struct(), hash);
}

/// What the journal keeps is enough to sign the same again.
#[test]
fn fields_from_the_journal_give_the_same_signature() {
    fn restored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()
    }
    let (wallet, other) = (wallet(), wallet());
    let first = wallet.sign_permit(&permit(), &permit_bounds()).unwrap();
    assert_eq!(other.sign_permit(&restored(&permit()), &permit_bounds()).unwrap(), first);
    let first = wallet.sign_deposit(&deposit(), &escrow_bounds()).unwrap();
    assert_eq!(other.sign_deposit(&restored(&deposit()), &escrow_bounds()).unwrap(), first);
    let first = wallet.sign_close(&action(), &escrow_bounds()).unwrap();
    assert_eq!(other.sign_close(&restored(&action()), &escrow_bounds()).unwrap(), first);
    let first = wallet.sign_activation(&activation(), &activation_bounds()).unwrap();
    let again = other.sign_activation(&restored(&activation()), &activation_bounds()).unwrap();
    assert_eq!(again, first);
    let bounds = authorization_bounds();
    let first = wallet.sign_transfer_authorization(&authorization(), &bounds).unwrap();
    let again = other.sign_transfer_authorization(&restored(&authorization()), &bounds).unwrap();
    assert_eq!(again, first);
}

/// `paegents.md` §6.4: hashes as hex, numbers as numbers; §14 row 16: any case, with or without
/// `0x`.
#[test]
fn an_intent_is_the_wires_buyer_intent() {
    let wire = serde_json::json!({
        "agreement_key": format!("0x{}", "11".repeat(32)),
        "platform_agreement_id_hash": format!("0x{}", "22".repeat(32)),
        "buyer": OWN.to_string().to_lowercase(), "seller": OTHER.to_string().to_lowercase(),
        "token": SEPOLIA_USDC.to_string().to_lowercase(),
        "quantity": 1000, "price_per_unit": 100_000, "deposit_amount": 100_000_000,
        "challenge_window_seconds": 86_400,
        "service_hash": format!("0x{}", "33".repeat(32)),
        "terms_hash": format!("0x{}", "44".repeat(32)),
        "expiry": DEADLINE, "nonce": 0, "salt": format!("0x{}", "55".repeat(32)),
    });
    assert_eq!(serde_json::to_value(activation().intent).unwrap(), wire);
    let mut otherwise = wire;
    otherwise["salt"] = "55".repeat(32).into();
    otherwise["buyer"] = OWN.to_string().into();
    otherwise["quantity"] = "1000".into();
    let read: ActivationIntent = serde_json::from_value(otherwise).unwrap();
    assert_eq!(read, activation().intent);
}

/// What a row shows, what it changes, and the refusal's field and a part of its text.
type Rows<Change> = Vec<(&'static str, Change, Option<(&'static str, &'static str)>)>;

/// The field that was refused, after the row has shown that nothing was signed.
fn refused(row: &str, wallet: &Wallet, signed: Result<Signed, SignError>) -> Option<Refused> {
    let before = wallet.signatures();
    match signed {
        Ok(_) => None,
        Err(SignError::Field(refused)) => {
            assert_eq!(before, 0, "{row}: something was signed");
            Some(refused)
        }
        Err(other) => panic!("{row}: {other}"),
    }
}

fn compare(row: &str, found: Option<Refused>, expected: Option<(&'static str, &str)>) {
    let Some((field, text)) = expected else {
        return assert_eq!(found, None, "{row}");
    };
    let found = found.unwrap_or_else(|| panic!("{row} was signed"));
    assert_eq!(found.field, field, "{row}");
    assert!(found.to_string().contains(text), "{row}: {found}");
}

#[test]
fn a_permit_is_held_against_pins_and_bounds() {
    type Change = fn(&mut Permit, &mut PermitBounds);
    #[rustfmt::skip]
    let rows: Rows<Change> = vec![
        // what it shows             change                                                    refusal
        ("as approved",              |_, _| {},                                                None),
        ("another chain",            |p, _| p.chain_id = 1,                                    Some(("chain_id", "not one of ours"))),
        ("the other pinned chain",   |p, _| { p.chain_id = 8453; p.token = BASE_USDC; },       Some(("chain_id", "must be 84532"))),
        ("another token",            |p, _| p.token = BASE_USDC,                               Some(("token", "must be 0x036C"))),
        ("another owner",            |p, _| p.owner = OTHER,                                   Some(("owner", "must be 0xf39F"))),
        ("another spender",          |p, _| p.spender = OTHER,                                 Some(("spender", "must be 0xcA98"))),
        ("the zero address",         |p, b| { p.spender = Address::ZERO; b.spender = Address::ZERO; }, Some(("spender", "zero address"))),
        ("our own address",          |p, b| { p.spender = OWN; b.spender = OWN; },             Some(("spender", "our own"))),
        ("the token contract",       |p, b| { p.spender = SEPOLIA_USDC; b.spender = SEPOLIA_USDC; }, Some(("spender", "token contract"))),
        ("an approved collector",    |p, b| { p.spender = OTHER; b.spender = OTHER; },         None),
        ("nothing",                  |p, _| p.value = Usdc::ZERO,                              Some(("value", "zero"))),
        ("less",                     |p, _| p.value = usdc(1),                                 None),
        ("a micro-unit more",        |p, _| p.value = usdc(1_000_001),                         Some(("value", "more than 1000000"))),
        ("the largest",              |p, _| p.value = usdc(u64::MAX),                          Some(("value", "more than 1000000"))),
        ("a minute",                 |p, _| p.deadline = NOW + 60,                             None),
        ("a second less",            |p, _| p.deadline = NOW + 59,                             Some(("deadline", "it is 59 s"))),
        ("an hour",                  |p, _| p.deadline = NOW + 3600,                           None),
        ("a second more",            |p, _| p.deadline = NOW + 3601,                           Some(("deadline", "60 to 3600 s"))),
        ("past",                     |p, _| p.deadline = NOW - 1,                              Some(("deadline", "it is -1 s"))),
        ("the end of time",          |p, _| p.deadline = u64::MAX,                             Some(("deadline", "60 to 3600 s"))),
        ("none",                     |p, _| p.deadline = 0,                                    Some(("deadline", "60 to 3600 s"))),
    ];
    for (row, change, expected) in rows {
        let (mut permit, mut bounds, wallet) = (permit(), permit_bounds(), wallet());
        change(&mut permit, &mut bounds);
        let signed = wallet.sign_permit(&permit, &bounds);
        compare(row, refused(row, &wallet, signed), expected);
    }
}

#[test]
fn deposits_and_actions_are_held_against_pins_and_bounds() {
    type Change = fn(&mut Action, &mut EscrowBounds);
    type Sign = fn(&Wallet, &Action, &EscrowBounds) -> Result<Signed, SignError>;
    #[rustfmt::skip]
    let rows: Rows<Change> = vec![
        // what it shows                 change                                                refusal
        ("as read",                      |_, _| {},                                            None),
        ("another chain",                |a, _| a.chain_id = 137,                              Some(("chain_id", "not one of ours"))),
        ("the other pinned chain",       |a, _| a.chain_id = 8453,                             Some(("chain_id", "must be 84532"))),
        ("another escrow",               |a, _| a.escrow = OTHER,                              Some(("escrow", "must be 0xcA98"))),
        ("an escrow against the pin",    |a, b| { a.escrow = OTHER; b.escrow = OTHER; },       Some(("escrow", "must be 0xcA98"))),
        ("the owner's, without a pin",   |a, b| { a.chain_id = 8453; b.chain_id = 8453; a.escrow = OTHER; b.escrow = OTHER; }, None),
        ("another, without a pin",       |a, b| { a.chain_id = 8453; b.chain_id = 8453; b.escrow = OTHER; }, Some(("escrow", "must be 0x7099"))),
        ("the zero address",             |a, b| { a.chain_id = 8453; b.chain_id = 8453; a.escrow = Address::ZERO; b.escrow = Address::ZERO; }, Some(("escrow", "zero address"))),
        ("the token",                    |a, b| { a.chain_id = 8453; b.chain_id = 8453; a.escrow = BASE_USDC; b.escrow = BASE_USDC; }, Some(("escrow", "token contract"))),
        ("another signer",               |a, _| a.signer = OTHER,                              Some(("signer", "must be 0xf39F"))),
        ("another agreement",            |a, _| a.agreement_id = U256::from(8),                Some(("agreement_id", "must be 7"))),
        ("the largest agreement",        |a, _| a.agreement_id = U256::MAX,                    Some(("agreement_id", "must be 7"))),
        ("a minute",                     |a, _| a.deadline = NOW + 60,                         None),
        ("a second less",                |a, _| a.deadline = NOW + 59,                         Some(("deadline", "it is 59 s"))),
        ("an hour",                      |a, _| a.deadline = NOW + 3600,                       None),
        ("a second more",                |a, _| a.deadline = NOW + 3601,                       Some(("deadline", "it is 3601 s"))),
    ];
    let signers: [(&str, Sign); 4] = [
        ("close", Wallet::sign_close),
        ("claim", Wallet::sign_claim),
        ("withdraw", Wallet::sign_withdraw),
        ("deposit", |wallet, action, bounds| {
            let Action { chain_id, escrow, signer, agreement_id, deadline, .. } = action.clone();
            wallet
                .sign_deposit(&Deposit { chain_id, escrow, signer, agreement_id, deadline }, bounds)
        }),
    ];
    for (row, change, expected) in rows {
        for (name, sign) in signers {
            let (mut action, mut bounds, wallet) = (action(), escrow_bounds(), wallet());
            change(&mut action, &mut bounds);
            let row = format!("{name}, {row}");
            let signed = sign(&wallet, &action, &bounds);
            compare(&row, refused(&row, &wallet, signed), expected);
        }
    }
}

#[test]
fn an_activation_is_held_against_the_agreement() {
    type Change = fn(&mut Activation, &mut ActivationBounds);
    #[rustfmt::skip]
    let rows: Rows<Change> = vec![
        // what it shows                 change                                                     refusal
        ("as approved",                  |_, _| {},                                                 None),
        ("another chain",                |a, _| a.chain_id = 1,                                     Some(("chain_id", "not one of ours"))),
        ("the other pinned chain",       |a, _| a.chain_id = 8453,                                  Some(("chain_id", "must be 84532"))),
        ("another escrow",               |a, _| a.spender = OTHER,                                  Some(("spender", "must be 0xcA98"))),
        ("an escrow against the pin",    |a, b| { a.spender = OTHER; b.escrow = OTHER; },           Some(("escrow", "must be 0xcA98"))),
        ("another token",                |a, _| a.intent.token = BASE_USDC,                         Some(("token", "must be 0x036C"))),
        ("another buyer",                |a, _| a.intent.buyer = OTHER,                             Some(("buyer", "must be 0xf39F"))),
        ("another seller",               |a, _| a.intent.seller = ESCROW,                           Some(("seller", "must be 0x7099"))),
        ("a seller nobody named",        |a, b| { a.intent.seller = ESCROW; b.seller = None; },     None),
        ("ourselves as seller",          |a, b| { a.intent.seller = OWN; b.seller = None; },        Some(("seller", "our own"))),
        ("nobody as seller",             |a, b| { a.intent.seller = Address::ZERO; b.seller = None; }, Some(("seller", "zero address"))),
        ("the token as seller",          |a, b| { a.intent.seller = SEPOLIA_USDC; b.seller = None; }, Some(("seller", "token contract"))),
        ("no units",                     |a, b| { a.intent.quantity = U256::ZERO; b.quantity = 0; }, Some(("quantity", "zero"))),
        ("a unit more",                  |a, _| a.intent.quantity = U256::from(1001),               Some(("quantity", "must be 1000"))),
        ("a free unit",                  |a, b| { a.intent.price_per_unit = U256::ZERO; b.price_per_unit = Usdc::ZERO; }, Some(("price_per_unit", "zero"))),
        ("a dearer unit",                |a, _| a.intent.price_per_unit = U256::from(100_001),      Some(("price_per_unit", "must be 100000"))),
        ("a product beyond 256 bits",    |a, b| { a.intent.quantity = U256::MAX; b.quantity = 1000; }, Some(("quantity", "must be 1000"))),
        ("no deposit",                   |a, _| a.intent.deposit_amount = U256::ZERO,               Some(("deposit_amount", "zero"))),
        ("a deposit above the product",  |a, _| a.intent.deposit_amount = U256::from(100_000_001),  Some(("deposit_amount", "must be 100000000"))),
        ("a deposit below the product",  |a, _| a.intent.deposit_amount = U256::from(99_999_999),   Some(("deposit_amount", "must be 100000000"))),
        ("the largest deposit",          |a, _| a.intent.deposit_amount = U256::MAX,                Some(("deposit_amount", "must be 100000000"))),
        ("more than may be deposited",   |_, b| b.deposit_max = usdc(99_999_999),                   Some(("deposit_amount", "more than 99999999"))),
        ("no window",                    |a, _| a.intent.challenge_window_seconds = 0,              Some(("challenge_window_seconds", "it is 0 s"))),
        ("the shortest window",          |a, _| a.intent.challenge_window_seconds = 3_600,          None),
        ("a second less",                |a, _| a.intent.challenge_window_seconds = 3_599,          Some(("challenge_window_seconds", "3600 to 604800 s"))),
        ("the longest window",           |a, _| a.intent.challenge_window_seconds = 604_800,        None),
        ("a second more",                |a, _| a.intent.challenge_window_seconds = 604_801,        Some(("challenge_window_seconds", "3600 to 604800 s"))),
        ("over",                         |a, _| a.intent.expiry = NOW - 1,                          Some(("expiry", "it is -1 s"))),
        ("the nearest end",              |a, _| a.intent.expiry = NOW + 300,                        None),
        ("a second nearer",              |a, _| a.intent.expiry = NOW + 299,                        Some(("expiry", "it is 299 s"))),
        ("the farthest end",             |a, _| a.intent.expiry = NOW + 31 * 86_400,                None),
        ("a second farther",             |a, _| a.intent.expiry = NOW + 31 * 86_400 + 1,            Some(("expiry", "300 to 2678400 s"))),
        ("the end of time",              |a, _| a.intent.expiry = u64::MAX,                         Some(("expiry", "300 to 2678400 s"))),
    ];
    for (row, change, expected) in rows {
        let (mut activation, mut bounds, wallet) = (activation(), activation_bounds(), wallet());
        change(&mut activation, &mut bounds);
        let signed = wallet.sign_activation(&activation, &bounds);
        compare(row, refused(row, &wallet, signed), expected);
    }
}

#[test]
fn an_authorization_is_held_against_pins_and_bounds() {
    const AT: u64 = 1_740_672_089;
    type Change = fn(&mut Authorization, &mut AuthorizationBounds);
    #[rustfmt::skip]
    let rows: Rows<Change> = vec![
        // what it shows             change                                               refusal
        ("as approved",              |_, _| {},                                           None),
        ("another chain",            |a, _| a.chain_id = 43114,                           Some(("chain_id", "not one of ours"))),
        ("the other pinned chain",   |a, _| { a.chain_id = 8453; a.token = BASE_USDC; },  Some(("chain_id", "must be 84532"))),
        ("another token",            |a, _| a.token = OTHER,                              Some(("token", "must be 0x036C"))),
        ("another payer",            |a, _| a.from = OTHER,                               Some(("from", "must be 0xf39F"))),
        ("another payee",            |a, _| a.to = ESCROW,                                Some(("to", "must be 0x7099"))),
        ("the zero address",         |a, b| { a.to = Address::ZERO; b.to = Address::ZERO; }, Some(("to", "zero address"))),
        ("our own address",          |a, b| { a.to = OWN; b.to = OWN; },                  Some(("to", "our own"))),
        ("the token contract",       |a, b| { a.to = SEPOLIA_USDC; b.to = SEPOLIA_USDC; }, Some(("to", "token contract"))),
        ("nothing",                  |a, _| a.value = Usdc::ZERO,                         Some(("value", "zero"))),
        ("a micro-unit more",        |a, _| a.value = usdc(10_001),                       Some(("value", "more than 10000"))),
        ("not valid yet",            |a, _| a.valid_after = AT + 1,                       Some(("valid_after", "not valid yet"))),
        ("always valid before",      |a, _| a.valid_after = 0,                            None),
        ("ten seconds",              |a, _| a.valid_before = AT + 10,                     None),
        ("a second less",            |a, _| a.valid_before = AT + 9,                      Some(("valid_before", "it is 9 s"))),
        ("an hour",                  |a, _| a.valid_before = AT + 3600,                   None),
        ("a second more",            |a, _| a.valid_before = AT + 3601,                   Some(("valid_before", "10 to 3600 s"))),
        ("over",                     |a, _| a.valid_before = AT,                          Some(("valid_before", "it is 0 s"))),
        ("for ever",                 |a, _| a.valid_before = u64::MAX,                    Some(("valid_before", "10 to 3600 s"))),
    ];
    for (row, change, expected) in rows {
        let (mut fields, mut bounds, wallet) = (authorization(), authorization_bounds(), wallet());
        change(&mut fields, &mut bounds);
        let signed = wallet.sign_transfer_authorization(&fields, &bounds);
        compare(row, refused(row, &wallet, signed), expected);
    }
}

#[test]
fn an_empty_wallet_signs_nothing() {
    let wallet = Wallet::default();
    let results = [
        wallet.sign_permit(&permit(), &permit_bounds()),
        wallet.sign_deposit(&deposit(), &escrow_bounds()),
        wallet.sign_close(&action(), &escrow_bounds()),
        wallet.sign_activation(&activation(), &activation_bounds()),
        wallet.sign_transfer_authorization(&authorization(), &authorization_bounds()),
    ];
    for result in results {
        assert!(matches!(result, Err(SignError::NoKey { kind: KeyKind::Evm })));
    }
    assert_eq!(wallet.signatures(), 0);
}

/// Each signed word is covered: a bit changed anywhere in the struct gives another digest.
#[test]
fn every_field_of_an_intent_is_signed() {
    type Change = fn(&mut Activation);
    #[rustfmt::skip]
    let changes: [Change; 16] = [
        |a| a.chain_id += 1, |a| a.spender.0[19] ^= 1,
        |a| a.intent.agreement_key.0[31] ^= 1, |a| a.intent.platform_agreement_id_hash.0[0] ^= 1,
        |a| a.intent.buyer.0[0] ^= 1, |a| a.intent.seller.0[0] ^= 1, |a| a.intent.token.0[0] ^= 1,
        |a| a.intent.quantity += U256::ONE, |a| a.intent.price_per_unit += U256::ONE,
        |a| a.intent.deposit_amount += U256::ONE, |a| a.intent.challenge_window_seconds += 1,
        |a| a.intent.service_hash.0[7] ^= 1, |a| a.intent.terms_hash.0[7] ^= 1,
        |a| a.intent.expiry += 1, |a| a.intent.nonce += U256::ONE, |a| a.intent.salt.0[7] ^= 1,
    ];
    let mut digests = std::collections::HashSet::from([activation().digest()]);
    for change in changes {
        let mut fields = activation();
        change(&mut fields);
        assert!(digests.insert(fields.digest()));
    }
    assert_eq!(digests.len(), 17);
}
