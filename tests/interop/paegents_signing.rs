//! Paegents' Python SDK and the second x402 library as signers: the same fields give the same bytes.
//!
//! The inputs are the vectors' and a thousand of a seeded generator for each payload, with keys,
//! chains, amounts and deadlines of all sizes.

use std::{ops::RangeInclusive, path::PathBuf, process::Stdio};

use alloy_primitives::{Address, B256, U256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use haggle::{
    money::Usdc,
    wallet::{
        Wallet, bench,
        eip712::{
            Action, Activation, ActivationBounds, ActivationIntent, AuthorizationBounds, Deposit,
            EscrowBounds, Permit, PermitBounds, Settlement,
        },
        keys::EvmKey,
        pins::{self, CHAINS, Chain},
        x402::{Demand, Payment, RequirementBounds, Terms, Version},
    },
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// Random inputs for each payload.
const INPUTS: usize = 1_000;
/// The public test key of the vectors.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const NOW: u64 = 1_900_000_000 - 600;

/// `SplitMix64`: the same inputs in every run.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    /// A number of any length up to `bits`, so that small ones and large ones come alike.
    fn sized(&mut self, bits: u64) -> U256 {
        let kept = usize::try_from(self.within(1..=bits)).unwrap();
        U256::from_be_bytes(self.word().0) >> (256 - kept)
    }

    /// Likewise, of 64 bits and not zero.
    fn amount(&mut self) -> u64 {
        self.sized(63).to::<u64>().max(1)
    }

    fn word(&mut self) -> B256 {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes());
        }
        B256::from(bytes)
    }

    fn address(&mut self) -> Address {
        Address::from_slice(&self.word()[12..])
    }

    /// A key as hex, and its wallet.
    fn wallet(&mut self) -> (String, Wallet) {
        let key = self.word().to_string();
        let wallet = wallet(&key);
        (key, wallet)
    }

    fn chain(&mut self) -> &'static Chain {
        &CHAINS[usize::try_from(self.next() % 2).unwrap()]
    }

    /// The pinned escrow, or any where there is none.
    fn escrow(&mut self, chain: &Chain) -> Address {
        let configured = chain.escrow.unwrap_or_else(|| self.address());
        pins::escrow(chain, Some(configured)).unwrap()
    }
}

fn wallet(key: &str) -> Wallet {
    Wallet::new(Some(EvmKey::read(&SecretString::from(key)).unwrap()), None)
}

/// What an SDK is asked, and what it should answer.
#[derive(Default)]
struct Cases {
    asked: Vec<Value>,
    ours: Vec<Value>,
}

impl Cases {
    fn add(&mut self, case: Value, ours: impl Into<Value>) {
        self.asked.push(case);
        self.ours.push(ours.into());
    }

    /// Runs `script` with the Python of `folder`; holds its answers against ours.
    async fn compare(self, folder: &str, script: &str) {
        let place = |parts: &[&str]| -> PathBuf {
            [env!("CARGO_MANIFEST_DIR")].iter().chain(parts).collect()
        };
        let mut child =
            tokio::process::Command::new(place(&["target", "interop", folder, "bin", "python"]))
                .arg(place(&["tests", "interop", script]))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("it is not installed: run scripts/install-interop");
        let asked = serde_json::to_vec(&self.asked).unwrap();
        let mut input = child.stdin.take().unwrap();
        let (written, output) = tokio::join!(
            async move {
                let written = input.write_all(&asked).await;
                drop(input);
                written
            },
            child.wait_with_output()
        );
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        written.unwrap();
        let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(theirs.len(), self.ours.len());
        for ((asked, ours), theirs) in self.asked.iter().zip(&self.ours).zip(&theirs) {
            assert_eq!(ours, theirs, "{asked:#}");
        }
    }
}

