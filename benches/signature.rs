//! The time of one signature: a USDC transfer, a marketplace's challenge.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should say where")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use haggle::{
    money::Usdc,
    wallet::{
        Wallet, bench,
        keys::{EvmKey, SolanaKey},
        pins,
        text::TextRule,
        transfer::Transfer,
    },
};

fn signatures(criterion: &mut Criterion) {
    let wallet =
        Wallet::new(Some(EvmKey::generate().unwrap()), Some(SolanaKey::generate().unwrap()));
    let pins = pins::chain(pins::BASE_SEPOLIA).unwrap();
    let transfer = Transfer {
        chain_id: pins.chain_id,
        usdc: pins.usdc,
        to: EvmKey::generate().unwrap().address(),
        amount: Usdc::from_micros(1_500_000),
        nonce: 7,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        gas_limit: 65_000,
    };
    let address = wallet.evm_address().unwrap();
    let text = format!(
        "api.crochet.example wants you to sign in as {address}\nNonce: n-4f2a9c77\nURI: https://api.crochet.example/register"
    );
    let rule = TextRule { nonce: Some("n-4f2a9c77"), api_host: "api.crochet.example" };
    let mut group = criterion.benchmark_group("signature");
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    group.bench_function("EIP-1559 transfer", |bencher| {
        bencher.iter(|| bench::sign_transfer(&wallet, black_box(&transfer)).unwrap());
    });
    group.bench_function("EIP-191 text, checked", |bencher| {
        bencher.iter(|| bench::sign_text(&wallet, black_box(&text), &rule).unwrap());
    });
    group.finish();
}

criterion_group!(benches, signatures);
criterion_main!(benches);