fn permit(cases: &mut Cases, key: &str, wallet: &Wallet, permit: &Permit, now: u64) {
    let bounds = PermitBounds {
        chain_id: permit.chain_id,
        spender: permit.spender,
        value_max: permit.value,
        now,
    };
    let signed = bench::sign_permit(wallet, permit, &bounds).unwrap();
    let case = json!({ "function": "permit", "now": now, "key": key, "spender": permit.spender,
        "value": permit.value.micros(), "nonce": permit.nonce.to_string(),
        "deadline": permit.deadline, "chain_id": permit.chain_id });
    cases.add(case, signed.signature);
}

/// The deposit and the three actions of one agreement.
fn settlements(cases: &mut Cases, key: &str, wallet: &Wallet, action: &Action, now: u64) {
    let Action { chain_id, escrow, signer, agreement_id, nonce, deadline } = action.clone();
    let bounds = EscrowBounds { chain_id, escrow, agreement_id, now };
    let case = |function: &str| {
        json!({ "function": function, "now": now, "key": key, "nonce": nonce.to_string(),
            "agreement_id": agreement_id.to_string(), "deadline": deadline,
            "chain_id": chain_id, "escrow": escrow })
    };
    let deposit = Deposit { chain_id, escrow, signer, agreement_id, deadline };
    let signed = bench::sign_deposit(wallet, &deposit, &bounds).unwrap();
    cases.add(case("deposit"), signed.signature);
    for (function, settlement) in [
        ("close", Settlement::Close),
        ("claim", Settlement::Claim),
        ("withdraw", Settlement::Withdraw),
    ] {
        let signed = bench::sign_action(wallet, settlement, action, &bounds).unwrap();
        cases.add(case(function), signed.signature);
    }
}

fn activation(cases: &mut Cases, key: &str, wallet: &Wallet, activation: &Activation) {
    let intent = &activation.intent;
    let bounds = ActivationBounds {
        chain_id: activation.chain_id,
        escrow: activation.spender,
        seller: Some(intent.seller),
        quantity: intent.quantity.to(),
        price_per_unit: Usdc::from_micros(intent.price_per_unit.to()),
        deposit_max: Usdc::from_micros(intent.deposit_amount.to()),
        expiry_seconds: 0..=u64::MAX,
        challenge_window_seconds: 0..=u64::MAX,
        now: 0,
    };
    let signed = bench::sign_activation(wallet, activation, &bounds).unwrap();
    let case = json!({ "function": "activation", "now": 0, "key": key, "intent": intent,
        "chain_id": activation.chain_id, "escrow": activation.spender });
    cases.add(case, signed.signature);
}

/// A header of version 1 that the SDK makes, and the same header read by the first library.
fn header(cases: &mut Cases, key: &str, wallet: &Wallet, payment: &(Terms, B256, u64)) {
    let (terms, nonce, now) = payment;
    let chain = pins::chain(terms.chain_id).unwrap();
    let own = wallet.evm_address().unwrap();
    let fields = terms.authorization(Version::One, own, *nonce, *now).unwrap();
    let bounds = AuthorizationBounds {
        chain_id: terms.chain_id,
        to: terms.to,
        value_max: terms.amount,
        now: *now,
    };
    let header = bench::x402_v1(wallet, &fields, &bounds).unwrap();
    assert_eq!(Payment::read(&header.value).unwrap().signer(), Some(own));
    let case = json!({ "function": "header", "now": now, "key": key,
        "to": terms.to.to_checksum(None), "cents": terms.amount.micros() / 10_000,
        "network": chain.x402_name, "timeout": terms.timeout_seconds, "nonce": nonce });
    cases.add(case, header.value.clone());
    let case = json!({ "function": "decode", "now": now, "header": header.value });
    let read = json!({ "scheme": "exact", "network": chain.x402_name,
        "signature": header.signed.signature,
        "authorization": { "from": own.to_checksum(None), "to": terms.to.to_checksum(None),
            "value": terms.amount.micros().to_string(),
            "validAfter": fields.valid_after.to_string(),
            "validBefore": fields.valid_before.to_string(), "nonce": nonce } });
    cases.add(case, read);
}

fn vectors(cases: &mut Cases) {
    let wallet = wallet(KEY);
    let own = wallet.evm_address().unwrap();
    let escrow = pins::escrow(pins::chain(84532).unwrap(), None).unwrap();
    let deadline = 1_900_000_000;
    for chain in &CHAINS {
        let fields = Permit {
            chain_id: chain.chain_id,
            token: chain.usdc,
            owner: own,
            spender: escrow,
            value: Usdc::from_micros(1_000_000),
            nonce: U256::ZERO,
            deadline,
        };
        permit(cases, KEY, &wallet, &fields, NOW);
    }
    let action = Action {
        chain_id: 84532,
        escrow,
        signer: own,
        agreement_id: U256::from(7),
        nonce: U256::from(3),
        deadline,
    };
    settlements(cases, KEY, &wallet, &action, NOW);
    let intent = ActivationIntent {
        agreement_key: B256::repeat_byte(0x11),
        platform_agreement_id_hash: B256::repeat_byte(0x22),
        buyer: own,
        seller: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
        token: pins::chain(84532).unwrap().usdc,
        quantity: U256::from(1_000),
        price_per_unit: U256::from(100_000),
        deposit_amount: U256::from(100_000_000),
        challenge_window_seconds: 86_400,
        service_hash: B256::repeat_byte(0x33),
        terms_hash: B256::repeat_byte(0x44),
        expiry: deadline,
        nonce: U256::ZERO,
        salt: B256::repeat_byte(0x55),
    };
    activation(cases, KEY, &wallet, &Activation { chain_id: 84532, spender: escrow, intent });
    let expected = [
        "0x3aa3d09bac72734f7cfaff26d2e5a50f4756e216f83a66d7bca58c838aa35e18",
        "0x4d23956040b88baadd8251447513757920eee06a57424eba72fee99b498d748b",
        "0xd42030c8e0ce97a50ec9337d671f1c4af4423bb6829f9c71468f91ae8d0f4d3f",
        "0x7d00ea46b4f28ebe0223e4316e376cd721dc45534e57485af865daaecf95b6e3",
        "0xa6d89d3b6a70b2278bf51c22fdad763c5c5a4252b8dae7ce1ffc50f1d7348926",
        "0xc4761dde997fb764f7f3e5b512f43b72b496a1b7d0a6e8f470ddd78d31cd79ef",
        "0x1c97b52a2d1954fde949ce2f713ec93ac47da756a8d4e924939ab09e945fe896",
    ];
    for (ours, expected) in cases.ours.iter().zip(expected) {
        assert_eq!(&ours.as_str().unwrap()[..66], expected);
    }
}

/// One random input for every payload.
fn random(cases: &mut Cases, seeded: &mut Seeded) {
    let (key, wallet) = seeded.wallet();
    let own = wallet.evm_address().unwrap();
    let chain = seeded.chain();
    let escrow = seeded.escrow(chain);
    let now = seeded.within(1..=4_000_000_000);
    let deadline = now + seeded.within(60..=3600);
    let fields = Permit {
        chain_id: chain.chain_id,
        token: chain.usdc,
        owner: own,
        spender: seeded.address(),
        value: Usdc::from_micros(seeded.amount()),
        nonce: seeded.sized(256),
        deadline,
    };
    permit(cases, &key, &wallet, &fields, now);
    let action = Action {
        chain_id: chain.chain_id,
        escrow,
        signer: own,
        agreement_id: seeded.sized(256),
        nonce: seeded.sized(256),
        deadline,
    };
    settlements(cases, &key, &wallet, &action, now);
    let (quantity, price) = (seeded.sized(31), seeded.sized(31));
    let (quantity, price) = (quantity.max(U256::ONE), price.max(U256::ONE));
    let intent = ActivationIntent {
        agreement_key: seeded.word(),
        platform_agreement_id_hash: seeded.word(),
        buyer: own,
        seller: seeded.address(),
        token: chain.usdc,
        quantity,
        price_per_unit: price,
        deposit_amount: quantity * price,
        challenge_window_seconds: seeded.next(),
        service_hash: seeded.word(),
        terms_hash: seeded.word(),
        expiry: seeded.next(),
        nonce: seeded.sized(256),
        salt: seeded.word(),
    };
    let fields = Activation { chain_id: chain.chain_id, spender: escrow, intent };
    activation(cases, &key, &wallet, &fields);
    let terms = Terms {
        chain_id: chain.chain_id,
        to: seeded.address(),
        amount: Usdc::from_micros(seeded.sized(40).to::<u64>().max(1) * 10_000),
        timeout_seconds: seeded.within(10..=3600),
    };
    header(cases, &key, &wallet, &(terms, seeded.word(), now));
}

#[tokio::test(flavor = "multi_thread")]
async fn paegents_python_sdk_signs_what_we_sign() {
    let (mut cases, mut seeded) = (Cases::default(), Seeded(712));
    vectors(&mut cases);
    for _ in 0..INPUTS {
        random(&mut cases, &mut seeded);
    }
    cases.compare("python", "paegents_signing.py").await;
}

/// The cases of the second library for one payment: both our headers read by it, and the version 2
/// header that it makes itself.
fn second_library(cases: &mut Cases, seeded: &mut Seeded) {
    let (key, wallet) = seeded.wallet();
    let own = wallet.evm_address().unwrap();
    let (chain, nonce) = (seeded.chain(), seeded.word());
    let now = seeded.within(100..=4_000_000_000);
    let (to, amount) = (seeded.address(), Usdc::from_micros(seeded.amount()));
    let network = format!("eip155:{}", chain.chain_id);
    // In the library's own order and spelling, which it writes whatever came; ours is what came.
    let (asset, name) = (chain.usdc, chain.usdc_name);
    let (atomic, timeout) = (amount.micros(), seeded.within(10..=3600));
    let accepted = format!(
        r#"{{"scheme":"exact","network":"{network}","asset":"{asset}","amount":"{atomic}","#
    ) + &format!(r#""payTo":"{to}","maxTimeoutSeconds":{timeout},"#)
        + &format!(r#""extra":{{"name":"{name}","version":"2"}}}}"#);
    let resource = r#"{"url":"https://api.example.com/x","mimeType":"application/json"}"#;
    let demand = STANDARD
        .encode(format!(r#"{{"x402Version":2,"resource":{resource},"accepts":[{accepted}]}}"#));
    let read = Demand::read_header(&demand).unwrap();
    let (chosen, terms) = read
        .choose(&RequirementBounds {
            chain_id: chain.chain_id,
            own,
            pay_to: None,
            amount_max: amount,
        })
        .unwrap();
    let bounds = AuthorizationBounds { chain_id: chain.chain_id, to, value_max: amount, now };
    let first = terms.authorization(Version::One, own, nonce, now).unwrap();
    let second = terms.authorization(Version::Two, own, nonce, now).unwrap();
    let headers = [
        (1, chain.x402_name, &first, bench::x402_v1(&wallet, &first, &bounds).unwrap()),
        (2, &network, &second, bench::x402_v2(&wallet, &second, &bounds, chosen, &read).unwrap()),
    ];
    for (version, network, fields, header) in &headers {
        let case = json!({ "function": "decode", "header": header.value, "token": chain.usdc,
            "chain_id": chain.chain_id, "name": chain.usdc_name, "version": chain.usdc_version });
        let expected = json!({ "x402_version": version, "scheme": "exact", "network": network,
            "signature": header.signed.signature, "signer": own.to_checksum(None),
            "authorization": { "from": own.to_checksum(None), "to": to.to_checksum(None),
                "value": amount.micros().to_string(), "nonce": nonce,
                "validAfter": fields.valid_after.to_string(),
                "validBefore": fields.valid_before.to_string() } });
        cases.add(case, expected);
    }
    let case = json!({ "function": "pay", "key": key, "now": now, "nonce": nonce,
        "network": network, "demand": demand });
    cases.add(case, headers[1].3.value.clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_x402_library_reads_our_headers_and_makes_the_same() {
    let (mut cases, mut seeded) = (Cases::default(), Seeded(402));
    for _ in 0..INPUTS {
        second_library(&mut cases, &mut seeded);
    }
    cases.compare("x402", "x402_headers.py").await;
}
